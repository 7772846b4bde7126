"""Ephemerides of pulsars as tempo and tempo2 write them (``.par``), and the rotation that a telescope sees.

Read are: name, position and proper motion, spin frequency and its derivatives (or periods), dispersion measure, and
simple Keplerian orbits (BT, DD, ELL1: Blandford & Teukolsky 1976; Damour & Deruelle 1986; Lange et al. 2001) with their
secular changes. What is below a few microseconds (Shapiro delay of a companion, parallax, aberration) or concerns noise
and the clock is passed over. What would change the rotation and is not understood is refused.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pulsar.constants import DAY, KDM
from pulsar.data.direction import sexagesimal
from pulsar.data.files import read_text
from pulsar.data.header import LARGEST_DM, LATEST_MJD, Header
from pulsar.data.text import parsed
from pulsar.errors import ConfigError, DataError
from pulsar.sky.barycentre import arrival_times
from pulsar.sky.catalogue import HIGHEST_SPIN, from_ecliptic
from pulsar_kernels.arrays import Floats

#: Binary models that are simple Keplerian orbits, those of small eccentricity among them.
BINARIES: Final = ("BT", "DD", "DDS", "DDH", "ELL1", "ELL1H")
#: Keys that would change the rotation and are not understood.
REFUSED: Final = {
    r"GL(EP|PH|F0|F1|F2|F0D|TD)_\d+": "glitches",
    r"FB\d+": "an orbit as a series of its frequency (FB0, FB1, ...)",
    r"(WAVE|IFUNC|SIFUNC|WXFREQ_)\w*": "timing noise as waves or a table",
    r"(PB|A1|X|T0|TASC|OM|ECC|E|EPS1|EPS2)_\d+": "several companions",
    r"BPJ\w+": "jumps of the orbit",
    r"PLANET\w*": "planets",
}
#: Moments at which the phase is predicted.
_POINTS: Final = 65
_YEAR: Final = 365.25


@dataclass(frozen=True)
class KeplerOrbit:
    """A Keplerian orbit."""

    #: pb, x: period [s] and projected semi-major axis [light-seconds].
    pb: float
    x: float
    epoch: float  # MJD (TDB) of periastron, of a circular orbit that of the ascending node
    #: ecc, omega: eccentricity, longitude of periastron [rad]; of a circular orbit 0.
    ecc: float = 0.0
    omega: float = 0.0
    #: pbdot, xdot, edot, omdot: their changes with time [1, 1, 1/s, rad/s].
    pbdot: float = 0.0
    xdot: float = 0.0
    edot: float = 0.0
    omdot: float = 0.0
    gamma: float = 0.0  # Einstein delay [s]

    def delay(self, seconds: Floats) -> Floats:
        """Delay of what is emitted so many seconds after `epoch`: Roemer and Einstein [s]."""
        turns = seconds / self.pb * (1.0 - 0.5 * self.pbdot * seconds / self.pb)
        mean = 2.0 * np.pi * np.fmod(turns, 1.0)
        ecc = self.ecc + self.edot * seconds
        size = self.x + self.xdot * seconds
        anomaly = _kepler(mean, ecc)
        # The periastron advances with the true anomaly, in the mean with time.
        omega = self.omega + self.omdot * seconds
        sine, cosine = np.sin(anomaly), np.cos(anomaly)
        along = np.sin(omega) * (cosine - ecc) + np.sqrt(1.0 - ecc**2) * np.cos(omega) * sine
        return np.asarray(size * along + self.gamma * sine, dtype=np.float64)


def _kepler(mean: Floats, ecc: Floats) -> Floats:
    """Eccentric anomaly: E - e sin E = M, by Newton's method from a start that always converges."""
    wrapped = np.mod(mean + np.pi, 2.0 * np.pi) - np.pi
    anomaly = np.where(ecc > 0.5, np.pi * np.sign(wrapped), wrapped)
    for _ in range(60):
        step = (anomaly - ecc * np.sin(anomaly) - wrapped) / (1.0 - ecc * np.cos(anomaly))
        anomaly = anomaly - step
        if np.max(np.abs(step)) < 1e-13:
            break
    return np.asarray(anomaly + (mean - wrapped), dtype=np.float64)


def moments(tobs: float) -> Floats:
    """Moments of an observation at which turns are counted, from its middle [s]: nodes of Chebyshev's polynomials."""
    return np.asarray(0.5 * tobs * np.cos(np.pi * (np.arange(_POINTS) + 0.5) / _POINTS))


def delay_at_top(header: Header, dm: float) -> float:
    """Delay at the frequency to which a fold refers [s]; 0 where it, or the DM, is unknown."""
    return KDM * dm * header.fch1**-2.0 if np.isfinite(dm) and 0.0 < header.fch1 < np.inf else 0.0


@dataclass(frozen=True)
class TimingModel:
    """The ephemeris of one pulsar."""

    name: str
    #: ra_deg, dec_deg: position (ICRS) at `posepoch` [deg].
    ra_deg: float
    dec_deg: float
    spin: tuple[float, ...]  # barycentric frequency [Hz] and its derivatives at `epoch`
    epoch: float  # MJD (TDB)
    dm: float  # [pc cm^-3]; NaN when it is not given
    #: pm_ra, pm_dec: proper motion in right ascension (times cos dec) and declination [mas/yr].
    pm_ra: float = 0.0
    pm_dec: float = 0.0
    posepoch: float = float("nan")  # MJD
    orbit: KeplerOrbit | None = None

    def rotation(self, mjd_tdb: float, seconds: Floats) -> Floats:
        """Turns from one barycentric moment to others `seconds` after it [turns]."""
        at = np.concatenate([[0.0], seconds])
        if self.orbit is not None:
            away = (mjd_tdb - self.orbit.epoch) * DAY
            delay = np.zeros_like(at)
            # Emission is earlier than arrival by the delay that it has then: x / PB is small, this converges fast.
            for _ in range(60):
                new = self.orbit.delay(away + at - delay)
                change = float(np.max(np.abs(new - delay)))
                delay = new
                if change < 1e-10:
                    break
            at = at - delay
        # Around the first moment, so that no digits are lost over years.
        start = (mjd_tdb - self.epoch) * DAY + at[0]
        later = at - at[0]
        turns = np.zeros_like(later)
        for order in range(len(self.spin)):
            turns += _derivative(self.spin, order, start) * later ** (order + 1) / math.factorial(order + 1)
        return np.asarray(turns[1:], dtype=np.float64)

    def topocentric(self, header: Header) -> tuple[float, float, float]:
        """Frequency and two derivatives that the telescope sees at mid-observation [Hz, Hz/s, Hz/s^2].

        The predicted phase is fitted over the observation, at the highest frequency of the band.

        `header`: telescope, time, length and band.

        Raises
        ------
        ConfigError
            The telescope or the time are unknown, or three terms do not follow the phase.
        """
        if not header.tstart > 0:
            raise ConfigError("the time of the observation is not known: an ephemeris cannot be applied to it")
        nodes, late = moments(header.tobs), delay_at_top(header, self.dm)
        if header.barycentric:
            mid, seconds = header.tmid - late / DAY, nodes
        else:
            ra, dec = self.position(header.tmid)
            mid, seconds = arrival_times(header.tmid - late / DAY, nodes, ra, dec, header.telescope)
        turns = self.rotation(mid, seconds)
        scale = 0.5 * header.tobs
        basis = np.stack([(nodes / scale) ** k for k in range(4)], axis=1)
        fit, *_ = np.linalg.lstsq(basis, turns, rcond=None)
        missed = float(np.max(np.abs(turns - basis @ fit)))
        if missed > 0.02:
            raise ConfigError(
                f"{self.name}: over {header.tobs:.6g} s the rotation departs from a frequency with two derivatives by "
                f"{missed:.2g} turns (the orbit is too short): fold fewer of the files at a time"
            )
        return float(fit[1] / scale), float(2.0 * fit[2] / scale**2), float(6.0 * fit[3] / scale**3)

    def position(self, mjd: float) -> tuple[float, float]:
        """Right ascension and declination at a time [deg]."""
        years = (mjd - self.posepoch) / _YEAR if np.isfinite(self.posepoch) else 0.0
        dec = self.dec_deg + self.pm_dec * years / 3.6e6
        return self.ra_deg + self.pm_ra * years / 3.6e6 / float(np.cos(np.radians(self.dec_deg))), dec


def _derivative(spin: tuple[float, ...], order: int, seconds: float) -> float:
    """The derivative of that order of the frequency, so many seconds after the epoch."""
    return sum(value * seconds**k / math.factorial(k) for k, value in enumerate(spin[order:]))


def read_par(path: Path | str) -> TimingModel:
    """Read a ``.par`` file.

    Raises
    ------
    DataError
        The file cannot be read, a value is no number, or what must be there is missing.
    ConfigError
        It describes something that is not supported.
    """
    path = Path(path)
    text = read_text(path, "an ephemeris")
    keys: dict[str, str] = {}
    for line in text.splitlines():
        parts = line.split()
        if len(parts) > 1 and parts[0] != "C" and not parts[0].startswith("#"):
            keys.setdefault(parts[0].upper(), parts[1])
    par = _Par(path, keys)
    _refuse(path, keys)
    freq, period = par.number("F0"), par.number("P0", par.number("P"))
    if not freq > 0 and period > 0:
        freq = 1.0 / period
    if not 0 < freq < HIGHEST_SPIN:
        spin_text = next((f"{key} {keys[key]}" for key in ("F0", "P0", "P") if key in keys), "nothing")
        raise DataError(
            f"{path}: keys F0, P0: expected a spin frequency above 0 and below {HIGHEST_SPIN:g} Hz, found {spin_text}"
        )
    spin = [freq]
    if "F1" not in keys and ("P1" in keys or "PDOT" in keys):
        pdot = par.number("P1", par.number("PDOT"))
        # tempo takes large numbers in units of 1e-15.
        spin.append(-pdot * (1e-15 if abs(pdot) > 1e-10 else 1.0) * freq**2)
    order = 1
    while f"F{order}" in keys:
        spin.append(par.number(f"F{order}"))
        order += 1
    epoch = par.number("PEPOCH")
    if not np.isfinite(epoch):
        if any(spin[1:]):
            raise DataError(f"{path}: key PEPOCH is missing: F1 makes no sense without it")
        epoch = 0.0
    ra, dec = par.position()
    if abs(par.number("DM", 0.0)) > LARGEST_DM or abs(epoch) > LATEST_MJD:
        raise DataError(f"{path}: keys DM, PEPOCH: expected those of a pulsar, found {keys.get('DM')}, {epoch}")
    return TimingModel(
        name=keys.get("PSR") or keys.get("PSRJ") or keys.get("PSRB") or path.stem,
        ra_deg=ra,
        dec_deg=dec,
        spin=tuple(spin),
        epoch=epoch,
        dm=par.number("DM"),
        pm_ra=par.number("PMRA", 0.0),
        pm_dec=par.number("PMDEC", 0.0),
        posepoch=par.number("POSEPOCH", par.number("PEPOCH")),
        orbit=par.orbit(),
    )


def _refuse(path: Path, keys: Mapping[str, str]) -> None:
    for pattern, why in REFUSED.items():
        refused = [key for key in keys if re.fullmatch(pattern, key)]
        if refused:
            raise ConfigError(
                f"{path}: key {refused[0]}: {why}: not supported; fold with the period of that time: --period, --dm, "
                "--epoch"
            )
    model = keys.get("BINARY", "").upper()
    if model and model not in BINARIES:
        raise ConfigError(
            f"{path}: key BINARY: the model {model} is not supported ({', '.join(BINARIES)} are); fold with the period "
            "of that time: --period, --dm, --epoch"
        )
    # tempo2's own files are in TCB unless they say otherwise: its seconds are longer by 1.55e-8.
    key = "UNITS" if "UNITS" in keys else "EPHVER"
    units = keys.get(key, "TDB").upper()
    if units in ("TCB", "SI") or (key == "EPHVER" and units in ("5", "TEMPO2")):
        raise ConfigError(
            f"{path}: key {key}: {keys[key]}, in barycentric coordinate time: expected UNITS TDB; bring it there with "
            "`tempo2 -gr transform OLD NEW tdb`"
        )


@dataclass(frozen=True)
class _Par:
    """Keys of a file, and the numbers that they stand for."""

    path: Path
    keys: Mapping[str, str]

    def number(self, key: str, default: float = float("nan")) -> float:
        """A key as a number; Fortran's exponents count."""
        text = self.keys.get(key)
        if text is None:
            return default
        value = parsed(text)
        if not np.isfinite(value):
            raise DataError(f"{self.path}: key {key}: expected a number, found {text!r}")
        return value

    def position(self) -> tuple[float, float]:
        """Right ascension and declination [deg]."""
        keys = self.keys
        ra, dec = keys.get("RAJ", keys.get("RA")), keys.get("DECJ", keys.get("DEC"))
        if ra is not None and dec is not None:
            degrees = 15.0 * sexagesimal(ra), sexagesimal(dec)
            if all(np.isfinite(degrees)):
                return degrees
            raise DataError(f"{self.path}: keys RAJ, DECJ: expected hh:mm:ss.s and dd:mm:ss.s, found {ra}, {dec}")
        longitude, latitude = self.number("ELONG", self.number("LAMBDA")), self.number("ELAT", self.number("BETA"))
        if np.isfinite(longitude) and np.isfinite(latitude):
            return from_ecliptic(longitude, latitude)
        raise DataError(f"{self.path}: the position is missing: expected the keys RAJ and DECJ, or ELONG and ELAT")

    def small(self, key: str) -> float:
        """A rate that is in units of 1e-12 when it is large, as tempo has it."""
        value = self.number(key, 0.0)
        return value * 1e-12 if abs(value) > 1e-7 else value

    def orbit(self) -> KeplerOrbit | None:
        """The orbit, if there is one."""
        model = self.keys.get("BINARY", "").upper()
        if not model:
            if "PB" in self.keys and "A1" in self.keys:
                raise ConfigError(f"{self.path}: has an orbit (PB, A1), but the key BINARY does not name its model")
            return None
        pb, x = self.number("PB") * DAY, self.number("A1")
        if not (pb > 0 and x >= 0):
            raise DataError(f"{self.path}: keys PB, A1: expected the period [d] and size [s] of the orbit")
        common = {"pbdot": self.small("PBDOT"), "xdot": self.small("XDOT") + self.small("A1DOT")}
        if model.startswith("ELL1"):
            first, second = self.number("EPS1", 0.0), self.number("EPS2", 0.0)
            node = self.number("TASC")
            if not np.isfinite(node):
                raise DataError(f"{self.path}: key TASC is missing: the model {model} counts from the ascending node")
            for key in ("EPS1DOT", "EPS2DOT"):
                if self.number(key, 0.0):
                    raise ConfigError(f"{self.path}: key {key}: not supported")
            ecc, omega = float(np.hypot(first, second)), float(np.arctan2(first, second))
            # The mean longitude runs from the node, the mean anomaly from periastron.
            return KeplerOrbit(pb, x, node + omega / (2.0 * np.pi) * pb / DAY, ecc, omega, **common)
        ecc = self.number("ECC", self.number("E", 0.0))
        epoch = self.number("T0")
        if not (0 <= ecc < 1 and np.isfinite(epoch)):
            raise DataError(f"{self.path}: keys ECC, T0: expected an eccentricity from 0 to below 1 and an MJD")
        return KeplerOrbit(
            pb,
            x,
            epoch,
            ecc,
            float(np.radians(self.number("OM", 0.0))),
            edot=self.small("EDOT"),
            omdot=float(np.radians(self.number("OMDOT", 0.0))) / (_YEAR * DAY),
            gamma=self.number("GAMMA", 0.0),
            **common,
        )
