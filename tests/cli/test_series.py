"""``pulsar dedisperse`` and ``pulsar waterfall`` on a small observation with a burst."""

from pathlib import Path

import numpy as np
import pytest
from reference.command import run

from pulsar.constants import DAY, KDM
from pulsar.io.open import open_observation
from pulsar.sky.barycentre import barycentric, barycentric_samples
from pulsar.synthesis.model import Burst, Sky
from pulsar.synthesis.write import write_filterbank

DM, TIME, TSAMP = 60.0, 4.0, 0.001


@pytest.fixture(scope="module")
def observation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("series") / "a.fil"
    burst = Burst(time=TIME, dm=DM, snr=60.0, width=0.004)
    sky = Sky(nchans=32, fch1=1500.0, foff=-12.0, tsamp=TSAMP, tobs=8.0, tstart=58999.25, seed=5, bursts=(burst,))
    write_filterbank(sky, path)
    return path


@pytest.mark.parametrize("ending", ["dat", "tim", "npy"])
def test_series_is_what_the_notebook_makes(observation: Path, ending: str) -> None:
    import pulsar

    path = observation.with_name(f"x.{ending}")
    code, out, err = run("dedisperse", observation, "--dm", DM, "--out", path, "-q")
    assert (code, out) == (0, f"{path}\n"), err
    expected = pulsar.dedisperse(observation, DM).data / (8 * np.sqrt(32))
    if ending == "npy":
        np.testing.assert_allclose(np.load(path), expected, rtol=1e-6)
        return
    with open_observation(path) as obs:
        np.testing.assert_allclose(obs.read().data[0], expected, rtol=1e-6)
        header = obs.header
    assert (header.dm, header.tsamp, header.is_series) == (DM, TSAMP, True)
    assert header.tstart == pytest.approx(58999.25, abs=1e-9)
    assert (header.fch1, header.bandwidth) == pytest.approx((1500.0, 384.0))
    assert header.ra_deg == pytest.approx(83.0, abs=1e-5)
    assert abs(int(np.argmax(expected)) * TSAMP - TIME) < 0.004
    assert run("dedisperse", observation, "--dm", DM, "--out", path)[0] == 2


def test_several_dms_are_named_by_their_dm_and_downsampled(observation: Path) -> None:
    path = observation.with_name("many.dat")
    code, out, err = run("dedisperse", observation, "--dm", 60, "--dm", 0, "--downsample", 4, "--out", path, "-q")
    assert code == 0, err
    names = [Path(line) for line in out.splitlines()]
    assert [name.name for name in names] == ["many_DM0.00.dat", "many_DM60.00.dat"]
    series = [np.fromfile(name, dtype=np.float32) for name in names]
    assert [len(one) for one in series] == [2000, 2000]
    assert series[1].max() > 2 * series[0].max()
    assert sorted(p.name for p in path.parent.glob("many*")) == [
        "many_DM0.00.dat", "many_DM0.00.inf", "many_DM60.00.dat", "many_DM60.00.inf",
    ]  # fmt: skip


def test_barycentred_series(observation: Path) -> None:
    path = observation.with_name("bary.dat")
    code, _, err = run("dedisperse", observation, "--dm", DM, "--bary", "--out", path, "-q")
    assert code == 0, err
    with open_observation(path) as obs:
        header = obs.header
        assert header.barycentric
        burst = int(np.argmax(obs.read().data[0])) * TSAMP
    start = barycentric(58999.25, 83.0, 22.0, "FAST")
    assert header.tstart == pytest.approx(start.mjd_tdb, abs=1e-9)
    then = barycentric(58999.25 + TIME / DAY, 83.0, 22.0, "FAST")
    assert abs(burst - (then.mjd_tdb - start.mjd_tdb) * DAY) < 0.004


def test_samples_at_the_barycentre_are_the_nearest(observation: Path) -> None:
    with open_observation(observation) as obs:
        header = obs.header.with_(nsamps=3_600_000)
    _, chosen = barycentric_samples(header, header.nsamps, TSAMP)
    steps = np.diff(chosen)
    # The Earth moves by 1e-4 at most: of an hour some hundred samples are left out or taken twice.
    assert set(np.unique(steps).tolist()) <= {0, 1, 2}
    moved = np.count_nonzero(steps != 1)
    motion = barycentric(header.tmid, header.ra_deg, header.dec_deg, "FAST").voverc
    assert moved == pytest.approx(abs(motion) * len(chosen), rel=0.05)
    # At the middle of the hour, by the exact arrival.
    first = barycentric(header.tstart, header.ra_deg, header.dec_deg, "FAST").mjd_tdb
    k = len(chosen) // 2
    at = barycentric(header.tstart + (chosen[k] + 0.5) * TSAMP / DAY, header.ra_deg, header.dec_deg, "FAST").mjd_tdb
    assert abs((at - first) * DAY - (k + 0.5) * TSAMP) < 0.5 * TSAMP + 2e-6


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--dm", 1, "--out", "x.txt"), "expected .dat, .tim, .npy"),
        (("--dm", -1, "--out", "x.dat"), "numbers >= 0"),
        (("--dm", 1, "--downsample", 3, "--out", "x.dat"), "power of two"),
    ],
)
def test_what_cannot_be_written_is_told(
    observation: Path, words: tuple[object, ...], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("dedisperse", observation, *words)
    assert code == 2
    assert told in err
    assert not list(tmp_path.iterdir())


def test_cleaning_can_be_left_out(observation: Path) -> None:
    path = observation.with_name("raw.npy")
    assert run("dedisperse", observation, "--dm", 0, "--no-rfi", "--out", path, "-q")[0] == 0
    # Noise of 1 stays noise of 1: the bandpass is levelled all the same.
    assert np.load(path).std() == pytest.approx(1.0, abs=0.1)


def test_waterfall_shows_the_burst_in_every_band(observation: Path) -> None:
    path = observation.with_name("w.npy")
    words = ("--length", 0.5, "--nbands", 8, "--out", path)
    code, out, err = run("waterfall", observation, "--time", TIME, "--dm", DM, *words)
    assert (code, out) == (0, f"{path}\n"), err
    assert "8 bands from 1482 to 1146 MHz, 256 columns of 0.002 s" in err
    spectrum = np.load(path)
    assert spectrum.shape == (8, 256)
    assert np.all(np.abs(spectrum.argmax(axis=1) - 128) <= 2)
    code, _, err = run("waterfall", observation, "--time", TIME, *words, "--overwrite")
    assert code == 0, err
    late = KDM * DM * (1146.0**-2 - 1482.0**-2) / 0.002
    swept = np.load(path).argmax(axis=1)
    assert swept[-1] - swept[0] == pytest.approx(late, abs=4)


def test_waterfall_is_drawn(observation: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.png"
    code, _, err = run("waterfall", observation, "--time", TIME, "--dm", DM, "--out", path, "-q")
    assert code == 0, err
    assert path.read_bytes()[:4] == b"\x89PNG"
    code, _, err = run("waterfall", observation, "--time", 99, "--dm", DM, "--out", tmp_path / "v.png")
    assert code == 2
    assert "from 0 to 8 s" in err
