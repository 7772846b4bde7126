import numpy as np
import pytest

from pulsar.config.model import SinglePulseConfig
from pulsar.data.series import TimeSeries
from pulsar.errors import DataError
from pulsar.io.open import open_observation
from pulsar.search.single_pulse import SinglePulseSearch, search_single_pulse

N, TSAMP, SIGMA = 1 << 16, 1e-3, 200.0


def noise(seed, n=N):
    return SIGMA * np.random.default_rng(seed).standard_normal(n)


def put(x, start, width, snr):
    x[start : start + width] += SIGMA * snr / np.sqrt(width)


def integers(x):
    return np.round(x).astype(np.int16)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_boxcars_of_all_widths(dtype):
    x = noise(1)
    true = [(2000, 1), (9000, 3), (15000, 7), (22000, 23), (30000, 90), (40000, 250), (N - 5, 5)]
    for start, width in true:
        put(x, start, width, 20.0)
    series = integers(x) if dtype == np.int16 else x.astype(np.float32) + 1000.0
    events = SinglePulseSearch(N, TSAMP).search(series, dm=3.0, dm_index=7)
    assert len(events) == len(true)
    for event, (start, width) in zip(events, true, strict=True):
        assert abs(event["time"] / TSAMP - (start + width / 2)) <= max(1.0, 0.1 * width)
        assert abs(event["width"] / TSAMP / width - 1) < 0.12
        assert abs(event["snr"] - 20) < 3.5
        assert (event["dm"], event["dm_index"]) == (3.0, 7)


def test_noise_gives_nothing():
    search = SinglePulseSearch(N, TSAMP)
    assert sum(len(search.search(integers(noise(seed)))) for seed in range(20)) == 0


def test_wrong_length():
    with pytest.raises(DataError, match="256"):
        SinglePulseSearch(100, TSAMP)
    with pytest.raises(DataError, match="make one"):
        SinglePulseSearch(512, TSAMP).search(np.zeros(300, np.int16))


def test_rotations_of_a_real_pulsar(shared_data):
    with open_observation(shared_data / "series" / "GBT_J1807-0847.dat") as obs:
        series = TimeSeries(obs.read().data[0], obs.header.tsamp)
    events = search_single_pulse(series)
    assert len(np.unique(np.floor(events["time"] / 0.1637113))) >= 120


def test_gaussian_filter():
    i = np.arange(N) + 0.5
    shape = np.exp(-4 * np.log(2) * ((i - 30000.3) / 24.0) ** 2)
    x = noise(3) + SIGMA * 15 * shape / np.sqrt(np.sum(shape**2))
    config = SinglePulseConfig(shape="gaussian")
    (event,) = SinglePulseSearch(N, TSAMP, config).search(integers(x))
    assert abs(event["time"] / TSAMP - 30000.3) < 3
    assert abs(event["width"] / TSAMP - 24) < 4
    assert abs(event["snr"] - 15) < 2.5
