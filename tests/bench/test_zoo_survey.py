"""The survey of the zoo: one list of many files, and what counts in it."""

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
survey = importlib.import_module("zoo_survey")
sys.path.remove(str(FOLDER))


def file_with(candidates, pulses=(), signal="", detected=False):
    return survey.File("made-0", [(s, real, "") for s, real in candidates], list(pulses), signal, detected, 2.0)


def test_what_is_detected_and_not_listed_counts_as_last():
    files = [file_with([(0.9, True), (0.1, False)], signal="pulsar", detected=True)]
    files += [file_with([(0.5, False)] * 4) for _ in range(10)]
    lines = survey.summary(files)
    assert lines[0] == "pulsars: 1 in 11 files, 1 detected, 1 listed as such; 42 rows"
    assert "in the first 5 %: 1.000" in lines[2]
    lost = file_with([(0.1, False)], signal="pulsar", detected=True)
    missed = file_with([(0.1, False)], signal="pulsar")
    lines = survey.summary([*files, lost, missed])
    assert lines[0] == "pulsars: 3 in 13 files, 2 detected, 1 listed as such; 44 rows"
    assert "in the first 5 %: 0.500" in lines[2]


def test_odd_rows_are_told_in_words():
    one = file_with([(0.9, False), (0.9, True), (0.2, True), (0.2, False)], [(0.7, False, "t 3 s")])
    assert [line.split(":")[0] for line in survey.odd(one)] == [
        "  not real, score 0.90",
        "  real, score 0.20",
        "  not real, score 0.70",
    ]


@pytest.mark.slow
def test_a_file_of_the_survey_is_searched_and_judged(tmp_path):
    # One file in two has a pulsar, the other ones a burst.
    task = (2, 2, ("dedisp.dm_hi=300", "single_pulse.enabled=false"), tmp_path)
    made = survey.observe(task)
    again = survey.observe(task)
    assert (again.candidates, again.pulses, again.detected) == (made.candidates, made.pulses, made.detected)
    assert again.cpu < 0.5 * made.cpu
    assert made.name == "impulses-0"
    assert made.signal in ("pulsar", "burst")
    assert made.cpu > 0.0
    assert all(0.0 <= score <= 1.0 for score, _, _ in made.candidates)
