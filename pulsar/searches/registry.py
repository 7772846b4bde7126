"""The searches that a series goes through, in this order. One more is a class here, and a section of the settings."""

from typing import Any, Final

from pulsar.config.model import Config
from pulsar.searches.accel import AccelSearch
from pulsar.searches.coherent import CoherentSearch
from pulsar.searches.ffa import FFASearch
from pulsar.searches.fft import FFTSearch
from pulsar.searches.search import Search
from pulsar.searches.single_pulse import SinglePulseSearch

#: Spectra come first: others take them over.
SEARCHES: Final[tuple[type[Search[Any]], ...]] = (FFTSearch, CoherentSearch, AccelSearch, FFASearch, SinglePulseSearch)


def enabled(config: Config, *, periodic: bool = False) -> list[type[Search[Any]]]:
    """The searches that are switched on; of these only the `periodic` ones, if asked."""
    return [search for search in SEARCHES if getattr(config, search.name).enabled and (search.periodic or not periodic)]
