"""What a source is in a part of the observation: its profile, its frequency at the middle, whether it is another."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.data.fold import Fold, FoldParams
from pulsar.rank.candidate import Candidate
from pulsar.rank.compare import Sky
from pulsar.rank.parts import in_part, params_at, ratio_between
from pulsar.searches.sift import Group

TOBS, FREQ, FDOT = 1600.0, 10.0, 1e-5
SKY = Sky(TOBS / 4.0, 1e-3, np.linspace(1500.0, 1300.0, 32), {})


def fold(fdot: float = 0.0, on: slice = slice(None), snr: float = 40.0) -> Fold:
    """A fold of 32 sub-integrations, with a pulse in some of them."""
    rows = np.random.default_rng(3).normal(size=(32, 64))
    pulse = np.exp(-0.5 * ((np.arange(64) / 64 - 0.4) / 0.03) ** 2)
    pulse *= snr / np.sqrt(32 * np.sum((pulse - pulse.mean()) ** 2))
    rows[on] += pulse
    nothing = np.zeros(1)
    return Fold(
        before=FoldParams(FREQ), after=FoldParams(FREQ, fdot, 30.0), freq_err=2e-6, fdot_err=1e-8, dm_err=0.5,
        snr=snr, width=0.08, phase=0.4, chi2_red=9.0, profile=(rows.sum(axis=0) / np.sqrt(32)).astype(np.float32),
        time_phase=rows.astype(np.float32), freq_phase=np.zeros((4, 64), dtype=np.float32),
        time_edges=np.linspace(0.0, TOBS, 33), band_freqs=np.linspace(1490.0, 1310.0, 4), dms=nothing,
        dm_snr=nothing.astype(np.float32), dm_expected=nothing.astype(np.float32), freq_offsets=nothing,
        fdot_offsets=nothing, p_pdot=np.zeros((1, 1), dtype=np.float32), epoch=60000.0, tobs=TOBS,
    )  # fmt: skip


def candidate(one: Fold, label: str = "") -> Candidate:
    best = np.zeros(1, dtype=dtype_of(DETECTION_COLUMNS))
    best["freq"], best["dm"], best["part"] = one.after.freq, one.after.dm, label
    return Candidate(Group("u" + label, best[0], np.arange(1), one.after.dm, one.after.dm), one)


def test_frequencies_are_those_at_the_middle_of_the_part():
    one = fold(FDOT)
    assert params_at(one, 0.5 * TOBS).freq == FREQ
    # The third quarter's middle is an eighth of the observation after that of the whole.
    seen = in_part(one, 0.5 * TOBS, 0.25 * TOBS)
    assert seen.after.freq == pytest.approx(FREQ + FDOT * TOBS / 8.0, abs=1e-12)
    assert seen.freq_err == pytest.approx(np.hypot(2e-6, 1e-8 * TOBS / 8.0))
    assert (seen.start, seen.tobs) == (0.5 * TOBS, 0.25 * TOBS)
    # And back again.
    assert in_part(seen, 0.0, TOBS).after.freq == pytest.approx(FREQ, abs=1e-12)


@pytest.mark.parametrize(("quarter", "least", "most"), [(2, 17.0, 22.0), (0, 0.0, 5.0)])
def test_the_profile_is_that_of_the_part(quarter, least, most):
    one = fold(on=slice(16, 24))
    # A fourth of the pulses, in a fourth of the noise.
    seen = in_part(one, quarter * TOBS / 4.0, TOBS / 4.0)
    assert least < seen.snr < most
    assert len(seen.time_phase) == 8


def test_where_sub_integrations_do_not_tell_a_source_is_constant():
    one = fold()
    seen = in_part(one, 0.0, TOBS / 64.0)
    assert seen.snr == pytest.approx(in_part(one, 0.0, TOBS).snr / 8.0, rel=0.01)
    last = in_part(in_part(one, 0.0, TOBS / 4.0), 0.75 * TOBS, TOBS / 4.0)
    assert last.snr == pytest.approx(in_part(one, 0.0, TOBS / 4.0).snr, rel=0.01)


def at(freq: float, fdot: float = 0.0, dm: float = 30.0) -> Candidate:
    """A fold of the first quarter."""
    one = in_part(fold(fdot), 0.0, TOBS / 4.0)
    return candidate(replace(one, after=FoldParams(freq, fdot, dm), part="1/4"), "1/4")


def test_a_constant_source_is_the_same_within_its_errors_alone():
    there = candidate(in_part(fold(), 0.0, TOBS / 4.0))
    bins = 4.0 / TOBS
    assert ratio_between(at(FREQ + 0.25 * bins), there, TOBS, SKY) == 1
    assert ratio_between(at(FREQ + 0.6 * bins), there, TOBS, SKY) is None
    assert ratio_between(at(FREQ, dm=40.0), there, TOBS, SKY) is None
    assert ratio_between(at(1.5 * FREQ), there, TOBS, SKY) == Fraction(3, 2)


def test_a_drifting_source_may_be_as_far_as_it_drifts():
    there = candidate(in_part(fold(FDOT), 0.0, TOBS / 4.0))
    away = 0.5 * FDOT * TOBS
    assert ratio_between(at(there.freq + away, FDOT), there, TOBS, SKY) == 1
    assert ratio_between(at(there.freq + away), there, 0.1 * TOBS, SKY) is None
    assert ratio_between(at(there.freq + 3.0 * away, FDOT), there, TOBS, SKY) is None
