"""The dedispersion tree: its program, and how exact it is.

The band is cut into pairs of neighbouring channels, pairs of pairs, and so on. A node of the tree needs one row
(a partial sum over its channels) for every distinct delay across it, far fewer than there are trial DMs; each
trial DM picks its row in each node. Here nodes may be merged four, eight, ... at a time (a level is left out
where that saves memory traffic), frequencies are arbitrary, and every merge shifts a row by the difference
between the mean delay its channels should have and the one they got, so that rounding does not pile up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Cost of reading a channel stretch, an arena stretch, and of writing, per sample [relative; measured].
_COST_RAW, _COST_ROW, _COST_WRITE = 0.7, 1.0, 1.3
#: Padding of arena rows [samples]: a cache line.
_LINE = 32
#: Children that a node takes at once: they must not push its own rows out of the cache.
_GROUP = 4
_UNUSED = np.int64(1) << 40
#: A row serves DMs whose delays across the node lie within this many samples; finer when that is not exact enough.
#: (1.5 is a quarter faster, but its arrival error costs narrow pulses another percent.)
KEY_STEPS = (1.0, 0.7, 0.5, 0.35)
#: Largest arrival error of any channel at any DM [samples].
MAX_ERROR = 2.0
#: Origins tried in each merge, and the weight of the extreme error against the variance.
PHASES, EXTREME = 16, 0.3


@dataclass(frozen=True, eq=False)
class _Level:
    """Rows of the nodes of one level."""

    size: int  # channels in a full node
    rowid: NDArray[np.int32]  # (nnodes, ndms): row that serves a DM
    node: NDArray[np.int64]  # (nrows,)
    jmid: NDArray[np.int64]  # (nrows,): DM whose rows of the children it takes
    dm: NDArray[np.float64]  # (nrows,): DM in the middle of those that it serves


def _level(k: NDArray[np.float64], dms: NDArray[np.float64], size: int, key_step: float) -> _Level:
    """Rows of the nodes of `size` channels."""
    first = np.arange(0, k.size, size)
    last = np.minimum(first + size, k.size) - 1
    if size >= k.size:
        rowid = np.arange(dms.size, dtype=np.int32)[None, :]
        j = np.arange(dms.size)
        return _Level(size, rowid, np.zeros(dms.size, np.int64), j, dms)
    key = np.floor(np.outer(k[last] - k[first], dms / key_step) + 0.5)
    new = np.ones(key.shape, bool)
    new[:, 1:] = key[:, 1:] != key[:, :-1]
    flat = new.ravel()
    start = np.flatnonzero(flat)
    rowid = (np.cumsum(flat, dtype=np.int32) - 1).reshape(key.shape).astype(np.int32)
    end = np.append(start[1:], flat.size) - 1
    node, j0 = np.divmod(start, dms.size)
    j1 = end - node * dms.size
    return _Level(size, rowid, node, (j0 + j1) // 2, 0.5 * (dms[j0] + dms[j1]))


def _choose(counts: list[int], nodes: list[int]) -> list[int]:
    """Levels to keep: least memory traffic from the channels (level 0) to the root."""
    top = len(counts) - 1
    best = [0.0] + [np.inf] * top
    back = [0] * (top + 1)
    for m in range(1, top + 1):
        for low in range(max(0, m - 6), m):
            fan = min(2 ** (m - low), nodes[low])
            load = _COST_RAW if low == 0 else _COST_ROW
            cost = best[low] + counts[m] * (fan * load + _COST_WRITE * ((fan + 3) // 4))
            if cost < best[m]:
                best[m], back[m] = cost, low
    kept = [top]
    while kept[-1] > 0:
        kept.append(back[kept[-1]])
    return kept[::-1]


@dataclass(frozen=True, eq=False)
class _Merge:
    """How the rows of one kept level are made from those of the level below it."""

    child: NDArray[np.int64]  # (nrows, fan): row of the level below (channel at the first merge)
    shift: NDArray[np.int64]  # (nrows, fan): where its sample 0 is taken from
    valid: NDArray[np.bool_]  # (nrows, fan)
    mean: NDArray[np.float64]  # (nrows,): mean over the channels of the delay that they get
    spread: NDArray[np.float64]  # (2, nrows): least and largest error of a channel, against the mean error


def _merge(
    k: NDArray[np.float64],
    level: _Level,
    below: _Level | None,
    lower: _Merge | None,
    root: bool,
) -> _Merge:
    """Shifts for every row of `level`; `below` and `lower` are None for the channels themselves."""
    size = 1 if below is None else below.size
    starts = np.arange(0, k.size, size)
    count = np.diff(np.append(starts, k.size)).astype(np.float64)
    kmean = np.add.reduceat(k, starts) / count
    fan = min(-(-level.size // size), starts.size)
    child_node = level.node[:, None] * fan + np.arange(fan)
    valid = child_node < starts.size
    child_node = np.minimum(child_node, starts.size - 1)
    if below is None or lower is None:
        child = child_node
        got = np.zeros(child.shape)
        least, largest = got, got
    else:
        child = below.rowid[child_node, level.jmid[:, None]].astype(np.int64)
        got = lower.mean[child]
        least, largest = lower.spread[0][child], lower.spread[1][child]
    weight = np.where(valid, count[child_node], 0.0)
    total = weight.sum(axis=1)
    want = level.dm[:, None] * kmean[child_node] - got
    # Only the shifts among the children matter for sharpness: try several origins, take the one with the least
    # variance and extremes.
    best_score = np.full(len(child), np.inf)
    shift = np.zeros(child.shape, np.int64)
    spread = np.zeros((2, len(child)))
    single = (valid.sum(axis=1) == 1) & (below is not None)
    for phase in np.arange(-PHASES // 2, PHASES // 2) / PHASES:
        trial = np.rint(want - phase)
        trial[single] = 0.0
        error = trial - want
        mean = (weight * error).sum(axis=1) / total
        low = np.where(valid, error + least, np.inf).min(axis=1) - mean
        high = np.where(valid, error + largest, -np.inf).max(axis=1) - mean
        if root:
            extreme = np.maximum(high + mean, -(low + mean))
        else:
            extreme = np.maximum(high, -low)
        variance = (weight * error**2).sum(axis=1) / total - (0.7 if root else 1.0) * mean**2
        score = variance + EXTREME * extreme**2 + 1e-9 * phase**2
        better = score < best_score
        best_score[better] = score[better]
        shift[better] = trial[better].astype(np.int64)
        spread[0][better], spread[1][better] = low[better], high[better]
    mean = (weight * (shift + got)).sum(axis=1) / total
    return _Merge(child, shift, valid, mean, spread)


@dataclass(frozen=True, eq=False)
class TreeProgram:
    """A tree for one set of channels and DMs, as a list of operations for `pulsar_kernels.dedisperse.tree_tile`.

    Attributes
    ----------
    tile : int
        Samples made by one run.
    kind, dest, length, ptr, src, shift : ndarray
        The operations; see the kernel.
    arena : int
        int16 elements of working space.
    before, after : int
        Samples that are read before the tile's first, and after its last, at zero delay.
    row_adds : int
        Additions for one sample of all DMs (as if every operation were as long as the tile).
    """

    nchans: int
    ndms: int
    tile: int
    kind: NDArray[np.uint8]
    dest: NDArray[np.int64]
    length: NDArray[np.int64]
    ptr: NDArray[np.int64]
    src: NDArray[np.int64]
    shift: NDArray[np.int64]
    arena: int
    before: int
    after: int
    k: NDArray[np.float64]
    dms: NDArray[np.float64]
    merges: tuple[_Merge, ...]

    @property
    def row_adds(self) -> int:
        """Additions for one sample of all DMs, overlaps of the tiles not counted."""
        return int(self._sums.sum())

    @property
    def _sums(self) -> NDArray[np.int64]:
        """Additions of each operation, a sample."""
        return np.asarray(np.diff(self.ptr) - 1 + (self.kind & 4) // 4, dtype=np.int64)

    @property
    def adds(self) -> float:
        """Additions for one sample of all DMs, with the overlaps of the tiles."""
        return float(np.dot(self._sums, self.length)) / self.tile

    def delays(self) -> NDArray[np.int64]:
        """Delay that every channel gets [samples], shape (ndms, nchans): the tree's own bookkeeping, replayed."""
        return replayed_delays(self.merges, self.ndms)

    def arrival_errors(self) -> NDArray[np.float64]:
        """Delay that every channel gets minus the exact one [samples], shape (ndms, nchans)."""
        return self.delays() - np.outer(self.dms, self.k)


def replayed_delays(merges: Sequence[_Merge], ndms: int) -> NDArray[np.int64]:
    """Delay that every channel gets, shape (ndms, nchans), followed from the root down."""
    row = np.arange(ndms)[:, None]
    delay = np.zeros((ndms, 1), np.int64)
    for merge in reversed(merges):
        # Which children exist depends on the node alone, not on the DM.
        keep = merge.valid[row[0]].ravel()
        delay = (delay[:, :, None] + merge.shift[row]).reshape(ndms, -1)[:, keep]
        row = merge.child[row].reshape(ndms, -1)[:, keep]
    return delay


def _windows(
    merges: list[_Merge],
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]], int, int]:
    """First sample and last sample past the tile that is needed of every row, and of the channels."""
    los = [np.full(len(m.child), _UNUSED) for m in merges]
    his = [np.full(len(m.child), -_UNUSED) for m in merges]
    los[-1][:] = 0
    his[-1][:] = 0
    before = after = np.int64(0)
    for i in range(len(merges) - 1, -1, -1):
        merge = merges[i]
        used = los[i] < _UNUSED
        valid = merge.valid & used[:, None]
        lo = (los[i][:, None] + merge.shift)[valid]
        hi = (his[i][:, None] + merge.shift)[valid]
        if i == 0:
            before = max(np.int64(0), -lo.min())
            after = max(np.int64(0), hi.max())
        else:
            np.minimum.at(los[i - 1], merge.child[valid], lo)
            np.maximum.at(his[i - 1], merge.child[valid], hi)
    return los, his, int(before), int(after)


class _Arena:
    """First-fit allocation of the working space while the program is written."""

    def __init__(self) -> None:
        self.free: list[tuple[int, int]] = [(0, 1 << 60)]
        self.top = 0

    def take(self, size: int) -> int:
        """Offset of `size` free elements."""
        for i, (start, length) in enumerate(self.free):
            if length >= size:
                self.free[i] = (start + size, length - size)
                self.top = max(self.top, start + size)
                return start
        raise AssertionError("the last stretch is endless")

    def give(self, start: int, size: int) -> None:
        """Return a stretch."""
        if not size:
            return
        self.free.append((start, size))
        self.free.sort()
        merged = [self.free[0]]
        for begin, length in self.free[1:]:
            if begin == merged[-1][0] + merged[-1][1]:
                merged[-1] = (merged[-1][0], merged[-1][1] + length)
            else:
                merged.append((begin, length))
        self.free = merged


def build_tree(
    k: NDArray[np.float64], dms: NDArray[np.float64], tile: int, *, key_steps: tuple[float, ...] = KEY_STEPS
) -> TreeProgram:
    """Write the program of a tree.

    Parameters
    ----------
    k : ndarray, shape (nchans,)
        Delay of each channel [samples per unit of DM], ascending, not negative.
    dms : ndarray, shape (ndms,)
        Trial DMs, ascending.
    tile : int
        Samples that one run makes.
    key_steps : tuple of float
        Spacing of the rows of a node [samples of delay across it]; the first is taken with which no channel at
        any DM arrives more than `MAX_ERROR` samples from where it should, else all channels are summed at once.

    Returns
    -------
    TreeProgram
    """
    n = k.size
    top = max(1, (n - 1).bit_length())
    nodes = [-(-n // (1 << m)) for m in range(top + 1)]
    for key_step in (*key_steps, 0.0):
        if key_step:
            levels = [_level(k, dms, 1 << m, key_step) for m in range(1, top + 1)]
            kept = _choose([n] + [len(level.node) for level in levels], nodes)
        else:
            levels = [_level(k, dms, 1 << top, 1.0)] * top
            kept = [0, top]
        merges: list[_Merge] = []
        below: _Level | None = None
        lower: _Merge | None = None
        for m in kept[1:]:
            merge = _merge(k, levels[m - 1], below, lower, m == top)
            merges.append(merge)
            below, lower = levels[m - 1], merge
        error = np.abs(replayed_delays(merges, dms.size) - np.outer(dms, k)).max()
        if error <= MAX_ERROR:
            break
    return _program(k, dms, tile, [levels[m - 1] for m in kept[1:]], merges)


def _program(
    k: NDArray[np.float64], dms: NDArray[np.float64], tile: int, levels: list[_Level], merges: list[_Merge]
) -> TreeProgram:
    """Lay out the rows in the arena and list the operations in depth-first order."""
    nlev = len(levels)
    # A node with a single child has its child's rows; only raw channels must be widened to int16.
    aliased = [
        (merge.valid.sum(axis=1) == 1) if i else np.zeros(len(merge.child), bool) for i, merge in enumerate(merges)
    ]
    los, his, before, after = _windows(merges)
    used = [lo < _UNUSED for lo in los]
    length = [np.where(u, tile + hi - lo, 0) for u, lo, hi in zip(used, los, his, strict=True)]
    # One line more than needed: rows a power of two apart would share cache sets.
    room = [np.where(size > 0, -(-size // _LINE) * _LINE + _LINE, 0) for size in length]
    starts = [np.searchsorted(level.node, np.arange(int(level.node[-1]) + 1)) for level in levels]
    node_room = [np.add.reduceat(r, s) for r, s in zip(room, starts, strict=True)]
    fans = [_GROUP] + [merge.child.shape[1] for merge in merges[1:]]
    groups = [1] + [-(-fan // _GROUP) for fan in fans[1:]]
    base = [np.zeros(len(s), np.int64) for s in starts]
    rank = [np.zeros((len(s), g), np.int64) for s, g in zip(starts, groups, strict=True)]
    arena = _Arena()
    counter = 0

    def visit(i: int, node: int) -> tuple[int, int]:
        """Place a node's rows after its children's; returns what to give back once it has been used."""
        nonlocal counter
        size = int(node_room[i][node]) if i < nlev - 1 or groups[i] > 1 else 0
        if i == 0:
            rank[i][node] = counter
            counter += 1
            base[i][node] = arena.take(size)
            return int(base[i][node]), size
        children = range(node * fans[i], min((node + 1) * fans[i], len(base[i - 1])))
        for group in range(groups[i]):
            # A wide node takes a few children at a time, which then make room for the next.
            owned = [visit(i - 1, c) for c in children[group * _GROUP : (group + 1) * _GROUP]]
            if len(children) == 1 and group == 0:
                base[i][node] = base[i - 1][node * fans[i]]
                return owned[0]
            if group == 0:
                base[i][node] = arena.take(size)
            rank[i][node, group] = counter
            counter += 1
            for begin, extent in owned:
                arena.give(begin, extent)
        return int(base[i][node]), size

    visit(nlev - 1, 0)
    offset: list[NDArray[np.int64]] = []
    for i, level in enumerate(levels):
        ends = np.cumsum(room[i]) - room[i]
        offset.append(base[i][level.node] + ends - ends[starts[i]][level.node])
    # An alias is the same stretch: its rows correspond one to one to the child's.
    for i in range(1, nlev):
        rows = np.flatnonzero(aliased[i])
        offset[i][rows] = offset[i - 1][merges[i].child[rows, 0]]
    order, kind, dest, size, nsrc, src, shift = [], [], [], [], [], [], []
    for i, (level, merge) in enumerate(zip(levels, merges, strict=True)):
        for group in range(groups[i]):
            part = slice(group * _GROUP, (group + 1) * _GROUP) if i else slice(None)
            rows = np.flatnonzero(used[i] & ~aliased[i] & merge.valid[:, part].any(axis=1))
            valid = merge.valid[rows, part]
            child, moved = merge.child[rows, part], los[i][rows][:, None] + merge.shift[rows, part]
            into_out = i == nlev - 1 and group == groups[i] - 1
            code = (1 if i == 0 else 0) | (2 if into_out else 0)
            if i == 0:
                where = child
            else:
                where = offset[i - 1][child] + moved - los[i - 1][child]
                moved = np.zeros_like(moved)
            if group and into_out:
                # The sum so far is one input more: the result goes elsewhere.
                where = np.concatenate([offset[i][rows][:, None], where], axis=1)
                moved = np.zeros_like(where)
                valid = np.concatenate([np.ones((len(rows), 1), bool), valid], axis=1)
            elif group:
                code |= 4
            order.append(rank[i][level.node[rows], group])
            kind.append(np.full(len(rows), code, np.uint8))
            dest.append(rows if into_out else offset[i][rows])
            size.append(length[i][rows])
            nsrc.append(valid.sum(axis=1))
            src.append(where[valid])
            shift.append(moved[valid])
    counts = np.concatenate(nsrc)
    begin = np.cumsum(counts) - counts
    ops = np.argsort(np.concatenate(order), kind="stable")
    ptr = np.append(0, np.cumsum(counts[ops]))
    gather = np.repeat(begin[ops] - ptr[:-1], counts[ops]) + np.arange(ptr[-1])
    return TreeProgram(
        nchans=k.size,
        ndms=dms.size,
        tile=tile,
        kind=np.concatenate(kind)[ops],
        dest=np.concatenate(dest)[ops],
        length=np.concatenate(size)[ops],
        ptr=ptr,
        src=np.concatenate(src)[gather],
        shift=np.concatenate(shift)[gather],
        arena=arena.top,
        before=before,
        after=after,
        k=k,
        dms=dms,
        merges=tuple(merges),
    )
