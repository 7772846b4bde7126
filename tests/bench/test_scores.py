"""How good a ranking is: numbers in closed form, intervals that hold the truth, probabilities that are right."""

import numpy as np
import pytest
from shared import Share, auc, evaluate, reliability, top_recall

LABELS = np.array([1, 0, 1, 0, 0], dtype=bool)
SCORES = np.array([0.9, 0.8, 0.7, 0.7, 0.1])


def test_auc_in_closed_form() -> None:
    # Of the six pairs of a pulsar and another: 0.9 beats all three, 0.7 beats one and ties one.
    assert auc(SCORES, LABELS)[0] == pytest.approx((3 + 1 + 0.5) / 6)
    assert auc(SCORES[LABELS], LABELS[LABELS]) == pytest.approx((np.nan, np.nan), nan_ok=True)
    perfect, error = auc(np.array([2.0, 1.0]), np.array([1, 0]))
    assert (perfect, error) == (1.0, 0.0)


def test_the_error_of_auc_is_that_of_many_samples() -> None:
    rng = np.random.default_rng(1)
    y = np.arange(200) < 60
    found = [auc(rng.normal(size=200) + 1.2 * y, y) for _ in range(300)]
    assert np.std([a for a, _ in found]) == pytest.approx(np.mean([e for _, e in found]), rel=0.2)


def test_the_top_of_a_list() -> None:
    scores, y = np.arange(200)[::-1] / 200.0, np.zeros(200, dtype=bool)
    y[[0, 1, 5, 100]] = True
    assert top_recall(scores, y, 0.01) == Share(2, 2)
    assert top_recall(scores, y, 0.05) == Share(3, 4)


def test_intervals_hold_the_truth_two_times_of_three() -> None:
    rng = np.random.default_rng(2)
    shares = [Share(int(k), 1000) for k in rng.binomial(1000, 0.2, 4000)]
    assert np.mean([s.low <= 0.2 <= s.high for s in shares]) == pytest.approx(0.68, abs=0.03)
    assert (Share(0, 0).low, Share(0, 0).high) == (0.0, 1.0)
    assert Share(0, 10).low == 0.0 < Share(0, 10).high < 0.15


def test_probabilities_that_are_right_are_reliable() -> None:
    rng = np.random.default_rng(3)
    p = rng.uniform(size=40_000)
    found = evaluate(p, rng.uniform(size=p.size) < p)
    assert found.ece < 0.012
    # Mean of p (1 - p) of even scores.
    assert found.brier == pytest.approx(1 / 6, abs=0.005)
    assert found.brier_constant == pytest.approx(1 / 4, abs=0.002)
    assert [b.real.n for b in reliability(np.array([0.0, 0.05, 1.0]), np.array([0, 1, 1]))] == [2, *[0] * 8, 1]
    assert evaluate(p**3, rng.uniform(size=p.size) < p).ece > 0.1
