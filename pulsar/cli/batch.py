"""``pulsar batch``: many searches as one piece of work."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pulsar.cli.console import error, note, out
from pulsar.cli.options import (
    Catalogue,
    Debug,
    DMRange,
    Json,
    Overwrite,
    Pieces,
    Preset,
    Sets,
    Told,
    Top,
    effective_config,
    shared,
)
from pulsar.cli.tables import print_lists
from pulsar.data.numbers import duration

if TYPE_CHECKING:
    from pulsar.batch.drive import Outcome
    from pulsar.batch.status import BatchStatus

app = typer.Typer(help="Search many observations: begin, run, look, retry, merge.", no_args_is_help=True)

#: Failures and problems that `status` prints, each.
MOST_TOLD = 20

Folder = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the batch.", show_default=False)]


@app.command("init")
@shared
def init(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="NIGHT|LIST...",
            help="Folders, files, and text files that name such, one a line.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder of the batch.")],
    config: Preset = None,
    sets: Sets = None,
    dm: DMRange = None,
    catalogue: Catalogue = None,
    *,
    pieces: Pieces,
    _debug: Debug = False,
) -> None:
    """Write one line for each search: its files, their size, the CPU time and memory that it should take."""
    settings = effective_config(config, sets, dm=dm, known__catalogue=catalogue)
    from pulsar.batch import units

    batch = units.init(files, output, settings, **pieces.wanted())
    for problem in batch.problems:
        note(f"pulsar: warning: {problem}")
    for text in (f"{unit.name}: {text}" for unit in batch.units for text in unit.incomplete):
        note(f"pulsar: warning: {text}")
    size = sum(unit.nbytes for unit in batch.units)
    number = f"{len(batch.units)} unit{'s' if len(batch.units) != 1 else ''}"
    out(
        f"{output}: {number}, {_volume(size)}, about {_hours(sum(u.cpu for u in batch.units))}; "
        f"search them with `pulsar batch run {output}`"
    )
    if batch.unreadable:
        error(f"{len(batch.unreadable)} files cannot be read and are passed over")
        raise typer.Exit(3)


@app.command("run")
@shared
def run(
    folder: Folder,
    engine: Annotated[
        Literal["local", "dask", "slurm"], typer.Option("--engine", help="What runs the units.")
    ] = "local",
    cores: Annotated[
        int | None, typer.Option("--cores", min=1, metavar="N", help="For all units together.", show_default="all")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="SIZE", help="For all units together.", show_default="half of what is free"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, metavar="N", help="Of each unit.", show_default="as cores allow")
    ] = None,
    retries: Annotated[int, typer.Option("--retries", min=0, metavar="N", help="Further attempts at a unit.")] = 2,
    time_limit: Annotated[
        float | None,
        typer.Option("--time-limit", min=1, metavar="S", help="Of each unit [s].", show_default="from the plan"),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option("--memory-limit", metavar="SIZE", help="Of each unit.", show_default="from its budget"),
    ] = None,
    io_slots: Annotated[
        int, typer.Option("--io-slots", min=0, metavar="N", help="Units that read at a time.", show_default="all")
    ] = 0,
    stage_in: Annotated[
        Path | None, typer.Option("--stage-in", metavar="DIR", help="Copy inputs to this local folder first.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="batch.KEY=VALUE", help="Change a setting of [batch].", show_default=False),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Of slurm: until all is over, or only until it is submitted.")
    ] = True,
    *,
    told: Told,
) -> None:
    """Search what is left; the same command goes on after any interruption."""
    from pulsar.batch.drive import Request, run_batch
    from pulsar.config.size import parse_size

    if memory is not None:
        parse_size(memory, "--memory")
    request = Request(
        engine=engine,
        cores=cores or 0,
        memory=memory or "auto",
        threads=threads or 0,
        retries=retries,
        time_limit=time_limit or 0.0,
        memory_limit=(parse_size(memory_limit, "--memory-limit") or 0) if memory_limit else 0,
        io_slots=io_slots,
        stage_in=str(stage_in.absolute()) if stage_in is not None else "",
        sets=tuple(sets or ()),
        wait=wait,
        argv=tuple(sys.argv),
    )
    _end(folder, run_batch(folder, request, progress=told.progress()))


def _end(folder: Path, outcome: "Outcome") -> None:
    """Tell what a run has come to, and end with its code."""
    out(f"{folder}: {outcome.done} units done, {len(outcome.failures)} failed, {outcome.left} left")
    for record in outcome.failures:
        error(f"{record.name}: {record.reason}")
    for record in outcome.waits[:MOST_TOLD]:
        error(f"{record.name}: {record.reason}")
    if outcome.waits:
        what = "there is room" if any(record.kind == "storage" for record in outcome.waits) else "the files are there"
        error(f"{len(outcome.waits)} units wait until {what}: then give the same command again")
    if outcome.unreadable:
        error(f"{outcome.unreadable} files could not be read and were passed over: pulsar batch status {folder}")
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


@app.command("status")
def status(folder: Folder, as_json: Json = False, _debug: Debug = False) -> None:
    """Show what is done, running, failed (and why) and left."""
    from pulsar.batch.status import status as look

    found = look(folder)
    if as_json:
        out(json.dumps(found.values(), indent=2, allow_nan=False))
        return
    _print_status(found)


def _print_status(found: "BatchStatus") -> None:
    out(
        f"units       {found.done} of {found.units} done, {found.running} running, {found.left} left, "
        f"{found.failed} failed" + (f", {len(found.incomplete)} incomplete" if found.incomplete else "")
    )
    out(f"data        {_volume(found.bytes_done)} done, {_volume(found.bytes_left)} left")
    failed = f" (of these {_hours(3600 * found.core_hours_failed)} in attempts that failed)"
    out(
        f"CPU time    {_hours(3600 * found.core_hours_taken)} taken{failed if found.core_hours_failed else ''}, about "
        f"{_hours(3600 * found.core_hours_left)} left"
    )
    out(f"candidates  {found.candidates}")
    if found.holder:
        out(f"by          {found.holder}")
    if found.eta is not None:
        out(f"over in     about {duration(found.eta)}")
    for record in found.runs:
        out(f"running     {record.name}{' on ' + record.host if record.host else ''}")
    lines = [f"failed      {r.name} (attempt {r.attempts}): {r.reason}" for r in found.failures]
    waits = [f"waiting     {r.name}: {r.reason}" for r in found.waits]
    incomplete = [f"incomplete  {text}" for text in found.incomplete]
    for some in (lines, waits, incomplete, [f"problem     {problem}" for problem in found.problems]):
        for line in some[:MOST_TOLD]:
            out(line)
        if len(some) > MOST_TOLD:
            out(f"            ... and {len(some) - MOST_TOLD} more: --json has them all")


@app.command("retry")
def retry(
    folder: Folder,
    names: Annotated[list[str] | None, typer.Argument(metavar="UNIT...", help="Units.", show_default=False)] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that have failed.")] = False,
    _debug: Debug = False,
) -> None:
    """Put units that have failed back among those that are left."""
    from pulsar.batch.drive import retry as put_back

    if bool(names) == failed:
        raise typer.BadParameter("give --failed, or names of units", param_hint="--failed")
    back = put_back(folder, names or ())
    out(f"{folder}: {len(back)} units to be searched again; `pulsar batch run {folder}`")


@app.command("merge")
@shared
def merge(
    folder: Folder,
    output: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="ALL.h5", help="HDF5 file.", show_default="OUT/ALL.h5")
    ] = None,
    overwrite: Overwrite = False,
    top: Top = 20,
    *,
    told: Told,
) -> None:
    """Merge the products of all finished units into one list: beams compared, nights listed together."""
    from pulsar.batch.gather import merged

    unreadable: list[str] = []
    product = merged(folder, output, overwrite=overwrite, argv=sys.argv, unreadable=unreadable)
    progress = told.progress()
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
