"""What other times say of the rows of a merged list: sources put together, chances stated, scores that follow."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from pulsar.data.flags import BY_NAME, RFI, split, weight
from pulsar.data.header import Header
from pulsar.nights.matching import Seen, ncompared, see_again
from pulsar.nights.repeaters import repeated
from pulsar.nights.sightings import Sightings, places_of, sightings_of
from pulsar.sky.observatory import Receiver

#: What a row is of the one that leads its source.
SIGHTING: Final = "sighting"
#: The odds of a candidate are raised by no more than this [logit]: what comes again may still be interference.
MOST_RAISED: Final = float(np.log(1000.0))
#: Times that are named.
_NAMED: Final = 4
#: How what is said here begins, so that it is taken back when a list is merged again.
_SEEN, _AS, _PERHAPS, _GROUND = "seen at MJD", "as at MJD", "perhaps as at MJD", "topocentric period as"


def alone(row: Any) -> None:
    """Take back what an earlier merging has said of a row.

    Parameters
    ----------
    row : void
        Fields of CANDIDATE_COLUMNS; changed.
    """
    if str(row["relation"]).split(" ")[0] == SIGHTING:
        row["harmonic_of"] = row["parent"] = row["relation"] = ""
    if np.isfinite(row["score_alone"]):
        row["score"] = row["score_alone"]
    row["rfi_flags"] = ",".join(f for f in split(str(row["rfi_flags"])) if f != "terrestrial")
    said = (text for text in str(row["reasons"]).split("; ") if not text.startswith((_SEEN, _AS, _PERHAPS, _GROUND)))
    row["reasons"] = "; ".join(said)
    row["nseen"], row["chance"], row["score_alone"] = 1, np.nan, row["score"]


def compare(rows: Sequence[Any], headers: Sequence[Header], receiver: Receiver, orbit: float) -> list[int]:
    """Compare the candidates of different times, and write into each what that tells.

    Parameters
    ----------
    rows : sequence of void
        Candidates that stand for themselves, fields of CANDIDATE_COLUMNS; changed.
    headers : sequence of Header
        Of the observation of each.
    receiver : Receiver
    orbit : float
        Relative difference of periods that orbits may make.

    Returns
    -------
    list of int
        For each the place of the row that leads its source: its own, where it stands alone.
    """
    found = sightings_of(rows, headers, receiver)
    seen = see_again(found, orbit=orbit, sidelobe=receiver.config.sidelobe)
    trials = ncompared(found, seen)
    members: dict[int, list[int]] = {}
    for i, one in enumerate(seen):
        members.setdefault(one.head, []).append(i)
    for i, (row, one) in enumerate(zip(rows, seen, strict=True)):
        row["nseen"], row["chance"] = one.nseen, one.chance
        flags = split(str(row["rfi_flags"]))
        score = float(row["score"])
        if one.ground:
            if weight(flags) > RFI:
                row["score"] = RFI / weight(flags) * score
            flags = (*flags, "terrestrial")
            row["rfi_flags"] = ",".join(flags)
        elif one.matches:
            row["score"] = raised(score, weight(tuple(f for f in flags if f in BY_NAME)), trials * one.chance)
        if one.head != i:
            ratio = 1 / one.ratio
            row["relation"] = SIGHTING if ratio == 1 else f"{SIGHTING} {ratio}"
            row["parent"] = str(rows[one.head]["uid"])
        said = _said(found, one, i, members.get(i, []))
        row["reasons"] = "; ".join(filter(None, (said, str(row["reasons"]))))
    return [one.head for one in seen]


def compare_pulses(rows: Sequence[Any], headers: Sequence[Header], receiver: Receiver) -> None:
    """Compare the single pulses of different times, and write into each at how many its source was seen.

    Parameters
    ----------
    rows : sequence of void
        Fields of SINGLE_PULSE_COLUMNS; changed.
    headers : sequence of Header
        Of the observation of each.
    receiver : Receiver
    """
    flags = [split(str(row["rfi_flags"])) for row in rows]
    usable = np.array([weight(tuple(f for f in own if f in BY_NAME)) > RFI for own in flags], dtype=np.bool_)
    for row, one in zip(rows, repeated(places_of(rows, headers, receiver), usable), strict=True):
        row["nseen"], row["chance"] = one.nseen, one.chance


def raised(score: float, factor: float, expected: float) -> float:
    """The score of a candidate that was seen again: its odds by as much higher as chance would not do it.

    Parameters
    ----------
    score : float
        0 to 1, after its flags.
    factor : float
        What the flags have taken it times.
    expected : float
        Candidates of the whole list that would agree as well by chance.
    """
    evidence = float(np.clip(-np.log(max(expected, 1e-300)), 0.0, MOST_RAISED))
    own = min(max(score / factor, 1e-6), 1.0 - 1e-6)
    return max(score, factor / (1.0 + (1.0 / own - 1.0) * float(np.exp(-evidence))))


def _said(found: Sightings, one: Seen, i: int, members: Sequence[int]) -> str:
    """What was found, with its numbers."""
    if one.ground:
        return f"{_GROUND} at {one.ground} other places and times, {one.ground_expected:.2g} expected"
    if not one.matches:
        return ""
    if one.head == i and one.nseen > 1:
        times = [f"{t:.2f}" for t in sorted(float(found.start[k]) for k in members)]
        named = ", ".join(dict.fromkeys(times[:_NAMED])) + (" ..." if len(times) > _NAMED else "")
        return f"{_SEEN} {named} (chance {one.chance:.1e})"
    match = next((m for m in one.matches if m.other == one.head), one.matches[0])
    apart = float(found.apart(i, np.array([match.other]))[0])
    parts = [
        f"{_AS if one.head != i else _PERHAPS} {found.start[match.other]:.2f}: period"
        + ("" if match.ratio == 1 else f" x {match.ratio}")
        + f" within {abs(match.period):.1e}"
        + (" (an orbit)" if match.orbit else ""),
        f"DM within {abs(match.dm):.2g}",
        f"{60.0 * apart:.1f} arcmin" if np.isfinite(apart) else "",
        f"chance {one.chance:.1e}",
    ]
    return ", ".join(filter(None, parts))
