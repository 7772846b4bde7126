"""Boxcar kernel against its oracle and theory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import boxcar as oracle

from pulsar_kernels.fold import boxcar_snr


def run(profiles, variance, widths):
    n = len(profiles)
    snr, width, start = np.empty(n), np.empty(n, np.int64), np.empty(n, np.int64)
    boxcar_snr(
        np.ascontiguousarray(profiles, float), np.asarray(variance, float), np.asarray(widths), snr, width, start
    )
    return snr, width, start


@given(st.integers(4, 40), st.integers(1, 3), st.integers(0, 2**32 - 1), st.booleans())
def test_matches_oracle(nbins, nprofiles, seed, holes):
    rng = np.random.default_rng(seed)
    variance = rng.uniform(0.5, 3.0, nbins)
    if holes:
        variance[rng.integers(0, nbins, nbins // 4)] = 0.0
    profiles = rng.standard_normal((nprofiles, nbins)) * np.sqrt(variance)
    widths = np.arange(1, nbins // 2 + 1)
    snr, width, start = run(profiles, variance, widths)
    for i, row in enumerate(profiles):
        value, _, _ = oracle.best(row, variance, widths)
        assert snr[i] == pytest.approx(value, abs=1e-9)
        assert oracle.snr(row, variance, int(width[i]), int(start[i])) == pytest.approx(value, abs=1e-9)


@given(st.integers(4, 64), st.data())
def test_equal_variance_is_the_conventional_formula(nbins, data):
    width = data.draw(st.integers(1, nbins - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    profile = rng.standard_normal(nbins)
    snr, _, start = run(profile[None], np.full(nbins, 2.5), [width])
    assert snr[0] == pytest.approx(oracle.conventional(profile, 2.5, width, int(start[0])), rel=1e-9, abs=1e-9)


@given(st.integers(8, 128), st.data())
def test_true_width_boxcar_in_closed_form(nbins, data):
    """A box of height a over w of n bins of unit variance has S/N a sqrt(w (n - w) / n), at any phase and baseline."""
    width = data.draw(st.integers(1, nbins // 2))
    shift = data.draw(st.integers(0, nbins - 1))
    baseline = data.draw(st.floats(-100, 100))
    profile = np.roll(np.where(np.arange(nbins) < width, 3.0, 0.0) + baseline, shift)
    snr, found, start = run(profile[None], np.ones(nbins), np.arange(1, nbins // 2 + 1))
    assert snr[0] == pytest.approx(3.0 * np.sqrt(width * (nbins - width) / nbins), rel=1e-9)
    assert found[0] == width
    assert start[0] == shift or width * 2 == nbins


def test_no_variance_gives_no_signal():
    snr, _, _ = run(np.ones((1, 8)), np.zeros(8), [1, 2])
    assert snr[0] == -np.inf


def test_one_box_has_unit_variance_on_noise():
    rng = np.random.default_rng(3)
    variance = rng.uniform(0.2, 4.0, 16)
    values = [oracle.snr(rng.standard_normal(16) * np.sqrt(variance), variance, 5, 12) for _ in range(4000)]
    assert np.std(values) == pytest.approx(1.0, abs=0.04)
    assert np.mean(values) == pytest.approx(0.0, abs=0.06)
