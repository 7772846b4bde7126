"""From what the searches have found to the list, best first: every verdict in its order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.data.pulse import PulseCutout
from pulsar.pipeline.detect import Detected
from pulsar.pipeline.follow import ordered, scored
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.pulses import PulsePlace, cutouts_of, judge_shapes, sweep_dms, sweeps_share
from pulsar.pipeline.samples import Samples
from pulsar.sources.candidate import Candidate
from pulsar.sources.company import in_company
from pulsar.sources.link import owners
from pulsar.sources.pulses import in_order
from pulsar.sources.score import scorer_of


@dataclass(frozen=True, eq=False)
class Judged:
    """The list of a run.

    Attributes
    ----------
    candidates : list of Candidate
        Best first.
    pulses : ndarray
        Single pulses with owners, flags and scores, the fields of SINGLE_PULSE_COLUMNS, best first.
    cutouts : list of (str, PulseCutout)
        Of the best single pulses, by id.
    """

    candidates: list[Candidate]
    pulses: NDArray[Any]
    cutouts: list[tuple[str, PulseCutout]]


def ranked(
    samples: Samples,
    detected: Detected,
    candidates: Sequence[Candidate],
    config: Config,
    progress: Progress,
    known: Mapping[PulsePlace, PulseCutout] | None = None,
    *,
    anew: bool = True,
) -> Judged:
    """Link candidates and single pulses, judge both and order them.

    Parameters
    ----------
    samples : Samples
    detected : Detected
    candidates : sequence of Candidate
        Of :func:`pulsar.pipeline.follow.follow_up`.
    config : Config
    progress : Progress
    known : mapping of PulsePlace to PulseCutout, optional
        What was cut out of the same samples before.
    anew : bool
        Cut out the others of the best single pulses, too.
    """
    candidates, pulses = ordered(candidates), detected.pulses.copy()
    owner = owners(pulses, candidates)
    cutouts = cutouts_of(pulses, samples.source, config.single_pulse.cutouts, progress, known, anew=anew)
    candidates = _swept(candidates, owner, pulses, dict(cutouts), detected.dms)
    share = sweeps_share(pulses, detected.dms)
    scorer = scorer_of(config.sift.weights)
    candidates = in_company([scored(candidate, scorer) for candidate in candidates], share)
    _with_the_score_of_their_source(pulses, candidates)
    return Judged(ordered(candidates), pulses, cutouts)


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
