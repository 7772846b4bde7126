"""Halves and quarters searched beside the whole: what is on for a part of the time, what drifts, what is constant."""

from pathlib import Path

import numpy as np
import pytest
from pipeline.test_ranges import Here
from typer.testing import CliRunner

import pulsar
from pulsar.cli.app import app
from pulsar.config.load import load_config
from pulsar.data.header import Part, parts_of_counts
from pulsar.errors import ConfigError
from pulsar.io.product.reader import Run
from pulsar.pipeline.plan import dry_run
from pulsar.pipeline.searches import all_searches, part_rooms, trial_shares
from pulsar.pipeline.stages import SeriesSearch
from pulsar.run import search
from pulsar.searches import stats
from pulsar.synthesis.model import Orbit, Pulsar, Sky
from pulsar.synthesis.write import write_filterbank

NCHANS, NSAMPS, TSAMP = 32, 1 << 16, 1e-3
PERIOD, DM = 0.0937, 40.0
SETTINGS = [
    "dedisp.dm_lo=30", "dedisp.dm_hi=50", "dedisp.dm_step=2.0", "single_pulse.enabled=false",
    "completeness.enabled=false", "fold.ncands=10", "fold.nbins=64", "fold.nbands=8", "ffa.enabled=false",
    "run.threads=1",
]  # fmt: skip


def sky(tsamp: float = TSAMP, seed: int = 5, **pulsar_: object) -> Sky:
    pulsars = (Pulsar(**pulsar_),) if pulsar_ else ()
    return Sky(nchans=NCHANS, fch1=1450.0, foff=-12.0, tsamp=tsamp, nsamps=NSAMPS, seed=seed, pulsars=pulsars)


def spectra(path: Path, first: int, last: int) -> slice:
    """Where spectra lie in a file of 8 bits."""
    start = path.stat().st_size - NSAMPS * NCHANS
    return slice(start + first * NCHANS, start + last * NCHANS)


def searched(path: Path, out: Path, parts: str, *sets: str, **more: object) -> Run:
    return search(path, load_config(None, [*SETTINGS, f"search.parts={parts}", *sets]), out, **more)


def sources(run: Run, period: float = PERIOD, within: float = 2e-3) -> np.ndarray:
    """Rows at a period, or at a simple ratio to it, that stand for themselves."""
    rows = run.rows("candidates")
    rows = rows[(rows["parent"] == "") & (np.abs(rows["dm"] - DM) < 10.0)]
    ratios = [k / d for k in range(1, 9) for d in range(1, 9)]
    near = [min(abs(one / period / ratio - 1.0) for ratio in ratios) < within for one in rows["period"]]
    return rows[np.array(near, dtype=bool)]


@pytest.fixture(scope="module")
def on_for_a_quarter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pulsar of S/N 12 in the third quarter, and the same noise without it elsewhere."""
    folder = tmp_path_factory.mktemp("sky")
    on = write_filterbank(sky(period=PERIOD, dm=DM, snr=24.0), folder / "on.fil", threads=1)
    path = write_filterbank(sky(), folder / "off.fil", threads=1)
    data, there = bytearray(path.read_bytes()), spectra(path, NSAMPS // 2, 3 * NSAMPS // 4)
    data[there] = on.read_bytes()[there]
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def with_parts(on_for_a_quarter: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return searched(on_for_a_quarter, tmp_path_factory.mktemp("run") / "run.h5", "[1,2,4]")


def tables(run: Run) -> list[bytes]:
    return [run.rows(table).tobytes() for table in ("candidates", "detections")]


def test_what_is_on_for_a_quarter_is_found_and_folded_there(on_for_a_quarter, with_parts, tmp_path):
    quarter = tmp_path / "quarter.fil"
    data, there = on_for_a_quarter.read_bytes(), spectra(on_for_a_quarter, NSAMPS // 2, 3 * NSAMPS // 4)
    start = spectra(on_for_a_quarter, 0, 1).start
    quarter.write_bytes(data[:start] + data[there])
    alone = sources(searched(quarter, tmp_path / "alone.h5", "[1]"))[0]
    whole = sources(searched(on_for_a_quarter, tmp_path / "whole.h5", "[1]"))
    rows = sources(with_parts)
    assert len(rows) == 1
    row = rows[0]
    assert row["part"] == "3/4"
    assert (row["part_start"], row["part_duration"]) == (0.5 * NSAMPS * TSAMP, 0.25 * NSAMPS * TSAMP)
    assert 0.95 * alone["snr"] < row["snr"] < 1.1 * alone["snr"]
    assert max(whole["snr"], default=0.0) < 0.75 * row["snr"]
    assert abs(row["period"] - PERIOD) < 5.0 * row["period_err"]
    middle = with_parts.observation.tstart + 0.625 * NSAMPS * TSAMP / 86400.0
    assert row["epoch"] == pytest.approx(middle, abs=1e-9)


def test_the_product_says_which_part(with_parts):
    row = sources(with_parts)[0]
    fold = with_parts.fold(str(row["id"]))
    assert (fold.part, fold.start, fold.tobs) == ("3/4", row["part_start"], row["part_duration"])
    assert fold.epoch == pytest.approx(row["epoch"], abs=1e-9)
    own = with_parts.rows("detections")
    own = own[own["uid"] == row["uid"]]
    assert {"3/4", "2/2"} <= set(own["part"].tolist()) <= {"", "3/4", "2/2"}
    # Of the best one.
    assert row["sigma"] == own["sigma"].max()


def test_lists_and_why_say_which_part(with_parts):
    ran = CliRunner().invoke(app, ["candidates", str(with_parts.path)])
    assert ran.exit_code == 0
    assert "part" in ran.stdout.splitlines()[0].split()
    assert "3/4" in ran.stdout.splitlines()[1]
    ran = CliRunner().invoke(app, ["why", str(with_parts.path), "--period", str(PERIOD), "--dm", str(DM)])
    assert "over part 3/4, 32.768 to 49.152 s" in ran.stdout
    assert "in 3/4, 2/2" in ran.stdout


def test_ranges_of_workers_give_the_same(on_for_a_quarter, with_parts, tmp_path):
    again = searched(on_for_a_quarter, tmp_path / "run.h5", "[1,2,4]", crew=Here())
    assert tables(again) == tables(with_parts)


def test_an_interrupted_run_goes_on_with_as_many_threads_as_one_likes(on_for_a_quarter, with_parts, tmp_path):
    out = tmp_path / "run.h5"
    with pytest.raises(KeyboardInterrupt):
        searched(on_for_a_quarter, out, "[1,2,4]", crew=Here(most=1))
    # Other parts are another search.
    again = searched(on_for_a_quarter, out, "[1,2,4]", "run.threads=3", resume=True)
    assert tables(again) == tables(with_parts)


def test_parts_alone_find_it_too(on_for_a_quarter, tmp_path):
    run = searched(on_for_a_quarter, tmp_path / "run.h5", "[4]", "ffa.enabled=true", "ffa.p_max=4")
    assert set(run.rows("detections")["part"].tolist()) <= {"1/4", "2/4", "3/4", "4/4"}
    assert set(run.rows("detections")["kind"].tolist()) == {"coherent", "ffa", "fft"}
    rows = sources(run)
    assert rows["part"].tolist() == ["3/4"]


def test_a_constant_pulsar_is_one_row_of_the_whole(tmp_path):
    path = write_filterbank(sky(period=PERIOD, dm=DM, snr=30.0), tmp_path / "sky.fil", threads=1)
    before = sources(searched(path, tmp_path / "whole.h5", "[1]"))
    after = sources(searched(path, tmp_path / "parts.h5", "[1,2,4]"))
    assert len(before) == len(after) == 1
    assert after["part"].tolist() == [""]
    for name in ("period", "dm", "snr", "score", "rfi_flags", "epoch"):
        assert after[name][0] == before[name][0]
    assert after["ndetections"][0] > 2 * before["ndetections"][0]


def test_a_tight_binary_is_one_row_of_a_part(tmp_path):
    # 180 m/s2 at most: 68 bins of drift in the whole, 4 in a quarter.
    orbit = Orbit(pb=5760.0, x=0.5, phase=0.1)
    drawn = sky(tsamp=2415.9 / NSAMPS, period=0.3093, dm=DM, snr=60.0, duty=0.1, orbit=orbit)
    path = write_filterbank(drawn, tmp_path / "sky.fil", threads=1)
    whole = sources(searched(path, tmp_path / "whole.h5", "[1]", "coherent.enabled=false"), 0.3093)
    rows = sources(searched(path, tmp_path / "parts.h5", "[1,2,4]", "coherent.enabled=false"), 0.3093)
    assert len(rows) == 1
    assert rows["part"][0] != ""
    assert rows["snr"][0] > 1.5 * max(whole["snr"], default=0.0)


def test_one_series_is_searched_in_parts():
    time = np.arange(NSAMPS) * TSAMP
    data = np.random.default_rng(8).standard_normal(NSAMPS)
    pulse = np.exp(-0.5 * (((time / PERIOD + 0.5) % 1.0 - 0.5) / 0.02) ** 2)
    last = time >= 0.5 * NSAMPS * TSAMP
    data[last] += 0.35 * pulse[last]
    series = pulsar.TimeSeries(data, TSAMP, tstart=60000.0)
    found = pulsar.search(series, load_config(None, [*SETTINGS, "search.parts=[1,2]"])).rows("candidates")
    alone = pulsar.search(series, load_config(None, SETTINGS)).rows("candidates")
    at = found[np.abs(found["period"] / PERIOD - 1.0) < 1e-3]
    assert at["part"].tolist() == ["2/2"]
    assert at["snr"][0] > 1.25 * alone["snr"][np.abs(alone["period"] / PERIOD - 1.0) < 1e-3].max()


def test_drifts_are_searched_in_parts_without_the_whole():
    sets = ["fft.enabled=false", "coherent.enabled=false", "ffa.enabled=false", "accel.zmax=4"]
    data = np.random.default_rng(1).standard_normal(1 << 13) + np.sin(0.457 * np.arange(1 << 13))
    search = SeriesSearch(data.size, 1e-3, load_config(None, [*sets, "search.parts=[2]"]), memory=1 << 28)
    found = search.search(data.astype(np.float32), 0.0).detections
    assert set(found["part"].tolist()) == {"1/2", "2/2"}


def test_false_alarms_are_as_many_as_promised():
    sets = ["coherent.enabled=false", "ffa.enabled=false", "single_pulse.enabled=false", "fft.threshold=-3"]
    counts = {}
    for parts in ("[1]", "[1,2,4]"):
        config = load_config(None, [*sets, f"search.parts={parts}"])
        search = SeriesSearch(1 << 15, 1e-3, config, memory=1 << 28)
        noise = (np.random.default_rng(seed).standard_normal(1 << 15).astype(np.float32) for seed in range(40))
        found = [search.search(series, 0.0).detections for series in noise]
        counts[parts] = np.concatenate(found)
    promised = 40 * stats.expected_from_sigma(-3.0)
    assert counts["[1]"].size == pytest.approx(promised, abs=4.0 * np.sqrt(promised))
    assert counts["[1,2,4]"].size == pytest.approx(promised, abs=4.0 * np.sqrt(promised))
    # A third each, of the whole, of halves and of quarters.
    cuts = [Part.of_label(label).count for label in counts["[1,2,4]"]["part"].tolist()]
    for cut in (1, 2, 4):
        assert cuts.count(cut) == pytest.approx(promised / 3.0, abs=4.0 * np.sqrt(promised / 3.0))


def test_trials_of_all_parts_count():
    config = load_config(None, ["search.parts=[1,2,4]"])
    shares = trial_shares(config, NSAMPS, TSAMP)
    assert shares[1]["fft"] == pytest.approx(3.0, rel=0.02)
    assert shares[2]["fft"] == pytest.approx(6.0, rel=0.02)
    assert shares[4]["fft"] == pytest.approx(12.0, rel=0.02)
    assert trial_shares(load_config(None), NSAMPS, TSAMP) == {1: {}}


def test_which_searches_there_are():
    config = load_config(None, ["search.parts=[1,4]"])
    names = [(one.nparts, one.nsamps, one.make.name) for one in all_searches(config, 1 << 20, 1e-4)]
    whole = [(1, 1 << 20, name) for name in ("fft", "coherent", "ffa", "single_pulse")]
    assert names == [*whole, *((4, 1 << 18, name) for name in ("fft", "coherent", "ffa"))]
    config = load_config(None, ["search.parts=[4]"])
    names = [(one.nparts, one.make.name) for one in all_searches(config, 1 << 20, 1e-4)]
    assert names == [(1, "single_pulse"), (4, "fft"), (4, "coherent"), (4, "ffa")]


def test_memory_is_shared_out():
    assert part_rooms((1,), 700) == {1: 700}
    rooms = part_rooms((1, 2, 4), 7_000_000)
    assert rooms[1] > rooms[2] > rooms[4] > 900_000
    assert sum(rooms.values()) == pytest.approx(7_000_000, abs=3)


def test_parts_of_an_observation():
    assert [part.label for part in parts_of_counts((1, 2, 4))] == ["1/2", "2/2", "1/4", "2/4", "3/4", "4/4"]
    assert Part(3, 4).samples(1003) == (500, 250)
    assert Part.of_label("3/4") == Part(3, 4)
    for nonsense in ("", "5/4", "x", "1/0", "0/3", "1/2/3"):
        assert Part.of_label(nonsense) == Part(1, 1)
    header = sky().header
    part = Part(3, 4).header(header)
    assert (part.nsamps, part.tobs) == (NSAMPS // 4, 0.25 * header.tobs)
    assert (part.tstart - header.tstart) * 86400.0 == pytest.approx(0.5 * header.tobs, abs=1e-5)


@pytest.mark.parametrize("parts", ["1,,2", "two", "0", "1,1", "1,65", ""])
def test_wrong_parts_are_refused(on_for_a_quarter, parts):
    ran = CliRunner().invoke(app, ["plan", str(on_for_a_quarter), "--parts", parts])
    assert ran.exit_code == 2
    assert "parts" in ran.stderr
    assert "1,2,4" in ran.stderr


def test_parts_that_are_too_short_are_refused(on_for_a_quarter):
    with pulsar.open(on_for_a_quarter) as obs:
        # Of the highest DMs, whose series are downsampled.
        with pytest.raises(ConfigError, match=r"search.parts = 64.*give fewer parts"):
            dry_run(obs, load_config(None, ["search.parts=[1,64]", "dedisp.dm_hi=3000"]))
        with pytest.raises(ConfigError, match=r"nothing would be searched in parts of 16.38 s \(search.parts = 4\)"):
            dry_run(obs, load_config(None, ["search.parts=[1,4]", "fft.p_min=2"]))
        off = [f"{name}.enabled=false" for name in ("fft", "coherent", "ffa")]
        pulses_alone = load_config(None, ["search.parts=[1,2]", *off])
        with pytest.raises(ConfigError, match="no search is switched on"):
            dry_run(obs, pulses_alone)


def test_the_plan_tells_what_parts_cost(on_for_a_quarter):
    ran = CliRunner().invoke(app, ["plan", str(on_for_a_quarter), "--parts", "4,1,2", "--dm", "0", "80"])
    assert ran.exit_code == 0
    assert "periods are searched in 2 parts of 32.77 s and 4 parts of 16.38 s, too:" in ran.stdout
    with pulsar.open(on_for_a_quarter) as obs:
        one, three = (dry_run(obs, load_config(None, [f"search.parts={p}"])) for p in ("[1]", "[1,2,4]"))
    assert one.parts == ""
    assert three.trials["fft"] == pytest.approx(3.0 * one.trials["fft"], rel=0.02)
    assert three.trials["single_pulse"] == one.trials["single_pulse"]
    assert 2.0 < three.seconds["fft"] / one.seconds["fft"] < 4.0
    assert three.search_memory > one.search_memory


def test_signals_are_injected_into_parts_too(on_for_a_quarter, with_parts, tmp_path):
    more = ["completeness.enabled=true", "completeness.places=1", "completeness.snr=[25,30]", "run.threads=2"]
    run = searched(on_for_a_quarter, tmp_path / "run.h5", "[1,2,4]", *more)
    assert tables(run) == tables(with_parts)
    injected = run.rows("completeness/injected")
    assert injected.size > 0
    assert np.mean(injected["found"]) > 0.5


def test_series_of_several_dms_are_searched_in_parts(on_for_a_quarter, with_parts, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for dm in (32, 40, 48):
        ran = CliRunner().invoke(
            app, ["dedisperse", str(on_for_a_quarter), "--dm", str(dm), "--out", str(folder / f"x_DM{dm}.00.dat")]
        )
        assert ran.exit_code == 0
    out = tmp_path / "set.h5"
    files = [str(path) for path in sorted(folder.glob("*.dat"))]
    sets = [text for one in SETTINGS if not one.startswith("dedisp") for text in ("--set", one)]
    ran = CliRunner().invoke(app, ["search", *files, *sets, "--parts", "1,2,4", "--out", str(out), "--quiet"])
    assert ran.exit_code == 0
    rows = sources(pulsar.read(out))
    assert rows["part"].tolist() == ["3/4"]
    assert rows["snr"][0] > 0.8 * sources(with_parts)["snr"][0]
