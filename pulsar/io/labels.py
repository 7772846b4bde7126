"""Judgements of candidates: what people say they are, in a file beside the product (ECSV, a line a judgement).

A judgement is added as a line at the end; nothing is changed in place. The last one of a person about a row counts; one
without label and note takes back those before. A line that was cut off when a process was killed is left out: nobody
was told that it had been kept.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from pulsar.data.files import clean_text, read_bytes
from pulsar.data.text import cell, of_cell, printable
from pulsar.errors import ConfigError, DataError

#: What a row can be.
LABELS: Final = ("pulsar", "interference", "known", "noise", "unsure")
#: Ends of the name of a file of judgements, in place of that of the product.
SUFFIX: Final = ".labels.ecsv"
#: Characters of a note and of a name; longer ones are cut.
MOST_NOTE: Final = 2000
MOST_WHO: Final = 64
#: The texts that end a line; the time comes last, so that a line that was cut off is told from a whole one.
_WHEN: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_START: Final = "# %ECSV 1.0"
_WHAT: Final = "a file of judgements (ECSV, of `pulsar view`)"


@dataclass(frozen=True)
class Label:
    """One judgement, by one person, about one row.

    Attributes
    ----------
    uid : str
        Of the row; see :func:`uid_of`.
    label : str
        One of `LABELS`; empty: none, or taken back.
    note, who : str
    when : str
        ISO time (UTC), ending in Z.
    product, observation, id : str
        Name of the file, source and start, name of the row: where it was seen.
    period : float
        Of the row [s]; NaN for a single pulse.
    dm : float
        [pc/cm3]
    sigma : float
    """

    uid: str
    product: str = ""
    observation: str = ""
    id: str = ""
    label: str = ""
    note: str = ""
    who: str = ""
    period: float = math.nan
    dm: float = math.nan
    sigma: float = math.nan
    when: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from others."""
        return self.uid, self.who, self.when, self.label, self.note

    @property
    def empty(self) -> bool:
        """Whether it says nothing: it was taken back."""
        return not (self.label or self.note)


_NAMES: Final = tuple(f.name for f in fields(Label))
_NUMBERS: Final = ("period", "dm", "sigma")
_ABOUT: Final = {
    "uid": "name of the row for good",
    "product": "file in which it was judged",
    "observation": "source and start (MJD) of the observation",
    "id": "name of the row in that file",
    "label": ", ".join(LABELS) + "; empty: none, or taken back",
    "note": "in words",
    "who": "the person",
    "period": "topocentric period",
    "dm": "dispersion measure",
    "sigma": "significance of the detection",
    "when": "time of the judgement (UTC); the last of a person about a row counts",
}


class Labels:
    """Judgements of several people.

    Parameters
    ----------
    entries : iterable of Label
        In any order; of equal times the later one counts.
    """

    def __init__(self, entries: Iterable[Label] = ()) -> None:
        self.entries = tuple(entries)

    @cached_property
    def _latest(self) -> dict[str, dict[str, Label]]:
        found: dict[str, dict[str, Label]] = {}
        for entry in self.entries:
            mine = found.setdefault(entry.uid, {})
            before = mine.get(entry.who)
            if before is None or _moment(entry.when) >= _moment(before.when):
                mine[entry.who] = entry
        return found

    def of(self, uid: str) -> dict[str, Label]:
        """What each person says of a row, by their names; without what was taken back."""
        return {who: entry for who, entry in sorted(self._latest.get(uid, {}).items()) if not entry.empty}

    def said(self, uid: str) -> tuple[str, ...]:
        """The labels that a row has, each once; several where people disagree."""
        return tuple(dict.fromkeys(entry.label for entry in self.of(uid).values() if entry.label))

    def told(self, uid: str) -> str:
        """The label of a row in words; where people disagree, who says what."""
        said = self.said(uid)
        if len(said) <= 1:
            return "".join(said)
        return ", ".join(f"{entry.label} ({who})" for who, entry in self.of(uid).items() if entry.label)

    def matches(self, uid: str, wanted: str) -> bool:
        """Whether somebody gave a row this label; "none": nobody gave any; "disputed": people disagree."""
        said = self.said(uid)
        if wanted == "none":
            return not said
        return len(said) > 1 if wanted == "disputed" else wanted in said

    def merged(self) -> tuple[Label, ...]:
        """The judgement that counts of each person about each row, in order of time; what was taken back stays so."""
        counting = (entry for mine in self._latest.values() for entry in mine.values())
        return tuple(sorted(counting, key=lambda e: (_moment(e.when), e.uid, e.who)))

    def __len__(self) -> int:
        """Rows that somebody judged."""
        return sum(bool(self.said(uid)) for uid in self._latest)


def uid_of(row: Mapping[str, Any] | Any) -> str:
    """The name for good of a row of candidates or single pulses: the same in whatever list it stands.

    Candidates have one. Of a single pulse it is made from its time and DM, of a candidate of a product that is older
    than uids from its period, epoch and DM.

    Parameters
    ----------
    row : mapping or void
        A row of the product.
    """
    names = row.keys() if isinstance(row, Mapping) else row.dtype.names
    if "uid" in names and row["uid"]:
        return printable(str(row["uid"]))
    if "time" in names:
        at = f"mjd{row['mjd']:.8f}" if math.isfinite(row["mjd"]) else f"t{row['time']:.4f}"
        return f"{at}-dm{row['dm']:.2f}"
    return f"p{row['period']:.8g}-mjd{row['epoch']:.5f}-dm{row['dm']:.2f}"


def beside(product: Path) -> Path:
    """Where the judgements of a product are kept."""
    return product.with_name(product.stem + SUFFIX)


def now() -> str:
    """The time, as judgements have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def checked(label: str) -> str:
    """The label, if it is one.

    Raises
    ------
    ConfigError
        It is none.
    """
    if label and label not in LABELS:
        raise ConfigError(f"label {printable(label[:40])!r}: expected one of {', '.join(LABELS)}")
    return label


def plain(text: str, most: int) -> str:
    """A text of a person in one line, with no control codes."""
    return printable(" ".join(text.split()))[:most].strip()


@cache
def header() -> str:
    """The first lines of a file, up to the names of the columns."""
    from astropy.table import Column, Table

    units = {"period": "s", "dm": "pc / cm3"}
    columns = [
        Column([], name=n, dtype=float if n in _NUMBERS else "U1", description=_ABOUT[n], unit=units.get(n))
        for n in _NAMES
    ]
    text = io.StringIO()
    Table(columns, meta={"format": "pulsar-labels", "format_version": "1.0"}).write(
        text, format="ascii.ecsv", delimiter=","
    )
    return text.getvalue().rstrip("\n") + "\n"


def lines(entries: Iterable[Label]) -> str:
    """Judgements as lines of a file."""
    text = io.StringIO()
    # Quotes around all texts: none of them is taken for a comment or for a missing value.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    for entry in entries:
        writer.writerow([getattr(entry, n) if n in _NUMBERS else cell(printable(getattr(entry, n))) for n in _NAMES])
    return text.getvalue()


def whole(data: bytes) -> tuple[int, bytes]:
    """How much of a file stands, where a process may have been killed while it wrote.

    Parameters
    ----------
    data : bytes
        All of the file.

    Returns
    -------
    size : int
        Bytes that stand; 0 where not even the names of the columns do.
    lacking : bytes
        What has to be added to them before the next line: the end of the last one, or nothing.
    """
    end = data.rfind(b"\n") + 1
    rest = data[end:]
    named = any(line.strip() and not line.startswith(b"#") for line in data[:end].splitlines())
    if not named:
        return 0, b""
    if rest.strip() and _is_line(clean_text(rest)):
        return len(data), b"\n"
    return end, b""


def _is_line(text: str) -> bool:
    try:
        (found,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError):
        return False
    return len(found) == len(_NAMES) and _WHEN.fullmatch(found[-1]) is not None


def read_labels(path: Path) -> Labels:
    """Read a file of judgements.

    Raises
    ------
    DataError
        It cannot be read, or is something else.
    """
    data = read_bytes(path, _WHAT)
    if data and not (data.startswith(_START.encode()) or _START.encode().startswith(data)):
        raise DataError(f"{path}: does not begin with {_START!r}: expected {_WHAT}")
    size, lacking = whole(data)
    if not size:
        return Labels()
    return Labels(_parsed(path, clean_text(data[:size] + lacking)))


def _parsed(path: Path, text: str) -> list[Label]:
    import numpy as np
    from astropy.table import Table

    try:
        table = Table.read(text, format="ascii.ecsv")
    except Exception as error:  # astropy raises whatever it meets
        told = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)[:200]
        raise DataError(f"{path}: is damaged: {told}; expected {_WHAT}") from error
    missing = {"uid", "label", "who", "when"}.difference(table.colnames)
    if missing:
        raise DataError(f"{path}: has no column {', '.join(sorted(missing))}: expected {_WHAT}")
    entries = []
    for number, row in enumerate(table):
        values = {n: row[n] for n in _NAMES if n in table.colnames and row[n] is not np.ma.masked}
        try:
            entry = _entry(values)
            checked(entry.label)
            _moment(entry.when)
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: judgement {number + 1}: {error}") from error
        entries.append(entry)
    return entries


def _entry(values: Mapping[str, Any]) -> Label:
    def text(name: str) -> str:
        return printable(of_cell(str(values.get(name, ""))))

    period, dm, sigma = (float(values.get(name, math.nan)) for name in _NUMBERS)
    return Label(
        uid=text("uid"),
        product=text("product"),
        observation=text("observation"),
        id=text("id"),
        label=text("label"),
        note=text("note"),
        who=text("who"),
        period=period,
        dm=dm,
        sigma=sigma,
        when=text("when"),
    )


def _moment(when: str) -> datetime:
    moment = datetime.fromisoformat(when)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def labels_of(products: Iterable[Path], others: Sequence[Path] = ()) -> Labels:
    """All judgements that lie beside products, and those of other files.

    Parameters
    ----------
    products : iterable of Path
        Products of the search; those without judgements are passed over.
    others : sequence of Path
        Files of judgements, which have to be there.

    Raises
    ------
    DataError
        A file cannot be read.
    """
    files = dict.fromkeys([path for path in map(beside, products) if path.exists()] + list(others))
    return Labels(entry for path in files for entry in read_labels(path).entries)
