import numpy as np
import pytest
from reference.noises import red_and_drifting
from reference.noises import white as noise
from reference.threads import side_by_side
from reference.trains import pulses

from pulsar.config.model import FFTConfig
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.searches import stats
from pulsar.searches.fft import FFTSearch
from pulsar.searches.sift import group

REAL = {
    "GBT_J1807-0847": (163.84e-6, 0.1637113, 1e-4, 50),
    "lovell_psr0": (0.01, 0.2265362, 2e-5, 50),
    "lovell_psr5": (0.01, 0.714571, 2e-5, 30),
    "lovell_psr2": (0.0025, 0.476596, 3e-5, 30),
}


def searched(x: np.ndarray, tsamp: float, birdies=(), **config) -> np.ndarray:
    """Detections of two sigma and more."""
    settings = FFTConfig(**{"threshold": 2.0, "nharm": 16} | config)
    return FFTSearch(len(x), tsamp, settings).search(x, birdies=birdies)


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5, 0.77])
def test_power_of_a_sinusoid(offset):
    """A^2 n / 4 times sinc^2 of the distance to the nearest half bin, which is a quarter bin at most."""
    n, r, amplitude = 65536, 5000 + offset, 0.1
    line = (amplitude * np.cos(2 * np.pi * r * np.arange(n) / n)).astype(np.float32)
    search = FFTSearch(n, 1e-3)
    near = round(2 * r)
    # What the uncertain level takes off large powers is put back.
    inverse = search.noise.inverse[near]
    power = [np.expm1(search.spectrum(noise(n, seed) + line)[near] * inverse) / inverse for seed in range(10)]
    expected = amplitude**2 * n / 4 * np.sinc(r - near / 2) ** 2
    assert np.mean(power) == pytest.approx(expected, abs=3 * np.sqrt(2 * expected / 10))
    assert np.sinc(0.25) ** 2 > 0.81
    det = searched(noise(n, 3) + line, 1e-3, nharm=1)
    assert abs(det[0]["freq"] * n * 1e-3 - r) < 0.1
    assert len(det) == 1


def test_half_bins_of_a_strong_line_have_its_power():
    n = 16384
    t = np.arange(n)
    for offset, tolerance in ((0.5, 0.06), (0.0, 1e-3)):
        x = noise(n, 8) + (4 * np.cos(2 * np.pi * (3000 + offset) * t / n)).astype(np.float32)
        search = FFTSearch(n, 1e-3)
        at = round(2 * (3000 + offset))
        inverse = search.noise.inverse[at]
        raw = np.expm1(search.spectrum(x)[at] * inverse) / inverse
        # The level may be raised by the sidelobes of so strong a line, by a few per cent.
        assert raw == pytest.approx(16 * n / 4, rel=tolerance + 0.15)


@pytest.mark.parametrize("duty", [0.02, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("period", [3.37, 41.3, 1234.5])
def test_pulse_trains_are_found_at_their_fundamental(duty, period):
    n = 1 << 17
    if duty * period < 1:
        duty = min(1 / period, 0.3)
    for seed in range(2):
        x = noise(n, seed) + pulses(n, period, duty, 15.0).astype(np.float32)
        search = FFTSearch(n, 1e-3, FFTConfig(nharm=32))
        best = group(search.search(x), search.tobs)[0]
        assert abs(best.freq * 1e-3 * n - n / period) < max(0.1, 4 * best.best["freq_err"] * search.tobs)
        assert best.sigma > 5
        # The recorded error is that of theory: it covers the difference.
        assert abs(best.freq - 1 / (period * 1e-3)) < 6 * best.best["freq_err"]


def test_frequency_errors_are_honest_where_most_harmonics_are_noise():
    # Faint pulses so wide that few of the summed harmonics hold anything: the powers of the others are no information.
    n, period = 1 << 15, 511.3
    pulls = []
    for seed in range(60):
        search = FFTSearch(n, 1e-3, FFTConfig(nharm=32, threshold=0.0))
        x = noise(n, seed) + pulses(n, period, (0.03, 0.06, 0.12)[seed % 3], 10.5).astype(np.float32)
        found = search.search(x)
        near = found[np.abs(found["freq"] - 1e3 / period) < 1.0 / search.tobs]
        if near.size and near[0]["nharm"] >= 16:
            pulls.append((near[0]["freq"] - 1e3 / period) / near[0]["freq_err"])
    assert len(pulls) > 10
    assert 0.6 < np.sqrt(np.mean(np.square(pulls))) < 1.4


def test_false_alarms_are_as_many_as_promised():
    n, seeds = 1 << 15, 100
    search = FFTSearch(n, 1e-3, FFTConfig(nharm=32, threshold=-2.0))
    promised = seeds * stats.expected_from_sigma(-2.0)
    found = [len(search.search(noise(n, seed))) for seed in range(seeds)]
    assert abs(sum(found) - promised) < 3 * np.sqrt(promised) + 0.1 * promised


def test_false_alarms_on_red_noise_and_drift():
    n, seeds = 1 << 15, 60
    search = FFTSearch(n, 1e-3, FFTConfig(nharm=32, threshold=-1.0))
    promised = seeds * stats.expected_from_sigma(-1.0)
    total = 0
    low = 0
    for seed in range(seeds):
        x = red_and_drifting(n, seed)
        det = search.search(x.astype(np.float32))
        total += len(det)
        low += np.count_nonzero(det["freq"] * search.tobs < 100)
    assert 0.4 * promised < total < promised + 4 * np.sqrt(promised)
    assert low <= 0.25 * promised


@pytest.mark.parametrize("slope", [0, 2, 4])
def test_red_spectra_come_out_flat(slope):
    n = 1 << 14
    search = FFTSearch(n, 1e-3)
    power = np.zeros(n)
    for seed in range(40):
        x = np.random.default_rng(seed).standard_normal(4 * n)
        spec = np.fft.rfft(x)
        freq = np.arange(spec.size) / 4.0
        spec[1:] *= np.sqrt(1 + (100 / freq[1:]) ** slope)
        power += search.spectrum(np.fft.irfft(spec)[n : 2 * n].astype(np.float32)) / 40
    for lo, hi in ((10, 20), (20, 50), (50, 100), (100, 200), (200, 400), (400, 8000)):
        # Steeper than f^-3 the leakage from the ends is smooth, no noise: less than 1, which raises no false alarms.
        low = (0.3 if lo < 400 else 0.8) if slope == 4 else 0.75 if lo < 200 else 0.88
        assert low < power[2 * lo : 2 * hi].mean() < (1.25 if lo < 100 else 1.12)


def test_a_strong_line_leaves_its_neighbours_alone():
    n = 1 << 16
    search = FFTSearch(n, 1e-3)
    x = noise(n, 1)
    t = np.arange(n)
    before = search.spectrum(x)
    after = search.spectrum(x + (3 * np.cos(2 * np.pi * 9000 * t / n)).astype(np.float32))
    near = np.r_[2 * 8900 : 2 * 8990, 2 * 9010 : 2 * 9100]
    assert after[near][::2].mean() == pytest.approx(before[near][::2].mean(), rel=0.02)


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_pulsars(shared_data, name):
    tsamp, period, tolerance, sigma = REAL[name]
    x = np.fromfile(shared_data / "series" / f"{name}.dat", dtype=np.float32)
    search = FFTSearch(x.size, tsamp)
    groups = group(search.search(x), search.tobs)
    best = groups[0]
    assert 1 / best.freq == pytest.approx(period, rel=tolerance)
    assert best.sigma > sigma
    # Its harmonics are detected (as far as they are stronger than the noise of such data).
    ratio = np.array([g.freq for g in groups]) / best.freq
    sure = np.array([g.sigma for g in groups]) > 8
    assert np.count_nonzero(sure & (np.abs(ratio - np.round(ratio)) < 1e-5)) > 5


def test_table_and_order():
    n = 1 << 14
    x = (50 * (noise(n, 2) + pulses(n, 77.7, 0.1, 25))).astype(np.int16)
    det = FFTSearch(n, 1e-3, ntrials_dm=50).search(x, dm=12.5, dm_index=3)
    assert det.dtype == dtype_of(DETECTION_COLUMNS)
    assert np.all(np.diff(det["logp"]) >= 0)
    assert set(det["dm"]) == {12.5}
    assert set(det["dm_index"]) == {3}
    assert np.all(det["fdot"] == 0)
    assert np.all(det["sigma"] < det["sigma_single"])
    np.testing.assert_allclose(det["logp"], stats.power_logp(det["power"], det["nharm"]), rtol=1e-5)


def test_more_trials_lower_the_significance():
    x = noise(4096, 5) + pulses(4096, 33.3, 0.1, 15).astype(np.float32)
    one = FFTSearch(4096, 1e-3).search(x)[0]
    many = FFTSearch(4096, 1e-3, ntrials_dm=1e4).search(x)[0]
    assert one["logp"] == many["logp"]
    assert one["sigma"] > many["sigma"]


def test_period_range_and_birdies():
    n = 1 << 15
    x = noise(n, 6) + pulses(n, 50.0, 0.3, 40).astype(np.float32)
    assert any(np.isclose(searched(x, 1e-3)["freq"], 20.0, atol=1e-2))
    for kwargs in ({"p_min": 0.06}, {"p_max": 0.006}):
        assert not any(np.isclose(searched(x, 1e-3, **kwargs)["freq"], 20.0, atol=1e-2))
    clean = searched(x, 1e-3, birdies=[(20.0 * k, 0.3) for k in range(1, 20)])
    assert clean.size == 0


def test_most_detections():
    n = 1 << 15
    rng = np.random.default_rng(1)
    x = noise(n, 1) + sum(np.cos(2 * np.pi * r * np.arange(n) / n) for r in rng.uniform(100, 16000, 50)).astype(
        np.float32
    )
    assert len(searched(x, 1e-3, nharm=1)) > 30
    assert len(searched(x, 1e-3, nharm=1, max_detections=7)) == 7


@pytest.mark.parametrize("n", [256, 257, 1000, 4099])
def test_any_length(n):
    x = noise(n, 1) + 2 * np.cos(2 * np.pi * 0.2345 * np.arange(n)).astype(np.float32)
    det = searched(x, 1.0, nharm=4)
    assert abs(det[0]["freq"] - 0.2345) < 0.1 / n


def test_close_to_nyquist():
    n = 8192
    x = noise(n, 1) + np.cos(2 * np.pi * 0.4987 * np.arange(n)).astype(np.float32)
    assert abs(searched(x, 1.0, nharm=32)[0]["freq"] - 0.4987) < 0.1 / n


def test_degenerate_series():
    assert searched(np.zeros(1000, np.float32), 1e-3).size == 0
    assert searched(np.full(1000, np.nan, np.float32), 1e-3).size == 0
    assert np.all(FFTSearch(1000, 1e-3).spectrum(np.zeros(1000, np.int16)) == 0)
    x = noise(4096, 1) + 1e6
    x[17] = np.nan
    x += np.cos(2 * np.pi * 0.2 * np.arange(4096)).astype(np.float32)
    assert abs(searched(x, 1.0)[0]["freq"] - 0.2) < 1e-4


def test_threads_give_what_one_gives():
    n = 1 << 14
    search = FFTSearch(n, 1e-3, FFTConfig(threshold=-3))
    series = [noise(n, s) for s in range(8)]
    alone = [search.search(x) for x in series]
    out = side_by_side(search.search, series, 8)
    for a, b in zip(alone, out, strict=True):
        assert a.tobytes() == b.tobytes()
