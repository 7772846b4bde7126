"""Clusters of Dask: on this machine, one that is there, or jobs of Slurm or PBS."""

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from pulsar.config.model import BatchConfig
from pulsar.config.size import parse_size
from pulsar.errors import ConfigError

#: Workers may be lost so often with the same task before it is taken for what kills them.
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


@contextmanager
def connected(config: BatchConfig, threads: int, workers: int) -> Iterator[Any]:
    """A client of the cluster that the settings name; what was started for it ends with it.

    Parameters
    ----------
    config : BatchConfig
    threads : int
        Of a task; 0 counts as 1.
    workers : int
        Processes of a cluster on this machine, each of which does one task at a time.

    Raises
    ------
    ConfigError
        Dask is not installed, or the cluster cannot be reached.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ConfigError(f"--engine dask needs Dask: pip install 'pulsar-search[dask]' ({error})") from error
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS))
        if config.scheduler == "local":
            cluster = stack.enter_context(
                # Tasks are held to their memory themselves, the workers take next to none.
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
            cluster = stack.enter_context(queued(config, threads))
            _submit_one(cluster, config.scheduler)
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
        told = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(
            f"batch.scheduler = {scheduler!r}: the first job cannot be submitted: {told[-1] if told else error}; check "
            "that jobs can be submitted from this machine, and queue, account and directives of [batch]"
        ) from error


def queued(config: BatchConfig, threads: int) -> Any:
    """A cluster of dask-jobqueue, none of whose jobs is submitted yet.

    Parameters
    ----------
    config : BatchConfig
    threads : int
        Of a task; 0 counts as 1.

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
        cores=max(1, config.cores // max(1, threads)),
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
