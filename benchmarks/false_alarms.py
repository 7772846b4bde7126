"""False alarms of the whole program on pure noise, of each search against what its threshold promises.

A trial-corrected threshold of s sigma promises Q(s) chance sources in a run (more than one when s is negative: the
expected number is -ln(1 - Q)). Detections at neighbouring DMs of one chance are one source: the sift groups them.
Single pulses are counted by the same sigma.

    python benchmarks/false_alarms.py --seeds 20 --threshold -1
    python benchmarks/false_alarms.py --seeds 20 --zmax 50 --first 700
    python benchmarks/false_alarms.py --seeds 40 --zmax 50 --first 3000 --only accel --threshold -3
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import norm, poisson

from pulsar.config.load import load_config
from pulsar.run import search
from pulsar.synthesis import Sky, write_filterbank


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=500, help="first seed")
    parser.add_argument("--threshold", type=float, action="append", default=[])
    parser.add_argument("--zmax", type=float, default=0.0, help="search accelerations too")
    parser.add_argument("--only", choices=["fft", "coherent", "ffa", "accel"], help="this search alone")
    args = parser.parse_args()
    if args.only is not None and (args.only == "accel") != (args.zmax > 0):
        parser.error("--zmax goes with --only accel, and with no other search alone")
    thresholds = args.threshold or [-1.5, 0.0, 2.0]
    lowest = min(thresholds)
    kinds = ["fft", "coherent", "ffa", "pulse"] + (["accel"] if args.zmax > 0 else [])
    alone = [] if args.only is None else [kind for kind in kinds if kind != args.only]
    kinds = kinds if args.only is None else [args.only]
    sigmas: dict[str, list[float]] = {kind: [] for kind in kinds}
    sets = [f"{'single_pulse' if kind == 'pulse' else kind}.enabled=false" for kind in alone if kind != "accel"]
    sets += [f"{kind}.threshold={lowest}" for kind in ("fft", "coherent", "ffa", "accel")]
    sets += [
        f"accel.zmax={args.zmax}",
        "single_pulse.snr=5",
        "dedisp.dm_hi=300",
        "fold.ncands=0",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seeds):
            sky = Sky(
                nchans=128, fch1=1498.0, foff=-4.0, tsamp=128e-6, nsamps=2**17 + 1717 * seed, seed=args.first + seed
            )
            path, out = Path(folder) / f"{seed}.fil", Path(folder) / f"{seed}.h5"
            write_filterbank(sky, path, threads=2)
            run = search(path, load_config(None, sets), out)
            rows = run.rows("candidates")
            for kind in kinds:
                found = run.rows("single_pulses") if kind == "pulse" else rows[rows["kind"] == kind]
                sigmas[kind] += found["sigma"].tolist()
            print(f"seed {seed}: {len(rows)} sources above {lowest}, best {max(rows['sigma'], default=np.nan):.2f}")
            path.unlink()
    worst = 0.0
    for kind in kinds:
        for threshold in thresholds:
            promised = args.seeds * -norm.logcdf(threshold)
            count = int(np.sum(np.array(sigmas[kind]) > threshold))
            chance = min(poisson.cdf(count, promised), poisson.sf(count - 1, promised))
            worst = max(worst, abs(norm.isf(chance)))
            print(
                f"{kind:5s} threshold {threshold:5.2f}: {count} in {args.seeds} runs, {promised:.2f} promised "
                f"(p {chance:.3f})"
            )
    raise SystemExit(1 if worst > 3 else 0)


if __name__ == "__main__":
    main()
