"""The survey of the zoo: one list of many files, and what counts in it."""

import numpy as np
import pytest
import zoo
from zoo_skies import in_turns, of_pulsar

from pulsar.data.header import Header
from pulsar.synthesis.model import Pulsar


def file_with(candidates, pulses=(), signal="", detected=False):
    return zoo.File("made-0", [(s, real, "") for s, real in candidates], list(pulses), signal, detected, 2.0)


def test_what_is_detected_and_not_listed_counts_as_last():
    files = [file_with([(0.9, True), (0.1, False)], signal="pulsar", detected=True)]
    files += [file_with([(0.5, False)] * 4) for _ in range(10)]
    lines = zoo.summary(files)
    assert lines[0] == "pulsars: 1 in 11 files, 1 detected, 1 listed as such; 42 rows"
    assert "in the first 5 %: 1.000" in lines[2]
    lost = file_with([(0.1, False)], signal="pulsar", detected=True)
    missed = file_with([(0.1, False)], signal="pulsar")
    lines = zoo.summary([*files, lost, missed])
    assert lines[0] == "pulsars: 3 in 13 files, 2 detected, 1 listed as such; 44 rows"
    assert "in the first 5 %: 0.500" in lines[2]


def test_odd_rows_are_told_in_words():
    one = file_with([(0.9, False), (0.9, True), (0.2, True), (0.2, False)], [(0.7, False, "t 3 s")])
    assert [line.split(":")[0] for line in zoo.odd(one)] == [
        "  not real, score 0.90",
        "  real, score 0.20",
        "  not real, score 0.70",
    ]


def times_as_pulses(times):
    rows = np.zeros(len(times), dtype=[("time", "f8"), ("dm", "f8"), ("dm_err", "f8")])
    rows["time"], rows["dm"], rows["dm_err"] = times, 50.0, 0.5
    return rows


def test_pulses_are_turns_of_a_pulsar_only_if_more_fit_than_by_chance():
    header = Header(nchans=64, nsamps=1 << 16, tsamp=5e-4, fch1=1500.0, foff=-4.0, tstart=60000.0)
    made = Pulsar(period=0.7, dm=50.0, snr=12.0, duty=0.05)
    turns = 0.5 * header.tobs + made.period * (np.arange(1, 9) - made.phase0)
    others = np.random.default_rng(3).uniform(1.0, 30.0, 30)
    by_chance = times_as_pulses(others)
    assert any(of_pulsar(row, made, header) for row in by_chance), "some fit"
    assert not in_turns(by_chance, made, header)
    assert in_turns(times_as_pulses(turns), made, header)
    assert in_turns(times_as_pulses([*others, *turns]), made, header)
    assert not in_turns(times_as_pulses(turns[:1]), made, header), "one is no evidence"
    elsewhere = times_as_pulses(turns)
    elsewhere["dm"] = 250.0
    assert not in_turns(elsewhere, made, header)


@pytest.mark.slow
def test_a_file_of_the_survey_is_searched_and_judged(tmp_path):
    # One file in two has a pulsar, the other ones a burst.
    task = (2, 2, ("dedisp.dm_hi=300", "single_pulse.enabled=false"), tmp_path)
    made = zoo.examine(task)
    again = zoo.examine(task)
    assert (again.candidates, again.pulses, again.detected) == (made.candidates, made.pulses, made.detected)
    assert again.cpu < 0.5 * made.cpu
    assert made.name == "impulses-0"
    assert made.signal in ("pulsar", "burst")
    assert made.cpu > 0.0
    assert all(0.0 <= score <= 1.0 for score, _, _ in made.candidates)
