"""Spectra of blocks and their lines against numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import interference as oracle

from pulsar_kernels.spectra import line_powers, passes, strongest

SEED = st.integers(0, 2**32 - 1)


def spectra(points, first, factor, scale=1.0):
    """Powers, one row for each channel, variances and counts."""
    nchans, n = points.shape
    scales = np.full(nchans, scale, dtype=np.float32)
    powers = np.full((-(-nchans // 32), n // 2 + 1, 32), 7.0, dtype=np.float32)
    variance, counts = np.empty(nchans), np.full(n // 2 + 1, -1, dtype=np.int64)
    line_powers(points, scales, *passes(n), first, factor, powers, variance, counts)
    rows = powers.transpose(0, 2, 1).reshape(-1, n // 2 + 1)
    assert not rows[nchans:].any()
    return rows[:nchans], variance, counts, powers


@given(
    seed=SEED,
    nchans=st.sampled_from([1, 2, 31, 32, 33, 70]),
    n=st.sampled_from([16, 25, 32, 36, 243, 250, 300]),
    first=st.sampled_from([0, 1, 5]),
    line=st.booleans(),
)
def test_powers_of_channels(seed, nchans, n, first, line):
    rng = np.random.default_rng(seed)
    points = rng.normal(2000, 40, (nchans, n))
    if line:
        points[:2] += 50 * np.sin(2 * np.pi * 0.31 * np.arange(n))
    points = points.astype(np.float32)
    rows, variance, counts, _ = spectra(points, first, 3.0, 0.25)
    exact = 0.25 * points.astype(np.float64)
    expected = np.abs(np.fft.rfft(exact - exact.mean(axis=1, keepdims=True), axis=1)) ** 2
    np.testing.assert_allclose(rows[:, 1:], expected[:, 1:], rtol=1e-3, atol=1e-5 * expected.max())
    np.testing.assert_allclose(variance, exact.var(axis=1), rtol=1e-5)
    # Of a power within rounding of the limit either is right.
    at_least, at_most = (oracle.count_lines(rows, first, factor) for factor in (3.0001, 2.9999))
    np.testing.assert_array_equal(np.clip(counts, at_least, at_most), counts)


def test_constant_channel_has_no_power():
    points = np.random.default_rng(1).normal(100, 3, (40, 60)).astype(np.float32)
    points[7] = 1e6
    rows, variance, counts, powers = spectra(points, 5, 5.0)
    assert not rows[7].any()
    np.testing.assert_array_equal(counts, oracle.count_lines(rows, 5, 5.0))
    assert variance[7] == 0.0
    surplus, where = np.empty(40, np.float32), np.empty(40, np.int64)
    strongest(powers, 5, np.ones(31, dtype=np.bool_), surplus, where)
    assert np.flatnonzero(np.isnan(surplus)).tolist() == [7]


@pytest.mark.parametrize("n", [48, 75])
def test_wave_of_a_whole_number_of_turns_is_in_one_bin(n):
    points = np.zeros((33, n), dtype=np.float32)
    points[32] = 3 * np.cos(2 * np.pi * 9 * np.arange(n) / n + 0.4)
    rows, variance, counts, _ = spectra(points, 5, 5.0)
    assert rows[32, 9] == pytest.approx((1.5 * n) ** 2, rel=1e-5)
    assert np.delete(rows[32], 9).max() < 1e-8 * rows[32, 9]
    assert variance[32] == pytest.approx(4.5, rel=1e-5)
    assert np.flatnonzero(counts).tolist() == [9]


def grouped(rows):
    """Rows of powers, 32 of one bin after the other."""
    nchans, nbins = rows.shape
    padded = np.zeros((-(-nchans // 32) * 32, nbins), dtype=np.float32)
    padded[:nchans] = rows
    return np.ascontiguousarray(padded.reshape(-1, 32, nbins).transpose(0, 2, 1))


@given(seed=SEED, nbins=st.integers(8, 200), first=st.integers(0, 7), line=st.booleans(), empty=st.booleans())
def test_strongest_power(seed, nbins, first, line, empty):
    rng = np.random.default_rng(seed)
    rows = rng.exponential(3.0, (35, nbins)).astype(np.float32)
    if line:
        rows[33, nbins // 2] = 500.0
    if empty:
        rows[2] = 0.0
    surplus, where = np.empty(35, np.float32), np.empty(35, np.int64)
    used = rng.random(nbins) < 0.9
    strongest(grouped(rows), first, used, surplus, where)
    expected = oracle.strongest(rows, first, used)
    np.testing.assert_allclose(surplus, expected[0], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(where, expected[1])


@pytest.mark.jit
def test_the_surplus_of_noise_is_a_probability():
    rows = np.random.default_rng(4).exponential(7.0, (20_000, 300)).astype(np.float32)
    surplus, where = np.empty(20_000, np.float32), np.empty(20_000, np.int64)
    strongest(grouped(rows), 5, np.ones(300, dtype=np.bool_), surplus, where)
    for level in (2.0, 4.0):
        assert abs(np.mean(surplus > level) / np.exp(-level) - 1) < 0.2
