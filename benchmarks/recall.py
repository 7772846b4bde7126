"""Sensitivity of the whole program on injected pulsars: recall as the fundamental, and folded over ideal S/N.

Each trial is a synthetic 8-bit observation with a few pulsars of the given matched-filter S/N, as recorded; period
(1 ms to 3 s), duty (2 to 30 %), DM (1 to 1000), length and sampling time are drawn from fixed seeds. The program is run
as its user runs it, over the whole plan up to DM 1000, and a pulsar counts as found when a candidate that is not marked
as a harmonic has its period (within a tenth of a turn over the observation) and its DM (within its pulse width over the
band). A period that the sampling or the channels smear beyond 0.3 turns is not drawn: the duty as recorded is at most
about 30 % too.

    python benchmarks/recall.py --snr 12 --pulsars 100
    python benchmarks/recall.py --snr 9 --pulsars 100
"""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
from options import numbers

from pulsar.config.load import load_config
from pulsar.constants import KDM
from pulsar.run import search
from pulsar.synthesis import Pulsar, Sky, write_filterbank

# nchans, fch1, foff, tsamp, tobs: a spread of receivers, short enough for two cores.
SETUPS = (
    (256, 1499.0, -1.953125, 64e-6, 12.0),
    (512, 1499.5, -0.9765625, 98.304e-6, 20.0),
    (128, 1515.0, -2.5, 128e-6, 40.0),
    (96, 1520.0, -3.0, 250e-6, 120.0),
    (1024, 1449.8, -0.390625, 196.608e-6, 30.0),
)
PER_FILE = 3


def draw(seed: int, snr: float, count: int) -> tuple[Sky, list[Pulsar]]:
    """A sky with `count` pulsars."""
    rng = np.random.default_rng(1000 + seed)
    nchans, fch1, foff, tsamp, tobs = SETUPS[seed % len(SETUPS)]
    flow = fch1 + foff * (nchans - 1)
    pulsars: list[Pulsar] = []
    while len(pulsars) < count:
        period = 10 ** rng.uniform(-3, np.log10(3))
        duty = 10 ** rng.uniform(np.log10(0.02), np.log10(0.3))
        dm = 10 ** rng.uniform(0, 3)
        smear = np.hypot(2 * KDM * dm * abs(foff) / flow**3, tsamp)
        if smear > 0.3 * period or period > tobs / 12 or period < 4 * tsamp:
            continue
        if any(abs(p.period / period * k - round(p.period / period * k)) < 1e-3 for p in pulsars for k in (1, 2, 3)):
            continue
        phase = float(rng.uniform())
        pulsars.append(Pulsar(period=period, dm=dm, duty=duty, snr=snr, phase0=phase, name=f"p{seed}_{len(pulsars)}"))
    sky = Sky(
        nchans=nchans, fch1=fch1, foff=foff, tsamp=tsamp, tobs=tobs, seed=seed, bandpass="rolloff", pulsars=pulsars
    )
    return sky, pulsars


def match(rows: np.ndarray, pulsar: Pulsar, tobs: float, band: float) -> np.void | None:
    """The candidate that is this pulsar as its fundamental."""
    freq = 1.0 / pulsar.period
    width = pulsar.period * max(pulsar.duty, 0.05)
    for row in rows:
        if row["harmonic_of"]:
            continue
        close = abs(row["freq"] - freq) * tobs < 0.3
        if close and abs(row["dm"] - pulsar.dm) < max(3 * row["dm_err"], 1.5 * width / band, 1.0):
            return row
    return None


def main() -> None:
    parser = numbers(__doc__.splitlines()[0], snr=12.0, pulsars=60)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    config = load_config(None, ["dedisp.dm_hi=1010", *args.sets])
    results = []
    seed = args.first
    with tempfile.TemporaryDirectory() as folder:
        while len(results) < args.pulsars:
            sky, pulsars = draw(seed, args.snr, PER_FILE)
            path = Path(folder) / f"{seed}.fil"
            out = Path(folder) / f"{seed}.h5"
            write_filterbank(sky, path, threads=2)
            began = time.monotonic()
            run = search(path, config, out)
            wall = time.monotonic() - began
            header = run.observation
            band = KDM * (header.freqs[-1] ** -2.0 - header.freqs[0] ** -2.0)
            rows = run.rows("candidates")
            for pulsar in pulsars:
                row = match(rows, pulsar, header.tobs, band)
                results.append(
                    {
                        "seed": seed,
                        "period": pulsar.period,
                        "duty": pulsar.duty,
                        "dm": pulsar.dm,
                        "found": row is not None,
                        "rank": int(row["rank"]) if row is not None else 0,
                        "ratio": float(row["snr"]) / args.snr if row is not None else float("nan"),
                        "sigma": float(row["sigma"]) if row is not None else float("nan"),
                        "score": float(row["score"]) if row is not None else float("nan"),
                    }
                )
                r = results[-1]
                print(
                    f"seed {seed:3d} P {1e3 * pulsar.period:10.4f} ms duty {pulsar.duty:.3f} DM {pulsar.dm:7.2f} "
                    + (
                        f"rank {r['rank']:2d} ratio {r['ratio']:.3f} sigma {r['sigma']:.1f} score {r['score']:.2f}"
                        if r["found"]
                        else "MISSED"
                    )
                    + f"  [{len(rows)} candidates, {wall:.1f} s]",
                    flush=True,
                )
            path.unlink()
            out.unlink()
            seed += 1
    found = [r for r in results if r["found"]]
    ratios = np.array([r["ratio"] for r in found])
    print(
        f"S/N {args.snr:g}: {len(found)} of {len(results)} found as the fundamental "
        f"({100 * len(found) / len(results):.1f} %); folded over ideal S/N: median {np.median(ratios):.3f}, "
        f"10 % {np.quantile(ratios, 0.1):.3f}, 90 % {np.quantile(ratios, 0.9):.3f}"
    )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
