"""`pulsar completeness`: from files to recall, limits on flux densities and one product of all."""

import functools

import numpy as np
import pytest
from reference import command
from typer.testing import CliRunner

from pulsar.cli.app import app
from pulsar.config.load import load_config
from pulsar.io.product.reader import read
from pulsar.run import search
from pulsar.synthesis.model import Sky
from pulsar.synthesis.write import write_filterbank

#: Narrow and short: one place is searched within a second.
SKY = {"nchans": 16, "fch1": 1484.0, "foff": -32.0, "tsamp": 1024e-6, "nsamps": 8_000, "telescope": "FAST"}
SETS = ["fold.ncands=20", "fold.nbins=64", "coherent.enabled=false"]
FAST_ENOUGH = ["--dm", "0", "40", "--threads", "1", "-q", "--no-ffa", *(w for one in SETS for w in ("--set", one))]
run = functools.partial(command.run, "completeness")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two observations of one source, a day apart."""
    folder = tmp_path_factory.mktemp("sky")
    return [
        write_filterbank(
            Sky(**SKY, source="J0000+00", tstart=59000.0 + i, seed=21 + i), folder / f"{name}.fil", threads=1
        )
        for i, name in enumerate("ab")
    ]


@pytest.fixture(scope="module")
def both(files, tmp_path_factory):
    """The product of both, and what was printed."""
    out = tmp_path_factory.mktemp("both") / "C.h5"
    code, text, told = run(*files, "--out", out, "--signals", "16", *FAST_ENOUGH)
    assert (code, told) == (0, "")
    return out, text


def test_several_observations_are_told_apart_and_together(both):
    out, text = both
    product = read(out)
    rows = product.rows("completeness/injected")
    counts = np.bincount(rows["obs"])
    assert len(counts) == 2
    assert counts.min() > 4
    assert len(product.observations) == 2
    # Each has signals of its own, at DMs of its own.
    assert len(set(rows["snr"].tolist())) == len(rows)
    assert len(set(rows["dm"].tolist())) == 2
    for obs in (0, 1):
        with_one = read(product.rows("observations")["product"][obs]).rows("completeness/injected")
        np.testing.assert_array_equal(with_one["snr"], rows["snr"][rows["obs"] == obs])
        np.testing.assert_array_equal(with_one["found"], rows["found"][rows["obs"] == obs])
    pulsars = rows[rows["kind"] == "pulsar"]
    assert f"{int(pulsars['found'].sum())} of {len(pulsars)} injected pulsars are found" in text
    assert product.recall()["tried"].sum() == len(pulsars)


def test_what_is_done_is_kept_by_resume_and_refused_without(both, files, capsys):
    out, text = both
    before = {path.name: path.stat().st_mtime_ns for path in out.with_suffix(".runs").iterdir()}
    again = run(*files, "--out", out, "--signals", "16", *FAST_ENOUGH, "--resume")
    assert again[:2] == (0, text)
    assert {path.name: path.stat().st_mtime_ns for path in out.with_suffix(".runs").iterdir()} == before
    code, _, told = run(*files, "--out", out, "--signals", "16", *FAST_ENOUGH)
    assert code == 2
    assert "exists already" in told


def test_what_was_interrupted_goes_on_to_the_same_tables(both, files, tmp_path, monkeypatch):
    out = tmp_path / "C.h5"
    args = [*files, "--out", out, "--signals", "16", *FAST_ENOUGH]
    from pulsar import run as stages

    whole, calls = stages.ranked, []

    def stops_in_the_second(*given, **named):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "ranked", stops_in_the_second)
        code, _, told = run(*args)
    assert code == 130
    assert "--resume" in told
    assert not out.exists()
    code, _, told = run(*args, "--resume")
    assert code == 0, told
    for table in ("injected", "rows", "limits"):
        one, two = read(both[0]).rows(f"completeness/{table}"), read(out).rows(f"completeness/{table}")
        assert len(one) > 4
        for name in one.dtype.names:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_one_observation_is_what_a_search_with_completeness_tells(files, tmp_path):
    code, _, told = run(files[0], "--out", tmp_path / "C.h5", "--signals", "8", *FAST_ENOUGH)
    assert code == 0, told
    sets = ["dedisp.dm_lo=0", "dedisp.dm_hi=40", "run.threads=1", "ffa.enabled=false", *SETS]
    sets += ["completeness.enabled=true", "completeness.places=1"]
    plain = search(files[0], load_config(None, sets), tmp_path / "run.h5")
    for table in ("injected", "rows", "limits"):
        one, two = plain.rows(f"completeness/{table}"), read(tmp_path / "C.h5").rows(f"completeness/{table}")
        assert len(one) > 4
        for name in one.dtype.names:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_tables_for_a_paper_and_a_picture(both, files, tmp_path):
    from astropy.table import QTable

    out, _ = both
    same = [*files, "--out", out, "--signals", "16", *FAST_ENOUGH, "--resume"]
    for ending in ("tex", "csv"):
        assert run(*same, "--table", tmp_path / f"T.{ending}")[0] == 0
    assert run(*same, "--table", tmp_path / "T.ecsv", "--plot", tmp_path / "T.png")[0] == 0
    product = read(out)
    table = QTable.read(tmp_path / "T.ecsv")
    whole = table[(table["observation"] == "all") & (table["kind"] == "pulsar")]
    np.testing.assert_array_equal(whole["found"], product.recall()["found"])
    assert set(table["observation"]) == {"all", "J0000+00 59000.0000", "J0000+00 59001.0000"}
    limits = QTable.read(tmp_path / "T_limits.ecsv")
    assert limits["flux_most"].unit == "mJy"
    assert len(limits) == len(product.limits) > 0
    assert QTable.read(tmp_path / "T.csv")["tried"].sum() == table["tried"].sum()
    tex = (tmp_path / "T.tex").read_text()
    assert tex.count("pulsars & ") == len(whole)
    assert "$S_{90}$ [mJy]" in (tmp_path / "T_limits.tex").read_text()
    assert (tmp_path / "T.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_shows_it(both, tmp_path):
    out, _ = both
    result = CliRunner().invoke(app, ["report", str(out), "--out", str(tmp_path / "page"), "-q"])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page" / "index.html").read_text()
    assert '<a href="#completeness">' in page
    assert page.count("<figure>") >= 2
    assert "By observation" in page
    assert "59001.00000" in page


def test_a_table_says_what_is_injected(files, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("kind,period,dm,snr,flux,duty\npulsar,0.25,20,18,,0.05\npulsar,0.7,20,,2,\nburst,,30,17,,\n")
    out = tmp_path / "C.h5"
    args = ["--population", table, *FAST_ENOUGH, "--gain", "1", "--tsys", "20"]
    code, _, told = run(files[0], "--out", out, *args)
    assert (code, told) == (0, "")
    rows = read(out).rows("completeness/injected")
    first, second = rows[rows["kind"] == "pulsar"][np.argsort(rows["period"][rows["kind"] == "pulsar"])]
    assert first["period"] == pytest.approx(0.25)
    assert (first["dm"], first["snr"], first["place"]) == (20.0, 18.0, second["place"])
    assert first["duty"] == pytest.approx(0.05)
    (burst,) = rows[rows["kind"] == "burst"]
    assert (burst["dm"], burst["snr"]) == (30.0, 17.0)
    # 2 mJy by the radiometer equation, for the width that was drawn, smeared.
    from pulsar.pipeline.injections import smeared_duty

    product = read(out)
    header, masked = product.observations[0], product.limits
    even = smeared_duty(header, second["period"], second["duty"], 20.0) * np.sqrt(np.pi / (2 * np.log(2)))
    noise = 20e3 / np.sqrt(2 * header.tobs * masked["bandwidth"][0].value * 1e6)
    assert second["snr"] == pytest.approx(2.0 / (noise * np.sqrt(even / (1 - even))), rel=1e-6)
    table.write_text(table.read_text().replace("18", "19"))
    code, _, told = run(files[0], "--out", out, *args, "--resume")
    assert code == 2
    assert "other files or settings" in told


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--period", "0.1", "30"], "completeness.period: period = 30: expected 2 samples to half of the observation"),
        (["--at-dm", "0", "90"], "completeness.dm: dm = 90: expected what is searched, 0 to 40"),
        (["--duty", "0.2", "0.1"], "give the lower one first"),
        (["--table", "x.pdf"], "ends in .tex, .csv, .ecsv"),
        (["--plot", "x.txt"], "ends in .png, .pdf or .svg"),
    ],
)
def test_what_the_observation_cannot_hold_is_refused(files, tmp_path, args, told):
    code, _, err = run(files[0], "--out", tmp_path / "C.h5", *FAST_ENOUGH, *args)
    assert code == 2
    assert told in err
    assert list(tmp_path.iterdir()) == []


def test_rows_that_the_observation_cannot_hold_are_refused(files, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("period,dm,width\n100,20,\n0.1,500,\n0.01,39,\n0.5,20,0.3\n")
    code, _, err = run(files[0], "--out", tmp_path / "C.h5", "--population", table, *FAST_ENOUGH)
    assert code == 2
    for text in (
        "line 2: period = 100: expected 2 samples to half of the observation, 0.002048 to 4.096 s",
        "line 3: dm = 500: expected what is searched, 0 to 40 pc/cm3",
        "line 4: period = 0.01: at DM 39 dispersion in a channel smears more than 0.3 of a turn",
        "line 5: width = 0.3: expected less than half of the period, 0.25 s",
    ):
        assert text in err
    code, _, err = run(files[0], "--out", tmp_path / "C.h5", "--population", table, "--signals", "5", *FAST_ENOUGH)
    assert code == 2
    assert "--population says how many" in err


def test_dedispersed_series_are_refused(files, tmp_path):
    made = CliRunner().invoke(app, ["dedisperse", str(files[0]), "--dm", "20", "--out", str(tmp_path / "x.dat"), "-q"])
    assert made.exit_code == 0, made.output
    code, _, err = run(tmp_path / "x.dat", "--out", tmp_path / "C.h5", "-q")
    assert code == 2
    assert "no channels to which signals could be added" in err
