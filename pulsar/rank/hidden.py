"""Signals that stand in a group which another candidate leads, at the same frequency but at DMs of their own."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.rank.candidate import Candidate
from pulsar.rank.explain import FACTOR, Sky, left_sigma
from pulsar.rank.lines import FLOOR, Searched, comb_of, expected
from pulsar.searches.sift import Group, make_group

#: What is left of a detection must be this significant, corrected for trials: a blend is no clean detection.
SURE: Final = 3.0
#: Part of the power that must be left.
LEFT: Final = 0.5


def split_unexplained(
    detections: NDArray[Any],
    groups: Sequence[Group],
    owners: Sequence[Candidate],
    sky: Sky,
    *,
    name: str,
    uids: set[str],
) -> list[Group]:
    """New groups of detections that belong to explained groups, though nothing explains them where they are.

    Parameters
    ----------
    detections : ndarray
        Fields of DETECTION_COLUMNS.
    groups : sequence of Group
        That other candidates explain.
    owners : sequence of Candidate
        Those candidates, with folds.
    sky : Sky
    name : str
        What tells this observation from others.
    uids : set of str
        Names that are given already.
    """
    groups = [g for g in groups if g.members.size > 1]
    if not groups or not owners or sky.freqs.size < 2:
        return []
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
    given = np.zeros(rows.size)
    for owner in owners:
        if owner.fold is not None:
            given += expected(comb_of(owner.fold, sky.freqs, sky.tsamp), searched)
    excess = found["power"].astype(np.float64) - nharm
    likely = excess - FACTOR * given > LEFT * excess
    out: list[Group] = []
    taken = set(uids)
    start = 0
    for one in groups:
        mine = np.arange(start, start + one.members.size)
        start += one.members.size
        own = []
        for k in mine[likely[mine]].tolist():
            alone = Group(one.uid, found[k], rows[k : k + 1], one.dm, one.dm)
            if left_sigma(alone, FACTOR * float(given[k])) > max(SURE, sky.thresholds.get(str(found["kind"][k]), 0.0)):
                own.append(k)
        if own and rows[own[0]] != one.members[0]:
            out.append(make_group(detections, rows[own], sky.tobs, name, taken))
    return out
