"""``pulsar search``: from raw files to ranked candidates in one HDF5 file."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pulsar.cli.console import (
    Debug,
    DMRange,
    Files,
    Memory,
    Ncands,
    Overwrite,
    Preset,
    Quiet,
    Sets,
    Threads,
    Zap,
    ZeroDM,
    check_not_input,
    effective_config,
    note,
    print_candidates,
    progress_mode,
)


def default_output(files: list[Path]) -> Path:
    """``<stem of the first file>.pulsar.h5`` in the current folder."""
    return Path(f"{files[0].stem}.pulsar.h5")


def command(
    files: Files,
    config: Preset = None,
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="RUN.h5", help="HDF5 file to write.", show_default="<FILE>.pulsar.h5"),
    ] = None,
    sets: Sets = None,
    dm: DMRange = None,
    zap: Zap = None,
    zerodm: ZeroDM = False,
    ncands: Ncands = None,
    threads: Threads = None,
    memory: Memory = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
    overwrite: Overwrite = False,
    top: Annotated[int, typer.Option("--top", min=1, metavar="N", help="Candidates to print at the end.")] = 20,
    quiet: Quiet = False,
    _debug: Debug = False,
) -> None:
    """Search an observation for pulsars and write the ranked candidates."""
    path = output if output is not None else default_output(files)
    settings = effective_config(
        config,
        sets,
        dm=dm,
        zap=zap,
        zerodm=zerodm,
        fold__ncands=ncands,
        run__threads=threads,
        run__memory=memory,
    )
    from pulsar.io.product.writer import check_output

    check_output(path, overwrite=overwrite or resume)
    check_not_input(path, files)

    from pulsar.pipeline.run import search

    run = search(
        files,
        settings,
        path,
        overwrite=overwrite,
        resume=resume,
        argv=sys.argv,
        progress=progress_mode(quiet),
    )
    print_candidates(run.rows("candidates"), top=top)
    if not quiet:
        note(f"{path}: {len(run)} candidates; plots: pulsar report {path}")
