"""From detections to candidates: group, pursue the sources, fold each where it stands out, order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.data.fold import FoldParams
from pulsar.data.header import WHOLE, Header, Part, parts_of_counts
from pulsar.pipeline.heads import candidate_of, folded, folds_at, scored
from pulsar.pipeline.job import Detected, Job
from pulsar.pipeline.pulses import REPEATS_SIGMA
from pulsar.searches.registry import SEARCHES
from pulsar.searches.sift import Group, group, joined, positions
from pulsar.sources.candidate import Candidate
from pulsar.sources.detections import Model, Observed
from pulsar.sources.pursue import pursue
from pulsar.sources.score import scorer_of
from pulsar.sources.source import Source

#: What a drift takes farther than this part of its frequency from a source is not followed into a part.
_FAR: Final = 0.1


def group_detections(job: Job, detected: Detected, of: str = "") -> list[Group]:
    """Groups of detections at one frequency and DM, of the whole observation and of each part of it, best first.

    Parameters
    ----------
    job : Job
    detected : Detected
    of : str
        What was searched, where it is not the samples as they were cleaned.
    """
    found, whole = detected.detections, job.obs.header
    observation = "|".join(filter(None, (name_of(whole), of)))
    groups: list[Group] = []
    with job.progress.stage("grouping", len(found), "detections") as tick:
        for part in [WHOLE, *parts_of_counts(job.config.search.parts)]:
            rows = np.flatnonzero(found["part"] == part.label)
            name = f"{observation}|{part.label}" if part.label else observation
            tobs, freqs, dms = part.header(whole).tobs, detected.freqs, detected.dms
            own = group(found[rows], tobs, job.config.sift, freqs=freqs, dms=dms, name=name)
            groups += [replace(group_of, members=rows[group_of.members]) for group_of in own]
            tick(rows.size)
    job.progress.message(f"{len(found)} detections in {len(groups)} groups")
    return sorted(groups, key=lambda group_of: -group_of.sigma)


def follow_up(
    job: Job,
    detected: Detected,
    groups: Sequence[Group],
    taken: Sequence[Candidate] = (),
    before: frozenset[str] = frozenset(),
) -> list[Candidate]:
    """Fold groups, and tell whose each is.

    Parameters
    ----------
    job : Job
    detected : Detected
    groups : sequence of Group
        Of the whole observation and of parts of it, best first.
    taken : sequence of Candidate
        Sources that were taken out of the samples, the strongest first.
    before : frozenset of str
        Uids of the groups that were detected before that.

    Returns
    -------
    list of Candidate
        One for every group, in no order; with parents, flags and scores.
    """
    header, most = job.obs.header, job.config.fold.ncands
    if not job.config.sift.harmonics:
        rest = [Candidate(g, found_by=g.found_by) for g in groups[most:]]
        return families([*folded(job, detected, groups[:most]), *rest])
    lines = [(line.freq, line.width) for line in detected.birdies]
    observed = Observed(header.nsamps, detected.freqs, header.tsamp, lines, thresholds(job.config))
    models = [Model(source.uid, Source.of(source.fold), before=before) for source in taken if source.fold is not None]
    found = pursue(groups, observed, lambda heads: folded(job, detected, heads), most, models)
    found = [_without_others(job, detected, candidate) for candidate in found]
    left = sum(candidate.fold is None and not candidate.parent for candidate in found)
    if left:
        job.progress.message(f"{left} groups are listed without a fold: fold.ncands is {most}")
    scorer = scorer_of(job.config.sift.weights)
    listed = [scored(candidate, scorer) for candidate in _over_their_parts(job, detected, found, observed)]
    return families(_joined(listed, detected))


def _without_others(job: Job, detected: Detected, candidate: Candidate) -> Candidate:
    """A source with the flags that it has without what others leave in its fold."""
    if candidate.parent or candidate.fold is None or candidate.features == candidate.fold.extra["features"]:
        return candidate
    alone = candidate_of(job, detected, candidate.group, candidate.fold, candidate.features)
    return replace(candidate, flags=alone.flags, score=alone.score)


def _over_their_parts(
    job: Job, detected: Detected, candidates: Sequence[Candidate], observed: Observed
) -> list[Candidate]:
    """Sources folded over the part in which they stand out, where that gives more than what they are folded over."""
    parts: dict[str, set[str]] = {}
    dms = {candidate.uid: candidate.dm for candidate in candidates}
    for candidate in candidates:
        if not candidate.parent or _is_same(candidate, dms):
            parts.setdefault(candidate.parent or candidate.uid, set()).add(candidate.group.part)
    out = []
    for candidate in candidates:
        if candidate.fold is not None and not candidate.parent and parts[candidate.uid] != {candidate.part}:
            source = Source.of(candidate.fold)
            there = {label: source.during(*observed.window(label)) for label in parts[candidate.uid]}
            best = max(there, key=lambda label: there[label].power)
            near = abs(there[best].freq - candidate.freq) < _FAR * candidate.freq
            if near and there[best].power > source.power:
                params = FoldParams(there[best].freq, there[best].fdot, candidate.dm, candidate.fold.after.fddot)
                fold = folds_at(job, detected, [params], Part.of_label(best))[0]
                if fold.snr > candidate.snr:
                    again = candidate_of(job, detected, candidate.group, fold)
                    candidate = replace(
                        again,
                        found_by=candidate.found_by,
                        reasons=candidate.reasons,
                        alternative=candidate.alternative,
                        refolded=True,
                    )
        out.append(candidate)
    return out


def _joined(candidates: Sequence[Candidate], detected: Detected) -> list[Candidate]:
    """Candidates that have in their groups what parts of the observation show at their own frequency."""
    part = {candidate.uid: candidate.group.part for candidate in candidates}
    dms = {candidate.uid: candidate.dm for candidate in candidates}
    again = [
        candidate
        for candidate in candidates
        if _is_same(candidate, dms) and candidate.group.part != part[candidate.parent]
    ]
    if not again:
        return list(candidates)
    place = positions(detected.detections)
    more: dict[str, list[Group]] = {}
    for candidate in again:
        more.setdefault(candidate.parent, []).append(candidate.group)
    gone = {candidate.uid for candidate in again}
    return [
        replace(candidate, group=joined([candidate.group, *more[candidate.uid]], detected.detections, place))
        if candidate.uid in more
        else candidate
        for candidate in candidates
        if candidate.uid not in gone
    ]


def _is_same(candidate: Candidate, dms: Mapping[str, float]) -> bool:
    """True if a candidate is the source that it belongs to, of which it was detected at the DM, too."""
    own, dm = candidate.group, dms.get(candidate.parent, float("nan"))
    return candidate.relation == "same" and own.dm_lo <= dm <= own.dm_hi


def name_of(header: Header) -> str:
    """Name of an observation, in the uid of every group."""
    return f"{header.source}|{header.beam}|{header.tstart:.9f}"


def thresholds(config: Config) -> dict[str, float]:
    """Trial-corrected significance from which each search keeps a detection, by its kind."""
    periodic = [search for search in SEARCHES if search.periodic]
    return {search.name: search.threshold(getattr(config, search.name)) for search in periodic} | {
        "pulses": REPEATS_SIGMA
    }


def mark_detections(detections: NDArray[Any], candidates: Sequence[Candidate]) -> None:
    """Fill uid, parent and relation of all detections."""
    for candidate in candidates:
        rows = candidate.group.members
        detections["uid"][rows] = candidate.uid
        detections["parent"][rows] = candidate.parent
        detections["relation"][rows] = candidate.relation or ("" if candidate.fold is not None else "not folded")


def families(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates told how many groups they explain, and by which searches those were found."""
    kinds: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for candidate in sorted(candidates, key=lambda c: -c.group.sigma):
        owner = candidate.parent or candidate.uid
        kinds.setdefault(owner, []).extend(candidate.group.found_by)
        counts[owner] = counts.get(owner, -1) + 1
    return [
        candidate
        if candidate.parent
        else replace(
            candidate, found_by=tuple(dict.fromkeys(kinds[candidate.uid])), nattached=max(counts[candidate.uid], 0)
        )
        for candidate in candidates
    ]


def ordered(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Best first: those that stand for themselves by score and S/N, then those that belong to another."""
    return sorted(candidates, key=lambda c: (bool(c.parent), -c.strength[0], -np.nan_to_num(c.strength[1], nan=-1e9)))
