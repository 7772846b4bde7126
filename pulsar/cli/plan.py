"""Before a search: what is in files (``pulsar info``), its course and its cost (``pulsar plan``)."""

import math
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulsar.cli.console import check_picture, end_of_many, facts, out, print_json
from pulsar.cli.options import Files, Folders, Json, Overwrite, argument, option, options, orbital_period
from pulsar.cli.tables import Columns, print_table
from pulsar.config.model import Config
from pulsar.data.direction import dms, hms
from pulsar.data.text import counted, duration
from pulsar.errors import ConfigError
from pulsar.io.base import parse_name
from pulsar.io.night import examine, scan, several_pointings
from pulsar.io.open import open_observation
from pulsar.sky.barycentre import motion_of
from pulsar.sky.catalogue import BEAM_WIDTHS, beam_width, nearby, read_catalogue

if TYPE_CHECKING:
    from pulsar.data.header import Header
    from pulsar.orbits.bank import OrbitRange


#: Gaps, and known pulsars, that are printed at most.
MOST_GAPS, MOST_KNOWN = 10, 20


@options("position", "catalogue")
def info(files: Files, *, settings: Config, as_json: Json = False) -> None:
    """Show what is in files: header, duration, gaps, beam, problems; or in folders: sources, dates, beams, files."""
    if several_pointings(files):
        _pointings(files, settings, as_json)
        return

    with open_observation(*files, config=settings.input) as obs:
        if as_json:
            print_json(summary(obs))
            return
        _print_observation(obs)
        if settings.known.catalogue:
            _known(obs.header, settings)


def _pointings(files: Any, settings: Config, as_json: bool) -> None:
    """Folders: sources, dates, and a matrix of beams by files; gaps and problems inside each."""
    night = scan(files, settings.input)
    inside = {p: examine(p, settings.input) for p in night.pointings}
    if as_json:
        pointings = [
            {
                **{name: getattr(p, name) for name in ("name", "source", "date", "beam")},
                "tstart": obs.header.tstart,
                "tobs": obs.header.tobs,
                "files": [str(f) for f in p.paths],
                "missing": list(p.missing),
                "gaps": _gaps(obs),
                "problems": list(obs.problems),
            }
            for p, obs in inside.items()
        ]
        print_json({"pointings": pointings, "problems": night.problems})
        return
    for (source, date, _), group in night.groups().items():
        h = inside[group[0]].header
        polarisation = f", {h.pol_type}" if h.pol_type else ""
        out(
            f"{source or 'unnamed'}, {date or 'undated'}: {counted(len(group), 'beams')}, "
            f"{h.nchans} channels, {_band(h)}, {1e6 * h.tsamp:.6g} us, {h.nbits} bit{polarisation}{utc(h.tstart)}"
        )
        for p in group:
            out(f"  {'beam ' + format(p.beam, '02d') if p.beam is not None else 'no beam'}  {_row(p, inside[p])}")
        unseen = sorted(set(range(1, 20)) - {p.beam for p in group}) if len(group) > 1 else []
        if unseen and h.nbeams == 19:
            out(f"  not observed: beams {', '.join(map(str, unseen))}")
    # What all beams of a source have in common is told once.
    names_of: dict[str, list[str]] = {}
    for p, obs in inside.items():
        for problem in obs.problems:
            names_of.setdefault(problem, []).append(p.name)
    common = [
        f"{', '.join(names) if len(names) < 4 else f'{len(names)} pointings'}: {problem}"
        for problem, names in names_of.items()
    ]
    facts({"problem": [*common, *night.problems]})


def _row(pointing: Any, obs: Any) -> str:
    """One beam: a mark for every file, a hole for each that is missing, their number and time, and the gaps."""
    numbers = {parse_name(path).sequence for path in pointing.paths}
    count = len(pointing.paths)
    text = f"{counted(count, 'files')}, {obs.header.tobs:.5g} s"
    if obs.gaps:
        lost = sum(gap.nsamps for gap in obs.gaps) * obs.header.tsamp
        text += f", {counted(len(obs.gaps), 'gaps')} of {lost:.4g} s"
    known = sorted(n for n in numbers if n is not None)
    if len(known) != count or not known:
        return text
    marks = "".join("#" if n in numbers else "." for n in range(1, known[-1] + 1))
    return f"{marks if len(marks) <= 80 else marks[:77] + '...'}  {text}"


def _gaps(obs: Any) -> list[dict[str, Any]]:
    return [{"start": gap.start, "nsamps": gap.nsamps, "reason": gap.reason} for gap in obs.gaps]


def summary(obs: Any) -> dict[str, Any]:
    """Header, files, gaps and problems as plain values."""
    header = obs.header
    voverc, change = motion(header)
    return {
        **{key: value for key, value in asdict(header).items() if key != "freq_table"},
        **{name: getattr(header, name) for name in ("tobs", "tmid", "bandwidth", "fcenter")},
        "voverc": voverc,
        "voverc_change": change,
        "band_low": header.edges[0],
        "band_high": header.edges[1],
        "freq_high": float(header.freqs[0]),
        "freq_low": float(header.freqs[-1]),
        "channels_alive": int(obs.chan_ok.sum()),
        "files": [
            {"path": str(f.path), "start": f.start, "nsamps": f.nsamps, "size": f.size, "mtime": f.mtime}
            for f in obs.files
        ],
        "gaps": _gaps(obs),
        "problems": list(obs.problems),
        "remarks": list(obs.remarks),
    }


def _band(header: "Header") -> str:
    """The band from edge to edge."""
    low, high = header.edges
    return f"{low:.6g} to {high:.6g} MHz (edges)"


def _print_observation(obs: Any) -> None:
    h = obs.header
    alive = int(obs.chan_ok.sum())
    size = sum(f.size for f in obs.files)
    machine = f", {h.machine}" if h.machine not in ("", "0") else ""
    beam = "" if h.beam is None else f", beam {h.beam}" + (f" of {h.nbeams}" if h.nbeams else "")
    polarisations = counted(h.nifs, "polarisations") + (f" ({h.pol_type})" if h.pol_type else "")
    series = f"dedispersed to DM {h.dm:g}" if math.isfinite(h.dm) else "dedispersed to several DMs"
    dead = f", {h.nchans - alive} dead" if alive < h.nchans else ""
    facts(
        {
            "source": h.source or "unknown",
            "telescope": (h.telescope or "unknown") + machine + beam,
            "position": _position(h),
            "format": f"{h.format}, {h.nbits} bit, {polarisations}",
            "motion": _motion(h),
            "start": f"MJD {h.tstart:.9f}{utc(h.tstart)}",
            "duration": f"{h.tobs:.6g} s, {h.nsamps} samples of {1e6 * h.tsamp:.6g} us",
            "series": series if h.is_series else "",
            "band": "" if h.is_series else f"{_band(h)}, {h.nchans} channels of {h.chan_width:.6g} MHz{dead}",
            "dedispersed": f"to DM {h.dm:g} within channels" if h.dm and not h.is_series else "",
            "files": f"{len(obs.files)}, " + (f"{size / 1e9:.4g} GB" if size >= 1e8 else f"{size / 1e6:.4g} MB"),
            "gaps": f"{len(obs.gaps)}, {sum(g.nsamps for g in obs.gaps) * h.tsamp:.4g} s" if obs.gaps else "none",
        }
    )
    for gap in obs.gaps[:MOST_GAPS]:
        out(f"  gap at {gap.start * h.tsamp:.6g} s, {gap.nsamps * h.tsamp:.4g} s: {gap.reason}")
    if len(obs.gaps) > MOST_GAPS:
        out(f"  ... and {len(obs.gaps) - MOST_GAPS} more (--json lists all)")
    facts({"remark": obs.remarks, "problem": obs.problems})


def _position(header: "Header") -> str:
    ra, dec = header.ra_deg, header.dec_deg
    if not (math.isfinite(ra) and math.isfinite(dec)):
        return "unknown"
    return f"{hms(ra, 2)} {dms(dec, 2)} ({ra:.5f} {dec:+.5f} deg)"


def _motion(header: "Header") -> str:
    """The velocity of the telescope at mid-observation, and its change; "" where it is unknown."""
    voverc, change = motion(header)
    if voverc is None or header.barycentric:
        return ""
    return f"v/c {voverc:+.6e} away from the source at mid-observation, changes by {change:+.3e} from start to end"


def motion(header: "Header") -> tuple[float | None, float | None]:
    """Velocity of the telescope away from the source over that of light, and its change over the observation."""
    moves = motion_of(header)
    return (None, None) if moves is None else (moves.voverc, moves.rate * header.tobs)


def _known(header: "Header", settings: Config) -> None:
    """Known pulsars in the beam, or how they would be known."""
    ra, dec = header.ra_deg, header.dec_deg
    radius = settings.known.radius or BEAM_WIDTHS * beam_width(header)
    if not (math.isfinite(radius) and math.isfinite(ra) and math.isfinite(dec)):
        out("known       neither beam nor position are known: give --ra, --dec and --set known.radius=DEG")
        return
    pulsars = nearby(read_catalogue(settings.known.catalogue), ra, dec, radius)
    out(f"known       {len(pulsars)} pulsars within {radius:.3g} deg")
    for pulsar in pulsars[:MOST_KNOWN]:
        out(f"  {pulsar.name}, P {1 / pulsar.freq:.9g} s, DM {pulsar.dm:.5g}")


def utc(mjd: float) -> str:
    """The date of an MJD (UTC) as " (2021-03-04 05:06:07 UTC)", "" when it is unknown."""
    if not 0 < mjd < 2_000_000:
        return ""
    when = datetime(1858, 11, 17, tzinfo=UTC) + timedelta(seconds=round(mjd * 86400))
    return f" ({when:%Y-%m-%d %H:%M:%S} UTC)"


@options("dm", "searches", "subtract", "ncands", "threads", "memory")
def plan(
    files: Annotated[
        list[Path] | None, argument("FILE...", "Files of one observation, in any format that is read.")
    ] = None,
    survey: Annotated[
        Path | None,
        option("Instead of files: what a survey takes (beams, hours, band, search, nodes).", "FILE.toml"),
    ] = None,
    *,
    settings: Config,
    pieces: Folders,
    companion: Annotated[
        float | None, option("With --orbit: what pulsars with a companion of this mass need [M_sun].", "M")
    ] = None,
    orbit: Annotated[str | None, option("With --companion: orbital period, such as 8h or 0.35d [s].", "P")] = None,
    plot: Annotated[Path | None, option("Draw the DM plan: smearing and steps over DM.", "PNG")] = None,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Show the DM plan with its smearing, the number of trials, memory, scratch space and expected time."""
    if (survey is None) == (not files):
        raise typer.BadParameter("give the files of an observation, or --survey FILE.toml", param_hint="FILE...")
    check_picture(plot, overwrite=overwrite)
    if (companion is None) != (orbit is None):
        raise typer.BadParameter("give both, --companion M and --orbit P", param_hint="--companion")

    files = files or []
    many = survey is not None or pieces.given or several_pointings(files)
    if plot is not None and many:
        raise typer.BadParameter("draws the plan of one observation: give its files", param_hint="--plot")
    if companion is not None and many:
        raise typer.BadParameter("is for one observation: give its files", param_hint="--companion")
    if survey is not None:
        _survey(survey, as_json)
    elif many:
        _night(files, settings, pieces, as_json)
    else:
        pair = None if companion is None or orbit is None else (companion, orbital_period(orbit, "--orbit"))
        _observation(files, settings, pair, plot, as_json)


def _observation(
    files: list[Path], settings: Config, pair: tuple[float, float] | None, plot: Path | None, as_json: bool
) -> None:
    """The plan of one observation, and what pulsars with a companion of a mass in an orbit of a period need in it."""
    from pulsar.pipeline.plan import dry_run

    with open_observation(*files, config=settings.input) as obs:
        run_plan = dry_run(obs, settings)
        needed = None
        if pair is not None:
            from pulsar.orbits.bank import orbit_range  # which loads numba

            needed = orbit_range(obs.header.tobs, *pair, settings.accel)
    if plot is not None:
        _draw(run_plan, obs.header, plot)
    if as_json:
        print_json(
            {**without_lists(run_plan), **({} if needed is None else {"orbit": asdict(needed)})}, ascii_only=True
        )
        return
    if run_plan.dm is not None:
        print_table(STAGE, run_plan.dm.stages, title="DM plan (smearing in us at the first trial of the stage)")
    for line in run_plan.summary():
        out(line)
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in run_plan.seconds.items())
    out(f"expected {run_plan.rated}: {stages}")
    if needed is not None:
        _print_orbit(needed, obs.header.tobs)


def _print_orbit(needed: "OrbitRange", tobs: float) -> None:
    """What an orbit needs."""
    length = tobs / needed.parts
    parts = f" --parts {needed.parts}" if needed.parts > 1 else ""
    advice = f"--accel-max {needed.accel:.3g}{parts}"
    if not needed.searchable:
        advice = (
            f"{needed.parts} parts are too many: --porb and --companion of `pulsar orbits`, if the data hold orbits"
        )
    facts(
        {
            "orbit": f"a/c {needed.size:.4g} s, up to {needed.accel:.3g} m/s2 and {needed.jerk:.3g} m/s3 "
            "(circular, seen from its edge, pulsar of 1.4 M_sun)",
            "parts": f"{needed.parts} of {length:.4g} s, {needed.share:.2g} of the orbit each (at most 0.1), of up to "
            f"{needed.z:.3g} bins of drift z and {needed.w:.3g} of its change w at {needed.freq:.4g} Hz; k times that "
            "at harmonic k",
            "needs": advice,
        }
    )


def _draw(run_plan: Any, header: "Header", path: Path) -> None:
    """The picture of a DM plan."""
    from pulsar.report import figure, plots

    if run_plan.dm is None:
        raise ConfigError("--plot: a dedispersed series has no DM plan")
    figure.save(plots.plot_plan(run_plan.dm, header), path)


def _survey(path: Path, as_json: bool) -> None:
    """The cores, memory and storage that a survey takes."""
    from pulsar.followup.survey import load_survey, plan_survey

    survey = load_survey(path)
    plan = plan_survey(survey)
    observing, band, machine = survey.observing, survey.band, survey.machine
    if as_json:
        totals = {"core_hours": plan.core_hours, "bottleneck": plan.bottleneck, "keeps_up": plan.keeps_up}
        print_json({**without_lists(plan), **totals}, ascii_only=True)
        return
    out(
        f"{survey.name}: {counted(observing.beams, 'beams')}, {observing.hours:g} h of "
        f"{band.nchans} channels, {1e6 * band.tsamp:g} us, {band.nbits} bit"
    )
    stages = ", ".join(f"{name} {seconds:.3g}" for name, seconds in plan.cpu.items())
    threads = counted(plan.plan.threads, "threads")
    pace = plan.keeps_up
    behind = f"{1.0 / pace - 1.0:.3g} days behind after each"
    verdict = behind if pace < 1.0 else f"it keeps up, {pace:.2f} times as fast"
    facts(
        {
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
            "verdict": f"a day of observing is searched in {duration(86400.0 / pace)}: {verdict} "
            f"(bound by {plan.bottleneck}; times {plan.rated})",
        },
        width=13,
    )


def _night(files: list[Path], settings: Any, pieces: Folders, as_json: bool) -> None:
    """Folders, or many files: a line for each search that `pulsar search` would make of them, and the totals."""
    from pulsar.nights.night import jobs, plan_jobs

    night = scan(files, settings.input)
    todo = jobs(night, settings, Path("pulsar-night"), **pieces.wanted())
    plans, failures = plan_jobs(todo)
    rated = next((p.rated for p in plans.values()), "")
    totals: dict[str, float] = {
        "searches": len(plans),
        "tobs": sum(p.nsamps * p.tsamp for p in plans.values()),
        "series_bytes": sum(p.series_bytes for p in plans.values()),
        "scratch_bytes": max((p.scratch_bytes for p in plans.values()), default=0),
        "seconds": sum(p.total_seconds for p in plans.values()),
    }
    if as_json:
        listed = [{"name": name, **without_lists(p)} for name, p in plans.items()]
        failed = [{"name": name, "problem": str(failure)} for name, failure in failures]
        record = {"plans": listed, "totals": totals, "rated": rated, "failures": failed, "problems": night.problems}
        print_json(record, ascii_only=True)
    else:
        print_table(SEARCH, plans.items(), left=("search",))
        out(
            f"{totals['searches']} searches of {duration(totals['tobs'])} of data, one after the other: about "
            f"{duration(totals['seconds'])} ({rated}); scratch space {totals['scratch_bytes'] / 2**30:.3g} GiB"
        )
        facts({"problem": night.problems})
    end_of_many(failures)


def _steps(stage: Any) -> str:
    if stage.ndms < 2:
        return "-"
    low, high = f"{stage.steps[0]:.3g}", f"{stage.steps[-1]:.3g}"
    return low if low == high else f"{low}-{high}"


def _micro(part: str) -> Callable[[Any], str]:
    """A part of the smearing at the first trial of a stage [us]."""
    return lambda stage: f"{1e6 * getattr(stage.smearing, part):.0f}"


#: Of a stage of the DM plan.
STAGE: Columns = {
    "DM from": "{0.dm_first:.2f}",
    "to": "{0.dm_last:.2f}",
    "step": _steps,
    "trials": "{0.ndms}",
    "downsample": "{0.downsample}",
    "tsamp [us]": lambda s: f"{1e6 * s.tsamp:.6g}",
    "channel": _micro("channel"),
    "sampling": _micro("sampling"),
    "step err": _micro("step"),
    "arrival": _micro("arrival"),
    "total [us]": _micro("total"),
    "over best": "{0.excess:.2f}",
    "memory": lambda s: f"{s.nbytes / 2**20:.0f} MiB",
}
#: Of a search of a night: its name and its plan.
SEARCH: Columns = {
    "search": "{0[0]}",
    "length [s]": lambda item: f"{item[1].nsamps * item[1].tsamp:.5g}",
    "DMs": "{0[1].ndms}",
    "trials": lambda item: f"{sum(item[1].trials.values()):.3g}",
    "series": lambda item: f"{item[1].series_bytes / 2**30:.3g} GiB",
    "expected": lambda item: duration(item[1].total_seconds),
}


def without_lists(value: Any) -> Any:
    """Dataclasses as dicts, within others too; lists of all DMs and frequencies are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if f.name not in ("freqs", "dms", "costs")]
        names += [name for name in ("dm_first", "dm_last", "ndms") if hasattr(value, name)]
        return {name: without_lists(getattr(value, name)) for name in names}
    if isinstance(value, tuple | list):
        return [without_lists(inner) for inner in value]
    if isinstance(value, dict):
        return {key: without_lists(inner) for key, inner in value.items()}
    return value
