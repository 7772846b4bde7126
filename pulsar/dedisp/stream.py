"""Dedispersion of a whole observation, streamed, and the memory for it and for what it makes.

Every sample is read once. The gulps fill one buffer for each downsampling in use, which also keeps the stretch of
earlier samples that the delays still need; tiles of output are made as soon as their last delayed sample has come.
Nothing is computed twice at a gulp's border, and since all sums are of integers in a fixed order, the result does
not depend on gulps or threads. Series are kept in memory, or in a scratch file.
"""

import math
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike

from pulsar.data.files import Closing, closed_on_error
from pulsar.data.series import LINE, Space, aligned
from pulsar.data.source import Rows, SampleSource
from pulsar.dedisp.engine import Engine, make_engines, tile_size
from pulsar.dedisp.plan import DMPlan, DMStage
from pulsar.errors import ConfigError, PulsarError, refused
from pulsar_kernels.arrays import Array, Int8s, Int16s
from pulsar_kernels.dedisperse import halve, requantise

#: Channels that one task downsamples or moves.
_ROWS: Final = 64
#: Size of the newly read part of a gulp, at most [bytes]: 96 MiB take 6 % longer for a FAST beam, 224 gain 2 %.
GULP_BYTES: Final = 160 << 20
#: Memory is used for the first time so much at once [bytes]: on a slow virtual machine 20 ms, which may be waited for.
_PIECE: Final = 8 << 20


class Reserve(Closing):
    """Zeros, which a thread of its own has the system provide.

    Memory costs time where it is used for the first time: the system has to find and to clear it, and so has the host
    of a virtual machine. While a run begins there are moments in which not all processors are busy.

    `sizes`: bytes of each stretch, which the system is given back when all that is of it is forgotten.
    """

    def __init__(self, *sizes: int) -> None:
        self._free: list[Int8s] = [np.zeros(nbytes, np.int8) for nbytes in sizes]
        self._samples: Rows | None = None
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._use, args=(tuple(self._free),), name="memory", daemon=True)
        self._thread.start()

    def _use(self, stretches: Sequence[Int8s]) -> None:
        for free in stretches:
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
        for i, free in enumerate(self._free):
            skip = -free.ctypes.data % LINE
            if skip + size <= free.size:
                self._free[i] = free[skip + size :]
                return free[skip : skip + size].view(dtype).reshape(shape)
        return aligned(shape, dtype)

    def keep(self, samples: Rows) -> None:
        """Have cleaned samples for whoever needs them after dedispersion."""
        self._samples = samples

    def left(self) -> Rows | None:
        """The samples that were kept, if any, which are kept no longer."""
        samples, self._samples = self._samples, None
        return samples

    def close(self) -> None:
        """Give back what has not been taken."""
        self._stop()
        self._free, self._samples = [], None


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
        #: The whole, shape (ndms, nsamps), or None when it is in the scratch file.
        self.data: Int16s | None = np.empty((plan.ndms, plan.nsamps), np.int16) if scratch is None else None

    def put(self, start: int, data: Int16s) -> None:
        """Store samples from `start` on of all trials, shape (ndms, n), C-contiguous; once for every stretch."""
        if self.data is not None:
            self.data[:, start : start + data.shape[1]] = data
        elif self._scratch is not None:
            # One stretch of all trials is one sequential write; a row is later one read from each stretch.
            self._chunks.append((start, data.shape[1], self._scratch.append(data)))

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
        if self.data is not None:
            return np.asarray(self.data[index], dtype=np.int16)
        if self._scratch is None:
            raise PulsarError("the dedispersed series have been closed")
        out = np.empty(self.plan.nsamps, np.int16)
        for start, n, offset in self._chunks:
            self._scratch.read(out[start : start + n], offset + 2 * n * index)
        return out

    def release(self) -> None:
        """Forget the series."""
        self.data = self._scratch = None
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

    def append(self, data: Int16s) -> int:
        """Write an array at the end; where it begins."""
        with self._lock:
            begin, self._end = self._end, self._end + data.nbytes
        at, view = begin, memoryview(data.view(np.uint8).data).cast("B")
        remedy = "free some space there, name another folder with [run] scratch, or raise memory"
        with refused(PulsarError, f"cannot write dedispersed series in {self.folder}", remedy):
            while view:
                nwritten = os.pwrite(self._file.fileno(), view, at)
                view, at = view[nwritten:], at + nwritten
        return begin

    def read(self, out: Int16s, at: int) -> None:
        view = memoryview(out.view(np.uint8).data).cast("B")
        try:
            while view:
                nread = os.preadv(self._file.fileno(), [view], at)
                if not nread:
                    raise PulsarError(
                        f"the scratch file ends at byte {at}, short of what was written: was it truncated?"
                    )
                view, at = view[nread:], at + nread
        except (OSError, ValueError) as error:
            raise PulsarError(f"cannot read the scratch file in {self.folder}: {error}") from error

    def close(self) -> None:
        self._file.close()


class DMStore(Closing):
    """Dedispersed series of all stages; a context manager that removes its scratch file.

    `plan`: what is kept. `scratch`: folder of the scratch file; None keeps everything in memory.

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


class Channels:
    """Channels at one downsampling: a window over time that moves forward, or all of it.

    Attributes
    ----------
    stage : int
        Stage of the plan whose trials need it, -1 for none.
    engines : list of Engine
        Of that stage.
    start, end : int
        Samples (of this downsampling) in the buffer: from `start`, its column 0, up to `end`.
    done : int
        Samples of output made.
    """

    def __init__(self, nchans: int, downsample: int, nsamps: int, stage: int, engines: list[Engine]) -> None:
        self.nchans, self.downsample, self.nsamps = nchans, downsample, nsamps
        self.stage, self.engines = stage, engines
        self.tile = tile_size(nsamps)
        self.before = max((e.before for e in engines), default=0)
        self.after = max((e.after for e in engines), default=0)
        self.start = self.end = self.done = 0
        self.buffer = np.zeros((0, 0), np.int8)

    def columns(self, gulp: int) -> int:
        """Columns of the buffer for gulps of `gulp` raw samples."""
        history = self.before + self.after + self.tile if self.engines else 0
        return history + gulp // self.downsample

    def outputs(self, gulp: int) -> int:
        """Most samples that one gulp completes."""
        return gulp // self.downsample + self.tile if self.engines else 0

    def allocate(self, gulp: int, *, whole: bool = False, least: int = 0, reserve: Reserve | None = None) -> None:
        """Make the buffer, for a moving window or for the whole observation; what is not read yet counts as zero.

        It has `least` columns at least, and is of the memory of `reserve`.
        """
        columns = self.columns(gulp)
        if whole and self.engines:
            # The last gulp is written in full.
            gulps = -(-self.nsamps * self.downsample // gulp)
            columns = max(self.columns(0) + self.nsamps, self.before + gulps * (gulp // self.downsample))
            # Rows a power of two apart would share cache sets.
            columns = (-(-max(columns, least) // 64) | 1) * 64
        make = np.zeros if reserve is None else reserve.zeros
        self.buffer = make((self.nchans, columns), np.int8)
        self.start, self.end = -self.before, 0

    def ready(self) -> int:
        """Samples of output that can be made now: whole tiles, or all up to the end."""
        if not self.engines:
            return 0
        tiles = max(0, (self.end - self.after - self.done) // self.tile)
        return min(tiles * self.tile, self.nsamps - self.done)

    @property
    def finished(self) -> bool:
        """True if all output has been made."""
        return not self.engines or self.done >= self.nsamps

    def keep_from(self) -> int:
        """First sample that is still needed."""
        return self.end if self.finished else self.done - self.before


def _downsample(levels: list[Channels], gulp: int, rows: slice) -> None:
    """Fill the newest part of the downsampled buffers from that of the raw one."""
    raw = levels[0]
    column = raw.end - raw.start
    fresh = raw.buffer[rows, column : column + gulp]
    sums: Int16s | None = None
    factor = 1
    for level in levels[1:]:
        while factor < level.downsample:
            factor *= 2
            half = np.empty((fresh.shape[0], gulp // factor), np.int16)
            halve(fresh if sums is None else sums, half)
            sums = half
        if sums is None:
            continue
        n = gulp // factor
        # What is not a whole sample at the end of the observation is left out.
        valid = min(max(level.nsamps - level.end, 0), n)
        at = level.end - level.start
        requantise(sums, 1.0 / np.sqrt(factor), level.buffer[rows, at : at + n])
        level.buffer[rows, at + valid : at + n] = 0


def _shift(level: Channels, first: int, count: int, rows: slice) -> None:
    level.buffer[rows, :count] = level.buffer[rows, first : first + count].copy()


class Budget:
    """Sizes of the buffers for a gulp, and the choice of the gulp."""

    def __init__(self, levels: list[Channels], nsamps: int, threads: int) -> None:
        self.levels = levels
        self.nsamps = nsamps
        self.nchans = levels[0].nchans
        self.threads = threads
        engines = [e for level in levels for e in level.engines]
        self.work = max(e.work for e in engines)
        self.fixed = threads * (self.work + LINE) + sum(e.nbytes for e in engines)
        self.unit = max(level.downsample for level in levels)

    def working(self, gulp: int, staged: bool) -> int:
        """Bytes beside the series themselves."""
        total = self.fixed
        for level in self.levels:
            total += self.nchans * level.columns(gulp)
            # Copies while a buffer moves, and sums while it is downsampled, for the rows of each thread.
            total += self.threads * _ROWS * level.columns(gulp)
            if staged:
                total += 2 * sum(e.ndms for e in level.engines) * level.outputs(gulp)
        return total + self.threads * _ROWS * 2 * gulp

    def gulp(self, memory: int, staged: bool) -> int:
        """Largest gulp that fits, a multiple of the largest downsampling; 0 when none does."""
        longest = -(-self.nsamps // self.unit) * self.unit
        gulp = min(max(GULP_BYTES // self.nchans // self.unit, 1) * self.unit, longest)
        smallest = min(max(1024 // self.unit, 1) * self.unit, gulp)
        while gulp > smallest and self.working(gulp, staged) > memory:
            gulp = max(smallest, gulp // 2 // self.unit * self.unit)
        return gulp if self.working(gulp, staged) <= memory else 0


def stage_engines(
    source: SampleSource, stage: DMStage, method: str, threads: int, rows: tuple[int, int] | None = None
) -> list[Engine]:
    """Engines for all trials of a stage, in batches; only those that have some of the `rows`, if given."""
    return make_engines(
        source.freqs, source.fref, stage.dms, stage.tsamp, stage.nsamps, method, threads=threads, rows=rows
    )


def make_levels(plan: DMPlan, engines: Sequence[list[Engine]]) -> list[Channels]:
    """One level for every downsampling in use, the raw one always first; `engines` are those of each stage."""
    served: dict[int, tuple[int, list[Engine]]] = {1: (-1, [])}
    served |= {stage.downsample: (i, engines[i]) for i, stage in enumerate(plan.stages)}
    return [Channels(plan.freqs.size, d, plan.nsamps // d, *served[d]) for d in sorted(served)]


def check(source: SampleSource, plan: DMPlan) -> None:
    """Refuse a plan that is not this source's.

    Raises
    ------
    ConfigError
    """
    if len(source.freqs) == 0:
        raise ConfigError("no channel is left to dedisperse: relax [rfi] zap or chan_sigma")
    if plan.nsamps != source.nsamps or not np.isclose(plan.tsamp, source.tsamp, rtol=1e-9):
        raise ConfigError(
            f"the DM plan is for {plan.nsamps} samples of {plan.tsamp:g} s, the data have {source.nsamps} of "
            f"{source.tsamp:g} s: make the plan from this observation"
        )


def dedisperse(
    source: SampleSource,
    plan: DMPlan,
    *,
    threads: int = 1,
    memory: int = 1 << 30,
    progress: Callable[[int], None] | None = None,
    gulp: int | None = None,
) -> DMStore:
    """Dedisperse an observation for all trials of a plan, in one pass, into memory.

    Sample ``t`` of a series is the sum over channels of the samples that arrive ``delay(channel)`` after time ``t``
    at ``source.fref``. Where a delayed sample lies behind the end of the data it counts as 0, so a series is as
    long as the (downsampled) observation. Downsampled samples are sums over 2^k raw ones, scaled back to the noise
    of one and rounded to int8. Sums beyond int16 saturate.

    Parameters
    ----------
    plan : DMPlan
        Trials, and the method.
    threads : int
        Threads to use.
    memory : int
        Bytes that buffers and series may take.
    progress : callable, optional
        Called with the number of raw samples newly read; their sum is ``source.nsamps``.
    gulp : int, optional
        Raw samples read at once (rounded up to the largest downsampling); default from `memory`.

    Returns
    -------
    DMStore
        To be closed by the caller.

    Raises
    ------
    ConfigError
        When the memory is too small.
    """
    check(source, plan)
    threads = max(1, threads)
    levels = make_levels(plan, [stage_engines(source, stage, plan.method, threads) for stage in plan.stages])
    budget = Budget(levels, plan.nsamps, threads)
    size = budget.gulp(memory - plan.nbytes, False)
    if not size:
        raise too_small(budget, memory, plan)
    if gulp is not None:
        size = -(-max(gulp, 1) // budget.unit) * budget.unit
    store = DMStore(plan, None)
    with closed_on_error(store):
        stream(source, levels, size, store, threads, progress)
    return store


def too_small(budget: Budget, memory: int, plan: DMPlan, *, staged: bool = False) -> ConfigError:
    """The message where not even the buffers (and the series, if they are not `staged` to a file) fit."""
    need = budget.working(budget.unit, staged) + (0 if staged else plan.nbytes)
    return ConfigError(
        f"[run] memory: dedispersion may take {memory / 2**20:.0f} MiB but needs {need / 2**20:.0f} MiB "
        f"({plan.ndms} series; delays over the band at DM {plan.stages[-1].dm_last:g}): raise memory, or narrow the "
        "range of DMs"
    )


def run_together(pool: ThreadPoolExecutor, tasks: Sequence[tuple[Any, ...]]) -> None:
    """Run all, each a function and its arguments; the first error is raised after the others have ended."""
    futures = [pool.submit(*task) for task in tasks]
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise errors[0]


def _row_blocks(nchans: int) -> list[slice]:
    return [slice(c, min(c + _ROWS, nchans)) for c in range(0, nchans, _ROWS)]


def fill_gulp(source: SampleSource, levels: list[Channels], gulp: int, threads: int, pool: ThreadPoolExecutor) -> int:
    """Read the next gulp into the buffers of all levels; returns the raw samples read."""
    raw = levels[0]
    column = raw.end - raw.start
    fresh = min(max(source.nsamps - raw.end, 0), gulp)
    if fresh:
        edges = np.linspace(0, fresh, min(threads, fresh) + 1).astype(int).tolist()
        parts = [(source.read_into, raw.end + a, raw.buffer[:, column + a : column + b]) for a, b in pairwise(edges)]
        run_together(pool, parts)
    raw.buffer[:, column + fresh : column + gulp] = 0
    if len(levels) > 1:
        run_together(pool, [(_downsample, levels, gulp, rows) for rows in _row_blocks(raw.nchans)])
    for level in levels:
        level.end += gulp // level.downsample
    return fresh


def stream(
    source: SampleSource,
    levels: list[Channels],
    gulp: int,
    store: DMStore,
    threads: int,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Fill a store, gulp by gulp.

    Parameters
    ----------
    levels : list of Channels
        From `make_levels`, for the plan of the store.
    gulp : int
        Raw samples read at once, a multiple of the largest downsampling.
    progress : callable, optional
        Called with the number of raw samples newly read.
    """
    for level in levels:
        level.allocate(gulp)
    spaces, work = Space(), max(e.work for level in levels for e in level.engines)
    blocks = _row_blocks(len(source.freqs))

    def tile(level: Channels, out: Int16s, start: int, at: int, n: int) -> None:
        space = spaces.array("work", (work,), np.int8)
        for engine in level.engines:
            engine.run(level.buffer, start - level.start, space, out, at, n)

    with ThreadPoolExecutor(threads, thread_name_prefix="dedisp") as pool:
        while not all(level.finished for level in levels):
            fresh = fill_gulp(source, levels, gulp, threads, pool)
            tasks: list[tuple[Any, ...]] = []
            staged: list[tuple[Any, ...]] = []
            for level in levels:
                ready = level.ready()
                if not ready:
                    continue
                stage = store.stages[level.stage]
                if stage.data is not None:
                    out, offset = stage.data, level.done
                else:
                    out, offset = np.empty((stage.plan.ndms, ready), np.int16), 0
                    staged.append((stage.put, level.done, out))
                tasks += [
                    (tile, level, out, level.done + t, offset + t, min(level.tile, ready - t))
                    for t in range(0, ready, level.tile)
                ]
                level.done += ready
            run_together(pool, tasks)
            run_together(pool, staged)
            moves: list[tuple[Any, ...]] = []
            for level in levels:
                first = min(max(level.keep_from() - level.start, 0), level.end - level.start)
                count = level.end - level.start - first
                if first and not level.finished:
                    moves += [(_shift, level, first, count, rows) for rows in blocks]
                level.start += first
            run_together(pool, moves)
            if progress is not None and fresh:
                progress(fresh)
