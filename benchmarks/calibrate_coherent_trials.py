"""Effective number of independent trials of the coherent search, from pure noise.

Run: python benchmarks/calibrate_coherent_trials.py [--seeds 400] [--log2n 20]
     python benchmarks/calibrate_coherent_trials.py --check -1 --seeds 400 --log2n 18

Detections in white noise whose single-trial probability is below p are counted; the count over p and over the units of
a series (see CoherentSearch.ntrials) are the constants TRIALS of pulsar/searches/coherent.py. They grow with the
threshold: rarer maxima gain more by the refinement, and the first look loses fewer of them. The second form counts
detections above a trial-corrected threshold on seeds that the constants were not made with.
"""

import argparse

import numpy as np

from pulsar.config.model import CoherentConfig
from pulsar.searches.coherent import CoherentSearch
from pulsar.searches.stats import expected_from_sigma

PROBABILITIES = 10.0 ** np.arange(-8.0, -12.1, -0.5)
TSAMP = 60e-6


def check(threshold: float, seeds: int, nsamps: int) -> None:
    """False alarms of single series, found and promised."""
    search = CoherentSearch(nsamps, TSAMP, CoherentConfig.model_validate({"threshold": threshold}))
    found = 0
    for seed in range(seeds):
        found += len(search.search(np.random.default_rng(10**6 + seed).standard_normal(nsamps, dtype=np.float32)))
    promised = seeds * float(expected_from_sigma(threshold))
    print(f"{seeds} series of {nsamps} samples, threshold {threshold:g}: {found} found, {promised:.0f} promised")


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("--log2n", type=int, default=20)
    parser.add_argument("--check", type=float, metavar="SIGMA", help="compare with what this threshold promises")
    args = parser.parse_args()
    nsamps = 1 << args.log2n
    if args.check is not None:
        check(args.check, args.seeds, nsamps)
        return
    search = CoherentSearch(nsamps, TSAMP)
    search.set_threshold(float(np.log(PROBABILITIES[0])))
    parts = [
        search.search(np.random.default_rng(seed).standard_normal(nsamps, dtype=np.float32))["logp"]
        for seed in range(args.seeds)
    ]
    logp = np.concatenate(parts)
    print(f"{args.seeds} series of {nsamps} samples: trials per unit, and detections")
    for p in PROBABILITIES:
        count = int(np.count_nonzero(logp < np.log(p)))
        print(f"p={p:.1e}  {count / p / search.units / args.seeds:6.2f}  {count}")


if __name__ == "__main__":
    main()
