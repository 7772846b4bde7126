"""The report: a page that opens from disk and needs nothing from outside, with a plot sheet for each row."""

import base64
import contextlib
import hashlib
import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.flags import FLAGS
from pulsar.data.folders import Folder
from pulsar.data.header import Header
from pulsar.data.text import printable
from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError, PulsarError
from pulsar.io.labels import Labels, uid_of
from pulsar.io.product.provenance import software_version
from pulsar.io.product.reader import Run
from pulsar.report.drawn import Drawn, Task, draw_all, size_of
from pulsar.report.rows import fields, headings
from pulsar.report.summary import sources, summary
from pulsar.report.words import position

#: Single pulses listed of each run; the file holds all.
MOST_PULSES: Final = 5000
#: Folder of the sheets, beside the page.
SHEETS: Final = "sheets"
#: In the order in which they are run.
_SCRIPTS: Final = ("table.js", "maps.js", "page.js")
_TITLES: Final = {"candidates": "Candidates", "pulses": "Single pulses", "observations": "Observations"}


@dataclass
class _Content:
    """What the page shows, as it is gathered."""

    names: list[str]
    merged: bool
    labels: Labels = field(default_factory=Labels)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in _TITLES})
    images: dict[str, str] = field(default_factory=dict)

    @property
    def several(self) -> bool:
        """Whether there are several runs, so that each row has to say of which it is."""
        return len(self.names) > 1

    def key(self, task: Task) -> str:
        """Name of a row in the page, and of its sheet."""
        return f"{self.names[task.run]}-{task.ident}" if self.several else task.ident


def write_report(
    runs: Sequence[Run],
    folder: Path,
    *,
    top: int | None = None,
    one_file: bool = False,
    vector: str = "",
    labels: Labels | None = None,
    workers: int | None = None,
    tick: Callable[[float], None] | None = None,
) -> Path:
    """Write ``index.html`` and, in a folder beside it, a sheet per candidate and single pulse.

    Parameters
    ----------
    runs : sequence of Run
        Products of the search; several are put into one table.
    folder : Path
        Made when missing.
    top : int, optional
        Plot sheets for no more than the best `top` candidates and single pulses of each run.
    one_file : bool
        The sheets are in the page, which can be sent as it is.
    vector : {"", "pdf", "svg"}
        The sheets in this format, too.
    labels : Labels, optional
        Judgements, which the list shows.
    workers : int, optional
        Processes that draw; None: one a core.
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
    sheets = folder / SHEETS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not one_file or vector:
            sheets.mkdir(exist_ok=True)
            Folder(sheets, follow=False).close()
    except OSError as error:
        raise ConfigError(f"{folder}: the folder of the report cannot be made: {error.strerror}") from error
    content = _Content(_run_names(runs), len(runs) > 1 or runs[0].is_merged, labels or Labels())
    tasks = tasks_of(runs, top)
    drawn: dict[tuple[int, str], dict[str, Any]] = {}
    written: set[str] = set()
    for task, sheet in zip(tasks, draw_all(runs, tasks, vector=vector, workers=workers, tick=tick), strict=True):
        key = content.key(task)
        for kind, image in sheet.image.items():
            if kind == "png" and one_file:
                content.images[key] = base64.b64encode(image).decode()
                continue
            _replace(sheets / f"{key}.{kind}", image)
            written.add(f"{key}.{kind}")
        drawn[task.run, task.ident] = _sheet(sheet, "" if one_file else f"{SHEETS}/{key}.png")
    _forget(sheets, written)
    for number in range(len(runs)):
        _gather(content, runs, number, drawn)
    target = folder / "index.html"
    _replace(target, _text(runs, content).encode())
    return target


@dataclass(frozen=True)
class Served:
    """A page whose sheets are drawn when they are asked for.

    Attributes
    ----------
    text : str
        The page.
    sheets : dict of str to Task
        By the address of each sheet, from that of the page.
    """

    text: str
    sheets: dict[str, Task]


def served_page(runs: Sequence[Run], scripts: Sequence[str] = (), style: str = "") -> Served:
    """A page for a server.

    Parameters
    ----------
    runs : sequence of Run
    scripts : sequence of str
        Run before those of the page.
    style : str
        After that of the page.
    """
    content = _Content(_run_names(runs), len(runs) > 1 or runs[0].is_merged)
    sheets = {f"{SHEETS}/{content.key(task)}.png": task for task in tasks_of(runs, None)}
    drawn = {(task.run, task.ident): {"s": path, "z": size_of(task), "a": ""} for path, task in sheets.items()}
    for number in range(len(runs)):
        _gather(content, runs, number, drawn)
    return Served(_text(runs, content, scripts, style), sheets)


def tasks_of(runs: Sequence[Run], top: int | None) -> list[Task]:
    """Sheets that a page of these runs has: of the best `top` candidates and pulses of each."""
    return [
        task
        for number, run in enumerate(runs)
        for task in (
            *(Task(number, ident) for ident in drawn_ids(run, top)),
            *(Task(number, ident, pulse=True) for ident in run.pulse_ids[:top]),
        )
    ]


def drawn_ids(run: Run, top: int | None) -> list[str]:
    """Folded candidates of a run that get a sheet: those that stand for themselves, and after them the others."""
    rows = run.rows("candidates")
    belong = {str(ident) for ident in rows["id"][rows["harmonic_of"] != ""]}
    # Folds of given periods have no row that belongs to another.
    return sorted(run.ids, key=lambda ident: ident in belong)[:top]


def standing(run: Run) -> NDArray[Any]:
    """The rows of candidates that stand for themselves; the others are told beside those to which they belong."""
    rows = run.rows("candidates")
    own: NDArray[Any] = rows[rows["harmonic_of"] == ""]
    return own


def _gather(content: _Content, runs: Sequence[Run], number: int, drawn: Mapping[tuple[int, str], Any]) -> None:
    """The rows of a run, as the page stores them."""
    run, name = runs[number], content.names[number]
    tables: dict[str, NDArray[Any]] = {
        "candidates": run.rows("candidates"),
        "pulses": run.rows("single_pulses")[:MOST_PULSES],
        "observations": run.rows("observations") if content.merged else np.zeros(0),
    }
    prefix = f"{name}-" if content.several else ""
    for table, stored in tables.items():
        shown = fields(table, content.merged)
        for row in stored:
            values = {key: row[key].item() for key in stored.dtype.names or ()}
            cells = [f.cell(values) for f in shown]
            ident = str(values.get("id", ""))
            header = None if table == "observations" else run.observation_of(values)
            content.rows[table].append(
                {
                    "i": printable(prefix + ident),
                    "u": "" if header is None else uid_of(values),
                    "o": printable(prefix + values["harmonic_of"]) if values.get("harmonic_of") else "",
                    "r": printable(str(values.get("relation", ""))),
                    "w": "" if header is None else _where(values, header),
                    "m": _marks(values, table),
                    "c": [printable(name), *cells] if content.several else cells,
                    **drawn.get((number, ident), {}),
                }
            )


def _marks(row: Mapping[str, Any], table: str) -> list[float]:
    """Where a row stands on the map: period [ms] or time [s], DM, S/N or else its significance; and its score."""
    if table == "observations":
        return []
    across = 1e3 * row["period"] if table == "candidates" else row["time"]
    strength = row["snr"] if np.isfinite(row["snr"]) else row["sigma"]
    return [_short(across), _short(row["dm"]), _short(strength), _short(row["score"])]


def _short(value: float) -> Any:
    return float(f"{value:.7g}") if np.isfinite(value) else None


def _where(row: Mapping[str, Any], header: Header) -> str:
    """Source, beam and position of a row, as far as they are known."""
    beam = int(row.get("beam", -1))
    place = dict(position(header, row)).get("J2000", "")
    return printable(", ".join(filter(None, [header.source, f"beam {beam}" if beam >= 0 else "", place])))


def _sheet(drawn: Drawn, path: str) -> dict[str, Any]:
    width, height = struct.unpack(">II", drawn.image["png"][16:24])
    return {
        "s": path,
        "z": [width, height],
        "a": printable(drawn.numbers),
        "d": [[name, printable(value)] for name, value in drawn.lines],
    }


def _text(runs: Sequence[Run], content: _Content, before: Sequence[str] = (), style: str = "") -> str:
    """The page."""
    title = f"{len(runs)} runs" if content.several else sources(runs[0]) or content.names[0]
    tables = [
        _without_blanks(
            {
                "id": name,
                "title": _TITLES[name],
                "columns": headings(name, fields(name, content.merged), content.several),
                "rows": rows,
            }
        )
        for name, rows in content.rows.items()
    ]
    if content.several:
        for rows in (content.rows["candidates"], content.rows["pulses"]):
            rows.sort(key=lambda row: -(row["m"][3] or 0.0))
    summaries = [summary(run, name) for run, name in zip(runs, content.names, strict=True)]
    for one in summaries:
        if one["mask"]:
            one["mask"]["data"] = base64.b64encode(one["mask"].pop("image")).decode()
        for picture in one["completeness"]["pictures"] if one["completeness"] else ():
            picture["data"] = base64.b64encode(picture.pop("image")).decode()
    scripts = [*before, *(_part(name) for name in _SCRIPTS)]
    data = {"tables": tables, "flags": {f.name: f.text for f in FLAGS}, "images": content.images}
    told = {row["u"]: content.labels.told(row["u"]) for rows in content.rows.values() for row in rows}
    if any(told.values()):
        data["labels"] = {uid: text for uid, text in told.items() if text}
    return str(
        _environment()
        .from_string(_part("page.html.j2"))
        .render(
            title=title,
            version=software_version(),
            created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            runs=summaries,
            tables=[
                {"id": t["id"], "title": t["title"], "count": sum(not row["o"] for row in t["rows"])} for t in tables
            ],
            style=_part("page.css") + style,
            scripts=scripts,
            policy=_policy(scripts),
            data=_json(data),
        )
    )


def _without_blanks(table: dict[str, Any]) -> dict[str, Any]:
    """The table without the columns in which no row says anything, but for those that always stay."""
    rows = table["rows"]
    said = [column["keep"] >= 2 or any(_says(row["c"][i]) for row in rows) for i, column in enumerate(table["columns"])]
    if not rows or all(said):
        return table
    for row in rows:
        row["c"] = [cell for cell, keep in zip(row["c"], said, strict=True) if keep]
    columns = [column for column, keep in zip(table["columns"], said, strict=True) if keep]
    return {**table, "columns": columns}


def _says(cell: Any) -> bool:
    return bool(cell) if isinstance(cell, str) else cell[0] is not None and bool(cell[1])


def _part(name: str) -> str:
    return (files("pulsar.report") / "web" / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """What a browser may do for the page: run these scripts and no other, show pictures beside it, ask nobody else."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{h}'" for h in hashes)
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; "
        f"img-src 'self' file: data:; connect-src 'self'; script-src {allowed}"
    )


def _json(value: Any) -> str:
    """JSON that may stand within a script of a page: nothing in it ends the script or begins a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    # U+2028 and U+2029, which end lines in scripts, are escaped with all that is not ASCII.
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


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


#: Names of sheets: that of a run, where there are several, and that of a candidate or pulse.
_SHEET: Final = re.compile(r"([A-Za-z0-9_.+-]+-)?[cp][0-9]+\.(png|pdf|svg)")


def _forget(sheets: Path, written: set[str]) -> None:
    """Remove the sheets of an earlier report, that nothing shows any more."""
    with contextlib.suppress(OSError), Folder(sheets, follow=False) as folder:
        folder.clear(lambda name: name not in written and _SHEET.fullmatch(name) is not None)


def _replace(path: Path, data: bytes) -> None:
    try:
        write_whole(path, data)
    except OSError as error:
        raise PulsarError(f"{path}: cannot be written: {error.strerror}") from error
