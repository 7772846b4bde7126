"""The peak of the summed power of a signal's harmonics over frequency, drift and jerk.

Around every harmonic a band of amplitudes is transformed to a short series over the observation. Any frequency, drift
and change of drift is then a sum over a few hundred samples, and its derivatives are the same sum with powers of u.
"""

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Complexes, Float32s, Floats

#: Bins of a band on either side of where the signal is.
_MARGIN = 24
_STEPS = 16


@kernel(inline=True, helper=True)
def band_samples(z: float, w: float) -> int:
    """Samples of the short series for a signal of this drift and change of drift: a power of two."""
    need = abs(z) + 0.25 * abs(w) + 2.0 * _MARGIN
    n = 64
    while n < need:
        n *= 2
    return n


@kernel(reorder=True)
def _transform(x: Complexes) -> None:
    """Inverse transform in place, exp(+2 pi i j k / n), n a power of two; no factor."""
    n = x.shape[0]
    j = 0
    for i in range(1, n):
        bit = n >> 1
        while j & bit:
            j ^= bit
            bit >>= 1
        j |= bit
        if i < j:
            swap = x[i]
            x[i] = x[j]
            x[j] = swap
    half = 1
    while half < n:
        turn = np.exp(1j * np.pi / half)
        w = 1.0 + 0.0j
        for k in range(half):
            for i in range(k, n, 2 * half):
                y = w * x[i + half]
                x[i + half] = x[i] - y
                x[i] = x[i] + y
            w *= turn
        half *= 2


@kernel(inline=True, helper=True)
def band(real: Float32s, imag: Float32s, pad: int, middle: int, filled: float, out: Complexes) -> float:
    """Short series of the ``len(out)`` amplitudes around bin `middle`, divided by their number.

    Samples are in order of time from u = -1/2 on; the u of the first is returned. u = 0 is the middle of the data,
    which fill the part `filled` of the transform.
    """
    n = out.shape[0]
    half = n // 2
    x = np.empty(n, np.complex128)
    for d in range(-half, half):
        r = pad + middle + d
        value = 0.0j
        if 0 <= r < real.shape[0]:
            value = complex(np.float64(real[r]), np.float64(imag[r])) / n
        x[d % n] = value
    _transform(x)
    # Sample m is at u = m/n - filled/2, modulo 1.
    shift = int(np.ceil(0.5 * n * (filled - 1.0)))
    for m in range(n):
        out[m] = x[(m + shift) % n]
    return float(shift / n - 0.5 * filled)


@kernel(reorder=True, helper=True)
def moments(x: Complexes, first: float, d: float, z: float, w: float, out: Complexes) -> None:
    """Sums of ``x u^m exp(-2 pi i (d u + z u^2/2 + w u^3/6))``, m = 0 ... ``len(out) - 1``, from u = `first` on."""
    n = x.shape[0]
    s = 1.0 / n
    # A cubic phase by differences: each factor turns the one before.
    u = first
    a = np.exp(-2j * np.pi * (d * u + z * u * u / 2.0 + w * u**3 / 6.0))
    b = np.exp(-2j * np.pi * s * (d + z * (u + 0.5 * s) + w * (3.0 * u * u + 3.0 * u * s + s * s) / 6.0))
    c = np.exp(-2j * np.pi * (z * s * s + w * (u * s * s + s**3)))
    e = np.exp(-2j * np.pi * (w * s**3))
    count = out.shape[0]
    for k in range(count):
        out[k] = 0.0
    if count == 1:
        total = 0.0j
        for m in range(n):
            total += x[m] * a
            a *= b
            b *= c
            c *= e
        out[0] = total
        return
    for m in range(n):
        y = x[m] * a
        for k in range(count):
            out[k] += y
            y *= u
        u += s
        a *= b
        b *= c
        c *= e


@kernel(helper=True)
def load_bands(
    real: Float32s, imag: Float32s, pad: int, at: Floats, nharm: int, filled: float, bands: Complexes, about: Floats
) -> None:
    """Short series of the harmonics of a signal at ``at = (r, z, w)``; `about` gets bin, first u and length of each."""
    for k in range(1, nharm + 1):
        n = min(band_samples(k * at[1], k * at[2]), bands.shape[1])
        middle = int(np.floor(k * at[0] + 0.5))
        about[k - 1, 0] = middle
        about[k - 1, 1] = band(real, imag, pad, middle, filled, bands[k - 1, :n])
        about[k - 1, 2] = n


@kernel(inline=True, helper=True)
def copy(a: Floats, b: Floats) -> None:
    """As many elements of `a` to `b` as the shorter one has (statements on whole arrays take long to compile)."""
    for i in range(min(a.shape[0], b.shape[0])):
        b[i] = a[i]


@kernel(helper=True)
def harmonic_powers(bands: Complexes, about: Floats, at: Floats, nharm: int, out: Floats) -> float:
    """Powers of the harmonics at ``at = (r, z, w)`` into `out`; their sum is returned."""
    a = np.empty(1, np.complex128)
    total = 0.0
    for k in range(1, nharm + 1):
        n = int(about[k - 1, 2])
        moments(bands[k - 1, :n], about[k - 1, 1], k * at[0] - about[k - 1, 0], k * at[1], k * at[2], a)
        out[k - 1] = a[0].real ** 2 + a[0].imag ** 2
        total += out[k - 1]
    return total


@kernel(reorder=True)
def _derivatives(
    bands: Complexes,
    about: Floats,
    at: Floats,
    nharm: int,
    nfree: int,
    gradient: Floats,
    hessian: Floats,
    expected: Floats,
) -> float:
    """Sum of the powers, its derivatives by r, z (and w), and the curvature that a signal of this power has."""
    a = np.empty(2 * nfree + 1, np.complex128)
    first = np.empty(3, np.complex128)
    factor = np.empty(3, np.float64)
    for i in range(3):
        gradient[i] = 0.0
        expected[i] = 0.0
        for j in range(3):
            hessian[i, j] = 0.0
    total = 0.0
    for k in range(1, nharm + 1):
        n = int(about[k - 1, 2])
        moments(bands[k - 1, :n], about[k - 1, 1], k * at[0] - about[k - 1, 0], k * at[1], k * at[2], a)
        factor[0] = 2.0 * np.pi * k
        factor[1] = np.pi * k
        factor[2] = np.pi * k / 3.0
        power = a[0].real ** 2 + a[0].imag ** 2
        total += power
        for i in range(nfree):
            first[i] = -1j * factor[i] * a[i + 1]
            gradient[i] += 2.0 * (a[0].real * first[i].real + a[0].imag * first[i].imag)
        for i in range(nfree):
            for j in range(nfree):
                second = -factor[i] * factor[j] * a[i + j + 2]
                hessian[i, j] += 2.0 * (
                    first[i].real * first[j].real
                    + first[i].imag * first[j].imag
                    + a[0].real * second.real
                    + a[0].imag * second.imag
                )
        # Variances of u, u^2 and u^3 over the data.
        expected[0] += 2.0 * power * factor[0] ** 2 / 12.0
        expected[1] += 2.0 * power * factor[1] ** 2 / 180.0
        expected[2] += 2.0 * power * factor[2] ** 2 / 448.0
    return total


@kernel(inline=True)
def _solve(matrix: Floats, right: Floats, n: int, out: Floats) -> bool:
    """Solve ``-matrix x = right`` for a symmetric matrix by Cholesky; False if it is not negative definite."""
    lower = np.zeros((3, 3), np.float64)
    for i in range(n):
        for j in range(i + 1):
            total = -matrix[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i == j:
                if total <= 1e-9 * abs(matrix[i, i]):
                    return False
                lower[i, i] = np.sqrt(total)
            else:
                lower[i, j] = total / lower[j, j]
    for i in range(n):
        total = right[i]
        for k in range(i):
            total -= lower[i, k] * out[k]
        out[i] = total / lower[i, i]
    for i in range(n - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, n):
            total -= lower[k, i] * out[k]
        out[i] = total / lower[i, i]
    return True


@kernel(helper=True)
def climb(bands: Complexes, about: Floats, at: Floats, nharm: int, nfree: int, bounds: Floats) -> float:
    """Move ``at = (r, z, w)`` to the nearest peak of the summed power, by Newton's method; the power is returned.

    Parameters
    ----------
    nfree : int
        1: only r is free; 2: r and z; 3: all.
    bounds : ndarray of float64, shape (3, 2)
        Limits of r, z and w.
    """
    gradient = np.empty(3, np.float64)
    hessian = np.empty((3, 3), np.float64)
    expected = np.empty(3, np.float64)
    step = np.zeros(3, np.float64)
    trial = np.zeros(3, np.float64)
    copy(at, trial)
    new_gradient = np.empty(3, np.float64)
    new_hessian = np.empty((3, 3), np.float64)
    new_expected = np.empty(3, np.float64)
    power = _derivatives(bands, about, at, nharm, nfree, gradient, hessian, expected)
    for _ in range(_STEPS):
        # What is not curved like a peak is taken for the flank of one of this power.
        if not _solve(hessian, gradient, nfree, step):
            for i in range(nfree):
                step[i] = gradient[i] / expected[i]
        largest = 1.0
        for i in range(nfree):
            # No more than the width of a peak at a time.
            width = np.sqrt(2.0 * power / expected[i])
            largest = max(largest, abs(step[i]) / width)
        for i in range(nfree):
            step[i] /= largest
        better = False
        for _half in range(5):
            for i in range(nfree):
                trial[i] = min(max(at[i] + step[i], bounds[i, 0]), bounds[i, 1])
            new = _derivatives(bands, about, trial, nharm, nfree, new_gradient, new_hessian, new_expected)
            if new > power:
                better = True
                break
            for i in range(nfree):
                step[i] *= 0.3
        if not better:
            break
        gain = new - power
        power = new
        copy(trial, at)
        copy(new_gradient, gradient)
        copy(new_expected, expected)
        for i in range(3):
            copy(new_hessian[i], hessian[i])
        if gain < 1e-4 * (1.0 + 1e-3 * power):
            break
    return power
