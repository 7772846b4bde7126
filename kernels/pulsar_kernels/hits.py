"""From hits on a coarse grid to one detection per signal: each is climbed from, and what a stronger one explains is
left out (:mod:`pulsar_kernels.dechirp` climbs).
"""

from typing import NamedTuple

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Complexes, Float32s, Floats, Ints
from pulsar_kernels.dechirp import band, band_samples, climb, copy, harmonic_powers, load_bands, moments
from pulsar_kernels.peaks import LOGP_OWN, frequency_information, log_tail, only_multiples

#: Harmonics of a signal that are looked at to see what else it explains, if it has a power above this.
KNOWN = 64
_STRONG = 20.0
# Harmonics closer than so many bins are seen in one another's sidelobes.
_CLOSE = 1000.0
#: Farthest that a hit may move [bins of the top harmonic]: in frequency, drift and change of drift.
_FAR = (1.5, 5.0, 40.0)
# A hit is climbed from if a finer grid beside it has this part of the -ln p that is asked for: the grid leaves 0.9.
_NEARLY = 0.7
# Distances of its points [steps of the coarse one].
_FINER = 1.0 / 3.0


class Terms(NamedTuple):
    """Criteria of a search for every peak, see :func:`select`."""

    nfree: int
    extent: Floats
    limits: Floats
    inverse: Float32s
    own_share: Float32s
    rest: float


@kernel(inline=True)
def _honest(power: float, r: float, z: float, terms: Terms) -> float:
    """The power as its uncertain level lets it count, see harmonics.honest; a drifting one moves its level less."""
    i = int(2.0 * r + 0.5)
    if i >= terms.inverse.shape[0]:
        return float(np.log1p(terms.rest * power) / terms.rest)
    share = terms.own_share[i] / (1.0 + abs(z))
    p = power * (1.0 + share if power > 0.6931 else 1.0 - share)
    return float(np.log1p(terms.inverse[i] * p) / terms.inverse[i])


@kernel(inline=True, helper=True)
def leak(d: float, z: float, w: float) -> float:
    """Most of a power that is seen at a distance of d bins, drift z and change of drift w.

    The difference in frequency is d + z u + w u^2/2. Where it goes through zero with a slope m, the power is up to 2/m
    (Fresnel integrals); where it touches zero, up to 5.3 w^(-2/3) (Airy's function at its maximum); where it stays
    farther than e from zero, up to 1/(pi e)^2 (the ends of the data).
    """
    slope = abs(z) - 0.5 * abs(w)
    inside = min(1.0, 5.3 * (abs(w) + 1e-9) ** (-2.0 / 3.0))
    if slope > 0.0:
        inside = min(inside, 2.0 / slope)
    edge = abs(d) - 0.5 * abs(z) - 0.125 * abs(w)
    if edge <= 0.0:
        return float(inside)
    return float(min(inside, 1.0 / (np.pi * edge) ** 2))


@kernel(helper=True)
def explained(at: Floats, nharm: int, power: float, signals: Floats, powers: Floats, nsignals: int) -> bool:
    """True if the signals already found leave nothing significant of a summed power.

    What they have in their harmonics next to those of the new one is taken off, as far as it leaks to where they are,
    and 6 standard deviations of the noise that beats with it.
    """
    known = powers.shape[1]
    total = 0.0
    for f in range(nsignals):
        ratio = at[0] / signals[f, 0]
        # Lines close together are seen on either side.
        beside = 1 if signals[f, 0] < _CLOSE else 0
        for k in range(1, nharm + 1):
            nearest = int(np.floor(ratio * k + 0.5))
            for m in range(max(nearest - beside, 1), min(nearest + beside, known) + 1):
                if powers[f, m - 1] > 1.0:
                    z = k * at[1] - m * signals[f, 1]
                    w = k * at[2] - m * signals[f, 2]
                    total += (powers[f, m - 1] - 1.0) * leak(k * at[0] - m * signals[f, 0], z, w)
    left = max(power - nharm - total - 6.0 * np.sqrt(total), 0.0)
    return bool(left < power - nharm and log_tail(nharm + left, nharm) > LOGP_OWN)


@kernel()
def _one_power(
    real: Float32s, imag: Float32s, pad: int, filled: float, at: Floats, k: int, space: Complexes, single: Complexes
) -> float:
    """Power of harmonic k of a signal."""
    n = band_samples(k * at[1], k * at[2])
    middle = int(np.floor(k * at[0] + 0.5))
    first = band(real, imag, pad, middle, filled, space[:n])
    moments(space[:n], first, k * at[0] - middle, k * at[1], k * at[2], single)
    return float(single[0].real ** 2 + single[0].imag ** 2)


@kernel()
def exact(real: Float32s, imag: Float32s, pad: int, filled: float, hits: Floats, order: Ints) -> None:
    """Put the sum of powers in place of what bytes say; parameters as of `select`."""
    at = np.empty(3, np.float64)
    single = np.zeros(1, np.complex128)
    most = 64
    for o in range(order.shape[0]):
        nharm = hits[order[o], 3]
        most = max(most, band_samples(nharm * hits[order[o], 1], nharm * hits[order[o], 2]))
    space = np.empty(most, np.complex128)
    for o in range(order.shape[0]):
        copy(hits[order[o]], at)
        total = 0.0
        for k in range(1, int(hits[order[o], 3]) + 1):
            total += _one_power(real, imag, pad, filled, at, k, space, single)
        hits[order[o], 4] = total


@kernel(helper=True, inline=True)
def multiple(single: Floats, nharm: int) -> int:
    """Largest n such that the harmonics that are not multiples of n hold nothing (p > 1e-4); 1 if there is none.

    A line at f, and its few harmonics within the limits of drift, raise the sum at f/n as much.
    """
    for n in range(nharm, 1, -1):
        if only_multiples(single, nharm, n):
            return n
    return 1


@kernel(inline=True)
def _begin(
    bands: Complexes, about: Floats, at: Floats, nharm: int, dz: float, trial: Floats, best: Floats, single: Floats
) -> None:
    """Move `at` to the highest of nine sums around it: a grid of half bins and `dz` is too coarse to climb from."""
    highest = -1.0
    copy(at, best)
    copy(at, trial)
    for i in range(-1, 2):
        for j in range(-1, 2):
            trial[0] = at[0] + 0.5 * _FINER * i / nharm
            trial[1] = at[1] + dz * _FINER * j / nharm
            total = harmonic_powers(bands, about, trial, nharm, single)
            if total > highest:
                highest = total
                copy(trial, best)
    copy(best, at)


@kernel(inline=True)
def _best_stage(single: Floats, available: int, at: Floats, terms: Terms, result: Floats) -> int:
    """Of 1, 2, 4 ... harmonics those whose sum is least likely by chance; `result` gets honest power and ln p.

    The highest of 2**s is at bin ``limits[3 + s]`` or beyond; where none is, ln p is 1.
    """
    lowest = terms.limits[3:]
    best = 1
    total = 0.0
    stage = 0
    result[1] = 1.0
    for k in range(1, available + 1):
        total += _honest(single[k - 1], k * at[0], k * at[1], terms)
        if k & (k - 1) == 0:
            searched = stage >= lowest.shape[0] or k * at[0] >= lowest[stage]
            stage += 1
            logp = log_tail(total, k) if searched else 1.0
            if logp < result[1]:
                best = k
                result[0] = total
                result[1] = logp
    return best


@kernel()
def _peak(
    bands: Complexes,
    about: Floats,
    at: Floats,
    nharm: int,
    available: int,
    terms: Terms,
    single: Floats,
    result: Floats,
) -> int:
    """Move `at` from a point of the grid to the least likely peak of the sums of 1, 2, 4 ... harmonics about it.

    From the peak of `nharm` harmonics on, then of as many as are best there, then of twice as many. `single` gets the
    powers of the harmonics, `result` honest power and ln p; how many are best is returned, 0 where the sums beside the
    point are too low to climb from.
    """
    best_at = np.empty(3, np.float64)
    trial = np.empty(3, np.float64)
    part = np.zeros(single.shape[0], np.float64)
    peak = np.zeros(2, np.float64)
    bounds = np.empty((3, 2), np.float64)
    _begin(bands, about, at, nharm, terms.extent[3] if terms.nfree > 1 else 0.0, trial, best_at, part)
    for d in range(3):
        bounds[d, 0] = at[d] - _FAR[d] / nharm
        bounds[d, 1] = at[d] + _FAR[d] / nharm
        if d > 0:
            # Half a step of a fine grid beyond what is searched.
            most = terms.extent[d] + (1.0 if d == 1 else 10.0)
            bounds[d, 0] = max(bounds[d, 0], -most / nharm)
            bounds[d, 1] = min(bounds[d, 1], most / nharm)
    chosen = 0
    stage = nharm
    result[1] = 1.0
    for step in range(5):
        if step > 0:
            climb(bands, about, at, stage, terms.nfree, bounds)
        harmonic_powers(bands, about, at, available, part)
        again = _best_stage(part, available, at, terms, peak)
        if step == 0:
            if peak[1] > _NEARLY * terms.limits[0]:
                break
            continue
        if peak[1] >= result[1]:
            break
        chosen = again
        copy(at, best_at)
        copy(part, single)
        copy(peak, result)
        stage = 2 * again if again == stage else again
        if stage > available:
            break
    if chosen > 0:
        copy(best_at, at)
    return chosen


@kernel(inline=True)
def _available(at: Floats, nharm: int, top: int, extent: Floats) -> int:
    """`nharm`, doubled as long as the highest harmonic stays within what is searched."""
    while (
        2 * nharm <= top
        and 2 * nharm * at[0] < extent[0]
        and 2 * nharm * abs(at[1]) <= extent[1] + 1.0
        and 2 * nharm * abs(at[2]) <= extent[2] + 10.0
    ):
        nharm *= 2
    return nharm


@kernel()
def select(
    real: Float32s,
    imag: Float32s,
    pad: int,
    filled: float,
    hits: Floats,
    order: Ints,
    nfree: int,
    extent: Floats,
    limits: Floats,
    inverse: Float32s,
    own_share: Float32s,
    rest: float,
    out: Floats,
    powers: Floats,
) -> int:
    """Keep the best hit of every signal, refined.

    Best first, a hit that the signals kept before do not explain is moved to the peak of its summed power; of the sums
    of 1, 2, 4 ... harmonics there the least likely one is taken. It is kept if that is less likely by chance than the
    threshold, and still not explained. Where all the power is in multiples of n, n times the frequency is.

    Parameters
    ----------
    real, imag : ndarray of float32, shape (nbins + 2 pad,)
        White amplitudes, bin r at ``pad + r``.
    pad : int
    filled : float
        Part of the transform that data fill.
    hits : ndarray of float64, shape (n, 5)
        Fundamental: bin, drift, change of drift [bins] at the middle of the data; harmonics; sum of powers.
    order : ndarray of int64, shape (m,)
        From the most significant hit on.
    nfree : int
        1 for the frequency alone, 2 with the drift, 3 with the change of the drift.
    extent : ndarray of float64, shape (4,)
        Largest bin, drift and change of drift of the highest harmonic, and from one drift of the grid to the next.
    limits : ndarray of float64, shape (3 + n,)
        Largest ln p of what is kept, most harmonics, and largest bin of a fundamental; from there on the lowest bin of
        the highest of 1, 2, 4 ... harmonics, 0 where none is given.
    inverse, own_share, rest :
        See harmonics.honest.
    out : ndarray of float64, shape (most, 7)
        Filled with bin, drift, change of drift, harmonics, honest power, ln p, and `frequency_information`.
    powers : ndarray of float64, shape (most, KNOWN)
        Filled with the powers of their harmonics.

    Returns
    -------
    int
        Number kept.
    """
    # Long: the steps to a hit share a dozen small arrays, which parts of it would have to be handed one by one.
    # Many arguments: data, tables and results are the caller's arrays, each of another shape.
    terms = Terms(nfree, extent, limits, inverse, own_share, rest)
    top = int(limits[1])
    bands = np.empty((top, band_samples(extent[1] + _FAR[1], extent[2] + _FAR[2])), np.complex128)
    about = np.empty((top, 3), np.float64)
    # As far beyond what is searched as harmonics there are seen in it.
    wide = 2.0 * extent[1] + 50.0
    wide_band = np.empty(band_samples(wide, 4.0 * wide), np.complex128)
    sole = np.empty(1, np.complex128)
    at = np.empty(3, np.float64)
    other_at = np.empty(3, np.float64)
    single = np.zeros(top, np.float64)
    part = np.zeros(top, np.float64)
    result = np.zeros(2, np.float64)
    other_result = np.zeros(2, np.float64)
    kept = 0
    for o in range(order.shape[0]):
        if kept == out.shape[0]:
            break
        i = order[o]
        copy(hits[i], at)
        nharm = int(hits[i, 3])
        if explained(at, nharm, hits[i, 4], out, powers, kept):
            continue
        available = _available(at, nharm, top, extent)
        load_bands(real, imag, pad, at, available, filled, bands, about)
        chosen = _peak(bands, about, at, nharm, available, terms, single, result)
        if chosen == 0 or result[1] >= limits[0]:
            continue
        n = multiple(single, chosen)
        if n > 1 and n * at[0] <= limits[2]:
            for d in range(3):
                other_at[d] = n * at[d]
            fewer = 1
            while 2 * fewer <= chosen // n:
                fewer *= 2
            more = _available(other_at, fewer, top, extent)
            load_bands(real, imag, pad, other_at, more, filled, bands, about)
            again = _peak(bands, about, other_at, fewer, more, terms, part, other_result)
            # Three harmonics at a fifth of the frequency may be more than two at the frequency itself.
            if again > 0 and other_result[1] < limits[0]:
                copy(other_at, at)
                copy(part, single)
                copy(other_result, result)
                chosen = again
                available = more
        # Powers as they are: what another signal takes off is not compressed by an uncertain level.
        raw = 0.0
        for k in range(chosen):
            raw += single[k]
        if explained(at, chosen, raw, out, powers, kept):
            continue
        copy(at, out[kept])
        out[kept, 3] = chosen
        out[kept, 4] = result[0]
        out[kept, 5] = result[1]
        out[kept, 6] = frequency_information(single, chosen)
        strongest = 0.0
        for k in range(KNOWN):
            powers[kept, k] = single[k] if k < available else 0.0
            strongest = max(strongest, powers[kept, k])
        if strongest > _STRONG:
            for k in range(available + 1, KNOWN + 1):
                if k * at[0] > extent[0] or k * abs(at[1]) > wide or k * abs(at[2]) > 4.0 * wide:
                    break
                powers[kept, k - 1] = _one_power(real, imag, pad, filled, at, k, wide_band, sole)
        kept += 1
    return kept
