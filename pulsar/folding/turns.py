"""The level of slow pulsars, followed from turn to turn.

A sub-integration of several turns cannot be levelled any more: what wandered while it lasted is in its profile. So slow
candidates are folded in pieces shorter than a turn, which one after the other are the series, in steps of a phase bin.
Where that series shows that the level wanders, it is evened out in every subband, and only then put together to
sub-integrations. What does not wander is not touched.

1. A running mean over a part of a turn is taken from it, twice over, so that slow waves no longer come in at harmonics
   that they have nothing to do with, through the ends of the data and of the sub-integrations (a wave k / length away
   leaves 1 / (pi k) of itself there).
2. Every frequency is divided by what that has left of it, and by the noise beside the harmonics. This is done before
   sub-integrations are made, as these mix frequencies.

Both are the same whatever the phase: no phase is preferred, noise cannot make a pulse of itself, and of a pulse of any
width all harmonics are kept, each as its noise allows.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import gammaincc, ndtri

from pulsar.folding.whiten import FEWEST_PARTS, NEAR, RED, HarmonicNoise, noise_beside

#: Widths of the running mean [turns]: the one is taken that leaves least noise at the harmonics.
WINDOWS: Final = (1.0, 0.5, 0.25)

#: Turns of zeros behind a series that is filtered.
_PADDING: Final = 4

#: Smallest probability that is told from none: 37 sigma.
LEAST: Final = 1e-300


@dataclass(frozen=True)
class Pieces:
    """Pieces of a fold, each shorter than a turn.

    Attributes
    ----------
    data : ndarray of float32, shape (npieces, nbands, nbins)
        Sums of samples, each band in its own time.
    counts : ndarray of int64, shape (npieces, nbins)
        Samples in each bin.
    turns : ndarray of float64, shape (npieces,)
        Turn at the centre of the first sample of each piece.
    """

    data: NDArray[np.float32]
    counts: NDArray[np.int64]
    turns: NDArray[np.float64]

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First bin of each piece, and where it stands in the series that begins with the first of the first."""
        nbins = self.data.shape[2]
        at = np.floor(self.turns * nbins).astype(np.int64)
        return at % nbins, at - at[0]


def _filled(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means of the bins of a series, shape (n, nbands); those without a sample lie on straight lines."""
    mean = values / np.maximum(counts, 1)[:, None]
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        full = np.flatnonzero(counts)
        after = np.clip(np.searchsorted(full, empty), 1, len(full) - 1)
        left, right = full[after - 1], full[after]
        part = np.clip((empty - left) / (right - left), 0.0, 1.0)[:, None]
        mean[empty] = mean[left] * (1.0 - part) + mean[right] * part
    return mean


def series_of(pieces: Pieces) -> NDArray[np.float64]:
    """The level of each band from bin to bin of one turn after the other, shape (n, nbands)."""
    _, nbands, nbins = pieces.data.shape
    first, start = pieces.places()
    values = np.zeros((int(start[-1]) + nbins, nbands))
    counts = np.zeros(len(values), dtype=np.int64)
    for data, count, bin_, at in zip(pieces.data, pieces.counts, first, start, strict=True):
        # The bins before the first of a piece are of the next turn.
        values[at : at + nbins - bin_] += data[:, bin_:].T
        values[at + nbins - bin_ : at + nbins] += data[:, :bin_].T
        counts[at : at + nbins] += np.roll(count, -bin_)
    end = int(np.flatnonzero(counts)[-1]) + 1
    return _filled(values[:end], counts[:end])


def _centred_mean(series: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """Mean over the 2 `half` bins about each (those at the ends count half), carried on with its slope at the ends."""
    n = len(series)
    total = np.concatenate([np.zeros((1, series.shape[1])), np.cumsum(series, axis=0)])
    inner = (total[2 * half : -1] - total[: -2 * half - 1] + total[2 * half + 1 :] - total[1 : -2 * half]) / (4 * half)
    out = np.empty_like(series)
    out[half : n - half] = inner
    steps = np.arange(1, half + 1)[:, None] / (2 * half)
    out[:half] = inner[0] + steps[::-1] * (inner[0] - inner[2 * half])
    out[n - half :] = inner[-1] + steps * (inner[-1] - inner[-2 * half - 1])
    return out


def baseline(series: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """What is left of `series` is what is left by taking its running mean over 2 `half` bins twice.

    Parameters
    ----------
    series : ndarray, shape (n, nbands)
        At least 4 `half` + 1 bins.
    half : int
    """
    once = _centred_mean(series, half)
    once += _centred_mean(series - once, half)
    return once


def left(turns: NDArray[np.float64], half: int, nbins: int) -> NDArray[np.float64]:
    """Part of a wave of so many cycles a turn that is left when its :func:`baseline` is taken."""
    angle = np.pi * np.asarray(turns) / nbins
    # Trapezoidal rule over 2 half bins: sin(2 half x) cos(x) / (2 half sin(x)).
    safe = np.where(angle == 0.0, 1.0, angle)
    mean = np.where(angle == 0.0, 1.0, np.sin(2 * half * angle) / (2 * half * np.tan(safe)))
    return np.asarray((1.0 - mean) ** 2)


@dataclass(frozen=True)
class Level:
    """How a series is levelled, and the noise in which its harmonics stand.

    Attributes
    ----------
    half : int
        Half the width of the running mean [bins].
    noise : HarmonicNoise
        Without what slower waves leave at the harmonics.
    """

    half: int
    noise: HarmonicNoise


def evened(series: NDArray[np.float64], level: Level, nbins: int) -> NDArray[np.float64]:
    """Take the level from a series and make its noise white.

    Parameters
    ----------
    series : ndarray, shape (n, nbands)
    level : Level
    nbins : int
        Bins of a turn.
    """
    n = len(series)
    # Zeros beyond the end: the filter reaches over a few turns, and would take the end for what is before the start.
    size = int(next_fast_len(n + _PADDING * nbins, real=True))
    # In single precision, as the sums are: what is left is noise, and the large level is gone.
    rows = np.ascontiguousarray((series - baseline(series, level.half)).T, dtype=np.float32)
    spectrum = rfft(rows, size, axis=1)
    # What is slower than a turn stays as the running mean has left it.
    harmonic = np.maximum(np.arange(spectrum.shape[1]) * (nbins / size), 1.0)
    gain = np.interp(harmonic, np.arange(1.0, nbins // 2 + 1), level.noise.gain[1:])
    spectrum *= (gain / left(harmonic, level.half, nbins)).astype(np.float32)
    return np.asarray(irfft(spectrum, size, axis=1, overwrite_x=True)[:, :n].T, dtype=np.float64)


def _spectrum(series: NDArray[np.float64], nbins: int) -> tuple[NDArray[np.complex128], int]:
    """Fourier amplitudes of a series of unit white noise, and the turns that it holds.

    Without its mean profile: what is beside the harmonics stays.
    """
    whole = len(series) // nbins
    turns = series[: whole * nbins].reshape(whole, nbins)
    flat = (turns - turns.mean(axis=0)).reshape(-1)
    return np.asarray(np.fft.rfft(flat) / np.sqrt(len(flat))), whole


def _noise(series: NDArray[np.float64], nbins: int, half: int) -> HarmonicNoise:
    """Noise beside the harmonics of a series that has lost a running mean (none if `half` is 0)."""
    spectrum, whole = _spectrum(series, nbins)
    side = min(max(whole // 2 - 1, 1), NEAR)
    offsets = np.concatenate([np.arange(1, side + 1), -np.arange(1, side + 1)])
    at = whole * np.arange(1, nbins // 2) + offsets[:, None]
    near = spectrum[at]
    return noise_beside(near / left(at / whole, half, nbins) if half else near)


def wanders(series: NDArray[np.float64], nbins: int) -> float:
    """How surely the level of a series wanders [sigma]: by the power of all that is slower than two turns.

    In white noise the powers are exponential variables, and their sum is a gamma variable.

    Parameters
    ----------
    series : ndarray, shape (n,)
        In units of its white noise.
    nbins : int
        Bins of a turn.
    """
    spectrum, whole = _spectrum(series, nbins)
    power = np.abs(spectrum) ** 2
    slow = power[1 : max(whole // 2, 1) + 1]
    # The noise as it is, where the level stands still: between the upper harmonics.
    white = float(np.median(power[len(power) // 2 :])) / np.log(2.0)
    return float(-ndtri(max(gammaincc(len(slow), slow.sum() / white), LEAST)))


def find_level(series: NDArray[np.float64], nbins: int) -> Level | None:
    """Whether the level of a series wanders, and how it is best taken from it.

    Parameters
    ----------
    series : ndarray, shape (n,)
        Of all bands in the time of the highest, in units of its white noise.
    nbins : int
        Bins of a turn.

    Returns
    -------
    Level or None
        None where the level stands still: neither between the turns nor beside the lowest harmonics is there surely
        (RED sigma) more than white noise.
    """
    if len(series) < FEWEST_PARTS * nbins or nbins < 16:
        return None
    series = series - series.mean()
    red = max(_noise(series, nbins, 0).red, wanders(series, nbins))
    if red < RED:
        return None
    found = []
    for window in WINDOWS:
        half = round(0.5 * window * nbins)
        noise = _noise(series - baseline(series[:, None], half)[:, 0], nbins, half)
        # Squared S/N of a narrow pulse.
        found.append((float(np.sum(1.0 / noise.smooth)), half, noise))
    _, half, noise = max(found, key=lambda one: one[0])
    return Level(half, HarmonicNoise(noise.measured, noise.smooth, red))


def in_one_time(series: NDArray[np.float64], late: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum of the bands of a series, band b moved earlier by `late[b]` bins; what all have.

    Parameters
    ----------
    series : ndarray, shape (n, nbands)
    late : ndarray of int64, shape (nbands,)
    """
    late = late - late.min()
    n = len(series) - int(late.max())
    total = np.zeros(max(n, 0))
    for b, shift in enumerate(late):
        total += series[shift : shift + len(total), b]
    return total


def folded(pieces: Pieces, series: NDArray[np.float64], npieces: int) -> NDArray[np.float32]:
    """Sub-integrations of `npieces` pieces each, of another series of the same samples.

    Parameters
    ----------
    pieces : Pieces
    series : ndarray, shape (n, nbands)
        As :func:`series_of` gives it.
    npieces : int

    Returns
    -------
    ndarray of float32, shape (nsubints, nbands, nbins)
    """
    total, nbands, nbins = pieces.data.shape
    out = np.zeros((total // npieces, nbands, nbins))
    first, start = pieces.places()
    for k, (bin_, at) in enumerate(zip(first, start, strict=True)):
        own = np.zeros((nbins, nbands))
        there = series[at : at + nbins]
        own[: len(there)] = there
        out[k // npieces] += (np.roll(own, bin_, axis=0) * pieces.counts[k][:, None]).T
    return out.astype(np.float32)
