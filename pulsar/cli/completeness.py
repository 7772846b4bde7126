"""``pulsar completeness``: of the pulsars and bursts that were there, how many does a search find?"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pulsar.cli.console import check_not_input, error, out
from pulsar.cli.options import (
    RA,
    AccelMax,
    Beams,
    Common,
    Dec,
    DMRange,
    NoFFA,
    NoFFT,
    NoSinglePulse,
    WMax,
    ZMax,
    position,
    searches,
    shared,
)
from pulsar.cli.tables import print_table
from pulsar.data.numbers import number

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
    output: Annotated[
        Path, typer.Option("--out", "-o", metavar="C.h5", help="HDF5 file to write.", show_default=False)
    ],
    dm: DMRange = None,
    zmax: ZMax = None,
    accel_max: AccelMax = None,
    wmax: WMax = None,
    no_fft: NoFFT = False,
    no_ffa: NoFFA = False,
    no_single_pulse: NoSinglePulse = False,
    ra: RA = None,
    dec: Dec = None,
    beams: Beams = None,
    signals: Annotated[
        int, typer.Option("--signals", min=1, metavar="N", help="Pulsars and bursts in all, at least.")
    ] = 400,
    snr: Annotated[
        tuple[float, float] | None,
        typer.Option("--snr", metavar="LO HI", help="S/N of the signals.", show_default="6 20"),
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
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
    *,
    common: Common,
) -> None:
    """Inject pulsars and bursts into observations, search these, and tell how many of what kind are found."""
    settings = common.settings(
        dm=dm,
        completeness__snr=snr,
        telescope__gain=gain,
        telescope__tsys=tsys,
        telescope__npol=npol,
        **position(ra, dec),
        **searches(zmax, accel_max, wmax, no_fft, no_ffa, no_single_pulse),
    )
    from pulsar.io.product.writer import check_output
    from pulsar.pipeline.complete import complete, observations
    from pulsar.pipeline.night import parse_beams

    check_output(output, overwrite=common.overwrite or resume)
    check_not_input(output, common.inputs(files))
    progress = common.progress()
    wanted = parse_beams(beams) if beams is not None else None
    todo = observations(files, settings, output, signals=signals, beams=wanted, progress=progress)
    outcome = complete(
        todo, settings, output, overwrite=common.overwrite, resume=resume, argv=sys.argv, progress=progress
    )
    from pulsar.io.product.reader import read

    _print(read(output))
    progress.message(f"{output}: {len(outcome.products)} of {len(todo)} observations; plots: pulsar report {output}")
    for name, failure in outcome.failures:
        error(f"{name}: {failure}")
    if outcome.failures:
        error(f"{len(outcome.failures)} of {len(todo)} could not be searched")
        raise typer.Exit(max(failure.exit_code for _, failure in outcome.failures))


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
    limits = run.rows("completeness/limits")
    if limits.size:
        out()
        _print_limits(limits)


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


def _print_limits(limits: Any) -> None:
    columns = {
        "period [ms]": lambda r: f"{1e3 * r['period']:g}",
        "duty": lambda r: f"{r['duty']:g}",
        "width": lambda r: number(r["width"] / r["period"], ".3f"),
        "S/N 50 %": lambda r: number(r["snr_half"], ".1f"),
        "S/N 90 %": lambda r: number(r["snr_most"], ".1f"),
        "S 50 % [mJy]": lambda r: number(r["flux_half"], ".3g"),
        "S 90 % [mJy]": lambda r: number(r["flux_most"], ".3g"),
    }
    for obs in sorted(set(limits["obs"].tolist())):
        mine = limits[limits["obs"] == obs]
        first = mine[0]
        print_table(
            columns,
            mine,
            title=(
                f"Flux densities, DM {first['dm']:.4g}, {first['tobs']:.4g} s, {first['bandwidth']:.4g} MHz, gain "
                f"{first['gain']:.3g} K/Jy, Tsys {first['tsys']:.3g} K, npol {first['npol']}, beta {first['beta']:.3g}"
            ),
        )
