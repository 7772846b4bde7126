"""What the readers share: range checks, blocks, reading of small pieces, filling of gaps."""

import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.data.closing import Closing
from pulsar.data.direction import dms, hms
from pulsar.data.header import (
    HIGHEST_FREQ,
    LATEST_MJD,
    LONGEST_TSAMP,
    MOST_CHANNELS,
    SHORTEST_TSAMP,
    Header,
)
from pulsar.data.numbers import facts, known
from pulsar.data.observation import Block, Gap, InputFile
from pulsar.errors import DataError

# Bytes read from a file at a time: the piece and its transposed copy stay in L2. Rather a whole tile of 64 spectra
# than less, up to the larger size.
PIECE_BYTES = 1 << 18
TILE_BYTES = 1 << 22
# Samples of which the mean stands in for what is missing.
MEAN_BYTES = 1 << 22


class BaseObservation(Closing):
    """An observation (`pulsar.data.observation.Observation`) but for the reading itself: `_fill`.

    Attributes
    ----------
    gate : callable
        Gives the context in which samples are read: where many processes share one storage, their turn.
    """

    header: Header
    files: tuple[InputFile, ...]
    gaps: tuple[Gap, ...]
    chan_ok: NDArray[np.bool_]
    dtype: np.dtype[Any]
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    gate: Callable[[], AbstractContextManager[None]] = nullcontext

    @abstractmethod
    def _fill(self, start: int, out: NDArray[Any]) -> None:
        """Fill `out`, whose shape, type and range are known to be right."""

    def read_into(self, start: int, out: NDArray[Any]) -> None:
        """Fill `out`, shape (nchans, n), dtype `dtype`, rows contiguous, with samples from `start` on.

        Safe to call from several threads at once.

        Raises
        ------
        ValueError
            `out` has the wrong shape, type or layout, or the stretch leaves the observation.
        DataError
            The file cannot be read.
        """
        header = self.header
        if out.ndim != 2 or out.shape[0] != header.nchans or out.dtype != self.dtype:
            raise ValueError(
                f"read_into needs an array of shape ({header.nchans}, n) and type {self.dtype}, "
                f"not {out.shape} and {out.dtype}"
            )
        if out.shape[1] > 1 and out.strides[1] != out.itemsize:
            raise ValueError("read_into needs an array whose rows are contiguous")
        if start < 0 or start + out.shape[1] > header.nsamps:
            raise ValueError(
                f"samples {start} to {start + out.shape[1]} are asked for; the observation has {header.nsamps}"
            )
        if out.size:
            with self.gate():
                self._fill(start, out)

    def read(self, start: int = 0, nsamps: int | None = None) -> Block:
        """Read `nsamps` samples (default: to the end) from sample `start` on, as a Block (nchans, nsamps)."""
        if nsamps is None:
            nsamps = self.header.nsamps - start
        if nsamps < 0:
            raise ValueError(f"sample {start} lies beyond the end: the observation has {self.header.nsamps}")
        data = np.empty((self.header.nchans, nsamps), dtype=self.dtype)
        self.read_into(start, data)
        return Block(data, start, self.header)

    def blocks(self, gulp: int, overlap: int = 0) -> Iterator[Block]:
        """Walk through the observation, `gulp` new samples a time, each block starting `overlap` samples early."""
        if gulp < 1 or overlap < 0:
            raise ValueError(f"gulp must be at least 1 and overlap at least 0, not {gulp} and {overlap}")
        for at in range(0, self.header.nsamps, gulp):
            start = max(0, at - overlap)
            yield self.read(start, min(at + gulp, self.header.nsamps) - start)

    def park(self) -> None:
        """Hold no file open between reads, where the reader can do without."""
        file = getattr(self, "_file", None)
        if isinstance(file, RawFile):
            file.park()

    def close(self) -> None:
        """Release files; what holds none has nothing to release."""

    def __repr__(self) -> str:
        h = self.header
        names = ", ".join(f.path.name for f in self.files[:3]) + (", …" if len(self.files) > 3 else "")
        what = f"{type(self).__name__} {names}".rstrip()
        band = "a dedispersed series" if h.is_series else f"{h.nchans} channels {h.freqs[-1]:g} to {h.freqs[0]:g} MHz"
        return f"<{what}: {h.source or 'unnamed'}, {band}, {h.nsamps} samples of {h.tsamp * 1e6:g} µs ({h.tobs:g} s)>"

    def _repr_html_(self) -> str:
        h = self.header
        many = f" and {len(self.files) - 3} more" if len(self.files) > 3 else ""
        rows = [
            ("files", ", ".join(f.path.name for f in self.files[:3]) + many),
            ("format", f"{h.format}, {h.nbits} bit"),
            ("samples", f"{h.nsamps} × {1e6 * h.tsamp:.6g} µs = {h.tobs:.6g} s"),
            ("start", known(h.tstart, ".8f", "MJD (UTC)")),
            ("channels", "" if h.is_series else f"{h.nchans} × {h.chan_width:.6g} MHz"),
            ("band", "" if h.is_series else f"{h.freqs[-1]:.6g} to {h.freqs[0]:.6g} MHz"),
            ("DM", f"{h.dm:.6g} pc/cm³" if h.is_series else ""),
            ("telescope", h.telescope),
            ("beam", "" if h.beam is None else str(h.beam)),
            ("position", f"{hms(h.ra_deg)} {dms(h.dec_deg)}".strip()),
            ("gaps", f"{sum(g.nsamps for g in self.gaps) * h.tsamp:.6g} s in {len(self.gaps)}" if self.gaps else ""),
            ("to note", "; ".join(self.problems)),
        ]
        return facts(h.source or "unnamed source", rows)


class _Descriptor:
    """An open file that closes with its thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = _open(path)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # The function is held here: when Python ends the module's names may be gone before its objects.
        if "number" in self.__dict__:
            close(self.__dict__.pop("number"))


_parked = threading.local()


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}; check its name and permissions") from error


class RawFile:
    """A file read by pread into buffers of the calling thread: no shared position, no mapped pages.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._closed = False
        self._fd = _open(path)
        self.state = os.fstat(self._fd)
        self.size = self.state.st_size

    def read(self, offset: int, nbytes: int, name: str = "raw") -> NDArray[np.uint8]:
        """`nbytes` bytes from `offset` on; valid until this thread's next call with the same buffer `name`."""
        fd = self._descriptor()
        buffer: NDArray[np.uint8] | None = getattr(self._local, name, None)
        if buffer is None or buffer.size < nbytes:
            space = np.empty(max(nbytes, 4096) + 64, dtype=np.uint8)
            # At a cache line, as the squares are that are transposed.
            skip = -space.ctypes.data % 64
            buffer = space[skip : space.size - 64 + skip]
            setattr(self._local, name, buffer)
        raw = buffer[:nbytes]
        view = raw.data
        done = 0
        while done < nbytes:
            try:
                got = os.preadv(fd, [view[done:]], offset + done)
            except OSError as error:
                raise DataError(
                    f"{self.path}: reading byte {offset + done} failed: {error.strerror}; "
                    "the disk or the network share may be at fault: copy the file and try again"
                ) from error
            if got == 0:
                # Cut before the place that is read, perhaps.
                end = min(os.fstat(fd).st_size, offset + done)
                raise DataError(
                    f"{self.path}: ends at byte {end} where {offset + nbytes - end} more were expected: "
                    "it was cut while it was being read"
                )
            done += got
        return raw

    def park(self) -> None:
        """Keep no descriptor open: from now on each thread holds one, of the parked file that it reads.

        An hour of FAST data is more files than a process may have open.
        """
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _descriptor(self) -> int:
        if self._closed:
            raise ValueError(f"{self.path}: the observation is closed")
        if self._fd >= 0:
            return self._fd
        current: _Descriptor | None = getattr(_parked, "current", None)
        if current is None or current.path != self.path:
            _parked.current = current = _Descriptor(self.path)
        return current.number

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._closed = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # The function is held here: when Python ends the module's names may be gone before its objects.
        fd = self.__dict__.get("_fd", -1)
        if fd >= 0:
            self._fd = -1
            close(fd)


def flat_view(out: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """All memory from the first to the last element of `out` as one row, and the stride of its rows in elements."""
    nchans, n = out.shape
    stride = out.strides[0] // out.itemsize
    if nchans > 1 and (out.strides[0] % out.itemsize or stride < n):
        raise ValueError("rows of the array overlap or run backwards")
    flat = np.lib.stride_tricks.as_strided(out, shape=((nchans - 1) * stride + n,), strides=(out.itemsize,))
    return flat, stride


def spectra_per_piece(spectrum_bytes: int) -> int:
    """Spectra to read at a time: whole tiles of 64 where a spectrum is not huge."""
    n = max(1, PIECE_BYTES // spectrum_bytes, min(64, TILE_BYTES // spectrum_bytes))
    return n if n < 64 else n - n % 64


def as_type(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round to the type of the samples; what is not finite becomes 0."""
    values = np.where(np.isfinite(values), values, 0.0)
    if dtype.kind == "f":
        return values.astype(dtype)
    info = np.iinfo(dtype)
    return np.clip(np.rint(values), info.min, info.max).astype(dtype)


def channel_mean(obs: BaseObservation, start: int, stop: int) -> NDArray[np.float64]:
    """Mean of every channel over the samples from `start` to `stop`, or of as many as 4 MB hold, shape (nchans,)."""
    most = max(1, MEAN_BYTES // (obs.header.nchans * obs.dtype.itemsize))
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
    for fits, what in (
        (1 <= nchans <= MOST_CHANNELS, f"{nchans} channels: from 1 to {MOST_CHANNELS} can be read"),
        (header.nsamps >= 1, "no whole spectrum"),
        (SHORTEST_TSAMP <= header.tsamp <= LONGEST_TSAMP, f"a sampling time of {header.tsamp:g} s"),
        (radio, f"{nchans} channels from {header.fch1:g} MHz in steps of {header.foff:g} MHz"),
        (np.isnan(header.tstart) or 0.0 < header.tstart <= LATEST_MJD, f"a start at MJD {header.tstart:g}"),
    ):
        if not fits:
            raise DataError(f"{path}: its header says {what}, as no observation has: it was cut or damaged")


def overridden(header: Header, *, ra_deg: float | None, dec_deg: float | None, tsamp: float | None) -> Header:
    """The header with what the configuration overrides."""
    changes = {"ra_deg": ra_deg, "dec_deg": dec_deg, "tsamp": tsamp}
    return header.with_(**{key: value for key, value in changes.items() if value is not None})


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
