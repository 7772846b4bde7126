"""Effective number of independent trials of the coherent search, from pure noise.

Run: python benchmarks/calibrate_coherent_trials.py [--seeds 400] [--log2n 20]
     python benchmarks/calibrate_coherent_trials.py --check -1 --seeds 400 --log2n 18

Detections in white noise whose single-trial probability is below p are counted; the count over p and over the units of
a series (see CoherentSearch.ntrials) are the constants TRIALS of pulsar/searches/coherent.py. They grow with the
threshold: rarer maxima gain more by the refinement, and the first look loses fewer of them. The second form counts
detections above a trial-corrected threshold on seeds that the constants were not made with.
"""

import numpy as np
from noise_trials import check, white_noise
from options import numbers

from pulsar.config.model import CoherentConfig
from pulsar.searches.coherent import CoherentSearch

PROBABILITIES = 10.0 ** np.arange(-8.0, -12.1, -0.5)
TSAMP = 60e-6


def main() -> None:
    """Count and print."""
    parser = numbers(__doc__, seeds=400, log2n=20)
    parser.add_argument("--check", type=float, metavar="SIGMA", help="compare with what this threshold promises")
    args = parser.parse_args()
    nsamps = 1 << args.log2n
    if args.check is not None:
        config = CoherentConfig.model_validate({"threshold": args.check})
        check(CoherentSearch(nsamps, TSAMP, config), args.seeds)
        return
    search = CoherentSearch(nsamps, TSAMP)
    search.set_threshold(float(np.log(PROBABILITIES[0])))
    logp = np.concatenate([search.search(white_noise(nsamps, seed))["logp"] for seed in range(args.seeds)])
    print(f"{args.seeds} series of {nsamps} samples: trials per unit, and detections")
    for p in PROBABILITIES:
        count = int(np.count_nonzero(logp < np.log(p)))
        print(f"p={p:.1e}  {count / p / search.units / args.seeds:6.2f}  {count}")


if __name__ == "__main__":
    main()
