"""Moments and running medians against plain numpy."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import moments as oracle

from pulsar_kernels.moments import moments, running_medians


def run(data, top, origin=None):
    nchans = data.shape[0]
    s1, s2 = np.zeros(nchans), np.zeros(nchans)
    count, ntop = np.zeros(nchans, np.int64), np.zeros(nchans, np.int64)
    x0 = np.zeros(nchans) if origin is None else origin
    moments(data, top, x0, s1, s2, count, ntop)
    with np.errstate(invalid="ignore", divide="ignore"):
        delta = s1 / count
        return x0 + delta, np.sqrt(np.maximum(s2 / count - delta**2, 0)), count, ntop


@given(
    nchans=st.integers(1, 9),
    nsamps=st.integers(1, 300),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    top=st.integers(1, 255),
    seed=st.integers(0, 2**32 - 1),
)
def test_integers_are_exact(nchans, nsamps, dtype, top, seed):
    rng = np.random.default_rng(seed)
    data = rng.integers(0, np.iinfo(dtype).max, (nchans, nsamps), dtype=dtype, endpoint=True)
    mean, std, count, ntop = run(data, top)
    ref = oracle.moments(data, top)
    np.testing.assert_allclose(mean, ref[0], rtol=1e-12)
    np.testing.assert_allclose(std, ref[1], rtol=1e-7, atol=1e-6)
    np.testing.assert_array_equal(count, ref[2])
    np.testing.assert_array_equal(ntop, ref[3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_full_scale_does_not_overflow(dtype):
    data = np.full((2, 70_001), np.iinfo(dtype).max, dtype=dtype)
    mean, std, _, ntop = run(data, np.iinfo(dtype).max)
    np.testing.assert_allclose(mean, np.iinfo(dtype).max)
    np.testing.assert_allclose(std, 0, atol=1e-3)
    assert (ntop == 70_001).all()


@given(nchans=st.integers(1, 5), nsamps=st.integers(1, 200), bad=st.integers(0, 5), seed=st.integers(0, 2**32 - 1))
def test_floats_skip_what_is_not_finite(nchans, nsamps, bad, seed):
    rng = np.random.default_rng(seed)
    data = (1e6 + rng.normal(size=(nchans, nsamps))).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf)[: bad % 4]:
        data[rng.integers(nchans), rng.integers(nsamps)] = value
    mean, std, count, _ = run(data, 1 << 20, np.full(nchans, 1e6))
    ref = oracle.moments(data, 1 << 20)
    np.testing.assert_array_equal(count, ref[2])
    np.testing.assert_allclose(mean, ref[0], rtol=1e-12)
    np.testing.assert_allclose(std, ref[1], rtol=1e-9, atol=1e-9)


def test_a_view_of_a_larger_buffer():
    big = np.random.default_rng(1).integers(0, 255, (4, 100), dtype=np.uint8)
    mean, std, _, _ = run(big[:, 13:77], 256)
    np.testing.assert_allclose(mean, big[:, 13:77].mean(axis=1))
    np.testing.assert_allclose(std, big[:, 13:77].std(axis=1))


@given(
    seed=st.integers(0, 2**32 - 1),
    nrows=st.integers(1, 40),
    ncols=st.integers(1, 5),
    holes=st.sampled_from([0.0, 0.2, 0.9]),
    levels=st.sampled_from([2, 1000]),
)
def test_running_medians(seed, nrows, ncols, holes, levels):
    """Any windows that move on, overlapping or not; equal values, holes, infinities."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, levels, (nrows, ncols)).astype(np.float64)
    values[rng.random(values.shape) < 0.05] = np.inf
    values[rng.random(values.shape) < holes] = np.nan
    first = np.sort(rng.integers(0, nrows, 12))
    last = np.maximum.accumulate(first + rng.integers(1, nrows + 1, 12)).clip(max=nrows)
    out = np.empty((12, ncols))
    running_medians(values, first, last, out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # windows without a value
        want = [np.nanmedian(values[a:b], axis=0) for a, b in zip(first, last, strict=True)]
    np.testing.assert_array_equal(out, want)
