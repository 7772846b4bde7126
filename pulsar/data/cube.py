"""A fold over time and frequency at once.

A product keeps sums over frequency and over time, not what is in both. Formats that hold a cube are filled with the one
that has just these sums and nothing else: every plot that is made of a sum is that of the fold.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.fold import Fold, FoldCube

#: Relative power that single precision leaves of what is 0.
_SAME: Final = 1e-8


def turned(profiles: NDArray[np.float64], turns: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Profiles moved later by so many turns, without their means.

    Parameters
    ----------
    profiles : ndarray, shape (..., nbins)
    turns : float or ndarray, shape (...)
    """
    nbins = profiles.shape[-1]
    spectra = np.fft.rfft(profiles, axis=-1)
    spectra[..., 0] = 0.0
    phase = np.asarray(turns)[..., None] * np.arange(spectra.shape[-1])
    return np.asarray(np.fft.irfft(spectra * np.exp(-2j * np.pi * phase), nbins, axis=-1), dtype=np.float64)


def aligned_cube(fold: Fold, at: NDArray[np.int64]) -> NDArray[np.float64]:
    """The fold as it is refined, dedispersed, noise of 1 in every element, shape (nsubints, nbands, nbins).

    Parameters
    ----------
    fold : Fold
    at : ndarray of int64, shape (nbands,)
        Place of each band; one in which none is put is empty.
    """
    nsub = len(at)
    bands, count = np.zeros((nsub, fold.profile.size)), np.zeros(nsub)
    np.add.at(bands, at, fold.freq_phase.astype(np.float64))
    np.add.at(count, at, 1.0)
    share = np.diff(fold.time_edges) / fold.tobs
    return cube_of_sums(fold.profile, fold.time_phase, bands, share, count)


def cube_of_sums(
    profile: NDArray[Any],
    time_phase: NDArray[Any],
    freq_phase: NDArray[Any],
    share: NDArray[np.float64],
    count: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The cube that has these sums and nothing else, noise of 1 in every element, shape (nsubints, nbands, nbins).

    Parameters
    ----------
    profile : ndarray, shape (nbins,)
        In units of its noise, as all others.
    time_phase : ndarray, shape (nsubints, nbins)
        Summed over bands.
    freq_phase : ndarray, shape (nbands, nbins)
        Summed over time.
    share : ndarray, shape (nsubints,)
        Of each sub-integration in the time.
    count : ndarray, shape (nbands,)
        Bands that were added to each; 0: it is empty.
    """
    npart, nsub = len(time_phase), len(freq_phase)
    size = np.sqrt(float(npart * nsub))
    whole = turned(profile.astype(np.float64), 0.0) * size
    times = turned(time_phase.astype(np.float64), 0.0) * size * np.sqrt(share)[:, None]
    bands = turned(freq_phase.astype(np.float64), 0.0) * size / np.sqrt(nsub)
    part = count / nsub
    beside = bands - part[:, None] * whole
    cube: NDArray[np.float64] = times[:, None, :] * part[None, :, None] + share[:, None, None] * beside[None]
    return cube


def holds_sums_only(cube: FoldCube) -> bool:
    """Whether a cube is one of :func:`cube_of_sums`: noise is then not white in it, but a sum of two parts.

    Turned in time and in frequency at once, such noise does not stay what the variance says: a refinement of both finds
    periods and DMs at which it falls, and takes what is left for a signal.
    """
    live = cube.variance.any(axis=(0, 2))
    lasts = np.diff(cube.time_edges)
    if len(cube.data) < 2 or np.count_nonzero(live) < 2:
        return False
    each = cube.data[:, live].astype(np.float64) * (lasts.mean() / lasts)[:, None, None]
    # Turns by fractions of a bin do not keep the Nyquist harmonic.
    parts = np.fft.rfft(each, axis=2)[..., 1:-1]
    beside = parts - parts.mean(axis=0) - parts.mean(axis=1, keepdims=True) + parts.mean(axis=(0, 1))
    return bool(np.sum(np.abs(beside) ** 2) < _SAME * np.sum(np.abs(parts) ** 2))
