"""The list by pursuit: what sources do not leave is folded, until they leave all that was detected.

1. Heads: of the detections, surest first, those that neither a source nor a head before them leaves are folded.
2. All folds that there are become sources or belong to them (:mod:`pulsar.sources.sky`).
3. When no head is left, detections at multiples of the periods of sources are folded: what was folded may be a part of
   a turn.
4. When that brings nothing, or the room for folds is used up, every group has a parent or stands.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np

from pulsar.rank.candidate import Candidate
from pulsar.searches.sift import Group
from pulsar.sources.detections import SAME, Observed, same_as, share_of, source_of
from pulsar.sources.sky import MOST_RATIO, Sky
from pulsar.sources.source import Source

#: Of the room for folds one round takes this part: each reads the data once.
_ROUND: Final = 1 / 3
#: Multiples of the period of a source that are folded at most.
_LONGER: Final = 3


def pursue(
    groups: Sequence[Group], observed: Observed, fold: Callable[[Sequence[Group]], list[Candidate]], most: int
) -> list[Candidate]:
    """One candidate for every group, in no order: folded where it may be a source, with its parent where it is none.

    Parameters
    ----------
    groups : sequence of Group
        Best first.
    observed : Observed
    fold : callable
        Gives refined folds of groups, with flags and scores.
    most : int
        Folds at most.
    """
    waiting, sky = list(groups), Sky(groups, observed)
    while (room := min(int(np.ceil(_ROUND * most)), most - len(sky.folded))) > 0:
        heads = _heads(waiting, sky.own(), observed, room) or _longer(waiting, sky, room)
        if not heads:
            break
        new = fold(heads)
        names = {one.uid for one in new}
        waiting = [one for one in waiting if one.uid not in names]
        sky.fit(new)
    accepted = {one.uid for one in sky.accepted}
    rest = [one for one in sky.folded if one.uid not in accepted] + [Candidate(g, found_by=g.found_by) for g in waiting]
    return [*sky.accepted, *_attached(rest, sky)]


def _heads(
    groups: Sequence[Group], sources: Sequence[tuple[Source, float]], observed: Observed, most: int
) -> list[Group]:
    """The surest groups that neither the sources nor those among them before leave."""
    models, heads = list(sources), list[Group]()
    for one in groups:
        if len(heads) == most:
            break
        if same_as(one.freq, [source for source, _ in models], observed) is not None:
            continue
        if share_of(one, models, observed).left >= observed.threshold(one):
            heads.append(one)
            models.append((source_of(one, observed), 1.0))
    return heads


def _longer(groups: Sequence[Group], sky: Sky, most: int) -> list[Group]:
    """Detections at multiples of the periods of sources, the shortest first."""
    freqs = np.array([one.freq for one in groups])
    known = np.array([one.freq for one in sky.folded])
    same, heads = SAME / sky.observed.tobs, dict[int, None]()
    for one in sky.accepted:
        found = 0
        for n in range(2, MOST_RATIO + 1):
            at = np.flatnonzero(np.abs(freqs - one.freq / n) < same)
            if found < _LONGER and at.size and np.abs(known - one.freq / n).min() > same:
                heads[int(at[0])] = None
                found += 1
    return [groups[i] for i in list(heads)[:most]]


def _attached(candidates: Sequence[Candidate], sky: Sky) -> list[Candidate]:
    """Candidates with the source that leaves most of each; what is not folded only where sources leave enough of it."""
    if not sky.accepted:
        return list(candidates)
    models = sky.whole()
    return [_with_parent(one, sky, models) for one in candidates]


def _with_parent(one: Candidate, sky: Sky, models: Sequence[tuple[Source, float]]) -> Candidate:
    share = share_of(one.group, models, sky.observed)
    powers = share.powers
    if one.fold is not None:
        theirs = sky.left(one).powers
        powers = np.array([theirs.get(other.uid, 0.0) for other in sky.accepted])
    place = same_as(one.freq, [source for source, _ in models], sky.observed)
    if place is None:
        if powers.max() <= 0.0 or (one.fold is None and share.left >= sky.observed.threshold(one.group)):
            return one
        place = int(np.argmax(powers))
    owner = sky.accepted[place]
    words = (
        f"of its power of {one.group.excess:.1f} beyond noise {owner.uid} leaves {share.powers[place]:.1f}, all "
        f"sources {share.powers.sum():.1f}; beyond their errors {share.kept:.1f} is left"
    )
    relation = _relation(one.freq, owner.freq, sky.observed)
    return replace(one, parent=owner.uid, relation=relation, reasons=(*one.reasons, words))


def _relation(freq: float, owner: float, observed: Observed) -> str:
    """The ratio of two frequencies in words."""
    ratio = Fraction(freq / owner).limit_denominator(MOST_RATIO)
    if ratio.numerator == 0 or abs(float(ratio) * owner - freq) * observed.tobs > 1.0:
        return "sidelobe"
    return "same" if ratio == 1 else f"harmonic {ratio}"
