"""Radio telescopes: where they are, their beams on the sky, and the flux densities that they see.

Positions are a table of our own, because nothing is looked up over the network in a run.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from pulsar.config.model import ReceiverConfig, TelescopeConfig
from pulsar.data.header import Header
from pulsar_kernels.arrays import Floats


@dataclass(frozen=True)
class Observatory:
    """A telescope."""

    name: str
    xyz: tuple[float, float, float]  # geocentric position (ITRF) [m]
    aliases: tuple[str, ...] = ()  # other names that files use, in lower case; among them the codes of tempo
    dish: float = 0.0  # illuminated diameter of the dish that makes the beam [m]; 0 where there is no such thing

    @property
    def code(self) -> str:
        """The letter or digit of tempo, by which ephemerides and arrival times name it; else its name."""
        return next((alias for alias in self.aliases if len(alias) == 1), self.name)


#: FAST: Jiang et al. 2019 (Sci. China 62, 959502) and the tempo2 table; the others: the tables of tempo and tempo2,
#: good to a few metres (10 ns).
OBSERVATORIES: Final[tuple[Observatory, ...]] = (
    Observatory("FAST", (-1668557.0, 5506838.0, 2744934.0), ("k", "fa", "dawodang"), 300),
    Observatory("Arecibo", (2390490.0, -5564764.0, 1994727.0), ("ao", "3", "aolab", "arecibo observatory"), 225),
    Observatory("Parkes", (-4554231.5, 2816759.1, -3454036.3), ("pk", "pks", "7", "murriyang"), 64),
    Observatory("Jodrell", (3822626.04, -154105.65, 5086486.04), ("jb", "8", "lovell", "jodrell bank", "jbo"), 76),
    Observatory("GBT", (882589.65, -4924872.32, 3943729.348), ("gb", "1", "green bank", "nrao gbt"), 100),
    Observatory("GMRT", (1656342.3, 5797947.77, 2073243.16), ("gm", "r"), 45),
    Observatory("Effelsberg", (4033949.5, 486989.4, 4900430.8), ("ef", "eff", "g"), 100),
    Observatory("SRT", (4865182.766, 791922.689, 4035137.174), ("sr", "z", "sardinia"), 64),
    Observatory("LOFAR", (3826577.462, 461022.624, 5064892.526), ("lf", "t")),
    Observatory("VLA", (-1601192.0, -5041981.4, 3554871.4), ("vl", "6", "c", "jvla", "evla"), 25),
    Observatory("CHIME", (-2059166.313, -3621302.972, 4814304.113), ("ch", "y"), 20),
    Observatory("MeerKAT", (5109360.133, 2006852.586, -3238948.127), ("mk", "m", "kat-7"), 13.5),
    Observatory("Nancay", (4324165.81, 165927.11, 4670132.83), ("nc", "f", "ncy", "nrt"), 94),
    Observatory("Westerbork", (3828445.659, 445223.6, 5064921.568), ("wb", "i", "wsrt"), 25),
    Observatory("Molonglo", (-4483311.64, 2648815.92, -3671909.31), ("mo", "e", "most", "utmost")),
    Observatory("ASKAP", (-2556084.669, 5097398.337, -2848424.133), ("askap",), 12),
)


def find_observatory(name: str) -> Observatory | None:
    """The telescope of that name, alias or tempo code; None when it is unknown.

    `name`: as files write it; case, blanks and punctuation do not count.
    """
    plain = _plain(name)
    for observatory in OBSERVATORIES:
        if plain in {_plain(n) for n in (observatory.name, *observatory.aliases)}:
            return observatory
    return None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class Receiver:
    """Beams with their offsets on the sky."""

    config: ReceiverConfig

    @cached_property
    def offsets(self) -> dict[int, tuple[float, float]]:
        """Beam -> offset to the east and to the north [arcmin], turned and mirrored as configured."""
        angle = np.radians(self.config.rotation)
        out = {}
        for beam, east, north in self.config.beams:
            x = -east if self.config.mirrored else east
            # From north through east: a beam to the north moves to the east.
            out[beam] = (
                float(x * np.cos(angle) + north * np.sin(angle)),
                float(-x * np.sin(angle) + north * np.cos(angle)),
            )
        return out

    def distance(self, a: int, b: int) -> float:
        """Between two beams [arcmin]; NaN when one is not known."""
        if a not in self.offsets or b not in self.offsets:
            return float("nan")
        (xa, ya), (xb, yb) = self.offsets[a], self.offsets[b]
        return float(np.hypot(xa - xb, ya - yb))

    def neighbours(self, beam: int) -> set[int]:
        """Beams next to a beam."""
        return {b for b in self.offsets if b != beam and self.distance(beam, b) <= self.config.neighbour}

    def together(self, beams: set[int], observed: set[int]) -> bool:
        """True if beams form one patch of neighbours; one beam that was not observed may lie between two."""
        unknown = set(self.offsets) - observed
        reached, left = {min(beams)}, beams - {min(beams)}
        while left:
            near = {
                b
                for b in left
                if any(b in self.neighbours(r) or self.neighbours(r) & self.neighbours(b) & unknown for r in reached)
            }
            if not near:
                return False
            reached |= near
            left -= near
        return True

    def place(self, snr: Mapping[int, float], limits: Mapping[int, float]) -> tuple[float, float, float] | None:
        """Where a source lies from its S/N in some beams and its absence in others.

        Gaussian beams of the configured width; the brightness is free. The best of a grid around the beam of most S/N,
        by least squares in units of the noise; where there is no detection only an expected S/N above the limit counts,
        and the flux is even in its logarithm beforehand.

        `snr`: detections, by beam. `limits`: threshold in the other beams that were observed.

        Returns
        -------
        tuple of float or None
            Offset to the east and to the north [arcmin], and its 1-sigma error; None when the best beam has no place.
        """
        best = max(snr, key=lambda b: snr[b])
        if best not in self.offsets:
            return None
        seen = [b for b in snr if b in self.offsets]
        dark = [b for b in limits if b in self.offsets and b not in snr]
        step = np.linspace(-1.2, 1.2, 61) * self.config.hpbw
        x = self.offsets[best][0] + step[None, :]
        y = self.offsets[best][1] + step[:, None]

        def gain(beam: int) -> Floats:
            bx, by = self.offsets[beam]
            return np.asarray(np.exp(-4.0 * np.log(2.0) * ((x - bx) ** 2 + (y - by) ** 2) / self.config.hpbw**2))

        gains = np.array([gain(b) for b in seen])
        values = np.array([snr[b] for b in seen])[:, None, None]
        flux = (gains * values).sum(axis=0) / np.maximum((gains**2).sum(axis=0), 1e-12)
        chi2 = ((values - flux * gains) ** 2).sum(axis=0)
        for beam in dark:
            chi2 += np.maximum(flux * gain(beam) - limits[beam], 0.0) ** 2
        # Two beams say nothing across the line through them, one says nothing at all: there bright sources far from the
        # beams are no likelier than faint ones near them: the flux is even in its logarithm.
        chi2 = chi2 + 2.0 * np.log(np.maximum(flux, 1e-12) / values.max())
        weight = np.exp(-0.5 * (chi2 - chi2.min()))
        weight /= weight.sum()
        # The most probable place: the mean is drawn to where no beam was observed.
        row, column = np.unravel_index(int(np.argmin(chi2)), chi2.shape)
        px, py = float(x[0, column]), float(y[row, 0])
        error = float(np.sqrt(0.5 * (weight * ((x - px) ** 2 + (y - py) ** 2)).sum()))
        return px, py, error


#: S/N that is lost where noise is written with so few bits, levels at their best: of one bit sqrt(pi/2); of four levels
#: they keep 0.8825 of the power of a signal (Max 1960, IRE Trans. Inf. Theory 6, 7); of more bits nothing.
BETA: Final = {1: math.sqrt(0.5 * math.pi), 2: 1.0 / math.sqrt(0.8825)}
#: A rectangle of so many times the width at half maximum of a Gaussian gives the same S/N for the same mean flux.
EVEN: Final = math.sqrt(0.5 * math.pi / math.log(2.0))


def digitisation_loss(nbits: int, config: TelescopeConfig) -> float:
    """Loss of S/N by digitisation, 1 or more: what is set, or that of so many bits."""
    return BETA.get(nbits, 1.0) if config.beta is None else config.beta


def flux_of(snr: float, width: float, header: Header, bandwidth: float, config: TelescopeConfig) -> float:
    """Mean flux density [mJy] at which an ideal matched filter shows a pulsar of Gaussian pulses with this S/N.

    The radiometer equation (Dewey et al. 1985; Lorimer & Kramer 2004, A1.22) times the loss by digitisation, with the
    rectangle of the same S/N for the pulse: EVEN times its width at half maximum.

    Parameters
    ----------
    width : float
        Full width at half maximum [turns], as it is recorded.
    bandwidth : float
        Of the channels that were used [MHz].

    Returns
    -------
    float
        NaN when something is unknown, or where nothing of a turn is beside the pulse.
    """
    flux = mean_flux(snr, EVEN * width, tobs=header.tobs, bandwidth=bandwidth, config=config, za_deg=header.za_deg)
    return 1e-3 * flux * digitisation_loss(header.nbits, config)


def gain_at(config: TelescopeConfig, za_deg: float) -> float:
    """Gain at a zenith angle [K/Jy]: full up to `za_full`, then falling on a line to `za_zero`; NaN without a gain.

    An unknown angle (NaN) counts as the zenith.
    """
    if config.gain is None:
        return float("nan")
    if not za_deg > config.za_full:
        return config.gain
    return config.gain * max((config.za_zero - za_deg) / (config.za_zero - config.za_full), 0.0)


def mean_flux(
    snr: float, width: float, *, tobs: float, bandwidth: float, config: TelescopeConfig, za_deg: float = float("nan")
) -> float:
    """Mean flux density of a pulsar [uJy] by the radiometer equation (Dewey et al. 1985).

    S = S/N Tsys / (G sqrt(npol tobs bandwidth)) sqrt(w / (1 - w))

    Parameters
    ----------
    snr : float
        Folded S/N.
    width : float
        Width of the pulse [turns].
    bandwidth : float
        Of the channels that were used [MHz].
    za_deg : float
        Zenith angle [deg]; NaN when unknown.

    Returns
    -------
    float
        NaN when something is unknown.
    """
    gain = gain_at(config, za_deg)
    if not gain > 0 or not 0 < width < 1 or not bandwidth > 0 or not tobs > 0:
        return float("nan")
    noise = config.tsys / (gain * np.sqrt(config.npol * tobs * bandwidth * 1e6))
    return float(1e6 * snr * noise * np.sqrt(width / (1.0 - width)))
