"""Recall and limits on flux densities as tables for a paper: LaTeX, CSV or ECSV."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from astropy.table import Table, vstack

from pulsar.data.injected import LIMIT_COLUMNS, RECALL_COLUMNS, recall
from pulsar.data.text import cell, number, printable
from pulsar.errors import ConfigError
from pulsar.io.product.table import as_table
from pulsar_kernels.arrays import Array

if TYPE_CHECKING:
    from astropy.table import Table

    from pulsar.io.product.reader import Run

#: Ending of a name -> astropy's name of the format.
FORMATS: Final = {".tex": "ascii.latex", ".csv": "ascii.csv", ".ecsv": "ascii.ecsv"}
_RECALL: Final = "recall of injected signals by S/N, 68 % intervals (Wilson)"


def format_of(path: Path) -> str:
    """Astropy's name of the format that a file is to have.

    Raises
    ------
    ConfigError
        The name ends otherwise.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    return FORMATS[path.suffix.lower()]


def beside(path: Path) -> Path:
    """Path of the limits on flux densities, beside the table of recall."""
    return path.with_stem(f"{path.stem}_limits")


def recall_rows(run: "Run") -> Table:
    """Recall by S/N of pulsars and of bursts, of all observations and, where they are several, of each.

    Parameters
    ----------
    run : Run
        With injected signals.

    Returns
    -------
    Table
        Columns observation, kind, and RECALL_COLUMNS.
    """
    parts = []
    for name, rows in _observed(run, run.rows("completeness/injected")):
        for kind in ("pulsar", "burst"):
            signals = rows[rows["kind"] == kind]
            if signals.size:
                part = as_table(recall(signals), RECALL_COLUMNS, _RECALL)
                whose = [[name] * len(part), [kind] * len(part)]
                part.add_columns(whose, indexes=[0, 0], names=["observation", "kind"])
                parts.append(part)
    table = vstack(parts)
    table["observation"].description, table["kind"].description = "source and start (MJD), or all", "pulsar or burst"
    return table


def _observed(run: "Run", table: Array) -> Iterator[tuple[str, Array]]:
    """The rows of all observations, and of each where they are several."""
    yield "all", table
    for obs, header in enumerate(run.observations if len(run.observations) > 1 else ()):
        rows = table[table["obs"] == obs]
        if rows.size:
            yield f"{printable(header.source) or 'unnamed'} {header.tstart:.4f}", rows


def recall_text(run: "Run", path: Path) -> str:
    """The table of recall in the format that the name of a file says; in LaTeX of all observations together."""
    table = recall_rows(run)
    if format_of(path) != "ascii.latex":
        return _text(table, path)
    table = table[table["observation"] == "all"]
    lines = Table()
    lines["Signals"] = [f"{kind}s" for kind in table["kind"]]
    lines["S/N"] = [f"{low:g}--{high:g}" for low, high in zip(table["low"], table["high"], strict=True)]
    lines["Injected"], lines["Found"] = table["tried"], table["found"]
    lines["Recall"] = [_share(row) for row in table]
    lines["S/N kept"] = [number(kept, ".2f", "--") for kept in table["snr_kept"]]
    return _text(lines, path)


def limits_text(run: "Run", path: Path) -> str:
    """The table of limits on flux densities in the format that the name of a file says."""
    rows = run.rows("completeness/limits")
    if format_of(path) != "ascii.latex":
        return _text(as_table(rows, LIMIT_COLUMNS, "flux densities from which on pulsars are found"), path)
    duties = sorted(set(rows["duty"].tolist()))
    lines: dict[str, list[str]] = {"Observation": [], "$P$ [ms]": [], "S/N$_{50}$": [], "S/N$_{90}$": []}
    lines |= {f"$S_{{90}}$ [mJy], $\\delta = {duty:g}$": [] for duty in duties}
    names = dict(enumerate(f"{_latex(printable(h.source)) or 'unnamed'} {h.tstart:.4f}" for h in run.observations))
    for obs, period in dict.fromkeys(zip(rows["obs"].tolist(), rows["period"].tolist(), strict=True)):
        own = rows[(rows["obs"] == obs) & (rows["period"] == period)]
        if not own.size:
            continue  # no number
        values = [names.get(obs, ""), f"{1e3 * period:g}"]
        values += [number(own[0][name], ".1f", "--") for name in ("snr_half", "snr_most")]
        flux = {float(row["duty"]): float(row["flux_most"]) for row in own}
        values += [number(flux.get(duty, np.nan), ".3g", "--") for duty in duties]
        for name, value in zip(lines, values, strict=True):
            lines[name].append(value)
    if len(names) == 1:
        del lines["Observation"]
    return _text(Table(lines), path)


def _text(table: Table, path: Path) -> str:
    if format_of(path) == "ascii.csv":
        table = table.copy()
        for name in table.colnames:
            if table[name].dtype.kind == "U":
                table[name] = [cell(text) for text in table[name].tolist()]
    buffer = io.StringIO()
    table.write(buffer, format=format_of(path))
    return buffer.getvalue()


def _share(row: Any) -> str:
    """A share with its interval."""
    if not row["tried"]:
        return "--"
    share, low, high = (float(row[name]) for name in ("recall", "recall_low", "recall_high"))
    return f"${share:.2f}^{{+{high - share:.2f}}}_{{-{share - low:.2f}}}$"


def _latex(text: str) -> str:
    """A text without what LaTeX takes for something else."""
    return "".join(f"\\{c}" if c in "#$%&_{}" else {"\\": "/", "~": "-", "^": ""}.get(c, c) for c in text)
