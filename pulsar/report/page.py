"""The report: a page that opens from disk and needs nothing from outside, with a plot sheet for each row."""

import base64
import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from itertools import compress
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import Environment, StrictUndefined

from pulsar.data.candidate import CANDIDATE_COLUMNS, SINGLE_PULSE_COLUMNS, Column, values_of
from pulsar.data.direction import dms, hms
from pulsar.data.files import Folder
from pulsar.data.flags import FLAGS
from pulsar.data.header import Header
from pulsar.data.text import duty_cycle, number, printable, significant, value_error
from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError, PulsarError, refused
from pulsar.io.labels import Labels, uid_of
from pulsar.io.product.provenance import software_version
from pulsar.io.product.reader import Run
from pulsar.io.product.schema import OBSERVATION_COLUMNS
from pulsar.report.sheet import PIXELS, Task, draw_all
from pulsar.report.summary import sources, summary
from pulsar.report.words import position

Row = Mapping[str, Any]
#: What a cell shows; None where nothing is known.
Show = Callable[[Row], str | None]


class PageField:
    """A column of the page.

    Parameters
    ----------
    key : str
        Column of the table, by which it is sorted; also its name in a filter.
    title : str
        Its heading.
    show : str or callable
        Format of its number ("" for a text), or what gives the text of a row.
    unit : str, optional
        In place of the one of the table.
    factor : float
        From the stored unit to the one shown, in which it is filtered, too.
    keep : int
        How long it stays on small screens: 3 always, 2 on a tablet, 1 beside a sheet, 0 on a wide screen.
    """

    def __init__(
        self, key: str, title: str, show: str | Show, unit: str | None = None, *, factor: float = 1.0, keep: int = 0
    ) -> None:
        self.key, self.title, self.unit, self.factor, self.keep = key, title, unit, factor, keep
        self._show = show

    @property
    def text(self) -> bool:
        """True where it is sorted as a text."""
        return self._show == ""

    def cell(self, row: Row) -> Any:
        """The cell as the page stores it: a text, or a number (None where it is unknown) and its text."""
        value = row[self.key]
        if self.text:
            return printable(str(value))
        value = float(value)
        known = math.isfinite(value) and not (self.key in ("beam", "obs") and value < 0)
        shown = self._show(row) if callable(self._show) else format(row[self.key], str(self._show))
        # More digits than anybody reads or filters by are not stored.
        return [
            float(f"{self.factor * value:.12g}") if known else None,
            printable(shown) if known and shown is not None else "–",
        ]


def _angle(key: str, form: Callable[[float], str]) -> Show:
    return lambda r: form(float(r[key]))


def _error(key: str, factor: float = 1.0) -> Show:
    return lambda r: value_error(factor * r[key], factor * r.get(f"{key}_err", math.nan))


CANDIDATES: Final = (
    PageField("rank", "rank", "d", keep=2),
    PageField("id", "id", "", keep=3),
    PageField("period", "period", _error("period", 1e3), "ms", factor=1e3, keep=3),
    PageField("dm", "DM", _error("dm"), keep=3),
    PageField("snr", "S/N", ".1f", keep=3),
    PageField("rfi_flags", "flags", "", keep=2),
    PageField("score", "score", ".2f", keep=3),
    PageField("nattached", "harm.", lambda r: f"+{r['nattached']}" if r["nattached"] > 0 else "", keep=1),
    PageField("found_by", "found by", "", keep=1),
    PageField("beam", "beam", "d", keep=1),
    PageField("known_source", "known source", "", keep=1),
    PageField("sigma", "sigma", ".1f"),
    PageField("accel", "accel.", lambda r: _error("accel")(r) if significant(r["accel"], r["accel_err"]) else ""),
    PageField("width", "duty", lambda r: duty_cycle(r["width"], r.get("width_err", math.nan))),
    PageField("npulses", "pulses", lambda r: str(r["npulses"]) if r["npulses"] > 0 else ""),
    PageField("nharm", "summed", "d"),
    PageField("ndetections", "det.", "d"),
)
PULSES: Final = (
    PageField("rank", "rank", "d", keep=2),
    PageField("id", "id", "", keep=3),
    PageField("time", "time", ".4f", keep=3),
    PageField("dm", "DM", _error("dm"), keep=3),
    PageField("snr", "S/N", ".1f", keep=3),
    PageField("rfi_flags", "flags", "", keep=2),
    PageField("score", "score", ".2f", keep=3),
    PageField("width", "width", lambda r: number(1e3 * r["width"], ".3g"), "ms", factor=1e3, keep=2),
    PageField("source", "pulse of", "", keep=1),
    PageField("beam", "beam", "d", keep=1),
    PageField("sigma", "sigma", ".1f"),
    PageField("ndetections", "events", "d"),
)
#: After the number of a row, where rows are of several observations; the column beam goes.
_PLACE: Final = (
    PageField("target", "source", "", keep=2),
    PageField("beam", "beam", "d", keep=2),
    PageField("nbeams", "beams", "d", keep=1),
    PageField("ra_deg", "RA", _angle("ra_deg", hms), "h:m:s"),
    PageField("dec_deg", "Dec", _angle("dec_deg", dms), "d:m:s"),
    PageField("obs", "obs.", "d"),
)
#: ... and where other times were asked.
_AGAIN: Final = (
    PageField("nseen", "times", "d", keep=1),
    PageField("chance", "chance", lambda r: number(r["chance"], ".1g")),
)
OBSERVATIONS: Final = (
    PageField("obs", "no.", "d", keep=3),
    PageField("source", "source", "", keep=3),
    PageField("telescope", "telescope", "", keep=1),
    PageField("beam", "beam", "d", keep=3),
    PageField("ra_deg", "RA", _angle("ra_deg", hms), "h:m:s", keep=2),
    PageField("dec_deg", "Dec", _angle("dec_deg", dms), "d:m:s", keep=2),
    PageField("gl", "l", ".4f"),
    PageField("gb", "b", ".4f"),
    PageField("tstart", "start", ".6f", "MJD", keep=2),
    PageField("tobs", "length", ".6g", keep=1),
    PageField("tsamp", "sampling", lambda r: f"{1e6 * r['tsamp']:.6g}", "µs", factor=1e6),
    PageField("fch1", "highest channel", ".6g"),
    PageField("bandwidth", "bandwidth", ".6g"),
    PageField("nchans", "channels", "d"),
    PageField("masked", "masked", lambda r: f"{100.0 * r['masked']:.1f}", "%", factor=100.0),
)
#: Tables of the page: title, name in a product, columns of the page and those that are stored.
_TABLES: Final[dict[str, tuple[str, str, tuple[PageField, ...], tuple[Column, ...]]]] = {
    "candidates": ("Candidates", "candidates", CANDIDATES, CANDIDATE_COLUMNS),
    "pulses": ("Single pulses", "single_pulses", PULSES, SINGLE_PULSE_COLUMNS),
    "observations": ("Observations", "observations", OBSERVATIONS, OBSERVATION_COLUMNS),
}


def fields(table: str, merged: bool) -> tuple[PageField, ...]:
    """Columns of a table of the page.

    Parameters
    ----------
    table : {"candidates", "pulses", "observations"}
    merged : bool
        Rows are of several observations: each says of which.
    """
    own = _TABLES[table][2]
    if not merged or table == "observations":
        return own
    rest = [f for f in own[2:] if f.key != "beam"]
    # Seven columns stay beside the numbers that tell a candidate.
    when = [PageField("mjd", "MJD", ".9f", "UTC")] if table == "pulses" else []
    return (*own[:2], *rest[:5], *_PLACE, *when, *_AGAIN, *rest[5:])


def headings(table: str, shown: Sequence[PageField], several: bool) -> list[dict[str, Any]]:
    """Columns as the page stores them; with the run first, where there are several."""
    stored = {c.name: c for c in _TABLES[table][3]}
    first = [{"key": "run", "title": "run", "unit": "", "text": True, "keep": 1, "about": "name of the product"}]
    return (first if several else []) + [
        {
            "key": f.key,
            "title": f.title,
            "unit": stored[f.key].unit if f.unit is None else f.unit,
            "text": f.text,
            "keep": f.keep,
            "about": stored[f.key].description,
        }
        for f in shown
    ]


#: Single pulses listed of each run; the file holds all.
MOST_PULSES: Final = 5000
#: Folder of the sheets, beside the page.
SHEETS: Final = "sheets"
#: In the order in which they are run.
_SCRIPTS: Final = ("table.js", "maps.js", "page.js")


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
    with refused(ConfigError, f"{folder}: the folder of the report cannot be made"):
        folder.mkdir(parents=True, exist_ok=True)
        if not one_file or vector:
            sheets.mkdir(exist_ok=True)
            Folder(sheets, follow=False).close()
    page = _Page(runs, labels or Labels())
    tasks = tasks_of(runs, top)
    written: set[str] = set()
    for task, sheet in zip(tasks, draw_all(runs, tasks, vector=vector, workers=workers, tick=tick), strict=True):
        key = page.key(task)
        for kind, image in sheet.image.items():
            if kind == "png" and one_file:
                page.images[key] = base64.b64encode(image).decode()
                continue
            _replace(sheets / f"{key}.{kind}", image)
            written.add(f"{key}.{kind}")
        lines = [[name, printable(value)] for name, value in sheet.lines]
        page.add(task, "" if one_file else f"{SHEETS}/{key}.png", printable(sheet.numbers), lines)
    _forget(sheets, written)
    target = folder / "index.html"
    _replace(target, page.text().encode())
    return target


def served_page(runs: Sequence[Run], scripts: Sequence[str], style: str) -> tuple[str, dict[str, Task]]:
    """A page for a server, whose sheets are drawn when they are asked for.

    Parameters
    ----------
    scripts : sequence of str
        Run before those of the page.
    style : str
        After that of the page.

    Returns
    -------
    str
        The page.
    dict of str to Task
        By the address of each sheet, from that of the page.
    """
    page = _Page(runs, Labels())
    sheets = {f"{SHEETS}/{page.key(task)}.png": task for task in tasks_of(runs, None)}
    for path, task in sheets.items():
        page.add(task, path, "")
    return page.text(scripts, style), sheets


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


class _Page:
    """A page of runs, as it is gathered.

    Parameters
    ----------
    labels : Labels
        Judgements, which the list shows.
    """

    def __init__(self, runs: Sequence[Run], labels: Labels) -> None:
        self._runs, self._labels, self._names = runs, labels, _run_names(runs)
        # Of several runs each row has to say of which it is.
        self._several = len(runs) > 1
        self._merged = self._several or runs[0].is_merged
        self._sheets: dict[tuple[int, str], dict[str, Any]] = {}
        #: Sheets that are in the page: content in base 64 by name.
        self.images: dict[str, str] = {}

    def key(self, task: Task) -> str:
        """Name of a row in the page, and of its sheet."""
        return f"{self._names[task.run]}-{task.ident}" if self._several else task.ident

    def add(self, task: Task, path: str, numbers: str, lines: Sequence[Sequence[str]] | None = None) -> None:
        """Give a row its sheet: its path from the page, and what it says, where that is known already."""
        facts = {} if lines is None else {"d": lines}
        self._sheets[task.run, task.ident] = {"s": path, "z": PIXELS, "a": numbers, **facts}

    def text(self, before: Sequence[str] = (), style: str = "") -> str:
        """The page; scripts that are run before its own, and style after its own."""
        runs, names = self._runs, self._names
        tables = [self._table(name) for name in _TABLES]
        scripts = [*before, *(_part(name) for name in _SCRIPTS)]
        data = {"tables": tables, "flags": {f.name: f.text for f in FLAGS}, "images": self.images}
        labels = {row["u"]: self._labels.label_text(row["u"]) for table in tables for row in table["rows"]}
        if any(labels.values()):
            data["labels"] = {uid: text for uid, text in labels.items() if text}
        counts = [{**table, "count": sum(not row["o"] for row in table["rows"])} for table in tables]
        frame: Any = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        page: str = frame.from_string(_part("page.html.j2")).render(
            title=f"{len(runs)} runs" if self._several else sources(runs[0]) or names[0],
            version=software_version(),
            created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            runs=[summary(run, name) for run, name in zip(runs, names, strict=True)],
            tables=counts,
            style=_part("page.css") + style,
            scripts=scripts,
            policy=_policy(scripts),
            data=_json(data),
        )
        return page

    def _table(self, name: str) -> dict[str, Any]:
        """A table as the page stores it, without columns in which no row says anything, but for those that stay."""
        shown = fields(name, self._merged)
        rows = [row for number in range(len(self._runs)) for row in self._rows(number, name, shown)]
        if self._several and name != "observations":
            rows.sort(key=lambda row: -(row["m"][3] or 0.0))
        columns = headings(name, shown, self._several)
        said = [c["keep"] >= 2 or any(_says(row["c"][i]) for row in rows) for i, c in enumerate(columns)]
        if rows:
            columns = list(compress(columns, said))
            for row in rows:
                row["c"] = list(compress(row["c"], said))
        return {"id": name, "title": _TABLES[name][0], "columns": columns, "rows": rows}

    def _rows(self, number: int, table: str, shown: Sequence[PageField]) -> Iterator[dict[str, Any]]:
        """The rows of a table of a run."""
        run, name = self._runs[number], self._names[number]
        if table == "observations" and not self._merged:
            return
        prefix = f"{name}-" if self._several else ""
        stored = run.rows(_TABLES[table][1])
        for row in stored[:MOST_PULSES] if table == "pulses" else stored:
            values = values_of(row)
            cells = [f.cell(values) for f in shown]
            ident = str(values.get("id", ""))
            header = None if table == "observations" else run.observation_of(values)
            yield {
                "i": printable(prefix + ident) if ident else "",
                "u": "" if header is None else uid_of(values),
                "o": printable(prefix + values["harmonic_of"]) if values.get("harmonic_of") else "",
                "r": printable(str(values.get("relation", ""))),
                "w": "" if header is None else _where(values, header),
                "m": _marks(values, table),
                "c": [printable(name), *cells] if self._several else cells,
                **self._sheets.get((number, ident), {}),
            }


def _marks(row: Mapping[str, Any], table: str) -> list[float]:
    """Place of a row on the map: period [ms] or time [s], DM, S/N or else its significance; and its score."""
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


def _says(cell: Any) -> bool:
    return bool(cell) if isinstance(cell, str) else cell[0] is not None and bool(cell[1])


def _part(name: str) -> str:
    return (files("pulsar.report") / "web" / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """The rights of the page in a browser: these scripts and no other, pictures beside it, nobody else is asked."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{h}'" for h in hashes)
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; "
        f"img-src 'self' file: data: blob:; connect-src 'self'; script-src {allowed}"
    )


def _json(value: Any) -> str:
    """JSON that may stand within a script of a page: nothing in it ends the script or begins a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    # U+2028 and U+2029, which end lines in scripts, are escaped with all that is not ASCII.
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


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
    with refused(PulsarError, f"{path}: cannot be written"):
        write_whole(path, data)
