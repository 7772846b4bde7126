"""Fractions that were counted, and how well they are known."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def wilson(found: NDArray[Any] | int, tried: NDArray[Any] | int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """68 % interval of a fraction (Wilson 1927, J. Am. Stat. Assoc. 22, 209).

    Where few were tried, or all or none found, it holds too.

    Parameters
    ----------
    found, tried : int or ndarray of int

    Returns
    -------
    low, high : ndarray of float64
        NaN where nothing was tried.
    """
    n = np.asarray(tried, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.asarray(found, dtype=np.float64) / n
        middle = (p + 0.5 / n) / (1.0 + 1.0 / n)
        half = np.sqrt(p * (1.0 - p) / n + 0.25 / n**2) / (1.0 + 1.0 / n)
    return np.asarray(np.maximum(middle - half, 0.0)), np.asarray(np.minimum(middle + half, 1.0))
