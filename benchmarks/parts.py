"""What searching halves and quarters adds: pulsars that are on for a part of the time, tight binaries, and its price.

Every sky is searched twice, as a whole and with its parts. Skies: a pulsar that is on in the third quarter only; a
binary whose quarter is nearly coherent; and a constant one. In series of noise detections are counted against what the
threshold promises.

    python benchmarks/parts.py                                          (a minute of one core)
    python benchmarks/parts.py --skies 0 --noise 200 --threshold -2     (two minutes)
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import poisson

import pulsar
from pulsar.config.load import load_config
from pulsar.data.header import Part
from pulsar.io.product.reader import Run
from pulsar.pipeline.stages import search_series
from pulsar.run import search
from pulsar.searches import stats
from pulsar.synthesis import Sky, write_filterbank

BAND: dict[str, Any] = {"nchans": 64, "fch1": 1496.0, "foff": -8.0, "tsamp": 256e-6}
SETS = ["dedisp.dm_hi=60", "single_pulse.enabled=false", "completeness.enabled=false", "run.threads=1"]


def samples(folder: Path, name: str, **sky: Any) -> Any:
    """What a sky is, read back."""
    path = folder / f"{name}.fil"
    write_filterbank(Sky(**{**BAND, **sky}), path, threads=1, overwrite=True)
    with pulsar.open(path) as obs:
        block = obs.read()
    path.unlink()
    return block


def observation(folder: Path, nsamps: int, on: tuple[float, float] = (0.0, 1.0), **pulsar_: Any) -> Any:
    """An observation of a pulsar that is on in a stretch of it alone, on the noise of the same sky without it."""
    seed = pulsar_.pop("seed", 0)
    tsamp = pulsar_.pop("tsamp", BAND["tsamp"])
    sky = {"nsamps": nsamps, "seed": seed, "tsamp": tsamp}
    data = np.array(samples(folder, "with", **sky, pulsars=[pulsar_]).data)
    if on != (0.0, 1.0):
        off = np.array(samples(folder, "without", **sky).data)
        first, last = (round(edge * nsamps) for edge in on)
        off[:, first:last] = data[:, first:last]
        data = off
    freqs = BAND["fch1"] + BAND["foff"] * np.arange(BAND["nchans"])
    return pulsar.Filterbank.from_array(data, freqs, tsamp, tstart=60000.0, source="SIMULATED")


def searched(obs: Any, folder: Path, *sets: str) -> tuple[Run, float]:
    """The product of a search, and its CPU seconds."""
    begun = time.process_time()
    run = search(obs, load_config(None, [*SETS, *sets]), folder / "run.h5", overwrite=True)
    return run, time.process_time() - begun


def rows(run: Run) -> list[str]:
    """What is listed, in words."""
    table = run.rows("candidates")
    own = table[(table["parent"] == "") & (table["snr"] > 0)]
    return [
        f"{1e3 * row['period']:.6f} ms, DM {row['dm']:.2f}, S/N {row['snr']:.1f}, sigma {row['sigma']:.1f}, part "
        f"{row['part'] or 'all'}, {row['ndetections']} detections, +{row['nattached']}, score {row['score']:.2f} "
        f"{row['rfi_flags']}"
        for row in own
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--skies", type=int, default=1, help="skies of every kind")
    parser.add_argument("--noise", type=int, default=0, help="series of noise")
    parser.add_argument("--nsamps", type=int, default=1 << 18)
    parser.add_argument("--threshold", type=float, default=0.0, help="of all searches, for noise")
    parser.add_argument("--kinds", nargs="*", default=["third quarter", "binary", "constant"])
    args = parser.parse_args()
    kinds: dict[str, dict[str, Any]] = {
        "third quarter": {"on": (0.5, 0.75), "period": 0.0937, "dm": 30.0, "snr": 24.0},
        # A neutron star at another one: 180 m/s2 at most, 68 bins of drift in the whole, 4 in a quarter.
        "binary": {
            "tsamp": 9.216e-3 * 2**18 / args.nsamps, "period": 0.1031, "dm": 30.0, "snr": 40.0, "duty": 0.1,
            "orbit": {"pb": 5760.0, "x": 0.5, "phase": 0.1},
        },
        "constant": {"period": 0.0937, "dm": 30.0, "snr": 20.0},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in args.kinds:
            for seed in range(args.skies):
                obs = observation(folder, args.nsamps, seed=seed, **kinds[name])
                for parts in ("[1]", "[1,2,4]"):
                    run, seconds = searched(obs, folder, f"search.parts={parts}")
                    print(f"{name}, seed {seed}, parts {parts}: {seconds:.1f} CPU s")
                    for row in rows(run):
                        print("   ", row)
    noise(args.noise, args.nsamps, args.threshold)


def noise(seeds: int, nsamps: int, threshold: float) -> None:
    """Detections of each search alone in series of noise, of the whole and of parts, against the promise."""
    for kind in ("fft", "coherent", "ffa") if seeds else ():
        for parts in ("[1]", "[1,2,4]"):
            sets = [f"{other}.enabled={'true' if other == kind else 'false'}" for other in ("fft", "coherent", "ffa")]
            sets += [f"{kind}.threshold={threshold}", f"search.parts={parts}", "ffa.p_min=0.5"]
            config = load_config(None, [*SETS, *sets])
            own: dict[int, int] = {}
            for seed in range(seeds):
                series = np.random.default_rng(seed).standard_normal(nsamps, dtype=np.float32)
                found = search_series(series, BAND["tsamp"], 0.0, config, memory=1 << 28).detections
                for label in found["part"].tolist():
                    count = Part.of_label(label).count
                    own[count] = own.get(count, 0) + 1
            count, promised = sum(own.values()), seeds * float(stats.expected_from_sigma(threshold))
            chance = min(poisson.cdf(count, promised), poisson.sf(count - 1, promised))
            print(
                f"{kind}, parts {parts}: {count} in {seeds} series, {promised:.1f} promised (p {chance:.3f}); by parts "
                f"{dict(sorted(own.items()))}",
                flush=True,
            )


if __name__ == "__main__":
    main()
