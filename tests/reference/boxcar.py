"""Plain oracle of the boxcar S/N."""

import numpy as np
from numpy.typing import NDArray


def snr(profile: NDArray[np.float64], variance: NDArray[np.float64], width: int, start: int) -> float:
    """Difference of the two means, inside and outside, over its error."""
    nbins = len(profile)
    inside = (np.arange(nbins) - start) % nbins < width
    v_in, v_out = variance[inside].sum(), variance[~inside].sum()
    if v_in <= 0 or v_out <= 0:
        return 0.0
    difference = profile[inside].sum() / v_in - profile[~inside].sum() / v_out
    return float(difference / np.sqrt(1 / v_in + 1 / v_out))


def best(
    profile: NDArray[np.float64], variance: NDArray[np.float64], widths: NDArray[np.int64]
) -> tuple[float, int, int]:
    """Best S/N, width and start."""
    return max((snr(profile, variance, int(w), s), int(w), s) for w in widths for s in range(len(profile)))


def conventional(profile: NDArray[np.float64], variance: float, width: int, start: int) -> float:
    """The formula with height and baseline, for equal variances."""
    n = len(profile)
    h = np.sqrt((n - width) / (n * width))
    b = width / (n - width) * h
    box = sum(profile[(start + i) % n] for i in range(width))
    return float(((h + b) * box - b * profile.sum()) / np.sqrt(variance))
