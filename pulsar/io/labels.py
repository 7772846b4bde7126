"""Judgements of candidates: what people say they are, in a file beside the product (ECSV, a line a judgement).

A judgement is added as a line at the end, on the disk before anybody is told so; nothing is changed in place, and
several processes share a file. The last one of a person about a row counts; one
without label and note takes back those before. A line that was cut off when a process was killed is left out: nobody
was told that it had been kept.
"""

import contextlib
import csv
import getpass
import io
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.data.candidate import Column
from pulsar.data.files import clean_text, read_bytes
from pulsar.data.text import cell, of_cell, printable
from pulsar.data.unfinished import NO_LOCKS, FileLock, sync
from pulsar.errors import ConfigError, DataError, PulsarError, refused
from pulsar.io.product.schema import column_meta

#: What a row can be.
LABELS: Final = ("pulsar", "interference", "known", "noise", "unsure")
#: Ends of the name of a file of judgements, in place of that of the product.
SUFFIX: Final = ".labels.ecsv"
#: Characters of a note; longer ones are cut.
MOST_NOTE: Final = 2000
#: Another viewer adds a line in milliseconds; so long is waited for it [s].
PATIENCE: Final = 5.0
#: The texts that end a line; the time comes last, so that a line that was cut off is told from a whole one.
_WHEN: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_START: Final = "# %ECSV 1.0"
_WHAT: Final = "a file of judgements (ECSV, of `pulsar view`)"


@dataclass(frozen=True)
class Label:
    """One judgement, by one person, about one row."""

    uid: str  # Of the row; see :func:`uid_of`
    #: product, observation, id: name of the file, source and start, name of the row: where it was seen.
    product: str = ""
    observation: str = ""
    id: str = ""
    label: str = ""  # One of `LABELS`; empty: none, or taken back
    note: str = ""
    who: str = ""
    period: float = math.nan  # Of the row [s]; NaN for a single pulse
    dm: float = math.nan  # [pc/cm3]
    sigma: float = math.nan
    when: str = ""  # ISO time (UTC), ending in Z

    @property
    def key(self) -> tuple[str, ...]:
        """Fields that tell it from others."""
        return self.uid, self.who, self.when, self.label, self.note

    @property
    def empty(self) -> bool:
        """True if it says nothing: it was taken back."""
        return not (self.label or self.note)


#: Columns in the order of the file.
_COLUMNS: Final = (
    Column("uid", "U1", "", "name of the row for good"),
    Column("product", "U1", "", "file in which it was judged"),
    Column("observation", "U1", "", "source and start (MJD) of the observation"),
    Column("id", "U1", "", "name of the row in that file"),
    Column("label", "U1", "", ", ".join(LABELS) + "; empty: none, or taken back"),
    Column("note", "U1", "", "in words"),
    Column("who", "U1", "", "the person"),
    Column("period", "f8", "s", "topocentric period"),
    Column("dm", "f8", "pc / cm3", "dispersion measure"),
    Column("sigma", "f8", "", "significance of the detection"),
    Column("when", "U1", "", "time of the judgement (UTC); the last of a person about a row counts"),
)
_NUMBERS: Final = {column.name for column in _COLUMNS if column.dtype == "f8"}


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
        latest: dict[str, dict[str, Label]] = {}
        for entry in self.entries:
            judgements = latest.setdefault(entry.uid, {})
            before = judgements.get(entry.who)
            if before is None or _moment(entry.when) >= _moment(before.when):
                judgements[entry.who] = entry
        return latest

    def of(self, uid: str) -> dict[str, Label]:
        """The judgement of each person about a row, by their names; without those that were taken back."""
        return {who: entry for who, entry in sorted(self._latest.get(uid, {}).items()) if not entry.empty}

    def said(self, uid: str) -> tuple[str, ...]:
        """The labels that a row has, each once; several where people disagree."""
        return tuple(dict.fromkeys(entry.label for entry in self.of(uid).values() if entry.label))

    def label_text(self, uid: str) -> str:
        """The label of a row in words; where people disagree, who says what."""
        said = self.said(uid)
        if len(said) <= 1:
            return "".join(said)
        return ", ".join(f"{entry.label} ({who})" for who, entry in self.of(uid).items() if entry.label)

    def matches(self, uid: str, label: str) -> bool:
        """True if somebody gave a row this label; "none": nobody gave any; "disputed": people disagree."""
        said = self.said(uid)
        if label == "none":
            return not said
        return len(said) > 1 if label == "disputed" else label in said

    def merged(self) -> tuple[Label, ...]:
        """The judgement that counts of each person about each row, in order of time; what was taken back stays so."""
        counting = (entry for judgements in self._latest.values() for entry in judgements.values())
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


def person(by: str | None, option: str = "--by NAME") -> str:
    """Name of who judges: as an option gives it, or else that of the user.

    Raises
    ------
    ConfigError
        It is empty, or the user has none.
    """
    if by is None:
        try:
            by = getpass.getuser()
        except (OSError, KeyError):
            raise ConfigError(f"this user has no name here; give {option}") from None
    name = plain(by, 64)
    if not name:
        raise ConfigError(f"{option}: a name is needed")
    return name


def now() -> str:
    """The time, as judgements have it."""
    return when_of(datetime.now(UTC).timestamp())


def when_of(seconds: float) -> str:
    """A time, as judgements have it, of the seconds since 1970 (UTC)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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


def header() -> str:
    """The first lines of a file, up to the names of the columns."""
    about = ["%ECSV 1.0", "---", "delimiter: ','", *column_meta(_COLUMNS)]
    about += ["meta: {format: pulsar-labels, format_version: '1.0'}", "schema: astropy-2.0"]
    return "".join(f"# {line}\n" for line in about) + ",".join(column.name for column in _COLUMNS) + "\n"


def lines(entries: Iterable[Label]) -> str:
    """Judgements as lines of a file."""
    text = io.StringIO()
    # Quotes around all texts: none of them is taken for a comment or for a missing value.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    for entry in entries:
        values = ((column.name, getattr(entry, column.name)) for column in _COLUMNS)
        writer.writerow([value if name in _NUMBERS else cell(printable(value)) for name, value in values])
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
        (fields,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError):
        return False
    return len(fields) == len(_COLUMNS) and _WHEN.fullmatch(fields[-1]) is not None


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
    from astropy.table import Table

    try:
        table = Table.read(text, format="ascii.ecsv")
    except Exception as error:  # astropy raises whatever it meets
        cause = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)[:200]
        raise DataError(f"{path}: is damaged: {cause}; expected {_WHAT}") from error
    missing = {"uid", "label", "who", "when"}.difference(table.colnames)
    if missing:
        raise DataError(f"{path}: has no column {', '.join(sorted(missing))}: expected {_WHAT}")
    entries = []
    names = [column.name for column in _COLUMNS if column.name in table.colnames]
    for number, row in enumerate(table):
        try:
            known = {name: _value(name, row[name]) for name in names if row[name] is not np.ma.masked}
            entry = Label(**{"uid": "", **known})
            checked(entry.label)
            _moment(entry.when)
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: judgement {number + 1}: {error}") from error
        entries.append(entry)
    return entries


def _value(name: str, stored: Any) -> Any:
    return float(stored) if name in _NUMBERS else printable(of_cell(str(stored)))


def _moment(when: str) -> datetime:
    moment = datetime.fromisoformat(when)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def labels_of(products: Iterable[Path], more_files: Sequence[Path] = ()) -> Labels:
    """All judgements that lie beside products, and those of other files.

    Parameters
    ----------
    products : iterable of Path
        Products of the search; those without judgements are passed over.
    more_files : sequence of Path
        Files of judgements, which have to be there.

    Raises
    ------
    DataError
        A file cannot be read.
    """
    files = dict.fromkeys([path for path in map(beside, products) if path.exists()] + list(more_files))
    return Labels(entry for path in files for entry in read_labels(path).entries)


class Sidecar:
    """A file of judgements to which lines are added.

    Parameters
    ----------
    path : Path
        Made with the first judgement.

    Raises
    ------
    ConfigError
        It cannot be written.
    DataError
        It is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None
        self._labels = Labels()
        folder = path.absolute().parent
        if not folder.is_dir():
            raise ConfigError(f"{path}: the folder {folder} does not exist; give another --labels FILE")
        place = path if path.exists() else folder
        if not os.access(place, os.W_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
            raise ConfigError(f"{path}: judgements cannot be kept there: {place} is read-only; give --labels FILE")
        self.read()

    def read(self) -> Labels:
        """Its judgements now, also those of other viewers."""
        try:
            state = self.path.stat()
        except FileNotFoundError:
            self._seen, self._labels = None, Labels()
            return self._labels
        seen = _state(state)
        if seen != self._seen:
            self._labels = read_labels(self.path)
            self._seen = seen
        return self._labels

    def add(self, entries: Sequence[Label]) -> None:
        """Add judgements; they are on the disk when this returns.

        Raises
        ------
        PulsarError
            It is not kept: the disk is full or failed, or another process holds the file.
        """
        with refused(PulsarError, f"{self.path}: the judgement was not kept"), FileLock(self.path) as lock:
            if not self._held(lock):
                raise PulsarError(f"{self.path}: another process holds it for more than {PATIENCE:g} s: not kept")
            known = self._seen is not None and self._seen == _state(self.path.stat())
            self._append(lines(entries).encode())
            if known:
                # Nobody else has added anything: what was added need not be read again.
                self._labels = Labels([*self._labels.entries, *entries])
                self._seen = _state(self.path.stat())

    @staticmethod
    def _held(lock: FileLock) -> bool:
        try:
            return lock.acquire(PATIENCE)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return True  # a file system without locks: two viewers at once are not told apart there

    def _append(self, line: bytes) -> None:
        number = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            # Whoever wrote last may have been killed.
            end, lacking = whole(self.path.read_bytes())
            os.ftruncate(number, end)
            try:
                _write(number, (lacking if end else header().encode()) + line, end)
                os.fsync(number)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(number, end)
                raise
        finally:
            os.close(number)
        if not end:
            sync(self.path.absolute().parent)


def _state(state: os.stat_result) -> tuple[int, ...]:
    """Numbers that change whenever a file does."""
    return state.st_ino, state.st_size, state.st_mtime_ns


def _write(number: int, data: bytes, at: int) -> None:
    while data:
        count = os.pwrite(number, data, at)
        data, at = data[count:], at + count
