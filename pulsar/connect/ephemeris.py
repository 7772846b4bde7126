"""One ephemeris of several nights: turns between them, the rotation, and the position where times ask for it."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

import numpy as np
from scipy.stats import chi2 as chi_square

from pulsar.connect.arrivals import Arrivals, at_barycentre
from pulsar.connect.turns import UNLIKELY, Connection, Rotation, Times, connect, fit
from pulsar.constants import DAY
from pulsar.errors import ConfigError
from pulsar.handover.timing import EPHEMERIS, par_head, par_line, tim_line
from pulsar.sky.observatory import find_observatory

#: A position is fitted over no shorter time [d]: in less the Earth's orbit bends too little to tell it from F0 and F1.
_LONG: Final = 60.0
#: Fits of the position: each but the last moves what its delays are linear around.
_FITS: Final = 3
#: The time it takes goes with the fourth power of their number: 180 nights took 50 s.
MOST_NIGHTS: Final = 300
#: Counts of turns that are listed.
MOST_TOLD: Final = 20


@dataclass(frozen=True)
class Night:
    """A night of an ephemeris.

    Attributes
    ----------
    label : str
        Of what it is from.
    mjd : float
        Of the middle of its times (UTC).
    ntoas : int
    turns : int
        Since the night before.
    late, error : float
        By how much its pulses come later than the ephemeris says, and 1 sigma [s].
    chi2 : float
        Of its times.
    arc : int
        From 1: nights of one are connected.
    """

    label: str
    mjd: float
    ntoas: int
    turns: int
    late: float
    error: float
    chi2: float
    arc: int


@dataclass(frozen=True)
class Ephemeris:
    """What several nights say of one pulsar.

    Attributes
    ----------
    arrivals : Arrivals
        With the position of the ephemeris.
    epoch : float
        Of the rotation, MJD (TDB).
    reference : tuple of float
        F0 [Hz] and F1 [Hz/s] there, before times were fitted.
    times : Times
    connection : Connection
    rotation : Rotation
        By the best count of turns.
    place_err : tuple of float
        1 sigma of right ascension (on the sky) and declination [rad]; 0: the position was kept.
    """

    arrivals: Arrivals
    epoch: float
    reference: tuple[float, float]
    times: Times
    connection: Connection
    rotation: Rotation
    place_err: tuple[float, float]

    def nights(self) -> list[Night]:
        """The nights, in order of time."""
        turns, period, before = self.connection.turns(), 1.0 / self.rotation.spin[0], 0
        nights = []
        for index, label in enumerate(self.arrivals.labels):
            own = np.flatnonzero(self.times.night == index)
            weights, late = self.times.errors[own] ** -2.0, self.rotation.residuals[own] * period
            mjd, arc = np.mean([float(self.arrivals.toas[k].mjd) for k in own]), int(self.connection.arcs[index]) + 1
            middle, error = float(weights @ late / weights.sum()), float(weights.sum() ** -0.5)
            since, chi2 = int(turns[own[0]]) - before, float(weights @ late**2)
            nights.append(Night(label, float(mjd), len(own), since, middle, error, chi2, arc))
            before = int(turns[own[0]])
        return nights

    def verdict(self) -> list[str]:
        """The result in sentences."""
        rotation, connection = self.rotation, self.connection
        lines = []
        if not connection.unique:
            more = "more than could be kept" if connection.cut else f"{len(connection.counts)} counts of turns"
            lines.append(
                f"UNSURE: not unique: {more} fit, chi-square does not decide; arcs of nights that are connected: "
                f"{int(connection.arcs[-1]) + 1}"
            )
            exact = connect(replace(self.times, place_err=0.0), self.reference)
            if self.times.place_err > 0 and exact.unique and np.array_equal(exact.turns(), connection.turns()):
                lines.append("the best alone fits if the position given is exact: --position-err tells how good it is")
        lines.append(f"chi2/dof {rotation.chi2:.1f}/{rotation.dof:.1f} = {rotation.chi2 / max(rotation.dof, 1e-9):.2f}")
        if rotation.scale > 1.0:
            lines.append(f"errors are those of the times of arrival multiplied by EFAC {rotation.scale:.2f}")
        if any(self.place_err):
            lines.append("position: fitted")
        else:
            error = np.degrees(self.times.place_err) * 60.0
            kept = f"; its error of {error:.2g}' is not in those of F0 and F1" if error > 0 else ""
            lines.append(f"position: that given, kept{kept}")
        return lines


def ephemeris_of(arrivals: Arrivals) -> Ephemeris:
    """Connect nights.

    Raises
    ------
    ConfigError
        There are fewer than three nights, or more than MOST_NIGHTS.
    """
    nnights = len(arrivals.labels)
    if not 3 <= nnights <= MOST_NIGHTS:
        raise ConfigError(
            f"{nnights} nights with times of arrival: from three, between which turns can be counted, to {MOST_NIGHTS}"
        )
    mjds = [float(toa.mjd) for toa in arrivals.toas]
    # A whole number of quarters, which a file holds exactly.
    epoch = round(2.0 * (min(mjds) + max(mjds))) / 4.0
    times = at_barycentre(arrivals, epoch)
    freq, fdot = arrivals.spin
    reference = (freq + fdot * (epoch - arrivals.epoch) * DAY, fdot)
    connection = connect(times, reference)
    turns = connection.turns()
    rotation = fit(times, reference, turns)
    kept = Ephemeris(arrivals, epoch, reference, times, connection, rotation, (0.0, 0.0))
    if not times.place_err > 0 or np.ptp(times.seconds) < _LONG * DAY:
        return kept
    moved = fit(times, reference, turns, place=True)
    if chi_square.sf(rotation.chi2 - moved.chi2, 2) > UNLIKELY:
        return kept
    for _ in range(_FITS - 1):
        ra, dec = np.degrees(moved.place) / (np.cos(np.radians(arrivals.dec_deg)), 1.0)
        arrivals = replace(arrivals, ra_deg=arrivals.ra_deg + float(ra), dec_deg=arrivals.dec_deg + float(dec))
        times = at_barycentre(arrivals, epoch)
        moved = fit(times, reference, turns, place=True)
    return Ephemeris(arrivals, epoch, reference, times, connection, moved, moved.place_err)


def hypotheses(ephemeris: Ephemeris) -> list[tuple[Rotation, str]]:
    """Counts of turns that chi-square does not decide between, best first, no more than MOST_TOLD.

    Returns
    -------
    list of (Rotation, str)
        Its rotation, with the position that it needs, and the turns from night to night that it counts more than the
        best one.
    """
    connection, steps = ephemeris.connection, np.diff(ephemeris.connection.counts, axis=1)
    more = [" ".join(f"{step:+d}" if step else "0" for step in each - steps[0]) for each in steps[:MOST_TOLD]]
    times, place = ephemeris.times, ephemeris.times.place_err > 0
    fits = [fit(times, ephemeris.reference, connection.turns(k), place=place) for k in range(len(more))]
    return list(zip(fits, more, strict=True))


def par_text(ephemeris: Ephemeris, origin: str) -> str:
    """The text of the ``.par`` file, whose phase 0 is the passage of the template's pulse.

    Parameters
    ----------
    ephemeris : Ephemeris
    origin : str
        Where it comes from, for a comment.
    """
    arrivals, rotation = ephemeris.arrivals, ephemeris.rotation
    east, north = (np.degrees(error) * 3600.0 * rotation.scale for error in ephemeris.place_err)
    errors = (float(east / 15.0 / np.cos(np.radians(arrivals.dec_deg))), float(north))
    lines = par_head(arrivals, arrivals.name, origin, *ephemeris.verdict(), place_err=errors)
    lines.append(par_line("POSEPOCH", f"{ephemeris.epoch:.12f}"))
    for order, (value, error) in enumerate(zip(rotation.spin, rotation.errors, strict=True)):
        lines.append(par_line(f"F{order}", f"{value:.17g}", error * rotation.scale))
    lines.append(par_line("PEPOCH", f"{ephemeris.epoch:.12f}"))
    lines.append(par_line("DM", f"{arrivals.dm:.10g}"))
    mjds = [toa.mjd for toa in arrivals.toas]
    lines += [par_line("START", f"{min(mjds):.8f}"), par_line("FINISH", f"{max(mjds):.8f}")]
    # The time next to the epoch, without what it departs by.
    near = int(np.argmin(np.abs(ephemeris.times.seconds)))
    toa, late = arrivals.toas[near], float(rotation.residuals[near]) / rotation.spin[0]
    lines.append(par_line("TZRMJD", f"{toa.mjd - Decimal(late) / Decimal(DAY):.15f}"))
    lines.append(par_line("TZRSITE", _site(arrivals.telescopes[near])))
    lines.append(par_line("TZRFRQ", f"{toa.freq:.6f}"))
    lines += [par_line("EPHEM", EPHEMERIS), par_line("UNITS", "TDB"), par_line("CLK", "UTC(NIST)")]
    lines.append(par_line("NTOA", str(len(mjds))))
    if rotation.dof > 0:
        lines.append(par_line("CHI2R", f"{rotation.chi2 / rotation.dof:.4f}"))
    return "\n".join(lines) + "\n"


def tim_text(arrivals: Arrivals) -> str:
    """The text of a ``.tim`` file of all times."""
    sites = zip(arrivals.toas, arrivals.telescopes, strict=True)
    lines = ["FORMAT 1", *(tim_line(toa, _site(telescope), arrivals.name) for toa, telescope in sites)]
    return "\n".join(lines) + "\n"


def _site(telescope: str) -> str:
    """The code of a telescope; "@" for the barycentre."""
    where = find_observatory(telescope)
    return "@" if where is None else where.code
