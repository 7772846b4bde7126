"""Mask files: what ``pulsar rfi`` has measured and decided, for later runs on the same observation.

An HDF5 file, written whole or not at all: ``/observation`` (the header that tells which observation it belongs to),
``/rfi`` (the mask, and the lines of periodic interference) and ``/provenance`` as in the product of a search, which is
therefore a mask file too, and ``/statistics`` (what the mask was made from).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.cleaning.birdies import Birdie
from pulsar.cleaning.mask import CAUSES, MASK_ARRAYS, Mask
from pulsar.cleaning.statistics import BlockStatistics, block_edges
from pulsar.constants import DAY
from pulsar.data.files import Numbers, read_bytes
from pulsar.data.header import HIGHEST_FREQ, LATEST_MJD, LONGEST_TSAMP, MOST_CHANNELS, SHORTEST_TSAMP, Header
from pulsar.data.observation import Observation
from pulsar.errors import ConfigError, DataError
from pulsar.io.hdf5 import MAGIC, Hdf5, first_bytes
from pulsar.io.product import schema
from pulsar.io.product.parts import check_shapes, stored_rows
from pulsar.io.product.reader import open_file, read_header
from pulsar.io.product.writer import FileWriter
from pulsar_kernels.arrays import Bools, Ints, Uint16s

FORMAT: Final = "pulsar-mask"
#: major.minor: a minor step only adds; a newer major version is refused.
FORMAT_VERSION: Final = "2.0"

GROUPS: Final[dict[str, str]] = {
    "observation": "what was observed: the joined header as attributes, the files, the gaps between them",
    "rfi": "the mask, and the lines of periodic interference",
    "statistics": "what was measured in every block of every channel",
    "provenance": "how this file was made: configuration, inputs, versions, times",
}

#: Field of BlockStatistics -> (stored type, unit, description), but for those in STATISTICS_SCALARS, attributes.
STATISTICS_FIELDS: Final[dict[str, tuple[str, str, str]]] = {
    "edges": ("i8", "", "edges of the blocks in samples, shape (nblocks + 1,)"),
    "mean": ("f4", "", "mean of the finite samples, levels of the file, shape (nblocks, nchans)"),
    "std": ("f4", "", "standard deviation, levels of the file, shape (nblocks, nchans)"),
    "saturated": ("f4", "", "fraction of samples at the top code, shape (nblocks, nchans)"),
    "valid": ("f4", "", "fraction of samples that are finite and in a file, shape (nblocks, nchans)"),
    "skewness": ("f4", "", "third standardised moment, shape (nblocks, nchans)"),
    "kurtosis": ("f4", "", "fourth standardised moment less 3, shape (nblocks, nchans)"),
    "fourier": ("f4", "", "strongest power in the block over the mean, less that of noise, shape (nblocks, nchans)"),
    "bins": ("i4", "", "bin of that power, of bin_width Hz each, shape (nblocks, nchans)"),
    "excess": ("f4", "", "variance of sums over about 1 ms over that of white noise, less 1, shape (nblocks, nchans)"),
    "impulses": ("i8", "", "first sample of impulses at DM 0 and the one after the last, shape (n, 2)"),
}
#: What is stored in fewer bits than it has in memory.
AS_IN_MEMORY: Final = {"mean": "f8", "std": "f8", "valid": "f8"}
STATISTICS_SCALARS: Final[tuple[str, ...]] = ("block_nsamps", "bin_width", "npoints")


def refuse(path: Path, checks: Sequence[tuple[str, Any, Any, bool]]) -> None:
    """Raise if any of the checks (name, value in the mask, value in the observation, whether they agree) has failed.

    Raises
    ------
    ConfigError
    """

    def text(value: Any) -> str:
        return f"{value:.12g}" if isinstance(value, float) else str(value)

    wrong = [f"{name} {text(mask)} in the mask, {text(data)} in the data" for name, mask, data, ok in checks if not ok]
    if wrong:
        raise ConfigError(
            f"{path}: the mask of another observation: {'; '.join(wrong)}. Make one for these files with `pulsar rfi`"
        )


@dataclass(frozen=True)
class PrestoMask:
    """A mask of rfifind."""

    path: Path
    tstart: float  # MJD of the first sample
    tsamp: float  # [s]
    #: lofreq, chan_width: centre of the lowest channel and width of a channel [MHz].
    lofreq: float
    chan_width: float
    ptsperint: int  # samples in an interval
    channels: Bools  # (nchans,): masked throughout; frequency descending
    bad: Bools  # (nints, nchans): masked in an interval, what is masked throughout included; frequency descending

    def check(self, header: Header) -> None:
        """Refuse the mask of another observation.

        Raises
        ------
        ConfigError
            Naming what differs, with both values.
        """
        nints, nchans = self.bad.shape
        expected = -(-header.nsamps // self.ptsperint)
        lowest, width = float(header.freqs[-1]), header.chan_width
        refuse(
            self.path,
            [
                ("channels", nchans, header.nchans, nchans == header.nchans),
                ("lowest channel [MHz]", self.lofreq, lowest, abs(self.lofreq - lowest) < 0.1 * width),
                # Over the whole band no more than a tenth of a channel.
                ("channel width [MHz]", self.chan_width, width, abs(self.chan_width - width) * nchans < 0.1 * width),
                ("sampling time [s]", self.tsamp, header.tsamp, abs(self.tsamp / header.tsamp - 1.0) < 1e-6),
                # Both programs may take the start from different keys of a header.
                ("start [MJD]", self.tstart, header.tstart, abs(self.tstart - header.tstart) * DAY < 1.0),
                # rfifind may count samples that pad the last row.
                (f"intervals of {self.ptsperint} samples", nints, expected, expected <= nints <= expected + 1),
            ],
        )

    def blocks(self, edges: Ints) -> Bools:
        """Channel-blocks that are masked: those that any masked interval overlaps.

        `edges`: shape (nblocks + 1,): edges of the blocks in samples.

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

    def block_length(self, length: float, nsamps: int) -> float:
        """Length of statistics blocks [s] near `length` of which a whole number makes an interval, where there is one.

        Blocks that straddle intervals lose more than what is masked.

        `length`: [s]. `nsamps`: of the observation: its number of blocks is bounded.
        """
        usual = int(block_edges(nsamps, self.tsamp, length, self.bad.shape[1])[1])
        whole = np.arange(max(1, usual // 2), 2 * usual + 1)
        divisors = whole[self.ptsperint % whole == 0]
        for n in divisors[np.argsort(np.abs(np.log(divisors / usual)), kind="stable")]:
            if block_edges(nsamps, self.tsamp, n * self.tsamp, self.bad.shape[1])[1] == n:
                return float(n * self.tsamp)
        return length


def _indices(file: Numbers, count: int, limit: int, part: str) -> Ints:
    """So many numbers from 0 to below a limit."""
    start = file.at
    values = file.array((count,), part, "i4").astype(np.int64)
    wrong = np.flatnonzero((values < 0) | (values >= limit))
    if wrong.size:
        fault = f"{values[wrong[0]]} in the {part}, expected 0 to {limit - 1}: damaged"
        raise file.error(start + 4 * int(wrong[0]), fault)
    return values


def _listed(file: Numbers, limit: int, part: str) -> Ints:
    """Numbers from 0 to below a limit, and before them how many there are."""
    (count,) = _indices(file, 1, limit + 1, f"number of {part}")
    return _indices(file, int(count), limit, part)


def read_presto_mask(path: Path | str) -> PrestoMask:
    """Read a mask of rfifind (``*_rfifind.mask``).

    Binary, in the byte order of the machine that wrote it (little-endian on all that are in use), as its reader takes
    it:

    - 6 doubles: the sigma limits in time and in frequency, MJD of the first sample, length of an interval [s], centre
      of the lowest channel and channel width [MHz];
    - 3 int32: channels, intervals, samples an interval;
    - int32 count and as many int32: channels that are masked throughout;
    - int32 count and as many int32: intervals that are masked in all channels;
    - for every interval int32, how many channels are masked in it; then for every interval their numbers, unless there
      are none or all.

    Channels ascend in frequency there, and descend here. The last interval may reach beyond the data.

    Raises
    ------
    DataError
        The file cannot be read, is something else, truncated or damaged: with the byte.
    """
    path = Path(path)
    data = read_bytes(path, "a mask", most=1 << 32)
    file = Numbers(path, data, about="as a mask of PRESTO's rfifind: ")
    _, _, mjd, dtint, lofreq, dfreq, nchans, nints, ptsperint = file.take("6d3i", "header")
    sane = (
        np.isfinite([mjd, dtint, lofreq, dfreq]).all()
        and SHORTEST_TSAMP * ptsperint <= dtint <= LONGEST_TSAMP * ptsperint
        and 0 < dfreq <= HIGHEST_FREQ
        and abs(lofreq) <= HIGHEST_FREQ
        and abs(mjd) <= LATEST_MJD
        and 1 <= nchans <= MOST_CHANNELS
        and 1 <= nints <= len(data) // 4
        # A gigabyte: ten hours of FAST in blocks of a third of a second.
        and nints * nchans <= 1 << 30
        and ptsperint >= 1
    )
    if not sane:
        raise file.error(
            0,
            f"the header makes no sense (MJD {mjd:.6g}, intervals of {dtint:.6g} s and {ptsperint} samples, {nchans} "
            f"channels of {dfreq:.6g} MHz from {lofreq:.6g} MHz on, {nints} intervals): not such a file. Expected a "
            "mask of `pulsar rfi` (HDF5) or the .mask of rfifind",
        )
    zapped = _listed(file, nchans, "masked channels")
    intervals = _listed(file, nints, "masked intervals")
    counts = _indices(file, nints, nchans + 1, "numbers of masked channels")
    bad = np.zeros((nints, nchans), dtype=np.bool_)
    for i in np.flatnonzero(counts):
        count = int(counts[i])
        chans = _indices(file, count, nchans, f"channels of interval {i}") if count < nchans else slice(None)
        bad[i, chans] = True
    if file.at != len(data):
        raise file.error(file.at, f"{len(data) - file.at} bytes too many: damaged, or something else")
    channels = np.zeros(nchans, dtype=np.bool_)
    channels[zapped] = True
    bad |= channels
    bad[intervals] = True
    descending = channels[::-1].copy(), np.ascontiguousarray(bad[:, ::-1])
    return PrestoMask(path, mjd, dtint / ptsperint, lofreq, dfreq, ptsperint, *descending)


@dataclass(frozen=True)
class MaskFile:
    """A mask that was read from a file."""

    path: Path
    header: Header  # of the observation that it belongs to
    mask: Mask
    birdies: tuple[Birdie, ...]  # periodic interference that was known or learnt, topocentric
    #: What the mask was made from, in single precision; None if they were not asked for or not stored.
    stats: BlockStatistics | None
    config: str  # the configuration it was made with, TOML


class _MaskWriter(FileWriter):
    format = FORMAT
    format_version = FORMAT_VERSION
    groups = GROUPS

    def statistics(self, stats: BlockStatistics) -> None:
        for name, (dtype, unit, description) in STATISTICS_FIELDS.items():
            self._array(f"statistics/{name}", np.asarray(getattr(stats, name), dtype=dtype), unit, description)
        self._file["statistics"].attrs.update({name: getattr(stats, name) for name in STATISTICS_SCALARS})


def write_mask(
    path: Path | str,
    obs: Observation,
    mask: Mask,
    stats: BlockStatistics | None,
    birdies: Sequence[Birdie] = (),
    *,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a mask file, whole or not at all.

    Parameters
    ----------
    obs : Observation
        What the mask belongs to.
    stats : BlockStatistics or None
        What it was made from.
    provenance : mapping, optional
        As `Provenance.record` gives it.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    ConfigError
        The file exists, or its folder cannot be written.
    """
    path = Path(path)
    with _MaskWriter(path, overwrite=overwrite) as writer:
        writer.observation(obs.header, obs.files, obs.gaps, obs.problems)
        writer.rfi(mask.stored(obs.header.freqs), [(b.freq, b.width, b.reason) for b in birdies])
        if stats is not None:
            writer.statistics(stats)
        writer.provenance(provenance or {})
    return path


def read_mask(path: Path | str, *, statistics: bool = True, header: Header | None = None) -> MaskFile:
    """Read a mask file.

    Parameters
    ----------
    statistics : bool
        Read the statistics too, which take most of the file.
    header : Header, optional
        Of the observation that it is for, which tells how large it may be.

    Raises
    ------
    ConfigError
        It belongs to another observation.
    DataError
        The file is missing, is something else, of a newer major version, or damaged.
    """
    path = Path(path)
    versions = {FORMAT: FORMAT_VERSION, schema.FORMAT: schema.FORMAT_VERSION}
    with open_file(path, versions, "a mask of `pulsar rfi`, or a product of `pulsar search`") as file:
        attrs = file.attributes()
        if attrs["format"] == schema.FORMAT:
            _check_product(file)
        mask_header = read_header(file)
        if header is not None:
            check_same(path, mask_header, header)
            # A block of 0.25 s of a FAST beam takes 19 bytes of each channel, of 5,086 samples.
            file.room += header.nsamps * header.nchans * header.nbits // 8
        values = _read(file, "rfi", {name: schema.RFI_ARRAYS[name] for name in MASK_ARRAYS.values()})
        mask = Mask(**{field: values[name] for field, name in MASK_ARRAYS.items()} | {"chan_ok": ~values["chan_mask"]})
        mask = replace(mask, why=_causes_of_now(mask.why, file.attribute("rfi", "causes", CAUSES, tuple)))
        _check(file, mask_header, mask, values)
        stats = _statistics(file) if statistics and file.has("statistics/mean") else None
        rows = stored_rows(file, "rfi/birdies", schema.BIRDIE_COLUMNS)
        if not set(rows.dtype.names or ()) >= {"freq", "width", "reason"}:
            raise file.damaged("rfi/birdies is no table of freq, width and reason")
        birdies = tuple(Birdie(float(r["freq"]), float(r["width"]), str(r["reason"])) for r in rows)
        if not all(math.isfinite(b.freq) and 0.0 <= b.width < math.inf for b in birdies):
            raise file.damaged("rfi/birdies holds lines without a frequency or width")
        config = file.text("provenance/config") if file.has("provenance/config") else ""
    return MaskFile(path, mask_header, mask, birdies, stats, config)


def _statistics(file: Hdf5) -> BlockStatistics:
    measured = _read(file, "statistics", STATISTICS_FIELDS)
    shapes = {name: (measured[name].shape, about) for name, (_, _, about) in STATISTICS_FIELDS.items()}
    check_shapes(file, "statistics", shapes)
    scalars = {name: file.attribute("statistics", name, None, (int, float)) for name in STATISTICS_SCALARS}
    return BlockStatistics(**measured, **scalars)


def _check_product(file: Hdf5) -> None:
    """Refuse a product of a search that holds no mask."""
    path = file.path
    if file.has("observations") and len(file.array("observations", "V", (None,))) > 1:
        raise DataError(f"{path}: the product of several observations holds no mask: name the product of one of them")
    if not file.has("rfi/edges"):
        raise DataError(f"{path}: this product holds no mask: make one with `pulsar rfi`")


def _causes_of_now(why: Uint16s, stored: Sequence[str]) -> Uint16s:
    """The bits in the order of CAUSES, whatever was the order of the version that has stored them."""
    if tuple(stored) == CAUSES:
        return why
    moved = np.zeros_like(why)
    for bit, cause in enumerate(stored):
        if cause in CAUSES:
            moved |= ((why >> np.uint16(bit)) & np.uint16(1)) << np.uint16(CAUSES.index(cause))
    return moved


def _check(file: Hdf5, header: Header, mask: Mask, values: Mapping[str, Any]) -> None:
    """Refuse arrays that do not go with one another."""
    together = ("edges", "chan_mask", "chan_reasons", "mask", "baseline", "noise", "clipped")
    shapes = {name: (np.shape(values[name]), schema.RFI_ARRAYS[name][2]) for name in together}
    check_shapes(file, "rfi", shapes, nchans=header.nchans)
    if mask.edges[0] != 0 or mask.edges[-1] != header.nsamps or (np.diff(mask.edges) <= 0).any():
        raise file.damaged(f"rfi/edges do not ascend from 0 to the {header.nsamps} samples of the observation")
    if (np.diff(mask.clipped, axis=1) <= 0).any() or (mask.clipped[1:, 0] < mask.clipped[:-1, 1]).any():
        raise file.damaged("rfi/clipped holds no ascending stretches of samples")
    if mask.wave.size and (mask.wave.shape != (2,) or not mask.wave[0] > 0 or mask.wave_step.shape != mask.bad.shape):
        raise file.damaged("rfi/wave and rfi/wave_step are no noise diode's period, edge and steps")


def _read(file: Hdf5, group: str, table: Mapping[str, tuple[str, str, str]]) -> dict[str, Any]:
    return {
        name: file.texts(f"{group}/{name}")
        if dtype == "U"
        else file.array(f"{group}/{name}", "fiub", dtype=np.dtype(AS_IN_MEMORY.get(name, dtype)))
        for name, (dtype, _, _) in table.items()
    }


def read_given(path: Path | str, header: Header, *, statistics: bool = False) -> MaskFile | PrestoMask:
    """Read a mask for an observation, ours or PRESTO's: the content tells.

    `header`: of the observation that it is for. `statistics`: read the statistics too, where the file has them.

    Raises
    ------
    ConfigError
        It belongs to another observation.
    DataError
        The file is missing, damaged, or no mask.
    """
    path = Path(path)
    if path.exists() and first_bytes(path, "a mask") != MAGIC:
        presto = read_presto_mask(path)
        presto.check(header)
        return presto
    return read_mask(path, statistics=statistics, header=header)


def check_same(path: Path, stored: Header, header: Header) -> None:
    """Refuse a mask of another observation.

    Raises
    ------
    ConfigError
        Naming what differs, with both values.
    """
    # What a double precision MJD cannot tell, with room.
    late, slack = abs(stored.tstart - header.tstart) * DAY, max(0.5 * header.tsamp, 1e-5)
    checks: list[tuple[str, Any, Any, bool]] = [
        ("channels", stored.nchans, header.nchans, stored.nchans == header.nchans),
        ("samples", stored.nsamps, header.nsamps, stored.nsamps == header.nsamps),
        ("sampling time [s]", stored.tsamp, header.tsamp, bool(np.isclose(stored.tsamp, header.tsamp, rtol=1e-9))),
        ("start [MJD]", stored.tstart, header.tstart, late < slack),
        ("beam", stored.beam, header.beam, None in (stored.beam, header.beam) or stored.beam == header.beam),
    ]
    if stored.nchans == header.nchans:
        off = np.abs(stored.freqs - header.freqs)
        far = int(off.argmax())
        near = bool(off[far] < 0.01 * header.chan_width)
        checks.append((f"frequency of channel {far} [MHz]", stored.freqs[far], header.freqs[far], near))
    refuse(path, checks)


def without(mask: Mask, channels: Bools, reason: str) -> Mask:
    """The mask with more channels left out.

    `channels`: shape (nchans,).
    """
    more = channels & mask.chan_ok
    reasons = tuple(reason if new else old for new, old in zip(more, mask.reasons, strict=True))
    return replace(mask, chan_ok=mask.chan_ok & ~more, reasons=reasons, bad=mask.bad | more[None, :])
