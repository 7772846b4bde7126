"""Dedispersion by brute force, and downsampling, in integers; channels along the sweep of a pulse.

Integer sums are exact, so the result does not depend on how the data are cut into tiles, gulps or threads.
"""

from typing import Any

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Array, Float32s, Int8s, Int16s, Int32s, Ints

#: Channels whose int8 sum cannot leave int16: 256 * -128 = -32768.
INT16_CHANNELS = 256


@kernel()
def _sum_raw(dst: Int16s, raw: Int8s, src: Any, shift: Any, first: int, last: int) -> None:
    """dst = sum of the rows ``src[first:last]`` of `raw`, 256 at most, each from column ``shift`` on."""
    n = dst.size
    j = first
    while j < last:
        left = last - j
        if left >= 4:
            a = raw[src[j], shift[j] : shift[j] + n]
            b = raw[src[j + 1], shift[j + 1] : shift[j + 1] + n]
            c = raw[src[j + 2], shift[j + 2] : shift[j + 2] + n]
            d = raw[src[j + 3], shift[j + 3] : shift[j + 3] + n]
            if j == first:
                for i in range(n):
                    dst[i] = np.int16(np.int16(a[i]) + np.int16(b[i])) + np.int16(np.int16(c[i]) + np.int16(d[i]))
            else:
                for i in range(n):
                    s = np.int16(np.int16(np.int16(a[i]) + np.int16(b[i])) + np.int16(np.int16(c[i]) + np.int16(d[i])))
                    dst[i] = np.int16(dst[i] + s)
            j += 4
        elif left >= 2:
            a = raw[src[j], shift[j] : shift[j] + n]
            b = raw[src[j + 1], shift[j + 1] : shift[j + 1] + n]
            if j == first:
                for i in range(n):
                    dst[i] = np.int16(a[i]) + np.int16(b[i])
            else:
                for i in range(n):
                    s = np.int16(np.int16(a[i]) + np.int16(b[i]))
                    dst[i] = np.int16(dst[i] + s)
            j += 2
        else:
            a = raw[src[j], shift[j] : shift[j] + n]
            if j == first:
                for i in range(n):
                    dst[i] = np.int16(a[i])
            else:
                for i in range(n):
                    dst[i] = np.int16(dst[i] + np.int16(a[i]))
            j += 1


@kernel()
def brute_tile(
    raw: Int8s, column: int, delays: Ints, acc: Int32s, out: Int16s, row: int, out_column: int, nout: int
) -> None:
    """Exact sums over channels for every DM, over one tile of time.

    Parameters
    ----------
    raw : ndarray of int8, shape (nchans, ncols)
        Channels; every stretch read must lie inside.
    column : int
        Column of `raw` that belongs to sample 0 of the tile at zero delay.
    delays : ndarray of int64, shape (ndms, nchans)
        Delay of each channel [samples].
    acc : ndarray of int32, shape (ndms, >= nout) or (0, 0)
        Working space, needed for more than ``INT16_CHANNELS`` channels only.
    out : ndarray of int16
        Rows from `row` on, columns from `out_column` on, receive the sums, clamped to int16.
    """
    ndms, nchans = delays.shape
    tmp = np.empty(nout, np.int16)
    where = np.empty(64, np.int64)
    chan = np.arange(64)
    wide = nchans > INT16_CHANNELS
    # 64 channels of a tile stay in L2 while all DMs pass over them.
    for c0 in range(0, nchans, 64):
        nc = min(64, nchans - c0)
        block = raw[c0 : c0 + nc]
        for d in range(ndms):
            for j in range(nc):
                where[j] = delays[d, c0 + j] + column
            dst = out[row + d, out_column : out_column + nout]
            if c0 == 0 and not wide:
                _sum_raw(dst, block, chan, where, 0, nc)
            else:
                _sum_raw(tmp, block, chan, where, 0, nc)
                if not wide:
                    for i in range(nout):
                        dst[i] = np.int16(dst[i] + tmp[i])
                elif c0 == 0:
                    for i in range(nout):
                        acc[d, i] = tmp[i]
                else:
                    for i in range(nout):
                        acc[d, i] += tmp[i]
    if wide:
        for d in range(ndms):
            for i in range(nout):
                out[row + d, out_column + i] = np.int16(min(max(acc[d, i], np.int32(-32768)), np.int32(32767)))


@kernel()
def halve_pairs(data: Array, out: Int16s) -> None:
    half = data.shape[1] // 2
    for c in range(data.shape[0]):
        row = data[c]
        res = out[c]
        for j in range(half):
            res[j] = np.int16(row[2 * j]) + np.int16(row[2 * j + 1])


@kernel()
def halve_words(data: Int8s, out: Int16s) -> None:
    # Two neighbours are loaded as one word: shifts part them, and nothing is shuffled.
    half = data.shape[1] // 2
    for c in range(data.shape[0]):
        words = data[c, : 2 * half].view(np.int16)
        res = out[c]
        for j in range(half):
            word = words[j]
            res[j] = np.int16(np.int16(np.int16(word << 8) >> 8) + np.int16(word >> 8))


def halve(data: Array, out: Int16s) -> None:
    """Sum pairs of neighbouring samples; an odd last sample is dropped, and what leaves int16 goes round.

    Parameters
    ----------
    data : ndarray of int8 or int16, shape (nchans, n)
    out : ndarray of int16, shape (nchans, >= n // 2)
        Overwritten in its first n // 2 columns; it may be the head of the rows of `data`.
    """
    if data.dtype == np.int8 and data.flags.c_contiguous:
        halve_words(data, out)
    else:
        halve_pairs(data, out)


@kernel()
def requantise(sums: Int16s, scale: float, out: Int8s) -> None:
    """Sums of samples back to int8 with the noise of one sample: rounded (halves to even) and clamped."""
    factor = np.float32(scale)
    for c in range(out.shape[0]):
        for i in range(out.shape[1]):
            value = np.rint(np.float32(sums[c, i]) * factor)
            out[c, i] = np.int8(min(max(value, np.float32(-128.0)), np.float32(127.0)))


@kernel(inline=True)
def _between(before: np.int16, first: np.int16, second: np.int16, after: np.int16) -> np.int16:
    """1 3 3 1 of four samples, with the scatter of one in white noise."""
    inner = np.float32(3.0) * (np.float32(first) + np.float32(second))
    value = np.rint(np.float32(20.0**-0.5) * (inner + (np.float32(before) + np.float32(after))))
    return np.int16(min(max(value, np.float32(-32768.0)), np.float32(32767.0)))


@kernel()
def halve_series(x: Int16s, out: Int16s) -> None:
    """Half as many samples of a series: 1 3 3 1 of four neighbours, which leaves white noise its scatter.

    A sample stands for the two in the middle. Of a line of frequency f and samples dt apart the amplitude is multiplied
    by cos(pi f dt)**3, and what lies beyond the new Nyquist frequency comes back times sin(pi f dt)**3.

    Parameters
    ----------
    x : ndarray of int16, shape (2n,) or (2n + 1,)
        Its first and its last sample go on beyond the ends.
    out : ndarray of int16, shape (n,)
        Rounded (halves to even) and clamped.
    """
    n = out.shape[0]
    # The ends by themselves: a loop with a test would not be one of vectors.
    for i in range(1, n - 1):
        out[i] = _between(x[2 * i - 1], x[2 * i], x[2 * i + 1], x[2 * i + 2])
    for i in (0, n - 1):
        out[i] = _between(x[max(2 * i - 1, 0)], x[2 * i], x[2 * i + 1], x[min(2 * i + 2, x.shape[0] - 1)])


@kernel()
def shear_add(data: Int8s, at: int, delays: Ints, origin: int, factor: int, out: Float32s) -> None:
    """Add what a piece of data holds of a window that follows the delays of the channels.

    Parameters
    ----------
    data : ndarray of int8, shape (nchans, n)
        Samples `at` to ``at + n`` of the observation.
    at : int
    delays : ndarray of int64, shape (nchans,)
        [samples]
    origin : int
        Sample at which the window begins, at zero delay.
    factor : int
        Samples summed into one element.
    out : ndarray of float32, shape (nchans, ncols)
        The window, added to.
    """
    nchans, n = data.shape
    ncols = out.shape[1]
    for c in range(nchans):
        shift = origin + delays[c] - at
        first = max(0, -shift)
        last = min(ncols * factor, n - shift)
        j = first
        while j < last:
            column = j // factor
            stop = min((column + 1) * factor, last)
            total = np.int32(0)
            for i in range(j, stop):
                total += np.int32(data[c, i + shift])
            out[c, column] += np.float32(total)
            j = stop


@kernel(reorder=True)
def shifted_sums(window: Float32s, shifts: Ints, first: int, out: Float32s) -> None:
    """Sums over the channels, each moved by its own shift, for several sets of shifts.

    Parameters
    ----------
    window : ndarray of float32, shape (nchans, ncols)
    shifts : ndarray of int64, shape (nsets, nchans)
        Column ``first + shifts[k, c]`` of channel c goes to column 0 of row k; all columns must exist.
    first : int
    out : ndarray of float32, shape (nsets, n)
    """
    nsets, n = out.shape
    out[:] = np.float32(0.0)
    for k in range(nsets):
        for c in range(window.shape[0]):
            lo = first + shifts[k, c]
            part = window[c, lo : lo + n]
            for i in range(n):
                out[k, i] += part[i]
