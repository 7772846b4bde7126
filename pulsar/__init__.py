"""Pulsar search: from a raw observation to ranked candidates.

The public names are loaded when they are first used: importing this package loads neither numba nor astropy.
"""

import sys
from importlib import import_module
from types import ModuleType
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
    from pulsar.search.accel import search_accel
    from pulsar.search.ffa import search_ffa
    from pulsar.search.fft import search_fft
    from pulsar.search.single_pulse import search_single_pulse
    from pulsar.simulate import inject, simulate

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
    "inject": ("pulsar.simulate", "inject"),
    "load_config": ("pulsar.config.load", "load_config"),
    "open": ("pulsar.io.open", "open_observation"),
    "plot": ("pulsar.report.sheet", "plot"),
    "read": ("pulsar.io.product.reader", "read"),
    "search_accel": ("pulsar.search.accel", "search_accel"),
    "search_ffa": ("pulsar.search.ffa", "search_ffa"),
    "search_fft": ("pulsar.search.fft", "search_fft"),
    "search_single_pulse": ("pulsar.search.single_pulse", "search_single_pulse"),
}

#: Public functions that share their name with a room of this package: the room itself can be called.
_CALLABLE = {
    "fold": ("pulsar.pipeline.api", "fold"),
    "rfi": ("pulsar.pipeline.rfi", "make_rfi"),
    "search": ("pulsar.pipeline.api", "search"),
    "simulate": ("pulsar.simulate", "simulate"),
}


class _Room(ModuleType):
    """A subpackage that can be called as the public function of its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module, attribute = _CALLABLE[self.__name__.rpartition(".")[2]]
        return getattr(import_module(module), attribute)(*args, **kwargs)


class _Package(ModuleType):
    """Makes rooms callable when the import system binds them here."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLABLE and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _CALLABLE:
        return import_module(f"pulsar.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'pulsar' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, *_CALLABLE})
