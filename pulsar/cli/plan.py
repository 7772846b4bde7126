"""``pulsar plan``: what a search would do, before it is done."""

import json
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pulsar.cli.console import check_picture, error, out
from pulsar.cli.options import (
    Debug,
    DMRange,
    Json,
    Memory,
    Ncands,
    Overwrite,
    Pieces,
    Preset,
    Searches,
    Sets,
    Subtract,
    Threads,
    effective_config,
    shared,
)
from pulsar.cli.tables import print_table
from pulsar.data.numbers import duration

OptionalFiles = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE...", help="Files of one observation, in any format that is read.", show_default=False),
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="PNG", help="Draw the DM plan: smearing and steps over DM.", show_default=False),
]
SurveyFile = Annotated[
    Path | None,
    typer.Option(
        "--survey",
        metavar="FILE.toml",
        help="Instead of files: what a survey takes (beams, hours, band, search, nodes).",
        show_default=False,
    ),
]


@shared
def command(
    files: OptionalFiles = None,
    survey: SurveyFile = None,
    config: Preset = None,
    sets: Sets = None,
    dm: DMRange = None,
    *,
    which: Searches,
    subtract: Subtract = None,
    ncands: Ncands = None,
    threads: Threads = None,
    memory: Memory = None,
    pieces: Pieces,
    plot: Plot = None,
    as_json: Json = False,
    overwrite: Overwrite = False,
    _debug: Debug = False,
) -> None:
    """Show the DM plan with its smearing, the number of trials, memory, scratch space and expected time."""
    if (survey is None) == (not files):
        raise typer.BadParameter("give the files of an observation, or --survey FILE.toml", param_hint="FILE...")
    if plot is not None:
        check_picture(plot, overwrite=overwrite)
    if survey is not None:
        if plot is not None:
            raise typer.BadParameter("draws the plan of one observation: give its files", param_hint="--plot")
        _survey(survey, as_json)
        return
    files = files or []
    settings = effective_config(
        config,
        sets,
        dm=dm,
        fold__ncands=ncands,
        subtract__pulsars=subtract,
        run__threads=threads,
        run__memory=memory,
        **which.settings(),
    )
    from pulsar.io.night import several_pointings
    from pulsar.io.open import open_observation
    from pulsar.pipeline.plan import dry_run

    if pieces.given or several_pointings(files):
        if plot is not None:
            raise typer.BadParameter("draws the plan of one observation: give its files", param_hint="--plot")
        _night(files, settings, pieces, as_json)
        return
    obs = open_observation(*files, config=settings.input)
    try:
        run_plan = dry_run(obs, settings)
    finally:
        obs.close()
    if plot is not None:
        _draw(run_plan, obs.header, plot)
    if as_json:
        out(json.dumps(plain(run_plan), indent=2))
        return
    if run_plan.dm is not None:
        print_stages(run_plan.dm.stages)
    for line in run_plan.summary():
        out(line)
    out(
        f"expected {run_plan.rated}: "
        + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in run_plan.seconds.items())
    )


def _draw(run_plan: Any, header: Any, path: Path) -> None:
    """The picture of a DM plan."""
    from pulsar.errors import ConfigError
    from pulsar.report.figure import save
    from pulsar.report.plan import plot_plan

    if run_plan.dm is None:
        raise ConfigError("--plot: a dedispersed series has no DM plan")
    save(plot_plan(run_plan.dm, header), path)


def _survey(path: Path, as_json: bool) -> None:
    """What a survey takes."""
    from pulsar.config.survey import load_survey
    from pulsar.followup.survey import plan_survey

    survey = load_survey(path)
    plan = plan_survey(survey)
    observing, band, machine = survey.observing, survey.band, survey.machine
    if as_json:
        totals = {"core_hours": plan.core_hours, "bottleneck": plan.bottleneck, "keeps_up": plan.keeps_up}
        out(json.dumps({**plain(plan), **totals}, indent=2))
        return
    out(
        f"{survey.name}: {observing.beams} beam{'s' if observing.beams > 1 else ''}, {observing.hours:g} h of "
        f"{band.nchans} channels, {1e6 * band.tsamp:g} us, {band.nbits} bit"
    )
    stages = ", ".join(f"{name} {seconds:.3g}" for name, seconds in plan.cpu.items())
    threads = f"{plan.plan.threads} thread{'s' if plan.plan.threads > 1 else ''}"
    lines = {
        "data": f"{plan.data_rate / 1e12:.3g} TB an hour, {plan.data_bytes / 1e12:.4g} TB in all",
        "a unit": f"{observing.length:g} s of a beam, {plan.unit_bytes / 1e9:.3g} GB, {plan.plan.ndms} DMs",
        "takes": f"{plan.cpu_seconds:.3g} CPU s ({stages}), {plan.unit_memory / 1e9:.3g} GB of memory",
        "all units": f"{plan.units:.4g}, {plan.core_hours:.4g} core hours, products of "
        f"{plan.product_bytes / 1e12:.3g} TB",
        "side by side": f"{plan.side_by_side} searches of {threads} on a node (bound by its {plan.bound_by})",
        "cores": f"{plan.cores_needed:.4g} are needed all day; "
        f"{machine.nodes * plan.side_by_side * plan.plan.threads} are busy",
        "storage": f"{plan.storage_needed / 1e9:.3g} GB/s are needed all day ({plan.passes:g} passes over a file); "
        f"{machine.storage:g} GB/s are there",
    }
    for name, text in lines.items():
        out(f"{name:<13} {text}")
    pace = plan.keeps_up
    verdict = f"a day of observing is searched in {duration(86400.0 / pace)}: " + (
        f"{1.0 / pace - 1.0:.3g} days behind after each" if pace < 1.0 else f"it keeps up, {pace:.2f} times as fast"
    )
    out(f"{'verdict':<13} {verdict} (bound by {plan.bottleneck}; times {plan.rated})")


def _night(files: list[Path], settings: Any, pieces: Pieces, as_json: bool) -> None:
    """Folders, or many files: a line for each search that `pulsar search` would make of them, and the totals."""
    from pulsar.io.night import scan
    from pulsar.nights.night import jobs, unmatched_pointings
    from pulsar.nights.plan import plan_jobs

    night = scan(files, settings.input)
    todo = jobs(night, settings, Path("pulsar-night"), **pieces.wanted())
    plans, failures = plan_jobs(todo)
    problems = [*night.problems, *unmatched_pointings(night, settings)]
    rated = next((p.rated for p in plans.values()), "")
    totals: dict[str, float] = {
        "searches": len(plans),
        "tobs": sum(p.nsamps * p.tsamp for p in plans.values()),
        "series_bytes": sum(p.series_bytes for p in plans.values()),
        "scratch_bytes": max((p.scratch_bytes for p in plans.values()), default=0),
        "seconds": sum(p.total_seconds for p in plans.values()),
    }
    if as_json:
        listed = [{"name": name, **plain(p)} for name, p in plans.items()]
        failed = [{"name": name, "problem": str(why)} for name, why in failures]
        out(
            json.dumps(
                {"plans": listed, "totals": totals, "rated": rated, "failures": failed, "problems": problems}, indent=2
            )
        )
    else:
        print_table(
            {
                "search": lambda item: item[0],
                "length [s]": lambda item: f"{item[1].nsamps * item[1].tsamp:.5g}",
                "DMs": lambda item: str(item[1].ndms),
                "trials": lambda item: f"{sum(item[1].trials.values()):.3g}",
                "series": lambda item: f"{item[1].series_bytes / 2**30:.3g} GiB",
                "expected": lambda item: duration(item[1].total_seconds),
            },
            list(plans.items()),
            left=("search",),
        )
        out(
            f"{totals['searches']} searches of {duration(totals['tobs'])} of data, one after the other: about "
            f"{duration(totals['seconds'])} ({rated}); scratch space {totals['scratch_bytes'] / 2**30:.3g} GiB"
        )
        for problem in problems:
            out(f"problem     {problem}")
    for name, failure in failures:
        error(f"{name}: {failure}")
    if failures:
        raise typer.Exit(max(failure.exit_code for _, failure in failures))


def _steps(stage: Any) -> str:
    if stage.ndms < 2:
        return "-"
    low, high = f"{stage.steps[0]:.3g}", f"{stage.steps[-1]:.3g}"
    return low if low == high else f"{low}-{high}"


def print_stages(stages: Any) -> None:
    """One line for each stage of the DM plan, with the parts of the smearing at its first trial [us]."""

    def micro(part: str) -> Callable[[Any], str]:
        return lambda stage: f"{1e6 * getattr(stage.smearing, part):.0f}"

    print_table(
        {
            "DM from": lambda s: f"{s.dm_first:.2f}",
            "to": lambda s: f"{s.dm_last:.2f}",
            "step": _steps,
            "trials": lambda s: str(s.ndms),
            "downsample": lambda s: str(s.downsample),
            "tsamp [us]": lambda s: f"{1e6 * s.tsamp:.6g}",
            "channel": micro("channel"),
            "sampling": micro("sampling"),
            "step err": micro("step"),
            "arrival": micro("arrival"),
            "total [us]": micro("total"),
            "over best": lambda s: f"{s.excess:.2f}",
            "memory": lambda s: f"{s.nbytes / 2**20:.0f} MiB",
        },
        stages,
        title="DM plan (smearing in us at the first trial of the stage)",
    )


def plain(value: Any) -> Any:
    """Dataclasses, arrays and tuples as what JSON knows; lists of all DMs and frequencies are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if f.name not in ("freqs", "dms")]
        names += [name for name in ("dm_first", "dm_last", "ndms") if hasattr(value, name)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
