"""``pulsar completeness``: of the pulsars and bursts that were there, how many does a search find?"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from pulsar.cli.console import check_not_input, check_picture, error, out, write_text
from pulsar.cli.options import (
    RA,
    Beams,
    Common,
    Dec,
    DMRange,
    Resume,
    Searches,
    position,
    product_file,
    shared,
)
from pulsar.cli.tables import print_table
from pulsar.data.numbers import number

#: Observations whose limits on flux densities are printed; all are in the product.
MOST_LIMITS: Final = 3

if TYPE_CHECKING:
    from pulsar.io.product.reader import Run


@shared
def command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Files and folders, of one observation or of several.", show_default=False
        ),
    ],
    output: Annotated[Path, product_file("C.h5")],
    dm: DMRange = None,
    *,
    which: Searches,
    ra: RA = None,
    dec: Dec = None,
    beams: Beams = None,
    signals: Annotated[
        int | None,
        typer.Option("--signals", min=1, metavar="N", help="Pulsars and bursts in all, at least.", show_default="400"),
    ] = None,
    population: Annotated[
        str | None,
        typer.Option(
            "--population", metavar="TABLE", help="Signals, a row each (csv, ecsv).", show_default="drawn by a law"
        ),
    ] = None,
    snr: Annotated[
        tuple[float, float] | None,
        typer.Option("--snr", metavar="LO HI", help="S/N of the signals.", show_default="6 20"),
    ] = None,
    period: Annotated[
        tuple[float, float] | None,
        typer.Option("--period", metavar="LO HI", help="Periods [s].", show_default="searched, 0.002 to 5"),
    ] = None,
    duty: Annotated[
        tuple[float, float] | None,
        typer.Option("--duty", metavar="LO HI", help="Widths of pulsars [turns].", show_default="by a law"),
    ] = None,
    at_dm: Annotated[
        tuple[float, float] | None,
        typer.Option("--at-dm", metavar="LO HI", help="DMs of the signals [pc/cm3].", show_default="searched"),
    ] = None,
    gain: Annotated[
        float | None,
        typer.Option(
            "--gain", metavar="G", help="Of the telescope [K/Jy], for limits on flux.", show_default="of FAST its own"
        ),
    ] = None,
    tsys: Annotated[
        float | None, typer.Option("--tsys", metavar="T", help="System temperature [K].", show_default="25, of FAST 22")
    ] = None,
    npol: Annotated[
        int | None, typer.Option("--npol", metavar="1|2", help="Polarisations that are summed.", show_default="2")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            metavar="T.tex|csv|ecsv",
            help="Recall for a paper; limits on flux go to T_limits beside it.",
            show_default="none",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="X.png|pdf|svg", help="Draw recall and reliability.", show_default="none"),
    ] = None,
    resume: Resume = False,
    common: Common,
) -> None:
    """Inject pulsars and bursts into observations, search these, and tell how many of what kind are found."""
    if population is not None and signals is not None:
        raise typer.BadParameter("the table of --population says how many", param_hint="--signals")
    settings = common.settings(
        dm=dm,
        completeness__snr=snr,
        completeness__period=period,
        completeness__duty=duty,
        completeness__dm=at_dm,
        completeness__population=population,
        telescope__gain=gain,
        telescope__tsys=tsys,
        telescope__npol=npol,
        **position(ra, dec),
        **which.settings(),
    )
    from pulsar.io.product.writer import check_output
    from pulsar.nights.completeness import SIGNALS, complete, observations
    from pulsar.nights.night import parse_beams
    from pulsar.report.paper import beside, format_of

    check_output(output, overwrite=common.overwrite or resume)
    check_not_input(output, common.inputs(files))
    if table is not None:
        format_of(table)
        for path in (table, beside(table)):
            check_output(path, overwrite=common.overwrite or resume)
    if plot is not None:
        check_picture(plot, overwrite=common.overwrite or resume)
    progress = common.progress()
    wanted = parse_beams(beams) if beams is not None else None
    todo = observations(files, settings, output, signals=signals or SIGNALS, beams=wanted, progress=progress)
    outcome = complete(
        todo, settings, output, overwrite=common.overwrite, resume=resume, argv=sys.argv, progress=progress
    )
    from pulsar.io.product.reader import read

    run = read(output)
    _print(run)
    if table is not None:
        _write_tables(run, table)
    if plot is not None:
        from pulsar.report.completeness import plot_completeness
        from pulsar.report.figure import save

        save(plot_completeness(run.rows("completeness/injected"), run.rows("completeness/rows")), plot)
    progress.message(f"{output}: {len(outcome.products)} of {len(todo)} observations; plots: pulsar report {output}")
    for name, failure in outcome.failures:
        error(f"{name}: {failure}")
    if outcome.failures:
        error(f"{len(outcome.failures)} of {len(todo)} could not be searched")
        raise typer.Exit(max(failure.exit_code for _, failure in outcome.failures))


def _write_tables(run: "Run", path: Path) -> None:
    """Recall, and beside it the limits on flux densities, where there are any."""
    from pulsar.report.paper import beside, limits_text, recall_text

    if run.rows("completeness/injected").size:
        write_text(path, recall_text(run, path), overwrite=True)
    if run.rows("completeness/limits").size:
        write_text(beside(path), limits_text(run, path), overwrite=True)


def _print(run: "Run") -> None:
    """What is found, by S/N, of all and of each observation; and the limits on flux densities."""
    from pulsar.data.injected import in_words

    injected, rows = run.rows("completeness/injected"), run.rows("completeness/rows")
    for line in in_words(injected, rows):
        out(line)
    for kind in ("pulsar", "burst"):
        if (injected["kind"] == kind).any():
            out()
            _print_recall(run, kind)
    if len(run.observations) > 1:
        out()
        _print_observations(run, injected)
    limits = run.rows("completeness/limits")
    if limits.size:
        _print_limits(run, limits)


def _print_recall(run: "Run", kind: Literal["pulsar", "burst"]) -> None:
    columns = {
        "S/N": lambda r: f"{r['low']:g}-{r['high']:g}",
        "injected": lambda r: str(r["tried"]),
        "found": lambda r: str(r["found"]),
        "recall [%]": lambda r: number(100 * r["recall"], ".0f"),
        "68 %": lambda r: f"{100 * r['recall_low']:.0f}-{100 * r['recall_high']:.0f}" if r["tried"] else "",
        "S/N kept": lambda r: number(r["snr_kept"], ".2f"),
    }
    print_table(columns, run.recall(kind=kind), title=f"{kind.capitalize()}s")


def _print_observations(run: "Run", injected: Any) -> None:
    """What is found in each observation."""
    from pulsar.data.shares import wilson

    def found(obs: int, kind: str) -> str:
        mine = injected[(injected["obs"] == obs) & (injected["kind"] == kind)]
        good = int(mine["found"].sum())
        low, high = wilson(good, mine.size)
        return f"{good} of {mine.size}" + (f" ({100 * low:.0f}-{100 * high:.0f} %)" if mine.size else "")

    columns: dict[str, Callable[[Any], str]] = {
        "observation": lambda obs: run.observations[obs].source or "unnamed",
        "MJD": lambda obs: f"{run.observations[obs].tstart:.5f}",
        "beam": lambda obs: "" if run.observations[obs].beam is None else str(run.observations[obs].beam),
        "pulsars found": lambda obs: found(obs, "pulsar"),
        "bursts found": lambda obs: found(obs, "burst"),
    }
    print_table(columns, range(len(run.observations)), left=("observation",))


def _print_limits(run: "Run", limits: Any) -> None:
    """A table for each observation: a line for each period, a column for each duty cycle."""
    several = len(run.observations) > 1
    numbers = sorted(set(limits["obs"].tolist()))
    for obs in numbers[:MOST_LIMITS]:
        mine = limits[limits["obs"] == obs]
        first, duties = mine[0], sorted(set(mine["duty"].tolist()))
        columns: dict[str, Callable[[Any], str]] = {
            "period [ms]": lambda rows: f"{1e3 * rows['period'][0]:g}",
            "S/N 50 %": lambda rows: _with_interval(rows[0], "snr_half"),
            "S/N 90 %": lambda rows: _with_interval(rows[0], "snr_most"),
        }
        for k, duty in enumerate(duties):
            columns[f"duty {duty:g}"] = lambda rows, k=k: number(rows["flux_most"][k], ".3g")  # type: ignore[misc]
        out()
        if several:
            out(f"{run.observations[obs].source or 'unnamed source'}, MJD {run.observations[obs].tstart:.5f}")
        print_table(
            columns,
            [mine[mine["period"] == period] for period in dict.fromkeys(mine["period"].tolist())],
            title=(
                "Mean flux densities [mJy] from which on nine tenths are found: "
                f"DM {first['dm']:.4g}, {first['tobs']:.4g} s, {first['bandwidth']:.4g} MHz, {first['gain']:.3g} K/Jy, "
                f"{first['tsys']:.3g} K, {first['npol']} polarisations, beta {first['beta']:.3g}"
            ),
        )

    if len(numbers) > MOST_LIMITS:
        out(f"and of {len(numbers) - MOST_LIMITS} observations more: pulsar.read({str(run.path)!r}).limits")


def _with_interval(row: Any, name: str) -> str:
    if math.isnan(row[name]):
        return "-"
    return f"{row[name]:.1f} ({row[f'{name}_low']:.1f}-{row[f'{name}_high']:.1f})"
