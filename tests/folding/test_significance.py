"""How sure folds of given periods are: noise gives what it should, whatever it was tried at."""

import numpy as np
import pytest

from pulsar.config.model import FoldConfig
from pulsar.data.fold import FoldParams
from pulsar.data.series import TimeSeries
from pulsar.folding.folder import fold_series
from pulsar.folding.refine import refine
from pulsar.folding.significance import DETECTED, fold_sigma, ntrials


def folds(series: np.ndarray, freqs: np.ndarray) -> list:
    data = TimeSeries(series.astype(np.float32), 1e-3, 30.0, 55000.0)
    cubes = fold_series(data, [FoldParams(float(f), 0.0, 30.0) for f in freqs], FoldConfig(nbins=64))
    return [refine(cube, search_dm=False) for cube in cubes]


def test_noise_is_as_sure_as_chance_has_it() -> None:
    rng = np.random.default_rng(7)
    found = folds(rng.normal(size=60_000), 1.0 / rng.uniform(0.2, 0.9, 150))
    sigma = np.array([fold_sigma(fold) for fold in found])
    # 84 % below 1 sigma and 97.7 % below 2 where the trials are right; errors of 150 folds, and a factor 3 of trials.
    assert np.count_nonzero(sigma > 1.0) <= 36
    assert np.count_nonzero(sigma > 2.0) <= 9
    assert sigma.max() < DETECTED + 0.5
    # Not by being so strict that nothing could pass.
    assert np.count_nonzero(sigma > -0.5) >= 30


@pytest.mark.parametrize(("snr", "seen"), [(3.5, False), (8.0, True)])
def test_a_pulsar_is_detected_where_its_snr_is_beyond_its_trials(snr: float, seen: bool) -> None:
    period, duty, n = 0.4321, 0.05, 60_000
    phase = (np.arange(n) * 1e-3 / period) % 1.0
    inside = phase < duty
    series = np.random.default_rng(3).normal(size=n) + inside * snr / np.sqrt(np.count_nonzero(inside))
    (fold,) = folds(series, np.array([1.0 / period]))
    assert fold.snr == pytest.approx(snr, abs=1.5)
    assert (fold_sigma(fold) > DETECTED) == seen


def test_more_that_was_searched_is_more_trials() -> None:
    (fold,) = folds(np.random.default_rng(1).normal(size=60_000), np.array([2.0]))
    assert 1.0 < ntrials(fold, 5.0, refined=False) < ntrials(fold, 5.0, refined=True) < ntrials(fold, 6.0, refined=True)
