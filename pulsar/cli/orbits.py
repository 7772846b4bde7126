"""``pulsar orbits``: a coherent search over circular orbits, DM by DM."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulsar.cli.console import check_not_input, out
from pulsar.cli.options import RA, Common, Dec, Files, NoRfi, position, product_file, shared, uncleaned
from pulsar.cli.tables import print_table

if TYPE_CHECKING:
    from pulsar.io.product.reader import Run
    from pulsar.orbits.plan import OrbitsPlan


@shared
def command(
    files: Files,
    output: Annotated[Path | None, product_file("O.h5", "none with --dry-run")] = None,
    dm: Annotated[
        list[float] | None,
        typer.Option(
            "--dm", metavar="DM", help="DM to search [pc/cm3]; may be repeated.", show_default="those of the series"
        ),
    ] = None,
    porb: Annotated[
        tuple[float, float] | None,
        typer.Option("--porb", metavar="MIN MAX", help="Orbital periods [s].", show_default="3600 14400"),
    ] = None,
    mass: Annotated[
        float | None,
        typer.Option("--mass", metavar="M", help="Mass of the pulsar [solar masses].", show_default="1.4"),
    ] = None,
    companion: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--companion",
            metavar="MIN MAX",
            help="Companions [solar masses], of orbits that are seen from their edge.",
            show_default="0 0.1",
        ),
    ] = None,
    freq: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--freq", metavar="MIN MAX", help="Frequencies of the highest harmonic [Hz].", show_default="50 400"
        ),
    ] = None,
    nharm: Annotated[
        int | None, typer.Option("--nharm", metavar="1|2|4|8", help="Most harmonics.", show_default="4")
    ] = None,
    mismatch: Annotated[
        float | None,
        typer.Option("--mismatch", metavar="M", help="Most power lost between templates.", show_default="0.3"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted search stopped.")] = False,
    no_rfi: NoRfi = False,
    ra: RA = None,
    dec: Dec = None,
    top: Annotated[int, typer.Option("--top", min=1, metavar="N", help="Orbits to print at the end.")] = 20,
    *,
    common: Common,
) -> None:
    """Search for pulsars on circular orbits of which the data hold a tenth or more: for globular clusters."""
    low, high = porb or (None, None)
    lightest, heaviest = companion or (None, None)
    f_min, f_max = freq or (None, None)
    settings = common.settings(
        orbits__p_min=low,
        orbits__p_max=high,
        orbits__pulsar=mass,
        orbits__lightest=lightest,
        orbits__heaviest=heaviest,
        orbits__f_min=f_min,
        orbits__f_max=f_max,
        orbits__nharm=nharm,
        orbits__mismatch=mismatch,
        **position(ra, dec),
        **uncleaned(no_rfi),
    )
    if not dry_run and output is None:
        raise typer.BadParameter("give the product to write: --out O.h5, or --dry-run", param_hint="--out")
    from pulsar.orbits.run import plan_only, search_orbits
    from pulsar.pipeline.target import Target

    progress = common.progress()
    if dry_run or output is None:
        print_plan(plan_only(files, dm or (), settings, progress))
        return
    check_not_input(output, common.inputs(files))
    run = search_orbits(
        files,
        Target(output, common.overwrite, sys.argv),
        dm or (),
        settings,
        resume=resume,
        progress=progress,
    )
    print_orbits(run, top)
    progress.message(f"{output}: {len(run)} candidates")


def print_plan(plan: "OrbitsPlan") -> None:
    """The octaves of a plan, and what all takes."""
    print_table(
        {
            "Hz": lambda p: f"{p.octave.low:g} to {p.octave.high:g}",
            "templates": lambda p: str(p.templates),
            "samples": lambda p: str(p.samples),
            "ms": lambda p: f"{1e3 * p.each:.3g}",
            "CPU s": lambda p: f"{p.seconds:.4g}",
            "per Hz": lambda p: f"{p.per_hz:.4g}",
        },
        plan.octaves,
        left=("Hz",),
    )
    for line in plan.summary():
        out(line)


def print_orbits(run: "Run", top: int) -> None:
    """The orbits of a product, but for those that others explain."""
    rows: Any = run.rows("orbits/found")
    heads = {str(row["id"]) for row in run.rows("candidates") if row["harmonic_of"] == ""}
    print_table(
        {
            "id": lambda r: str(r["id"]),
            "ms": lambda r: f"{1e3 / r['freq']:.9f}",
            "DM": lambda r: f"{r['dm']:g}",
            "P_orb s": lambda r: f"{r['porb']:.6g}",
            "+-": lambda r: f"{r['porb_err']:.2g}",
            "a sin i s": lambda r: f"{r['asini']:.5g}",
            "T_asc": lambda r: f"{r['tasc']:.7f}",
            "m_c": lambda r: f"{r['mc_min']:.3g}",
            "sigma": lambda r: f"{r['sigma']:.1f}",
            "S/N": lambda r: f"{r['snr']:.1f}",
        },
        [row for row in rows if str(row["id"]) in heads][:top],
        left=("id",),
    )
