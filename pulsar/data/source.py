"""Cleaned samples as dedispersion and folding take them."""

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

#: Noise of a cleaned channel in integer levels. The rounding then adds 1/(12 * 8^2) = 0.13 % to the variance
#: (0.07 % of S/N), and the range of int8 holds +-15.9 sigma of a single channel and sample.
SIGMA_LEVELS: Final = 8.0


class SampleSource(Protocol):
    """Channels of zero mean and equal noise, as int8; what is masked or missing is 0.

    Attributes
    ----------
    freqs : ndarray, shape (nchans,)
        Centres of the channels that are alive [MHz], descending, perhaps unevenly spaced. ``freqs[0]`` may lie
        below the highest channel of the observation.
    fref : float
        Frequency to which delays are referred [MHz]: the highest channel of the observation, alive or not.
    chan_width : float
        Width of one channel [MHz].
    nsamps : int
    tsamp : float
        Sampling time [s].
    tstart : float
        MJD (UTC) of sample 0.
    """

    @property
    def freqs(self) -> NDArray[np.float64]: ...
    @property
    def fref(self) -> float: ...
    @property
    def chan_width(self) -> float: ...
    @property
    def nsamps(self) -> int: ...
    @property
    def tsamp(self) -> float: ...
    @property
    def tstart(self) -> float: ...

    def read_into(self, start: int, out: NDArray[np.int8]) -> None:
        """Fill `out`, shape (nchans, n), from sample `start` on; what lies outside the observation is 0.

        Rows of `out` are contiguous, their stride may be larger than n. Noise has standard deviation
        SIGMA_LEVELS. Safe to call from several threads at once.
        """
        ...

    def valid_fraction(self, start: int, nsamps: int) -> float:
        """Fraction of the live channel-samples in a stretch that are neither masked nor missing."""
        ...
