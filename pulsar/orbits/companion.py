"""Range of an acceleration search for pulsars in an orbit that is longer than the data, told beforehand."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from pulsar.config.model import MOST_PARTS, AccelConfig
from pulsar.constants import C
from pulsar.errors import ConfigError
from pulsar.orbits.bank import projected_size
from pulsar.searches.response import MAX_Z

#: Mass of the pulsar [M_sun], as usual (Lorimer & Kramer 2004, section 9.2.1).
PULSAR: Final = 1.4
#: Part of an orbit in which its acceleration may pass for constant (Ransom et al. 2003, section 1).
STEADY: Final = 0.1


@dataclass(frozen=True)
class OrbitRange:
    """Largest changes by a circular orbit that is seen from its edge.

    Attributes
    ----------
    size : float
        a / c [s].
    accel, jerk : float
        [m/s^2], [m/s^3]
    freq : float
        Spin frequency of the fastest pulsar, for which the drifts hold [Hz]; they grow with it.
    parts : int
        Equal parts of the data, the fewest of which each is no more than a tenth of the orbit.
    share : float
        Of each part in the orbit.
    z, w : float
        Drift and its change over a part, at the fundamental [bins of 1/T].
    searchable : bool
        Parts so short are not too many, and their drift not too large.
    """

    size: float
    accel: float
    jerk: float
    freq: float
    parts: int
    share: float
    z: float
    w: float
    searchable: bool


def orbit_range(tobs: float, companion: float, period: float, config: AccelConfig) -> OrbitRange:
    """Accelerations, drifts and parts that a search needs for pulsars with a companion.

    By Kepler's third law the line-of-sight acceleration is up to a (2 pi / P)^2, its change that times 2 pi / P
    (Lorimer & Kramer 2004, chapters 6 and 8); z = f a T^2 / c, w = f j T^3 / c.

    Parameters
    ----------
    tobs : float
        Length of the data [s].
    companion : float
        Its mass [M_sun].
    period : float
        Of the orbit [s].
    config : AccelConfig
        Its `p_fast` is the period of the fastest pulsar.

    Raises
    ------
    ConfigError
        Mass or period are not above 0.
    """
    if not (companion > 0.0 and period > 0.0 and math.isfinite(companion * period)):
        raise ConfigError(f"--companion {companion:g}, --orbit {period:g} s: expected a mass and a period above 0")
    rate, freq = 2.0 * np.pi / period, 1.0 / config.p_fast
    size = projected_size(period, PULSAR, companion)
    drift = freq * size * rate**2 * tobs**2
    parts = max(math.ceil(tobs / (STEADY * period)), math.ceil(math.sqrt(drift / MAX_Z)), 1)
    length = tobs / parts
    return OrbitRange(
        size=size,
        accel=C * size * rate**2,
        jerk=C * size * rate**3,
        freq=freq,
        parts=parts,
        share=length / period,
        z=drift / parts**2,
        w=drift / parts**2 * rate * length,
        searchable=parts <= MOST_PARTS,
    )
