"""Masks of PRESTO's rfifind (``*_rfifind.mask``).

Binary, in the byte order of the machine that wrote it (little-endian on all that are in use), as its reader takes it:

- 6 doubles: the sigma limits in time and in frequency, MJD of the first sample, length of an interval [s], centre of
  the lowest channel and channel width [MHz];
- 3 int32: channels, intervals, samples an interval;
- int32 count and as many int32: channels that are masked throughout;
- int32 count and as many int32: intervals that are masked in all channels;
- for every interval int32, how many channels are masked in it; then for every interval their numbers, unless there are
  none or all.

Channels ascend in frequency there, and descend here. The last interval may reach beyond the data.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.belongs import refuse
from pulsar.cleaning.statistics import block_edges
from pulsar.constants import DAY
from pulsar.data.files import read_bytes
from pulsar.data.header import HIGHEST_FREQ, LATEST_MJD, LONGEST_TSAMP, MOST_CHANNELS, SHORTEST_TSAMP, Header
from pulsar.errors import DataError

#: Reason of channels that it masks.
REASON: Final = "PRESTO mask"
#: Both programs may take the start from different keys of a header [s].
_START_SLACK: Final = 1.0
#: The sampling time that samples an interval and its length give.
_TSAMP_SLACK: Final = 1e-6
_HEAD: Final = struct.Struct("<6d3i")
_MOST: Final = MOST_CHANNELS
#: Blocks of all channels: a gigabyte, ten hours of FAST in blocks of a third of a second.
_MOST_ELEMENTS: Final = 1 << 30
_MOST_BYTES: Final = 1 << 32


@dataclass(frozen=True)
class PrestoMask:
    """A mask of rfifind.

    Attributes
    ----------
    path : Path
    tstart : float
        MJD of the first sample.
    tsamp : float
        [s]
    lofreq, chan_width : float
        Centre of the lowest channel and width of a channel [MHz].
    ptsperint : int
        Samples in an interval.
    channels : ndarray of bool, shape (nchans,)
        Masked throughout; frequency descending.
    bad : ndarray of bool, shape (nints, nchans)
        Masked in an interval, what is masked throughout included; frequency descending.
    """

    path: Path
    tstart: float
    tsamp: float
    lofreq: float
    chan_width: float
    ptsperint: int
    channels: NDArray[np.bool_]
    bad: NDArray[np.bool_]

    def check(self, header: Header) -> None:
        """Refuse the mask of another observation.

        Raises
        ------
        ConfigError
            Naming what differs, with both values.
        """
        nints, nchans = self.bad.shape
        wanted = -(-header.nsamps // self.ptsperint)
        lowest = float(header.freqs[-1])
        refuse(
            self.path,
            [
                ("channels", nchans, header.nchans, nchans == header.nchans),
                (
                    "lowest channel [MHz]",
                    self.lofreq,
                    lowest,
                    abs(self.lofreq - lowest) < 0.1 * header.chan_width,
                ),
                (
                    "channel width [MHz]",
                    self.chan_width,
                    header.chan_width,
                    # Over the whole band no more than a tenth of a channel.
                    abs(self.chan_width - header.chan_width) * header.nchans < 0.1 * header.chan_width,
                ),
                (
                    "sampling time [s]",
                    self.tsamp,
                    header.tsamp,
                    abs(self.tsamp / header.tsamp - 1.0) < _TSAMP_SLACK,
                ),
                ("start [MJD]", self.tstart, header.tstart, abs(self.tstart - header.tstart) * DAY < _START_SLACK),
                # rfifind may count samples that pad the last row.
                (f"intervals of {self.ptsperint} samples", nints, wanted, wanted <= nints <= wanted + 1),
            ],
        )

    def blocks(self, edges: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which blocks of which channels are masked: those that any masked interval overlaps.

        Parameters
        ----------
        edges : ndarray of int64, shape (nblocks + 1,)
            Edges of the blocks in samples.

        Returns
        -------
        ndarray of bool, shape (nblocks, nchans)
        """
        last = self.bad.shape[0] - 1
        first = np.minimum(edges[:-1] // self.ptsperint, last)
        end = np.minimum((edges[1:] - 1) // self.ptsperint, last) + 1
        # A block is masked where the count of masked intervals grows over it.
        counts = np.zeros((last + 2, self.bad.shape[1]), dtype=np.int64)
        np.cumsum(self.bad, axis=0, out=counts[1:])
        return np.asarray((counts[end] > counts[first]) | self.channels)

    def block_length(self, wanted: float, nsamps: int) -> float:
        """Length of statistics blocks [s] near `wanted` of which a whole number makes an interval, where there is one.

        Blocks that straddle intervals lose more than what is masked.

        Parameters
        ----------
        wanted : float
            [s]
        nsamps : int
            Of the observation: its number of blocks is bounded.
        """
        usual = int(block_edges(nsamps, self.tsamp, wanted, self.bad.shape[1])[1])
        whole = np.arange(max(1, usual // 2), 2 * usual + 1)
        divisors = whole[self.ptsperint % whole == 0]
        for n in divisors[np.argsort(np.abs(np.log(divisors / usual)), kind="stable")]:
            if block_edges(nsamps, self.tsamp, n * self.tsamp, self.bad.shape[1])[1] == n:
                return float(n * self.tsamp)
        return wanted


class _Reader:
    """The bytes of a mask, taken one after the other."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.at = path, data, 0

    def ints(self, count: int, what: str) -> NDArray[np.int64]:
        if self.at + 4 * count > len(self.data):
            raise self.error(
                f"ends at byte {len(self.data)}, in {what}, which should go up to byte {self.at + 4 * count}: "
                "truncated; copy it again"
            )
        found = np.frombuffer(self.data, dtype="<i4", count=count, offset=self.at).astype(np.int64)
        self.at += 4 * count
        return found

    def indices(self, count: int, limit: int, what: str) -> NDArray[np.int64]:
        start = self.at
        found = self.ints(count, what)
        wrong = np.flatnonzero((found < 0) | (found >= limit))
        if wrong.size:
            at = start + 4 * int(wrong[0])
            raise self.error(f"byte {at}: {int(found[wrong[0]])} in {what}, expected 0 to {limit - 1}: damaged")
        return found

    def count(self, limit: int, what: str) -> int:
        start = self.at
        number = int(self.ints(1, f"the number of {what}")[0])
        if not 0 <= number <= limit:
            raise self.error(f"byte {start}: {number} {what}, expected 0 to {limit}: damaged")
        return number

    def error(self, what: str) -> DataError:
        return DataError(f"{self.path}: as a mask of PRESTO's rfifind: {what}")


def read_presto_mask(path: Path | str) -> PrestoMask:
    """Read a mask of rfifind.

    Raises
    ------
    DataError
        The file cannot be read, is something else, truncated or damaged: with the byte.
    """
    path = Path(path)
    data = read_bytes(path, "a mask", most=_MOST_BYTES)
    reader = _Reader(path, data)
    if len(data) < _HEAD.size:
        raise reader.error(f"{len(data)} bytes are less than its header of {_HEAD.size}: truncated, or something else")
    _, _, mjd, dtint, lofreq, dfreq, nchans, nints, ptsperint = _HEAD.unpack_from(data)
    reader.at = _HEAD.size
    sane = (
        np.isfinite([mjd, dtint, lofreq, dfreq]).all()
        and SHORTEST_TSAMP * ptsperint <= dtint <= LONGEST_TSAMP * ptsperint
        and 0 < dfreq <= HIGHEST_FREQ
        and abs(lofreq) <= HIGHEST_FREQ
        and abs(mjd) <= LATEST_MJD
        and 1 <= nchans <= _MOST
        and 1 <= nints <= len(data) // 4
        and nints * nchans <= _MOST_ELEMENTS
        and ptsperint >= 1
    )
    if not sane:
        raise reader.error(
            f"the header makes no sense (MJD {mjd:.6g}, intervals of {dtint:.6g} s and {ptsperint} samples, {nchans} "
            f"channels of {dfreq:.6g} MHz from {lofreq:.6g} MHz on, {nints} intervals): not such a file. Expected a "
            "mask of `pulsar rfi` (HDF5) or the .mask of rfifind"
        )
    zapped = reader.indices(reader.count(nchans, "masked channels"), nchans, "the masked channels")
    intervals = reader.indices(reader.count(nints, "masked intervals"), nints, "the masked intervals")
    start = reader.at
    counts = reader.ints(nints, "the numbers of masked channels")
    wrong = np.flatnonzero((counts < 0) | (counts > nchans))
    if wrong.size:
        which = int(wrong[0])
        raise reader.error(
            f"byte {start + 4 * which}: {int(counts[which])} masked channels in interval {which}, expected 0 to "
            f"{nchans}: damaged"
        )
    bad = np.zeros((nints, nchans), dtype=np.bool_)
    for i in np.flatnonzero(counts):
        count = int(counts[i])
        chans = reader.indices(count, nchans, f"the channels of interval {i}") if count < nchans else slice(None)
        bad[i, chans] = True
    if reader.at != len(data):
        raise reader.error(f"{len(data) - reader.at} bytes too many after byte {reader.at}: damaged, or something else")
    channels = np.zeros(nchans, dtype=np.bool_)
    channels[zapped] = True
    bad |= channels
    bad[intervals] = True
    return PrestoMask(
        path,
        mjd,
        dtint / ptsperint,
        lofreq,
        dfreq,
        ptsperint,
        channels[::-1].copy(),
        np.ascontiguousarray(bad[:, ::-1]),
    )
