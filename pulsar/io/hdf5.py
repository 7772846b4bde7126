"""HDF5 files, read with every check that their readers need: the one home of h5py's errors.

A damaged file can end the process inside the HDF5 library, or keep it there for ever. So each file is walked through in
a child process once, before it is opened here; where the child does not come back, the file is refused. Every access
names what it expects, and what it cannot get is a `DataError` with file, key and cause.
"""

import contextlib
import faulthandler
import io
import math
import os
import resource
import signal
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import h5py
import numpy as np
from h5py._objects import phil
from numpy.typing import NDArray

from pulsar.data.closing import Closing
from pulsar.data.files import check_file
from pulsar.data.text import printable
from pulsar.errors import DataError

#: What h5py raises on a damaged file, depending on where it notices.
_H5PY: Final = (
    OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, UnicodeError, OverflowError, MemoryError,
    IndexError, NotImplementedError,
)  # fmt: skip
#: CPU seconds that a walk through a file may take, and more for each of so many bytes: fifty times what ours do (0.04 s
#: for 0.1 MB; 2 cores of 2.5 GHz).
_PATIENCE: Final = 2
_BYTES_A_SECOND: Final = 1 << 20
#: Seconds until a disk that does not answer counts as a file that cannot be read.
_LONGEST: Final = 120
#: A data set is read whole in the walk up to this size, beyond it its ends are.
_WALKED: Final = 1 << 24
#: Objects walked through; the largest products have some thousands.
_MOST_OBJECTS: Final = 1 << 16
#: Most bytes that one stored byte can stand for: deflate's bound (zlib's technical notes), above that of LZ4 (255).
EXPANSION: Final = 1032
#: What the files already walked through had to say, by name, inode, size and time of change.
_walked: dict[tuple[str, int, int, int], str] = {}


class Hdf5(Closing):
    """An HDF5 file, open for reading; use it as a context manager.

    Parameters
    ----------
    path : Path
    what : str
        What it should be, in words.
    content : bytes, optional
        What the file holds, where it was never written.
    advice : str
        What to do about a damaged file.

    Raises
    ------
    DataError
        It is missing, no file, no HDF5, or so damaged that it cannot be walked through.
    """

    def __init__(
        self, path: Path, what: str, *, content: bytes | None = None, advice: str = "copy it again, or make it anew"
    ) -> None:
        self.path, self._advice = path, advice
        #: Names that lead to something.
        self._groups: set[bytes] = set()
        if content is not None:
            self.file = h5py.File(io.BytesIO(content), "r")
            self.size = len(content)
            return
        self.size = check_file(path, what).st_size
        wrong = walked_through(path)
        if wrong:
            raise self.damaged(wrong)
        try:
            self.file = h5py.File(path, "r")
        except _H5PY as error:
            start = first_bytes(path, what)
            if start == MAGIC:
                raise self.damaged(f"not whole HDF5 ({_told(error)})") from error
            raise DataError(f"{path}: not an HDF5 file (starts with {start!r}); expected {what}") from error

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(*_H5PY):
            self.file.close()

    def damaged(self, what: str) -> DataError:
        """The error of a file that is not what its writer wrote."""
        return DataError(f"{self.path}: damaged or truncated HDF5 file: {what}; {self._advice}")

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except _H5PY as error:
            raise self.damaged(f"{printable(name)} cannot be read: {_told(error)}") from error

    def _item(self, name: str) -> Any:
        with self._reading(name):
            if not self._linked(name):
                raise KeyError("it is missing")
            return self.file[name]

    def _linked(self, name: str) -> bool:
        """Whether the name leads to something in this file: links to other names or files lead nowhere here."""
        path = b""
        for part in name.split("/"):
            if not part:
                continue
            path += b"/" + part.encode()
            if path in self._groups:
                continue
            links = self.file.id.links
            if not links.exists(path) or links.get_info(path).type != h5py.h5l.TYPE_HARD:
                return False
            self._groups.add(path)
        return True

    def has(self, name: str) -> bool:
        """Whether there is a group or data set of that name."""
        with self._reading(name):
            return self._linked(name)

    def names(self, group: str) -> list[str]:
        """Names in a group; none where it is missing."""
        if not self.has(group):
            return []
        item = self._item(group)
        if not isinstance(item, h5py.Group):
            raise self.damaged(f"{group} is a {type(item).__name__.lower()}, expected a group")
        with self._reading(group):
            return [str(key) for key in item]

    def attributes(self, name: str = "/") -> dict[str, Any]:
        """All attributes of a group or data set: numbers, texts as str, arrays of either as arrays and tuples."""
        item = self._item(name)
        with self._reading(f"the attributes of {name}"):
            return {printable(str(key)): plain(item.attrs[key]) for key in item.attrs}

    def attribute(self, name: str, key: str, default: Any, kind: type | tuple[type, ...]) -> Any:
        """One attribute of a type, or `default` where it is missing."""
        item = self._item(name)
        with self._reading(f"the attributes of {name}"):
            value = plain(item.attrs[key]) if key in item.attrs else default
        if not isinstance(value, kind):
            raise self.damaged(f"attribute {key} of {name} is {_short(value)}, expected {_words(kind)}")
        return value

    def dataset(self, name: str) -> h5py.Dataset:
        """A data set whose size the file bears out, unread."""
        item = self._item(name)
        if not isinstance(item, h5py.Dataset):
            raise self.damaged(f"{name} is a {type(item).__name__.lower()}, expected a data set")
        with self._reading(name):
            nbytes, stored = _sizes(item)
        if nbytes > EXPANSION * min(stored, self.size) + 1:
            raise self.damaged(f"{name} should have {nbytes} bytes, of which the file holds {min(stored, self.size)}")
        return item

    def array(self, name: str, kinds: str, shape: Sequence[int | None] | None = None) -> NDArray[Any]:
        """A data set as an array.

        Parameters
        ----------
        name : str
        kinds : str
            Letters of the numpy kinds that are expected, such as "fiu".
        shape : sequence of int or None, optional
            What is expected; None stands for any length.

        Raises
        ------
        DataError
            It is missing, cannot be read, or is of another type or shape.
        """
        item = self.dataset(name)
        with self._reading(name):
            dtype, found = item.dtype, tuple(item.shape)
        if dtype.kind not in kinds:
            raise self.damaged(f"{name} is of type {dtype}, expected one of the kinds {kinds}")
        if shape is not None and (
            len(found) != len(shape) or any(s is not None and s != n for s, n in zip(shape, found, strict=True))
        ):
            expected = tuple("any" if s is None else s for s in shape)
            raise self.damaged(f"{name} has the shape {found}, expected {expected}")
        with self._reading(name):
            data = np.asarray(item[()])
        if data.dtype.kind not in kinds:
            raise self.damaged(f"{name} is empty, expected data")
        return data

    def texts(self, name: str, length: int | None = None) -> tuple[str, ...]:
        """A data set of texts."""
        return tuple(_text(t) for t in self.array(name, "SO", (length,)))

    def text(self, name: str) -> str:
        """A data set of one text; its lines stay."""
        return _text(self.array(name, "SO", ())[()], lines=True)


#: What stands before the checksum at the end of our own files.
_SEAL: Final = b"pulsar-search CRC-32"
#: How every HDF5 file begins.
MAGIC: Final = b"\x89HDF\r\n\x1a\n"


def first_bytes(path: Path, what: str) -> bytes:
    """The eight bytes that tell a format.

    Raises
    ------
    DataError
        The file cannot be read; `what` it should have been, in words.
    """
    check_file(path, what)
    try:
        with path.open("rb") as raw:
            return raw.read(len(MAGIC))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; expected {what}") from error


def _told(error: BaseException) -> str:
    """The cause in one line."""
    return printable(" ".join(str(error).split()))[:200] or type(error).__name__


def _short(value: Any) -> str:
    return printable(repr(value))[:80]


def _words(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join({str: "a text", int: "a whole number", float: "a number"}.get(k, k.__name__) for k in kinds)


def _text(value: Any, lines: bool = False) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return printable(text, lines=lines)


def plain(value: Any) -> Any:
    """A Python value from what h5py gives for an attribute."""
    if isinstance(value, bytes | str):
        return _text(value, lines=True)
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO":
        return tuple(_text(v) for v in value.ravel())
    return value.item() if isinstance(value, np.generic) else value


def _sizes(item: h5py.Dataset) -> tuple[int, int]:
    """Bytes that a data set should have, and those that are stored for it."""
    # Small ones may lie in the header of the object, which counts as nothing stored.
    made = item.id.get_create_plist()
    layout = made.get_layout()
    if layout == h5py.h5d.VIRTUAL or made.get_external_count():
        raise OSError("its samples are in another file")
    nbytes = item.id.dtype.itemsize * math.prod(item.id.shape)
    return nbytes, nbytes if layout == h5py.h5d.COMPACT else int(item.id.get_storage_size())


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
        done = 0
        while done < view.nbytes and self.failed is None:
            try:
                done += super().write(view[done:]) or 0
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

    def finish(self) -> None:
        """Close the file; raises the failure that was kept."""
        self.close()
        self.check()


def seal(path: Path) -> None:
    """Write a checksum behind the end of a finished file, where the library does not look.

    A file that bears it out is as its writer left it, and needs no walk before it is opened.

    Parameters
    ----------
    path : Path
    """
    with path.open("r+b") as stream:
        check = _checksum(stream, -1)
        stream.write(_SEAL + struct.pack("<I", check))


def is_sealed(path: Path) -> bool:
    """Whether a file ends with the checksum of what is before it.

    Parameters
    ----------
    path : Path
    """
    try:
        with path.open("rb") as stream:
            length = len(_SEAL) + 4
            size = stream.seek(0, os.SEEK_END) - length
            if size < 0:
                return False
            stream.seek(size)
            end = stream.read()
            if end[:-4] != _SEAL:
                return False
            stream.seek(0)
            return end[-4:] == struct.pack("<I", _checksum(stream, size))
    except OSError:
        return False


def _checksum(stream: BinaryIO, left: int) -> int:
    """CRC-32 of the next `left` bytes, or of all up to the end where that is negative."""
    check = 0
    while left and (piece := stream.read(1 << 20 if left < 0 else min(left, 1 << 20))):
        check = zlib.crc32(piece, check)
        left -= len(piece) if left > 0 else 0
    return check


def walked_through(path: Path) -> str:
    """What is wrong with a file so that this process should not open it; "" where nothing is.

    A child process reads what a reader would. Its end by a signal is what would have happened here.

    Parameters
    ----------
    path : Path
    """
    try:
        found = path.stat()
    except OSError:
        return ""
    mark = (str(path), found.st_ino, found.st_size, found.st_mtime_ns)
    if mark not in _walked:
        if len(_walked) > 4096:
            _walked.clear()
        _walked[mark] = "" if is_sealed(path) else _in_child(path, _PATIENCE + found.st_size // _BYTES_A_SECOND)
    return _walked[mark]


def _in_child(path: Path, patience: int) -> str:
    try:
        # No other thread is inside the HDF5 library when its state is copied.
        with phil, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
    except OSError:
        # No room for another process: what can be done without it is done.
        return ""
    if child == 0:
        _walk_and_end(path, patience)
    try:
        status = os.waitpid(child, 0)[1]
    except BaseException:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        raise
    if not os.WIFSIGNALED(status):
        return ""
    if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL, signal.SIGALRM):
        return f"the HDF5 library did not come to an end with it within {patience} s"
    return f"the HDF5 library ended by the signal {signal.Signals(os.WTERMSIG(status)).name} where it read it"


def _walk_and_end(path: Path, patience: int) -> None:
    """In the child: read all that a reader may, whatever the outcome, and end without a word."""
    try:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (patience, patience + 1))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_LONGEST)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        with h5py.File(path, "r") as file:
            _walk(h5py.h5g.open(file.id, b"/"), set())
    finally:
        os._exit(0)


def _walk(group: Any, done: set[int]) -> None:
    """Touch a group, all inside it, and all inside that; each object once, whatever links lead to it."""
    _attributes(group)
    for i in range(_tried(group.get_num_objs, 0)):
        name = _tried(lambda i=i: group.get_objname_by_idx(i), None)
        if name is None or _tried(lambda name=name: group.links.get_info(name).type, None) != h5py.h5l.TYPE_HARD:
            continue
        inside = _tried(lambda name=name: h5py.h5o.open(group, name), None)
        if inside is None or len(done) > _MOST_OBJECTS:
            continue
        mark = _tried(lambda inside=inside: h5py.h5o.get_info(inside).addr, -1)
        if mark in done:
            continue
        done.add(mark)
        if isinstance(inside, h5py.h5g.GroupID):
            _walk(inside, done)
            continue
        _attributes(inside)
        if isinstance(inside, h5py.h5d.DatasetID):
            _tried(lambda inside=inside: _touch(h5py.Dataset(inside)), None)


def _attributes(item: Any) -> None:
    for i in range(_tried(lambda: h5py.h5a.get_num_attrs(item), 0)):
        _tried(lambda i=i: _touch_attribute(item, i), None)


def _touch_attribute(item: Any, i: int) -> None:
    # To open one is to decode it; only what lies elsewhere in the file is more than that.
    attribute = h5py.h5a.open(item, index=i)
    if attribute.dtype.hasobject:
        space = attribute.shape
        if math.prod(space) < _MOST_OBJECTS:
            attribute.read(np.empty(space, dtype=attribute.dtype))


def _tried(action: Any, otherwise: Any) -> Any:
    try:
        return action()
    except _H5PY:
        return otherwise


def _touch(data: h5py.Dataset) -> None:
    nbytes, stored = _sizes(data)
    if nbytes > EXPANSION * min(stored, os.fstat(data.file.id.get_vfd_handle()).st_size) + 1:
        return
    if nbytes <= _WALKED or data.dtype.hasobject:
        data[()]
    elif data.shape and data.shape[0]:
        data[:1]
        data[-1:]
