"""From the telescope's frame to the solar system's barycentre.

Roemer delay, Einstein delay (TDB) and the Shapiro delay of the Sun. Against TEMPO with DE405 times agree within 10 us
and v/c within 3e-9 (tests/sky). Precession and nutation (IAU 2006/2000A) and the place of the Earth (epv00) are those
of ERFA, its turning is that of the tables which astropy carries, of which an observation needs a few rows: nothing is
ever downloaded, and astropy is not loaded, which takes a third of a second of processor.
"""

import os
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import astropy_iers_data as iers
import erfa
import numpy as np

from pulsar.constants import DAY, C
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.sky.observatory import Observatory, find_observatory
from pulsar_kernels.arrays import Floats, Ints

#: The rate of change of v/c is taken over so many seconds on either side.
_STEP: Final = 100.0
#: How fast the Earth turns against the sky [rad/s]: the rate of its rotation angle (Capitaine et al. 2000).
_OMEGA: Final = 2.0 * np.pi * 1.00273781191135448 / DAY
#: The pole in the mean of 50 years [arcsec]: where there is no table, astropy takes it, too.
_POLE: Final = (0.035, 0.29)


@dataclass(frozen=True)
class Barycentric:
    """Effect of the motion of the telescope on a signal at one moment."""

    mjd_tdb: float  # arrival at the barycentre, MJD (TDB)
    voverc: float  # velocity of the telescope away from the source over that of light, at that moment
    rate: float  # its time derivative [1/s]

    def freq(self, freq: float) -> float:
        """Barycentric frequency of a topocentric one: f (1 + v/c)."""
        return freq * (1.0 + self.voverc)

    def fdot(self, freq: float, fdot: float) -> float:
        """Barycentric frequency derivative: df/dt of f (1 + v/c), by barycentric time."""
        return (fdot * (1.0 + self.voverc) + freq * self.rate) * (1.0 + self.voverc)

    def topocentric(self, freq: float, fdot: float) -> tuple[float, float]:
        """Topocentric frequency and derivative of barycentric ones: the inverse of :meth:`freq` and :meth:`fdot`."""
        doppler = 1.0 + self.voverc
        return freq / doppler, (fdot / doppler - freq / doppler * self.rate) / doppler


def motion_of(header: Header) -> Barycentric | None:
    """Barycentric time and motion at mid-observation; None when telescope or position are unknown.

    Data that are barycentred already move no more.
    """
    if header.barycentric:
        return Barycentric(header.tmid, 0.0, 0.0)
    where = find_observatory(header.telescope)
    if where is None or not (np.isfinite(header.ra_deg) and np.isfinite(header.dec_deg)) or not header.tstart > 0:
        return None
    return barycentric(header.tmid, header.ra_deg, header.dec_deg, where)


def barycentric(mjd: float, ra_deg: float, dec_deg: float, telescope: str | Observatory) -> Barycentric:
    """Barycentric time and motion for one moment and direction.

    Parameters
    ----------
    mjd : float
        Topocentric MJD (UTC), days of 86400 s as pulsar observers count them also when a second is inserted.
    ra_deg, dec_deg : float
        Position of the source (ICRS) [deg].
    telescope : str or Observatory
        Name or tempo code.

    Raises
    ------
    ConfigError
        The telescope or the position is unknown.
    """
    first, _, beta = _arrivals(mjd, np.array([0.0, -_STEP, _STEP]), ra_deg, dec_deg, telescope)
    return Barycentric(first, float(beta[0]), float(beta[2] - beta[1]) / (2.0 * _STEP))


def arrival_times(
    mjd: float, seconds: Floats, ra_deg: float, dec_deg: float, telescope: str | Observatory
) -> tuple[float, Floats]:
    """Barycentric times of moments around one: that of the first exactly, those of the others after it.

    Parameters
    ----------
    mjd : float
        Topocentric MJD (UTC).
    seconds : ndarray
        Moments after it, topocentric [s].
    ra_deg, dec_deg : float
        Position of the source (ICRS) [deg].

    Returns
    -------
    float
        Arrival of `mjd` at the barycentre, MJD (TDB).
    ndarray
        Arrivals of the others, in seconds after that: good to a nanosecond.

    Raises
    ------
    ConfigError
        As :func:`barycentric`.
    """
    at = np.concatenate([[0.0], np.asarray(seconds, dtype=np.float64)])
    first, after, _ = _arrivals(mjd, at, ra_deg, dec_deg, telescope)
    return first, after[1:]


def _arrivals(
    mjd: float, seconds: Floats, ra_deg: float, dec_deg: float, telescope: str | Observatory
) -> tuple[float, Floats, Floats]:
    """Barycentric arrival of the first moment, MJD (TDB), of all in seconds after it, and v/c at them."""
    where, direction = _resolved(telescope, ra_deg, dec_deg)
    (jd1, jd2), position, velocity, sun = place_of(mjd, seconds, where)
    toward = sun - position
    cosine = toward @ direction / np.linalg.norm(toward, axis=1)
    # 2 G M / c^3 of the Sun [s].
    delay = position @ direction / C + 9.85098189e-6 * np.log(1.0 - cosine)
    days = (jd1 - jd1[0]) + (jd2 - jd2[0])
    first = float(jd1[0] - 2400000.5) + (float(jd2[0]) + float(delay[0]) / DAY)
    return first, np.asarray(days * DAY + (delay - delay[0]), dtype=np.float64), -(velocity @ direction) / C


def barycentric_samples(header: Header, nsamps: int, tsamp: float) -> tuple[float, Ints]:
    """The samples of a series that come at even times at the barycentre.

    Samples are left out or taken twice, never mixed: noise stays white, and no sample is off by more than half its
    length.

    `header`: start, telescope and position. `nsamps`: samples of the series.

    Returns
    -------
    float
        Arrival of the start at the barycentre, MJD (TDB).
    ndarray of int64
        The sample of the series that each barycentric one is.

    Raises
    ------
    ConfigError
        Telescope, position or time are unknown.
    """
    if not header.tstart > 0:
        raise ConfigError("the time of the observation is not known: it cannot be barycentred")
    # Between these arrival is a straight line: over 6 h the turning Earth bends it by 10 ns.
    nodes = np.linspace(0.0, nsamps * tsamp, 1025)
    first, arrived = arrival_times(header.tstart, nodes, header.ra_deg, header.dec_deg, header.telescope)
    middles = (np.arange(int(arrived[-1] / tsamp)) + 0.5) * tsamp
    sample = np.floor(np.interp(middles, arrived, nodes) / tsamp).astype(np.int64)
    return first, np.clip(sample, 0, nsamps - 1)


def _resolved(telescope: str | Observatory, ra_deg: float, dec_deg: float) -> tuple[Observatory, Floats]:
    """The telescope, and the direction of the source as a unit vector."""
    where = find_observatory(telescope) if isinstance(telescope, str) else telescope
    if where is None:
        raise ConfigError(f"telescope {telescope!r} is not known: its position is needed for the barycentre")
    if not (np.isfinite(ra_deg) and np.isfinite(dec_deg)):
        raise ConfigError("the position of the source is not known: give --ra and --dec")
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return where, np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def place_of(mjd: float, seconds: Floats, where: Observatory) -> tuple[tuple[Floats, Floats], Floats, Floats, Floats]:
    """Times, and the place of a telescope at them.

    `mjd`: topocentric MJD (UTC). `seconds`: shape (n,): moments after it [s].

    Returns
    -------
    tdb : pair of ndarray, shape (n,)
        Julian dates (TDB) in two parts.
    position, velocity : ndarray, shape (n, 3)
        Barycentric [m], [m/s].
    sun : ndarray, shape (3,)
        Position of the Sun at the first of them [m].
    """
    x, y, z = where.xyz
    know_leap_seconds()
    with warnings.catch_warnings():
        # Of years whose inserted seconds nobody knows yet.
        warnings.simplefilter("ignore", erfa.ErfaWarning)
        day = int(np.floor(mjd))
        begin, offset = erfa.utctai(erfa.DJM0 + day, 0.0)
        tai = np.full(len(seconds), begin), offset + ((mjd - day) * DAY + seconds) / DAY
        tt = erfa.taitt(*tai)
        tdb = erfa.tttdb(*tt, erfa.dtdb(*tt, erfa.taiutc(*tai)[1], np.arctan2(y, x), np.hypot(x, y) / 1e3, z / 1e3))
        heliocentric, earth = erfa.epv00(*tdb)
        # UT1 - TAI knows no inserted seconds, and is a straight line between days.
        days = np.arange(day + int(np.floor(tai[1].min())) - 1, day + int(np.ceil(tai[1].max())) + 2)
        ut1_utc, pole_x, pole_y = np.transpose([turning(int(at)) for at in days])
        inserted = erfa.utctai(erfa.DJM0 + days, 0.0)[1]
        ut1_tai, pole_x, pole_y = (
            np.interp(tai[1], days - day + inserted, column) for column in (ut1_utc - inserted * DAY, pole_x, pole_y)
        )
        to_cirs = erfa.c2i06a(*tt)
        pole = erfa.pom00(pole_x * erfa.DAS2R, pole_y * erfa.DAS2R, erfa.sp00(*tt))
        to_ground = erfa.c2tcio(to_cirs, erfa.era00(*erfa.taiut1(*tai, ut1_tai)), pole)
    site = np.array(where.xyz) @ to_ground
    position = earth["p"] * erfa.DAU + site
    velocity = earth["v"] * (erfa.DAU / DAY) + np.cross(_OMEGA * to_cirs[:, 2], site)
    return tdb, position, velocity, (earth["p"][0] - heliocentric["p"][0]) * erfa.DAU


@lru_cache(maxsize=1024)
def turning(day: int) -> tuple[float, float, float]:
    """UT1 - UTC [s] and position of the pole [arcsec] at the begin of a day.

    Of bulletin B where there are any, else of bulletin A. Beyond the tables UT1 - UTC is that of their nearest day: it
    is less than a second, in which the telescope moves by 0.5 km, 2 us.

    `day`: MJD (UTC).
    """
    try:
        text = _line(iers.IERS_A_FILE, day)
        if text[154:165].strip():
            pm_x, pm_y, ut1_utc = map(float, _line(iers.IERS_B_FILE, day).split(f"{day}.00")[1].split()[:3])
            return ut1_utc, pm_x, pm_y
        return float(text[58:68]), float(text[18:27]), float(text[37:46])
    except ValueError:
        (first, early), (_, late) = _ends()
        return early if day < first else late, *_POLE


@lru_cache(maxsize=1)
def _ends() -> tuple[tuple[float, float], tuple[float, float]]:
    """MJD and UT1 - UTC [s] of the first and the last day of bulletin A."""
    lines = [line for line in Path(iers.IERS_A_FILE).read_bytes().splitlines() if line[58:68].strip()]
    first, last = ((float(line[7:15]), float(line[58:68])) for line in (lines[0], lines[-1]))
    return first, last


@lru_cache(maxsize=1)
def know_leap_seconds() -> None:
    """Tell ERFA of leap seconds that were announced since it was made."""
    columns = np.dtype([("month", int), ("year", int), ("tai_utc", float)])
    erfa.leap_seconds.update(np.loadtxt(iers.IERS_LEAP_SECOND_FILE, usecols=(2, 3, 4), dtype=columns))


def _line(table: str, day: int) -> str:
    """The line of a table that holds a MJD: up to the end each day has one, and all are as long.

    Raises
    ------
    ValueError
        If there is none.
    """
    with Path(table).open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(end - 1000)
        last = file.readlines()[-1]
        lines = int(last.partition(b".00 ")[0].split()[-1]) - day + 1
        file.seek(max(end - lines * len(last), 0))
        line = file.read(len(last)).decode("ascii")
    if f" {day}.00 " not in line:
        raise ValueError(f"{table} has no MJD {day}")
    return line
