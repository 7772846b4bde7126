"""The table of cases; which of them are measured, on which sizes and types; and the run."""

import difflib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Final

from pulsar.bench import cleaning, folding, searching
from pulsar.bench.case import Case, Size
from pulsar.bench.figures import BenchRun, Figure, Trial, empty_run, measured
from pulsar.bench.limits import Limits, measure, measure_limits
from pulsar.bench.stages import THREADS, Stage, measure_stages, stage_figures
from pulsar.config.resources import usable_cores
from pulsar.errors import ConfigError

#: In the order of the data.
CASES: Final = [
    line for room in (cleaning, searching, folding) for line in vars(room).values() if isinstance(line, Case)
]
#: Extents of a size that can be chosen, by option, and what they count.
EXTENTS: Final = {"nsamps": "samples", "nchans": "channels", "ndms": "trial DMs"}
#: Repeats of every figure: that all five of one run lie on the same side of all five of another has a chance of 0.8 %.
REPEATS: Final = 5


def select(names: Sequence[str] = ()) -> list[Case]:
    """Cases of these names, in the order of the table; all without any.

    Parameters
    ----------
    names : sequence of str
        A full name, or how several begin (``fold`` is fold-band, fold-bands and fold-row).

    Raises
    ------
    ConfigError
        If a name fits none.
    """
    chosen: set[str] = set()
    known = [case.name for case in CASES]
    for name in names:
        fit = {name} if name in known else {k for k in known if name and k.startswith(name)}
        if not fit:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"no kernel {name!r} to measure: {hint}")
        chosen |= fit
    return [case for case in CASES if case.name in chosen or not names]


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers out of "1000, 2^20".

    Raises
    ------
    ConfigError
        One of them is no whole number from 1 to 2^40.
    """
    values = []
    for item in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,13})(?:\^(\d{1,2}))?\s*", item, re.ASCII)
        value = int(match[1]) ** int(match[2] or 1) if match else 0
        if not 1 <= value <= 1 << 40:
            raise ConfigError(f"{option} {item.strip()!r}: expected whole numbers such as 1048576,2^21")
        values.append(value)
    return tuple(dict.fromkeys(values))


def offered(case: Case) -> list[str]:
    """Options by which the size of a case can be chosen."""
    return [f"--{name}" for name in EXTENTS if name == "nsamps" or getattr(case.full, name) > 1]


def choose(cases: Sequence[Case], sizes: dict[str, tuple[int, ...]], dtypes: Sequence[str] = ()) -> list[Case]:
    """Cases on the sizes and types that were asked for.

    Parameters
    ----------
    sizes : dict of str to tuple of int
        By name of an extent; without it as the table has it.
    dtypes : sequence of str
        Types to take in; without any the usual one.

    Returns
    -------
    list of Case
        For every case one for each combination, in the order of the request.

    Raises
    ------
    ConfigError
        A case does not offer what was chosen.
    """
    chosen = []
    for case in cases:
        for name in sizes:
            if f"--{name}" not in offered(case):
                raise ConfigError(
                    f"--{name}: {case.name} has no {EXTENTS[name]} to choose; it offers {', '.join(offered(case))}"
                )
        for dtype in dtypes:
            if dtype not in case.takes:
                raise ConfigError(f"--dtype {dtype}: {case.name} takes {' or '.join(case.takes)}")
        for extents in product(*(sizes.get(name, (getattr(case.full, name),)) for name in EXTENTS)):
            sized = replace(case, full=Size(*extents))
            _check(sized, sizes)
            for dtype in dtypes or case.takes[:1]:
                chosen.append(replace(sized, takes=(dtype, *(kind for kind in case.takes if kind != dtype))))
    return chosen


def _check(case: Case, chosen: dict[str, tuple[int, ...]]) -> None:
    for name in chosen:
        value, least = getattr(case.full, name), getattr(case.least or case.tiny, name)
        if value < least:
            raise ConfigError(f"--{name} {value}: {case.name} needs {least} or more")
    steps = zip(EXTENTS, case.full, case.step or (1, 1, 1), strict=True)
    uneven = [f"--{name} must be a multiple of {step}" for name, value, step in steps if value % step]
    wrong = "; ".join(uneven) or case.expects(case.full)
    if wrong:
        raise ConfigError(f"{case.name}, {case.full.about}: {wrong}")


def measure_once(case: Case, threads: int, seconds: float, *, plain: bool = True) -> Trial:
    """Make the data of a case and time it, and plain numpy beside it.

    Parameters
    ----------
    threads : int
        Threads that run the case at the same time.
    seconds : float
        Processor seconds to spend on the kernel, and on plain numpy.
    plain : bool
        Whether plain numpy is timed.
    """
    try:
        works = [case.work() for _ in range(threads)]
    except MemoryError:
        raise ConfigError(f"{case.name}: {case.full.about} does not fit the memory: choose less of it") from None
    work = works[0]
    start = time.perf_counter()
    work.run()
    first = time.perf_counter() - start
    timing = measure([w.run for w in works], seconds)
    least = None
    if plain and work.plain is not None:
        least = measure([work.plain], seconds, least=1).cpu / work.share
    return Trial(first, timing, work.cost, least)


def figure_of(case: Case, limits: Limits, trials: Sequence[Trial]) -> Figure:
    """The figure of a case that was measured once or more.

    Parameters
    ----------
    limits : Limits
        Of as many threads as ran the case.
    trials : sequence of Trial
        The first of which had the first call of all.
    """
    times = measured(trials, limits, case.arithmetic)
    cost, plain = trials[0].cost, trials[0].plain_cpu_s
    rate = limits.threads / times["cpu_s"]
    return Figure(
        **times,
        kernel=case.name,
        about=case.words(),
        dtype=case.dtype,
        **case.full._asdict(),
        adds_per_s=cost.adds * rate,
        flops_per_s=cost.flops * rate,
        adds_per_byte=cost.adds / cost.nbytes,
        flops_per_byte=cost.flops / cost.nbytes,
        plain_cpu_s=plain,
        ratio=None if plain is None else plain / times["cpu_s"],
    )


def run(
    cases: Sequence[Case],
    *,
    stages: Sequence[Stage] = (),
    threads: int = 1,
    seconds: float = 0.3,
    repeats: int = REPEATS,
    progress: Callable[[str], None] | None = None,
) -> BenchRun:
    """Measure the machine's limits, the cases and the stages, and the limits again: the better of the two count.

    Parameters
    ----------
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
    begun = empty_run(threads, seconds, repeats)
    counts = sorted({1, threads, usable_cores(), *(THREADS if stages else ())})

    def all_limits() -> dict[int, Limits]:
        tell(f"limits of {' and '.join(map(str, counts))} core{'s' if counts[-1] > 1 else ''}")
        return {n: measure_limits(n, seconds / 2) for n in counts}

    before = all_limits()
    trials: list[list[Trial]] = [[] for _ in cases]
    for i in range(repeats):
        for case, repeated in zip(cases, trials, strict=True):
            tell(f"{case.name}, {case.full.about}, {case.takes[0]}, {i + 1} of {repeats}")
            repeated.append(measure_once(case, threads, seconds / repeats, plain=i == 0))
    timed = measure_stages(stages, seconds, repeats=repeats, progress=progress) if stages else []
    after = all_limits()
    limits = {n: before[n].best(after[n]) for n in counts}
    return replace(
        begun,
        limits=list(limits.values()),
        figures=[figure_of(case, limits[threads], t) for case, t in zip(cases, trials, strict=True)],
        stages=[figure for times in timed for figure in stage_figures(times, limits)],
    )
