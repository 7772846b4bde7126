"""Sensitivity of the whole program on accelerated pulsars, with the acceleration search and without.

Each observation holds a few pulsars of 2 to 30 ms. Of the kind "fundamental" the drift z of the fundamental reaches 190
bins (and the profile is broad: only the first harmonics lie within zmax); of the kind "eighth" that of the eighth
harmonic does; of the kind "orbit" the acceleration is that of a circular orbit of ten to twenty times the observation.
Everything is drawn from fixed seeds. A pulsar counts as found when a candidate that is not marked as a harmonic has its
frequency and derivative at mid-observation, within 3 bins of z and half of that in frequency.

    python benchmarks/recall_binaries.py --snr 15 --pulsars 45
    python benchmarks/recall_binaries.py --snr 15 --pulsars 45 --zmax 0

With --range the pulsars have P 1.5 to 30 ms, duty cycles of 10 to 30 %, S/N 12 to 20 and |z| up to 200 at their first,
second or fourth harmonic, half of them in orbits, five in a file of 17 s; it tells what a search of all frequencies at
all DMs (accel.loss 0) finds of them, and what the search in octaves does.

    python benchmarks/recall_binaries.py --range --pulsars 40
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from options import numbers

from pulsar.config.load import load_config
from pulsar.constants import C
from pulsar.data.header import Header
from pulsar.run import search
from pulsar.synthesis import Pulsar, Sky, write_filterbank
from pulsar.synthesis.model import Orbit
from pulsar.synthesis.signal import observed_spin

NCHANS, FCH1, FOFF, TSAMP, NSAMPS = 128, 1498.0, -4.0, 64e-6, 1 << 19
TOBS = TSAMP * NSAMPS
KINDS = ("fundamental", "eighth", "orbit")
PER_FILE = 3
RANGE_PER_FILE = 5
#: Part of the speed of light that is gained in an observation, or had in an orbit.
MOST_SPEED = 0.09
DZ = 2.0


def draw(seed: int, snr: float) -> tuple[Sky, list[tuple[str, Pulsar]]]:
    """A sky with a pulsar of each kind."""
    rng = np.random.default_rng(5000 + seed)
    drawn: list[tuple[str, Pulsar]] = []
    for kind in KINDS:
        period = 10 ** rng.uniform(np.log10(2e-3), np.log10(30e-3))
        freq = 1.0 / period
        duty = rng.uniform(0.2, 0.35) if kind == "fundamental" else 10 ** rng.uniform(np.log10(0.05), np.log10(0.3))
        z = rng.uniform(40, 190) * rng.choice([-1, 1]) / (1 if kind == "fundamental" else 8)
        accel = -z * C / (freq * TOBS**2)
        dm = rng.uniform(4, 14)
        more = {"accel": accel}
        if kind == "orbit":
            # The largest acceleration of the orbit, and where in it the observation lies.
            pb = TOBS * rng.uniform(10, 20)
            x = abs(accel) / C * (pb / (2 * np.pi)) ** 2
            more = {"orbit": Orbit(pb=pb, x=x, phase=float(rng.uniform()))}
        pulsar = Pulsar(period=period, dm=dm, duty=duty, snr=snr, phase0=float(rng.uniform()), name=kind, **more)
        drawn.append((kind, pulsar))
    sky = Sky(nchans=NCHANS, fch1=FCH1, foff=FOFF, tsamp=TSAMP, nsamps=NSAMPS, seed=seed, pulsars=[p for _, p in drawn])
    return sky, drawn


def draw_range(seed: int) -> tuple[Sky, list[tuple[str, Pulsar]]]:
    """A sky with pulsars of the whole range."""
    rng = np.random.default_rng(7000 + seed)
    nsamps = NSAMPS // 2
    tobs = nsamps * TSAMP
    drawn = []
    for number in range(RANGE_PER_FILE):
        # One in each fifth of the range of periods: none is another's harmonic.
        low, high = np.log(1.5e-3), np.log(30e-3)
        period = float(np.exp(low + (number + rng.uniform(0.0, 0.9)) / RANGE_PER_FILE * (high - low)))
        harmonic = int(rng.choice([1, 2, 4]))
        z = min(float(rng.uniform(0, 200)) / harmonic, MOST_SPEED * tobs / period) * rng.choice([-1, 1])
        accel = -z * C * period / tobs**2
        pb = tobs * rng.uniform(10, 20)
        x = abs(accel) / C * (pb / (2 * np.pi)) ** 2
        orbit = {}
        if rng.uniform() < 0.5 and 2 * np.pi * x / pb < MOST_SPEED:
            orbit = {"orbit": Orbit(pb=pb, x=x, phase=float(rng.uniform()))}
        pulsar = Pulsar(
            period=period,
            dm=float(rng.uniform(4, 14)),
            duty=float(np.exp(rng.uniform(np.log(0.1), np.log(0.3)))),
            snr=float(rng.uniform(12, 20)),
            phase0=float(rng.uniform()),
            name=f"harmonic {harmonic}",
            **(orbit or {"accel": accel}),
        )
        drawn.append((f"harmonic {harmonic}", pulsar))
    sky = Sky(nchans=NCHANS, fch1=FCH1, foff=FOFF, tsamp=TSAMP, nsamps=nsamps, seed=seed, pulsars=[p for _, p in drawn])
    return sky, drawn


def of_pulsar(rows: np.ndarray, header: Header, pulsar: Pulsar) -> np.ndarray:
    """Candidates with its frequency and derivative (3 bins of z, half of that) that are not marked as harmonics."""
    freq, fdot = observed_spin(header, pulsar)
    close = np.abs(rows["freq"] - freq) * header.tobs < 0.75 * DZ
    close &= np.abs(rows["fdot"] - fdot) * header.tobs**2 < 1.5 * DZ
    return np.flatnonzero(close & (rows["harmonic_of"] == "") & (np.abs(rows["dm"] - pulsar.dm) < 5))


def compare(args: argparse.Namespace) -> None:
    """What is found in octaves, beside all frequencies at all DMs."""
    off = ["ffa.enabled=false", "single_pulse.enabled=false", "dedisp.dm_hi=20", f"accel.zmax={args.zmax}", *args.sets]
    forms = {"all": load_config(None, [*off, "accel.loss=0"]), "octaves": load_config(None, off)}
    found: dict[str, list[bool]] = {form: [] for form in forms}
    spent = dict.fromkeys(forms, 0.0)
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(-(-args.pulsars // RANGE_PER_FILE)):
            sky, drawn = draw_range(seed)
            path = Path(folder) / f"{seed}.fil"
            write_filterbank(sky, path, threads=2)
            lists = {}
            for form, config in forms.items():
                run = search(path, config, path.with_suffix(f".{form}.h5"))
                lists[form] = run.rows("candidates")
                spent[form] += run.provenance["stages"]["search"][1]
            path.unlink()
            for kind, pulsar in drawn:
                best = {}
                for form, rows in lists.items():
                    which = of_pulsar(rows, sky.header, pulsar)
                    found[form].append(which.size > 0)
                    best[form] = float(rows["sigma"][which[0]]) if which.size else np.nan
                ratios.append(best["octaves"] / best["all"])
                _, fdot = observed_spin(sky.header, pulsar)
                print(
                    f"{seed:3d} {kind} P {1e3 * pulsar.period:7.4f} ms duty {pulsar.duty:.2f} S/N {pulsar.snr:.1f} "
                    f"z {fdot * sky.header.tobs**2:7.1f}: sigma {best['all']:.1f} all, {best['octaves']:.1f} octaves",
                    flush=True,
                )
    for form, flags in found.items():
        print(f"{form}: {sum(flags)} of {len(flags)} found, {spent[form]:.1f} CPU s of the searches")
    print(f"sigma in octaves over all: median {np.nanmedian(ratios):.3f}, least {np.nanmin(ratios):.3f}")


def main() -> None:
    parser = numbers(__doc__.splitlines()[0], snr=15.0, pulsars=45, zmax=200.0)
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--range", action="store_true", help="pulsars of a range, by both forms of the search")
    args = parser.parse_args()
    if args.range:
        compare(args)
        return
    off = ["ffa.enabled=false", "single_pulse.enabled=false", "dedisp.dm_hi=20"]
    config = load_config(None, [*off, f"accel.zmax={args.zmax}", *args.sets])
    found: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(-(-args.pulsars // PER_FILE)):
            sky, drawn = draw(seed, args.snr)
            path = Path(folder) / f"{seed}.fil"
            write_filterbank(sky, path, threads=2)
            began = time.monotonic()
            rows = search(path, config, path.with_suffix(".h5")).rows("candidates")
            wall = time.monotonic() - began
            path.unlink()
            for kind, pulsar in drawn:
                _, fdot = observed_spin(sky.header, pulsar)
                which = of_pulsar(rows, sky.header, pulsar)
                found[kind].append(which.size > 0)
                text = "MISSED"
                if which.size:
                    row = rows[which[0]]
                    ratios.append(float(row["snr"]) / args.snr)
                    text = f"rank {row['rank']} ratio {ratios[-1]:.3f} sigma {row['sigma']:.1f} by {row['found_by']}"
                print(
                    f"seed {seed:3d} {kind:11s} P {1e3 * pulsar.period:8.4f} ms duty {pulsar.duty:.2f} "
                    f"z {fdot * TOBS**2:7.1f} {text}  [{len(rows)} candidates, {wall:.1f} s]",
                    flush=True,
                )
    for kind, flags in found.items():
        print(f"{kind}: {sum(flags)} of {len(flags)}")
    every = [f for flags in found.values() for f in flags]
    print(
        f"S/N {args.snr:g}, zmax {args.zmax:g}: {sum(every)} of {len(every)} found with frequency and derivative; "
        f"folded over ideal S/N: median {np.median(ratios) if ratios else np.nan:.3f}"
    )


if __name__ == "__main__":
    main()
