"""Units as tasks of Dask.

A task is a name and some numbers, what comes back is a record: no data go through the scheduler.
"""

import queue
import uuid
from collections.abc import Callable
from typing import Any

from pulsar.batch.cluster import LOSSES, connected
from pulsar.batch.local import POLL, Order, Room, least_memory, limits, share
from pulsar.batch.records import MOST_TOLD, Record, again, write_record
from pulsar.batch.unit import Options, run_unit
from pulsar.batch.units import Batch, Unit
from pulsar.config.model import BatchConfig


def work(order: Order, config: BatchConfig, warn: Callable[[str], None]) -> None:
    """Search units on the workers of a Dask cluster, one task each.

    Parameters
    ----------
    order : Order
    config : BatchConfig
        Says which cluster.
    warn : callable
        Told what is wrong with it.

    Raises
    ------
    ConfigError
        Dask is not installed, or the cluster cannot be reached.
    """
    batch, todo, room, retries = order.batch, order.todo, order.room, order.retries
    ended: queue.Queue[tuple[Unit, Any]] = queue.Queue()
    # A scheduler that others use may remember an earlier run: tasks of this one have names of their own.
    run, attempt = uuid.uuid4().hex[:8], 0
    # Dask forgets a task that nobody holds.
    pending: set[Any] = set()
    workers = max(1, min(len(todo), room.cores // max(1, room.threads), room.memory // least_memory()))
    with connected(config, room.threads, workers, batch.folder, warn) as client:

        def submit(unit: Unit) -> None:
            nonlocal attempt
            attempt += 1
            own = _options(unit, order.options, room, len(todo))
            key = f"pulsar-{batch.ident}-{run}-{attempt}-{unit.name}"
            future = client.submit(run_unit, str(batch.folder.absolute()), unit, own, key=key, retries=retries)
            pending.add(future)
            future.add_done_callback(lambda done: ended.put((unit, done)))

        for unit in todo:
            submit(unit)
        while pending and not order.stop.is_set():
            try:
                unit, future = ended.get(timeout=POLL)
            except queue.Empty:
                continue
            pending.discard(future)
            record = _record(batch, unit, future)
            order.put(record)
            if record.kind == "storage":
                return  # others would come to the same
            if again(record, retries):
                submit(unit)


def _options(unit: Unit, options: Options, room: Room, units: int) -> Options:
    """The options of a unit that has a worker's thread for itself."""
    given = share(unit, units, room, room)
    assert given is not None  # nothing is taken yet
    return limits(unit, given, options)


def _record(batch: Batch, unit: Unit, future: Any) -> Record:
    """What a task has come to."""
    if future.status == "finished":
        found: Record = future.result()
        return found
    error = future.exception() if future.status == "error" else None
    what = f"{type(error).__name__}: {error}" if error is not None else future.status
    lost = Record(unit.name, "failed", f"its Dask task was lost: {what}"[:MOST_TOLD], "crash", LOSSES)
    if error is not None:
        # All workers that tried are gone: nobody else could tell.
        write_record(batch.folder, lost)
    return lost
