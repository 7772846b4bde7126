"""Searches: ``pulsar search``, ``pulsar completeness`` of injected signals, ``pulsar orbits``."""

import contextlib
import math
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from pulsar.cli.console import check_new, check_not_input, check_picture, end_of_many, out, write_file
from pulsar.cli.options import (
    Beams,
    Files,
    Folders,
    Overwrite,
    Resume,
    Settings,
    Top,
    argument,
    inputs,
    named,
    option,
    options,
    parse_beams,
    product_file,
)
from pulsar.cli.tables import Columns, print_lists, print_subtracted, print_table
from pulsar.config.model import Config
from pulsar.data.injected import in_words, wilson
from pulsar.data.text import number
from pulsar.errors import ConfigError
from pulsar.io.night import scan, several_pointings
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import Target
from pulsar.pipeline.progress import Progress


def default_output(files: list[Path]) -> Path:
    """``<stem of the first file>.pulsar.h5`` in the current folder; of series of several DMs without the DM."""
    stem = files[0].stem
    return Path(f"{re.sub(r'_DM[0-9.]+$', '', stem) if len(files) > 1 else stem}.pulsar.h5")


@options("dm", "cleaning", "searches", "position", "catalogue", "subtract", "ncands", "completeness")
def search(
    files: Files,
    output: Annotated[Path | None, product_file("RUN.h5", "<FILE>.pulsar.h5")] = None,
    *,
    settings: Config,
    pieces: Folders,
    engine: Annotated[Literal["local", "dask"], option("What searches: this process, or workers of Dask.")] = "local",
    workers: Annotated[int | None, option("Of Dask.", "N", default="as there are cores", min=1)] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    top: Top = 20,
    progress: Progress,
) -> None:
    """Search an observation for pulsars of every kind and write the ranked candidates and single pulses."""
    if pieces.segment is None and pieces.overlap != 0.5:
        raise typer.BadParameter("goes with --segment", param_hint="--overlap")
    if workers is not None and engine != "dask":
        raise typer.BadParameter("goes with --engine dask", param_hint="--workers")
    # Arguments of one search and of many.
    common: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "argv": sys.argv, "progress": progress}
    if pieces.given or several_pointings(files):
        if engine != "local":
            raise typer.BadParameter("is for one observation; for many: pulsar batch", param_hint="--engine")
        _night(files, settings, output or Path("pulsar-night"), pieces, top, common)
        return

    if settings.input.pointings:
        raise ConfigError("input.pointings is for folders: give --ra and --dec for the files of one observation")
    path = output or default_output(files)
    check_new(path, inputs=inputs(files, settings), overwrite=overwrite or resume)

    from pulsar.run import search as search_observation

    crew = None
    if engine == "dask":
        from pulsar.batch.cluster import dask_crew

        crew = dask_crew(settings, path.parent, progress.warning, workers or 0)
    run = search_observation(files, settings, path, crew=crew, **common)
    print_lists(run, top=top)
    print_subtracted(run.rows("subtracted/pulsars"))
    pulses = run.rows("single_pulses")
    counts = f"{len(run)} candidates" + (f", {len(pulses)} single pulses" if len(pulses) else "")
    progress.message(f"{path}: {counts}; plots: pulsar report {path}")


def _night(
    files: list[Path], settings: Config, folder: Path, pieces: Folders, top: int, common: dict[str, Any]
) -> None:
    """Search folders, or many files: by source, date and beam."""
    from pulsar.nights.night import jobs, search_night

    advice = "several searches need a folder for their products: give --out DIR"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; {advice}")
    night = scan(files, settings.input)
    if folder.suffix.lower() == ".h5":
        raise ConfigError(f"{folder}: is the name of a file; {advice}")
    for problem in night.problems:
        common["progress"].warning(problem)
    todo = jobs(night, settings, folder, **pieces.wanted())
    outcome = search_night(todo, settings, folder, problems=night.problems, **common)
    if outcome.merged is not None:
        print_lists(read(outcome.merged), top=top)
        common["progress"].message(
            f"{outcome.merged}: the candidates of {len(outcome.products)} products; pulsar report {outcome.merged}"
        )
    end_of_many(outcome.failures, f"{len(outcome.failures)} of {len(todo)} could not be searched")


#: Observations whose limits on flux densities are printed; all are in the product.
MOST_LIMITS: Final = 3


@options(
    *("dm", "searches", "position", "cleaning"),
    *("population", "snr", "period", "duty", "at_dm", "gain", "tsys", "npol"),
)
def completeness(
    files: Annotated[list[Path], argument("FILE...", "Files and folders, of one observation or of several.")],
    output: Annotated[Path, product_file("C.h5")],
    *,
    beams: Beams = None,
    signals: Annotated[
        int | None,
        option(
            "Pulsars and bursts in all; rounded up to 6 pulsars and 2 bursts a DM, as many DMs in each observation.",
            "N",
            default="400",
            min=1,
        ),
    ] = None,
    given: Settings,
    table: Annotated[
        Path | None,
        option("Recall for a paper; limits on flux go to T_limits beside it.", "T.tex|csv|ecsv", default="none"),
    ] = None,
    plot: Annotated[Path | None, option("Draw recall and reliability.", "X.png|pdf|svg")] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    progress: Progress,
) -> None:
    """Inject pulsars and bursts into observations, search these, and tell how many of what kind are found."""
    if "population" in given.options and signals is not None:
        raise typer.BadParameter("the table of --population says how many", param_hint="--signals")
    settings = given.config()
    from pulsar.nights.night import SIGNALS, observations, runs_folder, search_night
    from pulsar.report.paper import beside, format_of

    replace = overwrite or resume
    check_new(output, inputs=inputs(files, settings), overwrite=replace)
    if table is not None:
        format_of(table)
        check_new(table, beside(table), overwrite=replace)
    check_picture(plot, overwrite=replace)
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
    _print_completeness(run)
    if table is not None:
        _write_tables(run, table)
    if plot is not None:
        from pulsar.report import figure, plots

        figure.save(plots.plot_completeness(run.rows("completeness/injected"), run.rows("completeness/rows")), plot)
    progress.message(f"{output}: {len(outcome.products)} of {len(todo)} observations; plots: pulsar report {output}")
    end_of_many(outcome.failures, f"{len(outcome.failures)} of {len(todo)} could not be searched")


def _write_tables(run: Run, path: Path) -> None:
    """Recall, and beside it the limits on flux densities, where there are any."""
    from pulsar.report.paper import beside, limits_text, recall_text

    if run.rows("completeness/injected").size:
        write_file(path, recall_text(run, path), overwrite=True)
    if run.rows("completeness/limits").size:
        write_file(beside(path), limits_text(run, path), overwrite=True)


def _print_completeness(run: Run) -> None:
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


def _print_observations(run: Run, injected: Any) -> None:
    """Signals that are found in each observation."""

    def found(obs: int, kind: str) -> str:
        signals = injected[(injected["obs"] == obs) & (injected["kind"] == kind)]
        good = int(signals["found"].sum())
        low, high = wilson(good, signals.size)
        return f"{good} of {signals.size}" + (f" ({100 * low:.0f}-{100 * high:.0f} %)" if signals.size else "")

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


@options("porb", "mass", "companion", "freq", "nharm", "mismatch", "no_rfi", "position", "cleaning")
def orbits(
    files: Files,
    output: Annotated[Path | None, product_file("O.h5", "none with --dry-run")] = None,
    dm: Annotated[
        list[float] | None, option("DM to search [pc/cm3]; may be repeated.", "DM", default="those of the series")
    ] = None,
    *,
    settings: Config,
    dry_run: Annotated[bool, named("--dry-run", "Only say what it would take.")] = False,
    resume: Resume = False,
    top: Annotated[int, option("Orbits to print at the end.", "N", min=1)] = 20,
    overwrite: Overwrite = False,
    progress: Progress,
) -> None:
    """Search for pulsars on circular orbits of which the data hold a tenth or more: for globular clusters."""
    if not dry_run and output is None:
        raise typer.BadParameter("give the product to write: --out O.h5, or --dry-run", param_hint="--out")
    from pulsar.orbits.run import plan_only, search_orbits

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


def _heads(run: Run) -> list[Any]:
    """The orbits of a product, but for those that others explain."""
    heads = {str(row["id"]) for row in run.rows("candidates") if row["harmonic_of"] == ""}
    return [row for row in run.rows("orbits/found") if str(row["id"]) in heads]


#: Of an octave of a plan.
PLAN: Columns = {
    "Hz": "{0.search.octave.low:g} to {0.search.octave.high:g}",
    "templates": "{0.templates}",
    "samples": "{0.search.n}",
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
