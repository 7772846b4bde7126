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
import os
import resource
import signal
import socket
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import h5py
import numpy as np
from h5py._objects import phil

from pulsar.config.resources import resident_memory
from pulsar.data.candidate import table_of
from pulsar.data.text import printable
from pulsar.errors import PulsarError, refused
from pulsar_kernels.arrays import Array

#: What h5py raises on a damaged file, depending on where it notices.
H5PY: Final = (
    OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, UnicodeError, OverflowError, MemoryError,
    IndexError, NotImplementedError,
)  # fmt: skip
#: CPU seconds for a file, and more for each of so many bytes of it: fifty times what ours take (0.02 s for 3 MB). The
#: index of a million chunks takes 1 s.
_PATIENCE: Final = 1.0
_BYTES_A_SECOND: Final = 1 << 24
_MOST_PATIENCE: Final = 30.0
#: CPU seconds that come with each question and with each byte that was read: ours take 0.3 ms, and 1 s for 400 MB.
_A_QUESTION: Final = 0.01
_A_BYTE: Final = 1.0 / (1 << 26)
#: Seconds until a disk that does not answer counts as a file that cannot be read.
_LONGEST: Final = 120.0
#: Address space beyond that of the start. A piece, its chunks packed and unpacked, and h5py's copies of texts fit in
#: with chunks of up to 64 MiB; those of ours have 1 MiB, of FBH5 4 MiB.
_ROOM: Final = 384 << 20
#: Bytes that are read and sent at once.
_PIECE: Final = 1 << 24
#: Most bytes of names, attributes and texts in an answer: a hundred times a configuration and the reasons of 2^16
#: channels.
_MOST_WORDS: Final = 1 << 25
#: Processes at once: of more files some share one. Of those whose files are closed so many wait to be asked again.
_MOST_PROCESSES: Final = 16
_IDLE: Final = 4
#: Bytes of memory from which on a copy is ended with its last file: three times what a search has at its start.
_LARGE: Final = 1 << 30
#: Bytes of a message that goes in one piece: the other side wakes up once.
_SMALL: Final = 1 << 16
#: A message: what it is, and its length.
_HEAD: Final = struct.Struct("<cQ")

#: What tells a file and its state: device, inode, size, times of change [ns].
Mark = tuple[int, int, int, int, int]
#: From one element to before another, of each of the leading axes.
Part = Sequence[tuple[int, int | None]]
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
    """The content of an HDF5 file, as h5py has it but in plain values; every method may raise one of `H5PY`."""

    def __init__(self, source: Path | bytes) -> None:
        self._file = h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")
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
            links = self._file.id.links
            if not links.exists(path) or links.get_info(path).type != h5py.h5l.TYPE_HARD:
                return False
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
        plist = item.id.get_create_plist()
        layout = plist.get_layout()
        if layout == h5py.h5d.VIRTUAL or plist.get_external_count():
            raise OSError("its samples are in another file")
        for number in range(plist.get_nfilters()):
            if not h5py.h5z.filter_avail(plist.get_filter(number)[0]):
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

    def read(self, name: str, part: Part | None, check: Check) -> Array:
        """A data set as an array, or a part of its leading axes; `check` is told what it is before memory is taken."""
        about, pieces = self.pieces(name, part)
        out = _room_for(about, check)
        at = 0
        for piece in pieces:
            out.reshape(-1)[at : at + piece.size] = piece.reshape(-1)
            at += piece.size
        return out

    def pieces(self, name: str, part: Part | None) -> tuple[dict[str, Any], Iterator[Array]]:
        """Type and shape of a data set, or of a part of its leading axes, and its samples piece by piece."""
        # Of each piece of an observation all chunks would be counted.
        if name not in self._sets:
            self._sets[name] = self.dataset(name), self._file[name]
        about, item = self._sets[name]
        if item.dtype.names and item.dtype.hasobject:
            whole = _fixed(np.asarray(item[()]))
            return about | {"type": _described(whole.dtype)}, iter((whole,))
        spans = [range(n)[slice(*span)] for n, span in zip(item.shape, part or ((0, None),) * item.ndim, strict=False)]
        shape = [len(span) for span in spans] + list(item.shape[len(spans) :])
        return about | {"shape": shape}, _pieces(item, spans, shape)


def _more_filters() -> None:
    """Filters that h5py does not have, such as bitshuffle, where they are installed."""
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401


def _pieces(item: h5py.Dataset, spans: Sequence[range], shape: Sequence[int]) -> Iterator[Array]:
    if not shape:
        yield np.asarray(item[()])
        return
    step = max(1, _PIECE // max(1, item.dtype.itemsize * math.prod(shape[1:])))
    if item.chunks:
        # Whole chunks, so that none is unpacked twice.
        step = max(1, step // item.chunks[0]) * item.chunks[0]
    beside = tuple(slice(span.start, span.stop) for span in spans[1:])
    # One piece of memory for all: fresh pages take longer than to fill them.
    buffer = np.empty((min(step, shape[0]), *shape[1:]), dtype=item.dtype)
    for at in range(spans[0].start, spans[0].stop, step) if buffer.size else ():
        piece = buffer[: min(step, spans[0].stop - at)]
        item.read_direct(piece, (slice(at, at + len(piece)), *beside))
        yield piece


def _room_for(about: dict[str, Any], check: Check) -> Array:
    check(about)
    dtype = type_of(about["type"])
    if dtype.hasobject:
        raise TypeError(f"it is of type {dtype}, expected numbers")
    return np.empty(about["shape"], dtype=dtype)


def _described(dtype: np.dtype[Any]) -> list[Any]:
    """A type as JSON knows it: its columns, or the one without a name, and its size."""
    columns = dtype.fields or {"": (dtype, 0)}
    if any(column.base.names for column, *_ in columns.values()):
        raise TypeError("its columns have columns")
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


def _fixed(data: Array) -> Array:
    """A table with its texts in columns of a fixed width."""
    columns = {}
    for name in data.dtype.names or ():
        column = data[name]
        if column.dtype.hasobject:
            texts = [t if isinstance(t, bytes) else str(t).encode() for t in column.ravel()]
            column = np.array(texts, dtype=bytes).reshape(column.shape)
        columns[name] = column
    return table_of(columns)


def _plain(value: Any) -> Any:
    """An attribute as JSON knows it; None for what is neither number nor text."""
    if isinstance(value, bytes | str):
        return text_of(value, lines=True)
    if isinstance(value, np.ndarray):
        return [text_of(v) for v in value.ravel()] if value.dtype.kind in "SO" else _numbers(value)
    return _numbers(np.asarray(value)) if isinstance(value, np.generic | int | float) else None


def _numbers(value: Array) -> Any:
    if value.dtype.kind not in "biuf":
        return None
    return value.astype("f8" if value.dtype.kind == "f" else value.dtype).tolist()


class Apart:
    """The content of a file that a process of its own reads; its methods raise an OSError for whatever is wrong.

    Parameters
    ----------
    mark : Mark, optional
        Of the file, as it was found.
    """

    def __init__(self, source: Path | bytes, mark: Mark | None = None) -> None:
        self.source = source
        self.key: Mark | int = id(source) if mark is None else mark
        self._process = _pool.join(self)
        try:
            self.ask("has", "/")
        except BaseException:
            self.close()
            raise

    def ask(self, method: str, *args: Any) -> Any:
        """The answer of a method of :class:`Content`."""
        return self._talk(lambda process: process.words(), method, *args)

    def read(self, name: str, part: Part | None, check: Check) -> Array:
        """As of :class:`Content`."""

        def array_of(process: _Process) -> Array:
            out = _room_for(process.words(), check)
            process.fill(out)
            return out

        return np.asarray(self._talk(array_of, "pieces", name, part))

    def _talk(self, answer: Callable[["_Process"], Any], *question: Any) -> Any:
        if self._process.ended:
            self._process = _pool.join(self)
        return self._process.talk(self, answer, question)

    def close(self) -> None:
        """The file is not asked for any more."""
        with contextlib.suppress(OSError):
            if not self._process.ended:
                self.ask("close")
        _pool.leave(self._process)


class _Told(Exception):
    """The error that the process answers with."""


class _Process:
    """A copy of this process that opens files and answers questions about them."""

    def __init__(self, content: bytes | None) -> None:
        self.users, self.ended = 0, False
        #: Kept, so that no other bytes get its id.
        self.content = content
        #: What this process gives back stays with a large copy: it does not wait to be asked again.
        self.large = resident_memory() > _LARGE
        self._lock = threading.Lock()
        self.link, far_end = socket.socketpair()
        self.link.settimeout(_LONGEST)
        with far_end:
            # No other thread is inside the HDF5 library when its state is copied.
            with phil, warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self.pid = os.fork()
            if self.pid == 0:
                _serve(far_end, content)

    def talk(self, file: Apart, answer: Callable[["_Process"], Any], question: Sequence[Any]) -> Any:
        """Ask, and take the answer."""
        where = None if isinstance(file.source, bytes) else str(file.source)
        with self._lock:
            try:
                _send(self.link, b"?", json.dumps([where, file.key, *question]).encode())
                return answer(self)
            except _Told as error:
                raise OSError(str(error)) from None
            except PulsarError:
                # What it is was refused: it is on its way all the same.
                self.end()
                raise
            except OSError as error:
                why = self.end(late=isinstance(error, TimeoutError))
                if isinstance(file.key, tuple):
                    _pool.refused[file.key] = why
                raise OSError(why) from None
            except BaseException as error:
                # Half an answer is on its way: nothing more can be asked.
                self.end()
                if not isinstance(error, Exception):
                    raise
                raise OSError(cause_of(error)) from error

    def words(self) -> Any:
        """The next message, which is no array."""
        return json.loads(bytes(self._message(_MOST_WORDS)))

    def fill(self, out: Array) -> None:
        """Take the samples of an array."""
        left = out.reshape(-1).view(np.uint8).data if out.nbytes else memoryview(b"")
        while left.nbytes:
            left = left[len(self._message(left.nbytes, left)) :]

    def _message(self, most: int, into: memoryview | None = None) -> memoryview:
        kind, length = _HEAD.unpack(_filled(self.link, memoryview(bytearray(_HEAD.size))))
        if length > (_SMALL if kind == b"!" else most):
            raise OverflowError(f"{length} bytes of names and texts")
        message = _filled(self.link, memoryview(bytearray(length)) if into is None or kind == b"!" else into[:length])
        if kind == b"!":
            raise _Told(bytes(message).decode())
        return message

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
    """The processes, and which file each has opened."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[Mark | int, _Process] = {}
        self.processes: list[_Process] = []
        #: Why files that have ended a process are not opened again.
        self.refused: dict[Mark, str] = {}

    def join(self, file: Apart) -> _Process:
        """The process that has opened a file, or shall."""
        if isinstance(file.key, tuple) and file.key in self.refused:
            raise OSError(self.refused[file.key])
        with self._lock:
            self.processes = [process for process in self.processes if not process.ended]
            self._of = {key: process for key, process in self._of.items() if not process.ended}
            process = self._of.get(file.key)
            if process is None:
                content = file.source if isinstance(file.source, bytes) else None
                if len(self.processes) < _MOST_PROCESSES or content is not None:
                    process = _begun(content)
                    self.processes.append(process)
                else:
                    process = min(self.processes, key=lambda process: process.users)
                self._of[file.key] = process
            process.users += 1
            return process

    def leave(self, process: _Process) -> None:
        """A file of a process is closed."""
        with self._lock:
            process.users -= 1
            idle = [idler for idler in self.processes if not idler.users and not idler.ended]
            for idler in {*idle[:-_IDLE], *(idler for idler in idle if idler.large)}:
                idler.end()


_pool = _Pool()


def _begun(content: bytes | None) -> _Process:
    with refused(PulsarError, "no process can be started to read HDF5 files", "end some others"):
        return _Process(content)


def _forget() -> None:
    """In a copy of this process: the others are not its own."""
    global _pool
    for process in _pool.processes:
        process.ended = True
        process.link.close()
    _pool = _Pool()


os.register_at_fork(after_in_child=_forget)
atexit.register(lambda: [process.end() for process in _pool.processes if not process.ended])


def _filled(link: socket.socket, into: memoryview) -> memoryview:
    left = into
    while left.nbytes:
        n = link.recv_into(left)
        if not n:
            raise ConnectionError("the other side has ended")
        left = left[n:]
    return into


def _send(link: socket.socket, kind: bytes, message: bytes | memoryview) -> None:
    head = _HEAD.pack(kind, len(message))
    if len(message) < _SMALL:
        link.sendall(head + message)
    else:
        link.sendall(head)
        link.sendall(message)


def _serve(link: socket.socket, content: bytes | None) -> NoReturn:
    """In the copy: answer until nobody asks any more, and end without a word."""
    try:
        _confine(link)
        most = 0.0
        #: Those that were closed, too: a file has its time once.
        contents: dict[Any, Content | None] = {}
        while True:
            _, length = _HEAD.unpack(_filled(link, memoryview(bytearray(_HEAD.size))))
            where, key, method, *args = json.loads(bytes(_filled(link, memoryview(bytearray(length)))))
            key = tuple(key) if isinstance(key, list) else key
            _grant(_A_QUESTION, most)
            try:
                if key not in contents:
                    size = key[2] if where else len(content or b"")
                    most = max(most, _PATIENCE + min(size / _BYTES_A_SECOND, _MOST_PATIENCE))
                    _grant(most, most)
                opened = contents.get(key) or _opened(where, key, content)
                contents[key] = None if method == "close" else opened
                answer = opened.ask(method, *args)
                words, pieces = answer if method == "pieces" else (answer, ())
                _send(link, b"=", json.dumps(words).encode())
                for piece in pieces:
                    _send(link, b"#", piece.reshape(-1).view(np.uint8).data)
                    _grant(piece.nbytes * _A_BYTE, most)
            except ConnectionError:
                raise
            except H5PY as error:
                _send(link, b"!", cause_of(error).encode())
    finally:
        os._exit(0)


def _grant(seconds: float, most: float) -> None:
    """Let so many CPU seconds more pass, in all no more than `most`, until this process is ended."""
    signal.setitimer(signal.ITIMER_PROF, min(signal.getitimer(signal.ITIMER_PROF)[0] + seconds, most))


def _opened(where: str | None, key: Any, content: bytes | None) -> Content:
    if where is None:
        return Content(content or b"")
    path = Path(where)
    if mark_of(path.stat()) != key:
        raise OSError("it was changed or replaced while it was being read")
    return Content(path)


def _confine(link: socket.socket) -> None:
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
    with contextlib.suppress(OSError, ValueError):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM, used + _ROOM))
