"""Files: what holds them until the end of a block; small ones read whole; numbers of binary ones; outputs."""

import math
import os
import stat
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
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
