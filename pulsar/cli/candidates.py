"""``pulsar candidates``: the ranked list of a product, as a table or for other programs."""

import csv
import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pulsar.cli.console import out
from pulsar.cli.options import Debug
from pulsar.cli.tables import print_candidates, print_pulses


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN.h5", help="Product of `pulsar search`.", show_default=False)],
    top: Annotated[int | None, typer.Option("--top", min=1, metavar="N", help="Only the best N.")] = None,
    form: Annotated[
        Literal["table", "csv", "json", "ecsv"], typer.Option("--format", help="How to print them.")
    ] = "table",
    pulses: Annotated[bool, typer.Option("--single-pulses", help="The single pulses, not the candidates.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Every row, also those that belong to another: harmonics, sidelobes ...")
    ] = False,
    _debug: Debug = False,
) -> None:
    """List the candidates, or the single pulses, of a run, best first: one row a source."""
    from pulsar.io.product.reader import read

    product = read(run)
    found = product.rows("single_pulses" if pulses else "candidates")
    use = found["id"] != "" if pulses or everything else found["harmonic_of"] == ""
    if form == "ecsv":
        (product.single_pulses if pulses else product.candidates)[use][:top].write(sys.stdout, format="ascii.ecsv")
        return
    rows = found[use][:top]
    if form == "table" and pulses:
        print_pulses(rows, merged=product.is_merged)
    elif form == "table":
        print_candidates(rows, merged=product.is_merged)
        if (hidden := len(found) - int(use.sum())) > 0:
            out(f"{hidden} rows belong to another one: --all")
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(rows.dtype.names or ())
        writer.writerows([_cell(v) for v in row.tolist()] for row in rows)
    else:
        names = rows.dtype.names or ()
        records = [{k: _json(v) for k, v in zip(names, row.tolist(), strict=True)} for row in rows]
        out(json.dumps(records, indent=2, ensure_ascii=False))


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _json(value: Any) -> Any:
    # JSON knows no NaN: unknown values are null.
    return None if isinstance(value, float) and not math.isfinite(value) else value
