"""The stage of a run that goes over all dedispersed series, shared out over threads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.constants import KDM
from pulsar.data.candidate import DETECTION_COLUMNS, EVENT_COLUMNS, joined
from pulsar.data.header import Part, parts_of_counts
from pulsar.data.work import share_out
from pulsar.dedisp.sampling import halved, halvings
from pulsar.pipeline.birdies import learn_lines
from pulsar.pipeline.independent import independent_dms, independent_periodic
from pulsar.pipeline.octaves import everything, plan_octaves
from pulsar.pipeline.searches import HALVED, enabled_searches, part_rooms, periodic_only, trial_shares
from pulsar.searches.response import EVERYTHING, Band

if TYPE_CHECKING:
    from pulsar.cleaning.birdies import Birdie
    from pulsar.dedisp.batches import Batch
    from pulsar.dedisp.plan import DMPlan, DMStage
    from pulsar.searches.search import Search

#: Independent ones among the DMs that are searched for long periods: most pulses are wider than the narrowest, for
#: which they are spaced (benchmarks/noise.py files: 24 of 54 expected false alarms when all count, 82 of 108 with this
#: factor on other seeds).
FOLDING_SHARE = 0.5
#: Part of the memory that the acceleration search of all threads may take.
ACCEL_PART = 0.5


def folding_dms(dms: NDArray[np.float64], freqs: NDArray[np.float64], width: float) -> NDArray[np.bool_]:
    """Trial DMs that the search for long periods takes: its pulses are wide, so that the others would add nothing.

    From one to the next the delay over the band changes by no more than the narrowest pulse (unless the plan itself has
    wider steps), so that a pulse is smeared by half its width at most.

    Parameters
    ----------
    dms : ndarray
        Trial DMs [pc cm^-3], ascending.
    freqs : ndarray
        Channel frequencies [MHz].
    width : float
        Narrowest pulse [s].
    """
    chosen = np.zeros(dms.size, dtype=np.bool_)
    across = KDM * float(np.min(freqs) ** -2.0 - np.max(freqs) ** -2.0)
    step = width / across if across > 0 else np.inf
    last = -np.inf
    for i, dm in enumerate(dms):
        # The last one before the step would become too wide, and both ends.
        if i in (0, dms.size - 1) or dms[i + 1] - last > step:
            chosen[i] = True
            last = dm
    return chosen


class FewDMs(NamedTuple):
    """Trial DMs that are searched for wide pulses, arrays of bool.

    Attributes
    ----------
    folding : ndarray
        By the search for long periods.
    slow, slowest : ndarray
        By the coherent search for frequencies below its SLOW, and its SLOWEST.
    """

    folding: NDArray[np.bool_]
    slow: NDArray[np.bool_]
    slowest: NDArray[np.bool_]

    def at(self, row: int) -> tuple[bool, bool, bool]:
        """The same of one trial DM."""
        return bool(self.folding[row]), bool(self.slow[row]), bool(self.slowest[row])


def few_dms(plan: "DMPlan", config: Config, count: int = 1) -> FewDMs:
    """Trial DMs that are searched for wide pulses, in one of so many parts; see `folding_dms`."""
    from pulsar.searches.coherent import SLOW_WIDTH, SLOWEST_WIDTH
    from pulsar.searches.ffa import SHORTEST, beside

    ffa = beside(config.ffa, config.coherent, plan.nsamps // count * plan.tsamp)
    folding = folding_dms(plan.dms, plan.freqs, (ffa.p_min or SHORTEST) * ffa.duty_min)
    slow = folding_dms(plan.dms, plan.freqs, SLOW_WIDTH)
    # Those of the slowest are among those of the slow.
    slowest = np.zeros(plan.ndms, dtype=np.bool_)
    slowest[slow] = folding_dms(plan.dms[slow], plan.freqs, SLOWEST_WIDTH)
    return FewDMs(folding, slow, slowest)


@dataclass(frozen=True)
class Trials:
    """Independent DMs of a run, for which the significances of each search are corrected.

    Attributes
    ----------
    periodic : float
        Of all.
    folding, slow, slowest : float
        Of those of :class:`FewDMs`.
    octaves : tuple of (Band, float)
        Of the acceleration search, by bands of frequency; empty: as `periodic`.
    """

    periodic: float = 1.0
    folding: float = 1.0
    slow: float = 1.0
    slowest: float = 1.0
    octaves: tuple[tuple[Band, float], ...] = ()


@dataclass(frozen=True)
class Found:
    """Detections and events of searches.

    Attributes
    ----------
    detections : ndarray
        Periodic, with the fields of DETECTION_COLUMNS.
    events : ndarray
        Of single pulses, with the fields of EVENT_COLUMNS.
    """

    detections: NDArray[Any]
    events: NDArray[Any]

    @classmethod
    def join(cls, parts: "list[Found]") -> "Found":
        """All of them, in this order."""
        return cls(
            joined(DETECTION_COLUMNS, [part.detections for part in parts]),
            joined(EVENT_COLUMNS, [part.events for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class SomeTrials:
    """Trials of a plan that are searched once more.

    Attributes
    ----------
    rows : ndarray of int64
        Which, ascending.
    periodic : ndarray of bool
        Whether each is searched for periods, or for single pulses alone.
    """

    rows: NDArray[np.int64]
    periodic: NDArray[np.bool_]

    def plan(self, whole: "DMPlan") -> "DMPlan":
        """The plan of these alone."""
        stages = []
        first = 0
        for stage in whole.stages:
            mine = self.rows[(self.rows >= first) & (self.rows < first + stage.ndms)] - first
            if mine.size:
                stages.append(replace(stage, dms=stage.dms[mine]))
            first += stage.ndms
        return replace(whole, stages=tuple(stages))


class SeriesSearch:
    """All searches that are switched on, for series of one length; safe to share between threads.

    Parameters
    ----------
    nsamps : int
    tsamp : float
        [s]
    config : Config
    trials : Trials
    memory : int
        Bytes that the acceleration search of one thread may take.
    gaps : sequence of (int, int)
        First sample of what is missing in the series, and the one after the last.
    shares : mapping of str to float, optional
        By the name of a search, by how much its trials are to be multiplied for those of all parts.
    times : int
        How often a series is halved for the searches that are `HALVED`.

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
        trials: Trials,
        memory: int,
        gaps: "tuple[tuple[int, int], ...]" = (),
        shares: Mapping[str, float] | None = None,
        times: int = 0,
    ) -> None:
        self.nsamps, self.tsamp, self.times = nsamps, tsamp, times
        fft, coherent, accel, ffa = ((shares or {}).get(name, 1.0) for name in ("fft", "coherent", "accel", "ffa"))
        octaves = tuple((band, accel * ndms) for band, ndms in trials.octaves)
        more: dict[str, dict[str, Any]] = {
            "fft": {"ntrials_dm": fft * trials.periodic},
            "coherent": {
                "ntrials_dm": coherent * trials.periodic,
                "ntrials_slow": coherent * trials.slow,
                "ntrials_slowest": coherent * trials.slowest,
            },
            "accel": {"ntrials_dm": accel * trials.periodic, "memory": memory, "octaves": octaves},
            "ffa": {"ntrials_dm": ffa * trials.folding, "gaps": gaps},
        }
        from pulsar.searches.accel import AccelSearch
        from pulsar.searches.coherent import CoherentSearch
        from pulsar.searches.fft import FFTSearch

        self.searches: list[Search[Any]] = []
        for make, section in enabled_searches(config, self.nsamps * self.tsamp):
            if make in (CoherentSearch, AccelSearch) and self.searches and isinstance(self.searches[0], FFTSearch):
                # Of the spectra, which come first.
                more[make.name]["spectra"] = self.searches[0]
            fewer = times if make.name in HALVED else 0
            self.searches.append(make(nsamps >> fewer, tsamp * 2.0**fewer, section, **more.get(make.name, {})))
        self._within: dict[Band, Search[Any]] = {}

    def within(self, band: Band) -> "Search[Any]":
        """The acceleration search of a band of frequencies."""
        from pulsar.searches.accel import AccelSearch

        found = self._within.get(band)
        if found is None:
            whole = next(search for search in self.searches if isinstance(search, AccelSearch))
            found = self._within.setdefault(band, whole if band == whole.band else whole.within(band))
        return found

    def search(
        self,
        series: NDArray[Any],
        dm: float,
        dm_index: int = 0,
        *,
        folding: bool = True,
        slow: bool = True,
        slowest: bool = True,
        periodic: bool = True,
        accel: "Band | None" = EVERYTHING,
        birdies: Sequence[tuple[float, float]] = (),
        steady: Sequence[tuple[float, float]] = (),
    ) -> Found:
        """Everything found in one series.

        Parameters
        ----------
        series : ndarray of int16 or float32, shape (nsamps,)
        dm : float
            [pc cm^-3]
        dm_index : int
            Row of the DM plan.
        folding, slow, slowest : bool
            Whether this DM is one of those of :class:`FewDMs`.
        periodic : bool
            Whether it is searched for periods at all, and not for single pulses alone.
        accel : Band, optional
            Frequencies that are searched with a drift at this DM; None: none.
        birdies : sequence of (float, float)
            Frequencies and full widths [Hz] of periodic interference.
        steady : sequence of (float, float)
            The same of what may be a pulsar: taken out for the search for single pulses only.
        """
        detections: list[NDArray[Any]] = []
        events: list[NDArray[Any]] = []
        from pulsar.searches.coherent import CoherentSearch

        # The same array for all of them: spectra are made once.
        half = halved(series, self.times) if periodic else series
        for search in self.searches:
            if isinstance(search, CoherentSearch):
                if periodic:
                    detections.append(search.search(half, dm, dm_index, birdies, slow=slow, slowest=slowest))
            elif search.columns is EVENT_COLUMNS:
                events.append(search.search(series, dm, dm_index, [*birdies, *steady]))
            elif periodic and search.name == "accel":
                if accel is not None:
                    detections.append(self.within(accel).search(half, dm, dm_index, birdies))
            elif periodic and (folding or search.name != "ffa"):
                detections.append(search.search(half if search.name in HALVED else series, dm, dm_index, birdies))
        return Found(joined(DETECTION_COLUMNS, detections), joined(EVENT_COLUMNS, events))


def pulse_trials(nsamps: int, tsamp: float, config: Config) -> float:
    """Independent trials of the search for single pulses in one series."""
    from pulsar.searches.single_pulse import SinglePulseSearch

    return SinglePulseSearch.estimate(nsamps, tsamp, config.single_pulse).trials


#: Bins of 1/T that a line takes beside its own width: its main lobe, and those added on either side of it.
LINE_BINS = 4.0


class PartsSearch:
    """All searches for periods of the parts of series of one length; safe to share between threads.

    Parameters
    ----------
    nsamps : int
        Of the whole series.
    tsamp : float
        [s]
    config : Config
    trials : mapping of int to Trials
        For every number of parts.
    memory : int
        Bytes that the acceleration searches of one thread may take, that of the whole among them.
    gaps : sequence of (int, int)
        First sample of what is missing in the whole series, and the one after the last.
    times : int
        How often a part is halved for the searches that are `HALVED`.
    """

    def __init__(
        self,
        nsamps: int,
        tsamp: float,
        config: Config,
        *,
        trials: Mapping[int, Trials],
        memory: int,
        gaps: "tuple[tuple[int, int], ...]" = (),
        times: int = 0,
    ) -> None:
        counts = config.search.parts
        self.nsamps, self.tsamp = nsamps, tsamp
        shares, rooms = trial_shares(config, nsamps, tsamp), part_rooms(counts, memory)
        periodic = periodic_only(config)
        #: Each part, its samples, and what searches them: the same for parts without gaps.
        self.parts: list[tuple[Part, slice, SeriesSearch]] = []
        made: dict[tuple[int, tuple[tuple[int, int], ...]], SeriesSearch] = {}
        for part in parts_of_counts(counts):
            first, each = part.samples(nsamps)
            clipped = ((max(low - first, 0), min(high - first, each)) for low, high in gaps)
            own = tuple((low, high) for low, high in clipped if low < high)
            if (part.count, own) not in made:
                made[part.count, own] = SeriesSearch(
                    each, tsamp, periodic, trials=trials[part.count], memory=rooms[part.count], gaps=own,
                    shares=shares[part.count], times=times,
                )  # fmt: skip
            self.parts.append((part, slice(first, first + each), made[part.count, own]))

    def search(
        self,
        series: NDArray[Any],
        dm: float,
        dm_index: int = 0,
        *,
        few: "Mapping[int, tuple[bool, bool, bool]] | None" = None,
        accel: "Band | None" = EVERYTHING,
        birdies: Sequence[tuple[float, float]] = (),
    ) -> NDArray[Any]:
        """Detections in all parts of one series; frequencies are those at the middle of each part.

        Parameters
        ----------
        series : ndarray of int16 or float32, shape (nsamps,)
        dm : float
            [pc cm^-3]
        dm_index : int
            Row of the DM plan.
        few : mapping of int to (bool, bool, bool), optional
            For every number of parts, whether this DM is one of those of :class:`FewDMs`; default: it is.
        accel : Band, optional
            Frequencies that are searched with a drift at this DM; None: none.
        birdies : sequence of (float, float)
            Frequencies and full widths [Hz] of periodic interference in the whole series: a line is wider in a part.
        """
        out: list[NDArray[Any]] = []
        tobs = self.nsamps * self.tsamp
        for part, samples, search in self.parts:
            folding, slow, slowest = (True, True, True) if few is None else few[part.count]
            more = LINE_BINS * (part.count - 1) / tobs
            found = search.search(
                series[samples],
                dm,
                dm_index,
                folding=folding,
                slow=slow,
                slowest=slowest,
                accel=accel,
                birdies=[(freq, width + more) for freq, width in birdies],
            ).detections
            found["part"] = part.label
            out.append(found)
        return joined(DETECTION_COLUMNS, out)


def search_series(
    series: NDArray[Any],
    tsamp: float,
    dm: float,
    config: Config,
    *,
    memory: int,
    gaps: tuple[tuple[int, int], ...] = (),
    birdies: Sequence[tuple[float, float]] = (),
    steady: Sequence[tuple[float, float]] = (),
) -> Found:
    """Everything found in the only series of a run, as a whole and in parts.

    Parameters
    ----------
    series : ndarray of int16 or float32, shape (nsamps,)
    tsamp : float
        [s]
    dm : float
        [pc cm^-3]
    config : Config
    memory : int
        Bytes that the acceleration searches may take.
    gaps : sequence of (int, int)
        First sample of what is missing, and the one after the last.
    birdies, steady
        As in :meth:`SeriesSearch.search`.
    """
    counts, n = config.search.parts, len(series)
    whole = SeriesSearch(
        n, tsamp, config, trials=Trials(), memory=part_rooms(counts, memory).get(1, 0), gaps=gaps,
        shares=trial_shares(config, n, tsamp).get(1),
    )  # fmt: skip
    found = whole.search(series, dm, periodic=1 in counts, birdies=birdies, steady=steady)
    if counts == (1,):
        return found
    trials = dict.fromkeys(counts, Trials())
    parts = PartsSearch(n, tsamp, config, trials=trials, memory=memory, gaps=gaps)
    return Found(np.concatenate([found.detections, parts.search(series, dm, birdies=birdies)]), found.events)


class BatchSearch:
    """Searches batches of series on several threads; the result does not depend on how many.

    Parameters
    ----------
    plan : DMPlan
        All trials of the run, for which significances are corrected.
    config : Config
    threads : int
    memory : int
        Bytes that the acceleration search of all threads may take.
    gaps : sequence of (int, int)
        First sample of what is missing, and the one after the last, in samples of the file.
    """

    def __init__(
        self,
        plan: "DMPlan",
        config: Config,
        *,
        threads: int,
        memory: int,
        gaps: "tuple[tuple[int, int], ...]" = (),
    ) -> None:
        self.ndms, self.config = plan.ndms, config
        self.threads = max(1, threads)
        self.memory = memory
        self.gaps = gaps
        self.few = few_dms(plan, config)
        self.halvings = halvings(plan, config)
        self.independent = [independent_dms(stage, plan.freqs) for stage in plan.stages]
        self._periodic = independent_periodic(plan, self.halvings) if self.halvings.any() else sum(self.independent)
        self.octaves = everything(plan.ndms)
        if config.accel.enabled:
            self.octaves = plan_octaves(plan, config.accel, self.halvings)
        self.trials = self._trials(self.few)
        #: The same in parts, by their number.
        self.few_in_parts = {n: few_dms(plan, config, n) for n in config.search.parts if n > 1}
        #: Frequencies and full widths [Hz] that are left out of spectra.
        self.birdies: Sequence[tuple[float, float]] = ()
        self._plan = plan
        #: Of one length of series, by how often these are halved.
        self._searches: dict[int, SeriesSearch] = {}
        self._parts: dict[int, PartsSearch] = {}

    def _trials(self, few: FewDMs) -> Trials:
        folding, slow, slowest = (max(FOLDING_SHARE * float(np.count_nonzero(rows)), 1.0) for rows in few)
        return Trials(self._periodic, folding, slow, slowest, self.octaves.trials)

    def prepared(self, stage: "DMStage", times: int = 0) -> SeriesSearch:
        """The searches of series of a stage that are halved so often."""
        if any((one.nsamps, one.tsamp) != (stage.nsamps, stage.tsamp) for one in self._searches.values()):
            self._searches.clear()
        if times not in self._searches:
            self._searches[times] = SeriesSearch(
                stage.nsamps,
                stage.tsamp,
                self.config,
                trials=self.trials,
                memory=part_rooms(self.config.search.parts, self.memory // self.threads).get(1, 0),
                gaps=self._gaps(stage),
                shares=trial_shares(self.config, stage.nsamps, stage.tsamp).get(1),
                times=times,
            )
        return self._searches[times]

    def prepared_parts(self, stage: "DMStage", times: int = 0) -> PartsSearch | None:
        """The searches of parts of series of a stage; None where only the whole is searched."""
        if not self.few_in_parts:
            return None
        if any((one.nsamps, one.tsamp) != (stage.nsamps, stage.tsamp) for one in self._parts.values()):
            self._parts.clear()
        if times not in self._parts:
            self._parts[times] = PartsSearch(
                stage.nsamps,
                stage.tsamp,
                self.config,
                trials={count: self._trials(few) for count, few in self.few_in_parts.items()},
                memory=self.memory // self.threads,
                gaps=self._gaps(stage),
                times=times,
            )
        return self._parts[times]

    def _gaps(self, stage: "DMStage") -> tuple[tuple[int, int], ...]:
        """Gaps in samples of a stage."""
        return tuple((first // stage.downsample, -(-end // stage.downsample)) for first, end in self.gaps)

    def learn(self, batch: "Batch") -> "list[Birdie]":
        """Undispersed lines in the series at DM 0, if that is in the batch, and those of a noise diode."""
        return learn_lines(batch, self._plan, self.config)

    def pulse_trials(self) -> float:
        """Independent trials of the search for single pulses in the whole run."""
        return sum(
            pulse_trials(stage.nsamps, stage.tsamp, self.config) * independent
            for stage, independent in zip(self._plan.stages, self.independent, strict=True)
        )

    def search(
        self, batch: "Batch", progress: Callable[[float], None] | None = None, some_of: "SomeTrials | None" = None
    ) -> Found:
        """Detections and events in all series of a batch, `dm_index` ascending.

        Parameters
        ----------
        batch : Batch
        progress : callable, optional
            Called with the number of series newly searched.
        some_of : SomeTrials, optional
            The batch is of a plan of these alone.
        """
        found: dict[int, Found] = {}

        def done(i: int, of_row: Found) -> None:
            found[i] = of_row
            if progress is not None:
                progress(1)

        self.each(batch, range(batch.stage.ndms), done, some_of)
        return Found.join([found[i] for i in range(batch.stage.ndms)])

    def each(
        self,
        batch: "Batch",
        trials: Sequence[int],
        done: "Callable[[int, Found], None]",
        some_of: "SomeTrials | None" = None,
    ) -> None:
        """Search some trials of a batch, and hand on what is in each when it is done.

        Parameters
        ----------
        batch : Batch
        trials : sequence of int
            Which of its series.
        done : callable
            Called by several threads with a trial and what was found in it.
        some_of : SomeTrials, optional
            As in :meth:`search`.
        """
        stage = batch.stage
        whole = 1 in self.config.search.parts
        rows = np.arange(batch.first, batch.first + stage.ndms)
        rows = rows if some_of is None else some_of.rows[rows]
        searches = {
            t: (self.prepared(stage, t), self.prepared_parts(stage, t)) for t in set(self.halvings[rows].tolist())
        }

        def one(i: int) -> None:
            periodic = some_of is None or bool(some_of.periodic[batch.first + i])
            index = int(rows[i])
            search, parts = searches[int(self.halvings[index])]
            row, dm, band = batch.row(i), float(stage.dms[i]), self.octaves.band(index)
            folding, slow, slowest = self.few.at(index)
            found = search.search(
                row,
                dm,
                index,
                folding=folding,
                slow=slow,
                slowest=slowest,
                periodic=periodic and whole,
                accel=band,
                birdies=self.birdies,
            )
            if parts is not None and periodic:
                wide = {n: few.at(index) for n, few in self.few_in_parts.items()}
                of_parts = parts.search(row, dm, index, few=wide, accel=band, birdies=self.birdies)
                found = Found(joined(DETECTION_COLUMNS, [found.detections, of_parts]), found.events)
            done(i, found)

        def some(left: Iterator[int]) -> None:
            for i in left:
                one(i)

        with ThreadPoolExecutor(self.threads, thread_name_prefix="search") as pool:
            share_out(pool, self.threads, trials, some)
