"""From detections to the list: group, pursue the sources, fold each where it stands out, judge, order."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np

from pulsar.cleaning.birdies import pairs
from pulsar.config.model import Config
from pulsar.data import flags as table
from pulsar.data.fold import Fold, FoldCube, FoldParams, PulseCutout
from pulsar.data.header import WHOLE, Header, Part, parts_of_counts
from pulsar.data.series import Lines, TimeSeries
from pulsar.folding.fundamental import DOUBT, MOST, choose_period, unequal
from pulsar.folding.profile import best_box
from pulsar.folding.refine import refine
from pulsar.pipeline.detect import Detected
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.pulses import REPEATS_SIGMA, PulsePlace, cutouts_of, judge_shapes, sweep_dms, sweeps_share
from pulsar.pipeline.room import Means
from pulsar.pipeline.samples import Samples, part_of
from pulsar.searches.registry import SEARCHES
from pulsar.searches.sift import Group, group, joined, positions
from pulsar.sources.candidate import AGREE, AGREE_BINS, CHANCE, Candidate
from pulsar.sources.company import in_company
from pulsar.sources.detections import Model, Observed
from pulsar.sources.features import features
from pulsar.sources.interference import KnownInterference, flags_of
from pulsar.sources.modulation import outside_pulses
from pulsar.sources.pulses import flags_by_pulses, in_order, owners
from pulsar.sources.pursue import pursue
from pulsar.sources.score import DEFAULT, REPEATING, Scorer, score, scorer_of
from pulsar.sources.source import Source
from pulsar.sources.steady import odd_rows, repeats, steady
from pulsar.sources.sweep import shape_of_fold
from pulsar_kernels.arrays import Array, Floats, Ints

#: Series of sources that are kept, to be looked at again.
_SERIES: Final = 8


def group_detections(
    header: Header, detected: Detected, config: Config, progress: Progress, of: str = ""
) -> list[Group]:
    """Groups of detections at one frequency and DM, of the whole observation and of each part of it, best first.

    `of`: what was searched, where it is not the samples as they were cleaned.
    """
    rows_of_all = detected.detections
    observation = "|".join(filter(None, (name_of(header), of)))
    groups: list[Group] = []
    with progress.stage("grouping", len(rows_of_all), "detections") as tick:
        for part in [WHOLE, *parts_of_counts(config.search.parts)]:
            rows = np.flatnonzero(rows_of_all["part"] == part.label)
            name = f"{observation}|{part.label}" if part.label else observation
            tobs, freqs, dms = part.header(header).tobs, detected.freqs, detected.dms
            part_groups = group(rows_of_all[rows], tobs, config.sift, freqs=freqs, dms=dms, name=name)
            groups += [replace(group_of, members=rows[group_of.members]) for group_of in part_groups]
            tick(rows.size)
    progress.message(f"{len(rows_of_all)} detections in {len(groups)} groups")
    return sorted(groups, key=lambda group_of: -group_of.sigma)


def follow_up(
    samples: Samples,
    detected: Detected,
    groups: Sequence[Group],
    config: Config,
    means: Means,
    *,
    taken: Sequence[Candidate] = (),
    before: frozenset[str] = frozenset(),
    known: Mapping[str, Fold] | None = None,
) -> list[Candidate]:
    """Fold groups, and tell whose each is.

    Parameters
    ----------
    samples : Samples
        That are folded.
    groups : sequence of Group
        Of the whole observation and of parts of it, best first.
    taken : sequence of Candidate
        Sources that were taken out of the samples, the strongest first.
    before : frozenset of str
        Uids of the groups that were detected before that.
    known : mapping of str to Fold, optional
        Folds that need not be made once more, by the uid of their group, where signals are injected.

    Returns
    -------
    list of Candidate
        One for every group, in no order; with parents, flags and scores.
    """
    header, most = samples.header, config.fold.ncands
    heads = Heads(samples.held(means), detected, config, means, known or {})
    if not config.sift.harmonics:
        rest = [Candidate(g, found_by=g.found_by) for g in groups[most:]]
        return [*heads.folded(groups[:most]), *rest]
    observed = Observed(header.nsamps, detected.freqs, header.tsamp, pairs(detected.birdies), thresholds(config))
    models = [Model(source.uid, Source.of(source.fold), before=before) for source in taken if source.fold is not None]
    # Signals that are injected are steady, and in none of the series.
    outside = heads.outside if known is None else None
    judging = partial(means.progress.stage, "judging")
    pursued = pursue(groups, observed, heads.folded, most, models, outside, judging)
    candidates = [heads.alone(candidate) for candidate in pursued]
    left = sum(candidate.fold is None and not candidate.parent for candidate in candidates)
    if left:
        means.progress.message(f"{left} groups are listed without a fold: fold.ncands is {most}")
    return _over_their_parts(heads, candidates, observed)


def _over_their_parts(heads: "Heads", candidates: Sequence[Candidate], observed: Observed) -> list[Candidate]:
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
            # What a drift takes farther than this part of its frequency from a source is not followed into a part.
            near = abs(there[best].freq - candidate.freq) < 0.1 * candidate.freq
            if near and there[best].power > source.power:
                params = FoldParams(there[best].freq, there[best].fdot, candidate.dm, candidate.fold.after.fddot)
                fold = heads.folds([params], Part.of_label(best))[0]
                if fold.snr > candidate.snr:
                    again = heads.candidate(candidate.group, fold)
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
    """Candidates that have in their groups what was detected at their own frequency and DM, in any part."""
    dms, place = {candidate.uid: candidate.dm for candidate in candidates}, positions(detected.detections)
    parents = {candidate.uid: candidate.parent for candidate in candidates if _is_same(candidate, dms)}
    more: dict[str, list[Group]] = {}
    for candidate in candidates:
        if candidate.uid in parents and candidate.parent not in parents:
            more.setdefault(candidate.parent, []).append(candidate.group)
    out = []
    for candidate in candidates:
        if candidate.uid in more:
            group = joined([candidate.group, *more[candidate.uid]], detected.detections, place)
            values = {**candidate.features, "sigma": group.sigma, "ndetections": float(group.ndetections)}
            candidate = replace(candidate, group=group, features=values)
            if candidate.fold is not None:
                fold = replace(candidate.fold, extra={**candidate.fold.extra, "features": values})
                candidate = replace(candidate, fold=fold)
        if candidate.uid not in parents or candidate.parent in parents:
            out.append(candidate)
    return out


def _is_same(candidate: Candidate, dms: Mapping[str, float]) -> bool:
    """True if a candidate is the source that it belongs to, of which it was detected at the DM, too."""
    group_of, dm = candidate.group, dms.get(candidate.parent, float("nan"))
    return candidate.relation == "same" and group_of.dm_lo <= dm <= group_of.dm_hi


def name_of(header: Header) -> str:
    """Name of an observation, in the uid of every group."""
    return f"{header.source}|{header.beam}|{header.tstart:.9f}"


def thresholds(config: Config) -> dict[str, float]:
    """Trial-corrected significance from which each search keeps a detection, by its kind."""
    periodic = [search for search in SEARCHES if search.periodic]
    return {search.name: search.threshold(getattr(config, search.name)) for search in periodic} | {
        "pulses": REPEATS_SIGMA
    }


def marked(detections: Array, candidates: Sequence[Candidate]) -> Array:
    """Detections with uid, parent and relation of the candidate that each belongs to."""
    detections = detections.copy()
    for candidate in candidates:
        rows = candidate.group.members
        detections["uid"][rows] = candidate.uid
        detections["parent"][rows] = candidate.parent
        detections["relation"][rows] = candidate.relation or ("" if candidate.fold is not None else "not folded")
    return detections


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


@dataclass(frozen=True, eq=False)
class Heads:
    """Refined folds of groups, with flags and scores."""

    samples: Samples
    detected: Detected
    config: Config
    means: Means
    known: Mapping[str, Fold]  # folds that need not be made once more, by the uid of their group
    made: list[Fold] = field(default_factory=list)  # refined so far, of all groups
    series: dict[float, TimeSeries] = field(default_factory=dict)  # the last that were asked for, by their DMs

    def folded(self, groups: Sequence[Group]) -> list[Candidate]:
        """Groups of the whole observation, or of parts of it, with refined folds, flags and scores."""
        folds = dict(self.known)
        for label in sorted({group_of.part for group_of in groups}):
            new = [group_of for group_of in groups if group_of.part == label and group_of.uid not in folds]
            params = [FoldParams(g.freq, float(g.best["fdot"]), g.dm, float(g.best["fddot"])) for g in new]
            new_folds = self.folds(params, Part.of_label(label))
            folds |= {group_of.uid: fold for group_of, fold in zip(new, new_folds, strict=True)}
        return [self.candidate(group_of, folds[group_of.uid]) for group_of in groups]

    def folds(self, params: Sequence[FoldParams], part: Part = WHOLE) -> list[Fold]:
        """Refined folds over a part; where the profile shows k equal pulses, at k times the frequency.

        `params`: in the middle of the part.
        """
        folds = self._refined(params, part)
        self.made.extend(folds)
        nyquist = 0.5 / self.samples.header.tsamp
        wrong = [(i, factor) for i, fold in enumerate(folds) if (factor := choose_period([steady(fold)]).factor) != 1]
        # Fast waves look the same in the bins as others do.
        wrong += [(i, folds[i].time_phase.shape[1] - factor) for i, factor in wrong if factor > MOST]
        wrong = [(i, k) for i, k in wrong if k * folds[i].after.freq < nyquist]
        grown = [_grows(folds[i], k) for i, k in wrong]
        there = [self._made_at(k, folds[i]) for i, k in wrong]
        new = self._refined(
            [folds[i].after.times(k) for (i, k), fold in zip(wrong, there, strict=True) if fold is None], part
        )
        self.made.extend(new)
        new_folds = iter(new)
        for (i, k), grows, known in zip(wrong, grown, there, strict=True):
            fold = next(new_folds) if known is None else known
            # Equal pulses that a turn of a pulsar may have: more are waves.
            # A line beyond the bins is mirrored in them, and has nothing there.
            if (grows and fold.snr > CHANCE) or (k > 4 and repeats(fold) > REPEATING):
                folds[i] = fold
        return folds

    def _made_at(self, k: int, fold: Fold) -> Fold | None:
        """The best fold that there is already of what shows k equal pulses in another one: at k times its frequency."""
        params, half = fold.after.times(k), 0.5 * fold.tobs

        def same(refined: Fold) -> bool:
            drift = abs(refined.after.freq - params.freq) + 0.5 * half * abs(refined.after.fdot - params.fdot)
            # Series have one DM, which has no error.
            error = AGREE * float(np.nan_to_num(np.hypot(refined.dm_err, fold.dm_err)))
            return refined.part == fold.part and drift * fold.tobs < AGREE_BINS and abs(refined.dm - fold.dm) <= error

        return max(filter(same, self.made), key=lambda refined: refined.snr, default=None)

    def _refined(self, params: Sequence[FoldParams], part: Part) -> list[Fold]:
        if not params:
            return []
        samples, config, means = self.samples, self.config.fold, self.means
        cubes, whole, lines = samples.cubes(params, config, means, part), samples.header, pairs(self.detected.birdies)
        start = part.samples(whole.nsamps)[0] * whole.tsamp
        with means.progress.stage("refinement", len(cubes), "folds") as tick, ThreadPoolExecutor(means.threads) as pool:

            def refined(cube: FoldCube) -> Fold:
                fold = steady_fold(cube, search_dm=not whole.is_series, lines=lines)
                if part.label:
                    fold = replace(fold, start=start, part=part.label)
                fold = samples.finished(fold, config)
                tick(1)
                return fold

            return list(pool.map(refined, cubes))

    def candidate(self, group_of: Group, fold: Fold, alone: Mapping[str, float] | None = None) -> Candidate:
        """A group with its fold, flags and score, by the features of the fold, or by what is told of them."""
        config, detected = self.config, self.detected
        known = KnownInterference(
            mains=config.sift.mains,
            diodes=config.rfi.diodes,
            lines=pairs(detected.birdies),
            dispersion_known=detected.freqs.size > 0,
        )
        values = alone or features(fold, sigma=group_of.sigma, ndetections=group_of.ndetections)
        fold = replace(fold, extra={**fold.extra, "features": dict(values)})
        flags = (*flags_of(group_of, fold, values, known), *flags_by_pulses(detected.pulses, fold))
        judged = Candidate(group_of, fold, values, 0.0, flags, found_by=group_of.found_by)
        return scored(judged, scorer_of(config.sift.weights))

    def outside(self, source: Source, candidates: Sequence[Candidate]) -> dict[str, float]:
        """Part of the power of detections that is there outside of the pulses of a source, by uid."""
        if source.dm not in self.series:
            for old in list(self.series)[: 1 - _SERIES]:
                del self.series[old]
            self.series[source.dm] = self.samples.series_at(source.dm, self.means)
        series, parts = self.series[source.dm], dict[str, float]()
        for label in sorted({candidate.part for candidate in candidates}):
            there, of_part = part_of(series, Part.of_label(label)), [c for c in candidates if c.part == label]
            start = Part.of_label(label).samples(series.nsamps)[0] * series.tsamp
            parts |= outside_pulses(there, source.during(start, there.tobs), of_part)
        return parts

    def alone(self, candidate: Candidate) -> Candidate:
        """A source with the flags that it has without what others leave in its fold."""
        fold, values = candidate.fold, candidate.features
        if candidate.parent or fold is None or values == fold.extra["features"]:
            return candidate
        judged = self.candidate(candidate.group, fold, values)
        return replace(candidate, fold=judged.fold, flags=judged.flags, score=judged.score)


def _grows(fold: Fold, k: int) -> bool:
    """True if the S/N at the k-th part of the period of a fold is more than that at the period.

    One of k equal pulses fills the box of the long period, and at the true one all do: the S/N grows by sqrt(k). Of one
    pulse in a turn it falls by as much. Where the pulses may be unequal it must grow by more than k^(1/4). Both are of
    one fold: another one has other noise, and may be evened out. What is below the k-th harmonic is no pulse of the k;
    nor are sub-integrations that hold what the others do not. More than a few equal pulses in a turn are waves, whose
    S/N at the long period lacks the noise beside a line that drifts.
    """
    rows = fold.time_phase.astype(np.float64)
    spectrum = np.fft.rfft(rows[~odd_rows(rows)].sum(axis=0))
    spectrum[:k] = 0.0
    part = np.where(np.arange(len(spectrum)) % k == 0, np.sqrt(k) * spectrum, 0.0)
    snr, width, start = best_box(np.fft.irfft([spectrum, part], rows.shape[1], axis=1), np.ones(rows.shape[1]))
    if not snr[1] > snr[0]:
        return False
    return bool(snr[1] > k**0.25 * snr[0]) or unequal(fold, (int(start[1]), int(width[1])), k) < DOUBT


def steady_fold(cube: FoldCube, *, search_dm: bool, lines: Lines = ()) -> Fold:
    """Refine a fold; where it does not repeat, without the sub-integrations that differ from the others.

    Impulses of a few of them may have drawn the refinement away from what was found. What is left must repeat, and be
    where it was found.

    `search_dm`: fit the DM. `lines`: frequencies and full widths [Hz] of periodic interference.
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


def scored(candidate: Candidate, scorer: Scorer = DEFAULT) -> Candidate:
    """A candidate with the score that its features and flags give; little of it where another one explains it."""
    if candidate.fold is None:
        return candidate
    probability = score(dict(candidate.features), scorer) * table.weight(candidate.flags)
    # The score of what belongs to another candidate is taken times this, about the part of such rows that was a pulsar
    # of its own where rules told what belongs to what (7 of 309); by the model of sources it is not measured.
    return replace(candidate, score=0.03 * probability if candidate.parent else probability)


@dataclass(frozen=True, eq=False)
class RankedLists:
    """The list of a run."""

    candidates: list[Candidate]  # best first
    pulses: Array  # single pulses with owners, flags and scores, the fields of SINGLE_PULSE_COLUMNS, best first
    cutouts: list[tuple[str, PulseCutout]]  # of the best single pulses, by id


def ranked(
    samples: Samples,
    detected: Detected,
    candidates: Sequence[Candidate],
    config: Config,
    progress: Progress,
    known: Mapping[PulsePlace, PulseCutout] | None = None,
    *,
    anew: bool = True,
) -> RankedLists:
    """Link candidates and single pulses, judge both and order them.

    Parameters
    ----------
    candidates : sequence of Candidate
        Of :func:`pulsar.pipeline.follow.follow_up`.
    known : mapping of PulsePlace to PulseCutout, optional
        What was cut out of the same samples before.
    anew : bool
        Cut out the others of the best single pulses, too.
    """
    scorer, pulses = scorer_of(config.sift.weights), detected.pulses.copy()
    candidates = ordered([scored(candidate, scorer) for candidate in families(_joined(candidates, detected))])
    owner = owners(pulses, candidates)
    cutouts = cutouts_of(pulses, samples.source, config.single_pulse.cutouts, progress, known, anew=anew)
    candidates = _swept(candidates, owner, pulses, dict(cutouts), detected.dms)
    share = sweeps_share(pulses, detected.dms)
    candidates = in_company([scored(candidate, scorer) for candidate in candidates], share)
    _with_the_score_of_their_source(pulses, candidates)
    return RankedLists(ordered(candidates), pulses, cutouts)


def _with_the_score_of_their_source(pulses: Array, candidates: Sequence[Candidate]) -> None:
    """Single pulses in phase with a candidate are as sure as it is."""
    for candidate in candidates:
        rows = (pulses["source"] == candidate.uid) & np.isin(pulses["rfi_flags"], ("", "near sweeps"))
        pulses["score"][rows] = np.maximum(pulses["score"][rows], candidate.score)
    pulses[:] = in_order(pulses)


def _is_dispersed(candidate: Candidate) -> bool:
    """True if the fold of a candidate is no sweep."""
    return candidate.fold is not None and shape_of_fold(candidate.fold).is_dispersed


def _swept(
    candidates: Sequence[Candidate], owner: Ints, pulses: Array, cutouts: Mapping[str, PulseCutout], dms: Floats
) -> list[Candidate]:
    """Candidates flagged for the shape of their pulses; the table of pulses is told owners, flags and scores."""
    for place, candidate in enumerate(candidates):
        pulses["source"][owner == place] = candidate.uid
    swept = judge_shapes(pulses, cutouts, dms)
    low, high = sweep_dms(pulses)
    out = []
    for candidate in candidates:
        if candidate.uid in swept and "sweep" not in candidate.flags:
            candidate = replace(candidate, flags=(*candidate.flags, "sweep"))
        elif low < candidate.dm < high and not candidate.flags and not _is_dispersed(candidate):
            candidate = replace(candidate, flags=("near sweeps",))
        out.append(candidate)
    return out
