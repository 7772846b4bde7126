"""The trend of a series, and the noise level of its spectrum from medians of blocks of powers.

All passes are bound by memory: medians look twice only at what lies near the median of the block before, a tenth of
the powers, and the level is evaluated at few bins with straight lines in between.
"""

from typing import Any

import numpy as np
from numba import types

from pulsar_kernels._ir import F32, I64, compress, compress_few, integer, load, processor_has, splat, vector_of
from pulsar_kernels._jit import kernel, vector
from pulsar_kernels.arrays import Array, Complex64s, Float32s, Floats, Int16s, Ints
from pulsar_kernels.order import quickselect

_LANES = 16
# Those of 16 values that lie in a range are written by one instruction where there is one; elsewhere so many at a time:
# a median takes half as long as with LLVM's substitute for that instruction (2, 3 and 4 are equal).
_COMPRESSES = processor_has("avx512f")
_SEVERAL = 4
# So few values are partitioned without further ado.
_FEW = 48

# Widest step [bins] at which the level is evaluated.
_WIDEST_STEP = 512
# Farthest place off the diagonal at which the smoother is not zero.
_BAND = 2


@kernel(reorder=True, inline=True)
def _finite_sum(x: Array, origin: np.float32) -> tuple[float, int]:
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


@kernel()
def integer_means(series: Int16s, out: Floats) -> None:
    """Mean of each of ``len(out)`` equal stretches of `series`, as by `block_means` in half the time.

    Parameters
    ----------
    series : ndarray of int16, shape (n,), n >= nblocks
    out : ndarray of float64, shape (nblocks,)
    """
    n = series.shape[0]
    nblocks = out.shape[0]
    for b in range(nblocks):
        part = series[b * n // nblocks : (b + 1) * n // nblocks]
        total = 0
        for i in range(part.shape[0]):
            total += int(part[i])
        out[b] = total / part.shape[0]


@kernel(reorder=True)
def block_means(series: Array, out: Floats) -> None:
    """Mean of the finite samples of each of ``len(out)`` equal stretches of `series` (NaN where there is none).

    Parameters
    ----------
    series : ndarray of float32, shape (n,)
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
def detrend(series: Array, coeffs: Floats, out: Float32s) -> None:
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
def planes(spec: Complex64s, pad: int, real: Float32s, imag: Float32s) -> None:
    """Copy amplitudes to two planes, bin r to element ``pad + r``."""
    parts = spec.view(np.float32)
    for r in range(spec.shape[0]):
        real[pad + r] = parts[2 * r]
        imag[pad + r] = parts[2 * r + 1]


@kernel(reorder=True, helper=True)
def powers(real: Float32s, imag: Float32s, out: Float32s) -> None:
    """Squared moduli of the first ``len(out)`` amplitudes."""
    for r in range(out.shape[0]):
        out[r] = real[r] * real[r] + imag[r] * imag[r]


def _between_code(builder: Any, args: Any) -> Any:
    x, at, lo, hi, out, to = args
    vec = vector_of(F32, _LANES)
    lo, hi = splat(builder, lo, _LANES), splat(builder, hi, _LANES)

    def number(mask: Any) -> Any:
        return builder.zext(builder.ctpop(builder.bitcast(mask, integer(_LANES))), I64)

    value = load(builder, x, at, vec)
    below = builder.fcmp_ordered("<=", value, lo)
    inside = builder.and_(builder.fcmp_ordered(">", value, lo), builder.fcmp_ordered("<=", value, hi))
    if _COMPRESSES:
        compress(builder, value, inside, out, to)
    else:
        compress_few(builder, builder.gep(x, [at]), inside, out, to, _SEVERAL)
    return builder.add(number(below), builder.shl(number(inside), I64(32)))


@vector(_between_code, returns=types.int64)
def _between_16(x: Float32s, at: int, lo: np.float32, hi: np.float32, out: Float32s, to: int) -> int:
    """Write those of 16 values that lie in (lo, hi] to ``out[to:]``, which is overwritten up to ``to + 16``.

    The number of those up to `lo` is returned, and in the upper half of the bits that of those written.
    """
    part = x[at : at + _LANES]
    inside = part[(part > lo) & (part <= hi)]
    out[to : to + len(inside)] = inside
    return int(np.sum(part <= lo)) + (len(inside) << 32)


@kernel(inline=True)
def _between(x: Float32s, n: int, lo: np.float32, hi: np.float32, out: Float32s) -> tuple[int, int]:
    """How many of ``x[:n]`` are no more than `lo`, and how many lie in (lo, hi]; these are written to `out`."""
    below = 0
    inside = 0
    vectors_end = n & -_LANES
    for i in range(0, vectors_end, _LANES):
        both = _between_16(x, i, lo, hi, out, inside)
        below += both & 0xFFFFFFFF
        inside += both >> 32
    for i in range(vectors_end, n):
        v = x[i]
        out[inside] = v
        below += 1 if v <= lo else 0
        inside += 1 if (v > lo) & (v <= hi) else 0
    return below, inside


@kernel(inline=True, helper=True)
def select_kth(x: Float32s, k: int, guess: float, width: float, work: Float32s) -> float:
    """The k-th smallest (from 0) of `x`, exactly.

    Only what lies within the fraction `width` of `guess` is looked at again, if the value is found to lie there, and of
    that only what lies where the value is expected, as long as there are many. Otherwise all of `x` is partitioned.
    NaN is not allowed.

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
    k : int
    guess, width : float
    work : ndarray of float32, shape (>= 2 n + 32,)
        Overwritten.
    """
    n = x.shape[0]
    first = work[: n + _LANES]
    second = work[n + _LANES :]
    lo = np.float32(guess * (1.0 - width))
    hi = np.float32(guess * (1.0 + width))
    below, inside = _between(x, n, lo, hi, first)
    if not below <= k < below + inside:
        for i in range(n):
            first[i] = x[i]
        return quickselect(first, n, k)
    k -= below
    while inside > _FEW:
        # The values lie evenly in a narrow range: the k-th at k/n of it, give or take half the root of n in rank.
        rank = 1.5 / np.sqrt(inside)
        place = (k + 0.5) / inside
        span = np.float64(hi) - np.float64(lo)
        at = np.float64(lo)
        lo = np.float32(at + span * max(place - rank, 0.0))
        hi = np.float32(at + span * min(place + rank, 1.0))
        below, fewer = _between(first, inside, lo, hi, second)
        if fewer == inside or not below <= k < below + fewer:
            break
        k -= below
        inside = fewer
        first, second = second, first
    return quickselect(first, inside, k)


@kernel(inline=True)
def _widest(edges: Ints) -> int:
    widest = 0
    for b in range(edges.shape[0] - 1):
        widest = max(widest, edges[b + 1] - edges[b])
    return widest


@kernel(inline=True)
def _median(power: Float32s, guess: float, work: Float32s) -> float:
    n = power.shape[0]
    # Medians of n exponentials scatter by 1.44 / sqrt(n), and so does the one before.
    return select_kth(power, (n - 1) // 2, guess, min(5.0 / np.sqrt(n), 0.9), work)


@kernel(inline=True, helper=True)
def block_medians(power: Float32s, edges: Ints, out: Floats) -> None:
    """Median of the powers of every block ``[edges[b], edges[b+1])`` (lower one of the two middle ones for even n).

    Parameters
    ----------
    power : ndarray of float32, shape (nbins,)
    edges : ndarray of int64, shape (nblocks + 1,)
    out : ndarray of float64, shape (nblocks,)
    """
    work = np.empty(2 * _widest(edges) + 2 * _LANES, np.float32)
    guess = 1.0
    for b in range(out.shape[0]):
        guess = _median(power[edges[b] : edges[b + 1]], guess, work)
        out[b] = guess


@kernel(helper=True)
def amplitude_medians(real: Float32s, imag: Float32s, pad: int, edges: Ints, out: Floats) -> None:
    """The same of the squared moduli of amplitudes, bin r at element ``pad + r``."""
    widest = _widest(edges)
    power = np.empty(widest, np.float32)
    work = np.empty(2 * widest + 2 * _LANES, np.float32)
    guess = 1.0
    for b in range(out.shape[0]):
        n = edges[b + 1] - edges[b]
        powers(real[pad + edges[b] :], imag[pad + edges[b] :], power[:n])
        guess = _median(power[:n], guess, work)
        out[b] = guess


@kernel(inline=True, helper=True)
def curve(centres: Floats, levels: Floats, power: float, farthest: float, nbins: int, at: Ints, value: Floats) -> int:
    """A power of the noise level at so many bins that straight lines in between will do.

    These are the bins next to the knots and others a 64th of their number apart, 512 bins at most.

    Parameters
    ----------
    centres, levels : ndarray of float64, shape (nblocks,)
        Natural logarithms of bin number and level at the knots; the first segment goes on below them.
    power : float
    farthest : float
        The last segment goes on to this multiple of its length.
    nbins : int
        The last bin.
    at, value : ndarray, shape (>= curve_size(nbins, nblocks),)
        Filled with the bins from 1 to `nbins`, and the values there.

    Returns
    -------
    int
        Number of bins.
    """
    nblocks = centres.shape[0]
    b = 0
    knot = int(np.exp(centres[min(1, nblocks - 1)]))
    r = 1
    count = 0
    while True:
        x = np.log(np.float64(r))
        while b < nblocks - 2 and x > centres[b + 1]:
            b += 1
            knot = int(np.exp(centres[b + 1]))
        level = levels[0]
        if nblocks > 1:
            t = min((x - centres[b]) / (centres[b + 1] - centres[b]), farthest)
            level = levels[b] + (levels[b + 1] - levels[b]) * t
        at[count] = r
        value[count] = np.exp(power * level)
        count += 1
        if r >= nbins:
            return count
        step = min(max(r >> 6, 1), _WIDEST_STEP)
        # The bins on either side of a knot belong to different lines.
        if r < knot:
            step = min(step, knot - r)
        elif r == knot:
            step = 1
        r = min(r + step, nbins)


@kernel(inline=True)
def curve_size(nbins: int, nblocks: int) -> int:
    """Room that is enough for `curve`."""
    return 1024 + nbins // _WIDEST_STEP + 2 * nblocks


@kernel(reorder=True)
def _times(x: Float32s, first: np.float32, slope: np.float32) -> None:
    for i in range(x.shape[0]):
        x[i] *= first + slope * np.float32(i)


@kernel(inline=True, helper=True)
def flatten(power: Float32s, centres: Floats, levels: Floats) -> None:
    """Divide `power` in place by the level, log-log linear between knots; bin 0 is left alone.

    Parameters
    ----------
    power : ndarray of float32, shape (nbins,)
    centres, levels : ndarray of float64, shape (nblocks,)
        Natural logarithms of bin number and level at the knots; beyond the ends the last segment goes on.
    """
    nbins = power.shape[0]
    size = curve_size(nbins, centres.shape[0])
    at = np.empty(size, np.int64)
    value = np.empty(size, np.float64)
    count = curve(centres, levels, -1.0, np.inf, nbins, at, value)
    for i in range(count - 1):
        slope = (value[i + 1] - value[i]) / (at[i + 1] - at[i])
        _times(power[at[i] : at[i + 1]], np.float32(value[i]), np.float32(slope))


@kernel(inline=True)
def _logs(medians: Floats, log_bias: Floats, out: Floats) -> bool:
    """ln(level) of blocks; one without power (a band that was filtered away) takes the highest level of all."""
    highest = 0.0
    for b in range(medians.shape[0]):
        if highest < medians[b] < np.inf:
            highest = medians[b]
    if highest == 0.0:
        return False
    for b in range(medians.shape[0]):
        good = 0.0 < medians[b] < np.inf
        out[b] = np.log(medians[b] if good else highest) - log_bias[b]
    return True


@kernel(inline=True)
def _smooth(smoother: Floats, x: Floats, out: Floats) -> None:
    n = x.shape[0]
    for b in range(n):
        out[b] = 0.0
        for k in range(max(b - _BAND, 0), min(b + _BAND + 1, n)):
            out[b] += smoother[b, k] * x[k]


@kernel()
def noise_levels(
    real: Float32s,
    imag: Float32s,
    pad: int,
    edges: Ints,
    centres: Floats,
    log_bias: Floats,
    smoother: Floats,
    nsteep: int,
    medians: Floats,
    out: Floats,
) -> bool:
    """Natural logarithm of the noise level of a spectrum at knots, from medians of blocks, smoothed.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (>= pad + nbins,)
        Amplitudes, bin r at ``pad + r``.
    edges : ndarray of int64, shape (nblocks + 1,)
    centres : ndarray of float64, shape (nblocks,)
        The knots: natural logarithms of bin number.
    log_bias : ndarray of float64, shape (nblocks,)
        Taken off the logarithms of the medians.
    smoother : ndarray of float64, shape (nblocks, nblocks)
        Zero more than two places off the diagonal.
    nsteep : int
        In so many blocks the level may be steep: their medians are taken again after division by the first estimate.
    medians : ndarray of float64, shape (nblocks,)
        Median power of each block; NaN in the first ones, as many as are to be measured, where it is filled in.
    out : ndarray of float64, shape (nblocks,)

    Returns
    -------
    bool
        False when there is no power at all.
    """
    nblocks = out.shape[0]
    logs = np.empty(nblocks, np.float64)
    new = 0
    while new < nblocks and np.isnan(medians[new]):
        new += 1
    amplitude_medians(real, imag, pad, edges[: new + 1], medians[:new])
    if not _logs(medians, log_bias, logs):
        return False
    _smooth(smoother, logs, out)
    power = np.empty(edges[nsteep], np.float32)
    powers(real[pad:], imag[pad:], power)
    flatten(power, centres, out)
    flat = np.empty(nsteep, np.float64)
    block_medians(power, edges[: nsteep + 1], flat)
    again = np.empty(nsteep, np.float64)
    if _logs(flat, log_bias[:nsteep], again):
        for b in range(nsteep):
            logs[b] = out[b] + again[b]
    _smooth(smoother, logs, out)
    return True


@kernel(inline=True, helper=True)
def whiten_bins(real: Float32s, imag: Float32s, pad: int, at: Ints, value: Floats, piece: int, lo: int, hi: int) -> int:
    """Multiply the amplitudes of the bins lo <= r < hi by a `curve`.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (nbins + 2 pad,)
        Element ``pad + r`` is bin r.
    at, value : ndarray
        The curve.
    piece : int
        Where in the curve bin `lo` lies.
    lo, hi : int

    Returns
    -------
    int
        Where in the curve bin `hi` lies.
    """
    while lo < hi:
        end = min(at[piece + 1], hi)
        slope = (value[piece + 1] - value[piece]) / (at[piece + 1] - at[piece])
        first = np.float32(value[piece] + slope * (lo - at[piece]))
        _times(real[pad + lo : pad + end], first, np.float32(slope))
        _times(imag[pad + lo : pad + end], first, np.float32(slope))
        lo = end
        if end == at[piece + 1]:
            piece += 1
    return piece


@kernel(inline=True, helper=True)
def mirror(real: Float32s, imag: Float32s, pad: int, lower: bool) -> None:
    """Fill in the bins below 0, ``X[-j] = conj X[j]``, or beyond Nyquist, ``X[nbins + j] = conj X[nbins - j]``.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (nbins + 2 pad,), pad >= 1
        Element ``pad + r`` is bin r of the real FFT of an even number of samples, r = 0 ... nbins (the Nyquist bin).
    pad : int
    lower : bool
        Which.
    """
    nbins = real.shape[0] - 2 * pad
    for j in range(1, pad + 1):
        if lower:
            k = min(j, nbins - 1)
            real[pad - j] = real[pad + k]
            imag[pad - j] = -imag[pad + k]
        elif j < pad:
            k = max(nbins - j, 0)
            real[pad + nbins + j] = real[pad + k]
            imag[pad + nbins + j] = -imag[pad + k]


@kernel()
def whiten_amplitudes(real: Float32s, imag: Float32s, pad: int, centres: Floats, levels: Floats) -> None:
    """Divide the amplitudes of a real series by the root of the noise level, in place.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (nbins + 2 pad,), pad >= 1
        Element ``pad + r`` is bin r, r = 0 ... nbins; bin 0 becomes zero, those beyond both ends are filled in.
    centres, levels : ndarray of float64, shape (nblocks,)
        Natural logarithms of bin number and level at the knots; the level is constant beyond the last.
    """
    nbins = real.shape[0] - 2 * pad
    size = curve_size(nbins + 1, centres.shape[0])
    at = np.empty(size, np.int64)
    value = np.empty(size, np.float64)
    curve(centres, levels, -0.5, 1.0, nbins + 1, at, value)
    real[pad] = np.float32(0.0)
    imag[pad] = np.float32(0.0)
    whiten_bins(real, imag, pad, at, value, 0, 1, nbins + 1)
    mirror(real, imag, pad, True)
    mirror(real, imag, pad, False)
