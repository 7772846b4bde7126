"""All that the units of a batch have left: products, and a record of each last attempt.

They are the truth. A unit is done when its product is there, which appears whole or not at all.
"""

import contextlib
import json
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

from pydantic import TypeAdapter

from pulsar.batch.units import product, record_file
from pulsar.data.files import read_bytes
from pulsar.data.unfinished import write_whole
from pulsar.data.validated import STRICT, Count, Seconds, validated
from pulsar.errors import DataError, PulsarError
from pulsar.io.product.reader import read
from pulsar.pipeline.checkpoint import Checkpoint

#: ``left`` is what has no record; ``stopped`` was ended by a wall time, by hand or by storage that is full or gone,
#: and goes on from where it was.
Status = Literal["left", "running", "stopped", "failed", "done"]
#: First bytes of an HDF5 file.
_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
#: Characters of a reason that are kept: with all else a record stays below 1 kB.
MOST_TOLD: Final = 400
#: Bytes of a record: far more than any has.
_MOST: Final = 1 << 16


@dataclass(frozen=True)
class Record:
    """The last attempt at a unit.

    Attributes
    ----------
    name : str
    status : str
    reason : str
        Why it failed or stopped.
    kind : str
        Of what failed ``input``, ``settings``, ``time``, ``memory``, ``crash``, ``failure``; of what was stopped
        ``storage`` (nothing can be written), ``mount`` (the folder of its inputs is not there); else empty.
    attempts : int
        That have failed.
    seconds, cpu : float
        Elapsed and CPU time of the last attempt [s].
    peak : int
        Largest resident memory of it [byte].
    threads : int
    candidates, pulses : int
        In the product.
    host : str
    since, until : float
        Begin and end of the last attempt [s since 1970].
    earlier : float
        CPU time of the attempts before it [s].
    lost : float
        CPU time of all attempts that have failed [s]; those that were stopped have left what the next goes on from.
    """

    name: str
    status: Status
    reason: str = ""
    kind: str = ""
    attempts: Count = 0
    seconds: Seconds = 0.0
    cpu: Seconds = 0.0
    peak: Count = 0
    threads: Count = 0
    candidates: Count = 0
    pulses: Count = 0
    host: str = ""
    since: Seconds = 0.0
    until: Seconds = 0.0
    earlier: Seconds = 0.0
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


_RECORD: Final = TypeAdapter(Record)


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
        record = validated(_RECORD, read_bytes(path, "a record", most=_MOST), str(path), "remove it")
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


def products(folder: Path) -> set[str]:
    """Names of the units whose products are there."""
    return _named(folder, ".h5")


def unswept(folder: Path) -> set[str]:
    """Names of the units of which there are finished stages."""
    return _named(folder, ".h5.parts")


def _named(folder: Path, suffix: str) -> set[str]:
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
        if head[:8] == _SIGNATURE:
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
