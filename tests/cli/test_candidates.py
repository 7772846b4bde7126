"""What ``pulsar candidates`` lists of one product and of several, and the forms of the list."""

import csv
import json
from pathlib import Path

import pytest
from astropy.table import QTable
from reference.command import run
from reference.products import make_candidates, make_header, write_product

from pulsar.io.product.writer import ProductWriter


@pytest.fixture
def products(tmp_path: Path) -> list[Path]:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return [write_product(tmp_path / name / "run.h5") for name in ("a", "b")]


def listed(*args: object) -> list[str]:
    code, out, err = run("candidates", *args, "--format", "csv")
    assert code == 0, err
    return [row["id"] for row in csv.DictReader(out.splitlines())]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ((), ["c0001", "c0003"]),
        (("--all",), ["c0001", "c0002", "c0003"]),
        (("--min-snr", 10), ["c0001"]),
        (("--all", "--min-snr", 12), ["c0001", "c0002"]),
        (("--no-rfi",), ["c0001"]),
        (("--id", "c0002"), ["c0002"]),
        (("--kind", "pulse"), []),
    ],
)
def test_rows_that_are_asked_for(products: list[Path], words: tuple[object, ...], ids: list[str]) -> None:
    assert listed(products[0], *words) == ids


def test_no_spreadsheet_takes_a_text_for_a_formula(tmp_path: Path) -> None:
    table = make_candidates()
    table["known_source"], table["sigma"] = "=HYPERLINK(1)", -1.5
    with ProductWriter(tmp_path / "run.h5") as writer:
        writer.observation(make_header())
        writer.table("candidates", table)
        writer.provenance({"config": ""})
    _, out, _ = run("candidates", tmp_path / "run.h5", "--format", "csv", "--all")
    rows = list(csv.DictReader(out.splitlines()))
    assert {(row["known_source"], row["sigma"]) for row in rows} == {("'=HYPERLINK(1)", "-1.5")}


def test_several_products_are_one_list_by_score(products: list[Path]) -> None:
    assert listed(*products) == ["c0001", "c0001", "c0003", "c0003"]
    assert listed(*products, "--top", 3) == ["c0001", "c0001", "c0003"]
    _, out, _ = run("candidates", *products, "--format", "json")
    assert [one["product"] for one in json.loads(out)] == [str(p) for p in [*products, *products]]
    _, out, _ = run("candidates", *products, "--format", "ecsv")
    table = QTable.read(out, format="ascii.ecsv")
    assert table["product"].tolist() == [str(p) for p in [*products, *products]]
    assert str(table["dm"].unit) == "pc / cm3"
    _, out, _ = run("candidates", *products)
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["product", "rank", "id"]
    assert [line.split()[0] for line in lines[1:5]] == [str(p) for p in [*products, *products]]
    assert lines[5] == "2 rows belong to another one: --all"


def test_a_list_in_the_manner_of_accelsearch(products: list[Path]) -> None:
    code, out, err = run("candidates", products[0], "--format", "accel")
    assert code == 0, err
    first = out.splitlines()[1].split()
    # 300 s * 98.304 us / 100 us at 29.947 Hz.
    assert first[:2] == ["1", "27.30"]
    r = float(first[6].split("(")[0])
    assert r == pytest.approx(29.947323 * 294.912, rel=1e-6)
    assert "c0001" in first


def test_named_ones_come_with_the_commands_that_confirm_them(products: list[Path]) -> None:
    code, _, err = run("candidates", products[0], "--id", "c0001")
    assert code == 0, err
    assert f"pulsar export {products[0]} --id c0001 --par" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--id", "c0099"), "no candidates named c0099"), (("--format", "accel", "--kind", "pulse"), "periodic")],
)
def test_what_is_not_there_is_told(products: list[Path], words: tuple[str, ...], told: str) -> None:
    code, out, err = run("candidates", products[0], *words)
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize("form", ["fits", "votable"])
def test_a_list_does_not_replace_its_product(products: list[Path], form: str) -> None:
    before = products[0].read_bytes()
    code, _, err = run("candidates", *products, "--format", form, "--out", products[0], "--overwrite")
    assert code == 2
    assert str(products[0]) in err
    assert products[0].read_bytes() == before
