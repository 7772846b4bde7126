"""A series by the time of a pulsar on a circular orbit, as one would write it on paper."""

import numpy as np
from numpy.typing import NDArray


def resample_orbit(
    series: NDArray[np.float32], ratio: int, turn: float, even: float, odd: float, n: int
) -> NDArray[np.float64]:
    """The series at ``ratio j + even cos(a) + odd sin(a)``, a = turn (j - (n - 1) / 2), by straight lines; else 0."""
    j = np.arange(n)
    a = turn * (j - 0.5 * (n - 1))
    place = ratio * j + even * np.cos(a) + odd * np.sin(a)
    inside = (place >= 0) & (np.floor(place) + 1 < series.size)
    grid = np.arange(series.size)
    return np.where(inside, np.interp(place, grid, series.astype(np.float64)), 0.0)
