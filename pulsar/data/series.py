"""Dedispersed data: one series, or many over a range of DMs; arrays that begin at a cache line, and are used again."""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from pulsar.data.arguments import quantities, samples
from pulsar.data.header import Span
from pulsar.data.text import facts, known, line
from pulsar.errors import DataError
from pulsar_kernels.arrays import Array, Floats

if TYPE_CHECKING:
    from astropy.units import Quantity

#: Lines of interference in a series: frequency and full width of each [Hz].
Lines = Sequence[tuple[float, float]]
#: Fewest samples of a series in which periods are searched for, and that downsampling leaves.
MIN_SAMPLES: Final = 256


@dataclass(frozen=True, init=False, repr=False, eq=False)
class TimeSeries(Span):
    """A dedispersed time series, referred to the highest channel.

    Parameters
    ----------
    data : array_like, shape (nsamps,)
        Intensity, arbitrary unit; of any real type. What is not finite counts as missing. int16 and float32 are kept
        as they are, without a copy if contiguous and writable; everything else becomes the one or the other. Where
        float32 would lose part of the noise to rounding, the mean is taken off.
    tsamp : float or Quantity
        Sampling time [s].
    dm : float or Quantity
        DM to which it was dedispersed [pc / cm3].
    tstart : float or Time
        MJD (UTC) of the first sample; NaN when unknown.

    Attributes
    ----------
    data : ndarray of int16 or float32, shape (nsamps,)
    tsamp, dm, tstart : float
        [s], [pc / cm3], MJD

    Raises
    ------
    ConfigError
        The data are no array of real numbers in one dimension, or a value is out of bounds.

    Examples
    --------
    >>> TimeSeries([0.5, 1.0, 0.0, -0.5], tsamp=1e-3)
    <TimeSeries: 4 samples of 1000 µs (0.004 s), DM 0>
    """

    data: Array
    tsamp: float
    dm: float = 0.0
    tstart: float = float("nan")

    @quantities(tsamp="s > 0", dm="pc / cm3 >= 0")
    def __init__(
        self, data: ArrayLike, tsamp: "float | Quantity", dm: "float | Quantity" = 0.0, tstart: Any = float("nan")
    ) -> None:
        # Frozen: a series is not changed once it is made.
        object.__setattr__(self, "data", samples("data", data, ("time",), ("int16", "float32")))
        object.__setattr__(self, "tsamp", tsamp)
        object.__setattr__(self, "dm", dm)
        object.__setattr__(self, "tstart", float(tstart.utc.mjd if hasattr(tstart, "utc") else tstart))

    @property
    def nsamps(self) -> int:
        """Number of samples."""
        return int(self.data.shape[0])

    def __len__(self) -> int:
        return self.nsamps

    def __repr__(self) -> str:
        start = known(self.tstart, ".6f")
        return (
            f"<TimeSeries: {self.nsamps} samples of {1e6 * self.tsamp:.6g} µs ({self.tobs:.6g} s), DM {self.dm:.6g}"
            + (f", MJD {start}>" if start else ">")
        )

    def _repr_html_(self) -> str:
        rows = [
            ("samples", f"{self.nsamps} × {1e6 * self.tsamp:.6g} µs = {self.tobs:.6g} s"),
            ("DM", f"{self.dm:.6g} pc/cm³"),
            ("start", known(self.tstart, ".8f", "MJD (UTC)")),
            ("type", str(self.data.dtype)),
        ]
        return facts("TimeSeries", rows, line(self.data))


def check_varies(data: Array, name: str) -> None:
    """Refuse samples of a series in which nothing can be found: all are missing, or the same.

    Parameters
    ----------
    data : ndarray, shape (nsamps,)
    name : str
        What they are, for the message.

    Raises
    ------
    DataError
    """
    good = data[np.isfinite(data)]
    if not good.size or good.min() == good.max():
        what = f"all {good.size} finite samples are the same" if good.size else "no sample is a finite number"
        raise DataError(f"{name}: {what}: there is nothing to search")


@dataclass(frozen=True, repr=False, eq=False)
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

    data: Array
    dms: Floats
    tsamp: float
    tstart: float = float("nan")
    downsample: int = 1

    def series(self, index: int) -> TimeSeries:
        """The series of one trial DM."""
        return TimeSeries(self.data[index], self.tsamp, float(self.dms[index]), self.tstart)

    def __len__(self) -> int:
        return len(self.dms)

    def __repr__(self) -> str:
        return (
            f"<DMTime: {len(self)} DMs {self.dms[0]:.6g} to {self.dms[-1]:.6g}, {self.data.shape[1]} samples of "
            f"{1e6 * self.tsamp:.6g} µs>"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("DMs", f"{len(self)}, {self.dms[0]:.6g} to {self.dms[-1]:.6g} pc/cm³"),
            ("samples", f"{self.data.shape[1]} × {1e6 * self.tsamp:.6g} µs"),
            ("start", known(self.tstart, ".8f", "MJD (UTC)")),
        ]
        return facts("DMTime", rows)


#: Bytes of a cache line.
LINE: Final = 64


def aligned(shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
    """Zeros that begin at a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    space = np.zeros(size + LINE, dtype=np.uint8)
    first = -space.ctypes.data % LINE
    return space[first : first + size].view(dtype).reshape(shape)


class Space(threading.local):
    """Arrays of each thread, which are used again."""

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
        """An array at a cache line, until this thread asks for one of this name again; what it holds is of before."""
        size = math.prod(shape)
        kept: Array | None = self.__dict__.get(name)
        if kept is None or kept.size < size:
            kept = self.__dict__[name] = aligned(size, dtype)
        return kept[:size].reshape(shape)
