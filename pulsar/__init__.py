"""Pulsar search: from a raw observation to ranked candidates.

What is public is listed in ``__all__``: the functions of :mod:`pulsar.api`, the data types that they take and return,
the configuration and the errors. Everything else is the inside of the program and may change without notice.

The public names are loaded when they are first used: importing this package loads neither numba nor astropy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pulsar.errors import ConfigError, DataError, PulsarError

if TYPE_CHECKING:
    from pulsar.api import (
        dedisperse,
        export,
        fold,
        import_fold,
        inject,
        open,  # noqa: A004
        plot,
        read,
        rfi,
        search,
        search_accel,
        search_coherent,
        search_ffa,
        search_fft,
        search_single_pulse,
        simulate,
        view,
        write_report,
    )
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

#: Public name -> module; the functions of `pulsar.api` are all others.
_ELSEWHERE = {
    "Config": "pulsar.config.model",
    "DMTime": "pulsar.data.series",
    "Filterbank": "pulsar.io.memory",
    "Fold": "pulsar.data.fold",
    "Observation": "pulsar.data.observation",
    "Run": "pulsar.io.product.reader",
    "TimeSeries": "pulsar.data.series",
    "load_config": "pulsar.config.load",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pulsar' has no attribute {name!r}")
    value = getattr(import_module(_ELSEWHERE.get(name, "pulsar.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
