"""What the units of a batch have left: products, and a record of each last attempt.

They are the truth. A unit is done when its product is there, which appears whole or not at all.
"""

import contextlib
import json
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from pulsar.batch.units import product, record_file
from pulsar.data.unfinished import write_whole

#: ``left`` is what has no record; ``stopped`` was ended by a wall time or by hand and goes on from where it was.
Status = Literal["left", "running", "stopped", "failed", "done"]
#: First bytes of an HDF5 file.
_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
#: Characters of a reason that are kept: with all else a record stays below 1 kB.
MOST_TOLD: Final = 400


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
        ``input``, ``settings``, ``time``, ``memory``, ``crash``, ``failure``, ``storage`` (the folder of the batch
        cannot be written); empty where nothing is wrong.
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
    attempts: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    peak: int = 0
    threads: int = 0
    candidates: int = 0
    pulses: int = 0
    host: str = ""
    since: float = 0.0
    until: float = 0.0
    earlier: float = 0.0
    lost: float = 0.0

    def values(self) -> dict[str, Any]:
        """As JSON knows it."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """The record of :meth:`values`."""
        return cls(**values)

    @property
    def final(self) -> bool:
        """Whether another attempt would fail in the same way: input, settings or storage are wrong."""
        return self.status == "failed" and self.kind in ("input", "settings", "storage")


def again(record: Record, retries: int) -> bool:
    """Whether a unit that has failed should be tried once more by itself."""
    return record.status == "failed" and not record.final and record.attempts <= retries


def read_record(folder: Path, name: str) -> Record | None:
    """The record of a unit; None where there is none that makes sense."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return Record.of(json.loads(record_file(folder, name).read_text(encoding="utf-8")))
    return None


def write_record(folder: Path, record: Record) -> None:
    """Replace the record of a unit, whole or not at all."""
    write_whole(record_file(folder, record.name), json.dumps(record.values()))


def put_back(folder: Path, record: Record) -> None:
    """Have a unit that has failed be as if it had not been tried, but for the time that it has taken."""
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
                yield entry.name.removesuffix(".json"), entry.stat().st_mtime_ns


def products(folder: Path) -> set[str]:
    """Names of the units whose products are there."""
    with os.scandir(folder / "products") as entries:
        return {e.name.removesuffix(".h5") for e in entries if e.name.endswith(".h5") and not e.name.startswith(".")}


def is_whole(path: Path) -> bool:
    """Whether an HDF5 file is as long as its first bytes say (HDF5 File Format Specification, superblock)."""
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
