"""Baseline and noise of a dedispersed series before it is folded."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.errors import DataError

#: Turns over which the running baseline is taken.
TURNS: Final = 3

#: A value this many robust sigmas out does not pull the baseline.
CLIP: Final = 8.0

_MAD_TO_SIGMA: Final = 1.4826022185056018


def running_mean(data: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Mean over a window of `width` samples, not necessarily whole, around each sample.

    The window covers exactly `width` samples (its ends take fractions), so the mean of a signal with that period, or
    a whole fraction of it, is constant. Near the ends of the data the window keeps its width and stays inside, and the
    mean is carried on with the slope between that window and the one beside it.
    """
    n = len(data)
    width = min(width, float(n))
    total = np.concatenate([[0.0], np.cumsum(data)])
    start = np.clip(np.arange(n) + 0.5 - 0.5 * width, 0.0, n - width)
    grid = np.arange(n + 1, dtype=np.float64)
    mean = np.asarray(np.interp(start + width, grid, total) - np.interp(start, grid, total)) / width
    if n >= 2.0 * width:
        first, second, before, last = (
            np.diff(np.interp([0.0, width, 2.0 * width], grid, total)).tolist()
            + np.diff(np.interp([n - 2.0 * width, n - width, float(n)], grid, total)).tolist()
        )
        off = np.arange(n) + 0.5 - (start + 0.5 * width)
        mean += np.where(off < 0.0, second - first, last - before) / width**2 * off
    return mean


def normalise(data: NDArray[Any], turn: float) -> NDArray[np.float32]:
    """Remove the running baseline and divide by the robust rms.

    Parameters
    ----------
    data : ndarray, shape (nsamps,)
    turn : float
        Length of a turn [samples].

    Returns
    -------
    ndarray of float32, shape (nsamps,)
        Samples that are not finite become 0.

    Raises
    ------
    DataError
        When the series does not vary.
    """
    x = np.asarray(data, dtype=np.float64)
    good = np.isfinite(x)
    if not np.any(good):
        raise DataError("the series holds no finite sample: there is nothing to fold")
    # A constant in place of bad samples would be a step where the baseline drifts.
    index = np.arange(len(x))
    x = np.where(good, x, np.interp(index, index[good], x[good]))
    x = x - float(np.median(x))
    # The scale for clipping must not see slow drifts: from differences of neighbours.
    jump = float(np.median(np.abs(np.diff(x)))) * _MAD_TO_SIGMA / np.sqrt(2.0) if len(x) > 1 else 0.0
    base = running_mean(x, TURNS * turn)
    if jump > 0.0:
        base = running_mean(np.clip(x, base - CLIP * jump, base + CLIP * jump), TURNS * turn)
    x -= base
    x[~good] = 0.0
    spread = x[good]
    sigma = float(np.median(np.abs(spread - np.median(spread)))) * _MAD_TO_SIGMA
    if not sigma > 0.0:
        sigma = float(np.std(spread))
    if not sigma > 0.0:
        raise DataError("every sample of the series has the same value: there is nothing to fold")
    return (x / sigma).astype(np.float32)
