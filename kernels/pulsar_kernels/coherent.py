"""Profiles of trial frequencies from complex amplitudes, and the best pulse in each.

The amplitudes of the harmonics k r of a trial r are interpolated between bins and transformed to a profile, in which
pulses of all phases and of a ladder of widths are looked for. 32 trials go side by side: 16 lanes, and the profiles of
two trials as the real and the imaginary part of one transform. All that a group of trials needs stays in the cache.
"""

from typing import Any, NamedTuple

import numpy as np

from pulsar_kernels._ir import (
    F32,
    FUSE,
    I64,
    element,
    load,
    plus,
    shuffle,
    steps,
    store,
    summed,
    times,
    variable,
    vector_of,
)
from pulsar_kernels._jit import aligned, kernel, vector
from pulsar_kernels.arrays import Float32s, Floats, Ints, Uint8s
from pulsar_kernels.lanes import ELEMENT, LANES, factors, passes, slots, twiddles

#: Trials side by side.
SIDE = 2 * LANES
#: Taps of the interpolation between bins; 16 keep 97.5 % of the power of a line halfway between two, 99 % on average.
TAPS = 16
# Steps of a bin at which their weights are tabulated, a power of two: a line is at most 1/128 bin from one.
_STEPS_LOG2 = 6
_STEPS = 1 << _STEPS_LOG2
# Bits behind the point of a trial's bin: the 127th harmonic is known to 1e-4 bins.
_FINE = 20
#: Pulses at each scale: the profile there times 1 + z, (1 + z)^2, (1 + z)^3, z a turn by a bin.
SHAPES = 3
#: Fewest bins of a profile that pulses are looked for in.
LEAST_BINS = 8


class Ladder(NamedTuple):
    """Weights and scales of profiles of `nbins` bins from `nharm` harmonics."""

    nharm: int
    nbins: int
    radix: Ints
    twiddle: Float32s
    weights: Float32s
    scales: Float32s


def responses(nharm: int, nbins: int) -> Floats:
    """Amplitudes of the harmonics 1 ... nharm of every pulse of a ladder, shape (npulses, nharm).

    The first pulse has equal amplitudes. At each scale there are the binomial pulses 1 1, 1 2 1 and 1 3 3 1; every
    second bin of the profile with 1 2 1 is that of the next, down to LEAST_BINS. Nearly Gaussian, they lose less to
    pulses as they are than boxes do (6 % for a Gaussian one).
    """
    k = np.arange(1, nharm + 1)
    rows = [np.ones(nharm)]
    now = np.ones(nharm)
    n = nbins
    while n >= LEAST_BINS:
        step = 2.0 * np.cos(np.pi * k / n)
        rows += [now * step**j for j in range(1, SHAPES + 1)]
        now = now * step**2
        n //= 2
    return np.array(rows)


def interpolation() -> Float32s:
    """Weights of the bins n - 7 ... n + 8 for the amplitude at n + f / 64, shape (128 * 16,), of unit norm.

    Rows are f for even n, then f for odd n: sinc, with the sign that has phases refer to the middle of the data. There
    they do not change with the fraction of a bin.
    """
    taps = np.arange(1 - TAPS // 2, 1 + TAPS // 2)
    w = np.sinc(np.arange(_STEPS)[:, None] / _STEPS - taps) * (-1.0) ** taps
    w /= np.sqrt(np.sum(w**2, axis=1, keepdims=True))
    return np.concatenate([w, -w]).astype(np.float32).ravel()


def make_ladder(nharm: int, nbins: int) -> Ladder:
    """Tables for profiles of `nbins` bins, a power of two from 8 on and more than twice `nharm`.

    With amplitudes of mean power 1, phases independent, a pulse of responses R_k has the variance 2 sum R_k^2: the
    inverse of its root is its scale.
    """
    scales = 1.0 / np.sqrt(2.0 * np.sum(responses(nharm, nbins) ** 2, axis=1))
    radix = factors(nbins)
    return Ladder(
        nharm, nbins, np.array(radix, dtype=np.int64), twiddles(radix), interpolation(), scales.astype(np.float32)
    )


def _dots_code(builder: Any, args: Any) -> None:
    wide = vector_of(F32, TAPS)
    real, imag, weights, base, row, at, re, im, to = args

    def add(a: Any, b: Any, first: list[int], second: list[int]) -> Any:
        parts = [shuffle(builder, a, b, order) for order in (first, second)]
        return builder.fadd(*parts, flags=FUSE)

    def product(data: Any, t: int) -> Any:
        first, weight_row = (element(builder, table, plus(builder, at, t)) for table in (base, row))
        return builder.fmul(load(builder, data, first, wide), load(builder, weights, weight_row, wide), flags=FUSE)

    def halves(data: Any, t: int) -> Any:
        # Of two trials the sums of the halves, in one register.
        lower, upper = [*range(8), *range(16, 24)], [*range(8, 16), *range(24, 32)]
        return add(product(data, t), product(data, t + 8), lower, upper)

    def pairs(a: Any, b: Any) -> Any:
        even = [16 * (k // 2 % 2) + 4 * (k // 4) + 2 * (k % 2) for k in range(16)]
        return add(a, b, even, [k + 1 for k in even])

    for data, out in ((real, re), (imag, im)):
        # Quarters of a register have sums of quarters of four trials then.
        low, high = (summed([halves(data, t + k) for k in range(4)], pairs) for t in (0, 4))
        quarters = [k % 4 + 8 * (k // 8) + 16 * (k // 4 % 2) for k in range(16)]
        store(builder, add(low, high, quarters, [k + 4 for k in quarters]), out, to)


@vector(_dots_code)
def _dots(
    real: Float32s,
    imag: Float32s,
    weights: Float32s,
    base: Ints,
    row: Ints,
    at: int,
    re: Float32s,
    im: Float32s,
    to: int,
) -> None:
    """Of 16 trials from `at` on, sums of the 16 elements from `base` on times the weights from element `row` on.

    They go to elements `to` ... of `re` and `im`. Sixteen sums at once: each by itself is mostly shuffles.
    """
    for t in range(LANES):
        w = weights[row[at + t] : row[at + t] + TAPS]
        re[to + t] = np.sum(real[base[at + t] : base[at + t] + TAPS] * w)
        im[to + t] = np.sum(imag[base[at + t] : base[at + t] + TAPS] * w)


@kernel()
def _places(place: Ints, factor: int, shift: int, last: int, base: Ints, row: Ints) -> None:
    """For `_dots`: where the harmonic `factor` of trials at ``place`` / 2^20 bins is.

    Of each the bin plus `shift`, no more than `last`, and the element of the weights.
    """
    for t in range(SIDE):
        x = (factor * place[t] + (1 << (_FINE - _STEPS_LOG2 - 1))) >> (_FINE - _STEPS_LOG2)
        base[t] = min((x >> _STEPS_LOG2) + shift, last)
        row[t] = (x & (2 * _STEPS - 1)) * TAPS


@kernel(reorder=True)
def _lower(inverse: Float32s, re: Float32s, im: Float32s) -> None:
    """Divide amplitudes of power P by the root of 1 + `inverse` P / 2."""
    for t in range(SIDE):
        power = re[t] * re[t] + im[t] * im[t]
        less = np.float32(1.0) / np.sqrt(np.float32(1.0) + np.float32(0.5) * inverse[t] * power)
        re[t] *= less
        im[t] *= less


def _pair_code(builder: Any, args: Any) -> None:
    wide = vector_of(F32, LANES)
    re, im, tile, low, high = args
    lower, upper = ([load(builder, data, t, wide) for data in (re, im)] for t in (0, LANES))
    for at, make, back in ((low, builder.fadd, builder.fsub), (high, builder.fsub, builder.fadd)):
        store(builder, make(lower[0], upper[1]), tile, at)
        store(builder, back(upper[0], lower[1]), tile, plus(builder, at, LANES))


@vector(_pair_code)
def _pair(re: Float32s, im: Float32s, tile: Float32s, low: int, high: int) -> None:
    """Amplitudes of SIDE trials as a transform takes them: trials t and 16 + t are real and imaginary part of lane t.

    From tile element `low` on there are their conjugates, at `high` themselves: the transform has exp(-2 pi i ...).
    """
    lower, upper = re[:LANES] + 1j * im[:LANES], re[LANES:] + 1j * im[LANES:]
    for at, z in ((low, np.conj(lower) + 1j * np.conj(upper)), (high, lower + 1j * upper)):
        tile[at : at + LANES] = z.real
        tile[at + LANES : at + ELEMENT] = z.imag


@kernel(reorder=True)
def _amplitudes(
    real: Float32s, imag: Float32s, pad: int, ladder: Ladder, inverse: Float32s, place: Ints, tile: Float32s
) -> None:
    """Amplitudes of the harmonics of SIDE trials at ``place`` / 2^20 bins, as `_pair` puts them into a tile."""
    last = real.shape[0] - TAPS
    base = np.empty(SIDE, np.int64)
    row = np.empty(SIDE, np.int64)
    re = aligned(SIDE)
    im = aligned(SIDE)
    few = aligned(SIDE)
    lowest = place[0]
    for t in range(1, SIDE):
        lowest = min(lowest, place[t])
    # Between the harmonics and their negatives, and the mean.
    tile[:ELEMENT] = np.float32(0.0)
    tile[slots(ladder.nharm + 1) * ELEMENT : slots(ladder.nbins - ladder.nharm) * ELEMENT] = np.float32(0.0)
    for k in range(1, ladder.nharm + 1):
        _places(place, k, pad + 1 - TAPS // 2, last, base, row)
        for lane in range(0, SIDE, LANES):
            _dots(real, imag, ladder.weights, base, row, lane, re, im, lane)
        if (k * lowest) >> (_FINE - 1) < inverse.shape[0]:
            for t in range(SIDE):
                half = (k * place[t]) >> (_FINE - 1)
                few[t] = inverse[half] if half < inverse.shape[0] else np.float32(0.0)
            _lower(few, re, im)
        _pair(re, im, tile, slots(k) * ELEMENT, slots(ladder.nbins - k) * ELEMENT)


def _copy_code(builder: Any, args: Any) -> None:
    store(builder, load(builder, args[0], args[1], vector_of(F32, SIDE)), args[2], args[3])


@vector(_copy_code)
def _copy(source: Float32s, at: int, out: Float32s, to: int) -> None:
    """Copy SIDE numbers."""
    out[to : to + SIDE] = source[at : at + SIDE]


def _shapes_code(builder: Any, args: Any) -> None:
    wide = vector_of(F32, LANES)
    data, lane, n, most = args

    def row(i: Any, k: int) -> Any:
        return load(builder, data, plus(builder, plus(builder, times(builder, i, SIDE), lane), k * SIDE), wide)

    def larger(a: Any, b: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    places = [plus(builder, lane, j * SIDE) for j in range(1 + SHAPES)]
    top = [variable(builder, load(builder, most, place, wide)) for place in places]
    with steps(builder, 0, n, 2) as i:
        now = [row(i, k) for k in range(2 + SHAPES)]
        for j in range(1 + SHAPES):
            builder.store(larger(builder.load(top[j]), larger(now[0], now[1])), top[j])
            if j == 2:
                half = builder.ashr(i, I64(1))
                store(builder, now[0], data, plus(builder, times(builder, half, SIDE), lane))
            now = [builder.fadd(now[k], now[k + 1], flags=FUSE) for k in range(len(now) - 1)]
    for place, value in zip(places, top, strict=True):
        store(builder, builder.load(value), most, place)


@vector(_shapes_code)
def _shapes(data: Float32s, lane: int, n: int, most: Float32s) -> None:
    """Raise `most`, shape (4 SIDE,), to the highest of `n` bins times 1, 1 + z, (1 + z)^2 and (1 + z)^3.

    Of the trials `lane` ... ``lane + 15``; bins are rows of SIDE trials, and the first three follow the last. Every
    second bin times (1 + z)^2 becomes the profile: bins 0 ... n/2 - 1.
    """
    x = data[: (n + SHAPES) * SIDE].reshape(-1, SIDE)[:, lane : lane + LANES].copy()
    for j in range(1 + SHAPES):
        at = slice(j * SIDE + lane, j * SIDE + lane + LANES)
        most[at] = np.maximum(most[at], x[:n].max(axis=0))
        if j == 2:
            data[: n // 2 * SIDE].reshape(-1, SIDE)[:, lane : lane + LANES] = x[:n:2]
        x = x[:-1] + x[1:]


@kernel()
def _best_pulses(profile: Float32s, ladder: Ladder, best: Float32s, pulse: Ints) -> None:
    """S/N of the best pulse of SIDE profiles, and its number in the ladder; the profiles are spent."""
    most = aligned((1 + SHAPES) * SIDE)
    best[:] = np.float32(-np.inf)
    number = 0
    n = ladder.nbins
    while n >= LEAST_BINS:
        for i in range(0, SHAPES * SIDE, SIDE):
            _copy(profile, i, profile, n * SIDE + i)
        most[:] = np.float32(-np.inf)
        for lane in range(0, SIDE, LANES):
            _shapes(profile, lane, n, most)
        # What a scale begins with was the last one's.
        for j in range(0 if number == 0 else 1, 1 + SHAPES):
            for t in range(SIDE):
                snr = most[j * SIDE + t] * ladder.scales[number]
                if snr > best[t]:
                    best[t] = snr
                    pulse[t] = number
            number += 1
        n >>= 1


@kernel()
def profile_snrs(
    real: Float32s,
    imag: Float32s,
    pad: int,
    ladder: Ladder,
    inverse: Float32s,
    bins: Floats,
    snr: Float32s,
    shape: Uint8s,
) -> None:
    """S/N of the best pulse in the profile of every trial frequency.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (nbins + 2 pad,), pad >= 16
        White amplitudes of mean power 1, bin r at ``pad + r``.
    pad : int
    ladder : Ladder
    inverse : ndarray of float32
        1/n of the powers behind the noise level at half bins: an amplitude of power P there is divided by the root of
        1 + P/2n, nearly that of what `harmonics.honest` makes of P; further on there is none.
    bins : ndarray of float64, shape (ntrials,)
        Fundamentals; ``ladder.nharm`` times that must be below ``nbins``.
    snr : ndarray of float32, shape (ntrials,)
        Filled with the highest S/N over phases and pulses, each of unit noise and zero mean.
    shape : ndarray of uint8, shape (ntrials,)
        Filled with the number of that pulse: a row of `responses`.
    """
    nbins = ladder.nbins
    # In a tile, or as rows that the first ones follow once more.
    size = max(slots(nbins), nbins + SHAPES) * ELEMENT
    front = aligned(size)
    back = aligned(size)
    place = np.empty(SIDE, np.int64)
    best = np.empty(SIDE, np.float32)
    pulse = np.empty(SIDE, np.int64)
    for first in range(0, bins.shape[0], SIDE):
        count = min(SIDE, bins.shape[0] - first)
        for t in range(SIDE):
            place[t] = np.int64(bins[first + min(t, count - 1)] * (1 << _FINE) + 0.5)
        source = front
        out = back
        _amplitudes(real, imag, pad, ladder, inverse, place, source)
        source, out = passes(ladder.radix, 0, ladder.radix.shape[0], source, out, nbins, ladder.twiddle)
        for i in range(nbins):
            _copy(source, slots(i) * ELEMENT, out, i * SIDE)
        _best_pulses(out, ladder, best, pulse)
        for t in range(count):
            snr[first + t] = best[t]
            shape[first + t] = pulse[t]
