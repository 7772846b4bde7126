"""``pulsar orbits``: a coherent search over circular orbits, DM by DM."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulsar.cli.console import check_not_input, out
from pulsar.cli.options import Display, Files, Given, Overwrite, Resume, inputs, option, options, product_file
from pulsar.cli.tables import Columns, print_table
from pulsar.io.product.writer import Target

if TYPE_CHECKING:
    from pulsar.io.product.reader import Run


@options("porb", "mass", "companion", "freq", "nharm", "mismatch", "no_rfi", "position", "cleaning")
def command(
    files: Files,
    output: Annotated[Path | None, product_file("O.h5", "none with --dry-run")] = None,
    dm: Annotated[
        list[float] | None,
        option("--dm", "DM to search [pc/cm3]; may be repeated.", "DM", default="those of the series"),
    ] = None,
    *,
    given: Given,
    dry_run: Annotated[bool, option("--dry-run", "Only say what it would take.")] = False,
    resume: Resume = False,
    top: Annotated[int, option("--top", "Orbits to print at the end.", "N", min=1)] = 20,
    overwrite: Overwrite = False,
    display: Display,
) -> None:
    """Search for pulsars on circular orbits of which the data hold a tenth or more: for globular clusters."""
    settings = given.config()
    if not dry_run and output is None:
        raise typer.BadParameter("give the product to write: --out O.h5, or --dry-run", param_hint="--out")
    from pulsar.orbits.run import plan_only, search_orbits

    progress = display.progress()
    if dry_run or output is None:
        plan = plan_only(files, dm or (), settings, progress)
        print_table(PLAN, plan.octaves, left=("Hz",))
        for line in plan.summary():
            out(line)
        return
    check_not_input(output, inputs(files, settings))
    target = Target(output, overwrite, sys.argv)
    run = search_orbits(files, target, dm or (), settings, resume=resume, progress=progress)
    print_table(FOUND, _heads(run)[:top], left=("id",))
    progress.message(f"{output}: {len(run)} candidates")


def _heads(run: "Run") -> list[Any]:
    """The orbits of a product, but for those that others explain."""
    heads = {str(row["id"]) for row in run.rows("candidates") if row["harmonic_of"] == ""}
    return [row for row in run.rows("orbits/found") if str(row["id"]) in heads]


#: Of an octave of a plan.
PLAN: Columns = {
    "Hz": "{0.octave.low:g} to {0.octave.high:g}",
    "templates": "{0.templates}",
    "samples": "{0.samples}",
    "ms": lambda octave: f"{1e3 * octave.each:.3g}",
    "CPU s": "{0.seconds:.4g}",
    "per Hz": "{0.per_hz:.4g}",
}
#: Of an orbit.
FOUND: Columns = {
    "id": "{0[id]}",
    "ms": lambda row: f"{1e3 / row['freq']:.9f}",
    "DM": "{0[dm]:g}",
    "P_orb s": "{0[porb]:.6g}",
    "+-": "{0[porb_err]:.2g}",
    "a sin i s": "{0[asini]:.5g}",
    "T_asc": "{0[tasc]:.7f}",
    "m_c": "{0[mc_min]:.3g}",
    "sigma": "{0[sigma]:.1f}",
    "S/N": "{0[snr]:.1f}",
}
