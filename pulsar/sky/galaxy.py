"""The most that the Galaxy disperses in a direction, by a model of its electrons where one is installed."""

import importlib
from collections.abc import Callable
from functools import lru_cache
from math import isfinite
from typing import Any, Final

#: Beyond all electrons of either model [pc].
_FAR: Final = 50_000.0


def _ymw16(module: Any, longitude: float, latitude: float) -> float:
    dm, _ = module.dist_to_dm(longitude, latitude, _FAR, mode="gal", method="ymw16")
    return float(getattr(dm, "value", dm))


def _ne2001(module: Any, longitude: float, latitude: float) -> float:
    return float(module.get_galactic_dm(longitude, latitude))


#: Module that is imported -> name of the model, and how it is asked; the first that works is taken.
MODELS: Final[dict[str, tuple[str, Callable[[Any, float, float], float]]]] = {
    "pygedm": ("YMW16", _ymw16),
    "pyne2001": ("NE2001", _ne2001),
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
        except Exception:  # whatever a package of others does, a sheet is drawn without it
            continue
        if isfinite(dm) and dm > 0:
            return dm, name
    return None
