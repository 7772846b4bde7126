"""Limits of control groups, in trees as the kernel shows them, and the threads and memory that follow."""

import math
import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pulsar.cli.app import app
from pulsar.config import resources
from pulsar.config.resources import Cgroup, command, environment, thread_count, usable_cores

MIB = 1 << 20


def tree(folder: Path, own: str, files: dict[str, object]) -> Cgroup:
    """A hierarchy of groups with these files."""
    for name, content in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    (folder / "own").write_text(own)
    return Cgroup(folder / "cgroup", folder / "own")


def test_version_2_and_its_parents(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        "0::/job/step\n",
        {
            "job/memory.max": 1000 * MIB,
            "job/memory.current": 700 * MIB,
            "job/memory.stat": f"anon {400 * MIB}\nfile {300 * MIB}\nshmem {50 * MIB}",
            "job/cpu.max": "250000 100000",
            "job/step/memory.max": "max",
            "job/step/memory.current": 600 * MIB,
            "job/step/cpu.max": "max 100000",
        },
    )
    # What caches files is given back, what lies in tmpfs is not.
    assert found.free_memory() == (1000 - 700 + 250) * MIB
    assert found.processors() == 2.5


def test_version_1(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        "11:cpu,cpuacct:/slurm/job\n4:memory:/slurm/job\n1:name=systemd:/\n0::/\n",
        {
            "memory/slurm/job/memory.limit_in_bytes": 800 * MIB,
            "memory/slurm/job/memory.usage_in_bytes": 300 * MIB,
            "memory/slurm/job/memory.stat": f"cache 1\ntotal_cache {100 * MIB}\ntotal_shmem 0",
            "memory/memory.limit_in_bytes": 9223372036854771712,
            "memory/memory.usage_in_bytes": 5000 * MIB,
            "cpu,cpuacct/slurm/job/cpu.cfs_quota_us": 300000,
            "cpu,cpuacct/slurm/job/cpu.cfs_period_us": 100000,
            "cpu,cpuacct/cpu.cfs_quota_us": -1,
            "cpu,cpuacct/cpu.cfs_period_us": 100000,
        },
    )
    assert found.free_memory() == 600 * MIB
    assert found.processors() == 3.0


def test_a_container_sees_its_own_group_as_the_mount(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        "0::/docker/0123abcd\n",
        {"memory.max": 512 * MIB, "memory.current": 12 * MIB, "cpu.max": "50000 100000"},
    )
    assert found.free_memory() == 500 * MIB
    assert found.processors() == 0.5


def test_over_its_limit_there_is_nothing_left(tmp_path: Path) -> None:
    assert tree(tmp_path, "0::/\n", {"memory.max": 5, "memory.current": 7}).free_memory() == 0.0


@pytest.mark.parametrize("own", ["0::/\n", "", "nonsense", "0::/../../elsewhere\n"])
def test_without_limits_there_are_none(own: str, tmp_path: Path) -> None:
    found = tree(tmp_path, own, {"memory.max": "max", "memory.current": 7, "cpu.max": "broken"})
    assert (found.free_memory(), found.processors()) == (math.inf, math.inf)
    assert Cgroup(tmp_path / "none", tmp_path / "none").free_memory() == math.inf


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine of 8 cores without limits, and no word of threads in the environment."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name in resources.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    unlimited = tree(tmp_path, "0::/\n", {"cpu.max": "max 100000"})
    monkeypatch.setattr(resources, "Cgroup", lambda: unlimited)
    return monkeypatch


@pytest.mark.parametrize(("quota", "cores"), [("max", 8), ("250000", 2), ("50000", 1), ("6400000", 8)])
def test_threads_by_quota(quota: str, cores: int, plain: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = tree(tmp_path / "other", "0::/\n", {"cpu.max": f"{quota} 100000"})
    plain.setattr(resources, "Cgroup", lambda: found)
    assert usable_cores() == thread_count(None) == thread_count(0) == cores
    assert thread_count(5) == 5


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"OMP_NUM_THREADS": "5", "NUMBA_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "64"}, 8),
        ({"OMP_NUM_THREADS": "many"}, 8),
    ],
)
def test_threads_by_the_environment(variables: dict[str, str], count: int, plain: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        plain.setenv(name, value)
    assert thread_count(None) == count
    # A batch shares out cores, whatever its units take.
    assert usable_cores() == 8


@pytest.mark.parametrize(("given", "threads"), [(None, "1"), ("3", "3")])
def test_linear_algebra_has_one_thread_unless_the_user_says_otherwise(
    given: str | None, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
    code = "import os; print(os.environ['OPENBLAS_NUM_THREADS'])"
    done = subprocess.run(command("-c", code), env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == threads


@pytest.mark.parametrize("value", ["x", "0", "-1", "", "4,2", "1.5"])
def test_a_number_of_threads_that_numba_stumbles_over(value: str, plain: pytest.MonkeyPatch) -> None:
    plain.setenv("NUMBA_NUM_THREADS", value)
    result = CliRunner().invoke(app, ["config", "show"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"pulsar: NUMBA_NUM_THREADS is '{value}' in the environment: expected a number of")


def test_memory_by_default_is_half_of_what_the_group_may_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tree(tmp_path, "0::/\n", {"memory.max": 600 * MIB, "memory.current": 0})
    monkeypatch.setattr(resources, "Cgroup", lambda: found)
    assert resources.free_memory() == 600 * MIB
    assert resources.memory_budget("auto") == 300 * MIB
    assert resources.memory_budget("1GiB") == 1024 * MIB
