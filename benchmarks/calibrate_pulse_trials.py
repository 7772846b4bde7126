"""Effective number of independent trials of the single pulse search, from pure noise.

Run: python benchmarks/calibrate_pulse_trials.py [--series 300] [--shape boxcar]
     python benchmarks/calibrate_pulse_trials.py --check 5 --series 500

Counts of events above several S/N over Q(S/N) and the number of samples are the trials a sample. They grow with S/N,
because the rarer a maximum the narrower it is, and hardly with the widest pulse beyond some 64 samples, because wide
boxes have few independent places. The first form prints the table, and the line in (S/N)^4 through it that is in
pulsar/searches/single_pulse.py; the second compares events above a threshold with what it promises, on other seeds.
"""

import argparse
import time

import numpy as np
from scipy.special import ndtr

from pulsar.config.model import SinglePulseConfig
from pulsar.searches.single_pulse import SinglePulseSearch

LEVELS = np.arange(4.5, 6.01, 0.25)
N = 1 << 20


def noise(rng: np.random.Generator) -> np.ndarray:
    return np.rint(300.0 * rng.standard_normal(N, dtype=np.float32)).astype(np.int16)


def search(snr: float, width_max: int, shape: str) -> SinglePulseSearch:
    values = {"snr": snr, "width_max": 1e-4 * width_max, "shape": shape, "max_events": 10**6}
    return SinglePulseSearch(N, 1e-4, SinglePulseConfig.model_validate(values))


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--shape", choices=("boxcar", "gaussian"), default="boxcar")
    parser.add_argument("--widths", type=int, nargs="*", default=[1, 2, 4, 8, 16, 64, 1024])
    parser.add_argument("--check", type=float, metavar="SNR")
    args = parser.parse_args()
    first = 0 if args.check is None else 10**6
    for width_max in args.widths:
        finder = search(args.check or LEVELS[0], width_max, args.shape)
        counts = np.zeros(LEVELS.size)
        began = time.process_time()
        found = 0
        for seed in range(args.series):
            snr = finder.search(noise(np.random.default_rng(first + seed)))["snr"]
            found += len(snr)
            counts += [np.count_nonzero(snr >= level) for level in LEVELS]
        spent = time.process_time() - began
        if args.check is not None:
            promised = args.series * finder.ntrials * float(ndtr(-args.check))
            print(f"widest {width_max:5d}: {found} events above {args.check:g}, {promised:.1f} promised", flush=True)
            continue
        trials = counts / ndtr(-LEVELS) / (args.series * N)
        cells = "  ".join(f"{t:6.2f}±{t / np.sqrt(max(c, 1)):.2f}" for t, c in zip(trials, counts, strict=True))
        weight = np.sqrt(np.maximum(counts, 1)) / np.maximum(trials, 1e-9)
        slope, value = np.polyfit(LEVELS**4 - LEVELS[0] ** 4, trials, 1, w=weight)
        print(f"widest {width_max:5d}: {cells}   at 4.5: {value:.2f}, slope {slope:.5f}   [{spent:.0f} s]", flush=True)


if __name__ == "__main__":
    main()
