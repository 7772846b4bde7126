"""The profile of a series by given phases, such as those of an orbit that no few derivatives follow."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.folding.folder import normalise
from pulsar.folding.profile import fine_box

#: Phase bins of the profile: the phases of an orbit go through all of them, however few samples a turn has.
NBINS: Final = 64


@dataclass(frozen=True, eq=False)
class OrbitFold:
    """A folded profile.

    Attributes
    ----------
    profile : ndarray, shape (NBINS,)
        Mean 0, in units of the noise of a bin.
    snr, width, phase : float
        Of its best boxcar: S/N, width and centre [turns].
    """

    profile: NDArray[np.float32]
    snr: float
    width: float
    phase: float


def fold_phases(series: NDArray[Any], turns: NDArray[np.float64], turn: float) -> OrbitFold:
    """Fold a series by the phase of each of its samples.

    Parameters
    ----------
    series : ndarray, shape (nsamps,)
    turns : ndarray, shape (nsamps,)
        Phases, counted on.
    turn : float
        Samples in a turn, about: over some of them the baseline is taken.

    Raises
    ------
    DataError
        When the series does not vary.
    """
    data = normalise(series, max(turn, 32.0))
    slot = ((turns - np.floor(turns)) * NBINS).astype(np.int64) % NBINS
    sums = np.bincount(slot, weights=data, minlength=NBINS)
    counts = np.bincount(slot, minlength=NBINS).astype(np.float64)
    sums -= counts * sums.sum() / counts.sum()
    snr, width, phase = fine_box(np.fft.rfft(sums), counts)
    profile = sums / np.sqrt(np.maximum(counts, 1.0))
    return OrbitFold(profile.astype(np.float32), snr, width, phase)
