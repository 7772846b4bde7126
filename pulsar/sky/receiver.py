"""Beams of a receiver on the sky: neighbours, positions, and where between them a source lies."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import ReceiverConfig

#: Half width [beam widths] and points of the grid on which a source is placed.
_REACH: Final = 1.2
_POINTS: Final = 61
_FOUR_LN2: Final = 4.0 * np.log(2.0)


@dataclass(frozen=True)
class Receiver:
    """Beams with their offsets on the sky.

    Attributes
    ----------
    config : ReceiverConfig
    """

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
        """Whether beams form one patch of neighbours; one beam that was not observed may lie between two."""
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

        Parameters
        ----------
        snr : mapping of int to float
            Detections, by beam.
        limits : mapping of int to float
            Threshold in the other beams that were observed.

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
        step = np.linspace(-_REACH, _REACH, _POINTS) * self.config.hpbw
        x = self.offsets[best][0] + step[None, :]
        y = self.offsets[best][1] + step[:, None]

        def gain(beam: int) -> NDArray[np.float64]:
            bx, by = self.offsets[beam]
            return np.asarray(np.exp(-_FOUR_LN2 * ((x - bx) ** 2 + (y - by) ** 2) / self.config.hpbw**2))

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
