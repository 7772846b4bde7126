"""Running means of several series side by side, in the lanes of vectors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._ir import (
    F32,
    F64,
    I64,
    constant,
    load,
    plus,
    splat,
    steps,
    store,
    times,
    transposed,
    variable,
    vector_of,
)
from pulsar_kernels._jit import kernel, vector

#: Rows whose running means are taken side by side, in the lanes of a vector: each sum waits for its own last addition.
_ROWS = 8
#: Columns that are turned into such vectors, or back, at a time.
_TURNED = 128
_FEW = vector_of(F32, _ROWS)
_WIDE_FEW = vector_of(F64, _ROWS)


def _into_code(builder: Any, args: Any) -> None:
    rows, at, step, n, lanes, to = args
    with steps(builder, 0, n, _ROWS) as i:
        first = plus(builder, at, i)
        block = [load(builder, rows, plus(builder, first, times(builder, step, r)), _FEW) for r in range(_ROWS)]
        for j, column in enumerate(transposed(builder, block)):
            store(builder, column, lanes, times(builder, plus(builder, plus(builder, to, i), j), _ROWS))


@vector(_into_code)
def _into_lanes(rows: NDArray[np.float32], at: int, step: int, n: int, lanes: NDArray[np.float32], to: int) -> None:
    """Columns of 8 rows, `step` apart, as vectors, from number `to` on; in whole lots of 8."""
    for j in range(n):
        lanes[_ROWS * (to + j) : _ROWS * (to + j + 1)] = rows[at + j : at + j + (_ROWS - 1) * step + 1 : step]


def _from_code(builder: Any, args: Any) -> None:
    lanes, n, rows, at, step = args
    with steps(builder, 0, n, _ROWS) as i:
        block = [load(builder, lanes, times(builder, plus(builder, i, j), _ROWS), _FEW) for j in range(_ROWS)]
        for r, row in enumerate(transposed(builder, block)):
            store(builder, row, rows, plus(builder, plus(builder, at, i), times(builder, step, r)))


@vector(_from_code)
def _from_lanes(lanes: NDArray[np.float32], n: int, rows: NDArray[np.float32], at: int, step: int) -> None:
    """The other way round, from the beginning of `lanes`."""
    for j in range(n):
        rows[at + j : at + j + (_ROWS - 1) * step + 1 : step] = lanes[_ROWS * j : _ROWS * (j + 1)]


def _mean_code(builder: Any, args: Any, made: int) -> None:
    source, mask, first, last, half, n, sums, out, to, room = args[1:]

    def sample(i: Any) -> Any:
        """One of the ring, of all rows."""
        place = times(builder, builder.and_(i, mask), _ROWS)
        return builder.fpext(load(builder, source, place, _FEW), _WIDE_FEW)

    def where(found: Any, value: Any) -> Any:
        return builder.select(found, value, constant(_WIDE_FEW, 0.0))

    total = variable(builder, load(builder, sums, 0, _WIDE_FEW))
    with steps(builder, first, last) as i:
        new, old = plus(builder, i, half), plus(builder, builder.sub(i, half), -1)
        value = builder.fadd(builder.load(total), where(builder.icmp_signed("<", new, n), sample(new)))
        if made:
            inside = builder.icmp_signed(">=", old, I64(0))
            value = builder.fsub(value, where(inside, sample(old)))
            after, begin = plus(builder, new, 1), builder.select(inside, plus(builder, old, 1), I64(0))
            after = builder.select(builder.icmp_signed("<", after, n), after, n)
            count = splat(builder, builder.sitofp(builder.sub(after, begin), F64), _ROWS)
            less = builder.fptrunc(builder.fsub(sample(i), builder.fdiv(value, count)), _FEW)
            store(builder, less, out, times(builder, builder.and_(builder.sub(i, to), room), _ROWS))
        builder.store(value, total)
    store(builder, builder.load(total), sums, 0)


@vector(_mean_code, literal=0)
def _less_mean(
    made: int,
    source: NDArray[np.float32],
    mask: int,
    first: int,
    last: int,
    half: int,
    n: int,
    sums: NDArray[np.float64],
    out: NDArray[np.float32],
    to: int,
    room: int,
) -> None:
    """Columns `first` to `last` - 1 of a ring of vectors, of `mask` + 1, less their running means, to another ring.

    `sums` are those of the columns about the one before `first`, and are brought up to date. Where `made` is 0 nothing
    else is done: columns before 0 are none, but they have neighbours.
    """
    # Many arguments: two rings with a place each, a range, and what a mean is made of.
    for i in range(first, last):
        if i + half < n:
            place = _ROWS * ((i + half) & mask)
            sums += source[place : place + _ROWS]
        if made:
            if i - half - 1 >= 0:
                place = _ROWS * ((i - half - 1) & mask)
                sums -= source[place : place + _ROWS]
            place, into = _ROWS * (i & mask), _ROWS * ((i - to) & room)
            count = min(i + half + 1, n) - max(i - half, 0)
            out[into : into + _ROWS] = source[place : place + _ROWS].astype(np.float64) - sums / count


@kernel()
def less_running_means(data: NDArray[np.float32], half: int, out: NDArray[np.float32]) -> None:
    """Every sample less the mean of the `half` samples on either side and its own, cut off at the ends; that twice.

    Parameters
    ----------
    data, out : ndarray of float32, shape (nrows, n), rows contiguous
    half : int
    """
    nrows, n = data.shape
    source, result = data, out
    if nrows < _ROWS:
        source, result = np.zeros((_ROWS, n), np.float32), np.empty((_ROWS, n), np.float32)
        for r in range(nrows):
            for i in range(n):
                source[r, i] = data[r, i]
    flat, into = source.reshape(-1), result.reshape(-1)
    half = min(half, n)
    # What is between the newest sample of a window and its oldest is kept: of the data, and of these less their means.
    size = _TURNED
    while size < 2 * (half + 1) + _TURNED:
        size *= 2
    mask = size - 1
    once, twice, block = (
        np.zeros(_ROWS * size, np.float32),
        np.zeros(_ROWS * size, np.float32),
        np.zeros(_ROWS * _TURNED, np.float32),
    )
    sums = np.zeros((2, _ROWS))
    for group in range(0, nrows, _ROWS):
        # The last few rows are done more than once.
        top = min(group, source.shape[0] - _ROWS) * n
        sums[:] = 0.0
        for start in range(0, n + 2 * half, _TURNED):
            stop = start + _TURNED
            here = max(min(stop, n) - start, 0)
            whole = here - here % _ROWS
            _into_lanes(flat, top + start, n, whole, once, start & mask)
            for i in range(start + whole, start + here):
                for r in range(_ROWS):
                    once[_ROWS * (i & mask) + r] = flat[top + r * n + i]
            first, last = start - half, min(stop - half, n)
            _less_mean(0, once, mask, first, min(last, 0), half, n, sums[0], twice, 0, mask)
            _less_mean(1, once, mask, max(first, 0), last, half, n, sums[0], twice, 0, mask)
            first, last = first - half, min(stop - 2 * half, n)
            _less_mean(0, twice, mask, max(first, -half), min(last, 0), half, n, sums[1], block, first, _TURNED - 1)
            first = max(first, 0)
            _less_mean(1, twice, mask, first, last, half, n, sums[1], block, first, _TURNED - 1)
            here = max(last - first, 0)
            whole = here - here % _ROWS
            _from_lanes(block, whole, into, top + first, n)
            for i in range(whole, here):
                for r in range(_ROWS):
                    into[top + r * n + first + i] = block[_ROWS * i + r]
    if nrows < _ROWS:
        for r in range(nrows):
            for i in range(n):
                out[r, i] = result[r, i]
