"""Real FFT of one long series by columns and rows, 16 transforms at a time in vector registers.

A library transforms one long series with scalar code that walks through memory once per factor. Here the series is a
matrix of n1 rows by n2 columns. 32 columns at a time are detrended, packed in pairs as real and imaginary parts and
transformed in a tile that stays in the L2 cache; the pairs are taken apart and multiplied by the twiddle factors, and
only the rows that are no complex conjugates of others are kept. 16 of these at a time are transformed in the tile and
written to where they belong, those beyond Nyquist as the conjugates of their mirrors. So memory is read twice and
written twice in all, and no pass is spent on the split of a packed transform.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from pulsar_kernels._jit import aligned, kernel, prefetch, vector

#: Transforms side by side.
LANES = 16
#: Floats of a tile element: real parts, then imaginary parts.
_ELEMENT = 2 * LANES
# Tiles have a free element after every 32: strides of powers of two would fall on few lines of a cache.
_SKEW = 5
_FUSE = ("contract", "reassoc")
# The processor fetches no rows ahead that are this far apart: they are asked for so many rows before.
_AHEAD = 8
# No sample beyond this counts as finite.
_FINITE = 3e38


@kernel(inline=True)
def slots(n: int) -> int:
    """Elements of a tile that holds `n`."""
    return n + (n >> _SKEW)


class Plan(NamedTuple):
    """Factors and twiddles of a real transform of ``n1 n2`` samples."""

    n1: int
    n2: int
    radix1: NDArray[np.int64]
    radix2: NDArray[np.int64]
    twiddle1: NDArray[np.float32]
    twiddle2: NDArray[np.float32]
    lanes: NDArray[np.float32]
    turns: NDArray[np.float64]

    @property
    def work(self) -> int:
        """Floats of work space that a transform needs."""
        return -(-(self.n1 // 2 + 1) // LANES) * slots(self.n2) * _ELEMENT


def _factors(n: int) -> list[int]:
    """Radices of the passes, as few as there can be; none if `n` has other factors than 2, 3 and 5."""
    out = []
    for p in (5, 3):
        while n % p == 0:
            out.append(p)
            n //= p
    twos = n.bit_length() - 1
    if n != 1 << twos:
        return []
    passes = -(-twos // 4)
    return [1 << (twos * (i + 1) // passes - twos * i // passes) for i in range(passes)] + out


def _pairs(z: NDArray[np.complex128]) -> NDArray[np.float32]:
    """Real and imaginary parts, last axis."""
    return np.ascontiguousarray(np.stack([z.real, z.imag], axis=-1), dtype=np.float32)


def _twiddles(radix: list[int]) -> NDArray[np.float32]:
    """Of every pass: exp(-2 pi i p k / n), k = 1 ... radix - 1, for every p of the n/radix butterflies."""
    n = int(np.prod(radix))
    parts = []
    for r in radix:
        p, k = np.meshgrid(np.arange(n // r), np.arange(1, r), indexing="ij")
        parts.append(np.exp(-2j * np.pi * p * k / n).ravel())
        n //= r
    return _pairs(np.concatenate(parts)).ravel()


def make_plan(nfft: int) -> Plan | None:
    """Plan for real series of `nfft` samples, or None for lengths that it does not cover.

    Covered are even lengths that are a product of two numbers of 32 or more with no other factors than 2, 3 and 5.
    """
    best: tuple[float, int] | None = None
    for n1 in range(2 * LANES, nfft // (2 * LANES) + 1) if nfft % 2 == 0 and _factors(nfft) else ():
        if nfft % n1:
            continue
        n2 = nfft // n1
        # Elements times passes, with one for what happens before and after, of all blocks of columns and rows.
        columns = -(-n2 // (2 * LANES)) * n1 * (len(_factors(n1)) + 1)
        rows = -(-(n1 // 2 + 1) // LANES) * n2 * (len(_factors(n2)) + 1)
        # Both tiles should fit the cache: the longer side weighs in.
        cost = (columns + rows) * (1.0 + max(n1, n2) / 16384)
        if best is None or cost < best[0]:
            best = cost, n1
    if best is None:
        return None
    n1 = best[1]
    n2 = nfft // n1
    radix1, radix2 = _factors(n1), _factors(n2)
    k1 = np.arange(n1 // 2 + 1)
    # Half, for the sums and differences that take pairs of columns apart.
    lanes = 0.5 * np.exp(-2j * np.pi * k1[:, None] * np.arange(LANES) / nfft)
    turns = np.exp(-2j * np.pi * k1 * LANES / nfft)
    return Plan(
        n1,
        n2,
        np.array(radix1, dtype=np.int64),
        np.array(radix2, dtype=np.int64),
        _twiddles(radix1),
        _twiddles(radix2),
        np.ascontiguousarray(np.concatenate([lanes.real, lanes.imag], axis=1), dtype=np.float32).ravel(),
        np.ascontiguousarray([turns.real, turns.imag]),
    )


_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_VEC = ir.VectorType(_F32, LANES)


def _load(builder: Any, data: Any, index: Any) -> Any:
    return builder.load(builder.bitcast(builder.gep(data, [index]), _VEC.as_pointer()), align=4)


def _store(builder: Any, value: Any, data: Any, index: Any) -> None:
    builder.store(value, builder.bitcast(builder.gep(data, [index]), value.type.as_pointer()), align=4)


def _shuffle(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), [_I32(i) for i in lanes]))


def _wide(builder: Any, scalar: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VEC, ir.Undefined), scalar, _I32(0))
    return _shuffle(builder, one, one, [0] * LANES)


def _slot(builder: Any, row: Any) -> Any:
    return builder.mul(builder.add(row, builder.ashr(row, _I64(_SKEW))), _I64(_ELEMENT))


def _same(value: float) -> Any:
    return ir.Constant(_VEC, [ir.Constant(_F32, float(np.float32(value)))] * LANES)


class _Complex:
    """Arithmetic on pairs of vectors while code is written."""

    def __init__(self, builder: Any) -> None:
        self.b = builder

    def add(self, x: Any, y: Any) -> Any:
        return tuple(self.b.fadd(p, q, flags=_FUSE) for p, q in zip(x, y, strict=True))

    def sub(self, x: Any, y: Any) -> Any:
        return tuple(self.b.fsub(p, q, flags=_FUSE) for p, q in zip(x, y, strict=True))

    def mul(self, x: Any, y: Any) -> Any:
        b = self.b
        return (
            b.fsub(b.fmul(x[0], y[0], flags=_FUSE), b.fmul(x[1], y[1], flags=_FUSE), flags=_FUSE),
            b.fadd(b.fmul(x[0], y[1], flags=_FUSE), b.fmul(x[1], y[0], flags=_FUSE), flags=_FUSE),
        )

    def scale(self, x: Any, c: float) -> Any:
        return tuple(self.b.fmul(p, _same(c), flags=_FUSE) for p in x)

    def turn(self, x: Any, k: int, n: int) -> Any:
        """Times exp(-2 pi i k / n), with as few operations as the angle allows."""
        b = self.b
        eighth, rest = divmod(8 * k, n)
        if rest:
            w = np.exp(-2j * np.pi * k / n)
            return self.mul(x, (_same(w.real), _same(w.imag)))
        if eighth % 2:
            # (1 - i) / sqrt(2), and what remains is a quarter turn
            x = self.scale((b.fadd(x[0], x[1], flags=_FUSE), b.fsub(x[1], x[0], flags=_FUSE)), np.sqrt(0.5))
        for _ in range(eighth // 2):
            x = (x[1], b.fneg(x[0]))
        return x

    def dft(self, x: list[Any]) -> list[Any]:
        """Transform of 2, 3, 4, 5, 8 or 16 values, exp(-2 pi i j k / p)."""
        p = len(x)
        if p == 2:
            return [self.add(x[0], x[1]), self.sub(x[0], x[1])]
        if p == 4:
            a, b = self.add(x[0], x[2]), self.sub(x[0], x[2])
            c, d = self.add(x[1], x[3]), self.sub(x[1], x[3])
            # b -+ i d
            lower = (self.b.fadd(b[0], d[1], flags=_FUSE), self.b.fsub(b[1], d[0], flags=_FUSE))
            upper = (self.b.fsub(b[0], d[1], flags=_FUSE), self.b.fadd(b[1], d[0], flags=_FUSE))
            return [self.add(a, c), lower, self.sub(a, c), upper]
        if p % 4 == 0:
            # Columns and rows once more: j = rows j1 + j0, k = k1 + 4 k0.
            rows = p // 4
            inner = [self.dft(x[j::rows]) for j in range(rows)]
            result: list[Any] = [None] * p
            for k in range(4):
                result[k::4] = self.dft([self.turn(inner[j][k], j * k, p) for j in range(rows)])
            return result
        h = p // 2
        plus = [self.add(x[j], x[p - j]) for j in range(1, h + 1)]
        minus = [self.sub(x[j], x[p - j]) for j in range(1, h + 1)]
        out: list[Any] = [None] * p
        total = x[0]
        for s in plus:
            total = self.add(total, s)
        out[0] = total
        for k in range(1, h + 1):
            u = x[0]
            v: Any = None
            for j in range(1, h + 1):
                u = self.add(u, self.scale(plus[j - 1], np.cos(2 * np.pi * j * k / p)))
                term = self.scale(minus[j - 1], np.sin(2 * np.pi * j * k / p))
                v = term if v is None else self.add(v, term)
            # u -+ i v
            out[k] = (self.b.fadd(u[0], v[1], flags=_FUSE), self.b.fsub(u[1], v[0], flags=_FUSE))
            out[p - k] = (self.b.fsub(u[0], v[1], flags=_FUSE), self.b.fadd(u[1], v[0], flags=_FUSE))
        return out


def _transform_code(builder: Any, args: Any, p: int, factors: Any = None, first: Any = None) -> None:
    c = _Complex(builder)

    def place(at: Any, stride: Any, j: int) -> Any:
        return _slot(builder, builder.add(at, builder.mul(stride, _I64(j))))

    x = []
    for j in range(p):
        i = place(args[2], args[3], j)
        x.append((_load(builder, args[1], i), _load(builder, args[1], builder.add(i, _I64(LANES)))))
    for k, value in enumerate(c.dft(x)):
        result = value
        if k > 0 and factors is not None:
            t = builder.mul(builder.add(first, _I64(k - 1)), _I64(2))
            re = builder.load(builder.gep(factors, [t]))
            im = builder.load(builder.gep(factors, [builder.add(t, _I64(1))]))
            result = c.mul(value, (_wide(builder, re), _wide(builder, im)))
        o = place(args[5], args[6], k)
        _store(builder, result[0], args[4], o)
        _store(builder, result[1], args[4], builder.add(o, _I64(LANES)))


def _butterfly_code(builder: Any, args: Any, p: int) -> None:
    _transform_code(builder, args, p, args[7], args[8])


@vector(_transform_code, literal=0)
def _last(
    radix: int, source: NDArray[np.float32], at: int, step: int, out: NDArray[np.float32], to: int, span: int
) -> None:
    """One butterfly of tile elements ``at + j step`` to ``to + k span``."""
    x = np.zeros((radix, LANES), np.complex64)
    for j in range(radix):
        i = slots(at + j * step) * _ELEMENT
        x[j] = source[i : i + LANES] + 1j * source[i + LANES : i + _ELEMENT]
    y = np.fft.fft(x, axis=0)
    for k in range(radix):
        o = slots(to + k * span) * _ELEMENT
        out[o : o + LANES] = y[k].real
        out[o + LANES : o + _ELEMENT] = y[k].imag


@vector(_butterfly_code, literal=0)
def _butterfly(
    radix: int,
    source: NDArray[np.float32],
    at: int,
    step: int,
    out: NDArray[np.float32],
    to: int,
    span: int,
    twiddle: NDArray[np.float32],
    w: int,
) -> None:
    """The same times the twiddles from pair `w` on."""
    _last(radix, source, at, step, out, to, span)
    for k in range(1, radix):
        o = slots(to + k * span) * _ELEMENT
        t = 2 * (w + k - 1)
        z = out[o : o + LANES] + 1j * out[o + LANES : o + _ELEMENT]
        z = z * (twiddle[t] + 1j * twiddle[t + 1])
        out[o : o + LANES] = z.real
        out[o + LANES : o + _ELEMENT] = z.imag


def _row_code(builder: Any, args: Any) -> None:
    data, cubic = args[0], args[2]
    kind = data.type.pointee
    c = [_wide(builder, builder.load(builder.gep(cubic, [_I64(k)]))) for k in range(4)]
    start, step = _wide(builder, args[3]), _wide(builder, args[4])
    to = _slot(builder, args[6])
    for part in range(2):
        index = builder.add(args[1], _I64(part * LANES))
        vec = ir.VectorType(kind, LANES)
        raw = builder.load(
            builder.bitcast(builder.gep(data, [index]), vec.as_pointer()), align=4 if kind == _F32 else 2
        )
        x = raw if kind == _F32 else builder.sitofp(builder.sext(raw, ir.VectorType(_I32, LANES)), _VEC)
        place = ir.Constant(_VEC, [ir.Constant(_F32, float(part * LANES + k)) for k in range(LANES)])
        u = builder.fadd(start, builder.fmul(step, place, flags=_FUSE), flags=_FUSE)
        trend = c[3]
        for k in (2, 1):
            trend = builder.fadd(c[k], builder.fmul(u, trend, flags=_FUSE), flags=_FUSE)
        y = builder.fsub(builder.fsub(x, c[0]), builder.fmul(u, trend, flags=("contract",)), flags=("contract",))
        if kind == _F32:
            low = builder.fcmp_ordered(">=", y, _same(-_FINITE))
            high = builder.fcmp_ordered("<=", y, _same(_FINITE))
            y = builder.select(builder.and_(low, high), y, _same(0.0))
        _store(builder, y, args[5], builder.add(to, _I64(part * LANES)))


@vector(_row_code)
def _row(
    series: NDArray[Any],
    at: int,
    cubic: NDArray[np.float32],
    start: float,
    step: float,
    tile: NDArray[np.float32],
    row: int,
) -> None:
    """32 samples minus a cubic in u = `start`, `start` + `step` ... into one tile element; 0 where not finite."""
    u = np.float32(start) + np.float32(step) * np.arange(_ELEMENT, dtype=np.float32)
    x = series[at : at + _ELEMENT].astype(np.float32) - cubic[0]
    x = x - u * (cubic[1] + u * (cubic[2] + u * cubic[3]))
    o = slots(row) * _ELEMENT
    tile[o : o + _ELEMENT] = np.where(np.abs(x) <= _FINITE, x, 0.0)


def _separate_code(builder: Any, args: Any) -> None:
    src, lanes, turns, dst = args[0], args[3], args[5], args[6]
    c = _Complex(builder)

    def element(data: Any, i: Any) -> Any:
        return _load(builder, data, i), _load(builder, data, builder.add(i, _I64(LANES)))

    z, m = element(src, _slot(builder, args[1])), element(src, _slot(builder, args[2]))
    w = element(lanes, builder.mul(args[4], _I64(_ELEMENT)))
    even = (builder.fadd(z[0], m[0], flags=_FUSE), builder.fsub(z[1], m[1], flags=_FUSE))
    odd = (builder.fadd(z[1], m[1], flags=_FUSE), builder.fsub(m[0], z[0], flags=_FUSE))
    for part, half in enumerate((even, odd)):
        t = builder.add(builder.mul(args[4], _I64(4)), _I64(2 * part))
        re = _wide(builder, builder.load(builder.gep(turns, [t])))
        im = _wide(builder, builder.load(builder.gep(turns, [builder.add(t, _I64(1))])))
        x = c.mul(half, c.mul(w, (re, im)))
        to = builder.mul(builder.add(args[7], _I64(2 * LANES * part)), _I64(LANES))
        _store(builder, x[0], dst, to)
        _store(builder, x[1], dst, builder.add(to, _I64(LANES * LANES)))


@vector(_separate_code)
def _separate(
    tile: NDArray[np.float32],
    up: int,
    down: int,
    lanes: NDArray[np.float32],
    k: int,
    turns: NDArray[np.float32],
    out: NDArray[np.float32],
    row: int,
) -> None:
    """Twisted transforms of the two columns of each lane, from elements ``k = up`` and ``n1 - k = down``.

    Row `row` of four squares of 16 by 16: real and imaginary parts of the first, then of the second columns.
    """
    i = slots(up) * _ELEMENT
    z = tile[i : i + LANES] + 1j * tile[i + LANES : i + _ELEMENT]
    i = slots(down) * _ELEMENT
    m = tile[i : i + LANES] - 1j * tile[i + LANES : i + _ELEMENT]
    w = lanes[_ELEMENT * k : _ELEMENT * k + LANES] + 1j * lanes[_ELEMENT * k + LANES : _ELEMENT * (k + 1)]
    for part in range(2):
        half = z + m if part == 0 else -1j * (z - m)
        x = half * w * (turns[4 * k + 2 * part] + 1j * turns[4 * k + 2 * part + 1])
        to = (row + 2 * LANES * part) * LANES
        out[to : to + LANES] = x.real
        out[to + LANES * LANES : to + LANES * LANES + LANES] = x.imag


def _transpose_code(builder: Any, args: Any) -> None:
    src, dst = args[0], args[2]
    v = [_load(builder, src, builder.add(args[1], _I64(LANES * i))) for i in range(LANES)]
    d = LANES // 2
    while d:
        for i in range(LANES):
            if i & d:
                continue
            a, b = v[i], v[i + d]
            v[i] = _shuffle(builder, a, b, [LANES + (j ^ d) if j & d else j for j in range(LANES)])
            v[i + d] = _shuffle(builder, a, b, [LANES + j if j & d else j | d for j in range(LANES)])
        d //= 2
    for j in range(LANES):
        _store(builder, v[j], dst, builder.add(_slot(builder, builder.add(args[3], _I64(j))), args[4]))


@vector(_transpose_code)
def _transpose(square: NDArray[np.float32], at: int, tile: NDArray[np.float32], row: int, part: int) -> None:
    """Columns of a square of 16 by 16 to the tile elements from `row` on (`part` 0: real, 16: imaginary)."""
    for j in range(LANES):
        o = slots(row + j) * _ELEMENT + part
        tile[o : o + LANES] = square[at + j : at + j + (LANES - 1) * LANES + 1 : LANES]


def _scatter_code(builder: Any, args: Any, mirrored: int) -> None:
    src, re, im = args[1], args[3], args[4]
    i = _slot(builder, args[2])
    x = _load(builder, src, i)
    y = _load(builder, src, builder.add(i, _I64(LANES)))
    if mirrored:
        back = list(range(LANES - 1, -1, -1))
        x, y = _shuffle(builder, x, x, back), builder.fneg(_shuffle(builder, y, y, back))
    _store(builder, x, re, args[5])
    _store(builder, y, im, args[5])


@vector(_scatter_code, literal=0)
def _scatter(
    mirrored: int, tile: NDArray[np.float32], row: int, real: NDArray[np.float32], imag: NDArray[np.float32], to: int
) -> None:
    """Tile element `row` to both planes at `to`; as conjugates in reverse order if `mirrored` is 1."""
    i = slots(row) * _ELEMENT
    step = -1 if mirrored else 1
    real[to : to + LANES] = tile[i : i + LANES][::step]
    imag[to : to + LANES] = step * tile[i + LANES : i + _ELEMENT][::step]


@kernel()
def _pass(
    radix: int,
    source: NDArray[np.float32],
    out: NDArray[np.float32],
    n: int,
    span: int,
    twiddle: NDArray[np.float32],
    w: int,
) -> None:
    """One pass of a Stockham transform of the `n` elements of the tile `source`, into the tile `out`.

    `span` is the product of the radices before, `w` the first twiddle.
    """
    step = n // radix
    m = step // span
    if m == 1:
        if radix == 16:
            for q in range(span):
                _last(16, source, q, step, out, q, span)
        elif radix == 8:
            for q in range(span):
                _last(8, source, q, step, out, q, span)
        elif radix == 4:
            for q in range(span):
                _last(4, source, q, step, out, q, span)
        elif radix == 2:
            for q in range(span):
                _last(2, source, q, step, out, q, span)
        elif radix == 3:
            for q in range(span):
                _last(3, source, q, step, out, q, span)
        else:
            for q in range(span):
                _last(5, source, q, step, out, q, span)
        return
    for i in range(m):
        at = span * i
        to = span * radix * i
        if radix == 16:
            for q in range(span):
                _butterfly(16, source, at + q, step, out, to + q, span, twiddle, w)
        elif radix == 8:
            for q in range(span):
                _butterfly(8, source, at + q, step, out, to + q, span, twiddle, w)
        elif radix == 4:
            for q in range(span):
                _butterfly(4, source, at + q, step, out, to + q, span, twiddle, w)
        elif radix == 2:
            for q in range(span):
                _butterfly(2, source, at + q, step, out, to + q, span, twiddle, w)
        elif radix == 3:
            for q in range(span):
                _butterfly(3, source, at + q, step, out, to + q, span, twiddle, w)
        else:
            for q in range(span):
                _butterfly(5, source, at + q, step, out, to + q, span, twiddle, w)
        w += radix - 1


@kernel()
def _edge(
    series: NDArray[Any],
    at: int,
    cubic: NDArray[np.float32],
    start: np.float32,
    step: np.float32,
    tile: NDArray[np.float32],
    row: int,
) -> None:
    """What `_row` does where the series ends: zeros from there on."""
    n = series.shape[0]
    for c in range(_ELEMENT):
        x = np.float32(0.0)
        if at + c < n:
            u = start + step * np.float32(c)
            x = np.float32(series[at + c]) - cubic[0] - u * (cubic[1] + u * (cubic[2] + u * cubic[3]))
            x = x if abs(x) <= np.float32(_FINITE) else np.float32(0.0)
        tile[_ELEMENT * row + c] = x


@kernel()
def _first_pass(
    radix: int,
    series: NDArray[Any],
    at: int,
    n2: int,
    cubic: NDArray[np.float32],
    few: NDArray[np.float32],
    out: NDArray[np.float32],
    n1: int,
    twiddle: NDArray[np.float32],
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
            prefetch(0, series, first + _AHEAD * n2 + _ELEMENT - 1)
            if first + _ELEMENT <= n:
                _row(series, first, cubic, start, step, few, j)
            else:
                _edge(series, first, cubic, start, step, few, j)
        w = i * (radix - 1)
        if radix == 16:
            _butterfly(16, few, 0, 1, out, 16 * i, 1, twiddle, w)
        elif radix == 8:
            _butterfly(8, few, 0, 1, out, 8 * i, 1, twiddle, w)
        elif radix == 4:
            _butterfly(4, few, 0, 1, out, 4 * i, 1, twiddle, w)
        elif radix == 2:
            _butterfly(2, few, 0, 1, out, 2 * i, 1, twiddle, w)
        elif radix == 3:
            _butterfly(3, few, 0, 1, out, 3 * i, 1, twiddle, w)
        else:
            _butterfly(5, few, 0, 1, out, 5 * i, 1, twiddle, w)


@kernel()
def real_fft(
    series: NDArray[Any],
    coeffs: NDArray[np.float64],
    plan: Plan,
    work: NDArray[np.float32],
    pad: int,
    real: NDArray[np.float32],
    imag: NDArray[np.float32],
) -> None:
    """Real FFT of a series minus a cubic, padded with zeros, into two planes.

    Parameters
    ----------
    series : ndarray of int16 or float32, shape (n,), n <= nfft
        Samples that are not finite count as zeros after the cubic is taken off.
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
    a = aligned(_ELEMENT * slots(max(n1, n2)))
    b = aligned(_ELEMENT * slots(max(n1, n2)))
    squares = aligned(4 * LANES * LANES)
    cubic = coeffs.astype(np.float32)
    # exp(-2 pi i k c / nfft) at the first and the seventeenth column of a block.
    x = np.ones(nrows, np.float64)
    y = np.zeros(nrows, np.float64)
    turns = np.empty(4 * nrows, np.float32)
    tr = plan.turns[0]
    ti = plan.turns[1]
    # The last block of columns or rows overlaps the one before where the number is no multiple of its width.
    for block in range(0, n2, _ELEMENT):
        j = min(block, n2 - _ELEMENT)
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
        span = radix1[0]
        w = n1 // span * (span - 1)
        source = a
        out = b
        _first_pass(span, series, j, n2, cubic, squares, source, n1, plan.twiddle1)
        for level in range(1, radix1.shape[0]):
            p = radix1[level]
            _pass(p, source, out, n1, span, plan.twiddle1, w)
            w += n1 // (span * p) * (p - 1)
            span *= p
            source, out = out, source
        for row in range(0, nrows, LANES):
            k = min(row, nrows - LANES)
            tile = work[row // LANES * slots(n2) * _ELEMENT :]
            for i in range(LANES):
                for half in range(4):
                    prefetch(1, tile, slots(j + 2 * i + half // 2) * _ELEMENT + half % 2 * LANES)
                _separate(source, k + i, (n1 - k - i) % n1, plan.lanes, k + i, turns, squares, i)
            for part in range(4):
                _transpose(squares, part * LANES * LANES, tile, j + part // 2 * LANES, part % 2 * LANES)
    direct = (n2 + 1) // 2
    for row in range(0, nrows, LANES):
        k = min(row, nrows - LANES)
        span = 1
        w = 0
        source = a
        out = b
        for level in range(radix2.shape[0]):
            p = radix2[level]
            if level == 0:
                _pass(p, work[row // LANES * slots(n2) * _ELEMENT :], out, n2, span, plan.twiddle2, w)
            else:
                _pass(p, source, out, n2, span, plan.twiddle2, w)
            w += n2 // (span * p) * (p - 1)
            span *= p
            source, out = out, source
        for i in range(direct):
            _scatter(0, source, i, real, imag, pad + i * n1 + k)
        for i in range(direct, n2):
            _scatter(1, source, i, real, imag, pad + nfft - i * n1 - k - LANES + 1)
    imag[pad] = np.float32(0.0)
    if nfft % 2 == 0:
        imag[pad + nfft // 2] = np.float32(0.0)
