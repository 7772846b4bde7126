"""A source is told with its surest detection, whichever detection has led to its best fold.

By noise a source is also detected at other frequencies, weakly, and the refinement of a fold from there finds its
period as well as any. The fold with the highest S/N stands for the source; of what it was detected with, that says
little.
"""

from collections.abc import Sequence
from dataclasses import replace

from pulsar.data import flags as table
from pulsar.rank.candidate import Candidate
from pulsar.rank.compare import Sky
from pulsar.rank.explain import JUNK, Explained, attached, comb_of_candidate
from pulsar.rank.lines import Searched, expected
from pulsar.searches.sift import Group


def with_surest(verdict: Explained, sky: Sky) -> Explained:
    """Exchange the detections of a candidate and of the surest one at its own frequency that belongs to it.

    Parameters
    ----------
    verdict : Explained
    sky : Sky

    Returns
    -------
    Explained
        The same folds; a candidate has the uid of its surest detection.
    """
    everyone = [*verdict.folded, *verdict.rest]
    for i, head in enumerate(verdict.folded):
        junk = _is_junk(head)
        mine = [
            j
            for j, one in enumerate(everyone)
            if one.parent == head.uid and one.relation == "same" and (junk or not _is_junk(one))
        ]
        surest = max(mine, key=lambda j: everyone[j].group.sigma, default=i)
        if not head.parent and everyone[surest].group.sigma > head.group.sigma:
            everyone = _exchanged(everyone, i, surest, sky)
    count = len(verdict.folded)
    return Explained(everyone[:count], everyone[count:])


def _is_junk(one: Candidate) -> bool:
    return table.weight(one.flags) <= JUNK


def _exchanged(everyone: Sequence[Candidate], i: int, j: int, sky: Sky) -> list[Candidate]:
    """All candidates, number `i` with the detections of number `j`, which belongs to it, and the reverse."""
    old, new = everyone[i].uid, everyone[j].uid
    head = _detected_by(everyone[i], everyone[j].group)
    free = replace(_detected_by(everyone[j], everyone[i].group), parent="", relation="", reasons=())
    comb = comb_of_candidate(head, sky)
    power = float(expected(comb, Searched.of([free.group], sky.tobs))[0])
    out = [
        replace(one, parent=new, reasons=tuple(text.replace(old, new) for text in one.reasons))
        if one.parent == old
        else one
        for one in everyone
    ]
    out[i], out[j] = head, attached(free, head, comb, power, sky)
    return out


def _detected_by(one: Candidate, group: Group) -> Candidate:
    """A candidate with other detections."""
    if one.fold is None:
        return replace(one, group=group, found_by=group.found_by)
    features = {**one.features, "sigma": group.sigma, "ndetections": float(group.ndetections)}
    fold = replace(one.fold, extra={**one.fold.extra, "features": features})
    return replace(one, group=group, fold=fold, features=features, found_by=group.found_by)
