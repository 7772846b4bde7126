"""Lists of candidates: tables of people, of riptide and of ourselves, lists of PRESTO and of PulsarX.

Facts of the formats, and to which moment the frequency of each refers:

- A table (csv, ECSV) has columns by name. Without an epoch its period is that of the middle of the observation. So is
  riptide's ``candidates.csv`` (its class ``Candidate``), of a search in which periods do not change.
- ``X_ACCEL_Z`` of PRESTO's accelsearch (``accel_utils.c``, ``output_fundamentals``): a line for each candidate, errors
  in brackets, then their harmonics, then the ``.inf`` of the series. `r`, `z` and `w` are the means of frequency and
  derivative and the second derivative in bins of 1/T (``responses.c``: the first frequency is r - z/2 + w/12), so that
  the frequency in the middle of the T seconds, padding included, is (r - w/24)/T. z is positive where the frequency
  rises, and so is the acceleration printed beside it: ours has the other sign.
- What ACCEL_sift.py prints (``sifting.py``, ``Candlist.to_file``): the same `r` and `z` behind the name of each file
  and the number in it. Length, start and frame stand in these files, and in the ``.inf`` of the series.
- Candidate files of PulsarX (``psrfold_fil2.cpp``): number, DM, acceleration, F0, F1, F2 where there are 7 columns,
  S/N. The acceleration counts where F1 is 0 (``archivelite.cpp``: F1 = -a F0 / c). They hold for the middle of the
  observation (without ``--pepoch``). What it writes itself names its columns, new values beside old ones, and the
  epoch.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.constants import DAY, C
from pulsar.data.files import read_text
from pulsar.data.header import is_tsamp
from pulsar.data.text import file_name, of_cell, printable
from pulsar.errors import ConfigError, DataError
from pulsar.io.hdf5 import MAGIC
from pulsar.io.series import parse_inf
from pulsar_kernels.arrays import Floats

#: Quantity -> names of columns that are taken for it, in any case, and its unit; the name of a candidate is a text.
COLUMNS: Final = {
    "period": (("p", "p0", "period"), "s"),
    "freq": (("f0", "freq", "frequency", "f0_new"), "Hz"),
    "pdot": (("p1", "pdot"), ""),
    "fdot": (("f1", "fdot", "f1_new"), "Hz / s"),
    "fddot": (("f2", "fddot", "f2_new"), "Hz / s2"),
    "accel": (("accel", "acceleration", "acc", "a", "acc_new"), "m / s2"),
    "dm": (("dm", "dm_new"), "pc / cm3"),
    "dm_err": (("dm_err",), "pc / cm3"),
    "epoch": (("epoch", "pepoch"), "d"),
}
NAMES: Final = ("name", "id", "psrj")
#: Characters of a name: as many as the column of the table of candidates has.
MOST_NAME: Final = 12
#: Columns of a candidate file of PulsarX, by their number, where its first line does not name them.
_PULSARX: Final = {6: "id dm acc f0 f1 snr", 7: "id dm acc f0 f1 f2 snr"}
_LIST: Final = "a list of candidates (csv, ECSV; of accelsearch, ACCEL_sift.py, PulsarX or riptide)"
#: A number as PRESTO prints it: its error in brackets, which may be cut off, and a power of ten.
_MEASURED: Final = re.compile(r"([-+]?[\d.]+)(?:\([\d.]*\)?)?(?:x10\^([-+]?\d+))?")


@dataclass(frozen=True)
class Listed:
    """A candidate of a list."""

    place: str  # File and row, for messages
    ident: str  # Its name, or its row as c0001
    freq: float  # Spin frequency [Hz] at `epoch`, and below its derivatives [Hz/s, Hz/s^2]
    dm: float  # [pc cm^-3]
    fdot: float = 0.0
    fddot: float = 0.0
    dm_err: float = 0.0
    epoch: float = nan  # MJD, UTC or at the barycentre TDB; NaN: the middle of the observation
    #: Whether frequency and epoch are those at the barycentre; None where the list does not say.
    barycentric: bool | None = field(default=None, kw_only=True)


def is_list(path: Path) -> bool:
    """True if a file that names candidates is no product: it has another ending, and other first bytes."""
    if path.suffix.lower() in (".h5", ".hdf5"):
        return False
    if not path.is_file():
        return True
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) != MAGIC


def read_list(path: Path, idents: Sequence[str] = ()) -> list[Listed]:
    """Read a list of candidates of any kind that is known.

    Parameters
    ----------
    idents : sequence of str
        Only those that are named; default: all.

    Raises
    ------
    ConfigError
        A column is missing, a row makes no sense, two have the same name, or one that is named is not there.
    DataError
        The file cannot be read.
    """
    if path.suffix == ".cand":
        raise DataError(f"{path}: is accelsearch's binary list: give the text beside it, {path.with_suffix('').name}")
    text = read_text(path, _LIST)
    if re.search(r"^#\s*file:candnum", text, re.MULTILINE):
        listed = _sifted(path, text)
    elif "FFT 'r'" in text:
        listed = _accelsearch(path, text)
    elif _is_pulsarx(text):
        listed = _pulsarx(path, text)
    else:
        listed = _table(path, text)
    names = [entry.ident for entry in listed]
    if len(set(names)) < len(names):
        raise ConfigError(f"{path}: several rows have the same name (of {MOST_NAME} characters)")
    asked = {_name(ident) for ident in idents}
    if not listed or asked.difference(names):
        raise ConfigError(f"{path}: holds no candidate {' '.join(sorted(asked.difference(names))) or 'to look for'}")
    return [entry for entry in listed if not asked or entry.ident in asked]


def _name(text: str) -> str:
    return file_name(text)[:MOST_NAME]


def _table(path: Path, text: str) -> list[Listed]:
    from astropy.table import Table

    try:
        table = Table.read(text.splitlines(), format="ascii.ecsv" if text.startswith("# %ECSV") else "ascii.csv")
    except Exception as error:  # whatever astropy makes of a damaged one
        raise DataError(f"{path}: cannot be read as a table (csv, ECSV): {printable(str(error))}") from error
    return _rows(path, table, [f"row {i + 1}" for i in range(len(table))])


def _rows(path: Path, table: Any, places: Sequence[str]) -> list[Listed]:
    """The candidates of a table with columns by name."""
    columns = {name.strip().lower(): name for name in table.colnames}
    if not columns.keys() & set(COLUMNS["dm"][0]) or not columns.keys() & {*COLUMNS["period"][0], *COLUMNS["freq"][0]}:
        raise ConfigError(f"{path}: expected the columns P (or F0) and DM, has {', '.join(table.colnames)}")
    column = {name: _column(path, table, places, columns, *names) for name, names in COLUMNS.items()}
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        freq = np.where(np.isfinite(column["freq"]), column["freq"], 1.0 / column["period"])
        fdot = np.where(np.isfinite(column["fdot"]), column["fdot"], -column["pdot"] * freq**2)
        fdot = np.where(np.isfinite(column["accel"]), -column["accel"] / C * freq, fdot)
    wrong = np.flatnonzero(~((freq > 0) & np.isfinite(freq) & (column["dm"] >= 0) & np.isfinite(column["dm"])))
    if wrong.size:
        looked = ", ".join(columns[n] for q in ("period", "freq", "dm") for n in COLUMNS[q][0] if n in columns)
        raise ConfigError(
            f"{path}: {places[wrong[0]]}: expected a period above 0 s and a DM of 0 pc/cm3 or more (columns {looked})"
        )
    called = next((table[columns[name]] for name in NAMES if name in columns), [""] * len(table))
    names = ["" if name is np.ma.masked else _name(of_cell(str(name).strip())) for name in called]
    rest = np.nan_to_num([fdot, column["fddot"], column["dm_err"]])
    numbers = np.column_stack([freq, column["dm"], *rest, column["epoch"]]).tolist()
    return [
        Listed(f"{path}: {place}", name or f"c{i + 1:04d}", *values)
        for i, (place, name, values) in enumerate(zip(places, names, numbers, strict=True))
    ]


def _column(
    path: Path, table: Any, places: Sequence[str], columns: Mapping[str, str], names: Sequence[str], unit: str
) -> Floats:
    """A column of a list in our unit, NaN where it says nothing."""
    column = next((table[columns[name]] for name in names if name in columns), None)
    if column is None:
        return np.full(len(table), np.nan)
    if np.ndim(column) != 1:
        raise ConfigError(f"{path}: column {column.name}: expected one number in a row")
    if hasattr(column, "mjd"):
        return np.ma.filled(np.ma.asarray(column.mjd, dtype=np.float64), np.nan)
    try:
        values = column if column.unit is None else column.quantity.to(unit).value
        return np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
    except (ValueError, TypeError) as error:
        for place, cell in zip(places, column, strict=True):
            if cell is not np.ma.masked:
                _number(f"{path}: {place}", f"column {column.name}", str(cell))
        raise ConfigError(f"{path}: column {column.name}: {error}") from error


def _number(place: str, name: str, text: str) -> float:
    """A number, with an error in brackets or without."""
    match = _MEASURED.fullmatch(text)
    try:
        return float(match[1]) * 10.0 ** int(match[2] or 0) if match else float(text)
    except (ValueError, OverflowError):
        raise ConfigError(f"{place}: {name}: expected a number, found {text[:40]!r}") from None


def _is_pulsarx(text: str) -> bool:
    """True for a text whose first line of numbers has no commas, or which names its columns as PulsarX does."""
    lines = [line for line in text.splitlines() if line.strip()]
    row = next((line for line in lines if not line.startswith("#")), "")
    named = any(re.match(r"#\s*id\s", line, re.IGNORECASE) for line in lines)
    return "," not in row and (named or (row.split()[:1] != [] and row.split()[0].isdigit() and len(row.split()) > 5))


def _pulsarx(path: Path, text: str) -> list[Listed]:
    from astropy.table import Table

    names: list[str] = []
    rows: list[list[str]] = []
    places: list[str] = []
    epoch = nan
    for number, line in enumerate(text.splitlines(), 1):
        words = line.lstrip("# ").split()
        if not words:
            continue
        if not line.startswith("#"):
            rows.append(words)
            places.append(f"line {number}")
        elif words[0].lower() == "id":
            names = [word.lower() for word in words]
        elif words[0].lower() == "pepoch":
            epoch = _number(f"{path}: line {number}", "Pepoch", " ".join(words[1:]))
    if not any(name in names for name in COLUMNS["dm"][0][1:]):
        # PulsarX itself goes by the number of columns, whatever the first line says.
        names = _PULSARX.get(len(rows[0]) if rows else 7, "").split()
    if len(set(names)) < len(names):
        raise ConfigError(f"{path}: several columns have the same name: {' '.join(names)}")
    for place, words in zip(places, rows, strict=True):
        if len(words) != len(names):
            raise ConfigError(
                f"{path}: {place}: expected {len(names) or '6 or 7'} columns ({' '.join(names) or 'no orbit'}), found "
                f"{len(words)}"
            )
        cells = dict(zip(names, words, strict=True))
        if _number(f"{path}: {place}", "column F1", cells.get("f1", "0")) != 0.0 and "acc" in cells:
            words[names.index("acc")] = "nan"
    table = Table(rows=rows or None, names=names, dtype=[str] * len(names))
    return [replace(entry, epoch=epoch) for entry in _rows(path, table, places)]


@dataclass(frozen=True)
class _Series:
    """What PRESTO's ``.inf`` tells of a series: its length [s], middle (MJD), DM and frame."""

    tobs: float
    epoch: float
    dm: float
    barycentric: bool

    @classmethod
    def of(cls, path: Path) -> "_Series":
        fields = parse_inf(path)

        def number(start: str) -> float:
            text = next((str(value) for key, value in fields.items() if key.startswith(start)), "")
            return _number(str(path), f"`{start}`", text.split(maxsplit=1)[0] if text.strip() else "")

        nsamps, tsamp = number("number of bins"), number("width of each time series bin")
        if not (1.0 <= nsamps <= 1 << 53 and is_tsamp(tsamp)):
            raise ConfigError(f"{path}: expected positive numbers: {nsamps:g} bins of {tsamp:g} s")
        middle = number("epoch of observation") + 0.5 * nsamps * tsamp / DAY
        return cls(nsamps * tsamp, middle, number("dispersion measure"), number("barycentered") == 1.0)

    def listed(self, place: str, row: int, dm: float, r: float, z: float, w: float = 0.0) -> Listed:
        """A candidate of `r`, `z` and `w` bins; rows count from 0."""
        if not (r - w / 24.0 >= 1.0 and isfinite(r + z + w) and 0.0 <= dm < np.inf):
            raise ConfigError(
                f"{place}: expected r of 1 bin (a turn in the series) and DM of 0 or more, found {r:g} and {dm:g}"
            )
        spin = (r - w / 24.0) / self.tobs, dm, z / self.tobs**2, w / self.tobs**3, 0.0
        return Listed(place, f"c{row + 1:04d}", *spin, self.epoch, barycentric=self.barycentric)


def _accelsearch(path: Path, text: str) -> list[Listed]:
    """Those of a text of accelsearch: the first table, at whose end stands the .inf."""
    series = _series_of(path, path.name, f"{path}")
    columns = ("r", "z", "w") if "FFT 'w'" in text else ("r", "z")
    listed: list[Listed] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line[:1].isdigit():
            continue
        place, words = f"{path}: line {number}", line.split()
        # Candidate, sigma, two powers, harmonics; period, frequency, r, derivative, z and perhaps w, acceleration.
        cells = [*words[7:8], *words[9 : 9 + len(columns) - 1]]
        if len(cells) < len(columns):
            raise ConfigError(f"{place}: column {columns[len(cells)]} is missing: expected a line of accelsearch")
        bins = [_number(place, f"column {name}", cell) for name, cell in zip(columns, cells, strict=True)]
        listed.append(series.listed(place, len(listed), series.dm, *bins))
    return listed


def _sifted(path: Path, text: str) -> list[Listed]:
    """Those of ACCEL_sift.py: lines that begin with the name of a file and a number; others tell more of them."""
    listed: list[Listed] = []
    known: dict[str, _Series] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or line.startswith((" ", "#")) or not re.fullmatch(r".*:\d+", words[0]):
            continue
        place = f"{path}: line {number}"
        # File and number, DM, S/N, sigma, harmonics, two powers, period [ms], r, z.
        if len(words) < 10:
            raise ConfigError(f"{place}: column z is missing: expected a line of ACCEL_sift.py")
        name = words[0].rpartition(":")[0]
        if name not in known:
            known[name] = _series_of(path, name, place)
        numbers = [_number(place, f"column {column}", words[at]) for column, at in (("DM", 1), ("r", 8), ("z", 9))]
        listed.append(known[name].listed(place, len(listed), *numbers))
    return listed


def _series_of(path: Path, name: str, place: str) -> _Series:
    """The series of a file of accelsearch, told by its .inf, or by that file; both lie beside the list."""
    beside = [path.with_name(Path(name.partition("_ACCEL_")[0]).name + ".inf"), path.with_name(Path(name).name)]
    for file in beside:
        if file.is_file() and "Width of each time series bin" in read_text(file, _LIST):
            return _Series.of(file)
    raise DataError(
        f"{place}: {beside[0].name} is not beside the list: length and start of the series, and whether it was "
        "barycentred, are in it: copy it there"
    )
