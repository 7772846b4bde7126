"""Moments of the cells of a series, 32 samples each, and how sums of few samples scatter beside those of whole cells.

One pass over the series, in vectors, makes mean and variance of every cell; everything else is done with these
(:mod:`pulsar_kernels.baseline`). The variances about a cell's own mean do not see slow changes.
"""

import numpy as np

from pulsar_kernels._jit import kernel, of_series, sample
from pulsar_kernels.arrays import Array, Float32s, Floats, Int16s, Ints

#: Samples of a cell.
CELL = 32
#: Octaves of the width of a sum below that of a cell.
FINE_LEVELS = 5
# Cells are compared with a value from the first cell of so many.
_ORIGIN_CELLS = 128
#: Mean of min(z^2, 2.5^2) of normal z.
WINSOR = 0.9776
_WINSOR_AT = 2.5
# Cells from which the scatter of sums of 2 to 16 samples is found.
_SOME_CELLS = 2048
_TOGETHER = 32


@kernel(reorder=True)
def _moments(series: Array, origin: np.float32, mean: Float32s, var: Float32s) -> None:
    """Mean and variance of the samples of each cell, by their sums and squares from `origin` on."""
    # Told the length, the compiler would write out the loop, and make no vectors of it.
    size = series.shape[0] // mean.shape[0]
    for c in range(mean.shape[0]):
        x = series[c * size : (c + 1) * size]
        s = np.float32(0.0)
        q = np.float32(0.0)
        for i in range(size):
            d = np.float32(x[i]) - origin
            s += d
            q += d * d
        mean[c] = origin + s * np.float32(1.0 / CELL)
        var[c] = (q - s * s * np.float32(1.0 / CELL)) * np.float32(1.0 / (CELL - 1))


@kernel()
def _some(ints: Int16s, floats: Float32s, lo: int, hi: int, mean: Float32s, var: Float32s, count: Float32s) -> None:
    """The same of what is finite of any samples of one cell."""
    total = 0.0
    origin = 0.0
    n = 0
    c = lo // CELL
    for i in range(lo, hi):
        v = np.float64(sample(ints, floats, i))
        if np.isfinite(v):
            if n == 0:
                origin = v
            total += v - origin
            n += 1
    count[c] = n
    mean[c] = 0.0
    var[c] = 0.0
    if n == 0:
        return
    middle = total / n
    squares = 0.0
    for i in range(lo, hi):
        v = np.float64(sample(ints, floats, i))
        if np.isfinite(v):
            squares += (v - origin - middle) ** 2
    mean[c] = np.float32(origin + middle)
    var[c] = np.float32(squares / max(n - 1, 1))


@kernel(reorder=True)
def _odd_cells(var: Float32s, least: np.float32) -> int:
    odd = np.int32(0)
    for c in range(var.shape[0]):
        odd += np.int32(not (least < var[c] < np.float32(np.inf)))
    return int(odd)


@kernel()
def moments_either(ints: Int16s, floats: Float32s, mean: Float32s, var: Float32s, count: Float32s) -> int:
    """Mean, variance about it, and number of the finite samples of every cell of 32.

    Parameters
    ----------
    ints, floats : ndarray of int16 and of float32, shape (n,)
        The series; one of them is empty.
    mean, var, count : ndarray of float32, shape (ceil(n / 32),)

    Returns
    -------
    int
        Cells that are constant, or not all finite.
    """
    n = ints.shape[0] + floats.shape[0]
    whole = n // CELL
    odd = 0
    count[:whole] = CELL
    for lo in range(0, whole, _ORIGIN_CELLS):
        hi = min(lo + _ORIGIN_CELLS, whole)
        # Any value near the others keeps the digits.
        _some(ints, floats, lo * CELL, (lo + 1) * CELL, mean, var, count)
        origin = mean[lo]
        spread = var[lo]
        count[lo] = CELL
        if ints.shape[0] > 0:
            _moments(ints[lo * CELL : hi * CELL], origin, mean[lo:hi], var[lo:hi])
        else:
            _moments(floats[lo * CELL : hi * CELL], origin, mean[lo:hi], var[lo:hi])
        # Sums lose the digits of what is nearly constant far from the origin.
        if _odd_cells(var[lo:hi], np.float32(1e-4) * spread) > 0 or not spread > 0.0:
            for c in range(lo, hi):
                d = mean[c] - origin
                if not (var[c] > np.float32(1e-4) * (spread + d * d) and var[c] < np.inf and spread > 0.0):
                    _some(ints, floats, c * CELL, (c + 1) * CELL, mean, var, count)
                    odd += 1 if var[c] == 0.0 or count[c] < CELL else 0
    if n > whole * CELL:
        _some(ints, floats, whole * CELL, n, mean, var, count)
        odd += 1 if var[whole] == 0.0 or count[whole] < n - whole * CELL else 0
    return odd


cell_moments = of_series(moments_either)


@kernel(inline=True)
def _goes_on(v: float, value: float) -> bool:
    """True if a sample belongs to a run of a value."""
    return bool(v == value or not np.isfinite(v))


@kernel()
def runs_either(ints: Int16s, floats: Float32s, mean: Float32s, var: Float32s, count: Float32s, most: int) -> Ints:
    """Stretches of one and the same value, or of none, that fill a cell or more; their part of cells is undone.

    Parameters
    ----------
    ints, floats : ndarray of int16 and of float32, shape (n,)
        The series; one of them is empty.
    mean, var, count : ndarray of float32, shape (ncells,)
        From `cell_moments`; those of cells that a run enters are made anew from the rest of their samples.
    most : int
        Cells that are constant or not all finite.

    Returns
    -------
    ndarray of int64, shape (nruns, 2)
        First sample and end of each, ascending.
    """
    n = ints.shape[0] + floats.shape[0]
    ncells = mean.shape[0]
    runs = np.empty((most, 2), np.int64)
    nruns = 0
    for c in range(ncells):
        if var[c] > 0.0 or (nruns > 0 and runs[nruns - 1, 1] >= min((c + 1) * CELL, n)):
            continue
        lo = c * CELL
        hi = min(lo + CELL, n)
        value = np.float64(sample(ints, floats, lo))
        for i in range(lo, hi):
            if np.isfinite(np.float64(sample(ints, floats, i))):
                value = np.float64(sample(ints, floats, i))
                break
        while lo > 0 and _goes_on(np.float64(sample(ints, floats, lo - 1)), value):
            lo -= 1
        while hi < n and _goes_on(np.float64(sample(ints, floats, hi)), value):
            hi += 1
        if nruns > 0:
            lo = max(lo, runs[nruns - 1, 1])
        if hi - lo < CELL // 2:
            continue  # the last few samples
        runs[nruns, 0] = lo
        runs[nruns, 1] = hi
        nruns += 1
        # The cells at both ends keep what is outside.
        first = lo // CELL
        if first * CELL < lo:
            _some(ints, floats, first * CELL, lo, mean, var, count)
        last = (hi - 1) // CELL
        for k in range(first, last + 1):
            if k * CELL >= lo and min((k + 1) * CELL, n) <= hi:
                count[k] = 0.0
                var[k] = 0.0
        if last * CELL < hi < min((last + 1) * CELL, n):
            _some(ints, floats, hi, min((last + 1) * CELL, n), mean, var, count)
    return runs[:nruns]


constant_runs = of_series(runs_either)


@kernel(reorder=True)
def _lower_square(z: Float32s, limit: np.float32) -> tuple[float, int]:
    """Sum of min(z^2, limit^2) over negative z, and their number (pulses are positive)."""
    total = np.float32(0.0)
    count = np.int32(0)
    for i in range(z.shape[0]):
        v = min(max(z[i], -limit), np.float32(0.0))
        total += v * v
        count += np.int32(v < np.float32(0.0))
    return float(total), int(count)


@kernel(inline=True)
def _excess(z: Float32s, fewest: int) -> float:
    """Standard deviation from the negative half without the few far out; 1 where it is not significantly more.

    Negative where there are too few.
    """
    r = 1.0
    count = 0
    for _ in range(3):
        total, count = _lower_square(z, np.float32(_WINSOR_AT * r))
        if count < fewest:
            return -1.0
        before = r
        r = np.sqrt(total / count / WINSOR)
        if abs(r - before) < 0.03:
            break
    return r if r > 1.0 + 2.0 / np.sqrt(2.0 * count) else 1.0


@kernel(reorder=True)
def _halve(z: Float32s, out: Float32s, factor: np.float32) -> None:
    for i in range(out.shape[0]):
        out[i] = (z[2 * i] + z[2 * i + 1]) * factor


@kernel(reorder=True)
def _times(x: Float32s, factor: np.float32, out: Float32s) -> None:
    for i in range(x.shape[0]):
        out[i] = x[i] * factor


@kernel(inline=True)
def _all_full(count: Float32s) -> bool:
    full = True
    for c in range(count.shape[0]):
        full &= count[c] == np.float32(CELL)
    return full


@kernel(reorder=True)
def _some_whitened(
    ints: Int16s, floats: Float32s, count: Float32s, base: Float32s, scale: Float32s, step: int, out: Float32s
) -> int:
    """Write down the samples of one in `step` of the whole cells, neighbours together; their number."""
    ncells = count.shape[0]
    k = 0
    for first in range(0, ncells, _TOGETHER * step):
        last = first + _TOGETHER
        for c in range(first, last if last < ncells else ncells):
            if count[c] == CELL and scale[c] > 0.0:
                level = base[c]
                factor = scale[c]
                if ints.shape[0] > 0:
                    for i in range(CELL):
                        out[k + i] = (np.float32(ints[c * CELL + i]) - level) * factor
                else:
                    for i in range(CELL):
                        out[k + i] = (floats[c * CELL + i] - level) * factor
                k += CELL
    return k


@kernel(reorder=True)
def cell_sums(mean: Float32s, count: Float32s, base: Float32s, scale: Float32s, cells: Float32s) -> None:
    """Whitened sums of cells, in units of the noise of a sample.

    Parameters
    ----------
    mean, count, base, scale : ndarray of float32, shape (ncells,)
    cells : ndarray of float32, shape (>= ncells,)
        Filled with them, and zeros.
    """
    ncells = mean.shape[0]
    for c in range(ncells):
        cells[c] = (mean[c] - base[c]) * scale[c] * count[c]
    cells[ncells:] = np.float32(0.0)


def work_size(ncells: int) -> int:
    """Room that `scatter_of_sums` needs."""
    step = max(ncells // _SOME_CELLS, 1)
    return 2 * max((-(-ncells // step) + _TOGETHER) * CELL, ncells)


@kernel()
def scatter_either(
    ints: Int16s,
    floats: Float32s,
    count: Float32s,
    base: Float32s,
    scale: Float32s,
    cells: Float32s,
    work: Float32s,
    excess: Floats,
) -> None:
    """How much more than in white noise sums of 1, 2, 4 ... samples scatter (1 where that is not significant).

    Parameters
    ----------
    ints, floats : ndarray of int16 and of float32, shape (n,)
        The series; one of them is empty.
    count, base, scale : ndarray of float32, shape (ncells,)
    cells : ndarray of float32, shape (>= ncells,)
        From `cell_sums`.
    work : ndarray of float32, shape (>= work_size(ncells),)
        Overwritten.
    excess : ndarray of float64, shape (nlevels,)
        Of sums of 2^k samples.
    """
    ncells = count.shape[0]
    nlevels = excess.shape[0]
    excess[0] = 1.0
    root = np.float32(np.sqrt(0.5))
    samples, spare = work[: work.shape[0] // 2], work[work.shape[0] // 2 :]
    # Sums of 2 to 16 samples from some cells, evenly spread.
    k = _some_whitened(ints, floats, count, base, scale, max(ncells // _SOME_CELLS, 1), samples)
    for level in range(1, min(FINE_LEVELS, nlevels)):
        k //= 2
        _halve(samples, spare[:k], root)
        excess[level] = max(_excess(spare[:k], 16), 1.0)
        samples, spare = spare, samples
    k = 0
    full = np.float32(np.sqrt(1.0 / CELL))
    if _all_full(count):
        _times(cells[:ncells], full, samples)
        k = ncells
    else:
        for c in range(ncells):
            if count[c] == CELL:
                samples[k] = cells[c] * full
                k += 1
    for level in range(FINE_LEVELS, nlevels):
        if level > FINE_LEVELS:
            k //= 2
            _halve(samples, spare[:k], root)
            samples, spare = spare, samples
        scatter = _excess(samples[:k], 8)
        # Too few of these: what holds for narrower ones.
        excess[level] = scatter if scatter > 0.0 else excess[level - 1]


scatter_of_sums = of_series(scatter_either)


@kernel(inline=True, helper=True)
def excess_at(width: float, excess: Floats) -> float:
    """Between sums of 2^k samples, along w / 2^k: close to straight lines in the logarithm of the width."""
    k = 0
    w = width
    while w >= 2.0 and k < excess.shape[0] - 1:
        w *= 0.5
        k += 1
    if k == excess.shape[0] - 1:
        return float(excess[k])
    return float(excess[k] + (excess[k + 1] - excess[k]) * min(max(w - 1.0, 0.0), 1.0))
