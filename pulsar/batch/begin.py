"""The beginning of a batch: the searches that files ask for, what each takes, and the list of them."""

import contextlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from pulsar.batch.units import (
    FORMAT,
    PARTS,
    Batch,
    Head,
    Unit,
    input_bytes,
    load_settings,
    product,
    read_batch,
    same_results,
    settings_file,
)
from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.data.text import printable
from pulsar.data.unfinished import only_one, write_whole
from pulsar.dedisp.batches import PART, SEARCH_BYTES
from pulsar.errors import ConfigError, DataError, refused
from pulsar.io.night import PACKED, SUFFIXES, Night, scan
from pulsar.io.product.provenance import settings_of
from pulsar.io.product.reader import read
from pulsar.nights.night import jobs, plan_jobs
from pulsar.nights.pointings import unmatched_pointings
from pulsar.pipeline.plan import RunPlan
from pulsar.pipeline.room import BASE_MEMORY, LEAST_MEMORY

#: Settings that name files and folders.
FILES: Final = {"input": ("pointings",), "rfi": ("zaplist", "mask"), "known": ("catalogue",), "run": ("scratch",)}


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
    night: Night,
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


def expected(plan: RunPlan) -> tuple[float, int, int]:
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
    folder, config = Path(folder), _absolute(config)
    missing: list[str] = []
    night = scan(listed(map(Path, paths), missing), config.input)
    units, failing = plan_units(night, config, beams=beams, segment=segment, overlap=overlap)
    with refused(ConfigError, f"{folder}: the folder cannot be made", "give another --out"):
        for part in PARTS[:3]:
            (folder / part).mkdir(parents=True, exist_ok=True)
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
