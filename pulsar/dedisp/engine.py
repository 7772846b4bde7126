"""Dedispersion of one stage over one tile of time: by a tree, how exact it is, or by brute force.

The band is cut into fours of neighbouring channels, fours of fours, and so on. A node of the tree needs one row
(a partial sum over its channels) for every range of trial DMs whose delays across it are nearly the same, far fewer
than there are trials; each trial picks its row in each node. Frequencies are arbitrary, and every row knows the delays
that its channels got, so that rounding does not pile up.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Final

import numpy as np

from pulsar.constants import KDM
from pulsar.dedisp.plan import DMPlan
from pulsar_kernels.arrays import Floats, Int8s, Int16s, Int32s, Ints, Uint8s
from pulsar_kernels.dedisperse import brute_tile
from pulsar_kernels.tree import FAN, LANES, choose_rows, spans, tree_tile

#: Cost of a row's half sum, and of an input of the root and of its output [relative; measured].
_COST_NODE, _COST_INPUT, _COST_OUTPUT = 1.0, 0.35, 0.5
_UNUSED = np.int64(1) << 40


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Nodes of one level and their rows; the channels are the lowest level, with no rows."""

    count: Floats  # (nnodes,): channels
    slope: Floats  # (nnodes,): mean delay [samples per unit of DM]
    spread: Floats  # (nnodes,): variance of these delays
    rowid: Int32s  # (nnodes, ndms): row that serves a DM
    stats: Floats  # (nrows, 4): see the kernel
    node: Ints  # (nrows,)
    child: Ints  # (nrows, fan): row of the level below (channel at the lowest), -1 for none
    shift: Ints  # (nrows, fan): where its sample 0 is taken from


def _channels(k: Floats) -> _Nodes:
    none = np.zeros(0, np.int64)
    rows = none.reshape(0, 0)
    # A copy: what may not be written to is another type for kernels, and rows would be chosen by two versions.
    return _Nodes(
        np.ones(k.size), k.copy(), np.zeros(k.size), rows.astype(np.int32), np.zeros((0, 4)), none, rows, rows
    )


def _level(below: _Nodes, dms: Floats, fan: int, slack: float) -> _Nodes:
    """The level above, in nodes of `fan`; negative `slack` gives each DM its row."""
    nnodes = -(-below.count.size // fan)
    capacity = nnodes * dms.size
    count, slope, spread = np.empty(nnodes), np.empty(nnodes), np.empty(nnodes)
    rowid = np.empty((nnodes, dms.size), np.int32)
    node, stats = np.empty(capacity, np.int64), np.empty((capacity, 4))
    child, shift = np.empty((capacity, fan), np.int64), np.empty((capacity, fan), np.int64)
    known = (below.count, below.slope, below.spread, below.rowid, below.stats)
    nrows = choose_rows(fan, dms, slack, *known, count, slope, spread, rowid, node, child, shift, stats)
    stats, node, child, shift = stats[:nrows].copy(), node[:nrows].copy(), child[:nrows].copy(), shift[:nrows].copy()
    return _Nodes(count, slope, spread, rowid, stats, node, child, shift)


def _grow(k: Floats, dms: Floats) -> list[_Nodes]:
    """Levels from the channels up to the root, as many as cost least and leave enough nodes to the root."""
    levels = [_channels(k)]
    costs = [_root_cost(k.size, dms.size)]
    rows = 0
    # No more than four levels below the root: each adds a rounding of shifts and of sums. (Six would overflow int16 at
    # the root.) And no fewer nodes than 12 that the root sums: a node saturates at 16 times its noise, a series at the
    # root of their number times that. (Of a single node a bright pulsar's DM would be one that smears it until it
    # fits.) Costs up to 10 % of time.
    while len(levels) <= 4 and -(-levels[-1].count.size // FAN) >= 12:
        # A row serves DMs for which the variance of its channels' arrival is at most this much more than in a row of
        # their own [samples^2]. 0.02 makes a tenth more rows and 3 % less arrival error; 0.05 a tenth fewer, and 6 %
        # more.
        levels.append(_level(levels[-1], dms, FAN, 0.03))
        rows += levels[-1].node.size
        costs.append(_COST_NODE * rows + _root_cost(levels[-1].count.size, dms.size))
        if rows * _COST_NODE > min(costs):
            break
    best = int(np.argmin(costs))
    below = levels[best]
    return [*levels[: best + 1], _level(below, dms, below.count.size, -1.0)]


def _root_cost(inputs: int, ndms: int) -> float:
    return ndms * (_COST_INPUT * inputs + _COST_OUTPUT)


@dataclass(frozen=True, eq=False)
class TreeProgram:
    """A tree for one set of channels and DMs."""

    ndms: int
    #: operations: kind, dest, length, ptr, src, shift (see `pulsar_kernels.tree.tree_tile`), and how many levels are
    #: below the root: the series are multiples of two to this power.
    operations: tuple[Uint8s, Ints, Ints, Ints, Ints, Ints, int]
    adds: float  # additions for one sample of all DMs, with the overlaps of the tiles
    arena: int  # bytes of working space
    #: before, after: samples that are read before the tile's first, and after its last, at zero delay.
    before: int
    after: int
    #: children, shifts: of each level, lowest first: the rows that a row is made of (-1 for none), shape (nrows, fan),
    #: and the samples by which each is shifted.
    children: tuple[Ints, ...]
    shifts: tuple[Ints, ...]

    def delays(self) -> Ints:
        """Delay that every channel gets [samples], shape (ndms, nchans): the tree's own bookkeeping, replayed."""
        row = np.arange(self.ndms)[:, None]
        delay = np.zeros((self.ndms, 1), np.int64)
        for child, shift in zip(reversed(self.children), reversed(self.shifts), strict=True):
            # Which children exist depends on the node alone, not on the DM.
            keep = (child[row[0]] >= 0).ravel()
            delay = (delay[:, :, None] + shift[row]).reshape(self.ndms, -1)[:, keep]
            row = child[row].reshape(self.ndms, -1)[:, keep]
        return delay


def build_tree(k: Floats, dms: Floats, tile: int) -> TreeProgram:
    """Write the program of a tree.

    Parameters
    ----------
    k : ndarray, shape (nchans,)
        Delay of each channel [samples per unit of DM], ascending, not negative.
    dms : ndarray, shape (ndms,)
        Trial DMs, ascending.
    tile : int
        Samples that one run makes, a multiple of 64.
    """
    # Copies can be written: of arrays that cannot there would be another version of each kernel.
    levels = _grow(np.array(k, dtype=np.float64), np.array(dms, dtype=np.float64))[1:]
    lo, hi, before, after = _spans(levels, k.size)
    return _program(dms.size, tile, levels, lo, hi, before, after)


def _spans(levels: Sequence[_Nodes], nchans: int) -> tuple[list[Ints], list[Ints], int, int]:
    """First sample and last sample past the tile that is needed of every row, and of the channels."""
    sizes = [nchans, *(len(level.node) for level in levels)]
    los = [np.full(n, _UNUSED) for n in sizes]
    his = [np.full(n, -_UNUSED) for n in sizes]
    los[-1][:] = his[-1][:] = 0
    for i in range(len(levels) - 1, -1, -1):
        spans(levels[i].child, levels[i].shift, los[i + 1], his[i + 1], los[i], his[i])
    return los[1:], his[1:], max(0, -int(los[0].min())), max(0, int(his[0].max()))


def _program(
    ndms: int, tile: int, levels: Sequence[_Nodes], lo: Sequence[Ints], hi: Sequence[Ints], before: int, after: int
) -> TreeProgram:
    """Lay out the rows in the arena and list the operations in depth-first order."""
    top = len(levels) - 1
    used = [low <= high for low, high in zip(lo, hi, strict=True)]
    length = [
        np.where(u, -(-(tile + high - low) // LANES) * LANES, 0) for u, low, high in zip(used, lo, hi, strict=True)
    ]
    # One vector more than is needed: rows a power of two apart would share cache sets, and what is read past the end
    # of a row to fill a last vector must not lie outside.
    room = [np.where(size > 0, size + LANES, 0) for size in length]
    # Every level has its own part of the arena, with room for the nodes below one node of the level above, in whose
    # place those below the next one are written: the lowest, which are written most, stay in the caches.
    place: list[Ints] = []
    arena = 0
    for i, level in enumerate(levels[:-1]):
        start = np.searchsorted(level.node, np.arange(level.count.size))
        size = np.add.reduceat(room[i], start)
        earlier = np.cumsum(size) - size
        parent = np.arange(level.count.size) // (FAN if i < top - 1 else level.count.size)
        first = np.searchsorted(parent, np.arange(parent[-1] + 1))
        base = arena + earlier - earlier[first][parent]
        within = np.cumsum(room[i]) - room[i]
        place.append(base[level.node] + within - within[start][level.node])
        arena = int((base + size).max())
    lowest = levels[0].count.size
    order, kind, dest, size_of, counts, src, shift = [], [], [], [], [], [], []
    for i, level in enumerate(levels):
        rows = np.flatnonzero(used[i])
        child, moved = level.child[rows], lo[i][rows][:, None] + level.shift[rows]
        valid = child >= 0
        if i:
            moved, where = np.zeros_like(moved), place[i - 1][child] + moved - lo[i - 1][child]
        else:
            where = child
        # A node is done right after the last of the lowest nodes below it.
        last = np.minimum((level.node[rows] + 1) * FAN**i, lowest) - 1
        order.append((last if i < top else np.full(rows.size, lowest)) * (top + 1) + i)
        kind.append(np.full(rows.size, (i == 0) | (i == top) << 1, np.uint8))
        dest.append(rows if i == top else place[i][rows])
        size_of.append(length[i][rows])
        counts.append(valid.sum(axis=1))
        src.append(where[valid])
        shift.append(moved[valid])
    ninputs = np.concatenate(counts)
    begin = np.cumsum(ninputs) - ninputs
    ops = np.argsort(np.concatenate(order), kind="stable")
    ptr = np.append(0, np.cumsum(ninputs[ops]))
    gather = np.repeat(begin[ops] - ptr[:-1], ninputs[ops]) + np.arange(ptr[-1])
    sizes = np.concatenate(size_of)[ops]
    each = np.concatenate(kind)[ops], np.concatenate(dest)[ops], sizes, ptr
    return TreeProgram(
        ndms=ndms,
        operations=(*each, np.concatenate(src)[gather], np.concatenate(shift)[gather], top),
        adds=float(np.dot(ninputs[ops] - 1, sizes)) / tile,
        arena=arena,
        before=before,
        after=after + LANES - 1,
        children=tuple(level.child for level in levels),
        shifts=tuple(level.shift for level in levels),
    )


#: Most trial DMs of one tree: the channels are read from memory once for all of them, but their rows leave the caches.
TREE_DMS = 512


#: Fills ``rows[:, at : at + n]``, shape (ndms, nsamps), from the tile that begins at a column of the channels:
#: (channels, column, working space, rows, at, n).
Fill = Callable[[Int8s, int, Int8s, Int16s, int, int], None]


@dataclass(frozen=True, eq=False)
class Engine:
    """Dedisperses tiles for a few neighbouring DMs."""

    row: int  # first row of the output that is its
    ndms: int
    #: before, after: samples read before a tile's first, and after its last, at zero delay.
    before: int
    after: int
    work: int  # bytes of working space
    adds: float  # additions for one sample of all its DMs
    nbytes: int  # size of what it goes by
    fill: Fill  # by a tree, or channel by channel

    def run(self, raw: Int8s, column: int, work: Int8s, out: Int16s, at: int, n: int) -> None:
        """Fill ``out[row : row + ndms, at : at + n]`` from the tile that begins at `column` of `raw`.

        `work` has at least `self.work` elements, begins at a cache line, and belongs to the calling thread. `raw` and
        `out` are contiguous.
        """
        self.fill(raw, column, work, out[self.row : self.row + self.ndms], at, n)


def samples_per_dm(freqs: Floats, fref: float, tsamp: float) -> Floats:
    """Delay of each channel after `fref` [samples per pc cm^-3]."""
    return np.asarray(KDM / tsamp * (freqs**-2.0 - fref**-2.0), dtype=np.float64)


def tile_size(nsamps: int) -> int:
    """Samples of a tile: long against its overlaps, short against the caches (measured)."""
    return min(4096, max(64, -(-nsamps // 64) * 64))


def batch_size(method: str, nchans: int, nsamps: int) -> int:
    """Most trials of a batch: the best for speed, but fewer of long series (down to a quarter), for memory."""
    # Trial DMs that share a tile's channels in brute force.
    # Most for each channel, and what is never too many (measured: 512 at 4096 channels, where 128 take 1.9 times as
    # long for a DM; 64 at 256 channels, where 512 take 1.3 times as long).
    best = min(TREE_DMS, max(64, int(0.25 * nchans))) if method == "tree" else 128
    # Size of the series of a batch, where that leaves enough trials to a tree.
    return min(best, max((1 << 30) // (2 * nsamps), best // 4))


def batch_edges(method: str, nchans: int, nsamps: int, ndms: int) -> list[int]:
    """Where the batches of a stage begin, and `ndms`: the same whatever part of them is wanted."""
    batches = -(-ndms // batch_size(method, nchans, nsamps))
    return [int(edge) for edge in np.linspace(0, ndms, batches + 1).round()]


def make_engines(
    freqs: Floats,
    fref: float,
    dms: Floats,
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
    spans = [(first, last) for first, last in edges if first < high and last > low]
    with ThreadPoolExecutor(threads, thread_name_prefix="trees") as pool:
        return list(pool.map(make, [first for first, _ in spans], [dms[first:last] for first, last in spans]))


def _tree_engine(k: Floats, tile: int, first: int, dms: Floats) -> Engine:
    program = build_tree(k, dms, tile)
    operations = program.operations  # without the levels, which nobody needs any more

    def fill(raw: Int8s, column: int, work: Int8s, rows: Int16s, at: int, n: int) -> None:
        tree_tile(raw, column, *operations, work, rows, at, n)

    return Engine(
        row=first,
        ndms=dms.size,
        before=program.before,
        after=program.after,
        work=program.arena,
        adds=program.adds,
        nbytes=sum(array.nbytes for array in operations[:-1]),
        fill=fill,
    )


def _brute_engine(k: Floats, tile: int, first: int, dms: Floats) -> Engine:
    delays = np.rint(np.outer(dms, k)).astype(np.int64)
    # Sums of many channels do not fit 16 bits on the way.
    shape = (dms.size, tile) if k.size > 256 else (0, 0)
    size = 4 * shape[0] * shape[1]

    def fill(raw: Int8s, column: int, work: Int8s, rows: Int16s, at: int, n: int) -> None:
        brute_tile(raw, column, delays, work[:size].view(np.int32).reshape(shape), rows, 0, at, n)

    return Engine(
        row=first,
        ndms=dms.size,
        before=max(0, -int(delays.min())),
        after=max(0, int(delays.max())),
        work=size,
        adds=float(delays.size - dms.size),
        nbytes=delays.nbytes,
        fill=fill,
    )


#: Additions per CPU second of an EPYC (Zen 4), measured with `pulsar bench brute` on one core, and of the tree in a
#: search on two (benchmarks/speed.py beam; alone it makes 38e9); other machines differ by a factor of two or so.
ADDS_PER_SECOND: Final = {"tree": 28e9, "brute": 50e9}
#: Seconds per channel-sample to downsample it and to move it through the buffers, measured likewise.
SECONDS_PER_SAMPLE: Final = 2.5e-10


@lru_cache(maxsize=16)
def _tree_adds(k: bytes, dms: bytes, tile: int) -> float:
    """`TreeProgram.adds` of a tree: a run asks twice, before and after its mask, and mostly for the same channels."""
    return build_tree(np.frombuffer(k), np.frombuffer(dms), tile).adds


def stage_seconds(plan: DMPlan) -> list[float]:
    """CPU time that each stage of a plan takes, reading and cleaning not counted [s]."""
    method, seconds = plan.method, []
    for stage in plan.stages:
        if method == "tree":
            # A batch from the middle stands for all.
            batches = -(-stage.ndms // batch_size(method, plan.freqs.size, stage.nsamps))
            size = -(-stage.ndms // batches)
            first = (batches // 2) * (stage.ndms - size) // max(batches - 1, 1)
            k = samples_per_dm(plan.freqs, plan.fref, stage.tsamp)
            each = _tree_adds(k.tobytes(), stage.dms[first : first + size].tobytes(), tile_size(stage.nsamps))
            adds = each * stage.ndms / size * stage.nsamps
        else:
            adds = float(stage.ndms) * (plan.freqs.size - 1) * stage.nsamps
        seconds.append(adds / ADDS_PER_SECOND[method] + plan.freqs.size * stage.nsamps * SECONDS_PER_SAMPLE)
    return seconds
