"""From the telescope's frame to the solar system's barycentre.

Roemer delay, Einstein delay (TDB) and the Shapiro delay of the Sun, with the ephemeris that astropy carries: nothing is
ever downloaded. Against TEMPO with DE405 times agree within 10 us and v/c within 3e-9 (tests/sky).

The turning of the Earth is that of the tables that astropy carries. It reads both, of half a century, as text when a
position is first asked for: a second or more of processor. An observation needs a few rows of them.
"""

import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import DAY, C
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.sky.observatory import Observatory, find_observatory

#: 2 G M / c^3 of the Sun [s].
SUN_SHAPIRO: Final = 9.85098189e-6
#: The rate of change of v/c is taken over so many seconds on either side.
_STEP: Final = 100.0


@dataclass(frozen=True)
class Barycentric:
    """Effect of the motion of the telescope on a signal at one moment.

    Attributes
    ----------
    mjd_tdb : float
        Arrival at the barycentre, MJD (TDB).
    voverc : float
        Velocity of the telescope away from the source over that of light, at that moment.
    rate : float
        Its time derivative [1/s].
    """

    mjd_tdb: float
    voverc: float
    rate: float

    def freq(self, freq: float) -> float:
        """Barycentric frequency of a topocentric one: f (1 + v/c)."""
        return freq * (1.0 + self.voverc)

    def fdot(self, freq: float, fdot: float) -> float:
        """Barycentric frequency derivative: df/dt of f (1 + v/c), by barycentric time."""
        return (fdot * (1.0 + self.voverc) + freq * self.rate) * (1.0 + self.voverc)

    def accel(self, freq: float, fdot: float) -> float:
        """Barycentric line-of-sight acceleration [m/s^2]."""
        return -C * self.fdot(freq, fdot) / self.freq(freq)


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
    where, direction = _resolved(telescope, ra_deg, dec_deg)
    time, position, velocity, sun = _state(mjd, np.array([0.0, -_STEP, _STEP]), where)
    beta = -(velocity @ direction) / C
    first, _ = _arrivals(time, position, sun, direction)
    return Barycentric(first, float(beta[0]), float(beta[2] - beta[1]) / (2.0 * _STEP))


def arrival_times(
    mjd: float, seconds: NDArray[np.float64], ra_deg: float, dec_deg: float, telescope: str | Observatory
) -> tuple[float, NDArray[np.float64]]:
    """Barycentric times of moments around one: that of the first exactly, those of the others after it.

    Parameters
    ----------
    mjd : float
        Topocentric MJD (UTC).
    seconds : ndarray
        Moments after it, topocentric [s].
    ra_deg, dec_deg : float
        Position of the source (ICRS) [deg].
    telescope : str or Observatory

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
    where, direction = _resolved(telescope, ra_deg, dec_deg)
    at = np.concatenate([[0.0], np.asarray(seconds, dtype=np.float64)])
    time, position, _, sun = _state(mjd, at, where)
    first, after = _arrivals(time, position, sun, direction)
    return first, after[1:]


def _arrivals(
    time: Any, position: NDArray[np.float64], sun: NDArray[np.float64], direction: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Barycentric arrival of the first moment, MJD (TDB), and of all in seconds after it."""
    toward = sun - position
    cosine = toward @ direction / np.linalg.norm(toward, axis=1)
    delay = position @ direction / C + SUN_SHAPIRO * np.log(1.0 - cosine)
    tdb = time.tdb
    days = (tdb.jd1 - tdb.jd1[0]) + (tdb.jd2 - tdb.jd2[0])
    first = float(tdb.jd1[0] - 2400000.5) + (float(tdb.jd2[0]) + float(delay[0]) / DAY)
    return first, np.asarray(days * DAY + (delay - delay[0]), dtype=np.float64)


def barycentric_samples(header: Header, nsamps: int, tsamp: float) -> tuple[float, NDArray[np.int64]]:
    """The samples of a series that come at even times at the barycentre.

    Samples are left out or taken twice, never mixed: noise stays white, and no sample is off by more than half its
    length.

    Parameters
    ----------
    header : Header
        Start, telescope and position.
    nsamps : int
        Samples of the series.
    tsamp : float
        [s]

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


def _resolved(telescope: str | Observatory, ra_deg: float, dec_deg: float) -> tuple[Observatory, NDArray[np.float64]]:
    """The telescope, and the direction of the source as a unit vector."""
    where = find_observatory(telescope) if isinstance(telescope, str) else telescope
    if where is None:
        raise ConfigError(f"telescope {telescope!r} is not known: its position is needed for the barycentre")
    if not (np.isfinite(ra_deg) and np.isfinite(dec_deg)):
        raise ConfigError("the position of the source is not known: give --ra and --dec")
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return where, np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def _state(
    mjd: float, seconds: NDArray[np.float64], where: Observatory
) -> tuple[Any, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Times, and barycentric position [m] and velocity [m/s] of the telescope; position of the Sun at the first."""
    from astropy import units as u
    from astropy.coordinates import EarthLocation, get_body_barycentric, get_body_barycentric_posvel
    from astropy.time import Time, TimeDelta
    from astropy.utils import iers

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
    from astropy.utils import iers

    chosen = getattr(iers.earth_orientation_table, "_value", None)
    if chosen is not None or iers.IERS_Auto.iers_table is not None:
        return None
    # With a day before and after.
    return _days(int(first) - 1, int(last) + 2)


@lru_cache(maxsize=64)
def _days(first: int, last: int) -> Any:
    """The table of the days from `first` to `last`, or None."""
    from astropy import units as u
    from astropy.utils import iers

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
