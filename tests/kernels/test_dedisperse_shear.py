"""Windows along a sweep, and their sums, against plain numpy."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import shear as oracle

from pulsar_kernels.dedisperse import shear_add, shifted_sums

SEEDS = st.integers(0, 2**32 - 1)


@given(st.integers(1, 5), st.integers(0, 60), st.integers(1, 7), st.integers(1, 20), st.integers(-50, 50), SEEDS)
def test_shear_add(nchans, n, factor, ncols, origin, seed):
    """Windows before the data, in them and after them; added to what is there; a view of a larger buffer."""
    rng = np.random.default_rng(seed)
    data = rng.integers(-128, 128, (nchans, n + 9), dtype=np.int8)[:, 4 : 4 + n]
    at = int(rng.integers(-40, 40))
    delays = rng.integers(-30, 30, nchans)
    out = rng.integers(-99, 99, (nchans, ncols)).astype(np.float32)
    want = oracle.shear_add(data, at, delays, origin, factor, out)
    shear_add(data, at, delays, origin, factor, out)
    np.testing.assert_array_equal(out, want)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), SEEDS)
def test_pieces_make_the_whole(sizes, seed):
    rng = np.random.default_rng(seed)
    edges = np.cumsum([0, *sizes])
    data = rng.integers(-128, 128, (3, edges[-1]), dtype=np.int8)
    delays = rng.integers(-10, 10, 3)
    out = np.zeros((3, 12), np.float32)
    for a, b in pairwise(edges):
        shear_add(data[:, a:b], a, delays, 5, 4, out)
    np.testing.assert_array_equal(out, oracle.shear_add(data, 0, delays, 5, 4, np.zeros((3, 12))))


def test_full_scale_does_not_overflow():
    out = np.zeros((1, 2), np.float32)
    shear_add(np.full((1, 2000), -128, np.int8), 0, np.zeros(1, np.int64), 0, 1000, out)
    np.testing.assert_array_equal(out, -128_000)


@given(st.integers(0, 6), st.integers(0, 4), st.integers(0, 20), st.integers(-5, 5), SEEDS)
def test_shifted_sums(nchans, nsets, n, first, seed):
    """Any shifts that stay in the window; what `out` held does not matter."""
    rng = np.random.default_rng(seed)
    window = rng.normal(size=(nchans, n + 15)).astype(np.float32)
    shifts = rng.integers(0, 16, (nsets, nchans)) - first
    out = np.full((nsets, n), np.nan, np.float32)
    shifted_sums(window, shifts, first, out)
    np.testing.assert_allclose(out, oracle.shifted_sums(window, shifts, first, n).reshape(nsets, n), atol=1e-5)
