"""`pulsar follow`, from files to answers."""

from pathlib import Path

import numpy as np
import pytest
from reference.command import run
from reference.epochs import ACCEL, BAND, STARTS, VELOCITY, Epochs, two_epochs

from pulsar.config.load import load_config
from pulsar.confirm.run import follow
from pulsar.confirm.window import of_product
from pulsar.errors import ConfigError, DataError
from pulsar.followup.folding import fold_files
from pulsar.io.labels import Label, Sidecar, beside, now, uid_of
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import Target
from pulsar.pipeline.ephemerides import Ephemeris
from pulsar.synthesis.model import Sky
from pulsar.synthesis.write import write_filterbank

CONFIG = load_config(None, ["rfi.enabled=false", "rfi.clip=0", "run.threads=1", "fold.nbands=16"])


@pytest.fixture(scope="module")
def skies() -> Epochs:
    return two_epochs(1)


@pytest.fixture(scope="module")
def old(skies: Epochs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates of the first epoch, beside the files of both."""
    folder = tmp_path_factory.mktemp("follow")
    write_filterbank(skies.first, folder / "old.fil")
    write_filterbank(skies.second, folder / "new.fil")
    given = [Ephemeris(p.period, p.dm, ident=f"p{i}") for i, p in enumerate(skies.first.pulsars)]
    fold_files([folder / "old.fil"], given, CONFIG, Target(folder / "old.h5"))
    return folder / "old.h5"


@pytest.fixture(scope="module")
def followed(old: Path) -> Run:
    return follow(old, [old.with_name("new.fil")], Target(old.with_name("follow.h5")), CONFIG)


def test_pulsars_are_found_in_another_epoch_whatever_their_orbit_has_done(followed: Run, skies: Epochs) -> None:
    answers = {str(row["id"]): row for row in followed.rows("confirm/answers")}
    assert len(answers) == len(skies.kinds)
    for i, (kind, made) in enumerate(zip(skies.kinds, skies.second.pulsars, strict=True)):
        answer, row = answers[f"p{i}"], followed.candidate(f"p{i}")
        assert answer["answer"] == "yes" or answer["expected"] < 8.0, (kind, answer)
        assert row["period"] == pytest.approx(made.period, abs=5.0 * row["period_err"] + 1e-7 * made.period)
        error = 3e2 * row["period_err"] / row["period"] * 1e3
        moved = abs(answer["velocity"])
        assert moved == pytest.approx(VELOCITY / 1e3 if kind == "velocity" else 0.0, abs=5.0 * error + 100.0)
        assert f"p{i}" in followed.folds


def test_the_snr_is_what_length_and_bandwidth_let_expect(followed: Run) -> None:
    ratio = followed.rows("confirm/answers")["ratio"]
    assert np.nanmean(ratio) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("seeds", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_noise_is_no_pulsar(seeds: int, tmp_path: Path) -> None:
    # Dozens of windows: at 5 sigma none is expected in a million.
    rng = np.random.default_rng(8)
    names = tmp_path / "list.csv"
    lines = [
        f"{p:.9g},{dm:.6g}" for p, dm in zip(10.0 ** rng.uniform(-2.3, -0.3, 24), rng.uniform(10, 60, 24), strict=True)
    ]
    names.write_text("\n".join(["P,DM", *lines]))
    for seed in range(seeds):
        band = BAND | {"nchans": 16, "foff": -16.0, "nsamps": 1 << 15}
        write_filterbank(Sky(**band, seed=100 + seed, tstart=STARTS[1]), tmp_path / "noise.fil", overwrite=True)
        found = follow(names, [tmp_path / "noise.fil"], Target(tmp_path / f"{seed}.h5"), CONFIG)
        answers = found.rows("confirm/answers")
        assert len(answers) == 24
        assert set(answers["answer"]) == {"no"}
        assert np.count_nonzero(answers["sigma"] >= 2.0) <= 3
        assert np.all((answers["limit"] > 5.0) & (answers["limit"] < 12.0))
        assert np.all(np.isnan(answers["ratio"]))


def test_the_table_says_who_is_there_and_names_stay(old: Path, tmp_path: Path) -> None:
    new, out = old.with_name("new.fil"), tmp_path / "F.h5"
    code, text, err = run("follow", old, new, "--id", "p1", "--id", "p2", "--no-rfi", "--accel", ACCEL, "--out", out)
    assert code == 0, err
    rows = [line.split() for line in text.splitlines()]
    assert rows[0][:2] == ["id", "in"]
    assert {row[0] for row in rows[1:]} == {"p1", "p2"}
    assert {row[1] for row in rows[1:]} <= {"yes", "no"}
    assert "pulsar report" in err
    assert set(read(out).ids) == {"p1", "p2"}
    code, _, err = run("follow", old, new, "--out", out)
    assert code == 2
    assert "--overwrite" in err


def test_judgements_choose_before_everything_else(old: Path, tmp_path: Path) -> None:
    copy = tmp_path / "old.h5"
    copy.write_bytes(old.read_bytes())
    product = read(copy)
    assert len(of_product(product)) == 10
    row = product.candidate("p3")
    Sidecar(beside(copy)).add([Label(uid_of(row), id="p3", label="pulsar", who="me", when=now())])
    assert [entry.ident for entry in of_product(product)] == ["p3"]
    assert [entry.ident for entry in of_product(product, ["p4"])] == ["p4"]
    assert len(of_product(product, score=0.0)) == 10
    with pytest.raises(ConfigError, match=r"score 1\.1"):
        of_product(product, score=1.1)


def test_a_list_in_its_own_units(old: Path, skies: Epochs, tmp_path: Path) -> None:
    made = max(skies.second.pulsars, key=lambda pulsar: pulsar.snr)
    table = tmp_path / "list.ecsv"
    table.write_text(
        "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: name, datatype: string}\n"
        "# - {name: P, unit: ms, datatype: float64}\n# - {name: DM, datatype: float64}\n"
        f"name P DM\nJ0001+01 {1e3 * made.period!r} {made.dm!r}\n"
    )
    new = old.with_name("new.fil")
    found = follow(table, [new], Target(tmp_path / "F.h5"), CONFIG)
    (answer,) = found.rows("confirm/answers")
    assert (answer["id"], answer["answer"]) == ("J0001+01", "yes")
    assert np.isnan(answer["expected"])


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("P,S\n0.1,3\n", ConfigError, "DM"),
        ("P,DM\n0.1,-3\n", ConfigError, "row 1"),
        ("P,DM\n0.1,3\nnan,3\n", ConfigError, "row 2"),
        ("P,DM,name\n0.1,3,a\n0.2,3,a\n", ConfigError, "same name"),
        ("P,DM\n", ConfigError, "no candidate"),
        ("P,DM\n90,3\n", ConfigError, "turns"),
        ("P,DM\n0.1\n", ConfigError, "row 1"),
        ("", ConfigError, "expected the columns"),
        ("\\0\\0", ConfigError, "expected the columns"),
    ],
)
def test_lists_that_cannot_be_followed_say_why(
    old: Path, tmp_path: Path, text: str, error: type[Exception], words: str
) -> None:
    names = tmp_path / "list.csv"
    names.write_text(text)
    with pytest.raises(error, match=words):
        follow(names, [old.with_name("new.fil")], Target(tmp_path / "F.h5"), CONFIG)
    assert not (tmp_path / "F.h5").exists()


def test_a_list_that_is_not_there(old: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv"):
        follow(tmp_path / "none.csv", [old.with_name("new.fil")], Target(tmp_path / "F.h5"), CONFIG)


def test_a_name_that_is_not_there(old: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="p99"):
        follow(old, [old.with_name("new.fil")], Target(tmp_path / "F.h5"), CONFIG, idents=["p99"])


def test_series_are_searched_where_they_are_and_others_named(old: Path, skies: Epochs, tmp_path: Path) -> None:
    strong = max(range(10), key=lambda i: skies.second.pulsars[i].snr)
    dm = skies.second.pulsars[strong].dm
    series = tmp_path / "new.dat"
    code, _, err = run("dedisperse", old.with_name("new.fil"), "--dm", dm, "--no-rfi", "--out", series)
    assert code == 0, err
    code, text, err = run("follow", old, series, "--out", tmp_path / "F.h5")
    assert code == 0, err
    assert "no series near DM" in err
    row = next(line.split() for line in text.splitlines() if line.startswith(f"p{strong} "))
    assert row[1] == "yes"


def test_a_list_is_chosen_from_by_names_only(old: Path, tmp_path: Path) -> None:
    names, new = tmp_path / "list.csv", old.with_name("new.fil")
    names.write_text("name,F0,DM\na,3.1,20\nb,4.1,20\n")
    code, text, err = run("follow", names, new, "--id", "b", "--no-rfi", "--out", tmp_path / "F.h5")
    assert code == 0, err
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["b"]
    for wrong, word in (("--id=c", "no candidate c"), ("--score=0.5", "--score")):
        code, _, err = run("follow", names, new, wrong, "--out", tmp_path / "G.h5")
        assert code == 2
        assert word in err


def test_a_yes_that_may_be_the_harmonics_of_a_stronger_one_says_so(old: Path, skies: Epochs, tmp_path: Path) -> None:
    strong = max(skies.second.pulsars, key=lambda pulsar: pulsar.snr * (pulsar.period > 0.02))
    names = tmp_path / "list.csv"
    names.write_text(f"name,P,DM\na,{strong.period!r},{strong.dm!r}\nb,{2.0 * strong.period!r},{strong.dm!r}\n")
    found = follow(names, [old.with_name("new.fil")], Target(tmp_path / "F.h5"), CONFIG)
    answers = {str(row["id"]): row for row in found.rows("confirm/answers")}
    assert {row["answer"] for row in answers.values()} == {"yes"}
    weaker, other = sorted("ab", key=lambda name: answers[name]["sigma"])
    assert f"the frequency of {other}" in answers[weaker]["remarks"]
    assert answers[other]["remarks"] == ""
