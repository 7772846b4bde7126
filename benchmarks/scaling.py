"""How CPU time grows with samples and with trial DMs.

    python benchmarks/scaling.py [--plot benchmarks/scaling.png] [--rounds 3]

256 channels in memory, 1000-1500 MHz, 64 us. Samples: 2^18 to 2^22, for 128 DMs, and for the search of one series.
DMs: 32 to 1024, steps of 0.5, 2^18 samples each. Noise that is never the same twice, or a search would find its period
again and again. One thread; every point is the least of some rounds over all points.
The exponent is that of the power law that fits best: 1 is linear. An FFT of n samples takes n log n, which between
2^18 and 2^22 is an exponent of 1.07. What a second thread brings is told by `pulsar bench --stages`.

Dedispersion is split into the time of the program and that of the system, which fetches fresh pages of memory for
samples and series (over 2 GB at 2^22): what a page costs depends on what else the machine's memory is used for, so
this part is stated but not fitted.
"""

import resource
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from shared import NoiseSource, best_of, cpu_of, markdown

from pulsar.bench.case import Size, power_of_two
from pulsar.bench.stages import MEMORY, NHARM, Survey
from pulsar.config.model import FFTConfig
from pulsar.dedisp.batches import choose_route, dedispersed
from pulsar.pipeline.stages import BatchSearch
from pulsar.searches.fft import FFTSearch

NCHANS, NDMS, NSAMPS = 256, 128, 1 << 18
SAMPLES = [1 << k for k in range(18, 23)]
DMS = [1 << k for k in range(5, 11)]
SYSTEM = "... of the system, for memory"
FFT = FFTConfig.model_validate({"nharm": NHARM})

#: By name, numbers of samples or DMs, and seconds.
Lines = dict[str, tuple[list[int], list[float]]]


class Parts(NamedTuple):
    """CPU time of the parts of one run [s]."""

    user: float
    system: float
    search: float


def dedispersion(survey: Survey, data: NDArray[np.int8], search: bool) -> Parts:
    """Dedisperse a survey, and search all its series if `search`."""
    source, plan = NoiseSource(survey.sky.header, data), survey.plan()
    finder = BatchSearch(plan, FFT, threads=1)
    searching = 0.0
    start = resource.getrusage(resource.RUSAGE_SELF)
    for batch in dedispersed(source, plan, choose_route(plan, threads=1, memory=MEMORY), threads=1):
        if search:
            searching += cpu_of(finder.search, batch)
    end = resource.getrusage(resource.RUSAGE_SELF)
    return Parts(end.ru_utime - start.ru_utime - searching, end.ru_stime - start.ru_stime, searching)


def one_series(nsamps: int) -> float:
    """CPU time of the search of one series [s], the least of several."""
    series = np.rint(np.random.default_rng(1).normal(0.0, 200.0, nsamps)).astype(np.int16)
    finder = FFTSearch(nsamps, 64e-6, FFT)
    finder.search(series)
    return best_of(5, finder.search, series)


def measure(rounds: int) -> tuple[Lines, Lines]:
    """Times against samples, and against DMs."""
    data = np.random.default_rng(1).integers(-14, 15, (NCHANS, SAMPLES[-1]), dtype=np.int8)
    dedispersion(Survey(Size(NSAMPS, NCHANS, 32)), data, True)  # compiles
    by_samples = np.full((3, len(SAMPLES)), np.inf)
    by_dms = np.full((3, len(DMS)), np.inf)
    for _ in range(rounds):
        for i, n in enumerate(SAMPLES):
            user, system, _ = dedispersion(Survey(Size(n, NCHANS, NDMS)), data, False)
            by_samples[:, i] = np.minimum(by_samples[:, i], (user, system, one_series(n)))
        for i, n in enumerate(DMS):
            by_dms[:, i] = np.minimum(by_dms[:, i], dedispersion(Survey(Size(NSAMPS, NCHANS, n)), data, True))
    names = (f"dedispersion, {NDMS} DMs", SYSTEM, "search of one series")
    samples = {name: (SAMPLES, times.tolist()) for name, times in zip(names, by_samples, strict=True)}
    names = ("dedispersion, 2^18 samples", SYSTEM, "search of all series")
    return samples, {name: (DMS, times.tolist()) for name, times in zip(names, by_dms, strict=True)}


def exponent(x: list[int], y: list[float]) -> float:
    """Of the power law that fits best."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def show(lines: Lines, unit: str) -> None:
    """A table in Markdown."""
    x = next(iter(lines.values()))[0]
    rows = [
        [name, *(f"{value:.3g}" for value in y), "" if name == SYSTEM else f"{exponent(x, y):.2f}"]
        for name, (_, y) in lines.items()
    ]
    print(markdown([f"CPU [s] for {unit}", *map(power_of_two, x), "exponent"], rows), end="\n\n")


def plot(samples: Lines, dms: Lines, path: Path) -> None:
    """Both as an image, with the line of proportional growth through each first point."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for axis, lines, label in zip(axes, (samples, dms), ("samples", "trial DMs"), strict=True):
        shown = {name: line for name, line in lines.items() if name != SYSTEM}
        for colour, (name, (x, y)) in enumerate(shown.items()):
            axis.plot(x, y, "o-", color=f"C{colour}", label=f"{name}: exponent {exponent(x, y):.2f}")
            axis.plot(x, [y[0] * n / x[0] for n in x], "--", color=f"C{colour}", alpha=0.5)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set(xlabel=label, ylabel="CPU [s]")
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main(png: Annotated[Path | None, typer.Option("--plot", metavar="PNG")] = None, rounds: int = 3) -> None:
    """Measure and print."""
    samples, dms = measure(rounds)
    show(samples, "samples")
    show(dms, "DMs")
    if png is not None:
        plot(samples, dms, png)


if __name__ == "__main__":
    typer.run(main)
