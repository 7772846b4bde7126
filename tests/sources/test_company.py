"""What other rows of a run say of one: crowds in frequency, and DMs that a transmitter's sweeps have."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.detections import make_group
from reference.products import make_fold

from pulsar.data.fold import FoldParams
from pulsar.sources.candidate import Candidate
from pulsar.sources.company import crowded, dispersed, in_company, share_of_the_sky


def candidate(freq, dm, score=1.0, **more):
    fold = dataclasses.replace(make_fold(1), after=FoldParams(freq, 0.0, dm), dm_err=2.0)
    group = make_group(freq, uid=f"{freq:.6f}-{dm:.1f}")
    return Candidate(group, fold, features={"dm_shift": dm / 10.0}, score=score, **more)


def sky(rng, n):
    """Pulsars as a sky has them."""
    periods = np.exp(rng.uniform(np.log(2e-3), np.log(5.0), n))
    return [candidate(1.0 / p, rng.uniform(5.0, 300.0)) for p in periods]


def test_rows_of_all_dms_at_one_frequency_are_a_crowd():
    # As a tone that runs through the channels has left them.
    tone = [candidate(f, dm) for f, dm in ((7.4, 517.2), (7.6, 326.6), (7.7, 186.4), (7.8, 150.0))]
    alone = candidate(91.0, 60.0)
    assert crowded([*tone, alone]).tolist() == [True] * 4 + [False]
    # As well where half of them are at half of the frequency.
    tone = [candidate(f, dm) for f, dm in ((7.696, 275.6), (7.906, 71.8), (3.799, 410.3), (3.70, 600.1))]
    assert crowded(tone).all()


def test_a_cluster_of_stars_is_no_crowd():
    # The DMs of a globular cluster are within a few units, all periods some milliseconds.
    stars = [candidate(f, 242.0 + k) for k, f in enumerate((86.5, 90.2, 89.0, 84.8, 87.3))]
    assert not crowded(stars).any()


def test_weak_rows_around_a_strong_one_say_nothing_of_it():
    weak = [candidate(0.3 + 0.002 * k, 40.0 * k, score=0.05) for k in range(5)]
    assert crowded([candidate(0.305, 150.0, score=0.98), *weak])[0] == np.False_


def test_what_is_attached_is_no_company():
    rows = [candidate(7.6 + 0.01 * k, 60.0 * k, parent="other" if k else "") for k in range(5)]
    assert not crowded(rows).any()
    assert not crowded([]).any()


def test_random_skies_are_no_crowds():
    rng = np.random.default_rng(5)
    told = [crowded(sky(rng, 6)).any() for _ in range(400)]
    assert sum(told) <= 2


def even(one, **features):
    """A row whose pulse is as strong in all bands, with the DM curve of dispersion."""
    return dataclasses.replace(one, features={**one.features, "freq_even": 0.97, "dm_misfit": 0.02, **features})


def test_a_row_that_looks_dispersed_is_not_lost_among_sweeps_and_tones():
    sweeps = [candidate(2.0 * k, 270.0 + k, flags=("near sweeps",)) for k in (1, 5, 11, 31, 47)]
    alone = candidate(91.0, 60.0)
    pulsar = even(candidate(4.17, 351.0, flags=("near sweeps",)))
    out = in_company([*sweeps, pulsar, alone], 0.2)
    assert out[5].score == pytest.approx(0.8 * 2.0 * 0.25)
    assert all(one.score == pytest.approx(0.2 * 2.0 * 0.25 / 5.0) for one in out[:5])
    # Many that look so are many all the same.
    many = in_company([even(one) for one in sweeps] + [pulsar, alone], 0.2)
    assert all(one.score == pytest.approx(0.8 * 2.0 * 0.25 / 6.0) for one in many[:6])
    tones = [candidate(f, dm) for f, dm in ((7.4, 517.2), (7.6, 326.6), (7.7, 186.4), (7.8, 150.0))]
    assert crowded([*tones, even(candidate(7.65, 60.0))]).tolist() == [True] * 4 + [False]
    assert crowded([even(one) for one in tones]).all()


def test_what_is_not_known_does_not_look_dispersed():
    unknown = candidate(1.0, 50.0)
    rows = [even(unknown), unknown, even(unknown, freq_even=np.nan), even(unknown, dm_misfit=np.nan)]
    rows += [even(unknown, freq_even=0.8), even(unknown, dm_misfit=0.2)]
    assert dispersed(rows).tolist() == [True] + [False] * 5


@given(
    scores=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30),
    share=st.floats(0.0, 1.0),
    inside=st.integers(0, 30),
)
def test_the_share_of_the_sky_is_a_part(scores, share, inside):
    which = np.arange(len(scores)) < inside
    part = share_of_the_sky(which, np.array(scores), share)
    assert 0.0 <= part <= 1.0
    more = share_of_the_sky(np.append(which, True), np.append(scores, 1.0), share)
    assert more <= part


def test_rows_that_are_as_dense_as_elsewhere_are_of_the_sky():
    scores = np.ones(100)
    assert share_of_the_sky(np.arange(100) < 20, scores, 0.2) == pytest.approx(1.0, abs=0.02)
    assert share_of_the_sky(np.arange(100) < 80, scores, 0.2) == pytest.approx(21.0 * 0.25 / 80.0)


def test_scores_count_the_company():
    sweeps = [candidate(2.0 * k, 270.0 + k, flags=("near sweeps",)) for k in (1, 5, 11, 31, 47)]
    alone = candidate(91.0, 60.0)
    child = candidate(182.0, 60.0, parent=alone.uid)
    out = in_company([*sweeps, alone, child], 0.2)
    assert [one.flags for one in out[:5]] == [("near sweeps",)] * 5
    # Of the sky's rows a fifth need not look dispersed over the whole band.
    assert all(one.score == pytest.approx(0.2 * 2.0 * 0.25 / 5.0) for one in out[:5])
    assert [one.score for one in out[5:]] == [1.0, 1.0]
    crowd = in_company([candidate(f, dm) for f, dm in ((7.4, 517.0), (7.6, 326.0), (7.7, 186.0), (7.8, 15.0))], 0.0)
    assert all(one.flags == ("crowd",) and one.score == pytest.approx(0.1) for one in crowd)
