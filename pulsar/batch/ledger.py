"""An index of what all units have come to: one file for quick looks, made anew from products and records at any time.

Only who holds the lock of the batch writes it.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Final

from pydantic import Strict, TypeAdapter

from pulsar.batch.records import (
    Record,
    Status,
    finish,
    products,
    read_record,
    record_of,
    stamps,
    sweep_parts,
    unswept,
)
from pulsar.batch.units import Batch, log_file
from pulsar.data.locks import is_held
from pulsar.data.validated import STRICT, Seconds, checked, validated
from pulsar.errors import DataError

_TABLES: Final = {
    "units": "CREATE TABLE units (name TEXT PRIMARY KEY, status TEXT, stamp INTEGER, record TEXT)",
    "facts": "CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT)",
}
#: Bytes of an index: its pages, and eight times what a record has at most. Of one text: more than any record has.
_LEAST_BYTES: Final = 1 << 20
_UNIT_BYTES: Final = 8 << 10
_TEXT_BYTES: Final = 1 << 16
#: What SQLite raises on a damaged file, also of names that are no text.
_DAMAGED: Final = (sqlite3.Error, ValueError)
_REMEDY: Final = "it is made anew by the next `pulsar batch` that may write it"


@dataclass(frozen=True)
class Facts:
    """About the run that is under way, or the last one.

    Attributes
    ----------
    engine : str
    begun : float
        [s since 1970]
    ended : float or None
        None while it goes on.
    """

    engine: str = ""
    begun: Seconds = 0.0
    ended: Seconds | None = None

    __pydantic_config__ = STRICT


_FACTS: Final = TypeAdapter(Facts)
_ROW: Final = TypeAdapter(tuple[str, Status, Annotated[int, Strict()], str])


class Ledger:
    """The index of a batch.

    Parameters
    ----------
    batch : Batch
    writable : bool
        The caller holds the lock of the batch.
    """

    def __init__(self, batch: Batch, *, writable: bool) -> None:
        self.batch = batch
        self.path = batch.folder / "ledger.sqlite"
        self.writable = writable

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
            raise DataError(f"{self.path}: is no file: {_REMEDY}")
        if self.path.exists() and self.path.stat().st_size > _LEAST_BYTES + _UNIT_BYTES * len(self.batch.units):
            raise DataError(f"{self.path}: is larger than an index of so many units: {_REMEDY}")
        # The default journal, not WAL: that needs memory shared by all, which network file systems have not.
        mode = "rwc" if self.writable else "ro"
        db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, timeout=30.0)
        try:
            db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _TEXT_BYTES)
            with db:
                self._check(db)
                yield db
        finally:
            db.close()

    def _check(self, db: sqlite3.Connection) -> None:
        """Make the tables of a new index; of an old one nothing else may be there, such as views and triggers."""
        here = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        if not here and self.writable:
            for table in _TABLES.values():
                db.execute(table)
        elif here != _TABLES:
            raise DataError(f"{self.path}: has other tables than an index of a batch: {_REMEDY}")

    def refresh(self) -> None:
        """Bring the index up to what products and records say.

        Whatever is wrong with it, it is made anew; where it cannot be written, products and records tell all the same.
        """
        if not self.writable:
            return
        try:
            self._refresh()
        except (*_DAMAGED, DataError):
            try:
                self._remove()
                self._refresh()
            except (*_DAMAGED, OSError):
                self.writable = False

    def _remove(self) -> None:
        for name in (self.path.name, f"{self.path.name}-journal"):
            path = self.path.with_name(name)
            if path.is_dir() and not path.is_symlink():
                # Nothing of ours: it is not for us to remove what is in it.
                path.rename(path.with_name(f"{name}.damaged"))
            else:
                path.unlink(missing_ok=True)

    def _refresh(self) -> None:
        folder = self.batch.folder
        names = {unit.name for unit in self.batch.units}
        done = products(folder) & names
        written = {name: stamp for name, stamp in stamps(folder) if name in names}
        with self._open() as db:
            known = {name: (status, stamp, record) for name, status, stamp, record in self._rows(db)}
            rows = []
            for name in names:
                _, stamp, record = known.get(name, ("", -1, Record(name, "left")))
                if name not in written:
                    record = Record(name, "left")
                elif written[name] != stamp:
                    record = read_record(folder, name) or Record(name, "left")
                if name in done and record.status != "done" and not self._at_work(name):
                    record = finish(folder, name, record)
                new = self._judge(record, name in done), written.get(name, 0), record
                if new != known.get(name):
                    rows.append((name, *new[:2], json.dumps(record.values())))
            for name in done & unswept(folder):
                if not self._at_work(name):
                    sweep_parts(folder, name)
            db.executemany("REPLACE INTO units VALUES (?, ?, ?, ?)", rows)
            db.executemany("DELETE FROM units WHERE name = ?", [(name,) for name in set(known) - names])

    def _rows(self, db: sqlite3.Connection) -> Iterator[tuple[str, Status, int, Record]]:
        """Name, status, time of the record and the record of each unit.

        Raises
        ------
        DataError
            The index is damaged.
        """
        for row in db.execute("SELECT name, status, stamp, record FROM units"):
            name, status, stamp, text = checked(_ROW, row, str(self.path), _REMEDY)
            yield name, status, stamp, record_of(name, text, f"{self.path}: {name}")

    def _judge(self, record: Record, done: bool) -> Status:
        """What a unit has come to: a product tells more than any record."""
        if done:
            return "done"
        if record.status == "running":
            return "running" if self._at_work(record.name) else "left"
        return "left" if record.status == "done" else record.status

    def _at_work(self, name: str) -> bool:
        # The process of a unit holds a lock as long as it lives.
        return is_held(log_file(self.batch.folder, name))

    def put(self, record: Record) -> None:
        """Note what a unit has come to, where the index can be written: its record tells the same."""
        row = (record.name, record.status, -1, json.dumps(record.values()))
        self._write("REPLACE INTO units VALUES (?, ?, ?, ?)", row)

    def note(self, facts: Facts) -> None:
        """Keep facts about the run that is under way, where the index can be written."""
        self._write("REPLACE INTO facts VALUES (?, ?)", ("run", json.dumps(asdict(facts))))

    def _write(self, order: str, row: tuple[object, ...]) -> None:
        with contextlib.suppress(*_DAMAGED, OSError):
            if self.writable:
                with self._open() as db:
                    db.execute(order, row)

    def facts(self) -> Facts:
        """What :meth:`note` has kept."""
        with contextlib.suppress(*_DAMAGED, OSError), self._open() as db:
            for (text,) in db.execute("SELECT value FROM facts WHERE key = 'run'"):
                return validated(_FACTS, text, str(self.path), _REMEDY)
        return Facts()

    def records(self) -> dict[str, Record]:
        """Last attempt of every unit by its name, with what that unit has come to."""
        records = {unit.name: Record(unit.name, "left") for unit in self.batch.units}
        with contextlib.suppress(*_DAMAGED, OSError), self._open() as db:
            rows = {name: replace(record, status=status) for name, status, _, record in self._rows(db)}
            records |= {name: rows[name] for name in records if name in rows}
            if self.writable:
                return records
        return self._newer(records)

    def _newer(self, records: dict[str, Record]) -> dict[str, Record]:
        """The records with what has come since who may write the index looked last."""
        folder = self.batch.folder
        done, written = products(folder), {name for name, _ in stamps(folder)}
        out = dict(records)
        for name, record in records.items():
            if record.status not in ("done", "failed") and (name in done or name in written):
                now = read_record(folder, name) or record
                out[name] = replace(now, status=self._judge(now, name in done))
        return out
