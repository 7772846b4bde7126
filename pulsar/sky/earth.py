"""Where a telescope is in the solar system at a time.

The models are those of ERFA, as astropy has them: precession and nutation IAU 2006/2000A, the ephemeris epv00. The
tables of the turning of the Earth are those that astropy carries, of which an observation needs a few rows. Both are
used without astropy, which takes a third of a second of processor to load.
"""

import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Final

import astropy_iers_data as iers
import erfa
import numpy as np

from pulsar.constants import DAY
from pulsar.sky.observatory import Observatory
from pulsar_kernels.arrays import Floats

#: How fast the Earth turns against the sky [rad/s]: the rate of its rotation angle (Capitaine et al. 2000).
_OMEGA: Final = 2.0 * np.pi * 1.00273781191135448 / DAY
#: The pole in the mean of 50 years [arcsec]: where there is no table, astropy takes it, too.
_POLE: Final = (0.035, 0.29)


def place_of(mjd: float, seconds: Floats, where: Observatory) -> tuple[tuple[Floats, Floats], Floats, Floats, Floats]:
    """Times, and the place of a telescope at them.

    Parameters
    ----------
    mjd : float
        Topocentric MJD (UTC).
    seconds : ndarray, shape (n,)
        Moments after it [s].

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

    Parameters
    ----------
    day : int
        MJD (UTC).
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
