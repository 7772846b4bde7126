"""The script that turns the JSON into Markdown and a plot."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pulsar.bench.limits import Limits
from pulsar.bench.registry import select
from pulsar.bench.run import Bench, measure_case

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "table.py"
LIMITS = Limits(threads=1, copy=1e10, copy_near=2e10, adds_l1=4e10, adds_l2=2e10, floats=5e10, fft=1e10)


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    cases = select(["unpack-8bit", "halve", "fft", "levels"])
    figures = tuple(measure_case(case, case.tiny, LIMITS, 1e-4) for case in cases)
    run = Bench("2026-01-01T00:00:00+00:00", "A | processor", 2, 1, 0.1, {"numpy": "2.0"}, (LIMITS,), figures)
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(run.document()))
    return path


def table(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_tables_go_to_stdout_or_into_a_file(bench: Path, tmp_path: Path) -> None:
    shown = table(bench)
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert "2026-01-01; numpy 2.0. CPU seconds, 1 thread." in lines[0]
    kernels = [line for line in lines if line.startswith("| `")]
    assert [line.split("`")[1] for line in kernels] == ["unpack-8bit", "halve", "fft", "levels"]
    assert len({line.count("|") for line in kernels}) == 1
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    for _ in range(2):
        assert table(bench, "--into", page).returncode == 0
        assert page.read_text() == f"before\n<!-- bench -->\n{shown.stdout}<!-- /bench -->\nafter\n"


def test_plot(bench: Path, tmp_path: Path) -> None:
    image = tmp_path / "roofline.png"
    done = table(bench, "--plot", image)
    assert (done.returncode, done.stderr) == (0, "")
    assert image.read_bytes().startswith(b"\x89PNG")


def test_other_files_are_refused(bench: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("[]")
    assert "not the output of `pulsar bench --json`" in table(other).stderr
    page = tmp_path / "page.md"
    page.write_text("no marks")
    assert "expected the lines" in table(bench, "--into", page).stderr
    assert page.read_text() == "no marks"
