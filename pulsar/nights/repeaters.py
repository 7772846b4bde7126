"""Which single pulses of different times may be bursts of one source, and how likely they would agree by chance.

A burst has no period: what repeats is its DM and its direction, which is less than a period tells. So nothing is put
together and no score is changed; the chance is stated. It is that of :mod:`pulsar.nights.matching` without periods:
every source of pulses that was found at another time in reach of the beam is one trial, and would come as near with the
density that DMs have there, over the DMs within the distance of the pair. Pulses of one time at one DM and place are
one source, and one trial, however many they are.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pulsar.nights.matching import BELIEVED, FAR, Field, Match, together
from pulsar.nights.sightings import Places


@dataclass
class Repeat:
    """What the other times say of one pulse.

    Attributes
    ----------
    head : int
        The strongest pulse of its source at its own time.
    chance : float
        Probability that unrelated sources agree as well as those that do; NaN where none agrees.
    nseen : int
        Times at which its source was seen, where chance would not do it on the whole list.
    """

    head: int
    chance: float = float("nan")
    nseen: int = 1


def repeated(found: Places, usable: NDArray[np.bool_]) -> list[Repeat]:
    """Compare the pulses of different times.

    Parameters
    ----------
    found : Places
    usable : ndarray of bool, shape (n,)
        Those that are no interference.

    Returns
    -------
    list of Repeat
        One for each pulse.
    """
    out = [Repeat(i) for i in range(len(found))]
    heads = _heads(found, np.flatnonzero(found.comparable & usable), out)
    field = Field(found, heads)
    for i in heads.tolist():
        matches = _matches(field, i)
        if matches:
            chance, chosen = together(found, matches)
            out[i].chance = chance
            if heads.size * chance <= BELIEVED:
                out[i].nseen = found.times([i, *(m.other for m in chosen)])
    for one in out:
        one.chance, one.nseen = out[one.head].chance, out[one.head].nseen
    return out


def _heads(found: Places, compared: NDArray[np.int64], out: list[Repeat]) -> NDArray[np.int64]:
    """The strongest pulse of each source of each time; the others are led to it."""
    heads: dict[tuple[float, float], list[int]] = {}
    strength = np.nan_to_num(found.snr, nan=-np.inf)
    for i in compared[np.argsort(-strength[compared], kind="stable")].tolist():
        own = heads.setdefault((float(found.start[i]), float(found.end[i])), [])
        others = np.array(own, dtype=np.int64)
        apart = ((found.dm[others] - found.dm[i]) / found.dm_spread(i, others)) ** 2 + found.away(i, others)
        if others.size and float(apart.min()) < FAR**2:
            out[i].head = int(others[np.argmin(apart)])
        else:
            own.append(i)
    return np.array(sorted(i for own in heads.values() for i in own), dtype=np.int64)


def _matches(field: Field, i: int) -> list[Match]:
    """What agrees with a source, with the number of unrelated ones that would, best first."""
    found = field.places
    others, away = field.near(i)
    spread = found.dm_spread(i, others)
    apart = found.dm[others] - found.dm[i]
    distance = (apart / spread) ** 2 + away
    hit = np.flatnonzero(distance < FAR**2)
    if not hit.size:
        return []
    density = field.dms.at(float(found.dm[i]), field.number[np.append(others[hit], i)])
    out = []
    for at in hit.tolist():
        reach = 2.0 * spread * np.sqrt(np.maximum(distance[at] - away, 0.0))
        out.append(Match(int(others[at]), density * float(reach.sum()), Fraction(1), False, 0.0, float(apart[at])))
    return sorted(out, key=lambda m: m.expected)
