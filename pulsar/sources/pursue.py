"""The list by pursuit: what sources do not leave is folded, until they leave all that was detected.

1. Heads: of the detections, surest first, those that neither a source nor a head before them leaves are folded.
2. All folds that there are become sources or belong to them (:mod:`pulsar.sources.sky`).
3. When no head is left, detections at multiples of the periods of sources are folded, as what was folded may be a part
   of a turn; and at a part where, without what is of others, there are several equal pulses.
4. When that brings nothing, or the room for folds is used up, every group has a parent or stands.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np

from pulsar.folding.fundamental import choose_period
from pulsar.searches.sift import Group
from pulsar.sources.candidate import AGREE_BINS, CHANCE, Candidate
from pulsar.sources.detections import Model, Observed, Shares, same_as, source_of
from pulsar.sources.sky import MOST_RATIO, CandidateSky, Outside
from pulsar.sources.source import Source
from pulsar.sources.steady import steady

#: Of the room for folds one round takes this part: each reads the data once.
_ROUND: Final = 1 / 3
#: Largest multiple of the period of a source that is folded: with 8 one more of 239 pulsars was listed, in 1.2 to 1.3
#: times the time.
_LONGEST: Final = 4
#: Multiples and parts of it that are folded at most.
_LONGER: Final = 3


def pursue(
    groups: Sequence[Group],
    observed: Observed,
    fold: Callable[[Sequence[Group]], list[Candidate]],
    most: int,
    taken: Sequence[Model] = (),
    outside: Outside | None = None,
    judging: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> list[Candidate]:
    """One candidate for every group, in no order: folded where it may be a source, with its parent where it is none.

    Parameters
    ----------
    groups : sequence of Group
        Best first.
    fold : callable
        Gives refined folds of groups, with flags and scores.
    most : int
        Folds at most.
    taken : sequence of Model
        Sources that were taken out of the samples before these were folded.
    outside : callable, optional
        Tells what is there outside of the pulses of sources.
    judging : callable, optional
        Entered whenever folds are told apart, which takes long where many have something in common.
    """
    waiting, sky = list(groups), CandidateSky(groups, observed, taken, outside)
    sky.compare_with_pulses()
    while (room := min(int(np.ceil(_ROUND * most)), most - len(sky.folded))) > 0:
        heads = _heads(waiting, sky.own(), observed, room) or _other_periods(waiting, sky, room)
        if not heads:
            break
        new = fold(heads)
        names = {candidate.uid for candidate in new}
        waiting = [group for group in waiting if group.uid not in names]
        with judging():
            sky.fit(new)
            sky.compare_with_pulses()
    accepted = {candidate.uid for candidate in sky.accepted}
    rest = [candidate for candidate in sky.folded if candidate.uid not in accepted]
    rest += [Candidate(group, found_by=group.found_by) for group in waiting]
    models, shares = sky.whole(), Shares([candidate.group for candidate in rest], observed)
    for model in models:
        shares.add(model)
    attached = [_with_parent(candidate, i, sky, models, shares) for i, candidate in enumerate(rest)]
    return [*(_with_alternative(_alone(source, sky), attached) for source in sky.accepted), *attached]


def _heads(groups: Sequence[Group], sources: Sequence[Model], observed: Observed, most: int) -> list[Group]:
    """The surest groups that neither the sources nor those among them before leave."""
    models, heads, shares = list(sources), list[Group](), Shares(groups, observed)
    for model in models:
        shares.add(model)
    for i, group in enumerate(groups):
        if len(heads) == most:
            break
        if shares.stands(i) and not same_as(group.freq, group, models, observed):
            heads.append(group)
            models.append(Model(group.uid, source_of(group, observed)))
            shares.add(models[-1])
    return heads


def _other_periods(groups: Sequence[Group], sky: CandidateSky, most: int) -> list[Group]:
    """Detections at other periods of sources that are to be folded.

    At multiples, the shortest first; at a part where pulses are equal; and at parts that have more power than a part of
    one pulse does, halfway to half of it: two pulsars may have the period in common.
    """
    freqs, parts = np.array([group.freq for group in groups]), np.array([group.part for group in groups])
    heads = dict[int, None]()
    for source in sky.accepted:
        same = AGREE_BINS / sky.observed.window(source.part)[1]
        known = np.array([candidate.freq for candidate in sky.folded if candidate.part == source.part])
        equal, left = 1, sky.left(source)
        if left.residual is not None and left.part * source.snr > CHANCE:
            equal = choose_period([steady(left.residual)]).factor
        there = dict[float, int]()
        for ratio in [equal, *(1.0 / n for n in range(2, _LONGEST + 1)), *range(2, MOST_RATIO + 1)]:
            freq = source.freq * ratio
            rows = np.flatnonzero((parts == source.part) & (np.abs(freqs - freq) < same))
            if rows.size and np.abs(known - freq).min() > same:
                there[ratio] = int(rows[0])
        heads |= dict.fromkeys([i for ratio, i in there.items() if ratio == equal or ratio < 1.0][:_LONGER])
        shared = [i for n, i in there.items() if n > 1 and groups[i].excess > (0.5 / n + 0.25) * source.group.excess]
        heads |= dict.fromkeys(shared)
    return [groups[i] for i in list(heads)[:most]]


def _with_parent(candidate: Candidate, i: int, sky: CandidateSky, models: Sequence[Model], shares: Shares) -> Candidate:
    """A candidate with the source that leaves most of it.

    One that is not folded, or of which most varies and is of no source, only where they leave enough of it.
    """
    group, detected = candidate.group, dict.fromkeys((model.uid for model in models), 0.0)
    for model, powers_of in zip(models, shares.powers, strict=True):
        detected[model.uid] = max(detected[model.uid], float(powers_of[i]))
    in_fold = {} if candidate.fold is None else sky.left(candidate).powers
    powers = in_fold if any(in_fold.values()) else detected
    varying, part = sky.most_in_pulses(candidate.uid)
    owner = same_as(candidate.freq, group, models, sky.observed)
    if not owner and not shares.stands(i):
        owner = varying
    if not owner:
        owner = max(powers, key=lambda uid: powers[uid], default="")
        if powers.get(owner, 0.0) <= 0.0 and candidate.fold is not None:
            powers = sky.lacks(candidate)
            owner = max(powers, key=lambda uid: powers[uid], default="")
        unexplained = candidate.fold is None or sky.varies_alone(candidate)
        if powers.get(owner, 0.0) <= 0.0 or (unexplained and shares.stands(i)):
            return candidate
    words = (
        f"of its power of {group.excess:.1f} beyond noise {owner} leaves {detected[owner]:.1f}, all sources "
        f"{sum(detected.values()):.1f}; beyond their errors {shares.kept(i):.1f} is left"
    )
    source = next(model.source for model in models if model.uid == owner)
    relation = _relation(candidate.freq, source, sky.observed.window(candidate.part))
    if owner and owner == varying:
        relation, words = "modulation", f"{words}; {part:.0%} of it comes in its pulses"
    return replace(candidate, parent=owner, relation=relation, reasons=(*candidate.reasons, words))


def _alone(source: Candidate, sky: CandidateSky) -> Candidate:
    """A source of which it is told how well it repeats without what others leave in its fold."""
    steady = sky.left(source).steady
    return replace(source, features={**source.features, "repeats": steady}) if np.isfinite(steady) else source


def _with_alternative(source: Candidate, attached: Sequence[Candidate]) -> Candidate:
    """A source with the period, among those of its other folds, that the data do not exclude."""
    kin = [one for one in attached if one.parent == source.uid and one.relation.startswith("harmonic") and not one.part]
    folds = [steady(one.fold) for one in [source, *kin] if one.fold is not None]
    if source.part or len(folds) < 2:
        return source
    choice = choose_period(folds)
    index = choice.alternative if choice.index == 0 else choice.index
    return source if index is None else replace(source, alternative=1.0 / folds[index].after.freq)


def _relation(freq: float, owner: Source, window: tuple[float, float]) -> str:
    """The ratio of a frequency to that of a source in a part of the observation, in words."""
    at, near = owner.during(*window).freq, 1.0 / window[1] + owner.strays(*window)
    ratio = Fraction(freq / at).limit_denominator(MOST_RATIO)
    if ratio.numerator == 0 or abs(float(ratio) * at - freq) > near * max(float(ratio), 1.0):
        return "sidelobe"
    return "same" if ratio == 1 else f"harmonic {ratio}"
