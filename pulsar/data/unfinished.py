"""Unfinished work: files under a temporary name until they are whole, and runs that can be gone on with."""

import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from pulsar.data.files import Writing
from pulsar.data.folders import Folder
from pulsar.data.locks import NO_LOCKS, FileLock

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
    path : Path
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
