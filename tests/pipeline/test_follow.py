"""Order, scores and bookkeeping of candidates, and their rows."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.detections import FREQS, TOBS, curve, make_group
from reference.products import make_fold, make_header

from pulsar.config.model import Config
from pulsar.data.flags import BY_NAME
from pulsar.pipeline.candidates import candidate_table
from pulsar.pipeline.follow import mark_detections, ordered, scored, thresholds
from pulsar.rank.candidate import Candidate
from pulsar.rank.features import features
from pulsar.searches.sift import group


def folded(uid, snr=35.0, **more):
    fold = dataclasses.replace(make_fold(1), snr=snr)
    return Candidate(make_group(fold.after.freq, uid=uid), fold, features(fold, sigma=10.0), **more)


flags = st.lists(st.sampled_from(sorted(BY_NAME)), unique=True)


@given(flags=flags)
def test_a_score_is_that_of_the_features_times_the_worst_flag(flags):
    plain, one = scored(folded("a")), scored(folded("a", flags=tuple(flags)))
    assert one.score == pytest.approx(plain.score * min((BY_NAME[f].weight for f in flags), default=1.0))
    # Once judged or twice, it is the same.
    assert scored(one) == one


def test_what_has_no_fold_has_no_score():
    one = Candidate(make_group(3.0))
    assert scored(one) == one
    assert one.score == 0.0


@given(
    rows=st.lists(
        st.tuples(st.floats(0, 1), st.floats(5, 100), st.sampled_from(["", "p"]), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_best_first_and_what_belongs_to_another_last(rows):
    candidates = []
    for i, (score, snr, parent, has_fold) in enumerate(rows):
        one = folded(f"u{i}", snr, parent=parent, score=score if has_fold else 0.0)
        candidates.append(one if has_fold else dataclasses.replace(one, fold=None))
    out = ordered(candidates)
    assert sorted(c.uid for c in out) == sorted(c.uid for c in candidates)
    free = [c for c in out if not c.parent]
    assert out[: len(free)] == free
    for part in (free, out[len(free) :]):
        keys = [(c.score, -np.inf if c.fold is None else c.snr) for c in part]
        assert keys == sorted(keys, reverse=True)


def test_every_detection_is_told_whose_it_is():
    detections = np.concatenate([curve(13.3, 16, 400.0, 30.0, range(200)), curve(7.1, 8, 200.0, 60.0, range(200))])
    first, second = group(detections, TOBS, freqs=FREQS)
    owner = Candidate(first, make_fold(1))
    mark_detections(detections, [owner, Candidate(second, parent=owner.uid, relation="harmonic 8/15")])
    of_first = np.isin(np.arange(detections.size), first.members)
    assert set(detections["uid"][of_first]) == {first.uid}
    assert set(detections["parent"][of_first]) == set(detections["relation"][of_first]) == {""}
    assert set(detections["uid"][~of_first]) == {second.uid}
    assert set(detections["parent"][~of_first]) == {first.uid}
    assert set(detections["relation"][~of_first]) == {"harmonic 8/15"}
    mark_detections(detections, [owner, Candidate(second)])
    assert set(detections["relation"][~of_first]) == {"not folded"}


def test_every_search_has_a_threshold():
    told = thresholds(Config())
    assert set(told) == {"fft", "accel", "ffa", "pulses"}
    assert told["fft"] == Config().fft.threshold


def test_rows_name_their_parents():
    parent = folded("parent", nattached=3, found_by=("ffa", "fft"), alternative=0.5)
    child = Candidate(make_group(60.0, uid="child"), parent="parent", relation="harmonic 2", reasons=("one", "two"))
    orphan = Candidate(make_group(61.0, uid="orphan"), parent="not in the list", flags=("dm0", "mains"))
    table, folds = candidate_table([parent, child, orphan], make_header())
    assert table["rank"].tolist() == [1, 2, 3]
    assert table["id"].tolist() == ["c0001", "c0002", "c0003"]
    assert table["uid"].tolist() == ["parent", "child", "orphan"]
    assert table["harmonic_of"].tolist() == ["", "c0001", ""]
    assert table["reasons"].tolist() == ["", "one; two", ""]
    assert table["rfi_flags"].tolist() == ["", "", "dm0,mains"]
    assert table["found_by"][0] == "ffa,fft"
    assert table["nattached"].tolist() == [3, 0, 0]
    assert table["period_alt"][0] == 0.5
    assert np.isnan(table["period_alt"][1:]).all()
    assert [ident for ident, _ in folds] == ["c0001"]
    np.testing.assert_allclose(table["period"], 1.0 / np.array([parent.freq, 60.0, 61.0]))
    assert np.isnan(table["snr"][1:]).all()
