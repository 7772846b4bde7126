"""Two runs on one output, and files that two processes write."""

import errno
import fcntl
import json
import os
import signal
from pathlib import Path

import pytest
from faults.conftest import names, results, search
from reference.command import run
from reference.processes import start, wait_until

from pulsar.data.unfinished import FileLock, Unfinished, output_lock, remove_fleeting, sweep, write_whole
from pulsar.errors import ConfigError


def test_the_second_run_on_an_output_is_told_who_is_the_first(observation: Path, product: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.h5"
    first = start(search(observation, out, "-q"))
    try:
        assert wait_until(lambda: (tmp_path / ".run.h5.lock").exists() and (tmp_path / ".run.h5.lock").stat().st_size)
        first.send_signal(signal.SIGSTOP)
        for more in ((), ("--overwrite",), ("--resume",)):
            code, printed, told = run(*search(observation, out, "-q", *more)[3:])
            assert (code, printed) == (2, ""), told
            assert f"{out}: process {first.pid} on " in told
            assert "pulsar search since" in told
            assert "is at work on it: wait for it or end it, or give another --out" in told
    finally:
        first.send_signal(signal.SIGCONT)
        _, told = first.communicate()
    assert first.returncode == 0, told
    assert results(out) == results(product)
    assert names(tmp_path) == ["run.h5"]


def test_the_lock_of_a_process_that_is_gone_is_no_obstacle(tmp_path: Path) -> None:
    lock = tmp_path / ".run.h5.lock"
    lock.write_text(json.dumps({"pid": 1, "host": "elsewhere", "what": "pulsar search", "since": "long ago"}))
    with output_lock(tmp_path / "run.h5"):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
        with pytest.raises(ConfigError, match=f"process {os.getpid()} on"), output_lock(tmp_path / "run.h5"):
            pass
    assert names(tmp_path) == []


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with output_lock(tmp_path / "run.h5"):
        write_whole(tmp_path / "a", "one")
        write_whole(tmp_path / "a", "two")
        with pytest.raises(ZeroDivisionError), Unfinished(tmp_path / "b") as file:
            file.part.write_text(f"{1 / 0}")
    assert (tmp_path / "a").read_text() == "two"
    assert [name for name in names(tmp_path) if "part" in name or name == "b"] == []


def test_who_waited_for_a_lock_holds_the_file_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = FileLock(path, fleeting=True), FileLock(path)
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    assert path.exists()
    second.release()


def test_what_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with Unfinished(path) as first:
        first.part.write_text("the first, ")
        sweep(path)
        write_whole(path, "the second")
        assert path.read_text() == "the second"
        with first.part.open("a") as stream:
            stream.write("at length")
    assert path.read_text() == "the first, at length"
    assert names(tmp_path) == ["a"]


def test_what_a_killed_run_has_left_is_taken_over_or_swept(tmp_path: Path) -> None:
    (tmp_path / ".a.part").write_text("half of what somebody wanted to write, once")
    write_whole(tmp_path / "a", "whole")
    assert (tmp_path / "a").read_text() == "whole"
    (tmp_path / ".a.part").write_text("half")
    sweep(tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    file = Unfinished(tmp_path / "a")
    with pytest.raises(FileExistsError):
        file.commit(replace=False)
    assert (tmp_path / "a").read_text() == "mine"
    assert names(tmp_path) == ["a"]


def test_files_that_must_not_outlive_a_process(tmp_path: Path) -> None:
    with output_lock(tmp_path / "run.h5"):
        file = Unfinished(tmp_path / "a")
        assert names(tmp_path) == [".a.part", ".run.h5.lock"]
        remove_fleeting()
        assert names(tmp_path) == []
        file.discard()
