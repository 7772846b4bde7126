"""Candidates and pulses of different times in the numbers by which it is compared: period, DM, direction, time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pulsar.constants import DAY
from pulsar.data.header import Header, band_delay
from pulsar.nights.beams import DM_SLACK
from pulsar.sky.barycentre import motion_of
from pulsar.sky.catalogue import beam_width, separation
from pulsar.sky.observatory import Receiver
from pulsar_kernels.arrays import Bools, Floats, Ints

#: Period of an unknown Doppler shift: the Earth moves with 1e-4 of the speed of light, up and down in a year [1 sigma].
DOPPLER: Final = 0.7e-4
#: Standard deviation of a Gaussian over its full width at half maximum.
_SIGMA: Final = 1.0 / np.sqrt(8.0 * np.log(2.0))
#: DMs differ by this part more than their errors say (4 sigma are DM_SLACK), and by as much at DM 0 [pc cm^-3].
DM_PART: Final = DM_SLACK / 4.0
DM_LEAST: Final = 0.1
#: Where the DM was not refined its error is that which smears a pulse of a tenth of a turn by half of itself.
_UNREFINED: Final = 0.05
#: ... and of a series, whose band is not known [pc cm^-3].
_NO_BAND: Final = 5.0
#: Days (MJD) for which the motion of the Earth is known.
_DAYS: Final = (10_000.0, 100_000.0)


@dataclass(frozen=True)
class Places:
    """Candidates or single pulses, each of its own observation; all arrays have the shape (n,)."""

    #: dm, dm_err: [pc cm^-3]
    dm: Floats
    dm_err: Floats
    #: ra, dec: direction [deg], NaN where unknown.
    ra: Floats
    dec: Floats
    beam: Floats  # Full width of the beam at half power [deg]
    #: start, end: of the observation, MJD; NaN where unknown: then it is compared with nothing.
    start: Floats
    end: Floats
    snr: Floats  # NaN where it was not folded

    def __len__(self) -> int:
        return len(self.dm)

    @property
    def comparable(self) -> Bools:
        """True for those whose numbers are known and such as pulsars have: products of others may hold anything."""
        known = np.isfinite(self.start) & np.isfinite(self.end)
        return np.asarray(known & (np.abs(self.dm) < 1e6) & (self.dm_err < 1e6) & (self.dm_err >= 0))

    def dm_spread(self, i: int, rows: Ints) -> Floats:
        """By how much the DMs of one and of others may differ if they are of one source [1 sigma]."""
        part = DM_PART * max(float(self.dm[i]), 0.0)
        return np.asarray(np.sqrt(self.dm_err[i] ** 2 + self.dm_err[rows] ** 2 + part**2 + DM_LEAST**2))

    def apart(self, i: int, rows: Ints) -> Floats:
        """Angle from one to others [deg]; NaN where one is unknown."""
        return separation(float(self.ra[i]), float(self.dec[i]), self.ra[rows], self.dec[rows])

    def away(self, i: int, rows: Ints) -> Floats:
        """The same in units of both beams together, squared; 0 where nothing is known of it."""
        both = _SIGMA * np.hypot(self.beam[i], self.beam[rows])
        return np.asarray(np.nan_to_num((self.apart(i, rows) / both) ** 2, nan=0.0), dtype=np.float64)

    def other_time(self, i: int, rows: Ints) -> Bools:
        """True for others that have no moment in common with one: only their noise is of its own."""
        return np.asarray((self.start[rows] >= self.end[i]) | (self.end[rows] <= self.start[i]))

    def times(self, of: Sequence[int]) -> int:
        """At how many times of which no two have a moment in common these were seen."""
        count, end = 0, -np.inf
        for i in sorted(of, key=lambda i: float(self.end[i])):
            if self.start[i] >= end:
                count, end = count + 1, float(self.end[i])
        return count


@dataclass(frozen=True)
class Sightings(Places):
    """Candidates with their periods."""

    topocentric: Floats  # Natural logarithm of the topocentric period [s]
    doppler: Floats  # What to add for the barycentric one; NaN where telescope or position are unknown
    error: Floats  # Relative 1-sigma error of the period
    known: Bools  # A known pulsar

    @property
    def comparable(self) -> Bools:
        """True for those whose numbers are known and such as pulsars have: products of others may hold anything."""
        # A logarithm of a period [s] that no pulsar has, and a relative error that tells nothing.
        sure = (np.abs(self.topocentric) < 20.0) & (self.error > 0) & (self.error < 0.1)
        return np.asarray(super().comparable & sure)

    @property
    def period(self) -> Floats:
        """Natural logarithm of the period: barycentric where that is known, else topocentric."""
        return self.topocentric + np.nan_to_num(self.doppler)

    @property
    def unknown(self) -> Floats:
        """Standard deviation that an unknown Doppler shift gives to `period`; 0 where it is known."""
        return np.where(np.isfinite(self.doppler), 0.0, DOPPLER)


def sightings_of(rows: Sequence[Any], headers: Sequence[Header], receiver: Receiver) -> Sightings:
    """Rows of candidates in the numbers by which they are compared.

    Parameters
    ----------
    rows : sequence of void
        Fields of CANDIDATE_COLUMNS.
    headers : sequence of Header
        Of the observation of each.
    receiver : Receiver
        Its beams' width holds where that of the telescope is not known.
    """
    period = np.array([float(row["period"]) for row in rows], dtype=np.float64)
    tobs = np.array([h.tobs for h in headers], dtype=np.float64)
    part = np.array([float(row["part_duration"]) if row["part"] else np.nan for row in rows], dtype=np.float64)
    tobs = np.where(np.isfinite(part), part, tobs)
    with np.errstate(all="ignore"):
        error = np.array([float(row["period_err"]) for row in rows], dtype=np.float64) / period
        # A period is no surer than this part of a bin of 1/T, whatever its error says: weak folds end on a lobe beside
        # it.
        error = np.fmax(error, 0.05 * period / tobs)
        topocentric = np.log(period)
    shifts: dict[tuple[float, ...], float] = {}
    return Sightings(
        **_placed(rows, headers, receiver, [_UNREFINED * float(p) for p in period]),
        topocentric=topocentric,
        doppler=np.array([_shift(r, h, shifts) for r, h in zip(rows, headers, strict=True)], dtype=np.float64),
        error=error,
        known=np.array([bool(row["known_source"]) for row in rows], dtype=np.bool_),
    )


def places_of(rows: Sequence[Any], headers: Sequence[Header], receiver: Receiver) -> Places:
    """Rows of single pulses in the numbers by which they are compared; the rest as for `sightings_of`."""
    return Places(**_placed(rows, headers, receiver, [0.5 * float(row["width"]) for row in rows]))


def _placed(
    rows: Sequence[Any], headers: Sequence[Header], receiver: Receiver, smears: Sequence[float]
) -> dict[str, Floats]:
    """The attributes of `Places`; where the DM was not refined its error makes delays of `smears` over the band [s]."""
    start = np.array([h.tstart if h.tstart > 0 else np.nan for h in headers], dtype=np.float64)
    errors = [_dm_err(r, h, smear) for r, h, smear in zip(rows, headers, smears, strict=True)]
    values = {
        name: np.array([float(row[key]) for row in rows], dtype=np.float64)
        for name, key in (("dm", "dm"), ("ra", "ra_deg"), ("dec", "dec_deg"), ("snr", "snr"))
    }
    return {
        **values,
        "dm_err": np.array(errors, dtype=np.float64),
        "beam": np.array([_beam(h, receiver) for h in headers], dtype=np.float64),
        "start": start,
        "end": start + np.array([h.tobs for h in headers], dtype=np.float64) / DAY,
    }


def _shift(row: Any, header: Header, known: dict[tuple[float, ...], float]) -> float:
    with np.errstate(all="ignore"):
        ratio = float(row["period_bary"] / row["period"])
    if 0.9 < ratio < 1.1:
        return float(np.log(ratio))
    if not _DAYS[0] < header.tmid < _DAYS[1]:
        return float("nan")
    # Over a beam it changes by 1e-7: one value an observation does.
    key = (header.tmid, header.ra_deg, header.dec_deg)
    if key not in known:
        motion = motion_of(header)
        known[key] = float("nan") if motion is None else -float(np.log1p(motion.voverc))
    return known[key]


def _dm_err(row: Any, header: Header, smear: float) -> float:
    if np.isfinite(row["dm_err"]) and row["dm_err"] > 0:
        return float(row["dm_err"])
    if header.is_series or not np.isfinite(header.fch1) or header.nchans < 2:
        return _NO_BAND
    low, high = header.edges
    if not 0.0 < low < high:
        return _NO_BAND
    return smear / band_delay((low, high))


def _beam(header: Header, receiver: Receiver) -> float:
    width = beam_width(header)
    if 0.0 < width < 180.0:
        return width
    # Full width of a beam of which nothing is known [deg]: that of a dish of 15 m at 1.4 GHz.
    return receiver.config.hpbw / 60.0 if receiver.offsets else 1.0
