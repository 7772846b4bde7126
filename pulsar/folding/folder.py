"""Folding of many candidates in one pass over the cleaned samples.

Per subband, channels are summed with whole-sample delays at the time resolution that a candidate needs; candidates of
nearly equal DM share the sum. Each sample then goes to the one phase bin that holds its centre: no power is smeared
beyond the bin, and the noise of the bins stays independent. (Splitting a sample over the bins that it covers would
smear it once more and correlate the bins.) What the whole-sample delays leave is made good in phase.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise, repeat
from typing import Final

import numpy as np

from pulsar.cleaning.robust import MAD_TO_SIGMA
from pulsar.config.model import FoldConfig
from pulsar.data.fold import FoldCube, FoldParams
from pulsar.data.series import TimeSeries, aligned
from pulsar.data.source import SIGMA_LEVELS, Rows, SampleSource
from pulsar.errors import DataError
from pulsar.folding.plan import (
    PIECES_BYTES,
    BandPlan,
    FoldGroup,
    FoldPlan,
    band_edges,
    bounded,
    channel_shifts,
    group_candidates,
    plan_bands,
    plan_fold,
)
from pulsar.folding.sums import Sums, cube_of, empty_sums, levelled_fold, mark_slots
from pulsar.searches.stats import median
from pulsar_kernels.arrays import Array, Bools, Float32s, Floats, Int8s, Int32s, Ints, Uint16s
from pulsar_kernels.dedisperse import halve
from pulsar_kernels.fold import (
    LANE_GAP,
    LANE_TILE,
    LANES,
    MOST_CHANNELS,
    TILE,
    deposit,
    fold_band,
    fold_bands,
    fold_row,
    halve_bytes,
)

#: Most bytes of cleaned samples held at once, and most samples of a gulp.
GULP_BYTES: Final = 128 << 20
GULP_SAMPLES: Final = 1 << 17
#: Bytes that a fold by few threads needs: a gulp, as many bytes of a thread's arrays, both twice over, pieces of turns.
ENOUGH_MEMORY: Final = 4 * GULP_BYTES + PIECES_BYTES
_SLOT_MAX: Final = 65535
_PEAK: Final = 127


@dataclass
class _SubbandPart:
    """Neighbouring subbands that are folded together at one time resolution."""

    bands: Ints
    delays: Int32s
    sums: BandPlan | None


@dataclass
class _Level:
    """Candidates that are folded at one time resolution: groups, as the kernel takes them, and parts of each task."""

    level: int
    groups: list[FoldGroup]
    cands: list[int]
    starts: Ints
    members: Ints
    delays: list[Int32s]
    parts: list[list[_SubbandPart]]
    slots: Uint16s
    nbins: Ints
    ranges: Ints
    nslots: int = 0


class _Space:
    """Working arrays of one thread, kept from gulp to gulp: fresh ones would cost a page fault every 4 KiB."""

    def __init__(self, widest: int, columns: int, levels: Sequence[_Level], *, copies: bool) -> None:
        top = levels[-1].level
        self._band = np.empty(widest * columns if copies else 0, dtype=np.int8)
        sums = [part.sums for level in levels for parts in level.parts for part in parts]
        self.table = aligned(max((p.size for p in sums if p is not None), default=0), np.uint8)
        # Lanes without a band are never written, but read.
        row = LANE_TILE + LANE_GAP
        self.stash = aligned(max(len(level.groups) for level in levels) * LANES * row, np.int16)
        self.lanes = aligned((LANE_TILE, LANES), np.int16)
        self.halves = [np.empty(widest * (columns >> k), dtype=np.int16) for k in (1, 2)[:top]]
        self.narrow = np.empty(TILE, dtype=np.int16)
        self.wide = np.empty(TILE, dtype=np.int32)
        self.sums = np.empty(0, dtype=np.int32)

    def copy(self, data: Int8s) -> Int8s:
        """The same, one row after the other."""
        band = self._band[: data.size].reshape(data.shape)
        band[:] = data
        return band

    def half(self, data: Array, turn: int) -> Array:
        """`data` at half its resolution, in bytes as long as they hold it; the two arrays take turns."""
        nchans, n = data.shape[0], data.shape[1] // 2
        words = self.halves[turn % 2][: nchans * n]
        if data.dtype == np.int8:
            narrow = words.view(np.int8)[: nchans * n].reshape(nchans, n)
            if halve_bytes(data, narrow):
                return narrow
        wide = words.reshape(nchans, n)
        halve(data, wide)
        return wide

    def fold(self, level: _Level, part: _SubbandPart, data: Array, first: int, nout: int) -> Int32s:
        """Sums of shape (ncands, nslots, >= bands of the part), from a column on; overwritten by the next call."""
        ngroups, ncands, nslots, nchans = len(level.groups), len(level.cands), level.nslots, data.shape[0]
        lanes = 1 if len(part.bands) == 1 else LANES
        if self.sums.size < (ncands * lanes + 4) * nslots:
            self.sums = aligned((ncands * lanes + 4) * nslots, np.int32)
        acc = self.sums[: ncands * lanes * nslots].reshape(ncands, nslots, lanes)
        parts = self.sums[-4 * nslots :].reshape(4, nslots)
        common = level.starts, level.members, level.slots
        if part.sums is not None and data.dtype == np.int8:
            plan = part.sums
            width = LANE_TILE + LANE_GAP
            stash = self.stash[: ngroups * lanes * width].reshape(ngroups, lanes, width)
            where = plan.bands, plan.rows, plan.places, part.delays
            fold_bands(data, first, nout, *where, *common, self.table, stash, self.lanes, parts, acc)
        else:
            peak = nchans * (128 if data.dtype == np.int8 else _PEAK << level.level)
            row: Array = self.narrow if peak <= 32767 else self.wide
            fold_band(data, nout, part.delays, *common, row, parts, acc.reshape(ncands, nslots))
        return acc


class _Gulps:
    """Samples of all channels from the start of each gulp on, with those beyond that delays need: read, or there."""

    def __init__(self, source: SampleSource, rows: Rows | None, gulp: int, overlap: int) -> None:
        self._source, self._gulp, self._overlap = source, gulp, overlap
        end = -(-source.nsamps // gulp) * gulp + overlap
        self._rows = rows if rows is not None and rows.first + end <= rows.data.shape[1] else None
        empty = (len(source.freqs), gulp + overlap) if self._rows is None else (0, 0)
        self.data = np.zeros(empty, dtype=np.int8) if self._rows is None else self._rows.data
        self.first = 0  # column of the first sample of the gulp
        self.copies = self._rows is not None

    def go_to(self, start: int, pool: ThreadPoolExecutor, threads: int) -> None:
        """Have the gulp from sample `start` on, the one after the last; a slice for each thread."""
        if self._rows is not None:
            self.first = self._rows.first + start
            return
        cuts = np.linspace(self._overlap if start else 0, self.data.shape[1], max(threads, 1) + 1).astype(np.int64)

        def read(cut: tuple[int, int]) -> None:
            lo, hi = cut
            if hi > lo:
                self._source.read_into(start + lo, self.data[:, lo:hi])

        list(pool.map(read, pairwise(cuts.tolist())))

    def band(self, rows: slice, space: _Space) -> Int8s:
        """Some channels of the gulp, one after the other in memory."""
        data = self.data[rows]
        return data if self._rows is None else space.copy(data[:, self.first :][:, : self._gulp + self._overlap])

    def leave(self, rows: slice) -> None:
        """What the gulp has read of channels beyond its end is the start of the next."""
        if self._rows is None:
            self.data[rows, : self._overlap] = self.data[rows, self._gulp :]


def _tasks(nbands: int, threads: int) -> list[range]:
    """Subbands that one thread folds together: as many as the kernel has lanes, fewer if threads would have none."""
    rounds = -(-nbands // (LANES * max(threads, 1)))
    cuts = band_edges(nbands, rounds * max(threads, 1)).tolist()
    return [range(a, b) for a, b in pairwise(cuts)]


def _levels(
    groups: Sequence[FoldGroup], plans: Sequence[FoldPlan], source: SampleSource, edges: Ints, gulp: int
) -> tuple[list[_Level], int]:
    """Arrange groups by level; also the samples that must be at hand beyond a gulp."""
    levels: list[_Level] = []
    overlap = 0
    for level in sorted({g.level for g in groups}):
        of_level = [g for g in groups if g.level == level]
        cands = [i for g in of_level for i in g.members]
        starts = np.cumsum([0] + [len(g.members) for g in of_level]).astype(np.int64)
        tsamp = source.tsamp * 2**level
        delays = [
            np.ascontiguousarray([channel_shifts(source.freqs[lo:hi], g.dm, tsamp) for g in of_level], dtype=np.int32)
            for lo, hi in pairwise(edges)
        ]
        # A negative DM (a test of the null hypothesis) turns the order of arrival: delays count from the earliest.
        delays = [d - np.minimum(d.min(axis=1, keepdims=True), 0) for d in delays]
        overlap = max(overlap, max(int(d.max()) for d in delays) << level)
        slots = np.zeros((len(cands), max(gulp >> level, 1)), dtype=np.uint16)
        nbins = np.array([plans[i].nbins for i in cands], dtype=np.int64)
        ranges = np.zeros((len(cands), 2), dtype=np.int64)
        levels.append(_Level(level, of_level, cands, starts, np.arange(len(cands)), delays, [], slots, nbins, ranges))
    return levels, overlap


def _parts(level: _Level, tasks: Sequence[range], columns: int) -> list[list[_SubbandPart]]:
    """Parts of a level for each task: all its subbands at once at full resolution, one by one at a lowered one."""
    parts = []
    for task in tasks:
        shifts = [level.delays[b] for b in task]
        if max(d.shape[1] for d in shifts) > MOST_CHANNELS:
            parts.append([_SubbandPart(np.array([b]), d, None) for b, d in zip(task, shifts, strict=True)])
            continue
        several = [list(task)] if level.level == 0 else [[b] for b in task]
        parts.append([])
        for bands in several:
            delays = np.concatenate([level.delays[b] for b in bands], axis=1)
            edges = np.cumsum([0] + [level.delays[b].shape[1] for b in bands])
            sums = plan_bands(delays, edges, columns)
            parts[-1].append(_SubbandPart(np.array(bands), delays, sums))
    return parts


def _gulp_samples(
    source: SampleSource, plans: Sequence[FoldPlan], widest: int, top: int, memory: int, threads: int
) -> int:
    """Samples of a gulp: a multiple of 2**top within the memory budget and the range of the kernel's integers."""
    nchans, full = len(source.freqs), [p for p in plans if p.level == 0]
    # Per sample: the buffer, the slots of every candidate, and of every thread its band at all lowered resolutions
    # (int16) and the sums of several bands at full resolution (int32).
    each = nchans + 2 * len(plans) + (3 * widest * threads if top else 0)
    each += 4 * LANES * threads * sum(p.nparts * p.nbins for p in full) // source.nsamps
    memory -= 2 * LANES * (LANE_TILE + LANE_GAP) * threads * len(plans)
    gulp = min(GULP_BYTES // nchans, GULP_SAMPLES, memory // (2 * each), 2**31 // (_PEAK * widest))
    for plan in plans:
        # Sub-integrations in a gulp times bins must fit the slots' type.
        gulp = min(gulp, int((_SLOT_MAX // plan.nbins - 2) * source.nsamps / plan.nparts))
    gulp = min(max(gulp, 4096), source.nsamps + (1 << top))
    return max(gulp >> top, 1) << top


def fold_many(
    source: SampleSource,
    params: Sequence[FoldParams],
    config: FoldConfig,
    *,
    threads: int,
    memory: int,
    progress: Callable[[int], None] | None = None,
    rows: Rows | None = None,
) -> list[FoldCube]:
    """Fold all candidates at once, in one streamed pass over the cleaned samples.

    Parameters
    ----------
    source : SampleSource
        Cleaned samples.
    params : sequence of FoldParams
        Candidates: topocentric frequency [Hz] and derivative [Hz/s] at mid-observation, DM [pc cm^-3].
    config : FoldConfig
        Most bins, sub-integrations and subbands; fast candidates get fewer bins, slow ones fewer sub-integrations.
    threads : int
        Threads; the result does not depend on their number.
    memory : int
        Bytes that may be used beside the cubes that are returned.
    progress : callable, optional
        Called with the number of samples done since the last call.
    rows : Rows, optional
        The samples, where they are in memory.

    Returns
    -------
    list of FoldCube
        In the order of `params`.

    Raises
    ------
    ConfigError
        When a candidate cannot be folded (frequency not positive or above Nyquist).
    DataError
        When the source has no channel or no sample.
    """
    if not params:
        return []
    nchans, nsamps = len(source.freqs), source.nsamps
    if nchans == 0 or nsamps == 0:
        raise DataError(f"nothing to fold: {nchans} channels alive, {nsamps} samples; check the mask")

    edges = band_edges(nchans, config.nbands)
    nbands = len(edges) - 1
    plans = bounded([plan_fold(p, config, nsamps, source.tsamp) for p in params], nbands)
    # One array holds all cubes, so that a kernel can add to any of them.
    shapes = [(plan.nparts, nbands, plan.nbins) for plan in plans]
    offsets = np.cumsum([0] + [a * b * c for a, b, c in shapes]).astype(np.int64)
    flat = np.zeros(int(offsets[-1]), dtype=np.float32)
    cands = [
        empty_sums(p, plan, nsamps, source.tsamp, flat[a:b].reshape(shape))
        for p, plan, shape, (a, b) in zip(params, plans, shapes, pairwise(offsets), strict=True)
    ]
    groups = group_candidates(params, plans, source, edges)
    top = max(p.level for p in plans)
    widest = int(np.diff(edges).max())
    pieces = sum(4 * plan.nparts * nbands * plan.nbins for plan in plans if plan.pieces > 1)
    gulp = _gulp_samples(source, plans, widest, top, memory - pieces, threads)
    levels, overlap = _levels(groups, plans, source, edges, gulp)
    level_offsets = {level.level: offsets[level.cands] for level in levels}
    tmid = 0.5 * nsamps * source.tsamp
    columns = gulp + overlap
    gulps = _Gulps(source, rows, gulp, overlap)
    tasks = _tasks(nbands, threads)
    for level in levels:
        level.parts = _parts(level, tasks, columns >> level.level if level.level else gulps.data.shape[1])
    spaces = threading.local()

    with ThreadPoolExecutor(max(threads, 1), thread_name_prefix="fold") as pool:

        def run(work: Callable[[int], None], n: int) -> None:
            list(pool.map(work, range(n)))

        def part(level: _Level, piece: _SubbandPart, data: Array, first: int, start: int, space: _Space) -> None:
            nout = _nout(level, start, gulp, nsamps)
            if nout > 0:
                acc = space.fold(level, piece, data, first, nout)
                where = level.nbins, level.ranges, level_offsets[level.level]
                deposit(acc, 1 / SIGMA_LEVELS, piece.bands, nbands, *where, flat)

        def fold(task: int, start: int, space: _Space) -> None:
            for k, b in enumerate(tasks[task] if top else []):
                data: Array = gulps.band(slice(edges[b], edges[b + 1]), space)
                reached = 0
                for level in levels:
                    while reached < level.level:
                        data, reached = space.half(data, reached), reached + 1
                    if level.level > 0:
                        part(level, level.parts[task][k], data, 0, start, space)
            for piece in levels[0].parts[task] if levels[0].level == 0 else []:
                chans = slice(edges[piece.bands[0]], edges[piece.bands[-1] + 1])
                if piece.sums is None:
                    part(levels[0], piece, gulps.band(chans, space), 0, start, space)
                else:
                    part(levels[0], piece, gulps.data[chans], gulps.first, start, space)
            gulps.leave(slice(edges[tasks[task].start], edges[tasks[task].stop]))

        for start in range(0, nsamps, gulp):
            gulps.go_to(start, pool, threads)
            for level in levels:
                first = start >> level.level
                _mark(level, cands, first, _nout(level, start, gulp, nsamps), tmid, run)

            def fold_task(task: int, start: int = start) -> None:
                if not hasattr(spaces, "own"):
                    spaces.own = _Space(widest, columns, levels, copies=gulps.copies)
                fold(task, start, spaces.own)

            run(fold_task, len(tasks))
            if progress is not None:
                progress(min(gulp, nsamps - start))

        shifts = _mean_shifts(levels, len(params), source.tsamp)
        return list(pool.map(cube_of, cands, repeat(source), repeat(edges), shifts))


def _mean_shifts(levels: Sequence[_Level], ncands: int, tsamp: float) -> list[Floats]:
    """Of each candidate the mean time by which channels of each subband were advanced [s]."""
    shifts = [np.zeros(0)] * ncands
    for level in levels:
        for g, group in enumerate(level.groups):
            mean_shift = np.array([float(d[g].mean()) for d in level.delays]) * tsamp * 2**level.level
            for i in group.members:
                shifts[i] = mean_shift
    return shifts


def _nout(level: _Level, start: int, gulp: int, nsamps: int) -> int:
    """Samples of a level that a gulp completes."""
    return max(min(gulp >> level.level, (nsamps >> level.level) - (start >> level.level)), 0)


def _mark(
    level: _Level,
    cands: Sequence[Sums],
    first: int,
    nout: int,
    tmid: float,
    run: Callable[[Callable[[int], None], int], None],
) -> None:
    """Find where each candidate of a level puts the samples of a gulp."""
    if nout == 0:
        return

    def mark(k: int) -> None:
        level.ranges[k] = mark_slots(cands[level.cands[k]], first, nout, tmid, level.slots[k])

    run(mark, len(level.cands))
    level.nslots = int(np.max((level.ranges[:, 1] - level.ranges[:, 0]) * level.nbins))


#: Turns over which the running baseline is taken.
TURNS: Final = 3

#: A value this many robust sigmas out does not pull the baseline.
CLIP: Final = 8.0


def running_mean(data: Floats, width: float) -> Floats:
    """Mean over a window of `width` samples, not necessarily whole, around each sample.

    The window covers exactly `width` samples (its ends take fractions), so the mean of a signal with that period, or
    a whole fraction of it, is constant. Near the ends of the data the window keeps its width and stays inside, and the
    mean is carried on with the slope between that window and the one beside it.
    """
    n = len(data)
    width = min(width, float(n))
    total = np.concatenate([[0.0], np.cumsum(data)])

    def up_to(at: float) -> float:
        whole = min(int(at), n - 1)
        return float(total[whole] + (at - whole) * data[whole])

    # Windows that would begin before the data begin with them, and so at the end.
    begin = 0.5 - 0.5 * width
    (low, under), (high, over) = divmod(begin, 1.0), divmod(begin + width, 1.0)
    first = min(int(np.ceil(-begin)), n)
    stop = max(min(int(n - width - begin) + 1, n - int(high)), first)
    starts, ends = slice(first + int(low), stop + int(low)), slice(first + int(high), stop + int(high))
    mean = np.empty(n)
    mean[first:stop] = (total[ends] + over * data[ends]) - (total[starts] + under * data[starts])
    mean[:first], mean[stop:] = up_to(width), total[n] - up_to(n - width)
    mean /= width
    if n >= 2.0 * width:
        early = up_to(2.0 * width) - 2.0 * up_to(width)
        late = total[n] - 2.0 * up_to(n - width) + up_to(n - 2.0 * width)
        mean[:first] += early / width**2 * (np.arange(first) + begin)
        mean[stop:] += late / width**2 * (np.arange(stop, n) + begin - (n - width))
    return mean


def normalise(data: Array, turn: float) -> Float32s:
    """Remove the running baseline and divide by the robust rms.

    Parameters
    ----------
    data : ndarray, shape (nsamps,)
    turn : float
        Length of a turn [samples].

    Returns
    -------
    ndarray of float32, shape (nsamps,)
        Samples that are not finite become 0.

    Raises
    ------
    DataError
        When the series does not vary.
    """
    return _level(_filled(data), turn)


def _filled(data: Array) -> tuple[Floats, Bools, float]:
    """Samples about their median, without gaps; which were finite; and the scale of their noise.

    All that :func:`normalise` does whatever the turn.
    """
    x = np.asarray(data, dtype=np.float64)
    good = np.isfinite(x)
    if not np.any(good):
        raise DataError("the series holds no finite sample: there is nothing to fold")
    if not good.all():
        # A constant in place of bad samples would be a step where the baseline drifts.
        index = np.arange(len(x))
        x = np.where(good, x, np.interp(index, index[good], x[good]))
    x = x - median(x)
    # The scale for clipping must not see slow drifts: from differences of neighbours.
    return x, good, median(np.abs(np.diff(x))) * MAD_TO_SIGMA / np.sqrt(2.0) if len(x) > 1 else 0.0


def _level(filled: tuple[Floats, Bools, float], turn: float) -> Float32s:
    """What :func:`normalise` does for a turn of so many samples."""
    x, good, jump = filled
    base = running_mean(x, TURNS * turn)
    if 0.0 < CLIP * jump < np.abs(x - base).max():
        clipped = np.minimum(np.maximum(x, base - CLIP * jump), base + CLIP * jump)
        base = running_mean(clipped, TURNS * turn)
    x = x - base
    x[~good] = 0.0
    spread = x[good]
    sigma = median(np.abs(spread - median(spread))) * MAD_TO_SIGMA
    if not sigma > 0.0:
        sigma = float(np.std(spread))
    if not sigma > 0.0:
        raise DataError("every sample of the series has the same value: there is nothing to fold")
    return (x / sigma).astype(np.float32)


def fold_series(series: TimeSeries, params: Sequence[FoldParams], config: FoldConfig) -> list[FoldCube]:
    """Fold a dedispersed time series, such as a ``.dat`` or ``.tim`` file.

    The running mean over a whole number of turns is removed, which takes nothing from a periodic signal but its mean,
    and the samples are divided by their robust rms.

    Parameters
    ----------
    params : sequence of FoldParams
        Candidates; their DM is only passed on.
    config : FoldConfig
        As in :func:`fold_many`; `nbands` does not apply.

    Returns
    -------
    list of FoldCube
        One band each.

    Raises
    ------
    ConfigError
        When a candidate cannot be folded.
    DataError
        When the series is empty or constant.
    """
    nsamps = series.nsamps
    if nsamps == 0:
        raise DataError("nothing to fold: the series is empty")
    slots, filled = np.empty(nsamps, dtype=np.uint16), _filled(series.data)
    cubes = []
    for p in params:
        plan = plan_fold(p, config, nsamps, series.tsamp)
        plan = replace(plan, nsubints=min(plan.nsubints, _SLOT_MAX // plan.nbins), level=0)
        data = _level(filled, 1.0 / (p.freq * series.tsamp))

        def folded(plan: FoldPlan, p: FoldParams = p, data: Float32s = data) -> Sums:
            shape = (plan.nparts, 1, plan.nbins)
            sums = empty_sums(p, plan, nsamps, series.tsamp, np.zeros(shape, dtype=np.float32))
            mark_slots(sums, 0, nsamps, 0.5 * series.tobs, slots)
            flat = np.zeros(plan.nparts * plan.nbins)
            fold_row(data, slots, flat)
            sums.data[:] = flat.reshape(shape)
            return sums

        # Not sums of integers: pieces added up would be something else in the last digit.
        cand = folded(replace(plan, pieces=1, in_step=False))
        fits = plan.pieces > 1 and not plan.in_step and plan.nparts <= _SLOT_MAX // plan.nbins
        cubes.append(
            FoldCube(
                data=cand.data,
                variance=cand.counts[:, None, :].astype(np.float64),
                time_edges=cand.time_edges,
                band_freqs=np.array([np.inf]),
                fref=np.inf,
                params=p,
                tobs=series.tobs,
                tsamp=series.tsamp,
                epoch=series.tmid,
                levelled=levelled_fold(folded(plan), np.zeros(1), 1.0, 0.5 * series.tobs) if fits else None,
                resolution=series.tsamp,
            )
        )
    return cubes
