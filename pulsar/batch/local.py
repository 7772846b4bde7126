"""Units side by side on this machine, by its cores and its memory, each in a process that is watched until it ends."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from pulsar.batch.process import copies_of
from pulsar.batch.records import Record, again, finish, read_record, write_record
from pulsar.batch.units import Batch, Unit, inputs_gone, log_file, product
from pulsar.config.resources import command, environment, resident_memory
from pulsar.data.files import open_to_write, sweep
from pulsar.data.unfinished import ENDS
from pulsar.data.validated import STRICT, Count, Seconds
from pulsar.pipeline.room import BASE_MEMORY, LEAST_MEMORY

#: Of a process that a signal has ended which asks for it, before it could answer and as its answer.
_ENDED: Final = tuple(code for number in ENDS for code in (-number, 128 + number))


@dataclass(frozen=True)
class Options:
    """How units are run."""

    threads: Count = 1  # Of each unit
    memory: Count = 1 << 30  # Budget of each unit [byte]
    memory_limit: Count = 0  # A unit that takes more is ended [byte]; 0: no limit
    time_limit: Seconds = 0.0  # A unit that takes longer is ended [s]; 0: no limit
    until: Seconds = 0.0  # All units are ended at this moment, to go on later [s since 1970]; 0: never
    io_slots: Count = 0  # Units that read shared storage at a time; 0: no bound
    stage_in: str = ""  # Folder on a local disk to which inputs are copied; empty: they are read in place
    scratch: str = ""  # Folder of scratch files; empty: beside the product
    ident: str = ""  # Of the batch
    argv: tuple[str, ...] = ()  # The command line, for the provenance

    __pydantic_config__ = STRICT


def run_unit(folder: Path | str, unit: Unit, options: Options, stop: threading.Event | None = None) -> Record:
    """Search one unit in a process of its own.

    Parameters
    ----------
    folder : Path
        Of the batch.
    stop : threading.Event, optional
        Set from elsewhere to have it end.

    Returns
    -------
    Record
        What came of it; below 1 kB as JSON.
    """
    try:
        return _run_unit(Path(folder).absolute(), unit, options, stop)
    except OSError as error:
        # A full disk, a folder that is gone: nothing is kept of this attempt, so that the next run tries it again.
        return Record(unit.name, "left").stopped("storage", f"{error.filename or folder}: {error.strerror}")


def _run_unit(folder: Path, unit: Unit, options: Options, stop: threading.Event | None) -> Record:
    before = read_record(folder, unit.name)
    if product(folder, unit.name).exists() and before is not None and before.status == "done":
        return before
    if gone := inputs_gone(unit.inputs):
        record = (before or Record(unit.name, "left")).stopped("mount", gone)
        write_record(folder, record)
        return record
    begin = Record(unit.name, "running", threads=options.threads)
    if before is not None:
        begin = replace(begin, attempts=before.attempts, earlier=before.earlier + before.cpu, lost=before.lost)
    request = {"folder": str(folder), "unit": asdict(unit), "record": asdict(begin), **asdict(options)}
    begun, cpu = time.time(), 0.0
    with os.fdopen(open_to_write(log_file(folder, unit.name), flags=os.O_APPEND), "ab") as log:
        process = _start(options.threads, log)
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            ended, cpu = _watch(process, options, stop)
        except BrokenPipeError:
            ended = ""
        finally:
            _end(process)
    if options.stage_in:
        sweep(Path(options.stage_in), copies_of(options.ident))
    after = read_record(folder, unit.name)
    if product(folder, unit.name).exists():
        return after if after is not None and after.status == "done" else finish(folder, unit.name, after or begin)
    if ended or after is None or after.status == "running" or after.since < begun:
        last = begin if after is None or after.since < begun or after.status == "failed" else after
        after = _ended(replace(last, cpu=last.cpu or cpu), ended, process.returncode, options)
        after = replace(after, seconds=round(max(0.0, time.time() - begun), 3), since=begun, until=time.time())
        write_record(folder, after)
    return after


def _start(threads: int, log: BinaryIO) -> subprocess.Popen[bytes]:
    """The process, in a session of its own: a Ctrl-C in the terminal is for who started it."""
    return subprocess.Popen(
        command("-m", "pulsar.batch.process"),
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        # Libraries with threads of their own take no more than the unit has, or what the user says.
        env=environment({"OMP_NUM_THREADS": str(threads)}),
        start_new_session=True,
    )


def _watch(process: subprocess.Popen[bytes], options: Options, stop: threading.Event | None) -> tuple[str, float]:
    """Wait for the end.

    Returns
    -------
    str
        Why it was brought about from here, if it was: ``time``, ``memory`` or ``stopped``.
    float
        CPU time that it had taken at the last look [s].
    """
    begun, cpu = time.monotonic(), 0.0
    while True:
        try:
            process.wait(0.1)
            return "", cpu
        except subprocess.TimeoutExpired:
            cpu = max(cpu, _cpu(process.pid))
        if (stop is not None and stop.is_set()) or (options.until and time.time() >= options.until):
            return "stopped", cpu
        if options.time_limit and time.monotonic() - begun > options.time_limit:
            return "time", cpu
        if options.memory_limit and resident_memory(process.pid) > options.memory_limit:
            return "memory", cpu


def _cpu(pid: int) -> float:
    """CPU time of a process and the children that it has waited for [s] (proc(5), stat); 0 where it has ended."""
    try:
        # The name of the program, in brackets, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what still runs."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            # A process that was told to end has so long to do so [s]: of the 5 s after which a run must be over.
            process.wait(2.5)
    process.kill()
    process.wait()
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _ended(record: Record, ended: str, code: int, options: Options) -> Record:
    """The record of a unit that could not write its own."""
    if ended == "stopped" or (not ended and code in _ENDED):
        return record.stopped(record.kind, "ended from outside, goes on from its last stage")
    if not ended and code == os.EX_IOERR:
        return record.stopped("storage", f"its record cannot be written: see logs/{record.name}.log")
    if ended == "time":
        reason = f"took longer than the limit of {options.time_limit:g} s"
    elif ended == "memory":
        reason = f"took more than the limit of {options.memory_limit / 2**20:.0f} MiB"
    else:
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
        if code == -signal.SIGKILL:
            # Nobody here has sent it.
            how += ", as the system does where memory runs out: give fewer units at a time, or more memory each"
        ended, reason = "crash", f"its process ended with {how}: see logs/{record.name}.log"
    return replace(record.failed(ended, reason), lost=record.lost + record.cpu)


@dataclass(frozen=True)
class Room:
    """Cores and memory of a machine for all units together."""

    cores: int
    memory: int  # Bytes
    threads: int = 0  # Of each unit; 0: as many as the cores and the number of units allow


def least_memory() -> int:
    """Bytes below which no unit can work."""
    return BASE_MEMORY + LEAST_MEMORY


def share(unit: Unit, waiting: int, free: Room, room: Room, options: Options) -> Options | None:
    """The options of a unit with its threads and memory, from what is free, and limits where none are given.

    Parameters
    ----------
    waiting : int
        Units that are not started yet, this one among them.
    free, room : Room
        What is left, and the whole.

    Returns
    -------
    Options or None
        None where it has to wait.
    """
    least = max(least_memory(), unit.least_memory)
    alone = free == room
    if not alone and (free.cores < max(1, room.threads) or free.memory < least):
        return None
    most = max(1, min(room.cores // max(1, room.threads), room.memory // least))
    beside = max(1, min(waiting, free.cores // max(1, room.threads), free.memory // least))
    threads = min(room.threads or max(1, free.cores // beside), max(1, free.cores))
    # More than an equal share only where nobody else could use it.
    fair = max(room.memory // most, free.memory // beside if beside == waiting else 0)
    memory = max(least, min(unit.memory + (threads - 1) * unit.more_memory or fair, fair))
    if not alone and memory > free.memory:
        return None
    return replace(
        options,
        threads=threads,
        memory=memory,
        # Rates are good to a factor of two, and nodes are shared; on top comes what must be compiled first.
        time_limit=options.time_limit or 10.0 * unit.cpu / threads + 900.0,
        # What a search is held to, and what libraries may add on other machines.
        memory_limit=options.memory_limit or int(1.3 * memory) + (200 << 20),
    )


@dataclass(frozen=True, eq=False)
class Order:
    """Units that are to be searched, and how."""

    batch: Batch
    todo: Sequence[Unit]
    options: Options  # Its `threads` and `memory` are replaced by those of each unit's share
    room: Room  # What this machine, or a job of a cluster, has for all units
    retries: int  # Further attempts at a unit that has failed for other reasons than its input
    #: Called, in the thread that works, with a record when a unit ends, and on this machine when it starts, too.
    put: Callable[[Record], None]


def work(order: Order, stop: threading.Event) -> None:
    """Search units, the most expensive first, as many at a time as there is room for.

    Parameters
    ----------
    stop : threading.Event
        Set to end what runs and start nothing more.
    """
    options, room = order.options, order.room
    waiting = deque(order.todo)
    running: dict[Future[Record], tuple[Unit, Options]] = {}
    begun = time.time()
    with ThreadPoolExecutor(max(1, room.cores)) as pool:
        try:
            while running or (waiting and not stop.is_set()):
                while waiting and not stop.is_set():
                    place = _next(waiting, options.until, begun, room)
                    if place is None:
                        break
                    unit, free = waiting[place], _free(room, [unit_options for _, unit_options in running.values()])
                    unit_options = share(unit, len(waiting), free, room, options)
                    if unit_options is None:
                        break
                    del waiting[place]
                    order.put(Record(unit.name, "running", threads=unit_options.threads, since=time.time()))
                    running[pool.submit(run_unit, order.batch.folder, unit, unit_options, stop)] = unit, unit_options
                if not running:
                    return  # what is left does not fit before the end of the job
                for future in wait(running, 0.5, FIRST_COMPLETED).done:
                    unit, _ = running.pop(future)
                    record = future.result()
                    order.put(record)
                    if record.kind == "storage":
                        waiting.clear()  # they would come to the same
                    elif again(record, order.retries):
                        waiting.append(unit)
        except BaseException:
            stop.set()
            raise


def _free(room: Room, running: Sequence[Options]) -> Room:
    cores = room.cores - sum(used.threads for used in running)
    return replace(room, cores=cores, memory=room.memory - sum(used.memory for used in running))


def _next(waiting: Sequence[Unit], until: float, begun: float, room: Room) -> int | None:
    """The first unit that should end before a moment, or that no job is long enough for: it goes on from its stages."""
    if not until:
        return 0
    now = time.time()
    threads = room.threads or 1
    for place, unit in enumerate(waiting):
        seconds = unit.cpu / threads
        if now + seconds < until or (seconds > until - begun and now < until):
            return place
    return None
