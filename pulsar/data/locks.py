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

#: Locked files of this process that are not to outlive it.
_fleeting: set[Path] = set()


def _try(path: Path) -> int | None:
    """A descriptor that holds the lock, None where somebody else does.

    Raises
    ------
    OSError
        The file cannot be opened, or its file system has no locks.
    """
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            # flock, not lockf: another look of this process at the same file does not end it. Linux has it on NFS too.
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_of(number, path):
                return number
        except BlockingIOError:
            os.close(number)
            return None
        except BaseException:
            os.close(number)
            raise
        # Who held it has removed or renamed the file meanwhile: another one bears its name, or none.
        os.close(number)


def _is_of(number: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False


class FileLock:
    """An exclusive lock on a file.

    Parameters
    ----------
    path : Path
        Made when missing; its content is left alone.
    fleeting : bool
        The file is removed when the lock is given back. Where the process is killed it stays, and is no obstacle.
    """

    def __init__(self, path: Path, *, fleeting: bool = False) -> None:
        self.path = path
        self.fleeting = fleeting
        self._number: int | None = None

    def acquire(self, timeout: float = 0.0) -> bool:
        """Take it; False where somebody else holds it for longer than `timeout` [s].

        Raises
        ------
        OSError
            The file cannot be opened, or its file system has no locks.
        """
        end = time.monotonic() + timeout
        while self._number is None:
            self._number = _try(self.path)
            if self._number is None:
                if time.monotonic() >= end:
                    return False
                time.sleep(POLL * (1.0 + random.random()))
        if self.fleeting:
            _fleeting.add(self.path)
        return True

    def sign(self, what: str) -> None:
        """Write into the locked file who holds it, and what for."""
        assert self._number is not None
        since = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"pid": os.getpid(), "host": socket.gethostname(), "what": what, "since": since}
        os.ftruncate(self._number, 0)
        os.pwrite(self._number, json.dumps(content).encode(), 0)

    def keep(self) -> None:
        """Leave the file when the lock is given back: it has another name now, or is what was wanted."""
        self.fleeting = False
        _fleeting.discard(self.path)

    def release(self) -> None:
        """Give it back."""
        if self._number is None:
            return
        number, self._number = self._number, None
        if self.fleeting:
            # Before others can have it: a file that they hold is not to be removed.
            with contextlib.suppress(OSError):
                self.path.unlink()
            _fleeting.discard(self.path)
        with contextlib.suppress(OSError):
            # A child that was forked just now has the same lock.
            fcntl.flock(number, fcntl.LOCK_UN)
        os.close(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def remove_fleeting() -> None:
    """Remove the files that are not to outlive this process, which is about to end without giving its locks back."""
    for path in tuple(_fleeting):
        with contextlib.suppress(OSError):
            path.unlink()


def is_held(path: Path) -> bool:
    """Whether some process holds the lock on a file; False where there is no such file."""
    if not path.exists():
        return False
    try:
        number = _try(path)
    except OSError:
        return False  # of somebody else's files nothing can be told
    if number is None:
        return True
    os.close(number)
    return False


def holder(path: Path) -> str:
    """Who holds a lock, in words; empty where nobody does."""
    return _told(path) if is_held(path) else ""


def _told(path: Path) -> str:
    """What stands in a file about who holds its lock."""
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
                f"{path.parent}: is in the hands of {_told(path)}: wait for it or end it; "
                "`pulsar batch status` shows how far it is"
            )
        lock.sign(what)
        yield


@contextmanager
def output_lock(out: Path, what: str = "pulsar search") -> Iterator[None]:
    """Hold the lock on an output while a run works for it; a lock of a run that was killed is no obstacle.

    Parameters
    ----------
    out : Path
        The lock is a hidden file beside it, ``.NAME.lock``, that goes with the run.
    what : str
        What works for it, for whoever meets the lock.

    Raises
    ------
    ConfigError
        Another run holds it: says which.
    """
    path = out.absolute().with_name(f".{out.name}.lock")
    with FileLock(path, fleeting=True) as lock:
        try:
            free = lock.acquire()
        except OSError:
            # A file system without locks: two runs on one output are as they were before there were any.
            yield
            return
        if not free:
            raise ConfigError(f"{out}: {_told(path)} is at work on it: wait for it or end it, or give another --out")
        with contextlib.suppress(OSError):  # a full disk: it is held all the same
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
