"""The content of an HDF5 file, as plain values; read by another process where the file is of unknown origin.

A hostile file can end the process inside the HDF5 library, keep it there for ever, or have it take all memory. Nothing
in a file tells that it is none. So this process lets another one open it, a copy of itself with limits of time and
memory, and takes from it numbers and texts only. Whatever becomes of that one, this one goes on.
"""

import atexit
import contextlib
import faulthandler
import gc
import io
import itertools
import json
import math
import mmap
import os
import resource
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NoReturn

import h5py
import numpy as np
from h5py._objects import phil
from numpy.typing import NDArray

from pulsar.data.text import printable
from pulsar.errors import PulsarError

#: What h5py raises on a damaged file, depending on where it notices.
H5PY: Final = (
    OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, UnicodeError, OverflowError, MemoryError,
    IndexError, NotImplementedError,
)  # fmt: skip
#: CPU seconds for a question about a file, and more for each of so many bytes of it: fifty times what ours take (0.02 s
#: for 3 MB). The index of a million chunks takes 1 s.
_PATIENCE: Final = 1.0
#: Address space beyond that of the start. A piece, its chunks packed and unpacked, and h5py's copies of texts fit in
#: with chunks of up to 64 MiB; those of ours have 1 MiB, of FBH5 4 MiB.
_ROOM: Final = 384 << 20
#: Bytes of the memory that two processes share, and that are read at once.
_PIECE: Final = 1 << 24
#: Processes at once: that which was asked longest ago makes room for another.
_MOST_PROCESSES: Final = 16
#: Bytes of memory from which on a copy is ended with its file: three times what a search has at its start.
_LARGE: Final = 1 << 30

#: What tells a file and its state: device, inode, size, times of change [ns].
Mark = tuple[int, int, int, int, int]
#: What tells what is read: a path or bytes in memory, and the mark of a file.
Key = tuple[str | int, Mark | None]
#: From one element to before another, of each of the leading axes.
Part = Sequence[tuple[int, int | None]]
Spans = Sequence[tuple[int, int]]
#: Refuses what is too large.
Check = Callable[[dict[str, Any]], object]


def mark_of(state: os.stat_result) -> Mark:
    """The mark of a file and its state."""
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def cause_of(error: BaseException) -> str:
    """The cause in one line."""
    return printable(" ".join(str(error).split()))[:200] or type(error).__name__


def text_of(value: Any, lines: bool = False) -> str:
    """A text from a file, as it may be shown."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return printable(text, lines=lines)


class Content:
    """The content of an HDF5 file, as h5py has it but in plain values; every method may raise one of `H5PY`.

    Parameters
    ----------
    source : Path or bytes
    """

    def __init__(self, source: Path | bytes) -> None:
        self._file = h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")
        #: Names that lead to something.
        self._groups: set[bytes] = set()
        #: Data sets that were read, and what they are.
        self._sets: dict[str, tuple[dict[str, Any], h5py.Dataset]] = {}

    def ask(self, method: str, *args: Any) -> Any:
        """The answer of one of the methods below."""
        return getattr(self, method)(*args)

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(*H5PY):
            self._file.close()

    def _item(self, name: str) -> Any:
        if not self.has(name):
            raise KeyError("it is missing")
        return self._file[name]

    def has(self, name: str) -> bool:
        """True if the name leads to something in this file: links to other names or files lead nowhere here."""
        path = b""
        for part in filter(None, name.split("/")):
            path += b"/" + part.encode()
            if path not in self._groups:
                links = self._file.id.links
                if not links.exists(path) or links.get_info(path).type != h5py.h5l.TYPE_HARD:
                    return False
                self._groups.add(path)
        return True

    def names(self, group: str) -> list[str]:
        """Names in a group; none where it is missing."""
        if not self.has(group):
            return []
        item = self._item(group)
        if not isinstance(item, h5py.Group):
            raise TypeError(f"it is a {type(item).__name__.lower()}, expected a group")
        return [str(key) for key in item]

    def attributes(self, name: str) -> dict[str, Any]:
        """Attributes: numbers and texts, lists of either."""
        return {printable(str(key)): _plain(value) for key, value in self._item(name).attrs.items()}

    def dataset(self, name: str) -> dict[str, Any]:
        """Type, shape and chunks of a data set, and the bytes that are stored for it."""
        item = self._item(name)
        if not isinstance(item, h5py.Dataset):
            raise TypeError(f"it is a {type(item).__name__.lower()}, expected a data set")
        made = item.id.get_create_plist()
        layout = made.get_layout()
        if layout == h5py.h5d.VIRTUAL or made.get_external_count():
            raise OSError("its samples are in another file")
        for number in range(made.get_nfilters()):
            if not h5py.h5z.filter_avail(made.get_filter(number)[0]):
                _more_filters()
        stored = int(item.id.get_storage_size())
        if layout == h5py.h5d.COMPACT:
            # It lies in the header of the object, which counts as nothing stored.
            stored = max(stored, item.id.dtype.itemsize * math.prod(item.shape or ()))
        if item.shape is None:
            raise ValueError("it is empty, expected data")
        return {
            "type": _described(item.dtype),
            "itemsize": item.id.dtype.itemsize,
            "shape": list(item.shape),
            "chunks": None if item.chunks is None else list(item.chunks),
            "stored": stored,
        }

    def texts(self, name: str, lines: bool) -> list[str]:
        """A data set of texts, one after the other; whether their lines stay."""
        item = self._item(name)
        if item.dtype.kind not in "SO":
            raise TypeError(f"it is of type {item.dtype}, expected texts")
        return [text_of(t, lines) for t in np.asarray(item[()], dtype=object).ravel()]

    def about(self, name: str) -> dict[str, Any]:
        """The same of a data set that is read; texts of a table have a width here."""
        # Of each piece of an observation all chunks would be counted.
        if name not in self._sets:
            about, item = self.dataset(name), self._file[name]
            if item.dtype.names and item.dtype.hasobject:
                item = _fixed(np.asarray(item[()]))
                about["type"] = _described(item.dtype)
            self._sets[name] = about, item
        return self._sets[name][0]

    def read(self, name: str, part: Part | None, check: Check) -> NDArray[Any]:
        """A data set as an array, or a part of its leading axes; `check` is told what it is before memory is taken."""
        spans, out = _room_for(self.about(name), part, check)
        self.fill(out, name, spans)
        return out

    def fill(self, out: NDArray[Any], name: str, spans: Spans) -> None:
        """Fill an array with a part of a data set that :meth:`about` has told of."""
        item, place = self._sets[name][1], tuple(slice(*span) for span in spans)
        if not place or isinstance(item, np.ndarray):
            out[...] = item[place]
        elif out.size:
            item.read_direct(out.view(item.dtype), place)


def _more_filters() -> None:
    """Filters that h5py does not have, such as bitshuffle, where they are installed."""
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401


def _room_for(about: dict[str, Any], part: Part | None, check: Check) -> tuple[Spans, NDArray[Any]]:
    """From one element to before another along each axis, and an array for them."""
    given = [range(n)[slice(*span)] for n, span in zip(about["shape"], part or (), strict=False)]
    spans = [(span.start, span.stop) for span in (*given, *map(range, about["shape"][len(given) :]))]
    shape = [max(stop - start, 0) for start, stop in spans]
    check(about | {"shape": shape})
    dtype = type_of(about["type"])
    if dtype.hasobject:
        raise TypeError(f"it is of type {dtype}, expected numbers")
    return spans, np.empty(shape, dtype=dtype)


def _pieces(spans: Spans, itemsize: int, chunks: Sequence[int] | None) -> Iterator[Spans]:
    """Parts of an array that fit into the memory that is shared."""
    if not spans:
        yield ()
        return
    sizes = [stop - start for start, stop in spans]
    axis = next((i for i in range(len(sizes)) if itemsize * math.prod(sizes[i + 1 :]) <= _PIECE), len(sizes) - 1)
    step = max(1, _PIECE // max(1, itemsize * math.prod(sizes[axis + 1 :])))
    if chunks and step > chunks[axis]:
        # Whole chunks, so that none is unpacked twice.
        step -= step % chunks[axis]
    for index in itertools.product(*(range(*span) for span in spans[:axis])):
        before = [(i, i + 1) for i in index]
        for at in range(*spans[axis], step):
            yield [*before, (at, min(at + step, spans[axis][1])), *spans[axis + 1 :]]


def _described(dtype: np.dtype[Any]) -> list[Any]:
    """A type as JSON knows it: its columns, or the one without a name, and its size."""
    columns = dtype.fields or {"": (dtype, 0)}
    if any(column.base.names for column, *_ in columns.values()):
        raise TypeError("its columns have columns")
    places = sorted((offset, offset + column.itemsize) for column, offset, *_ in columns.values())
    if any(end > start for (_, end), (start, _) in itertools.pairwise(places)):
        raise TypeError("its columns overlap")
    return [[(name, c.base.str, c.shape, offset) for name, (c, offset, *_) in columns.items()], dtype.itemsize]


def type_of(described: Sequence[Any]) -> np.dtype[Any]:
    """The type that was described."""
    columns, size = described
    dtype: np.dtype[Any]
    if [name for name, *_ in columns] == [""]:
        dtype = np.dtype(columns[0][1])
        return dtype
    names, kinds, shapes, offsets = zip(*columns, strict=True)
    formats = [(kind, tuple(shape)) if shape else kind for kind, shape in zip(kinds, shapes, strict=True)]
    dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
    return dtype


def _fixed(data: NDArray[Any]) -> NDArray[Any]:
    """A table with its texts in columns of a fixed width."""
    columns = {}
    for name in data.dtype.names or ():
        column = data[name]
        if column.dtype.hasobject:
            column = np.array([t if isinstance(t, bytes) else str(t).encode() for t in column.ravel()], dtype=bytes)
        columns[name] = column
    if not columns:
        raise TypeError(f"it is of type {data.dtype}, expected numbers")
    table = np.zeros(
        data.shape, dtype=[(name, column.dtype, column.shape[data.ndim :]) for name, column in columns.items()]
    )
    for name, column in columns.items():
        table[name] = column.reshape(table[name].shape)
    return table


def _plain(value: Any) -> Any:
    """An attribute as JSON knows it; None for what is neither number nor text."""
    if isinstance(value, bytes | str):
        return text_of(value, lines=True)
    if isinstance(value, np.ndarray):
        return [text_of(v) for v in value.ravel()] if value.dtype.kind in "SO" else _numbers(value)
    return _numbers(np.asarray(value)) if isinstance(value, np.generic | int | float) else None


def _numbers(value: NDArray[Any]) -> Any:
    if value.dtype.kind not in "biuf":
        return None
    return value.astype("f8" if value.dtype.kind == "f" else value.dtype).tolist()


class Apart:
    """The content of a file that a process of its own reads; its methods raise an OSError for whatever is wrong.

    Parameters
    ----------
    source : Path or bytes
    mark : Mark, optional
        Of the file, as it was found.
    """

    def __init__(self, source: Path | bytes, mark: Mark | None = None) -> None:
        self.source, self.mark = source, mark
        self.key = (id(source) if isinstance(source, bytes) else str(source), mark)
        self._abouts: dict[str, dict[str, Any]] = {}
        try:
            self.ask("has", "/")
        except BaseException:
            self.close()
            raise

    def ask(self, method: str, *args: Any, into: NDArray[Any] | None = None) -> Any:
        """The answer of a method of :class:`Content`; samples are put into an array."""
        while True:
            process = _pool.join(self)
            with process.lock:
                # It may have had to make room for that of another file.
                if not process.ended:
                    fault, answer = self._answer(process, [method, *args])
                    if into is not None and fault is None:
                        into[...] = np.frombuffer(process.shared, into.dtype, into.size).reshape(into.shape)
                    break
        if fault is not None:
            raise OSError(fault)
        return answer

    def _answer(self, process: "_Process", question: list[Any]) -> Any:
        try:
            process.link.send_bytes(json.dumps(question).encode())
            # Seconds until a disk that does not answer counts as a file that cannot be read.
            if not process.link.poll(120.0):
                raise TimeoutError
            # Most bytes of names, attributes and texts in an answer: a hundred times a configuration and the reasons
            # of 2^16 channels.
            return json.loads(process.link.recv_bytes(1 << 25))
        except (OSError, EOFError, ValueError) as error:
            why = _pool.refused[self.key] = process.end(late=isinstance(error, TimeoutError))
            raise OSError(why) from None
        except BaseException:
            # An answer is on its way: nothing more can be asked.
            process.end()
            raise

    def read(self, name: str, part: Part | None, check: Check) -> NDArray[Any]:
        """As of :class:`Content`."""
        if name not in self._abouts:
            self._abouts[name] = self.ask("about", name)
        about = self._abouts[name]
        spans, out = _room_for(about, part, check)
        for piece in _pieces(spans, out.dtype.itemsize, about["chunks"]) if out.size else ():
            place = tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(piece, spans, strict=True))
            self.ask("fill", name, piece, into=out[place])
        return out

    def close(self) -> None:
        """The file is not asked for any more."""
        process = _pool.of.get(self.key)
        with contextlib.suppress(OSError):
            if process is not None and not process.ended:
                self.ask("close")
        if process is not None and process.large:
            process.stop()


class _Process:
    """A copy of this process that opens a file and answers questions about it."""

    def __init__(self, file: Apart) -> None:
        self.ended = False
        #: Kept, so that no other bytes get its id.
        self.source = file.source
        #: What this process gives back stays with a large copy: it does not wait to be asked again.
        self.large = _memory()[1] > _LARGE
        self.lock = threading.Lock()
        self.shared = mmap.mmap(-1, _PIECE)
        self.link, theirs = Pipe()
        # No other thread is inside the HDF5 library when its state is copied.
        with theirs, phil, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
            if self.pid == 0:
                _serve(theirs, file, self.shared)

    def stop(self) -> None:
        """End it when it has answered."""
        with self.lock:
            self.end()

    def end(self, late: bool = False) -> str:
        """End the process; why it had ended, in words."""
        self.ended = True
        self.link.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            # What has ended already keeps the signal that it ended by.
            os.kill(self.pid, signal.SIGKILL)
            status = os.waitpid(self.pid, 0)[1]
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            if late or number in (signal.SIGPROF, signal.SIGKILL):
                return "the HDF5 library did not come to an end with it in the time for a file of this size"
            if number:
                return f"the HDF5 library ended by the signal {signal.Signals(number).name} where it read it"
        return f"it takes more than {_ROOM >> 20} MiB to read"


class _Pool:
    """The processes by the files that they read, that which was asked last at the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.of: dict[Key, _Process] = {}
        #: Why files that have ended a process are not opened again.
        self.refused: dict[Key, str] = {}

    def join(self, file: Apart) -> _Process:
        """The process that has opened a file, or shall."""
        if file.key in self.refused:
            raise OSError(self.refused[file.key])
        with self._lock:
            process = self.of.pop(file.key, None)
            if process is None or process.ended:
                self.of = {key: other for key, other in self.of.items() if not other.ended}
                while len(self.of) >= _MOST_PROCESSES:
                    self.of.pop(next(iter(self.of))).stop()
                try:
                    process = _Process(file)
                except OSError as error:
                    raise PulsarError(
                        f"no process can be started to read HDF5 files: {error.strerror}; end some others"
                    ) from error
            self.of[file.key] = process
            return process


_pool = _Pool()


def _memory() -> tuple[int, int]:
    """Bytes of addresses and of memory that this process has; zeros where nothing tells."""
    with contextlib.suppress(OSError):
        addresses, resident, *_ = map(int, Path("/proc/self/statm").read_text().split())
        return addresses * resource.getpagesize(), resident * resource.getpagesize()
    return 0, 0


def _forget() -> None:
    """In a copy of this process: the others are not its own."""
    global _pool
    for process in _pool.of.values():
        process.ended = True
        process.link.close()
    _pool = _Pool()


os.register_at_fork(after_in_child=_forget)
atexit.register(lambda: [process.end() for process in _pool.of.values() if not process.ended])


def _serve(link: Connection, file: Apart, shared: mmap.mmap) -> NoReturn:
    """In the copy: answer until nobody asks any more, and end without a word."""
    try:
        _confine(link)
        size = file.mark[2] if file.mark else len(file.source) if isinstance(file.source, bytes) else 0
        patience = _PATIENCE + min(size / (1 << 24), 30.0)
        content: Content | None = None
        while True:
            method, *args = json.loads(link.recv_bytes())
            # So many CPU seconds until this process is ended.
            signal.setitimer(signal.ITIMER_PROF, patience)
            fault = answer = None
            try:
                content = content or _opened(file)
                if method == "fill":
                    _fill(content, shared, *args)
                else:
                    answer = content.ask(method, *args)
                content = None if method == "close" else content
            except H5PY as error:
                fault = cause_of(error)
            link.send_bytes(json.dumps([fault, answer]).encode())
    finally:
        os._exit(0)


def _fill(content: Content, shared: mmap.mmap, name: str, spans: Spans) -> None:
    """Put a part of a data set into the memory that is shared."""
    dtype = type_of(content.about(name)["type"])
    shape = [stop - start for start, stop in spans]
    content.fill(np.frombuffer(shared, dtype, math.prod(shape)).reshape(shape), name, spans)


def _opened(file: Apart) -> Content:
    if isinstance(file.source, Path) and mark_of(file.source.stat()) != file.mark:
        raise OSError("it was changed or replaced while it was being read")
    return Content(file.source)


def _confine(link: Connection) -> None:
    """Leave nothing of what was copied but this link, and take no more than is allowed."""
    gc.disable()
    faulthandler.disable()
    warnings.simplefilter("ignore")
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(quiet, descriptor)
    # The library goes on with a file that it has open already, whoever has opened it.
    kept = {2, link.fileno(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]}
    for file in h5py.h5f.get_obj_ids(types=h5py.h5f.OBJ_FILE):
        with contextlib.suppress(*H5PY):
            kept.add(int(file.get_vfd_handle()))
    for low, high in itertools.pairwise(sorted(kept)):
        os.closerange(low + 1, high)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used, _ = _memory()
    if used:
        resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM, used + _ROOM))
