"""Files: what holds them until the end of a block; small ones read whole; numbers of binary ones; outputs; folders.

Who can write in a folder can put a link under any name there. So where others may write, too, folders and files are
opened by handle, the last part of a name is never followed where something is written or removed, and a folder that
holds what a run goes on from must be ours alone.
"""

import contextlib
import errno
import fcntl
import math
import os
import secrets
import shutil
import stat
import struct
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from pulsar.data.text import printable
from pulsar.errors import ConfigError, DataError, refused

if TYPE_CHECKING:
    from pulsar_kernels.arrays import Array


class Closing(ABC):
    """A holder of files, memory or processes until it is closed (a context manager)."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.close()


@contextmanager
def closed_on_error(held: Closing) -> Iterator[None]:
    """Close something only where the block ends with an error: what was opened is not the file that was expected."""
    try:
        yield
    except BaseException:
        held.close()
        raise


class Writing(Closing):
    """A writer of files that appear when the ``with`` block ends, and not at all where it ends with an error."""

    @abstractmethod
    def abort(self) -> None:
        """Delete what was written."""

    def __exit__(self, kind: type[BaseException] | None = None, *_: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


#: Most bytes of a list, an ephemeris or a configuration: a thousand times the longest in use, and little memory.
MOST_TEXT: Final = 1 << 26


def check_file(path: Path, what: str) -> os.stat_result:
    """Refuse what is not there, a folder, and what would never end or never answer: pipes and devices.

    Parameters
    ----------
    what : str
        What it should be, in words.

    Raises
    ------
    DataError
        Naming the file and what it is.
    """
    try:
        state = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file: expected {what}; check the name and the folder") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be opened: {reason}; expected {what}") from error
    if stat.S_ISDIR(state.st_mode):
        raise DataError(f"{path}: is a folder: expected {what}")
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"{path}: is a pipe or a device, not a file: expected {what}; write it to a file first")
    return state


def read_bytes(path: Path, what: str, *, most: int = MOST_TEXT) -> bytes:
    """The content of a file.

    Parameters
    ----------
    what : str
        What it should be, in words.
    most : int
        A file of more bytes is something else.

    Raises
    ------
    DataError
        It cannot be read, is no file, or is too large.
    """
    size = check_file(path, what).st_size
    if size > most:
        raise DataError(f"{path}: {size} bytes are too many for {what}: this is another file")
    with refused(DataError, f"{path}: {what} cannot be read"), path.open("rb") as stream:
        # A file that grows meanwhile is read as it was.
        return stream.read(size)


def read_text(path: Path, what: str, *, encoding: str = "utf-8-sig") -> str:
    """The text of a file with ends of lines as here, and no control codes; wrong bytes are U+FFFD.

    Parameters
    ----------
    what : str
        What it should be, in words.

    Raises
    ------
    DataError
        As :func:`read_bytes`.
    """
    return clean_text(read_bytes(path, what), encoding)


def clean_text(data: bytes, encoding: str = "utf-8-sig") -> str:
    """Bytes as a text, as :func:`read_text` gives it."""
    text = data.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")
    return printable(text, lines=True)


def check_output(path: Path | str, *, overwrite: bool = False) -> Path:
    """Refuse an output that exists or cannot be written, before any work is done.

    Parameters
    ----------
    overwrite : bool
        A file of that name may be replaced.

    Raises
    ------
    ConfigError
        The file exists (without `overwrite`), is a folder, or its folder is missing or not writable.
    """
    path = Path(path)
    folder = path.absolute().parent
    if path.is_dir():
        raise ConfigError(f"{path}: the output is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise ConfigError(
            f"{path}: the output exists already; give --overwrite (in Python overwrite=True) to replace it, or "
            "another name"
        )
    if not folder.is_dir():
        raise ConfigError(f"{path}: the folder {folder} does not exist; create it or give another name")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{path}: the folder {folder} cannot be written; give another name")
    return path


class Numbers:
    """The content of a file, as far as it was taken.

    Parameters
    ----------
    path : Path
        For messages.
    order : str
        Of the bytes of a number: "<" or ">".
    about : str
        What comes before the faults in messages.

    Attributes
    ----------
    at : int
        The byte that is taken next.
    """

    def __init__(self, path: Path, data: bytes, order: str = "<", about: str = "") -> None:
        self.path, self.data, self.order, self.about, self.at = path, data, order, about, 0

    def error(self, at: int, fault: str) -> DataError:
        """The error of what stands at a byte."""
        return DataError(f"{self.path}: {self.about}byte {at}: {fault}")

    def take(self, form: str, part: str) -> tuple[Any, ...]:
        """Numbers as `struct` names them; `part` is what they are, in words.

        Raises
        ------
        DataError
            The file ends before.
        """
        form = self.order + form
        return struct.unpack_from(form, self.data, self._past(struct.calcsize(form), part))

    def text(self, part: str, least: int, most: int) -> str:
        """A text of so many characters, their number first.

        Raises
        ------
        DataError
            The number is another one, or the file ends before.
        """
        start = self.at
        (n,) = self.take("i", part)
        if not least <= n <= most:
            raise self.error(start, f"expected the length of {part}, {least} to {most}, found {n}: it is damaged")
        raw: bytes = self.take(f"{n}s", part)[0]
        return raw.split(b"\0")[0].decode("latin-1").strip()

    def array(self, shape: tuple[int, ...], part: str, kind: str = "f8") -> "Array":
        """Numbers of a kind of numpy's.

        Raises
        ------
        DataError
            The file ends before.
        """
        # Which commands load when they need it.
        import numpy as np

        n = math.prod(shape)
        start = self._past(n * np.dtype(kind).itemsize, part)
        return np.frombuffer(self.data, f"{self.order}{kind}", n, start).reshape(shape)

    def _past(self, size: int, part: str) -> int:
        """Go past so many bytes; where they begin."""
        start, self.at = self.at, self.at + size
        if self.at > len(self.data):
            raise self.error(
                start,
                f"the file ends at byte {len(self.data)}, inside the {part}, up to byte {self.at}: it is truncated or "
                "damaged, fetch it again",
            )
        return start


#: Permission bits by which others can write.
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class Folder(Closing):
    """A folder by handle: what is done in it stays in it, whatever its name leads to meanwhile.

    Parameters
    ----------
    follow : bool
        Its name may be that of a link.

    Attributes
    ----------
    number : int
        Its descriptor.

    Raises
    ------
    OSError
        It is missing, no folder, a link that is not followed, or cannot be read.
    """

    def __init__(self, path: Path, *, follow: bool = True) -> None:
        self.path = path
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        try:
            self.number = os.open(path, flags)
        except OSError as error:
            raise not_ours(path) if not follow and error.errno in (errno.ELOOP, errno.ENOTDIR) else error from error

    @classmethod
    def own(cls, path: Path, ours: Callable[[str], bool], *, make: bool = False) -> Self:
        """A folder that nobody else can write in.

        Where others could until now, what has a name of ours is removed: it may be theirs.

        Parameters
        ----------
        ours : callable
            Whether a name is of what this program stores there.
        make : bool
            Make the folder where it is missing.

        Raises
        ------
        OSError
            It is missing, a link, or somebody else's.
        """
        if make:
            with contextlib.suppress(FileExistsError):
                path.mkdir(0o700)
        folder = cls(path, follow=False)
        with closed_on_error(folder):
            state = os.fstat(folder.number)
            if state.st_uid != os.geteuid() and state.st_uid != folder._owner_of_new():
                raise not_ours(path)
            if state.st_mode & _OTHERS_WRITE:
                # Some file systems know no permissions: nobody can be kept out there.
                with contextlib.suppress(OSError):
                    os.fchmod(folder.number, 0o700)
                if not os.fstat(folder.number).st_mode & _OTHERS_WRITE:
                    folder.clear(ours)
        return folder

    def _owner_of_new(self) -> int:
        """Whose the files are that this process makes here: file systems over a network may call us by another number.

        -1 where it can make none.
        """
        name = f".{secrets.token_hex(8)}"
        try:
            number = os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self.number)
        except OSError:
            return -1
        try:
            return os.fstat(number).st_uid
        finally:
            os.close(number)
            os.unlink(name, dir_fd=self.number)

    def claim(self) -> bool:
        """Lock it until it is closed; False where another process holds it."""
        try:
            fcntl.flock(self.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def names(self) -> list[str]:
        """Names of all that lies in it."""
        return os.listdir(self.number)  # noqa: PTH208  # by handle

    def has(self, name: str) -> bool:
        """True if there is a file of that name, not a link."""
        with contextlib.suppress(OSError):
            return stat.S_ISREG(stat_of(self.path / name, self).st_mode)
        return False

    def clear(self, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Remove what lies in it, as far as its names are `wanted`; of links the link."""
        for name in filter(wanted, self.names()):
            with contextlib.suppress(OSError):
                if stat.S_ISDIR(stat_of(self.path / name, self).st_mode):
                    shutil.rmtree(name, dir_fd=self.number)
                else:
                    os.unlink(name, dir_fd=self.number)

    def destroy(self) -> None:
        """Remove all of it."""
        self.clear()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def close(self) -> None:
        """Close the handle."""
        if self.number >= 0:
            os.close(self.number)
            self.number = -1


@contextmanager
def private(where: Path, prefix: str) -> Iterator[Folder]:
    """A new folder that only we can enter, under a name that nobody knows before; it goes at the end.

    What processes that were killed have left of such folders is removed first.

    Parameters
    ----------
    where : Path
        It is made in this folder, which others may use, too.
    prefix : str
        Of its name.
    """
    sweep(where, prefix)
    while True:
        folder = Folder(Path(tempfile.mkdtemp(prefix=prefix, dir=where)), follow=False)
        try:
            ours = folder.claim()
        except OSError:
            ours = True  # a file system on which folders cannot be locked: nothing is swept there
        if ours and folder.path.exists():
            break
        folder.close()  # it was swept before it was locked
    with folder:
        try:
            yield folder
        finally:
            folder.destroy()


def sweep(where: Path, prefix: str) -> None:
    """Remove folders of :func:`private` whose processes have ended without doing so."""
    for left in where.glob(f"{prefix}*"):
        # A link, and what belongs to somebody else, is left alone.
        with contextlib.suppress(OSError), Folder.own(left, lambda _: True) as folder:
            if folder.claim():
                folder.destroy()


def check_link(path: Path) -> None:
    """Refuse a link that another user has made; one of ours, such as to a larger disk, leads where we want.

    Raises
    ------
    OSError
    """
    with contextlib.suppress(FileNotFoundError):
        state = stat_of(path)
        if stat.S_ISLNK(state.st_mode) and state.st_uid != os.geteuid():
            raise not_ours(path)


def not_ours(path: Path) -> OSError:
    """The error of what lies under a name of ours, and is none of ours."""
    text = "a link, a pipe or something of another user lies there: remove it, or give another output"
    return OSError(errno.ELOOP, text, str(path))


def open_to_write(path: Path, folder: Folder | None = None, *, new: bool = False, flags: int = 0) -> int:
    """A descriptor of a file for reading and writing, made where it is missing.

    Parameters
    ----------
    folder : Folder, optional
        Its folder.
    new : bool
        It must not be there yet.
    flags : int
        More flags of :func:`os.open`.

    Raises
    ------
    OSError
        It cannot be opened, or is a link, a pipe or a device.
    """
    flags |= os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_EXCL if new else 0)
    try:
        number = os.open(path if folder is None else path.name, flags, 0o666, dir_fd=_handle(folder))
    except OSError as error:
        # Of a link Linux says ELOOP, or EACCES in folders such as /tmp.
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(stat_of(path, folder).st_mode):
                raise not_ours(path) from error
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise not_ours(path)
    return number


def open_to_read(path: Path, folder: Folder | None = None) -> int:
    """A descriptor of a file of ours for reading.

    Raises
    ------
    OSError
        It cannot be opened, or is a link.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(path if folder is None else path.name, flags, dir_fd=_handle(folder))


def stat_of(path: Path, folder: Folder | None = None) -> os.stat_result:
    """State of what lies under a name, a link not followed."""
    return os.stat(path if folder is None else path.name, dir_fd=_handle(folder), follow_symlinks=False)


def remove(path: Path, folder: Folder | None = None) -> None:
    """Remove a name."""
    os.unlink(path if folder is None else path.name, dir_fd=_handle(folder))


def _handle(folder: Folder | None) -> int | None:
    return None if folder is None else folder.number
