"""From raised grid points to one refined detection per signal, without its sidelobes and submultiples."""

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Bools, Float32s, Floats, Ints
from pulsar_kernels.order import first_from

_TAPS = 8  # bins on either side
_STEPS = 16  # steps of the refinement in one bin of the top harmonic
_REACH = 12  # steps tried on either side
_RADIUS = 1.5  # bins: nothing this close is another signal
_SIDELOBES = 32.0  # bins: as far as sidelobes are reckoned with
# A single power that noise reaches in 2 % of cases only: counts as signal where its frequency is reckoned with.
_SURE = 4.0
#: ln of the probability by chance from which on what is left beside another signal is none of its own.
LOGP_OWN = np.log(1e-4)


@kernel(inline=True, helper=True)
def power_at(real: Float32s, imag: Float32s, pad: int, x: float) -> float:
    """Power at bin `x` (any fraction) by Fourier interpolation over 16 bins, normalised to mean 1 in white noise.

    The amplitude is sin(pi d)/pi * sum_j X[n + j] / (d - j) with d = x - n (a phase apart).
    """
    n = int(np.floor(x + 0.5))
    d = x - n
    if abs(d) < 1e-6:
        return float(real[pad + n]) ** 2 + float(imag[pad + n]) ** 2
    a = 0.0
    b = 0.0
    norm = 0.0
    for j in range(-_TAPS, _TAPS + 1):
        w = 1.0 / (d - j)
        a += w * float(real[pad + n + j])
        b += w * float(imag[pad + n + j])
        norm += w * w
    return (a * a + b * b) / norm


@kernel(helper=True)
def harmonic_power(real: Float32s, imag: Float32s, pad: int, r: float, nharm: int) -> float:
    """Sum of the powers at k r, k = 1 ... nharm, as far as the spectrum goes."""
    top = real.shape[0] - 2 * pad - 0.5
    total = 0.0
    for k in range(1, nharm + 1):
        if k * r > top:
            break
        total += power_at(real, imag, pad, k * r)
    return total


@kernel(inline=True, helper=True)
def log_tail(power: float, nharm: int) -> float:
    """ln of the probability that the sum of `nharm` powers of noise exceeds `power`: exp(-S) sum_{k<H} S^k / k!."""
    if power > 1e6:
        # The sum overflows for 32 harmonics; the exponential alone says all.
        return -0.99 * power
    term = 1.0
    total = 1.0
    for k in range(1, nharm):
        term *= power / k
        total += term
    return float(np.log(total)) - power


@kernel(inline=True, helper=True)
def refine(real: Float32s, imag: Float32s, pad: int, r: float, nharm: int, harmonics: Floats) -> float:
    """Fundamental near `r` at which the harmonic sum is largest.

    Parameters
    ----------
    harmonics : ndarray of float64, shape (>= nharm,)
        Filled with the powers of the harmonics there; 0 for those beyond Nyquist.

    Returns
    -------
    float
        Refined bin.
    """
    step = 1.0 / (_STEPS * nharm)
    best = harmonic_power(real, imag, pad, r, nharm)
    at = 0
    for t in range(-_REACH, _REACH + 1):
        s = harmonic_power(real, imag, pad, r + t * step, nharm)
        if s > best:
            best = s
            at = t
    r = r + at * step
    left = harmonic_power(real, imag, pad, r - step, nharm)
    right = harmonic_power(real, imag, pad, r + step, nharm)
    curve = left - 2.0 * best + right
    if curve < 0.0:
        r += step * min(max(0.5 * (left - right) / curve, -0.5), 0.5)
    top = real.shape[0] - 2 * pad - 0.5
    for k in range(1, nharm + 1):
        harmonics[k - 1] = power_at(real, imag, pad, k * r) if k * r <= top else 0.0
    return r


@kernel(helper=True, inline=True)
def frequency_information(harmonics: Floats, nharm: int) -> float:
    """Inverse variance of the bin at which the sum of harmonic powers is largest, in units of that of unit power.

    With A = sum k^2 S_k of the signal's powers S the sum has the curvature A, and a slope that scatters by A (noise
    beating with the signal) and by sum k^2 (noise with itself): A^2 / (A + sum k^2). Only powers above 4 count as
    signal, or the many noise powers of high k would; a signal has no less than its excess power at k = 1.
    """
    excess = 0.0
    signal = 0.0
    noise = 0.0
    for k in range(nharm):
        if harmonics[k] == 0.0:
            continue  # beyond Nyquist
        excess += harmonics[k] - 1.0
        noise += (k + 1) ** 2
        if harmonics[k] > _SURE:
            signal += (k + 1) ** 2 * (harmonics[k] - 1.0)
    signal = max(signal, excess, 1.0)
    return signal * signal / (signal + noise)


@kernel(inline=True, helper=True)
def only_multiples(harmonics: Floats, nharm: int, n: int) -> bool:
    """True if the harmonics that are not multiples of `n` hold no more than noise may."""
    rest = 0.0
    count = 0
    for k in range(1, nharm + 1):
        if k % n != 0:
            rest += harmonics[k - 1]
            count += 1
    return bool(log_tail(rest, count) >= LOGP_OWN)


@kernel(inline=True, helper=True)
def is_submultiple(r: float, nharm: int, harmonics: Floats, bins: Floats) -> bool:
    """True if all the power at `r` belongs to a multiple n r that is itself among the peaks `bins` (ascending).

    A line at f raises the sums at f/2, f/3 ... and 2f/3 too; what tells a true fundamental is power in the harmonics
    that are not multiples of n (p < 1e-4).
    """
    for n in range(2, nharm + 1):
        if only_multiples(harmonics, nharm, n):
            j = first_from(bins, 0, bins.shape[0], n * r - 0.5)
            if j < bins.shape[0] and bins[j] <= n * r + 0.5:
                return True
    return False


@kernel()
def select(
    real: Float32s,
    imag: Float32s,
    pad: int,
    bins: Floats,
    nharm: Ints,
    power: Floats,
    order: Ints,
    out_index: Ints,
    out_bin: Floats,
    out_information: Floats,
) -> int:
    """Keep the best peak of every signal, refined.

    Best first, each peak takes away all others within 1.5 bins, and those within 32 bins that are no stronger than its
    sidelobes can be: L = P / (pi d)^2 at a distance of d bins, and 6 sqrt(L) for the noise that beats with it. Peaks
    that are submultiples of another are left out.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (nbins + 2 pad,)
        White amplitudes, bin r at ``pad + r``.
    bins : ndarray of float64, shape (n,), ascending
        Fundamentals.
    nharm : ndarray of int64, shape (n,)
    power : ndarray of float64, shape (n,)
        Harmonic sums.
    order : ndarray of int64, shape (m,)
        Peaks from the most significant on.
    out_index, out_bin, out_information : ndarrays, shape (most,)
        What is kept: its place in `bins`, refined bin, and `frequency_information`, from which the error follows.

    Returns
    -------
    int
        Number kept.
    """
    n = bins.shape[0]
    gone = np.zeros(n, np.bool_)
    most = 1
    for i in range(n):
        most = max(most, nharm[i])
    harmonics = np.zeros(most, np.float64)
    kept = 0
    for o in range(order.shape[0]):
        i = order[o]
        if gone[i]:
            continue
        if kept == out_index.shape[0]:
            break
        r = refine(real, imag, pad, bins[i], nharm[i], harmonics)
        if not is_submultiple(r, nharm[i], harmonics, bins):
            out_index[kept] = i
            out_bin[kept] = r
            out_information[kept] = frequency_information(harmonics, nharm[i])
            kept += 1
        excess = 0.0
        for k in range(nharm[i]):
            excess += harmonics[k]
        excess = max(excess - nharm[i], 0.0)
        for direction in (-1, 1):
            j = i + direction
            while 0 <= j < n:
                d = abs(bins[j] - r)
                if d > _SIDELOBES and abs(bins[j] - bins[i]) > _SIDELOBES:
                    break
                lobe = excess / (np.pi * d) ** 2 if d > _RADIUS else np.inf
                if power[j] - nharm[j] < lobe + 6.0 * np.sqrt(lobe):
                    gone[j] = True
                j += direction
        gone[i] = True
    return kept


@kernel()
def group(freq: Floats, order: Ints, tolerance: float, label: Ints) -> int:
    """Best first, every element takes those within `tolerance` of it that are still free.

    Parameters
    ----------
    freq : ndarray of float64, shape (n,), ascending
    order : ndarray of int64, shape (n,)
        Elements from the best on.
    tolerance : float
        In the unit of `freq`.
    label : ndarray of int64, shape (n,)
        Filled with the number of the group, counted from the best.

    Returns
    -------
    int
        Number of groups.
    """
    n = freq.shape[0]
    label[:] = -1
    ngroups = 0
    for o in range(n):
        i = order[o]
        if label[i] >= 0:
            continue
        j = i
        while j >= 0 and freq[i] - freq[j] <= tolerance:
            if label[j] < 0:
                label[j] = ngroups
            j -= 1
        j = i + 1
        while j < n and freq[j] - freq[i] <= tolerance:
            if label[j] < 0:
                label[j] = ngroups
            j += 1
        ngroups += 1
    return ngroups


@kernel()
def ratios(
    freq: Floats, err: Floats, nharm: Ints, free: Bools, rows: Ints, root: int, limits: Floats, matches: Ints
) -> int:
    """Those of `rows` whose frequency is a ratio of small integers times that of `root`, within the errors.

    A sum of H powers at m/d of a fundamental holds H/d of its harmonics, so d is at most H. The simplest ratio that
    agrees, smallest d first, is taken.

    Parameters
    ----------
    freq, err : ndarray of float64, shape (n,)
    nharm : ndarray of int64, shape (n,)
    free : ndarray of bool, shape (n,)
        Others are passed over.
    rows : ndarray of int64, shape (nrows,)
    root : int
    limits : ndarray of float64, shape (4,)
        Standard errors allowed; largest m for d = 1; largest m for d > 1; largest d.
    matches : ndarray of int64, shape (nrows, 3)
        Row, m, d of each one found.

    Returns
    -------
    int
        Number found.
    """
    count = 0
    f0 = freq[root]
    for k in range(rows.shape[0]):
        i = rows[k]
        if i == root or not free[i]:
            continue
        ratio = freq[i] / f0
        for d in range(1, min(nharm[i], np.int64(limits[3])) + 1):
            m = np.floor(ratio * d + 0.5)
            if m < 1.0 or m > (limits[1] if d == 1 else limits[2]) or (m == 1.0 and d == 1):
                continue
            x = m / d
            tolerance = limits[0] * np.sqrt(err[i] ** 2 + (x * err[root]) ** 2)
            if abs(freq[i] - x * f0) <= tolerance:
                matches[count, 0] = i
                matches[count, 1] = np.int64(m)
                matches[count, 2] = d
                count += 1
                break
    return count
