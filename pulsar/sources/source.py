"""A source as a model: harmonics in each band, brightness in time; and what it leaves at any frequency, DM and fold.

A source of frequency f has in band b the harmonic amplitudes a_kb, and in sub-integration i the brightness g_i of mean
1. All amplitudes are in units in which noise has mean power 1, with phases as in the middle of what is looked at: the
observation, or a part of it. At another DM d its harmonic k is, summed over bands,

    A_k(d) = sum_b a_kb exp(2 pi i k f K (d - DM) (nu_b^-2 - nu_0^-2)) / sqrt(B)

and at a frequency r [bins of 1/T] a transform of all that time T has

    M(r) = sum_k A_k(d) G(r - k f T),   G(x) = mean_i g_i exp(-2 pi i x t_i / T) sinc(x dt_i / T).

A fold at another period has the same of every sub-integration by itself; the residual of a fold is what is left without
that of other sources. Harmonics, simple ratios, sidelobes, other DMs and blends are this one formula. How good it is:
docs/verdicts.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Self, cast

import numpy as np
from numpy.typing import NDArray

from pulsar.data.fold import Fold
from pulsar.data.header import dispersion_delays
from pulsar.folding.profile import best_box
from pulsar.folding.whiten import evening
from pulsar.sources.candidate import AGREE
from pulsar.sources.steady import harmonic_scatter, repeats
from pulsar_kernels.arrays import Bools, Complexes, Floats, Ints

#: A harmonic that slides by more turns within a sub-integration leaves less than a tenth of its amplitude there.
_SLIDES: Final = 3.0
#: What is less than this amplitude in a transform is not felt there.
_FAINT: Final = 0.3
#: Pairs of lines that are looked at together.
_PAIRS: Final = 4096
#: Bins are averages from so many different phases of samples on in each.
_PHASES: Final = 4
#: Harmonics of a pulse that its bins do not resolve: so many times those that they show, as parts of its period do.
_MORE: Final = 16
#: What a refinement has smeared is not sharpened by more than 1 over this.
_SHARPEST: Final = 0.3
#: Of the amplitude of a source in a fold so much more may be there than it leaves: folds of a series are in units of a
#: noise that holds the pulsar, and differ by up to 14 %.
_SCALE: Final = 0.2
#: Of the brightness of a sub-integration so much may be off beside what it is known to vary.
_EPS: Final = 0.03
#: Sweeps over the amplitudes that are fitted together.
_SWEEPS: Final = 30


@dataclass(frozen=True)
class Source:
    """A source, as a refined fold tells it."""

    #: freq, fdot: in the middle of the time [Hz, Hz/s].
    freq: float
    fdot: float
    dm: float  # [pc cm^-3]
    middle: float  # Of the time [s], from the start of the observation
    amplitudes: Complexes  # shape (nbands, nharm): Of harmonics 1 to nharm in each band
    #: shape (nharm,): Harmonics that the fold has shown. Of others, which lines fall on, the power is that of those
    #: around them, the phases are not known; nor are any of a fold of which all turns have samples at the same few
    #: phases.
    known: Bools
    #: shape (nharm,): What amplitudes are times these in units of white noise: folds in red noise have theirs evened
    #: out.
    white: Floats
    band_delays: Floats  # shape (nbands,): Delay of each band for a DM of 1 [s]
    gains: Floats  # shape (nsubints,): Brightness, of mean 1 over all that was folded
    spread: float  # Variance of the brightness of a sub-integration
    time_edges: Floats  # shape (nsubints + 1,): From the middle of the time [s]
    nbins: int  # Of the fold: its harmonics are those of bin averages
    resolution: float  # Length of the samples that were folded [s]; 0 where that is not known
    flicker: float = 0.0  # That of a turn, as neighbouring sub-integrations differ
    #: Derivative of the frequency beyond its error, without sign [Hz/s]: in an orbit it may be another one elsewhere.
    drift: float = 0.0
    _elsewhere: dict[tuple[float, float], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, fold: Fold) -> Self:
        """The source that a fold shows, as far as its harmonics rise above noise, each above its own."""
        whole = _spectrum(fold.profile.astype(np.float64))
        shown, k = ~left_out(fold)[1 : len(whole) + 1], np.arange(1, len(whole) + 1)
        power = np.abs(whole) ** 2
        power = np.interp(k, k[shown], power[shown]) if shown.any() else power
        scale = float(fold.extra.get("noise_scale", 1.0))
        last = int(np.argmax(np.cumsum(power * scale**2 / harmonic_scatter(fold) - 2.0))) + 1
        whole, k, known = whole[:last], k[:last], shown[:last]
        bands = _spectrum(fold.freq_phase.astype(np.float64))[:, :last]
        # Noise of bands is more than that of their sum: what all share is known better than what they do not.
        bands += (whole - bands.sum(axis=0) / np.sqrt(len(bands))) / np.sqrt(len(bands))
        if known.any():
            bands[:, ~known] = [np.interp(k[~known], k[known], np.abs(band[known])) for band in bands]
        known &= _averages(fold)
        bands, known = _beyond_bins(bands, known, fold)
        k = np.arange(1, len(known) + 1)
        # Where the refinement has moved the frequency, sub-integrations are smeared.
        moved = (fold.after.freq - fold.before.freq) * float(np.diff(fold.time_edges).mean())
        bands /= np.maximum(np.sinc(k * moved), _SHARPEST)
        gains, spread, flicker = _gains(fold, whole)
        white = np.full(len(k), scale)
        white[:last] /= evening(fold)[1 : last + 1]
        fref = float(fold.extra.get("fref", np.inf))
        return cls(
            freq=fold.after.freq,
            fdot=fold.after.fdot,
            dm=fold.after.dm,
            middle=fold.start + 0.5 * fold.tobs,
            amplitudes=bands,
            known=known,
            white=white,
            band_delays=dispersion_delays(np.asarray(fold.band_freqs, dtype=np.float64), fref),
            gains=gains,
            spread=spread,
            flicker=flicker,
            time_edges=fold.time_edges - 0.5 * fold.tobs,
            nbins=len(fold.profile),
            resolution=float(fold.extra.get("resolution", 0.0)),
            drift=abs(fold.after.fdot) if abs(fold.after.fdot) > AGREE * fold.fdot_err else 0.0,
        )

    @cached_property
    def tobs(self) -> float:
        """Length of the time [s]."""
        return float(self.time_edges[-1] - self.time_edges[0])

    @property
    def power(self) -> float:
        """Of all its harmonics, where noise has mean power 1."""
        bright = max(float(self.gains @ np.diff(self.time_edges)) / self.tobs, 0.0)
        return bright**2 * float(np.sum(np.abs(self.amplitudes.sum(axis=0)) ** 2)) / len(self.amplitudes)

    def times(self, part: Complexes) -> Self:
        """The same with a part of each harmonic, from 0 on; all of those that have none."""
        nharm = self.amplitudes.shape[1]
        parts = np.r_[part[1 : nharm + 1], np.ones(max(nharm + 1 - len(part), 0))]
        return replace(self, amplitudes=self.amplitudes * parts)

    def during(self, start: float, tobs: float) -> Self:
        """The same in another part of the observation; where it was not seen it is taken to be off.

        Parameters
        ----------
        start, tobs : float
            Beginning, from the start of the observation, and length [s].
        """
        if self._is_of(start, tobs):
            return self
        away = start + 0.5 * tobs - self.middle
        if (start, tobs) in self._elsewhere:
            return cast(Self, self._elsewhere[start, tobs])
        edges = np.clip(np.r_[-np.inf, self.time_edges - away, np.inf], -0.5 * tobs, 0.5 * tobs)
        gains, dt = np.r_[0.0, self.gains, 0.0], np.diff(edges)
        k = np.arange(1, self.amplitudes.shape[1] + 1)
        turned = np.exp(2j * np.pi * k * away * (self.freq + 0.5 * self.fdot * away))
        kept = dt > 0.0
        there = replace(
            self,
            freq=self.freq + self.fdot * away,
            middle=self.middle + away,
            amplitudes=self.amplitudes * turned * np.sqrt(tobs / self.tobs),
            gains=gains[kept],
            time_edges=np.r_[edges[:-1][kept], edges[-1]],
        )
        self._elsewhere[start, tobs] = there
        return there

    def strays(self, start: float, tobs: float) -> float:
        """By how much its frequency may be another one in a part of the observation than its drift says [Hz]."""
        away = abs(start + 0.5 * tobs - self.middle)
        return 0.0 if self._is_of(start, tobs) else self.drift * (away + 0.5 * max(self.tobs, tobs))

    def _is_of(self, start: float, tobs: float) -> bool:
        """True if it is as seen in that part of the observation, to a thousandth of its length."""
        away = start + 0.5 * tobs - self.middle
        return max(abs(away), abs(self.tobs - tobs)) < 1e-3 * tobs

    def at_dm(self, dm: float) -> Complexes:
        """Amplitudes of its harmonics, summed over bands, in a series of another DM, shape (nharm,)."""
        k = np.arange(1, self.amplitudes.shape[1] + 1)
        turns = self.freq * (dm - self.dm) * self.band_delays[:, None] * k
        moved: Complexes = self.amplitudes * np.exp(2j * np.pi * turns)
        return np.asarray(moved.sum(axis=0) / np.sqrt(len(self.amplitudes)))

    def flickering(self, freq: float, dm: float) -> float:
        """Power that its turns, as they vary at random, leave in all harmonics of a frequency, mean noise power 1.

        Of N turns each has 1 / N of an amplitude: what varies adds up to the N-th part of its power, at any frequency.

        Parameters
        ----------
        freq : float
            [Hz]
        dm : float
            [pc cm^-3]
        """
        return self.flicker * float(np.sum(np.abs(self.at_dm(dm)) ** 2)) / (freq * self.tobs)

    def powers_at(self, freqs: Floats, fdots: Floats, dms: Floats, asked: Bools, tsamp: float) -> Floats:
        """Power that it leaves in harmonics of some frequencies, mean noise power 1, shape (nfreqs, nharm).

        Parameters
        ----------
        freqs, fdots : ndarray, shape (nfreqs,)
            [Hz, Hz/s]
        dms : ndarray, shape (nfreqs,)
            [pc cm^-3]
        asked : ndarray of bool, shape (nfreqs, nharm)
            Harmonics from 1 on; others are 0.
        tsamp : float
            Sampling time of the series [s]: what is above the Nyquist frequency is mirrored.
        """
        k = np.arange(1, self.amplitudes.shape[1] + 1)
        lines, drifts = k * self.freq, k * self.fdot
        whole = np.rint(lines * tsamp) / tsamp
        mirrored = lines < whole
        lines, drifts = np.abs(lines - whole), np.where(mirrored, -drifts, drifts)
        t, dt = _times(self.time_edges)
        reach, order = _SLIDES / dt.max(), np.argsort(lines)
        row, h = np.nonzero(asked)
        there = (h + 1) * freqs[row]
        first = np.searchsorted(lines[order], there - reach)
        count = np.searchsorted(lines[order], there + reach) - first
        at = np.repeat(np.arange(len(there)), count)
        k = order[np.arange(len(at)) + np.repeat(first - np.cumsum(count) + count, count)]
        off, drift = lines[k] - there[at], drifts[k] - (h[at] + 1) * fdots[row[at]]
        most = np.abs(self.amplitudes).sum(axis=0)[k] / np.sqrt(len(self.amplitudes))
        turns = np.maximum(np.abs(off) * self.tobs - 0.5 * np.abs(drift) * self.tobs**2, 0.1)
        felt = most * np.maximum(1.0 / (np.pi * turns), np.sqrt(self.spread / len(t))) > _FAINT
        at, k, off, drift = at[felt], k[felt], off[felt], drift[felt]
        share, total = self.gains * dt / self.tobs, np.zeros(len(there), dtype=np.complex128)
        every, dm_of = np.unique(dms[row[at]], return_inverse=True)
        amplitudes = np.array([self.at_dm(dm) for dm in every.tolist()]).reshape(len(every), len(lines))
        amplitudes = np.where(mirrored, amplitudes.conj(), amplitudes)
        for begin in range(0, len(at), _PAIRS):
            some = slice(begin, begin + _PAIRS)
            seen = _seen(off[some], drift[some], t, dt) @ share
            np.add.at(total, at[some], amplitudes[dm_of[some], k[some]] * seen)
        powers = np.zeros(asked.shape)
        powers[row, h] = np.abs(total) ** 2
        return powers

    def rows_in(self, fold: Fold) -> tuple[Floats, Bools]:
        """Rows that it leaves in the sub-integrations of another fold, in units of white noise.

        Parameters
        ----------
        fold : Fold
            Of the same time.

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
        gains = self._gains_at(t)
        # Each harmonic k of the source is at those j of the fold beside which it slides by no more than a few turns.
        k, j = _beside(np.arange(1, len(amplitudes) + 1) * self.freq / fold.after.freq, fold, dt)
        share = gains * dt / dt.sum()
        unknown = self._images(fold, amplitudes, share)
        if not len(k):
            return np.zeros((len(t), nbins)), unknown
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
        rows *= evening(fold)[: len(rows), None] * gains * np.sqrt(dt / dt.sum())
        rows[[0, -1]] = 0.0
        unknown[at[(np.abs(seen @ share) ** 2 > 1.0) & ~self.known[k - 1]]] = True
        return np.asarray(np.fft.irfft(rows.T, nbins, axis=1) * np.sqrt(nbins)), unknown

    def _gains_at(self, t: Floats) -> Floats:
        """Its brightness at some times; 0 where it is off."""
        middles, _ = _times(self.time_edges)
        on = self.gains != 0.0
        if not on.any():
            return np.zeros(len(t))
        row = np.clip(np.searchsorted(self.time_edges, t) - 1, 0, len(on) - 1)
        return np.where(on[row], np.interp(t, middles[on], self.gains[on]), 0.0)

    def _smeared(self, k: Ints, j: Ints, fold: Fold) -> Complexes:
        """Amplitudes of harmonics k at places j of another fold over those in their own.

        They are averages over bins, over samples, and over the delays of channels, which are rounded to samples. Phases
        count from the left edge of bin 0, spectra from its middle.
        """
        here, template = j / len(fold.profile), np.minimum(k, self.nbins // 2) / self.nbins
        longer = np.sinc(k * self.freq * float(fold.extra.get("resolution", 0.0)))
        longer /= np.sinc(k * self.freq * self.resolution)
        smeared = np.sinc(here) / np.sinc(template) * longer ** (2 if len(self.amplitudes) > 1 else 1)
        return np.asarray(smeared * np.exp(1j * np.pi * (here - template)))

    def _images(self, fold: Fold, amplitudes: Complexes, share: Floats) -> Bools:
        """Harmonics of a fold at which its own are mirrored at the Nyquist frequency of what was folded there."""
        out, resolution = np.zeros(len(fold.profile) // 2 + 1, dtype=np.bool_), float(fold.extra.get("resolution", 0.0))
        lines, power = np.arange(1, len(amplitudes) + 1) * self.freq, np.abs(amplitudes)
        top = (len(out) - 1) * fold.after.freq + 1.0 / fold.tobs
        if resolution <= 0.0 or lines[-1] + top < 1.0 / resolution:
            return out
        t, dt = _times(fold.time_edges - 0.5 * fold.tobs)
        for image in (np.abs(m / resolution + side * lines) for m in (1, 2) for side in (-1.0, 1.0)):
            seen_at = np.flatnonzero((image < top) & (power > 1.0))
            if not seen_at.size:
                continue
            number, j = _beside(image[seen_at] / fold.after.freq, fold, dt)
            k = seen_at[number - 1]
            seen = power[k] * (_seen(image[k] - j * fold.after.freq, np.zeros(len(j)), t, dt) @ share)
            out[j[(np.abs(seen) ** 2 > 1.0) & (j < len(out))]] = True
        return out


def left_out(fold: Fold) -> Bools:
    """Harmonics of a fold, from 0 on, that lines of interference fall on."""
    return np.asarray(fold.extra.get("left_out", np.zeros(len(fold.profile) // 2 + 1, dtype=np.bool_)))


def _beyond_bins(bands: Complexes, known: Bools, fold: Fold) -> tuple[Complexes, Bools]:
    """Harmonics, and which are known, with those of a pulse that the bins do not resolve: as a Gaussian goes on."""
    nharm, resolution = len(known), float(fold.extra.get("resolution", 0.0))
    most = min(_MORE * nharm, int(0.5 / (fold.after.freq * resolution)) if resolution > 0.0 else nharm)
    # The last that rises above noise need not be the last that is there.
    if nharm < 0.875 * (len(fold.profile) // 2 - 1) or nharm < 8 or most <= nharm:
        return bands, known
    # Bins and samples are averages, in which every pulse falls; beyond the last harmonic bins do as at the last.
    k, order = np.arange(1, most + 1), 2 if len(bands) > 1 else 1
    smeared = np.sinc(np.minimum(k / len(fold.profile), 0.5)) * np.sinc(k * fold.after.freq * resolution) ** order
    power = (np.abs(bands.sum(axis=0)) ** 2 / len(bands) - 1.0) / smeared[:nharm] ** 2
    middle, end = (float(power[int(a * nharm) : int(b * nharm)].mean()) for a, b in ((0.375, 0.625), (0.75, 1.0)))
    if end < 1.0:
        return bands, known
    falls = float(np.log(max(middle / end, 1.0))) / (0.875**2 - 0.5**2)
    height = np.exp(-0.5 * falls * ((k[nharm:] / nharm) ** 2 - 0.875**2)) * smeared[nharm:]
    height = height[: int(np.argmax(np.append(end * height**2 <= 1.0, True)))]
    share = np.sqrt(end * len(bands)) / np.abs(bands[:, int(0.75 * nharm) :]).mean(axis=1).sum()
    more = share * np.abs(bands[:, int(0.75 * nharm) :]).mean(axis=1)[:, None] * height
    return np.hstack([bands, more]), np.r_[known, np.zeros(len(height), dtype=np.bool_)]


def _averages(fold: Fold) -> bool:
    """True if the bins of a fold are averages over phases; not where a few turns have a whole number of samples."""
    resolution = float(fold.extra.get("resolution", 0.0))
    turn = np.inf if resolution <= 0.0 else 1.0 / (fold.after.freq * resolution)
    few = np.arange(1, int(_PHASES * len(fold.profile) / turn) + 1)
    slides = np.abs(few * turn - np.rint(few * turn)) * fold.tobs * fold.after.freq / few
    return not bool(np.any(slides < 1.0))


def _times(edges: Floats) -> tuple[Floats, Floats]:
    """Middles and lengths of sub-integrations."""
    return 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)


def _beside(ratios: NDArray[np.floating[Any]], fold: Fold, dt: Floats) -> tuple[Ints, Ints]:
    """Numbers, from 1 on, of lines at ratios to a fold's frequency, and of its harmonics that they are not far from."""
    reach = _SLIDES / (fold.after.freq * dt.max())
    first = np.maximum(np.ceil(ratios - reach), 1).astype(np.int64)
    count = np.maximum(np.floor(ratios + reach).astype(np.int64) - first + 1, 0)
    number = np.repeat(np.arange(1, len(ratios) + 1), count)
    return number, np.arange(len(number)) + np.repeat(first - np.cumsum(count) + count, count)


def _spectrum(profiles: Floats) -> Complexes:
    """Harmonics from 1 on, without the highest, which has no defined phase; of noise of 1 in each bin mean power 1."""
    nbins = profiles.shape[-1]
    return np.asarray(np.fft.rfft(profiles, axis=-1)[..., 1 : max(nbins // 2, 2)] / np.sqrt(nbins))


def _gains(fold: Fold, whole: Complexes) -> tuple[Floats, float, float]:
    """Brightness of the sub-integrations, drawn to its mean as far as noise makes it scatter (empirical Bayes).

    Returns their variance beyond noise, too, and that of a turn, of as many as there are in a sub-integration.
    """
    rows = _spectrum(fold.time_phase.astype(np.float64))[:, : len(whole)]
    share = np.diff(fold.time_edges) / fold.tobs
    power = max(float(np.sum(np.abs(whole) ** 2)), 1e-9)
    used = np.any(fold.time_phase != 0.0, axis=1)
    gains = np.real(rows @ whole.conj()) / (power * np.sqrt(share))
    # Of a complex amplitude half of the noise is in phase.
    noise = 0.5 / (power * share)
    spread = max(float(np.var(gains[used]) - noise[used].mean()), 0.0) if used.any() else 0.0
    both = used[1:] & used[:-1]
    # Few turns are now one more, now one less in a sub-integration.
    edges = fold.time_edges - 0.5 * fold.tobs
    number = edges * (fold.after.freq + 0.5 * fold.after.fdot * edges) - fold.phase
    steady = np.diff(np.floor(number)) / np.diff(number)
    differ = np.diff(gains - steady)[both] ** 2 - (noise[1:] + noise[:-1])[both]
    turns = max(fold.after.freq * fold.tobs / len(gains), 1.0)
    flicker = max(0.5 * float(differ.mean()) * turns, 0.0) if both.any() else 0.0
    gains = np.where(used, 1.0 + (gains - 1.0) * spread / (spread + noise), 0.0)
    return gains / max(float(np.sum(gains * share)), 1e-9), spread, flicker


def _seen(
    off: Floats,
    drift: Floats,
    t: Floats,
    dt: Floats,
    more: NDArray[np.floating[Any]] | float = 0.0,
    more_drift: NDArray[np.floating[Any]] | float = 0.0,
) -> Complexes:
    """Harmonics that run ahead by frequencies and drifts, by more within sub-integrations, shape (nharm, nsubints)."""
    turns = off[:, None] * t + 0.5 * drift[:, None] * t**2
    inside = (off + more)[:, None] + np.asarray(drift + more_drift)[:, None] * t
    return np.asarray(np.exp(2j * np.pi * turns) * np.sinc(inside * dt))


@dataclass(frozen=True)
class FoldResidual:
    """The residual of a fold, and its measures."""

    powers: Mapping[str, float]  # Of each source in the fold, by uid
    part: float  # Of the S/N of the fold
    residual: Fold | None = None  # With what is left in its sub-integrations; None where nothing was taken
    taken: float = 0.0  # Power of what was taken from the profile, mean noise power 1 in each bin
    #: shape (nbins // 2 + 1,): What is left of each harmonic over what was there, all of it where that is not known;
    #: None where nothing was taken.
    own: Complexes | None = None

    @cached_property
    def steady(self) -> float:
        """Significance of what is left against what scatters between sub-integrations."""
        return np.inf if self.residual is None else repeats(self.residual)


def left_of(fold: Fold, sources: Mapping[str, tuple[NDArray[np.floating[Any]], Bools, float]]) -> FoldResidual:
    """The residual of a fold beside other sources.

    Parameters
    ----------
    sources : mapping of str to (ndarray, ndarray, float)
        By uid what each leaves there, the harmonics at which that is not known (:meth:`Source.rows_in`), and how its
        brightness varies.
    """
    if not sources:
        return FoldResidual({}, 1.0)
    source_rows = np.stack([rows for rows, _, _ in sources.values()]).astype(np.float64)
    unknown = np.logical_or.reduce([left_out(fold), *(harmonics for _, harmonics, _ in sources.values())])
    rows = fold.time_phase.astype(np.float64) * float(fold.extra.get("noise_scale", 1.0))
    unknown[-1] = True  # has no defined phase
    powers = dict(zip(sources, np.sum(source_rows**2, axis=(1, 2)).tolist(), strict=True))
    cut, source_rows = _without_harmonics(rows, unknown), _without_harmonics(source_rows, unknown)
    kept = _without(cut, source_rows, np.array([spread for _, _, spread in sources.values()]))
    share = np.sqrt(np.diff(fold.time_edges) / fold.tobs)[:, None]
    profiles = np.stack([(rows * share).sum(axis=0), (kept * share).sum(axis=0)])
    profiles -= profiles.mean(axis=1, keepdims=True)
    whole, left = best_box(profiles, np.ones(rows.shape[1]))[0]
    spectra = np.fft.rfft(profiles, axis=1)
    share_left = spectra[1] / np.where(np.abs(spectra[0]) > 0.0, spectra[0], 1.0)
    share_left /= np.maximum(np.abs(share_left), 1.0)
    share_left[unknown] = 1.0
    power_taken = float(np.sum(((cut - kept) * share).sum(axis=0) ** 2))
    residual = replace(fold, time_phase=kept.astype(np.float32), extra={**fold.extra, "noise_scale": 1.0})
    return FoldResidual(powers, float(left / max(whole, 1.0)), residual, power_taken, share_left)


def _without_harmonics(rows: Floats, harmonics: Bools) -> Floats:
    spectra = np.fft.rfft(rows, axis=-1)
    spectra[..., harmonics] = 0.0
    return np.asarray(np.fft.irfft(spectra, rows.shape[-1], axis=-1))


def _without(rows: Floats, left: Floats, spread: Floats) -> Floats:
    """Sub-integrations less what sources leave in them, each as bright as fits best.

    Over the whole time none at least, little more than all: sources that share harmonics share what is there. In a
    sub-integration the brightness is drawn to that of its own fold, as far as it varies.
    """
    models = left.reshape(len(left), -1)
    gram, seen = models @ models.T, models @ rows.ravel()
    scale = np.ones(len(models))
    for _ in range(_SWEEPS):  # coordinate descent, which bounds do not hinder
        before = scale.copy()
        for i in range(len(scale)):
            step = float(seen[i] - gram[i] @ scale) / max(float(gram[i, i]), 1e-9)
            scale[i] = min(max(scale[i] + step, 0.0), 1.0 + _SCALE)
        if np.abs(scale - before).max() < 1e-3:
            break
    left = left * scale[:, None, None]
    kept = rows - left.sum(axis=0)
    each = np.einsum("isb,jsb->sij", left, left) + np.diag(1.0 / (spread + _EPS**2))
    more = np.linalg.solve(each, np.einsum("isb,sb->si", left, kept)[..., None])[..., 0]
    return np.asarray(kept - np.einsum("si,isb->sb", more, left))
