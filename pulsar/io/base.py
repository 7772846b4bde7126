"""Shared by readers and writers: range checks, blocks, pieces of files, gaps, depths, names; whole files or none."""

import contextlib
import io
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from pulsar.data.files import Closing, Writing
from pulsar.data.header import HIGHEST_FREQ, LATEST_MJD, MOST_CHANNELS, Header, is_tsamp
from pulsar.data.observation import Gap, Observation
from pulsar.data.series import Space
from pulsar.data.unfinished import Unfinished
from pulsar.errors import DataError, PulsarError, refused
from pulsar_kernels.arrays import Array, Floats, Ints, Uint8s

#: Bits of a sample.
DEPTHS: Final = (1, 2, 4, 8, 16, 32)
#: Parts of the names of FAST's files.
_NAME = re.compile(r"^(?P<source>.+?)_(?P<mode>[^_]+)-M(?P<beam>\d\d)(?P<rest>.*)$")
_SEQUENCE = re.compile(r"_(\d{4,})(?=\.|$|-)")
_LINE = re.compile(r"_[WNF]_\d{3,}|_[WNF]-M\d\d|-M\d\d_[WNF](?=[_.])")


class _Descriptor:
    """An open file that closes when nobody holds it any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with refused(DataError, f"{path}: cannot be opened", "check its name and permissions"):
            self.number = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # The function is held here: when Python ends the module's names may be gone before its objects.
        if "number" in self.__dict__:
            close(self.__dict__.pop("number"))


_parked = threading.local()


class RawFile(Closing):
    """A file read by pread into buffers of the calling thread: no shared position, no mapped pages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._space = Space()
        self._closed = False
        self._file: _Descriptor | None = _Descriptor(path)
        self.state = os.fstat(self._file.number)
        self.size = self.state.st_size

    def read(self, offset: int, nbytes: int, name: str = "raw") -> Uint8s:
        """`nbytes` bytes from `offset` on; valid until this thread's next call with the same buffer `name`."""
        file = self._descriptor()
        # At a cache line, as the squares are that are transposed.
        raw = self._space.array(name, (nbytes,), np.uint8)
        view = raw.data
        nread = 0
        while nread < nbytes:
            try:
                got = os.preadv(file.number, [view[nread:]], offset + nread)
            except OSError as error:
                raise DataError(
                    f"{self.path}: reading byte {offset + nread} failed: {error.strerror}; "
                    "the disk or the network share may be at fault: copy the file and try again"
                ) from error
            if got == 0:
                # Cut before the place that is read, perhaps.
                end = min(os.fstat(file.number).st_size, offset + nread)
                raise DataError(
                    f"{self.path}: ends at byte {end} where {offset + nbytes - end} more were expected: "
                    "it was cut while it was being read"
                )
            nread += got
        return raw

    def park(self) -> None:
        """Keep no descriptor open: from now on each thread holds one, of the parked file that it reads.

        An hour of FAST data is more files than a process may have open.
        """
        self._file = None

    def _descriptor(self) -> _Descriptor:
        if self._closed:
            raise ValueError(f"{self.path}: the observation is closed")
        if self._file is not None:
            return self._file
        current: _Descriptor | None = getattr(_parked, "current", None)
        if current is None or current.path != self.path:
            _parked.current = current = _Descriptor(self.path)
        return current

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._closed, self._file = True, None


def flat_view(out: Array) -> tuple[Array, int]:
    """All memory from the first to the last element of `out` as one row, and the stride of its rows in elements."""
    nchans, n = out.shape
    stride = out.strides[0] // out.itemsize
    if nchans > 1 and (out.strides[0] % out.itemsize or stride < n):
        raise ValueError("rows of the array overlap or run backwards")
    flat = np.lib.stride_tricks.as_strided(out, shape=((nchans - 1) * stride + n,), strides=(out.itemsize,))
    return flat, stride


def spectra_per_piece(spectrum_bytes: int) -> int:
    """Spectra to read at a time: whole tiles of 64 where a spectrum is not huge."""
    # The piece and its transposed copy stay in L2. Rather a whole tile than less, up to the larger size.
    n = max(1, (1 << 18) // spectrum_bytes, min(64, (1 << 22) // spectrum_bytes))
    return n if n < 64 else n - n % 64


def on_sky(ra_deg: float, dec_deg: float) -> tuple[float, float]:
    """A position [deg]; NaN, both, where it is none."""
    return (ra_deg, dec_deg) if 0.0 <= ra_deg < 360.0 and -90.0 <= dec_deg <= 90.0 else (math.nan, math.nan)


def quantise(data: Array, nbits: int, signed: bool = False) -> Array:
    """Round and clip to unsigned codes of `nbits` (int8 or int16 with `signed`); float32 for 32 bit."""
    if nbits == 32:
        return np.ascontiguousarray(data, dtype=np.float32)
    low, high = (-(1 << (nbits - 1)), (1 << (nbits - 1)) - 1) if signed else (0, (1 << nbits) - 1)
    kind = f"{'i' if signed else 'u'}{2 if nbits == 16 else 1}"
    if data.dtype.kind == "f":
        # NaN has no code: the lowest stands for it.
        data = np.rint(np.nan_to_num(data, nan=low, posinf=high, neginf=low))
    codes: Array = np.clip(data, low, high).astype(kind)
    return codes


def encoded(data: Array, nbits: int, *, signed: bool, big: bool) -> memoryview:
    """Samples as the bytes of a file, spectrum by spectrum.

    Parameters
    ----------
    data : ndarray, shape (npol, nchans, n)
    signed : bool
        Two's complement.
    big : bool
        The most significant byte or sample comes first.
    """
    codes = np.ascontiguousarray(np.moveaxis(quantise(data, nbits, signed), 2, 0))
    if nbits < 8:
        from pulsar_kernels.unpack import pack

        unsigned = codes.reshape(-1).view(np.uint8)
        codes = np.empty(codes.size * nbits // 8, dtype=np.uint8)
        pack(unsigned & np.uint8((1 << nbits) - 1) if signed else unsigned, nbits, not big, codes)
    codes = codes.astype(codes.dtype.newbyteorder(">" if big else "<"), copy=False)
    return codes.reshape(-1).view(np.uint8).data


def as_type(values: Floats, dtype: np.dtype[Any]) -> Array:
    """Round to the type of the samples; what is not finite becomes 0."""
    values = np.where(np.isfinite(values), values, 0.0)
    if dtype.kind == "f":
        return values.astype(dtype)
    info = np.iinfo(dtype)
    return np.clip(np.rint(values), info.min, info.max).astype(dtype)


def channel_mean(obs: Observation, start: int, stop: int) -> Floats:
    """Mean of every channel over the samples from `start` to `stop`, or of as many as 4 MB hold, shape (nchans,)."""
    # Samples of which the mean stands in for what is missing.
    most = max(1, (1 << 22) // (obs.header.nchans * obs.dtype.itemsize))
    data = obs.read(start, min(stop - start, most)).data
    return np.asarray(np.mean(data, axis=1, dtype=np.float64))


def check_header(path: Path, header: Header) -> None:
    """Refuse a header that no observation has, whatever format it is from.

    Readers say more exactly, and before, which byte or key of theirs is wrong. What only they can know is theirs, too:
    whether the file is long enough. A frequency of a series, and a start, may be NaN.

    Raises
    ------
    DataError
        Naming the file and the quantity.
    """
    nchans, last = header.nchans, header.fch1 + (header.nchans - 1) * header.foff
    if header.freq_table is not None:
        last = header.freq_table[-1]
    radio = header.is_series or (0.0 < last <= header.fch1 <= HIGHEST_FREQ and (nchans == 1 or header.foff < 0.0))
    checks = (
        (1 <= nchans <= MOST_CHANNELS, f"{nchans} channels: from 1 to {MOST_CHANNELS} can be read"),
        (header.nsamps >= 1, "no whole spectrum"),
        (is_tsamp(header.tsamp), f"a sampling time of {header.tsamp:g} s"),
        (radio, f"{nchans} channels from {header.fch1:g} MHz in steps of {header.foff:g} MHz"),
        (np.isnan(header.tstart) or 0.0 < header.tstart <= LATEST_MJD, f"a start at MJD {header.tstart:g}"),
    )
    refuse(path, checks, "its header says {}, as no observation has: it was cut or damaged")


def refuse(path: Path, checks: Iterable[tuple[bool | np.bool_, str]], message: str) -> None:
    """Raise a `DataError` of the first of some facts that does not fit, told where the braces of a message are."""
    for fits, fact in checks:
        if not fits:
            raise DataError(f"{path}: {message.format(fact)}")


def stretches(
    starts: Ints, lengths: Sequence[int] | Ints, start: int, n: int
) -> Iterator[tuple[int, int | None, slice]]:
    """Go through a range of samples of parts that begin at `starts`, with gaps between them.

    Yields
    ------
    part : int
        Its number.
    inside : int or None
        The sample of it; None in the gap after it.
    span : slice
        Where that is in the range.
    """
    at = start
    while at < start + n:
        part = int(np.searchsorted(starts, at, side="right")) - 1
        inside = at - int(starts[part])
        held = int(lengths[part])
        end = min(start + n, at + held - inside if inside < held else int(starts[part + 1]))
        yield part, inside if inside < held else None, slice(at - start, end - start)
        at = end


def merge_gaps(gaps: Sequence[Gap]) -> tuple[Gap, ...]:
    """In ascending order, with those that touch or overlap made one."""
    merged: list[Gap] = []
    for gap in sorted(gaps, key=lambda g: g.start):
        if merged and gap.start <= merged[-1].start + merged[-1].nsamps:
            last = merged[-1]
            end = max(last.start + last.nsamps, gap.start + gap.nsamps)
            reason = last.reason if gap.reason == last.reason else f"{last.reason}; {gap.reason}"
            merged[-1] = Gap(last.start, end - last.start, reason)
        else:
            merged.append(gap)
    return tuple(merged)


@dataclass(frozen=True)
class FastName:
    """Parts of the name of a file."""

    source: str = ""
    mode: str = ""
    beam: int | None = None  # 1 to 19
    sequence: int | None = None  # Number of the file in its observation, from 1


def parse_name(path: Path) -> FastName:
    """Parts of ``<SRC>_<mode>-M<01..19>_<NNNN>.fits``; what is not there is None or ""."""
    name = path.name
    numbers = _SEQUENCE.findall(name)
    sequence = int(numbers[-1]) if numbers else None
    match = _NAME.match(path.stem)
    if match is None:
        return FastName(sequence=sequence)
    beam = int(match["beam"])
    return FastName(match["source"], match["mode"], beam if 1 <= beam <= 19 else None, sequence)


def is_calibration(path: Path) -> bool:
    """True if the name is that of a scan with the noise diode (modes ``cal``, ``swiftcalibration``, and ``_cal``)."""
    mode = parse_name(path).mode.lower()
    return "calibration" in mode or mode == "cal" or re.search(r"_cal(?=[_.-]|$)", path.stem.lower()) is not None


def is_spectral_line(path: Path) -> bool:
    """True if the name is that of a spectral-line product (``_W_``, ``_N_``, ``_F_``) of the FAST backend."""
    return _LINE.search(path.name) is not None


class AtomicFile(Writing):
    """A file that appears under its name when it is complete, and not at all when writing fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with refused(DataError, f"{path}: cannot be written", "check that the folder exists and is writable"):
            self._file = Unfinished(path)
            self.stream: BinaryIO = io.BufferedWriter(_Output(self._file.handle(), path))

    def close(self) -> None:
        """Finish the file and give it its name; a second call does nothing."""
        if self.stream.closed:
            return
        try:
            self.stream.close()
            self._file.commit()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Delete what was written; nothing of a file that has its name."""
        try:
            with contextlib.suppress(PulsarError):
                self.stream.close()
        finally:
            self._file.discard()


class _Output(io.FileIO):
    """A file whose failures name what was to be written."""

    def __init__(self, number: int, path: Path) -> None:
        super().__init__(number, "w")
        self._path = path

    def write(self, data: Any) -> int:
        with refused(PulsarError, f"{self._path}: cannot be written"):
            return super().write(data) or 0
