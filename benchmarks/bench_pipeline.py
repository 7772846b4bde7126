"""The whole program on one file, in a process of its own: processor seconds by stage and peak memory.

    python benchmarks/bench_pipeline.py          # 256 channels x 2^18 samples x 512 DMs, 16 harmonics, 5 folds
    python benchmarks/bench_pipeline.py --gib 6 --memory 1GiB      # a bound on memory; the same candidates as without

Compiled code is cached before anything is timed. The peer's chain for the first (planned prepsubband, realfft,
accelsearch -zmax 0, sifting, 5 folds) took 125 to 145 CPU seconds on a machine of this kind and left over 2,000 files.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from pulsar.io.product.reader import read
from pulsar.synthesis import Pulsar, Sky, write_filterbank


def run(arguments: list[str]) -> tuple[float, float]:
    """CPU seconds and peak RSS [MiB] of ``pulsar ARGUMENTS``."""
    code = (
        "import resource, sys; from pulsar.cli.app import main; sys.argv = ['pulsar', *sys.argv[1:]]\n"
        "try:\n    main()\n"
        "finally:\n    print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = next(float(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("peak"))
    return cpu, peak / 1024


def speed(folder: Path) -> None:
    """The first mark of speed."""
    sky = Sky(tsamp=64e-6, nsamps=2**18, seed=5, pulsars=(Pulsar(period=0.00537, dm=71.0, snr=25, duty=0.08),))
    path = write_filterbank(sky, folder / "speed.fil", threads=2)
    options = ["--dm", "0", "127.75", "--set", "dedisp.dm_step=0.25", "--set", "dedisp.max_downsample=1"]
    options += ["--set", "fft.nharm=16", "--ncands", "5", "--threads", "1"]
    run(["search", str(path), "--out", str(folder / "warm.h5"), *options])
    cpu, peak = run(["search", str(path), "--out", str(folder / "run.h5"), *options])
    product = read(folder / "run.h5")
    print(f"256 channels x 2^18 samples x 512 DMs, file to ranked candidates: {cpu:.1f} CPU s, peak {peak:.0f} MiB")
    for stage, (wall, stage_cpu) in product.provenance["stages"].items():
        print(f"  {stage:14s} {stage_cpu:6.2f} CPU s  {wall:6.2f} s elapsed")
    best = product.rows("candidates")[0]
    print(f"  best: P {best['period']:.9f} s, DM {best['dm']:.2f}, S/N {best['snr']:.1f}")


def memory(folder: Path, gib: float, bound: str) -> None:
    """The same file with and without a bound on memory."""
    nchans, tsamp = 1024, 65.536e-6
    sky = Sky(
        nchans=nchans,
        fch1=1499.755859375,
        foff=-0.48828125,
        tsamp=tsamp,
        nsamps=int(gib * 2**30 / nchans),
        seed=5,
        pulsars=(
            Pulsar(period=0.00537, dm=71.0, snr=25, duty=0.08),
            Pulsar(period=0.8123, dm=52.0, snr=25, duty=0.04),
        ),
    )
    path = write_filterbank(sky, folder / "big.fil", threads=2)
    runs = []
    for name, size in (("bound", bound), ("free", "12GiB")):
        out = folder / f"{name}.h5"
        cpu, peak = run(["search", str(path), "--dm", "40", "100", "--memory", size, "--out", str(out)])
        rows = read(out).rows("candidates")
        runs.append(rows)
        print(
            f"{gib:g} GiB file, --memory {size}: {cpu:.0f} CPU s, peak {peak:.0f} MiB, {len(rows)} candidates",
            flush=True,
        )
    same = len(runs[0]) == len(runs[1]) and all(
        np.allclose(runs[0][name], runs[1][name], rtol=1e-6, equal_nan=True) for name in ("period", "dm", "snr")
    )
    print("the same candidates" if same else "DIFFERENT candidates")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, help="size of the file for the memory test [GiB]")
    parser.add_argument("--memory", default="1GiB")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if args.gib:
            memory(Path(name), args.gib, args.memory)
        else:
            speed(Path(name))


if __name__ == "__main__":
    main()
