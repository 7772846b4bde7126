"""CPU time of the acceleration search, stage by stage, and PRESTO's on the same series; their candidates; recall.

Run: python benchmarks/bench_accel.py [--log2n 21] [--zmax 200] [--wmax 0] [--nharm 8] [--repeat 5] [--memory BYTES]
     python benchmarks/bench_accel.py --compare 20 [--log2n 20] [--zmax 200]
     python benchmarks/bench_accel.py --recall 100 [--log2n 20] [--zmax 200]

PRESTO (accelsearch and realfft) is run where it is found on the PATH, with one thread; its time is that of accelsearch
on the spectrum that realfft made, by default and with -inmem.

The second form injects pulsars of S/N 8 to 20 that drift, and lists what PRESTO finds above 8 sigma and this search
does not, and how the significances in a single trial compare. The third counts the pulsars of S/N 15 that are found.
"""

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from options import numbers
from peer_programs import timed
from peers import write_series

from pulsar.config.model import AccelConfig
from pulsar.constants import C
from pulsar.searches import stats
from pulsar.searches.accel import AccelSearch

TSAMP = 64e-6


def make(args: argparse.Namespace, nsamps: int) -> AccelSearch:
    """The search that is asked for."""
    config = AccelConfig.model_validate(
        {"zmax": args.zmax, "wmax": args.wmax, "nharm": args.nharm, "threshold": args.threshold}
    )
    return AccelSearch(nsamps, TSAMP, config, memory=args.memory)


def pulses(nsamps: int, freq: float, z: float, duty: float, snr: float, phase: float) -> np.ndarray:
    """Gaussian pulses: frequency at mid-observation [Hz], drift [bins], duty cycle, matched-filter S/N."""
    u = np.arange(nsamps) / nsamps - 0.5
    return profile(freq * nsamps * TSAMP * u + 0.5 * z * u**2 + phase, duty, snr)


def profile(turns: np.ndarray, duty: float, snr: float) -> np.ndarray:
    """Gaussian pulses at these turns."""
    turns = turns - np.round(turns)
    x = np.exp(-4 * np.log(2) * (turns / duty) ** 2)
    x -= x.mean()
    return np.asarray(x * snr / np.sqrt(np.sum(x**2)), dtype=np.float32)


def stages(search: AccelSearch, series: np.ndarray, repeat: int) -> dict[str, float]:
    """Least CPU seconds of the stages and of the whole."""
    from pulsar_kernels import correlate, drifts, hits, whiten

    spent: dict[str, float] = {}

    def clock(func: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed_call(*args: Any) -> Any:
            start = time.process_time()
            result = func(*args)
            spent[name] = spent.get(name, 0.0) + time.process_time() - start
            return result

        return timed_call

    search.search(series)
    best: dict[str, float] = {}
    places = (
        (correlate, "short_series", "short series"),
        (correlate, "correlate", "correlation"),
        (drifts, "sum_rows", "harmonic sums"),
        (hits, "select", "refinement"),
        (whiten, "whiten_amplitudes", "whitening"),
        (search.amplitudes, "fill", "FFT, noise level"),
    )
    kept = [getattr(module, name) for module, name, _ in places]
    for module, name, label in places:
        setattr(module, name, clock(getattr(module, name), label))
    for _ in range(repeat):
        spent.clear()
        clock(search.search, "search")(series)
        best = {name: min(value, best.get(name, value)) for name, value in spent.items()}
    for (module, name, _), func in zip(places, kept, strict=True):
        setattr(module, name, func)
    return best


def accelsearch(series: np.ndarray, args: argparse.Namespace, *options: str) -> tuple[float, list[list[str]]]:
    """CPU seconds of accelsearch, and the words of its candidates' lines."""
    with tempfile.TemporaryDirectory() as name:
        path = write_series(Path(name) / "series.dat", series.size, TSAMP)
        (series - series.mean()).astype("<f4").tofile(path)
        timed(("realfft", path.name), path.parent)
        command = ["accelsearch", "-zmax", f"{args.zmax:g}", "-numharm", str(args.nharm), "-flo", "0.5", *options]
        if args.wmax > 0:
            command += ["-wmax", f"{args.wmax:g}"]
        spent = timed((*command, "series.fft"), path.parent)[0].cpu
        lists = [p for p in path.parent.glob("series_ACCEL_*") if p.suffix == ""]
        words = [line.split() for p in lists for line in p.read_text().splitlines()[3:]]
        last = next((i for i, line in enumerate(words) if not line), len(words))
        return spent, words[:last]


def number(text: str) -> float:
    """A number before its error in brackets."""
    value = text.split("(")[0]
    return float(value + text[text.index(")") + 1 :].replace("x10^", "e")) if ")" in text else float(value)


def compare(args: argparse.Namespace, nsamps: int) -> None:
    """Both searches on the same pulsars."""
    search = make(args, nsamps)
    rng = np.random.default_rng(7)
    missed = strong = both = 0
    only, chance = [0, 0], [0, 0]
    ratios = []
    for seed in range(args.compare):
        x = np.random.default_rng(seed).standard_normal(nsamps, dtype=np.float32)
        pulsars = []
        for _ in range(3):
            freq = float(np.exp(rng.uniform(np.log(30.0), np.log(500.0))))
            z = float(rng.uniform(-0.95, 0.95) * args.zmax / rng.choice([1, 2, 4, 8]))
            x += pulses(nsamps, freq, z, rng.choice([0.05, 0.1, 0.3]), rng.uniform(8.0, 20.0), rng.uniform())
            pulsars.append((freq * search.tobs, z))
        mine = search.search(x)
        r, z = mine["freq"] * search.tobs, mine["fdot"] * search.tobs**2
        theirs = [(float(w[1]), float(w[2]), int(w[4]), number(w[7]), number(w[9])) for w in accelsearch(x, args)[1]]
        for sigma, power, nharm, r0, z0 in theirs:
            near = np.flatnonzero((np.abs(r - r0) < 1.5) & (np.abs(z - z0) < 4.0))
            strong += sigma > 8.0
            # Theirs may be a multiple or a fraction of what is in our list.
            if sigma > 8.0 and not near.size and not any(related(r0, other) for other in r):
                missed += 1
                print(f"only PRESTO: series {seed}, sigma {sigma:.1f}, r {r0:.2f}, z {z0:.2f}, {nharm} harmonics")
            if near.size and sigma > 3.0:
                theirs_single = float(stats.sigma_from_logp(stats.power_logp(power, nharm)))
                ratios.append(float(mine["sigma_single"][near[0]]) / theirs_single)
            chance[1] += not any(related(r0, p[0]) for p in pulsars)
        chance[0] += sum(not any(related(one, p[0]) for p in pulsars) for one in r)
        for r0, z0 in pulsars:
            mine_has = bool(np.any((np.abs(r - r0) < 1.5) & (np.abs(z - z0) < 4.0)))
            theirs_has = any(abs(c[3] - r0) < 1.5 and abs(c[4] - z0) < 4.0 for c in theirs)
            both += mine_has and theirs_has
            only[0] += mine_has and not theirs_has
            only[1] += theirs_has and not mine_has
    print(f"{args.compare} series of 2^{args.log2n} with 3 pulsars each: {strong} candidates of PRESTO above 8 sigma")
    print(f"  of these not in our list: {missed}")
    print(f"  pulsars listed (default thresholds) by both {both}, only by us {only[0]}, only by PRESTO {only[1]}")
    print(f"  listed and not related to a pulsar: by us {chance[0]}, by PRESTO {chance[1]}")
    spread = np.percentile(ratios, [5, 50, 95])
    print("  our sigma in a single trial over theirs: 5 %, 50 %, 95 % " + ", ".join(f"{s:.3f}" for s in spread))


def related(r: float, other: float) -> bool:
    """Whether two frequencies [bins] are as small integers, within 2 bins."""
    return any(abs(r * n - round(r * n / other) * other) < 2.0 * n for n in range(1, 9) if round(r * n / other) > 0)


def recall(args: argparse.Namespace, nsamps: int) -> None:
    """Pulsars of S/N 15: P 2 to 30 ms, duty cycle 5 to 30 %, drift up to 190 at one harmonic; and circular orbits."""
    search = make(args, nsamps)
    still = make(argparse.Namespace(**(vars(args) | {"zmax": 0.0, "wmax": 0.0})), nsamps)
    rng = np.random.default_rng(11)
    tobs = search.tobs
    for kind in ("fundamental", "harmonic 8", "orbit"):
        found = resting = exact = 0
        for seed in range(args.recall):
            x = np.random.default_rng(5000 + seed).standard_normal(nsamps, dtype=np.float32)
            freq = float(1.0 / np.exp(rng.uniform(np.log(2e-3), np.log(30e-3))))
            duty = float(rng.uniform(0.25, 0.5) if kind == "fundamental" else rng.uniform(0.05, 0.3))
            z = float(rng.uniform(-0.95, 0.95) * args.zmax / (1 if kind == "fundamental" else 8))
            if kind == "orbit":
                # Over a tenth of the orbit, at its phase `at`; the drift is at most z.
                at, omega = rng.uniform(0, 2 * np.pi), 2 * np.pi * 0.1 / tobs
                t = (np.arange(nsamps) + 0.5) * TSAMP - 0.5 * tobs
                a = -z * C / (freq * tobs**2)
                path = a / omega**2 * (np.cos(at) - np.cos(omega * t + at) - np.sin(at) * omega * t)
                z = float(z * np.cos(at))
                x += profile(freq * (t - path / C), duty, 15.0)
            else:
                x += pulses(nsamps, freq, z, duty, 15.0, float(rng.uniform()))
            det = search.search(x)
            near = (np.abs(det["freq"] - freq) * tobs < 2.0) & (np.abs(det["fdot"] * tobs**2 - z) < 3.0)
            found += bool(np.any(near & (det["sigma"] > 2.0)))
            exact += bool(near.size and near[0])
            det = still.search(x)
            resting += bool(np.any((np.abs(det["freq"] - freq) * tobs < 1.0 + 0.5 * abs(z)) & (det["sigma"] > 2.0)))
        print(
            f"{kind:12s}: {found} of {args.recall} found with the drift within 3 bins ({exact} as the best detection); "
            f"{resting} without acceleration"
        )


def main() -> None:
    """Measure and print."""
    parser = numbers(__doc__, log2n=21, zmax=200.0, wmax=0.0, nharm=8, threshold=0.0, repeat=5)
    parser.add_argument("--memory", type=int)
    parser.add_argument("--compare", type=int, default=0, metavar="SERIES")
    parser.add_argument("--recall", type=int, default=0, metavar="PULSARS")
    args = parser.parse_args()
    nsamps = 1 << args.log2n
    if args.compare:
        compare(args, nsamps)
        return
    if args.recall:
        recall(args, nsamps)
        return
    series = np.random.default_rng(1).standard_normal(nsamps, dtype=np.float32)
    search = make(args, nsamps)
    best = stages(search, series, args.repeat)
    plane = search.plane
    print(
        f"2^{args.log2n} samples, zmax {args.zmax:g}, wmax {args.wmax:g}, {args.nharm} harmonics: CPU s, best of "
        f"{args.repeat}; {plane.npoints / 1e6:.0f} M points in blocks of {plane.n}, "
        f"{'kept' if plane.stored else f'slabs of {plane.slab} blocks'}, {search.limits.memory_bytes / 1e6:.0f} MB, "
        f"estimate {search.estimate(search.nsamps, search.tsamp, search.config).seconds:.3f}"
    )
    for name in (
        "search",
        "FFT, noise level",
        "whitening",
        "short series",
        "correlation",
        "harmonic sums",
        "refinement",
    ):
        print(f"  {name:18s} {best.get(name, 0.0):8.4f}")
    print(f"peak of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")
    if shutil.which("accelsearch") and shutil.which("realfft"):
        for options in ((), ("-inmem",)) if args.wmax == 0 else ((),):
            theirs = min(accelsearch(series, args, *options)[0] for _ in range(min(args.repeat, 3)))
            print(f"accelsearch {' '.join(options):8s} {theirs:8.3f}   {theirs / best['search']:.1f} times")


if __name__ == "__main__":
    main()
