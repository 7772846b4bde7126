"""Whatever is killed, the same command completes the batch, with the same candidates."""

import os
import random
import signal
import subprocess
import time

import pytest
from batch.conftest import candidates, command, left_behind, quick
from reference.processes import MARK, environment, processes, start, wait_until

from pulsar.batch.drive import init

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("engine", ["local", "dask"])
def test_ten_kills(engine, survey, undisturbed, tmp_path):
    if engine == "dask":
        pytest.importorskip("distributed")
    batch = init([survey], tmp_path / "out", quick())
    stage = tmp_path / "stage"
    stage.mkdir()
    mark = f"{tmp_path.name}-{engine}"
    env = {**environment(), MARK: mark}
    chance = random.Random(5)
    kills = runs = 0
    while kills < 10:
        runs += 1
        assert runs < 30
        driver = start(
            command(batch.folder, "-q", "--engine", engine, "--stage-in", stage, "--retries", 20, "--cores", 2), mark
        )
        while kills < 10 and driver.poll() is None:
            time.sleep(chance.uniform(1.0, 6.0))
            others = [pid for pid in processes(mark) if pid != driver.pid]
            victim = driver.pid if kills % 2 else chance.choice(others or [driver.pid])
            if driver.poll() is None:
                kills += 1
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        driver.communicate()
        if driver.returncode == 0:
            break
    # Of a driver that was killed nothing goes on.
    assert wait_until(lambda: not processes(mark), 10.0), processes(mark)
    last = subprocess.run(
        command(batch.folder, "--engine", engine, "--stage-in", stage), env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert last.returncode == 0, last.stderr
    assert candidates(batch) == undisturbed
    assert not left_behind(batch.folder)
    assert not list(stage.iterdir())
    assert wait_until(lambda: not processes(mark), 10.0)
