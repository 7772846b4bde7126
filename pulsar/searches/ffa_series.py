"""The series that the fast folding search works on (docs/ffa.md).

How a range of long periods is cut into levels, steps and transforms; of each level the sums of samples, with the
running median taken off and bursts tamed; and the noise of what is left on the scales of wide boxes.

Two measures of that, which pulses mislead in different ways: the lower tail of sums of samples, which wide pulses of
few turns reach, and the spectrum between its lines, to which pulses that vary from turn to turn add. Red noise raises
both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pulsar.data.series import aligned
from pulsar.searches import stats
from pulsar.searches.amplitudes import LOW_MODES, drift
from pulsar_kernels import ffa, longwave, moments
from pulsar_kernels.arrays import Array, Float32s, Floats, Ints

#: Fewest and usual least number of phase bins.
MIN_BINS = 8
USUAL_BINS = 64
#: A coarser series sums so many samples of the finer one at least, up to twice as many.
FINE = 8
#: Points in the window of the running median.
POINTS = 32


@dataclass(frozen=True, eq=False)
class Step:
    """Periods searched in one series: so many samples of its level summed, transforms, widths [bins]."""

    factor: int
    nsamps: int
    transforms: Ints
    widths: Ints

    @cached_property
    def first(self) -> int:
        """Number of its first trial period."""
        return int(self.transforms[0, 3])

    @cached_property
    def last(self) -> int:
        """Number of the trial period after its last."""
        return int(self.transforms[-1, 3] + self.transforms[-1, 2] - self.transforms[-1, 1])


@dataclass(frozen=True)
class Level:
    """Steps that share a series of sums of ``2^halvings`` samples, and the window of its running median."""

    halvings: int
    nsamps: int
    tau: float
    block: int
    steps: tuple[Step, ...]

    @cached_property
    def widest(self) -> int:
        """Samples of the widest box."""
        return max(int(step.widths[-1]) * step.factor for step in self.steps)

    @cached_property
    def shortest(self) -> int:
        """Samples of the shortest turn."""
        return min(int(step.transforms[0, 0]) * step.factor for step in self.steps)


def bins_wanted(period: float, duty_min: float) -> float:
    """Phase bins that a search at `period` [s] for pulses down to `duty_min` [turns] has, if tsamp allows."""
    # Narrowest pulse looked for at a period of 1 s [turns]; it goes as the root of the frequency. Less than half of the
    # width of the cores of pulsars at 1 GHz, 2.45 degrees (Rankin 1990, ApJ 352, 247).
    return max(1.0 / max(duty_min, 0.003 / math.sqrt(period)), float(USUAL_BINS))


def box_widths(bins: int, duty_min: float, duty_max: float) -> Ints:
    """Widths of the boxes for `bins` phase bins or a few more [bins]; the last is the widest that is allowed."""
    width = max(int(duty_min * bins), 1)
    most = max(min(int(duty_max * bins + 1e-9), bins - 1), 1)
    out = [min(width, most)]
    while True:
        # Ratio of neighbouring boxes.
        width = max(int(1.5 * width), width + 1)
        if width > most:
            break
        out.append(width)
    # The next of the ladder would be too wide: the last one takes its place if there is some way to go.
    # The widest that is allowed is one of them if it is so much wider than the last.
    if most >= 1.2 * out[-1]:
        out.append(most)
    return np.array(out, dtype=np.int64)


def _factor_below(x: float) -> int:
    """Largest of the numbers 1 ... 15, 16, 18 ... 30, 32, 36 ... not above `x`."""
    n = max(int(x), 1)
    halvings = max(n.bit_length() - FINE.bit_length(), 0)
    return n >> halvings << halvings


def _row_from(period: float, tau: float, bins: int, rows: int) -> int:
    """First row of a transform whose period is not below `period`."""
    return max(int(np.ceil(bins * (rows - 1.0) * (1.0 - bins * tau / period) - 1e-9)), 0)


def make_levels(
    nsamps: int, tsamp: float, p_min: float, p_max: float, duty_min: float, duty_max: float
) -> tuple[Level, ...]:
    """Series and transforms that cover a range of periods, each period once.

    `p_min` and `p_max`: range of periods [s]. `duty_min` and `duty_max`: range of widths [turns].

    Returns
    -------
    tuple of Level
        Ascending in period.
    """
    steps: dict[int, list[Step]] = {}
    top: dict[int, float] = {}
    at = 0
    period = max(p_min, MIN_BINS * tsamp)

    while period < p_max * (1.0 - 1e-12):
        f = _factor_below(period / (tsamp * bins_wanted(period, duty_min)) * (1.0 + 1e-12))
        tau = f * tsamp
        halvings = max(f.bit_length() - FINE.bit_length(), 0)
        size = (nsamps >> halvings) // (f >> halvings)
        coarser = (f + (1 << halvings)) * tsamp
        bins = int(period / tau * (1.0 + 1e-12))
        first = bins
        rows_of = []
        while True:
            rows = size // bins
            if rows < 2:
                break
            end = min(p_max, (bins + 1) * tau)
            lo = _row_from(period, tau, bins, rows)
            hi = min(rows, _row_from(end, tau, bins, rows))
            if hi > lo:
                rows_of.append((bins, lo, hi, at))
                at += hi - lo
            period = end
            bins += 1
            if period >= p_max * (1.0 - 1e-12) or period / coarser * (1.0 + 1e-12) >= bins_wanted(period, duty_min):
                break
            # Where the sampling time leaves no other sums, bins grow by so much before the boxes are chosen anew.
            if bins >= 1.25 * first:
                break
        if rows_of:
            step = Step(f >> halvings, size, np.array(rows_of, dtype=np.int64), box_widths(first, duty_min, duty_max))
            steps.setdefault(halvings, []).append(step)
            top[halvings] = period
        if size // bins < 2:
            break
    levels = []
    for halvings, widths in steps.items():
        tau = tsamp * 2**halvings
        count = nsamps >> halvings
        # Window of the running median in widest pulses, and at most in turns of the longest period: over a whole turn
        # the mean of a pulse train is the same everywhere, however wide its pulses are.
        window = min(5.0 * duty_max, 1.0) * top[halvings] / tau
        levels.append(Level(halvings, count, tau, int(np.clip(window / POINTS, 1, max(count // 4, 1))), tuple(widths)))
    return tuple(levels)


def trial_periods(levels: Sequence[Level]) -> int:
    """Trial periods of one series."""
    steps = [step.transforms for level in levels for step in level.steps]
    return int(sum(np.sum(transforms[:, 2] - transforms[:, 1]) for transforms in steps))


#: Standard deviations of a burst; what is in so many of 64 stretches is no burst.
BURST = 6.0
BURSTS = 4


class Buffers:
    """Work space of one thread."""

    def __init__(self, levels: tuple[Level, ...]) -> None:
        self.raw = [np.zeros(level.nsamps, dtype=np.float32) for level in levels]
        self.flat = [np.zeros(level.nsamps, dtype=np.float32) for level in levels]
        self.noise = [0.0 for _ in levels]
        # How much more noise boxes have than in white noise, by the first trial period of a step.
        self.rises: dict[int, Floats] = {}
        finest = max((level.nsamps for level in levels), default=0)
        self.halved = np.zeros(finest, dtype=np.float32)
        self.sums = np.zeros(finest + 1, dtype=np.int32)
        coarse, work, tile = _sizes(levels)
        self.coarse = aligned(coarse + 64, np.int16)
        self.work = aligned(work, np.int16)
        self.tile = aligned(tile, np.int32)
        ntrials = trial_periods(levels)
        self.best = np.zeros(ntrials + 16, dtype=np.float32)
        self.which = np.zeros(ntrials + 16, dtype=np.uint8)

    @staticmethod
    def nbytes(levels: tuple[Level, ...]) -> int:
        """Bytes that they take."""
        finest = max((level.nsamps for level in levels), default=0)
        coarse, work, tile = _sizes(levels)
        every = sum(level.nsamps for level in levels)
        return 8 * every + 8 * finest + 2 * (coarse + work) + 4 * tile + 5 * trial_periods(levels)


def _sizes(levels: tuple[Level, ...]) -> tuple[int, int, int]:
    """Samples of the longest series that is folded, elements of the transforms' work space and of a tile."""
    every = [(step, int(bins)) for level in levels for step in level.steps for bins in step.transforms[:, 0]]
    return (
        max((step.nsamps for step, _ in every), default=0),
        max((ffa.work_size(step.nsamps, bins) for step, bins in every), default=0),
        max((ffa.tile_size(bins, int(step.widths[-1])) for step, bins in every), default=0),
    )


def halved(x: Float32s, times: int, space: Float32s) -> list[Float32s]:
    """The series, and its sums of 2, 4, 8 ... samples, `times` of them, in `space`."""
    out = [x]
    at = 0
    for _ in range(times):
        half = space[at : at + out[-1].shape[0] // 2]
        longwave.sum_pairs(out[-1], half)
        out.append(half)
        at += half.shape[0]
    return out


def flattened(level: Level, raw: Float32s, flat: Float32s) -> tuple[float, float]:
    """Take off the running median; returns the noise of a sample (0: there is none), and how many are there."""
    size = level.block
    means = np.empty(max(level.nsamps // size, 1), dtype=np.float64)
    share = longwave.block_means(raw, size, means) / level.nsamps
    # Share of the samples that must be there.
    if share < 0.05:
        return 0.0, share
    low, high, near = _window(len(means), POINTS // 2)
    baseline = np.empty((len(means), 1))
    moments.running_medians(means[:, None], low, high, baseline)
    line = baseline[:, 0]
    means[np.isnan(means)] = 0.0
    off = means - line
    there = np.isfinite(line)
    if not there.all():
        middle = np.arange(len(means))
        line = np.interp(middle, middle[there], line[there])
        off[~there] = 0.0
    # A median makes harmonics of waves; a mean does not, but bursts go into it: blocks far from the median do not
    # count. Twice over a turn it takes nothing off a wave that is shorter, and adds nothing to it.
    far = np.abs(off)
    off[far > BURST * 1.4826 * _middle(far)] = 0.0
    line = line + off
    total = np.zeros(len(means) + 1)
    for _ in range(2):
        np.cumsum(line, out=total[1:])
        line = (total[high] - total[low]) / near
    longwave.flatten(raw, size, np.ascontiguousarray(line), flat)
    # From how many places noise is measured at most.
    step = max(level.nsamps // (longwave.BLOCK * 4096), 1)
    variances = np.empty(level.nsamps // (longwave.BLOCK * step) + 1, dtype=np.float32)
    count = longwave.block_variances(flat, step, variances)
    if count == 0:
        return 0.0, share
    # Median of chi-square with 31 degrees of freedom over its mean (Wilson-Hilferty).
    return float(np.sqrt(_middle(variances[:count]) / (1.0 - 2.0 / (9.0 * 31.0)) ** 3)), share


@lru_cache(maxsize=64)
def _window(n: int, half: int) -> tuple[Ints, Ints, Ints]:
    """Of each of `n` samples and `half` of them on either side, fewer at the ends: first, last + 1, and number."""
    middle = np.arange(n)
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half + 1, n)
    return low, high, high - low


def _middle(x: Array) -> float:
    """The median, of two the larger: that of numpy spends most of its time on what is not asked."""
    return float(np.partition(x, len(x) // 2)[len(x) // 2])


def taken_off(flat: Float32s, part: Floats, size: int, halves: list[Float32s], space: Float32s) -> list[Float32s]:
    """Take from a flattened series what is given at the middles of blocks, in place; returns its sums anew."""
    missing = flat == 0.0
    longwave.flatten(flat, size, part, flat)
    flat[missing] = 0.0
    return halved(flat, len(halves) - 1, space)


def tame_bursts(halves: list[Float32s], sigma: float) -> None:
    """Cut bursts down: groups of 1, 2, 4 ... samples beyond 6 standard deviations are brought down to it.

    But only if they are in no more than three of 64 stretches: pulses and waves of red noise are in more.
    """
    low = np.empty(64, dtype=np.float32)
    high = np.empty(64, dtype=np.float32)
    for k, sums in enumerate(halves):
        limit = BURST * sigma * np.sqrt(1 << k)
        # Fewest samples that bursts are looked for in.
        if sums.shape[0] >= 256 and longwave.count_beyond(sums, limit) > 0:
            longwave.extremes(sums, low, high)
            lowest = -limit if np.count_nonzero(low < -limit) < BURSTS else -np.inf
            highest = limit if np.count_nonzero(high > limit) < BURSTS else np.inf
            longwave.tame(halves[0], sums, lowest, highest)


#: Excess over white noise that counts, times the root of the number of sums it was measured from.
SURE = 4.0
#: What pulses may do to it, and how far the 5 % and 50 % quantiles of a Gaussian are from that of 25 %.
SLIGHT = 1.04
LOWER = 0.9704
QUARTER = 0.6745
#: Errors that are added to it, and how much more there is at one turn.
UNSURE = 1.5
FEW_TURNS = 2.5
#: Beyond the first modes of a spectrum, medians of bands this ratio wide count.
BAND = 3.0
#: Samples of the spectrum's series in the shortest turn: harmonics to the 32nd.
PER_TURN = 64
#: Waves are left at so many times the power of the noise: in folds of 24 series of strong drifts none had 3.5 sigma, at
#: 12 times they had up to 4.8.
WAVE = 8.0
_ZERO = np.float32(0.0)


def lower_tail(sums: Float32s, unit: float) -> tuple[float, int]:
    """Noise of sums over `unit` by the lowest quarter of them, which narrow pulses hardly change, and their number."""
    # From how many sums noise is measured at most.
    picked = np.sort(sums[:: max(sums.shape[0] // 4096, 1)])
    first, last = picked.searchsorted(_ZERO), picked.searchsorted(_ZERO, "right")
    if last > first:
        picked = np.concatenate([picked[:first], picked[last:]])
    n = picked.size
    if n < LOW_MODES:
        return 1.0, n
    ratio = float(picked[n // 4] - picked[n // 20]) / (LOWER * unit)
    # With fewer sums the larger of two measures counts.
    if n < 400:
        ratio = max(ratio, float(picked[n // 2] - picked[n // 4]) / (QUARTER * unit))
    return ratio, n


def between_lines(x: Float32s, variance: float) -> Floats:
    """Power spectrum of a series over that of white noise without the lines of a pulsar, modes 1, 2, 3 ...

    `x`: shape (n,). `variance`: that white noise has in each sample.
    """
    power = np.abs(np.fft.rfft(x)[1:]) ** 2 / (variance * len(x))
    if len(power) < BAND * LOW_MODES:
        return np.asarray(power)
    edges = [LOW_MODES]
    while edges[-1] * BAND**2 <= len(power):
        edges.append(int(edges[-1] * BAND))
    edges.append(len(power))
    bands = list(pairwise(edges))
    centres = [np.sqrt(lo * hi) for lo, hi in bands]
    # The median of an exponential distribution is ln 2 of its mean.
    medians = [stats.median(power[lo:hi]) / np.log(2.0) for lo, hi in bands]
    level = power.copy()
    smooth = np.exp(np.interp(np.log(np.arange(1, len(power) + 1)), np.log(centres), np.log(np.maximum(medians, 1e-9))))
    level[LOW_MODES:] = smooth[LOW_MODES:]
    # A line above so many times the level about it counts as noise: a sine of S/N 20, half of whose square is its
    # power.
    strong = power > 200.0 * smooth
    level[strong] = power[strong]
    return np.asarray(level)


def tail_noise(halves: list[Float32s], sigma: float, known: Floats) -> Floats:
    """Noise of sums of 1, 2, 4 ... samples over that of white noise, 1 where it is not surely more.

    Parameters
    ----------
    halves : list of ndarray of float32
        The flattened series and its sums of 2, 4, 8 ... samples.
    sigma : float
        Noise of a sample that is there; missing ones are 0.
    known : ndarray of float64
        The first of the scales, from a finer level.
    """
    scale = list(known) if len(known) else [1.0]
    for k in range(len(scale), len(halves)):
        ratio, n = lower_tail(halves[k], sigma * float(np.sqrt(1 << k)))
        if n < LOW_MODES:
            break
        red = scale[-1] > 1.0 or ratio > SLIGHT + SURE / np.sqrt(n)
        # Once it is surely more it is more on longer scales, too, and how much more is uncertain.
        scale.append(max(ratio * (1.0 + UNSURE / np.sqrt(n)), scale[-1]) if red else 1.0)
    return np.array(scale)


def spectrum_of(halves: list[Float32s], sigma: float, turns: float) -> Floats:
    """`between_lines` of a series that has samples enough for the harmonics of a period of so many turns, or all."""
    enough = [k for k, x in enumerate(halves) if x.shape[0] >= PER_TURN * turns]
    k = enough[-1] if enough else 0
    share = np.count_nonzero(halves[k]) / halves[k].shape[0]
    return between_lines(halves[k], share * sigma**2 * (1 << k))


def red_part(halves: list[Float32s], variance: float, turns: float) -> tuple[Floats, int]:
    """The series to be subtracted from another to divide its spectrum by the red noise between its lines.

    Parameters
    ----------
    halves : list of ndarray of float32
        The flattened series and its sums of 2, 4, 8 ... samples.
    variance : float
        That white noise has in each sample, missing ones included.
    turns : float
        Most turns of a period in the data: noise is measured at the first `PER_TURN` / 2 harmonics.

    Returns
    -------
    part : ndarray of float64, shape (nblocks,)
        At the middles of blocks; empty if there is no red noise.
    size : int
        Samples of a block.
    """
    # Twice as fine as the last harmonic asks for: between the middles of blocks the part is straight.
    enough = [k for k, x in enumerate(halves) if x.shape[0] >= 2 * PER_TURN * turns]
    k = enough[-1] if enough else 0
    return drift(halves[k], variance * (1 << k), int(0.5 * PER_TURN * turns), WAVE) / (1 << k), 1 << k


class BoxNoise:
    """Noise of boxes in folded profiles over that of white noise, for all steps of a level.

    A fold sees nothing but the harmonics of its period, and a box of w turns sinc^2(k w) of the k-th, all of which add
    up to (1 - w)/(2 w).
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        #: Least and most turns of the periods in the data.
        self._turns = [(s.nsamps / s.transforms[-1, 0], s.nsamps / s.transforms[0, 0]) for s in steps]
        #: Of the boxes [turns], ascending, one step after the other.
        widths = [s.widths / s.transforms[0, 0] for s in steps]
        self._widths = widths
        self._ends = np.cumsum([len(w) for w in widths]).tolist()
        # Scales of the boxes in octaves of samples of the level.
        self._scales = np.concatenate([np.log2(s.widths * s.factor) for s in steps])
        self._white = [np.ones(len(w)) for w in widths]
        least = np.concatenate([np.full(len(w), turns) for w, (turns, _) in zip(widths, self._turns, strict=True)])
        errors = np.sqrt(np.concatenate(widths) / least)
        self._sure, self._unsure = SLIGHT + SURE * errors, 1.0 + UNSURE * errors
        self._seen: dict[int, _Seen] = {}

    def over_white(self, scale: Floats, level: Floats) -> list[Floats]:
        """The noise of each step's boxes, 1 where it is not surely more.

        Parameters
        ----------
        scale : ndarray of float64
            From `tail_noise`.
        level : ndarray of float64, shape (nmodes,)
            From `spectrum_of`; may be empty: then nothing is known of it.
        """
        if not scale[-1] > 1.0:
            return self._white
        rises = self._parts(np.interp(self._scales, np.arange(len(scale)), scale))
        if len(level):
            rises = [np.minimum(a, b) for a, b in zip(rises, self.folded(level), strict=True)]
        # A few turns of noise that is not white are no Gaussian noise, on any scale.
        return [
            rise * (1.0 + (1.0 - rise.max() ** -2) * FEW_TURNS / turns)
            for rise, (turns, _) in zip(rises, self._turns, strict=True)
        ]

    def folded(self, level: Floats) -> list[Floats]:
        """The noise of each step's boxes by the spectrum at the harmonics of its periods, 1 where not surely more."""
        seen = self._seen.get(len(level))
        if seen is None:
            seen = self._seen[len(level)] = _Seen.of(len(level), self._turns, self._widths)
        total = np.zeros(len(level) + 1)
        np.cumsum(level, out=total[1:])
        power = (total[seen.last] - total[seen.first]) / seen.modes
        powers = [weights @ power[lo:hi] for weights, (lo, hi) in zip(seen.weights, pairwise(seen.ends), strict=True)]
        ratio = np.sqrt((np.concatenate(powers) + seen.beyond * level[-1]) / seen.norm)
        red = [np.logical_or.accumulate(over) for over in self._parts(ratio > self._sure)]
        return self._parts(np.where(np.concatenate(red), np.maximum(ratio * self._unsure, 1.0), 1.0))

    def _parts(self, values: Array) -> list[Array]:
        """Those of each step."""
        return [values[lo:hi] for lo, hi in pairwise([0, *self._ends])]


class _Seen(NamedTuple):
    """Noise in folds of a spectrum of so many modes, one step after the other.

    First and last modes of each harmonic, and their number; where those of each step begin and end; weights in each
    box, the weight of the harmonics beyond, and all together.
    """

    first: Ints
    last: Ints
    modes: Ints
    ends: list[int]
    weights: list[Floats]
    beyond: Floats
    norm: Floats

    @classmethod
    def of(cls, nmodes: int, turns: list[tuple[float, float]], widths: list[Floats]) -> "_Seen":
        first, last, weights, beyond, norm = [], [], [], [], []
        for (least, most), wide in zip(turns, widths, strict=True):
            order = np.arange(1, max(int(nmodes / most), 1) + 1)
            first.append(np.minimum(np.floor(order * least).astype(np.int64), nmodes) - 1)
            last.append(np.clip(np.ceil(order * most).astype(np.int64), first[-1] + 1, nmodes))
            weights.append(np.sinc(order * wide[:, None]) ** 2)
            known = weights[-1].sum(axis=1)
            beyond.append(np.maximum((1.0 - wide) / (2.0 * wide) - known, 0.0))
            norm.append(known + beyond[-1])
        ends = np.cumsum([0, *(len(x) for x in first)]).tolist()
        a, b = np.concatenate(first), np.concatenate(last)
        return cls(a, b, b - a, ends, weights, np.concatenate(beyond), np.concatenate(norm))
