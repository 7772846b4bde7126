"""Effective number of independent trials of the FFT search, stage by stage, from pure noise.

Run: python benchmarks/calibrate_fft_trials.py [--seeds 200] [--log2n 18]
     python benchmarks/calibrate_fft_trials.py --check -2 --nharm 32 --seeds 400 --log2n 15

The second form counts detections above a trial-corrected threshold on seeds that the constants were not made with.

For every `nharm` the merged detections in white noise whose single-trial probability is below p are counted; the count
over p is the effective number of trials. What the stage of `nharm` harmonics adds to the stage before, over the bins of
the top harmonic that it covers, is printed: these are the constants TRIALS_PER_BIN of pulsar/searches/fft.py. They grow
slowly with the threshold, because the chance of a maximum between grid points does: the table shows how much.
"""

import numpy as np
from noise_trials import check, print_stages, white_noise
from options import numbers

from pulsar.config.model import FFTConfig
from pulsar.searches.fft import FFTSearch

PROBABILITIES = (1e-4, 1e-5, 1e-6, 1e-7)


def main() -> None:
    """Count and print."""
    parser = numbers(__doc__, seeds=200, log2n=18)
    parser.add_argument("--check", type=float, metavar="SIGMA", help="compare with what this threshold promises")
    parser.add_argument("--nharm", type=int, default=32, help="with --check")
    args = parser.parse_args()
    nsamps = 1 << args.log2n
    if args.check is not None:
        config = {"nharm": args.nharm, "threshold": args.check, "max_detections": 100000}
        check(FFTSearch(nsamps, 1e-3, FFTConfig.model_validate(config)), args.seeds)
        return
    nharms = (1, 2, 4, 8, 16, 32)
    searches = []
    for nharm in nharms:
        row = []
        for p in PROBABILITIES:
            search = FFTSearch(nsamps, 1e-3, FFTConfig.model_validate({"nharm": nharm, "max_detections": 100000}))
            search.set_threshold(float(np.log(p)))
            row.append(search)
        searches.append(row)
    counts = np.zeros((len(nharms), len(PROBABILITIES)))
    for seed in range(args.seeds):
        buffers = searches[0][0]._buffers()
        searches[0][0]._white_powers(white_noise(nsamps, seed), (), buffers)
        for i, row in enumerate(searches):
            counts[i] += [len(search._detect(buffers)) for search in row]
    bins = args.seeds * np.array([np.diff(searches[-1][0]._limits, axis=1)[s, 0] / 2 for s in range(len(nharms))])
    print("total trials per bin of the spectrum, then what each stage adds (with its Poisson error)")
    print_stages(nharms, PROBABILITIES, counts, bins)


if __name__ == "__main__":
    main()
