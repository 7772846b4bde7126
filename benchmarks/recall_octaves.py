"""Accelerated pulsars of a FAST beam: what the search in octaves finds of them, and what one of everything does.

Binaries of P 1.5 to 30 ms, duty cycles of 10 to 30 %, S/N 12 to 20 before they are smeared, DM 0 to 1000, and |z| up to
200 at their first, second or fourth harmonic, all drawn from a seed. Of the 6,600 trial DMs of the beam only those
beside a pulsar's are made, and of their frequencies those up to its
eighth harmonic: white noise, and the pulse as wide as channels, sampling and the distance from its DM make it;
significances are those of all. A pulsar counts as found with its frequency within 2 bins and its drift within 4.

    python benchmarks/recall_octaves.py --pulsars 100
    python benchmarks/recall_octaves.py --pulsars 20 --set accel.loss=0.05
    python benchmarks/recall_octaves.py --cost              # what both take, all 6,600 DMs
"""

from dataclasses import replace

import numpy as np
from bench_search import best_of
from options import numbers

from pulsar.config.load import load_config
from pulsar.constants import KDM
from pulsar.dedisp.plan import DMPlan, make_plan
from pulsar.dedisp.sampling import halved
from pulsar.pipeline.stages import BatchSearch
from pulsar.synthesis import Sky

SKY = Sky(nchans=4096, fch1=1499.93896484375, foff=-0.1220703125, tsamp=49.152e-6, nsamps=1 << 20)
TOBS = SKY.header.tobs
#: Part of the speed of light that is gained in the observation, and points of a profile.
MOST_SPEED = 0.09
POINTS = 4096


def profile(period: float, duty: float, widths: list[float], delays: np.ndarray) -> np.ndarray:
    """One turn of a Gaussian pulse, in boxes of these widths [s] and at these delays of channels [s]."""
    k = np.arange(POINTS // 2 + 1)
    lines = np.exp(-0.25 * (np.pi * duty * k) ** 2 / np.log(2.0)).astype(complex)
    lines[0] = 0.0
    for width in widths:
        lines *= np.sinc(k * width / period)
    lines *= np.exp(-2j * np.pi * k[:, None] * delays / period).mean(axis=1)
    return np.fft.irfft(lines)


def pulses(plan: DMPlan, row: int, turns: np.ndarray, one: dict[str, float]) -> np.ndarray:
    """A pulsar at a trial DM, in turns of its own."""
    number, within = plan.stage_of(row)
    stage = plan.stages[number]
    delays = KDM * (plan.dms[row] - one["dm"]) * plan.freqs[::64] ** -2.0
    channel = float(stage.parts()["channel"][within])
    ideal = profile(one["period"], one["duty"], [], np.zeros(1))
    shape = profile(one["period"], one["duty"], [channel, stage.tsamp], delays - delays.mean())
    scale = one["snr"] / np.sqrt(stage.nsamps * np.mean(ideal**2))
    return (scale * shape).astype(np.float32)[turns]


def steps(series: np.ndarray) -> np.ndarray:
    """A series in steps of a 32nd of its noise, as those of a run are kept."""
    return np.round(32.0 * series).astype(np.int16)


def draw(rng: np.random.Generator) -> dict[str, float]:
    """A binary."""
    period = float(np.exp(rng.uniform(np.log(1.5e-3), np.log(30e-3))))
    z = min(rng.uniform(0, 200) / rng.choice([1, 2, 4]), MOST_SPEED * TOBS / period) * rng.choice([-1, 1])
    return {
        "period": period,
        "duty": float(np.exp(rng.uniform(np.log(0.1), np.log(0.3)))),
        "snr": float(rng.uniform(12, 20)),
        "dm": float(rng.uniform(0, 1000)),
        "z": float(z),
        "phase": float(rng.uniform()),
    }


def beside(finder: BatchSearch, row: int) -> list[int]:
    """Trial DMs on both sides of one at which each band of frequencies is searched next."""
    found = set()
    rows = np.flatnonzero(finder.octaves.of_row >= 0)
    low = np.array([finder.octaves.bands[k].low for k in finder.octaves.of_row[rows].tolist()])
    for limit in np.unique(low):
        mine = rows[low <= limit]
        at = int(np.searchsorted(mine, row))
        found |= set(mine[max(at - 1, 0) : at + 1].tolist())
    return sorted(found)


def best(finder: BatchSearch, plan: DMPlan, seed: list[int], one: dict[str, float]) -> float:
    """Highest significance of a pulsar, NaN if it is not found."""
    row = min(int(np.searchsorted(plan.dms, one["dm"])), plan.ndms - 1)
    number = plan.stage_of(row)[0]
    stage = plan.stages[number]
    noise = np.random.default_rng(seed).standard_normal(stage.nsamps, dtype=np.float32)
    u = (np.arange(stage.nsamps) + 0.5) / stage.nsamps - 0.5
    turns = (TOBS / one["period"]) * u + 0.5 * one["z"] * u**2 + one["phase"]
    turns = ((turns - np.floor(turns)) * POINTS).astype(np.int64) % POINTS
    top = 8.1 / one["period"]
    sigma = np.nan
    for index in beside(finder, row):
        band = finder.octaves.band(index)
        if band.low >= top or plan.stage_of(index)[0] != number:
            continue
        times = int(finder.halvings[index])
        search = finder.prepared(stage, times).searches[0].within(replace(band, high=min(band.high, top)))
        found = search.search(halved(steps(noise + pulses(plan, index, turns, one)), times))
        near = (np.abs(found["freq"] - 1.0 / one["period"]) * TOBS < 2.0) & (found["sigma"] > 0.0)
        near &= np.abs(found["fdot"] * TOBS**2 - one["z"]) < 4.0
        sigma = np.fmax.reduce([sigma, *found["sigma"][near]])
    return float(sigma)


def cost(finder: BatchSearch, plan: DMPlan) -> float:
    """CPU seconds of the acceleration search of all trial DMs: one series of noise timed for each band."""
    total, first = 0.0, 0
    for stage in plan.stages:
        data = np.random.default_rng(0).standard_normal(stage.nsamps, dtype=np.float32)
        for band, count in finder.octaves.counts(first, first + stage.ndms):
            # As they are: where they are halved for it, the transform takes half of the time.
            search = finder.prepared(stage).within(band)
            search.search(data)
            total += count * best_of(2, search.search, data) / 1e3
        first += stage.ndms
    return total


def main() -> None:
    parser = numbers(__doc__.splitlines()[0], pulsars=100, seed=1)
    parser.add_argument("--cost", action="store_true", help="CPU seconds of all trial DMs, by what each band takes")
    parser.add_argument("--set", dest="sets", action="append", default=[])
    args = parser.parse_args()
    sets = ["dedisp.dm_hi=1000", "accel.zmax=200", "fft.enabled=false", "coherent.enabled=false"]
    sets += ["ffa.enabled=false", "single_pulse.enabled=false", *args.sets]
    config = load_config(None, sets)
    plan = make_plan(SKY.header, config.dedisp)
    finders = {
        "octaves": BatchSearch(plan, config, threads=1, memory=4_000_000_000),
        "everything": BatchSearch(plan, load_config(None, [*sets, "accel.loss=0"]), threads=1, memory=4_000_000_000),
    }
    if args.cost:
        seconds = {name: cost(finder, plan) for name, finder in finders.items()}
        for name, finder in finders.items():
            print(f"{name}: {seconds[name]:.0f} CPU s {finder.octaves.text(plan.dms)}")
        print(f"{seconds['everything'] / seconds['octaves']:.1f} times")
        return
    rng = np.random.default_rng(args.seed)
    found: dict[str, list[float]] = {name: [] for name in finders}
    for number in range(args.pulsars):
        one = draw(rng)
        for name, finder in finders.items():
            found[name].append(best(finder, plan, [args.seed, number], one))
        what = f"P {1e3 * one['period']:7.4f} ms duty {one['duty']:.2f} S/N {one['snr']:.1f} DM {one['dm']:.1f}"
        told = ", ".join(f"{sigmas[-1]:.1f} ({name})" for name, sigmas in found.items())
        print(f"{number:3d} {what} z {one['z']:6.1f}: sigma {told}", flush=True)
    for name, sigmas in found.items():
        print(f"{name}: {np.count_nonzero(np.isfinite(sigmas))} of {args.pulsars} found")
    ratio = np.array(found["octaves"]) / np.array(found["everything"])
    lost = np.isfinite(found["everything"]) & ~np.isfinite(found["octaves"])
    print(
        f"lost {np.count_nonzero(lost)}; sigma in octaves over everything: median {np.nanmedian(ratio):.3f}, "
        f"5 % below {np.nanpercentile(ratio, 5):.3f}"
    )


if __name__ == "__main__":
    main()
