"""Sums of the channels of a band, each with its delay, in bytes and words.

Integers: exact, and the same in whatever order they are made.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel, prefetch, vector

#: Samples of a piece, for which pairs of channels are tabulated, and of a stretch, for which rows are summed in
#: registers.
PIECE = 512
STRETCH = 256
#: Added to a signed byte: two samples can then be summed as one word without a borrow.
BIAS = 128
STEP = 64

_BYTES = ir.VectorType(ir.IntType(8), STEP)
WORDS = ir.VectorType(ir.IntType(16), STEP // 2)


def constant(kind: Any, value: int) -> Any:
    """Vector constant."""
    return ir.Constant(kind, [value] * kind.count)


def vector_at(builder: Any, pointer: Any, at: Any, kind: Any) -> Any:
    """Where a vector begins in an array."""
    return builder.bitcast(builder.gep(pointer, [at]), kind.as_pointer())


def _sum_bytes_code(builder: Any, args: Any, flip: int) -> None:
    i16, i32, i64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
    _, data, start, places, first, count, rows, to = args
    eight = constant(WORDS, 8)
    variable: Any = cgutils.alloca_once_value
    sums = [variable(builder, constant(WORDS, 0)) for _ in range(2 * (STRETCH // STEP))]

    def add(at: Any, several: int) -> None:
        """Add the rows at `several` places, as many words and upper bytes of words."""
        now = [builder.load(total) for total in sums]
        begins = [
            builder.add(builder.load(builder.gep(places, [builder.add(at, i64(k))])), start) for k in range(several)
        ]
        for v in range(STRETCH // STEP):
            for begin in begins:
                words = builder.load(vector_at(builder, data, builder.add(begin, i64(v * STEP)), WORDS), align=1)
                if flip:
                    # The sign bits: a signed byte becomes one biased by BIAS.
                    words = builder.xor(words, constant(WORDS, -0x7F80))
                now[2 * v] = builder.add(now[2 * v], words)
                now[2 * v + 1] = builder.add(now[2 * v + 1], builder.lshr(words, eight))
        for total, value in zip(sums, now, strict=True):
            builder.store(value, total)

    fours = builder.udiv(count, i64(4))
    with cgutils.for_range(builder, fours) as loop:
        add(builder.add(first, builder.mul(loop.index, i64(4))), 4)
    with cgutils.for_range(builder, builder.urem(count, i64(4))) as loop:
        add(builder.add(builder.add(first, builder.mul(fours, i64(4))), loop.index), 1)
    wide = ir.VectorType(i16, STEP)
    order = ir.Constant(ir.VectorType(i32, STEP), [k // 2 + STEP // 2 * (k % 2) for k in range(STEP)])
    bias = builder.mul(builder.trunc(count, i16), i16(BIAS))
    biases = builder.insert_element(ir.Constant(wide, ir.Undefined), bias, i32(0))
    biases = builder.shuffle_vector(biases, biases, ir.Constant(order.type, [0] * STEP))
    for v in range(STRETCH // STEP):
        low, high = builder.load(sums[2 * v]), builder.load(sums[2 * v + 1])
        even = builder.sub(low, builder.shl(high, eight))
        both = builder.sub(builder.shuffle_vector(even, high, order), biases)
        builder.store(both, vector_at(builder, rows, builder.add(to, i64(v * STEP)), wide), align=2)


@vector(_sum_bytes_code, literal=0)
def _sum_bytes(
    flip: int,
    data: NDArray[Any],
    start: int,
    places: NDArray[np.int64],
    first: int,
    count: int,
    rows: NDArray[np.int16],
    to: int,
) -> None:
    """Sum STRETCH samples of `count` rows of bytes into `rows` from `to` on.

    Row k begins at `start` beyond ``places[first + k]``. Bytes are biased by BIAS, or signed (`flip` = 1). Two samples
    are one word: whole words are summed beside their upper bytes, half the instructions of widening each byte.
    """
    flat = data.reshape(-1).view(np.uint8)
    total = np.full(STRETCH, -BIAS * count, np.int64)
    for k in range(count):
        at = places.reshape(-1)[first + k] + start
        total += flat[at : at + STRETCH] ^ (BIAS * flip)
    rows.reshape(-1)[to : to + STRETCH] = total.astype(np.int16)


def _add_two_code(builder: Any, args: Any) -> Any:
    i64 = ir.IntType(64)
    data, first, second, table, at, size = args
    saturate = ir.FunctionType(_BYTES, [_BYTES, _BYTES])
    insert: Any = cgutils.get_or_insert_function
    variable: Any = cgutils.alloca_once_value
    saturated = insert(builder.module, saturate, f"llvm.sadd.sat.v{STEP}i8")
    lost = variable(builder, constant(_BYTES, 0))
    last = builder.sub(size, i64(STEP))
    steps = builder.udiv(builder.add(size, i64(STEP - 1)), i64(STEP))
    with cgutils.for_range(builder, steps) as loop:
        step = builder.mul(loop.index, i64(STEP))
        # The last vector ends with the row; it may repeat samples.
        step = builder.select(builder.icmp_signed(">", step, last), last, step)
        one, two = (
            builder.load(vector_at(builder, data, builder.add(p, step), _BYTES), align=1) for p in (first, second)
        )
        total = builder.call(saturated, [one, two])
        builder.store(
            builder.xor(total, constant(_BYTES, -BIAS)),
            vector_at(builder, table, builder.add(at, step), _BYTES),
            align=1,
        )
        builder.store(builder.or_(builder.load(lost), builder.xor(total, builder.add(one, two))), lost)
    return builder.bitcast(builder.icmp_signed("!=", builder.load(lost), constant(_BYTES, 0)), i64)


@vector(_add_two_code, returns=types.int64)
def _add_two(data: NDArray[np.int8], first: int, second: int, table: NDArray[np.uint8], at: int, size: int) -> int:
    """Add `size` (64 or more) bytes of `data` from `first` and `second` on, and BIAS; not 0 if a sum is not a byte."""
    one, two = (data.reshape(-1)[p : p + size].astype(np.int64) for p in (first, second))
    table[at : at + size] = np.clip(one + two, -128, 127) + BIAS
    return int(np.any((one + two < -128) | (one + two > 127)))


@kernel(inline=True)
def _sum_plain(
    data: NDArray[np.int8], delays: NDArray[np.int32], lo: int, hi: int, start: int, row: NDArray[np.int16]
) -> None:
    """Add channels lo ... hi - 1 of `data` from `start` and their delays on."""
    n = row.shape[0]
    for c in range(lo, hi):
        x = data[c, start + delays[c] : start + delays[c] + n]
        for j in range(n):
            row[j] += x[j]


@kernel(inline=True)
def _tabulate(
    data: NDArray[np.int8],
    rows: NDArray[np.int64],
    start: int,
    n: int,
    table: NDArray[np.uint8],
    spoilt: NDArray[np.int64],
) -> int:
    """Fill rows of the table; the number of pairs with a sum that is no byte, left out and listed in `spoilt`."""
    nspoilt = 0
    begin = 0
    while begin < rows.shape[0]:
        channel = rows[begin, 0]
        end, lost = begin, np.int64(0)
        while end < rows.shape[0] and rows[end, 0] == channel:
            one = channel * data.shape[1] + start + rows[end, 1]
            two = (channel + 1) * data.shape[1] + start + rows[end, 2]
            lost |= _add_two(data, one, two, table, rows[end, 4], n + rows[end, 3])
            end += 1
        if lost != 0:
            for r in range(begin, end):
                table[rows[r, 4] : rows[r, 4] + n + rows[r, 3]] = BIAS
            spoilt[nspoilt] = channel
            nspoilt += 1
        begin = end
    return nspoilt


@kernel(inline=True)
def _fetch(data: NDArray[np.int8], delays: NDArray[np.int32], lo: int, hi: int, start: int, n: int) -> None:
    """Have `n` samples of channels lo ... hi - 1 brought to the L2 cache, from `start` and their delays on."""
    for c in range(lo, hi):
        at = c * data.shape[1] + start + delays[c]
        for j in range(0, n, STEP):
            prefetch(2, data, at + j)


@kernel(helper=True)
def sum_band(
    data: NDArray[np.int8],
    start: int,
    n: int,
    band: NDArray[np.int64],
    lane: int,
    rows: NDArray[np.int64],
    places: NDArray[np.int64],
    delays: NDArray[np.int32],
    table: NDArray[np.uint8],
    spoilt: NDArray[np.int64],
    stash: NDArray[np.int16],
) -> None:
    """Sums of one band for all groups, samples `start` ... `start` + n - 1, into ``stash[:, lane, :n]``."""
    # Many arguments: data, tables and results are the caller's arrays, each of another shape.
    lo, hi, first_row, end_row, first, count = band[0], band[1], band[2], band[3], band[4], band[5]
    ngroups, stride = stash.shape[0], stash.shape[2]
    tabled = end_row > first_row
    # Short pieces, so that the rows of all pairs stay in the L2 cache and those of a stretch in L1.
    piece = PIECE if tabled else n
    # What no tile has read yet (the last group has the largest delays): pieces of so many channels are too short for
    # the processor to foresee.
    _fetch(data, delays[ngroups - 1], lo, hi, start, n)
    for a in range(0, n, max(piece, 1)):
        size = min(piece, n - a)
        if size < STRETCH:
            for g in range(ngroups):
                row = stash[g, lane, a : a + size]
                row[:] = 0
                _sum_plain(data, delays[g], lo, hi, start + a, row)
            continue
        nspoilt = 0
        if tabled:
            nspoilt = _tabulate(data, rows[first_row:end_row], start + a, size, table, spoilt)
        for b in range(0, size, STRETCH):
            # The last stretch ends with the piece; it may repeat samples.
            j = min(b, size - STRETCH)
            for g in range(ngroups):
                to = (g * stash.shape[1] + lane) * stride + a + j
                if tabled:
                    _sum_bytes(0, table, j, places, first + g * count, count, stash, to)
                else:
                    _sum_bytes(1, data, start + a + j, places, first + g * count, count, stash, to)
        if tabled:
            for g in range(ngroups):
                row = stash[g, lane, a : a + size]
                if (hi - lo) % 2 == 1:
                    _sum_plain(data, delays[g], hi - 1, hi, start + a, row)
                for k in range(nspoilt):
                    _sum_plain(data, delays[g], spoilt[k], spoilt[k] + 2, start + a, row)
