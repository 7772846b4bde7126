"""``pulsar stack``: many epochs of one field, their power spectra summed and searched."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pulsar.cli.console import check_not_input, note, out, write_text
from pulsar.cli.options import Command, Debug, Display, Given, Overwrite, Top, argument, option, options, product_file
from pulsar.cli.tables import Columns, print_lists, print_table
from pulsar.errors import ConfigError
from pulsar.handover.candidate import name_of
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target

app = typer.Typer(
    help="Sum the power spectra of many epochs: add, look, search.", no_args_is_help=True, rich_markup_mode=None
)

Folder = Annotated[Path, argument("STORE", "Folder of the stack.")]


@app.command("add", cls=Command)
@options("dm", "no_rfi", "position", "cleaning")
def add(
    files: Annotated[list[Path], argument("FILE...", "Files of one observation, or its series at all DMs.")],
    into: Annotated[Path, option("--into", "Folder of the stack; the first epoch makes it.", "STORE")],
    each: Annotated[bool, option("--each", "Every file is an observation of its own.")] = False,
    weight: Annotated[float, option("--weight", "Count so much more than length and bandwidth say.", "X")] = 1.0,
    *,
    given: Given,
    display: Display,
) -> None:
    """Clean, dedisperse and barycentre an observation, and add its powers to a stack; what is there stays."""
    settings = given.config()
    from pulsar.stack.epochs import add_epoch

    progress = display.progress()
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
        print_table(EPOCHS, stack.parts, left=("source", "epoch"))


EPOCHS: Columns = {
    "MJD": "{0.piece.mjd:.6f}",
    "s": "{0.piece.tobs:.6g}",
    "MHz": "{0.epoch.info.bandwidth:.4g}",
    "weight": "{0.weight:.4f}",
    "1e6 v/c": lambda part: f"{1e6 * part.epoch.info.voverc:.3f}",
    "beam": lambda part: "" if part.epoch.info.header.beam is None else str(part.epoch.info.header.beam),
    "source": "{0.epoch.info.header.source}",
    "epoch": "{0.epoch.path.name}",
}


@app.command("search", cls=Command)
@options("threads")
def search(
    folder: Folder,
    output: Annotated[Path, product_file("CANDS.h5")],
    *,
    given: Given,
    overwrite: Overwrite = False,
    top: Top = 20,
    display: Display,
) -> None:
    """Sum the powers of all epochs, search the sums at every DM, and write the candidates."""
    settings = given.config()
    from pulsar.stack.run import search_stack

    check_not_input(output, folder.glob("*.h5"))
    progress = display.progress()
    run = search_stack(folder, Target(output, overwrite, sys.argv), settings, progress)
    print_lists(run, top=top)
    progress.message(f"{output}: {len(run)} candidates of {len(run.rows('stack/epochs'))} epochs")


@app.command("nights")
def nights(
    run: Annotated[Path, argument("CANDS.h5", "Product of `pulsar stack search`.")],
    ident: Annotated[str, option("--id", "Candidate.", "ID")] = "c0001",
    par: Annotated[Path | None, option("--par", "Write its ephemeris, by which each epoch is folded.", "X.par")] = None,
    overwrite: Overwrite = False,
    _debug: Debug = False,
) -> None:
    """Say what each epoch shows of a candidate."""
    from pulsar.handover.timing import stack_par_text

    product = read(run)
    epochs, rows = product.rows("stack/epochs"), product.rows("stack/nights")
    rows = rows[rows["id"] == ident]
    if not len(rows):
        raise ConfigError(f"{run}: no candidate {ident} of a stack in it: give an id of `pulsar candidates {run}`")
    # A row of the candidate, and its epoch.
    nights = [(row, epochs[row["epoch"]]) for row in rows]
    print_table(NIGHTS, nights, left=("source",))
    if par is not None:
        row = product.candidate(ident)
        header = product.observation_of(row)
        text = stack_par_text(row, header, name=name_of(ident, row, header), origin=f"{ident} of {run.name}")
        write_text(par, text, overwrite=overwrite)
        note(f"{par}: fold each epoch by it: pulsar fold FILE --par {par}")


NIGHTS: Columns = {
    "MJD": "{0[1][mjd]:.6f}",
    "s": "{0[1][tobs]:.6g}",
    "weight": "{0[1][weight]:.4f}",
    "power": "{0[0][power]:.2f}",
    "sigma": "{0[0][sigma]:.1f}",
    "S/N": "{0[0][snr]:.1f}",
    "beam": lambda night: "" if night[1]["beam"] < 0 else str(night[1]["beam"]),
    "source": "{0[1][source]}",
}
