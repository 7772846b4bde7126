"""From a series to flat, coarser series: sums of samples, running baseline, noise at several time scales, folding.

A sample that is not there is NaN; a sum of two counts twice the one that is there.
"""

import numpy as np

from pulsar_kernels._jit import kernel, of_series, sample
from pulsar_kernels.arrays import Array, Bools, Float32s, Floats, Int16s, Int32s, Ints

# Samples taken through the first cache at a time.
_CHUNK = 4096
# And over how many a cubic is a straight line, at most.
_PIECE = 256
# No sample beyond this counts as finite.
_FINITE = np.float32(3e38)
# Largest sample of a running sum.
_MOST = np.float32(1e9)
#: Steps of the average of a tone in half of its length.
TONE_STEPS = 16
# S/N from which single pulses are bright.
_BRIGHT = 4.0
#: Samples of a block of noise.
BLOCK = 32
#: So many equal samples are a gap that was filled.
SAME = 64


@kernel()
def sum_pairs(x: Float32s, out: Float32s) -> None:
    """Sums of two samples each; NaN where both are missing.

    Parameters
    ----------
    x : ndarray of float32, shape (>= 2 n,)
    out : ndarray of float32, shape (n,)
    """
    for i in range(out.shape[0]):
        a = x[2 * i]
        b = x[2 * i + 1]
        s = a + b
        s = b + b if a != a else s
        out[i] = a + a if b != b else s


@kernel(inline=True)
def _cubic(trend: Floats, x: float) -> float:
    return float(trend[0] + x * (trend[1] + x * (trend[2] + x * trend[3])))


@kernel()
def _less(x: Array, start: np.float32, slope: np.float32, missing: np.float32, out: Float32s) -> None:
    """Samples minus a straight line; `missing` where they are not finite."""
    for i in range(x.shape[0]):
        value = np.float32(x[i])
        flat = value - (start + slope * np.float32(np.int32(i)))
        out[i] = flat if abs(value) < _FINITE else missing


@kernel(inline=True)
def _convert(part: Array, nsamps: int, trend: Floats, lo: int, out: Float32s) -> None:
    """Samples from `lo` on minus the cubic, as straight lines over short pieces."""
    half = 0.5 * nsamps
    piece = _PIECE if nsamps >= 32 * _PIECE else _PIECE // 8
    n = part.shape[0]
    for at in range(0, n, piece):
        size = min(piece, n - at)
        a = _cubic(trend, (lo + at + 0.5) / half - 1.0)
        b = _cubic(trend, (lo + at + size + 0.5) / half - 1.0)
        slope = np.float32((b - a) / size)
        _less(part[at : at + size], np.float32(a), slope, np.float32(np.nan), out[at : at + size])


@kernel()
def sum_either(ints: Int16s, floats: Float32s, trend: Floats, gaps: Ints, halvings: int, out: Float32s) -> None:
    """Sums of ``2^halvings`` samples each minus a cubic.

    Parameters
    ----------
    ints, floats : ndarray of int16 and of float32, shape (nsamps,)
        The series; one of them is empty. Samples that are not finite are missing, and whole blocks of 64 equal ones.
    trend : ndarray of float64, shape (4,)
        Coefficients of the powers of x = 2 (i + 1/2)/nsamps - 1.
    gaps : ndarray of int64, shape (ngaps, 2)
        First missing sample and the one after the last, in ascending order.
    halvings : int
        0 to 12.
    out : ndarray of float32, shape (nsamps >> halvings,)
        NaN where no sample is there.
    """
    nsamps = ints.shape[0] + floats.shape[0]
    chunk = np.empty(_CHUNK, np.float32)
    halved = np.empty(_CHUNK, np.float32)
    total = out.shape[0] << halvings
    gap = 0
    for lo in range(0, total, _CHUNK):
        n = min(_CHUNK, total - lo)
        if ints.shape[0] > 0:
            _convert(ints[lo : lo + n], nsamps, trend, lo, chunk)
        else:
            _convert(floats[lo : lo + n], nsamps, trend, lo, chunk)
        for k in range(lo, lo + n - SAME + 1, SAME):
            first = sample(ints, floats, k)
            if first == sample(ints, floats, k + 1) and first == sample(ints, floats, k + SAME - 1):
                same = True
                for i in range(k, k + SAME):
                    same &= sample(ints, floats, i) == first
                if same:
                    chunk[k - lo : k - lo + SAME] = np.float32(np.nan)
        while gap < gaps.shape[0] and gaps[gap, 1] <= lo:
            gap += 1
        k = gap
        while k < gaps.shape[0] and gaps[k, 0] < lo + n:
            chunk[max(gaps[k, 0] - lo, 0) : min(gaps[k, 1] - lo, n)] = np.float32(np.nan)
            k += 1
        size = n
        for _ in range(halvings):
            size >>= 1
            sum_pairs(chunk, halved[:size])
            chunk, halved = halved, chunk
        at = lo >> halvings
        for k in range(size):
            out[at + k] = chunk[k]


sum_samples = of_series(sum_either)


@kernel()
def running_sums(x: Float32s, scale: float, out: Int32s) -> None:
    """Sums of the samples before each, times `scale` and rounded; they may go round the range of the integers.

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
        Finite.
    scale : float
        Samples times this are cut down to 1e9.
    out : ndarray of int32, shape (n + 1,)
    """
    factor = np.float32(scale)
    sums = out[1 : x.shape[0] + 1]
    for i in range(x.shape[0]):
        v = x[i] * factor
        v = v if v < _MOST else _MOST
        v = v if v > -_MOST else -_MOST
        sums[i] = np.int32(np.rint(v))
    total = np.int32(0)
    out[0] = total
    for i in range(x.shape[0]):
        total = np.int32(total + sums[i])
        sums[i] = total


@kernel()
def sum_groups(sums: Int32s, size: int, scale: float, out: Int16s) -> None:
    """Sums of `size` samples each, times `scale`, rounded; they saturate.

    Parameters
    ----------
    sums : ndarray of int32, shape (>= size n + 1,)
        Running sums.
    size : int
    scale : float
    out : ndarray of int16, shape (n,)
    """
    part = np.empty(_CHUNK, np.float32)
    factor = np.float32(scale)
    largest = np.float32(32767.0)
    for lo in range(0, out.shape[0], _CHUNK):
        n = min(_CHUNK, out.shape[0] - lo)
        chunk_sums = sums[lo * size : (lo + n) * size + 1]
        before = chunk_sums[0]
        at = 0
        for i in range(n):
            at += size
            after = chunk_sums[at]
            part[i] = np.float32(np.int32(after - before))
            before = after
        row = out[lo : lo + n]
        for i in range(n):
            v = np.rint(part[i] * factor)
            v = v if v < largest else largest
            v = v if v > -largest else -largest
            row[i] = np.int16(np.int32(v))


@kernel(reorder=True)
def _there(x: Float32s) -> tuple[float, int]:
    s = np.float32(0.0)
    n = np.int32(0)
    for i in range(x.shape[0]):
        there = x[i] == x[i]
        s += x[i] if there else np.float32(0.0)
        n += np.int32(there)
    return float(s), int(n)


@kernel()
def block_means(x: Float32s, size: int, out: Floats) -> int:
    """Means of blocks of `size` samples over those that are there, the rest going to the last block.

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
    size : int
    out : ndarray of float64, shape (n // size,)
        NaN where a block has less than a quarter of its samples.

    Returns
    -------
    int
        Samples that are there.
    """
    live = 0
    last = out.shape[0] - 1
    for k in range(out.shape[0]):
        s, n = _there(x[k * size : (k + 1) * size if k < last else x.shape[0]])
        live += n
        out[k] = s / n if 4 * n >= size else np.nan
    return live


@kernel()
def flatten(x: Float32s, size: int, baseline: Floats, out: Float32s) -> None:
    """Samples minus a baseline given at the middles of blocks and straight between them; 0 where they are missing.

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
    size : int
        Samples of a block.
    baseline : ndarray of float64, shape (n // size,)
    out : ndarray of float32, shape (n,)
    """
    n = x.shape[0]
    half = size // 2
    last = baseline.shape[0] - 1
    for k in range(-1, baseline.shape[0]):
        lo = max(k * size + half, 0)
        hi = min((k + 1) * size + half, n) if k < last else n
        a = baseline[max(k, 0)]
        b = baseline[min(k + 1, last)]
        slope = (b - a) / size
        # The middle of a block lies half a sample below an element if its size is even.
        first = a + slope * (lo - (k * size + half) + (0.5 if size % 2 == 0 else 0.0))
        if hi > lo:
            _less(x[lo:hi], np.float32(first), np.float32(slope), np.float32(0.0), out[lo:hi])


@kernel(reorder=True)
def _variance(x: Float32s) -> float:
    s = np.float32(0.0)
    q = np.float32(0.0)
    for i in range(BLOCK):
        v = x[i]
        s += v
        q += v * v
    return float((q - s * s / np.float32(BLOCK)) / np.float32(BLOCK - 1)) if q > np.float32(0.0) else 0.0


@kernel()
def block_variances(x: Float32s, step: int, out: Float32s) -> int:
    """Variances of blocks of 32 samples about their own means; blocks that are all zero are left out.

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
    step : int
        Every so many blocks one is taken.
    out : ndarray of float32, shape (>= n / (32 step),)

    Returns
    -------
    int
        Number of variances.
    """
    count = 0
    for lo in range(0, x.shape[0] - BLOCK + 1, step * BLOCK):
        v = _variance(x[lo : lo + BLOCK])
        if v > 0.0:
            out[count] = np.float32(v)
            count += 1
    return count


@kernel()
def count_beyond(x: Float32s, limit: float) -> int:
    """Number of samples that are larger than `limit`, whatever their sign."""
    n = np.int32(0)
    most = np.float32(limit)
    for i in range(x.shape[0]):
        n += np.int32(abs(x[i]) > most)
    return int(n)


@kernel()
def tame(x: Float32s, sums: Float32s, low: float, high: float) -> None:
    """Scale down groups of samples whose sum is beyond `low` or `high`, and the sum, so that it is just there.

    Parameters
    ----------
    x : ndarray of float32, shape (>= size n,)
        `size` samples belong to each sum.
    sums : ndarray of float32, shape (n,)
    low, high : float
        Below and above 0.
    """
    size = x.shape[0] // sums.shape[0]
    while size & (size - 1):
        size &= size - 1
    for i in range(sums.shape[0]):
        s = sums[i]
        if s > high or s < low:
            limit = high if s > high else low
            factor = np.float32(limit / s)
            for k in range(i * size, (i + 1) * size):
                x[k] *= factor
            sums[i] = np.float32(limit)


@kernel()
def extremes(x: Float32s, low: Float32s, high: Float32s) -> None:
    """Least and largest sample, or 0, of each of as many stretches as `low` and `high` have.

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
    low, high : ndarray of float32, shape (nstretches,)
    """
    count = low.shape[0]
    n = x.shape[0]
    for k in range(count):
        a = np.float32(0.0)
        b = np.float32(0.0)
        part = x[n * k // count : n * (k + 1) // count]
        for i in range(part.shape[0]):
            v = part[i]
            a = v if v < a else a
            b = v if v > b else b
        low[k] = a
        high[k] = b


@kernel(inline=True)
def _bin(i: int, turns_per_sample: float, nbins: int) -> int:
    turns = (i + 0.5) * turns_per_sample
    return int((turns - np.int64(turns)) * nbins)


@kernel()
def fold(x: Float32s, turns_per_sample: float, out: Float32s) -> None:
    """Profiles of as many equal parts of a series as `out` has rows; every sample goes to the bin of its middle.

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
    turns_per_sample : float
    out : ndarray of float32, shape (nparts, nbins)
        Sums of samples, phase 0 at the beginning of the series.
    """
    nparts, nbins = out.shape
    n = x.shape[0]
    out[:] = np.float32(0.0)
    # A sample waits for the one before it in its bin: four parts side by side.
    size = n // nparts
    whole = nparts // 4 * 4
    for p in range(0, whole, 4):
        row0, row1, row2, row3 = out[p], out[p + 1], out[p + 2], out[p + 3]
        a, b, c, d = n * p // nparts, n * (p + 1) // nparts, n * (p + 2) // nparts, n * (p + 3) // nparts
        for i in range(size):
            row0[_bin(a + i, turns_per_sample, nbins)] += x[a + i]
            row1[_bin(b + i, turns_per_sample, nbins)] += x[b + i]
            row2[_bin(c + i, turns_per_sample, nbins)] += x[c + i]
            row3[_bin(d + i, turns_per_sample, nbins)] += x[d + i]
    for p in range(nparts):
        row = out[p]
        for i in range(n * p // nparts + (size if p < whole else 0), n * (p + 1) // nparts):
            row[_bin(i, turns_per_sample, nbins)] += x[i]


@kernel()
def pulse_train(x: Float32s, turns_per_sample: float, profile: Floats, blank: Bools, out: Float32s) -> None:
    """Contribution of a source to a series: its mean profile in every turn, straight between the middles of bins.

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
        Where it is 0 nothing is there.
    turns_per_sample : float
    profile : ndarray of float64, shape (nbins,)
        Per sample, phase 0 at the beginning of the series.
    blank : ndarray of bool, shape (nbins,)
        Phases at which all that is there counts as the source's.
    out : ndarray of float32, shape (n,)
    """
    nbins = profile.shape[0]
    zero = np.float32(0.0)
    for i in range(x.shape[0]):
        turns = (i + 0.5) * turns_per_sample
        place = (turns - np.int64(turns)) * nbins
        if blank[np.int64(place)]:
            out[i] = x[i]
            continue
        place += nbins - 0.5
        k = np.int64(place)
        # A division costs more than all else.
        here = k - nbins if k >= nbins else k
        after = here + 1 if here + 1 < nbins else 0
        a = profile[here]
        value = np.float32(a + (place - k) * (profile[after] - a))
        out[i] = zero if x[i] == zero else value


@kernel()
def drift_snr(parts: Float32s, drifts: Ints, widths: Ints, noise: float, out: Floats) -> None:
    """Largest boxcar S/N of the sum of profiles that drift by so many bins from the first to the last.

    Parameters
    ----------
    parts : ndarray of float32, shape (nparts, nbins)
    drifts : ndarray of int64, shape (ndrifts,)
        Bins by which the last profile is turned back with respect to the first.
    widths : ndarray of int64, shape (nwidths,)
        Below nbins.
    noise : float
        Standard deviation of a bin of the sum.
    out : ndarray of float64, shape (ndrifts, nwidths)
    """
    nparts, nbins = parts.shape
    sums = np.empty(2 * nbins + 1, np.float64)
    total = np.empty(nbins, np.float64)
    tops = np.empty(8, np.float64)
    for d in range(drifts.shape[0]):
        total[:] = 0.0
        for p in range(nparts):
            shift = np.int64(np.floor(drifts[d] * (p + 0.5) / nparts + 0.5)) % nbins
            first = parts[p, shift:]
            for i in range(first.shape[0]):
                total[i] += first[i]
            end = total[nbins - shift :]
            for i in range(shift):
                end[i] += parts[p, i]
        sums[0] = running = 0.0
        for begin in (0, nbins):
            for i in range(nbins):
                running += total[i]
                sums[begin + i + 1] = running
        for k in range(widths.shape[0]):
            w = widths[k]
            # Eight at a time, that do not wait for one another.
            after = sums[w : w + nbins]
            tops[:] = -np.inf
            for i in range(0, nbins - 7, 8):
                for j in range(8):
                    v = after[i + j] - sums[i + j]
                    tops[j] = v if v > tops[j] else tops[j]
            top = tops[0]
            for i in range(nbins // 8 * 8, nbins):
                top = max(top, after[i] - sums[i])
            for j in range(1, 8):
                top = max(top, tops[j])
            out[d, k] = (top - w / nbins * sums[nbins]) / (noise * np.sqrt(w * (1.0 - w / nbins)))


@kernel()
def explained(freq: Floats, snr: Floats, alive: Bools, source: Floats, tobs: float, limits: Floats) -> None:
    """Take away the trials that show nothing but a periodicity that is known.

    Folded at a/b of its frequency a pulse train of S/N S leaves S/sqrt(a b). A trial whose profile drifts by d turns
    through the data sees a pulse of w a/b turns smeared over d: about sqrt(w'/(w' + 0.35 d)) of it, and 1/d of that
    beyond a turn. If single pulses of S/N S/sqrt(m) are seen, some of the m fall on one another at any period, up to
    4 sqrt(m w) + 3 more than the mean by chance: so many times S/sqrt(m m') in a trial of m' turns.

    Parameters
    ----------
    freq, snr : ndarray of float64, shape (n,)
    alive : ndarray of bool, shape (n,)
        Set to False.
    source : ndarray of float64, shape (4,)
        Frequency, S/N, width [turns] of the known one, and variance of its mean pulse over its square.
    tobs : float
        Length of the data in the inverse unit of `freq`.
    limits : ndarray of float64, shape (4,)
        Most of b; S/N from which an expectation counts; tolerated factor and summand.
    """
    f0, s0, w0, variation = source
    most = np.int64(limits[0])
    pulses = f0 * tobs
    single = s0 / np.sqrt(pulses)
    together = min(4.0 * np.sqrt(pulses * w0) + 3.0, 0.7 * pulses) if single > _BRIGHT else 0.0
    for i in range(freq.shape[0]):
        if not alive[i]:
            continue
        floor = single * together / np.sqrt(freq[i] * tobs)
        if floor >= limits[1] and snr[i] <= floor + limits[3]:
            alive[i] = False
            continue
        ratio = freq[i] / f0
        for b in range(1, most + 1):
            a = np.floor(ratio * b + 0.5)
            if a < 1.0:
                continue
            peak = s0 / np.sqrt(a * b)
            if peak < limits[1]:
                break
            # Every b-th pulse alone may be stronger by chance.
            most_of = limits[2] * (1.0 + 3.0 * np.sqrt(variation * b))
            if snr[i] > most_of * peak + limits[3]:
                break
            drift = abs(freq[i] - f0 * a / b) * tobs
            w = min(w0 * a / b, 1.0)
            expected = peak * np.sqrt(w / (w + 0.35 * drift)) / max(drift, 1.0)
            if expected >= limits[1] and snr[i] <= most_of * expected + limits[3]:
                alive[i] = False
                break


@kernel(reorder=True)
def remove_tone(x: Float32s, freq: float, half: int, work: Floats) -> None:
    """Take a narrow line out of a series, in place.

    The series, turned back by the tone, is averaged over about `half` samples on either side (fewer at the ends), and
    that, turned on again, subtracted: a steady tone vanishes to the last sample, whatever is missing. The average moves
    on by `TONE_STEPS`-th parts of `half`. With an average for every sample noise of 1 would come out different by
    1 / sqrt(2 TONE_STEPS half).

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
        What is not finite is missing.
    freq : float
        Turns from one sample to the next.
    half : int
    work : ndarray of float64, shape (3, >= n + 1)
        Space.
    """
    size = max(half // TONE_STEPS, 1)
    beside, count = half // size, (x.shape[0] + size - 1) // size
    turns = 2.0 * np.pi * (freq * np.arange(size + 1))
    cos, sin = np.cos(turns), np.sin(turns)
    work[:, 0] = 0.0
    c, s = 1.0, 0.0
    for i in range(count):
        part = x[i * size : (i + 1) * size]
        re, im, there = 0.0, 0.0, 0
        for j in range(part.shape[0]):
            good = np.abs(part[j]) < _FINITE
            value = np.float64(part[j]) if good else np.float64(0.0)
            re += value * cos[j]
            im += value * sin[j]
            there += 1 if good else 0
        work[0, i + 1] = work[0, i] + re * c - im * s
        work[1, i + 1] = work[1, i] + re * s + im * c
        work[2, i + 1] = work[2, i] + there
        c, s = c * cos[size] - s * sin[size], c * sin[size] + s * cos[size]
    c, s = 1.0, 0.0
    for i in range(count):
        part = x[i * size : (i + 1) * size]
        low, high = max(i - beside, 0), min(i + beside + 1, count)
        scale = 2.0 / max(work[2, high] - work[2, low], 1.0)
        re, im = scale * (work[0, high] - work[0, low]), scale * (work[1, high] - work[1, low])
        re, im = re * c + im * s, im * c - re * s
        for j in range(part.shape[0]):
            part[j] = np.float32(np.float64(part[j]) - re * cos[j] - im * sin[j])
        c, s = c * cos[size] - s * sin[size], c * sin[size] + s * cos[size]
