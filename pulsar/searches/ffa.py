"""Fast folding search for long periods in one dedispersed series.

The steps: sums of samples, a running median taken off, coarser series as the period grows, the fast folding transform,
the best boxcar of every profile, one refined detection per source. What each does and how well is in docs/ffa.md.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from pulsar.config.model import Config, FFAConfig
from pulsar.searches.amplitudes import cubic_trend, without_lines
from pulsar.searches.ffa_series import (
    MIN_BINS,
    BoxNoise,
    Buffers,
    Level,
    Step,
    flattened,
    halved,
    make_levels,
    red_part,
    spectrum_of,
    tail_noise,
    taken_off,
    tame_bursts,
    trial_periods,
)
from pulsar.searches.ffa_sources import MOST_SOURCES, FfaSource, Refiner, take_source
from pulsar.searches.search import EVERYTHING, Band, Circumstances, Cost, Pairs, ProfileSearch
from pulsar_kernels import ffa, longwave
from pulsar_kernels.arrays import Array, Bools, Float32s, Floats, Ints, Uint8s
from pulsar_kernels.ffa import LANES

#: Shortest period [s] by default, and where the coherent search runs as well: in white noise and in red noise the two
#: find no more than that one alone, and in red noise folding has the false alarms (docs/search.md).
SHORTEST = 0.5
SHORTEST_BESIDE = 2.0
#: Where bins of a profile are nearly full it is done again with units so many times as large, as long as the noise of a
#: folded sample is not below this part of one, where rounding would no longer be a small noise.
COARSER = 4.0
FEWEST_UNITS = 0.5
#: Noise of a sample of a level in units of its running sums.
FINE_UNIT = 64.0
#: Independent trials per unit (see FFASearch.ntrials) at p = 1e-6, more for every factor of ten below, and the most
#: (benchmarks/noise.py trials ffa).
TRIALS = (1.9, 0.5, 4.0)

#: In place of the S/N of all boxes of all trials.
_NOT_ALL = np.zeros((0, 0), dtype=np.float32)
#: Without the sources that explain it a trial of another one keeps more of its S/N than this.
STILL_THERE = 0.3


class FFASearch(ProfileSearch[Buffers]):
    """Search for long periods by folding; see :class:`~pulsar.searches.search.Search`.

    Lines of interference are filtered out of the series, and what has such a frequency, or equal pulses that have it,
    is not listed.

    Parameters
    ----------
    nsamps, tsamp, **run
        `gaps` have no weight.
    config : FFAConfig
        Range of periods and widths, threshold.
    """

    name = "ffa"
    section = FFAConfig
    title = "a folding search"
    counted = "long periods"
    kernels = "ffa"
    max_logp = float(np.log(1e-5))
    config: FFAConfig

    def __init__(self, nsamps: int, tsamp: float, config: FFAConfig | None = None, **run: Any) -> None:
        super().__init__(nsamps, tsamp, config, **run)
        config = self.config
        if self.run.bands:
            self.ntrials_dm = self.run.bands[0][1]
        clipped = [(max(int(lo), 0), min(int(hi), self.nsamps)) for lo, hi in self.run.gaps]
        self._gaps = np.array(sorted(g for g in clipped if g[1] > g[0]), dtype=np.int64).reshape(-1, 2)
        #: Range that is searched [s].
        self.p_min, self.p_max = self.periods(self.tobs, self.tsamp, config)
        self.levels = _levels(self.nsamps, self.tsamp, config)
        every = [(i, j, step) for i, level in enumerate(self.levels) for j, step in enumerate(level.steps)]
        #: Trial periods of one series.
        self.ntrial_periods = trial_periods(self.levels)
        #: Units in which the trials of one series are counted: see `ntrials`.
        self.units = float(
            sum(
                np.sum((s.transforms[:, 2] - s.transforms[:, 1]) * s.transforms[:, 0]) * np.sum(1.0 / s.widths**2)
                for _, _, s in every
            )
        )
        self._owners = np.array([(i, j, k) for i, j, s in every for k in range(len(s.transforms))], dtype=np.int64)
        # Of every transform: bins, first row, row after the last, where its trials begin; rows, sampling time, boxes.
        table = np.array([t for _, _, s in every for t in s.transforms], dtype=np.int64).reshape(-1, 4)
        self._bins, self._first, self._last, self._starts = table.T
        self._rows = np.array([s.nsamps // t[0] for _, _, s in every for t in s.transforms], dtype=np.int64)
        self._taus = np.array([s.factor * self.levels[i].tau for i, _, s in every for _ in s.transforms])
        most = max((len(s.widths) for _, _, s in every), default=0)
        boxes = np.array([np.pad(s.widths, (0, most - len(s.widths))) for _, _, s in every], dtype=np.int64)
        number = np.array([len(s.transforms) for _, _, s in every], dtype=np.int64)
        self._boxes = np.repeat(boxes.reshape(len(every), most), number, axis=0)
        self._prepared = {step.first: _Prepared.of(step) for _, _, step in every}
        self._box_noise = [BoxNoise(level.steps) for level in self.levels]
        self._refiner = Refiner(self.levels, self.tobs, self.p_max, config.duty_max)
        self._solve_threshold(config.threshold)

    @classmethod
    def _cost(cls, nsamps: int, tsamp: float, config: Any, _band: Band, _run: Circumstances, /) -> Cost:
        # Its trials are periods, 0 of them where there is none to search.
        levels = _levels(nsamps, tsamp, config)
        periods = trial_periods(levels)
        # CPU seconds of a series, of each sample of its levels, and of each bin of all profiles: fitted to searches of
        # noise of 2^15 to 2^21 samples, of which 12 to 14 of 15 were within 30 %, the others up to 1.7 times as long.
        seconds = 3e-3 if periods else 0.0
        for level in levels:
            seconds += 3e-9 * level.nsamps
            for step in level.steps:
                rows = step.nsamps // step.transforms[:, 0]
                seconds += 0.85e-9 * float(np.sum(step.transforms[:, 0] * rows))
        return Cost(periods, float(seconds), Buffers.nbytes(levels))

    @classmethod
    def settings(cls, config: Config, tobs: float, /) -> FFAConfig:
        """Its section, with the shortest period where the coherent search runs as well, unless it is given."""
        section = config.ffa
        if section.p_min is not None:
            return section
        covered = (config.coherent.p_max or 0.1 * tobs) if config.coherent.enabled else 0.0
        shortest = max(min(SHORTEST_BESIDE, 0.5 * covered), SHORTEST)
        shortest = shortest if shortest < section.p_max else min(SHORTEST, section.p_max)
        return section.model_copy(update={"p_min": shortest})

    @classmethod
    def periods(cls, tobs: float, tsamp: float, section: FFAConfig) -> tuple[float, float]:
        """Shortest and longest period that the samples allow [s]."""
        # Fewest turns that a search makes sense for.
        return max(section.p_min or SHORTEST, MIN_BINS * tsamp), min(section.p_max, tobs / 4.0)

    @classmethod
    def widths(cls, section: FFAConfig, /) -> tuple[tuple[Band, float], ...]:
        """The narrowest pulses of the shortest period [s]."""
        return ((EVERYTHING, (section.p_min or SHORTEST) * section.duty_min),)

    def ntrials(self, logp: Floats | float) -> Floats:
        """Effective independent trials of the whole run at the single-trial ln p.

        A unit is a profile's phase bin, counted with 1/w^2 for a box of w bins: places and periods that differ.
        """
        decades = -np.asarray(logp, dtype=np.float64) / np.log(10.0) - 6.0
        each = np.clip(TRIALS[0] + TRIALS[1] * decades, 0.5, TRIALS[2])
        return np.asarray(np.maximum(each * self.units, 1.0) * self.ntrials_dm, dtype=np.float64)

    def _make_buffers(self) -> Buffers:
        return Buffers(self.levels)

    def _find(self, series: Array, buffers: Buffers, birdies: Pairs, _band: Band, /) -> Array:
        if not self.ntrial_periods or not self._fold(series, buffers, birdies):
            return self._table(0)
        return self._detect(buffers, birdies)

    def _fold(self, series: Array, buffers: Buffers, birdies: Pairs) -> bool:
        """Fill the best S/N of every trial period; False when the series is constant."""
        first = self.levels[0]
        longwave.sum_samples(series, cubic_trend(series, self._gaps), self._gaps, first.halvings, buffers.raw[0])
        without_lines(buffers.raw[0], first.tau, birdies)
        scale = np.zeros(0)
        for i, level in enumerate(self.levels):
            if i > 0:
                steps = level.halvings - self.levels[i - 1].halvings
                finer = halved(buffers.raw[i - 1], steps - 1, buffers.halved)[-1]
                longwave.sum_pairs(finer, buffers.raw[i])
            flat = buffers.flat[i]
            sigma, share = flattened(level, buffers.raw[i], flat)
            if not sigma > 0.0:
                return False
            count = int(np.ceil(np.log2(level.widest)))
            halves = halved(flat, min(count, max(level.nsamps.bit_length() - 5, 0)), buffers.halved)
            tame_bursts(halves, sigma)
            known = scale[level.halvings - self.levels[i - 1].halvings :] if i > 0 else scale
            scale = tail_noise(halves, sigma, known)
            # Where the sums seem red their spectrum is looked at.
            longest = max(level.nsamps / level.shortest, 1.0)
            rises = scale
            part, size = red_part(halves, share * sigma**2, longest) if scale[-1] > 1.0 else (np.zeros(0), 1)
            if len(part):
                halves = taken_off(flat, part, size, halves, buffers.halved)
                tame_bursts(halves, sigma)
                rises = tail_noise(halves, sigma, np.zeros(0))
            spectrum = spectrum_of(halves, sigma, longest) if rises[-1] > 1.0 else np.zeros(0)
            # Missing samples are nothing, with no noise.
            noise = sigma * float(np.sqrt(share))
            buffers.noise[i] = noise
            longwave.running_sums(flat, FINE_UNIT / noise, buffers.sums)
            for step, rise in zip(level.steps, self._box_noise[i].over_white(rises, spectrum), strict=True):
                buffers.rises[step.first] = rise
                at = slice(step.first, step.last + ffa.LANES)
                self._fold_step(step, buffers, rise, (buffers.best[at], buffers.which[at]))
        return True

    def _fold_step(
        self, step: Step, buffers: Buffers, rise: Floats, out: tuple[Float32s, Uint8s], table: Ints | None = None
    ) -> None:
        """Best S/N and width of a step, or of a `table` of a part of it; bins that may have been full once more."""
        prepared = self._prepared[step.first]
        unit, full = prepared.unit, prepared.full
        best, widths = out
        table = prepared.table if table is None else table
        self._search_step(step, buffers, unit, rise, out, table)
        count = step.last - step.first
        while unit / COARSER >= FEWEST_UNITS and best[:count].max() > full:
            unit /= COARSER
            again = (np.zeros_like(best), np.zeros_like(widths))
            self._search_step(step, buffers, unit, rise, again, table)
            bright = np.flatnonzero(best[:count] > full)
            best[bright] = again[0][bright]
            widths[bright] = again[1][bright]
            full *= COARSER

    def _search_step(
        self, step: Step, buffers: Buffers, unit: float, rise: Floats, out: tuple[Float32s, Uint8s], table: Ints
    ) -> None:
        """Best S/N and width of a step, with a noise of `unit` in a sample."""
        x = buffers.coarse
        longwave.sum_groups(buffers.sums, step.factor, unit / (FINE_UNIT * step.factor**0.5), x[: step.nsamps])
        # Rounding adds a twelfth.
        noise = math.sqrt(unit**2 + 1.0 / 12.0) * rise
        limit, work, tile = self.snr_threshold, buffers.work, buffers.tile
        ffa.search_periods(x, step.nsamps, table, step.widths, noise, limit, work, tile, *out, _NOT_ALL)

    def _trials(self, index: Ints) -> tuple[Floats, Ints, Ints]:
        """Frequencies [Hz], phase bins, and transforms of trial periods."""
        number = np.searchsorted(self._starts, index, side="right") - 1
        bins, rows, row = self._bins[number], self._rows[number], index - self._starts[number] + self._first[number]
        return (bins - row / (rows - 1.0)) / (bins**2.0 * self._taus[number]), bins, number

    def trial_periods(self) -> Floats:
        """All trial periods [s], shape (ntrial_periods,)."""
        return np.asarray(1.0 / self._trials(np.arange(self.ntrial_periods))[0])

    def _detect(self, buffers: Buffers, birdies: Pairs) -> Array:
        best = buffers.best[: self.ntrial_periods]
        index = np.flatnonzero(best > self.snr_threshold)
        if index.size == 0:
            return self._table(0)
        freq, nbins, transform = self._trials(index)
        width = self._boxes[transform, buffers.which[index]] / nbins
        trials = _Trials(index, freq, best[index].astype(np.float64), width, nbins, self._owners[transform, 0])
        alive = self._outside(freq, birdies)
        rows: list[tuple[float, float, float, float]] = []
        roots, owner = self._list_sources(buffers, trials, alive, birdies, rows)
        if len(rows) < self.config.max_detections:
            beneath, alive = self._without(buffers, trials, roots, owner)
            self._list_sources(buffers, beneath, alive, birdies, rows)
            rows.sort(key=lambda row: -row[2])
        freq, freq_err, snr, width = np.array(rows).reshape(-1, 4).T
        out = self._pulses(freq, freq_err, snr, width)
        # As it was measured, to the last digit.
        out["sigma_single"] = snr
        return out

    def _list_sources(
        self,
        buffers: Buffers,
        trials: "_Trials",
        alive: Bools,
        birdies: Pairs,
        rows: list[tuple[float, float, float, float]],
    ) -> tuple[list[tuple[float, float, float, float]], Ints]:
        """Add the sources that trials show, best first: frequency and its error, S/N, width.

        Returns what explains others of each (see `FfaSource.root`), and which of these explains a trial, -1 if none.
        """
        freq, snr = trials.freq, trials.snr
        roots: list[tuple[float, float, float, float]] = []
        owner = np.full(len(freq), -1, dtype=np.int64)
        for i in np.argsort(-snr, kind="stable"):
            if not alive[i]:
                continue
            if len(rows) == self.config.max_detections:
                break
            source = self._refiner.examine(
                buffers, int(trials.level[i]), freq[i], snr[i], trials.width[i], trials.nbins[i], self.snr_threshold
            )
            n = round(source.root[0] / source.freq)
            if n > 1 and 1.0 / source.root[0] >= self.p_min:
                # In red noise a multiple may have the better S/N: the true period is listed if it is seen by itself.
                there = np.abs(freq - source.root[0]) * self.tobs < source.root[2]
                # Of n equal pulses in a turn the period is a part of the trial's; it is listed if its own trial has
                # this of the S/N: one that is not there among two leaves 0.7, two leave 1.4.
                if np.any(there & (snr > 0.9 * snr[i])):
                    source = FfaSource(source.freq * n, source.freq_err * n, source.root[2], source.root)
            # A flank that led to the top of one that is listed is no other source.
            flank = any(abs(source.freq - row[0]) * self.tobs < max(source.width, row[3]) for row in rows)
            known = any(abs(f - g) <= 0.5 * full for g, full in birdies for f in (source.freq, source.root[0]))
            if not (flank or known):
                rows.append((source.freq, source.freq_err, snr[i], source.width))
            alive[i] = False
            rivals = alive.copy()
            self._explain(freq, snr, alive, source.root)
            owner[rivals & ~alive] = len(roots)
            roots.append(source.root)
        return roots, owner

    def _without(
        self, buffers: Buffers, trials: "_Trials", roots: list[tuple[float, float, float, float]], owner: Ints
    ) -> tuple["_Trials", Bools]:
        """Trials in the series without the sources that explain them, and whether they show something else there.

        What was leakage of a strong source that is not quite gone is weaker, but may still be above the threshold: at
        least STILL_THERE of the S/N must be left.
        """
        order = np.unique(owner[owner >= 0])[:MOST_SOURCES]
        gone = [int(k) for k in order if take_source(self.levels, buffers, roots[k], self.snr_threshold)]
        taken_from = np.flatnonzero(np.isin(owner, gone))
        again = np.zeros(len(owner))
        width = trials.width.copy()
        last = -1
        for i, step, table, here in self._holding(trials.number, taken_from):
            if i != last:
                longwave.running_sums(buffers.flat[i], FINE_UNIT / buffers.noise[i], buffers.sums)
                last = i
            best = np.zeros(step.last - step.first + ffa.LANES, dtype=np.float32)
            boxes = np.zeros(len(best), dtype=np.uint8)
            self._fold_step(step, buffers, buffers.rises[step.first], (best, boxes), table)
            at = trials.number[here] - step.first
            again[here] = best[at]
            width[here] = step.widths[boxes[at]] / trials.nbins[here]
        alive = (again > self.snr_threshold) & (again > STILL_THERE * trials.snr)
        return trials._replace(snr=np.minimum(again, trials.snr), width=width), alive

    def _holding(self, number: Ints, asked: Ints) -> Iterator[tuple[int, Step, Ints, Ints]]:
        """Steps that hold the trials `asked` of the ascending `number`: level, step, transforms as they need, trials.

        Of each transform the rows from the first to the last of them, in the groups in which all rows are searched:
        what is found of them is the same.
        """
        number = number[asked]
        which = np.searchsorted(self._starts, number, side="right") - 1
        first = np.flatnonzero(np.diff(which, prepend=-1))
        last = np.append(first[1:] - 1, len(which) - 1)[: len(first)]
        held = which[first]
        skip = (number[first] - self._starts[held]) // LANES * LANES
        until = ((number[last] - self._starts[held]) // LANES + 1) * LANES
        low, high = self._first[held] + skip, np.minimum(self._first[held] + until, self._last[held])
        tables = np.column_stack([self._bins[held], low, high, self._starts[held] + skip])
        begins = np.flatnonzero(np.any(np.diff(self._owners[held, :2], axis=0, prepend=-1) != 0, axis=1))
        for a, b in pairwise([*begins.tolist(), len(held)]):
            i, j = (int(x) for x in self._owners[held[a], :2])
            step = self.levels[i].steps[j]
            table = tables[a:b]
            table[:, 3] -= step.first
            yield i, step, table, asked[first[a] : last[b - 1] + 1]


class _Prepared(NamedTuple):
    """Tables of a step for every series: transforms with trials counted from its own first, units.

    `unit` is one sample of noise in integers, as many as leave room for bins of so many standard deviations, `full` an
    S/N from which bins may have been full.
    """

    table: Ints
    unit: float
    full: float

    @classmethod
    def of(cls, step: Step) -> "_Prepared":
        table = step.transforms.copy()
        table[:, 3] -= table[0, 3]
        root = math.sqrt(step.nsamps // step.transforms[0, 0])
        # Bins of the profile hold up to 128 times their noise, if that is between these units.
        unit = min(max(ffa.LARGEST / (128.0 * root), 4.0), 64.0)
        return cls(table, unit, 0.9 * ffa.LARGEST / (unit * root))


class _Trials(NamedTuple):
    """Trial periods above the threshold: their numbers, frequencies [Hz], S/N, widths [turns], bins and levels."""

    number: Ints
    freq: Floats
    snr: Floats
    width: Floats
    nbins: Ints
    level: Ints


def _levels(nsamps: int, tsamp: float, config: FFAConfig) -> tuple[Level, ...]:
    """Series and transforms of a search."""
    periods = FFASearch.periods(nsamps * tsamp, tsamp, config)
    return make_levels(nsamps, tsamp, *periods, config.duty_min, config.duty_max)
