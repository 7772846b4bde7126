"""Channels and channel-blocks that stand out: by level, noise, shape of the distribution, periodicity, neighbours.

A signal from the sky is in many channels. Where a quarter of the channels of a block stand out in the shape of their
distribution or against their neighbours, that says nothing about single channels; where many channels have the same
line, it is not one of theirs.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Final

import numpy as np
from scipy.ndimage import median_filter
from scipy.special import log_ndtr

from pulsar.cleaning.robust import MAD_TO_SIGMA, in_columns, in_rows, median, robust_z, smooth
from pulsar.cleaning.statistics import BlockStatistics
from pulsar.config.model import RfiConfig
from pulsar_kernels.arrays import Bools, Floats, Ints
from pulsar_kernels.interference import extend, iqrm

#: Channels needed before one can be called an outlier among the others.
MIN_CHANNELS: Final = 16
#: Rounds of looking.
ROUNDS: Final = 3
#: A rare event of a part of the band: so many channels among as many on either side.
RARE_CHANNELS: Final = 6
#: Fraction of samples at the top code from which a channel-block counts as saturated.
SATURATED: Final = 0.02
#: Of a dispersed track channels must be raised by so many sigma, and that part of its bands. It stands out from so many
#: blocks around. Up to so many blocks from one end of the band to the other every track is gone through.
TRACK_SIGMA: Final = 4.0
TRACK_SHARE: Final = 0.7
TRACK_MARGIN: Final = 6
TRACK_FINE: Final = 60
#: Least fall of a block's level that is a dropout, in deviations of the samples: a short deep one, of which samples are
#: clipped, lowers its block by less.
LEAST_FALL: Final = 0.5
#: Blocks in a row that a channel is flagged for what is not a track (one and the blocks beside it are three).
LASTING: Final = 4


def find_outliers(
    stats: BlockStatistics, bad: Bools, windows: Sequence[int], delays: Floats, config: RfiConfig
) -> tuple[dict[str, Bools], dict[str, Bools]]:
    """Outlying channels, by the reason, and channel-blocks, by the cause: in a few rounds, each without those before.

    Parameters
    ----------
    bad : ndarray of bool, shape (nblocks, nchans)
        What is masked already, and says nothing about the rest.
    windows : sequence of int
        Blocks over which levels are followed, ascending: what stands out on one of these scales.
    delays : ndarray of float64, shape (nchans,)
        Dispersion delay of the channels for a DM of 1 pc cm^-3 [samples]: what lies along a dispersed track is spared.
    """
    shape = stats.mean.shape
    reasons = ("noise outlier", "variable", "not noise", "not white")
    causes = ("saturated", "mean", "noise", "shape", "not white", "line", "neighbours")
    whole = {name: np.zeros(shape[1], dtype=bool) for name in reasons}
    parts = {name: np.zeros(shape, dtype=bool) for name in causes}
    # Departures of a channel below some least ones do no harm, however many sigma they are.
    lengths = np.maximum(stats.valid, 1e-9)
    lengths *= np.diff(stats.edges).astype(np.float64)[:, None]
    for number in range(ROUNDS):
        live = np.asarray(~bad.all(axis=0))
        if live.sum() < MIN_CHANNELS:
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            dev, ratio = _departures(stats, bad, lengths, windows[0])
            # Raised noise in many channels: a bright pulse, whose spectrum is its own affair.
            burst = np.concatenate([_broad(ratio[r] * np.sqrt(2.0 * lengths[r])) for r in in_rows(shape)])
            raised = dev > TRACK_SIGMA
            for r in in_rows(shape):
                raised[r] |= ratio[r] * np.sqrt(2.0 * lengths[r]) > TRACK_SIGMA
                if stats.npoints > 0:
                    raised[r] |= stats.excess[r] > TRACK_SIGMA * np.sqrt(2.0 / stats.npoints)
            ratio -= median(ratio, axis=1, keepdims=True)

            residual = _residual(np.log(known_median(stats.std, bad)), live)
            z = robust_z(residual, 0.0)
            noticeable = live & (np.abs(residual) > np.log(1.35))
            whole["noise outlier"] |= noticeable & (np.abs(z) > config.chan_sigma)

            parts["saturated"] |= ~bad & (excess_saturation(stats) > SATURATED)
            for window in windows:
                # One scale of time after the other: each takes as much memory as the statistics that it is made of.
                far_ratio = ratio
                if window != windows[0]:
                    dev, far_ratio = _departures(stats, bad, lengths, window)
                    far_ratio -= median(far_ratio, axis=1, keepdims=True)
                for values, cause in ((dev, "mean"), (far_ratio, "noise")):
                    variable, outlying = _variable(values, live, config)
                    whole["variable"] |= variable
                    parts[cause] |= outlying
                del dev, far_ratio, values
            if config.kurtosis > 0:
                for moment, variance, least in ((stats.skewness, 6.0, 0.1), (stats.kurtosis, 24.0, 0.2)):
                    sigma = partial(_sigma, variance, lengths)
                    channels, outlying = _shape(np.where(bad, np.nan, moment), sigma, live, least, config.kurtosis)
                    whole["not noise"] |= channels
                    parts["shape"] |= outlying
            if config.excess > 0 and stats.npoints > 0:
                sigma = partial(_sigma, 2.0, np.broadcast_to(np.float64(stats.npoints), shape))
                channels, outlying = _shape(np.where(bad, np.nan, stats.excess), sigma, live, 0.15, config.excess)
                whole["not white"] |= channels
                parts["not white"] |= outlying
            if config.fourier > 0 and stats.bin_width > 0:
                limit = -float(log_ndtr(-config.fourier))
                parts["line"] |= ~bad & (stats.fourier > limit)
            standing_out = reduce(np.logical_or, [*parts.values(), *whole.values()])
            last = number == ROUNDS - 1 or not (standing_out & ~bad).any()
            if config.iqrm > 0 and last:
                ratio[burst] = np.nan
                parts["neighbours"] |= _voted(ratio, config.iqrm)
                whole["noise outlier"] |= noticeable & _voted(np.where(live, residual, np.nan)[None, :], config.iqrm)[0]
        for channels in whole.values():
            bad = bad | channels[None, :]
        del ratio
        flags = reduce(np.logical_or, parts.values())
        spared = _tracks(raised | flags, bad, stats.edges, delays)
        spared &= ~_lasting(flags, spared)
        spared |= _rare(flags)
        for cause, blocks in parts.items():
            parts[cause] = blocks & ~spared
            bad = bad | parts[cause]
        if last:
            break
    return whole, parts


def known_median(values: Floats, bad: Bools) -> Floats:
    """Median of every channel over the blocks that are not bad, shape (nchans,)."""
    columns = in_columns(values.shape)
    return np.concatenate([median(np.where(bad[:, c], np.nan, values[:, c]), axis=0) for c in columns])


def _sigma(variance: float, lengths: Floats, at: tuple[slice, slice] | slice) -> Floats:
    """Standard deviation, in white Gaussian noise, of a statistic of which one sample has this variance."""
    return np.asarray(np.sqrt(variance / lengths[at]))


def excess_saturation(stats: BlockStatistics) -> Floats:
    """Fraction of saturated samples beyond that of the typical channel: of few bits noise itself reaches the top."""
    usual = np.median(stats.saturated, axis=1, keepdims=True) if stats.saturated.shape[1] >= MIN_CHANNELS else 0.0
    return np.asarray(stats.saturated - usual, dtype=np.float64)


def _departures(stats: BlockStatistics, bad: Bools, lengths: Floats, window: int) -> tuple[Floats, Floats]:
    """Deviations of means and logarithms of the ratio of noise, from those of the blocks around."""
    dev, ratio = np.empty(bad.shape), np.empty(bad.shape)
    for c in in_columns(bad.shape):
        mean, std, without = stats.mean[:, c], stats.std[:, c], bad[:, c]
        noise = smooth(std, without, window)
        # In the error that white noise gives a mean.
        off = (mean - smooth(mean, without, window)) / noise * np.sqrt(lengths[:, c])
        dev[:, c] = np.where(without, np.nan, off)
        ratio[:, c] = np.where(without, np.nan, np.log(np.maximum(std, 1e-30) / noise))
    # Less what all channels share.
    dev -= median(dev, axis=1, keepdims=True)
    return dev, ratio


@dataclass(frozen=True)
class BandLevel:
    """Level of the whole band in every block: the median over the channels, of each from its usual one.

    Attributes
    ----------
    values : ndarray of float64, shape (nblocks,)
        In deviations of the samples of a channel; of blocks that are all bad, as those beside them have it.
    known : ndarray of bool, shape (nblocks,)
        Not all bad.
    reach : int
        Blocks that are compared on either side, four seconds at least. Pulses of a period up to a tenth of the data
        are shorter than half of that.
    """

    values: Floats
    known: Bools
    reach: int

    @classmethod
    def of(cls, stats: BlockStatistics, bad: Bools, block: float) -> "BandLevel | None":
        """The level from what is not `bad`, of shape (nblocks, nchans); None of too few blocks.

        `block`: length of a block [s].
        """
        reach = max(8, round(4.0 / block), round(0.06 * stats.nblocks))
        if stats.nblocks < 2 * reach + 2:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            usual, spread = known_median(stats.mean, bad), known_median(stats.std, bad)
            rows = in_rows(bad.shape)
            level = np.concatenate(
                [median(np.where(bad[r], np.nan, (stats.mean[r] - usual) / spread), axis=1) for r in rows]
            )
        known = np.isfinite(level)
        if known.sum() < 2:
            return None
        return cls(np.interp(np.arange(stats.nblocks), np.flatnonzero(known), level[known]), known, reach)

    def jumps(self) -> Ints:
        """First whole blocks after steps of the gain.

        A step of the level, in one block or two, between two stretches of some seconds that differ by more than they
        vary: a pulse, even of a second or two, comes back.
        """
        level, reach = self.values, self.reach
        windows = np.lib.stride_tricks.sliding_window_view(level, reach)
        middle = np.median(windows, axis=1)
        within = np.median(np.abs(windows - middle[:, None]), axis=1) * MAD_TO_SIGMA
        # Block k: the step lies in k - 1, which is neither before nor after.
        at = np.arange(reach + 1, level.size - reach + 1)
        before, after = at - 1 - reach, at
        step = middle[after] - middle[before]
        noise = np.maximum(within[after], within[before])
        typical = np.median(np.abs(np.diff(level))) / 0.954
        with np.errstate(invalid="ignore", divide="ignore"):  # levels that do not vary at all
            strength = np.abs(step) / np.maximum(noise, typical)
        # Sudden: most of it from the block before to the one after.
        sudden = np.abs(level[at] - level[at - 2]) > 0.7 * np.abs(step)
        out: list[int] = []
        for i in np.argsort(-strength):
            if strength[i] < 8.0:
                break
            if sudden[i] and all(abs(int(at[i]) - k) > 2 for k in out):
                out.append(int(at[i]))
        return np.array(sorted(out), dtype=np.int64)

    def dropouts(self, sigma: float) -> Bools:
        """Blocks in which the level falls below that before and after, by so many deviations, shape (nblocks,).

        No signal from the sky takes power from the whole band. What a fifth of the blocks have is how the data are: it
        counts in the deviation. At the ends of the data one side tells.
        """
        medians = np.median(np.lib.stride_tricks.sliding_window_view(self.values, self.reach), axis=1)
        beyond = np.full(self.reach, np.inf)
        before, after = np.concatenate([beyond, medians[:-1]]), np.concatenate([medians[1:], beyond])
        off = self.values - np.minimum(before, after)
        # Four of five normal deviates are below 1.2816.
        spread = float(np.quantile(np.abs(off[self.known]), 0.8)) / 1.2816
        low = self.known & (off < -sigma * spread)
        deep = np.pad(low & (off < -LEAST_FALL), 1)
        # Of the first and last block a part may be lost.
        return np.asarray(low & (deep[:-2] | deep[1:-1] | deep[2:]))


def grown(flags: Bools, share: float) -> Bools:
    """Flags closed and extended along time and along frequency (Offringa et al. 2012), shape as `flags`."""
    along = np.empty_like(flags)
    extend(np.ascontiguousarray(flags), share, along)
    columns = np.ascontiguousarray(flags.T)
    across = np.empty_like(columns)
    extend(columns, share, across)
    return np.asarray(along | across.T)


def _residual(level: Floats, live: Bools) -> Floats:
    """Of a number for every channel, what differs from the running median over the channels around."""
    filled = np.interp(np.arange(level.size), np.flatnonzero(live), level[live])
    size = max(9, int(live.sum()) // 16) | 1
    return np.asarray(filled - median_filter(filled, size=size, mode="nearest"))


def _variable(values: Floats, live: Bools, config: RfiConfig) -> tuple[Bools, Bools]:
    """Channels that vary more than others, and blocks out of their channel's range."""
    variable = np.zeros(live.size, dtype=bool)
    spread = MAD_TO_SIGMA * median(values, axis=0, of=np.abs)
    if len(values) >= 4:
        rel = np.log(np.maximum(spread, 1e-30))
        z = robust_z(np.where(live, rel, np.nan))
        variable = live & (z > config.chan_sigma) & (rel - median(rel[live]) > np.log(2.0))
    typical = float(median(spread[live]))
    if not typical > 0:
        return variable, np.zeros(values.shape, dtype=bool)
    # A strong celestial signal moves channels alike but not equally: their spread counts as noise.
    across = MAD_TO_SIGMA * median(values, axis=1, keepdims=True, of=np.abs)
    scatter = np.maximum(spread, typical)[None, :]
    outlying = np.empty(values.shape, dtype=bool)
    for r in in_rows(values.shape):
        outlying[r] = np.abs(values[r]) > config.block_sigma * np.maximum(scatter, across[r])
    return variable, outlying


def _broad(sigmas: Floats) -> Bools:
    """Blocks of which a quarter of the channels stand out at once: what they have is broadband. Shape (nblocks,)."""
    known = np.isfinite(sigmas).sum(axis=1)
    return np.asarray((np.abs(sigmas) > 3.0).sum(axis=1) > 0.25 * np.maximum(known, 1))


def _shape(
    values: Floats, sigma: Callable[[tuple[slice, slice] | slice], Floats], live: Bools, least: float, threshold: float
) -> tuple[Bools, Bools]:
    """Channels and channel-blocks of which a statistic is not that of the others.

    `sigma` tells its standard deviation in white Gaussian noise in a part of the table.
    """
    nblocks, shape = len(values), values.shape
    level = median(values, axis=0)
    live = live & np.isfinite(level)
    channels = np.zeros(live.size, dtype=bool)
    if live.sum() < MIN_CHANNELS:
        return channels, np.zeros(shape, dtype=bool)
    off = np.where(live, level - float(median(level[live])), np.nan)
    usual = np.concatenate([median(sigma((slice(None), c)), axis=0) for c in in_columns(shape)])
    scatter = np.maximum(MAD_TO_SIGMA * median(np.abs(off)), 1.2533 * usual / np.sqrt(nblocks))
    # A pulsar that does so much to a single channel has an S/N of thousands.
    standing = np.abs(off) > np.maximum(threshold * scatter, least)
    # Where more stand out over the whole observation, it is the rest that is odd.
    if standing.sum() <= 0.6 * live.sum():
        channels = live & standing
    # Of a block: beside what all channels have then, and what this one always has.
    beside = values - np.where(np.isfinite(level), level, 0.0)[None, :]
    del values
    broad = np.concatenate([_broad(np.where(channels[None, :], np.nan, beside[r] / sigma(r))) for r in in_rows(shape)])
    beside -= median(beside, axis=1, keepdims=True)
    spread = np.nan_to_num(MAD_TO_SIGMA * median(beside, axis=0, of=np.abs))[None, :]
    across = MAD_TO_SIGMA * median(beside, axis=1, keepdims=True, of=np.abs)
    outlying = np.empty(shape, dtype=bool)
    for r in in_rows(shape):
        scale = np.maximum(np.maximum(spread, sigma(r)), across[r])
        outlying[r] = (np.abs(beside[r]) > threshold * scale) & ~broad[r, None]
    return channels, outlying


def _voted(values: Floats, threshold: float) -> Bools:
    """Outliers of every row to either side by the votes of their neighbours."""
    values = np.ascontiguousarray(values)
    # Farthest neighbours that vote, and the ratio of one lag to the next: Morello et al. 2022.
    radius = max(1, int(0.1 * values.shape[1]))
    lags = [1]
    while (lag := max(lags[-1] + 1, int(1.5 * lags[-1]))) <= radius:
        lags.append(lag)
    out = np.zeros(values.shape, dtype=bool)
    iqrm(values, np.array(lags, dtype=np.int64), threshold, out)
    return out


def _lasting(flags: Bools, spared: Bools) -> Bools:
    """Spared blocks, as of the track of a pulse or an impulse, whose channel has been flagged all the while.

    No track stays in a channel: what is flagged in LASTING blocks just before, or just after, is there by itself.
    """
    out = np.zeros(flags.shape, dtype=bool)
    columns = np.flatnonzero((flags & spared).any(axis=0))
    if not columns.size:
        return out
    outlying, kept = flags[:, columns], spared[:, columns]
    lasting = np.zeros(outlying.shape, dtype=bool)
    for order in (range(len(flags)), range(len(flags) - 1, -1, -1)):
        run = np.zeros(len(columns), dtype=np.int64)
        for t in order:
            more = outlying[t] & (~kept[t] | (run >= LASTING))
            lasting[t] |= more & kept[t]
            run = np.where(more, run + 1, 0)
    out[:, columns] = lasting
    return out


def _rare(flags: Bools) -> Bools:
    """Events of several neighbouring channels that all but never have any: they may be bursts of a part of the band.

    What comes once does nothing to a search for periods; of single pulses it is judged by its shape.
    """
    nblocks = len(flags)
    if nblocks < 32:
        return np.zeros(flags.shape, dtype=bool)
    rare = flags & (flags.sum(axis=0) <= max(2, 0.005 * nblocks))[None, :]
    # With the blocks before and after, of one event: enough of the channels around.
    event = rare.copy()
    event[1:] |= rare[:-1]
    event[:-1] |= rare[1:]
    sums = np.cumsum(np.pad(event, ((0, 0), (RARE_CHANNELS + 1, RARE_CHANNELS))), axis=1, dtype=np.int32)
    around = sums[:, 2 * RARE_CHANNELS + 1 :] - sums[:, : -(2 * RARE_CHANNELS + 1)]
    return np.asarray(rare & (around >= RARE_CHANNELS))


def _tracks(raised: Bools, bad: Bools, edges: Ints, delays: Floats) -> Bools:
    """Channel-blocks along the track of a very bright dispersed pulse, shape as `raised`.

    Looked for in bands of channels: on a track most bands have channels that are raised, and beside it few have.
    """
    spared = np.zeros(raised.shape, dtype=bool)
    nblocks, nchans = raised.shape
    nbands = min(32, nchans)
    band = np.arange(nchans) * nbands // nchans
    first = np.searchsorted(band, np.arange(nbands))
    known, hit = (np.add.reduceat(of, first, axis=1, dtype=np.float64).T for of in (~bad, raised & ~bad))
    struck = hit > 0.25 * known
    live = known > 0
    if nblocks < 3 or not struck.any():
        return spared
    middle = np.array([delays[band == b].mean() for b in range(nbands)]) / float(np.diff(edges).mean())
    middle -= middle.min()
    if not 0 < middle.max() < np.inf:
        return spared
    # Within a block of the track.
    near = struck.copy()
    near[:, 1:] |= struck[:, :-1]
    near[:, :-1] |= struck[:, 1:]
    density = np.append(0.0, np.cumsum(near.mean(axis=0)))
    starts = np.arange(nblocks)
    rows = np.arange(nbands)[:, None]
    crossings = np.arange(0.0, min(nblocks, TRACK_FINE), 0.5)
    if nblocks > TRACK_FINE:
        count = int(50 * np.log(nblocks / TRACK_FINE)) + 1
        crossings = np.concatenate([crossings, np.geomspace(TRACK_FINE, nblocks, count)])
    for crossing in crossings:
        places = starts[None, :] + np.rint(middle / middle.max() * crossing).astype(np.int64)[:, None]
        inside = places < nblocks
        places = np.minimum(places, nblocks - 1)
        usable = inside & live[rows, places]
        # What lies beyond the end of the data is not seen; half of the band must be.
        enough = usable.sum(axis=0) >= max(0.5 * live.any(axis=1).sum(), 4)
        share = (near[rows, places] & usable).sum(axis=0) / np.maximum(usable.sum(axis=0), 1)
        # In data where many are raised there would be as many along any line: some blocks before, and after.
        before, after = np.maximum(starts - TRACK_MARGIN, 0), np.minimum(starts + int(crossing) + TRACK_MARGIN, nblocks)
        chance = (density[after] - density[before]) / (after - before)
        for start in np.flatnonzero(enough & (share > TRACK_SHARE) & (chance < 0.6 * TRACK_SHARE)):
            for b in np.flatnonzero(usable[:, start]):
                place = int(places[b, start])
                spared[max(place - 1, 0) : place + 2, band == b] = True
    return spared
