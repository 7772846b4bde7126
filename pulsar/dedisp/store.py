"""The memory of dedispersion: asked for before it is needed, and where series are kept, there or in a scratch file."""

import math
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import DTypeLike

from pulsar.data.files import Closing
from pulsar.data.series import LINE, aligned
from pulsar.dedisp.plan import DMPlan, DMStage
from pulsar.errors import ConfigError, PulsarError, refused
from pulsar_kernels.arrays import Array, Int8s, Int16s

#: Memory is used for the first time so much at once [bytes]: on a slow virtual machine 20 ms, which may be waited for.
_PIECE: Final = 8 << 20


class Reserve(Closing):
    """Zeros, which a thread of its own has the system provide.

    Memory costs time where it is used for the first time: the system has to find and to clear it, and so has the host
    of a virtual machine. While a run begins there are moments in which not all processors are busy.

    Parameters
    ----------
    nbytes : int
        In all.
    """

    def __init__(self, nbytes: int) -> None:
        self._free: Int8s = np.zeros(nbytes, np.int8)
        self._samples: Int8s | None = None
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._use, args=(self._free,), name="memory", daemon=True)
        self._thread.start()

    def _use(self, free: Int8s) -> None:
        for first in range(0, free.size, _PIECE):
            if self._wanted.is_set():
                return
            # Bytes from one page to the next, at least.
            free[first : first + _PIECE : 4096] = 0

    def _stop(self) -> None:
        self._wanted.set()
        self._thread.join()

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array of zeros that begins at a cache line: of this memory, or other where not enough of it is left."""
        self._stop()
        size = math.prod(shape) * np.dtype(dtype).itemsize
        skip = -self._free.ctypes.data % LINE
        if skip + size > self._free.size:
            return aligned(shape, dtype)
        free, self._free = self._free[skip : skip + size], self._free[skip + size :]
        return free.view(dtype).reshape(shape)

    def keep(self, samples: Int8s) -> None:
        """Have cleaned samples for whoever needs them after dedispersion, shape (nchans, nsamps)."""
        self._samples = samples

    def left(self) -> Int8s | None:
        """The samples that were kept, if any, which are kept no longer."""
        samples, self._samples = self._samples, None
        return samples

    def close(self) -> None:
        """Give back what has not been taken."""
        self._stop()
        self._free, self._samples = np.zeros(0, np.int8), None


def _write(handle: int, data: Int16s, offset: int) -> None:
    view = memoryview(data.view(np.uint8).data).cast("B")
    while view:
        done = os.pwrite(handle, view, offset)
        view = view[done:]
        offset += done


def _read(handle: int, out: Int16s, offset: int) -> None:
    view = memoryview(out.view(np.uint8).data).cast("B")
    while view:
        done = os.preadv(handle, [view], offset)
        if not done:
            raise PulsarError(f"the scratch file ends at byte {offset}, short of what was written: was it truncated?")
        view = view[done:]
        offset += done


class StoredStage:
    """Series of one stage of the plan.

    Attributes
    ----------
    plan : DMStage
        Its trials.
    """

    def __init__(self, plan: DMStage, scratch: "_Scratch | None") -> None:
        self.plan = plan
        self._scratch = scratch
        self._chunks: list[tuple[int, int, int]] = []  # first sample, samples, offset in the file
        self._data = np.empty((plan.ndms, plan.nsamps), np.int16) if scratch is None else None

    @property
    def data(self) -> Int16s | None:
        """The whole, shape (ndms, nsamps), or None when it is in the scratch file."""
        return self._data

    def put(self, start: int, data: Int16s) -> None:
        """Store samples from `start` on of all trials, shape (ndms, n), C-contiguous; once for every stretch."""
        if self._data is not None:
            self._data[:, start : start + data.shape[1]] = data
        elif self._scratch is not None:
            # One stretch of all trials is one sequential write; a row is later one read from each stretch.
            offset = self._scratch.take(data.nbytes)
            self._scratch.write(data, offset)
            self._chunks.append((start, data.shape[1], offset))

    def row(self, index: int) -> Int16s:
        """Series of trial `index` of this stage, shape (nsamps,). Safe to call from several threads.

        Raises
        ------
        IndexError
            When there is no such trial.
        PulsarError
            When the scratch file cannot be read or the store is closed.
        """
        if not 0 <= index < self.plan.ndms:
            raise IndexError(f"trial {index} of a stage of {self.plan.ndms}")
        if self._data is not None:
            return np.asarray(self._data[index], dtype=np.int16)
        if self._scratch is None:
            raise PulsarError("the dedispersed series have been closed")
        out = np.empty(self.plan.nsamps, np.int16)
        for start, n, offset in self._chunks:
            self._scratch.read(out[start : start + n], offset + 2 * n * index)
        return out

    def release(self) -> None:
        """Forget the series."""
        self._data = None
        self._scratch = None
        self._chunks = []


class _Scratch:
    """An unnamed file: it goes when it is closed, even if the process is killed."""

    def __init__(self, folder: Path, nbytes: int) -> None:
        if not folder.is_dir():
            raise ConfigError(f"[run] scratch: {folder} is not a folder; create it or name another")
        free = shutil.disk_usage(folder).free
        if free < nbytes:
            raise ConfigError(
                f"[run] scratch: {folder} has {free / 2**30:.2f} GiB free, the dedispersed series need "
                f"{nbytes / 2**30:.2f} GiB: name another folder, raise memory, or narrow the DM range"
            )
        self.folder = folder
        with refused(ConfigError, f"[run] scratch: cannot write in {folder}"):
            self._file = tempfile.TemporaryFile(prefix="pulsar-dedisp-", dir=folder)  # noqa: SIM115
        self._end = 0
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> int:
        with self._lock:
            offset, self._end = self._end, self._end + nbytes
        return offset

    def write(self, data: Int16s, offset: int) -> None:
        remedy = "free some space there, name another folder with [run] scratch, or raise memory"
        with refused(PulsarError, f"cannot write dedispersed series in {self.folder}", remedy):
            _write(self._file.fileno(), data, offset)

    def read(self, out: Int16s, offset: int) -> None:
        try:
            _read(self._file.fileno(), out, offset)
        except (OSError, ValueError) as error:
            raise PulsarError(f"cannot read the scratch file in {self.folder}: {error}") from error

    def close(self) -> None:
        self._file.close()


class DMStore(Closing):
    """Dedispersed series of all stages; a context manager that removes its scratch file.

    Parameters
    ----------
    plan : DMPlan
        What is kept.
    scratch : Path or None
        Folder of the scratch file; None keeps everything in memory.

    Attributes
    ----------
    stages : tuple of StoredStage
        One for every stage of the plan: ``stages[i].row(j)``, ``stages[i].plan``.
    """

    def __init__(self, plan: DMPlan, scratch: Path | None) -> None:
        self.plan = plan
        self._scratch = None if scratch is None else _Scratch(scratch, plan.nbytes)
        self.stages: Sequence[StoredStage] = tuple(StoredStage(stage, self._scratch) for stage in plan.stages)

    def row(self, index: int) -> Int16s:
        """Series of trial `index` of the whole plan."""
        stage, row = self.plan.stage_of(index)
        return self.stages[stage].row(row)

    def close(self) -> None:
        """Release memory and remove the scratch file."""
        for stage in self.stages:
            stage.release()
        if self._scratch is not None:
            self._scratch.close()
