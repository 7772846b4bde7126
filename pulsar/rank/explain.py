"""Who explains whom: a group belongs to another candidate only if that one accounts for its power.

For every folded candidate the power that it leaves in the sums of all other groups is predicted
(:mod:`pulsar.rank.lines`). A group is explained when what is left of its power, beyond the predictions, is not above
the threshold of the search that found it. Candidates are taken from the most significant on, those without a flag
first: so what is junk explains junk only, and what nothing explains stands for itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pulsar.data import flags as table
from pulsar.data.fold import Fold
from pulsar.folding.fundamental import DOUBT, choose_period, coherent_sigma
from pulsar.rank.candidate import Candidate
from pulsar.rank.lines import NSIGMA, Comb, Searched, comb_of, expected, expected_harmonics, ratio_of
from pulsar.rank.steady import steady
from pulsar.searches import stats
from pulsar.searches.sift import Group

#: A prediction is taken times this before the rest is judged: powers on lines exceed predictions by no more (whitening
#: and scalloping only take away; tests/rank/test_lines.py). Of a narrow pulse f has twice the power that 2 f leaves.
FACTOR = 1.35
#: What is predicted, taken so, is this part of the power at least: a group near the threshold would else be explained
#: by next to nothing.
ACCOUNTS = 0.5
#: A candidate with flags of this weight or less explains nothing that has none.
JUNK = 0.3
#: A fold that has been refined so near [bins of 1/T] to a simple multiple of a stronger one, at its DM, shows that one:
#: by chance a pulsar comes so near to a harmonic of another one in 2 x 0.05 / (f T) of the cases.
NEAR_BINS = 0.05
#: The same frequency is the same within more of a bin: the refinement of a weak one in the lobes of a strong one.
SAME_BINS = 0.3
#: Chance of another pulsar to come so near to a multiple, below which errors are allowed for.
CHANCE = 0.01
#: S/N that the refinement finds in noise (4 to 6, docs/folding.md).
CHANCE_SNR = 5.0
#: Largest multiple and divisor.
NEAR_MULTIPLE = 64
NEAR_DIVISOR = 2
#: Errors within which DMs, and frequencies, agree.
AGREE_SIGMA = 4.0
#: Integers of the ratios among which the period is chosen by folding.
SIMPLE = 4
#: Least S/N of a fold at the true period, of that at another one.
HALF = 0.7
#: Largest number of equal pulses a turn that is looked for.
MOST = 16
#: Power beyond the comb of a candidate, and part of the power that it explains, from which and below which a group is
#: folded to see whether it has harmonics of its own; and significance of such harmonics [sigma].
DOUBT_SIGMA = 3.0
DOUBT_PART = 0.7
UNEXPLAINED = 4.0
#: Flags of what is periodic and at DM 0.
UNDISPERSED = frozenset({"dm0", "mains", "noise diode", "comb"})
#: Significances of two detections of one signal differ by the noise of both [sigma].
ALIKE = 1.5
#: Power beyond the comb of a candidate from which a longer period is tried [its standard deviations].
BEYOND_SIGMA = 2.0


@dataclass(frozen=True)
class Sky:
    """What of the observation a prediction needs.

    Attributes
    ----------
    tobs, tsamp : float
        [s]
    freqs : ndarray
        Channel frequencies [MHz]; fewer than two for a dedispersed series.
    thresholds : mapping of str to float
        Trial-corrected significance from which each search keeps a detection, by its kind.
    """

    tobs: float
    tsamp: float
    freqs: NDArray[np.float64]
    thresholds: Mapping[str, float]


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
    combs = [_comb(c, sky) for c in folded]
    # Row: what it is by; column: what is left there.
    given = np.array([expected(comb, searched) for comb in combs]).reshape(len(combs), len(groups))
    junk = np.array([table.weight(c.flags) <= JUNK for c in folded] + [False] * len(rest), dtype=np.bool_)
    order = sorted(range(len(folded)), key=lambda i: (junk[i], -folded[i].group.sigma))
    accepted, parent = _accept(order, given, groups, folded, combs, junk, sky)
    blends = _blends(accepted, given, groups, folded, combs, junk, sky)
    if blends:
        order.sort(key=lambda i: i in blends)
        accepted, parent = _accept(order, given, groups, folded, combs, junk, sky)
    _fundamentals(accepted, parent, given, groups, folded, combs, junk, sky)
    _rivals(accepted, parent, folded, combs, junk, sky)
    _converged(accepted, parent, folded, combs, junk, sky)
    _undispersed(accepted, parent, given, groups, folded, combs, junk, sky)
    doubts = _own_periods(accepted, parent, folded, junk, blends, sky)
    for g in range(len(folded), len(groups)):
        able = [a for a in accepted if _may(groups[g], bool(junk[a]), sky)]
        parent[g] = _owner(able, g, given, groups[g], sky)
    top = _roots(parent)
    out = []
    for g, group in enumerate(groups):
        one = folded[g] if g < len(folded) else Candidate(group, found_by=group.found_by)
        if g in doubts and top[g] < 0:
            one = replace(one, alternative=doubts[g])
        if top[g] >= 0:
            one = _attached(one, folded[top[g]], combs[top[g]], float(given[top[g], g]), sky)
        out.append(one)
    return Explained(out[: len(folded)], out[len(folded) :])


def _accept(
    order: Sequence[int],
    given: NDArray[np.float64],
    groups: Sequence[Group],
    folded: Sequence[Candidate],
    combs: Sequence[Comb],
    junk: NDArray[np.bool_],
    sky: Sky,
) -> tuple[list[int], NDArray[np.int64]]:
    """Folded candidates that those taken before them do not account for, and of the others the parents (-1: none)."""
    parent = np.full(len(groups), -1)
    accepted: list[int] = []
    for i in order:
        able = [a for a in accepted if not junk[a] or junk[i] or sky.freqs.size < 2]
        owner = _owner(able, i, given, groups[i], sky)
        stands = owner < 0 or _is_fundamental(i, owner, given, groups, folded, sky)
        if not stands and not junk[i]:
            # Its own fold is more of a pulse than there can be at a period whose fold shows that little.
            stands = folded[owner].snr < HALF * folded[i].snr or _too_strong(folded[i], folded[owner])
            # The sum may be accounted for, and harmonics be there all the same that nobody else has.
            stands |= unexplained(folded[i], [combs[a] for a in able]) > _enough(folded[i], folded[owner], sky)
        if stands:
            accepted.append(i)
        else:
            parent[i] = owner
    return accepted, parent


def _blends(
    accepted: Sequence[int],
    given: NDArray[np.float64],
    groups: Sequence[Group],
    folded: Sequence[Candidate],
    combs: Sequence[Comb],
    junk: NDArray[np.bool_],
    sky: Sky,
) -> set[int]:
    """Those that others, which their own folds show better than its pulses could be, account for together.

    At a common submultiple of two pulsars a sum holds harmonics of both, and may be more significant than either.
    """
    out: set[int] = set()
    for i in sorted((i for i in accepted if not junk[i]), key=lambda i: folded[i].snr):
        others = [a for a in accepted if a not in out and not junk[a] and _shows_better(folded[a], folded[i])]
        if _owner(others, i, given, groups[i], sky) < 0:
            continue
        if unexplained(folded[i], [combs[a] for a in others]) <= UNEXPLAINED:
            out.add(i)
    return out


def _comb(candidate: Candidate, sky: Sky) -> Comb:
    if candidate.fold is None:
        raise ValueError(f"candidate {candidate.uid} has no fold")
    return comb_of(candidate.fold, sky.freqs, sky.tsamp, dispersed="narrow-band" not in candidate.flags)


def _may(group: Group, junk: bool, sky: Sky) -> bool:
    """Interference, red noise and what is at DM 0 explain only what is at DM 0 as well, or cannot be told from it."""
    return not junk or group.undispersed or sky.freqs.size < 2


def _owner(able: Sequence[int], g: int, given: NDArray[np.float64], group: Group, sky: Sky) -> int:
    """The candidate that leaves most in a group, if all together account for it; else -1."""
    if not able:
        return -1
    share = given[list(able), g]
    if FACTOR * float(share.sum()) < ACCOUNTS * group.excess:
        return -1
    if left_sigma(group, FACTOR * float(share.sum())) > sky.thresholds.get(str(group.best["kind"]), 0.0):
        return -1
    return int(able[int(np.argmax(share))])


def left_sigma(group: Group, power: float) -> float:
    """Trial-corrected significance of what a group has beyond an expected power.

    The power of a sum of H harmonics that hold `power` beyond noise is, times two, noncentral chi-square of 2 H degrees
    of freedom; its tail is that of a scaled central one with the same first two moments (Patnaik 1949). Of a
    folding search the amplitudes are subtracted.

    Parameters
    ----------
    group : Group
    power : float
        Beyond noise.
    """
    best = group.best
    logp, sigma = float(best["logp"]), float(best["sigma"])
    if power <= 0.0:
        return sigma
    if str(best["kind"]) in ("ffa", "pulses"):
        left = float(stats.logp_from_sigma(float(best["snr"]) - np.sqrt(2.0 * power)))
        # The search's own conversion from S/N to probability, as far as it differs from a Gaussian.
        left += logp - float(stats.logp_from_sigma(float(best["snr"])))
    else:
        dof, centre = 2.0 * group.nharm, 2.0 * power
        scale = (dof + 2.0 * centre) / (dof + centre)
        left = float(stats.chi2_logsf(2.0 * float(best["power"]) / scale, (dof + centre) ** 2 / (dof + 2.0 * centre)))
    left = min(max(left, logp), -1e-12)
    chance = float(stats.logp_from_sigma(sigma))
    events = -np.log1p(-np.exp(chance)) if chance > -20.0 else np.exp(max(chance, -700.0))
    trials = np.log(events) - logp if chance > -700.0 else chance - logp
    return float(stats.trial_sigma(left, float(np.exp(np.clip(trials, 0.0, 600.0)))))


def _is_fundamental(
    low: int,
    high: int,
    given: NDArray[np.float64],
    groups: Sequence[Group],
    folded: Sequence[Candidate],
    sky: Sky,
) -> bool:
    """Whether one candidate accounts for another, which does not by itself account for it: its harmonic."""
    if folded[low].snr < HALF * folded[high].snr or _too_strong(folded[high], folded[low]):
        return False
    if _owner([low], high, given, groups[high], sky) < 0:
        return False
    return _owner([high], low, given, groups[low], sky) < 0


def _fundamentals(
    accepted: list[int],
    parent: NDArray[np.int64],
    given: NDArray[np.float64],
    groups: Sequence[Group],
    folded: Sequence[Candidate],
    combs: Sequence[Comb],
    junk: NDArray[np.bool_],
    sky: Sky,
) -> None:
    """Hand over what is explained by one that was taken later, and that it does not explain: its fundamental.

    A sum that two signals share may be explained by either, and its fold be of the other: what has harmonics that the
    new owner does not leave stays.
    """
    for i in list(accepted):
        for owner in accepted:
            if owner == i or (junk[owner] and not junk[i]):
                continue
            if not junk[i] and unexplained(folded[i], [combs[owner]]) > _enough(folded[i], folded[owner], sky):
                continue
            if _is_fundamental(owner, i, given, groups, folded, sky):
                parent[i] = owner
                accepted.remove(i)
                break


def _undispersed(
    accepted: list[int],
    parent: NDArray[np.int64],
    given: NDArray[np.float64],
    groups: Sequence[Group],
    folded: Sequence[Candidate],
    combs: Sequence[Comb],
    junk: NDArray[np.bool_],
    sky: Sky,
) -> None:
    """Attach to periodic interference a harmonic of it whose DM noise has moved off 0.

    Only what it accounts for at that frequency and DM, with a DM that agrees with 0 and with its own, and nothing
    beyond.
    """
    sources = [a for a in accepted if junk[a] and UNDISPERSED & set(folded[a].flags)]
    sources = [a for a in sources if "red noise" not in folded[a].flags]
    for i in [i for i in accepted if not junk[i] and folded[i].dm <= AGREE_SIGMA * np.nan_to_num(folded[i].dm_err)]:
        stronger = [a for a in sources if folded[a].snr > folded[i].snr and _one_dm(folded[i], folded[a], sky)]
        owner = _owner(stronger, i, given, groups[i], sky)
        if owner >= 0 and unexplained(folded[i], [combs[a] for a in stronger]) <= UNEXPLAINED:
            parent[i] = owner
            accepted.remove(i)


def _rivals(
    accepted: list[int],
    parent: NDArray[np.int64],
    folded: Sequence[Candidate],
    combs: Sequence[Comb],
    junk: NDArray[np.bool_],
    sky: Sky,
) -> None:
    """Of two at a simple ratio and one DM, of which one has nothing that the other lacks, the folds choose one."""
    for i in sorted(accepted, key=lambda i: folded[i].snr):
        for other in [a for a in accepted if a != i and junk[a] == junk[i]]:
            if not _may_be_period(folded[other], folded[i], sky, NEAR_BINS):
                continue
            folds = [fold for k in (i, other) if (fold := folded[k].fold) is not None]
            if _period(folds)[0] == 1 and unexplained(folded[i], [combs[other]]) <= UNEXPLAINED:
                parent[i] = other
                accepted.remove(i)
                break


def _may_be_period(one: Candidate, of: Candidate, sky: Sky, bins: float) -> bool:
    """Whether one fold may show the period of another: a simple ratio, one DM, and no less of a pulse.

    At the true period a fold has the S/N of all pulses; where two unequal ones were taken for one it has 1/sqrt(2) at
    least of what it had.
    """
    ratio = simple_ratio(one, of, sky, bins)
    if ratio is None or not _one_dm(one, of, sky):
        return False
    # The harmonics that both have must agree, not only the frequencies: 0.2 bins at 13 times the period are 2.6 there.
    m, d = ratio.numerator, ratio.denominator
    error = AGREE_SIGMA * float(np.hypot(d * one.freq_err, m * of.freq_err))
    if abs(d * one.freq - m * of.freq) > max(error, bins / sky.tobs):
        return False
    return one.snr >= HALF * of.snr


def _one_dm(one: Candidate, other: Candidate, sky: Sky) -> bool:
    """Whether the refined DMs agree within their errors, or nothing is known of them."""
    error = float(np.hypot(np.nan_to_num(one.dm_err), np.nan_to_num(other.dm_err)))
    return sky.freqs.size < 2 or abs(one.dm - other.dm) <= AGREE_SIGMA * error


def _converged(
    accepted: list[int],
    parent: NDArray[np.int64],
    folded: Sequence[Candidate],
    combs: Sequence[Comb],
    junk: NDArray[np.bool_],
    sky: Sky,
) -> None:
    """Hand over what the refinement has brought onto a stronger candidate, a multiple of it, or what it leaves there.

    A pulsar may happen to turn at a multiple of another's frequency, as near as the errors tell: that one has harmonics
    which the other does not leave.
    """
    for i in sorted(accepted, key=lambda i: folded[i].snr):
        for owner in sorted(accepted, key=lambda i: -folded[i].snr):
            if folded[owner].snr <= folded[i].snr:
                break
            one, stronger = folded[i], folded[owner]
            near = _near(one, stronger, sky)
            if (junk[owner] and not junk[i]) or not (near or _leaves(stronger, combs[owner], one, sky)):
                continue
            doubtful = not junk[i] and (not near or _too_strong(one, stronger))
            if doubtful and unexplained(one, [combs[owner]]) > _enough(one, stronger, sky):
                continue
            parent[i] = owner
            accepted.remove(i)
            break


def _too_strong(one: Candidate, owner: Candidate) -> bool:
    """Whether a fold at m times the frequency of another one shows more than that source leaves there.

    A pulse that comes once in m turns leaves S / sqrt(m) of its S/N S, two equal ones half a turn apart twice that at
    the most.
    """
    multiple = max(one.freq / owner.freq, 1.0)
    return bool(one.snr > np.hypot(2.0 * owner.snr / np.sqrt(multiple), CHANCE_SNR))


def _shows_better(one: Candidate, other: Candidate) -> bool:
    """Whether the fold of one is the surer, or more than a pulse of the other could be, and not the reverse."""
    if _too_strong(one, other):
        return True
    return one.snr > other.snr and not _too_strong(other, one)


def _leaves(owner: Candidate, comb: Comb, one: Candidate, sky: Sky) -> bool:
    """Whether a fold, refined onto any simple ratio to another, shows no more than what that one leaves there.

    What noise adds to it is what the refinement finds in noise.
    """
    close = [
        d
        for d in range(1, MOST + 1)
        if abs(one.freq - round(one.freq * d / owner.freq) * owner.freq / d) <= NEAR_BINS / sky.tobs
    ]
    if one.fold is None or not close or not _one_dm(one, owner, sky):
        return False
    power = FACTOR * float(expected_harmonics(comb, one.fold, _nharm(one.fold)).sum())
    return power >= ACCOUNTS * 0.5 * one.snr**2 and one.snr <= float(np.hypot(np.sqrt(2.0 * power), CHANCE_SNR))


def _enough(one: Candidate, owner: Candidate, sky: Sky) -> float:
    """Significance of harmonics that another one does not leave from which on there are two sources [sigma].

    Where their DMs part, too, it takes less.
    """
    return UNEXPLAINED if _one_dm(one, owner, sky) else DOUBT_SIGMA


def _near(weak: Candidate, strong: Candidate, sky: Sky) -> bool:
    """Whether refined frequency and DM of one candidate are a simple multiple and the DM of another."""
    if not _one_dm(weak, strong, sky):
        return False
    for d in range(1, NEAR_DIVISOR + 1):
        m = round(weak.freq * d / strong.freq)
        if 1 <= m <= NEAR_MULTIPLE:
            off = abs(weak.freq - m * strong.freq / d)
            common = AGREE_SIGMA * float(np.hypot(weak.freq_err, m * strong.freq_err / d))
            if m == d:
                close = max(common, SAME_BINS / sky.tobs)
            else:
                # Within the errors where next to no other pulsar would be so near to one of the multiples.
                chance = 2.0 * common / (strong.freq / d)
                close = max(NEAR_BINS / sky.tobs, min(common, SAME_BINS / sky.tobs) if chance < CHANCE else 0.0)
            if off <= close:
                return True
    return False


def _own_periods(
    accepted: list[int],
    parent: NDArray[np.int64],
    folded: Sequence[Candidate],
    junk: NDArray[np.bool_],
    blends: set[int],
    sky: Sky,
) -> dict[int, float]:
    """Let the folds of a family choose its period: the one among them of which all harmonics are needed.

    A blend of two needs the harmonics of both, and has no say.

    Returns
    -------
    dict of int to float
        Periods that the data do not exclude either, by the candidate that has the better one.
    """
    doubts = {}
    for head in list(accepted):
        family = [head] + [
            i
            for i in np.flatnonzero(parent[: len(folded)] == head).tolist()
            if i not in blends and junk[i] == junk[head] and _may_be_period(folded[i], folded[head], sky, SAME_BINS)
        ]
        folds = [fold for i in family if (fold := folded[i].fold) is not None]
        index, alternative = _period(folds)
        if alternative is not None:
            doubts[family[index]] = 1.0 / folds[alternative].after.freq
        chosen = family[index]
        if chosen != head:
            parent[parent == head] = chosen
            parent[head], parent[chosen] = chosen, -1
            accepted[accepted.index(head)] = chosen
    return doubts


def _period(folds: Sequence[Fold]) -> tuple[int, int | None]:
    """Which fold shows the period of a source, and which one cannot be excluded.

    Where none is known to need its harmonics it is the one with the highest S/N: at a multiple of the period there is
    one of several pulses in a box, at a part of it all but noise is spread.
    """
    choice = choose_period([steady(fold) for fold in folds])
    if float(choice.evidence.max()) < DOUBT:
        return int(np.argmax([fold.snr for fold in folds])), None
    return choice.index, choice.alternative


def unexplained(one: Candidate, combs: Sequence[Comb]) -> float:
    """Significance [sigma] of those harmonics of a fold in which other candidates leave next to nothing.

    Parameters
    ----------
    one : Candidate
        With a fold.
    combs : sequence of Comb
        Of the others.
    """
    fold = one.fold
    if fold is None:
        return 0.0
    power = np.sum([expected_harmonics(comb, fold, _nharm(fold)) for comb in combs], axis=0)
    return coherent_sigma(steady(fold), np.flatnonzero(FACTOR * power < 1.0) + 1)


def _nharm(fold: Fold) -> int:
    """Harmonics that a pulse of this width has."""
    return max(int(np.ceil(1.0 / max(fold.width, 1.0 / fold.profile.size))), 1)


def simple_ratio(one: Candidate, other: Candidate, sky: Sky, bins: float = SAME_BINS) -> Fraction | None:
    """Frequency of one candidate over that of another, if it is one of small integers within errors or so many bins."""
    for d in range(1, MOST + 1):
        m = round(one.freq * d / other.freq)
        small = 1 <= m <= SIMPLE and d <= SIMPLE
        if Fraction(m, d) != 1 and (small or (min(m, d) == 1 and m <= MOST)):
            off = abs(one.freq - m * other.freq / d)
            error = AGREE_SIGMA * float(np.hypot(one.freq_err, m * other.freq_err / d))
            if off <= max(error, bins / sky.tobs):
                return Fraction(m, d)
    return None


def alternatives(verdict: Explained, sky: Sky) -> list[Group]:
    """Groups that may be more than what explains them, and are worth a fold: only that tells.

    Those at longer periods of a candidate that may be its own, for their power or as they are the more significant,
    those at a part of its period that are as significant as it is, and those of which a good part is accounted for by
    chance at most.

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
    out = []
    for owner in owners.values():
        mine = [i for i, c in enumerate(rest) if c.parent == owner.uid]
        if not mine:
            continue
        given = expected(_comb(owner, sky), searched)
        for i in mine:
            ratio = simple_ratio(rest[i], owner, sky)
            power = rest[i].group.excess
            beyond = (power - given[i]) / float(np.sqrt(rest[i].group.nharm + 2.0 * given[i]))
            surer = rest[i].group.sigma > owner.group.sigma + ALIKE
            longer = ratio is not None and ratio < 2 and (beyond > BEYOND_SIGMA or surer)
            # At a part of the true period a sum misses harmonics; at a multiple of it there is nothing more to find.
            shorter = ratio is not None and ratio >= 2 and ratio.denominator == 1
            alike = shorter and rest[i].group.sigma > owner.group.sigma - ALIKE
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


def _attached(one: Candidate, owner: Candidate, comb: Comb, power: float, sky: Sky) -> Candidate:
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
