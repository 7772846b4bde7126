"""Folding kernels against their oracles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import fold as oracle

from pulsar.fold.plan import plan_pairs
from pulsar_kernels.fold import (
    PAIR_TILE,
    TILE,
    count_slots,
    fold_band,
    fold_pairs,
    fold_row,
    halve,
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
    if fits:
        np.testing.assert_array_equal(out, expected)


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


def fold_by_pairs(data, nout, delays, starts, members, slots, nslots, tile):
    plan = plan_pairs(delays, tile)
    acc = np.full((len(slots), nslots), 77, np.int32)
    table, words = np.empty(plan.size, np.uint8), np.empty((len(delays), tile // 64, 2, 32), np.uint16)
    row, parts = np.empty(tile, np.int16), np.empty((4, nslots), np.int32)
    rows = (plan.rows, plan.row_starts, plan.places)
    fold_pairs(data, nout, delays, *rows, starts, members, slots, table, words, row, parts, acc)
    return acc


@given(
    st.integers(1, 37),
    st.integers(0, 400),
    st.integers(0, 90),
    st.sampled_from([20, 31, 64, 127]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_fold_by_pairs(nchans, nout, reach, top, ordered, seed):
    rng = np.random.default_rng(seed)
    data = rng.integers(-top, top + 1, (nchans, nout + reach)).astype(np.int8)
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
    acc = fold_by_pairs(data, nout, delays, starts, members, slots, nslots, 128)
    for group in range(ngroups):
        for cand in members[starts[group] : starts[group + 1]]:
            expected = oracle.fold_band(data, nout, delays[group], slots[cand], nslots)
            np.testing.assert_array_equal(acc[cand], expected)


@pytest.mark.parametrize("value", [127, -127, 31, -32])
def test_largest_band_of_pairs_of_equal_samples(value):
    nchans = 32767 // 127
    data = np.full((nchans, PAIR_TILE), value, np.int8)
    zero = np.zeros((1, nchans), np.int32)
    one = np.zeros((1, PAIR_TILE), np.uint16)
    acc = fold_by_pairs(data, PAIR_TILE, zero, np.array([0, 1]), np.array([0]), one, 1, PAIR_TILE)
    assert acc[0, 0] == nchans * value * PAIR_TILE


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
