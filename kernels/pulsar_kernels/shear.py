"""Channels cut out along the sweep of a pulse, and summed at other DMs near it."""

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Float32s, Int8s, Ints


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
