"""From detections to candidates: group, fold the best, see who explains whom, fold what nothing explains, judge."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.data import flags as table
from pulsar.data.fold import Fold, FoldCube, FoldParams
from pulsar.data.header import Header
from pulsar.pipeline.detect import Detected, Job
from pulsar.pipeline.pulses import REPEATS_SIGMA
from pulsar.rank.candidate import Candidate
from pulsar.rank.claims import claims
from pulsar.rank.compare import SAME_BINS, Sky
from pulsar.rank.explain import JUNK, Explained, alternatives, explain
from pulsar.rank.hidden import split_unexplained
from pulsar.rank.link import flags_by_pulses
from pulsar.rank.rules import Interference, flags_of
from pulsar.rank.score import DEFAULT, REPEATING, Scorer, score, scorer_of
from pulsar.rank.steady import odd_rows, repeats, steady
from pulsar.rank.surest import with_surest
from pulsar.searches.sift import Group, group, without

#: Equal pulses that a turn of a pulsar may have: more are waves.
MOST_PULSES = 4
#: The score of what another candidate explains is taken times this: of 309 such rows whose fold looks like a pulsar's 7
#: were a pulsar of their own (benchmarks/population.py, five environments).
ATTACHED = 0.03
#: Times that what is left unexplained is folded, and the claims are looked at again.
ROUNDS = 3


def group_detections(job: Job, detected: Detected) -> list[Group]:
    """Groups of detections of the whole observation at one frequency and DM, best first."""
    found, header = detected.detections, job.obs.header
    rows = None if job.config.search.parts == (1,) else np.flatnonzero(found["part"] == "")
    count = len(found) if rows is None else rows.size
    with job.progress.stage("grouping", count, "detections"):
        groups = groups_of(job, detected, header.tobs, name_of(header), rows)
    job.progress.message(f"{count} detections in {len(groups)} groups")
    return groups


def groups_of(
    job: Job, detected: Detected, tobs: float, name: str, rows: NDArray[np.int64] | None = None
) -> list[Group]:
    """Groups of some detections, all of data of one length.

    Parameters
    ----------
    job : Job
    detected : Detected
    tobs : float
        Length of these data [s].
    name : str
        What tells them from others.
    rows : ndarray, optional
        Which detections; default: all.

    Returns
    -------
    list of Group
        Best first; members are rows of all detections.
    """
    found = detected.detections if rows is None else detected.detections[rows]
    groups = group(found, tobs, job.config.sift, freqs=detected.freqs, dms=detected.dms, name=name)
    return groups if rows is None else [replace(one, members=rows[one.members]) for one in groups]


def follow_up(job: Job, detected: Detected, groups: Sequence[Group], header: Header | None = None) -> list[Candidate]:
    """Fold groups and tell who explains whom.

    The heads of likely families are folded first. Then every group is compared with what the folded candidates really
    leave at its frequency and DM; what they do not explain is folded in turn.

    Parameters
    ----------
    job : Job
    detected : Detected
    groups : sequence of Group
        Best first.
    header : Header, optional
        Of the part of the observation that the groups are of; default: of the whole.

    Returns
    -------
    list of Candidate
        One for every group, in no order; with parents, flags and scores.
    """
    config, header = job.config, job.obs.header if header is None else header
    sky = Sky(header.tobs, header.tsamp, detected.freqs, thresholds(config))
    heads = claims(groups, header.tobs, harmonics=config.sift.harmonics).heads[: config.fold.ncands]
    folded = judged_folds(job, detected, [groups[i] for i in heads])
    chosen = set(heads.tolist())
    rest = [g for i, g in enumerate(groups) if i not in chosen]
    if not config.sift.harmonics:
        return _families([*folded, *(Candidate(g, found_by=g.found_by) for g in rest)])
    verdict = explain(folded, rest, sky)
    hidden = _hidden(detected, verdict, sky, header)
    if hidden:
        # A better detection of another candidate has led them: they are groups of their own.
        taken = set(np.concatenate([g.members for g in hidden]).tolist())
        folded = [replace(one, group=without(one.group, taken)) for one in folded]
        rest = [*(without(g, taken) for g in rest), *hidden]
        verdict = explain(folded, rest, sky)
    for _ in range(ROUNDS):
        room = 2 * config.fold.ncands - len(folded)
        free = [one.group for one in verdict.rest if not one.parent] + alternatives(verdict, sky)
        free = free[: max(room, 0)]
        if not free:
            break
        folded = [*folded, *judged_folds(job, detected, free)]
        taken = {one.uid for one in free}
        rest = [g for g in rest if g.uid not in taken]
        verdict = explain(folded, rest, sky)
    if verdict.folded:
        _tell_unfolded(job, verdict.rest)
    verdict = with_surest(verdict, sky)
    return _families([*verdict.folded, *verdict.rest])


def pursued(job: Job, detected: Detected, groups: Sequence[Group]) -> list[Candidate]:
    """What :func:`follow_up` does, by the model of sources: one candidate for every group, in no order."""
    from pulsar.sources.detections import Observed
    from pulsar.sources.pursue import pursue

    header, most = job.obs.header, job.config.fold.ncands
    if not job.config.sift.harmonics:
        rest = [Candidate(g, found_by=g.found_by) for g in groups[most:]]
        return _families([*judged_folds(job, detected, groups[:most]), *rest])
    lines = [(line.freq, line.width) for line in detected.birdies]
    observed = Observed(header.tobs, detected.freqs, header.tsamp, lines, thresholds(job.config))
    found = pursue(groups, observed, lambda heads: judged_folds(job, detected, heads), most)
    _tell_unfolded(job, [one for one in found if one.fold is None])
    scorer = scorer_of(job.config.sift.weights)
    return _families([scored(one, scorer) for one in found])


def _tell_unfolded(job: Job, rest: Sequence[Candidate]) -> None:
    """How many of those without a fold stand for themselves."""
    left = sum(not one.parent for one in rest)
    if left:
        job.progress.message(f"{left} groups are listed without a fold: fold.ncands is {job.config.fold.ncands}")


def _hidden(detected: Detected, verdict: Explained, sky: Sky, header: Header) -> list[Group]:
    """Detections in the group of a candidate that leaves too little where they are: at another DM, or frequency.

    In the group of a candidate with flags, too, which is interference where it is strongest, and need not be elsewhere.
    """
    owners = [one for one in verdict.folded if not one.parent]
    flagged = [one for one in owners if table.weight(one.flags) <= JUNK]
    attached = [*flagged, *(one for one in [*verdict.folded, *verdict.rest] if one.parent)]
    uids = {one.uid for one in [*verdict.folded, *verdict.rest]}
    return split_unexplained(detected.detections, attached, owners, sky, name=name_of(header), uids=uids)


def name_of(header: Header) -> str:
    """What tells an observation from others, in the uid of every group."""
    return f"{header.source}|{header.beam}|{header.tstart:.9f}"


def thresholds(config: Config) -> dict[str, float]:
    """Trial-corrected significance from which each search keeps a detection, by its kind."""
    return {
        "fft": config.fft.threshold,
        "coherent": config.coherent.threshold,
        "accel": config.accel.threshold,
        "ffa": config.ffa.threshold,
        "pulses": REPEATS_SIGMA,
    }


def mark_detections(detections: NDArray[Any], candidates: Sequence[Candidate]) -> None:
    """Fill uid, parent and relation of all detections."""
    for one in candidates:
        rows = one.group.members
        detections["uid"][rows] = one.uid
        detections["parent"][rows] = one.parent
        detections["relation"][rows] = one.relation or ("" if one.fold is not None else "not folded")


def _families(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates told how many groups they explain, and by which searches those were found."""
    kinds: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for one in sorted(candidates, key=lambda c: -c.group.sigma):
        owner = one.parent or one.uid
        kinds.setdefault(owner, []).extend(one.group.found_by)
        counts[owner] = counts.get(owner, -1) + 1
    return [
        one
        if one.parent
        else replace(one, found_by=tuple(dict.fromkeys(kinds[one.uid])), nattached=max(counts[one.uid], 0))
        for one in candidates
    ]


def judged_folds(
    job: Job, detected: Detected, groups: Sequence[Group], params: Sequence[FoldParams] | None = None
) -> list[Candidate]:
    """Groups with refined folds, flags and scores.

    Parameters
    ----------
    job : Job
    detected : Detected
    groups : sequence of Group
    params : sequence of FoldParams, optional
        To be folded with; default: those of their best detections.
    """
    known = Interference(
        mains=job.config.sift.mains,
        diodes=job.config.rfi.diodes,
        lines=[(b.freq, b.width) for b in detected.birdies],
        dispersion_known=detected.freqs.size > 0,
    )
    new = [g for g in groups if g.uid not in detected.known]
    made = {g.uid: fold for g, fold in zip(new, _new_folds(job, detected, new, params), strict=True)}
    pulses = detected.pulses.table
    folds = [made[g.uid] if g.uid in made else _copied(detected.known[g.uid]) for g in groups]
    scorer = scorer_of(job.config.sift.weights)
    return [_judged(g, fold, known, pulses, scorer) for g, fold in zip(groups, folds, strict=True)]


def _copied(fold: Fold) -> Fold:
    """A fold that can be judged anew."""
    return replace(fold, extra=dict(fold.extra))


def _new_folds(
    job: Job, detected: Detected, groups: Sequence[Group], params: Sequence[FoldParams] | None
) -> list[Fold]:
    """Refined folds of groups."""
    from pulsar.folding.fundamental import MOST, choose_period

    if params is None:
        params = [FoldParams(g.freq, float(g.best["fdot"]), g.dm, float(g.best["fddot"])) for g in groups]
    folds = _refined(job, detected, params)
    # Where the profile shows several equal pulses the true frequency is that many times higher.
    nyquist = 0.5 / job.obs.header.tsamp
    wrong = [(i, factor) for i, fold in enumerate(folds) if (factor := choose_period([steady(fold)]).factor) != 1]
    # Fast waves look the same in the bins as others do.
    wrong += [(i, folds[i].time_phase.shape[1] - factor) for i, factor in wrong if factor > MOST]
    wrong = [(i, factor) for i, factor in wrong if factor * folds[i].after.freq < nyquist]
    if wrong:
        again = [folds[i].after.times(k) for i, k in wrong]
        for (i, k), fold in zip(wrong, _refined(job, detected, again), strict=True):
            # One of k pulses fills the box of the long period; at the true one all do, and the S/N grows by sqrt(k):
            # that in white noise, as pulses that vary raise the noise of both, and not alike. More than a few equal
            # pulses in a turn are waves, whose S/N at the long period lacks the noise beside a line that drifts.
            better = _white_snr(fold) > k**0.25 * _white_snr(folds[i])
            if better or (k > MOST_PULSES and repeats(fold) > REPEATING):
                folds[i] = fold
    return folds


def _white_snr(fold: Fold) -> float:
    """S/N in units of white noise, without the sub-integrations that hold what the others do not."""
    from pulsar.folding.profile import best_box

    rows = fold.time_phase.astype(np.float64)
    odd = odd_rows(rows)
    snr = fold.snr
    if odd.any():
        kept = rows[~odd]
        snr = float(best_box(kept.sum(axis=0)[None, :] / np.sqrt(len(kept)), np.ones(rows.shape[1]))[0][0])
    return snr * float(fold.extra.get("noise_scale", 1.0))


def _refined(job: Job, detected: Detected, params: Sequence[FoldParams]) -> list[Fold]:
    if not params:
        return []
    cubes = detected.fold_many(params)
    search_dm = not job.obs.header.is_series
    lines = [(b.freq, b.width) for b in detected.birdies]
    with job.progress.stage("refinement", len(cubes), "folds") as tick, ThreadPoolExecutor(job.threads) as pool:

        def one(index: int) -> Fold:
            fold = steady_fold(cubes[index], search_dm=search_dm, lines=lines)
            if detected.finish is not None:
                fold = detected.finish(fold)
            tick(1)
            return fold

        return list(pool.map(one, range(len(cubes))))


def steady_fold(cube: FoldCube, *, search_dm: bool, lines: Sequence[tuple[float, float]] = ()) -> Fold:
    """Refine a fold; where it does not repeat, without the sub-integrations that differ from the others.

    Impulses of a few of them may have drawn the refinement away from what was found. What is left must repeat, and be
    where it was found.

    Parameters
    ----------
    cube : FoldCube
    search_dm : bool
        Fit the DM.
    lines : sequence of (float, float)
        Frequencies and full widths [Hz] of periodic interference.
    """
    from pulsar.folding.refine import refine

    fold = refine(cube, search_dm=search_dm, lines=lines)
    if not repeats(fold) < REPEATING:
        return fold
    odd = odd_rows(fold.time_phase.astype(np.float64))
    if not odd.any():
        return fold
    rest = refine(cube.without(odd), search_dm=search_dm, lines=lines)
    moved = abs(rest.after.freq - rest.before.freq) * rest.tobs
    return rest if moved < SAME_BINS and repeats(rest) > REPEATING else fold


def _judged(group: Group, fold: Fold, known: Interference, pulses: NDArray[Any], scorer: Scorer) -> Candidate:
    from pulsar.rank.features import features

    values = features(fold, sigma=group.sigma, ndetections=group.ndetections)
    fold.extra["features"] = dict(values)
    flags = (*flags_of(group, fold, values, known), *flags_by_pulses(pulses, fold))
    return scored(Candidate(group, fold, values, 0.0, flags, found_by=group.found_by), scorer)


def scored(one: Candidate, scorer: Scorer = DEFAULT) -> Candidate:
    """A candidate with the score that its features and flags give; little of it where another one explains it."""
    if one.fold is None:
        return one
    own = score(dict(one.features), scorer) * table.weight(one.flags)
    return replace(one, score=ATTACHED * own if one.parent else own)


def ordered(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Best first: those that stand for themselves by score and S/N, then those that belong to another."""
    return sorted(candidates, key=lambda c: (bool(c.parent), -c.strength[0], -np.nan_to_num(c.strength[1], nan=-1e9)))
