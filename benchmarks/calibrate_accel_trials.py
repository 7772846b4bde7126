"""Effective number of independent trials of the acceleration search, stage by stage, from pure noise.

Run: python benchmarks/calibrate_accel_trials.py [--seeds 100] [--log2n 16]
     python benchmarks/calibrate_accel_trials.py --check -2 --zmax 200 --nharm 8 --seeds 100 --log2n 16

The second form counts detections above a trial-corrected threshold on seeds that the constants were not made with.

Detections in white noise whose single-trial probability is below p are counted for every number of harmonics and
several largest drifts; the count over p is the effective number of trials. It is printed per bin of the top harmonic
(zmax 0), or per bin and width of the drift: that of single powers, then what each stage of sums adds. These are the
constants TRIALS_LINE and, over -ln p, TRIALS_AREA of pulsar/searches/accel.py.
"""

import numpy as np
from noise_trials import check, white_noise
from options import numbers

from pulsar.config.model import AccelConfig
from pulsar.searches.accel import AccelSearch

TSAMP = 1e-3


def make(nsamps: int, zmax: float, wmax: float, nharm: int, threshold: float = 0.0) -> AccelSearch:
    """A search that lists everything."""
    config = {"zmax": zmax, "wmax": wmax, "nharm": nharm, "threshold": threshold, "max_detections": 10**6}
    return AccelSearch(nsamps, TSAMP, AccelConfig.model_validate(config))


def main() -> None:
    """Count and print."""
    parser = numbers(__doc__, seeds=100, log2n=16, wmax=0.0)
    parser.add_argument("--zmax", type=float, nargs="+", default=[0.0, 10.0, 50.0, 200.0])
    parser.add_argument("--nharm", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--decades", type=int, default=6, help="p from 10^-decades on")
    parser.add_argument("--check", type=float, metavar="SIGMA", help="compare with what this threshold promises")
    args = parser.parse_args()
    nsamps = 1 << args.log2n
    probabilities = [10.0 ** -(args.decades + i) for i in range(3)]
    if args.check is not None:
        for zmax in args.zmax:
            for nharm in args.nharm:
                check(make(nsamps, zmax, args.wmax, nharm, args.check), args.seeds)
        return
    print("zmax nharm   " + "   ".join(f"p={p:.0e}: added per cell".rjust(24) for p in probabilities))
    for zmax in args.zmax:
        before = np.zeros(len(probabilities))
        for nharm in args.nharm:
            search = make(nsamps, zmax, args.wmax, nharm)
            search.set_threshold(float(np.log(probabilities[0])))
            counts = np.zeros(len(probabilities))
            for seed in range(args.seeds):
                logp = search.search(white_noise(nsamps, seed))["logp"]
                counts += [np.count_nonzero(logp < np.log(p)) for p in probabilities]
            totals = counts / np.array(probabilities) / args.seeds
            cells = search.cells[-1, 1 if zmax > 0 else 0]
            error = np.sqrt(np.maximum(counts, 1)) / np.array(probabilities) / args.seeds / cells
            added = (totals - before) / cells
            print(
                f"{zmax:4g} {nharm:5d}   "
                + "   ".join(f"{a:8.3f} +- {e:5.3f} ({c:5.0f})" for a, e, c in zip(added, error, counts, strict=True)),
                flush=True,
            )
            before = totals


if __name__ == "__main__":
    main()
