"""From files to detections: cleaning, dedispersion and all searches, checkpointed on the way."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.birdies import Spectrum, fraction_lost, merged
from pulsar.cleaning.common import FASTEST, find_lines, line_dms
from pulsar.data.fold import FoldCube, FoldParams
from pulsar.data.header import WHOLE, Part
from pulsar.data.observation import called, unchanged
from pulsar.data.series import TimeSeries, check_varies
from pulsar.data.source import PartSource
from pulsar.dedisp.batches import batch_ranges
from pulsar.dedisp.plan import few_trials
from pulsar.dedisp.stream import dedisperse
from pulsar.dedisp.subbands import Shared, Subbands
from pulsar.errors import PulsarError
from pulsar.folding.folder import fold_series
from pulsar.io.series import SeriesSet
from pulsar.pipeline.birdies import learn_in_series
from pulsar.pipeline.cleaning import clean_source, find_mask, gaps_of, given_birdies, mask_of
from pulsar.pipeline.injections import TOGETHER, band_count, place_dms
from pulsar.pipeline.job import Detected, FoldMany, Job, Searching
from pulsar.pipeline.plan import dry_run
from pulsar.pipeline.pulses import Pulses, find_pulses
from pulsar.pipeline.ranges import search_ranges
from pulsar.pipeline.room import stage_memory
from pulsar.pipeline.run_plan import RunPlan
from pulsar.pipeline.searched import Searched, detections_of
from pulsar.pipeline.series_set import part_of_series
from pulsar.pipeline.stages import BatchSearch, pulse_trials, search_series
from pulsar.pipeline.subtracting import subtract
from pulsar.searches.fft import FFTSearch

if TYPE_CHECKING:
    from pulsar.cleaning import Mask
    from pulsar.cleaning.birdies import Birdie
    from pulsar.cleaning.common import Lines
    from pulsar.cleaning.source import MaskedSource
    from pulsar.data.source import SampleSource
    from pulsar.dedisp.batches import Batch
    from pulsar.dedisp.plan import DMPlan
    from pulsar.dedisp.subbands import Subbands

# Part of the work on a trial DM that is done when its series is there.
DEDISPERSION_SHARE = 0.3


def detect(job: Job, out: Path) -> Detected:
    """Search an observation by all means that are switched on.

    Parameters
    ----------
    job : Job
    out : Path
        The product; a scratch file may lie beside it.

    Raises
    ------
    DataError
        Nothing is left after masking.
    """
    if isinstance(job.obs, SeriesSet):
        from pulsar.pipeline.series_set import detect_set

        return detect_set(job, job.obs)
    return _detect_series(job) if job.obs.header.is_series else _detect_raw(job, out)


def dm_plan(plan: RunPlan) -> "DMPlan":
    """The DM plan of a run on raw data."""
    if plan.dm is None:
        raise PulsarError("an already dedispersed series has no DM plan")
    return plan.dm


def lines_of(job: Job) -> "Lines":
    """Lines in the series at DM 0, and what is of them at a few other DMs."""
    (source, _, _), header = clean(job), job.obs.header
    job.wait_for_kernels()
    downsample = 1
    while downsample < 256 and 2 * downsample * header.tsamp <= 0.5 / FASTEST:
        downsample *= 2
    dms = line_dms(header.freqs, 0.5 / (downsample * header.tsamp), job.config.dedisp.dm_hi)
    plan = few_trials(header, dms, downsample, source.freqs)
    with (
        job.progress.stage("first look", header.nsamps, "samples") as tick,
        dedisperse(source, plan, threads=job.threads, memory=stage_memory(job.config, job.obs), progress=tick) as store,
    ):
        stage = plan.stages[0]
        search = FFTSearch(stage.nsamps, stage.tsamp, job.config.fft)
        zero = Spectrum(search.spectrum(store.row(0)), stage.tsamp, stage.nsamps * stage.tsamp)
        return find_lines(zero, store.row, dms, source.freqs)


def clean(job: Job) -> "tuple[MaskedSource, Mask, NDArray[Any] | None]":
    """The cleaned samples, the mask that they are cleaned with, and which pulsars were taken out of them."""
    config = job.config
    kept = job.checkpoint.load("mask")
    if kept is not None:
        mask = mask_of(kept)
    else:
        mask = find_mask(job.obs, config, threads=job.threads, progress=job.progress).mask
        arrays = {f.name: np.asarray(getattr(mask, f.name)) for f in fields(mask)}
        job.checkpoint.save("mask", **arrays)
    job.progress.message(mask.summary())
    source = clean_source(job.obs, mask, config, threads=job.threads, progress=job.progress)
    if not config.subtract.pulsars:
        return source, mask, None

    found = subtract(
        source,
        job.obs.header,
        config,
        threads=job.threads,
        memory=stage_memory(config, job.obs),
        progress=job.progress,
        kept=job.checkpoint.load("subtracted"),
        keep=lambda **arrays: job.checkpoint.save("subtracted", **arrays),
    )
    return found.source, mask, found.rows


def _detect_series(job: Job) -> Detected:
    """An already dedispersed series goes straight to the search."""
    job.wait_for_kernels()
    header = job.obs.header
    with unchanged(job.obs):
        data = np.ascontiguousarray(job.obs.read().data[0])
    check_varies(data, called(job.obs))
    series = TimeSeries(data, header.tsamp, header.dm, header.tstart)
    learnt, steady = learn_in_series(data, header.tsamp, job.config)
    birdies = [*given_birdies(header, job.config.rfi), *job.common, *learnt]
    if learnt:
        job.progress.message(f"{len(learnt)} lines of the mains are left out")
    with job.progress.stage("search", 1, "series"):
        found = search_series(
            data,
            header.tsamp,
            header.dm,
            job.config,
            memory=job.plan.accel_memory,
            gaps=gaps_of(job.obs),
            birdies=[(b.freq, b.width) for b in birdies],
            steady=steady,
        )
    ntrials = pulse_trials(len(data), header.tsamp, job.config)
    dms = np.array([header.dm])
    tsamps = np.array([header.tsamp])
    pulses = find_pulses(found.events, dms, tsamps, None, header, ntrials, job.config, job.progress)
    return Detected(
        np.concatenate([found.detections, pulses.repeating]),
        dms,
        pulses,
        lambda params, part=WHOLE: fold_series(part_of_series(series, part), params, job.config.fold),
        birdies=birdies,
    )


def _detect_raw(job: Job, out: Path) -> Detected:
    """Statistics, dedispersion and search of raw data."""
    source, mask, subtracted = clean(job)
    job.wait_for_kernels()
    plan = dry_run(job.obs, job.config, freqs=source.freqs)
    for line in plan.summary():
        job.progress.message(line)
    trials = dm_plan(plan)
    finder = BatchSearch(trials, job.config, threads=job.threads, memory=plan.accel_memory, gaps=gaps_of(job.obs))
    birdies = [*given_birdies(job.obs.header, job.config.rfi), *job.common]
    subbands: tuple[Subbands, ...] = ()
    if job.plan.injections is not None:
        # While the samples are read; of the other places later.
        first = max(job.plan.injections.at_once, min(TOGETHER, job.plan.injections.places))
        subbands = subbands_at(job, source, place_dms(job.obs.header, plan, job.config, first), out)

    def search(state: Searched) -> None:
        how = search_trials if job.crew is None else _search_elsewhere
        with unchanged(job.obs):
            how(job, Shared(source, subbands) if subbands else source, plan, finder, state, birdies, out)

    found, birdies = detections_of(job, finder, search)
    pulses = pulses_of(job, plan, finder, source, found.events)
    fold = folding_of(job, plan, source)
    detections = np.concatenate([found.detections, pulses.repeating])
    searching = Searching(source, plan, finder, found, subbands)
    return Detected(
        detections,
        trials.dms,
        pulses,
        fold,
        source.freqs,
        mask,
        birdies,
        searching=searching,
        subtracted=subtracted,
    )


def subbands_at(job: Job, source: "MaskedSource", dms: Sequence[float], out: Path) -> "tuple[Subbands, ...]":
    """Subbands for signals that will be injected at some DMs: in memory, or scratch files where they do not fit."""
    nbands = band_count(source.nchans, job.config)
    fits = job.plan.injections is not None and job.plan.injections.at_once > 0
    return tuple(Subbands(source, dm, nbands, None if fits else scratch_of(job, out)) for dm in dms)


def scratch_of(job: Job, out: Path) -> Path:
    """Folder of scratch files."""
    return Path(job.config.run.scratch) if job.config.run.scratch else out.absolute().parent


def pulses_of(job: Job, plan: RunPlan, finder: BatchSearch, source: "SampleSource", events: NDArray[Any]) -> Pulses:
    """Single pulses of the events in the series of a run."""
    trials = dm_plan(plan)
    tsamps = np.concatenate([np.full(stage.ndms, stage.tsamp) for stage in trials.stages])
    header, ntrials = job.obs.header, finder.pulse_trials()
    return find_pulses(events, trials.dms, tsamps, source, header, ntrials, job.config, job.progress)


def folding_of(job: Job, plan: RunPlan, source: "SampleSource") -> FoldMany:
    """The function that folds any number of candidates in one pass over the samples."""
    from pulsar.folding.folder import fold_many

    def fold(params: Sequence[FoldParams], part: Part = WHOLE) -> list[FoldCube]:
        stretch = source if part.count == 1 else PartSource(source, *part.samples(source.nsamps))
        with unchanged(job.obs), job.progress.stage("folding", stretch.nsamps, "samples") as tick:
            return fold_many(
                stretch, params, job.config.fold, threads=job.threads, memory=plan.memory // 2, progress=tick
            )

    return fold


def search_trials(
    job: Job,
    source: "SampleSource",
    plan: RunPlan,
    finder: BatchSearch,
    state: Searched,
    birdies: "list[Birdie]",
    out: Path,
) -> None:
    """Dedisperse and search, batch by batch, what is left."""
    trials = dm_plan(plan)
    left = state.left(0, trials.ndms)
    if not left:
        return
    with job.progress.stage("searching", trials.ndms, "DMs", clocked=False) as tick:
        tick(state.ndone)
        first, last = left[0][0], left[-1][1]
        batches = _batches(job, source, plan, out, first, last, lambda n: tick(DEDISPERSION_SHARE * n))
        with closing(batches):
            while True:
                with job.progress.clock("dedispersion"):
                    batch = next(batches, None)
                if batch is None:
                    break
                with job.progress.clock("search"):
                    if state.birdies is None:
                        state.birdies = _learn_birdies(job, batch, finder, birdies)
                    state.search(batch, finder, lambda n: tick((1.0 - DEDISPERSION_SHARE) * n))


def _search_elsewhere(
    job: Job,
    source: "SampleSource",
    plan: RunPlan,
    finder: BatchSearch,
    state: Searched,
    birdies: "list[Birdie]",
    out: Path,
) -> None:
    """Learn the lines at DM 0, and have ranges of DMs searched by others."""
    trials = dm_plan(plan)
    if state.birdies is None:
        _, last = batch_ranges(trials)[0]
        with (
            job.progress.stage("lines at DM 0", last, "DMs") as tick,
            closing(_batches(job, source, plan, out, 0, last, tick)) as batches,
        ):
            state.birdies = _learn_birdies(job, next(batches), finder, birdies)
        state.save()
    search_ranges(job, state, trials, out)


def _batches(
    job: Job,
    source: "SampleSource",
    plan: RunPlan,
    out: Path,
    first: int,
    last: int,
    progress: Callable[[float], None],
) -> "Generator[Batch]":
    """The trials `first` to `last` - 1, batch by batch."""
    from pulsar.dedisp.batches import dedispersed

    if plan.route is None:
        raise PulsarError("an already dedispersed series is not dedispersed")
    batches = dedispersed(
        source,
        dm_plan(plan),
        plan.route,
        threads=job.threads,
        scratch=scratch_of(job, out),
        start=first,
        stop=last,
        progress=progress,
        reserve=job.reserve,
    )
    with closing(batches):
        for batch in batches:
            mine = batch.within(first, last)
            if mine is not None:
                yield mine


def _learn_birdies(job: Job, batch: "Batch", finder: BatchSearch, known: "list[Birdie]") -> "list[Birdie]":
    """Add what the series at DM 0 shows, and leave it out of all spectra."""
    learnt = finder.learn(batch) if job.config.rfi.learn else []
    birdies = merged([*known, *learnt])
    finder.birdies = [(b.freq, b.width) for b in birdies]
    if birdies:
        lost = fraction_lost(birdies, 0.5 / job.obs.header.tsamp)
        job.progress.message(
            f"{len(birdies)} lines of periodic interference ({len(learnt)} learnt at DM 0) are left out: "
            f"{100 * lost:.2g} % of the spectrum"
        )
    return birdies
