"""Results of stages, kept beside the output until it is whole, so that the next run can go on from there."""

import contextlib
import copy
import fnmatch
import os
import struct
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from pulsar.data.files import MOST_TEXT, Folder, open_to_read
from pulsar.data.unfinished import Unfinished
from pulsar.errors import ConfigError, PulsarError
from pulsar_kernels.arrays import Array

#: What numpy, its archives and their compression raise on damaged files.
_DAMAGED: Final = (
    OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, NotImplementedError, MemoryError, OverflowError,
    SyntaxError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

#: Part of the time that goes into storing what has been found, and about that which a kill costs.
SHARE: Final = 0.01
#: Seconds until it is stored first: on a disk of this machine that takes SHARE of them.
FIRST: Final = 1.0


#: The file that says whose results these are.
_MARK: Final = "fingerprint"


class Checkpoint:
    """Stage results in a folder ``OUT.parts``, valid for one set of inputs and one configuration.

    Nobody else can write in that folder: what a run goes on from is what it has stored there itself.

    Parameters
    ----------
    out : Path
        The output file of the run.
    fingerprint : str
        Results stored under another fingerprint are thrown away.
    resume : bool
        Keep what a former run left; otherwise start empty.

    Raises
    ------
    ConfigError
        The folder is a link, or somebody else's.
    """

    def __init__(self, out: Path, fingerprint: str, *, resume: bool) -> None:
        self.folder = out.with_name(out.name + ".parts")
        self.fingerprint = fingerprint
        self._prefix = ""
        known = ""
        with self._open_folder() as folder:
            if folder is not None and folder.has(_MARK):
                with os.fdopen(open_to_read(self.folder / _MARK, folder), errors="replace") as file:
                    known = file.read(MOST_TEXT)
        self.resumed = resume and known == fingerprint
        #: True when --resume was asked for but the earlier results belong to other inputs or settings.
        self.outdated = resume and known not in ("", fingerprint)
        if not self.resumed:
            self.remove()

    @contextlib.contextmanager
    def _open_folder(self) -> Iterator[Folder | None]:
        """The folder, None where there is none."""
        try:
            folder = Folder.own(self.folder, _is_ours)
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise ConfigError(f"{self.folder}: {error.strerror}") from error
        with folder:
            yield folder

    def within(self, name: str) -> "Checkpoint":
        """The same folder for the stages of a part of the run, by its name."""
        part = copy.copy(self)
        part._prefix = f"{self._prefix}{name}-"
        return part

    def stages(self, pattern: str) -> list[str]:
        """Finished stages whose names match a pattern (as of :mod:`fnmatch`), in order."""
        with self._open_folder() as folder:
            names = [] if folder is None else folder.names()
        matches = fnmatch.filter(names, f"{self._prefix}{pattern}.npz")
        return sorted(name.removeprefix(self._prefix).removesuffix(".npz") for name in matches)

    def load(self, stage: str) -> dict[str, Array] | None:
        """Arrays of a finished stage, or None, also where they cannot be read."""
        with self._open_folder() as folder:
            return None if folder is None else load_arrays(self.folder / f"{self._prefix}{stage}.npz", folder)

    def save(self, stage: str, **arrays: Array) -> None:
        """Store the arrays of a finished stage (whole or not at all)."""
        path = self.folder / f"{self._prefix}{stage}.npz"
        try:
            with Folder.own(self.folder, _is_ours, make=True) as folder:
                if not folder.has(_MARK):
                    # Once: a run that is killed while it writes it anew would have nothing to go on from.
                    with Unfinished(self.folder / _MARK, folder) as mark, os.fdopen(mark.handle(), "w") as text:
                        text.write(self.fingerprint)
                with Unfinished(path, folder) as whole, os.fdopen(whole.handle(), "wb") as file:
                    np.savez(file, allow_pickle=False, **arrays)
        except OSError as error:
            if not self.begun:
                self.remove()
            raise PulsarError(f"{path}: what is done so far cannot be kept: {error.strerror}") from error

    def has(self, stage: str) -> bool:
        """True if a stage is finished."""
        with self._open_folder() as folder:
            return folder is not None and folder.has(f"{self._prefix}{stage}.npz")

    @property
    def begun(self) -> bool:
        """True if there is a finished stage to go on from."""
        with self._open_folder() as folder:
            return folder is not None and any(name.endswith(".npz") for name in folder.names())

    def remove(self) -> None:
        """Delete what runs have left, and the folder where nothing else is in it."""
        with self._open_folder() as folder:
            if folder is None:
                return
            if folder.has(_MARK):
                folder.clear(lambda name: name.endswith((".npz", ".npz.part")))
            # The mark last: what is killed on the way can be told for what it is, and removed.
            folder.clear(lambda name: name in (_MARK, f".{_MARK}.part"))
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # empty, unless somebody else has put something there


def _is_ours(name: str) -> bool:
    return name == _MARK or name.endswith((".npz", ".part"))


def load_arrays(path: Path, folder: Folder | None = None) -> dict[str, Array] | None:
    """Arrays of a finished stage, or None, also where they cannot be read."""
    try:
        with os.fdopen(open_to_read(path, folder), "rb") as file, np.load(file, allow_pickle=False) as data:
            return {key: data[key] for key in data.files}
    except _DAMAGED:
        # Written whole or not at all: the disk has lost it since. The stage is done again.
        return None


class Pace:
    """When to store what has been found: storing, the block of this context manager, takes SHARE of the time at most.

    No more often either than that a kill loses SHARE of what was done: there are a thousand times in a search of a day.
    """

    def __init__(self) -> None:
        self._start = self._begun = time.monotonic()
        self._next = self._start + FIRST

    def due(self) -> bool:
        """True if it is time."""
        return time.monotonic() >= self._next

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        self._next = now + max((now - self._begun) / SHARE, (now - self._start) * SHARE)
