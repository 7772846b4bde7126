"""Marks of interference against plain numpy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import interference as oracle

from pulsar_kernels import interference as kernels

SEED = st.integers(0, 2**32 - 1)


@given(seed=SEED, nrows=st.integers(1, 40), n=st.integers(1, 120))
def test_rows_above(seed, nrows, n):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(nrows, n)).astype(np.float32)
    data[rng.random(data.shape) < 0.1] = np.nan
    levels = rng.normal(size=nrows).astype(np.float32)
    out = np.empty(n, dtype=np.uint8)
    kernels.count_above(data, levels, out)
    np.testing.assert_array_equal(out, (data > levels[:, None]).sum(axis=0))


@given(
    seed=SEED,
    nrows=st.integers(1, 16),
    n=st.sampled_from([1, 2, 60, 2047, 2048, 2112, 5000]),
    shift=st.sampled_from([0, 0, 1, 3, 16]),
    nsums=st.integers(0, 9),
    below=st.booleans(),
)
def test_rows_at_once_beyond_levels(seed, nrows, n, shift, nsums, below):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(nrows, n)).astype(np.float32)
    levels = (4 * rng.normal(size=(nsums, nrows, 4))).astype(np.float32)
    levels[..., :2].sort(axis=-1)
    levels[..., 2:] = np.sort(levels[..., 2:], axis=-1)[..., ::-1]
    most = np.full((nsums, 4), -1, dtype=np.int64)
    kernels.most_beyond(data, shift, levels, below, most)
    sides = 4 if below else 2
    np.testing.assert_array_equal(most[:, :sides], oracle.most_beyond(data, shift, levels)[:, :sides])


def test_impulse_of_eight_samples_is_seen_at_its_width():
    data = np.zeros((16, 3000), dtype=np.float32)
    data[:11, 1990:1998] = 1.0
    data[3:9, 2999] = -1.0
    levels = np.empty((5, 16, 4), dtype=np.float32)
    levels[:, :, :2] = (0.5, 7.5)
    levels[:, :, 2:] = (-0.5, -7.5)
    most = np.zeros((5, 4), dtype=np.int64)
    kernels.most_beyond(data, 0, levels, True, most)
    # What ends after the last sample is 0.
    assert most.tolist() == [[11, 0, 6, 0], [11, 0, 6, 0], [11, 0, 6, 0], [11, 11, 6, 0], [11, 11, 6, 0]]


@given(
    seed=SEED,
    nrows=st.integers(1, 16),
    n=st.sampled_from([1, 2, 60, 700, 2500]),
    shift=st.sampled_from([0, 0, 1, 3, 16]),
    nsums=st.integers(1, 9),
)
def test_sums_at_some_columns_are_those_of_all(seed, nrows, n, shift, nsums):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(nrows, n)).astype(np.float32)
    at = np.sort(rng.integers(0, n, 9))
    out = np.full((nsums, nrows, 9), 7.0, dtype=np.float32)
    kernels.sums_at(data, shift, at, out)
    for k, sums in enumerate(oracle.sums(data, shift, nsums)):
        # Of numbers that stand for `shift` samples each, the last that a sum needs is there.
        reach = max(shift, 1) * ((1 << k) - 1 if shift == 0 else (2 << k) - 1)
        np.testing.assert_array_equal(out[k], np.where(at + reach < n, sums[:, at], np.float32(7.0)))


@given(seed=SEED, n=st.integers(1, 80), longest=st.integers(1, 20), most=st.integers(0, 30))
def test_stretches(seed, n, longest, most):
    rng = np.random.default_rng(seed)
    some = (rng.integers(0, 8, n) * (rng.random(n) < 0.6)).astype(np.uint8)
    many = np.minimum(some, rng.integers(0, 8, n)).astype(np.uint8)
    out = np.zeros((most, 2), dtype=np.int64)
    count = kernels.stretches(some, many, 2, 5, longest, out)
    expected = oracle.stretches(some, many, 2, 5, longest)[:most]
    assert [tuple(row) for row in out[:count]] == expected


@given(
    seed=SEED,
    n=st.integers(3, 60),
    threshold=st.sampled_from([2.0, 3.0, 5.0]),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0]),
)
def test_votes(seed, n, threshold, scale):
    rng = np.random.default_rng(seed)
    # The rows that follow are like the first one, to some scale: its quartiles are where theirs are looked for.
    values = rng.normal(size=(4, n)) * np.array([1.0, 1.0, scale, 1.0])[:, None]
    values[rng.random(values.shape) < 0.1] += rng.normal(0, 30)
    values[rng.random(values.shape) < 0.1] = np.nan
    lags = np.array([lag for lag in (1, 2, 3, 4, 6, 9) if lag < n])
    out = np.zeros(values.shape, dtype=np.bool_)
    kernels.iqrm(values, lags, threshold, out)
    for row, got in zip(values, out, strict=True):
        np.testing.assert_array_equal(got, oracle.iqrm(row, lags, threshold))


def test_votes_find_outliers_and_not_their_neighbours():
    rng = np.random.default_rng(2)
    values = np.linspace(0, 40, 500)[None, :] + rng.normal(size=(1, 500))
    bad = [40, 41, 200, 333]
    values[0, bad] += 25
    out = np.zeros(values.shape, dtype=np.bool_)
    kernels.iqrm(values, np.array([1, 2, 3, 5, 8, 12, 18, 27]), 5.0, out)
    assert set(bad) <= set(np.flatnonzero(out[0]))
    assert out.sum() <= 6


@given(seed=SEED, n=st.integers(1, 40), share=st.sampled_from([0.0, 0.2, 0.4]), dense=st.floats(0.0, 1.0))
def test_growth(seed, n, share, dense):
    flags = np.random.default_rng(seed).random((3, n)) < dense
    out = np.zeros(flags.shape, dtype=np.bool_)
    kernels.extend(flags, share, out)
    for row, got in zip(flags, out, strict=True):
        np.testing.assert_array_equal(got, oracle.extend(row, share))
