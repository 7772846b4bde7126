"""The series that the fast folding search works on, level by level: sums, running mean taken off, bursts tamed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.searches.ffa_levels import POINTS, Level, trial_periods
from pulsar.searches.ffa_noise import running_means

#: Fewest samples that bursts are looked for in.
MIN_SAMPLES = 256
#: From how many places noise is measured at most.
MOST_BLOCKS = 4096
#: Standard deviations of a burst; what is in so many of 64 stretches is no burst.
BURST = 6.0
BURSTS = 4
#: Share of the samples that must be there.
LEAST_SHARE = 0.05


class Buffers:
    """Work space of one thread."""

    def __init__(self, levels: tuple[Level, ...]) -> None:
        self.raw = [np.zeros(level.nsamps, dtype=np.float32) for level in levels]
        self.flat = [np.zeros(level.nsamps, dtype=np.float32) for level in levels]
        self.noise = [0.0 for _ in levels]
        # How much more noise boxes have than in white noise, by the first trial period of a step.
        self.rises: dict[int, NDArray[np.float64]] = {}
        finest = max((level.nsamps for level in levels), default=0)
        self.halved = np.zeros(finest, dtype=np.float32)
        self.sums = np.zeros(finest + 1, dtype=np.int32)
        coarse, work, tile = _sizes(levels)
        self.coarse = _aligned(coarse + 64, np.int16)
        self.work = _aligned(work, np.int16)
        self.tile = _aligned(tile, np.int32)
        ntrials = trial_periods(levels)
        self.best = np.zeros(ntrials + 16, dtype=np.float32)
        self.which = np.zeros(ntrials + 16, dtype=np.uint8)

    @staticmethod
    def nbytes(levels: tuple[Level, ...]) -> int:
        """Bytes that they take."""
        finest = max((level.nsamps for level in levels), default=0)
        coarse, work, tile = _sizes(levels)
        every = sum(level.nsamps for level in levels)
        return 8 * every + 8 * finest + 2 * (coarse + work) + 4 * tile + 5 * trial_periods(levels)


def _sizes(levels: tuple[Level, ...]) -> tuple[int, int, int]:
    """Samples of the longest series that is folded, elements of the transforms' work space and of a tile."""
    from pulsar_kernels import ffa

    every = [(step, int(bins)) for level in levels for step in level.steps for bins in step.transforms[:, 0]]
    return (
        max((step.nsamps for step, _ in every), default=0),
        max((ffa.work_size(step.nsamps, bins) for step, bins in every), default=0),
        max((ffa.tile_size(bins, int(step.widths[-1])) for step, bins in every), default=0),
    )


def _aligned(n: int, kind: type) -> NDArray[Any]:
    """Zeros that begin at a cache line."""
    size = np.dtype(kind).itemsize
    space: NDArray[Any] = np.zeros(n + 64 // size, dtype=kind)
    skip = -space.ctypes.data // size % (64 // size)
    return space[skip : skip + n]


def halved(x: NDArray[np.float32], times: int, space: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The series, and its sums of 2, 4, 8 ... samples, `times` of them, in `space`."""
    from pulsar_kernels import longwave

    out = [x]
    at = 0
    for _ in range(times):
        half = space[at : at + out[-1].shape[0] // 2]
        longwave.sum_pairs(out[-1], half)
        out.append(half)
        at += half.shape[0]
    return out


def flattened(level: Level, raw: NDArray[np.float32], flat: NDArray[np.float32]) -> tuple[float, float]:
    """Take off the running median; returns the noise of a sample (0: there is none), and how many are there."""
    from pulsar_kernels import longwave, moments

    size = level.block
    means = np.empty(max(level.nsamps // size, 1), dtype=np.float64)
    share = longwave.block_means(raw, size, means) / level.nsamps
    if share < LEAST_SHARE:
        return 0.0, share
    middle = np.arange(len(means))
    half = POINTS // 2
    baseline = np.empty((len(means), 1))
    moments.running_medians(
        means[:, None], np.maximum(middle - half, 0), np.minimum(middle + half + 1, len(means)), baseline
    )
    line = baseline[:, 0]
    there = np.isfinite(line)
    if not there.all():
        line = np.interp(middle, middle[there], line[there])
    # A median makes harmonics of waves; a mean does not, but bursts go into it: blocks far from the median do not
    # count. Twice over a turn it takes nothing off a wave that is shorter, and adds nothing to it.
    off = np.where(there, np.nan_to_num(means) - line, 0.0)
    line = np.where(np.abs(off) > BURST * 1.4826 * _middle(np.abs(off)), line, line + off)
    for _ in range(2):
        line = running_means(line, half)
    longwave.flatten(raw, size, np.ascontiguousarray(line), flat)
    step = max(level.nsamps // (longwave.BLOCK * MOST_BLOCKS), 1)
    variances = np.empty(level.nsamps // (longwave.BLOCK * step) + 1, dtype=np.float32)
    count = longwave.block_variances(flat, step, variances)
    if count == 0:
        return 0.0, share
    # Median of chi-square with 31 degrees of freedom over its mean (Wilson-Hilferty).
    return float(np.sqrt(_middle(variances[:count]) / (1.0 - 2.0 / (9.0 * 31.0)) ** 3)), share


def _middle(x: NDArray[Any]) -> float:
    """The median, of two the larger: that of numpy spends most of its time on what is not asked."""
    return float(np.partition(x, len(x) // 2)[len(x) // 2])


def taken_off(
    flat: NDArray[np.float32],
    part: NDArray[np.float64],
    size: int,
    halves: list[NDArray[np.float32]],
    space: NDArray[np.float32],
) -> list[NDArray[np.float32]]:
    """Take from a flattened series what is given at the middles of blocks, in place; returns its sums anew."""
    from pulsar_kernels import longwave

    missing = flat == 0.0
    longwave.flatten(flat, size, part, flat)
    flat[missing] = 0.0
    return halved(flat, len(halves) - 1, space)


def tame_bursts(halves: list[NDArray[np.float32]], sigma: float) -> None:
    """Cut bursts down: groups of 1, 2, 4 ... samples beyond 6 standard deviations are brought down to it.

    But only if they are in no more than three of 64 stretches: pulses and waves of red noise are in more.
    """
    from pulsar_kernels import longwave

    low = np.empty(64, dtype=np.float32)
    high = np.empty(64, dtype=np.float32)
    for k, sums in enumerate(halves):
        limit = BURST * sigma * np.sqrt(1 << k)
        if sums.shape[0] >= MIN_SAMPLES and longwave.count_beyond(sums, limit) > 0:
            longwave.extremes(sums, low, high)
            lowest = -limit if np.count_nonzero(low < -limit) < BURSTS else -np.inf
            highest = limit if np.count_nonzero(high > limit) < BURSTS else np.inf
            longwave.tame(halves[0], sums, lowest, highest)
