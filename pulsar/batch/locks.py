"""Locks on files, which end with the process that holds them, however it ends."""

import contextlib
import fcntl
import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pulsar.errors import ConfigError

#: Who only looks holds the lock of a batch for a moment: so long is waited for it [s].
PATIENCE: Final = 2.0
#: Between two tries to get a lock that somebody else holds [s]: far below what a read of a block takes.
POLL: Final = 0.02


def _try(path: Path) -> int | None:
    """A descriptor that holds the lock, None where somebody else does."""
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        # flock, not lockf: another look of this process at the same file does not end it. Linux has it on NFS too.
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(number)
        return None
    return number


class FileLock:
    """An exclusive lock on a file.

    Parameters
    ----------
    path : Path
        Made when missing; its content is left alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._number: int | None = None

    def acquire(self, timeout: float = 0.0) -> bool:
        """Take it; False where somebody else holds it for longer than `timeout` [s]."""
        end = time.monotonic() + timeout
        while self._number is None:
            self._number = _try(self.path)
            if self._number is None:
                if time.monotonic() >= end:
                    return False
                time.sleep(POLL * (1.0 + random.random()))
        return True

    def sign(self, what: str) -> None:
        """Write into the locked file who holds it, and what for."""
        assert self._number is not None
        since = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"pid": os.getpid(), "host": socket.gethostname(), "what": what, "since": since}
        os.ftruncate(self._number, 0)
        os.pwrite(self._number, json.dumps(content).encode(), 0)

    def release(self) -> None:
        """Give it back."""
        if self._number is not None:
            os.close(self._number)
            self._number = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Whether some process holds the lock on a file; False where there is no such file."""
    if not path.exists():
        return False
    try:
        number = _try(path)
    except OSError:
        return False  # of somebody else's batch nothing can be told
    if number is None:
        return True
    os.close(number)
    return False


def holder(path: Path) -> str:
    """Who holds a lock, in words; empty where nobody does."""
    if not is_held(path):
        return ""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return f"process {int(found['pid'])} on {found['host']}, {found['what']} since {found['since']}"
    return "another process"


@contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of a batch while one process works on it.

    Raises
    ------
    ConfigError
        Another process holds it: says which.
    """
    with FileLock(path) as lock:
        try:
            free = lock.acquire(PATIENCE)
        except OSError as error:
            raise ConfigError(f"{path.parent}: this batch cannot be worked on: {path}: {error.strerror}") from error
        if not free:
            raise ConfigError(
                f"{path.parent}: is in the hands of {holder(path) or 'another process'}: wait for it or end it; "
                "`pulsar batch status` shows how far it is"
            )
        lock.sign(what)
        yield


class Slots:
    """So many readers at a time, over all processes and hosts that see one folder.

    A process holds one slot while any of its threads reads.

    Parameters
    ----------
    folder : Path
        Where the lock files are.
    count : int
        Readers at most; 0: no bound.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._paths = [folder / f"{i:03d}" for i in range(count)]
        self._mutex = threading.Lock()
        self._readers = 0
        self._held: int | None = None
        if count:
            folder.mkdir(parents=True, exist_ok=True)

    def __call__(self) -> contextlib.AbstractContextManager[None]:
        """A context in which one may read."""
        return self._slot() if self._paths else contextlib.nullcontext()

    @contextmanager
    def _slot(self) -> Iterator[None]:
        with self._mutex:
            if self._readers == 0:
                self._held = self._wait()
            self._readers += 1
        try:
            yield
        finally:
            with self._mutex:
                self._readers -= 1
                if self._readers == 0 and self._held is not None:
                    os.close(self._held)
                    self._held = None

    def _wait(self) -> int:
        while True:
            for path in random.sample(self._paths, len(self._paths)):
                number = _try(path)
                if number is not None:
                    return number
            time.sleep(POLL * (1.0 + random.random()))
