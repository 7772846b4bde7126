"""``pulsar search``: from raw files to ranked candidates in one HDF5 file."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pulsar.cli.console import check_not_input, error
from pulsar.cli.options import (
    RA,
    Catalogue,
    Dec,
    DMRange,
    Files,
    Mask,
    Memory,
    Ncands,
    Overwrite,
    Pieces,
    Preset,
    Resume,
    Searches,
    Sets,
    Subtract,
    Threads,
    Told,
    Top,
    Zap,
    ZeroDM,
    effective_config,
    named_files,
    position,
    product_file,
    shared,
)
from pulsar.cli.tables import print_lists, print_subtracted

if TYPE_CHECKING:
    from pulsar.pipeline.progress import Progress


def default_output(files: list[Path]) -> Path:
    """``<stem of the first file>.pulsar.h5`` in the current folder; of series of several DMs without the DM."""
    stem = files[0].stem
    return Path(f"{re.sub(r'_DM[0-9.]+$', '', stem) if len(files) > 1 else stem}.pulsar.h5")


@shared
def command(
    files: Files,
    config: Preset = None,
    output: Annotated[Path | None, product_file("RUN.h5", "<FILE>.pulsar.h5")] = None,
    sets: Sets = None,
    dm: DMRange = None,
    zap: Zap = None,
    mask: Mask = None,
    zerodm: ZeroDM = None,
    *,
    which: Searches,
    ra: RA = None,
    dec: Dec = None,
    catalogue: Catalogue = None,
    subtract: Subtract = None,
    pieces: Pieces,
    ncands: Ncands = None,
    threads: Threads = None,
    memory: Memory = None,
    engine: Annotated[
        Literal["local", "dask"], typer.Option("--engine", help="What searches: this process, or workers of Dask.")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, metavar="N", help="Of Dask.", show_default="as there are cores")
    ] = None,
    completeness: Annotated[
        bool | None,
        typer.Option(
            "--completeness/--no-completeness",
            help="Inject signals, to tell how many of their kind are found.",
            show_default="of long searches",
        ),
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    top: Top = 20,
    told: Told,
) -> None:
    """Search an observation for pulsars of every kind and write the ranked candidates and single pulses."""
    if pieces.segment is None and pieces.overlap != 0.5:
        raise typer.BadParameter("goes with --segment", param_hint="--overlap")
    if workers is not None and engine != "dask":
        raise typer.BadParameter("goes with --engine dask", param_hint="--workers")
    settings = effective_config(
        config,
        sets,
        dm=dm,
        zap=zap,
        zerodm=zerodm,
        rfi__mask=mask,
        fold__ncands=ncands,
        run__threads=threads,
        run__memory=memory,
        known__catalogue=catalogue,
        subtract__pulsars=subtract,
        completeness__enabled=completeness,
        **position(ra, dec),
        **which.settings(),
    )
    from pulsar.io.night import several_pointings

    progress = told.progress()
    if pieces.given or several_pointings(files):
        if engine != "local":
            raise typer.BadParameter("is for one observation; for many: pulsar batch", param_hint="--engine")
        _night(
            files,
            settings,
            output,
            pieces,
            overwrite=overwrite,
            resume=resume,
            top=top,
            progress=progress,
        )
        return
    from pulsar.errors import ConfigError
    from pulsar.io.product.writer import check_output

    if settings.input.pointings:
        raise ConfigError("input.pointings is for folders: give --ra and --dec for the files of one observation")
    path = output if output is not None else default_output(files)
    check_output(path, overwrite=overwrite or resume)
    check_not_input(path, [*files, *named_files(settings)])

    from pulsar.run import search

    crew = None
    if engine == "dask":
        from pulsar.batch.ranges import dask_crew

        crew = dask_crew(settings, path.parent, progress.warning, workers or 0)
    run = search(
        files,
        settings,
        path,
        overwrite=overwrite,
        resume=resume,
        argv=sys.argv,
        progress=progress,
        crew=crew,
    )
    print_lists(run, top=top)
    print_subtracted(run.rows("subtracted/pulsars"))
    pulses = run.rows("single_pulses")
    counts = f"{len(run)} candidates" + (f", {len(pulses)} single pulses" if len(pulses) else "")
    progress.message(f"{path}: {counts}; plots: pulsar report {path}")


def _night(
    files: list[Path],
    settings: Any,
    output: Path | None,
    pieces: Pieces,
    *,
    overwrite: bool,
    resume: bool,
    top: int,
    progress: "Progress",
) -> None:
    """Search folders, or many files: by source, date and beam."""
    from pulsar.errors import ConfigError
    from pulsar.io.night import scan
    from pulsar.nights.night import jobs, search_night, unmatched_pointings

    folder = output if output is not None else Path("pulsar-night")
    wrong = f"{folder}: is a file; several searches need a folder for their products: give --out DIR"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(wrong)
    night = scan(files, settings.input)
    if folder.suffix.lower() == ".h5":
        raise ConfigError(wrong.replace("is a file", "is the name of a file"))
    problems = [*night.problems, *unmatched_pointings(night, settings)]
    for problem in problems:
        progress.warning(problem)
    todo = jobs(night, settings, folder, **pieces.wanted())
    outcome = search_night(
        todo,
        settings,
        folder,
        overwrite=overwrite,
        resume=resume,
        argv=sys.argv,
        problems=problems,
        progress=progress,
    )
    if outcome.merged is not None:
        from pulsar.io.product.reader import read

        print_lists(read(outcome.merged), top=top)
        progress.message(
            f"{outcome.merged}: the candidates of {len(outcome.products)} products; pulsar report {outcome.merged}"
        )
    if outcome.failures:
        for name, failure in outcome.failures:
            error(f"{name}: {failure}")
        error(f"{len(outcome.failures)} of {len(todo)} could not be searched")
        raise typer.Exit(max(failure.exit_code for _, failure in outcome.failures))
