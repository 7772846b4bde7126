"""Inputs of a unit copied to a local disk before they are read, and removed again."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from pulsar.batch.units import log_file
from pulsar.data.locks import FileLock

#: Bytes copied at a time: large enough for network file systems, small enough to end soon when told to.
PIECE: Final = 8 << 20


def stage_root(stage: Path, ident: str) -> Path:
    """Where the copies of one batch lie."""
    return stage / f"pulsar-batch-{ident}"


@contextmanager
def staged(
    inputs: Sequence[Path],
    folder: Path,
    gate: Callable[[], AbstractContextManager[None]],
    tell: Callable[[str], None],
) -> Iterator[dict[Path, Path]]:
    """Copies of files in a folder, removed at the end; nothing where there is no room for them.

    Parameters
    ----------
    inputs : sequence of Path
    folder : Path
        What an earlier attempt has left there is removed.
    gate : callable
        Gives the context in which shared storage may be read.
    tell : callable
        Called with what the astronomer should know.

    Yields
    ------
    dict of Path to Path
        Original -> copy, empty where nothing was copied.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        files = [other for path in inputs for other in _companions(path)]
        needed, free = sum(path.stat().st_size for path in files), shutil.disk_usage(folder).free
        if needed > free:
            tell(f"{folder}: {needed / 2**30:.2f} GiB do not fit, {free / 2**30:.2f} GiB are free: read in place")
            yield {}
            return
        copies = {}
        # Files of one name from different folders must not meet.
        places = {path: folder / f"{i:04d}" for i, path in enumerate(dict.fromkeys(p.parent for p in files))}
        with gate():
            for path in files:
                copies[path] = places[path.parent] / path.name
                _copy(path, copies[path])
        yield copies
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # the last one


def _companions(path: Path) -> list[Path]:
    """A file with those that it cannot be read without."""
    other = path.with_suffix(".inf")
    return [path, other] if path.suffix == ".dat" and other.exists() else [path]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file, target.open("wb") as copy:
        shutil.copyfileobj(file, copy, PIECE)
    # A result depends on the time of last change of its inputs, to be found again when a search goes on.
    stat = source.stat()
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def sweep(stage: Path, ident: str, folder: Path) -> None:
    """Remove copies of units of a batch whose processes have ended without doing so.

    Parameters
    ----------
    stage : Path
        Where copies are made.
    ident : str
        Of the batch.
    folder : Path
        Of the batch.
    """
    root = stage_root(stage, ident)
    if not root.is_dir():
        return
    for left in root.iterdir():
        log = log_file(folder, left.name)
        with FileLock(log) as lock:
            if not log.exists() or lock.acquire():
                shutil.rmtree(left, ignore_errors=True)
    with contextlib.suppress(OSError):
        root.rmdir()
