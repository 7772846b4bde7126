"""Templates in samples: folded and taken out, against plain forms; and what dithered rounding promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import subtract as oracle

from pulsar_kernels.subtract import STRETCH, Grid, fold_cells, subtract_cells

SEEDS = st.integers(0, 2**32 - 1)
TSAMP = 1e-3


def case(seed, nchans, n, start, shape):
    """Samples, and all that both kernels take beside them; a few parts around the samples, some of them dead."""
    rng = np.random.default_rng(seed)
    _, nbands, _ = shape
    data = rng.integers(-128, 128, (nchans, n)).astype(np.int8)
    inner = rng.integers(start, start + n + 1, 4)
    edges = np.unique(np.concatenate([[0, start + n + 10], inner])).astype(np.int64)
    nparts = len(edges) - 1
    spin = np.array([rng.uniform(0.5, 200.0), rng.uniform(-1, 1), rng.uniform(-0.1, 0.1), rng.uniform(0, 5)])
    # Sub-integrations of 1 to 3 turns, of which the first begins some before the samples.
    turn = np.floor(oracle.turns(start * TSAMP - spin[3], spin)) + rng.uniform(-3.0, 1.0)
    return data, (
        start,
        TSAMP,
        spin,
        rng.uniform(0.0, 0.4, nchans),
        edges,
        rng.integers(-1, 3, nparts).astype(np.int64),
        rng.random((3, nchans)) < 0.3,
        np.array([turn, rng.integers(1, 4)]),
        (np.arange(nchans) * nbands // nchans).astype(np.int64),
    )


def template(seed, nchans, shape, size=20.0):
    rng = np.random.default_rng(seed)
    nsubints, nbands, nbins = shape
    return (
        rng.normal(0, size, (3, nbins)),
        rng.integers(0, 3, (nsubints, nbands)).astype(np.int64),
        rng.uniform(-2, 2, (nsubints, nbands)),
        rng.normal(0, 0.1 * size, (nsubints, nbands)),
        rng.uniform(0.5, 1.5, nchans),
        rng.integers(0, 2**32, nchans).astype(np.int64),
    )


SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 4, 7, 32]))
STARTS = st.one_of(st.integers(0, 20), st.integers(STRETCH - 30, STRETCH + 5), st.integers(10**6, 10**7))


@given(seed=SEEDS, nchans=st.integers(1, 4), n=st.integers(1, 60), start=STARTS, shape=SHAPES)
def test_fold_against_plain_loops(seed, nchans, n, start, shape):
    data, place = case(seed, nchans, n, start, shape)
    cells = np.zeros((*shape, 2), dtype=np.int64)
    rows = np.zeros((nchans, shape[2], 2), dtype=np.int64)
    fold_cells(data, place[0], Grid(*place[1:]), cells, rows)
    expected = oracle.fold(data, *place, shape)
    # A sample at the very edge of a bin may fall to either side by rounding.
    assert np.abs(cells - expected[0])[..., 1].sum() <= 2 * cells[..., 1].sum() * 1e-3
    np.testing.assert_array_equal(cells.sum(axis=2)[..., 1], expected[0].sum(axis=2)[..., 1])
    np.testing.assert_array_equal(cells.sum(axis=2)[..., 0], expected[0].sum(axis=2)[..., 0])
    np.testing.assert_array_equal(rows.sum(axis=1), expected[1].sum(axis=1))
    np.testing.assert_array_equal(rows.sum(axis=0), cells.sum(axis=(0, 1)))


@given(seed=SEEDS, nchans=st.integers(1, 4), n=st.integers(1, 60), start=STARTS, shape=SHAPES)
def test_subtraction_against_plain_loops(seed, nchans, n, start, shape):
    data, place = case(seed, nchans, n, start, shape)
    of = template(seed, nchans, shape)
    out = data.copy()
    subtract_cells(out, place[0], Grid(*place[1:]), *of)
    expected = oracle.subtract(data, *place, *of)
    assert np.count_nonzero(np.abs(out.astype(int) - expected) > 1) <= data.size * 1e-3
    assert np.count_nonzero(out != expected) <= 1 + data.size // 100
    edges, blocks, bad = place[4:7]
    for c in range(nchans):
        dead = [j for j in range(n) if not oracle.live(c, oracle.part_of(start + j, edges), blocks, bad)]
        np.testing.assert_array_equal(out[c, dead], data[c, dead])


@given(seed=SEEDS, n=st.integers(2, 300), start=STARTS, cut=st.floats(0, 1), shape=SHAPES)
def test_how_samples_are_cut_does_not_matter(seed, n, start, cut, shape):
    data, place = case(seed, 3, n, start, shape)
    of = template(seed, 3, shape)
    at = min(max(int(cut * n), 1), n - 1)
    whole, parts = data.copy(), data.copy()
    grid = Grid(*place[1:])
    subtract_cells(whole, start, grid, *of)
    subtract_cells(parts[:, :at], start, grid, *of)
    subtract_cells(parts[:, at:], start + at, grid, *of)
    np.testing.assert_array_equal(whole, parts)
    sums = [(np.zeros((*shape, 2), dtype=np.int64), np.zeros((3, shape[2], 2), dtype=np.int64)) for _ in range(2)]
    fold_cells(data, start, grid, *sums[0])
    fold_cells(data[:, :at], start, grid, *sums[1])
    fold_cells(data[:, at:], start + at, grid, *sums[1])
    np.testing.assert_array_equal(sums[0][0], sums[1][0])
    np.testing.assert_array_equal(sums[0][1], sums[1][1])


def plain(nchans, n, level):
    """One bin, one cell: a constant is taken from zeros."""
    data = np.zeros((nchans, n), dtype=np.int8)
    rng = np.random.default_rng(7)
    zero, one = np.zeros(1, dtype=np.int64), np.ones((1, 1))
    subtract_cells(
        data,
        0,
        Grid(
            TSAMP,
            np.array([1.0, 0.0, 0.0, 0.0]),
            np.zeros(nchans),
            np.array([0, n], dtype=np.int64),
            zero,
            np.zeros((1, nchans), dtype=np.bool_),
            np.array([0.0, n * TSAMP + 1.0]),
            np.zeros(nchans, dtype=np.int64),
        ),
        np.full((1, 1), level),
        zero.reshape(1, 1),
        one,
        0.0 * one,
        np.ones(nchans),
        rng.integers(0, 2**32, nchans).astype(np.int64),
    )
    return data


@pytest.mark.parametrize("level", [0.01, 0.05, 0.5, 0.97, 3.25, -0.05, -2.5])
def test_a_fraction_of_a_level_is_taken_in_that_fraction_of_the_samples(level):
    taken = -plain(16, 4096, level).astype(float)
    part = level - np.floor(level)
    assert set(np.unique(taken)) <= {np.floor(level), np.floor(level) + 1}
    assert taken.mean() == pytest.approx(level, abs=5 * np.sqrt(part * (1 - part) / taken.size))
    assert taken.var() == pytest.approx(part * (1 - part), abs=0.02)


@pytest.mark.jit
def test_the_rounding_is_white_in_time_and_channels():
    rest = plain(64, 4096, 0.5).astype(float) + 0.5
    power = np.abs(np.fft.rfft(rest, axis=1))[:, 1:-1] ** 2 / (0.25 * rest.shape[1])
    # The sum over channels and the powers of all of them are those of independent numbers.
    assert power.mean() == pytest.approx(1.0, abs=0.02)
    assert power.max() < np.log(power.size) + 8
    assert power.std() == pytest.approx(1.0, abs=0.05)
    correlated = np.corrcoef(rest)[np.triu_indices(64, 1)]
    assert np.abs(correlated).max() < 5.5 / np.sqrt(4096)
    total = rest.sum(axis=0)
    assert total.var() == pytest.approx(64 * 0.25, rel=0.1)


def test_what_is_too_large_is_clipped():
    np.testing.assert_array_equal(np.unique(plain(2, 50, 900.0)), [-127])
    np.testing.assert_array_equal(np.unique(plain(2, 50, -900.0)), [127])
