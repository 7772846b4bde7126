"""Dedispersion in batches of neighbouring trials, each handed on and forgotten before the next is made.

Three routes lead to the same series, sample by sample; `choose_route` takes the cheapest that fits the memory:

- samples: all cleaned samples are kept, at every downsampling in use; a batch is made from them when its turn comes;
- passes: the file is read again for as many batches as fit the memory at once;
- scratch: the file is read once, and all series go to a scratch file.
"""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final, Literal

import numpy as np

from pulsar.config.resources import share_out
from pulsar.constants import KDM
from pulsar.data.series import Space
from pulsar.data.source import Rows, SampleSource
from pulsar.dedisp.engine import Engine, batch_edges, batch_size, tile_size
from pulsar.dedisp.plan import DMPlan, DMStage
from pulsar.dedisp.stream import (
    GULP_BYTES,
    Budget,
    Channels,
    DMStore,
    Reserve,
    check,
    fill_gulp,
    make_levels,
    run_together,
    stage_engines,
    stream,
    too_small,
)
from pulsar.errors import ConfigError
from pulsar_kernels.arrays import Int16s
from pulsar_kernels.dedisperse import halve, requantise

# Measured with benchmarks/speed.py read, and searches of 256 channels, on one core, rounded down.
READ_RATE: Final = 4e9  # raw samples read and cleaned a second
#: Seconds per channel-sample to move it through the buffers of a stream, and to put it into memory for good.
MOVE_SECONDS: Final = {"stream": 4.0e-10, "samples": 1.5e-10}
#: Bytes per sample that the search of one series takes.
SEARCH_BYTES: Final = 16
#: Part of the memory that series may take beside the buffers of a stream, and that kept samples and a batch may take.
PART: Final = 0.85
HELD_PART: Final = 0.95


@dataclass(frozen=True)
class Route:
    """How all series of a plan are reached."""

    kind: Literal["samples", "passes", "scratch"]
    passes: int  # times that the file is read
    memory: int  # bytes that dedispersion may take, series included
    held: int  # bytes of samples or series expected in memory
    scratch_bytes: int  # size of the scratch file
    seconds: float  # CPU time expected for reading, moving, and the scratch file [s]
    apart: int = 0  # bytes of samples that stay for who needs them afterwards; 0: downsampled ones take their place


@dataclass(frozen=True, eq=False)
class TrialBatch:
    """Neighbouring trials whose series are at hand until the next batch is asked for."""

    first: int  # index in the plan of its first trial
    stage: DMStage  # its trials
    #: ``row(i)``: the series of its trial `i`, int16, shape (nsamps,); safe to call from several threads.
    row: Callable[[int], Int16s]

    def within(self, first: int, last: int) -> "TrialBatch | None":
        """Those of its trials that are among `first` to `last` - 1 of the plan, None where none is."""
        low, high = max(first - self.first, 0), min(last - self.first, self.stage.ndms)
        if low >= high:
            return None
        if (low, high) == (0, self.stage.ndms):
            return self
        return TrialBatch(self.first + low, self.stage.part(low, high), lambda i: self.row(low + i))


def batch_ranges(plan: DMPlan) -> list[tuple[int, int]]:
    """Trials that one tree makes together: first, and the one after the last, in the plan."""
    ranges = []
    for first, stage in plan.numbered():
        edges = batch_edges(plan.method, plan.freqs.size, stage.nsamps, stage.ndms)
        ranges += [(first + low, first + high) for low, high in pairwise(edges)]
    return ranges


def batches_of(plan: DMPlan, first: int, last: int) -> DMPlan:
    """The plan of the batches in which the trials `first` to `last` - 1 are: what `choose_route` has to look at."""
    ranges = [(low, high) for low, high in batch_ranges(plan) if low < last and high > first]
    return plan.part(ranges[0][0], ranges[-1][1])


def choose_route(plan: DMPlan, *, threads: int, memory: int) -> Route:
    """Cheapest route that fits.

    `threads`: threads that will search the series meanwhile. `memory`: bytes for dedispersion and search.
    """
    room = max(memory - threads * SEARCH_BYTES * plan.nsamps, 0)
    largest = max(2 * _trials(plan, stage) * stage.nsamps for stage in plan.stages)
    volume = float(plan.freqs.size) * plan.nsamps
    read = volume / READ_RATE

    def passed(count: int, scratch: int = 0) -> float:
        # Bytes written to the scratch file and read back a second: measured as READ_RATE.
        return count * (read + volume * MOVE_SECONDS["stream"]) + scratch / 0.8e9

    routes = [Route("scratch", 1, room, 0, plan.nbytes, passed(1, plan.nbytes))]
    usable = int(PART * room)
    if largest <= usable:
        # Batches do not fill the room evenly.
        count = 1 if plan.nbytes <= usable else -(-plan.nbytes // max(usable - largest // 2, largest))
        routes.append(Route("passes", count, room, min(plan.nbytes, usable), 0, passed(count)))
    samples, rest = _held_samples(plan), largest + threads * _work(plan)
    if _together(plan, samples) + rest <= HELD_PART * room:
        apart = samples[0] if plan.stages[0].downsample == 1 and sum(samples) + rest <= HELD_PART * room else 0
        held = rest + (sum(samples) if apart else _together(plan, samples))
        routes.append(Route("samples", 1, room, held, 0, read + volume * MOVE_SECONDS["samples"], apart))
    return min(routes, key=lambda route: route.seconds)


def _held_samples(plan: DMPlan) -> list[int]:
    """Bytes of the samples of each downsampling in use, with the delays over the band beyond both ends."""
    across = KDM * float(plan.freqs.min() ** -2.0 - plan.fref**-2.0) / plan.tsamp
    return [
        plan.freqs.size * int(stage.nsamps + across * stage.dm_last / stage.downsample + 3 * tile_size(stage.nsamps))
        for stage in plan.stages
    ]


def _together(plan: DMPlan, samples: list[int]) -> int:
    """Bytes of samples where downsampled ones take the place of the original ones."""
    return max(samples[0], sum(samples[1:])) if plan.stages[0].downsample == 1 else sum(samples) + GULP_BYTES


def _work(plan: DMPlan) -> int:
    """Bytes of a thread's working space, about: a row of a tile for each trial in all of the widest nodes."""
    rows = 16 if plan.method == "tree" else 4
    rows = min(rows, plan.freqs.size)
    return max(_trials(plan, stage) * tile_size(stage.nsamps) * rows for stage in plan.stages)


def _trials(plan: DMPlan, stage: DMStage) -> int:
    """Trials of a batch at most."""
    return min(batch_size(plan.method, plan.freqs.size, stage.nsamps), stage.ndms)


def dedispersed(
    source: SampleSource,
    plan: DMPlan,
    route: Route,
    *,
    threads: int = 1,
    scratch: Path | None = None,
    start: int = 0,
    stop: int | None = None,
    progress: Callable[[float], None] | None = None,
    reserve: Reserve | None = None,
) -> Generator[TrialBatch]:
    """Dedisperse an observation, batch by batch in ascending DM.

    Parameters
    ----------
    route : Route
        From `choose_route`.
    scratch : Path, optional
        Folder of the scratch file, for that route.
    start : int
        Index of the first trial that is wanted.
    stop : int, optional
        Index after the last that is wanted. Batches are those of the whole plan, of which others are made, too, and not
        handed on.
    progress : callable, optional
        Called with the number of trials (fractions of them) newly dedispersed.
    reserve : Reserve, optional
        Memory that has been asked for, for the route "samples"; closed, and has the samples in the end if they are
        there still.

    Raises
    ------
    ConfigError
        When the memory is too small even for the buffers, or the scratch folder is missing or too full.
    """
    check(source, plan)
    threads = max(1, threads)
    stop = plan.ndms if stop is None else stop
    jobs = _jobs(source, plan, threads, start, stop)
    tell = progress or (lambda _: None)
    if reserve is not None and (not jobs or route.kind != "samples"):
        reserve.close()
    if not jobs:
        return
    if route.kind == "samples":
        # Without a reserve nobody is there who would take the samples afterwards.
        apart = route.apart > 0 and reserve is not None
        batches = _from_samples(source, plan, jobs, threads, tell, reserve or Reserve(), apart=apart)
    else:
        batches = _streamed(source, plan, jobs, route, threads, scratch, tell)
    with closing(batches):
        yield from (inside for batch in batches if (inside := batch.within(start, stop)) is not None)


@dataclass(frozen=True, eq=False)
class _Job:
    """One engine, and its trials."""

    first: int  # index in the plan
    stage: DMStage
    engine: Engine


def _jobs(source: SampleSource, plan: DMPlan, threads: int, start: int, stop: int) -> list[_Job]:
    return [
        _Job(first + engine.row, stage.part(engine.row, engine.row + engine.ndms), engine)
        for first, stage in plan.numbered()
        for engine in stage_engines(source, stage, plan.method, threads, (start - first, stop - first))
    ]


def _part(plan: DMPlan, jobs: list[_Job]) -> tuple[DMPlan, list[Channels]]:
    """The plan of a few neighbouring jobs, and its channels; rows of engines count from the first of each stage."""
    engines = []
    for _, jobs_of_stage in groupby(jobs, key=lambda job: job.stage.downsample):
        group = [job.engine for job in jobs_of_stage]
        engines.append([replace(engine, row=engine.row - group[0].row) for engine in group])
    part = plan.part(jobs[0].first, jobs[-1].first + jobs[-1].stage.ndms)
    return part, make_levels(part, engines)


def _from_samples(
    source: SampleSource,
    plan: DMPlan,
    jobs: list[_Job],
    threads: int,
    progress: Callable[[float], None],
    reserve: Reserve,
    *,
    apart: bool,
) -> Generator[TrialBatch]:
    part, levels = _part(plan, jobs)
    of = {level.downsample: level for level in levels}
    with ThreadPoolExecutor(threads, thread_name_prefix="dedisp") as pool:
        with reserve:
            size = max(job.stage.ndms * _stride(job.stage.nsamps) for job in jobs)
            gulp = _gulp(source, part)
            filled = _buffers_for_samples(levels, gulp, reserve, apart=apart)
            series = reserve.zeros((size,), np.int16)
        _keep_samples(source, filled, gulp, threads, pool)
        spaces, work = Space(), max(job.engine.work for job in jobs)
        for job in jobs:
            stage, level = job.stage, of[job.stage.downsample]
            if not level.end:
                _downsample_kept(levels, pool, apart=apart)
            stride = _stride(stage.nsamps)
            out = series[: stage.ndms * stride].reshape(stage.ndms, stride)
            engine = replace(job.engine, row=0)

            def tiles(left: Iterator[int], level: Channels = level, engine: Engine = engine, out: Int16s = out) -> None:
                space = spaces.array("work", (work,), np.int8)
                for at in left:
                    n = min(level.tile, level.nsamps - at)
                    engine.run(level.buffer, at - level.start, space, out, at, n)
                    progress(engine.ndms * n / level.nsamps)

            share_out(pool, threads, range(0, stage.nsamps, level.tile), tiles)
            yield TrialBatch(job.first, stage, lambda j, out=out, n=stage.nsamps: out[j, :n])  # type: ignore[misc]
    raw = filled[0]
    if raw.engines and (len(levels) == 1 or apart):
        # All have been read, and nothing has taken their place.
        reserve.keep(Rows(raw.buffer, raw.before))


def _stride(nsamps: int) -> int:
    """Elements from one row to the next: rows a power of two apart would share cache sets."""
    return (-(-nsamps // 32) | 1) * 32


def _gulp(source: SampleSource, plan: DMPlan) -> int:
    """Samples read at once: equal parts of the whole, for the buffer has room for whole ones."""
    unit = max(stage.downsample for stage in plan.stages)
    units = -(-plan.nsamps // unit)
    gulps = -(-units // max(GULP_BYTES // len(source.freqs) // unit, 1))
    return -(-units // gulps) * unit


def _buffers_for_samples(levels: list[Channels], gulp: int, reserve: Reserve, *, apart: bool) -> list[Channels]:
    """Buffers for the whole observation, and whose they are: the raw one if its samples are used, else all."""
    raw = levels[0]
    filled = levels[:1] if raw.engines else levels
    if apart:
        for level in levels:
            level.allocate(gulp, whole=True, reserve=reserve)
        return filled
    # The downsampled ones come to stand one after the other in the raw buffer: together, each with the delays beyond
    # its ends, they may be longer than the raw samples.
    least = sum(level.columns(0) + level.nsamps for level in levels[1:]) if raw.engines else 0
    for level in filled:
        level.allocate(gulp, whole=True, least=least, reserve=reserve)
    return filled


def _keep_samples(
    source: SampleSource, levels: list[Channels], gulp: int, threads: int, pool: ThreadPoolExecutor
) -> None:
    """Read the whole observation into buffers that have room for it."""
    raw = levels[0]
    while raw.end < source.nsamps:
        fill_gulp(source, levels, gulp, threads, pool)
        if not raw.engines:
            raw.start = raw.end


def _downsample_kept(levels: list[Channels], pool: ThreadPoolExecutor, *, apart: bool) -> None:
    """Downsample all samples: in the place of the raw ones, which are not needed any more, or apart."""
    raw = levels[0]
    buffer, column = raw.buffer, -raw.start
    at = 0
    for level in levels[1:]:
        level.end = level.nsamps
        if not apart:
            level.buffer, level.start = buffer, -level.before - at
            at += level.columns(0) + level.nsamps
    if at > buffer.shape[1]:
        raise AssertionError("downsampled channels are longer than the raw ones")

    def rows(block: slice) -> None:
        sums = np.empty((block.stop - block.start, raw.nsamps // 2), np.int16)
        halve(np.ascontiguousarray(buffer[block, column : column + raw.nsamps // 2 * 2]), sums)
        if not apart:
            buffer[block] = 0
        factor = 2
        for level in levels[1:]:
            while factor < level.downsample:
                half = np.empty((sums.shape[0], sums.shape[1] // 2), np.int16)
                halve(sums, half)
                sums, factor = half, 2 * factor
            levelled = np.empty(sums.shape, np.int8)
            requantise(sums, 1.0 / np.sqrt(factor), levelled)
            level.buffer[block, -level.start : -level.start + level.nsamps] = levelled

    # Samples that a task downsamples in memory, so that its copies stay in the cache (of a FAST beam 1.3 CPU s with 8
    # channels a task, 0.8 with 2).
    size = min(max((1 << 21) // raw.nsamps, 1), raw.nchans)
    run_together(pool, [(rows, slice(c, min(c + size, raw.nchans))) for c in range(0, raw.nchans, size)])


def _streamed(
    source: SampleSource,
    plan: DMPlan,
    jobs: list[_Job],
    route: Route,
    threads: int,
    scratch: Path | None,
    progress: Callable[[float], None],
) -> Generator[TrialBatch]:
    """Series that are made while the file is read: in a scratch file those of all jobs, in memory of as many as fit."""
    staged, memory = route.kind == "scratch", route.memory
    while jobs:
        # As many as fit beside the buffers that their delays need.
        count = size = 0
        for end in [len(jobs)] if staged else range(1, len(jobs) + 1):
            part, trial = _part(plan, jobs[:end])
            if count and part.nbytes > PART * memory:
                break
            budget = Budget(trial, part.nsamps, threads)
            fits = budget.gulp(memory - (0 if staged else part.nbytes), staged)
            if not fits:
                break
            count, size, levels, kept = end, fits, trial, part
        if not count:
            raise too_small(budget, memory, part, staged=staged)
        if staged and scratch is None:
            raise ConfigError(
                f"[run] memory: the dedispersed series take {kept.nbytes / 2**30:.2f} GiB, more than the "
                f"{memory / 2**30:.2f} GiB allowed: name a scratch folder or raise memory"
            )
        with DMStore(kept, scratch if staged else None) as store:
            share = kept.ndms / source.nsamps
            stream(source, levels, size, store, threads, lambda n, share=share: progress(n * share))  # type: ignore[misc]
            for job in jobs[:count]:
                at = job.first - jobs[0].first
                yield TrialBatch(job.first, job.stage, lambda j, at=at: store.row(at + j))  # type: ignore[misc]
        jobs = jobs[count:]
