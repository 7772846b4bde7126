"""The turning of the Earth on the days of an observation, from the tables that astropy carries.

Astropy reads both tables, of half a century, as text when a position is first asked for: a second or more of processor.
An observation needs a few rows of them.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

#: Days before and after that are taken, too.
_MARGIN = 1


class _Day(NamedTuple):
    """A row: MJD, UT1 - UTC [s], position of the pole [arcsec], as they stand in the tables."""

    mjd: float
    ut1_utc: float
    pm_x: float
    pm_y: float


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
    return _days(int(first) - _MARGIN, int(last) + 1 + _MARGIN)


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


def _row(rapid: bytes, final: bytes, day: int) -> _Day:
    """The row of a day: from finals2000A (bulletin A, and whether there is one of B) and eopc04 (bulletin B).

    Raises
    ------
    ValueError
        If there is none.
    """
    text = _line(rapid, day)
    if not text[154:165].strip():
        return _Day(float(day), float(text[58:68]), float(text[18:27]), float(text[37:46]))
    pm_x, pm_y, ut1_utc = (float(word) for word in _line(final, day).split(f"{day}.00")[1].split()[:3])
    return _Day(float(day), ut1_utc, pm_x, pm_y)


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
