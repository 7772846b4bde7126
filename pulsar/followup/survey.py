"""The cost of searching a survey: cores, memory, storage, and whether the search keeps up with the observing."""

from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Final, Self

import numpy as np
from pydantic import ValidationError, model_validator

from pulsar.config.load import faults, given_config, read_toml
from pulsar.config.model import Section, setting
from pulsar.config.resources import parse_size
from pulsar.data.header import HIGHEST_FREQ, LONGEST_TSAMP, MOST_CHANNELS, SHORTEST_TSAMP, Header
from pulsar.data.series import MIN_SAMPLES
from pulsar.errors import ConfigError
from pulsar.io.memory import Filterbank
from pulsar.pipeline.plan import RunPlan, dry_run
from pulsar.pipeline.room import BASE_MEMORY


class ObservingConfig(Section):
    """The observations."""

    beams: int = setting(1, "beams that record at a time", ge=1, le=10_000)
    hours: float = setting(..., "of observing, in all [h]", gt=0, le=1e6)
    hours_per_day: float = setting(24.0, "of observing in a day [h]", ge=0.01, le=24)
    length: float = setting(..., "that is searched at a time: a pointing or a segment [s]", gt=0, le=1e7)
    overlap: float = setting(0.0, "of neighbouring segments, as a fraction of their length", ge=0, le=0.99)


class BandConfig(Section):
    """The band that a beam records."""

    low: float = setting(..., "lower edge of the band [MHz]", ge=1, le=HIGHEST_FREQ)
    high: float = setting(..., "upper edge of the band [MHz]", ge=1, le=HIGHEST_FREQ)
    nchans: int = setting(..., "channels", ge=2, le=MOST_CHANNELS)
    tsamp: float = setting(..., "sampling time [s]", ge=SHORTEST_TSAMP, le=LONGEST_TSAMP)
    nbits: int = setting(8, "bits a sample", ge=1, le=32)
    npol: int = setting(1, "polarisations stored", ge=1, le=4)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} MHz is not below high {self.high:g} MHz: swap them")
        return self


class SearchedConfig(Section):
    """Settings of the searches."""

    config: str = setting("default", "preset or TOML file")
    set: tuple[str, ...] = setting((), "section.key=value, as --set takes them")


class MachineConfig(Section):
    """The machine that searches."""

    nodes: int = setting(1, "nodes", ge=1, le=1_000_000)
    cores: int = setting(..., "cores of a node", ge=1, le=100_000)
    memory: str = setting(..., "of a node that searches may take, such as 256GB")
    threads: int | None = setting(None, "threads of one search; default: as many as keep up best", ge=1, le=100_000)
    storage: float = setting(1.0, "rate at which all nodes together read the shared storage [GB/s]", ge=1e-6, le=1e6)
    stage_in: bool = setting(False, "files are copied to a local disk first, and read from storage once")
    shared_speed: float = setting(1.0, "speed of a core when all are busy, over that of one alone", ge=0.01, le=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.threads is not None and self.threads > self.cores:
            raise ValueError(f"{self.threads} threads of one search are more than the {self.cores} cores of a node")
        return self


class Survey(Section):
    """A survey, as its file describes it."""

    name: str = setting("survey", "for the headline")
    observing: ObservingConfig
    band: BandConfig
    search: SearchedConfig = SearchedConfig()
    machine: MachineConfig


def load_survey(path: str | Path) -> Survey:
    """Read the description of a survey.

    Parameters
    ----------
    path : str or Path
        TOML with the sections observing, band, search and machine.

    Raises
    ------
    ConfigError
        It cannot be read, a key is unknown or missing, or a value is out of bounds: all that is wrong, a line each.
    """
    path = Path(path)
    content = read_toml(path, "the description of a survey")
    try:
        survey = Survey.model_validate(content)
    except ValidationError as error:
        raise ConfigError("\n".join(faults(Survey, error, str(path)))) from error
    try:
        size = parse_size(survey.machine.memory, "machine.memory", "256GB")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if size is None:
        raise ConfigError(f"{path}: machine.memory = 'auto' means nothing for another machine: give a size, as 256GB")
    return survey


#: Samples that are searched at a time: ten days of 49 us, more than anybody has.
MOST_SAMPLES: Final = 1 << 34


@dataclass(frozen=True)
class SurveyPlan:
    """Cost of a survey. A unit is what one search goes through: a pointing, or a segment, of one beam."""

    plan: RunPlan  # Of one unit
    #: unit_bytes, units: size of a unit, and their number.
    unit_bytes: float
    units: float
    data_rate: float  # Bytes that all beams record in an hour of observing
    data_bytes: float  # In all
    unit_memory: int  # Bytes that one search takes
    side_by_side: int  # Searches on one node at a time
    bound_by: str  # What bounds that: "cores" or "memory"
    passes: float  # How often a unit is read from the shared storage
    cores_needed: float  # Busy all day, for the search to keep up
    storage_needed: float  # Bytes a second from the shared storage, all day, likewise
    product_bytes: float  # In all
    rated: str  # What the times are taken from, in words
    #: CPU seconds of each stage of a unit, on a node whose cores are all busy.
    cpu: dict[str, float] = field(default_factory=dict)
    #: Days of observing that are searched in a day, by what bounds it: 1 keeps up.
    speed: dict[str, float] = field(default_factory=dict)

    @property
    def cpu_seconds(self) -> float:
        """Of one unit."""
        return sum(self.cpu.values())

    @property
    def core_hours(self) -> float:
        """Of the survey."""
        return self.units * self.cpu_seconds / 3600.0

    @property
    def bottleneck(self) -> str:
        """The limit of the search."""
        return min(self.speed, key=lambda name: self.speed[name])

    @property
    def keeps_up(self) -> float:
        """Days of observing that are searched in a day."""
        return self.speed[self.bottleneck]


def plan_survey(survey: Survey) -> SurveyPlan:
    """Plan a survey.

    Parameters
    ----------
    survey : Survey
        Where it leaves the threads of a search open, their number is the smallest that keeps up best.

    Raises
    ------
    ConfigError
        The settings of the search are wrong, a unit has too few samples or too many, or a node has too little memory
        for one search.
    """
    machine = survey.machine
    nsamps = survey.observing.length / survey.band.tsamp
    if not MIN_SAMPLES <= nsamps <= MOST_SAMPLES:
        raise ConfigError(
            f"{survey.name}: observing.length / band.tsamp = {nsamps:.4g} samples that are searched at a time: "
            f"expected {MIN_SAMPLES} to {MOST_SAMPLES}"
        )
    if machine.threads is not None:
        return _planned(survey, machine.threads)
    counts = [1 << power for power in range(machine.cores.bit_length())]
    plans = []
    for threads in counts:
        try:
            plans.append(_planned(survey, threads))
        except ConfigError:
            # More memory a search may do.
            if threads == counts[-1] and not plans:
                raise
    return reduce(lambda best, plan: plan if plan.keeps_up > 1.05 * best.keeps_up else best, plans)


def _planned(survey: Survey, threads: int) -> SurveyPlan:
    """The same with a number of threads of each search."""
    observing, band, machine = survey.observing, survey.band, survey.machine
    count, plan = _side_by_side(survey, threads)
    ncands = given_config(survey.search.config, survey.search.set, {}).fold.ncands
    sample_bytes = band.nchans * band.npol * band.nbits / 8.0
    unit_bytes = plan.nsamps * sample_bytes
    data_rate = observing.beams * 3600.0 / band.tsamp * sample_bytes
    # Beam-seconds that are searched for each second of observing, as units; and averaged over the day.
    rate = observing.beams / (observing.length * (1.0 - observing.overlap))
    units = rate * observing.hours * 3600.0
    rate *= observing.hours_per_day / 24.0
    seconds = {name: value * threads / machine.shared_speed for name, value in plan.seconds.items()}
    # Statistics, dedispersion and folding each go over the file.
    reads = 2.0 + (plan.route.passes if plan.route is not None else 1)
    passes = 1.0 if machine.stage_in else reads
    cores_needed = rate * sum(seconds.values())
    storage_needed = rate * unit_bytes * passes
    bound_by = "cores" if count == max(machine.cores // threads, 1) else "memory"
    return SurveyPlan(
        plan=plan,
        unit_bytes=unit_bytes,
        units=units,
        data_rate=data_rate,
        data_bytes=data_rate * observing.hours,
        unit_memory=plan.memory + plan.mask_memory + BASE_MEMORY,
        side_by_side=count,
        bound_by=bound_by,
        passes=passes,
        cores_needed=cores_needed,
        storage_needed=storage_needed,
        # And of each candidate in it that is folded with the default bins: 100 of them are 1.5 MB.
        product_bytes=units * (2.0e5 + ncands * 1.3e4),
        rated=plan.rated,
        cpu=seconds,
        speed={
            bound_by: machine.nodes * count * threads / cores_needed,
            "storage": machine.storage * 1e9 / storage_needed,
        },
    )


def _side_by_side(survey: Survey, threads: int) -> tuple[int, RunPlan]:
    """Searches that a node does at a time, and the plan of one: each has its share of the memory."""
    node = parse_size(survey.machine.memory) or 0
    observation = _observation(survey)
    count = max(survey.machine.cores // threads, 1)
    while True:
        run = {"threads": threads, "memory": f"{node // count // 1024**2}MiB"}
        try:
            return count, dry_run(observation, given_config(survey.search.config, survey.search.set, {"run": run}))
        except ConfigError:
            # It may be too little for one search: fewer of them have more.
            if count == 1:
                raise
            count = max(count // 2, 1)


def _observation(survey: Survey) -> Filterbank:
    """A unit of the survey, without its samples."""
    band = survey.band
    foff = (band.high - band.low) / band.nchans
    nsamps = round(survey.observing.length / band.tsamp)
    header = Header(
        nchans=band.nchans,
        nsamps=nsamps,
        tsamp=band.tsamp,
        fch1=band.high - 0.5 * foff,
        foff=-foff,
        tstart=60000.0,
        nbits=band.nbits,
        nifs=band.npol,
        source=survey.name,
    )
    return Filterbank(np.broadcast_to(np.uint8(0), (band.nchans, nsamps)), header)
