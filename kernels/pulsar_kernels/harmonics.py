"""Powers on a grid of half bins, and their harmonic sums with the threshold applied on the way.

The grid of sums is indexed by the TOP harmonic: element i of stage H is a fundamental of i / (2 H) bins and
sums P[round(i k / H)], k = 1 ... H. So no harmonic ever lies beyond Nyquist, each stage adds only the odd
multiples to the stage before, and a block of i touches only H stretches of the powers, which stay in cache.
"""

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel

_BLOCK = 4096
# Beyond the calibrated low bins only powers above this are worth the logarithm.
_RARE = 6.0


@kernel(reorder=True)
def half_bins(
    real: NDArray[np.float32],
    imag: NDArray[np.float32],
    pad: int,
    weights: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Powers at whole and half bins.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (nbins + 2 pad,)
        White amplitudes, bin r at ``pad + r``.
    weights : ndarray of float32, shape (ntaps/2,), ntaps/2 <= pad
        Fourier interpolation at r + 1/2: sum_j w[j] (X[r + 1 + j] - X[r - j]), with w[j] = 1 / (pi (j + 1/2)) scaled
        to unit norm, so that the noise keeps mean 1.
    out : ndarray of float32, shape (2 nbins,)
    """
    nbins = real.shape[0] - 2 * pad
    ntaps = weights.shape[0]
    x = np.empty(256, np.float32)
    y = np.empty(256, np.float32)
    for lo in range(0, nbins, 256):
        m = min(256, nbins - lo)
        base = pad + lo
        for i in range(m):
            x[i] = np.float32(0.0)
            y[i] = np.float32(0.0)
        for j in range(ntaps):
            w = weights[j]
            up = base + 1 + j
            down = base - j
            for i in range(m):
                x[i] += w * (real[up + i] - real[down + i])
                y[i] += w * (imag[up + i] - imag[down + i])
        for i in range(m):
            a = real[base + i]
            b = imag[base + i]
            out[2 * (lo + i)] = a * a + b * b
            out[2 * (lo + i) + 1] = x[i] * x[i] + y[i] * y[i]


@kernel()
def honest(power: NDArray[np.float32], inverse: NDArray[np.float32], own: NDArray[np.float32], rest: float) -> None:
    """Make powers over an uncertain noise level exponential again, in place.

    A power over a level that was itself measured from n powers exceeds P by chance with (1 + P/n)^-n (the F
    distribution with 2 and 2n degrees of freedom); P' = n ln(1 + P/n) exceeds x with exp(-x). Before that, what the
    power itself did to the median is undone: one above the median raised it, one below lowered it.

    Parameters
    ----------
    power : ndarray of float32, shape (nhalf,)
    inverse, own : ndarray of float32, shape (m,), m <= nhalf
        1/n, and the fraction by which a power moves its own level, for the first m elements.
    rest : float
        1/n of the others, small: applied to large powers only.
    """
    m = inverse.shape[0]
    middle = np.float32(np.log(2.0))
    for i in range(m):
        v = np.float64(inverse[i])
        p = np.float64(power[i])
        p *= 1.0 + own[i] if p > middle else 1.0 - own[i]
        power[i] = np.float32(np.log1p(v * p) / v)
    rare = np.float32(_RARE)
    for i in range(m, power.shape[0]):
        if power[i] > rare:
            power[i] = np.float32(np.log1p(rest * power[i]) / rest)


@kernel(reorder=True)
def _above(sums: NDArray[np.float32], n: int, threshold: np.float32) -> int:
    count = np.int32(0)
    for t in range(n):
        count += np.int32(1) if sums[t] > threshold else np.int32(0)
    return int(count)


@kernel()
def _peaks(
    sums: NDArray[np.float32],
    start: int,
    lo: int,
    hi: int,
    threshold: np.float32,
    stage: int,
    found: int,
    index: NDArray[np.int64],
    stages: NDArray[np.int64],
    power: NDArray[np.float32],
) -> int:
    """Append the local maxima of ``sums[1:-1]`` above the threshold with lo <= grid index < hi; count on when full."""
    capacity = index.shape[0]
    for t in range(max(1, lo - start), min(sums.shape[0] - 1, hi - start)):
        s = sums[t]
        if s > threshold and s >= sums[t - 1] and s > sums[t + 1]:
            if found < capacity:
                index[found] = start + t
                stages[found] = stage
                power[found] = s
            found += 1
    return found


@kernel()
def harmonic_peaks(
    power: NDArray[np.float32],
    limits: NDArray[np.int64],
    thresholds: NDArray[np.float32],
    index: NDArray[np.int64],
    stages: NDArray[np.int64],
    peak_power: NDArray[np.float32],
) -> int:
    """Local maxima above threshold of the sums of 1, 2, 4 ... harmonics.

    Parameters
    ----------
    power : ndarray of float32, shape (nhalf,)
        Powers at half bins.
    limits : ndarray of int64, shape (nstages, 2)
        First and last + 1 index of the top harmonic searched at each stage (2**stage harmonics).
    thresholds : ndarray of float32, shape (nstages,)
    index, stages, peak_power : ndarrays, shape (capacity,)
        The peaks found.

    Returns
    -------
    int
        Peaks there are; more than the capacity means that the surplus was not stored.
    """
    nhalf = power.shape[0]
    nstages = thresholds.shape[0]
    sums = np.empty(_BLOCK + 2, np.float32)
    found = 0
    first = nhalf
    last = 0
    for s in range(nstages):
        if limits[s, 1] > limits[s, 0]:
            first = min(first, limits[s, 0])
            last = max(last, limits[s, 1])
    for lo in range(first, last, _BLOCK):
        # One neighbour on either side, so that a maximum at the edge of the block is judged once, rightly.
        start = max(lo - 1, 0)
        stop = min(lo + _BLOCK + 1, nhalf)
        n = stop - start
        for t in range(n):
            sums[t] = power[start + t]
        sums[n:] = np.float32(0.0)
        end = min(lo + _BLOCK, last)
        for s in range(nstages):
            if s > 0:
                nharm = 1 << s
                half = nharm >> 1
                for k in range(1, nharm, 2):
                    for t in range(n):
                        sums[t] += power[((start + t) * k + half) >> s]
            if end > limits[s, 0] and lo < limits[s, 1] and _above(sums, n, thresholds[s]) > 0:
                a = max(lo, limits[s, 0])
                b = min(end, limits[s, 1])
                found = _peaks(sums[: n + 1], start, a, b, thresholds[s], s, found, index, stages, peak_power)
    return found
