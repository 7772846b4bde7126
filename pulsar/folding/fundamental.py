"""The period of a source among several, judged by its folds at them; how sure a refined fold is.

A fold at a period shows the harmonics of that period. One at a multiple k P of the true period P has power at multiples
of k only; one at a part P / k misses harmonics. So the true period is the one whose fold holds most power among those
that need all of their harmonics: where leaving out all but every k-th harmonic would leave out real power.

Whether power is real is told by the sub-integrations of the fold itself: a steady pulse is the same in all of them, and
noise of any colour, interference, and pulses that vary from turn to turn are not. What scatters between
sub-integrations is the noise, harmonic by harmonic; no model of it is needed.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Final

import numpy as np
from scipy import special

from pulsar.constants import C
from pulsar.data.fold import Fold
from pulsar.folding.refine import MOST_ACCEL
from pulsar.folding.whiten import evening
from pulsar.searches.stats import correct_trials, logp_from_sigma, power_logp, sigma_from_logp
from pulsar_kernels.arrays import Bools, Complexes, Floats, Ints

#: Significance at which power is taken as real: by chance one period in 700 is called too long or too short.
REAL: Final = 3.0

#: Significance from which on the other answer is worth naming: a chance of 1 in 44.
DOUBT: Final = 2.0

#: Most equal pulses that are looked for in a turn.
MOST: Final = 16


@dataclass(frozen=True)
class Choice:
    """The period that the folds prefer."""

    index: int  # The fold at that period, or (factor > 1) the fold whose period is `factor` times too long
    #: The true period is that of the fold over `factor`: 1 unless the true one was not among the folds. Beyond MOST, of
    #: a wave, it may be that over nbins less `factor` as well, which looks the same in nbins bins.
    factor: int
    alternative: int | None  # Fold at a period that the data cannot exclude


@dataclass(frozen=True)
class _Harmonics:
    """Harmonics 1 … n of a fold, in units of the white noise of a sub-integration."""

    freq: float
    nbins: int
    parts: Complexes  # (nsubints, n)
    gain: Floats  # (n,), by which they were multiplied

    @cached_property
    def number(self) -> Ints:
        """Harmonic numbers."""
        return np.arange(1, self.parts.shape[1] + 1, dtype=np.int64)

    @cached_property
    def shown(self) -> Bools:
        """Harmonics that the fold has: of those that lines of interference fall on it has neither pulse nor noise."""
        return shown(self.parts)

    @cached_property
    def noise(self) -> Floats:
        """What scatters between sub-integrations."""
        n, rest = len(self.parts), self.parts - self.parts.mean(axis=0)
        return np.sum(np.abs(rest) ** 2, axis=0) / (n - 1) if n > 1 else np.ones(rest.shape[1])

    @cached_property
    def excess(self) -> Floats:
        """Coherent power above the noise of each harmonic; what the width of the bins took is given back."""
        power = len(self.parts) * np.abs(self.parts.mean(axis=0)) ** 2
        return np.asarray((power - self.noise) / np.sinc(self.number / self.nbins) ** 2)

    @cached_property
    def aliased(self) -> Floats:
        """Most power that harmonics beyond those that the bins show can put into each.

        Harmonic nbins - h of a pulse narrower than the bins appears as h. It is at most as strong as those in the upper
        half of what is shown, but for what the width of the bins takes.
        """
        upper = self.excess[len(self.number) // 2 :]
        # The strongest quarter: of harmonics of which only every fourth has power, those that have it.
        strong = np.sort(upper)[-max(len(upper) // 4, 1) :]
        return np.asarray(max(float(np.mean(strong)) - 2.0, 0.0) * np.sinc(1.0 - self.number / self.nbins) ** 2)


def shown(parts: Complexes) -> Bools:
    """Harmonics that were not left out of a fold, shape (nharm,).

    Parameters
    ----------
    parts : ndarray of complex128, shape (nparts, nharm)
        Harmonics of its sub-integrations.
    """
    power = np.sum(np.abs(parts) ** 2, axis=0)
    # Rounding leaves 1e-13 of a harmonic that was left out.
    return np.asarray(power > 1e-6 * power.mean())


def _harmonics(fold: Fold) -> _Harmonics:
    """Harmonics of the sub-integrations; the Nyquist harmonic, which has no defined phase, is left out."""
    profiles = np.asarray(fold.time_phase, dtype=np.float64)
    scale = float(fold.extra.get("noise_scale", 1.0))
    nbins = profiles.shape[1]
    spectra = np.fft.rfft(profiles * scale, axis=1)[:, 1 : max(nbins // 2, 2)] / np.sqrt(nbins)
    # Sub-integrations of unequal length count by it.
    length = np.diff(fold.time_edges)
    spectra *= np.sqrt(length / length.mean())[:, None]
    gain = evening(fold)[1 : spectra.shape[1] + 1]
    return _Harmonics(fold.after.freq, nbins, spectra[np.any(spectra != 0.0, axis=1)], gain)


def _log_f_tail(ratio: Floats, a: Floats, b: Floats) -> Floats:
    """ln of the probability that an F variable with 2a and 2b degrees of freedom exceeds `ratio`."""
    x = b / (b + a * ratio)
    p = special.betainc(b, a, x)
    with np.errstate(divide="ignore", invalid="ignore"):
        # First terms of the series about x = 0.
        log = b * np.log(x) + a * np.log1p(-x) - np.log(b) - special.betaln(b, a)
        far = log + np.log1p((a + b) / (b + 1.0) * x)
        return np.asarray(np.where(p > 1e-290, np.log(p), far))


def coherent_logps(parts: Complexes, sets: Bools, floor: Floats | float = 0.0, add: Floats | float = 0.0) -> Floats:
    """ln of the chance that parts without a common signal add up as coherently as these, in some sets of harmonics.

    The noise is what differs between the parts, and its harmonics may be correlated (strong pulses vary as a whole):
    the number of independent ones is measured too.

    Parameters
    ----------
    parts : ndarray of complex128, shape (nparts, nharm)
    sets : ndarray of bool, shape (nsets, nharm)
    floor : ndarray, shape (nsets,)
        Least noise: power of the sum of a part's harmonics in white noise.
    add : ndarray, shape (nsets,)
        Power that the sum over parts may hold for another reason.
    """
    n, use, nharm = len(parts), sets.astype(np.float64), np.maximum(sets.sum(axis=1), 1)
    if n == 0:
        return np.zeros(len(sets))
    mean = parts.mean(axis=0)
    coherent = n * (use @ np.abs(mean) ** 2)
    if n < 2:
        logs = power_logp(coherent * nharm / np.maximum(np.add(floor, add), 1e-300), nharm)
    else:
        rest = parts - mean
        noise = use @ np.sum(np.abs(rest) ** 2, axis=0) / (n - 1)
        both = np.abs(rest.conj().T @ rest) ** 2
        # trace of the covariance squared; the second term is what the finite number of parts adds to it.
        square = np.sum((use @ both) * use, axis=1) / (n - 1) ** 2 - noise**2 / (n - 1)
        free = np.divide(noise**2, square, out=nharm.astype(np.float64), where=square > 0.0)
        free = np.clip(free, 1.0, nharm)
        ratio = coherent / np.maximum(np.maximum(noise, floor) + add, 1e-300)
        logs = _log_f_tail(ratio, free, free * (n - 1))
    return np.where(sets.any(axis=1), logs, 0.0)


def widest(logs_of: Callable[[Ints], Floats], nharm: int) -> Floats:
    """Significance [sigma] for the best of pulses of all widths, corrected for their number.

    Parameters
    ----------
    logs_of : callable
        ln of chances, shape (..., n), of harmonics up to n numbers.
    """
    cuts = np.unique(np.r_[2 ** np.arange(int(np.log2(nharm)) + 1), nharm])
    return sigma_from_logp(correct_trials(logs_of(cuts).min(axis=-1), float(len(cuts))))


def _significances(harmonics: _Harmonics, uses: Bools, *, alias: bool) -> Floats:
    """Significances [sigma] of some sets of harmonics, shape (n, nharm), for the best of pulses of all widths."""
    aliased = harmonics.aliased if alias else np.zeros(len(harmonics.number))

    def logs(cuts: Ints) -> Floats:
        sets = (uses & harmonics.shown)[:, None, :] & (harmonics.number <= cuts[:, None])
        flat = sets.reshape(-1, sets.shape[2])
        return coherent_logps(harmonics.parts, flat, flat.sum(axis=1), flat @ aliased).reshape(sets.shape[:2])

    return widest(logs, len(harmonics.number))


def _significance(harmonics: _Harmonics, use: Bools, *, alias: bool) -> float:
    """That of one set."""
    return float(_significances(harmonics, use[None, :], alias=alias)[0])


def one_pulse(fold: Fold, box: tuple[int, int], n: int, divisors: Collection[int]) -> float:
    """Significance [sigma] of one pulse in a turn, or of unequal ones, where n equal ones may be.

    The surer of two tests of the harmonics that are multiples of none of some numbers, against what scatters between
    sub-integrations: that of their power, for pulses of any shape (F test), and that of the sum of a box at the best of
    the n places, less its mean at all of them (Student's t), which is one number where those harmonics are many and
    weak.

    Parameters
    ----------
    box : tuple of int
        First bin and number of bins of any of the equal pulses.
    n : int
        From 2 on.
    divisors : collection of int
        From 2 on: n, or all by which the period may be too long.

    Returns
    -------
    float
        Infinite where the fold has no harmonic as high as any of the divisors.
    """
    harmonics = _harmonics(fold)
    number = harmonics.number
    some = [k for k in divisors if k <= len(number)]
    if not some:
        return float("inf")
    use = np.all([number % k != 0 for k in some], axis=0) & harmonics.shown & ~_wave_below(harmonics, n)
    surer = max(_significance(harmonics, use, alias=True), _box_significance(harmonics, use, box, n))
    return float(sigma_from_logp(correct_trials(logp_from_sigma(surer), 2.0)))


def unequal(fold: Fold, box: tuple[int, int], n: int) -> float:
    """Significance [sigma] of the strongest of n pulses in a turn over their mean, as unequal pulses have it.

    It is Student's t of :func:`one_pulse`. What another source has at the period of the fold is elsewhere in the turn.

    Parameters
    ----------
    box : tuple of int
        First bin and number of bins of any of the pulses.
    n : int
        From 2 on.
    """
    harmonics = _harmonics(fold)
    use = (harmonics.number % n != 0) & harmonics.shown & ~_wave_below(harmonics, n)
    return _box_significance(harmonics, use, box, n)


def displaced(fold: Fold, box: tuple[int, int], n: int) -> float:
    """Significance [sigma] of what n pulses in a turn have that are near n equal places, but not quite at them.

    Two of one strength that are not half a turn apart, or of other widths, differ within a width of their places, and
    a box at these sees nothing. It is an F test of the harmonics that are no multiples of n, in the bins within a width
    of the places; 0 where less of their power is there than halfway between all and what power anywhere in the turn
    has, as that of another source is elsewhere.

    Parameters
    ----------
    box, n
        As of :func:`unequal`.
    """
    harmonics = _harmonics(fold)
    use = (harmonics.number % n != 0) & harmonics.shown & ~_wave_below(harmonics, n)
    nbins, (count, nharm) = harmonics.nbins, harmonics.parts.shape
    spectra = np.zeros((count, nbins // 2 + 1), dtype=np.complex128)
    spectra[:, 1 : nharm + 1] = harmonics.parts * use
    # In units in which the squares of all bins add up to those of the harmonics.
    rows = np.fft.irfft(spectra, nbins, axis=1) * np.sqrt(nbins / 2.0)
    bins = box[0] - box[1] + np.arange(3 * box[1])
    near = np.zeros(nbins, dtype=np.bool_)
    near[np.concatenate([np.round(bins + k * nbins / n).astype(np.int64) for k in range(n)]) % nbins] = True
    excess = count * rows.mean(axis=0) ** 2 - (np.var(rows, axis=0, ddof=1) if count > 1 else 0.0)
    # Halfway between all of it and what is there of power that is anywhere in the turn.
    if not float(excess[near].sum()) > 0.5 * (1.0 + near.mean()) * float(excess.sum()) > 0.0:
        return 0.0
    # Two real numbers are as one complex one.
    columns = rows[:, near][:, : near.sum() // 2 * 2]
    pairs = columns[:, ::2] + 1j * columns[:, 1::2]
    floor = float(use.sum()) * columns.shape[1] / nbins
    aliased = float(harmonics.aliased[use].sum()) * columns.shape[1] / nbins
    logp = coherent_logps(pairs, np.ones((1, pairs.shape[1]), dtype=np.bool_), floor, aliased)
    return float(sigma_from_logp(logp[0]))


def _box_significance(harmonics: _Harmonics, use: Bools, box: tuple[int, int], n: int) -> float:
    """Significance [sigma] of a box at the best of n places in a turn, of some harmonics, corrected for the places."""
    count, width = len(harmonics.parts), box[1]
    phases = (box[0] + np.arange(width)) / harmonics.nbins
    shape = np.exp(-2j * np.pi * np.outer(harmonics.number, phases)).sum(axis=1) * use
    places = np.exp(-2j * np.pi * np.outer(np.arange(n) / n, harmonics.number)) * shape
    sums = (harmonics.parts @ places.conj().T).real
    # Half of a harmonic's power is in phase with the box: of noise, and of aliases, which have any phase.
    white, aliased = (0.5 * float(np.sum(np.abs(shape) ** 2 * each)) for each in (1.0, harmonics.aliased))
    scatter = np.var(sums, axis=0, ddof=1) if count > 1 else np.zeros(n)
    noise = np.maximum(scatter, white) + aliased
    t = float(np.max(sums.mean(axis=0) * np.sqrt(count / np.maximum(noise, 1e-300))))
    # Half of the squares of t beyond this are of negative ones.
    logp = float(_log_f_tail(np.array(t * t), np.array(0.5), np.array(0.5 * max(count - 1, 1)))) - np.log(2.0)
    return float(sigma_from_logp(correct_trials(logp, float(n)))) if t > 0.0 else 0.0


def _left_out(harmonics: _Harmonics) -> Floats:
    """Significance [sigma] of all harmonics but the multiples of 2, 3 … MOST; infinite where there are no such."""
    out = np.full(MOST - 1, np.inf)
    k = np.arange(2, min(MOST, len(harmonics.number)) + 1)
    if len(k):
        waves = np.array([_wave_below(harmonics, n) for n in k.tolist()])
        out[: len(k)] = _significances(harmonics, (harmonics.number % k[:, None] != 0) & ~waves, alias=True)
    return out


def _wave_below(harmonics: _Harmonics, n: int) -> Bools:
    """The strongest harmonic below the n-th, if it is more than n unequal pulses of one shape in a turn can have.

    If pulse j has the amplitude a_j, harmonic q n + k is that of the shape times the k-th of the discrete transform of
    a, the same for all q, and of n - k but for its sign. So power in harmonic k comes with as much in n - k and beside
    the multiples of n above, but for what the shape has less there. A wave comes alone, amid red noise; in white noise
    it is the broad component of a pulse that has narrow ones.
    """
    number, shape = harmonics.number, harmonics.excess[n - 1 :: n]
    out = np.zeros(len(number), dtype=np.bool_)
    if len(shape) < 2 or not (shape[:2] > REAL**2 * harmonics.noise[[n - 1, 2 * n - 1]]).all():
        return out
    k, colour = 1 + int(np.argmax(harmonics.excess[: n - 1])), harmonics.noise / harmonics.gain**2
    # The relative error of a noise of n - 1 complex degrees of freedom is 1 / sqrt(n - 1).
    level = (1.0 + REAL / np.sqrt(max(len(harmonics.parts) - 1, 1))) * float(colour[len(number) // 2 :].mean())
    if colour[k - 1] < level:
        return out
    # Least of the shape between two of its harmonics; below the first of them it is flat, or as steep as beyond it.
    first = shape[0] * max(shape[0] / shape[1], 1.0)
    least = np.append(shape[0], np.maximum(np.minimum(shape[:-1], shape[1:]), 0.0))[number // n % len(shape)]
    mates = np.isin(number % n, (k, n - k)) & (number != k) & (number < len(shape) * n) & harmonics.shown
    share = float(least[mates].sum()) / first
    low, high = max(float(harmonics.excess[k - 1]), 0.0), harmonics.excess[mates]
    noise, noise_of_mates = harmonics.noise[k - 1], harmonics.noise[mates]
    variance = share**2 * noise * (noise + 2.0 * low) + noise_of_mates @ (noise_of_mates + 2.0 * np.maximum(high, 0.0))
    out[k - 1] = share * low - high.sum() > REAL * np.sqrt(variance)
    return out


def _gains(first: _Harmonics, second: _Harmonics, top: float) -> float:
    """Power in harmonics of one that the other does not have, less that in harmonics of the other that one lacks.

    Harmonics of both cancel: folds with different baselines may differ in their units.
    """
    ratio = Fraction(first.freq / second.freq).limit_denominator(2 * MOST)
    total = 0.0
    for fold, shared, sign in ((first, ratio.denominator, 1.0), (second, ratio.numerator, -1.0)):
        number = fold.number
        use = (number * fold.freq <= top) & (number % max(shared, 1) != 0)
        total += sign * float(np.sum(fold.excess[use]))
    return total


def choose_period(folds: Sequence[Fold]) -> Choice:
    """Decide at which of several periods a source turns.

    Parameters
    ----------
    folds : sequence of Fold
        Refined folds of one source at periods that are simple multiples of each other, in the same data; one is enough
        to find that its own period is too long.

    Raises
    ------
    ValueError
        Without a fold.
    """
    if not folds:
        raise ValueError("no fold to choose from")
    harmonics = [_harmonics(fold) for fold in folds]
    left = [_left_out(h) for h in harmonics]
    waves = [_wave(h) for h in harmonics]
    # How sure it is that each fold needs all of its harmonics: the least of what is left when only every k-th is kept.
    evidence = np.array([min(float(np.min(x)), rest) for x, (_, rest) in zip(left, waves, strict=True)])
    # All are compared over the frequencies that every one of them shows.
    top = (1.0 + 1e-6) * min(h.freq * h.parts.shape[1] for h in harmonics)
    power = np.array([float(np.sum(h.excess[h.number * h.freq <= top])) for h in harmonics])

    # Of a faint source no fold may be sure to need all its harmonics: then those that come closest.
    least = min(max(float(evidence.max()) - 1.0, DOUBT), REAL)
    significant = np.flatnonzero(evidence >= least)
    if len(significant) == 0:
        index = int(np.argmax(power))
        number, rest = waves[index]
        factor = number if rest < DOUBT and evidence[index] == rest else _equal(harmonics[index], left[index])
    else:
        index, factor = int(significant[0]), 1
        for i in significant[1:].tolist():
            if _gains(harmonics[i], harmonics[index], top) > 0.0:
                index = i
    tobs = folds[index].tobs
    freq = folds[index].after.freq * factor
    # What might be: a longer period of which some harmonics are nearly sure, or a part of this one. Periods that agree
    # to half a turn at the ends of the observation are one.
    alternatives = [
        i
        for i, h in enumerate(harmonics)
        if abs(h.freq - freq) * tobs > 0.5
        and ((h.freq < freq and DOUBT <= evidence[i] < REAL) or (h.freq > freq and _part(h.freq / freq, left[index])))
    ]
    alternative = max(alternatives, key=lambda i: float(power[i])) if alternatives and factor == 1 else None
    return Choice(index, factor, alternative)


def _part(ratio: float, left: Floats) -> bool:
    """True if a frequency `ratio` times higher leaves out little that is sure."""
    k = round(ratio)
    return abs(ratio - k) < 1e-3 and 2 <= k <= len(left) + 1 and bool(left[k - 2] < 2.0 * REAL - DOUBT)


def _wave(harmonics: _Harmonics) -> tuple[int, float]:
    """The strongest harmonic if it is beyond MOST and real, and the significance [sigma] of all but its multiples.

    A wave that is far faster than what was searched for is seen as one line in folds at any multiple of its period. If
    there is none: 1, infinite.
    """
    number = harmonics.number
    k = int(number[np.argmax(np.where(harmonics.shown, harmonics.excess, -np.inf))])
    if k <= MOST or _significance(harmonics, number % k == 0, alias=False) < REAL:
        return 1, np.inf
    return k, _significance(harmonics, number % k != 0, alias=True)


def _equal(harmonics: _Harmonics, left: Floats) -> int:
    """Largest k whose multiples alone hold all that is real; 1 if there is none."""
    for k in range(len(left) + 1, 1, -1):
        if left[k - 2] < DOUBT and _significance(harmonics, harmonics.number % k == 0, alias=False) > REAL:
            return k
    return 1


def ntrials(fold: Fold, snr: float, *, refined: bool) -> float:
    """Independent trials that a S/N of a fold is the best of.

    So many for each unit of S/N, as maxima over a smooth field have: phase and width (for each bin), frequency, DM,
    derivative (for each step of the plane). Measured on 800 folds of noise, 128 bins, periods of 4 to 6 ms and of 0.1
    to 1 s, refined in all combinations: what 10 % and 3 % of them exceed agrees within a factor of 1.4 but for periods
    of milliseconds refined in frequency only, of which it takes 1.8 times as many trials as there are.

    Parameters
    ----------
    snr : float
        The trials grow with it: the higher the threshold, the narrower the peaks of noise that reach it.
    refined : bool
        Frequency, derivative and DM were searched too; otherwise phase and width only.
    """
    height = max(snr, 1.0)
    count = float(fold.extra.get("nbins", fold.profile.size)) * 2.5 * height
    if not refined:
        return count
    if fold.freq_offsets.size > 1:
        count *= max(10.0 * height, 1.0)
    if fold.dms.size > 1:
        count *= max(0.75 * height, 1.0)
    if fold.fdot_offsets.size > 1:
        span = min(float(np.ptp(fold.fdot_offsets)), 2.0 * MOST_ACCEL / C * fold.before.freq)
        count *= 1.0 + 0.04 * height * span / float(fold.fdot_offsets[1] - fold.fdot_offsets[0])
    return count


def fold_sigma(fold: Fold) -> float:
    """Significance of a fold of a given period [sigma], corrected for the trials of its refinement.

    It is that of the better of two S/N, for which it is corrected too: as asked for, the best of all phases and widths,
    and refined, the best of all frequencies, derivatives and DMs as well.
    """
    best = 0.0
    for snr, refined in ((float(fold.extra.get("snr_before", np.nan)), False), (fold.snr, True)):
        if np.isfinite(snr):
            logp = float(correct_trials(logp_from_sigma(snr), 2.0 * ntrials(fold, snr, refined=refined)))
            best = min(best, logp)
    return float(sigma_from_logp(best)) if best < 0.0 else -np.inf
