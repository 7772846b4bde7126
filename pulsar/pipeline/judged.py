"""From what the searches have found to the list, best first: every verdict in its order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.data.pulse import PulseCutout
from pulsar.pipeline.detect import Detected, Job
from pulsar.pipeline.follow import follow_up, group_detections, ordered, scored
from pulsar.pipeline.pulses import PulsePlace, judge_shapes, sweep_dms
from pulsar.rank.candidate import Candidate
from pulsar.rank.company import in_company, share_of_the_sky
from pulsar.rank.link import link
from pulsar.rank.pulses import in_order


def judged(
    job: Job, detected: Detected, known: Mapping[PulsePlace, PulseCutout] | None = None, *, anew: bool = True
) -> tuple[list[Candidate], list[tuple[str, PulseCutout]]]:
    """Group, fold, explain, link, judge and order.

    Parameters
    ----------
    job : Job
    detected : Detected
        Its table of pulses is told owners, flags and scores.
    known : mapping of PulsePlace to PulseCutout, optional
        What was cut out of the same samples before.
    anew : bool
        Cut out the others of the best single pulses, too.

    Returns
    -------
    candidates : list of Candidate
        Best first.
    cutouts : list of (str, PulseCutout)
        Of the best single pulses, by id.
    """
    pulses = detected.pulses
    groups = group_detections(job, detected)
    candidates, owner = link(pulses.table, ordered(follow_up(job, detected, groups)))
    cutouts = pulses.cut_out(job.config.single_pulse.cutouts, job.progress, known, anew=anew)
    candidates = _swept(candidates, owner, pulses.table, dict(cutouts))
    share = _share(sweep_dms(pulses.table), detected.dms)
    candidates = in_company([scored(one) for one in candidates], share)
    _with_the_score_of_their_source(pulses.table, candidates, share)
    return ordered(candidates), cutouts


def _share(range_: tuple[float, float], dms: NDArray[np.float64]) -> float:
    """Part of the searched DMs that a range has."""
    low, high = np.clip(range_, dms.min(), dms.max())
    return float((high - low) / max(np.ptp(dms), 1e-9))


def _with_the_score_of_their_source(pulses: NDArray[Any], candidates: Sequence[Candidate], share: float) -> None:
    """Scores of single pulses that count what else the run has; in phase with a candidate they are as sure as it is."""
    near = np.char.find(pulses["rfi_flags"], "near sweeps") >= 0
    if near.any():
        pulses["score"][near] *= share_of_the_sky(near, pulses["score"].astype(np.float64), share)
    for one in candidates:
        mine = (pulses["source"] == one.uid) & np.isin(pulses["rfi_flags"], ("", "near sweeps"))
        pulses["score"][mine] = np.maximum(pulses["score"][mine], one.score)
    pulses[:] = in_order(pulses)


def _swept(
    candidates: Sequence[Candidate],
    owner: NDArray[np.int64],
    pulses: NDArray[Any],
    cutouts: Mapping[str, PulseCutout],
) -> list[Candidate]:
    """Candidates flagged for the shape of their pulses; the table of pulses is told owners, flags and scores."""
    for place, one in enumerate(candidates):
        pulses["source"][owner == place] = one.uid
    swept = judge_shapes(pulses, cutouts)
    low, high = sweep_dms(pulses)
    out = []
    for one in candidates:
        if one.uid in swept:
            one = replace(one, flags=(*one.flags, "sweep"))
        elif low < one.dm < high and not one.flags:
            one = replace(one, flags=("near sweeps",))
        out.append(one)
    return out
