"""What becomes of a batch on a bad day: units searched while processes are killed, the disk fills and mounts vanish?

Files of one pulsar each are searched in peace once, and then again while faults come at random: a unit or the command
itself is killed or told to end, the disk of the batch is full for some seconds, the inputs' mount is gone, a process
is stopped as one is that waits for slow storage. When the command ends it is given again, and nothing else is done by
hand. All products must say what those of the calm run say. Needs root, for the mounts:

    python benchmarks/soak.py --units 200 --seed 1 --faults 10
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[0] = str(TESTS)

from batch.conftest import candidates, command, left_behind, one_file, quick  # noqa: E402
from reference.processes import MARK, environment, processes  # noqa: E402

from pulsar.batch.begin import init  # noqa: E402
from pulsar.batch.units import Batch  # noqa: E402

#: Seconds that a full disk, a lost mount or a stopped process lasts.
LONGEST = 6.0
#: Bytes of the batch's disk beside what the calm run took.
SPARE = 8 << 20
#: The command is given so often at most.
MOST_RUNS = 400


def mount(*options: str) -> None:
    """Mount, or end with what is wrong."""
    subprocess.run(["mount", *options], check=True)


def unmount(folder: Path) -> None:
    """Detach a mount, in use or not."""
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


class Day:
    """A batch, what it stands on, and the faults that befall it.

    Parameters
    ----------
    batch : Batch
    store, inputs : Path
        Where the inputs are, and where the batch sees them.
    mark : str
        Word in the environment of all processes of the batch.
    chance : random.Random
    """

    def __init__(self, batch: Batch, store: Path, inputs: Path, mark: str, chance: random.Random) -> None:
        self.batch, self.store, self.inputs, self.mark, self.chance = batch, store, inputs, mark, chance
        self.count: Counter[str] = Counter()
        self.driver = 0

    def units(self) -> list[int]:
        """Processes of units."""
        return [pid for pid in processes(f"{MARK}={self.mark}") if pid != self.driver]

    def unit_killed(self) -> None:
        """One process of a unit, or of a helper, is gone."""
        _signal(self.chance.choice(self.units() or [self.driver]), signal.SIGKILL)

    def command_killed(self) -> None:
        """The command is gone without a word."""
        _signal(self.driver, signal.SIGKILL)

    def command_ended(self) -> None:
        """The command is told to end."""
        _signal(self.driver, signal.SIGTERM)

    def disk_full(self) -> None:
        """Nothing more can be written where the batch is."""
        filler = self.batch.folder.parent / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        time.sleep(self.chance.uniform(1.0, LONGEST))
        filler.unlink()

    def mount_gone(self) -> None:
        """The inputs are not there."""
        unmount(self.inputs)
        time.sleep(self.chance.uniform(1.0, LONGEST))
        mount("--bind", str(self.store), str(self.inputs))

    def stalled(self) -> None:
        """A process waits, as for storage that does not answer."""
        pid = self.chance.choice(self.units() or [self.driver])
        _signal(pid, signal.SIGSTOP)
        time.sleep(self.chance.uniform(1.0, LONGEST))
        _signal(pid, signal.SIGCONT)

    def fault(self) -> None:
        """One of them."""
        kinds: list[Callable[[], None]] = [
            self.unit_killed, self.command_killed, self.command_ended, self.disk_full, self.mount_gone, self.stalled,
        ]  # fmt: skip
        kind = self.chance.choice(kinds)
        self.count[kind.__name__] += 1
        kind()


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def soak(day: Day, every: float, env: dict[str, str]) -> tuple[int, Counter[int]]:
    """Give the command until it says that all is done; how often, and with which exit codes it ended."""
    codes: Counter[int] = Counter()
    begun, log = time.monotonic(), day.batch.folder.parent.with_suffix(".log")
    for run in range(1, MOST_RUNS + 1):
        with log.open("ab") as output:
            process = subprocess.Popen(command(day.batch.folder, "-q"), env=env, stdout=output, stderr=output)
            day.driver = process.pid
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(day.chance.expovariate(1.0 / every))
                if process.poll() is None:
                    day.fault()
        codes[process.returncode] += 1
        print(f"{time.monotonic() - begun:7.0f} s: run {run} ended with {process.returncode}", flush=True)
        if process.returncode == 0:
            return run, codes
    raise SystemExit(f"the batch is not done after {MOST_RUNS} runs: see {log}")


def main(
    units: int = 200,
    seed: int = 1,
    faults: Annotated[float, typer.Option(help="mean time between faults [s]")] = 10.0,
    folder: Annotated[Path | None, typer.Option(help="default: a temporary one")] = None,
) -> None:
    """Search in peace, then on a bad day, and compare."""
    with tempfile.TemporaryDirectory(prefix="pulsar-soak-") as temporary:
        top = folder or Path(temporary)
        store, inputs, disk = top / "store", top / "inputs", top / "disk"
        for each in (store, inputs, disk):
            each.mkdir(parents=True, exist_ok=True)
        for number in range(units):
            one_file(store, number)
        mount("--bind", str(store), str(inputs))
        mark = f"soak-{os.getpid()}"
        env = {**environment(), MARK: mark}
        try:
            calm = init([inputs], top / "calm", quick())
            begun = time.monotonic()
            subprocess.run(command(calm.folder, "-q"), env=env, check=True)
            expected, peace = candidates(calm), time.monotonic() - begun
            size = sum(path.stat().st_size for path in calm.folder.rglob("*") if path.is_file())
            mount("-t", "tmpfs", "-o", f"size={size + SPARE}", "none", str(disk))
            day = Day(init([inputs], disk / "batch", quick()), store, inputs, mark, random.Random(seed))
            begun = time.monotonic()
            runs, codes = soak(day, faults, env)
            same = sum(expected[name] == row for name, row in candidates(day.batch).items())
            print(
                f"{same} of {units} products as in peace; {sum(day.count.values())} faults {dict(day.count)}; "
                f"the command was given {runs} times, exit codes {dict(codes)}; {time.monotonic() - begun:.0f} s, "
                f"in peace {peace:.0f} s; left behind: {left_behind(day.batch.folder) or 'nothing'}"
            )
        finally:
            for pid in processes(f"{MARK}={mark}"):
                _signal(pid, signal.SIGKILL)
            unmount(disk)
            unmount(inputs)


if __name__ == "__main__":
    typer.run(main)
