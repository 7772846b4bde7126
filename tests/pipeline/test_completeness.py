"""Signals injected into a run: the run itself stays as it is, and what is told of them is true."""

import numpy as np
import pytest
from typer.testing import CliRunner

from pulsar.cli.app import app
from pulsar.config.load import load_config
from pulsar.data.injected import recall
from pulsar.errors import ConfigError
from pulsar.io.open import open_observation
from pulsar.io.product.reader import read
from pulsar.pipeline.injections import LONG_RUN, amount
from pulsar.pipeline.plan import dry_run
from pulsar.run import search
from pulsar.synthesis.model import Burst, Pulsar, Rfi, Sky

SKY = Sky(
    nchans=64,
    fch1=1496.0,
    foff=-8.0,
    tsamp=256e-6,
    nsamps=1 << 15,
    seed=21,
    pulsars=(Pulsar(name="own", period=0.0323456, dm=45.0, snr=30, duty=0.08),),
    bursts=(Burst(name="own", time=5.0, dm=100.0, snr=25, width=4e-3),),
    rfi=(Rfi(kind="dead", freqs=(1010, 1030)),),
)
SETTINGS = [
    "dedisp.dm_hi=150", "run.threads=2", "fold.ncands=12", "fold.nbins=64", "fold.nbands=16", "ffa.enabled=false",
]  # fmt: skip
PLACES = 3


@pytest.fixture(scope="module")
def plain(searched):
    return searched()


@pytest.fixture(scope="module")
def told(searched):
    return searched("completeness.enabled=true", f"completeness.places={PLACES}")


@pytest.mark.parametrize("table", ["candidates", "single_pulses", "detections", "rfi/birdies"])
def test_the_run_is_the_same_with_and_without(plain, told, table):
    one, two = plain.rows(table), told.rows(table)
    assert one.dtype == two.dtype
    for name in one.dtype.names:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    assert len(one) > 0 or table == "rfi/birdies"


def test_folds_are_the_same_with_and_without(plain, told):
    names = list(plain.folds)
    assert names == list(told.folds)
    assert len(names) > 0
    for name in names:
        np.testing.assert_array_equal(plain.folds[name].time_phase, told.folds[name].time_phase)
        assert plain.folds[name].extra == told.folds[name].extra


def test_without_it_nothing_is_told(plain):
    assert plain.rows("completeness/injected").size == 0


def test_strong_signals_are_found_as_what_they_are(told):
    rows = told.rows("completeness/injected")
    pulsars, bursts = rows[rows["kind"] == "pulsar"], rows[rows["kind"] == "burst"]
    # At the highest DMs the fastest are smeared out, and not drawn.
    assert 4 * PLACES <= len(pulsars) <= 6 * PLACES
    assert len(bursts) == 2 * PLACES
    assert sorted(set(rows["place"].tolist())) == list(range(PLACES))
    for mine in (pulsars, bursts):
        curve = recall(mine, edges=[6.0, 13.0, 20.0])
        assert curve["recall"][1] >= 0.75
        assert curve["recall"][1] > curve["recall"][0] - 0.2
        assert 0.75 < curve["snr_kept"][1] < 1.1
    good = rows[rows["found"] == 1]
    assert (good["fate"] == "found").all()
    assert np.isfinite(good["listed_snr"]).all()
    assert (rows["fate"] != "").all()


def test_signals_are_drawn_from_what_is_searched_and_away_from_the_skys_own(told):
    rows = told.rows("completeness/injected")
    assert (rows["dm"] >= 0).all()
    assert (rows["dm"] <= 150).all()
    assert ((rows["snr"] >= 6) & (rows["snr"] <= 20)).all()
    pulsars = rows[rows["kind"] == "pulsar"]
    tobs = SKY.nsamps * SKY.tsamp
    assert pulsars["period"].min() >= 2e-3
    assert pulsars["period"].max() <= 0.25 * tobs
    near = np.abs(1 / pulsars["period"] - 1 / 0.0323456) * tobs < 1.0
    assert not (near & (np.abs(pulsars["dm"] - 45.0) < 2.0)).any()


def test_rows_beside_the_signals_are_told_apart(told):
    rows = told.rows("completeness/rows")
    injected = told.rows("completeness/injected")
    pulsars = rows[(rows["kind"] == "pulsar") & (rows["origin"] == "injected")]
    found = injected[(injected["kind"] == "pulsar") & (injected["found"] == 1)]
    assert len(pulsars) >= len(found)
    assert set(rows["origin"].tolist()) <= {"injected", "sky", "other"}


def test_the_product_tells_recall_and_reliability(told, plain):
    curve = told.recall(kind="pulsar")
    rows = told.rows("completeness/injected")
    assert curve["tried"].sum() == np.count_nonzero(rows["kind"] == "pulsar")
    assert curve["found"].sum() == np.count_nonzero((rows["kind"] == "pulsar") & (rows["found"] == 1))
    assert told.recall("dm", kind="burst")["tried"].sum() == np.count_nonzero(rows["kind"] == "burst")
    assert told.injected["period"].unit == "s"
    # Nearly all that is sure is true.
    sure = told.reliability()[-1]
    assert sure["injected"] >= 0.8 * (sure["injected"] + sure["other"])
    for call in (told.recall, told.reliability):
        with pytest.raises(ConfigError, match="kind 'pulsars': pulsar or burst"):
            call(kind="pulsars")
    for call in (plain.recall, plain.reliability):
        with pytest.raises(ConfigError, match="--completeness"):
            call()


def test_the_page_tells_it(told, plain):
    from pulsar.report.summary import summary

    words = dict(summary(told, "run")["facts"])["Completeness"]
    assert "injected pulsars are found" in words
    assert "Completeness" not in dict(summary(plain, "run")["facts"])


def test_a_run_is_the_same_whatever_the_threads_and_memory(told, sky_file, tmp_path, monkeypatch):
    # Little of it, in which subbands do not fit.
    monkeypatch.setattr("pulsar.pipeline.injections.SUBBAND_PART", 0.0)
    more = ["completeness.enabled=true", f"completeness.places={PLACES}", "run.threads=1", "run.memory=600MiB"]
    again = search(sky_file, load_config(None, [*SETTINGS, *more]), tmp_path / "again.h5")
    for table in ("completeness/injected", "completeness/rows"):
        one, two = told.rows(table), again.rows(table)
        for name in one.dtype.names:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    assert [path.name for path in tmp_path.iterdir()] == ["again.h5"]


def test_the_option_of_the_command_line_and_another_seed_draw_other_signals(told, sky_file, tmp_path):
    out = tmp_path / "run.h5"
    more = ["completeness.places=1", "completeness.seed=7"]
    sets = [word for text in [*SETTINGS, "ffa.enabled=true", *more] for word in ("--set", text)]
    done = CliRunner().invoke(app, ["search", str(sky_file), "--out", str(out), "--completeness", "-q", *sets])
    assert done.exit_code == 0, done.output
    other, first = read(out).rows("completeness/injected"), told.rows("completeness/injected")
    assert len(other) > 4
    assert not np.isin(other["snr"], first["snr"]).any()


def test_the_places_that_an_interrupted_run_has_judged_are_not_judged_again(told, sky_file, tmp_path, monkeypatch):
    from pulsar.pipeline import completeness

    config = load_config(None, [*SETTINGS, "completeness.enabled=true", f"completeness.places={PLACES}"])
    judged, whole = [], completeness._judged

    def one_only(ground, chosen):
        if judged:
            raise KeyboardInterrupt
        return counted(ground, chosen)

    def counted(ground, chosen):
        judged.extend(one.place.number for one in chosen)
        return whole(ground, chosen)

    monkeypatch.setattr(completeness.Pace, "due", lambda _: True)
    with monkeypatch.context() as patch:
        patch.setattr(completeness, "_judged", one_only)
        with pytest.raises(KeyboardInterrupt):
            search(sky_file, config, tmp_path / "run.h5")
    first = list(judged)
    monkeypatch.setattr(completeness, "_judged", counted)
    resumed = search(sky_file, config, tmp_path / "run.h5", resume=True)
    # Places that are judged afterwards go on from what the first run has found.
    assert 0 < len(first) < PLACES
    assert sorted(judged) == list(range(PLACES))
    for table in ("completeness/injected", "completeness/rows"):
        one, two = told.rows(table), resumed.rows(table)
        for name in one.dtype.names:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_long_runs_alone_have_it_by_themselves(sky_file):
    with open_observation(sky_file) as obs:
        config = load_config(None, [*SETTINGS, "dedisp.dm_step=0.1"])
        plan = dry_run(obs, config)
        assert plan.injections is None
        long = amount(replaced(plan, {**plan.work, "search": LONG_RUN, "dedispersion": 0.1 * LONG_RUN}), config)
        assert long is not None
        assert long.places > 3
        assert long.cpu <= 0.1 * LONG_RUN * 1.1
        # Where each trial DM is a large part of the run nothing is injected unless somebody asks for it.
        few = dry_run(obs, load_config(None, [*SETTINGS, "dedisp.dm_step=10"]))
        assert amount(replaced(few, {**few.work, "search": LONG_RUN}), config) is None
        off = load_config(None, [*SETTINGS, "completeness.enabled=false"])
        assert amount(replaced(plan, {**plan.work, "search": LONG_RUN}), off) is None
        on = dry_run(obs, load_config(None, [*SETTINGS, "completeness.enabled=true"]))
        assert on.injections is not None
        assert on.injections.places >= 1
        assert on.seconds["completeness"] == pytest.approx(on.injections.cpu / 2)


def replaced(plan, work):
    from dataclasses import replace

    return replace(plan, work=work)


def test_what_has_no_channels_is_told(tmp_path, capsys):
    import pulsar

    rng = np.random.default_rng(1)
    series = pulsar.TimeSeries(rng.normal(size=20_000).astype(np.float32), tsamp=1e-3)
    more = ["completeness.enabled=true", "run.threads=1"]
    run = pulsar.search(series, pulsar.load_config(None, more), out=tmp_path / "run.h5")
    assert len(run.injected) == 0
    assert "nothing is injected" in capsys.readouterr().err
