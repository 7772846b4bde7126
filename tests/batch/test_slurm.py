"""Job arrays: how units are dealt, what is submitted, and a cluster of one node."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from batch.conftest import candidates, command, quick
from batch.folders import make_batch
from hypothesis import given
from hypothesis import strategies as st
from reference.processes import environment, wait_until

from pulsar.batch import slurm
from pulsar.batch.drive import Request, init, run_batch
from pulsar.batch.local import Options
from pulsar.batch.records import Record, write_record
from pulsar.batch.units import Unit, product
from pulsar.config.model import BatchConfig
from pulsar.errors import ConfigError, PulsarError


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=60), st.integers(1, 12))
def test_shares_hold_every_unit_once_and_are_even(costs, jobs):
    units = [Unit(f"u{i}", (), 0, cost) for i, cost in enumerate(costs)]
    dealt = slurm.shares(units, jobs)
    assert sorted(u.name for part in dealt for u in part) == sorted(u.name for u in units)
    assert all(dealt)
    loads = [sum(u.cpu for u in part) for part in dealt]
    # Graham's bound, with the mean and the largest unit in place of the best deal.
    assert max(loads) <= sum(costs) / len(dealt) + max(costs) + 1e-6


def test_what_is_submitted():
    config = BatchConfig(
        jobs=8, cores=4, memory="16GiB", walltime="02:00:00", queue="long", account="psr",
        directives=("--exclusive",), prologue=("module load python",),
    )  # fmt: skip
    lines = slurm.script(Path("/data/my batch"), 3, 8, config).splitlines()
    assert lines[0] == "#!/bin/bash"
    assert {
        "#SBATCH --array=0-7", "#SBATCH --cpus-per-task=4", "#SBATCH --mem=16384M", "#SBATCH --time=02:00:00",
        "#SBATCH --partition=long", "#SBATCH --account=psr", "#SBATCH --exclusive",
        '#SBATCH --output="/data/my batch/slurm/0003_%a.out"',
    } <= set(lines)  # fmt: skip
    assert lines[-2] == "module load python"
    assert lines[-1].startswith("exec ")
    assert lines[-1].endswith("-m pulsar.batch.slurm '/data/my batch' 3")


def test_a_job_searches_what_has_no_product(survey, tmp_path):
    batch = init([survey], tmp_path / "out", quick())
    first, second, third = batch.units[:3]
    write_record(batch.folder, Record(first.name, "done"))  # its product was removed, to have it searched again
    write_record(batch.folder, Record(second.name, "failed", kind="input", attempts=1))
    write_record(batch.folder, Record(third.name, "done"))
    product(batch.folder, third.name).write_bytes(b"")
    left = {unit.name for unit in slurm.unsearched(batch.folder, batch.units, retries=0)}
    assert left == {unit.name for unit in batch.units} - {second.name, third.name}


def test_without_slurm_it_is_told(survey, tmp_path, monkeypatch):
    batch = init([survey], tmp_path / "out", quick())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="sbatch is not here"):
        run_batch(batch.folder, Request(engine="slurm"))


@pytest.mark.parametrize(
    ("kinds", "further"),
    [(("storage", ""), False), (("mount", "mount"), False), (("mount", ""), True), (("", ""), True)],
)
def test_arrays_are_not_submitted_over_and_over_where_storage_is_full(kinds, further, tmp_path, monkeypatch):
    batch = make_batch(tmp_path / "out")
    for name, kind in zip("ce", kinds, strict=True):
        write_record(batch.folder, Record(name, "stopped", "why", kind))
    # A cluster whose jobs are over at once.
    for name, text in (("sbatch", "#!/bin/sh\necho 17\n"), ("squeue", "#!/bin/sh\necho COMPLETED\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told: list[str] = []
    todo = [unit for unit in batch.units if unit.name in "ce"]

    def work() -> None:
        order = slurm.Submission((), Options(), 1, 2, batch.config.batch)
        slurm.work(batch, order, lambda: todo, told.append, waiting=True)

    expected = pytest.raises(PulsarError, match="has got no further") if further else contextlib.nullcontext()
    for number in (1, 2):  # the same command tries again
        with expected:
            work()
        assert slurm._current(slurm.slurm_folder(batch.folder)) == slurm.Current("17", number)
    assert told.count("no further array is submitted: c: why") == (0 if further else 2)


CONF = """ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmctldPort={first}
SlurmdPort={second}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
KillWait=5
MpiDefault=none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=6000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Slurm on this machine, as a cluster of one node; skips, saying so, where it cannot be started."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"Slurm is not here: {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons want to be started by root")
    folder = tmp_path / "slurm"
    for part in (folder / "state", folder / "spool"):
        part.mkdir(parents=True)
    folder.chmod(0o711)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    conf = folder / "slurm.conf"
    conf.write_text(
        CONF.format(folder=folder, host=socket.gethostname(), first=_free_port(), second=_free_port()), encoding="utf-8"
    )
    monkeypatch.setenv("SLURM_CONF", str(conf))
    munge = ["munged", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.sock"]
    munge += [f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/seed"]
    try:
        for start in (munge, ["slurmctld", "-f", str(conf)], ["slurmd", "-f", str(conf)]):
            subprocess.run(start, check=False, capture_output=True)
            time.sleep(1.0)
        show = ["sinfo", "--noheader", "--format=%t"]
        idle = wait_until(lambda: "idle" in subprocess.run(show, capture_output=True, text=True).stdout, 20.0)
        if not idle:
            pytest.skip(f"Slurm cannot be started here: see {folder}/slurmctld.log and slurmd.log")
        yield folder
    finally:
        subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
        asked = ["squeue", "--noheader"]
        # A node whose jobs are not over leaves their keepers behind.
        wait_until(lambda: not subprocess.run(asked, capture_output=True, text=True).stdout.strip(), 30.0)
        for name in ("slurmd", "slurmctld", "munged"):
            pid = folder / f"{name}.pid"
            if pid.exists():
                number = int(pid.read_text())
                os.kill(number, signal.SIGTERM)
                wait_until(lambda number=number: not Path(f"/proc/{number}").exists(), 10.0)


@pytest.mark.slow
def test_an_array_goes_on_where_the_wall_time_cuts_it(cluster, survey, undisturbed, tmp_path):
    batch = init([survey], tmp_path / "out", quick())
    options = ["--engine", "slurm", "--set", "batch.walltime=00:01:00", "--set", "batch.margin=40"]
    options += ["--set", "batch.cores=1", "--set", "batch.memory=1GiB", "--threads", 1]
    done = subprocess.run(command(batch.folder, *options), env=environment(), capture_output=True, text=True)
    told = [path.read_text() for path in sorted((batch.folder / "slurm").glob("*.out"))]
    assert done.returncode == 0, (done.stderr, told)
    assert candidates(batch) == undisturbed
    # Twenty seconds a job are too few for six units: at least two more arrays were needed.
    assert len(list((batch.folder / "slurm").glob("*.sh"))) >= 3, told


@pytest.mark.slow
def test_jobs_of_dask(cluster, survey, undisturbed, tmp_path):
    pytest.importorskip("dask_jobqueue")
    batch = init([survey], tmp_path / "out", quick())
    options = ["--engine", "dask", "--set", "batch.scheduler=slurm", "--set", "batch.walltime=00:10:00"]
    options += ["--set", "batch.memory=2GiB", "--set", "batch.jobs=2", "--threads", 1]
    done = subprocess.run(
        command(batch.folder, *options), env=environment(), capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert candidates(batch) == undisturbed
    show = ["squeue", "--noheader", "--states=PENDING,RUNNING"]
    assert wait_until(lambda: not subprocess.run(show, capture_output=True, text=True).stdout.strip(), 60.0)
