"""Small files read whole: only those that are files, and no more of them than may be; and files that may be written."""

import os
import stat
from pathlib import Path
from typing import Final

from pulsar.data.text import printable
from pulsar.errors import ConfigError, DataError

#: Most bytes of a list, an ephemeris or a configuration: a thousand times the longest in use, and little memory.
MOST_TEXT: Final = 1 << 26


def check_file(path: Path, what: str) -> os.stat_result:
    """Refuse what is not there, a folder, and what would never end or never answer: pipes and devices.

    Parameters
    ----------
    path : Path
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
    path : Path
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
    try:
        with path.open("rb") as stream:
            # A file that grows meanwhile is read as it was.
            return stream.read(size)
    except OSError as error:
        raise DataError(f"{path}: {what} cannot be read: {error.strerror}") from error


def read_text(path: Path, what: str, *, encoding: str = "utf-8-sig", most: int = MOST_TEXT) -> str:
    """The text of a file with ends of lines as here, and no control codes; wrong bytes are U+FFFD.

    Parameters
    ----------
    path : Path
    what : str
        What it should be, in words.
    encoding : str
    most : int
        A file of more bytes is something else.

    Raises
    ------
    DataError
        As :func:`read_bytes`.
    """
    return clean_text(read_bytes(path, what, most=most), encoding)


def clean_text(data: bytes, encoding: str = "utf-8-sig") -> str:
    """Bytes as a text, as :func:`read_text` gives it."""
    text = data.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")
    return printable(text, lines=True)


def check_output(path: Path | str, *, overwrite: bool = False) -> Path:
    """Refuse an output that exists or cannot be written, before any work is done.

    Parameters
    ----------
    path : Path or str
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
