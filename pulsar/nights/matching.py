"""Candidates and bursts of different times that are one source, and how likely they would agree as well by chance.

Two candidates are as far apart as their periods, DMs and directions differ in units of what one source may differ by:
the errors; for the period also what an orbit may do, for the direction the width of the beams. Their distance is the
root of the squares together. How many unrelated candidates would be as near follows from the candidates themselves:
each that was found at another time in reach of the beam is one trial, and would come as near with the probability that
periods and DMs have there, by the density of all candidates in log P and in DM, over the area within that distance.
So bright sources, crowded DMs, many nights and large errors are all counted, and what is stated is a probability.

The Earth gives a source another topocentric period at other times, and no two directions have one source: what keeps
its topocentric period there comes from the ground.

A burst has no period: what repeats is its DM and its direction, which is less than a period tells. So nothing is put
together and no score is changed; the chance is stated. It is the same without periods: every source of pulses that was
found at another time in reach of the beam is one trial, and would come as near with the density that DMs have there,
over the DMs within the distance of the pair. Pulses of one time at one DM and place are one source, and one trial,
however many they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, log, sqrt
from typing import Final, NamedTuple

import numpy as np
from scipy.special import gammainc

from pulsar.nights.sightings import Places, Sightings
from pulsar_kernels.arrays import Bools, Floats, Ints

#: Candidates that are farther apart than so many sigma are not one source: 1.6 % of the pairs of one source are.
FAR: Final = 3.5
#: What the same pulsar's barycentric period may differ by beside its errors and an orbit: glitches, old positions.
STEADY: Final = 1e-6
#: How the trials are shared among what may be asked: the same period without and with an orbit, a ratio likewise.
_SHARES: Final = (0.55, 0.25, 0.15, 0.05)
#: How they are shared among the number of other times that are taken together: each more has this part of the last.
_MORE: Final = 0.2
#: Expected number of false ones on the whole list below which rows are put together.
BELIEVED: Final = 0.05
#: The same topocentric period: so many sigma; and surely another one barycentric.
_ON_THE_GROUND: Final = 3.0
_SHIFTED: Final = 5.0
#: Interference is what has one topocentric period at so many other places and times, with no more than this number
#: expected on the whole list by chance.
_PLACES: Final = 2
_SURELY: Final = 0.01
#: ... and of those at its own place the better part keeps it: by chance one binary in a hundred pairs does.
_KEPT: Final = 0.5
#: Ranges of log P (0.5 ms to 30 s) and of DM over which one candidate may lie, where nothing else is known.
_LOG_RANGE: Final = 11.0
DM_RANGE: Final = 100.0
#: A chance is never said to be smaller.
_TINY: Final = 1e-300

#: Integers of the ratios of two periods, and largest one of a multiple or a part.
SIMPLE: Final = 4
MOST: Final = 16
#: Periods of one candidate over that of another, by growing logarithm.
RATIOS: Final = sorted(
    {Fraction(m, d) for m in range(1, SIMPLE + 1) for d in range(1, SIMPLE + 1)}
    | {Fraction(m) for m in range(1, MOST + 1)}
    | {Fraction(1, d) for d in range(1, MOST + 1)}
)
_LOG_RATIOS: Final = np.log([float(r) for r in RATIOS])
_UNITY: Final = RATIOS.index(Fraction(1))


class Match(NamedTuple):
    """How one candidate agrees with another."""

    other: int
    expected: float  # Unrelated candidates that would agree as well
    ratio: Fraction  # Period of the other one over its own
    orbit: bool  # Periods agree only if an orbit is allowed for
    period: float  # Relative difference of the periods, the ratio taken out
    dm: float  # Difference of the DMs [pc cm^-3]


@dataclass
class Recurrence:
    """The verdict of other times on one candidate, or one pulse."""

    head: int  # The candidate that leads its source: itself where it stands alone
    #: Probability that unrelated candidates agree as well as those that speak for it do; NaN where none agrees.
    chance: float = float("nan")
    matches: list[Match] = field(default_factory=list)  # Those that speak for it, best first, no two of one time
    ratio: Fraction = Fraction(1)  # Its period over that of the head
    nseen: int = 1  # Times at which its source was seen
    ground: int = 0  # Of interference at how many other places and times its topocentric period is the same; else 0
    ground_expected: float = 0.0  # How many of them would be there by chance


def see_again(sightings: Sightings, *, orbit: float = 1e-3, sidelobe: float = 0.1) -> list[Recurrence]:
    """Put candidates of different times together, and state how likely chance would do it.

    Parameters
    ----------
    orbit : float
        Relative difference of periods that orbits may make (2 sigma); 0: none.
    sidelobe : float
        Part of its S/N with which a bright source may be seen anywhere: it is no interference for that.

    Returns
    -------
    list of Recurrence
        One for each.
    """
    out = [Recurrence(i) for i in range(len(sightings))]
    compared = np.flatnonzero(sightings.comparable)
    _ground(sightings, compared, out, orbit, sidelobe)
    compared = np.array([i for i in compared.tolist() if not out[i].ground], dtype=np.int64)
    sky = _Sky(sightings, compared, orbit)
    for i in compared.tolist():
        matches = sky.matches(i)
        if matches:
            out[i].chance, out[i].matches = together(sightings, matches)
    _join(sightings, compared, out)
    return out


def ncompared(sightings: Sightings, seen: Sequence[Recurrence]) -> int:
    """How many candidates were compared: the trials of the whole list."""
    return sum(bool(ok) and not verdict.ground for ok, verdict in zip(sightings.comparable, seen, strict=True))


class Density:
    """Density of values by their nearest neighbours, with one that may be anywhere.

    Parameters
    ----------
    values : ndarray, shape (n,)
    span : float
        Range over which that one lies.
    """

    def __init__(self, values: Floats, span: float) -> None:
        self._order = np.argsort(values, kind="stable")
        self._sorted = values[self._order]
        self._span = max(span, float(np.ptp(values)) if values.size else 0.0)

    def at(self, x: float, without: Ints) -> float:
        """Density at a place by all but some: of the next sqrt(n), four at least.

        Parameters
        ----------
        without : ndarray of int64
            Places of those in the array of values.

        Returns
        -------
        float
            Its integral is 1.
        """
        left = self._sorted.size - without.size
        if left < 1:
            return 1.0 / self._span
        k = min(max(4, ceil(sqrt(left))), left)
        place = int(np.searchsorted(self._sorted, x))
        near = slice(max(place - k - without.size, 0), place + k + without.size)
        away = np.sort(np.abs(self._sorted[near][~np.isin(self._order[near], without)] - x))
        reach = float(away[min(k, away.size) - 1])
        # No further than there are any.
        inside = min(x + reach, float(self._sorted[-1])) - max(x - reach, float(self._sorted[0]))
        width = max(inside, reach, 1e-12)
        return ((k - 1) / width + 1.0 / self._span) / (left + 1)


class Neighbours:
    """All that are compared, by their places and DMs.

    Parameters
    ----------
    compared : ndarray of int64
        Those of it.
    """

    def __init__(self, places: Places, compared: Ints) -> None:
        self.places = own = places
        by_dec = compared[np.argsort(own.dec[compared], kind="stable")]
        placed = np.isfinite(own.dec[by_dec]) & np.isfinite(own.ra[by_dec])
        self._placed, self._anywhere = by_dec[placed], by_dec[~placed]
        self._dec = own.dec[self._placed]
        self._widest = float(np.max(own.beam[compared], initial=0.0))
        self.number = np.full(len(own), -1, dtype=np.int64)
        self.number[compared] = np.arange(compared.size)
        self.dms = Density(own.dm[compared], DM_RANGE)

    def near(self, i: int) -> tuple[Ints, Floats]:
        """Those of other times that may be in the same direction, and how far away they are in sigma, squared."""
        f = self.places
        if np.isfinite(f.dec[i]) and np.isfinite(f.ra[i]):
            # Sigma of two beams: 0.6 of the wider one, at the most.
            reach = FAR * 0.61 * max(self._widest, float(f.beam[i]))
            lo, hi = np.searchsorted(self._dec, [f.dec[i] - reach, f.dec[i] + reach])
            rivals = np.concatenate([self._placed[lo:hi], self._anywhere])
        else:
            rivals = np.concatenate([self._placed, self._anywhere])
        rivals = rivals[f.other_time(i, rivals)]
        away = f.away(i, rivals)
        return rivals[away < FAR**2], away[away < FAR**2]


class _Sky(Neighbours):
    """All candidates that are compared, with the density of their periods, too.

    Parameters
    ----------
    found : Sightings
    compared : ndarray of int64
        Those of it.
    """

    def __init__(self, sightings: Sightings, compared: Ints, orbit: float) -> None:
        super().__init__(sightings, compared)
        self.sightings, self.orbit = sightings, orbit
        self.period = sightings.period
        self._periods = Density(self.period[compared], _LOG_RANGE)

    def matches(self, i: int) -> list[Match]:
        """Candidates that agree with one, with the number of unrelated ones that would."""
        f = self.sightings
        rivals, away = self.near(i)
        if not rivals.size:
            return []
        errors = np.hypot(f.error[i], f.error[rivals])
        unknown = np.hypot(f.unknown[i], f.unknown[rivals])
        alone = np.sqrt(errors**2 + unknown**2 + STEADY**2)
        dms = f.dm_spread(i, rivals)
        apart = self.period[rivals] - self.period[i]
        ratio_of = _nearest(apart)
        rest = apart - _LOG_RATIOS[ratio_of]
        flat = ((f.dm[rivals] - f.dm[i]) / dms) ** 2 + away
        # What keeps its topocentric period, while that of the source moves, speaks for no source.
        moved = np.abs(np.nan_to_num(f.doppler[rivals] - f.doppler[i])) > _SHIFTED * alone
        still = np.abs(rest - (f.doppler[rivals] - f.doppler[i])) < _ON_THE_GROUND * errors
        free = ~(moved & still)
        widths, shares = self._widths(alone)
        trials = [(sigma, simple) for simple in (True, False) for sigma in widths]
        distance = [
            np.where(free & ((ratio_of == _UNITY) == simple), (rest / sigma) ** 2 + flat, np.inf)
            for sigma, simple in trials
        ]
        hit = np.flatnonzero(np.min(distance, axis=0) < FAR**2)
        if not hit.size:
            return []
        expected = np.full((len(trials), hit.size), np.inf)
        for k, (sigma, simple) in enumerate(trials):
            if not np.any(distance[k][hit] < FAR**2):
                continue
            density = self._density(i, rivals[hit], simple)
            for column, at in enumerate(hit.tolist()):
                if distance[k][at] < FAR**2:
                    inside = np.maximum(distance[k][at] - away, 0.0)
                    area = np.pi * float(np.sum(sigma * dms * inside))
                    expected[k, column] = area * density / shares[k]
        best = np.argmin(expected, axis=0)
        out = [
            Match(
                int(rivals[at]), float(expected[k, column]), RATIOS[ratio_of[at]],
                self.orbit > 0 and trials[k][0] is widths[-1], float(rest[at]), float(f.dm[rivals[at]] - f.dm[i]),
            )
            for column, (at, k) in enumerate(zip(hit.tolist(), best.tolist(), strict=True))
        ]  # fmt: skip
        return sorted(out, key=lambda m: m.expected)

    def _widths(self, alone: Floats) -> tuple[list[Floats], Sequence[float]]:
        """Differences that periods may have [1 sigma], and the shares of these at the same period and at others.

        Two questions that are nearly the same are one.
        """
        with_orbit = np.hypot(alone, 0.5 * self.orbit)
        # Widths with and without an orbit are two where their ratio is larger.
        if np.median(with_orbit) > 8.0 * np.median(alone):
            return [alone, with_orbit], _SHARES
        return [with_orbit], (_SHARES[0] + _SHARES[1], _SHARES[2] + _SHARES[3])

    def _density(self, i: int, matched: Ints, simple: bool) -> float:
        """Density of unrelated candidates around one in log P and DM, or summed over all ratios to its period but 1.

        Without itself and those that may be the same source.
        """
        without = self.number[np.append(matched, i)]
        ratios = _LOG_RATIOS[[_UNITY]] if simple else np.delete(_LOG_RATIOS, _UNITY)
        periods = sum(self._periods.at(float(self.period[i] + shift), without) for shift in ratios)
        return self.dms.at(float(self.sightings.dm[i]), without) * periods


def _nearest(apart: Floats) -> Ints:
    """Places of the nearest ratios."""
    above = np.clip(np.searchsorted(_LOG_RATIOS, apart), 1, len(RATIOS) - 1)
    lower = np.abs(apart - _LOG_RATIOS[above - 1]) <= np.abs(apart - _LOG_RATIOS[above])
    return np.asarray(above - lower, dtype=np.int64)


def together(places: Places, matches: Sequence[Match]) -> tuple[float, list[Match]]:
    """Chance of as many matches, as good, as speak best for a candidate, or a pulse; and these.

    Unrelated candidates that agree are a Poisson process in their expected number: k of them below the k-th's.
    """
    chosen: list[Match] = []
    for match in matches:
        if all(places.other_time(match.other, np.array([m.other]))[0] for m in chosen):
            chosen.append(match)
    counts = np.arange(1, len(chosen) + 1)
    tails = gammainc(counts, np.array([m.expected for m in chosen]))
    stated = np.exp(np.log(np.maximum(tails, _TINY)) - log(1.0 - _MORE) - (counts - 1) * log(_MORE))
    best = int(np.argmin(stated))
    return float(np.clip(stated[best], _TINY, 1.0)), chosen[: best + 1]


def _join(sightings: Sightings, compared: Ints, out: list[Recurrence]) -> None:
    """Put those together that chance would not: heads, ratios to them and times."""
    strength = np.nan_to_num(sightings.snr, nan=-np.inf)
    members: dict[int, list[int]] = {}
    for i in compared[np.argsort(-strength[compared], kind="stable")].tolist():
        if not out[i].matches or compared.size * out[i].chance > BELIEVED:
            continue
        head = out[i].head
        if head == i and i not in members:
            accepted = [m for m in out[i].matches if out[m.other].head != m.other or m.other in members]
            if accepted:
                head = out[accepted[0].other].head
                _add(out, members, head, i, out[accepted[0].other].ratio / accepted[0].ratio)
            else:
                members[i] = []
        for match in out[i].matches:
            if out[match.other].head == match.other and match.other not in members and match.other != head:
                _add(out, members, head, match.other, out[i].ratio * match.ratio)
    for head, family in members.items():
        every = [head, *family]
        # The strongest leads, and its source's chance is that of who put it together.
        best = max(every, key=lambda i: float(strength[i]))
        base, times = out[best].ratio, sightings.times(every)
        out[best].chance = out[head].chance
        for i in every:
            out[i].head, out[i].ratio, out[i].nseen = best, out[i].ratio / base, times


def _add(out: list[Recurrence], members: dict[int, list[int]], head: int, member: int, ratio: Fraction) -> None:
    out[member].head, out[member].ratio = head, ratio
    members[head].append(member)


def _ground(sightings: Sightings, compared: Ints, out: list[Recurrence], orbit: float, sidelobe: float) -> None:
    """Mark interference: one topocentric period at places and times at which no source has one."""
    order = compared[np.argsort(sightings.topocentric[compared], kind="stable")]
    periods = sightings.topocentric[order]
    density = Density(sightings.topocentric[order], _LOG_RANGE)
    widest = float(np.max(sightings.error[order], initial=0.0))
    for at, i in enumerate(order.tolist()):
        if sightings.known[i]:
            continue
        reach = max(_ON_THE_GROUND * np.hypot(sightings.error[i], widest), orbit + 2.0 * STEADY)
        lo, hi = np.searchsorted(periods, [periods[at] - reach, periods[at] + reach])
        if hi - lo <= _PLACES:
            continue
        place = np.arange(lo, hi)
        place = place[sightings.other_time(i, order[place])]
        window = order[place]
        errors = np.hypot(sightings.error[i], sightings.error[window])
        same = np.abs(sightings.topocentric[window] - sightings.topocentric[i]) < _ON_THE_GROUND * errors
        here = ~(sightings.away(i, window) >= FAR**2)
        shift = np.abs(np.nan_to_num(sightings.doppler[window] - sightings.doppler[i]))
        moved = shift > _SHIFTED * np.hypot(errors, STEADY)
        kept = same & here & moved
        if np.sum(kept) < _KEPT * np.sum(here & moved):
            kept[:] = False
        else_where = window[same & ~here]
        places = _directions(sightings, i, else_where) + sightings.times(window[kept].tolist())
        evidence = np.concatenate([else_where, window[kept]])
        if places < _PLACES or np.nanmax(sightings.snr[evidence], initial=0.0) <= sidelobe * np.nan_to_num(
            sightings.snr[i]
        ):
            continue
        width = 2.0 * _ON_THE_GROUND * np.hypot(sightings.error[i], sightings.error[order])
        everything = sightings.other_time(i, order)
        expected = float(np.sum(width[everything])) * density.at(float(periods[at]), np.append(place[same], at))
        if compared.size * float(gammainc(places, max(expected, 1e-12))) < _SURELY:
            out[i].ground, out[i].ground_expected = places, expected


def _directions(sightings: Sightings, i: int, members: Ints) -> int:
    """In how many directions, apart from each other and from one, others lie."""
    left = members[np.isfinite(sightings.ra[members]) & np.isfinite(sightings.dec[members])]
    count = 0
    while left.size and np.isfinite(sightings.ra[i]):
        count += 1
        left = left[sightings.away(int(left[0]), left) >= FAR**2]
    return count


def repeated(places: Places, usable: Bools) -> list[Recurrence]:
    """Compare the pulses of different times.

    Parameters
    ----------
    usable : ndarray of bool, shape (n,)
        Those that are no interference.

    Returns
    -------
    list of Recurrence
        One for each pulse: the head is the strongest pulse of its source at its own time, and `nseen` counts the times
        at which its source was seen, where chance would not do it on the whole list.
    """
    out = [Recurrence(i) for i in range(len(places))]
    heads = _heads(places, np.flatnonzero(places.comparable & usable), out)
    field = Neighbours(places, heads)
    for i in heads.tolist():
        matches = _matches(field, i)
        if matches:
            chance, chosen = together(places, matches)
            out[i].chance = chance
            if heads.size * chance <= BELIEVED:
                out[i].nseen = places.times([i, *(m.other for m in chosen)])
    for pulse in out:
        pulse.chance, pulse.nseen = out[pulse.head].chance, out[pulse.head].nseen
    return out


def _heads(places: Places, compared: Ints, out: list[Recurrence]) -> Ints:
    """The strongest pulse of each source of each time; the others are led to it."""
    heads: dict[tuple[float, float], list[int]] = {}
    strength = np.nan_to_num(places.snr, nan=-np.inf)
    for i in compared[np.argsort(-strength[compared], kind="stable")].tolist():
        heads_of_night = heads.setdefault((float(places.start[i]), float(places.end[i])), [])
        rivals = np.array(heads_of_night, dtype=np.int64)
        apart = ((places.dm[rivals] - places.dm[i]) / places.dm_spread(i, rivals)) ** 2 + places.away(i, rivals)
        if rivals.size and float(apart.min()) < FAR**2:
            out[i].head = int(rivals[np.argmin(apart)])
        else:
            heads_of_night.append(i)
    return np.array(sorted(i for heads_of_night in heads.values() for i in heads_of_night), dtype=np.int64)


def _matches(field: Neighbours, i: int) -> list[Match]:
    """Sources that agree with one, with the number of unrelated ones that would, best first."""
    places = field.places
    rivals, away = field.near(i)
    spread = places.dm_spread(i, rivals)
    apart = places.dm[rivals] - places.dm[i]
    distance = (apart / spread) ** 2 + away
    hit = np.flatnonzero(distance < FAR**2)
    if not hit.size:
        return []
    density = field.dms.at(float(places.dm[i]), field.number[np.append(rivals[hit], i)])
    out = []
    for at in hit.tolist():
        reach = 2.0 * spread * np.sqrt(np.maximum(distance[at] - away, 0.0))
        out.append(Match(int(rivals[at]), density * float(reach.sum()), Fraction(1), False, 0.0, float(apart[at])))
    return sorted(out, key=lambda m: m.expected)
