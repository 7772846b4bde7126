"""The Fourier amplitudes of a series and the level of their noise: how all searches in the Fourier domain begin."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft as scipy_fft

from pulsar.errors import ConfigError
from pulsar.searches.drifts import REDDISH, drift
from pulsar.searches.spectrum import NoiseModel

#: Bins added on either side of a spectrum.
PAD = 16
#: Lowest bin ever searched: the noise model begins there.
MIN_BIN = 4.0
#: Cycles in the data below which nothing is searched unless p_max says so.
MIN_CYCLES = 10.0

#: Cycles in the data up to which drifts are taken off, and sums of samples for each of them.
DRIFTS = 2048
PER_CYCLE = 4
#: A sine in drifts is left at so many times the power of the noise: ten cycles away its leakage is a tenth of that.
LINE = 100.0

#: Powers 0 to 3 of the place of 64 stretches between -1 and 1, and the least-squares cubic through their means.
_POWERS = np.vander((np.arange(64) + 0.5) / 32.0 - 1.0, 4, increasing=True)
_CUBIC = np.linalg.pinv(_POWERS)


def cubic_trend(series: NDArray[Any], gaps: Iterable[tuple[int, int]] = ()) -> NDArray[np.float64]:
    """Cubic through the means of 64 stretches: takes out drifts, and from 4 cycles on nothing of a signal.

    Parameters
    ----------
    series : ndarray of int16 or float32, C-contiguous
    gaps : iterable of (int, int)
        First sample of what is missing, and the one after the last: stretches that touch it do not count.
    """
    from pulsar_kernels import whiten

    means = np.empty(64, dtype=np.float64)
    if series.dtype == np.int16:
        whiten.integer_means(series, means)
    else:
        whiten.block_means(series, means)
    good = np.isfinite(means)
    edges = series.shape[0] * np.arange(65) // 64
    for lo, hi in gaps:
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


class Lengths:
    """Lengths of the padded transform of series of `nsamps` samples, in time and in bins.

    Parameters
    ----------
    nsamps : int
    tsamp : float
        Sampling time [s].

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
        from pulsar_kernels.fft import work_size

        self.nsamps, self.tsamp = int(nsamps), float(tsamp)
        self.nfft = 2 * int(scipy_fft.next_fast_len((self.nsamps + 1) // 2, real=True))
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
    """Detrend, pad and transform series of one length; safe to share between threads.

    Parameters
    ----------
    lengths : Lengths

    Attributes
    ----------
    noise : NoiseModel
    """

    def __init__(self, lengths: Lengths) -> None:
        from pulsar_kernels.fft import make_plan

        self.nfft, self.nbins, self.span = lengths.nfft, lengths.nbins, lengths.span
        self.noise = NoiseModel(self.nbins)
        self.plan = make_plan(self.nfft)
        self._nsamps = lengths.nsamps
        self._halvings = max(int(np.log2(max(self._nsamps // (PER_CYCLE * DRIFTS), 1))), 0)

    def fill(
        self,
        series: NDArray[Any],
        birdies: Iterable[tuple[float, float]],
        real: NDArray[np.float32],
        imag: NDArray[np.float32],
        work: NDArray[np.float32],
    ) -> NDArray[np.float64] | None:
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
        from pulsar_kernels import fft, whiten

        trend = cubic_trend(series)
        if self.plan is None:
            padded = np.empty(self.nfft, dtype=np.float32)
            whiten.detrend(series, trend, padded)
            whiten.planes(scipy_fft.rfft(padded, workers=1), PAD, real, imag)
        else:
            fft.real_fft(series, trend, self.plan, work, PAD, real, imag)
        levels = self.noise.levels(real, imag, PAD)
        if levels is None:
            return None
        # Half of them are below the median.
        lower = np.count_nonzero(levels < levels[0] - np.log(REDDISH))
        if 2 * lower >= levels.size and levels[0] > np.median(levels) + np.log(REDDISH):
            leaked = self._drift(series, trend, float(np.exp(np.median(levels))))
            real[PAD + 1 : PAD + 1 + leaked.size] -= leaked.real
            imag[PAD + 1 : PAD + 1 + leaked.size] -= leaked.imag
            levels = self.noise.levels(real, imag, PAD) if leaked.size else levels
        for freq, width in birdies:
            lo = max(int(np.floor((freq - 0.5 * width) * self.span)), 0)
            hi = min(int(np.ceil((freq + 0.5 * width) * self.span)) + 1, self.nbins)
            if hi > lo:
                real[PAD + lo : PAD + hi] = 0.0
                imag[PAD + lo : PAD + hi] = 0.0
        return levels

    def _drift(self, series: NDArray[Any], trend: NDArray[np.float64], white: float) -> NDArray[np.complex64]:
        """Amplitudes of what `drift` takes off a series, bins 1, 2, 3 ...; nothing if there is no red noise.

        Drifts are smooth: their Fourier transform is that of a few thousand points, and their leakage with them.
        """
        from pulsar_kernels.longwave import sum_samples

        size = 1 << self._halvings
        sums = np.zeros(self._nsamps // size, dtype=np.float32)
        sum_samples(series, trend, np.zeros((0, 2), dtype=np.int64), self._halvings, sums)
        sums[~np.isfinite(sums)] = 0.0
        modes = min(DRIFTS, sums.size // 2 - 1)
        taken = drift(sums, white * size / self._nsamps, modes, LINE)
        if not taken.size:
            return np.zeros(0, dtype=np.complex64)
        # Points of the padded series: 0 beyond the data, and a part of it in the last cell that has some.
        points = scipy_fft.next_fast_len(int(np.ceil(sums.size * self.nfft / self._nsamps)), real=True)
        cell = self.nfft / points
        edges = np.arange(points) * cell
        share = np.clip((self._nsamps - edges) / cell, 0.0, 1.0)
        at = np.interp(edges + 0.5 * cell, (np.arange(sums.size) + 0.5) * size, taken / size)
        bins = np.arange(1, int(modes * self.nfft / self._nsamps) + 1)
        turn = np.exp(-1j * np.pi * bins * (1.0 / points - 1.0 / self.nfft))
        return np.asarray(cell * scipy_fft.rfft(at * share)[bins] * turn, dtype=np.complex64)
