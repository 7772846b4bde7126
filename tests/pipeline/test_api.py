"""The notebook routines."""

import numpy as np
import pytest
from astropy import units as u

import pulsar
from pulsar.data.source import SIGMA_LEVELS
from pulsar.synthesis import Pulsar, Sky, write_filterbank


@pytest.fixture(scope="module")
def obs(tmp_path_factory):
    sky = Sky(
        nchans=32,
        fch1=1492.0,
        foff=-16.0,
        tsamp=512e-6,
        nsamps=30_000,
        seed=5,
        pulsars=(Pulsar(period=0.05432, dm=60.0, snr=40, duty=0.08),),
    )
    path = write_filterbank(sky, tmp_path_factory.mktemp("api") / "a.fil")
    opened = pulsar.open(path)
    yield opened
    opened.close()


def test_dedisperse_fold_search(obs):
    series = pulsar.dedisperse(obs, dm=60.0)
    assert series.data.shape == (30_000,)
    assert series.data.std() == pytest.approx(SIGMA_LEVELS * np.sqrt(32), rel=0.05)
    found = pulsar.search_fft(series, nharm=16)
    assert found[0]["freq"] == pytest.approx(1 / 0.05432, rel=1e-3)
    fold = pulsar.fold(obs, period=54.32 * u.ms, dm=60 * u.pc / u.cm**3)
    assert fold.snr == pytest.approx(40, rel=0.15)
    again = pulsar.fold(series, period=0.05432)
    assert again.snr == pytest.approx(fold.snr, rel=0.1)


def test_a_grid_of_dms(obs):
    grid = pulsar.dedisperse(obs, dms=np.arange(50.0, 70.5, 0.5))
    assert grid.data.shape == (41, 30_000)
    one = pulsar.dedisperse(obs, dm=60.0)
    # The same up to the tree's rounding of delays, which decorrelates single samples but costs no S/N.
    smooth = [np.convolve(x.astype(float), np.ones(8), "valid") for x in (grid.data[20], one.data)]
    assert np.corrcoef(*smooth)[0, 1] > 0.9
    exact = pulsar.fold(one, period=0.05432)
    assert pulsar.fold(grid.series(20), period=0.05432).snr == pytest.approx(exact.snr, rel=0.03)


def test_series_beyond_the_memory_are_refused(obs):
    config = pulsar.load_config(None, ["run.memory=450MiB"])
    with pytest.raises(pulsar.ConfigError, match="memory"):
        pulsar.dedisperse(obs, dms=np.arange(0.0, 200.0, 0.05), config=config)


def test_wrong_arguments(obs):
    with pytest.raises(pulsar.ConfigError, match="either dm"):
        pulsar.dedisperse(obs)
    with pytest.raises(pulsar.ConfigError, match="even steps"):
        pulsar.dedisperse(obs, dms=[1.0, 2.0, 4.0])
    with pytest.raises(pulsar.ConfigError, match="dm"):
        pulsar.fold(obs, period=0.05)
