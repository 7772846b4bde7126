"""Baseline and noise of a series, from the moments of its cells (:mod:`pulsar_kernels.cells`).

The few cells with a pulse or a step are left out.
"""

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Float32s, Floats

# Cells whose variance is this far from the mean of the others do not count; chi-square of 31 degrees of freedom
# scatters by sqrt(2/31) = 0.254. What that takes off the mean, where it settles, follows from chi-square alone.
_CLIP = 2.5 * 0.254
CLIP_BIAS = 0.98923
# Cells with fewer samples than this have no say in baseline and noise.
_FEW = np.float32(8.0)
# A normal variable that is clipped at 3 sigma has this variance.
_CLIPPED = 0.9733
# Cells of a group that is looked at for noise of its own, and from where on it counts.
_GROUP = 32
_RAISED = 1.3
# The noise of a stretch is never taken to be below this fraction of that of the whole series.
_FLOOR = 0.3


@kernel(reorder=True)
def _sums_within(x: Float32s, count: Float32s, middle: np.float32, width: np.float32) -> tuple[float, float, int]:
    """Sums of the differences from `middle` that are at most `width`, and of their squares, and their number."""
    total = np.float32(0.0)
    squares = np.float32(0.0)
    kept = np.int32(0)
    for i in range(x.shape[0]):
        d = x[i] - middle
        good = (abs(d) <= width) & (count[i] >= _FEW)
        d = d if good else np.float32(0.0)
        total += d
        squares += d * d
        kept += np.int32(good)
    return float(total), float(squares), int(kept)


@kernel(inline=True)
def _sample(x: Float32s, count: Float32s, work: Float32s) -> int:
    """Write down evenly spread values of cells that are full, or if these are few all there are; their number."""
    n = x.shape[0]
    most = work.shape[0]
    for step in (max(n // most, 1), 1):
        some = 0
        for i in range(0, n, step):
            if count[i] >= _FEW and some < most:
                work[some] = x[i]
                some += 1
        if 4 * some >= min(n, most):
            break
    return some


@kernel()
def _middle(part: Float32s) -> float:
    """Median of some values, which are put in order."""
    n = part.shape[0]
    for i in range(1, n):
        v = part[i]
        j = i
        while j > 0 and part[j - 1] > v:
            part[j] = part[j - 1]
            j -= 1
        part[j] = v
    return 0.5 * (float(part[(n - 1) // 2]) + float(part[n // 2]))


@kernel(inline=True)
def _clipped_level(x: Float32s, count: Float32s, work: Float32s) -> float:
    """Mean of cells, without those far from the median of some of them."""
    some = _sample(x, count, work)
    if some == 0:
        return np.nan
    middle = _middle(work[:some])
    for i in range(some):
        work[i] = abs(work[i] - np.float32(middle))
    width = 3.0 * 1.4826 * _middle(work[:some])
    for _ in range(2):
        total, squares, kept = _sums_within(x, count, np.float32(middle), np.float32(width))
        if kept == 0:
            break
        step = total / kept
        middle += step
        width = 3.0 * np.sqrt(max(squares / kept - step * step, 0.0) / _CLIPPED)
    return middle


@kernel(inline=True)
def _clipped_variance(var: Float32s, count: Float32s, work: Float32s) -> float:
    """Variance of a sample from those of cells, without cells that hold something else."""
    some = _sample(var, count, work)
    if some == 0:
        return np.nan
    # The median of chi-square of 31 degrees of freedom is 0.9786 of its mean.
    level = _middle(work[:some]) / 0.9786
    for _ in range(4):
        total, _, kept = _sums_within(var, count, np.float32(level), np.float32(level * _CLIP))
        if kept == 0:
            break
        level = (level + total / kept) / CLIP_BIAS
    return level


@kernel(inline=True)
def _fill(knots: Floats) -> bool:
    """Give knots that are not known the value of the next one that is; False if none is."""
    n = knots.shape[0]
    for k in range(1, n):
        if np.isnan(knots[k]):
            knots[k] = knots[k - 1]
    for k in range(n - 2, -1, -1):
        if np.isnan(knots[k]):
            knots[k] = knots[k + 1]
    return not np.isnan(knots[0])


@kernel(reorder=True)
def _line(out: Float32s, first: float, slope: float) -> None:
    for i in range(out.shape[0]):
        out[i] = np.float32(first + slope * i)


@kernel()
def _lines(knots: Floats, extend: bool, out: Float32s) -> None:
    """Straight lines between knots at the middles of equal stretches; beyond the ends the line goes on, or not."""
    n = out.shape[0]
    m = knots.shape[0]
    if m == 1:
        out[:] = np.float32(knots[0])
        return
    for b in range(m - 1):
        c0 = 0.5 * (b * n // m + (b + 1) * n // m - 1)
        c1 = 0.5 * ((b + 1) * n // m + (b + 2) * n // m - 1)
        slope = (knots[b + 1] - knots[b]) / (c1 - c0)
        lo = 0 if b == 0 else int(np.ceil(c0))
        hi = n if b == m - 2 else int(np.ceil(c1))
        _line(out[lo:hi], knots[b] + slope * (lo - c0), slope)
        if not extend and b == 0:
            out[: int(np.ceil(c0))] = np.float32(knots[0])
        if not extend and b == m - 2:
            out[int(np.ceil(c1)) :] = np.float32(knots[m - 1])


@kernel(reorder=True)
def _inverse_root(x: Float32s, count: Float32s) -> None:
    for c in range(x.shape[0]):
        root = np.float32(1.0) / np.sqrt(x[c])
        x[c] = root if count[c] > np.float32(0.0) else np.float32(0.0)


@kernel()
def baseline_and_noise(
    mean: Float32s, var: Float32s, count: Float32s, nbase: int, nnoise: int, base: Float32s, scale: Float32s
) -> bool:
    """Baseline and one over the noise of a sample, for every cell.

    Parameters
    ----------
    mean, var, count : ndarray of float32, shape (ncells,)
    nbase, nnoise : int
        Stretches whose clipped means are joined by straight lines.
    base, scale : ndarray of float32, shape (ncells,)
        `scale` is 0 where a cell has no samples.

    Returns
    -------
    bool
        False if there is no noise at all.
    """
    n = mean.shape[0]
    work = np.empty(65, np.float32)
    knots = np.empty(nbase, np.float64)
    for b in range(nbase):
        lo, hi = b * n // nbase, (b + 1) * n // nbase
        knots[b] = _clipped_level(mean[lo:hi], count[lo:hi], work)
    if not _fill(knots):
        return False
    _lines(knots, True, base)
    knots = np.empty(nnoise, np.float64)
    for b in range(nnoise):
        lo, hi = b * n // nnoise, (b + 1) * n // nnoise
        knots[b] = _clipped_variance(var[lo:hi], count[lo:hi], work)
    if not _fill(knots):
        return False
    floor = _FLOOR**2 * _middle(knots.astype(np.float32))
    for b in range(nnoise):
        knots[b] = max(knots[b], floor)
    if not knots[0] > 0.0:
        return False
    _lines(knots, False, scale)
    _raise_groups(var, count, scale)
    _inverse_root(scale, count)
    return True


@kernel(inline=True)
def _raised(var: Float32s, count: Float32s, level: Float32s) -> tuple[int, int]:
    """How many cells are noisier than their level, and how many there are."""
    above = np.int32(0)
    alive = np.int32(0)
    for c in range(var.shape[0]):
        good = count[c] >= _FEW
        above += np.int32((var[c] > np.float32(_RAISED) * level[c]) & good)
        alive += np.int32(good)
    return int(above), int(alive)


@kernel(inline=True)
def _raise_groups(var: Float32s, count: Float32s, level: Float32s) -> None:
    """Where most cells of a group are noisier than the rest, their own median is the level, there and next to it."""
    n = var.shape[0]
    ngroups = -(-n // _GROUP)
    raised = np.zeros(ngroups, np.float32)
    any_raised = False
    for g in range(ngroups):
        lo, hi = g * _GROUP, min((g + 1) * _GROUP, n)
        above, alive = _raised(var[lo:hi], count[lo:hi], level[lo:hi])
        if above > 8 and 2 * above > alive:
            part = np.empty(alive, np.float32)
            k = 0
            for c in range(lo, hi):
                if count[c] >= 8.0:
                    part[k] = var[c]
                    k += 1
            raised[g] = np.float32(_middle(part))
            any_raised = True
    if not any_raised:
        return
    for g in range(ngroups):
        top = raised[g]
        if g > 0:
            top = max(top, raised[g - 1])
        if g < ngroups - 1:
            top = max(top, raised[g + 1])
        if top > 0.0:
            for c in range(g * _GROUP, min((g + 1) * _GROUP, n)):
                level[c] = max(level[c], top)
