"""Tables of signals that somebody wants injected: csv or ecsv, a row each."""

import csv
import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pulsar.data.files import read_text
from pulsar.errors import ConfigError, DataError
from pulsar.synthesis.population import Asked

#: Columns: what they hold, which kind they are of ("": both), and the unit.
COLUMNS: Final[Mapping[str, tuple[str, str, str]]] = {
    "kind": ("pulsar (if it is left out) or burst", "", ""),
    "period": ("period at mid-observation", "pulsar", "s"),
    "dm": ("dispersion measure", "", "pc / cm3"),
    "snr": ("S/N of an ideal matched filter", "", ""),
    "flux": ("mean flux density, in place of snr", "pulsar", "mJy"),
    "width": ("full width at half maximum", "", "s"),
    "duty": ("width over the period, in place of width", "pulsar", ""),
    "accel": ("acceleration along the line of sight", "pulsar", "m / s2"),
}
#: Faults that are told of a table at once.
MOST_TOLD: Final = 10
WHAT: Final = "a table of signals (csv or ecsv)"


def read_asked(path: Path | str) -> tuple[Asked, ...]:
    """The signals of a table.

    Parameters
    ----------
    path : path
        Comma-separated with a line of names, or ECSV, whose units are converted; the columns are those of COLUMNS.

    Raises
    ------
    ConfigError
        A column is not known, or rows make no sense: which, and what is expected.
    DataError
        The file cannot be read.
    """
    path = Path(path)
    text = read_text(path, WHAT)
    rows = _ecsv(path, text) if text.startswith("# %ECSV") else _csv(path, text)
    found, wrong = [], []
    for where, cells in rows:
        try:
            found.append(_asked(f"{path}: {where}", cells))
        except ConfigError as error:
            wrong.append(str(error))
    if wrong:
        more = f"\n… and {len(wrong) - MOST_TOLD} rows more" if len(wrong) > MOST_TOLD else ""
        raise ConfigError("\n".join(wrong[:MOST_TOLD]) + more)
    if not found:
        raise ConfigError(f"{path}: holds no signals: expected a row for each below the names of the columns")
    return tuple(found)


def _check_names(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{path}: column {name!r} is not known{hint}; expected some of {', '.join(COLUMNS)}")
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise ConfigError(f"{path}: column {twice!r} is there twice")


def _csv(path: Path, text: str) -> list[tuple[str, dict[str, str]]]:
    """Rows with where they are."""
    lines = csv.reader(text.splitlines(), skipinitialspace=True)
    rows: list[tuple[str, dict[str, str]]] = []
    names: list[str] | None = None
    try:
        for cells in lines:
            if not any(cell.strip() for cell in cells) or cells[0].startswith("#"):
                continue
            if names is None:
                names = [cell.strip().lower() for cell in cells]
                _check_names(path, names)
                continue
            if len(cells) != len(names):
                raise ConfigError(f"{path}: line {lines.line_num}: {len(cells)} cells, expected {len(names)}")
            rows.append((f"line {lines.line_num}", dict(zip(names, (c.strip() for c in cells), strict=True))))
    except csv.Error as error:
        raise ConfigError(f"{path}: line {lines.line_num}: {error}; expected {WHAT}") from error
    return rows


def _ecsv(path: Path, text: str) -> list[tuple[str, dict[str, str]]]:
    """Rows with where they are, in our units."""
    from astropy import units
    from astropy.table import Table

    try:
        table = Table.read(text.splitlines(), format="ascii.ecsv")
    except Exception as error:  # whatever astropy makes of a damaged one
        raise DataError(f"{path}: cannot be read as ECSV: {error}") from error
    names = [name.lower() for name in table.colnames]
    _check_names(path, names)
    columns: dict[str, list[str]] = {}
    for name, column in zip(names, table.columns.values(), strict=True):
        factor = 1.0
        if column.unit is not None:
            try:
                factor = column.unit.to(units.Unit(COLUMNS[name][2]))
            except (ValueError, TypeError):
                expected = COLUMNS[name][2] or "none"
                raise ConfigError(f"{path}: column {name} has the unit {column.unit}, expected {expected}") from None
        columns[name] = [_cell(value, factor) for value in column.tolist()]
    return [(f"row {i + 1}", {n: c[i] for n, c in columns.items()}) for i in range(len(table))]


def _cell(value: Any, factor: float) -> str:
    if value is None:
        return ""
    return repr(value * factor) if isinstance(value, float | int) else str(value)


def _asked(where: str, cells: Mapping[str, str]) -> Asked:
    """One signal."""
    kind = cells.get("kind", "").lower() or "pulsar"
    if kind not in ("pulsar", "burst"):
        raise ConfigError(f"{where}: kind {kind!r}: expected pulsar or burst")
    values: dict[str, float] = {}
    for name, text in cells.items():
        if name == "kind" or text in ("", "nan", "*"):
            continue
        about, of, unit = COLUMNS[name]
        if of and of != kind:
            raise ConfigError(f"{where}: {name} = {text}: a {kind} has none; leave it empty")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        least = "0 or more" if name == "dm" else "more than 0"
        good = name == "accel" or value > 0.0 or (name == "dm" and value == 0.0)
        if not math.isfinite(value) or not good or (name == "duty" and value >= 1.0):
            limit = {"accel": "a number", "duty": "more than 0 and below 1"}.get(name, least)
            raise ConfigError(f"{where}: {name} = {text}: expected {limit}{f' [{unit}]' if unit else ''} ({about})")
        values[name] = value
    for one, other in (("snr", "flux"), ("width", "duty")):
        if one in values and other in values:
            raise ConfigError(f"{where}: {one} and {other} are given: one of them says it")
    return Asked(kind=kind, where=where, **values)
