"""Weak signals in integers: single steps, so placed that their sums follow the signal; and subbands that show them."""

import math

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Bools, Floats, Int8s, Int16s, Ints


@kernel(inline=True)
def _turns(t: float, spin: Floats) -> float:
    """Turns at the time `t` [s]: spin is frequency, derivative, epoch, and the turns there."""
    d = t - spin[2]
    turns: float = spin[3] + d * (spin[0] + 0.5 * d * spin[1])
    return turns


@kernel(inline=True)
def _time(turns: float, spin: Floats) -> float:
    """Time of a number of turns [s]; the derivative changes little of the frequency."""
    x = turns - spin[3]
    d = x / spin[0]
    for _ in range(4):
        d = x / (spin[0] + 0.5 * d * spin[1])
    time: float = d + spin[2]
    return time


@kernel(inline=True)
def _amount(turns: float, table: Floats) -> float:
    """Integral of the profile up to `turns`, in units of that over one turn; `table` has equal parts of it."""
    whole = math.floor(turns)
    k = int(np.searchsorted(table, turns - whole, side="right"))
    k = min(max(k, 1), table.size - 1)
    rise = table[k] - table[k - 1]
    part = (turns - whole - table[k - 1]) / rise if rise > 0.0 else 0.0
    amount: float = whole + (k - 1 + min(part, 1.0)) / (table.size - 1)
    return amount


@kernel()
def add_steps(
    data: Int8s | Int16s,
    start: int,
    tsamp: float,
    lanes: Ints,
    shifts: Ints,
    delays: Floats,
    spin: Floats,
    offsets: Floats,
    ends: Floats,
    quantiles: Floats,
    rows: Ints,
    counts: Floats,
    dither: Floats,
    step: int,
    top: int,
    edges: Ints,
    blocks: Ints,
    bad: Bools,
) -> None:
    """Add a signal to integers in steps: one wherever its integral over time passes a whole number of them.

    The sum of a channel over any time is that of the signal to within a step, and of many channels, each begun at
    another part of a step, as the signal's own; what is rounded is far weaker than noise of several steps. The work is
    that of the steps, not of the samples, and where a step is does not depend on how the samples are cut into pieces.

    Parameters
    ----------
    data : ndarray of int8 or int16, shape (nlanes, nsamps)
        Added to.
    start : int
        Sample of the observation at which `data` starts.
    tsamp : float
        [s]
    lanes, shifts : ndarray of int64, shape (nchans,)
        Row of `data` to which a channel goes, and samples by which it is earlier there.
    delays : ndarray, shape (nchans,)
        Of each channel [s].
    spin : ndarray, shape (4,)
        Frequency [Hz], derivative [Hz/s], epoch [s], turns at the epoch.
    offsets : ndarray, shape (nchans,)
        Added to the turns of each channel.
    ends : ndarray, shape (2,)
        The signal is from the first number of turns to the second.
    quantiles : ndarray, shape (ntemplates, nparts + 1)
        Phases between which equal parts of each profile lie, ascending from 0 to 1.
    rows : ndarray of int64, shape (nchans,)
        Template of each channel.
    counts : ndarray, shape (nchans,)
        Steps a turn.
    dither : ndarray, shape (nchans,)
        Part of a step with which each channel begins.
    step : int
        What one step adds, positive or negative.
    top : int
        Largest value, either sign.
    edges : ndarray of int64, shape (nparts + 1,)
        Edges of parts of the observation in samples.
    blocks : ndarray of int64, shape (nparts,)
        Row of `bad` that tells of each part; negative: nothing is added there.
    bad : ndarray of bool, shape (nblocks, nchans)
        Where nothing is added.
    """
    # Many arguments: columns of a table, an array each, and what is changed.
    nsamps, nchans, nblocks = data.shape[1], counts.size, blocks.size
    for c in range(nchans):
        many = counts[c]
        if not many > 0.0:
            continue
        table = quantiles[rows[c]]
        nparts = table.size - 1
        first, lane = start + shifts[c], lanes[c]
        low = max(_turns(first * tsamp - delays[c], spin) + offsets[c], ends[0])
        high = min(_turns((first + nsamps) * tsamp - delays[c], spin) + offsets[c], ends[1])
        if not low < high:
            continue
        block = max(int(np.searchsorted(edges, first, side="right")) - 1, 0)
        # One more at either end: where it belongs is decided by the sample that it is in.
        number = math.floor(many * _amount(low, table) + dither[c])
        last = math.ceil(many * _amount(high, table) + dither[c])
        while number <= last:
            turns = (number - dither[c]) / many
            number += 1
            whole = math.floor(turns)
            x = (turns - whole) * nparts
            k = min(int(x), nparts - 1)
            turns = whole + table[k] + (x - k) * (table[k + 1] - table[k])
            if turns < ends[0] or turns >= ends[1]:
                continue
            sample = math.floor((_time(turns - offsets[c], spin) + delays[c]) / tsamp)
            i = sample - first
            if i < 0 or i >= nsamps or sample < edges[0] or sample >= edges[nblocks]:
                continue
            while block + 1 < nblocks and edges[block + 1] <= sample:
                block += 1
            if blocks[block] >= 0 and not bad[blocks[block], c]:
                data[lane, i] = min(max(int(data[lane, i]) + step, -top), top)


#: Samples of a tile: sums and four channels of it stay in the first caches.
TILE = 4096


@kernel()
def add_band(data: Int8s, start: int, delays: Ints, out: Int16s) -> None:
    """Add channels to the sum of their band, each earlier by its delay.

    Parameters
    ----------
    data : ndarray of int8, shape (nchans, nsamps)
    start : int
        Sample of `out` at which `data` starts where there is no delay.
    delays : ndarray of int64, shape (nchans,)
        [samples]
    out : ndarray of int16, shape (ntotal,)
        Added to; what would lie outside is left out.
    """
    nchans, nsamps = data.shape
    first = max(start - int(delays.max()), 0)
    last = min(start + nsamps - int(delays.min()), out.size)
    for tile in range(first, last, TILE):
        end = min(tile + TILE, last)
        for c in range(0, nchans - 3, 4):
            a, b, d, e = start - delays[c], start - delays[c + 1], start - delays[c + 2], start - delays[c + 3]
            low = min(max(max(a, b), max(d, e), tile), end)
            high = max(min(min(a, b), min(d, e)) + nsamps, low)
            high = min(high, end)
            width = high - low
            if width > 0:
                sums = out[low:high]
                w, x, y, z = data[c, low - a :], data[c + 1, low - b :], data[c + 2, low - d :], data[c + 3, low - e :]
                for i in range(width):
                    sums[i] += np.int16(w[i]) + np.int16(x[i]) + np.int16(y[i]) + np.int16(z[i])
            for k in range(4):
                at = start - delays[c + k]
                for i in range(max(at, tile), min(low, at + nsamps)):
                    out[i] += data[c + k, i - at]
                for i in range(max(high, at, tile), min(end, at + nsamps)):
                    out[i] += data[c + k, i - at]
        for c in range(nchans - nchans % 4, nchans):
            at = start - delays[c]
            for i in range(max(at, tile), min(end, at + nsamps)):
                out[i] += data[c, i - at]
