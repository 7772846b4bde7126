"""First pass over the file: mean and standard deviation of every channel in every time block."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import RfiConfig
from pulsar.data.observation import Observation

# Fewest samples a block may hold for its standard deviation to be good to 6 %.
MIN_BLOCK = 128
# Blocks wanted in a short observation, where blocks of the configured length would be too few to compare.
WANTED_BLOCKS = 16
# Most blocks: bounds the memory of the statistics (and of the mask) in a long observation.
MOST_BLOCKS = 2048
# Raw bytes read at a time by one thread: large enough for sequential reading, small enough for L2.
PIECE_BYTES = 1 << 20
# With many channels rather this many samples, up to MOST_BYTES: short stretches of many rows cost more to begin than
# the cache saves.
PIECE_SAMPLES = 1088
MOST_BYTES = 8 << 20


@dataclass(frozen=True)
class BlockStatistics:
    """Moments of every channel and time block.

    Attributes
    ----------
    block_nsamps : int
        Samples in a block (the last block takes the remainder, up to 1.5 blocks long).
    edges : ndarray of int64, shape (nblocks + 1,)
        Edges of the blocks in samples.
    mean, std : ndarray of float64, shape (nblocks, nchans)
        Of the finite samples; NaN where there are none.
    saturated : ndarray of float64, shape (nblocks, nchans)
        Fraction of samples at the top code (0 for floats and for fewer than 4 bits).
    valid : ndarray of float64, shape (nblocks, nchans)
        Fraction of samples that are finite and not in a gap.
    """

    block_nsamps: int
    edges: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    saturated: NDArray[np.float64]
    valid: NDArray[np.float64]

    @property
    def nblocks(self) -> int:
        """Number of time blocks."""
        return int(self.mean.shape[0])


def block_edges(nsamps: int, tsamp: float, block: float) -> NDArray[np.int64]:
    """Edges of the statistics blocks, in samples."""
    n = round(block / tsamp)
    n = min(n, nsamps // WANTED_BLOCKS)
    n = max(n, MIN_BLOCK, nsamps // MOST_BLOCKS)
    count = max(1, round(nsamps / n))
    edges = np.minimum(np.arange(count + 1, dtype=np.int64) * n, nsamps)
    edges[-1] = nsamps
    return edges


def piece_samples(spectrum_bytes: int) -> int:
    """Samples to read at a time: an odd number of cache lines, or rows would share the same few places in a cache."""
    n = max(64, PIECE_BYTES // spectrum_bytes, min(PIECE_SAMPLES, MOST_BYTES // spectrum_bytes))
    return n // 64 * 64 - (64 if n >= 192 and n // 64 % 2 == 0 else 0)


def top_code(obs: Observation) -> int:
    """Code of a saturated sample as `read` returns it; above every code where saturation has no meaning."""
    header = obs.header
    if obs.dtype == np.float32 or header.nbits not in (4, 8, 16):
        return 1 << 20
    top = (1 << header.nbits) - 1
    # Where the reader has summed two polarisations, they saturate together.
    summed = header.nifs > 1 and not header.pol_type.upper().startswith("IQUV")
    return 2 * top if summed else top


def measure(
    obs: Observation, config: RfiConfig, *, threads: int = 1, progress: Callable[[int], None] | None = None
) -> BlockStatistics:
    """Read the observation once and take the moments of every channel and block.

    Parameters
    ----------
    obs : Observation
    config : RfiConfig
        `block` gives the length of a block.
    threads : int
        Blocks are shared out over this many threads; the result does not depend on it.
    progress : callable, optional
        Called with the number of samples done.

    Returns
    -------
    BlockStatistics
    """
    from pulsar_kernels.moments import moments

    header = obs.header
    nchans = header.nchans
    edges = block_edges(header.nsamps, header.tsamp, config.block)
    nblocks = len(edges) - 1
    mean = np.full((nblocks, nchans), np.nan)
    std = np.full((nblocks, nchans), np.nan)
    saturated = np.zeros((nblocks, nchans))
    valid = np.zeros((nblocks, nchans))
    top = top_code(obs)
    step = piece_samples(nchans * obs.dtype.itemsize)
    local = threading.local()

    def one(block: int) -> None:
        if not hasattr(local, "buffer"):
            local.buffer = np.empty(nchans * step, dtype=obs.dtype)
        s1 = np.zeros(nchans)
        s2 = np.zeros(nchans)
        count = np.zeros(nchans, dtype=np.int64)
        ntop = np.zeros(nchans, dtype=np.int64)
        origin = np.zeros(nchans)
        lo, hi = int(edges[block]), int(edges[block + 1])
        for start, stop in outside_gaps(obs, lo, hi):
            for at in range(start, stop, step):
                n = min(step, stop - at)
                data = local.buffer[: nchans * n].reshape(nchans, n)
                obs.read_into(at, data)
                if obs.dtype == np.float32 and not count.any():
                    with np.errstate(invalid="ignore"):
                        first = np.nanmean(np.where(np.isfinite(data), data, 0.0), axis=1, dtype=np.float64)
                    origin = np.asarray(first, dtype=np.float64)
                moments(data, top, origin, s1, s2, count, ntop)
        with np.errstate(divide="ignore", invalid="ignore"):
            delta = s1 / count
            variance = np.maximum(s2 / count - delta**2, 0.0)
            mean[block] = origin + delta
            std[block] = np.sqrt(variance)
            saturated[block] = np.where(count > 0, ntop / count, 0.0)
        valid[block] = count / (hi - lo)
        if progress is not None:
            progress(hi - lo)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        list(pool.map(one, range(nblocks)))
    return BlockStatistics(int(edges[1] - edges[0]), edges, mean, std, saturated, valid)


def outside_gaps(obs: Observation, lo: int, hi: int) -> list[tuple[int, int]]:
    """The stretches of [lo, hi) that are in a file."""
    pieces: list[tuple[int, int]] = []
    at = lo
    for gap in obs.gaps:
        if gap.start + gap.nsamps <= at or gap.start >= hi:
            continue
        if gap.start > at:
            pieces.append((at, gap.start))
        at = max(at, gap.start + gap.nsamps)
    if at < hi:
        pieces.append((at, hi))
    return pieces
