"""Signals that are injected into a run to tell its completeness: how many, where, which trial DMs see them; and limits.

Upper limits on flux densities are the S/N from which on injected pulsars are found, in the radiometer equation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pulsar.cleaning.source import MaskedSource
from pulsar.config.load import load_config
from pulsar.config.model import Config, TelescopeConfig
from pulsar.data.candidate import empty_table
from pulsar.data.header import Header, band_delay
from pulsar.data.injected import LIMIT_COLUMNS, threshold_at, threshold_interval
from pulsar.dedisp.batches import MOVE_SECONDS, READ_RATE
from pulsar.dedisp.plan import DMPlan
from pulsar.dedisp.subbands import Subbands
from pulsar.errors import ConfigError
from pulsar.pipeline.stages import SearchResult, SomeTrials
from pulsar.searches.registry import enabled
from pulsar.sky.observatory import digitisation_loss, find_observatory, flux_of, gain_at
from pulsar.synthesis.model import Burst, Pulsar
from pulsar.synthesis.population import (
    MOST_SMEARED,
    MOST_TOLD,
    Ranges,
    SignalRequest,
    draw_burst,
    draw_pulsar,
    read_asked,
    smeared,
)
from pulsar_kernels.arrays import Array, Bools, Floats

if TYPE_CHECKING:
    from pulsar.pipeline.plan import RunPlan
    from pulsar.pipeline.room import Means

#: Completeness is told of runs from which on it costs little beside [CPU s by the plan].
LONG_RUN: Final = 900.0
#: Pulsars and bursts of a place, which is a DM with its neighbourhood.
PULSARS: Final = 6
BURSTS: Final = 2
#: Places that are judged together, if none of their trial DMs is another's.
TOGETHER: Final = 3
#: Part of the memory that subbands may take.
SUBBAND_PART: Final = 0.1
#: Trial DMs on either side of a place that are searched in any case, and further ones that stand for the rest, at most;
#: of a run of few DMs so many hundredths of them, or each place would take as long as a part of the run.
CORE: Final = 8
FAR: Final = 4
CORE_PART: Final = 0.01
#: Most trial DMs on either side in which a burst is looked for.
BURST_ROWS: Final = 40
#: Of S/N 20 a burst is seen until it is smeared over so many widths; with the delay that goes with it, events of two
#: are apart if they are so many apart.
REACH: Final = 5.0
REGION: Final = 12.0
#: What is drawn anew so often, where the sky has something of its own, is left out.
TRIES: Final = 30
#: A period is the sky's if a detection is so near it, or at one of these ratios [bins of 1/T].
NEAR_BINS: Final = 1.5
NEAR_RATIOS: Final = (1.0, 2.0, 3.0, 4.0, 1 / 2, 1 / 3, 1 / 4, 3 / 2, 2 / 3)
#: Steps of a sequence that fills a range evenly wherever it ends: of the golden ratio.
GOLDEN: Final = 0.6180339887498949
#: A period takes no fewer samples than these, and comes no fewer times.
LEAST_SAMPLES: Final = 2.0
LEAST_TURNS: Final = 2.0


@dataclass(frozen=True)
class Amount:
    """How much is injected."""

    places: int  # DMs at which there are signals
    at_once: int  # of how many of them subbands fit the memory; 0: they go to scratch files
    cpu: float  # expected processor time [s], at the default rates


def amount(plan: "RunPlan", config: Config) -> Amount | None:
    """How much a run can afford, or None where nothing is to be injected.

    It depends on the data and the settings alone, and not on the machine: a run is the same anywhere.

    `plan`: its `work`, trials and sizes are used.
    """
    settings, total = config.completeness, sum(plan.work.values())
    enabled = total > LONG_RUN if settings.enabled is None else settings.enabled
    if not enabled or plan.dm is None or plan.route is None:
        return None
    volume = float(plan.nsamps) * plan.nchans
    read = volume / READ_RATE + volume * MOVE_SECONDS["stream"]
    sweep = min(0.5 * float(plan.dm.dms[-1]) * band_delay(plan.dm.freqs) / (plan.nsamps * plan.tsamp), 1.0)
    rest = plan.work["the rest"] / max(config.fold.ncands, 1)
    # Three trials for long periods; those for bursts alone are a part of a trial together.
    rows = min(2 * sum(row_counts(plan.ndms, config)) + 4, plan.ndms)
    # Folds for each pulsar: its own, and of what it leaves beside.
    each = rows * plan.work["search"] / plan.ndms + 1.5 * PULSARS * rest + BURSTS * sweep * read
    # Channels times samples that are added to subbands a second, by one core (measured on the FAST beam of
    # benchmarks/speed.py beam); and what does not depend on the data: profiles, grouping, verdicts [s].
    each += volume / 1.5e10 + 0.3
    places = settings.places
    if settings.population:
        places = len(groups_of(config))
    elif places is None:
        # What may be taken in any case [CPU s]: two or three places in a short run.
        places = int(max(settings.share * total, 1.5) / each)
        if not places and settings.enabled is None:
            return None  # few DMs, each of which takes long: who wants it may ask for it
        places = max(places, 1)
    size = Subbands.nbytes(plan.nsamps, band_count(plan.nchans, config))
    at_once = min(int(SUBBAND_PART * plan.memory / size), places)
    passes = -(-places // max(at_once, TOGETHER)) - 1
    return Amount(places, at_once, float(places * each + passes * read))


def row_counts(ndms: int, config: Config) -> tuple[int, int]:
    """Trial DMs on either side of a place that are searched in any case, and further ones."""
    settings = config.completeness
    core = CORE if settings.places is not None or settings.population else int(np.clip(CORE_PART * ndms, 1, CORE))
    return core, min(core, FAR)


def band_count(nchans: int, config: Config) -> int:
    """Subbands of a place: those of a fold, or so many that the sums of their channels fit 16 bits."""
    return min(max(config.fold.nbands, -(-nchans // 256)), nchans)


@dataclass(frozen=True, eq=False)
class Place:
    """A DM, the signals that are injected at it, and the trial DMs in which they are looked for."""

    number: int
    dm: float  # [pc cm^-3]
    pulsars: tuple[Pulsar, ...]
    bursts: tuple[Burst, ...]
    trials: SomeTrials
    #: Signals that were asked for, where the sky has something of its own: where they stand in their table.
    left_out: tuple[str, ...] = ()


def subbands_at(
    source: MaskedSource, dms: Sequence[float], amount: Amount, config: Config, means: "Means"
) -> tuple[Subbands, ...]:
    """Subbands for signals that will be injected at some DMs: in memory, or scratch files where they do not fit."""
    nbands, folder = band_count(source.nchans, config), None if amount.at_once > 0 else means.scratch
    return tuple(Subbands(source, dm, nbands, folder) for dm in dms)


def first_subbands(
    source: MaskedSource | None, header: Header, plan: "RunPlan", config: Config, means: "Means"
) -> tuple[Subbands, ...]:
    """Those of the first places, which a search can fill while it reads the samples; none where nothing is injected."""
    amount = plan.injections
    if amount is None or plan.dm is None or source is None:
        return ()
    first = max(amount.at_once, min(TOGETHER, amount.places))
    return subbands_at(source, place_dms(header, plan.dm, config, first), amount, config, means)


def ranges_of(header: Header, trials: DMPlan, config: Config) -> Ranges:
    """Ranges to draw from: those that are set, or else all that the run searches, from 2 ms to 5 s."""
    searched = [
        search.periods(header.tobs, header.tsamp, search.settings(config, header.tobs))
        for search in enabled(config, periodic=True)
    ]
    low = max(min((low for low, _ in searched), default=0.0), 2e-3, 4.0 * header.tsamp)
    high = max(min(max((high for _, high in searched), default=0.0), 5.0), 1.01 * low)
    asked_for, first = config.completeness, float(trials.dms[0])
    return Ranges(
        periods=asked_for.period or (low, high),
        dms=asked_for.dm or (first, max(min(float(trials.dms[-1]), dm_fits(header, trials.freqs)), first)),
        snrs=asked_for.snr,
        accel=config.accel.accel_max,
        drift=config.accel.zmax if config.accel.zmax > 0 else None,
        width_max=config.single_pulse.width_max,
        duties=asked_for.duty,
        widths=asked_for.width,
    )


def dm_fits(header: Header, freqs: Floats) -> float:
    """DM from which on the delay over the band is longer than the data."""
    across = band_delay(freqs)
    return header.tobs / across if across > 0 else np.inf


def place_dms(header: Header, trials: DMPlan, config: Config, places: int) -> list[float]:
    """DMs of the places, in their order: as asked for, or spread evenly, however many of them there are."""
    low, high = ranges_of(header, trials, config).dms
    seed = config.completeness.seed
    # From the middle on, or, of several observations with few places each, from where the seed of each says.
    # Stream of random numbers for the first DM; those of places are their numbers.
    start = float(np.random.default_rng([seed, 2**32]).uniform()) if seed else 0.5
    drawn = [low + (start + number * GOLDEN) % 1.0 * (high - low) for number in range(places)]
    if not config.completeness.population:
        return drawn
    population_dms = [group[0].dm for group in groups_of(config)[:places]]
    return [even if dm is None else dm for even, dm in zip(drawn, population_dms, strict=True)]


def groups_of(config: Config) -> list[list[SignalRequest]]:
    """Signals of the table of the settings that share a place: of one DM, or of none, and no two of one period."""
    groups: list[list[SignalRequest]] = []
    for signal in read_asked(config.completeness.population):
        for group in groups:
            alike = [member for member in group if member.kind == signal.kind]
            room = len(alike) < (PULSARS if signal.kind == "pulsar" else BURSTS)
            if room and group[0].dm == signal.dm and not any(_share_a_period(signal, member) for member in alike):
                group.append(signal)
                break
        else:
            groups.append([signal])
    return groups


def _share_a_period(first: SignalRequest, second: SignalRequest) -> bool:
    """True if two of them could be taken for harmonics of one another."""
    if first.period is None or second.period is None:
        return False
    ratio = first.period / second.period
    # Periods that are asked for do not share a place if they are so near to one of these ratios.
    return any(abs(ratio / near - 1.0) < 0.02 for near in NEAR_RATIOS)


@dataclass(frozen=True, eq=False)
class InjectionPlaces:
    """Where signals are injected into a run: at its DMs, where the sky shows nothing of its own."""

    header: Header
    trials: DMPlan
    config: Config
    found: SearchResult  # what the run has found
    few: Sequence[Bools]  # (ndms,): trial DMs that are searched for wide pulses, and for low frequencies with a drift
    is_live: Callable[[Burst], bool]  # whether a burst comes where there are data
    snr_of: Callable[[Pulsar, float], float]  # S/N of a pulsar of a mean flux density [mJy]

    @property
    def across(self) -> float:
        """Delay over the band for a DM of 1 [s]."""
        return band_delay(self.trials.freqs)

    def draw(self, number: int, dm: float, asked: Sequence[SignalRequest] = ()) -> Place:
        """The signals of a place: the same for the same number and settings.

        `asked`: of the place, in place of what the law gives it.
        """
        header, config = self.header, self.config
        ranges = ranges_of(header, self.trials, config)
        rng = np.random.default_rng([config.completeness.seed, number])
        left_out: list[str] = []
        npulsars = PULSARS if enabled(config, periodic=True) else 0
        singles = BURSTS if config.single_pulse.enabled else 0
        requests = asked or [*[SignalRequest()] * npulsars, *[SignalRequest("burst")] * singles]
        pulsars: list[Pulsar] = []
        for k, want in enumerate(a for a in requests if a.kind == "pulsar"):
            stratum = (0, 1) if asked else (k, PULSARS)
            for attempt in range(2 * TRIES):
                pulsar = draw_pulsar(rng, header, ranges, dm, stratum, want)
                # In short data, where bins are wide, all are at some ratio to something.
                ratios = NEAR_RATIOS if attempt < TRIES else NEAR_RATIOS[:1]
                if pulsar is not None and self._is_free(pulsar, dm, pulsars, ratios):
                    if want.flux is not None:
                        pulsar = pulsar.model_copy(update={"snr": self.snr_of(pulsar, want.flux)})
                    pulsars.append(pulsar)
                    break
            else:
                left_out.append(want.where)
        bursts: list[Burst] = []
        for want in (a for a in requests if a.kind == "burst"):
            for _ in range(TRIES):
                single = draw_burst(rng, header, ranges, dm, want)
                if single is not None and self.is_live(single) and self._is_quiet(single, bursts):
                    bursts.append(single)
                    break
            else:
                left_out.append(want.where)
        rows, alone = self._rows(dm, [p.duty * p.period for p in pulsars], [b.width for b in bursts])
        rows = rows if pulsars else set()
        numbers = np.array(sorted(rows | alone), dtype=np.int64)
        searched = SomeTrials(numbers, np.isin(numbers, np.array(sorted(rows), dtype=np.int64)))
        return Place(number, dm, tuple(pulsars), tuple(bursts), searched, tuple(filter(None, left_out)))

    def _is_free(self, pulsar: Pulsar, dm: float, pulsars: Sequence[Pulsar], ratios: Sequence[float]) -> bool:
        """True if neither the sky nor another pulsar of the place has this period, or one at these ratios."""
        detections = self.found.detections
        near = np.abs(detections["dm"] - dm) * self.across < max(0.5 * pulsar.period, 0.01)
        freqs = np.concatenate([detections["freq"][near], [placed.freq for placed in pulsars]])
        off = np.abs(freqs[:, None] - pulsar.freq * np.array(ratios)[None, :]) * self.header.tobs
        return not bool(np.any(off < NEAR_BINS))

    def _is_quiet(self, burst: Burst, bursts: Sequence[Burst]) -> bool:
        """True if neither the sky nor another burst of the place has anything at this time."""
        if any(abs(burst.time - placed.time) < REGION * (burst.width + placed.width) for placed in bursts):
            return False
        return not bool(np.any(region(burst, self.found.events, self.across)))

    def _rows(self, dm: float, widths: Sequence[float], bursts: Sequence[float]) -> tuple[set[int], set[int]]:
        """Trial DMs that are searched for the periods, and those for the bursts, of a place."""
        dms, across = self.trials.dms, self.across
        nearest = int(np.argmin(np.abs(dms - dm)))
        core, far = row_counts(dms.size, self.config)
        first, last = max(nearest - core, 0), min(nearest + core, dms.size - 1)
        rows = set(range(first, last + 1))
        if widths and across > 0:
            # Half the widest pulse over the band: further off there is less of it everywhere.
            reach = 0.5 * max(widths) / across
            ends = np.searchsorted(dms, [dm - reach, dm + reach]).clip(0, dms.size - 1)
            rows |= set(np.linspace(min(int(ends[0]), first), first, far + 1).astype(int).tolist())
            rows |= set(np.linspace(last, max(int(ends[1]), last), far + 1).astype(int).tolist())
        for chosen in self.few:
            # The trials for wide pulses, and those for low frequencies with a drift, are fewer.
            wide = np.flatnonzero(chosen)
            at = int(np.argmin(np.abs(dms[wide] - dm))) if wide.size else 0
            rows |= set(wide[max(at - 1, 0) : at + 2].tolist())
        singles = set(rows) if bursts else set()
        if bursts and across > 0:
            reach = REACH * max(bursts) / across
            low, high = (int(i) for i in np.searchsorted(dms, [dm - reach, dm + reach]))
            low, high = max(min(low, first), nearest - BURST_ROWS), min(max(high, last), nearest + BURST_ROWS)
            singles |= set(range(max(low, 0), min(high, dms.size - 1) + 1))
        return rows, singles


def region(burst: Burst, events: Array, across: float) -> Bools:
    """Events that may be of a burst, by time and DM: as far as its S/N reaches."""
    late = np.abs(events["dm"] - burst.dm) * across
    reach = REACH * burst.width + 0.5 * events["width"]
    return np.asarray((late <= reach) & (np.abs(events["time"] - burst.time) <= late + reach))


def check_wanted(header: Header, plan: "RunPlan", config: Config) -> None:
    """Refuse ranges and tables of signals that the observation, or its search, has no room for.

    Raises
    ------
    ConfigError
        Naming the setting or the row, and what is expected.
    """
    if plan.injections is None or plan.dm is None:
        return
    settings, room = config.completeness, _Room(header, plan.dm, config)
    if settings.population:
        wrong = [fault for signal in read_asked(settings.population) for fault in room.faults(signal)]
        if wrong:
            more = f"\n… and {len(wrong) - MOST_TOLD} more" if len(wrong) > MOST_TOLD else ""
            raise ConfigError("\n".join(wrong[:MOST_TOLD]) + more)
        return
    for name, kind in (("period", "pulsar"), ("dm", "pulsar"), ("width", "burst")):
        for value in getattr(settings, name) or ():
            for fault in room.faults(SignalRequest(kind, f"completeness.{name}", **{name: value})):
                raise ConfigError(fault)


class _Room:
    """Room of an observation and its search for signals."""

    def __init__(self, header: Header, trials: DMPlan, config: Config) -> None:
        self.header = header
        self.dms = float(trials.dms[0]), float(trials.dms[-1])
        self.fits = dm_fits(header, trials.freqs)
        self.periods = LEAST_SAMPLES * header.tsamp, header.tobs / LEAST_TURNS
        self.drawn = ranges_of(header, trials, config).periods
        self.telescope = telescope_of(header, config.telescope)

    def faults(self, signal: SignalRequest) -> list[str]:
        """Faults of a signal, in words."""
        faults = []
        low, high = self.dms
        if signal.dm is not None and not low <= signal.dm <= high:
            faults.append(f"dm = {signal.dm:g}: expected what is searched, {low:g} to {high:g} pc/cm3 (--dm)")
        elif signal.dm is not None and signal.dm > self.fits:
            faults.append(
                f"dm = {signal.dm:g}: its delay over the band is longer than the data, expected {self.fits:.4g} at most"
            )
        if signal.kind == "burst":
            # Widest burst, as a part of the observation.
            most = 0.25 * self.header.tobs
            if signal.width is not None and signal.width > most:
                faults.append(f"width = {signal.width:g}: expected up to a quarter of the observation, {most:.4g} s")
        else:
            faults += self._of_period(signal)
        return [f"{signal.where}: {text}" for text in faults]

    def _of_period(self, signal: SignalRequest) -> list[str]:
        faults = []
        low, high = self.periods
        if signal.period is not None and not low <= signal.period <= high:
            faults.append(
                f"period = {signal.period:g}: expected 2 samples to half of the observation, {low:.4g} to {high:.4g} s"
            )
        elif signal.period is not None and signal.dm is not None:
            least = smeared(self.header, signal.dm) / MOST_SMEARED
            if signal.period < least:
                faults.append(
                    f"period = {signal.period:g}: at DM {signal.dm:g} dispersion in a channel smears more than "
                    f"{MOST_SMEARED:g} of a turn: expected {least:.4g} s or more"
                )
        longest = self.drawn[1] if signal.period is None else signal.period
        if signal.width is not None and not signal.width < 0.5 * longest:
            faults.append(f"width = {signal.width:g}: expected less than half of the period, {0.5 * longest:.4g} s")
        if signal.flux is not None:
            width = smeared_duty(self.header, 1.0, 0.1, 0.0)
            if not np.isfinite(flux_of(1.0, width, self.header, self.header.bandwidth, self.telescope)):
                faults.append(
                    f"flux = {signal.flux:g}: the gain of the telescope is not known, give --gain and --tsys, or snr"
                )
        return faults


#: Limits are told for these periods [s], as far as pulsars of such periods were injected, and these duty cycles.
PERIODS: Final = (2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
DUTIES: Final = (0.01, 0.03, 0.1, 0.3)
#: The S/N of a period is that of a part of the injected pulsars, the nearest in its logarithm, and of no fewer than so
#: many, of which the S/N where nine tenths are found is known within about 1.
NEAREST_PART: Final = 0.25
NEAREST: Final = 60
MOST_NEAREST: Final = 2000
#: Shares that are told of.
SHARES: Final = {"half": 0.5, "most": 0.9}
#: A period is told of within this factor of those that were injected.
BEYOND: Final = 1.1


def telescope_of(header: Header, config: TelescopeConfig) -> TelescopeConfig:
    """The sensitivity that is set, or where none is and the file names FAST that of its presets."""
    observatory = find_observatory(header.telescope)
    if config.gain is not None or observatory is None or observatory.name != "FAST":
        return config

    preset = load_config("fast-19beam").telescope
    return preset.model_copy(update={name: getattr(config, name) for name in config.model_fields_set})


def smeared_duty(header: Header, period: float, duty: float, dm: float) -> float:
    """Full width at half maximum of a pulse as it is recorded [turns]."""
    return float(np.hypot(duty, smeared(header, dm) / period))


def flux_limits(header: Header, injected: Array, bandwidth: float, config: TelescopeConfig, obs: int = 0) -> Array:
    """Flux densities from which on half and nine tenths of the pulsars are found, by period and duty cycle.

    Parameters
    ----------
    injected : ndarray
        Fields of INJECTED_COLUMNS, of this observation.
    bandwidth : float
        That is not masked [MHz].
    obs : int
        Number of the observation.

    Returns
    -------
    ndarray
        Fields of LIMIT_COLUMNS; empty where the gain of the telescope is not known, or no pulsar was injected.
    """
    telescope = telescope_of(header, config)
    pulsars = injected[injected["kind"] == "pulsar"]
    gain = gain_at(telescope, header.za_deg)
    if not gain > 0 or not pulsars.size:
        return empty_table(LIMIT_COLUMNS, 0)
    dm = float(np.median(pulsars["dm"]))
    low, high = pulsars["period"].min() / BEYOND, pulsars["period"].max() * BEYOND
    periods = [period for period in PERIODS if low <= period <= high]
    table = empty_table(LIMIT_COLUMNS, len(periods) * len(DUTIES))
    for i, period in enumerate(periods):
        near = nearest(pulsars, period)
        thresholds = {
            name: (threshold_at(near, share), *threshold_interval(near, share)) for name, share in SHARES.items()
        }
        for j, duty in enumerate(DUTIES):
            row = table[len(DUTIES) * i + j]
            width = smeared_duty(header, period, duty, dm)
            row["period"], row["duty"], row["dm"], row["tried"] = period, duty, dm, near.size
            row["width"] = width * period
            for name, (snr, least, most) in thresholds.items():
                row[f"snr_{name}"], row[f"snr_{name}_low"], row[f"snr_{name}_high"] = snr, least, most
                row[f"flux_{name}"] = flux_of(snr, width, header, bandwidth, telescope)
    table["obs"], table["tobs"], table["bandwidth"], table["gain"] = obs, header.tobs, bandwidth, gain
    table["tsys"], table["npol"] = telescope.tsys, telescope.npol
    table["beta"] = digitisation_loss(header.nbits, telescope)
    return table


def pooled_limits(headers: Sequence[Header], injected: Array, limits: Array) -> Array:
    """The limits of several observations, where few signals each were injected by the S/N that all of them tell.

    Parameters
    ----------
    headers : sequence of Header
        As the column obs counts them.
    injected, limits : ndarray
        Of all of them, fields of INJECTED_COLUMNS and LIMIT_COLUMNS.

    Returns
    -------
    ndarray
        Fields of LIMIT_COLUMNS.
    """
    pulsars = injected[injected["kind"] == "pulsar"]
    parts = [empty_table(LIMIT_COLUMNS, 0)]
    for obs in sorted(set(limits["obs"].tolist())):
        obs_limits = limits[limits["obs"] == obs]
        if obs < 0 or np.count_nonzero(pulsars["obs"] == obs) >= NEAREST:
            parts.append(obs_limits)
            continue
        # The gain of the table is that at the zenith angle of the observation.
        settings = {name: obs_limits[0][name].item() for name in ("gain", "tsys", "npol", "beta")}
        telescope = TelescopeConfig.model_construct(**TelescopeConfig().model_dump() | settings)
        parts.append(flux_limits(headers[obs], pulsars, float(obs_limits[0]["bandwidth"]), telescope, obs))
    return np.concatenate(parts)


def nearest(pulsars: Array, period: float) -> Array:
    """Those of the injected pulsars whose periods are nearest to one, in their order."""
    count = min(max(NEAREST, int(np.ceil(NEAREST_PART * pulsars.size))), MOST_NEAREST)
    order = np.argsort(np.abs(np.log(pulsars["period"] / period)), kind="stable")[:count]
    return pulsars[np.sort(order)]
