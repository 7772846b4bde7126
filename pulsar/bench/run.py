"""Runs cases and makes their figures."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from pulsar.bench.case import Case, Size, Work
from pulsar.bench.limits import Limits, cores, measure_limits
from pulsar.bench.stages import THREADS, Stage, StageFigure, measure_stages, stage_figures
from pulsar.bench.timing import Measured, Timing, measure
from pulsar.errors import ConfigError
from pulsar.io.product.provenance import cpu_model, versions

FORMAT = "pulsar-bench"
#: Raised in front of the point where a field is gone or means something else, behind it where one is new.
FORMAT_VERSION = "3.0"
#: Repeats of every figure: that all five of one run lie on the same side of all five of another has a chance of 0.8 %.
REPEATS = 5


@dataclass(frozen=True)
class Figure(Measured):
    """What was measured of one case. Rates are of all threads together, per processor second of each.

    Attributes
    ----------
    kernel, about, dtype : str
    nsamps, nchans, ndms : int
        Of the `Size`.
    threads : int
        Each ran the case on data of its own.
    adds_per_s, flops_per_s : float
        Integer additions; floating point operations.
    adds_per_byte, flops_per_byte : float
    plain_cpu_s, ratio : float or None
        CPU time of plain numpy or scipy for the same work (the first repeat), and how many times longer it is.
    """

    kernel: str
    about: str
    dtype: str
    nsamps: int
    nchans: int
    ndms: int
    threads: int
    adds_per_s: float
    flops_per_s: float
    adds_per_byte: float
    flops_per_byte: float
    plain_cpu_s: float | None
    ratio: float | None


@dataclass(frozen=True)
class Bench:
    """A whole run.

    Attributes
    ----------
    created : str
        UTC, ISO.
    cpu : str
    cores : int
        That this process may use.
    threads : int
    seconds : float
        Processor seconds spent on each figure, all repeats together.
    repeats : int
        How many times each figure was measured.
    versions : dict
    limits : tuple of Limits
        Of one core, of the threads of the run, and of all cores.
    figures : tuple of Figure
        Of the kernels.
    stages : tuple of StageFigure
    """

    created: str
    cpu: str
    cores: int
    threads: int
    seconds: float
    repeats: int
    versions: dict[str, str]
    limits: tuple[Limits, ...]
    figures: tuple[Figure, ...]
    stages: tuple[StageFigure, ...] = ()

    def document(self) -> dict[str, Any]:
        """The run as JSON knows it."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}


@dataclass(frozen=True)
class Trial:
    """One repeat: times, and what one call amounts to.

    Attributes
    ----------
    first_s : float
        Elapsed seconds of the first call.
    timing : Timing
    plain_cpu_s : float or None
        Of plain numpy or scipy; None where there is none, and in later repeats.
    samples : int
    nbytes, adds, flops : float
        As of a `Work`.
    """

    first_s: float
    timing: Timing
    plain_cpu_s: float | None
    samples: int
    nbytes: float
    adds: float
    flops: float


def measure_once(case: Case, size: Size, threads: int, seconds: float, *, plain: bool = True) -> Trial:
    """Make the data of a case and time it, and plain numpy beside it.

    Parameters
    ----------
    case : Case
    size : Size
        ``case.full`` for figures that mean something.
    threads : int
        Threads that run the case at the same time.
    seconds : float
        Processor seconds to spend on the kernel, and on plain numpy.
    plain : bool
        Whether plain numpy is timed.
    """
    try:
        works: list[Work] = [case.make(size) for _ in range(threads)]
    except MemoryError:
        raise ConfigError(f"{case.name}: {size.about} does not fit the memory: choose less of it") from None
    work = works[0]
    start = time.perf_counter()
    work.run()
    first = time.perf_counter() - start
    timing = measure([w.run for w in works], seconds)
    least = None
    if plain and work.baseline is not None:
        least = measure([work.baseline.run], seconds, least=1).cpu / work.baseline.share
    return Trial(first, timing, least, work.samples, work.nbytes, work.adds, work.flops)


def figure_of(case: Case, size: Size, limits: Limits, trials: Sequence[Trial]) -> Figure:
    """The figure of a case that was measured once or more.

    Parameters
    ----------
    case : Case
    size : Size
    limits : Limits
        Of as many threads as ran the case.
    trials : sequence of Trial
        The first of which had the first call of all.
    """
    first = trials[0]
    each = sorted(trial.timing.cpu for trial in trials)
    cpu, wall = median(each), median(trial.timing.wall for trial in trials)
    limit, least = limits.shortest(first.nbytes, first.adds + first.flops, case.arithmetic)
    rate = limits.threads / cpu
    return Figure(
        kernel=case.name,
        about=case.words(size),
        dtype=case.dtype,
        nsamps=size.nsamps,
        nchans=size.nchans,
        ndms=size.ndms,
        threads=limits.threads,
        first_s=max(first.first_s - wall, 0.0),
        cpu_s=cpu,
        cpu_low_s=each[0],
        cpu_high_s=each[-1],
        wall_s=wall,
        calls=sum(trial.timing.calls for trial in trials),
        samples_per_s=first.samples * rate,
        adds_per_s=first.adds * rate,
        flops_per_s=first.flops * rate,
        bytes_per_s=first.nbytes * rate,
        adds_per_byte=first.adds / first.nbytes,
        flops_per_byte=first.flops / first.nbytes,
        limit=limit,
        fraction=least / cpu,
        plain_cpu_s=first.plain_cpu_s,
        ratio=None if first.plain_cpu_s is None else first.plain_cpu_s / cpu,
    )


def run(
    cases: Sequence[Case],
    *,
    stages: Sequence[Stage] = (),
    threads: int = 1,
    seconds: float = 0.3,
    repeats: int = REPEATS,
    progress: Callable[[str], None] | None = None,
) -> Bench:
    """Measure the machine's limits, the cases and the stages, and the limits again: the better of the two count.

    Parameters
    ----------
    cases : sequence of Case
    stages : sequence of Stage
    threads : int
        Threads that run each case at the same time, on data of their own.
    seconds : float
        Processor seconds to spend on each figure.
    repeats : int
        How many times each is measured. All cases take turns, with data made anew: what disturbs the machine for a
        while, and where the data happen to lie, is part of the spread.
    progress : callable, optional
        Told what is measured next.
    """
    tell = progress or (lambda _: None)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    counts = sorted({1, threads, cores(), *(THREADS if stages else ())})

    def measured() -> dict[int, Limits]:
        tell(f"limits of {' and '.join(map(str, counts))} core{'s' if counts[-1] > 1 else ''}")
        return {n: measure_limits(n, seconds / 2) for n in counts}

    limits = measured()
    trials: list[list[Trial]] = [[] for _ in cases]
    for i in range(repeats):
        for case, found in zip(cases, trials, strict=True):
            tell(f"{case.name}, {case.full.about}, {case.types[0]}, {i + 1} of {repeats}")
            found.append(measure_once(case, case.full, threads, seconds / repeats, plain=i == 0))
    jobs = measure_stages(stages, seconds, repeats=repeats, progress=progress) if stages else []
    again = measured()
    limits = {n: limits[n].best(again[n]) for n in counts}
    return Bench(
        created,
        cpu_model(),
        cores(),
        threads,
        seconds,
        repeats,
        versions(),
        tuple(limits.values()),
        tuple(figure_of(case, case.full, limits[threads], t) for case, t in zip(cases, trials, strict=True)),
        tuple(figure for job in jobs for figure in stage_figures(job, limits)),
    )
