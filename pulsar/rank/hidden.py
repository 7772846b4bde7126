"""Signals that stand in a group which another candidate leads, at the same frequency but at DMs of their own."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.rank.candidate import Candidate
from pulsar.rank.compare import FACTOR, Sky, left_sigma
from pulsar.rank.lines import FLOOR, Searched, comb_of, expected
from pulsar.searches.sift import Group, make_group

#: What is left of a detection must be this significant, corrected for trials: a blend is no clean detection.
SURE: Final = 3.0
#: Part of the power that must be left.
LEFT: Final = 0.5


def split_unexplained(
    detections: NDArray[Any],
    attached: Sequence[Candidate],
    owners: Sequence[Candidate],
    sky: Sky,
    *,
    name: str,
    uids: set[str],
) -> list[Group]:
    """New groups of detections that are in the group of a candidate which does not explain them where they are.

    What another one leaves there is that one's, not of the candidate whose stronger detection led the group: to whom
    the new group belongs is judged as of all groups.

    Parameters
    ----------
    detections : ndarray
        Fields of DETECTION_COLUMNS.
    attached : sequence of Candidate
        With parents, or standing for themselves with a fold: their own detections are judged then.
    owners : sequence of Candidate
        All that may be parents, with folds. A group whose parent is none of them is judged by all together.
    sky : Sky
    name : str
        What tells this observation from others.
    uids : set of str
        Names that are given already.
    """
    attached = [one for one in attached if one.group.members.size > 1]
    if not attached or not owners or sky.freqs.size < 2:
        return []
    groups = [one.group for one in attached]
    rows = np.concatenate([g.members for g in groups])
    found = detections[rows]
    nharm = found["nharm"].astype(np.int64)
    searched = Searched(
        freq=found["freq"].astype(np.float64),
        fdot=found["fdot"].astype(np.float64),
        err=np.maximum(found["freq_err"].astype(np.float64), FLOOR / (np.maximum(nharm, 1) * sky.tobs)),
        nharm=nharm,
        dm=found["dm"].astype(np.float64),
    )
    # A candidate that is attached may have led the group for what its own fold shows.
    folds = {one.uid: one.fold for one in [*owners, *attached] if one.fold is not None}
    combs = {uid: comb_of(fold, sky.freqs, sky.tsamp) for uid, fold in folds.items()}
    parents = [one.uid for one in owners]
    given = np.zeros(rows.size)
    start = 0
    for one in attached:
        mine = np.arange(start, start + one.group.members.size)
        start += one.group.members.size
        known = not one.parent or one.parent in parents
        for uid in {one.uid, one.parent} if known else {one.uid, *parents}:
            if uid in combs:
                given[mine] += expected(combs[uid], searched.part(mine))
    excess = found["power"].astype(np.float64) - nharm
    likely = excess - FACTOR * given > LEFT * excess
    out: list[Group] = []
    taken = set(uids)
    start = 0
    for group in groups:
        mine = np.arange(start, start + group.members.size)
        start += group.members.size
        own = []
        for k in mine[likely[mine]].tolist():
            alone = Group(group.uid, found[k], rows[k : k + 1], group.dm, group.dm)
            if left_sigma(alone, FACTOR * float(given[k])) > max(SURE, sky.thresholds.get(str(found["kind"][k]), 0.0)):
                own.append(k)
        if own and rows[own[0]] != group.members[0]:
            out.append(make_group(detections, rows[own], sky.tobs, name, taken))
    return out
