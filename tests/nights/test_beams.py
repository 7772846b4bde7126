"""Detections in several beams: sources, sidelobes of bright ones, interference."""

import numpy as np

from pulsar.config.load import load_config
from pulsar.data.candidate import CANDIDATE_COLUMNS, SINGLE_PULSE_COLUMNS, empty_table
from pulsar.nights.beams import coincide_candidates, coincide_pulses
from pulsar.sky.observatory import Receiver

RECEIVER = Receiver(load_config("fast-19beam").receiver)
EVERY = set(range(1, 20))
TOBS = 300.0


def candidates(*found):
    """Rows from (freq, dm, snr)."""
    rows = empty_table(CANDIDATE_COLUMNS, len(found))
    for row, (freq, dm, snr) in zip(rows, found, strict=True):
        row["freq"], row["period"], row["period_err"] = freq, 1 / freq, 1e-5 / freq**2
        row["dm"], row["dm_err"], row["snr"] = dm, 0.5, snr
    return rows


def judged(signals, observed=EVERY):
    """Verdicts by frequency, of signals {freq: {beam: snr}}."""
    rng = np.random.default_rng(1)
    tables = {}
    for beam in observed:
        tables[beam] = candidates(
            *((f + rng.normal() * 1e-5, 50.0 + rng.normal() * 0.3, s[beam]) for f, s in signals.items() if beam in s)
        )
    found = coincide_candidates(tables, RECEIVER, observed, TOBS, dict.fromkeys(tables, 0.0))
    assert sum(len(c.members) for c in found) == sum(len(t) for t in tables.values())
    return {round(float(tables[c.best.beam][c.best.row]["freq"]), 2): c for c in found}


def test_sources_sidelobes_and_interference():
    bright = {1: 400.0, 2: 30.0, 3: 25.0, 6: 12.0, 8: 20.0, 16: 15.0, 11: 9.0}
    signals = {
        1.23: {5: 20.0},
        7.77: {2: 15.0, 8: 12.0},
        3.21: bright,
        50.0: dict.fromkeys(EVERY, 30.0),
        33.3: {8: 14.0, 14: 13.0, 17: 12.0},
    }
    found = judged(signals)
    assert {f: c.verdict for f, c in found.items()} == {
        1.23: "source", 7.77: "source", 3.21: "sidelobes", 50.0: "rfi", 33.3: "rfi",
    }  # fmt: skip
    assert [found[f].best.beam for f in (1.23, 7.77, 3.21)] == [5, 2, 1]
    assert found[7.77].beams == {2, 8}
    # Between beams 2 and 8, nearer to 2.
    assert 6.0 < found[7.77].east < 8.7
    assert abs(found[7.77].north) < 0.7


def test_a_beam_that_was_not_observed_is_unknown():
    signals = {7.7: {2: 15.0, 5: 14.0}}
    assert judged(signals)[7.7].verdict == "rfi"
    assert judged(signals, EVERY - {1})[7.7].verdict == "source"


def test_another_dm_or_frequency_is_another_source():
    tables = {1: candidates((5.0, 50.0, 20.0)), 2: candidates((5.0, 70.0, 20.0), (5.1, 50.0, 10.0))}
    found = coincide_candidates(tables, RECEIVER, EVERY, TOBS, dict.fromkeys(tables, 0.0))
    assert [len(c.members) for c in found] == [1, 1, 1]
    # Harmonics go with their fundamental.
    tables[2]["harmonic_of"][1] = "c0001"
    assert len(coincide_candidates(tables, RECEIVER, EVERY, TOBS, dict.fromkeys(tables, 0.0))) == 2


def pulses(*found):
    rows = empty_table(SINGLE_PULSE_COLUMNS, len(found))
    for row, (time, dm, width, snr) in zip(rows, found, strict=True):
        row["time"], row["dm"], row["dm_err"], row["width"], row["snr"] = time, dm, 1.0, width, snr
    return rows


def test_single_pulses_in_several_beams():
    tables = {b: pulses((10.0, 0.5, 5e-3, 20.0)) for b in EVERY}
    tables[7] = pulses((10.001, 0.3, 5e-3, 20.0), (17.0, 300.0, 2e-3, 15.0))
    tables[6] = pulses((10.001, 0.3, 5e-3, 20.0), (17.001, 301.0, 2e-3, 9.0), (18.0, 300.0, 2e-3, 8.0))
    found = coincide_pulses(tables, RECEIVER, EVERY)
    assert [(c.verdict, len(c.members)) for c in found] == [("rfi", 19), ("source", 2), ("source", 1)]
    assert found[1].best.beam == 7
    assert coincide_pulses({}, RECEIVER, EVERY) == []
