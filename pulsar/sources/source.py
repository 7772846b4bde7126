"""A source as a model: harmonics in each band, brightness in time; and what it leaves at any frequency, DM and fold.

A source of frequency f has in band b the harmonic amplitudes a_kb, and in sub-integration i the brightness g_i of mean
1. All amplitudes are in units in which noise has mean power 1, with phases as at mid-observation. At another DM d its
harmonic k is, summed over bands,

    A_k(d) = sum_b a_kb exp(2 pi i k f K (d - DM) (nu_b^-2 - nu_0^-2)) / sqrt(B)

and at a frequency r [bins of 1/T] a transform of the whole time has

    M(r) = sum_k A_k(d) G(r - k f T),   G(x) = mean_i g_i exp(-2 pi i x t_i / T) sinc(x dt_i / T).

A fold at another period has the same of every sub-integration by itself. Harmonics, simple ratios, sidelobes, other DMs
and blends are this one formula. How good it is: docs/verdicts.md.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM
from pulsar.data.fold import Fold

#: A harmonic that slides by more turns within a sub-integration leaves less than a tenth of its amplitude there.
_SLIDES: Final = 3.0
#: What a refinement has smeared is not sharpened by more than 1 over this.
_SHARPEST: Final = 0.3


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
    known : ndarray of bool, shape (nharm,)
        Harmonics that the fold has shown. Of others, which lines fall on, the power is that of those around them, the
        phases are not known.
    white : ndarray, shape (nharm,)
        What amplitudes are times these in units of white noise: folds in red noise have theirs evened out.
    band_delays : ndarray, shape (nbands,)
        Delay of each band for a DM of 1 [s].
    gains : ndarray, shape (nsubints,)
        Brightness, of mean 1.
    spread : float
        Variance of the brightness of a sub-integration.
    time_edges : ndarray, shape (nsubints + 1,)
        From mid-observation [s].
    nbins : int
        Of the fold: its harmonics are those of bin averages.
    resolution : float
        Length of the samples that were folded [s]; 0 where that is not known.
    """

    freq: float
    fdot: float
    dm: float
    amplitudes: NDArray[np.complex128]
    known: NDArray[np.bool_]
    white: NDArray[np.float64]
    band_delays: NDArray[np.float64]
    gains: NDArray[np.float64]
    spread: float
    time_edges: NDArray[np.float64]
    nbins: int
    resolution: float

    @classmethod
    def of(cls, fold: Fold) -> Self:
        """The source that a fold shows, as far as its harmonics rise above noise."""
        whole = _spectrum(fold.profile.astype(np.float64))
        last = int(np.argmax(np.cumsum(np.abs(whole) ** 2 - 2.0))) + 1
        whole, k = whole[:last], np.arange(1, last + 1)
        bands = _spectrum(fold.freq_phase.astype(np.float64))[:, :last]
        # Noise of bands is more than that of their sum: what all share is known better than what they do not.
        bands += (whole - bands.sum(axis=0) / np.sqrt(len(bands))) / np.sqrt(len(bands))
        known = ~left_out(fold)[1 : last + 1]
        if known.any():
            bands[:, ~known] = [np.interp(k[~known], k[known], np.abs(band[known])) for band in bands]
        # Where the refinement has moved the frequency, sub-integrations are smeared.
        moved = (fold.after.freq - fold.before.freq) * float(np.diff(fold.time_edges).mean())
        bands /= np.maximum(np.sinc(k * moved), _SHARPEST)
        gains, spread = _gains(fold, whole)
        white = float(fold.extra.get("noise_scale", 1.0)) / _evening(fold)[1 : last + 1]
        fref = float(fold.extra.get("fref", np.inf))
        return cls(
            freq=fold.after.freq,
            fdot=fold.after.fdot,
            dm=fold.after.dm,
            amplitudes=bands,
            known=known,
            white=white,
            band_delays=KDM * (np.asarray(fold.band_freqs, dtype=np.float64) ** -2.0 - fref**-2.0),
            gains=gains,
            spread=spread,
            time_edges=fold.time_edges - 0.5 * fold.tobs,
            nbins=len(fold.profile),
            resolution=float(fold.extra.get("resolution", 0.0)),
        )

    def times(self, part: NDArray[np.complex128]) -> Self:
        """The same with a part of each harmonic, from 0 on."""
        return replace(self, amplitudes=self.amplitudes * part[1 : self.amplitudes.shape[1] + 1])

    def at_dm(self, dm: float) -> NDArray[np.complex128]:
        """Amplitudes of its harmonics, summed over bands, in a series of another DM, shape (nharm,)."""
        k = np.arange(1, self.amplitudes.shape[1] + 1)
        turns = self.freq * (dm - self.dm) * self.band_delays[:, None] * k
        moved: NDArray[np.complex128] = self.amplitudes * np.exp(2j * np.pi * turns)
        return np.asarray(moved.sum(axis=0) / np.sqrt(len(self.amplitudes)))

    def powers_at(
        self, freq: float, fdot: float, dm: float, harmonics: NDArray[np.int64], tsamp: float
    ) -> NDArray[np.float64]:
        """Power that it leaves in harmonics of a frequency, drift and DM, mean noise power 1, shape (nharm,).

        Parameters
        ----------
        freq, fdot : float
            [Hz, Hz/s]
        dm : float
            [pc cm^-3]
        harmonics : ndarray of int64
            Their numbers.
        tsamp : float
            Sampling time of the series [s]: what is above the Nyquist frequency is mirrored.
        """
        amplitudes = self.at_dm(dm)
        k = np.arange(1, len(amplitudes) + 1)
        lines, drifts = k * self.freq, k * self.fdot
        whole = np.rint(lines * tsamp) / tsamp
        side = np.where(lines < whole, -1.0, 1.0)
        lines, drifts = np.abs(lines - whole), side * drifts
        amplitudes = np.where(side < 0.0, amplitudes.conj(), amplitudes)
        t, dt = _times(self.time_edges)
        h, k = np.nonzero(np.abs(lines - np.asarray(harmonics)[:, None] * freq) * dt.max() < _SLIDES)
        seen = _seen(lines[k] - harmonics[h] * freq, drifts[k] - harmonics[h] * fdot, t, dt)
        total = np.zeros(len(harmonics), dtype=np.complex128)
        np.add.at(total, h, amplitudes[k] * (seen @ (self.gains * dt / dt.sum())))
        return np.abs(total) ** 2

    def rows_in(self, fold: Fold) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """What it leaves in the sub-integrations of another fold, in units of white noise.

        Parameters
        ----------
        fold : Fold
            Of the same observation.

        Returns
        -------
        rows : ndarray, shape (nsubints, nbins)
        unknown : ndarray of bool, shape (nbins // 2 + 1,)
            Harmonics of the fold in which it leaves what is not known: its own are not, or are mirrored at the Nyquist
            frequency there, where the phases of channels differ.
        """
        nbins = len(fold.profile)
        amplitudes = self.at_dm(fold.after.dm) * self.white
        t, dt = _times(fold.time_edges - 0.5 * fold.tobs)
        gains = np.interp(t, _times(self.time_edges)[0], self.gains)
        # Each harmonic k of the source is at those j of the fold beside which it slides by no more than a few turns.
        k, j = _beside(np.arange(1, len(amplitudes) + 1) * self.freq / fold.after.freq, fold, dt)
        off, drift = k * self.freq - j * fold.after.freq, k * self.fdot - j * fold.after.fdot
        # Sub-integrations were folded at the frequency before its refinement, and turned to that after it.
        moved = j * (fold.after.freq - fold.before.freq), j * (fold.after.fdot - fold.before.fdot)
        seen = _seen(off, drift, t, dt, *moved)
        seen *= (amplitudes[k - 1] * self._smeared(k, j, fold))[:, None]
        # What is faster than the bins show is mirrored in them, out of phase where bands were turned to their place.
        seen[j >= nbins // 2] *= len(self.amplitudes) == 1
        at = np.minimum(j % nbins, nbins - j % nbins)
        rows = np.zeros((nbins // 2 + 1, len(t)), dtype=np.complex128)
        np.add.at(rows, at, np.where((j % nbins > nbins // 2)[:, None], seen.conj(), seen))
        rows *= _evening(fold)[: len(rows), None] * gains * np.sqrt(dt / dt.sum())
        rows[[0, -1]] = 0.0
        share = gains * dt / dt.sum()
        unknown = self._mirrored(fold, amplitudes, share)
        unknown[at[(np.abs(seen @ share) ** 2 > 1.0) & ~self.known[k - 1]]] = True
        return np.asarray(np.fft.irfft(rows.T, nbins, axis=1) * np.sqrt(nbins)), unknown

    def _smeared(self, k: NDArray[np.int64], j: NDArray[np.int64], fold: Fold) -> NDArray[np.complex128]:
        """What harmonics k have at places j of another fold over what they have in their own.

        They are averages over bins, over samples, and over the delays of channels, which are rounded to samples. Phases
        count from the left edge of bin 0, spectra from its middle.
        """
        here, own = j / len(fold.profile), np.minimum(k, self.nbins // 2) / self.nbins
        longer = np.sinc(k * self.freq * float(fold.extra.get("resolution", 0.0)))
        longer /= np.sinc(k * self.freq * self.resolution)
        smeared = np.sinc(here) / np.sinc(own) * longer ** (2 if len(self.amplitudes) > 1 else 1)
        return np.asarray(smeared * np.exp(1j * np.pi * (here - own)))

    def _mirrored(
        self, fold: Fold, amplitudes: NDArray[np.complex128], share: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Harmonics of a fold at which those of the source are, mirrored at the Nyquist frequency."""
        out = np.zeros(len(fold.profile) // 2 + 1, dtype=np.bool_)
        lines = np.arange(1, len(amplitudes) + 1) * self.freq
        above = np.flatnonzero(lines * self.resolution > 0.5)
        if above.size:
            mirrored = np.abs(lines - np.rint(lines * self.resolution) / self.resolution)[above]
            t, dt = _times(fold.time_edges - 0.5 * fold.tobs)
            number, j = _beside(mirrored / fold.after.freq, fold, dt)
            off = mirrored[number - 1] - j * fold.after.freq
            seen = amplitudes[above[number - 1]] * (_seen(off, np.zeros(len(j)), t, dt) @ share)
            out[j[(np.abs(seen) ** 2 > 1.0) & (j < len(out))]] = True
        return out


def left_out(fold: Fold) -> NDArray[np.bool_]:
    """Harmonics of a fold, from 0 on, that lines of interference fall on."""
    return np.asarray(fold.extra.get("left_out", np.zeros(len(fold.profile) // 2 + 1, dtype=np.bool_)))


def _evening(fold: Fold) -> NDArray[np.float64]:
    """What each harmonic of a fold, from 0 on, was multiplied with to even out red noise."""
    return np.asarray(fold.extra.get("gain", np.ones(len(fold.profile) // 2 + 1)), dtype=np.float64)


def _times(edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middles and lengths of sub-integrations."""
    return 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)


def _beside(
    ratios: NDArray[np.floating[Any]], fold: Fold, dt: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers, from 1 on, of lines at ratios to a fold's frequency, and of its harmonics that they are not far from."""
    reach = _SLIDES / (fold.after.freq * dt.max())
    first = np.maximum(np.ceil(ratios - reach), 1).astype(np.int64)
    count = np.maximum(np.floor(ratios + reach).astype(np.int64) - first + 1, 0)
    number = np.repeat(np.arange(1, len(ratios) + 1), count)
    return number, np.arange(len(number)) + np.repeat(first - np.cumsum(count) + count, count)


def _spectrum(profiles: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Harmonics from 1 on, without the highest, which has no defined phase; of noise of 1 in each bin mean power 1."""
    nbins = profiles.shape[-1]
    return np.asarray(np.fft.rfft(profiles, axis=-1)[..., 1 : max(nbins // 2, 2)] / np.sqrt(nbins))


def _gains(fold: Fold, whole: NDArray[np.complex128]) -> tuple[NDArray[np.float64], float]:
    """Brightness of the sub-integrations, drawn to its mean as far as noise makes it scatter (empirical Bayes).

    Returns their variance beyond noise, too.
    """
    rows = _spectrum(fold.time_phase.astype(np.float64))[:, : len(whole)]
    share = np.diff(fold.time_edges) / fold.tobs
    power = float(np.sum(np.abs(whole) ** 2))
    used = np.any(fold.time_phase != 0.0, axis=1)
    gains = np.real(rows @ whole.conj()) / (power * np.sqrt(share))
    # Of a complex amplitude half of the noise is in phase.
    noise = 0.5 / (power * share)
    spread = max(float(np.var(gains[used]) - noise[used].mean()), 0.0) if used.any() else 0.0
    gains = np.where(used, 1.0 + (gains - 1.0) * spread / (spread + noise), 0.0)
    return gains / max(float(np.sum(gains * share)), 1e-9), spread


def _seen(
    off: NDArray[np.float64],
    drift: NDArray[np.float64],
    t: NDArray[np.float64],
    dt: NDArray[np.float64],
    more: NDArray[np.floating[Any]] | float = 0.0,
    more_drift: NDArray[np.floating[Any]] | float = 0.0,
) -> NDArray[np.complex128]:
    """Harmonics that run ahead by frequencies and drifts, by more within sub-integrations, shape (nharm, nsubints)."""
    turns = off[:, None] * t + 0.5 * drift[:, None] * t**2
    inside = (off + more)[:, None] + np.asarray(drift + more_drift)[:, None] * t
    return np.asarray(np.exp(2j * np.pi * turns) * np.sinc(inside * dt))
