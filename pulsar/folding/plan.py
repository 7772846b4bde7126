"""How candidates are folded: phase bins, sub-integrations, subbands, time resolution, shared sums."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from pulsar.config.model import FoldConfig
from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.data.source import SampleSource
from pulsar.folding.whiten import FEWEST_PARTS
from pulsar_kernels.arrays import Floats, Int32s, Ints
from pulsar_kernels.bandsums import PIECE

#: Phase bins per sample of a turn at most. Phases of the samples differ from turn to turn, so bins finer than a sample
#: are filled evenly; four of them cost no S/N to the width of a bin.
OVERSAMPLE: Final = 4

#: Most halvings of the time resolution: 127 * 2**6 still fits int16.
MAX_LEVEL: Final = 6

#: Most turns that are followed one by one, and shortest period [s] of candidates of more turns than sub-integrations.
MOST_TURNS: Final = 256
SLOW: Final = 0.25

#: Samples whose phases are looked at together.
_TOGETHER: Final = 1 << 18

#: Bytes that the pieces of all candidates may take: 54 candidates of 256 turns, with all bins and subbands.
PIECES_BYTES: Final = 256 << 20

#: Candidates share a sum of channels where that shifts no channel by more than this part of a (lowered) sample.
SHARE_TOLERANCE: Final = 0.5


@dataclass(frozen=True)
class FoldPlan:
    """How one candidate is folded."""

    nbins: int
    nsubints: int
    level: int  # The time resolution is lowered by 2**level
    #: Into so many pieces, each shorter than a turn, sub-integrations are split while they are folded, so that the
    #: level can be followed (:mod:`pulsar.folding.sums`); 1 where it is not.
    pieces: int = 1
    #: Whether samples are in step with the turn: the pieces are of many turns, and each loses its mean, because a level
    #: that drifts while one bin is filled after the other would be in the profile.
    in_step: bool = False

    @property
    def nparts(self) -> int:
        """Sub-integrations, or their pieces."""
        return self.nsubints * self.pieces


@dataclass(frozen=True)
class FoldGroup:
    """Candidates of one time resolution that share their sums of channels."""

    level: int
    dm: float  # DM with which the channels of a subband are aligned [pc cm^-3]
    members: tuple[int, ...]  # The candidates


def plan_fold(params: FoldParams, config: FoldConfig, nsamps: int, tsamp: float) -> FoldPlan:
    """Choose bins, sub-integrations and time resolution for one candidate.

    A turn gets at most OVERSAMPLE bins a sample, a sub-integration at least one turn, and a bin keeps at least four
    samples when the resolution is lowered.
    """
    params.check(nsamps * tsamp, tsamp)
    turn = 1.0 / (params.freq * tsamp)
    most = max(4, int(OVERSAMPLE * turn))
    # A power of two can be halved again where samples in step with the turn leave bins empty.
    nbins = config.nbins if config.nbins <= most else 1 << (most.bit_length() - 1)
    nsubints = max(1, min(config.nsubints, int(nsamps / turn)))
    level = int(np.floor(np.log2(max(turn / (nbins * 4), 1.0))))
    level = min(level, MAX_LEVEL)
    while level and (nsamps >> level) < 2 * nsubints:
        level -= 1
    length = nsamps * tsamp
    # With many samples a turn none is in step for long. Drifts of the level take longer than a tenth of a second.
    if turn <= 64 and _in_step(params.freq, nbins, length / nsubints, tsamp):
        pieces = max(round(length / nsubints / 0.1), 1)
        return FoldPlan(nbins, nsubints, level, pieces, pieces > 1)
    return FoldPlan(nbins, nsubints, level, _pieces(params, nsubints, length, config.nsubints))


def _in_step(freq: float, nbins: int, length: float, tsamp: float) -> bool:
    """True if the samples of a sub-integration of a length [s] fill bins for a part of the time only.

    Its two halves then differ in some bin by a fifth of the samples of that.
    """
    half = max(int(0.5 * length / tsamp), 1)
    counts = np.zeros((2, nbins), dtype=np.int64)
    for part in (0, 1):
        for first in range(part * half, (part + 1) * half, _TOGETHER):
            samples = np.arange(first, min(first + _TOGETHER, (part + 1) * half))
            slots = (samples * (freq * tsamp) % 1.0 * nbins).astype(np.int64)
            counts[part] += np.bincount(slots, minlength=nbins)[:nbins]
    return bool(np.max(np.abs(counts[0] - counts[1])) > 0.2 * 2 * half / nbins)


def _pieces(params: FoldParams, nsubints: int, tobs: float, most: int) -> int:
    """Pieces of each sub-integration, so that all are shorter than a turn; 1 where the level is not followed."""
    change = 0.5 * tobs * (abs(params.fdot) + 0.25 * tobs * abs(params.fddot))
    turns = (params.freq + change) * tobs
    # A phase that stands still or runs backwards makes no series.
    if nsubints < FEWEST_PARTS or turns > MOST_TURNS or change > 0.5 * params.freq:
        return 1
    if params.freq * tobs > most and params.freq * SLOW > 1.0:
        return 1
    # Shorter than a turn: no bin of a piece is of two turns, even where the period changes.
    return int(np.ceil(turns / nsubints / 0.95))


def bounded(plans: Sequence[FoldPlan], nbands: int) -> list[FoldPlan]:
    """The same, with pieces for as many as PIECES_BYTES hold: those of fewest pieces, the slowest, first."""
    out, left = list(plans), PIECES_BYTES
    for i in sorted((i for i, p in enumerate(plans) if p.pieces > 1), key=lambda i: plans[i].nparts):
        left -= 4 * plans[i].nparts * nbands * plans[i].nbins
        if left < 0:
            out[i] = replace(plans[i], pieces=1, in_step=False)
    return out


def band_edges(nchans: int, nbands: int) -> Ints:
    """Channels at which the subbands start, shape (n + 1,): as many as asked for, or one a channel."""
    n = max(1, min(nbands, nchans))
    return np.round(np.linspace(0, nchans, n + 1)).astype(np.int64)


def group_candidates(
    params: Sequence[FoldParams], plans: Sequence[FoldPlan], source: SampleSource, edges: Ints
) -> list[FoldGroup]:
    """Sort candidates into groups that share their sums of channels.

    Inside a group no channel is misaligned within its subband by more than SHARE_TOLERANCE samples of the group's
    resolution, beside the rounding to whole samples; the shift between subbands is made exact afterwards, in phase.
    """
    inverse = source.freqs**-2.0
    spread = max(0.5 * float(inverse[hi - 1] - inverse[lo]) for lo, hi in pairwise(edges))
    groups: list[FoldGroup] = []
    for level in sorted({p.level for p in plans}):
        order = sorted((i for i, p in enumerate(plans) if p.level == level), key=lambda i: params[i].dm)
        slope = KDM * spread / (source.tsamp * 2**level)
        reach = 2.0 * SHARE_TOLERANCE / slope if slope > 0 else np.inf
        start = 0
        for k in range(1, len(order) + 1):
            if k == len(order) or params[order[k]].dm - params[order[start]].dm > reach:
                low, high = params[order[start]].dm, params[order[k - 1]].dm
                groups.append(FoldGroup(level, 0.5 * (low + high), tuple(order[start:k])))
                start = k
    return groups


def channel_shifts(freqs: Floats, dm: float, tsamp: float) -> Int32s:
    """Samples by which the channels of a subband are advanced to align with its first (highest) channel."""
    inverse = freqs**-2.0
    return np.asarray(np.round(KDM * dm * (inverse - inverse[0]) / tsamp), dtype=np.int32)


@dataclass(frozen=True)
class BandPlan:
    """How the groups of one level sum the channels of some neighbouring subbands."""

    #: bands, rows, places: as :func:`pulsar_kernels.fold.fold_bands` takes them.
    bands: Ints
    rows: Ints
    places: Ints
    size: int  # Bytes of the table


def plan_bands(delays: Int32s, edges: Ints, columns: int, *, gain: float = 2.0) -> BandPlan:
    """Find where each group finds what it sums, in tables of pairs of channels where these pay.

    Parameters
    ----------
    delays : ndarray of int32, shape (ngroups, nchans)
        Samples by which each channel is advanced, >= 0.
    edges : ndarray of int64, shape (nbands + 1,)
        Channels at which the subbands start, the first 0, and the end of the last.
    columns : int
        Samples from one channel to the next in memory.
    gain : float
        Rows that the groups must sum less for each row of a table: to make one takes as long as summing three.
    """
    bands, rows, places = [], [], []
    nrows = nplaces = size = 0
    for lo, hi in pairwise(edges.tolist()):
        table, group_places, bytes_ = _plan_pairs(delays[:, lo:hi])
        count = group_places.shape[1]
        if len(table) == 0 or len(table) * gain > count * len(delays):
            table, bytes_ = table[:0], 0
            group_places = delays[:, lo:hi].astype(np.int64) + np.arange(lo, hi) * columns
            count = hi - lo
        table[:, 0] += lo
        bands.append([lo, hi, nrows, nrows + len(table), nplaces, count])
        rows.append(table)
        places.append(group_places.reshape(-1))
        nrows, nplaces, size = nrows + len(table), nplaces + group_places.size, max(size, bytes_)
    return BandPlan(np.array(bands, dtype=np.int64), np.concatenate(rows), np.concatenate(places), size)


def _plan_pairs(delays: Int32s) -> tuple[Ints, Ints, int]:
    """Rows of a table with each pair of channels once for every relative delay, where groups find theirs, its bytes."""
    ngroups, npairs = delays.shape[0], delays.shape[1] // 2
    if npairs == 0:
        return np.zeros((0, 5), dtype=np.int64), np.zeros((ngroups, 0), dtype=np.int64), 0
    first, second = (delays[:, i : 2 * npairs : 2].T.astype(np.int64) for i in (0, 1))
    order = np.lexsort((first, second - first), axis=1)
    first, second = (np.take_along_axis(d, order, axis=1) for d in (first, second))
    # Where a row begins; groups far apart in delay have little of a row in common.
    begins = np.zeros((npairs, ngroups), dtype=np.bool_)
    begin = np.full(npairs, -1)
    pairs = np.arange(npairs)
    for g in range(ngroups):
        same = second[:, g] - first[:, g] == second[pairs, begin] - first[pairs, begin]
        begins[:, g] = (begin < 0) | ~same | (first[:, g] - first[pairs, begin] > PIECE // 4)
        begin[begins[:, g]] = g
    pair, at = np.nonzero(begins)
    ends = np.append(np.flatnonzero(begins)[1:], npairs * ngroups) - 1
    extra = first.reshape(-1)[ends] - first[pair, at]
    # One after the other, each from a cache line on.
    sizes = PIECE + extra
    sizes += -sizes % 64
    to = np.cumsum(sizes) - sizes
    row = np.cumsum(begins.reshape(-1)).reshape(npairs, ngroups) - 1
    places = np.zeros((npairs, ngroups), dtype=np.int64)
    np.put_along_axis(places, order, to[row] + first - first[pair, at][row], axis=1)
    rows = np.stack([2 * pair, first[pair, at], second[pair, at], extra, to], axis=1)
    return rows, np.ascontiguousarray(places.T), int(np.sum(sizes))
