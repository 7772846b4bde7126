"""Detections that another signal has drawn into its group are let go where it leaves nothing."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference.fold import make_source

from pulsar.config.model import FoldConfig
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.data.fold import FoldParams
from pulsar.folding.folder import fold_many
from pulsar.folding.refine import refine
from pulsar.rank.candidate import Candidate
from pulsar.rank.compare import Sky
from pulsar.rank.hidden import split_unexplained
from pulsar.searches import stats
from pulsar.searches.sift import Group, make_group, without


def detections(rows, tobs):
    """Of (freq, nharm, excess power, dm)."""
    out = np.zeros(len(rows), dtype=dtype_of(DETECTION_COLUMNS))
    for i, (freq, nharm, excess, dm) in enumerate(rows):
        out[i]["freq"], out[i]["nharm"], out[i]["power"], out[i]["dm"] = freq, nharm, nharm + excess, dm
        out[i]["dm_index"], out[i]["freq_err"], out[i]["kind"] = int(dm), 0.1 / nharm / tobs, "fft"
    out["logp"] = stats.power_logp(out["power"], out["nharm"])
    out["sigma_single"] = stats.sigma_from_logp(out["logp"])
    out["sigma"] = stats.trial_sigma(out["logp"], 1e6)
    return out


def owner_of():
    source = make_source(np.random.default_rng(3), nchans=32, nsamps=1 << 15, snr=40.0, freq=11.3, dm=40.0)
    (cube,) = fold_many(source, [FoldParams(11.3, 0.0, 40.0)], FoldConfig(), threads=1, memory=1 << 28)
    fold = refine(cube)
    best = detections([(fold.after.freq, 16, 700.0, 40.0)], fold.tobs)[0]
    return source, fold, Candidate(Group("owner", best, np.array([0]), 40.0, 40.0), fold)


def attached(group):
    return Candidate(group, parent="owner")


def test_what_the_owner_leaves_stays_and_what_stands_at_another_dm_goes():
    source, fold, owner = owner_of()
    sky = Sky(fold.tobs, source.tsamp, source.freqs, {"fft": 0.0})
    half = 0.5 * fold.after.freq
    # At half the frequency the owner has all of its power at its DM, and none where its lines have faded.
    own = [(half, 32, 300.0, 40.0), (half, 32, 60.0, 42.0)]
    found = detections([*own, (half, 8, 120.0, 900.0), (half, 8, 90.0, 880.0)], fold.tobs)
    group = make_group(found, np.arange(4), fold.tobs, "x", set())
    (new,) = split_unexplained(found, [attached(group)], [owner], sky, name="x", uids={group.uid})
    assert new.members.tolist() == [2, 3]
    assert new.best["dm"] == 900.0
    assert new.uid != group.uid
    assert without(group, {2, 3}).members.tolist() == [0, 1]
    # Without what stands there nothing is taken away; of a series without DMs nothing can be told.
    alone = make_group(found, np.arange(2), fold.tobs, "x", set())
    assert split_unexplained(found, [attached(alone)], [owner], sky, name="x", uids=set()) == []
    series = Sky(fold.tobs, source.tsamp, np.zeros(0), {"fft": 0.0})
    assert split_unexplained(found, [attached(group)], [owner], series, name="x", uids=set()) == []


def test_what_another_leaves_is_not_of_the_one_that_led_the_group():
    source, fold, owner = owner_of()
    sky = Sky(fold.tobs, source.tsamp, source.freqs, {"fft": 0.0})
    # The head at a DM where "owner" leaves nothing is of "other", and what stands at the owner's DM is of the owner.
    half = 0.5 * fold.after.freq
    found = detections([(half, 8, 400.0, 900.0), (half, 32, 300.0, 40.0)], fold.tobs)
    group = make_group(found, np.arange(2), fold.tobs, "x", set())
    far = dataclasses.replace(fold, after=FoldParams(fold.after.freq, 0.0, 900.0))
    other = Candidate(Group("other", owner.best, np.array([0]), 900.0, 900.0), far)
    one = Candidate(group, parent="other")
    (new,) = split_unexplained(found, [one], [owner, other], sky, name="x", uids={group.uid})
    assert new.members.tolist() == [1]
    # Neither is it of a candidate with flags that led the group for what its own fold shows.
    own = Candidate(group, far, flags=("unsteady",))
    (new,) = split_unexplained(found, [own], [own], sky, name="x", uids={group.uid})
    assert new.members.tolist() == [1]


@given(st.sets(st.integers(0, 9)))
def test_a_group_keeps_its_leader(taken):
    found = detections([(2.0, 8, 100.0 - i, float(i)) for i in range(10)], 60.0)
    group = make_group(found, np.arange(10), 60.0, "x", set())
    left = without(group, taken).members.tolist()
    assert left == [0, *(k for k in range(1, 10) if k not in taken)]
