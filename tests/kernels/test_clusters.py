"""Clustering of events against every event with every other, and against boxes that are smeared."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import clusters as oracle

from pulsar_kernels import clusters

SIZES = {
    "npulses": st.sampled_from([0, 1, 4, 9]),
    "nnoise": st.sampled_from([0, 3, 40]),
    "ndms": st.sampled_from([1, 2, 3, 12, 40]),
}
SEEDS = st.integers(0, 2**32 - 1)
LEAST = 6.0


def scene(seed, npulses, nnoise, ndms):
    """Bow ties with holes, and noise, at uneven DMs; times refer to the highest frequency or to one between."""
    rng = np.random.default_rng(seed)
    s = SimpleNamespace(
        dms=np.cumsum(rng.uniform(0.5, 1.5, ndms)) * rng.choice([0.3, 3.0]), edge=rng.choice([1.0, 1.9])
    )
    s.e_hi = rng.choice([0.0, -0.002])
    s.e_lo = s.e_hi + 0.005
    s.tsamp = 5e-4 * 2.0 ** np.sort(rng.integers(0, 3, ndms))
    span, mean = s.e_lo - s.e_hi, 0.5 * (s.e_lo + s.e_hi)
    events = [
        (rng.integers(ndms), rng.uniform(0.2, 0.8), 10 ** rng.uniform(-3, -1.5), LEAST + rng.exponential())
        for _ in range(nnoise)
    ]
    for _ in range(npulses):
        at, time, width, snr = (
            rng.integers(ndms),
            rng.uniform(0.4, 0.6),
            10 ** rng.uniform(-3, -1.5),
            10 ** rng.uniform(1, 2),
        )
        part = rng.choice([0.3, 1.0])
        for r in np.flatnonzero(rng.random(ndms) < 0.8):
            d = s.dms[r] - s.dms[at]
            value = oracle.expected(snr, width, abs(d) * span * part) + rng.normal()
            if value > LEAST:
                events.append((r, time - d * mean + 0.2 * width * rng.normal(), width + abs(d) * span, value))
    row, time, width, snr = np.array(events, float).reshape(-1, 4).T
    sort = np.lexsort((time - 0.5 * width, row))
    s.row = row[sort].astype(np.int64)
    s.time, s.width, s.snr = (x[sort] for x in (time, width, snr))
    s.order = np.argsort(-s.snr)
    s.first = np.searchsorted(s.row, np.arange(ndms + 1))
    return s


def events(s):
    return clusters.Events(s.row, s.dms, s.tsamp, s.time, s.width, s.snr)


def linked(s, gap=2):
    parent = np.full(s.row.size, -1)
    clusters.link(s.first, events(s), s.order, gap, s.e_hi, s.e_lo, s.edge, parent)
    return parent


@pytest.mark.parametrize("smearing", [0.01, 0.3, 1.0, 2.0, 5.0, 50.0])
def test_the_model_is_that_of_a_smeared_box(smearing):
    boxes = np.geomspace(0.3, 100.0, 150)
    true = oracle.best_boxcar(1.0, smearing, boxes)
    got = [clusters.expected_in(1.0, 1.0, smearing, box, 1.0) for box in boxes]
    assert np.all((0.55 * true < got) & (got < 1.2 * true))
    assert clusters.expected(1.0, 1.0, smearing, np.inf) == pytest.approx(true.max(), rel=0.05)
    for widest in (0.5, 3.0, 10.0):  # none is narrower than the pulse
        limited = true[boxes <= max(widest, 1.0)].max()
        assert 0.7 * limited < clusters.expected(1.0, 1.0, smearing, widest) < 1.05 * limited


@given(st.floats(5, 500), st.floats(1e-4, 1), st.floats(0, 10), st.floats(1e-4, 10), st.floats(1, 3))
def test_the_model(snr, width, smearing, box, edge):
    for widest in (box, np.inf):
        got = clusters.expected(snr, width, smearing, widest)
        assert got == pytest.approx(oracle.expected(snr, width, smearing, widest), rel=1e-12)
    fall = clusters.expected(1.0, width, smearing, np.inf)
    assert clusters.smearing_of(fall, width) == pytest.approx(smearing, rel=1e-6, abs=1e-12 + 1e-6 * width)
    got = clusters.expected_in(snr, width, smearing, box, edge)
    assert got == pytest.approx(oracle.expected_in(snr, width, smearing, box, edge), rel=1e-12)


@given(**SIZES, gap=st.integers(0, 4), seed=SEEDS)
@settings(max_examples=60)
def test_link(npulses, nnoise, ndms, gap, seed):
    s = scene(seed, npulses, nnoise, ndms)
    want = oracle.link(s.row, s.dms, s.tsamp, s.time, s.width, s.snr, s.order, gap, s.e_hi, s.e_lo, s.edge)
    np.testing.assert_array_equal(linked(s, gap), want)


def test_a_wide_event_behind_a_narrow_one_is_found():
    """The margin is a part of the width: what starts later may reach further ahead."""
    s = SimpleNamespace(dms=np.ones(1), tsamp=np.full(1, 1e-4), e_hi=0.0, e_lo=0.005, edge=1.0)
    s.time, s.width = np.array([0.955, 1.005, 1.510]), np.array([0.03, 0.01, 1.0])
    s.snr, s.row, s.first, s.order = (
        np.array([7.0, 8.0, 9.0]),
        np.zeros(3, np.int64),
        np.array([0, 3]),
        np.arange(3)[::-1],
    )
    np.testing.assert_array_equal(linked(s), [2, 2, 2])


@given(**SIZES, seed=SEEDS)
@settings(max_examples=60)
def test_spread(npulses, nnoise, ndms, seed):
    s = scene(seed, npulses, nnoise, ndms)
    parent, share = linked(s), np.full(s.row.size, np.nan)
    clusters.spread(parent, events(s), s.e_lo - s.e_hi, share)
    want = oracle.spread(parent, s.row, s.dms, s.width, s.snr, s.e_lo - s.e_hi)
    np.testing.assert_allclose(share, want, rtol=1e-9)


@given(**SIZES, alone=st.booleans(), seed=SEEDS)
@settings(max_examples=60)
def test_absorb(npulses, nnoise, ndms, alone, seed):
    """Groups as `link` makes them, or every event one of its own: many pieces."""
    s = scene(seed, npulses, nnoise, ndms)
    parent = np.arange(s.row.size) if alone else linked(s)
    peaks = s.order[parent[s.order] == s.order]
    share = np.random.default_rng(seed).choice([0.05, 0.4, 1.0], s.row.size)
    by_row = np.lexsort((s.time[peaks], s.row[peaks]))
    first = np.searchsorted(s.row[peaks][by_row], np.arange(ndms + 1))
    owner = np.full(peaks.size, -1)
    rest = (share, s.e_hi, s.e_lo, s.edge, LEAST)
    clusters.absorb(peaks, first, by_row, events(s), *rest, owner)
    np.testing.assert_array_equal(owner, oracle.absorb(peaks, *events(s), *rest))


@given(**SIZES, groups=st.sampled_from(["linked", "alone", "one"]), widest=st.sampled_from([0.01, 10.0]), seed=SEEDS)
@settings(max_examples=60)
def test_describe(npulses, nnoise, ndms, groups, widest, seed):
    s = scene(seed, npulses, nnoise, ndms)
    n = s.row.size
    parent = {"linked": linked(s), "alone": np.arange(n), "one": np.full(n, s.order[0] if n else 0)}[groups]
    peaks, group = np.unique(parent, return_inverse=True)
    member = np.argsort(group, kind="stable")
    first = np.searchsorted(group[member], np.arange(peaks.size + 1))
    out = np.full((peaks.size, 6), np.nan)
    rng = np.random.default_rng(seed)
    reach, share = s.width * rng.choice([0.5, 2.0, 8.0, np.inf], n), rng.choice([0.05, 0.4, 1.0], n)
    facts = (reach, share, s.e_lo - s.e_hi, LEAST, widest)
    clusters.describe(first, member, peaks, events(s), *facts, out)
    want = oracle.describe(group, peaks, s.row, s.dms, s.snr, s.width, *facts)
    np.testing.assert_allclose(out, want, rtol=1e-6, atol=1e-6)


def test_the_top_is_that_of_a_parabola():
    dms = np.arange(11.0)
    snr = np.sqrt(900.0 - 20.0 * (dms - 5.3) ** 2)
    rows, out = np.arange(11), np.empty((1, 6))
    flat = clusters.Events(rows, dms, np.full(11, 1e-3), np.zeros(11), np.full(11, 0.01), snr)
    clusters.describe(
        np.array([0, 11]), rows, np.array([5]), flat, np.full(11, np.inf), np.ones(11), 0.005, 6.0, 1.0, out
    )
    assert out[0, 0] == pytest.approx(5.3)
    assert out[0, 4] == snr[0]
