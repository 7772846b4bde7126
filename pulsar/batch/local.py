"""Units side by side on this machine, by its cores and its memory."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from pulsar.batch.records import Record, again
from pulsar.batch.unit import Options, run_unit
from pulsar.batch.units import Batch, Unit

#: A process takes more than its budget by this factor and this many bytes before it is ended: what a search is held
#: to, and what libraries may add on other machines.
OVER_FACTOR = 1.3
OVER_BYTES = 200 << 20
#: A unit may take so many times what is expected, and this on top for what must be compiled first [s]: rates are good
#: to a factor of two, and nodes are shared.
LATE_FACTOR = 10.0
LATE_SECONDS = 900.0
#: Between two looks whether to stop [s].
POLL = 0.5


@dataclass(frozen=True)
class Room:
    """What all units together may take of a machine.

    Attributes
    ----------
    cores : int
    memory : int
        Bytes.
    threads : int
        Of each unit; 0: as many as the cores and the number of units allow.
    """

    cores: int
    memory: int
    threads: int = 0


@dataclass(frozen=True)
class Share:
    """What one unit is given of it."""

    threads: int
    memory: int


def least_memory() -> int:
    """Bytes below which no unit can work."""
    from pulsar.pipeline.room import BASE_MEMORY, LEAST_MEMORY

    return BASE_MEMORY + LEAST_MEMORY


def share(unit: Unit, waiting: int, free: Room, room: Room) -> Share | None:
    """Threads and memory for a unit, from what is free; None where it has to wait.

    Parameters
    ----------
    unit : Unit
    waiting : int
        Units that are not started yet, this one among them.
    free, room : Room
        What is left, and the whole.
    """
    least = max(least_memory(), unit.least_memory)
    alone = free == room
    if not alone and (free.cores < max(1, room.threads) or free.memory < least):
        return None
    most = max(1, min(room.cores // max(1, room.threads), room.memory // least))
    beside = max(1, min(waiting, free.cores // max(1, room.threads), free.memory // least))
    threads = min(room.threads or max(1, free.cores // beside), max(1, free.cores))
    # More than an equal share only where nobody else could use it.
    fair = max(room.memory // most, free.memory // beside if beside == waiting else 0)
    memory = max(least, min(unit.memory + (threads - 1) * unit.more_memory or fair, fair))
    return Share(threads, memory) if alone or memory <= free.memory else None


def limits(unit: Unit, given: Share, options: Options) -> Options:
    """The options of a unit with its share, and the limits that follow where none are given."""
    late = LATE_FACTOR * unit.cpu / given.threads + LATE_SECONDS
    over = int(OVER_FACTOR * given.memory) + OVER_BYTES
    return replace(
        options,
        threads=given.threads,
        memory=given.memory,
        time_limit=options.time_limit or late,
        memory_limit=options.memory_limit or over,
    )


@dataclass(frozen=True, eq=False)
class Order:
    """Units that are to be searched, and how.

    Attributes
    ----------
    batch : Batch
    todo : sequence of Unit
    options : Options
        Its `threads` and `memory` are replaced by those of each unit's share.
    room : Room
        What this machine, or a job of a cluster, has for all units.
    retries : int
        Further attempts at a unit that has failed for other reasons than its input.
    put : callable
        Called, in the thread that works, with a record when a unit ends, and on this machine when it starts, too.
    stop : threading.Event
        Set to end what runs and start nothing more.
    """

    batch: Batch
    todo: Sequence[Unit]
    options: Options
    room: Room
    retries: int
    put: Callable[[Record], None]
    stop: threading.Event


def work(order: Order) -> None:
    """Search units, the most expensive first, as many at a time as there is room for."""
    options, room, put, stop = order.options, order.room, order.put, order.stop
    waiting = deque(order.todo)
    running: dict[Future[Record], tuple[Unit, Share]] = {}
    begun = time.time()
    with ThreadPoolExecutor(max(1, room.cores)) as pool:
        try:
            while running or (waiting and not stop.is_set()):
                while waiting and not stop.is_set():
                    place = _next(waiting, options.until, begun, room)
                    given = None if place is None else share(waiting[place], len(waiting), _free(room, running), room)
                    if place is None or given is None:
                        break
                    unit = waiting[place]
                    del waiting[place]
                    own = limits(unit, given, options)
                    put(Record(unit.name, "running", threads=given.threads, since=time.time()))
                    running[pool.submit(run_unit, order.batch.folder, unit, own, stop)] = unit, given
                if not running:
                    return  # what is left does not fit before the end of the job
                for future in wait(running, POLL, FIRST_COMPLETED).done:
                    unit, _ = running.pop(future)
                    record = future.result()
                    put(record)
                    if record.kind == "storage":
                        waiting.clear()  # they would come to the same
                    elif again(record, order.retries):
                        waiting.append(unit)
        except BaseException:
            stop.set()
            raise


def _free(room: Room, running: "dict[Future[Record], tuple[Unit, Share]]") -> Room:
    taken = [given for _, given in running.values()]
    return replace(
        room,
        cores=room.cores - sum(given.threads for given in taken),
        memory=room.memory - sum(given.memory for given in taken),
    )


def _next(waiting: Sequence[Unit], until: float, begun: float, room: Room) -> int | None:
    """The first unit that should end before a moment, or that no job is long enough for: it goes on from its stages."""
    if not until:
        return 0
    now = time.time()
    threads = room.threads or 1
    for place, unit in enumerate(waiting):
        seconds = unit.cpu / threads
        if now + seconds < until or (seconds > until - begun and now < until):
            return place
    return None
