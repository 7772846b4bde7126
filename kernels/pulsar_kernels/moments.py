"""Sums over stretches of channel-major samples, from which means, variances and higher moments follow.

Integers and their squares are summed exactly (in pieces short enough for 32-bit accumulators, which vectorise), floats
in double precision; all relative to a number near the mean of the row, so that a large offset costs no digits.
"""

from typing import Any

import numpy as np

from pulsar_kernels._jit import kernel, prefetch
from pulsar_kernels.arrays import Array, Float32s, Floats, Ints, Uint8s, Uint16s

# 8192 * 255^2 < 2^31: a piece of uint8 squares fits an int32 accumulator. The sums in single precision keep five digits
# of it in vectors of 256 bits too (of equal numbers 16384 would leave 1.4e-5).
_PIECE8 = 8192


@kernel(reorder=True)
def moments_u8(data: Uint8s, top: int, origin: Floats, sums: Floats, ntop: Ints) -> None:
    """Add the sums of the powers of ``x - origin`` and the number of samples ``>= top`` of every row.

    Parameters
    ----------
    data : ndarray of uint8, shape (nchans, nsamps), rows contiguous
    top : int
        Code counted as saturated.
    origin : ndarray of float64, shape (nchans,)
        A whole number near the mean of each row.
    sums : ndarray of float64, shape (4, nchans)
        First to fourth powers. The first two are exact.
    ntop : ndarray of int64, shape (nchans,)
    """
    nchans, nsamps = data.shape
    limit = np.uint8(min(max(top, 0), 255))
    for c in range(nchans):
        row = data[c]
        o = np.int32(origin[c])
        for lo in range(0, nsamps, _PIECE8):
            piece = row[lo : min(lo + _PIECE8, nsamps)]
            a = np.int32(0)
            q = np.int32(0)
            # Third and fourth powers need few digits: single precision, in as many sums as there are lanes.
            t = np.float32(0.0)
            f = np.float32(0.0)
            # Casts at every step keep numba from widening to 64 bit; squares then become multiply-accumulates.
            for i in range(piece.shape[0]):
                x = np.int32(np.int32(piece[i]) - o)
                square = np.int32(x * x)
                a = np.int32(a + x)
                q = np.int32(q + square)
                value = np.float32(square)
                t += value * np.float32(x)
                f += value * value
            sums[0, c] += a
            sums[1, c] += q
            sums[2, c] += t
            sums[3, c] += f
            # Few pieces reach the top code: counting is left to those.
            reached = False
            for i in range(piece.shape[0]):
                reached |= piece[i] >= limit
            if reached and top <= 255:
                k = np.int32(0)
                for i in range(piece.shape[0]):
                    k = np.int32(k + np.int32(piece[i] >= limit))
                ntop[c] += k


@kernel(reorder=True)
def moments_u16(data: Uint16s, top: int, origin: Floats, sums: Floats, ntop: Ints) -> None:
    """As `moments_u8`, for uint16."""
    nchans, nsamps = data.shape
    for c in range(nchans):
        row = data[c]
        o = np.int64(origin[c])
        a = np.int64(0)
        q = np.int64(0)
        t = 0.0
        f = 0.0
        k = np.int64(0)
        for i in range(nsamps):
            x = np.int64(row[i]) - o
            square = x * x
            a += x
            q += square
            t += np.float64(square) * np.float64(x)
            f += np.float64(square) * np.float64(square)
            k += np.int64(np.int64(row[i]) >= top)
        sums[0, c] += a
        sums[1, c] += q
        sums[2, c] += t
        sums[3, c] += f
        ntop[c] += k


@kernel()
def moments_f32(data: Float32s, origin: Floats, sums: Floats, count: Ints) -> None:
    """Add the sums of the powers of ``x - origin`` over the finite samples of every row, and their number.

    Parameters
    ----------
    data : ndarray of float32, shape (nchans, nsamps), rows contiguous
    origin : ndarray of float64, shape (nchans,)
        A value near the mean of each channel.
    sums : ndarray of float64, shape (4, nchans)
    count : ndarray of int64, shape (nchans,)
    """
    nchans, nsamps = data.shape
    for c in range(nchans):
        row = data[c]
        x0 = origin[c]
        a = 0.0
        q = 0.0
        t = 0.0
        f = 0.0
        k = 0
        for i in range(nsamps):
            x = np.float64(row[i]) - x0
            if np.isfinite(x):
                square = x * x
                a += x
                q += square
                t += square * x
                f += square * square
                k += 1
        sums[0, c] += a
        sums[1, c] += q
        sums[2, c] += t
        sums[3, c] += f
        count[c] += k


#: No sample beyond this counts as finite.
_FINITE = 3e38
#: Columns of which bands are summed at a time.
_COLUMNS = 2048
#: Rows before which memory is asked for.
_AHEAD = 3


@kernel(inline=True)
def _finite(x: Any) -> Any:
    return np.float32(x) if abs(np.float32(x)) < np.float32(_FINITE) else np.float32(0.0)


@kernel(reorder=True)
def add_bands_u8(data: Uint8s, bands: Ints, first: int, out: Float32s) -> None:
    """As `add_bands`, for uint8: neighbours in a band are summed as words of 16 bits, which hold 257 of them."""
    nchans, nsamps = data.shape
    sums = np.empty(_COLUMNS, np.uint16)
    begun = np.empty(out.shape[0], np.bool_)
    for start in range(0, nsamps, _COLUMNS):
        columns = min(_COLUMNS, nsamps - start)
        begun[:] = False
        c = 0
        while c < nchans:
            band = bands[c]
            last = c + 1
            while last < nchans and last < c + 257 and bands[last] == band:
                last += 1
            if band >= 0:
                sums[:] = np.uint16(0)
                for k in range(c, last):
                    row = data[k, start : start + columns]
                    for i in range(columns):
                        sums[i] += row[i]
                into = out[band, first + start : first + start + columns]
                if begun[band]:
                    for i in range(columns):
                        into[i] += np.float32(sums[i])
                else:
                    for i in range(columns):
                        into[i] = np.float32(sums[i])
                begun[band] = True
            c = last


@kernel(reorder=True)
def add_bands_any(data: Array, bands: Ints, first: int, out: Float32s) -> None:
    """As `add_bands`, for uint16 and float32."""
    nchans, nsamps = data.shape
    begun = np.zeros(out.shape[0], np.bool_)
    for c in range(nchans):
        if bands[c] < 0:
            continue
        row = data[c]
        into = out[bands[c], first : first + nsamps]
        if not begun[bands[c]]:
            into[:] = np.float32(0.0)
        begun[bands[c]] = True
        for i in range(nsamps):
            into[i] += _finite(row[i])


@kernel(reorder=True)
def decimate(data: Array, factor: int, first: int, out: Float32s) -> None:
    """Sums of every `factor` samples of a row; what is not finite adds nothing.

    Parameters
    ----------
    data : ndarray of uint8, uint16 or float32, shape (nchans, nsamps), rows contiguous
    factor : int
    first : int
        Place of the first sample: sample i belongs to ``out[:, (first + i) // factor]``; beyond the end it is left out.
    out : ndarray of float32, shape (nchans, n)
        Samples are added to the first number if others came before that belong to it; all else is written.
    """
    nchans, nsamps = data.shape
    n = min(nsamps, out.shape[1] * factor - first)
    # To the first whole group, and from the last.
    head = min(-first % factor, n)
    whole = max((n - head) // factor, 0)
    at = (first + head) // factor
    fours = np.empty(whole * factor // 4 + 4, np.float32)
    for c in range(nchans):
        row = data[c]
        into = out[c]
        # Numbers of the rows that follow lie far apart.
        for i in range(first // factor, at + whole + 1, 16):
            prefetch(1, out, (c + _AHEAD) * out.shape[1] + i)
        total = np.float32(0.0)
        for i in range(head):
            total += _finite(row[i])
        if head > 0:
            into[first // factor] += total
        some = row[head : head + whole * factor]
        left = factor
        # Fours of fours, as long as they go.
        while left % 4 == 0 and whole > 0:
            count = whole * left // 4
            if left == factor:
                for j in range(count):
                    i = 4 * j
                    fours[j] = (_finite(some[i]) + _finite(some[i + 1])) + (_finite(some[i + 2]) + _finite(some[i + 3]))
            else:
                for j in range(count):
                    i = 4 * j
                    fours[j] = (fours[i] + fours[i + 1]) + (fours[i + 2] + fours[i + 3])
            left //= 4
        place = into[at : at + whole]
        if left == 1 and factor > 1:
            for j in range(whole):
                place[j] = fours[j]
        elif left == 2 and factor > 2:
            for j in range(whole):
                place[j] = fours[2 * j] + fours[2 * j + 1]
        else:
            for j in range(whole):
                total = np.float32(0.0)
                for i in range(j * left, (j + 1) * left):
                    total += _finite(some[i]) if left == factor else fours[i]
                place[j] = total
        total = np.float32(0.0)
        for i in range(head + whole * factor, n):
            total += _finite(row[i])
        if n > head + whole * factor:
            into[at + whole] = total


@kernel()
def running_medians(values: Floats, first: Ints, last: Ints, out: Floats) -> None:
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


def moments(data: Array, top: int, origin: Floats, sums: Floats, count: Ints, ntop: Ints) -> None:
    """Add the sums of powers of every row about `origin` (whole numbers for integers), whatever the type of `data`."""
    if data.dtype == np.uint8:
        moments_u8(data, top, origin, sums, ntop)
        count += data.shape[1]
    elif data.dtype == np.uint16:
        moments_u16(data, top, origin, sums, ntop)
        count += data.shape[1]
    else:
        moments_f32(data, origin, sums, count)


def add_bands(data: Array, bands: Ints, first: int, out: Float32s) -> None:
    """Sums of the channels of every band; what is not finite adds nothing.

    Parameters
    ----------
    data : ndarray of uint8, uint16 or float32, shape (nchans, nsamps), rows contiguous
    bands : ndarray of int64, shape (nchans,)
        Row of `out` for every channel; negative: none.
    first : int
        Column of `out` of the first sample.
    out : ndarray of float32, shape (nbands, >= first + nsamps)
        Columns of the samples are written; a band without channels stays as it is.
    """
    if data.dtype == np.uint8:
        add_bands_u8(data, bands, first, out)
    else:
        add_bands_any(data, bands, first, out)
