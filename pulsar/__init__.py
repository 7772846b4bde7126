"""Pulsar search: from a raw observation to ranked candidates.

The public names are loaded when they are first used: importing this package loads neither numba nor astropy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pulsar.errors import ConfigError, DataError, PulsarError

if TYPE_CHECKING:
    from pulsar.config.load import load_config
    from pulsar.config.model import Config
    from pulsar.io.open import open_observation as open  # noqa: A004
    from pulsar.io.product.reader import read
    from pulsar.pipeline.api import dedisperse, fold, search
    from pulsar.pipeline.rfi import make_rfi as rfi
    from pulsar.report.sheet import plot
    from pulsar.searches.accel import search_accel
    from pulsar.searches.ffa import search_ffa
    from pulsar.searches.fft import search_fft
    from pulsar.searches.single_pulse import search_single_pulse
    from pulsar.synthesis import inject, simulate

__version__ = "0.1.0"

__all__ = [
    "Config",
    "ConfigError",
    "DataError",
    "PulsarError",
    "__version__",
    "dedisperse",
    "fold",
    "inject",
    "load_config",
    "open",
    "plot",
    "read",
    "rfi",
    "search",
    "search_accel",
    "search_ffa",
    "search_fft",
    "search_single_pulse",
    "simulate",
]

#: Public name -> module and name there.
_PUBLIC = {
    "Config": ("pulsar.config.model", "Config"),
    "dedisperse": ("pulsar.pipeline.api", "dedisperse"),
    "fold": ("pulsar.pipeline.api", "fold"),
    "inject": ("pulsar.synthesis", "inject"),
    "load_config": ("pulsar.config.load", "load_config"),
    "open": ("pulsar.io.open", "open_observation"),
    "plot": ("pulsar.report.sheet", "plot"),
    "read": ("pulsar.io.product.reader", "read"),
    "rfi": ("pulsar.pipeline.rfi", "make_rfi"),
    "search": ("pulsar.pipeline.api", "search"),
    "search_accel": ("pulsar.searches.accel", "search_accel"),
    "search_ffa": ("pulsar.searches.ffa", "search_ffa"),
    "search_fft": ("pulsar.searches.fft", "search_fft"),
    "search_single_pulse": ("pulsar.searches.single_pulse", "search_single_pulse"),
    "simulate": ("pulsar.synthesis", "simulate"),
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'pulsar' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
