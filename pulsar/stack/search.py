"""Periodicity search in the summed powers of many epochs at one DM: docs/stack.md."""

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import FFTConfig
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.errors import ConfigError
from pulsar.searches import stats
from pulsar.searches.amplitudes import MIN_BIN, MIN_CYCLES
from pulsar.searches.search import PeriodicSearch, threshold_logp
from pulsar.stack.grid import POINTS, StackGrid
from pulsar.stack.weighted import effective, sum_from_logp, sum_logp

#: Independent trials per bin of the powers of one harmonic, and what each stage of harmonics adds per bin of its top
#: harmonic, from benchmarks/calibrate.py stack: at p = 1e-4 of many epochs, by how much less of one, what every
#: factor of ten below adds, and the most. Measured of 1, 4, 16 and 64 epochs at 1e-4, 1e-5, 1e-6: 0.75, 1.3, 1.8;
#: 1.1, 1.8, 2.6; 1.2, 2.0, 2.2; 1.3, 1.9, 1.6 (the last of each +- 0.3); a tenth more than
#: that is for levels of the noise that are known within a few per cent only (benchmarks/noise.py stack).
TRIALS_SINGLE = 2.9
TRIALS_STAGE = (1.35, 0.55, 0.75, 2.5)
#: Bins beside a stronger signal, or a harmonic of it, that are its own.
BESIDE = 1.5
#: Most bins that its sidelobes may reach.
SIDELOBES = 32.0
#: Of a signal that shares harmonics with a stronger one the others must be less likely than this.
SHARED_LOGP = float(np.log(1e-4))
#: Harmonics of a stronger signal that are looked at.
MOST_HARMONICS = 64
#: Mean power that a falling spectrum of harmonics may hold beyond twice those whose sum is the best, of theirs: of sums
#: of H and 2 H the first is better where the second half holds less than 2^1/2 - 1 of it. And what noise adds [sigma].
HIGHER_PART = 0.414
EXCESS_SIGMA = 4.0
#: Detections looked at for one DM, the strongest.
MOST_PEAKS = 5000


@dataclass(frozen=True, eq=False)
class Sums:
    """Where a stack is searched.

    Attributes
    ----------
    nharms : tuple of int
        Harmonics that are summed.
    limits : ndarray of int64, shape (nstages, 2)
        First index of the top harmonic, and the one after the last.
    """

    nharms: tuple[int, ...]
    limits: NDArray[np.int64]


class StackSearch:
    """Search the weighted sums of the powers of many epochs.

    Parameters
    ----------
    grid : StackGrid
    weights : ndarray, shape (nepochs,)
        Their sum is taken to 1.
    tobs : ndarray, shape (nepochs,)
        Length of each epoch [s].
    config : FFTConfig
        Harmonics, threshold, range of periods.
    ntrials_dm : float
        Independent DMs of the whole search.

    Attributes
    ----------
    weights : ndarray
        Their sum is 1.
    logp_threshold : float
        ln of the single-trial probability at the threshold.

    Raises
    ------
    ConfigError
        The range of periods is empty, or a weight is not positive.
    """

    def __init__(
        self,
        grid: StackGrid,
        weights: NDArray[np.float64],
        tobs: NDArray[np.float64],
        config: FFTConfig | None = None,
        *,
        ntrials_dm: float = 1.0,
    ) -> None:
        config = FFTConfig() if config is None else config
        weights = np.asarray(weights, dtype=np.float64)
        if not weights.size or not np.all(weights > 0) or not np.all(np.isfinite(weights)):
            raise ConfigError("a stack needs epochs, each of a positive weight")
        self.grid, self.config, self.ntrials_dm = grid, config, float(ntrials_dm)
        self.weights = weights / weights.sum()
        #: Epochs of equal weight that would have the same noise.
        self.neff = effective(self.weights)
        #: Length of the data of an epoch, as they count [s].
        self.tobs = float(self.weights @ np.asarray(tobs, dtype=np.float64))
        self.sums = self._ranges()
        # What is new from one frequency to the next goes with the square of the length and the noise of each epoch.
        noise = self.weights**2 / np.sum(self.weights**2)
        per_bin = 1.0 / (grid.step * np.sqrt(noise @ np.asarray(tobs, dtype=np.float64) ** 2))
        counts = np.maximum(np.diff(self.sums.limits, axis=1)[:, 0], 0) / per_bin
        self._bins = float(counts[0]), float(counts[1:].sum())
        self.set_threshold(min(threshold_logp(config.threshold, self.ntrials), PeriodicSearch.max_logp))

    def _ranges(self) -> Sums:
        grid, config = self.grid, self.config
        if config.p_min is not None and config.p_max is not None and config.p_min >= config.p_max:
            raise ConfigError(f"p_min {config.p_min:g} s is not below p_max {config.p_max:g} s: swap them")
        f_lo = max(1.0 / config.p_max if config.p_max is not None else MIN_CYCLES / self.tobs, MIN_BIN / self.tobs)
        f_hi = 1.0 / config.p_min if config.p_min is not None else np.inf
        nharms = tuple(1 << s for s in range(int(config.nharm).bit_length()))
        limits = np.zeros((len(nharms), 2), dtype=np.int64)
        for s, h in enumerate(nharms):
            limits[s] = np.ceil(h * f_lo / grid.step), min(float(grid.npoints), np.floor(h * f_hi / grid.step) + 1)
        if limits[0, 1] <= limits[0, 0]:
            raise ConfigError(
                f"no period from {1.0 / f_hi:g} to {1.0 / f_lo:g} s is in this stack, which has frequencies up to "
                f"{grid.npoints * grid.step:g} Hz: widen fft.p_min, fft.p_max"
            )
        return Sums(nharms, limits)

    def ntrials(self, logp: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Effective independent trials of the whole search at the single-trial ln p."""
        decades = -np.asarray(logp, dtype=np.float64) / np.log(10.0) - 4.0
        many, less, decade, most = TRIALS_STAGE
        stage = np.clip(many - less / np.sqrt(self.neff) + decade * decades, 0.5, most)
        per_series = np.maximum(TRIALS_SINGLE * self._bins[0] + stage * self._bins[1], 1.0)
        return np.asarray(per_series * self.ntrials_dm, dtype=np.float64)

    def set_threshold(self, logp: float) -> None:
        """Keep what is less likely than exp(`logp`) in a single trial, whatever the configured threshold says."""
        self.logp_threshold = float(logp)
        self.thresholds = tuple(sum_from_logp(self.logp_threshold, h, self.weights) for h in self.sums.nharms)

    def search(self, powers: NDArray[np.float32], dm: float = 0.0, dm_index: int = 0) -> NDArray[Any]:
        """What is in the summed powers of one DM.

        Parameters
        ----------
        powers : ndarray of float32, shape (npoints,)
            Of each epoch times its weight, summed.
        dm : float
            [pc cm^-3]
        dm_index : int
            Row of the grid.

        Returns
        -------
        ndarray
            Structured, with the fields of DETECTION_COLUMNS, best first. `power` is nharm plus the excess over noise in
            units of the noise of one epoch: (power - nharm) / sqrt(nharm) is the S/N of the sum.
        """
        index, nharm, total = self._peaks(powers)
        logp = np.zeros(index.size)
        for h in np.unique(nharm):
            mine = nharm == h
            logp[mine] = sum_logp(total[mine], int(h), self.weights)
        order = np.argsort(logp, kind="stable")[:MOST_PEAKS]
        chosen = order[self._select(powers, index[order] / nharm[order], nharm[order], total[order], logp[order])]
        chosen = chosen[np.argsort(logp[chosen], kind="stable")]
        out = np.zeros(chosen.size, dtype=dtype_of(DETECTION_COLUMNS))
        out["kind"], out["dm"], out["dm_index"] = "stack", dm, dm_index
        out["snr"] = out["width"] = np.nan
        out["nharm"] = nharm[chosen]
        out["power"] = nharm[chosen] + (total[chosen] - nharm[chosen]) * np.sqrt(self.neff)
        out["logp"] = logp[chosen]
        out["sigma_single"] = stats.sigma_from_logp(logp[chosen])
        out["sigma"] = stats.trial_sigma(logp[chosen], self.ntrials(logp[chosen]))
        for row, i, h in zip(out, index[chosen], nharm[chosen], strict=True):
            row["freq"], row["freq_err"] = self._refined(powers, int(i), int(h))
        return out

    def _peaks(self, powers: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Local maxima above the threshold: index of the top harmonic, harmonics, sum."""
        from pulsar_kernels import harmonics

        thresholds = np.array(self.thresholds, dtype=np.float32)
        capacity = 16384
        while True:
            index, stages = np.zeros(capacity, dtype=np.int64), np.zeros(capacity, dtype=np.int64)
            total = np.zeros(capacity, dtype=np.float32)
            found = harmonics.harmonic_peaks(powers, self.sums.limits, thresholds, index, stages, total)
            if found <= capacity:
                break
            capacity = int(1.5 * found)
        return index[:found], np.left_shift(1, stages[:found]), total[:found].astype(np.float64)

    def harmonic_points(self, place: float, nharm: int) -> NDArray[np.int64]:
        """The points of the grid at which the harmonics of a frequency are.

        Parameters
        ----------
        place : float
            Frequency of the fundamental in steps of the grid.
        nharm : int
            Those beyond the grid are left out.
        """
        points = np.floor(place * np.arange(1, nharm + 1) + 0.5).astype(np.int64)
        return np.asarray(points[points < self.grid.npoints])

    def _select(
        self,
        powers: NDArray[np.float32],
        place: NDArray[np.float64],
        nharm: NDArray[np.int64],
        total: NDArray[np.float64],
        logp: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        """Which of the peaks are not what others leave beside them and in their harmonics.

        The best is taken; the others count for what their harmonics hold that are none of its; and so on.
        """
        kept: list[int] = []
        # Of those that are kept: frequency and reach in steps of the grid, harmonics, mean excess power of each.
        known = np.zeros((4, min(place.size, self.config.max_detections)))
        bins = POINTS * self.grid.span / self.tobs
        queue = [(float(p), i, 0) for i, p in enumerate(logp)]
        heapq.heapify(queue)
        while queue and len(kept) < known.shape[1]:
            worth, i, seen = heapq.heappop(queue)
            if seen < len(kept):
                left = self._left(powers, float(place[i]), int(nharm[i]), known[:, : len(kept)])
                worth = float(logp[i]) if left is None else left
                if left is None or left < SHARED_LOGP:
                    heapq.heappush(queue, (worth, i, len(kept)))
                continue
            if self._is_part(powers, float(place[i]), int(nharm[i])):
                continue
            # Sidelobes, 1 / (pi d)^2 of the line, count until they are lost in the noise of the sum.
            excess = max(float(total[i]) - float(nharm[i]), 0.0)
            reach = float(np.clip(np.sqrt(excess * np.sqrt(self.neff)) / np.pi, BESIDE, SIDELOBES))
            known[:, len(kept)] = place[i], bins * reach, nharm[i], excess / float(nharm[i])
            kept.append(i)
        return np.array(kept, dtype=np.int64)

    def _left(self, powers: NDArray[np.float32], place: float, nharm: int, known: NDArray[np.float64]) -> float | None:
        """ln p of those harmonics that are none of what is known; 0: they are of another, None: they all are."""
        multiples = place * np.arange(1, nharm + 1)
        points = np.minimum(np.floor(multiples + 0.5).astype(np.int64), self.grid.npoints - 1)
        others, near, summed, mean = known[:, :, None]
        turns = np.rint(multiples / others)
        beside = (np.abs(multiples - turns * others) < near) & (turns >= 1) & (turns <= MOST_HARMONICS)
        # Were there more in harmonics beyond twice those that were summed, twice as many would have been better.
        most = HIGHER_PART * mean
        most = most + EXCESS_SIGMA * np.sqrt((1.0 + 2.0 * most) / self.neff)
        beside &= (turns <= 2.0 * summed) | (powers[points] - 1.0 < most)
        own = ~beside.any(axis=0)
        if own.all():
            return None
        # What is left in every 19th harmonic alone is of 19 times the frequency.
        if not own.any() or np.gcd.reduce(np.flatnonzero(own) + 1) > 1:
            return 0.0
        return float(sum_logp(float(powers[points[own]].sum()), int(own.sum()), self.weights)[0])

    def _is_part(self, powers: NDArray[np.float32], place: float, nharm: int) -> bool:
        """Whether all of a signal is in every second, third ... harmonic: then it is of that frequency."""
        for part in (2, 3, 5, 7):
            if part > nharm:
                break
            k = np.arange(1, nharm + 1)
            values = powers[np.minimum(np.floor(place * k + 0.5).astype(np.int64), self.grid.npoints - 1)]
            own, others = values[k % part == 0], values[k % part != 0]
            if (
                sum_logp(float(others.sum()), others.size, self.weights)[0] > SHARED_LOGP
                and sum_logp(float(own.sum()), own.size, self.weights)[0] < self.logp_threshold
            ):
                return True
        return False

    def _refined(self, powers: NDArray[np.float32], index: int, nharm: int) -> tuple[float, float]:
        """Frequency [Hz] of the top of a peak, by a parabola through three sums, and its standard error."""
        k = np.arange(1, nharm + 1)
        near = np.clip(np.array([index - 1, index, index + 1]), 0, self.grid.npoints - 1)
        points = (near[:, None] * k + nharm // 2) // nharm
        low, top, high = powers[points].astype(np.float64).sum(axis=1)
        curve = low - 2.0 * top + high
        shift = 0.5 * (low - high) / curve if curve < 0.0 else 0.0
        freq = (index + float(np.clip(shift, -0.5, 0.5))) / nharm * self.grid.step
        # sqrt(6) / (2 pi T) for a line of unit power (Cramer-Rao); as much more as there is power in higher harmonics.
        excess = self.neff * np.maximum(powers[points[1]] - 1.0, 0.0)
        information = max(float(np.sum(k**2 * excess)), 1.0)
        return freq, float(np.sqrt(6.0) / (2.0 * np.pi * self.tobs * np.sqrt(information)))
