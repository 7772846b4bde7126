"""Fast folding: profiles of a series at all periods between b and b + 1 samples, and the best boxcar of each.

The series is cut into rows of b samples. Sums of all rows, each row s/(m - 1) of a sample later than the row before,
s = 0 ... m - 1, come from those of the first and the second half of the rows; four quarters at a time are merged here.
Rows are kept with their first 16 samples repeated at the end, so that a circular shift is a plain load from anywhere.
The last merge leaves 16 profiles in the first cache, where they are turned so that a vector holds one phase of all 16.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel, vector

#: Profiles side by side.
LANES = 16
_FUSE = ("contract", "reassoc")
_I64 = ir.IntType(64)
_VEC = ir.VectorType(ir.FloatType(), LANES)


@kernel(inline=True)
def stride(bins: int) -> int:
    """Floats from one row to the next: the row, its first 16 samples again, and up to a whole vector."""
    return (bins + 2 * LANES - 1) & ~(LANES - 1)


@kernel()
def work_size(nsamps: int, bins: int, widest: int) -> int:
    """Floats of work space for transforms of `nsamps` samples in rows of `bins`, and boxes of `widest` bins."""
    rows = nsamps // bins
    return 2 * rows * stride(bins) + 2 * LANES * stride(bins) + (stride(bins) + widest + LANES) * LANES


def _load(builder: Any, data: Any, at: Any, align: int = 4) -> Any:
    return builder.load(builder.bitcast(builder.gep(data, [at]), _VEC.as_pointer()), align=align)


def _store(builder: Any, value: Any, data: Any, at: Any, align: int = 4) -> None:
    builder.store(value, builder.bitcast(builder.gep(data, [at]), _VEC.as_pointer()), align=align)


def _merge_code(builder: Any, args: Any, count: int) -> None:
    data, bins, out, to = args[1], args[2], args[3], args[4]
    rows = [(args[5 + 2 * k], args[6 + 2 * k]) for k in range(count)]

    def total(i: Any) -> Any:
        parts = []
        for at, shift in rows:
            j = builder.add(i, shift)
            wrapped = builder.sub(j, bins)
            j = builder.select(builder.icmp_signed(">=", j, bins), wrapped, j)
            parts.append(_load(builder, data, builder.add(at, j)))
        while len(parts) > 1:
            parts = [
                builder.fadd(parts[k], parts[k + 1]) if k + 1 < len(parts) else parts[k]
                for k in range(0, len(parts), 2)
            ]
        return parts[0]

    first = total(_I64(0))
    _store(builder, first, out, to)
    with cgutils.for_range_slice(builder, _I64(LANES), bins, _I64(LANES), inc=True) as (i, _):
        _store(builder, total(i), out, builder.add(to, i))
    # The repeated beginning.
    _store(builder, first, out, builder.add(to, bins))


@vector(_merge_code, literal=0)
def _merge(
    count: int,
    data: NDArray[np.float32],
    bins: int,
    out: NDArray[np.float32],
    to: int,
    a: int,
    shift_a: int,
    b: int,
    shift_b: int,
    c: int,
    shift_c: int,
    d: int,
    shift_d: int,
) -> None:
    """Sum of the first `count` of four rows, each read from its own shift (0 ... bins - 1) on, into ``out[to:]``."""
    total = np.zeros(bins, np.float32)
    for at, shift in ((a, shift_a), (b, shift_b), (c, shift_c), (d, shift_d))[:count]:
        total += np.roll(data[at : at + bins], -shift)
    out[to : to + bins] = total
    out[to + bins : to + bins + LANES] = np.resize(total, LANES)


def _copy_code(builder: Any, args: Any) -> None:
    data, at, bins, out, to = args
    first = _load(builder, data, at)
    _store(builder, first, out, to)
    with cgutils.for_range_slice(builder, _I64(LANES), bins, _I64(LANES), inc=True) as (i, _):
        _store(builder, _load(builder, data, builder.add(at, i)), out, builder.add(to, i))
    _store(builder, first, out, builder.add(to, bins))


@vector(_copy_code)
def _copy(data: NDArray[np.float32], at: int, bins: int, out: NDArray[np.float32], to: int) -> None:
    """A row, to where rows are followed by their first 16 samples; up to 15 beyond its end are read."""
    row = data[at : at + bins]
    out[to : to + bins] = row
    out[to + bins : to + bins + LANES] = np.resize(row, LANES)


def _turn_code(builder: Any, args: Any) -> None:
    rows, step, at, tile, to = args
    lanes = ir.VectorType(ir.IntType(32), LANES)
    block = [_load(builder, rows, builder.add(at, builder.mul(step, _I64(r)))) for r in range(LANES)]
    for d in (8, 4, 2, 1):
        # Lanes with the bit d of the upper row for those without it of the lower one.
        low = ir.Constant(lanes, [k if not k & d else LANES + k - d for k in range(LANES)])
        high = ir.Constant(lanes, [k + d if not k & d else LANES + k for k in range(LANES)])
        for r in range(LANES):
            if not r & d:
                a, b = block[r], block[r + d]
                block[r] = builder.shuffle_vector(a, b, low)
                block[r + d] = builder.shuffle_vector(a, b, high)
    total = _load(builder, tile, to)
    for k in range(LANES):
        total = builder.fadd(total, block[k])
        _store(builder, total, tile, builder.add(to, _I64(LANES * (k + 1))))


@vector(_turn_code)
def _turn(rows: NDArray[np.float32], step: int, at: int, tile: NDArray[np.float32], to: int) -> None:
    """Running sums over 16 phases of 16 rows `step` apart, a vector of all rows for each phase, after ``tile[to]``."""
    total = tile[to : to + LANES].copy()
    for k in range(LANES):
        total += rows[at + k : at + k + LANES * step : step][:LANES]
        tile[to + LANES * (k + 1) : to + LANES * (k + 2)] = total


def _extend_code(builder: Any, args: Any) -> None:
    tile, bins, count = args
    end = builder.mul(bins, _I64(LANES))
    whole = _load(builder, tile, end)
    with cgutils.for_range_slice(builder, _I64(LANES), builder.mul(count, _I64(LANES)), _I64(LANES), inc=True) as (
        i,
        _,
    ):
        _store(builder, builder.fadd(whole, _load(builder, tile, i)), tile, builder.add(end, i))


@vector(_extend_code)
def _extend(tile: NDArray[np.float32], bins: int, count: int) -> None:
    """Running sums of up to `count` - 1 phases of the next turn."""
    sums = tile.reshape(-1, LANES)
    sums[bins + 1 : bins + count] = sums[bins] + sums[1:count]


def _boxes_code(builder: Any, args: Any, count: int) -> None:
    tile, bins, widths, first, out = args[1:]
    offsets = []
    for k in range(count):
        width = builder.load(builder.gep(widths, [builder.add(first, _I64(k))]))
        offsets.append(builder.mul(width, _I64(LANES)))
    low = ir.Constant(_VEC, [float("-inf")] * LANES)
    best = [builder.alloca(_VEC) for _ in range(count)]
    for place in best:
        builder.store(low, place)
    with cgutils.for_range_slice(builder, _I64(0), builder.mul(bins, _I64(LANES)), _I64(LANES), inc=True) as (i, _):
        start = _load(builder, tile, i)
        for k in range(count):
            box = builder.fsub(_load(builder, tile, builder.add(i, offsets[k])), start)
            top = builder.load(best[k])
            builder.store(builder.select(builder.fcmp_ordered(">", box, top), box, top), best[k])
    for k in range(count):
        to = builder.mul(builder.add(first, _I64(k)), _I64(LANES))
        _store(builder, builder.load(best[k]), out, to)


@vector(_boxes_code, literal=0)
def _boxes(
    count: int,
    tile: NDArray[np.float32],
    bins: int,
    widths: NDArray[np.int64],
    first: int,
    out: NDArray[np.float32],
) -> None:
    """Largest box of every lane for `count` widths from number `first` on: into row ``first + k`` of `out`."""
    sums = tile.reshape(-1, LANES)
    for k in range(first, first + count):
        w = widths[k]
        out[LANES * k : LANES * (k + 1)] = np.max(sums[w : w + bins] - sums[:bins], axis=0)


@kernel(inline=True)
def _ratio(part: int, whole: int) -> float:
    return (part - 1.0) / (whole - 1.0) if whole > 1 else 0.0


@kernel(inline=True)
def _near(x: float) -> int:
    return int(x + 0.5)


@kernel()
def _merge_few(
    data: NDArray[np.float32], at: int, rows: int, bins: int, out: NDArray[np.float32], to: int, lo: int, hi: int
) -> None:
    """Transform of one to four rows: the sums `lo` to `hi`."""
    step = stride(bins)
    for s in range(lo, hi):
        o = to + (s - lo) * step
        if rows == 1:
            _merge(1, data, bins, out, o, at, 0, 0, 0, 0, 0, 0, 0)
        elif rows == 2:
            _merge(2, data, bins, out, o, at, 0, at + step, s % bins, 0, 0, 0, 0)
        elif rows == 3:
            t = _near(0.5 * s)
            _merge(3, data, bins, out, o, at, 0, at + step, (s - t) % bins, at + 2 * step, s % bins, 0, 0)
        else:
            t = _near(s / 3.0)
            b = at + step
            c = b + step
            _merge(4, data, bins, out, o, at, 0, b, t % bins, c, (s - t) % bins, c + step, s % bins)


@kernel()
def _merge_quarters(
    data: NDArray[np.float32], at: int, rows: int, bins: int, out: NDArray[np.float32], to: int, lo: int, hi: int
) -> None:
    """From the transforms of the four quarters of `rows` rows to the sums `lo` to `hi` of all of them."""
    step = stride(bins)
    head = rows >> 1
    tail = rows - head
    a = head >> 1
    b = head - a
    c = tail >> 1
    d = tail - c
    to_head = _ratio(head, rows)
    to_tail = _ratio(tail, rows)
    to_a = _ratio(a, head)
    to_b = _ratio(b, head)
    to_c = _ratio(c, tail)
    to_d = _ratio(d, tail)
    for s in range(lo, hi):
        h = _near(to_head * s)
        t = _near(to_tail * s)
        i = _near(to_a * h)
        j = _near(to_b * h)
        k = _near(to_c * t)
        n = _near(to_d * t)
        _merge(
            4,
            data,
            bins,
            out,
            to + (s - lo) * step,
            at + i * step,
            0,
            at + (a + j) * step,
            (h - j) % bins,
            at + (head + k) * step,
            (s - t) % bins,
            at + (head + c + n) * step,
            (s - n) % bins,
        )


@kernel()
def _node(rows: int, depth: int, index: int) -> tuple[int, int]:
    """First row and number of rows of a part after `depth` halvings."""
    first = 0
    size = rows
    for k in range(depth - 1, -1, -1):
        half = size >> 1
        if (index >> k) & 1:
            first += half
            size -= half
        else:
            size = half
    return first, size


@kernel()
def _levels(rows: int) -> int:
    """Merges by four above parts of up to four rows."""
    levels = 0
    while -(-rows >> (2 * levels)) > 4:
        levels += 1
    return levels


@kernel()
def _quarters(data: NDArray[np.float32], rows: int, bins: int, work: NDArray[np.float32]) -> int:
    """All but the last merge; returns where in `work` the transforms of the four quarters are.

    Parts of up to 16 rows go through the first cache; after four of them their sum is made, after four of those theirs.
    With up to four rows there are no quarters: the rows are copied.
    """
    step = stride(bins)
    whole = rows * step
    small = 2 * whole
    sums = small + LANES * step
    levels = _levels(rows)
    if levels == 0:
        for r in range(rows):
            _copy(data, r * bins, bins, work, r * step)
        return 0
    blocks = 1 << (2 * (levels - 1))
    for block in range(blocks):
        first, size = _node(rows, 2 * (levels - 1), block)
        for r in range(size):
            _copy(data, (first + r) * bins, bins, work, small + r * step)
        for quarter in range(4):
            start, count = _node(size, 2, quarter)
            if levels == 1:
                _merge_few(work, small + start * step, count, bins, work, whole + start * step, 0, count)
            else:
                _merge_few(work, small + start * step, count, bins, work, sums + start * step, 0, count)
        if levels == 1:
            continue
        # What has been merged to depth 2 p lies in the half p % 2.
        level = levels - 1
        _merge_quarters(work, sums, size, bins, work, (level & 1) * whole + first * step, 0, size)
        index = block
        while index & 3 == 3 and level > 1:
            index >>= 2
            level -= 1
            first, size = _node(rows, 2 * level, index)
            origin = ((level + 1) & 1) * whole + first * step
            _merge_quarters(work, origin, size, bins, work, (level & 1) * whole + first * step, 0, size)
    return whole


@kernel()
def transform(
    data: NDArray[np.float32], rows: int, bins: int, work: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Fast folding transform.

    Parameters
    ----------
    data : ndarray of float32, shape (>= rows bins + 16,)
        Samples; those after ``rows bins`` are read and not used.
    rows, bins : int
        Turns and phase bins, bins >= 16.
    work : ndarray of float32, shape (>= work_size(rows bins, bins, 0),)
    out : ndarray of float32, shape (rows, bins)
        Row s: sum over r of row r of the data, shifted to the left by about ``s r/(rows - 1)`` samples: rows of half as
        many rows each round to whole samples.
    """
    step = stride(bins)
    at = _quarters(data, rows, bins, work)
    sums = 2 * rows * step + LANES * step
    for s in range(rows):
        if rows <= 4:
            _merge_few(work, at, rows, bins, work, sums, s, s + 1)
        else:
            _merge_quarters(work, at, rows, bins, work, sums, s, s + 1)
        out[s] = work[sums : sums + bins]


@kernel()
def _largest(tile: NDArray[np.float32], bins: int, widths: NDArray[np.int64], out: NDArray[np.float32]) -> None:
    count = widths.shape[0]
    first = 0
    while first < count:
        left = count - first
        if left >= 6:
            _boxes(6, tile, bins, widths, first, out)
            first += 6
        elif left >= 4:
            _boxes(4, tile, bins, widths, first, out)
            first += 4
        elif left >= 2:
            _boxes(2, tile, bins, widths, first, out)
            first += 2
        else:
            _boxes(1, tile, bins, widths, first, out)
            first += 1


@kernel()
def search_periods(
    data: NDArray[np.float32],
    nsamps: int,
    transforms: NDArray[np.int64],
    widths: NDArray[np.int64],
    noise: NDArray[np.float64],
    work: NDArray[np.float32],
    best: NDArray[np.float32],
    which: NDArray[np.uint8],
    snrs: NDArray[np.float32],
) -> None:
    """Best boxcar S/N of the profiles at many periods.

    With the sum S of the box, that of the turn S_tot, n bins, a box of w, and a noise of sigma for a sample,
    S/N = (S - w/n S_tot) / (sigma sqrt(rows w (1 - w/n))): the filter is a box of zero mean and unit norm.

    Parameters
    ----------
    data : ndarray of float32, shape (>= nsamps + 16,)
        Samples with zero mean.
    nsamps : int
    transforms : ndarray of int64, shape (ntransforms, 4)
        Bins, first row, row after the last, where the first row goes in `best`. Row s of m is the period
        ``bins^2 / (bins - s/(m - 1))``.
    widths : ndarray of int64, shape (nwidths,)
        Of the boxes [bins], each less than any of the numbers of bins.
    noise : ndarray of float64, shape (nwidths,)
        Standard deviation of a sample; what a box of that width has, over the root of the width.
    work : ndarray of float32, shape (>= work_size(nsamps, bins, widest),)
        For every one of the numbers of bins.
    best : ndarray of float32, shape (>= 15 + ntrials,)
        Largest S/N of every period; up to 15 elements after the last are spoilt.
    which : ndarray of uint8, as `best`
        Which of the widths has it.
    snrs : ndarray of float32, shape (ntrials, nwidths), or (0, 0)
        Filled with the S/N of every width, if there is room.
    """
    nwidths = widths.shape[0]
    widest = 1
    for k in range(nwidths):
        widest = max(widest, widths[k])
    largest = np.empty(nwidths * LANES, np.float32)
    inside = np.empty(nwidths, np.float32)
    below = np.empty(nwidths, np.float32)
    every = snrs.shape[0] > 0
    for i in range(transforms.shape[0]):
        bins, lo, hi, to = transforms[i]
        rows = nsamps // bins
        step = stride(bins)
        at = _quarters(data, rows, bins, work)
        sums = 2 * rows * step + LANES * step
        tile = work[2 * (rows + LANES) * step :]
        for k in range(nwidths):
            w = float(widths[k])
            scale = 1.0 / (noise[k] * np.sqrt(rows * w * (1.0 - w / bins)))
            inside[k] = scale
            below[k] = scale * w / bins
        for s in range(lo, hi, LANES):
            end = min(s + LANES, hi)
            if rows <= 4:
                _merge_few(work, at, rows, bins, work, sums, s, end)
            else:
                _merge_quarters(work, at, rows, bins, work, sums, s, end)
            tile[:LANES] = np.float32(0.0)
            for phase in range(0, bins, LANES):
                _turn(work, step, sums + phase, tile, phase * LANES)
            _extend(tile, bins, widest + 1)
            _largest(tile, bins, widths, largest)
            first = to + s - lo
            for lane in range(LANES):
                best[first + lane] = np.float32(-np.inf)
            for k in range(nwidths):
                for lane in range(LANES):
                    value = inside[k] * largest[LANES * k + lane] - below[k] * tile[bins * LANES + lane]
                    if value > best[first + lane]:
                        best[first + lane] = value
                        which[first + lane] = k
                    if every and s + lane < hi:
                        snrs[first + lane, k] = value
