import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.special import ndtr

from pulsar.config.model import SinglePulseConfig
from pulsar.errors import DataError
from pulsar.io.open import open_observation
from pulsar.searches.single_pulse import SinglePulseSearch

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
        search = SinglePulseSearch(obs.header.nsamps, obs.header.tsamp)
        events = search.search(obs.read().data[0])
    assert len(np.unique(np.floor(events["time"] / 0.1637113))) >= 120


def test_gaussian_filter():
    i = np.arange(N) + 0.5
    shape = np.exp(-4 * np.log(2) * ((i - 30000.3) / 24.0) ** 2)
    signal = SIGMA * 15 * shape / np.sqrt(np.sum(shape**2))
    search = SinglePulseSearch(N, TSAMP, SinglePulseConfig(shape="gaussian"))
    rows = []
    for seed in range(12):
        (event,) = search.search(integers(noise(seed) + signal))
        rows.append((event["snr"], event["time"] / TSAMP, event["width"] / TSAMP))
    means = np.mean(rows, axis=0)
    assert abs(means[0] - 15) < 1.0
    assert abs(means[1] - 30000.3) < 1.5
    assert abs(means[2] - 24) < 2.5


@pytest.mark.parametrize("width", [1, 6, 40, 230])
def test_snr_of_a_true_boxcar_is_unbiased(width):
    search = SinglePulseSearch(N, TSAMP)
    found = []
    for seed in range(12):
        x = noise(seed)
        put(x, 33333, width, 15.0)
        (event,) = search.search(integers(x))
        found.append(event["snr"])
    # The best of neighbouring boxes is a little more than the true one.
    assert abs(np.mean(found) - 15.2) < 0.9
    assert 0.4 < np.std(found) < 1.6


def test_at_both_ends():
    for width in (1, 5, 31, 200):
        x = noise(width)
        put(x, 0, width, 15.0)
        put(x, N - width, width, 15.0)
        events = SinglePulseSearch(N, TSAMP).search(integers(x))
        assert len(events) == 2
        assert abs(events["time"][0] / TSAMP - width / 2) < 2 + 0.1 * width
        assert abs((N - events["time"][1] / TSAMP) - width / 2) < 2 + 0.1 * width


@pytest.mark.parametrize("n", [256, 257, 300, 1000, 4096, 4097, 8191, 33333])
def test_any_length(n):
    for seed, start in enumerate((0, n // 3, n - 3)):
        x = noise(seed, n)
        put(x, start, 3, 18.0)
        (event,) = SinglePulseSearch(n, TSAMP).search(integers(x))
        assert abs(event["time"] / TSAMP - start - 1.5) < 2


def test_a_faint_pulse_next_to_a_bright_one():
    for distance in (30, 60, 200, 1000):
        x = noise(distance)
        put(x, 30000, 8, 400.0)
        put(x, 30000 + distance, 8, 14.0)
        events = SinglePulseSearch(N, TSAMP).search(integers(x))
        assert len(events) == 2
        assert abs(events["time"][0] / TSAMP - 30004) < 1
        assert abs(events["time"][1] / TSAMP - 30004 - distance) < 4
        assert abs(events["snr"][1] - 14) < 4


def test_the_tail_of_a_bright_pulse_is_not_another():
    i = np.arange(N)
    for strength, decay in ((30.0, 20.0), (300.0, 50.0), (100.0, 5.0)):
        x = noise(int(strength)) + SIGMA * strength * np.exp(-np.clip(i - 30000, 0, None) / decay) * (i >= 30000)
        assert len(SinglePulseSearch(N, TSAMP).search(np.clip(x, -32768, 32767).astype(np.int16))) == 1
    shape = np.exp(-4 * np.log(2) * ((i - 30000.3) / 30.0) ** 2)
    assert len(SinglePulseSearch(N, TSAMP).search(integers(noise(1) + 100 * SIGMA * shape))) == 1


def test_very_bright_pulses_keep_their_snr():
    x = noise(4).astype(np.float32)
    put(x, 20000, 50, 30_000.0)
    put(x, 40000, 1, 5_000.0)
    events = SinglePulseSearch(N, TSAMP).search(x)
    np.testing.assert_allclose(events["snr"], [30_000, 5_000], rtol=0.02)
    np.testing.assert_allclose(events["width"] / TSAMP, [50, 1])


def test_a_bad_stretch_gives_no_flood():
    x = noise(6)
    x[20000:26000] *= 8.0
    put(x, 40000, 5, 15.0)
    events = SinglePulseSearch(N, TSAMP).search(integers(x))
    assert abs(events["time"] / TSAMP - 40002.5).min() < 2
    # What rises before it is known to be bad is little.
    assert len(events) < 12


@pytest.mark.parametrize("fill", [0.0, 500.0, np.nan])
@pytest.mark.parametrize("where", [slice(N - 7777, N), slice(0, 5000), slice(30001, 41000)])
def test_padding_gives_nothing(fill, where):
    x = (noise(7) + 10_000.0).astype(np.float32)
    put(x, 20000, 5, 15.0)
    put(x, 45000, 60, 15.0)
    x[where] = 10_000.0 + 30 * SIGMA if fill == 500.0 else fill
    events = SinglePulseSearch(N, TSAMP).search(x)
    np.testing.assert_allclose(events["time"] / TSAMP, [20002.5, 45030], atol=8)


def test_constant_and_not_finite():
    for value in (0, 7):
        assert len(SinglePulseSearch(N, TSAMP).search(np.full(N, value, np.int16))) == 0
    assert len(SinglePulseSearch(N, TSAMP).search(np.full(N, np.nan, np.float32))) == 0
    x = noise(8).astype(np.float32)
    put(x, 30000, 40, 20.0)
    x[np.random.default_rng(1).integers(0, N, 500)] = np.inf
    (event,) = SinglePulseSearch(N, TSAMP).search(x)
    assert abs(event["snr"] - 20) < 4


def test_a_step_is_not_a_pulse():
    x = noise(9)
    x[30000:] += 3 * SIGMA
    put(x, 10000, 5, 15.0)
    events = SinglePulseSearch(N, TSAMP, SinglePulseConfig(width_max=0.05)).search(integers(x))
    assert abs(events["time"][0] / TSAMP - 10002.5) < 2
    # The line of the baseline cannot step: the edges of what it misses may show, no more.
    assert len(events) <= 3


def test_counts_in_noise_are_those_promised():
    config = SinglePulseConfig(snr=4.6, max_events=10**6)
    for n, width_max in ((1 << 17, 0.25), (1 << 17, 0.002)):
        search = SinglePulseSearch(n, TSAMP, config.model_copy(update={"width_max": width_max}))
        found = sum(len(search.search(integers(noise(1000 + seed, n)))) for seed in range(60))
        promised = 60 * search.ntrials * ndtr(-4.6)
        assert abs(found - promised) < 4 * np.sqrt(promised) + 0.05 * promised


@pytest.mark.slow
def test_counts_of_gaussians_in_noise():
    config = SinglePulseConfig(snr=4.6, max_events=10**6, shape="gaussian")
    search = SinglePulseSearch(1 << 17, TSAMP, config)
    found = sum(len(search.search(integers(noise(3000 + seed, 1 << 17)))) for seed in range(200))
    promised = 200 * search.ntrials * ndtr(-4.6)
    assert abs(found - promised) < 4 * np.sqrt(promised) + 0.07 * promised


def test_red_noise_keeps_the_threshold():
    rng = np.random.default_rng(11)
    found = 0
    for _ in range(10):
        spectrum = np.fft.rfft(rng.standard_normal(N))
        freq = np.maximum(np.arange(len(spectrum)), 1.0)
        x = np.fft.irfft(spectrum * np.sqrt(1.0 + (200.0 / freq) ** 2))
        found += len(SinglePulseSearch(N, TSAMP).search((SIGMA * x).astype(np.float32)))
    assert found == 0


def test_most_events_are_the_strongest():
    x = noise(12)
    for k in range(30):
        put(x, 1000 + 2000 * k, 4, 10.0 + 3 * k)
    config = SinglePulseConfig(max_events=5)
    events = SinglePulseSearch(N, TSAMP, config).search(integers(x))
    assert np.all(np.diff(events["time"]) > 0)
    np.testing.assert_allclose(events["time"] / TSAMP, 1002 + 2000 * np.arange(25, 30), atol=2)


def test_eight_threads_give_what_one_gives():
    search = SinglePulseSearch(N, TSAMP, SinglePulseConfig(snr=5.0))
    series = []
    for seed in range(16):
        x = noise(seed)
        put(x, 3000 * seed + 100, 1 + 3 * seed, 12.0)
        series.append(integers(x))
    alone = [search.search(x) for x in series]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(search.search, series * 4))
    for k, events in enumerate(together):
        assert np.array_equal(events, alone[k % 16])


def test_facts_for_the_plan():
    search = SinglePulseSearch(1 << 20, TSAMP)
    assert search.width_max == 250
    cost = SinglePulseSearch.estimate(search.nsamps, search.tsamp, search.config)
    assert 0 < cost.memory < 4 << 20
    assert cost.seconds > 0
    assert search.trials(8.0) > search.ntrials
    assert SinglePulseSearch(1 << 20, 1.0, SinglePulseConfig(width_max=0.1)).width_max == 1


@pytest.mark.jit
def test_speed():
    """A quarter of a million samples in far less than a millisecond: the scan must be vectors."""
    series = integers(noise(1, 1 << 18))
    search = SinglePulseSearch(1 << 18, TSAMP)
    search.search(series)
    times = []
    for _ in range(20):
        began = time.process_time()
        search.search(series)
        times.append(time.process_time() - began)
    assert min(times) < 2e-3


@pytest.mark.parametrize("width", [0.012, 0.015, 0.028, 0.034, 0.05, 0.06])
def test_no_width_falls_between_the_baselines_of_a_wandering_level(width):
    # A wave that hides what is as wide as the coarsest baseline is for; the next one is for pulses of 30 ms.
    tsamp, nsamps = 4e-4, 150_000
    config = SinglePulseConfig(width_max=0.25, snr=7.0)
    search = SinglePulseSearch(nsamps, tsamp, config)
    assert search._baselines[1][0] * tsamp == pytest.approx(0.03, rel=0.05)
    times = np.arange(nsamps) * tsamp
    rng = np.random.default_rng(7)
    level = rng.standard_normal(nsamps) + 1.5 * np.sin(2.0 * np.pi * times / 4.3) + np.sin(2.0 * np.pi * times / 3.1)
    found = []
    for k in range(8):
        at = 20.0 + 0.61 * k
        shape = np.exp(-4.0 * np.log(2.0) * ((times - at) / width) ** 2)
        pulse = 20.0 * shape / np.sqrt(np.sum(shape**2))
        events = search.search((level + pulse).astype(np.float32))
        near = events[np.abs(events["time"] - at) < width]
        found.append(near["snr"].max(initial=0.0))
        assert np.isfinite(events["reach"]).all()
    assert min(found) > 12.5


def test_a_quiet_level_hides_nothing():
    x = np.random.default_rng(3).standard_normal(60_000).astype(np.float32)
    x[30_000:30_020] += 4.0
    events = SinglePulseSearch(60_000, 1e-3).search(x)
    assert len(events) == 1
    assert np.isinf(events["reach"][0])
