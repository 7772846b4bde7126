"""How far a batch is, what has failed and why, and when it will be over."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulsar.batch.ledger import Facts, Ledger
from pulsar.batch.records import Record
from pulsar.batch.units import Batch, Unit, read_batch
from pulsar.data.locks import FileLock, holder


@dataclass(frozen=True)
class BatchStatus:
    """How far a batch is.

    Attributes
    ----------
    units, done, running, stopped, failed, left : int
        Stopped units are among those that are left.
    failures : tuple of Record
    waits : tuple of Record
        Units that were stopped because nothing could be written, or the folder of their inputs was not there.
    runs : tuple of Record
        Units under way.
    core_hours_taken, core_hours_failed : float
        By all attempts that have ended; by those of them that failed.
    core_hours_done, core_hours_left : float
        Taken by finished units, without attempts that failed; expected for the others, by the plan times what finished
        ones have shown of it.
    bytes_done, bytes_left : int
        Of input.
    candidates : int
    eta : float or None
        Seconds until all is over at the rate of the run that is under way; None where none is, or nothing has ended.
    holder : str
        Who works on it, in words; empty where nobody does.
    unreadable : tuple of str
        Files passed over when the batch was made.
    incomplete : tuple of str
        Units of which a file holds less than its header or its neighbours promise, and which.
    problems : tuple of str
    """

    units: int
    done: int
    running: int
    stopped: int
    failed: int
    left: int
    failures: tuple[Record, ...]
    waits: tuple[Record, ...]
    runs: tuple[Record, ...]
    core_hours_taken: float
    core_hours_failed: float
    core_hours_done: float
    core_hours_left: float
    bytes_done: int
    bytes_left: int
    candidates: int
    eta: float | None
    holder: str
    unreadable: tuple[str, ...]
    incomplete: tuple[str, ...]
    problems: tuple[str, ...]

    def values(self) -> dict[str, Any]:
        """As JSON knows it."""
        values = dict(vars(self))
        for key in ("failures", "waits", "runs"):
            values[key] = [record.values() for record in values[key]]
        return values


def status(folder: Path | str) -> BatchStatus:
    """How far the batch in a folder is.

    Raises
    ------
    DataError
        There is no batch in this folder, or its list is damaged.
    """
    batch = read_batch(folder)
    lock_file = batch.folder / "lock"
    with FileLock(lock_file) as lock:
        ours = False
        with contextlib.suppress(OSError):  # whose batch it is may keep it from being written
            ours = lock.acquire()
        busy = "" if ours else holder(lock_file)
        ledger = Ledger(batch, writable=ours)
        if ours:
            with contextlib.suppress(OSError):  # a full disk: it is held all the same
                lock.sign("batch status")
            ledger.refresh()
        records, facts = ledger.records(), ledger.facts()
    return _summed(batch, [records.get(unit.name, Record(unit.name, "left")) for unit in batch.units], facts, busy)


def _summed(batch: Batch, records: Sequence[Record], facts: Facts, busy: str) -> BatchStatus:
    """Add it all up."""
    done = [(u, r) for u, r in zip(batch.units, records, strict=True) if r.status == "done"]
    todo = [(u, r) for u, r in zip(batch.units, records, strict=True) if r.status not in ("done", "failed")]
    planned, spent = sum(u.cpu for u, r in done if r.cpu), sum(r.cpu + r.earlier - r.lost for _, r in done)
    # Plans are told in hundredths of a second.
    left = sum(u.cpu for u, _ in todo) * (spent / planned if planned >= 0.01 and spent > 0.0 else 1.0)
    count = {name: sum(r.status == name for r in records) for name in ("running", "stopped", "failed")}
    return BatchStatus(
        units=len(batch.units),
        done=len(done),
        left=len(todo) - count["running"],
        **count,
        failures=tuple(r for r in records if r.status == "failed"),
        waits=tuple(r for r in records if r.waits),
        runs=tuple(r for r in records if r.status == "running"),
        core_hours_taken=sum(r.cpu + r.earlier for r in records) / 3600.0,
        core_hours_failed=sum(r.lost for r in records) / 3600.0,
        core_hours_done=spent / 3600.0,
        core_hours_left=left / 3600.0,
        bytes_done=sum(u.nbytes for u, _ in done),
        bytes_left=sum(u.nbytes for u, _ in todo),
        candidates=sum(r.candidates for _, r in done),
        eta=_eta(done, left, facts.begun) if busy and facts.ended is None else None,
        holder=busy,
        unreadable=batch.unreadable,
        incomplete=tuple(f"{unit.name}: {'; '.join(unit.incomplete)}" for unit in batch.units if unit.incomplete),
        problems=batch.problems,
    )


def _eta(done: Sequence[tuple[Unit, Record]], left: float, begun: float) -> float | None:
    """Seconds that `left` CPU seconds take at the rate since `begun`."""
    spent, lasted = sum(r.cpu for _, r in done if r.until >= begun), time.time() - begun
    # Times are told in milliseconds.
    return left * lasted / spent if spent >= 1e-3 and lasted > 0.0 else None
