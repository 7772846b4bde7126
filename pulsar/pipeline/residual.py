"""The second search: samples without their strongest sources, which hide nothing then.

The harmonics of a strong source have sidelobes at all frequencies, and power at all DMs: in them a pulsar beside it is
lost, or has its DM. So strong sources are taken out of the samples by their templates
(:mod:`pulsar.folding.subtracted`), the rest is searched with the same trials and thresholds, and whatever is of no
strong source is pursued and folded in what is left.

Beside others the first search may see only some harmonics of a slow pulsar, and have it at parts of its period; what
is left of it is then found at its period. In the end such periods are pursued once more, together.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import astuple, dataclass, replace

import numpy as np

from pulsar.cleaning.birdies import Birdie, pairs
from pulsar.cleaning.source import MaskedSource
from pulsar.config.model import Config
from pulsar.data.observation import gaps_of
from pulsar.dedisp.plan import DMPlan
from pulsar.folding.subtracted import Subtraction, without
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.detect import Detected, found_in
from pulsar.pipeline.follow import follow_up, group_detections
from pulsar.pipeline.plan import RunPlan
from pulsar.pipeline.room import Means
from pulsar.pipeline.samples import Samples, templates_of
from pulsar.pipeline.searches import periodic_only
from pulsar.pipeline.stages import BatchSearch
from pulsar.searches.registry import enabled
from pulsar.sources.candidate import AGREE_BINS, Candidate
from pulsar.sources.sky import MOST_RATIO, of_one_dm
from pulsar_kernels.arrays import Array


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
    plan : RunPlan
        By which they were searched.
    candidates : sequence of Candidate
        Of :func:`pulsar.pipeline.follow.follow_up`.
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
    source, trials, is_on = samples.source, plan.dm, config.sift.harmonics and enabled(config, periodic=True)
    if not strong or source is None or trials is None or not is_on:
        return detected, list(candidates)
    if shared:
        means.progress.message(
            f"no second search without {len(strong)} sources of S/N {least:g} or more: workers share the trials"
        )
        return detected, list(candidates)
    run, most = _Run(samples, source, plan, trials, config, means, checkpoint), 0
    while len(strong) > most:
        # One that another has hidden may be strong, too: then all are pursued anew without it.
        means.progress.message(f"taken out for another search: {len(strong)} of S/N {least:g} or more")
        name = f"residual{most}" if most else "residual"
        most = len(strong)
        detected, candidates = run.searched_without(strong, detected, candidates, name)
        strong = _strong(candidates, least)
    return detected, run.at_one_period(strong, detected, candidates)


def _strong(candidates: Sequence[Candidate], least: float) -> list[Candidate]:
    """The strongest sources of the whole observation that are no interference, from an S/N on; none for 0."""
    # Sources that are taken out at most, the strongest: each takes passes over the samples, less all others.
    return [source for source in _sources(candidates) if source.snr >= least > 0.0][:8]


def _sources(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Sources of the whole observation that are no interference, the strongest first."""
    whole = [source for source in candidates if source.fold is not None and not source.parent and not source.part]
    return sorted((source for source in whole if not source.flags), key=lambda source: -source.snr)


def sharing(
    strong: Sequence[Candidate], sources: Sequence[Candidate], candidates: Sequence[Candidate], tobs: float
) -> list[list[Candidate]]:
    """Sources at parts of a period at which something was detected, at its DM: two at least, a strong one at a part.

    Parameters
    ----------
    strong : sequence of Candidate
        Of the sources.
    candidates : sequence of Candidate
        What may be at the period: sources, and what passes for a multiple of one of the parts.
    """
    shared: list[list[Candidate]] = []
    left = list(sources)
    names = {part.uid for part in strong}
    while True:
        most = max((_family(whole, left, names, tobs) for whole in candidates), key=len, default=[])
        if len(most) < 2:
            return shared
        shared.append(most)
        left = [source for source in left if source not in most]


def _family(whole: Candidate, sources: Sequence[Candidate], strong: AbstractSet[str], tobs: float) -> list[Candidate]:
    """Sources at the period of a candidate, itself, and at parts of it, one of them strong; none of another source."""
    parts = [part for part in sources if _times(part, whole, tobs) > 1]
    head, uids = [source for source in sources if source is whole], {part.uid for part in parts}
    return head + parts if uids & strong and (head or whole.parent in uids) else []


def _times(part: Candidate, longer: Candidate, tobs: float) -> int:
    """How many times the period of one that of another is, at its DM; 0 where it is no small multiple."""
    n = round(part.freq / longer.freq)
    near = abs(part.freq - n * longer.freq) < AGREE_BINS / tobs and of_one_dm(part, longer)
    return n if near and n <= MOST_RATIO else 0


@dataclass(frozen=True, eq=False)
class _Run:
    """The run whose sources are taken out."""

    samples: Samples
    source: MaskedSource
    plan: RunPlan
    trials: DMPlan
    config: Config
    means: Means
    checkpoint: Checkpoint

    def searched_without(
        self, strong: Sequence[Candidate], detected: Detected, candidates: Sequence[Candidate], name: str
    ) -> tuple[Detected, Sequence[Candidate]]:
        """Strong sources, each pursued without the others, and what is found in the samples without all of them."""
        config, means = self.config, self.means
        apart = list(candidates)
        if len(strong) > 1:
            apart = self._pursued([[source_of] for source_of in strong], strong, detected, candidates)
        measured = _strong(apart, config.search.residual)
        templates = self._templates(measured, detected.birdies)
        if not templates:
            return detected, candidates
        rest = replace(self.samples, source=self._without(templates))
        again = replace(detected, detections=self._searched(rest, detected.birdies, self.checkpoint.within(name)))
        strong = [source_of for source_of, _ in templates]
        names = {source_of.uid for source_of in strong}
        family = [source_of for source_of in apart if source_of.uid in names or source_of.parent in names]
        unrelated = [source_of for source_of in apart if source_of.uid not in names and source_of.parent not in names]
        # One table: the rows of the first search, and behind them those of the second.
        count = len(detected.detections)
        groups = group_detections(rest.header, again, config, means.progress, name)
        groups = [replace(group, members=group.members + count) for group in groups]
        before = [source_of.group for source_of in unrelated]
        both = replace(detected, detections=np.concatenate([detected.detections, again.detections]))
        groups = sorted([*before, *groups], key=lambda group: -group.sigma)
        earlier = frozenset(group.uid for group in before)
        weak = follow_up(rest, both, groups, config, means, taken=strong, before=earlier)
        _mark(weak, measured, names)
        return both, [*family, *weak]

    def _without(self, templates: Sequence[tuple[Candidate, Subtraction]]) -> MaskedSource:
        """The samples less the templates of sources."""
        return without(self.source, [template for _, template in templates])

    def at_one_period(
        self, strong: Sequence[Candidate], detected: Detected, candidates: Sequence[Candidate]
    ) -> list[Candidate]:
        """Candidates of which strong sources at parts of one period, at its DM, are pursued anew, those together."""
        whole = [candidate for candidate in candidates if not candidate.part]
        shared = sharing(strong, _sources(candidates), whole, self.samples.header.tobs)
        if not shared:
            return list(candidates)
        every = {source.uid: source for source in (*strong, *(source for family in shared for source in family))}
        return self._pursued(shared, list(every.values()), detected, candidates, fewer=True)

    def _pursued(
        self,
        together: Sequence[Sequence[Candidate]],
        strong: Sequence[Candidate],
        detected: Detected,
        candidates: Sequence[Candidate],
        *,
        fewer: bool = False,
    ) -> list[Candidate]:
        """Candidates of which some strong ones, and what belongs to them, are pursued anew without all others.

        With `fewer` only where that leaves fewer sources: else they have no period in common, and stay as they are.
        """
        templates = self._templates(strong, detected.birdies)
        anew, uids = list(candidates), {source.uid for source, _ in templates}
        for names in ({source.uid for source in sources} for sources in together):
            # Of a part nothing is left beside the whole: one of them is measured.
            if not names & uids:
                continue
            family = [candidate for candidate in candidates if names & {candidate.uid, candidate.parent}]
            remaining = [(rest_of, template) for rest_of, template in templates if rest_of.uid not in names]
            groups = sorted((candidate.group for candidate in family), key=lambda group: -group.sigma)
            strongest, before = [rest_of for rest_of, _ in remaining], frozenset(group.uid for group in groups)
            left = replace(self.samples, source=self._without(remaining))
            pursued = follow_up(left, detected, groups, self.config, self.means, taken=strongest, before=before)
            standing = sum(candidate.fold is not None and not candidate.parent for candidate in pursued)
            if fewer and standing >= len(names):
                continue
            _mark(pursued, strong, uids - names)
            gone = {candidate.uid for candidate in family}
            anew = [candidate for candidate in anew if candidate.uid not in gone] + pursued
        # What belongs to one that now belongs to another belongs to that.
        heads = {candidate.uid: candidate.parent for candidate in anew if candidate.parent}
        return [replace(candidate, parent=heads.get(candidate.parent, candidate.parent)) for candidate in anew]

    def _templates(self, strong: Sequence[Candidate], birdies: Sequence[Birdie]) -> list[tuple[Candidate, Subtraction]]:
        """Sources, the strongest first, with their templates; without those of which nothing is left beside others."""
        params = [source_of.fold.after for source_of in strong if source_of.fold is not None]
        measured = templates_of(self.source, params, self.config, self.means, pairs(birdies))
        least = self.config.subtract.min_snr
        return [
            (source_of, template)
            for source_of, (template, there) in zip(strong, measured, strict=True)
            if there.snr >= least
        ]

    def _searched(self, samples: Samples, birdies: list[Birdie], checkpoint: Checkpoint) -> Array:
        """Detections of the searches for periods in other samples of the same trials."""
        plan, means, gaps = self.plan, self.means, gaps_of(samples.obs)
        config = periodic_only(self.config)
        finder = BatchSearch(self.trials, config, threads=means.threads, memory=plan.accel_memory, gaps=gaps)
        result, _ = found_in(samples, plan, finder, means, checkpoint, birdies, birdies=birdies)
        return result.detections


def _mark(candidates: Sequence[Candidate], strong: Sequence[Candidate], out: AbstractSet[str]) -> None:
    """Keep with folds by what templates were measured, and which were taken out: who folds these again has to know."""
    subtracted = [(*astuple(source.fold.after), source.uid in out) for source in strong if source.fold is not None]
    for candidate in candidates:
        if candidate.fold is not None:
            candidate.fold.extra["residual"] = subtracted
