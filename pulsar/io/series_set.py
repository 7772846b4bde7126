"""Dedispersed series of one observation at several DMs, such as PRESTO's prepsubband leaves: one observation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsar.data.series import TimeSeries
from pulsar.errors import DataError
from pulsar.io.base import BaseObservation

#: Pieces of the band that stand for its channels where the files do not tell those: arrival within a piece of a 64th of
#: the band differs by 1.6 % of the delay over it.
PIECES = 64


@dataclass(frozen=True)
class SeriesGroup:
    """Series of one sampling time.

    Attributes
    ----------
    first : int
        Place of the first of them in the set.
    dms : ndarray
        [pc cm^-3], ascending.
    tsamp : float
        [s]
    nsamps : int
        Samples of the shortest.
    """

    first: int
    dms: NDArray[np.float64]
    tsamp: float
    nsamps: int


class SeriesSet(BaseObservation):
    """Series of one observation at several DMs.

    What is read as an observation is the series of the lowest DM; `series` gives each. The DM of the header is NaN.

    Parameters
    ----------
    readers : sequence of BaseObservation
        One series each.

    Attributes
    ----------
    dms : ndarray
        [pc cm^-3], ascending.
    groups : tuple of SeriesGroup
        In ascending DM and sampling time.
    freqs : ndarray
        Channels (or pieces) of the band [MHz], descending.

    Raises
    ------
    DataError
        Starts, sources or bands differ, a DM is there twice, sampling times do not rise with the DM, or the band is
        unknown.
    """

    def __init__(self, readers: Sequence[BaseObservation]) -> None:
        self._readers = sorted(readers, key=lambda r: r.header.dm)
        first = self._readers[0]
        headers = [reader.header for reader in self._readers]
        for reader in self._readers[1:]:
            _check_same(first, reader)
        self.dms = np.array([h.dm for h in headers])
        twice = np.flatnonzero(np.diff(self.dms) < 1e-6)
        if twice.size:
            a, b = (self._readers[int(twice[0]) + k].files[0].path for k in (0, 1))
            raise DataError(f"{b}: has the DM {self.dms[twice[0]]:g} as {a}: give one series for each DM")
        tsamps = np.array([h.tsamp for h in headers])
        if np.any(np.diff(tsamps) < -1e-9):
            raise DataError(
                f"{first.files[0].path}: sampling times do not rise with the DM in this set: search it in parts"
            )
        starts = np.flatnonzero(np.r_[True, np.diff(tsamps) > 1e-9])
        ends = np.r_[starts[1:], len(headers)]
        self.groups = tuple(
            SeriesGroup(int(a), self.dms[a:b], float(tsamps[a]), min(h.nsamps for h in headers[a:b]))
            for a, b in zip(starts, ends, strict=True)
        )
        self.freqs = _band(first)
        self.header = headers[0].with_(dm=math.nan, nsamps=self.groups[0].nsamps)
        self.files = tuple(file for reader in self._readers for file in reader.files)
        self.gaps, self.chan_ok, self.dtype = first.gaps, first.chan_ok, first.dtype
        self.problems = tuple(dict.fromkeys(p for reader in self._readers for p in reader.problems))
        self.remarks = (f"{len(headers)} series from DM {self.dms[0]:g} to {self.dms[-1]:g}: one observation",)

    def series(self, index: int, nsamps: int | None = None) -> TimeSeries:
        """The series of one DM, or its first `nsamps` samples; safe to call from several threads."""
        reader = self._readers[index]
        header = reader.header
        data = np.ascontiguousarray(reader.read(0, nsamps).data[0])
        return TimeSeries(data, header.tsamp, header.dm, header.tstart)

    def nearest(self, dm: float) -> int:
        """Place of the series whose DM is the nearest."""
        return int(np.argmin(np.abs(self.dms - dm)))

    def _fill(self, start: int, out: NDArray[np.float32]) -> None:
        self._readers[0].read_into(start, out)

    def park(self) -> None:
        """Hold no file open between reads."""
        for reader in self._readers:
            reader.park()

    def close(self) -> None:
        """Close all files."""
        for reader in self._readers:
            reader.close()


def is_set(readers: Sequence[BaseObservation]) -> bool:
    """Whether these are series of different DMs, not parts of one in time."""
    return all(r.header.is_series for r in readers) and np.ptp([r.header.dm for r in readers]) > 1e-6


def _check_same(one: BaseObservation, other: BaseObservation) -> None:
    a, b = one.header, other.header
    for what, differ in (
        ("source", a.source != b.source),
        ("start", abs(a.tstart - b.tstart) * 86400.0 > max(a.tsamp, b.tsamp)),
        ("frequency", abs(a.fch1 - b.fch1) > 1e-6 * abs(a.fch1)),
        ("length", abs(a.tobs - b.tobs) > 0.01 * a.tobs),
    ):
        if differ:
            raise DataError(
                f"{other.files[0].path}: differs in {what} from {one.files[0].path}: series of several DMs must be of "
                "one observation"
            )


def _band(reader: BaseObservation) -> NDArray[np.float64]:
    known: NDArray[np.float64] | None = getattr(reader, "band_freqs", None)
    if known is not None and float(np.ptp(known)) > 0.0:
        return known
    h = reader.header
    if not (math.isfinite(h.fch1) and h.fch1 > 0 and abs(h.foff) > 0):
        raise DataError(
            f"{reader.files[0].path}: tells no frequency or bandwidth, without which DMs cannot be compared: add them "
            "to its header (.inf: central freq of low channel, total bandwidth)"
        )
    return np.linspace(h.fch1, h.fch1 - abs(h.foff), PIECES)
