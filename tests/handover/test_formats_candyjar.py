"""The folder that CandyJar opens, read as that program reads it, and what people said there."""

import os
import re
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image
from reference.command import run
from reference.products import make_candidates, make_fold, make_header, write_beam, write_product

from pulsar.data.header import Header
from pulsar.handover.formats import CLASSES, picture_of
from pulsar.io.labels import LABELS, beside, read_labels, uid_of
from pulsar.io.product.reader import read
from pulsar.io.product.writer import ProductWriter

INTEGERS = ("pointing_id", "beam_id")
TEXTS = ("beam_name", "source_name", "ra", "dec", "utc_start")
PATHS = ("png_path", "metafile_path", "filterbank_path", "candidate_tarball_path")
NUMBERS = (
    "gl", "gb", "mjd_start", "f0_user", "f0_opt", "f0_opt_err", "f1_user", "f1_opt", "f1_opt_err", "acc_user",
    "acc_opt", "acc_opt_err", "dm_user", "dm_opt", "dm_opt_err", "sn_fft", "sn_fold", "pepoch", "maxdm_ymw16",
    "dist_ymw16", "tobs",
)  # fmt: skip


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return write_product(tmp_path / "run.h5")


def opened(folder: Path) -> list[dict[str, object]]:
    """The list as CandyJar reads it: cut at commas, without empty cells at the end, each cell of its type."""
    heading, *lines = (folder / "candidates.csv").read_text().splitlines()
    names = heading.split(",")
    assert set(names) == {*INTEGERS, *TEXTS, *PATHS, *NUMBERS}
    rows = []
    for line in lines:
        cells = dict(zip(names, re.sub(",+$", "", line).split(","), strict=True))
        row: dict[str, object] = {name: cells[name] for name in TEXTS + PATHS}
        row |= {name: int(cells[name]) for name in INTEGERS} | {name: float(cells[name]) for name in NUMBERS}
        rows.append(row)
    return rows


def written(product: Path, *words: object) -> Path:
    folder = product.with_name("jar")
    code, _, err = run("candidates", product, "--all", "--format", "candyjar", "--out", folder, *words)
    assert code == 0, err
    return folder


def test_the_list_and_its_pictures(product: Path) -> None:
    folder = product.with_name("jar")
    code, out, err = run("candidates", product, "--all", "--format", "candyjar", "--out", folder)
    assert (code, out) == (0, f"{folder / 'candidates.csv'}\n")
    # c0003 has no fold.
    assert "1 candidates were not folded" in err
    first, _ = opened(folder)
    fold, header = make_fold(1), make_header()
    assert (first["f0_user"], first["f0_opt"]) == pytest.approx((fold.before.freq, fold.after.freq), rel=1e-14)
    assert first["acc_opt"] == pytest.approx(299_792_458 * 1e-7 / fold.after.freq)
    assert first["acc_opt_err"] == pytest.approx(299_792_458 * 3e-8 / fold.after.freq, rel=1e-5)
    values = (first["dm_user"], first["dm_opt"], first["sn_fold"], first["sn_fft"])
    assert values == pytest.approx((56.5, 56.71, 35.0, 27.3), rel=1e-6)
    assert (first["beam_id"], first["beam_name"], first["source_name"]) == (1, "beam00001", "J0534+2200")
    assert (first["ra"], first["dec"]) == ("05:34:31.920", "+22:00:51.84")
    start = datetime.fromisoformat(str(first["utc_start"]))
    assert (start - datetime(1858, 11, 17)).total_seconds() / 86400 == pytest.approx(header.tstart, abs=1e-10)
    for row in opened(folder):
        with Image.open(folder / str(row["png_path"])) as picture:
            assert picture.size[0] > 500
    # A path that is a folder would end the viewer: this one leads nowhere.
    assert not (folder / str(first["metafile_path"])).exists()


def test_a_folder_with_a_list_is_kept(product: Path) -> None:
    folder = written(product)
    code, _, err = run("candidates", product, "--format", "candyjar", "--out", folder)
    assert code == 2
    assert "holds candidates.csv already" in err
    written(product, "--overwrite", "--top", 1)
    assert len(opened(folder)) == 1


def test_a_candidate_of_two_copies_of_a_product_is_there_once(product: Path) -> None:
    copy = shutil.copy(product, product.with_name("copy.h5"))
    folder = product.with_name("jar")
    code, _, err = run("candidates", product, copy, "--all", "--format", "candyjar", "--out", folder)
    assert code == 0, err
    assert "2 candidates stand in several of these products" in err
    pictures = [row["png_path"] for row in opened(folder)]
    assert len(pictures) == len(set(pictures)) == 2
    assert pictures == [row["png_path"] for row in opened(written(product, "--overwrite"))]


def test_commas_in_texts_cut_no_line(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    header: Header = make_header().with_(source="A, B")
    with ProductWriter(path) as writer:
        writer.observation(header)
        writer.table("candidates", make_candidates())
        writer.fold("c0001", make_fold(1))
        writer.provenance({"config": ""})
    assert [row["source_name"] for row in opened(written(path))] == ["A; B"]


def test_without_a_position_there_is_no_list(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with ProductWriter(path) as writer:
        writer.observation(make_header().with_(ra_deg=float("nan"), dec_deg=float("nan")))
        writer.table("candidates", make_candidates())
        writer.fold("c0001", make_fold(1))
        writer.provenance({"config": ""})
    code, _, err = run("candidates", path, "--format", "candyjar", "--out", tmp_path / "jar")
    assert code == 2
    assert "c0001: CandyJar needs position and start" in err
    assert not (tmp_path / "jar").exists()


def test_every_class_has_a_label() -> None:
    assert set(CLASSES) == {"T1_CAND", "T2_CAND", "RFI", "NOISE", "KNOWN_PSR", "NB_PSR", "UNCAT"}
    assert set(CLASSES.values()) <= {*LABELS, ""}


def short(folder: Path, classes: list[str]) -> Path:
    """The csv that CandyJar saves."""
    lines = ["beamid,utc,png,classification"]
    for row, word in zip(opened(folder), classes, strict=True):
        lines.append(f"{row['beam_id']},{row['utc_start']},{row['png_path']},{word}")
    path = folder / "said.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_classifications_become_judgements(product: Path) -> None:
    said = short(written(product), ["T1_CAND", "UNCAT"])
    os.utime(said, (1.6e9, 1.6e9))
    code, out, err = run("view", product, "--import", said, "--by", "ann")
    assert (code, out) == (0, f"{beside(product)}: 1 judgements of ann\n"), err
    (entry,) = read_labels(beside(product)).entries
    row = read(product).rows()[0]
    assert (entry.uid, entry.label, entry.who, entry.id) == (uid_of(row), "pulsar", "ann", "c0001")
    assert (entry.note, entry.when) == ("CandyJar: T1_CAND", "2020-09-13T12:26:40.000Z")
    assert (entry.period, entry.dm) == (row["period"], row["dm"])
    assert "pulsar" in run("candidates", product, "--label", "pulsar")[1]
    # Once more nothing comes twice.
    assert run("view", product, "--import", said, "--by", "ann")[:2] == (0, "")
    assert len(read_labels(beside(product)).entries) == 1


def test_the_full_csv_is_read_too(product: Path) -> None:
    folder = written(product)
    heading, *lines = (folder / "candidates.csv").read_text().splitlines()
    full = [f"{heading},classification", f"{lines[0]},RFI", f"{lines[1]},NB_PSR"]
    (folder / "said_full.csv").write_text("\n".join(full) + "\n")
    kept = product.with_name("mine.ecsv")
    code, _, err = run("view", product, "--import", folder / "said_full.csv", "--by", "bob", "--labels", kept)
    assert code == 0, err
    assert [entry.label for entry in read_labels(kept).entries] == ["interference", "known"]
    assert not beside(product).exists()


def test_judgements_go_to_the_product_of_each_candidate(tmp_path: Path) -> None:
    beams = [write_beam(tmp_path / f"b{beam}.h5", beam) for beam in (1, 2)]
    folder = tmp_path / "jar"
    code, _, err = run("candidates", *beams, "--format", "candyjar", "--out", folder)
    assert code == 0, err
    said = short(folder, ["NOISE", "KNOWN_PSR"])
    assert run("view", *beams, "--import", said, "--by", "ann")[0] == 0
    assert [read_labels(beside(beam)).entries[0].label for beam in beams] == ["noise", "known"]
    # Those of other products are counted.
    _, _, err = run("view", beams[0], "--import", said, "--by", "bob")
    assert "1 candidates of" in err


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("a,b\n", 3, "expected classifications of CandyJar"),
        ("", 3, "expected classifications of CandyJar"),
        ("png,classification\n" + "x" * 200_000 + ",RFI\n", 3, "field larger than field limit"),
        ("beamid,utc,png,classification\n1,x,y.png,MAYBE\n", 3, "line 2: classification 'MAYBE'"),
        ("beamid,utc,png,classification\n1,x\n", 3, "line 2 has 2 cells"),
        ("beamid,utc,png,classification\n1,x,y.png,RFI\n", 2, "classifies no candidate of"),
    ],
)
def test_what_is_no_classification_is_told(product: Path, text: str, code: int, told: str) -> None:
    path = product.with_name("said.csv")
    path.write_text(text)
    got, out, err = run("view", product, "--import", path, "--by", "ann")
    assert (got, out) == (code, "")
    assert told in err
    assert not beside(product).exists()


def test_pictures_have_names_for_good(product: Path) -> None:
    rows = read(product).rows()
    names = [picture_of(row) for row in rows]
    assert len(set(names)) == len(rows)
    assert names[0].startswith("plots/c0001_")
