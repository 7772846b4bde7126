"""An index of what all units have come to: one file for quick looks, made anew from products and records at any time.

Only who holds the lock of the batch writes it.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from pulsar.batch.records import Record, Status, products, read_record, stamps
from pulsar.batch.units import Batch, log_file
from pulsar.data.locks import is_held
from pulsar.errors import PulsarError

_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS units (name TEXT PRIMARY KEY, status TEXT, stamp INTEGER, record TEXT)",
    "CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT)",
)


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
        # The default journal, not WAL: that needs memory shared by all, which network file systems have not.
        mode = "rwc" if self.writable else "ro"
        db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, timeout=30.0)
        try:
            with db:
                if self.writable:
                    for table in _TABLES:
                        db.execute(table)
                yield db
        finally:
            db.close()

    def refresh(self) -> None:
        """Bring the index up to what products and records say; a damaged one is made anew.

        Raises
        ------
        PulsarError
            It cannot be written.
        """
        try:
            self._refresh()
        except sqlite3.Error:
            self.path.unlink(missing_ok=True)
            self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
            try:
                self._refresh()
            except sqlite3.Error as error:
                raise PulsarError(f"{self.path}: the index of the batch cannot be written: {error}") from error

    def _refresh(self) -> None:
        folder = self.batch.folder
        names = {unit.name for unit in self.batch.units}
        done = products(folder) & names
        written = {name: stamp for name, stamp in stamps(folder) if name in names}
        with self._open() as db:
            known = {
                name: (status, stamp, text)
                for name, status, stamp, text in db.execute("SELECT name, status, stamp, record FROM units")
            }
            rows = []
            for name in names:
                status, stamp, text = known.get(name, ("", -1, ""))
                if name in written and written[name] != stamp:
                    record = read_record(folder, name) or Record(name, "left")
                elif text:
                    record = Record.of(json.loads(text)) if name in written else Record(name, "left")
                else:
                    record = Record(name, "left")
                now = self._judge(record, name in done)
                if (now, written.get(name, 0)) != (status, stamp):
                    rows.append((name, now, written.get(name, 0), json.dumps(record.values())))
            db.executemany("REPLACE INTO units VALUES (?, ?, ?, ?)", rows)
            db.executemany("DELETE FROM units WHERE name = ?", [(name,) for name in set(known) - names])

    def _judge(self, record: Record, done: bool) -> Status:
        """What a unit has come to: a product tells more than any record."""
        if done:
            return "done"
        if record.status == "running":
            # Its process holds a lock as long as it lives.
            return "running" if is_held(log_file(self.batch.folder, record.name)) else "left"
        return "left" if record.status == "done" else record.status

    def put(self, record: Record) -> None:
        """Note what a unit has come to.

        Raises
        ------
        PulsarError
            The index cannot be written.
        """
        row = (record.name, record.status, -1, json.dumps(record.values()))
        try:
            with self._open() as db:
                db.execute("REPLACE INTO units VALUES (?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise PulsarError(f"{self.path}: the index of the batch cannot be written: {error}") from error

    def note(self, **facts: Any) -> None:
        """Keep facts about the run that is under way."""
        with self._open() as db:
            db.executemany("REPLACE INTO facts VALUES (?, ?)", [(k, json.dumps(v)) for k, v in facts.items()])

    def facts(self) -> dict[str, Any]:
        """What :meth:`note` has kept."""
        with contextlib.suppress(sqlite3.Error), self._open() as db:
            return {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM facts")}
        return {}

    def records(self) -> dict[str, Record]:
        """Last attempt of every unit by its name, with what that unit has come to.

        Raises
        ------
        PulsarError
            The index cannot be read.
        """
        if not self.writable and not self.path.exists():
            return self._newer({unit.name: Record(unit.name, "left") for unit in self.batch.units})
        try:
            with self._open() as db:
                rows = db.execute("SELECT status, record FROM units").fetchall()
        except sqlite3.Error as error:
            raise PulsarError(f"{self.path}: the index of the batch cannot be read: {error}") from error
        found = (Record.of({**json.loads(text), "status": status}) for status, text in rows)
        records = {record.name: record for record in found}
        return records if self.writable else self._newer(records)

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
