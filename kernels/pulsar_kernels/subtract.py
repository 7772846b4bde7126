"""A pulsar's template in the samples of every channel: measured by folding, and taken out again.

Both kernels go through the samples in the same stretches. Within one, the phase of a channel is a straight line from
its beginning, whichever sample of it is asked for: results do not depend on how samples are cut into pieces.
"""

import math
from typing import NamedTuple

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Bools, Floats, Int8s, Int32s, Ints

#: Samples of a stretch at most; it begins at a multiple of them.
STRETCH = 2048
#: Parts of a level that a template is rounded to, and random parts of a level that are added before rounding.
PARTS = 1 << 16
# Of the mixing of the number of a sample: odd, below 2**31 so that products of 32 bits fit 63, their bits half ones.
_MIX1, _MIX2, _MASK = 0x7F4A7C15, 0x6C62272F, 0xFFFFFFFF


class Grid(NamedTuple):
    """Where samples of some channels belong.

    Attributes
    ----------
    tsamp : float
        [s]
    spin : ndarray, shape (4,)
        Frequency [Hz], two derivatives [Hz/s, Hz/s^2], and their epoch [s] after the beginning of sample 0.
    delays : ndarray, shape (nchans,)
        By which each channel is late [s].
    edges : ndarray of int64, shape (nparts + 1,)
        Edges of parts of the observation [samples], in which the following do not change.
    blocks : ndarray of int64, shape (nparts,)
        Row of `bad` that tells of each part; negative: nothing in it is folded.
    bad : ndarray of bool, shape (nblocks, nchans)
        What is not folded.
    subints : ndarray, shape (2,)
        Turn with which the first sub-integration begins, and turns of each: in every channel they begin at one phase.
    bands : ndarray of int64, shape (nchans,)
        Band of each channel.
    """

    tsamp: float
    spin: Floats
    delays: Floats
    edges: Ints
    blocks: Ints
    bad: Bools
    subints: Floats
    bands: Ints


@kernel(inline=True)
def _turns(t: float, spin: Floats) -> float:
    """Turns at the time `t` [s] from the epoch: frequency and two derivatives."""
    turns: float = t * (spin[0] + t * (0.5 * spin[1] + t * spin[2] / 6.0))
    return turns


@kernel(helper=True)
def _bins(phase: float, rate: float, first: int, nbins: int, out: Int32s) -> None:
    """Phase bins of the samples `first` ... of a stretch."""
    for j in range(out.shape[0]):
        x = phase + rate * np.float64(first + j)
        x -= math.floor(x)
        # A phase a rounding below a whole turn may reach nbins itself.
        out[j] = min(np.int32(x * nbins), np.int32(nbins - 1))


@kernel(inline=True)
def _line(at: int, grid: Grid, c: int) -> tuple[int, float, float]:
    """First sample of the stretch that `at` is in, its turns in channel `c`, and turns from sample to sample."""
    anchor = at // STRETCH * STRETCH
    t = (anchor + 0.5) * grid.tsamp - grid.spin[3] - grid.delays[c]
    phase = _turns(t, grid.spin)
    return anchor, phase, (_turns(t + STRETCH * grid.tsamp, grid.spin) - phase) / STRETCH


@kernel(inline=True)
def _number(i: int, phase: float, rate: float, subints: Floats) -> int:
    """Sub-integration of the sample that is `i` after the beginning of its stretch."""
    number: int = math.floor((phase + rate * np.float64(i) - subints[0]) / subints[1])
    return number


@kernel(inline=True)
def _piece(at: int, stop: int, anchor: int, phase: float, rate: float, subints: Floats, most: int) -> tuple[int, int]:
    """Sub-integration, of so many, that sample `at` is in, and where the samples up to `stop` leave it."""
    number = _number(at - anchor, phase, rate, subints)
    end = at + 1
    if rate > 0.0:
        turn = subints[0] + subints[1] * np.float64(number + 1)
        # One less than where the straight line says, as roundings may have it there.
        end = max(anchor + math.ceil(min((turn - phase) / rate, np.float64(STRETCH))) - 1, end)
        while end < stop and _number(end - anchor, phase, rate, subints) <= number:
            end += 1
    return min(max(number, 0), most - 1), min(end, stop)


@kernel(inline=True)
def _part_at(at: int, edges: Ints, part: int, high: int) -> tuple[int, int]:
    """Part that holds sample `at`, `part` or the one after it, and the end of the stretch of it that `at` is in."""
    if at >= edges[part + 1]:
        part += 1
    return part, min((at // STRETCH + 1) * STRETCH, edges[part + 1], high)


@kernel()
def fold_cells(data: Int8s, start: int, grid: Grid, cells: Ints, rows: Ints) -> None:
    """Fold the samples of every channel in its own time, and add them to its sub-integration and band, and to its row.

    Parameters
    ----------
    data : ndarray of int8, shape (nchans, n)
        Samples from `start` on.
    start : int
        At least ``edges[0]``; the samples end at ``edges[-1]`` at most.
    grid : Grid
    cells : ndarray of int64, shape (nsubints, nbands, nbins, 2)
        Sums, and how many samples went in; added to.
    rows : ndarray of int64, shape (nchans, nbins, 2)
        The same of each channel.
    """
    edges, blocks, bad, bands = grid.edges, grid.blocks, grid.bad, grid.bands
    nchans, n = data.shape
    nbins = rows.shape[1]
    where = np.empty(STRETCH, np.int32)
    first = int(np.searchsorted(edges, start, side="right")) - 1
    for c in range(nchans):
        at, part, anchor, phase, rate = start, first, -1, 0.0, 0.0
        while at < start + n:
            part, stop = _part_at(at, edges, part, start + n)
            if blocks[part] >= 0 and not bad[blocks[part], c]:
                if at // STRETCH * STRETCH != anchor:
                    anchor, phase, rate = _line(at, grid, c)
                subint, stop = _piece(at, stop, anchor, phase, rate, grid.subints, cells.shape[0])
                size = stop - at
                _bins(phase - math.floor(phase), rate, at - anchor, nbins, where[:size])
                channel_row, cell = rows[c], cells[subint, bands[c]]
                for j in range(size):
                    value = np.int64(data[c, at - start + j])
                    k = where[j]
                    channel_row[k, 0] += value
                    channel_row[k, 1] += 1
                    cell[k, 0] += value
                    cell[k, 1] += 1
            at = stop


@kernel(helper=True)
def _amounts(shape: Floats, gain: float, level: float, where: Int32s) -> None:
    """What is taken from samples, in parts of a level, in place of their phase bins."""
    for j in range(where.shape[0]):
        value = gain * shape[where[j]] + level
        where[j] = np.int32(np.rint(min(max(value, -254.0 * PARTS), 254.0 * PARTS)))


@kernel(helper=True)
def _take(row: Int8s, where: Int32s, at: int, key: int) -> None:
    """Take the template from samples `at` ... of a channel, rounded up or down as a number made of their place says."""
    for j in range(row.shape[0]):
        z = np.int64(at + j) & _MASK
        z = ((z ^ (z >> 16)) * _MIX1) & _MASK
        z = (((z ^ (z >> 15)) ^ key) * _MIX2) & _MASK
        z = ((z ^ (z >> 13)) * _MIX1) & _MASK
        value = np.int32(row[j]) - ((where[j] + np.int32(z >> 16)) >> 16)
        row[j] = min(max(value, np.int32(-127)), np.int32(127))


@kernel()
def subtract_cells(
    data: Int8s,
    start: int,
    grid: Grid,
    shapes: Floats,
    shape_of: Ints,
    gains: Floats,
    levels: Floats,
    factors: Floats,
    keys: Ints,
) -> None:
    """Take a template from the samples of every channel.

    A fraction of a level is taken in that fraction of the samples: ``data - floor(template + u)`` with `u` even in
    [0, 1), a number made of channel and sample alone. The mean is that of the template, however small; the variance
    grows by f (1 - f) <= 1/4 levels^2, f being the template's fraction of a level.

    Parameters
    ----------
    data : ndarray of int8, shape (nchans, n)
        Samples from `start` on; changed, but for those that are not folded by :func:`fold_cells`.
    start : int
    grid : Grid
    shapes : ndarray, shape (nshapes, nbins)
        Profiles [levels].
    shape_of : ndarray of int64, shape (nsubints, nbands)
        Which of them each sub-integration of each band has.
    gains : ndarray, shape (nsubints, nbands)
        What it is multiplied with there,
    levels : ndarray, shape (nsubints, nbands)
        what is added to that [levels],
    factors : ndarray, shape (nchans,)
        and what both are multiplied with in each channel.
    keys : ndarray of int64, shape (nchans,)
        Random numbers of 32 bits, one for each channel.
    """
    edges, blocks, bad, bands = grid.edges, grid.blocks, grid.bad, grid.bands
    nchans, n = data.shape
    nbins = shapes.shape[1]
    where = np.empty(STRETCH, np.int32)
    first = int(np.searchsorted(edges, start, side="right")) - 1
    for c in range(nchans):
        at, part, factor, anchor, phase, rate = start, first, factors[c] * PARTS, -1, 0.0, 0.0
        while at < start + n:
            part, stop = _part_at(at, edges, part, start + n)
            if blocks[part] >= 0 and not bad[blocks[part], c]:
                if at // STRETCH * STRETCH != anchor:
                    anchor, phase, rate = _line(at, grid, c)
                subint, stop = _piece(at, stop, anchor, phase, rate, grid.subints, gains.shape[0])
                shape, phase_bins = shapes[shape_of[subint, bands[c]]], where[: stop - at]
                gain, level = gains[subint, bands[c]] * factor, levels[subint, bands[c]] * factor
                _bins(phase - math.floor(phase), rate, at - anchor, nbins, phase_bins)
                _amounts(shape, gain, level, phase_bins)
                _take(data[c, at - start : stop - start], phase_bins, at, keys[c])
            at = stop
