"""Powers on a grid of half bins, and their harmonic sums with the threshold applied on the way.

The grid of sums is indexed by the TOP harmonic: element i of stage H is a fundamental of i / (2 H) bins and
sums P[round(i k / H)], k = 1 ... H. So no harmonic ever lies beyond Nyquist, each stage adds only the odd
multiples to the stage before, and a block of i touches only H stretches of the powers, which stay in cache.

Sums are made of bytes first, 64 side by side. Only where these say that one may be above its threshold, seldom
elsewhere, are those of floats made, which decide.
"""

from typing import Any

import numpy as np
from numba import types

from pulsar_kernels import whiten
from pulsar_kernels._ir import (
    F32,
    FUSE,
    I8,
    I32,
    I64,
    constant,
    element,
    integer,
    intrinsic,
    lane_bits,
    load,
    lowest_bit,
    picked,
    plus,
    processor_has,
    shuffle,
    splat,
    store,
    summed,
    times,
    vector_of,
)
from pulsar_kernels._jit import aligned, kernel, vector
from pulsar_kernels.arrays import Float32s, Floats, Ints, Uint8s

_BLOCK = 4096
# Bins made white and squared at a time: they stay in the first cache.
_STRETCH = 1024
# Three groups of 32 more: from the multiple of 32 below a block's first neighbour to that above its last.
_ROW = _BLOCK + 96
# Beyond the calibrated low bins only powers above this are worth the logarithm.
_RARE = 6.0
_CHUNK = 64
# Up to here ln(1 + z) is a series.
_SMALL = 0.4


def _half_16_code(builder: Any, args: Any) -> Any:
    vec, words = vector_of(F32, 16), vector_of(I32, 16)
    re, im, at, taps, result, to = args[:6]
    # Three aligned loads, if the planes are, and shuffles: 16 loads across cache lines would take twice the time.
    # As integers, for which the compiler knows the shift by whole elements (half the price of any shuffle).
    loaded = [[load(builder, data, plus(builder, at, offset), words) for offset in (-16, 0, 16)] for data in (re, im)]

    def shifted(plane: int, offset: int) -> Any:
        first, by = divmod(offset + 16, 16)
        if by == 0:
            return builder.bitcast(loaded[plane][first], vec)
        low, high = loaded[plane][first : first + 2]
        return builder.bitcast(shuffle(builder, low, high, [by + k for k in range(16)]), vec)

    def power(a: Any, b: Any) -> Any:
        return builder.fadd(builder.fmul(a, a, flags=FUSE), builder.fmul(b, b, flags=FUSE), flags=FUSE)

    sums: list[Any] = [None, None]
    for j in range(8):
        wide = splat(builder, element(builder, taps, j), 16)
        for n in range(2):
            term = builder.fmul(wide, builder.fsub(shifted(n, 1 + j), shifted(n, -j), flags=FUSE), flags=FUSE)
            sums[n] = term if sums[n] is None else builder.fadd(sums[n], term, flags=FUSE)
    turns = [j // 2 + 16 * (j % 2) for j in range(32)]
    both = shuffle(builder, power(shifted(0, 0), shifted(1, 0)), power(*sums), turns)
    store(builder, both, result, to)
    return lane_bits(builder, builder.fcmp_ordered(">", both, splat(builder, args[6], 32)))


@vector(_half_16_code, returns=types.int64)
def _half_16(
    real: Float32s, imag: Float32s, base: int, weights: Float32s, out: Float32s, at: int, limit: np.float32
) -> int:
    """Powers at the 16 bins from plane element `base` on and at the half bins above them, into ``out[at : at + 32]``.

    The bits of the value returned are those above `limit`. With 8 taps, in vectors: the compiler's own try at the loop
    over bins spends its time on shuffles.
    """
    real_, imag_ = real[base - 7 : base + 24], imag[base - 7 : base + 24]
    x = np.zeros(16)
    y = np.zeros(16)
    for j in range(8):
        x += weights[j] * (real_[8 + j : 24 + j] - real_[7 - j : 23 - j])
        y += weights[j] * (imag_[8 + j : 24 + j] - imag_[7 - j : 23 - j])
    out[at : at + 32 : 2] = real_[7:23] ** 2 + imag_[7:23] ** 2
    out[at + 1 : at + 32 : 2] = x**2 + y**2
    return sum(1 << k for k in range(32) if out[at + k] > limit)


@kernel(inline=True)
def _correct(power: Float32s, lo: int, hi: int, limit: np.float32, rest: float) -> None:
    for i in range(lo, hi):
        if power[i] > limit:
            power[i] = np.float32(np.log1p(rest * power[i]) / rest)


@kernel(reorder=True, helper=True)
def half_bins(
    real: Float32s, imag: Float32s, pad: int, weights: Float32s, rest: float, out: Float32s, lo: int, hi: int
) -> None:
    """Powers at whole and half bins, from bin `lo` to the half bin before `hi`.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (nbins + 2 pad,)
        White amplitudes, bin r at ``pad + r``.
    weights : ndarray of float32, shape (ntaps/2,), ntaps/2 <= pad
        Fourier interpolation at r + 1/2: sum_j w[j] (X[r + 1 + j] - X[r - j]), with w[j] = 1 / (pi (j + 1/2)) scaled
        to unit norm, so that the noise keeps mean 1.
    rest : float
        Large powers are corrected as by `honest` for a noise level from 1/`rest` powers, if that is not 0.
    out : ndarray of float32, shape (2 nbins,)
    lo, hi : int
    """
    ntaps = weights.shape[0]
    limit = np.float32(_RARE if rest > 0.0 else np.inf)
    vectors_end = lo
    if ntaps == 8 and pad >= 16:
        vectors_end = lo + ((hi - lo) & ~15)
        for i in range(lo, vectors_end, 16):
            if _half_16(real, imag, pad + i, weights, out, 2 * i, limit) != 0:
                _correct(out, 2 * i, 2 * i + 32, limit, rest)
    for i in range(vectors_end, hi):
        base = pad + i
        x = np.float32(0.0)
        y = np.float32(0.0)
        for j in range(ntaps):
            x += weights[j] * (real[base + 1 + j] - real[base - j])
            y += weights[j] * (imag[base + 1 + j] - imag[base - j])
        a = real[base]
        b = imag[base]
        out[2 * i] = a * a + b * b
        out[2 * i + 1] = x * x + y * y
    _correct(out, 2 * vectors_end, 2 * hi, limit, rest)


@kernel(reorder=True)
def _log_small(power: Float32s, inverse: Float32s, own_share: Float32s, middle: np.float32, z: Float32s) -> int:
    """ln(1 + z)/v in place, z = v P with the own share undone, by a series that is right to 2e-8 up to _SMALL.

    The number of those beyond is returned, and z.
    """
    unit = np.float32(1.0)
    large = np.int32(0)
    for i in range(power.shape[0]):
        p = power[i]
        x = inverse[i] * p * (unit + own_share[i] if p > middle else unit - own_share[i])
        z[i] = x
        large += np.int32(1) if x > np.float32(_SMALL) else np.int32(0)
        # 2 artanh(x / (2 + x))
        s = x / (np.float32(2.0) + x)
        t = s * s
        series = unit + t * (
            np.float32(1 / 3) + t * (np.float32(1 / 5) + t * (np.float32(1 / 7) + t * np.float32(1 / 9)))
        )
        power[i] = np.float32(2.0) * s * series / inverse[i]
    return int(large)


@kernel(inline=True, helper=True)
def honest(power: Float32s, inverse: Float32s, own_share: Float32s) -> None:
    """Make powers over an uncertain noise level exponential again, in place.

    A power over a level that was itself measured from n powers exceeds P by chance with (1 + P/n)^-n (the F
    distribution with 2 and 2n degrees of freedom); P' = n ln(1 + P/n) exceeds x with exp(-x). Before that, what the
    power itself did to the median is undone: one above the median raised it, one below lowered it.

    Parameters
    ----------
    power, inverse, own_share : ndarray of float32, shape (n,)
        Powers, 1/n, and the fraction by which a power moves its own level.
    """
    middle = np.float32(np.log(2.0))
    z = np.empty(_CHUNK, np.float32)
    for lo in range(0, power.shape[0], _CHUNK):
        n = min(_CHUNK, power.shape[0] - lo)
        if _log_small(power[lo : lo + n], inverse[lo : lo + n], own_share[lo : lo + n], middle, z) > 0:
            for i in range(n):
                if z[i] > np.float32(_SMALL):
                    power[lo + i] = np.float32(np.log1p(np.float64(z[i])) / np.float64(inverse[lo + i]))


@kernel()
def white_powers(
    real: Float32s,
    imag: Float32s,
    pad: int,
    centres: Floats,
    levels: Floats,
    weights: Float32s,
    inverse: Float32s,
    own_share: Float32s,
    rest: float,
    out: Float32s,
) -> None:
    """From the amplitudes of a real series to honest powers of unit noise at half bins.

    A stretch at a time is made white, interpolated and corrected, so that memory is gone through once.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (nbins + 2 pad,), pad >= 1
        Element ``pad + r`` is bin r of the real FFT of an even number of samples, r = 0 ... nbins (the Nyquist bin).
        They are divided by the root of the noise level; bin 0 becomes zero, those beyond both ends are filled in.
    centres, levels : ndarray of float64, shape (nblocks,)
        Natural logarithms of bin number and level at the knots; the level is constant beyond the last.
    weights : ndarray of float32
        See `half_bins`.
    inverse, own_share : ndarray of float32, shape (m,), m even, <= 2 nbins
        See `honest`, for the first m powers.
    rest : float
        1/n of the others, small: applied to large powers only.
    out : ndarray of float32, shape (2 nbins,)
    """
    nbins = real.shape[0] - 2 * pad
    size = whiten.curve_size(nbins + 1, centres.shape[0])
    at = np.empty(size, np.int64)
    value = np.empty(size, np.float64)
    whiten.curve(centres, levels, -0.5, 1.0, nbins + 1, at, value)
    real[pad] = np.float32(0.0)
    imag[pad] = np.float32(0.0)
    reach = -(-weights.shape[0] // 16) * 16
    piece = 0
    white = 1
    written = 0
    m = inverse.shape[0]
    while written < nbins:
        hi = min(max(white, reach) + _STRETCH & ~15, nbins + 1)
        piece = whiten.whiten_bins(real, imag, pad, at, value, piece, white, hi)
        # Mirrored bins are those of the first and the last stretch.
        if white == 1:
            whiten.mirror(real, imag, pad, True)
        if hi == nbins + 1:
            whiten.mirror(real, imag, pad, False)
        white = hi
        end = hi - reach if hi <= nbins else nbins
        low = min(end, m // 2)
        if written < low:
            half_bins(real, imag, pad, weights, 0.0, out, written, low)
            honest(out[2 * written : 2 * low], inverse[2 * written : 2 * low], own_share[2 * written : 2 * low])
            written = low
        half_bins(real, imag, pad, weights, rest, out, written, end)
        written = end


def _sums_32_code(builder: Any, args: Any, count: int) -> Any:
    bits = integer(16)
    data, limits, out = args[0], args[3], args[4]

    def harmonic(k: int, s: int) -> list[Any]:
        """Of each half of the indices."""
        index = [(j * k + (1 << s >> 1)) >> s for j in range(32)]
        at = times(builder, args[1], (32 * k) >> s)
        if index[-1] - index[0] > 15:
            return [picked(builder, data, at, index[:16]), picked(builder, data, at, index[16:])]
        # One load for both: most loads go across cache lines, and take as long as two.
        row = load(builder, data, plus(builder, at, index[0]), vector_of(F32, 16))
        return [shuffle(builder, row, row, [i - index[0] for i in half]) for half in (index[:16], index[16:])]

    def added(one: list[Any], two: list[Any]) -> list[Any]:
        return [builder.fadd(a, b) for a, b in zip(one, two, strict=True)]

    hit = I64(0)
    acc = harmonic(1, 0)
    for s in range(count):
        if s > 0:
            acc = added(acc, summed([harmonic(k, s) for k in range(1, 1 << s, 2)], added))
        limit = splat(builder, element(builder, limits, s), 16)
        for part in range(2):
            store(builder, acc[part], out, plus(builder, plus(builder, args[5], 16 * part), _ROW * s))
            above = builder.bitcast(builder.fcmp_ordered(">", acc[part], limit), bits)
            bit = builder.select(builder.icmp_unsigned("!=", above, bits(0)), I64(1 << s), I64(0))
            hit = builder.or_(hit, bit)
    return hit


@vector(_sums_32_code, literal=2, returns=types.int64)
def _sums_32(power: Float32s, q: int, nstages: int, thresholds: Float32s, sums: Float32s, at: int) -> int:
    """Sums at the grid indices 32 q ... 32 q + 31 of every stage, into 32 elements from ``at + stage _ROW`` on.

    Sixteen neighbouring indices of one harmonic lie within sixteen powers: one load and one shuffle by a constant
    mask give them all, where a loop would gather them one by one. The bits of the value returned are the stages at
    which a sum exceeds its threshold.
    """
    hit = 0
    i = np.arange(32 * q, 32 * q + 32)
    total = power[i].copy()
    for s in range(nstages):
        for k in range(1, 1 << s, 2):
            total += power[(i * k + (1 << s >> 1)) >> s]
        sums[at + _ROW * s : at + _ROW * s + 32] = total
        hit |= int(np.any(total > thresholds[s])) << s
    return hit


@kernel(inline=True)
def _raised_sums(
    nstages: int,
    power: Float32s,
    few: Uint8s,
    q: int,
    groups: int,
    least: Float32s,
    limits: Uint8s,
    whole: bool,
    sums: Float32s,
    hits: Ints,
) -> None:
    """Of `groups` of 32 sums, one after the other, after the one in front, those of stages that may be above `least`.

    All if `whole`. What is beside these and is not made counts as 0, as it is not above.
    """
    # Many arguments: what the loop over blocks holds, handed on as it is.
    stages = np.empty(WIDE // 8, np.int64)
    bits = np.int64(0)
    before = 0
    for g in range(groups + 1):
        if g == groups or whole:
            now = nstages
        else:
            if g & 1:
                bits >>= 32
            elif nstages == 1:
                bits = raised(few, q + g, 1, limits, stages)
            elif nstages == 2:
                bits = raised(few, q + g, 2, limits, stages)
            elif nstages == 3:
                bits = raised(few, q + g, 3, limits, stages)
            elif nstages == 4:
                bits = raised(few, q + g, 4, limits, stages)
            elif nstages == 5:
                bits = raised(few, q + g, 5, limits, stages)
            elif nstages == 6:
                bits = raised(few, q + g, 6, limits, stages)
            now = 0
            if bits & 0xFFFFFFFF:
                at = 4 * (g & 1)
                some = stages[at] | stages[at + 1] | stages[at + 2] | stages[at + 3]
                some |= some >> 32
                some |= some >> 16
                some |= some >> 8
                now = 1
                while some & 0xFF >> now << now:
                    now += 1
        for s in range(before, now):
            sums[s * _ROW + 32 * g + 31] = np.float32(0.0)
        for s in range(now, before):
            sums[s * _ROW + 32 * g + 32] = np.float32(0.0)
        if g == groups:
            break
        hits[g] = 0
        if now == 1:
            hits[g] = _sums_32(power, q + g, 1, least, sums, 32 + 32 * g)
        elif now == 2:
            hits[g] = _sums_32(power, q + g, 2, least, sums, 32 + 32 * g)
        elif now == 3:
            hits[g] = _sums_32(power, q + g, 3, least, sums, 32 + 32 * g)
        elif now == 4:
            hits[g] = _sums_32(power, q + g, 4, least, sums, 32 + 32 * g)
        elif now == 5:
            hits[g] = _sums_32(power, q + g, 5, least, sums, 32 + 32 * g)
        elif now == 6:
            hits[g] = _sums_32(power, q + g, 6, least, sums, 32 + 32 * g)
        before = now


@kernel(inline=True)
def _sums_plain(power: Float32s, start: int, stop: int, nstages: int, sums: Float32s, at: int) -> None:
    """The same one by one, where the grid ends."""
    for i in range(start, stop):
        total = power[i]
        sums[0, at + i - start] = total
        for s in range(1, nstages):
            half = 1 << (s - 1)
            for k in range(1, 1 << s, 2):
                total += power[(i * k + half) >> s]
            sums[s, at + i - start] = total


def _maxima_32_code(builder: Any, args: Any) -> Any:
    before, here, after = (load(builder, args[0], plus(builder, args[1], k), vector_of(F32, 32)) for k in (-1, 0, 1))
    above = builder.fcmp_ordered(">", here, splat(builder, args[2], 32))
    highest = builder.and_(builder.fcmp_ordered(">=", here, before), builder.fcmp_ordered(">", here, after))
    return lane_bits(builder, builder.and_(above, highest))


@vector(_maxima_32_code, returns=types.int64)
def _maxima_32(sums: Float32s, at: int, threshold: np.float32) -> int:
    """The bits of those of 32 sums from `at` on that are above a threshold and local maxima."""
    x = sums[at - 1 : at + 33]
    good = (x[1:-1] > threshold) & (x[1:-1] >= x[:-2]) & (x[1:-1] > x[2:])
    return sum(1 << t for t in range(32) if good[t])


@vector(lambda builder, args: lowest_bit(builder, args[0]), returns=types.int64)
def _lowest(bits: int) -> int:
    """Number of the lowest bit that is set, of which one is."""
    return int(bits & -bits).bit_length() - 1


@kernel(inline=True)
def _peaks(
    sums: Float32s,
    start: int,
    lo: int,
    hi: int,
    limits: Ints,
    stage: Ints,
    thresholds: Float32s,
    hits: Ints,
    nhits: int,
    index: Ints,
    ranges: Ints,
    power: Float32s,
) -> int:
    """Append the local maxima above the threshold of every range in lo <= grid index < hi; count on when full.

    The sums of a stage are from element ``32 + stage _ROW`` on, and the first one has the grid index `start`. Of 32
    sums only those are gone through where the bit of the stage in ``hits`` says that one is above.
    """
    # Many arguments: what the loop over blocks holds, handed on as it is.
    capacity = index.shape[0]
    for g in range((lo - start) >> 5, (hi - start + 31) >> 5):
        if hits[g] == 0:
            continue
        for r in range(thresholds.shape[0]):
            if hits[g] >> stage[r] & 1 == 0:
                continue
            # A sum that has no neighbour before it is none.
            first = max(lo, limits[r, 0], 1)
            last = min(hi, limits[r, 1])
            at = start + 32 * g
            if first >= at + 32 or last <= at:
                continue
            row = 32 + stage[r] * _ROW + 32 * g
            bits = _maxima_32(sums, row, thresholds[r]) & (np.int64(1) << min(last - at, 32)) - 1
            bits = bits >> max(first - at, 0) << max(first - at, 0)
            while bits != 0:
                if nhits < capacity:
                    index[nhits] = at + _lowest(bits)
                    ranges[nhits] = r
                    power[nhits] = sums[row + _lowest(bits)]
                nhits += 1
                bits &= bits - 1
    return nhits


@kernel()
def harmonic_peaks(
    power: Float32s, limits: Ints, thresholds: Float32s, few: Uint8s, index: Ints, ranges: Ints, peak_power: Float32s
) -> int:
    """Local maxima above threshold of the sums of 1, 2, 4 ... harmonics.

    Parameters
    ----------
    power : ndarray of float32, shape (nhalf,)
        Powers at half bins.
    limits : ndarray of int64, shape (nranges, 2) or (nranges, 3)
        First and last + 1 index of the top harmonic, and the stage (2**stage harmonics) of every range that is
        searched; without the third column range s is that of stage s. Ranges may overlap.
    thresholds : ndarray of float32, shape (nranges,)
    few : ndarray of uint8, shape (>= nhalf + 128,)
        Overwritten.
    index, ranges, peak_power : ndarrays, shape (capacity,)
        The peaks found, and in which range; those of a range ascend, and an index comes before its multiples in
        later ranges.

    Returns
    -------
    int
        Peaks there are; more than the capacity means that the surplus was not stored.
    """
    nhalf = power.shape[0]
    nranges = thresholds.shape[0]
    stage = np.empty(nranges, np.int64)
    nstages = 0
    first = nhalf
    last = 0
    highest = np.float32(1e-3)
    for r in range(nranges):
        stage[r] = limits[r, 2] if limits.shape[1] > 2 else r
        nstages = max(nstages, stage[r] + 1)
        if limits[r, 1] > limits[r, 0]:
            first = min(first, limits[r, 0])
            last = max(last, limits[r, 1])
            highest = max(highest, thresholds[r])
    # Of the highest threshold three quarters are a byte of 255: of noise nothing else is there.
    scale = np.float32(340.0) / highest
    limit = np.empty(WIDE * nstages, np.uint8)
    few[nhalf:] = 0
    bytes_to = 0
    every = (1 << nstages) - 1
    # A group more in front, whose last element is looked at.
    sums = aligned(nstages * _ROW + 32)
    rows = sums[32:].reshape(nstages, _ROW)
    least = np.empty(nstages, np.float32)
    hits = np.empty(_ROW // 32 + 1, np.int64)
    nhits = 0
    for lo in range(first, last, _BLOCK):
        # One neighbour on either side, so that a maximum at the edge of the block is judged once, rightly.
        start = max(lo - 1, 0) & ~31
        stop = min(lo + _BLOCK + 1, nhalf)
        end = min(lo + _BLOCK, last)
        # Groups whose loads (16 powers each) end within the array.
        groups = max(min(stop - start + 31, nhalf - start) >> 5, 0)
        q = start >> 5
        # Sums of more harmonics are made no further than they are looked at.
        here = 0
        least[:] = np.float32(np.inf)
        for r in range(nranges):
            if end > limits[r, 0] and lo < limits[r, 1]:
                here = max(here, stage[r] + 1)
                least[stage[r]] = min(least[stage[r]], thresholds[r])
        if here == 0:
            continue
        known = min(start + 32 * groups + WIDE, nhalf)
        to_bytes(power[bytes_to:known], scale, few[bytes_to:known])
        bytes_to = known
        whole = limits_of(least[:here], scale, limit)
        if here <= 6:
            _raised_sums(here, power, few, q, groups, least, limit, whole, sums, hits)
        else:
            groups = 0
        vectors_end = start + 32 * groups
        hits[groups:] = every
        if vectors_end < stop:
            _sums_plain(power, vectors_end, stop, here, rows, 32 * groups)
        rows[:, stop - start] = np.float32(0.0)
        end = min(end, stop)
        nhits = _peaks(sums, start, lo, end, limits, stage, thresholds, hits, nhits, index, ranges, peak_power)
    return nhits


#: Sums side by side.
WIDE = 64
# Of them so many come by one load and one shuffle: 64 bytes are shuffled by one instruction with VBMI only.
_PIECE = WIDE if processor_has("avx512vbmi") else 16


def _raised_code(builder: Any, args: Any, count: int) -> Any:
    vec = vector_of(I8, WIDE)
    data, q, _, limits, stages = args
    total = None
    above = nothing = constant(vec, 0)
    for s in range(count):
        for k in range(1, 1 << s, 2) if s else (1,):
            index = [(j * k + (1 << s >> 1)) >> s for j in range(WIDE)]
            value = picked(builder, data, times(builder, q, (32 * k) >> s), index, _PIECE)
            total = value if total is None else intrinsic(builder, "uadd.sat", total, value)
        excess = intrinsic(builder, "usub.sat", total, load(builder, limits, WIDE * s, vec))
        bit = builder.select(builder.icmp_unsigned("!=", excess, nothing), constant(vec, 1 << s), nothing)
        above = builder.or_(above, bit)
    store(builder, above, stages, 0)
    return lane_bits(builder, builder.icmp_unsigned("!=", above, nothing))


@vector(_raised_code, literal=2, returns=types.int64)
def raised(few: Uint8s, q: int, nstages: int, limits: Uint8s, stages: Ints) -> int:
    """Where sums exceed the limits of their stages, among the grid indices 32 q ... 32 q + 63.

    Of `limits` there are 64 for each stage, all the same. Sums are 255 at most. The bits of the stages at which one
    does are a byte of `stages` for each index; the bits of the value returned are the indices.
    """
    i = np.arange(32 * q, 32 * q + WIDE)
    total = np.zeros(WIDE, np.int64)
    above = stages.view(np.uint8)
    above[:] = 0
    for s in range(nstages):
        for k in range(1, 1 << s, 2) if s else (1,):
            total += few[(i * k + (1 << s >> 1)) >> s]
        above[np.minimum(total, 255) > limits[WIDE * s]] |= 1 << s
    return sum(1 << j for j in range(WIDE) if above[j])


@kernel(inline=True, helper=True)
def to_bytes(power: Float32s, scale: np.float32, few: Uint8s) -> None:
    """Powers times `scale`, rounded, 255 at most."""
    for i in range(power.shape[0]):
        few[i] = np.uint8(np.int32(min(power[i] * scale + np.float32(0.5), np.float32(255.0))))


@kernel(inline=True, helper=True)
def limits_of(thresholds: Float32s, scale: np.float32, limits: Uint8s) -> bool:
    """What sums of bytes exceed wherever those of floats exceed `thresholds`; True if there is no such number."""
    none = False
    for s in range(thresholds.shape[0]):
        # A byte is half a unit less than its power at most, and floats are rounded.
        least = np.floor(min(np.float64(scale) * np.float64(thresholds[s]) - 0.5 * (1 << s) - 0.01, 255.0))
        none |= least < 1.0
        limits[WIDE * s : WIDE * (s + 1)] = np.uint8(max(least, 1.0) - 1.0)
    return none
