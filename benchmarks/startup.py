"""How long the program takes to start, in fresh processes, against what is promised; exit code 1 if one is missed.

    python benchmarks/startup.py [--repeat 5]

- ``pulsar --help``, and ``pulsar info`` on a filterbank file;
- ``pulsar search`` on a small one (64 channels x 2^16 samples, DM 0-50) with an empty numba cache, less what it takes
  afterwards: the compilation that a user waits for once; and the whole of it afterwards.

Judged is the elapsed time, or the CPU time of the process where that is less: a machine busy with other work must not
fail it. The least of `--repeat` runs; with an empty cache one.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from pulsar.synthesis import Pulsar, Sky, write_filterbank

#: Limits [s].
HELP, INFO, COLD, WARM = 0.4, 1.0, 60.0, 3.0


class Times(NamedTuple):
    """Elapsed and CPU time of a process [s]."""

    wall: float
    cpu: float

    @property
    def judged(self) -> float:
        """What counts."""
        return min(self.wall, self.cpu)


def once(arguments: list[str], cache: Path) -> Times:
    """Run ``pulsar ARGUMENTS`` with that numba cache."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "pulsar", *arguments]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    return Times(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def best_of(repeat: int, arguments: list[str], cache: Path) -> Times:
    """The least of several runs."""
    runs = [once(arguments, cache) for _ in range(repeat)]
    return Times(min(run.wall for run in runs), min(run.cpu for run in runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = folder / "cache"
        pulsar = Pulsar(period=0.0731, dm=21.0, snr=25, duty=0.05)
        sky = Sky(nchans=64, foff=-7.8125, fch1=1496.0, tsamp=128e-6, nsamps=1 << 16, pulsars=(pulsar,))
        file = str(write_filterbank(sky, folder / "small.fil"))
        search = ["search", file, "--dm", "0", "50", "--out", str(folder / "run.h5"), "--overwrite", "--quiet"]
        helped = best_of(repeat, ["--help"], cache)
        info = best_of(repeat, ["info", file], cache)
        cold = once(search, cache)
        warm = best_of(repeat, search, cache)
    figures = {
        "pulsar --help": (helped, HELP),
        "pulsar info": (info, INFO),
        "compilation, first search": (Times(cold.wall - warm.wall, cold.cpu - warm.cpu), COLD),
        "small search, compiled": (warm, WARM),
    }
    missed = False
    for what, (times, limit) in figures.items():
        good = times.judged < limit
        missed = missed or not good
        verdict = "ok" if good else "MISSED"
        print(f"{what:<26} {times.wall:7.2f} s elapsed  {times.cpu:7.2f} CPU s  limit {limit:4g} s  {verdict}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
