import numpy as np
import pytest
from reference.noises import white as noise
from reference.threads import side_by_side
from reference.trains import pulses

from pulsar.config.model import FFAConfig
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.errors import DataError
from pulsar.searches import stats
from pulsar.searches.amplitudes import without_lines
from pulsar.searches.ffa import FFASearch
from pulsar.searches.ffa_series import bins_wanted, box_widths

REAL = {
    "GBT_J1807-0847": (163.84e-6, 0.1637113, 1e-4, 200),
    "lovell_psr0": (0.01, 0.2265362, 2e-5, 100),
    "lovell_psr5": (0.01, 0.714571, 2e-5, 40),
    "lovell_psr2": (0.0025, 0.476596, 3e-5, 30),
}
N, TSAMP = 1 << 16, 2e-3


def search(x: np.ndarray, **config: float) -> np.ndarray:
    return FFASearch(len(x), TSAMP, FFAConfig(**config)).search(x)


def is_at(detection: np.void, period: float) -> bool:
    """Within 4 errors."""
    return abs(detection["freq"] - 1 / period) < 4 * detection["freq_err"]


@pytest.mark.parametrize("duty", [0.004, 0.02, 0.1])
@pytest.mark.parametrize("period", [0.613, 2.237, 9.1, 27.3])
def test_pulse_trains_are_found_once_at_their_period(period, duty):
    for seed in range(2):
        x = noise(N, seed) + pulses(N, period / TSAMP, duty, 20.0)
        found = search(x)
        assert is_at(found[0], period)
        # In five turns wide bright pulses are not told from red noise, and count less.
        least = 6.5 if period * duty > 2 else 15.5 if duty * period > 3 * TSAMP else 12
        assert found[0]["snr"] > least
        assert 0.6 < found[0]["width"] / max(duty, TSAMP / period) < 2.5
        for other in found[1:]:
            # Nothing but the chance detections that the threshold promises.
            assert other["sigma"] < 3


def test_a_nulling_pulsar_is_found():
    rng = np.random.default_rng(1)
    n, period = 300_000, 3.0173
    present = rng.random(int(n * TSAMP / period) + 3) < 0.3
    x = noise(n, 2) + pulses(n, period / TSAMP, 0.02, 22.0, present=present)
    found = search(x)
    assert is_at(found[0], period)
    # All turns count, those without a pulse as noise.
    assert found[0]["snr"] > 0.85 * 22.0 * np.sqrt(0.3)


def test_signal_to_noise_of_a_boxcar_is_that_of_theory():
    """Boxes that fit the phase bins, at a trial period: the S/N of the matched filter on the same noise."""
    on = (np.arange(N) % 500 < 20).astype(np.float32)
    on -= on.mean()
    template = on / np.float32(np.sqrt(np.sum(on**2)))
    for seed in range(8):
        x = noise(N, seed) + 25 * template
        matched = np.sum(x[: 131 * 500] * template[: 131 * 500], dtype=np.float64)
        found = search(x, duty_min=0.01)[0]
        assert found["snr"] == pytest.approx(matched, rel=0.02)
        assert found["width"] == pytest.approx(0.04, rel=0.2)


def test_frequency_errors_are_honest():
    pulls = []
    rng = np.random.default_rng(3)
    for seed in range(40):
        period = float(np.exp(rng.uniform(np.log(0.6), np.log(10))))
        x = noise(N, seed) + pulses(N, period / TSAMP, (0.01, 0.03, 0.1)[seed % 3], 14.0, rng.uniform())
        found = search(x)
        near = found[np.abs(found["freq"] - 1 / period) < 0.5 / (N * TSAMP)]
        pulls += [(d["freq"] - 1 / period) / d["freq_err"] for d in near[:1]]
    assert len(pulls) == 40
    assert 0.6 < np.sqrt(np.mean(np.square(pulls))) < 1.5


def test_false_alarms_are_as_many_as_promised():
    n, seeds, threshold = 1 << 15, 60, -1.0
    many = FFASearch(n, TSAMP, FFAConfig(threshold=threshold))
    found = sum(len(many.search(noise(n, 1000 + seed))) for seed in range(seeds))
    promised = seeds * stats.expected_from_sigma(threshold)
    assert 0.6 * promised < found < 1.4 * promised


@pytest.mark.parametrize(("knee", "slope"), [(40, 3), (200, 2), (1000, 1)])
def test_false_alarms_on_red_noise_and_drift(knee, slope):
    n, seeds, threshold = 1 << 15, 20, -1.0
    many = FFASearch(n, TSAMP, FFAConfig(threshold=threshold))
    found = 0
    for seed in range(seeds):
        spec = np.fft.rfft(np.random.default_rng(seed).standard_normal(2 * n))
        freq = np.arange(spec.size) / 2.0
        spec[1:] *= np.sqrt(1 + (knee / freq[1:]) ** slope)
        x = np.fft.irfft(spec)[:n] + np.linspace(0, 20, n) ** 1.5
        found += len(many.search(x.astype(np.float32)))
    promised = seeds * stats.expected_from_sigma(threshold)
    assert found < promised + 3 * np.sqrt(promised)


def test_a_burst_is_no_periodicity():
    x = noise(N, 4)
    x[20000:20300] += 40
    x[41000:41010] -= 300
    assert all(d["sigma"] < 3 for d in search(x))
    period = 1.234
    found = search(x + pulses(N, period / TSAMP, 0.02, 15.0))
    assert is_at(found[0], period)


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_pulsars(shared_data, name):
    tsamp, period, tolerance, snr = REAL[name]
    x = np.fromfile(shared_data / "series" / f"{name}.dat", dtype=np.float32)
    found = FFASearch(x.size, tsamp, FFAConfig(p_min=0.1)).search(x)
    best = found[0]
    assert 1 / best["freq"] == pytest.approx(period, rel=tolerance)
    assert best["snr"] > snr
    # Its multiples and parts are not listed again.
    for other in found[1:]:
        ratio = other["freq"] * period
        for b in range(1, 8):
            assert abs(ratio * b - round(ratio * b)) > 1e-4 * b or round(ratio * b) == 0


def test_two_pulsars_are_two_detections():
    x = noise(N, 5) + pulses(N, 1.117 / TSAMP, 0.03, 30.0) + pulses(N, 2.909 / TSAMP, 0.02, 14.0, 0.7)
    found = search(x)
    assert is_at(found[0], 1.117)
    assert is_at(found[1], 2.909)


@pytest.mark.parametrize(("second", "period"), [(0.6, 2.0), (1.0, 1.0)])
def test_interpulses(second, period):
    """Two pulses half a turn apart are one period if they differ, and half of it if they are equal."""
    n = 1 << 17
    x = pulses(n, 2.0 / TSAMP, 0.02, 30.0) + pulses(n, 2.0 / TSAMP, 0.02, 30.0 * second, 0.8) + noise(n, 6)
    found = search(x)
    assert is_at(found[0], period)
    assert all(d["sigma"] < 3 for d in found[1:])


def test_periods_below_the_range_are_listed_once():
    t = np.arange(N) * TSAMP
    x = noise(N, 7) + (0.6 * np.cos(2 * np.pi * 17.3 * t)).astype(np.float32)
    found = search(x)
    ratio = 17.3 / found[0]["freq"]
    assert ratio == pytest.approx(round(ratio), abs=0.02)
    assert all(d["sigma"] < 3 for d in found[1:])
    # Known interference is not listed by any of its multiples either.
    assert all(d["sigma"] < 3 for d in FFASearch(N, TSAMP).search(x, birdies=[(50.0, 0.2), (17.3, 0.2)]))


def test_very_bright_pulses():
    """Bins of the profile beyond what 16 bits hold at first."""
    period = 0.777
    x = noise(N, 8) + pulses(N, period / TSAMP, 0.03, 8000.0)
    found = search(x)
    assert abs(found[0]["freq"] * N * TSAMP - N * TSAMP / period) < 0.01
    assert found[0]["snr"] > 1000
    assert len(found) == 1


def test_missing_samples_have_no_weight():
    period, gap = 1.733, (20000, 40000)
    clean = noise(N, 9) + pulses(N, period / TSAMP, 0.03, 25.0) + 100
    full = search(clean)[0]
    broken = clean.copy()
    broken[gap[0] : gap[1]] = 1e6
    share = 1 - (gap[1] - gap[0]) / N
    for x, gaps in (
        (broken, [gap]),
        (np.where(broken > 1e5, np.nan, broken), []),
        (np.where(broken > 1e5, 100, broken), []),
    ):
        found = FFASearch(N, TSAMP, gaps=gaps).search(x.astype(np.float32))
        assert is_at(found[0], period)
        assert found[0]["snr"] == pytest.approx(full["snr"] * np.sqrt(share), rel=0.1)
    sprinkled = clean.copy()
    sprinkled[np.random.default_rng(1).random(N) < 0.1] = np.nan
    sprinkled[5], sprinkled[9] = np.inf, -np.inf
    found = search(sprinkled)
    assert is_at(found[0], period)
    assert found[0]["snr"] == pytest.approx(full["snr"] * np.sqrt(0.9), rel=0.1)


def test_gaps_raise_no_false_alarms():
    n, seeds, threshold = 1 << 15, 30, -1.0
    many = FFASearch(n, TSAMP, FFAConfig(threshold=threshold), gaps=[(9000, 15000), (30000, 10**9)])
    found = 0
    for seed in range(seeds):
        x = noise(n, seed)
        x[9000:15000] = 50
        found += len(many.search(x))
    promised = seeds * stats.expected_from_sigma(threshold)
    assert found < promised + 3 * np.sqrt(promised)


def test_integers_and_scale():
    x = noise(N, 10) + pulses(N, 1.5 / TSAMP, 0.02, 20.0)
    one = search(x)[0]
    integers = search(np.round(100 * x).astype(np.int16))[0]
    drifting = search((3e4 * x + 1e6 + np.linspace(0, 3e6, N)).astype(np.float32))[0]
    doubles = search(x.astype(np.float64))[0]
    for other in (integers, drifting, doubles):
        assert other["snr"] == pytest.approx(one["snr"], rel=0.02)
        assert abs(other["freq"] - one["freq"]) < one["freq_err"]


def test_table_and_order():
    x = noise(N, 11) + pulses(N, 1.117 / TSAMP, 0.03, 30.0) + pulses(N, 2.909 / TSAMP, 0.02, 14.0, 0.7)
    found = FFASearch(N, TSAMP, ntrials_dm=50).search(x, dm=12.5, dm_index=3)
    assert found.dtype == dtype_of(DETECTION_COLUMNS)
    assert np.all(np.diff(found["logp"]) >= 0)
    assert set(found["dm"]) == {12.5}
    assert set(found["dm_index"]) == {3}
    assert set(found["kind"]) == {"ffa"}
    assert np.all(found["fdot"] == 0)
    assert np.all(found["fddot"] == 0)
    assert np.all(found["sigma"] < found["sigma_single"])
    np.testing.assert_allclose(found["sigma_single"], found["snr"], rtol=1e-6)
    np.testing.assert_allclose(found["power"], found["nharm"] + found["snr"] ** 2 / 2, rtol=1e-6)
    np.testing.assert_array_equal(found["nharm"], np.clip(np.round(0.5 / found["width"]), 1, 32))


def test_more_trials_lower_the_significance():
    x = noise(N, 12) + pulses(N, 1.5 / TSAMP, 0.02, 20.0)
    one = FFASearch(N, TSAMP).search(x)[0]
    many = FFASearch(N, TSAMP, ntrials_dm=1e4).search(x)[0]
    assert one["logp"] == many["logp"]
    assert one["sigma"] > many["sigma"]
    assert FFASearch(N, TSAMP, ntrials_dm=1e4).snr_threshold > FFASearch(N, TSAMP).snr_threshold


def test_period_range_birdies_and_most_detections():
    period = 1.5
    x = noise(N, 13) + pulses(N, period / TSAMP, 0.02, 20.0)
    assert is_at(search(x)[0], period)
    for config in ({"p_min": 1.6}, {"p_max": 1.4}):
        assert not any(abs(d["freq"] * period - 1) < 1e-3 for d in search(x, **config))
    birdies = [(k / j / period, 2e-2) for k in (1, 2, 3) for j in range(1, 30)]
    for d in FFASearch(N, TSAMP).search(x, birdies=birdies):
        assert all(abs(d["freq"] - f) > 0.009 for f, _ in birdies)
    two = noise(N, 5) + pulses(N, 1.117 / TSAMP, 0.03, 30.0) + pulses(N, 2.909 / TSAMP, 0.02, 24.0, 0.7)
    assert len(search(two, max_detections=1)) == 1


def test_ranges_that_do_not_fit_are_cut():
    short = FFASearch(1000, 1e-3)
    assert short.ntrial_periods == 0
    cost = FFASearch.estimate(short.nsamps, short.tsamp, short.config)
    assert cost.trials == cost.seconds == 0
    assert cost.memory >= 0
    assert len(short.search(noise(1000, 1))) == 0
    fair = FFASearch(10000, 1e-3)
    assert fair.p_max == pytest.approx(2.5)
    assert fair.trial_periods().max() < 2.6
    # Fewer than 8 samples a turn are left to the FFT.
    coarse = FFASearch(10000, 0.1)
    assert coarse.p_min == pytest.approx(0.8)


def test_constant_or_missing_series_have_no_detections():
    for x in (np.zeros(N, np.float32), np.full(N, 7, np.int16), np.full(N, np.nan, np.float32)):
        assert len(search(x)) == 0


def test_wrong_usage_is_told():
    with pytest.raises(DataError, match="one FFASearch for each length"):
        FFASearch(N, TSAMP).search(noise(N - 1, 1))


@pytest.mark.parametrize("tsamp", [5e-5, 1e-3, 1.7e-2])
def test_periods_are_covered_once_and_finely(tsamp):
    n = 1 << 17 if tsamp > 1e-4 else 1 << 19
    plan = FFASearch(n, tsamp, FFAConfig(p_min=0.3, p_max=20.0))
    freq = 1 / plan.trial_periods()
    bins = plan._trials(np.arange(plan.ntrial_periods))[1]
    assert np.all(np.diff(freq) < 0)
    assert freq[0] == pytest.approx(1 / plan.p_min, rel=1e-2)
    assert freq[-1] == pytest.approx(1 / plan.p_max, rel=1e-2)
    # Neighbours drift by a bin, through what part of the data their rows cover.
    used = np.array([1 - 2 / (plan.tobs * f) for f in freq[:-1]])
    assert np.all(np.diff(freq) * plan.tobs * bins[:-1] * np.maximum(used, 0.4) > -2.01)
    for level in plan.levels:
        for step in level.steps:
            for b in step.transforms[:, 0]:
                period = b * step.factor * level.tau
                wanted = min(bins_wanted(period, 0.002), period / tsamp)
                assert b > 0.97 * wanted - 1
                assert b < max(1.3 * wanted + 2, 2.1 * wanted)


def test_widths():
    np.testing.assert_array_equal(box_widths(240, 1 / 240, 0.2), [1, 2, 3, 4, 6, 9, 13, 19, 28, 42])
    assert box_widths(500, 0.02, 0.1)[0] == 10
    assert box_widths(500, 0.02, 0.1)[-1] <= 50
    np.testing.assert_array_equal(box_widths(10, 0.002, 0.05), [1])
    assert bins_wanted(10.0, 0.002) == 500
    assert bins_wanted(0.01, 0.002) == 64
    assert bins_wanted(1.0, 0.002) == pytest.approx(1 / 0.003)


def test_the_best_trial_period_is_the_one_that_is_listed():
    x = noise(N, 14) + pulses(N, 1.5 / TSAMP, 0.02, 20.0)
    search = FFASearch(N, TSAMP, FFAConfig(p_min=0.5, p_max=5.0))
    found = search.search(x)[0]
    best = search._buffers().best[: search.ntrial_periods]
    at = int(np.argmax(best))
    assert best[at] == pytest.approx(found["snr"], rel=1e-6)
    assert search.trial_periods()[at] == pytest.approx(1.5, rel=1e-3)


def test_threads_find_the_same():
    series = [noise(N, s) + pulses(N, (1.1 + s) / TSAMP, 0.02, 20.0) for s in range(6)]
    shared = FFASearch(N, TSAMP)
    alone = [shared.search(x) for x in series]
    together = side_by_side(shared.search, series, 3)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_lines_are_filtered_out_of_the_series():
    tau, n = 1e-3, 60_000
    t = (np.arange(n) + 0.5) * tau
    rng = np.random.default_rng(3)
    pulse = 6.0 * (np.mod(t / 1.7, 1.0) < 0.02)
    noise = rng.normal(size=n) + pulse
    series = (noise + 9.0 * np.sin(2 * np.pi * 50.03 * t) + 4.0 * np.sin(2 * np.pi * 7.1 * t)).astype(np.float32)
    series[20_000:20_100] = np.nan
    filtered = series.copy()
    without_lines(filtered, tau, [(50.0, 0.4), (7.1, 0.1), (700.0, 5.0)])
    assert np.isnan(filtered[20_000:20_100]).all()
    left = np.where(np.isnan(filtered), 0.0, filtered - noise)
    assert np.abs(left[2000:-2000]).std() < 0.3
    assert left[:200].std() < 1.0
    untouched = series.copy()
    without_lines(untouched, tau, [(700.0, 5.0)])
    np.testing.assert_array_equal(untouched, series)


def test_a_pulsar_under_mains_is_found_with_its_lines_given():
    tsamp, n = 2e-3, 100_000
    t = (np.arange(n) + 0.5) * tsamp
    rng = np.random.default_rng(5)
    series = rng.normal(size=n) + 0.8 * (np.mod(t / 1.9137, 1.0) < 0.02)
    hum = 6.0 * np.sin(2 * np.pi * 49.97 * t) + 5.0 * np.sin(2 * np.pi * 0.731 * t)
    search = FFASearch(n, tsamp, FFAConfig(p_min=0.6, p_max=8.0))
    wanted = search.search(series.astype(np.float32))[0]
    got = search.search((series + hum).astype(np.float32), birdies=[(49.97, 0.1), (0.731, 0.05)])[0]
    assert abs(1.0 / got["freq"] - 1.9137) < 1e-3
    assert got["snr"] > 0.9 * wanted["snr"]
