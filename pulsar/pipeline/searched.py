"""Detections by trial DM, wherever and in whatever order these were searched; kept for `--resume`."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.birdies import Birdie, pairs
from pulsar.dedisp.batches import Batch
from pulsar.pipeline.checkpoint import Checkpoint, Pace
from pulsar.pipeline.stages import BatchSearch, Found

# Events of single pulses kept in a run, the strongest (interference can make any number).
MOST_EVENTS = 4_000_000
#: Stages of the checkpoint that hold what was stored, one after the other.
STAGE: Final = "searched-{:05}"

#: Trials: the first, and the one after the last.
Ranges = list[tuple[int, int]]


class _Part(NamedTuple):
    """Detections in some trials."""

    ranges: Ranges
    found: Found


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
        self._parts: list[_Part] = []
        #: Parts that are stored, the first of all; and the numbers of the files that hold them.
        self._stored, self._files, self._events = 0, set[int](), 0
        self._load()

    @property
    def found(self) -> Found:
        """As one process finds it that goes from DM to DM."""
        return _merged(self._parts).found

    @property
    def ranges(self) -> Ranges:
        """Trials that are done: the first, and the one after the last; ascending."""
        return _joined([one for part in tuple(self._parts) for one in part.ranges])

    @property
    def ndone(self) -> int:
        """Trials that are done."""
        return sum(last - first for first, last in self.ranges)

    def left(self, first: int, last: int) -> Ranges:
        """Trials among `first` to `last` - 1 that are not done."""
        inside = [(max(low, first), min(high, last)) for low, high in self.ranges if low < last and high > first]
        edges = [first, *(edge for done in inside for edge in done), last]
        return [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high]

    def search(self, batch: Batch, finder: BatchSearch, tick: Callable[[float], None]) -> None:
        """Search the trials of a batch that are not done."""

        def done(row: int, found: Found) -> None:
            self.add(batch.first + row, batch.first + row + 1, found)
            tick(1)
            self.save_if_due()

        left = self.left(batch.first, batch.first + batch.stage.ndms)
        rows = [i - batch.first for low, high in left for i in range(low, high)]
        if rows:
            finder.each(batch, rows, done, pairs(self.birdies or []))

    def add(self, first: int, last: int, found: Found) -> None:
        """Add the detections in the trials `first` to `last` - 1."""
        with self._adding:
            self._parts.append(_Part([(first, last)], found))
            self._events += found.events.size
            if self._events > 2 * MOST_EVENTS:
                whole = _merged(self._parts)
                self._parts = [_Part(whole.ranges, bounded(whole.found, self._tell))]
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
            done = _joined([(int(first), int(last)) for first, last in kept["ranges"]])
            fresh = [trials for low, high in done for trials in self.left(low, high)]
            if fresh:
                found = Found(_within(kept["detections"], fresh), _within(kept["events"], fresh))
                self._parts.append(_Part(fresh, found))
                self._files.add(int(stage[-5:]))
        self._stored = len(self._parts)
        self._events = sum(part.found.events.size for part in self._parts)


def _merged(parts: "Sequence[_Part]") -> _Part:
    found = Found.join([part.found for part in parts])
    # All of a DM come together, and in their order: what is sorted is as if one had gone from DM to DM.
    found = Found(*(rows[np.argsort(rows["dm_index"], kind="stable")] for rows in (found.detections, found.events)))
    return _Part(_joined([one for part in parts for one in part.ranges]), found)


def _within(rows: NDArray[Any], ranges: Ranges) -> NDArray[Any]:
    """Those of the trials in these ranges, which ascend."""
    inside: NDArray[np.bool_] = np.searchsorted(np.ravel(ranges), rows["dm_index"], side="right") % 2 == 1
    return rows[inside]


def _joined(ranges: Ranges) -> Ranges:
    """Ranges in ascending order, neighbours made one."""
    out: Ranges = []
    for first, last in sorted(ranges):
        if out and out[-1][1] == first:
            out[-1] = out[-1][0], last
        else:
            out.append((first, last))
    return out


def bounded(found: Found, tell: Callable[[str], None]) -> Found:
    """Detections with no more than MOST_EVENTS events.

    Of equal ones the first are kept: what is left of some and then of all is the same as of all at once.
    """
    if found.events.size <= MOST_EVENTS:
        return found
    tell(f"{found.events.size} events of single pulses: the {MOST_EVENTS} strongest are kept")
    strongest = np.argsort(-found.events["snr"], kind="stable")[:MOST_EVENTS]
    return Found(found.detections, found.events[np.sort(strongest)])


def birdie_arrays(birdies: list[Birdie]) -> dict[str, NDArray[Any]]:
    """For the checkpoint."""
    return {
        "birdies": np.array(pairs(birdies), dtype=np.float64).reshape(-1, 2),
        "birdie_reasons": np.array([b.reason for b in birdies], dtype="U64"),
    }


def kept_birdies(kept: dict[str, NDArray[Any]]) -> list[Birdie]:
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
) -> tuple[Found, list[Birdie]]:
    """Detections in all trials, and the lines left out of their spectra; trials of an interrupted run are not searched.

    Parameters
    ----------
    ndms : int
        Trials of the run.
    search : callable
        Brings a state to its end; whatever ends it, what has been found by then is kept.
    checkpoint : Checkpoint
    tell : callable
        Given a line for the astronomer.
    birdies : list of Birdie, optional
        Lines that are known and left out; default: those that the search will learn.
    """
    kept = checkpoint.load("detections")
    if kept is not None:
        tell("detections: taken from the interrupted run")
        return Found(kept["detections"], kept["events"]), kept_birdies(kept)
    state = Searched(checkpoint, tell)
    state.birdies = birdies if state.birdies is None else state.birdies
    if state.ndone:
        tell(f"{state.ndone} of {ndms} DMs: taken from the interrupted run")
    with state.kept():
        search(state)
    found, birdies = bounded(state.found, tell), state.birdies or []
    checkpoint.save("detections", detections=found.detections, events=found.events, **birdie_arrays(birdies))
    return found, birdies
