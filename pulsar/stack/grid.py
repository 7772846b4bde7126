"""The grid that epochs of a stack share, frequencies and DMs; powers at these frequencies; how a byte keeps a power."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import fft as scipy_fft

from pulsar.data.series import Lines
from pulsar.searches.amplitudes import PAD
from pulsar.searches.fft import FFTSearch
from pulsar_kernels.arrays import Array, Complex64s, Float32s, Floats, Uint8s

#: Powers for each bin of 1/T: a line is an eighth of a bin from one at most, where it has sinc^2(1/8) = 95 % of its
#: power, 98.3 % on average.
POINTS: Final = 4
#: Larger powers count as this one: beyond it nobody needs a stack.
LARGEST: Final = 1.0e4
_SCALE: Final = 255.0 / np.log1p(LARGEST)
#: Powers beyond which also a level from many others matters: 1 % of them at n = 4000 and P = 9.
_RARE: Final = np.float32(9.0)


@dataclass(frozen=True, eq=False)
class StackGrid:
    """Frequencies and trial DMs that all epochs of a stack share.

    Attributes
    ----------
    tsamp : float
        Sampling time of the series [s], at the barycentre.
    nfft : int
        Samples of the common transform: shorter epochs are padded, longer ones cut into pieces.
    npoints : int
        Frequencies that are kept, from 0 on.
    dms : ndarray, shape (ndms,)
        [pc cm^-3], ascending.
    ra_deg, dec_deg : float
        Direction that all are barycentred for [deg]; NaN where they are not.
    barycentric : bool
        False: topocentric frequencies.
    """

    tsamp: float
    nfft: int
    npoints: int
    dms: Floats
    ra_deg: float = float("nan")
    dec_deg: float = float("nan")
    barycentric: bool = True

    @property
    def span(self) -> float:
        """Length of the common transform [s]."""
        return self.nfft * self.tsamp

    @property
    def step(self) -> float:
        """From one frequency to the next [Hz]."""
        return 1.0 / (POINTS * self.span)

    @property
    def nbytes(self) -> int:
        """Size of one piece of an epoch."""
        return self.dms.size * self.npoints


@dataclass(frozen=True)
class Piece:
    """A stretch of an epoch, as long as the common transform at most.

    Attributes
    ----------
    mjd : float
        Its middle at the barycentre, MJD (TDB); topocentric UTC where nothing is barycentred.
    tobs : float
        Its length [s].
    """

    mjd: float
    tobs: float


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
        self.grid, self.nsamps, self._threads = grid, nsamps, threads
        self._search = FFTSearch(nsamps, grid.tsamp)
        self.nfft = self._search.nfft
        if self.nfft > grid.nfft:
            raise ValueError(f"a transform of {self.nfft} samples does not fit one of {grid.nfft}")
        noise, span = self._search.noise, self.nfft * grid.tsamp
        # Of which of the half bins, for which the noise model knows its error, each frequency is the nearest.
        known = int(min(noise.inverse.size / (2.0 * span) / grid.step, grid.npoints))
        half = (np.arange(known) * grid.step * 2.0 * span).astype(np.int64)
        self._inverse, self._own = noise.inverse[half], noise.own[half]
        self._turn = np.exp(-2j * np.pi / (POINTS * grid.nfft) * np.arange(self.nfft)).astype(np.complex64)

    def powers(self, series: Array, birdies: Lines = ()) -> Float32s:
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

    def _white(self, series: Array, birdies: Lines) -> Float32s | None:
        """The series with white noise, of such a size that powers have mean 1; None where it is constant."""
        amplitudes = self._search.filled(series, tuple(birdies))
        if amplitudes is None:
            return None
        nbins = self.nfft // 2
        white = np.empty(nbins + 1, dtype=np.complex64)
        white.real, white.imag = (part[PAD : PAD + nbins + 1] for part in amplitudes)
        white[nbins] = 0.0
        return np.asarray(scipy_fft.irfft(white, self.nfft, overwrite_x=True, workers=self._threads))

    def _honest(self, powers: Float32s) -> None:
        """Make powers over a level that is not known exactly exponential again (`pulsar_kernels.harmonics.honest`)."""
        known = self._inverse.size
        low = powers[:known]
        z = self._inverse * low * (1.0 + np.where(low > np.log(2.0), self._own, -self._own))
        low[:] = np.log1p(z) / self._inverse
        rest = self._search.noise.inverse_rest
        large = known + np.flatnonzero(powers[known:] > _RARE)
        powers[large] = np.log1p(rest * powers[large]) / rest


def _squared(amplitudes: Complex64s) -> Float32s:
    return np.asarray(amplitudes.real**2 + amplitudes.imag**2)


def encode(powers: Float32s) -> tuple[Uint8s, int]:
    """Powers as bytes, in steps that grow with them: 0.036 (1 + P).

    Parameters
    ----------
    powers : ndarray of float32
        Mean 1 in noise, not negative.

    Returns
    -------
    ndarray of uint8
    int
        Powers beyond `LARGEST`, which count as that.
    """
    code = np.log1p(powers) * np.float32(_SCALE)
    beyond = int(np.count_nonzero(code >= 255.0))
    return np.minimum(code, np.float32(255.0)).astype(np.uint8), beyond


def decoded() -> Floats:
    """The power that each byte stands for, shape (256,): the mean of exponential noise within the step.

    Noise keeps its mean of 1 to rounding; the last stands for `LARGEST`, the least that it can be.
    """
    low = np.expm1(np.arange(255) / _SCALE)
    width = np.expm1(np.arange(1, 256) / _SCALE) - low
    return np.append(low + 1.0 - width / np.expm1(width), LARGEST)
