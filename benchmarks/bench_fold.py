"""Time of folding and refining many candidates from cleaned samples in memory.

    python benchmarks/bench_fold.py [--nchans 256] [--nsamps 262144] [--cands 100] [--threads 1]

Candidates lie between 1 ms and 1 s and DM 0 and 1000 (no two alike), the worst case for sharing; `--clustered` puts
them at ten DMs instead. Peak rate: adds of the subband sums a second. CPU seconds; the code is compiled beforehand.
"""

import json
import time

import numpy as np
from numpy.typing import NDArray
from options import numbers

from pulsar.config.model import FoldConfig
from pulsar.data.fold import FoldParams
from pulsar.folding.folder import fold_many
from pulsar.folding.refine import refine


class NoiseSource:
    """Cleaned noise of any length, repeated from one block of 2**16 samples."""

    def __init__(self, nchans: int, nsamps: int, tsamp: float) -> None:
        rng = np.random.default_rng(5)
        self.freqs = 1500.0 - (np.arange(nchans) + 0.5) * 500.0 / nchans
        self.fref = float(self.freqs[0])
        self.chan_width = 500.0 / nchans
        self.nsamps = nsamps
        self.tsamp = tsamp
        self.tstart = 59000.0
        self.block = rng.integers(-14, 15, (nchans, 1 << 16), dtype=np.int8)

    def read_into(self, start: int, out: NDArray[np.int8]) -> None:
        """Copy from the block, turned round; zero beyond the end."""
        size = self.block.shape[1]
        done = 0
        while done < out.shape[1]:
            at = (start + done) % size
            n = min(size - at, out.shape[1] - done)
            out[:, done : done + n] = self.block[:, at : at + n]
            done += n
        if start + out.shape[1] > self.nsamps:
            out[:, max(self.nsamps - start, 0) :] = 0

    def valid_fraction(self, start: int, nsamps: int) -> float:  # noqa: ARG002
        """Nothing is masked."""
        return 1.0


def main() -> None:
    """Run the benchmark and print one line of JSON."""
    parser = numbers(__doc__, nchans=256, nsamps=1 << 18, tsamp=64e-6, cands=100, threads=1, nbins=64)
    parser.add_argument("--fast", action="store_true", help="all periods between 1 and 3 ms")
    parser.add_argument("--clustered", action="store_true", help="ten DMs only")
    args = parser.parse_args()
    rng = np.random.default_rng(3)
    source = NoiseSource(args.nchans, args.nsamps, args.tsamp)
    low, high = (330.0, 1000.0) if args.fast else (1.0, 1000.0)
    freqs = np.exp(rng.uniform(np.log(low), np.log(high), args.cands))
    dms = np.repeat(rng.uniform(0, 1000, 10), -(-args.cands // 10)) if args.clustered else rng.uniform(0, 1000, 9999)
    params = [FoldParams(float(f), 0.0, float(d)) for f, d in zip(freqs, dms[: args.cands], strict=True)]
    config = FoldConfig(nbins=args.nbins)
    warm = NoiseSource(args.nchans, 1 << 14, args.tsamp)
    # With all candidates, so that every kernel they need is there.
    for cube in fold_many(warm, params, config, threads=1, memory=1 << 30)[:2]:
        refine(cube)
    cpu, wall = time.process_time(), time.perf_counter()
    cubes = fold_many(source, params, config, threads=args.threads, memory=1 << 30)
    folded, folded_wall = time.process_time() - cpu, time.perf_counter() - wall
    cpu = time.process_time()
    for cube in cubes:
        refine(cube)
    refined = time.process_time() - cpu
    result = {
        "nchans": args.nchans,
        "nsamps": args.nsamps,
        "cands": args.cands,
        "fold_cpu_s": round(folded, 2),
        "fold_wall_s": round(folded_wall, 2),
        "refine_cpu_s": round(refined, 2),
        "channel_samples_per_s": round(args.nchans * args.nsamps * args.cands / folded / 1e9, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
