"""The process of one unit: told on stdin what to do, it searches and leaves a product and a record.

It ends when stdin does, so that nothing is left when whoever started it has been killed.
"""

import errno
import json
import os
import resource
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from pulsar.batch.records import Record, write_record
from pulsar.batch.units import Unit, input_bytes, inputs_gone, load_settings, log_file, product
from pulsar.config.model import Config
from pulsar.data.files import private
from pulsar.data.observation import InputFile, Observation
from pulsar.data.unfinished import FileLock, Slots
from pulsar.errors import ConfigError, DataError, storage_fault
from pulsar.io.open import open_observation
from pulsar.io.product.reader import Run
from pulsar.pipeline.progress import Progress

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
    begun = replace(Record(**request["record"]), host=socket.gethostname(), since=time.time())
    write_record(folder, begun)
    try:
        run = _search(folder, unit, request)
        pulses = len(run.rows("single_pulses"))
        ended, code = replace(begun, status="done", candidates=len(run), pulses=pulses), 0
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
            peak=used.ru_maxrss * 1024,  # Linux gives KiB
            until=now,
            lost=ended.lost + (cpu if ended.status == "failed" else 0.0),
        ),
    )
    return code


def _end(record: Record, folder: Path, unit: Unit, failure: BaseException) -> tuple[Record, int]:
    """The record of an attempt that has given no product, and the exit code."""
    if _told_to_end:
        # Whatever a library that was interrupted makes of it.
        return record.stopped("", "ended from outside"), 128 + _told_to_end
    if gone := inputs_gone(unit.inputs):
        return record.stopped("mount", gone), os.EX_IOERR
    if storage_fault(failure) or not product(folder, unit.name).parent.is_dir():
        return record.stopped("storage", str(failure)), os.EX_IOERR
    if isinstance(failure, DataError):
        return record.failed("input", str(failure)), failure.exit_code
    if isinstance(failure, ConfigError):
        return record.failed("settings", str(failure)), failure.exit_code
    if isinstance(failure, MemoryError):
        return record.failed("memory", "out of memory"), 1
    traceback.print_exception(failure)
    return record.failed("failure", f"{type(failure).__name__}: {failure}"), 1


def _same_inputs(unit: Unit) -> None:
    """Refuse files that are longer or shorter than they were when the list was made."""
    now = input_bytes(unit.inputs)
    # What is gone is told as such when it is read.
    if now not in (0, unit.nbytes):
        raise DataError(
            f"{unit.inputs[0]}: {now} bytes, {unit.nbytes} when the list of units was made (all files of the unit): it "
            "was still being written, or is another file now; make the list again with `pulsar batch init`"
        )


def _search(folder: Path, unit: Unit, request: dict[str, Any]) -> Run:
    """Search the inputs, or their copies on a local disk."""
    from pulsar.run import search

    _same_inputs(unit)
    changes = {"threads": request["threads"], "memory": str(request["memory"]), "scratch": request["scratch"]}
    config = unit.config(load_settings(folder)).changed(run=changes)
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


def _open(inputs: list[Path], copies: dict[Path, Path], config: Config) -> Observation:
    """The observation, which goes by the names of the original files."""
    obs = open_observation(*(copies.get(path, path) for path in inputs), config=config.input)
    original = {copy: path for path, copy in copies.items()}
    if copies:
        # Copies are ours: nobody changes them.
        obs.files = tuple(replace(f, path=original.get(f.path, f.path), inode=None) for f in obs.files)
    return obs


@contextmanager
def staged(
    inputs: Sequence[Path],
    stage: Path,
    ident: str,
    gate: Callable[[], AbstractContextManager[None]],
    tell: Callable[[str], None],
) -> Iterator[dict[Path, Path]]:
    """Copies of files in a new folder of ours, removed at the end; nothing where there is no room for them.

    Parameters
    ----------
    stage : Path
        The folder is made in this one, which others may use, too.
    ident : str
        Of the batch.
    gate : callable
        Gives the context in which shared storage may be read.
    tell : callable
        Called with what the astronomer should know.

    Yields
    ------
    dict of Path to Path
        Original -> copy, empty where nothing was copied.

    Raises
    ------
    DataError
        A file has changed while it was copied.
    """
    stage.mkdir(parents=True, exist_ok=True)
    files = [companion for path in inputs for companion in _companions(path)]
    # Files of one name from different folders must not meet.
    numbers = {path: f"{i:04d}" for i, path in enumerate(dict.fromkeys(path.parent for path in files))}
    with private(stage, copies_of(ident)) as folder:
        needed, free = sum(path.stat().st_size for path in files), shutil.disk_usage(folder.path).free
        copies = {path: folder.path / numbers[path.parent] / path.name for path in files}
        try:
            if needed > free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with gate():
                for path, copy in copies.items():
                    _copy(path, copy)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            folder.clear()
            tell(f"{stage}: {needed / 2**30:.2f} GiB do not fit, {free / 2**30:.2f} GiB are free: read in place")
            copies = {}
        yield copies


def copies_of(ident: str) -> str:
    """How the names of folders with copies for a batch begin."""
    return f"pulsar-batch-{ident}-"


def _companions(path: Path) -> list[Path]:
    """A file with those that it cannot be read without."""
    header = path.with_suffix(".inf")
    return [path, header] if path.suffix == ".dat" and header.exists() else [path]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with source.open("rb") as file, target.open("xb") as copy:
        state = os.fstat(file.fileno())
        # Bytes copied at a time: large enough for network file systems, small enough to end soon when told to.
        shutil.copyfileobj(file, copy, 8 << 20)
    InputFile.opened(source, 0, state).check_unchanged()
    # A result depends on the time of last change of its inputs, to be found again when a search goes on.
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))


if __name__ == "__main__":
    main()
