"""A source as a model: harmonics in each band, brightness in time; and what it leaves at any frequency, DM and fold.

A source of frequency f has in band b the harmonic amplitudes a_kb, and in sub-integration i the brightness g_i of mean
1. All amplitudes are in units in which noise has mean power 1, with phases as at mid-observation. At another DM d its
harmonic k is, summed over bands,

    A_k(d) = sum_b a_kb exp(2 pi i k f K (d - DM) (nu_b^-2 - nu_0^-2)) / sqrt(B)

and at a frequency r [bins of 1/T] a transform of the whole time has

    M(r) = sum_k A_k(d) G(r - k f T),   G(x) = mean_i g_i exp(-2 pi i x t_i / T) sinc(x dt_i / T).

A fold at another period has the same of every sub-integration by itself. Harmonics, simple ratios, sidelobes, other DMs
and blends are this one formula.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM
from pulsar.data.fold import Fold

#: A harmonic that slides by more turns within a sub-integration leaves less than a tenth of its amplitude there.
_SLIDES: Final = 3.0


@dataclass(frozen=True)
class Source:
    """What a refined fold says of a source.

    Attributes
    ----------
    freq, fdot : float
        At mid-observation [Hz, Hz/s].
    dm : float
        [pc cm^-3]
    amplitudes : ndarray of complex128, shape (nbands, nharm)
        Of harmonics 1 to nharm in each band.
    band_delays : ndarray, shape (nbands,)
        Delay of each band for a DM of 1 [s].
    gains : ndarray, shape (nsubints,)
        Brightness, of mean 1.
    time_edges : ndarray, shape (nsubints + 1,)
        From mid-observation [s].
    nbins : int
        Of the fold: its harmonics are those of bin averages.
    """

    freq: float
    fdot: float
    dm: float
    amplitudes: NDArray[np.complex128]
    band_delays: NDArray[np.float64]
    gains: NDArray[np.float64]
    time_edges: NDArray[np.float64]
    nbins: int

    @classmethod
    def of(cls, fold: Fold) -> Self:
        """The source that a fold shows, as far as its harmonics rise above noise."""
        nbins = len(fold.profile)
        whole = _spectrum(fold.profile.astype(np.float64))
        rise = np.cumsum(np.abs(whole) ** 2 - 2.0)
        last = int(np.argmax(rise)) + 1
        bands = _spectrum(fold.freq_phase.astype(np.float64))[:, :last]
        # Noise of bands is more than that of their sum: what all share is known better than what they do not.
        share = bands.sum(axis=0) / np.sqrt(len(bands))
        bands += (whole[:last] - share) / np.sqrt(len(bands))
        freqs = np.asarray(fold.band_freqs, dtype=np.float64)
        delays = KDM * (freqs**-2.0 - freqs.max() ** -2.0) if np.all(freqs > 0) else np.zeros(len(bands))
        return cls(
            fold.after.freq, fold.after.fdot, fold.after.dm, bands, delays, _gains(fold, whole[:last]),
            fold.time_edges - 0.5 * fold.tobs, nbins,
        )  # fmt: skip

    def at_dm(self, dm: float) -> NDArray[np.complex128]:
        """Amplitudes of its harmonics, summed over bands, in a series of another DM, shape (nharm,)."""
        k = np.arange(1, self.amplitudes.shape[1] + 1)
        turns = self.freq * (dm - self.dm) * self.band_delays[:, None] * k
        moved: NDArray[np.complex128] = self.amplitudes * np.exp(2j * np.pi * turns)
        return np.asarray(moved.sum(axis=0) / np.sqrt(len(self.amplitudes)))

    def power_at(self, freq: float, fdot: float, dm: float, nharm: int) -> float:
        """Power that it leaves in a sum of harmonics at a frequency, drift and DM, mean noise power 1.

        Parameters
        ----------
        freq, fdot : float
            [Hz, Hz/s]
        dm : float
            [pc cm^-3]
        nharm : int
        """
        amplitudes, total = self.at_dm(dm), 0.0
        t, dt = 0.5 * (self.time_edges[1:] + self.time_edges[:-1]), np.diff(self.time_edges)
        share = dt / dt.sum()
        for h in range(1, nharm + 1):
            near = np.arange(1, len(amplitudes) + 1)
            off = near * self.freq - h * freq
            near = near[np.abs(off) * dt.max() < _SLIDES]
            if near.size:
                seen = _seen(near * self.freq - h * freq, near * self.fdot - h * fdot, t, dt)
                window = self.gains * share * seen
                total += float(np.abs(np.sum(amplitudes[near - 1] * window.sum(axis=1))) ** 2)
        return total

    def rows_in(self, fold: Fold) -> NDArray[np.float64]:
        """What it leaves in the sub-integrations of another fold, in units of their noise, shape (nsubints, nbins).

        Parameters
        ----------
        fold : Fold
            Of the same observation.
        """
        nsub, nbins = fold.time_phase.shape
        amplitudes = self.at_dm(fold.after.dm)
        k = np.arange(1, len(amplitudes) + 1)
        edges = fold.time_edges - 0.5 * fold.tobs
        t, dt = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
        gains = np.interp(t, 0.5 * (self.time_edges[1:] + self.time_edges[:-1]), self.gains)
        rows = np.zeros((nsub, nbins // 2 + 1), dtype=np.complex128)
        for j in range(1, nbins // 2):
            off = k * self.freq - j * fold.after.freq
            near = k[np.abs(off) * dt.max() < _SLIDES]
            if near.size:
                seen = _seen(off[near - 1], near * self.fdot - j * fold.after.fdot, t, dt)
                # Averages over bins; phases count from the left edge of bin 0, spectra from its middle.
                here, own = j / nbins, near / self.nbins
                seen *= (np.sinc(here) / np.sinc(own) * np.exp(1j * np.pi * (here - own)))[:, None]
                rows[:, j] = (amplitudes[near - 1, None] * seen).sum(axis=0)
        rows *= (gains * np.sqrt(dt / dt.sum()))[:, None]
        return np.asarray(np.fft.irfft(rows, nbins, axis=1) * np.sqrt(nbins))


def _spectrum(profiles: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Harmonics from 1 on, without the highest, which has no defined phase; of noise of 1 in each bin mean power 1."""
    nbins = profiles.shape[-1]
    return np.asarray(np.fft.rfft(profiles, axis=-1)[..., 1 : max(nbins // 2, 2)] / np.sqrt(nbins))


def _gains(fold: Fold, whole: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Brightness of the sub-integrations, drawn to its mean as far as noise makes it scatter (empirical Bayes)."""
    rows = _spectrum(fold.time_phase.astype(np.float64))[:, : len(whole)]
    share = np.diff(fold.time_edges) / fold.tobs
    power = float(np.sum(np.abs(whole) ** 2))
    used = np.any(fold.time_phase != 0.0, axis=1)
    gains = np.real(rows @ whole.conj()) / (power * np.sqrt(share))
    # Of a complex amplitude half of the noise is in phase.
    noise = 0.5 / (power * share)
    spread = max(float(np.var(gains[used]) - noise[used].mean()), 0.0) if used.any() else 0.0
    gains = np.where(used, 1.0 + (gains - 1.0) * spread / (spread + noise), 0.0)
    return gains / max(float(np.sum(gains * share)), 1e-9)


def _seen(
    off: NDArray[np.float64], drift: NDArray[np.float64], t: NDArray[np.float64], dt: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Harmonics that run ahead by frequencies and drifts, in sub-integrations dt long, shape (nharm, nsubints)."""
    turns = off[:, None] * t + 0.5 * drift[:, None] * t**2
    return np.asarray(np.exp(2j * np.pi * turns) * np.sinc((off[:, None] + drift[:, None] * t) * dt))
