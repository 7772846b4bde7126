"""Folds of other programs on the command line and from a notebook."""

from pathlib import Path

import numpy as np
import pytest
from reference.command import run
from reference.folded import BEST, phcx, section, sums_of_a_pulsar

import pulsar
from pulsar.io.product.reader import read


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = []
    for name, snr, dm in (("weak", 1.0, 20.0), ("strong", 30.0, 165.75)):
        parts = sums_of_a_pulsar(18, 16, snr)
        best = BEST | {"Dm": dm, "Snr": snr}
        found.append(tmp_path / f"{name}.phcx")
        found[-1].write_bytes(phcx([section("FFT", *parts, best)]))
    return found


def test_the_table_says_what_ours_and_theirs_is(files: list[Path]) -> None:
    code, out, err = run("fold", "--import", *files)
    assert code == 0, err
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][:2] == ["rank", "id"]
    # The best first; ids are those of the files in their order.
    assert [row[1] for row in rows[1:]] == ["c0002", "c0001"]
    assert ["strong.phcx" in rows[1], "weak.phcx" in rows[2]] == [True, True]
    assert "not detected" in out
    assert "30.0" in rows[1]
    assert "noise is not in the file" in err


def test_a_product_has_them_with_their_own_observations(files: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "import.h5"
    code, _, err = run("fold", "--import", *files, "--no-refine", "--out", path)
    assert code == 0, err
    product = read(path)
    assert product.ids == ("c0002", "c0001")
    row = product.candidate("c0002")
    assert (row["rank"], row["target"], row["dm"]) == (1, "J1803-2711", 165.75)
    assert row["score"] > 0.9
    assert product.fold("c0002").extra["stated"]["snr"] == 30.0
    assert len(product.observations) == 2
    assert product.files_of(int(row["obs"]))[0].name == "strong.phcx"
    # Of each candidate the sheets and the page are made like those of a search.
    code, out, err = run("report", path, "--out", tmp_path / "page")
    assert code == 0, err
    assert Path(out.strip()).exists()


def test_noise_of_which_only_sums_are_known_stays_noise(tmp_path: Path) -> None:
    # Refined in period and DM at once, such noise came to S/N of 10 to 40 in half of all files.
    found = []
    for seed in range(8):
        path = tmp_path / f"{seed}.phcx"
        path.write_bytes(phcx([section("FFT", *sums_of_a_pulsar(18, 16, 0.0, seed=seed), BEST | {"Dm": 20.0})]))
        found.append(pulsar.import_fold(path))
    assert max(fold.snr for fold in found) < 5.0
    assert all(fold.dm == 20.0 for fold in found)
    assert all(fold.dm_err > 0.0 and fold.freq_err > 0.0 for fold in found)


def test_one_fold_is_drawn(files: list[Path], tmp_path: Path) -> None:
    picture = tmp_path / "sheet.png"
    code, _, err = run("fold", "--import", files[1], "--plot", picture)
    assert code == 0, err
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_notebook_gets_the_fold(files: list[Path]) -> None:
    fold = pulsar.import_fold(files[1], refine=False)
    assert fold.period == pytest.approx(0.3344)
    assert fold.dm == 165.75
    assert np.isfinite(fold.profile).all()
    with pytest.raises(pulsar.ConfigError, match="is no path"):
        pulsar.import_fold(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("--import", "{0}", "--period", 0.1, "--zap", "1:2"), 2, "--period, --zap are of folding samples"),
        (("--import", "{0}", "{1}", "--plot", "{2}/x.png"), 2, "draws one fold, 2 are given"),
        (("--import", "{0}", "--plot", "{2}/x.gif"), 2, "ends in .png, .pdf or .svg"),
        (("--import", "{0}", "--out", "{0}"), 2, "exists already"),
        (("--import", "{0}", "--out", "{0}", "--overwrite"), 2, "is the input itself"),
        (("--import", "{2}/none.pfd"), 3, "no such file"),
        (("{0}", "--period", 0.1, "--dm", 1), 2, "--out FOLD.h5"),
        (("{0}", "--candidates", "{0}", "--out", "{2}/x.h5", "--id", "c1", "--plot", "{0}"), 2, "ends in .png"),
    ],
)
def test_wrong_calls_are_told(
    files: list[Path], tmp_path: Path, args: tuple[object, ...], code: int, told: str
) -> None:
    got, _, err = run("fold", *(str(a).format(*files, tmp_path) for a in args))
    assert got == code, err
    assert told in " ".join(err.split())
    assert not list(tmp_path.glob("*.h5"))
