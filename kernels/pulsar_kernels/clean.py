"""From raw samples to integers of zero mean and equal noise.

``out = round((x - baseline(t)) * scale)``, clipped to +-127, with a baseline that is linear over the stretch.
Bound by memory: one raw sample read and one byte written for a handful of vector instructions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel


@kernel(reorder=True)
def _normalise_floats(
    raw: NDArray[np.float32],
    chans: NDArray[np.int64],
    base: NDArray[np.float32],
    slope: NDArray[np.float32],
    scale: NDArray[np.float32],
    first: int,
    zerodm: NDArray[np.float32],
    out: NDArray[np.int8],
) -> None:
    nchans, n = out.shape
    zero = zerodm.shape[0] == n
    for c in range(nchans):
        src = raw[chans[c]]
        dst = out[c]
        k = scale[c]
        if k == np.float32(0.0):
            for i in range(n):
                dst[i] = np.int8(0)
            continue
        offset = np.float32(128.5) - base[c] * k
        step = -slope[c] * k
        for i in range(n):
            # 128.5 makes the truncation below a rounding of a positive number.
            v = np.float32(src[i]) * k + offset + step * np.float32(np.int32(first + i))
            if zero:
                v -= zerodm[i]
            if not (abs(v) < np.float32(3e38)):
                v = np.float32(128.5)
            v = np.float32(1.5) if v < np.float32(1.5) else v
            v = np.float32(255.5) if v > np.float32(255.5) else v
            dst[i] = np.int8(np.int32(v) - np.int32(128))


@kernel(reorder=True)
def _normalise_integers(
    raw: NDArray[Any],
    chans: NDArray[np.int64],
    base: NDArray[np.float32],
    slope: NDArray[np.float32],
    scale: NDArray[np.float32],
    first: int,
    zerodm: NDArray[np.float32],
    out: NDArray[np.int8],
) -> None:
    # As for floats, but all values are finite and clipping needs no test for NaN; a level line needs no ramp.
    nchans, n = out.shape
    zero = zerodm.shape[0] == n
    for c in range(nchans):
        src = raw[chans[c]]
        dst = out[c]
        k = scale[c]
        offset = np.float32(128.5) - base[c] * k
        step = -slope[c] * k
        if k == np.float32(0.0) or not np.isfinite(offset) or not np.isfinite(step):
            for i in range(n):
                dst[i] = np.int8(0)
        elif zero:
            for i in range(n):
                v = np.float32(src[i]) * k + offset + step * np.float32(np.int32(first + i)) - zerodm[i]
                v = max(v, np.float32(1.5))
                v = min(v, np.float32(255.5))
                dst[i] = np.int8(np.int32(v) - np.int32(128))
        elif step == np.float32(0.0):
            for i in range(n):
                v = np.float32(src[i]) * k + offset
                v = np.float32(1.5) if v < np.float32(1.5) else v
                v = np.float32(255.5) if v > np.float32(255.5) else v
                dst[i] = np.int8(np.int32(v) - np.int32(128))
        else:
            for i in range(n):
                v = np.float32(src[i]) * k + offset + step * np.float32(np.int32(first + i))
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
    out : ndarray of int8, shape (nchans, n), rows contiguous
        A NaN or infinite sample becomes 0.
    """
    if raw.dtype == np.float32:
        _normalise_floats(raw, chans, base, slope, scale, first, zerodm, out)
    else:
        _normalise_integers(raw, chans, base, slope, scale, first, zerodm, out)


@kernel(reorder=True)
def zero_dm(
    raw: NDArray[Any],
    chans: NDArray[np.int64],
    base: NDArray[np.float32],
    slope: NDArray[np.float32],
    scale: NDArray[np.float32],
    first: int,
    out: NDArray[np.float32],
) -> None:
    """Mean over the unmasked channels of the scaled samples, shape (n,): what `normalise` subtracts."""
    n = out.shape[0]
    out[:] = np.float32(0.0)
    live = 0
    for c in range(chans.shape[0]):
        k = scale[c]
        if k == np.float32(0.0):
            continue
        live += 1
        src = raw[chans[c]]
        offset = -base[c] * k
        step = -slope[c] * k
        for i in range(n):
            v = np.float32(src[i]) * k + offset + step * np.float32(np.int32(first + i))
            if abs(v) < np.float32(3e38):
                out[i] += v
    if live > 0:
        for i in range(n):
            out[i] /= np.float32(live)
