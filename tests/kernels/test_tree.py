"""Kernels of the tree against their oracles."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import dedisperse as oracle

from pulsar_kernels import tree as kernels
from pulsar_kernels.tree import LANES


def _raw(rng, nchans, ncols, loud):
    high = 128 if loud else 26
    return rng.integers(-high, high, (nchans, ncols), dtype=np.int8)


def _two_levels(fans, first, second, room):
    """Program of one node of `fans[i]` channels each, and a root of them all into row 1 of two."""
    nodes = len(fans)
    return {
        "kind": np.array([1] * nodes + [2], np.uint8),
        "dest": np.append(np.arange(nodes) * (room + LANES), 1),
        "length": np.append(np.full(nodes, room), 0),
        "ptr": np.cumsum([0, *fans, nodes]),
        "src": np.append(np.arange(sum(fans)), np.arange(nodes) * (room + LANES) + second),
        "shift": np.append(first, np.zeros(nodes, np.int64)),
        "bits": 1,
    }


@given(
    fans=st.lists(st.integers(1, 4), min_size=1, max_size=21),
    nout=st.integers(1, 300),
    seed=st.integers(0, 2**32 - 1),
    loud=st.booleans(),
    at=st.sampled_from([1, 32]),
)
def test_nodes_and_root(fans, nout, seed, loud, at):
    rng = np.random.default_rng(seed)
    nchans, reach = sum(fans), 9
    room = -(-(nout + reach) // LANES) * LANES
    raw = _raw(rng, nchans, room + 2 * reach + LANES, loud)
    first, second = rng.integers(0, reach, nchans), rng.integers(0, reach, len(fans))
    program = _two_levels(fans, first, second, room)
    arena = np.empty((room + LANES) * len(fans), np.int8)
    # Its rows begin at multiples of 64 bytes: from column 32 on the result goes past the caches.
    columns = -(-(at + nout + 2) // 32) * 32
    space = np.full(2 * columns + 32, 7, np.int16)
    skip = -space.ctypes.data % 64 // 2
    out = space[skip : skip + 2 * columns].reshape(2, columns)
    kernels.tree_tile(raw, 2, *program.values(), arena, out, at, nout)
    edges = np.cumsum([0, *fans])
    rows = [
        oracle.half_sum([oracle.moved(raw[c, 2:].astype(float), first[c]) for c in range(a, b)])
        for a, b in pairwise(edges)
    ]
    want = sum(oracle.moved(row, s) for row, s in zip(rows, second, strict=True)) * 2.0
    np.testing.assert_array_equal(out[1, at : at + nout], oracle.clamp16(want)[:nout])
    out[1, at : at + nout] = 7
    assert (space == 7).all()


@given(fan=st.integers(1, 40), nout=st.integers(1, 200), seed=st.integers(0, 2**32 - 1))
def test_a_root_of_channels_is_the_plain_sum(fan, nout, seed):
    rng = np.random.default_rng(seed)
    raw = _raw(rng, fan, nout + 70, True)
    shift = rng.integers(0, 70, fan)
    out = np.empty((1, nout), np.int16)
    ops = (np.array([3], np.uint8), np.array([0]), np.array([0]), np.array([0, fan]), np.arange(fan), shift)
    kernels.tree_tile(raw, 0, *ops, 0, np.empty(1, np.int8), out, 0, nout)
    np.testing.assert_array_equal(out, oracle.shifted_sums(raw, shift[None])[:, :nout])


@pytest.mark.parametrize("level", [127, -128])
@pytest.mark.parametrize("nodes", [1, 3, 8, 21, 600])
def test_sums_saturate(level, nodes):
    """Four loud channels have half a sum of 254, and 600 nodes more than int16."""
    fans, none = [4] * nodes, np.zeros(nodes, np.int64)
    raw = np.full((4 * nodes, 4 * LANES), level, np.int8)
    program = _two_levels(fans, np.zeros(4 * nodes, np.int64), none, LANES)
    out = np.zeros((2, LANES), np.int16)
    kernels.tree_tile(raw, 0, *program.values(), np.empty(nodes * 2 * LANES, np.int8), out, 0, LANES)
    assert (out[1] == np.clip(2 * nodes * level, -32768, 32767)).all()


def test_rounding_adds_nothing_on_average():
    rng = np.random.default_rng(1)
    raw = np.rint(rng.normal(0.0, 8.0, (4, 1 << 16))).astype(np.int8)
    program = _two_levels([4], np.zeros(4, np.int64), np.zeros(1, np.int64), raw.shape[1] - LANES)
    out = np.zeros((2, raw.shape[1] - LANES), np.int16)
    kernels.tree_tile(raw, 0, *program.values(), np.empty(raw.shape[1], np.int8), out, 0, out.shape[1])
    added = out[1] / 2.0 - raw[:, : out.shape[1]].sum(axis=0) / 2.0
    assert abs(added.mean()) < 4 * added.std() / np.sqrt(added.size)
    # An eighth: 0.2 % of 64.
    assert added.var() == pytest.approx(0.125, rel=0.05)


def test_half_sums_are_vector_instructions():
    """What makes them fast; only x86 can be asked this way."""
    import platform

    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("no x86: the names of the instructions differ")
    from numba import config, njit

    if config.DISABLE_JIT:
        pytest.skip("compilation is switched off")
    compiled = njit(nogil=True, error_model="numpy")(kernels._node_row.py_func)
    compiled(np.zeros(640, np.int8), np.arange(4), 4, np.zeros(LANES, np.int8), 0, LANES)
    code = "".join(compiled.inspect_asm().values())
    assert "pavgb" in code
    assert "paddsb" in code


def _variance(row, child, shift, k, dm):
    """Of the delay errors over the channels of a row of the lowest level."""
    inside = child[row] >= 0
    return np.var(shift[row][inside] - k[child[row][inside]] * dm)


@given(
    nchans=st.integers(1, 23),
    ndms=st.integers(1, 40),
    step=st.floats(0.0, 3.0),
    slack=st.floats(0.0, 0.3),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_serve_all_dms_within_the_slack(nchans, ndms, step, slack, seed):
    rng = np.random.default_rng(seed)
    k = np.sort(rng.uniform(0.0, 3.0, nchans))
    dms = rng.uniform(0, 50) + step * np.arange(ndms)
    nnodes = -(-nchans // 4)
    none = np.zeros((0, 0))
    rowid = np.full((nnodes, ndms), -1, np.int32)
    cap = nnodes * ndms
    count, slope, spread = np.empty(nnodes), np.empty(nnodes), np.empty(nnodes)
    node, child, shift = np.empty(cap, np.int64), np.empty((cap, 4), np.int64), np.empty((cap, 4), np.int64)
    stats = np.empty((cap, 4))
    below = (np.ones(nchans), k, np.zeros(nchans), none.astype(np.int32), none)
    made = (count, slope, spread, rowid, node, child, shift, stats)
    nrows = kernels.choose_rows(4, dms, slack, *below, *made)
    # Rows in the order of nodes and DMs, each for a stretch of DMs.
    assert (np.diff(rowid.ravel()) >= 0).all()
    np.testing.assert_array_equal(np.unique(rowid), np.arange(nrows))
    for i in range(nnodes):
        mine = k[4 * i : 4 * i + 4]
        assert count[i] == mine.size
        assert slope[i] == pytest.approx(mine.mean())
        assert spread[i] == pytest.approx(mine.var(), abs=1e-12)
        # The least variance of whole-sample shifts: rounding with the best of many origins.
        want = np.outer(mine, dms)
        own = np.min([np.var(np.rint(want - o) - want, axis=0) for o in np.arange(64) / 64], axis=0)
        reach = max(ndms // kernels._SMOOTH, 1)
        limit = np.maximum(own, [own[max(j - reach, 0) : j + reach + 1].mean() for j in range(ndms)]) + slack
        for j, dm in enumerate(dms):
            row = rowid[i, j]
            assert node[row] == i
            assert set(child[row]) - {-1} == set(range(4 * i, 4 * i + mine.size))
            # The variance is a parabola in DM: within a range it is no more than at the worse of its ends.
            served = np.flatnonzero(rowid[i] == row)
            most = own[j] if served.size == 1 else max(limit[served[0]], limit[served[-1]])
            assert _variance(row, child, shift, k, dm) <= most + 1e-6
    # What the statistics of a row say is true of it.
    for r in range(nrows):
        inside = child[r] >= 0
        error = shift[r][inside] - k[child[r][inside]] * stats[r, 0]
        assert stats[r, 1] == pytest.approx(error.mean(), abs=1e-9)
        assert stats[r, 2] == pytest.approx(error.var(), abs=1e-9)
        slopes = k[child[r][inside]]
        assert stats[r, 3] == pytest.approx(np.mean(error * (slopes - slopes.mean())), abs=1e-9)


def test_too_many_rows_are_reported():
    k, dms = np.arange(8.0) * 0.3, np.linspace(0, 100, 30)
    none = np.zeros((0, 0))
    below = (np.ones(8), k, np.zeros(8), none.astype(np.int32), none)
    made = (np.empty(2), np.empty(2), np.empty(2), np.empty((2, 30), np.int32), np.empty(3, np.int64))
    tables = (np.empty((3, 4), np.int64), np.empty((3, 4), np.int64), np.empty((3, 4)))
    assert kernels.choose_rows(4, dms, 0.0, *below, *made, *tables) == -1


def test_spans_are_those_of_the_rows_above():
    child = np.array([[0, 1], [1, 2], [0, -1]])
    shift = np.array([[0, 5], [3, -2], [40, 0]])
    lo, hi = np.array([0, -1, 9]), np.array([2, 0, -9])
    below_lo, below_hi = np.full(3, 1 << 40), np.full(3, -(1 << 40))
    kernels.spans(child, shift, lo, hi, below_lo, below_hi)
    np.testing.assert_array_equal(below_lo, [0, 2, -3])
    np.testing.assert_array_equal(below_hi, [2, 7, -2])
