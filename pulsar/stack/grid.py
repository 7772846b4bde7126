"""What the epochs of a stack have in common: frequencies, trial DMs, direction; and how a power is kept in a byte."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Powers for each bin of 1/T: a line is an eighth of a bin from one at most, where it has sinc^2(1/8) = 95 % of its
#: power, 98.3 % on average.
POINTS: Final = 4
#: Larger powers count as this one: beyond it nobody needs a stack.
LARGEST: Final = 1.0e4
_SCALE: Final = 255.0 / np.log1p(LARGEST)


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
    dms: NDArray[np.float64]
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


def encode(powers: NDArray[np.float32]) -> tuple[NDArray[np.uint8], int]:
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


def decoded() -> NDArray[np.float64]:
    """The power that each byte stands for, shape (256,): the mean of exponential noise within the step.

    Noise keeps its mean of 1 to rounding; the last stands for `LARGEST`, the least that it can be.
    """
    low = np.expm1(np.arange(255) / _SCALE)
    width = np.expm1(np.arange(1, 256) / _SCALE) - low
    return np.append(low + 1.0 - width / np.expm1(width), LARGEST)
