"""The units of a batch: one line for each, in a folder that holds all of it."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, Strict, TypeAdapter

from pulsar.config.load import given_config, to_toml
from pulsar.config.model import Config
from pulsar.data.files import read_bytes
from pulsar.data.folders import check_link
from pulsar.data.locks import only_one
from pulsar.data.text import is_file_name, printable
from pulsar.data.unfinished import write_whole
from pulsar.data.validated import STRICT, Count, Seconds, validated
from pulsar.dedisp.batches import PART, SEARCH_BYTES
from pulsar.errors import STORAGE, ConfigError, DataError
from pulsar.io.night import PACKED, SUFFIXES, scan
from pulsar.io.product.provenance import settings_of
from pulsar.io.product.reader import read
from pulsar.pipeline.room import BASE_MEMORY, LEAST_MEMORY

if TYPE_CHECKING:
    from pulsar.io.night import Night
    from pulsar.pipeline.plan import RunPlan

#: Version of the list of units.
FORMAT: Final = 1
#: Bytes of a list of units: a million of them, each with three files of long names.
MOST_LIST: Final = 1 << 30
#: Folders in that of a batch; the last two are made when they are needed.
PARTS: Final = ("products", "records", "logs", "slots", "slurm")
#: Settings that name files and folders.
FILES: Final = {"input": ("pointings",), "rfi": ("zaplist", "mask"), "known": ("catalogue",), "run": ("scratch",)}


@dataclass(frozen=True)
class Unit:
    """One search: a beam of an observation, or a segment of it.

    Attributes
    ----------
    name : str
        Of its product, record and log: letters, digits and ``+-._``, so that these lie in the folder of the batch.
    inputs : tuple of str
        Absolute paths.
    nbytes : int
        Size of all inputs.
    cpu : float
        CPU seconds expected; 0 where they could not be planned.
    memory : int
        Bytes that a search with one thread takes where it can have them.
    more_memory : int
        Bytes that each further thread takes.
    least_memory : int
        Bytes below which it cannot be searched.
    incomplete : tuple of str
        Files that hold less than their header or their neighbours promise, and how much, in words.
    ra_deg, dec_deg : float or None
        Position in place of that in the files.
    """

    name: str
    inputs: tuple[str, ...]
    nbytes: Count
    cpu: Seconds = 0.0
    memory: Count = 0
    more_memory: Count = 0
    ra_deg: Annotated[float, Strict(), Field(ge=0.0, lt=360.0)] | None = None
    dec_deg: Annotated[float, Strict(), Field(ge=-90.0, le=90.0)] | None = None
    least_memory: Count = 0
    incomplete: tuple[str, ...] = ()

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if not is_file_name(self.name):
            raise ValueError(f"name = {self.name[:60]!r}: expected letters, digits and +-._, none of a folder")

    def config(self, config: Config) -> Config:
        """The settings of a batch with the position of this unit."""
        given = config.input.model_copy(update={"ra_deg": self.ra_deg, "dec_deg": self.dec_deg})
        return config.model_copy(update={"input": given})


@dataclass(frozen=True)
class Head:
    """The first line of a list of units."""

    format: Count
    units: Count
    problems: tuple[str, ...]
    unreadable: tuple[str, ...]

    __pydantic_config__ = STRICT


_HEAD: Final = TypeAdapter(Head)
_UNIT: Final = TypeAdapter(Unit)


@dataclass(frozen=True)
class Batch:
    """A folder with the list of units, their settings, and all that they leave.

    Attributes
    ----------
    folder : Path
    units : tuple of Unit
        The most expensive first.
    problems : tuple of str
        What was passed over, missing or odd.
    unreadable : tuple of str
        Files that could not be read when the list was made.
    """

    folder: Path
    units: tuple[Unit, ...]
    problems: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = field(default=())

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
    folder : Path
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
        try:
            check_link(folder / part)
        except OSError as error:
            raise DataError(f"{folder / part}: {error.strerror}") from error
    path, remedy = folder / "units.jsonl", "make it again with `pulsar batch init`"
    if not path.exists():
        raise DataError(f"{folder}: holds no batch: make one with `pulsar batch init NIGHT/ --out {folder}`")
    first, *lines = read_bytes(path, "a list of units", most=MOST_LIST).rstrip(b"\n").split(b"\n")
    head = validated(_HEAD, first, f"{path}: line 1", remedy)
    if head.format != FORMAT:
        raise DataError(f"{path}: a list of units of format {head.format}, expected {FORMAT}: update pulsar")
    units = tuple(validated(_UNIT, line, f"{path}: line {n}", remedy) for n, line in enumerate(lines, 2))
    if len(units) != head.units:
        raise DataError(f"{path}: is damaged: {len(units)} of {head.units} lines: {remedy}")
    places = {unit.name: n for n, unit in enumerate(units, 2)}
    for n, unit in enumerate(units, 2):
        if places[unit.name] != n:
            raise DataError(f"{path}: line {n}: is damaged: {unit.name} is in line {places[unit.name]}, too: {remedy}")
    return Batch(folder, units, head.problems, head.unreadable)


def listed(paths: Iterable[Path], missing: list[str]) -> list[Path]:
    """Files and folders, with those that text files among them name, one a line; lines that begin with # are left out.

    What a list names and is not there is passed over, and told in `missing`.

    Raises
    ------
    DataError
        A list cannot be read, or names nothing.
    """
    out: list[Path] = []
    for path in paths:
        if not path.is_file() or path.suffix.lower() in {*SUFFIXES, *PACKED, ".inf"}:
            out.append(path)
            continue
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}: neither an observation by its name nor a list of files, one a line: {error}"
            ) from error
        named = [(number, Path(line)) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
        if not named:
            raise DataError(f"{path}: this list of files names none")
        gone = [
            f"{printable(str(name))}: no such file or folder ({path}, line {number})"
            for number, name in named
            if not _is_there(name)
        ]
        if len(gone) == len(named):
            raise DataError(f"{gone[0]}: nothing that this list names is there; names count from the current folder")
        missing += gone
        out += [name for _, name in named if _is_there(name)]
    return out


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is too long
        return False


def plan_units(
    night: "Night",
    config: Config,
    *,
    beams: set[int] | None = None,
    segment: int | None = None,
    overlap: float = 0.5,
) -> tuple[list[Unit], list[str]]:
    """One unit for each search of a night, with what it is expected to take; and which will fail, in words.

    Parameters
    ----------
    night : Night
    config : Config
    beams, segment, overlap
        As :func:`pulsar.nights.night.jobs` takes them.

    Raises
    ------
    ConfigError, DataError
        As that function has it.
    """
    # What a status need not load.
    from pulsar.nights.night import jobs, plan_jobs

    todo = jobs(night, config, Path(), beams=beams, segment=segment, overlap=overlap)
    # With one thread the elapsed time of a plan is CPU time.
    run = config.run.model_copy(update={"threads": 1})
    plans, failures = plan_jobs([replace(job, config=job.config.model_copy(update={"run": run})) for job in todo])
    units: list[Unit] = []
    for job in todo:
        position = job.config.input.ra_deg, job.config.input.dec_deg
        inputs = tuple(str(path.absolute()) for path in job.pointing.paths)
        size = input_bytes(inputs)
        plan = plans.get(job.out.stem)
        cost = (0.0, 0, 0) if plan is None else expected(plan)
        least = 0 if plan is None else plan.least_memory
        short = tuple(f"{p.name}: {job.pointing.short[p]}" for p in job.pointing.paths if p in job.pointing.short)
        units.append(Unit(job.out.stem, inputs, size, *cost, *position, least, short))
    problems = [f"{name}: cannot be searched as it is: {failure}" for name, failure in failures]
    return sorted(_distinct(units), key=lambda unit: (-unit.cpu, unit.name)), problems


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


def expected(plan: "RunPlan") -> tuple[float, int, int]:
    """CPU seconds, bytes of a search with one thread, bytes of each further thread, of a plan for one thread."""
    each = plan.search_memory + SEARCH_BYTES * plan.nsamps
    held = plan.series_bytes if plan.route is None else int(plan.route.held / PART)
    whole = BASE_MEMORY + plan.mask_memory + max(LEAST_MEMORY, each + held)
    return round(plan.total_seconds, 2), max(whole, plan.least_memory), each


def _distinct(units: Sequence[Unit]) -> list[Unit]:
    """Units whose names differ, on file systems that do not tell capitals too."""
    seen: dict[str, int] = {}
    out = []
    for unit in units:
        key = unit.name.casefold()
        seen[key] = seen.get(key, 0) + 1
        out.append(unit if seen[key] == 1 else replace(unit, name=f"{unit.name}_{seen[key]}"))
    return out


def init(
    paths: Iterable[Path | str],
    folder: Path | str,
    config: Config,
    *,
    beams: set[int] | None = None,
    segment: int | None = None,
    overlap: float = 0.5,
) -> Batch:
    """Make a batch, or bring one that is there up to date with files that have come since.

    Parameters
    ----------
    paths : iterable of paths
        Folders of nights, files, and text files that name such, one a line.
    folder : Path
        Made when missing. What lies in it already is kept.
    config : Config
        Settings of all units.
    beams : set of int, optional
        Only these.
    segment : int, optional
        Search so many files at a time.
    overlap : float
        Of neighbouring segments.

    Raises
    ------
    ConfigError
        The folder cannot be written, holds a batch with other settings, or a finished unit would now have other files.
    DataError
        Nothing that can be read was found.
    """
    from pulsar.nights.night import unmatched_pointings

    folder, config = Path(folder), _absolute(config)
    missing: list[str] = []
    night = scan(listed(map(Path, paths), missing), config.input)
    units, failing = plan_units(night, config, beams=beams, segment=segment, overlap=overlap)
    try:
        for part in PARTS[:3]:
            (folder / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: the folder cannot be made: {error.strerror}; give another --out") from error
    with only_one(folder / "lock", "batch init"):
        if (folder / "units.jsonl").exists():
            _check_same(folder, config, units)
        problems = [*missing, *night.problems, *unmatched_pointings(night, config), *failing]
        head = Head(FORMAT, len(units), tuple(problems), (*missing, *map(str, night.unreadable)))
        lines = [json.dumps(values) for values in (asdict(head), *map(asdict, units))]
        write_whole(settings_file(folder), to_toml(config, with_help=False))
        write_whole(folder / "units.jsonl", "\n".join(lines) + "\n")
    return read_batch(folder)


def _absolute(config: Config) -> Config:
    """The settings with the files that they name told from the root: units run in any folder, on any node."""
    changed = {}
    for section, keys in FILES.items():
        values = getattr(config, section)
        paths = {key: getattr(values, key) for key in keys}
        # What is no file may be a word, such as psrqpy.
        absolute = {key: str(Path(path).absolute()) for key, path in paths.items() if path and Path(path).exists()}
        changed[section] = values.model_copy(update=absolute)
    return config.model_copy(update=changed)


def _check_same(folder: Path, config: Config, units: Sequence[Unit]) -> None:
    """Refuse to change what finished units have been made of."""
    batch = read_batch(folder)
    before = load_settings(folder) if settings_file(folder).exists() else _settings_of_products(batch, config)
    if same_results(before) != same_results(config):
        raise ConfigError(f"{folder}: holds a batch with other settings: give another --out, or the same settings")
    known = {unit.name: unit for unit in batch.units}
    for unit in units:
        old, path = known.get(unit.name, unit), product(folder, unit.name)
        if (old.inputs, old.nbytes) != (unit.inputs, unit.nbytes) and path.exists():
            raise ConfigError(
                f"{path}: was made of other files than {unit.name} has now: remove it to have them searched, or give "
                "another --out"
            )


def _settings_of_products(batch: Batch, config: Config) -> Config:
    """The settings that a finished unit tells of; `config` where none does."""
    for unit in batch.units:
        with contextlib.suppress(DataError):
            settings = settings_of(read(product(batch.folder, unit.name)).provenance)
            # The position is that of the unit.
            own = settings.input.model_copy(update={key: getattr(config.input, key) for key in ("ra_deg", "dec_deg")})
            return settings.model_copy(update={"input": own})
    return config


def same_results(config: Config) -> dict[str, Any]:
    """Settings that results depend on."""
    return config.model_dump(exclude={"run", "batch"})
