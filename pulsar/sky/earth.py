"""Where a telescope is in the solar system at a time.

The ephemeris is that which astropy carries, and so are the tables of the turning of the Earth: astropy reads both, of
half a century, as text when a position is first asked for: a second or more of processor. An observation needs a few
rows of them.
"""

import warnings
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import EarthLocation, get_body_barycentric, get_body_barycentric_posvel
from astropy.time import Time, TimeDelta
from astropy.utils import iers
from numpy.typing import NDArray

from pulsar.constants import DAY
from pulsar.sky.observatory import Observatory


def place_of(
    mjd: float, seconds: NDArray[np.float64], where: Observatory
) -> tuple[Any, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Times, and the place of a telescope at them.

    Parameters
    ----------
    mjd : float
        Topocentric MJD (UTC).
    seconds : ndarray, shape (n,)
        Moments after it [s].
    where : Observatory

    Returns
    -------
    time : astropy.time.Time
    position, velocity : ndarray, shape (n, 3)
        Barycentric [m], [m/s].
    sun : ndarray, shape (3,)
        Position of the Sun at the first of them [m].
    """
    location = EarthLocation.from_geocentric(*where.xyz, unit=u.m)
    day = int(np.floor(mjd))
    table = rotation_table(mjd + float(seconds.min()) / DAY, mjd + float(seconds.max()) / DAY)
    # Without today's tables UT1 is off by less than a second: the telescope by 0.5 km, 2 us.
    with (
        warnings.catch_warnings(),
        iers.conf.set_temp("auto_download", False),
        iers.conf.set_temp("auto_max_age", None),
        iers.conf.set_temp("iers_degraded_accuracy", "ignore"),
        nullcontext() if table is None else iers.earth_orientation_table.set(table),
    ):
        warnings.simplefilter("ignore")
        time = Time(day, format="mjd", scale="utc", location=location)
        time = time + TimeDelta((mjd - day) * DAY + seconds, format="sec")
        earth, motion = get_body_barycentric_posvel("earth", time, ephemeris="builtin")
        site, turning = location.get_gcrs_posvel(time)
        sun = get_body_barycentric("sun", time[0], ephemeris="builtin")
        position = (earth.xyz + site.xyz).to_value(u.m).T
        velocity = (motion.xyz + turning.xyz).to_value(u.m / u.s).T
    return time, position, velocity, np.asarray(sun.xyz.to_value(u.m))


def rotation_table(first: float, last: float) -> Any:
    """A table for :class:`astropy.utils.iers.earth_orientation_table` that holds a few days.

    Its numbers are those of astropy's own table: of bulletin B where there are any, else of bulletin A.

    Parameters
    ----------
    first, last : float
        MJD (UTC).

    Returns
    -------
    IERS or None
        None if the tables are not as they should be, do not reach so far, or others were chosen: astropy's own counts.
    """
    chosen = getattr(iers.earth_orientation_table, "_value", None)
    if chosen is not None or iers.IERS_Auto.iers_table is not None:
        return None
    # With a day before and after.
    return _days(int(first) - 1, int(last) + 2)


@lru_cache(maxsize=64)
def _days(first: int, last: int) -> Any:
    """The table of the days from `first` to `last`, or None."""
    try:
        rapid, final = Path(iers.IERS_A_FILE).read_bytes(), Path(iers.IERS_B_FILE).read_bytes()
        rows = [_row(rapid, final, day) for day in range(first, last + 1)]
    except (OSError, ValueError, IndexError):
        return None
    mjd, ut1_utc, pm_x, pm_y = (list(column) for column in zip(*rows, strict=True))
    return iers.IERS({"MJD": mjd * u.day, "UT1_UTC": ut1_utc * u.s, "PM_x": pm_x * u.arcsec, "PM_y": pm_y * u.arcsec})


def _row(rapid: bytes, final: bytes, day: int) -> tuple[float, float, float, float]:
    """MJD, UT1 - UTC [s] and position of the pole [arcsec] of a day, as they stand in the tables.

    From finals2000A (bulletin A, and whether there is one of B) and eopc04 (bulletin B).

    Raises
    ------
    ValueError
        If there is none.
    """
    text = _line(rapid, day)
    if not text[154:165].strip():
        return float(day), float(text[58:68]), float(text[18:27]), float(text[37:46])
    pm_x, pm_y, ut1_utc = (float(word) for word in _line(final, day).split(f"{day}.00")[1].split()[:3])
    return float(day), ut1_utc, pm_x, pm_y


def _line(table: bytes, day: int) -> str:
    """The line of a table that holds a MJD.

    Raises
    ------
    ValueError
        If there is none.
    """
    at = table.index(b" %d.00 " % day)
    end = table.find(b"\n", at)
    return table[table.rfind(b"\n", 0, at) + 1 : end if end >= 0 else None].decode("ascii")
