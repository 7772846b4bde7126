import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import cells as ref

from pulsar_kernels import baseline, cells

pytestmark = pytest.mark.usefixtures("quiet")
SEEDS = st.integers(0, 2**32 - 1)


def moments(series):
    n = -(-len(series) // 32)
    mean, var, count = np.zeros((3, n), np.float32)
    return cells.cell_moments(series, mean, var, count), mean, var, count


@given(st.integers(33, 9000), st.sampled_from([np.int16, np.float32]), st.floats(-900, 900), SEEDS)
def test_cell_moments(n, dtype, offset, seed):
    rng = np.random.default_rng(seed)
    series = (offset + 30 * rng.standard_normal(n)).round().astype(dtype)
    if dtype == np.float32:
        series[rng.integers(0, n, n // 500)] = rng.choice([np.nan, np.inf, -np.inf])
    odd, mean, var, count = moments(series)
    expected = ref.moments(series)
    np.testing.assert_allclose(mean, expected[0], atol=1e-3, rtol=1e-5)
    np.testing.assert_allclose(var, expected[1], atol=0.02, rtol=2e-4)
    np.testing.assert_array_equal(count, expected[2])
    full = np.minimum(32, n - 32 * np.arange(len(mean)))
    assert odd == np.count_nonzero((expected[1] == 0) | (expected[2] < full))


def test_moments_far_from_zero():
    # A step of a thousand sigma inside what shares an origin.
    series = np.random.default_rng(1).standard_normal(4096).astype(np.float32)
    series[1000:] += 3000.0
    _, mean, var, _ = moments(series)
    expected = ref.moments(series)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-5, atol=1e-3)
    good = expected[1] < 10
    np.testing.assert_allclose(var[good], expected[1][good], rtol=0.02)


@given(
    st.integers(300, 4000), st.integers(0, 4000), st.integers(64, 1500), st.sampled_from([np.int16, np.float32]), SEEDS
)
def test_constant_runs(n, start, length, dtype, seed):
    rng = np.random.default_rng(seed)
    series = (1000 * rng.standard_normal(n)).astype(dtype)
    start = min(start, n - 64)
    series[start : start + length] = 7
    expected = ref.runs(series)
    if dtype == np.float32 and seed % 2:
        series[start : start + length] = np.nan
    odd, mean, var, count = moments(series)
    runs = cells.constant_runs(series, mean, var, count, odd)
    assert len(runs) == 1 == len(expected)
    # A lone finite sample next to those that are not is one value, too.
    assert np.all(np.abs(runs - expected) <= (1 if np.isnan(series[start]) else 0))
    # Cells at the ends are those of the other samples.
    lo, hi = runs[0]
    assert np.all(count[-(-lo // 32) : hi // 32] == 0)
    for c in range(len(count)):
        others = np.concatenate([series[32 * c : max(lo, 32 * c)][:32], series[max(hi, 32 * c) : 32 * c + 32]])
        assert count[c] == others.size
        assert mean[c] == pytest.approx(others.astype(float).mean() if others.size else mean[c], rel=1e-4, abs=1e-3)


def levels(series, nbase=4, nnoise=2):
    odd, mean, var, count = moments(series)
    if odd:
        cells.constant_runs(series, mean, var, count, odd)
    base, scale = np.zeros((2, len(mean)), np.float32)
    assert baseline.baseline_and_noise(mean, var, count, nbase, nnoise, base, scale)
    return base, scale, count


@pytest.mark.jit
def test_noise_of_white_noise():
    # The constant for what clipping takes off is chi-square's own.
    found = []
    for seed in range(20):
        _, scale, _ = levels(np.random.default_rng(seed).standard_normal(1 << 16).astype(np.float32))
        found.append(1 / scale[1000])
    assert np.mean(found) == pytest.approx(1.0, abs=0.002)
    assert np.std(found) < 0.006


def test_baseline_follows_a_drift_and_leaves_pulses():
    n = 1 << 16
    u = np.linspace(-1, 1, n)
    drift = 5.0 + 20.0 * u
    x = np.random.default_rng(2).standard_normal(n) + drift
    x[::1000] += 300.0
    x[20000:21500] += 10.0
    base, scale, _ = levels(x.astype(np.float32), nbase=8)
    assert np.max(np.abs(base - drift[16::32])) < 0.6
    np.testing.assert_allclose(scale, 1.0, atol=0.03)


def test_noise_of_a_bad_stretch_and_of_a_gap():
    n = 1 << 16
    x = np.random.default_rng(3).standard_normal(n)
    x[20000:25000] *= 6.0
    x[40000:50000] = 0.25
    _, scale, count = levels(x.astype(np.float32))
    np.testing.assert_allclose(scale[700:750], 1 / 6.0, rtol=0.1)
    np.testing.assert_allclose(scale[:500], 1.0, atol=0.03)
    assert np.all(scale[40032 // 32 : 50000 // 32] == 0)
    assert np.all(count[40032 // 32 : 50000 // 32] == 0)


def test_no_noise_at_all():
    odd, mean, var, count = moments(np.full(5000, 3, np.int16))
    cells.constant_runs(np.full(5000, 3, np.int16), mean, var, count, odd)
    base, scale = np.zeros((2, len(mean)), np.float32)
    assert not baseline.baseline_and_noise(mean, var, count, 4, 2, base, scale)


def scatter(x):
    base, scale, count = levels(x)
    mean = moments(x)[1]
    sums = np.zeros(len(mean) + 64, np.float32)
    cells.cell_sums(mean, count, base, scale, sums)
    excess = np.zeros(11)
    work = np.full(cells.work_size(len(mean)), np.nan, np.float32)
    cells.scatter_of_sums(x, count, base, scale, sums, work, excess)
    return excess


@pytest.mark.jit
def test_scatter_of_white_noise_is_one():
    found = [scatter(np.random.default_rng(seed).standard_normal(1 << 16).astype(np.float32)) for seed in range(15)]
    # Two sigma are needed to be anything else.
    assert np.mean(np.array(found) > 1) < 0.06


def test_scatter_of_correlated_noise():
    white = np.random.default_rng(5).standard_normal((1 << 16) + 1)
    x = (white[1:] + white[:-1]).astype(np.float32)
    excess = scatter(x)
    # Sums of w samples: 4 w - 2 over w times the variance of 2.
    w = 2.0 ** np.arange(1, 8)
    # The noise itself is that within cells, from which the scatter of their means is missing.
    within = (2 - (4 * 32 - 2) / 32**2) * 32 / 31
    np.testing.assert_allclose(excess[1:8], np.sqrt((4 * w - 2) / w / within), rtol=0.1)
