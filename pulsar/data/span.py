"""How long samples last, and when the middle of them is."""

from typing import TYPE_CHECKING

from pulsar.constants import DAY


class Span:
    """What has `nsamps` samples of `tsamp` [s], the first of which begins at `tstart` [MJD]."""

    if TYPE_CHECKING:
        # Fields of one class, properties of another.
        @property
        def nsamps(self) -> int: ...
        @property
        def tsamp(self) -> float: ...
        @property
        def tstart(self) -> float: ...

    @property
    def tobs(self) -> float:
        """Length [s]."""
        return self.nsamps * self.tsamp

    @property
    def tmid(self) -> float:
        """MJD of the middle, on the scale of `tstart`: the epoch of period and derivatives."""
        return self.tstart + 0.5 * self.tobs / DAY
