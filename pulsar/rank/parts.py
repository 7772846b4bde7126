"""What candidates of the whole observation, or of a longer part of it, are in one of its parts.

A pulsar is one source in whatever part it is found. What the sub-integrations of its fold hold while the part lasts is
what it leaves in the spectra of that part; and its frequency at the middle of the part follows from the derivative, as
far as that is known: the acceleration in a tight orbit changes from part to part.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data import flags as table
from pulsar.data.fold import Fold, FoldParams
from pulsar.folding.profile import fine_box
from pulsar.rank.candidate import Candidate
from pulsar.rank.compare import AGREE_SIGMA, CHANCE, SAME_BINS, Sky, one_dm, owner_of
from pulsar.rank.explain import JUNK, attached, comb_of_candidate, may_explain
from pulsar.rank.lines import Comb, Searched, expected
from pulsar.searches.sift import Group

#: Sub-integrations of a fold that a part must hold at least, and the part of its length that they must cover, for them
#: to tell what is in it; else the source is taken to be as strong as in all of the fold.
LEAST_ROWS: Final = 2
COVERED: Final = 0.75
#: Largest multiple and divisor of a frequency at which a drifting source is looked for.
MULTIPLES: Final = 16
DIVISORS: Final = 2


def params_at(fold: Fold, time: float) -> FoldParams:
    """Refined frequency and derivatives at another time.

    Parameters
    ----------
    fold : Fold
    time : float
        [s] from the start of the observation.
    """
    p, away = fold.after, time - fold.start - 0.5 * fold.tobs
    return FoldParams(p.freq + away * (p.fdot + 0.5 * p.fddot * away), p.fdot + p.fddot * away, p.dm, p.fddot)


def in_part(fold: Fold, start: float, tobs: float) -> Fold:
    """What a fold is in a part of the observation, refined as it is.

    Parameters
    ----------
    fold : Fold
        Of the whole, or of any part.
    start, tobs : float
        Beginning of the part from the start of the observation, and its length [s].

    Returns
    -------
    Fold
        Of the sub-integrations whose middles are in the part; of all, scaled to its length, where these do not tell.
    """
    away = start + 0.5 * tobs - fold.start - 0.5 * fold.tobs
    middles = fold.start + 0.5 * (fold.time_edges[1:] + fold.time_edges[:-1])
    inside = (middles >= start) & (middles < start + tobs)
    lengths = np.diff(fold.time_edges)
    rows, edges = fold.time_phase, fold.time_edges
    if np.count_nonzero(inside) >= LEAST_ROWS and float(lengths[inside].sum()) >= COVERED * tobs:
        rows = rows[inside]
        edges = np.concatenate([[0.0], np.cumsum(lengths[inside])])
        profile = rows.sum(axis=0, dtype=np.float64) / np.sqrt(len(rows))
    else:
        profile = fold.profile.astype(np.float64) * np.sqrt(tobs / fold.tobs)
    snr, width, phase = fine_box(np.fft.rfft(profile), np.ones(profile.size))
    return replace(
        fold,
        after=params_at(fold, start + 0.5 * tobs),
        freq_err=float(np.hypot(fold.freq_err, np.nan_to_num(fold.fdot_err) * away)),
        snr=snr,
        width=width,
        phase=phase,
        profile=profile.astype(np.float32),
        time_phase=rows,
        time_edges=edges,
        start=start,
        tobs=tobs,
    )


@dataclass(frozen=True)
class Owned:
    """Whose a group of a part is.

    Attributes
    ----------
    owner : int
        Place of the candidate that accounts for it.
    one : Candidate
        With its parent, what it is of that, and the numbers.
    """

    owner: int
    one: Candidate


def owned(groups: Sequence[Group], seen: Sequence[Candidate], sky: Sky) -> dict[int, Owned]:
    """Groups of a part that candidates of the whole, or of longer parts, account for.

    Parameters
    ----------
    groups : sequence of Group
    seen : sequence of Candidate
        With folds as they are in the part (`in_part`).
    sky : Sky
        Of the part.

    Returns
    -------
    dict of int to Owned
        By their places.
    """
    if not groups or not seen:
        return {}
    searched = Searched.of(groups, sky.tobs)
    combs: list[Comb] = [comb_of_candidate(one, sky) for one in seen]
    given: NDArray[np.float64] = np.array([expected(comb, searched) for comb in combs])
    junk = [table.weight(one.flags) <= JUNK for one in seen]
    out = {}
    for g, group in enumerate(groups):
        able = [i for i in range(len(seen)) if may_explain(group, junk[i], sky)]
        owner = owner_of(able, g, given, group, sky)
        if owner >= 0:
            one = Candidate(group, found_by=group.found_by)
            out[g] = Owned(owner, attached(one, seen[owner], combs[owner], float(given[owner, g]), sky))
    return out


def ratio_between(one: Candidate, other: Candidate, apart: float, sky: Sky) -> Fraction | None:
    """Frequency of a candidate over that of another one if they are one source, which may drift; else None.

    Parameters
    ----------
    one : Candidate
        Of a part.
    other : Candidate
        As it is in that part (`in_part`).
    apart : float
        Time over which the drift of either is not known to be the same [s]: from the middle of what the one is folded
        over to that of the other, and half of the longer.
    sky : Sky
        Of the part.
    """
    if one.fold is None or other.fold is None:
        return None
    if not one_dm(one, other, sky) and not one.group.dm_lo <= other.dm <= one.group.dm_hi:
        return None
    # In an orbit the derivative is another one after some time: it may have any value in between, and the opposite.
    drift = max(_sure_drift(one.fold), _sure_drift(other.fold)) * apart / other.freq
    for d in range(1, DIVISORS + 1):
        m = round(one.freq * d / other.freq)
        if not 1 <= m <= MULTIPLES:
            continue
        at = m * other.freq / d
        error = AGREE_SIGMA * float(np.hypot(one.freq_err, m / d * other.freq_err))
        near = max(error + drift * at, (SAME_BINS if m == d else 0.0) / sky.tobs)
        # By chance another source is as near to one of the multiples in this part of the cases.
        if abs(one.freq - at) <= near and (m == d or 2.0 * near < CHANCE * other.freq / d):
            return Fraction(m, d)
    return None


def _sure_drift(fold: Fold) -> float:
    """Frequency derivative of a fold [Hz/s] that is beyond its error, without sign."""
    error = float(np.nan_to_num(fold.fdot_err))
    return abs(fold.after.fdot) if abs(fold.after.fdot) > AGREE_SIGMA * error > 0.0 else 0.0
