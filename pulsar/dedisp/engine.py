"""One stage's dedispersion over one tile of time: tree or brute force, the same way to call."""

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM
from pulsar.dedisp.tree import Operations, build_tree

#: Most trial DMs of one tree: the channels are read from memory once for all of them, but their rows leave the caches.
TREE_DMS = 512
#: Most for each channel, and what is never too many (measured: 512 at 4096 channels, where 128 take 1.9 times as long
#: for a DM; 64 at 256 channels, where 512 take 1.3 times as long).
CHANNEL_DMS = 0.25
FEW_DMS = 64
#: Trial DMs that share a tile's channels in brute force.
BRUTE_DMS = 128
#: Size of the series of a batch, where that leaves enough trials to a tree.
BATCH_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Engine(ABC):
    """Dedisperses tiles for a few neighbouring DMs.

    Attributes
    ----------
    row : int
        First row of the output that is its.
    ndms : int
    before, after : int
        Samples read before a tile's first, and after its last, at zero delay.
    work : int
        Bytes of working space.
    adds : float
        Additions for one sample of all its DMs.
    nbytes : int
        Size of what it goes by.
    """

    row: int
    ndms: int
    before: int
    after: int
    work: int
    adds: float
    nbytes: int

    @abstractmethod
    def run(
        self, raw: NDArray[np.int8], column: int, work: NDArray[np.int8], out: NDArray[np.int16], at: int, n: int
    ) -> None:
        """Fill ``out[row : row + ndms, at : at + n]`` from the tile that begins at `column` of `raw`.

        `work` has at least `self.work` elements, begins at a cache line, and belongs to the calling thread. `raw` and
        `out` are contiguous.
        """


@dataclass(frozen=True, eq=False)
class TreeEngine(Engine):
    """A tree over a batch of DMs."""

    operations: Operations

    def run(
        self, raw: NDArray[np.int8], column: int, work: NDArray[np.int8], out: NDArray[np.int16], at: int, n: int
    ) -> None:
        """See `Engine`."""
        self.operations.run(raw, column, work, out[self.row : self.row + self.ndms], at, n)


@dataclass(frozen=True, eq=False)
class BruteEngine(Engine):
    """Every channel for every DM of a batch."""

    delays: NDArray[np.int64]

    def run(
        self, raw: NDArray[np.int8], column: int, work: NDArray[np.int8], out: NDArray[np.int16], at: int, n: int
    ) -> None:
        """See `Engine`."""
        from pulsar_kernels.dedisperse import brute_tile

        rows = self.ndms if self.work else 0
        wide = work[: self.work].view(np.int32).reshape(rows, self.work // (4 * rows) if rows else 0)
        brute_tile(raw, column, self.delays, wide, out, self.row, at, n)


def samples_per_dm(freqs: NDArray[np.float64], fref: float, tsamp: float) -> NDArray[np.float64]:
    """Delay of each channel after `fref` [samples per pc cm^-3]."""
    return np.asarray(KDM / tsamp * (freqs**-2.0 - fref**-2.0), dtype=np.float64)


def tile_size(nsamps: int) -> int:
    """Samples of a tile: long against its overlaps, short against the caches (measured)."""
    return min(4096, max(64, -(-nsamps // 64) * 64))


def batch_size(method: str, nchans: int, nsamps: int) -> int:
    """Most trials of a batch: the best for speed, but fewer of long series (down to a quarter), for memory."""
    best = min(TREE_DMS, max(FEW_DMS, int(CHANNEL_DMS * nchans))) if method == "tree" else BRUTE_DMS
    return min(best, max(BATCH_BYTES // (2 * nsamps), best // 4))


def batch_edges(method: str, nchans: int, nsamps: int, ndms: int) -> list[int]:
    """Where the batches of a stage begin, and `ndms`: the same whatever part of them is wanted."""
    batches = -(-ndms // batch_size(method, nchans, nsamps))
    return [int(edge) for edge in np.linspace(0, ndms, batches + 1).round()]


def make_engines(
    freqs: NDArray[np.float64],
    fref: float,
    dms: NDArray[np.float64],
    tsamp: float,
    nsamps: int,
    method: str,
    *,
    threads: int = 1,
    rows: tuple[int, int] | None = None,
) -> list[Engine]:
    """Engines for all `dms` (ascending), in batches, that make tiles of ``tile_size(nsamps)``.

    Parameters
    ----------
    freqs : ndarray, shape (nchans,)
        Channel centres [MHz], descending.
    fref : float
        Frequency of zero delay [MHz], not below ``freqs[0]``.
    dms : ndarray, shape (ndms,)
        [pc cm^-3]
    tsamp : float
        Sampling time of the stage [s].
    nsamps : int
        Samples of a series.
    method : {"tree", "brute"}
    threads : int
        Threads that make them.
    rows : (int, int), optional
        First of the `dms` that are wanted, and the one after the last: only batches that have some of them are made.
    """
    k = samples_per_dm(freqs, fref, tsamp)
    make = partial(_tree_engine if method == "tree" else _brute_engine, k, tile_size(nsamps))
    low, high = (0, dms.size) if rows is None else rows
    edges = pairwise(batch_edges(method, k.size, nsamps, dms.size))
    wanted = [(first, last) for first, last in edges if first < high and last > low]
    with ThreadPoolExecutor(threads, thread_name_prefix="trees") as pool:
        return list(pool.map(make, [first for first, _ in wanted], [dms[first:last] for first, last in wanted]))


def _tree_engine(k: NDArray[np.float64], tile: int, first: int, dms: NDArray[np.float64]) -> Engine:
    program = build_tree(k, dms, tile)
    return TreeEngine(
        row=first,
        ndms=dms.size,
        before=program.before,
        after=program.after,
        work=program.arena,
        adds=program.adds,
        nbytes=program.operations.nbytes,
        operations=program.operations,
    )


def _brute_engine(k: NDArray[np.float64], tile: int, first: int, dms: NDArray[np.float64]) -> Engine:
    delays = np.rint(np.outer(dms, k)).astype(np.int64)
    work = 4 * dms.size * tile if k.size > 256 else 0
    before, after = max(0, -int(delays.min())), max(0, int(delays.max()))
    adds = float(delays.size - dms.size)
    return BruteEngine(first, dms.size, before, after, work, adds, delays.nbytes, delays)
