"""Workflows of examples/ end with what the command line gives."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.table import Table
from reference.command import run
from reference.processes import environment

import pulsar

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
MODULE = EXAMPLES / "nextflow" / "modules" / "local" / "pulsar" / "search"
OPTIONS = "--dm 0 60 --no-ffa --no-single-pulse --ncands 3"
PERIODS = {"one": 0.0253, "two": 0.0611}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two observations and their table, in a folder with `pulsar` in bin/."""
    folder = tmp_path_factory.mktemp("workflows")
    lines = ["observation,file"]
    for name, period in PERIODS.items():
        signal = ("--period", period, "--dm", 30, "--snr", 40, "--seed", 1)
        assert run("simulate", folder / f"{name}.fil", "--nchans", 16, "--tobs", 10, "--tsamp", 512e-6, *signal)[0] == 0
        lines.append(f"{name},{folder / f'{name}.fil'}")
    (folder / "observations.csv").write_text("\n".join(lines) + "\n")
    program = folder / "bin" / "pulsar"
    program.parent.mkdir()
    path = environment()["PYTHONPATH"]
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{path}" exec "{sys.executable}" -m pulsar "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, tuple[str, Table]]:
    """Name of an observation -> the list that is printed of it, and its table of candidates."""
    found = {}
    for name, period in PERIODS.items():
        product = folder / f"{name}.h5"
        assert run("search", folder / f"{name}.fil", "--out", product, *OPTIONS.split())[0] == 0
        code, printed, _ = run("candidates", product, "--format", "csv")
        assert code == 0
        found[name] = printed, Table.read(product, path="candidates")
        assert found[name][1]["period"][0] == pytest.approx(period, rel=1e-3)
    return found


def ended(folder: Path, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder of the tests, where `pulsar` is that of the checkout."""
    env = {**os.environ, "PATH": os.pathsep.join((str(folder / "bin"), os.environ["PATH"]))}
    env.pop("PYTHONPATH", None)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600.0, check=False)


def compare(products: Path, expected: dict[str, tuple[str, Table]]) -> None:
    for name, (printed, table) in expected.items():
        # The name of the product is a column of the list.
        assert (products / f"{name}.csv").read_text() == printed
        got = Table.read(products / f"{name}.h5", path="candidates")
        assert got.colnames == table.colnames
        for column in table.colnames:
            assert got[column].tobytes() == table[column].tobytes(), column


def test_snakemake_gives_the_candidates_of_the_command_line(
    folder: Path, expected: dict[str, tuple[str, Table]]
) -> None:
    program = shutil.which("snakemake")
    if program is None:
        pytest.skip("snakemake is not here (pip install snakemake)")
    snakefile = EXAMPLES / "snakemake" / "Snakefile"
    command = [program, "--snakefile", str(snakefile), "--cores", "2", "--config", f"options={OPTIONS}"]
    done = ended(folder, command)
    assert done.returncode == 0, done.stderr
    compare(folder / "products", expected)
    assert "Nothing to be done" in ended(folder, command).stderr


def test_nextflow_gives_the_candidates_of_the_command_line(
    folder: Path, expected: dict[str, tuple[str, Table]]
) -> None:
    program = shutil.which("nextflow")
    if program is None or ended(folder, [program, "-version"]).returncode:
        pytest.skip("nextflow is not here, or only its launcher, which cannot fetch the rest")
    command = [program, "run", str(EXAMPLES / "nextflow"), f"--options={OPTIONS}", "--outdir"]
    done = ended(folder, [*command, "published"])
    assert done.returncode == 0, done.stdout + done.stderr
    compare(folder / "published", expected)
    done = ended(folder, [*command, "stubs", "-stub"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in (folder / "stubs").iterdir()} == {f"{n}.{s}" for n in PERIODS for s in ("h5", "csv")}


def test_the_commands_of_the_nextflow_module_give_them_without_nextflow(
    folder: Path, expected: dict[str, tuple[str, Table]]
) -> None:
    text = (MODULE / "main.nf").read_text()
    commands, stub = re.findall(r'"""\n(.*?)"""', text, re.DOTALL)
    values = {"files": "../one.fil", "prefix": "one", "args": OPTIONS, "config": "", "task.cpus": "2"}
    values["memory"] = "--memory 1024MiB"
    for script, place in ((commands, "by-hand"), (stub, "stub")):
        (folder / place).mkdir()
        filled = re.sub(r"\$\{(.*?)\}", lambda match: values[match[1]], script)
        done = ended(folder, ["bash", "-euc", f"cd {place}\n{filled}"])
        assert done.returncode == 0, done.stderr
        assert {path.name for path in (folder / place).iterdir()} == {"one.h5", "one.csv"}
    compare(folder / "by-hand", {"one": expected["one"]})
    assert set(re.findall(r'path\("\$\{prefix\}\.(\w+)"\)', text)) == {"h5", "csv"}


@pytest.mark.parametrize("path", [MODULE, EXAMPLES / "snakemake"])
def test_environments_ask_for_this_version(path: Path) -> None:
    assert f"conda-forge::pulsar-search={pulsar.__version__}\n" in (path / "environment.yml").read_text()
