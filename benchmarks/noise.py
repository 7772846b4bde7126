"""Chance detections in noise, against what thresholds promise.

    python benchmarks/noise.py files --seeds 40 --first 700 --zmax 50
    python benchmarks/noise.py series fft --threshold -2 --set fft.nharm=32 --seeds 400 --log2n 15
    python benchmarks/noise.py --help

A trial-corrected threshold of s sigma promises Q(s) chance sources in a run (more than one when s is negative: the
expected number is -ln(1 - Q)). Printed is the chance of so few, or so many, beside it.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import typer
from recall_series import NOISE, found_orbits, halved_series, night_lengths, orbit_search
from scipy.stats import poisson
from shared import First, Sets, commands, searched, white_noise

from pulsar.config.load import load_config
from pulsar.config.model import FFTConfig, OrbitsConfig
from pulsar.data.header import Part
from pulsar.pipeline.stages import SeriesSearch, Trials, search_series
from pulsar.searches.stats import expected_from_sigma, sigma_from_logp
from pulsar.stack.grid import POINTS, GridPowers, StackGrid, decoded, encode
from pulsar.stack.search import StackSearch
from pulsar.synthesis import Sky

app = commands(__doc__)
Threshold = Annotated[float, typer.Option(help="trial-corrected [sigma]")]
Unequal = Annotated[bool, typer.Option(help="nights of a quarter to the full length")]
#: Seeds of series begin here: others than constants are made with, which have those from 0 on.
OTHERS = 10**6


def compare(name: str, sigmas: Sequence[float], runs: int, *thresholds: float) -> None:
    """Print how many are above each threshold in so many runs, and how many are promised."""
    for threshold in thresholds:
        count, promised = int(np.sum(np.array(sigmas) > threshold)), runs * expected_from_sigma(threshold)
        chance = min(poisson.cdf(count, promised), poisson.sf(count - 1, promised))
        print(f"{name} above {threshold:.2f}: {count} in {runs}, {promised:.2f} promised (p {chance:.3f})", flush=True)


@app.command()
def files(
    seeds: int = 20,
    first: First = 500,
    threshold: Annotated[list[float] | None, typer.Option(help="[sigma]; may be repeated")] = None,
    zmax: Annotated[float, typer.Option(help="search accelerations too")] = 0.0,
    only: Annotated[str, typer.Option(help="fft, coherent, ffa, pulse or accel alone")] = "",
    sets: Sets = None,
) -> None:
    """Sources that the whole program lists of files of noise, by the search that found them.

    Detections at neighbouring DMs of one chance are one source: the sift groups them. Single pulses are counted by the
    same sigma.
    """
    if only and (only == "accel") != (zmax > 0):
        raise typer.BadParameter("--zmax goes with --only accel, and with no other search alone")
    thresholds = threshold or [-1.5, 0.0, 2.0]
    kinds = ["fft", "coherent", "ffa", "pulse"] + (["accel"] if zmax > 0 else [])
    settings = [f"accel.zmax={zmax}", "single_pulse.snr=5", "dedisp.dm_hi=300", "fold.ncands=0"]
    settings += [f"{kind}.threshold={min(thresholds)}" for kind in ("fft", "coherent", "ffa", "accel")]
    if only:
        off = [{"pulse": "single_pulse"}.get(kind, kind) for kind in kinds if kind not in (only, "accel")]
        settings += [f"{name}.enabled=false" for name in off]
        kinds = [only]
    settings += sets or []
    sigmas: dict[str, list[float]] = {kind: [] for kind in kinds}
    band = {"nchans": 128, "fch1": 1498.0, "foff": -4.0, "tsamp": 128e-6}
    skies = (Sky(**band, nsamps=2**17 + 1717 * seed, seed=first + seed) for seed in range(seeds))
    for seed, (_, run) in enumerate(searched(skies, load_config(None, settings))):
        rows = run.rows("candidates")
        for kind in kinds:
            found = run.rows("single_pulses") if kind == "pulse" else rows[rows["kind"] == kind]
            sigmas[kind] += found["sigma"].tolist()
        print(f"seed {seed}: {len(rows)} sources, best {max(rows['sigma'], default=np.nan):.2f}", flush=True)
    for kind, values in sigmas.items():
        compare(kind, values, seeds, *thresholds)


@app.command()
def series(
    search: Literal["fft", "coherent", "ffa", "accel"],
    threshold: Threshold = -2.0,
    seeds: int = 100,
    first: First = OTHERS,
    log2n: int = 16,
    tsamp: Annotated[float, typer.Option(help="[s]; the coherent search was calibrated at 60e-6")] = 1e-3,
    sets: Sets = None,
) -> None:
    """Detections of one search in single series; with --set search.parts=[1,2,4] in parts of them, too."""
    names = ("fft", "coherent", "ffa", "single_pulse")
    settings = [f"{name}.enabled=false" for name in names if name != search]
    settings += [f"{search}.threshold={threshold}", f"{search}.max_detections=100000", *(sets or [])]
    config = load_config(None, settings)
    sigmas: list[float] = []
    parts: dict[int, int] = {}
    for seed in range(first, first + seeds):
        found = search_series(white_noise(1 << log2n, seed), tsamp, 0.0, config, memory=1 << 28).detections
        sigmas += found["sigma"].tolist()
        for label in found["part"].tolist():
            count = Part.of_label(label).count
            parts[count] = parts.get(count, 0) + 1
    compare(f"{search}, 2^{log2n} samples", sigmas, seeds, threshold)
    if len(config.search.parts) > 1:
        print(f"by the number of parts: {dict(sorted(parts.items()))}")


@app.command()
def halved(seeds: int = 300, seed: int = 3) -> None:
    """Periods in series that are searched with all samples, and with fewer where channels smear."""
    rng = np.random.default_rng(seed)
    for plan, row, times, config in halved_series(-1.0):
        stage = plan.stages[plan.stage_of(row)[0]]
        searches = {
            name: SeriesSearch(stage.nsamps, stage.tsamp, config, trials=Trials(), memory=0, times=halving)
            for name, halving in (("all samples", 0), ("fewer", times))
        }
        sigmas: dict[str, list[float]] = {f"{kind}, {name}": [] for name in searches for kind in ("fft", "coherent")}
        for _ in range(seeds):
            data = np.rint(NOISE * rng.standard_normal(stage.nsamps)).astype(np.int16)
            for name, search in searches.items():
                found = search.search(data, 0.0).detections
                for kind in ("fft", "coherent"):
                    sigmas[f"{kind}, {name}"] += found["sigma"][found["kind"] == kind].tolist()
        for name, values in sigmas.items():
            compare(name, values, seeds, -1.0)


@app.command()
def stack(seeds: int = 60, nights: int = 16, unequal: Unequal = False, threshold: Threshold = -2.0) -> None:
    """Detections in stacks of nights of 2^16 samples, which go through all but the files."""
    nsamps, table = 1 << 16, decoded()
    part = night_lengths(nights, unequal)
    grid = StackGrid(1e-3, nsamps, POINTS * nsamps // 2, np.zeros(1))
    makers = {n: GridPowers(n, grid) for n in {int(p * nsamps) for p in part}}
    config = FFTConfig.model_validate({"threshold": threshold, "max_detections": 100000})
    search = StackSearch(grid, part, part * grid.span, config)
    sigmas: list[float] = []
    for seed in range(seeds):
        rng = np.random.default_rng(OTHERS + seed)
        total = np.zeros(grid.npoints)
        for p, w in zip(part, search.weights, strict=True):
            n = int(p * nsamps)
            total += w * table[encode(makers[n].powers(rng.standard_normal(n, dtype=np.float32)))[0]]
        sigmas += search.search(total.astype(np.float32))["sigma"].tolist()
    compare(f"stacks of {nights} nights", sigmas, seeds, threshold)


@app.command()
def orbits(seeds: int = 20, tobs: float = 1200.0, heaviest: float = 0.05, nharm: int = 2, first: First = 1) -> None:
    """Circular orbits in series, at thresholds at which 3, 1, 0.3 and 0.1 are promised."""
    thresholds = [float(sigma_from_logp(np.log(-np.expm1(-promised)))) for promised in (3.0, 1.0, 0.3, 0.1)]
    low, high = 0.9 * tobs, 1.2 * tobs
    config = OrbitsConfig(p_min=low, p_max=high, heaviest=heaviest, nharm=nharm, threshold=thresholds[0])
    search = orbit_search(config, tobs)
    print(f"T {tobs:g} s, {search.bank.count} templates, up to {nharm} harmonics")
    sigmas = [
        orbit.sigma
        for seed in range(first, first + seeds)
        for orbit in found_orbits(search, white_noise(search.nsamps, seed))
    ]
    compare("orbits", sigmas, seeds, *thresholds)


if __name__ == "__main__":
    app()
