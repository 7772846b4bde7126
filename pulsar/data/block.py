"""A stretch of an observation in memory."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pulsar.data.header import Header


@dataclass(frozen=True, repr=False)
class Block:
    """Samples of all channels over a stretch of time.

    Attributes
    ----------
    data : ndarray, shape (nchans, nsamps)
        Channel-major samples, channel 0 the highest frequency; uint8, uint16 or float32.
    start : int
        Sample of the observation at which the block starts.
    header : Header
        Header of the whole observation.
    """

    data: NDArray[Any]
    start: int
    header: Header

    @property
    def nsamps(self) -> int:
        """Samples in the block."""
        return int(self.data.shape[1])

    @property
    def time(self) -> float:
        """Start of the block [s] from the start of the observation."""
        return self.start * self.header.tsamp

    def __repr__(self) -> str:
        return f"<Block: {self.data.shape[0]} channels, {self.nsamps} samples from {self.start} on, {self.data.dtype}>"
