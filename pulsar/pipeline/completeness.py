"""How complete a run is: signals are added to its cleaned samples, and searched for and judged as everything else.

The trial DMs around them are dedispersed and searched once more, with the run's own thresholds, lines and mask. What
the run has found at all other DMs, and its folds, stand beside; so the list on which a signal must appear is the one
that the run would have had with it on the sky. The run itself is not touched.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM
from pulsar.data.candidate import empty_table
from pulsar.data.fold import FoldCube, FoldParams
from pulsar.data.header import WHOLE, Header, Part
from pulsar.data.injected import INJECTED_COLUMNS, ROW_COLUMNS, in_words
from pulsar.data.pulse import PulseCutout
from pulsar.data.source import SampleSource
from pulsar.dedisp.batches import choose_route, dedispersed
from pulsar.dedisp.subbands import Subbands
from pulsar.pipeline.checkpoint import Pace
from pulsar.pipeline.detect import dm_plan, folding_of, pulses_of, scratch_of, subbands_at
from pulsar.pipeline.follow import follow_up, group_detections
from pulsar.pipeline.injections import TOGETHER, Place, band_delay, draw_place, groups_of, place_dms, region
from pulsar.pipeline.job import Detected, Job, Searching
from pulsar.pipeline.limits import flux_of, smeared_duty, telescope_of
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.pulses import PulsePlace, judge_shapes, place_of
from pulsar.pipeline.ranking import ranked
from pulsar.pipeline.run_plan import Amount
from pulsar.pipeline.stages import Found
from pulsar.sources.candidate import Candidate
from pulsar.synthesis.cleaned import InjectedSource, Injector
from pulsar.synthesis.population import smeared

if TYPE_CHECKING:
    from pulsar.dedisp.plan import DMPlan
    from pulsar.synthesis.model import Burst, Pulsar
    from pulsar.synthesis.population import Asked

#: A burst comes where at least this part of the channels is live.
LEAST_LIVE: Final = 0.5


@dataclass(frozen=True)
class Completeness:
    """Signals that were injected, and the fate of each.

    Attributes
    ----------
    injected : ndarray
        Fields of INJECTED_COLUMNS.
    rows : ndarray
        Fields of ROW_COLUMNS: what was listed at the DMs of the injected signals.
    """

    injected: NDArray[Any]
    rows: NDArray[Any]


def measure(
    job: Job,
    detected: Detected,
    candidates: Sequence[Candidate],
    cutouts: Sequence[tuple[str, PulseCutout]],
    wanted: Amount,
    out: Path,
) -> Completeness | None:
    """Inject signals group by group, and tell what the run makes of them.

    Parameters
    ----------
    job : Job
    detected : Detected
        Of raw data; nothing of it is changed.
    candidates : sequence of Candidate
        The list of the run.
    cutouts : sequence of (str, PulseCutout)
        Of the single pulses of the run, by id.
    wanted : Amount
    out : Path
        The product; a scratch file may lie beside it.
    """
    searching = detected.searching
    if searching is None:
        return None
    at = {str(row["id"]): place_of(row) for row in detected.pulses.table}
    known = {at[ident]: cutout for ident, cutout in cutouts}
    folds = {one.uid: one.fold for one in candidates if one.fold is not None and not one.refolded}
    quiet = replace(job, progress=Progress("quiet", level="error"))
    injector = Injector(searching.source)
    ground = _Ground(quiet, replace(detected, known=folds), searching, candidates, known, injector, out)
    dms = place_dms(job.obs.header, searching.plan, job.config, wanted.places)
    most = max(wanted.at_once, TOGETHER)
    ready = dict(enumerate(searching.subbands))
    done, parts = _kept(job)
    pace = Pace()
    with job.progress.stage("completeness", wanted.places, "DMs with injected signals") as tick:
        groups = groups_of(job.config) if job.config.completeness.population else [[]] * len(dms)
        places = [_draw(ground, number, dm, groups[number]) for number, dm in enumerate(dms)]
        for where in (where for place in places for where in place.left_out):
            job.progress.warning(f"{where}: left out: the sky shows something there, or no time has data")
        lists = _lists(places)
        if done:
            job.progress.message(f"{done} of {len(lists)} lists with injected signals: taken from the interrupted run")
            tick(sum(map(len, lists[:done])))
            ready = {n: bands for n, bands in ready.items() if n not in {p.number for o in lists[:done] for p in o}}
        for k, together in list(enumerate(lists))[done:]:
            if any(place.number not in ready for place in together):
                # Of as many of the next as fit, in one pass over the samples.
                some = [place for later in lists[k:] for place in later][:most]
                made = subbands_at(job, searching.source, [place.dm for place in some], out)
                ready = {place.number: bands for place, bands in zip(some, made, strict=True)}
            waiting = [bands for bands in ready.values() if not bands.is_whole]
            if waiting:
                waiting[0].fill(waiting[1:], job.threads)
            chosen = [_Signals(ground, place, ready[place.number]) for place in together]
            for one in chosen:
                one.search()
                tick(0.5)
            parts.append(_List(ground, chosen).judged())
            tick(0.5 * len(chosen))
            if pace.due() and k + 1 < len(lists):
                with pace:
                    part = _joined(parts)
                    job.checkpoint.save("completeness", done=np.array(k + 1), injected=part.injected, rows=part.rows)
    whole = _joined(parts)
    for line in in_words(whole.injected, whole.rows):
        job.progress.message(line)
    return whole


def _kept(job: Job) -> tuple[int, list[Completeness]]:
    """How many lists an interrupted run has judged, and what it has made of them."""
    kept = job.checkpoint.load("completeness")
    return (0, []) if kept is None else (int(kept["done"]), [Completeness(kept["injected"], kept["rows"])])


def _joined(parts: Sequence[Completeness]) -> Completeness:
    """All of some parts, in their order."""
    return Completeness(np.concatenate([p.injected for p in parts]), np.concatenate([p.rows for p in parts]))


@dataclass(frozen=True, eq=False)
class _Ground:
    """The run to which signals are added, and what it has made."""

    job: Job
    detected: Detected
    searching: Searching
    candidates: Sequence[Candidate]
    cutouts: Mapping[PulsePlace, PulseCutout]
    injector: Injector
    out: Path

    @property
    def across(self) -> float:
        """Delay over the band for a DM of 1 [s]."""
        return band_delay(self.searching.source.freqs)

    def snr_of(self, pulsar: "Pulsar", flux: float) -> float:
        """S/N of a pulsar of a mean flux density [mJy] in what is not masked."""
        header, mask = self.job.obs.header, self.detected.mask
        live = header.bandwidth * (1.0 - (0.0 if mask is None else mask.fraction_lost))
        width = smeared_duty(header, pulsar.period, pulsar.duty, pulsar.dm)
        return flux / flux_of(1.0, width, header, live, telescope_of(header, self.job.config.telescope))

    @property
    def trials(self) -> "DMPlan":
        """All trial DMs."""
        return dm_plan(self.searching.plan)


def _draw(ground: _Ground, number: int, dm: float, asked: "Sequence[Asked]") -> Place:
    """The signals of a place."""
    searching = ground.searching
    return draw_place(
        number,
        dm,
        ground.job.obs.header,
        searching.plan,
        ground.job.config,
        [rows for octaves in searching.finder.bands[1].values() for rows in octaves.nested()],
        searching.found,
        lambda burst: ground.injector.live_share(burst) >= LEAST_LIVE,
        asked=asked,
        snr_of=ground.snr_of,
    )


def _lists(places: Sequence[Place]) -> list[list[Place]]:
    """Neighbours in the order of places that are judged together: none of their trial DMs is another's."""
    lists: list[list[Place]] = []
    taken: set[int] = set()
    for place in places:
        rows = set(place.trials.rows.tolist())
        if lists and len(lists[-1]) < TOGETHER and not rows & taken:
            lists[-1].append(place)
            taken |= rows
        else:
            lists.append([place])
            taken = rows
    return lists


class _Signals:
    """The signals of one place, in subbands of the samples of a run."""

    def __init__(self, ground: _Ground, place: Place, bands: Subbands) -> None:
        self.ground, self.place = ground, place
        seed = int(np.random.default_rng([ground.job.config.completeness.seed, place.number, 1]).integers(2**62))
        injector = ground.injector
        self.bands = injector.add_to(bands, injector.steps(place.pulsars, place.bursts, seed))
        #: What is cut out shows nothing of pulsars, whose turns are weak.
        self.bursts = InjectedSource(injector, injector.steps((), place.bursts, seed))
        self.found = Found.join([])

    def search(self) -> None:
        """Search the trial DMs of the place once more."""
        job, searching, some = self.ground.job, self.ground.searching, self.place.trials
        if not some.rows.size:
            return
        plan = replace(some.plan(self.ground.trials), freqs=self.bands.freqs)
        route = choose_route(plan, threads=job.threads, memory=searching.plan.memory - searching.plan.search_memory)
        scratch = scratch_of(job, self.ground.out)
        with closing(dedispersed(self.bands, plan, route, threads=job.threads, scratch=scratch)) as batches:
            self.found = Found.join([searching.finder.search(batch, None, some) for batch in batches])

    def burst_list(self, burst: "Burst") -> NDArray[Any]:
        """The list of single pulses with a burst: one among those of the sky, for several together are a storm."""
        job, searching, across = self.ground.job, self.ground.searching, self.ground.across
        old, new = searching.found.events, self.found.events
        events = _by_dm([old[~region(burst, old, across)], new[region(burst, new, across)]])
        pulses = pulses_of(job, searching.plan, searching.finder, self.bursts, events)
        cutouts = pulses.cut_out(job.config.single_pulse.cutouts, job.progress, self.ground.cutouts)
        judge_shapes(pulses.table, dict(cutouts), self.ground.detected.dms)
        return pulses.table

    def others(self) -> NDArray[Any]:
        """Events that are not of its bursts."""
        events, across = self.found.events, self.ground.across
        away = np.ones(events.size, dtype=np.bool_)
        for burst in self.place.bursts:
            away &= ~region(burst, events, across)
        return events[away]


class _List:
    """The list of a run with the signals of some places on the sky."""

    def __init__(self, ground: _Ground, chosen: Sequence[_Signals]) -> None:
        self.ground, self.chosen = ground, chosen
        trials = [signals.place.trials for signals in chosen]
        self.rows = np.concatenate([s.rows for s in trials])
        self.periodic = np.concatenate([s.rows[s.periodic] for s in trials])

    def judged(self) -> Completeness:
        """Group, pursue and judge, and tell what became of each signal."""
        ground, chosen = self.ground, self.chosen
        job, searching, old = ground.job, ground.searching, ground.searching.found
        events = _by_dm(
            [old.events[~np.isin(old.events["dm_index"], self.rows)], *(signals.others() for signals in chosen)]
        )
        pulses = pulses_of(job, searching.plan, searching.finder, searching.source, events)
        kept = old.detections[~np.isin(old.detections["dm_index"], self.periodic)]
        detections = _by_dm([kept, *(signals.found.detections for signals in chosen)])
        detected = replace(
            ground.detected,
            detections=np.concatenate([detections, pulses.repeating]),
            pulses=pulses,
            fold_many=self._fold,
        )
        candidates = follow_up(job, detected, group_detections(job, detected))
        listed, _ = ranked(job, detected, candidates, ground.cutouts, anew=False)
        return self._fates(detected, listed)

    def _fold(self, params: Sequence[FoldParams], part: Part = WHOLE) -> list[FoldCube]:
        """Fold from the subbands of a place near by, or from all samples, where nothing is injected."""
        searching = self.ground.searching
        sources = [self._near_by(candidate) for candidate in params]
        cubes: dict[int, FoldCube] = {}
        for source in dict.fromkeys(sources):
            places = [i for i, own in enumerate(sources) if own is source]
            fold = folding_of(self.ground.job, searching.plan, source)
            cubes |= dict(zip(places, fold([params[i] for i in places], part), strict=True))
        return [cubes[i] for i in range(len(params))]

    def _near_by(self, candidate: FoldParams) -> SampleSource:
        """The subbands that tell as much of a candidate as all samples do, or these."""
        dms, trials = self.ground.trials.dms, [s.place.trials for s in self.chosen]
        nearest = int(np.argmin(np.abs(dms - candidate.dm)))
        for signals, searched in zip(self.chosen, trials, strict=True):
            rows = searched.rows[searched.periodic]
            if rows.size and rows[0] <= nearest <= rows[-1]:
                return signals.bands
        return self.ground.searching.source

    def _fates(self, detected: Detected, listed: Sequence[Candidate]) -> Completeness:
        """Fates of the signals, and the owners of rows at their DMs."""
        ground = self.ground
        fates = Fates(ground.job.obs.header, ground.trials.dms, ground.searching.source.freqs)
        tables: list[NDArray[Any]] = [empty_table(INJECTED_COLUMNS, 0)]
        rows: list[NDArray[Any]] = [empty_table(ROW_COLUMNS, 0)]
        owners: dict[str, str] = {}
        for signals in self.chosen:
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
        sky = {candidate.uid for candidate in ground.candidates if not candidate.parent}
        sources = [candidate for candidate in listed if not candidate.parent and candidate.fold is not None]
        for signals in self.chosen:
            trials, number = signals.place.trials, signals.place.number
            rows += [
                listed_row("pulsar", number, source, owners.get(source.uid, "sky" if source.uid in sky else "other"))
                for source in sources
                if self._among(source.dm, trials.rows[trials.periodic])
            ]
            rows += [
                listed_row("burst", number, pulse, "sky")
                for pulse in ground.detected.pulses.table
                if self._among(float(pulse["dm"]), trials.rows)
            ]
        return Completeness(np.concatenate(tables), np.concatenate(rows))

    def _among(self, dm: float, rows: NDArray[np.int64]) -> bool:
        """True if the nearest trial DM is among some."""
        return bool(np.isin(int(np.argmin(np.abs(self.ground.trials.dms - dm))), rows))


def _by_dm(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Rows of several tables in the order of a search from DM to DM."""
    rows = np.concatenate(parts)
    return rows[np.argsort(rows["dm_index"], kind="stable")]


#: A row is a pulsar's if their phases part by no more than this over the observation [turns], or the errors allow it.
TURNS: Final = 0.3
SIGMAS: Final = 3.0
#: Errors of a frequency allow no more than this [turns].
MOST_TURNS: Final = 1.0
#: A pulse is that of a burst if it is within its width, and no less than so many samples.
LEAST_SAMPLES: Final = 2.0
#: Other frequencies at which a pulsar that is not on the list may be.
ALIASES: Final = tuple((m, d) for m in range(1, 9) for d in range(1, 9) if m != d)


class Fates:
    """Compares injected signals with lists.

    Parameters
    ----------
    header : Header
    dms : ndarray
        Trial DMs [pc cm^-3].
    freqs : ndarray
        Channels that were used [MHz], descending.
    """

    def __init__(self, header: Header, dms: NDArray[np.float64], freqs: NDArray[np.float64]) -> None:
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
        self,
        pulsar: "Pulsar",
        place: int,
        listed: Sequence[Candidate],
        detections: NDArray[Any],
        owners: dict[str, str],
    ) -> NDArray[Any]:
        """The row of a pulsar.

        Parameters
        ----------
        pulsar : Pulsar
        place : int
        listed : sequence of Candidate
            Best first.
        detections : ndarray
        owners : dict
            Is told the uids of rows that are the pulsar ("injected"), or of it at another period ("other").
        """
        width = pulsar.duty * pulsar.period
        row = empty_table(INJECTED_COLUMNS, 1)
        row["kind"], row["place"], row["snr"], row["dm"] = "pulsar", place, pulsar.snr, pulsar.dm
        row["period"], row["accel"] = pulsar.period, pulsar.accel or 0.0
        row["width"], row["duty"] = width, pulsar.duty
        tobs = self.header.tobs
        own: list[Candidate] = []
        aliases: list[Candidate] = []
        for candidate in listed:
            if abs(candidate.dm - pulsar.dm) > self.room(width, candidate.dm_err, pulsar.dm):
                continue
            allowed = max(TURNS, min(SIGMAS * candidate.freq_err * tobs, MOST_TURNS))
            if abs(candidate.freq - pulsar.freq) * tobs <= allowed:
                own.append(candidate)
            elif any(abs(candidate.freq - pulsar.freq * m / d) * tobs <= TURNS for m, d in ALIASES):
                aliases.append(candidate)
        good = [candidate for candidate in own if not candidate.parent and not candidate.flags]
        owners |= {
            candidate.uid: "other" for candidate in aliases if not candidate.parent and candidate.uid not in owners
        }
        owners |= {candidate.uid: "injected" for candidate in own if not candidate.parent}
        row["found"] = bool(good)
        for best in (good or own)[:1]:
            row["listed_snr"], row["score"] = best.snr, best.score
        row["fate"] = "found" if good else self._lost(own, aliases, pulsar, detections)
        return row

    def _lost(
        self, own: Sequence[Candidate], aliases: Sequence[Candidate], pulsar: "Pulsar", detections: NDArray[Any]
    ) -> str:
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

    def burst(self, burst: "Burst", place: int, pulses: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The row of a burst, and which pulses of a list, best first, are it."""
        row = empty_table(INJECTED_COLUMNS, 1)
        row["kind"], row["place"], row["snr"], row["dm"] = "burst", place, burst.snr, burst.dm
        row["time"], row["width"] = burst.time, burst.width
        width = float(np.hypot(burst.width, smeared(self.header, burst.dm)))
        room = np.array([self.room(width, float(e), burst.dm) for e in pulses["dm_err"]])
        # Off in DM is off in time, by the mean delay of the channels.
        when = burst.time - (pulses["dm"] - burst.dm) * self.mean
        allowed = np.maximum(np.maximum(width, 0.5 * pulses["width"]), LEAST_SAMPLES * self.header.tsamp)
        taken = np.asarray((np.abs(pulses["dm"] - burst.dm) <= room) & (np.abs(pulses["time"] - when) <= allowed))
        own = np.flatnonzero(taken).tolist()
        good = [k for k in own if not pulses["rfi_flags"][k]]
        row["found"] = bool(good)
        row["fate"] = "found" if good else "not detected"
        for best in (good or own)[:1]:
            row["listed_snr"], row["score"] = pulses["snr"][best], pulses["score"][best]
            row["fate"] = "found" if good else f"flagged: {pulses['rfi_flags'][best]}"
        return row, taken


def listed_row(kind: str, place: int, listed: Any, origin: str) -> NDArray[Any]:
    """A row of the lists beside the injected signals: of a candidate, or a single pulse."""
    row = empty_table(ROW_COLUMNS, 1)
    row["kind"], row["place"], row["origin"] = kind, place, origin
    for name in ("score", "snr", "dm"):
        row[name] = getattr(listed, name) if isinstance(listed, Candidate) else listed[name]
    return row
