"""The tail of weighted sums of exponential powers against closed forms and integrals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar.searches import stats
from pulsar.stack.search import effective, sum_from_logp, sum_logp


def hypoexponential(total: float, weights: np.ndarray) -> float:
    """P(S > total) for one power of each epoch, all weights different (partial fractions; Cox 1962)."""
    p = 0.0
    for i, w in enumerate(weights):
        others = np.delete(weights, i)
        p += np.exp(-total / w) * np.prod(w / (w - others))
    return float(p)


def test_equal_weights_are_a_chi_square() -> None:
    for total in (3.0, 20.0, 500.0, 5000.0):
        assert sum_logp(0.25 * total, 3, np.full(4, 0.25))[0] == pytest.approx(stats.power_logp(total, 12), rel=1e-12)


@pytest.mark.parametrize("weights", [[1.0, 0.25], [1.0, 0.5, 0.3, 0.2], [3.0, 2.0, 1.7, 1.2, 1.0, 0.6, 0.5, 0.2]])
def test_unequal_weights_agree_with_partial_fractions(weights: list[float]) -> None:
    w = np.array(weights)
    for p in (1e-2, 1e-4, 1e-8, 1e-12):
        total = sum_from_logp(np.log(p), 1, w)
        assert hypoexponential(total, w) == pytest.approx(p, rel=0.1)


def test_many_powers_agree_better_than_a_hundredth() -> None:
    # Two weights, 16 powers of each: the density of the one integrated over the tail of the other.
    w = np.array([1.0, 0.5])
    for p in (1e-2, 1e-5, 1e-9):
        total = sum_from_logp(np.log(p), 16, w)
        x = np.linspace(0.0, 200.0, 400001)
        density = np.exp(15.0 * np.log(np.maximum(x, 1e-300)) - x - float(np.sum(np.log(np.arange(1, 16)))))
        tail = np.exp(stats.power_logp(np.maximum(total - x, 0.0) / 0.5, 16))
        assert np.trapezoid(density * tail, x) == pytest.approx(p, rel=0.01)


@given(
    st.lists(st.floats(0.05, 1.0), min_size=1, max_size=40),
    st.sampled_from([1, 2, 8, 32]),
    st.floats(-600.0, -5.0),
)
def test_the_inverse_is_one_and_sums_are_ordered(weights: list[float], nharm: int, logp: float) -> None:
    w = np.array(weights)
    total = sum_from_logp(logp, nharm, w)
    assert sum_logp(total, nharm, w)[0] == pytest.approx(logp, rel=1e-6)
    less = sum_logp(np.array([0.9, 1.0, 1.1]) * total, nharm, w)
    assert np.all(np.diff(less) < 0)


def test_effective_number() -> None:
    assert effective(np.ones(7)) == pytest.approx(7.0)
    assert effective(np.array([1.0, 1e-9])) == pytest.approx(1.0)
