"""Description of a survey, and of its search, for ``pulsar plan --survey``."""

from pathlib import Path
from typing import Self

from pydantic import ValidationError, model_validator

from pulsar.config.load import faults, read_toml
from pulsar.config.model import Section, setting
from pulsar.config.resources import parse_size
from pulsar.data.header import HIGHEST_FREQ, LONGEST_TSAMP, MOST_CHANNELS, SHORTEST_TSAMP
from pulsar.errors import ConfigError


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
