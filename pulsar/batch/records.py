"""All that the units of a batch have left: products, and a record of each last attempt; and the state that follows.

They are the truth. A unit is done when its product is there, which appears whole or not at all.
"""

import contextlib
import json
import os
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Strict

from pulsar.batch.units import Batch, Unit, log_file, product, read_batch, record_file
from pulsar.data.files import read_bytes
from pulsar.data.unfinished import FileLock, holder, is_held, write_whole
from pulsar.data.validated import STRICT, Count, Seconds, validated
from pulsar.errors import DataError, PulsarError
from pulsar.io.hdf5 import MAGIC
from pulsar.io.product.reader import read
from pulsar.pipeline.checkpoint import Checkpoint

#: ``left`` is what has no record; ``stopped`` was ended by a wall time, by hand or by storage that is full or gone,
#: and goes on from where it was.
Status = Literal["left", "running", "stopped", "failed", "done"]
#: Characters of a reason that are kept: with all else a record stays below 1 kB.
MOST_TOLD: Final = 400


@dataclass(frozen=True)
class Record:
    """The last attempt at a unit."""

    name: str
    status: Status
    reason: str = ""  # Why it failed or stopped
    #: Of what failed ``input``, ``settings``, ``time``, ``memory``, ``crash``, ``failure``; of what was stopped
    #: ``storage`` (nothing can be written), ``mount`` (the folder of its inputs is not there); else empty.
    kind: str = ""
    attempts: Count = 0  # That have failed
    #: seconds, cpu: elapsed and CPU time of the last attempt [s].
    seconds: Seconds = 0.0
    cpu: Seconds = 0.0
    peak: Count = 0  # Largest resident memory of it [byte]
    threads: Count = 0
    #: candidates, pulses: in the product.
    candidates: Count = 0
    pulses: Count = 0
    host: str = ""
    #: since, until: begin and end of the last attempt [s since 1970].
    since: Seconds = 0.0
    until: Seconds = 0.0
    earlier: Seconds = 0.0  # CPU time of the attempts before it [s]
    #: CPU time of all attempts that have failed [s]; those that were stopped have left what the next goes on from.
    lost: Seconds = 0.0

    __pydantic_config__ = STRICT

    def stopped(self, kind: str, reason: str) -> "Record":
        """The same, ended by what is outside of it."""
        return replace(self, status="stopped", kind=kind, reason=reason[:MOST_TOLD])

    def failed(self, kind: str, reason: str) -> "Record":
        """The same, ended by what is wrong with it: one more attempt has failed."""
        return replace(self, status="failed", kind=kind, reason=reason[:MOST_TOLD], attempts=self.attempts + 1)

    @property
    def waits(self) -> bool:
        """True if it was stopped by what is outside of it: no attempt is counted, and the same command goes on."""
        return self.status == "stopped" and self.kind in ("storage", "mount")


def again(record: Record, retries: int) -> bool:
    """True if a unit that has failed should be tried once more by itself.

    Where input or settings are wrong another attempt would fail in the same way.
    """
    final = record.kind in ("input", "settings")
    return record.status == "failed" and not final and record.attempts <= retries


def is_open(record: Record, retries: int) -> bool:
    """True if a unit is still to be searched: an attempt may have failed just before the run was killed."""
    return record.status not in ("done", "failed") or again(record, retries)


def read_record(folder: Path, name: str) -> Record | None:
    """The record of a unit; None where there is none that makes sense: its unit is looked at again."""
    path = record_file(folder, name)
    with contextlib.suppress(DataError):
        # Bytes of a record: far more than any has.
        record = validated(Record, read_bytes(path, "a record", most=1 << 16), str(path), "remove it")
        return record if record.name == name else None
    return None


def write_record(folder: Path, record: Record) -> None:
    """Replace the record of a unit, whole or not at all."""
    write_whole(record_file(folder, record.name), json.dumps(asdict(record)))


def put_back(folder: Path, record: Record) -> None:
    """Have a unit that has failed be as if it had not been tried, but for the time that it has taken."""
    if record.kind == "input":  # stages may be of what its files were before
        sweep_parts(folder, record.name)
    left = Record(record.name, "left", earlier=record.earlier + record.cpu, lost=record.lost)
    try:
        write_record(folder, left)
    except OSError:  # a full disk has room for no record
        record_file(folder, record.name).unlink(missing_ok=True)


def stamps(folder: Path) -> Iterator[tuple[str, int]]:
    """Names of all records, and when each was written [ns since 1970]."""
    with os.scandir(folder / "records") as entries:
        for entry in entries:
            if entry.name.endswith(".json") and not entry.name.startswith("."):
                # Of whatever time: no more than the index can hold.
                yield entry.name.removesuffix(".json"), entry.stat().st_mtime_ns % (1 << 63)


def products(folder: Path, suffix: str = ".h5") -> set[str]:
    """Names of the units whose products are there, or finished stages (``.h5.parts``)."""
    with os.scandir(folder / "products") as entries:
        files = [entry.name for entry in entries if not entry.name.startswith(".")]
    return {name.removesuffix(suffix) for name in files if name.endswith(suffix)}


def finish(folder: Path, name: str, record: Record) -> Record:
    """The record of a unit whose process was killed between its product and its record: what the product tells.

    Parameters
    ----------
    folder : Path
        Of the batch.
    name : str
        Of a unit whose product is there.
    record : Record
        The last that it has left.

    Returns
    -------
    Record
        Without candidates where the product cannot be read.
    """
    record = replace(record, status="done", kind="", reason="")
    with contextlib.suppress(PulsarError):
        run = read(product(folder, name))
        record = replace(record, candidates=len(run), pulses=len(run.rows("single_pulses")))
    with contextlib.suppress(OSError):
        write_record(folder, record)
    return record


def sweep_parts(folder: Path, name: str) -> None:
    """Remove the stages of a unit whose product is there."""
    Checkpoint(product(folder, name), "", resume=False)


def is_whole(path: Path) -> bool:
    """True if an HDF5 file is as long as its first bytes say (HDF5 File Format Specification, superblock)."""
    with contextlib.suppress(OSError, struct.error):
        with path.open("rb") as file:
            head = file.read(48)
        if head[:8] == MAGIC:
            # Address of its end: versions 0 and 1 have it at byte 40, later ones at byte 28; it counts 8 bytes.
            (end,) = struct.unpack_from("<Q", head, 40 if head[8] < 2 else 28)
            return bool(path.stat().st_size >= end)
    return False


def set_aside(folder: Path, names: Iterable[str]) -> list[Path]:
    """Rename products that a full disk, a copy or a server has cut short, so that their units are searched again.

    Parameters
    ----------
    folder : Path
        Of the batch.
    names : iterable of str
        Of its units.

    Returns
    -------
    list of Path
        Where they are now.
    """
    out = []
    for name in sorted(products(folder).intersection(names)):
        path = product(folder, name)
        if not is_whole(path):
            out.append(path.rename(path.with_name(f"{path.name}.damaged")))
            record_file(folder, name).unlink(missing_ok=True)
    return out


#: Of each unit the time of its record [ns since 1970], and that.
_Index = dict[str, tuple[Annotated[int, Strict()], Record]]


def look(batch: Batch, *, ours: bool) -> dict[str, Record]:
    """Last attempt at every unit by its name, with what that unit has come to.

    Products and records tell. An index of them saves reading those that have not changed: it is written by who holds
    the lock of the batch, and made anew whatever is wrong with it.

    Parameters
    ----------
    ours : bool
        The caller holds the lock of the batch: what a killed process has left undone is finished.
    """
    folder = batch.folder
    index = _read_index(batch)
    done, written = products(folder), dict(stamps(folder))
    current: dict[str, tuple[int, Record]] = {}
    for name in (unit.name for unit in batch.units):
        stamp, record = index.get(name, (-1, Record(name, "left")))
        if name not in written:
            record = Record(name, "left")
        elif written[name] != stamp:
            record = read_record(folder, name) or Record(name, "left")
        if ours and name in done and record.status != "done" and not _at_work(folder, name):
            record = finish(folder, name, record)
        current[name] = written.get(name, 0), record
    if ours:
        for name in done & products(folder, ".h5.parts") & current.keys():
            if not _at_work(folder, name):
                sweep_parts(folder, name)
        if current != index:
            rows = {name: (stamp, asdict(record)) for name, (stamp, record) in current.items()}
            with contextlib.suppress(OSError):  # a full disk: products and records tell all the same
                write_whole(index_file(folder), json.dumps(rows))
    return {name: replace(record, status=_judge(folder, record, name in done)) for name, (_, record) in current.items()}


def index_file(folder: Path) -> Path:
    """Where the index of a batch is."""
    return folder / "index.json"


def _read_index(batch: Batch) -> dict[str, tuple[int, Record]]:
    # For each unit twice the bytes that a record has at most, with a reason in any script.
    path, most = index_file(batch.folder), (1 << 16) + (8 << 10) * len(batch.units)
    with contextlib.suppress(DataError):
        rows = validated(_Index, read_bytes(path, "an index", most=most), str(path), "it is made anew")
        return {name: row for name, row in rows.items() if row[1].name == name}
    return {}


def _judge(folder: Path, record: Record, done: bool) -> Status:
    """The state of a unit: a product tells more than any record."""
    if done:
        return "done"
    if record.status == "running":
        return "running" if _at_work(folder, record.name) else "left"
    return "left" if record.status == "done" else record.status


def _at_work(folder: Path, name: str) -> bool:
    # The process of a unit holds a lock as long as it lives.
    return is_held(log_file(folder, name))


@dataclass(frozen=True)
class BatchStatus:
    """How far a batch is."""

    #: units, done, running, stopped, failed, left: stopped units are among those that are left.
    units: int
    done: int
    running: int
    stopped: int
    failed: int
    left: int
    failures: tuple[Record, ...]
    #: Units that were stopped because nothing could be written, or the folder of their inputs was not there.
    waits: tuple[Record, ...]
    runs: tuple[Record, ...]  # Units under way
    #: core_hours_taken, core_hours_failed: by all attempts that have ended; by those of them that failed.
    core_hours_taken: float
    core_hours_failed: float
    #: core_hours_done, core_hours_left: taken by finished units, without attempts that failed; expected for the others,
    #: by the plan times what finished ones have shown of it.
    core_hours_done: float
    core_hours_left: float
    #: bytes_done, bytes_left: of input.
    bytes_done: int
    bytes_left: int
    candidates: int
    #: Seconds until all is over at the rate of the run that is under way; None where none is, or nothing has ended.
    eta: float | None
    holder: str  # Who works on it, in words; empty where nobody does
    unreadable: tuple[str, ...]  # Files passed over when the batch was made
    incomplete: tuple[str, ...]  # Units of which a file holds less than its header or its neighbours promise, and which
    problems: tuple[str, ...]


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
        busy, begun = ("", None) if ours else (holder(lock_file), _begun(lock_file))
        if ours:
            lock.sign("batch status")
        records = look(batch, ours=ours)
    return _summed(batch, list(records.values()), busy, begun)


def _begun(lock_file: Path) -> float | None:
    """Since when a run holds a lock [s since 1970]; None where it is none, or does not say."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        signed = json.loads(lock_file.read_text(encoding="utf-8"))
        if str(signed["what"]).startswith("batch run"):
            return datetime.fromisoformat(signed["since"]).timestamp()
    return None


def _summed(batch: Batch, records: Sequence[Record], busy: str, begun: float | None) -> BatchStatus:
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
        eta=_eta(done, left, begun) if busy and begun is not None else None,
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
