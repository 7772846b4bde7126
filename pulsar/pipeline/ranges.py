"""Detections by trial DM, wherever and in whatever order these are searched, with the same result as by one process.

What has been found is kept for `--resume`. Ranges of trial DMs are searched wherever there is a core.

A task says which trials of which files; the mask is read from the checkpoint of the run. Detections and events come
back. Who carries tasks to workers is a `Crew`: this module knows of no cluster.
"""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from pulsar.cleaning.birdies import Birdie, pairs
from pulsar.cleaning.source import MaskedSource
from pulsar.config.model import Config
from pulsar.data.observation import Observation, gaps_of, joined_stretches, left_out
from pulsar.data.source import Edges, SampleSource, in_band
from pulsar.dedisp.batches import (
    MOVE_SECONDS,
    READ_RATE,
    TrialBatch,
    batch_ranges,
    batches_of,
    choose_route,
    dedispersed,
)
from pulsar.dedisp.engine import stage_seconds
from pulsar.dedisp.plan import DMPlan, make_plan
from pulsar.errors import DataError, PulsarError
from pulsar.folding.subtracted import SubtractedSource, unpacked
from pulsar.io.open import open_observation
from pulsar.io.product.provenance import software_version
from pulsar.pipeline.checkpoint import Checkpoint, Pace, load_arrays
from pulsar.pipeline.cleaning import clean_source, mask_of
from pulsar.pipeline.plan import dry_run
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import Means
from pulsar.pipeline.stages import BatchSearch, SearchResult
from pulsar_kernels.arrays import Array, Bools, Floats

# Events of single pulses kept in a run, the strongest (interference can make any number).
MOST_EVENTS = 4_000_000
#: Stages of the checkpoint that hold what was stored, one after the other.
STAGE: Final = "searched-{:05}"

#: Trials: the first, and the one after the last.
Ranges = list[tuple[int, int]]


class _SearchedTrials(NamedTuple):
    """Detections in some trials."""

    ranges: Ranges
    found: SearchResult


class Searched:
    """Detections of a search so far, in whatever order trials are done; safe to share between threads.

    What is new is stored every now and then in a file of its own. Where more than twice MOST_EVENTS events have come
    together, those that are kept are stored as one, and the files that held the others are written over one by one: on
    disk there are hardly ever more than four times MOST_EVENTS.

    Parameters
    ----------
    checkpoint : Checkpoint
        What an interrupted run has left there is taken: all that can be read.
    tell : callable
        Given a line for the astronomer.

    Attributes
    ----------
    birdies : list of Birdie or None
        What is left out of the spectra; None: not learnt yet.
    """

    def __init__(self, checkpoint: Checkpoint, tell: Callable[[str], None]) -> None:
        self.birdies: list[Birdie] | None = None
        self._checkpoint, self._tell, self._pace = checkpoint, tell, Pace()
        self._adding, self._saving = threading.Lock(), threading.Lock()
        self._parts: list[_SearchedTrials] = []
        #: Parts that are stored, the first of all; and the numbers of the files that hold them.
        self._stored, self._files, self._events = 0, set[int](), 0
        self._load()

    @property
    def found(self) -> SearchResult:
        """As one process finds it that goes from DM to DM."""
        return _merged(self._parts).found

    @property
    def ranges(self) -> Ranges:
        """Trials that are done: the first, and the one after the last; ascending."""
        return joined_stretches([stretch for part in tuple(self._parts) for stretch in part.ranges])

    @property
    def ndone(self) -> int:
        """Trials that are done."""
        return sum(last - first for first, last in self.ranges)

    def left(self, first: int, last: int) -> Ranges:
        """Trials among `first` to `last` - 1 that are not done."""
        return left_out(self.ranges, first, last)

    def search(self, batch: TrialBatch, finder: BatchSearch, tick: Callable[[float], None]) -> None:
        """Search the trials of a batch that are not done."""

        def searched(row: int, found: SearchResult) -> None:
            self.add(batch.first + row, batch.first + row + 1, found)
            tick(1)
            self.save_if_due()

        left = self.left(batch.first, batch.first + batch.stage.ndms)
        rows = [i - batch.first for low, high in left for i in range(low, high)]
        if rows:
            finder.each(batch, rows, searched, pairs(self.birdies or []))

    def add(self, first: int, last: int, result: SearchResult) -> None:
        """Add the detections in the trials `first` to `last` - 1."""
        with self._adding:
            self._parts.append(_SearchedTrials([(first, last)], result))
            self._events += result.events.size
            if self._events > 2 * MOST_EVENTS:
                whole = _merged(self._parts)
                self._parts = [_SearchedTrials(whole.ranges, bounded(whole.found, self._tell))]
                self._stored, self._files, self._events = 0, set(), MOST_EVENTS

    def save_if_due(self) -> None:
        """Store what is new, unless that was done shortly before."""
        if self._pace.due():
            with self._saving:
                if self._pace.due():
                    self._save()

    def save(self) -> None:
        """Store what is new; the lines must be known."""
        with self._saving:
            self._save()

    def _save(self) -> None:
        with self._pace:
            with self._adding:
                parts, end, stored = self._parts, len(self._parts), self._stored
                number = next(n for n in count() if n not in self._files)
            new = _merged(parts[stored:end])
            self._checkpoint.save(
                STAGE.format(number),
                detections=new.found.detections,
                events=new.found.events,
                ranges=np.array(new.ranges, dtype=np.int64).reshape(-1, 2),
                **birdie_arrays(self.birdies or []),
            )
            with self._adding:
                if self._parts is parts:  # otherwise all are to be stored anew
                    self._files.add(number)
                    parts[stored:end] = [new]
                    self._stored += 1

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Store what is new if the search does not come to its end."""
        try:
            yield
        except BaseException:
            if self.birdies is not None and self._stored < len(self._parts):
                self.save()
            raise

    def _load(self) -> None:
        for stage in self._checkpoint.stages(f"searched-{5 * '[0-9]'}"):
            kept = self._checkpoint.load(stage)
            if kept is None or "ranges" not in kept:
                continue
            self.birdies = kept_birdies(kept)
            searched = joined_stretches(kept["ranges"].tolist())
            fresh = [trials for low, high in searched for trials in self.left(low, high)]
            if fresh:
                result = SearchResult(_within(kept["detections"], fresh), _within(kept["events"], fresh))
                self._parts.append(_SearchedTrials(fresh, result))
                self._files.add(int(stage[-5:]))
        self._stored = len(self._parts)
        self._events = sum(part.found.events.size for part in self._parts)


def _merged(parts: "Sequence[_SearchedTrials]") -> _SearchedTrials:
    result = SearchResult.join([part.found for part in parts])
    # All of a DM come together, and in their order: what is sorted is as if one had gone from DM to DM.
    result = SearchResult(
        *(rows[np.argsort(rows["dm_index"], kind="stable")] for rows in (result.detections, result.events))
    )
    return _SearchedTrials(joined_stretches([stretch for part in parts for stretch in part.ranges]), result)


def _within(rows: Array, ranges: Ranges) -> Array:
    """Those of the trials in these ranges, which ascend."""
    inside: Bools = np.searchsorted(np.ravel(ranges), rows["dm_index"], side="right") % 2 == 1
    return rows[inside]


def bounded(result: SearchResult, tell: Callable[[str], None]) -> SearchResult:
    """Detections with no more than MOST_EVENTS events.

    Of equal ones the first are kept: what is left of some and then of all is the same as of all at once.
    """
    if result.events.size <= MOST_EVENTS:
        return result
    tell(f"{result.events.size} events of single pulses: the {MOST_EVENTS} strongest are kept")
    strongest = np.argsort(-result.events["snr"], kind="stable")[:MOST_EVENTS]
    return SearchResult(result.detections, result.events[np.sort(strongest)])


def birdie_arrays(birdies: list[Birdie]) -> dict[str, Array]:
    """For the checkpoint."""
    return {
        "birdies": np.array(pairs(birdies), dtype=np.float64).reshape(-1, 2),
        "birdie_reasons": np.array([b.reason for b in birdies], dtype="U64"),
    }


def kept_birdies(kept: dict[str, Array]) -> list[Birdie]:
    """Back from the checkpoint."""
    return [
        Birdie(float(freq), float(width), str(reason))
        for (freq, width), reason in zip(kept["birdies"], kept["birdie_reasons"], strict=True)
    ]


def detections_of(
    ndms: int,
    search: Callable[[Searched], None],
    checkpoint: Checkpoint,
    tell: Callable[[str], None],
    birdies: list[Birdie] | None = None,
) -> tuple[SearchResult, list[Birdie]]:
    """Detections in all trials, and the lines left out of their spectra; trials of an interrupted run are not searched.

    Parameters
    ----------
    ndms : int
        Trials of the run.
    search : callable
        Brings a state to its end; whatever ends it, what has been found by then is kept.
    tell : callable
        Given a line for the astronomer.
    birdies : list of Birdie, optional
        Lines that are known and left out; default: those that the search will learn.
    """
    kept = checkpoint.load("detections")
    if kept is not None:
        tell("detections: taken from the interrupted run")
        return SearchResult(kept["detections"], kept["events"]), kept_birdies(kept)
    state = Searched(checkpoint, tell)
    state.birdies = birdies if state.birdies is None else state.birdies
    if state.ndone:
        tell(f"{state.ndone} of {ndms} DMs: taken from the interrupted run")
    with state.kept():
        search(state)
    result, birdies = bounded(state.found, tell), state.birdies or []
    checkpoint.save("detections", detections=result.detections, events=result.events, **birdie_arrays(birdies))
    return result, birdies


#: Ranges for each worker: the last ones end at about the same time, and little is lost with a worker.
PER_WORKER: Final = 3


class Workers(Protocol):
    """Those who search."""

    @property
    def count(self) -> int:
        """Tasks that are worked on at a time."""

    @property
    def threads(self) -> int:
        """Of a task."""

    @property
    def memory(self) -> int:
        """All that a task takes [byte]."""

    def search(self, tasks: "Sequence[RangeTask]") -> "Iterator[tuple[RangeTask, SearchResult]]":
        """Each task, in whatever order they end, with what it has found."""


#: Gets workers, and lets them go.
Crew = Callable[[], AbstractContextManager[Workers]]


@dataclass(frozen=True)
class RangeContext:
    """Files, settings and means that all tasks of a run have in common."""

    files: tuple[str, ...]
    stamps: tuple[tuple[int, float], ...]  # size [byte] and time of change of each
    config: Config
    folder: str  # of the checkpoint, which holds the mask, and the templates of subtracted pulsars
    scratch: str  # folder for a scratch file
    birdies: tuple[tuple[float, float], ...]  # frequencies and full widths [Hz] of what is left out of spectra
    version: str  # of the program
    dms: str  # digest of the trial DMs
    #: threads, memory, accel_memory: of a task: memory of dedispersion, and of the acceleration search [byte].
    threads: int
    memory: int
    accel_memory: int
    band: Edges  # of the part of the band that is searched


@dataclass(frozen=True)
class RangeTask:
    """Trials `first` to `last` - 1 of the plan."""

    shared: RangeContext
    first: int
    last: int


def search_ranges(
    obs: Observation,
    plan: DMPlan,
    state: Searched,
    config: Config,
    means: Means,
    checkpoint: Checkpoint,
    crew: Crew,
    band: Edges,
) -> None:
    """Have all trials searched that are not yet, and store what comes back on the way.

    Parameters
    ----------
    state : Searched
        Its lines are known; it is brought up to date.
    checkpoint : Checkpoint
        Of the run, whose mask workers read.
    band : Edges
        Of the part of the band that is searched.

    Raises
    ------
    ConfigError
        The memory of a worker is too little.
    PulsarError
        A worker cannot do its part.
    """
    left = state.left(0, plan.ndms)
    if not left:
        return
    with crew() as workers:
        config = config.changed(run={"threads": workers.threads, "memory": str(workers.memory)})
        local = dry_run(obs, config, freqs=plan.freqs)
        shared = RangeContext(
            files=tuple(str(file.path.absolute()) for file in obs.files),
            stamps=_stamps(obs.files),
            config=config,
            folder=str(checkpoint.folder.absolute()),
            scratch=str(means.scratch.absolute()),
            birdies=tuple(pairs(state.birdies or [])),
            version=software_version(),
            dms=_digest(plan),
            threads=local.threads,
            memory=local.memory - local.search_memory,
            accel_memory=local.accel_memory,
            band=band,
        )
        ndms = [stage.ndms for stage in plan.stages]
        reading = obs.header.nsamps * (obs.header.nchans / READ_RATE + plan.freqs.size * MOVE_SECONDS["samples"])
        costs = local.costs + np.repeat(np.divide(stage_seconds(plan), ndms), ndms)
        ranges = cut(batch_ranges(plan), costs, left, workers.count, reading)
        means.progress.message(
            f"{workers.count} workers search {len(ranges)} ranges of DMs, with {workers.memory / 2**30:.2f} GiB each"
        )
        tasks = [RangeTask(shared, first, last) for first, last in ranges]
        with means.progress.stage("searching", plan.ndms, "DMs") as tick:
            tick(state.ndone)
            for task, result in workers.search(tasks):
                state.add(task.first, task.last, result)
                tick(task.last - task.first)
                state.save_if_due()


def _stamps(files: Sequence[Any]) -> tuple[tuple[int, float], ...]:
    return tuple((int(file.size), float(file.mtime)) for file in files)


def _digest(plan: DMPlan) -> str:
    return hashlib.sha256(plan.dms.tobytes()).hexdigest()


def cut(
    batches: Sequence[tuple[int, int]], costs: Floats, left: Sequence[tuple[int, int]], workers: int, reading: float
) -> list[tuple[int, int]]:
    """Cut trials into ranges of about equal cost, the most expensive first.

    Edges of batches are preferred, because a batch is dedispersed as a whole; one that costs more than a share is cut.
    What a search finds in a trial does not depend on where its range begins and ends.

    Parameters
    ----------
    batches : sequence of (int, int)
        Trials of each batch of the plan: the first, and the one after the last.
    costs : ndarray, shape (ndms,)
        Of each trial [CPU s].
    left : sequence of (int, int)
        Trials that are to be searched.
    reading : float
        What each range costs on top [CPU s].

    Returns
    -------
    list of (int, int)
    """
    total = np.concatenate([[0.0], np.cumsum(costs)])

    def cost(first: int, last: int) -> float:
        return float(total[last] - total[first])

    whole = sum(cost(*some) for some in left)
    # Every task reads the whole file again, which may take this part of what its search takes; but all workers get
    # some.
    most = PER_WORKER * workers if reading <= 0.0 else min(PER_WORKER * workers, int(0.2 * whole / reading))
    share = whole / max(most, workers, 1)
    pieces: list[tuple[int, int]] = []
    for low, high in left:
        for first, last in batches:
            if first < high and last > low:
                pieces += _parts(max(first, low), min(last, high), total, share)
    ranges: list[tuple[int, int]] = []
    for first, last in pieces:
        # Up to the share, and over it by no more than half of what is added.
        if ranges and ranges[-1][1] == first and cost(ranges[-1][0], last) <= share + 0.5 * cost(first, last):
            ranges[-1] = ranges[-1][0], last
        else:
            ranges.append((first, last))
    return sorted(ranges, key=lambda some: (-cost(*some), some))


def _parts(first: int, last: int, total: Floats, share: float) -> list[tuple[int, int]]:
    """Trials of a batch in parts of equal cost, as many as it has shares."""
    # A range that is a part of a batch dedisperses the whole batch, a few per cent of the cost of its search.
    count = min(int((total[last] - total[first]) / share + 0.5), 4, last - first)
    if count < 2:
        return [(first, last)]
    inner = np.searchsorted(total, np.linspace(total[first], total[last], count + 1)[1:-1])
    edges = sorted({first, *(min(max(int(edge), first), last) for edge in inner), last})
    return list(pairwise(edges))


def search_range(task: RangeTask) -> SearchResult:
    """Search a range of trial DMs: what a worker does.

    Returns
    -------
    SearchResult
        With no more than `MOST_EVENTS` events.

    Raises
    ------
    DataError
        The files cannot be read, or are not those that the run began with.
    PulsarError
        The mask is not there, or this is another version of the program.
    """
    shared = task.shared
    source, finder = _opened(shared)
    route = choose_route(batches_of(finder.plan, task.first, task.last), threads=shared.threads, memory=shared.memory)
    how: dict[str, Any] = {"threads": shared.threads, "scratch": Path(shared.scratch)}
    with closing(dedispersed(source, finder.plan, route, start=task.first, stop=task.last, **how)) as batches:
        results = [finder.search(batch, shared.birdies) for batch in batches]
    return bounded(SearchResult.join(results), lambda _: None)


# A worker does several ranges of a run: what all need is made once.
@lru_cache(maxsize=1)
def _opened(shared: RangeContext) -> tuple[SampleSource, BatchSearch]:
    host = socket.gethostname()
    if software_version() != shared.version:
        raise PulsarError(
            f"{host}: the worker has pulsar-search {software_version()}, the run {shared.version}: start workers from "
            "the same installation"
        )
    config = shared.config
    obs = open_observation(*shared.files, config=config.input)
    if _stamps(obs.files) != shared.stamps:
        raise DataError(
            f"{shared.files[0]}: on {host} this is not the file that the run began with (size or time differ)"
        )

    def kept(stage: str) -> dict[str, Array]:
        path = Path(shared.folder) / f"{stage}.npz"
        arrays = load_arrays(path)
        if arrays is None:
            raise PulsarError(
                f"{path}: cannot be read on {host}: all workers must see the folder of the product under this path"
            )
        return arrays

    mask, quiet = mask_of(kept("mask")), Progress("quiet")
    cleaned: MaskedSource = clean_source(obs, mask, config, threads=shared.threads, progress=quiet)
    if config.subtract.pulsars:
        cleaned = SubtractedSource(cleaned, unpacked(kept("subtracted"), cleaned))
    source = in_band(cleaned, shared.band)
    plan = make_plan(obs.header, config.dedisp, freqs=source.freqs)
    if _digest(plan) != shared.dms:
        raise PulsarError(
            f"{host}: trial DMs come out differently than in the run: the worker needs the same versions of Python "
            "and its packages"
        )
    return source, BatchSearch(plan, config, threads=shared.threads, memory=shared.accel_memory, gaps=gaps_of(obs))
