"""The units of a batch: one line for each, in a folder that holds all of it."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, Strict

from pulsar.config.load import given_config
from pulsar.config.model import Config
from pulsar.data.files import check_link, read_bytes
from pulsar.data.text import is_file_name
from pulsar.data.validated import STRICT, Count, Seconds, validated
from pulsar.errors import STORAGE, ConfigError, DataError, refused

#: Version of the list of units.
FORMAT: Final = 1
#: Bytes of a list of units: a million of them, each with three files of long names.
MOST_LIST: Final = 1 << 30
#: Folders in that of a batch; the last two are made when they are needed.
PARTS: Final = ("products", "records", "logs", "slots", "slurm")


@dataclass(frozen=True)
class Unit:
    """One search: a beam of an observation, or a segment of it."""

    #: Of its product, record and log: letters, digits and ``+-._``, so that these lie in the folder of the batch.
    name: str
    inputs: tuple[str, ...]  # Absolute paths
    nbytes: Count  # Size of all inputs
    cpu: Seconds = 0.0  # CPU seconds expected; 0 where they could not be planned
    memory: Count = 0  # Bytes that a search with one thread takes where it can have them
    more_memory: Count = 0  # Bytes that each further thread takes
    #: ra_deg, dec_deg: position in place of that in the files.
    ra_deg: Annotated[float, Strict(), Field(ge=0.0, lt=360.0)] | None = None
    dec_deg: Annotated[float, Strict(), Field(ge=-90.0, le=90.0)] | None = None
    least_memory: Count = 0  # Bytes below which it cannot be searched
    #: Files that hold less than their header or their neighbours promise, and how much, in words.
    incomplete: tuple[str, ...] = ()

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if not is_file_name(self.name):
            raise ValueError(f"name = {self.name[:60]!r}: expected letters, digits and +-._, none of a folder")

    def config(self, config: Config) -> Config:
        """The settings of a batch with the position of this unit."""
        return config.changed(input={"ra_deg": self.ra_deg, "dec_deg": self.dec_deg})


@dataclass(frozen=True)
class Head:
    """The first line of a list of units."""

    format: Count
    units: Count
    problems: tuple[str, ...]
    unreadable: tuple[str, ...]

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Batch:
    """A folder with the list of units, their settings, and all that they leave."""

    folder: Path
    units: tuple[Unit, ...]  # The most expensive first
    problems: tuple[str, ...] = ()  # What was passed over, missing or odd
    unreadable: tuple[str, ...] = field(default=())  # Files that could not be read when the list was made

    @cached_property
    def ident(self) -> str:
        """Short name of this batch, the same as long as it lies in the same folder."""
        return hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:12]

    @cached_property
    def config(self) -> Config:
        """The settings of all units.

        Raises
        ------
        ConfigError
            The file is missing, or has been changed into something that makes no sense.
        """
        return load_settings(self.folder)


def settings_file(folder: Path) -> Path:
    """Where the settings of a batch are."""
    return folder / "config.toml"


def load_settings(folder: Path, sets: Sequence[str] = ()) -> Config:
    """The settings of the batch in a folder.

    Parameters
    ----------
    sets : sequence of str
        Changes, ``section.key=value``.

    Raises
    ------
    ConfigError
        The file is missing, or what it or a change says makes no sense.
    """
    path = settings_file(folder)
    if not path.exists():
        raise ConfigError(
            f"{path}: the settings of this batch are gone: put the file back, or give `pulsar batch init` the same "
            f"files and settings once more, with --out {folder}; what is done is kept"
        )
    return given_config(path, sets, {})


def product(folder: Path, name: str) -> Path:
    """Where the product of a unit comes to lie."""
    return folder / "products" / f"{name}.h5"


def record_file(folder: Path, name: str) -> Path:
    """Where a unit's last attempt is told."""
    return folder / "records" / f"{name}.json"


def log_file(folder: Path, name: str) -> Path:
    """Where a unit's messages go; its process holds a lock on this file."""
    return folder / "logs" / f"{name}.log"


def read_batch(folder: Path | str) -> Batch:
    """The batch in a folder.

    Raises
    ------
    DataError
        There is none, its list is damaged, or what it holds is elsewhere by a link of another user.
    """
    folder = Path(folder)
    for part in PARTS:
        with refused(DataError, f"{folder / part}"):
            check_link(folder / part)
    path, remedy = folder / "units.jsonl", "make it again with `pulsar batch init`"
    if not path.exists():
        raise DataError(f"{folder}: holds no batch: make one with `pulsar batch init NIGHT/ --out {folder}`")
    first, *lines = read_bytes(path, "a list of units", most=MOST_LIST).rstrip(b"\n").split(b"\n")
    head = validated(Head, first, f"{path}: line 1", remedy)
    if head.format != FORMAT:
        raise DataError(f"{path}: a list of units of format {head.format}, expected {FORMAT}: update pulsar")
    units = tuple(validated(Unit, line, f"{path}: line {n}", remedy) for n, line in enumerate(lines, 2))
    if len(units) != head.units:
        raise DataError(f"{path}: is damaged: {len(units)} of {head.units} lines: {remedy}")
    places = {unit.name: n for n, unit in enumerate(units, 2)}
    for n, unit in enumerate(units, 2):
        if places[unit.name] != n:
            raise DataError(f"{path}: line {n}: is damaged: {unit.name} is in line {places[unit.name]}, too: {remedy}")
    return Batch(folder, units, head.problems, head.unreadable)


def input_bytes(inputs: Iterable[str]) -> int:
    """Bytes of the files of a unit; those that are gone have none."""
    return sum(path.stat().st_size for path in map(Path, inputs) if path.exists())


def inputs_gone(inputs: Iterable[str]) -> str:
    """A folder of inputs that is not there, or empty as where nothing is mounted, in words; empty where all are."""
    for folder in dict.fromkeys(Path(path).parent for path in inputs):
        try:
            with os.scandir(folder) as entries:
                if next(entries, None) is not None:
                    continue
            return f"{folder}: is empty, as where nothing is mounted"
        except OSError as error:
            if isinstance(error, FileNotFoundError) or error.errno in STORAGE:
                return f"{folder}: the folder of its files is not there ({error.strerror})"
    return ""


def same_results(config: Config) -> dict[str, Any]:
    """Settings that results depend on."""
    return config.model_dump(exclude={"run", "batch"})
