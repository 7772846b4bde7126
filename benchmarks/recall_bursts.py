"""Injected bursts through dedispersion, search and clustering: how many come back, once each, at the right DM and time.

Bursts of matched-filter S/N 8 to 50 (as recorded), widths of 0.1 to 100 ms and DMs of 0 to 2000, log-uniform from fixed
seeds, in synthetic 8-bit observations of three receivers. A burst counts as found when one pulse is within its time and
DM errors; what is found beside the bursts is counted too. Bursts that the channels or the sampling smear to more than
three times their width are not drawn.

    python benchmarks/recall_bursts.py --files 12
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from pulsar.cleaning import CleanedSource, make_mask, measure
from pulsar.config.load import load_config
from pulsar.constants import KDM
from pulsar.dedisp.plan import make_plan
from pulsar.dedisp.stream import dedisperse
from pulsar.io.open import open_observation
from pulsar.searches.cluster import Pulses, band_delays, cluster
from pulsar.searches.single_pulse import SinglePulseSearch
from pulsar.synthesis import Burst, Sky, write_filterbank

# nchans, fch1, foff, tsamp, tobs
SETUPS = (
    (512, 1499.5, -0.9765625, 196.608e-6, 30.0),
    (336, 1464.5, -1.0, 1.26646875e-3, 60.0),
    (256, 1515.0, -1.171875, 256e-6, 30.0),
)
PER_FILE = 8


def draw(seed: int, snr_lo: float, snr_hi: float) -> Sky:
    """A sky with bursts at even distances."""
    rng = np.random.default_rng(2000 + seed)
    nchans, fch1, foff, tsamp, tobs = SETUPS[seed % len(SETUPS)]
    middle = fch1 + 0.5 * foff * nchans
    bursts: list[Burst] = []
    while len(bursts) < PER_FILE:
        width = 10 ** rng.uniform(-4, -1)
        dm = 10 ** rng.uniform(0, np.log10(2000))
        if np.hypot(2 * KDM * dm * abs(foff) / middle**3, tsamp) > 3 * width:
            continue
        at = (len(bursts) + rng.uniform(0.3, 0.7)) * (tobs - 5.0) / PER_FILE
        snr = 10 ** rng.uniform(np.log10(snr_lo), np.log10(snr_hi))
        bursts.append(Burst(time=at, dm=dm, snr=snr, width=width))
    return Sky(nchans=nchans, fch1=fch1, foff=foff, tsamp=tsamp, tobs=tobs, seed=seed, bursts=tuple(bursts))


def find(path: Path, sets: list[str]) -> tuple[Pulses, float, np.ndarray, tuple[float, float, float]]:
    """Pulses of a file, trial DMs, and what it takes to judge them."""
    config = load_config(None, ["dedisp.dm_hi=2100", *sets])
    with open_observation(path) as obs:
        source = CleanedSource(obs, make_mask(obs, measure(obs, config.rfi), config.rfi))
        plan = make_plan(obs.header, config.dedisp, source.freqs)
        events, tsamps, ntrials, spent, row = [], [], 0.0, 0.0, 0
        with dedisperse(source, plan, memory=8 << 30) as store:
            for stage in plan.stages:
                search = SinglePulseSearch(stage.nsamps, stage.tsamp, config.single_pulse)
                for dm in stage.dms:
                    began = time.process_time()
                    events.append(search.search(store.row(row), dm=float(dm), dm_index=row))
                    spent += time.process_time() - began
                    tsamps.append(stage.tsamp)
                    ntrials += search.ntrials
                    row += 1
        header = obs.header
        pulses = cluster(
            np.concatenate(events), plan.dms, source.freqs, np.array(tsamps),
            tobs=header.tobs, tstart=header.tstart, ntrials=ntrials, fref=source.fref,
        )  # fmt: skip
    return pulses, spent, plan.dms, band_delays(source.freqs, source.fref)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=6)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--snr", type=float, nargs=2, default=(8.0, 50.0), metavar=("LOW", "HIGH"))
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    sure, found_sure, every, found_all, extra, ratios, pulls, wide = 0, 0, 0, 0, 0, [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.first, args.first + args.files):
            sky = draw(seed, *args.snr)
            path = Path(folder) / f"{seed}.fil"
            write_filterbank(sky, path)
            pulses, spent, dms, (_, e_lo, _) = find(path, args.sets)
            path.unlink()
            table, used = pulses.table, np.zeros(len(pulses), dtype=bool)
            for burst in sky.bursts:
                width = np.hypot(burst.width, sky.tsamp)
                allowed = np.maximum(4 * table["dm_err"], 1.5 * width / (e_lo * 8))
                close = np.abs(table["dm"] - burst.dm) <= allowed
                # Off in DM is off in time.
                when = burst.time + (burst.dm - table["dm"]) * 0.5 * e_lo
                close &= np.abs(table["time"] - when) < 1.5 * width + allowed * e_lo
                close &= ~used
                every += 1
                sure += burst.snr >= 8.5
                row = table[close][0] if close.any() else None
                if row is not None:
                    used[np.flatnonzero(close)[0]] = True
                    found_all += 1
                    found_sure += burst.snr >= 8.5
                    ratios.append(row["snr"] / burst.snr)
                    pulls.append((row["dm"] - burst.dm) / row["dm_err"])
                    wide.append((burst.width, pulls[-1]))
                if args.verbose or (row is None and burst.snr >= 8.5):
                    print(
                        f"seed {seed:3d} DM {burst.dm:7.2f} t {burst.time:7.3f} width {1e3 * burst.width:7.3f} ms "
                        f"S/N {burst.snr:5.1f} "
                        + (
                            f"-> DM {row['dm']:7.2f} ± {row['dm_err']:.2f} S/N {row['snr']:5.1f} width "
                            f"{1e3 * row['width']:7.3f} score {row['score']:.2f} {row['rfi_flags']}"
                            if row is not None
                            else "MISSED"
                        ),
                        flush=True,
                    )
            extra += int(np.count_nonzero(~used))
            for row in table[~used]:
                print(f"seed {seed:3d} extra: t {row['time']:.3f} DM {row['dm']:.2f} S/N {row['snr']:.1f} "
                      f"width {1e3 * row['width']:.3f} ms {row['rfi_flags']}")  # fmt: skip
            print(f"seed {seed}: {len(table)} pulses, {1e3 * spent / len(dms):.3f} ms CPU a DM to search", flush=True)
    print(
        f"S/N >= 8.5: {found_sure} of {sure} ({100 * found_sure / max(sure, 1):.1f} %); all {found_all} of {every}; "
        f"{extra} pulses more; S/N over injected: median {np.median(ratios):.3f}, 10 % {np.quantile(ratios, 0.1):.3f}; "
        f"DM pulls: mean {np.mean(pulls):.2f}, rms {np.std(pulls):.2f}"
    )


if __name__ == "__main__":
    main()
