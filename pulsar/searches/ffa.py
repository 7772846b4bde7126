"""Fast folding search for long periods in one dedispersed series.

The steps: sums of samples, a running median taken off, coarser series as the period grows, the fast folding transform,
the best boxcar of every profile, one refined detection per source. What each does and how well is in docs/ffa.md.
"""

import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import FFAConfig
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.data.series import TimeSeries
from pulsar.errors import ConfigError, DataError
from pulsar.searches import stats
from pulsar.searches.amplitudes import cubic_trend
from pulsar.searches.ffa_levels import MIN_BINS, POINTS, Level, Step, make_levels
from pulsar.searches.ffa_noise import LOW_MODES, folded_noise, running_means, spectrum_of, tail_noise
from pulsar.searches.lines import without_lines

#: Fewest samples that a search makes sense for, and fewest turns.
MIN_SAMPLES = 256
MIN_TURNS = 4.0
#: How much more at one turn.
FEW_TURNS = 2.5
#: Noise of a folded sample in integer units: so that bins of the profile hold up to 128 times their noise, if it is
#: between these. Where bins are nearly full it is done again with units 4 times as large, as long as the noise is not
#: below half a unit, where rounding would no longer be a small noise.
HEADROOM = 128.0
LEAST_UNIT = 4.0
MOST_UNIT = 64.0
COARSER = 4.0
FEWEST_UNITS = 0.5
#: Noise of a sample of a level in units of its running sums, and from how many places noise is measured at most.
FINE_UNIT = 64.0
MOST_BLOCKS = 4096
#: Standard deviations of a burst; what is in so many of 64 stretches is no burst.
BURST = 6.0
BURSTS = 4
#: Share of the samples that must be there.
LEAST_SHARE = 0.05
#: A source is refined on a level up to so much coarser than its own.
COARSER_LEVELS = 2
#: Most times that a refinement goes on to a better frequency.
MOST_STEPS = 30
#: Error of the phase of a pulse of S/N 1 over its width.
PHASE_ERROR = 0.8
#: A single trial must be less likely than this by chance to be looked at at all.
MAX_LOGP = float(np.log(1e-5))

#: Independent trials per unit (see FFASearch.ntrials) at p = 1e-6, more for every factor of ten below, and the most
#: (benchmarks/calibrate_ffa_trials.py).
TRIALS = (1.9, 0.5, 4.0)

#: What is attached to a known source: expectations from 1.5 on, 1.2 times that and 4.5 more.
_KNOWN = np.array([4096.0, 1.5, 1.2, 4.5])
#: Pulses that differ by less than this part of them are the same.
ALIKE = 0.05
_LOGP_OTHERS = float(np.log(1e-4))
_LOGP_LONGER = float(np.log(1e-6))


class FFASearch:
    """Search series of one length and sampling time; safe to share between threads.

    Parameters
    ----------
    nsamps : int
        Samples of every series.
    tsamp : float
        Sampling time [s].
    config : FFAConfig
        Range of periods and widths, threshold.
    ntrials_dm : float
        Independent DMs of the whole run, by which the trials of one series are multiplied.
    gaps : sequence of (int, int)
        First sample and the one after the last of stretches without data: they have no weight.
    nbins : int, optional
        Least number of phase bins, if the sampling time allows; by default as wanted for `duty_min`.

    Raises
    ------
    DataError
        If the series are too short to search.
    ConfigError
        If a parameter is out of range.
    """

    def __init__(
        self,
        nsamps: int,
        tsamp: float,
        config: FFAConfig | None = None,
        *,
        ntrials_dm: float = 1.0,
        gaps: Sequence[tuple[int, int]] = (),
        nbins: int | None = None,
    ) -> None:
        from pulsar_kernels import ffa

        config = FFAConfig() if config is None else config
        if nsamps < MIN_SAMPLES:
            raise DataError(f"series of {nsamps} samples: a folding search needs at least {MIN_SAMPLES}")
        if not tsamp > 0 or not ntrials_dm > 0:
            raise ConfigError(f"tsamp {tsamp!r} and ntrials_dm {ntrials_dm!r} must be positive")
        if nbins is not None and nbins < MIN_BINS:
            raise ConfigError(f"nbins {nbins!r} phase bins: a profile needs at least {MIN_BINS}")
        self.nsamps = int(nsamps)
        self.tsamp = float(tsamp)
        self.config = config
        self.ntrials_dm = float(ntrials_dm)
        self.tobs = self.nsamps * self.tsamp
        clipped = [(max(int(lo), 0), min(int(hi), self.nsamps)) for lo, hi in gaps]
        self._gaps = np.array(sorted(g for g in clipped if g[1] > g[0]), dtype=np.int64).reshape(-1, 2)
        #: Range that is searched [s].
        self.p_min = max(config.p_min, MIN_BINS * self.tsamp)
        self.p_max = min(config.p_max, self.tobs / MIN_TURNS)
        self.levels = make_levels(
            self.nsamps, self.tsamp, self.p_min, self.p_max, config.duty_min, config.duty_max, nbins
        )
        every = [(i, j, step) for i, level in enumerate(self.levels) for j, step in enumerate(level.steps)]
        #: Trial periods of one series.
        self.ntrial_periods = int(sum(np.sum(s.transforms[:, 2] - s.transforms[:, 1]) for _, _, s in every))
        #: Units in which the trials of one series are counted: see `ntrials`.
        self.units = float(
            sum(
                np.sum((s.transforms[:, 2] - s.transforms[:, 1]) * s.transforms[:, 0]) * np.sum(1.0 / s.widths**2)
                for _, _, s in every
            )
        )
        self._nwork = max((ffa.work_size(s.nsamps, int(b)) for _, _, s in every for b in s.transforms[:, 0]), default=0)
        self._ntile = max(
            (ffa.tile_size(int(b), int(s.widths[-1])) for _, _, s in every for b in s.transforms[:, 0]), default=0
        )
        self._owners = np.array([(i, j, k) for i, j, s in every for k in range(len(s.transforms))], dtype=np.int64)
        # Of every transform: where its trials begin, bins, first row, rows, sampling time, boxes.
        table = np.array([t for _, _, s in every for t in s.transforms], dtype=np.int64).reshape(-1, 4)
        self._bins, self._first, self._starts = table[:, 0], table[:, 1], table[:, 3]
        self._rows = np.array([s.nsamps // t[0] for _, _, s in every for t in s.transforms], dtype=np.int64)
        self._taus = np.array([s.factor * self.levels[i].tau for i, _, s in every for _ in s.transforms])
        most = max((len(s.widths) for _, _, s in every), default=0)
        boxes = [np.pad(s.widths, (0, most - len(s.widths))) for _, _, s in every for _ in s.transforms]
        self._boxes = np.array(boxes, dtype=np.int64).reshape(len(table), most)
        self._local = threading.local()
        expected = float(np.log(stats.expected_from_sigma(config.threshold)))
        logp = expected
        for _ in range(50):
            logp = expected - float(np.log(self.ntrials(logp)))
        self.set_threshold(min(logp, MAX_LOGP))

    @property
    def enabled(self) -> bool:
        """Whether there is any period to search."""
        return self.ntrial_periods > 0

    @property
    def resolution(self) -> float:
        """Sampling time of the finest series that is folded [s]; inf if none is."""
        return min((step.factor * level.tau for level in self.levels for step in level.steps), default=float("inf"))

    @property
    def memory_bytes(self) -> int:
        """Work space of one thread."""
        series = sum(2 * level.nsamps for level in self.levels)
        longest = max((level.nsamps for level in self.levels), default=0)
        coarse = max((step.nsamps for level in self.levels for step in level.steps), default=0)
        return 4 * (series + 2 * longest + self._ntile) + 2 * (coarse + self._nwork) + 5 * self.ntrial_periods

    @cached_property
    def cost(self) -> float:
        """About the CPU seconds that a series takes, on one core of 2024."""
        seconds = 0.5e-9 * self.nsamps if self.enabled else 0.0
        for level in self.levels:
            seconds += 4.3e-9 * level.nsamps
            for step in level.steps:
                bins = step.transforms[:, 0].astype(np.float64)
                rows = step.nsamps // step.transforms[:, 0]
                seconds += float(np.sum(bins * rows * (0.12e-9 + 0.04e-9 * np.log2(rows))))
        return float(seconds)

    def ntrials(self, logp: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Effective independent trials of the whole run at the single-trial ln p.

        A unit is a profile's phase bin, counted with 1/w^2 for a box of w bins: places and periods that differ.
        """
        decades = -np.asarray(logp, dtype=np.float64) / np.log(10.0) - 6.0
        each = np.clip(TRIALS[0] + TRIALS[1] * decades, 0.5, TRIALS[2])
        return np.asarray(np.maximum(each * self.units, 1.0) * self.ntrials_dm, dtype=np.float64)

    def set_threshold(self, logp: float) -> None:
        """Keep what is less likely than exp(`logp`) in a single trial, whatever the configured threshold says."""
        #: ln of the single-trial probability at the threshold, and the S/N there.
        self.logp_threshold = float(logp)
        self.snr_threshold = float(stats.sigma_from_logp(self.logp_threshold))

    def search(
        self,
        series: NDArray[Any],
        dm: float = 0.0,
        dm_index: int = 0,
        birdies: Iterable[tuple[float, float]] = (),
    ) -> NDArray[Any]:
        """Detections in one series, best first.

        Parameters
        ----------
        series : ndarray of int16 or float32, shape (nsamps,)
            Samples that are not finite, in gaps, or in stretches of equal samples have no weight.
        dm : float
            DM of the series [pc cm^-3].
        dm_index : int
            Row of the DM plan.
        birdies : iterable of (float, float)
            Frequencies and full widths [Hz] of known interference: filtered out of the series, and what has such a
            frequency, or equal pulses that have it, is not listed.

        Returns
        -------
        ndarray
            Structured, with the fields of DETECTION_COLUMNS; at most `max_detections` rows.

        Raises
        ------
        DataError
            If the series has another length.
        """
        if not self.enabled:
            return np.zeros(0, dtype=dtype_of(DETECTION_COLUMNS))
        buffers = self._buffers()
        birdies = tuple(birdies)
        if not self._fold(series, buffers, np.zeros((0, 0), dtype=np.float32), birdies):
            return np.zeros(0, dtype=dtype_of(DETECTION_COLUMNS))
        return self._detect(buffers, dm, dm_index, birdies)

    def _buffers(self) -> "_Buffers":
        found: _Buffers | None = getattr(self._local, "buffers", None)
        if found is None:
            found = _Buffers(self.levels, self._nwork, self._ntile, self.ntrial_periods)
            self._local.buffers = found
        return found

    def _fold(
        self,
        series: NDArray[Any],
        buffers: "_Buffers",
        snrs: NDArray[np.float32],
        birdies: Sequence[tuple[float, float]] = (),
    ) -> bool:
        """Fill the best S/N of every trial period; False when the series is constant."""
        from pulsar_kernels import ffa, longwave

        if series.ndim != 1 or series.shape[0] != self.nsamps:
            raise DataError(
                f"series of shape {series.shape} given to a search of {self.nsamps} samples: "
                "make one FFASearch for each length"
            )
        if series.dtype not in (np.int16, np.float32):
            series = series.astype(np.float32)
        series = np.ascontiguousarray(series)
        first = self.levels[0]
        longwave.sum_samples(series, cubic_trend(series, self._gaps), self._gaps, first.halvings, buffers.raw[0])
        without_lines(buffers.raw[0], first.tau, birdies)
        scale = np.zeros(0)
        for i, level in enumerate(self.levels):
            if i > 0:
                steps = level.halvings - self.levels[i - 1].halvings
                finer = _halved(buffers.raw[i - 1], steps - 1, buffers.halved)[-1]
                longwave.sum_pairs(finer, buffers.raw[i])
            flat = buffers.flat[i]
            sigma, share = self._flatten(level, buffers.raw[i], flat)
            if not sigma > 0.0:
                return False
            count = int(np.ceil(np.log2(level.widest)))
            halves = _halved(flat, min(count, max(level.nsamps.bit_length() - 5, 0)), buffers.halved)
            self._tame(halves, sigma)
            known = scale[level.halvings - self.levels[i - 1].halvings :] if i > 0 else scale
            scale = tail_noise(halves, sigma, known)
            # Where the sums seem red their spectrum is looked at.
            longest = max(level.nsamps / level.shortest, 1.0)
            spectrum = spectrum_of(halves, sigma, longest) if scale[-1] > 1.0 else np.zeros(0)
            # Missing samples are nothing, with no noise.
            noise = sigma * float(np.sqrt(share))
            buffers.noise[i] = noise
            longwave.running_sums(flat, FINE_UNIT / noise, buffers.sums)
            for step in level.steps:
                # One sample of noise in units: as many as leave room for bins of so many standard deviations.
                rows = step.nsamps // step.transforms[0, 0]
                unit = float(np.clip(ffa.LARGEST / (HEADROOM * np.sqrt(rows)), LEAST_UNIT, MOST_UNIT))
                rise = np.interp(np.log2(step.widths * step.factor), np.arange(len(scale)), scale)
                turns = step.nsamps / step.transforms[-1, 0]
                if len(spectrum):
                    most = step.nsamps / step.transforms[0, 0]
                    rise = np.minimum(rise, folded_noise(spectrum, (turns, most), step.widths / step.transforms[0, 0]))
                # A few turns of noise that is not white are no Gaussian noise, on any scale.
                rise *= 1.0 + (1.0 - np.max(rise) ** -2) * FEW_TURNS / turns
                at = int(step.transforms[0, 3])
                end = at + int(np.sum(step.transforms[:, 2] - step.transforms[:, 1]))
                own = (buffers.best[at : end + ffa.LANES], buffers.which[at : end + ffa.LANES], snrs[at:end])
                self._search_step(step, buffers, unit, rise, own)
                full = 0.9 * ffa.LARGEST / (unit * np.sqrt(rows))
                while unit / COARSER >= FEWEST_UNITS and np.max(buffers.best[at:end]) > full:
                    # Bins that may have been full: those trials again.
                    unit /= COARSER
                    again = (np.zeros_like(own[0]), np.zeros_like(own[1]), np.zeros_like(own[2]))
                    self._search_step(step, buffers, unit, rise, again)
                    bright = np.flatnonzero(buffers.best[at:end] > full)
                    own[0][bright] = again[0][bright]
                    own[1][bright] = again[1][bright]
                    if snrs.shape[0]:
                        own[2][bright] = again[2][bright]
                    full *= COARSER
        return True

    def _search_step(
        self,
        step: Step,
        buffers: "_Buffers",
        unit: float,
        rise: NDArray[np.float64],
        out: tuple[NDArray[Any], ...],
    ) -> None:
        """Best S/N, width and, if there is room, all S/N of a step, with a noise of `unit` in a sample."""
        from pulsar_kernels import ffa, longwave

        x = buffers.coarse
        longwave.sum_groups(buffers.sums, step.factor, unit / (FINE_UNIT * np.sqrt(step.factor)), x[: step.nsamps])
        table = step.transforms.copy()
        table[:, 3] -= table[0, 3]
        # Rounding adds a twelfth.
        noise = np.sqrt(unit**2 + 1.0 / 12.0) * rise
        limit = self.snr_threshold if out[2].shape[0] == 0 else -np.inf
        ffa.search_periods(x, step.nsamps, table, step.widths, noise, limit, buffers.work, buffers.tile, *out)

    def _flatten(self, level: Level, raw: NDArray[np.float32], flat: NDArray[np.float32]) -> tuple[float, float]:
        """Take off the running median; returns the noise of a sample (0: there is none), and how many are there."""
        from pulsar_kernels import longwave, moments

        size = level.block
        means = np.empty(max(level.nsamps // size, 1), dtype=np.float64)
        share = longwave.block_means(raw, size, means) / level.nsamps
        if share < LEAST_SHARE:
            return 0.0, share
        middle = np.arange(len(means))
        half = POINTS // 2
        baseline = np.empty((len(means), 1))
        moments.running_medians(
            means[:, None], np.maximum(middle - half, 0), np.minimum(middle + half + 1, len(means)), baseline
        )
        line = baseline[:, 0]
        there = np.isfinite(line)
        if not there.all():
            line = np.interp(middle, middle[there], line[there])
        # A median makes harmonics of waves; a mean does not, but bursts go into it: blocks far from the median do not
        # count. Twice over a turn it takes nothing off a wave that is shorter, and adds nothing to it.
        off = np.where(there, np.nan_to_num(means) - line, 0.0)
        line = np.where(np.abs(off) > BURST * 1.4826 * np.median(np.abs(off)), line, line + off)
        for _ in range(2):
            line = running_means(line, half)
        longwave.flatten(raw, size, np.ascontiguousarray(line), flat)
        step = max(level.nsamps // (longwave.BLOCK * MOST_BLOCKS), 1)
        variances = np.empty(level.nsamps // (longwave.BLOCK * step) + 1, dtype=np.float32)
        count = longwave.block_variances(flat, step, variances)
        if count == 0:
            return 0.0, share
        # Median of chi-square with 31 degrees of freedom over its mean (Wilson-Hilferty).
        return float(np.sqrt(np.median(variances[:count]) / (1.0 - 2.0 / (9.0 * 31.0)) ** 3)), share

    def _tame(self, halves: list[NDArray[np.float32]], sigma: float) -> None:
        """Cut bursts down: groups of 1, 2, 4 ... samples beyond 6 standard deviations are brought down to it.

        But only if they are in no more than three of 64 stretches: pulses and waves of red noise are in more.
        """
        from pulsar_kernels import longwave

        low = np.empty(64, dtype=np.float32)
        high = np.empty(64, dtype=np.float32)
        for k, sums in enumerate(halves):
            limit = BURST * sigma * np.sqrt(1 << k)
            if sums.shape[0] >= MIN_SAMPLES and longwave.count_beyond(sums, limit) > 0:
                longwave.extremes(sums, low, high)
                lowest = -limit if np.count_nonzero(low < -limit) < BURSTS else -np.inf
                highest = limit if np.count_nonzero(high > limit) < BURSTS else np.inf
                longwave.tame(halves[0], sums, lowest, highest)

    def _trials(self, index: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Frequencies [Hz], phase bins, and transforms of trial periods."""
        which = np.searchsorted(self._starts, index, side="right") - 1
        bins, rows, row = self._bins[which], self._rows[which], index - self._starts[which] + self._first[which]
        return (bins - row / (rows - 1.0)) / (bins**2.0 * self._taus[which]), bins, which

    def periods(self) -> NDArray[np.float64]:
        """All trial periods [s], shape (ntrial_periods,)."""
        return np.asarray(1.0 / self._trials(np.arange(self.ntrial_periods))[0])

    def _detect(
        self, buffers: "_Buffers", dm: float, dm_index: int, birdies: tuple[tuple[float, float], ...]
    ) -> NDArray[Any]:
        from pulsar_kernels import longwave

        best = buffers.best[: self.ntrial_periods]
        index = np.flatnonzero(best > self.snr_threshold)
        if index.size == 0:
            return np.zeros(0, dtype=dtype_of(DETECTION_COLUMNS))
        freq, nbins, which = self._trials(index)
        snr = best[index].astype(np.float64)
        width = self._boxes[which, buffers.which[index]] / nbins
        alive = np.ones(len(index), dtype=np.bool_)
        for f, full in birdies:
            alive &= np.abs(freq - f) > 0.5 * full
        rows: list[tuple[float, float, float, float]] = []
        for i in np.argsort(-snr, kind="stable"):
            if not alive[i]:
                continue
            if len(rows) == self.config.max_detections:
                break
            source = self._examine(buffers, which[i], freq[i], snr[i], width[i], nbins[i])
            # A flank that led to the top of one that is listed is no other source.
            flank = any(abs(source.freq - row[0]) * self.tobs < max(source.width, row[3]) for row in rows)
            known = any(abs(f - g) <= 0.5 * full for g, full in birdies for f in (source.freq, source.root[0]))
            if not (flank or known):
                rows.append((source.freq, source.freq_err, snr[i], source.width))
            longwave.explained(freq, snr, alive, np.array(source.root), self.tobs, _KNOWN)
            alive[i] = False
        out = np.zeros(len(rows), dtype=dtype_of(DETECTION_COLUMNS))
        found = np.array(rows).reshape(-1, 4)
        out["dm_index"] = dm_index
        out["dm"] = dm
        out["kind"] = "ffa"
        out["freq"], out["freq_err"], out["snr"], out["width"] = found.T
        out["nharm"] = np.clip(np.round(0.5 / found[:, 3]), 1, 32)
        out["power"] = out["nharm"] + 0.5 * found[:, 2] ** 2
        logp = stats.logp_from_sigma(found[:, 2])
        out["logp"] = logp
        out["sigma_single"] = found[:, 2]
        out["sigma"] = stats.trial_sigma(logp, self.ntrials(logp))
        return out

    def _profile(self, buffers: "_Buffers", i: int, freq: float, width: float, nbins: int, n: int = 1) -> "_Folded":
        """Refine the frequency of a trial of level `i`; the number of bins is a multiple of `n`."""
        from pulsar_kernels import longwave

        # A coarser level if it has samples enough for the bins.
        for _ in range(COARSER_LEVELS):
            if i + 1 < len(self.levels) and freq * self.levels[i + 1].tau * 8.0 / width <= 0.5:
                i += 1
        level = self.levels[i]
        flat = buffers.flat[i]
        per_turn = 1.0 / (freq * level.tau)
        bins = n * int(np.clip(np.ceil(8.0 / width), 16, max(per_turn, 16)) / n)
        nparts = int(np.clip(self.tobs * freq / 2.0, 2, 64))
        parts = np.empty((nparts, bins), dtype=np.float32)
        noise = float(buffers.noise[i] * np.sqrt(level.nsamps / bins))
        reach = int(np.ceil(bins * (1.0 / nbins + 0.5 * width)))
        drifts = np.arange(-reach, reach + 1)
        near = width * bins * np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75])
        most = max(int(1.1 * self.config.duty_max * bins), 1)
        boxes = np.unique(np.clip(np.round(near), 1, most).astype(np.int64))
        grid = np.empty((len(drifts), len(boxes)))
        for _ in range(MOST_STEPS):
            longwave.fold(flat, freq * level.tau, parts)
            longwave.drift_snr(parts, drifts, boxes, noise, grid)
            d, k = (int(x) for x in np.unravel_index(int(np.argmax(grid)), grid.shape))
            drift = float(drifts[d])
            if 0 < d < len(drifts) - 1:
                break
            # The best trial of a source so bright that its bins are full may be off: on to the top.
            freq -= drift / bins / self.tobs
        fit = slice(max(d - 3, 0), d + 4)
        if 0 < d < len(drifts) - 1:
            a, b, _ = np.polyfit(drifts[fit] - drift, grid[fit, k], 2)
            if a < 0:
                drift += float(np.clip(-0.5 * b / a, -2.0, 2.0))
        refined = freq - drift / bins / self.tobs
        shift = np.round(drift * (np.arange(nparts) + 0.5) / nparts).astype(np.int64)
        profile = np.zeros(bins)
        for row, s in zip(parts, shift, strict=True):
            profile += np.roll(row, -s)
        running = np.concatenate(([0.0], np.cumsum(np.concatenate((profile, profile)))))
        sums = running[boxes[k] : boxes[k] + bins] - running[:bins] - boxes[k] / bins * running[bins]
        top = int(np.argmax(sums))
        inside = (top + np.arange(boxes[k])) % bins
        pulses = np.array([np.sum(row[(inside + s) % bins]) for row, s in zip(parts, shift, strict=True)])
        pulses -= boxes[k] / bins * parts.sum(axis=1)
        mean = float(np.mean(pulses))
        own = noise**2 / nparts * boxes[k]
        variation = max(float(np.var(pulses, ddof=1)) - own, 0.0) / (nparts * mean**2) if mean > 0.0 else 0.0
        width = float(boxes[k]) / bins
        return _Folded(refined, width, np.roll(sums, -top), noise * np.sqrt(boxes[k] * (1.0 - width)), variation)

    def _examine(
        self,
        buffers: "_Buffers",
        which: int,
        freq: float,
        snr: float,
        width: float,
        nbins: int,
    ) -> "_Source":
        """Refine a trial; find out whether its period is a multiple or a part of the true one."""
        level = int(self._owners[which][0])
        now = self._profile(buffers, level, freq, width, nbins)
        equal = 1
        for n in range(2, int(0.5 / now.width) + 1):
            if not unequal(now, n, _LOGP_OTHERS):
                equal = n
        if equal > 1:
            root = (now.freq * equal, snr * np.sqrt(equal), min(now.width * equal, 1.0), now.variation)
            return _Source(now.freq, self._error(now.width, snr, now.variation), now.width, root)
        for n in (6, 5, 4, 3, 2):
            longer = now.freq / n
            # Folded over n turns pulses that differ in turn are weaker by sqrt(n) at most. In few turns pulses count as
            # noise, and a part of the period may have had the better S/N.
            bright = snr / np.sqrt(n) > self.snr_threshold
            if 1.0 / longer <= self.p_max and (bright or longer * self.tobs < LOW_MODES):
                there = self._profile(buffers, self._level_of(1.0 / longer), longer, now.width / n, nbins * n, n)
                there = there._replace(variation=now.variation)
                better = bright or there.sums[0] > snr * there.noise
                if better and all(unequal(there, m, _LOGP_LONGER) for m in range(2, n + 1) if n % m == 0):
                    root = (there.freq, snr * np.sqrt(n), there.width, now.variation)
                    return _Source(there.freq, self._error(there.width, snr, now.variation), there.width, root)
        return _Source(
            now.freq, self._error(now.width, snr, now.variation), now.width, (now.freq, snr, now.width, now.variation)
        )

    def _level_of(self, period: float) -> int:
        """Number of the level whose steps hold a period."""
        for i, level in enumerate(self.levels):
            last = level.steps[-1]
            if period < (last.transforms[-1, 0] + 1) * last.factor * level.tau:
                return i
        return len(self.levels) - 1

    def _error(self, width: float, snr: float, variation: float) -> float:
        """Error of a frequency: of a straight line through phases, each with an error of a part of the width.

        Pulses that vary shift the mean phase in one part of the data and another.
        """
        phase = width * np.sqrt((PHASE_ERROR / max(snr, 1.0)) ** 2 + 0.25 * variation)
        return float(phase * np.sqrt(12.0) / self.tobs)


class _Folded(NamedTuple):
    """A refined trial: sums in boxes from the best on, above the mean of the turn, their noise, and how pulses vary.

    `variation` is the variance of the mean pulse over its square, beyond noise.
    """

    freq: float
    width: float
    sums: NDArray[np.float64]
    noise: float
    variation: float


class _Source(NamedTuple):
    """What is listed, and what explains others: frequency, S/N, width and variation of the shortest period."""

    freq: float
    freq_err: float
    width: float
    root: tuple[float, float, float, float]


def unequal(folded: _Folded, n: int, logp: float) -> bool:
    """Whether the n pulses of a turn differ, more than by noise and as pulses that vary do (p < exp(`logp`))."""
    heights = folded.sums[np.round(len(folded.sums) * np.arange(n) / n).astype(np.int64)]
    mean = float(heights.sum()) / n
    if mean < 0.5 * heights[0]:
        return True
    variance = folded.noise**2 + (3.0 * n * folded.variation + ALIKE**2) * mean**2
    return float(stats.chi2_logsf(np.sum((heights - mean) ** 2) / variance, n - 1)) < logp


class _Buffers:
    """Work space of one thread."""

    def __init__(self, levels: tuple[Level, ...], work: int, tile: int, ntrials: int) -> None:
        self.raw = [np.zeros(level.nsamps, dtype=np.float32) for level in levels]
        self.flat = [np.zeros(level.nsamps, dtype=np.float32) for level in levels]
        self.noise = [0.0 for _ in levels]
        finest = max((level.nsamps for level in levels), default=0)
        self.halved = np.zeros(finest, dtype=np.float32)
        self.sums = np.zeros(finest + 1, dtype=np.int32)
        longest = max((step.nsamps for level in levels for step in level.steps), default=0)
        self.coarse = _aligned(longest + 64, np.int16)
        self.work = _aligned(work, np.int16)
        self.tile = _aligned(tile, np.int32)
        self.best = np.zeros(ntrials + 16, dtype=np.float32)
        self.which = np.zeros(ntrials + 16, dtype=np.uint8)


def _aligned(n: int, kind: type) -> NDArray[Any]:
    """Zeros that begin at a cache line."""
    size = np.dtype(kind).itemsize
    space: NDArray[Any] = np.zeros(n + 64 // size, dtype=kind)
    skip = -space.ctypes.data // size % (64 // size)
    return space[skip : skip + n]


def _halved(x: NDArray[np.float32], times: int, space: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The series, and its sums of 2, 4, 8 ... samples, `times` of them, in `space`."""
    from pulsar_kernels import longwave

    out = [x]
    at = 0
    for _ in range(times):
        half = space[at : at + out[-1].shape[0] // 2]
        longwave.sum_pairs(out[-1], half)
        out.append(half)
        at += half.shape[0]
    return out


class Periodogram(NamedTuple):
    """S/N of boxes at trial periods.

    Attributes
    ----------
    periods : ndarray of float64, shape (nperiods,)
        [s], ascending.
    bins : ndarray of int64, shape (nperiods,)
        Phase bins of the profiles.
    widths : ndarray of float64, shape (nperiods, nwidths)
        Of the boxes [turns]; NaN where there are fewer.
    snrs : ndarray of float32, shape (nperiods, nwidths)
    """

    periods: NDArray[np.float64]
    bins: NDArray[np.int64]
    widths: NDArray[np.float64]
    snrs: NDArray[np.float32]

    @property
    def best(self) -> NDArray[np.float32]:
        """Largest S/N at every period."""
        return np.asarray(np.nanmax(self.snrs, axis=1))


def periodogram(
    ts: TimeSeries,
    p_min: float = 0.5,
    p_max: float = 30.0,
    *,
    duty_min: float = 0.002,
    duty_max: float = 0.35,
    nbins: int | None = None,
    gaps: Sequence[tuple[int, int]] = (),
) -> Periodogram:
    """S/N of boxes at all trial periods.

    Parameters
    ----------
    ts : TimeSeries
    p_min, p_max : float
        Range of periods [s]; no more than a quarter of the data.
    duty_min, duty_max : float
        Range of widths [turns].
    nbins : int, optional
        Least number of phase bins, if the sampling time allows; up to an eighth more are used. By default as wanted
        for `duty_min`.
    gaps : sequence of (int, int)
        First sample and the one after the last of stretches without data.

    Returns
    -------
    Periodogram
    """
    config = FFAConfig.model_validate({"p_min": p_min, "p_max": p_max, "duty_min": duty_min, "duty_max": duty_max})
    search = FFASearch(ts.nsamps, ts.tsamp, config, gaps=gaps, nbins=nbins)
    n = search.ntrial_periods
    most = max((len(step.widths) for level in search.levels for step in level.steps), default=0)
    widths = np.full((n, most), np.nan)
    snrs = np.full((n, most), np.nan, dtype=np.float32)
    freq, bins, _ = search._trials(np.arange(n)) if n else (np.zeros(0), np.zeros(0, np.int64), None)
    if n:
        buffers = search._buffers()
        search._fold(np.asarray(ts.data), buffers, snrs)
        for level in search.levels:
            for step in level.steps:
                for b, lo, hi, at in step.transforms:
                    widths[at : at + hi - lo, : len(step.widths)] = step.widths / b
    return Periodogram(1.0 / freq, bins, widths, snrs)


def search_ffa(
    ts: TimeSeries,
    p_min: float = 0.5,
    p_max: float = 30.0,
    *,
    duty_min: float = 0.002,
    duty_max: float = 0.35,
    threshold: float = 2.0,
    max_detections: int = 50,
    gaps: Sequence[tuple[int, int]] = (),
) -> NDArray[Any]:
    """Search one dedispersed series for long periods.

    Parameters
    ----------
    ts : TimeSeries
    p_min, p_max : float
        Range of periods [s]; no more than a quarter of the data.
    duty_min, duty_max : float
        Range of widths [turns].
    threshold : float
        Trial-corrected significance from which a detection is kept.
    max_detections : int
        Most detections returned.
    gaps : sequence of (int, int)
        First sample and the one after the last of stretches without data.

    Returns
    -------
    ndarray
        Structured, best first, with the fields of DETECTION_COLUMNS.
    """
    config = FFAConfig.model_validate(
        {
            "p_min": p_min,
            "p_max": p_max,
            "duty_min": duty_min,
            "duty_max": duty_max,
            "threshold": threshold,
            "max_detections": max_detections,
        }
    )
    return FFASearch(ts.nsamps, ts.tsamp, config, gaps=gaps).search(np.asarray(ts.data), ts.dm)
