"""Every kind of pulsar through the whole program: binaries, slow and nulling pulsars, bursts."""

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.errors import ConfigError, DataError
from pulsar.pipeline import detect as pipeline
from pulsar.pipeline.plan import dry_run
from pulsar.run import search
from pulsar.synthesis.model import Burst, Pulsar, Sky
from pulsar.synthesis.signal import observed_spin
from pulsar.synthesis.write import Synthesiser, write_filterbank

BAND = {"nchans": 32, "fch1": 1490.0, "foff": -12.0}
QUICK = ["run.threads=2", "fold.ncands=12", "fold.nbins=64", "fold.nbands=16"]


def made(tmp_path_factory, name, **sky):
    observed = Sky(**(BAND | sky))
    return observed, write_filterbank(observed, tmp_path_factory.mktemp(name) / f"{name}.fil", threads=2)


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    pulsar = Pulsar(name="binary", period=0.0231, dm=12, snr=22, duty=0.12, accel=-3.1e5)
    return made(tmp_path_factory, "binary", tsamp=512e-6, nsamps=1 << 16, seed=3, pulsars=(pulsar,))


@pytest.fixture(scope="module")
def nulling(tmp_path_factory):
    pulsar = Pulsar(name="slow", period=3.0123, dm=60, snr=85, duty=0.015, nulling=0.7)
    burst = Burst(name="frb", time=61.7, dm=91, snr=30, width=6e-3)
    return made(tmp_path_factory, "nulling", tsamp=4e-3, nsamps=1 << 16, seed=5, pulsars=(pulsar,), bursts=(burst,))


@pytest.fixture(scope="module")
def of_nulling(nulling, tmp_path_factory):
    config = load_config(None, [*QUICK, "dedisp.dm_lo=50", "dedisp.dm_hi=100", "ffa.p_min=1.5", "ffa.p_max=4"])
    return search(nulling[1], config, tmp_path_factory.mktemp("p") / "run.h5")


def test_an_accelerated_pulsar_is_found_with_acceleration_only(binary, tmp_path):
    sky, path = binary
    freq, fdot = observed_spin(Synthesiser(sky).header, sky.pulsars[0])
    tobs = sky.tsamp * sky.nsamps
    assert 45 < fdot * tobs**2 < 60

    def found(*sets):
        off = [f"{name}.enabled=false" for name in ("coherent", "ffa", "single_pulse")]
        config = load_config(None, [*QUICK, "dedisp.dm_lo=5", "dedisp.dm_hi=20", *off, *sets])
        rows = search(path, config, tmp_path / f"{len(sets)}{sets[:1]}.h5").rows("candidates")
        close = (np.abs(rows["freq"] - freq) * tobs < 1.5) & (np.abs(rows["fdot"] - fdot) * tobs**2 < 3.0)
        return rows, np.flatnonzero(close)

    rows, at = found("accel.zmax=600")
    assert at.tolist() == [0]
    assert rows[0]["found_by"].split(",")[0] == "accel"
    assert rows[0]["snr"] == pytest.approx(22, rel=0.2)
    assert rows[0]["accel"] == pytest.approx(-3.1e5, abs=5 * rows[0]["accel_err"])
    # What it leaves in the frequencies that it drifts through is not another candidate.
    free = rows[(rows["harmonic_of"] == "") & (rows["rank"] > 1)]
    assert not np.any((np.abs(free["freq"] - freq) < 0.5 * abs(fdot) * tobs) & (free["score"] > 0.5))
    rows, at = found("accel.accel_max=4e5")
    assert at.tolist() == [0]
    _, at = found()
    assert at.size == 0


def test_a_slow_nulling_pulsar_is_reported_once(nulling, of_nulling):
    rows = of_nulling.rows("candidates")
    best = rows[0]
    assert best["period"] == pytest.approx(3.0123, rel=1e-3)
    assert set(best["found_by"].split(",")) >= {"ffa", "pulses"}
    pulses = of_nulling.rows("single_pulses")
    mine = pulses[pulses["source"] == best["id"]]
    assert best["npulses"] == len(mine) > 10
    late = (mine["time"] - mine["time"][0]) / 3.0123
    assert np.abs(late - np.round(late)).max() < 0.05
    # Nothing else stands free at this DM with a good score.
    free = rows[(rows["harmonic_of"] == "") & (rows["rank"] > 1) & (np.abs(rows["dm"] - 60) < 5)]
    assert not np.any(free["score"] > 0.5)


def test_a_burst_is_one_pulse_with_its_surroundings(nulling, of_nulling):
    pulses = of_nulling.rows("single_pulses")
    near = pulses[np.abs(pulses["time"] - 61.7) < 0.1]
    (burst,) = near[near["dm"] > 75]
    assert burst["source"] == ""
    assert burst["dm"] == pytest.approx(91, abs=3 * burst["dm_err"] + 1)
    assert burst["snr"] == pytest.approx(30, rel=0.25)
    assert burst["sigma"] < burst["snr"]
    cutout = of_nulling.pulse(str(burst["id"]))
    assert cutout.spectrum.shape[1] == cutout.plane.shape[1] == len(cutout.times)
    column = int(np.argmax(cutout.profile))
    assert abs(cutout.times[column] - 61.7) < 0.02
    assert np.argmax(cutout.plane[:, column]) == pytest.approx(len(cutout.dms) // 2, abs=6)
    assert of_nulling.pulse_ids[0] == "p0001"
    with pytest.raises(ConfigError, match="no pulse 'p9999'"):
        of_nulling.pulse("p9999")


def test_the_report_shows_pulses(of_nulling, tmp_path):
    from pulsar.report.page import write_report

    page = write_report([of_nulling], tmp_path / "report", top=2).read_text()
    assert 'id="pulses"' in page
    assert "ffa" in page
    assert (tmp_path / "report" / "sheets" / "p0001.png").exists()


def test_searches_can_be_switched_off(nulling, tmp_path):
    off = ["ffa.enabled=false", "single_pulse.enabled=false", "dedisp.dm_hi=10", "coherent.enabled=false"]
    run = search(nulling[1], load_config(None, [*QUICK, *off]), tmp_path / "fft.h5")
    assert set(run.rows("detections")["kind"]) <= {"fft"}
    assert len(run.rows("single_pulses")) == 0
    only = ["fft.enabled=false", "coherent.enabled=false", "ffa.p_min=1.5", "ffa.p_max=4", off[1]]
    only += ["dedisp.dm_lo=58", "dedisp.dm_hi=62"]
    run = search(nulling[1], load_config(None, [*QUICK, *only]), tmp_path / "f.h5")
    assert set(run.rows("detections")["kind"]) == {"ffa"}
    assert run.rows("candidates")[0]["period"] == pytest.approx(3.0123, rel=1e-3)
    with pytest.raises(ConfigError, match="no search is switched on"):
        search(nulling[1], load_config(None, ["fft.enabled=false", *off]), tmp_path / "none.h5")


def test_the_coherent_search_takes_part_where_it_is_switched_on(nulling, tmp_path):
    sets = ["ffa.enabled=false", "single_pulse.enabled=false", "dedisp.dm_lo=58", "dedisp.dm_hi=62"]
    alone = search(nulling[1], load_config(None, [*QUICK, *sets, "fft.enabled=false"]), tmp_path / "alone.h5")
    assert set(alone.rows("detections")["kind"]) == {"coherent"}
    best = alone.rows("candidates")[0]
    assert (best["kind"], best["found_by"]) == ("coherent", "coherent")
    assert best["period"] == pytest.approx(3.0123, rel=1e-3)
    both = search(nulling[1], load_config(None, [*QUICK, *sets]), tmp_path / "both.h5")
    assert set(both.rows("detections")["kind"]) == {"coherent", "fft"}
    best = both.rows("candidates")[0]
    assert set(best["found_by"].split(",")) == {"coherent", "fft"}
    assert best["period"] == pytest.approx(3.0123, rel=1e-3)


def test_the_plan_counts_every_search(binary):
    from pulsar.io.open import open_observation

    obs = open_observation(binary[1])
    off = ("coherent", "ffa", "single_pulse")
    try:
        plan = dry_run(obs, load_config(None, ["accel.zmax=50", "dedisp.dm_hi=25"]))
        none = dry_run(obs, load_config(None, ["dedisp.dm_hi=25", *(f"{name}.enabled=false" for name in off)]))
    finally:
        obs.close()
    assert list(plan.trials) == ["fft", "coherent", "accel", "ffa", "single_pulse"]
    assert all(count > 0 for count in plan.trials.values())
    assert all(plan.seconds[name] > 0 for name in plan.trials)
    assert plan.accel_memory > 0
    assert list(none.trials) == ["fft"]
    assert none.accel_memory == 0
    assert none.search_memory < plan.search_memory


def test_gaps_reach_the_folding_search(tmp_path):
    pulsar = Pulsar(name="slow", period=1.7, dm=20, snr=60, duty=0.03)
    paths = []
    for k, start in enumerate((0.0, 40.0)):
        # The second file begins 24 s after the first has ended, and holds less than a third of the time.
        part = Sky(**BAND, tsamp=2e-3, nsamps=8000 if k == 0 else 6000, seed=k, tstart=60000.0 + start / 86400)
        part = part.model_copy(update={"pulsars": (pulsar,)})
        paths.append(write_filterbank(part, tmp_path / f"{k}.fil", threads=1))
    seen = []
    real = pipeline.BatchSearch.prepared

    def spy(self, stage, times=0):
        found = real(self, stage, times)
        (folding,) = (s for s in found.searches if s.name == "ffa")
        seen.append(folding._gaps)
        return found

    only = [f"{name}.enabled=false" for name in ("fft", "coherent", "single_pulse")]
    config = load_config(None, [*QUICK, *only, "dedisp.dm_lo=10", "dedisp.dm_hi=30", "ffa.p_min=1.5", "ffa.p_max=2"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.BatchSearch, "prepared", spy)
        run = search(paths, config, tmp_path / "run.h5")
    assert [g.tolist() for g in seen[:1]] == [[[8000, 20000]]]
    assert not run.rfi["chan_mask"].any()


def test_lists_are_read_before_the_search(nulling, tmp_path):
    for key, text in (("known.catalogue", "nothing"), ("rfi.zaplist", "50 x")):
        path = tmp_path / "list"
        path.write_text(text)
        with pytest.raises(DataError, match="list"):
            search(nulling[1], load_config(None, [f"{key}={path}"]), tmp_path / "no.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["list"]


def test_settings_that_would_do_nothing_are_refused(nulling, tmp_path):
    for sets, match in (
        (["accel.wmax=10"], "wmax"),
        (["rfi.birdies=[[4, -1]]"], "birdie"),
        (["fft.p_min=100"], "fft.p_min"),
    ):
        with pytest.raises(ConfigError, match=match):
            search(nulling[1], load_config(None, sets), tmp_path / "no.h5")


def test_a_pulsar_beyond_the_trial_dms_is_folded_at_its_own(tmp_path):
    """It is seen at the last of them, where its pulses are spread over more than a turn."""
    pulsar = Pulsar(name="far", period=0.0493, dm=105, snr=60, duty=0.2)
    sky = Sky(**BAND, tsamp=512e-6, nsamps=1 << 15, seed=11, pulsars=(pulsar,))
    path = write_filterbank(sky, tmp_path / "far.fil", threads=2)
    turns = 4148.808 * 45.0 * (1118.0**-2 - 1490.0**-2) / 0.0493
    assert turns > 1.0
    sets = ["dedisp.dm_lo=50", "dedisp.dm_hi=60", "ffa.enabled=false", "single_pulse.enabled=false"]
    rows = search(path, load_config(None, [*QUICK, *sets]), tmp_path / "run.h5").rows("candidates")
    assert rows[0]["dm"] == pytest.approx(105.0, abs=5 * rows[0]["dm_err"])
    assert rows[0]["snr"] > 50.0
    assert rows[0]["rfi_flags"] == ""
