"""``pulsar info``: what is in the files."""

import json
import math
from typing import Any

from pulsar.cli.console import out
from pulsar.cli.options import RA, Catalogue, Debug, Dec, Files, Json, Preset, Sets, effective_config, position


def command(
    files: Files,
    config: Preset = None,
    sets: Sets = None,
    ra: RA = None,
    dec: Dec = None,
    catalogue: Catalogue = None,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Show what is in files: header, duration, gaps, beam, problems; or in folders: sources, dates, beams, files."""
    settings = effective_config(config, sets, known__catalogue=catalogue, **position(ra, dec))
    from pulsar.io.night import several_pointings

    if several_pointings(files):
        _night(files, settings, as_json)
        return
    from pulsar.io.open import open_observation

    obs = open_observation(*files, config=settings.input)
    try:
        if as_json:
            out(json.dumps(summary(obs), indent=2, ensure_ascii=False))
        else:
            _print(obs)
            _known(obs, settings)
    finally:
        obs.close()


def _night(files: Any, settings: Any, as_json: bool) -> None:
    """Folders: sources, dates, and a matrix of beams by files; gaps and problems inside each."""
    from pulsar.io.night import examine, scan
    from pulsar.nights.night import unmatched_pointings

    night = scan(files, settings.input)
    inside = {p: examine(p, settings.input) for p in night.pointings}
    problems = [*night.problems, *unmatched_pointings(night, settings)]
    if as_json:
        pointings = [
            {
                "name": p.name,
                "source": p.source,
                "date": p.date,
                "beam": p.beam,
                "tstart": _plain(found.header.tstart),
                "tobs": found.header.tobs,
                "files": [str(f) for f in p.paths],
                "missing": list(p.missing),
                "gaps": [{"start": g.start, "nsamps": g.nsamps, "reason": g.reason} for g in found.gaps],
                "problems": list(found.problems),
            }
            for p, found in inside.items()
        ]
        out(json.dumps({"pointings": pointings, "problems": problems}, indent=2, ensure_ascii=False))
        return
    for (source, date, _), group in night.groups().items():
        h = inside[group[0]].header
        title = f"{source or 'unnamed'}, {date or 'undated'}: {len(group)} beam{'s' if len(group) > 1 else ''}, "
        out(
            f"{title}{h.nchans} channels, {_band(h)}, {1e6 * h.tsamp:.6g} us, "
            f"{h.nbits} bit" + (f", {h.pol_type}" if h.pol_type else "") + utc(h.tstart)
        )
        for p in group:
            out(f"  {'beam ' + format(p.beam, '02d') if p.beam is not None else 'no beam'}  {_row(p, inside[p])}")
        unseen = sorted(set(range(1, 20)) - {p.beam for p in group}) if len(group) > 1 else []
        if unseen and h.nbeams == 19:
            out(f"  not observed: beams {', '.join(map(str, unseen))}")
    # What all beams of a source have in common is told once.
    told: dict[str, list[str]] = {}
    for p, found in inside.items():
        for problem in found.problems:
            told.setdefault(problem, []).append(p.name)
    for problem, names in told.items():
        out(f"problem     {', '.join(names) if len(names) < 4 else f'{len(names)} pointings'}: {problem}")
    for problem in problems:
        out(f"problem     {problem}")


def _row(pointing: Any, found: Any) -> str:
    """One beam: a mark for every file, a hole for each that is missing, their number and time, and the gaps."""
    from pulsar.io.fast import parse_name

    numbers = {parse_name(path).sequence for path in pointing.paths}
    count = len(pointing.paths)
    told = f"{count} file{'s' if count > 1 else ''}, {found.header.tobs:.5g} s"
    if found.gaps:
        lost = sum(gap.nsamps for gap in found.gaps) * found.header.tsamp
        told += f", {len(found.gaps)} gap{'s' if len(found.gaps) > 1 else ''} of {lost:.4g} s"
    known = sorted(n for n in numbers if n is not None)
    if len(known) != count or not known:
        return told
    marks = "".join("#" if n in numbers else "." for n in range(1, known[-1] + 1))
    return f"{marks if len(marks) <= 80 else marks[:77] + '...'}  {told}"


def summary(obs: Any) -> dict[str, Any]:
    """Header, files, gaps and problems as plain values; what is unknown is None."""
    from dataclasses import asdict

    header = obs.header
    fields = {k: _plain(v) for k, v in asdict(header).items() if k != "freq_table"}
    derived = {
        "tobs": header.tobs,
        "tmid": header.tmid,
        "bandwidth": header.bandwidth,
        "fcenter": header.fcenter,
        "band_low": header.edges[0],
        "band_high": header.edges[1],
        "freq_high": float(header.freqs[0]),
        "freq_low": float(header.freqs[-1]),
        "channels_alive": int(obs.chan_ok.sum()),
    }
    return {
        **fields,
        **{k: _plain(v) for k, v in derived.items()},
        "files": [
            {"path": str(f.path), "start": f.start, "nsamps": f.nsamps, "size": f.size, "mtime": f.mtime}
            for f in obs.files
        ],
        "gaps": [{"start": g.start, "nsamps": g.nsamps, "reason": g.reason} for g in obs.gaps],
        "problems": list(obs.problems),
        "remarks": list(obs.remarks),
    }


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _band(header: Any) -> str:
    """The band from edge to edge."""
    low, high = header.edges
    return f"{low:.6g} to {high:.6g} MHz (edges)"


def _print(obs: Any) -> None:
    h = obs.header
    lost = sum(g.nsamps for g in obs.gaps)
    where = "unknown"
    if math.isfinite(h.ra_deg) and math.isfinite(h.dec_deg):
        where = (
            f"{sexagesimal(h.ra_deg / 15)} {sexagesimal(h.dec_deg, sign=True)} ({h.ra_deg:.5f} {h.dec_deg:+.5f} deg)"
        )
    beam = "" if h.beam is None else f", beam {h.beam}" + (f" of {h.nbeams}" if h.nbeams else "")
    lines = {
        "source": h.source or "unknown",
        "telescope": (h.telescope or "unknown") + (f", {h.machine}" if h.machine not in ("", "0") else "") + beam,
        "position": where,
        "format": f"{h.format}, {h.nbits} bit, {h.nifs} polarisation{'s' if h.nifs > 1 else ''}"
        + (f" ({h.pol_type})" if h.pol_type else ""),
        "start": f"MJD {h.tstart:.9f}{utc(h.tstart)}",
        "duration": f"{h.tobs:.6g} s, {h.nsamps} samples of {1e6 * h.tsamp:.6g} us",
    }
    if h.is_series:
        lines["series"] = f"dedispersed to DM {h.dm:g}" if math.isfinite(h.dm) else "dedispersed to several DMs"
    else:
        alive = int(obs.chan_ok.sum())
        lines["band"] = f"{_band(h)}, {h.nchans} channels of {h.chan_width:.6g} MHz" + (
            f", {h.nchans - alive} dead" if alive < h.nchans else ""
        )
        if h.dm:
            lines["dedispersed"] = f"to DM {h.dm:g} within channels"
    size = sum(f.size for f in obs.files)
    lines["files"] = (
        f"{len(obs.files)}, {size / 1e9:.4g} GB" if size >= 1e8 else f"{len(obs.files)}, {size / 1e6:.4g} MB"
    )
    lines["gaps"] = f"{len(obs.gaps)}, {lost * h.tsamp:.4g} s" if obs.gaps else "none"
    for key, text in lines.items():
        out(f"{key:<11} {text}")
    for gap in obs.gaps[:10]:
        out(f"  gap at {gap.start * h.tsamp:.6g} s, {gap.nsamps * h.tsamp:.4g} s: {gap.reason}")
    if len(obs.gaps) > 10:
        out(f"  ... and {len(obs.gaps) - 10} more (--json lists all)")
    for remark in obs.remarks:
        out(f"remark      {remark}")
    for problem in obs.problems:
        out(f"problem     {problem}")


def _known(obs: Any, settings: Any) -> None:
    """Known pulsars in the beam, or how they would be known."""
    if not settings.known.catalogue:
        return
    from pulsar.sky.catalogue import BEAM_WIDTHS, beam_width, nearby, read_catalogue

    h = obs.header
    radius = settings.known.radius or BEAM_WIDTHS * beam_width(h)
    if not (math.isfinite(radius) and math.isfinite(h.ra_deg) and math.isfinite(h.dec_deg)):
        out("known       neither beam nor position are known: give --ra, --dec and --set known.radius=DEG")
        return
    found = nearby(read_catalogue(settings.known.catalogue), h.ra_deg, h.dec_deg, radius)
    out(f"known       {len(found)} pulsars within {radius:.3g} deg")
    for pulsar in found[:20]:
        out(f"  {pulsar.name}, P {1 / pulsar.freq:.9g} s, DM {pulsar.dm:.5g}")


def sexagesimal(value: float, sign: bool = False) -> str:
    """hh:mm:ss.ss or +dd:mm:ss.ss."""
    total = round(abs(value) * 360000)
    whole, hundredths = divmod(total, 100)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    prefix = ("-" if value < 0 else "+") if sign else ""
    return f"{prefix}{hours:02d}:{minutes:02d}:{seconds:02d}.{hundredths:02d}"


def utc(mjd: float) -> str:
    """The date of an MJD (UTC) as " (2021-03-04 05:06:07 UTC)", "" when it is unknown."""
    from datetime import UTC, datetime, timedelta

    if not 0 < mjd < 2_000_000:
        return ""
    when = datetime(1858, 11, 17, tzinfo=UTC) + timedelta(seconds=round(mjd * 86400))
    return f" ({when:%Y-%m-%d %H:%M:%S} UTC)"
