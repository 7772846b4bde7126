"""Runs cases and makes their figures."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pulsar.bench.case import Case, Size, Work
from pulsar.bench.limits import Limits, cores, measure_limits
from pulsar.bench.stages import THREADS, Stage, StageFigure, measure_stages
from pulsar.bench.timing import measure
from pulsar.io.product.provenance import cpu_model, versions

FORMAT = "pulsar-bench"
FORMAT_VERSION = "2.0"


@dataclass(frozen=True)
class Figure:
    """What was measured of one case. Rates are of all threads together, per processor second of each.

    Attributes
    ----------
    kernel, about : str
    threads : int
        Each ran the case on data of its own.
    first_s : float
        What the first call took beyond a later one [s]: compilation, or loading what was compiled earlier.
    cpu_s, wall_s : float
        Of one call, the least of `calls`.
    calls : int
    samples_per_s, adds_per_s, flops_per_s, bytes_per_s : float
        Samples in; integer additions; floating point operations; bytes that have to be read and written.
    adds_per_byte, flops_per_byte : float
    limit : str
        What bounds it: "copy" (memory), "copy near" (last cache), "adds L1", "adds L2", "floats" or "fft".
    fraction : float
        Least time by that limit over the time it took.
    plain_cpu_s, ratio : float or None
        CPU time of plain numpy or scipy for the same work, and how many times longer it is.
    """

    kernel: str
    about: str
    threads: int
    first_s: float
    cpu_s: float
    wall_s: float
    calls: int
    samples_per_s: float
    adds_per_s: float
    flops_per_s: float
    bytes_per_s: float
    adds_per_byte: float
    flops_per_byte: float
    limit: str
    fraction: float
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
        Processor seconds spent on each figure.
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
    versions: dict[str, str]
    limits: tuple[Limits, ...]
    figures: tuple[Figure, ...]
    stages: tuple[StageFigure, ...] = ()

    def document(self) -> dict[str, Any]:
        """The run as JSON knows it."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}


def measure_case(case: Case, size: Size, limits: Limits, seconds: float) -> Figure:
    """Measure one case.

    Parameters
    ----------
    case : Case
    size : Size
        ``case.full`` for figures that mean something.
    limits : Limits
        Of as many threads as shall run the case.
    seconds : float
        Processor seconds to spend on the kernel, and on plain numpy.
    """
    threads = limits.threads
    works: list[Work] = [case.make(size) for _ in range(threads)]
    work = works[0]
    start = time.perf_counter()
    work.run()
    first = time.perf_counter() - start
    timing = measure([w.run for w in works], seconds)
    plain = None
    if work.baseline is not None:
        plain = measure([work.baseline.run], seconds, least=1).cpu / work.baseline.share
    limit, least = limits.shortest(work.nbytes, work.adds + work.flops, case.arithmetic)
    rate = threads / timing.cpu
    return Figure(
        kernel=case.name,
        about=case.about,
        threads=threads,
        first_s=max(first - timing.wall, 0.0),
        cpu_s=timing.cpu,
        wall_s=timing.wall,
        calls=timing.calls,
        samples_per_s=work.samples * rate,
        adds_per_s=work.adds * rate,
        flops_per_s=work.flops * rate,
        bytes_per_s=work.nbytes * rate,
        adds_per_byte=work.adds / work.nbytes,
        flops_per_byte=work.flops / work.nbytes,
        limit=limit,
        fraction=least / timing.cpu,
        plain_cpu_s=plain,
        ratio=None if plain is None else plain / timing.cpu,
    )


def run(
    cases: Sequence[Case],
    *,
    stages: Sequence[Stage] = (),
    threads: int = 1,
    seconds: float = 0.3,
    progress: Callable[[str], None] | None = None,
) -> Bench:
    """Measure the machine's limits, then the cases and the stages.

    Parameters
    ----------
    cases : sequence of Case
    stages : sequence of Stage
    threads : int
        Threads that run each case at the same time, on data of their own.
    seconds : float
        Processor seconds to spend on each figure.
    progress : callable, optional
        Told what is measured next.
    """
    tell = progress or (lambda _: None)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    limits = {}
    for n in sorted({1, threads, cores(), *(THREADS if stages else ())}):
        tell(f"limits of {n} core{'s' if n > 1 else ''}")
        limits[n] = measure_limits(n, seconds)
    figures = []
    for case in cases:
        tell(case.name)
        figures.append(measure_case(case, case.full, limits[threads], seconds))
    whole = measure_stages(stages, limits, seconds, progress=progress) if stages else []
    return Bench(
        created,
        cpu_model(),
        cores(),
        threads,
        seconds,
        versions(),
        tuple(limits.values()),
        tuple(figures),
        tuple(whole),
    )
