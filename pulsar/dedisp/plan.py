"""The DM plan: trial DMs, how far the data may be downsampled for each, and what that costs.

Smearing is measured as a full width in seconds: sqrt(12) times the rms by which arrival times scatter, which for a
boxcar is its width. Parts that are independent add in quadrature:

- channel: 2 K DM df / f^3, its rms over the channels;
- sampling: the sampling time of the stage;
- step: what the distance of the true DM from the nearest trial leaves over the band, rms over channels and over the
  true DMs of a step (half a step away, the worst, it is sqrt(3) times as much);
- arrival: integer delays (the tree's or brute force's) miss the exact ones.

The best possible is what endlessly fine steps at the original sampling would leave: channel, sampling, arrival and the
narrowest pulse of interest (``width_min``).

A series is made with the sampling time of its stage, which the arrival errors of the tree and the steps ask for; but
where channels smear pulses over many samples, the upper half of its spectrum holds nothing. There it is searched for
periods with half as many samples, as often as that can be done (docs/search.md). What it may cost is set
(`search.loss`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np

from pulsar.config.model import Config, DedispConfig
from pulsar.constants import KDM
from pulsar.data.header import Header
from pulsar.data.series import MIN_SAMPLES
from pulsar.errors import ConfigError
from pulsar_kernels.arrays import Array, Floats, Ints

#: Arrival error [samples rms] that the plan reckons with; tests hold the tree to it.
ARRIVAL_RMS: Final = {"tree": 0.44, "brute": 0.29}
#: With so many trials neighbouring steps are alike.
_FEW: Final = 50
_MAX_TRIALS: Final = 1_000_000
#: Points at which the density of trials is evaluated over the range.
_POINTS: Final = 8193
_SQRT12: Final = float(np.sqrt(12.0))


@dataclass(frozen=True)
class Smearing:
    """Smearing at one DM [s]; the parts add in quadrature to `total`."""

    dm: float
    channel: float
    sampling: float
    step: float
    arrival: float
    width: float
    best: float

    @property
    def total(self) -> float:
        """All parts in quadrature [s]."""
        parts = (self.channel, self.sampling, self.step, self.arrival, self.width)
        return float(np.sqrt(np.sum(np.square(parts))))

    @property
    def excess(self) -> float:
        """Total over the best possible."""
        return self.total / self.best


@dataclass(frozen=True, eq=False)
class DMStage:
    """Trials that share a sampling time."""

    dms: Floats  # (ndms,): trial DMs [pc cm^-3], ascending
    downsample: int  # raw samples in one sample: a power of two
    nsamps: int  # samples of a series
    tsamp: float  # sampling time [s]
    #: smearing, smearing_high: at the first and the last trial.
    smearing: Smearing
    smearing_high: Smearing

    @property
    def ndms(self) -> int:
        """Number of trials."""
        return self.dms.size

    @property
    def dm_first(self) -> float:
        """First trial [pc cm^-3]."""
        return float(self.dms[0])

    @property
    def dm_last(self) -> float:
        """Last trial [pc cm^-3]."""
        return float(self.dms[-1])

    @property
    def steps(self) -> Floats:
        """Steps between the trials [pc cm^-3], shape (ndms - 1,)."""
        return np.diff(self.dms)

    @property
    def excess(self) -> float:
        """Smearing over the best possible where that is largest."""
        return max(self.smearing.excess, self.smearing_high.excess)

    @property
    def nbytes(self) -> int:
        """Size of the series, int16."""
        return 2 * self.ndms * self.nsamps

    def parts(self) -> dict[str, Floats]:
        """Smearing at every trial [s], shape (ndms,), by the names of the fields of `Smearing` and "total"."""
        low, high = self.smearing, self.smearing_high
        channel = np.interp(self.dms, [low.dm, high.dm], [low.channel, high.channel])
        # To the next trial; the last as the one before.
        steps = np.append(self.steps, self.steps[-1:]) if self.ndms > 1 else np.ones(1)
        terms = {
            "channel": channel,
            "sampling": np.full(self.ndms, low.sampling),
            "step": low.step * steps / steps[0],
            "arrival": np.full(self.ndms, low.arrival),
            "width": np.full(self.ndms, low.width),
        }
        total = np.sqrt(np.sum(np.square(list(terms.values())), axis=0))
        return terms | {"best": np.sqrt(low.best**2 - low.channel**2 + channel**2), "total": total}

    def part(self, first: int, last: int) -> "DMStage":
        """The trials `first` to `last` - 1 alone."""
        return replace(self, dms=self.dms[first:last])


@dataclass(frozen=True, eq=False)
class DMPlan:
    """All trial DMs of a run."""

    stages: tuple[DMStage, ...]  # in ascending DM and downsampling, without holes
    freqs: Floats  # (nchans,): channels reckoned with [MHz], descending
    fref: float  # frequency to which delays are referred [MHz]
    tsamp: float  # original sampling time [s]
    nsamps: int  # original samples
    tolerance: float  # fraction by which the smearing may exceed the best possible
    method: str  # "tree" or "brute"

    @cached_property
    def dms(self) -> Floats:
        """Trial DMs of all stages, ascending, shape (ndms,)."""
        return np.concatenate([stage.dms for stage in self.stages])

    @property
    def ndms(self) -> int:
        """Number of trials."""
        return sum(stage.ndms for stage in self.stages)

    @property
    def nbytes(self) -> int:
        """Size of all series, int16."""
        return sum(stage.nbytes for stage in self.stages)

    @property
    def points(self) -> float:
        """Samples of all series."""
        return sum(float(stage.ndms) * stage.nsamps for stage in self.stages)

    def numbered(self) -> Iterator[tuple[int, DMStage]]:
        """Every stage, and before it the index of its first trial."""
        first = 0
        for stage in self.stages:
            yield first, stage
            first += stage.ndms

    def part(self, first: int, last: int) -> "DMPlan":
        """The plan of the trials `first` to `last` - 1."""
        ends = [(stage, max(first - at, 0), min(last - at, stage.ndms)) for at, stage in self.numbered()]
        return replace(self, stages=tuple(stage.part(low, high) for stage, low, high in ends if low < high))

    def stage_of(self, index: int) -> tuple[int, int]:
        """Stage, and row within it, of trial `index`."""
        if not 0 <= index < self.ndms:
            raise IndexError(f"trial {index} of {self.ndms}")
        ends = np.cumsum([stage.ndms for stage in self.stages])
        number = int(np.searchsorted(ends, index, side="right"))
        return number, index - int(ends[number]) + self.stages[number].ndms


class _Smearing:
    """Smearing by the band and the data, over arrays of DMs."""

    def __init__(self, header: Header, config: DedispConfig, freqs: Floats) -> None:
        self.tsamp = header.tsamp
        self.width = config.width_min
        self.tolerance = config.tolerance
        #: Delay over the band, and in the channels [s of full width per unit of DM].
        self.across = KDM * _SQRT12 * float(np.std(freqs**-2.0))
        half = 0.5 * header.chan_width
        low = np.maximum(freqs - half, 0.1 * freqs)
        self.channel = KDM * float(np.sqrt(np.mean((low**-2.0 - (freqs + half) ** -2.0) ** 2)))
        # Rounding misses at most the delay itself: nothing at DM 0.
        self.arrival = _SQRT12 * ARRIVAL_RMS[config.method]
        self.most = self.across * config.dm_hi
        # Largest downsampling: sums of this many int8 samples still fit int16.
        limit = max(1, min(config.max_downsample, 256, header.nsamps // MIN_SAMPLES))
        self.downsamples = [1 << i for i in range(limit.bit_length())]

    def missed(self, downsample: int) -> float:
        """Smearing by integer delays [s]."""
        return min(self.arrival * downsample * self.tsamp, self.most)

    def best(self, dms: Floats) -> Floats:
        """Best possible smearing [s]."""
        fixed = self.tsamp**2 + self.missed(1) ** 2 + self.width**2
        return np.asarray(np.sqrt((self.channel * dms) ** 2 + fixed), dtype=np.float64)

    def budget(self, dms: Floats, downsample: int) -> Floats:
        """Smearing that the DM step may add [s], 0 where the downsampling alone is too much."""
        fixed = (downsample * self.tsamp) ** 2 + self.missed(downsample) ** 2 + self.width**2
        left = ((1.0 + self.tolerance) * self.best(dms)) ** 2 - fixed - (self.channel * dms) ** 2
        return np.asarray(np.sqrt(np.maximum(left, 0.0)), dtype=np.float64)

    def step(self, dms: Floats, downsample: int) -> Floats:
        """Largest DM step [pc cm^-3], at which true DMs are off by step / sqrt(12) rms."""
        return np.asarray(_SQRT12 * self.budget(dms, downsample) / self.across, dtype=np.float64)

    def coarsest(self, dms: Floats) -> Ints:
        """Largest downsampling that is within the tolerance, the step left out."""
        fits = [np.ones(dms.size, bool)] + [self.budget(dms, d) > 0 for d in self.downsamples[1:]]
        count = np.logical_and.accumulate(np.array(fits), axis=0).sum(axis=0)
        factors: Ints = np.array(self.downsamples, dtype=np.int64)[count - 1]
        return factors

    def smearing(self, dm: float, downsample: int, step: float) -> Smearing:
        """All parts at one DM."""
        best = float(self.best(np.array([dm]))[0])
        samples = downsample * self.tsamp, self.across * step / _SQRT12, self.missed(downsample)
        return Smearing(dm, self.channel * dm, *samples, self.width, best)


def make_plan(header: Header, config: DedispConfig, freqs: Floats | None = None) -> DMPlan:
    """Choose trial DMs and downsampling.

    For true DMs anywhere in the range the smearing (see the module) is within (1 + tolerance) of the best possible,
    in the mean square over a step.

    Parameters
    ----------
    header : Header
        Band, sampling time and length.
    config : DedispConfig
        DM range, tolerance, a fixed step, the largest downsampling (beyond 256 counts as 256).
    freqs : ndarray, optional
        Channels that are alive [MHz], descending; default all.

    Raises
    ------
    ConfigError
        When the range and step give more than a million trials, or no channel is alive.
    """
    live = np.array(header.freqs if freqs is None else freqs, dtype=np.float64)
    if live.size == 0:
        raise ConfigError("no channel is left to dedisperse: relax [rfi] zap or chan_sigma")
    band = _Smearing(header, config, live)
    if config.dm_hi > config.dm_lo and config.dm_step is not None:
        dms = _regular(config, config.dm_step)
        downsample = band.coarsest(np.maximum(dms - config.dm_step / 2, config.dm_lo))
    elif config.dm_hi > config.dm_lo and band.across > 0:
        dms, downsample = _graded(band, config)
    else:
        dms = np.array([config.dm_lo])
        downsample = band.coarsest(dms)
    dms.flags.writeable = False
    edges = [0, *(np.flatnonzero(np.diff(downsample)) + 1).tolist(), dms.size]
    stages = []
    for first, last in pairwise(edges):
        factor = int(downsample[first])
        # A stage of one trial is as far from its neighbours as they are from it.
        steps = np.diff(dms[first:last] if last > first + 1 else dms[max(first - 1, 0) : last + 1])
        low, high = (
            band.smearing(float(dms[i]), factor, float(steps[j]) if steps.size else 0.0)
            # The last step is partly that of the next stage.
            for i, j in ((first, 0), (last - 1, -2 if steps.size > 1 else -1))
        )
        stages.append(DMStage(dms[first:last], factor, header.nsamps // factor, header.tsamp * factor, low, high))
    return DMPlan(
        stages=tuple(stages),
        freqs=live,
        fref=float(header.freqs[0]),
        tsamp=header.tsamp,
        nsamps=header.nsamps,
        tolerance=config.tolerance,
        method=config.method,
    )


def few_trials(header: Header, dms: Floats, downsample: int, freqs: Floats) -> DMPlan:
    """A plan of just these trials, by brute force, all at one downsampling.

    `downsample`: a power of two. `freqs`: channels that are alive [MHz], descending.
    """
    band = _Smearing(header, DedispConfig(method="brute"), freqs)
    low, high = (band.smearing(float(dm), downsample, 0.0) for dm in (dms[0], dms[-1]))
    stage = DMStage(dms, downsample, header.nsamps // downsample, header.tsamp * downsample, low, high)
    return DMPlan((stage,), freqs, float(header.freqs[0]), header.tsamp, header.nsamps, 0.0, "brute")


def _check(trials: float) -> None:
    if trials > _MAX_TRIALS:
        raise ConfigError(
            f"[dedisp] asks for {trials:.3g} trial DMs, at most {_MAX_TRIALS} are taken: "
            "raise tolerance or dm_step, or narrow dm_lo to dm_hi"
        )


def _regular(config: DedispConfig, step: float) -> Floats:
    """One grid from dm_lo to dm_hi or just beyond."""
    trials = (config.dm_hi - config.dm_lo) / step
    _check(trials)
    return np.asarray(config.dm_lo + step * np.arange(int(np.ceil(trials - 1e-9)) + 1), dtype=np.float64)


def _graded(band: _Smearing, config: DedispConfig) -> tuple[Floats, Ints]:
    """Trials whose step grows with the smearing inside the channels, and the downsampling of each."""
    # Evenly spaced in DM and in its logarithm: both ends are resolved.
    span = config.dm_hi - config.dm_lo
    dms = config.dm_lo + span * np.union1d(np.linspace(0, 1, _POINTS), np.geomspace(1e-6, 1, _POINTS))
    steps = [band.step(dms, factor) for factor in band.downsamples]
    # A last stage of a few trials is not worth its buffers: without it the finer samples go on.
    for count in range(len(steps), 0, -1):
        trials, factors = _spaced(config, dms, steps[:count], band.downsamples)
        # Fewest trials of a stage between others.
        if factors[0] == factors[-1] or np.count_nonzero(factors == factors[-1]) >= 32:
            break
    return trials, factors


def _spaced(config: DedispConfig, dms: Floats, steps: list[Floats], factors: list[int]) -> tuple[Floats, Ints]:
    """Trials spaced by the `steps` of whichever factor is cheapest, and those factors."""
    downsample = np.full(dms.size, factors[0], dtype=np.int64)
    step = steps[0].copy()
    for factor, each in zip(factors[1:], steps[1:], strict=False):
        # Coarser samples must be this much cheaper per unit of DM: fewer points for more trials.
        better = each * factor * 0.95 > step * downsample
        if better.any():
            # From the first DM at which it pays it goes on paying.
            better[int(np.argmax(better)) :] = True
            downsample[better], step[better] = factor, each[better]
    between = np.diff(dms) * 2.0 / (step[1:] + step[:-1])
    density = np.concatenate([[0.0], np.cumsum(between)])
    _check(float(density[-1]))
    count = max(1, int(np.ceil(density[-1] - 1e-9)))
    allowed = np.concatenate([[0.0], np.cumsum(np.diff(dms) * 0.5 * (step[1:] ** 2 + step[:-1] ** 2))])
    while True:
        trials = np.interp(np.arange(count + 1) * (density[-1] / count), density, dms)
        # Of a few trials over a wide band each step is much longer than the one before: more of them, until the mean
        # square of the distance from a trial is what its stretch allows.
        edges = np.concatenate([trials[:1], 0.5 * (trials[1:] + trials[:-1]), trials[-1:]])
        low, high = trials - edges[:-1], edges[1:] - trials
        if count >= _FEW or np.all(4.0 * (low**3 + high**3) <= np.diff(np.interp(edges, dms, allowed)) * (1 + 1e-9)):
            break
        count += 1
    trials[0], trials[-1] = config.dm_lo, config.dm_hi
    # The first trial after a change still has half a wide step below it: what the trial below has is right for both.
    below = np.concatenate([trials[:1], trials[:-1]])
    return trials, downsample[np.searchsorted(dms, below, side="right").clip(1) - 1]


#: Shortest period whose losses count [s]: of J1748-2446ad, the shortest known, 1.396 ms (Hessels et al. 2006, Science
#: 311, 1901).
FASTEST = 1.396e-3
#: Harmonics below Nyquist without which the coherent search leaves a period out (its LEAST_HARMONICS).
HARMONICS = 7
#: Periods that are looked at, over the shortest: of longer ones less is lost.
_PERIODS = np.geomspace(1.0, 4.0, 9)


def halvings(plan: "DMPlan", config: Config) -> Ints:
    """How often the series of each trial DM is halved before it is searched for periods, shape (ndms,).

    Of pulses of no width in themselves `search.loss` of the S/N is lost at most, against the series as they are made,
    at the sampling time, with the smearing in channels, the arrival errors and the mean step of the plan. The fastest
    pulsars keep the harmonics without which the coherent search leaves a period out. Series stay as they are where
    accelerations are searched at all frequencies (`accel.loss` 0).
    """
    chosen = np.zeros(plan.ndms, dtype=np.int64)
    everything = config.accel.enabled and config.accel.loss == 0.0
    if config.search.loss == 0.0 or everything or plan.tolerance == 0.0:
        return chosen
    for first, stage in plan.numbered():
        smearing = stage.parts()
        low, times = 0, 1
        # Fewest samples of what a series is halved to: searches of shorter ones take no less.
        most = min(stage.nsamps / ((1 << 14) * max(config.search.parts)), 0.5 * FASTEST / HARMONICS / stage.tsamp)
        while 2**times <= most:
            high = stage.ndms
            # Smearing grows with DM: from some trial on all of the stage.
            while low < high:
                middle = (low + high) // 2
                at_middle = {name: float(values[middle]) for name, values in smearing.items()}
                if lost(at_middle, stage.tsamp, times, plan.freqs) <= config.search.loss:
                    high = middle
                else:
                    low = middle + 1
            if low == stage.ndms:
                break
            chosen[first + low : first + stage.ndms] = times
            times += 1
    return chosen


def lost(smearing: Mapping[str, float], tsamp: float, times: int, freqs: Floats) -> float:
    """Part of the S/N of a matched filter that is lost where a series is halved so often, of pulses of no width.

    The largest of all periods from `FASTEST` on.

    Parameters
    ----------
    smearing : mapping of str to float
        Full widths at a trial DM [s], as of :meth:`~pulsar.dedisp.plan.DMStage.parts`: channel, step and arrival.
    freqs : ndarray
        Channels that are alive [MHz].
    """
    # Boxes as wide as the delay in each channel, with the mean square of the plan.
    # Channels by which smearing in them is told.
    cubes = freqs[:: max(freqs.size // 16, 1)] ** -3.0
    widths = smearing["channel"] * cubes / np.sqrt(np.mean(cubes**2))
    blur = np.hypot(smearing["step"], smearing["arrival"])
    periods = FASTEST * _PERIODS[:, None]
    f = np.arange(1, int(0.5 / tsamp * periods[-1, 0]) + 1) / periods
    power = np.mean(np.sinc(f[..., None] * widths), axis=-1) ** 2 * np.sinc(f * tsamp) ** 2
    power *= np.exp(-((2.0 * np.pi * f * blur) ** 2) / 12.0) * (f <= 0.5 / tsamp)
    kept = power * kept_halved(f, tsamp, times)
    return float(np.max(1.0 - np.sqrt(kept.sum(axis=1) / power.sum(axis=1))))


def kept_halved(f: Floats, tsamp: float, times: int) -> Floats:
    """Part of the power of a harmonic over the noise that is kept where a series is halved so often.

    In white noise :func:`pulsar_kernels.dedisperse.halve_series` leaves a harmonic of frequency f, of samples dt apart,
    the part c / (c + s) of its power over the noise: c = cos(pi f dt)**6, and s = sin(pi f dt)**6 is the noise that
    comes back from beyond the new Nyquist frequency. Beyond that nothing is left.

    `f`: [Hz].
    """
    kept = np.ones_like(f)
    for each in tsamp * 2.0 ** np.arange(times):
        c, s = np.cos(np.pi * f * each) ** 6, np.sin(np.pi * f * each) ** 6
        kept = np.where(f < 0.25 / each, kept * c / (c + s), 0.0)
    return kept


def halved(series: Array, times: int) -> Array:
    """A series with half as many samples, so often.

    `series`: shape (nsamps,).
    """
    from pulsar_kernels.dedisperse import halve_series

    for _ in range(times):
        half = np.empty(series.shape[0] // 2, dtype=np.int16)
        halve_series(np.ascontiguousarray(series), half)
        series = half
    return series


def stretches(plan: "DMPlan", times: Ints) -> "list[tuple[DMStage, int]]":
    """The trials of every stage of a plan that are halved equally often, and how often that is, in ascending DM."""
    parts = []
    for first, stage in plan.numbered():
        factors = times[first : first + stage.ndms]
        edges = [0, *(np.flatnonzero(np.diff(factors)) + 1).tolist(), stage.ndms]
        parts += [(stage.part(low, high), int(factors[low])) for low, high in pairwise(edges)]
    return parts


def periods_text(plan: "DMPlan", times: Ints, config: Config) -> str:
    """From which trial DMs on fewer samples are searched for periods, in words; empty where none are."""
    parts = stretches(plan, times)
    if not times.any():
        return ""
    first: dict[float, float] = {}
    for part, halved in parts:
        if halved:
            first.setdefault(1e6 * part.tsamp * 2.0**halved, part.dm_first)
    said = [f"of {tsamp:.4g} us from DM {dm:.4g} on" for tsamp, dm in first.items()]
    return (
        f"periods are searched in samples {', '.join(said)}, where channels smear: no more than "
        f"{100 * config.search.loss:g} % of the S/N of the narrowest pulses is lost (search.loss)"
    )
