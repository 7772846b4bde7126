"""``pulsar follow``: are the candidates of a product, or of a list, in a new observation?"""

import sys
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from pulsar.cli.console import check_not_input
from pulsar.cli.options import Display, Given, Overwrite, argument, inputs, option, options, product_file
from pulsar.cli.tables import Columns, print_table
from pulsar.io.product.writer import Target


@options("accel", "orbit", "no_rfi", "position", "cleaning")
def command(
    source: Annotated[
        Path, argument("PRODUCT.h5|LIST", "Product of a search; or a table (csv, ECSV) with P or F0, and DM.")
    ],
    files: Annotated[list[Path], argument("NEW...", "Files of the new observation, in any format that is read.")],
    output: Annotated[Path, product_file("FOLLOW.h5")],
    idents: Annotated[
        list[str] | None,
        option(
            "--id",
            "Only this candidate; may be repeated.",
            "ID",
            default="those judged as pulsars, or all that stand for themselves",
        ),
    ] = None,
    score: Annotated[float | None, option("--score", "Candidates of this score or more.", "S", min=0, max=1)] = None,
    *,
    given: Given,
    overwrite: Overwrite = False,
    display: Display,
) -> None:
    """Say whether candidates are in a new observation: of another time, length, telescope or band."""
    settings = given.config()
    if idents and score is not None:
        raise typer.BadParameter("--id names candidates, --score chooses them: give one of the two")

    from pulsar.confirm.run import follow

    check_not_input(output, [source, *inputs(files, settings)])
    progress = display.progress()
    target = Target(output, overwrite, sys.argv)
    run = follow(source, files, target, settings, idents=idents or (), least_score=score, progress=progress)
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
