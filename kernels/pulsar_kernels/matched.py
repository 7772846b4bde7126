"""Boxcars of all widths over one series, in vectors: where something stands out.

A scan looks for boxcars of 1 to 8 samples, and of 5 to 8 sums of 2, 4, 8 ... samples, above a threshold low enough that
no pulse falls between two of them. What is found is then measured exactly (`pulsar_kernels.pulses`), at all widths and
places, so that the coarse ladder costs no sensitivity.
"""

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from pulsar_kernels._ir import (
    F32,
    I16,
    I32,
    constant,
    floats,
    intrinsic,
    lane_bits,
    load,
    plus,
    saturated,
    shuffle,
    splat,
    store,
    vector_of,
)
from pulsar_kernels._jit import kernel, vector
from pulsar_kernels.cells import FINE_LEVELS
from pulsar_kernels.either import of_series, sample

#: Noise of a whitened sample in the integers of the scan.
UNIT = 256.0

_LANES = 32
_CHUNK = 4096
_HALO = 256

_WORDS = vector_of(I16, _LANES)


def _whiten_code(builder: Any, args: Any) -> None:
    element = args[0].type.pointee
    vec = vector_of(F32, _LANES)
    x = floats(builder, load(builder, args[0], args[1], vector_of(element, _LANES)))
    y = builder.fmul(builder.fsub(x, splat(builder, args[2], _LANES)), splat(builder, args[3], _LANES))
    if element == F32:
        # What is not finite is nothing.
        good = builder.fcmp_ordered("<=", intrinsic(builder, "fabs", y), constant(vec, 1e38))
        y = builder.select(good, y, constant(vec, 0.0))
    y = intrinsic(builder, "minnum", intrinsic(builder, "rint", y), constant(vec, 32767.0))
    y = intrinsic(builder, "maxnum", y, constant(vec, -32767.0))
    store(builder, builder.trunc(builder.fptosi(y, vector_of(I32, _LANES)), _WORDS), args[4], args[5])


@vector(_whiten_code)
def _whiten_32(x: NDArray[Any], at: int, base: np.float32, scale: np.float32, out: NDArray[np.int16], to: int) -> None:
    """Write 32 samples minus `base`, times `scale`, rounded and held within int16; what is not finite becomes 0."""
    y = (x[at : at + _LANES].astype(np.float32) - base) * scale
    y[~(np.abs(y) <= 1e38)] = 0.0
    out[to : to + _LANES] = np.clip(np.rint(y), -32767.0, 32767.0)


def _pairs_code(builder: Any, args: Any, form: int) -> None:
    a, b = (load(builder, args[1], plus(builder, args[2], half * _LANES), _WORDS) for half in range(2))
    even, odd = (shuffle(builder, a, b, range(k, 2 * _LANES, 2)) for k in range(2))
    total = saturated(builder, even, odd)
    if form:
        total = builder.ashr(saturated(builder, total, constant(_WORDS, 1)), constant(_WORDS, 1))
    store(builder, total, args[3], args[4])


@vector(_pairs_code, literal=0)
def _pairs_32(form: int, x: NDArray[np.int16], at: int, out: NDArray[np.int16], to: int) -> None:
    """Write the sums of 32 pairs from ``x[at:]``, halved (rounded up) if `form` is 1; saturated."""
    pair = x[at : at + 2 * _LANES].astype(np.int64)
    total = np.clip(pair[0::2] + pair[1::2], -32768, 32767)
    if form:
        total = np.minimum(total + 1, 32767) >> 1
    out[to : to + _LANES] = total


def _boxes_code(builder: Any, args: Any, form: int) -> Any:
    def loaded(offset: int) -> Any:
        return load(builder, args[1], plus(builder, args[2], offset), _WORDS)

    # Loads across cache lines and shifts of registers have units of their own: half of the shifts by each.
    pairs = vector_of(I32, _LANES // 2)
    a, b = (builder.bitcast(loaded(offset), pairs) for offset in (0, _LANES))

    def shifted(k: int) -> Any:
        if k % 2 or k == 0:
            return loaded(k)
        return builder.bitcast(shuffle(builder, a, b, [k // 2 + j for j in range(_LANES // 2)]), _WORDS)

    total: Any = None
    above: Any = None
    for k in range(8):
        x = shifted(k)
        total = x if total is None else saturated(builder, total, x)
        if k >= form:
            limit = splat(builder, builder.trunc(args[3 + k], I16), _LANES)
            mask = builder.icmp_signed(">", total, limit)
            above = mask if above is None else builder.or_(above, mask)
    return lane_bits(builder, above)


@vector(_boxes_code, literal=0, returns=types.int64)
def _boxes_32(
    form: int,
    x: NDArray[np.int16],
    at: int,
    t1: int,
    t2: int,
    t3: int,
    t4: int,
    t5: int,
    t6: int,
    t7: int,
    t8: int,
) -> int:
    """Boxcars above a threshold among those that begin at 32 neighbours: `t1` for one element, `t8` for eight.

    Only those of more than `form` elements count. Bit k of the value returned is set for the start ``at + k``. Sums
    are saturated.
    """
    # Many arguments: vector instructions take arrays and numbers, which stay in registers; no tuples.
    limits = (t1, t2, t3, t4, t5, t6, t7, t8)
    total = np.zeros(_LANES, np.int64)
    above = np.zeros(_LANES, bool)
    for k in range(8):
        total = np.clip(total + x[at + k : at + k + _LANES], -32768, 32767)
        if k >= form:
            above |= total > limits[k]
    return sum(1 << k for k in range(_LANES) if above[k])


@kernel(inline=True)
def _best_box(
    x: NDArray[Any], at: int, narrowest: int, limits: NDArray[np.float64], last: int
) -> tuple[float, int, int]:
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
def _zero_runs(y: NDArray[np.int16], first: int, n: int, runs: NDArray[np.int64], at: int) -> int:
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


@kernel()
def _note(
    found: NDArray[np.float64], count: int, x: NDArray[Any], at: int, level: int, first: int,
    limits: NDArray[np.float64], last: int,
) -> int:  # fmt: skip
    """Write down the best box of one vector: S/N in units of the threshold, first sample, samples, level, vector."""
    ratio, start, width = _best_box(x, at, 0 if level == 0 else 4, limits, last)
    if ratio <= 1.0:
        return count
    if count < found.shape[0]:
        found[count, 0] = ratio
        found[count, 1] = first + (start << level)
        found[count, 2] = width << level
        found[count, 3] = level
        found[count, 4] = first + (at << level)
    return count + 1


@kernel()
def _whiten(
    ints: NDArray[np.int16], floats: NDArray[np.float32], first: int, have: int, base: NDArray[np.float32],
    scale: NDArray[np.float32], tail: NDArray[np.float32], y: NDArray[np.int16],
) -> None:  # fmt: skip
    """Whitened samples ``first ... first + have``, and zeros to the end of `y`; `tail` is room for one vector."""
    unit32 = np.float32(UNIT)
    full = have // _LANES
    for v in range(full):
        c = (first >> 5) + v
        if ints.shape[0] > 0:
            _whiten_32(ints, first + v * _LANES, base[c], scale[c] * unit32, y, v * _LANES)
        else:
            _whiten_32(floats, first + v * _LANES, base[c], scale[c] * unit32, y, v * _LANES)
    if have < _CHUNK + _HALO:
        y[full * _LANES :] = 0
        if have > full * _LANES:
            c = (first >> 5) + full
            for i in range(full * _LANES, have):
                tail[i - full * _LANES] = sample(ints, floats, first + i)
            _whiten_32(tail, 0, base[c], scale[c] * unit32, y, full * _LANES)
            y[have:] = 0


@kernel()
def scan_either(
    ints: NDArray[np.int16],
    floats: NDArray[np.float32],
    base: NDArray[np.float32],
    scale: NDArray[np.float32],
    cells: NDArray[np.float32],
    runs: NDArray[np.int64],
    limits: NDArray[np.float64],
    work: NDArray[np.int16],
    found: NDArray[np.float64],
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
    found : ndarray of float64, shape (most, 5)
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
    tail = np.zeros(_LANES, np.float32)
    # Thresholds in the integers of each level.
    whole = np.empty((nlevels, 8), np.int64)
    near = np.empty((nlevels, 8), np.float64)
    for level in range(nlevels):
        for k in range(8):
            near[level, k] = limits[level, k] * _unit(level)
            whole[level, k] = int(min(near[level, k], 32000.0)) if limits[level, k] < np.inf else 32767
    count = 0
    run = 0
    for first in range(0, n, _CHUNK):
        have = min(_CHUNK + _HALO, n - first)
        _whiten(ints, floats, first, have, base, scale, tail, y0)
        if runs.shape[0] > 0:
            run = _zero_runs(y0, first, have, runs, run)
        t = whole[0]
        a1, a2, a3, a4, a5, a6, a7, a8 = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]
        here = min(_CHUNK, n - first)
        for v in range(0, here, _LANES):
            if _boxes_32(0, y0, v, a1, a2, a3, a4, a5, a6, a7, a8) != 0:
                count = _note(found, count, y0, v, 0, first, near[0], have)
        x = y0
        for level in range(1, fine):
            y = sums[level - 1]
            _halve(level, x, (_CHUNK + _HALO) >> level, y)
            count = _level(found, count, y, level, first, here, have, whole[level], near[level])
            x = y
    if nlevels > FINE_LEVELS:
        count = _coarse(n, cells, whole, near, work, found, count)
    return count


scan = of_series(scan_either)


@kernel(inline=True)
def _halve(level: int, x: NDArray[np.int16], n: int, y: NDArray[np.int16]) -> None:
    """The first `n` sums of a level from those of the one before, halved at every other level: see :func:`_unit`."""
    if level & 1:
        for v in range(0, n, _LANES):
            _pairs_32(0, x, 2 * v, y, v)
    else:
        for v in range(0, n, _LANES):
            _pairs_32(1, x, 2 * v, y, v)


@kernel(inline=True)
def _level(
    found: NDArray[np.float64], count: int, y: NDArray[np.int16], level: int, first: int, here: int, have: int,
    t: NDArray[np.int64], near: NDArray[np.float64],
) -> int:  # fmt: skip
    a5, a6, a7, a8 = t[4], t[5], t[6], t[7]
    starts = (here + (1 << level) - 1) >> level
    for v in range(0, starts, _LANES):
        if _boxes_32(4, y, v, 0, 0, 0, 0, a5, a6, a7, a8) != 0:
            count = _note(found, count, y, v, level, first, near, (have + (1 << level) - 1) >> level)
    return count


@kernel(reorder=True)
def _quantised(x: NDArray[np.float32], unit: np.float32, out: NDArray[np.int16]) -> None:
    for i in range(out.shape[0]):
        out[i] = np.int16(np.rint(min(max(x[i] * unit, np.float32(-32767.0)), np.float32(32767.0))))


@kernel(inline=True)
def _coarse(
    n: int, cells: NDArray[np.float32], t: NDArray[np.int64], near: NDArray[np.float64], work: NDArray[np.int16],
    found: NDArray[np.float64], count: int,
) -> int:  # fmt: skip
    """The levels that are made of cells."""
    m = (n + (1 << FINE_LEVELS) - 1) >> FINE_LEVELS
    room = -(-m // _LANES) * _LANES
    buffers = work[: 2 * (room + 2 * _LANES)].reshape(2, room + 2 * _LANES)
    x = buffers[0]
    _quantised(cells, np.float32(_unit(FINE_LEVELS)), x[:m])
    x[m:] = 0
    for level in range(FINE_LEVELS, t.shape[0]):
        if level > FINE_LEVELS:
            y = buffers[(level - FINE_LEVELS) & 1]
            m = (m + 1) >> 1
            _halve(level, x, m, y)
            y[m : m + 2 * _LANES] = 0
            x = y
        count = _level(found, count, x, level, 0, n, n, t[level], near[level])
    return count
