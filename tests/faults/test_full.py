"""A full disk, wherever it fills up: the file is named, the exit code is 1, and what was there before is as it was."""

import contextlib
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from batch.conftest import quick
from faults.conftest import made, names, results, search
from reference.command import run
from reference.processes import environment, finish

from pulsar.batch.drive import Request, init, run_batch
from pulsar.batch.records import status
from pulsar.dedisp.stream import DMStore
from pulsar.errors import PulsarError
from pulsar.pipeline.checkpoint import Checkpoint


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def limited(nbytes: int, *args: object) -> "subprocess.CompletedProcess[str]":
    """A command that can write no file of more bytes: the disk ends there."""
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({nbytes}, {nbytes})); "
        "sys.argv[0] = 'pulsar'; from pulsar.cli.app import main; main()"
    )
    return finish([sys.executable, "-c", code, *map(str, args)])


@pytest.mark.parametrize(
    ("nbytes", "what", "left"),
    [
        (2_000, r"run.h5.parts/mask.npz: what is done so far cannot be kept: File too large", []),
        (60_000, r"run.h5: cannot be written: File too large", ["run.h5.parts"]),
    ],
)
def test_a_search(nbytes: int, what: str, left: list[str], observation: Path, product: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.h5"
    args = search(observation, out, "-q", "--set", "output.detections=true")[3:]
    done = limited(nbytes, *args)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert what in done.stderr
    assert "Traceback" not in done.stderr
    # What was done so far stays, and the run goes on where there is room.
    assert names(tmp_path) == left
    made(observation, out, "--resume")
    assert results(out) == results(product)
    assert names(tmp_path) == ["run.h5"]


@contextlib.contextmanager
def file_size(nbytes: int) -> Iterator[None]:
    """This process can write no file of more bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("nbytes", [10, 1000])
def test_a_first_stage_that_cannot_be_kept_leaves_nothing(nbytes: int, tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "run.h5", "0123456789abcdef", resume=True)
    with file_size(nbytes), pytest.raises(PulsarError, match="what is done so far cannot be kept"):
        kept.save("mask", mask=np.zeros(10_000))
    assert names(tmp_path) == []
    kept.save("mask", mask=np.zeros(10))
    with file_size(nbytes), pytest.raises(PulsarError, match="what is done so far cannot be kept"):
        kept.save("search", found=np.zeros(10_000))
    # What is done stays.
    assert names(tmp_path / "run.h5.parts") == ["fingerprint", "mask.npz"]


def test_a_product_that_is_there_outlives_a_full_disk(observation: Path, product: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.h5"
    out.write_bytes(product.read_bytes())
    done = limited(60_000, *search(observation, out, "-q", "--overwrite")[3:])
    assert done.returncode == 1
    assert out.read_bytes() == product.read_bytes()


def test_a_small_file_system(observation: Path, product: Path, small: Path) -> None:
    (small / "other").write_bytes(bytes((1 << 20) - 40_000))
    code, _, told = run(*search(observation, small / "run.h5", "-q")[3:])
    assert code == 1
    assert f"pulsar: {small}/run.h5" in told
    assert "No space left on device" in told
    assert "Traceback" not in told
    (small / "other").unlink()
    made(observation, small / "run.h5", "--resume")
    assert results(small / "run.h5") == results(product)
    assert names(small) == ["run.h5"]


@pytest.mark.slow
def test_a_batch_on_a_small_file_system(observation: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    batch = init([observation], small / "out", quick())
    (small / "other").write_bytes(bytes((1 << 20) - 200_000))
    outcome = run_batch(batch.folder, Request(retries=0))
    assert outcome.exit_code == 1
    assert [name for name in names(batch.folder / "products") if not name.endswith(".parts")] == []
    # What there is can be seen when not a byte more can be written.
    with contextlib.suppress(OSError):
        (small / "more").write_bytes(bytes(1 << 20))
    for _ in range(2):
        found = status(batch.folder)
        assert (found.units, found.done) == (1, 0)
        (batch.folder / "index.json").write_bytes(b"")
    (small / "other").unlink()
    assert run_batch(batch.folder, Request(retries=5)).exit_code == 0


def test_a_scratch_file(tmp_path: Path) -> None:
    from pulsar.config.model import DedispConfig
    from pulsar.data.header import Header
    from pulsar.dedisp.plan import make_plan

    header = Header(nchans=16, nsamps=20_000, tsamp=1e-3, fch1=1500.0, foff=-4.0, tstart=59000.0)
    plan = make_plan(header, DedispConfig(dm_hi=50.0, dm_step=5.0), freqs=header.freqs)
    told = rf"{tmp_path}: File too large; free some space there, name another"
    with DMStore(plan, tmp_path) as store, file_size(4000), pytest.raises(PulsarError, match=told):
        store.stages[0].put(0, np.zeros((store.stages[0].plan.ndms, 4096), np.int16))
    assert names(tmp_path) == []
