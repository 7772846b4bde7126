"""Whole stages of the pipeline on a simulated file, with one thread and with two; and rates for plans."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pulsar.bench.case import CallCost, Size, power_of_two
from pulsar.bench.figures import StageFigure, Trial, measured
from pulsar.bench.limits import LEAST_CALLS, Limits, in_turn
from pulsar.cleaning.mask import make_mask
from pulsar.cleaning.source import CleanedSource
from pulsar.cleaning.statistics import measure
from pulsar.config.load import load_config
from pulsar.config.model import Config, DedispConfig, FoldConfig, RfiConfig
from pulsar.data.fold import FoldParams
from pulsar.data.source import SIGMA_LEVELS
from pulsar.dedisp.batches import TrialBatch, choose_route, dedispersed
from pulsar.dedisp.plan import DMPlan, make_plan
from pulsar.dedisp.stream import stage_engines
from pulsar.folding.folder import fold_many
from pulsar.folding.refine import refine
from pulsar.io.open import open_observation
from pulsar.pipeline.progress import PLANNED, Progress, Rates, StageRate, read_rates, write_rates
from pulsar.pipeline.stages import BatchSearch
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_filterbank
from pulsar_kernels.arrays import Floats, Int16s

#: Threads of the figures.
THREADS = (1, 2)
#: Bytes that a stage may take.
MEMORY = 4 << 30
NHARM = 16
#: Candidates folded together.
FOLDS = 20
#: The pulsar in every survey.
PULSAR = Pulsar(period=0.00537, dm=71.0, snr=25.0, duty=0.08)


@dataclass(frozen=True)
class BenchSurvey:
    """A band of 1000-1500 MHz at 8 bits, and the DMs to try: from 0 in even steps at full time resolution."""

    size: Size
    tsamp: float = 64e-6  # Sampling time [s]
    dm_step: float = 0.5  # Step of the trial DMs [pc cm^-3]
    subbands: tuple[int, ...] = (64, 256)  # Numbers of subbands with which programs that use them are compared

    @property
    def about(self) -> str:
        """Its extent in words."""
        return f"{self.size.nchans} channels x {power_of_two(self.size.nsamps)} samples x {self.size.ndms} DMs"

    @property
    def volume(self) -> int:
        """Channels times samples."""
        return self.size.nchans * self.size.nsamps

    @property
    def sky(self) -> Sky:
        """Noise and the pulsar; its `header` is that of the file."""
        nsamps, nchans, _ = self.size
        width = 500.0 / nchans
        fch1, pulsars = 1500.0 - 0.5 * width, (PULSAR,)
        return Sky(nchans=nchans, nsamps=nsamps, tsamp=self.tsamp, fch1=fch1, foff=-width, seed=5, pulsars=pulsars)

    def plan(self, freqs: Floats | None = None) -> DMPlan:
        """Its trial DMs, for these channels (all without)."""
        last = self.dm_step * (self.size.ndms - 1)
        config = DedispConfig(dm_hi=last, dm_step=self.dm_step, max_downsample=1)
        return make_plan(self.sky.header, config, freqs=freqs)

    def write(self, folder: Path) -> Path:
        """Simulate it as a filterbank file in `folder`."""
        return write_filterbank(self.sky, folder / f"survey-{self.size.nchans}.fil")


#: For every machine, and one beam of FAST.
BAND = BenchSurvey(Size(1 << 18, 256, 512))
FAST = BenchSurvey(Size(1 << 20, 4096, 256), tsamp=49.152e-6, subbands=(64, 128))
#: For tests.
TINY = BenchSurvey(Size(4096, 32, 8), tsamp=1e-3, dm_step=8.0)


class StageJob(NamedTuple):
    """A stage ready to run again and again."""

    run: Callable[[int], object]  # Number of threads -> anything
    cost: CallCost  # Of one piece; its operations are those that are held against the arithmetic limit of the stage
    pieces: int = 1  # Equal things done in one call (series, candidates): times are of one


class Stage(NamedTuple):
    """One stage: `make` takes the cleaned file and its survey, `arithmetic` is as of a `Case`."""

    name: str
    about: str
    make: Callable[[CleanedSource, BenchSurvey], StageJob]
    arithmetic: str = "adds L2"


@contextmanager
def cleaned(path: Path) -> Iterator[CleanedSource]:
    """A file opened, its mask made."""
    config = RfiConfig()
    with open_observation(path) as obs:
        yield CleanedSource(obs, make_mask(obs, measure(obs, config), config))


def statistics(source: CleanedSource, survey: BenchSurvey) -> StageJob:
    """Moments of every channel and block, and the mask."""
    config = RfiConfig()

    def run(threads: int) -> object:
        return make_mask(source.obs, measure(source.obs, config, threads=threads), config)

    return StageJob(run, CallCost(survey.volume, float(survey.volume)))


def clean(source: CleanedSource, survey: BenchSurvey) -> StageJob:
    """Read, unpack and clean all samples, gulp by gulp."""
    gulp = 1 << 15
    buffer = np.zeros((source.nchans, gulp), dtype=np.int8)

    def run(threads: int) -> None:
        edges = np.linspace(0, gulp, threads + 1).astype(int).tolist()
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, source.nsamps, gulp):
                parts = [pool.submit(source.read_into, start + a, buffer[:, a:b]) for a, b in pairwise(edges)]
                for part in parts:
                    part.result()

    # Read and written.
    return StageJob(run, CallCost(survey.volume, 2.0 * survey.volume))


def run_dedispersion(source: CleanedSource, survey: BenchSurvey, threads: int) -> None:
    """Every series of a survey, made and forgotten as a search does it."""
    plan = survey.plan(source.freqs)
    route = choose_route(plan, threads=threads, memory=MEMORY)
    for batch in dedispersed(source, plan, route, threads=threads):
        batch.row(0)


def dedisperse(source: CleanedSource, survey: BenchSurvey) -> StageJob:
    """From the file to every dedispersed series."""
    plan = survey.plan(source.freqs)
    adds = sum(e.adds for stage in plan.stages for e in stage_engines(source, stage, plan.method, 1))
    cost = CallCost(survey.volume, float(survey.volume + plan.nbytes), adds=float(adds * survey.size.nsamps))
    return StageJob(lambda threads: run_dedispersion(source, survey, threads), cost)


def search(_: CleanedSource, survey: BenchSurvey, *, times: int, coherent: bool) -> StageJob:
    """Search series of the length of the file, or so many times as long."""
    nsamps = times * min(1 << 18, survey.size.nsamps)
    # 2^24 samples of all series together.
    nseries = max(8, min((1 << 24) // nsamps, 64))
    plan = BenchSurvey(Size(nsamps, 256, nseries), survey.tsamp).plan()
    noise = np.random.default_rng(1).standard_normal((nseries, nsamps), dtype=np.float32)
    noise *= np.float32(SIGMA_LEVELS * 16)
    series: Int16s = np.rint(noise, out=noise).astype(np.int16)
    batch = TrialBatch(0, plan.stages[0], lambda i: series[i])
    off = {"enabled": False}
    # All samples, whatever channels smear.
    settings = {"fft": {"nharm": NHARM}, "ffa": off, "single_pulse": off, "search": {"loss": 0.0}}
    config = Config.model_validate(settings | {"coherent": {"enabled": coherent}})
    finders = {n: BatchSearch(plan, config, threads=n, memory=0) for n in THREADS}
    # The transform alone: the rest is held against nothing.
    cost = CallCost(nsamps, float(series[0].nbytes), flops=2.5 * nsamps * float(np.log2(nsamps)))
    return StageJob(lambda threads: finders[threads].search(batch), cost, nseries)


def fold(source: CleanedSource, survey: BenchSurvey) -> StageJob:
    """Read and clean the file once more, fold candidates all over the range of DMs and refine them."""
    slowest = min(1.0, 0.1 * survey.size.nsamps * survey.tsamp)
    periods = np.geomspace(PULSAR.period, slowest, FOLDS)
    dms = np.random.default_rng(3).uniform(0.0, survey.dm_step * survey.size.ndms, FOLDS)
    params = [FoldParams(1.0 / p, 0.0, d) for p, d in zip(periods.tolist(), dms.tolist(), strict=True)]

    def run(threads: int) -> None:
        cubes = fold_many(source, params, FoldConfig(), threads=threads, memory=MEMORY)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(refine, cubes))

    # Each candidate sums its channels.
    return StageJob(run, CallCost(survey.volume, survey.volume / FOLDS, adds=float(survey.volume)), FOLDS)


_ALONE = "a series of 2^{} samples, 16 harmonics"
_COHERENT = "the same with the coherent search, as searches do by default"
#: In the order of a run.
STAGES: tuple[Stage, ...] = (
    Stage("statistics", "moments and mask, 256 channels x 2^18", statistics),
    Stage("clean", "read, unpack, clean, 256 channels x 2^18", clean),
    Stage("dedisperse", "read, clean, dedisperse, 256 channels x 2^18 x 512 DMs", dedisperse),
    Stage("search-2^18", _ALONE.format(18), partial(search, times=1, coherent=False), "floats"),
    Stage("search-2^21", _ALONE.format(21), partial(search, times=8, coherent=False), "floats"),
    Stage("coherent-2^18", _COHERENT, partial(search, times=1, coherent=True), "floats"),
    Stage("coherent-2^21", _COHERENT, partial(search, times=8, coherent=True), "floats"),
    Stage("fold", f"a candidate, of {FOLDS} folded at once and refined, 256 channels x 2^18", fold),
)


class StageTimes(NamedTuple):
    """Trials of a stage, for each number of threads."""

    stage: Stage
    pieces: int
    trials: dict[int, list[Trial]]


def measure_stages(
    stages: Sequence[Stage],
    seconds: float,
    *,
    repeats: int = 1,
    survey: BenchSurvey = BAND,
    progress: Callable[[str], None] | None = None,
) -> list[StageTimes]:
    """Time stages on a simulated observation, with every number of threads in turn.

    Parameters
    ----------
    seconds : float
        Processor seconds to spend on each figure.
    repeats : int
        How many times each is measured.
    progress : callable, optional
        Told what is measured next.
    """
    tell = progress or (lambda _: None)
    tell(f"a simulated file of {survey.about}")
    timed = []
    # Three calls of everything at least, in however many repeats.
    least = -(-LEAST_CALLS // repeats)
    with tempfile.TemporaryDirectory(prefix="pulsar-bench-") as folder, cleaned(survey.write(Path(folder))) as source:
        for stage in stages:
            tell(stage.name)
            job = stage.make(source, survey)
            firsts = []
            for n in THREADS:
                start = time.perf_counter()
                job.run(n)
                firsts.append(time.perf_counter() - start)
            calls = [partial(job.run, n) for n in THREADS]
            trials: dict[int, list[Trial]] = {n: [] for n in THREADS}
            for _ in range(repeats):
                timings = in_turn(calls, seconds / repeats, least=least)
                for n, first, timing in zip(THREADS, firsts, timings, strict=True):
                    trials[n].append(Trial(first, timing, job.cost))
            timed.append(StageTimes(stage, job.pieces, trials))
    return timed


def stage_figures(times: StageTimes, limits: dict[int, Limits]) -> list[StageFigure]:
    """The figures of one stage; `limits` are those of each number in `THREADS`."""
    stage, pieces = times.stage, times.pieces
    figures: list[StageFigure] = []
    for n, trials in times.trials.items():
        # Of one thread's part of the work.
        fields = measured(trials, limits[n], stage.arithmetic, pieces=pieces, share=pieces / n)
        operations = trials[0].cost.adds + trials[0].cost.flops
        figures.append(
            StageFigure(
                **fields,
                stage=stage.name,
                about=stage.about,
                operations_per_s=operations * n / fields["cpu_s"],
                speedup=figures[0].wall_s / fields["wall_s"] if figures else None,
                overhead=fields["cpu_s"] / figures[0].cpu_s if figures else None,
            )
        )
    return figures


def save_rates(progress: Callable[[str], None] | None = None) -> Rates:
    """Measure how long the stages of a search take here, and keep it for plans in place of what was known.

    Parameters
    ----------
    progress : callable, optional
        Called with what is done next.
    """
    from pulsar.run import search

    say = progress or (lambda _: None)
    config = load_config(None, ["dedisp.dm_hi=500", "run.threads=1"])
    with tempfile.TemporaryDirectory(prefix="pulsar-bench-") as folder:
        # The first tells what a search costs with hardly any data, the other, an eighth of a FAST beam, for more.
        sizes = Size(1 << 14, 64), Size(1 << 20, 512)
        small, large = (BenchSurvey(size, tsamp=49.152e-6).write(Path(folder)) for size in sizes)
        say("kernels, compiled if they are not yet")
        search(small, config, Path(folder) / "warm.h5", progress=Progress("quiet"))
        write_rates(Rates({name: StageRate(start) for name, (start, _) in PLANNED.items()}))
        for number, path in enumerate((small, large, large)):
            say(f"a search of {path.stat().st_size / 1e6:.0f} MB")
            search(path, config, Path(folder) / f"{number}.h5", progress=Progress("quiet"))
    return read_rates()
