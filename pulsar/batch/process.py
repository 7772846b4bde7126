"""The process of one unit: told on stdin what to do, it searches and leaves a product and a record.

It ends when stdin does, so that nothing is left when whoever started it has been killed.
"""

import json
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pulsar.batch.records import MOST_TOLD, Record, write_record
from pulsar.batch.units import Unit, input_bytes, inputs_gone, load_settings, log_file, product
from pulsar.data.locks import FileLock, Slots
from pulsar.errors import ConfigError, DataError, storage_fault

if TYPE_CHECKING:
    from pulsar.config.model import Config
    from pulsar.io.base import BaseObservation
    from pulsar.io.product.reader import Run

#: Bytes of a KiB, in which Linux gives the largest resident memory.
KIB: Final = 1024
#: The signal that has asked for the end; 0: none has.
_told_to_end = 0


def main() -> None:
    """Read one line of JSON from stdin, search, and end with 0 (a product), or another code (the record says why)."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGINT, _terminated)
    folder, unit = Path(request["folder"]), Unit(**request["unit"])
    with FileLock(log_file(folder, unit.name)) as lock:
        # Somebody who is taken for lost may still be at it: what it gives is as good.
        while not lock.acquire(1.0):
            pass
        if product(folder, unit.name).exists():
            return
        try:
            code = _attempt(folder, unit, request)
        except OSError as error:
            sys.stderr.write(f"pulsar: its record cannot be written: {error}\n")
            code = os.EX_IOERR
    sys.stdout.flush()
    sys.stderr.flush()
    # All is on disk. To take libraries and compiled kernels apart in order costs 0.7 s more.
    os._exit(code)


def _end_with_parent() -> None:
    # The other end is closed when the process that holds it ends, in whatever way.
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def _terminated(signum: int, _frame: FrameType | None) -> NoReturn:
    global _told_to_end
    _told_to_end = signum
    raise SystemExit(128 + signum)


def _attempt(folder: Path, unit: Unit, request: dict[str, Any]) -> int:
    """Search a unit and write its record; the exit code."""
    begun = Record(
        unit.name,
        "running",
        attempts=int(request["attempts"]),
        threads=int(request["threads"]),
        host=socket.gethostname(),
        since=time.time(),
        earlier=float(request["earlier"]),
        lost=float(request["lost"]),
    )
    write_record(folder, begun)
    try:
        found = _search(folder, unit, request)
        ended, code = replace(begun, status="done", candidates=len(found), pulses=_pulses(found)), 0
    except (Exception, SystemExit) as failure:
        ended, code = _end(begun, folder, unit, failure)
    if ended.reason:
        sys.stderr.write(f"pulsar: {ended.status}: {ended.reason}\n")
    used, helpers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    now = time.time()
    cpu = round(used.ru_utime + used.ru_stime + helpers.ru_utime + helpers.ru_stime, 3)
    write_record(
        folder,
        replace(
            ended,
            seconds=round(max(0.0, now - begun.since), 3),
            cpu=cpu,
            peak=used.ru_maxrss * KIB,
            until=now,
            lost=ended.lost + (cpu if ended.status == "failed" else 0.0),
        ),
    )
    return code


def _end(record: Record, folder: Path, unit: Unit, failure: BaseException) -> tuple[Record, int]:
    """The record of an attempt that has given no product, and the exit code."""
    if _told_to_end:
        # Whatever a library that was interrupted makes of it.
        return replace(record, status="stopped", reason="ended from outside"), 128 + _told_to_end
    if gone := inputs_gone(unit.inputs):
        return replace(record, status="stopped", kind="mount", reason=gone[:MOST_TOLD]), os.EX_IOERR
    if storage_fault(failure) or not product(folder, unit.name).parent.is_dir():
        return replace(record, status="stopped", kind="storage", reason=str(failure)[:MOST_TOLD]), os.EX_IOERR
    if isinstance(failure, ConfigError | DataError):
        return _failed(
            record, "input" if isinstance(failure, DataError) else "settings", str(failure)
        ), failure.exit_code
    if isinstance(failure, MemoryError):
        return _failed(record, "memory", "out of memory"), 1
    traceback.print_exception(failure)
    return _failed(record, "failure", f"{type(failure).__name__}: {failure}"), 1


def _failed(record: Record, kind: str, reason: str) -> Record:
    return replace(record, status="failed", kind=kind, reason=reason[:MOST_TOLD], attempts=record.attempts + 1)


def _same_inputs(unit: Unit) -> None:
    """Refuse files that are longer or shorter than they were when the list was made."""
    now = input_bytes(unit.inputs)
    # What is gone is told as such when it is read.
    if now not in (0, unit.nbytes):
        raise DataError(
            f"{unit.inputs[0]}: {now} bytes, {unit.nbytes} when the list of units was made (all files of the unit): it "
            "was still being written, or is another file now; make the list again with `pulsar batch init`"
        )


def _search(folder: Path, unit: Unit, request: dict[str, Any]) -> "Run":
    """Search the inputs, or their copies on a local disk."""
    from pulsar.batch.staging import staged
    from pulsar.pipeline.progress import Progress
    from pulsar.run import search

    _same_inputs(unit)
    config = unit.config(load_settings(folder))
    given = {"threads": request["threads"], "memory": str(request["memory"]), "scratch": request["scratch"]}
    run = config.run.model_copy(update=given)
    config = config.model_copy(update={"run": run})
    progress = Progress("log")
    slots = Slots(folder / "slots", int(request["io_slots"]))
    inputs = [Path(path) for path in unit.inputs]
    with ExitStack() as stack:
        copies: dict[Path, Path] = {}
        if request["stage_in"]:
            stage = Path(request["stage_in"])
            copies = stack.enter_context(staged(inputs, stage, request["ident"], slots, progress.warning))
        with slots():
            obs = _open(inputs, copies, config)
        stack.enter_context(closing(obs))
        if not copies:
            obs.gate = slots
        out = product(folder, unit.name)
        return search(obs, config, out, resume=True, argv=request["argv"], progress=progress)


def _pulses(run: "Run") -> int:
    return len(run.rows("single_pulses"))


def _open(inputs: list[Path], copies: dict[Path, Path], config: "Config") -> "BaseObservation":
    """The observation, which goes by the names of the original files."""
    from pulsar.io.open import open_observation

    obs = open_observation(*(copies.get(path, path) for path in inputs), config=config.input)
    original = {copy: path for path, copy in copies.items()}
    if copies:
        # Copies are ours: nobody changes them.
        obs.files = tuple(replace(f, path=original.get(f.path, f.path), inode=None) for f in obs.files)
    return obs


if __name__ == "__main__":
    main()
