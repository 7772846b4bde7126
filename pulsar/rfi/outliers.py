"""Which channels and channel-blocks stand out: by level, noise, shape of the distribution, periodicity, neighbours.

A signal from the sky is in many channels. Where a quarter of the channels of a block stand out in the shape of their
distribution or against their neighbours, that says nothing about single channels; where many channels have the same
line, it is not one of theirs.
"""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import RfiConfig
from pulsar.rfi.robust import MAD_TO_SIGMA, median, robust_z, smooth
from pulsar.rfi.statistics import BlockStatistics

#: Channels needed before one can be called an outlier among the others.
MIN_CHANNELS: Final = 16
#: Departures of a channel smaller than these do no harm, however many sigma they are.
MIN_NOISE_RATIO: Final = 1.35
MIN_VARIABILITY: Final = 2.0
MIN_SKEWNESS: Final = 0.1
MIN_KURTOSIS: Final = 0.2
#: What this part of the channels have at the same time is broadband: it is looked for from this many sigma on.
BROAD: Final = 0.25
BROAD_SIGMA: Final = 3.0
#: A line that this part of the channels, and at least so many, have in a block is not one of theirs.
COMMON: Final = 0.1
COMMON_CHANNELS: Final = 3
#: Farthest neighbours that vote, as a part of the channels, and the ratio of one lag to the next (Morello et al. 2022).
RADIUS: Final = 0.1
LAG_RATIO: Final = 1.5


@dataclass(frozen=True)
class Outliers:
    """What stands out.

    Attributes
    ----------
    channels : list of (ndarray of bool, shape (nchans,); str)
        Whole channels, and why.
    blocks : list of (ndarray of bool, shape (nblocks, nchans); str)
        Channel-blocks, and the cause.
    """

    channels: list[tuple[NDArray[np.bool_], str]]
    blocks: list[tuple[NDArray[np.bool_], str]]


def find_outliers(stats: BlockStatistics, bad: NDArray[np.bool_], window: int, config: RfiConfig) -> Outliers:
    """Outlying channels and channel-blocks, in two rounds: the second without what the first found.

    Parameters
    ----------
    stats : BlockStatistics
    bad : ndarray of bool, shape (nblocks, nchans)
        What is masked already, and says nothing about the rest.
    window : int
        Blocks over which levels are followed.
    config : RfiConfig
    """
    shape = stats.mean.shape
    whole = {name: np.zeros(shape[1], dtype=bool) for name in ("noise outlier", "variable", "not noise")}
    parts = {name: np.zeros(shape, dtype=bool) for name in ("mean", "noise", "shape", "line", "neighbours")}
    lengths = np.diff(stats.edges).astype(np.float64)[:, None] * np.maximum(stats.valid, 1e-9)
    for _ in range(2):
        live = np.asarray(~bad.all(axis=0))
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
            # Raised noise in many channels: a bright pulse, whose spectrum is its own affair.
            burst = _broad(ratio * np.sqrt(2.0 * lengths))
            ratio -= median(ratio, axis=1, keepdims=True)

            level = np.log(median(np.where(bad, np.nan, stats.std), axis=0))
            residual = _residual(level, live)
            z = robust_z(residual, 0.0)
            noticeable = live & (np.abs(residual) > np.log(MIN_NOISE_RATIO))
            whole["noise outlier"] |= noticeable & (np.abs(z) > config.chan_sigma)

            for values, cause in ((dev, "mean"), (ratio, "noise")):
                variable, outlying = _variable(values, live, config)
                whole["variable"] |= variable
                parts[cause] |= outlying
            if config.kurtosis > 0:
                for values, variance, least in (
                    (stats.skewness, 6.0, MIN_SKEWNESS),
                    (stats.kurtosis, 24.0, MIN_KURTOSIS),
                ):
                    sigma = np.sqrt(variance / lengths)
                    channels, outlying = _shape(np.where(bad, np.nan, values), sigma, live, least, config.kurtosis)
                    whole["not noise"] |= channels
                    parts["shape"] |= outlying
            if config.fourier > 0 and stats.bin_width > 0:
                parts["line"] |= _periodic(stats, bad, live, config.fourier)
            if config.iqrm > 0:
                votes = np.where(burst[:, None], np.nan, ratio)
                parts["neighbours"] |= _voted(votes, config.iqrm)
                whole["noise outlier"] |= noticeable & _voted(np.where(live, residual, np.nan)[None, :], config.iqrm)[0]
        for channels in whole.values():
            bad = bad | channels[None, :]
        for blocks in parts.values():
            bad = bad | blocks
    return Outliers([(w, name) for name, w in whole.items()], [(p, name) for name, p in parts.items()])


def grown(flags: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Flags closed and extended along time and along frequency (Offringa et al. 2012), shape as `flags`."""
    from pulsar_kernels.interference import extend

    along = np.empty_like(flags)
    extend(np.ascontiguousarray(flags), share, along)
    columns = np.ascontiguousarray(flags.T)
    across = np.empty_like(columns)
    extend(columns, share, across)
    return np.asarray(along | across.T)


def _residual(level: NDArray[np.float64], live: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of a number for every channel, what differs from the running median over the channels around."""
    from scipy.ndimage import median_filter

    filled = np.interp(np.arange(level.size), np.flatnonzero(live), level[live])
    size = max(9, int(live.sum()) // 16) | 1
    return np.asarray(filled - median_filter(filled, size=size, mode="nearest"))


def _variable(
    values: NDArray[np.float64], live: NDArray[np.bool_], config: RfiConfig
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Channels that vary more than others, and blocks out of their channel's range."""
    variable = np.zeros(live.size, dtype=bool)
    spread = MAD_TO_SIGMA * median(np.abs(values), axis=0)
    if len(values) >= 4:
        rel = np.log(np.maximum(spread, 1e-30))
        z = robust_z(np.where(live, rel, np.nan))
        variable = live & (z > config.chan_sigma) & (rel - median(rel[live]) > np.log(MIN_VARIABILITY))
    typical = float(median(spread[live]))
    if not typical > 0:
        return variable, np.zeros(values.shape, dtype=bool)
    # A strong celestial signal moves channels alike but not equally: their spread counts as noise.
    across = MAD_TO_SIGMA * median(np.abs(values), axis=1, keepdims=True)
    scale = np.maximum(np.maximum(spread, typical)[None, :], across)
    return variable, np.abs(values) > config.block_sigma * scale


def _broad(sigmas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Blocks of which many channels stand out at once, shape (nblocks,)."""
    known = np.isfinite(sigmas).sum(axis=1)
    return np.asarray((np.abs(sigmas) > BROAD_SIGMA).sum(axis=1) > BROAD * np.maximum(known, 1))


def _shape(
    values: NDArray[np.float64],
    sigma: NDArray[np.float64],
    live: NDArray[np.bool_],
    least: float,
    threshold: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Channels and channel-blocks whose skewness or kurtosis is not that of the others.

    `sigma` is its standard deviation in Gaussian noise, shape (nblocks, nchans).
    """
    nblocks = len(values)
    level = median(values, axis=0)
    live = live & np.isfinite(level)
    channels = np.zeros(live.size, dtype=bool)
    if live.sum() < MIN_CHANNELS:
        return channels, np.zeros(values.shape, dtype=bool)
    typical = level - np.where(live, _residual(np.where(live, level, 0.0), live), 0.0)
    off = np.where(live, level - typical, np.nan)
    scatter = np.maximum(MAD_TO_SIGMA * median(np.abs(off)), 1.2533 * median(sigma, axis=0) / np.sqrt(nblocks))
    standing = np.abs(off) > np.maximum(threshold * scatter, least)
    if standing.sum() <= BROAD * live.sum():
        channels = live & standing
    # Of a block: beside what all channels have then, and what this one always has.
    beside = values - np.where(np.isfinite(level), level, 0.0)[None, :]
    beside -= median(beside, axis=1, keepdims=True)
    spread = MAD_TO_SIGMA * median(np.abs(beside), axis=0)
    across = MAD_TO_SIGMA * median(np.abs(beside), axis=1, keepdims=True)
    scale = np.maximum(np.maximum(np.nan_to_num(spread)[None, :], sigma), across)
    broad = _broad(np.where(np.isfinite(values), (values - typical[None, :]) / sigma, np.nan))
    return channels, (np.abs(beside) > threshold * scale) & ~broad[:, None]


def _periodic(
    stats: BlockStatistics, bad: NDArray[np.bool_], live: NDArray[np.bool_], threshold: float
) -> NDArray[np.bool_]:
    """Channel-blocks with a line of their own."""
    from scipy.stats import norm

    limit = -float(norm.logsf(threshold))
    surplus = np.where(bad | ~np.isfinite(stats.fourier), -np.inf, stats.fourier)
    out = surplus > limit
    most = max(COMMON_CHANNELS, COMMON * float(live.sum()))
    for block in np.flatnonzero(out.any(axis=1)):
        lines = stats.bins[block]
        count = np.bincount(lines[surplus[block] > 0.5 * limit], minlength=int(lines.max()) + 2)
        near = count + np.append(count[1:], 0) + np.append(0, count[:-1])
        out[block] &= near[lines] <= most
    return np.asarray(out)


def _voted(values: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Outliers of every row to either side by the votes of their neighbours."""
    from pulsar_kernels.interference import iqrm

    values = np.ascontiguousarray(values)
    radius = max(1, int(RADIUS * values.shape[1]))
    lags = [1]
    while (lag := max(lags[-1] + 1, int(LAG_RATIO * lags[-1]))) <= radius:
        lags.append(lag)
    above, below = np.zeros(values.shape, dtype=bool), np.zeros(values.shape, dtype=bool)
    iqrm(values, np.array(lags, dtype=np.int64), threshold, above)
    iqrm(-values, np.array(lags, dtype=np.int64), threshold, below)
    return above | below
