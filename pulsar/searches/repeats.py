"""Pulses that repeat: sources by DM, and the period that arrival times have in common (rotating radio transients)."""

import math
from dataclasses import dataclass

import numpy as np

from pulsar.searches import stats
from pulsar_kernels import period as kernels
from pulsar_kernels.arrays import Array, Bools, Floats, Ints

#: Fewest pulses for which a period is looked for: with three, some period always fits.
FEWEST = 4


@dataclass(frozen=True)
class Repeats:
    """A period that pulses have in common."""

    #: period, period_err: [s], topocentric.
    period: float
    period_err: float
    epoch: float  # arrival time that is a whole number of periods from the others [s], near the middle
    sigma: float  # significance against random times, after all trials
    logp: float  # ln of the probability of one this good or better from random times
    npulses: int  # pulses that have the period, of those looked at
    ntimes: int  # pulses looked at: the strongest that are apart
    rms: float  # of the residuals [s]
    turns: Ints  # (ntimes,): rotation of each pulse given, from the first
    fits: Bools  # (ntimes,): whether it has the period


def sources_by_dm(pulses: Array) -> list[Ints]:
    """Rows of pulses, with the fields of SINGLE_PULSE_COLUMNS, that may come from one source, by their DM.

    Returns
    -------
    list of ndarray
        Rows of each source in order of time, most pulses first; what is flagged "dm0" or "nodm" is left out.
    """
    floor = 0.5  # DMs this close are never told apart [pc cm^-3]
    flags = pulses["rfi_flags"]
    good = np.flatnonzero((np.char.find(flags, "dm0") < 0) & (np.char.find(flags, "nodm") < 0))
    err = np.nan_to_num(pulses["dm_err"].astype(np.float64), nan=floor)
    used = np.zeros(len(pulses), dtype=bool)
    sources = []
    # From the best known DM on, so that no chain of poor ones joins two sources.
    for i in good[np.argsort(err[good], kind="stable")]:
        if used[i]:
            continue
        near = np.abs(pulses["dm"][good] - pulses["dm"][i])
        # Sources are apart when their DMs are by more than this many errors, or by the largest of the errors' floor.
        limit = np.maximum(3.0 * np.hypot(err[good], err[i]), floor)
        rows = good[(near <= limit) & ~used[good]]
        used[rows] = True
        sources.append(rows[np.argsort(pulses["time"][rows], kind="stable")].astype(np.int64))
    return sorted(sources, key=lambda rows: -len(rows))


def repeats(
    times: Floats,
    snrs: Array | None = None,
    *,
    errors: Floats | float = 1e-3,
    p_min: float = 0.05,
    sigma: float = 3.0,
) -> Repeats | None:
    """The period P for which pulses arrive at k P + phase, if it is significant.

    Times closer than `p_min` count as one, the stronger. The best arc of phase that holds at least 3/4 of the
    times, over all frequencies from 1 / p_min to that of the shortest gaps, is held against random times.

    Parameters
    ----------
    times : ndarray, shape (n,)
        Arrival times of the pulses of one source [s].
    snrs : ndarray, shape (n,), optional
        Of times that are too close the one of the highest S/N is kept, without them the first.
    errors : ndarray or float
        Standard errors of the times [s]: phases that agree better count as no better.
    p_min : float
        Shortest period [s].
    sigma : float
        Significance from which a period is returned.

    Returns
    -------
    Repeats or None
        None when nothing is significant.
    """
    all_times = np.asarray(times, dtype=np.float64)
    strength = np.ones(all_times.size) if snrs is None else np.asarray(snrs, dtype=np.float64)
    keep = _apart(all_times, strength, p_min)
    if keep.size < FEWEST:
        return None
    start = float(all_times[keep[0]])
    t = all_times[keep] - start
    span = float(t[-1])
    error = float(np.median(np.broadcast_to(np.asarray(errors, dtype=np.float64), all_times.shape)[keep]))
    # Share of the pulses that must have the period; the others may be by chance or of another source.
    fewest = max(FEWEST, math.ceil(0.75 * t.size))
    # Two pulses are at least a period apart; those that need not fit may be closer.
    gaps = np.sort(np.diff(t))
    p_max = 1.1 * float(gaps[min(t.size - fewest, gaps.size - 1)])
    low, high = 1.0 / p_max, 1.0 / p_min
    if not low < high:
        return None
    # Step of the frequencies: the phase of the last pulse moves by this much [turns].
    step = 0.02 / span
    # Most frequencies tried; beyond, the shortest period grows.
    count = min(int((high - low) / step) + 1, 20_000_000)
    # Frequencies that are looked at more closely.
    best = np.empty((64, 2))
    kernels.search_frequencies(t, low, step, count, fewest, error, best)
    top, at, best_row = np.inf, 0.0, np.empty((1, 2))
    for freq in best[np.isfinite(best[:, 0]), 1]:
        f, width = float(freq), step
        for _ in range(6):
            kernels.search_frequencies(t, f - width, 0.1 * width, 21, fewest, error, best_row)
            (value, f), width = best_row[0].tolist(), 0.15 * width
            if value < top:
                top, at = value, f
    if not np.isfinite(top):
        return None
    _, _, arc = kernels.best_at(t, at, fewest, error, np.empty(t.size))
    # Independent alignments for a frequency step of arc over span and each of the times (`noise.py trials repeats`).
    ntrials = (1.0 / 6.0) * t.size * max(span * count * step, 1.0) * (t.size - fewest + 1)
    logx = top + math.log(ntrials)
    logp = float(stats.correct_trials(logx, 1.0))
    significance = float(stats.sigma_from_logp(logp))
    if significance < sigma:
        return None
    return _measured(all_times, keep, start, at, arc, significance, logp, error)


def _apart(times: Floats, strength: Floats, p_min: float) -> Ints:
    """Times at least `p_min` apart, the strongest, in order of time."""
    kept: list[int] = []
    chosen: Floats = np.empty(0)
    for i in np.argsort(-strength, kind="stable"):
        if not np.isfinite(times[i]):
            continue
        # Most times looked at, the strongest.
        if len(kept) == 64:
            break
        k = int(np.searchsorted(chosen, times[i]))
        if (k > 0 and times[i] - chosen[k - 1] < p_min) or (k < chosen.size and chosen[k] - times[i] < p_min):
            continue
        chosen = np.insert(chosen, k, times[i])
        kept.insert(k, int(i))
    return np.array(kept, dtype=np.int64)


def _measured(
    all_times: Floats,
    keep: Ints,
    start: float,
    freq: float,
    arc: float,
    significance: float,
    logp: float,
    error: float,
) -> Repeats:
    """Period and phase by least squares from the pulses that fit."""
    phase = (all_times[keep] - start) * freq % 1.0
    # The arc that holds them begins at one of them.
    offsets = (phase[None, :] - phase[:, None]) % 1.0
    first = int(np.argmax(np.count_nonzero(offsets <= arc + 1e-12, axis=1)))
    fits_kept = offsets[first] <= arc + 1e-12
    period, epoch = 1.0 / freq, start + (phase[first] + 0.5 * arc) / freq
    inside = fits_kept
    for _ in range(3):
        turn = np.round((all_times[keep] - epoch) / period)
        x, y = turn[inside], all_times[keep][inside]
        middle = round(float(x.mean()))
        slope, offset = np.polyfit(x - middle, y, 1)
        rms = float(np.sqrt(np.sum((y - offset - slope * (x - middle)) ** 2) / max(x.size - 2, 1)))
        period, epoch = float(slope), float(offset)
        # The tightest arc leaves out what is a little further off.
        limit = max(0.5 * arc / freq, 4.0 * rms, 3.0 * error)
        turn = np.round((all_times[keep] - epoch) / period)
        inside = np.abs(all_times[keep] - epoch - turn * period) <= limit
    spread = float(np.sqrt(np.sum((x - x.mean()) ** 2)))
    with np.errstate(invalid="ignore"):
        turns = np.round((all_times - epoch) / period)
        fits = np.abs(all_times - epoch - turns * period) <= limit
    return Repeats(
        period=period,
        period_err=max(rms, error) / spread,
        epoch=epoch,
        sigma=significance,
        logp=logp,
        npulses=int(np.count_nonzero(inside)),
        ntimes=int(keep.size),
        rms=rms,
        turns=np.asarray(np.nan_to_num(turns - np.nanmin(turns)), dtype=np.int64),
        fits=np.asarray(fits, dtype=bool),
    )
