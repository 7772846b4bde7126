"""From events at all trial DMs to pulses, one row for each, however bright it is; and what the data hold around one.

A pulse is seen at many DMs around its own, earlier at higher ones, wider and weaker: a bow tie. What belongs together,
and how that is told from a second pulse, is in docs/single-pulses.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pulsar.constants import DAY, KDM, LEAST_DM
from pulsar.data.candidate import SINGLE_PULSE_COLUMNS, empty_table
from pulsar.data.fold import PulseCutout
from pulsar.data.header import dispersion_delays
from pulsar.data.source import SIGMA_LEVELS, SampleSource
from pulsar.errors import DataError
from pulsar.searches import stats
from pulsar_kernels import clusters
from pulsar_kernels.arrays import Array, Bools, Floats, Ints
from pulsar_kernels.dedisperse import shear_add, shifted_sums

#: Most events that are clustered; of more the weakest are left out.
MAX_EVENTS = 2_000_000
#: DMs at which a pulse must be seen, from which they tell whether it is one.
LEAST_TOLD = 4
#: Error of the DM, see `dm_error`; from `recall.py bursts` of benchmarks.
DM_ERROR = (0.45, 0.25)


@dataclass(frozen=True, eq=False)
class Pulses:
    """Pulses of a run."""

    table: Array  # structured, with the fields of SINGLE_PULSE_COLUMNS, best first
    labels: Ints  # (nevents,): row of the table that each event belongs to; -1 for events that were left out
    dropped: int = 0  # events that were left out because there were too many: the weakest
    #: Pulses that are strong enough to be seen at several DMs beside theirs, and are.
    dispersed: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    #: S/N of each at the lowest DM; what is expected there where it was not seen.
    at_zero: Floats = field(default_factory=lambda: np.zeros(0))
    #: Pulses that a level that wanders may make at the end of the data, where ever fewer channels are left; and those
    #: of which the lowest channels are not in the data, nor enough DMs told, to show that they are dispersed.
    at_end: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    #: mean, across: mean delay of the channels that were searched, and that over all of them, for a DM of 1 [s].
    mean: float = 0.0
    across: float = 0.0

    def __len__(self) -> int:
        return len(self.table)

    def members(self, index: int) -> Ints:
        """Events of one pulse: indices into the events given, ascending."""
        return np.flatnonzero(self.labels == index).astype(np.int64)


def band_delays(freqs: Floats, fref: float | None = None) -> tuple[float, float, float]:
    """Delay at the highest and the lowest channel, and its rms over the channels [s per pc cm^-3].

    `fref`: frequency of zero delay [MHz]; default the highest channel.
    """
    delays = dispersion_delays(np.asarray(freqs, dtype=np.float64), fref)
    return float(delays.min()), float(delays.max()), float(np.std(delays))


def dm_error(width: Array, snr: Array, tsamp: Array, step: Array, rms: Array) -> Floats:
    """Standard error of the DM of pulses [pc cm^-3].

    Arrival times of a pulse of full width w are good to about w / (S/N) against the delays; a boxcar, which only
    looks at two edges, misses the middle of a pulse of many samples by w / (S/N)^(2/3), because the sum of steps of the
    noise is as likely to have its top beside that of the pulse. Trials are `step` apart.

    Parameters
    ----------
    width : ndarray
        [s]
    step : ndarray
        Distance of the trials [pc cm^-3].
    rms : ndarray
        Of the delays over the channels in which the pulse is [s per pc cm^-3]; where 0, no DM is known.
    """
    edges = DM_ERROR[1] * snr ** (-2.0 / 3.0) * np.sqrt(1.0 - np.minimum(tsamp / width, 1.0))
    with np.errstate(divide="ignore"):
        error = np.hypot(width / rms * np.hypot(DM_ERROR[0] / snr, edges), step / np.sqrt(12.0))
    return np.where(rms > 0, error, np.nan)


def cluster(
    events: Array,
    dms: Floats,
    freqs: Floats,
    tsamp_of_dm: Floats,
    *,
    tobs: float,
    tstart: float,
    ntrials: float,
    threshold: float | None = None,
    width_max: float | None = None,
    fref: float | None = None,
    beam: int | None = None,
    max_events: int = MAX_EVENTS,
) -> Pulses:
    """Group the events of all trial DMs into pulses.

    Parameters
    ----------
    events : ndarray
        Structured, with the fields of EVENT_COLUMNS, in any order.
    dms : ndarray, shape (ndms,)
        Trial DMs of the run [pc cm^-3], ascending; ``dm_index`` counts them.
    freqs : ndarray, shape (nchans,)
        Centres of the channels that are alive [MHz].
    tsamp_of_dm : ndarray, shape (ndms,)
        Sampling time at each [s].
    tobs : float
        Length of the observation [s]: what sweeps out of its end is flagged "cut".
    tstart : float
        MJD (UTC) of the first sample.
    ntrials : float
        Independent trials of the run: those of a series times the independent DMs.
    threshold : float, optional
        S/N from which events were kept; default that of the weakest.
    width_max : float, optional
        Widest filter [s]; default the widest event.
    fref : float, optional
        Frequency to which times refer [MHz]; default the highest of `freqs`.
    beam : int, optional
        Beam number, from 1.
    max_events : int
        Of more events the weakest are left out, and the flag "many" says so.

    Raises
    ------
    DataError
        If an event is at a DM that is not there.
    """
    # Many arguments: columns of a table, an array each.

    dms = np.array(dms, dtype=np.float64)
    tsamp = np.array(np.broadcast_to(tsamp_of_dm, dms.shape), dtype=np.float64)
    labels = np.full(len(events), -1, dtype=np.int64)
    if len(events) == 0:
        return Pulses(empty_table(SINGLE_PULSE_COLUMNS, 0), labels)
    if events["dm_index"].min() < 0 or events["dm_index"].max() >= dms.size:
        raise DataError(
            f"events at the DMs {events['dm_index'].min()} to {events['dm_index'].max()} of a plan of {dms.size}: "
            "give the DMs of the run that made them"
        )
    used = np.flatnonzero(np.isfinite(events["snr"]) & np.isfinite(events["time"]))
    if used.size == 0:
        return Pulses(empty_table(SINGLE_PULSE_COLUMNS, 0), labels)
    dropped = max(used.size - max_events, 0)
    if dropped:
        used = used[np.sort(np.argpartition(-events["snr"][used], max_events)[:max_events])]
    start = events["time"][used] - 0.5 * events["width"][used]
    used = used[np.lexsort((start, events["dm_index"][used]))]
    row = events["dm_index"][used].astype(np.int64)
    time, width = (events[name][used].astype(np.float64) for name in ("time", "width"))
    snr = events["snr"][used].astype(np.float64)
    first = np.searchsorted(row, np.arange(dms.size + 1)).astype(np.int64)
    e_hi, e_lo, rms = band_delays(freqs, fref)
    # Channels at even distances arrive the closer the higher they are: in time as f^3.
    f_hi, f_lo = float(np.max(freqs)), float(np.min(freqs))
    edge = max((e_lo - e_hi) * f_hi**3 / (2.0 * KDM * (f_hi - f_lo)), 1.0) if f_hi > f_lo else 1.0
    order = np.argsort(-snr, kind="stable")
    parent = np.empty(used.size, dtype=np.int64)
    of = clusters.Events(row, dms, tsamp, time, width, snr)
    # Trial DMs without an event that a pulse may skip.
    clusters.link(first, of, order, 3, e_hi, e_lo, edge, parent)
    # Groups, strongest first.
    peaks = order[parent[order] == order]
    least = float(snr.min()) if threshold is None else threshold
    share = np.empty(used.size)
    clusters.spread(parent, of, e_lo - e_hi, share)
    owner = np.empty(peaks.size, dtype=np.int64)
    by_row = np.lexsort((time[peaks], row[peaks]))
    peak_first = np.searchsorted(row[peaks][by_row], np.arange(dms.size + 1)).astype(np.int64)
    clusters.absorb(peaks, peak_first, by_row, of, share, e_hi, e_lo, edge, least, owner)
    kept = np.flatnonzero(owner == np.arange(peaks.size))
    number = np.full(used.size, -1, dtype=np.int64)
    number[peaks] = np.searchsorted(kept, owner)
    group = number[parent]
    labels[used] = group
    member = np.argsort(group, kind="stable")
    group_first = np.searchsorted(group[member], np.arange(kept.size + 1)).astype(np.int64)
    facts = np.empty((kept.size, 6))
    widest = float(width.max()) if width_max is None else width_max
    best = peaks[kept]
    reach = events["reach"][used].astype(np.float64)
    clusters.describe(group_first, member, best, of, reach, share, e_lo - e_hi, least, widest, facts)

    table = empty_table(SINGLE_PULSE_COLUMNS, kept.size)
    table["rank"] = np.arange(1, kept.size + 1)
    table["id"] = [f"p{k:04d}" for k in range(1, kept.size + 1)]
    # A change of DM moves a pulse by its mean delay over the channels.
    mean = float(np.mean(dispersion_delays(np.asarray(freqs, dtype=np.float64), fref)))
    table["time"] = time[best] + (dms[row[best]] - facts[:, 0]) * mean
    table["mjd"] = tstart + table["time"] / DAY
    table["dm"] = facts[:, 0]
    step = np.gradient(dms)[row[best]] if dms.size > 1 else np.zeros(kept.size)
    filled = rms * share[best]
    table["dm_err"] = dm_error(width[best], snr[best], tsamp[row[best]], step, filled) if dms.size > 1 else np.nan
    table["snr"] = snr[best]
    table["sigma"] = stats.trial_sigma(stats.logp_from_sigma(snr[best]), ntrials)
    table["width"] = width[best]
    table["ndetections"] = np.diff(group_first)
    table["beam"] = -1 if beam is None else beam
    cut = table["time"] + table["dm"] * e_lo > tobs
    _judge(table, facts, dms, cut, dropped)
    dispersed = (facts[:, 2] >= LEAST_TOLD) & (facts[:, 3] >= 0.5 * facts[:, 2])
    at_zero = np.where(facts[:, 4] > 0.0, facts[:, 4], np.minimum(facts[:, 5], least))
    # Narrow ones it does not make, nor any where no channel ends before another.
    sweep = table["dm"] * (e_lo - e_hi)
    at_end = (table["time"] + table["dm"] * e_lo + table["width"] > tobs) & np.isfinite(reach[best])
    # A level that is off makes pulses at the end of the data of this part of their sweep at least (fourteen in
    # benchmarks/population.py were 0.23 to 0.6 of it wide).
    at_end &= (sweep > 0.0) & (table["width"] > 0.2 * sweep)
    at_end |= cut & (facts[:, 2] < LEAST_TOLD) & (dms.size > 1)
    # All of it is in the last channels to end.
    at_end |= cut & (table["time"] + table["width"] > tobs) & (dms.size > 1)
    return Pulses(table, labels, dropped, dispersed, at_zero, at_end, mean, e_lo - e_hi)


def _judge(table: Array, facts: Floats, dms: Floats, cut: Bools, dropped: int) -> None:
    """Score and flags: how well the S/N at all DMs agree with those of a dispersed pulse."""
    _, deviation, must, seen, at_zero, at_zero_expected = facts.T
    share = np.where(must > 0, seen / np.maximum(must, 1), 1.0)
    # A difference of one sigma is what noise makes.
    score = share / (1.0 + 0.25 * np.maximum(deviation**2 - 1.0, 0.0))
    zero = np.zeros(len(table), dtype=bool)
    if dms.size > 1 and dms[0] < 1.0:
        # A pulse that is stronger at DM 0 than this fraction of its S/N is not dispersed, if it should be weaker there.
        zero = (at_zero >= 0.9 * table["snr"]) & (at_zero_expected < 0.8 * table["snr"])
        err = np.nan_to_num(table["dm_err"])
        zero |= (table["dm"] - dms[0] <= 2.0 * err) | (table["dm"] + 2.0 * err < LEAST_DM)
    lone = (must >= LEAST_TOLD) & (share < 0.25)
    # Without other DMs, or where a change of DM changes nothing, there is no curve to tell by.
    # Of 2,220 pulses flagged so in benchmarks/population.py and zoo.py survey 86 are of a pulsar or a burst.
    score = np.where(zero, 0.04 * score, score)
    table["score"] = np.clip(score, 0.0, 1.0)
    flags = [(zero, "dm0"), (lone, "nodm"), (cut, "cut")]
    if dropped:
        flags.append((np.ones(len(table), dtype=bool), "many"))
    names = np.zeros(len(table), dtype="U64")
    for rows, name in flags:
        names = np.where(rows, np.where(names == "", name, np.char.add(np.char.add(names, ","), name)), names)
    table["rfi_flags"] = names


#: What a pulse leaves in another band explains nothing below this part of the threshold, as within a band.
WEAKEST: Final = 0.35


def joined_bands(bands: Sequence[Pulses], threshold: float) -> tuple[Array, Bools]:
    """Pulses of several bands of frequency, one row for each: that of the band in which its S/N is highest.

    From the strongest on, a row explains those of other bands that lie in its bow tie there, and are no stronger than
    what it leaves, by the rule for pieces within a band (`pulsar_kernels.clusters.absorb`). The bow tie is that of the
    frequencies which the two bands have in common, of bands side by side those of the other.

    Parameters
    ----------
    bands : sequence of Pulses
        Of the same observation, with times that refer to the same frequency.
    threshold : float
        S/N from which events were kept.

    Returns
    -------
    table : ndarray
        Fields of SINGLE_PULSE_COLUMNS, best first; `ndetections` counts the events of all bands.
    dispersed : ndarray of bool
        Pulses whose S/N at many DMs of some band follow those of a dispersed pulse.
    """
    bands = [pulses for pulses in bands if len(pulses)] or bands[:1]
    if len(bands) == 1:
        return bands[0].table, bands[0].dispersed
    number = np.repeat(np.arange(len(bands)), [len(pulses) for pulses in bands])
    table = np.concatenate([pulses.table for pulses in bands])
    order = np.argsort(-table["snr"], kind="stable")
    table, number = table[order], number[order]
    dispersed = np.concatenate([pulses.dispersed for pulses in bands])[order]
    mean, across = (np.array([getattr(pulses, name) for pulses in bands])[number] for name in ("mean", "across"))
    low, high = np.nan_to_num(table["freq_lo"], nan=0.0), np.nan_to_num(table["freq_hi"], nan=np.inf)
    time, dm, width, snr = (table[name].astype(np.float64) for name in ("time", "dm", "width", "snr"))
    # Arrivals in two bands may part by so many errors of the DM.
    error = 3.0 * np.nan_to_num(table["dm_err"])
    # How far a row reaches: smeared until it is as weak as that, and at whatever frequency.
    smeared = width * (snr / (WEAKEST * threshold)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nanmax((mean + across) / across, initial=1.0)
    reach = width.max(initial=0.0) + smeared * ratio + error * np.ptp(mean)
    by_time = np.argsort(time, kind="stable")
    first, last = (np.searchsorted(time[by_time], time + side) for side in (-reach, reach))
    free = np.ones(len(table), dtype=np.bool_)
    kept = []
    for i in range(len(table)):
        if not free[i]:
            continue
        kept.append(i)
        free[i] = False
        rest = by_time[first[i] : last[i]]
        rest = rest[free[rest] & (number[rest] != number[i])]
        within = (low[i] >= low[rest]) & (high[i] <= high[rest])
        mean_of, across_of = np.where(within, mean[i], mean[rest]), np.where(within, across[i], across[rest])
        smearing = np.abs(dm[rest] - dm[i]) * across_of
        r = smearing / width[i]
        left = snr[i] * (1.0 + r * (clusters.LINEAR + r)) ** -0.25
        explained = (left >= WEAKEST * threshold) & (snr[rest] <= clusters.EXPLAINED[0] * left + clusters.EXPLAINED[1])
        off = np.abs(time[rest] - time[i] + (dm[rest] - dm[i]) * mean_of)
        allowed = 0.5 * (width[i] + width[rest] + smearing) + error[i] * np.abs(mean_of - mean[i])
        explained_rows = rest[explained & (off <= allowed)]
        free[explained_rows] = False
        table["ndetections"][i] += table["ndetections"][explained_rows].sum()
        dispersed[i] |= dispersed[explained_rows].any()
    return table[kept], dispersed[kept]


#: Elements in a width of the pulse.
PER_WIDTH = 8
#: Bytes of the data read at once.
PIECE_BYTES = 16 << 20


def cut_out(
    source: SampleSource,
    pulse: Mapping[str, Any] | np.void,
    *,
    nbands: int = 64,
    ntime: int = 256,
    ndms: int = 65,
    per_width: int = PER_WIDTH,
    reach: float | None = None,
) -> PulseCutout:
    """Read what surrounds a pulse, 32 widths of it, and its DM by as much as smears it over 12 widths, or as asked.

    Parameters
    ----------
    source : SampleSource
        Cleaned samples; only the sweep of the pulse is read, a piece at a time.
    pulse : mapping or row
        With `time` [s], `dm` [pc cm^-3] and `width` [s], such as a row of the single pulses.
    nbands : int
        Bands of the dynamic spectrum; no more than there are channels.
    ntime : int
        Columns.
    ndms : int
        Rows of the DM-time plane; the middle one is the DM of the pulse.
    per_width : int
        Columns in a width of the pulse.
    reach : float, optional
        Half the range of DMs [pc cm^-3].

    Raises
    ------
    DataError
        If the source has no channel.
    """
    nchans = len(source.freqs)
    if nchans == 0:
        raise DataError("no channel is left to cut a pulse out of: relax [rfi] zap or chan_sigma")
    dm, time, width = (float(pulse[name]) for name in ("dm", "time", "width"))
    tsamp = source.tsamp
    factor = max(1, round(width / tsamp / per_width))
    column = factor * tsamp
    # Seconds of delay per unit of DM, after fref.
    delay = dispersion_delays(np.asarray(source.freqs, dtype=np.float64), source.fref)
    span = float(delay.max() - delay.min())
    if reach is None:
        # Smearing at the ends of the DM axis, in widths.
        reach = 12.0 * max(width, tsamp) / span if span > 0 else 0.0
    offsets = np.linspace(-reach, reach, ndms) if ndms > 1 else np.zeros(1)
    # Shifts in columns; rounding them costs what a column is to the width.
    shifts = np.rint(np.outer(offsets, delay) / column).astype(np.int64)
    before, after = -int(shifts.min()), int(shifts.max())
    ncols = before + ntime + after
    first = round(time / tsamp - 0.5 * ntime * factor)
    origin = first - before * factor
    delays = np.rint(dm * delay / tsamp).astype(np.int64)
    window = np.zeros((nchans, ncols), dtype=np.float32)
    lo = max(origin + int(delays.min()), 0)
    hi = min(origin + ncols * factor + int(delays.max()), source.nsamps)
    step = max(PIECE_BYTES // nchans, 64)
    piece = np.empty((nchans, step), dtype=np.int8)
    for at in range(lo, hi, step):
        part = piece[:, : min(step, hi - at)]
        source.read_into(at, part)
        shear_add(part, at, delays, origin, factor, window)
    plane = np.empty((ndms, ntime), dtype=np.float32)
    shifted_sums(window, shifts, before, plane)
    plane *= np.float32(1.0 / (SIGMA_LEVELS * np.sqrt(nchans * factor)))

    nbands = min(nbands, nchans)
    edges = np.linspace(0, nchans, nbands + 1).round().astype(int)
    counts = np.diff(edges)
    spectrum = np.add.reduceat(window[:, before : before + ntime], edges[:-1], axis=0)
    spectrum *= (1.0 / (SIGMA_LEVELS * np.sqrt(counts * factor)))[:, None].astype(np.float32)
    freqs = np.add.reduceat(np.asarray(source.freqs, dtype=np.float64), edges[:-1]) / counts
    # Columns of a band that lie before the data or after them.
    middle = np.add.reduceat(delays, edges[:-1]) / counts
    place = first + (np.arange(ntime) + 0.5)[None, :] * factor + middle[:, None]
    spectrum[(place < 0) | (place >= source.nsamps)] = np.nan
    return PulseCutout(
        spectrum=spectrum,
        freqs=freqs,
        plane=plane,
        dms=dm + offsets,
        dm=dm,
        time=time,
        width=width,
        start=first * tsamp,
        tsamp=column,
        tstart=source.tstart,
        fref=source.fref,
    )
