"""Coherent harmonic search: the profiles of trial frequencies from complex amplitudes, and the best pulse in each.

The steps: white amplitudes and harmonic sums of powers as in :mod:`pulsar.searches.fft`, a first look that keeps the
trials with somewhat raised sums, the profile of each from its complex harmonics, pulses of a ladder of widths at all
phases, the best of them refined in frequency, one detection per source. What each does and how well is in
docs/search.md.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pulsar.config.model import CoherentConfig, FFTConfig
from pulsar.searches import stats
from pulsar.searches.amplitudes import PAD, Lengths
from pulsar.searches.fft import FFTSearch, _Buffers
from pulsar.searches.search import Band, Circumstances, Cost, Pairs, ProfileSearch
from pulsar_kernels import coherent
from pulsar_kernels.arrays import Array, Float32s, Floats, Uint8s
from pulsar_kernels.coherent import Ladder, make_ladder, responses

#: Harmonics summed by the first look, harmonics of the profile, its bins, and the highest frequency [Hz]: there half a
#: turn of the highest harmonic is half of the narrowest pulse that the folding search looks for, 0.003 P^-1/2 turns.
TIERS = ((4, 7, 16, math.inf), (8, 15, 32, 500.0), (16, 31, 64, 120.0), (32, 63, 128, 30.0))
#: Fewest harmonics that a period is searched with.
LEAST_HARMONICS = TIERS[0][1]
#: Below these frequencies [Hz] pulses are narrow, and 32 harmonics see less of their power: so large a part of the
#: trials of noise is kept by the first look there, all of them below the first; elsewhere LOOK (docs/search.md).
DEEP = ((1.0, 1.0), (5.0, 0.1))
LOOK = 0.003
#: Below these frequencies [Hz] pulses are wide enough for fewer DMs: the narrowest are as long as said here [s].
SLOWEST, SLOW = (limit for limit, _ in DEEP)
BANDS = ((Band(SLOW), 0.0), (Band(SLOWEST, SLOW), 0.003 * SLOW**-0.5), (Band(0.0, SLOWEST), 0.003 * SLOWEST**-0.5))
#: There profiles are of so many harmonics and bins, and from this S/N on of these: a pulse of S/N 6.5 and 0.4 % of a
#: turn has 5.4 +- 1 in the former, and of noise 2 % are above it.
FIRST_TIER = (63, 128)
SECOND_TIER = (127, 256)
SECOND_SNR = 3.9
#: Refined in steps of 1/(8 K) bins, so many on either side.
STEPS = 8
REACH = 8
#: What is refined: so much below the threshold [S/N]; no more than so many trials.
BELOW = 0.6
MOST = 4096
#: Independent trials per unit (see CoherentSearch.ntrials) at p = 1e-8, more for every factor of ten below, and the
#: fewest (benchmarks/noise.py trials coherent).
TRIALS = (9.5, 5.0, 4.5)
#: Full width at half maximum of a pulse whose mean square harmonic number is m: sqrt(ln 2) / (pi sqrt m) turns, for a
#: Gaussian.
_FWHM = math.sqrt(math.log(2.0)) / math.pi


@dataclass(frozen=True)
class Tier:
    """Tables with which the trials of a range of frequencies are searched."""

    #: nharm, nbins: harmonics and bins of a profile.
    nharm: int
    nbins: int
    stage: int  # of the first look: 2**stage harmonics
    #: low, high: first and last fundamental [bins].
    low: float
    high: float
    keep: float  # part of the trials of noise that the first look keeps
    twice: bool = False  # looked at with FIRST_TIER before

    @cached_property
    def offsets(self) -> Floats:
        """Trials in a cell of the first look, about 1/(2 nharm) apart [bins]."""
        nsum = 1 << self.stage
        count = math.ceil((FIRST_TIER[0] if self.twice else self.nharm) / nsum)
        return np.asarray(((np.arange(count) + 0.5) / count - 0.5) / (2.0 * nsum))

    @property
    def cells(self) -> tuple[int, int]:
        """First and last + 1 cell of the first look."""
        twice = 2 << self.stage
        return math.ceil(self.low * twice), math.floor(self.high * twice) + 1

    def below(self, first: float) -> float:
        """Part of the trials below a frequency [bins]."""
        return float(np.clip((first - self.low) / max(self.high - self.low, 1e-9), 0.0, 1.0))

    @property
    def trials(self) -> float:
        """Profiles that are looked at."""
        return (self.cells[1] - self.cells[0]) * self.keep * self.offsets.size


def make_tiers(lengths: Lengths, config: CoherentConfig) -> tuple[Tier, ...]:
    """The tiers of series of one length; those without a trial are left out."""
    low, high = lengths.bin_range(config.p_min, config.p_max)
    deep = [limit * lengths.span for limit, _ in DEEP]
    tiers = []
    for nsum, nharm, nbins, most in TIERS:
        first = max(low, deep[-1]) if nharm == FIRST_TIER[0] else low
        last = min(high, most * lengths.span, lengths.nbins / nharm - 1)
        tiers.append(Tier(nharm, nbins, nsum.bit_length() - 1, first, last, LOOK))
    nharm, nbins = SECOND_TIER
    for first, last, (_, keep) in zip([low, *deep], deep, DEEP, strict=False):
        last = min(high, last, lengths.nbins / nharm - 1)
        tiers.append(Tier(nharm, nbins, tiers[-1].stage, max(low, first), last, keep, twice=True))
    return tuple(tier for tier in tiers if tier.cells[1] > tier.cells[0])


def units_of(tiers: tuple[Tier, ...], first: float = 0.0) -> float:
    """Frequencies [bins] from `first` on, times the square of the most harmonics there: places of narrow pulses."""
    total, covered = 0.0, first
    for tier in sorted(tiers, key=lambda one: one.high):
        total += max(tier.high - max(tier.low, covered), 0.0) * float(tier.nharm) ** 2
        covered = max(covered, tier.high)
    return total


class CoherentSearch(ProfileSearch["_Buffers"]):
    """Search for periods in profiles made from complex amplitudes; see :class:`~pulsar.searches.search.Search`.

    Parameters
    ----------
    nsamps, tsamp, **run
        `bands` are those of `BANDS`. `spectra`, a search of series of the same length, goes over each of them first.
    config : CoherentConfig
        Range of periods, threshold.

    Raises
    ------
    ConfigError
        If the range of periods is empty.
    """

    name = "coherent"
    section = CoherentConfig
    title = "a coherent harmonic search"
    counted = "profiles of frequencies that a first look keeps"
    kernels = "coherent"
    spectral = True
    max_logp = float(np.log(1e-6))
    config: CoherentConfig

    def __init__(self, nsamps: int, tsamp: float, config: CoherentConfig | None = None, **run: Any) -> None:
        super().__init__(nsamps, tsamp, config, **run)
        spectra, bands = self.run.spectra, self.run.bands
        self._own = spectra is None
        self._fft = FFTSearch(nsamps, tsamp, FFTConfig(nharm=1)) if spectra is None else spectra
        lengths = Lengths(nsamps, tsamp)
        self.span = lengths.span
        self.tiers = make_tiers(lengths, self.config)
        #: Units in which trials are counted in each band (see `ntrials`), and the independent DMs of each.
        units = [units_of(self.tiers, band.low * self.span) for band, _ in BANDS]
        self.units = np.diff([0.0, *units]) * self.tobs / self.span
        self._ntrials = np.array([number for _, number in bands] or [self.ntrials_dm] * len(BANDS))
        self._first = make_ladder(*FIRST_TIER)
        self._looks = [stats.power_from_logp(math.log(tier.keep), 1 << tier.stage) for tier in self.tiers]
        self._ladders = [make_ladder(tier.nharm, tier.nbins) for tier in self.tiers]
        self._finer = [make_ladder(tier.nharm, 2 * tier.nbins) for tier in self.tiers]
        self._solve_threshold(self.config.threshold)
        #: Of the raised sums the range of the first tier; of tiers that keep all there are none.
        ranges = [(*(tier.cells if tier.keep < 1.0 else (0, 0)), tier.stage) for tier in self.tiers]
        least = np.array(self._looks, dtype=np.float32)
        self._raised_from = self._fft.also_raise(np.array(ranges, dtype=np.int64).reshape(-1, 3), least)

    @classmethod
    def _cost(cls, nsamps: int, tsamp: float, config: Any, band: Band, _run: Circumstances, /) -> Cost:
        lengths = Lengths(nsamps, tsamp)
        fft = FFTSearch.estimate(nsamps, tsamp)
        # Picking out the raised sums costs this part of a search in the power spectrum, which makes the spectrum.
        trials, seconds = 0.0, 0.2 * fft.seconds
        for tier in make_tiers(lengths, config):
            ntrials = tier.trials * (1.0 - tier.below(band.low * lengths.span))
            trials += ntrials
            # CPU seconds of a profile, for each of its harmonics: 1e-8 on an AVX2 core (`pulsar bench profiles`), where
            # a search in the power spectrum takes 2.5 to 3 times what its cost says.
            seconds += 4e-9 * tier.nharm * ntrials
        return Cost(trials, seconds, fft.memory)

    @classmethod
    def periods(cls, tobs: float, tsamp: float, section: CoherentConfig) -> tuple[float, float]:
        """Shortest and longest period that is searched [s]: fast ones with the fewest harmonics."""
        return max(section.p_min or 0.0, 2.0 * LEAST_HARMONICS * tsamp), section.p_max or 0.1 * tobs

    @classmethod
    def widths(cls, _section: CoherentConfig, /) -> tuple[tuple[Band, float], ...]:
        """Slow pulsars have wide pulses."""
        return BANDS

    def ntrials(self, logp: Floats | float) -> Floats:
        """Effective independent trials of the whole run at the single-trial ln p.

        A unit is a bin of 1/T and K^2 of it, K the harmonics there: frequencies and phases of the narrowest pulse.
        """
        decades = -np.asarray(logp, dtype=np.float64) / np.log(10.0) - 8.0
        each = np.maximum(TRIALS[0] + TRIALS[1] * decades, TRIALS[2])
        return np.asarray(np.maximum(each * float(self.units @ self._ntrials), self.ntrials_dm), dtype=np.float64)

    def _make_buffers(self) -> "_Buffers":
        return self._fft._buffers()

    def _find(self, series: Array, buffers: "_Buffers", birdies: Pairs, band: Band, /) -> Array:
        if not self.tiers or not self._fft.fill(series, birdies, buffers):
            return self._table(0)
        if self._own:
            # When the array is given again it may hold other samples.
            buffers.of = None
        parts = [self._raised(number, cells, buffers) for number, cells in enumerate(self._look(buffers, band.low))]
        return self._listed(np.concatenate(parts, axis=1), birdies)

    def _look(self, buffers: "_Buffers", first: float) -> list[Floats]:
        """Of every tier the fundamentals [bins] whose sums of powers are raised, from a frequency on [Hz]."""
        index, ranges, _ = self._fft.raised(buffers)
        number_of = ranges - self._raised_from
        kept = []
        for number, tier in enumerate(self.tiers):
            lo, hi = tier.cells
            lo = max(lo, math.ceil(first * self.span * (2 << tier.stage)))
            cells = np.arange(lo, hi) if tier.keep >= 1.0 else index[number_of == number]
            kept.append(cells[cells >= lo] / float(2 << tier.stage))
        return kept

    def _raised(self, number: int, cells: Floats, buffers: "_Buffers") -> Floats:
        """Trials of a tier that are worth a table row: bins, S/N, tier and shape, refined."""
        tier = self.tiers[number]
        if not cells.size:
            return np.zeros((4, 0))
        trials = (cells[:, None] + tier.offsets).ravel()
        if tier.twice:
            snr, _ = self._profiles(trials, self._first, buffers)
            trials = (trials[snr > SECOND_SNR][:, None] + np.array([-0.25, 0.25]) / tier.nharm).ravel()
        snr, _ = self._profiles(trials, self._ladders[number], buffers)
        best = np.flatnonzero(snr > self.snr_threshold - BELOW)
        if not best.size:
            return np.zeros((4, 0))
        # The highest of neighbours, 1/(2 K) apart: what is refined of others is found from there, too.
        beside = np.abs(np.diff(trials[best])) < 0.75 / tier.nharm
        rises = snr[best[1:]] > snr[best[:-1]]
        best = best[~(np.append(beside & rises, False) | np.append(False, beside & ~rises))]
        if best.size > MOST:
            best = best[np.argsort(-snr[best], kind="stable")[:MOST]]
        steps = np.arange(-REACH, REACH + 1) / float(STEPS * tier.nharm)
        finer = trials[best][:, None] + steps
        snr, shape = self._profiles(finer.ravel(), self._finer[number], buffers)
        at = np.argmax(snr.reshape(finer.shape), axis=1) + np.arange(best.size) * steps.size
        return np.array([finer.ravel()[at], snr[at], np.full(best.size, number), shape[at]], dtype=np.float64)

    def _profiles(self, trials: Floats, ladder: "Ladder", buffers: "_Buffers") -> tuple[Float32s, Uint8s]:
        """S/N and shape of the best pulse of every trial."""
        snr = np.zeros(trials.size, dtype=np.float32)
        shape = np.zeros(trials.size, dtype=np.uint8)
        if trials.size:
            coherent.profile_snrs(buffers.real, buffers.imag, PAD, ladder, self._fft.noise.inverse, trials, snr, shape)
        return snr, shape

    def _listed(self, raised: Floats, birdies: Pairs) -> Array:
        """One detection for every source."""
        raised = raised[:, raised[1] > self.snr_threshold]
        if not raised.size:
            return self._table(0)
        freq, snr = raised[0] / self.span, np.ascontiguousarray(raised[1])
        width = np.array([self._widths[int(n)][int(s)] for n, s in zip(raised[2], raised[3], strict=True)])
        alive = self._outside(freq, birdies)
        rows: list[int] = []
        for i in np.argsort(-snr, kind="stable"):
            if not alive[i]:
                continue
            if len(rows) == self.config.max_detections:
                break
            rows.append(int(i))
            self._explain(freq, snr, alive, (freq[i], snr[i], width[i], 0.0))
            alive[i] = False
        # That of a straight line through phases, each known to 0.8 w / S.
        error = math.sqrt(12.0) * 0.8 * width[rows] / (snr[rows] * self.tobs)
        return self._pulses(freq[rows], error, snr[rows], width[rows])

    @cached_property
    def _widths(self) -> list[Floats]:
        """Full widths of the pulses of every tier [turns]."""
        widths = []
        for tier in self.tiers:
            k = np.arange(1, tier.nharm + 1)
            square = responses(tier.nharm, 2 * tier.nbins) ** 2
            widths.append(_FWHM * np.sqrt(np.sum(square, axis=1) / np.sum(square * k**2, axis=1)))
        return widths
