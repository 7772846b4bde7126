"""Cleaned samples as dedispersion and folding take them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from pulsar.constants import DAY
from pulsar.data.header import Sampled
from pulsar_kernels.arrays import Floats, Int8s

#: Noise of a cleaned channel in integer levels. The rounding then adds 1/(12 * 8^2) = 0.13 % to the variance
#: (0.07 % of S/N), and the range of int8 holds +-15.9 sigma of a single channel and sample.
SIGMA_LEVELS: Final = 8.0


@dataclass(frozen=True, eq=False)
class Rows:
    """Samples of all channels in memory, with zeros before and after those of the observation."""

    data: Int8s  # shape (nchans, any), contiguous
    first: int  # column of sample 0


class SampleSource(Sampled, Protocol):
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
    def freqs(self) -> Floats: ...
    @property
    def fref(self) -> float: ...
    @property
    def chan_width(self) -> float: ...

    def read_into(self, start: int, out: Int8s) -> None:
        """Fill `out`, shape (nchans, n), from sample `start` on; what lies outside the observation is 0.

        Rows of `out` are contiguous, their stride may be larger than n. Noise has standard deviation
        SIGMA_LEVELS. Safe to call from several threads at once.
        """
        ...

    def valid_fraction(self, start: int, nsamps: int) -> float:
        """Fraction of the live channel-samples in a stretch that are neither masked nor missing."""
        ...


def inside(start: int, out: Int8s, nsamps: int) -> tuple[int, int, Int8s]:
    """First sample from `start` on that is in an observation, the one after the last, and their place in `out`.

    What lies outside of the observation is set to 0.
    """
    low = max(start, 0)
    high = max(min(start + out.shape[1], nsamps), low)
    out[:, : low - start] = 0
    out[:, high - start :] = 0
    return low, high, out[:, low - start : high - start]


class Derived:
    """A source made of another one, with its channels and times unless it says otherwise."""

    def __init__(self, source: SampleSource) -> None:
        self.source = source
        self.freqs: Floats = source.freqs
        self.fref = source.fref
        self.chan_width = source.chan_width
        self.nsamps = source.nsamps
        self.tsamp = source.tsamp
        self.tstart = source.tstart

    def valid_fraction(self, start: int, nsamps: int) -> float:
        """As of the source."""
        return self.source.valid_fraction(start, nsamps)


class Relay(Derived, ABC):
    """Samples of another source, with which something is done on the way; a `SampleSource` itself.

    Parameters
    ----------
    source : SampleSource
    """

    def read_into(self, start: int, out: Int8s) -> None:
        """As of the source, with what is done to it."""
        self.source.read_into(start, out)
        low, high = max(start, 0), min(start + out.shape[1], self.nsamps)
        if low < high:
            self._meet(low, out[:, low - start : high - start])

    @abstractmethod
    def _meet(self, start: int, data: Int8s) -> None:
        """Use or change samples from `start` on, all within the observation."""


#: Samples of all channels that are read at once for some of them [bytes].
PIECE_BYTES: Final = 8 << 20


class BandSource(Derived):
    """Some neighbouring channels of another source; a `SampleSource` itself. Delays are referred to what they were.

    Parameters
    ----------
    low, high : float
        Edges of the band [MHz]: channels whose centres are from `low` to below `high`.
    """

    def __init__(self, source: SampleSource, low: float, high: float) -> None:
        super().__init__(source)
        inside = np.flatnonzero((source.freqs >= low) & (source.freqs < high))
        self._rows = slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0)
        self.freqs = np.ascontiguousarray(source.freqs[self._rows])

    def read_into(self, start: int, out: Int8s) -> None:
        """As of the source."""
        nchans, n = self.source.freqs.size, out.shape[1]
        step = max(PIECE_BYTES // nchans, 1)
        every = np.empty((nchans, min(step, n)), dtype=np.int8)
        for at in range(0, n, step):
            piece = every[:, : min(step, n - at)]
            self.source.read_into(start + at, piece)
            out[:, at : at + step] = piece[self._rows]


#: Lower and upper edge of a part of the band [MHz]; None: the whole.
Edges = tuple[float, float] | None


def in_band(source: SampleSource, band: Edges) -> SampleSource:
    """The channels of a source in a part of the band."""
    return source if band is None else BandSource(source, *band)


class PartSource(Derived):
    """Some consecutive samples of another source; a `SampleSource` itself.

    What is read beyond them is there all the same: of a dispersed pulse the lower frequencies come later.

    Parameters
    ----------
    first, nsamps : int
        First sample, and how many.
    """

    def __init__(self, source: SampleSource, first: int, nsamps: int) -> None:
        super().__init__(source)
        self._first = first
        self.nsamps = nsamps
        self.tstart += first * source.tsamp / DAY

    def valid_fraction(self, start: int, nsamps: int) -> float:
        """As of the source."""
        return self.source.valid_fraction(self._first + start, nsamps)

    def read_into(self, start: int, out: Int8s) -> None:
        """As of the source."""
        self.source.read_into(self._first + start, out)
