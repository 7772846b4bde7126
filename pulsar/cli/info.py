"""``pulsar info``: headers, gaps and problems of files and folders."""

import math
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pulsar.cli.console import facts, out, print_json
from pulsar.cli.options import Debug, Files, Given, Json, options
from pulsar.data.direction import dms, hms
from pulsar.io.base import parse_name
from pulsar.io.night import examine, scan, several_pointings
from pulsar.io.open import open_observation
from pulsar.nights.pointings import unmatched_pointings
from pulsar.sky.barycentre import motion_of
from pulsar.sky.catalogue import BEAM_WIDTHS, beam_width, nearby, read_catalogue

if TYPE_CHECKING:
    from pulsar.config.model import Config
    from pulsar.data.header import Header

#: Gaps, and known pulsars, that are printed at most.
MOST_GAPS, MOST_KNOWN = 10, 20


@options("position", "catalogue")
def command(files: Files, *, given: Given, as_json: Json = False, _debug: Debug = False) -> None:
    """Show what is in files: header, duration, gaps, beam, problems; or in folders: sources, dates, beams, files."""
    settings = given.config()

    if several_pointings(files):
        _night(files, settings, as_json)
        return

    with open_observation(*files, config=settings.input) as obs:
        if as_json:
            print_json(summary(obs))
            return
        _print(obs)
        if settings.known.catalogue:
            _known(obs.header, settings)


def _night(files: Any, settings: "Config", as_json: bool) -> None:
    """Folders: sources, dates, and a matrix of beams by files; gaps and problems inside each."""
    night = scan(files, settings.input)
    inside = {p: examine(p, settings.input) for p in night.pointings}
    problems = [*night.problems, *unmatched_pointings(night, settings)]
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
        print_json({"pointings": pointings, "problems": problems})
        return
    for (source, date, _), group in night.groups().items():
        h = inside[group[0]].header
        polarisation = f", {h.pol_type}" if h.pol_type else ""
        out(
            f"{source or 'unnamed'}, {date or 'undated'}: {len(group)} beam{'s' if len(group) > 1 else ''}, "
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
    facts({"problem": [*common, *problems]})


def _row(pointing: Any, obs: Any) -> str:
    """One beam: a mark for every file, a hole for each that is missing, their number and time, and the gaps."""
    numbers = {parse_name(path).sequence for path in pointing.paths}
    count = len(pointing.paths)
    text = f"{count} file{'s' if count > 1 else ''}, {obs.header.tobs:.5g} s"
    if obs.gaps:
        lost = sum(gap.nsamps for gap in obs.gaps) * obs.header.tsamp
        text += f", {len(obs.gaps)} gap{'s' if len(obs.gaps) > 1 else ''} of {lost:.4g} s"
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


def _print(obs: Any) -> None:
    h = obs.header
    alive = int(obs.chan_ok.sum())
    size = sum(f.size for f in obs.files)
    machine = f", {h.machine}" if h.machine not in ("", "0") else ""
    beam = "" if h.beam is None else f", beam {h.beam}" + (f" of {h.nbeams}" if h.nbeams else "")
    polarisations = f"{h.nifs} polarisation{'s' if h.nifs > 1 else ''}" + (f" ({h.pol_type})" if h.pol_type else "")
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


def _known(header: "Header", settings: "Config") -> None:
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
