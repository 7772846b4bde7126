"""``pulsar search``: from raw files to ranked candidates in one HDF5 file."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pulsar.cli.console import (
    AccelMax,
    Debug,
    DMRange,
    Files,
    Memory,
    Ncands,
    NoFFA,
    NoFFT,
    NoSinglePulse,
    Overwrite,
    Preset,
    Quiet,
    Sets,
    Threads,
    WMax,
    Zap,
    ZeroDM,
    ZMax,
    check_not_input,
    effective_config,
    note,
    out,
    print_candidates,
    print_pulses,
    progress_mode,
    searches,
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
    zmax: ZMax = None,
    accel_max: AccelMax = None,
    wmax: WMax = None,
    no_fft: NoFFT = False,
    no_ffa: NoFFA = False,
    no_single_pulse: NoSinglePulse = False,
    ncands: Ncands = None,
    threads: Threads = None,
    memory: Memory = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
    overwrite: Overwrite = False,
    top: Annotated[int, typer.Option("--top", min=1, metavar="N", help="Candidates to print at the end.")] = 20,
    quiet: Quiet = False,
    _debug: Debug = False,
) -> None:
    """Search an observation for pulsars of every kind and write the ranked candidates and single pulses."""
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
        **searches(zmax, accel_max, wmax, no_fft, no_ffa, no_single_pulse),
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
    pulses = run.rows("single_pulses")
    # Those of a listed candidate are in its line.
    alone = pulses[pulses["source"] == ""]
    if len(alone):
        out()
        print_pulses(alone, top=top, title="Single pulses")
    if not quiet:
        counts = f"{len(run)} candidates" + (f", {len(pulses)} single pulses" if len(pulses) else "")
        note(f"{path}: {counts}; plots: pulsar report {path}")
