"""Periodicity search in the summed powers of many epochs at one DM: docs/stack.md.

How likely noise makes a weighted sum of powers is the tail of a sum of gamma variables:
S = sum_e w_e sum_h P_eh, P exponential with mean 1. Of equal weights w it is that of a chi-square with 2 M H degrees of
freedom. Of others the saddle point of the cumulants K(t) = -H sum ln(1 - w_e t) gives it (Lugannani & Rice 1980, Adv.
Appl. Prob. 12, 475): with s the root of K'(s) = S, r = sign(s) sqrt(2 (s S - K(s))) and u = s sqrt(K''(s)),

    p = Q(r) + phi(r) (1/u - 1/r).
"""

import heapq

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pulsar.config.model import FFTConfig
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.errors import ConfigError
from pulsar.searches import stats
from pulsar.searches.amplitudes import MIN_BIN, MIN_CYCLES
from pulsar.searches.fft import RaisedBuffers
from pulsar.searches.search import PeriodicSearch, threshold_logp
from pulsar.stack.files import POINTS, StackGrid
from pulsar_kernels.arrays import Array, Float32s, Floats, Ints

#: Independent trials per bin of the powers of one harmonic, and what each stage of harmonics adds per bin of its top
#: harmonic, from benchmarks/noise.py trials stack: at p = 1e-4 of many epochs, by how much less of one, what every
#: factor of ten below adds, and the most. Measured of 1, 4, 16 and 64 epochs at 1e-4, 1e-5, 1e-6: 0.75, 1.3, 1.8;
#: 1.1, 1.8, 2.6; 1.2, 2.0, 2.2; 1.3, 1.9, 1.6 (the last of each +- 0.3); a tenth more than
#: that is for levels of the noise that are known within a few per cent only (benchmarks/noise.py stack).
TRIALS_SINGLE = 2.9
TRIALS_STAGE = (1.35, 0.55, 0.75, 2.5)
#: Bins beside a stronger signal, or a harmonic of it, that are its own.
BESIDE = 1.5
#: Of a signal that shares harmonics with a stronger one the others must be less likely than this.
SHARED_LOGP = float(np.log(1e-4))


class StackSearch:
    """Search the weighted sums of the powers of many epochs.

    Parameters
    ----------
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
        weights: Floats,
        tobs: Floats,
        config: FFTConfig = FFTConfig(),
        *,
        ntrials_dm: float = 1.0,
    ) -> None:
        weights = np.asarray(weights, dtype=np.float64)
        if not weights.size or not np.all(weights > 0) or not np.all(np.isfinite(weights)):
            raise ConfigError("a stack needs epochs, each of a positive weight")
        self.grid, self.config, self.ntrials_dm = grid, config, float(ntrials_dm)
        self.weights = weights / weights.sum()
        #: Epochs of equal weight that would have the same noise.
        self.neff = effective(self.weights)
        #: Length of the data of an epoch, as they count [s].
        self.tobs = float(self.weights @ np.asarray(tobs, dtype=np.float64))
        #: Harmonics that are summed, and of each first index of the top harmonic, and the one after the last.
        self.nharms = tuple(1 << s for s in range(int(config.nharm).bit_length()))
        self.limits = self._ranges()
        # What is new from one frequency to the next goes with the square of the length and the noise of each epoch.
        noise = self.weights**2 / np.sum(self.weights**2)
        per_bin = 1.0 / (grid.step * np.sqrt(noise @ np.asarray(tobs, dtype=np.float64) ** 2))
        counts = np.maximum(np.diff(self.limits, axis=1)[:, 0], 0) / per_bin
        self._bins = float(counts[0]), float(counts[1:].sum())
        self.set_threshold(min(threshold_logp(config.threshold, self.ntrials), PeriodicSearch.max_logp))

    def _ranges(self) -> Ints:
        grid, config = self.grid, self.config
        if config.p_min is not None and config.p_max is not None and config.p_min >= config.p_max:
            raise ConfigError(f"p_min {config.p_min:g} s is not below p_max {config.p_max:g} s: swap them")
        f_lo = max(1.0 / config.p_max if config.p_max is not None else MIN_CYCLES / self.tobs, MIN_BIN / self.tobs)
        f_hi = 1.0 / config.p_min if config.p_min is not None else np.inf
        h = np.array(self.nharms)
        ends = np.ceil(h * f_lo / grid.step), np.minimum(grid.npoints, np.floor(h * f_hi / grid.step) + 1)
        limits = np.column_stack(ends).astype(np.int64)
        if limits[0, 1] <= limits[0, 0]:
            raise ConfigError(
                f"no period from {1.0 / f_hi:g} to {1.0 / f_lo:g} s is in this stack, which has frequencies up to "
                f"{grid.npoints * grid.step:g} Hz: widen fft.p_min, fft.p_max"
            )
        return limits

    def ntrials(self, logp: Floats | float) -> Floats:
        """Effective independent trials of the whole search at the single-trial ln p."""
        decades = -np.asarray(logp, dtype=np.float64) / np.log(10.0) - 4.0
        many, less, decade, most = TRIALS_STAGE
        stage = np.clip(many - less / np.sqrt(self.neff) + decade * decades, 0.5, most)
        per_series = np.maximum(TRIALS_SINGLE * self._bins[0] + stage * self._bins[1], 1.0)
        return np.asarray(per_series * self.ntrials_dm, dtype=np.float64)

    def set_threshold(self, logp: float) -> None:
        """Keep what is less likely than exp(`logp`) in a single trial, whatever the configured threshold says."""
        self.logp_threshold = float(logp)
        self.thresholds = tuple(sum_from_logp(self.logp_threshold, h, self.weights) for h in self.nharms)

    def search(self, powers: Float32s, dm: float = 0.0, dm_index: int = 0) -> Array:
        """Detections in the summed powers of one DM.

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
        index, stages, sums = RaisedBuffers().raised(powers, self.limits, np.array(self.thresholds, dtype=np.float32))
        nharm, total = np.left_shift(1, stages), sums.astype(np.float64)
        logp = np.zeros(index.size)
        for h in np.unique(nharm):
            rows = nharm == h
            logp[rows] = sum_logp(total[rows], int(h), self.weights)
        # Detections looked at for one DM, the strongest.
        order = np.argsort(logp, kind="stable")[:5000]
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

    def harmonic_points(self, place: float, nharm: int) -> Ints:
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

    def _select(self, powers: Float32s, place: Floats, nharm: Ints, total: Floats, logp: Floats) -> Ints:
        """Numbers of the peaks that are not what others leave beside them and in their harmonics.

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
            # Most bins that its sidelobes may reach.
            reach = float(np.clip(np.sqrt(excess * np.sqrt(self.neff)) / np.pi, BESIDE, 32.0))
            known[:, len(kept)] = place[i], bins * reach, nharm[i], excess / float(nharm[i])
            kept.append(i)
        return np.array(kept, dtype=np.int64)

    def _left(self, powers: Float32s, place: float, nharm: int, known: Floats) -> float | None:
        """ln p of those harmonics that are none of what is known; 0: they are of another, None: they all are."""
        multiples = place * np.arange(1, nharm + 1)
        points = np.minimum(np.floor(multiples + 0.5).astype(np.int64), self.grid.npoints - 1)
        freqs, near, summed, mean = known[:, :, None]
        turns = np.rint(multiples / freqs)
        # Harmonics of a stronger signal that are looked at.
        beside = (np.abs(multiples - turns * freqs) < near) & (turns >= 1) & (turns <= 64)
        # Were there more in harmonics beyond twice those that were summed, twice as many would have been better.
        # So much a falling spectrum of harmonics may hold there: of sums of H and 2 H the first is better where the
        # second half holds less than 2^1/2 - 1 of it; and what noise adds by 4 sigma.
        most = 0.414 * mean
        most = most + 4.0 * np.sqrt((1.0 + 2.0 * most) / self.neff)
        beside &= (turns <= 2.0 * summed) | (powers[points] - 1.0 < most)
        free = ~beside.any(axis=0)
        if free.all():
            return None
        # What is left in every 19th harmonic alone is of 19 times the frequency.
        if not free.any() or np.gcd.reduce(np.flatnonzero(free) + 1) > 1:
            return 0.0
        return float(sum_logp(float(powers[points[free]].sum()), int(free.sum()), self.weights)[0])

    def _is_part(self, powers: Float32s, place: float, nharm: int) -> bool:
        """True if all of a signal is in every second, third ... harmonic: then it is of that frequency."""
        for part in (2, 3, 5, 7):
            if part > nharm:
                break
            k = np.arange(1, nharm + 1)
            values = powers[np.minimum(np.floor(place * k + 0.5).astype(np.int64), self.grid.npoints - 1)]
            shared, rest = values[k % part == 0], values[k % part != 0]
            if (
                sum_logp(float(rest.sum()), rest.size, self.weights)[0] > SHARED_LOGP
                and sum_logp(float(shared.sum()), shared.size, self.weights)[0] < self.logp_threshold
            ):
                return True
        return False

    def _refined(self, powers: Float32s, index: int, nharm: int) -> tuple[float, float]:
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


def effective(weights: Floats) -> float:
    """Epochs of equal weight that have the same noise: (sum w)^2 / sum w^2."""
    return float(np.sum(weights) ** 2 / np.sum(weights**2))


def sum_logp(total: ArrayLike, nharm: int, weights: Floats) -> Floats:
    """ln of the probability that noise gives a weighted sum of powers above `total` in a single trial.

    Parameters
    ----------
    total : array_like
        Sums, of `nharm` powers of each epoch times its weight.
    weights : ndarray, shape (nepochs,)
        Positive.

    Returns
    -------
    ndarray of float64
        At equal weights exact to 1e-12, else within 1 % of p of at most 0.01 (tests/stack/test_weighted.py).
    """
    total_ = np.atleast_1d(np.asarray(total, dtype=np.float64))
    w = np.asarray(weights, dtype=np.float64)
    # Weights that differ less count as equal.
    if np.ptp(w) <= 1e-9 * w.max():
        return np.asarray(stats.power_logp(total_ / w.mean(), nharm * w.size), dtype=np.float64)
    mean, spread = nharm * w.sum(), np.sqrt(nharm * np.sum(w**2))
    away = (total_ - mean) / spread
    out = stats.logp_from_sigma(away)
    # So close to the mean (in standard deviations) the formula is 0 / 0; p is that of a normal variable there.
    far = np.abs(away) > 1e-3
    safe = np.where(far, np.maximum(total_, 1e-9 * mean), mean + spread)
    s = _saddle(safe, nharm, w)
    left = 1.0 - w[:, None] * s
    cumulant = -nharm * np.sum(np.log(left), axis=0)
    second = nharm * np.sum((w[:, None] / left) ** 2, axis=0)
    r = np.sign(s) * np.sqrt(np.maximum(2.0 * (s * safe - cumulant), 0.0))
    u = s * np.sqrt(second)
    # Both terms share exp(-r^2/2): what is left is Mills' ratio and a difference that is small.
    mills = np.sqrt(0.5 * np.pi) * special.erfcx(r / np.sqrt(2.0))
    rest = np.maximum(mills + 1.0 / u - 1.0 / r, 1e-300)
    tail = np.minimum(-0.5 * r**2 - 0.5 * np.log(2.0 * np.pi) + np.log(rest), 0.0)
    return np.asarray(np.where(far, tail, out), dtype=np.float64)


def sum_from_logp(logp: float, nharm: int, weights: Floats) -> float:
    """The sum that noise exceeds with probability exp(`logp`): inverse of `sum_logp`."""
    w = np.asarray(weights, dtype=np.float64)
    low = nharm * float(w.sum())
    high = low + float(w.max()) * (10.0 - logp)
    return stats.inverse_tail(lambda total: float(sum_logp(total, nharm, w)[0]), logp, low, high, 1e-9)


def _saddle(total: Floats, nharm: int, w: Floats) -> Floats:
    """The root of K'(s) = total below 1 / max(w): bisected by brackets, Newton's steps inside."""
    largest = float(w.max())
    # One power of the largest weight alone would need 1 - w s = nharm w / total; more epochs need a smaller s.
    high = np.full(total.shape, (1.0 - 1e-14) / largest)
    low = np.minimum((1.0 - nharm * w.size * largest / total) / largest, 0.0) - 1e-12
    s = np.clip(1.0 / largest * (1.0 - nharm * w.sum() / total), low, high - 1e-12 * high)
    # Steps of Newton's method: it has the root to the last digit after six or so.
    for _ in range(60):
        left = 1.0 - w[:, None] * s
        slope = nharm * np.sum(w[:, None] / left, axis=0) - total
        curve = nharm * np.sum((w[:, None] / left) ** 2, axis=0)
        low, high = np.where(slope < 0.0, s, low), np.where(slope < 0.0, high, s)
        step = s - slope / curve
        inside = (step > low) & (step < high)
        s = np.where(inside, step, 0.5 * (low + high))
    return np.asarray(s)
