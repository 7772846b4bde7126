"""How two candidates compare: frequencies, DMs, strengths, and what one leaves in the fold of the other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pulsar.data.fold import Fold
from pulsar.folding.fundamental import coherent_sigma, shown
from pulsar.rank.banded import of_one_dm
from pulsar.rank.candidate import Candidate
from pulsar.rank.features import box_amplitudes
from pulsar.rank.lines import NEAR_BINS, Comb, expected_harmonics, noise_of
from pulsar.rank.one_pulse import CHANCE_SNR, clear_harmonics, pulse_sigma
from pulsar.rank.steady import steady
from pulsar.searches import stats
from pulsar.searches.sift import Group

#: A prediction is taken times this before the rest is judged: powers on lines exceed predictions by no more (whitening
#: and scalloping only take away; tests/rank/test_lines.py). Of a narrow pulse f has twice the power that 2 f leaves.
FACTOR = 1.35
#: What is predicted, taken so, is this part of the power at least: a group near the threshold would else be explained
#: by next to nothing.
ACCOUNTS = 0.5
#: The same frequency is the same within more of a bin: the refinement of a weak one in the lobes of a strong one.
SAME_BINS = 0.3
#: Chance of another pulsar to come so near to a multiple, below which errors are allowed for.
CHANCE = 0.01
#: Largest multiple and divisor.
NEAR_MULTIPLE = 64
NEAR_DIVISOR = 2
#: Errors within which DMs, and frequencies, agree.
AGREE_SIGMA = 4.0
#: ... and within which they do where they are of one source: one in 370 is farther off.
ALIKE_SIGMA = 3.0
#: Integers of the ratios among which the period is chosen by folding.
SIMPLE = 4
#: Least S/N of a fold at the true period, of that at another one; of that at half of it. Two equal pulses, which are
#: those of half the period, have 1/sqrt(2) of it; a second one of 0.8 of the first 0.79.
HALF = 0.7
HALF_AT_TWICE = 0.79
#: ... and of that at a third of it or less: a pulsar may have a second pulse half a turn on, no three in equal steps. A
#: single one in k parts has sqrt(k) times the S/N of the part in white noise, one of k equal ones 1/sqrt(k).
ONE_OF_MANY = 1.0
#: What stands at the other places of k pulses, over what is at the first, halfway between k equal pulses and one.
HALF_OF_ALL = 0.5
#: Ratio of frequencies from which on that is asked, between two and three.
MANY = 2.5
#: Largest number of equal pulses a turn that is looked for.
MOST = 16
#: Significance of harmonics that others do not leave, from which on a fold shows a source of its own [sigma]; and where
#: other evidence speaks for it, too.
UNEXPLAINED = 4.0
DOUBT_SIGMA = 3.0
#: ... of which one harmonic may give as many: the others must have the rest.
SPARE = 2.0
#: Power that others leave in a harmonic, in units of its noise, from which on it is passed over: it counts in units of
#: that, and a line of its own would have to be 17 times noise to count as much as noise does elsewhere.
LOUD = 16.0


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
    if str(best["kind"]) in ("ffa", "coherent", "pulses"):
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


def owner_of(able: Sequence[int], g: int, given: NDArray[np.float64], group: Group, sky: Sky) -> int:
    """The candidate that leaves most in a group, if all together account for it; else -1.

    Parameters
    ----------
    able : sequence of int
        Candidates that may.
    g : int
    given : ndarray, shape (ncandidates, ngroups)
        Power beyond noise that each candidate leaves in each group.
    group : Group
        Number `g`.
    sky : Sky
    """
    if not able:
        return -1
    share = given[list(able), g]
    if FACTOR * float(share.sum()) < ACCOUNTS * group.excess:
        return -1
    if left_sigma(group, FACTOR * float(share.sum())) > sky.thresholds.get(str(group.best["kind"]), 0.0):
        return -1
    return int(able[int(np.argmax(share))])


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of candidates and groups before it is told who explains whom.

    Attributes
    ----------
    folded : sequence of Candidate
        With folds and flags.
    groups : sequence of Group
        Theirs, in their order, then those that were not folded.
    combs : sequence of Comb
        Of the folds.
    given : ndarray, shape (ncandidates, ngroups)
        Power beyond noise that each candidate leaves in each group.
    junk : ndarray of bool, shape (ngroups,)
        Candidates that explain nothing but their like.
    sky : Sky
    """

    folded: Sequence[Candidate]
    groups: Sequence[Group]
    combs: Sequence[Comb]
    given: NDArray[np.float64]
    junk: NDArray[np.bool_]
    sky: Sky

    def owner(self, able: Sequence[int], g: int) -> int:
        """Of the candidates `able` the one that leaves most in group `g`, if all together account for it; else -1."""
        return owner_of(able, g, self.given, self.groups[g], self.sky)

    def unexplained(self, i: int, others: Iterable[int]) -> float:
        """Significance of the harmonics of candidate `i` that others do not leave."""
        return unexplained(self.folded[i], [self.combs[a] for a in others])

    def enough(self, i: int, owner: int) -> float:
        """Significance of such harmonics from which on it is a source of its own beside a candidate."""
        return enough(self.folded[i], self.folded[owner], self.sky)


def may_be_period(one: Candidate, of: Candidate, sky: Sky, bins: float) -> bool:
    """Whether one fold may show the period of another: a simple ratio, one DM, and no less of a pulse.

    At the true period a fold has the S/N of all pulses; where two unequal ones were taken for one it has 1/sqrt(2) at
    least of what it had. Where it surely has a single pulse it may have less, in more noise.
    """
    ratio = simple_ratio(one, of, sky, bins)
    if ratio is None or not one_dm(one, of, sky):
        return False
    # The harmonics that both have must agree, not only the frequencies: 0.2 bins at 13 times the period are 2.6 there.
    m, d = ratio.numerator, ratio.denominator
    error = AGREE_SIGMA * float(np.hypot(d * one.freq_err, m * of.freq_err))
    if abs(d * one.freq - m * of.freq) > max(error, bins / sky.tobs):
        return False
    if shows_many(one, of):
        return False
    return bool(one.snr >= HALF * of.snr) or single(one, of)


def shows_many(one: Candidate, of: Candidate) -> bool:
    """Whether a fold at three times the period of another one, or more, shows many of its pulses, not a single one.

    Two folds need not stand in the same noise: other pulsars that vary are more of it at the longer period. So what
    surely shows a single pulse by itself is one.
    """
    return of.freq / one.freq > MANY and one.snr < ONE_OF_MANY * of.snr and not single(one, of)


def single(one: Candidate, of: Candidate) -> bool:
    """Whether a fold surely has a single pulse where there are k of the period of another one in a turn.

    At the places of the other k - 1 a single pulse has nothing, and k equal ones as much as at the first: it is surely
    (UNEXPLAINED of its errors) less than half of that.
    """
    places = _at_places(one, of)
    if len(places) < 2:
        return False
    noise = float(np.hypot(HALF_OF_ALL, 1.0 / np.sqrt(len(places) - 1)))
    return _steady_sigma(HALF_OF_ALL * places[0] - np.mean(places[1:], axis=0), noise) > UNEXPLAINED


def shows_others(one: Candidate, of: Candidate) -> bool:
    """Whether a fold surely has pulses at the other places of the period of another one (DOUBT_SIGMA), too."""
    places = _at_places(one, of)
    return len(places) > 1 and _steady_sigma(np.mean(places[1:], axis=0), (len(places) - 1) ** -0.5) > DOUBT_SIGMA


def _at_places(one: Candidate, of: Candidate) -> NDArray[np.float64]:
    """S/N of the sub-integrations of a fold in its box, and in as many as a turn has of the period of another one.

    Shape (k, nsubints); none where boxes would fill more than half of the turn: what one has, be it of a wave, the
    others lack then.
    """
    fold, k = one.fold, Fraction(of.freq / one.freq).limit_denominator(SIMPLE).numerator
    if fold is None or k < 2 or fold.width * k > HALF_OF_ALL:
        return np.zeros((0, 0))
    rows = fold.time_phase[np.any(fold.time_phase != 0.0, axis=1)]
    if len(rows) < 2:
        return np.zeros((0, 0))
    return np.stack([box_amplitudes(rows, fold.width, fold.phase + j / k) for j in range(k)])


def _steady_sigma(parts: NDArray[np.float64], noise: float) -> float:
    """Significance of the sum of what sub-integrations have, by their noise or by what scatters between them."""
    return float(parts.sum() / np.sqrt(parts.size)) / max(float(np.std(parts, ddof=1)), noise)


def one_dm(one: Candidate, other: Candidate, sky: Sky) -> bool:
    """Whether the refined DMs agree within their errors, or nothing is known of them."""
    error = float(np.hypot(np.nan_to_num(one.dm_err), np.nan_to_num(other.dm_err)))
    return sky.freqs.size < 2 or abs(one.dm - other.dm) <= AGREE_SIGMA * error


def commensurate(one: Candidate, m: int, other: Candidate, n: int, sky: Sky) -> bool:
    """Whether refined frequencies are m and n times one, and the DMs one, as near as their errors tell.

    Harmonics of one source are. Two pulsars may be, by chance, within the fraction of a bin in which their powers fall
    together in sums; within the errors it takes a smaller one.
    """
    error = ALIKE_SIGMA * float(np.hypot(one.freq_err / m, other.freq_err / n))
    return one_dm(one, other, sky) and abs(one.freq / m - other.freq / n) <= error


def too_strong(one: Candidate, owner: Candidate) -> bool:
    """Whether a fold at m times the frequency of another one shows more than that source leaves there.

    A pulse that comes once in m turns leaves S / sqrt(m) of its S/N S, two equal ones half a turn apart twice that at
    the most.
    """
    multiple = max(one.freq / owner.freq, 1.0)
    return bool(one.snr > np.hypot(2.0 * owner.snr / np.sqrt(multiple), CHANCE_SNR))


def too_weak(owner: Candidate, one: Candidate) -> bool:
    """Whether a fold shows less than the true period of another one would.

    What has two equal pulses turns twice as fast: then the difference of the two must be seen.
    """
    twice = abs(one.freq / owner.freq - 2.0) < 0.01
    return owner.snr < (HALF_AT_TWICE if twice else HALF) * one.snr


def shows_better(one: Candidate, other: Candidate) -> bool:
    """Whether the fold of one is the surer, or more than a pulse of the other could be, and not the reverse."""
    if too_strong(one, other):
        return True
    return one.snr > other.snr and not too_strong(other, one)


def leaves(owner: Candidate, comb: Comb, one: Candidate, sky: Sky) -> bool:
    """Whether a fold, refined onto any simple ratio to another, shows no more than what that one leaves there.

    Or onto any multiple of its period. What noise adds to it is what the refinement finds in noise.
    """
    ratios = [(round(one.freq * d / owner.freq), d) for d in range(1, MOST + 1)]
    ratios += [(1, d) for d in range(MOST + 1, NEAR_MULTIPLE + 1)]
    close = [d for m, d in ratios if abs(one.freq - m * owner.freq / d) <= NEAR_BINS / sky.tobs]
    if one.fold is None or not close or not one_dm(one, owner, sky):
        return False
    power = FACTOR * float(expected_harmonics(comb, one.fold, nharm_of(one.fold)).sum())
    return power >= ACCOUNTS * 0.5 * one.snr**2 and one.snr <= float(np.hypot(np.sqrt(2.0 * power), CHANCE_SNR))


def enough(one: Candidate, owner: Candidate, sky: Sky) -> float:
    """Significance of harmonics that another one does not leave from which on there are two sources [sigma].

    Where their DMs part, too, it takes less; or their frequencies: what one leaves in a fold is strongest where the
    refinement ends on a simple ratio to it.
    """
    return UNEXPLAINED if one_dm(one, owner, sky) and _at_a_ratio(one, owner, sky) else DOUBT_SIGMA


def _at_a_ratio(one: Candidate, other: Candidate, sky: Sky) -> bool:
    """Whether a refined frequency is any ratio of small integers of another one, within errors and NEAR_BINS."""
    for d in range(1, MOST + 1):
        at = round(one.freq * d / other.freq) * other.freq / d
        error = AGREE_SIGMA * float(np.hypot(one.freq_err, at / other.freq * other.freq_err))
        if abs(one.freq - at) <= max(error, NEAR_BINS / sky.tobs):
            return True
    return False


def near(weak: Candidate, strong: Candidate, sky: Sky) -> bool:
    """Whether refined frequency and DM of one candidate are a simple multiple and the DM of another.

    Or the bands of their folds agree at one DM for all that (:mod:`pulsar.rank.banded`).
    """
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
            if off <= close and (one_dm(weak, strong, sky) or _in_its_bands(weak, strong, m, d)):
                return True
    return False


def _in_its_bands(weak: Candidate, strong: Candidate, m: int, d: int) -> bool:
    """Whether the fold of a candidate has the DM of a stronger one at m/d of its frequency, by their bands."""
    if weak.fold is None or strong.fold is None or weak.snr >= strong.snr:
        return False
    return of_one_dm(weak.fold, strong.fold, m, d, nharm_of(weak.fold))


def unexplained(one: Candidate, combs: Sequence[Comb], *, wave: float = SPARE) -> float:
    """Significance [sigma] of those harmonics of a fold in which other candidates leave little, beyond that.

    By their powers together, or as one pulse by those that are clear of the lines of others. They must be more than one
    wave at a multiple of this frequency, such as a drift of the level may happen to be: the strongest of them, but the
    fundamental, counts no more than `wave`.

    Parameters
    ----------
    one : Candidate
        With a fold.
    combs : sequence of Comb
        Of the others.
    wave : float
        [sigma]
    """
    fold = one.fold
    if fold is None:
        return 0.0
    nharm = nharm_of(fold)
    power = np.sum([expected_harmonics(comb, fold, nharm) for comb in combs], axis=0)
    even, number = beyond(fold, power)
    strengths = np.abs(np.fft.rfft(even.time_phase.astype(np.float64), axis=1).sum(axis=0))
    found = _beyond_wave(lambda some: coherent_sigma(even, some), strengths, number, wave)
    if not combs:
        return found
    left, clear = FACTOR * power, np.flatnonzero(clear_harmonics(fold, combs, nharm)) + 1
    pulse = _beyond_wave(
        lambda some: pulse_sigma(fold, left, np.isin(np.arange(1, nharm + 1), some)), strengths, clear, wave
    )
    return max(found, pulse)


def _beyond_wave(
    significance: Callable[[NDArray[np.int64]], float],
    strengths: NDArray[np.float64],
    number: NDArray[np.int64],
    wave: float,
) -> float:
    """Significance of harmonics `number`, of which the strongest, but the fundamental, counts no more than `wave`."""
    found = significance(number)
    # The highest harmonic has no defined phase.
    number = number[number < strengths.size - 1]
    if found <= wave or number.size == 0:
        return found
    strongest = int(number[np.argmax(strengths[number])])
    return found if strongest == 1 else min(found, significance(number[number != strongest]) + wave)


def needs_all(one: Candidate, multiple: int, combs: Sequence[Comb]) -> bool:
    """Whether a fold surely has harmonics other than the multiples of one; if not, its period may be a part of it.

    Parameters
    ----------
    one : Candidate
    multiple : int
    combs : sequence of Comb
        Of other candidates: where they leave power it is not the fold's own.
    """
    if one.fold is None:
        return False
    power = np.sum([expected_harmonics(comb, one.fold, nharm_of(one.fold)) for comb in combs], axis=0)
    even, number = beyond(one.fold, power)
    return bool(coherent_sigma(even, number[number % multiple > 0]) > UNEXPLAINED)


def beyond(fold: Fold, power: NDArray[np.float64] | float) -> tuple[Fold, NDArray[np.int64]]:
    """A fold with every harmonic in units of its noise and of what others may leave there, and those that count.

    What noise and others leave has then a mean power of 1 at most. Harmonics in which others leave more than LOUD tell
    nothing.

    Parameters
    ----------
    fold : Fold
    power : ndarray, shape (nharm,), or float
        That others leave in harmonics 1 ... `nharm`.
    """
    known = FACTOR * np.broadcast_to(np.asarray(power, dtype=np.float64), (nharm_of(fold),))
    even = steady(fold)
    parts = np.fft.rfft(even.time_phase.astype(np.float64), axis=1)
    nharm = min(known.size, parts.shape[1] - 1)
    parts[:, 1 : nharm + 1] /= np.sqrt(1.0 + known[:nharm])
    rows = np.fft.irfft(parts, even.time_phase.shape[1], axis=1)
    return replace(even, time_phase=rows.astype(even.time_phase.dtype)), np.flatnonzero(known < LOUD) + 1


def shares(fold: Fold, nharm: int) -> NDArray[np.float64]:
    """What harmonics 1 ... `nharm` of a Gaussian pulse as wide as a fold's add to its S/N squared, shape (nharm,).

    Those that noise is strong in add little, those that were left out nothing; no unit.
    """
    number = np.arange(1, nharm + 1)
    parts = np.fft.rfft(fold.time_phase.astype(np.float64), axis=1)[:, 1 : nharm + 1]
    have = np.zeros(nharm)
    have[: parts.shape[1]] = shown(parts) / noise_of(fold)[: parts.shape[1]]
    # The full width at half maximum of a Gaussian is 2 sqrt(2 ln 2) of its deviation.
    return np.asarray(have * np.exp(-((np.pi * number * fold.width) ** 2) / (2.0 * np.log(2.0))))


def nharm_of(fold: Fold) -> int:
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
