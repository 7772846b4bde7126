"""A series made ready for the searches, without its trend, drifts and known lines; its Fourier amplitudes, their noise.

Drifts are red noise between the lines of a pulsar. In the Fourier series of the data themselves a wave of no whole
number of turns, and the jump from the last sample to the first, leak into all modes with the square of their distance:
waves of 3 to 15 s and S/N of hundreds hide what is slower than a second (of the noise at mode 40 of a minute 97 % were
leakage in one case). The level of the noise is therefore measured in the tapered series, and divided out in sines: they
continue the series by its mirror image, turned over, in which neither value nor slope jumps.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from pulsar.data.series import Lines
from pulsar.errors import ConfigError
from pulsar.searches import stats
from pulsar_kernels import fft, whiten
from pulsar_kernels.arrays import Array, Complex64s, Float32s, Floats, Ints
from pulsar_kernels.fft import make_plan, work_size
from pulsar_kernels.longwave import remove_tone

#: Powers 0 to 3 of the place of 64 stretches between -1 and 1, and the least-squares cubic through their means.
_POWERS = np.vander((np.arange(64) + 0.5) / 32.0 - 1.0, 4, increasing=True)
_CUBIC = np.linalg.pinv(_POWERS)


def _means(series: Array, number: int) -> Floats:
    """Means of the finite samples in so many equal stretches of a series; NaN where there are none."""
    means = np.empty(number, dtype=np.float64)
    if series.dtype == np.int16:
        whiten.integer_means(series, means)
    else:
        whiten.block_means(series, means)
    return means


def cubic_trend(series: Array, gaps: Iterable[tuple[int, int]] = ()) -> Floats:
    """Cubic through the means of 64 stretches: takes out drifts, and from 4 cycles on nothing of a signal.

    Parameters
    ----------
    series : ndarray of int16 or float32, C-contiguous
    gaps : iterable of (int, int)
        First sample of what is missing, and the one after the last: stretches that touch it do not count.
    """
    means = _means(series, 64)
    good = np.isfinite(means)
    for lo, hi in gaps:
        edges = series.shape[0] * np.arange(65) // 64
        good &= (edges[1:] <= lo) | (edges[:-1] >= hi)
    coeffs = np.zeros(4, dtype=np.float64)
    if good.all():
        coeffs[:] = _CUBIC @ (means - means[0])
        coeffs[0] += means[0]
    elif np.count_nonzero(good) >= 8:
        origin = means[good][0]
        coeffs[:] = np.linalg.lstsq(_POWERS[good], means[good] - origin, rcond=None)[0]
        coeffs[0] += origin
    elif good.any():
        coeffs[0] = np.median(means[good])
    return coeffs


#: A pulsar of so many turns has a line in each of these first modes: they are too few for medians.
LOW_MODES = 8
#: Red noise is measured by medians at modes of this ratio, over this part of their number on either side (that many at
#: least), so that the lines of a pulsar do not count.
LADDER = 1.3
REACH = 0.33
NEAR = 4
#: It is red if the first so many have so many times the lowest level within three octaves above the place where they
#: stop falling; they do that where they are no more than so many times the lowest above.
FIRST = 3
REDDISH = 3.0
EVEN = 1.2
OCTAVES = 8.0


def drift(x: Float32s, variance: float, modes: int, line: float) -> Floats:
    """The series to be subtracted from another to divide its spectrum by the red noise between its lines.

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
        Missing samples are 0.
    variance : float
        That white noise has in each sample.
    modes : int
        Cycles in the data up to which noise is measured, n/2 at most.
    line : float
        A sine in red noise is left no more than so many times as strong as the noise in its mode (half a cycle wide).

    Returns
    -------
    ndarray of float64, shape (n,)
        Empty if there is no red noise.
    """
    white = variance * len(x)
    spectrum = scipy.fft.rfft(x, scipy.fft.next_fast_len(len(x), real=True))
    level = red_level(spectrum[: modes + 2], white)
    if len(level) == 0:
        return np.zeros(0)
    # Part of a series whose median is its end.
    ends = max(len(x) // 400, 1)
    first, last = float(np.median(x[:ends])), float(np.median(x[-ends:]))
    slope = first + (last - first) * np.clip((np.arange(len(x)) - 0.5 * ends) / (len(x) - ends), 0.0, 1.0)
    # Sines of 1/2, 1, 3/2 ... cycles.
    waves = scipy.fft.dst(x - slope, type=2)
    cycles = 0.5 * np.arange(1, min(2 * len(level), len(waves)) + 1)
    measured = waves[: len(cycles)] ** 2 / (2.0 * white)
    level = np.interp(cycles, np.arange(1, len(level) + 1), level)
    level = np.where(level > REDDISH, np.maximum(level, measured / line), level)
    level[: 2 * LOW_MODES - 2] = np.maximum(measured, level)[: 2 * LOW_MODES - 2]
    waves[: len(cycles)] *= 1.0 - 1.0 / np.sqrt(level)
    waves[len(cycles) :] = 0.0
    return np.asarray(scipy.fft.idst(waves, type=2) + slope)


def red_level(spectrum: Complex64s, white: float) -> Floats:
    """Noise power of modes 1, 2, 3 ... between lines over that of white noise, as far as it is red; empty if it is not.

    It is measured in the spectrum of the tapered series, in which waves and lines of bright pulsars stay where they
    are: the taper of Hann is a sum of three neighbours. Red noise falls; pulses that vary from turn to turn raise all
    modes up to those of their width, and are left.
    """
    tapered = 0.5 * spectrum[1:-1] - 0.25 * (spectrum[:-2] + spectrum[2:])
    smooth, centres = running_level(np.abs(tapered).astype(np.float64) ** 2 / (white * 0.375))
    values = smooth.tolist()
    beyond = np.searchsorted(centres, OCTAVES * centres).tolist()
    even = (i for i, j in enumerate(beyond) if values[i] < EVEN * max(min(values[i : j + 1]), 1.0))
    last = next(even, len(centres) - 1)
    if last < 2:
        return np.zeros(0)
    floor = max(float(np.median(smooth[last : beyond[last] + 1])), 1.0)
    if not np.median(smooth[:FIRST]) > REDDISH * floor:
        return np.zeros(0)
    # What ends in white noise is made white; what ends higher up, in pulses that vary, is made even.
    varies = floor > REDDISH
    end = int(centres[last]) if varies else len(tapered)
    smooth = np.maximum(smooth / (floor if varies else 1.0), 1.0)
    return np.asarray(np.exp(np.interp(np.log(np.arange(1, end + 1)), np.log(centres), np.log(smooth))))


def running_level(power: Floats) -> tuple[Floats, Ints]:
    """Mean power by the medians about every mode of a ladder from LOW_MODES on, and these modes."""
    centres, stretches = _ladder(len(power))
    # The median of an exponential distribution is ln 2 of its mean.
    medians = [np.partition(power[lo:hi], middle)[middle] for lo, hi, middle in stretches]
    return np.array(medians) / np.log(2.0), centres


@lru_cache(maxsize=64)
def _ladder(nmodes: int) -> tuple[Ints, list[tuple[int, int, int]]]:
    """Modes of the ladder, and of the stretch about each the first element, the last + 1, and half of their number."""
    steps = max(int(np.log(max(nmodes, LOW_MODES) / LOW_MODES) / np.log(LADDER)), 0)
    centres = np.unique(np.round(LOW_MODES * LADDER ** np.arange(steps + 1))).astype(np.int64)
    half = np.maximum((centres * REACH).astype(np.int64), NEAR)
    ends = zip(np.maximum(centres - 1 - half, 0).tolist(), np.minimum(centres + half, nmodes).tolist(), strict=True)
    return centres, [(lo, hi, (hi - lo) // 2) for lo, hi in ends]


def without_lines(raw: Float32s, tau: float, lines: Lines) -> int:
    """Take lines out of a series, in place, where they are stronger than noise is.

    Parameters
    ----------
    raw : ndarray of float32, shape (n,)
        NaN are missing, and stay so.
    tau : float
        Time from one sample to the next [s].
    lines : sequence of (float, float)
        Frequencies and full widths [Hz]; those beyond Nyquist are left to the averaging.

    Returns
    -------
    int
        Lines that were there.
    """
    n = raw.shape[0]
    lines = [line for line in lines if line[0] + 0.5 * line[1] < 0.5 / tau]
    if not lines:
        return 0
    known = np.isfinite(raw)
    mean = np.float32(raw[known].mean()) if known.any() else np.float32(0.0)
    nfft = int(scipy.fft.next_fast_len(n, real=True))
    spectrum = scipy.fft.rfft(np.where(known, raw - mean, np.float32(0.0)), nfft)
    powers = spectrum.real**2 + spectrum.imag**2
    usual = stats.median(powers) / np.log(2.0)
    work = np.empty((3, n + 1))
    step = 1.0 / (nfft * tau)
    strong = []
    for freq, width in lines:
        width = max(width, 1.0 / (n * tau))
        lo = max(int((freq - 0.5 * width) / step), 1)
        hi = max(int(np.ceil((freq + 0.5 * width) / step)) + 1, lo + 1)
        # Power of a line, over that of noise, from which it is taken out of a series.
        if powers[lo:hi].max() > 30.0 * usual:
            strong.append((float(powers[lo:hi].max()), freq, width))
    # Most lines of one series, the strongest.
    strong = sorted(strong, reverse=True)[:32]
    for _, freq, width in strong:
        remove_tone(raw, freq * tau, min(max(int(0.5 / (width * tau)), 1), n), work)
    return len(strong)


#: Narrowest and widest block [bins], and the growth of the width with the bin number.
MIN_WIDTH = 8
MAX_WIDTH = 4000
GROWTH = 0.25
#: First bin of the first block: slower variations are taken out in the time domain.
FIRST_BIN = 4
#: The variance of the logarithm of a median of n exponentials is 1 / (n ln^2 2).
_MEDIAN_VAR = 1.0 / np.log(2.0) ** 2


def counted(power: Floats, bins: NDArray[np.floating[Any]]) -> Floats:
    """Powers as sums count them, about: those of lines that stand far out of a level known from n powers only.

    The tail (1 + P/n)^-n of a normalised power is that of n ln(1 + P/n) of a known level.

    Parameters
    ----------
    power : ndarray
        Over the noise level.
    bins : ndarray
        Where [1/T]. The level is that of the block there, smoothed over three with weights 1, 2, 1.
    """
    width = np.clip(GROWTH * np.asarray(bins), MIN_WIDTH, MAX_WIDTH)
    n = width / _MEDIAN_VAR * 16.0 / 6.0
    return np.asarray(n * np.log1p(power / n))


class NoiseModel:
    """Level of a spectrum of `nbins` powers from the medians of blocks that grow with frequency.

    The block medians are corrected for the bias of a finite sample, and smoothed by straight lines through three
    neighbours in log(bin), log(level), so that any power law stays what it is. The first estimate flattens the
    spectrum, the second removes the bias that a slope inside a block leaves. How uncertain the level is follows from
    the widths and the smoothing, and with it the tail of the normalised powers (`inverse`).

    Attributes
    ----------
    edges : ndarray of int64, shape (nblocks + 1,)
        First bins of the blocks.
    centres : ndarray of float64, shape (nblocks,)
        Mean of ln(bin) in each block.
    inverse : ndarray of float32
        1 / (effective number of powers behind the level) at the half bins below which blocks grow.
    own : ndarray of float32
        Fraction by which a power moves its own level, at the same half bins.
    inverse_rest : float
        The same beyond.
    """

    def __init__(self, nbins: int) -> None:
        edges = [FIRST_BIN]
        while edges[-1] < nbins:
            width = min(max(MIN_WIDTH, int(GROWTH * edges[-1])), MAX_WIDTH)
            edges.append(edges[-1] + width)
        if len(edges) > 2 and nbins - edges[-2] < 0.6 * (edges[-1] - edges[-2]):
            edges.pop()
        edges[-1] = nbins
        self.edges = np.array(edges, dtype=np.int64)
        self.widths = np.diff(self.edges)
        self.centres = np.array([np.mean(np.log(np.arange(lo, hi))) for lo, hi in pairwise(edges)])
        # Order statistic k (from 0) of n exponentials has the mean sum_{i=n-k}^{n} 1/i.
        self._bias = np.array([np.sum(1.0 / np.arange(n - (n - 1) // 2, n + 1)) for n in self.widths])
        # ... and the logarithm of that estimate lies lower by half its variance.
        self._log_bias = np.log(self._bias) - 0.5 * _MEDIAN_VAR / self.widths
        self._smoother = self._lines()
        variance = self._smoother**2 @ (_MEDIAN_VAR / self.widths)
        self.neff = 1.0 / variance
        self._set_inverse(nbins)
        #: Second estimate where the level may fall steeply: while the blocks grow.
        wide = np.flatnonzero(self.widths >= MAX_WIDTH)
        self._nsteep = max(int(wide[0]) if wide.size else self.widths.size, 1)

    def _lines(self) -> Floats:
        """Smoother, shape (nblocks, nblocks): straight lines through three neighbours, weighted 1, 2, 1 by width."""
        n = self.centres.size
        smoother = np.zeros((n, n))
        if n < 3:
            return np.eye(n)
        for b in range(n):
            at = np.arange(min(max(b - 1, 0), n - 3), min(max(b - 1, 0), n - 3) + 3)
            weight = np.where(at == b, 2.0, 1.0) * self.widths[at]
            x = self.centres[at] - self.centres[b]
            s0, s1, s2 = weight.sum(), (weight * x).sum(), (weight * x * x).sum()
            smoother[b, at] = weight * (s2 - s1 * x) / (s0 * s2 - s1 * s1)
        return smoother

    def _set_inverse(self, nbins: int) -> None:
        last = int(min(nbins, np.exp(self.centres[-1])))
        wide = np.flatnonzero(self.widths >= MAX_WIDTH)
        if wide.size:
            last = min(last, int(self.edges[wide[0]]))
        # Half bins, the knots on either side (the outer segments go on beyond the ends), and the place between them.
        r = np.maximum(np.arange(2 * last) / 2.0, FIRST_BIN)
        n = self.centres.size
        scaled = self._smoother * np.sqrt(_MEDIAN_VAR / self.widths)
        block = np.clip(np.searchsorted(self.edges, r, side="right") - 1, 0, n - 1)
        if n == 1:
            variance = np.full(r.size, _MEDIAN_VAR / self.widths[0])
            weight = np.ones(r.size)
        else:
            knot = np.clip(np.searchsorted(self.centres, np.log(r)) - 1, 0, n - 2)
            t = (np.log(r) - self.centres[knot]) / np.diff(self.centres)[knot]
            each = np.sum(scaled**2, axis=1)
            both = np.sum(scaled[:-1] * scaled[1:], axis=1)
            variance = (1 - t) ** 2 * each[knot] + t**2 * each[knot + 1] + 2 * t * (1 - t) * both[knot]
            weight = (1 - t) * self._smoother[knot, block] + t * self._smoother[knot + 1, block]
        self.inverse = variance.astype(np.float32)
        # A sample known to lie above the median moves it by half a rank: 1/(n ln 2) of the median.
        self.own = (weight / (self.widths[block] * np.log(2.0))).astype(np.float32)
        self.inverse_rest = float(1.0 / self.neff[-2 if self.neff.size > 2 else -1])

    def levels(self, real: Float32s, imag: Float32s, pad: int, medians: Floats) -> Floats | None:
        """Natural logarithm of the noise level at the knots `centres`, or None when there is no power at all.

        Parameters
        ----------
        real, imag : ndarray of float32, shape (>= pad + nbins,)
            Amplitudes, bin r at ``pad + r``.
        medians : ndarray of float64, shape (nblocks,)
            Median power of each block; NaN in the first ones, as many as are to be measured, where it is filled in.
        """
        levels = np.empty(self.widths.size, dtype=np.float64)
        blocks = (self.edges, self.centres, self._log_bias, self._smoother, self._nsteep)
        if not whiten.noise_levels(real, imag, pad, *blocks, medians, levels):
            return None
        # Gamma(n)/n, the mean-1 estimate that the tail (1 + P/n)^-n stands on, has the mean logarithm -1/(2n).
        return np.asarray(levels - 0.5 / self.neff, dtype=np.float64)


#: Bins added on either side of a spectrum.
PAD = 16
#: Lowest bin ever searched: the noise model begins there.
MIN_BIN = 4.0
#: Cycles in the data below which nothing is searched unless p_max says so.
MIN_CYCLES = 10.0

#: Cycles in the data up to which drifts are taken off, and means of samples for each of them, at least.
DRIFTS = 2048
PER_CYCLE = 4
#: A sine in drifts is left at so many times the power of the noise: ten cycles away its leakage is a tenth of that.
LINE = 100.0


class Lengths:
    """Lengths of the padded transform of series of `nsamps` samples, in time and in bins.

    Attributes
    ----------
    nfft, nbins : int
        Padded length, a fast even number, and half of it.
    span, tobs : float
        Length with and without padding [s].
    work : int
        Floats of work space that a transform needs; 0 where scipy makes it.
    """

    def __init__(self, nsamps: int, tsamp: float) -> None:
        self.nsamps, self.tsamp = int(nsamps), float(tsamp)
        self.nfft = 2 * int(scipy.fft.next_fast_len((self.nsamps + 1) // 2, real=True))
        self.nbins = self.nfft // 2
        self.span = self.nfft * self.tsamp
        self.tobs = self.nsamps * self.tsamp
        self.work = work_size(self.nfft)

    def bin_range(self, p_min: float | None, p_max: float | None) -> tuple[float, float]:
        """Lowest and highest bin of a range of periods [s]; by default from 10 cycles in the data to Nyquist.

        Raises
        ------
        ConfigError
            If the range is empty.
        """
        if p_min is not None and p_max is not None and p_min >= p_max:
            raise ConfigError(f"p_min {p_min:g} s is not below p_max {p_max:g} s: swap them")
        # Bins of 1 / span; the padded transform has nfft / nsamps of them for an independent one.
        low = self.span / p_max if p_max is not None else MIN_CYCLES * self.span / self.tobs
        high = min(self.span / p_min if p_min is not None else float(self.nbins), float(self.nbins))
        return max(low, MIN_BIN), high


class Amplitudes:
    """Detrend, pad and transform series of one length; safe to share between threads."""

    def __init__(self, lengths: Lengths) -> None:
        self.nfft, self.nbins, self.span = lengths.nfft, lengths.nbins, lengths.span
        self.noise = NoiseModel(self.nbins)
        self.plan = make_plan(self.nfft)
        self._nsamps = lengths.nsamps

    def fill(self, series: Array, birdies: Lines, real: Float32s, imag: Float32s, work: Float32s) -> Floats | None:
        """Amplitudes of a series, bin r at element ``PAD + r``, and the natural logarithm of the noise level.

        Parameters
        ----------
        series : ndarray of int16 or float32, shape (nsamps,), C-contiguous
            Samples that are not finite count as the mean.
        birdies : iterable of (float, float)
            Frequencies and full widths [Hz] of known interference, whose bins are emptied.
        real, imag : ndarray of float32, shape (nbins + 2 PAD,)
        work : ndarray of float32, shape (>= work,)

        Returns
        -------
        ndarray of float64 or None
            Levels at the knots of `noise`; None when the series is constant.
        """
        trend = cubic_trend(series)
        if self.plan is None:
            padded = np.empty(self.nfft, dtype=np.float32)
            whiten.detrend(series, trend, padded)
            whiten.planes(scipy.fft.rfft(padded, workers=1), PAD, real, imag)
        else:
            fft.real_fft(series, trend, self.plan, work, PAD, real, imag)
        medians = np.full(self.noise.widths.size, np.nan)
        levels = self.noise.levels(real, imag, PAD, medians)
        if levels is None:
            return None
        # Half of them are below the median.
        lower = np.count_nonzero(levels < levels[0] - np.log(REDDISH))
        if 2 * lower >= levels.size and levels[0] > np.median(levels) + np.log(REDDISH):
            leaked = self._drift(series, trend, float(np.exp(np.median(levels))))
            real[PAD + 1 : PAD + 1 + leaked.size] -= leaked.real
            imag[PAD + 1 : PAD + 1 + leaked.size] -= leaked.imag
            medians[self.noise.edges[:-1] <= leaked.size] = np.nan
            levels = self.noise.levels(real, imag, PAD, medians) if leaked.size else levels
        for freq, width in birdies:
            lo = max(int(np.floor((freq - 0.5 * width) * self.span)), 0)
            hi = min(int(np.ceil((freq + 0.5 * width) * self.span)) + 1, self.nbins)
            if hi > lo:
                real[PAD + lo : PAD + hi] = 0.0
                imag[PAD + lo : PAD + hi] = 0.0
        return levels

    def _drift(self, series: Array, trend: Floats, white: float) -> Complex64s:
        """Amplitudes of what `drift` takes off a series, bins 1, 2, 3 ...; nothing if there is no red noise.

        Drifts are smooth: their Fourier transform is that of a few thousand points, and their leakage with them.
        """
        size = max(self._nsamps // (PER_CYCLE * DRIFTS), 1)
        number = self._nsamps // size
        centres = (np.arange(number) + 0.5) * size
        means = _means(series[: number * size], number) - np.polyval(trend[::-1], 2.0 * centres / self._nsamps - 1.0)
        modes = min(DRIFTS, number // 2 - 1)
        removed = drift(np.nan_to_num(means).astype(np.float32), white / (self._nsamps * size), modes, LINE)
        if not removed.size:
            return np.zeros(0, dtype=np.complex64)
        # Points of the padded series: 0 beyond the data, and a part of it in the last cell that has some.
        points = scipy.fft.next_fast_len(int(np.ceil(number * self.nfft / self._nsamps)), real=True)
        cell = self.nfft / points
        edges = np.arange(points) * cell
        share = np.clip((self._nsamps - edges) / cell, 0.0, 1.0)
        at = np.interp(edges + 0.5 * cell, centres, removed)
        bins = np.arange(1, int(modes * self.nfft / self._nsamps) + 1)
        turn = np.exp(-1j * np.pi * bins * (1.0 / points - 1.0 / self.nfft))
        return np.asarray(cell * scipy.fft.rfft(at * share)[bins] * turn, dtype=np.complex64)
