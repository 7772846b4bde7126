"""Sums over stretches of channel-major samples, from which means and variances follow.

Integers are summed exactly (in pieces short enough for 32-bit accumulators, which vectorise), floats in
double precision relative to the first finite sample of the row, so that a large offset costs no digits.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel

# 16384 * 255^2 < 2^31: a piece of uint8 squares fits an int32 accumulator.
_PIECE8 = 16384


@kernel()
def moments_u8(
    data: NDArray[np.uint8],
    top: int,
    s1: NDArray[np.float64],
    s2: NDArray[np.float64],
    ntop: NDArray[np.int64],
) -> None:
    """Add sum, sum of squares and number of samples ``>= top`` of every row to `s1`, `s2`, `ntop`.

    Parameters
    ----------
    data : ndarray of uint8, shape (nchans, nsamps), rows contiguous
    top : int
        Code counted as saturated.
    s1, s2 : ndarray of float64, shape (nchans,)
    ntop : ndarray of int64, shape (nchans,)
    """
    nchans, nsamps = data.shape
    limit = np.uint8(min(max(top, 0), 255))
    for c in range(nchans):
        row = data[c]
        for lo in range(0, nsamps, _PIECE8):
            piece = row[lo : min(lo + _PIECE8, nsamps)]
            a = np.int32(0)
            q = np.int32(0)
            # Casts at every step keep numba from widening to 64 bit; squares then become multiply-accumulates.
            for i in range(piece.shape[0]):
                x = np.int32(piece[i])
                q = np.int32(q + np.int32(x * x))
                a = np.int32(a + x)
            s1[c] += a
            s2[c] += q
            # Few pieces reach the top code: counting is left to those.
            reached = False
            for i in range(piece.shape[0]):
                reached |= piece[i] >= limit
            if reached and top <= 255:
                k = np.int32(0)
                for i in range(piece.shape[0]):
                    k = np.int32(k + np.int32(piece[i] >= limit))
                ntop[c] += k


@kernel()
def moments_u16(
    data: NDArray[np.uint16],
    top: int,
    s1: NDArray[np.float64],
    s2: NDArray[np.float64],
    ntop: NDArray[np.int64],
) -> None:
    """As `moments_u8`, for uint16 (sums in 64 bit)."""
    nchans, nsamps = data.shape
    for c in range(nchans):
        row = data[c]
        a = np.uint64(0)
        q = np.uint64(0)
        k = np.int64(0)
        for i in range(nsamps):
            x = np.uint64(row[i])
            a += x
            q += x * x
            k += np.int64(x >= np.uint64(top))
        s1[c] += a
        s2[c] += q
        ntop[c] += k


@kernel()
def moments_f32(
    data: NDArray[np.float32],
    origin: NDArray[np.float64],
    s1: NDArray[np.float64],
    s2: NDArray[np.float64],
    count: NDArray[np.int64],
) -> None:
    """Add the sums of ``x - origin`` and its square over the finite samples of every row, and their number.

    Parameters
    ----------
    data : ndarray of float32, shape (nchans, nsamps), rows contiguous
    origin : ndarray of float64, shape (nchans,)
        A value near the mean of each channel.
    s1, s2 : ndarray of float64, shape (nchans,)
    count : ndarray of int64, shape (nchans,)
    """
    nchans, nsamps = data.shape
    for c in range(nchans):
        row = data[c]
        x0 = origin[c]
        a = 0.0
        q = 0.0
        k = 0
        for i in range(nsamps):
            x = np.float64(row[i]) - x0
            if np.isfinite(x):
                a += x
                q += x * x
                k += 1
        s1[c] += a
        s2[c] += q
        count[c] += k


@kernel()
def running_medians(
    values: NDArray[np.float64], first: NDArray[np.int64], last: NDArray[np.int64], out: NDArray[np.float64]
) -> None:
    """Medians of every column over windows that move on: sorted anew by one that enters and one that leaves.

    Parameters
    ----------
    values : ndarray of float64, shape (nrows, ncols)
        NaN do not count.
    first, last : ndarray of int64, shape (nwindows,)
        Rows of each window, ``first <= row < last``; neither ever falls.
    out : ndarray of float64, shape (nwindows, ncols)
        NaN where a window has no value.
    """
    nrows, ncols = values.shape
    column = np.empty(nrows)
    ordered = np.empty(nrows)
    for c in range(ncols):
        for r in range(nrows):
            column[r] = values[r, c]
        count = 0
        lo = 0
        hi = 0
        for w in range(first.shape[0]):
            while hi < last[w]:
                x = column[hi]
                hi += 1
                if not np.isnan(x):
                    i = count
                    while i > 0 and ordered[i - 1] > x:
                        ordered[i] = ordered[i - 1]
                        i -= 1
                    ordered[i] = x
                    count += 1
            while lo < first[w]:
                x = column[lo]
                lo += 1
                if not np.isnan(x):
                    i = 0
                    while ordered[i] != x:
                        i += 1
                    count -= 1
                    for k in range(i, count):
                        ordered[k] = ordered[k + 1]
            if count == 0:
                out[w, c] = np.nan
            else:
                below, above = ordered[(count - 1) // 2], ordered[count // 2]
                out[w, c] = below if below == above else (below + above) / 2.0


def moments(
    data: NDArray[Any],
    top: int,
    origin: NDArray[np.float64],
    s1: NDArray[np.float64],
    s2: NDArray[np.float64],
    count: NDArray[np.int64],
    ntop: NDArray[np.int64],
) -> None:
    """Add the moments of every row about `origin` (used for floats only), whatever the type of `data`."""
    if data.dtype == np.uint8:
        moments_u8(data, top, s1, s2, ntop)
        count += data.shape[1]
    elif data.dtype == np.uint16:
        moments_u16(data, top, s1, s2, ntop)
        count += data.shape[1]
    else:
        moments_f32(data, origin, s1, s2, count)
