"""Medians: of columns with holes, running over blocks, and distances in units of the spread.

Tables of blocks and channels can be large: what is made of one on the way is made of a few rows or columns at a time.
"""

from collections.abc import Callable, Iterator

import numpy as np

from pulsar_kernels.arrays import Bools, Floats, Ints

# A Gaussian's standard deviation over its median absolute deviation.
MAD_TO_SIGMA = 1.4826
# Steps in which a wide running median goes.
SMOOTH_STEPS = 24
# Cells of a table that are worked on at a time.
CELLS = 1 << 17


def in_rows(shape: tuple[int, ...]) -> Iterator[slice]:
    """A few rows of a table of this shape at a time."""
    step = max(1, CELLS // max(1, shape[1]))
    return (slice(at, at + step) for at in range(0, shape[0], step))


def in_columns(shape: tuple[int, ...]) -> Iterator[slice]:
    """A few columns of a table of this shape at a time."""
    step = max(1, CELLS // max(1, shape[0]))
    return (slice(at, at + step) for at in range(0, shape[1], step))


def runs_of(marks: Bools) -> Ints:
    """First of every run of marks and the one after its last, shape (n, 2)."""
    return np.flatnonzero(np.diff(marks.astype(np.int8), prepend=0, append=0)).reshape(-1, 2).astype(np.int64)


def median(
    values: Floats, axis: int | None = None, *, keepdims: bool = False, of: Callable[[Floats], Floats] | None = None
) -> Floats:
    """As `numpy.nanmedian`, but fast along the short axis of many columns; NaN where all are NaN, without a warning.

    Parameters
    ----------
    axis : int, optional
        0 or 1 of a table; of everything, if not given.
    keepdims : bool
        Keep the axis, of length 1.
    of : callable, optional
        Element by element: the median is that of what it gives.
    """
    if axis is None or values.ndim != 2:
        flat = values.reshape(-1) if axis is None else values
        middle = _middle(flat if of is None else of(flat))
        return np.asarray(middle if keepdims else middle[..., 0])
    rows = values.T if axis == 0 else values
    parts = [rows[some] for some in in_rows(rows.shape)]
    middle = np.concatenate([_middle(part if of is None else of(part)) for part in parts] or [rows[:, :1]])
    return np.asarray((middle.T if axis == 0 else middle) if keepdims else middle[:, 0])


def _middle(rows: Floats) -> Floats:
    """The median of every row, shape (..., 1)."""
    # NaN are sorted behind everything else.
    ordered = np.sort(rows, axis=-1)
    last = ordered.shape[-1] - 1
    if last >= 0 and not np.isnan(ordered[..., last]).any():
        low, high = ordered[..., last // 2, None], ordered[..., (last + 1) // 2, None]
        return np.asarray(np.where(low == high, low, (low + high) / 2.0))
    known = ordered.shape[-1] - np.isnan(ordered).sum(axis=-1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(known - 1, 0) // 2, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(known // 2, ordered.shape[-1] - 1), axis=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(low == high, low, (low + high) / 2.0))


def robust_z(values: Floats, centre: Floats | float | None = None) -> Floats:
    """Distance from `centre` (default: the median) in units of the scaled median absolute deviation."""
    middle = median(values) if centre is None else centre
    off = values - middle
    scale = MAD_TO_SIGMA * median(np.abs(off))
    return off / scale if scale > 0 else np.where(np.abs(off) > 0, np.inf * np.sign(off), 0.0)


def smooth(values: Floats, bad: Bools, window: int) -> Floats:
    """Running median over blocks, masked blocks bridged.

    Parameters
    ----------
    values : ndarray, shape (nblocks, nchans)
    bad : ndarray of bool, shape (nblocks, nchans)
    window : int
        Blocks in the window; with fewer than 1.5 windows of blocks the result is a constant for every channel.
    """
    from pulsar_kernels.moments import running_medians

    nblocks = values.shape[0]
    known = np.where(bad, np.nan, values)
    if nblocks < 1.5 * window:
        return np.repeat(median(known, axis=0, keepdims=True), nblocks, axis=0)
    group = window // SMOOTH_STEPS
    if group > 1:
        # A wide window costs no more than a narrow one: medians of groups of blocks stand for their blocks.
        edges = np.append(np.arange(0, nblocks, group), nblocks)
        grouped = np.empty((len(edges) - 1, known.shape[1]))
        running_medians(known, edges[:-1], edges[1:], grouped)
        known = grouped
        centres = 0.5 * (edges[:-1] + edges[1:] - 1)
    nsteps = len(known)
    half = (window // 2) if group <= 1 else SMOOTH_STEPS // 2
    out = np.empty_like(known)
    # The window shrinks evenly towards the ends, so that a steady drift is followed to the last block.
    at = np.arange(nsteps)
    reach = np.maximum(np.minimum(half, np.minimum(at, nsteps - 1 - at)), min(2, half))
    running_medians(known, np.maximum(at - reach, 0), np.minimum(at + reach + 1, nsteps), out)
    out = np.where(np.isfinite(out), out, median(out, axis=0))
    if group <= 1:
        return out
    at = np.clip(np.arange(nblocks), centres[0], centres[-1])
    left = np.clip(np.searchsorted(centres, at, side="right") - 1, 0, nsteps - 2)
    part = ((at - centres[left]) / (centres[left + 1] - centres[left]))[:, None]
    return np.asarray(out[left] * (1.0 - part) + out[left + 1] * part)
