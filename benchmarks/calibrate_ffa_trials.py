"""Effective number of independent trials of the folding search, from pure noise.

Run: python benchmarks/calibrate_ffa_trials.py [--seeds 100] [--log2n 17] [--duty-min 0.002]
     python benchmarks/calibrate_ffa_trials.py --check -2 --seeds 200

The first form counts the merged detections in white noise whose single-trial probability is below p; the count over p
and over the units of a series (see FFASearch.ntrials) are the constants TRIALS of pulsar/searches/ffa.py. The second
counts detections above a trial-corrected threshold, on seeds that the constants were not made with.
"""

import numpy as np
from noise_trials import check, white_noise
from options import numbers

from pulsar.config.model import FFAConfig
from pulsar.searches.ffa import FFASearch

PROBABILITIES = (1e-5, 1e-6, 1e-7, 1e-8)
TSAMP = 1e-3


def main() -> None:
    """Count and print."""
    parser = numbers(__doc__, seeds=100, log2n=17, duty_min=0.002, duty_max=0.2, p_min=0.5)
    parser.add_argument("--check", type=float, metavar="SIGMA", help="compare with what this threshold promises")
    args = parser.parse_args()
    nsamps = 1 << args.log2n
    values = {"duty_min": args.duty_min, "duty_max": args.duty_max, "p_min": args.p_min, "max_detections": 100000}
    if args.check is not None:
        config = FFAConfig.model_validate({**values, "threshold": args.check})
        check(FFASearch(nsamps, TSAMP, config), args.seeds)
        return
    search = FFASearch(nsamps, TSAMP, FFAConfig.model_validate(values))
    print(f"{search.ntrial_periods} periods, {search.units:.3g} units in a series")
    for p in PROBABILITIES:
        search.set_threshold(float(np.log(p)))
        count = sum(len(search.search(white_noise(nsamps, seed))) for seed in range(args.seeds))
        each = 1.0 / (p * args.seeds * search.units)
        print(f"p = {p:.0e}: {count * each:7.3f} ± {np.sqrt(max(count, 1)) * each:.3f} trials a unit ({count} found)")


if __name__ == "__main__":
    main()
