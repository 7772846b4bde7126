"""Weak signals in steps, and channels added to bands, against plain forms; and sums against the signal's own."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import sprinkle as oracle

from pulsar_kernels.injections import add_band, add_steps

SEEDS = st.integers(0, 2**32 - 1)


def add(data, start, *, tsamp, delays, spin, offsets, ends, quantiles, counts, dither, step=1, bad=None, **more):
    nchans = len(delays)
    edges = more.get("edges", np.array([0, 10**6], dtype=np.int64))
    blocks = more.get("blocks", np.arange(len(edges) - 1, dtype=np.int64))
    bad = np.zeros((len(edges) - 1, nchans), dtype=np.bool_) if bad is None else bad
    lanes = more.get("lanes", np.arange(nchans, dtype=np.int64))
    shifts = more.get("shifts", np.zeros(nchans, dtype=np.int64))
    rows = np.zeros(nchans, dtype=np.int64)
    add_steps(
        data,
        start,
        tsamp,
        lanes,
        shifts,
        delays,
        spin,
        offsets,
        ends,
        quantiles,
        rows,
        counts,
        dither,
        step,
        more.get("top", 127),
        edges,
        blocks,
        bad,
    )


def signal(seed, nchans=3):
    """A pulsar of a few turns in some channels, without the channels' data."""
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.uniform(0, 0.4, 7))
    return {
        "tsamp": 0.01,
        "delays": rng.uniform(0, 0.5, nchans),
        "spin": np.array([rng.uniform(2, 5), rng.uniform(-0.05, 0.05), rng.uniform(0, 2), rng.uniform(-1, 1)]),
        "offsets": rng.uniform(-0.5, 0.5, nchans),
        "ends": np.array([-np.inf, np.inf]),
        "quantiles": np.concatenate([[0.0], cuts, [0.5]])[None, :],
        "counts": rng.uniform(0.2, 8.0, nchans),
        "dither": rng.uniform(0, 1, nchans),
    }


@given(SEEDS, st.integers(0, 120), st.integers(1, 150))
def test_steps_are_where_the_integral_passes_them(seed, start, n):
    one = signal(seed)
    data = np.zeros((3, n), dtype=np.int8)
    add(data, start, **one)
    for c in range(3):
        found = oracle.steps(
            start,
            n,
            one["tsamp"],
            one["delays"][c],
            one["spin"],
            one["offsets"][c],
            one["ends"],
            one["quantiles"][0],
            one["counts"][c],
            one["dither"][c],
        )
        want = np.bincount(np.array(found, dtype=np.int64) - start, minlength=n)
        np.testing.assert_array_equal(data[c], want)


@given(SEEDS, st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_pieces_make_the_whole(seed, sizes):
    one = signal(seed)
    edges = np.cumsum([0, *sizes])
    whole = np.zeros((3, edges[-1]), dtype=np.int8)
    add(whole, 0, **one)
    parts = np.zeros_like(whole)
    for a, b in pairwise(edges.tolist()):
        add(parts[:, a:b], a, **one)
    np.testing.assert_array_equal(parts, whole)


def test_sums_are_those_of_the_signal():
    """A closed form: over whole turns a channel has its number of steps for each, to within one."""
    counts = np.array([0.013, 0.7, 31.4])
    data = np.zeros((3, 10_000), dtype=np.int16)
    add(
        data,
        0,
        tsamp=1e-3,
        delays=np.zeros(3),
        spin=np.array([10.0, 0.0, 0.0, 0.0]),
        offsets=np.zeros(3),
        ends=np.array([-np.inf, np.inf]),
        quantiles=np.array([[0.0, 0.1, 0.2]]),
        counts=counts,
        dither=np.array([0.3, 0.6, 0.9]),
        top=30_000,
    )
    np.testing.assert_allclose(data.sum(axis=1), 100 * counts, atol=1.0)
    # Half of the profile lies in the first tenth of a turn, half in the second, nothing after.
    by_phase = data[2].reshape(100, 10, 10).sum(axis=(0, 2))
    assert by_phase[0] == pytest.approx(by_phase[1], rel=0.02)
    assert by_phase[2:].sum() == 0


def test_a_burst_is_one_turn_and_goes_to_its_lane():
    data = np.zeros((1, 100), dtype=np.int16)
    add(
        data,
        0,
        tsamp=0.01,
        delays=np.array([0.30, 0.55]),
        spin=np.array([10.0, 0.0, 0.0, 0.0]),
        offsets=np.zeros(2),
        ends=np.array([0.0, 1.0]),
        quantiles=np.array([[0.0, 1.0]]),
        counts=np.array([20.0, 20.0]),
        dither=np.array([0.5, 0.5]),
        lanes=np.zeros(2, dtype=np.int64),
        shifts=np.array([0, 25]),
        step=3,
        top=1000,
    )
    # A tenth of a second, ten samples, from 0.3 s on in the first channel; the second is moved there.
    assert data[0, 30:40].tolist() == [12] * 10
    assert data.sum() == 120


def test_nothing_is_added_where_data_are_masked_and_no_value_leaves_its_range():
    one = signal(3) | {"counts": np.full(3, 400.0)}
    edges = np.array([0, 50, 70, 200], dtype=np.int64)
    bad = np.zeros((2, 3), dtype=np.bool_)
    bad[0, 1] = True
    data = np.full((3, 200), 120, dtype=np.int8)
    add(data, 0, **one, edges=edges, blocks=np.array([0, -1, 1]), bad=bad, step=16)
    assert (data[:, 50:70] == 120).all()
    assert (data[1, :50] == 120).all()
    assert data[0, :50].max() == data[1, 70:].max() == 127
    add(data, 0, **one, edges=edges, blocks=np.array([0, -1, 1]), bad=bad, step=-16)
    add(data, 0, **one, edges=edges, blocks=np.array([0, -1, 1]), bad=bad, step=-16)
    assert data.min() >= -127


@given(st.integers(1, 9), st.integers(1, 60), st.integers(0, 40), st.integers(1, 90), SEEDS)
def test_add_band(nchans, n, start, total, seed):
    rng = np.random.default_rng(seed)
    data = rng.integers(-127, 128, (nchans, n + 5), dtype=np.int8)[:, 2 : 2 + n]
    delays = rng.integers(-30, 30, nchans)
    out = rng.integers(-99, 99, total).astype(np.int16)
    want = oracle.add_band(data, start, delays, out)
    add_band(data, start, delays, out)
    np.testing.assert_array_equal(out, want)


def test_add_band_over_several_tiles():
    rng = np.random.default_rng(2)
    data = rng.integers(-127, 128, (6, 10_000), dtype=np.int8)
    delays = np.array([0, 3, -4, 5000, 17, -9000])
    out = np.zeros(9_500, dtype=np.int16)
    add_band(data, 0, delays, out)
    np.testing.assert_array_equal(out, oracle.add_band(data, 0, delays, np.zeros(9_500, dtype=np.int16)))
