"""Observations in notebooks: dedispersed, folded, searched, masked, signals added; no file that was not asked for."""

import os
import tempfile

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

import pulsar
from pulsar.data.source import SIGMA_LEVELS
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_filterbank

PERIOD, DM = 0.05432, 60.0


@pytest.fixture(scope="module")
def obs(tmp_path_factory):
    sky = Sky(
        nchans=32,
        fch1=1492.0,
        foff=-16.0,
        tsamp=512e-6,
        nsamps=30_000,
        seed=5,
        pulsars=(Pulsar(period=PERIOD, dm=DM, snr=40, duty=0.08),),
    )
    path = write_filterbank(sky, tmp_path_factory.mktemp("api") / "a.fil")
    opened = pulsar.open(path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def series(obs):
    return pulsar.dedisperse(obs, dm=DM)


def test_dedisperse_fold_search(obs, series):
    assert series.data.shape == (30_000,)
    assert series.data.std() == pytest.approx(SIGMA_LEVELS * np.sqrt(32), rel=0.05)
    found = pulsar.search_fft(series, nharm=16)
    assert found["freq"][0].to_value("Hz") == pytest.approx(1 / PERIOD, rel=1e-3)
    assert isinstance(found, QTable)
    assert "parent" not in found.colnames
    fold = pulsar.fold(obs, period=54.32 * u.ms, dm=60 * u.pc / u.cm**3)
    assert fold.snr == pytest.approx(40, rel=0.15)
    again = pulsar.fold(series, period=PERIOD)
    assert again.snr == pytest.approx(fold.snr, rel=0.1)


def test_files_are_as_good_as_what_was_opened(obs, series):
    path = obs.files[0].path
    np.testing.assert_array_equal(pulsar.dedisperse(str(path), DM).data, series.data)
    assert pulsar.fold([path], PERIOD, DM).snr == pulsar.fold(obs, PERIOD, DM).snr


def test_a_grid_of_dms(obs):
    grid = pulsar.dedisperse(obs, dms=np.arange(50.0, 70.5, 0.5) * u.pc / u.cm**3)
    assert grid.data.shape == (41, 30_000)
    one = pulsar.dedisperse(obs, dm=60.0)
    # The same up to the tree's rounding of delays, which decorrelates single samples but costs no S/N.
    smooth = [np.convolve(x.astype(float), np.ones(8), "valid") for x in (grid.data[20], one.data)]
    assert np.corrcoef(*smooth)[0, 1] > 0.9
    exact = pulsar.fold(one, period=PERIOD)
    assert pulsar.fold(grid.series(20), period=PERIOD).snr == pytest.approx(exact.snr, rel=0.03)


def test_a_few_dms_are_each_dedispersed_exactly(obs, series):
    few = pulsar.dedisperse(obs, dm=(20, DM, 61.5))
    assert few.dms.tolist() == [20.0, DM, 61.5]
    np.testing.assert_array_equal(few.data[1], series.data)
    assert pulsar.dedisperse(obs, dm=[DM]).data.shape == (1, 30_000)


def test_results_are_handed_on_as_the_commands_do(obs, tmp_path):
    run = pulsar.search(obs, pulsar.load_config(None, ["fold.ncands=1", "ffa.enabled=false"]), dm=(50, 70))
    assert 50 <= run.detections["dm"].value.min() <= run.detections["dm"].value.max() <= 71
    assert set(run.sources["id"]) == {row["id"] for row in run.candidates if not row["harmonic_of"]}
    best = run.ids[0]
    assert pulsar.plot(run, best)._repr_png_() == pulsar.plot(run, best, path=tmp_path / "s.png")._repr_png_()
    par = pulsar.export(run, best, tmp_path / "a.par")
    assert pulsar.fold(obs, par=par).snr == pytest.approx(run.fold(best).snr, rel=0.1)
    with pytest.raises(pulsar.ConfigError, match=r"a\.par: the output exists"):
        pulsar.export(run, best, par)
    with pytest.raises(pulsar.ConfigError, match=r"its ending says no format: expected \.par"):
        pulsar.export(run, best, tmp_path / "a.dat")
    page = pulsar.write_report(run, tmp_path / "report", top=1)
    assert f"{best}.png" in page.read_text()
    with pytest.raises(pulsar.ConfigError, match="holds a report already"):
        pulsar.write_report([run], tmp_path / "report")


def test_series_beyond_the_memory_are_refused(obs):
    config = pulsar.load_config(None, ["run.memory=450MiB"])
    with pytest.raises(pulsar.ConfigError, match="memory"):
        pulsar.dedisperse(obs, dms=np.arange(0.0, 200.0, 0.05), config=config)


def test_a_fold_that_is_not_refined_is_at_what_was_given(obs, series):
    for data, dm in ((obs, DM), (series, None)):
        off = pulsar.fold(data, PERIOD * (1 + 6e-4), dm, refine=False)
        assert off.after == off.before
        assert off.period == pytest.approx(PERIOD * (1 + 6e-4), rel=1e-12)
        assert np.isnan(off.freq_err)
        best = pulsar.fold(data, PERIOD * (1 + 6e-4), dm)
        assert best.after != best.before
        assert best.snr > off.snr + 3
        assert off.snr == pytest.approx(off.extra["snr_before"], rel=1e-9)
        # What lies around it is there to be seen.
        assert off.p_pdot.shape == best.p_pdot.shape


def test_bins_and_sub_integrations_of_a_fold(obs, series):
    for data, dm in ((obs, DM), (series, None)):
        fold = pulsar.fold(data, PERIOD, dm, nbins=32, nsub=np.int64(5))
        assert fold.profile.shape == (32,)
        assert fold.time_phase.shape == (5, 32)
    config = pulsar.load_config(None, ["fold.nbins=64", "fold.nsubints=7"])
    assert pulsar.fold(series, PERIOD, config=config).time_phase.shape == (7, 64)
    assert pulsar.fold(series, PERIOD, nsub=3, config=config).time_phase.shape == (3, 64)


def test_epoch_and_acceleration_of_a_fold(series):
    plain = pulsar.fold(series, PERIOD, refine=False)
    away = 1000.0
    accel = 2000.0
    pdot = accel * PERIOD / 299792458.0
    early = pulsar.fold(
        series, PERIOD - pdot * away, accel=2 * u.km / u.s**2, epoch=series.tmid - away / 86400, refine=False
    )
    assert early.before.freq == pytest.approx(plain.before.freq, rel=1e-6)
    assert early.before.fdot == pytest.approx(-pdot / PERIOD**2, rel=0.01)


def test_a_fold_by_an_ephemeris(obs, tmp_path):
    # The period that the telescope sees, carried to the barycentre by the same model.
    from pulsar.sky.timing import read_par

    par = tmp_path / "x.par"
    text = f"PSR X\nRAJ 05:32:00\nDECJ 22:00:00\nF0 {{f0:.12f}}\nPEPOCH {obs.header.tmid}\nDM {DM}\n"
    par.write_text(text.format(f0=1 / PERIOD))
    seen = read_par(par).topocentric(obs.header)[0]
    par.write_text(text.format(f0=1 / PERIOD / (seen * PERIOD)))
    fold = pulsar.fold(obs, par=par, refine=False)
    assert fold.period == pytest.approx(PERIOD, rel=1e-7)
    assert fold.dm == DM
    assert fold.snr == pytest.approx(pulsar.fold(obs, PERIOD, DM, refine=False).snr, rel=0.02)


def test_no_file_is_written_that_was_not_asked_for(obs, series, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    config = pulsar.load_config(None, ["dedisp.dm_lo=55", "dedisp.dm_hi=65", "ffa.enabled=false", "fold.ncands=2"])
    os.chmod(tmp_path, 0o555)  # noqa: PTH101
    try:
        run = pulsar.search(obs, config)
        pulsar.rfi(obs)
        pulsar.inject(obs, pulsars=[{"period": 0.1}])
        pulsar.simulate(nchans=8, nsamps=300)
        pulsar.plot(pulsar.fold(series, PERIOD))
    finally:
        os.chmod(tmp_path, 0o755)  # noqa: PTH101
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["tmp"]
    assert len(run.candidates) > 0
    assert run.folds[run.ids[0]].snr == pytest.approx(40, rel=0.15)
    assert len(run.folds) == len(run.ids) == len(list(run.folds))
    assert "c9999" not in run.folds
    with pytest.raises(KeyError):
        run.folds["c9999"]
    assert run.pulses.colnames == run.single_pulses.colnames
    saved = run.save(tmp_path / "run.h5")
    assert saved.rows().tobytes() == run.rows().tobytes()
    assert saved.path == tmp_path / "run.h5"
    with pytest.raises(pulsar.ConfigError, match=r"exists already; .*in Python overwrite=True"):
        run.save(tmp_path / "run.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.h5", "tmp"]


def test_a_search_writes_where_it_is_told(series, tmp_path):
    out = tmp_path / "run.h5"
    run = pulsar.search(series, out=out)
    assert run.path == out
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]
    with pytest.raises(pulsar.ConfigError, match="exists already"):
        pulsar.search(series, out=str(out))
    assert len(pulsar.read(out).candidates) == len(run.candidates)


def test_the_mask_of_an_array_is_that_of_its_file(obs):
    block = obs.read()
    fb = pulsar.Filterbank.from_array(block.data.T, obs.header.freqs, obs.header.tsamp)
    np.testing.assert_array_equal(pulsar.rfi(fb).mask.bad, pulsar.rfi(obs).mask.bad)
    np.testing.assert_array_equal(pulsar.dedisperse(fb, DM).data, pulsar.dedisperse(obs, DM).data)


def test_injection_is_the_same_in_memory_and_in_a_file(obs, tmp_path):
    what = {"pulsars": [{"period": 70 * u.ms, "dm": 100 * u.pc / u.cm**3, "snr": 30}], "seed": 4}
    added = pulsar.inject(obs, **what)
    path = pulsar.inject(obs, tmp_path / "b.fil", **what)
    with pulsar.open(path) as written:
        np.testing.assert_array_equal(written.read().data, added.data)
    assert pulsar.fold(added, 0.07, 100).snr == pytest.approx(30, rel=0.2)
    two = pulsar.inject(obs, nbits=2, **what)
    assert two.data.max() == 3


def test_injection_into_a_series(series):
    added = pulsar.inject(series, pulsars=[{"period": 70 * u.ms, "snr": 30, "dm": 400}])
    assert isinstance(added, pulsar.TimeSeries)
    assert (added.dm, added.tsamp, added.tstart) == (series.dm, series.tsamp, series.tstart)
    assert pulsar.fold(added, 0.07).snr == pytest.approx(30, rel=0.2)
    assert pulsar.fold(added, PERIOD).snr == pytest.approx(pulsar.fold(series, PERIOD).snr, rel=0.1)


def test_simulated_observations_are_observations():
    fb = pulsar.simulate(nchans=64, tobs=1.0 * u.s, fch1=1.5 * u.GHz, pulsars=[{"period": 50 * u.ms, "dm": 30}])
    assert isinstance(fb, pulsar.Filterbank)
    assert fb.data.shape == (64, 7629)
    assert fb.header.fch1 == pytest.approx(1500.0)
    sky = Sky(nchans=8, nsamps=50)
    again = pulsar.simulate(None, sky, nsamps=100, seed=4)
    assert again.data.shape == (8, 100)
    np.testing.assert_array_equal(again.data, pulsar.simulate(sky=sky, nsamps=100, seed=4, threads=1).data)


def test_simulated_files(tmp_path):
    (path,) = pulsar.simulate(tmp_path / "a.fil", nchans=8, nsamps=100)
    with pulsar.open(path) as obs:
        assert obs.header.nsamps == 100
    with pytest.raises(pulsar.ConfigError, match="exists"):
        pulsar.simulate(tmp_path / "a.fil", nchans=8, nsamps=100)
