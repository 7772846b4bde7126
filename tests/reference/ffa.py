"""Plain oracles of fast folding: the boxcar S/N of profiles, their periods, and the series they are made from."""

import numpy as np
from numpy.typing import NDArray


def snr(profile: NDArray[np.float64], width: int, noise: float) -> float:
    """Largest S/N of a box in a profile whose bins have this noise: height over the rest of the turn over its error."""
    n = len(profile)
    best = -np.inf
    for start in range(n):
        inside = (np.arange(n) - start) % n < width
        height = profile[inside].mean() - profile[~inside].mean()
        best = max(best, height / (noise * np.sqrt(1.0 / width + 1.0 / (n - width))))
    return float(best)


def period(bins: int, rows: int, row: int) -> float:
    """Samples in a turn of a row of the transform: it drifts by `row` bins in rows - 1 turns."""
    return bins**2 / (bins - row / (rows - 1.0))


def pair_sums(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of two; one that is missing counts as the other."""
    a, b = x[: len(x) // 2 * 2].reshape(-1, 2).T
    return np.where(np.isnan(a), 2 * b, np.where(np.isnan(b), 2 * a, a + b))


def drifted(parts: NDArray[np.float64], drift: int) -> NDArray[np.float64]:
    """Sum of profiles, part p turned back by its share of the drift."""
    n = len(parts)
    return np.sum([np.roll(row, -int(np.floor(drift * (p + 0.5) / n + 0.5))) for p, row in enumerate(parts)], axis=0)
