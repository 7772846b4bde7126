"""HDF5 files, read with every check that their readers need: the one home of their errors.

Every access names what it expects, and what it cannot get is a `DataError` with file, key and cause. What this process
has not written is opened by another one (`pulsar.io.hdf5_apart`).
"""

import contextlib
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from pulsar.data.files import Closing, Writing, check_file
from pulsar.data.text import printable, shown
from pulsar.data.unfinished import Unfinished, undisturbed
from pulsar.errors import ConfigError, DataError, PulsarError, refused
from pulsar.io.hdf5_apart import H5PY, Apart, Content, Mark, cause_of, mark_of, type_of
from pulsar_kernels.arrays import Array

#: Bytes of memory that a file may take while it is open, and more by its size up to as many again: 1 GiB and itself at
#: most. A FAST beam's mask takes 76 kB a block of 0.25 s: half an hour; `--mask` adds what the observation has.
_ROOM: Final = 1 << 29
#: What to do about a damaged file.
ADVICE: Final = "copy it again, or make it anew"
#: Files that this process has written, as they are: these it opens itself.
_written: set[Mark] = set()


def note_written(path: Path) -> None:
    """Remember that this process has written a file."""
    with contextlib.suppress(OSError):
        _written.add(mark_of(path.stat()))


@dataclass(frozen=True)
class Stored:
    """A data set, unread."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None  # Shape of the pieces that are packed one by one
    stored: int  # Bytes that are stored for it


class Hdf5(Closing):
    """An HDF5 file, open for reading; use it as a context manager.

    Parameters
    ----------
    expected : str
        What it should be, in words.
    content : bytes, optional
        What the file holds, where it was never written.

    Attributes
    ----------
    room : int
        Bytes of memory that what is read of it may still take; who knows that more is right adds to it.

    Raises
    ------
    DataError
        It is missing, no file, no HDF5, or so damaged that it cannot be opened.
    """

    def __init__(self, path: Path, expected: str, *, content: bytes | None = None) -> None:
        self.path = path
        state = None if content is not None else check_file(path, expected)
        self.size = len(content or b"") if state is None else state.st_size
        self.room = _ROOM + min(8 * self.size, _ROOM + self.size)
        try:
            self._content = _opened(path, content, state)
        except H5PY as error:
            start = MAGIC if content is not None else first_bytes(path, expected)
            if start == MAGIC:
                raise self.damaged(f"not whole HDF5 ({cause_of(error)})") from error
            raise DataError(f"{path}: not an HDF5 file (starts with {start!r}); expected {expected}") from error

    def close(self) -> None:
        """Close the file."""
        self._content.close()

    def damaged(self, fault: str) -> DataError:
        """The error of a file that is not what its writer wrote."""
        return DataError(f"{self.path}: damaged or truncated HDF5 file: {fault}; {ADVICE}")

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except H5PY as error:
            raise self.damaged(f"{printable(name)} cannot be read: {cause_of(error)}") from error

    def _ask(self, method: str, name: str, *args: Any) -> Any:
        with self._reading(name):
            return self._content.ask(method, name, *args)

    def has(self, name: str) -> bool:
        """True if there is a group or data set of that name."""
        return bool(self._ask("has", name))

    def names(self, group: str) -> list[str]:
        """Names in a group; none where it is missing."""
        return list(self._ask("names", group))

    def attributes(self, name: str = "/") -> dict[str, Any]:
        """All attributes of a group or data set: numbers, texts as str, arrays of either as arrays and tuples."""
        with self._reading(f"the attributes of {name}"):
            return {key: _value(value) for key, value in self._content.ask("attributes", name).items()}

    def attribute(self, name: str, key: str, default: Any, kind: type | tuple[type, ...]) -> Any:
        """One attribute of a type, or `default` where it is missing."""
        value = self.attributes(name).get(key, default)
        if not isinstance(value, kind):
            raise self.damaged(f"attribute {key} of {name} is {shown(value)}, expected {_words(kind)}")
        return value

    def dataset(self, name: str) -> Stored:
        """A data set whose size the file bears out, unread."""
        return self._borne_out(name, self._ask("dataset", name))

    def _borne_out(self, name: str, about: Mapping[str, Any]) -> Stored:
        shape, chunks = tuple(about["shape"]), about["chunks"]
        nbytes, stored = about["itemsize"] * math.prod(shape), min(about["stored"], self.size)
        # Most bytes that one stored byte can stand for: deflate's bound (zlib's technical notes), above that of LZ4
        # (255).
        if nbytes > 1032 * stored + 1:
            raise self.damaged(f"{name} should have {nbytes} bytes, of which the file holds {stored}")
        return Stored(type_of(about["type"]), shape, None if chunks is None else tuple(chunks), stored)

    def part(self, name: str, *spans: tuple[int, int]) -> Array:
        """The samples of a data set from one to before another, along each of its leading axes.

        Raises
        ------
        OSError
            They cannot be read.
        """
        return self._content.read(name, spans, lambda _: None)

    def array(
        self,
        name: str,
        kinds: str,
        shape: Sequence[int | None] | None = None,
        *,
        dtype: np.dtype[Any] | None = None,
        more: int = 0,
        borne_out: int = 0,
    ) -> Array:
        """A data set as an array.

        Parameters
        ----------
        kinds : str
            Letters of the numpy kinds that are expected, such as "fiu".
        shape : sequence of int or None, optional
            What is expected; None stands for any length.
        dtype : dtype, optional
            What it is made into; what does not fit becomes something that does.
        more : int
            Bytes that each of its elements takes elsewhere.
        borne_out : int
            Bytes that may be taken elsewhere for each that is stored of it, whatever else is.

        Raises
        ------
        DataError
            It is missing, cannot be read, is of another type or shape, or larger than it may be.
        """

        def check(about: Mapping[str, Any]) -> None:
            item = self._checked(name, about, kinds, shape)
            again = 0 if dtype is None or dtype == item.dtype else dtype.itemsize
            self._take(
                name, item, again, max(0, math.prod(item.shape) * more - borne_out * min(item.stored, self.size))
            )

        with self._reading(name):
            data = self._content.read(name, None, check)
        # Checks of values come after.
        with np.errstate(invalid="ignore", over="ignore"):
            return data if dtype is None else data.astype(dtype, copy=False)

    def _take(self, name: str, item: Stored, again: int, beside: int) -> None:
        """Refuse what takes more memory than is left for this file."""
        columns = [item.dtype[key] for key in item.dtype.names or ()]
        texts = sum(column.itemsize for column in columns if column.kind == "S")
        # Times of its bytes that a column of texts takes as it is read: UTF-32 as a column and in a table, and on the
        # way.
        needed = math.prod(item.shape) * (item.dtype.itemsize + 9 * texts + again) + beside
        if needed > self.room:
            raise DataError(
                f"{self.path}: {name} has the shape {item.shape} of {item.dtype.itemsize} bytes each and takes "
                f"{needed >> 20} MiB of memory; a file of {self.size} bytes may take {self.room >> 20} MiB more: "
                f"it is damaged, or made to fill the memory; {ADVICE}"
            )
        self.room -= needed

    def _checked(self, name: str, about: Mapping[str, Any], kinds: str, shape: Sequence[int | None] | None) -> Stored:
        """A data set of the type and shape that are expected."""
        item = self._borne_out(name, about)
        if item.dtype.kind not in kinds:
            raise self.damaged(f"{name} is of type {item.dtype}, expected one of the kinds {kinds}")
        if shape is not None and (
            len(item.shape) != len(shape)
            or any(s is not None and s != n for s, n in zip(shape, item.shape, strict=True))
        ):
            expected = tuple("any" if s is None else s for s in shape)
            raise self.damaged(f"{name} has the shape {item.shape}, expected {expected}")
        return item

    def text(self, name: str) -> str:
        """A data set of one text; its lines stay."""
        return self.texts(name, (), lines=True)[0]

    def texts(self, name: str, shape: Sequence[int | None] = (None,), *, lines: bool = False) -> tuple[str, ...]:
        """A data set of texts."""
        self._checked(name, self._ask("dataset", name), "SO", shape)
        return tuple(self._ask("texts", name, lines))


def _opened(path: Path, content: bytes | None, state: os.stat_result | None) -> Content | Apart:
    if state is None:
        return Apart(content or b"")
    mark = mark_of(state)
    return Content(path) if mark in _written else Apart(path.absolute(), mark)


#: How every HDF5 file begins.
MAGIC: Final = b"\x89HDF\r\n\x1a\n"


def first_bytes(path: Path, expected: str) -> bytes:
    """The eight bytes that tell a format.

    Raises
    ------
    DataError
        The file cannot be read; `expected` is what it should have been, in words.
    """
    check_file(path, expected)
    with refused(DataError, f"{path}: cannot be read", f"expected {expected}"), path.open("rb") as raw:
        return raw.read(len(MAGIC))


def _words(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join({str: "a text", int: "a whole number", float: "a number"}.get(k, k.__name__) for k in kinds)


def _value(value: Any) -> Any:
    """An attribute: lists of texts as tuples, of numbers as arrays."""
    if not isinstance(value, list):
        return value
    return tuple(value) if not value or isinstance(value[0], str) else np.asarray(value)


class Sink(io.FileIO):
    """A file that the HDF5 library writes to, and that never fails while it does.

    On a full disk the library ends the process (HDF5 2.0: a segmentation fault when objects are closed after a write
    has failed). So the first failure is kept here, the library is told that all went well, and the writer asks.

    Parameters
    ----------
    number : int
        Its descriptor, closed with it.

    Attributes
    ----------
    failed : OSError or None
        The first failure to write.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number, "w+")
        self.failed: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, or note why that cannot be."""
        view = memoryview(data).cast("B")
        nwritten = 0
        while nwritten < view.nbytes and self.failed is None:
            try:
                nwritten += super().write(view[nwritten:]) or 0
            except OSError as error:
                self.failed = error
        return view.nbytes

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or note why that cannot be."""
        if self.failed is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self.failed = error
        return size or 0

    def check(self) -> None:
        """Raise the failure that was kept."""
        if self.failed is not None:
            raise self.failed


class Hdf5Writer(Writing):
    """An HDF5 file that gets its name when it is whole, and is not there at all when writing fails.

    Parameters
    ----------
    path : Path
        Final name.
    overwrite : bool
        Replace a file that has it by then.

    Raises
    ------
    PulsarError
        Nothing can be written there.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path, self._overwrite = path, overwrite
        with refused(PulsarError, f"{path}: cannot be written"):
            self._part = Unfinished(path)
            self._sink = Sink(self._part.handle())
        self._file = h5py.File(self._sink, "w", libver=("earliest", "v112"))
        self._open = True

    def close(self) -> None:
        """Bring the file to disk and give it its final name; a second call does nothing.

        Raises
        ------
        ConfigError
            A file of that name has appeared since the start (without `overwrite`).
        PulsarError
            The disk is full or failed.
        """
        if not self._open:
            return
        with undisturbed():
            try:
                self._file.close()
                self._open = False
                self._sink.close()
                self._sink.check()
                self._part.commit(replace=self._overwrite)
                note_written(self.path)
            except FileExistsError as error:
                self.abort()
                raise ConfigError(
                    f"{self.path}: a file of that name has appeared meanwhile; give another --out"
                ) from error
            except (OSError, RuntimeError) as error:
                self.abort()
                raise self._not_written(error) from (self._sink.failed or error)

    def _not_written(self, error: Exception) -> PulsarError:
        """The first failure of the disk, of which whatever the library says is a consequence; else that error."""
        cause = self._sink.failed or error
        return PulsarError(f"{self.path}: cannot be written: {getattr(cause, 'strerror', None) or cause}")

    def __exit__(self, kind: type[BaseException] | None = None, error: BaseException | None = None, *_: Any) -> None:
        super().__exit__(kind)
        if self._sink.failed is not None and isinstance(error, Exception):
            raise self._not_written(error) from self._sink.failed

    def abort(self) -> None:
        """Remove what was written; the final name stays as it was."""
        if self._open:
            self._open = False
            with contextlib.suppress(OSError, RuntimeError):
                self._file.close()
        self._sink.close()
        self._part.discard()
