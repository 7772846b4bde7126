"""The second search: samples without their strongest sources, which hide nothing then.

The harmonics of a strong source have sidelobes at all frequencies, and power at all DMs: in them a pulsar beside it is
lost, or has its DM. So strong sources are taken out of the samples by their templates
(:mod:`pulsar.folding.subtracted`), the rest is searched with the same trials and thresholds, and whatever is of no
strong source is pursued and folded in what is left.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.observation import unchanged
from pulsar.folding.subtracted import without
from pulsar.pipeline.cleaning import gaps_of
from pulsar.pipeline.detect import dm_plan, folding_of, search_trials
from pulsar.pipeline.follow import families, follow_up, group_detections
from pulsar.pipeline.job import Detected, Job, Searching
from pulsar.pipeline.room import stage_memory
from pulsar.pipeline.searched import Searched, detections_of
from pulsar.pipeline.searches import periodic_only
from pulsar.pipeline.stages import BatchSearch
from pulsar.pipeline.subtracting import templates_of
from pulsar.searches.registry import enabled
from pulsar.searches.sift import Group
from pulsar.sources.candidate import Candidate

if TYPE_CHECKING:
    from pulsar.cleaning.source import MaskedSource
    from pulsar.folding.subtracted import Taken

#: Sources that are taken out at most, the strongest: each takes passes over the samples, less all others.
MOST: Final = 8


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
    if not strong or searching is None or not job.config.sift.harmonics:
        return detected, list(candidates)
    if not enabled(job.config, periodic=True):
        return detected, list(candidates)
    if job.crew is not None:
        job.progress.message(
            f"no second search without {len(strong)} sources of S/N {least:g} or more: workers share the trials"
        )
        return detected, list(candidates)
    job.progress.message(f"taken out for a second search: {len(strong)} of S/N {least:g} or more")
    apart = _each_alone(job, detected, searching, candidates, strong)
    taken = _templates(job, detected, searching, _strong(apart, least))
    if not taken:
        return detected, list(candidates)
    source = without(searching.source, [template for _, template in taken])
    strong = [source_of for source_of, _ in taken]
    found, fold = _searched(job, detected, searching, source, out), folding_of(job, searching.plan, source)
    names = {source.uid for source in strong}
    theirs = [source for source in apart if source.uid in names or source.parent in names]
    unrelated = [source for source in apart if source.uid not in names and source.parent not in names]
    # One table: the rows of the first search, and behind them those of the second.
    count, rest = len(detected.detections), replace(detected, detections=found, fold_many=fold, known={})
    groups = [replace(group, members=group.members + count) for group in group_detections(job, rest, "residual")]
    before = [source.group for source in unrelated]
    rest = replace(rest, detections=np.concatenate([detected.detections, found]))
    groups = sorted([*before, *groups], key=lambda group: -group.sigma)
    weak = follow_up(job, rest, groups, strong, frozenset(group.uid for group in before))
    return replace(detected, detections=rest.detections), families([*theirs, *weak])


def _strong(candidates: Sequence[Candidate], least: float) -> list[Candidate]:
    """The strongest sources of the whole observation that are no interference, from an S/N on; none for 0."""
    own = [source for source in candidates if source.fold is not None and not source.parent and not source.part]
    strong = [source for source in own if source.snr >= least > 0.0 and not source.flags]
    return sorted(strong, key=lambda source: -source.snr)[:MOST]


def _each_alone(
    job: Job, detected: Detected, searching: Searching, candidates: Sequence[Candidate], strong: Sequence[Candidate]
) -> list[Candidate]:
    """Candidates of which the strong ones, and what belongs to them, are pursued anew, each without the others."""
    if len(strong) == 1:
        return list(candidates)
    taken = _templates(job, detected, searching, strong)
    names = {source.uid for source, _ in taken}
    anew = [candidate for candidate in candidates if candidate.uid not in names and candidate.parent not in names]
    for source, _ in taken:
        others = [(other, template) for other, template in taken if other is not source]
        left = without(searching.source, [template for _, template in others])
        alone = replace(detected, fold_many=folding_of(job, searching.plan, left), known={})
        groups = [candidate.group for candidate in candidates if candidate.parent == source.uid]
        groups = sorted([_of_whole(source.group, detected), *groups], key=lambda group: -group.sigma)
        anew += follow_up(job, alone, groups, [other for other, _ in others], frozenset(group.uid for group in groups))
    return anew


def _of_whole(group: Group, detected: Detected) -> Group:
    """A group led by its surest detection in the whole observation, where it has one."""
    rows = detected.detections[group.members]
    whole = rows[rows["part"] == ""]
    return replace(group, best=whole[0]) if whole.size else group


def _templates(
    job: Job, detected: Detected, searching: Searching, strong: Sequence[Candidate]
) -> "list[tuple[Candidate, Taken]]":
    """Sources, the strongest first, with their templates; without those of which nothing is there beside the others."""
    params = [source.fold.after for source in strong if source.fold is not None]
    memory = stage_memory(job.config, job.obs)
    lines = [(b.freq, b.width) for b in detected.birdies]
    measured = templates_of(
        searching.source,
        params,
        job.config,
        threads=job.threads,
        memory=memory,
        progress=job.progress,
        lines=lines,
    )
    least = job.config.subtract.min_snr
    return [
        (source, template) for source, (template, there) in zip(strong, measured, strict=True) if there.snr >= least
    ]


def _searched(job: Job, detected: Detected, searching: Searching, source: "MaskedSource", out: Path) -> NDArray[Any]:
    """Detections of the searches for periods in other samples of the same trials."""
    config = periodic_only(job.config)
    again = replace(job, config=config, checkpoint=job.checkpoint.within("residual"))
    plan = searching.plan
    finder = BatchSearch(dm_plan(plan), config, threads=job.threads, memory=plan.accel_memory, gaps=gaps_of(job.obs))

    def search(state: Searched) -> None:
        with unchanged(job.obs):
            search_trials(again, source, plan, finder, state, detected.birdies, out)

    detected_again, _ = detections_of(again, finder, search, detected.birdies)
    return detected_again.detections
