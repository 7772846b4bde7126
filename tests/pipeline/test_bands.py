"""Single pulses in halves and quarters of the band beside the whole: bursts that fill a part of it, and all others."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pipeline.test_ranges import Here
from reference.products import make_header
from typer.testing import CliRunner

import pulsar
from pulsar.cli.app import app
from pulsar.config.load import load_config
from pulsar.constants import KDM
from pulsar.data.candidate import SINGLE_PULSE_COLUMNS, empty_table
from pulsar.data.source import BandSource
from pulsar.dedisp.plan import make_plan
from pulsar.errors import ConfigError
from pulsar.io.product.reader import Run
from pulsar.pipeline.plan import dry_run
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.pulses import BandEvents, find_pulses
from pulsar.pipeline.stages import pulse_threshold, pulse_trials
from pulsar.run import search
from pulsar.searches import stats
from pulsar.searches.pulses import Pulses, joined_bands
from pulsar.synthesis.model import Burst, Rfi, Sky
from pulsar.synthesis.write import write_filterbank

NCHANS, NSAMPS, TSAMP = 64, 1 << 15, 512e-6
TIME, DM, WIDTH = 7.0, 220.0, 4e-3
#: Quarters of 1000 to 1500 MHz.
QUARTERS = [(1000.0, 1125.0), (1125.0, 1250.0), (1250.0, 1375.0), (1375.0, 1500.0)]
SETTINGS = [
    *(f"{name}.enabled=false" for name in ("fft", "coherent", "ffa", "completeness")),
    "dedisp.dm_lo=100", "dedisp.dm_hi=400", "run.threads=1",
]  # fmt: skip


def sky_file(path: Path, seed: int = 3, bursts: tuple[Burst, ...] = (), rfi: tuple[Rfi, ...] = ()) -> Path:
    foff = -500.0 / NCHANS
    sky = Sky(
        nchans=NCHANS, fch1=1500.0 + 0.5 * foff, foff=foff, tsamp=TSAMP, nsamps=NSAMPS, seed=seed, bursts=bursts,
        rfi=rfi,
    )  # fmt: skip
    return write_filterbank(sky, path, threads=1)


def burst(snr: float, quarter: int | None = None, time: float = TIME) -> Burst:
    spectrum = None if quarter is None else (float(np.mean(QUARTERS[quarter])), 75.0)
    return Burst(time=time, dm=DM, snr=snr, width=WIDTH, spectrum=spectrum)


def searched(path: Path, out: Path, bands: str = "[1,2,4]", *sets: str, **more: object) -> Run:
    return search(path, load_config(None, [*SETTINGS, f"single_pulse.bands={bands}", *sets]), out, **more)


@pytest.fixture(scope="module")
def in_a_quarter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A burst of S/N 11 in the second quarter from below, of which the whole band has 6."""
    return sky_file(tmp_path_factory.mktemp("sky") / "sky.fil", bursts=(burst(11.0, 1),))


@pytest.fixture(scope="module")
def with_bands(in_a_quarter: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return searched(in_a_quarter, tmp_path_factory.mktemp("run") / "run.h5")


def test_a_burst_in_a_quarter_of_the_band_is_found_there(in_a_quarter, with_bands, tmp_path):
    assert len(searched(in_a_quarter, tmp_path / "whole.h5", "[1]").rows("single_pulses")) == 0
    (row,) = with_bands.rows("single_pulses")
    assert (row["freq_lo"], row["freq_hi"]) == QUARTERS[1]
    assert 8.0 < row["snr"] < 12.0
    assert abs(row["dm"] - DM) < 4.0 * row["dm_err"]
    assert row["rfi_flags"] == ""
    assert row["score"] > 0.5
    # Off in DM is off in time, by the mean delay of the band that shows it.
    late = KDM * (np.mean(np.array(QUARTERS[1])) ** -2.0 - 1500.0**-2.0)
    assert row["time"] + (row["dm"] - DM) * late == pytest.approx(TIME, abs=WIDTH)
    # What is cut out are the channels of that band.
    cutout = with_bands.pulse(str(row["id"]))
    assert QUARTERS[1][0] < cutout.freqs.min() < cutout.freqs.max() < QUARTERS[1][1]
    columns = round(cutout.width / cutout.tsamp)
    pulse = cutout.plane[len(cutout.dms) // 2, 128 - columns // 2 : 128 + columns // 2]
    assert pulse.sum() / np.sqrt(columns) == pytest.approx(row["snr"], rel=0.15)


@pytest.mark.parametrize("quarter", [0, 2, 3])
def test_times_and_dms_are_the_same_whichever_band_shows_it(tmp_path, quarter):
    path = sky_file(tmp_path / "sky.fil", seed=8, bursts=(burst(40.0, quarter),))
    (row,) = searched(path, tmp_path / "run.h5").rows("single_pulses")
    assert (row["freq_lo"], row["freq_hi"]) == QUARTERS[quarter]
    assert abs(row["dm"] - DM) < 4.0 * row["dm_err"]
    late = KDM * (np.mean(np.array(QUARTERS[quarter])) ** -2.0 - 1500.0**-2.0)
    assert row["time"] + (row["dm"] - DM) * late == pytest.approx(TIME, abs=0.5 * WIDTH)


def test_pulses_of_the_whole_band_are_one_row_as_before(tmp_path):
    path = sky_file(tmp_path / "sky.fil", bursts=(burst(25.0), burst(14.0, time=11.0)))
    before = searched(path, tmp_path / "whole.h5", "[1]").rows("single_pulses")
    after = searched(path, tmp_path / "bands.h5").rows("single_pulses")
    assert len(before) == len(after) == 2
    for name in ("time", "dm", "snr", "width", "rfi_flags"):
        assert after[name].tolist() == before[name].tolist()
    # A higher threshold: fewer DMs at which a pulse must be seen, and of which the fall of its S/N is told.
    assert after["score"] == pytest.approx(before["score"], abs=0.1)
    assert after["dm_err"] == pytest.approx(before["dm_err"], rel=0.1)
    assert np.isnan(after["freq_lo"]).all()
    assert np.isnan(after["freq_hi"]).all()
    assert (after["sigma"] < before["sigma"]).all()
    assert (after["ndetections"] > before["ndetections"]).all()


def test_interference_in_a_quarter_is_at_dm_0_there(tmp_path):
    impulse = Rfi(kind="impulse", freqs=QUARTERS[0], strength=4.0, rate=0.1, width=4e-3)
    path = sky_file(tmp_path / "sky.fil", rfi=(impulse,))
    rows = searched(path, tmp_path / "run.h5", "[1,2,4]", "dedisp.dm_lo=0", "rfi.enabled=false", "rfi.clip=0").rows(
        "single_pulses"
    )
    best = rows[np.argmax(rows["snr"])]
    assert (best["freq_lo"], best["freq_hi"]) == QUARTERS[0]
    assert "dm0" in best["rfi_flags"].split(",")
    assert (rows["score"] < 0.1).all()


def test_workers_and_interrupted_runs_give_the_same(in_a_quarter, with_bands, tmp_path):
    out = tmp_path / "run.h5"
    with pytest.raises(KeyboardInterrupt):
        # In the middle of the bands.
        searched(in_a_quarter, out, crew=Here(most=4))
    again = searched(in_a_quarter, out, "[1,2,4]", "run.threads=2", resume=True)
    assert again.rows("single_pulses").tobytes() == with_bands.rows("single_pulses").tobytes()
    crew = Here()
    shared = searched(in_a_quarter, tmp_path / "shared.h5", crew=crew)
    assert shared.rows("single_pulses").tobytes() == with_bands.rows("single_pulses").tobytes()
    assert len({task.shared.band for task in crew.tasks}) == 7


def test_lists_and_why_say_which_band(with_bands):
    ran = CliRunner().invoke(app, ["candidates", str(with_bands.path), "--single-pulses"])
    assert ran.exit_code == 0
    assert "1125-1250" in ran.stdout
    ran = CliRunner().invoke(app, ["why", str(with_bands.path), "--time", str(TIME)])
    assert "best from 1125 to 1250 MHz" in ran.stdout


def test_the_plan_tells_what_bands_cost(in_a_quarter):
    ran = CliRunner().invoke(app, ["plan", str(in_a_quarter), "--bands", "4,2", "--dm", "0", "300"])
    assert ran.exit_code == 0
    assert "single pulses are searched in 2 bands of 250 MHz and 4 bands of 125 MHz, too, from S/N 7.1" in ran.stdout
    with pulsar.open(in_a_quarter) as obs:
        whole, bands = (dry_run(obs, load_config(None, [f"single_pulse.bands={b}"])) for b in ("[1]", "[1,2,4]"))
    assert (len(whole.bands), len(bands.bands)) == (0, 6)
    assert 2.0 < bands.trials["single_pulse"] / whole.trials["single_pulse"] < 4.5
    assert bands.seconds["dedispersion"] > 1.5 * whole.seconds["dedispersion"]
    assert bands.seconds["single_pulse"] > 1.5 * whole.seconds["single_pulse"]


def test_the_threshold_promises_what_it_did_without_bands(in_a_quarter):
    config = load_config(None, ["single_pulse.snr=6"])
    with pulsar.open(in_a_quarter) as obs:
        header = obs.header
    plans = [
        make_plan(header, config.dedisp, header.freqs[rows]) for rows in (slice(None), slice(0, 32), slice(32, 64))
    ]
    threshold = pulse_threshold(plans, config)
    # About twice the trials.
    assert stats.logp_from_sigma(6.0) - stats.logp_from_sigma(threshold) == pytest.approx(np.log(2.0), abs=0.25)
    assert pulse_threshold(plans[:1], config) == pytest.approx(6.0, abs=1e-4)


def test_noise_has_as_many_false_alarms_as_promised(tmp_path):
    sets = ["single_pulse.snr=4.9", "dedisp.dm_hi=200", "single_pulse.cutouts=0"]
    found = 0
    for seed in range(6):
        path = sky_file(tmp_path / f"noise{seed}.fil", seed=100 + seed)
        found += len(searched(path, tmp_path / "run.h5", "[1,2,4]", *sets, overwrite=True).rows("single_pulses"))
    with pulsar.open(path) as obs:
        config = load_config(None, [*SETTINGS, *sets])
        plan = make_plan(obs.header, config.dedisp)
    chance = float(np.exp(stats.logp_from_sigma(4.9)))
    # Of neighbouring trials some show the same noise.
    promised = 6 * sum(stage.ndms * pulse_trials(stage.nsamps, stage.tsamp, config) for stage in plan.stages) * chance
    assert 0.3 * promised < found < promised + 3.0 * np.sqrt(promised)


def table(*rows: tuple[float, float, float, float, float]) -> np.ndarray:
    """Pulses: time, DM, its error, width, S/N."""
    made = empty_table(SINGLE_PULSE_COLUMNS, len(rows))
    for at, values in enumerate(rows):
        for name, value in zip(("time", "dm", "dm_err", "width", "snr"), values, strict=True):
            made[name][at] = value
    made["ndetections"] = 1
    return made


def of_band(
    low: float, high: float, *rows: tuple[float, float, float, float, float], dispersed: bool = False
) -> Pulses:
    freqs = np.linspace(low, high, 100)
    delays = KDM * (freqs**-2.0 - 1500.0**-2.0)
    made = table(*rows)
    if high - low < 500.0:
        made["freq_lo"], made["freq_hi"] = low, high
    return Pulses(
        made, np.zeros(0, np.int64), dispersed=np.full(len(rows), dispersed), mean=delays.mean(), across=np.ptp(delays)
    )


def test_rows_of_bands_are_one_pulse_if_they_arrive_together():
    whole = of_band(1000.0, 1500.0, (7.0, 220.0, 0.3, 4e-3, 9.0), (7.1, 220.0, 0.3, 4e-3, 8.0), dispersed=True)
    low = of_band(1000.0, 1125.0)
    # In the lowest quarter the DM is off by two errors of 1.5, and the time at the highest frequency by its width.
    early = 7.0 - 3.0 * low.mean
    assert 7.0 - early > 4e-3
    low = of_band(1000.0, 1125.0, (early, 223.0, 1.5, 4e-3, 12.0))
    joined, dispersed = joined_bands([whole, low], 7.0)
    assert joined["snr"].tolist() == [12.0, 8.0]
    assert joined["ndetections"].tolist() == [2, 1]
    assert dispersed.tolist() == [True, True]
    # What arrives at another time at these frequencies is another pulse.
    for apart in ((7.02, 220.0, 1.5, 4e-3, 12.0), (7.0 - 20.0 * whole.mean, 240.0, 1.5, 4e-3, 12.0)):
        assert len(joined_bands([whole, of_band(1000.0, 1125.0, apart)], 7.0)[0]) == 3
    # So is one that is stronger than what is left of the other at its DM.
    far = (7.0 - 60.0 * low.mean, 280.0, 1.5, 4e-3, 12.0)
    strong = of_band(1000.0, 1500.0, (7.0, 220.0, 0.3, 4e-3, 11.0))
    assert len(joined_bands([strong, of_band(1000.0, 1125.0, far)], 7.0)[0]) == 2
    # Two of one band stay two.
    assert len(joined_bands([whole, of_band(1000.0, 1125.0)], 7.0)[0]) == 2


def test_pieces_of_a_pulse_of_a_quarter_are_not_pulses_of_the_whole():
    # The sum of all channels shows it at any DM, wherever noise is highest, and in times of that quarter.
    narrow = of_band(1250.0, 1375.0, (7.0, 220.0, 5.0, 4e-3, 12.0))
    pieces = [(7.0 - offset * narrow.mean, 220.0 + offset, 1.0, 5e-3, 7.5) for offset in (-30.0, -8.0, 11.0, 24.0)]
    joined, _ = joined_bands([of_band(1000.0, 1500.0, *pieces), narrow], 7.0)
    assert joined["snr"].tolist() == [12.0]
    assert joined["ndetections"].tolist() == [5]


def test_a_burst_that_two_bands_show_is_one_turn_of_those_that_repeat(monkeypatch):
    # In the lowest quarter DMs are off by up to 100, and times at the highest frequency by up to 0.2 s: no one row.
    low, rng = (1000.0, 1125.0), np.random.default_rng(2)
    late = of_band(*low).mean
    turns = np.array([0, 1, 3, 4, 8, 9, 13, 15])
    off = rng.uniform(40.0, 100.0, turns.size) * rng.choice([-1.0, 1.0], turns.size)
    whole = of_band(1000.0, 1500.0, *((1.0 + 0.731 * k, 220.0, 0.3, 4e-3, 12.0) for k in turns))
    again = ((1.0 + 0.731 * k - d * late, 220.0 + d, 40.0, 4e-3, 11.0) for k, d in zip(turns, off, strict=True))
    found = [whole, of_band(*low, *again)]
    assert len(joined_bands(found, 7.0)[0]) == 16
    events = [
        BandEvents(np.zeros(0), np.arange(100.0, 400.0), np.full(300, TSAMP), np.zeros(0), 1e6, band)
        for band in (None, low)
    ]
    monkeypatch.setattr("pulsar.pipeline.pulses._clustered", lambda *_: found.pop(0))
    samples = SimpleNamespace(header=make_header())
    table, repeating = find_pulses(events, samples, load_config(None), Progress("quiet"))
    assert len(table) == 16
    (row,) = repeating
    assert row["freq"] == pytest.approx(1.0 / 0.731, rel=1e-4)
    # S/N of a fold of all turns, of each burst once.
    assert row["snr"] == pytest.approx(8 * 12.0 / np.sqrt(make_header().tobs * row["freq"]), rel=1e-3)


def test_channels_of_a_band_are_those_of_the_whole():
    class Whole:
        freqs, fref, chan_width, nsamps, tsamp, tstart = np.array([1450.0, 1350.0, 1250.0]), 1500.0, 100.0, 9, 1.0, 0.0

        def read_into(self, start, out):
            out[:] = 10 * np.arange(3)[:, None] + start + np.arange(out.shape[1])

    band = BandSource(Whole(), 1200.0, 1400.0)
    out = np.zeros((2, 4), np.int8)
    band.read_into(3, out)
    assert band.freqs.tolist() == [1350.0, 1250.0]
    assert (band.fref, band.nsamps) == (1500.0, 9)
    assert out.tolist() == [[13, 14, 15, 16], [23, 24, 25, 26]]


@pytest.mark.parametrize("bands", ["2;4", "0", "2,2", "65", ""])
def test_wrong_bands_are_refused(in_a_quarter, bands):
    ran = CliRunner().invoke(app, ["plan", str(in_a_quarter), "--bands", bands])
    assert ran.exit_code == 2
    assert "bands" in ran.stderr
    assert "1,2,4" in ran.stderr


def test_bands_without_channels_are_refused(in_a_quarter):
    with pulsar.open(in_a_quarter) as obs, pytest.raises(ConfigError, match=r"bands of 4 channels.*give fewer bands"):
        dry_run(obs, load_config(None, ["single_pulse.bands=[16]"]))
    series = pulsar.TimeSeries(np.random.default_rng(1).standard_normal(4096), 1e-3, tstart=60000.0)
    with pytest.raises(ConfigError, match=r"single_pulse\.bands"):
        pulsar.search(series, load_config(None, [*SETTINGS, "single_pulse.bands=[1,2]"]))


def test_signals_are_injected_beside_bands(in_a_quarter, with_bands, tmp_path):
    more = ["completeness.enabled=true", "completeness.places=1", "completeness.snr=[25,30]"]
    run = searched(in_a_quarter, tmp_path / "run.h5", "[1,2,4]", *more)
    assert run.rows("single_pulses").tobytes() == with_bands.rows("single_pulses").tobytes()
    whole = searched(in_a_quarter, tmp_path / "whole.h5", "[1]", *more)
    found, without = (each.rows("completeness/injected")["found"].tolist() for each in (run, whole))
    assert found == without
    assert any(found)


def test_bands_are_searched_beside_accelerations(in_a_quarter, with_bands, tmp_path):
    rows = searched(in_a_quarter, tmp_path / "run.h5", "[1,2,4]", "accel.zmax=20").rows("single_pulses")
    expected = with_bands.rows("single_pulses")
    for name in ("time", "dm", "snr", "freq_lo", "freq_hi"):
        np.testing.assert_array_equal(rows[name], expected[name])
