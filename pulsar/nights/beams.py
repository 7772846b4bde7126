"""One list from several beams: which detections are one source, where it lies, and which are interference.

A source on the sky is seen in one beam, or in a patch of neighbours; a very bright one also in the sidelobes of others,
with a small fraction of its S/N. Interference is seen everywhere, or in beams that have nothing to do with each other.
Beams that were not observed are unknown: they neither speak for a source nor against it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pulsar.sky.observatory import Receiver
from pulsar_kernels.arrays import Array, Bools, Ints

#: DMs agree within so many errors, plus this fraction.
DM_SIGMA: Final = 5.0
DM_SLACK: Final = 0.02
#: Single pulses come together within so many widths.
PULSE_WIDTHS: Final = 2.0


@dataclass(frozen=True)
class BeamDetection:
    """One detection in one beam."""

    beam: int
    row: int  # In the table of that beam
    snr: float


@dataclass(frozen=True)
class Coincidence:
    """Detections that are one signal, and the verdict on it."""

    best: BeamDetection  # The strongest
    members: tuple[BeamDetection, ...]  # All, strongest first
    verdict: str  # "source" (one beam or a patch of neighbours), "sidelobes" (a bright source), or "rfi"
    #: east, north, error: position by the beams' S/N, offset from the middle of the receiver [arcmin], and its error;
    #: NaN when unknown.
    east: float = float("nan")
    north: float = float("nan")
    error: float = float("nan")

    @property
    def beams(self) -> set[int]:
        """Beams in which it was seen."""
        return {s.beam for s in self.members}


def coincide_candidates(
    tables: Mapping[int, Array],
    receiver: Receiver,
    observed: set[int],
    tobs: float,
    drift: Mapping[int, float],
) -> list[Coincidence]:
    """Group the periodic candidates of the beams of one pointing.

    Candidates marked as harmonics go with their fundamental and are not compared.

    Parameters
    ----------
    tables : mapping of int to ndarray
        Beam -> rows with the fields of CANDIDATE_COLUMNS.
    observed : set of int
        Beams of which there are data.
    tobs : float
        Length of the observation [s].
    drift : mapping of int to float
        Seconds from the epoch of each beam's frequencies to a common one.
    """
    seen, values = [], []
    for beam, rows in tables.items():
        for i in np.flatnonzero(rows["harmonic_of"] == ""):
            row = rows[i]
            seen.append(BeamDetection(beam, int(i), _strength(row)))
            later, length = drift[beam], tobs
            if row["part"]:
                # Of a part: from its middle to that of the observation.
                length = float(row["part_duration"])
                later += 0.5 * tobs - float(row["part_start"]) - 0.5 * length
            freq, dm = float(row["freq"]) + later * float(np.nan_to_num(row["fdot"])), float(row["dm"])
            error = float(np.nan_to_num(row["period_err"])) * freq**2
            # Detections in two beams are the same within 1.5 bins of 1/T and within five of their errors.
            away = DM_SIGMA * float(np.nan_to_num(row["dm_err"], nan=1.0)) + DM_SLACK * dm
            values.append((freq, dm, max(1.5 / length, 5.0 * error), away))
    f, d, df, dd = np.array(values, dtype=np.float64).reshape(-1, 4).T

    def same(i: int, rivals: Ints) -> Bools:
        close = np.abs(f[rivals] - f[i]) <= np.maximum(df[rivals], df[i])
        return np.asarray(close & (np.abs(d[rivals] - d[i]) <= np.maximum(dd[rivals], dd[i])))

    return _judged(seen, same, receiver, observed, 6.0)


def coincide_pulses(tables: Mapping[int, Array], receiver: Receiver, observed: set[int]) -> list[Coincidence]:
    """Group the single pulses of the beams of one pointing, as :func:`coincide_candidates` does.

    Parameters
    ----------
    tables : mapping of int to ndarray
        Beam -> rows with the fields of SINGLE_PULSE_COLUMNS.
    """
    seen = [BeamDetection(beam, i, float(row["snr"])) for beam, rows in tables.items() for i, row in enumerate(rows)]
    seen.sort(key=lambda s: float(tables[s.beam][s.row]["time"]))
    every = [tables[s.beam][s.row] for s in seen]
    t, d, w, dd = (
        np.array([float(np.nan_to_num(r[k])) for r in every], dtype=np.float64)
        for k in ("time", "dm", "width", "dm_err")
    )

    def same(i: int, rivals: Ints) -> Bools:
        close = np.abs(t[rivals] - t[i]) <= PULSE_WIDTHS * np.maximum(w[rivals], w[i])
        return np.asarray(
            close & (np.abs(d[rivals] - d[i]) <= DM_SIGMA * np.hypot(dd[rivals], dd[i]) + DM_SLACK * d[i])
        )

    # In order of time: only neighbours can be the same.
    widest = PULSE_WIDTHS * float(w.max(initial=0.0))
    lo, hi = np.searchsorted(t, t - widest), np.searchsorted(t, t + widest, side="right")
    return _judged(seen, same, receiver, observed, 7.0, (lo, hi))


def _strength(row: Any) -> float:
    """Folded S/N; of what was not folded the significance."""
    snr = float(row["snr"])
    return snr if np.isfinite(snr) else float(row["sigma_single"])


def _judged(
    seen: Sequence[BeamDetection],
    same: Any,
    receiver: Receiver,
    observed: set[int],
    threshold: float,
    window: tuple[Ints, Ints] | None = None,
) -> list[Coincidence]:
    """Best first, each takes from every other beam the strongest that is the same.

    A source would have been seen in a beam above the S/N `threshold`; `window` says from where to where in the list
    those of the others may lie.
    """
    order = sorted(range(len(seen)), key=lambda i: -seen[i].snr)
    free = np.ones(len(seen), dtype=np.bool_)
    beams = np.array([s.beam for s in seen], dtype=np.int64)
    out = []
    for i in order:
        if not free[i]:
            continue
        a, b = (0, len(seen)) if window is None else (int(window[0][i]), int(window[1][i]))
        rivals = a + np.flatnonzero(free[a:b] & (beams[a:b] != beams[i]))
        free[i] = False
        chosen: dict[int, BeamDetection] = {}
        for j in rivals[same(i, rivals)]:
            free[j] = False
            if seen[j].snr > chosen.get(int(beams[j]), BeamDetection(0, 0, -np.inf)).snr:
                chosen[int(beams[j])] = seen[j]
        members = tuple(sorted([seen[i], *chosen.values()], key=lambda s: -s.snr))
        out.append(_verdict(members, receiver, observed, threshold))
    return out


def _verdict(
    members: tuple[BeamDetection, ...], receiver: Receiver, observed: set[int], threshold: float
) -> Coincidence:
    config = receiver.config
    best = members[0]
    core = [s for s in members if s.snr > config.sidelobe * best.snr]
    beams = {s.beam for s in core}
    bright = len(core) < len(members)
    # Of a receiver whose geometry is not known only the number of beams tells.
    known = beams & set(receiver.offsets)
    good = len(beams) <= config.max_beams and (not known or receiver.together(known, observed))
    if not good:
        return Coincidence(best, members, "rfi")
    place = receiver.place(
        {s.beam: s.snr for s in core}, dict.fromkeys(observed - {s.beam for s in members}, threshold)
    )
    east, north, error = place if place is not None else (float("nan"),) * 3
    return Coincidence(best, members, "sidelobes" if bright else "source", east, north, error)
