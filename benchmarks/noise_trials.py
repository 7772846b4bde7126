"""What the programs share that count the trials of a search in pure noise (``calibrate_fft_trials`` and others)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.searches.stats import expected_from_sigma


def white_noise(nsamps: int, seed: int) -> NDArray[np.float32]:
    """Samples of variance 1, shape (nsamps,)."""
    return np.random.default_rng(seed).standard_normal(nsamps, dtype=np.float32)


def check(search: Any, seeds: int) -> None:
    """Print the false alarms of single series, found and promised by the threshold of a search of one series.

    Parameters
    ----------
    search : Search
    seeds : int
        How many series: others than constants are made with, which have the seeds from 0 on.
    """
    found = sum(len(search.search(white_noise(search.nsamps, 10**6 + seed))) for seed in range(seeds))
    promised = seeds * float(expected_from_sigma(search.config.threshold))
    print(f"{seeds} series of {search.nsamps} samples, {search.config!r}: {found} found, {promised:.0f} promised")


def print_stages(
    nharms: Sequence[int], probabilities: Sequence[float], counts: NDArray[np.float64], bins: NDArray[np.float64]
) -> None:
    """Print the effective trials a bin: of all stages so far, and of each by itself with its Poisson error.

    Parameters
    ----------
    nharms : sequence of int
        Most harmonics summed, stage by stage.
    probabilities : sequence of float
        Of a single trial, below which detections were counted.
    counts : ndarray, shape (nstages, nprobabilities)
        Detections with up to so many harmonics.
    bins : ndarray, shape (nstages,)
        Of the top harmonic, of all seeds.
    """
    totals = counts / np.array(probabilities)
    print("nharm  " + "  ".join(f"p={p:.0e}".rjust(22) for p in probabilities))
    for i, nharm in enumerate(nharms):
        before = totals[i - 1] if i else np.zeros(len(probabilities))
        cells = [
            f"{t / bins[0]:7.3f} {(t - b) / bins[i]:7.3f}±{np.sqrt(max(c, 1)) / p / bins[i]:.3f}"
            for t, b, c, p in zip(totals[i], before, counts[i], probabilities, strict=True)
        ]
        print(f"{nharm:5d}  " + "  ".join(c.rjust(22) for c in cells))
