"""Unfinished work: locks, files under a temporary name until they are whole, and runs that can be gone on with."""

import contextlib
import errno
import fcntl
import json
import os
import random
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

from pulsar.data.files import Closing, Folder, Writing, open_to_write, remove, stat_of
from pulsar.data.text import printable
from pulsar.errors import ConfigError, refused

#: Who only looks holds the lock of a batch for a moment: so long is waited for it [s].
PATIENCE: Final = 2.0
#: Between two tries to get a lock that somebody else holds [s]: far below what a read of a block takes.
POLL: Final = 0.02

#: What a file system without locks says.
NO_LOCKS: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

#: Locks of this process whose files are not to outlive it.
_fleeting: "set[FileLock]" = set()


class FileLock(Closing):
    """An exclusive lock on a file.

    Parameters
    ----------
    path : Path
        Made when missing; its content is left alone. A link is not followed.
    fleeting : bool
        The file is removed when the lock is given back. Where the process is killed it stays, and is no obstacle.
    folder : Folder, optional
        The folder of the file, by handle.
    new : bool
        The file must not be there yet. Nobody else knows its name, so that it is ours on file systems without locks,
        too.

    Attributes
    ----------
    number : int or None
        Descriptor of the locked file, open for reading and writing.
    """

    def __init__(self, path: Path, *, fleeting: bool = False, folder: Folder | None = None, new: bool = False) -> None:
        self.path = path
        self.fleeting = fleeting
        self.number: int | None = None
        self._folder, self._new = folder, new

    def acquire(self, timeout: float = 0.0) -> bool:
        """Take it; False where somebody else holds it for longer than `timeout` [s].

        Raises
        ------
        OSError
            The file cannot be opened, is a link, a pipe or a device, or its file system has no locks.
        """
        end = time.monotonic() + timeout
        while self.number is None:
            self.number = self._try()
            if self.number is None:
                if time.monotonic() >= end:
                    return False
                time.sleep(POLL * (1.0 + random.random()))
        if self.fleeting:
            _fleeting.add(self)
        return True

    def _try(self) -> int | None:
        """A descriptor that holds the lock, None where somebody else does."""
        while True:
            number = open_to_write(self.path, self._folder, new=self._new)
            try:
                # flock, not lockf: another look of this process at the same file does not end it. Linux has it on NFS
                # too.
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._new or self._is_of(number):
                    return number
            except BlockingIOError:
                os.close(number)
                return None
            except OSError as error:
                if self._new and error.errno in NO_LOCKS:
                    return number
                os.close(number)
                raise
            # Who held it has removed or renamed the file meanwhile: another one bears its name, or none.
            os.close(number)

    def _is_of(self, number: int) -> bool:
        try:
            return os.path.samestat(os.fstat(number), stat_of(self.path, self._folder))
        except FileNotFoundError:
            return False

    def sign(self, what: str) -> None:
        """Write into the locked file who holds it, and what for; on a full disk it is held all the same."""
        assert self.number is not None
        if os.fstat(self.number).st_nlink > 1:
            return  # it is another file by a second name: its content is not ours
        since = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"pid": os.getpid(), "host": socket.gethostname(), "what": what, "since": since}
        with contextlib.suppress(OSError):
            os.ftruncate(self.number, 0)
            os.pwrite(self.number, json.dumps(content).encode(), 0)

    def keep(self) -> None:
        """Leave the file when the lock is given back: it has another name now, or is what was wanted."""
        self.fleeting = False
        _fleeting.discard(self)

    def remove(self) -> None:
        """Remove the name of the file."""
        with contextlib.suppress(OSError):
            remove(self.path, self._folder)

    def release(self) -> None:
        """Give it back."""
        if self.number is None:
            return
        number, self.number = self.number, None
        if self.fleeting:
            # Before others can have it: a file that they hold is not to be removed.
            self.remove()
            _fleeting.discard(self)
        with contextlib.suppress(OSError):
            # A child that was forked just now has the same lock.
            fcntl.flock(number, fcntl.LOCK_UN)
        os.close(number)

    close = release


def remove_fleeting() -> None:
    """Remove the files that are not to outlive this process, which is about to end without giving its locks back."""
    for lock in tuple(_fleeting):
        lock.remove()


def is_held(path: Path) -> bool:
    """True if some process holds the lock on a file; False where there is no such file."""
    if not path.exists():
        return False
    try:
        with FileLock(path) as lock:
            return not lock.acquire()
    except OSError:
        return False  # of somebody else's files nothing can be told


def holder(path: Path) -> str:
    """Who holds a lock, in words; empty where nobody does."""
    return _holder_text(path) if is_held(path) else ""


def _holder_text(path: Path) -> str:
    """The holder of a lock, as the file tells."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(path.read_text(encoding="utf-8"))
        text = f"process {int(content['pid'])} on {content['host']}, {content['what']} since {content['since']}"
        return printable(text)
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
        with refused(ConfigError, f"{path.parent}: this batch cannot be worked on: {path}"):
            free = lock.acquire(PATIENCE)
        if not free:
            raise ConfigError(
                f"{path.parent}: is in the hands of {_holder_text(path)}: wait for it or end it; "
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
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ConfigError(f"{path}: {error.strerror}") from error
            # A file system without locks: two runs on one output are as they were before there were any.
            yield
            return
        if not free:
            raise ConfigError(
                f"{out}: {_holder_text(path)} is at work on it: wait for it or end it, or give another --out"
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
        self._held: FileLock | None = None
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
                    self._held.release()
                    self._held = None

    def _wait(self) -> FileLock:
        while True:
            for path in random.sample(self._paths, len(self._paths)):
                lock = FileLock(path)
                if lock.acquire():
                    return lock
            time.sleep(POLL * (1.0 + random.random()))


#: What the end of a run by hand or by a batch system says where there is something to go on from.
GO_ON: Final = "use --resume to go on"
#: What ends a run from outside and can be answered.
ENDS: Final = (signal.SIGINT, signal.SIGTERM)

#: What tells of the runs that are going on whether they have left something to go on from.
_going_on: list[Callable[[], bool]] = []


class Unfinished(Writing):
    """A file that gets its name when it is whole, and is not there at all when writing fails (a context manager).

    It grows under a hidden name in the same folder, ``.NAME.part``, of which this process holds the lock. What a run
    left there that was killed is taken over; what another process is writing, and what is not ours, is left alone.

    Parameters
    ----------
    path : Path
        The name that it gets.
    folder : Folder, optional
        Its folder, which stays open; by default the one that the path names.

    Attributes
    ----------
    path, part : Path
        Its name, and where it grows until then.

    Raises
    ------
    OSError
        Nothing can be written there.
    """

    def __init__(self, path: Path, folder: Folder | None = None) -> None:
        self.path = path.absolute()
        self._closes = folder is None
        self._folder = Folder(self.path.parent) if folder is None else folder
        try:
            self._lock = self._claim()
        except BaseException:
            self._close_folder()
            raise
        self.part = self._lock.path

    def _claim(self) -> FileLock:
        lock = FileLock(self.path.with_name(f".{self.path.name}.part"), fleeting=True, folder=self._folder)
        try:
            while lock.acquire():
                assert lock.number is not None
                state = os.fstat(lock.number)
                if state.st_nlink == 1 and state.st_uid == os.geteuid():
                    os.ftruncate(lock.number, 0)
                    return lock
                if state.st_nlink == 1:
                    lock.keep()  # somebody else's
                    lock.release()
                    break
                # Left between its second name and the end of its first: what is whole stays.
                lock.release()
        except OSError as error:
            # What else is wrong the second name tells.
            if error.errno in NO_LOCKS:
                lock.remove()
        # A name that nobody else has.
        name = f".{self.path.name}.{secrets.token_hex(8)}.part"
        lock = FileLock(self.path.with_name(name), fleeting=True, folder=self._folder, new=True)
        lock.acquire()
        return lock

    def handle(self) -> int:
        """A descriptor of it for reading and writing, to be closed by who asks."""
        assert self._lock.number is not None
        return os.dup(self._lock.number)

    def commit(self, *, replace: bool = True) -> None:
        """Bring it to disk and give it its name.

        Parameters
        ----------
        replace : bool
            In place of a file that has the name already.

        Raises
        ------
        FileExistsError
            A file of that name has appeared, and is not to be replaced.
        OSError
            The disk is full or failed. Nothing is left.
        """
        assert self._lock.number is not None
        here = self._folder.number
        try:
            os.fsync(self._lock.number)
            if replace:
                os.replace(self.part.name, self.path.name, src_dir_fd=here, dst_dir_fd=here)
            else:
                self._link(here)
            self._lock.keep()
            os.fsync(here)
        except BaseException:
            self.discard()
            raise
        self.discard()

    def _link(self, here: int) -> None:
        # A hard link fails when the name exists, where a rename would destroy what somebody else has just written.
        try:
            os.link(self.part.name, self.path.name, src_dir_fd=here, dst_dir_fd=here)
        except FileExistsError:
            raise
        except OSError:  # file systems without hard links
            if self.path.exists():
                raise FileExistsError(str(self.path)) from None
            os.rename(self.part.name, self.path.name, src_dir_fd=here, dst_dir_fd=here)
        else:
            self._lock.remove()

    def discard(self) -> None:
        """Give it up, unless it has its name: the final name stays as it was."""
        self._lock.release()
        self._close_folder()

    def _close_folder(self) -> None:
        if self._closes:
            self._folder.close()

    close, abort = commit, discard


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a small file whole or not at all, in place of one that is there.

    Parameters
    ----------
    content : str or bytes
        Text is written as UTF-8.

    Raises
    ------
    OSError
        It cannot be written; one that was there is as it was.
    """
    with Unfinished(path) as file, os.fdopen(file.handle(), "wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def sweep(path: Path) -> None:
    """Remove what a run that was killed has left of an output under its temporary name, if anything."""
    part = path.absolute().with_name(f".{path.name}.part")
    if part.exists():
        with contextlib.suppress(OSError), FileLock(part, fleeting=True) as lock:
            lock.acquire()


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to disk."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def resumable(left: Callable[[], bool]) -> Iterator[None]:
    """Note at the end of a run from outside that it can be gone on with, if it has `left` something to go on from."""
    _going_on.append(left)
    try:
        yield
    except BaseException as stop:
        if GO_ON not in getattr(stop, "__notes__", ()) and left():
            stop.add_note(GO_ON)
        raise
    finally:
        _going_on.remove(left)


def something_left() -> bool:
    """True if a run of this process has left something to go on from."""
    return any(left() for left in tuple(_going_on))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Have an end from outside wait for the end of this context: for what must not be left in the middle.

    An error that is raised inside of a call from the HDF5 library leaves the library in a state in which it ends the
    process.
    """
    if threading.current_thread() is not threading.main_thread():
        # Signals are answered by the main thread.
        yield
        return
    came: list[int] = []

    def later(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.getsignal(number) for number in ENDS}
    answered = [number for number, answer in before.items() if callable(answer)]
    for number in answered:
        signal.signal(number, later)
    try:
        yield
    finally:
        for number in answered:
            signal.signal(number, before[number])
        if came:
            answer = before[signal.Signals(came[0])]
            assert callable(answer)
            answer(came[0], None)
