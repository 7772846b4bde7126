"""S/N that dedispersion keeps: a matched filter on trains of pulses at a trial's own DM, over that of aligned channels.

    python benchmarks/fidelity.py [--nsamps 131072]

Noise of 8 levels, with and without a train of Gaussian pulses that arrive at the exact time in every channel, both
rounded to int8 as cleaning does; the batch of trials of the default plan around a DM is dedispersed, and one of them
is looked at. Signal is what the pulses add, noise the series without them: integer delays, shared rows and all
roundings count, the distance to the next trial does not (the plan bounds it).
"""

import argparse

import numpy as np

from pulsar.config.model import DedispConfig
from pulsar.constants import KDM
from pulsar.data.header import Header
from pulsar.dedisp.engine import batch_size
from pulsar.dedisp.plan import make_plan
from pulsar.dedisp.stream import dedisperse_block

SIGMA = 8.0
CASES = ((256, 64e-6), (4096, 49.152e-6))
DMS = (34.0, 225.0, 600.0)
WIDTHS = (0.15e-3, 0.3e-3, 1e-3)  # FWHM [s]
PERIODS = 20.37  # widths between pulses


def kept(nchans: int, tsamp: float, dm: float, width: float, nsamps: int, method: str) -> float:
    """S/N over that of the same pulses with all channels aligned and nothing rounded."""
    step = 500.0 / nchans
    header = Header(nchans=nchans, nsamps=nsamps, tsamp=tsamp, fch1=1500 - step / 2, foff=-step, tstart=60000.0)
    plan = make_plan(header, DedispConfig(dm_hi=1000.0, max_downsample=1), header.freqs)
    at = int(np.argmin(np.abs(plan.dms - dm)))
    size = batch_size("tree", nchans, nsamps)
    first = max(0, at - size // 2)
    dms = plan.dms[first : first + size] if method == "tree" else plan.dms[at : at + 1]
    row = at - first if method == "tree" else 0
    delay = KDM * plan.dms[at] * (header.freqs**-2.0 - header.freqs[0] ** -2.0) / tsamp
    period, scale = PERIODS * width / tsamp, width / tsamp / np.sqrt(8 * np.log(2))
    table = np.exp(-0.5 * (((np.arange(4096) / 4096 - 0.5) * period) / scale) ** 2).astype(np.float32)
    rng = np.random.default_rng(3)
    time = np.arange(nsamps)
    quiet, loud = (np.empty((nchans, nsamps), np.int8) for _ in range(2))
    amplitude = 0.3 * SIGMA
    for c in range(nchans):
        noise = rng.standard_normal(nsamps, dtype=np.float32) * np.float32(SIGMA)
        phase = ((time - delay[c]) / period) % 1.0
        pulses = amplitude * table[(phase * 4096).astype(np.int32) & 4095]
        quiet[c] = np.clip(np.rint(noise), -127, 127)
        loud[c] = np.clip(np.rint(noise + pulses), -127, 127)
    series = [
        dedisperse_block(data, header.freqs, dms, tsamp, method=method).data[row].astype(float)
        for data in (quiet, loud)
    ]
    whole = nsamps - int(delay[-1]) - 2
    noise, signal = series[0][:whole], (series[1] - series[0])[:whole]
    best = 0.0
    for shift in np.arange(-1.0, 1.0, 0.05):
        filtered = table[((((time[:whole] - shift) / period) % 1.0) * 4096).astype(np.int32) & 4095]
        filtered = filtered - filtered.mean()
        best = max(best, float(np.sum(signal * filtered) / np.sqrt(np.sum(filtered**2))))
    ideal = table[(((time[:whole] / period) % 1.0) * 4096).astype(np.int32) & 4095]
    ideal = ideal - ideal.mean()
    return (best / noise.std()) / (amplitude * np.sqrt(nchans) * np.sqrt(np.sum(ideal**2)) / SIGMA)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nsamps", type=int, default=1 << 17)
    parser.add_argument("--nchans", type=int, nargs="*", help="256, 4096; default both")
    args = parser.parse_args()
    print("channels     DM  width [ms]   tree  exact delays rounded")
    for nchans, tsamp in CASES:
        if args.nchans and nchans not in args.nchans:
            continue
        for dm in DMS:
            for width in WIDTHS:
                tree, brute = (kept(nchans, tsamp, dm, width, args.nsamps, method) for method in ("tree", "brute"))
                print(f"{nchans:8d} {dm:6.0f} {1e3 * width:11.2f} {tree:6.3f} {brute:6.3f}", flush=True)


if __name__ == "__main__":
    main()
