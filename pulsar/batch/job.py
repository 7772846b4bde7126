"""One element of an array of Slurm jobs: ``python -m pulsar.batch.job OUT NUMBER``."""

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pulsar.batch.local import Order, Room, work
from pulsar.batch.records import Record, again, read_record
from pulsar.batch.slurm import read_submission
from pulsar.batch.units import product, read_batch
from pulsar.config.resources import parse_size
from pulsar.errors import DataError, PulsarError


def main(folder: Path, number: int, index: int) -> None:
    """Search a share of the units, and end before the wall time.

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
    wanted = set(order.shares[index])
    todo = [u for u in batch.units if u.name in wanted and _open(folder, u.name, order.retries)]
    stop = threading.Event()
    for number_of in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number_of, lambda *_: stop.set())
    room = Room(config.cores, parse_size(config.memory) or 0, order.threads)
    work(Order(batch, todo, options, room, order.retries, _tell, stop))


def _open(folder: Path, name: str, retries: int) -> bool:
    """Whether a unit is still to be searched: it may have been since the share was dealt."""
    if product(folder, name).exists():
        return False
    record = read_record(folder, name)
    return record is None or record.status != "failed" or again(record, retries)


def _tell(record: Record) -> None:
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    sys.stderr.write(f"{when} {record.name} {record.status} {record.reason}\n")


if __name__ == "__main__":
    arguments: list[Any] = sys.argv[1:]
    try:
        main(Path(arguments[0]), int(arguments[1]), int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")))
    except PulsarError as failure:
        sys.stderr.write(f"pulsar: {failure}\n")
        sys.exit(failure.exit_code)
