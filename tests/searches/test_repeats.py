import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import comb

from pulsar.data.candidate import SINGLE_PULSE_COLUMNS, empty_table
from pulsar.io.open import open_observation
from pulsar.searches.repeats import repeats, sources_by_dm
from pulsar.searches.single_pulse import SinglePulseSearch
from pulsar_kernels import period as kernels


def arrivals(seed, period, number, span, jitter, phase=0.3):
    rng = np.random.default_rng(seed)
    turns = np.sort(rng.choice(int(span / period), number, replace=False))
    return (turns + phase) * period + rng.normal(0, jitter, number)


@pytest.mark.parametrize(
    ("period", "number", "span"), [(1.2345, 8, 600.0), (0.4131, 12, 3600.0), (4.77, 7, 3600.0), (0.0891, 30, 120.0)]
)
def test_period_of_a_transient(period, number, span):
    for seed in range(2):
        times = arrivals(seed, period, number, span, 0.004 * period)
        found = repeats(times, errors=0.002 * period)
        assert found is not None
        assert abs(found.period - period) < 5 * found.period_err
        assert found.ntimes == number
        assert found.npulses >= number - 1
        assert np.count_nonzero(found.fits) == found.npulses
        assert np.abs(times - found.epoch - np.round((times - found.epoch) / period) * period).max() < 0.02 * period
        np.testing.assert_array_equal(np.diff(found.turns), np.round(np.diff(times) / period))
        assert 0.3 < found.rms / (0.004 * period) < 2


def test_times_by_chance_among_them():
    rng = np.random.default_rng(3)
    times = np.concatenate([arrivals(1, 2.2, 12, 1800.0, 5e-3), rng.uniform(0, 1800.0, 3)])
    found = repeats(times, errors=3e-3)
    assert found is not None
    assert found.period == pytest.approx(2.2, abs=1e-4)
    assert found.npulses >= 12
    assert found.fits[:12].all()
    assert not found.fits.all()


def test_two_components_count_once():
    times = arrivals(1, 1.0, 9, 600.0, 1e-3)
    both = np.concatenate([times, times + 0.02])
    found = repeats(both, np.concatenate([np.full(9, 10.0), np.full(9, 8.0)]), errors=1e-3)
    assert found is not None
    assert found.ntimes == 9
    assert found.period == pytest.approx(1.0, abs=1e-4)


def test_random_times_have_none():
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(100):
        number = int(rng.integers(4, 15))
        found += repeats(np.sort(rng.uniform(0, 300.0, number)), errors=2e-3, p_min=0.2, sigma=2.0) is not None
    # 0.0228 each are promised: 2.3.
    assert found <= 7


def test_too_few():
    assert repeats(np.array([1.0, 2.0, 3.0])) is None
    assert repeats(np.array([])) is None
    assert repeats(np.full(10, 5.0)) is None
    assert repeats(np.array([1.0, 2.0, np.nan, 3.0])) is None


@given(st.integers(2, 30), st.floats(0.01, 0.45), st.integers(0, 2**32 - 1))
def test_chance_of_an_arc(n, arc, seed):
    m = max(2, n - seed % 3)
    expected = n * comb(n - 1, m - 1) * arc ** (m - 1) * (1 - arc) ** (n - m)
    assert kernels.log_chance(n, m, arc) == pytest.approx(np.log(expected), rel=1e-9, abs=1e-9)


@given(st.integers(4, 30), st.integers(0, 2**32 - 1))
def test_best_frequencies(n, seed):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 50, n))
    fewest = max(4, 3 * n // 4)
    out = np.empty((5, 2))
    kernels.search_frequencies(times, 0.5, 0.003, 400, fewest, 1e-3, out)
    freqs = 0.5 + 0.003 * np.arange(400)
    values = np.array([kernels.best_at(times, f, fewest, 1e-3, np.empty(n))[0] for f in freqs])
    np.testing.assert_allclose(out[:, 0], np.sort(values)[:5])
    for value, freq in out[np.isfinite(out[:, 0])]:
        assert kernels.best_at(times, freq, fewest, 1e-3, np.empty(n))[0] == value


@settings(max_examples=20)
@given(st.integers(4, 20), st.floats(0.1, 3.0), st.integers(0, 2**32 - 1))
def test_best_arc(n, freq, seed):
    times = np.sort(np.random.default_rng(seed).uniform(0, 100, n))
    value, number, arc = kernels.best_at(times, freq, max(n - 1, 2), 0.0, np.empty(n))
    phase = np.sort(times * freq % 1.0)
    twice = np.concatenate([phase, phase + 1])
    within = [
        (kernels.log_chance(n, m, a) - np.log(a), m, a)
        for m in range(max(n - 1, 2), n + 1)
        if (a := np.min(twice[m - 1 : n + m - 1] - phase)) < 0.5
    ]
    # Where no half turn holds enough of them there is none, whatever else is said.
    best = min(within, default=(np.inf, number, arc))
    assert (value, number, arc) == pytest.approx(best, rel=1e-6, abs=1e-9)


def test_chance_is_exact_for_all_points():
    rng = np.random.default_rng(1)
    phase = np.sort(rng.uniform(size=(20000, 5)), axis=1)
    gaps = np.diff(np.concatenate([phase, phase[:, :1] + 1], axis=1), axis=1)
    share = np.mean(1 - gaps.max(axis=1) < 0.3)
    assert share == pytest.approx(np.exp(kernels.log_chance(5, 5, 0.3)), rel=0.1)


def test_sources_by_dm():
    table = empty_table(SINGLE_PULSE_COLUMNS, 9)
    table["dm"] = [50.0, 50.3, 120.0, 49.8, 119.0, 0.5, 121.0, 300.0, 49.0]
    table["dm_err"] = [0.1, 0.2, 1.0, 0.1, 1.0, 0.1, 0.5, 1.0, 5.0]
    table["time"] = [9.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 1.0]
    table["rfi_flags"] = [""] * 5 + ["dm0"] + [""] * 3
    groups = [g.tolist() for g in sources_by_dm(table)]
    assert groups[0] == [8, 1, 3, 0]
    assert groups[1] == [2, 4, 6]
    assert groups[2] == [7]


def test_rotations_of_a_real_pulsar(shared_data):
    with open_observation(shared_data / "series" / "GBT_J1807-0847.dat") as obs:
        search = SinglePulseSearch(obs.header.nsamps, obs.header.tsamp)
        events = search.search(obs.read().data[0])
    found = repeats(events["time"], events["snr"], errors=5e-4)
    assert found is not None
    assert found.period == pytest.approx(0.1637113, rel=1e-4)
    assert found.sigma > 8
    assert np.count_nonzero(found.fits) > 100
