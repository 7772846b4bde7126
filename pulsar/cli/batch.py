"""``pulsar batch``: many searches as one piece of work."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pulsar.batch.records import BatchStatus
from pulsar.batch.records import status as look
from pulsar.cli.console import error, facts, note, out, print_json
from pulsar.cli.options import Command, Folders, Json, Overwrite, Top, argument, named, option, options
from pulsar.cli.tables import print_lists
from pulsar.config.model import Config
from pulsar.config.resources import parse_size
from pulsar.data.text import counted, duration
from pulsar.pipeline.progress import Progress

if TYPE_CHECKING:
    from pulsar.batch.drive import BatchOutcome

app = typer.Typer(
    help="Search many observations: begin, run, look, retry, merge.", no_args_is_help=True, rich_markup_mode=None
)

#: Failures and problems that `status` prints, each.
MOST_TOLD = 20

Folder = Annotated[Path, argument("OUT", "Folder of the batch.")]


@app.command("init", cls=Command)
@options("dm", "catalogue")
def init(
    files: Annotated[list[Path], argument("NIGHT|LIST...", "Folders, files, and texts that name such, one a line.")],
    output: Annotated[Path, named("--out -o", "Folder of the batch.", "OUT")],
    *,
    settings: Config,
    pieces: Folders,
) -> None:
    """Write one line for each search: its files, their size, the CPU time and memory that it should take."""
    from pulsar.batch.drive import init as begin

    batch = begin(files, output, settings, **pieces.wanted())
    for problem in batch.problems:
        note(f"pulsar: warning: {problem}")
    for text in (f"{unit.name}: {text}" for unit in batch.units for text in unit.incomplete):
        note(f"pulsar: warning: {text}")
    size = _volume(sum(unit.nbytes for unit in batch.units))
    cpu = _hours(sum(unit.cpu for unit in batch.units))
    out(
        f"{output}: {counted(len(batch.units), 'units')}, {size}, about {cpu}; search them with "
        f"`pulsar batch run {output}`"
    )
    if batch.unreadable:
        error(f"{len(batch.unreadable)} files cannot be read and are passed over")
        raise typer.Exit(3)


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is worked through: options of ``pulsar batch run``, fields of `pulsar.batch.drive.Request`."""

    engine: Annotated[Literal["local", "dask", "slurm"], option("What runs the units.")] = "local"
    cores: Annotated[int, option("For all units together.", "N", default="all", min=0)] = 0
    memory: Annotated[str, option("For all units together.", "SIZE", default="half of the free")] = "auto"
    threads: Annotated[int, option("Of each unit.", "N", default="as cores allow", min=0)] = 0
    retries: Annotated[int, option("Further attempts at a unit.", "N", min=0)] = 2
    time_limit: Annotated[float, option("Of each unit [s].", "S", default="from the plan", min=0)] = 0.0
    memory_limit: Annotated[str, option("Of each unit.", "SIZE", default="from its budget")] = "auto"
    io_slots: Annotated[int, option("Units that read at a time.", "N", default="all", min=0)] = 0
    stage_in: Annotated[Path | None, option("Copy inputs to this local folder first.", "DIR")] = None
    sets: Annotated[list[str] | None, named("--set", "Change a setting of [batch].", "batch.KEY=VALUE")] = None
    wait: Annotated[bool, named("--wait/--no-wait", "Of slurm: until all is over, or only until it is submitted.")] = (
        True
    )


@app.command("run")
@options()
def run(folder: Folder, *, work: BatchOptions, progress: Progress) -> None:
    """Search what is left; the same command goes on after any interruption."""
    from pulsar.batch.drive import Request, run_batch
    from pulsar.batch.local import Options

    parse_size(work.memory, "--memory")
    limit = parse_size(work.memory_limit, "--memory-limit") or 0
    stage = "" if work.stage_in is None else str(work.stage_in.absolute())
    options = Options(
        time_limit=work.time_limit, memory_limit=limit, io_slots=work.io_slots, stage_in=stage, argv=tuple(sys.argv)
    )
    how = work.engine, work.cores, work.memory, work.threads, work.retries, tuple(work.sets or ()), work.wait
    _end(folder, run_batch(folder, Request(*how, options), progress=progress))


def _end(folder: Path, outcome: "BatchOutcome") -> None:
    """Tell what a run has come to, and end with its code."""
    out(f"{folder}: {outcome.done} units done, {len(outcome.failures)} failed, {outcome.left} left")
    for record in [*outcome.failures, *outcome.waits[:MOST_TOLD]]:
        error(f"{record.name}: {record.reason}")
    if outcome.waits:
        until = "there is room" if any(record.kind == "storage" for record in outcome.waits) else "the files are there"
        error(f"{len(outcome.waits)} units wait until {until}: then give the same command again")
    if outcome.unreadable:
        error(f"{outcome.unreadable} files could not be read and were passed over: pulsar batch status {folder}")
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


@app.command("status")
@options()
def status(folder: Folder, as_json: Json = False) -> None:
    """Show what is done, running, failed (and why) and left."""
    state = look(folder)
    if as_json:
        print_json(asdict(state), ascii_only=True)
    else:
        _print_status(state)


def _print_status(state: BatchStatus) -> None:
    incomplete = f", {len(state.incomplete)} incomplete" if state.incomplete else ""
    failed = f" (of these {_hours(3600 * state.core_hours_failed)} in attempts that failed)"
    facts(
        {
            "units": f"{state.done} of {state.units} done, {state.running} running, {state.left} left, "
            f"{state.failed} failed{incomplete}",
            "data": f"{_volume(state.bytes_done)} done, {_volume(state.bytes_left)} left",
            "CPU time": f"{_hours(3600 * state.core_hours_taken)} taken{failed if state.core_hours_failed else ''}, "
            f"about {_hours(3600 * state.core_hours_left)} left",
            "candidates": f"{state.candidates}",
            "by": state.holder,
            "over in": "" if state.eta is None else f"about {duration(state.eta)}",
            "running": [f"{record.name}{' on ' + record.host if record.host else ''}" for record in state.runs],
        }
    )
    facts(
        {
            "failed": [f"{record.name} (attempt {record.attempts}): {record.reason}" for record in state.failures],
            "waiting": [f"{record.name}: {record.reason}" for record in state.waits],
            "incomplete": state.incomplete,
            "problem": state.problems,
        },
        most=MOST_TOLD,
    )


@app.command("retry")
@options()
def retry(
    folder: Folder,
    names: Annotated[list[str] | None, argument("UNIT...", "Units.")] = None,
    failed: Annotated[bool, named("--failed", "All that have failed.")] = False,
) -> None:
    """Put units that have failed back among those that are left."""
    from pulsar.batch.drive import retry as put_back

    if bool(names) == failed:
        raise typer.BadParameter("give --failed, or names of units", param_hint="--failed")
    back = put_back(folder, names or ())
    out(f"{folder}: {len(back)} units to be searched again; `pulsar batch run {folder}`")


@app.command("merge")
@options()
def merge(
    folder: Folder,
    output: Annotated[Path | None, named("--out -o", "HDF5 file.", "ALL.h5", default="OUT/ALL.h5")] = None,
    overwrite: Overwrite = False,
    top: Top = 20,
    *,
    progress: Progress,
) -> None:
    """Merge the products of all finished units into one list: beams compared, nights listed together."""
    from pulsar.batch.drive import merged

    unreadable: list[str] = []
    product = merged(folder, output, overwrite=overwrite, argv=sys.argv, unreadable=unreadable)
    print_lists(product, top=top)
    for problem in product.problems:
        progress.warning(problem)
    progress.message(f"{product.path}: {len(product)} candidates")
    if unreadable:
        error(f"{len(unreadable)} products cannot be read and are passed over: {', '.join(unreadable[:5])}")
        raise typer.Exit(3)


def _volume(nbytes: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if nbytes >= size:
            return f"{nbytes / size:.3g} {unit}"
    return f"{nbytes / 1e6:.3g} MB"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g} core hours" if seconds >= 3600 else f"{seconds / 60:.3g} core minutes"
