import numpy as np
import pytest

from pulsar.config.model import FFAConfig
from pulsar.searches.amplitudes import red_level
from pulsar.searches.ffa import FFASearch
from pulsar.searches.ffa_series import BoxNoise, Step, between_lines

TSAMP, N = 4e-3, 16_750
WIDTHS = np.array([0.01, 0.05, 0.2, 0.35])


def pulses(period: float, duty: float, snr: float, phase: float) -> np.ndarray:
    """Gaussian pulses of full width `duty` at half maximum [turns], period in samples, matched-filter S/N."""
    turns = np.arange(N) / period + phase
    x = np.exp(-4 * np.log(2) * ((turns - np.round(turns)) / duty) ** 2)
    x -= x.mean()
    return x * snr / np.sqrt(np.sum(x**2))


def drifts(rng: np.random.Generator) -> np.ndarray:
    """Two waves, each of S/N 50 or more, and a random walk."""
    t = np.arange(N) * TSAMP
    waves = sum(0.7 * np.sin(2 * np.pi * (t / period + rng.uniform())) for period in rng.uniform(7.0, 15.0, 2))
    return np.asarray(waves) + 1.5 / np.sqrt(N) * np.cumsum(rng.standard_normal(N))


@pytest.mark.parametrize("duty", [0.15, 0.24])
@pytest.mark.parametrize("period", [1.0, 4.3])
def test_wide_slow_pulses_keep_their_signal_to_noise(period, duty):
    """In 67 s of white noise: 0.94 to 0.98 on average (docs/ffa.md)."""
    search = FFASearch(N, TSAMP, FFAConfig())
    kept = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(N) + pulses(period / TSAMP, duty, 13.0, rng.uniform())
        best = search.search(x.astype(np.float32))[0]
        assert abs(best["freq"] - 1 / period) < 4 * best["freq_err"]
        kept.append(best["snr"] / 13.0)
    assert np.mean(kept) > 0.85


@pytest.mark.parametrize("duty", [0.02, 0.15, 0.25])
def test_drifts_slower_than_the_period_cost_little(duty):
    search = FFASearch(N, TSAMP, FFAConfig(p_max=1.5))
    kept = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(N) + pulses(1.0 / TSAMP, duty, 15.0, rng.uniform()) + drifts(rng)
        best = search.search(x.astype(np.float32))[0]
        assert abs(best["freq"] - 1.0) < 4 * best["freq_err"]
        kept.append(best["snr"] / 15.0)
    assert np.mean(kept) > 0.85


def strong_drifts(rng: np.random.Generator) -> np.ndarray:
    """One to three waves of 3 to 15 s and S/N 14 to 270, and a random walk."""
    t = np.arange(N) * TSAMP
    out = rng.uniform(1.0, 4.5) / np.sqrt(N) * np.cumsum(rng.standard_normal(N))
    for _ in range(rng.integers(1, 4)):
        amp, period = np.exp(rng.uniform(*np.log([0.15, 3.0]))), rng.uniform(3.0, 15.0)
        out += amp * np.sin(2 * np.pi * (t / period + rng.uniform()))
    return out


def test_narrow_slow_pulses_are_found_in_drifts():
    """S/N 15 in white noise, of which the drifts leave 14 at best; 11.7, 11.3 with the leakage of the drifts."""
    search = FFASearch(N, TSAMP, FFAConfig(threshold=2.0))
    snrs = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(N) + pulses(4.3 / TSAMP, 0.02, 15.0, rng.uniform()) + strong_drifts(rng)
        found = search.search(x.astype(np.float32))
        own = found[np.abs(found["freq"] - 1 / 4.3) * N * TSAMP < 0.1]
        snrs.append(own["snr"].max(initial=0.0))
    assert np.mean(snrs) > 11.0


@pytest.mark.parametrize(("period", "duty"), [(3.37, 0.06), (2.0, 0.2)])
def test_strong_waves_do_not_leak_into_the_harmonics_of_slow_pulsars(period, duty):
    """S/N 20 in white noise; means of 10.0 and 7.8 with the leakage, 15.2 and 15.4 without."""
    search = FFASearch(N, TSAMP, FFAConfig(threshold=-2.0))
    t = np.arange(N) * TSAMP
    snrs = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(N) + pulses(period / TSAMP, duty, 20.0, rng.uniform())
        for amp, low, high in ((4.0, 6.0, 8.0), (3.0, 9.0, 13.0)):
            wave = rng.uniform(low, high)
            x += amp * np.sin(2 * np.pi * (t / wave + rng.uniform()))
        found = search.search((x + 0.5 / np.sqrt(N) * np.cumsum(rng.standard_normal(N))).astype(np.float32))
        own = found[np.abs(found["freq"] - 1 / period) * N * TSAMP < 0.2]
        snrs.append(own["snr"].max(initial=0.0))
    assert np.mean(snrs) > 13.5


def test_waves_leave_no_periodicities():
    """Of S/N above a hundred they left some of 16 sigma at parts and multiples of their period."""
    search = FFASearch(N, TSAMP, FFAConfig(threshold=-1.0))
    for seed in range(12):
        rng = np.random.default_rng(seed)
        found = search.search((rng.standard_normal(N) + strong_drifts(rng)).astype(np.float32))
        assert found["sigma"].max(initial=-9.0) < 3.5


def test_red_noise_falls_and_pulses_that_vary_do_not():
    rng = np.random.default_rng(3)
    modes = np.arange(4098)
    white = np.sqrt(0.5) * (rng.standard_normal(4098) + 1j * rng.standard_normal(4098))
    assert len(red_level(white, 1.0)) == 0
    # As pulses of a few hundredths of a turn do: the same up to their width, less beyond.
    assert len(red_level(white * np.sqrt(1.0 + 13.0 * np.exp(-((modes / 2000.0) ** 2))), 1.0)) == 0
    walk = 1.0 + (100.0 / np.maximum(modes, 1.0)) ** 2
    level = red_level(white * np.sqrt(walk), 1.0)
    assert 0.5 < np.median(level[7:60] / walk[8:61]) < 1.6
    np.testing.assert_allclose(level[1000:], 1.0, atol=0.15)
    # A pulsar's lines are not taken for noise.
    comb = white * np.sqrt(walk)
    comb[37::37] += 10.0
    assert 0.8 < np.median(red_level(comb, 1.0)[15:1000] / level[15:1000]) < 1.3


def test_every_step_has_boxes_up_to_the_widest_pulse():
    for tsamp in (2.5e-4, 2e-3, 1e-2):
        for level in FFASearch(int(100 / tsamp), tsamp, FFAConfig(duty_max=0.35)).levels:
            for step in level.steps:
                bins = step.transforms[:, 0]
                assert step.widths[-1] / bins.max() > 0.2
                assert step.widths[-1] / bins.min() < 0.36


def test_noise_of_a_fold_is_that_at_its_harmonics():
    turns = 20
    noise = BoxNoise([Step(1, 200 * turns, np.array([[200, 0, 1, 0]]), np.round(200 * WIDTHS).astype(np.int64))])

    def folded(level):
        (found,) = noise.folded(level)
        return found

    level = np.ones(1280)
    np.testing.assert_array_equal(folded(level), 1.0)
    slow = level.copy()
    slow[: turns - 2] = 1e4
    np.testing.assert_array_equal(folded(slow), 1.0)
    # All harmonics alike: sqrt(16) for every box, and 1.5 errors more.
    raised = folded(16 * level)
    np.testing.assert_allclose(raised, 4.0 * (1.0 + 1.5 * np.sqrt(WIDTHS / turns)))
    # The fundamental alone raises the widest boxes most.
    first = level.copy()
    first[turns - 1] = 100.0
    assert np.all(np.diff(folded(first)) > 0)


def test_lines_of_a_pulsar_are_no_noise_and_strong_waves_are():
    rng = np.random.default_rng(1)
    n, t = 4096, np.arange(4096)
    white = rng.standard_normal(n)
    lines = between_lines((white + 0.3 * np.sin(2 * np.pi * 60 * t / n)).astype(np.float32), 1.0)
    assert lines[20:].max() < 1.6
    waves = between_lines((white + 5.0 * np.sin(2 * np.pi * 60 * t / n)).astype(np.float32), 1.0)
    assert waves[59] == pytest.approx(25 * n / 4, rel=0.1)
    walk = between_lines((white + 0.1 * np.cumsum(rng.standard_normal(n))).astype(np.float32), 1.0)
    assert walk[9] > 10 * walk[500]
