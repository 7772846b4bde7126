"""A single pulse cut out of the data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import DAY


@dataclass(frozen=True, eq=False, repr=False)
class PulseCutout:
    """The surroundings of a pulse.

    Attributes
    ----------
    spectrum : ndarray of float32, shape (nbands, ntime)
        Dedispersed at `dm`, noise of 1; NaN where there are no data.
    freqs : ndarray, shape (nbands,)
        Middles of the bands [MHz], descending.
    plane : ndarray of float32, shape (ndms, ntime)
        Series at `dms`, noise of 1.
    dms : ndarray, shape (ndms,)
        [pc cm^-3]
    dm : float
        DM of the pulse [pc cm^-3].
    time : float
        Its arrival [s] from the start of the observation, at `fref`.
    width : float
        Its width [s]; NaN where a stretch was cut out that is no pulse.
    start : float
        Time of the beginning of the first column [s].
    tsamp : float
        Time of a column [s].
    tstart : float
        MJD (UTC) of the start of the observation.
    fref : float
        Frequency to which times refer [MHz].
    """

    spectrum: NDArray[np.float32]
    freqs: NDArray[np.float64]
    plane: NDArray[np.float32]
    dms: NDArray[np.float64]
    dm: float
    time: float
    width: float
    start: float
    tsamp: float
    tstart: float
    fref: float

    @property
    def times(self) -> NDArray[np.float64]:
        """Middles of the columns [s] from the start of the observation, shape (ntime,)."""
        middles = np.arange(self.spectrum.shape[1]) + 0.5
        return np.asarray(self.start + middles * self.tsamp, dtype=np.float64)

    @property
    def mjd(self) -> float:
        """Arrival at `fref`, MJD (UTC)."""
        return self.tstart + self.time / DAY

    @property
    def profile(self) -> NDArray[np.float32]:
        """The series at the DM of the pulse, noise of 1, shape (ntime,)."""
        return np.asarray(self.plane[int(np.argmin(np.abs(self.dms - self.dm)))], dtype=np.float32)

    def __repr__(self) -> str:
        return (
            f"<PulseCutout: {self.time:.6f} s, DM {self.dm:.5g}, width {1e3 * self.width:.4g} ms, "
            f"{self.spectrum.shape[0]} bands, {self.spectrum.shape[1]} times>"
        )
