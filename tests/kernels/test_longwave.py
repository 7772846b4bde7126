"""Series for the folding search against plain numpy."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import ffa as oracle

from pulsar_kernels import longwave


def gappy(rng, n, share=0.1):
    x = rng.normal(5, 2, n).astype(np.float32)
    x[rng.random(n) < share] = rng.choice([np.nan, np.inf, -np.inf])
    return x


@given(st.integers(1, 10000), st.integers(0, 5), st.booleans(), st.integers(0, 2**32 - 1))
def test_sums_of_samples(n, halvings, integers, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-3000, 3000, n).astype(np.int16) if integers else gappy(rng, n)
    trend = rng.normal(0, 3, 4)
    cuts = np.sort(rng.choice(n + 1, 2 * min(2, (n + 1) // 4), replace=False)).reshape(-1, 2)
    out = np.zeros(n >> halvings, np.float32)
    longwave.sum_samples(x, trend, cuts.astype(np.int64), halvings, out)
    place = (2 * np.arange(n) + 1) / n - 1
    plain = x.astype(float)
    plain[~np.isfinite(plain)] = np.nan
    for lo, hi in cuts:
        plain[lo:hi] = np.nan
    plain -= np.polynomial.polynomial.polyval(place, trend)
    for _ in range(halvings):
        plain = oracle.pair_sums(plain)
    # The cubic is a straight line over 32 or 256 samples.
    piece = 2.0 * min(256 if n >= 8192 else 32, n) / n
    bend = (abs(trend[2]) + 3 * abs(trend[3])) * piece**2 / 4
    np.testing.assert_allclose(out, plain[: len(out)], rtol=1e-4, atol=(bend + 1e-2) * 2**halvings)


def test_a_line_is_taken_off_exactly():
    x = np.linspace(100, 900, 20000, dtype=np.float32)
    out = np.zeros(5000, np.float32)
    longwave.sum_samples(x, np.array([500.0, 400.0, 0, 0]), np.zeros((0, 2), np.int64), 2, out)
    assert np.abs(out).max() < 0.2


@given(st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_pairs(n, seed):
    x = gappy(np.random.default_rng(seed), 2 * n, 0.3)
    x[~np.isfinite(x)] = np.nan
    out = np.zeros(n, np.float32)
    longwave.sum_pairs(x, out)
    np.testing.assert_allclose(out, oracle.pair_sums(x.astype(float)), rtol=1e-6)


@given(st.integers(1, 9000), st.integers(1, 15), st.integers(0, 2**32 - 1))
def test_groups(n, size, seed):
    x = np.random.default_rng(seed).normal(0, 100, n).astype(np.float32)
    sums = np.zeros(n + 1, np.int32)
    longwave.running_sums(x, 64.0, sums)
    out = np.zeros(n // size, np.int16)
    longwave.sum_groups(sums, size, 8 / 64, out)
    expected = np.clip(8 * x[: n // size * size].reshape(-1, size).astype(float).sum(axis=1), -32767, 32767)
    np.testing.assert_allclose(out, expected, atol=0.6 + size / 16)


@pytest.mark.jit
def test_running_sums_may_go_round():
    x = np.full(1000, 1e6, np.float32)
    sums = np.zeros(1001, np.int32)
    longwave.running_sums(x, 64.0, sums)
    out = np.zeros(100, np.int16)
    longwave.sum_groups(sums, 10, 1e-6 / 64, out)
    np.testing.assert_array_equal(out, 10)


@given(st.integers(64, 9000), st.integers(0, 9000), st.integers(0, 500), st.booleans())
def test_constant_stretches_are_missing(n, start, length, integers):
    x = np.random.default_rng(1).normal(0, 50, n).astype(np.int16 if integers else np.float32)
    x[start : start + length] = 3
    out = np.zeros(n, np.float32)
    longwave.sum_samples(x, np.array([0.0, 1.0, 0, 0]), np.zeros((0, 2), np.int64), 0, out)
    whole = n // 64 * 64
    blocks = np.isnan(out[:whole]).reshape(-1, 64)
    first = np.arange(0, whole, 64)
    np.testing.assert_array_equal(blocks.all(axis=1), (start <= first) & (first + 64 <= start + length))
    assert np.all(blocks.any(axis=1) == blocks.all(axis=1))


@given(st.integers(1, 3000), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_block_means(n, size, seed):
    size = min(size, n)
    x = gappy(np.random.default_rng(seed), n)
    x[~np.isfinite(x)] = np.nan
    x[: size // 2 + size // 3 + 1] = np.nan
    out = np.zeros(n // size)
    assert longwave.block_means(x, size, out) == np.count_nonzero(~np.isnan(x))
    for k in range(len(out)):
        part = x[k * size : (k + 1) * size if k + 1 < len(out) else n]
        good = part[~np.isnan(part)]
        expected = np.nan if 4 * len(good) < size else good.mean()
        assert out[k] == pytest.approx(expected, rel=1e-4, nan_ok=True)


@given(st.integers(4, 2000), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_flatten(n, size, seed):
    size = min(size, n)
    rng = np.random.default_rng(seed)
    x = gappy(rng, n)
    x[~np.isfinite(x)] = np.nan
    line = rng.normal(0, 10, n // size)
    out = np.zeros(n, np.float32)
    longwave.flatten(x, size, line, out)
    middles = (np.arange(n // size) + 0.5) * size - 0.5
    expected = np.where(np.isnan(x), 0.0, x - np.interp(np.arange(n), middles, line))
    np.testing.assert_allclose(out, expected, atol=1e-3)


@given(st.integers(0, 400), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_variances(n, step, seed):
    x = np.random.default_rng(seed).normal(0, 3, n).astype(np.float32)
    x[32:64] = 0.0
    out = np.zeros(n // (32 * step) + 1, np.float32)
    count = longwave.block_variances(x, step, out)
    blocks = x[: n // 32 * 32].reshape(-1, 32)[::step]
    expected = [b.astype(float).var(ddof=1) for b in blocks if b.any()]
    np.testing.assert_allclose(out[:count], expected, rtol=1e-4)


@given(st.integers(64, 500), st.integers(0, 2**32 - 1))
def test_clipping(n, seed):
    x = np.random.default_rng(seed).normal(0, 3, n).astype(np.float32)
    low, high = np.zeros(7, np.float32), np.zeros(7, np.float32)
    longwave.extremes(x, low, high)
    parts = [x[a:b] for a, b in itertools.pairwise(n * np.arange(8) // 7)]
    np.testing.assert_array_equal(low, [min(p.min(), 0) for p in parts])
    np.testing.assert_array_equal(high, [max(p.max(), 0) for p in parts])
    assert longwave.count_beyond(x, 4.0) == np.count_nonzero(np.abs(x) > 4)
    for halvings in range(3):
        tamed = x.copy()
        sums = x[: n >> halvings << halvings].reshape(-1, 1 << halvings).sum(axis=1)
        longwave.tame(tamed, sums.copy(), -2.0, 5.0)
        factor = np.clip(sums, -2, 5) / sums
        np.testing.assert_allclose(
            tamed[: len(sums) << halvings], np.repeat(factor, 1 << halvings) * x[: len(sums) << halvings], rtol=1e-5
        )
        np.testing.assert_array_equal(tamed[len(sums) << halvings :], x[len(sums) << halvings :])


@given(st.integers(10, 3000), st.floats(0.001, 0.3), st.integers(1, 8), st.integers(4, 40))
def test_fold(n, rate, nparts, nbins):
    x = np.random.default_rng(n).normal(0, 1, n).astype(np.float32)
    out = np.zeros((nparts, nbins), np.float32)
    longwave.fold(x, rate, out)
    expected = np.zeros((nparts, nbins))
    part = np.searchsorted(n * np.arange(1, nparts) // nparts, np.arange(n), side="right")
    turns = (np.arange(n) + 0.5) * rate
    np.add.at(expected, (part, (np.modf(turns)[0] * nbins).astype(int)), x)
    np.testing.assert_allclose(out, expected, atol=1e-4)


@given(st.integers(1, 8), st.integers(5, 40), st.integers(0, 2**32 - 1))
def test_drifts(nparts, nbins, seed):
    parts = np.random.default_rng(seed).normal(0, 1, (nparts, nbins)).astype(np.float32)
    drifts, widths = np.array([-7, -1, 0, 1, 50]), np.array([1, 2, 4])
    out = np.zeros((5, 3))
    longwave.drift_snr(parts, drifts, widths, 1.7, out)
    for d, drift in enumerate(drifts):
        profile = oracle.drifted(parts.astype(float), drift)
        expected = [oracle.snr(profile, w, 1.7) for w in widths]
        np.testing.assert_allclose(out[d], expected, atol=1e-5)


def explain(freq, snr, source, limits=(4096, 1.5, 1.2, 4.5), tobs=600.0):
    alive = np.ones(len(freq), np.bool_)
    longwave.explained(np.array(freq), np.array(snr), alive, np.array(source), tobs, np.array(limits))
    return list(alive)


def test_ratios_of_a_known_source_are_explained():
    source = (0.5, 30.0, 0.02, 0.0)
    # Half, a third, twice, two thirds of the frequency, the frequency with a sidelobe; what they can have, and more.
    freq = [0.25, 0.5 / 3, 1.0, 1.0 / 3, 0.5 + 0.02 / 600]
    assert explain(freq, [21, 17, 21, 12, 28], source) == [False] * 5
    assert explain(freq, [32, 28, 32, 22, 60], source) == [True] * 5


def test_other_frequencies_are_not_explained():
    assert explain([0.5 + 3 / 600, 0.25 + 1.5 / 600, 0.61803], [20, 15, 9], (0.5, 30.0, 0.02, 0.0)) == [True] * 3


def test_bright_pulses_fall_on_one_another_anywhere():
    # 60 turns of 30 sigma each.
    assert explain([0.061803], [45.0], (0.1, 232.0, 0.05, 0.0)) == [False]
    assert explain([0.061803], [9.0], (0.1, 12.0, 0.05, 0.0)) == [True]


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 700),
    freq=st.floats(0.01, 0.49),
    half=st.integers(1, 400),
    holes=st.sampled_from([0.0, 0.2]),
)
def test_a_tone_is_removed(seed, n, freq, half, holes):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n).astype(np.float32)
    x[rng.random(n) < holes] = np.nan
    turned = np.exp(-2j * np.pi * freq * np.arange(n))
    expected, step = x.astype(np.float64), max(half // longwave.TONE_STEPS, 1)
    for i in range(n):
        part = slice(max(i // step - half // step, 0) * step, (i // step + half // step + 1) * step)
        good = np.isfinite(x[part])
        if good.any():
            expected[i] -= 2.0 * np.real(np.mean((x[part] * turned[part])[good]) / turned[i])
    work = np.empty((3, n + 1))
    got = x.copy()
    longwave.remove_tone(got, freq, half, work)
    np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize("half", [40, 300, 4000])
def test_the_average_of_a_tone_moves_in_steps_that_noise_does_not_feel(half):
    n, freq = 30000, 0.0712
    x = np.random.default_rng(half).normal(size=n).astype(np.float32)
    sums = np.append(0.0, np.cumsum(x * np.exp(-2j * np.pi * freq * np.arange(n))))
    lo, hi = np.maximum(np.arange(n) - half, 0), np.minimum(np.arange(n) + half + 1, n)
    average = (sums[hi] - sums[lo]) / (hi - lo) * np.exp(2j * np.pi * freq * np.arange(n))
    got = x.copy()
    longwave.remove_tone(got, freq, half, np.empty((3, n + 1)))
    assert np.std(got - (x - 2.0 * average.real)) < 1.1 / np.sqrt(2 * longwave.TONE_STEPS * half)


def test_a_steady_tone_vanishes_to_the_last_sample():
    t = np.arange(5000)
    x = (7.0 * np.cos(2 * np.pi * 0.1234 * t + 1.0)).astype(np.float32)
    x[1000:1100] = np.nan
    longwave.remove_tone(x, 0.1234, 300, np.empty((3, 5001)))
    assert np.nanmax(np.abs(x)) < 0.2


@given(st.integers(1, 3000), st.integers(2, 60), st.floats(1e-3, 0.4), st.integers(0, 2**32 - 1))
def test_train_of_pulses_is_the_profile_in_every_turn(n, nbins, turns_per_sample, seed):
    rng = np.random.default_rng(seed)
    profile = rng.normal(0, 3, nbins)
    blank = rng.random(nbins) < 0.1
    x = rng.normal(0, 1, n).astype(np.float32)
    x[rng.random(n) < 0.1] = 0.0
    out = np.full(n, 99.0, np.float32)
    longwave.pulse_train(x, turns_per_sample, profile, blank, out)
    phase = (np.arange(n) + 0.5) * turns_per_sample % 1.0
    # The middles of bins, and of those before the first and after the last.
    middles = (np.arange(-1, nbins + 1) + 0.5) / nbins
    straight = np.interp(phase, middles, profile[np.arange(-1, nbins + 1) % nbins])
    expected = np.where(x == 0.0, 0.0, straight)
    whose = np.floor(phase * nbins).astype(int) % nbins
    expected[blank[whose]] = x[blank[whose]]
    # At the border of two bins the last digit tells which.
    border = np.abs(phase * nbins - np.round(phase * nbins)) < 1e-6
    np.testing.assert_allclose(out[~border], expected[~border], rtol=1e-5, atol=1e-5)
