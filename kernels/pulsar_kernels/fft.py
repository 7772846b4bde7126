"""Real FFT of one long series by columns and rows, 16 transforms at a time in vector registers.

A library transforms one long series with scalar code that walks through memory once per factor. Here the series is a
matrix of n1 rows by n2 columns. 32 columns at a time are detrended, packed in pairs as real and imaginary parts and
transformed in a tile that stays in the L2 cache; the pairs are taken apart and multiplied by the twiddle factors, and
only the rows that are no complex conjugates of others are kept. 16 of these at a time are transformed in the tile and
written to where they belong, those beyond Nyquist as the conjugates of their mirrors. So memory is read twice and
written twice in all, and no pass is spent on the split of a packed transform.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from pulsar_kernels._ir import (
    F32,
    FUSE,
    constant,
    element,
    floats,
    load,
    plus,
    shuffle,
    splat,
    store,
    times,
    transposed,
    vector_of,
)
from pulsar_kernels._jit import aligned, kernel, of_series, prefetch, vector
from pulsar_kernels.arrays import Array, Float32s, Floats, Int16s, Ints
from pulsar_kernels.lanes import (
    ELEMENT,
    LANES,
    VEC,
    Complex,
    butterflies,
    factors,
    passes,
    slot,
    slots,
    transform_pass,
    twiddles,
)

# The processor fetches no rows ahead that are this far apart: they are asked for so many rows before.
_AHEAD = 8
# No sample beyond this counts as finite.
_FINITE = 3e38


class Plan(NamedTuple):
    """Factors and twiddles of a real transform of ``n1 n2`` samples."""

    n1: int
    n2: int
    radix1: Ints
    radix2: Ints
    twiddle1: Float32s
    twiddle2: Float32s
    lanes: Float32s
    turns: Floats

    @property
    def work(self) -> int:
        """Floats of work space that a transform needs."""
        return _work(self.n1, self.n2)


def _work(n1: int, n2: int) -> int:
    return -(-(n1 // 2 + 1) // LANES) * slots(n2) * ELEMENT


def work_size(nfft: int) -> int:
    """Floats of work space that a transform of `nfft` samples needs; 0 where there is no plan for it."""
    sides = _sides(nfft)
    return 0 if sides is None else _work(*sides)


@functools.cache
def _sides(nfft: int) -> tuple[int, int] | None:
    """Rows and columns of the matrix that a series is taken for, or None if it is none."""
    best: tuple[float, int] | None = None
    for n1 in range(2 * LANES, nfft // (2 * LANES) + 1) if nfft % 2 == 0 and factors(nfft) else ():
        if nfft % n1:
            continue
        n2 = nfft // n1
        # Elements times passes, with one for what happens before and after, of all blocks of columns and rows.
        columns = -(-n2 // (2 * LANES)) * n1 * (len(factors(n1)) + 1)
        rows = -(-(n1 // 2 + 1) // LANES) * n2 * (len(factors(n2)) + 1)
        # Both tiles should fit the cache: the longer side weighs in.
        cost = (columns + rows) * (1.0 + max(n1, n2) / 16384)
        if best is None or cost < best[0]:
            best = cost, n1
    return None if best is None else (best[1], nfft // best[1])


def make_plan(nfft: int) -> Plan | None:
    """Plan for real series of `nfft` samples, or None for lengths that it does not cover.

    Covered are even lengths that are a product of two numbers of 32 or more with no other factors than 2, 3 and 5.
    """
    sides = _sides(nfft)
    if sides is None:
        return None
    n1, n2 = sides
    radix1, radix2 = factors(n1), factors(n2)
    k1 = np.arange(n1 // 2 + 1)
    # Half, for the sums and differences that take pairs of columns apart.
    lanes = 0.5 * np.exp(-2j * np.pi * k1[:, None] * np.arange(LANES) / nfft)
    turns = np.exp(-2j * np.pi * k1 * LANES / nfft)
    return Plan(
        n1,
        n2,
        np.array(radix1, dtype=np.int64),
        np.array(radix2, dtype=np.int64),
        twiddles(radix1),
        twiddles(radix2),
        np.ascontiguousarray(np.concatenate([lanes.real, lanes.imag], axis=1), dtype=np.float32).ravel(),
        np.ascontiguousarray([turns.real, turns.imag]),
    )


def _row_code(builder: Any, args: Any) -> None:
    data, cubic = args[0], args[2]
    kind = data.type.pointee
    c = [splat(builder, element(builder, cubic, k), LANES) for k in range(4)]
    start, step = splat(builder, args[3], LANES), splat(builder, args[4], LANES)
    to = slot(builder, args[6])
    for part in range(2):
        raw = load(builder, data, plus(builder, args[1], part * LANES), vector_of(kind, LANES))
        x = floats(builder, raw)
        place = constant(VEC, [float(part * LANES + k) for k in range(LANES)])
        u = builder.fadd(start, builder.fmul(step, place, flags=FUSE), flags=FUSE)
        trend = c[3]
        for k in (2, 1):
            trend = builder.fadd(c[k], builder.fmul(u, trend, flags=FUSE), flags=FUSE)
        y = builder.fsub(builder.fsub(x, c[0]), builder.fmul(u, trend, flags=("contract",)), flags=("contract",))
        if kind == F32:
            low = builder.fcmp_ordered(">=", y, constant(VEC, -_FINITE))
            high = builder.fcmp_ordered("<=", y, constant(VEC, _FINITE))
            y = builder.select(builder.and_(low, high), y, constant(VEC, 0.0))
        store(builder, y, args[5], plus(builder, to, part * LANES))


@vector(_row_code)
def _row(series: Array, at: int, cubic: Float32s, start: float, step: float, tile: Float32s, row: int) -> None:
    """32 samples minus a cubic in u = `start`, `start` + `step` ... into one tile element; 0 where not finite."""
    u = np.float32(start) + np.float32(step) * np.arange(ELEMENT, dtype=np.float32)
    x = series[at : at + ELEMENT].astype(np.float32) - cubic[0]
    x = x - u * (cubic[1] + u * (cubic[2] + u * cubic[3]))
    o = slots(row) * ELEMENT
    tile[o : o + ELEMENT] = np.where(np.abs(x) <= _FINITE, x, 0.0)


def _separate_code(builder: Any, args: Any) -> None:
    src, lanes, turns, dst = args[0], args[3], args[5], args[6]
    c = Complex(builder)
    z, m = c.load(src, slot(builder, args[1])), c.load(src, slot(builder, args[2]))
    w = c.load(lanes, times(builder, args[4], ELEMENT))
    even = (builder.fadd(z[0], m[0], flags=FUSE), builder.fsub(z[1], m[1], flags=FUSE))
    odd = (builder.fadd(z[1], m[1], flags=FUSE), builder.fsub(m[0], z[0], flags=FUSE))
    for part, half in enumerate((even, odd)):
        turn = c.everywhere(turns, plus(builder, times(builder, args[4], 2), part))
        x = c.mul(half, c.mul(w, turn))
        to = times(builder, plus(builder, args[7], 2 * LANES * part), LANES)
        store(builder, x[0], dst, to)
        store(builder, x[1], dst, plus(builder, to, LANES * LANES))


@vector(_separate_code)
def _separate(
    tile: Float32s, up: int, down: int, lanes: Float32s, k: int, turns: Float32s, out: Float32s, row: int
) -> None:
    """Twisted transforms of the two columns of each lane, from elements ``k = up`` and ``n1 - k = down``.

    Row `row` of four squares of 16 by 16: real and imaginary parts of the first, then of the second columns.
    """
    i = slots(up) * ELEMENT
    z = tile[i : i + LANES] + 1j * tile[i + LANES : i + ELEMENT]
    i = slots(down) * ELEMENT
    m = tile[i : i + LANES] - 1j * tile[i + LANES : i + ELEMENT]
    w = lanes[ELEMENT * k : ELEMENT * k + LANES] + 1j * lanes[ELEMENT * k + LANES : ELEMENT * (k + 1)]
    for part in range(2):
        half = z + m if part == 0 else -1j * (z - m)
        x = half * w * (turns[4 * k + 2 * part] + 1j * turns[4 * k + 2 * part + 1])
        to = (row + 2 * LANES * part) * LANES
        out[to : to + LANES] = x.real
        out[to + LANES * LANES : to + LANES * LANES + LANES] = x.imag


def _transpose_code(builder: Any, args: Any) -> None:
    rows = [load(builder, args[0], plus(builder, args[1], LANES * i), VEC) for i in range(LANES)]
    for j, column in enumerate(transposed(builder, rows)):
        store(builder, column, args[2], plus(builder, slot(builder, plus(builder, args[3], j)), args[4]))


@vector(_transpose_code)
def _transpose(square: Float32s, at: int, tile: Float32s, row: int, part: int) -> None:
    """Columns of a square of 16 by 16 to the tile elements from `row` on (`part` 0: real, 16: imaginary)."""
    for j in range(LANES):
        o = slots(row + j) * ELEMENT + part
        tile[o : o + LANES] = square[at + j : at + j + (LANES - 1) * LANES + 1 : LANES]


def _scatter_code(builder: Any, args: Any, mirrored: int) -> None:
    x, y = Complex(builder).load(args[1], slot(builder, args[2]))
    if mirrored:
        back = list(range(LANES - 1, -1, -1))
        x, y = shuffle(builder, x, x, back), builder.fneg(shuffle(builder, y, y, back))
    store(builder, x, args[3], args[5])
    store(builder, y, args[4], args[5])


@vector(_scatter_code, literal=0)
def _scatter(mirrored: int, tile: Float32s, row: int, real: Float32s, imag: Float32s, to: int) -> None:
    """Tile element `row` to both planes at `to`; as conjugates in reverse order if `mirrored` is 1."""
    i = slots(row) * ELEMENT
    step = -1 if mirrored else 1
    real[to : to + LANES] = tile[i : i + LANES][::step]
    imag[to : to + LANES] = step * tile[i + LANES : i + ELEMENT][::step]


@kernel(inline=True)
def _edge(
    series: Array, at: int, cubic: Float32s, start: np.float32, step: np.float32, tile: Float32s, row: int
) -> None:
    """As `_row` where the series ends: zeros from there on."""
    n = series.shape[0]
    for c in range(ELEMENT):
        x = np.float32(0.0)
        if at + c < n:
            u = start + step * np.float32(c)
            x = np.float32(series[at + c]) - cubic[0] - u * (cubic[1] + u * (cubic[2] + u * cubic[3]))
            x = x if abs(x) <= np.float32(_FINITE) else np.float32(0.0)
        tile[ELEMENT * row + c] = x


@kernel()
def _first_pass(
    radix: int,
    series: Array,
    at: int,
    n2: int,
    cubic: Float32s,
    few: Float32s,
    out: Float32s,
    n1: int,
    twiddle: Float32s,
) -> None:
    """The first pass over 32 columns, from `at` on in rows of `n2` samples, minus the cubic; `few` is work space."""
    n = series.shape[0]
    step = np.float32(2.0 / n)
    m = n1 // radix
    for i in range(m):
        for j in range(radix):
            first = at + (i + j * m) * n2
            start = np.float32((2.0 * first + 1.0) / n - 1.0)
            prefetch(0, series, first + _AHEAD * n2)
            prefetch(0, series, first + _AHEAD * n2 + ELEMENT - 1)
            if first + ELEMENT <= n:
                _row(series, first, cubic, start, step, few, j)
            else:
                _edge(series, first, cubic, start, step, few, j)
        butterflies(radix, few, 0, 1, out, radix * i, 1, twiddle, i * (radix - 1))


@kernel()
def transform_either(
    ints: Int16s, floats: Float32s, coeffs: Floats, plan: Plan, work: Float32s, pad: int, real: Float32s, imag: Float32s
) -> None:
    """Real FFT of a series minus a cubic, padded with zeros, into two planes.

    Parameters
    ----------
    ints, floats : ndarray of int16 and of float32, shape (n,), n <= nfft
        The series; one of them is empty. Samples that are not finite count as zeros after the cubic is taken off.
    coeffs : ndarray of float64, shape (4,)
        Cubic in u = (2 i + 1) / n - 1, lowest power first.
    plan : Plan
        From `make_plan`.
    work : ndarray of float32, shape (>= plan.work,)
        Overwritten.
    pad : int
    real, imag : ndarray of float32, shape (>= pad + nfft/2 + 1,)
        Element ``pad + r`` is bin r, r = 0 ... nfft/2.
    """
    n1 = plan.n1
    n2 = plan.n2
    nfft = n1 * n2
    nrows = n1 // 2 + 1
    radix1 = plan.radix1
    radix2 = plan.radix2
    a = aligned(ELEMENT * slots(max(n1, n2)))
    b = aligned(ELEMENT * slots(max(n1, n2)))
    squares = aligned(4 * LANES * LANES)
    cubic = coeffs.astype(np.float32)
    # exp(-2 pi i k c / nfft) at the first and the seventeenth column of a block.
    x = np.zeros(nrows, np.float64)
    y = np.zeros(nrows, np.float64)
    for k in range(nrows):
        x[k] = 1.0
    turns = np.empty(4 * nrows, np.float32)
    tr = plan.turns[0]
    ti = plan.turns[1]
    # The last block of columns or rows overlaps the one before where the number is no multiple of its width.
    for block in range(0, n2, ELEMENT):
        j = min(block, n2 - ELEMENT)
        if j < block:
            for k in range(nrows):
                x[k] = np.cos(-2.0 * np.pi * k * j / nfft)
                y[k] = np.sin(-2.0 * np.pi * k * j / nfft)
        for k in range(nrows):
            turns[4 * k] = x[k]
            turns[4 * k + 1] = y[k]
            u = x[k] * tr[k] - y[k] * ti[k]
            v = x[k] * ti[k] + y[k] * tr[k]
            turns[4 * k + 2] = u
            turns[4 * k + 3] = v
            x[k] = u * tr[k] - v * ti[k]
            y[k] = u * ti[k] + v * tr[k]
        if ints.shape[0] > 0:
            _first_pass(radix1[0], ints, j, n2, cubic, squares, a, n1, plan.twiddle1)
        else:
            _first_pass(radix1[0], floats, j, n2, cubic, squares, a, n1, plan.twiddle1)
        source, _ = passes(radix1, 1, radix1.shape[0], a, b, n1, plan.twiddle1)
        for row in range(0, nrows, LANES):
            k = min(row, nrows - LANES)
            tile = work[row // LANES * slots(n2) * ELEMENT :]
            for i in range(LANES):
                for half in range(4):
                    prefetch(1, tile, slots(j + 2 * i + half // 2) * ELEMENT + half % 2 * LANES)
                _separate(source, k + i, (n1 - k - i) % n1, plan.lanes, k + i, turns, squares, i)
            for part in range(4):
                _transpose(squares, part * LANES * LANES, tile, j + part // 2 * LANES, part % 2 * LANES)
    direct = (n2 + 1) // 2
    for row in range(0, nrows, LANES):
        k = min(row, nrows - LANES)
        transform_pass(radix2[0], work[row // LANES * slots(n2) * ELEMENT :], b, n2, 1, plan.twiddle2, 0)
        source, _ = passes(radix2, 1, radix2.shape[0], b, a, n2, plan.twiddle2)
        for i in range(direct):
            _scatter(0, source, i, real, imag, pad + i * n1 + k)
        for i in range(direct, n2):
            _scatter(1, source, i, real, imag, pad + nfft - i * n1 - k - LANES + 1)
    imag[pad] = np.float32(0.0)
    if nfft % 2 == 0:
        imag[pad + nfft // 2] = np.float32(0.0)


real_fft = of_series(transform_either)
