"""The plan of a run: trials, memory and time, before any sample is read."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pulsar.cleaning.store import MaskFile
from pulsar.config.model import Config
from pulsar.data.header import Header, band_delay
from pulsar.data.observation import Observation, called
from pulsar.data.series import MIN_SAMPLES
from pulsar.data.source import Edges
from pulsar.dedisp.batches import READ_RATE, Route, choose_route
from pulsar.dedisp.engine import stage_seconds
from pulsar.dedisp.plan import DMPlan, halvings, make_plan, periods_text
from pulsar.errors import ConfigError, DataError
from pulsar.io.series import SeriesSet
from pulsar.pipeline.cleaning import given_mask, set_plan, zapped
from pulsar.pipeline.injections import Amount, amount, dm_fits
from pulsar.pipeline.progress import Progress, read_rates
from pulsar.pipeline.room import least_memory, mask_memory, stage_memory, thread_count
from pulsar.pipeline.samples import Samples, check_subtract, subtract_seconds
from pulsar.pipeline.searches import (
    Length,
    SearchesCost,
    enabled_searches,
    everything,
    lengths_of,
    plan_bands,
    plan_searches,
    pulses_only,
    trials_of,
)
from pulsar.pipeline.stages import pulse_threshold
from pulsar.searches.registry import SEARCHES, enabled
from pulsar.sources.sweep import LEAST_BANDS
from pulsar_kernels.arrays import Floats

#: Raw samples of which statistics are taken a second, by one core (benchmarks/speed.py beam, on a Zen 4).
STATISTICS_RATE = 0.6e9
#: CPU seconds to refine, judge and write a candidate.
REFINE_SECONDS = 0.025
#: What a search goes through.
TRIALS = {search.name: search.counted for search in SEARCHES}


@dataclass(frozen=True, kw_only=True)
class RunPlan(SearchesCost):
    """The plan of a run."""

    dm: DMPlan | None  # trial DMs; None for an already dedispersed series
    #: nsamps, nchans: samples and (live) channels.
    nsamps: int
    nchans: int
    threads: int
    memory: int  # bytes that the stages may take
    series_bytes: int  # size of all dedispersed series
    #: How they are reached: from samples kept in memory, in passes over the file, or through a scratch file.
    route: Route | None
    #: Which frequencies of which trial DMs the acceleration search takes, where that is not all, in words.
    octaves: str = ""
    halved: str = ""  # from which trial DMs on fewer samples are searched for periods, in words; empty where none are
    #: Expected elapsed time of each stage [s], without compilation.
    seconds: dict[str, float] = field(default_factory=dict)
    #: CPU seconds of each stage at the default rates, without its start.
    work: dict[str, float] = field(default_factory=dict)
    rated: str = ""  # what the expected times are taken from, in words
    dm_fits: float = np.inf  # DM from which on the delay over the band is longer than the data
    zapped: float = 0.0  # share of the band that `rfi.zap` leaves out before anything is looked at
    tsamp: float = 0.0  # sampling time [s]
    #: mask_memory, least_memory: bytes that the mask takes beside, and those below which the observation cannot be
    #: searched at all.
    mask_memory: int = 0
    least_memory: int = 0
    injections: Amount | None = None  # signals that are injected to tell the completeness; None: none
    subtracted: int = 0  # known pulsars that are taken out of the samples first
    band: Edges = None  # of the part of the band that it is for
    bands: "tuple[RunPlan, ...]" = ()  # of parts of the band in which single pulses are searched, too
    #: With parts of the band: S/N from which single pulses are kept, more than the settings say, so that all searches
    #: together promise the same false alarms.
    pulse_snr: float = 0.0

    @property
    def ndms(self) -> int:
        """Trial DMs."""
        return 1 if self.dm is None else self.dm.ndms

    @property
    def scratch_bytes(self) -> int:
        """Size of the scratch file."""
        return 0 if self.route is None else self.route.scratch_bytes

    @property
    def total_seconds(self) -> float:
        """Expected elapsed time of the run [s]."""
        return sum(self.seconds.values())

    def summary(self) -> Iterable[str]:
        """Lines for the log."""
        if self.dm is not None:
            lo, hi = float(self.dm.dms[0]), float(self.dm.dms[-1])
            stages = "1 stage" if len(self.dm.stages) == 1 else f"{len(self.dm.stages)} stages"
            yield f"{self.ndms} DMs from {lo:g} to {hi:g} in {stages}"
            if hi > self.dm_fits:
                yield f"note: above DM {self.dm_fits:.4g} the delay over the band is longer than the data"
        if self.zapped:
            yield f"rfi.zap leaves out {100 * self.zapped:.2g} % of the band before looking at it"
        yield "searching " + ", ".join(f"{count:.3g} {TRIALS[name]}" for name, count in self.trials.items())
        if self.parts:
            yield self.parts
        for said in (self.octaves, self.halved):
            if said:
                yield said
        if self.bands:
            yield _bands_text(self)
        if self.subtracted:
            some = "1 known pulsar is" if self.subtracted == 1 else f"{self.subtracted} known pulsars are"
            yield f"{some} taken out of the samples first"
        if self.injections is not None:
            yield f"signals injected at {self.injections.places} DMs will tell the completeness"
        yield (
            f"dedispersed series: {_size(self.series_bytes)}{self._way()}; {self.threads} threads, "
            f"about {self.total_seconds:.0f} s ({self.rated}, without compilation)"
        )

    def _way(self) -> str:
        route = self.route
        if route is None:
            return ""
        if route.kind == "scratch":
            return " through a scratch file"
        if route.kind == "samples":
            return f" in batches, {_size(route.held)} in memory"
        return " in memory" if route.passes == 1 else f" in {route.passes} passes over the file"


def _bands_text(plan: RunPlan) -> str:
    """The search in parts of the band and its cost, in words."""
    widths = [f"{high - low:.4g}" for low, high in (band.band for band in plan.bands if band.band)]
    bands = " and ".join(f"{widths.count(width)} bands of {width} MHz" for width in dict.fromkeys(widths))
    more = sum(band.work["dedispersion"] for band in plan.bands)
    times = plan.work["dedispersion"] / (plan.work["dedispersion"] - more)
    return (
        f"single pulses are searched in {bands}, too, from S/N {plan.pulse_snr:.2f} on: {times:.1f} times the "
        "dedispersion of the whole"
    )


def _size(nbytes: float) -> str:
    mib = nbytes / 2**20
    return f"{mib / 1024:.2f} GiB" if mib >= 100 else f"{mib:.1f} MiB"


def dry_run(obs: Observation, config: Config, freqs: Floats | None = None) -> RunPlan:
    """Plan a run without reading samples.

    `freqs`: frequencies of the channels that are alive [MHz]; default: all outside the zapped ranges.

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
    fits = dm_fits(header, freqs)
    if config.dedisp.dm_lo > fits:
        delay = config.dedisp.dm_lo * band_delay(freqs)
        raise ConfigError(
            f"dedisp.dm_lo = {config.dedisp.dm_lo:g}: the delay over the band is {delay:.4g} s, "
            f"the data last {header.tobs:.4g} s: give DMs below {fits:.4g}, or more of the files"
        )
    dm = make_plan(header, config.dedisp, freqs=freqs)
    nchans = len(freqs)
    raw = float(header.nsamps) * header.nchans
    halved = halvings(dm, config)
    bands = plan_bands(dm, config, halved)
    lengths, trials = lengths_of(dm, halved), trials_of(bands[1], dm)
    searches, seconds = plan_searches(config, header.tobs, lengths, bands, trials, memory, threads)
    route = choose_route(dm, threads=threads, memory=memory - searches.search_memory)
    # Candidates times channels times samples folded a second by one core, measured on an EPYC (Zen 4) by
    # benchmarks/speed.py fold; elsewhere good to a factor of two.
    work = {
        "statistics": raw / STATISTICS_RATE,
        "dedispersion": route.seconds + sum(stage_seconds(dm)),
        **seconds,
        "folding": raw / READ_RATE + config.fold.ncands * float(header.nsamps) * nchans / 8.0e10,
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
        octaves="; ".join(text for octaves in bands[1].values() if (text := octaves.text(dm.dms))),
        halved=periods_text(dm, halved, config),
        dm_fits=float(fits),
        tsamp=header.tsamp,
        zapped=float(zapped(header, config.rfi).mean()),
        mask_memory=mask_memory(obs, config)[0],
        least_memory=least_memory(obs, config),
        **vars(searches),
        **_expected(work, threads),
    )
    if config.subtract.pulsars:
        count = len(config.subtract.pulsars)
        cpu = subtract_seconds(count, float(header.nsamps) * nchans, route.passes + 1)
        plan = replace(plan, subtracted=count, seconds={**plan.seconds, "subtraction": cpu / threads})
    injections = amount(plan, config)
    if injections is not None:
        seconds = {**plan.seconds, "completeness": injections.cpu / threads}
        plan = replace(plan, injections=injections, seconds=seconds)
    return _with_bands(plan, obs, config, freqs)


def _with_bands(plan: RunPlan, obs: Observation, config: Config, freqs: Floats) -> RunPlan:
    """The plan of a run with those of the parts of the band in which single pulses are searched, too."""
    counts = [count for count in config.single_pulse.bands if count > 1] if config.single_pulse.enabled else []
    low, high = obs.header.edges
    bands: list[RunPlan] = []
    for count in counts:
        if obs.header.nchans < LEAST_BANDS * count:
            raise ConfigError(
                f"single_pulse.bands = {count}: bands of {obs.header.nchans / count:.3g} channels each, at least "
                f"{LEAST_BANDS} are needed: give fewer bands (--bands)"
            )
        for first, last in pairwise(np.linspace(low, high, count + 1).tolist()):
            inside = freqs[(freqs >= first) & (freqs < last)]
            if inside.size >= LEAST_BANDS:
                bands.append(_band_plan(plan, dry_run(obs, pulses_only(config), freqs=inside), (first, last)))
    if not bands:
        return plan

    def more(name: str, *keys: str) -> dict[str, float]:
        values: dict[str, float] = getattr(plan, name)
        return values | {key: values[key] + sum(getattr(band, name)[key] for band in bands) for key in keys}

    return replace(
        plan,
        bands=tuple(bands),
        pulse_snr=pulse_threshold([each.dm for each in (plan, *bands) if each.dm is not None], config),
        trials=more("trials", "single_pulse"),
        work=more("work", "dedispersion", "search"),
        seconds=more("seconds", "dedispersion", "single_pulse"),
    )


def _band_plan(whole: RunPlan, plan: RunPlan, band: tuple[float, float]) -> RunPlan:
    """The plan of a part of the band, of which all channels are read."""
    passes = 1 if plan.route is None else plan.route.passes
    reading = float(whole.nsamps) * (whole.nchans - plan.nchans) * passes / READ_RATE
    more = 1.0 + reading / plan.work["dedispersion"]
    work, seconds = (costs | {"dedispersion": more * costs["dedispersion"]} for costs in (plan.work, plan.seconds))
    return replace(plan, band=band, work=work, seconds=seconds)


def with_threshold(config: Config, plan: RunPlan) -> Config:
    """The settings with the S/N from which single pulses are kept where parts of the band are searched, too."""
    if not plan.bands:
        return config
    return config.changed(single_pulse={"snr": plan.pulse_snr})


def replanned(plan: RunPlan, samples: Samples, config: Config, progress: Progress) -> RunPlan:
    """The plan for the channels that cleaning has left alive, and told; what is to be injected stays."""
    if samples.source is None:
        return plan
    plan = replace(dry_run(samples.obs, config, freqs=samples.source.freqs), injections=plan.injections)
    for line in plan.summary():
        progress.message(line)
    return plan


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
    if config.single_pulse.enabled and config.single_pulse.bands != (1,):
        raise ConfigError(
            f"{called(obs)}: dedispersed series have no channels for single_pulse.bands (--bands): leave it out"
        )
    trials = set_plan(obs) if isinstance(obs, SeriesSet) else None
    if trials is None:
        lengths = [Length(header.nsamps, header.tsamp, 0, 1)]
    else:
        lengths = lengths_of(trials, np.zeros(trials.ndms, dtype=np.int64))
    every = {search.name: everything(sum(length.ndms for length in lengths)) for search in SEARCHES}
    bands = dict.fromkeys({1, *config.search.parts}, every)
    searches, seconds = plan_searches(config, header.tobs, lengths, bands, {}, memory, 1)
    return RunPlan(
        dm=trials,
        tsamp=header.tsamp,
        nsamps=header.nsamps,
        nchans=1,
        threads=threads,
        memory=memory,
        series_bytes=4 * (header.nsamps if trials is None else int(trials.points)),
        route=None,
        **vars(searches),
        **_expected({**seconds, "folding": 0.0, "the rest": config.fold.ncands * REFINE_SECONDS}, threads),
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


def live_frequencies(obs: Observation, config: Config) -> Floats:
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
    fixed = given_mask(header, config.rfi)
    if fixed is not None:
        ok &= fixed.mask.chan_ok if isinstance(fixed, MaskFile) else ~fixed.channels
        if not ok.any():
            raise ConfigError(f"{fixed.path}: the mask and rfi.zap leave no channel: nothing would be left to search")
    return np.ascontiguousarray(header.freqs[ok])
