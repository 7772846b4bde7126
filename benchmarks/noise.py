"""Chance detections in noise, against what thresholds promise; and the constants of searches that make the promise.

    python benchmarks/noise.py files --seeds 40 --first 700 --zmax 50
    python benchmarks/noise.py series fft --threshold -2 --set fft.nharm=32 --seeds 400 --log2n 15
    python benchmarks/noise.py trials fft --seeds 200 --log2n 18
    python benchmarks/noise.py --help; python benchmarks/noise.py trials --help

A trial-corrected threshold of s sigma promises Q(s) chance sources in a run (more than one when s is negative: the
expected number is -ln(1 - Q)). Printed is the chance of so few, or so many, beside it.

For the constants (`trials`), detections in white noise whose single-trial probability is below p are counted; the count
over p is the effective number of trials. It is printed for a unit (bin, cell ...) of the search, with its Poisson error
and the count. What thresholds then promise is compared with other seeds by the other commands.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import ArrayLike, NDArray
from recall_series import NOISE, found_orbits, halved_series, night_lengths, orbit_search
from scipy import fft as scipy_fft
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import gamma, poisson
from shared import First, Sets, commands, searched, white_noise, without

from pulsar.config.load import load_config
from pulsar.config.model import AccelConfig, CoherentConfig, FFAConfig, FFTConfig, OrbitsConfig, SinglePulseConfig
from pulsar.data.header import Part
from pulsar.orbits.bank import Bank
from pulsar.pipeline.stages import SeriesSearch, Trials
from pulsar.searches import repeats as repeating
from pulsar.searches.accel import AccelSearch
from pulsar.searches.coherent import CoherentSearch
from pulsar.searches.ffa import FFASearch
from pulsar.searches.fft import FFTSearch
from pulsar.searches.single_pulse import SinglePulseSearch
from pulsar.searches.stats import expected_from_sigma, sigma_from_logp
from pulsar.stack.epochs import GridPowers
from pulsar.stack.files import POINTS, StackGrid, decoded, encode
from pulsar.stack.search import StackSearch
from pulsar.synthesis.model import Sky

app = commands(__doc__)
trials = commands("Constants of the searches that are counted in noise: independent trials, and what grids lose.")
app.add_typer(trials, name="trials")
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
        off = [kind for kind in kinds if kind not in (only, "accel")]
        settings += without(*("single_pulse" if kind == "pulse" else kind for kind in off))
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
    settings = without(*(name for name in ("fft", "coherent", "ffa", "single_pulse") if name != search))
    settings += [f"{search}.threshold={threshold}", f"{search}.max_detections=100000", *(sets or [])]
    config = load_config(None, settings)
    sigmas: list[float] = []
    parts: Counter[int] = Counter()
    finder = SeriesSearch(1 << log2n, tsamp, config, memory=1 << 28)
    for series in (white_noise(1 << log2n, seed) for seed in range(first, first + seeds)):
        found = finder.search(series, 0.0).detections
        sigmas += found["sigma"].tolist()
        parts.update(Part.of_label(label).count for label in found["part"].tolist())
    compare(f"{search}, 2^{log2n} samples", sigmas, seeds, threshold)
    if len(config.search.parts) > 1:
        print(f"by the number of parts: {dict(sorted(parts.items()))}")


@app.command()
def halved(seeds: int = 300, seed: int = 3) -> None:
    """Periods in series that are searched with all samples, and with fewer where channels smear."""
    rng = np.random.default_rng(seed)
    for _, _, stage, searches in halved_series(-1.0, Trials()):
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
    series = (white_noise(search.nsamps, seed) for seed in range(first, first + seeds))
    sigmas = [orbit.sigma for data in series for orbit in found_orbits(search, data)]
    compare("orbits", sigmas, seeds, *thresholds)


NHARMS = (1, 2, 4, 8, 16, 32)


def count(
    rows: dict[str, Sequence[Any]],
    probabilities: Sequence[float],
    series: Callable[[int], NDArray[Any]],
    seeds: int,
    units: ArrayLike,
) -> None:
    """Print the effective trials a unit, of each row what it adds to the row before.

    Parameters
    ----------
    rows : dict of sequences of searches
        Under a label one search for each probability, because what is merged depends on the threshold; or one for all
        of them.
    probabilities : sequence of float
        Of a single trial, the highest first.
    series : callable
        The series of a seed, of which there are so many.
    seeds : int
    units : array_like
        In a series, for each row.
    """
    limits = np.log(probabilities)
    for row in rows.values():
        for search, limit in zip(row, limits, strict=False):
            search.set_threshold(float(limit))
    counts = np.zeros((len(rows), len(probabilities)))
    for data in map(series, range(seeds)):
        for i, row in enumerate(rows.values()):
            if len(row) == 1:
                counts[i] += np.count_nonzero(row[0].search(data)["logp"] < limits[:, None], axis=1)
            else:
                counts[i] += [len(search.search(data)) for search in row]
    print(" " * 24 + "  ".join(f"p={p:.1e}".rjust(24) for p in probabilities))
    each = 1.0 / np.array(probabilities) / np.broadcast_to(seeds * np.asarray(units), len(rows))[:, None]
    added = np.diff(counts, axis=0, prepend=0.0) * each
    errors = np.sqrt(np.maximum(counts, 1)) * each
    for label, values, error, n in zip(rows, added, errors, counts, strict=True):
        cells = [f"{v:7.3f} ± {e:.3f} ({c:.0f})".rjust(24) for v, e, c in zip(values, error, n, strict=True)]
        print(f"{label:24s}" + "  ".join(cells), flush=True)


def by_harmonics(make: Callable[[FFTConfig], Any], number: int) -> dict[str, list[Any]]:
    """So many searches of sums of each number of harmonics."""
    configs = [FFTConfig.model_validate({"nharm": nharm, "max_detections": 100000}) for nharm in NHARMS]
    return {f"{config.nharm} harmonics": [make(config) for _ in range(number)] for config in configs}


@trials.command()
def fft(seeds: int = 200, log2n: int = 18) -> None:
    """Independent trials of pulsar/searches/fft.py: per bin of the top harmonic what each stage of sums adds.

    They grow slowly with the threshold, because the chance of a maximum between grid points does.
    """
    probabilities = (1e-4, 1e-5, 1e-6, 1e-7)
    rows = by_harmonics(lambda config: FFTSearch(1 << log2n, 1e-3, config), len(probabilities))
    bins = np.diff(list(rows.values())[-1][0]._limits, axis=1)[: len(NHARMS), 0] / 2
    count(rows, probabilities, partial(white_noise, 1 << log2n), seeds, bins)


@trials.command("stack")
def stack_trials(seeds: int = 100, log2n: int = 17, epochs: int = 16) -> None:
    """TRIALS_SINGLE and TRIALS_STAGE of pulsar/stack/search.py: as of fft, of sums of the powers of several epochs.

    They hardly depend on the number of epochs.
    """
    nsamps, weights, probabilities = 1 << log2n, np.ones(epochs), (1e-4, 1e-5, 1e-6)
    grid = StackGrid(1e-3, nsamps, POINTS * nsamps // 2, np.zeros(1))
    rows = by_harmonics(lambda config: StackSearch(grid, weights, weights * grid.span, config), len(probabilities))

    def powers(rng: np.random.Generator) -> NDArray[np.float32]:
        """Powers of white noise at quarter bins, shape (2 nsamps,)."""
        series = rng.standard_normal(nsamps, dtype=np.float32) / np.float32(np.sqrt(nsamps))
        amplitudes = scipy_fft.rfft(series, POINTS * nsamps)[:-1]
        return np.asarray(amplitudes.real**2 + amplitudes.imag**2)

    def total(seed: int) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed)
        summed = sum((powers(rng) for _ in range(epochs)), np.zeros(grid.npoints, np.float32))
        return np.asarray(summed / np.float32(epochs), np.float32)

    bins = np.diff(list(rows.values())[-1][0].limits, axis=1)[:, 0] / POINTS
    count(rows, probabilities, total, seeds, bins)


@trials.command()
def accel(
    seeds: int = 100,
    log2n: int = 16,
    zmax: Annotated[list[float] | None, typer.Option(help="may be repeated")] = None,
    wmax: float = 0.0,
    decades: Annotated[int, typer.Option(help="p from 10^-decades on")] = 6,
) -> None:
    """TRIALS_LINE and, over -ln p, TRIALS_AREA of pulsar/searches/accel.py.

    Per bin of the top harmonic (zmax 0), or per bin and width of the drift: that of single powers, then what each stage
    of sums adds.
    """
    for z in zmax or [0.0, 10.0, 50.0, 200.0]:
        rows = {}
        for nharm in NHARMS[:-1]:
            config = {"zmax": z, "wmax": wmax, "nharm": nharm, "max_detections": 10**6}
            rows[f"zmax {z:g}, {nharm} harmonics"] = [AccelSearch(1 << log2n, 1e-3, AccelConfig.model_validate(config))]
        cells = [row[0].cells[-1, 1 if z > 0 else 0] for row in rows.values()]
        count(rows, [10.0 ** -(decades + i) for i in range(3)], partial(white_noise, 1 << log2n), seeds, cells)


@trials.command()
def coherent(seeds: int = 400, log2n: int = 20) -> None:
    """TRIALS of pulsar/searches/coherent.py, per unit of a series (see CoherentSearch.ntrials).

    They grow with the threshold: rarer maxima gain more by the refinement, and the first look loses fewer of them.
    """
    probabilities = [float(p) for p in 10.0 ** np.arange(-8.0, -12.1, -0.5)]
    search = CoherentSearch(1 << log2n, 60e-6, CoherentConfig())
    series = partial(white_noise, 1 << log2n)
    count({f"2^{log2n} samples": [search]}, probabilities, series, seeds, float(np.sum(search.units)))


@trials.command()
def ffa(seeds: int = 100, log2n: int = 17, duty_min: float = 0.002, duty_max: float = 0.2, p_min: float = 0.5) -> None:
    """TRIALS of pulsar/searches/ffa.py, per unit of a series (see FFASearch.ntrials)."""
    probabilities = (1e-5, 1e-6, 1e-7, 1e-8)
    config = {"duty_min": duty_min, "duty_max": duty_max, "p_min": p_min, "max_detections": 100000}
    row = [FFASearch(1 << log2n, 1e-3, FFAConfig.model_validate(config)) for _ in probabilities]
    print(f"{row[0].ntrial_periods} periods, {row[0].units:.3g} units in a series")
    count({f"2^{log2n} samples": row}, probabilities, partial(white_noise, 1 << log2n), seeds, row[0].units)


@trials.command()
def pulses(
    seeds: int = 300,
    widths: Annotated[str, typer.Option(help="widest pulses [samples]")] = "1,2,4,8,16,64,1024",
    shape: Literal["boxcar", "gaussian"] = "boxcar",
) -> None:
    """Independent trials a sample in pulsar/searches/single_pulse.py, with the line in (S/N)^4 through them.

    Counts of events above several S/N over Q(S/N) and the number of samples. They grow with S/N, because the rarer a
    maximum the narrower it is, and hardly with the widest pulse beyond some 64 samples, because wide boxes have few
    independent places.
    """
    levels = np.arange(4.5, 6.01, 0.25)
    for width in map(int, widths.split(",")):
        config = {"snr": levels[0], "width_max": 1e-4 * width, "shape": shape, "max_events": 10**6}
        search = SinglePulseSearch(1 << 20, 1e-4, SinglePulseConfig.model_validate(config))
        counts = np.zeros(levels.size)
        for seed in range(seeds):
            snr = search.search(np.rint(300.0 * white_noise(1 << 20, seed)).astype(np.int16))["snr"]
            counts += [np.count_nonzero(snr >= level) for level in levels]
        trials = counts / ndtr(-levels) / (seeds * search.nsamps)
        cells = "  ".join(f"{t:6.2f}±{t / np.sqrt(max(c, 1)):.2f}" for t, c in zip(trials, counts, strict=True))
        weight = np.sqrt(np.maximum(counts, 1)) / np.maximum(trials, 1e-9)
        slope, value = np.polyfit(levels**4 - levels[0] ** 4, trials, 1, w=weight)
        print(f"widest {width:5d}: {cells}   at 4.5: {value:.2f}, slope {slope:.5f}", flush=True)


@trials.command()
def repeats(sets: int = 3000, first: First = 0) -> None:
    """Alignments that the search for a period of arrival times (pulsar/searches/repeats.py) really tries, over its own.

    For random times the chance that the search computes, exp(logp), should be uniform: the number of sets below x, over
    x times their number, is what its 1/6 has to be multiplied with.
    """
    levels = np.array([0.2, 0.05, 0.01, 0.002])
    for few, many in ((4, 4), (5, 6), (7, 9), (10, 15), (16, 25)):
        counts = np.zeros(levels.size)
        used = 0
        for seed in range(first, first + sets):
            rng = np.random.default_rng([seed, few])
            times = np.sort(rng.uniform(0, 200.0, int(rng.integers(few, many + 1))))
            found = repeating.repeats(times, errors=1e-3, p_min=0.2, sigma=-np.inf)
            if found is not None:
                used += 1
                counts += np.exp(found.logp) < levels
        ratio = counts / (levels * sets)
        each = zip(levels, ratio, ratio / np.sqrt(np.maximum(counts, 1)), strict=True)
        cells = "  ".join(f"{level:g}: {value:.2f}±{error:.2f}" for level, value, error in each)
        print(f"{few:2d} to {many:2d} times, {used} of {sets} with a range to search: {cells}", flush=True)


#: Samples of the short series in which a harmonic is looked at, and their times.
SAMPLES = 64
U = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5


def sums(series: NDArray[Any], r: NDArray[Any], z: NDArray[Any]) -> NDArray[np.float64]:
    """Summed powers of harmonics, shape (nharm, SAMPLES), at distances in bins and drift, shape (n, nharm)."""
    turns = r[..., None] * U + 0.5 * z[..., None] * U**2
    return np.asarray((np.abs((series * np.exp(-2j * np.pi * turns)).mean(axis=-1)) ** 2).sum(axis=-1))


def square(size: float, points: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points of a square in two dimensions, each of shape (points**2, 1)."""
    a, b = np.meshgrid(np.linspace(-size, size, points), np.linspace(-size, size, points), indexing="ij")
    return a.reshape(-1, 1), b.reshape(-1, 1)


def excess_left(rng: np.random.Generator, nharm: int, steps: Sequence[float], power: float) -> list[float]:
    """Part of the excess power that grids of these steps of drift leave of one signal; empty if it is too weak."""
    harmonics = np.arange(1, nharm + 1) / nharm
    r, z = 1000.0 + rng.uniform(), rng.uniform(-60.0, 60.0)
    noise = rng.standard_normal((2, nharm, SAMPLES)) * np.sqrt(SAMPLES / 2.0)
    lines = np.sqrt(power / nharm) * np.exp(2j * np.pi * rng.uniform(size=nharm))
    series = lines[:, None] + noise[0] + 1j * noise[1]
    at, size = np.zeros(2), np.array([0.6, 5.0])
    a, b = square(1.0, 7)
    for _ in range(6):
        found = sums(series, (at[0] + size[0] * a) * harmonics, (at[1] + size[1] * b) * harmonics)
        best = int(found.argmax())
        # The next look is closer.
        at, size = at + size * (a[best, 0], b[best, 0]), size * 0.4
    peak = float(found.max())
    if peak < power:
        return []
    parts = []
    k = np.arange(1, nharm + 1)
    for step in steps:
        i, j = square(3.0, 7)
        i, j = i.astype(int) + round(2.0 * r), j.astype(int) + round(z / step)
        rows, drifts = (2 * i * k + nharm) // (2 * nharm), (2 * j * k + nharm) // (2 * nharm)
        highest = sums(series, 0.5 * rows - r * harmonics, step * drifts - z * harmonics).max()
        parts.append(float((highest - nharm) / (peak - nharm)))
    return parts


@trials.command()
def drift_steps(signals: int = 2000, seed: int = 1) -> None:
    """GRID of pulsar/searches/response.py: what a grid of half bins and drifts 2 to 7 bins apart leaves of signals.

    Signals of 1, 2, 4 ... equal harmonics in white noise, whose summed power at its peak is at the threshold (ln p of
    -20 and -27) or a little above, somewhere between the points of the grid. Printed is the part of the excess power
    (over what noise has in the mean) that the highest sum of the grid has of that at the peak, for all but 4 % of the
    signals; and, for a grid point whose excess is no more than that, how many there are in noise among a million.
    """
    for level in (-20.0, -27.0):
        for nharm in NHARMS[:-1]:
            power = float(brentq(lambda x, n=nharm, p=level: gamma.logsf(x, n) - p, nharm, 500.0))
            rng = np.random.default_rng([seed, nharm])
            drawn = [excess_left(rng, nharm, (2.0, 3.0, 4.0, 5.0, 6.0, 7.0), power) for _ in range(signals)]
            parts = [part for part in drawn if part]
            quantile = np.quantile(parts, 0.04, axis=0)
            noise = 1e6 * gamma.sf(nharm + quantile * (power - nharm), nharm)
            cells = "  ".join(f"{q:.3f} ({n:.2g})" for q, n in zip(quantile, noise, strict=True))
            print(f"ln p {level:g}, {nharm:2d} harmonics, {len(parts)} signals: {cells}", flush=True)


def lost_between(bank: Bank, templates: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Part of the power of a random orbit, at the highest frequency, that its best template does not see.

    Parameters
    ----------
    bank : Bank
    templates : ndarray, shape (3, n)
        Of the bank: rate of the orbit, and the two parts of its size.
    rng : numpy.random.Generator
    """
    metric = bank.metric
    turn = rng.uniform(metric.turn[0], metric.turn[-1])
    least, most = (float(v) for v in bank.sizes(np.array(turn)))
    size, angle = np.sqrt(rng.uniform(least**2, most**2)), rng.uniform(0.0, 2.0 * np.pi)
    x, y = size * np.sin(angle), size * np.cos(angle)
    # In X and Y the metric is flat.
    even, odd, bend_even, bend_odd = (float(v[0]) for v in metric.at(np.array([turn])))
    own = bank.scale * x * even, bank.scale * y * odd
    each_even, each_odd, _, _ = metric.at(templates[0])
    each = bank.scale * templates[1] * each_even, bank.scale * templates[2] * each_odd
    bend = (own[0] * bend_even) ** 2 + (own[1] * bend_odd) ** 2
    far = (each[0] - own[0]) ** 2 + (each[1] - own[1]) ** 2 + bend * (templates[0] - turn) ** 2
    t = ((np.arange(512) + 0.5) / 512 - 0.5) * bank.tobs
    best = 0.0
    for its_turn, its_x, its_y in templates[:, np.argsort(far)[:30]].T:
        delay = its_x * np.cos(its_turn * t) + its_y * np.sin(its_turn * t)
        phase = 2.0 * np.pi * bank.freq * (delay - x * np.cos(turn * t) - y * np.sin(turn * t))
        # At the best frequency: a trend is what another one takes up.
        phase -= np.polyval(np.polyfit(t, phase, 1), t)
        best = max(best, float(np.max(np.abs(np.fft.fft(np.exp(1j * phase), 4096)) ** 2)) / t.size**2)
    return 1.0 - best


@trials.command()
def orbit_banks(orbits: Annotated[int, typer.Option(help="random ones of each bank")] = 300, seed: int = 1) -> None:
    """Losses between the templates of circular orbits, of random orbits, measured with phases (docs/orbits.md)."""
    print("P_orb [s]        T [s]  Hz   mismatch  m_c    templates  mean   95 %   most")
    for p_lo, p_hi, tobs, freq, mismatch, heaviest in (
        (1100.0, 1300.0, 1200.0, 170.0, 0.3, 0.1),
        (1100.0, 1300.0, 1200.0, 170.0, 0.3, 0.02),
        (900.0, 2400.0, 1200.0, 85.0, 0.3, 0.1),
        (600.0, 1200.0, 2400.0, 85.0, 0.3, 0.05),
        (2400.0, 12000.0, 1200.0, 170.0, 0.3, 0.3),
        (1100.0, 1300.0, 1200.0, 170.0, 0.5, 0.1),
        (1100.0, 1300.0, 1200.0, 170.0, 0.2, 0.1),
    ):
        bank = Bank(OrbitsConfig(p_min=p_lo, p_max=p_hi, heaviest=heaviest, mismatch=mismatch), freq, tobs)
        slices = [(piece.turn, *bank.templates(piece)) for piece in bank.slices]
        templates = np.concatenate([[np.full(x.size, turn), x, y] for turn, x, y in slices], axis=1)
        rng = np.random.default_rng(seed)
        part = np.array([lost_between(bank, templates, rng) for _ in range(orbits)])
        text = f"{p_lo:5g} to {p_hi:6g}  {tobs:5g}  {freq:4g}  {mismatch:8g}  {heaviest:4g}  {templates.shape[1]:9d}"
        print(f"{text}  {part.mean():.3f}  {np.quantile(part, 0.95):.3f}  {part.max():.3f}", flush=True)


if __name__ == "__main__":
    app()
