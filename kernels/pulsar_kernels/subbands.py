"""Channels added to bands."""

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Int8s, Int16s, Ints

#: Samples of a tile: sums and four channels of it stay in the first caches.
TILE = 4096


@kernel()
def add_band(data: Int8s, start: int, delays: Ints, out: Int16s) -> None:
    """Add channels to the sum of their band, each earlier by its delay.

    Parameters
    ----------
    data : ndarray of int8, shape (nchans, nsamps)
    start : int
        Sample of `out` at which `data` starts where there is no delay.
    delays : ndarray of int64, shape (nchans,)
        [samples]
    out : ndarray of int16, shape (ntotal,)
        Added to; what would lie outside is left out.
    """
    nchans, nsamps = data.shape
    first = max(start - int(delays.max()), 0)
    last = min(start + nsamps - int(delays.min()), out.size)
    for tile in range(first, last, TILE):
        end = min(tile + TILE, last)
        for c in range(0, nchans - 3, 4):
            a, b, d, e = start - delays[c], start - delays[c + 1], start - delays[c + 2], start - delays[c + 3]
            low = min(max(max(a, b), max(d, e), tile), end)
            high = max(min(min(a, b), min(d, e)) + nsamps, low)
            high = min(high, end)
            width = high - low
            if width > 0:
                sums = out[low:high]
                w, x, y, z = data[c, low - a :], data[c + 1, low - b :], data[c + 2, low - d :], data[c + 3, low - e :]
                for i in range(width):
                    sums[i] += np.int16(w[i]) + np.int16(x[i]) + np.int16(y[i]) + np.int16(z[i])
            for k in range(4):
                at = start - delays[c + k]
                for i in range(max(at, tile), min(low, at + nsamps)):
                    out[i] += data[c + k, i - at]
                for i in range(max(high, at, tile), min(end, at + nsamps)):
                    out[i] += data[c + k, i - at]
        for c in range(nchans - nchans % 4, nchans):
            at = start - delays[c]
            for i in range(max(at, tile), min(end, at + nsamps)):
                out[i] += data[c, i - at]
