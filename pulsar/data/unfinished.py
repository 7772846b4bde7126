"""What is not finished yet: files under a temporary name until they are whole, and runs that can be gone on with."""

import contextlib
import errno
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from pulsar.data.locks import FileLock

#: What the end of a run by hand or by a batch system says where there is something to go on from.
GO_ON: Final = "use --resume to go on"
#: What ends a run from outside and can be answered.
ENDS: Final = (signal.SIGINT, signal.SIGTERM)

#: What a file system without locks says.
NO_LOCKS: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
#: For names that no other file of this process has.
_count = itertools.count()
#: What tells of the runs that are going on whether they have left something to go on from.
_going_on: list[Callable[[], bool]] = []


class Unfinished:
    """A file that gets its name when it is whole, and is not there at all when writing fails (a context manager).

    It grows under a hidden name in the same folder, ``.NAME.part``, of which this process holds the lock. What a run
    left there that was killed is taken over; what another process is writing is left alone.

    Parameters
    ----------
    path : Path
        The name that it gets.

    Attributes
    ----------
    path, part : Path
        Its name, and where to write until then. To be opened by this name, and not to be removed.

    Raises
    ------
    OSError
        Nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.part = self.path.with_name(f".{path.name}.part")
        self._lock = self._claim()

    def _claim(self) -> FileLock | None:
        for name in (f".{self.path.name}.part", f".{self.path.name}.{os.getpid()}-{next(_count)}.part"):
            self.part = self.path.with_name(name)
            lock = FileLock(self.part, fleeting=True)
            try:
                while lock.acquire():
                    if self.part.stat().st_nlink == 1:
                        os.truncate(self.part, 0)
                        return lock
                    # Left between its second name and the end of its first: what is whole stays.
                    lock.release()
            except PermissionError:
                if not self.part.exists():
                    raise
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                self.part.unlink(missing_ok=True)
        # No locks on this file system: nobody else has the second name.
        return None

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
        try:
            sync(self.part)
            if replace:
                self.part.replace(self.path)
            else:
                self._link()
            if self._lock is not None:
                self._lock.keep()
            sync(self.path.parent)
        except BaseException:
            self.discard()
            raise
        self._release()

    def _link(self) -> None:
        # A hard link fails when the name exists, where a rename would destroy what somebody else has just written.
        try:
            os.link(self.part, self.path)
        except FileExistsError:
            raise
        except OSError:  # file systems without hard links
            if self.path.exists():
                raise FileExistsError(str(self.path)) from None
            self.part.rename(self.path)
        else:
            self.part.unlink()

    def discard(self) -> None:
        """Remove it; the final name stays as it was."""
        if self._lock is None:
            self.part.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


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
    with Unfinished(path) as file:
        file.part.write_bytes(content.encode() if isinstance(content, str) else content)


def sweep(path: Path) -> None:
    """Remove what a run that was killed has left of an output under its temporary name, if anything."""
    part = path.absolute().with_name(f".{path.name}.part")
    if part.exists():
        lock = FileLock(part, fleeting=True)
        with contextlib.suppress(OSError), lock:
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
    """Whether a run of this process has left something to go on from."""
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
