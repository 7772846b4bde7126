"""Vectors of the fast folding search: sums of rows of 16-bit samples, profiles turned side by side, largest boxes.

Each is LLVM's code beside plain numpy that says the same.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numpy.typing import NDArray

from pulsar_kernels._jit import vector

#: Profiles side by side.
LANES = 16
#: Samples of a vector, and those repeated at the end of a row.
WIDE = 32
_I64 = ir.IntType(64)
_ROW = ir.VectorType(ir.IntType(16), WIDE)
_TILE = ir.VectorType(ir.IntType(32), LANES)
#: Largest sum of a phase bin.
LARGEST = 32767


def _load(builder: Any, data: Any, at: Any, kind: Any, align: int) -> Any:
    return builder.load(builder.bitcast(builder.gep(data, [at]), kind.as_pointer()), align=align)


def _store(builder: Any, value: Any, data: Any, at: Any, align: int) -> None:
    builder.store(value, builder.bitcast(builder.gep(data, [at]), value.type.as_pointer()), align=align)


def _sum(builder: Any, parts: list[Any]) -> Any:
    name = "llvm.sadd.sat.v32i16"
    kind = ir.FunctionType(_ROW, [_ROW, _ROW])
    add = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    while len(parts) > 1:
        parts = [
            builder.call(add, [parts[k], parts[k + 1]]) if k + 1 < len(parts) else parts[k]
            for k in range(0, len(parts), 2)
        ]
    return parts[0]


def _merge_code(builder: Any, args: Any) -> None:
    data, bins, out, to = args[:4]
    rows = [(builder.gep(data, [args[4 + 2 * k]]), args[5 + 2 * k]) for k in range(4)]
    target = builder.gep(out, [to])
    with cgutils.for_range_slice(builder, _I64(0), bins, _I64(WIDE), inc=True) as (i, _):
        parts = []
        for row, shift in rows:
            j = builder.add(i, shift)
            back = builder.sub(j, bins)
            j = builder.select(builder.icmp_unsigned("<", back, j), back, j)
            parts.append(_load(builder, row, j, _ROW, 2))
        _store(builder, _sum(builder, parts), target, i, 2)


@vector(_merge_code)
def sum_rows(
    data: NDArray[np.int16],
    bins: int,
    out: NDArray[np.int16],
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
    total = np.zeros((2, bins), np.int64)
    for k, (at, shift) in enumerate(((a, shift_a), (b, shift_b), (c, shift_c), (d, shift_d))):
        total[k // 2] += np.roll(data[at : at + bins], -shift)
    pairs = _saturated(total)
    out[to : to + bins] = _saturated(pairs[0] + pairs[1])


def _saturated(x: NDArray[Any]) -> NDArray[np.int64]:
    return np.asarray(np.clip(x, -LARGEST - 1, LARGEST), dtype=np.int64)


def _near_code(builder: Any, args: Any) -> None:
    data, bins, out, to = args[:4]
    rows = [builder.gep(data, [args[4 + k]]) for k in range(4)]
    target = builder.gep(out, [to])
    with cgutils.for_range_slice(builder, _I64(0), bins, _I64(WIDE), inc=True) as (i, _):
        _store(builder, _sum(builder, [_load(builder, row, i, _ROW, 2) for row in rows]), target, i, 2)


@vector(_near_code)
def sum_near_rows(
    data: NDArray[np.int16], bins: int, out: NDArray[np.int16], to: int, a: int, b: int, c: int, d: int
) -> None:
    """Sum of four rows from these places on, which are shifted by 32 at most, into ``out[to:]``."""
    head = data[a : a + bins].astype(np.int64) + data[b : b + bins]
    tail = data[c : c + bins].astype(np.int64) + data[d : d + bins]
    out[to : to + bins] = _saturated(_saturated(head) + _saturated(tail))


def _first_code(builder: Any, args: Any, count: int) -> None:
    data, bins, out, to = args[1:5]
    rows = [(builder.gep(data, [args[5 + 2 * k]]), args[6 + 2 * k]) for k in range(count)]
    target = builder.gep(out, [to])
    i16 = ir.IntType(16)
    lanes = ir.Constant(_ROW, list(range(WIDE)))
    same = ir.Constant(ir.VectorType(ir.IntType(32), WIDE), [0] * WIDE)
    plain = builder.and_(builder.sub(bins, _I64(3)), _I64(-WIDE))
    with cgutils.for_range_slice(builder, _I64(0), plain, _I64(WIDE), inc=True) as (i, _):
        parts = [_load(builder, row, builder.add(i, shift), _ROW, 2) for row, shift in rows]
        _store(builder, _sum(builder, parts), target, i, 2)
    with cgutils.for_range_slice(builder, plain, bins, _I64(WIDE), inc=True) as (i, _):
        parts = []
        for k, (row, shift) in enumerate(rows):
            j = builder.add(i, shift)
            value = _load(builder, row, j, _ROW, 2)
            if k > 0:
                # Lanes beyond the end of the row have what lies a row before.
                inside = builder.trunc(builder.sub(bins, j), i16)
                inside = builder.insert_element(ir.Constant(_ROW, ir.Undefined), inside, ir.IntType(32)(0))
                inside = builder.shuffle_vector(inside, inside, same)
                before = _load(builder, row, builder.sub(j, bins), _ROW, 2)
                value = builder.select(builder.icmp_signed("<", lanes, inside), value, before)
            parts.append(value)
        _store(builder, _sum(builder, parts), target, i, 2)


@vector(_first_code, literal=0)
def sum_first_rows(
    count: int,
    data: NDArray[np.int16],
    bins: int,
    out: NDArray[np.int16],
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
    total = np.zeros((2, bins), np.int64)
    for k, (at, shift) in enumerate(((a, shift_a), (b, shift_b), (c, shift_c), (d, shift_d))[:count]):
        total[k // 2] += np.roll(data[at : at + bins], -shift)
    pairs = _saturated(total)
    out[to : to + bins] = _saturated(pairs[0] + pairs[1])


def _repeat_code(builder: Any, args: Any) -> None:
    row = builder.gep(args[0], [args[1]])
    _store(builder, _load(builder, row, _I64(0), _ROW, 2), row, args[2], 2)


@vector(_repeat_code)
def repeat_start(rows: NDArray[np.int16], at: int, bins: int) -> None:
    """Repeat the first 32 samples of the row that begins at `at`; of a shorter row, those that it has."""
    rows[at + bins : at + bins + WIDE] = rows[at : at + WIDE]


def _turn_code(builder: Any, args: Any) -> None:
    rows, step, at, tile, to = args
    half = ir.VectorType(ir.IntType(16), LANES)
    lanes = ir.VectorType(ir.IntType(32), LANES)
    block = []
    for r in range(LANES):
        short = _load(builder, rows, builder.add(at, builder.mul(step, _I64(r))), half, 2)
        block.append(builder.sext(short, _TILE))
    for d in (8, 4, 2, 1):
        # Lanes with the bit d of the upper row for those without it of the lower one.
        low = ir.Constant(lanes, [k if not k & d else LANES + k - d for k in range(LANES)])
        high = ir.Constant(lanes, [k + d if not k & d else LANES + k for k in range(LANES)])
        for r in range(LANES):
            if not r & d:
                a, b = block[r], block[r + d]
                block[r] = builder.shuffle_vector(a, b, low)
                block[r + d] = builder.shuffle_vector(a, b, high)
    total = _load(builder, tile, to, _TILE, 4)
    for k in range(LANES):
        total = builder.add(total, block[k])
        _store(builder, total, tile, builder.add(to, _I64(LANES * (k + 1))), 4)


@vector(_turn_code)
def turn_block(rows: NDArray[np.int16], step: int, at: int, tile: NDArray[np.int32], to: int) -> None:
    """Running sums over 16 phases of 16 rows `step` apart, a vector of all rows for each phase, after ``tile[to]``."""
    total = tile[to : to + LANES].copy()
    for k in range(LANES):
        total += rows[at + k : at + k + LANES * step : step][:LANES]
        tile[to + LANES * (k + 1) : to + LANES * (k + 2)] = total


def _extend_code(builder: Any, args: Any) -> None:
    tile, bins, count = args
    end = builder.mul(bins, _I64(LANES))
    whole = _load(builder, tile, end, _TILE, 4)
    stop = builder.mul(count, _I64(LANES))
    with cgutils.for_range_slice(builder, _I64(LANES), stop, _I64(LANES), inc=True) as (i, _):
        _store(builder, builder.add(whole, _load(builder, tile, i, _TILE, 4)), tile, builder.add(end, i), 4)


@vector(_extend_code)
def extend_turn(tile: NDArray[np.int32], bins: int, count: int) -> None:
    """Running sums of up to `count` - 1 phases of the next turn."""
    sums = tile[: tile.size // LANES * LANES].reshape(-1, LANES)
    sums[bins + 1 : bins + count] = sums[bins] + sums[1:count]


def _boxes_code(builder: Any, args: Any, count: int) -> None:
    tile, bins, widths, first, out = args[1:]
    offsets = []
    for k in range(count):
        width = builder.load(builder.gep(widths, [builder.add(first, _I64(k))]))
        offsets.append(builder.mul(width, _I64(LANES)))
    low = ir.Constant(_TILE, [-(1 << 31)] * LANES)
    best = [builder.alloca(_TILE) for _ in range(count)]
    for place in best:
        builder.store(low, place)
    with cgutils.for_range_slice(builder, _I64(0), builder.mul(bins, _I64(LANES)), _I64(LANES), inc=True) as (i, _):
        start = _load(builder, tile, i, _TILE, 4)
        for k in range(count):
            box = builder.sub(_load(builder, tile, builder.add(i, offsets[k]), _TILE, 4), start)
            top = builder.load(best[k])
            builder.store(builder.select(builder.icmp_signed(">", box, top), box, top), best[k])
    for k in range(count):
        to = builder.mul(builder.add(first, _I64(k)), _I64(LANES))
        _store(builder, builder.load(best[k]), out, to, 4)


@vector(_boxes_code, literal=0)
def largest_boxes(
    count: int, tile: NDArray[np.int32], bins: int, widths: NDArray[np.int64], first: int, out: NDArray[np.int32]
) -> None:
    """Largest box of every lane for `count` widths from number `first` on: into row ``first + k`` of `out`."""
    sums = tile[: tile.size // LANES * LANES].reshape(-1, LANES)
    for k in range(first, first + count):
        w = widths[k]
        out[LANES * k : LANES * (k + 1)] = np.max(sums[w : w + bins] - sums[:bins], axis=0)
