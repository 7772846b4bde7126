"""From raw samples to integers of zero mean and equal noise.

``out = round((x - baseline(t)) * scale)``, clipped to +-127, with a baseline that is linear over the stretch.
Bound by memory: one raw sample read and one byte written for a handful of vector instructions.
"""

import numpy as np

from pulsar_kernels._jit import kernel, prefetch
from pulsar_kernels.arrays import Array, Float32s, Floats, Int8s, Ints

#: Bytes of a line of a cache.
_LINE = 64
#: Samples are clipped to these, then less 128.
_LOWEST, _HIGHEST = np.float32(1.5), np.float32(255.5)


@kernel(inline=True)
def _line(base: Float32s, slope: Float32s, scale: Float32s, c: int) -> tuple[np.float32, np.float32, np.float32]:
    """Scale, offset and step of a row.

    The offset has 128.5 in it: that makes the cutting off of what follows the point a rounding of a positive number.
    """
    k = scale[c]
    return k, np.float32(128.5) - base[c] * k, -slope[c] * k


@kernel(fuse=True)
def _scaled(
    src: Array,
    k: np.float32,
    offset: np.float32,
    step: np.float32,
    first: int,
    gain: np.float32,
    zerodm: Float32s,
    dst: Int8s,
) -> None:
    """Scale a row, round and clip it; the zero-DM series, if there is one, is subtracted.

    Sums are not reordered: a sample comes out alike wherever a row begins.
    """
    subtracted = zerodm.shape[0] > 0
    for i in range(dst.shape[0]):
        v = np.float32(src[i]) * k + offset + step * np.float32(np.int32(first + i))
        if subtracted:
            v -= gain * zerodm[i]
        v = _LOWEST if v < _LOWEST else v
        v = _HIGHEST if v > _HIGHEST else v
        dst[i] = np.int8(np.int32(v) - np.int32(128))


@kernel()
def normalise_integers(
    raw: Array,
    chans: Ints,
    base: Float32s,
    slope: Float32s,
    scale: Float32s,
    first: int,
    zerodm: Float32s,
    gains: Float32s,
    out: Int8s,
) -> None:
    nchans, n = out.shape
    for c in range(nchans):
        dst = out[c]
        k, offset, step = _line(base, slope, scale, c)
        # The row to be filled next is fetched meanwhile: it is on other pages.
        ahead = out[min(c + 1, nchans - 1)]
        for i in range(0, n, _LINE):
            prefetch(1, ahead, i)
        # A row becomes zeros where the baseline is not finite, too.
        if k == np.float32(0.0) or not np.isfinite(offset) or not np.isfinite(step):
            for i in range(n):
                dst[i] = np.int8(0)
        else:
            gain = gains[c] if zerodm.shape[0] > 0 else np.float32(0.0)
            _scaled(raw[chans[c]], k, offset, step, first, gain, zerodm, dst)


@kernel(reorder=True)
def normalise_floats(
    raw: Float32s,
    chans: Ints,
    base: Float32s,
    slope: Float32s,
    scale: Float32s,
    first: int,
    zerodm: Float32s,
    gains: Float32s,
    out: Int8s,
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


def normalise(
    raw: Array,
    chans: Ints,
    base: Float32s,
    slope: Float32s,
    scale: Float32s,
    first: int,
    zerodm: Float32s,
    gains: Float32s,
    out: Int8s,
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
    else:
        normalise_integers(raw, chans, base, slope, scale, first, zerodm, gains, out)


@kernel(reorder=True)
def zero_dm(
    raw: Array,
    chans: Ints,
    base: Float32s,
    slope: Float32s,
    scale: Float32s,
    first: int,
    weights: Float32s,
    out: Float32s,
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
def project(data: Int8s, series: Float32s, out: Floats) -> None:
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
