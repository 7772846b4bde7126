"""The script that turns the JSON into Markdown and a plot."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import pytest
import table as script
import typer

from pulsar.bench.figures import StageFigure, empty_run
from pulsar.bench.limits import Limits
from pulsar.bench.run import figure_of, measure_once, select

LIMITS = Limits(threads=1, copy=1e10, copy_near=2e10, adds_l1=4e10, adds_l2=2e10, floats=5e10)
RUN = replace(
    empty_run(), created="2026-01-01T00:00:00+00:00", cpu="A | processor", versions={"numpy": "2.0"}, limits=[LIMITS]
)


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    cases = [replace(case, full=case.tiny) for case in select(["unpack-8bit", "halve", "fft", "levels"])]
    figures = [figure_of(case, LIMITS, [measure_once(case, 1, 1e-4)]) for case in cases]
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(asdict(replace(RUN, figures=figures))))
    return path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A run without kernels."""
    common = {
        "stage": "clean",
        "about": "all of it",
        "first_s": 0.1,
        "calls": 3,
        "bytes_per_s": 2e9,
        "operations_per_s": 3e9,
        "limit": "copy",
    }
    stages = [
        StageFigure(threads=1, cpu_s=0.2, wall_s=0.21, samples_per_s=1e9, fraction=0.5,
                    cpu_low_s=0.2, cpu_high_s=0.2, speedup=None, overhead=None, **common),
        StageFigure(threads=2, cpu_s=0.21, wall_s=0.11, samples_per_s=2e9, fraction=0.5,
                    cpu_low_s=0.21, cpu_high_s=0.21, speedup=1.9, overhead=1.05, **common),
    ]  # fmt: skip
    path = tmp_path / "whole.json"
    path.write_text(json.dumps(asdict(replace(RUN, stages=stages))))
    return path


class Done(NamedTuple):
    """What the script printed, or the message with which it ended."""

    out: str
    message: str


@pytest.fixture
def table(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs the script."""

    app = typer.Typer()
    app.command()(script.main)

    def run(*args: object) -> Done:
        with pytest.raises(SystemExit) as ended:
            app([str(arg) for arg in args])
        captured = capsys.readouterr()
        assert captured.err == ""
        return Done(captured.out, str(ended.value.code or ""))

    return run


def test_tables_go_to_stdout_or_into_a_file(table: Callable[..., Done], bench: Path, tmp_path: Path) -> None:
    shown = table(bench)
    assert shown.message == ""
    lines = shown.out.splitlines()
    assert "2026-01-01; numpy 2.0. CPU seconds, 1 thread." in lines[0]
    kernels = [line for line in lines if line.startswith("| `")]
    assert [line.split("`")[1] for line in kernels] == ["unpack-8bit", "halve", "fft", "levels"]
    assert len({line.count("|") for line in kernels}) == 1
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    for _ in range(2):
        assert table(bench, "--into", page) == ("", "")
        assert page.read_text() == f"before\n<!-- bench -->\n{shown.out}<!-- /bench -->\nafter\n"


def test_stages_have_a_table_of_their_own(table: Callable[..., Done], bench: Path, whole: Path, tmp_path: Path) -> None:
    lines = table(bench, whole).out.splitlines()
    assert "| `clean` all of it | 1 G | 3 G | 200 | 210 | 110 | 1.90 x | 5 % | 50 % of copy |" in lines
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- {mark} -->\nold {mark}\n<!-- /{mark} -->\n" for mark in ("bench", "stages")))
    assert table(whole, "--into", page) == ("", "")
    text = page.read_text()
    assert "old bench" in text  # the run holds no kernels
    assert "old stages" not in text
    assert text.index("old bench") < text.index("`clean`")
    assert "holds no kernels to plot" in table(whole, "--plot", tmp_path / "no.png").message


def test_plot(bench: Path, tmp_path: Path) -> None:
    image = tmp_path / "roofline.png"
    command = [sys.executable, script.__file__, bench, "--plot", image]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert image.read_bytes().startswith(b"\x89PNG")


def test_other_files_are_refused(table: Callable[..., Done], bench: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("[]")
    assert "not the output of `pulsar bench --json`" in table(other).message
    page = tmp_path / "page.md"
    page.write_text("no marks")
    assert "expected the lines" in table(bench, "--into", page).message
    assert page.read_text() == "no marks"
