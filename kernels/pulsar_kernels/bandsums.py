"""Sums of the channels of a band, each with its delay, in bytes and words.

Integers: exact, and the same in whatever order they are made.
"""

from typing import Any

import numpy as np
from numba import types

from pulsar_kernels._ir import (
    I8,
    I16,
    I64,
    constant,
    element,
    lane_bits,
    load,
    plus,
    saturated,
    shuffle,
    splat,
    steps,
    store,
    times,
    variable,
    vector_of,
)
from pulsar_kernels._jit import kernel, prefetch, vector
from pulsar_kernels.arrays import Array, Int8s, Int16s, Int32s, Ints, Uint8s

#: Samples of a piece, for which pairs of channels are tabulated, and of a stretch, for which rows are summed in
#: registers.
PIECE = 512
STRETCH = 256
#: Added to a signed byte: two samples can then be summed as one word without a borrow.
BIAS = 128
STEP = 64

_BYTES = vector_of(I8, STEP)
WORDS = vector_of(I16, STEP // 2)


def _sum_bytes_code(builder: Any, args: Any, flip: int) -> None:
    _, data, start, places, first, count, rows, to = args
    eight = constant(WORDS, 8)
    sums = [variable(builder, constant(WORDS, 0)) for _ in range(2 * (STRETCH // STEP))]

    def add(at: Any, several: int) -> None:
        """Add the rows at `several` places, as many words and upper bytes of words."""
        now = [builder.load(total) for total in sums]
        begins = [plus(builder, element(builder, places, plus(builder, at, k)), start) for k in range(several)]
        for v in range(STRETCH // STEP):
            for begin in begins:
                words = load(builder, data, plus(builder, begin, v * STEP), WORDS)
                if flip:
                    # The sign bits: a signed byte becomes one biased by BIAS.
                    words = builder.xor(words, constant(WORDS, -0x7F80))
                now[2 * v] = builder.add(now[2 * v], words)
                now[2 * v + 1] = builder.add(now[2 * v + 1], builder.lshr(words, eight))
        for total, value in zip(sums, now, strict=True):
            builder.store(value, total)

    fours = builder.udiv(count, I64(4))
    with steps(builder, 0, fours) as k:
        add(plus(builder, first, times(builder, k, 4)), 4)
    with steps(builder, 0, builder.urem(count, I64(4))) as k:
        add(plus(builder, plus(builder, first, times(builder, fours, 4)), k), 1)
    order = [k // 2 + STEP // 2 * (k % 2) for k in range(STEP)]
    biases = splat(builder, builder.mul(builder.trunc(count, I16), I16(BIAS)), STEP)
    for v in range(STRETCH // STEP):
        low, high = builder.load(sums[2 * v]), builder.load(sums[2 * v + 1])
        even = builder.sub(low, builder.shl(high, eight))
        both = builder.sub(shuffle(builder, even, high, order), biases)
        store(builder, both, rows, plus(builder, to, v * STEP))


@vector(_sum_bytes_code, literal=0)
def _sum_bytes(flip: int, data: Array, start: int, places: Ints, first: int, count: int, rows: Int16s, to: int) -> None:
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
    data, first, second, table, at, size = args
    lost = variable(builder, constant(_BYTES, 0))
    last = builder.sub(size, I64(STEP))
    with steps(builder, 0, builder.udiv(plus(builder, size, STEP - 1), I64(STEP))) as k:
        step = times(builder, k, STEP)
        # The last vector ends with the row; it may repeat samples.
        step = builder.select(builder.icmp_signed(">", step, last), last, step)
        a, b = (load(builder, data, plus(builder, p, step), _BYTES) for p in (first, second))
        total = saturated(builder, a, b)
        store(builder, builder.xor(total, constant(_BYTES, -BIAS)), table, plus(builder, at, step))
        builder.store(builder.or_(builder.load(lost), builder.xor(total, builder.add(a, b))), lost)
    return lane_bits(builder, builder.icmp_signed("!=", builder.load(lost), constant(_BYTES, 0)))


@vector(_add_two_code, returns=types.int64)
def _add_two(data: Int8s, first: int, second: int, table: Uint8s, at: int, size: int) -> int:
    """Add `size` (64 or more) bytes of `data` from `first` and `second` on, and BIAS; not 0 if a sum is not a byte."""
    a, b = (data.reshape(-1)[p : p + size].astype(np.int64) for p in (first, second))
    table[at : at + size] = np.clip(a + b, -128, 127) + BIAS
    return int(np.any((a + b < -128) | (a + b > 127)))


@kernel(inline=True)
def _sum_plain(data: Int8s, delays: Int32s, lo: int, hi: int, start: int, row: Int16s) -> None:
    """Add channels lo ... hi - 1 of `data` from `start` and their delays on."""
    n = row.shape[0]
    for c in range(lo, hi):
        x = data[c, start + delays[c] : start + delays[c] + n]
        for j in range(n):
            row[j] += x[j]


@kernel(inline=True)
def _tabulate(data: Int8s, rows: Ints, start: int, n: int, table: Uint8s, spoilt: Ints) -> int:
    """Fill rows of the table; the number of pairs with a sum that is no byte, left out and listed in `spoilt`."""
    nspoilt = 0
    begin = 0
    while begin < rows.shape[0]:
        channel = rows[begin, 0]
        end, lost = begin, np.int64(0)
        while end < rows.shape[0] and rows[end, 0] == channel:
            lower = channel * data.shape[1] + start + rows[end, 1]
            upper = (channel + 1) * data.shape[1] + start + rows[end, 2]
            lost |= _add_two(data, lower, upper, table, rows[end, 4], n + rows[end, 3])
            end += 1
        if lost != 0:
            for r in range(begin, end):
                table[rows[r, 4] : rows[r, 4] + n + rows[r, 3]] = BIAS
            spoilt[nspoilt] = channel
            nspoilt += 1
        begin = end
    return nspoilt


@kernel(inline=True)
def _fetch(data: Int8s, delays: Int32s, lo: int, hi: int, start: int, n: int) -> None:
    """Have `n` samples of channels lo ... hi - 1 brought to the L2 cache, from `start` and their delays on."""
    for c in range(lo, hi):
        at = c * data.shape[1] + start + delays[c]
        for j in range(0, n, STEP):
            prefetch(2, data, at + j)


@kernel(helper=True)
def sum_band(
    data: Int8s,
    start: int,
    n: int,
    band: Ints,
    lane: int,
    rows: Ints,
    places: Ints,
    delays: Int32s,
    table: Uint8s,
    spoilt: Ints,
    stash: Int16s,
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
