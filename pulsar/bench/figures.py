"""A run of the benchmark as JSON: its fields, its reader, two runs beside each other, and pictures of both.

The texts of the fields (unit, and what it is) are a page of the docs.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import comb
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from pulsar.bench.case import CallCost, Size
from pulsar.bench.limits import Limits, Timing
from pulsar.config.resources import usable_cores
from pulsar.data.files import read_bytes
from pulsar.data.text import counted, literal, printable, si
from pulsar.data.validated import Count, Number, checked, strict_json
from pulsar.errors import ConfigError, DataError
from pulsar.io.product.provenance import cpu_model, versions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT: Final = "pulsar-bench"
#: Raised in front of the point where a field is gone or means something else, behind it where one is new.
FORMAT_VERSION: Final = "3.0"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Times of one call, and rates of all threads together for each second of processor time of one."""

    first_s: Annotated[Number, "s", "what the first call took beyond a later one: compilation, or loading its result"]
    cpu_s: Annotated[Number, "s", "processor time: the least of the calls of a repeat, of the repeats the median"]
    cpu_low_s: Annotated[Number, "s", "processor time of the fastest repeat"]
    cpu_high_s: Annotated[Number, "s", "processor time of the slowest repeat"]
    wall_s: Annotated[Number, "s", "elapsed time, as `cpu_s`"]
    calls: Annotated[Count, "", "calls that were timed, in all repeats together"]
    samples_per_s: Annotated[Number, "1/s", "samples taken in (channels times times), of all threads"]
    bytes_per_s: Annotated[Number, "bytes/s", "bytes that have to be read and written once at least"]
    limit: Annotated[str, "", "what would bound it first: copy, copy near, adds L1, adds L2 or floats"]
    fraction: Annotated[Number, "", "least time that this limit allows, over the time taken; 1 is all there is"]


@dataclass(frozen=True, kw_only=True)
class Figure(Measured):
    """Figure of a kernel."""

    kernel: Annotated[str, "", "name"]
    about: Annotated[str, "", "what is done"]
    dtype: Annotated[str, "", "types of what it takes and of what it makes"]
    nsamps: Annotated[Count, "", "samples, or what it counts instead"]
    nchans: Annotated[Count, "", "channels; 1 for a series"]
    ndms: Annotated[Count, "", "trial DMs; 1 where there are none"]
    threads: Annotated[Count, "", "threads that ran it side by side, each on data of its own"]
    adds_per_s: Annotated[Number, "1/s", "integer additions"]
    flops_per_s: Annotated[Number, "1/s", "floating point operations; in double precision they count twice"]
    adds_per_byte: Annotated[Number, "1/byte", "additions for every byte moved"]
    flops_per_byte: Annotated[Number, "1/byte", "floating point operations for every byte moved"]
    plain_cpu_s: Annotated[Number | None, "s", "processor time of plain numpy or scipy for the same result"]
    ratio: Annotated[Number | None, "", "`plain_cpu_s` over `cpu_s`"]

    @property
    def size(self) -> str:
        """In words: "256 x 2^16, 512 DMs"."""
        return Size(self.nsamps, self.nchans, self.ndms).about


@dataclass(frozen=True, kw_only=True)
class StageFigure(Measured):
    """Figure of a stage."""

    stage: Annotated[str, "", "name"]
    about: Annotated[str, "", "what is done, on how much"]
    threads: Annotated[Count, "", "threads that shared the work"]
    operations_per_s: Annotated[Number, "1/s", "operations that are held against the limit"]
    speedup: Annotated[Number | None, "", "elapsed time of one thread over that of these; null for one"]
    overhead: Annotated[Number | None, "", "processor time over that of one thread; null for one"]


@dataclass(frozen=True, kw_only=True)
class BenchRun:
    """Everything that one run measured."""

    format: Annotated[str, "", f'"{FORMAT}"']
    format_version: Annotated[str, "", "raised before the point where a field changes, behind it where one is new"]
    created: Annotated[str, "", "when the run began, ISO 8601, UTC"]
    cpu: Annotated[str, "", "model of the processor"]
    cores: Annotated[Count, "", "cores that the run could use"]
    threads: Annotated[Count, "", "threads that ran each kernel side by side"]
    seconds: Annotated[Number, "s", "processor time spent on each figure, all repeats together"]
    repeats: Annotated[Count, "", "how many times each figure was measured"]
    versions: Annotated[dict[str, str], "", "version of Python, of this program and of what it uses, by name"]
    limits: Annotated[list[Limits], "", "limits of the machine: of one core, of the threads of the run, of all cores"]
    figures: Annotated[
        list[Figure], "", "figures of the kernels; several of one where several sizes or types were asked for"
    ]
    stages: Annotated[list[StageFigure], "", "figures of whole stages (`--stages`)"]


def empty_run(threads: int = 1, seconds: float = 0.0, repeats: int = 1) -> BenchRun:
    """A run on this machine that begins now, without figures."""
    return BenchRun(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=cpu_model(),
        cores=usable_cores(),
        threads=threads,
        seconds=seconds,
        repeats=repeats,
        versions=versions(),
        limits=[],
        figures=[],
        stages=[],
    )


class Trial(NamedTuple):
    """One repeat: elapsed seconds of its first call, times of the others, cost of a call, and time of plain numpy."""

    first_s: float
    timing: Timing
    cost: CallCost
    plain_cpu_s: float | None = None


def measured(
    trials: Sequence[Trial], limits: Limits, arithmetic: str, *, pieces: int = 1, share: float = 1.0
) -> dict[str, Any]:
    """Fields of a `Measured`, of one or more repeats.

    Parameters
    ----------
    trials : sequence of Trial
        The first of which had the first call of all.
    limits : Limits
        Of as many threads as ran.
    arithmetic : str
        Limit of the processor, as of a `Case`.
    pieces : int
        Equal things that one call does; times are of one.
    share : float
        Cost that falls to each thread, in costs of a trial.
    """
    cost = trials[0].cost
    each = sorted(trial.timing.cpu / pieces for trial in trials)
    cpu, wall = median(each), median(trial.timing.wall / pieces for trial in trials)
    limit, least = limits.shortest(share * cost.nbytes, share * (cost.adds + cost.flops), arithmetic)
    return {
        "first_s": max(trials[0].first_s - pieces * wall, 0.0),
        "cpu_s": cpu,
        "cpu_low_s": each[0],
        "cpu_high_s": each[-1],
        "wall_s": wall,
        "calls": sum(trial.timing.calls for trial in trials),
        "samples_per_s": cost.samples * limits.threads / cpu,
        "bytes_per_s": cost.nbytes * limits.threads / cpu,
        "limit": limit,
        "fraction": least / (share * cpu),
        "threads": limits.threads,
    }


def load(path: Path) -> BenchRun:
    """Read a run.

    Parameters
    ----------
    path : Path
        Output of ``pulsar bench --json``. Fields that this program does not know are left alone.

    Raises
    ------
    DataError
        It is no such file, of another version, or damaged.
    """
    anew = "run `pulsar bench --json` anew"
    try:
        document: Any = strict_json(read_bytes(path, "the output of `pulsar bench --json`"))
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DataError(f"{path}: not the output of `pulsar bench --json`")
    version = printable(str(document.get("format_version")))
    if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        raise DataError(f"{path}: its format_version is {version}, this program reads {FORMAT_VERSION}: {anew}")
    run = checked(BenchRun, document, str(path), anew)
    for name, items in (("figures", run.figures), ("stages", run.stages)):
        for i, item in enumerate(items):
            if not 0 < item.cpu_low_s <= item.cpu_s <= item.cpu_high_s:
                raise DataError(f"{path}: {name}.{i}: expected 0 < cpu_low_s <= cpu_s <= cpu_high_s: {anew}")
    return run


def labels(figures: Sequence[Figure]) -> list[str]:
    """Names by which figures of kernels are told apart: "fft", or "fft, 2^20, int16" where there are several of it."""
    count = Counter(f.kernel for f in figures)
    return [f.kernel if count[f.kernel] == 1 else f"{f.kernel}, {f.size}, {f.dtype.split()[0]}" for f in figures]


@dataclass(frozen=True)
class Difference:
    """One kernel or stage in two runs; times in processor seconds."""

    #: "tree", "fft, 2^20, int16" where a run measured several sizes or types, or "clean, 2 threads" of a stage.
    name: str
    #: a_s, a_low_s, a_high_s, b_s, b_low_s, b_high_s: median, fastest and slowest repeat of either run [s].
    a_s: float
    a_low_s: float
    a_high_s: float
    b_s: float
    b_low_s: float
    b_high_s: float
    #: ratio, ratio_low, ratio_high: how many times as fast the second run is; the least and the most that the repeats
    #: allow.
    ratio: float
    ratio_low: float
    ratio_high: float
    #: {"faster", "slower", "same", "unknown"}: Of the second run: "same" where the repeats overlap; "unknown" where a
    #: run has one repeat only.
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Two runs beside each other."""

    differences: list[Difference]  # In the order of the first run
    left_out: list[str]  # Names that only one run has, or that it measured on other sizes or types
    chance: float  # Chance that the repeats of equally fast runs do not overlap, for one kernel


def _entries(run: BenchRun) -> dict[tuple[Any, ...], tuple[str, Measured]]:
    """Name and figure of everything in a run, by what has to agree for times to be comparable."""
    entries: dict[tuple[Any, ...], tuple[str, Measured]] = {}
    for f, name in zip(run.figures, labels(run.figures), strict=True):
        entries[f.kernel, f.dtype, f.nsamps, f.nchans, f.ndms] = name, f
    for s in run.stages:
        name = f"{s.stage}, {counted(s.threads, 'threads')}"
        entries[name, s.about] = name, s
    return entries


def compare(a: BenchRun, b: BenchRun) -> Comparison:
    """Set two runs beside each other: which differences are beyond the noise of both.

    Raises
    ------
    ConfigError
        They measured kernels with different numbers of threads, or nothing in common.
    """
    if a.figures and b.figures and a.threads != b.threads:
        raise ConfigError(
            f"--compare: the kernels were measured with {a.threads} and with {b.threads} threads: measure both "
            "with the same --threads"
        )
    first, second = _entries(a), _entries(b)
    differences, left_out = [], []
    for key, (short, f) in first.items():
        if key not in second:
            left_out.append(short)
            continue
        # The longer tells more: of which of several sizes it is.
        longer, g = second.pop(key)
        if min(a.repeats, b.repeats) < 2:
            verdict = "unknown"
        elif g.cpu_high_s < f.cpu_low_s:
            verdict = "faster"
        elif g.cpu_low_s > f.cpu_high_s:
            verdict = "slower"
        else:
            verdict = "same"
        times = (f.cpu_s, f.cpu_low_s, f.cpu_high_s, g.cpu_s, g.cpu_low_s, g.cpu_high_s)
        ratios = (f.cpu_s / g.cpu_s, f.cpu_low_s / g.cpu_high_s, f.cpu_high_s / g.cpu_low_s)
        differences.append(Difference(max(short, longer, key=len), *times, *ratios, verdict))
    if not differences:
        raise ConfigError("--compare: the two runs measured nothing in common")
    left_out += [name for name, _ in second.values()]
    return Comparison(differences, list(dict.fromkeys(left_out)), 2.0 / comb(a.repeats + b.repeats, a.repeats))


#: Told apart by every kind of colour vision (Okabe and Ito 2008).
COLOURS: Final = {
    "copy near": "#56b4e9",
    "copy": "#0072b2",
    "adds L1": "#009e73",
    "adds L2": "#cc79a7",
    "floats": "#d55e00",
}


def roofline(run: BenchRun, path: Path) -> None:
    """Draw operations a second over operations per byte under the roofs, and how much of its limit each kernel reaches.

    Parameters
    ----------
    run : BenchRun
        With at least one kernel.
    path : Path
        PNG, or PDF or SVG where the name ends so; written whole or not at all.
    """
    from pulsar.report.figure import INK, SOFT, head, new_sheet, save

    figures, names = run.figures, labels(run.figures)
    sheet = new_sheet(13.0, 0.28 * len(figures) + 3.0, tight=True)
    left, right = sheet.subplots(1, 2, width_ratios=(3, 2))
    _roofs(left, run)
    head(left, literal(f"{run.cpu}, {run.threads} of {run.cores} cores"))
    percent = [100 * f.fraction for f in figures]
    right.barh(names, percent, color=[COLOURS[f.limit] for f in figures])
    for f, x, name in zip(figures, percent, names, strict=True):
        right.text(x, name, f" {f.limit}", va="center", fontsize=8, color=INK)
    right.axvline(100.0, color=SOFT, linewidth=0.8)
    right.invert_yaxis()
    right.set(xlabel="% of the limit that bounds it", xlim=(0, max(125.0, 1.15 * max(percent))))
    save(sheet, path)


def _roofs(axes: "Axes", run: BenchRun) -> None:
    from pulsar.report.figure import INK

    limits = next(x for x in run.limits if x.threads == run.threads)
    points = [
        (f.adds_per_byte + f.flops_per_byte, f.adds_per_s + f.flops_per_s, f.limit, name)
        for f, name in zip(run.figures, labels(run.figures), strict=True)
    ]
    points = sorted((p for p in points if p[0] > 0), key=lambda p: p[0])
    low = min([0.1, *(p[0] for p in points)]) / 2
    high = max([10.0, *(p[0] for p in points)]) * 2
    roofs = {"adds L1": limits.adds_l1, "adds L2": limits.adds_l2, "floats": limits.floats}
    for name, rate in (("copy near", limits.copy_near), ("copy", limits.copy)):
        end = min(high, max(roofs.values()) / rate)
        axes.plot([low, end], [low * rate, end * rate], color=COLOURS[name], label=f"{name} {si(rate)}B/s")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    for name, rate in roofs.items():
        axes.plot([rate / limits.copy_near, high], [rate, rate], color=COLOURS[name])
        axes.text(high, rate, f" {name} {si(rate)}/s", color=COLOURS[name], fontsize=8, va="center")
    # Names in turn below and above their points, so that fewer overlap.
    for place, (x, y, limit, name) in enumerate(points):
        axes.plot(x, y, "o", color=COLOURS[limit])
        offset = (5, 4 if place % 2 else -9)
        axes.annotate(name, (x, y), textcoords="offset points", xytext=offset, fontsize=8, color=INK)
    axes.set(xscale="log", yscale="log", xlim=(low, high), xlabel="operations per byte moved", ylabel="operations/s")
    axes.grid(alpha=0.3)


def draw_comparison(differences: Sequence[Difference], names: tuple[str, str], path: Path) -> None:
    """Draw how many times as fast the second run is, with what the repeats of both allow.

    Parameters
    ----------
    names : tuple of str
        Of the two runs.
    path : Path
        As of `roofline`.
    """
    from pulsar.report.figure import ACCENT, INK, SOFT, new_sheet, save

    colours = {"faster": "#009e73", "slower": ACCENT}
    sheet = new_sheet(9.0, 0.28 * len(differences) + 1.6, tight=True)
    axes = sheet.subplots()
    for row, d in enumerate(differences):
        colour = colours.get(d.verdict, SOFT)
        axes.plot([d.ratio_low, d.ratio_high], [row, row], color=colour, linewidth=2)
        axes.plot(d.ratio, row, "o", color=colour, markerfacecolor="white" if d.verdict == "unknown" else colour)
    axes.axvline(1.0, color=INK, linewidth=0.8)
    axes.set(xscale="log", xlabel=literal(f"times as fast: {names[1]} against {names[0]}"))
    axes.set_yticks(range(len(differences)), [literal(d.name) for d in differences])
    edge = 1.1 * max(1.2, *(max(d.ratio_high, 1.0 / d.ratio_low) for d in differences))
    axes.set(xlim=(1.0 / edge, edge), ylim=(len(differences) - 0.5, -0.5))
    usual = (0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0, 10.0, 20.0, 50.0)
    ticks = [t for t in usual if 1 / edge <= t <= edge]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", alpha=0.3)
    save(sheet, path)
