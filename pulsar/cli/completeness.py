"""``pulsar completeness``: of the pulsars and bursts that were there, how many does a search find?"""

import contextlib
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pulsar.cli.console import check_new, check_picture, out, write_text
from pulsar.cli.options import (
    Beams,
    Display,
    Given,
    Overwrite,
    Resume,
    argument,
    inputs,
    option,
    options,
    parse_beams,
    product_file,
)
from pulsar.cli.search import end_of_many
from pulsar.cli.tables import Columns, print_table
from pulsar.data.injected import in_words, wilson
from pulsar.data.text import number
from pulsar.io.product.reader import read

#: Observations whose limits on flux densities are printed; all are in the product.
MOST_LIMITS: Final = 3

if TYPE_CHECKING:
    from pulsar.io.product.reader import Run


@options(
    *("dm", "searches", "position", "cleaning"),
    *("population", "snr", "period", "duty", "at_dm", "gain", "tsys", "npol"),
)
def command(
    files: Annotated[list[Path], argument("FILE...", "Files and folders, of one observation or of several.")],
    output: Annotated[Path, product_file("C.h5")],
    *,
    beams: Beams = None,
    signals: Annotated[
        int | None,
        option(
            "--signals",
            "Pulsars and bursts in all; rounded up to 6 pulsars and 2 bursts a DM, as many DMs in each observation.",
            "N",
            default="400",
            min=1,
        ),
    ] = None,
    given: Given,
    table: Annotated[
        Path | None,
        option(
            "--table", "Recall for a paper; limits on flux go to T_limits beside it.", "T.tex|csv|ecsv", default="none"
        ),
    ] = None,
    plot: Annotated[Path | None, option("--plot", "Draw recall and reliability.", "X.png|pdf|svg")] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    display: Display,
) -> None:
    """Inject pulsars and bursts into observations, search these, and tell how many of what kind are found."""
    if "population" in given.options and signals is not None:
        raise typer.BadParameter("the table of --population says how many", param_hint="--signals")
    settings = given.config()
    from pulsar.nights.night import SIGNALS, observations, runs_folder, search_night
    from pulsar.report.paper import beside, format_of

    replace = overwrite or resume
    check_new(output, inputs(files, settings), overwrite=replace)
    if table is not None:
        format_of(table)
        for path in (table, beside(table)):
            check_new(path, (), overwrite=replace)
    if plot is not None:
        check_picture(plot, overwrite=replace)
    progress = display.progress()
    wanted = parse_beams(beams) if beams is not None else None
    todo = observations(files, settings, output, signals=signals or SIGNALS, beams=wanted, progress=progress)
    folder = runs_folder(output)
    how: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "argv": sys.argv, "progress": progress}
    outcome = search_night(todo, settings, folder, **how, merged=output)
    if outcome.merged is None and outcome.failures:
        with contextlib.suppress(OSError):
            folder.rmdir()  # where nothing is in it
        raise outcome.failures[0][1]

    run = read(output)
    _print(run)
    if table is not None:
        _write_tables(run, table)
    if plot is not None:
        from pulsar.report import figure, plots

        figure.save(plots.plot_completeness(run.rows("completeness/injected"), run.rows("completeness/rows")), plot)
    progress.message(f"{output}: {len(outcome.products)} of {len(todo)} observations; plots: pulsar report {output}")
    end_of_many(outcome.failures, len(todo))


def _write_tables(run: "Run", path: Path) -> None:
    """Recall, and beside it the limits on flux densities, where there are any."""
    from pulsar.report.paper import beside, limits_text, recall_text

    if run.rows("completeness/injected").size:
        write_text(path, recall_text(run, path), overwrite=True)
    if run.rows("completeness/limits").size:
        write_text(beside(path), limits_text(run, path), overwrite=True)


def _print(run: "Run") -> None:
    """Signals that are found, by S/N, of all and of each observation; and the limits on flux densities."""
    injected, rows = run.rows("completeness/injected"), run.rows("completeness/rows")
    for line in in_words(injected, rows):
        out(line)
    for kind in ("pulsar", "burst"):
        if (injected["kind"] == kind).any():
            out()
            print_table(RECALL, run.recall(kind=kind), title=f"{kind.capitalize()}s")
    if len(run.observations) > 1:
        out()
        _print_observations(run, injected)
    limits = run.rows("completeness/limits")
    numbers = sorted(set(limits["obs"].tolist()))
    for obs in numbers[:MOST_LIMITS]:
        out()
        if len(run.observations) > 1:
            out(f"{run.observations[obs].source or 'unnamed source'}, MJD {run.observations[obs].tstart:.5f}")
        _print_limits(limits[limits["obs"] == obs])
    if len(numbers) > MOST_LIMITS:
        out(f"and of {len(numbers) - MOST_LIMITS} observations more: pulsar.read({str(run.path)!r}).limits")


RECALL: Columns = {
    "S/N": "{0[low]:g}-{0[high]:g}",
    "injected": "{0[tried]}",
    "found": "{0[found]}",
    "recall [%]": lambda r: number(100 * r["recall"], ".0f"),
    "68 %": lambda r: f"{100 * r['recall_low']:.0f}-{100 * r['recall_high']:.0f}" if r["tried"] else "",
    "S/N kept": lambda r: number(r["snr_kept"], ".2f"),
}


def _print_observations(run: "Run", injected: Any) -> None:
    """Signals that are found in each observation."""

    def found(obs: int, kind: str) -> str:
        own = injected[(injected["obs"] == obs) & (injected["kind"] == kind)]
        good = int(own["found"].sum())
        low, high = wilson(good, own.size)
        return f"{good} of {own.size}" + (f" ({100 * low:.0f}-{100 * high:.0f} %)" if own.size else "")

    headers = run.observations
    columns: Columns = {
        "observation": lambda obs: headers[obs].source or "unnamed",
        "MJD": lambda obs: f"{headers[obs].tstart:.5f}",
        "beam": lambda obs: "" if headers[obs].beam is None else str(headers[obs].beam),
        "pulsars found": lambda obs: found(obs, "pulsar"),
        "bursts found": lambda obs: found(obs, "burst"),
    }
    print_table(columns, range(len(headers)), left=("observation",))


def _print_limits(limits: Any) -> None:
    """The limits of an observation: a line for each period, a column for each duty cycle."""
    columns: dict[str, Any] = {
        "period [ms]": lambda rows: f"{1e3 * rows['period'][0]:g}",
        "S/N 50 %": lambda rows: _with_interval(rows[0], "snr_half"),
        "S/N 90 %": lambda rows: _with_interval(rows[0], "snr_most"),
    }
    for k, duty in enumerate(sorted(set(limits["duty"].tolist()))):
        columns[f"duty {duty:g}"] = lambda rows, k=k: number(rows["flux_most"][k], ".3g")
    title = (
        "Mean flux densities [mJy] from which on nine tenths are found: DM {0[dm]:.4g}, {0[tobs]:.4g} s, "
        "{0[bandwidth]:.4g} MHz, {0[gain]:.3g} K/Jy, {0[tsys]:.3g} K, {0[npol]} polarisations, beta {0[beta]:.3g}"
    )
    by_period = [limits[limits["period"] == period] for period in dict.fromkeys(limits["period"].tolist())]
    print_table(columns, by_period, title=title.format(limits[0]))


def _with_interval(row: Any, name: str) -> str:
    if math.isnan(row[name]):
        return "-"
    return f"{row[name]:.1f} ({row[f'{name}_low']:.1f}-{row[f'{name}_high']:.1f})"
