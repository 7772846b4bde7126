import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from pulsar.searches import stats

SETTINGS = settings(deadline=None, max_examples=50)


def exact_log_tail(power: float, nharm: int) -> float:
    """The finite sum exp(-S) sum S^k/k! in logarithms: exact at any strength."""
    logs = [k * math.log(power) - math.lgamma(k + 1) for k in range(nharm)]
    top = max(logs)
    return -power + top + math.log(sum(math.exp(v - top) for v in logs))


@SETTINGS
@given(st.integers(1, 50_000), st.sampled_from(["noise", "few values", "drift", "wave"]), st.integers(0, 2**32 - 1))
def test_median_is_that_of_numpy(n, kind, seed):
    rng = np.random.default_rng(seed)
    values = {
        "noise": rng.standard_normal(n),
        "few values": rng.integers(0, 4, n).astype(float),
        "drift": np.sort(rng.standard_normal(n)),
        # In step with the samples that are looked at first.
        "wave": np.where(np.arange(n) % max(n // 2048, 1) == 0, 9.0, rng.standard_normal(n)),
    }[kind]
    assert stats.median(values) == np.median(values)


@SETTINGS
@given(st.floats(1e-3, 1e7), st.sampled_from([1, 2, 4, 8, 16, 32]))
def test_power_logp_at_any_strength(power, nharm):
    assert float(stats.power_logp(power, nharm)) == pytest.approx(exact_log_tail(power, nharm), rel=1e-10, abs=1e-12)


@SETTINGS
@given(st.floats(0.0, 300.0), st.integers(1, 60))
def test_chi2_logsf_against_scipy(chi2, dof):
    assert float(stats.chi2_logsf(chi2, dof)) == pytest.approx(scipy_stats.chi2.logsf(chi2, dof), rel=1e-8, abs=1e-12)


@SETTINGS
@given(st.floats(-10, 1000))
def test_sigma_there_and_back(sigma):
    assert float(stats.sigma_from_logp(stats.logp_from_sigma(sigma))) == pytest.approx(sigma, rel=1e-6, abs=1e-6)


def test_sigma_of_what_double_precision_cannot_hold():
    # ln Q(s) = -s^2/2 - ln(s sqrt(2 pi)) + ln(1 - 1/s^2 + ...)
    s = 800.0
    logp = -(s**2) / 2 - math.log(s * math.sqrt(2 * math.pi)) - 1 / s**2
    assert float(stats.sigma_from_logp(logp)) == pytest.approx(s, rel=1e-9)
    assert float(stats.sigma_from_logp(-690_000.0)) > 1170


@SETTINGS
@given(st.floats(-1e6, -1e-3), st.sampled_from([1, 2, 8, 32]))
def test_power_from_logp_inverts(logp, nharm):
    assert float(stats.power_logp(stats.power_from_logp(logp, nharm), nharm)) == pytest.approx(logp, rel=1e-6, abs=1e-9)


def test_power_of_certainty_is_zero():
    assert stats.power_from_logp(0.0, 4) == 0.0


def test_trials():
    assert float(stats.correct_trials(-1e5, 1e6)) == pytest.approx(-1e5 + math.log(1e6))
    assert float(stats.correct_trials(math.log(1e-3), 1e3)) == pytest.approx(math.log(1 - math.exp(-1)))
    assert np.isfinite(stats.trial_sigma(np.array([-1.0, -10.0, -1e6]), 1e9)).all()
    assert np.all(np.diff(stats.correct_trials(np.linspace(-60, -1, 400), 1e9)) >= 0)


@SETTINGS
@given(st.floats(-4, 30))
def test_expected_from_sigma_inverts_correct_trials(sigma):
    x = stats.expected_from_sigma(sigma)
    assert float(stats.trial_sigma(np.log(x), 1.0)) == pytest.approx(sigma, abs=1e-6)


def test_expected_numbers():
    assert stats.expected_from_sigma(0.0) == pytest.approx(math.log(2))
    assert stats.expected_from_sigma(3.0) == pytest.approx(0.0013508, rel=1e-3)
    assert stats.expected_from_sigma(-3.0) == pytest.approx(6.6077, rel=1e-3)
