"""Work on clusters of Dask: on this machine, one that is there, or jobs of Slurm or PBS.

Units of a batch are tasks, and ranges of DMs of one search. A task is a name and some numbers, what comes back is a
record, or what was detected: no data go through the scheduler.

Whoever speaks with a scheduler or a worker of Dask runs code as its user, and any user of a node reaches its ports.
So what is started here speaks TLS with those alone that hold a key, which is made for this cluster and kept in memory;
jobs find it in a folder that only their user can enter.
"""

import logging
import math
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pulsar.batch.local import Order, least_memory, run_unit, share
from pulsar.batch.records import MOST_TOLD, Record, again, write_record
from pulsar.batch.units import Unit
from pulsar.config.model import BatchConfig, Config
from pulsar.config.resources import keep_freed, memory_budget, parse_size, usable_cores
from pulsar.data.files import private
from pulsar.errors import ConfigError, PulsarError
from pulsar.pipeline.ranges import Crew, RangeTask, search_range
from pulsar.pipeline.stages import SearchResult

#: Workers may be lost so often with the same task before it is taken for what kills them.
LOSSES: Final = 5
#: Dask looks at itself up to a hundred times a second: 0.10 CPU seconds a second with two idle workers, 0.01 like this.
SETTINGS: Final = {
    "distributed.scheduler.allowed-failures": LOSSES,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
    # Its HTTP servers have no TLS, and cannot be left out: they answer nothing.
    "distributed.scheduler.http.routes": (),
    "distributed.worker.http.routes": (),
}
#: The same for workers that a job starts; nor do they import modules of the folder of the command.
IN_JOBS: Final = "export PYTHONSAFEPATH=1 DASK_DISTRIBUTED__WORKER__HTTP__ROUTES='[]'"
#: Of the scheduler: no page, and a port of its own for what cannot be left out, which others cannot have taken.
NO_PAGE: Final[dict[str, Any]] = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
#: Workers leave so long before the end of their job, spread over so long [s].
STAGGER: Final = 60


def check_dask() -> None:
    """Refuse to go on where Dask is not installed.

    Raises
    ------
    ConfigError
    """
    try:
        import dask  # noqa: F401
        import distributed  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"--engine dask needs Dask: pip install 'pulsar-search[dask]' ({error})") from error


@contextmanager
def connected(
    config: BatchConfig, threads: int, workers: int, folder: Path, warn: Callable[[str], None]
) -> Iterator[Any]:
    """A client of the cluster that the settings name; what was started for it ends with it.

    Parameters
    ----------
    threads : int
        Of a task; 0 counts as 1.
    workers : int
        Processes of a cluster on this machine, each of which does one task at a time.
    folder : Path
        That all workers see: jobs find their key in a folder within it, which is removed at the end.
    warn : callable
        Told that a cluster lets everybody in.

    Raises
    ------
    ConfigError
        Dask is not installed, or the cluster cannot be reached.
    """
    check_dask()
    import dask
    from distributed import Client

    with ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS))
        if config.scheduler in ("local", "slurm", "pbs"):
            local = config.scheduler == "local"
            # A folder for keys, and for what workers put on disk and import from there.
            where = Path(tempfile.gettempdir()) if local else folder.absolute()
            private_folder = stack.enter_context(private(where, ".pulsar-dask-"))
            path = str(private_folder.path)
            cluster = stack.enter_context(_local(workers, path) if local else queued(config, threads, path))
            # Before the cluster ends: a run that is told to end is not given the time for all workers to do so.
            stack.callback(private_folder.destroy)
            if not local:
                _submit_one(cluster, config.scheduler)
                cluster.adapt(minimum_jobs=1, maximum_jobs=config.jobs)
            yield stack.enter_context(Client(cluster))
        else:
            try:
                client = Client(config.scheduler, timeout=30)
            except (OSError, ValueError, TypeError, TimeoutError) as error:  # TypeError: TLS without a key
                raise ConfigError(
                    f"batch.scheduler = {config.scheduler!r}: no Dask scheduler answers there: {error}; expected "
                    "local, slurm, pbs or an address such as tls://node:8786"
                ) from error
            stack.enter_context(client)
            if not client.scheduler.address.startswith("tls://"):
                warn(
                    f"batch.scheduler = {config.scheduler!r}: this cluster lets everybody in: whoever reaches its "
                    "ports can run code as the user of its workers, and change what they find; start it with TLS"
                )
            yield client


def _local(workers: int, folder: str) -> Any:
    """A cluster on this machine."""
    from distributed import LocalCluster

    # For all that is started from here: modules in the folder of the command are not imported.
    os.environ["PYTHONSAFEPATH"] = "1"
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        # Tasks are held to their memory themselves, the workers take next to none.
        memory_limit=None,
        dashboard_address=None,
        scheduler_kwargs=NO_PAGE,
        security=_key(),
        local_directory=folder,
        silence_logs=logging.CRITICAL,
    )


def _key(folder: str = "") -> Any:
    """A key and its certificate, made for one cluster; who does not hold them is refused.

    Parameters
    ----------
    folder : str
        Where workers in jobs find them, in files: no command line and no script of a job holds more than their names.

    Raises
    ------
    ConfigError
        What makes them is not installed.
    """
    from distributed import Security

    try:
        security = Security.temporary()
    except ImportError as error:
        raise ConfigError(f"--engine dask makes a key: pip install 'pulsar-search[dask]' ({error})") from error
    if folder:
        for name in ("tls_worker_key", "tls_worker_cert"):
            path = Path(folder, name)
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(getattr(security, name))
            setattr(security, name, str(path))
        security.tls_ca_file = security.tls_worker_cert
    return security


def _submit_one(cluster: Any, scheduler: str) -> None:
    """Submit the first job, and wait for the answer: what is refused once is refused always, and nobody would come.

    Raises
    ------
    ConfigError
        The job is refused, or nothing that takes it is there.
    """
    cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        cluster.sync(cluster._correct_state)
    except (RuntimeError, OSError) as error:
        # There is no job that could be ended.
        for jobs in (cluster.worker_spec, cluster.workers, cluster._created):
            jobs.clear()
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(
            f"batch.scheduler = {scheduler!r}: the first job cannot be submitted: {lines[-1] if lines else error}; "
            "check that jobs can be submitted from this machine, and queue, account and directives of [batch]"
        ) from error


def queued(config: BatchConfig, threads: int, folder: str) -> Any:
    """A cluster of dask-jobqueue, none of whose jobs is submitted yet.

    Parameters
    ----------
    threads : int
        Of a task; 0 counts as 1.
    folder : str
        A folder of this user alone that jobs see, too: for the key, and what workers write.

    Raises
    ------
    ConfigError
        dask-jobqueue is not installed, or what makes keys.
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
        cores=max(1, config.cores // max(1, threads)),
        processes=1,
        memory=f"{size / 2**20:.0f}MiB",
        walltime=config.walltime,
        queue=config.queue or None,
        account=config.account or None,
        job_name="pulsar-batch",
        job_extra_directives=list(config.directives),
        job_script_prologue=[IN_JOBS, *config.prologue],
        security=_key(folder),
        local_directory=folder,
        scheduler_options=NO_PAGE,
        worker_extra_args=[
            *("--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{min(STAGGER, lifetime // 4)}s"),
            *("--no-dashboard", "--dashboard-address", NO_PAGE["dashboard_address"]),
        ],
        **(
            {"job_cpu": config.cores}
            if slurm
            else {"resource_spec": f"select=1:ncpus={config.cores}:mem={math.ceil(size / 2**20)}mb"}
        ),
    )


def _key_of(*parts: Any) -> str:
    """The name of a task, which no earlier run has: a scheduler that others use may remember that."""
    return "-".join(map(str, ("pulsar", *parts, uuid.uuid4().hex[:8])))


def _failure(future: Any) -> tuple[BaseException | None, str]:
    """The error of a task that has failed, and why in words."""
    error = future.exception() if future.status == "error" else None
    return error, f"{type(error).__name__}: {error}" if error is not None else future.status


def work(order: Order, config: BatchConfig, warn: Callable[[str], None]) -> None:
    """Search units on the workers of a cluster, one task each.

    Parameters
    ----------
    config : BatchConfig
        Says which cluster.
    warn : callable
        Told what is wrong with it.

    Raises
    ------
    ConfigError
        Dask is not installed, or the cluster cannot be reached.
    """
    batch, todo, room = order.batch, order.todo, order.room
    workers = max(1, min(len(todo), room.cores // max(1, room.threads), room.memory // least_memory()))
    with connected(config, room.threads, workers, batch.folder, warn) as client:
        from distributed import as_completed

        units: dict[Any, Unit] = {}  # by their tasks

        def submit(unit: Unit) -> Any:
            # It has a worker's thread for itself.
            unit_options = share(unit, len(todo), room, room, order.options)
            folder, key = str(batch.folder.absolute()), _key_of(batch.ident, unit.name)
            future = client.submit(run_unit, folder, unit, unit_options, key=key, retries=order.retries)
            units[future] = unit
            return future

        ended = as_completed([submit(unit) for unit in todo])
        for future in ended:
            unit = units.pop(future)
            record = _record(batch.folder, unit, future)
            order.put(record)
            if record.kind == "storage":
                return  # others would come to the same
            if again(record, order.retries):
                ended.add(submit(unit))


def _record(folder: Path, unit: Unit, future: Any) -> Record:
    """The record of the unit of a task that has ended."""
    if future.status == "finished":
        record: Record = future.result()
        return record
    error, reason = _failure(future)
    lost = Record(unit.name, "failed", f"its Dask task was lost: {reason}"[:MOST_TOLD], "crash", LOSSES)
    if error is not None:
        # All workers that tried are gone: nobody else could tell.
        write_record(folder, lost)
    return lost


def search_in_worker(task: RangeTask) -> SearchResult:
    """Search a range of DMs in a worker of Dask.

    Dask starts workers with ``MALLOC_TRIM_THRESHOLD_=65536``, so that glibc no longer adapts to what a program takes:
    each array of a search would be fresh pages from the system, 10 CPU seconds of a search of 37.
    """
    keep_freed()
    return search_range(task)


@dataclass(frozen=True)
class DaskWorkers:
    """The workers of a cluster that a client is connected to."""

    client: Any
    count: int
    threads: int
    memory: int

    def search(self, tasks: Sequence[RangeTask]) -> Iterator[tuple[RangeTask, SearchResult]]:
        """Each task, in whatever order they end, with what it has found; what a lost worker had is done by others.

        Raises
        ------
        PulsarError
            That of a task, or too many workers were lost with one.
        """
        from distributed import as_completed

        range_tasks = {}
        for place, task in enumerate(tasks):
            key = _key_of("range", task.first, task.last)
            # The most expensive come first: so they should begin.
            range_tasks[self.client.submit(search_in_worker, task, key=key, priority=-place)] = task
        for future in as_completed(list(range_tasks)):
            task = range_tasks.pop(future)
            if future.status != "finished":
                error, reason = _failure(future)
                if isinstance(error, PulsarError):
                    raise error
                if type(error).__name__ == "KilledWorker":
                    reason = f"{LOSSES + 1} workers were lost with it, perhaps for want of memory"
                raise PulsarError(f"trial DMs {task.first} to {task.last - 1} cannot be searched by a worker: {reason}")
            detected: SearchResult = future.result()
            future.release()
            yield task, detected


def dask_crew(config: Config, folder: Path, warn: Callable[[str], None], workers: int = 0) -> Crew:
    """Workers of the cluster that the settings name, for a search.

    Parameters
    ----------
    config : Config
        `batch` says which cluster, `run.threads` and `run.memory` what a worker takes.
    folder : Path
        Of the product: all workers see it.
    warn : callable
        Told what is wrong with the cluster.
    workers : int
        How many; 0: all cores of this machine, all that are there, or what `batch.jobs` allows.

    Raises
    ------
    ConfigError
        Dask is not installed.
    """
    check_dask()  # before anything is read

    @contextmanager
    def crew() -> Iterator[DaskWorkers]:
        batch = config.batch
        local = batch.scheduler == "local"
        cores = usable_cores() if local else batch.cores
        threads = config.run.threads or (max(1, cores // workers) if local and workers else 1)
        beside = max(1, cores // threads)  # tasks at a time, on a machine or in a job
        here = workers or beside
        if config.run.memory != "auto":
            memory = memory_budget(config.run.memory)
        else:
            memory = memory_budget(config.run.memory) // here if local else memory_budget(batch.memory) // beside
        if workers and batch.scheduler in ("slurm", "pbs"):
            batch = batch.model_copy(update={"jobs": -(-workers // beside)})
        with connected(batch, threads, here, folder, warn) as client:
            if batch.scheduler in ("slurm", "pbs"):
                count = batch.jobs * beside
            else:
                count = sum(client.nthreads().values())
            yield DaskWorkers(client, min(count, workers) if workers and count else max(count, 1), threads, memory)

    return crew
