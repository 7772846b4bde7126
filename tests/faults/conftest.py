"""Runs of the command ``pulsar`` in processes of their own, which tests stop, starve and damage."""

import sys
from pathlib import Path

import pytest
from batch.conftest import one_file
from reference.command import run

from pulsar.io.product.reader import read

#: A search of two seconds through all stages.
QUICK = ("--dm", 0, 60, "--ncands", 4, "--set", "ffa.p_max=2")


def search(path: Path, out: Path, *options: object) -> list[str]:
    """The command line of a search."""
    return [sys.executable, "-m", "pulsar", "search", *map(str, (path, "--out", out, *QUICK, *options))]


def made(path: Path, out: Path, *options: object) -> None:
    """A search in the process of the tests, which comes to its end: what a process of its own adds is not asked."""
    code, _, told = run(*search(path, out, "-q", *options)[3:])
    assert code == 0, told


def results(out: Path) -> tuple[bytes, ...]:
    """All that a product says of candidates, pulses and detections, byte by byte."""
    run = read(out)
    return tuple(run.rows(name).tobytes() for name in ("candidates", "single_pulses", "detections"))


def names(folder: Path) -> list[str]:
    """All that is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="session")
def observation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 8 s with one pulsar."""
    return one_file(tmp_path_factory.mktemp("observation"), 1)


@pytest.fixture(scope="session")
def product(observation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its product, of a run that nobody disturbed."""
    out = tmp_path_factory.mktemp("product") / "run.h5"
    made(observation, out)
    return out
