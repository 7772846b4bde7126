"""Normalisation against plain numpy: equal but for the last rounding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import clean as oracle

from pulsar_kernels.clean import normalise, project, zero_dm


def case(seed, nchans, n, dtype):
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        raw = rng.normal(50, 10, (nchans + 2, n)).astype(np.float32)
        raw[rng.integers(nchans + 2), rng.integers(n)] = np.nan
        raw[rng.integers(nchans + 2), rng.integers(n)] = np.inf
    else:
        raw = rng.integers(0, 255, (nchans + 2, n)).astype(dtype)
    chans = np.sort(rng.permutation(nchans + 2)[:nchans]).astype(np.int64)
    base = rng.uniform(20, 200, nchans).astype(np.float32)
    slope = rng.normal(0, 0.01, nchans).astype(np.float32)
    scale = rng.uniform(0.05, 3, nchans).astype(np.float32)
    scale[rng.uniform(size=nchans) < 0.2] = 0
    return raw, chans, base, slope, scale


@given(
    seed=st.integers(0, 2**32 - 1),
    nchans=st.integers(1, 12),
    n=st.integers(1, 200),
    first=st.integers(0, 5000),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    zero=st.booleans(),
)
def test_against_numpy(seed, nchans, n, first, dtype, zero):
    raw, chans, base, slope, scale = case(seed, nchans, n, dtype)
    rng = np.random.default_rng(seed)
    gains = rng.uniform(0.5, 2.0, nchans if zero else 0).astype(np.float32)
    weights = rng.uniform(0.0, 2.0 / nchans, nchans).astype(np.float32)
    common = np.empty(n, dtype=np.float32)
    zero_dm(raw, chans, base, slope, scale, first, weights, common)
    expected = oracle.zero_dm(raw, chans, base, slope, scale, first, weights)
    np.testing.assert_allclose(common, expected, rtol=1e-4, atol=1e-2)
    series = common[: n if zero else 0]
    out = np.full((nchans, n), 99, dtype=np.int8)
    normalise(raw, chans, base, slope, scale, first, series, gains, out)
    # A sample that is not finite has no value to subtract the series from: it is 0, not minus the series.
    expected = oracle.normalise(raw, chans, base, slope, scale, first, series, gains)
    assert np.abs(out - expected).max() <= 0.5 + 2e-2
    assert (out[scale == 0] == 0).all()


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 300), level=st.integers(0, 65535))
def test_sixteen_bits_use_their_range(seed, n, level):
    rng = np.random.default_rng(seed)
    raw = np.clip(rng.normal(level, 400, (3, n)), 0, 65535).astype(np.uint16)
    chans, none = np.arange(3), np.empty(0, dtype=np.float32)
    base = np.full(3, level, np.float32)
    slope = np.array([0.0, 0.1, -0.1], np.float32)
    scale = np.full(3, 8 / 400, np.float32)
    out = np.empty((3, n), dtype=np.int8)
    normalise(raw, chans, base, slope, scale, 7, none, none, out)
    assert np.abs(out - oracle.normalise(raw, chans, base, slope, scale, 7, none, none)).max() <= 0.5 + 2e-2


@pytest.mark.parametrize("cut", [1, 7, 50])
def test_cutting_a_line_changes_nothing(cut):
    raw, chans, base, slope, scale = case(5, 6, 100, np.uint8)
    none = np.empty(0, dtype=np.float32)
    whole = np.empty((6, 100), dtype=np.int8)
    normalise(raw, chans, base, slope, scale, 300, none, none, whole)
    parts = np.empty((6, 100), dtype=np.int8)
    for lo in range(0, 100, cut):
        hi = min(lo + cut, 100)
        normalise(raw[:, lo:hi], chans, base, slope, scale, 300 + lo, none, none, parts[:, lo:hi])
    np.testing.assert_array_equal(whole, parts)


@pytest.mark.jit
def test_noise_has_the_wanted_variance():
    raw = np.random.default_rng(3).normal(96, 17, (4, 200_000)).round().astype(np.uint8)
    out = np.empty((4, 200_000), dtype=np.int8)
    one = np.ones(4, dtype=np.float32)
    none = np.empty(0, dtype=np.float32)
    normalise(raw, np.arange(4), 96 * one, 0 * one, one * np.float32(8 / 17), 0, none, none, out)
    assert abs(out.std() / 8 - 1) < 0.01
    assert abs(out.mean()) < 0.05


@given(seed=st.integers(0, 2**32 - 1), nrows=st.integers(1, 9), n=st.integers(1, 300))
def test_projection(seed, nrows, n):
    rng = np.random.default_rng(seed)
    data = rng.integers(-127, 128, (nrows, n), dtype=np.int8)
    series = rng.normal(size=n).astype(np.float32)
    out = np.ones(nrows)
    project(data, series, out)
    np.testing.assert_allclose(out, 1.0 + oracle.project(data, series), rtol=1e-4, atol=1e-3 * n)
