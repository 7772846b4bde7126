"""Commands on small synthetic files, from simulation to the report."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.command import run
from reference.products import make_header

import pulsar
from pulsar.cli.options import Settings, period_seconds
from pulsar.cli.samples import match, verdict
from pulsar.cli.search import default_output
from pulsar.data.candidate import CANDIDATE_COLUMNS, DETECTED, empty_table
from pulsar.errors import ConfigError
from pulsar.io.product.reader import read
from pulsar.pipeline.ephemerides import Ephemeris, Origin, doubts
from pulsar.sources.score import score

PERIOD, DM = 0.0331, 56.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("commands")


@pytest.fixture(scope="module")
def observation(folder: Path) -> Path:
    path = folder / "a.fil"
    shape = ("--nchans", 32, "--foff", 8, "--tobs", 10, "--tsamp", 0.000512, "--seed", 3, "--source", "TEST")
    pulsar = ("--period", PERIOD, "--dm", DM, "--snr", 40, "--duty", 0.08)
    code, out, err = run("simulate", path, *shape, *pulsar)
    assert (code, out) == (0, f"{path}\n"), err
    assert "a.truth.toml" in err
    return path


@pytest.fixture(scope="module")
def product(observation: Path, folder: Path) -> Path:
    path = folder / "run.h5"
    code, out, err = run("search", observation, "--out", path, "--dm", 40, 70, "--ncands", 5, "--threads", 2)
    assert code == 0, err
    assert out.splitlines()[0].startswith("rank")
    assert f"{path}: " in err
    return path


def test_truth_beside_the_simulation(observation: Path) -> None:
    truth = tomllib.loads(observation.with_name("a.truth.toml").read_text())
    assert truth["truth"][0]["period"] == pytest.approx(PERIOD)
    again = observation.with_name("again.fil")
    assert run("simulate", again, "--sky", observation.with_name("a.truth.toml"))[0] == 0
    assert again.read_bytes() == observation.read_bytes()


def test_info(observation: Path) -> None:
    code, out, _ = run("info", observation)
    assert code == 0
    for text in ("TEST", "MHz (edges), 32 channels of 8 MHz", "8 bit", "gaps        none", "UTC)"):
        assert text in out
    assert "catalogue" not in out
    record = json.loads(run("info", observation, "--json")[1])
    assert record["band_high"] - record["freq_high"] == pytest.approx(4.0)
    assert record["band_high"] - record["band_low"] == pytest.approx(256.0)
    assert record["nchans"] == 32
    assert record["tobs"] == pytest.approx(10.0, abs=1e-3)
    assert record["az_deg"] is None
    assert record["files"][0]["path"].endswith("a.fil")


def test_plan(observation: Path) -> None:
    code, out, _ = run("plan", observation, "--dm", 0, 100)
    assert code == 0
    assert "trials" in out
    assert "dedispersed series" in out
    record = json.loads(run("plan", observation, "--dm", 0, 100, "--json")[1])
    assert sum(stage["ndms"] for stage in record["dm"]["stages"]) > 10
    assert "freqs" not in record["dm"]


def test_search_finds_the_pulsar(product: Path) -> None:
    run_ = read(product)
    best = run_.rows("candidates")[0]
    assert best["period"] == pytest.approx(PERIOD, rel=1e-4)
    assert best["dm"] == pytest.approx(DM, abs=3)
    record = run_.provenance
    assert record["exit_state"] == "done"
    assert "dm_hi = 70.0" in record["config"]
    assert record["inputs"][0]["path"].endswith("a.fil")
    assert {"dedispersion", "search", "folding"} <= set(record["stages"])


def test_search_refuses_resumes_and_replaces(product: Path, observation: Path) -> None:
    before = product.read_bytes()
    assert run("search", observation, "--out", product)[0] == 2
    assert product.read_bytes() == before
    assert [p.name for p in product.parent.glob("*.parts")] == []


def test_fold_with_a_period(observation: Path, folder: Path) -> None:
    path, sheet = folder / "fold.h5", folder / "sheet.png"
    code, out, err = run("fold", observation, "--period", PERIOD, "--dm", DM, "--out", path, "--plot", sheet)
    assert code == 0, err
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert "c0001" in out
    fold = read(path).fold("c0001")
    assert fold.after.dm == pytest.approx(DM, abs=3)
    assert fold.snr > 25
    row = read(path).candidate("c0001")
    assert row["rank"] == 1
    assert row["snr"] == pytest.approx(fold.snr)
    assert 0 <= row["score"] <= 1


def test_one_sheet_is_of_one_fold(observation: Path, product: Path, folder: Path) -> None:
    args = ("--candidates", product, "--out", folder / "x.h5", "--plot", folder / "x.png")
    code, _, err = run("fold", observation, *args)
    assert code == 2
    assert "draws one fold" in err
    assert not (folder / "x.h5").exists()


def test_a_fold_as_it_is_given(observation: Path, folder: Path) -> None:
    path = folder / "plain.h5"
    args = ("--period", PERIOD, "--dm", DM, "--no-refine", "--nbins", 32, "--nsub", 6)
    code, _, err = run("fold", observation, *args, "--out", path, "-q")
    assert code == 0, err
    fold = read(path).fold("c0001")
    assert fold.after == fold.before
    assert fold.after.dm == DM
    assert fold.time_phase.shape == (6, 32)
    # The same as in a notebook.
    same = pulsar.fold(observation, PERIOD, DM, refine=False, nbins=32, nsub=6)
    assert fold.snr == pytest.approx(same.snr, rel=1e-6)


def test_a_fold_that_shows_nothing_says_so(observation: Path, folder: Path) -> None:
    path = folder / "nothing.h5"
    code, _, err = run("fold", observation, "--period", 1e3 * PERIOD, "--dm", 10, "--out", path, "-q")
    assert code == 2
    assert "period 33.1 s is longer than the data (10 s)" in err
    code, out, err = run("fold", observation, "--period", 4.119, "--dm", 10, "--out", path, "-q")
    assert code == 0
    assert "not detected" in out
    assert err.startswith("pulsar: warning: c0001: not detected: noise gives S/N")
    assert "is the period in seconds? 4.119 s were folded; milliseconds are --period 4.119ms" in err
    row = read(path).candidate("c0001")
    assert row["sigma"] < DETECTED
    again = ("fold", observation, "--out", path, "--overwrite")
    assert run(*again, "--period", 4.119, "--dm", 10, "--log-level", "error")[2] == ""
    code, out, err = run(*again, "--period", f"{1e3 * PERIOD}ms", "--dm", DM, "-q")
    assert (code, err) == (0, "")
    assert "not detected" not in out
    assert read(path).candidate("c0001")["sigma"] > 10


@pytest.mark.parametrize(
    ("text", "seconds"), [("0.1637", 0.1637), ("0.1637s", 0.1637), ("163.7 ms", 0.1637), ("1637e2us", 0.1637)]
)
def test_periods_with_units(text: str, seconds: float) -> None:
    assert period_seconds(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("texts", "range_"), [(("95min", "0.35d"), (5700.0, 30240.0)), (("3600", "10 h"), (3600, 36000))]
)
def test_orbital_periods_with_units(texts: tuple[str, str], range_: tuple[float, float]) -> None:
    settings = Settings(None, (), {"porb": texts}).config().orbits
    assert (settings.p_min, settings.p_max) == pytest.approx(range_, rel=1e-12)


def test_an_orbital_period_in_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--porb 3weeks: expected .* 95min, 10h, 0\.35d"):
        Settings(None, (), {"porb": ("1h", "3weeks")}).config()


def test_a_period_in_an_unknown_unit_is_refused(observation: Path, folder: Path) -> None:
    for text in ("163min", "ms", "fast"):
        code, _, err = run("fold", observation, "--period", text, "--dm", 1, "--out", folder / "no.h5")
        assert code == 2
        assert "163.7ms" in err.replace("\n", " ")


def test_a_fold_of_another_source_names_both(product: Path) -> None:
    fold, here = read(product).fold("c0001"), make_header().with_(source="J1000+10", ra_deg=150.0, dec_deg=10.0)
    par = Origin("par", "J0534+2200", 83.6, 22.0, here.tmid - 100)
    first, second = doubts(fold, par, here)
    assert first.startswith("another position: J0534+2200 is 64")
    assert first.endswith("(the beam is 0.052 deg wide), the file has J1000+10")
    assert second == "does the ephemeris hold 100 days from its epoch?"
    # The same position under another name is the same source; without positions the names are all there is.
    assert doubts(fold, Origin("candidate", "B1000+10", 150.01, 10.0, here.tmid), here) == []
    (told,) = doubts(fold, Origin("candidate", "B1000+10"), here)
    assert told == "another source? it is of B1000+10, the file has J1000+10"
    assert doubts(fold, Origin("candidate", "j1000+10"), here) == []


def test_fold_with_candidates(observation: Path, folder: Path) -> None:
    # The third harmonic is left out, as a line of interference that these settings of the search know.
    found, path, every = (folder / name for name in ("line.h5", "again.h5", "every.h5"))
    line = f"rfi.birdies=[[{3 / PERIOD}, 0.5]]"
    code, _, err = run("search", observation, "--out", found, "--dm", 40, 70, "--set", line, "-q")
    assert code == 0, err
    code, _, err = run("fold", observation, "--candidates", found, "--out", path, "-q")
    assert code == 0
    assert "was searched with other settings (rfi.birdies): S/N may differ" in err
    rows, again = read(found).rows("candidates"), read(path).rows("candidates")
    sources = rows[(rows["harmonic_of"] == "") & np.isfinite(rows["snr"])]
    assert again["id"].tolist() == sources["id"].tolist()
    for name in ("snr", "period", "dm", "score", "rfi_flags"):
        np.testing.assert_array_equal(again[name], sources[name])
    assert run("fold", observation, "--candidates", found, "--all", "--out", every, "-q")[0] == 0
    assert read(every).rows("candidates")[["id", "harmonic_of"]].tolist() == rows[["id", "harmonic_of"]].tolist()
    assert len(rows) > len(sources)
    # Samples of another beam, and a cut of the same, have the refined values, and nothing of what was said of it.
    other, cut = folder / "beam.fil", folder / "cut.fil"
    shape = ("--nchans", 32, "--foff", 8, "--tobs", 10, "--tsamp", 0.000512, "--source", "TEST", "--beam", 3)
    assert run("simulate", other, *shape)[0] == 0
    assert run("convert", observation, "--time", 2, 9, "--out", cut)[0] == 0
    for data in (other, cut):
        code, _, err = run("fold", data, "--candidates", found, "--id", "c0001", "--out", path, "--overwrite", "-q")
        assert code == 0, err
        assert read(path).fold("c0001").before.dm == pytest.approx(rows["dm"][0])
        assert ("not detected" in err) == (data == other)
    # A harmonic alone is a row of its own; and as it is, without a refinement, it has the values of its row.
    harmonic = str(rows["id"][rows["harmonic_of"] == "c0001"][0])
    args = ("--candidates", found, "--id", harmonic, "--no-refine", "--out", path, "--overwrite", "-q")
    assert run("fold", observation, *args)[0] == 0
    (row,) = read(path).rows("candidates")
    assert row["harmonic_of"] == ""
    assert row["period"] == pytest.approx(rows["period"][rows["id"] == harmonic][0])
    code, _, err = run("fold", observation, "--candidates", found, "--id", "c0001", "--out", path, "--overwrite")
    assert code == 0, err
    assert read(path).ids == ("c0001",)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "either --period with --dm, or --par X.par, or --candidates"),
        (("--period", 1), "--period needs --dm"),
        (("--period", 1, "--dm", -1), "--dm -1: expected a number >= 0"),
        (("--period", 1, "--dm", 1, "--id", "c1"), "--id chooses from --candidates"),
        (("--candidates", "RUN", "--dm", 3), "candidates and ephemerides have their own"),
        (("--candidates", "RUN", "--id", "c9"), "no candidate 'c9'"),
        (("--candidates", "RUN", "--period", 1), "either --period with --dm, or --par X.par, or --candidates"),
        (("--period", 1e-5, "--dm", 1), "shorter than two samples"),
        (("--period", -1, "--dm", 1), "expected a positive number of seconds"),
        (("--period", 1, "--dm", 1, "--nbins", 2), "fold.nbins = 2: expected an integer >= 4"),
        (("--period", 1, "--dm", 1, "--nsub", 0), "fold.nsubints = 0"),
    ],
)
def test_fold_usage(observation: Path, product: Path, tmp_path: Path, args: tuple[Any, ...], message: str) -> None:
    given = [product if a == "RUN" else a for a in args]
    code, _, err = run("fold", observation, *given, "--out", tmp_path / "f.h5")
    assert code == 2
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_a_fold_that_is_cleaned_is_scored_with_what_the_search_has_detected(
    observation: Path, product: Path, folder: Path
) -> None:
    whole, left = folder / "whole.h5", folder / "left.h5"
    args = ("--candidates", product, "--id", "c0001", "--out", whole, "-q")
    assert run("fold", observation, *args)[0] == 0
    code, _, err = run("fold", whole, "--zap-time", "0:0.1", "--out", left, "-q")
    assert code == 0, err
    found = read(product).candidate("c0001")
    for path in (whole, left):
        values = read(path).fold("c0001").extra["features"]
        assert (values["sigma"], values["ndetections"]) == (found["sigma"], found["ndetections"])
        assert read(path).candidate("c0001")["score"] == pytest.approx(score(values))


def test_inject(observation: Path, folder: Path) -> None:
    path = folder / "b.fil"
    code, out, err = run("inject", observation, "--period", 0.25, "--dm", 10, "--snr", 50, "--out", path)
    assert (code, out) == (0, f"{path}\n"), err
    assert path.stat().st_size == observation.stat().st_size
    found = folder / "b.h5"
    assert run("fold", path, "--period", 0.25, "--dm", 10, "--out", found, "-q")[0] == 0
    assert read(found).rows("candidates")["snr"][0] > 30
    assert run("inject", observation, "--period", 0.25, "--dm", 10, "--out", path)[0] == 2
    assert run("inject", observation, "--out", folder / "c.fil")[0] == 2
    assert run("inject", observation, "--dm", 3, "--out", folder / "c.fil")[0] == 2
    assert run("inject", observation, "--period", 1, "--out", folder / "c.fits")[0] == 2


def test_inject_interference(observation: Path, folder: Path) -> None:
    wanted, path = folder / "wanted.toml", folder / "e.fil"
    wanted.write_text('[[rfi]]\nkind = "dead"\nfreqs = [1000, 1510]\n')
    code, _, err = run("inject", observation, "--sky", wanted, "--out", path)
    assert code == 0, err
    assert not path.read_bytes()[-observation.stat().st_size // 2 :].strip(b"\0")
    # What was added is told as a list that makes it again.
    again = folder / "f.fil"
    assert run("inject", observation, "--sky", path.with_name("e.truth.toml"), "--out", again)[0] == 0
    assert again.read_bytes() == path.read_bytes()
    wanted.write_text('[[rfi]]\nkind = "dead"\nfreqs = [1000, 1510]\nrate = 3\n')
    code, _, err = run("inject", observation, "--sky", wanted, "--out", folder / "g.fil")
    assert code == 2
    assert "rate has no meaning there" in err
    wanted.write_text('[[rfi]]\nkind = "radr"\n')
    code, _, err = run("inject", observation, "--sky", wanted, "--out", folder / "g.fil")
    assert code == 2
    assert "radar" in err


def test_a_simulation_is_where_and_when_it_is_asked_for(tmp_path: Path) -> None:
    path, shape = tmp_path / "a.fits", ("--tobs", 0.5, "--nchans", 16)
    assert run("simulate", path, *shape, "--ra", "05:34:32", "--dec", "-22:00:36", "--tstart", 60310.25)[0] == 0
    with pulsar.open(path) as obs:
        header = obs.header
        assert (header.ra_deg, header.dec_deg) == pytest.approx((83.63333, -22.01), abs=1e-4)
        assert header.tstart == pytest.approx(60310.25, abs=1e-9)
    code, _, err = run("simulate", tmp_path / "b.fits", *shape, "--ra", "noon")
    assert code == 2
    assert "--ra noon: expected hh:mm:ss.s or a number of degrees" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("x.dat",), "end it in .fil (SIGPROC) or .fits (PSRFITS)"),
        (("x.fil", "--rows-per-file", 3), "splits PSRFITS files"),
        (("x.fil", "--pol", "AABBCRCI"), "exists in PSRFITS only"),
        (("x.fil", "--dm", 3), "--dm describes a pulsar: give its --period too"),
        (("x.fil", "--nbits", 3), "nbits"),
        (("x.fil", "--tobs", 1, "--nsamps", 5), "the same thing twice"),
    ],
)
def test_simulate_usage(tmp_path: Path, args: tuple[Any, ...], message: str) -> None:
    code, _, err = run("simulate", tmp_path / str(args[0]), *args[1:])
    assert code == 2
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["info", "plan", "search", "fold", "inject"])
def test_unreadable_input_exits_3(tmp_path: Path, command: str) -> None:
    more = {"fold": ("--period", 1, "--dm", 1), "inject": ("--period", 1)}.get(command, ())
    out = {"search": "o.h5", "fold": "o.h5", "inject": "o.fil"}.get(command)
    target = ("--out", tmp_path / out) if out else ()
    text = tmp_path / "text.fil"
    text.write_text("no filterbank " * 100)
    for path in (tmp_path / "missing.fil", text):
        code, stdout, err = run(command, path, *more, *target)
        assert (code, stdout) == (3, "")
        assert str(path) in err
        assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["text.fil"]


def test_default_output() -> None:
    assert default_output([Path("/data/obs_0001.fits"), Path("x")]) == Path("obs_0001.pulsar.h5")


def test_epoch_moves_the_period_to_mid_observation() -> None:
    header = make_header()
    there = Ephemeris(0.1, 10.0, accel=100.0).params(header)
    assert there.freq == pytest.approx(10.0)
    assert there.fdot == pytest.approx(-100.0 * 10.0 / 299_792_458.0)
    early = Ephemeris(0.1, 10.0, accel=100.0, epoch=header.tstart).params(header)
    assert early.freq == pytest.approx(10.0 + there.fdot * header.tobs / 2)
    with pytest.raises(ConfigError, match="is not positive at mid-observation"):
        Ephemeris(0.1, 10.0, accel=1e9, epoch=header.tstart - 1000).params(header)


def table(*pairs: tuple[float, float]) -> Any:
    rows = empty_table(CANDIDATE_COLUMNS, len(pairs))
    for i, (period, dm) in enumerate(pairs):
        rows["rank"][i], rows["id"][i], rows["period"][i], rows["dm"][i] = i + 1, f"c{i + 1:04d}", period, dm
    return rows


def test_the_verdict_of_the_demo() -> None:
    injected = [{"name": "a", "period": 0.1, "dm": 10.0}, {"name": "b", "period": 0.2, "dm": 20.0}]
    good = table((0.2, 20.1), (0.10001, 9.9), (0.05, 10.0))
    found = match(good, injected)
    assert found == {"a": 1, "b": 0}
    assert verdict(good, injected, found) == []
    buried = table((0.2, 20.0), (1.0, 0.0), (0.1, 10.0))
    problems = verdict(buried, injected, match(buried, injected))
    assert problems == ["a (period 100 ms, DM 10) has rank 3, below c0002"]
    harmonic = table((0.2, 20.0), (0.05, 10.0))
    assert verdict(harmonic, injected, match(harmonic, injected)) == ["a (period 100 ms, DM 10) was not found"]
    assert match(table(), injected) == {}
    assert np.isnan(table((1.0, 1.0))["dm_err"][0])


def test_demo_keeps_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "RUN.h5").write_text("precious")
    code, _, err = run("demo", "--out", tmp_path)
    assert code == 2
    assert "is not of an earlier demo" in err
    file = tmp_path / "file"
    file.write_text("x")
    assert run("demo", "--out", file)[0] == 2


@pytest.mark.slow
def test_demo_brings_every_pulsar_to_the_top(tmp_path: Path) -> None:
    code, out, err = run("demo", "--out", tmp_path / "demo", "--quiet")
    assert code == 0, err
    assert out.splitlines()[-1] == "All 5 simulated pulsars stand above everything else."
    assert (tmp_path / "demo" / "report" / "index.html").exists()
    assert run("candidates", tmp_path / "demo" / "RUN.h5")[0] == 0
