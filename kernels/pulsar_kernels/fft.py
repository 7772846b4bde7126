"""Real FFT of one long series by columns and rows (six steps), 16 transforms at a time in vector registers.

A library transforms one long series with scalar code that walks through memory once per factor. Here the series is a
matrix: sixteen columns at a time are copied to a tile that stays in the L2 cache, transformed there by vector
instructions, multiplied by the twiddle factors and written back; then sixteen rows at a time. Memory is read and
written three times in all, the last time for the split of the packed complex transform into that of a real series.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel, vector

#: Transforms side by side.
LANES = 16
_FINE = 256
_FUSE = ("contract", "reassoc")


class Plan(NamedTuple):
    """Factors and twiddles of a real transform of ``2 n1 n2`` samples."""

    n1: int
    n2: int
    radix1: NDArray[np.int64]
    radix2: NDArray[np.int64]
    twiddle1: NDArray[np.float32]
    twiddle2: NDArray[np.float32]
    lanes: NDArray[np.float32]
    coarse: NDArray[np.float32]
    fine: NDArray[np.float32]


def _factors(n: int) -> list[int]:
    out = []
    for p in (4, 2, 3, 5):
        while n % p == 0:
            out.append(p)
            n //= p
    return out if n == 1 else []


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

    Covered are even lengths whose half is a product of two numbers of 16 or more with no other factors than 2, 3 and 5.
    """
    n = nfft // 2
    if nfft % 2 or not _factors(n):
        return None
    best = 0
    for a in range(LANES, int(np.sqrt(n)) + 1):
        if n % a == 0 and _factors(a):
            best = a
    if best == 0:
        return None
    n1, n2 = best, n // best
    radix1, radix2 = _factors(n1), _factors(n2)
    k1 = np.arange(n1)[:, None]
    lanes = np.exp(-2j * np.pi * k1 * np.arange(LANES) / n)
    return Plan(
        n1,
        n2,
        np.array(radix1, dtype=np.int64),
        np.array(radix2, dtype=np.int64),
        _twiddles(radix1),
        _twiddles(radix2),
        np.ascontiguousarray(np.concatenate([lanes.real, lanes.imag], axis=1), dtype=np.float32).ravel(),
        _pairs(np.exp(-1j * np.pi * _FINE * np.arange(n // 2 // _FINE + 1) / n)).ravel(),
        np.ascontiguousarray(
            [np.cos(np.pi * np.arange(_FINE) / n), -np.sin(np.pi * np.arange(_FINE) / n)], dtype=np.float32
        ).ravel(),
    )


_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_VEC = ir.VectorType(_F32, LANES)


def _load(builder: Any, data: Any, index: Any, vec: Any = _VEC) -> Any:
    return builder.load(builder.bitcast(builder.gep(data, [index]), vec.as_pointer()), align=4)


def _store(builder: Any, value: Any, data: Any, index: Any) -> None:
    builder.store(value, builder.bitcast(builder.gep(data, [index]), value.type.as_pointer()), align=4)


def _shuffle(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), [_I32(i) for i in lanes]))


def _wide(builder: Any, scalar: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VEC, ir.Undefined), scalar, _I32(0))
    return _shuffle(builder, one, one, [0] * LANES)


class _Complex:
    """Arithmetic on pairs of vectors while code is written."""

    def __init__(self, builder: Any) -> None:
        self.b = builder

    def add(self, x: Any, y: Any) -> Any:
        return tuple(self.b.fadd(p, q, _FUSE) for p, q in zip(x, y, strict=True))

    def sub(self, x: Any, y: Any) -> Any:
        return tuple(self.b.fsub(p, q, _FUSE) for p, q in zip(x, y, strict=True))

    def mul(self, x: Any, y: Any) -> Any:
        b = self.b
        return (
            b.fsub(b.fmul(x[0], y[0], _FUSE), b.fmul(x[1], y[1], _FUSE), _FUSE),
            b.fadd(b.fmul(x[0], y[1], _FUSE), b.fmul(x[1], y[0], _FUSE), _FUSE),
        )

    def scale(self, x: Any, c: float) -> Any:
        factor = ir.Constant(_VEC, [ir.Constant(_F32, float(np.float32(c)))] * LANES)
        return tuple(self.b.fmul(p, factor, _FUSE) for p in x)

    def dft(self, x: list[Any]) -> list[Any]:
        """Transform of 2 to 5 values, exp(-2 pi i j k / p)."""
        p = len(x)
        if p == 2:
            return [self.add(x[0], x[1]), self.sub(x[0], x[1])]
        if p == 4:
            a, b = self.add(x[0], x[2]), self.sub(x[0], x[2])
            c, d = self.add(x[1], x[3]), self.sub(x[1], x[3])
            # b -+ i d
            lower = (self.b.fadd(b[0], d[1], _FUSE), self.b.fsub(b[1], d[0], _FUSE))
            upper = (self.b.fsub(b[0], d[1], _FUSE), self.b.fadd(b[1], d[0], _FUSE))
            return [self.add(a, c), lower, self.sub(a, c), upper]
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
            out[k] = (self.b.fadd(u[0], v[1], _FUSE), self.b.fsub(u[1], v[0], _FUSE))
            out[p - k] = (self.b.fsub(u[0], v[1], _FUSE), self.b.fadd(u[1], v[0], _FUSE))
        return out


def _butterfly_code(builder: Any, args: Any, p: int) -> None:
    src, dst, factors = args[1], args[4], args[7]
    c = _Complex(builder)
    size = _I64(2 * LANES)

    def place(first: Any, stride: Any, j: int) -> Any:
        return builder.mul(builder.add(first, builder.mul(stride, _I64(j))), size)

    x = []
    for j in range(p):
        i = place(args[2], args[3], j)
        x.append((_load(builder, src, i), _load(builder, src, builder.add(i, _I64(LANES)))))
    for k, value in enumerate(c.dft(x)):
        result = value
        if k > 0:
            t = builder.mul(builder.add(args[8], _I64(k - 1)), _I64(2))
            re = builder.load(builder.gep(factors, [t]))
            im = builder.load(builder.gep(factors, [builder.add(t, _I64(1))]))
            result = c.mul(value, (_wide(builder, re), _wide(builder, im)))
        o = place(args[5], args[6], k)
        _store(builder, result[0], dst, o)
        _store(builder, result[1], dst, builder.add(o, _I64(LANES)))


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
    """One butterfly of tile elements ``at + j step`` to ``to + k span``, times the twiddles from pair `w` on."""
    size = 2 * LANES
    x = np.zeros((radix, LANES), np.complex64)
    for j in range(radix):
        i = (at + j * step) * size
        x[j] = source[i : i + LANES] + 1j * source[i + LANES : i + size]
    y = np.fft.fft(x, axis=0)
    for k in range(radix):
        o = (to + k * span) * size
        t = 2 * (w + k - 1)
        z = y[k] * (twiddle[t] + 1j * twiddle[t + 1]) if k > 0 else y[k]
        out[o : o + LANES] = z.real
        out[o + LANES : o + size] = z.imag


def _gather_code(builder: Any, args: Any) -> None:
    src, dst = args[0], args[2]
    both = _load(builder, src, args[1], ir.VectorType(_F32, 2 * LANES))
    o = builder.mul(args[3], _I64(2 * LANES))
    _store(builder, _shuffle(builder, both, both, list(range(0, 2 * LANES, 2))), dst, o)
    _store(builder, _shuffle(builder, both, both, list(range(1, 2 * LANES, 2))), dst, builder.add(o, _I64(LANES)))


@vector(_gather_code)
def _gather(series: NDArray[np.float32], at: int, tile: NDArray[np.float32], row: int) -> None:
    """Sixteen complex numbers (pairs of samples) into one tile element."""
    o = 2 * LANES * row
    tile[o : o + LANES] = series[at : at + 2 * LANES : 2]
    tile[o + LANES : o + 2 * LANES] = series[at + 1 : at + 2 * LANES : 2]


def _twist_code(builder: Any, args: Any) -> None:
    src, factors, dst = args[0], args[2], args[5]
    c = _Complex(builder)
    i = builder.mul(args[1], _I64(2 * LANES))
    up = builder.add(i, _I64(LANES))
    w = c.mul(
        (_load(builder, factors, i), _load(builder, factors, up)), (_wide(builder, args[3]), _wide(builder, args[4]))
    )
    x = c.mul((_load(builder, src, i), _load(builder, src, up)), w)
    _store(builder, x[0], dst, args[6])
    _store(builder, x[1], dst, builder.add(args[6], args[7]))


@vector(_twist_code)
def _twist(
    tile: NDArray[np.float32],
    row: int,
    lanes: NDArray[np.float32],
    re: float,
    im: float,
    out: NDArray[np.float32],
    to: int,
    n: int,
) -> None:
    """Tile element `row` times ``lanes[row] (re + i im)`` to the planes ``out[to]`` and ``out[n + to]``."""
    i = 2 * LANES * row
    up = i + LANES
    w = (lanes[i:up] + 1j * lanes[up : up + LANES]) * (re + 1j * im)
    z = (tile[i:up] + 1j * tile[up : up + LANES]) * w
    out[to : to + LANES] = z.real
    out[n + to : n + to + LANES] = z.imag


def _transpose_code(builder: Any, args: Any) -> None:
    src, dst = args[0], args[3]
    v = [_load(builder, src, builder.add(args[1], builder.mul(args[2], _I64(i)))) for i in range(LANES)]
    d = LANES // 2
    while d:
        for i in range(LANES):
            if i & d:
                continue
            a, b = v[i], v[i + d]
            v[i] = _shuffle(builder, a, b, [LANES + (j ^ d) if j & d else j for j in range(LANES)])
            v[i + d] = _shuffle(builder, a, b, [LANES + j if j & d else j | d for j in range(LANES)])
        d //= 2
    first = builder.add(builder.mul(args[4], _I64(2 * LANES)), args[5])
    for j in range(LANES):
        _store(builder, v[j], dst, builder.add(first, _I64(2 * LANES * j)))


@vector(_transpose_code)
def _transpose(plane: NDArray[np.float32], at: int, step: int, tile: NDArray[np.float32], row: int, part: int) -> None:
    """Sixteen rows of sixteen numbers to the tile elements from `row` on (`part` 0: real, 16: imaginary)."""
    for j in range(LANES):
        o = 2 * LANES * (row + j) + part
        tile[o : o + LANES] = plane[at + j : at + j + (LANES - 1) * step + 1 : step]


def _scatter_code(builder: Any, args: Any) -> None:
    src, re, im = args[0], args[2], args[3]
    i = builder.mul(args[1], _I64(2 * LANES))
    _store(builder, _load(builder, src, i), re, args[4])
    _store(builder, _load(builder, src, builder.add(i, _I64(LANES))), im, args[4])


@vector(_scatter_code)
def _scatter(
    tile: NDArray[np.float32], row: int, real: NDArray[np.float32], imag: NDArray[np.float32], to: int
) -> None:
    """Tile element `row` to both planes at `to`."""
    i = 2 * LANES * row
    real[to : to + LANES] = tile[i : i + LANES]
    imag[to : to + LANES] = tile[i + LANES : i + 2 * LANES]


def _untangle_code(builder: Any, args: Any) -> None:
    x, y, table = args[0], args[1], args[4]
    c = _Complex(builder)
    back = list(range(LANES - 1, -1, -1))

    def mirrored(data: Any) -> Any:
        v = _load(builder, data, args[3])
        return _shuffle(builder, v, v, back)

    z = (_load(builder, x, args[2]), _load(builder, y, args[2]))
    m = (mirrored(x), mirrored(y))
    w = c.mul(
        (_load(builder, table, args[5]), _load(builder, table, builder.add(args[5], _I64(_FINE)))),
        (_wide(builder, args[6]), _wide(builder, args[7])),
    )
    even = c.scale((builder.fadd(z[0], m[0]), builder.fsub(z[1], m[1])), 0.5)
    odd = c.scale((builder.fsub(z[0], m[0]), builder.fadd(z[1], m[1])), 0.5)
    # -i w odd
    t = c.mul(w, odd)
    first = (builder.fadd(even[0], t[1]), builder.fsub(even[1], t[0]))
    # conj(even + i w odd)
    second = (builder.fsub(even[0], t[1]), builder.fneg(builder.fadd(even[1], t[0])))
    _store(builder, first[0], x, args[2])
    _store(builder, first[1], y, args[2])
    _store(builder, _shuffle(builder, second[0], second[0], back), x, args[3])
    _store(builder, _shuffle(builder, second[1], second[1], back), y, args[3])


@vector(_untangle_code)
def _untangle(
    real: NDArray[np.float32],
    imag: NDArray[np.float32],
    low: int,
    high: int,
    fine: NDArray[np.float32],
    at: int,
    re: float,
    im: float,
) -> None:
    """X[k] and X[n-k] in place for sixteen k from element `low` on, whose mirrors end 15 beyond element `high`."""
    z = real[low : low + LANES] + 1j * imag[low : low + LANES]
    mirror = (real[high : high + LANES] - 1j * imag[high : high + LANES])[::-1]
    w = (fine[at : at + LANES] + 1j * fine[_FINE + at : _FINE + at + LANES]) * (re + 1j * im)
    even = (z + mirror) / 2
    odd = -1j * w * (z - mirror) / 2
    real[low : low + LANES] = (even + odd).real
    imag[low : low + LANES] = (even + odd).imag
    real[high : high + LANES] = (even - odd).real[::-1]
    imag[high : high + LANES] = -(even - odd).imag[::-1]


@kernel()
def _tile_fft(
    a: NDArray[np.float32], b: NDArray[np.float32], n: int, radix: NDArray[np.int64], twiddle: NDArray[np.float32]
) -> None:
    """Stockham transform of the `n` elements of tile `a`; the result is in `a` (even number of passes) or `b`."""
    span = 1
    length = n
    w = 0
    for level in range(radix.shape[0]):
        p = radix[level]
        m = length // p
        source = a if level % 2 == 0 else b
        out = b if level % 2 == 0 else a
        step = span * m
        for i in range(m):
            if p == 4:
                for q in range(span):
                    _butterfly(4, source, q + span * i, step, out, q + span * 4 * i, span, twiddle, w)
            elif p == 2:
                for q in range(span):
                    _butterfly(2, source, q + span * i, step, out, q + span * 2 * i, span, twiddle, w)
            elif p == 3:
                for q in range(span):
                    _butterfly(3, source, q + span * i, step, out, q + span * 3 * i, span, twiddle, w)
            else:
                for q in range(span):
                    _butterfly(5, source, q + span * i, step, out, q + span * 5 * i, span, twiddle, w)
            w += p - 1
        length = m
        span *= p


@kernel()
def real_fft(
    series: NDArray[np.float32],
    plan: Plan,
    work: NDArray[np.float32],
    pad: int,
    real: NDArray[np.float32],
    imag: NDArray[np.float32],
) -> None:
    """Real FFT into two planes.

    Parameters
    ----------
    series : ndarray of float32, shape (nfft,)
    plan : Plan
        From `make_plan`.
    work : ndarray of float32, shape (nfft,)
        Overwritten.
    pad : int
    real, imag : ndarray of float32, shape (>= pad + nfft/2 + 1,)
        Element ``pad + r`` is bin r, r = 0 ... nfft/2.
    """
    n1 = plan.n1
    n2 = plan.n2
    n = n1 * n2
    size = 2 * LANES * max(n1, n2)
    a = np.empty(size, np.float32)
    b = np.empty(size, np.float32)
    # The last block of columns or rows overlaps the one before where the number is no multiple of 16.
    done = a if plan.radix1.shape[0] % 2 == 0 else b
    for block in range(0, n2, LANES):
        j = min(block, n2 - LANES)
        for i in range(n1):
            _gather(series, 2 * (i * n2 + j), a, i)
        _tile_fft(a, b, n1, plan.radix1, plan.twiddle1)
        angle = -2.0 * np.pi * j / n
        step_re = np.cos(angle)
        step_im = np.sin(angle)
        re = 1.0
        im = 0.0
        for i in range(n1):
            _twist(done, i, plan.lanes, np.float32(re), np.float32(im), work, i * n2 + j, n)
            re, im = re * step_re - im * step_im, re * step_im + im * step_re
    done = a if plan.radix2.shape[0] % 2 == 0 else b
    for block in range(0, n1, LANES):
        k = min(block, n1 - LANES)
        for column in range(0, n2, LANES):
            j = min(column, n2 - LANES)
            _transpose(work, k * n2 + j, n2, a, j, 0)
            _transpose(work, n + k * n2 + j, n2, a, j, LANES)
        _tile_fft(a, b, n2, plan.radix2, plan.twiddle2)
        for i in range(n2):
            _scatter(done, i, real, imag, pad + i * n1 + k)
    _split(plan, n, pad, real, imag)


@kernel()
def _split(plan: Plan, n: int, pad: int, real: NDArray[np.float32], imag: NDArray[np.float32]) -> None:
    """From the transform of n pairs of samples to that of the series, in place."""
    x = real[pad]
    y = imag[pad]
    real[pad] = x + y
    imag[pad] = np.float32(0.0)
    real[pad + n] = x - y
    imag[pad + n] = np.float32(0.0)
    k = 1
    while 2 * k <= n:
        if k % LANES == 0 and k + LANES <= n - k - LANES + 1:
            c = 2 * (k // _FINE)
            high = pad + n - k - LANES + 1
            _untangle(real, imag, pad + k, high, plan.fine, k % _FINE, plan.coarse[c], plan.coarse[c + 1])
            k += LANES
            continue
        zr = real[pad + k]
        zi = imag[pad + k]
        mr = real[pad + n - k]
        mi = imag[pad + n - k]
        half = np.float32(0.5)
        er = half * (zr + mr)
        ei = half * (zi - mi)
        dr = half * (zr - mr)
        di = half * (zi + mi)
        wr = np.float32(np.cos(np.pi * k / n))
        wi = np.float32(-np.sin(np.pi * k / n))
        tr = wr * dr - wi * di
        ti = wr * di + wi * dr
        real[pad + n - k] = er - ti
        imag[pad + n - k] = -(ei + tr)
        real[pad + k] = er + ti
        imag[pad + k] = ei - tr
        k += 1
