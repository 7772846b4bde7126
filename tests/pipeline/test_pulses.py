"""Single pulses in the phase of a periodic candidate."""

import dataclasses

import numpy as np
from reference.products import make_candidates, make_fold

from pulsar.data.candidate import SINGLE_PULSE_COLUMNS, empty_table
from pulsar.data.fold import FoldParams
from pulsar.pipeline.candidates import attach
from pulsar.pipeline.pulses import explained, is_one_pulse, link, phases


def pulses_at(times, dm, width=1e-3):
    table = empty_table(SINGLE_PULSE_COLUMNS, len(times))
    table["time"], table["dm"], table["dm_err"], table["width"] = times, dm, 0.5, width
    return table


def times_in_phase(fold, turns, scatter=0.0, seed=1):
    """When the pulse of the fold passes in these turns."""
    late = np.random.default_rng(seed).normal(0.0, 1.0, len(turns)) * scatter
    mid = 0.5 * fold.tobs
    times = mid + (turns + fold.phase + late) / fold.after.freq
    for _ in range(20):
        times -= (phases(fold, times) - turns - fold.phase - late) / fold.after.freq
    return times


def test_pulses_in_phase_are_linked_and_others_are_not():
    fold, rows = make_fold(1), make_candidates()
    rows["harmonic_of"], rows["npulses"] = "", 0
    dm = float(rows["dm"][0])
    most = int(0.4 * fold.tobs * fold.after.freq)
    turns = np.unique(np.round(np.linspace(-most, most, 12)))
    mine = pulses_at(times_in_phase(fold, turns, scatter=0.2 * fold.width), dm)
    other_dm = pulses_at(times_in_phase(fold, turns), dm + 20.0)
    between = pulses_at(times_in_phase(fold, turns[:3] + 0.5), dm)
    table = np.concatenate([mine, other_dm, between])
    link(table, rows, {"c0001": fold})
    n = len(mine)
    assert (table["source"][:n] == "c0001").all()
    assert (table["source"][n:] == "").all()
    assert rows["npulses"].tolist() == [n, 0, 0]


def test_random_pulses_are_not_linked():
    fold = make_fold(1)
    linked = 0
    for seed in range(200):
        rows = make_candidates()
        rows["harmonic_of"] = ""
        times = np.random.default_rng(seed).uniform(0, fold.tobs, 20)
        table = pulses_at(times, float(rows["dm"][0]))
        link(table, rows, {"c0001": fold})
        linked += int((table["source"] != "").any())
    assert linked <= 1


def test_one_strong_pulse_is_no_period():
    fold = make_fold(1)
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
    # Three pulses in phase are a rotation; one at another phase, another DM, or much weaker than the fold is not it.
    assert not is_one_pulse(table, fold)
    assert not is_one_pulse(table[1:2], fold)
    table["time"][0] += 0.5 / fold.after.freq
    assert not is_one_pulse(table[:1], fold)
    table["time"][0] -= 0.5 / fold.after.freq
    table["dm"] += 30.0
    assert not is_one_pulse(table[:1], fold)
    assert not is_one_pulse(table[:0], fold)


def test_periods_at_which_pulses_of_another_meet_belong_to_it():
    fold, rows = make_fold(1), make_candidates()
    rows["harmonic_of"], rows["npulses"] = "", 0
    most = int(0.4 * fold.tobs * fold.after.freq)
    table = pulses_at(times_in_phase(fold, np.unique(np.round(np.linspace(-most, most, 60)))), fold.after.dm)
    table["snr"] = 20.0
    # Another period that has only the phase of some of those pulses, and one that has none of them.
    slow = FoldParams(0.5, 0.0, fold.after.dm)
    phase = (table["time"] - 0.5 * fold.tobs) * 0.5 % 1.0
    counts, edges = np.histogram(phase, 50, (0, 1))
    at = float(edges[int(np.argmax(counts))]) + 0.01
    made = dataclasses.replace(fold, after=slow, width=0.01, phase=at, snr=5.0)
    other = dataclasses.replace(made, snr=60.0)
    for third, expected in ((made, {1: 0}), (other, {})):
        folds = {"c0001": fold, "c0002": third}
        link(table, rows, folds)
        assert rows["npulses"].tolist() == [60, 0, 0]
        assert explained(table, rows, folds) == expected


def test_what_is_attached_goes_behind_with_its_own():
    ranked = [("a", None), ("b", None), ("c", None), ("d", 1), ("e", 0)]
    assert attach(ranked, {}) == ranked
    assert attach(ranked, {1: 0}) == [("a", None), ("c", None), ("b", 0), ("d", 0), ("e", 0)]
    assert attach(ranked, {0: 2}) == [("b", None), ("c", None), ("a", 1), ("d", 0), ("e", 1)]


def test_what_has_the_dm_of_several_sweeps_is_told():
    from pulsar.pipeline.pulses import sweep_dms

    table = empty_table(SINGLE_PULSE_COLUMNS, 5)
    table["dm"] = [240.0, 250.0, 300.0, 20.0, 260.0]
    table["rfi_flags"] = ["sweep", "narrow-band,sweep", "", "dm0", ""]
    assert sweep_dms(table) == (0.0, 0.0)
    table["rfi_flags"][4] = "sweep"
    assert sweep_dms(table) == (200.0, 312.0)
    # What is made of this range does not widen it; what is at DM 0 does not sweep.
    table["dm"][2:4] = [311.0, 0.0]
    table["rfi_flags"][2:4] = ["near sweeps", "dm0,sweep"]
    assert sweep_dms(table) == (200.0, 312.0)
