"""Boxcars of all widths over one series, in vectors: where something stands out.

A scan looks for boxcars of 1 to 8 samples, and of 5 to 8 sums of 2, 4, 8 ... samples, above a threshold low enough that
no pulse falls between two of them. What is found is then measured exactly (`pulsar_kernels.pulses`), at all widths and
places, so that the coarse ladder costs no sensitivity.
"""

from typing import Any

import numpy as np

from pulsar_kernels._jit import kernel, of_series
from pulsar_kernels.arrays import Array, Float32s, Floats, Int16s, Ints
from pulsar_kernels.cells import FINE_LEVELS

#: Noise of a whitened sample in the integers of the scan.
UNIT = 256.0

_LANES = 32
_CHUNK = 4096
_HALO = 256


@kernel(inline=True)
def _integer(x: Any, base: np.float32, scale: np.float32) -> np.int16:
    """A sample minus `base`, times `scale`, rounded and held within int16; what is not finite becomes 0."""
    y = (np.float32(x) - base) * scale
    y = y if abs(y) <= np.float32(1e38) else np.float32(0.0)
    return np.int16(np.int32(np.rint(min(max(y, np.float32(-32767.0)), np.float32(32767.0)))))


@kernel()
def _whiten_cells(x: Array, base: Float32s, scale: Float32s, y: Int16s) -> None:
    """Whitened samples from the beginning of a cell on."""
    unit = np.float32(UNIT)
    whole = x.shape[0] // _LANES
    for c in range(whole):
        level, factor = base[c], scale[c] * unit
        for i in range(_LANES):
            y[_LANES * c + i] = _integer(x[_LANES * c + i], level, factor)
    for i in range(_LANES * whole, x.shape[0]):
        y[i] = _integer(x[i], base[whole], scale[whole] * unit)


@kernel(inline=True)
def _held(x: np.int16, y: np.int16) -> np.int16:
    """Sum of two, held within int16."""
    return np.int16(min(max(int(x) + int(y), -32768), 32767))


@kernel()
def _pairs(halved: bool, x: Int16s, out: Int16s) -> None:
    """Sums of pairs, on demand halved (rounded up)."""
    if halved:
        for i in range(out.shape[0]):
            out[i] = _held(_held(x[2 * i], x[2 * i + 1]), np.int16(1)) >> 1
    else:
        for i in range(out.shape[0]):
            out[i] = _held(x[2 * i], x[2 * i + 1])


@kernel()
def _boxes(x: Int16s, limits: Int16s) -> bool:
    """True if a box of 1 to 8 elements is above its threshold among those that begin at 32 neighbours."""
    above = False
    for i in range(_LANES):
        total = x[i]
        above |= total > limits[0]
        for k in range(1, 8):
            total = _held(total, x[i + k])
            above |= total > limits[k]
    return above


@kernel(inline=True)
def _best_box(x: Array, at: int, narrowest: int, limits: Floats, last: int) -> tuple[float, int, int]:
    """The boxcar that is furthest above its threshold, in units of it, its start and its width, among 32 starts.

    `last` is the number of elements; boxes end there at most.
    """
    best = -1.0
    where = 0
    width = 0
    for i in range(min(_LANES, last - at)):
        total = 0.0
        for k in range(min(8, last - at - i)):
            total += np.float64(x[at + i + k])
            if k >= narrowest and total > best * limits[k]:
                best = total / limits[k]
                where = at + i
                width = k + 1
    return best, where, width


@kernel(inline=True)
def _zero_runs(y: Int16s, first: int, n: int, runs: Ints, at: int) -> int:
    """Put 0 where runs cover the samples ``first ... first + n``; the runs before `at` end earlier."""
    while at < runs.shape[0] and runs[at, 1] <= first:
        at += 1
    k = at
    while k < runs.shape[0] and runs[k, 0] < first + n:
        y[max(runs[k, 0] - first, 0) : min(runs[k, 1] - first, n)] = 0
        k += 1
    return at


@kernel(inline=True)
def _unit(level: int) -> float:
    """Factor of a sum of whitened samples at a level: noise of an element is 256 or 362."""
    return UNIT / (1 << (level >> 1))


@kernel(inline=True)
def _narrowest(level: int) -> int:
    """Elements of the widest box that a level leaves to the one before."""
    return 0 if level == 0 else 4


@kernel()
def _note(
    boxes: Floats, count: int, x: Array, at: int, level: int, first: int,
    limits: Floats, last: int,
) -> int:  # fmt: skip
    """Write down the best box of one vector: S/N in units of the threshold, first sample, samples, level, vector."""
    ratio, start, width = _best_box(x, at, _narrowest(level), limits, last)
    if ratio <= 1.0:
        return count
    if count < boxes.shape[0]:
        boxes[count, 0] = ratio
        boxes[count, 1] = first + (start << level)
        boxes[count, 2] = width << level
        boxes[count, 3] = level
        boxes[count, 4] = first + (at << level)
    return count + 1


@kernel()
def _whiten(
    ints: Int16s, floats: Float32s, first: int, have: int, base: Float32s,
    scale: Float32s, y: Int16s,
) -> None:  # fmt: skip
    """Whitened samples ``first ... first + have``, and zeros to the end of `y`."""
    c = first // _LANES
    if ints.shape[0] > 0:
        _whiten_cells(ints[first : first + have], base[c:], scale[c:], y)
    else:
        _whiten_cells(floats[first : first + have], base[c:], scale[c:], y)
    y[have:] = 0


@kernel()
def scan_either(
    ints: Int16s,
    floats: Float32s,
    base: Float32s,
    scale: Float32s,
    cells: Float32s,
    runs: Ints,
    limits: Floats,
    work: Int16s,
    boxes: Floats,
) -> int:
    """Vectors of 32 starts with boxcars above the thresholds.

    Parameters
    ----------
    ints, floats : ndarray of int16 and of float32, shape (n,)
        The series; one of them is empty.
    base, scale : ndarray of float32, shape (ncells,)
    cells : ndarray of float32, shape (>= ncells + 64,)
        Whitened sums of cells, and zeros.
    runs : ndarray of int64, shape (nruns, 2)
        Stretches that count as nothing.
    limits : ndarray of float64, shape (nlevels, 8)
        Thresholds of sums of k + 1 elements of level l, 2^l samples each, in units of the noise of a sample; inf
        where there is nothing to look for.
    work : ndarray of int16, shape (>= 2 ncells + 256,)
        Overwritten.
    boxes : ndarray of float64, shape (most, 5)
        Sum over threshold, first sample, samples, level, and first sample of the vector.

    Returns
    -------
    int
        Number found, which may be more than there is room for.
    """
    n = ints.shape[0] + floats.shape[0]
    nlevels = limits.shape[0]
    fine = min(nlevels, FINE_LEVELS)
    y0 = np.zeros(_CHUNK + _HALO + 64, np.int16)
    # Of the levels that follow, one after the other; each fills half of the row of the one before.
    sums = np.zeros((FINE_LEVELS - 1, _CHUNK // 2 + _HALO // 2 + 64), np.int16)
    # Thresholds in the integers of each level.
    whole = np.empty((nlevels, 8), np.int16)
    near = np.empty((nlevels, 8), np.float64)
    for level in range(nlevels):
        for k in range(8):
            near[level, k] = limits[level, k] * _unit(level)
            whole[level, k] = np.int16(32767)
            if limits[level, k] < np.inf and k >= _narrowest(level):
                whole[level, k] = np.int16(min(near[level, k], 32000.0))
    # A plain 0 is a type of its own, and makes versions of what it is given to.
    count: Any = np.int64(0)
    none: Any = np.int64(0)
    run = 0
    for first in range(0, n, _CHUNK):
        have = min(_CHUNK + _HALO, n - first)
        _whiten(ints, floats, first, have, base, scale, y0)
        if runs.shape[0] > 0:
            run = _zero_runs(y0, first, have, runs, run)
        here = min(_CHUNK, n - first)
        for v in range(0, here, _LANES):
            if _boxes(y0[v:], whole[0]):
                count = _note(boxes, count, y0, v, none, first, near[0], have)
        x = y0
        for level in range(1, fine):
            y = sums[level - 1]
            _halve(level, x, (_CHUNK + _HALO) >> level, y)
            count = _level(boxes, count, y, level, first, here, have, whole[level], near[level])
            x = y
    if nlevels > FINE_LEVELS:
        count = _coarse(n, cells, whole, near, work, boxes, count)
    return int(count)


scan = of_series(scan_either)


@kernel(inline=True)
def _halve(level: int, x: Int16s, n: int, y: Int16s) -> None:
    """The first `n` sums of a level from those of the one before, halved at every other level: see :func:`_unit`."""
    _pairs(level & 1 == 0, x, y[:n])


@kernel(inline=True)
def _level(
    boxes: Floats, count: int, y: Int16s, level: int, first: int, here: int, have: int,
    t: Int16s, near: Floats,
) -> int:  # fmt: skip
    starts = (here + (1 << level) - 1) >> level
    for v in range(0, starts, _LANES):
        if _boxes(y[v:], t):
            count = _note(boxes, count, y, v, level, first, near, (have + (1 << level) - 1) >> level)
    return count


@kernel(reorder=True)
def _quantised(x: Float32s, unit: np.float32, out: Int16s) -> None:
    for i in range(out.shape[0]):
        out[i] = np.int16(np.rint(min(max(x[i] * unit, np.float32(-32767.0)), np.float32(32767.0))))


@kernel(inline=True)
def _coarse(
    n: int, cells: Float32s, t: Int16s, near: Floats, work: Int16s,
    boxes: Floats, count: int,
) -> int:  # fmt: skip
    """The levels that are made of cells."""
    m = (n + (1 << FINE_LEVELS) - 1) >> FINE_LEVELS
    room = -(-m // _LANES) * _LANES
    buffers = work[: 2 * (room + 2 * _LANES)].reshape(2, room + 2 * _LANES)
    x = buffers[0]
    _quantised(cells, np.float32(_unit(FINE_LEVELS)), x[:m])
    x[m:] = 0
    none: Any = np.int64(0)
    for level in range(FINE_LEVELS, t.shape[0]):
        if level > FINE_LEVELS:
            y = buffers[(level - FINE_LEVELS) & 1]
            m = (m + 1) >> 1
            _halve(level, x, m, y)
            y[m : m + 2 * _LANES] = 0
            x = y
        count = _level(boxes, count, x, level, none, n, n, t[level], near[level])
    return count
