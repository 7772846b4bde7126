"""Ranges of DMs of one observation as tasks of Dask: many cores for one search."""

import ctypes
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pulsar.batch.cluster import LOSSES, connected
from pulsar.config.model import Config
from pulsar.config.resources import memory_budget, usable_cores
from pulsar.errors import ConfigError, PulsarError
from pulsar.pipeline.ranges import Crew, RangeTask, search_range

if TYPE_CHECKING:
    from pulsar.pipeline.stages import Found


#: Of glibc's malloc.h: parameters of mallopt, and the largest sizes that they take by themselves on 64 bits [byte].
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
MMAP_MAX: Final = 32 << 20


def work(task: RangeTask) -> "Found":
    """Search a range in a worker of Dask.

    Dask starts workers with ``MALLOC_TRIM_THRESHOLD_=65536``, so that glibc no longer adapts to what a program takes:
    each array of a search would be fresh pages from the system, 10 CPU seconds of a search of 37.
    """
    with suppress(AttributeError, OSError):  # not glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_MAX)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * MMAP_MAX)
    return search_range(task)


@dataclass(frozen=True)
class DaskWorkers:
    """The workers of a cluster that a client is connected to."""

    client: Any
    count: int
    threads: int
    memory: int

    def search(self, tasks: Sequence[RangeTask]) -> "Iterator[tuple[RangeTask, Found]]":
        """Each task, in whatever order they end, with what it has found; what a lost worker had is done by others.

        Raises
        ------
        PulsarError
            That of a task, or too many workers were lost with one.
        """
        from distributed import as_completed

        # A scheduler that others use may remember an earlier run: tasks of this one have names of their own.
        run = uuid.uuid4().hex[:8]
        # The most expensive come first: so they should begin.
        given = {
            self.client.submit(work, task, key=f"pulsar-range-{run}-{task.first}-{task.last}", priority=-place): task
            for place, task in enumerate(tasks)
        }
        ended = as_completed(list(given))
        for future in ended:
            task = given.pop(future)
            if future.status != "finished":
                raise _failure(future, task)
            found: Found = future.result()
            future.release()
            yield task, found


def _failure(future: Any, task: RangeTask) -> PulsarError:
    error = future.exception() if future.status == "error" else None
    if isinstance(error, PulsarError):
        return error
    what = f"{type(error).__name__}: {error}" if error is not None else future.status
    if type(error).__name__ == "KilledWorker":
        what = f"{LOSSES + 1} workers were lost with it, perhaps for want of memory"
    return PulsarError(f"trial DMs {task.first} to {task.last - 1} cannot be searched by a worker: {what}")


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
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        # Before anything is read.
        raise ConfigError(f"--engine dask needs Dask: pip install 'pulsar-search[dask]' ({error})") from error

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
