"""Searches of a series, as a whole and in parts: their cost, and the sum of their trials."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pulsar.config.model import Config
from pulsar.data.series import MIN_SAMPLES
from pulsar.dedisp.plan import DMPlan, stretches
from pulsar.errors import ConfigError
from pulsar.pipeline.octaves import Octaves
from pulsar.searches.registry import SEARCHES, enabled
from pulsar.searches.search import BandTrials, Search
from pulsar_kernels.arrays import Floats, Ints


def enabled_searches(config: Config, tobs: float) -> list[tuple[type[Search[Any]], Any]]:
    """The searches that are switched on, in the order in which a series goes through them, and their settings.

    Parameters
    ----------
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


class SearchOf(NamedTuple):
    """One search of series as a whole, or of all parts of one length."""

    nparts: int  # into how many parts a series is cut; 1 is the whole
    nsamps: int  # samples of each, as they are searched
    tsamp: float  # [s]
    make: type[Search[Any]]
    section: Any  # its settings


def periodic_only(config: Config) -> Config:
    """The settings of parts: single pulses are found in the whole."""
    return _without(config, [search.name for search in SEARCHES if not search.periodic])


def pulses_only(config: Config) -> Config:
    """The settings of a band in part of the frequencies: nothing but single pulses is found in it."""
    config = _without(config, ["completeness", *(search.name for search in SEARCHES if search.periodic)])
    pulses = config.single_pulse.model_copy(update={"bands": (1,)})
    return config.model_copy(
        update={"single_pulse": pulses, "search": config.search.model_copy(update={"parts": (1,)})}
    )


def _without(config: Config, names: Sequence[str]) -> Config:
    """The settings with some sections switched off."""
    # Accelerations are searched where there is a largest.
    none = {"accel": {"zmax": 0.0, "accel_max": None, "wmax": 0.0}}
    off = {name: none.get(name, {"enabled": False}) for name in names}
    return config.model_copy(update={name: getattr(config, name).model_copy(update=off[name]) for name in names})


def searches_of(config: Config, count: int, tobs: float) -> list[tuple[type[Search[Any]], Any]]:
    """The searches of a series as a whole (`count` 1), or of each of so many parts, and their settings.

    Parameters
    ----------
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


def part_rooms(counts: tuple[int, ...], memory: int) -> dict[int, int]:
    """Bytes for the acceleration search of each number of parts, in proportion to their lengths; the whole if alone.

    Parameters
    ----------
    memory : int
        For all of them together.
    """
    if counts == (1,):
        return {1: memory}
    parts = sum(1.0 / count for count in counts)
    return {count: int(memory / (count * parts)) + 1 for count in counts}


class Length(NamedTuple):
    """Neighbouring trials whose series are of one length."""

    nsamps: int
    tsamp: float  # [s]
    #: first, ndms: the first trial, and how many.
    first: int
    ndms: int
    times: int = 0  # how often they are halved for the searches that are `spectral`


def lengths_of(plan: DMPlan, halved: Ints) -> list[Length]:
    """Trials of a plan by the length of their series, and how often these are halved."""
    lengths, first = [], 0
    for stage, times in stretches(plan, halved):
        lengths.append(Length(stage.nsamps, stage.tsamp, first, stage.ndms, times))
        first += stage.ndms
    return lengths


@dataclass(frozen=True)
class SearchesCost:
    """Trials, time and memory of all searches of a run: fields of its plan."""

    trials: dict[str, float]  # what each goes through, by the name of the search
    search_memory: int  # work space of all threads [byte]
    accel_memory: int  # that of the searches with a drift among it
    costs: Floats  # (ndms,): CPU seconds of each trial DM
    parts: str  # what is searched in parts of the observation, and what that costs, in words; empty for the whole alone


def plan_searches(
    config: Config,
    tobs: float,
    lengths: Sequence[Length],
    bands: Mapping[int, Mapping[str, Octaves]],
    trials: Mapping[str, BandTrials],
    memory: int,
    threads: int,
) -> tuple[SearchesCost, dict[str, float]]:
    """Plan the searches of all series of a run; beside that the CPU seconds of each, by its name.

    Parameters
    ----------
    tobs : float
        Length of the data [s].
    bands : mapping of int to mapping of str to Octaves
        Those of all trial DMs (:func:`pulsar.pipeline.octaves.plan_bands`).
    trials : mapping of str to BandTrials
        Independent DMs of the run, by the name of the search.
    memory : int
        Bytes that all stages may take.

    Raises
    ------
    ConfigError
        No search is switched on, or parts are too short.
    """
    # Part of the memory that the acceleration search of all threads may take.
    counts, room = config.search.parts, int(0.5 * memory) // threads
    rooms = part_rooms(counts, room)
    goes_through: dict[str, float] = {}
    seconds: dict[str, float] = {}
    shared = [0.0, 0.0]  # CPU seconds of the whole, and of all parts
    empty: set[tuple[int, str]] = set()  # numbers of parts that have no period for a search, and what that is
    costs_of = np.zeros(sum(length.ndms for length in lengths))
    total = drifting = 0
    for length in lengths:
        buffers = 0
        for nparts, nsamps, tsamp, search, section in all_searches(config, length.nsamps, length.tsamp, length.times):
            name, octaves = search.name, bands[nparts][search.name]
            if nparts > 1 and nsamps < MIN_SAMPLES:
                raise ConfigError(
                    f"search.parts = {nparts}: a part of series of {length.nsamps} samples of {1e6 * length.tsamp:g} "
                    f"us has {nsamps} samples, at least {MIN_SAMPLES} are needed: give fewer parts (--parts), or a "
                    "lower dedisp.max_downsample"
                )
            of_row = octaves.of_row[length.first : length.first + length.ndms]
            about: dict[str, Any] = {"memory": rooms.get(nparts, room), "bands": trials.get(name, ())}
            # Of each band of frequencies the cost for one series, and the trial DMs that it is the cost of.
            costs = [
                (
                    search.estimate(nsamps, tsamp, section, octaves.bands[number], **about),
                    length.first + np.flatnonzero(of_row == number),
                )
                for number in np.unique(of_row[of_row >= 0]).tolist()
            ]
            if costs and not any(cost.trials for cost, _ in costs):
                if nparts > 1:
                    empty.add((nparts, search.title))
                continue
            need = max([0, *(cost.memory for cost, _ in costs)])
            if search.drifts:
                # All of the room, of which each has its part, that leaves this one what it needs.
                need = need if len(rooms) == 1 and nparts == 1 else int(need * room / rooms[nparts])
                drifting = max(drifting, threads * need)
            else:
                buffers += need
            for cost, rows in costs:
                costs_of[rows] += nparts * cost.seconds
            spent = nparts * sum(rows.size * cost.seconds for cost, rows in costs)
            goes_through[name] = goes_through.get(name, 0.0) + nparts * sum(r.size * cost.trials for cost, r in costs)
            seconds[name] = seconds.get(name, 0.0) + spent
            shared[nparts > 1] += spent
        total = max(total, drifting + threads * buffers)
    return SearchesCost(goes_through, total, drifting, costs_of, _parts_text(counts, tobs, shared, empty)), seconds


def _parts_text(counts: tuple[int, ...], tobs: float, shared: Sequence[float], empty: set[tuple[int, str]]) -> str:
    """The search of parts and its cost, in words; empty where nothing is searched in parts."""
    if counts == (1,):
        return ""
    parts = " and ".join(f"{count} parts of {tobs / count:.4g} s" for count in counts if count > 1)
    short = "".join(f"; {tobs / count:.4g} s are too short for {title}" for count, title in sorted(empty))
    if 1 not in counts:
        return f"periods are searched in {parts} only, not in the whole{short}"
    whole, more = shared
    return f"periods are searched in {parts}, too: {(whole + more) / whole:.1f} times the searching of the whole{short}"


def trial_shares(config: Config, nsamps: int, tsamp: float) -> dict[int, dict[str, float]]:
    """By how much trials of one series, as a whole or of a part, are to be multiplied for those of all parts.

    Noise of two parts is independent, and that of the whole nearly so of both: a power that is at the threshold in a
    half is half as much in the whole. So trials add up, and every search of every part is corrected for the sum.

    Parameters
    ----------
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
            # Single-trial ln p, about that of thresholds, at which trials are compared; their ratios hardly depend on
            # it.
            each.setdefault(series.make.name, {})[series.nparts] = float(search.ntrials(-20.0))
    shares: dict[int, dict[str, float]] = {count: {} for count in config.search.parts}
    for name, numbers in each.items():
        together = sum(count * number for count, number in numbers.items())
        for count, number in numbers.items():
            if count in shares:
                shares[count][name] = together / number
    return shares
