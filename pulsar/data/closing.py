"""Holders of files, memory or processes, closed at the end of a ``with`` block."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self


class Closeable(Protocol):
    """Anything that can be closed."""

    def close(self) -> None:
        """Give back what is held."""


@contextmanager
def closed_on_error(held: Closeable) -> Iterator[None]:
    """Close something only where the block ends with an error: what was opened is not the file that was expected."""
    try:
        yield
    except BaseException:
        held.close()
        raise


class Closing(ABC):
    """A holder of files, memory or processes until it is closed (a context manager)."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Writing(Closing):
    """A writer of files that appear when the ``with`` block ends, and not at all where it ends with an error."""

    @abstractmethod
    def abort(self) -> None:
        """Delete what was written."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
