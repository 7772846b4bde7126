"""Coherent search of one dedispersed series for pulsars on circular orbits: docs/orbits.md.

The steps: the white series of one octave of frequencies; for every template of the bank what arrives at even times of
emission, its power spectrum at half bins, and sums of 1, 2, 4 ... harmonics whose highest is in the octave; the best
peak of every few bins of frequency is kept, refined in frequency and orbit, and taken out of the series, before the
rest is looked at again.
"""

import heapq
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from scipy.fft import irfft, rfft
from scipy.optimize import minimize

from pulsar.config.model import OrbitsConfig
from pulsar.data.series import Lines, aligned
from pulsar.errors import ConfigError
from pulsar.orbits.bank import Bank, Slice
from pulsar.searches import stats
from pulsar.searches.amplitudes import PAD
from pulsar.searches.fft import HALF_WEIGHTS, FFTSearch, RaisedBuffers
from pulsar.searches.search import threshold_logp
from pulsar_kernels import fft, harmonics
from pulsar_kernels.arrays import Array, Float32s, Floats
from pulsar_kernels.fft import make_plan, work_size
from pulsar_kernels.orbit import resample_orbit

#: Samples of the white series in one of a template's: on a straight line between two of them a sine at 0.45 of a
#: template's sampling loses 0.2 % of its power against the noise, whose level there is 0.92.
RATIO: Final = 4
#: Part of the excess power at the threshold from which peaks are refined: what a template next to an orbit sees of it
#: at the least, in 19 of 20 (tests/orbits/test_bank.py), and half a bin of frequency.
GRID: Final = 0.75
#: Peaks of noise that are refined, about, at most; and peaks that are kept of one series.
NOISE_PEAKS: Final = 1000.0
MOST_PEAKS: Final = 4000
#: Bins of the fundamental within which only the best peak is kept.
CELL: Final = 4.0
#: Blocks of a series within which a refinement takes the phase to be constant.
BLOCKS: Final = 1024
#: Samples that are made of a signal at a time.
PIECE: Final = 1 << 16
#: Part of the range of W beyond which a signal is refined.
BEYOND: Final = 0.05
#: Harmonics that noise has as often as this are of another signal (as in the search of stacks).
SHARED_LOGP: Final = float(np.log(1e-4))


@dataclass(frozen=True)
class Octave:
    """Frequencies [Hz] of the highest harmonic that is summed."""

    low: float
    high: float


def octaves(f_min: float, f_max: float) -> tuple[Octave, ...]:
    """Frequencies from the lowest fundamental to the highest harmonic, halved from above."""
    bands, high = [], f_max
    while high > f_min * (1.0 + 1e-9):
        low = max(0.5 * high, f_min)
        # No octave that is less than a quarter of one.
        low = f_min if low < f_min * 2.0**0.25 else low
        bands.append(Octave(low, high))
        high = low
    return tuple(bands[::-1])


@dataclass
class CircularOrbit:
    """A signal on a circular orbit."""

    freq: float  # Spin frequency in the time of the pulsar [Hz]
    #: turn, x, y: 2 pi / P_orb [rad/s]; delays by cos and sin [s], from mid-observation.
    turn: float
    x: float
    y: float
    nharm: int  # Harmonics that were summed
    power: float  # Their sum, 1 each in noise
    #: logp, sigma: ln p in a single trial; significance, corrected for trials.
    logp: float = 0.0
    sigma: float = 0.0
    errors: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # 1-sigma, of freq, turn, x, y

    @property
    def period(self) -> float:
        """Orbital period [s]."""
        return 2.0 * np.pi / self.turn

    @property
    def size(self) -> float:
        """a sin(i) / c [s]."""
        return float(np.hypot(self.x, self.y))

    @property
    def node(self) -> float:
        """Passage of the ascending node next to mid-observation [s from there, time of emission]."""
        return -float(np.arctan2(self.x, self.y)) / self.turn

    def delay(self, t: Floats) -> Floats:
        """Of what is emitted at t, from mid-observation [s]."""
        return np.asarray(self.x * np.cos(self.turn * t) + self.y * np.sin(self.turn * t))

    def emitted(self, t: Floats) -> Floats:
        """When that was emitted which arrives at t, both from mid-observation [s]."""
        out = t
        # Each step gains a factor v / c.
        for _ in range(4):
            out = t - self.delay(out)
        return np.asarray(out)


@dataclass
class Peaks:
    """The best peak in every few bins of frequency."""

    #: Harmonics and cell -> ln p, power, frequency [Hz], W [rad/s], x, y [s].
    best: dict[tuple[int, int], tuple[float, ...]] = field(default_factory=dict)

    def add(self, key: tuple[int, int], row: tuple[float, ...]) -> None:
        """Keep the better one."""
        there = self.best.get(key)
        if there is None or row < there:
            self.best[key] = row

    def join(self, peaks: "Peaks") -> None:
        """Add those of another part of the bank."""
        for key, row in peaks.best.items():
            self.add(key, row)
        self.bound()

    def bound(self) -> None:
        """Keep no more than the best few thousand."""
        if len(self.best) > 2 * MOST_PEAKS:
            kept = sorted(self.best.items(), key=lambda item: item[1])[:MOST_PEAKS]
            self.best = dict(kept)


class OrbitSearch:
    """Search series of one length for circular orbits, in one octave; safe to share between threads.

    Parameters
    ----------
    tsamp : float
        [s]
    share : float
        Part of the false alarms of the whole run that may come from here: 1 / (octaves times independent DMs).

    Raises
    ------
    ConfigError
        If the range of orbits is empty.
    """

    def __init__(self, nsamps: int, tsamp: float, octave: Octave, config: OrbitsConfig, share: float = 1.0) -> None:
        self.nsamps, self.tsamp, self.octave, self.config, self.share = nsamps, tsamp, octave, config, share
        self.tobs = nsamps * tsamp
        self.bank = Bank(config, octave.high, self.tobs)
        self.n = template_samples(self.tobs, octave.high)
        self.dt = self.tobs / self.n
        plan = make_plan(self.n)
        if plan is None:
            raise ConfigError(f"no transform of {self.n} samples")  # template_samples takes lengths that have one
        self._plan = plan
        self.nharms = tuple(1 << s for s in range(int(config.nharm).bit_length()))
        span = 2.0 * self.tobs
        limits = np.array([[np.ceil(span * octave.low), np.floor(span * octave.high) + 1]] * len(self.nharms))
        self._limits = limits.astype(np.int64)
        #: Bins of the highest harmonic.
        self.bins = (octave.high - octave.low) * self.tobs
        self._knots = np.linspace(1.0, self.n // 2, 65)
        self._level = _response(self._knots / self.n)
        self._buffers = _Buffers(self.n, plan)
        self.logp_threshold = threshold_logp(config.threshold, self.ntrials)
        self._thresholds = [stats.power_from_logp(self.logp_threshold, h) for h in self.nharms]
        least = np.log(max(self.bank.count, 1) * self.bins * 2.0 * len(self.nharms) / NOISE_PEAKS)
        floors = [stats.power_from_logp(min(-float(least), -1.0), h) for h in self.nharms]
        grid = [max(h + GRID * (p - h), low) for h, p, low in zip(self.nharms, self._thresholds, floors, strict=True)]
        self._grid = np.array(grid, dtype=np.float32)

    def ntrials(self, logp: Floats | float) -> Floats:
        """Independent trials of the run at ln p: maxima of a field of powers over frequency and orbit (docs)."""
        level = np.maximum(-np.asarray(logp, dtype=np.float64), 1.0)
        volume, area = self.bank.volume
        total = np.zeros_like(level)
        for h in self.nharms:
            # The mean square of the harmonic numbers over that of the highest, for which the bank is.
            slope = level * np.mean((np.arange(1, h + 1) / h) ** 2) / np.pi
            total = total + slope**0.5 * (1.0 + area * slope + volume * slope**1.5)
        return np.asarray(np.maximum(np.pi / np.sqrt(3.0) * self.bins * total, 1.0) / self.share)

    def whiten(self, series: Array, birdies: Lines = ()) -> Float32s | None:
        """The white series of the octave, more finely sampled than a template's; None when it is constant.

        Parameters
        ----------
        series : ndarray, shape (nsamps,)
        birdies : iterable of (float, float)
            Frequencies and full widths [Hz] that are left out.

        Returns
        -------
        ndarray of float32, shape (RATIO, n)
            Sample i of plane p is sample ``RATIO i + p`` of the series.
        """
        search = FFTSearch(self.nsamps, self.tsamp)
        amplitudes = search.filled(series, tuple(birdies))
        if amplitudes is None:
            return None
        real, imag = (part[PAD : PAD + search.nbins + 1] for part in amplitudes)
        white = irfft(real + 1j * imag, search.nfft)[: self.nsamps]
        # Of the data alone, without what they were padded with.
        spectrum = rfft(white.astype(np.float32))
        top = min(int(self.octave.high * self.tobs) + 1, spectrum.size)
        bins = np.zeros(RATIO * self.n // 2 + 1, dtype=np.complex64)
        bins[1:top] = spectrum[1:top]
        fine = irfft(bins, RATIO * self.n).astype(np.float32)
        # So that the powers of the transform of n of its samples have mean 1: irfft divides by their number.
        fine *= np.float32(RATIO * np.sqrt(search.nfft / self.nsamps))
        return np.ascontiguousarray(fine.reshape(self.n, RATIO).T)

    def peaks(self, white: Float32s, slices: Sequence[Slice], threads: int, tick: Callable[[float], None]) -> Peaks:
        """The best peaks that the templates of some slices show."""
        total = Peaks()
        lock = threading.Lock()

        def look_at(part: Slice) -> None:
            peaks = self._peaks(white, part, tick)
            with lock:
                total.join(peaks)

        with ThreadPoolExecutor(threads, thread_name_prefix="orbits") as pool:
            list(pool.map(look_at, slices))
        return total

    def _peaks(self, white: Float32s, part: Slice, tick: Callable[[float], None]) -> Peaks:
        peaks = Peaks()
        for x, y in zip(*self.bank.templates(part), strict=True):
            index, stages, power = self.look(white, part.turn, float(x), float(y))
            nharm = np.left_shift(1, stages)
            for i, h, p in zip(index.tolist(), nharm.tolist(), power.tolist(), strict=True):
                freq = i / (2.0 * h * self.tobs)
                logp = float(stats.power_logp(p, h))
                peaks.add((h, int(freq * self.tobs / CELL)), (logp, p, freq, part.turn, float(x), float(y)))
            peaks.bound()
            tick(1)
        return peaks

    def look(self, white: Float32s, turn: float, x: float, y: float) -> tuple[Array, ...]:
        """Peaks of one template above the grid's thresholds: index of the highest harmonic, log2 of harmonics, sum."""
        b = self._buffers
        self._resampled(white, turn, x, y, b.series)
        fft.real_fft(b.series, b.flat, self._plan, b.work, PAD, b.real, b.imag)
        powers = b.work[: self.n]
        harmonics.white_powers(
            *(b.real, b.imag, PAD, np.log(self._knots), self._level, HALF_WEIGHTS, b.none, b.none, 0.0, powers)
        )
        return b.room.raised(powers, self._limits, self._grid)

    def _resampled(self, white: Float32s, turn: float, x: float, y: float, out: Float32s) -> None:
        fine = RATIO / self.dt
        resample_orbit(white, turn * self.dt, x * fine, y * fine, out)

    def signals(self, white: Float32s, peaks: Peaks) -> list[CircularOrbit]:
        """The signals behind peaks, the best first: refined, and each taken out before the rest is looked at again.

        Parameters
        ----------
        white : ndarray
            Is left as it was.
        """
        left = white.copy()
        queue = [(row, h, 0) for (h, _), row in peaks.best.items()]
        heapq.heapify(queue)
        orbits: list[CircularOrbit] = []
        # Signals of one series that are refined and taken out at most.
        while queue and len(orbits) < 100:
            row, h, seen = heapq.heappop(queue)
            _, power, freq, turn, x, y = row
            start = CircularOrbit(freq, turn, x, y, h, power)
            if seen < len(orbits):
                power = _Near(self, left, start).power(np.zeros(4))
                # A peak that is not its own is lost with whose it was.
                if power > GRID * self._grid[h.bit_length() - 1]:
                    logp = float(stats.power_logp(power, h))
                    heapq.heappush(queue, ((logp, power, freq, turn, x, y), h, len(orbits)))
                continue
            orbit = self._at_fundamental(left, self.refined(left, start))
            if orbit.logp > self.logp_threshold:
                continue
            orbits.append(orbit)
            self._take_out(left, orbit)
        return sorted(orbits, key=lambda orbit: orbit.logp)

    def refined(self, white: Float32s, start: CircularOrbit) -> CircularOrbit:
        """The nearest peak in frequency and orbit of a sum of powers."""
        orbit = start
        for size in (0.4, 0.1):
            near = _Near(self, white, orbit)
            corners = size * np.concatenate([np.zeros((1, 4)), np.eye(4)]) - size / 5.0
            best = minimize(
                near.lost,
                np.zeros(4),
                method="Nelder-Mead",
                options={"initial_simplex": corners, "xatol": 0.01, "fatol": 1e-3, "maxfev": 600},
            )
            orbit = near.at(best.x)
        near = _Near(self, white, orbit)
        orbit.power = near.power(np.zeros(4))
        orbit.logp = float(stats.power_logp(orbit.power, orbit.nharm))
        orbit.sigma = float(stats.trial_sigma(orbit.logp, self.ntrials(orbit.logp)))
        orbit.errors = near.errors()
        return orbit

    def _at_fundamental(self, white: Float32s, orbit: CircularOrbit) -> CircularOrbit:
        """The signal at its own frequency: that of twice as much where every second harmonic holds nothing."""
        while orbit.nharm > 1:
            powers = _Near(self, white, orbit).powers(np.zeros(4))
            odd = stats.power_logp(powers[::2].sum(), powers[::2].size)
            if odd < SHARED_LOGP:
                break
            double = self.refined(
                white, CircularOrbit(2.0 * orbit.freq, orbit.turn, orbit.x, orbit.y, orbit.nharm // 2, 0.0)
            )
            if double.logp > self.logp_threshold:
                break
            orbit = double
        return orbit

    def _take_out(self, planes: Float32s, orbit: CircularOrbit) -> None:
        """Subtract all harmonics of a signal up to the end of the octave, in place."""
        amplitudes = _Near(self, planes, orbit, every=True).z.sum(axis=1)
        fine = self.tobs / (RATIO * self.n)
        n = planes.shape[1]
        for lo in range(0, n, PIECE):
            row = np.arange(lo, min(lo + PIECE, n), dtype=np.float64)
            for plane in range(RATIO):
                t = (row * RATIO + plane - 0.5 * RATIO * (self.n - 1)) * fine
                turns = orbit.freq * orbit.emitted(t)
                for k, amplitude in enumerate(amplitudes, start=1):
                    wave = amplitude * np.exp(2j * np.pi * k * turns)
                    planes[plane, lo : lo + PIECE] -= (2.0 / self.n * wave.real).astype(np.float32)


class _Near:
    """Powers of a signal's harmonics for orbits near one, from short series.

    Parameters
    ----------
    one : CircularOrbit
    every : bool
        All harmonics up to the end of the octave, not only those that were summed.
    """

    def __init__(self, search: OrbitSearch, white: Float32s, orbit: CircularOrbit, *, every: bool = False) -> None:
        self.orbit = orbit
        count = max(int(search.octave.high / orbit.freq), 1) if every else orbit.nharm
        n, dt = search.n, search.dt
        length = -(-n // BLOCKS)
        series = np.zeros(length * BLOCKS, dtype=np.float32)
        search._resampled(white, orbit.turn, orbit.x, orbit.y, series[:n])
        k = np.arange(1, count + 1)
        level = np.exp(np.interp(k * orbit.freq * dt * n, search._knots, search._level))
        inside = np.arange(length) - 0.5 * (length - 1)
        within = np.exp(-2j * np.pi * orbit.freq * dt * np.outer(inside, k)).astype(np.complex64)
        starts = np.arange(BLOCKS, dtype=np.float64) * length + 0.5 * (length - 1) - 0.5 * (n - 1)
        #: Middles of the blocks [s].
        self.t = starts * dt
        blocks = series.reshape(BLOCKS, length) @ within
        self.z = (blocks * np.exp(-2j * np.pi * orbit.freq * np.outer(self.t, k))).T
        self.k, self.level = k, level
        turns = search.bank.metric.turn
        #: W is looked for as far beyond its range.
        self.range = (1.0 - BEYOND) * float(turns[0]), (1.0 + BEYOND) * float(turns[-1])
        # A step of 1 in any direction is a mismatch of 1 for the highest harmonic; of W no more than its range, in
        # which it stays where a signal has no orbit that tells it.
        bound = np.diag([0.0, 1.0 / (self.range[1] - self.range[0]) ** 2, 0.0, 0.0])
        self.steps = np.linalg.inv(np.linalg.cholesky(self._metric() * float(orbit.nharm) ** 2 + bound)).T

    def _metric(self) -> Floats:
        """Mismatch of the fundamental by freq, turn, x and y: variances of what they do to the phase."""
        orbit, t = self.orbit, self.t
        c, s = np.cos(orbit.turn * t), np.sin(orbit.turn * t)
        each = 2.0 * np.pi * np.array([t, orbit.freq * t * (orbit.y * c - orbit.x * s), orbit.freq * c, orbit.freq * s])
        metric = np.cov(each, bias=True)
        # What hardly differs, such as a part of an orbit and a trend, is told apart by rounding only.
        return np.asarray(metric + np.diag(1e-9 * np.diag(metric)))

    def at(self, step: Floats) -> CircularOrbit:
        """The orbit that is a step away."""
        freq, turn, x, y = self.steps @ step + np.array([self.orbit.freq, self.orbit.turn, self.orbit.x, self.orbit.y])
        return CircularOrbit(float(freq), float(turn), float(x), float(y), self.orbit.nharm, self.orbit.power)

    def power(self, step: Floats) -> float:
        """Sum of the powers there; 0 beyond the range of W."""
        low, high = self.range
        return float(self.powers(step).sum()) if low <= self.at(step).turn <= high else 0.0

    def lost(self, step: Floats) -> float:
        """The power with its sign turned, to be made small."""
        return -self.power(step)

    def powers(self, step: Floats) -> Floats:
        """Power of each harmonic there."""
        near = self.at(step)
        # What arrives at one time was emitted at t, and by the other orbit at t + late.
        late = self.orbit.delay(self.t) - near.delay(self.t)
        speed = near.turn * (near.y * np.cos(near.turn * self.t) - near.x * np.sin(near.turn * self.t))
        turns = (near.freq - self.orbit.freq) * self.t + near.freq * late * (1.0 - speed)
        wave = np.exp(-2j * np.pi * np.outer(self.k, turns))
        return np.asarray(np.abs((self.z * wave).sum(axis=1)) ** 2 / self.level)

    def errors(self) -> tuple[float, float, float, float]:
        """1-sigma of freq, turn, x, y, each with the others unknown (Cramer-Rao)."""
        excess = np.maximum(self.powers(np.zeros(4)) - 1.0, 0.0)
        known = max(2.0 * float(excess @ self.k**2), 1.0)
        # A W that nothing tells is anywhere in its range: the variance of that is a twelfth of its square.
        bound = np.diag([0.0, 12.0 / (self.range[1] - self.range[0]) ** 2, 0.0, 0.0])
        sigma = np.sqrt(np.diag(np.linalg.inv(known * self._metric() + bound)))
        return float(sigma[0]), float(sigma[1]), float(sigma[2]), float(sigma[3])


class _Buffers(threading.local):
    """Work space: each thread has one of its own."""

    def __init__(self, n: int, plan: Any) -> None:
        self.series = np.zeros(n, dtype=np.float32)
        self.real = np.zeros(n // 2 + 2 * PAD, dtype=np.float32)
        self.imag = np.zeros_like(self.real)
        self.work = aligned(max(plan.work, n), np.float32)
        self.flat = np.zeros(4)
        self.none = np.zeros(0, dtype=np.float32)
        self.room = RaisedBuffers()


def template_samples(tobs: float, high: float) -> int:
    """Samples of a template: the fewest that the transform takes and that hold the highest frequency."""
    # Nyquist frequency of a template over the highest frequency that is searched.
    n = 2 * max(int(np.ceil(1.02 * high * tobs)), 512)
    while not work_size(n):
        n += 2
    return n


def template_memory(n: int) -> tuple[int, int]:
    """Bytes of the white series, and of the work space of a thread, for templates of `n` samples."""
    return 4 * RATIO * n, 4 * 5 * n


def _response(freq: Floats) -> Floats:
    """ln of the mean power that straight lines leave of a sine, `freq` in cycles per sample of a template."""
    return np.log(1.0 - (1.0 - np.cos(2.0 * np.pi * freq / RATIO)) / 3.0)
