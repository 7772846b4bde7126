"""A fold over time and frequency at once.

A product keeps sums over frequency and over time, not what is in both. Formats that hold a cube are filled with the one
that has just these sums and nothing else: every plot that is made of a sum is that of the fold.
"""

import numpy as np
from numpy.typing import NDArray

from pulsar.data.fold import Fold


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
    npart, nsub = fold.time_phase.shape[0], len(at)
    share = np.diff(fold.time_edges) / fold.tobs
    size = np.sqrt(float(npart * nsub))
    whole = turned(fold.profile.astype(np.float64), 0.0) * size
    times = turned(fold.time_phase.astype(np.float64), 0.0) * size * np.sqrt(share)[:, None]
    own = turned(fold.freq_phase.astype(np.float64), 0.0) * size / np.sqrt(nsub)
    bands, count = np.zeros((nsub, whole.size)), np.zeros(nsub)
    np.add.at(bands, at, own)
    np.add.at(count, at, 1.0)
    part = count / nsub
    beside = bands - part[:, None] * whole
    cube: NDArray[np.float64] = times[:, None, :] * part[None, :, None] + share[:, None, None] * beside[None]
    return cube
