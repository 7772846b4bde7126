"""How many independent alignments the search for a period of arrival times really tries.

Run: python benchmarks/calibrate_repeats.py [--sets 3000]

For random times the chance that the search computes, exp(logp), should be uniform: the number of sets below x, over x
times their number, is what CLUMPS of pulsar/searches/repeats.py has to be multiplied with.
"""

import numpy as np
from options import numbers

from pulsar.searches import repeats as module


def main() -> None:
    """Count and print."""
    args = numbers(__doc__, sets=3000, first=0).parse_args()
    levels = np.array([0.2, 0.05, 0.01, 0.002])
    for few, many in ((4, 4), (5, 6), (7, 9), (10, 15), (16, 25)):
        counts = np.zeros(levels.size)
        used = 0
        for seed in range(args.first, args.first + args.sets):
            rng = np.random.default_rng([seed, few])
            times = np.sort(rng.uniform(0, 200.0, int(rng.integers(few, many + 1))))
            found = module.repeats(times, errors=1e-3, p_min=0.2, sigma=-np.inf)
            if found is not None:
                used += 1
                counts += np.exp(found.logp) < levels
        ratio = counts / (levels * args.sets)
        cells = "  ".join(
            f"{x:g}: {r:.2f}±{r / np.sqrt(max(c, 1)):.2f}" for x, r, c in zip(levels, ratio, counts, strict=True)
        )
        print(f"{few:2d} to {many:2d} times, {used} of {args.sets} with a range to search: {cells}", flush=True)


if __name__ == "__main__":
    main()
