"""From a series to amplitudes of unit noise: detrending, block medians of the power, division by the level.

All passes are bound by memory. Medians are found by partitioning (mispredicted branches) only what lies near the
median of the block before, a tenth of the powers; the others are counted (vector compares).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel

# From these bins on the level is evaluated every so many bins and is linear in between: 3 and 1 % of the bin number.
_EXACT_BELOW = 512
_STEP = 16
_FAR = 8192
_FAR_STEP = 64


@kernel(reorder=True)
def _finite_sum(x: NDArray[Any], origin: np.float32) -> tuple[float, int]:
    """Sum of the differences of finite samples from `origin`, and their number."""
    total = 0.0
    count = np.int32(0)
    for i in range(x.shape[0]):
        v = np.float32(x[i])
        good = abs(v) <= np.float32(3e38)
        v = v if good else origin
        total += np.float64(v) - np.float64(origin)
        count += np.int32(1) if good else np.int32(0)
    return total, int(count)


@kernel(reorder=True)
def block_means(series: NDArray[Any], out: NDArray[np.float64]) -> None:
    """Mean of the finite samples of each of ``len(out)`` equal stretches of `series` (NaN where there is none).

    Parameters
    ----------
    series : ndarray of int16 or float32, shape (n,)
    out : ndarray of float64, shape (nblocks,)
        Stretch b is ``[b*n//nblocks, (b+1)*n//nblocks)``.
    """
    n = series.shape[0]
    nblocks = out.shape[0]
    for b in range(nblocks):
        lo = b * n // nblocks
        hi = (b + 1) * n // nblocks
        # Relative to the first finite sample, so that a large offset costs no digits.
        origin = 0.0
        for i in range(lo, hi):
            if np.isfinite(np.float32(series[i])):
                origin = np.float64(series[i])
                break
        total, count = _finite_sum(series[lo:hi], np.float32(origin))
        out[b] = origin + total / count if count > 0 else np.nan


@kernel(reorder=True)
def detrend(series: NDArray[Any], coeffs: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """Write `series` minus a cubic into `out`; samples that are not finite, and the padding, become 0.

    Parameters
    ----------
    series : ndarray of int16 or float32, shape (n,)
    coeffs : ndarray of float64, shape (4,)
        Cubic in u = (2 i + 1) / n - 1, lowest power first.
    out : ndarray of float32, shape (nfft,), nfft >= n
    """
    n = series.shape[0]
    # The constant is taken off in double precision; what is left fits float32.
    c0 = coeffs[0]
    c1 = np.float32(coeffs[1])
    c2 = np.float32(coeffs[2])
    c3 = np.float32(coeffs[3])
    step = np.float32(2.0 / n)
    for lo in range(0, n, 4096):
        hi = min(lo + 4096, n)
        u0 = np.float32((2.0 * lo + 1.0) / n - 1.0)
        for i in range(lo, hi):
            u = u0 + step * np.float32(i - lo)
            x = np.float32(np.float64(series[i]) - c0) - u * (c1 + u * (c2 + u * c3))
            out[i] = x if abs(x) <= np.float32(3e38) else np.float32(0.0)
    out[n:] = np.float32(0.0)


@kernel(reorder=True)
def planes(spec: NDArray[np.complex64], pad: int, real: NDArray[np.float32], imag: NDArray[np.float32]) -> None:
    """Copy amplitudes to two planes, bin r to element ``pad + r``."""
    parts = spec.view(np.float32)
    for r in range(spec.shape[0]):
        real[pad + r] = parts[2 * r]
        imag[pad + r] = parts[2 * r + 1]


@kernel(reorder=True)
def powers(real: NDArray[np.float32], imag: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Squared moduli of the first ``len(out)`` amplitudes."""
    for r in range(out.shape[0]):
        out[r] = real[r] * real[r] + imag[r] * imag[r]


@kernel(reorder=True)
def _count_two(x: NDArray[np.float32], lo: np.float32, hi: np.float32) -> tuple[int, int]:
    below = np.int32(0)
    upto = np.int32(0)
    for i in range(x.shape[0]):
        below += np.int32(1) if x[i] <= lo else np.int32(0)
        upto += np.int32(1) if x[i] <= hi else np.int32(0)
    return int(below), int(upto)


@kernel()
def _quickselect(x: NDArray[np.float32], n: int, k: int) -> float:
    """The k-th smallest of ``x[:n]``, which is reordered."""
    lo = 0
    hi = n - 1
    while hi > lo:
        a = x[lo]
        b = x[(lo + hi) >> 1]
        c = x[hi]
        pivot = max(min(a, b), min(max(a, b), c))
        i = lo
        j = hi
        while i <= j:
            while x[i] < pivot:
                i += 1
            while x[j] > pivot:
                j -= 1
            if i <= j:
                swap = x[i]
                x[i] = x[j]
                x[j] = swap
                i += 1
                j -= 1
        if k <= j:
            hi = j
        elif k >= i:
            lo = i
        else:
            break
    return float(x[k])


@kernel()
def select_kth(x: NDArray[np.float32], k: int, guess: float, width: float, work: NDArray[np.float32]) -> float:
    """The k-th smallest (from 0) of `x`, exactly.

    Only what lies within the fraction `width` of `guess` is partitioned, if the value is found to lie there by counting
    (vector compares); otherwise all of `x` is. NaN is not allowed.

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
    k : int
    guess, width : float
    work : ndarray of float32, shape (>= n + 1,)
        Overwritten.
    """
    n = x.shape[0]
    lo = np.float32(guess * (1.0 - width))
    hi = np.float32(guess * (1.0 + width))
    below, upto = _count_two(x, lo, hi)
    if below <= k < upto:
        m = 0
        for i in range(n):
            v = x[i]
            work[m] = v
            m += 1 if (v > lo) & (v <= hi) else 0
        return _quickselect(work, m, k - below)
    for i in range(n):
        work[i] = x[i]
    return _quickselect(work, n, k)


@kernel()
def block_medians(power: NDArray[np.float32], edges: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """Median of the powers of every block ``[edges[b], edges[b+1])`` (lower one of the two middle ones for even n).

    Parameters
    ----------
    power : ndarray of float32, shape (nbins,)
    edges : ndarray of int64, shape (nblocks + 1,)
    out : ndarray of float64, shape (nblocks,)
    """
    widest = 0
    for b in range(out.shape[0]):
        widest = max(widest, edges[b + 1] - edges[b])
    work = np.empty(widest + 1, np.float32)
    guess = 1.0
    for b in range(out.shape[0]):
        block = power[edges[b] : edges[b + 1]]
        n = block.shape[0]
        # Medians of n exponentials scatter by 1.44 / sqrt(n), and so does the one before.
        out[b] = select_kth(block, (n - 1) // 2, guess, min(5.0 / np.sqrt(n), 0.9), work)
        guess = out[b]


@kernel()
def flatten(power: NDArray[np.float32], centres: NDArray[np.float64], levels: NDArray[np.float64]) -> None:
    """Divide `power` in place by the level, log-log linear between knots; bin 0 is left alone.

    Parameters
    ----------
    power : ndarray of float32, shape (nbins,)
    centres, levels : ndarray of float64, shape (nblocks,)
        Natural logarithms of bin number and level at the knots; beyond the ends the last segment goes on.
    """
    nblocks = centres.shape[0]
    b = 0
    for r in range(1, power.shape[0]):
        x = np.log(np.float64(r))
        while b < nblocks - 2 and x > centres[b + 1]:
            b += 1
        level = levels[0]
        if nblocks > 1:
            level = levels[b] + (levels[b + 1] - levels[b]) * (x - centres[b]) / (centres[b + 1] - centres[b])
        power[r] = np.float32(power[r] * np.exp(-level))


@kernel(reorder=True)
def whiten(
    real: NDArray[np.float32],
    imag: NDArray[np.float32],
    pad: int,
    centres: NDArray[np.float64],
    levels: NDArray[np.float64],
) -> None:
    """Divide the amplitudes of a real series by the square root of the noise level, and mirror them beyond both ends.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (nbins + 2 pad,), pad >= 1
        Element ``pad + r`` is bin r of the real FFT of an even number of samples, r = 0 ... nbins (the Nyquist bin).
        Bin 0 becomes zero; ``X[-j] = conj X[j]`` and ``X[nbins + j] = conj X[nbins - j]`` are filled in.
    centres, levels : ndarray of float64, shape (nblocks,)
        Natural logarithms of bin number and level at the knots.
    """
    nbins = real.shape[0] - 2 * pad
    nblocks = centres.shape[0]
    b = 0
    real[pad] = np.float32(0.0)
    imag[pad] = np.float32(0.0)
    # exp(-level/2) is exact at both ends of a step and linear in between; r = 0 only finds the lower end of the first.
    r = 0
    scale = np.float32(0.0)
    while r <= nbins:
        step = 1 if r < _EXACT_BELOW else _STEP if r < _FAR else _FAR_STEP
        hi = min(r + step, nbins + 1)
        x = np.log(np.float64(hi))
        while b < nblocks - 2 and x > centres[b + 1]:
            b += 1
        level = levels[0]
        if nblocks > 1:
            # Constant beyond the last knot: half a block at most.
            t = min((x - centres[b]) / (centres[b + 1] - centres[b]), 1.0)
            level = levels[b] + (levels[b + 1] - levels[b]) * t
        ends = scale
        scale = np.float32(np.exp(-0.5 * level))
        if r == 0:
            r = 1
            continue
        slope = (scale - ends) / np.float32(hi - r)
        x_ = real[pad + r : pad + hi]
        y_ = imag[pad + r : pad + hi]
        for i in range(hi - r):
            factor = ends + slope * np.float32(i)
            x_[i] *= factor
            y_[i] *= factor
        r = hi
    for j in range(1, pad + 1):
        k = min(j, nbins - 1)
        real[pad - j] = real[pad + k]
        imag[pad - j] = -imag[pad + k]
        if j < pad:
            k = max(nbins - j, 0)
            real[pad + nbins + j] = real[pad + k]
            imag[pad + nbins + j] = -imag[pad + k]
