"""The period of arrival times against plain numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import period as oracle

from pulsar_kernels.period import best_at, log_chance, search_frequencies


def arrivals(rng, n, share=0.8, freq=2.3):
    """Times of which a share has a period, from the first on."""
    times = np.arange(n) / freq + rng.normal(0.0, 0.01 / freq, n)
    alone = rng.random(n) > share
    times[alone] = rng.uniform(0.0, n / freq, alone.sum())
    return np.sort(times) - times.min()


@given(st.integers(1, 40), st.data())
def test_log_chance(n, data):
    m = data.draw(st.integers(1, n))
    arc = data.draw(st.sampled_from([0.0, 1e-6, 0.03, 0.3, 0.49]))
    assert log_chance(n, m, arc) == pytest.approx(oracle.log_chance(n, m, arc), rel=1e-12)


def test_the_chance_is_that_of_random_phases():
    """All of n in less than half a turn is exact, and most of n is an expectation: it is above the frequency."""
    phase = np.random.default_rng(1).random((4000, 5))
    for m, arc in ((5, 0.4), (4, 0.2)):
        hits = np.mean([oracle.smallest_arc(row, m) <= arc for row in phase])
        chance = np.exp(log_chance(5, m, arc))
        assert hits - 0.02 < chance < (hits + 0.02 if m == 5 else 1.3 * hits)


@given(
    st.integers(1, 12), st.floats(0.1, 20.0), st.integers(2, 5), st.sampled_from([0.0, 1e-3, 0.1]), st.integers(0, 99)
)
def test_best_at(n, freq, fewest, error, seed):
    """Few times and many, fewer than must fit, arcs below the error and above half a turn."""
    times = arrivals(np.random.default_rng(seed), n)
    value, number, arc = best_at(times, freq, fewest, error, np.full(n, np.nan))
    want = oracle.best_at(times, freq, fewest, error)
    assert number == want[1]
    assert (value, arc) == pytest.approx((want[0], want[2]), rel=1e-9)


def test_times_that_agree_exactly_are_the_best():
    times = np.arange(6) / 4.0
    exact, near = (best_at(times, freq, 4, 0.0, np.empty(6)) for freq in (4.0, 4.001))
    assert exact[1] == 6
    assert exact[0] < near[0] < 0.0


@given(
    st.integers(3, 10),
    st.integers(0, 60),
    st.integers(0, 2),
    st.integers(1, 30),
    st.sampled_from([0.0, 1e-3]),
    st.integers(0, 2**32 - 1),
)
def test_search_frequencies(n, count, others, nbest, error, seed):
    """None that agrees is passed over, and the best come first; more room than frequencies, or less."""
    times = arrivals(np.random.default_rng(seed), n)
    fewest = max(2, n - others)
    out = np.full((nbest, 2), np.nan)
    search_frequencies(times, 0.7, 0.05, count, fewest, error, out)
    want = oracle.search_frequencies(times, 0.7, 0.05, count, fewest, error, nbest)
    np.testing.assert_allclose(out, want, rtol=1e-9)


@given(st.floats(0.0, 1.0), st.floats(0.0, 0.499), st.integers(0, 99))
def test_no_arc_below_half_a_turn_is_passed_over(start, arc, seed):
    """Phases anywhere on the turn, also where sixteenths of it begin."""
    phase = start + arc * np.append(np.random.default_rng(seed).random(3), [0.0, 1.0])
    out = np.zeros((1, 2))
    search_frequencies(phase, 1.0, 1.0, 1, 5, 1e-3, out)
    assert np.isfinite(out[0, 0])


def test_finds_the_period():
    times = arrivals(np.random.default_rng(5), 10, 0.9)
    out = np.zeros((3, 2))
    search_frequencies(times, 1.5, 0.001, 1500, 8, 1e-4, out)
    assert out[0, 1] == pytest.approx(2.3, abs=0.01)
