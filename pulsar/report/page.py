"""The report: one HTML page that needs nothing else, and the plot sheets as PNG files beside it."""

import base64
import math
import os
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pulsar.data.candidate import CANDIDATE_COLUMNS, SINGLE_PULSE_COLUMNS, Column
from pulsar.data.direction import dms, hms
from pulsar.data.header import Header
from pulsar.errors import ConfigError, PulsarError
from pulsar.io.product.provenance import software_version
from pulsar.io.product.reader import Run
from pulsar.io.product.schema import OBSERVATION_COLUMNS
from pulsar.report.pulse import plot_pulse
from pulsar.report.rfi import plot_mask
from pulsar.report.sheet import plot, png, position

#: Column of a table -> (heading, format, factor, unit in place of the stored one); the formats "hms" and "dms" are for
#: right ascensions and declinations.
_Columns = dict[str, tuple[str, str, float, str | None]]
_COLUMNS: _Columns = {
    "rank": ("rank", "d", 1, None),
    "id": ("id", "", 1, None),
    "period": ("period", ".9g", 1e3, "ms"),
    "dm": ("DM", ".5g", 1, None),
    "accel": ("accel.", ".3g", 1, None),
    "snr": ("S/N", ".1f", 1, None),
    "sigma": ("sigma", ".1f", 1, None),
    "width": ("duty", ".3f", 1, None),
    "nharm": ("harm.", "d", 1, None),
    "ndetections": ("det.", "d", 1, None),
    "beam": ("beam", "d", 1, None),
    "score": ("score", ".2f", 1, None),
    "found_by": ("found by", "", 1, None),
    "npulses": ("pulses", "d", 1, None),
    "known_source": ("known source", "", 1, None),
    "nattached": ("harmonics", "d", 1, None),
    "rfi_flags": ("suspicion", "", 1, None),
}
_PULSE_COLUMNS: _Columns = {
    "rank": ("rank", "d", 1, None),
    "id": ("id", "", 1, None),
    "time": ("time", ".4f", 1, None),
    "dm": ("DM", ".5g", 1, None),
    "width": ("width", ".3g", 1e3, "ms"),
    "snr": ("S/N", ".1f", 1, None),
    "sigma": ("sigma", ".1f", 1, None),
    "ndetections": ("det.", "d", 1, None),
    "beam": ("beam", "d", 1, None),
    "score": ("score", ".2f", 1, None),
    "source": ("pulse of", "", 1, None),
    "rfi_flags": ("suspicion", "", 1, None),
}
#: In place of the column beam, where rows are of several observations.
_PLACE: _Columns = {
    "obs": ("obs.", "d", 1, None),
    "target": ("source", "", 1, None),
    "beam": ("beam", "d", 1, None),
    "nbeams": ("beams", "d", 1, None),
    "ra_deg": ("RA", "hms", 1, "h:m:s"),
    "dec_deg": ("Dec", "dms", 1, "d:m:s"),
}
_OBSERVED: _Columns = {
    "obs": ("no.", "d", 1, None),
    "source": ("source", "", 1, None),
    "telescope": ("telescope", "", 1, None),
    "beam": ("beam", "d", 1, None),
    "ra_deg": ("RA", "hms", 1, "h:m:s"),
    "dec_deg": ("Dec", "dms", 1, "d:m:s"),
    "gl": ("l", ".4f", 1, None),
    "gb": ("b", ".4f", 1, None),
    "tstart": ("start", ".6f", 1, "MJD"),
    "tobs": ("length", ".6g", 1, None),
    "tsamp": ("sampling", ".6g", 1e6, "µs"),
    "fch1": ("highest channel", ".6g", 1, None),
    "bandwidth": ("bandwidth", ".6g", 1, None),
    "nchans": ("channels", "d", 1, None),
}
_DIRECTIONS: dict[str, Callable[[float], str]] = {"hms": hms, "dms": dms}
#: Single pulses listed of each run; the file holds all.
_MOST_PULSES = 500


def write_report(
    runs: Sequence[Run], folder: Path, *, top: int = 50, tick: Callable[[float], None] | None = None
) -> Path:
    """Write ``index.html`` and one PNG per candidate into `folder`.

    Parameters
    ----------
    runs : sequence of Run
        Products of the search; several are put into one table.
    folder : Path
        Made when missing.
    top : int
        Plot sheets for no more than the best `top` candidates of each run.
    tick : callable, optional
        Called with 1 after each sheet.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ConfigError
        The folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: the folder of the report cannot be made: {error.strerror}") from error
    names = _run_names(runs)
    rows: list[dict[str, Any]] = []
    pulses: list[dict[str, Any]] = []
    observed: list[dict[str, Any]] = []
    sheets: list[dict[str, Any]] = []
    several = len(runs) > 1
    merged = several or runs[0].is_merged
    of_candidates, of_pulses = (_with_place(c) if merged else c for c in (_COLUMNS, _PULSE_COLUMNS))
    for run, name in zip(runs, names, strict=True):
        prefix = f"{name}-" if len(runs) > 1 else ""
        drawn = set()
        own = standing(run)
        for ident in drawn_ids(run, top):
            sheets.append(_sheet(run, ident, folder, prefix))
            drawn.add(ident)
            if tick is not None:
                tick(1)
        for ident in run.pulse_ids[:top]:
            sheets.append(_pulse_sheet(run, ident, folder, prefix))
            drawn.add(ident)
            if tick is not None:
                tick(1)
        for found, columns, table in (
            (rows, of_candidates, own),
            (pulses, of_pulses, run.rows("single_pulses")[:_MOST_PULSES]),
            (observed, _OBSERVED, run.rows("observations") if merged else ()),
        ):
            for row in table:
                values = {k: row[k].item() for k in row.dtype.names}
                anchor = f"{prefix}{values['id']}" if values.get("id") in drawn else ""
                found.append(_row(values, columns, anchor, name if several else ""))
    if several:
        for found in (rows, pulses):
            found.sort(key=lambda r: -r["score"])
    title = f"{len(runs)} runs" if several else _sources(runs[0]) or names[0]
    page = _environment().from_string(Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8"))
    text = page.render(
        title=title,
        version=software_version(),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        runs=[_run(run, name) for run, name in zip(runs, names, strict=True)],
        tables=[
            {
                "id": "candidates",
                "title": "Candidates",
                "columns": _headings(of_candidates, CANDIDATE_COLUMNS, several),
                "rows": rows,
                "none": "No candidate stands above the threshold.",
            },
            {
                "id": "pulses",
                "title": "Single pulses",
                "columns": _headings(of_pulses, SINGLE_PULSE_COLUMNS, several),
                "rows": pulses,
                "none": "",
            },
            {
                "id": "observations",
                "title": "Observations",
                "columns": _headings(_OBSERVED, OBSERVATION_COLUMNS, several),
                "rows": observed,
                "none": "",
            },
        ],
        sheets=sheets,
    )
    target = folder / "index.html"
    _replace(target, text.encode())
    return target


def standing(run: Run) -> NDArray[Any]:
    """The rows of candidates that stand for themselves; what belongs to them is told by number."""
    rows = run.rows("candidates")
    own: NDArray[Any] = rows[rows["harmonic_of"] == ""]
    return own


def drawn_ids(run: Run, top: int) -> list[str]:
    """Folded candidates of a run that get a sheet."""
    own = set(standing(run)["id"].tolist())
    # Folds of given periods have no row that belongs to another.
    return [ident for ident in run.ids if ident in own][:top]


def _environment() -> Any:
    from jinja2 import Environment, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _run_names(runs: Sequence[Run]) -> list[str]:
    names: list[str] = []
    for run in runs:
        name = re.sub(r"[^A-Za-z0-9_.+-]", "_", run.path.stem)
        # Two files of one name in different folders.
        names.append(name if name not in names else f"{name}_{len(names) + 1}")
    return names


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise PulsarError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _with_place(columns: _Columns) -> _Columns:
    """The columns with source, beams and position after the id."""
    rest = {k: v for k, v in columns.items() if k not in ("rank", "id", "beam")}
    when: _Columns = {"mjd": ("MJD", ".9f", 1, "UTC")} if "time" in rest else {}
    return {"rank": columns["rank"], "id": columns["id"], **_PLACE, **when, **rest}


def _sources(run: Run) -> str:
    """Names of the sources that were observed, each once."""
    return ", ".join(dict.fromkeys(h.source for h in run.observations if h.source))


def _where(row: Mapping[str, Any], header: Header) -> str:
    """Source, beam and position of a row, as far as they are known."""
    beam = int(row.get("beam", -1))
    place = dict(position(header, row)).get("position", "")
    return ", ".join(filter(None, [header.source, f"beam {beam}" if beam >= 0 else "", place]))


def _sheet(run: Run, ident: str, folder: Path, prefix: str) -> dict[str, Any]:
    fold = run.fold(ident)
    rows = run.rows("candidates")
    row = run.candidate(ident) if ident in rows["id"] else {"id": ident}
    header = run.observation_of(row)
    image = png(plot(fold, row, header))
    period, dm = 1e3 / fold.after.freq, fold.after.dm
    numbers = f"period {period:.9g} ms, DM {dm:.5g} pc/cm³, S/N {fold.snr:.1f}"
    where = _where(row, header)
    alt = (
        f"Plot sheet of candidate {ident}: profile, time against phase, frequency against phase, DM curve, "
        f"period and derivative; {numbers}, duty cycle {fold.width:.3f}; {where}."
    )
    return _figure(image, f"{prefix}{ident}", folder, f"{numbers}; {where}", alt, "candidates")


def _pulse_sheet(run: Run, ident: str, folder: Path, prefix: str) -> dict[str, Any]:
    cutout = run.pulse(ident)
    rows = run.rows("single_pulses")
    found = rows[rows["id"] == ident]
    row = {k: found[0][k].item() for k in rows.dtype.names or ()} if len(found) else {"id": ident}
    header = run.observation_of(row)
    image = png(plot_pulse(cutout, row, header))
    where = _where(row, header)
    numbers = f"time {row['time']:.4f} s, DM {row['dm']:.5g} pc/cm³, S/N {row['snr']:.1f}; " if len(found) else ""
    alt = f"Plot sheet of single pulse {ident}: series, dynamic spectrum, DM against time; {numbers}{where}."
    return _figure(image, f"{prefix}{ident}", folder, f"{numbers}{where}", alt, "pulses")


def _figure(image: bytes, name: str, folder: Path, caption: str, alt: str, table: str) -> dict[str, Any]:
    _replace(folder / f"{name}.png", image)
    width, height = struct.unpack(">II", image[16:24])
    return {
        "anchor": name,
        "data": base64.b64encode(image).decode(),
        "width": width,
        "height": height,
        "title": name,
        "caption": caption,
        "alt": alt,
        "table": table,
    }


def _headings(columns: _Columns, known: tuple[Column, ...], several: bool) -> list[dict[str, Any]]:
    stored = {c.name: c for c in known}
    unit_of = {key: stored[key].unit if unit is None else unit for key, (_, _, _, unit) in columns.items()}
    first = [{"title": "run", "unit": "", "text": True}] if several else []
    return first + [
        {"title": title, "unit": unit_of[key], "text": form == ""} for key, (title, form, _, _) in columns.items()
    ]


def _row(values: dict[str, Any], columns: _Columns, anchor: str, run: str) -> dict[str, Any]:
    cells: list[dict[str, Any]] = []
    if run:
        cells.append({"shown": run, "sort": run, "text": True, "flag": False, "link": ""})
    for key, (_, form, factor, _) in columns.items():
        value = values[key]
        text = form == ""
        known = text or (math.isfinite(value) and not (key in ("beam", "obs") and value < 0))
        place = _DIRECTIONS.get(form)
        if text:
            shown, sort = str(value), str(value)
        elif known and place is not None:
            shown, sort = place(value), repr(value)
        elif known:
            shown = format(value if form == "d" else value * factor, form)
            sort = repr(value)
        else:
            shown, sort = "–", ""
        link = anchor if key == "id" else ""
        cells.append({"shown": shown, "sort": sort, "text": text, "flag": key == "rfi_flags", "link": link})
    score = values.get("score", 0.0)
    return {"cells": cells, "score": score if math.isfinite(score) else -1.0}


def _mask(run: Run, name: str) -> dict[str, Any] | None:
    """A small picture of what was left out, None where nothing is known of it."""
    rfi = run.rfi
    if run.observation.is_series or "mask" not in rfi or not rfi["mask"].size:
        return None
    blocks = int(rfi["block_nsamps"])
    image = png(plot_mask(run.observation, rfi["chan_mask"], rfi["mask"], rfi["chan_reasons"], blocks))
    width, height = struct.unpack(">II", image[16:24])
    channels = f"{int(rfi['chan_mask'].sum())} of {rfi['chan_mask'].size} channels"
    lost = f"{100 * rfi['masked_fraction']:.1f} % of the data, {channels}"
    return {
        "data": base64.b64encode(image).decode(),
        "width": width,
        "height": height,
        "caption": f"What was left out before the search: {lost}.",
        "alt": f"Mask of {name} over time and frequency: {lost}.",
    }


def _facts(run: Run) -> list[tuple[str, str]]:
    """What was observed; of several observations what they have in common, or from where to where they go."""
    headers = run.observations
    if not headers:
        return [("Observations", "several, merged before it was recorded which rows are of which")]

    def each(texts: Iterable[str]) -> str:
        distinct = [t for t in dict.fromkeys(texts) if t]
        return "; ".join(distinct[:4]) + (f" and {len(distinct) - 4} more" if len(distinct) > 4 else "")

    def span(values: Sequence[float], form: str) -> str:
        low, high = format(min(values), form), format(max(values), form)
        return low if low == high else f"{low} to {high}"

    beams = ", ".join(str(b) for b in sorted({h.beam for h in headers if h.beam is not None}))
    where = each(h.telescope for h in headers) or "unknown"
    facts = [("Observations", str(len(headers)))] if len(headers) > 1 else []
    facts += [
        ("Source" if len(headers) == 1 else "Sources", each(h.source for h in headers) or "unknown"),
        ("Telescope", where + (f", beam{'s' if ',' in beams else ''} {beams}" if beams else "")),
        ("Start", f"MJD {span([h.tstart for h in headers], '.6f')}"),
        ("Duration", f"{span([h.tobs for h in headers], '.6g')} s"),
        ("Sampling", each(f"{1e6 * h.tsamp:.6g} µs, {h.nbits} bit" for h in headers)),
    ]
    band = each(f"{h.freqs[-1]:.6g}–{h.freqs[0]:.6g} MHz, {h.nchans} channels" for h in headers if not h.is_series)
    if band:
        facts.append(("Band", band))
    place = position(headers[0], {})
    if len(headers) == 1 and place:
        facts.append(("Position", place[0][1]))
        facts.append(("Galactic", place[1][1]))
    return facts


def _run(run: Run, name: str) -> dict[str, Any]:
    record = run.provenance
    facts = _facts(run)
    if "masked_fraction" in run.rfi:
        facts.append(("Masked", f"{100 * run.rfi['masked_fraction']:.1f} %"))
    facts.append(("Candidates", str(len(run))))
    pulses = run.rows("single_pulses")
    if len(pulses):
        facts.append(
            ("Single pulses", f"{len(pulses)}" + (f", {_MOST_PULSES} listed" if len(pulses) > _MOST_PULSES else ""))
        )
    lines = [f"file        {run.path.name}", f"command     {' '.join(record.get('argv', []))}"]
    for key in ("start", "stop", "host", "cpu", "threads", "exit_state"):
        if key in record:
            lines.append(f"{key:<11} {record[key]}")
    lines += [f"input       {i['path']} ({i['size']} bytes)" for i in record.get("inputs", [])]
    lines += [f"version     {package} {version}" for package, version in record.get("versions", {}).items()]
    lines += [
        f"stage       {stage}: {wall:.2f} s, {cpu:.2f} s of processor"
        for stage, (wall, cpu) in record["stages"].items()
    ]
    return {
        "name": name,
        "facts": facts,
        "mask": _mask(run, name),
        "problems": list(run.problems),
        "provenance": "\n".join(lines) + "\n\n" + str(record.get("config", "")),
    }
