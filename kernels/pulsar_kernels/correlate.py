"""Powers of drifting signals over a plane of frequency and drift, by correlation of amplitudes in blocks.

The inverse transform of a block of N Fourier amplitudes is a short complex series over the whole observation: what lies
in a band of N bins. A drift of z bins is taken out of it by the phase -pi z u^2, u from -1/2 to 1/2, and the forward
transform has the power at z for every bin of the block (with -pi u more: for every half bin). A phase leaves noise what
it is, so no template has to be normalised or cut off; what a signal loses within `margin` bins of the edges of its own
spread is about 1/(pi^2 margin).

Sixteen drifts are transformed side by side in vector lanes. The phases of the lanes are one table for all, those from
one sixteen to the next one factor a sample, and both are applied on the way into the first pass; powers are made,
scaled and rounded to bytes on the way out of the last. So a plane point costs one transform's share and a byte.
"""

from typing import Any, NamedTuple

import numpy as np

from pulsar_kernels._ir import FUSE, I8, I32, I64, constant, element, plus, splat, store, times, vector_of
from pulsar_kernels._jit import kernel, vector
from pulsar_kernels.arrays import Float32s, Floats, Ints, Uint8s
from pulsar_kernels.lanes import ELEMENT, LANES, VEC, Complex, factors, passes, slot, slots, transformed, twiddles

#: Groups of 16 drifts that are merged to whole cache lines before they are written to the plane.
_MERGE = 4
#: Up to here a byte is the power itself; beyond, two steps are a factor of 2: where strong signals have their peaks is
#: not lost.
KNEE = 224
# Half a step of the exponent of a float32 at the knee.
_STEP = 22
_OFFSET = KNEE - (int(np.float32(KNEE).view(np.int32)) >> _STEP)
# No float beyond is made an integer.
_LARGEST = 1e9


class Tables(NamedTuple):
    """Tables for the correlation of blocks of N amplitudes; drifts are dz bins apart.

    Attributes
    ----------
    radix, twiddle : ndarrays
        Passes of the transform.
    origin : int
        Sample of the short series at which u is 0.
    lanes : ndarray of float32, shape (32 (N/2 + 1),)
        exp(-pi i dz l u^2) of the lanes l = 0 ... 15, real then imaginary parts, for u = 0, 1/N ... 1/2.
    step, half : ndarray of float32, shape (2, N)
        exp(-16 pi i dz u^2), from one group of lanes to the next, and exp(-pi i u), for half bins.
    """

    radix: Ints
    twiddle: Float32s
    origin: int
    lanes: Float32s
    step: Float32s
    half: Float32s


def _planes(phase: Floats) -> Float32s:
    """cos and -sin of turns, shape (2, n): exp(-2 pi i phase)."""
    angle = 2.0 * np.pi * (phase - np.round(phase))
    return np.ascontiguousarray(np.stack([np.cos(angle), -np.sin(angle)]), dtype=np.float32)


def places(n: int) -> Floats:
    """u of the n samples of a short series, from 0 on and from -1/2 on in its second half."""
    index = np.arange(n)
    return np.where(index < n // 2, index, index - n) / n


def make_block(n: int, filled: float, dz: float) -> Tables:
    """Tables for correlation.

    Parameters
    ----------
    n : int
        Amplitudes of a block, a power of two from 256 on.
    filled : float
        Part of the transform that data fill.
    dz : float
        From one drift to the next [bins].
    """
    radix = factors(n)
    u = np.arange(n // 2 + 1) / n
    lanes = _planes(0.5 * dz * u[:, None] ** 2 * np.arange(LANES))
    return Tables(
        np.array(radix, dtype=np.int64),
        twiddles(radix),
        round(0.5 * filled * n),
        np.ascontiguousarray(lanes.transpose(1, 0, 2)).ravel(),
        _planes(0.5 * dz * LANES * places(n) ** 2),
        _planes(0.5 * places(n)),
    )


def first_phase(n: int, z: float, w: float) -> Float32s:
    """Factors that take drift `z` [bins] and its change `w` out of a short series, shape (2, n)."""
    u = places(n)
    return _planes(z * u**2 / 2.0 + w * u**3 / 6.0)


def _first_code(builder: Any, args: Any, p: int) -> None:
    re, im, at, lanes, n, out, to, twiddle, w = args[1:]
    c = Complex(builder)
    step = builder.sdiv(n, I64(p))
    x = []
    for j in range(p):
        i = plus(builder, at, times(builder, step, j))
        value = tuple(splat(builder, element(builder, plane, i), LANES) for plane in (re, im))
        # u^2 is the same on both sides of u = 0.
        t = times(builder, i if j < p // 2 else builder.sub(n, i), ELEMENT)
        x.append(c.mul(value, c.load(lanes, t)))
    for k, value in enumerate(c.dft(x)):
        result = value if k == 0 else c.mul(value, c.everywhere(twiddle, plus(builder, w, k - 1)))
        c.store(result, out, slot(builder, plus(builder, to, k)))


@vector(_first_code, literal=0)
def _first(
    radix: int,
    real: Float32s,
    imag: Float32s,
    at: int,
    lanes: Float32s,
    n: int,
    out: Float32s,
    to: int,
    twiddle: Float32s,
    w: int,
) -> None:
    """First pass: samples ``at + j n/radix`` times the phases of the lanes, butterfly, twiddles from pair `w` on."""
    x = np.zeros((radix, LANES), np.complex64)
    for j in range(radix):
        i = at + j * (n // radix)
        t = (i if j < radix // 2 else n - i) * ELEMENT
        x[j] = (real[i] + 1j * imag[i]) * (lanes[t : t + LANES] + 1j * lanes[t + LANES : t + ELEMENT])
    y = np.fft.fft(x, axis=0)
    for k in range(radix):
        z = y[k] if k == 0 else y[k] * (twiddle[2 * (w + k - 1)] + 1j * twiddle[2 * (w + k - 1) + 1])
        o = slots(to + k) * ELEMENT
        out[o : o + LANES] = z.real
        out[o + LANES : o + ELEMENT] = z.imag


def _bytes_code(builder: Any, args: Any, p: int) -> None:
    source, q, span, out = args[1:]
    c = Complex(builder)
    integers = vector_of(I32, LANES)
    x = [c.load(source, slot(builder, plus(builder, q, times(builder, span, j)))) for j in range(p)]
    for k, (a, b) in enumerate(c.dft(x)):
        power = builder.fadd(builder.fmul(a, a, flags=FUSE), constant(VEC, 0.5), flags=FUSE)
        power = builder.fadd(builder.fmul(b, b, flags=FUSE), power, flags=FUSE)
        bits = builder.lshr(builder.bitcast(power, integers), constant(integers, _STEP))
        steps = builder.add(bits, constant(integers, _OFFSET))
        largest = constant(VEC, _LARGEST)
        power = builder.select(builder.fcmp_ordered("<", power, largest), power, largest)
        number = builder.fptosi(power, integers)
        for bound in (steps, constant(integers, 255)):
            number = builder.select(builder.icmp_signed("<", number, bound), number, bound)
        at = times(builder, plus(builder, q, times(builder, span, k)), LANES)
        store(builder, builder.trunc(number, vector_of(I8, LANES)), out, at, align=16)


@vector(_bytes_code, literal=0)
def _bytes(radix: int, source: Float32s, q: int, span: int, out: Uint8s) -> None:
    """Last pass: butterfly `q`, and its powers of 16 lanes as bytes, bin ``q + k span`` to ``out[16 bin]``."""
    y = transformed(radix, source, q, span)
    for k in range(radix):
        power = (y[k].real ** 2 + y[k].imag ** 2 + 0.5).astype(np.float32)
        steps = (power.view(np.int32) >> _STEP) + _OFFSET
        o = LANES * (q + k * span)
        out[o : o + LANES] = np.minimum(
            np.minimum(power, np.float32(_LARGEST)).astype(np.int64), np.minimum(steps, 255)
        )


def decoded() -> Ints:
    """Power that each byte stands for: itself up to the knee, beyond the middle of its step."""
    code = np.arange(256)
    ends = ((np.arange(KNEE, 258) - _OFFSET) << _STEP).astype(np.int32).view(np.float32).astype(np.float64)
    ends[0] = KNEE
    code[KNEE:] = np.round(0.5 * (ends[:-1] + ends[1:]))[: 256 - KNEE]
    return code


@kernel(inline=True)
def _first_pass(
    radix: int, real: Float32s, imag: Float32s, lanes: Float32s, n: int, out: Float32s, twiddle: Float32s
) -> None:
    if radix == 16:
        for i in range(n // 16):
            _first(16, real, imag, i, lanes, n, out, 16 * i, twiddle, 15 * i)
    else:
        for i in range(n // 8):
            _first(8, real, imag, i, lanes, n, out, 8 * i, twiddle, 7 * i)


@kernel(inline=True)
def _last_pass(radix: int, source: Float32s, n: int, out: Uint8s) -> None:
    if radix == 16:
        for q in range(n // 16):
            _bytes(16, source, q, n // 16, out)
    else:
        for q in range(n // 8):
            _bytes(8, source, q, n // 8, out)


@kernel()
def short_series(
    real: Float32s,
    imag: Float32s,
    pad: int,
    first: int,
    stride: int,
    block: Tables,
    scale: float,
    work: Float32s,
    out: Float32s,
) -> None:
    """Short series of up to 16 blocks of amplitudes: inverse transforms, times `scale`.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (nbins + 2 pad,)
        White amplitudes, bin r at ``pad + r``; beyond both ends they count as zero.
    pad : int
    first, stride : int
        First bin of the first block (it may be negative), and bins from one block to the next.
    block : Tables
    scale : float
        Short series have the rms `scale` where there are data, if the amplitudes have 1.
    work : ndarray of float32, shape (>= work_floats(N),)
    out : ndarray of float32, shape (nblocks, 2, N)
        Real and imaginary parts; sample 0 is the middle of the data.
    """
    n = block.step.shape[1]
    nblocks = out.shape[0]
    size = ELEMENT * slots(n)
    source = work[:size]
    target = work[size : 2 * size]
    for k in range(n):
        o = slots(k) * ELEMENT
        for b in range(LANES):
            r = pad + first + b * stride + k
            inside = b < nblocks and 0 <= r < real.shape[0]
            source[o + b] = real[r] if inside else np.float32(0.0)
            source[o + LANES + b] = imag[r] if inside else np.float32(0.0)
    source, target = passes(block.radix, 0, block.radix.shape[0], source, target, n, block.twiddle)
    factor = np.float32(scale / n)
    for b in range(nblocks):
        for k in range(n):
            # The inverse transform is the forward one backwards.
            o = slots((2 * n - k - block.origin) % n) * ELEMENT
            out[b, 0, k] = factor * source[o + b]
            out[b, 1, k] = factor * source[o + LANES + b]


@kernel(reorder=True)
def _product(a: Float32s, b: Float32s, out: Float32s) -> None:
    """Complex product of planes, shape (2, n); `out` may be `a`."""
    for k in range(a.shape[1]):
        x = a[0, k] * b[0, k] - a[1, k] * b[1, k]
        out[1, k] = a[0, k] * b[1, k] + a[1, k] * b[0, k]
        out[0, k] = x


@kernel(inline=True)
def _merge(staged: Ints, n: int, groups: int, lo: int, hi: int, plane: Ints, at: int, pitch: int) -> None:
    """Rows `lo` to `hi` of groups of 16 bytes side by side; all in units of 8 bytes."""
    if groups == _MERGE:
        for q in range(lo, hi):
            for g in range(_MERGE):
                plane[at + 2 * g] = staged[2 * (g * n + q)]
                plane[at + 2 * g + 1] = staged[2 * (g * n + q) + 1]
            at += pitch
    else:
        for q in range(lo, hi):
            for g in range(groups):
                plane[at + 2 * g] = staged[2 * (g * n + q)]
                plane[at + 2 * g + 1] = staged[2 * (g * n + q) + 1]
            at += pitch


def work_floats(n: int) -> int:
    """Floats of work space for blocks of `n`: two tiles, and two short series."""
    return 2 * ELEMENT * slots(n) + 4 * n


def staged_bytes(n: int) -> int:
    """Bytes of space for powers that are merged."""
    return _MERGE * LANES * n


@kernel()
def correlate(
    series: Float32s,
    start: Float32s,
    bend: Float32s,
    block: Tables,
    groups: int,
    lo: int,
    hi: int,
    work: Float32s,
    staged: Uint8s,
    plane: Uint8s,
    at: int,
) -> None:
    """Powers of one block as bytes: rows of half bins, in a row the drifts, equally far apart.

    Parameters
    ----------
    series : ndarray of float32, shape (2, N)
        From `short_series`; powers come in units of 1 / scale^2.
    start : ndarray of float32, shape (2, N)
        From `first_phase`: the drift of the first lane.
    bend : ndarray of float32, shape (2, N)
        From `first_phase`: the change of the drift.
    block : Tables
    groups : int
        A row has ``16 groups`` drifts.
    lo, hi : int
        Bins of the block that are wanted: those far enough from its edges.
    work, staged : ndarrays
        Work space, see `work_floats` and `staged_bytes`.
    plane : ndarray of uint8
    at : int
        Where the first of the 2 (hi - lo) rows goes, a multiple of 16.
    """
    # Many arguments: data, tables and results are the caller's arrays, each of another shape.
    n = block.step.shape[1]
    size = ELEMENT * slots(n)
    pitch = 2 * groups
    levels = block.radix.shape[0]
    plane_wide = plane[: plane.shape[0] & -8].view(np.int64)
    staged_wide = staged.view(np.int64)
    whole = work[2 * size : 2 * size + 2 * n].reshape(2, n)
    halves = work[2 * size + 2 * n : 2 * size + 4 * n].reshape(2, n)
    _product(series, start, whole)
    _product(whole, bend, whole)
    _product(whole, block.half, halves)
    for g0 in range(0, groups, _MERGE):
        g1 = min(g0 + _MERGE, groups)
        for h in range(2):
            current = whole if h == 0 else halves
            for g in range(g0, g1):
                source = work[:size]
                target = work[size : 2 * size]
                _first_pass(block.radix[0], current[0], current[1], block.lanes, n, source, block.twiddle)
                source, target = passes(block.radix, 1, levels - 1, source, target, n, block.twiddle)
                _last_pass(block.radix[levels - 1], source, n, staged[(g - g0) * LANES * n :])
                _product(current, block.step, current)
            _merge(staged_wide, n, g1 - g0, lo, hi, plane_wide, (at >> 3) + h * pitch + 2 * g0, 2 * pitch)
