"""Complex transforms of 16 series at a time, one in every vector lane.

A tile holds 16 series side by side: an element is 16 real and 16 imaginary parts. A transform is a few passes of
butterflies from one tile to another (Stockham), radix 16, 8, 4, 2, 3 and 5, the numbers of a butterfly in registers.
"""

from typing import Any

import numpy as np
from numba.extending import register_jitable

from pulsar_kernels._ir import F32, FUSE, I64, constant, element, load, plus, splat, store, times, vector_of
from pulsar_kernels._jit import kernel, vector
from pulsar_kernels.arrays import Array, Complexes, Float32s, Ints

#: Transforms side by side.
LANES = 16
#: Floats of a tile element: real parts, then imaginary parts.
ELEMENT = 2 * LANES
# Tiles have a free element after every 32: strides of powers of two would fall on few lines of a cache.
_SKEW = 5
#: A number of each transform.
VEC = vector_of(F32, LANES)


@register_jitable
def slots(n: int) -> int:
    """Elements of a tile that holds `n`."""
    return n + (n >> _SKEW)


def factors(n: int) -> list[int]:
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


def _pairs(z: Complexes) -> Float32s:
    """Real and imaginary parts, last axis."""
    return np.ascontiguousarray(np.stack([z.real, z.imag], axis=-1), dtype=np.float32)


def twiddles(radix: list[int]) -> Float32s:
    """Of every pass: exp(-2 pi i p k / n), k = 1 ... radix - 1, for every p of the n/radix butterflies."""
    n = int(np.prod(radix))
    parts = []
    for r in radix:
        p, k = np.meshgrid(np.arange(n // r), np.arange(1, r), indexing="ij")
        parts.append(np.exp(-2j * np.pi * p * k / n).ravel())
        n //= r
    return _pairs(np.concatenate(parts)).ravel()


def slot(builder: Any, row: Any) -> Any:
    """Where element `row` of a tile begins."""
    return times(builder, plus(builder, row, builder.ashr(row, I64(_SKEW))), ELEMENT)


class Complex:
    """Arithmetic on pairs of vectors while code is written."""

    def __init__(self, builder: Any) -> None:
        self.b = builder

    def load(self, data: Any, at: Any) -> Any:
        """Real parts from `at` on, imaginary parts after them."""
        return load(self.b, data, at, VEC), load(self.b, data, plus(self.b, at, LANES), VEC)

    def store(self, x: Any, data: Any, at: Any) -> None:
        store(self.b, x[0], data, at)
        store(self.b, x[1], data, plus(self.b, at, LANES))

    def everywhere(self, data: Any, number: Any) -> Any:
        """Pair `number` of a table of real and imaginary parts, the same in all lanes."""
        t = times(self.b, number, 2)
        parts = [element(self.b, data, i) for i in (t, plus(self.b, t, 1))]
        return tuple(splat(self.b, part, LANES) for part in parts)

    def add(self, x: Any, y: Any) -> Any:
        return tuple(self.b.fadd(p, q, flags=FUSE) for p, q in zip(x, y, strict=True))

    def sub(self, x: Any, y: Any) -> Any:
        return tuple(self.b.fsub(p, q, flags=FUSE) for p, q in zip(x, y, strict=True))

    def mul(self, x: Any, y: Any) -> Any:
        b = self.b
        return (
            b.fsub(b.fmul(x[0], y[0], flags=FUSE), b.fmul(x[1], y[1], flags=FUSE), flags=FUSE),
            b.fadd(b.fmul(x[0], y[1], flags=FUSE), b.fmul(x[1], y[0], flags=FUSE), flags=FUSE),
        )

    def scale(self, x: Any, c: float) -> Any:
        return tuple(self.b.fmul(p, constant(VEC, c), flags=FUSE) for p in x)

    def turn(self, x: Any, k: int, n: int) -> Any:
        """Times exp(-2 pi i k / n), with as few operations as the angle allows."""
        b = self.b
        eighth, rest = divmod(8 * k, n)
        if rest:
            w = np.exp(-2j * np.pi * k / n)
            return self.mul(x, (constant(VEC, w.real), constant(VEC, w.imag)))
        if eighth % 2:
            # (1 - i) / sqrt(2), and what remains is a quarter turn
            x = self.scale((b.fadd(x[0], x[1], flags=FUSE), b.fsub(x[1], x[0], flags=FUSE)), np.sqrt(0.5))
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
            lower = (self.b.fadd(b[0], d[1], flags=FUSE), self.b.fsub(b[1], d[0], flags=FUSE))
            upper = (self.b.fsub(b[0], d[1], flags=FUSE), self.b.fadd(b[1], d[0], flags=FUSE))
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
            out[k] = (self.b.fadd(u[0], v[1], flags=FUSE), self.b.fsub(u[1], v[0], flags=FUSE))
            out[p - k] = (self.b.fsub(u[0], v[1], flags=FUSE), self.b.fadd(u[1], v[0], flags=FUSE))
        return out


def _transform_code(builder: Any, args: Any, p: int, factors: Any = None, first: Any = None) -> None:
    c = Complex(builder)

    def place(at: Any, stride: Any, j: int) -> Any:
        return slot(builder, plus(builder, at, times(builder, stride, j)))

    for k, value in enumerate(c.dft([c.load(args[1], place(args[2], args[3], j)) for j in range(p)])):
        result = value
        if k > 0 and factors is not None:
            result = c.mul(value, c.everywhere(factors, plus(builder, first, k - 1)))
        c.store(result, args[4], place(args[5], args[6], k))


def _butterfly_code(builder: Any, args: Any, p: int) -> None:
    _transform_code(builder, args, p, args[7], args[8])


def transformed(radix: int, source: Float32s, at: int, step: int) -> Array:
    """Transforms of tile elements ``at + j step`` in plain Python, shape (radix, LANES)."""
    places = [slots(at + j * step) * ELEMENT for j in range(radix)]
    x = np.array([source[i : i + LANES] + 1j * source[i + LANES : i + ELEMENT] for i in places], np.complex64)
    return np.fft.fft(x, axis=0)


@vector(_transform_code, literal=0)
def last(radix: int, source: Float32s, at: int, step: int, out: Float32s, to: int, span: int) -> None:
    """One butterfly of tile elements ``at + j step`` to ``to + k span``."""
    y = transformed(radix, source, at, step)
    for k in range(radix):
        o = slots(to + k * span) * ELEMENT
        out[o : o + LANES] = y[k].real
        out[o + LANES : o + ELEMENT] = y[k].imag


@vector(_butterfly_code, literal=0)
def butterfly(
    radix: int, source: Float32s, at: int, step: int, out: Float32s, to: int, span: int, twiddle: Float32s, w: int
) -> None:
    """The same times the twiddles from pair `w` on."""
    last(radix, source, at, step, out, to, span)
    for k in range(1, radix):
        o = slots(to + k * span) * ELEMENT
        t = 2 * (w + k - 1)
        z = out[o : o + LANES] + 1j * out[o + LANES : o + ELEMENT]
        z = z * (twiddle[t] + 1j * twiddle[t + 1])
        out[o : o + LANES] = z.real
        out[o + LANES : o + ELEMENT] = z.imag


@kernel(inline=True, helper=True)
def butterflies(
    radix: int, source: Float32s, at: int, step: int, out: Float32s, to: int, span: int, twiddle: Float32s, w: int
) -> None:
    """As :func:`butterfly`, and the `span` - 1 beside it: one element on each, with the same twiddles."""
    if radix == 16:
        for q in range(span):
            butterfly(16, source, at + q, step, out, to + q, span, twiddle, w)
    elif radix == 8:
        for q in range(span):
            butterfly(8, source, at + q, step, out, to + q, span, twiddle, w)
    elif radix == 4:
        for q in range(span):
            butterfly(4, source, at + q, step, out, to + q, span, twiddle, w)
    elif radix == 2:
        for q in range(span):
            butterfly(2, source, at + q, step, out, to + q, span, twiddle, w)
    elif radix == 3:
        for q in range(span):
            butterfly(3, source, at + q, step, out, to + q, span, twiddle, w)
    else:
        for q in range(span):
            butterfly(5, source, at + q, step, out, to + q, span, twiddle, w)


@kernel(helper=True)
def transform_pass(radix: int, source: Float32s, out: Float32s, n: int, span: int, twiddle: Float32s, w: int) -> None:
    """One pass of a Stockham transform of the `n` elements of the tile `source`, into the tile `out`.

    `span` is the product of the radices before, `w` the first twiddle.
    """
    step = n // radix
    if step == span:
        if radix == 16:
            for q in range(span):
                last(16, source, q, step, out, q, span)
        elif radix == 8:
            for q in range(span):
                last(8, source, q, step, out, q, span)
        elif radix == 4:
            for q in range(span):
                last(4, source, q, step, out, q, span)
        elif radix == 2:
            for q in range(span):
                last(2, source, q, step, out, q, span)
        elif radix == 3:
            for q in range(span):
                last(3, source, q, step, out, q, span)
        else:
            for q in range(span):
                last(5, source, q, step, out, q, span)
        return
    for i in range(step // span):
        butterflies(radix, source, span * i, step, out, span * radix * i, span, twiddle, w)
        w += radix - 1


@kernel(inline=True, helper=True)
def passes(
    radix: Ints, first: int, stop: int, source: Float32s, spare: Float32s, n: int, twiddle: Float32s
) -> tuple[Float32s, Float32s]:
    """Passes `first` ... `stop` - 1 of the transform whose radices are given; the tiles, that with the result first."""
    span = 1
    w = 0
    for level in range(stop):
        p = radix[level]
        if level >= first:
            transform_pass(p, source, spare, n, span, twiddle, w)
            source, spare = spare, source
        w += n // (span * p) * (p - 1)
        span *= p
    return source, spare
