"""The stage of a run that goes over all dedispersed series, shared out over threads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from pulsar.config.model import Config
from pulsar.config.resources import share_out
from pulsar.data.candidate import DETECTION_COLUMNS, EVENT_COLUMNS, joined
from pulsar.data.header import WHOLE, Part, parts_of_counts
from pulsar.data.series import Lines
from pulsar.dedisp.batches import TrialBatch
from pulsar.dedisp.plan import DMPlan, DMStage, halved, halvings
from pulsar.pipeline.searches import (
    Octaves,
    independent_dms,
    independent_periodic,
    part_rooms,
    plan_bands,
    searches_of,
    trial_shares,
)
from pulsar.searches import stats
from pulsar.searches.fft import FFTSearch
from pulsar.searches.search import EVERYTHING, BandTrials, Search
from pulsar.searches.single_pulse import SinglePulseSearch
from pulsar_kernels.arrays import Array, Bools, Ints


@dataclass(frozen=True)
class Trials:
    """Independent DMs of a run, for which the significances of each search are corrected."""

    periodic: float = 1.0  # of all
    #: By bands of frequency, by the name of the search; of those that are not named: as `periodic`.
    bands: Mapping[str, BandTrials] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchResult:
    """Detections and events of searches."""

    detections: Array  # periodic, with the fields of DETECTION_COLUMNS
    events: Array  # of single pulses, with the fields of EVENT_COLUMNS

    @classmethod
    def join(cls, parts: "list[SearchResult]") -> "SearchResult":
        """All of them, in this order."""
        return cls(
            joined(DETECTION_COLUMNS, [part.detections for part in parts]),
            joined(EVENT_COLUMNS, [part.events for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class SomeTrials:
    """Trials of a plan that are searched once more."""

    rows: Ints  # which, ascending
    periodic: Bools  # whether each is searched for periods, or for single pulses alone

    def plan(self, whole: DMPlan) -> DMPlan:
        """The plan of these alone."""
        stages = []
        for first, stage in whole.numbered():
            part = self.rows[(self.rows >= first) & (self.rows < first + stage.ndms)] - first
            if part.size:
                stages.append(replace(stage, dms=stage.dms[part]))
        return replace(whole, stages=tuple(stages))


class SeriesSearch:
    """All searches of series of one length, as a whole and in parts; safe to share between threads.

    Parameters
    ----------
    nsamps : int
        Of the whole series.
    trials : mapping of int to Trials, optional
        For every number of parts, 1 among them; default: those of a single series.
    memory : int
        Bytes that the acceleration searches of one thread may take.
    gaps : sequence of (int, int)
        First sample of what is missing in the whole series, and the one after the last.
    times : int
        How often a series is halved for the searches that are `spectral`.

    Raises
    ------
    ConfigError
        When no search is switched on.
    """

    def __init__(
        self,
        nsamps: int,
        tsamp: float,
        config: Config,
        *,
        memory: int,
        trials: Mapping[int, Trials] | None = None,
        gaps: tuple[tuple[int, int], ...] = (),
        times: int = 0,
    ) -> None:
        counts = config.search.parts
        trials = dict.fromkeys({1, *counts}, Trials()) if trials is None else trials
        self.nsamps, self.tsamp, self.times = nsamps, tsamp, times
        shares, rooms = trial_shares(config, nsamps, tsamp), part_rooms(counts, memory)

        @cache
        def searches(count: int, each: int, gaps_of_part: tuple[tuple[int, int], ...]) -> list[Search[Any]]:
            """Those of one of so many parts: the same for parts without gaps."""
            made: list[Search[Any]] = []
            spectra: FFTSearch | None = None
            for search, section in searches_of(config, count, each * tsamp):
                # By how much its trials are to be multiplied for those of all parts.
                share = shares.get(count, {}).get(search.name, 1.0)
                bands = tuple((band, share * ndms) for band, ndms in trials[count].bands.get(search.name, ()))
                fewer = times if search.spectral else 0
                made_search = search(
                    each >> fewer,
                    tsamp * 2.0**fewer,
                    section,
                    ntrials_dm=share * trials[count].periodic,
                    bands=bands,
                    memory=rooms.get(count, 0),
                    gaps=gaps_of_part,
                    spectra=spectra,
                )
                made.append(made_search)
                spectra = spectra or made_search.spectra
            return made

        def searches_in(part: Part) -> tuple[Part, slice, list[Search[Any]]]:
            first, each = part.samples(nsamps)
            inside = ((max(low - first, 0), min(high - first, each)) for low, high in gaps)
            gaps_of_part = tuple((low, high) for low, high in inside if low < high)
            return part, slice(first, first + each), searches(part.count, each, gaps_of_part)

        #: The whole and each part, its samples, and what searches them.
        self.parts = [searches_in(part) for part in (WHOLE, *parts_of_counts(counts))]

    @property
    def searches(self) -> list[Search[Any]]:
        """Those of the whole series."""
        return self.parts[0][2]

    def search(
        self,
        series: Array,
        dm: float,
        dm_index: int = 0,
        *,
        octaves: Mapping[int, Mapping[str, Octaves]] | None = None,
        periodic: bool = True,
        birdies: Lines = (),
        steady: Lines = (),
    ) -> SearchResult:
        """Everything found in one series and its parts; frequencies are those at the middle of each.

        Parameters
        ----------
        series : ndarray of int16 or float32, shape (nsamps,)
        octaves : mapping of int to mapping of str to Octaves, optional
            For every number of parts, by the names of the searches, which tell their frequencies of this row; default:
            all frequencies.
        periodic : bool
            Whether it is searched for periods at all, and not for single pulses alone.
        birdies : sequence of (float, float)
            Frequencies and full widths [Hz] of periodic interference in the whole series: a line is wider in a part.
        steady : sequence of (float, float)
            The same of what may be a pulsar: taken out for the search for single pulses only.
        """
        detections: list[Array] = []
        events: list[Array] = []
        for part, samples, searches in self.parts:
            if part.count > 1 and not periodic:
                continue
            # Bins of 1/T that a line takes beside its own width: its main lobe, and those added on either side of it.
            more = 4.0 * (part.count - 1) / (self.nsamps * self.tsamp)
            lines = [(freq, width + more) for freq, width in birdies]
            # The same array for all of them: spectra are made once.
            own = series[samples]
            half = halved(own, self.times) if periodic else own
            for search in searches:
                band = EVERYTHING if octaves is None else octaves[part.count][search.name].band(dm_index)
                if not search.periodic:
                    events.append(search.search(own, dm, dm_index, [*lines, *steady]))
                elif periodic and band is not None:
                    rows = search.search(half if search.spectral else own, dm, dm_index, lines, band)
                    rows["part"] = part.label
                    detections.append(rows)
        return SearchResult(joined(DETECTION_COLUMNS, detections), joined(EVENT_COLUMNS, events))


def pulse_trials(nsamps: int, tsamp: float, config: Config) -> float:
    """Independent trials of the search for single pulses in one series."""
    return SinglePulseSearch.estimate(nsamps, tsamp, config.single_pulse).trials


def pulse_threshold(plans: Sequence[DMPlan], config: Config) -> float:
    """S/N at which the searches for pulses by all plans promise as many false alarms as the first does by the settings.

    `plans`: of the whole band, and of bands in it: their noise is as good as independent, and trials add up.
    """
    lengths = [
        (number, stage.nsamps, stage.tsamp, independent_dms(stage, plan.freqs))
        for number, plan in enumerate(plans)
        for stage in plan.stages
    ]

    def expected(snr: float, most: int) -> float:
        section = config.single_pulse.model_copy(update={"snr": snr})
        trials = sum(
            SinglePulseSearch.estimate(nsamps, tsamp, section).trials * ndms
            for number, nsamps, tsamp, ndms in lengths
            if number < most
        )
        return float(np.log(trials) + stats.logp_from_sigma(snr))

    snr = config.single_pulse.snr
    return stats.inverse_tail(lambda value: expected(value, len(plans)), expected(snr, 1), snr, snr + 1.0, 1e-6)


class BatchSearch:
    """Searches batches of series on several threads; the result does not depend on how many.

    Parameters
    ----------
    plan : DMPlan
        All trials of the run, for which significances are corrected.
    memory : int
        Bytes that the acceleration search of all threads may take.
    gaps : sequence of (int, int)
        First sample of what is missing, and the one after the last, in samples of the file.
    """

    def __init__(
        self, plan: DMPlan, config: Config, *, threads: int, memory: int, gaps: tuple[tuple[int, int], ...] = ()
    ) -> None:
        self.plan, self.config = plan, config
        self.threads = max(1, threads)
        self.memory = memory
        self.gaps = gaps
        self.halvings = halvings(plan, config)
        self.independent = [independent_dms(stage, plan.freqs) for stage in plan.stages]
        periodic = independent_periodic(plan, self.halvings) if self.halvings.any() else sum(self.independent)
        #: Frequencies of each trial DM, for every number of parts and every search.
        self.bands = plan_bands(plan, config, self.halvings, periodic)
        self.trials = {
            count: Trials(periodic, {name: octaves.trials for name, octaves in octaves_of.items()})
            for count, octaves_of in self.bands.items()
        }
        #: Of one length of series, by how often these are halved.
        self._searches: dict[int, SeriesSearch] = {}

    def prepared(self, stage: DMStage, times: int = 0) -> SeriesSearch:
        """The searches of series of a stage that are halved so often."""
        if any((made.nsamps, made.tsamp) != (stage.nsamps, stage.tsamp) for made in self._searches.values()):
            self._searches.clear()
        if times not in self._searches:
            gaps = ((first // stage.downsample, -(-end // stage.downsample)) for first, end in self.gaps)
            self._searches[times] = SeriesSearch(
                stage.nsamps,
                stage.tsamp,
                self.config,
                trials=self.trials,
                memory=self.memory // self.threads,
                gaps=tuple(gaps),
                times=times,
            )
        return self._searches[times]

    def pulse_trials(self) -> float:
        """Independent trials of the search for single pulses in the whole run."""
        return sum(
            pulse_trials(stage.nsamps, stage.tsamp, self.config) * independent
            for stage, independent in zip(self.plan.stages, self.independent, strict=True)
        )

    def search(self, batch: TrialBatch, birdies: Lines = (), some_of: "SomeTrials | None" = None) -> SearchResult:
        """Detections and events in all series of a batch, `dm_index` ascending.

        Parameters
        ----------
        birdies : sequence of (float, float)
            Frequencies and full widths [Hz] that are left out of spectra.
        some_of : SomeTrials, optional
            The batch is of a plan of these alone.
        """
        results: dict[int, SearchResult] = {}
        self.each(batch, range(batch.stage.ndms), results.__setitem__, birdies, some_of)
        return SearchResult.join([results[i] for i in range(batch.stage.ndms)])

    def each(
        self,
        batch: TrialBatch,
        trials: Sequence[int],
        done: "Callable[[int, SearchResult], None]",
        birdies: Lines = (),
        some_of: "SomeTrials | None" = None,
    ) -> None:
        """Search some trials of a batch, and hand on what is in each when it is done.

        Parameters
        ----------
        trials : sequence of int
            Which of its series.
        done : callable
            Called by several threads with a trial and what was found in it.
        birdies : sequence of (float, float)
        some_of : SomeTrials, optional
            As in :meth:`search`.
        """
        stage = batch.stage
        rows = np.arange(batch.first, batch.first + stage.ndms)
        rows = rows if some_of is None else some_of.rows[rows]
        searches = {times: self.prepared(stage, times) for times in set(self.halvings[rows].tolist())}

        def search(left: Iterator[int]) -> None:
            for i in left:
                periodic = some_of is None or bool(some_of.periodic[batch.first + i])
                row = int(rows[i])
                series, dm, prepared = batch.row(i), float(stage.dms[i]), searches[int(self.halvings[row])]
                done(i, prepared.search(series, dm, row, octaves=self.bands, periodic=periodic, birdies=birdies))

        with ThreadPoolExecutor(self.threads, thread_name_prefix="search") as pool:
            share_out(pool, self.threads, trials, search)
