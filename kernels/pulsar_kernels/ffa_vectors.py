"""Vectors of the fast folding search: sums of rows of 16-bit samples, profiles turned side by side, largest boxes.

Each is LLVM's code beside plain numpy that says the same.
"""

from typing import Any

import numpy as np

from pulsar_kernels._ir import (
    I16,
    I32,
    I64,
    constant,
    element,
    load,
    plus,
    saturated,
    splat,
    steps,
    store,
    summed,
    times,
    transposed,
    vector_of,
)
from pulsar_kernels._jit import vector
from pulsar_kernels.arrays import Array, Int16s, Int32s, Ints

#: Profiles side by side.
LANES = 16
#: Samples of a vector, and those repeated at the end of a row.
WIDE = 32
_ROW = vector_of(I16, WIDE)
_TILE = vector_of(I32, LANES)
#: Largest sum of a phase bin.
LARGEST = 32767


def _write_sum(builder: Any, parts: list[Any], out: Any, at: Any) -> None:
    store(builder, summed(parts, lambda a, b: saturated(builder, a, b)), out, at)


def _merge_code(builder: Any, args: Any) -> None:
    data, bins, out, to = args[:4]
    rows = [(builder.gep(data, [args[4 + 2 * k]]), args[5 + 2 * k]) for k in range(4)]
    target = builder.gep(out, [to])
    with steps(builder, 0, bins, WIDE) as i:
        parts = []
        for row, shift in rows:
            j = plus(builder, i, shift)
            back = builder.sub(j, bins)
            j = builder.select(builder.icmp_unsigned("<", back, j), back, j)
            parts.append(load(builder, row, j, _ROW))
        _write_sum(builder, parts, target, i)


@vector(_merge_code)
def sum_rows(
    data: Int16s,
    bins: int,
    out: Int16s,
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
    """Sum of four rows, each read from its own shift (0 ... bins - 1) on, into ``out[to:]``."""
    # Many arguments: vector instructions take arrays and numbers, which stay in registers; no tuples.
    out[to : to + bins] = _rolled_sum(data, bins, (a, shift_a), (b, shift_b), (c, shift_c), (d, shift_d))


def _saturated(x: Array) -> Ints:
    return np.asarray(np.clip(x, -LARGEST - 1, LARGEST), dtype=np.int64)


def _rolled_sum(data: Int16s, bins: int, *rows: tuple[int, int]) -> Ints:
    """Sum of rows, each at its place and from its shift on, by pairs."""
    total = np.zeros((2, bins), np.int64)
    for k, (at, shift) in enumerate(rows):
        total[k // 2] += np.roll(data[at : at + bins], -shift)
    pairs = _saturated(total)
    return _saturated(pairs[0] + pairs[1])


def _near_code(builder: Any, args: Any) -> None:
    data, bins, out, to = args[:4]
    rows = [builder.gep(data, [args[4 + k]]) for k in range(4)]
    target = builder.gep(out, [to])
    with steps(builder, 0, bins, WIDE) as i:
        _write_sum(builder, [load(builder, row, i, _ROW) for row in rows], target, i)


@vector(_near_code)
def sum_near_rows(data: Int16s, bins: int, out: Int16s, to: int, a: int, b: int, c: int, d: int) -> None:
    """Sum of four rows from these places on, which are shifted by 32 at most, into ``out[to:]``."""
    head = data[a : a + bins].astype(np.int64) + data[b : b + bins]
    tail = data[c : c + bins].astype(np.int64) + data[d : d + bins]
    out[to : to + bins] = _saturated(_saturated(head) + _saturated(tail))


def _first_code(builder: Any, args: Any, count: int) -> None:
    data, bins, out, to = args[1:5]
    rows = [(builder.gep(data, [args[5 + 2 * k]]), args[6 + 2 * k]) for k in range(count)]
    target = builder.gep(out, [to])
    lanes = constant(_ROW, range(WIDE))
    plain = builder.and_(builder.sub(bins, I64(3)), I64(-WIDE))
    with steps(builder, 0, plain, WIDE) as i:
        parts = [load(builder, row, plus(builder, i, shift), _ROW) for row, shift in rows]
        _write_sum(builder, parts, target, i)
    with steps(builder, plain, bins, WIDE) as i:
        parts = []
        for k, (row, shift) in enumerate(rows):
            j = plus(builder, i, shift)
            value = load(builder, row, j, _ROW)
            if k > 0:
                # Lanes beyond the end of the row have what lies a row before.
                inside = splat(builder, builder.trunc(builder.sub(bins, j), I16), WIDE)
                before = load(builder, row, builder.sub(j, bins), _ROW)
                value = builder.select(builder.icmp_signed("<", lanes, inside), value, before)
            parts.append(value)
        _write_sum(builder, parts, target, i)


@vector(_first_code, literal=0)
def sum_first_rows(
    count: int,
    data: Int16s,
    bins: int,
    out: Int16s,
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
    """Sum of the first `count` of four rows of a series, each from its own shift (0 ... 3, the first 0) on."""
    # Many arguments: vector instructions take arrays and numbers, which stay in registers; no tuples.
    rows = ((a, shift_a), (b, shift_b), (c, shift_c), (d, shift_d))
    out[to : to + bins] = _rolled_sum(data, bins, *rows[:count])


def _repeat_code(builder: Any, args: Any) -> None:
    row = builder.gep(args[0], [args[1]])
    store(builder, load(builder, row, 0, _ROW), row, args[2])


@vector(_repeat_code)
def repeat_start(rows: Int16s, at: int, bins: int) -> None:
    """Repeat the first 32 samples of the row that begins at `at`; of a shorter row, those that it has."""
    rows[at + bins : at + bins + WIDE] = rows[at : at + WIDE]


def _turn_code(builder: Any, args: Any) -> None:
    rows, step, at, tile, to = args
    half = vector_of(I16, LANES)
    places = [plus(builder, at, times(builder, step, r)) for r in range(LANES)]
    block = [builder.sext(load(builder, rows, place, half), _TILE) for place in places]
    total = load(builder, tile, to, _TILE)
    for k, column in enumerate(transposed(builder, block)):
        total = builder.add(total, column)
        store(builder, total, tile, plus(builder, to, LANES * (k + 1)))


@vector(_turn_code)
def turn_block(rows: Int16s, step: int, at: int, tile: Int32s, to: int) -> None:
    """Running sums over 16 phases of 16 rows `step` apart, a vector of all rows for each phase, after ``tile[to]``."""
    total = tile[to : to + LANES].copy()
    for k in range(LANES):
        total += rows[at + k : at + k + LANES * step : step][:LANES]
        tile[to + LANES * (k + 1) : to + LANES * (k + 2)] = total


def _extend_code(builder: Any, args: Any) -> None:
    tile, bins, count = args
    end = times(builder, bins, LANES)
    whole = load(builder, tile, end, _TILE)
    with steps(builder, LANES, times(builder, count, LANES), LANES) as i:
        store(builder, builder.add(whole, load(builder, tile, i, _TILE)), tile, plus(builder, end, i))


@vector(_extend_code)
def extend_turn(tile: Int32s, bins: int, count: int) -> None:
    """Running sums of up to `count` - 1 phases of the next turn."""
    sums = tile[: tile.size // LANES * LANES].reshape(-1, LANES)
    sums[bins + 1 : bins + count] = sums[bins] + sums[1:count]


def _boxes_code(builder: Any, args: Any, count: int) -> None:
    tile, bins, widths, first, out = args[1:]
    numbers = [plus(builder, first, k) for k in range(count)]
    offsets = [times(builder, element(builder, widths, number), LANES) for number in numbers]
    best = [builder.alloca(_TILE) for _ in range(count)]
    for place in best:
        builder.store(constant(_TILE, -(1 << 31)), place)
    with steps(builder, 0, times(builder, bins, LANES), LANES) as i:
        start = load(builder, tile, i, _TILE)
        for k in range(count):
            box = builder.sub(load(builder, tile, plus(builder, i, offsets[k]), _TILE), start)
            top = builder.load(best[k])
            builder.store(builder.select(builder.icmp_signed(">", box, top), box, top), best[k])
    for k in range(count):
        store(builder, builder.load(best[k]), out, times(builder, numbers[k], LANES))


@vector(_boxes_code, literal=0)
def largest_boxes(count: int, tile: Int32s, bins: int, widths: Ints, first: int, out: Int32s) -> None:
    """Largest box of every lane for `count` widths from number `first` on: into row ``first + k`` of `out`."""
    sums = tile[: tile.size // LANES * LANES].reshape(-1, LANES)
    for k in range(first, first + count):
        w = widths[k]
        out[LANES * k : LANES * (k + 1)] = np.max(sums[w : w + bins] - sums[:bins], axis=0)
