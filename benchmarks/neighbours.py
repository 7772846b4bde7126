"""The weaker of two pulsars: of those that are found alone, how many are lost beside a stronger one?

Surveys lose the later of several signals to the order in which they are found (Kepler 5.5 to 15.9 % of the later
planets of a star: Zink et al. 2019, AJ 157, 226). Pairs are drawn from seeds: the weaker has S/N 12 to 20, P 10 ms to
1 s, DM 10 to 100 and is 3 to 10 % wide; the stronger has S/N 30, 100 or 300, any DM there, and a period that is at
random (0.2 to 5 times the other), or at a ratio m/d (up to 4) with a frequency 1 to 6 bins of 1/T beside. Each weak
one is searched for alone and with the stronger in the same noise. It is found if a row that belongs to no other has its
frequency within 0.3 bins and its DM within 4 errors, 2 at least.

    python benchmarks/neighbours.py --pairs 40
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import pulsar
from pulsar.config.load import load_config
from pulsar.data.injected import wilson
from pulsar.run import search
from pulsar.synthesis import Pulsar, Sky, write_filterbank

BAND = {"nchans": 64, "fch1": 1496.0, "foff": -4.0, "tsamp": 512e-6, "nsamps": 1 << 16}
TOBS = BAND["nsamps"] * BAND["tsamp"]
SETS = ["dedisp.dm_hi=120", "single_pulse.enabled=false", "run.threads=1", "output.detections=false"]
KINDS = ("random", "near")


def pair(kind: str, snr: float, seed: int) -> tuple[Pulsar, Pulsar]:
    """A weak pulsar and its stronger neighbour."""
    rng = np.random.default_rng([seed, round(snr), KINDS.index(kind)])
    period, dms = float(np.exp(rng.uniform(np.log(0.01), 0.0))), rng.uniform(10.0, 100.0, 2)
    if kind == "random":
        ratio = float(np.exp(rng.uniform(-np.log(5.0), np.log(5.0))))
    else:
        multiple, divisor = rng.integers(1, 5, 2)
        ratio = multiple / divisor * (1.0 + rng.choice([-1.0, 1.0]) * rng.uniform(1.0, 6.0) * period / TOBS)
    weak, strong = rng.uniform(12.0, 20.0), snr
    duties, phases = rng.uniform(0.03, 0.1, 2), rng.uniform(0.0, 1.0, 2)
    return (
        Pulsar(name="weak", period=period, dm=dms[0], snr=weak, duty=duties[0], phase0=phases[0]),
        Pulsar(name="strong", period=period * ratio, dm=dms[1], snr=strong, duty=duties[1], phase0=phases[1]),
    )


def found(pulsars: tuple[Pulsar, ...], seed: int, folder: Path) -> bool:
    """Whether the first of some pulsars is on the list."""
    path, first = folder / "sky.fil", pulsars[0]
    write_filterbank(Sky(**BAND, seed=seed, source="PAIR", pulsars=pulsars), path, threads=1, overwrite=True)
    run: pulsar.Run = search(path, load_config(None, SETS), folder / "run.h5", overwrite=True)
    rows = run.rows("candidates")
    near = np.abs(1.0 / rows["period"] - 1.0 / first.period) * TOBS < 0.3
    near &= np.abs(rows["dm"] - first.dm) < np.maximum(4.0 * rows["dm_err"], 2.0)
    return bool(np.any(near & (rows["parent"] == "") & (rows["score"] > 0.1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=40, help="of each kind and S/N")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--snr", type=float, nargs="+", default=[30.0, 100.0, 300.0])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for snr in args.snr:
            for kind in KINDS:
                alone = lost = 0
                for seed in range(args.first, args.first + args.pairs):
                    weak, strong = pair(kind, snr, seed)
                    if not found((weak,), seed, Path(temporary)):
                        continue
                    alone += 1
                    if not found((weak, strong), seed, Path(temporary)):
                        lost += 1
                        print(f"  seed {seed}: P {weak.period:.6f} s, S/N {weak.snr:.1f} beside {strong.period:.6f} s")
                low, high = wilson(lost, alone)
                print(
                    f"S/N {snr:g}, {kind}: {lost} of {alone} lost ({100 * low:.1f} to {100 * high:.1f} %, 68 %)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
