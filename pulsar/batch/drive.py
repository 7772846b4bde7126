"""A batch from its beginning to its merged list: units planned, worked through by one process, tried again, merged.

That process holds the lock, writes the index, and hands units to an engine.
"""

import contextlib
import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from pulsar.batch import cluster, local, slurm
from pulsar.batch.local import Options, Room
from pulsar.batch.process import copies_of
from pulsar.batch.records import Record, is_open, look, products, put_back, set_aside
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
from pulsar.config.resources import memory_budget, usable_cores
from pulsar.data.files import sweep
from pulsar.data.text import printable
from pulsar.data.unfinished import only_one, write_whole
from pulsar.dedisp.batches import PART, SEARCH_BYTES
from pulsar.errors import ConfigError, DataError, refused
from pulsar.io.night import PACKED, SUFFIXES, Night, scan
from pulsar.io.product.provenance import settings_of
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import Target
from pulsar.nights.merge import merge
from pulsar.nights.night import ALL, jobs, plan_jobs
from pulsar.pipeline.compiling import Ahead, parts_of
from pulsar.pipeline.plan import RunPlan
from pulsar.pipeline.progress import Progress
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


def plan_units(night: Night, config: Config, **pieces: Any) -> tuple[list[Unit], list[str]]:
    """One unit for each search of a night, with what it is expected to take; and which will fail, in words.

    Parameters
    ----------
    **pieces
        Beams, segment and overlap, as :func:`pulsar.nights.night.jobs` takes them.

    Raises
    ------
    ConfigError, DataError
        As that function has it.
    """
    todo = jobs(night, config, Path(), **pieces)
    # With one thread the elapsed time of a plan is CPU time.
    plans, failures = plan_jobs([replace(job, config=job.config.changed(run={"threads": 1})) for job in todo])
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


def init(paths: Iterable[Path | str], folder: Path | str, config: Config, **pieces: Any) -> Batch:
    """Make a batch, or bring one that is there up to date with files that have come since.

    Parameters
    ----------
    paths : iterable of paths
        Folders of nights, files, and text files that name such, one a line.
    folder : Path
        Made when missing. What lies in it already is kept.
    config : Config
        Settings of all units.
    **pieces
        Beams, segment and overlap, as :func:`pulsar.nights.night.jobs` takes them.

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
    units, failing = plan_units(night, config, **pieces)
    with refused(ConfigError, f"{folder}: the folder cannot be made", "give another --out"):
        for part in PARTS[:3]:
            (folder / part).mkdir(parents=True, exist_ok=True)
    with only_one(folder / "lock", "batch init"):
        if (folder / "units.jsonl").exists():
            _check_same(folder, config, units)
        problems = [*missing, *night.problems, *failing]
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
        there = {key: path for key, path in paths.items() if path and Path(path).exists()}
        changed[section] = {key: str(Path(path).absolute()) for key, path in there.items()}
    return config.changed(**changed)


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
            return settings.changed(input={key: getattr(config.input, key) for key in ("ra_deg", "dec_deg")})
    return config


Engine = Literal["local", "dask", "slurm"]

#: What the exit code says of a failure.
CODES = {"input": 3, "settings": 2}


@dataclass(frozen=True)
class Request:
    """How a batch is to be worked through."""

    engine: Engine = "local"
    cores: int = 0  # Of this machine, for all units together; 0: those of the settings (`run.threads`), or all
    memory: str = "auto"  # For all units together; ``auto``: half of what is free
    threads: int = 0  # Of each unit; 0: as many as cores and the number of units allow
    retries: int = 2  # Further attempts at what has failed for other reasons than its input
    sets: tuple[str, ...] = ()  # Changes of the sections `batch` and `run` of the settings, as ``section.key=value``
    wait: bool = True  # With Slurm: go on until nothing is left, not only until the jobs are submitted
    #: Of each unit. Without limits of time and memory: ten times what is expected and a quarter of an hour, and 1.3
    #: times its budget and 200 MiB.
    options: Options = field(default_factory=Options)


@dataclass
class BatchOutcome:
    """The outcome of a run of a batch."""

    #: done, left: units.
    done: int = 0
    left: int = 0
    #: failures, waits: units that have failed, and those of `left` that wait for room or for the folder of their
    #: inputs.
    failures: list[Record] = field(default_factory=list)
    waits: list[Record] = field(default_factory=list)
    unreadable: int = 0  # Files that could not be read when the batch was made
    submitted: bool = False  # What is left is in the hands of a cluster

    @property
    def exit_code(self) -> int:
        """0: all units are done, or submitted; 3: some input could not be read; 2, 1: as of one search."""
        codes = [CODES.get(record.kind, 1) for record in self.failures] + [3] * bool(self.unreadable)
        return max([*codes, int(self.left > 0 and not self.submitted)])


def run_batch(folder: Path | str, request: Request = Request(), *, progress: Progress | None = None) -> BatchOutcome:
    """Search what is left of a batch.

    Parameters
    ----------
    folder : Path
        Of :func:`pulsar.batch.drive.init`.
    progress : Progress, optional
        Default: quiet.

    Raises
    ------
    ConfigError
        Another process works on this batch, or the request makes no sense here.
    DataError
        There is no batch in this folder.
    """
    progress = Progress("quiet") if progress is None else progress
    batch = read_batch(folder)
    with only_one(batch.folder / "lock", f"batch run --engine {request.engine}"):
        for path in set_aside(batch.folder, (unit.name for unit in batch.units)):
            progress.warning(f"{path}: a product that was cut short, now of this name; its unit is searched again")
        teller = _Teller(batch, progress, request.retries)
        todo = teller.left()
        config = settings(batch, request)
        if todo:
            progress.message(f"{len(todo)} of {len(batch.units)} units left")
            try:
                _work(batch, config, todo, request, teller)
            finally:
                if request.options.stage_in:
                    sweep(Path(request.options.stage_in), copies_of(batch.ident))
        records = look(batch, ours=True).values()
        return BatchOutcome(
            sum(record.status == "done" for record in records),
            sum(record.status not in ("done", "failed") for record in records),
            [record for record in records if record.status == "failed"],
            [
                teller.waits.get(record.name, record)
                for record in records
                if record.name in teller.waits or record.waits
            ],
            len(batch.unreadable),
            submitted=request.engine == "slurm" and not request.wait,
        )


def settings(batch: Batch, request: Request) -> Config:
    """The settings of a batch with those of the request.

    Raises
    ------
    ConfigError
        Something else than `batch` and `run` would be changed.
    """
    config = load_settings(batch.folder, request.sets)
    if same_results(config) != same_results(batch.config):
        raise ConfigError(
            f"{batch.folder}: only settings of [batch] and [run] can be changed when it runs: what results depend on "
            "is the same for all units, give it to `pulsar batch init` with another --out"
        )
    return config


def _work(batch: Batch, config: Config, todo: Sequence[Unit], request: Request, teller: "_Teller") -> None:
    options = replace(request.options, scratch=config.run.scratch, ident=batch.ident)
    if request.engine == "slurm":
        order = slurm.Submission((), options, request.threads, request.retries, config.batch)
        slurm.work(batch, order, teller.left, teller.progress.message, waiting=request.wait)
        return
    if request.engine == "local" or config.batch.scheduler == "local":
        if options.stage_in and not Path(options.stage_in).is_dir():
            raise ConfigError(f"--stage-in {options.stage_in}: no such folder on this machine: create it first")
        # Once what all units would compile at the same time.
        with Ahead(parts_of(config), config.run.threads or usable_cores()) as ahead:
            ahead.wait(teller.progress)
        memory = memory_budget(request.memory if request.memory != "auto" else config.run.memory)
        room = Room(request.cores or config.run.threads or usable_cores(), memory, request.threads)
    else:
        room = Room(config.batch.cores, memory_budget(config.batch.memory), request.threads)
    units = local.Order(batch, todo, options, room, request.retries, teller)
    if request.engine == "local":
        local.work(units, threading.Event())
    else:
        cluster.work(units, config.batch, teller.progress.warning)


class _Teller:
    """Tells what has ended, and knows what is left."""

    def __init__(self, batch: Batch, progress: Progress, retries: int) -> None:
        self.batch, self.progress, self.retries = batch, progress, retries
        self.ended = 0
        self.waits: dict[str, Record] = {}

    def __call__(self, record: Record) -> None:
        self.waits.pop(record.name, None)
        if record.status == "done":
            self.ended += 1
            self.progress.message(
                f"{record.name}: done in {record.seconds:.0f} s, {record.candidates} candidates; "
                f"{self.ended} of {len(self.batch.units)} units"
            )
        elif record.waits:
            # On a full disk no record of it could be kept to be told at the end.
            self.waits[record.name] = record
            self.progress.warning(f"{record.name}: {record.reason}")
        elif record.status == "failed":
            self.progress.message(f"{record.name}: failed (attempt {record.attempts}): {record.reason}")

    def left(self) -> list[Unit]:
        """Units to be searched, after a look at what there is."""
        records = look(self.batch, ours=True)
        self.ended = sum(record.status == "done" for record in records.values())
        return [unit for unit in self.batch.units if is_open(records[unit.name], self.retries)]


def retry(folder: Path | str, names: Sequence[str] = ()) -> list[str]:
    """Put units that have failed back among those that are left.

    Parameters
    ----------
    folder : Path
        Of the batch.
    names : sequence of str
        Only these; all that have failed, if none are given.

    Returns
    -------
    list of str
        Their names.

    Raises
    ------
    ConfigError
        A name is that of no failed unit, or another process works on this batch.
    """
    batch = read_batch(folder)
    with only_one(batch.folder / "lock", "batch retry"):
        failed = {name: record for name, record in look(batch, ours=True).items() if record.status == "failed"}
        for name in names:
            if name not in failed:
                raise ConfigError(f"{name}: no unit of this name has failed; `pulsar batch status` lists them")
        wanted = sorted(names or failed)
        for name in wanted:
            put_back(batch.folder, failed[name])
    return wanted


def merged(
    folder: Path | str,
    out: Path | None = None,
    *,
    overwrite: bool = False,
    argv: Sequence[str] = (),
    unreadable: list[str] | None = None,
) -> Run:
    """Merge the products of all finished units: beams of one time are compared, all others listed.

    Parameters
    ----------
    folder : Path
        Of the batch.
    out : Path, optional
        Default: ``ALL.h5`` in that folder.
    overwrite : bool
        Replace an existing one.
    unreadable : list of str, optional
        Gets the names of the units whose products cannot be read, and are passed over.

    Raises
    ------
    ConfigError
        No unit is done, the output exists, or another process works on this batch.
    DataError
        There is no batch in this folder, or none of its products can be read.
    """
    batch = read_batch(folder)
    with only_one(batch.folder / "lock", "batch merge"):
        records = look(batch, ours=True)
        there = products(batch.folder)
        names = [unit.name for unit in batch.units if unit.name in there]
        if not names:
            raise ConfigError(f"{batch.folder}: no unit is done: run it first with `pulsar batch run {batch.folder}`")
        lost = [r for r in records.values() if r.status != "done"]
        notes = [*batch.problems, *(f"{r.name}: is not in this list ({r.status}): {r.reason}" for r in lost)]
        runs = []
        for name in sorted(names):
            try:
                runs.append(read(product(batch.folder, name)))
            except DataError as error:
                # One of thousands is no reason to have no list.
                if unreadable is not None:
                    unreadable.append(name)
                notes.append(
                    f"{name}: is not in this list: {error}; `pulsar batch run` searches it again if it is short"
                )
        if not runs:
            raise DataError(f"{batch.folder}: no product can be read: " + "; ".join(notes))
        target = Target(batch.folder / ALL if out is None else out, overwrite, argv)
        return merge(runs, target, batch.config, notes)
