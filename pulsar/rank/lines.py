"""What a folded candidate leaves in the spectra: the powers that a search finds at any frequency and DM because of it.

A pulsar is a comb of lines k f, with the powers of the harmonics of its profile. At another frequency f' a sum of H
powers looks at f', 2 f' ... H f'. What falls there of the comb is the power of the nearest line, less what is lost
because the line lies beside (sinc^2), drifts across (its power is spread over its drift), is dispersed differently
(the phases slide over the band), and, if it lies above the Nyquist frequency, at its mirror image. To this comes a
floor under the comb: pulses vary by about their own strength, so 1/N of each line, for N turns, is spread between the
lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM
from pulsar.data.fold import Fold
from pulsar.folding.fundamental import LEFT_OUT
from pulsar.searches.sift import Group, fade

#: A harmonic of noise is this strong once in exp(12) = 160,000.
SURE = 12.0
#: Lines beyond those that a profile shows are taken to be as strong as its last ones, up to this many times as many.
BEYOND = 4
LAST = 4
#: Sub-integrations from which on the noise of the harmonics is taken from what scatters between them.
LEAST_PARTS = 4
#: Frequencies and DMs agree within this many errors.
NSIGMA = 3.0
#: An error of frequency is no smaller than this part of a bin of the highest harmonic summed (grid of the search).
FLOOR = 0.05
#: A fold that has been refined so near [bins of 1/T] to a simple multiple of a stronger one, at its DM, shows that one:
#: by chance a pulsar comes so near to a harmonic of another one in 2 x 0.05 / (f T) of the cases.
NEAR_BINS = 0.05


@dataclass(frozen=True)
class Comb:
    """The lines of a candidate.

    Attributes
    ----------
    freq, fdot : float
        Of the rotation [Hz, Hz/s].
    freq_err : float
        [Hz]
    dm, dm_err : float
        [pc cm^-3]
    powers : ndarray, shape (nlines,)
        Power of harmonic k + 1 beyond that of noise (mean 1).
    span : float
        Delay over the band for a DM of 1 [s]; 0 when the DM changes nothing.
    tobs, tsamp : float
        [s]
    """

    freq: float
    fdot: float
    freq_err: float
    dm: float
    dm_err: float
    powers: NDArray[np.float64]
    span: float
    tobs: float
    tsamp: float


@dataclass(frozen=True)
class Searched:
    """Groups as columns, for the prediction.

    Attributes
    ----------
    freq, fdot, err : ndarray, shape (n,)
        Frequency, derivative and error of the best detections [Hz, Hz/s, Hz].
    nharm : ndarray of int64, shape (n,)
    dm : ndarray, shape (n,)
        [pc cm^-3]
    """

    freq: NDArray[np.float64]
    fdot: NDArray[np.float64]
    err: NDArray[np.float64]
    nharm: NDArray[np.int64]
    dm: NDArray[np.float64]

    @classmethod
    def of(cls, groups: Sequence[Group], tobs: float) -> "Searched":
        """Columns of `groups`; `tobs` is the length of the data [s]."""
        nharm = np.array([g.nharm for g in groups], dtype=np.int64)
        return cls(
            freq=np.array([g.freq for g in groups]),
            fdot=np.array([float(g.best["fdot"]) for g in groups]),
            err=np.maximum([g.freq_err for g in groups], FLOOR / (np.maximum(nharm, 1) * tobs)),
            nharm=nharm,
            dm=np.array([g.dm for g in groups]),
        )

    def part(self, rows: NDArray[np.int64]) -> "Searched":
        """Some of the rows."""
        return Searched(self.freq[rows], self.fdot[rows], self.err[rows], self.nharm[rows], self.dm[rows])


def comb_of(fold: Fold, freqs: NDArray[np.float64], tsamp: float, *, dispersed: bool = True) -> Comb:
    """The lines that a folded profile shows.

    Parameters
    ----------
    fold : Fold
    freqs : ndarray
        Channel frequencies [MHz]; fewer than two when the DM changes nothing.
    tsamp : float
        Sampling time of the observation [s].
    dispersed : bool
        False for what sits in few channels: no DM takes its power away.
    """
    profile = fold.profile.astype(np.float64)
    nbins = profile.size
    powers = np.abs(np.fft.rfft(profile)) ** 2 / nbins
    powers = _filled(powers[1 : nbins // 2])
    sure = np.flatnonzero(powers > SURE)
    # In units of white noise, as the spectra are: what lines and drifts add to the noise of a fold is whitened there.
    powers = powers * float(fold.extra.get("noise_scale", 1.0)) ** 2
    shown = max(int(sure[-1]) + 1 if sure.size else 0, int(np.ceil(0.6 / max(fold.width, 1e-3))), 1)
    excess = np.maximum(powers - noise_of(fold)[: powers.size], 0.0)[:shown]
    if shown >= powers.size and powers.size >= LAST:
        tail = float(excess[-LAST:].mean())
        excess = np.concatenate([excess, np.full((BEYOND - 1) * excess.size, tail)])
    many = freqs.size > 1 and dispersed
    return Comb(
        freq=fold.after.freq,
        fdot=fold.after.fdot,
        freq_err=float(np.nan_to_num(fold.freq_err)),
        dm=fold.after.dm,
        dm_err=float(np.nan_to_num(fold.dm_err)),
        powers=excess,
        span=float(KDM * (freqs.min() ** -2.0 - freqs.max() ** -2.0)) if many else 0.0,
        tobs=fold.tobs,
        tsamp=tsamp,
    )


def _filled(powers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Powers of harmonics, those that were left out of the fold taken from their neighbours: lines fell on them."""
    have = np.flatnonzero(powers > LEFT_OUT * powers.mean()) if powers.size else np.zeros(0, dtype=np.int64)
    return np.interp(np.arange(powers.size), have, powers[have]) if have.size else powers


def noise_of(fold: Fold) -> NDArray[np.float64]:
    """Noise in the power of each harmonic from 1 on, in units of white noise: what scatters between sub-integrations.

    In drifts of the level it is many times that of white noise, and no line of the candidate.

    Parameters
    ----------
    fold : Fold

    Returns
    -------
    ndarray, shape (nbins / 2,)
    """
    parts = np.fft.rfft(fold.time_phase.astype(np.float64), axis=1)[:, 1:]
    parts = parts[np.any(parts != 0.0, axis=1)]
    n, nbins = len(parts), fold.time_phase.shape[1]
    if n < LEAST_PARTS:
        return np.ones(nbins // 2)
    scatter = np.sum(np.abs(parts - parts.mean(axis=0)) ** 2, axis=0) / ((n - 1) * nbins)
    return np.asarray(np.maximum(scatter * float(fold.extra.get("noise_scale", 1.0)) ** 2, 1.0))


def expected(comb: Comb, groups: Searched) -> NDArray[np.float64]:
    """Power beyond noise that the sums of the groups hold because of a candidate, shape (n,).

    Parameters
    ----------
    comb : Comb
    groups : Searched
    """
    n = groups.freq.size
    out = np.zeros(n)
    if n == 0 or comb.powers.size == 0:
        return out
    turns = max(comb.tobs * comb.freq, 1.0)
    away = np.maximum(np.abs(groups.dm - comb.dm) - NSIGMA * comb.dm_err, 0.0) * comb.span
    for j in range(1, int(groups.nharm.max()) + 1):
        use = groups.nharm >= j
        at = j * groups.freq
        best = np.zeros(n)
        for image in _images(comb, at):
            k = np.round(image / comb.freq)
            inside = use & (k >= 1) & (k <= comb.powers.size)
            if not inside.any():
                continue
            line = np.where(inside, k, 1.0)
            power = comb.powers[line.astype(np.int64) - 1]
            error = NSIGMA * np.hypot(j * groups.err, line * comb.freq_err)
            drift = np.abs(line * comb.fdot - j * groups.fdot) * comb.tobs**2
            off = np.maximum((np.abs(image - line * comb.freq) - error) * comb.tobs - 0.5 * drift, 0.0)
            kept = fade(off) / np.maximum(drift, 1.0) * fade(away * line * comb.freq)
            floor = fade(away * line * comb.freq) / turns
            best = np.maximum(best, np.where(inside, power * np.maximum(kept, floor), 0.0))
        out += best
    return out


def expected_harmonics(comb: Comb, fold: Fold, nharm: int) -> NDArray[np.float64]:
    """Power beyond noise that harmonics 1 ... `nharm` of another fold hold because of a candidate, shape (nharm,).

    Parameters
    ----------
    comb : Comb
    fold : Fold
        Refined.
    nharm : int
    """
    k = np.arange(1, nharm + 1, dtype=np.float64)
    err = max(float(np.nan_to_num(fold.freq_err)), FLOOR / (nharm * fold.tobs))
    after = fold.after
    lines = Searched(
        freq=k * np.float64(after.freq),
        fdot=k * np.float64(after.fdot),
        err=k * np.float64(err),
        nharm=np.ones(nharm, dtype=np.int64),
        dm=np.full(nharm, after.dm),
    )
    return expected(comb, lines)


def _images(comb: Comb, at: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Frequencies that a sampled series shows at `at`: itself, and the mirror images of what lies above Nyquist."""
    rate = 1.0 / comb.tsamp
    if comb.powers.size * comb.freq < 0.5 * rate:
        return [at]
    return [at, rate - at, rate + at]


def ratio_of(freq: float, comb: Comb, tolerance: float, nharm: int = 1) -> tuple[str, int, int]:
    """What a frequency is of a candidate's, in words: kind, multiple, divisor.

    A sum of `nharm` powers at m/d of a frequency meets lines of it from d powers on; of more the ratio says nothing,
    as some ratio of large numbers is near to any frequency.

    Parameters
    ----------
    freq : float
        [Hz]
    comb : Comb
    tolerance : float
        [Hz], at `freq`.
    nharm : int
        Harmonics summed there.
    """
    for kind, image in zip(("harmonic", "alias", "alias"), _images(comb, np.array([freq])), strict=False):
        k = round(float(image[0]) / comb.freq)
        if k >= 1 and abs(float(image[0]) - k * comb.freq) <= tolerance:
            return ("same" if kind == "harmonic" and k == 1 else kind), k, 1
    for d in range(2, min(nharm, 32) + 1):
        m = round(freq * d / comb.freq)
        if 1 <= m <= comb.powers.size and abs(freq - m * comb.freq / d) <= tolerance:
            return "harmonic", m, d
    return "sidelobe", max(round(freq / comb.freq), 1), 1
