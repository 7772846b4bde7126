"""Streams of the writers of observations and series: whole or not there, with errors that name the output."""

import contextlib
import io
from pathlib import Path
from typing import Any, BinaryIO

from pulsar.data.unfinished import Unfinished
from pulsar.errors import DataError, PulsarError


class AtomicFile:
    """A file that appears under its name when it is complete, and not at all when writing fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = Unfinished(path)
            self.stream: BinaryIO = io.BufferedWriter(_Output(self._file.handle(), path))
        except OSError as error:
            raise DataError(
                f"{path}: cannot be written: {error.strerror}; check that the folder exists and is writable"
            ) from error

    def commit(self) -> None:
        """Close and rename."""
        try:
            self.stream.close()
            self._file.commit()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Close and delete."""
        try:
            with contextlib.suppress(PulsarError):
                self.stream.close()
        finally:
            self._file.discard()


class _Output(io.FileIO):
    """A file whose failures name what was to be written."""

    def __init__(self, number: int, path: Path) -> None:
        super().__init__(number, "w")
        self._path = path

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            raise PulsarError(f"{self._path}: cannot be written: {error.strerror}") from error
