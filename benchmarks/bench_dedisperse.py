"""CPU time of dedispersion: tree and brute force, kernels alone and streamed.

    python benchmarks/bench_dedisperse.py [256] [fast] [--samples N]

``256``: 256 channels, 64 us, 512 trials DM 0-255.5. ``fast``: 4096 channels, 49.152 us, 256 trials DM 0-127.5.
Times are scaled to 2^18 and 2^20 samples, the sizes for which other programs' times are known.
"""

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import DedispConfig
from pulsar.data.header import Header
from pulsar.dedisp.engine import batch_size, make_engines, samples_per_dm, tile_size
from pulsar.dedisp.plan import DMPlan, make_plan
from pulsar.dedisp.stream import Workspaces, dedisperse
from pulsar.dedisp.tree import build_tree

CASES = {
    "256": (256, 64e-6, 0.5, 255.5, 1 << 18),
    "fast": (4096, 49.152e-6, 0.5, 127.5, 1 << 20),
}


class NoiseSource:
    """The same stretch of noise again and again."""

    def __init__(self, header: Header) -> None:
        self.freqs = header.freqs
        self.fref = float(header.freqs[0])
        self.chan_width = header.chan_width
        self.nsamps, self.tsamp, self.tstart = header.nsamps, header.tsamp, header.tstart
        rng = np.random.default_rng(1)
        self.data = np.clip(rng.normal(0, 8, (header.nchans, 1 << 14)), -127, 127).astype(np.int8)

    def read_into(self, start: int, out: NDArray[np.int8]) -> None:
        done = 0
        while done < out.shape[1]:
            at = (start + done) % self.data.shape[1]
            n = min(self.data.shape[1] - at, out.shape[1] - done)
            out[:, done : done + n] = self.data[:, at : at + n]
            done += n

    def valid_fraction(self, start: int, nsamps: int) -> float:  # noqa: ARG002
        return 1.0


def kernel_time(plan: DMPlan, source: NoiseSource, method: str, nsamps: int) -> float:
    """CPU seconds of the kernels alone for `nsamps` samples, best of three."""
    stage = plan.stages[0]
    tile = tile_size(nsamps)
    engines = make_engines(source.freqs, source.fref, stage.dms, stage.tsamp, nsamps, method)
    before, after = max(e.before for e in engines), max(e.after for e in engines)
    raw = np.zeros((len(source.freqs), before + nsamps + tile + after), np.int8)
    source.read_into(0, raw)
    out = np.zeros((stage.ndms, nsamps), np.int16)
    best = np.inf
    with Workspaces(1, max(e.work for e in engines)).one() as work:
        for _ in range(4):
            start = time.process_time()
            for t in range(0, nsamps, tile):
                for engine in engines:
                    engine.run(raw, before + t, work, out, t, min(tile, nsamps - t))
            best = min(best, time.process_time() - start)
    return best


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="256, fast; default both")
    parser.add_argument("--samples", type=int, default=1 << 16)
    options = parser.parse_args()
    for case in options.cases or CASES:
        nchans, tsamp, step, dm_hi, full = CASES[case]
        width = 500.0 / nchans
        header = Header(
            nchans=nchans, nsamps=options.samples, tsamp=tsamp, fch1=1500 - width / 2, foff=-width, tstart=58000.0
        )
        config = DedispConfig(dm_hi=dm_hi, dm_step=step, max_downsample=1)
        methods = ("tree", "brute")
        plans = {method: make_plan(header, config.model_copy(update={"method": method})) for method in methods}
        plan = plans["tree"]
        source = NoiseSource(header)
        k = samples_per_dm(source.freqs, source.fref, tsamp)
        build_tree(k[:8], plan.dms[:2], 64)
        size = batch_size("tree", nchans, full)
        start = time.process_time()
        trees = [build_tree(k, plan.dms[i : i + size], 4096) for i in range(0, plan.ndms, size)]
        build = time.process_time() - start
        errors = np.concatenate([tree.arrival_errors() for tree in trees])
        errors -= errors.mean(axis=1, keepdims=True)
        adds = {"tree": sum(tree.adds for tree in trees), "brute": float(plan.ndms * (nchans - 1))}
        print(
            f"{case}: {nchans} channels, {plan.ndms} trials; trees written in {build:.2f} s, "
            f"{adds['tree']:.0f} row-adds a sample against {adds['brute']:.0f}; "
            f"arrival error {np.sqrt(np.mean(errors**2)):.3f} samples rms, {np.abs(errors).max():.2f} at most"
        )
        for method in methods:
            if method == "brute" and nchans > 1024:
                continue
            seconds = kernel_time(plan, source, method, options.samples)
            rate = adds[method] * options.samples / seconds
            start = time.process_time()
            with dedisperse(source, plans[method], threads=1):
                streamed = time.process_time() - start
            scale = full / options.samples
            print(
                f"  {method}: kernels {seconds * scale:.2f} CPU s for {full} samples ({rate / 1e9:.1f} G adds/s), "
                f"streamed {streamed * scale:.2f}"
            )


if __name__ == "__main__":
    main()
