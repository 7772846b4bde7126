"""The command line: exit codes, messages, streams, start-up time."""

import csv
import io
import json
import os
import platform
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from reference.command import run
from reference.products import write_product

from pulsar.cli.options import frequency_range
from pulsar.data.text import value_error
from pulsar.errors import ConfigError

COMMANDS = (
    *("search", "info", "plan", "fold", "candidates", "report", "view"),
    *("simulate", "inject", "demo", "bench", "config", "completeness", "orbits", "convert", "connect"),
)


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return write_product(tmp_path / "run.h5")


def process(*args: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pulsar", *map(str, args)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | env,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "--help" in out
    assert command == "config" or "--debug" in out


def test_help_and_version() -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(command in out for command in COMMANDS)
    code, out, _ = run("--version")
    assert (code, out.split()[0]) == (0, "pulsar-search")
    assert len(out.splitlines()) == 1
    code, out, _ = run("--version", "--all")
    names = [line.split()[0] for line in out.splitlines()]
    assert (code, names[:4]) == (0, ["pulsar-search", "python", "numpy", "scipy"])
    assert platform.machine() in out.splitlines()[-1]


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("--all",),
        ("--all", "config", "list"),
        ("search",),
        ("search", "--nonsense", "x.fil"),
        ("candidates", "x.h5", "--format", "xml"),
        ("candidates", "x.h5", "--top", "0"),
        ("search", "x.fil", "--dm", "3"),
    ],
)
def test_wrong_usage_exits_2(args: tuple[str, ...]) -> None:
    code, out, err = run(*args)
    assert code == 2
    assert out == ""
    assert err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--set", "dedisp.dm_hii=3"), "no such key: dedisp.dm_hii; did you mean dedisp.dm_hi?"),
        (("--dm", "300", "20"), "dm_lo 300 is above dm_hi 20: give the lower one first"),
        (("--config", "fast19beam"), "did you mean the preset 'fast-19beam'?"),
        (("--zap", "1280:1160"), "--zap 1280:1160: expected two frequencies in MHz, the lower first"),
        (("--memory", "much"), "expected a size such as 4GiB"),
        (("--ncands", "-1"), "fold.ncands = -1: expected an integer >= 0"),
        (("--out", "no-such-folder/run.h5"), "does not exist"),
    ],
)
def test_wrong_configuration_exits_2(tmp_path: Path, args: tuple[str, ...], message: str) -> None:
    code, out, err = run("search", tmp_path / "x.fil", *args)
    assert (code, out) == (2, "")
    assert err.startswith("pulsar: ")
    assert message in err
    assert "Traceback" not in err


def test_existing_output_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    target = tmp_path / "run.h5"
    target.write_text("precious")
    code, _, err = run("search", tmp_path / "missing.fil", "--out", target)
    assert code == 2
    assert f"{target}: the output exists already; give --overwrite" in err
    assert target.read_text() == "precious"


@pytest.mark.parametrize("command", ["candidates", "report"])
def test_a_file_that_is_no_product_exits_3(tmp_path: Path, command: str) -> None:
    path = tmp_path / "x.h5"
    code, _, err = run(command, path)
    assert code == 3
    assert f"{path}: no such file" in err
    path.write_text("text")
    code, out, err = run(command, path)
    assert (code, out) == (3, "")
    assert "not an HDF5 file" in err


def test_candidates_as_a_table(product: Path) -> None:
    one = run("candidates", product)[1].splitlines()
    assert [line.split()[1] for line in one[1:3]] == ["c0001", "c0003"]
    assert one[3] == "1 rows belong to another one: --all"
    code, out, err = run("candidates", product, "--all")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["rank", "id"]
    assert lines[1].split()[:4] == ["1", "c0001", "33.391966(23)", "56.710(80)"]
    assert "B0531+21" in lines[1]
    assert "harmonic of c0001" in lines[2]
    assert len(lines) == 4
    assert len(run("candidates", product, "--all", "--top", 1)[1].splitlines()) == 2


def test_candidates_for_other_programs(product: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("candidates", product, "--all", "--format", "csv")[1])))
    assert [r["id"] for r in rows] == ["c0001", "c0002", "c0003"]
    assert float(rows[0]["dm"]) == 56.71
    assert rows[2]["dm_err"] == ""
    records = json.loads(run("candidates", product, "--all", "--format", "json", "--top", 2)[1])
    assert [r["rank"] for r in records] == [1, 2]
    assert records[0]["accel"] is None
    from astropy.table import QTable

    table = QTable.read(run("candidates", product, "--format", "ecsv")[1], format="ascii.ecsv")
    assert table["period"].unit == "s"
    assert table["id"].tolist() == ["c0001", "c0003"]


def test_report_is_written_once(product: Path, tmp_path: Path) -> None:
    code, out, err = run("report", product, "--top", 1)
    assert code == 0
    page = tmp_path / "run.report" / "index.html"
    assert out.strip() == str(page)
    assert page.exists()
    assert "report: done" in err
    assert [p.name for p in page.parent.rglob("*.png")] == ["c0001.png"]
    code, _, err = run("report", product)
    assert code == 2
    assert "holds a report already; give --overwrite" in err
    assert run("report", product, "--top", 1, "--overwrite", "--quiet") == (0, f"{page}\n", "")


def test_config_commands(tmp_path: Path) -> None:
    code, out, _ = run("config", "show", "fast-19beam", "--set", "dedisp.dm_hi=77")
    assert code == 0
    assert "dm_hi = 77.0" in out
    assert "# highest DM [pc/cm3] (a number >= 0 and <= 100000)" in out
    # Without help there are no comments but the keys that are not set.
    comments = [line for line in run("config", "show", "--bare")[1].splitlines() if "#" in line]
    assert comments
    assert all(re.fullmatch(r"# \w+ =", line) for line in comments)
    assert "fast-gpps" in run("config", "show", "--list")[1]
    file = tmp_path / "my.toml"
    assert run("config", "init", file, "--config", "fast-gpps")[0] == 0
    assert run("config", "check", file)[:2] == (0, f"{file}: valid\n")
    assert run("config", "init", file)[0] == 2
    assert run("config", "init", tmp_path / "no" / "my.toml")[0] == 2
    file.write_text("[fold]\nnbin = 3\n")
    code, _, err = run("config", "check", file)
    assert code == 2
    assert "did you mean fold.nbins?" in err


class Broken:
    """Stands for a command that fails in some way."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, path: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "out of memory; lower --memory"),
        (OSError(28, "No space left on device", "/data/x"), 1, "/data/x: no space left on this disk"),
        (RuntimeError("odd"), 1, "internal failure: RuntimeError: odd"),
        (RuntimeError("can't start new thread"), 1, "no further thread can be had (ulimit -u, -v, or memory)"),
        (ConfigError("bad key"), 2, "pulsar: bad key"),
    ],
)
def test_failures_become_messages(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    monkeypatch.setattr("pulsar.cli.products.read", Broken(error))
    found, out, err = run("candidates", "x.h5")
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulsar.cli.products.read", Broken(RuntimeError("odd")))
    code, _, err = run("candidates", "x.h5", "--debug")
    assert code == 1
    assert "Traceback (most recent call last)" in err
    assert "RuntimeError: odd" in err


def test_debug_in_a_process(tmp_path: Path) -> None:
    plain = process("candidates", tmp_path / "x.h5")
    assert plain.returncode == 3
    assert "Traceback" not in plain.stderr
    debug = process("candidates", tmp_path / "x.h5", "--debug")
    assert "Traceback" in debug.stderr
    assert debug.returncode == 3


def test_closed_pipe_is_no_failure(product: Path) -> None:
    code = f"{sys.executable} -m pulsar candidates {product} --format csv | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_narrow_terminal_cuts_nothing(product: Path) -> None:
    master, slave = pty.openpty()
    args = [sys.executable, "-m", "pulsar", "candidates", "--all", str(product)]
    env = os.environ | {"COLUMNS": "60", "TERM": "xterm"}
    subprocess.run(args, stdout=slave, env=env, check=True, timeout=60)
    os.close(slave)
    text = os.read(master, 100_000).decode()
    os.close(master)
    for part in ("33.391966(23)", "harmonic of c0001", "rfi: <b>narrow band</b>", "remarks"):
        assert part in text
    assert "\x1b[" in text


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, pulsar\n"
        "from pulsar.cli.app import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "heavy = {'numba', 'astropy', 'scipy', 'h5py', 'matplotlib', 'numpy', 'pydantic', 'rich'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_and_completion_load_no_command() -> None:
    code = (
        "import sys\n"
        "from typer.main import get_command\n"
        "from pulsar.cli.app import COMMANDS, app\n"
        "group = get_command(app)\n"
        "with group.make_context('pulsar', ['x'], resilient_parsing=True) as context:\n"
        "    names = [item.value for item in group.shell_complete(context, '')]\n"
        "group(['--help'], standalone_mode=False)\n"
        "files = {f'pulsar.cli.{place.partition(chr(58))[0]}' for place, _ in COMMANDS.values()}\n"
        "print(names == list(COMMANDS), sorted(files & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "True []"


def test_help_is_quick() -> None:
    best = min(_seconds("--help") for _ in range(3))
    assert best < 1.0  # 0.2 s on an idle machine


def _seconds(*args: str) -> float:
    start = time.perf_counter()
    assert process(*args).returncode == 0
    return time.perf_counter() - start


def test_public_names() -> None:
    code = (
        "import pulsar, sys\n"
        "assert set(pulsar.__all__) <= set(dir(pulsar))\n"
        "import pulsar.searches, pulsar.folding\n"
        "from pulsar import fold, search, simulate\n"
        "assert search.__name__ == 'search' and fold.__name__ == 'fold'\n"
        "assert callable(fold) and callable(simulate)\n"
        "assert not {'numba', 'astropy'} & set(sys.modules)\n"
        "assert callable(pulsar.read) and callable(pulsar.load_config) and pulsar.Config().fold.ncands == 100\n"
        "try:\n    pulsar.nonsense\nexcept AttributeError as e:\n    print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    assert done.stdout.strip() == "module 'pulsar' has no attribute 'nonsense'"


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (163.71134, 0.0012, "163.7113(12)"),
        (56.71, 0.08, "56.710(80)"),
        (1234.5, 23.0, "1234(23)"),
        (5.0, float("nan"), "5"),
        (float("nan"), 1.0, "-"),
        (0.001, 1e-15, "0.001000000000"),
    ],
)
def test_values_with_errors(value: float, error: float, text: str) -> None:
    assert value_error(value, error) == text


def test_frequency_ranges() -> None:
    assert frequency_range("1160:1280.5") == (1160.0, 1280.5)
    for text in ("1160", "a:b", "3:1", ":", "nan:3"):
        with pytest.raises(ConfigError, match="--zap"):
            frequency_range(text)


def test_why_needs_one_question(product: Path) -> None:
    for args in ((), ("--period", 1, "--freq", 1), ("--period", 0)):
        code, out, err = run("why", product, *args)
        assert (code, out) == (2, "")
        assert "--period" in err


def test_the_level_of_the_log(tmp_path: Path) -> None:
    shape = ("--nchans", 4, "--tobs", 0.1, "--tsamp", 0.001)
    assert "simulating: done in" in run("simulate", tmp_path / "a.fil", *shape)[2]
    assert run("simulate", tmp_path / "b.fil", *shape, "--log-level", "warning")[2] == ""
    assert "simulating: done in" in run("simulate", tmp_path / "c.fil", *shape, "-q", "--log-level", "info")[2]
    assert run("simulate", tmp_path / "d.fil", *shape, "--log-level", "loud")[0] == 2


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pulsar.data.unfinished import resumable
    from pulsar.pipeline.checkpoint import Checkpoint

    checkpoint = Checkpoint(tmp_path / "run.h5", "mark", resume=False)

    def stopped(by: BaseException) -> Callable[[object], None]:
        def read(_path: object) -> None:
            with resumable(lambda: checkpoint.begun):
                raise by

        return read

    monkeypatch.setattr("pulsar.cli.products.read", stopped(KeyboardInterrupt()))
    assert run("candidates", "x.h5")[2] == "pulsar: interrupted\n"
    checkpoint.save("mask")
    assert run("candidates", "x.h5") == (130, "", "pulsar: interrupted; use --resume to go on\n")
    monkeypatch.setattr("pulsar.cli.products.read", stopped(SystemExit(143)))
    assert run("candidates", "x.h5") == (143, "", "pulsar: ended from outside; use --resume to go on\n")
