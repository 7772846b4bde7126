"""Units as tasks of Dask: a cluster on this machine, one that is there, or jobs of Slurm or PBS.

A task is a name and some numbers, what comes back is a record: no data go through the scheduler.
"""

import logging
import math
import queue
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from pulsar.batch.local import POLL, Room, least_memory, limits, share
from pulsar.batch.records import MOST_TOLD, Record, again, write_record
from pulsar.batch.unit import Options, run_unit
from pulsar.batch.units import Batch, Unit
from pulsar.config.model import BatchConfig
from pulsar.config.size import parse_size
from pulsar.errors import ConfigError

#: Workers may be lost so often with the same unit before it is taken for what kills them.
LOSSES: Final = 5
#: Dask looks at itself up to a hundred times a second: 0.10 CPU seconds a second with two idle workers, 0.01 like this.
SETTINGS: Final = {
    "distributed.scheduler.allowed-failures": LOSSES,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}
#: Workers leave so long before the end of their job, spread over so long [s].
STAGGER: Final = 60


def work(
    batch: Batch,
    config: BatchConfig,
    todo: Sequence[Unit],
    options: Options,
    room: Room,
    retries: int,
    put: Callable[[Record], None],
    stop: threading.Event,
) -> None:
    """Search units on the workers of a Dask cluster, one task each.

    Parameters
    ----------
    batch : Batch
    config : BatchConfig
        Says which cluster.
    todo : sequence of Unit
    options : Options
        Its `threads` and `memory` are replaced by those of each unit's share.
    room : Room
        What this machine, or a job of the cluster, has for all units.
    retries : int
        Further attempts at a unit that has failed for other reasons than its input.
    put : callable
        Called, in this thread, with the record of each unit that has ended.
    stop : threading.Event
        Set to end.

    Raises
    ------
    ConfigError
        Dask is not installed, or the cluster cannot be reached.
    """
    ended: queue.Queue[tuple[Unit, Any]] = queue.Queue()
    # A scheduler that others use may remember an earlier run: tasks of this one have names of their own.
    run, attempt = uuid.uuid4().hex[:8], 0
    # Dask forgets a task that nobody holds.
    pending: set[Any] = set()
    with _client(config, room, len(todo)) as client:

        def submit(unit: Unit) -> None:
            nonlocal attempt
            attempt += 1
            own = _options(unit, options, room, len(todo))
            key = f"pulsar-{batch.ident}-{run}-{attempt}-{unit.name}"
            future = client.submit(run_unit, str(batch.folder.absolute()), unit, own, key=key, retries=retries)
            pending.add(future)
            future.add_done_callback(lambda done: ended.put((unit, done)))

        for unit in todo:
            submit(unit)
        while pending and not stop.is_set():
            try:
                unit, future = ended.get(timeout=POLL)
            except queue.Empty:
                continue
            pending.discard(future)
            record = _record(batch, unit, future)
            put(record)
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


@contextmanager
def _client(config: BatchConfig, room: Room, units: int) -> Iterator[Any]:
    """A client of the cluster that the settings name; what was started for it ends with it."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ConfigError(f"--engine dask needs Dask: pip install 'pulsar-search[dask]' ({error})") from error
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS))
        if config.scheduler == "local":
            workers = max(1, min(units, room.cores // max(1, room.threads), room.memory // least_memory()))
            cluster = stack.enter_context(
                # Units are held to their memory themselves, the workers take next to none.
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    memory_limit=None,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
            )
            yield stack.enter_context(Client(cluster))
        elif config.scheduler in ("slurm", "pbs"):
            cluster = stack.enter_context(queued(config, room))
            cluster.adapt(minimum_jobs=1, maximum_jobs=config.jobs)
            yield stack.enter_context(Client(cluster))
        else:
            try:
                client = Client(config.scheduler, timeout=30)
            except (OSError, ValueError, TimeoutError) as error:
                raise ConfigError(
                    f"batch.scheduler = {config.scheduler!r}: no Dask scheduler answers there: {error}; expected "
                    "local, slurm, pbs or an address such as tcp://node:8786"
                ) from error
            yield stack.enter_context(client)


def queued(config: BatchConfig, room: Room) -> Any:
    """A cluster of dask-jobqueue, none of whose jobs is submitted yet.

    Parameters
    ----------
    config : BatchConfig
    room : Room
        Of a job.

    Raises
    ------
    ConfigError
        dask-jobqueue is not installed.
    """
    try:
        import dask_jobqueue
    except ImportError as error:
        raise ConfigError(
            f"batch.scheduler needs dask-jobqueue: pip install 'pulsar-search[dask]' ({error})"
        ) from error
    slurm = config.scheduler == "slurm"
    size = parse_size(config.memory) or 0
    # A worker that leaves before its job is ended hands its unit back in order; the others take it.
    lifetime = max(1, int(config.seconds - config.margin - STAGGER))
    return (dask_jobqueue.SLURMCluster if slurm else dask_jobqueue.PBSCluster)(
        cores=max(1, config.cores // max(1, room.threads)),
        processes=1,
        memory=f"{size / 2**20:.0f}MiB",
        walltime=config.walltime,
        queue=config.queue or None,
        account=config.account or None,
        job_name="pulsar-batch",
        job_extra_directives=list(config.directives),
        job_script_prologue=list(config.prologue),
        worker_extra_args=["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{min(STAGGER, lifetime // 4)}s"],
        **({"job_cpu": config.cores} if slurm else {"resource_spec": _pbs(config, size)}),
    )


def _pbs(config: BatchConfig, size: int) -> str:
    return f"select=1:ncpus={config.cores}:mem={math.ceil(size / 2**20)}mb"
