"""Series of one observation at several DMs, as prepsubband leaves them: searched as the DM trials of one run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.command import run
from reference.products import everything

from pulsar import dedisperse, fold
from pulsar.cli.search import default_output
from pulsar.config.load import load_config
from pulsar.errors import ConfigError, DataError
from pulsar.io.open import open_observation
from pulsar.io.product.reader import read
from pulsar.io.series import SeriesSet
from pulsar.pipeline.cleaning import batches_of_set, set_plan
from pulsar.pipeline.plan import dry_run
from pulsar.pipeline.stages import SearchResult, SeriesSearch
from pulsar.run import search
from pulsar.synthesis.model import Burst, Pulsar, Sky
from pulsar.synthesis.write import write_filterbank

PERIOD, DM, STEP = 0.0731, 61.0, 4.0
SKY = Sky(
    nchans=32,
    fch1=1492.0,
    foff=-8.0,
    tsamp=1e-3,
    nsamps=30_000,
    seed=4,
    pulsars=(Pulsar(name="a", period=PERIOD, dm=DM, snr=40, duty=0.06),),
    bursts=(Burst(name="b", time=11.0, dm=101.0, snr=25, width=3e-3),),
)
OFF = ("--no-ffa", "--ncands", 6, "--threads", 1)


def inf(name: str, dm: float, nsamps: int, tsamp: float = SKY.tsamp, low: str = "1244") -> str:
    values = {
        "Data file name without suffix": name,
        "Telescope used": "FAST",
        "Object being observed": "SIM",
        "J2000 Right Ascension (hh:mm:ss.ssss)": "10:00:00",
        "J2000 Declination     (dd:mm:ss.ssss)": "10:00:00",
        "Epoch of observation (MJD)": "60000.0",
        "Barycentered?           (1 yes, 0 no)": "0",
        "Number of bins in the time series": nsamps,
        "Width of each time series bin (sec)": tsamp,
        "Any breaks in the data? (1 yes, 0 no)": "0",
        "Dispersion measure (cm-3 pc)": dm,
        "Central freq of low channel (MHz)": low,
        "Total bandwidth (MHz)": "256",
        "Number of channels": "32",
        "Channel bandwidth (MHz)": "8",
    }
    return "".join(f" {key:<38} =  {value}\n" for key, value in values.items())


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("set")
    with open_observation(write_filterbank(SKY, folder / "a.fil", threads=1)) as obs:  # type: ignore[attr-defined]
        dms = np.arange(0.0, 121.0, STEP)
        made = dedisperse(obs, dms=dms, config=load_config(None, ["run.threads=1"]))
    found = []
    for dm, row in zip(dms, made.data, strict=True):
        name = f"x_DM{dm:.2f}"
        # Noise of a size that has nothing to do with ours, and a level.
        (3.7 * row.astype(np.float32) + 1e4).tofile(folder / f"{name}.dat")
        (folder / f"{name}.inf").write_text(inf(name, dm, row.size))
        found.append(folder / f"{name}.dat")
    return found


def test_a_set_is_one_observation(paths: list[Path]) -> None:
    obs = open_observation(*reversed(paths), *(p.with_suffix(".inf") for p in paths))
    assert isinstance(obs, SeriesSet)
    np.testing.assert_allclose(obs.dms, np.arange(0.0, 121.0, STEP))
    assert obs.freqs[[0, -1]].tolist() == [1492.0, 1244.0]
    assert obs.series(obs.nearest(62.0)).dm == 60.0
    plan = dry_run(obs, load_config())
    assert plan.dm is not None
    assert plan.ndms == len(paths)
    assert plan.trials["fft"] == pytest.approx(len(paths) * 15_000)
    obs.close()
    assert default_output(paths) == Path("x.pulsar.h5")
    code, out, _ = run("info", *paths)
    assert code == 0
    assert "several DMs" in out
    assert f"{len(paths)} series from DM 0 to 120: one observation" in out
    assert json.loads(run("plan", *paths, "--json")[1])["dm"]["ndms"] == len(paths)


def test_a_set_is_searched_as_the_trials_of_one_run(paths: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "set.h5"
    code, _, err = run("search", *paths, "--out", out, *OFF)
    assert code == 0, err
    product = read(out)
    rows = product.rows("candidates")
    free = rows[rows["harmonic_of"] == ""]
    best = free[0]
    assert best["period"] == pytest.approx(PERIOD, rel=1e-4)
    assert best["dm"] == pytest.approx(DM, abs=STEP / 2)
    assert STEP / 4 < best["dm_err"] < 2 * STEP
    assert best["snr"] == pytest.approx(40, rel=0.2)
    assert not best["rfi_flags"]
    # One pulsar, one row: what its harmonics and its neighbouring DMs show is its own.
    assert np.count_nonzero(free["score"] > 0.5) == 1
    assert best["ndetections"] > 3
    shown = product.fold(str(best["id"]))
    assert shown.dms.size == 17
    at = int(np.argmax(shown.dm_snr))
    assert shown.dms[at] == best["dm"]
    np.testing.assert_allclose(shown.dm_snr, shown.dm_expected, atol=6.0)
    assert shown.dm_snr[[0, -1]].max() < 0.75 * shown.dm_snr[at]
    pulses = product.rows("single_pulses")
    (burst,) = pulses[np.abs(pulses["time"] - 11.0) < 0.03]
    assert burst["dm"] == pytest.approx(101.0, abs=STEP)
    assert run("report", out, "--out", tmp_path / "report", "-q")[0] == 0


def test_a_set_is_folded_in_the_nearest_series(paths: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "fold.h5"
    code, _, err = run("fold", *paths, "--period", PERIOD, "--dm", DM, "--out", out, "-q")
    assert (code, err) == (0, "")
    row = read(out).candidate("c0001")
    assert row["dm"] == 60.0
    assert row["snr"] == pytest.approx(40, rel=0.2)
    with open_observation(*paths) as obs:  # type: ignore[attr-defined]
        assert fold(obs, PERIOD, DM).after.dm == 60.0
        with pytest.raises(ConfigError, match="give the dm"):
            fold(obs, PERIOD)


def test_what_is_no_set_is_told(paths: list[Path], tmp_path: Path) -> None:
    def made(name: str, text: str, nsamps: int = 30_000) -> Path:
        path = tmp_path / f"{name}.dat"
        path.write_bytes(paths[0].read_bytes()[: 4 * nsamps])
        path.with_suffix(".inf").write_text(text)
        return path

    twice = made("twice", inf("twice", 4.0, 30_000))
    other = made("other", inf("other", 5.0, 30_000).replace("SIM", "OTHER"))
    coarse = made("coarse", inf("coarse", 2.0, 14_990, tsamp=2e-3), 14_990)
    with pytest.raises(DataError, match=r"twice\.dat: has the DM 4"):
        open_observation(paths[0], paths[1], twice)
    with pytest.raises(DataError, match=r"differs in source"):
        open_observation(paths[0], other)
    with pytest.raises(DataError, match=r"sampling times do not rise"):
        open_observation(paths[0], coarse, paths[1])
    unknown = [made(f"u{dm}", inf(f"u{dm}", dm, 30_000, low="0").replace("=  256", "=  0")) for dm in (1.0, 2.0)]
    with pytest.raises(DataError, match=r"u1\.0\.dat: tells no frequency or bandwidth"):
        open_observation(*unknown)


def test_coarser_series_at_high_dms_are_a_stage_of_their_own(paths: list[Path], tmp_path: Path) -> None:
    high = []
    for dm, nsamps in ((128.0, 14_995), (136.0, 14_990)):
        path = tmp_path / f"x_DM{dm}.dat"
        data = np.fromfile(paths[-1], dtype=np.float32)[: 2 * nsamps]
        data.reshape(-1, 2).sum(axis=1).tofile(path)
        path.with_suffix(".inf").write_text(inf(path.stem, dm, nsamps, tsamp=2e-3))
        high.append(path)
    obs = open_observation(*paths, *high)
    assert isinstance(obs, SeriesSet)
    plan = set_plan(obs)
    assert [(s.ndms, s.downsample, s.nsamps, s.tsamp) for s in plan.stages] == [
        (len(paths), 1, 30_000, 1e-3),
        (2, 2, 14_990, 2e-3),
    ]
    rows = [
        (batch.first + i, batch.row(i).size) for batch in batches_of_set(obs, plan) for i in range(batch.stage.ndms)
    ]
    assert rows == [(i, plan.stages[0].nsamps) for i in range(len(paths))] + [(len(paths) + i, 14_990) for i in (0, 1)]


def test_a_search_of_a_set_goes_on_from_the_series_that_it_had(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, whole, out = load_config(None, ["run.threads=1", "ffa.enabled=false"]), tmp_path / "a.h5", tmp_path / "b.h5"
    search(paths, config, whole)
    real, done = SeriesSearch.search, []

    def noted(self: SeriesSearch, series: Any, dm: float, dm_index: int = 0, **more: Any) -> SearchResult:
        if len(done) == 20:
            raise KeyboardInterrupt
        done.append(dm_index)
        return real(self, series, dm, dm_index, **more)

    with monkeypatch.context() as patch:
        patch.setattr(SeriesSearch, "search", noted)
        with pytest.raises(KeyboardInterrupt):
            search(paths, config, out)
    first = list(done)
    done.clear()
    with monkeypatch.context() as patch:
        patch.setattr(SeriesSearch, "search", noted)
        search(paths, config, out, resume=True)
    assert len(first) == 20
    assert sorted([*first, *done]) == list(range(len(paths)))
    assert everything(out) == everything(whole)
