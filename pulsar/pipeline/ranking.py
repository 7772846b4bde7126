"""From what the searches have found to the list, best first: every verdict in its order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.data.pulse import PulseCutout
from pulsar.pipeline.follow import ordered
from pulsar.pipeline.heads import scored
from pulsar.pipeline.job import Detected, Job
from pulsar.pipeline.pulses import PulsePlace, judge_shapes, sweep_dms, sweeps_share
from pulsar.sources.candidate import Candidate
from pulsar.sources.company import in_company
from pulsar.sources.link import owners
from pulsar.sources.pulses import in_order
from pulsar.sources.score import scorer_of


def ranked(
    job: Job,
    detected: Detected,
    candidates: Sequence[Candidate],
    known: Mapping[PulsePlace, PulseCutout] | None = None,
    *,
    anew: bool = True,
) -> tuple[list[Candidate], list[tuple[str, PulseCutout]]]:
    """Link candidates and single pulses, judge both and order them.

    Parameters
    ----------
    job : Job
    detected : Detected
        Its table of pulses is told owners, flags and scores.
    candidates : sequence of Candidate
        Of :func:`pulsar.pipeline.follow.follow_up`.
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
    candidates = ordered(candidates)
    owner = owners(pulses.table, candidates)
    cutouts = pulses.cut_out(job.config.single_pulse.cutouts, job.progress, known, anew=anew)
    candidates = _swept(candidates, owner, pulses.table, dict(cutouts), detected.dms)
    share = sweeps_share(pulses.table, detected.dms)
    scorer = scorer_of(job.config.sift.weights)
    candidates = in_company([scored(candidate, scorer) for candidate in candidates], share)
    _with_the_score_of_their_source(pulses.table, candidates)
    return ordered(candidates), cutouts


def _with_the_score_of_their_source(pulses: NDArray[Any], candidates: Sequence[Candidate]) -> None:
    """Single pulses in phase with a candidate are as sure as it is."""
    for candidate in candidates:
        own = (pulses["source"] == candidate.uid) & np.isin(pulses["rfi_flags"], ("", "near sweeps"))
        pulses["score"][own] = np.maximum(pulses["score"][own], candidate.score)
    pulses[:] = in_order(pulses)


def _swept(
    candidates: Sequence[Candidate],
    owner: NDArray[np.int64],
    pulses: NDArray[Any],
    cutouts: Mapping[str, PulseCutout],
    dms: NDArray[np.float64],
) -> list[Candidate]:
    """Candidates flagged for the shape of their pulses; the table of pulses is told owners, flags and scores."""
    for place, candidate in enumerate(candidates):
        pulses["source"][owner == place] = candidate.uid
    swept = judge_shapes(pulses, cutouts, dms)
    low, high = sweep_dms(pulses)
    out = []
    for candidate in candidates:
        if candidate.uid in swept:
            candidate = replace(candidate, flags=(*candidate.flags, "sweep"))
        elif low < candidate.dm < high and not candidate.flags:
            candidate = replace(candidate, flags=("near sweeps",))
        out.append(candidate)
    return out
