"""What is left of the samples without their strongest sources, searched again: these hide nothing then.

The harmonics of a strong source have sidelobes at all frequencies, and power at all DMs: in them a pulsar beside it is
lost, or has its DM. So strong sources are taken out of the samples by their templates
(:mod:`pulsar.folding.subtracted`), the rest is searched with the same trials and thresholds, and whatever is of no
strong source is pursued and folded in what is left.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pulsar.data.observation import unchanged
from pulsar.pipeline.detect import Detected, Job, Searching, detections_of, dm_plan, folding_of, gaps_of, search_trials
from pulsar.pipeline.follow import families, follow_up, group_detections
from pulsar.pipeline.room import stage_memory
from pulsar.pipeline.searched import Searched
from pulsar.pipeline.stages import BatchSearch
from pulsar.pipeline.subtracting import templates_of
from pulsar.sources.candidate import Candidate

if TYPE_CHECKING:
    from pulsar.cleaning.live import MaskedSource
    from pulsar.folding.subtracted import Folded, Taken


def search_residual(
    job: Job, detected: Detected, candidates: Sequence[Candidate], out: Path
) -> tuple[Detected, list[Candidate]]:
    """Search again without the sources whose S/N is at least `search.residual`.

    Parameters
    ----------
    job : Job
    detected : Detected
    candidates : sequence of Candidate
        Of :func:`pulsar.pipeline.follow.follow_up`.
    out : Path
        The product; a scratch file may lie beside it.

    Returns
    -------
    detected : Detected
        With the detections of both searches.
    candidates : list of Candidate
        The strong sources and what belongs to them; and what is left.
    """
    least, searching = job.config.search.residual, detected.searching
    strong = _strong(candidates, least)
    if not strong or searching is None:
        return detected, list(candidates)
    if job.crew is not None:
        job.progress.message(
            f"{len(strong)} sources are strong: what is left is not searched, as workers share the trials"
        )
        return detected, list(candidates)
    job.progress.message(f"{len(strong)} sources of S/N {least:g} or more are taken out; what is left is searched")
    if len(strong) > 1:
        candidates = _each_alone(job, detected, searching, candidates, strong)
        strong = _strong(candidates, least)
    source = _without(job, searching, strong)
    rest = _detected(job, detected, searching, source, out)
    names = {one.uid for one in strong}
    theirs = [one for one in candidates if one.uid in names or one.parent in names]
    own = np.sort(np.concatenate([one.group.members for one in theirs]))
    kept = np.delete(detected.detections, own)
    rest = replace(rest, detections=np.concatenate([kept, rest.detections]))
    groups = group_detections(job, rest, "residual")
    before = frozenset(group.uid for group in groups if group.members[0] < len(kept))
    weak = follow_up(job, rest, groups, strong, before)
    # Rows of one table: those of the strong sources, then the others.
    theirs = [_renumbered(one, np.searchsorted(own, one.group.members)) for one in theirs]
    weak = [_renumbered(one, len(own) + one.group.members) for one in weak]
    detections = np.concatenate([detected.detections[own], rest.detections])
    return replace(detected, detections=detections), families([*theirs, *weak])


def _strong(candidates: Sequence[Candidate], least: float) -> list[Candidate]:
    """Sources of the whole observation of so much S/N that are no interference, the strongest first; none for 0."""
    own = [source for source in candidates if source.fold is not None and not source.parent and not source.part]
    strong = [source for source in own if source.snr >= least > 0.0 and not source.flags]
    return sorted(strong, key=lambda source: -source.snr)


def _each_alone(
    job: Job, detected: Detected, searching: Searching, candidates: Sequence[Candidate], strong: Sequence[Candidate]
) -> list[Candidate]:
    """Candidates of which the strong ones, and what belongs to them, are pursued anew, each without the others."""
    from pulsar.folding.subtracted import without

    templates = [template for template, _ in _templates(job, searching, strong)]
    names = {source.uid for source in strong}
    anew = [one for one in candidates if one.uid not in names and one.parent not in names]
    for i, source in enumerate(strong):
        left = without(searching.source, templates[:i] + templates[i + 1 :])
        alone = replace(detected, fold_many=folding_of(job, searching.plan, left), known={})
        groups = [one.group for one in candidates if source.uid in (one.uid, one.parent)]
        groups.sort(key=lambda group: -group.sigma)
        others = [other for other in strong if other is not source]
        anew += follow_up(job, alone, groups, others, frozenset(group.uid for group in groups))
    return anew


def _renumbered(candidate: Candidate, members: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Candidate:
    return replace(candidate, group=replace(candidate.group, members=members))


def _without(job: Job, searching: Searching, strong: Sequence[Candidate]) -> "MaskedSource":
    """The samples without some sources."""
    from pulsar.folding.subtracted import without

    return without(searching.source, [template for template, _ in _templates(job, searching, strong)])


def _templates(job: Job, searching: Searching, strong: Sequence[Candidate]) -> "list[tuple[Taken, Folded]]":
    """Templates of sources, the strongest first."""
    params = [source.fold.after for source in strong if source.fold is not None]
    memory = stage_memory(job.config, job.obs)
    return templates_of(searching.source, params, job.config, threads=job.threads, memory=memory, progress=job.progress)


def _detected(job: Job, detected: Detected, searching: Searching, source: "MaskedSource", out: Path) -> Detected:
    """What the searches for periods find in other samples of the same trials."""
    config = job.config.model_copy(
        update={"single_pulse": job.config.single_pulse.model_copy(update={"enabled": False})}
    )
    again = replace(job, config=config, checkpoint=job.checkpoint.within("residual"))
    plan = searching.plan
    finder = BatchSearch(dm_plan(plan), config, threads=job.threads, memory=plan.accel_memory, gaps=gaps_of(job.obs))

    def search(state: Searched) -> None:
        with unchanged(job.obs):
            search_trials(again, source, plan, finder, state, detected.birdies, out)

    found, _ = detections_of(again, finder, search, detected.birdies)
    return replace(detected, detections=found.detections, fold_many=folding_of(job, plan, source), known={})
