"""Single pulses of a run: from events at all DMs to the table, the periods of repeating ones, and cut-outs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pulsar.config.model import Config
from pulsar.constants import DAY, KDM
from pulsar.data.candidate import DETECTION_COLUMNS, SINGLE_PULSE_COLUMNS, dtype_of, empty_table
from pulsar.data.flags import RFI, split, weight
from pulsar.data.fold import PulseCutout
from pulsar.data.source import Edges, SampleSource, in_band
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.samples import Samples
from pulsar.pipeline.stages import BatchSearch
from pulsar.searches.pulses import Pulses, cluster, cut_out, joined_bands
from pulsar.searches.repeats import Repeats, repeats, sources_by_dm
from pulsar.sources import pulses as verdicts
from pulsar.sources.company import share_of_the_sky
from pulsar.sources.pulses import add_flag, in_order, lower_what_comes_in_numbers
from pulsar.sources.sweep import pulse_reasons, shape_of_pulse
from pulsar_kernels.arrays import Array, Floats

#: Significance from which a period of repeating pulses is a detection.
REPEATS_SIGMA = 3.0
LEAST_TOLD = 3
#: For each pulse whose cut-out is stored so many are cut out, and judged by their shape.
JUDGED = 5
#: What has the DM of several sweeps within this factor is flagged for it.
NEAR_FACTOR = 1.2


#: Time, DM, width and band of a pulse: what is cut out depends on nothing else.
PulsePlace = tuple[float, float, float, Edges]


def place_of(row: Any) -> PulsePlace:
    """Where a single pulse is."""
    return float(row["time"]), float(row["dm"]), float(row["width"]), band_of(row)


def band_of(row: Any) -> Edges:
    """The part of the band that shows a single pulse best."""
    return (float(row["freq_lo"]), float(row["freq_hi"])) if row["freq_lo"] < row["freq_hi"] else None


@dataclass(frozen=True, eq=False)
class BandEvents:
    """Events of single pulses in a band."""

    events: Array  # fields of EVENT_COLUMNS
    #: dms, tsamps (ndms,): trial DMs [pc cm^-3], and the sampling time of the series of each [s].
    dms: Floats
    tsamps: Floats
    freqs: Floats  # channels that were used [MHz]
    ntrials: float  # independent trials of all its series
    band: Edges = None


def band_events(events: Array, finder: BatchSearch, band: Edges = None) -> BandEvents:
    """Events that a search has found."""
    plan = finder.plan
    tsamps = np.concatenate([np.full(stage.ndms, stage.tsamp) for stage in plan.stages])
    return BandEvents(events, plan.dms, tsamps, plan.freqs, finder.pulse_trials(), band)


def cutouts_of(
    table: Array,
    source: SampleSource | None,
    most: int,
    progress: Progress,
    known: Mapping[PulsePlace, PulseCutout] | None = None,
    *,
    anew: bool = True,
) -> list[tuple[str, PulseCutout]]:
    """Surroundings of the best single pulses, by id: `JUDGED` for each that is stored.

    Parameters
    ----------
    table : ndarray
        Fields of SINGLE_PULSE_COLUMNS, best first.
    source : SampleSource or None
        What they are cut out of; of dedispersed series (None) nothing is.
    most : int
        So many of them are stored.
    known : mapping of PulsePlace to PulseCutout, optional
        What was cut out before.
    anew : bool
        Cut out the others, too.
    """
    known = known or {}
    chosen = [row for row in table[: JUDGED * most] if anew or place_of(row) in known]
    if source is None or not len(chosen):
        return []
    out = []
    with progress.stage("cutting out", len(chosen), "pulses") as tick:
        for row in chosen:
            cutout = known.get(place_of(row))
            out.append((str(row["id"]), cut_out(in_band(source, band_of(row)), row) if cutout is None else cutout))
            tick(1)
    return out


def judge_shapes(table: Array, cutouts: Mapping[str, PulseCutout], dms: Floats) -> set[str]:
    """Flag pulses that sweep as no dispersed pulse does, are in few channels, or have the DMs of several sweeps.

    `table`: single pulses; flags, scores and order are changed. `cutouts`: of the pulses that are judged, by id.

    Returns
    -------
    set of str
        Candidates most of whose pulses sweep so.
    """
    sweeps: dict[str, list[bool]] = {}
    dispersed = np.zeros(len(table), dtype=np.bool_)
    for i, row in enumerate(table):
        cutout = cutouts.get(str(row["id"]))
        if cutout is None:
            continue
        shape = shape_of_pulse(cutout, float(row["snr"]))
        dispersed[i] = shape.is_dispersed
        flags = pulse_reasons(cutout, float(row["snr"]), shape)
        if flags:
            row["rfi_flags"] = ",".join(filter(None, [str(row["rfi_flags"]), *flags]))
            row["score"] *= RFI
        if row["source"]:
            sweeps.setdefault(str(row["source"]), []).append("sweep" in flags)
    low, high = sweep_dms(table)
    # A flag that says nothing against a pulse, such as that its end is cut off, does not speak for it.
    free = np.array([weight(split(str(flags))) == 1.0 for flags in table["rfi_flags"]], dtype=np.bool_)
    add_flag(table, free & ~dispersed & (table["dm"] > low) & (table["dm"] < high), "near sweeps")
    near = np.char.find(table["rfi_flags"], "near sweeps") >= 0
    if near.any():
        # What is interference by another flag is not of the sky outside.
        scores = np.where(near | free, table["score"], 0.0).astype(np.float64)
        table["score"][near] *= share_of_the_sky(near, scores, sweeps_share(table, dms))
    lower_what_comes_in_numbers(table)
    table[:] = in_order(table)
    return {name for name, shapes in sweeps.items() if len(shapes) >= LEAST_TOLD and sum(shapes) > 0.5 * len(shapes)}


def sweep_dms(table: Array) -> tuple[float, float]:
    """DMs that a transmitter's sweeps seem to have, with some room: an empty range where there are not several.

    Weak ones of them, and what they make together in the searches for periods, cannot be told by their shape.
    """
    # The flag itself: "near sweeps" is made of this range, and must not widen it. What is at DM 0 does not sweep.
    flags_of_rows = [str(flags).split(",") for flags in table["rfi_flags"]]
    swept = np.array(["sweep" in flags and "dm0" not in flags for flags in flags_of_rows], dtype=np.bool_)
    dms = table["dm"][swept]
    # So many sweeps, if their DMs agree as well, are no accident: of 2,166 pulses of pulsars in
    # benchmarks/population.py none is told for a sweep.
    alike = dms.size >= 2 and dms.max() <= NEAR_FACTOR * dms.min()
    if dms.size < LEAST_TOLD and not alike:
        return 0.0, 0.0
    return float(dms.min()) / NEAR_FACTOR, float(dms.max()) * NEAR_FACTOR


def sweeps_share(table: Array, dms: Floats) -> float:
    """Part of the searched DMs that a transmitter's sweeps seem to have (:func:`sweep_dms`), 0 to 1."""
    low, high = np.clip(sweep_dms(table), dms.min(), dms.max())
    return float((high - low) / max(np.ptp(dms), 1e-9))


def find_pulses(
    searched: Sequence[BandEvents], samples: Samples, config: Config, progress: Progress
) -> tuple[Array, Array]:
    """Cluster events into pulses and look for the period of those that repeat.

    Parameters
    ----------
    searched : sequence of BandEvents
        The whole band first. Pulses are clustered and judged in each by itself; those of several bands that are one
        are told by :func:`pulsar.searches.pulses.joined_bands`.
    samples : Samples
        That were searched.

    Returns
    -------
    table : ndarray
        Fields of SINGLE_PULSE_COLUMNS, best first.
    repeating : ndarray
        Periods of repeating pulses, as detections of kind "pulses", with the fields of DETECTION_COLUMNS.
    """
    none = np.zeros(0, dtype=dtype_of(DETECTION_COLUMNS))
    if not config.single_pulse.enabled:
        return empty_table(SINGLE_PULSE_COLUMNS, 0), none
    header, whole = samples.header, searched[0]
    dms, tsamps, number = whole.dms, whole.tsamps, sum(len(events.events) for events in searched)
    with progress.stage("clustering", number, "events"):
        ntrials = sum(events.ntrials for events in searched)
        clustered = [_clustered(events, samples, ntrials, config) for events in searched]
        table, dispersed = joined_bands(clustered, config.single_pulse.snr)
        dropped = sum(pulses.dropped for pulses in clustered)
        means = {events.band: pulses.mean for events, pulses in zip(searched, clustered, strict=True)}
        groups = sources_by_dm(table)
        spared = verdicts.of_one_dm(table, groups, dms)
        rows = []
        # Those of most pulses are tested for a period, by 400 pulses each, the strongest.
        for group in groups[:50]:
            strongest = group[np.argsort(-table["snr"][group], kind="stable")[:400]]
            pulses = table[np.sort(strongest)]
            pulses = pulses[np.argsort(pulses["time"], kind="stable")]
            weight = 1.0 / np.maximum(np.nan_to_num(pulses["dm_err"]), 1e-3) ** 2
            dm = float(np.sum(weight * pulses["dm"]) / np.sum(weight))
            pulses = _arrivals(pulses, dm, means)
            # Half a width over the S/N, but no better than the samples.
            errors = np.hypot(0.5 * pulses["width"] / pulses["snr"], float(tsamps.min()) / np.sqrt(12.0))
            period = repeats(pulses["time"], pulses["snr"], errors=errors, sigma=REPEATS_SIGMA)
            if period is not None:
                rows.append(_detection(period, pulses, dm, dms, header.tobs))
                spared[group] = True
        storm = verdicts.storm(table, dispersed, spared, config.single_pulse.snr, dms=dms.size)
        table = verdicts.in_order(verdicts.merge_storm(table, storm))
        table["id"] = [f"p{k:04d}" for k in table["rank"]]
    if storm.size:
        progress.message(f"a storm of {storm.size} weak events at any DM is one of the single pulses")
    if number:
        lost = f" ({dropped} events too many left out)" if dropped else ""
        progress.message(f"{number} events of {len(table)} single pulses{lost}")
    return table, np.concatenate([none, *rows])


def _arrivals(pulses: Array, dm: float, means: Mapping[Edges, float]) -> Array:
    """Pulses of a source in order of time; those that several bands show once, the strongest, at the DM of all.

    Of a narrow band the DM is poorly known, and with it the time at the highest frequency, but not that in its middle.

    Parameters
    ----------
    pulses : ndarray
        Fields of SINGLE_PULSE_COLUMNS, in order of time.
    dm : float
        Of the source [pc cm^-3].
    means : mapping of Edges to float
        Mean delay of each band for a DM of 1 [s].
    """
    bands = [band_of(row) for row in pulses]
    if not any(bands):
        return pulses
    number = np.array([list(means).index(band) for band in bands])
    pulses = pulses.copy()
    pulses["time"] += (pulses["dm"] - dm) * np.array(list(means.values()))[number]
    order = np.argsort(-pulses["snr"], kind="stable")
    pulses, number = pulses[order], number[order]
    time, width = pulses["time"], pulses["width"]
    again = np.abs(time[:, None] - time) <= 0.5 * (width[:, None] + width)
    again &= number[:, None] != number
    pulses = pulses[~np.tril(again).any(axis=1)]
    return pulses[np.argsort(pulses["time"], kind="stable")]


def _clustered(events: BandEvents, samples: Samples, ntrials: float, config: Config) -> Pulses:
    """Pulses of a band, judged by what it shows alone."""
    header, freqs, fref = samples.header, events.freqs, None
    if samples.source is not None:
        fref = samples.source.fref
    elif freqs.size:
        fref = float(freqs.max())
    else:
        freqs = np.array([header.fch1])
    rows, late = events.events, 0.0
    if events.band is not None and fref is not None:
        # From one trial to the next a pulse stays where it is at the highest channel of the band, and not above it.
        late = KDM * (float(freqs.max()) ** -2.0 - fref**-2.0)
        rows, fref = rows.copy(), float(freqs.max())
        rows["time"] += late * rows["dm"]
    pulses = cluster(
        rows,
        events.dms,
        freqs,
        events.tsamps,
        tobs=header.tobs,
        tstart=header.tstart,
        ntrials=ntrials,
        threshold=config.single_pulse.snr,
        width_max=config.single_pulse.width_max,
        fref=fref,
        beam=header.beam,
    )
    table = pulses.table
    table["ra_deg"], table["dec_deg"] = header.ra_deg, header.dec_deg
    if events.band is not None:
        table["freq_lo"], table["freq_hi"] = events.band
        table["time"] -= late * table["dm"]
        table["mjd"] = header.tstart + table["time"] / DAY
    if len(table):
        verdicts.judge(table, pulses.at_zero, pulses.at_end, float(config.single_pulse.width_max), dms=events.dms)
    return replace(pulses, mean=pulses.mean + late)


def _detection(train: Repeats, pulses: Array, dm: float, dms: Floats, tobs: float) -> Array:
    """The period of repeating pulses as a periodic detection.

    Its power is that of a fold of all turns: a search for periodic signals would not see more of it.
    """
    row = np.zeros(1, dtype=dtype_of(DETECTION_COLUMNS))
    fits = pulses[train.fits]
    turns = max(tobs / train.period, 1.0)
    width = float(np.clip(np.median(fits["width"]) / train.period, 1e-3, 0.5))
    row["kind"] = "pulses"
    row["dm_index"] = int(np.argmin(np.abs(dms - dm)))
    row["dm"] = dm
    row["freq"] = 1.0 / train.period
    row["freq_err"] = train.period_err / train.period**2
    row["nharm"] = int(np.clip(round(0.5 / width), 1, 32))
    row["snr"] = float(fits["snr"].sum()) / np.sqrt(turns)
    row["width"] = width
    row["power"] = row["nharm"] + 0.5 * row["snr"] ** 2
    row["logp"] = train.logp
    row["sigma"] = row["sigma_single"] = train.sigma
    return row
