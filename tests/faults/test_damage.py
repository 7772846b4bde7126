"""Damaged products, inputs that change while they are read, too little memory, processes that are shot down."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from batch.conftest import command, quick
from faults.conftest import names, results, search
from faults.test_memory import sparse
from reference.command import run
from reference.processes import finish, processes, start, wait_until

from pulsar.batch.drive import Request, init, run_batch
from pulsar.batch.records import read_record
from pulsar.batch.units import log_file
from pulsar.errors import DataError
from pulsar.io.open import open_observation
from pulsar.io.sigproc import SigprocReader

#: How a disk damages a file: its content -> what is left of it.
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut in the middle": lambda content: content[: len(content) // 2],
    "its end never written": lambda content: content[: len(content) // 4] + bytes(3 * len(content) // 4),
    "empty": lambda _: b"",
    "its beginning lost": lambda content: bytes(512) + content[512:],
}


def readers(path: Path, observation: Path, folder: Path) -> dict[str, tuple[object, ...]]:
    """Every command that reads a product."""
    return {
        "candidates": ("candidates", path, "--all"),
        "report": ("report", path, "--out", folder / "report"),
        "why": ("why", path, "--period", 0.1),
        "sift": ("sift", path, "--out", folder / "sifted.h5"),
        "export": ("export", path, "--id", "c0001", "--par", "--out", folder / "x.par"),
        "fold": ("fold", observation, "--candidates", path, "--out", folder / "fold.h5"),
        "search": ("search", observation, "--resume", "--out", path),
        "rfi.mask": ("search", observation, "--mask", path, "--out", folder / "other.h5"),
    }


READERS = tuple(readers(Path(), Path(), Path()))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_product(reader: str, damage: str, observation: Path, product: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    path.write_bytes(DAMAGES[damage](product.read_bytes()))
    before = path.read_bytes()
    code, out, err = run(*readers(path, observation, tmp_path)[reader])
    assert (code, out) == (3, ""), err
    assert str(path) in err
    assert "internal failure" not in err
    assert path.read_bytes() == before
    assert [name for name in names(tmp_path) if name not in ("run.h5", "report")] == []


def test_a_damaged_product_in_a_batch(observation: Path, product: Path, tmp_path: Path) -> None:
    batch = init([observation], tmp_path / "out", quick())
    path = batch.folder / "products" / f"{batch.units[0].name}.h5"
    path.write_bytes(product.read_bytes())
    assert run("batch", "merge", batch.folder)[0] == 0
    path.write_bytes(DAMAGES["cut in the middle"](product.read_bytes()))
    (batch.folder / "ALL.h5").unlink()
    code, out, err = run("batch", "merge", batch.folder)
    assert (code, out) == (3, "")
    assert str(path) in err


def searched_but_for(change: Callable[[Path], None], observation: Path, folder: Path) -> tuple[int, str, Path]:
    """A search of a file that is changed between the first pass over it and the second."""
    path, out = folder / "a.fil", folder / "run.h5"
    path.write_bytes(observation.read_bytes())
    process = start(search(path, out, "-q"))
    assert wait_until(lambda: (folder / "run.h5.parts" / "mask.npz").exists(), 60.0)
    process.send_signal(signal.SIGSTOP)
    change(path)
    process.send_signal(signal.SIGCONT)
    _, told = process.communicate()
    assert [name for name in names(folder) if name.startswith(".")] == []
    return process.returncode, told, out


def test_an_input_that_is_cut_while_it_is_searched(observation: Path, tmp_path: Path) -> None:
    code, told, out = searched_but_for(lambda path: os.truncate(path, 50_000), observation, tmp_path)
    assert code == 3
    # Told by who reads it, or who looks at it after the pass.
    assert f"{tmp_path / 'a.fil'}: " in told
    assert "50000" in told
    assert "Traceback" not in told
    assert not out.exists()


@pytest.mark.parametrize("start", [0, 4000])
def test_a_cut_input_ends_where_it_ends_wherever_it_is_read(observation: Path, tmp_path: Path, start: int) -> None:
    path = tmp_path / "a.fil"
    path.write_bytes(observation.read_bytes())
    with open_observation(path) as obs:
        os.truncate(path, 50_000)
        with pytest.raises(DataError, match="ends at byte 50000 where"):
            obs.read(start, 4000)


def test_an_input_that_is_deleted_while_it_is_searched(observation: Path, product: Path, tmp_path: Path) -> None:
    # An open file outlives its name, and so do its results.
    code, told, out = searched_but_for(Path.unlink, observation, tmp_path)
    assert code == 0, told
    assert results(out) == results(product)


def test_many_inputs_one_of_which_is_gone(tmp_path: Path, observation: Path) -> None:
    with open_observation(observation) as obs:
        assert isinstance(obs, SigprocReader)
        obs._file.park()
        obs._file.path = tmp_path / "gone.fil"
        with pytest.raises(DataError, match=r"gone\.fil: cannot be opened: No such file or directory; check its name"):
            obs.read(0, 16)


def test_an_input_that_has_changed_is_not_gone_on_with(observation: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "a.fil", tmp_path / "run.h5"
    path.write_bytes(observation.read_bytes())
    process = start(search(path, out, "-q"))
    assert wait_until(lambda: (tmp_path / "run.h5.parts" / "mask.npz").exists(), 60.0)
    process.kill()
    process.communicate()
    with path.open("ab") as stream:
        stream.write(observation.read_bytes()[-16 * 1000 :])
    code, _, told = run(*search(path, out, "--resume")[3:])
    assert code == 0, told
    assert "the earlier results belong to other files or settings: starting anew" in told
    assert names(tmp_path) == ["a.fil", "run.h5"]


@pytest.mark.slow
def test_too_little_address_space(tmp_path: Path) -> None:
    # The budget promises more than there is: what is to be kept in memory does not fit.
    path, folder = tmp_path / "a.fil", tmp_path / "out"
    folder.mkdir()
    sparse(path, 1 << 30, 1e-4)
    code = (
        "import resource, sys\n"
        "import pulsar.run, pulsar.pipeline.start, pulsar.pipeline.detect, pulsar.cleaning, pulsar_kernels.moments\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (900 << 20), used + (900 << 20)))\n"
        "sys.argv[0] = 'pulsar'\n"
        # As where others have taken what there was.
        "pulsar.pipeline.start.check_addresses = lambda *_: None\n"
        "from pulsar.cli.app import main; main()"
    )
    options = ("-q", "--threads", 1, "--memory", "64GiB", "--set", "rfi.clip=0", "--dm", 0, 300)
    done = finish([sys.executable, "-c", code, *search(path, folder / "run.h5", *options)[3:]])
    assert done.returncode == 1, done.stderr
    told = done.stderr.splitlines()
    assert told[-1] == "pulsar: out of memory; lower --memory or --threads, or take a shorter piece of the data"
    assert [line for line in told if "Warning" in line or "Traceback" in line] == []
    assert names(folder) == ["run.h5.parts"]


def test_a_unit_that_is_shot_down_says_so(observation: Path, tmp_path: Path) -> None:
    batch = init([observation], tmp_path / "out", quick())
    mark = f"shot-{tmp_path.name}"
    driver = start(command(batch.folder, "-q", "--retries", 0), mark)
    assert wait_until(lambda: any((batch.folder / "records").glob("*.json")))
    for pid in processes(mark):
        if pid != driver.pid:
            # As the kernel does where memory runs out.
            os.kill(pid, signal.SIGKILL)
    out, told = driver.communicate(timeout=60.0)
    assert driver.returncode == 1, told
    assert "ended with signal 9 (Killed)" in out + told
    assert "memory" in out + told
    assert run_batch(batch.folder, Request(retries=3)).exit_code == 0


def test_a_unit_that_is_told_to_end_has_not_failed(observation: Path, tmp_path: Path) -> None:
    batch = init([observation], tmp_path / "out", quick())
    name = batch.units[0].name
    mark = f"told-{tmp_path.name}"
    driver = start(command(batch.folder, "-q", "--retries", 0), mark)
    assert wait_until(lambda: any((batch.folder / "records").glob("*.json")))
    for pid in processes(mark):
        if pid != driver.pid:
            os.kill(pid, signal.SIGTERM)
    out, told = driver.communicate(timeout=60.0)
    assert driver.returncode == 1, told
    assert "0 units done, 0 failed, 1 left" in out
    record = read_record(batch.folder, name)
    assert record is not None
    assert (record.status, record.kind, record.attempts) == ("stopped", "", 0)
    assert "ended from outside" in record.reason
    assert "failed" not in log_file(batch.folder, name).read_text()
    assert run_batch(batch.folder, Request(retries=0)).exit_code == 0
