"""Searches of a series, as a whole and in parts, and the sum of their trials."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pulsar.config.model import Config
from pulsar.errors import ConfigError
from pulsar.searches.registry import SEARCHES, enabled
from pulsar.searches.search import MIN_SAMPLES, Search


def enabled_searches(config: Config, tobs: float) -> list[tuple[type[Search[Any]], Any]]:
    """The searches that are switched on, in the order in which a series goes through them, and their settings.

    Parameters
    ----------
    config : Config
    tobs : float
        Length of the data [s].

    Raises
    ------
    ConfigError
        None is switched on.
    """
    chosen = enabled(config)
    if not chosen:
        *some, last = (search.switch() for search in SEARCHES)
        raise ConfigError(f"no search is switched on: set {', '.join(some)} or {last}")
    return [(search, search.settings(config, tobs)) for search in chosen]


#: Single-trial ln p, about that of thresholds, at which trials are compared; their ratios hardly depend on it.
LOGP: Final = -20.0


class SearchOf(NamedTuple):
    """One search of series as a whole, or of all parts of one length.

    Attributes
    ----------
    nparts : int
        Into how many parts a series is cut; 1 is the whole.
    nsamps : int
        Samples of each, as they are searched.
    tsamp : float
        [s]
    make : type of Search
    section
        Its settings.
    """

    nparts: int
    nsamps: int
    tsamp: float
    make: type[Search[Any]]
    section: Any


def periodic_only(config: Config) -> Config:
    """The settings of parts: single pulses are found in the whole."""
    others = [search.name for search in SEARCHES if not search.periodic]
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update={"enabled": False}) for name in others}
    )


def searches_of(config: Config, count: int, tobs: float) -> list[tuple[type[Search[Any]], Any]]:
    """The searches of a series as a whole (`count` 1), or of each of so many parts, and their settings.

    Parameters
    ----------
    config : Config
    count : int
    tobs : float
        Length of each [s].

    Raises
    ------
    ConfigError
        No search is switched on; or none for periods, and parts are to be searched for them.
    """
    every = enabled_searches(config if count == 1 else periodic_only(config), tobs)
    return [one for one in every if not one[0].periodic or count in config.search.parts]


def all_searches(config: Config, nsamps: int, tsamp: float, times: int = 0) -> Iterator[SearchOf]:
    """Everything that a series goes through: the whole first, then parts, the longest first.

    Parameters
    ----------
    config : Config
    nsamps : int
        Of the series.
    tsamp : float
        [s]
    times : int
        How often it is halved for the searches that are `spectral`.

    Raises
    ------
    ConfigError
        See `searches_of`.
    """
    for count in sorted({1, *config.search.parts}):
        each = nsamps // count
        for make, section in searches_of(config, count, each * tsamp):
            halved = times if make.spectral else 0
            yield SearchOf(count, each >> halved, tsamp * 2.0**halved, make, section)


def check_part(one: SearchOf, nsamps: int, tsamp: float) -> None:
    """Refuse parts that are too short for a search.

    Parameters
    ----------
    one : SearchOf
    nsamps : int
        Of the series that is cut.
    tsamp : float
        [s]

    Raises
    ------
    ConfigError
    """
    if one.nparts > 1 and one.nsamps < MIN_SAMPLES:
        raise ConfigError(
            f"search.parts = {one.nparts}: a part of series of {nsamps} samples of {1e6 * tsamp:g} us has {one.nsamps} "
            f"samples, at least {MIN_SAMPLES} are needed: give fewer parts (--parts), or a lower dedisp.max_downsample"
        )


def part_rooms(counts: tuple[int, ...], memory: int) -> dict[int, int]:
    """Bytes for the acceleration search of each number of parts, in proportion to their lengths; the whole if alone.

    Parameters
    ----------
    counts : tuple of int
    memory : int
        For all of them together.
    """
    if counts == (1,):
        return {1: memory}
    parts = sum(1.0 / count for count in counts)
    return {count: int(memory / (count * parts)) + 1 for count in counts}


def trial_shares(config: Config, nsamps: int, tsamp: float) -> dict[int, dict[str, float]]:
    """By how much trials of one series, as a whole or of a part, are to be multiplied for those of all parts.

    Noise of two parts is independent, and that of the whole nearly so of both: a power that is at the threshold in a
    half is half as much in the whole. So trials add up, and every search of every part is corrected for the sum.

    Parameters
    ----------
    config : Config
    nsamps : int
        Of the series.
    tsamp : float
        [s]

    Returns
    -------
    dict of int to dict of str to float
        For each number of parts, by the name of the search.
    """
    if config.search.parts == (1,):
        return {1: {}}
    each: dict[str, dict[int, float]] = {}
    for series in all_searches(config, nsamps, tsamp):
        if series.make.periodic:
            search: Any = series.make(series.nsamps, series.tsamp, series.section)
            each.setdefault(series.make.name, {})[series.nparts] = float(search.ntrials(LOGP))
    shares: dict[int, dict[str, float]] = {count: {} for count in config.search.parts}
    for name, numbers in each.items():
        together = sum(count * number for count, number in numbers.items())
        for count, number in numbers.items():
            if count in shares:
                shares[count][name] = together / number
    return shares
