"""Sources of the fast folding search: from a trial to the source that it shows, and those beneath stronger ones.

A trial beside a strong source, or at a ratio of its frequency, shows that one; it may show a weaker pulsar as well. The
S/N of the two do not add up in a way that could be known, so that no limit tells them apart. The series does: without
the pulse train of the strong one a trial that showed nothing else is noise, and a pulsar of its own is what it was.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pulsar.searches import stats
from pulsar.searches.amplitudes import LOW_MODES
from pulsar.searches.ffa_series import Buffers, Level, halved
from pulsar_kernels import longwave
from pulsar_kernels.arrays import Bools, Float32s, Floats

#: Pulses that differ by less than this part of them are the same.
ALIKE = 0.05
_LOGP_OTHERS = float(np.log(1e-4))
_LOGP_LONGER = float(np.log(1e-6))


class RefinedTrial(NamedTuple):
    """A refined trial: sums in boxes from the best on, above the mean of the turn, their noise, and how pulses vary.

    `variation` is the variance of the mean pulse over its square, beyond noise.
    """

    freq: float
    width: float
    sums: Floats
    noise: float
    variation: float


class FfaSource(NamedTuple):
    """A source that is listed, and that explains others: frequency, S/N, width and variation of the shortest period."""

    freq: float
    freq_err: float
    width: float
    root: tuple[float, float, float, float]


class Refiner:
    """Refines trials on the series of their levels.

    `p_max`: longest period that a source may have [s]. `duty_max`: widest pulse [turns].
    """

    def __init__(self, levels: tuple[Level, ...], tobs: float, p_max: float, duty_max: float) -> None:
        self.levels = levels
        self.tobs = tobs
        self.p_max = p_max
        self.duty_max = duty_max

    def _profile(self, buffers: Buffers, i: int, freq: float, width: float, nbins: int, n: int = 1) -> "RefinedTrial":
        """Refine the frequency of a trial of level `i`; the number of bins is a multiple of `n`."""
        # A coarser level if it has samples enough for the bins.
        # A source is refined on a level up to so much coarser than its own.
        for _ in range(2):
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
        most = max(int(1.1 * self.duty_max * bins), 1)
        boxes = np.unique(np.clip(np.round(near), 1, most).astype(np.int64))
        grid = np.empty((len(drifts), len(boxes)))
        # Most times that a refinement goes on to a better frequency.
        for _ in range(30):
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
        # Every part turned back by its shift, in one piece.
        begins = 2 * bins * np.arange(nparts) + shift % bins
        turned = np.concatenate((parts, parts), axis=1).ravel()[begins[:, None] + np.arange(bins)]
        profile = turned.sum(axis=0, dtype=np.float64)
        running = np.concatenate(([0.0], np.cumsum(np.concatenate((profile, profile)))))
        sums = running[boxes[k] : boxes[k] + bins] - running[:bins] - boxes[k] / bins * running[bins]
        top = int(np.argmax(sums))
        pulses = np.ascontiguousarray(turned[:, (top + np.arange(boxes[k])) % bins]).sum(axis=1)
        pulses -= boxes[k] / bins * parts.sum(axis=1)
        mean = float(np.mean(pulses))
        noise_variance = noise**2 / nparts * boxes[k]
        variation = max(float(np.var(pulses, ddof=1)) - noise_variance, 0.0) / (nparts * mean**2) if mean > 0.0 else 0.0
        width = float(boxes[k]) / bins
        return RefinedTrial(refined, width, np.roll(sums, -top), noise * np.sqrt(boxes[k] * (1.0 - width)), variation)

    def examine(
        self, buffers: Buffers, level: int, freq: float, snr: float, width: float, nbins: int, threshold: float
    ) -> "FfaSource":
        """Refine a trial; find out whether its period is a multiple or a part of the true one."""
        now = self._profile(buffers, level, freq, width, nbins)
        equal = 1
        for n in range(2, int(0.5 / now.width) + 1):
            if not unequal(now, n, _LOGP_OTHERS):
                equal = n
        if equal > 1:
            width = min(now.width * equal, 1.0)
            return self._source(now, snr, (now.freq * equal, snr * np.sqrt(equal), width, now.variation))
        for n in (6, 5, 4, 3, 2):
            longer = now.freq / n
            # Folded over n turns pulses that differ in turn are weaker by sqrt(n) at most. In few turns pulses count as
            # noise, and a part of the period may have had the better S/N.
            bright = snr / np.sqrt(n) > threshold
            if 1.0 / longer <= self.p_max and (bright or longer * self.tobs < LOW_MODES):
                there = self._profile(buffers, self._level_of(1.0 / longer), longer, now.width / n, nbins * n, n)
                there = there._replace(variation=now.variation)
                better = bright or there.sums[0] > snr * there.noise
                if better and all(unequal(there, m, _LOGP_LONGER) for m in range(2, n + 1) if n % m == 0):
                    return self._source(there, snr, (there.freq, snr * np.sqrt(n), there.width, now.variation))
        return self._source(now, snr, (now.freq, snr, now.width, now.variation))

    def _level_of(self, period: float) -> int:
        """Number of the level whose steps hold a period."""
        for i, level in enumerate(self.levels):
            last = level.steps[-1]
            if period < (last.transforms[-1, 0] + 1) * last.factor * level.tau:
                return i
        return len(self.levels) - 1

    def _source(self, folded: RefinedTrial, snr: float, root: tuple[float, float, float, float]) -> FfaSource:
        """A source; its frequency is that of a straight line through phases, each known to a part of the width.

        Pulses that vary shift the mean phase in one part of the data and another.
        """
        # Error of the phase of a pulse of S/N 1 over its width.
        phase = folded.width * np.sqrt((0.8 / max(snr, 1.0)) ** 2 + 0.25 * folded.variation)
        return FfaSource(folded.freq, float(phase * np.sqrt(12.0) / self.tobs), folded.width, root)


def unequal(folded: RefinedTrial, n: int, logp: float) -> bool:
    """True if the n pulses of a turn differ, more than by noise and as pulses that vary do (p < exp(`logp`))."""
    heights = folded.sums[np.round(len(folded.sums) * np.arange(n) / n).astype(np.int64)]
    mean = float(heights.sum()) / n
    if mean < 0.5 * heights[0]:
        return True
    variance = folded.noise**2 + (3.0 * n * folded.variation + ALIKE**2) * mean**2
    return float(stats.chi2_logsf(np.sum((heights - mean) ** 2) / variance, n - 1)) < logp


#: So many sources are taken off at most, the strongest first: each costs a few passes over the series.
MOST_SOURCES = 8
#: Where pulses vary more than noise does so seldom nothing is known of the series; if that is most of a turn, of
#: nothing.
_LOGP_VARIES = float(np.log(1e-4))
MOST_BLANK = 0.5


class PulseTrain:
    """The mean profile of a source in the series of a level, and the phases at which its pulses vary.

    Parameters
    ----------
    flat : ndarray of float32, shape (n,)
    tau : float
        [s]
    noise : float
        Of a sample that is there.
    root : (float, float, float, float)
        Frequency [Hz], S/N, width [turns] and variation of the source.
    """

    def __init__(self, flat: Float32s, tau: float, noise: float, root: Sequence[float]) -> None:
        freq, _, width, _ = root
        self.per_sample = freq * tau
        # With 8 bins in a pulse straight lines between their middles are within 1 % of a Gaussian.
        self.bins = int(np.clip(np.ceil(8.0 / width), 16, max(min(512, 1.0 / self.per_sample), 8.0)))
        self.box = max(round(width * self.bins), 1)
        parts = self._parts(flat), self._parts((flat != 0.0).astype(np.float32))
        sums, counts = (x.astype(np.float64) for x in parts)
        there = np.maximum(counts.sum(axis=0), 1.0)
        self.profile = sums.sum(axis=0) / there
        self.profile -= float(np.average(self.profile, weights=there))
        varies = self._varies(sums - counts * self.profile, counts * noise**2)
        # All bins of a box that varies.
        if varies.any():
            varies = self._boxes(np.roll(varies, self.box)[None].astype(np.float64))[0] > 0.0
        self.blank = varies

    def _parts(self, x: Float32s) -> Float32s:
        """Profiles of parts of two turns or more."""
        # Parts of the data by which pulses are seen to vary.
        nparts = int(np.clip(len(x) * self.per_sample / 2.0, 2, 64))
        parts = np.empty((nparts, self.bins), dtype=np.float32)
        longwave.fold(x, self.per_sample, parts)
        return parts

    def _boxes(self, parts: Floats) -> Floats:
        """Sums over the width of a pulse, from the bin after every phase on."""
        running = np.cumsum(np.concatenate((parts, parts[:, : self.box]), axis=1), axis=1)
        return np.asarray(running[:, self.box :] - running[:, : -self.box])

    def _varies(self, rest: Floats, variance: Floats) -> Bools:
        """True if boxes of parts differ by more than noise, at every phase; noise that is red differs everywhere."""
        chi2 = np.sum(self._boxes(rest) ** 2 / np.maximum(self._boxes(variance), 1e-30), axis=0)
        freedom = len(rest) - 1
        chi2 /= max(stats.median(chi2) / freedom, 1.0)
        # What is usual need not be worked out.
        varies = chi2 > freedom + 2.0 * np.sqrt(2.0 * freedom)
        if varies.any():
            varies[varies] = stats.chi2_logsf(chi2[varies], freedom) < _LOGP_VARIES
        return np.roll(varies, 1)

    def in_series(self, flat: Float32s) -> Float32s:
        """The series to be subtracted, sample by sample."""
        out = np.empty_like(flat)
        longwave.pulse_train(flat, self.per_sample, self.profile, self.blank, out)
        return out

    def left(self, flat: Float32s, noise: float) -> float:
        """Largest S/N of a box at its frequency, and up to a turn beside it, without the mean profile."""
        parts = self._parts(flat)
        drifts = np.arange(-self.bins, self.bins + 1, max(self.box // 4, 1))
        boxes = np.unique(np.maximum(np.round(self.box * np.array([0.35, 0.7, 1.0, 1.4])), 1).astype(np.int64))
        boxes = boxes[boxes < self.bins]
        grid = np.empty((len(drifts), len(boxes)))
        longwave.drift_snr(parts, drifts, boxes, noise * float(np.sqrt(len(flat) / self.bins)), grid)
        return float(grid.max())


def take_source(levels: tuple[Level, ...], buffers: Buffers, root: Sequence[float], threshold: float) -> bool:
    """Take a source out of the series of all levels, in place; False if more than noise is left of it.

    Parameters
    ----------
    buffers : Buffers
        Its series and their noise are changed.
    root : (float, float, float, float)
        Frequency [Hz], S/N, width [turns] and variation of the source.
    threshold : float
        S/N that noise does not have.
    """
    train: PulseTrain | None = None
    pulses = np.zeros(0, dtype=np.float32)
    strongest = -1
    freq = float(root[0])
    for i, level in enumerate(levels):
        flat = buffers.flat[i]
        noise = buffers.noise[i] * float(np.sqrt(len(flat) / max(int(np.count_nonzero(flat)), 1)))
        # Samples in a turn from which on a level has a profile of its own; below, that of a finer level is summed.
        if freq * level.tau * 8.0 <= 1.0:
            train, strongest = PulseTrain(flat, level.tau, noise, root), i
            if float(np.mean(train.blank)) > MOST_BLANK:
                return False
            pulses = train.in_series(flat)
        elif train is None:
            return False
        else:
            steps = level.halvings - levels[i - 1].halvings
            pulses = halved(pulses, steps, np.empty_like(pulses))[-1][: len(flat)]
        flat -= pulses
        buffers.noise[i] = noise * float(np.sqrt(int(np.count_nonzero(flat)) / len(flat)))
    # The coarsest of the series that have a profile of their own tells it as well as the others.
    return train is not None and train.left(buffers.flat[strongest], buffers.noise[strongest]) < threshold
