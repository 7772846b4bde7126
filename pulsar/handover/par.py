"""A candidate as an ephemeris (``.par``) for tempo, tempo2 and PINT.

The fold counts turns in the time of the telescope, at the highest channel. What an ephemeris counts is the same turns
by barycentric time (TDB), at infinite frequency. The turns are therefore laid out over the observation, their moments
carried to the barycentre, and the spin frequency and as many derivatives fitted as it takes to follow them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import DAY, KDM
from pulsar.data.direction import dms, hms
from pulsar.data.fold import Fold, FoldParams
from pulsar.data.header import Header
from pulsar.data.text import file_name, printable
from pulsar.errors import ConfigError
from pulsar.sky.barycentre import arrival_times, barycentric
from pulsar.sky.observatory import find_observatory

#: Moments over the observation at which turns are counted.
_POINTS: Final = 65
#: Terms are added until the turns are followed within this [turns]; a tenth of what an ephemeris is to hold.
_MISSED: Final = 1e-3
#: Most terms of the spin: the turning Earth needs no more over 6 h at a period of 1.4 ms (tests/handover).
_MOST_TERMS: Final = 6
#: Ephemeris of the solar system that files name: one that tempo2 and PINT know. Ours departs from it by 10 us and by
#: 3e-9 of the frequency (:mod:`pulsar.sky.barycentre`).
EPHEMERIS: Final = "DE440"


@dataclass(frozen=True)
class Spin:
    """Rotation as an ephemeris tells it.

    Attributes
    ----------
    epoch : float
        MJD: TDB at the barycentre, or UTC at the telescope where that is all there is.
    terms : tuple of float
        Frequency [Hz] and its derivatives there.
    doppler : float
        Barycentric over topocentric frequency.
    frame : {"barycentre", "telescope", "data"}
        Where its time is kept: at the barycentre, brought there by us or by who made the data; or at the telescope.
    """

    epoch: float
    terms: tuple[float, ...]
    doppler: float
    frame: str


def spin_of(params: FoldParams, header: Header, epoch: float, tobs: float) -> Spin:
    """The rotation of a fold by the time of an ephemeris.

    Parameters
    ----------
    params : FoldParams
        Topocentric, at `epoch`.
    header : Header
        Telescope, position, and highest channel, at which the fold counts its turns.
    epoch : float
        MJD (UTC) of mid-observation.
    tobs : float
        Length [s].
    """
    nodes = 0.5 * tobs * np.cos(np.pi * (np.arange(_POINTS) + 0.5) / _POINTS)
    turns = nodes * (params.freq + nodes * (params.fdot / 2.0 + nodes * params.fddot / 6.0))
    known = np.isfinite(params.dm) and np.isfinite(header.fch1) and header.fch1 > 0
    late = KDM * params.dm * header.fch1**-2.0 if known else 0.0
    where = find_observatory(header.telescope)
    doppler, frame, first, seconds = 1.0, "telescope", epoch - late / DAY, nodes
    if header.barycentric:
        frame = "data"
    elif where is not None and np.isfinite(header.ra_deg) and np.isfinite(header.dec_deg) and epoch > 0:
        place = (header.ra_deg, header.dec_deg, where)
        first, seconds = arrival_times(first, nodes, *place)
        doppler, frame = 1.0 + barycentric(epoch, *place).voverc, "barycentre"
    return Spin(first, _terms(turns, seconds, 0.5 * tobs), doppler, frame)


def _terms(turns: NDArray[np.float64], seconds: NDArray[np.float64], scale: float) -> tuple[float, ...]:
    """Frequency and derivatives that follow turns: two at least, and no more than it takes."""
    x = seconds / scale
    for count in range(2, _MOST_TERMS + 1):
        basis = np.stack([x**k for k in range(count + 1)], axis=1)
        fit, *_ = np.linalg.lstsq(basis, turns, rcond=None)
        if np.max(np.abs(turns - basis @ fit)) < _MISSED:
            break
    factors = np.cumprod(np.arange(1, len(fit))) / scale ** np.arange(1, len(fit))
    return tuple(float(value) for value in fit[1:] * factors)


def pulse_mjd(fold: Fold) -> Decimal:
    """When the middle of the pulse passes the telescope next to mid-observation, MJD (UTC) at the highest channel."""
    phase = fold.phase - round(fold.phase)
    seconds = phase / fold.after.freq
    for _ in range(3):
        seconds = phase / (fold.after.freq + seconds * (fold.after.fdot / 2.0 + seconds * fold.after.fddot / 6.0))
    return Decimal(fold.epoch) + Decimal(seconds) / Decimal(DAY)


def par_text(fold: Fold, header: Header, *, name: str, origin: str = "") -> str:
    """The text of a ``.par`` file.

    Phase 0 is the middle of the pulse. The frame is that of the barycentre where telescope and position are known;
    else it is that of the telescope, and the text says so.

    Parameters
    ----------
    fold : Fold
    header : Header
        Of its observation.
    name : str
        Of the pulsar.
    origin : str
        Where it comes from, for a comment.

    Raises
    ------
    ConfigError
        The time of the observation is not known.
    """
    if not (np.isfinite(fold.epoch) and fold.epoch > 0):
        raise ConfigError("the time of the observation is not known: an ephemeris cannot be made of its period")
    spin = spin_of(fold.after, header, fold.epoch, fold.tobs)
    where = find_observatory(header.telescope)
    at_site = spin.frame == "barycentre" and where is not None
    # Delays shrink with the period, and frequencies grow: of the product with the square of a frequency one is left.
    dm, dm_err = fold.after.dm * spin.doppler, fold.dm_err * spin.doppler
    lines = _begun(header, name, origin, *_remarks(spin, header))
    for order, value in enumerate(spin.terms):
        error = {0: fold.freq_err, 1: fold.fdot_err}.get(order, float("nan"))
        lines.append(_line(f"F{order}", f"{value:.17g}", error))
    lines.append(_line("PEPOCH", f"{spin.epoch:.12f}"))
    lines.append(_line("DM", f"{dm:.10g}", dm_err))
    half = Decimal(0.5 * fold.tobs / DAY)
    lines.append(_line("START", f"{Decimal(fold.epoch) - half:.8f}"))
    lines.append(_line("FINISH", f"{Decimal(fold.epoch) + half:.8f}"))
    lines.append(_line("TZRMJD", f"{pulse_mjd(fold):.15f}"))
    lines.append(_line("TZRSITE", where.code if at_site and where is not None else "@"))
    known = np.isfinite(header.fch1) and header.fch1 > 0
    lines.append(_line("TZRFRQ", f"{header.fch1:.6f}" if known else "0"))
    lines += [_line("EPHEM", EPHEMERIS), _line("UNITS", "TDB"), _line("CLK", "UTC(NIST)")]
    return "\n".join(lines) + "\n"


def stack_par_text(row: Mapping[str, Any], header: Header, *, name: str, origin: str = "") -> str:
    """The text of a ``.par`` file for a candidate of a stack: a frequency at the barycentre, with no phase.

    Parameters
    ----------
    row : mapping
        Of the table of candidates.
    header : Header
        Of the stack: barycentric, with the direction that its epochs are barycentred for.
    name : str
        Of the pulsar.
    origin : str
        Where it comes from, for a comment.

    Raises
    ------
    ConfigError
        The stack is topocentric: each epoch has a period of its own.
    """
    if not header.barycentric:
        raise ConfigError("the stack is topocentric (stack.barycentre was off): no ephemeris is good for all epochs")
    freq, error = float(row["freq"]), float(row["period_err"]) * float(row["freq"]) ** 2
    lines = _begun(header, name, origin, "position: that of the stack; no phase: TZRMJD is missing")
    lines += [_line("F0", f"{freq:.17g}", error), _line("PEPOCH", f"{header.tmid:.12f}")]
    lines += [_line("DM", f"{float(row['dm']):.10g}"), _line("EPHEM", EPHEMERIS), _line("UNITS", "TDB")]
    return "\n".join(lines) + "\n"


def orbit_par_text(row: Mapping[str, Any], header: Header, *, name: str, origin: str = "") -> str:
    """The text of a ``.par`` file for a pulsar on a circular orbit (ELL1: Lange et al. 2001, MNRAS 326, 274).

    Parameters
    ----------
    row : mapping
        Of the table ``orbits/found``: frequency in the time of the pulsar, orbit, node.
    header : Header
        Of what was searched: from the middle of it frequencies count, at the barycentre if it was barycentred.
    name : str
        Of the pulsar.
    origin : str
        Where it comes from, for a comment.
    """
    missing = "" if header.barycentric else "NOT BARYCENTRED: F0, PEPOCH and the orbit are topocentric (UTC)"
    lines = _begun(header, name, origin, missing, "no phase: TZRMJD is missing")
    lines.append(_line("F0", f"{float(row['freq']):.17g}", float(row["freq_err"])))
    lines += [_line("PEPOCH", f"{header.tmid:.12f}"), _line("DM", f"{float(row['dm']):.10g}")]
    lines.append(_line("BINARY", "ELL1"))
    lines.append(_line("PB", f"{float(row['porb']) / DAY:.15g}", float(row["porb_err"]) / DAY))
    lines.append(_line("A1", f"{float(row['asini']):.12g}", float(row["asini_err"])))
    lines.append(_line("TASC", f"{float(row['tasc']):.12f}", float(row["tasc_err"])))
    lines += [_line("EPS1", "0"), _line("EPS2", "0"), _line("EPHEM", EPHEMERIS), _line("UNITS", "TDB")]
    return "\n".join(lines) + "\n"


def _begun(header: Header, name: str, *remarks: str) -> list[str]:
    """The first lines of a file: remarks, the name of the pulsar, and the direction if it is known."""
    lines = [f"# {printable(line)}" for line in remarks if line]
    lines.append(_line("PSR", _plain(name)))
    if np.isfinite(header.ra_deg) and np.isfinite(header.dec_deg):
        lines += [_line("RAJ", hms(header.ra_deg, 5)), _line("DECJ", dms(header.dec_deg, 4))]
    return lines


def _remarks(spin: Spin, header: Header) -> list[str]:
    if spin.frame == "barycentre":
        return ["position: that of the beam; time: barycentric (TDB)"]
    if spin.frame == "data":
        return ["time: that of the data, which were barycentred before the search"]
    missing = [
        text
        for text, absent in (
            ("telescope", find_observatory(header.telescope) is None),
            ("position", not (np.isfinite(header.ra_deg) and np.isfinite(header.dec_deg))),
        )
        if absent
    ]
    return [f"NOT BARYCENTRED: the {' and the '.join(missing)} unknown; F0, F1 and PEPOCH are topocentric (UTC)"]


def _line(key: str, value: str, error: float = float("nan")) -> str:
    fitted = f" 1 {error:.3g}" if np.isfinite(error) and error > 0 else ""
    return f"{key:<9}{value}{fitted}"


def _plain(name: str) -> str:
    """A name without blanks, of plain letters."""
    return file_name(name.encode("ascii", "replace").decode()) or "PSR"
