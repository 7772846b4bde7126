"""Whether folds of given periods show anything, and what may be wrong where they do not."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import TYPE_CHECKING

from pulsar.data.fold import Fold
from pulsar.data.header import Header

if TYPE_CHECKING:
    from pulsar.sky.timing import TimingModel


@dataclass(frozen=True)
class Origin:
    """Where a period to be folded comes from.

    Attributes
    ----------
    kind : {"period", "par", "candidate"}
        Given by hand, by an ephemeris, or found in an observation.
    name : str
        Of the pulsar or of the observed source.
    ra_deg, dec_deg : float
        Where it is [deg]; NaN: unknown.
    epoch : float
        MJD of the period; NaN: that of the fold.
    """

    kind: str = "period"
    name: str = ""
    ra_deg: float = nan
    dec_deg: float = nan
    epoch: float = nan

    @classmethod
    def of_par(cls, model: "TimingModel") -> "Origin":
        """That of an ephemeris."""
        return cls("par", model.name, model.ra_deg, model.dec_deg, model.epoch)

    @classmethod
    def of_candidate(cls, header: Header) -> "Origin":
        """That of a candidate of another observation."""
        return cls("candidate", header.source, header.ra_deg, header.dec_deg, header.tmid)


def doubts(fold: Fold, origin: Origin, header: Header) -> list[str]:
    """What may be wrong with a fold that shows nothing, the likeliest first.

    Parameters
    ----------
    fold : Fold
    origin : Origin
    header : Header
        Of the observation that was folded.
    """
    found = [*_elsewhere(origin, header)]
    period = 1.0 / fold.before.freq
    if origin.kind == "period":
        found.append(
            f"is the period in seconds? {period:.6g} s were folded; milliseconds are --period {period:.6g}ms"
            if period >= 1.0
            else f"are period ({period:.6g} s) and DM those of this source, topocentric at mid-observation (--epoch)?"
        )
    elif origin.kind == "par":
        days = abs(header.tmid - origin.epoch)
        found.append(f"does the ephemeris hold {days:.0f} days from its epoch?" if isfinite(days) else "")
    elif isfinite(origin.epoch) and abs(header.tmid - origin.epoch) > 1.0 / 24.0:
        days = abs(header.tmid - origin.epoch)
        found.append(f"the period was measured {days:.3g} days away: does it hold so long (--accel, --epoch, --par)?")
    return [one for one in found if one]


def _elsewhere(origin: Origin, header: Header) -> list[str]:
    """The position and the name of what was asked for against those in the file."""
    from pulsar.sky.catalogue import beam_width, separation

    here = f"the file has {header.source or 'an unnamed source'}"
    away = float(separation(origin.ra_deg, origin.dec_deg, header.ra_deg, header.dec_deg))
    beam = beam_width(header)
    if isfinite(away):
        # Without a known telescope a degree is more than any beam of one that finds pulsars.
        if away > (beam if isfinite(beam) else 1.0):
            told = f" (the beam is {beam:.2g} deg wide)" if isfinite(beam) else ""
            return [f"another position: {origin.name or 'it'} is {away:.3g} deg away{told}, {here}"]
        return []
    if origin.name and header.source and origin.name.casefold() not in header.source.casefold():
        return [f"another source? it is of {origin.name}, {here}"]
    return []


def verdict(fold: Fold, sigma: float, ident: str, doubted: Sequence[str]) -> str:
    """The warning about a fold that shows nothing."""
    why = "; ".join(doubted)
    return (
        f"{ident}: not detected: noise gives S/N {fold.snr:.1f} as well, over all that the fold was tried at "
        f"({sigma:.1f} sigma)" + (f": {why}" if why else "")
    )
