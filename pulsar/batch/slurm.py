"""Units as an array of Slurm jobs: each takes its share and ends before its wall time, what is left comes next.

``python -m pulsar.batch.slurm OUT NUMBER`` is one element of the array.
"""

import contextlib
import heapq
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pulsar.batch import local
from pulsar.batch.local import Options
from pulsar.batch.records import Record, is_open, read_record
from pulsar.batch.units import MOST_LIST, Batch, Unit, product, read_batch
from pulsar.config.model import BatchConfig
from pulsar.config.resources import command as python_command
from pulsar.config.resources import parse_size
from pulsar.data.files import read_bytes
from pulsar.data.unfinished import write_whole
from pulsar.data.validated import STRICT, Count, adapter, validated
from pulsar.errors import ConfigError, DataError, PulsarError


@dataclass(frozen=True)
class Submission:
    """An order to the jobs of an array."""

    shares: tuple[tuple[str, ...], ...]  # Names of the units of each job
    options: Options
    threads: Count  # Of each unit; 0: as many as cores and the number of units allow
    retries: Count
    config: BatchConfig  # What a job may take

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Current:
    """The last submission: its job, and its number."""

    job: Annotated[str, Field(pattern="^[0-9]*$")] = ""
    number: Count = 0

    __pydantic_config__ = STRICT


def shares(units: Sequence[Unit], jobs: int) -> list[list[Unit]]:
    """Units dealt to jobs so that all have much the same to do: the next most expensive to who has least.

    Graham, R. L. (1969), SIAM J. Appl. Math. 17, 416: never more than a third above the best deal.

    Parameters
    ----------
    jobs : int
        At most; none of them is empty.
    """
    dealt: list[list[Unit]] = [[] for _ in range(min(jobs, len(units)))]
    heap = [(0.0, 0, i) for i in range(len(dealt))]
    for unit in sorted(units, key=lambda u: (-u.cpu, u.name)):
        cost, count, i = heapq.heappop(heap)
        dealt[i].append(unit)
        heapq.heappush(heap, (cost + unit.cpu, count + 1, i))
    return dealt


def script(folder: Path, number: int, jobs: int, config: BatchConfig) -> str:
    """The text of a job array.

    Parameters
    ----------
    folder : Path
        Of the batch.
    number : int
        Of the submission.
    jobs : int
        Elements of the array.
    """
    size = parse_size(config.memory) or 0
    printed = str(slurm_folder(folder) / "NUMBER").replace("%", "%%").replace("NUMBER", f"{number:04d}_%a.out")
    options = [
        f'--job-name="pulsar {folder.name}"',
        f"--array=0-{jobs - 1}",
        "--ntasks=1",
        f"--cpus-per-task={config.cores}",
        f"--mem={size // 2**20}M",
        f"--time={config.walltime}",
        f'--output="{printed}"',
        "--open-mode=append",
        *([f"--partition={config.queue}"] if config.queue else []),
        *([f"--account={config.account}"] if config.account else []),
        *config.directives,
    ]
    job = python_command("-m", "pulsar.batch.slurm", str(folder), str(number))
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in options),
        *config.prologue,
        # In place of the shell: what Slurm tells the job reaches the program.
        "exec " + shlex.join(job),
    ]
    return "\n".join(lines) + "\n"


def slurm_folder(folder: Path) -> Path:
    """Where submissions and what their jobs print are."""
    return folder.absolute() / "slurm"


def work(
    batch: Batch, order: Submission, todo: Callable[[], Sequence[Unit]], tell: Callable[[str], None], *, waiting: bool
) -> None:
    """Submit arrays until nothing is left.

    Parameters
    ----------
    order : Submission
        What their jobs are told beside their shares.
    todo : callable
        Gives the units that are left.
    tell : callable
        Called with what happens, in words.
    waiting : bool
        Wait until all is over; otherwise submit once and return.

    Raises
    ------
    ConfigError
        Slurm is not here, or refuses the jobs.
    PulsarError
        A whole array has got no further with any unit.
    """
    if shutil.which("sbatch") is None:
        raise ConfigError("--engine slurm: sbatch is not here: run this on a node from which jobs are submitted")
    folder = slurm_folder(batch.folder)
    folder.mkdir(exist_ok=True)
    last = _current(folder)
    job, number = last.job, last.number
    before: object = None
    while True:
        if job:
            tell(f"array {number:04d} is job {job} of Slurm")
            if not waiting and _alive(job):
                return
            _wait(job)
        units = todo()
        if not units:
            return
        waits = [r for u in units if (r := read_record(batch.folder, u.name)) is not None and r.waits]
        if before is not None and (len(waits) == len(units) or any(r.kind == "storage" for r in waits)):
            tell(f"no further array is submitted: {waits[0].name}: {waits[0].reason}")
            return
        now = _reached(batch, units)
        if job and now == before:
            raise PulsarError(
                f"{folder}: array {number:04d} has got no further with any unit: see {number:04d}_*.out there; "
                "batch.walltime may be too short, or batch.memory too small"
            )
        before, number = now, number + 1
        dealt = shares(units, order.config.jobs)
        whole = replace(order, shares=tuple(tuple(unit.name for unit in part) for part in dealt))
        write_whole(submission_file(batch.folder, number), json.dumps(adapter(Submission).dump_python(whole)))
        path = folder / f"{number:04d}.sh"
        write_whole(path, script(batch.folder.absolute(), number, len(dealt), order.config))
        job = _submit(path)
        write_whole(folder / "current.json", json.dumps(asdict(Current(job, number))))


def submission_file(folder: Path, number: int) -> Path:
    """Where the order to the jobs of a submission is."""
    return slurm_folder(folder) / f"{number:04d}.json"


def read_submission(folder: Path, number: int) -> Submission:
    """The order to the jobs of a submission.

    Raises
    ------
    DataError
        It is missing or damaged.
    """
    path = submission_file(folder, number)
    text = read_bytes(path, "what an array of jobs is told", most=MOST_LIST)
    return validated(Submission, text, str(path), "submit anew with `pulsar batch run --engine slurm`")


def _current(folder: Path) -> Current:
    """The last submission; where the file is damaged the number after which there is none."""
    path = folder / "current.json"
    with contextlib.suppress(DataError):
        return validated(Current, read_bytes(path, "the last submission"), str(path), "remove it")
    known = [path.stem for path in folder.glob("*.json") if path.stem.isdecimal() and path.stem.isascii()]
    return Current(number=max(map(int, known), default=0))


def _submit(path: Path) -> str:
    """Hand a script to Slurm; the number of its job."""
    sbatch = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=False)
    if sbatch.returncode:
        raise ConfigError(f"{path}: Slurm refuses it: {sbatch.stderr.strip()}")
    return sbatch.stdout.strip().partition(";")[0]


def _alive(job: str) -> bool:
    """True if any element of an array waits or runs.

    Raises
    ------
    PulsarError
        Slurm does not answer.
    """
    command = ["squeue", "--noheader", "--states=all", "--jobs", job, "--format=%T"]
    squeue = subprocess.run(command, capture_output=True, text=True, check=False)
    if squeue.returncode:
        if "Invalid job id" in squeue.stderr:
            return False  # over for so long that it is forgotten
        raise PulsarError(f"squeue does not answer: {squeue.stderr.strip()}: run the same command again later")
    over = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE"}
    over |= {"OUT_OF_MEMORY", "REVOKED"}
    return any(state not in over for state in squeue.stdout.split())


def _wait(job: str) -> None:
    begun = time.monotonic()
    while True:
        try:
            if not _alive(job):
                return
        except PulsarError:
            # Its controller may be restarting; an hour of silence is more than that.
            if time.monotonic() - begun > 3600.0:
                raise
        # Slurm's advice is not to ask often; in the first minute arrays may end soon.
        time.sleep(1.0 if time.monotonic() - begun < 60.0 else 10.0)


def _reached(batch: Batch, units: Sequence[Unit]) -> object:
    """Units that are left, and the stages that they have behind them."""
    parts = {path.relative_to(batch.folder) for path in (batch.folder / "products").glob("*.parts/*.npz")}
    return frozenset(unit.name for unit in units), frozenset(parts)


def unsearched(folder: Path, units: Sequence[Unit], retries: int) -> list[Unit]:
    """Units without a product, but for those that have failed too often; a record that says done may be older."""
    records = {unit.name: read_record(folder, unit.name) or Record(unit.name, "left") for unit in units}
    return [
        unit
        for unit in units
        if not product(folder, unit.name).exists()
        and (records[unit.name].status == "done" or is_open(records[unit.name], retries))
    ]


def main(folder: Path, number: int, index: int) -> None:
    """Search a share of the units in a job, and end before its wall time.

    Parameters
    ----------
    folder : Path
        Of the batch.
    number : int
        Of the submission.
    index : int
        Of this element of the array.
    """
    begun = time.time()
    order, batch = read_submission(folder, number), read_batch(folder)
    if not 0 <= index < len(order.shares):
        raise DataError(f"{folder}: submission {number:04d} has no share {index}: submit anew with `pulsar batch run`")
    config = order.config
    # What Slurm says of the end, where it does (since 22.05), knows of what the job has lost before it came here.
    end = float(os.environ.get("SLURM_JOB_END_TIME") or begun + config.seconds)
    # The folder of the batch names it, not what lies in there.
    options = replace(order.options, until=end - config.margin, ident=batch.ident)
    names = set(order.shares[index])
    # They may have been searched since the share was dealt.
    todo = unsearched(folder, [unit for unit in batch.units if unit.name in names], order.retries)
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    room = local.Room(config.cores, parse_size(config.memory) or 0, order.threads)
    local.work(local.Order(batch, todo, options, room, order.retries, _tell), stop)


def _tell(record: Record) -> None:
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    sys.stderr.write(f"{when} {record.name} {record.status} {record.reason}\n")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")))
    except PulsarError as failure:
        sys.stderr.write(f"pulsar: {failure}\n")
        sys.exit(failure.exit_code)
