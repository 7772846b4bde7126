"""Moments and running medians against plain numpy."""

import warnings

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import moments as oracle

from pulsar_kernels.moments import add_bands, decimate, moments, running_medians


def run(data, top, origin=None):
    nchans = data.shape[0]
    sums = np.zeros((4, nchans))
    count, ntop = np.zeros(nchans, np.int64), np.zeros(nchans, np.int64)
    x0 = np.zeros(nchans) if origin is None else np.asarray(origin, dtype=np.float64)
    moments(data, top, x0, sums, count, ntop)
    return sums, count, ntop


@given(
    nchans=st.integers(1, 9),
    nsamps=st.integers(1, 300),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    top=st.integers(1, 255),
    origin=st.sampled_from([0, 96, 128]),
    seed=st.integers(0, 2**32 - 1),
)
def test_integers(nchans, nsamps, dtype, top, origin, seed):
    rng = np.random.default_rng(seed)
    data = rng.integers(0, np.iinfo(dtype).max, (nchans, nsamps), dtype=dtype, endpoint=True)
    origin = np.full(nchans, origin)
    sums, count, ntop = run(data, top, origin)
    powers, finite, at_top = oracle.power_sums(data, top, origin)
    np.testing.assert_array_equal(sums[:2], powers[:2])
    scale = oracle.power_sums(data, top, origin, absolute=True)[0]
    assert (np.abs(sums - powers) <= 1e-5 * scale).all()
    np.testing.assert_array_equal(count, finite)
    np.testing.assert_array_equal(ntop, at_top)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_full_scale_does_not_overflow(dtype):
    top = int(np.iinfo(dtype).max)
    data = np.full((2, 70_001), top, dtype=dtype)
    sums, _, ntop = run(data, top)
    expected = 70_001 * float(top) ** np.arange(1, 5)[:, None] * np.ones(2)
    np.testing.assert_array_equal(sums[:2], expected[:2])
    # Uncompiled there is one single-precision sum of equal numbers, not one for every lane of a vector.
    np.testing.assert_allclose(sums[2:], expected[2:], rtol=1e-4 if numba.config.DISABLE_JIT else 1e-5)
    assert (ntop == 70_001).all()


@given(nchans=st.integers(1, 5), nsamps=st.integers(1, 200), bad=st.integers(0, 5), seed=st.integers(0, 2**32 - 1))
def test_floats_skip_what_is_not_finite(nchans, nsamps, bad, seed):
    rng = np.random.default_rng(seed)
    data = (1e6 + rng.normal(size=(nchans, nsamps))).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf)[: bad % 4]:
        data[rng.integers(nchans), rng.integers(nsamps)] = value
    origin = np.full(nchans, 1e6)
    sums, count, _ = run(data, 1 << 20, origin)
    powers, finite, _ = oracle.power_sums(data, 1 << 20, origin)
    np.testing.assert_array_equal(count, finite)
    np.testing.assert_allclose(sums, powers, rtol=1e-9, atol=1e-9)


def test_a_view_of_a_larger_buffer():
    big = np.random.default_rng(1).integers(0, 255, (4, 100), dtype=np.uint8)
    sums, _, _ = run(big[:, 13:77], 256)
    np.testing.assert_array_equal(sums[0], big[:, 13:77].sum(axis=1))


KINDS = st.sampled_from([np.uint8, np.uint16, np.float32])


def samples(rng, shape, dtype):
    if dtype != np.float32:
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    data = rng.normal(size=shape).astype(np.float32)
    data[rng.random(shape) < 0.02] = np.nan
    data[rng.random(shape) < 0.02] = np.inf
    return data


@given(
    seed=st.integers(0, 2**32 - 1),
    nchans=st.integers(1, 9),
    nsamps=st.integers(1, 200),
    first=st.integers(0, 7),
    dtype=KINDS,
)
def test_bands(seed, nchans, nsamps, first, dtype):
    rng = np.random.default_rng(seed)
    data = samples(rng, (nchans, nsamps), dtype)
    bands = rng.integers(-1, 3, nchans)
    out = np.full((3, first + nsamps + 2), np.nan, dtype=np.float32)
    add_bands(data, bands, first, out)
    written = np.zeros(out.shape, dtype=bool)
    written[np.unique(bands[bands >= 0]), first : first + nsamps] = True
    np.testing.assert_array_equal(np.isnan(out), ~written)
    expected = oracle.band_sums(data, bands, first, out.shape)
    np.testing.assert_allclose(out[written], expected[written], rtol=1e-5, atol=1e-4)


def test_a_band_of_more_channels_than_a_word_holds():
    data = np.full((600, 2100), 255, dtype=np.uint8)
    data[3] = 0
    out = np.zeros((2, 2100), dtype=np.float32)
    add_bands(data, np.where(np.arange(600) < 590, 1, 0), 0, out)
    assert np.unique(out[1]).tolist() == [589 * 255]
    assert np.unique(out[0]).tolist() == [2550]


@given(
    seed=st.integers(0, 2**32 - 1),
    nchans=st.integers(1, 4),
    nsamps=st.integers(1, 700),
    first=st.integers(0, 50),
    factor=st.sampled_from([1, 2, 3, 4, 8, 12, 16, 64]),
    npoints=st.integers(1, 60),
    dtype=KINDS,
)
def test_decimation_whatever_the_cut(seed, nchans, nsamps, first, factor, npoints, dtype):
    rng = np.random.default_rng(seed)
    data = samples(rng, (nchans, nsamps), dtype)
    # What nothing is added to is written, but for the number that the first sample goes on with.
    out = np.full((nchans, npoints), np.nan, dtype=np.float32)
    out[:, : first // factor + 1] = 0.0
    out[:, -(-(first + nsamps) // factor) :] = 0.0
    expected = oracle.decimated(data, factor, first, npoints)
    cut = int(rng.integers(0, nsamps + 1))
    for lo, hi in ((0, cut), (cut, nsamps)):
        if hi > lo and first + lo < factor * npoints:
            decimate(data[:, lo:hi], factor, first + lo, out)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-4)


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
