"""Other programs beside ours: stand-ins on PATH and in an environment, absent ones, and those that fail."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import peers
import programs
import pytest
import typer
from peers import boxcars, dedispersion, fold, measure_peers, search
from programs import Contest, PeerError, PeerFigure, Program, Script, hold, interpreter, last_line, measured
from typer.testing import CliRunner

from pulsar.bench.stages import TINY
from pulsar.cli import bench as command
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
    working, _, _ = measured(("worker",), tmp_path)
    assert 0.25 < working.cpu < 3
    waiting, _, text = measured(("sleeper",), tmp_path)
    assert waiting.cpu < 0.2
    assert waiting.wall > 0.3
    assert text == "one\ntwo\n"


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
        Program("PRESTO", "idle", (("idle",),), "*.dat").run(tmp_path)
    assert [last_line(t) for t in ("", "a\n b \n\n", "1\r2\r")] == ["", "b", "2"]


def test_a_slow_program_is_ended(program: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("forever", "exec sleep 60")
    monkeypatch.setattr(programs, "PATIENCE", 0.2)
    with pytest.raises(PeerError, match=r"forever: not done after 0.2 s"):
        measured(("forever",), tmp_path)


def test_contest_has_measured_absent_and_failed_peers(program: Make) -> None:
    program("good", f"echo > out.dat; {spin(0.1)}")
    program("bad", "echo no memory >&2; exit 1")
    ran: list[int] = []
    contest = Contest(
        "work",
        lambda: ran.append(1),
        (
            Program("PRESTO", "good", (("good",),), "*.dat", note="a note"),
            Program("PRESTO", "bad", (("bad",),), "*.dat"),
            Program("PulsarX", "nowhere", (("good",), ("nowhere-to-be-found",)), "*.dat"),
        ),
    )
    told: list[str] = []
    good, bad, absent = hold(contest, 2, told.append)
    assert len(ran) == 3  # and once before
    assert (good.state, good.note, good.rounds) == ("measured", "a note", 2)
    assert good.cpu_s is not None
    assert good.ours_cpu_s is not None
    assert good.ratio == pytest.approx(good.cpu_s / good.ours_cpu_s)
    assert (bad.state, bad.note, bad.cpu_s, bad.ratio) == ("failed", "no memory", None, None)
    assert told.count("work: bad, 1 of 2") == 1
    assert "work: bad, 2 of 2" not in told
    assert (absent.state, absent.ours_cpu_s) == ("absent", None)
    assert absent.note == "no nowhere-to-be-found: put its programs on PATH"


def test_ours_does_not_run_without_a_peer(program: Make) -> None:
    def never() -> None:
        raise AssertionError

    figures = hold(Contest("work", never, (Program("PRESTO", "x", (("nowhere-to-be-found",),), "*"),)), 3, ignore)
    assert [f.state for f in figures] == ["absent"]


def test_a_handicap_is_told(program: Make) -> None:
    program("slow", "echo > out.dat; echo \"Warning: you should run 'makewisdom'.\"")
    contest = Contest("work", lambda: None, (Program("PRESTO", "slow", (("slow",),), "*.dat", note="a note"),))
    assert hold(contest, 1, ignore)[0].note == "a note; its makewisdom was not run"


def test_long_runs_are_not_repeated(program: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    program("good", "echo > out.dat")
    monkeypatch.setattr(programs, "ENOUGH", 0.0)
    contest = Contest("work", lambda: None, (Program("PRESTO", "good", (("good",),), "*.dat"),))
    assert hold(contest, 3, ignore)[0].rounds == 1


def test_python_runs_in_its_own_environment(env: Path, tmp_path: Path) -> None:
    python = interpreter(env)
    lines = "import fine, json, sys; print('hello'); print(json.dumps({'cpu': float(sys.argv[1]), 'wall': 3.0}))"
    script = Script("sigpyproc", "s", python, "fine", lines, ("2.0",))
    assert script.missing() == ""
    timing, _ = script.run(tmp_path)
    assert (timing.cpu, timing.wall) == (2.0, 3.0)
    assert "no nofine in that environment" in Script("riptide", "r", python, "nofine", "").missing()
    assert "--env" in Script("riptide", "r", None, "fine", "").missing()
    with pytest.raises(PeerError, match=r"^ValueError: odd$"):
        Script("riptide", "r", python, "fine", "raise ValueError('odd')").run(tmp_path)
    with pytest.raises(PeerError, match=r"^no times$"):
        Script("riptide", "r", python, "fine", "print('no times')").run(tmp_path)
    assert interpreter(None) is None
    with pytest.raises(ConfigError, match="has no bin/python"):
        interpreter(tmp_path)


def test_every_contest_runs_ours_and_hands_the_file_to_the_programs(
    program: Make, env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "SERIES", (4096,))
    tiny = replace(TINY, subbands=(16, 32, 64))
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
    figures = measure_peers([tiny, tiny], ignore, env=env, rounds=1)
    states = {(f.work.split(",")[0], f.program): f for f in figures}
    measured = {program for (_, program), f in states.items() if f.state == "measured"}
    assert measured == {
        "prepsubband -nsub 16",
        "prepsubband -nsub 32",
        "dedisperse_all_fil",
        "prepfold",
        "prepfold -nosearch",
        "realfft + accelsearch -zmax 0",
    }
    absent = {program for (_, program), f in states.items() if f.state == "absent"}
    assert absent == {"sigpyproc dedisperse_plan", "riptide boxcar_snr"}
    assert len(figures) == 4 + 2 + 1 + 1 + 4  # the second survey is dedispersed only
    notes = {f.program: f.note for f in figures}
    assert notes["prepsubband -nsub 32"] == ""
    assert notes["prepsubband -nsub 16"].startswith("smears DMs at the ends of the range by ")
    lines = seen.read_text().splitlines()
    assert "-numdms 8 " in lines[0]
    assert "realfft series-4096.dat" in lines


def test_a_series_is_one_that_readers_understand(tmp_path: Path) -> None:
    contest = search(4096, 1e-3, tmp_path)
    header = open_observation(tmp_path / "series-4096.dat").header
    assert (header.nsamps, header.tsamp, header.is_series) == (4096, 1e-3, True)
    contest.ours()


def test_ours_of_the_other_contests(tmp_path: Path) -> None:
    path = TINY.write(tmp_path)
    for contest in dedispersion(TINY, path, None):
        contest.ours()
    fold(TINY, path).ours()
    profiles = boxcars(None)
    assert profiles.work == "boxcar S/N, 10 widths on profiles of 64 bins, 2^20 in all"
    profiles.ours()


def run_script(*arguments: str) -> int | str | None:
    """Exit code of the script."""
    app = typer.Typer()
    app.command()(peers.main)
    with pytest.raises(SystemExit) as ended:
        app(list(arguments))
    return ended.value.code


def test_script_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = [
        PeerFigure("work", "PRESTO", "prepfold", "measured", "a note", 1, 2.0, 2.1, 0.5, 0.6, 4.0),
        PeerFigure("work", "sigpyproc", "sigpyproc dedisperse", "absent", "give it"),
        PeerFigure("work", "PulsarX", "px", "failed", "no memory", ours_cpu_s=0.5, ours_wall_s=0.6),
    ]
    asked = {}
    monkeypatch.setattr(peers, "measure_peers", lambda *_, **told: asked.update(told) or figures)
    run_script("--json", str(tmp_path / "peers.json"), "--rounds", "7")
    assert asked["rounds"] == 7
    lines = capsys.readouterr().out.splitlines()
    assert "| work | PRESTO `prepfold` | 2 | 0.5 | 4.0 x | a note |" in lines
    assert "| work | sigpyproc dedisperse | - | - | - | absent: give it |" in lines
    assert "| work | PulsarX `px` | - | 0.5 | - | failed: no memory |" in lines
    document = json.loads((tmp_path / "peers.json").read_text())
    assert document["figures"] == document["stages"] == []
    assert [f["state"] for f in document["peers"]] == ["measured", "absent", "failed"]


def test_no_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script("--rounds", "0") == 2
    assert "'--rounds'" in capsys.readouterr().err


def test_wrong_environment_is_told() -> None:
    with pytest.raises(SystemExit, match="has no bin/python"):
        peers.main(env=Path("/nowhere"))


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
