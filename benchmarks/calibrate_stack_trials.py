"""Effective number of independent trials of the search of a stack, stage by stage, from pure noise.

Run: python benchmarks/calibrate_stack_trials.py [--seeds 100] [--log2n 17] [--epochs 16]

Detections in sums of the powers of white noise whose single-trial probability is below p are counted, for every number
of harmonics; the count over p is the effective number of trials. What the stage of `nharm` harmonics adds to the stage
before, over the bins of the top harmonic, is printed: these are TRIALS_SINGLE and TRIALS_STAGE of
pulsar/stack/search.py. They hardly depend on the number of epochs.
"""

import numpy as np
from noise_trials import print_stages
from numpy.typing import NDArray
from options import numbers
from scipy import fft

from pulsar.config.model import FFTConfig
from pulsar.stack.grid import POINTS, StackGrid
from pulsar.stack.search import StackSearch

PROBABILITIES = (1e-4, 1e-5, 1e-6)
NHARMS = (1, 2, 4, 8, 16, 32)


def noise_powers(nsamps: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Powers of white noise at quarter bins, shape (2 nsamps,)."""
    series = rng.standard_normal(nsamps, dtype=np.float32) / np.float32(np.sqrt(nsamps))
    amplitudes = fft.rfft(series, POINTS * nsamps)[:-1]
    return np.asarray(amplitudes.real**2 + amplitudes.imag**2)


def main() -> None:
    """Count and print."""
    args = numbers(__doc__, seeds=100, log2n=17, epochs=16).parse_args()
    nsamps, weights = 1 << args.log2n, np.ones(args.epochs)
    grid = StackGrid(1e-3, nsamps, POINTS * nsamps // 2, np.zeros(1))
    searches = []
    for nharm in NHARMS:
        config = FFTConfig.model_validate({"nharm": nharm, "max_detections": 100000})
        row = [StackSearch(grid, weights, weights * grid.span, config) for _ in PROBABILITIES]
        for search, p in zip(row, PROBABILITIES, strict=True):
            search.set_threshold(float(np.log(p)))
        searches.append(row)
    counts = np.zeros((len(NHARMS), len(PROBABILITIES)))
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        total = sum((noise_powers(nsamps, rng) for _ in range(args.epochs)), np.zeros(grid.npoints, np.float32))
        total = (total / np.float32(args.epochs)).astype(np.float32)
        for i, row in enumerate(searches):
            counts[i] += [len(search.search(total)) for search in row]
    bins = args.seeds * np.diff(searches[-1][0].sums.limits, axis=1)[:, 0] / POINTS
    print(f"{args.epochs} epochs: trials per bin of the spectrum, then what each stage adds (with its Poisson error)")
    print_stages(NHARMS, PROBABILITIES, counts, bins)


if __name__ == "__main__":
    main()
