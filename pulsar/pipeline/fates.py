"""What became of an injected signal: whether the list has it, as itself and without a flag, and what kept it off."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM
from pulsar.data.candidate import empty_table
from pulsar.data.header import Header
from pulsar.data.injected import INJECTED_COLUMNS, ROW_COLUMNS
from pulsar.pipeline.injections import band_delay
from pulsar.sources.candidate import Candidate

if TYPE_CHECKING:
    from pulsar.synthesis.model import Burst, Pulsar

#: A row is a pulsar's if their phases part by no more than this over the observation [turns], or the errors allow it.
TURNS: Final = 0.3
SIGMAS: Final = 3.0
#: Errors of a frequency allow no more than this [turns].
MOST_TURNS: Final = 1.0
#: A pulse is that of a burst if it is within its width, and no less than so many samples.
LEAST_SAMPLES: Final = 2.0
#: Other frequencies at which a pulsar that is not on the list may be.
ALIASES: Final = tuple((m, d) for m in range(1, 9) for d in range(1, 9) if m != d)


class Fates:
    """Compares injected signals with lists.

    Parameters
    ----------
    header : Header
    dms : ndarray
        Trial DMs [pc cm^-3].
    freqs : ndarray
        Channels that were used [MHz], descending.
    """

    def __init__(self, header: Header, dms: NDArray[np.float64], freqs: NDArray[np.float64]) -> None:
        self.header = header
        self.dms = dms
        #: Delay over the band, and mean delay of the channels, for a DM of 1 [s].
        self.across = band_delay(freqs)
        self.mean = KDM * float(np.mean(freqs**-2.0) - header.freqs[0] ** -2.0)

    def room(self, width: float, dm_err: float, dm: float) -> float:
        """DMs that differ by less are one: by the width over the band, the errors, or a step of the trials."""
        nearest = int(np.argmin(np.abs(self.dms - dm)))
        step = float(np.gradient(self.dms)[nearest]) if self.dms.size > 1 else 0.0
        by_width = width / self.across if self.across > 0 else np.inf
        return max(by_width, SIGMAS * (dm_err if np.isfinite(dm_err) else 0.0), step)

    def pulsar(
        self,
        pulsar: "Pulsar",
        place: int,
        listed: Sequence[Candidate],
        detections: NDArray[Any],
        owners: dict[str, str],
    ) -> NDArray[Any]:
        """The row of a pulsar.

        Parameters
        ----------
        pulsar : Pulsar
        place : int
        listed : sequence of Candidate
            Best first.
        detections : ndarray
        owners : dict
            Is told the uids of rows that are the pulsar ("injected"), or of it at another period ("other").
        """
        width = pulsar.duty * pulsar.period
        row = empty_table(INJECTED_COLUMNS, 1)
        row["kind"], row["place"], row["snr"], row["dm"] = "pulsar", place, pulsar.snr, pulsar.dm
        row["period"], row["accel"] = pulsar.period, pulsar.accel or 0.0
        row["width"], row["duty"] = width, pulsar.duty
        tobs = self.header.tobs
        mine: list[Candidate] = []
        other: list[Candidate] = []
        for one in listed:
            if abs(one.dm - pulsar.dm) > self.room(width, one.dm_err, pulsar.dm):
                continue
            allowed = max(TURNS, min(SIGMAS * one.freq_err * tobs, MOST_TURNS))
            if abs(one.freq - pulsar.freq) * tobs <= allowed:
                mine.append(one)
            elif any(abs(one.freq - pulsar.freq * m / d) * tobs <= TURNS for m, d in ALIASES):
                other.append(one)
        good = [one for one in mine if not one.parent and not one.flags]
        owners |= {one.uid: "other" for one in other if not one.parent and one.uid not in owners}
        owners |= {one.uid: "injected" for one in mine if not one.parent}
        row["found"] = bool(good)
        for best in (good or mine)[:1]:
            row["listed_snr"], row["score"] = best.snr, best.score
        row["fate"] = "found" if good else self._lost(mine, other, pulsar, detections)
        return row

    def _lost(
        self, mine: Sequence[Candidate], other: Sequence[Candidate], pulsar: "Pulsar", detections: NDArray[Any]
    ) -> str:
        """What kept a pulsar off the list."""
        flagged = next((one for one in mine if not one.parent), None)
        if flagged is not None:
            return "flagged: " + ",".join(flagged.flags)
        if mine:
            return f"attached: {mine[0].relation or 'to another'}"
        if any(not one.parent and not one.flags for one in other):
            return "listed at another period"
        off = np.abs(detections["freq"] - pulsar.freq) * self.header.tobs
        near = np.abs(detections["dm"] - pulsar.dm) <= self.room(pulsar.duty * pulsar.period, np.nan, pulsar.dm)
        return "detected, not listed" if bool(np.any(near & (off < 1.0))) else "not detected"

    def burst(self, burst: "Burst", place: int, pulses: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The row of a burst, and which pulses of a list, best first, are it."""
        from pulsar.synthesis.population import smeared

        row = empty_table(INJECTED_COLUMNS, 1)
        row["kind"], row["place"], row["snr"], row["dm"] = "burst", place, burst.snr, burst.dm
        row["time"], row["width"] = burst.time, burst.width
        width = float(np.hypot(burst.width, smeared(self.header, burst.dm)))
        room = np.array([self.room(width, float(e), burst.dm) for e in pulses["dm_err"]])
        # Off in DM is off in time, by the mean delay of the channels.
        when = burst.time - (pulses["dm"] - burst.dm) * self.mean
        allowed = np.maximum(np.maximum(width, 0.5 * pulses["width"]), LEAST_SAMPLES * self.header.tsamp)
        taken = np.asarray((np.abs(pulses["dm"] - burst.dm) <= room) & (np.abs(pulses["time"] - when) <= allowed))
        mine = np.flatnonzero(taken).tolist()
        good = [k for k in mine if not pulses["rfi_flags"][k]]
        row["found"] = bool(good)
        row["fate"] = "found" if good else "not detected"
        for best in (good or mine)[:1]:
            row["listed_snr"], row["score"] = pulses["snr"][best], pulses["score"][best]
            row["fate"] = "found" if good else f"flagged: {pulses['rfi_flags'][best]}"
        return row, taken


def listed_row(kind: str, place: int, one: Any, origin: str) -> NDArray[Any]:
    """A row of the lists beside the injected signals: of a candidate, or a single pulse."""
    row = empty_table(ROW_COLUMNS, 1)
    row["kind"], row["place"], row["origin"] = kind, place, origin
    for name in ("score", "snr", "dm"):
        row[name] = getattr(one, name) if isinstance(one, Candidate) else one[name]
    return row
