"""From raw samples to integers of zero mean and equal noise.

``out = round((x - baseline(t)) * scale)``, clipped to +-127, with a baseline that is linear over the stretch.
Bound by memory: one raw sample read and one byte written for a handful of vector instructions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._ir import F32, I32, constant, intrinsic, load, shuffle, splat, store, vector_of
from pulsar_kernels._jit import kernel, prefetch, vector

LANES = 64


def _scaled_code(builder: Any, args: Any, ramp: int) -> None:
    width = args[0].type.pointee.width // 8
    # Sample 4 j + m of 64 is byte m of word j: in words no sample need be moved to be widened or narrowed. Of two bytes
    # the words of even places have the samples 0 and 1 of four, those of odd places 2 and 3.
    n = LANES // 4
    words, floats = vector_of(I32, n), vector_of(F32, n)

    def clamp(value: Any, limit: float, above: bool) -> Any:
        bound = constant(floats, limit)
        outside = builder.fcmp_ordered(">" if above else "<", value, bound)
        return builder.select(outside, bound, value)

    def fused(a: Any, b: Any, c: Any) -> Any:
        return intrinsic(builder, "fmuladd", a, b, c)

    size = n * width
    source = load(builder, args[0], args[1], vector_of(I32, size))
    sources = [shuffle(builder, source, source, range(k, size, width)) for k in range(width)]
    bits, each = 8 * width, 4 // width
    scale, offset = splat(builder, args[2], n), splat(builder, args[3], n)
    result = None
    for m in range(4):
        part, low = sources[m // each], m % each
        part = builder.lshr(part, constant(words, bits * low)) if low else part
        part = builder.and_(part, constant(words, (1 << bits) - 1)) if low < each - 1 else part
        value = fused(builder.sitofp(part, floats), scale, offset)
        if ramp:
            place = builder.fadd(splat(builder, args[5], n), constant(floats, [float(4 * j + m) for j in range(n)]))
            value = fused(splat(builder, args[4], n), place, value)
        value = clamp(clamp(value, 1.5, False), 255.5, True)
        part = builder.fptosi(value, words)
        part = builder.shl(part, constant(words, 8 * m)) if m else part
        result = part if result is None else builder.or_(result, part)
    # Less 128: in bytes the sign bit turned over.
    store(builder, builder.xor(result, constant(words, -0x7F7F7F80)), args[6], args[7])


@vector(_scaled_code, literal=8)
def _scaled(
    src: NDArray[Any],
    at: int,
    scale: float,
    offset: float,
    step: float,
    place: float,
    out: NDArray[np.int8],
    to: int,
    ramp: int,
) -> None:
    """Scale 64 samples of ``src[at:]``, of one or two bytes, round and clip them into ``out[to:]``.

    With `ramp` = 1 step (place + i) is added. `offset` has 128.5 in it: to cut off what follows the point rounds then.
    """
    v = np.float32(scale) * src[at : at + LANES].astype(np.float32) + np.float32(offset)
    if ramp:
        v += np.float32(step) * (np.float32(place) + np.arange(LANES, dtype=np.float32))
    out[to : to + LANES] = np.clip(v, 1.5, 255.5).astype(np.int32) - 128


@kernel(inline=True)
def _row(
    src: NDArray[Any],
    k: np.float32,
    offset: np.float32,
    step: np.float32,
    first: int,
    n: int,
    dst: NDArray[np.int8],
    ahead: NDArray[np.int8],
) -> None:
    """`n` samples, a multiple of 64. The row to be filled next is fetched meanwhile: it is on other pages."""
    if step == np.float32(0.0):
        for i in range(0, n, LANES):
            _scaled(src, i, k, offset, step, np.float32(0.0), dst, i, 0)
            prefetch(1, ahead, i)
    else:
        for i in range(0, n, LANES):
            _scaled(src, i, k, offset, step, np.float32(first + i), dst, i, 1)
            prefetch(1, ahead, i)


@kernel(inline=True)
def _line(
    base: NDArray[np.float32], slope: NDArray[np.float32], scale: NDArray[np.float32], c: int
) -> tuple[np.float32, np.float32, np.float32]:
    """Scale, offset and step of a row.

    The offset has 128.5 in it: that makes the cutting off of what follows the point a rounding of a positive number.
    """
    k = scale[c]
    return k, np.float32(128.5) - base[c] * k, -slope[c] * k


@kernel(inline=True)
def _masked(k: np.float32, offset: np.float32, step: np.float32) -> bool:
    """True if a row becomes zeros, as it does where the baseline is not finite."""
    return k == np.float32(0.0) or not np.isfinite(offset) or not np.isfinite(step)


@kernel()
def normalise_rows(
    raw: NDArray[Any],
    chans: NDArray[np.int64],
    base: NDArray[np.float32],
    slope: NDArray[np.float32],
    scale: NDArray[np.float32],
    first: int,
    out: NDArray[np.int8],
) -> None:
    """Of integers, without a zero-DM series: in vectors, the rest of a row through a buffer."""
    nchans, n = out.shape
    whole = n // LANES * LANES
    rest = np.zeros(LANES, raw.dtype)
    done = np.zeros(LANES, np.int8)
    for c in range(nchans):
        src = raw[chans[c]]
        dst = out[c]
        k, offset, step = _line(base, slope, scale, c)
        if _masked(k, offset, step):
            for i in range(n):
                dst[i] = np.int8(0)
            continue
        ahead = out[min(c + 1, nchans - 1)]
        _row(src, k, offset, step, first, whole, dst, ahead)
        if whole == n:
            continue
        for i in range(whole, n):
            rest[i - whole] = src[i]
        _row(rest, k, offset, step, first + whole, LANES, done, done)
        for i in range(whole, n):
            dst[i] = done[i - whole]


@kernel(reorder=True)
def normalise_floats(
    raw: NDArray[np.float32],
    chans: NDArray[np.int64],
    base: NDArray[np.float32],
    slope: NDArray[np.float32],
    scale: NDArray[np.float32],
    first: int,
    zerodm: NDArray[np.float32],
    gains: NDArray[np.float32],
    out: NDArray[np.int8],
) -> None:
    nchans, n = out.shape
    zero = zerodm.shape[0] == n
    for c in range(nchans):
        src = raw[chans[c]]
        dst = out[c]
        gain = gains[c] if zero else np.float32(0.0)
        k, offset, step = _line(base, slope, scale, c)
        if k == np.float32(0.0):
            for i in range(n):
                dst[i] = np.int8(0)
            continue
        for i in range(n):
            v = np.float32(src[i]) * k + offset + step * np.float32(np.int32(first + i))
            if zero:
                v -= gain * zerodm[i]
            if not (abs(v) < np.float32(3e38)):
                v = np.float32(128.5)
            v = np.float32(1.5) if v < np.float32(1.5) else v
            v = np.float32(255.5) if v > np.float32(255.5) else v
            dst[i] = np.int8(np.int32(v) - np.int32(128))


@kernel(reorder=True)
def normalise_zerodm(
    raw: NDArray[Any],
    chans: NDArray[np.int64],
    base: NDArray[np.float32],
    slope: NDArray[np.float32],
    scale: NDArray[np.float32],
    first: int,
    zerodm: NDArray[np.float32],
    gains: NDArray[np.float32],
    out: NDArray[np.int8],
) -> None:
    """Of integers, less a zero-DM series."""
    nchans, n = out.shape
    for c in range(nchans):
        src = raw[chans[c]]
        dst = out[c]
        gain = gains[c]
        k, offset, step = _line(base, slope, scale, c)
        if _masked(k, offset, step):
            for i in range(n):
                dst[i] = np.int8(0)
            continue
        for i in range(n):
            v = np.float32(src[i]) * k + offset + step * np.float32(np.int32(first + i)) - gain * zerodm[i]
            v = max(v, np.float32(1.5))
            v = min(v, np.float32(255.5))
            dst[i] = np.int8(np.int32(v) - np.int32(128))


def normalise(
    raw: NDArray[Any],
    chans: NDArray[np.int64],
    base: NDArray[np.float32],
    slope: NDArray[np.float32],
    scale: NDArray[np.float32],
    first: int,
    zerodm: NDArray[np.float32],
    gains: NDArray[np.float32],
    out: NDArray[np.int8],
) -> None:
    """Subtract the baseline, scale, subtract the zero-DM series, round and clip.

    Parameters
    ----------
    raw : ndarray of uint8, uint16 or float32, shape (nchans_raw, n), rows contiguous
    chans : ndarray of int64, shape (nchans,)
        Row of `raw` for every row of `out`.
    base, slope, scale : ndarray of float32, shape (nchans,)
        The baseline at sample i is ``base + slope * (first + i)``; a scale of 0 gives zeros (masked).
    first : int
        Where the stretch starts on the baseline's line: the result does not depend on how a line is cut.
    zerodm : ndarray of float32, shape (n,) or (0,)
        Subtracted after scaling; empty for none.
    gains : ndarray of float32, shape (nchans,) or (0,)
        What the series is multiplied with for every channel.
    out : ndarray of int8, shape (nchans, n), rows contiguous
        A NaN or infinite sample becomes 0.
    """
    if raw.dtype == np.float32:
        normalise_floats(raw, chans, base, slope, scale, first, zerodm, gains, out)
    elif zerodm.shape[0] == 0:
        normalise_rows(raw, chans, base, slope, scale, first, out)
    else:
        normalise_zerodm(raw, chans, base, slope, scale, first, zerodm, gains, out)


@kernel(reorder=True)
def zero_dm(
    raw: NDArray[Any],
    chans: NDArray[np.int64],
    base: NDArray[np.float32],
    slope: NDArray[np.float32],
    scale: NDArray[np.float32],
    first: int,
    weights: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Weighted sum over the unmasked channels of the scaled samples, shape (n,): what `normalise` subtracts."""
    n = out.shape[0]
    out[:] = np.float32(0.0)
    for c in range(chans.shape[0]):
        k = scale[c] * weights[c]
        if k == np.float32(0.0):
            continue
        src = raw[chans[c]]
        offset = -base[c] * k
        step = -slope[c] * k
        for i in range(n):
            v = np.float32(src[i]) * k + offset + step * np.float32(np.int32(first + i))
            if abs(v) < np.float32(3e38):
                out[i] += v


@kernel(reorder=True)
def project(data: NDArray[np.int8], series: NDArray[np.float32], out: NDArray[np.float64]) -> None:
    """Add to `out` the product of every row with a series, summed over the samples.

    Parameters
    ----------
    data : ndarray of int8, shape (nrows, n), rows contiguous
    series : ndarray of float32, shape (n,)
    out : ndarray of float64, shape (nrows,)
    """
    nrows, n = data.shape
    for r in range(nrows):
        row = data[r]
        total = np.float32(0.0)
        for i in range(n):
            total += np.float32(row[i]) * series[i]
        out[r] += total
