"""Numbers and texts of a binary file, taken front to back; what is missing or absurd is told with its byte."""

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.errors import DataError


class Numbers:
    """The content of a file, as far as it was taken.

    Parameters
    ----------
    path : Path
        For messages.
    data : bytes
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

    def array(self, shape: tuple[int, ...], part: str, kind: str = "f8") -> NDArray[Any]:
        """Numbers of a kind of numpy's.

        Raises
        ------
        DataError
            The file ends before.
        """
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
