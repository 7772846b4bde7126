"""From hits on a coarse grid to one detection per signal: the peak of the summed power over frequency, drift and jerk.

Around every harmonic a band of amplitudes is transformed to a short series over the observation. Any frequency, drift
and change of drift is then a sum over a few hundred samples, and its derivatives are the same sum with powers of u.
"""

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel
from pulsar_kernels.peaks import frequency_information, log_tail

#: Bins of a band on either side of where the signal is.
_MARGIN = 24
#: Harmonics of a signal that are looked at to see what else it explains, if it has a power above this.
KNOWN = 64
_STRONG = 20.0
# Harmonics closer than so many bins are seen in one another's sidelobes.
_CLOSE = 1000.0
_STEPS = 16
#: Farthest that a hit may move [bins of the top harmonic]: in frequency, drift and change of drift.
_FAR = (1.5, 5.0, 40.0)
# What is left after another signal is taken off must be less likely than this to be one of its own.
_LOGP_OWN = np.log(1e-4)


@kernel()
def band_samples(z: float, w: float) -> int:
    """Samples of the short series for a signal of this drift and change of drift: a power of two."""
    need = abs(z) + 0.25 * abs(w) + 2.0 * _MARGIN
    n = 64
    while n < need:
        n *= 2
    return n


@kernel()
def _transform(x: NDArray[np.complex128]) -> None:
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


@kernel(helper=True)
def band(
    real: NDArray[np.float32],
    imag: NDArray[np.float32],
    pad: int,
    middle: int,
    filled: float,
    out: NDArray[np.complex128],
) -> float:
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
def moments(x: NDArray[np.complex128], first: float, d: float, z: float, w: float, out: NDArray[np.complex128]) -> None:
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


@kernel(inline=True)
def _honest(
    power: float, r: float, z: float, inverse: NDArray[np.float32], own: NDArray[np.float32], rest: float
) -> float:
    """The power as its uncertain level lets it count, see harmonics.honest; a drifting one moves its level less."""
    i = int(2.0 * r + 0.5)
    if i >= inverse.shape[0]:
        return float(np.log1p(rest * power) / rest)
    share = own[i] / (1.0 + abs(z))
    p = power * (1.0 + share if power > 0.6931 else 1.0 - share)
    return float(np.log1p(inverse[i] * p) / inverse[i])


@kernel(helper=True)
def load_bands(
    real: NDArray[np.float32],
    imag: NDArray[np.float32],
    pad: int,
    at: NDArray[np.float64],
    nharm: int,
    filled: float,
    bands: NDArray[np.complex128],
    about: NDArray[np.float64],
) -> None:
    """Short series of the harmonics of a signal at ``at = (r, z, w)``; `about` gets bin, first u and length of each."""
    for k in range(1, nharm + 1):
        n = min(band_samples(k * at[1], k * at[2]), bands.shape[1])
        middle = int(np.floor(k * at[0] + 0.5))
        about[k - 1, 0] = middle
        about[k - 1, 1] = band(real, imag, pad, middle, filled, bands[k - 1, :n])
        about[k - 1, 2] = n


@kernel()
def _copy(a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    """As many elements of `a` to `b` as the shorter one has (statements on whole arrays take long to compile)."""
    for i in range(min(a.shape[0], b.shape[0])):
        b[i] = a[i]


@kernel(helper=True)
def harmonic_powers(
    bands: NDArray[np.complex128],
    about: NDArray[np.float64],
    at: NDArray[np.float64],
    nharm: int,
    out: NDArray[np.float64],
) -> float:
    """Powers of the harmonics at ``at = (r, z, w)`` into `out`; their sum is returned."""
    a = np.empty(1, np.complex128)
    total = 0.0
    for k in range(1, nharm + 1):
        n = int(about[k - 1, 2])
        moments(bands[k - 1, :n], about[k - 1, 1], k * at[0] - about[k - 1, 0], k * at[1], k * at[2], a)
        out[k - 1] = a[0].real ** 2 + a[0].imag ** 2
        total += out[k - 1]
    return total


@kernel()
def _derivatives(
    bands: NDArray[np.complex128],
    about: NDArray[np.float64],
    at: NDArray[np.float64],
    nharm: int,
    nfree: int,
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    expected: NDArray[np.float64],
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


@kernel()
def _solve(matrix: NDArray[np.float64], right: NDArray[np.float64], n: int, out: NDArray[np.float64]) -> bool:
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
def climb(
    bands: NDArray[np.complex128],
    about: NDArray[np.float64],
    at: NDArray[np.float64],
    nharm: int,
    nfree: int,
    bounds: NDArray[np.float64],
) -> float:
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
    _copy(at, trial)
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
        _copy(trial, at)
        _copy(new_gradient, gradient)
        _copy(new_expected, expected)
        for i in range(3):
            _copy(new_hessian[i], hessian[i])
        if gain < 1e-4 * (1.0 + 1e-3 * power):
            break
    return power


@kernel(helper=True)
def leak(d: float, z: float, w: float) -> float:
    """Most of a power that is seen at a distance of d bins, drift z and change of drift w.

    The difference in frequency is d + z u + w u^2/2. Where it goes through zero with a slope m, the power is up to 2/m
    (Fresnel integrals); where it touches zero, up to 5.3 w^(-2/3) (Airy's function at its maximum); where it stays
    farther than e from zero, up to 1/(pi e)^2 (the ends of the data).
    """
    slope = abs(z) - 0.5 * abs(w)
    inside = min(1.0, 5.3 * (abs(w) + 1e-9) ** (-2.0 / 3.0))
    if slope > 0.0:
        inside = min(inside, 2.0 / slope)
    edge = abs(d) - 0.5 * abs(z) - 0.125 * abs(w)
    if edge <= 0.0:
        return float(inside)
    return float(min(inside, 1.0 / (np.pi * edge) ** 2))


@kernel(helper=True)
def explained(
    at: NDArray[np.float64],
    nharm: int,
    power: float,
    found: NDArray[np.float64],
    powers: NDArray[np.float64],
    nfound: int,
) -> bool:
    """Whether the signals already found leave nothing significant of a summed power.

    What they have in their harmonics next to those of the new one is taken off, as far as it leaks to where they are,
    and 6 standard deviations of the noise that beats with it.
    """
    known = powers.shape[1]
    total = 0.0
    for f in range(nfound):
        ratio = at[0] / found[f, 0]
        # Lines close together are seen on either side.
        beside = 1 if found[f, 0] < _CLOSE else 0
        for k in range(1, nharm + 1):
            nearest = int(np.floor(ratio * k + 0.5))
            for m in range(max(nearest - beside, 1), min(nearest + beside, known) + 1):
                if powers[f, m - 1] > 1.0:
                    z = k * at[1] - m * found[f, 1]
                    w = k * at[2] - m * found[f, 2]
                    total += (powers[f, m - 1] - 1.0) * leak(k * at[0] - m * found[f, 0], z, w)
    left = max(power - nharm - total - 6.0 * np.sqrt(total), 0.0)
    return bool(left < power - nharm and log_tail(nharm + left, nharm) > _LOGP_OWN)


@kernel()
def _one_power(
    real: NDArray[np.float32],
    imag: NDArray[np.float32],
    pad: int,
    filled: float,
    at: NDArray[np.float64],
    k: int,
    space: NDArray[np.complex128],
    single: NDArray[np.complex128],
) -> float:
    """Power of harmonic k of a signal."""
    n = band_samples(k * at[1], k * at[2])
    middle = int(np.floor(k * at[0] + 0.5))
    first = band(real, imag, pad, middle, filled, space[:n])
    moments(space[:n], first, k * at[0] - middle, k * at[1], k * at[2], single)
    return float(single[0].real ** 2 + single[0].imag ** 2)


@kernel()
def exact(
    real: NDArray[np.float32],
    imag: NDArray[np.float32],
    pad: int,
    filled: float,
    hits: NDArray[np.float64],
    order: NDArray[np.int64],
) -> None:
    """Put the sum of powers in place of what bytes say; parameters as of `select`."""
    at = np.empty(3, np.float64)
    single = np.zeros(1, np.complex128)
    most = 64
    for o in range(order.shape[0]):
        nharm = hits[order[o], 3]
        most = max(most, band_samples(nharm * hits[order[o], 1], nharm * hits[order[o], 2]))
    space = np.empty(most, np.complex128)
    for o in range(order.shape[0]):
        _copy(hits[order[o]], at)
        total = 0.0
        for k in range(1, int(hits[order[o], 3]) + 1):
            total += _one_power(real, imag, pad, filled, at, k, space, single)
        hits[order[o], 4] = total


@kernel(helper=True)
def multiple(single: NDArray[np.float64], nharm: int) -> int:
    """Largest n such that the harmonics that are not multiples of n hold nothing (p > 1e-4); 1 if there is none.

    A line at f, and its few harmonics within the limits of drift, raise the sum at f/n as much.
    """
    for n in range(nharm, 1, -1):
        others = 0.0
        count = 0
        for k in range(1, nharm + 1):
            if k % n != 0:
                others += single[k - 1]
                count += 1
        if log_tail(others, count) > _LOGP_OWN:
            return n
    return 1


@kernel()
def _best_stage(
    single: NDArray[np.float64],
    available: int,
    at: NDArray[np.float64],
    inverse: NDArray[np.float32],
    own: NDArray[np.float32],
    rest: float,
    result: NDArray[np.float64],
) -> int:
    """Of 1, 2, 4 ... harmonics those whose sum is least likely by chance; `result` gets honest power and ln p."""
    best = 1
    total = 0.0
    result[1] = 1.0
    for k in range(1, available + 1):
        total += _honest(single[k - 1], k * at[0], k * at[1], inverse, own, rest)
        if k & (k - 1) == 0:
            logp = log_tail(total, k)
            if logp < result[1]:
                best = k
                result[0] = total
                result[1] = logp
    return best


@kernel()
def select(
    real: NDArray[np.float32],
    imag: NDArray[np.float32],
    pad: int,
    filled: float,
    hits: NDArray[np.float64],
    order: NDArray[np.int64],
    nfree: int,
    extent: NDArray[np.float64],
    limits: NDArray[np.float64],
    inverse: NDArray[np.float32],
    own: NDArray[np.float32],
    rest: float,
    out: NDArray[np.float64],
    powers: NDArray[np.float64],
) -> int:
    """Keep the best hit of every signal, refined.

    Best first, a hit that the signals kept before do not explain is moved to the peak of its summed power; of the sums
    of 1, 2, 4 ... harmonics there the least likely one is taken. It is kept if that is less likely by chance than the
    threshold, and still not explained. Where all the power is in multiples of n, n times the frequency is.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (nbins + 2 pad,)
        White amplitudes, bin r at ``pad + r``.
    pad : int
    filled : float
        Part of the transform that data fill.
    hits : ndarray of float64, shape (n, 5)
        Fundamental: bin, drift, change of drift [bins] at the middle of the data; harmonics; sum of powers.
    order : ndarray of int64, shape (m,)
        From the most significant hit on.
    nfree : int
        1 for the frequency alone, 2 with the drift, 3 with the change of the drift.
    extent : ndarray of float64, shape (3,)
        Largest bin, drift and change of drift of the highest harmonic.
    limits : ndarray of float64, shape (3,)
        Largest ln p of what is kept, most harmonics, and largest bin of a fundamental.
    inverse, own, rest :
        See harmonics.honest.
    out : ndarray of float64, shape (most, 7)
        Filled with bin, drift, change of drift, harmonics, honest power, ln p, and `frequency_information`.
    powers : ndarray of float64, shape (most, KNOWN)
        Filled with the powers of their harmonics.

    Returns
    -------
    int
        Number kept.
    """
    top = int(limits[1])
    bands = np.empty((top, band_samples(extent[1] + _FAR[1], extent[2] + _FAR[2])), np.complex128)
    about = np.empty((top, 3), np.float64)
    # As far beyond what is searched as harmonics there are seen in it.
    wide = 2.0 * extent[1] + 50.0
    other = np.empty(band_samples(wide, 4.0 * wide), np.complex128)
    sole = np.empty(1, np.complex128)
    at = np.empty(3, np.float64)
    best_at = np.empty(3, np.float64)
    bounds = np.empty((3, 2), np.float64)
    single = np.zeros(top, np.float64)
    part = np.zeros(top, np.float64)
    result = np.zeros(2, np.float64)
    other_result = np.zeros(2, np.float64)
    kept = 0
    for o in range(order.shape[0]):
        if kept == out.shape[0]:
            break
        i = order[o]
        _copy(hits[i], at)
        nharm = int(hits[i, 3])
        if explained(at, nharm, hits[i, 4], out, powers, kept):
            continue
        available = nharm
        while (
            2 * available <= top
            and 2 * available * at[0] < extent[0]
            and 2 * available * abs(at[1]) <= extent[1] + 1.0
            and 2 * available * abs(at[2]) <= extent[2] + 10.0
        ):
            available *= 2
        load_bands(real, imag, pad, at, available, filled, bands, about)
        for d in range(3):
            bounds[d, 0] = at[d] - _FAR[d] / nharm
            bounds[d, 1] = at[d] + _FAR[d] / nharm
            if d > 0:
                # Half a step beyond what is searched.
                most = extent[d] + (1.0 if d == 1 else 10.0)
                bounds[d, 0] = max(bounds[d, 0], -most / nharm)
                bounds[d, 1] = min(bounds[d, 1], most / nharm)
        chosen = nharm
        for _ in range(2):
            climb(bands, about, at, chosen, nfree, bounds)
            harmonic_powers(bands, about, at, available, single)
            again = _best_stage(single, available, at, inverse, own, rest, result)
            if again == chosen:
                break
            chosen = again
        if result[1] >= limits[0]:
            continue
        n = multiple(single, chosen)
        if n > 1 and n * at[0] <= limits[2]:
            for d in range(3):
                best_at[d] = n * at[d]
                bounds[d, 0] = best_at[d] - _FAR[d]
                bounds[d, 1] = best_at[d] + _FAR[d]
            fewer = chosen // n
            load_bands(real, imag, pad, best_at, fewer, filled, bands, about)
            climb(bands, about, best_at, fewer, nfree, bounds)
            harmonic_powers(bands, about, best_at, fewer, part)
            again = _best_stage(part, fewer, best_at, inverse, own, rest, other_result)
            # Three harmonics at a fifth of the frequency may be more than two at the frequency itself.
            if other_result[1] < limits[0]:
                _copy(best_at, at)
                _copy(part, single)
                _copy(other_result, result)
                chosen = again
                available = fewer
        # Powers as they are: what another signal takes off is not compressed by an uncertain level.
        raw = 0.0
        for k in range(chosen):
            raw += single[k]
        if explained(at, chosen, raw, out, powers, kept):
            continue
        _copy(at, out[kept])
        out[kept, 3] = chosen
        out[kept, 4] = result[0]
        out[kept, 5] = result[1]
        out[kept, 6] = frequency_information(single, chosen)
        strongest = 0.0
        for k in range(KNOWN):
            powers[kept, k] = single[k] if k < available else 0.0
            strongest = max(strongest, powers[kept, k])
        if strongest > _STRONG:
            for k in range(available + 1, KNOWN + 1):
                if k * at[0] > extent[0] or k * abs(at[1]) > wide or k * abs(at[2]) > 4.0 * wide:
                    break
                powers[kept, k - 1] = _one_power(real, imag, pad, filled, at, k, other, sole)
        kept += 1
    return kept
