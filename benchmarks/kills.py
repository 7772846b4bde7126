"""A search of a FAST beam is killed at random times and gone on with: is the product the same, how much is done twice?

    python benchmarks/kills.py --folder /data                     # 25.8 s of 4096 channels, DM 0-1000; 40 kills
    python benchmarks/kills.py --nsamps 131072 --kills 10 --seed 5
    python benchmarks/kills.py --twice 3                          # each run is killed three times

A kill is SIGKILL for all processes of the run, at a time drawn evenly from what an undisturbed run takes; then the same
command goes on with `--resume` to the end. Done twice is the processor time of all its processes less that of an
undisturbed run (the median of `--calm` runs; their scatter is the error), and as a part of that. The program's own is
told apart from that of the system, which on a virtual machine is mostly memory that the host has to find anew; and what
a start takes, imports, kernels and writing: that of a search of a file with next to nothing in it. All that the product
holds must be the same, but for how and when it was made. Exit code 1 if it is not. Elapsed time is told, too, which
says little on a machine with others on it.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import h5py
import numpy as np
import typer
from fast_beam import beam

from pulsar.synthesis import Sky, write_filterbank


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


def main(
    folder: Annotated[Path | None, typer.Option(help="where the simulated file is kept")] = None,
    nsamps: int = 1 << 19,
    dm: Annotated[float, typer.Option(help="highest DM")] = 1000.0,
    kills: int = 40,
    twice: Annotated[int, typer.Option(help="kills of each run")] = 1,
    calm: Annotated[int, typer.Option(help="undisturbed runs")] = 3,
    seed: int = 1,
    threads: int = 2,
) -> None:
    """Kill, go on, and compare."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        file = beam(folder or room, "AA+BB", nsamps)[0]
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
        while done < kills:
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


if __name__ == "__main__":
    typer.run(main)
