"""Ranges of DMs as tasks of Dask: who searches, with what, and what happens when a worker is lost."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from reference.processes import environment, processes, start, wait_until
from typer.testing import CliRunner

from pulsar.batch import cluster
from pulsar.cli.app import app
from pulsar.config.load import load_config
from pulsar.errors import ConfigError
from pulsar.io.product.reader import read
from pulsar.run import search
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_filterbank


@pytest.fixture(scope="module")
def sky_file(tmp_path_factory):
    sky = Sky(
        nchans=32, fch1=1450.0, foff=-12.0, tsamp=2.5e-4, nsamps=32_768, seed=3,
        pulsars=(Pulsar(name="p", period=0.0913, dm=40, snr=25, duty=0.05),),
    )  # fmt: skip
    return write_filterbank(sky, tmp_path_factory.mktemp("sky") / "sky.fil", threads=1)


SETTINGS = ["dedisp.dm_hi=100", "dedisp.dm_step=0.5", "ffa.enabled=false", "fold.ncands=4"]


def command(file: Path, out: Path, *options: object) -> list[str]:
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    start = [sys.executable, "-m", "pulsar", "search", str(file), "-o", str(out), "-q", "--engine", "dask"]
    return [*start, "--workers", "2", *settings, *map(str, options)]


@pytest.fixture(scope="module")
def alone(sky_file, tmp_path_factory):
    """The product of this process alone."""
    return search(sky_file, load_config(None, SETTINGS), tmp_path_factory.mktemp("alone") / "run.h5")


def ranges_done(out: Path) -> int:
    """Trials that the checkpoint of a run knows of."""
    done = 0
    for path in out.with_name(f"{out.name}.parts").glob("searched-*.npz"):
        with suppress(FileNotFoundError), np.load(path) as kept:
            done += int(np.diff(kept["ranges"]).sum())
    return done


def workers(mark: str) -> list[int]:
    return sorted(set(processes("multiprocessing.spawn")) & set(processes(mark)))


def test_one_of_two_workers_is_lost(sky_file, tmp_path, alone):
    pytest.importorskip("distributed", reason="needs the extra `dask`")
    out, mark = tmp_path / "run.h5", f"lost-{tmp_path.name}"
    driver = start(command(sky_file, out), mark, PYTHONFAULTHANDLER="1")
    begun = wait_until(lambda: ranges_done(out) > 0 or driver.poll() is not None, 120.0)
    if not begun:
        driver.send_signal(signal.SIGABRT)  # It says where it is.
    assert begun, driver.communicate(timeout=60.0)
    assert driver.poll() is None, driver.communicate(timeout=60.0)
    os.kill(workers(mark)[0], signal.SIGKILL)
    assert not out.exists()
    assert ranges_done(out) < 201
    _, told = driver.communicate(timeout=120.0)
    assert driver.returncode == 0, told
    assert wait_until(lambda: not processes(mark), 5.0)
    for table in ("candidates", "single_pulses", "detections"):
        assert read(out).rows(table).tobytes() == alone.rows(table).tobytes()
    assert len(read(out)) > 0
    assert not out.with_name("run.h5.parts").exists()


@pytest.mark.slow
def test_jobs_find_their_key(sky_file, tmp_path, alone):
    """By an `sbatch` that begins jobs here, at once."""
    pytest.importorskip("dask_jobqueue", reason="needs the extra `dask`")
    out, mark, script, log = tmp_path / "run.h5", f"job-{tmp_path.name}", tmp_path / "job.sh", tmp_path / "log"
    commands = {
        "sbatch": f'cp "$1" {script}\nsetsid sh {script} >{log} 2>&1 </dev/null &\necho Submitted batch job $!',
        "scancel": 'kill -TERM -- "-$1"',
    }
    (tmp_path / "bin").mkdir()
    for name, text in commands.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    driver = start(command(sky_file, out, "--set", "batch.scheduler=slurm"), mark, PATH=path)
    _, told = driver.communicate(timeout=120.0)
    assert driver.returncode == 0, told
    assert "Traceback" not in told
    assert "tls://" in script.read_text()
    assert read(out).rows("candidates").tobytes() == alone.rows("candidates").tobytes()
    assert not list(tmp_path.glob(".pulsar-dask*"))


@pytest.mark.slow
def test_told_to_end_it_ends_and_goes_on(sky_file, tmp_path, alone):
    pytest.importorskip("distributed", reason="needs the extra `dask`")
    out, mark = tmp_path / "run.h5", f"ends-{tmp_path.name}"
    dask = command(sky_file, out, "--resume")
    for stop in (signal.SIGTERM, signal.SIGKILL):
        before = ranges_done(out)
        driver = start(dask, mark, TMPDIR=str(tmp_path))
        assert wait_until(lambda before=before: ranges_done(out) > before, 120.0)
        driver.send_signal(stop)
        driver.communicate(timeout=5.0)
        assert driver.returncode == (143 if stop == signal.SIGTERM else -9)
        assert wait_until(lambda: not processes(mark), 5.0)
        # The folder of the workers: only a kill leaves it.
        assert len(list(tmp_path.glob(".pulsar-dask*"))) == (stop == signal.SIGKILL)
    subprocess.run(dask, env=environment(), check=True, capture_output=True)
    assert read(out).rows("candidates").tobytes() == alone.rows("candidates").tobytes()


class Client:
    """As much of a client as is asked who is there."""

    def nthreads(self):
        return {"a": 4, "b": 4}


@pytest.mark.parametrize(
    ("sets", "workers", "asked", "has"),
    [
        # Of this machine, which has 8 cores here: all, and the threads that are left for few.
        (["run.memory=2GiB"], 0, ("local", 1, 8), (8, 1, 2 << 30)),
        (["run.memory=2GiB"], 2, ("local", 4, 2), (2, 4, 2 << 30)),
        # A job has 6 cores, for three tasks of two threads each, and its memory is shared by them.
        (["batch.scheduler='slurm'", "batch.cores=6", "batch.memory='12GiB'", "batch.jobs=5", "run.threads=2"], 0,
         ("slurm", 2, 5), (15, 2, 4 << 30)),
        (["batch.scheduler='slurm'", "batch.cores=6", "batch.memory='12GiB'", "run.threads=2"], 7,
         ("slurm", 2, 3), (7, 2, 4 << 30)),
        (["batch.scheduler='tcp://node:8786'", "run.memory=3GiB"], 0, ("tcp://node:8786", 1, None), (8, 1, 3 << 30)),
    ],
)  # fmt: skip
def test_what_workers_have(monkeypatch, sets, workers, asked, has):
    pytest.importorskip("distributed", reason="needs the extra `dask`")
    seen = []

    @contextmanager
    def connected(config, threads, count, folder, warn):
        size = {"local": count, "slurm": config.jobs}.get(config.scheduler)
        seen.append((config.scheduler, threads, size))
        yield Client()

    monkeypatch.setattr(cluster, "connected", connected)
    monkeypatch.setattr(cluster, "usable_cores", lambda: 8)
    with cluster.dask_crew(load_config(None, sets), Path(), print, workers)() as crew:
        assert (crew.count, crew.threads, crew.memory) == has
    assert seen == [asked]


def test_without_dask_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pulsar-search\[dask\]") as told:
        cluster.dask_crew(load_config(None, []), Path(), print)
    assert told.value.exit_code == 2


@pytest.mark.parametrize(
    ("options", "told"), [(["--workers", "2"], "--engine dask"), (["--engine", "dask", "--beams", "1"], "pulsar batch")]
)
def test_options_that_make_no_sense(sky_file, options, told):
    done = CliRunner().invoke(app, ["search", str(sky_file), *options])
    assert done.exit_code == 2
    assert told in done.output
