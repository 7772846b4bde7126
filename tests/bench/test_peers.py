"""Other programs beside ours: stand-ins on PATH and in an environment, absent ones, and those that fail."""

import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import programs
import pytest
import versus
from programs import Contest, Peer, PeerError, compare, dedispersion, fold, last_line, measured, search, works
from typer.testing import CliRunner
from versus_series import interpreter, missing_module

from pulsar.bench.stages import TINY
from pulsar.cli import setup as command
from pulsar.cli.app import app
from pulsar.errors import ConfigError
from pulsar.io.open import open_observation

Make = Callable[[str, str], Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a shell script that is found on PATH, where nothing else of the peers is."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def make(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """A virtual environment in which a module `fine` can be imported and nothing else."""
    folder = tmp_path / "env"
    (folder / "bin").mkdir(parents=True)
    (folder / "fine.py").write_text("")
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return folder


def ignore(_work: str) -> None:
    """What runs next is not printed."""


def spin(seconds: float) -> str:
    """Shell code that uses so much of the processor."""
    return f"exec {sys.executable} -c 'import time\nwhile time.process_time() < {seconds}: pass'"


def test_a_program_is_timed_in_cpu_seconds_of_its_process(program: Make, tmp_path: Path) -> None:
    program("worker", spin(0.3))
    program("sleeper", "sleep 0.3; echo one; echo two")
    working = measured(("worker",), tmp_path)
    assert 0.25 < working.cpu < 3
    waiting = measured(("sleeper",), tmp_path)
    assert waiting.cpu < 0.2
    assert waiting.wall > 0.3
    assert waiting.out == "one\ntwo\n"


def test_what_fails_says_so_with_its_last_line(program: Make, tmp_path: Path) -> None:
    program("broken", "echo fine; printf 'read 10%%\\rcannot go on\\n\\n' >&2; exit 3")
    with pytest.raises(PeerError, match=r"^cannot go on$"):
        measured(("broken",), tmp_path)
    program("silent", "exit 4")
    with pytest.raises(PeerError, match="silent: exit 4"):
        measured(("silent",), tmp_path)
    with pytest.raises(PeerError, match="No such file"):
        measured((str(tmp_path / "nowhere"),), tmp_path)
    program("idle", "echo nothing to do")
    with pytest.raises(PeerError, match=r"wrote no \*.dat"):
        Peer("PRESTO `idle`", (("idle",),), "*.dat").run()
    assert [last_line(t) for t in ("", "a\n b \n\n", "1\r2\r")] == ["", "b", "2"]


def test_a_slow_program_is_ended(program: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("forever", "exec sleep 60")
    monkeypatch.setattr(programs, "PATIENCE", 0.2)
    with pytest.raises(PeerError, match=r"forever: not done after 0.2 s"):
        measured(("forever",), tmp_path)


def test_least_times_of_peers_that_are_there(program: Make) -> None:
    program("good", f"echo > out.dat; {spin(0.1)}")
    program("bad", "echo no memory >&2; exit 1")
    ran: list[int] = []
    others = (
        Peer("PRESTO `good`", (("good",),), "*.dat", note="a note"),
        Peer("PRESTO `bad`", (("bad",),), "*.dat"),
        Peer("PulsarX", (("good",), ("nowhere-to-be-found",)), "*.dat"),
    )
    told: list[str] = []
    found = compare(lambda: ran.append(1), others, 2, told.append)
    assert len(ran) == 3  # and once before
    assert list(found) == ["PRESTO `good`"]
    good = found["PRESTO `good`"]
    assert good["note"] == "a note"
    assert 0.1 <= good["cpu"] <= good["wall"] + 0.05
    assert 0.0 < good["ours"] < 0.1
    assert told.count("PRESTO `good`, 2 of 2") == 1
    assert told.count("PRESTO `bad`, 1 of 2") == told.count("PRESTO `bad`: no memory") == 1
    assert "PRESTO `bad`, 2 of 2" not in told
    assert "PulsarX: no nowhere-to-be-found: put its programs on PATH" in told


def test_ours_does_not_run_without_a_peer(program: Make) -> None:
    def never() -> None:
        raise AssertionError

    assert compare(never, (Peer("PRESTO", (("nowhere-to-be-found",),), "*"),), 3, ignore) == {}


def test_a_handicap_is_told(program: Make) -> None:
    program("slow", "echo > out.dat; echo \"Warning: you should run 'makewisdom'.\"")
    found = compare(lambda: None, (Peer("PRESTO", (("slow",),), "*.dat", note="a note"),), 1, ignore)
    assert found["PRESTO"]["note"] == "a note; its makewisdom was not run"


def test_long_runs_are_not_repeated(program: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("good", f"echo > out.dat; echo x >> {tmp_path}/count")
    monkeypatch.setattr(programs, "ENOUGH", 1e-9)
    found = compare(lambda: None, (Peer("PRESTO", (("good",),), "*.dat"),), 3, ignore)
    assert (tmp_path / "count").read_text() == "x\n"
    assert 0.0 < found["PRESTO"]["cpu"] < math.inf


def test_modules_of_another_environment(env: Path, tmp_path: Path) -> None:
    python = interpreter(env)
    assert missing_module(python, "fine") == ""
    assert "no nofine in that environment" in missing_module(python, "nofine")
    assert "--env" in missing_module(None, "fine")
    assert interpreter(None) is None
    with pytest.raises(ConfigError, match="has no bin/python"):
        interpreter(tmp_path)


def test_every_contest_runs_ours_and_hands_the_file_to_the_programs(
    program: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs, "SERIES", (4096,))
    tiny = replace(TINY, subbands=(16, 32, 64))
    monkeypatch.setattr(versus, "BAND", tiny)
    monkeypatch.setattr(versus, "FAST", replace(tiny, size=tiny.size._replace(ndms=4)))
    seen = tmp_path / "seen"
    for name, output in (
        ("prepsubband", "out_DM0.00.dat"),
        ("prepfold", "out_1.pfd"),
        ("realfft", "x"),
        ("accelsearch", "series_ACCEL_0"),
        ("dedisperse_all_fil", "out.dat"),
    ):
        check = 'for f; do last=$f; done; test -s "$last" || test "$last" = series-4096.fft'
        program(name, f'echo {name} "$@" >> {seen}; {check} || {{ echo no "$last"; exit 1; }}; echo > {output}')
    versus.app(["work", "--fast", "--rounds", "1", "--json", str(tmp_path / "work.json")], standalone_mode=False)
    shown = capsys.readouterr()
    assert "no " not in shown.err
    rows = [line.split(" | ") for line in shown.out.splitlines() if line.startswith("| ")][2:]
    assert rows[3][0] == "| fold and refine a candidate, 32 channels x 2^12 samples"
    assert [row[1] for row in rows] == [
        "PRESTO `prepsubband -nsub 16`",
        "PRESTO `prepsubband -nsub 32`",
        "PulsarX `dedisperse_all_fil`",
        "PRESTO `prepfold`",
        "PRESTO `prepfold -nosearch`",
        "PRESTO `realfft + accelsearch -zmax 0`",
        # The second survey is dedispersed only.
        "PRESTO `prepsubband -nsub 16`",
        "PRESTO `prepsubband -nsub 32`",
        "PulsarX `dedisperse_all_fil`",
    ]
    assert rows[0][5].startswith("smears DMs at the ends of the range by ")
    assert rows[1][5].strip(" |") == ""
    lines = seen.read_text().splitlines()
    assert "-numdms 8 " in lines[0]
    assert "realfft series-4096.dat" in lines
    # What was measured stays.
    versus.app(["work", "--rounds", "1", "--json", str(tmp_path / "work.json")], standalone_mode=False)
    assert len(seen.read_text().splitlines()) == len(lines)


def test_a_series_is_one_that_readers_understand(tmp_path: Path) -> None:
    contest = search(4096, 1e-3, tmp_path)
    header = open_observation(tmp_path / "series-4096.dat").header
    assert (header.nsamps, header.tsamp, header.is_series) == (4096, 1e-3, True)
    contest.ours()


def test_ours_of_the_other_contests(tmp_path: Path) -> None:
    path = TINY.write(tmp_path)
    for contest in dedispersion(TINY, path):
        contest.ours()
    fold(TINY, path).ours()


def test_accelerations_are_searched_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SERIES", ())
    monkeypatch.setattr(programs, "ACCELERATIONS", ((10, 20, 0, 2), (10, 20, 40, 2)))
    one: Contest
    one, other = list(works((TINY,), searches=True))[-2:]
    assert one.work == "accelerations in 2^10 samples, zmax 20, 2 harmonics"
    assert [peer.program for peer in one.peers] == ["PRESTO `accelsearch`", "PRESTO `accelsearch -inmem`"]
    assert other.work.endswith("zmax 20, wmax 40, 2 harmonics")
    assert [peer.uncounted for peer in other.peers] == [1]
    one.ours()


def test_no_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert CliRunner().invoke(versus.app, ["work", "--rounds", "0"]).exit_code == 2


def test_wrong_environment_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no bin/python"):
        versus.app(["real", str(tmp_path), "--env", "/nowhere"], standalone_mode=False)


@pytest.mark.usefixtures("small_copies")
def test_stages_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    from pulsar.bench import stages

    few = tuple(s for s in stages.STAGES if s.name in ("clean", "fold"))
    monkeypatch.setattr(stages, "STAGES", few)
    monkeypatch.setattr("pulsar.bench.run.measure_stages", partial(stages.measure_stages, survey=TINY))
    found = CliRunner().invoke(app, ["bench", "fold-row", "--stages", "--seconds", "0.001"])
    assert found.exit_code == 0, found.output
    starts = [line.split()[:2] for line in found.stdout.splitlines() if line]
    assert ["clean", "1"] in starts
    assert ["fold", "2"] in starts
    assert any(start[0] == "fold-row" for start in starts)
    assert command.si(0.0) == "-"
