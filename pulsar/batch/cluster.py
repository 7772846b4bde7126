"""Clusters of Dask: on this machine, one that is there, or jobs of Slurm or PBS.

Whoever speaks with a scheduler or a worker of Dask runs code as its user, and any user of a node reaches its ports.
So what is started here speaks TLS with those alone that hold a key, which is made for this cluster and kept in memory;
jobs find it in a folder that only their user can enter.
"""

import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from pulsar.config.model import BatchConfig
from pulsar.config.resources import parse_size
from pulsar.data.folders import private
from pulsar.errors import ConfigError

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


@contextmanager
def connected(
    config: BatchConfig, threads: int, workers: int, folder: Path, warn: Callable[[str], None]
) -> Iterator[Any]:
    """A client of the cluster that the settings name; what was started for it ends with it.

    Parameters
    ----------
    config : BatchConfig
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
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise ConfigError(f"--engine dask needs Dask: pip install 'pulsar-search[dask]' ({error})") from error
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS))
        if config.scheduler in ("local", "slurm", "pbs"):
            local = config.scheduler == "local"
            # A folder for keys, and for what workers put on disk and import from there.
            where = Path(tempfile.gettempdir()) if local else folder.absolute()
            own = stack.enter_context(private(where, ".pulsar-dask-"))
            path = str(own.path)
            cluster = stack.enter_context(_local(workers, path) if local else queued(config, threads, path))
            # Before the cluster ends: a run that is told to end is not given the time for all workers to do so.
            stack.callback(own.destroy)
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
        told = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(
            f"batch.scheduler = {scheduler!r}: the first job cannot be submitted: {told[-1] if told else error}; check "
            "that jobs can be submitted from this machine, and queue, account and directives of [batch]"
        ) from error


def queued(config: BatchConfig, threads: int, folder: str) -> Any:
    """A cluster of dask-jobqueue, none of whose jobs is submitted yet.

    Parameters
    ----------
    config : BatchConfig
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
        **({"job_cpu": config.cores} if slurm else {"resource_spec": _pbs(config, size)}),
    )


def _pbs(config: BatchConfig, size: int) -> str:
    return f"select=1:ncpus={config.cores}:mem={math.ceil(size / 2**20)}mb"
