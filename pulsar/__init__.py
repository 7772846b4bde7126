"""Pulsar search: from a raw observation to ranked candidates.

What is public is listed in ``__all__``: the functions of :mod:`pulsar.api`, the data types that they take and return,
the configuration and the errors. Everything else is the inside of the program and may change without notice.

The public names are loaded when they are first used: importing this package loads neither numba nor astropy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pulsar.errors import ConfigError, DataError, PulsarError

if TYPE_CHECKING:
    from pulsar.api.observations import (
        dedisperse,
        fold,
        import_fold,
        inject,
        open,  # noqa: A004
        read,
        rfi,
        search,
        simulate,
    )
    from pulsar.api.results import export, plot, view, write_report
    from pulsar.api.series import search_accel, search_coherent, search_ffa, search_fft, search_single_pulse
    from pulsar.config.load import load_config
    from pulsar.config.model import Config
    from pulsar.data.fold import Fold
    from pulsar.data.observation import Observation
    from pulsar.data.series import DMTime, TimeSeries
    from pulsar.io.memory import Filterbank
    from pulsar.io.product.reader import Run

__version__ = "0.1.0"

__all__ = [
    "Config",
    "ConfigError",
    "DMTime",
    "DataError",
    "Filterbank",
    "Fold",
    "Observation",
    "PulsarError",
    "Run",
    "TimeSeries",
    "__version__",
    "dedisperse",
    "export",
    "fold",
    "import_fold",
    "inject",
    "load_config",
    "open",
    "plot",
    "read",
    "rfi",
    "search",
    "search_accel",
    "search_coherent",
    "search_ffa",
    "search_fft",
    "search_single_pulse",
    "simulate",
    "view",
    "write_report",
]

#: Where the public names are defined.
_HOMES = {
    "api.observations": ("dedisperse", "fold", "import_fold", "inject", "open", "read", "rfi", "search", "simulate"),
    "api.results": ("export", "plot", "view", "write_report"),
    "api.series": ("search_accel", "search_coherent", "search_ffa", "search_fft", "search_single_pulse"),
    "config.load": ("load_config",),
    "config.model": ("Config",),
    "data.fold": ("Fold",),
    "data.observation": ("Observation",),
    "data.series": ("DMTime", "TimeSeries"),
    "io.memory": ("Filterbank",),
    "io.product.reader": ("Run",),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pulsar' has no attribute {name!r}")
    home = next(module for module, names in _HOMES.items() if name in names)
    value = getattr(import_module(f"pulsar.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
