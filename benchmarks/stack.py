"""Stacks of many nights: the S/N of a sum against theory, and false alarms against what is promised.

    python benchmarks/stack.py --nights 16 --snr 5 --stacks 4
    python benchmarks/stack.py --nights 16 --snr 5 --stacks 4 --unequal
    python benchmarks/stack.py --noise 100 [--unequal]
    python benchmarks/stack.py --noise 20 --beam

The first two write series of nights within a year, as FAST would see them: pulsars of one period at the barycentre,
each of the given matched-filter S/N in a night of full length, in white noise of 2^18 samples of 128 us. They are added
to a stack and searched as a user does it. Theory is that of docs/stack.md: sum_e w_e sum_k L_ek / (H sum_e w_e^2)^1/2,
with L_ek the power of harmonic k above noise, for the H that the search has chosen. `--unequal` makes nights of a
quarter to the full length, which count as their length.

The third makes stacks of noise, of series of 2^16 samples, the last of raw files of 64 channels over many DMs, and
counts detections (groups of them over the DMs) above the threshold.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from options import numbers

from pulsar.config.load import load_config
from pulsar.config.model import Config, FFTConfig
from pulsar.constants import DAY
from pulsar.data.header import Header
from pulsar.io.series_writer import write_series
from pulsar.pipeline.target import Target
from pulsar.searches.stats import expected_from_sigma
from pulsar.sky.barycentre import arrival_times
from pulsar.stack.epochs import add_epoch
from pulsar.stack.grid import POINTS, StackGrid, decoded, encode
from pulsar.stack.grid_powers import GridPowers
from pulsar.stack.run import search_stack
from pulsar.stack.search import StackSearch
from pulsar.synthesis import Sky, write_filterbank

NSAMPS, TSAMP = 1 << 18, 128e-6
RA, DEC = 322.49, 12.17
PULSARS = 10


def shares(duty: float, count: int) -> NDArray[np.float64]:
    """Part of the power of a Gaussian pulse in each harmonic, shape (count,); all harmonics together have 1."""
    k = np.arange(1, 4001)
    power = np.exp(-((np.pi * duty * k) ** 2) / (2.0 * np.log(2.0)))
    return np.asarray((power / power.sum())[:count])


def pulses(turns: NDArray[np.float64], duty: float) -> NDArray[np.float64]:
    """A train of Gaussian pulses of full width `duty` at half maximum, without mean, of unit sum of squares."""
    x = np.exp(-4.0 * np.log(2.0) * ((turns - np.rint(turns)) / duty) ** 2)
    x -= x.mean()
    return np.asarray(x / np.sqrt(np.sum(x**2)))


def lengths(nights: int, unequal: bool) -> NDArray[np.float64]:
    """Parts of the full length."""
    return np.resize([1.0, 0.25, 0.5, 0.75], nights) if unequal else np.ones(nights)


def one_stack(seed: int, nights: int, snr: float, unequal: bool, folder: Path) -> list[tuple[float, ...]]:
    """Make the nights of one field, stack and search them; of each pulsar what was found and what theory says."""
    rng = np.random.default_rng(seed)
    freqs = 10.0 ** rng.uniform(0.7, 2.7, PULSARS)
    duties = 10.0 ** rng.uniform(-1.5, -0.5, PULSARS)
    part = lengths(nights, unequal)
    epoch = 59000.0
    for night, start in enumerate(epoch + rng.uniform(0.0, 365.0, nights)):
        n = int(part[night] * NSAMPS)
        nodes = np.linspace(0.0, n * TSAMP, 257)
        first, arrived = arrival_times(start, nodes, RA, DEC, "FAST")
        at = np.interp((np.arange(n) + 0.5) * TSAMP, nodes, arrived)
        series = rng.standard_normal(n)
        for freq, duty in zip(freqs, duties, strict=True):
            series += snr * np.sqrt(part[night]) * pulses((first - epoch) * DAY * freq % 1.0 + at * freq, duty)
        header = Header(
            nchans=1, nsamps=n, tsamp=TSAMP, fch1=1250.0, foff=-400.0, tstart=start, is_series=True, dm=10.0,
            source="field", telescope="FAST", ra_deg=RA, dec_deg=DEC,
        )  # fmt: skip
        path = folder / f"night{night}.dat"
        write_series(path, series.astype(np.float32), header, 10.0)
        config = load_config("default", ["rfi.learn=false", f"stack.tobs={NSAMPS * TSAMP}"])
        add_epoch([path], folder / "store", config)
    run = search_stack(folder / "store", Target(folder / "found.h5"), load_config("default", ["fft.threshold=-2"]))
    found = run.rows("candidates")
    rows = []
    for freq, duty in zip(freqs, duties, strict=True):
        mine = found[np.abs(found["freq"] - freq) * NSAMPS * TSAMP < 0.5]
        if not mine.size:
            rows.append((freq, duty, 0, np.nan, np.nan, np.nan))
            continue
        best = mine[0]
        nharm = int(best["nharm"])
        weight, tobs = run.rows("stack/epochs")["weight"], run.rows("stack/epochs")["tobs"]
        noise = np.sqrt(nharm * np.sum(weight**2))
        detection = run.rows("detections")
        detection = detection[detection["uid"] == best["uid"]][0]
        measured = (detection["power"] - nharm) / np.sqrt(nharm)
        excess = 0.5 * snr**2 * tobs / (NSAMPS * TSAMP) * float(shares(duty, nharm).sum())
        theory = float(weight @ excess) / noise
        rows.append((freq, duty, nharm, measured, theory, float(best["sigma"])))
    return rows


def sensitivity(args: argparse.Namespace) -> None:
    """Print what was found of pulsars."""
    rows = []
    for seed in range(args.stacks):
        with tempfile.TemporaryDirectory() as folder:
            rows += one_stack(seed, args.nights, args.snr, args.unequal, Path(folder))
    table = np.array(rows)
    for freq, duty, nharm, measured, theory, sigma in rows:
        print(
            f"{1e3 / freq:9.3f} ms  duty {duty:.3f}  {nharm:2.0f} harmonics  S/N {measured:6.2f}  theory {theory:6.2f}"
            f"  ratio {measured / theory:.3f}  sigma {sigma:.1f}"
        )
    seen = np.isfinite(table[:, 3])
    ratio = table[seen, 3] / table[seen, 4]
    print(
        f"{args.nights} nights of S/N {args.snr:g}{' and less' if args.unequal else ''}: {seen.sum()} of {seen.size} "
        f"found; S/N over theory {ratio.mean():.3f} +- {ratio.std() / np.sqrt(max(ratio.size, 1)):.3f} (mean), "
        f"{np.median(ratio):.3f} (median), {ratio.min():.3f} (least)"
    )


def false_alarms(args: argparse.Namespace) -> None:
    """Count detections in stacks of noise."""
    nsamps, table = 1 << 16, decoded()
    part = lengths(args.nights, args.unequal)
    grid = StackGrid(1e-3, nsamps, POINTS * nsamps // 2, np.zeros(1))
    makers = {n: GridPowers(n, grid) for n in {int(p * nsamps) for p in part}}
    config = FFTConfig.model_validate({"threshold": args.threshold, "max_detections": 100000})
    search = StackSearch(grid, part, part * grid.span, config)
    found = 0
    for seed in range(args.noise):
        rng = np.random.default_rng(10**6 + seed)
        total = np.zeros(grid.npoints)
        for p, w in zip(part, search.weights, strict=True):
            n = int(p * nsamps)
            total += w * table[encode(makers[n].powers(rng.standard_normal(n, dtype=np.float32)))[0]]
        found += len(search.search(total.astype(np.float32)))
    promised = args.noise * expected_from_sigma(args.threshold)
    print(
        f"{args.noise} stacks of {args.nights} nights{' of several lengths' if args.unequal else ''}, threshold "
        f"{args.threshold:g}: {found} found, {promised:.0f} promised"
    )


def false_alarms_of_beams(args: argparse.Namespace) -> None:
    """Count candidates in stacks of raw files of noise, over many DMs."""
    config: Config = load_config(
        "default", ["dedisp.dm_hi=60", f"fft.threshold={args.threshold}", "stack.barycentre=false"]
    )
    found = 0
    for seed in range(args.noise):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for night in range(args.nights):
                sky = Sky(nchans=64, fch1=1450.0, foff=-6.0, tsamp=256e-6, nsamps=1 << 15, seed=1000 * seed + night,
                          tstart=59000.0 + night)  # fmt: skip
                path = folder / f"night{night}.fil"
                write_filterbank(sky, path)
                add_epoch([path], folder / "store", config)
            run = search_stack(folder / "store", Target(folder / "found.h5"), config)
            rows = run.rows("candidates")
            found += int(np.count_nonzero(rows["harmonic_of"] == ""))
    promised = args.noise * expected_from_sigma(args.threshold)
    print(
        f"{args.noise} stacks of {args.nights} raw files, threshold {args.threshold:g}: {found} found, "
        f"{promised:.0f} promised"
    )


def main() -> None:
    """Measure what is asked for."""
    parser = numbers(__doc__.splitlines()[0], nights=16, snr=5.0, threshold=-2.0)
    parser.add_argument("--stacks", type=int, default=4, help="fields of ten pulsars")
    parser.add_argument("--unequal", action="store_true")
    parser.add_argument("--noise", type=int, default=0, help="stacks of noise")
    parser.add_argument("--beam", action="store_true", help="of raw files")
    args = parser.parse_args()
    if args.noise and args.beam:
        false_alarms_of_beams(args)
    elif args.noise:
        false_alarms(args)
    else:
        sensitivity(args)


if __name__ == "__main__":
    main()
