"""Open an observation by what is in the files, not by their suffix; several files as one."""

import itertools
import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from pulsar.config.model import InputConfig
from pulsar.constants import DAY
from pulsar.data.files import check_file
from pulsar.data.observation import Gap, InputFile, Observation
from pulsar.errors import DataError, refused
from pulsar.io.base import as_type, channel_mean, check_header, merge_gaps, parse_name, stretches
from pulsar.io.fbh5 import Fbh5Reader
from pulsar.io.hdf5 import MAGIC
from pulsar.io.psrfits import PsrfitsReader
from pulsar.io.series import PrestoReader, SeriesSet, TimReader, is_series, is_set
from pulsar.io.sigproc import SigprocReader, is_sigproc
from pulsar_kernels.arrays import Array, Floats

# Files kept open; of more, each thread opens the one that it reads.
MOST_OPEN = 64
# How packed files begin, and what unpacks them.
PACKED = {b"\x1f\x8b": "gunzip", b"\xfd7zXZ\0": "unxz", b"\x28\xb5\x2f\xfd": "unzstd", b"BZh": "bunzip2"}
READABLE = "SIGPROC (.fil, .tim), PSRFITS, PRESTO .dat with its .inf, or FBH5"


def open_observation(*paths: str | os.PathLike[str], config: InputConfig = InputConfig()) -> Observation:
    """Open one or several files as one observation.

    Parameters
    ----------
    *paths : path
        SIGPROC filterbank or time series, PSRFITS search mode, PRESTO `.dat` (or its `.inf`), FBH5. Several files
        are joined by their start times, in whatever order they are given; series of different DMs are one observation
        with those trials (`pulsar.io.series.SeriesSet`).
    config : InputConfig, optional
        Overrides of the headers.

    Returns
    -------
    Observation
        An `Observation` (`pulsar.data.observation`).

    Raises
    ------
    DataError
        A file is missing, empty, damaged or of an unknown kind, or the files do not belong together.
    """
    if not paths:
        raise DataError("no input file is given: name one or several files of one observation")
    readers: list[Observation] = []
    with ExitStack() as opened:
        for path in dict.fromkeys(_samples_of(Path(p)) for p in paths):
            reader = opened.enter_context(_open_one(path, config))
            readers.append(reader)
            check_header(path, reader.header)
            if len(paths) > MOST_OPEN:
                reader.park()
                # Some network file systems number a file anew when it is opened again.
                reader.files = tuple(replace(file, inode=0) for file in reader.files)
            changes = config.model_dump(include={"ra_deg", "dec_deg", "tsamp"}, exclude_none=True)
            header = reader.header.with_(**changes)
            # SIGPROC files of FAST often lack ibeam as well.
            reader.header = header if header.beam is not None else header.with_(beam=parse_name(path).beam)
        obs = readers[0]
        if len(readers) > 1:
            obs = SeriesSet(readers) if is_set(readers) else join(readers, tsamp_given=config.tsamp is not None)
        opened.pop_all()
    return obs


def _samples_of(path: Path) -> Path:
    """The ``.dat`` of an ``.inf`` that has one beside it."""
    samples = path.with_suffix(".dat")
    return samples if path.suffix == ".inf" and samples.exists() else path


def _open_one(path: Path, config: InputConfig) -> Observation:
    if path.is_dir():
        raise DataError(f"{path}: is a folder: name the files in it, for example {path}/*.fits")
    check_file(path, "an observation")
    with refused(DataError, f"{path}: cannot be opened", "check its permissions"), path.open("rb") as stream:
        head = stream.read(512)
    if path.suffix == ".dat":
        return PrestoReader(path)
    if not head:
        raise DataError(f"{path}: the file is empty (0 bytes): copy it again")
    if is_sigproc(head):
        if is_series(path):
            return TimReader(path, signed=config.signed)
        return SigprocReader(path, signed=config.signed)
    if head.startswith(b"SIMPLE  ="):
        if path.suffix == ".fz":
            raise DataError(f"{path}: is packed: unpack it with `funpack {path}` and give the file that this makes")
        return PsrfitsReader(path)
    if head.startswith(MAGIC):
        return Fbh5Reader(path)
    if head.lstrip().startswith(b"Data file name without suffix"):
        raise DataError(
            f"{path}: this is a PRESTO .inf file without its samples: {path.with_suffix('.dat')} is missing"
        )
    for magic, tool in PACKED.items():
        if head.startswith(magic):
            raise DataError(f"{path}: is packed: unpack it with `{tool} {path}` and give the file that this makes")
    if b"HEADER_START"[: len(head)] in head[:16] or head[:4] == b"\x0c\0\0\0"[: len(head[:4])]:
        raise DataError(
            f"{path}: the SIGPROC header breaks off within the first {len(head)} bytes: copy the file again"
        )
    kind = "looks like a text file" if _is_text(head) else f"starts with {head[:8]!r}"
    raise DataError(f"{path}: {kind}, not a format that can be read: expected {READABLE}")


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in (9, 10, 13) for byte in head)


# Keys that must be the same, with the relative tolerance for numbers.
SAME: dict[str, float] = {
    **dict.fromkeys(("format", "is_series", "nchans", "nbits", "nifs", "pol_type", "beam"), 0.0),
    "tsamp": 1e-6,
    "fch1": 1e-7,
    "foff": 1e-4,
    "dm": 1e-6,
}


class JoinedObservation(Observation):
    """Files of one observation one after the other; what is in none of them is filled with the channel means.

    Parameters
    ----------
    readers : sequence of Observation
        In order of time.
    starts : sequence of int
        Sample at which each starts.
    """

    def __init__(self, readers: Sequence[Observation], starts: Sequence[int], problems: Sequence[str]) -> None:
        self._readers = list(readers)
        self._starts = np.array(starts, dtype=np.int64)
        self._lengths = np.array([reader.header.nsamps for reader in readers], dtype=np.int64)
        #: Of the last files that were asked for.
        self._means = lru_cache(maxsize=16)(self._mean)
        types = {reader.dtype for reader in readers}
        self.dtype = types.pop() if len(types) == 1 else np.dtype(np.float32)
        ends = (self._starts + self._lengths).tolist()
        self.header = readers[0].header.with_(nsamps=ends[-1])
        files: list[InputFile] = []
        gaps: list[Gap] = []
        notes: list[str] = list(problems)
        for i, reader in enumerate(readers):
            at = int(starts[i])
            if i and at > ends[i - 1]:
                before, after = readers[i - 1].files[-1].path.name, reader.files[0].path.name
                gaps.append(Gap(ends[i - 1], at - ends[i - 1], f"between {before} and {after}"))
            files += [replace(f, start=at + f.start) for f in reader.files]
            gaps += [Gap(at + gap.start, gap.nsamps, gap.reason) for gap in reader.gaps]
            notes += [f"{reader.files[0].path.name}: {problem}" for problem in reader.problems]
        self.files = tuple(files)
        self.gaps = merge_gaps(gaps)
        self.problems = tuple(notes)
        self.remarks = tuple(f"{r.files[0].path.name}: {remark}" for r in readers for remark in r.remarks)
        self.chan_ok = np.logical_or.reduce([reader.chan_ok for reader in readers])
        # Channels that are dead in a file but alive in another.
        self._patches = [np.flatnonzero(self.chan_ok & ~reader.chan_ok) for reader in readers]

    def _fill(self, start: int, out: Array) -> None:
        for i, inside, span in stretches(self._starts, self._lengths, start, out.shape[1]):
            part, reader, lacking = out[:, span], self._readers[i], self._patches[i]
            if inside is None:
                part[:] = self._means(i)[:, None]
                continue
            if reader.dtype == self.dtype:
                reader.read_into(inside, part)
            else:
                part[:] = reader.read(inside, part.shape[1]).data
            if lacking.size:
                part[lacking] = self._means(i)[lacking, None]

    def _mean(self, i: int) -> Array:
        """Channel means at the end of file `i`; of the nearest file that has the channel where that one has not."""
        mean = self._end_mean(self._readers[i])
        lacking = self._patches[i]
        for near in sorted(range(len(self._readers)), key=lambda j: abs(j - i))[1:]:
            have = lacking[self._readers[near].chan_ok[lacking]]
            if have.size:
                mean[have] = self._end_mean(self._readers[near])[have]
                lacking = np.setdiff1d(lacking, have)
        return as_type(mean, self.dtype)

    @staticmethod
    def _end_mean(reader: Observation) -> Floats:
        stop = reader.header.nsamps
        return channel_mean(reader, max(0, stop - 4096), stop)


def join(readers: Sequence[Observation], *, tsamp_given: bool = False) -> Observation:
    """Join files in any order into one observation.

    A file that starts within half a sample of the end of the one before continues it.

    Parameters
    ----------
    readers : sequence of Observation
        Of the same kind.
    tsamp_given : bool
        The sampling time is the user's: not checked against the times of the files.

    Raises
    ------
    DataError
        Headers differ, times are unknown, files overlap or lie too far apart.
    """
    first = readers[0]
    for reader in readers[1:]:
        _check_same(first, reader)
    problems: list[str] = []
    psrfits = [reader for reader in readers if isinstance(reader, PsrfitsReader)]
    if psrfits:
        problems += settle_times(psrfits)
    for reader in readers:
        if not math.isfinite(reader.header.tstart):
            raise DataError(
                f"{_name(reader)}: has no start time, so it cannot be joined with other files: search it on its own"
            )
    day = math.floor(first.header.tstart)
    ordered = sorted(readers, key=lambda reader: _seconds(reader, day))
    seconds = [_seconds(reader, day) for reader in ordered]
    if psrfits and not tsamp_given:
        problems += _check_tsamp(ordered, seconds)
    problems += _whole_seconds(ordered, seconds)
    tsamp = ordered[0].header.tsamp
    longest = sum(reader.header.nsamps for reader in ordered)
    starts = [0]
    for i in range(1, len(ordered)):
        before, after = ordered[i - 1], ordered[i]
        lag = (seconds[i] - seconds[i - 1]) / tsamp - before.header.nsamps
        if lag < -0.5 - 1e-3:
            raise DataError(
                f"{_name(after)}: starts {-lag * tsamp:g} s before {_name(before)} ends: they overlap, or are not of "
                "one observation and beam; give only one of them, or set input.tsamp if the sampling time is wrong"
            )
        # An MJD in a double is good to a microsecond: that much over half a sample is still half a sample.
        lost = 0 if lag <= 0.5 + 1e-3 else round(lag)
        if lost > max(longest, 1 << 16):
            raise DataError(
                f"{_name(after)}: starts {lost * tsamp:g} s after {_name(before)} ends, longer than all data: they "
                "are not one observation; search them one by one"
            )
        if lost:
            problems.append(f"{lost} samples ({lost * tsamp:g} s) are missing before {_name(after)}")
        starts.append(starts[-1] + before.header.nsamps + lost)
    return JoinedObservation(ordered, starts, problems)


def settle_times(readers: Sequence[PsrfitsReader]) -> list[str]:
    """Find which convention of time the files follow, and set the start of each.

    A: STT_* are the same in all files, and OFFS_SUB (or NSUBOFFS) grows. B: STT_* advance from file to file; where
    OFFS_SUB or NSUBOFFS grow as well, they would count the same time twice and only their remainder is used.
    """
    day = readers[0].stt_day
    stt = np.array([(r.stt_day - day) * DAY + r.stt_sec for r in readers])
    trow = np.array([r._nsblk * r.header.tsamp for r in readers])
    grown = np.array([r.nsuboffs for r in readers]) * trow
    offsets = np.array([g if r.offs_start is None else r.offs_start for r, g in zip(readers, grown, strict=True)])
    half = 0.5 * trow.min()
    problems = []
    if np.ptp(stt) < half:
        if np.ptp(offsets) < half < np.ptp(grown):
            # OFFS_SUB starts anew in every file: NSUBOFFS places them.
            offsets = offsets + grown
    else:
        order = np.lexsort((offsets, stt))
        if _counted_twice(stt[order] - stt[order[0]], offsets[order] - offsets[order[0]], half):
            offsets = offsets - np.rint(offsets / trow) * trow
            problems = ["STT_* and OFFS_SUB both advance from file to file: STT_* are used"]
    for reader, offset in zip(readers, offsets, strict=True):
        reader.set_start(float(offset))
    return problems


def _counted_twice(stt: Floats, offsets: Floats, half: float) -> bool:
    """True if OFFS_SUB or NSUBOFFS grow with STT_* [s], files in order of time, both from the first file on.

    Where TBIN is k times too small they grow k times too slowly; of two files that might be rows lost at the start.
    `half` a row is what they may differ by.
    """
    span, grown = float(stt[-1]), float(offsets[-1])
    if grown <= half:
        return False
    if abs(span - grown) < 0.1 * span:
        return True
    k = round(span / grown)
    return len(stt) > 2 and k > 1 and bool(np.all(np.abs(k * offsets - stt) < half))


def _check_tsamp(ordered: Sequence[Observation], seconds: Sequence[float]) -> list[str]:
    """Files whose starts are k times as far apart as their numbers say: the sampling time is k times larger."""
    numbers = [r.sequence if isinstance(r, PsrfitsReader) else None for r in ordered]
    known = [n for n in numbers if n is not None]
    steps = [b - a for a, b in itertools.pairwise(known)]
    if len(known) != len(numbers) or any(step < 1 for step in steps):
        return []
    # Of a file that is missing the length is not known, unless all but the last are alike.
    lengths = [reader.header.nsamps for reader in ordered[:-1]]
    if max(steps) > 1 and len(set(lengths)) > 1:
        return []
    tsamp = ordered[0].header.tsamp
    ratios = [(seconds[i + 1] - seconds[i]) / (n * steps[i] * tsamp) for i, n in enumerate(lengths)]
    k = round(ratios[0])
    if k < 2 or any(abs(ratio / k - 1.0) > 1e-3 for ratio in ratios):
        return []
    for reader in ordered:
        reader.header = reader.header.with_(tsamp=tsamp * k)
    return [
        f"TBIN is {tsamp * 1e6:g} µs, but the files start {k} times as far apart as their numbers say: "
        f"{tsamp * k * 1e6:g} µs is used; set input.tsamp to override"
    ]


def _whole_seconds(ordered: Sequence[Observation], seconds: list[float]) -> list[str]:
    """Bring back files that are a second late: STT_OFFS is 0.99..., meant for the second that STT_SMJD has reached.

    `seconds` is changed too. That is so where a file then continues the one before (or, the first, is continued by the
    next) within half a sample, and does not otherwise.
    """
    late = []
    for i, reader in enumerate(ordered):
        if len(ordered) < 2 or not isinstance(reader, PsrfitsReader) or reader.stt_offs < 0.99:
            continue
        a, b = max(i - 1, 0), max(i, 1)
        header = ordered[a].header
        off = seconds[b] - seconds[a] - header.tobs
        if abs(abs(off) - 1.0) <= 0.5 * header.tsamp and (off > 0) == (i > 0):
            reader.set_start(reader.start_sec - reader.stt_sec - 1.0)
            seconds[i] -= 1.0
            late.append(reader.files[0].path.name)
    if not late:
        return []
    return [f"STT_OFFS is just below 1 for a whole second: a second is taken from the start of {', '.join(late)}"]


def _seconds(reader: Observation, day: int) -> float:
    """Start of a reader in seconds from a day on, more precise than an MJD where the file is."""
    if isinstance(reader, PsrfitsReader):
        return (reader.stt_day - day) * DAY + reader.start_sec
    return (reader.header.tstart - day) * DAY


def _name(reader: Observation) -> str:
    return str(reader.files[0].path)


def _check_same(first: Observation, reader: Observation) -> None:
    differences = []
    for key, tolerance in SAME.items():
        a, b = getattr(first.header, key), getattr(reader.header, key)
        if a != b and not (tolerance and math.isclose(a, b, rel_tol=tolerance)):
            differences.append(f"{key} is {a} in the first, {b} in the second")
    if first.header.freq_table not in (None, reader.header.freq_table):
        differences.append("their frequency tables differ")
    if differences:
        raise DataError(
            f"{_name(first)} and {_name(reader)} cannot be one observation: {differences[0]}; search them one by one"
        )
