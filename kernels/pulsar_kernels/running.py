"""Running means of several series."""

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Float32s, Floats


@kernel(inline=True)
def _less_mean(x: Float32s, half: int, sums: Floats, out: Float32s) -> None:
    """Samples less their running means, from sums of all samples before."""
    n = x.shape[0]
    total = 0.0
    sums[0] = total
    for i in range(n):
        total += np.float64(x[i])
        sums[i + 1] = total
    begin = min(half, n)
    end = max(n - half, begin)
    for i in range(begin, end):
        out[i] = x[i] - (sums[i + half + 1] - sums[i - half]) / (2 * half + 1)
    for lo, hi in ((0, begin), (end, n)):
        for i in range(lo, hi):
            first, last = max(i - half, 0), min(i + half + 1, n)
            out[i] = x[i] - (sums[last] - sums[first]) / (last - first)


@kernel()
def less_running_means(data: Float32s, half: int, out: Float32s) -> None:
    """Every sample less the mean of the `half` samples on either side and its own, cut off at the ends; that twice.

    Parameters
    ----------
    data, out : ndarray of float32, shape (nrows, n), rows contiguous
    half : int
    """
    sums = np.empty(data.shape[1] + 1)
    once = np.empty(data.shape[1], np.float32)
    for r in range(data.shape[0]):
        _less_mean(data[r], half, sums, once)
        _less_mean(once, half, sums, out[r])
