"""Directions on the sky: galactic coordinates, the hours and degrees that astronomers read, the most that the Galaxy
disperses, by a model of its electrons where one is installed.
"""

import importlib
from collections.abc import Callable
from functools import lru_cache
from math import isfinite, nan
from typing import Any, Final

import numpy as np

from pulsar_kernels.arrays import Floats


def galactic(ra_deg: Any, dec_deg: Any) -> tuple[Floats, Floats]:
    """Galactic longitude (0 to 360) and latitude [deg] of ICRS positions.

    Parameters
    ----------
    ra_deg, dec_deg : float or ndarray
        [deg], NaN where unknown.

    Returns
    -------
    l, b : ndarray
        [deg], NaN where the position is unknown.
    """
    # ICRS position of the north galactic pole, and galactic longitude of the north celestial pole [deg]: The Hipparcos
    # and Tycho Catalogues (ESA SP-1200), vol. 1, equation 1.5.11 ff.
    ra = np.radians(np.asarray(ra_deg, dtype=np.float64) - 192.85948)
    dec, pole = np.radians(np.asarray(dec_deg, dtype=np.float64)), np.radians(27.12825)
    x = np.sin(dec) * np.cos(pole) - np.cos(dec) * np.sin(pole) * np.cos(ra)
    y = np.cos(dec) * np.sin(ra)
    z = np.sin(dec) * np.sin(pole) + np.cos(dec) * np.cos(pole) * np.cos(ra)
    longitude = (122.93192 - np.degrees(np.arctan2(y, x))) % 360.0
    return np.asarray(longitude), np.asarray(np.degrees(np.arctan2(z, np.hypot(x, y))))


def hms(ra_deg: float, digits: int = 1) -> str:
    """A right ascension [deg] as ``hh:mm:ss.s``; "" when it is unknown."""
    # Rounded before it is split, so that 23:59:59.96 becomes 00:00:00.0 and never 23:59:60.0.
    return "" if not np.isfinite(ra_deg) else _parts(ra_deg % 360.0 / 15.0, digits, 24)


def dms(dec_deg: float, digits: int = 0) -> str:
    """A declination [deg] as ``+dd:mm:ss``; "" when it is unknown."""
    return "" if not np.isfinite(dec_deg) else ("-" if dec_deg < 0 else "+") + _parts(abs(dec_deg), digits, 0)


def sexagesimal(text: str) -> float:
    """Hours or degrees of ``hh:mm:ss.s`` or ``-dd:mm:ss.s`` (or a plain number); NaN when it is neither."""
    parts = text.strip().replace(" ", ":").split(":")
    try:
        numbers = [abs(float(part)) for part in parts if part]
    except ValueError:
        return nan
    if not numbers or len(numbers) > 3:
        return nan
    size = sum(number / 60.0**i for i, number in enumerate(numbers))
    return -size if text.strip().startswith("-") else size


def _parts(value: float, digits: int, turn: int) -> str:
    scale = 10**digits
    seconds, fraction = divmod(round(float(value) * 3600 * scale), scale)
    minutes, seconds = divmod(seconds, 60)
    whole, minutes = divmod(minutes, 60)
    whole = whole % turn if turn else whole
    return f"{whole:02d}:{minutes:02d}:{seconds:02d}" + (f".{fraction:0{digits}d}" if digits else "")


#: Beyond all electrons of either model [pc].
_FAR: Final = 50_000.0


#: Module that is imported -> name of the model, and how it is asked; the first that works is taken.
MODELS: Final[dict[str, tuple[str, Callable[[Any, float, float], Any]]]] = {
    "pygedm": ("YMW16", lambda module, lon, lat: module.dist_to_dm(lon, lat, _FAR, mode="gal", method="ymw16")[0]),
    "pyne2001": ("NE2001", lambda module, lon, lat: module.get_galactic_dm(lon, lat)),
}


@lru_cache(maxsize=4096)
def galactic_dm(longitude: float, latitude: float) -> tuple[float, str] | None:
    """DM of the whole Galaxy in a direction [pc cm^-3], and the model that says so; None where none is installed.

    Parameters
    ----------
    longitude, latitude : float
        Galactic [deg].
    """
    if not (isfinite(longitude) and isfinite(latitude)):
        return None
    for module, (name, ask) in MODELS.items():
        try:
            dm = ask(importlib.import_module(module), longitude, latitude)
            dm = float(getattr(dm, "value", dm))
        except Exception:  # whatever a package of others does, a sheet is drawn without it
            continue
        if isfinite(dm) and dm > 0:
            return dm, name
    return None
