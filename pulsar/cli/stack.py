"""``pulsar stack``: many epochs of one field, their power spectra summed and searched."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pulsar.cli.console import check_not_input, note, out, write_text
from pulsar.cli.options import (
    RA,
    Common,
    Debug,
    Dec,
    DMRange,
    NoRfi,
    Overwrite,
    Preset,
    Sets,
    Threads,
    Told,
    Top,
    effective_config,
    position,
    product_file,
    shared,
    uncleaned,
)
from pulsar.cli.tables import print_lists, print_table

app = typer.Typer(help="Sum the power spectra of many epochs: add, look, search.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the stack.", show_default=False)]


@app.command("add")
@shared
def add(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Files of one observation, or its series at all DMs.", show_default=False
        ),
    ],
    into: Annotated[
        Path, typer.Option("--into", metavar="STORE", help="Folder of the stack; the first epoch makes it.")
    ],
    dm: DMRange = None,
    each: Annotated[bool, typer.Option("--each", help="Every file is an observation of its own.")] = False,
    weight: Annotated[
        float, typer.Option("--weight", metavar="X", help="Count so much more than length and bandwidth say.")
    ] = 1.0,
    no_rfi: NoRfi = False,
    ra: RA = None,
    dec: Dec = None,
    *,
    common: Common,
) -> None:
    """Clean, dedisperse and barycentre an observation, and add its powers to a stack; what is there stays."""
    settings = common.settings(dm=dm, **position(ra, dec), **uncleaned(no_rfi))
    from pulsar.stack.epochs import add_epoch

    progress = common.progress()
    for some in [[file] for file in files] if each else [files]:
        added = add_epoch(some, into, settings, factor=weight, argv=sys.argv, progress=progress)
        out(str(added.path))


@app.command("info")
def info(folder: Folder, _debug: Debug = False) -> None:
    """List the epochs of a stack with their weights."""
    from pulsar.stack.run import opened

    with opened(folder) as stack:
        grid = stack.grid
        out(
            f"{folder}: {len(stack.parts)} epochs, {grid.dms.size} DMs from {grid.dms[0]:g} to {grid.dms[-1]:g}, "
            f"frequencies to {grid.npoints * grid.step:.6g} Hz in steps of {grid.step:.3g}, "
            f"{len(stack.parts) * grid.nbytes / 2**20:.4g} MiB"
        )
        print_table(
            {
                "MJD": lambda p: f"{p.piece.mjd:.6f}",
                "s": lambda p: f"{p.piece.tobs:.6g}",
                "MHz": lambda p: f"{p.epoch.info.bandwidth:.4g}",
                "weight": lambda p: f"{p.weight:.4f}",
                "1e6 v/c": lambda p: f"{1e6 * p.epoch.info.voverc:.3f}",
                "beam": lambda p: "" if p.epoch.info.header.beam is None else str(p.epoch.info.header.beam),
                "source": lambda p: p.epoch.info.header.source,
                "epoch": lambda p: p.epoch.path.name,
            },
            stack.parts,
            left=("source", "epoch"),
        )


@app.command("search")
@shared
def search(
    folder: Folder,
    output: Annotated[Path, product_file("CANDS.h5")],
    config: Preset = None,
    sets: Sets = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    top: Top = 20,
    *,
    told: Told,
) -> None:
    """Sum the powers of all epochs, search the sums at every DM, and write the candidates."""
    settings = effective_config(config, sets, run__threads=threads)
    from pulsar.pipeline.target import Target
    from pulsar.stack.run import search_stack

    check_not_input(output, folder.glob("*.h5"))
    progress = told.progress()
    run = search_stack(folder, Target(output, overwrite, sys.argv), settings, progress)
    print_lists(run, top=top)
    progress.message(f"{output}: {len(run)} candidates of {len(run.rows('stack/epochs'))} epochs")


@app.command("nights")
def nights(
    run: Annotated[
        Path, typer.Argument(metavar="CANDS.h5", help="Product of `pulsar stack search`.", show_default=False)
    ],
    ident: Annotated[str, typer.Option("--id", metavar="ID", help="Candidate.")] = "c0001",
    par: Annotated[
        Path | None,
        typer.Option("--par", metavar="X.par", help="Write its ephemeris, by which each epoch is folded."),
    ] = None,
    overwrite: Overwrite = False,
    _debug: Debug = False,
) -> None:
    """Say what each epoch shows of a candidate."""
    from pulsar.errors import ConfigError
    from pulsar.handover.candidate import name_of
    from pulsar.handover.par import stack_par_text
    from pulsar.io.product.reader import read

    product = read(run)
    epochs, rows = product.rows("stack/epochs"), product.rows("stack/nights")
    rows = rows[rows["id"] == ident]
    if not len(rows):
        raise ConfigError(f"{run}: no candidate {ident} of a stack in it: give an id of `pulsar candidates {run}`")
    print_table(
        {
            "MJD": lambda r: f"{epochs['mjd'][r['epoch']]:.6f}",
            "s": lambda r: f"{epochs['tobs'][r['epoch']]:.6g}",
            "weight": lambda r: f"{epochs['weight'][r['epoch']]:.4f}",
            "power": lambda r: f"{r['power']:.2f}",
            "sigma": lambda r: f"{r['sigma']:.1f}",
            "S/N": lambda r: f"{r['snr']:.1f}",
            "beam": lambda r: "" if epochs["beam"][r["epoch"]] < 0 else str(epochs["beam"][r["epoch"]]),
            "source": lambda r: str(epochs["source"][r["epoch"]]),
        },
        rows,
        left=("source",),
    )
    if par is not None:
        row = product.candidate(ident)
        header = product.observation_of(row)
        text = stack_par_text(row, header, name=name_of(ident, row, header), origin=f"{ident} of {run.name}")
        write_text(par, text, overwrite=overwrite)
        note(f"{par}: fold each epoch by it: pulsar fold FILE --par {par}")
