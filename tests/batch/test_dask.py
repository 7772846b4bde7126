"""Units as tasks of Dask: what is asked of a cluster, and what happens when a worker is lost."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from batch.conftest import candidates, command, left_behind, quick
from reference.processes import environment, processes, start, wait_until

from pulsar.batch.drive import Request, init, run_batch
from pulsar.errors import ConfigError


@pytest.mark.parametrize("scheduler", ["slurm", "pbs"])
def test_what_a_cluster_is_asked_for(scheduler, tmp_path):
    """In a process of its own: importing dask_jobqueue warns."""
    pytest.importorskip("dask_jobqueue")
    code = (
        "from pathlib import Path; from tempfile import mkdtemp; from pulsar.batch.cluster import queued; "
        "from pulsar.config.model import BatchConfig; "
        f"config = BatchConfig(scheduler={scheduler!r}, cores=8, memory='16GiB', walltime='02:00:00', queue='long', "
        "directives=('--exclusive',), prologue=('module load python',)); "
        "folder = Path(mkdtemp(prefix='.pulsar-dask-', dir=Path.cwd())); cluster = queued(config, 2, str(folder)); "
        "print(cluster.job_script()); found = [folder, *sorted(folder.iterdir())]; "
        "print(*(f'{path.name[:10]} {path.stat().st_mode & 0o777:o}' for path in found), sep='\\n'); "
        "cluster.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    asked = {
        "slurm": ("#SBATCH -p long", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=16G", "#SBATCH -t 02:00:00"),
        "pbs": ("#PBS -q long", "#PBS -l select=1:ncpus=8:mem=16384mb", "#PBS -l walltime=02:00:00"),
    }[scheduler]
    assert [line for line in asked if line not in done.stdout.splitlines()] == []
    assert "module load python" in done.stdout
    # Four units of two threads each; gone before the wall time.
    assert "--nthreads 4" in done.stdout
    assert "--lifetime 7080s" in done.stdout
    # Where the key is, not the key; and nobody else can read it there.
    assert "--tls-key" in done.stdout
    assert "PRIVATE KEY" not in done.stdout
    assert done.stdout.splitlines()[-3:] == [".pulsar-da 700", "tls_worker 600", "tls_worker 600"]


def test_no_scheduler_at_that_address(survey, tmp_path):
    pytest.importorskip("distributed")
    batch = init([survey / "s0.fil"], tmp_path / "out", quick())
    request = Request(engine="dask", sets=("batch.scheduler='nonsense'",))
    with pytest.raises(ConfigError, match="no Dask scheduler answers"):
        run_batch(batch.folder, request)


def test_a_job_that_is_refused_is_told(survey, tmp_path):
    """Not waited for: nobody would come."""
    pytest.importorskip("dask_jobqueue")
    batch = init([survey / "s0.fil"], tmp_path / "out", quick())
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: nosuch' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    env = {**environment(), "PATH": f"{sbatch.parent}{os.pathsep}{os.environ['PATH']}"}
    options = ("-q", "--engine", "dask", "--set", "batch.scheduler=slurm", "--set", "batch.queue=nosuch")
    done = subprocess.run(command(batch.folder, *options), env=env, capture_output=True, text=True, timeout=120.0)
    assert done.returncode == 2, done.stderr
    assert "the first job cannot be submitted: sbatch: error: invalid partition specified: nosuch" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_dask_it_is_told(survey, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    batch = init([survey / "s0.fil"], tmp_path / "out", quick())
    with pytest.raises(ConfigError, match=r"pulsar-search\[dask\]"):
        run_batch(batch.folder, Request(engine="dask"))


@pytest.mark.slow
def test_one_of_two_workers_is_lost(survey, undisturbed, tmp_path):
    pytest.importorskip("distributed")
    batch = init([survey], tmp_path / "out", quick())
    mark = f"lost-{tmp_path.name}"
    driver = start(command(batch.folder, "-q", "--engine", "dask", "--cores", 2), mark)
    assert wait_until(lambda: len(list((batch.folder / "products").glob("*.h5"))) >= 2, 300.0)
    # The worker is the parent of a unit's process.
    workers: set[int] = set()

    def at_work() -> bool:
        with contextlib.suppress(OSError):
            for pid in set(processes("pulsar.batch.process")) & set(processes(mark)):
                workers.add(int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]))
        return bool(workers)

    assert wait_until(at_work)
    assert driver.pid not in workers
    os.kill(workers.pop(), signal.SIGKILL)
    _, told = driver.communicate(timeout=600.0)
    assert driver.returncode == 0, told
    assert candidates(batch) == undisturbed
    assert not left_behind(batch.folder)
    assert not processes(mark)


@pytest.mark.slow
def test_told_to_end_it_ends(survey, tmp_path):
    pytest.importorskip("distributed")
    batch = init([survey], tmp_path / "out", quick())
    mark = f"ends-{tmp_path.name}"
    driver = start(command(batch.folder, "-q", "--engine", "dask"), mark)
    assert wait_until(lambda: any((batch.folder / "records").iterdir()), 120.0)
    driver.send_signal(signal.SIGTERM)
    _, told = driver.communicate(timeout=20.0)
    assert driver.returncode == 143, told
    assert wait_until(lambda: not processes(mark), 5.0)
