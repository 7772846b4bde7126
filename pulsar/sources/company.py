"""Crowds of rows, and rows among the sweeps of a transmitter: what is told by the company of a row.

The sky puts its pulsars at any frequency and DM. Where rows are far denser than that, most of them are not of the sky,
whatever each looks like by itself.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from scipy.special import pdtrc

from pulsar.data.flags import weight
from pulsar.sources.candidate import AGREE, MAX_CHANCE, Candidate
from pulsar_kernels.arrays import Bools, Floats

#: Rows are neighbours whose frequencies are within this part of each other, or of an octave.
NEAR: Final = 0.05
OCTAVES: Final = (-1, 0, 1)
#: A neighbour counts from this part of a row's score on: many weak rows say nothing of a strong one.
COMPARABLE: Final = 0.3
#: The range of frequencies over which rows spread, if there are no others to tell [powers of e]: 5 s to 2 ms.
SPREAD: Final = 8.0
#: A pulse that dispersion alone has bent is as strong in all bands, and has the expected DM curve. Of 85 pulsars
#: in noise and in all kinds of interference 84 are as even and fit as well; of 598 rows that chirps made 0.08 are, of
#: 136 of drifting tones 0.015 (benchmarks/zoo.py survey --first 5000, population.py --first 10600).
EVEN: Final = 0.9
MISFIT: Final = 0.1
#: Part of the sky's pulsars of which that is expected: 0.21 of 4,185 known have DMs below 50, at which scintillation
#: may be broader than a subband and a pulse less even (Bhat et al. 2004, ApJ 605, 759).
DISPERSED: Final = 0.8


def dispersed(candidates: Sequence[Candidate]) -> Bools:
    """Folds that look dispersed over the whole band; those of which it is not known do not.

    A sweep follows another curve: at the DM at which a fold of it is best, parts of the band do not fit.
    """
    even = np.array([candidate.features.get("freq_even", np.nan) for candidate in candidates], dtype=np.float64)
    misfit = np.array([candidate.features.get("dm_misfit", np.nan) for candidate in candidates], dtype=np.float64)
    return np.asarray((even >= EVEN) & (misfit <= MISFIT), dtype=np.bool_)


def crowded(candidates: Sequence[Candidate]) -> Bools:
    """Rows in a crowd: more than chance have comparable scores at nearly their frequency and other DMs.

    Those are told, and their neighbours. A source has one DM, and a cluster of stars nearly so. What makes rows of all
    DMs in a narrow range of frequencies, and at twice or half of it, is noise that is stronger there, such as a tone
    that runs through the channels leaves beside the mask. Rows that do not look dispersed are no company of one that
    does.

    Parameters
    ----------
    candidates : sequence of Candidate
        Those that are attached to another, or have no fold, are not counted, and are in no crowd.

    Returns
    -------
    ndarray of bool, shape (ncandidates,)
    """
    out = np.zeros(len(candidates), dtype=np.bool_)
    places = [i for i, one in enumerate(candidates) if one.fold is not None and not one.parent]
    if len(places) < 2:
        return out
    rows = [candidates[i] for i in places]
    logs = np.log([one.freq for one in rows])
    dms, errors = np.array([one.dm for one in rows]), np.nan_to_num([one.dm_err for one in rows])
    widths = np.array([_width_in_dm(one) for one in rows])
    scores = np.array([one.score for one in rows])
    pure = dispersed(rows)
    spread = max(float(np.ptp(logs)), SPREAD)
    window = 2.0 * NEAR * len(OCTAVES)
    around = np.zeros((len(rows), len(rows)), dtype=np.bool_)
    core = np.zeros(len(rows), dtype=np.bool_)
    for k in range(len(rows)):
        apart = np.maximum(AGREE * np.hypot(errors, errors[k]), np.maximum(widths, widths[k]))
        like = (scores >= COMPARABLE * scores[k]) & (pure >= pure[k])
        off = np.min([np.abs(logs - logs[k] + octave * np.log(2.0)) for octave in OCTAVES], axis=0)
        near, unlike = off <= NEAR, like & (np.abs(dms - dms[k]) > apart)
        around[k] = unlike & (off <= 2.0 * NEAR)
        company = int(np.count_nonzero(unlike & near))
        # The density of the others, and of one that is not known.
        elsewhere = np.count_nonzero(like & ~near) + 1
        expected = elsewhere * window / (spread - window)
        core[k] = company > 0 and pdtrc(company - 1, expected) < MAX_CHANCE
    # Those at its edges have fewer neighbours.
    out[places] = core | around[:, core].any(axis=1)
    return out


def _width_in_dm(candidate: Candidate) -> float:
    """DM that shifts a pulse over the band by its width; infinite where none can be told."""
    shift = float(candidate.features.get("dm_shift", np.nan))
    return candidate.dm / shift if shift > 0.0 else float("inf")


def share_of_the_sky(inside: Bools, scores: Floats, share: float, part: float = 1.0) -> float:
    """Of the rows in a range of DMs that a transmitter fills, the part that the sky puts there.

    Parameters
    ----------
    inside : ndarray of bool, shape (n,)
        Whether each row is in the range.
    scores : ndarray, shape (n,)
        Of each by itself: 0 to 1.
    share : float
        Part of the searched DMs that the range has.
    part : float
        Part of the sky's rows that are of the kind that counts inside.

    Returns
    -------
    float
        What the rows outside, and one that is not known, lead to expect inside, over what is there; 1 at most.
    """
    outside = float(scores[~inside].sum()) + 1.0
    expected = part * outside * share / max(1.0 - share, 1e-3)
    return float(min(expected / max(float(scores[inside].sum()), 1.0), 1.0))


def sky_factors(inside: Bools, pure: Bools, scores: Floats, share: float) -> Floats:
    """Part of their scores that rows keep in a range of DMs that a transmitter fills (:func:`share_of_the_sky`).

    Those that look dispersed and those that do not are each set against what the sky has of them.

    Parameters
    ----------
    inside, pure : ndarray of bool, shape (n,)
        Whether each row is in the range, and whether it looks dispersed.
    scores : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (n,)
        1 for rows outside.
    """
    out = np.ones(inside.size)
    for rows, part in ((inside & pure, DISPERSED), (inside & ~pure, 1.0 - DISPERSED)):
        if rows.any():
            # Of the other kind inside nothing is learnt.
            kept = rows | ~inside
            out[rows] = share_of_the_sky(rows[kept], scores[kept], share, part)
    return out


def in_company(candidates: Sequence[Candidate], share: float) -> list[Candidate]:
    """Candidates with the flag of a crowd, and with scores that count what else the run has.

    Parameters
    ----------
    candidates : sequence of Candidate
        With all other flags, and their scores.
    share : float
        Part of the searched DMs that the sweeps' range has.
    """
    scores = np.array([candidate.score if not candidate.parent else 0.0 for candidate in candidates])
    inside = np.array(["near sweeps" in candidate.flags for candidate in candidates], dtype=np.bool_)
    factors = sky_factors(inside, dispersed(candidates), scores, share)
    out = []
    for candidate, in_crowd, factor in zip(candidates, crowded(candidates), factors.tolist(), strict=True):
        score = candidate.score * factor
        if in_crowd:
            candidate = replace(candidate, flags=(*candidate.flags, "crowd"))
            score = min(score, candidate.score * weight(("crowd",)))
        out.append(replace(candidate, score=score))
    return out
