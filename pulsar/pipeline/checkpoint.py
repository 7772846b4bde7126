"""What a run leaves beside its output until it is whole, so that the next one can go on from there."""

import contextlib
import hashlib
import json
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.data.observation import InputFile
from pulsar.data.unfinished import Unfinished, sweep, write_whole
from pulsar.errors import PulsarError

#: What numpy, its archives and their compression raise on damaged files.
_DAMAGED: Final = (
    OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, NotImplementedError, MemoryError, OverflowError,
    SyntaxError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Checkpoint:
    """Stage results in a folder ``OUT.parts``, valid for one set of inputs and one configuration.

    Parameters
    ----------
    out : Path
        The output file of the run.
    fingerprint : str
        Results stored under another fingerprint are thrown away.
    resume : bool
        Keep what a former run left; otherwise start empty.
    """

    def __init__(self, out: Path, fingerprint: str, *, resume: bool) -> None:
        self.folder = out.with_name(out.name + ".parts")
        self.fingerprint = fingerprint
        self._mark = self.folder / "fingerprint"
        known = self._mark.read_text(errors="replace") if self._mark.is_file() else ""
        self.resumed = resume and known == fingerprint
        #: True when --resume was asked for but the earlier results belong to other inputs or settings.
        self.outdated = resume and known not in ("", fingerprint)
        if not self.resumed:
            self.remove()

    def load(self, stage: str) -> dict[str, NDArray[Any]] | None:
        """Arrays of a finished stage, or None, also where they cannot be read."""
        return load_arrays(self.folder / f"{stage}.npz")

    def save(self, stage: str, **arrays: NDArray[Any]) -> None:
        """Store the arrays of a finished stage (whole or not at all)."""
        path = self.folder / f"{stage}.npz"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._mark.is_file():
                # Once: a run that is killed while it writes it anew would have nothing to go on from.
                write_whole(self._mark, self.fingerprint)
            with Unfinished(path) as whole, whole.part.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
        except OSError as error:
            if not self.begun:
                self.remove()
            raise PulsarError(f"{path}: what is done so far cannot be kept: {error.strerror}") from error

    def has(self, stage: str) -> bool:
        """Whether a stage is finished."""
        return (self.folder / f"{stage}.npz").is_file()

    @property
    def begun(self) -> bool:
        """Whether there is a finished stage to go on from."""
        return any(self.folder.glob("*.npz"))

    def remove(self) -> None:
        """Delete everything, if the folder is one that a run has left."""
        if not self.folder.is_dir():
            return
        left = [path for path in self.folder.iterdir() if path != self._mark]
        if self._mark.is_file():
            # The mark last: what is killed on the way can be told for what it is, and removed.
            for path in left:
                with contextlib.suppress(OSError):
                    path.unlink()
            with contextlib.suppress(OSError):
                self._mark.unlink()
        else:
            sweep(self._mark)
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # empty, unless somebody else has put something there


def load_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """Arrays of a finished stage, or None, also where they cannot be read."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except _DAMAGED:
        # Written whole or not at all: the disk has lost it since. The stage is done again.
        return None


def fingerprint(files: Sequence[InputFile], config: Config, version: str) -> str:
    """Digest of what the result of a run depends on (not on threads, memory or scratch)."""
    from pulsar.sky.catalogue import catalogue_file

    settings = config.model_dump(mode="json", exclude={"run", "output", "batch"})
    inputs: list[Any] = [[str(f.path), f.size, f.mtime] for f in files]
    rfi, asked = config.rfi, config.completeness.population
    for path in (catalogue_file(config.known.catalogue), *map(Path, (rfi.zaplist, rfi.mask, asked))):
        if path.is_file():
            inputs.append(hashlib.sha256(path.read_bytes()).hexdigest())
    if config.subtract.pulsars:
        from pulsar.pipeline.subtracting import marks

        inputs += marks(config.subtract)
    text = json.dumps([version, settings, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
