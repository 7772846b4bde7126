"""Whole stages of the pipeline, from a simulated file, with one thread and with two."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pulsar.bench.case import Size
from pulsar.bench.limits import Limits
from pulsar.bench.survey import BAND, PULSAR, Survey
from pulsar.bench.timing import LEAST_CALLS, Measured, Timing, in_turn
from pulsar.cleaning import CleanedSource
from pulsar.config.model import Config, FoldConfig, RfiConfig
from pulsar.data.fold import FoldCube, FoldParams
from pulsar.data.observation import Observation
from pulsar.data.source import SIGMA_LEVELS
from pulsar.dedisp.batches import Batch, choose_route, dedispersed

#: Threads of the figures.
THREADS = (1, 2)
#: Bytes that a stage may take.
MEMORY = 4 << 30
NHARM = 16
#: Samples of a gulp that is read and cleaned.
GULP = 1 << 15
#: Candidates folded together.
FOLDS = 20
#: Samples of the two lengths of series searched, and samples of all of them together.
SHORT, LONG, SEARCHED = 1 << 18, 1 << 21, 1 << 24


@dataclass(frozen=True)
class Observed:
    """What the stages start from: the file, opened, its mask made."""

    survey: Survey
    obs: Observation
    source: CleanedSource


@dataclass(frozen=True)
class Job:
    """A stage ready to run again and again.

    Attributes
    ----------
    run : callable
        Number of threads -> anything.
    pieces : int
        Equal things done in one call (series, candidates): times are of one.
    samples : int
        Samples taken in by one piece.
    nbytes : float
        Bytes that one piece has to read and write once at least.
    operations : float
        What one piece holds against the arithmetic limit of its stage.
    """

    run: Callable[[int], object]
    pieces: int
    samples: int
    nbytes: float
    operations: float = 0.0


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes
    ----------
    name, about : str
    make : callable
        Observed -> Job.
    arithmetic : str
        Limit of the processor that its operations are held against, as of a `Case`.
    """

    name: str
    about: str
    make: Callable[[Observed], Job]
    arithmetic: str = "adds L2"


@dataclass(frozen=True)
class StageFigure(Measured):
    """What was measured of a stage with so many threads. Rates are per second of processor of each thread, summed.

    Attributes
    ----------
    stage, about : str
    threads : int
        Their processor seconds are summed.
    operations_per_s : float
    speedup : float or None
        Elapsed time of one thread over that of these; None for one thread.
    overhead : float or None
        Processor seconds over those of one thread: on a machine whose cores are busy otherwise, threads over this is
        the gain that they would bring on free cores.
    """

    stage: str
    about: str
    threads: int
    operations_per_s: float
    speedup: float | None
    overhead: float | None


def statistics(observed: Observed) -> Job:
    """Moments of every channel and block, and the mask."""
    from pulsar.cleaning import make_mask, measure

    config = RfiConfig()

    def run(threads: int) -> object:
        return make_mask(observed.obs, measure(observed.obs, config, threads=threads), config)

    volume = observed.survey.volume
    return Job(run, 1, volume, float(volume))


def clean(observed: Observed) -> Job:
    """Read, unpack and clean all samples, gulp by gulp."""
    source = observed.source
    buffer = np.zeros((source.nchans, GULP), dtype=np.int8)

    def run(threads: int) -> None:
        edges = np.linspace(0, GULP, threads + 1).astype(int).tolist()
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, source.nsamps, GULP):
                parts = [pool.submit(source.read_into, start + a, buffer[:, a:b]) for a, b in itertools.pairwise(edges)]
                for part in parts:
                    part.result()

    volume = observed.survey.volume
    # Read and written.
    return Job(run, 1, volume, 2.0 * volume)


def run_dedispersion(source: CleanedSource, survey: Survey, threads: int) -> None:
    """Every series of a survey, made and forgotten as a search does it."""
    plan = survey.plan(source.freqs)
    route = choose_route(plan, threads=threads, memory=MEMORY)
    for batch in dedispersed(source, plan, route, threads=threads):
        batch.row(0)


def dedisperse(observed: Observed) -> Job:
    """From the file to every dedispersed series."""
    from pulsar.dedisp.stream import stage_engines

    source, survey = observed.source, observed.survey
    plan = survey.plan(source.freqs)
    adds = sum(e.adds for stage in plan.stages for e in stage_engines(source, stage, plan.method, 1))
    return Job(
        lambda threads: run_dedispersion(source, survey, threads),
        1,
        survey.volume,
        float(survey.volume + plan.nbytes),
        float(adds * survey.size.nsamps),
    )


def _search(observed: Observed, nsamps: int, *, coherent: bool = False) -> Job:
    from pulsar.pipeline.stages import BatchSearch

    # Of a shorter file (in tests) shorter series.
    nsamps = nsamps // SHORT * min(SHORT, observed.survey.size.nsamps)
    nseries = max(SEARCHED // LONG, min(SEARCHED // nsamps, 64))
    survey = Survey(Size(nsamps, 256, nseries), observed.survey.tsamp)
    plan = survey.plan()
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((nseries, nsamps), dtype=np.float32) * np.float32(SIGMA_LEVELS * 16)
    series: NDArray[np.int16] = np.rint(noise, out=noise).astype(np.int16)
    batch = Batch(0, plan.stages[0], lambda i: series[i])
    config = Config.model_validate(
        {
            "fft": {"nharm": NHARM},
            "coherent": {"enabled": coherent},
            "ffa": {"enabled": False},
            "single_pulse": {"enabled": False},
            # All samples, whatever channels smear.
            "search": {"loss": 0.0},
        }
    )
    finders = {n: BatchSearch(plan, config, threads=n, memory=0) for n in THREADS}
    return Job(
        lambda threads: finders[threads].search(batch),
        nseries,
        nsamps,
        float(series[0].nbytes),
        # The transform alone: the rest is held against nothing.
        2.5 * nsamps * float(np.log2(nsamps)),
    )


def search_short(observed: Observed) -> Job:
    """Search series of the length of the file."""
    return _search(observed, SHORT)


def search_long(observed: Observed) -> Job:
    """Search series eight times as long."""
    return _search(observed, LONG)


def coherent_short(observed: Observed) -> Job:
    """The same with profiles from amplitudes."""
    return _search(observed, SHORT, coherent=True)


def coherent_long(observed: Observed) -> Job:
    """The same with profiles from amplitudes."""
    return _search(observed, LONG, coherent=True)


def fold(observed: Observed) -> Job:
    """Read and clean the file once more, fold candidates all over the range of DMs and refine them."""
    from pulsar.folding.folder import fold_many
    from pulsar.folding.refine import refine

    source, survey = observed.source, observed.survey
    rng = np.random.default_rng(3)
    slowest = min(1.0, 0.1 * survey.size.nsamps * survey.tsamp)
    periods = np.geomspace(PULSAR.period, slowest, FOLDS)
    dms = rng.uniform(0.0, survey.dm_step * survey.size.ndms, FOLDS)
    params = [FoldParams(1.0 / p, 0.0, d) for p, d in zip(periods.tolist(), dms.tolist(), strict=True)]

    def run(threads: int) -> None:
        cubes: list[FoldCube] = fold_many(source, params, FoldConfig(), threads=threads, memory=MEMORY)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(refine, cubes))

    # Each candidate sums its channels.
    return Job(run, FOLDS, survey.volume, survey.volume / FOLDS, float(survey.volume))


#: In the order of a run.
STAGES: tuple[Stage, ...] = (
    Stage("statistics", "moments and mask, 256 channels x 2^18", statistics),
    Stage("clean", "read, unpack, clean, 256 channels x 2^18", clean),
    Stage("dedisperse", "read, clean, dedisperse, 256 channels x 2^18 x 512 DMs", dedisperse),
    Stage("search-2^18", "a series of 2^18 samples, 16 harmonics", search_short, "floats"),
    Stage("search-2^21", "a series of 2^21 samples, 16 harmonics", search_long, "floats"),
    Stage("coherent-2^18", "the same with the coherent search, as searches do by default", coherent_short, "floats"),
    Stage("coherent-2^21", "the same with the coherent search, as searches do by default", coherent_long, "floats"),
    Stage("fold", f"a candidate, of {FOLDS} folded at once and refined, 256 channels x 2^18", fold),
)


@contextmanager
def observed(survey: Survey) -> Iterator[Observed]:
    """Simulate, open and measure an observation; the file is removed at the end."""
    from pulsar.cleaning import make_mask, measure
    from pulsar.io.open import open_observation

    with tempfile.TemporaryDirectory(prefix="pulsar-bench-") as name:
        obs = open_observation(survey.write(Path(name)))
        try:
            config = RfiConfig()
            mask = make_mask(obs, measure(obs, config), config)
            yield Observed(survey, obs, CleanedSource(obs, mask))
        finally:
            obs.close()


@dataclass(frozen=True)
class StageTimes:
    """What was timed of a stage, for each number in `THREADS`: first calls [s], and the timings of every repeat."""

    stage: Stage
    job: Job
    firsts: tuple[float, ...]
    repeats: tuple[list[Timing], ...]


def stage_figures(times: StageTimes, limits: dict[int, Limits]) -> list[StageFigure]:
    """The figures of one stage.

    Parameters
    ----------
    times : StageTimes
    limits : dict of int to Limits
        For each number in `THREADS`.
    """
    job, stage = times.job, times.stage
    figures: list[StageFigure] = []
    for i, n in enumerate(THREADS):
        each = sorted(repeat[i].cpu / job.pieces for repeat in times.repeats)
        cpu, wall = median(each), median(repeat[i].wall / job.pieces for repeat in times.repeats)
        # Of one thread's part of the work.
        share = job.pieces / n
        limit, least = limits[n].shortest(share * job.nbytes, share * job.operations, stage.arithmetic)
        rate = n / cpu
        figures.append(
            StageFigure(
                stage=stage.name,
                about=stage.about,
                threads=n,
                first_s=max(times.firsts[i] - job.pieces * wall, 0.0),
                cpu_s=cpu,
                cpu_low_s=each[0],
                cpu_high_s=each[-1],
                wall_s=wall,
                calls=sum(repeat[i].calls for repeat in times.repeats),
                samples_per_s=job.samples * rate,
                bytes_per_s=job.nbytes * rate,
                operations_per_s=job.operations * rate,
                limit=limit,
                fraction=least / (share * cpu),
                speedup=figures[0].wall_s / wall if figures else None,
                overhead=cpu / figures[0].cpu_s if figures else None,
            )
        )
    return figures


def measure_stages(
    stages: Sequence[Stage],
    seconds: float,
    *,
    repeats: int = 1,
    survey: Survey = BAND,
    progress: Callable[[str], None] | None = None,
) -> list[StageTimes]:
    """Time stages on a simulated observation, with every number of threads in turn.

    Parameters
    ----------
    stages : sequence of Stage
    seconds : float
        Processor seconds to spend on each figure.
    repeats : int
        How many times each is measured.
    survey : Survey
    progress : callable, optional
        Told what is measured next.
    """
    tell = progress or (lambda _: None)
    tell(f"a simulated file of {survey.about}")
    found = []
    # Three calls of everything at least, in however many repeats.
    least = -(-LEAST_CALLS // repeats)
    with observed(survey) as seen:
        for stage in stages:
            tell(stage.name)
            job = stage.make(seen)
            firsts = []
            for n in THREADS:
                start = time.perf_counter()
                job.run(n)
                firsts.append(time.perf_counter() - start)
            calls = [partial(job.run, n) for n in THREADS]
            timed = tuple(in_turn(calls, seconds / repeats, least=least) for _ in range(repeats))
            found.append(StageTimes(stage, job, tuple(firsts), timed))
    return found
