"""``pulsar export`` and the commands that it prints."""

from pathlib import Path

import pytest
from reference.command import run
from reference.products import write_product


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return write_product(tmp_path / "run.h5")


def test_par_lies_beside_the_product_and_is_not_overwritten(product: Path) -> None:
    code, out, err = run("export", product, "--id", "c0001", "--id", "c0002", "--par")
    assert code == 0, err
    paths = [Path(line) for line in out.splitlines()]
    assert paths == [product.with_name(f"run_{ident}.par") for ident in ("c0001", "c0002")]
    first = paths[0].read_text()
    assert "c0001 of run.h5, J0534+2200: S/N 35.0" in first.splitlines()[0]
    assert "PSR      J0534+2200_c0001" in first
    code, _, err = run("export", product, "--id", "c0001", "--par")
    assert code == 2
    assert "exists already" in err
    assert run("export", product, "--id", "c0001", "--par", "--overwrite", "-q") == (0, f"{paths[0]}\n", "")
    assert not list(product.parent.glob(".*"))


def test_all_formats_at_once(product: Path) -> None:
    code, out, err = run("export", product, "--id", "c0001", "--par", "--bestprof", "--pfd", "--csv", "-q")
    assert code == 0, err
    # PRESTO looks for the text of X.pfd in X.pfd.bestprof.
    assert [Path(line).name for line in out.splitlines()] == [
        f"run_c0001.{form}" for form in ("par", "pfd.bestprof", "pfd", "csv")
    ]
    rows = product.with_name("run_c0001.csv").read_text().splitlines()
    assert rows[0] == "phase,intensity,template"
    assert len(rows) == 65


def test_commands_that_confirm_are_printed(product: Path) -> None:
    _, _, err = run("export", product, "--id", "c0001", "--par")
    assert f"a long name of a file é.fits' --candidates {product} --id c0001" in err
    assert "pulsar fold '/" in err
    assert "prepfold -topo -f 29.94" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--id", "c0001"), "give what to write"),
        (("--id", "c0009", "--par"), "no candidate 'c0009'"),
        (("--id", "c0003", "--par"), "was not folded"),
        (("--id", "c0001", "--id", "c0002", "--par", "--out", "x.par"), "--out names one file"),
    ],
)
def test_what_cannot_be_written_is_told(product: Path, words: tuple[str, ...], told: str) -> None:
    code, out, err = run("export", product, *words)
    assert (code, out) == (2, "")
    assert told in err
    assert [path.name for path in product.parent.iterdir() if path.suffix == ".par"] == []


def test_the_product_itself_is_never_replaced(product: Path) -> None:
    before = product.read_bytes()
    code, _, err = run("export", product, "--id", "c0001", "--par", "--out", product, "--overwrite")
    assert code == 2, err
    assert product.read_bytes() == before
