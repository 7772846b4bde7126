"""The stage of a run that goes over all dedispersed series, shared out over threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.constants import KDM
from pulsar.data.candidate import DETECTION_COLUMNS, EVENT_COLUMNS, dtype_of
from pulsar.errors import ConfigError
from pulsar.pipeline.birdies import learn_lines
from pulsar.pipeline.independent import independent_dms
from pulsar.pipeline.octaves import everything, plan_octaves
from pulsar.searches.response import EVERYTHING, Band

if TYPE_CHECKING:
    from pulsar.cleaning.birdies import Birdie
    from pulsar.dedisp.batches import Batch
    from pulsar.dedisp.plan import DMPlan, DMStage
    from pulsar.searches.search import Search

#: Samples that one task searches, at least.
_TASK_POINTS = 1 << 19
#: Independent ones among the DMs that are searched for long periods: most pulses are wider than the narrowest, for
#: which they are spaced (benchmarks/false_alarms.py: 24 of 54 expected false alarms when all count, 82 of 108 with this
#: factor on other seeds).
FOLDING_SHARE = 0.5
#: Part of the memory that the acceleration search of all threads may take.
ACCEL_PART = 0.5


def folding_dms(dms: NDArray[np.float64], freqs: NDArray[np.float64], width: float) -> NDArray[np.bool_]:
    """Which trial DMs the search for long periods takes: its pulses are wide, so that the others would add nothing.

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
    """Which trial DMs are searched for wide pulses, arrays of bool.

    Attributes
    ----------
    folding : ndarray
        By the search for long periods.
    slow : ndarray
        By the coherent search for frequencies below its SLOW.
    """

    folding: NDArray[np.bool_]
    slow: NDArray[np.bool_]


def few_dms(plan: "DMPlan", config: Config) -> FewDMs:
    """Which trial DMs are searched for wide pulses; see `folding_dms`."""
    from pulsar.searches.coherent import SLOW_WIDTH
    from pulsar.searches.ffa import SHORTEST, beside

    ffa = beside(config.ffa, config.coherent, plan.nsamps * plan.tsamp)
    widths = (ffa.p_min or SHORTEST) * ffa.duty_min, SLOW_WIDTH
    return FewDMs(*(folding_dms(plan.dms, plan.freqs, width) for width in widths))


@dataclass(frozen=True)
class Trials:
    """Independent DMs of a run, for which the significances of each search are corrected.

    Attributes
    ----------
    periodic : float
        Of all.
    folding, slow : float
        Of those of :class:`FewDMs`.
    octaves : tuple of (Band, float)
        Of the acceleration search, by bands of frequency; empty: as `periodic`.
    """

    periodic: float = 1.0
    folding: float = 1.0
    slow: float = 1.0
    octaves: tuple[tuple[Band, float], ...] = ()


@dataclass(frozen=True)
class Found:
    """What searches have found.

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
            np.concatenate([np.empty(0, dtype=dtype_of(DETECTION_COLUMNS)), *(p.detections for p in parts)]),
            np.concatenate([np.empty(0, dtype=dtype_of(EVENT_COLUMNS)), *(p.events for p in parts)]),
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
    ) -> None:
        self.nsamps, self.tsamp = nsamps, tsamp
        more: dict[str, dict[str, Any]] = {
            "fft": {"ntrials_dm": trials.periodic},
            "coherent": {"ntrials_dm": trials.periodic, "ntrials_slow": trials.slow},
            "accel": {"ntrials_dm": trials.periodic, "memory": memory, "octaves": trials.octaves},
            "ffa": {"ntrials_dm": trials.folding, "gaps": gaps},
        }
        from pulsar.searches.accel import AccelSearch
        from pulsar.searches.coherent import CoherentSearch
        from pulsar.searches.fft import FFTSearch

        self.searches: list[Search[Any]] = []
        for make, section in enabled_searches(config, self.nsamps * self.tsamp):
            if make in (CoherentSearch, AccelSearch) and self.searches and isinstance(self.searches[0], FFTSearch):
                # Of the spectra, which come first.
                more[make.name]["spectra"] = self.searches[0]
            self.searches.append(make(nsamps, tsamp, section, **more.get(make.name, {})))
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
        folding, slow : bool
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
        detections = [np.empty(0, dtype=dtype_of(DETECTION_COLUMNS))]
        events = [np.empty(0, dtype=dtype_of(EVENT_COLUMNS))]
        from pulsar.searches.coherent import CoherentSearch

        for search in self.searches:
            if isinstance(search, CoherentSearch):
                if periodic:
                    detections.append(search.search(series, dm, dm_index, birdies, slow=slow))
            elif search.columns is EVENT_COLUMNS:
                events.append(search.search(series, dm, dm_index, [*birdies, *steady]))
            elif periodic and search.name == "accel":
                if accel is not None:
                    detections.append(self.within(accel).search(series, dm, dm_index, birdies))
            elif periodic and (folding or search.name != "ffa"):
                detections.append(search.search(series, dm, dm_index, birdies))
        return Found(np.concatenate(detections), np.concatenate(events))


def enabled_searches(config: Config, tobs: float) -> "list[tuple[type[Search[Any]], Any]]":
    """The searches that are switched on, in the order in which a series goes through them, and their settings.

    Parameters
    ----------
    config : Config
    tobs : float
        Length of the data [s].

    Raises
    ------
    ConfigError
        None is switched on.
    """
    from pulsar.searches.accel import AccelSearch
    from pulsar.searches.coherent import CoherentSearch
    from pulsar.searches.ffa import FFASearch, beside
    from pulsar.searches.fft import FFTSearch
    from pulsar.searches.single_pulse import SinglePulseSearch

    every: list[type[Search[Any]]] = [FFTSearch, CoherentSearch, AccelSearch, FFASearch, SinglePulseSearch]
    config = config.model_copy(update={"ffa": beside(config.ffa, config.coherent, tobs)})
    chosen = [(make, section) for make in every if (section := getattr(config, make.name)).enabled]
    if not chosen:
        raise ConfigError(
            "no search is switched on: set fft.enabled, coherent.enabled, ffa.enabled, single_pulse.enabled or "
            "accel.zmax"
        )
    return chosen


def pulse_trials(nsamps: int, tsamp: float, config: Config) -> float:
    """Independent trials of the search for single pulses in one series."""
    from pulsar.searches.single_pulse import SinglePulseSearch

    return SinglePulseSearch.estimate(nsamps, tsamp, config.single_pulse).trials


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
        self.config = config
        self.threads = max(1, threads)
        self.memory = memory
        self.gaps = gaps
        self.few = few_dms(plan, config)
        self.independent = [independent_dms(stage, plan.freqs) for stage in plan.stages]
        folding, slow = (max(FOLDING_SHARE * float(np.count_nonzero(rows)), 1.0) for rows in self.few)
        self.octaves = plan_octaves(plan, config.accel) if config.accel.enabled else everything(plan.ndms)
        self.trials = Trials(sum(self.independent), folding, slow, self.octaves.trials)
        #: Frequencies and full widths [Hz] that are left out of spectra.
        self.birdies: Sequence[tuple[float, float]] = ()
        self._plan = plan
        self._search: SeriesSearch | None = None

    def prepared(self, stage: "DMStage") -> SeriesSearch:
        """The searches of series of a stage."""
        search = self._search
        if search is None or (search.nsamps, search.tsamp) != (stage.nsamps, stage.tsamp):
            gaps = tuple((first // stage.downsample, -(-end // stage.downsample)) for first, end in self.gaps)
            search = SeriesSearch(
                stage.nsamps,
                stage.tsamp,
                self.config,
                trials=self.trials,
                memory=self.memory // self.threads,
                gaps=gaps,
            )
            self._search = search
        return search

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
        """What is in all series of a batch, `dm_index` ascending.

        Parameters
        ----------
        batch : Batch
        progress : callable, optional
            Called with the number of series newly searched.
        some_of : SomeTrials, optional
            The batch is of a plan of these alone.
        """
        stage = batch.stage
        search = self.prepared(stage)

        def some(first: int, last: int) -> list[Found]:
            found = []
            for i in range(first, last):
                index = batch.first + i
                periodic = some_of is None or bool(some_of.periodic[index])
                index = index if some_of is None else int(some_of.rows[index])
                one = search.search(
                    batch.row(i),
                    float(stage.dms[i]),
                    index,
                    folding=bool(self.few.folding[index]),
                    slow=bool(self.few.slow[index]),
                    periodic=periodic,
                    accel=self.octaves.band(index),
                    birdies=self.birdies,
                )
                found.append(one)
                if progress is not None:
                    progress(1)
            return found

        # Short series several at a time: handing them out costs as much as searching them.
        each = max(1, min(_TASK_POINTS // stage.nsamps, stage.ndms // (4 * self.threads)))
        starts = range(0, stage.ndms, each)
        with ThreadPoolExecutor(self.threads, thread_name_prefix="search") as pool:
            parts = pool.map(some, starts, [min(start + each, stage.ndms) for start in starts])
            return Found.join([one for part in parts for one in part])
