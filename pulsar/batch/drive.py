"""A batch worked through by one process: it holds the lock, writes the index, and hands units to an engine."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pulsar.batch import cluster, local, slurm
from pulsar.batch.local import Options, Room
from pulsar.batch.process import copies_of
from pulsar.batch.records import Record, is_open, look, products, put_back, set_aside
from pulsar.batch.units import Batch, Unit, load_settings, product, read_batch, same_results
from pulsar.config.model import Config
from pulsar.config.resources import memory_budget, usable_cores
from pulsar.data.folders import sweep
from pulsar.data.unfinished import only_one
from pulsar.errors import ConfigError, DataError
from pulsar.io.product.reader import read
from pulsar.nights.merge import merge
from pulsar.nights.night import ALL
from pulsar.pipeline.compiling import Ahead, parts_of
from pulsar.pipeline.progress import Progress

if TYPE_CHECKING:
    from pulsar.io.product.reader import Run

Engine = Literal["local", "dask", "slurm"]

#: What the exit code says of a failure.
CODES = {"input": 3, "settings": 2}


@dataclass(frozen=True)
class Request:
    """How a batch is to be worked through.

    Attributes
    ----------
    engine : str
    cores : int
        Of this machine, for all units together; 0: those of the settings (`run.threads`), or all.
    memory : str
        For all units together; ``auto``: half of what is free.
    threads : int
        Of each unit; 0: as many as cores and the number of units allow.
    retries : int
        Further attempts at what has failed for other reasons than its input.
    sets : tuple of str
        Changes of the sections `batch` and `run` of the settings, as ``section.key=value``.
    wait : bool
        With Slurm: go on until nothing is left, not only until the jobs are submitted.
    options : Options
        Of each unit. Without limits of time and memory: ten times what is expected and a quarter of an hour, and 1.3
        times its budget and 200 MiB.
    """

    engine: Engine = "local"
    cores: int = 0
    memory: str = "auto"
    threads: int = 0
    retries: int = 2
    sets: tuple[str, ...] = ()
    wait: bool = True
    options: Options = field(default_factory=Options)


@dataclass
class Outcome:
    """The outcome of a run of a batch.

    Attributes
    ----------
    done, left : int
        Units.
    failures, waits : list of Record
        Units that have failed, and those of `left` that wait for room or for the folder of their inputs.
    unreadable : int
        Files that could not be read when the batch was made.
    submitted : bool
        What is left is in the hands of a cluster.
    """

    done: int = 0
    left: int = 0
    failures: list[Record] = field(default_factory=list)
    waits: list[Record] = field(default_factory=list)
    unreadable: int = 0
    submitted: bool = False

    @property
    def exit_code(self) -> int:
        """0: all units are done, or submitted; 3: some input could not be read; 2, 1: as of one search."""
        codes = [CODES.get(record.kind, 1) for record in self.failures] + [3] * bool(self.unreadable)
        return max([*codes, int(self.left > 0 and not self.submitted)])


def run_batch(folder: Path | str, request: Request = Request(), *, progress: Progress | None = None) -> Outcome:
    """Search what is left of a batch.

    Parameters
    ----------
    folder : Path
        Of :func:`pulsar.batch.begin.init`.
    request : Request, optional
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
        return Outcome(
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
) -> "Run":
    """Merge the products of all finished units: beams of one time are compared, all others listed.

    Parameters
    ----------
    folder : Path
        Of the batch.
    out : Path, optional
        Default: ``ALL.h5`` in that folder.
    overwrite : bool
        Replace an existing one.
    argv : sequence of str
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
        target = batch.folder / ALL if out is None else out
        return merge(runs, target, batch.config, overwrite=overwrite, argv=argv, problems=notes)
