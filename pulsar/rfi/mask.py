"""Which channels and blocks are left out, why, and the baseline and noise of the rest."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import RfiConfig
from pulsar.data.observation import Observation
from pulsar.errors import DataError
from pulsar.rfi.statistics import BlockStatistics

# A Gaussian's standard deviation over its median absolute deviation.
MAD_TO_SIGMA = 1.4826
# Channels needed before one can be called an outlier among the others.
MIN_CHANNELS = 16
# Departures smaller than these do no harm, however many sigma they are.
MIN_NOISE_RATIO = 1.35
MIN_VARIABILITY = 2.0
# Fraction of samples at the top code from which a channel counts as saturated.
SATURATED = 0.02
# Default time scale of the baseline [s], where it is not longer; and of what outliers are compared with.
SHORTEST_BASELINE = 30.0
# Steps in which a wide running median goes.
SMOOTH_STEPS = 24
# A channel that loses more blocks than this is masked whole; a block that loses more channels likewise.
LOST_BLOCKS = 0.5
LOST_CHANNELS = 0.6


@dataclass(frozen=True)
class Mask:
    """What is left out of an observation, and what is needed to normalise the rest.

    Attributes
    ----------
    chan_ok : ndarray of bool, shape (nchans,)
    reasons : tuple of str
        For every channel why it is masked, "" where it is not.
    bad : ndarray of bool, shape (nblocks, nchans)
        Masked blocks; all True in a masked channel.
    edges : ndarray of int64, shape (nblocks + 1,)
        Edges of the blocks in samples.
    baseline, noise : ndarray of float64, shape (nblocks, nchans)
        Smooth mean and standard deviation at the middle of every block, in raw units.
    """

    chan_ok: NDArray[np.bool_]
    reasons: tuple[str, ...]
    bad: NDArray[np.bool_]
    edges: NDArray[np.int64]
    baseline: NDArray[np.float64]
    noise: NDArray[np.float64]

    @property
    def fraction_lost(self) -> float:
        """Fraction of the channel-samples that are masked."""
        weights = np.diff(self.edges)
        return float(np.average(self.bad.mean(axis=1), weights=weights))

    def summary(self) -> str:
        """One line for the log: how many channels are masked and why."""
        counts: dict[str, int] = {}
        for reason in self.reasons:
            if reason:
                counts[reason] = counts.get(reason, 0) + 1
        lost = int((~self.chan_ok).sum())
        why = ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items(), key=lambda kv: -kv[1]))
        text = f"{lost} of {len(self.chan_ok)} channels masked" + (f" ({why})" if why else "")
        return f"{text}, {100 * self.fraction_lost:.1f} % of the data"


def median(values: NDArray[np.float64], axis: int | None = None, *, keepdims: bool = False) -> NDArray[np.float64]:
    """As `numpy.nanmedian`, but fast along the short axis of many columns; NaN where all are NaN, without a warning."""
    flat = values.reshape(-1) if axis is None else values
    axis = axis or 0
    # By contiguous rows; NaN are sorted behind everything else.
    ordered = np.sort(np.moveaxis(flat, axis, -1), axis=-1)
    known = ordered.shape[-1] - np.isnan(ordered).sum(axis=-1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(known - 1, 0) // 2, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(known // 2, ordered.shape[-1] - 1), axis=-1)
    with np.errstate(invalid="ignore"):
        middle = np.where(low == high, low, (low + high) / 2.0)
    return np.asarray(np.moveaxis(middle, -1, axis) if keepdims else middle[..., 0])


def robust_z(values: NDArray[np.float64], centre: NDArray[np.float64] | float | None = None) -> NDArray[np.float64]:
    """Distance from `centre` (default: the median) in units of the scaled median absolute deviation."""
    middle = median(values) if centre is None else centre
    off = values - middle
    scale = MAD_TO_SIGMA * median(np.abs(off))
    return off / scale if scale > 0 else np.where(np.abs(off) > 0, np.inf * np.sign(off), 0.0)


def smooth(values: NDArray[np.float64], bad: NDArray[np.bool_], window: int) -> NDArray[np.float64]:
    """Running median over blocks, masked blocks bridged.

    Parameters
    ----------
    values : ndarray, shape (nblocks, nchans)
    bad : ndarray of bool, shape (nblocks, nchans)
    window : int
        Blocks in the window; with fewer than 1.5 windows of blocks the result is a constant for every channel.
    """
    from pulsar_kernels.moments import running_medians

    nblocks = values.shape[0]
    known = np.where(bad, np.nan, values)
    if nblocks < 1.5 * window:
        return np.repeat(median(known, axis=0, keepdims=True), nblocks, axis=0)
    group = window // SMOOTH_STEPS
    if group > 1:
        # A wide window costs no more than a narrow one: medians of groups of blocks stand for their blocks.
        edges = np.append(np.arange(0, nblocks, group), nblocks)
        grouped = np.empty((len(edges) - 1, known.shape[1]))
        running_medians(known, edges[:-1], edges[1:], grouped)
        known = grouped
        centres = 0.5 * (edges[:-1] + edges[1:] - 1)
    nsteps = len(known)
    half = (window // 2) if group <= 1 else SMOOTH_STEPS // 2
    out = np.empty_like(known)
    # The window shrinks evenly towards the ends, so that a steady drift is followed to the last block.
    at = np.arange(nsteps)
    reach = np.maximum(np.minimum(half, np.minimum(at, nsteps - 1 - at)), min(2, half))
    running_medians(known, np.maximum(at - reach, 0), np.minimum(at + reach + 1, nsteps), out)
    column = median(out, axis=0)
    out = np.where(np.isfinite(out), out, column)
    if group <= 1:
        return out
    at = np.clip(np.arange(nblocks), centres[0], centres[-1])
    left = np.clip(np.searchsorted(centres, at, side="right") - 1, 0, nsteps - 2)
    part = ((at - centres[left]) / (centres[left + 1] - centres[left]))[:, None]
    return np.asarray(out[left] * (1.0 - part) + out[left + 1] * part)


def make_mask(
    obs: Observation, stats: BlockStatistics, config: RfiConfig, *, given: NDArray[np.bool_] | None = None
) -> Mask:
    """Decide what is masked from the statistics of the first pass.

    Channels without variance, saturated, in a `zap` range, noisier or more variable than their neighbours by
    `chan_sigma`, and single blocks of a channel by `block_sigma`. A broadband signal moves all channels alike and
    is therefore never an outlier among them.

    Raises
    ------
    DataError
        When no channel is left.
    """
    header = obs.header
    nchans = header.nchans
    reasons = np.full(nchans, "", dtype="U32")

    def flag(which: NDArray[np.bool_], reason: str) -> None:
        reasons[which & (reasons == "")] = reason

    usable = (stats.valid > 0) & np.isfinite(stats.std)
    flag(~obs.chan_ok, "no weight in file")
    half = 0.5 * header.chan_width
    for lo, hi in config.zap:
        flag((header.freqs + half > lo) & (header.freqs - half < hi), "zapped")
    with np.errstate(invalid="ignore"):
        # Rounding leaves a relative 1e-7 of a large float constant in its variance.
        still = ~(stats.std > 1e-6 * np.abs(stats.mean)) | ~usable
    flag(np.asarray(~usable.any(axis=0)), "no finite data")
    # Blocks that are in no file say nothing about channels.
    inside = usable.any(axis=1)
    if inside.any():
        flag(np.asarray(still[inside].mean(axis=0) > LOST_BLOCKS), "constant")
    bad = still | (reasons != "")[None, :]
    if given is not None:
        flag(np.asarray((given | ~inside[:, None]).all(axis=0)), "PRESTO mask")
        bad = bad | given

    block = stats.block_nsamps * header.tsamp
    baseline_s = config.baseline if config.baseline is not None else max(SHORTEST_BASELINE, 0.25 * header.tobs)
    window = max(1, round(baseline_s / block))
    # What is bad shows against its neighbours in time, whatever is later kept of slow signals.
    near = max(1, min(window, round(SHORTEST_BASELINE / block)))
    if config.enabled:
        flag(median(stats.saturated, axis=0) > SATURATED, "saturated")
        bad = bad | (stats.saturated > SATURATED) | (reasons != "")[None, :]
        bad, outliers = _outliers(stats, bad, near, config)
        for which, reason in outliers:
            flag(which, reason)
        flag((bad & ~still).mean(axis=0) > LOST_BLOCKS, "often bad")
        live = reasons == ""
        if live.any():
            bad[bad[:, live].mean(axis=1) > LOST_CHANNELS] = True
    live = (reasons == "") & ~bad.all(axis=0)
    flag(~live, "often bad")
    if not live.any():
        names, counts = np.unique(reasons, return_counts=True)
        why = ", ".join(f"{n} {name}" for name, n in zip(names, counts, strict=True))
        raise DataError(
            f"{obs.files[0].path if obs.files else header.source}: all {nchans} channels are masked ({why}); "
            "there is nothing to search. Check the file with 'pulsar info', or loosen the masking "
            "(--set rfi.enabled=false, fewer --zap ranges)"
        )
    bad[:, ~live] = True
    baseline = smooth(stats.mean, bad, window)
    noise = smooth(stats.std, bad, window)
    return Mask(live, tuple(str(r) for r in reasons), bad, stats.edges, baseline, noise)


def _outliers(
    stats: BlockStatistics, bad: NDArray[np.bool_], window: int, config: RfiConfig
) -> tuple[NDArray[np.bool_], list[tuple[NDArray[np.bool_], str]]]:
    """Bad blocks and outlying channels, in two rounds: the second without what the first found."""
    from scipy.ndimage import median_filter

    nblocks, nchans = stats.mean.shape
    lengths = np.diff(stats.edges).astype(np.float64)[:, None] * np.maximum(stats.valid, 1e-9)
    noisy = np.zeros(nchans, dtype=bool)
    variable = np.zeros(nchans, dtype=bool)
    for _ in range(2):
        live = ~bad.all(axis=0)
        if live.sum() < MIN_CHANNELS:
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            base = smooth(stats.mean, bad, window)
            noise = smooth(stats.std, bad, window)
            # Deviation of a block's mean, in the error that white noise gives it, less what all channels share.
            dev = np.where(bad, np.nan, (stats.mean - base) / noise * np.sqrt(lengths))
            dev -= median(dev, axis=1, keepdims=True)
            ratio = np.where(bad, np.nan, np.log(np.maximum(stats.std, 1e-30) / noise))
            ratio -= median(ratio, axis=1, keepdims=True)

            level = np.log(median(np.where(bad, np.nan, stats.std), axis=0))
            filled = np.interp(np.arange(nchans), np.flatnonzero(live), level[live])
            size = max(9, int(live.sum()) // 16) | 1
            residual = filled - median_filter(filled, size=size, mode="nearest")
            z = robust_z(residual, 0.0)
            noisy |= live & (np.abs(z) > config.chan_sigma) & (np.abs(residual) > np.log(MIN_NOISE_RATIO))

            for values in (dev, ratio):
                spread = MAD_TO_SIGMA * median(np.abs(values), axis=0)
                if nblocks >= 4:
                    rel = np.log(np.maximum(spread, 1e-30))
                    z = robust_z(np.where(live, rel, np.nan))
                    much = rel - median(rel[live]) > np.log(MIN_VARIABILITY)
                    variable |= live & (z > config.chan_sigma) & much
                typical = median(spread[live])
                # A strong celestial signal moves channels alike but not equally: their spread counts as noise.
                across = MAD_TO_SIGMA * median(np.abs(values), axis=1, keepdims=True)
                scale = np.maximum(np.maximum(spread, typical)[None, :], across)
                if typical > 0:
                    bad = bad | (np.abs(values) > config.block_sigma * scale)
        bad = bad | (noisy | variable)[None, :]
    return bad, [(noisy, "noise outlier"), (variable, "variable")]
