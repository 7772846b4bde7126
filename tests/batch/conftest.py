"""Small surveys: files of a few seconds, searched in a second or two each."""

import subprocess
import sys
from pathlib import Path

import pytest
from reference.processes import environment

from pulsar.batch.drive import init, run_batch
from pulsar.batch.units import Batch
from pulsar.config.load import load_config
from pulsar.config.model import Config
from pulsar.io.product.reader import read
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_filterbank


def one_file(folder: Path, number: int) -> Path:
    """An observation of its own date with one pulsar."""
    pulsar = Pulsar(name="p", period=0.0913 + 0.003 * number, dm=40, snr=25, duty=0.05)
    sky = Sky(
        nchans=16, fch1=1450.0, foff=-16.0, tsamp=1e-3, nsamps=8192, seed=number, source=f"SRC{number}",
        tstart=59000.0 + number, pulsars=(pulsar,),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"s{number}.fil"
    write_filterbank(sky, path, threads=1)
    return path


def quick() -> Config:
    return load_config(None, ["dedisp.dm_hi=60", "ffa.enabled=false", "fold.ncands=4"])


def candidates(batch: Batch) -> dict[str, tuple[bytes, bytes]]:
    """All that the products say of candidates and pulses, byte by byte."""
    out = {}
    for unit in batch.units:
        run = read(batch.folder / "products" / f"{unit.name}.h5")
        out[unit.name] = run.rows("candidates").tobytes(), run.rows("single_pulses").tobytes()
    return out


def command(folder: Path, *options: object) -> list[str]:
    return [sys.executable, "-m", "pulsar", "batch", "run", str(folder), *map(str, options)]


def left_behind(folder: Path) -> list[str]:
    """What no finished batch has."""
    return [str(p) for pattern in ("*.part", ".*.part", "*.parts") for p in (folder / "products").glob(pattern)]


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of six observations."""
    folder = tmp_path_factory.mktemp("survey")
    for number in range(6):
        one_file(folder, number)
    return folder


@pytest.fixture(scope="session")
def undisturbed(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes]]:
    """The candidates of all six, searched without being disturbed."""
    batch = init([survey], tmp_path_factory.mktemp("undisturbed"), quick())
    subprocess.run(command(batch.folder, "-q"), env=environment(), check=True, capture_output=True)
    return candidates(batch)


@pytest.fixture(scope="session")
def finished(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch of two of them, searched: to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    init([survey / "s1.fil", survey / "s2.fil"], folder, quick())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
        assert run_batch(folder).exit_code == 0
    return folder
