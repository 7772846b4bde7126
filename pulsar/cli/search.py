"""``pulsar search``: from raw files to ranked candidates in one HDF5 file."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pulsar.cli.console import check_new, error
from pulsar.cli.options import (
    Display,
    Files,
    Given,
    Overwrite,
    Pieces,
    Resume,
    Top,
    inputs,
    option,
    options,
    product_file,
)
from pulsar.cli.tables import print_lists, print_subtracted
from pulsar.errors import ConfigError
from pulsar.io.night import scan, several_pointings
from pulsar.io.product.reader import read
from pulsar.nights.pointings import unmatched_pointings

if TYPE_CHECKING:
    from pulsar.config.model import Config
    from pulsar.errors import PulsarError


def default_output(files: list[Path]) -> Path:
    """``<stem of the first file>.pulsar.h5`` in the current folder; of series of several DMs without the DM."""
    stem = files[0].stem
    return Path(f"{re.sub(r'_DM[0-9.]+$', '', stem) if len(files) > 1 else stem}.pulsar.h5")


@options("dm", "cleaning", "searches", "position", "catalogue", "subtract", "ncands", "completeness")
def command(
    files: Files,
    output: Annotated[Path | None, product_file("RUN.h5", "<FILE>.pulsar.h5")] = None,
    *,
    given: Given,
    pieces: Pieces,
    engine: Annotated[
        Literal["local", "dask"], option("--engine", "What searches: this process, or workers of Dask.")
    ] = "local",
    workers: Annotated[int | None, option("--workers", "Of Dask.", "N", default="as there are cores", min=1)] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    top: Top = 20,
    display: Display,
) -> None:
    """Search an observation for pulsars of every kind and write the ranked candidates and single pulses."""
    if pieces.segment is None and pieces.overlap != 0.5:
        raise typer.BadParameter("goes with --segment", param_hint="--overlap")
    if workers is not None and engine != "dask":
        raise typer.BadParameter("goes with --engine dask", param_hint="--workers")
    settings = given.config()

    progress = display.progress()
    # Arguments of one search and of many.
    common: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "argv": sys.argv, "progress": progress}
    if pieces.given or several_pointings(files):
        if engine != "local":
            raise typer.BadParameter("is for one observation; for many: pulsar batch", param_hint="--engine")
        _night(files, settings, output or Path("pulsar-night"), pieces, top, common)
        return

    if settings.input.pointings:
        raise ConfigError("input.pointings is for folders: give --ra and --dec for the files of one observation")
    path = output or default_output(files)
    check_new(path, inputs(files, settings), overwrite=overwrite or resume)

    from pulsar.run import search

    crew = None
    if engine == "dask":
        from pulsar.batch.cluster import dask_crew

        crew = dask_crew(settings, path.parent, progress.warning, workers or 0)
    run = search(files, settings, path, crew=crew, **common)
    print_lists(run, top=top)
    print_subtracted(run.rows("subtracted/pulsars"))
    pulses = run.rows("single_pulses")
    counts = f"{len(run)} candidates" + (f", {len(pulses)} single pulses" if len(pulses) else "")
    progress.message(f"{path}: {counts}; plots: pulsar report {path}")


def _night(
    files: list[Path], settings: "Config", folder: Path, pieces: Pieces, top: int, common: dict[str, Any]
) -> None:
    """Search folders, or many files: by source, date and beam."""
    from pulsar.nights.night import jobs, search_night

    advice = "several searches need a folder for their products: give --out DIR"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; {advice}")
    night = scan(files, settings.input)
    if folder.suffix.lower() == ".h5":
        raise ConfigError(f"{folder}: is the name of a file; {advice}")
    problems = [*night.problems, *unmatched_pointings(night, settings)]
    for problem in problems:
        common["progress"].warning(problem)
    todo = jobs(night, settings, folder, **pieces.wanted())
    outcome = search_night(todo, settings, folder, problems=problems, **common)
    if outcome.merged is not None:
        print_lists(read(outcome.merged), top=top)
        common["progress"].message(
            f"{outcome.merged}: the candidates of {len(outcome.products)} products; pulsar report {outcome.merged}"
        )
    end_of_many(outcome.failures, len(todo))


def end_of_many(failures: "list[tuple[str, PulsarError]]", count: int) -> None:
    """Tell which of several searches have failed, and end with the code of the worst."""
    for name, failure in failures:
        error(f"{name}: {failure}")
    if failures:
        error(f"{len(failures)} of {count} could not be searched")
        raise typer.Exit(max(failure.exit_code for _, failure in failures))
