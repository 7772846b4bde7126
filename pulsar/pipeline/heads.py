"""Refined folds of groups of detections, over the part of the observation that each is of, with flags and scores."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from pulsar.data import flags as table
from pulsar.data.fold import Fold, FoldCube, FoldParams
from pulsar.data.header import WHOLE, Part
from pulsar.folding.fundamental import MOST, choose_period
from pulsar.folding.profile import best_box
from pulsar.folding.refine import refine
from pulsar.pipeline.job import Detected, Job
from pulsar.searches.sift import Group
from pulsar.sources.candidate import AGREE_BINS, Candidate
from pulsar.sources.features import features
from pulsar.sources.interference import Interference, flags_of
from pulsar.sources.link import flags_by_pulses
from pulsar.sources.score import DEFAULT, REPEATING, Scorer, score, scorer_of
from pulsar.sources.steady import odd_rows, repeats, steady

#: Equal pulses that a turn of a pulsar may have: more are waves.
MOST_PULSES = 4
#: The score of what belongs to another candidate is taken times this, about the part of such rows that was a pulsar of
#: its own where rules told what belongs to what (7 of 309); by the model of sources it is not measured.
ATTACHED = 0.03


def folded(job: Job, detected: Detected, groups: Sequence[Group]) -> list[Candidate]:
    """Groups with refined folds, flags and scores.

    Parameters
    ----------
    job : Job
    detected : Detected
    groups : sequence of Group
        Of the whole observation or of parts of it.
    """
    folds = {uid: replace(fold, extra=dict(fold.extra)) for uid, fold in detected.known.items()}
    for label in sorted({group.part for group in groups}):
        new = [group for group in groups if group.part == label and group.uid not in folds]
        params = [FoldParams(g.freq, float(g.best["fdot"]), g.dm, float(g.best["fddot"])) for g in new]
        made = folds_at(job, detected, params, Part.of_label(label))
        folds |= {group.uid: fold for group, fold in zip(new, made, strict=True)}
    return [candidate_of(job, detected, group, folds[group.uid]) for group in groups]


def folds_at(job: Job, detected: Detected, params: Sequence[FoldParams], part: Part = WHOLE) -> list[Fold]:
    """Refined folds over a part of the observation; where the profile shows k equal pulses, at k times the frequency.

    Parameters
    ----------
    job : Job
    detected : Detected
    params : sequence of FoldParams
        In the middle of the part.
    part : Part
    """
    folds = _refined(job, detected, params, part)
    nyquist = 0.5 / job.obs.header.tsamp
    wrong = [(i, factor) for i, fold in enumerate(folds) if (factor := choose_period([steady(fold)]).factor) != 1]
    # Fast waves look the same in the bins as others do.
    wrong += [(i, folds[i].time_phase.shape[1] - factor) for i, factor in wrong if factor > MOST]
    wrong = [(i, factor) for i, factor in wrong if factor * folds[i].after.freq < nyquist]
    again = [folds[i].after.times(k) for i, k in wrong]
    for (i, k), fold in zip(wrong, _refined(job, detected, again, part), strict=True):
        # One of k pulses fills the box of the long period; at the true one all do, and the S/N grows by sqrt(k):
        # that in white noise, as pulses that vary raise the noise of both, and not alike. More than a few equal
        # pulses in a turn are waves, whose S/N at the long period lacks the noise beside a line that drifts.
        better = _white_snr(fold) > k**0.25 * _white_snr(folds[i])
        if better or (k > MOST_PULSES and repeats(fold) > REPEATING):
            folds[i] = fold
    return folds


def _white_snr(fold: Fold) -> float:
    """S/N in units of white noise, without the sub-integrations that hold what the others do not."""
    rows = fold.time_phase.astype(np.float64)
    odd = odd_rows(rows)
    snr = fold.snr
    if odd.any():
        kept = rows[~odd]
        snr = float(best_box(kept.sum(axis=0)[None, :] / np.sqrt(len(kept)), np.ones(rows.shape[1]))[0][0])
    return snr * float(fold.extra.get("noise_scale", 1.0))


def _refined(job: Job, detected: Detected, params: Sequence[FoldParams], part: Part) -> list[Fold]:
    if not params:
        return []
    cubes, whole = detected.fold_many(params, part), job.obs.header
    start = part.samples(whole.nsamps)[0] * whole.tsamp
    lines = [(b.freq, b.width) for b in detected.birdies]
    with job.progress.stage("refinement", len(cubes), "folds") as tick, ThreadPoolExecutor(job.threads) as pool:

        def refined(index: int) -> Fold:
            fold = steady_fold(cubes[index], search_dm=not whole.is_series, lines=lines)
            if part.label:
                fold = replace(fold, start=start, part=part.label)
            if detected.finish is not None:
                fold = detected.finish(fold)
            tick(1)
            return fold

        return list(pool.map(refined, range(len(cubes))))


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
    fold = refine(cube, search_dm=search_dm, lines=lines)
    if not repeats(fold) < REPEATING:
        return fold
    odd = odd_rows(fold.time_phase.astype(np.float64))
    if not odd.any():
        return fold
    rest = refine(cube.without(odd), search_dm=search_dm, lines=lines)
    moved = abs(rest.after.freq - rest.before.freq) * rest.tobs
    return rest if moved < AGREE_BINS and repeats(rest) > REPEATING else fold


def candidate_of(
    job: Job, detected: Detected, group: Group, fold: Fold, values_alone: Mapping[str, float] | None = None
) -> Candidate:
    """A group with its fold, flags and score, by the features of the fold, or by what is told of them."""
    known = Interference(
        mains=job.config.sift.mains,
        diodes=job.config.rfi.diodes,
        lines=[(b.freq, b.width) for b in detected.birdies],
        dispersion_known=detected.freqs.size > 0,
    )
    values = values_alone or features(fold, sigma=group.sigma, ndetections=group.ndetections)
    fold.extra["features"] = dict(values)
    flags = (*flags_of(group, fold, values, known), *flags_by_pulses(detected.pulses.table, fold))
    scorer = scorer_of(job.config.sift.weights)
    return scored(Candidate(group, fold, values, 0.0, flags, found_by=group.found_by), scorer)


def scored(candidate: Candidate, scorer: Scorer = DEFAULT) -> Candidate:
    """A candidate with the score that its features and flags give; little of it where another one explains it."""
    if candidate.fold is None:
        return candidate
    own = score(dict(candidate.features), scorer) * table.weight(candidate.flags)
    return replace(candidate, score=ATTACHED * own if candidate.parent else own)
