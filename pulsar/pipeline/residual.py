"""The second search: samples without their strongest sources, which hide nothing then.

The harmonics of a strong source have sidelobes at all frequencies, and power at all DMs: in them a pulsar beside it is
lost, or has its DM. So strong sources are taken out of the samples by their templates
(:mod:`pulsar.folding.subtracted`), the rest is searched with the same trials and thresholds, and whatever is of no
strong source is pursued and folded in what is left.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.birdies import Birdie, pairs
from pulsar.config.model import Config
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.data.observation import unchanged
from pulsar.folding.subtracted import without
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.cleaning import gaps_of
from pulsar.pipeline.detect import Detected, search_trials
from pulsar.pipeline.follow import families, follow_up, group_detections
from pulsar.pipeline.plan import RunPlan
from pulsar.pipeline.room import Means
from pulsar.pipeline.samples import Samples
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
    samples: Samples,
    plan: RunPlan,
    detected: Detected,
    candidates: Sequence[Candidate],
    config: Config,
    means: Means,
    checkpoint: Checkpoint,
    *,
    shared: bool = False,
) -> tuple[Detected, list[Candidate]]:
    """Search again without the sources whose S/N is at least `search.residual`.

    Parameters
    ----------
    samples : Samples
    plan : RunPlan
        By which they were searched.
    detected : Detected
    candidates : sequence of Candidate
        Of :func:`pulsar.pipeline.follow.follow_up`.
    config : Config
    means : Means
    checkpoint : Checkpoint
    shared : bool
        Workers share the trials: there is no second search.

    Returns
    -------
    detected : Detected
        With the detections of both searches.
    candidates : list of Candidate
        The strong sources and what belongs to them; and what is left.
    """
    least = config.search.residual
    strong = _strong(candidates, least)
    if not strong or samples.source is None or not config.sift.harmonics or not enabled(config, periodic=True):
        return detected, list(candidates)
    if shared:
        means.progress.message(
            f"no second search without {len(strong)} sources of S/N {least:g} or more: workers share the trials"
        )
        return detected, list(candidates)
    most = 0
    while len(strong) > most:
        # One that another has hidden may be strong, too: then all are pursued anew without it.
        means.progress.message(f"taken out for another search: {len(strong)} of S/N {least:g} or more")
        name = f"residual{most}" if most else "residual"
        most = len(strong)
        detected, candidates = _searched_without(samples, plan, detected, candidates, config, means, checkpoint, name)
        strong = _strong(candidates, least)
    return detected, list(candidates)


def _searched_without(
    samples: Samples,
    plan: RunPlan,
    detected: Detected,
    candidates: Sequence[Candidate],
    config: Config,
    means: Means,
    checkpoint: Checkpoint,
    name: str,
) -> tuple[Detected, Sequence[Candidate]]:
    """Strong sources, each pursued without the others, and what is found in the samples without all of them."""
    least, source = config.search.residual, samples.source
    if source is None:
        return detected, candidates
    apart = _each_alone(samples, detected, candidates, _strong(candidates, least), config, means)
    taken = _templates(source, _strong(apart, least), config, means, detected.birdies)
    if not taken:
        return detected, candidates
    rest = _without(samples, taken)
    found = _searched(rest, plan, detected.birdies, config, means, checkpoint.within(name))
    again = replace(detected, detections=found)
    strong = [source_of for source_of, _ in taken]
    names = {source_of.uid for source_of in strong}
    theirs = [source_of for source_of in apart if source_of.uid in names or source_of.parent in names]
    unrelated = [source_of for source_of in apart if source_of.uid not in names and source_of.parent not in names]
    # One table: the rows of the first search, and behind them those of the second.
    count = len(detected.detections)
    groups = group_detections(samples.header, again, config, means.progress, name)
    groups = [replace(group, members=group.members + count) for group in groups]
    before = [source_of.group for source_of in unrelated]
    both = replace(detected, detections=np.concatenate([detected.detections, again.detections]))
    groups = sorted([*before, *groups], key=lambda group: -group.sigma)
    earlier = frozenset(group.uid for group in before)
    weak = follow_up(rest, both, groups, config, means, taken=strong, before=earlier)
    return both, families([*theirs, *weak])


def _strong(candidates: Sequence[Candidate], least: float) -> list[Candidate]:
    """The strongest sources of the whole observation that are no interference, from an S/N on; none for 0."""
    own = [source for source in candidates if source.fold is not None and not source.parent and not source.part]
    strong = [source for source in own if source.snr >= least > 0.0 and not source.flags]
    return sorted(strong, key=lambda source: -source.snr)[:MOST]


def _without(samples: Samples, taken: "Sequence[tuple[Candidate, Taken]]") -> Samples:
    """Samples less the templates of sources."""
    if samples.source is None:
        return samples
    return replace(samples, source=without(samples.source, [template for _, template in taken]))


def _each_alone(
    samples: Samples,
    detected: Detected,
    candidates: Sequence[Candidate],
    strong: Sequence[Candidate],
    config: Config,
    means: Means,
) -> list[Candidate]:
    """Candidates of which the strong ones, and what belongs to them, are pursued anew, each without the others."""
    if len(strong) == 1 or samples.source is None:
        return list(candidates)
    taken = _templates(samples.source, strong, config, means, detected.birdies)
    names = {source.uid for source, _ in taken}
    anew = [candidate for candidate in candidates if candidate.uid not in names and candidate.parent not in names]
    for source, _ in taken:
        others = [(other, template) for other, template in taken if other is not source]
        groups = [candidate.group for candidate in candidates if candidate.parent == source.uid]
        groups = sorted([_of_whole(source.group, detected), *groups], key=lambda group: -group.sigma)
        strongest, own = [other for other, _ in others], frozenset(group.uid for group in groups)
        left = _without(samples, others)
        anew += follow_up(left, detected, groups, config, means, taken=strongest, before=own)
    return anew


def _of_whole(group: Group, detected: Detected) -> Group:
    """A group led by its surest detection in the whole observation, where it has one."""
    rows = detected.detections[group.members]
    whole = rows[rows["part"] == ""]
    return replace(group, best=whole[0]) if whole.size else group


def _templates(
    source: "MaskedSource", strong: Sequence[Candidate], config: Config, means: Means, birdies: Sequence[Birdie]
) -> "list[tuple[Candidate, Taken]]":
    """Sources, the strongest first, with their templates; without those of which nothing is there beside the others."""
    params = [source_of.fold.after for source_of in strong if source_of.fold is not None]
    measured = templates_of(source, params, config, means, pairs(birdies))
    least = config.subtract.min_snr
    return [
        (source_of, template)
        for source_of, (template, there) in zip(strong, measured, strict=True)
        if there.snr >= least
    ]


def _searched(
    samples: Samples, plan: RunPlan, birdies: list[Birdie], config: Config, means: Means, checkpoint: Checkpoint
) -> NDArray[Any]:
    """Detections of the searches for periods in other samples of the same trials."""
    obs, source, trials = samples.obs, samples.source, plan.dm
    if source is None or trials is None:
        return np.zeros(0, dtype=dtype_of(DETECTION_COLUMNS))
    periodic = periodic_only(config)
    finder = BatchSearch(trials, periodic, threads=means.threads, memory=plan.accel_memory, gaps=gaps_of(obs))

    def search(state: Searched) -> None:
        with unchanged(obs):
            search_trials(source, finder, plan.route, state, birdies, means)

    found, _ = detections_of(trials.ndms, search, checkpoint, means.progress.message, birdies)
    return found.detections
