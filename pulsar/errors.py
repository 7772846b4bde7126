"""Errors an astronomer can act on; the command line turns each into its exit code."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: What a system says where a disk, a quota or the size of a file is used up, and where a mount is read-only or gone.
STORAGE: Final = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV,
     errno.ESHUTDOWN, errno.EREMOTEIO, errno.EHOSTDOWN, errno.ETIMEDOUT)
)  # fmt: skip


class PulsarError(Exception):
    """A failure of this program (exit code 1)."""

    exit_code = 1


class ConfigError(PulsarError, ValueError):
    """Wrong usage or configuration: says which key, what was expected (exit code 2)."""

    exit_code = 2


class UnknownNameError(ConfigError, KeyError):
    """There is nothing of a name that was asked for: says what there is. A KeyError, too, as mappings raise."""

    def __str__(self) -> str:
        # KeyError shows its message as a text within quotes.
        return str(self.args[0]) if self.args else ""


class DataError(PulsarError, OSError):
    """Input that cannot be read: names the file, the byte, row or key, and the remedy (exit code 3)."""

    exit_code = 3

    def __str__(self) -> str:
        # OSError drops or reformats its arguments; the message is the first one, whole.
        return str(self.args[0]) if self.args else ""


@contextmanager
def refused(kind: type[PulsarError], what: str, remedy: str = "") -> Iterator[None]:
    """Make an error of the system one of this program: what went wrong, why in the words of the system, the remedy."""
    try:
        yield
    except OSError as error:
        raise kind(f"{what}: {error.strerror}" + (f"; {remedy}" if remedy else "")) from error


def storage_fault(error: BaseException | None) -> str:
    """The fault of the storage that an error comes from, in the words of the system; empty where nothing is.

    A piece of an input that its disk cannot read (EIO) is a fault of that file.
    """
    faults = STORAGE - {errno.EIO} if isinstance(error, DataError) else STORAGE
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number in faults and number is not None:
            return os.strerror(number)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return ""
