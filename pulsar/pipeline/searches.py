"""Searches of all series of a run, as a whole and in parts: frequencies, trial DMs, independent trials, and their cost.

Wide pulses are searched at fewer DMs (`wide_dms`); with a drift so are low frequencies. A step in DM costs a line of
frequency f a part of its power that goes with (f dt)^2, dt the change of delay over the band: at half the frequency
every second DM does, at a quarter every fourth. And beyond the harmonics that the fastest pulsars need there is nothing
to be found with a drift. So a trial DM is searched from a frequency on that halves as often as its number can be halved
(1, 2, 1, 4, 1, 2, 1, 8 ...), up to one that falls with the smearing in the channels. What that may cost is set
(`accel.loss`), and the cheapest of what keeps to it taken (docs/acceleration.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.special import chndtr

from pulsar.config.model import AccelConfig, Config
from pulsar.constants import KDM
from pulsar.data.series import MIN_SAMPLES
from pulsar.dedisp.plan import DMPlan, DMStage, kept_halved, stretches
from pulsar.errors import ConfigError
from pulsar.searches import stats
from pulsar.searches.registry import SEARCHES, enabled
from pulsar.searches.search import EVERYTHING, Band, BandTrials, Search
from pulsar_kernels.arrays import Bools, Floats, Ints

#: S/N of the pulsar whose losses count.
SNR = 12.0
#: Part of the highest frequency from which on all trial DMs that are chosen are searched: from half of it on losses are
#: those of the settings, below a quarter of that; octaves below with trial DMs of their own.
WHOLE = 4.0
LEVELS = 3
#: Parts of a stage of the DM plan with one highest frequency each, and the fewest trials of one.
PARTS = 8
FEWEST = 64
#: Periods of the pulsars that are looked at, over the shortest.
_PERIODS = np.geomspace(1.0, 4.0, 17)
#: Steps over those of the DM plan that are looked at.
_STEPS = np.concatenate([[1.0], np.geomspace(1.1, 16.0, 40)])


@dataclass(frozen=True, eq=False)
class Octaves:
    """Frequencies that a search takes of each trial DM."""

    bands: tuple[Band, ...]
    of_row: Ints  # (ndms,): band of each trial DM, -1 for those that are not searched
    trials: BandTrials = ()
    cost: str = ""  # what of a pulsar's S/N the octaves of a search with drifts may take, in words

    @property
    def ndms(self) -> int:
        """Trial DMs that are searched."""
        return int(np.count_nonzero(self.of_row >= 0))

    def band(self, row: int) -> Band | None:
        """Frequencies that are searched at a trial DM; None: none."""
        number = int(self.of_row[row])
        return None if number < 0 else self.bands[number]

    def nested(self) -> list[Bools]:
        """Trial DMs of each band or octave, where that is not all of them, the highest first; arrays of bool."""
        if not self.cost:
            every = [self.of_row >= number for number in range(len(self.bands))]
            return [rows for rows in every if not rows.all()]
        share = np.array([*(band.low / band.high for band in self.bands), np.inf])[self.of_row]
        return [share <= limit for limit in [*(0.5 ** np.arange(LEVELS) / WHOLE * (1 + 1e-9)), 0.0]]

    def text(self, dms: Floats) -> str:
        """The bands in words; empty if no frequency is left out."""
        if not self.cost:
            return ""
        rows = np.flatnonzero(self.of_row >= 0)
        low, high = self.bands[self.of_row[rows[0]]].high, self.bands[self.of_row[rows[-1]]].high
        return (
            f"drifts are searched up to {low:.0f} Hz at DM {dms[rows[0]]:g}, {high:.0f} Hz at DM {dms[rows[-1]]:g}, "
            f"in {rows.size} of {dms.size} DMs, the lower octaves in every 2nd, 4th, 8th of these; "
            f"above only what does not drift ({self.cost})"
        )


def everything(ndms: int) -> Octaves:
    """All frequencies at all DMs."""
    return Octaves((EVERYTHING,), np.zeros(ndms, dtype=np.int64))


def wide_dms(dms: Floats, freqs: Floats, width: float) -> Bools:
    """Trial DMs that are enough for wide pulses: the others would add nothing.

    From one to the next the delay over the band changes by no more than the narrowest pulse (unless the plan itself has
    wider steps), so that a pulse is smeared by half its width at most.

    `width`: narrowest pulse [s].
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


def _by_widths(plan: DMPlan, widths: BandTrials, periodic: float) -> Octaves:
    """Trial DMs by the narrowest pulses of bands: those of each are among those of the one before."""
    of_row = np.full(plan.ndms, -1, dtype=np.int64)
    rows = np.arange(plan.ndms)
    trials = []
    for number, (band, width) in enumerate(widths):
        if width > 0.0:
            rows = rows[wide_dms(plan.dms[rows], plan.freqs, width)]
        of_row[rows] = number
        # Independent ones among the DMs that are searched for wide pulses: most are wider than the narrowest, for which
        # they are spaced (benchmarks/noise.py files: 24 of 54 expected false alarms when all count, 82 of 108 with this
        # factor on other seeds).
        trials.append((band, max(0.5 * rows.size, 1.0) if width > 0.0 else periodic))
    return Octaves(tuple(Band(band.low, widths[0][0].high) for band, _ in widths), of_row, tuple(trials))


def plan_bands(plan: DMPlan, config: Config, halved: Ints, periodic: float = 1.0) -> dict[int, dict[str, Octaves]]:
    """Frequencies and trial DMs of all searches: by their names, for every number of parts, 1 among them.

    Parameters
    ----------
    halved : ndarray of int64, shape (ndms,)
        How often series are halved (:func:`pulsar.dedisp.plan.halvings`).
    periodic : float
        Independent DMs of the run.
    """
    whole = {}
    for search in SEARCHES:
        section = getattr(config, search.name)
        if search.drifts:
            whole[search.name] = plan_octaves(plan, section, halved) if section.enabled else everything(plan.ndms)
    plans = {}
    for count in sorted({1, *config.search.parts}):
        tobs = plan.nsamps // count * plan.tsamp
        plans[count] = whole | {
            search.name: _by_widths(plan, search.widths(search.settings(config, tobs)), periodic)
            for search in SEARCHES
            if not search.drifts
        }
    return plans


def plan_octaves(plan: DMPlan, config: AccelConfig, halved: Ints | None = None) -> Octaves:
    """Choose frequencies and trial DMs for the search with a drift.

    `halved`: shape (ndms,): how often series are halved for it (:func:`pulsar.dedisp.plan.halvings`); default: as they
    are.
    """
    halved = np.zeros(plan.ndms, dtype=np.int64) if halved is None else halved
    if config.loss == 0.0 or plan.tolerance == 0.0:
        return everything(plan.ndms)
    bands: dict[Band, int] = {}
    of_row = np.full(plan.ndms, -1, dtype=np.int64)
    trials: list[tuple[Band, float]] = []
    # Between neighbours there is no more than a turn over the band: a few channels tell which are independent.
    freqs = plan.freqs[:: max(plan.freqs.size // 64, 1)]
    for first, stage in plan.numbered():
        edges = np.linspace(0, stage.ndms, min(max(stage.ndms // FEWEST, 1), PARTS) + 1).astype(int)
        for low, high in pairwise(edges.tolist()):
            part = stage.part(low, high)
            # No trial is halved more often than the last.
            times = int(halved[first + high - 1])
            top, step = _cheapest(stage, low, times, config)
            top = min(top, 0.5 / stage.tsamp / 2.0**times)
            rows, levels = ruler(part.ndms, step, last=first + high == plan.ndms)
            before = 0.0
            nested = [Band(top / WHOLE / 2.0**level if level < LEVELS else 0.0, top) for level in range(LEVELS + 1)]
            for level, band in enumerate(nested):
                searched = rows[levels >= level]
                if np.any(levels == level):
                    of_row[first + low + rows[levels == level]] = bands.setdefault(band, len(bands))
                grid = np.linspace(band.low, nested[level - 1].low if level else top, 16)
                ndms = independent_steps(np.diff(part.dms[searched]), freqs, grid)
                # What is in every band within, at the DMs that only the wider one has less.
                if level:
                    trials.append((nested[level - 1], before - ndms))
                before = ndms
            trials.append((nested[-1], before))
    fastest = max(config.p_fast, config.p_min or 0.0)
    cost = (
        f"accel.loss: up to {100 * config.loss:g} % of the S/N of a pulsar of {1e3 * fastest:g} ms and "
        f"{100 * config.duty_min:g} % duty in the mean over DMs, less of slower and broader ones"
    )
    return Octaves(tuple(bands), of_row, tuple(trials), cost)


def trials_of(bands: Mapping[str, Octaves], plan: DMPlan) -> dict[str, BandTrials]:
    """Independent DMs of a run by bands of frequency, for every search."""
    return {
        name: octaves.trials or ((EVERYTHING, sum(independent_dms(stage, plan.freqs) for stage in plan.stages)),)
        for name, octaves in bands.items()
    }


def ruler(ndms: int, step: float, *, last: bool) -> tuple[Ints, Ints]:
    """Every `step`-th of some trials in the mean, and how often the number of each can be halved (`LEVELS` at most).

    `step`: 1 or more. `last`: the last trial is taken, too, as if it could be halved most often.
    """
    rows = np.unique(np.floor(np.arange(int(np.ceil(ndms / step))) * step).astype(np.int64))
    numbers = np.arange(rows.size)
    levels = np.array([LEVELS if k == 0 else min(int(k & -k).bit_length() - 1, LEVELS) for k in numbers.tolist()])
    if last:
        if rows[-1] < ndms - 1:
            rows, levels = np.append(rows, ndms - 1), np.append(levels, LEVELS)
        levels[-1] = LEVELS
    return rows, levels.astype(np.int64)


def _cheapest(stage: DMStage, row: int, times: int, config: AccelConfig) -> tuple[float, float]:
    """Highest frequency [Hz], and steps over those of the plan, at which the search costs least.

    Losses are those against series that are not halved.
    """
    smearing = {name: float(values[row]) for name, values in stage.parts().items()}
    fastest = max(config.p_fast, config.p_min or 0.0)
    stages = np.arange(int(config.nharm).bit_length())
    periods = fastest * _PERIODS
    k = np.arange(1, config.nharm + 1)
    freq = k / periods[:, None]
    power = np.exp(-0.5 * (np.pi * k * config.duty_min) ** 2 / np.log(2.0)) * np.sinc(freq * smearing["channel"]) ** 2
    spread = np.hypot(smearing["sampling"], smearing["arrival"])
    power = power * np.exp(-((2.0 * np.pi * freq * spread) ** 2) / 12.0)
    power *= 0.5 * SNR**2 / power.sum(axis=1, keepdims=True)
    # Powers at every step: step, period, harmonic.
    turned = 2.0 * np.pi * freq * smearing["step"] * _STEPS[:, None, None]
    power = power * np.exp(-(turned**2) / 12.0)
    full = _sums(power[0], stages).max(axis=-1)
    snr = _sums(power * kept_halved(freq, stage.tsamp, times), stages)
    tops = (1 << stages) / periods[:, None]
    gaps = np.array([_gap(step) for step in _STEPS])
    best = (np.inf, 1.0, np.inf)
    for top in np.unique(tops):
        kept = np.where(tops <= top * (1 + 1e-9), snr, 0.0).max(axis=-1)
        fine = np.flatnonzero(np.all(kept >= (1.0 - config.loss) * full, axis=1))
        if fine.size:
            best = min(best, (float(top / gaps[fine[-1]]), float(gaps[fine[-1]]), float(top)))
    return best[2], best[1]


def _sums(power: Floats, stages: Ints) -> Floats:
    """Significance, as an S/N, of the sums of 1, 2, 4 ... of the powers of harmonics along the last axis."""
    sums = np.cumsum(power, axis=-1)[..., (1 << stages) - 1]
    return np.asarray(np.sqrt(-stats.power_logp(sums + (1 << stages), 1 << stages)))


def _gap(step: float) -> float:
    """Mean of gaps of whole trials whose mean square, over the DMs in them, is that of a step."""
    n = int(step)
    share = (step**2 * n - n**3) / (3 * n**2 + 3 * n + 1 - step**2)
    return n + share


def independent_dms(plan: DMStage, freqs: Floats, power: float = 16.0) -> float:
    """Independent trials among the DMs of a stage, for powers of noise at a search's threshold.

    Noise at neighbouring DMs is the same noise with slightly different delays: Fourier amplitudes at frequency f have
    the coherence g(f) = |mean over channels of exp(2 pi i f dt)|, dt the channel's delay over one DM step. A power
    above the threshold is a new one, not the continuation of its neighbour's, with the probability that the neighbour
    is below (the extremal index of the chain; Leadbetter 1983). Given one of two such exponential powers the other is a
    noncentral chi-square (Goodman 1957). Averaged over all frequencies up to Nyquist.

    `power`: normalised power of the threshold in a single trial; the result hardly depends on it.
    """
    if plan.ndms < 2:
        return float(plan.ndms)
    return independent_steps(plan.steps, freqs, (np.arange(64) + 0.5) / 64 * 0.5 / plan.tsamp, power)


def independent_steps(steps: Floats, freqs: Floats, grid: Floats, power: float = 16.0) -> float:
    """Independent trials among DMs in a row, see `independent_dms`.

    Parameters
    ----------
    steps : ndarray, shape (ndms - 1,)
        From one to the next [pc cm^-3].
    grid : ndarray
        Frequencies in the spectrum that are averaged over [Hz].
    power : float
        Normalised power of the threshold in a single trial.
    """
    if steps.size == 0:
        return 1.0
    # The power that is above exceeds the threshold by an exponential: its deciles' centres.
    above = power - np.log1p(-(np.arange(10) + 0.5) / 10)[None, :]
    # Steps grow slowly along a stage: a few stand for all.
    some = np.unique(np.quantile(steps, (np.arange(8) + 0.5) / 8, method="nearest"))
    nearest = np.abs(steps[:, None] - some).argmin(axis=1)
    new = np.zeros(some.size)
    for i, step in enumerate(some):
        delay = KDM * step * (freqs**-2.0 - freqs[0] ** -2.0)
        coherence = np.abs(np.exp(2j * np.pi * grid[:, None] * delay[None, :]).mean(axis=1))
        g2 = np.clip(coherence**2, 0.0, 1.0 - 1e-9)[:, None]
        new[i] = chndtr(2 * power / (1 - g2), 2, 2 * g2 * above / (1 - g2)).mean()
    return 1.0 + float(new[nearest].sum())


def independent_periodic(plan: DMPlan, times: Ints) -> float:
    """Independent trials among the DMs of a plan, for frequencies up to where each is searched for periods.

    `times`: shape (ndms,): how often series are halved for that (:func:`pulsar.dedisp.plan.halvings`).
    """
    parts = [replace(part, tsamp=part.tsamp * 2.0**halved) for part, halved in stretches(plan, times)]
    return sum(independent_dms(part, plan.freqs) for part in parts)


def enabled_searches(config: Config, tobs: float) -> list[tuple[type[Search[Any]], Any]]:
    """The searches that are switched on, in the order in which a series goes through them, and their settings.

    Raises
    ------
    ConfigError
        None is switched on.
    """
    chosen = enabled(config)
    if not chosen:
        *some, last = (search.switch() for search in SEARCHES)
        raise ConfigError(f"no search is switched on: set {', '.join(some)} or {last}")
    return [(search, search.settings(config, tobs)) for search in chosen]


class SearchOf(NamedTuple):
    """One search of series as a whole, or of all parts of one length."""

    nparts: int  # into how many parts a series is cut; 1 is the whole
    nsamps: int  # samples of each, as they are searched
    tsamp: float  # [s]
    make: type[Search[Any]]
    section: Any  # its settings


def periodic_only(config: Config) -> Config:
    """The settings of parts: single pulses are found in the whole."""
    return _without(config, [search.name for search in SEARCHES if not search.periodic])


def pulses_only(config: Config) -> Config:
    """The settings of a band in part of the frequencies: nothing but single pulses is found in it."""
    config = _without(config, ["completeness", *(search.name for search in SEARCHES if search.periodic)])
    return config.changed(single_pulse={"bands": (1,)}, search={"parts": (1,)})


def _without(config: Config, names: Sequence[str]) -> Config:
    """The settings with some sections switched off."""
    # Accelerations are searched where there is a largest.
    none = {"accel": {"zmax": 0.0, "accel_max": None, "wmax": 0.0}}
    return config.changed(**{name: none.get(name, {"enabled": False}) for name in names})


def searches_of(config: Config, count: int, tobs: float) -> list[tuple[type[Search[Any]], Any]]:
    """The searches of a series as a whole (`count` 1), or of each of so many parts, and their settings.

    `tobs`: length of each [s].

    Raises
    ------
    ConfigError
        No search is switched on; or none for periods, and parts are to be searched for them.
    """
    every = enabled_searches(config if count == 1 else periodic_only(config), tobs)
    return [entry for entry in every if not entry[0].periodic or count in config.search.parts]


def all_searches(config: Config, nsamps: int, tsamp: float, times: int = 0) -> Iterator[SearchOf]:
    """Everything that a series goes through: the whole first, then parts, the longest first.

    `times`: how often it is halved for the searches that are `spectral`.

    Raises
    ------
    ConfigError
        See `searches_of`.
    """
    for count in sorted({1, *config.search.parts}):
        each = nsamps // count
        for make, section in searches_of(config, count, each * tsamp):
            halved = times if make.spectral else 0
            yield SearchOf(count, each >> halved, tsamp * 2.0**halved, make, section)


def part_rooms(counts: tuple[int, ...], memory: int) -> dict[int, int]:
    """Bytes for the acceleration search of each number of parts, in proportion to their lengths; the whole if alone.

    `memory`: for all of them together.
    """
    if counts == (1,):
        return {1: memory}
    parts = sum(1.0 / count for count in counts)
    return {count: int(memory / (count * parts)) + 1 for count in counts}


class Length(NamedTuple):
    """Neighbouring trials whose series are of one length."""

    nsamps: int
    tsamp: float  # [s]
    #: first, ndms: the first trial, and how many.
    first: int
    ndms: int
    times: int = 0  # how often they are halved for the searches that are `spectral`


def lengths_of(plan: DMPlan, halved: Ints) -> list[Length]:
    """Trials of a plan by the length of their series, and how often these are halved."""
    lengths, first = [], 0
    for stage, times in stretches(plan, halved):
        lengths.append(Length(stage.nsamps, stage.tsamp, first, stage.ndms, times))
        first += stage.ndms
    return lengths


@dataclass(frozen=True)
class SearchesCost:
    """Trials, time and memory of all searches of a run: fields of its plan."""

    trials: dict[str, float]  # what each goes through, by the name of the search
    search_memory: int  # work space of all threads [byte]
    accel_memory: int  # that of the searches with a drift among it
    costs: Floats  # (ndms,): CPU seconds of each trial DM
    parts: str  # what is searched in parts of the observation, and what that costs, in words; empty for the whole alone


def plan_searches(
    config: Config,
    tobs: float,
    lengths: Sequence[Length],
    bands: Mapping[int, Mapping[str, Octaves]],
    trials: Mapping[str, BandTrials],
    memory: int,
    threads: int,
) -> tuple[SearchesCost, dict[str, float]]:
    """Plan the searches of all series of a run; beside that the CPU seconds of each, by its name.

    Parameters
    ----------
    bands : mapping of int to mapping of str to Octaves
        Those of all trial DMs (:func:`pulsar.pipeline.searches.plan_bands`).
    trials : mapping of str to BandTrials
        Independent DMs of the run, by the name of the search.
    memory : int
        Bytes that all stages may take.

    Raises
    ------
    ConfigError
        No search is switched on, or parts are too short.
    """
    # Part of the memory that the acceleration search of all threads may take.
    counts, room = config.search.parts, int(0.5 * memory) // threads
    rooms = part_rooms(counts, room)
    goes_through: dict[str, float] = {}
    seconds: dict[str, float] = {}
    shared = [0.0, 0.0]  # CPU seconds of the whole, and of all parts
    empty: set[tuple[int, str]] = set()  # numbers of parts that have no period for a search, and what that is
    costs_of = np.zeros(sum(length.ndms for length in lengths))
    total = drifting = 0
    for length in lengths:
        buffers = 0
        for nparts, nsamps, tsamp, search, section in all_searches(config, length.nsamps, length.tsamp, length.times):
            name, octaves = search.name, bands[nparts][search.name]
            if nparts > 1 and nsamps < MIN_SAMPLES:
                raise ConfigError(
                    f"search.parts = {nparts}: a part of series of {length.nsamps} samples of {1e6 * length.tsamp:g} "
                    f"us has {nsamps} samples, at least {MIN_SAMPLES} are needed: give fewer parts (--parts), or a "
                    "lower dedisp.max_downsample"
                )
            of_row = octaves.of_row[length.first : length.first + length.ndms]
            about: dict[str, Any] = {"memory": rooms.get(nparts, room), "bands": trials.get(name, ())}
            # Of each band of frequencies the cost for one series, and the trial DMs that it is the cost of.
            costs = [
                (
                    search.estimate(nsamps, tsamp, section, octaves.bands[number], **about),
                    length.first + np.flatnonzero(of_row == number),
                )
                for number in np.unique(of_row[of_row >= 0]).tolist()
            ]
            if costs and not any(cost.trials for cost, _ in costs):
                if nparts > 1:
                    empty.add((nparts, search.title))
                continue
            need = max([0, *(cost.memory for cost, _ in costs)])
            if search.drifts:
                # All of the room, of which each has its part, that leaves this one what it needs.
                need = need if len(rooms) == 1 and nparts == 1 else int(need * room / rooms[nparts])
                drifting = max(drifting, threads * need)
            else:
                buffers += need
            for cost, rows in costs:
                costs_of[rows] += nparts * cost.seconds
            spent = nparts * sum(rows.size * cost.seconds for cost, rows in costs)
            goes_through[name] = goes_through.get(name, 0.0) + nparts * sum(r.size * cost.trials for cost, r in costs)
            seconds[name] = seconds.get(name, 0.0) + spent
            shared[nparts > 1] += spent
        total = max(total, drifting + threads * buffers)
    return SearchesCost(goes_through, total, drifting, costs_of, _parts_text(counts, tobs, shared, empty)), seconds


def _parts_text(counts: tuple[int, ...], tobs: float, shared: Sequence[float], empty: set[tuple[int, str]]) -> str:
    """The search of parts and its cost, in words; empty where nothing is searched in parts."""
    if counts == (1,):
        return ""
    parts = " and ".join(f"{count} parts of {tobs / count:.4g} s" for count in counts if count > 1)
    short = "".join(f"; {tobs / count:.4g} s are too short for {title}" for count, title in sorted(empty))
    if 1 not in counts:
        return f"periods are searched in {parts} only, not in the whole{short}"
    whole, more = shared
    return f"periods are searched in {parts}, too: {(whole + more) / whole:.1f} times the searching of the whole{short}"


def trial_shares(config: Config, nsamps: int, tsamp: float) -> dict[int, dict[str, float]]:
    """By how much trials of one series, as a whole or of a part, are to be multiplied for those of all parts.

    Noise of two parts is independent, and that of the whole nearly so of both: a power that is at the threshold in a
    half is half as much in the whole. So trials add up, and every search of every part is corrected for the sum.

    Returns
    -------
    dict of int to dict of str to float
        For each number of parts, by the name of the search.
    """
    if config.search.parts == (1,):
        return {1: {}}
    each: dict[str, dict[int, float]] = {}
    for series in all_searches(config, nsamps, tsamp):
        if series.make.periodic:
            search: Any = series.make(series.nsamps, series.tsamp, series.section)
            # Single-trial ln p, about that of thresholds, at which trials are compared; their ratios hardly depend on
            # it.
            each.setdefault(series.make.name, {})[series.nparts] = float(search.ntrials(-20.0))
    shares: dict[int, dict[str, float]] = {count: {} for count in config.search.parts}
    for name, numbers in each.items():
        together = sum(count * number for count, number in numbers.items())
        for count, number in numbers.items():
            if count in shares:
                shares[count][name] = together / number
    return shares
