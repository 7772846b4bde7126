"""Lost spectra: what recorders write in place of packets that did not come, zeros or the last spectrum again."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

#: What is repeated so many times is no data, if noise would do that in one of a million stretches.
REPEATED: Final = 8
_CHANCE: Final = 1e-6
#: ... unless channels have this part of their top code: they are saturated, by the brightest signals, too.
SATURATED: Final = 0.9
_GOLDEN: Final = 0.6180339887498949


def runs_of(marks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First of every run of marks and the one after its last, shape (n, 2)."""
    return np.flatnonzero(np.diff(marks.astype(np.int8), prepend=0, append=0)).reshape(-1, 2).astype(np.int64)


def repeating(series: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which bands may stay exactly what they are for `REPEATED` samples and one: a quick look at every fourth sample.

    Parameters
    ----------
    series : ndarray of float32, shape (nbands, n)
        Sums over the channels of each band.

    Returns
    -------
    ndarray of bool, shape (nbands,)
    """
    step = REPEATED // 2
    last = (series.shape[1] - 1) // step * step
    # So long a run holds two samples of these, and what is between.
    bands, places = np.nonzero(series[:, :last:step] == series[:, step : last + 1 : step])
    for k in range(1, step):
        same = series[bands, step * places + k] == series[bands, step * places]
        bands, places = bands[same], places[same]
    found = np.zeros(len(series), dtype=np.bool_)
    found[bands] = True
    return found


def repeated(series: NDArray[np.float32], full: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where all bands stay exactly what they are, below their top, and noise as coarse as theirs would not.

    Parameters
    ----------
    series : ndarray of float32, shape (nbands, n)
        Sums over the channels of each band.
    full : ndarray of float64, shape (nbands,)
        These where all channels have their top code, inf where there is none.

    Returns
    -------
    ndarray of int64, shape (n, 2)
        First sample and the one after the last.
    """
    same = series[0, 1:] == series[0, :-1]
    for row in series[1:]:
        same &= row[1:] == row[:-1]
    runs = runs_of(same)
    length = runs[:, 1] - runs[:, 0]
    short = length < REPEATED
    # Of few coarse samples, neighbours are often alike.
    alike = length[short].sum() / max(same.size - length[~short].sum(), 1)
    least = np.log(_CHANCE / max(same.size, 1)) / np.log(alike) if alike > 0.0 else 0.0
    runs = runs[length >= max(REPEATED, least)]
    below = series[:, runs[:, 0]].sum(axis=0, dtype=np.float64) < SATURATED * full.sum()
    return np.asarray(runs[below] + np.array([0, 1]))


def without(series: NDArray[np.float32], runs: NDArray[np.int64], reach: int) -> NDArray[np.float32]:
    """The bands with samples from beside them, up to `reach` away, in no order, where spectra are repeated.

    Of levels without noise the spread would be too small.
    """
    good = np.ones(series.shape[1], dtype=np.bool_)
    for first, last in runs:
        good[first:last] = False
    if good.all() or not good.any():
        return series
    there = np.flatnonzero(good)
    out = series.copy()
    for first, last in runs.tolist():
        low, high = np.searchsorted(there, (first - reach, last + reach)).tolist()
        near = there[low:high] if high > low else there
        # Steps of the golden ratio visit all, none much more often than others.
        out[:, first:last] = series[:, near[(np.arange(last - first) * _GOLDEN % 1.0 * near.size).astype(np.int64)]]
    return out


def less(runs: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """What runs, ascending, have beyond others, where that is as long as what is repeated."""
    parts = []
    for first, last in runs.tolist():
        for a, b in others[(others[:, 1] > first) & (others[:, 0] < last)].tolist():
            parts.append((first, min(a, last)))
            first = max(first, b)
        parts.append((first, last))
    return np.array([p for p in parts if p[1] - p[0] > REPEATED], dtype=np.int64).reshape(-1, 2)


def parts_of_blocks(runs: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """What runs have of blocks that they do not fill: those are without data. Shape (n, 2)."""
    parts = []
    for first, last in runs.tolist():
        a = int(edges[min(np.searchsorted(edges, first), len(edges) - 1)])
        b = int(edges[np.searchsorted(edges, last, side="right") - 1])
        parts += [(first, a), (b, last)] if a < b else [(first, last)]
    return np.array([p for p in parts if p[0] < p[1]], dtype=np.int64).reshape(-1, 2)
