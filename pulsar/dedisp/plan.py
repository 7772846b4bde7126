"""The DM plan: trial DMs, and how far the data may be downsampled for each.

Smearing parts are full widths in seconds and add in quadrature:

- channel: 2 K DM df / f^3, its rms over the channels;
- sampling: the sampling time of the stage;
- step: the delay over the whole band that half a DM step leaves, the worst that a true DM can meet;
- arrival: the rms by which integer delays (the tree's or brute force's) miss the exact ones.

The best possible is channel, original sampling and the narrowest pulse of interest (``width_min``).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import DedispConfig
from pulsar.constants import KDM
from pulsar.data.header import Header
from pulsar.errors import ConfigError

#: Arrival error [samples rms] that the plan reckons with; tests hold the tree to it.
ARRIVAL_RMS: Final = {"tree": 0.55, "brute": 0.29}
#: Largest downsampling: sums of this many int8 samples still fit int16.
MAX_DOWNSAMPLE: Final = 256
#: Fewest samples that downsampling leaves of a series: what a periodicity search needs.
MIN_SAMPLES: Final = 256
#: A new stage begins when it is this much cheaper per unit of DM.
_GAIN: Final = 0.7
#: Fewest trials of a stage between others.
_SHORTEST: Final = 16
#: A short stage is one nevertheless where going on with the one before costs this many times more per unit of DM.
_DEAR: Final = 2.0
_MAX_TRIALS: Final = 1_000_000


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


@dataclass(frozen=True)
class DMStage:
    """Trials that share a sampling time.

    Attributes
    ----------
    dm_first, dm_step : float
        First trial and step [pc cm^-3].
    ndms : int
        Number of trials.
    downsample : int
        Raw samples in one sample: a power of two.
    nsamps : int
        Samples of a series.
    tsamp : float
        Sampling time [s].
    smearing : Smearing
        Where it exceeds the best possible most (at the stage's lowest DM).
    smearing_high : Smearing
        At its highest DM.
    """

    dm_first: float
    dm_step: float
    ndms: int
    downsample: int
    nsamps: int
    tsamp: float
    smearing: Smearing
    smearing_high: Smearing

    @cached_property
    def dms(self) -> NDArray[np.float64]:
        """Trial DMs [pc cm^-3], ascending, shape (ndms,)."""
        dms: NDArray[np.float64] = self.dm_first + self.dm_step * np.arange(self.ndms, dtype=np.float64)
        dms.flags.writeable = False
        return dms

    @property
    def dm_last(self) -> float:
        """Last trial [pc cm^-3]."""
        return float(self.dms[-1])

    @property
    def best(self) -> float:
        """Best possible smearing where it is exceeded most [s]."""
        return self.smearing.best

    @property
    def nbytes(self) -> int:
        """Size of the series, int16."""
        return 2 * self.ndms * self.nsamps


@dataclass(frozen=True, eq=False)
class DMPlan:
    """All trial DMs of a run.

    Attributes
    ----------
    stages : tuple of DMStage
        In ascending DM, without holes.
    freqs : ndarray, shape (nchans,)
        Channels reckoned with [MHz], descending.
    fref : float
        Frequency to which delays are referred [MHz].
    tsamp : float
        Original sampling time [s].
    nsamps : int
        Original samples.
    tolerance : float
        Fraction by which the smearing may exceed the best possible.
    method : str
        "tree" or "brute".
    """

    stages: tuple[DMStage, ...]
    freqs: NDArray[np.float64]
    fref: float
    tsamp: float
    nsamps: int
    tolerance: float
    method: str

    @cached_property
    def dms(self) -> NDArray[np.float64]:
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

    def stage_of(self, index: int) -> tuple[int, int]:
        """Stage, and row within it, of trial `index`."""
        if not 0 <= index < self.ndms:
            raise IndexError(f"trial {index} of {self.ndms}")
        first = 0
        for number, stage in enumerate(self.stages):
            if index < first + stage.ndms:
                return number, index - first
            first += stage.ndms
        raise IndexError(f"trial {index} of {self.ndms}")


class _Band:
    """What the plan needs to know of the band and the data."""

    def __init__(self, header: Header, config: DedispConfig, freqs: NDArray[np.float64]) -> None:
        self.tsamp = header.tsamp
        self.width = config.width_min
        self.tolerance = config.tolerance
        #: Delay over the band, and rms channel smearing [s per unit of DM].
        self.across = KDM * float(freqs[-1] ** -2.0 - freqs[0] ** -2.0)
        half = 0.5 * header.chan_width
        low = np.maximum(freqs - half, 0.1 * freqs)
        self.channel = KDM * float(np.sqrt(np.mean((low**-2.0 - (freqs + half) ** -2.0) ** 2)))
        # Rounding misses at most the delay itself: nothing at DM 0.
        self.arrival = ARRIVAL_RMS[config.method]
        self.delay = self.across * config.dm_hi
        limit = max(1, min(config.max_downsample, MAX_DOWNSAMPLE, header.nsamps // MIN_SAMPLES))
        self.downsamples = [1 << i for i in range(limit.bit_length())]

    def smearing(self, dm: float, downsample: int, step: float) -> Smearing:
        tsamp = downsample * self.tsamp
        channel = self.channel * dm
        best = float(np.sqrt(channel**2 + self.tsamp**2 + self.width**2))
        arrival = min(self.arrival * tsamp, self.delay / np.sqrt(3.0))
        return Smearing(dm, channel, tsamp, self.across * step / 2, float(arrival), self.width, best)

    def budget(self, dm: float, downsample: int) -> float:
        """Smearing that the DM step may add [s], 0 when the downsampling alone is too much."""
        smear = self.smearing(dm, downsample, 0.0)
        left = ((1.0 + self.tolerance) * smear.best) ** 2 - smear.total**2
        if downsample == 1:
            # A tolerance below what integer delays cost cannot be met: the step then takes a quarter of it.
            left = max(left, 0.25 * ((1.0 + self.tolerance) ** 2 - 1.0) * smear.best**2)
        return float(np.sqrt(max(left, 0.0)))

    def choose(self, dm: float) -> tuple[int, float, float]:
        """Downsampling, DM step, and cost per unit of DM that serve best from `dm` on."""
        best = (1, np.inf, np.inf)
        for downsample in self.downsamples:
            budget = self.budget(dm, downsample)
            if budget <= 0:
                break
            step = 2.0 * budget / self.across
            cost = 1.0 / (step * downsample)
            if cost < _GAIN * best[2]:
                best = (downsample, step, cost)
        return best


def make_plan(header: Header, config: DedispConfig, freqs: NDArray[np.float64] | None = None) -> DMPlan:
    """Choose trial DMs and downsampling.

    At any true DM of the range the smearing (see the module) is within (1 + tolerance) of the best possible, unless
    the tolerance is less than what integer delays alone cost at the original sampling.

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
    band = _Band(header, config, live)
    runs = _single(band, config) if config.dm_hi == config.dm_lo else None
    if runs is None and config.dm_step is not None:
        runs = _fixed(band, config, config.dm_step)
    if runs is None:
        runs = _single(band, config) if band.across <= 0 else _free(band, config)
    stages = []
    for first, step, count, downsample in runs:
        low, high = max(first - step / 2, config.dm_lo), min(first + step * (count - 0.5), config.dm_hi)
        stages.append(
            DMStage(
                dm_first=first,
                dm_step=step,
                ndms=count,
                downsample=downsample,
                nsamps=header.nsamps // downsample,
                tsamp=header.tsamp * downsample,
                smearing=band.smearing(low, downsample, step if count > 1 or len(runs) > 1 else 0.0),
                smearing_high=band.smearing(max(high, low), downsample, step if count > 1 or len(runs) > 1 else 0.0),
            )
        )
    return DMPlan(
        stages=tuple(stages),
        freqs=live,
        fref=float(header.freqs[0]),
        tsamp=header.tsamp,
        nsamps=header.nsamps,
        tolerance=config.tolerance,
        method=config.method,
    )


_Run = tuple[float, float, int, int]  # first DM, step, trials, downsampling


def _coarsest(band: _Band, dm: float) -> int:
    """Largest downsampling that is within the tolerance at `dm`, the step left out."""
    fine = [d for d in band.downsamples if d == 1 or band.budget(dm, d) > 0]
    return fine[-1]


def _single(band: _Band, config: DedispConfig) -> list[_Run]:
    return [(config.dm_lo, 0.0, 1, _coarsest(band, config.dm_lo))]


def _check(trials: float) -> None:
    if trials > _MAX_TRIALS:
        raise ConfigError(
            f"[dedisp] asks for {trials:.3g} trial DMs, at most {_MAX_TRIALS} are taken: "
            "raise tolerance or dm_step, or narrow dm_lo to dm_hi"
        )


def _fixed(band: _Band, config: DedispConfig, step: float) -> list[_Run]:
    """One grid from dm_lo to dm_hi; downsampling grows along it."""
    _check((config.dm_hi - config.dm_lo) / step)
    total = int(np.ceil((config.dm_hi - config.dm_lo) / step - 1e-9)) + 1
    runs: list[_Run] = []
    start = 0
    while start < total:
        low = max(config.dm_lo + step * (start - 0.5), config.dm_lo)
        downsample = _coarsest(band, low)
        end = start + 1
        while end < total and _coarsest(band, config.dm_lo + step * (end - 0.5)) == downsample:
            end += 1
        runs.append((config.dm_lo + step * start, step, end - start, downsample))
        start = end
    return runs


def _free(band: _Band, config: DedispConfig) -> list[_Run]:
    """Stages whose step and downsampling grow with the smearing inside the channels."""
    runs: list[_Run] = []
    edge, previous = config.dm_lo, 0.0  # covered so far, and by steps of which size
    trials = 0
    while not runs or runs[-1][0] + runs[-1][1] * (runs[-1][2] - 1) < config.dm_hi * (1 - 1e-12):
        downsample, step, cost = band.choose(edge)
        _check(trials + (config.dm_hi - edge) / step * 1e-3)
        first = edge + step / 2 if previous else edge
        # The stage ends where another choice is clearly cheaper.
        below, above = edge, config.dm_hi
        if band.choose(above)[2] < _GAIN * cost:
            while above - below > 0.5 * step:
                middle = 0.5 * (below + above)
                if band.choose(middle)[2] < _GAIN * cost:
                    above = middle
                else:
                    below = middle
        if first >= config.dm_hi:
            # Half a step or less is left: the trial is dm_hi itself.
            runs.append((config.dm_hi, step, 1, downsample))
            break
        dear = bool(runs) and _DEAR * cost * runs[-1][1] * runs[-1][3] < 1.0
        if runs and not dear and above < config.dm_hi and above - edge < _SHORTEST * step:
            # Too short to be worth a stage: the one before, finer, goes on instead.
            start, fine, count, downsample = runs[-1]
            more = max(1, int(np.ceil((above - edge) / fine)))
            runs[-1] = (start, fine, count + more, downsample)
            trials += more
            edge = start + fine * (count + more - 0.5)
            continue
        if above >= config.dm_hi:
            count = int(np.ceil((config.dm_hi - first) / step - 1e-9)) + 1
            step = (config.dm_hi - first) / (count - 1) if count > 1 else step
        else:
            count = max(1, int(np.ceil((above - first) / step)))
        trials += count
        _check(trials)
        runs.append((first, step, count, downsample))
        edge, previous = first + step * (count - 0.5), step
    return runs
