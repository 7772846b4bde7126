"""Who explains whom: a group belongs to another candidate only if that one accounts for its power.

For every folded candidate the power that it leaves in the sums of all other groups is predicted
(:mod:`pulsar.rank.lines`). A group is explained when what is left of its power, beyond the predictions, is not above
the threshold of the search that found it. Candidates are taken from the most significant on, those without a flag
first: so what is junk explains junk only, and what nothing explains stands for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pulsar.data import flags as table
from pulsar.data.fold import Fold
from pulsar.folding.fundamental import DOUBT, choose_period, coherent_sigma
from pulsar.rank.blends import blends
from pulsar.rank.candidate import Candidate
from pulsar.rank.compare import (
    AGREE_SIGMA,
    DOUBT_SIGMA,
    SAME_BINS,
    UNEXPLAINED,
    Evidence,
    Sky,
    leaves,
    may_be_period,
    near,
    needs_all,
    nharm_of,
    one_dm,
    shows_many,
    shows_others,
    simple_ratio,
    too_strong,
    too_weak,
)
from pulsar.rank.features import box_amplitudes
from pulsar.rank.lines import NEAR_BINS, NSIGMA, Comb, Searched, comb_of, expected, expected_harmonics, ratio_of
from pulsar.rank.steady import steady
from pulsar.searches.sift import Group

#: A candidate with flags of this weight or less explains nothing that has none.
JUNK = 0.3
#: Part of the power of a group that a candidate accounts for, below which, and with DOUBT_SIGMA of power beyond, it is
#: folded to see whether it has harmonics of its own.
DOUBT_PART = 0.7
#: Power that others leave in a harmonic, in units of its noise, from which on what is there tells nothing of a pulse:
#: by chance noise has as much in one of 55.
LEFT = 4.0
#: Flags of what is periodic and at DM 0.
UNDISPERSED = frozenset({"dm0", "mains", "noise diode", "comb"})
#: Significances of two detections of one signal differ by the noise of both [sigma].
ALIKE = 1.5
#: Significance of its own harmonics from which on a longer period is taken if S/N and detection speak for it [sigma]:
#: noise has as much in one of six. Three weak pulsars of benchmarks/population.py (impulses 10157-3, all 10089-0 and
#: 10085-1) had 1.7, 1.9 and 3.0 at their period.
HINT = 1.0
#: Sums of so many powers of noise scatter by the root of their number: what is surely more [sigma].
SURELY = 5.0
#: Frequencies of a family are at simple ratios: the nearest whole multiple is no farther than this.
RATIO_ERROR = 0.1
#: Power beyond the comb of a candidate from which a longer period is tried [its standard deviations].
BEYOND_SIGMA = 2.0


@dataclass(frozen=True)
class Explained:
    """A verdict on all groups.

    Attributes
    ----------
    folded : list of Candidate
        In the order given, with parent and relation.
    rest : list of Candidate
        Of the groups that were not folded, in their order, with parent and relation; those that nothing explains
        have no parent.
    """

    folded: list[Candidate]
    rest: list[Candidate]


@dataclass(frozen=True, eq=False)
class _Verdict:
    """Candidates that stand for themselves, and of each group the number of the candidate that it is of (-1: none)."""

    accepted: list[int]
    parent: NDArray[np.int64]

    def give(self, i: int, owner: int) -> None:
        """Candidate `i`, which stood for itself, is of another."""
        self.parent[i] = owner
        self.accepted.remove(i)


def explain(folded: Sequence[Candidate], rest: Sequence[Group], sky: Sky) -> Explained:
    """Find what explains each candidate and each group that was not folded.

    Parameters
    ----------
    folded : sequence of Candidate
        With folds and flags.
    rest : sequence of Group
        Not folded.
    sky : Sky

    Returns
    -------
    Explained
    """
    groups = [c.group for c in folded] + list(rest)
    searched = Searched.of(groups, sky.tobs)
    combs = [comb_of_candidate(c, sky) for c in folded]
    # Row: what it is by; column: what is left there.
    given = np.array([expected(comb, searched) for comb in combs]).reshape(len(combs), len(groups))
    junk = np.array([table.weight(c.flags) <= JUNK for c in folded] + [False] * len(rest), dtype=np.bool_)
    order = sorted(range(len(folded)), key=lambda i: (junk[i], -folded[i].group.sigma))
    known = Evidence(folded, groups, combs, given, junk, sky)
    told = _accept(order, known)
    blended = blends(told.accepted, known)
    if blended:
        order.sort(key=lambda i: i in blended)
        told = _accept(order, known)
    _fundamentals(told, known, blended)
    _rivals(told, known)
    _converged(told, known)
    _orphans(told, known)
    _where_it_is(told, known)
    _undispersed(told, known)
    doubts = _own_periods(told, known, blended)
    for g in range(len(folded), len(groups)):
        able = [a for a in told.accepted if may_explain(groups[g], bool(junk[a]), sky)]
        told.parent[g] = known.owner(able, g)
    top = _roots(told.parent)
    out = []
    for g, group in enumerate(groups):
        one = folded[g] if g < len(folded) else Candidate(group, found_by=group.found_by)
        if g in doubts and top[g] < 0:
            one = replace(one, alternative=doubts[g])
        if top[g] >= 0:
            one = attached(one, folded[top[g]], combs[top[g]], float(given[top[g], g]), sky)
        out.append(one)
    return Explained(out[: len(folded)], out[len(folded) :])


def _accept(order: Sequence[int], known: Evidence) -> _Verdict:
    """Folded candidates that those taken before them do not account for, and of the others the parents."""
    folded, junk = known.folded, known.junk
    told = _Verdict([], np.full(len(known.groups), -1))
    for i in order:
        able = [a for a in told.accepted if not junk[a] or junk[i] or known.sky.freqs.size < 2]
        owner = known.owner(able, i)
        stands = owner < 0 or _is_fundamental(i, owner, known)
        if not stands and not junk[i]:
            # Its own fold is more of a pulse than there can be at a period whose fold shows that little.
            stands = too_weak(folded[owner], folded[i]) or too_strong(folded[i], folded[owner])
            # The sum may be accounted for, and harmonics be there all the same that nobody else has.
            stands |= known.unexplained(i, able) > known.enough(i, owner)
        if stands:
            told.accepted.append(i)
        else:
            told.parent[i] = owner
    return told


def comb_of_candidate(candidate: Candidate, sky: Sky) -> Comb:
    if candidate.fold is None:
        raise ValueError(f"candidate {candidate.uid} has no fold")
    return comb_of(candidate.fold, sky.freqs, sky.tsamp, dispersed="narrow-band" not in candidate.flags)


def may_explain(group: Group, junk: bool, sky: Sky) -> bool:
    """Interference, red noise and what is at DM 0 explain only what is at DM 0 as well, or cannot be told from it."""
    return not junk or group.undispersed or sky.freqs.size < 2


def _is_fundamental(low: int, high: int, known: Evidence) -> bool:
    """Whether one candidate accounts for another, which does not by itself account for it: its harmonic.

    One whose fold is where that of the other is has no harmonic in it. It was detected at a multiple of its period,
    with noise.
    """
    below, above = known.folded[low], known.folded[high]
    if _one_place(below, above, known.sky) or too_weak(below, above) or too_strong(above, below):
        return False
    return known.owner([low], high) >= 0 and known.owner([high], low) < 0


def _one_place(one: Candidate, other: Candidate, sky: Sky) -> bool:
    """Whether the folds of two have come to one frequency and DM."""
    return abs(one.freq - other.freq) <= SAME_BINS / sky.tobs and one_dm(one, other, sky)


def _heads(one: Candidate, other: Candidate, sky: Sky) -> bool:
    """Whether one of two comes before the other: the stronger fold; of like folds at one place the surer detection.

    The squared S/N falls by one where a parameter is one error away: so do those of refined folds that agree.
    """
    alike = abs(one.snr**2 - other.snr**2) <= AGREE_SIGMA**2
    if alike and one.group.sigma != other.group.sigma and _one_place(one, other, sky):
        return one.group.sigma > other.group.sigma
    return one.snr > other.snr


def _fundamentals(told: _Verdict, known: Evidence, blended: set[int]) -> None:
    """Hand over what is explained by one that was taken later, and that it does not explain: its fundamental.

    A sum that two signals share may be explained by either, and its fold be of the other: what has harmonics that the
    new owner does not leave stays.
    """
    junk = known.junk
    for i in list(told.accepted):
        for owner in told.accepted:
            if owner == i or owner in blended or (junk[owner] and not junk[i]):
                continue
            if not junk[i] and known.unexplained(i, [owner]) > known.enough(i, owner):
                continue
            if _is_fundamental(owner, i, known):
                told.give(i, owner)
                break


def _undispersed(told: _Verdict, known: Evidence) -> None:
    """Attach to periodic interference a harmonic of it whose DM noise has moved off 0.

    Only what it accounts for at that frequency and DM, with a DM that agrees with 0 and with its own, and nothing
    beyond; and no surer detection than it, or what is of it, has itself: noise moves what is weak.
    """
    folded, ours = known.folded, [i for i in told.accepted if not known.junk[i]]
    sources = [a for a in told.accepted if known.junk[a] and UNDISPERSED & set(folded[a].flags)]
    sources = [a for a in sources if "red noise" not in folded[a].flags]
    for i in [i for i in ours if folded[i].dm <= AGREE_SIGMA * np.nan_to_num(folded[i].dm_err)]:
        stronger = [
            a
            for a in sources
            if folded[a].snr > folded[i].snr and _surest(a, told, known) >= folded[i].group.sigma
            if one_dm(folded[i], folded[a], known.sky)
        ]
        owner = known.owner(stronger, i)
        if owner >= 0 and known.unexplained(i, stronger) <= UNEXPLAINED:
            told.give(i, owner)


def _surest(head: int, told: _Verdict, known: Evidence) -> float:
    """Significance of the surest detection of a candidate and of what is of it."""
    of_it = np.flatnonzero(told.parent[: len(known.folded)] == head).tolist()
    return max(known.folded[i].group.sigma for i in (head, *of_it))


def _rivals(told: _Verdict, known: Evidence) -> None:
    """Of two at a simple ratio and one DM, of which one has nothing that the other lacks, the folds choose one."""
    folded, junk = known.folded, known.junk
    for i in sorted(told.accepted, key=lambda i: folded[i].snr):
        for other in [a for a in told.accepted if a != i and junk[a] == junk[i]]:
            if not may_be_period(folded[other], folded[i], known.sky, NEAR_BINS):
                continue
            if _period([folded[i], folded[other]])[0] == 1 and known.unexplained(i, [other]) <= UNEXPLAINED:
                told.give(i, other)
                break


def _converged(told: _Verdict, known: Evidence) -> None:
    """Hand over what the refinement has brought onto a stronger candidate, a multiple of it, or what it leaves there.

    Of two at one place with like folds the surer detection stays: one at a multiple of the period, whose fold has found
    the period, would else stand for the source with what it is sure of itself.

    A pulsar may happen to turn at a multiple of another's frequency, as near as the errors tell: that one has harmonics
    which the other does not leave.
    """
    folded, junk = known.folded, known.junk
    for i in sorted(told.accepted, key=lambda i: folded[i].snr):
        for owner in sorted(told.accepted, key=lambda i: -folded[i].snr):
            if not _heads(folded[owner], folded[i], known.sky) or (junk[owner] and not junk[i]):
                continue
            if _shows(i, owner, known):
                told.give(i, owner)
                break


def _shows(i: int, owner: int, known: Evidence) -> bool:
    """Whether the fold of candidate `i` has come to another one, a multiple of it, or what it leaves there."""
    one, other = known.folded[i], known.folded[owner]
    close = near(one, other, known.sky)
    if not (close or leaves(other, known.combs[owner], one, known.sky)):
        return False
    doubtful = not known.junk[i] and (not close or too_strong(one, other))
    return not (doubtful and known.unexplained(i, [owner]) > known.enough(i, owner))


def _orphans(told: _Verdict, known: Evidence) -> None:
    """Let stand what belonged to a candidate that has been given to another, if all that stand leave less than it has.

    With it goes what it accounts for of that family: at three times a period the search may be the surer, and the fold
    have less that no other source leaves.
    """
    folded, junk, parent = known.folded, known.junk, told.parent
    top = _roots(parent)
    far = [i for i in range(len(folded)) if not junk[i] and parent[i] >= 0 and parent[i] != top[i]]
    for i in sorted(far, key=lambda i: -folded[i].snr):
        head, between = int(top[i]), int(parent[i])
        able = [a for a in told.accepted if not junk[a]]
        if _roots(parent)[i] != head or known.unexplained(i, able) <= known.enough(i, head):
            continue
        if any(_shows(i, a, known) for a in able if folded[a].snr >= folded[i].snr):
            continue
        parent[i] = -1
        told.accepted.append(i)
        for k in [between, *np.flatnonzero(parent[: len(folded)] == between).tolist()]:
            if known.owner([i], k) >= 0 and known.unexplained(k, [i]) <= known.enough(k, i):
                parent[k] = i


def _where_it_is(told: _Verdict, known: Evidence) -> None:
    """Attach interference to the strongest at its frequency or a part of it, if its fold has come to one.

    A wave that was detected at a multiple of its period may have been explained there by anything else.
    """
    folded, junk = known.folded, known.junk
    sources = [a for a in told.accepted if junk[a]]
    for i in np.flatnonzero((told.parent[: len(folded)] >= 0) & junk[: len(folded)]).tolist():
        same = [a for a in sources if folded[a].snr >= folded[i].snr and near(folded[i], folded[a], known.sky)]
        if same:
            told.parent[i] = max(same, key=lambda a: folded[a].snr)


def _own_periods(told: _Verdict, known: Evidence, blended: set[int]) -> dict[int, float]:
    """Let the folds of a family choose its period: the one among them of which all harmonics are needed.

    A blend of two needs the harmonics of both, and has no say; nor has a multiple of the period of one of them whose
    fold has from others what a pulse would have beyond the harmonics of that, be it the head. What has been given to
    another candidate may be the period of this one for all that; unless it is the other one of which this fold shows
    many pulses.

    Returns
    -------
    dict of int to float
        Periods that the data do not exclude either, by the candidate that has the better one.
    """
    doubts = {}
    accepted, parent = told.accepted, told.parent
    folded, combs, junk, sky = known.folded, known.combs, known.junk, known.sky
    sources = [a for a in accepted if not junk[a]]

    def others_of(i: int) -> list[int]:
        """What stands at the frequency of a fold is no other source that leaves power in some of its harmonics."""
        return [a for a in sources if abs(folded[a].freq - folded[i].freq) > SAME_BINS / sky.tobs]

    for head in list(accepted):
        family = [head] + [
            i
            for i in np.flatnonzero(parent[: len(folded)] >= 0).tolist()
            if i not in blended and junk[i] == junk[head] and may_be_period(folded[i], folded[head], sky, SAME_BINS)
        ]
        multiples = {
            i
            for i, part in product(family, family)
            if _by_others(folded[i], folded[part], [combs[a] for a in others_of(i) if a != part])
        }
        family = [i for i in family if i not in multiples]
        index, alternative = _period([folded[i] for i in family])
        if alternative is not None:
            doubts[family[index]] = 1.0 / folded[family[alternative]].freq
        chosen = family[index]
        whose = int(parent[chosen])
        if whose in accepted and whose != head and _many_of(folded[head], folded[whose], sky):
            told.give(head, whose)
        elif chosen != head:
            mine = parent == head
            mine[chosen] = False
            parent[mine] = chosen
            parent[head], parent[chosen] = chosen, -1
            accepted[accepted.index(head)] = chosen
    return doubts


def _many_of(one: Candidate, of: Candidate, sky: Sky) -> bool:
    """Whether a fold shows many pulses of another candidate."""
    return shows_many(one, of) and may_be_period(of, one, sky, SAME_BINS)


def _by_others(one: Candidate, head: Candidate, others: Sequence[Comb]) -> bool:
    """Whether a fold at a multiple of a period shows more than that period only where others leave power.

    A pulse that stays a single one without these harmonics is not made by them.
    """
    k = round(head.freq / one.freq)
    if one.fold is None or k < 2 or not others:
        return False
    nharm = nharm_of(one.fold)
    number = np.arange(1, nharm + 1)
    left = np.sum([expected_harmonics(comb, one.fold, nharm) for comb in others], axis=0)
    own, taken = number % k != 0, left > LEFT
    if not (own & taken).any() or coherent_sigma(steady(one.fold), number[own & ~taken]) >= DOUBT_SIGMA:
        return False
    single = one.snr * _part_without(one.fold, number[taken]) > _halfway(k) * head.snr
    return not (single and one.group.sigma > head.group.sigma)


def _part_without(fold: Fold, numbers: NDArray[np.int64]) -> float:
    """Part of a fold's pulse, in its box, that is left without some harmonics."""
    spectrum = np.fft.rfft(fold.profile)
    # A pulse as narrow as a bin has harmonics beyond those of the bins.
    spectrum[numbers[numbers < spectrum.size]] = 0.0
    profiles = np.stack([fold.profile, np.fft.irfft(spectrum, fold.profile.size)])
    whole, rest = box_amplitudes(profiles, fold.width, fold.phase)
    return float(rest / whole) if whole > 0.0 else 0.0


def _halfway(k: float) -> float:
    """S/N at k times a period, over that at the period, halfway between k equal pulses and a single one.

    One of k equal pulses has 1/sqrt(k) of the S/N, and a single pulse sqrt(k) times that of its k-th part.
    """
    return float(2.0 * np.sqrt(k) / (k + 1.0))


def _period(family: Sequence[Candidate]) -> tuple[int, int | None]:
    """Which of the folds of a source shows its period, and which one cannot be excluded.

    One at three times the period of another or more, of a lower S/N, shows many pulses and has no say.
    Where none is known to need its harmonics it is the one with the highest S/N: at a multiple of the period there is
    one of several pulses in a box, at a part of it all but noise is spread. A multiple of which the folds are not sure
    is it all the same where fold and search agree: one of k equal pulses has 1/sqrt(k) of the S/N, and a single pulse
    sqrt(k) times that of its k-th part; it is nearer to the second (halfway is 2 sqrt(k) / (k + 1)). And its detection
    is the surer, while a search of k times the period sums k times the noise. Half as near will do where its spectrum
    has more power beyond noise, surely: that is in harmonics which the part does not have (lines beside these that are
    left out of the fold take from its S/N). One whose fold has pulses at all places of a part of it, too, must be as
    sure as a source of its own: with less, the pulses differ by chance.
    """
    say = [i for i, one in enumerate(family) if not any(shows_many(one, other) for other in family)]
    if len(say) < len(family):
        index, other = _period([family[i] for i in say])
        return say[index], None if other is None else say[other]
    folds = [one.fold for one in family if one.fold is not None]
    choice = choose_period([steady(fold) for fold in folds])
    if float(choice.evidence.max()) < DOUBT:
        return int(np.argmax([fold.snr for fold in folds])), None
    chosen, other = choice.index, choice.alternative
    parts = [i for i, one in enumerate(family) if choice.evidence[i] > DOUBT and shows_others(family[chosen], one)]
    if parts and choice.evidence[chosen] < UNEXPLAINED:
        chosen, other = max(parts, key=lambda i: family[i].snr), chosen
    longer = []
    for i, one in enumerate(family):
        k = family[chosen].freq / one.freq
        near = abs(k - round(k)) < RATIO_ERROR and round(k) >= 2 and choice.evidence[i] > HINT
        wanted = _halfway(k)
        if _more_power(one, family[chosen]):
            wanted = 0.5 * (wanted + 1.0 / np.sqrt(k))
        single = one.snr > wanted * family[chosen].snr and not shows_others(one, family[chosen])
        if near and single and one.group.sigma > family[chosen].group.sigma:
            longer.append(i)
    if longer:
        return max(longer, key=lambda i: family[i].snr), chosen
    return chosen, other


def _more_power(one: Candidate, part: Candidate) -> bool:
    """Whether the spectrum has surely more power beyond noise at a multiple of a period than at that period."""
    kind = str(one.group.best["kind"])
    same = kind == str(part.group.best["kind"]) and kind not in ("ffa", "coherent")
    return same and one.group.excess - part.group.excess > SURELY * np.sqrt(one.group.nharm)


def alternatives(verdict: Explained, sky: Sky) -> list[Group]:
    """Groups that may be more than what explains them, and are worth a fold: only that tells.

    Those at longer periods of a candidate that may be its own, for their power or as they are the more significant,
    those at a part of its period that are as significant as it is, or beside whose harmonics its fold has none that
    others do not leave, and those of which a good part is accounted for by chance at most.

    Parameters
    ----------
    verdict : Explained
    sky : Sky
    """
    owners = {c.uid: c for c in verdict.folded if not c.parent and table.weight(c.flags) > JUNK}
    rest = [c for c in verdict.rest if c.parent in owners]
    if not rest:
        return []
    searched = Searched.of([c.group for c in rest], sky.tobs)
    combs = {uid: comb_of_candidate(owner, sky) for uid, owner in owners.items()}
    out = []
    for owner in owners.values():
        mine = [i for i, c in enumerate(rest) if c.parent == owner.uid]
        if not mine:
            continue
        given = expected(combs[owner.uid], searched)
        for i in mine:
            ratio = simple_ratio(rest[i], owner, sky)
            power = rest[i].group.excess
            beyond = (power - given[i]) / float(np.sqrt(rest[i].group.nharm + 2.0 * given[i]))
            surer = rest[i].group.sigma > owner.group.sigma + ALIKE
            longer = ratio is not None and ratio < 2 and (beyond > BEYOND_SIGMA or surer)
            # At a part of the true period a sum misses harmonics; at a multiple of it there is nothing more to find.
            shorter = ratio is not None and ratio >= 2 and ratio.denominator == 1
            alike = shorter and rest[i].group.sigma > owner.group.sigma - ALIKE
            # Nor does the fold show others than every second, third ... of its harmonics.
            if shorter and ratio is not None and not alike:
                alike = not needs_all(owner, ratio.numerator, [combs[uid] for uid in owners if uid != owner.uid])
            if longer or alike or (beyond > DOUBT_SIGMA and given[i] < DOUBT_PART * power):
                out.append(rest[i].group)
    return out


def _roots(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    """The last of the chain of parents of each, -1 for those that have none."""
    top = parent.copy()
    for _ in range(parent.size):
        more = np.where(top >= 0, parent[np.maximum(top, 0)], -1)
        if not np.any(more >= 0):
            break
        top = np.where(more >= 0, more, top)
    return top


def attached(one: Candidate, owner: Candidate, comb: Comb, power: float, sky: Sky) -> Candidate:
    """A candidate with its parent, what it is of that, and the numbers."""
    group = one.group
    tolerance = NSIGMA * group.freq_err + 0.5 / sky.tobs
    kind, m, d = ratio_of(group.freq, comb, tolerance, group.nharm)
    ratio = f"{m}" if d == 1 else f"{m}/{d}"
    text = (
        f"of its power of {group.excess:.1f} beyond noise {owner.uid} leaves {power:.1f} there, at {ratio} of its "
        f"{owner.freq:.9g} Hz"
    )
    relation = kind if kind == "same" else f"{kind} {ratio}"
    return replace(one, parent=owner.uid, relation=relation, reasons=(*one.reasons, text))
