"""How long samples last, and when the middle of them is."""

from typing import Protocol

from pulsar.constants import DAY


class Sampled(Protocol):
    """What has samples: how many, how far apart [s], and when the first of them begins [MJD]."""

    @property
    def nsamps(self) -> int: ...
    @property
    def tsamp(self) -> float: ...
    @property
    def tstart(self) -> float: ...


class Span:
    """Length and middle of what is :class:`Sampled`."""

    @property
    def tobs(self: Sampled) -> float:
        """Length [s]."""
        return self.nsamps * self.tsamp

    @property
    def tmid(self: Sampled) -> float:
        """MJD of the middle, on the scale of `tstart`: the epoch of period and derivatives."""
        return self.tstart + 0.5 * (self.nsamps * self.tsamp) / DAY
