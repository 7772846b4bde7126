"""Powers on a common grid, their bytes, and the search of their sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.noises import white as noise

from pulsar.config.model import FFTConfig
from pulsar.errors import ConfigError, DataError
from pulsar.searches.stats import expected_from_sigma
from pulsar.stack.epochs import GridPowers
from pulsar.stack.files import LARGEST, POINTS, StackGrid, decoded, encode
from pulsar.stack.search import StackSearch

N = 1 << 14


def grid_of(nfft: int = N, tsamp: float = 1e-3, **more: float) -> StackGrid:
    return StackGrid(tsamp, nfft, POINTS * nfft // 2, np.zeros(1), **more)


def tone(n: int, freq: float, snr: float, tsamp: float = 1e-3) -> np.ndarray:
    """A sine of a matched-filter S/N."""
    return (snr * np.sqrt(2.0 / n) * np.sin(2 * np.pi * freq * tsamp * np.arange(n) + 0.4)).astype(np.float32)


def test_bytes_keep_mean_variance_and_order() -> None:
    powers = np.random.default_rng(1).exponential(size=1 << 20).astype(np.float32)
    code, beyond = encode(powers)
    back = decoded()[code]
    assert beyond == 0
    assert back.mean() == pytest.approx(powers.mean(), abs=2e-4)
    # What rounding adds to the noise costs less than a thousandth of the S/N of a sum.
    assert np.corrcoef(back, powers)[0, 1] > 0.9995
    assert np.all(np.diff(decoded()) > 0)


@given(st.floats(0.0, 2.0 * LARGEST))
def test_a_byte_is_off_by_a_step_at_most(power: float) -> None:
    code, beyond = encode(np.array([power], dtype=np.float32))
    back = float(decoded()[code[0]])
    assert abs(back - min(power, LARGEST)) <= 0.04 * (1.0 + min(power, LARGEST))
    assert beyond == int(np.float32(power) >= LARGEST * (1 - 1e-6)) or abs(power - LARGEST) < 1e-2 * LARGEST


@pytest.mark.parametrize("n", [N, N // 2, 10007])
def test_noise_is_exponential_with_mean_1_on_any_grid(n: int) -> None:
    maker = GridPowers(n, grid_of())
    powers = np.mean([maker.powers(noise(n, seed))[400:] for seed in range(8)], axis=0)
    assert powers.mean() == pytest.approx(1.0, abs=0.02)
    one = maker.powers(noise(n, 99))[400:]
    for p in (0.1, 0.01):
        assert np.mean(one > -np.log(p)) == pytest.approx(p, rel=0.3)


@pytest.mark.parametrize("n", [N, 3 * N // 4])
def test_a_line_keeps_its_power_and_its_place(n: int) -> None:
    grid = grid_of()
    maker = GridPowers(n, grid)
    kept = []
    for seed, freq in enumerate(np.linspace(120.0, 120.1, 24)):
        powers = maker.powers(noise(n, seed) + tone(n, float(freq), 12.0))
        at = int(np.argmax(powers[400:])) + 400
        assert abs(at * grid.step - freq) < 1.0 / (n * grid.tsamp)
        kept.append(powers[at])
    # 1 + 72, each +- 12; less what lies between quarter bins (1.7 %) and what so large a power over a level from 500
    # others counts for (500 ln(1 + 73 / 500) = 68).
    assert np.mean(kept) == pytest.approx(67.0, abs=7.0)


def test_a_constant_series_gives_nothing_and_short_ones_are_refused() -> None:
    maker = GridPowers(N, grid_of())
    assert not maker.powers(np.zeros(N, dtype=np.float32)).any()
    with pytest.raises(DataError, match="at least"):
        GridPowers(100, grid_of())


def stacked(epochs: int, seed: int, *tones: tuple[float, float], weights: np.ndarray | None = None) -> np.ndarray:
    """The weighted sum of the powers of epochs, through bytes."""
    maker = GridPowers(N, grid_of())
    w = np.ones(epochs) / epochs if weights is None else weights / weights.sum()
    total = np.zeros(maker.grid.npoints)
    for e in range(epochs):
        series = noise(N, 1000 * seed + e) + sum(tone(N, f, snr) for f, snr in tones)
        total += w[e] * decoded()[encode(maker.powers(series.astype(np.float32)))[0]]
    return total.astype(np.float32)


def test_sixteen_nights_of_five_sigma_are_found_at_the_theoretical_snr() -> None:
    search = StackSearch(grid_of(), np.ones(16), np.full(16, N * 1e-3), FFTConfig(threshold=3.0))
    snr = []
    for seed in range(6):
        freq = 61.0 + 7.013 * seed
        found = search.search(stacked(16, seed, (freq, 5.0)))
        assert len(found) == 1
        assert found["freq"][0] == pytest.approx(freq, abs=5 * found["freq_err"][0])
        snr.append((found["power"][0] - found["nharm"][0]) / np.sqrt(found["nharm"][0]))
    # 16 nights of 12.5 above noise, in units of the noise of 16: 50, each +- 5.
    assert np.mean(snr) == pytest.approx(50.0, rel=0.1)


def test_false_alarms_are_as_many_as_promised() -> None:
    w = np.resize([1.0, 0.3], 6)
    config = FFTConfig(threshold=-2.0, max_detections=1000)
    search = StackSearch(grid_of(), w, np.full(6, N * 1e-3), config)
    found = sum(len(search.search(stacked(6, 100 + seed, weights=w))) for seed in range(12))
    promised = 12 * expected_from_sigma(-2.0)
    assert abs(found - promised) < 4.0 * np.sqrt(promised)


def test_short_nights_count_less_and_the_sum_gains_by_it() -> None:
    part = np.resize([1.0, 0.2], 8)
    grid, freq, tones = grid_of(), 61.3, 30.0
    ratio = {}
    for name, w in {"by length": part, "alike": np.ones(8)}.items():
        total = np.zeros(grid.npoints)
        for e, p in enumerate(part):
            n = int(p * N)
            series = noise(n, 70 + e) + tone(n, freq, tones * float(np.sqrt(p)))
            total += w[e] / w.sum() * decoded()[encode(GridPowers(n, grid).powers(series.astype(np.float32)))[0]]
        search = StackSearch(grid, w, part * grid.span, FFTConfig(threshold=3.0, nharm=1))
        found = search.search(total.astype(np.float32))
        ratio[name] = float(found["power"][0] - 1.0)
        # Large powers over a level from a few hundred others count for less: up to a third here.
        theory = float(w @ (0.5 * tones**2 * part)) / np.sqrt(np.sum(w**2))
        assert 0.6 * theory < ratio[name] < 1.1 * theory
    assert ratio["by length"] > 1.1 * ratio["alike"]


def test_harmonics_of_a_stronger_one_are_left_out_but_not_another_pulsar() -> None:
    powers = np.random.default_rng(4).gamma(16.0, 1.0 / 16.0, 2 * N).astype(np.float32)
    # Eight harmonics of one, and of another whose fifth harmonic coincides with the seventh of the first.
    for k in range(1, 9):
        powers[600 * k] += 10.0
        powers[840 * k] += 6.0
    search = StackSearch(grid_of(), np.ones(16), np.full(16, N * 1e-3), FFTConfig(threshold=3.0))
    found = search.search(powers)
    assert sorted(np.rint(found["freq"] / search.grid.step).astype(int).tolist()) == [600, 840]


def test_a_slow_pulsar_does_not_hide_a_fast_one_at_one_of_its_multiples() -> None:
    powers = np.random.default_rng(7).gamma(16.0, 1.0 / 16.0, 2 * N).astype(np.float32)
    for k in range(1, 5):
        powers[160 * k] += 9.0 / k
    powers[160 * 19] += 8.0
    powers[160 * 38] += 4.0
    found = StackSearch(grid_of(), np.ones(16), np.full(16, N * 1e-3), FFTConfig(threshold=3.0)).search(powers)
    assert sorted(np.rint(found["freq"] / grid_of().step).astype(int).tolist()) == [160, 160 * 19]


def test_a_signal_in_every_second_harmonic_is_of_twice_the_frequency() -> None:
    powers = np.random.default_rng(6).gamma(16.0, 1.0 / 16.0, 2 * N).astype(np.float32)
    for k in (1, 2):
        powers[1200 * k] += 6.0
        # What noise adds to the sum of four harmonics of half the frequency, and would win by.
        powers[600 * (2 * k - 1)] += 0.3
    found = StackSearch(grid_of(), np.ones(16), np.full(16, N * 1e-3), FFTConfig(threshold=3.0)).search(powers)
    assert np.rint(found["freq"] / grid_of().step).tolist() == [1200.0]


@pytest.mark.parametrize("weights", [[], [1.0, 0.0], [1.0, np.nan]])
def test_weights_must_be_positive(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="positive weight"):
        StackSearch(grid_of(), np.array(weights), np.ones(len(weights)))


def test_an_empty_range_of_periods_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"fft\.p_min"):
        StackSearch(grid_of(), np.ones(2), np.ones(2) * 16.0, FFTConfig(p_max=1e-3))
