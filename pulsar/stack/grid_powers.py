"""White powers of a series at the frequencies that all epochs of a stack share."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft as scipy_fft

from pulsar.searches.amplitudes import PAD, Amplitudes, Lengths
from pulsar.searches.fft import HALF_TAPS, FFTSearch
from pulsar.stack.grid import POINTS, StackGrid

#: Powers beyond which also a level from many others matters: 1 % of them at n = 4000 and P = 9.
_RARE = np.float32(9.0)


class GridPowers:
    """Powers of series of one length at the frequencies of a grid.

    The amplitudes are those of the periodicity search, white by its noise model and at its length. Their transform back
    is a white series, which is padded to the common length and transformed at quarter bins: Fourier interpolation
    without an end.

    Parameters
    ----------
    nsamps : int
        Samples of every series; their transform is no longer than that of the grid.
    grid : StackGrid
    threads : int

    Raises
    ------
    DataError
        There are too few samples.
    """

    def __init__(self, nsamps: int, grid: StackGrid, threads: int = 1) -> None:
        FFTSearch.check_size(nsamps, grid.tsamp)
        self.grid, self._threads = grid, threads
        lengths = Lengths(nsamps, grid.tsamp)
        if lengths.nfft > grid.nfft:
            raise ValueError(f"a transform of {lengths.nfft} samples does not fit one of {grid.nfft}")
        self.nfft = lengths.nfft
        self._amplitudes = Amplitudes(lengths)
        self._real = np.zeros(lengths.nbins + 2 * PAD, dtype=np.float32)
        self._imag = np.zeros_like(self._real)
        self._work = np.zeros(max(lengths.nfft, lengths.work), dtype=np.float32)
        # Half bins are made here, with all others: the kernel need not.
        self._weights = np.zeros(HALF_TAPS, dtype=np.float32)
        noise = self._amplitudes.noise
        # Of which of the half bins, for which the noise model knows its error, each frequency is the nearest.
        known = int(min(noise.inverse.size / (2.0 * lengths.span) / grid.step, grid.npoints))
        half = (np.arange(known) * grid.step * 2.0 * lengths.span).astype(np.int64)
        self._inverse, self._own = noise.inverse[half], noise.own[half]
        self._turn = np.exp(-2j * np.pi / (POINTS * grid.nfft) * np.arange(self.nfft)).astype(np.complex64)

    def powers(self, series: NDArray[Any], birdies: Iterable[tuple[float, float]] = ()) -> NDArray[np.float32]:
        """Powers of one series, exponential with mean 1 in noise; all 0 where it is constant.

        Parameters
        ----------
        series : ndarray of int16 or float32, shape (nsamps,), C-contiguous
        birdies : iterable of (float, float)
            Frequencies and full widths [Hz] that are left out: 0.

        Returns
        -------
        ndarray of float32, shape (npoints,)
        """
        grid = self.grid
        out = np.zeros(grid.npoints, dtype=np.float32)
        white = self._white(series, birdies)
        if white is None:
            return out
        # Whole and half bins of the common transform, then quarters; those of bins r + 3/4 are the mirrored ones.
        even = scipy_fft.rfft(white, 2 * grid.nfft, workers=self._threads)
        count = -(-grid.npoints // 2)
        out[0::2] = _squared(even[:count])
        del even
        odd = scipy_fft.fft(white * self._turn, grid.nfft, overwrite_x=True, workers=self._threads)
        count = out[1::4].size
        out[1::4] = _squared(odd[:count])
        count = out[3::4].size
        out[3::4] = _squared(odd[grid.nfft - count :][::-1])
        self._honest(out)
        return out

    def _white(self, series: NDArray[Any], birdies: Iterable[tuple[float, float]]) -> NDArray[np.float32] | None:
        """The series with white noise, of such a size that powers have mean 1; None where it is constant."""
        from pulsar_kernels import harmonics

        amplitudes = self._amplitudes
        levels = amplitudes.fill(series, birdies, self._real, self._imag, self._work)
        if levels is None:
            return None
        noise = amplitudes.noise
        harmonics.white_powers(
            self._real,
            self._imag,
            PAD,
            noise.centres,
            levels,
            self._weights,
            noise.inverse,
            noise.own,
            noise.inverse_rest,
            self._work[: self.nfft],
        )
        nbins = self.nfft // 2
        white = np.empty(nbins + 1, dtype=np.complex64)
        white.real, white.imag = self._real[PAD : PAD + nbins + 1], self._imag[PAD : PAD + nbins + 1]
        white[nbins] = 0.0
        return np.asarray(scipy_fft.irfft(white, self.nfft, overwrite_x=True, workers=self._threads))

    def _honest(self, powers: NDArray[np.float32]) -> None:
        """Make powers over a level that is not known exactly exponential again (`pulsar_kernels.harmonics.honest`)."""
        known = self._inverse.size
        low = powers[:known]
        z = self._inverse * low * (1.0 + np.where(low > np.log(2.0), self._own, -self._own))
        low[:] = np.log1p(z) / self._inverse
        rest = self._amplitudes.noise.inverse_rest
        large = known + np.flatnonzero(powers[known:] > _RARE)
        powers[large] = np.log1p(rest * powers[large]) / rest


def _squared(amplitudes: NDArray[np.complex64]) -> NDArray[np.float32]:
    return np.asarray(amplitudes.real**2 + amplitudes.imag**2)
