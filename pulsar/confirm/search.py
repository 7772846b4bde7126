"""The search of a window: narrow bands about each harmonic, turned back by every acceleration, and matched."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.optimize import minimize

from pulsar.confirm.window import LOSS, Window
from pulsar.searches.amplitudes import MIN_BIN, PAD, Amplitudes, Lengths

#: Bins beside a band, so that its ends are of no account.
BESIDE: Final = 16
#: Points of the grid that are made at a time.
PIECE: Final = 1 << 19
#: Phases of a turn that are tried, for each harmonic.
PHASES: Final = 8
#: The refined S/N over that of the best point of the grid at most: `LOSS` along both axes, and half a step of phase,
#: which loses (K / 2 pi)^2 (pi / PHASES nharm)^2 / 2 < 0.08 of it, K < 2 pi nharm.
GAINED: Final = 1.0 / (1.0 - 2.0 * LOSS - 0.08)


@dataclass(frozen=True)
class Peak:
    """The best place of a window.

    Attributes
    ----------
    snr : float
        Of the matched filter.
    freq, fdot : float
        At mid-observation [Hz, Hz/s].
    dm : float
        [pc cm^-3]
    template : int
        Which of the window's.
    near : bool
        Whether it is where the candidate is had nothing changed.
    sigma : float
        Corrected for all that was tried.
    """

    snr: float
    freq: float
    fdot: float
    dm: float
    template: int
    near: bool
    sigma: float


class Spectrum:
    """The amplitudes of one series, in units of their noise.

    Parameters
    ----------
    series : ndarray, shape (nsamps,)
    tsamp : float
        [s]
    lines : sequence of (float, float)
        Frequencies and full widths [Hz] of interference that is left out.
    """

    def __init__(self, series: NDArray[Any], tsamp: float, lines: Sequence[tuple[float, float]]) -> None:
        lengths = Lengths(len(series), tsamp)
        self.span, self.tobs, self.nbins = lengths.span, lengths.tobs, lengths.nbins
        maker = _maker(len(series), tsamp)
        real, imag = np.zeros((2, lengths.nbins + 2 * PAD), dtype=np.float32)
        levels = maker.fill(series, lines, real, imag, np.zeros(max(lengths.work, 1) + 16, dtype=np.float32))
        #: Whether there is anything in it.
        self.varies = levels is not None
        if levels is not None:
            self._knots, self._levels = maker.noise.centres, levels
        self._real, self._imag = real, imag

    def band(self, middle: int, count: int) -> NDArray[np.complex64]:
        """White amplitudes of bins ``middle - count // 2`` on; 0 where there is none."""
        bins = middle - count // 2 + np.arange(count)
        inside = (bins >= MIN_BIN) & (bins < self.nbins)
        at = PAD + np.clip(bins, 0, self.nbins - 1)
        level = np.exp(np.interp(np.log(np.maximum(bins, 1)), self._knots, self._levels))
        return np.asarray((self._real[at] + 1j * self._imag[at]) * (inside / np.sqrt(level)), dtype=np.complex64)


@lru_cache(maxsize=1)
def _maker(nsamps: int, tsamp: float) -> Amplitudes:
    """All series of an observation are as long."""
    return Amplitudes(Lengths(nsamps, tsamp))


class Bands:
    """A window in one series: the harmonics as short series about the frequency that is expected.

    Parameters
    ----------
    spectrum : Spectrum
    window : Window
    dm : float
        [pc cm^-3]
    """

    def __init__(self, spectrum: Spectrum, window: Window, dm: float) -> None:
        self.window, self.dm = window, dm
        span, nharm = spectrum.span, window.nharm
        reach = window.wide.freq + 0.5 * float(np.abs(window.fdots).max()) * spectrum.tobs
        each = 2 * int(np.ceil(reach * span + BESIDE))
        #: Points in frequency, the same of all harmonics, and from one to the next of the fundamental [Hz].
        self.npoints = int(fft.next_fast_len(max(nharm * each, int(np.ceil(each / (span * window.freq_step))))))
        self.step = each / (self.npoints * span)
        #: Of each harmonic: times from mid-observation [s], and the band at 0 frequency.
        self.times, self.series = [], []
        for k in range(1, nharm + 1):
            count = k * each
            middle = round(k * window.freq * span)
            series = fft.ifft(fft.ifftshift(spectrum.band(middle, count)))
            t = np.arange(count) * (span / count)
            series *= np.exp(-2j * np.pi * (k * window.freq - middle / span) * t)
            # Nothing but noise of the window is where there are no data.
            self.times.append(t - 0.5 * spectrum.tobs)
            self.series.append(series * count)
        half = int(np.ceil(window.wide.freq / self.step))
        self._at = np.arange(-half, half + 1)
        self.freqs: NDArray[np.float64] = window.freq + self.step * self._at.astype(np.float64)

    def planes(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.complex64]]]:
        """Derivatives, and amplitudes of shape (nfdot, nfreq, nharm), a piece at a time.

        The phase of a pulse is another from one frequency to the next, and it is free.
        """
        fdots, nharm = self.window.fdots, self.window.nharm
        rows = max(PIECE // (self.npoints * nharm), 1)
        for lo in range(0, fdots.size, rows):
            some = fdots[lo : lo + rows]
            plane = np.empty((some.size, self._at.size, nharm), dtype=np.complex64)
            for k, (t, series) in enumerate(zip(self.times, self.series, strict=True), start=1):
                turned = series * np.exp(-1j * np.pi * k * some[:, None] * t**2)
                # The mean of the samples of a band: amplitudes as they are in the spectrum.
                lines = fft.fft(turned.astype(np.complex64), self.npoints, axis=1) / len(t)
                plane[:, :, k - 1] = lines[:, self._at]
            yield some, plane

    def best(self, least: float) -> list[Peak]:
        """The best place near that which is expected, and that in the whole window.

        Parameters
        ----------
        least : float
            Significance [sigma]: what cannot be more significant stays as the grid has it.
        """
        window = self.window
        best = {False: (0.0, 0, window.freq, window.fdot)}
        for fdots, plane in self.planes():
            near = np.stack([window.is_near(self.freqs, float(fdot), self.dm) for fdot in fdots])
            for number, template in enumerate(window.templates):
                product = plane[:, :, : len(template)] * np.conj(template).astype(np.complex64)
                bound = sqrt(2.0) * np.abs(product).sum(axis=2)
                for asked in (True, False):
                    before = best.get(asked, (0.0,))[0]
                    row, column, snr = _highest(product, np.where(near, bound, 0.0) if asked else bound, before)
                    if snr > before:
                        best[asked] = snr, number, float(self.freqs[column]), float(fdots[row])
        peaks = [
            Peak(snr, freq, fdot, self.dm, number, near, window.sigma(snr, near=near))
            for near, (snr, number, freq, fdot) in best.items()
        ]
        return [
            self._refined(peak) if window.sigma(GAINED * peak.snr, near=peak.near) > least else peak for peak in peaks
        ]

    def _refined(self, peak: Peak) -> Peak:
        """The peak beside a point of the grid."""
        window, template, freq, fdot = self.window, self.window.templates[peak.template], peak.freq, peak.fdot
        steps = 0.5 * np.array([window.freq_step, window.fdot_step if window.fdots.size > 1 else 0.0])

        def place(x: NDArray[np.float64]) -> tuple[float, float]:
            x = np.clip(x, -1.0, 1.0) * steps
            most = max(window.wide.fdot, abs(fdot))
            return freq + float(x[0]), float(np.clip(fdot + x[1], -most, most))

        def lost(x: NDArray[np.float64]) -> float:
            return -self.snr(template, *place(x))

        corners = np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]])
        highest = minimize(
            lost, np.zeros(2), method="Nelder-Mead",
            options={"initial_simplex": corners, "xatol": 0.05, "fatol": 1e-3, "maxfev": 40}
        )  # fmt: skip
        # The grid itself has the coarser phases of the two.
        snr = max(peak.snr, -float(highest.fun))
        return Peak(snr, *place(highest.x), self.dm, peak.template, peak.near, window.sigma(snr, near=peak.near))

    def snr(self, template: NDArray[np.complex128], freq: float, fdot: float) -> float:
        """Matched S/N at one place, at the best phase."""
        away = freq - self.window.freq
        lines = [
            np.mean(series * np.exp(-2j * np.pi * k * (away * t + 0.5 * fdot * t**2)))
            for k, (t, series) in enumerate(zip(self.times[: len(template)], self.series, strict=False), start=1)
        ]
        return float(_phased(np.conj(template) * np.array(lines), 4 * PHASES))


def best_peak(spectrum: Spectrum, window: Window, dm: float, least: float) -> Peak:
    """The most significant place of a window in one series.

    Parameters
    ----------
    spectrum : Spectrum
    window : Window
    dm : float
        Of the series [pc cm^-3].
    least : float
        As :meth:`Bands.best`.
    """
    return max(Bands(spectrum, window, dm).best(least), key=lambda peak: peak.sigma)


def _highest(product: NDArray[np.complex64], bound: NDArray[np.floating[Any]], least: float) -> tuple[int, int, float]:
    """Row, column and S/N of the highest point of a plane; nothing below `least`, which bounds cannot exceed."""
    order = np.argsort(-bound, axis=None)
    best = (0, 0, least)
    size = max(PIECE // (PHASES * product.shape[2]), 1)
    for lo in range(0, order.size, size):
        at = order[lo : lo + size]
        at = at[bound.flat[at] > best[2]]
        if not at.size:
            break
        snr = _phased(product.reshape(-1, product.shape[2])[at], PHASES)
        i = int(np.argmax(snr))
        if snr[i] > best[2]:
            row, column = divmod(int(at[i]), bound.shape[1])
            best = row, column, float(snr[i])
    return best


def _phased(product: NDArray[Any], phases: int) -> NDArray[Any]:
    """The sum of amplitudes over harmonics at its best phase, in units of its noise."""
    nharm = product.shape[-1]
    count = phases * nharm
    spectrum = np.concatenate([np.zeros((*product.shape[:-1], 1), dtype=product.dtype), product], axis=-1)
    return np.asarray(fft.irfft(spectrum, count, axis=-1).max(axis=-1) * (count / sqrt(2.0)))
