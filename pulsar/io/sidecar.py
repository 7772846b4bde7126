"""Adding to files of judgements: each is on the disk before anybody is told so, and several processes share a file."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pulsar.data.locks import NO_LOCKS, FileLock
from pulsar.data.unfinished import sync
from pulsar.errors import ConfigError, PulsarError
from pulsar.io.labels import Label, Labels, header, lines, read_labels, whole

#: Another viewer adds a line in milliseconds; so long is waited for it [s].
PATIENCE: Final = 5.0


class Sidecar:
    """A file of judgements to which lines are added.

    Parameters
    ----------
    path : Path
        Made with the first judgement.

    Raises
    ------
    ConfigError
        It cannot be written.
    DataError
        It is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None
        self._labels = Labels()
        folder = path.absolute().parent
        if not folder.is_dir():
            raise ConfigError(f"{path}: the folder {folder} does not exist; give another --labels FILE")
        place = path if path.exists() else folder
        if not os.access(place, os.W_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
            raise ConfigError(f"{path}: judgements cannot be kept there: {place} is read-only; give --labels FILE")
        self.read()

    def read(self) -> Labels:
        """What stands in it now, also by other viewers."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._seen, self._labels = None, Labels()
            return self._labels
        seen = _state(found)
        if seen != self._seen:
            self._labels = read_labels(self.path)
            self._seen = seen
        return self._labels

    def add(self, entries: Sequence[Label]) -> None:
        """Add judgements; they are on the disk when this returns.

        Raises
        ------
        PulsarError
            It is not kept: the disk is full or failed, or another process holds the file.
        """
        try:
            with FileLock(self.path) as lock:
                if not self._held(lock):
                    raise PulsarError(f"{self.path}: another process holds it for more than {PATIENCE:g} s: not kept")
                known = self._seen is not None and self._seen == _state(self.path.stat())
                self._append(lines(entries).encode())
                if known:
                    # Nobody else has added anything: what was added need not be read again.
                    self._labels = Labels([*self._labels.entries, *entries])
                    self._seen = _state(self.path.stat())
        except OSError as error:
            raise PulsarError(f"{self.path}: the judgement was not kept: {error.strerror}") from error

    @staticmethod
    def _held(lock: FileLock) -> bool:
        try:
            return lock.acquire(PATIENCE)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return True  # a file system without locks: two viewers at once are not told apart there

    def _append(self, line: bytes) -> None:
        number = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            # Whoever wrote last may have been killed.
            end, lacking = whole(self.path.read_bytes())
            os.ftruncate(number, end)
            try:
                _write(number, (lacking if end else header().encode()) + line, end)
                os.fsync(number)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(number, end)
                raise
        finally:
            os.close(number)
        if not end:
            sync(self.path.absolute().parent)


def _state(found: os.stat_result) -> tuple[int, ...]:
    """What changes whenever a file does."""
    return found.st_ino, found.st_size, found.st_mtime_ns


def _write(number: int, data: bytes, at: int) -> None:
    while data:
        count = os.pwrite(number, data, at)
        data, at = data[count:], at + count
