"""Templates of circular orbits: how far apart they may be, and where they are.

A pulse that is emitted at t arrives at t + x cos(Wt) + y sin(Wt), t from the middle of the data, W = 2 pi / P_orb,
tau = (x^2 + y^2)^1/2 = a sin(i) / c. Two orbits are told apart by the variance of the phase between them, less what
another frequency takes up: the mismatch, the part of the power that the one loses in the other (Allen et al. 2013,
ApJ 773, 91, who have the same phase in tau and an initial angle). With c(W) and s(W) the functions cos(Wt) and sin(Wt)
less their parts in 1 and t, both over their norms ``even`` and ``odd``, the phase is X c + Y s,
X = 2 pi f x even(W), Y = 2 pi f y odd(W): a vector of fixed length does not change along itself, c and s are of
different symmetry, and so the metric is diagonal,

    mismatch = dX^2 + dY^2 + (X^2 |dc/dW|^2 + Y^2 |ds/dW|^2) dW^2.

In X and Y it is flat, and so it is in W where (X^2 ...)^1/2 hardly changes: in shells of it the templates are a
body-centred cubic lattice, which covers space with the fewest points that any lattice of three dimensions can.

Of orbits that are longer than the data an acceleration search tells: :func:`orbit_range` is what it has to cover.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from scipy.optimize import brentq

from pulsar.config.model import MOST_PARTS, AccelConfig, OrbitsConfig
from pulsar.constants import C
from pulsar.errors import ConfigError
from pulsar.searches.response import MAX_Z
from pulsar_kernels.arrays import Floats

#: G M_sun / c^3 [s] (IAU 2015 nominal solar mass parameter).
T_SUN: Final = 4.925490947641267e-6
#: A body-centred cubic lattice of constant a leaves no point farther than (5/16)^1/2 a (Conway & Sloane 1999).
BCC: Final = 5.0 / 16.0
#: With fewer slices than that in W a lattice has no inside, and hexagons are laid out in each.
FEW_SLICES: Final = 6
#: Banks of more templates than that are not counted but told by their volume.
LARGE: Final = 1e6


def projected_size(period: float, pulsar: float, companion: float) -> float:
    """Size a / c of a pulsar's circular orbit, seen from its edge [s], by Kepler's third law.

    Parameters
    ----------
    period : float
        Orbital period [s].
    pulsar, companion : float
        Masses [M_sun].
    """
    return float((T_SUN * (period / (2.0 * np.pi)) ** 2) ** (1.0 / 3.0) * companion * (pulsar + companion) ** (-2 / 3))


def least_companion(period: float, size: float, pulsar: float) -> float:
    """Mass of the companion [M_sun] that a projected size [s] asks for at least (an orbit seen from its edge)."""
    # Of a companion heavier than the pulsar the size is that of unit masses times (m / 4)^(1/3) at least.
    highest = pulsar + 4.0 * (size / projected_size(period, 0.0, 1.0)) ** 3
    return float(brentq(lambda mass: projected_size(period, pulsar, mass) - size, 0.0, highest))


class Metric:
    """Norms of what orbits do to the phase within data of one length.

    Parameters
    ----------
    tobs : float
        Length of the data [s].
    first, last : float
        Range of W = 2 pi / P_orb [rad/s].

    Attributes
    ----------
    turn : ndarray, shape (n,)
        W [rad/s].
    even, odd : ndarray, shape (n,)
        Norms of cos(Wt) and sin(Wt) less their parts in 1 and t.
    bend_even, bend_odd : ndarray, shape (n,)
        |dc/dW| and |ds/dW| [s].
    path : ndarray, shape (n,)
        Integral of the larger of them from the first W on.
    """

    def __init__(self, tobs: float, first: float, last: float) -> None:
        self.tobs = tobs
        # 64 steps in W for a turn of W T, and no fewer.
        n = max(64, int(64 * (last - first) * tobs / (2.0 * np.pi))) + 1
        self.turn = np.linspace(first, last, n)
        # Gauss-Legendre: exact for what is smooth on this scale.
        u, weight = np.polynomial.legendre.leggauss(64 + int(last * tobs))
        t, weight = 0.5 * tobs * u, 0.5 * weight
        self.even, self.bend_even = np.array([self._norms(w * t, t, weight, even=True) for w in self.turn]).T
        self.odd, self.bend_odd = np.array([self._norms(w * t, t, weight, even=False) for w in self.turn]).T
        speed = np.maximum(self.bend_even, self.bend_odd)
        self.path = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * np.diff(self.turn))])

    @staticmethod
    def _norms(angle: Floats, t: Floats, weight: Floats, *, even: bool) -> tuple[float, float]:
        """Norm of the function, and of the derivative of its unit vector."""
        value, slope = (np.cos(angle), -t * np.sin(angle)) if even else (np.sin(angle), t * np.cos(angle))
        known = np.ones_like(t) if even else t
        known = known / np.sqrt(weight @ known**2)
        value = value - (weight @ (value * known)) * known
        slope = slope - (weight @ (slope * known)) * known
        norm = np.sqrt(weight @ value**2)
        unit = value / norm
        slope = slope - (weight @ (slope * unit)) * unit
        return float(norm), float(np.sqrt(weight @ slope**2) / norm)

    def at(self, turn: Floats) -> tuple[Floats, ...]:
        """Norms and bends at W: even, odd, bend_even, bend_odd."""
        return tuple(
            np.interp(turn, self.turn, table) for table in (self.even, self.odd, self.bend_even, self.bend_odd)
        )


@dataclass(frozen=True)
class Slice:
    """Templates of one W."""

    turns: tuple[float, float, float]  # W [rad/s]: the first that it stands for, its own, the last
    spacing: float  # Of the lattice in X, Y
    hexagons: bool  # Whether the lattice is one of triangles; else of squares
    shifted: bool  # Of squares: by half a diagonal
    #: inner, outer: shell to which it belongs.
    inner: float
    outer: float

    @property
    def turn(self) -> float:
        """Its W [rad/s]."""
        return self.turns[1]


class Bank:
    """Templates that cover a range of orbits up to a frequency.

    Parameters
    ----------
    config : OrbitsConfig
        Orbits that are searched, and the largest part of the power, at the highest frequency, that is lost between
        templates, as the metric has it.
    freq : float
        Highest frequency [Hz], of the highest harmonic that is summed.
    tobs : float
        Length of the data [s].

    Raises
    ------
    ConfigError
        If the range of orbits is empty.
    """

    def __init__(self, config: OrbitsConfig, freq: float, tobs: float) -> None:
        if not config.p_min < config.p_max:
            raise ConfigError(f"orbital periods from {config.p_min:g} to {config.p_max:g} s: expected 0 < MIN < MAX")
        if not config.lightest < config.heaviest:
            raise ConfigError(
                f"companions from {config.lightest:g} to {config.heaviest:g} solar masses: expected 0 <= MIN < MAX"
            )
        self.config, self.freq, self.tobs = config, freq, tobs
        #: From lengths of time to phase [rad/s].
        self.scale = 2.0 * np.pi * freq
        self.metric = Metric(tobs, 2.0 * np.pi / config.p_max, 2.0 * np.pi / config.p_min)

    def sizes(self, turn: Floats) -> tuple[Floats, Floats]:
        """Smallest and largest a sin(i) / c [s] at W [rad/s]."""
        scale = (T_SUN / np.asarray(turn) ** 2) ** (1.0 / 3.0)
        masses = (self.config.lightest, self.config.heaviest)
        low, high = ((m * (self.config.pulsar + m) ** (-2.0 / 3.0)) for m in masses)
        return scale * low, scale * high

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """All of the bank."""
        return tuple(self._slices())

    def _slices(self) -> Iterator[Slice]:
        metric = self.metric
        _, most = self.sizes(metric.turn)
        scale = self.scale * most
        # The largest X^2 + Y^2 of an orbit, each as it counts for W.
        speed = np.maximum(metric.bend_even, metric.bend_odd)
        ends = np.array([metric.even * metric.bend_even, metric.odd * metric.bend_odd]) / speed
        reach = float((scale * ends.max(axis=0)).max())
        constant = float(np.sqrt(self.config.mismatch / BCC))
        inner = 0.0
        while inner < reach:
            # Outer over inner edge of a shell, and its least thickness in lattice constants.
            outer = max(1.1 * inner, inner + 2.0 * constant)
            yield from self._shell(inner, outer, min(outer, reach), constant)
            inner = outer

    def _shell(self, inner: float, outer: float, top: float, constant: float) -> Iterator[Slice]:
        """The slices of one shell, whose radius is `top` at most."""
        path = float(self.metric.path[-1])
        count = int(np.ceil(path * top / (0.5 * constant))) + 1
        few = self._hexagons(path * top)
        if few is not None and few[0] <= FEW_SLICES:
            count, spacing = few
            places = (np.arange(count, dtype=np.float64) + 0.5) * path / count
            for turns in self._turns(places, 0.5 * path / count):
                yield Slice(turns, spacing, True, False, inner, outer)
            return
        # A slice and the next one are half a constant apart: each stands for what is between its neighbours.
        step = path / (count - 1)
        for i, turns in enumerate(self._turns(np.arange(count, dtype=np.float64) * step, step)):
            yield Slice(turns, constant, False, i % 2 == 1, inner, outer)

    def _turns(self, places: Floats, half: float) -> list[tuple[float, float, float]]:
        """W at places along the path, and at half a slice on either side."""
        around = places[:, None] + np.array([-half, 0.0, half])
        turns = np.interp(around, self.metric.path, self.metric.turn)
        return [(float(a), float(b), float(c)) for a, b, c in turns]

    def _hexagons(self, length: float) -> tuple[int, float] | None:
        """Slices over a length in W and spacing of triangles in them, that need the fewest templates."""
        counts = np.arange(1, 2 * FEW_SLICES)
        left = self.config.mismatch - (0.5 * length / counts) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            cost = np.where(left > 0.0, counts / left, np.inf)
        best = int(np.argmin(cost))
        # Triangles of side d leave no point farther than d / 3^1/2 from a corner.
        return None if not np.isfinite(cost[best]) else (int(counts[best]), float(np.sqrt(3.0 * left[best])))

    def templates(self, part: Slice) -> tuple[Floats, Floats]:
        """The templates of a slice: x and y [s], shape (n,) each."""
        even, odd, bend_even, bend_odd = (float(v[1]) for v in self.metric.at(np.array(part.turns)))
        high, wide, low, thin = self._ellipses(part)
        rows = part.spacing * (np.sqrt(0.75) if part.hexagons else 1.0)
        # Too thin for a row on either side of the axis: all lie on it.
        # Up to this half thickness [lattice constants] orbits in a plane are those on its axis: (1/4)^2 + (1/2)^2 =
        # 5/16.
        flat = wide < 0.25 * part.spacing
        # No farther out than the shell reaches.
        speed = max(bend_even, bend_odd)
        # Templates beyond the orbits that are searched, as far as this [lattice constants], cover their edge.
        edge = part.spacing * 0.3
        most_i = min(high + edge, part.outer * speed / max(bend_even, 1e-9 * speed))
        most_j = min(wide + edge, part.outer * speed / max(bend_odd, 1e-9 * speed))
        ni, nj = int(most_i / part.spacing) + 1, 0 if flat else int(most_j / rows) + 1
        i, j = np.arange(-ni, ni + 1)[:, None], np.arange(-nj, nj + 1)[None, :]
        half = 0.5 * (j % 2) if part.hexagons else (0.5 if part.shifted else 0.0)
        along = part.spacing * (i + half) + np.zeros(j.shape)
        across = rows * (j + (0.5 if part.shifted and not flat else 0.0)) + np.zeros(i.shape)
        radius = np.hypot(along * bend_even, across * bend_odd) / speed
        kept = (radius >= part.inner) & (radius < part.outer)
        kept &= _beyond(along, across, high, wide) <= edge
        if low > 0.0:
            kept &= _beyond(along, across, low, thin) >= -edge
        return along[kept] / (self.scale * even), across[kept] / (self.scale * odd)

    def _ellipses(self, part: Slice) -> tuple[float, float, float, float]:
        """Half axes in X and Y of the largest orbits that a slice stands for, and of the smallest."""
        turns = np.array(part.turns)
        even, odd, _, _ = self.metric.at(turns)
        least, most = self.sizes(turns)
        high, wide = float((self.scale * most * even).max()), float((self.scale * most * odd).max())
        return high, wide, float((self.scale * least * even).min()), float((self.scale * least * odd).min())

    @cached_property
    def count(self) -> int:
        """Templates; of many slices from a part of them, of very many by their volume."""
        perfect = self.volume[0] / (0.5 * (self.config.mismatch / BCC) ** 1.5)
        # Shells and edges take so many more than a lattice without (1.20, 1.10, 1.08, 1.12 and 1.07 times in banks of
        # 0.9, 0.8, 6, 8 and 20 x 10^6).
        if perfect > LARGE:
            return int(1.12 * perfect)
        # Slices that are counted for a plan; the others are taken to be like their neighbours.
        step = max(len(self.slices) // 60, 1)
        total = 0.0
        for lo in range(0, len(self.slices), step):
            part = self.slices[lo : lo + step]
            total += len(part) * self.templates(part[len(part) // 2])[0].size
        return int(total)

    @cached_property
    def volume(self) -> tuple[float, float]:
        """Space that the orbits fill by the metric: its volume, and the largest area of it at one W."""
        metric = self.metric
        least, most = self.sizes(metric.turn)
        high, wide = self.scale * most * metric.even, self.scale * most * metric.odd
        # An ellipse in polar coordinates, in each direction of which the density grows with the radius.
        angle = 2.0 * np.pi * (np.arange(256) + 0.5)[:, None] / 256
        density = np.hypot(high * np.cos(angle) * metric.bend_even, wide * np.sin(angle) * metric.bend_odd).mean(axis=0)
        hole = least / most
        each = 2.0 * np.pi * high * wide * density * (1.0 - hole**3) / 3.0
        area = np.pi * high * wide * (1.0 - hole**2)
        return float(np.trapezoid(each, metric.turn)), float(area.max())


def _beyond(along: Floats, across: Floats, high: float, wide: float) -> Floats:
    """How far points are outside of an ellipse, about: less than 0 inside."""
    part = np.hypot(along / high, across / wide)
    rate = np.hypot(along / high**2, across / wide**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(part > 0.0, part * (part - 1.0) / rate, -np.inf))


@dataclass(frozen=True)
class OrbitRange:
    """Largest changes by a circular orbit that is seen from its edge."""

    size: float  # a / c [s]
    #: accel, jerk: [m/s^2], [m/s^3]
    accel: float
    jerk: float
    freq: float  # Spin frequency of the fastest pulsar, for which the drifts hold [Hz]; they grow with it
    parts: int  # Equal parts of the data, the fewest of which each is no more than a tenth of the orbit
    share: float  # Of each part in the orbit
    #: z, w: drift and its change over a part, at the fundamental [bins of 1/T].
    z: float
    w: float
    searchable: bool  # Parts so short are not too many, and their drift not too large


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
    # Mass of the pulsar [M_sun], as usual (Lorimer & Kramer 2004, section 9.2.1).
    size = projected_size(period, 1.4, companion)
    drift = freq * size * rate**2 * tobs**2
    # Part of an orbit in which its acceleration may pass for constant (Ransom et al. 2003, section 1).
    parts = max(math.ceil(tobs / (0.1 * period)), math.ceil(math.sqrt(drift / MAX_Z)), 1)
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
