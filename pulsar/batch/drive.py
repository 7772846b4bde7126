"""A batch worked through by one process: it holds the lock, writes the index, and hands units to an engine."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pulsar.batch import local
from pulsar.batch.ledger import Facts, Ledger
from pulsar.batch.local import Room
from pulsar.batch.records import Record, again, put_back, set_aside
from pulsar.batch.staging import copies_of
from pulsar.batch.unit import Options
from pulsar.batch.units import Batch, Unit, load_settings, read_batch, same_results
from pulsar.config.model import Config
from pulsar.config.resources import memory_budget, usable_cores
from pulsar.data.folders import sweep
from pulsar.data.locks import only_one
from pulsar.errors import ConfigError
from pulsar.pipeline.progress import Progress

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
    time_limit : float
        Of each unit [s]; 0: ten times what is expected, and a quarter of an hour.
    memory_limit : int
        Of each unit [byte]; 0: 1.3 times its budget and 200 MiB.
    io_slots : int
        Units that read shared storage at a time; 0: no bound.
    stage_in : str
        Folder on a local disk to which inputs are copied; empty: none.
    sets : tuple of str
        Changes of the sections `batch` and `run` of the settings, as ``section.key=value``.
    wait : bool
        With Slurm: go on until nothing is left, not only until the jobs are submitted.
    argv : tuple of str
        The command line, for the provenance.
    """

    engine: Engine = "local"
    cores: int = 0
    memory: str = "auto"
    threads: int = 0
    retries: int = 2
    time_limit: float = 0.0
    memory_limit: int = 0
    io_slots: int = 0
    stage_in: str = ""
    sets: tuple[str, ...] = ()
    wait: bool = True
    argv: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What a run of a batch has come to.

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


def run_batch(folder: Path | str, request: Request | None = None, *, progress: Progress | None = None) -> Outcome:
    """Search what is left of a batch.

    Parameters
    ----------
    folder : Path
        Of :func:`pulsar.batch.units.init`.
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
    request = Request() if request is None else request
    progress = Progress("quiet") if progress is None else progress
    batch = read_batch(folder)
    with only_one(batch.folder / "lock", f"batch run --engine {request.engine}"):
        for path in set_aside(batch.folder, (unit.name for unit in batch.units)):
            progress.warning(f"{path}: a product that was cut short, now of this name; its unit is searched again")
        ledger = Ledger(batch, writable=True)
        told = _Teller(ledger, progress, request.retries)
        todo = told.left()
        config = settings(batch, request)
        facts = Facts(request.engine, time.time())
        ledger.note(facts)
        if todo:
            progress.message(f"{len(todo)} of {len(batch.units)} units left")
            try:
                _work(batch, config, todo, request, told)
            finally:
                ledger.note(replace(facts, ended=time.time()))
                if request.stage_in:
                    sweep(Path(request.stage_in), copies_of(batch.ident))
        ledger.refresh()
        records = ledger.records().values()
        return Outcome(
            sum(record.status == "done" for record in records),
            sum(record.status not in ("done", "failed") for record in records),
            [record for record in records if record.status == "failed"],
            [told.waits.get(record.name, record) for record in records if record.name in told.waits or record.waits],
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


def _work(batch: Batch, config: Config, todo: Sequence[Unit], request: Request, told: "_Teller") -> None:
    options = Options(
        time_limit=request.time_limit,
        memory_limit=request.memory_limit,
        io_slots=request.io_slots,
        stage_in=request.stage_in,
        scratch=config.run.scratch,
        ident=batch.ident,
        argv=request.argv,
    )
    stop = threading.Event()
    if request.engine == "slurm":
        from pulsar.batch import slurm

        slurm.work(
            batch, config.batch, options, request.threads, request.retries, told.left, told.progress.message,
            waiting=request.wait, stop=stop,
        )  # fmt: skip
        return
    if request.engine == "local" or config.batch.scheduler == "local":
        if request.stage_in and not Path(request.stage_in).is_dir():
            raise ConfigError(f"--stage-in {request.stage_in}: no such folder on this machine: create it first")
        compiled(config, told.progress)
        memory = memory_budget(request.memory if request.memory != "auto" else config.run.memory)
        room = Room(request.cores or config.run.threads or usable_cores(), memory, request.threads)
    else:
        room = Room(config.batch.cores, memory_budget(config.batch.memory), request.threads)
    order = local.Order(batch, todo, options, room, request.retries, told, stop)
    if request.engine == "local":
        local.work(order)
    else:
        from pulsar.batch import dasked

        dasked.work(order, config.batch, told.progress.warning)


def compiled(config: Config, progress: Progress) -> None:
    """Compile once what all units would compile at the same time."""
    from pulsar.pipeline.compiling import Ahead, parts_of

    with Ahead(parts_of(config), config.run.threads or usable_cores()) as ahead:
        ahead.wait(progress)


class _Teller:
    """Keeps the index, and tells what has ended."""

    def __init__(self, ledger: Ledger, progress: Progress, retries: int) -> None:
        self.ledger, self.progress, self.retries = ledger, progress, retries
        self.units = len(ledger.batch.units)
        self.ended = 0
        self.waits: dict[str, Record] = {}

    def __call__(self, record: Record) -> None:
        self.ledger.put(record)
        self.waits.pop(record.name, None)
        if record.status == "done":
            self.ended += 1
            self.progress.message(
                f"{record.name}: done in {record.seconds:.0f} s, {record.candidates} candidates; "
                f"{self.ended} of {self.units} units"
            )
        elif record.waits:
            # On a full disk no record of it could be kept to be told at the end.
            self.waits[record.name] = record
            self.progress.warning(f"{record.name}: {record.reason}")
        elif record.status == "failed":
            self.progress.message(f"{record.name}: failed (attempt {record.attempts}): {record.reason}")

    def left(self) -> list[Unit]:
        """What is to be done, after a look at what there is."""
        self.ledger.refresh()
        records = self.ledger.records()
        self.ended = sum(record.status == "done" for record in records.values())
        return [u for u in self.ledger.batch.units if self._open(records[u.name])]

    def _open(self, record: Record) -> bool:
        # An attempt may have failed just before the run was killed that would have made another.
        return record.status not in ("done", "failed") or again(record, self.retries)


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
        ledger = Ledger(batch, writable=True)
        ledger.refresh()
        failed = {name: record for name, record in ledger.records().items() if record.status == "failed"}
        for name in names:
            if name not in failed:
                raise ConfigError(f"{name}: no unit of this name has failed; `pulsar batch status` lists them")
        wanted = sorted(names or failed)
        for name in wanted:
            put_back(batch.folder, failed[name])
        ledger.refresh()
    return wanted
