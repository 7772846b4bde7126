"""Several epochs of one source: ``pulsar follow``, ``pulsar connect`` and ``pulsar stack``."""

import sys
from collections.abc import Callable
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from pulsar.cli.console import check_new, check_not_input, note, out, write_file
from pulsar.cli.options import Command, Overwrite, Top, argument, inputs, named, option, options, product_file
from pulsar.cli.tables import Columns, print_lists, print_table
from pulsar.config.model import Config
from pulsar.errors import ConfigError
from pulsar.handover.candidate import name_of
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target
from pulsar.pipeline.progress import Progress

if TYPE_CHECKING:
    from pulsar.connect.ephemeris import Arrivals


@options("accel", "orbit", "no_rfi", "position", "cleaning")
def follow(
    source: Annotated[
        Path, argument("PRODUCT.h5|LIST", "Product of a search; or a table (csv, ECSV) with P or F0, and DM.")
    ],
    files: Annotated[list[Path], argument("NEW...", "Files of the new observation, in any format that is read.")],
    output: Annotated[Path, product_file("FOLLOW.h5")],
    idents: Annotated[
        list[str] | None,
        named(
            "--id",
            "Only this candidate; may be repeated.",
            "ID",
            default="those judged as pulsars, or all that stand for themselves",
        ),
    ] = None,
    score: Annotated[float | None, option("Candidates of this score or more.", "S", min=0, max=1)] = None,
    *,
    settings: Config,
    overwrite: Overwrite = False,
    progress: Progress,
) -> None:
    """Say whether candidates are in a new observation: of another time, length, telescope or band."""
    if idents and score is not None:
        raise typer.BadParameter("--id names candidates, --score chooses them: give one of the two")

    from pulsar.confirm.run import follow as look_for

    check_not_input(output, [source, *inputs(files, settings)])
    target = Target(output, overwrite, sys.argv)
    run = look_for(source, files, target, settings, idents=idents or (), least_score=score, progress=progress)
    answers = run.rows("confirm/answers")
    rows = {str(row["id"]): row for row in run.rows("candidates")}
    print_table(
        ANSWERS,
        [(answer, rows[str(answer["id"])]) for answer in answers],
        left=("id", "in it", "remarks"),
        sparse=("remarks",),
        marked=lambda pair: bool(pair[0]["answer"] == "yes"),
    )
    count = sum(answer["answer"] == "yes" for answer in answers)
    progress.message(f"{output}: {count} of {len(answers)} candidates are in it; plots: pulsar report {output}")


def _yes(text: str) -> Callable[[Any], str]:
    """A cell of an answer and its candidate that is empty unless it is a yes, and where a number is not known."""

    def cell(pair: Any) -> str:
        shown = text.format(*pair) if pair[0]["answer"] == "yes" else "-"
        return "-" if shown == "nan" else shown

    return cell


#: An answer, and its candidate in the new observation. Of a no, whose best place is noise, the limit is told.
ANSWERS: Columns = {
    "id": "{0[0][id]}",
    "in it": "{0[0][answer]}",
    "sigma": "{0[0][sigma]:.1f}",
    "s": _yes("{1[period]:.10g}"),
    "km/s": _yes("{0[velocity]:.3g}"),
    "m/s2": lambda pair: _yes("{1[accel]:.3g}")(pair) if isfinite(pair[1]["accel_err"]) else "-",
    "DM": _yes("{1[dm]:.5g}"),
    "S/N": _yes("{0[snr]:.1f}"),
    "expected": lambda pair: f"{pair[0]['expected']:.1f}".replace("nan", "-"),
    "ratio": _yes("{0[ratio]:.2f}"),
    "limit": "{0[0][limit]:.1f}",
    "remarks": "{0[0][remarks]}",
}


@options()
def connect(
    files: Annotated[
        list[Path],
        argument("NIGHT.h5...", "Products of `pulsar fold` or `pulsar search`, one a night; or one X.tim with --par."),
    ],
    output: Annotated[Path, named("--out -o", "Ephemeris to write.", "X.par")],
    par: Annotated[
        Path | None, option("Begin with its position, DM and period.", "X.par", default="of the strongest fold")
    ] = None,
    idents: Annotated[
        list[str] | None,
        named("--id", "Candidate: one for all, or one for each product.", "ID", default="those that agree in P and DM"),
    ] = None,
    place_err: Annotated[
        float | None,
        named("--position-err", "1 sigma of the position.", "ARCSEC", default="the beam's; of a .tim 0", min=0),
    ] = None,
    tim: Annotated[Path | None, option("Write the times of arrival of all nights, too.", "X.tim")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Connect nights of one pulsar: count the turns between them, and fit one ephemeris to all."""
    from pulsar.connect.ephemeris import ephemeris_of, hypotheses, par_text, tim_text  # which load scipy

    check_new(output, tim, inputs=[*files, *([] if par is None else [par])], overwrite=overwrite)
    arrivals = _arrivals(files, par, idents or [])
    if place_err is not None:
        arrivals = replace(arrivals, place_err=float(np.radians(place_err / 3600.0)))
    for product in arrivals.left_out:
        note(f"{product}: left out: its pulse is too weak for a time of arrival")
    ephemeris = ephemeris_of(arrivals)
    print_table(CONNECTED, ephemeris.nights(), left=("night",), sparse=("night",))
    for line in ephemeris.verdict():
        out(line)
    if not ephemeris.connection.unique:
        print_table(HYPOTHESES, hypotheses(ephemeris))
    origin = f"{len(arrivals.labels)} nights: {', '.join(dict.fromkeys(path.name for path in files))}"
    write_file(output, par_text(ephemeris, origin), overwrite=overwrite)
    if tim is not None:
        write_file(tim, tim_text(arrivals), overwrite=overwrite)
    note(f"{output}: {'UNSURE' if not ephemeris.connection.unique else 'every turn is counted'}")


def _arrivals(files: list[Path], par: Path | None, idents: list[str]) -> "Arrivals":
    """Times of arrival of products, or of a file of them."""
    from pulsar.connect.ephemeris import arrivals_of, read_tim, same_pulsar
    from pulsar.sky.timing import read_par

    model = None if par is None else read_par(par)
    times = [path for path in files if path.suffix == ".tim"]
    if not times:
        return arrivals_of(same_pulsar([read(path) for path in files], idents), model)
    if len(files) > 1:
        raise ConfigError(f"{times[0]}: times of arrival are of all nights: give the one file, or products")
    if model is None:
        raise ConfigError(f"{times[0]}: needs --par X.par: the position, the DM, a period that counts each night")
    if idents:
        raise ConfigError("--id chooses from products: times of arrival are of one pulsar")
    return read_tim(times[0], model)


#: Of a night.
CONNECTED: Columns = {
    "MJD": "{0.mjd:.5f}",
    "TOAs": "{0.ntoas}",
    "turns": "{0.turns}",
    "late us": lambda night: f"{1e6 * night.late:.2f}",
    "+-": lambda night: f"{1e6 * night.error:.2g}",
    "chi2": "{0.chi2:.1f}",
    "arc": "{0.arc}",
    "night": "{0.label}",
}
#: Of a count of turns.
HYPOTHESES: Columns = {
    "chi2": "{0[0].chi2:.2f}",
    "F0 Hz": "{0[0].spin[0]:.15g}",
    "F1 Hz/s": "{0[0].spin[1]:.4g}",
    "east arcsec": lambda row: f"{206264.8 * row[0].place[0]:.1f}",
    "north": lambda row: f"{206264.8 * row[0].place[1]:.1f}",
    "turns beside the best": "{0[1]}",
}


stack = typer.Typer(
    help="Sum the power spectra of many epochs: add, look, search.", no_args_is_help=True, rich_markup_mode=None
)

Folder = Annotated[Path, argument("STORE", "Folder of the stack.")]


@stack.command("add", cls=Command)
@options("dm", "no_rfi", "position", "cleaning")
def add(
    files: Annotated[list[Path], argument("FILE...", "Files of one observation, or its series at all DMs.")],
    into: Annotated[Path, option("Folder of the stack; the first epoch makes it.", "STORE")],
    each: Annotated[bool, named("--each", "Every file is an observation of its own.")] = False,
    weight: Annotated[float, option("Count so much more than length and bandwidth say.", "X")] = 1.0,
    *,
    settings: Config,
    progress: Progress,
) -> None:
    """Clean, dedisperse and barycentre an observation, and add its powers to a stack; what is there stays."""
    from pulsar.stack.epochs import add_epoch

    for some in [[file] for file in files] if each else [files]:
        out(str(add_epoch(some, into, settings, factor=weight, argv=sys.argv, progress=progress)))


@stack.command("info")
@options()
def info(folder: Folder) -> None:
    """List the epochs of a stack with their weights."""
    from pulsar.stack.run import opened

    with opened(folder) as store:
        grid = store.grid
        out(
            f"{folder}: {len(store.parts)} epochs, {grid.dms.size} DMs from {grid.dms[0]:g} to {grid.dms[-1]:g}, "
            f"frequencies to {grid.npoints * grid.step:.6g} Hz in steps of {grid.step:.3g}, "
            f"{len(store.parts) * grid.nbytes / 2**20:.4g} MiB"
        )
        print_table(EPOCHS, store.parts, left=("source", "epoch"))


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


@stack.command("search", cls=Command)
@options("threads")
def search(
    folder: Folder,
    output: Annotated[Path, product_file("CANDS.h5")],
    *,
    settings: Config,
    overwrite: Overwrite = False,
    top: Top = 20,
    progress: Progress,
) -> None:
    """Sum the powers of all epochs, search the sums at every DM, and write the candidates."""
    from pulsar.stack.run import search_stack

    check_not_input(output, folder.glob("*.h5"))
    run = search_stack(folder, Target(output, overwrite, sys.argv), settings, progress)
    print_lists(run, top=top)
    progress.message(f"{output}: {len(run)} candidates of {len(run.rows('stack/epochs'))} epochs")


@stack.command("nights")
@options()
def nights(
    run: Annotated[Path, argument("CANDS.h5", "Product of `pulsar stack search`.")],
    ident: Annotated[str, named("--id", "Candidate.", "ID")] = "c0001",
    par: Annotated[Path | None, option("Write its ephemeris, by which each epoch is folded.", "X.par")] = None,
    overwrite: Overwrite = False,
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
        write_file(par, text, overwrite=overwrite)
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
