"""How much slower a search gets beside others: searches of one thread, 1, 2 ... N at a time.

Cores share the memory and the last cache. What a core does with all others busy, over what it does alone, is
`machine.shared_speed` of `pulsar plan --survey`; the throughput is N times that.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from options import numbers

from pulsar.synthesis import Pulsar, Sky, write_filterbank


def main() -> None:
    """Measure and print a table."""
    parser = numbers(__doc__.splitlines()[0], nchans=1024, nsamps=1 << 19)
    parser.add_argument("--most", type=int, default=len(os.sched_getaffinity(0)), help="searches at a time, at most")
    parser.add_argument("--dm", type=float, default=500.0, help="highest DM")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sky = Sky(
            nchans=args.nchans,
            fch1=1500.0,
            foff=-500.0 / args.nchans,
            tsamp=49.152e-6,
            nsamps=args.nsamps,
            pulsars=(Pulsar(period=0.0337, dm=120.0, snr=20.0, duty=0.05),),
        )
        files = [write_filterbank(sky, Path(folder) / f"{i}.fil") for i in range(args.most)]
        # Kernels compiled, files in memory.
        together(files, args.dm)
        counts = [1]
        while counts[-1] < args.most:
            counts.append(min(2 * counts[-1], args.most))
        print(f"{'searches':>9}{'elapsed [s]':>12}{'CPU s each':>12}{'speed of a core':>17}{'throughput':>12}")
        alone = 0.0
        for count in counts:
            elapsed, cpu = together(files[:count], args.dm)
            alone = alone or elapsed
            speed = alone / elapsed
            print(f"{count:>9}{elapsed:>12.1f}{cpu / count:>12.1f}{speed:>17.3f}{count * speed:>12.2f}")


def together(files: list[Path], dm: float) -> tuple[float, float]:
    """Elapsed and processor seconds of searches that run at the same time."""
    command = [sys.executable, "-m", "pulsar", "search", "--dm", "0", str(dm), "--threads", "1", "--quiet"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    running = [subprocess.Popen([*command, str(f), "--out", str(f.with_suffix(".h5")), "--overwrite"]) for f in files]
    if any(p.wait() for p in running):
        raise SystemExit("a search failed")
    elapsed, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
