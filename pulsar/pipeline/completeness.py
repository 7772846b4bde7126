"""How complete a run is: signals are added to its cleaned samples, and searched for and judged as everything else.

The trial DMs around them are dedispersed and searched once more, with the run's own thresholds, lines and mask. What
the run has found at all other DMs, and its folds, stand beside; so the list on which a signal must appear is the one
that the run would have had with it on the sky. The run itself is not touched.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from pulsar.cleaning.birdies import pairs
from pulsar.cleaning.source import MaskedSource
from pulsar.config.model import Config, FoldConfig
from pulsar.constants import KDM
from pulsar.data.candidate import empty_table
from pulsar.data.fold import FoldCube, FoldParams
from pulsar.data.header import WHOLE, Header, Part, band_delay
from pulsar.data.injected import INJECTED_COLUMNS, ROW_COLUMNS, in_words
from pulsar.data.observation import gaps_of
from pulsar.data.source import SampleSource
from pulsar.dedisp.batches import choose_route, dedispersed
from pulsar.dedisp.plan import DMPlan
from pulsar.dedisp.subbands import Subbands
from pulsar.pipeline.checkpoint import Checkpoint, Pace
from pulsar.pipeline.detect import Detected
from pulsar.pipeline.follow import RankedLists, follow_up, group_detections, ranked
from pulsar.pipeline.injections import (
    TOGETHER,
    InjectionPlaces,
    Place,
    groups_of,
    place_dms,
    region,
    smeared_duty,
    subbands_at,
    telescope_of,
)
from pulsar.pipeline.plan import RunPlan
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.pulses import band_events, cutouts_of, find_pulses, judge_shapes, place_of
from pulsar.pipeline.room import Means
from pulsar.pipeline.samples import Samples
from pulsar.pipeline.stages import BatchSearch, SearchResult
from pulsar.sky.observatory import flux_of
from pulsar.sources.candidate import Candidate
from pulsar.synthesis.injection import InjectedSource, Injector
from pulsar.synthesis.model import Burst, Pulsar
from pulsar.synthesis.population import smeared
from pulsar_kernels.arrays import Array, Bools, Floats, Ints


@dataclass(frozen=True)
class Completeness:
    """Signals that were injected, and the fate of each."""

    injected: Array  # fields of INJECTED_COLUMNS
    rows: Array  # fields of ROW_COLUMNS: what was listed at the DMs of the injected signals


def measure(
    samples: Samples,
    plan: RunPlan,
    detected: Detected,
    candidates: Sequence[Candidate],
    judged: RankedLists,
    config: Config,
    means: Means,
    checkpoint: Checkpoint,
    subbands: Sequence[Subbands] = (),
) -> Completeness | None:
    """Inject signals group by group, and tell what the run makes of them.

    Parameters
    ----------
    detected : Detected
        Of the first search; nothing of it is changed.
    candidates : sequence of Candidate
        Of the first search.
    judged : RankedLists
        The list of the run.
    checkpoint : Checkpoint
        Has the lists that an interrupted run has judged, or is given them.
    subbands : sequence of Subbands
        Of the first places.

    Returns
    -------
    Completeness or None
        None where nothing is to be injected.
    """
    amount = plan.injections
    if amount is None or samples.source is None or plan.dm is None:
        return None
    ground = _Ground(samples, samples.source, plan, plan.dm, detected, candidates, judged, config, means)
    progress = means.progress
    dms = place_dms(samples.header, plan.dm, config, amount.places)
    most = max(amount.at_once, TOGETHER)
    ready = dict(enumerate(subbands))
    kept = checkpoint.load("completeness")
    ndone, parts = (0, []) if kept is None else (int(kept["done"]), [Completeness(kept["injected"], kept["rows"])])
    pace = Pace()
    with progress.stage("completeness", amount.places, "DMs with injected signals") as tick:
        groups = groups_of(config) if config.completeness.population else [[]] * len(dms)
        drawn = ground.places()
        places = [drawn.draw(number, dm, groups[number]) for number, dm in enumerate(dms)]
        for where in (where for place in places for where in place.left_out):
            progress.warning(f"{where}: left out: the sky shows something there, or no time has data")
        lists = _lists(places)
        if ndone:
            progress.message(f"{ndone} of {len(lists)} lists with injected signals: taken from the interrupted run")
            tick(sum(map(len, lists[:ndone])))
            ready = {n: bands for n, bands in ready.items() if n not in {p.number for o in lists[:ndone] for p in o}}
        for k, together in list(enumerate(lists))[ndone:]:
            if any(place.number not in ready for place in together):
                # Of as many of the next as fit, in one pass over the samples.
                some = [place for later in lists[k:] for place in later][:most]
                bands_made = subbands_at(samples.source, [place.dm for place in some], amount, config, means)
                ready = {place.number: bands for place, bands in zip(some, bands_made, strict=True)}
            waiting = [bands for bands in ready.values() if not bands.is_whole]
            if waiting:
                waiting[0].fill(waiting[1:], means.threads)
            chosen = []
            for place in together:
                chosen.append(_Signals(ground, place, ready[place.number]))
                tick(0.5)
            parts.append(_judged(ground, chosen))
            tick(0.5 * len(chosen))
            if pace.due() and k + 1 < len(lists):
                with pace:
                    part = _joined(parts)
                    checkpoint.save("completeness", done=np.array(k + 1), injected=part.injected, rows=part.rows)
    whole = _joined(parts)
    for line in in_words(whole.injected, whole.rows):
        progress.message(line)
    return whole


def _joined(parts: Sequence[Completeness]) -> Completeness:
    """All of some parts, in their order."""
    return Completeness(np.concatenate([p.injected for p in parts]), np.concatenate([p.rows for p in parts]))


class _Ground:
    """The run to which signals are added, and what it has made."""

    def __init__(
        self,
        samples: Samples,
        source: MaskedSource,
        plan: RunPlan,
        trials: DMPlan,
        detected: Detected,
        candidates: Sequence[Candidate],
        judged: RankedLists,
        config: Config,
        means: Means,
    ) -> None:
        self.samples, self.source, self.trials, self.detected = samples, source, trials, detected
        #: Single pulses of the run, judged, and what was cut out of them.
        self.pulses, self.config = judged.pulses, config
        places = {str(row["id"]): place_of(row) for row in judged.pulses}
        self.cutouts = {places[ident]: cutout for ident, cutout in judged.cutouts}
        self.means = replace(means, progress=Progress("quiet", level="error"))
        self.memory = plan.memory - plan.search_memory
        #: Delay over the band for a DM of 1 [s].
        self.across = band_delay(source.freqs)
        gaps = gaps_of(samples.obs)
        self.finder = BatchSearch(trials, config, threads=means.threads, memory=plan.accel_memory, gaps=gaps)
        self.folds = {one.uid: one.fold for one in candidates if one.fold is not None and not one.refolded}
        self.sky = {candidate.uid for candidate in candidates if not candidate.parent}
        self.injector = Injector(source)
        #: Without those of repeating pulses, which are looked for anew.
        self.detections = detected.detections[detected.detections["kind"] != "pulses"]

    def places(self) -> InjectionPlaces:
        """Where signals may be injected."""
        few = [rows for octaves in self.finder.bands[1].values() for rows in octaves.nested()]
        baseline = SearchResult(self.detections, self.detected.events)
        return InjectionPlaces(self.samples.header, self.trials, self.config, baseline, few, self.is_live, self.snr_of)

    def pulses_of(self, events: Array) -> tuple[Array, Array]:
        """Single pulses, and the periods of repeating ones, of events in place of those of the run."""
        searched = [band_events(events, self.finder), *self.detected.bands]
        return find_pulses(searched, self.samples, self.config, self.means.progress)

    def is_live(self, burst: Burst) -> bool:
        """True if a burst comes where there are data."""
        # A burst comes where at least this part of the channels is live.
        return self.injector.live_share(burst) >= 0.5

    def snr_of(self, pulsar: Pulsar, flux: float) -> float:
        """S/N of a pulsar of a mean flux density [mJy] in what is not masked."""
        header = self.samples.header
        width = smeared_duty(header, pulsar.period, pulsar.duty, pulsar.dm)
        return flux / flux_of(1.0, width, header, self.samples.bandwidth, telescope_of(header, self.config.telescope))

    def among(self, dm: float, rows: Ints) -> bool:
        """True if the nearest trial DM is among some."""
        return bool(np.isin(int(np.argmin(np.abs(self.trials.dms - dm))), rows))


def _lists(places: Sequence[Place]) -> list[list[Place]]:
    """Neighbours in the order of places that are judged together: none of their trial DMs is another's."""
    lists: list[list[Place]] = []
    rows_used: set[int] = set()
    for place in places:
        rows = set(place.trials.rows.tolist())
        if lists and len(lists[-1]) < TOGETHER and not rows & rows_used:
            lists[-1].append(place)
            rows_used |= rows
        else:
            lists.append([place])
            rows_used = rows
    return lists


class _Signals:
    """The signals of one place, in subbands of the samples of a run."""

    def __init__(self, ground: _Ground, place: Place, bands: Subbands) -> None:
        self.ground, self.place = ground, place
        #: Trial DMs of the place, and those that are searched for periods.
        self.rows, self.periodic = place.trials.rows, place.trials.rows[place.trials.periodic]
        seed = int(np.random.default_rng([ground.config.completeness.seed, place.number, 1]).integers(2**62))
        injector = ground.injector
        self.bands = injector.add_to(bands, injector.steps(place.pulsars, place.bursts, seed))
        #: What is cut out shows nothing of pulsars, whose turns are weak.
        self.bursts = InjectedSource(injector, injector.steps((), place.bursts, seed))
        #: What is in the trial DMs of the place now.
        self.found = self._searched() if self.rows.size else SearchResult.join([])

    def _searched(self) -> SearchResult:
        ground, some, threads = self.ground, self.place.trials, self.ground.means.threads
        plan = replace(some.plan(ground.trials), freqs=self.bands.freqs)
        route, lines = choose_route(plan, threads=threads, memory=ground.memory), pairs(ground.detected.birdies)
        with closing(dedispersed(self.bands, plan, route, threads=threads, scratch=ground.means.scratch)) as batches:
            return SearchResult.join([ground.finder.search(batch, lines, some) for batch in batches])

    def burst_list(self, burst: "Burst") -> Array:
        """The list of single pulses with a burst: one among those of the sky, for several together are a storm."""
        ground, across, config = self.ground, self.ground.across, self.ground.config
        old, new = ground.detected.events, self.found.events
        events = _by_dm([old[~region(burst, old, across)], new[region(burst, new, across)]])
        pulses, _ = ground.pulses_of(events)
        cutouts = cutouts_of(pulses, self.bursts, config.single_pulse.cutouts, ground.means.progress, ground.cutouts)
        judge_shapes(pulses, dict(cutouts), ground.detected.dms)
        return pulses

    def others(self) -> Array:
        """Events that are not of its bursts."""
        events, across = self.found.events, self.ground.across
        away = np.ones(events.size, dtype=np.bool_)
        for burst in self.place.bursts:
            away &= ~region(burst, events, across)
        return events[away]


@dataclass(frozen=True, eq=False)
class _Injected(Samples):
    """Samples of which what is near signals is folded from the subbands that hold them."""

    dms: Floats = field(default_factory=lambda: np.zeros(0))  # trial DMs [pc cm^-3]
    #: Trial DMs near each place, ascending, and its subbands: of a candidate there they tell as much as all samples.
    places: Sequence[tuple[Ints, SampleSource]] = ()

    def cubes(
        self, params: Sequence[FoldParams], config: FoldConfig, means: Means, part: Part = WHOLE
    ) -> list[FoldCube]:
        """Fold from the subbands of a place near by, or from all samples, where nothing is injected."""
        sources = [self._near_by(candidate.dm) for candidate in params]
        cubes: dict[int, FoldCube] = {}
        for source in dict.fromkeys(sources):
            places = [i for i, of_candidate in enumerate(sources) if of_candidate is source]
            folded = self._folded(source, [params[i] for i in places], config, means, part)
            cubes |= dict(zip(places, folded, strict=True))
        return [cubes[i] for i in range(len(params))]

    def _near_by(self, dm: float) -> SampleSource:
        nearest = int(np.argmin(np.abs(self.dms - dm)))
        near = (bands for rows, bands in self.places if rows.size and rows[0] <= nearest <= rows[-1])
        return next(near, self.source or self.places[0][1])


def _judged(ground: _Ground, chosen: Sequence[_Signals]) -> Completeness:
    """The list of a run with the signals of some places on the sky: grouped, pursued and judged, and their fates."""
    config, means, events = ground.config, ground.means, ground.detected.events
    rows = np.concatenate([signals.rows for signals in chosen])
    periodic = np.concatenate([signals.periodic for signals in chosen])
    events = _by_dm([events[~np.isin(events["dm_index"], rows)], *(signals.others() for signals in chosen)])
    pulses, repeating = ground.pulses_of(events)
    kept = ground.detections[~np.isin(ground.detections["dm_index"], periodic)]
    detections = _by_dm([kept, *(signals.found.detections for signals in chosen)])
    detected = replace(
        ground.detected, detections=np.concatenate([detections, repeating]), events=events, pulses=pulses
    )
    near = [(signals.periodic, signals.bands) for signals in chosen]
    samples = _Injected(ground.samples.obs, ground.source, dms=ground.trials.dms, places=near)
    groups = group_detections(samples.header, detected, config, means.progress)
    candidates = follow_up(samples, detected, groups, config, means, known=ground.folds)
    judged = ranked(samples, detected, candidates, config, means.progress, ground.cutouts, anew=False)
    return _fates(ground, chosen, detected, judged.candidates)


def _fates(
    ground: _Ground, chosen: Sequence[_Signals], detected: Detected, listed: Sequence[Candidate]
) -> Completeness:
    """Fates of the signals, and the owners of rows at their DMs."""
    fates = Fates(ground.samples.header, ground.trials.dms, ground.source.freqs)
    tables: list[Array] = [empty_table(INJECTED_COLUMNS, 0)]
    rows: list[Array] = [empty_table(ROW_COLUMNS, 0)]
    owners: dict[str, str] = {}
    for signals in chosen:
        number = signals.place.number
        for pulsar in signals.place.pulsars:
            tables.append(fates.pulsar(pulsar, number, listed, detected.detections, owners))
        for burst in signals.place.bursts:
            pulses = signals.burst_list(burst)
            row, of_burst = fates.burst(burst, number, pulses)
            tables.append(row)
            near = region(burst, pulses, ground.across) | of_burst
            rows += [
                listed_row("burst", number, pulses[k], "injected" if of_burst[k] else "other")
                for k in np.flatnonzero(near)
            ]
    sources = [candidate for candidate in listed if not candidate.parent and candidate.fold is not None]
    for signals in chosen:
        number = signals.place.number
        rows += [
            listed_row("pulsar", number, source, owners.get(source.uid, "sky" if source.uid in ground.sky else "other"))
            for source in sources
            if ground.among(source.dm, signals.periodic)
        ]
        rows += [
            listed_row("burst", number, pulse, "sky")
            for pulse in ground.pulses
            if ground.among(float(pulse["dm"]), signals.rows)
        ]
    return Completeness(np.concatenate(tables), np.concatenate(rows))


def _by_dm(parts: Sequence[Array]) -> Array:
    """Rows of several tables in the order of a search from DM to DM."""
    rows = np.concatenate(parts)
    return rows[np.argsort(rows["dm_index"], kind="stable")]


#: A row is a pulsar's if their phases part by no more than this over the observation [turns], or the errors allow it.
TURNS: Final = 0.3
SIGMAS: Final = 3.0
#: Errors of a frequency allow no more than this [turns].
MOST_TURNS: Final = 1.0
#: Other frequencies at which a pulsar that is not on the list may be.
ALIASES: Final = tuple((m, d) for m in range(1, 9) for d in range(1, 9) if m != d)


class Fates:
    """Compares injected signals with lists.

    `freqs`: channels that were used [MHz], descending.
    """

    def __init__(self, header: Header, dms: Floats, freqs: Floats) -> None:
        self.header = header
        self.dms = dms
        #: Delay over the band, and mean delay of the channels, for a DM of 1 [s].
        self.across = band_delay(freqs)
        self.mean = KDM * float(np.mean(freqs**-2.0) - header.freqs[0] ** -2.0)

    def room(self, width: float, dm_err: float, dm: float) -> float:
        """DMs that differ by less are one: by the width over the band, the errors, or a step of the trials."""
        nearest = int(np.argmin(np.abs(self.dms - dm)))
        step = float(np.gradient(self.dms)[nearest]) if self.dms.size > 1 else 0.0
        by_width = width / self.across if self.across > 0 else np.inf
        return max(by_width, SIGMAS * (dm_err if np.isfinite(dm_err) else 0.0), step)

    def pulsar(
        self, pulsar: "Pulsar", place: int, listed: Sequence[Candidate], detections: Array, owners: dict[str, str]
    ) -> Array:
        """The row of a pulsar.

        Parameters
        ----------
        listed : sequence of Candidate
            Best first.
        owners : dict
            Is told the uids of rows that are the pulsar ("injected"), or of it at another period ("other").
        """
        width = pulsar.duty * pulsar.period
        row = empty_table(INJECTED_COLUMNS, 1)
        row["kind"], row["place"], row["snr"], row["dm"] = "pulsar", place, pulsar.snr, pulsar.dm
        row["period"], row["accel"] = pulsar.period, pulsar.accel or 0.0
        row["width"], row["duty"] = width, pulsar.duty
        tobs = self.header.tobs
        rows: list[Candidate] = []
        aliases: list[Candidate] = []
        for candidate in listed:
            if abs(candidate.dm - pulsar.dm) > self.room(width, candidate.dm_err, pulsar.dm):
                continue
            allowed = max(TURNS, min(SIGMAS * candidate.freq_err * tobs, MOST_TURNS))
            if abs(candidate.freq - pulsar.freq) * tobs <= allowed:
                rows.append(candidate)
            elif any(abs(candidate.freq - pulsar.freq * m / d) * tobs <= TURNS for m, d in ALIASES):
                aliases.append(candidate)
        good = [candidate for candidate in rows if not candidate.parent and not candidate.flags]
        owners |= {
            candidate.uid: "other" for candidate in aliases if not candidate.parent and candidate.uid not in owners
        }
        owners |= {candidate.uid: "injected" for candidate in rows if not candidate.parent}
        row["found"] = bool(good)
        for best in (good or rows)[:1]:
            row["listed_snr"], row["score"] = best.snr, best.score
        row["fate"] = "found" if good else self._lost(rows, aliases, pulsar, detections)
        return row

    def _lost(self, own: Sequence[Candidate], aliases: Sequence[Candidate], pulsar: "Pulsar", detections: Array) -> str:
        """Reason for which a pulsar is not on the list."""
        flagged = next((candidate for candidate in own if not candidate.parent), None)
        if flagged is not None:
            return "flagged: " + ",".join(flagged.flags)
        if own:
            return f"attached: {own[0].relation or 'to another'}"
        if any(not candidate.parent and not candidate.flags for candidate in aliases):
            return "listed at another period"
        off = np.abs(detections["freq"] - pulsar.freq) * self.header.tobs
        near = np.abs(detections["dm"] - pulsar.dm) <= self.room(pulsar.duty * pulsar.period, np.nan, pulsar.dm)
        return "detected, not listed" if bool(np.any(near & (off < 1.0))) else "not detected"

    def burst(self, burst: "Burst", place: int, pulses: Array) -> tuple[Array, Bools]:
        """The row of a burst, and which pulses of a list, best first, are it."""
        row = empty_table(INJECTED_COLUMNS, 1)
        row["kind"], row["place"], row["snr"], row["dm"] = "burst", place, burst.snr, burst.dm
        row["time"], row["width"] = burst.time, burst.width
        width = float(np.hypot(burst.width, smeared(self.header, burst.dm)))
        room = np.array([self.room(width, float(e), burst.dm) for e in pulses["dm_err"]])
        # Off in DM is off in time, by the mean delay of the channels.
        when = burst.time - (pulses["dm"] - burst.dm) * self.mean
        # A pulse is that of a burst if it is within its width, and no less than so many samples.
        allowed = np.maximum(np.maximum(width, 0.5 * pulses["width"]), 2.0 * self.header.tsamp)
        explained = np.asarray((np.abs(pulses["dm"] - burst.dm) <= room) & (np.abs(pulses["time"] - when) <= allowed))
        matching = np.flatnonzero(explained).tolist()
        good = [k for k in matching if not pulses["rfi_flags"][k]]
        row["found"] = bool(good)
        row["fate"] = "found" if good else "not detected"
        for best in (good or matching)[:1]:
            row["listed_snr"], row["score"] = pulses["snr"][best], pulses["score"][best]
            row["fate"] = "found" if good else f"flagged: {pulses['rfi_flags'][best]}"
        return row, explained


def listed_row(kind: str, place: int, listed: Any, origin: str) -> Array:
    """A row of the lists beside the injected signals: of a candidate, or a single pulse."""
    row = empty_table(ROW_COLUMNS, 1)
    row["kind"], row["place"], row["origin"] = kind, place, origin
    for name in ("score", "snr", "dm"):
        row[name] = getattr(listed, name) if isinstance(listed, Candidate) else listed[name]
    return row
