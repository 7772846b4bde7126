"""Families of groups before anything is folded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.detections import FREQS, TOBS, curve, table

from pulsar.rank.claims import Claims, claims
from pulsar.searches.sift import group


def families(det, **more):
    """Frequency of each group -> (frequency of its head, multiple, divisor)."""
    groups = group(det, TOBS)
    told = claims(groups, TOBS, **more)
    freq = [g.freq for g in groups]
    return {freq[i]: (freq[told.head[i]], int(told.multiple[i]), int(told.divisor[i])) for i in range(len(groups))}, [
        freq[i] for i in told.heads
    ]


def pulsar(freq, excess, index, width=5):
    """A pulsar with its harmonics 2, 3 and 4 over some DMs."""
    rows = []
    for i in range(index - width, index + width + 1):
        fade = excess * max(0.0, 1 - abs(i - index) / (width + 1))
        rows += [(freq * m, 16 if m == 1 else 8, fade / m, i) for m in range(1, 5)]
    return [row for row in rows if row[2] > 25]


def test_a_pulsar_and_its_harmonics():
    told, heads = families(table(pulsar(3.3, 400.0, 60)))
    assert heads == [3.3]
    assert told == {3.3: (3.3, 1, 1), 6.6: (3.3, 2, 1), 3.3 * 3: (3.3, 3, 1), 13.2: (3.3, 4, 1)}


def test_two_pulsars_stay_two():
    _, heads = families(table(pulsar(3.3, 400.0, 60) + pulsar(7.123, 300.0, 62)))
    assert heads == [3.3, 7.123]


def test_an_exact_ratio_at_another_dm_stays():
    _, heads = families(table([(3.3, 16, 400.0, 60), (6.6, 16, 300.0, 160)]))
    assert heads == [3.3, 6.6]


def test_a_harmonic_tells_dms_apart_as_often_as_it_turns():
    # The fundamental is seen from DM 20 to 40; its 8th harmonic cannot be best at the edge of that.
    fundamental = [(3.3, 16, 400.0 - 10 * abs(i - 60), i) for i in range(40, 81)]
    for index, claimed in ((60, True), (62, True), (76, False)):
        told, _ = families(table([*fundamental, (8 * 3.3, 4, 45.0, index)]))
        assert (told[8 * 3.3][0] == 3.3) is claimed


def test_fractions():
    # At 3/2 the sum holds the harmonics 3, 6 ... of the fundamental, and no more power than was found at 3 f.
    rows = [(2.0, 32, 900.0, 10), (6.0, 8, 300.0, 10), (3.0, 16, 290.0, 10), (1.0, 32, 880.0, 10)]
    told, heads = families(table(rows))
    assert heads == [2.0]
    assert {told[f][1:] for f in (6.0, 3.0, 1.0)} == {(3, 1), (3, 2), (1, 2)}
    # Much more: a head of its own.
    rows[2] = (3.0, 16, 600.0, 10)
    assert families(table(rows))[1] == [2.0, 3.0]


def test_a_weaker_submultiple_with_odd_harmonics_is_the_fundamental():
    # At 4 f more significant (fewer powers), yet f has 66 beyond it in its other 24 harmonics.
    det = table([(10.0, 8, 300.0, 4), (2.5, 32, 342.0, 4)])
    assert det["logp"][0] < det["logp"][1]
    told, heads = families(det)
    assert heads == [2.5]
    assert told[10.0] == (2.5, 4, 1)
    # Without them it is the line at 10 Hz.
    told, heads = families(table([(10.0, 8, 300.0, 4), (2.5, 32, 301.0, 4)]))
    assert heads == [10.0]
    assert told[2.5] == (10.0, 1, 4)


def test_what_is_at_dm_zero_claims_nothing_that_is_dispersed():
    line = curve(50.0, 4, 900.0, 0.0, range(400))
    seen = line["dm"].max()
    # As a harmonic, and as a fraction, of the line, at a DM where the line is still seen.
    for freq in (100.0, 75.0, 25.0):
        det = np.concatenate([line, curve(freq, 16, 120.0, 0.5 * seen, range(400))])
        groups = group(det, TOBS, freqs=FREQS, dms=0.5 * np.arange(400))
        told = claims(groups, TOBS)
        assert sorted(groups[i].freq for i in told.heads) == sorted((50.0, freq))


@given(freq=st.floats(1.0, 60.0), m=st.integers(2, 30), bins=st.floats(3.0, 400.0), side=st.sampled_from([-1, 1]))
def test_what_lies_beside_a_harmonic_is_not_claimed_as_that(freq, m, bins, side):
    # Bins of the harmonic, far outside all errors; it may be another, higher fraction of so many.
    other = m * freq + side * bins / TOBS
    told, _ = families(table([(freq, 32, 800.0, 10), (other, 1, 40.0, 10)]))
    assert told[other][2] > 1 or told[other][0] == other


@given(freq=st.floats(1.0, 60.0), m=st.integers(2, 32), off=st.floats(-1.0, 1.0), index=st.integers(5, 300))
def test_what_agrees_within_the_errors_is_claimed(freq, m, off, index):
    det = table([(freq, 32, 800.0, index), (m * freq, 4, 800.0 / m, index)])
    det["freq"][1] += off * 2.0 * det["freq_err"][1]
    told, heads = families(det)
    assert heads == [freq]
    assert told[det["freq"][1]] == (freq, m, 1)


def accelerated(freq, z, excess, index=60):
    """A drifting pulsar: the search with acceleration sees all of it, the one without some of it on the way."""
    rows = [(freq, 8, excess, i) for i in range(index - 2, index + 3)]
    accel = table(rows, kind="accel")
    accel["fdot"] = z / TOBS**2
    smeared = [(freq + 0.5 * f * z / TOBS, 4, excess * 0.2, index) for f in (-0.9, -0.4, 0.3, 0.8)]
    smeared += [(2 * (freq + 0.5 * f * z / TOBS), 4, excess * 0.1, index) for f in (-0.7, 0.6)]
    return np.concatenate([accel, table(smeared)])


def test_what_a_drifting_pulsar_leaves_on_its_way_belongs_to_it():
    det = accelerated(50.0, -60.0, 300.0)
    told, heads = families(det)
    assert heads == [50.0]
    assert sorted(m for f, (_, m, _) in told.items() if f != 50.0) == [1] * 4 + [2] * 2
    # At another DM, or beyond the drift, it is another one.
    other = table([(50.0 + 20 / TOBS, 4, 90.0, 150), (50.0 + 45 / TOBS, 4, 90.0, 60)])
    assert len(families(np.concatenate([det, other]))[1]) == 3


def test_hundreds_of_random_pulsars_are_heads():
    rng = np.random.default_rng(7)
    n = 300
    rows = [
        (10 ** rng.uniform(0.3, 2.5), 2 ** int(rng.integers(0, 6)), 10 ** rng.uniform(1.5, 3), int(i))
        for i in np.sort(rng.integers(0, 2000, n))
    ]
    groups = group(table(rows), TOBS)
    assert len(groups) > 0.98 * n
    assert len(claims(groups, TOBS).heads) >= 0.99 * len(groups)


@given(seed=st.integers(0, 999))
@settings(max_examples=15)
def test_heads_are_heads_of_themselves(seed):
    rng = np.random.default_rng(seed)
    rows = [(rng.uniform(1, 20), 8, rng.uniform(30, 300), int(i)) for i in np.sort(rng.integers(0, 30, 200))]
    for freq, index in zip(rng.uniform(1, 20, 10), rng.integers(5, 30, 10), strict=True):
        rows += pulsar(float(freq), 400.0, int(index))
    groups = group(table(rows), TOBS)
    told = claims(groups, TOBS)
    np.testing.assert_array_equal(told.head[told.head], told.head)
    assert set(told.heads.tolist()) == set(told.head.tolist())
    assert len(told.heads) < len(groups)
    own = told.head == np.arange(len(groups))
    assert (told.multiple[~own] >= 1).all()
    # Families come in the order of their best member.
    best = [int(np.flatnonzero(told.head == h)[0]) for h in told.heads]
    assert best == sorted(best)


def test_switched_off():
    det = table(pulsar(3.3, 400.0, 60))
    told, heads = families(det, harmonics=False)
    assert len(heads) == 4
    assert all(value == (freq, 1, 1) for freq, value in told.items())


@pytest.mark.parametrize("harmonics", [True, False])
def test_nothing(harmonics):
    told = claims([], TOBS, harmonics=harmonics)
    assert isinstance(told, Claims)
    assert told.heads.size == told.head.size == 0
