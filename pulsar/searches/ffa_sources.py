"""From a trial of the fast folding search to the source that it shows: its best frequency, width and true period."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pulsar.searches import stats
from pulsar.searches.drifts import LOW_MODES
from pulsar.searches.ffa_levels import Level
from pulsar.searches.ffa_series import Buffers

#: A source is refined on a level up to so much coarser than its own.
COARSER_LEVELS = 2
#: Most times that a refinement goes on to a better frequency.
MOST_STEPS = 30
#: Error of the phase of a pulse of S/N 1 over its width.
PHASE_ERROR = 0.8
#: Pulses that differ by less than this part of them are the same.
ALIKE = 0.05
_LOGP_OTHERS = float(np.log(1e-4))
_LOGP_LONGER = float(np.log(1e-6))


class Folded(NamedTuple):
    """A refined trial: sums in boxes from the best on, above the mean of the turn, their noise, and how pulses vary.

    `variation` is the variance of the mean pulse over its square, beyond noise.
    """

    freq: float
    width: float
    sums: NDArray[np.float64]
    noise: float
    variation: float


class Source(NamedTuple):
    """What is listed, and what explains others: frequency, S/N, width and variation of the shortest period."""

    freq: float
    freq_err: float
    width: float
    root: tuple[float, float, float, float]


class Refiner:
    """Refines trials on the series of their levels.

    Parameters
    ----------
    levels : tuple of Level
    tobs : float
        Length of the data [s].
    p_max : float
        Longest period that a source may have [s].
    duty_max : float
        Widest pulse [turns].
    """

    def __init__(self, levels: tuple[Level, ...], tobs: float, p_max: float, duty_max: float) -> None:
        self.levels = levels
        self.tobs = tobs
        self.p_max = p_max
        self.duty_max = duty_max

    def _profile(self, buffers: Buffers, i: int, freq: float, width: float, nbins: int, n: int = 1) -> "Folded":
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
        most = max(int(1.1 * self.duty_max * bins), 1)
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
        own = noise**2 / nparts * boxes[k]
        variation = max(float(np.var(pulses, ddof=1)) - own, 0.0) / (nparts * mean**2) if mean > 0.0 else 0.0
        width = float(boxes[k]) / bins
        return Folded(refined, width, np.roll(sums, -top), noise * np.sqrt(boxes[k] * (1.0 - width)), variation)

    def examine(
        self,
        buffers: Buffers,
        level: int,
        freq: float,
        snr: float,
        width: float,
        nbins: int,
        threshold: float,
    ) -> "Source":
        """Refine a trial; find out whether its period is a multiple or a part of the true one."""
        now = self._profile(buffers, level, freq, width, nbins)
        equal = 1
        for n in range(2, int(0.5 / now.width) + 1):
            if not unequal(now, n, _LOGP_OTHERS):
                equal = n
        if equal > 1:
            root = (now.freq * equal, snr * np.sqrt(equal), min(now.width * equal, 1.0), now.variation)
            return Source(now.freq, self._error(now.width, snr, now.variation), now.width, root)
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
                    root = (there.freq, snr * np.sqrt(n), there.width, now.variation)
                    return Source(there.freq, self._error(there.width, snr, now.variation), there.width, root)
        return Source(
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


def unequal(folded: Folded, n: int, logp: float) -> bool:
    """Whether the n pulses of a turn differ, more than by noise and as pulses that vary do (p < exp(`logp`))."""
    heights = folded.sums[np.round(len(folded.sums) * np.arange(n) / n).astype(np.int64)]
    mean = float(heights.sum()) / n
    if mean < 0.5 * heights[0]:
        return True
    variance = folded.noise**2 + (3.0 * n * folded.variation + ALIKE**2) * mean**2
    return float(stats.chi2_logsf(np.sum((heights - mean) ** 2) / variance, n - 1)) < logp
