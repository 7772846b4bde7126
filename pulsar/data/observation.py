"""Observations as every reader offers them; all stages depend on this and on no file format."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from pulsar.data.header import Header
from pulsar.errors import DataError
from pulsar_kernels.arrays import Array, Bools


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

    data: Array
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
        return (
            f"<Block: data {self.data.shape} {self.data.dtype}: {self.data.shape[0]} channels, the highest first, "
            f"{self.nsamps} samples from {self.start} on>"
        )


@dataclass(frozen=True)
class InputFile:
    """One file of an observation: where its samples lie in the whole.

    Attributes
    ----------
    path : Path
    start, nsamps : int
    size : int
        [byte]
    mtime : float
        Time of last change [s since 1970].
    inode : int or None
        When it was opened; 0: not known; None: it is not read itself, such as the original of a copy.
    promised : int
        Samples that its header tells of; 0 where it tells none, or no more than it holds.
    changed : tuple of int
        When it was opened: time of its last change of any kind [ns], which nobody can set, owner, group, permissions
        and number of names. Empty: not known.
    """

    path: Path
    start: int
    nsamps: int
    size: int
    mtime: float
    inode: int | None = None
    promised: int = 0
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


@runtime_checkable
class Observation(Protocol):
    """One observation of one beam, read piece by piece.

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
    """

    @property
    def header(self) -> Header: ...
    @property
    def files(self) -> tuple[InputFile, ...]: ...
    @property
    def gaps(self) -> tuple[Gap, ...]: ...
    @property
    def chan_ok(self) -> Bools: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def problems(self) -> tuple[str, ...]: ...
    @property
    def remarks(self) -> tuple[str, ...]: ...

    def read_into(self, start: int, out: Array) -> None:
        """Fill `out`, shape (nchans, n), dtype `dtype`, rows contiguous, with samples from `start` on.

        Safe to call from several threads at once.
        """
        ...

    def read(self, start: int = 0, nsamps: int | None = None) -> Block:
        """Read `nsamps` samples (default: to the end) from sample `start` on: `data` of shape (nchans, nsamps)."""
        ...

    def blocks(self, gulp: int, overlap: int = 0) -> Iterator[Block]:
        """Walk through the observation, `gulp` new samples a time, each block starting `overlap` samples early."""
        ...

    def close(self) -> None:
        """Release files."""
        ...
