"""Sums that hold the harmonics of two pulsars at a common part of their frequencies, and are of neither.

Such a sum may be more significant than either of the two. A pulse at that period would have harmonics that neither of
them has; and the two are multiples of its frequency by chance, so no nearer than a part of a bin.
"""

from collections.abc import Sequence
from math import gcd

import numpy as np

from pulsar.rank.compare import (
    ACCOUNTS,
    AGREE_SIGMA,
    FACTOR,
    HALF,
    LOUD,
    MOST,
    SAME_BINS,
    SIMPLE,
    UNEXPLAINED,
    Evidence,
    commensurate,
    nharm_of,
    shares,
    shows_better,
    unexplained,
)
from pulsar.rank.lines import expected_harmonics, noise_of
from pulsar.rank.one_pulse import clear_harmonics, pulse_snr

#: Part of the power of a blend that each of the two leaves at least: with less the other one is as significant alone.
PART = 0.35


def blends(accepted: Sequence[int], known: Evidence) -> set[int]:
    """Which candidates are made by two others.

    Their own folds show the others better than pulses at the common period could be, and together they account for its
    detection; or its fold has their harmonics, and lacks those that a pulse would have beside.

    Parameters
    ----------
    accepted : sequence of int
        Candidates that may be.
    known : Evidence

    Returns
    -------
    set of int
    """
    folded, junk = known.folded, known.junk
    out = {i for i in accepted if not junk[i] and _lacks_harmonics(i, known)}
    for i in sorted((i for i in accepted if not junk[i] and i not in out), key=lambda i: folded[i].snr):
        pool = [a for a in accepted if a not in out and not junk[a] and shows_better(folded[a], folded[i])]
        others = _multiples(i, pool, known)
        if known.owner(list(others), i) < 0:
            continue
        if known.unexplained(i, others) <= UNEXPLAINED:
            out.add(i)
    return out


def _lacks_harmonics(i: int, known: Evidence) -> bool:
    """Whether a fold has the harmonics of others alone.

    A pulse has its share of power in all of its harmonics, as far as its width and what noise leaves of them. One of
    two components has less in some; but harmonics that are surely its own, more than one wave, are of no other. The
    detection may have been something else: the refinement has found the others.
    """
    one, combs = known.folded[i], known.combs
    pool = [k for k, other in enumerate(known.folded) if not known.junk[k] and other.snr >= HALF * one.snr]
    others = _multiples(i, pool, known)
    if one.fold is None or not others:
        return False
    nharm = nharm_of(one.fold)
    theirs = FACTOR * np.sum([expected_harmonics(combs[k], one.fold, nharm) for k in others], axis=0)
    if float(theirs.sum()) < ACCOUNTS * 0.5 * one.snr**2:
        return False
    share = shares(one.fold, nharm)
    # The S/N of a fold is in units of white noise.
    white = share[: one.fold.profile.size // 2] * noise_of(one.fold)[:nharm]
    quiet = float(np.sum((share / (1.0 + theirs))[theirs < LOUD]) / max(white.sum(), 1e-300))
    theirs_alone = [combs[k] for k in others]
    pulse = pulse_snr(one.fold, theirs, clear_harmonics(one.fold, theirs_alone, nharm))
    own = max(unexplained(one, theirs_alone, wave=np.inf), pulse)
    return own < one.snr * np.sqrt(quiet) - UNEXPLAINED and unexplained(one, theirs_alone) <= UNEXPLAINED


def _multiples(i: int, pool: Sequence[int], known: Evidence) -> dict[int, int]:
    """Candidates at multiples m/d of a frequency, with their m; none unless two of them make a blend.

    Each of these two leaves what is significant by itself and a good part of the power, neither is a multiple of the
    other, and they are not the harmonics of one source.
    """
    folded, sky = known.folded, known.sky
    one = folded[i]
    out: dict[int, int] = {}
    for k in pool:
        other = folded[k]
        for d in range(1, SIMPLE + 1):
            multiple = round(d * other.freq / one.freq)
            off = abs(other.freq - multiple * one.freq / d)
            error = AGREE_SIGMA * float(np.hypot(other.freq_err, multiple * one.freq_err / d))
            if max(d + 1, 2) <= multiple <= MOST and off <= max(error, SAME_BINS / sky.tobs):
                out[k] = multiple
                break
    if one.fold is None:
        return {}
    nharm = nharm_of(one.fold)
    least = 0.5 * max(UNEXPLAINED**2, PART * one.snr**2)
    # Its lines, not the floor between them.
    lines = {k: expected_harmonics(known.combs[k], one.fold, nharm)[m - 1 :: m] for k, m in out.items()}
    able = [k for k in out if FACTOR * float(lines[k].sum()) > least]
    pairs = [(k, m) for k in able for m in able if out[k] % out[m] and out[m] % out[k]]
    alike = [(k, m) for k, m in pairs if commensurate(folded[k], out[k], folded[m], out[m], sky)]
    # Harmonics of one source that have no other common part than this frequency are its own.
    own = any(gcd(out[k], *(out[m] for other, m in alike if other == k)) == 1 for k, _ in alike)
    return {} if own or len(alike) == len(pairs) else out
