"""From samples to detections: dedispersion and all searches, checkpointed on the way."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from pulsar.cleaning.birdies import Birdie, fraction_lost, merged, pairs
from pulsar.cleaning.common import FASTEST, Lines, find_lines, line_dms
from pulsar.config.model import Config
from pulsar.data.observation import called, gaps_of, unchanged
from pulsar.data.series import check_varies
from pulsar.data.source import SampleSource, in_band
from pulsar.data.text import band_text
from pulsar.dedisp.batches import Route, TrialBatch, batch_ranges, dedispersed
from pulsar.dedisp.plan import few_trials
from pulsar.dedisp.stream import Reserve, dedisperse
from pulsar.dedisp.subbands import SubbandRelay, Subbands
from pulsar.errors import PulsarError
from pulsar.io.series import SeriesSet
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.cleaning import batches_of_set, given_birdies, learn_in_series, learn_lines, spectrum_of
from pulsar.pipeline.plan import RunPlan
from pulsar.pipeline.pulses import BandEvents, band_events, find_pulses
from pulsar.pipeline.ranges import Crew, Searched, detections_of, search_ranges
from pulsar.pipeline.room import Means
from pulsar.pipeline.samples import Samples
from pulsar.pipeline.searches import pulses_only
from pulsar.pipeline.stages import BatchSearch, SearchResult, SeriesSearch, pulse_trials
from pulsar_kernels.arrays import Array, Floats

# Part of the work on a trial DM that is done when its series is there.
DEDISPERSION_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class Detected:
    """Detections in all series."""

    detections: Array  # periodic, with the fields of DETECTION_COLUMNS, those of repeating pulses among them
    events: Array  # of single pulses, with the fields of EVENT_COLUMNS
    pulses: Array  # single pulses that they are of, with the fields of SINGLE_PULSE_COLUMNS, best first
    dms: Floats  # all DMs that were searched [pc cm^-3]
    freqs: Floats  # channels that were used [MHz]; empty for a dedispersed series
    birdies: list[Birdie]  # what was left out of the spectra
    bands: tuple[BandEvents, ...] = ()  # events in parts of the band


def detect(
    samples: Samples,
    plan: RunPlan,
    config: Config,
    means: Means,
    checkpoint: Checkpoint,
    *,
    common: Sequence[Birdie] = (),
    subbands: Sequence[Subbands] = (),
    crew: Crew | None = None,
    reserve: Reserve | None = None,
) -> Detected:
    """Dedisperse, and search by all means that are switched on.

    Parameters
    ----------
    plan : RunPlan
        Of the channels that are alive.
    checkpoint : Checkpoint
        Has what an interrupted run has found, and is given what is found.
    common : sequence of Birdie
        Periodic interference that other beams have shown.
    subbands : sequence of Subbands
        Filled while the samples are read.
    crew : Crew, optional
        Who searches ranges of DMs; by default this process does.
    reserve : Reserve, optional
        Memory for the samples that dedispersion keeps, asked for ahead; has them in the end, if they are there still.
    """
    known = [*given_birdies(samples.header, config.rfi), *common]
    trials = plan.dm
    if trials is None:
        return _detect_series(samples, plan, config, means, known)
    gaps = gaps_of(samples.obs)
    finder = BatchSearch(trials, config, threads=means.threads, memory=plan.accel_memory, gaps=gaps)
    bands = []
    with ExitStack() as stack:
        workers = None if crew is None else _kept(crew, stack)
        result, birdies = found_in(samples, plan, finder, means, checkpoint, known, subbands, workers, reserve)
        for number, band in enumerate(plan.bands):
            if band.dm is None or band.band is None:
                continue
            means.progress.message(f"single pulses from {band_text(*band.band, ' to ')} MHz")
            if reserve is not None:
                reserve.close()  # the memory is needed
            of_band = BatchSearch(band.dm, pulses_only(config), threads=means.threads, memory=0, gaps=gaps)
            band_checkpoint = checkpoint.within(f"band{number}")
            pulsed, _ = found_in(samples, band, of_band, means, band_checkpoint, birdies, crew=workers)
            bands.append(band_events(pulsed.events, of_band, band.band))
    pulses, repeating = find_pulses([band_events(result.events, finder), *bands], samples, config, means.progress)
    detections = np.concatenate([result.detections, repeating])
    return Detected(detections, result.events, pulses, trials.dms, samples.freqs, birdies, tuple(bands))


def found_in(
    samples: Samples,
    plan: RunPlan,
    finder: BatchSearch,
    means: Means,
    checkpoint: Checkpoint,
    known: Sequence[Birdie],
    subbands: Sequence[Subbands] = (),
    crew: Crew | None = None,
    reserve: Reserve | None = None,
    birdies: list[Birdie] | None = None,
) -> tuple[SearchResult, list[Birdie]]:
    """What is found in all trials of a plan, in its part of the band, and the lines that are left out there.

    Parameters
    ----------
    checkpoint : Checkpoint
        Has what an interrupted run has found, and is given what is found.
    known : sequence of Birdie
        Lines that are left out beside those that the series at DM 0 shows.
    birdies : list of Birdie, optional
        All lines that are left out, where they are known; default: those at DM 0 are learnt.
    """
    obs = samples.obs

    def search(state: Searched) -> None:
        if isinstance(obs, SeriesSet):
            _search_set(obs, finder, state, known, means)
        elif samples.source is not None:
            source = in_band(SubbandRelay(samples.source, subbands) if subbands else samples.source, plan.band)
            with unchanged(obs):
                if crew is None:
                    TrialSearch(source, finder, plan.route, known, means, reserve).search(state)
                else:
                    TrialSearch(source, finder, plan.route, known, means).learn(state)
                    search_ranges(obs, finder.plan, state, finder.config, means, checkpoint, crew, plan.band)

    return detections_of(finder.plan.ndms, search, checkpoint, means.progress.message, birdies)


def _kept(crew: Crew, stack: ExitStack) -> Crew:
    """The same workers for several searches, until the end of a stack; none before they are needed."""
    workers = cache(lambda: stack.enter_context(crew()))
    return lambda: nullcontext(workers())


def _detect_series(samples: Samples, plan: RunPlan, config: Config, means: Means, known: list[Birdie]) -> Detected:
    """An already dedispersed series goes straight to the search."""
    series, header = samples.series, samples.header
    check_varies(series.data, called(samples.obs))
    learnt, steady = learn_in_series(series.data, header.tsamp, config)
    birdies = [*known, *learnt]
    if learnt:
        means.progress.message(f"{len(learnt)} lines of the mains are left out")
    with means.progress.stage("search", 1, "series"):
        gaps = gaps_of(samples.obs)
        search = SeriesSearch(series.nsamps, header.tsamp, config, memory=plan.accel_memory, gaps=gaps)
        result = search.search(series.data, header.dm, birdies=pairs(birdies), steady=steady)
    dms, tsamps = np.array([header.dm]), np.array([header.tsamp])
    events = BandEvents(result.events, dms, tsamps, samples.freqs, pulse_trials(series.nsamps, header.tsamp, config))
    pulses, repeating = find_pulses([events], samples, config, means.progress)
    detections = np.concatenate([result.detections, repeating])
    return Detected(detections, result.events, pulses, dms, samples.freqs, birdies)


@dataclass(frozen=True, eq=False)
class TrialSearch:
    """Samples that are dedispersed, batch by batch, and searched."""

    source: SampleSource
    finder: BatchSearch
    route: Route | None
    known: Sequence[Birdie]  # lines that are left out beside those that the series at DM 0 shows
    means: Means
    reserve: Reserve | None = None  # memory for the samples that dedispersion keeps, asked for ahead

    def search(self, state: Searched) -> None:
        """Search what is left; the state is brought up to date."""
        ndms, progress = self.finder.plan.ndms, self.means.progress
        left = state.left(0, ndms)
        if not left:
            return
        with progress.stage("searching", ndms, "DMs", clocked=False) as tick:
            tick(state.ndone)
            batches = self._batches((left[0][0], left[-1][1]), lambda n: tick(DEDISPERSION_SHARE * n))
            with closing(batches):
                while True:
                    with progress.clock("dedispersion"):
                        batch = next(batches, None)
                    if batch is None:
                        break
                    with progress.clock("search"):
                        if state.birdies is None:
                            state.birdies = self._lines(batch)
                        state.search(batch, self.finder, lambda n: tick((1.0 - DEDISPERSION_SHARE) * n))

    def learn(self, state: Searched) -> None:
        """Learn the lines at DM 0 before others search."""
        if state.birdies is not None:
            return
        _, last = batch_ranges(self.finder.plan)[0]
        with (
            self.means.progress.stage("lines at DM 0", last, "DMs") as tick,
            closing(self._batches((0, last), tick)) as batches,
        ):
            state.birdies = self._lines(next(batches))
        state.save()

    def _batches(self, span: tuple[int, int], progress: Callable[[float], None]) -> Generator[TrialBatch]:
        """The trials from the first of a span to before its last, batch by batch."""
        if self.route is None:
            raise PulsarError("an already dedispersed series is not dedispersed")
        (start, stop), threads, scratch = span, self.means.threads, self.means.scratch
        how: dict[str, Any] = {"threads": threads, "scratch": scratch, "progress": progress, "reserve": self.reserve}
        return dedispersed(self.source, self.finder.plan, self.route, start=start, stop=stop, **how)

    def _lines(self, batch: TrialBatch) -> list[Birdie]:
        """Lines that are left out of all spectra: those that are known, and what the series at DM 0 shows."""
        learnt = learn_lines(batch, self.finder.plan, self.finder.config)
        birdies = merged([*self.known, *learnt])
        if birdies:
            lost = fraction_lost(birdies, 0.5 / self.finder.plan.tsamp)
            self.means.progress.message(
                f"{len(birdies)} lines of periodic interference ({len(learnt)} learnt at DM 0) are left out: "
                f"{100 * lost:.2g} % of the spectrum"
            )
        return birdies


def _search_set(obs: SeriesSet, finder: BatchSearch, state: Searched, known: Sequence[Birdie], means: Means) -> None:
    """Search the series of a set as the DM trials of one observation."""
    with means.progress.stage("search", finder.plan.ndms, "series") as tick:
        tick(state.ndone)
        for batch in batches_of_set(obs, finder.plan):
            if state.birdies is None:
                mains, _ = learn_in_series(batch.row(0), batch.stage.tsamp, finder.config)
                state.birdies = merged([*known, *mains, *learn_lines(batch, finder.plan, finder.config)])
            state.search(batch, finder, tick)


def lines_at_zero(samples: Samples, config: Config, means: Means) -> Lines:
    """Lines in the series at DM 0 of cleaned samples, and what is of them at a few other DMs."""
    source, header = samples.source, samples.header
    if source is None:
        raise PulsarError("an already dedispersed series is not dedispersed")
    downsample = 1
    while downsample < 256 and 2 * downsample * header.tsamp <= 0.5 / FASTEST:
        downsample *= 2
    dms = line_dms(header.freqs, 0.5 / (downsample * header.tsamp), config.dedisp.dm_hi)
    plan = few_trials(header, dms, downsample, source.freqs)
    with (
        means.progress.stage("first look", header.nsamps, "samples") as tick,
        dedisperse(source, plan, threads=means.threads, memory=means.memory, progress=tick) as store,
    ):
        return find_lines(spectrum_of(store.row(0), plan.stages[0].tsamp, config), store.row, dms, source.freqs)
