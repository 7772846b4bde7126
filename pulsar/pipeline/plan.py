"""The plan of a run: trials, memory and time, before any sample is read."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.store import MaskFile
from pulsar.config.model import Config
from pulsar.constants import KDM
from pulsar.data.header import Header
from pulsar.data.observation import Observation, called
from pulsar.dedisp.batches import READ_RATE, choose_route
from pulsar.dedisp.plan import MIN_SAMPLES, make_plan, stage_seconds
from pulsar.dedisp.sampling import halvings, periods_text, stretches
from pulsar.errors import ConfigError, DataError
from pulsar.io.series import SeriesSet
from pulsar.pipeline.cleaning import given_mask, zapped
from pulsar.pipeline.injections import amount
from pulsar.pipeline.octaves import plan_bands, trials_of
from pulsar.pipeline.rates import read_rates
from pulsar.pipeline.room import least_memory, mask_memory, stage_memory, thread_count
from pulsar.pipeline.run_plan import TRIALS, RunPlan
from pulsar.pipeline.searches import all_searches, check_part, enabled_searches, part_rooms
from pulsar.pipeline.stages import ACCEL_PART
from pulsar.pipeline.subtracting import check_subtract, subtract_seconds
from pulsar.searches.registry import enabled
from pulsar.searches.search import EVERYTHING, Band, BandTrials

# Work a second of one core, measured on an EPYC (Zen 4) by benchmarks/speed.py fold; elsewhere good to a factor of two.
FOLD_RATE = 8.0e10  # candidate x channel x samples folded a second
REFINE_SECONDS = 0.025  # to refine, judge and write a candidate


def dry_run(obs: Observation, config: Config, freqs: NDArray[np.float64] | None = None) -> RunPlan:
    """Plan a run without reading samples.

    Parameters
    ----------
    obs : Observation
    config : Config
    freqs : ndarray, optional
        Frequencies of the channels that are alive [MHz]; default: all outside the zapped ranges.

    Raises
    ------
    ConfigError
        When the memory budget is too small for anything, all channels are zapped, the range of periods is empty,
        the delay exceeds the data at all DMs, or there is no scratch folder.
    DataError
        When there are too few samples to search for periods.
    """
    header = obs.header
    if header.nsamps < MIN_SAMPLES:
        raise DataError(
            f"{called(obs)}: {header.nsamps} samples are too few to search for periods, at least {MIN_SAMPLES} are "
            f"needed: {'join it with the other files of the observation' if obs.files else 'give a longer one'}"
        )
    _check_periods(header, config)
    scratch = config.run.scratch
    if scratch and not (Path(scratch).is_dir() and os.access(scratch, os.W_OK | os.X_OK)):
        raise ConfigError(f"run.scratch = {scratch!r}: no such folder, or it cannot be written; create it first")
    enabled_searches(config, header.tobs)
    check_subtract(header, config)
    threads = thread_count(config)
    memory = stage_memory(config, obs)
    if header.is_series:
        return _series_plan(obs, config, threads, memory)
    if freqs is None:
        freqs = live_frequencies(obs, config)
    across = KDM * float(np.min(freqs) ** -2.0 - np.max(freqs) ** -2.0)
    dm_fits = header.tobs / across if across > 0 else np.inf
    if config.dedisp.dm_lo > dm_fits:
        raise ConfigError(
            f"dedisp.dm_lo = {config.dedisp.dm_lo:g}: the delay over the band is {config.dedisp.dm_lo * across:.4g} s, "
            f"the data last {header.tobs:.4g} s: give DMs below {dm_fits:.4g}, or more of the files"
        )
    dm = make_plan(header, config.dedisp, freqs=freqs)
    nchans = len(freqs)
    raw = float(header.nsamps) * header.nchans
    searches = _Searches(config, memory, threads)
    halved = halvings(dm, config)
    bands = plan_bands(dm, config, halved)
    searches.bands = trials_of(bands[1], dm)
    first = 0
    for stage, times in stretches(dm, halved):
        last = first + stage.ndms
        counts = {
            count: {name: octaves.counts(first, last) for name, octaves in own.items()} for count, own in bands.items()
        }
        searches.add(stage.nsamps, stage.tsamp, stage.ndms, counts, times)
        first = last
    route = choose_route(dm, threads=threads, memory=memory - searches.memory)
    work = {
        "statistics": raw / READ_RATE,
        "dedispersion": route.seconds + sum(stage_seconds(dm)),
        **searches.seconds,
        "folding": raw / READ_RATE + config.fold.ncands * float(header.nsamps) * nchans / FOLD_RATE,
        "the rest": config.fold.ncands * REFINE_SECONDS,
    }
    plan = RunPlan(
        dm=dm,
        nsamps=header.nsamps,
        nchans=nchans,
        threads=threads,
        memory=memory,
        series_bytes=dm.nbytes,
        route=route,
        trials=searches.trials,
        search_memory=searches.memory,
        accel_memory=searches.accel_memory,
        parts=searches.text(header.tobs),
        octaves="; ".join(text for octaves in bands[1].values() if (text := octaves.text(dm.dms))),
        halved=periods_text(dm, halved, config),
        dm_fits=float(dm_fits),
        tsamp=header.tsamp,
        zapped=float(zapped(header, config.rfi).mean()),
        mask_memory=mask_memory(obs, config)[0],
        least_memory=least_memory(obs, config),
        **_expected(work, threads),
    )
    if config.subtract.pulsars:
        count = len(config.subtract.pulsars)
        cpu = subtract_seconds(count, float(header.nsamps) * nchans, route.passes + 1)
        plan = replace(plan, subtracted=count, seconds={**plan.seconds, "subtraction": cpu / threads})
    injections = amount(plan, config)
    if injections is None:
        return plan
    seconds = {**plan.seconds, "completeness": injections.cpu / threads}
    return replace(plan, injections=injections, seconds=seconds)


def _check_periods(header: Header, config: Config) -> None:
    """Refuse ranges of periods that are empty, in the whole or in parts."""
    for count in config.search.parts:
        tobs = header.nsamps // count * header.tsamp
        for search in enabled(config):
            if not search.spectral:
                continue
            name, section = search.name, getattr(config, search.name)
            low = section.p_min if section.p_min is not None else 2.0 * header.tsamp
            high = section.p_max if section.p_max is not None else 0.1 * tobs
            if low >= high:
                where = "" if count == 1 else f" in parts of {tobs:.4g} s (search.parts = {count})"
                raise ConfigError(
                    f"{name}.p_min {low:g} s is not below {name}.p_max {high:g} s: nothing would be searched{where} "
                    "(the defaults are 2 samples and a tenth of the data)"
                )


def _series_plan(obs: Observation, config: Config, threads: int, memory: int) -> RunPlan:
    """The plan of what is dedispersed already: one series, or the trials of a set."""
    header = obs.header
    searches = _Searches(config, memory, 1)
    trials = None
    if isinstance(obs, SeriesSet):
        from pulsar.pipeline.series_set import set_plan

        trials = set_plan(obs)
        for stage in trials.stages:
            searches.add(stage.nsamps, stage.tsamp, stage.ndms)
    else:
        searches.add(header.nsamps, header.tsamp, 1)
    return RunPlan(
        dm=trials,
        tsamp=header.tsamp,
        nsamps=header.nsamps,
        nchans=1,
        threads=threads,
        memory=memory,
        series_bytes=4 * (header.nsamps if trials is None else int(trials.points)),
        route=None,
        trials=searches.trials,
        search_memory=searches.memory,
        accel_memory=searches.accel_memory,
        parts=searches.text(header.tobs),
        **_expected({**searches.seconds, "folding": 0.0, "the rest": config.fold.ncands * REFINE_SECONDS}, threads),
    )


def _expected(seconds: dict[str, float], threads: int) -> dict[str, Any]:
    """Fields of a plan about time: from CPU seconds at the default rates to what this machine has shown."""
    rates = read_rates()
    searches = sum(value for name, value in seconds.items() if name in TRIALS)
    work = {name: searches if name == "search" else seconds.get(name, 0.0) for name in rates.stages}
    expected = {"starting": sum(stage.start for name, stage in rates.stages.items() if work[name] > 0.0)}
    for name, value in seconds.items():
        if value > 0.0:
            expected[name] = value * rates.stages["search" if name in TRIALS else name].rate / threads
    return {"seconds": expected, "work": work, "rated": rates.source}


class _Searches:
    """Trials, time and memory of the searches that are switched on, over all series."""

    def __init__(self, config: Config, memory: int, threads: int) -> None:
        self.config = config
        self.threads = threads
        self.room = int(ACCEL_PART * memory) // threads
        #: Independent DMs of the run, by the name of the search.
        self.bands: Mapping[str, BandTrials] = {}
        self.trials: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        #: CPU seconds of the whole, and of all parts.
        self.shared = [0.0, 0.0]
        #: Numbers of parts that have no period for a search, and what that is.
        self.empty: set[tuple[int, str]] = set()
        self.memory = 0
        self.accel_memory = 0

    def add(
        self,
        nsamps: int,
        tsamp: float,
        ndms: int,
        counts: Mapping[int, Mapping[str, Sequence[tuple[Band, int]]]] | None = None,
        times: int = 0,
    ) -> None:
        """Count series of one length, as a whole and in parts.

        Parameters
        ----------
        nsamps : int
        tsamp : float
            [s]
        ndms : int
        counts : mapping of int to mapping of str to sequence of (Band, int), optional
            For every number of parts and every search, how many of them are searched in each band; default: all.
        times : int
            How often they are halved for the search for periods.
        """
        buffers = 0
        rooms = part_rooms(self.config.search.parts, self.room)
        for series in all_searches(self.config, nsamps, tsamp, times):
            check_part(series, nsamps, tsamp)
            search, name = series.make, series.make.name
            room = rooms[series.nparts] if search.drifts else self.room
            run = self.bands.get(name, ())
            of_series = series.nsamps, series.tsamp, series.section
            every = [(EVERYTHING, ndms)] if counts is None else counts[series.nparts][name]
            costs = [(search.estimate(*of_series, band, memory=room, bands=run), number) for band, number in every]
            if costs and not any(cost.trials for cost, _ in costs):
                if series.nparts > 1:
                    self.empty.add((series.nparts, search.title))
                continue
            trials = sum(number * cost.trials for cost, number in costs)
            seconds = sum(number * cost.seconds for cost, number in costs)
            need = max([0, *(cost.memory for cost, _ in costs)])
            if search.drifts:
                # All of the room, of which each has its part, that leaves this one what it needs.
                need = need if len(rooms) == 1 and series.nparts == 1 else int(need * self.room / room)
                self.accel_memory = max(self.accel_memory, self.threads * need)
            else:
                buffers += need
            self.trials[name] = self.trials.get(name, 0.0) + series.nparts * trials
            self.seconds[name] = self.seconds.get(name, 0.0) + series.nparts * seconds
            self.shared[series.nparts > 1] += series.nparts * seconds
        self.memory = max(self.memory, self.accel_memory + self.threads * buffers)

    def text(self, tobs: float) -> str:
        """The search of parts and its cost, in words; empty where nothing is searched in parts."""
        counts = self.config.search.parts
        if counts == (1,):
            return ""
        parts = " and ".join(f"{count} parts of {tobs / count:.4g} s" for count in counts if count > 1)
        whole, more = self.shared
        short = "".join(f"; {tobs / count:.4g} s are too short for {title}" for count, title in sorted(self.empty))
        if 1 not in counts:
            return f"periods are searched in {parts} only, not in the whole{short}"
        times = (whole + more) / whole
        return f"periods are searched in {parts}, too: {times:.1f} times the searching of the whole{short}"


def live_frequencies(obs: Observation, config: Config) -> NDArray[np.float64]:
    """Frequencies of the channels that neither the file, a zapped range nor a given mask rules out [MHz].

    Raises
    ------
    ConfigError
        There are none, or the mask belongs to another observation.
    DataError
        The mask cannot be read.
    """
    header = obs.header
    ok = obs.chan_ok & ~zapped(header, config.rfi)
    if not ok.any():
        raise ConfigError("rfi.zap: every channel lies in a zapped range; nothing would be left to search")
    given = given_mask(header, config.rfi)
    if given is not None:
        ok &= given.mask.chan_ok if isinstance(given, MaskFile) else ~given.channels
        if not ok.any():
            raise ConfigError(f"{given.path}: the mask and rfi.zap leave no channel: nothing would be left to search")
    return np.ascontiguousarray(header.freqs[ok])
