"""Dedispersed data: one series, or many over a range of DMs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import DAY


@dataclass(frozen=True)
class TimeSeries:
    """A dedispersed time series, referred to the highest channel.

    Attributes
    ----------
    data : ndarray, shape (nsamps,)
        Intensity, arbitrary unit.
    tsamp : float
        Sampling time [s].
    dm : float
        DM [pc cm^-3].
    tstart : float
        MJD (UTC) of the first sample.
    """

    data: NDArray[Any]
    tsamp: float
    dm: float = 0.0
    tstart: float = float("nan")

    @property
    def nsamps(self) -> int:
        """Number of samples."""
        return int(self.data.shape[0])

    @property
    def tobs(self) -> float:
        """Length [s]."""
        return self.nsamps * self.tsamp

    @property
    def tmid(self) -> float:
        """MJD (UTC) of the middle."""
        return self.tstart + 0.5 * self.tobs / DAY


@dataclass(frozen=True)
class DMTime:
    """Series at many DMs with one sampling time.

    Attributes
    ----------
    data : ndarray, shape (ndms, nsamps)
        Row ``i`` belongs to ``dms[i]``.
    dms : ndarray, shape (ndms,)
        Trial DMs [pc cm^-3], ascending.
    tsamp : float
        Sampling time after downsampling [s].
    tstart : float
        MJD (UTC) of the first sample.
    downsample : int
        Raw samples in one sample of the series.
    """

    data: NDArray[Any]
    dms: NDArray[np.float64]
    tsamp: float
    tstart: float = float("nan")
    downsample: int = 1

    def series(self, index: int) -> TimeSeries:
        """The series of one trial DM."""
        return TimeSeries(self.data[index], self.tsamp, float(self.dms[index]), self.tstart)

    def __len__(self) -> int:
        return len(self.dms)
