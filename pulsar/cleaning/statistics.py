"""First pass over the file: statistics of every channel in every time block, and impulses at DM 0."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.diode import Diode, DiodeSums
from pulsar.cleaning.impulses import (
    BANDS,
    LONGEST,
    WINDOWS,
    Bands,
    beyond,
    bridged,
    find_impulses,
    parts_of_blocks,
    repeated,
    repeating,
    whole_band,
)
from pulsar.cleaning.robust import in_rows
from pulsar.config.model import RfiConfig
from pulsar.data.observation import Observation, gaps_of, joined_stretches, left_out
from pulsar.data.series import Space
from pulsar_kernels.arrays import Array, Bools, Float32s, Floats, Int32s, Ints
from pulsar_kernels.moments import add_bands, decimate, moments
from pulsar_kernels.spectra import line_powers, passes, strongest

# Blocks wanted in a short observation, where blocks of the configured length would be too few to compare.
WANTED_BLOCKS = 16
# Impulses are looked for in so many seconds, and no more samples, at a time.
GROUP_TIME = 4.0
GROUP_SAMPLES = 1 << 18
# Spectra within a block are without the lowest bins, which have the drifts.
SPECTRUM_FIRST = 5
# Fewer samples are summed, down to two, for so many points; still fewer make no spectrum. Of sums of two the variance
# is at most twice that of white noise, which so few points hardly tell.
SPECTRUM_LEAST = 32


@dataclass(frozen=True)
class BlockStatistics:
    """Moments of every channel and time block."""

    block_nsamps: int  # samples in a block (the last block takes the remainder, up to 1.5 blocks long)
    edges: Ints  # (nblocks + 1,): edges of the blocks in samples
    #: mean, std (nblocks, nchans): of the finite samples; NaN where there are none.
    mean: Floats
    std: Floats
    #: (nblocks, nchans): fraction of samples at the top code (0 for floats and for fewer than 4 bits).
    saturated: Float32s
    valid: Floats  # (nblocks, nchans): fraction of samples that are finite and not in a gap
    #: skewness, kurtosis (nblocks, nchans): third and fourth standardised moments, the latter less 3 (0 for Gaussian
    #: noise); NaN without variance.
    skewness: Float32s
    kurtosis: Float32s
    #: (nblocks, nchans): strongest power within the block over the mean power, less its expectation in noise:
    #: ``exp(-fourier)`` is about the probability of noise. Lines that many channels have at once are left out. NaN
    #: where it was not taken.
    fourier: Float32s
    bins: Int32s  # (nblocks, nchans): bin of that power, of `bin_width` Hz each
    #: (nblocks, nchans): variance of sums over a few samples (of about a millisecond) over that of white noise, less 1;
    #: NaN where it was not taken. In white noise it scatters by ``sqrt(2 / npoints)``.
    excess: Float32s
    bin_width: float = 0.0  # [Hz]; 0 where no spectra were taken
    npoints: int = 0  # such sums in a block; 0 where none were taken
    diode: Diode | None = None  # a noise diode that is on, in part of the data or all of it
    #: (nblocks,) or (0,): mean of its wave over each block, -1/2 to 1/2.
    diode_share: Floats = field(default_factory=lambda: np.zeros(0))
    #: (n, 2): first sample of impulses at DM 0 and the one after the last, ascending; none where they were not looked
    #: for.
    impulses: Ints = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))

    @property
    def nblocks(self) -> int:
        """Number of time blocks."""
        return int(self.mean.shape[0])


def _empty_statistics(edges: Ints, nchans: int) -> BlockStatistics:
    """Tables of which nothing has been taken yet."""
    kinds: dict[str, Any] = dict.fromkeys(("mean", "std", "valid"), np.float64) | {"bins": np.int32}
    kinds |= dict.fromkeys(("saturated", "skewness", "kurtosis", "fourier", "excess"), np.float32)
    counted, shape = ("valid", "bins", "saturated"), (len(edges) - 1, nchans)
    tables: dict[str, Any] = {k: np.full(shape, 0 if k in counted else np.nan, kind) for k, kind in kinds.items()}
    return BlockStatistics(block_nsamps=int(edges[1] - edges[0]), edges=edges, **tables)


def block_edges(nsamps: int, tsamp: float, block: float, nchans: int) -> Ints:
    """Edges of the statistics blocks, in samples."""
    n = round(block / tsamp)
    n = min(n, nsamps // WANTED_BLOCKS)
    # Blocks and channel-blocks are bounded for the memory of the statistics (and of the mask) in a long observation.
    most = min(4096, max((1 << 21) // nchans, WANTED_BLOCKS))
    # From 128 samples on a standard deviation is good to 6 %.
    n = max(n, 128, -(-nsamps // most))
    count = max(1, round(nsamps / n))
    edges = np.minimum(np.arange(count + 1, dtype=np.int64) * n, nsamps)
    edges[-1] = nsamps
    return edges


def piece_samples(spectrum_bytes: int) -> int:
    """Samples to read at a time: an odd number of cache lines, or rows would share the same few places in a cache."""
    # A mebibyte: large enough for sequential reading, small enough for L2. With many channels rather 1088 samples, up
    # to 8 MiB: short stretches of many rows cost more to begin than the cache saves.
    n = max(64, (1 << 20) // spectrum_bytes, min(1088, (8 << 20) // spectrum_bytes))
    return n // 64 * 64 - (64 if n >= 192 and n // 64 % 2 == 0 else 0)


def top_code(obs: Observation) -> int:
    """Code of a saturated sample as `read` returns it; above every code where saturation has no meaning."""
    top = highest(obs)
    return int(top) if np.isfinite(top) and obs.header.nbits >= 4 else 1 << 20


def highest(obs: Observation) -> float:
    """Highest code that `read` may return; inf for floats."""
    header = obs.header
    if obs.dtype == np.float32 or header.nbits not in (1, 2, 4, 8, 16):
        return np.inf
    top = (1 << header.nbits) - 1
    # Where the reader has summed two polarisations, they saturate together.
    summed = header.nifs > 1 and not header.pol_type.upper().startswith("IQUV")
    return 2.0 * top if summed else float(top)


def measure(
    obs: Observation, config: RfiConfig, *, threads: int = 1, progress: Callable[[int], None] | None = None
) -> BlockStatistics:
    """Read the observation once and take the statistics of every channel and block.

    Parameters
    ----------
    config : RfiConfig
        `block` gives the length of a block; spectra are taken if `fourier` or `excess` is above 0, impulses if `clip`
        is.
    threads : int
        Blocks are shared out over this many threads; the result does not depend on it.
    progress : callable, optional
        Called with the number of samples done.
    """
    run = _Pass(obs, config, progress)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        impulses = list(pool.map(run.group, range(0, run.nblocks, run.together)))
    return run.result(np.array(joined_stretches(np.concatenate(impulses).tolist()), dtype=np.int64).reshape(-1, 2))


class _Pass:
    """One reading of an observation: what is taken of every block, block by block in any order."""

    def __init__(self, obs: Observation, config: RfiConfig, progress: Callable[[int], None] | None) -> None:
        header = obs.header
        self.obs, self.header, self.config, self.progress = obs, header, config, progress
        self.gaps = gaps_of(obs)
        nchans = header.nchans
        self.edges = block_edges(header.nsamps, header.tsamp, config.block, nchans)
        self.nblocks = len(self.edges) - 1
        self.stats = _empty_statistics(self.edges, nchans)
        self.top = top_code(obs)
        self.step = piece_samples(nchans * obs.dtype.itemsize)
        block = int(self.edges[1] - self.edges[0])
        self.factor, self.npoints = spectrum_points(block, nchans, header.tsamp)
        needed = config.enabled and (config.fourier > 0 or config.excess > 0) and self.npoints > 0
        self.bands = Bands.of(header, obs.chan_ok, config.zap) if config.enabled and config.clip > 0 else None
        #: Band of every channel; where dispersion cannot tell, of all channels.
        self.of_channel = whole_band(nchans) if self.bands is None else self.bands.of_channel
        #: Sums of the bands where all of their channels are saturated.
        self.full = np.float64(highest(obs)) * np.bincount(self.of_channel[self.of_channel >= 0]).astype(np.float64)
        self.diodes = None
        if config.enabled and config.diodes and self.npoints > 0:
            self.diodes = DiodeSums(list(config.diodes), self.nblocks, nchans, self.factor * header.tsamp)
        self.spectra = needed or self.diodes is not None
        #: Blocks that are read together.
        self.together = max(1, min(round(GROUP_TIME / header.tsamp), GROUP_SAMPLES) // block)
        self.space = Space()

    def _read(self, lo: int, hi: int) -> Iterator[tuple[int, Array]]:
        """First sample and samples of pieces of what is in a file."""
        nchans = self.header.nchans
        for start, stop in left_out(self.gaps, lo, hi):
            for at in range(start, stop, self.step):
                n = min(self.step, stop - at)
                data = self.space.array("raw", (nchans, n), self.obs.dtype)
                self.obs.read_into(at, data)
                yield at, data

    def group(self, first: int) -> Ints:
        """Take some blocks; returns the impulses in them, which are looked for with what is before and after."""
        last = min(first + self.together, self.nblocks)
        sums = _Sums(first, last, self.header.nchans)
        begin, end = int(self.edges[first]), int(self.edges[last])
        margin = 0 if self.bands is None else self.bands.margin
        lo, hi = max(begin - margin, 0), min(end + margin, self.header.nsamps)
        series = self.space.array("series", (int(self.of_channel.max()) + 1, hi - lo))
        for start, stop in ((lo, begin), (end, hi)):
            for at, data in self._read(start, stop):
                add_bands(data, self.of_channel, at - lo, series)
        for block in range(first, last):
            self._block(block, sums, series, lo)
        impulses, gone, partly = self._stretches(series, lo, hi)
        gone = np.clip(gone, begin, end)
        for block in range(first, last):
            self._without(block, sums, gone)
        for start, stop in parts_of_blocks(np.clip(partly, begin, end), self.edges).tolist():
            self._forget(sums, start, stop)
        self._moments(sums)
        impulses = impulses[(impulses[:, 0] >= begin) & (impulses[:, 0] < end)]
        return np.concatenate([impulses, parts_of_blocks(gone, self.edges)])

    def _stretches(self, series: Float32s, lo: int, hi: int) -> tuple[Ints, ...]:
        """Impulses in the samples `lo` to `hi`, and where all bands, or some, are repeated for lost ones."""
        none = np.zeros((0, 2), dtype=np.int64)
        impulses, gone, partly = [none], [none], [none]
        for start, stop in left_out(self.gaps, lo, hi):
            # Rows that follow one another in memory.
            part = np.ascontiguousarray(series[:, start - lo : stop - lo])
            again = repeating(part)
            whole = repeated(part, self.full, LONGEST / self.header.tsamp) if again.all() else none
            for k in np.flatnonzero(again).tolist():
                partial = repeated(part[k : k + 1], self.full[k : k + 1])
                partly.append(start + beyond(partial, whole))
            gone.append(start + whole)
            if self.bands is not None:
                part = bridged(part, whole, WINDOWS * self.bands.longest)
                clip, space = self.config.clip, self.space.array("plain", part.shape)
                # Beside a bright pulse the running mean is too high: a dropout must be half as significant again.
                impulses.append(start + find_impulses(part, self.bands, clip, 1.5 * clip, space=space))
        return np.concatenate(impulses), np.concatenate(gone), np.unique(np.concatenate(partly), axis=0)

    def _without(self, block: int, sums: "_Sums", gone: Ints) -> None:
        """Take a block again without what is lost of it; where all is, it stays a constant."""
        lo, hi = int(self.edges[block]), int(self.edges[block + 1])
        lost = np.clip(gone, lo, hi)
        lost = lost[lost[:, 1] > lost[:, 0]]
        if not len(lost) or np.array_equal(lost, [[lo, hi]]):
            return
        sums.clear(block)
        for start, stop in zip([lo, *lost[:, 1].tolist()], [*lost[:, 0].tolist(), hi], strict=True):
            for _, data in self._read(start, stop):
                sums.add(block, data, self.top)

    def _forget(self, sums: "_Sums", start: int, stop: int) -> None:
        """Forget the channels that are constant from one sample to another, in the blocks that these are of."""
        still = np.ones(self.header.nchans, dtype=np.bool_)
        level: Array | None = None
        for _, data in self._read(start, stop):
            level = data[:, :1].copy() if level is None else level
            still &= (data == level).all(axis=1)
        low, high = np.searchsorted(self.edges, (start, stop - 1), side="right").tolist()
        for block in range(low - 1, high):
            sums.clear(block, still)

    def _block(self, block: int, sums: "_Sums", series: Float32s, origin: int) -> None:
        """Take one block of those of `sums`; bands go to `series`, which begins at sample `origin`."""
        lo, hi = int(self.edges[block]), int(self.edges[block + 1])
        points = self.space.array("points", (self.header.nchans, self.npoints)) if self.spectra else None
        for at, data in self._read(lo, hi):
            sums.add(block, data, self.top)
            if points is not None:
                decimate(data, self.factor, at - lo, points)
            add_bands(data, self.of_channel, at - origin, series)
        whole = left_out(self.gaps, lo, hi) == [(lo, hi)]
        # A last block that is too short would end in zeros: a step, and lines that are not there.
        if points is not None and whole and hi - lo >= self.npoints * self.factor:
            sums.variance[block - sums.first] = self._spectra(block, points, sums.std(block))
        if self.progress is not None:
            self.progress(hi - lo)

    def _moments(self, sums: "_Sums") -> None:
        """Moments of some blocks, from their sums."""
        stats = self.stats
        for some in in_rows(sums.count.shape):
            rows = slice(sums.first + some.start, min(sums.first + some.stop, sums.last))
            stats.mean[rows], stats.std[rows], stats.skewness[rows], stats.kurtosis[rows] = sums.moments(some)
            count = sums.count[some]
            with np.errstate(divide="ignore", invalid="ignore"):
                stats.saturated[rows] = np.where(count > 0, sums.ntop[some] / count, 0.0)
            lengths = np.diff(self.edges)[rows, None]
            stats.valid[rows] = count / lengths
            stats.excess[rows] = sums.variance[some] - 1.0
            # Missing samples are no zeros.
            unknown = (count < lengths) | ~np.isfinite(stats.excess[rows])
            stats.excess[rows][unknown] = np.nan
            stats.fourier[rows][unknown] = np.nan

    def _spectra(self, block: int, points: Float32s, std: Floats) -> Floats:
        """Take the strongest powers of one block; the variance of its points in units of white noise."""
        factor = self.factor
        if self.diodes is not None:
            self.diodes.add(block, int(self.edges[block]) * self.header.tsamp, points, std * np.sqrt(factor))
        # The spectra of 32 channels are taken at a time.
        powers = self.space.array("powers", (-(-self.header.nchans // 32), self.npoints // 2 + 1, 32))
        # A channel that is constant has no noise to be a unit.
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1.0 / (np.sqrt(factor) * std)
        known = np.isfinite(scale)
        self.stats.fourier[block], self.stats.bins[block], variance = _strongest(
            points, np.where(known, scale, 0.0), powers
        )
        return np.where(known, variance, np.nan)

    def result(self, impulses: Ints) -> BlockStatistics:
        """The statistics of all blocks."""
        diode = None if self.diodes is None else self.diodes.find(self.factor)
        times = self.edges.astype(np.float64) * self.header.tsamp
        return replace(
            self.stats,
            bin_width=1.0 / (self.npoints * self.factor * self.header.tsamp) if self.spectra else 0.0,
            npoints=self.npoints if self.spectra else 0,
            diode=diode,
            diode_share=np.zeros(0) if diode is None else diode.shares(times),
            impulses=impulses,
        )


class _Sums:
    """Sums of powers of some blocks, from which their moments follow."""

    def __init__(self, first: int, last: int, nchans: int) -> None:
        self.first, self.last = first, last
        nblocks = last - first
        self.powers = np.zeros((nblocks, 4, nchans))
        self.count = np.zeros((nblocks, nchans), dtype=np.int64)
        self.ntop = np.zeros((nblocks, nchans), dtype=np.int64)
        self.origin = np.zeros((nblocks, nchans))
        #: Of sums of a few samples, in units of white noise; NaN where it was not taken.
        self.variance = np.full((nblocks, nchans), np.nan)

    def add(self, block: int, data: NDArray[np.generic], top: int) -> None:
        """Add samples of one of the blocks."""
        k = block - self.first
        if not self.count[k].any():
            few = data[:, :64].astype(np.float32)
            if data.dtype == np.float32:
                self.origin[k] = np.where(np.isfinite(few), few, np.float32(0.0)).mean(axis=1)
            else:
                # Sums of so few are exact.
                self.origin[k] = np.rint(few.sum(axis=1).astype(np.float64) / few.shape[1])
        moments(data, top, self.origin[k], self.powers[k], self.count[k], self.ntop[k])

    def clear(self, block: int, chans: Bools | slice = slice(None)) -> None:
        """Forget one of the blocks, or some of its channels."""
        k = block - self.first
        for of in (self.powers, self.count, self.ntop):
            of[k, ..., chans] = 0
        self.variance[k, chans] = np.nan

    def std(self, block: int) -> Floats:
        """Standard deviation of every channel in one of the blocks."""
        k = block - self.first
        with np.errstate(divide="ignore", invalid="ignore"):
            d, q = self.powers[k, :2] / self.count[k]
            return np.asarray(np.sqrt(np.maximum(q - d**2, 0.0)))

    def moments(self, some: slice) -> tuple[Floats, ...]:
        """Mean, standard deviation, skewness and excess kurtosis of every channel in some of the blocks."""
        with np.errstate(divide="ignore", invalid="ignore"):
            d, q, t, f = (self.powers[some, power] / self.count[some] for power in range(4))
            variance = np.maximum(q - d**2, 0.0)
            std = np.sqrt(variance)
            # Rounding leaves a constant some variance.
            known = variance > 1e-9 * q
            third = np.where(known, (t - 3 * d * q + 2 * d * d**2) / (variance * std), np.nan)
            fourth = np.where(known, (f - 4 * d * t + 6 * d**2 * q - 3 * (d**2) ** 2) / variance**2 - 3.0, np.nan)
        return self.origin[some] + d, std, third, fourth


def spectrum_points(block_nsamps: int, nchans: int, tsamp: float) -> tuple[int, int]:
    """Samples summed for a point of the spectra of a block, a power of two, and the number of points (0: too few)."""
    # Sums over about a millisecond and at least four samples.
    factor = 4
    while factor * tsamp * 1.5 < 1e-3:
        factor *= 2
    while factor > 2 and block_nsamps // factor < SPECTRUM_LEAST:
        factor //= 2
    # No more than 32 MiB of all channels.
    while 4 * nchans * (block_nsamps // factor) > 32 << 20:
        factor *= 2
    npoints = block_nsamps // factor
    # A length that transforms well.
    while npoints >= SPECTRUM_LEAST and _largest_factor(npoints) > 5:
        npoints -= 1
    return factor, npoints if npoints >= SPECTRUM_LEAST else 0


def _largest_factor(n: int) -> int:
    for p in (2, 3, 5):
        while n % p == 0:
            n //= p
    return n if n > 1 else 1


def _strongest(points: Float32s, scale: Floats, powers: Float32s) -> tuple[Float32s, Ints, Floats]:
    """Strongest power of every channel as `BlockStatistics.fourier` has it, its bin, and the variance of scaled points.

    Lines that many channels have are left out: a hum, or a pulsar. `powers` is memory for them.
    """
    nchans, npoints = points.shape
    surplus = np.empty(nchans, dtype=np.float32)
    where = np.empty(nchans, dtype=np.int64)
    variance = np.empty(nchans)
    counts = np.empty(npoints // 2 + 1, dtype=np.int64)
    # A line is five times the mean power; one that three channels, or a tenth of them, have is nobody's own.
    line_powers(points, scale.astype(np.float32), *passes(npoints), SPECTRUM_FIRST, 5.0, powers, variance, counts)
    few = counts <= max(3, 0.1 * nchans)
    used = few.copy()
    # What is beside a line has its leakage.
    used[1:] &= few[:-1]
    used[:-1] &= few[1:]
    strongest(powers, SPECTRUM_FIRST, used, surplus, where)
    return surplus, where, variance


#: Bytes of a channel-block: its statistics; what judging them takes beside (measured, tracemalloc, by
#: tests/faults/test_memory.py); a mask and the coefficients made of it; more of these for the steps of a diode.
STATISTICS: Final = 48
JUDGING: Final = 58
MASK: Final = 31
STEPS: Final = 12


def channel_blocks(obs: Observation, config: RfiConfig) -> int:
    """Number of cells of the table of statistics."""
    header = obs.header
    return (len(block_edges(header.nsamps, header.tsamp, config.block, header.nchans)) - 1) * header.nchans


def mask_bytes(obs: Observation, config: RfiConfig) -> int:
    """Bytes that the mask and what is made of it take as long as cleaned samples are read."""
    gains = 8 if config.zerodm == "zdot" else 0
    return (MASK + (STEPS if config.diodes else 0) + gains) * channel_blocks(obs, config)


def making_bytes(obs: Observation, config: RfiConfig) -> int:
    """Bytes that making the mask takes at its peak, once the file is read."""
    return (STATISTICS + JUDGING + (STEPS if config.diodes else 0)) * channel_blocks(obs, config)


def reading_bytes(obs: Observation, config: RfiConfig) -> tuple[int, int]:
    """Bytes that the first pass takes: in all, and of each thread."""
    header = obs.header
    edges = block_edges(header.nsamps, header.tsamp, config.block, header.nchans)
    _, npoints = spectrum_points(int(edges[1] - edges[0]), header.nchans, header.tsamp)
    bands = Bands.of(header, obs.chan_ok, config.zap) if config.enabled and config.clip > 0 else None
    # Points of spectra, and half as many powers.
    each = 6 * header.nchans * npoints
    # The series of bands, and without their mean; where there is something to look at what is left, two to sum in, and
    # a hum with its spectra.
    together = max(int(edges[-1] - edges[-2]), min(round(GROUP_TIME / header.tsamp), GROUP_SAMPLES))
    count, margin = (BANDS, 0) if bands is None else (bands.count, bands.margin)
    each += 4 * 9 * count * (min(together, header.nsamps) + 2 * margin)
    spectrum = header.nchans * obs.dtype.itemsize
    each += spectrum * piece_samples(spectrum)
    periods = len(config.diodes)
    # While a diode is looked for: sums, and waves of each of its periods.
    cell = STATISTICS + (4 + 8 * periods if periods else 0)
    return cell * channel_blocks(obs, config), each


def reading_threads(obs: Observation, config: RfiConfig, threads: int, memory: int) -> int:
    """Threads of the first pass that fit some memory [byte], one at least. What it gives does not depend on them."""
    whole, each = reading_bytes(obs, config)
    return max(1, min(threads, (memory - whole) // max(1, each)))
