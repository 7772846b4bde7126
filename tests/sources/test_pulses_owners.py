"""Single pulses in the phase of candidates, and candidates that are nothing but pulses."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.detections import make_group
from reference.products import make_fold

from pulsar.data.candidate import SINGLE_PULSE_COLUMNS, empty_table
from pulsar.data.fold import FoldParams
from pulsar.sources import pulses as single_pulses
from pulsar.sources.candidate import MAX_CHANCE, Candidate
from pulsar.sources.pulses import chance_of, flags_by_pulses, is_one_pulse, owners, phases


def pulses_at(times, dm, width=1e-3, snr=8.0):
    table = empty_table(SINGLE_PULSE_COLUMNS, len(times))
    table["time"], table["dm"], table["dm_err"], table["width"], table["snr"] = times, dm, 0.5, width, snr
    return table


def times_in_phase(fold, turns, scatter=0.0, seed=1):
    """When the pulse of the fold passes in these turns."""
    late = np.random.default_rng(seed).normal(0.0, 1.0, len(turns)) * scatter
    mid = 0.5 * fold.tobs
    times = mid + (turns + fold.phase + late) / fold.after.freq
    for _ in range(20):
        times -= (phases(fold, times) - turns - fold.phase - late) / fold.after.freq
    return times


def turns_of(fold, n):
    """Turns over most of the observation."""
    most = int(0.4 * fold.tobs * fold.after.freq)
    return np.unique(np.round(np.linspace(-most, most, n)))


def candidate(fold, uid="first", **more):
    group = make_group(fold.after.freq if fold is not None else 3.0, uid=uid)
    return Candidate(group, fold, **more)


@given(
    seconds=st.floats(0.0, 300.0),
    freq=st.floats(0.1, 700.0),
    fdot=st.floats(-1e-3, 1e-3),
    fddot=st.floats(-1e-6, 1e-6),
)
def test_phases_are_the_integral_of_the_frequency(seconds, freq, fdot, fddot):
    fold = dataclasses.replace(make_fold(1), after=FoldParams(freq, fdot, 50.0, fddot))
    times = np.linspace(0.5 * fold.tobs, seconds, 20001)
    t = times - 0.5 * fold.tobs
    rate = freq + fdot * t + 0.5 * fddot * t**2
    area = np.sum(0.5 * (rate[1:] + rate[:-1]) * np.diff(times))
    assert phases(fold, times[-1:])[0] == pytest.approx(area, rel=1e-9, abs=1e-6)


def test_components_of_a_turn_are_one_turn():
    fold = make_fold(1)
    turns = turns_of(fold, 12)
    times = np.concatenate([times_in_phase(fold, turns), times_in_phase(fold, turns[:5] + 0.4 * fold.width)])
    assert single_pulses.turns_of(pulses_at(times, fold.after.dm), fold) == len(turns)
    assert single_pulses.turns_of(pulses_at(times[:0], fold.after.dm), fold) == 0


def test_pulses_in_phase_are_linked_and_others_are_not():
    fold = make_fold(1)
    dm = fold.after.dm
    turns = turns_of(fold, 12)
    mine = pulses_at(times_in_phase(fold, turns, scatter=0.2 * fold.width), dm)
    other_dm = pulses_at(times_in_phase(fold, turns), dm + 20.0)
    between = pulses_at(times_in_phase(fold, turns[:3] + 0.5), dm)
    table = np.concatenate([mine, other_dm, between])
    owner = owners(table, [candidate(fold)])
    n = len(mine)
    assert (owner[:n] == 0).all()
    assert (owner[n:] == -1).all()


@given(chances=st.lists(st.floats(0.0, 0.5), min_size=1, max_size=9), count=st.integers(1, 9))
def test_chance_of_as_many(chances, count):
    each = np.array(chances)
    happens = (np.arange(2**each.size)[:, None] >> np.arange(each.size)) & 1
    ways = np.prod(np.where(happens, each, 1.0 - each), axis=1)
    exact = ways[happens.sum(axis=1) >= count].sum()
    found = chance_of(count, each)
    assert found == pytest.approx(exact, abs=1e-12) or exact <= found < MAX_CHANCE


def test_a_wide_pulse_elsewhere_does_not_hide_that_narrow_ones_are_in_phase():
    # As the five single pulses that a real series has of its pulsar, beside a bump of the level.
    fold = dataclasses.replace(make_fold(1), after=FoldParams(1.4, 0.0, 50.0), width=0.0234)
    turns = np.array([-100.0, -40.0, 10.0, 60.0, 90.0])
    mine = pulses_at(times_in_phase(fold, turns, scatter=0.003), 50.0, width=0.01)
    bump = pulses_at(times_in_phase(fold, turns[:1] + 20.36), 50.0, width=0.25)
    owner = owners(np.concatenate([mine, bump]), [candidate(fold)])
    assert owner.tolist() == [0, 0, 0, 0, 0, -1]


def test_the_best_candidate_takes_its_pulses_first():
    fold = make_fold(1)
    table = pulses_at(times_in_phase(fold, turns_of(fold, 30)), fold.after.dm)
    twice = dataclasses.replace(fold, after=fold.after.times(0.5), phase=0.5 * fold.phase, snr=200.0)
    candidates = [candidate(fold), candidate(twice, "second")]
    assert (owners(table, candidates) == 0).all()
    # What belongs to another, or has no fold, gets none.
    candidates = [candidate(fold, parent="other"), candidate(None, "unfolded"), candidate(fold, "third")]
    assert (owners(table, candidates) == 2).all()


def test_random_pulses_are_not_linked():
    fold = make_fold(1)
    linked = 0
    for seed in range(200):
        times = np.random.default_rng(seed).uniform(0, fold.tobs, 20)
        owner = owners(pulses_at(times, fold.after.dm), [candidate(fold)])
        linked += int((owner >= 0).any())
    assert linked <= 1


def fold_of(rows, others=0.0):
    """A fold of which some sub-integrations have a pulse, by S/N, and all of them a weaker one of a period."""
    fold = make_fold(1)
    shape = np.exp(-0.5 * ((np.arange(64) / 64 - 0.4) / 0.03) ** 2)
    shape /= np.sqrt(np.sum((shape - shape.mean()) ** 2))
    parts = np.random.default_rng(5).normal(size=(16, 64))
    parts += np.outer(others + np.array([rows.get(i, 0.0) for i in range(16)]), shape)
    snr = float(np.sqrt(np.sum(np.mean(parts, axis=0) ** 2) * 16))
    return dataclasses.replace(fold, time_phase=parts.astype(np.float32), snr=snr)


def test_one_strong_pulse_is_no_period():
    fold = fold_of({3: 20.0})
    times = times_in_phase(fold, np.array([5.0, 100.0, -300.0]))
    table = pulses_at(times, fold.after.dm)
    turns = fold.tobs * fold.after.freq
    table["snr"] = [0.7 * fold.snr * np.sqrt(turns), 7.0, 7.0]
    assert is_one_pulse(table[:1], fold)
    assert is_one_pulse(table[:2], fold)
    # A pulse as strong as the fold gives it next to nothing: they have only met.
    met = table[:1].copy()
    met["snr"] = 1.5 * fold.snr
    assert turns > 100
    assert not is_one_pulse(met, fold)
    # One at another phase, another DM, or much weaker than the fold is not it.
    assert not is_one_pulse(table[1:2], fold)
    table["time"][0] += 0.5 / fold.after.freq
    assert not is_one_pulse(table[:1], fold)
    table["time"][0] -= 0.5 / fold.after.freq
    table["dm"] += 30.0
    assert not is_one_pulse(table[:1], fold)
    assert not is_one_pulse(table[:0], fold)


def test_two_pulses_and_those_that_chance_puts_beside_are_no_period():
    # Some period has any two of them in its phase; a window of 0.13 turns has one of eight others as well.
    fold = fold_of({3: 20.0, 9: 14.0})
    turns = fold.tobs * fold.after.freq
    inside = times_in_phase(fold, np.array([5.0, 100.0, -300.0, 700.0, -1000.0]))
    beside = times_in_phase(fold, np.linspace(-2000.0, 2000.0, 8).round()) + 0.3 / fold.after.freq
    table = pulses_at(np.concatenate([inside, beside]), fold.after.dm)
    table["snr"] = 7.0
    table["snr"][:2] = 0.7 * fold.snr * np.sqrt(turns), 0.5 * fold.snr * np.sqrt(turns)
    few = np.r_[0:3, 5 : len(table)]
    assert is_one_pulse(table[few], fold)
    # Five of five in phase are a rotation.
    assert not is_one_pulse(table[:5], fold)


def test_a_period_that_meets_a_strong_pulse_is_more_than_that():
    """An impulse at the phase of a pulsar: the other turns have the pulse, too."""
    for others, more in ((2.0, True), (0.0, False)):
        fold = fold_of({3: 20.0}, others)
        table = pulses_at(times_in_phase(fold, np.array([5.0])), fold.after.dm)
        table["snr"] = 0.7 * fold.snr * np.sqrt(fold.tobs * fold.after.freq)
        assert is_one_pulse(table, fold) is not more


def test_a_fold_of_one_pulse_is_flagged():
    fold = fold_of({3: 20.0})
    table = pulses_at(times_in_phase(fold, np.array([5.0])), fold.after.dm)
    table["snr"] = 0.7 * fold.snr * np.sqrt(fold.tobs * fold.after.freq)
    assert flags_by_pulses(table, fold) == ("one pulse",)
    assert owners(table, [candidate(fold)]).tolist() == [-1]


def test_nothing():
    none = pulses_at([], 10.0)
    assert owners(none, []).size == 0
    assert owners(none, [candidate(make_fold(1))]).size == 0
    assert owners(pulses_at([1.0], 10.0), []).tolist() == [-1]
