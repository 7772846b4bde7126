"""Observations as every reader offers them; all stages depend on this and on no file format."""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from pulsar.data.direction import dms, hms
from pulsar.data.files import Closing
from pulsar.data.header import Header
from pulsar.data.text import facts, known
from pulsar.errors import DataError
from pulsar_kernels.arrays import Array, Bools


@dataclass(frozen=True, repr=False)
class Block:
    """Samples of all channels over a stretch of time."""

    #: shape (nchans, nsamps): Channel-major samples, channel 0 the highest frequency; uint8, uint16 or float32.
    data: Array
    start: int  # Sample of the observation at which the block starts
    header: Header  # Header of the whole observation

    @property
    def nsamps(self) -> int:
        """Samples in the block."""
        return int(self.data.shape[1])

    @property
    def time(self) -> float:
        """Start of the block [s] from the start of the observation."""
        return self.start * self.header.tsamp

    def __repr__(self) -> str:
        return (
            f"<Block: data {self.data.shape} {self.data.dtype}: {self.data.shape[0]} channels, the highest first, "
            f"{self.nsamps} samples from {self.start} on>"
        )


@dataclass(frozen=True)
class InputFile:
    """One file of an observation: where its samples lie in the whole."""

    path: Path
    start: int
    nsamps: int
    size: int  # [byte]
    mtime: float  # Time of last change [s since 1970]
    #: When it was opened; 0: not known; None: it is not read itself, such as the original of a copy.
    inode: int | None = None
    promised: int = 0  # Samples that its header tells of; 0 where it tells none, or no more than it holds
    #: When it was opened: time of its last change of any kind [ns], which nobody can set, owner, group, permissions and
    #: number of names. Empty: not known.
    changed: tuple[int, ...] = ()

    @classmethod
    def opened(cls, path: Path, nsamps: int, state: os.stat_result, promised: int = 0) -> Self:
        """A file that has just been opened, and is the whole observation."""
        return cls(path, 0, nsamps, state.st_size, state.st_mtime, state.st_ino, promised, _changed(state))

    def check_unchanged(self) -> None:
        """Refuse it if it has changed since it was opened: what was read of it is of no one observation.

        Raises
        ------
        DataError
            It was written to, another file has its name, or its storage does not answer.
        """
        if self.inode is None:
            return
        try:
            # Opened: a network file system may answer what it knew some time ago of a name alone.
            with self.path.open("rb") as file:
                now = os.fstat(file.fileno())
        except FileNotFoundError:
            return  # what is open outlives its name
        except OSError as error:
            raise DataError(f"{self.path}: cannot be opened any more, while it is read: {error.strerror}") from error
        if now.st_size != self.size:
            how = f"it has {now.st_size} bytes now and had {self.size}"
        elif now.st_mtime != self.mtime:
            how = "it has been written to"
        elif self.inode not in (0, now.st_ino):
            how = "another file has its name"
        elif self.changed and _changed(now)[0] != self.changed[0] and _changed(now)[1:] == self.changed[1:]:
            # Neither permissions nor names: its times were set.
            how = "it may have been written to and its time put back (do not --resume)"
        else:
            return
        raise DataError(f"{self.path}: has changed while it was read: {how}; run again when nothing writes to it")


def _changed(state: os.stat_result) -> tuple[int, ...]:
    return state.st_ctime_ns, state.st_uid, state.st_gid, state.st_mode, state.st_nlink


@dataclass(frozen=True)
class Gap:
    """Samples that are in no file: filled with the per-channel mean when read, and recorded."""

    start: int
    nsamps: int
    reason: str


def joined_stretches(stretches: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """Stretches of samples (the first, and the one after the last), ascending: what overlaps or touches is one."""
    out: list[tuple[int, int]] = []
    for first, last in sorted(stretches, key=lambda stretch: stretch[0]):
        if out and first <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], last)
        else:
            out.append((first, last))
    return out


def left_out(stretches: Iterable[Sequence[int]], low: int, high: int) -> list[tuple[int, int]]:
    """Samples from `low` to `high` - 1 that are in none of some stretches, which ascend and do not overlap."""
    inside = [(max(first, low), min(last, high)) for first, last in stretches if first < high and last > low]
    edges = [low, *(edge for stretch in inside for edge in stretch), high]
    return [(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True) if first < last]


@contextmanager
def unchanged(obs: "Observation") -> Iterator[None]:
    """A pass over an observation, whose files must be at its end what they were when they were opened.

    Raises
    ------
    DataError
        A file has changed before or during the pass.
    """
    for file in obs.files:
        file.check_unchanged()
    yield
    for file in obs.files:
        file.check_unchanged()


def called(obs: "Observation") -> str:
    """Name of an observation in messages: its (first) file, else its source, as far as there is one."""
    return str(obs.files[0].path) if obs.files else obs.header.source or "the observation"


class Observation(Closing):
    """One observation of one beam, read piece by piece; a reader adds the reading itself, `_fill`.

    Attributes
    ----------
    header : Header
        In the program's channel order (descending frequency).
    files : tuple of InputFile
    gaps : tuple of Gap
        In ascending order, not overlapping.
    chan_ok : ndarray of bool, shape (nchans,)
        False where the file itself says that a channel carries nothing (zero weights throughout).
    dtype : numpy.dtype
        Type of the samples that `read` returns: uint8, uint16 or float32.
    problems : tuple of str
        What was odd in the files, in words for the astronomer.
    remarks : tuple of str
        What is as it should be, but worth knowing: padding that was left out.
    gate : callable
        Gives the context in which samples are read: where many processes share one storage, their turn.
    """

    header: Header
    files: tuple[InputFile, ...]
    gaps: tuple[Gap, ...] = ()
    chan_ok: Bools
    dtype: np.dtype[Any]
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    gate: Callable[[], AbstractContextManager[None]] = nullcontext
    # What is open: a file, or the observations that this one is made of.
    _file: Any = None
    _readers: "Sequence[Observation]" = ()

    @property
    def depth(self) -> int:
        """Bits that hold every sample as it is: 8 where there are several polarisations, which may be summed."""
        if self.dtype == np.uint8:
            # The sum of two polarisations takes a bit more than each.
            return min(self.header.nbits, 8) if self.header.nifs == 1 else 8
        return 16 if self.dtype == np.uint16 else 32

    def _opened(
        self,
        header: Header,
        dtype: DTypeLike,
        state: os.stat_result,
        path: Path,
        problems: Sequence[str],
        promised: int = 0,
    ) -> None:
        """Set what is known of one file that is the whole observation, all of whose channels are good.

        Parameters
        ----------
        header : Header
        dtype : dtype
            Of the samples as they are read.
        state : stat_result
            Of the file.
        path : Path
        problems : sequence of str
        promised : int
            Samples that its header tells of.
        """
        self.header, self.dtype, self.problems = header, np.dtype(dtype), tuple(problems)
        promised = promised if promised > header.nsamps else 0
        self.files = (InputFile.opened(path, header.nsamps, state, promised),)
        self.chan_ok = np.ones(header.nchans, dtype=np.bool_)

    @abstractmethod
    def _fill(self, start: int, out: Array) -> None:
        """Fill `out`, whose shape, type and range are known to be right."""

    def read_into(self, start: int, out: Array) -> None:
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
        """Read `nsamps` samples (default: to the end) from sample `start` on: `data` of shape (nchans, nsamps)."""
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
        for held in self._held():
            held.park()

    def close(self) -> None:
        """Release files; what holds none has nothing to release."""
        for held in self._held():
            held.close()

    def _held(self) -> Sequence[Any]:
        return self._readers if self._file is None else [self._file]

    def __repr__(self) -> str:
        h = self.header
        names = ", ".join(f.path.name for f in self.files[:3]) + (", …" if len(self.files) > 3 else "")
        title = f"{type(self).__name__} {names}".rstrip()
        band = "a dedispersed series" if h.is_series else f"{h.nchans} channels {h.freqs[-1]:g} to {h.freqs[0]:g} MHz"
        return f"<{title}: {h.source or 'unnamed'}, {band}, {h.nsamps} samples of {h.tsamp * 1e6:g} µs ({h.tobs:g} s)>"

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


def gaps_of(obs: Observation) -> tuple[tuple[int, int], ...]:
    """First sample of each gap, and the one after its last."""
    return tuple((gap.start, gap.start + gap.nsamps) for gap in obs.gaps)
