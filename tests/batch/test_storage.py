"""Disks that are full and mounts that are gone: no attempt is counted, and the same command goes on."""

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch.conftest import candidates, left_behind, one_file, quick
from reference.processes import environment
from typer.testing import CliRunner

from pulsar.batch.drive import Request, init, run_batch
from pulsar.batch.process import _end
from pulsar.batch.records import Record, read_record, status
from pulsar.batch.units import Unit, inputs_gone
from pulsar.cli.app import app
from pulsar.errors import ConfigError, DataError, PulsarError, storage_fault


@pytest.fixture(autouse=True)
def found_by_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of units import what is tested."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])


@contextlib.contextmanager
def file_size(nbytes: int) -> Iterator[None]:
    """This process and those that it starts can write no file of more bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_no_attempt_and_the_same_command_goes_on(tmp_path: Path) -> None:
    for number in (1, 2):
        one_file(tmp_path / "night", number)
    batch = init([tmp_path / "night"], tmp_path / "out", quick())
    first, second = (unit.name for unit in batch.units)
    request = Request(cores=1, retries=0)
    with file_size(60_000):  # room for records and checkpoints, not for a product
        for _ in range(2):
            outcome = run_batch(batch.folder, request)
            assert (outcome.exit_code, outcome.done, outcome.left, outcome.failures) == (1, 0, 2, [])
            assert [(r.name, r.status, r.kind, r.attempts) for r in outcome.waits] == [(first, "stopped", "storage", 0)]
            assert "File too large" in outcome.waits[0].reason
            # The others would come to the same: they are not begun.
            assert read_record(batch.folder, second) is None
    result = CliRunner().invoke(app, ["batch", "status", str(batch.folder)])
    assert "0 of 2 done, 0 running, 2 left, 0 failed" in result.stdout
    assert f"waiting     {first}: " in result.stdout
    assert run_batch(batch.folder, request).exit_code == 0
    assert not left_behind(batch.folder)
    assert status(batch.folder).core_hours_failed == 0.0
    assert len(candidates(batch)) == 2


@pytest.mark.slow
def test_workers_of_dask_on_a_full_disk(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    for number in (1, 2):
        one_file(tmp_path / "night", number)
    batch = init([tmp_path / "night"], tmp_path / "out", quick())
    request = Request(engine="dask", cores=1, retries=0)
    with file_size(60_000):
        outcome = run_batch(batch.folder, request)
    assert (outcome.exit_code, outcome.done, outcome.left, outcome.failures) == (1, 0, 2, [])
    assert {(r.kind, r.attempts) for r in outcome.waits} == {("storage", 0)}
    assert run_batch(batch.folder, request).exit_code == 0


def test_inputs_whose_mount_is_gone_are_waited_for_and_others_searched(tmp_path: Path) -> None:
    for number in (1, 2):
        one_file(tmp_path / f"mount{number}", number)
    batch = init([tmp_path / "mount1", tmp_path / "mount2"], tmp_path / "out", quick())
    (tmp_path / "mount1").rename(tmp_path / "away")
    (tmp_path / "mount1").mkdir()  # what a mount leaves
    for _ in range(2):
        result = CliRunner().invoke(app, ["batch", "run", str(batch.folder), "-q", "--retries", "0"])
        assert result.exit_code == 1
        assert "1 units done, 0 failed, 1 left" in result.stdout
        assert f"SRC1_20200601: {tmp_path / 'mount1'}: is empty, as where nothing is mounted" in result.stderr
        assert "1 units wait until the files are there: then give the same command again" in result.stderr
    assert read_record(batch.folder, "SRC1_20200601").attempts == 0
    (tmp_path / "mount1").rmdir()
    (tmp_path / "away").rename(tmp_path / "mount1")
    assert run_batch(batch.folder).exit_code == 0


def test_what_is_of_storage_is_told_from_other_failures(tmp_path: Path) -> None:
    there = tmp_path / "there.fil"
    there.touch()
    here, gone = Unit("u", (str(there),), 0), Unit("u", (str(tmp_path / "mount" / "x.fil"),), 0)
    (tmp_path / "products").mkdir()
    begun = Record("u", "running", attempts=1)

    def kind(failure: Exception, cause: OSError, unit: Unit = here) -> tuple[str, str, int]:
        try:
            raise failure from cause
        except Exception as error:
            record, _ = _end(begun, tmp_path, unit, error)
        return record.status, record.kind, record.attempts

    full, sector, missing = (OSError(n, os.strerror(n)) for n in (errno.ENOSPC, errno.EIO, errno.ENOENT))
    stale = OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    assert kind(PulsarError("x: cannot be written"), full) == ("stopped", "storage", 1)
    assert kind(ConfigError("scratch: cannot be written"), full) == ("stopped", "storage", 1)
    assert kind(PulsarError("x: cannot be written"), sector) == ("stopped", "storage", 1)
    # A piece of a file that cannot be read stays so.
    assert kind(DataError("x: reading byte 7 failed"), sector) == ("failed", "input", 2)
    assert kind(DataError("x: reading byte 7 failed"), stale) == ("stopped", "storage", 1)
    assert kind(DataError("x: no such file"), missing) == ("failed", "input", 2)
    assert kind(DataError("x: no such file"), missing, gone) == ("stopped", "mount", 1)
    assert kind(ConfigError("no such key"), missing) == ("failed", "settings", 2)
    assert kind(ValueError("a fault"), missing) == ("failed", "failure", 2)
    (tmp_path / "products").rmdir()
    assert kind(PulsarError("x: cannot be written"), missing) == ("stopped", "storage", 1)


def test_causes_are_followed_as_far_as_they_are_told() -> None:
    full = OSError(errno.EDQUOT, "quota")
    outer = RuntimeError("outer")
    outer.__context__ = PulsarError("inner")
    outer.__context__.__cause__ = full
    assert storage_fault(outer) == os.strerror(errno.EDQUOT)
    outer.__suppress_context__ = True
    assert storage_fault(outer) == ""
    assert storage_fault(None) == ""


def test_folders_of_inputs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.fil").touch()
    assert inputs_gone([str(tmp_path / "a.fil"), str(tmp_path / "b.fil")]) == ""
    assert "is empty" in inputs_gone([str(tmp_path / "a.fil"), str(tmp_path / "empty" / "b.fil")])
    assert "is not there" in inputs_gone([str(tmp_path / "no" / "b.fil")])
    assert inputs_gone([]) == ""
