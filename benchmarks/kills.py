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
from typing import Any, NamedTuple

import h5py
import numpy as np
from fast_beam import beam
from options import numbers

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
        return Spent(*(mine + times * its for mine, its in zip(self, more, strict=True)))


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


def told(what: str, values: list[float], whole: float) -> None:
    """A line with the median and the worst."""
    low, high = np.median(values), max(values)
    print(f"{what}: median {low:.2f} s ({100 * low / whole:.1f} %), worst {high:.2f} s ({100 * high / whole:.1f} %)")


def main() -> None:
    parser = numbers(__doc__, nsamps=1 << 19, kills=40, twice=1, calm=3, seed=1, dm=1000.0, threads=2)
    parser.add_argument("--folder", type=Path, help="where the simulated file is kept")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = beam(args.folder or folder, "AA+BB", args.nsamps)[0]
        nothing = write_filterbank(Sky(nchans=64, nsamps=1 << 14), folder / "nothing.fil", threads=1)

        def search(path: Path, out: Path, *more: object) -> list[str]:
            words = ("search", path, "--out", out, "-q", "--threads", args.threads, *more)
            return [sys.executable, "-m", "pulsar", *map(str, words)]

        run(search(nothing, folder / "nothing.h5"))
        start, _ = run(search(nothing, folder / "nothing.h5", "--overwrite"))
        calm = []
        for _ in range(args.calm):
            calm.append(run(search(file, folder / "calm.h5", "--dm", 0, args.dm, "--overwrite"))[0])
            print(
                f"undisturbed: {calm[-1].wall:.1f} s elapsed, {calm[-1].user:.1f} + {calm[-1].system:.1f} CPU s",
                flush=True,
            )
        whole, want, out = Spent(*np.median(calm, axis=0)), everything(folder / "calm.h5"), folder / "run.h5"
        twice: list[Spent] = []
        different = done = 0
        while done < args.kills:
            spent, at, ended = whole.plus(whole, -2.0), list[float](), False
            while not ended:
                after = chance.uniform(0.0, whole.wall) if len(at) < args.twice else None
                more, ended = run(search(file, out, "--dm", 0, args.dm, "--resume"), after)
                spent = spent.plus(more)
                at += [] if ended or after is None else [after]
            same = everything(out) == want and not out.with_name("run.h5.parts").exists()
            different, done = different + (not same), done + len(at)
            out.unlink()
            if at:
                twice.append(Spent(*(one / len(at) for one in spent)))
                print(
                    f"killed after {', '.join(f'{second:.1f}' for second in at)} s: "
                    f"{'the same' if same else 'ANOTHER PRODUCT'}, each {twice[-1].user:.2f} + {twice[-1].system:.2f} "
                    f"CPU s more, {twice[-1].wall:.1f} s elapsed",
                    flush=True,
                )
    print(f"{done} kills, {different} other products; a start takes {start.user:.2f} + {start.system:.2f} CPU s")
    told("done twice at a kill [CPU]", [one.cpu for one in twice], whole.cpu)
    told("  of the program's own", [one.user for one in twice], whole.user)
    told("  and without the start", [one.user - start.user for one in twice], whole.user)
    told("elapsed", [one.wall for one in twice], whole.wall)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
