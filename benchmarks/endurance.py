"""What becomes of searches that are disturbed: one that is killed again and again, and a batch on a bad day.

python benchmarks/endurance.py kills --folder /data                # 25.8 s of 4096 channels, DM 0-1000; 40 kills
python benchmarks/endurance.py kills --nsamps 131072 --count 10 --seed 5
python benchmarks/endurance.py kills --twice 3                     # each run is killed three times
python benchmarks/endurance.py soak --units 200 --seed 1 --faults 10   # as root
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
from typing import Annotated, Any, NamedTuple

import h5py
import numpy as np
import typer
from shared import commands
from speed import beam_files

from pulsar.batch.begin import init
from pulsar.batch.units import Batch
from pulsar.synthesis import Sky, write_filterbank

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from batch.conftest import candidates, command, left_behind, one_file, quick
from reference.processes import MARK, environment, processes

app = commands(__doc__)

#: Seconds that a full disk, a lost mount or a stopped process lasts.
LONGEST = 6.0
#: Bytes of the batch's disk beside what the calm run took.
SPARE = 8 << 20
#: The command is given so often at most.
MOST_RUNS = 400


class Spent(NamedTuple):
    """Time of processes [s]."""

    wall: float
    user: float
    system: float

    @property
    def cpu(self) -> float:
        """Of the processor."""
        return self.user + self.system

    def plus(self, more: "Spent", times: float = 1.0) -> "Spent":
        """And so many times another."""
        return Spent(*(own + times * added for own, added in zip(self, more, strict=True)))


def run(command: list[str], after: float | None = None) -> tuple[Spent, bool]:
    """What a run takes, and whether it came to its end before it was killed `after` so many seconds."""
    start = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    killed = False
    while True:
        pid, state, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if after is not None and not killed and time.monotonic() - start >= after:
            os.killpg(process.pid, signal.SIGKILL)
            killed = True
        time.sleep(0.005)
    spent = Spent(time.monotonic() - start, usage.ru_utime, usage.ru_stime)
    process.returncode = os.waitstatus_to_exitcode(state)
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"exit code {process.returncode}: {' '.join(command)}")
    return spent, process.returncode == 0


def everything(path: Path) -> dict[str, Any]:
    """All that is in a product but how and when it was made."""
    content: dict[str, Any] = {}

    def take(name: str, node: Any) -> None:
        if not name.startswith("provenance"):
            content[name] = repr(node[()].tolist()) if isinstance(node, h5py.Dataset) else ""
            content[f"{name} attributes"] = {key: repr(value) for key, value in node.attrs.items()}

    with h5py.File(path) as file:
        file.visititems(take)
    return content


def show(label: str, values: list[float], whole: float) -> None:
    """Print the median and the worst."""
    low, high = np.median(values), max(values)
    print(f"{label}: median {low:.2f} s ({100 * low / whole:.1f} %), worst {high:.2f} s ({100 * high / whole:.1f} %)")


@app.command()
def kills(
    folder: Annotated[Path | None, typer.Option(help="where the simulated file is kept")] = None,
    nsamps: int = 1 << 19,
    dm: Annotated[float, typer.Option(help="highest DM")] = 1000.0,
    count: Annotated[int, typer.Option(help="kills in all")] = 40,
    twice: Annotated[int, typer.Option(help="kills of each run")] = 1,
    calm: Annotated[int, typer.Option(help="undisturbed runs")] = 3,
    seed: int = 1,
    threads: int = 2,
) -> None:
    """A search of a FAST beam is killed at random times and gone on with: is the product the same, how much done twice?

    A kill is SIGKILL for all processes of the run, at a time drawn evenly from what an undisturbed run takes; then the
    same command goes on with `--resume` to the end. Done twice is the processor time of all its processes less that of
    an undisturbed run (the median of `--calm` runs; their scatter is the error), and as a part of that. The program's
    own is told apart from that of the system, which on a virtual machine is mostly memory that the host has to find
    anew; and what a start takes, imports, kernels and writing: that of a search of a file with next to nothing in it.
    All that the product holds must be the same, but for how and when it was made. Exit code 1 if it is not. Elapsed
    time is told, too, which says little on a machine with others on it.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        file = beam_files(folder or room, "AA+BB", nsamps)[0]
        nothing = write_filterbank(Sky(nchans=64, nsamps=1 << 14), room / "nothing.fil", threads=1)

        def search(path: Path, out: Path, *more: object) -> list[str]:
            words = ("search", path, "--out", out, "-q", "--threads", threads, *more)
            return [sys.executable, "-m", "pulsar", *map(str, words)]

        run(search(nothing, room / "nothing.h5"))
        start, _ = run(search(nothing, room / "nothing.h5", "--overwrite"))
        undisturbed = []
        for _ in range(calm):
            spent, _ = run(search(file, room / "calm.h5", "--dm", 0, dm, "--overwrite"))
            undisturbed.append(spent)
            print(f"undisturbed: {spent.wall:.1f} s elapsed, {spent.user:.1f} + {spent.system:.1f} CPU s", flush=True)
        whole, want, out = Spent(*np.median(undisturbed, axis=0)), everything(room / "calm.h5"), room / "run.h5"
        again: list[Spent] = []
        different = done = 0
        while done < count:
            spent, at, ended = whole.plus(whole, -2.0), list[float](), False
            while not ended:
                after = chance.uniform(0.0, whole.wall) if len(at) < twice else None
                more, ended = run(search(file, out, "--dm", 0, dm, "--resume"), after)
                spent = spent.plus(more)
                at += [] if ended or after is None else [after]
            same = everything(out) == want and not out.with_name("run.h5.parts").exists()
            different, done = different + (not same), done + len(at)
            out.unlink()
            if at:
                again.append(Spent(*(seconds / len(at) for seconds in spent)))
                print(
                    f"killed after {', '.join(f'{second:.1f}' for second in at)} s: "
                    f"{'the same' if same else 'ANOTHER PRODUCT'}, each {again[-1].user:.2f} + {again[-1].system:.2f} "
                    f"CPU s more, {again[-1].wall:.1f} s elapsed",
                    flush=True,
                )
    print(f"{done} kills, {different} other products; a start takes {start.user:.2f} + {start.system:.2f} CPU s")
    show("done twice at a kill [CPU]", [spent.cpu for spent in again], whole.cpu)
    show("  of the program's own", [spent.user for spent in again], whole.user)
    show("  and without the start", [spent.user - start.user for spent in again], whole.user)
    show("elapsed", [spent.wall for spent in again], whole.wall)
    raise typer.Exit(1 if different else 0)


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


def to_the_end(day: Day, every: float, env: dict[str, str]) -> tuple[int, Counter[int]]:
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


@app.command()
def soak(
    units: int = 200,
    seed: int = 1,
    faults: Annotated[float, typer.Option(help="mean time between faults [s]")] = 10.0,
    folder: Annotated[Path | None, typer.Option(help="default: a temporary one")] = None,
) -> None:
    """A batch on a bad day: units searched while processes are killed, the disk fills and mounts vanish.

    Files of one pulsar each are searched in peace once, and then again while faults come at random: a unit or the
    command itself is killed or told to end, the disk of the batch is full for some seconds, the inputs' mount is gone,
    a process is stopped as one is that waits for slow storage. When the command ends it is given again, and nothing
    else is done by hand. All products must say what those of the calm run say. Needs root, for the mounts.
    """
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
            runs, codes = to_the_end(day, faults, env)
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
    app()
