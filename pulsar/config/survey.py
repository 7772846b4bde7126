"""What a survey observes and what it is searched with, for ``pulsar plan --survey``."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from pulsar.config.load import read_toml
from pulsar.config.model import Section
from pulsar.config.size import parse_size
from pulsar.data.header import HIGHEST_FREQ, LONGEST_TSAMP, MOST_CHANNELS, SHORTEST_TSAMP
from pulsar.data.validated import expected
from pulsar.errors import ConfigError


class ObservingConfig(Section):
    """What is observed."""

    beams: Annotated[int, Field(ge=1, le=10_000, description="beams that record at a time")] = 1
    hours: Annotated[float, Field(gt=0, le=1e6, description="of observing, in all [h]")]
    hours_per_day: Annotated[float, Field(ge=0.01, le=24, description="of observing in a day [h]")] = 24.0
    length: Annotated[float, Field(gt=0, le=1e7, description="that is searched at a time: a pointing or a segment [s]")]
    overlap: Annotated[
        float, Field(ge=0, le=0.99, description="of neighbouring segments, as a fraction of their length")
    ] = 0.0


class BandConfig(Section):
    """What a beam records."""

    low: Annotated[float, Field(ge=1, le=HIGHEST_FREQ, description="lower edge of the band [MHz]")]
    high: Annotated[float, Field(ge=1, le=HIGHEST_FREQ, description="upper edge of the band [MHz]")]
    nchans: Annotated[int, Field(ge=2, le=MOST_CHANNELS, description="channels")]
    tsamp: Annotated[float, Field(ge=SHORTEST_TSAMP, le=LONGEST_TSAMP, description="sampling time [s]")]
    nbits: Annotated[int, Field(ge=1, le=32, description="bits a sample")] = 8
    npol: Annotated[int, Field(ge=1, le=4, description="polarisations stored")] = 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} MHz is not below high {self.high:g} MHz: swap them")
        return self


class SearchedConfig(Section):
    """What it is searched with."""

    config: Annotated[str, Field(description="preset or TOML file")] = "default"
    set: Annotated[tuple[str, ...], Field(description="section.key=value, as --set takes them")] = ()


class MachineConfig(Section):
    """What it is searched on."""

    nodes: Annotated[int, Field(ge=1, le=1_000_000, description="nodes")] = 1
    cores: Annotated[int, Field(ge=1, le=100_000, description="cores of a node")]
    memory: Annotated[str, Field(description="of a node that searches may take, such as 256GB")]
    threads: Annotated[
        int | None, Field(ge=1, le=100_000, description="threads of one search; default: as many as keep up best")
    ] = None
    storage: Annotated[
        float, Field(ge=1e-6, le=1e6, description="rate at which all nodes together read the shared storage [GB/s]")
    ] = 1.0
    stage_in: Annotated[
        bool, Field(description="files are copied to a local disk first, and read from storage once")
    ] = False
    shared_speed: Annotated[
        float,
        Field(ge=0.01, le=1, description="speed of a core when all are busy, over that of one alone"),
    ] = 1.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.threads is not None and self.threads > self.cores:
            raise ValueError(f"{self.threads} threads of one search are more than the {self.cores} cores of a node")
        return self


class Survey(Section):
    """A survey, as its file describes it."""

    name: Annotated[str, Field(description="for the headline")] = "survey"
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
        raise ConfigError("\n".join(_explain(path, dict(e)) for e in error.errors())) from error
    try:
        size = parse_size(survey.machine.memory, "machine.memory", "256GB")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if size is None:
        raise ConfigError(f"{path}: machine.memory = 'auto' means nothing for another machine: give a size, as 256GB")
    return survey


def _explain(path: Path, error: dict[str, Any]) -> str:
    place = [str(part) for part in error["loc"]]
    name = ".".join(place)
    field = Survey.model_fields.get(place[0]) if place else None
    inner = getattr(field.annotation, "model_fields", {}).get(place[1]) if field is not None and place[1:] else None
    about = inner if inner is not None else field
    if error["type"] == "missing":
        what = f": {about.description}" if about is not None and about.description else ""
        return f"{path}: {name} is missing{what}"
    if error["type"] == "extra_forbidden":
        known = Survey.model_fields if field is None else getattr(field.annotation, "model_fields", {})
        return f"{path}: {name} is no setting of a survey; known are {', '.join(known)}"
    if error["type"] == "model_type":
        return f"{path}: {name} = {error['input']!r}: expected a section, [{name}]"
    if error["type"] == "value_error" or about is None:
        return f"{path}: [{name}] {str(error['msg']).removeprefix('Value error, ')}"
    return f"{path}: {name} = {error['input']!r}: expected {expected(about)} ({about.description})"
