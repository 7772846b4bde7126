"""What every reader offers; all stages depend on this and on no file format."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pulsar.data.block import Block
from pulsar.data.header import Header


@dataclass(frozen=True)
class InputFile:
    """One file of an observation: where its samples lie in the whole."""

    path: Path
    start: int
    nsamps: int
    size: int
    mtime: float


@dataclass(frozen=True)
class Gap:
    """Samples that are in no file: filled with the per-channel mean when read, and recorded."""

    start: int
    nsamps: int
    reason: str


def called(obs: "Observation") -> str:
    """What an observation is called in messages: its (first) file, else its source, as far as there is one."""
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
    def chan_ok(self) -> NDArray[np.bool_]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def problems(self) -> tuple[str, ...]: ...
    @property
    def remarks(self) -> tuple[str, ...]: ...

    def read_into(self, start: int, out: NDArray[Any]) -> None:
        """Fill `out`, shape (nchans, n), dtype `dtype`, rows contiguous, with samples from `start` on.

        Safe to call from several threads at once.
        """
        ...

    def read(self, start: int = 0, nsamps: int | None = None) -> Block:
        """Read `nsamps` samples (default: to the end) from sample `start` on."""
        ...

    def blocks(self, gulp: int, overlap: int = 0) -> Iterator[Block]:
        """Walk through the observation, `gulp` new samples a time, each block starting `overlap` samples early."""
        ...

    def close(self) -> None:
        """Release files."""
        ...
