"""The pages of the server: the page of products, its sheets drawn when they are asked for, and the judgements.

Beside a candidate lie the rows of other beams and nights of the same period and DM. In a notebook the page stands in a
frame, whose requests come as messages and are answered by messages.
"""

import contextlib
import json
import math
import shlex
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import numpy as np

from pulsar.data.candidate import values_of
from pulsar.data.text import number, printable, value_error
from pulsar.data.validated import strict_json
from pulsar.errors import ConfigError, PulsarError
from pulsar.handover.candidate import commands
from pulsar.io.labels import MOST_NOTE, Label, Labels, Sidecar, beside, checked, now, plain, read_labels, uid_of
from pulsar.io.product.reader import Run, read
from pulsar.report.page import MOST_PULSES, served_page
from pulsar.report.sheet import RESOLUTION, Desk, Drawn, Task
from pulsar_kernels.arrays import Array, Bools

if TYPE_CHECKING:
    from anywidget import AnyWidget


#: Before the address of a sheet: with twice the pixels each way, for dense screens. It takes 2.5 times as long.
DENSE: Final = "dense/"


class Site:
    """Products, to be looked at and judged.

    Parameters
    ----------
    who : str
        The person who judges.
    labels : Path, optional
        One file for the judgements of all; default: one beside each product.
    scripts : sequence of str
        Names of scripts that the page runs before that of the judgements.

    Raises
    ------
    ConfigError
        Judgements cannot be written there.
    DataError
        A file of judgements cannot be read.
    """

    def __init__(self, runs: Sequence[Run], who: str, labels: Path | None = None, scripts: Sequence[str] = ()) -> None:
        self._sources = sources(runs)
        #: By uid: the place of its product, and the row.
        self.rows: dict[str, tuple[int, dict[str, Any]]] = {}
        for place, run in enumerate(runs):
            for row in map(values_of, (*run.rows("candidates"), *run.rows("single_pulses")[:MOST_PULSES])):
                self.rows.setdefault(uid_of(row), (place, row))
        if not self.rows:
            raise ConfigError(f"{', '.join(str(run.path) for run in runs)}: no candidate is in it: nothing to judge")
        self.who = who
        self._kept_in = [beside(run.path) if labels is None else labels for run in runs]
        paths = dict.fromkeys(self._kept_in[place] for place, _ in self.rows.values())
        self._files = {path: Sidecar(path) for path in paths}
        # Beside the products, where judgements are kept elsewhere, they are only read.
        other_files = [beside(run.path) for run in runs if beside(run.path).exists()]
        self._read_only = [e for path in other_files if path not in self._files for e in read_labels(path).entries]
        page, self._tasks = served_page(runs, [part(name) for name in (*scripts, "triage.js")], part("triage.css"))
        self.page = page.encode()
        self._desk, self._dense = Desk(self._sources), Desk(self._sources, resolution=2 * RESOLUTION)
        self._drawn: OrderedDict[str, Drawn] = OrderedDict()
        # Sheets are drawn, and judgements kept, one after the other.
        self._drawing, self._keeping = threading.Lock(), threading.Lock()

    def shown(self, path: str, query: Mapping[str, Sequence[str]]) -> tuple[str, bytes] | None:
        """Kind ("html", "json", "png") and content of what an address names, from that of the page; None: nothing."""
        if path == "":
            return "html", self.page
        if path == "labels":
            return "json", as_json(self.labels())
        answer = {"beside": self.beside, "cleaning": self.cleaning}.get(path)
        content = None if answer is None else answer(query.get("uid", [""])[0])
        if content is not None:
            return "json", as_json(content)
        name, _, kind = path.rpartition(".")
        # Sheets are looked up among those that there are: no path leads to a file.
        sheet = self.sheet(f"{name}.png") if kind in ("png", "json") else None
        if sheet is None:
            return None
        return (kind, sheet.image["png"] if kind == "png" else as_json({"a": sheet.numbers, "d": sheet.lines}))

    def sheet(self, path: str) -> Drawn | None:
        """The sheet of an address, from that of the page; None where there is none."""
        with self._drawing:
            task = self._tasks.get(path.removeprefix(DENSE))
            if task is None:
                return None
            if path not in self._drawn:
                self._drawn[path] = (self._dense if path.startswith(DENSE) else self._desk).drawn(task)
            self._drawn.move_to_end(path)
            # Sheets that stay in memory, of about 55 kB each, those for dense screens of 140.
            while len(self._drawn) > 500:
                self._drawn.popitem(last=False)
            return self._drawn[path]

    def judgements(self) -> Labels:
        """All judgements as they stand now."""
        return Labels([*self._read_only, *(e for sidecar in self._files.values() for e in sidecar.read().entries)])

    def labels(self) -> dict[str, Any]:
        """All judgements of the rows that are shown."""
        with self._keeping:
            labels = self.judgements()
        judged = {uid: self._judged(labels, uid) for uid in self.rows}
        return {"who": self.who, "labels": {uid: entry for uid, entry in judged.items() if entry}}

    def _judged(self, labels: Labels, uid: str) -> dict[str, Any] | None:
        each = labels.of(uid)
        if not each:
            return None
        label = each.pop(self.who, None)
        others_say = [f"{who}: {e.label or 'no label'}" + (f" ({e.note})" if e.note else "") for who, e in each.items()]
        return {
            "label": label.label if label else "",
            "note": label.note if label else "",
            "told": labels.label_text(uid),
            "others": others_say,
        }

    def keep(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a judgement: on the disk when this returns.

        Parameters
        ----------
        content : mapping
            Texts "uid", "label" and "note".

        Raises
        ------
        ConfigError
            It is no judgement, or of no row that is shown.
        PulsarError
            It is not kept.
        """
        texts = [content.get(key, "") for key in ("uid", "label", "note")]
        if not all(isinstance(text, str) for text in texts):
            raise ConfigError("uid, label and note have to be texts")
        uid, label, note = map(str, texts)
        if uid not in self.rows:
            raise ConfigError(f"no row {uid[:40]!r} is shown here")
        with self._keeping:
            place, row = self.rows[uid]
            said = replace(row_label(uid, self._sources[place], row), label=checked(label), note=plain(note, MOST_NOTE))
            self._files[self._kept_in[place]].add([replace(said, who=self.who, when=now())])
            return {"uid": uid, "judged": self._judged(self.judgements(), uid)}

    def beside(self, uid: str) -> dict[str, Any] | None:
        """A row and those of other beams and nights with its period and DM; None where there is no such row."""
        if uid not in self.rows:
            return None
        place, row = self.rows[uid]
        run = self._sources[place]
        shown = [(place, str(row["id"]), f"{place_of(run, row)}: {row['id']}")]
        if "period" in row:
            shown += others(self._sources, place, row)
        out = []
        for at, ident, text in shown:
            pulse = "period" not in row
            folded = ident in (self._sources[at].pulse_ids if pulse else self._sources[at].ids)
            path = f"others/{at}/{ident}.png" if folded else ""
            with self._drawing:
                if folded:
                    self._tasks[path] = Task(at, ident, pulse=pulse)
            out.append({"told": text, "sheet": path})
        return {"rows": out}

    def cleaning(self, uid: str) -> dict[str, Any] | None:
        """How a row's fold is measured without some of it: words, commands but for what is left out, what that may be.

        None: no such row.
        """
        if uid not in self.rows:
            return None
        place, row = self.rows[uid]
        run, ident = self._sources[place], str(row["id"])
        if "period" not in row or ident not in run.ids:
            return {"told": "It was not folded: nothing can be left out."}
        if row["part"]:
            return {"told": "It was folded in a part of the observation: commands fold all of it."}
        stem = f"{run.path.stem}_{ident}"
        with self._drawing:
            fold, left_out = run.fold(ident, whole=True), run.fold(ident).extra
            try:
                run.cube(ident)
                lines = [shlex.join(["pulsar", "fold", str(run.path), "--id", ident])]
            except ConfigError:
                if row["kind"] == "fold" or not run.path.is_file():
                    return {"told": "Nothing can be left out: neither samples nor the whole fold are in a file."}
                # A search keeps sums of its folds: it is folded again first, all of which is kept.
                lines = [commands(run, row)[0], shlex.join(["pulsar", "fold", f"{stem}.h5"])]
        axes = ("time", "s", fold.time_edges), ("freq", "MHz", fold.band_freqs)
        spans = [
            [name, f"{axis.min():.6g} to {axis.max():.6g} {unit}", " ".join(left_out.get(f"zap_{name}", ()))]
            for name, unit, axis in axes
            if len(axis) > 1
        ]
        text = "The fold is measured without these by"
        return {"told": text, "commands": lines, "spans": spans, "out": shlex.quote(f"{stem}_clean.h5")}


def row_label(uid: str, run: Run, row: Mapping[str, Any]) -> Label:
    """A judgement of a row without label, note, person and time.

    Parameters
    ----------
    row : mapping
        Of candidates or single pulses.
    """
    return Label(
        uid,
        product=run.path.name,
        observation=place_of(run, row),
        id=str(row["id"]),
        period=float(row.get("period", float("nan"))),
        dm=float(row["dm"]),
        sigma=float(row["sigma"]),
    )


def part(name: str) -> str:
    """A file of what the browser runs."""
    return (files("pulsar.triage") / "web" / name).read_text(encoding="utf-8")


def as_json(value: Any) -> bytes:
    """JSON for the page."""
    return json.dumps(value, allow_nan=False).encode()


#: Difference of DMs that is always allowed for [pc/cm3], and its part of the DM: steps of a coarse plan.
DM_APART: Final = (1.0, 0.01)


def sources(runs: Sequence[Run]) -> list[Run]:
    """The runs, and after them the products that they were merged from, as far as those are still there."""
    shown, known = list(runs), {run.path.resolve() for run in runs}
    for path in (path for run in runs for path in merged_from(run)):
        if path.resolve() not in known:
            known.add(path.resolve())
            # What was removed or replaced since cannot be seen any more.
            with contextlib.suppress(PulsarError):
                shown.append(read(path))
    return shown


def merged_from(run: Run) -> list[Path]:
    """Products from which one was merged: where they were, or else beside it."""
    names = dict.fromkeys(str(name) for name in run.rows("observations")["product"] if str(name))
    places = ((Path(name), run.path.parent / Path(name).name) for name in names)
    return [path for options in places for path in options if path.is_file()]


def others(runs: Sequence[Run], number_of_run: int, row: Any) -> list[tuple[int, str, str]]:
    """Rows of other observations that have the period and the DM of a row, strongest first; one of each observation.

    Parameters
    ----------
    runs : sequence of Run
        As :func:`sources` gives them.
    number_of_run : int
        That of the row.
    row : mapping
        Of candidates.

    Returns
    -------
    list of (int, str, str)
        Which product, name of the row, and where it is from with its numbers.
    """
    this_obs = _observation(runs[number_of_run], row)
    best: dict[tuple[str, float, int], tuple[float, tuple[int, str, str]]] = {}
    for k, run in enumerate(runs):
        rows = run.rows("candidates")
        for rival in rows[same(row, rows) & (rows["harmonic_of"] == "")]:
            where, snr = _observation(run, rival), float(np.nan_to_num(rival["snr"], nan=-np.inf))
            if where == this_obs or (k == number_of_run and uid_of(rival) == uid_of(row)):
                continue
            if where not in best or snr > best[where][0]:
                best[where] = snr, (k, str(rival["id"]), _sighting_text(run, rival))
    # Beside each other no more than these, the strongest.
    return [match for _, match in sorted(best.values(), key=lambda entry: entry[0], reverse=True)[:19]]


def same(row: Any, rows: Array) -> Bools:
    """Rows with the period of a row, whatever an orbit has done to it, and its DM.

    Parameters
    ----------
    row : mapping
        Of candidates.
    rows : structured array, shape (n,)
        Of candidates.
    """
    period_err, dm_err = (
        3.0 * np.hypot(_known(row[name]), np.nan_to_num(rows[name])) for name in ("period_err", "dm_err")
    )
    # Relative difference of periods that an orbit may make: 300 km/s, more than nearly all known pulsars move by.
    periods = np.abs(rows["period"] - row["period"]) <= np.maximum(1e-3 * row["period"], period_err)
    apart = np.maximum(max(DM_APART[0], DM_APART[1] * row["dm"]), dm_err)
    same_source: Bools = periods & (np.abs(rows["dm"] - row["dm"]) <= apart)
    return same_source


def _known(value: float) -> float:
    return float(value) if math.isfinite(value) else 0.0


def _observation(run: Run, row: Any) -> tuple[str, float, int]:
    header = run.observation_of(row)
    return header.source, round(_known(header.tstart), 6), -1 if header.beam is None else header.beam


def _sighting_text(run: Run, row: Any) -> str:
    numbers = (
        f"P {value_error(1e3 * row['period'], 1e3 * row['period_err'])} ms",
        f"DM {value_error(row['dm'], row['dm_err'])}",
        f"S/N {number(row['snr'], '.1f')}",
    )
    return printable(f"{place_of(run, row)}: {row['id']} of {run.path.name}, {', '.join(numbers)}")


def place_of(run: Run, row: Any) -> str:
    """Source, beam and start of the observation of a row, in words."""
    source, start, beam = _observation(run, row)
    parts = (source, f"beam {beam}" if beam >= 0 else "", f"MJD {start:.5f}" if start > 0 else "")
    return printable(", ".join(filter(None, parts)))


#: What the page runs before its own scripts.
SCRIPTS: Final = ("frame.js",)


def widget(site: Site, height: int) -> "AnyWidget":
    """A widget that shows the page, in a frame of a height [pixels].

    Raises
    ------
    ConfigError
        anywidget is not installed.
    """
    try:
        from anywidget import AnyWidget
    except ImportError as error:
        raise ConfigError(
            f"view needs anywidget: pip install 'pulsar-search[notebook]', and load the notebook anew ({error}); "
            "without it: pulsar view FILE.h5 in a terminal"
        ) from error

    class View(AnyWidget):  # type: ignore[misc]
        """Sends what the page asks for, when it asks."""

        _esm = f"const HEIGHT = {height};\n{part('widget.js')}"

    view = View()
    view.on_msg(lambda _view, message, _buffers: view.send(*answer(site, message)))
    return view


def answer(site: Site, message: Any) -> tuple[dict[str, Any], list[bytes]]:
    """Answer a request of the page.

    Parameters
    ----------
    message : dict
        "path", an address from that of the page; "body", a judgement as JSON, or empty; whatever else tells requests
        apart comes back.

    Returns
    -------
    message : dict
        "status", as that of an answer of the server.
    content : list of bytes
        One: the page, a sheet or JSON.
    """
    address, status = urlsplit(message["path"]), 200
    try:
        if message.get("body"):
            content = as_json(site.keep(strict_json(message["body"])))
        else:
            _, content = site.shown(address.path, parse_qs(address.query)) or ("", b"")
    except PulsarError as error:
        status, content = 400, as_json({"error": str(error)})
    return {**message, "status": status if content else 404}, [content or as_json({"error": "nothing is there"})]
