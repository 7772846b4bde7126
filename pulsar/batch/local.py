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
from pulsar.pipeline.room import BASE_MEMORY, LEAST_MEMORY

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
    """Cores and memory of a machine for all units together.

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


def least_memory() -> int:
    """Bytes below which no unit can work."""
    return BASE_MEMORY + LEAST_MEMORY


def share(unit: Unit, waiting: int, free: Room, room: Room, options: Options) -> Options | None:
    """The options of a unit with its threads and memory, from what is free, and limits where none are given.

    Parameters
    ----------
    unit : Unit
    waiting : int
        Units that are not started yet, this one among them.
    free, room : Room
        What is left, and the whole.
    options : Options

    Returns
    -------
    Options or None
        None where it has to wait.
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
    if not alone and memory > free.memory:
        return None
    return replace(
        options,
        threads=threads,
        memory=memory,
        time_limit=options.time_limit or LATE_FACTOR * unit.cpu / threads + LATE_SECONDS,
        memory_limit=options.memory_limit or int(OVER_FACTOR * memory) + OVER_BYTES,
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
    """

    batch: Batch
    todo: Sequence[Unit]
    options: Options
    room: Room
    retries: int
    put: Callable[[Record], None]


def work(order: Order, stop: threading.Event) -> None:
    """Search units, the most expensive first, as many at a time as there is room for.

    Parameters
    ----------
    order : Order
    stop : threading.Event
        Set to end what runs and start nothing more.
    """
    options, room = order.options, order.room
    waiting = deque(order.todo)
    running: dict[Future[Record], tuple[Unit, Options]] = {}
    begun = time.time()
    with ThreadPoolExecutor(max(1, room.cores)) as pool:
        try:
            while running or (waiting and not stop.is_set()):
                while waiting and not stop.is_set():
                    place = _next(waiting, options.until, begun, room)
                    if place is None:
                        break
                    unit, free = waiting[place], _free(room, [own for _, own in running.values()])
                    own = share(unit, len(waiting), free, room, options)
                    if own is None:
                        break
                    del waiting[place]
                    order.put(Record(unit.name, "running", threads=own.threads, since=time.time()))
                    running[pool.submit(run_unit, order.batch.folder, unit, own, stop)] = unit, own
                if not running:
                    return  # what is left does not fit before the end of the job
                for future in wait(running, POLL, FIRST_COMPLETED).done:
                    unit, _ = running.pop(future)
                    record = future.result()
                    order.put(record)
                    if record.kind == "storage":
                        waiting.clear()  # they would come to the same
                    elif again(record, order.retries):
                        waiting.append(unit)
        except BaseException:
            stop.set()
            raise


def _free(room: Room, taken: Sequence[Options]) -> Room:
    cores = room.cores - sum(own.threads for own in taken)
    return replace(room, cores=cores, memory=room.memory - sum(own.memory for own in taken))


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
