"""Inputs of a unit copied to a local disk before they are read, and removed again."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from pulsar.data.folders import Folder, private
from pulsar.data.observation import InputFile

#: Bytes copied at a time: large enough for network file systems, small enough to end soon when told to.
PIECE: Final = 8 << 20


@contextmanager
def staged(
    inputs: Sequence[Path],
    stage: Path,
    ident: str,
    gate: Callable[[], AbstractContextManager[None]],
    tell: Callable[[str], None],
) -> Iterator[dict[Path, Path]]:
    """Copies of files in a new folder of ours, removed at the end; nothing where there is no room for them.

    Parameters
    ----------
    inputs : sequence of Path
    stage : Path
        The folder is made in this one, which others may use, too.
    ident : str
        Of the batch.
    gate : callable
        Gives the context in which shared storage may be read.
    tell : callable
        Called with what the astronomer should know.

    Yields
    ------
    dict of Path to Path
        Original -> copy, empty where nothing was copied.

    Raises
    ------
    DataError
        A file has changed while it was copied.
    """
    stage.mkdir(parents=True, exist_ok=True)
    with private(stage, copies_of(ident)) as folder:
        yield _copies(inputs, folder, gate, tell)


def copies_of(ident: str) -> str:
    """How the names of folders with copies for a batch begin."""
    return f"pulsar-batch-{ident}-"


def _copies(
    inputs: Sequence[Path],
    folder: Folder,
    gate: Callable[[], AbstractContextManager[None]],
    tell: Callable[[str], None],
) -> dict[Path, Path]:
    """Copies of all files; none where they do not fit, or no longer do when they are written."""
    files = [other for path in inputs for other in _companions(path)]
    needed, free = sum(path.stat().st_size for path in files), shutil.disk_usage(folder.path).free
    copies = {}
    try:
        if needed > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        # Files of one name from different folders must not meet.
        places = {path: folder.path / f"{i:04d}" for i, path in enumerate(dict.fromkeys(p.parent for p in files))}
        with gate():
            for path in files:
                copies[path] = places[path.parent] / path.name
                _copy(path, copies[path])
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        folder.clear()
        tell(
            f"{folder.path.parent}: {needed / 2**30:.2f} GiB do not fit, {free / 2**30:.2f} GiB are free: read in place"
        )
        return {}
    return copies


def _companions(path: Path) -> list[Path]:
    """A file with those that it cannot be read without."""
    other = path.with_suffix(".inf")
    return [path, other] if path.suffix == ".dat" and other.exists() else [path]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with source.open("rb") as file, target.open("xb") as copy:
        state = os.fstat(file.fileno())
        shutil.copyfileobj(file, copy, PIECE)
    InputFile.opened(source, 0, state).check_unchanged()
    # A result depends on the time of last change of its inputs, to be found again when a search goes on.
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
