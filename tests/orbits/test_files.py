"""From files to orbits: planned, found, written whole, gone on with after an interruption, handed over."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pulsar.cli.app import app
from pulsar.config.load import load_config
from pulsar.constants import DAY, KDM
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target
from pulsar.io.series import write_series
from pulsar.orbits import run as pipeline
from pulsar.orbits.run import check_size, plan_only, plan_orbits, search_orbits
from pulsar.orbits.search import CircularOrbit, OrbitSearch
from pulsar.sky.barycentre import arrival_times
from pulsar.sky.timing import read_par
from pulsar.synthesis.model import Orbit as SkyOrbit
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_filterbank

N, TSAMP, FREQ, DM = 200_000, 1e-3, 142.0, 24.0
PORB, SIZE, TURNS = 205.0, 0.009, 0.2
RA, DEC, START = 322.49, 12.17, 59000.3
OPTIONS = ("--porb", 190, 220, "--companion", 0, 0.1, "--threads", 2)


def config(*sets: str) -> Any:
    some = ["p_min=190", "p_max=220", "heaviest=0.1", "f_min=85", "f_max=170", "nharm=1"]
    return load_config("default", ["rfi.learn=false", "run.threads=2", *(f"orbits.{one}" for one in some), *sets])


def orbit(ahead: float = 0.0) -> CircularOrbit:
    """Whose node is `TURNS` before the middle, or some seconds earlier."""
    angle = 2 * np.pi * (TURNS + ahead / PORB)
    return CircularOrbit(FREQ, 2 * np.pi / PORB, SIZE * np.sin(angle), SIZE * np.cos(angle), 1, 0.0)


def series_file(folder: Path, snr: float = 22.0, dm: float = DM, **more: Any) -> Path:
    """A series of a pulsar on an orbit; times at the barycentre count from when the middle of the data is there."""
    nodes = np.linspace(0.0, N * TSAMP, 65)
    _, arrived = arrival_times(START, nodes, RA, DEC, "FAST")
    at = np.interp((np.arange(N) + 0.5) * TSAMP, nodes, arrived - arrived[32])
    data = np.random.default_rng(1).standard_normal(N)
    data += snr * np.sqrt(2.0 / N) * np.sin(2 * np.pi * FREQ * orbit().emitted(at))
    header: dict[str, Any] = {
        "nchans": 1, "nsamps": N, "tsamp": TSAMP, "fch1": 1250.0, "foff": -400.0, "tstart": START, "is_series": True,
        "dm": dm, "source": "M15", "telescope": "FAST", "ra_deg": RA, "dec_deg": DEC,
    } | more  # fmt: skip
    path = folder / f"a_DM{dm:.2f}.dat"
    write_series(path, data.astype(np.float32), Header(**header), header["dm"])
    return path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product of the search of a series."""
    folder = tmp_path_factory.mktemp("orbits")
    search_orbits([series_file(folder)], Target(folder / "O.h5"), config=config())
    return folder / "O.h5"


def test_a_series_gives_the_orbit_at_the_barycentre(found: Path) -> None:
    run = read(found)
    assert len(run) == 1
    row, best = run.rows("orbits/found")[0], run.rows("candidates")[0]
    assert run.observation.barycentric
    assert row["freq"] == pytest.approx(FREQ, abs=5 * row["freq_err"])
    # 1e-4 is what the Earth does to it: 0.015 Hz.
    assert row["freq_err"] < 1e-3
    assert row["porb"] == pytest.approx(PORB, abs=5 * row["porb_err"])
    assert row["asini"] == pytest.approx(SIZE, abs=5 * row["asini_err"])
    nodes = np.linspace(0.0, N * TSAMP, 3)
    first, arrived = arrival_times(START, nodes, RA, DEC, "FAST")
    node = first + (arrived[1] - TURNS * PORB) / DAY
    assert abs(row["tasc"] - node) < 5 * row["tasc_err"]
    assert row["tasc_err"] * DAY < 5.0
    assert (best["kind"], best["dm"], best["harmonic_of"]) == ("orbit", DM, "")
    assert best["freq"] == row["freq"]
    assert f"{row['mc_min']:.3g} solar masses" in str(best["reasons"])
    assert 15.0 < row["snr"] < 24.0
    assert row["sigma"] > 8.0


def test_the_plan_is_in_the_product_as_it_was_told(found: Path) -> None:
    rows = read(found).rows("orbits/octaves")
    plan = plan_only([found.with_name(f"a_DM{DM:.2f}.dat")], (), config())
    assert [(r["low"], r["high"], r["templates"]) for r in rows] == [(85.0, 170.0, plan.octaves[0].templates)]
    assert rows["seconds"][0] == pytest.approx(rows["each"][0] * rows["templates"][0])
    assert plan.octaves[0].per_hz == pytest.approx(plan.seconds / 85.0)
    text = "\n".join(plan.summary())
    assert "0.909 to 1.05 orbits" in text
    assert "per Hz and DM" in text


def test_an_ephemeris_is_written_that_is_read_again(found: Path) -> None:
    result = CliRunner().invoke(app, ["export", str(found), "--id", "c0001", "--par", "--overwrite"])
    assert result.exit_code == 0, result.output
    row = read(found).rows("orbits/found")[0]
    model = read_par(Path(result.stdout.strip()))
    assert model.orbit is not None
    assert model.spin[0] == row["freq"]
    assert (model.orbit.pb, model.orbit.x) == (pytest.approx(row["porb"]), pytest.approx(row["asini"]))
    assert model.orbit.epoch == pytest.approx(row["tasc"], abs=1e-9)
    result = CliRunner().invoke(app, ["export", str(found), "--id", "c0001", "--bestprof"])
    assert result.exit_code == 2
    assert "no folds" in result.output


def test_the_profile_is_that_of_a_sine(found: Path) -> None:
    import h5py

    with h5py.File(found) as file:
        profile = file["orbits/profiles"][0]
    parts = np.abs(np.fft.rfft(profile)) ** 2
    assert parts[1] > 0.8 * parts[1:].sum()


def test_raw_data_are_searched_at_the_dm_that_is_given(tmp_path: Path) -> None:
    """Beside an impulse, over the command line; not at a DM beside."""
    pulsar = Pulsar(period=1 / FREQ, dm=DM, snr=20.0, orbit=SkyOrbit(pb=PORB, x=SIZE, phase=TURNS))
    sky = Sky(nchans=32, fch1=1450.0, foff=-8.0, tsamp=5e-4, nsamps=2 * N, tstart=START, seed=1, pulsars=[pulsar])
    write_filterbank(sky, tmp_path / "a.fil")
    options = [*OPTIONS, "--freq", 85, 170, "--nharm", 1, "--dm", 24, "--dm", 70, "--set", "orbits.barycentre=false"]
    out = tmp_path / "O.h5"
    result = CliRunner().invoke(app, list(map(str, ["orbits", tmp_path / "a.fil", *options, "--out", out])))
    assert result.exit_code == 0, result.output
    assert "not barycentred" in result.stderr
    rows = read(out).rows("orbits/found")
    assert (rows["dm"][0], len(rows)) == (24.0, 1)
    assert "c0001" in result.stdout
    # Frequencies of simulations are those at mid-observation, and times at the highest channel.
    header = read(out).observation
    node = header.tmid - (TURNS * PORB + KDM * DM / 1450.0**2) / DAY
    assert abs(rows["tasc"][0] - node) < 5 * rows["tasc_err"][0]
    assert rows["porb"][0] == pytest.approx(PORB, abs=5 * rows["porb_err"][0])
    assert not header.barycentric
    text = CliRunner().invoke(app, ["export", str(out), "--id", "c0001", "--par"])
    assert "NOT BARYCENTRED" in Path(text.stdout.strip()).read_text()


def test_a_dry_run_writes_nothing(found: Path) -> None:
    before = sorted(found.parent.iterdir())
    path = str(found.with_name(f"a_DM{DM:.2f}.dat"))
    options = [*OPTIONS, "--freq", 60, 170, "--mismatch", 0.4, "--dry-run", "--quiet"]
    result = CliRunner().invoke(app, list(map(str, ["orbits", path, *options])))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["Hz", "templates", "samples", "ms", "CPU", "s", "per", "Hz"]
    assert [line.split()[:3] for line in lines[1:3]] == [["60", "to", "85"], ["85", "to", "170"]]
    assert sorted(found.parent.iterdir()) == before


def test_an_interrupted_search_goes_on_where_it_stopped(
    found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second octave, after a part of it: neither the first octave nor that part is searched again."""
    path, out = found.with_name(f"a_DM{DM:.2f}.dat"), tmp_path / "O.h5"
    two = config("orbits.f_min=60")
    monkeypatch.setattr(pipeline, "NOTED", 0.0)
    searched: list[tuple[float, float]] = []
    peaks = OrbitSearch.peaks

    def counted(self: OrbitSearch, white: Any, slices: Any, threads: int, tick: Any) -> Any:
        if self.octave.low == 85.0 and len(searched) == stop:
            raise KeyboardInterrupt
        searched.append((self.octave.low, slices[0].turn, slices[0].inner))
        return peaks(self, white, slices, threads, tick)

    monkeypatch.setattr(OrbitSearch, "peaks", counted)
    stop = len(plan_only([path], (), two).octaves[0].search.bank.slices) + 3
    with pytest.raises(KeyboardInterrupt):
        search_orbits([path], Target(out), config=two)
    assert not out.exists()
    assert len(searched) == stop
    stop = -1
    resumed = search_orbits([path], Target(out), config=two, resume=True)
    assert len(set(searched)) == len(searched)
    assert list(tmp_path.iterdir()) == [out]
    at_once = search_orbits([path], Target(tmp_path / "P.h5"), config=two)
    assert resumed.rows("orbits/found").tolist() == at_once.rows("orbits/found").tolist()
    assert len(at_once) >= 1


@pytest.mark.parametrize(
    ("sets", "dms", "words"),
    [
        (["orbits.p_min=300"], (), "expected 0 < MIN < MAX"),
        (["orbits.lightest=0.2"], (), "expected 0 <= MIN < MAX"),
        (["orbits.f_min=200"], (), "expected MIN < MAX"),
        (["orbits.f_max=900"], (), "hold 500 Hz at most"),
        ([], (31.0,), "no series of this DM"),
    ],
)
def test_what_cannot_be_searched_is_told_before_it_begins(
    found: Path, tmp_path: Path, sets: list[str], dms: tuple[float, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        search_orbits([found.with_name(f"a_DM{DM:.2f}.dat")], Target(tmp_path / "X.h5"), dms, config(*sets))
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_waits_for_is_planned_and_not_searched(found: Path) -> None:
    plan = plan_only([found.with_name(f"a_DM{DM:.2f}.dat")], (), config())
    check_size(plan)
    large = replace(plan, octaves=(replace(plan.octaves[0], templates=40_000_000),))
    with pytest.raises(ConfigError, match="4e\\+07 templates, at most 3e\\+07 are searched"):
        check_size(large)


def test_memory_decides_how_many_threads_there_are(found: Path) -> None:
    plan = plan_only([found.with_name(f"a_DM{DM:.2f}.dat")], (), config())
    one = plan_orbits(plan.layout, config(), 1.0, 16, plan.memory)
    assert (one.threads, one.memory) == (2, plan.memory)
    with pytest.raises(ConfigError, match="more --memory"):
        plan_orbits(plan.layout, config(), 1.0, 16, plan.memory // 2)


def test_raw_data_need_a_dm_and_a_search_an_output(tmp_path: Path) -> None:
    write_filterbank(Sky(nchans=8, fch1=1450.0, foff=-8.0, tsamp=1e-3, nsamps=4096), tmp_path / "a.fil")
    result = CliRunner().invoke(app, ["orbits", str(tmp_path / "a.fil"), "--dry-run"])
    assert result.exit_code == 2
    assert "--dm" in result.output
    result = CliRunner().invoke(app, ["orbits", str(tmp_path / "a.fil"), "--dm", "3"])
    assert result.exit_code == 2
    assert "--out" in result.output
