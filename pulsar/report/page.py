"""The report: one HTML page that needs nothing else, and the plot sheets as PNG files beside it."""

import base64
import math
import os
import re
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pulsar.data.candidate import CANDIDATE_COLUMNS, SINGLE_PULSE_COLUMNS, Column
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.io.product.provenance import software_version
from pulsar.io.product.reader import Run
from pulsar.report.pulse import plot_pulse
from pulsar.report.rfi import plot_mask
from pulsar.report.sheet import plot, png

#: Column of a table -> (heading, format, factor, unit in place of the stored one).
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
    "harmonic_of": ("harmonic of", "", 1, None),
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
    sheets: list[dict[str, Any]] = []
    for run, name in zip(runs, names, strict=True):
        prefix = f"{name}-" if len(runs) > 1 else ""
        drawn = set()
        for ident in run.ids[:top]:
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
            (rows, _COLUMNS, run.rows("candidates")),
            (pulses, _PULSE_COLUMNS, run.rows("single_pulses")[:_MOST_PULSES]),
        ):
            for row in table:
                anchor = f"{prefix}{row['id']}" if str(row["id"]) in drawn else ""
                values = {k: row[k].item() for k in row.dtype.names}
                found.append(_row(values, columns, anchor, name if len(runs) > 1 else ""))
    if len(runs) > 1:
        for found in (rows, pulses):
            found.sort(key=lambda r: -r["score"])
    title = runs[0].observation.source or names[0] if len(runs) == 1 else f"{len(runs)} runs"
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
                "columns": _headings(_COLUMNS, CANDIDATE_COLUMNS, len(runs) > 1),
                "rows": rows,
                "none": "No candidate stands above the threshold.",
            },
            {
                "id": "pulses",
                "title": "Single pulses",
                "columns": _headings(_PULSE_COLUMNS, SINGLE_PULSE_COLUMNS, len(runs) > 1),
                "rows": pulses,
                "none": "",
            },
        ],
        sheets=sheets,
    )
    target = folder / "index.html"
    _replace(target, text.encode())
    return target


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
    temporary.write_bytes(data)
    temporary.replace(path)


def _sheet(run: Run, ident: str, folder: Path, prefix: str) -> dict[str, Any]:
    fold = run.fold(ident)
    rows = run.rows("candidates")
    row = run.candidate(ident) if ident in rows["id"] else {"id": ident}
    header: Header = run.observation
    image = png(plot(fold, row, header))
    period, dm = 1e3 / fold.after.freq, fold.after.dm
    numbers = f"period {period:.9g} ms, DM {dm:.5g} pc/cm³, S/N {fold.snr:.1f}"
    alt = (
        f"Plot sheet of candidate {ident}: profile, time against phase, frequency against phase, DM curve, "
        f"period and derivative; {numbers}, duty cycle {fold.width:.3f}."
    )
    return _figure(image, f"{prefix}{ident}", folder, numbers, alt, "candidates")


def _pulse_sheet(run: Run, ident: str, folder: Path, prefix: str) -> dict[str, Any]:
    cutout = run.pulse(ident)
    rows = run.rows("single_pulses")
    found = rows[rows["id"] == ident]
    row = {k: found[0][k].item() for k in rows.dtype.names or ()} if len(found) else {"id": ident}
    image = png(plot_pulse(cutout, row, run.observation))
    numbers = f"time {row['time']:.4f} s, DM {row['dm']:.5g} pc/cm³, S/N {row['snr']:.1f}" if len(found) else ""
    alt = f"Plot sheet of single pulse {ident}: series, dynamic spectrum, DM against time; {numbers}."
    return _figure(image, f"{prefix}{ident}", folder, numbers, alt, "pulses")


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
    first = [{"title": "run", "unit": "", "text": True}] if several else []
    return first + [
        {"title": title, "unit": stored[key].unit if unit is None else unit, "text": form == ""}
        for key, (title, form, _, unit) in columns.items()
    ]


def _row(values: dict[str, Any], columns: _Columns, anchor: str, run: str) -> dict[str, Any]:
    cells: list[dict[str, Any]] = []
    if run:
        cells.append({"shown": run, "sort": run, "text": True, "flag": False, "link": ""})
    for key, (_, form, factor, _) in columns.items():
        value = values[key]
        text = form == ""
        known = text or (math.isfinite(value) and not (key == "beam" and value < 0))
        if text:
            shown, sort = str(value), str(value)
        elif known:
            shown = format(value if form == "d" else value * factor, form)
            sort = repr(value)
        else:
            shown, sort = "–", ""
        link = anchor if key == "id" else ""
        cells.append({"shown": shown, "sort": sort, "text": text, "flag": key == "rfi_flags", "link": link})
    score = values["score"]
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


def _run(run: Run, name: str) -> dict[str, Any]:
    header = run.observation
    record = run.provenance
    facts = [
        ("Source", header.source or "unknown"),
        ("Telescope", (header.telescope or "unknown") + (f", beam {header.beam}" if header.beam is not None else "")),
        ("Start", f"MJD {header.tstart:.6f}"),
        ("Duration", f"{header.tobs:.6g} s"),
        ("Sampling", f"{1e6 * header.tsamp:.6g} µs, {header.nbits} bit"),
    ]
    if not header.is_series:
        facts.append(("Band", f"{header.freqs[-1]:.6g}–{header.freqs[0]:.6g} MHz, {header.nchans} channels"))
    if math.isfinite(header.ra_deg) and math.isfinite(header.dec_deg):
        facts.append(("Position", f"{header.ra_deg:.5f}° {header.dec_deg:+.5f}°"))
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
