"""Folding kernels against their oracles."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import fold as oracle

from pulsar.folding.plan import plan_bands
from pulsar_kernels.bandsums import PIECE
from pulsar_kernels.dedisperse import halve
from pulsar_kernels.fold import (
    LANE_GAP,
    LANE_TILE,
    LANES,
    MOST_CHANNELS,
    TILE,
    count_slots,
    deposit,
    fold_band,
    fold_bands,
    fold_row,
    halve_bytes,
    phase_bins,
)


@given(st.integers(1, 5), st.integers(0, 65), st.sampled_from([np.int8, np.int16]), st.integers(0, 999))
def test_halve(nchans, n, dtype, seed):
    rng = np.random.default_rng(seed)
    data = rng.integers(-127, 128, (nchans, n)).astype(dtype)
    out = np.full((nchans, n // 2), 99, np.int16)
    halve(data, out)
    np.testing.assert_array_equal(out, oracle.halve(data))


@given(st.integers(1, 5), st.integers(0, 300), st.sampled_from([60, 64, 127]), st.integers(0, 999))
def test_halve_bytes(nchans, n, top, seed):
    rng = np.random.default_rng(seed)
    data = rng.integers(-60, 60, (nchans, n)).astype(np.int8)
    if n:
        # At most one value far out, so that each place is tried.
        at = rng.integers(nchans), rng.integers(n)
        data[at] = rng.choice([top, -top - 1])
    out = np.full((nchans, n // 2), 99, np.int8)
    expected = oracle.halve(data)
    fits = bool(np.all((expected >= -128) & (expected <= 127)))
    assert halve_bytes(data, out) == fits
    # Where a sum is no byte, what is written is of no use.
    assert np.array_equal(out, expected) or not fits


@given(
    st.integers(1, 500),
    st.floats(0, 1, exclude_max=True),
    st.floats(1e-4, 0.5),
    st.floats(-1e-6, 1e-6),
    st.floats(-1e-9, 1e-9),
    st.integers(4, 256),
    st.integers(1, 6),
)
def test_phase_bins(nsamps, phase, rate, accel, jerk, nbins, nsegments):
    edges = np.round(np.linspace(0, nsamps, nsegments + 1)).astype(np.int64)
    out = np.zeros(nsamps, np.uint16)
    phase_bins(phase, rate, accel, jerk, nbins, edges, out)
    segment = np.searchsorted(edges, np.arange(nsamps), side="right") - 1
    turns = oracle.phases(phase, rate, accel, jerk, nsamps)
    position = turns * nbins
    np.testing.assert_array_equal(out // nbins, segment)
    # A phase at an edge may fall to either side by a rounding of the last digit.
    near = np.abs(position - np.round(position)) < 1e-6
    np.testing.assert_array_equal((out % nbins)[~near], np.floor(position[~near]))


@pytest.mark.parametrize("phase", [np.nextafter(1.0, 0.0), -1e-20])
def test_phase_just_below_a_turn_stays_in_the_last_bin(phase):
    out = np.zeros(1, np.uint16)
    phase_bins(phase, 0.1, 0.0, 0.0, 1000, np.array([0, 1]), out)
    assert out[0] == 999


@given(st.integers(1, 19), st.integers(0, 90), st.integers(0, 9), st.sampled_from(["8", "16"]), st.integers(0, 10**6))
def test_fold_band(nchans, nout, reach, kind, seed):
    rng = np.random.default_rng(seed)
    dtype, row_type, top = (np.int8, np.int16, 127) if kind == "8" else (np.int16, np.int32, 8128)
    data = rng.integers(-top, top + 1, (nchans, nout + reach)).astype(dtype)
    ngroups, ncands, nslots = 2, 5, 24
    delays = rng.integers(0, reach + 1, (ngroups, nchans)).astype(np.int32)
    members = rng.permutation(ncands).astype(np.int64)
    starts = np.array([0, 2, ncands], np.int64)
    slots = rng.integers(0, nslots, (ncands, max(nout, 1))).astype(np.uint16)
    acc = np.full((ncands, nslots), 77, np.int32)
    # A small row makes several tiles of even a short stretch.
    row = np.empty(32, row_type)
    fold_band(data, nout, delays, starts, members, slots, row, np.empty((4, nslots), np.int32), acc)
    for group in range(ngroups):
        for cand in members[starts[group] : starts[group + 1]]:
            expected = oracle.fold_band(data, nout, delays[group], slots[cand], nslots)
            np.testing.assert_array_equal(acc[cand], expected)


def test_largest_band_of_saturated_samples_fits_its_row():
    nchans = 32767 // 127
    data = np.full((nchans, TILE), 127, np.int8)
    acc = np.zeros((1, 1), np.int32)
    one = np.zeros((1, TILE), np.uint16)
    zero = np.zeros((1, nchans), np.int32)
    row, parts = np.empty(TILE, np.int16), np.empty((4, 1), np.int32)
    fold_band(data, TILE, zero, np.array([0, 1]), np.array([0]), one, row, parts, acc)
    assert acc[0, 0] == nchans * 127 * TILE


def fold_by_bands(data, nout, edges, delays, starts, members, slots, nslots, gain, tile=LANE_TILE):
    # As a stretch of a longer observation.
    before = 37
    data = np.pad(data, ((0, 0), (before, 5)), constant_values=99)
    plan = plan_bands(delays, np.array(edges), data.shape[1], gain=gain)
    lanes = 1 if len(edges) == 2 else LANES
    acc = np.full((len(slots), nslots, lanes), 77, np.int32)
    stash = np.zeros((len(delays), lanes, tile + LANE_GAP), np.int16)
    scratch = np.empty(plan.size, np.uint8), stash, np.empty((tile, LANES), np.int16), np.empty((4, nslots), np.int32)
    rows = plan.bands, plan.rows, plan.places
    fold_bands(data, before, nout, *rows, delays, starts, members, slots, *scratch, acc)
    return plan, acc


@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=LANES),
    st.integers(0, 1300),
    st.integers(0, 200),
    st.sampled_from([20, 64, 65, 127]),
    st.sampled_from([0.0, 2.0, np.inf]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_fold_bands(widths, nout, reach, top, gain, ordered, seed):
    rng = np.random.default_rng(seed)
    edges = np.cumsum([0, *widths])
    nchans = int(edges[-1])
    data = rng.integers(-20, 21, (nchans, nout + reach)).astype(np.int8)
    # One loud channel: sums of pairs with it may be no byte.
    data[rng.integers(nchans)] = rng.integers(-top, top + 1, nout + reach)
    if seed % 7 == 0:
        # The one value beyond those of the cleaned samples, and pairs of it.
        data[:, ::3] = -128
    ngroups, ncands, nslots = 4, 6, 24
    delays = rng.integers(0, reach + 1, (ngroups, nchans)).astype(np.int32)
    if ordered:
        delays = np.sort(delays, axis=1)
        delays[1] = delays[0]
    members = rng.permutation(ncands).astype(np.int64)
    starts = np.array([0, 2, 3, 3, ncands], np.int64)
    slots = rng.integers(0, nslots, (ncands, max(nout, 1))).astype(np.uint16)
    # A tile of a whole piece and one too short for a stretch.
    plan, acc = fold_by_bands(data, nout, edges, delays, starts, members, slots, nslots, gain, tile=PIECE + 96)
    tabled = plan.bands[:, 3] > plan.bands[:, 2]
    # A gain of 0 makes a table of every band that can have one, an infinite one of none; 2 of some.
    can = np.array(widths) > 1
    assert np.all(tabled <= (can & (gain < np.inf)))
    assert np.all(tabled >= (can & (gain == 0.0)))
    for b, (lo, hi) in enumerate(pairwise(edges)):
        for group in range(ngroups):
            for cand in members[starts[group] : starts[group + 1]]:
                expected = oracle.fold_band(data[lo:hi], nout, delays[group, lo:hi], slots[cand], nslots)
                np.testing.assert_array_equal(acc[cand, :, b], expected)


@pytest.mark.parametrize("gain", [0.0, np.inf])
@pytest.mark.parametrize("value", [127, -128, 63, -64])
@pytest.mark.parametrize("nbands", [1, 2])
def test_largest_band_of_equal_samples(nbands, value, gain):
    edges = np.arange(nbands + 1) * MOST_CHANNELS
    data = np.full((edges[-1], LANE_TILE), value, np.int8)
    zero = np.zeros((1, edges[-1]), np.int32)
    one = np.zeros((1, LANE_TILE), np.uint16)
    _, acc = fold_by_bands(data, LANE_TILE, edges, zero, np.array([0, 1]), np.array([0]), one, 1, gain)
    np.testing.assert_array_equal(acc[0, 0, :nbands], MOST_CHANNELS * value * LANE_TILE)


def test_rows_of_a_table_are_shared_by_groups_that_are_near():
    # Two groups with the same relative delay share a row; a third is too far away, a fourth has another.
    delays = np.array([[0, 3], [5, 8], [PIECE, PIECE + 3], [0, 4]], np.int32)
    plan = plan_bands(delays, np.array([0, 2]), 10 * PIECE, gain=0.0)
    assert len(plan.rows) == 3
    assert plan.places[1] == plan.places[0] + 5
    assert len(set(plan.places.tolist())) == 4
    # Where a table does not pay, the groups find the channels themselves.
    plan = plan_bands(delays, np.array([0, 2]), 10 * PIECE, gain=2.0)
    assert plan.size == len(plan.rows) == 0
    np.testing.assert_array_equal(plan.places.reshape(4, 2), delays + np.array([0, 10 * PIECE]))


@given(st.integers(1, 4), st.integers(1, 3), st.booleans(), st.integers(0, 999))
def test_deposit(nbands, ncands, lanes, seed):
    rng = np.random.default_rng(seed)
    total, nbins, nsubints = nbands + 3, np.array([4, 6, 8])[:ncands], 5
    bands = rng.permutation(total)[:nbands]
    first = rng.integers(0, 4, ncands)
    ranges = np.stack([first, first + rng.integers(1, 3, ncands)], axis=1)
    ranges[:, 1] = np.minimum(ranges[:, 1], nsubints)
    acc = rng.integers(-999, 999, (ncands, 2 * 8, LANES if lanes else nbands)).astype(np.int32)
    offsets = np.cumsum([0, *(nsubints * total * nbins)])
    cubes = np.ones(offsets[-1], np.float32)
    deposit(acc, 0.125, bands, total, nbins, ranges, offsets[:-1], cubes)
    for k in range(ncands):
        expected = np.ones((nsubints, total, nbins[k]))
        for s in range(*ranges[k]):
            at = (s - ranges[k, 0]) * nbins[k]
            expected[s, bands] += 0.125 * acc[k, at : at + nbins[k], :nbands].T
        np.testing.assert_array_equal(cubes[offsets[k] : offsets[k + 1]].reshape(expected.shape), expected)


@given(st.integers(0, 200), st.integers(1, 30), st.integers(0, 999))
def test_count_and_row(n, nslots, seed):
    rng = np.random.default_rng(seed)
    slots = rng.integers(0, nslots, n).astype(np.uint16)
    data = rng.standard_normal(n).astype(np.float32)
    counts, sums = np.zeros(nslots, np.int64), np.zeros(nslots)
    count_slots(slots, counts)
    fold_row(data, slots, sums)
    np.testing.assert_array_equal(counts, np.bincount(slots, minlength=nslots))
    np.testing.assert_allclose(sums, np.bincount(slots, weights=data.astype(float), minlength=nslots), atol=1e-9)
