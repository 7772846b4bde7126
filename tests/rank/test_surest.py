"""A source is told with its surest detection."""

import dataclasses

import pytest
from reference.detections import make_group
from reference.sources import SKY, Source

from pulsar.rank.candidate import Candidate
from pulsar.rank.explain import Explained, explain
from pulsar.rank.surest import with_surest


def told(order=1, flags=(), snr=26.0):
    """A pulsar, and a weak detection at 36 periods whose fold has found it, with another S/N."""
    pulsar = Source(7.2, snr=20.0)
    chance = make_group(7.2 / 36, nharm=32, excess=70.0, uid="chance", kind="ffa")
    found = pulsar.candidate(*flags, uid="found")
    again = Candidate(chance, dataclasses.replace(pulsar.fold(), snr=snr))
    rest = [pulsar.group(2.0, 8, uid="twice"), pulsar.group(1.0, 4, index=62, uid="beside")]
    return found, explain([found, again][::order], rest, SKY)


@pytest.mark.parametrize("order", [1, -1])
def test_the_best_fold_has_the_surest_detection(order):
    found, verdict = told(order)
    assert {one.uid for one in verdict.folded if not one.parent} == {"chance"}
    after = with_surest(verdict, SKY)
    (head,) = [one for one in after.folded if not one.parent]
    assert head.group is found.group
    assert head.snr == 26.0
    assert head.features["sigma"] == found.group.sigma
    others = {one.uid: one for one in [*after.folded, *after.rest] if one.parent}
    assert {one.parent for one in others.values()} == {"found"}
    assert set(others) == {"chance", "twice", "beside"}
    assert (others["twice"].relation, others["beside"].relation) == ("harmonic 2", "same")
    assert not any("chance" in text for one in others.values() for text in one.reasons)
    # Nothing is lost or told twice, and there is no more to exchange.
    before = [*verdict.folded, *verdict.rest]
    assert sorted(id(one.group) for one in before) == sorted(id(one.group) for one in [*after.folded, *after.rest])
    again = with_surest(after, SKY)
    assert [one.uid for one in again.folded] == [one.uid for one in after.folded]


def test_a_head_that_is_the_surest_stays():
    found, verdict = told(snr=15.0)
    after = with_surest(verdict, SKY)
    assert [(one.uid, one.parent) for one in after.folded] == [(one.uid, one.parent) for one in verdict.folded]
    assert next(one for one in after.folded if not one.parent).group is found.group


def test_interference_is_not_the_surest_detection_of_what_has_no_flag():
    pulsar = Source(7.2, snr=20.0)
    head = Candidate(make_group(7.2, nharm=4, excess=40.0, uid="head"), pulsar.fold())
    hum = dataclasses.replace(
        pulsar.candidate("mains", uid="hum"), parent="head", relation="same", group=pulsar.group(1.0, 16, uid="hum")
    )
    assert hum.group.sigma > head.group.sigma
    after = with_surest(Explained([head, hum], []), SKY)
    assert [one.uid for one in after.folded] == ["head", "hum"]
    plain = dataclasses.replace(hum, flags=())
    assert [one.uid for one in with_surest(Explained([head, plain], []), SKY).folded] == ["hum", "head"]
