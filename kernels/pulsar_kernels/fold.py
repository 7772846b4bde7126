"""Folding: bands shared by many candidates (:mod:`pulsar_kernels.bandsums`), and their bins; boxcar S/N of profiles.

All sums of samples are integers: exact, and the same in whatever order or thread they are made.
"""

from typing import Any

import numpy as np

from pulsar_kernels._ir import I16, I32, I64, element, load, plus, shuffle, steps, store, times, vector_of
from pulsar_kernels._jit import kernel, vector
from pulsar_kernels.arrays import Array, Float32s, Floats, Int8s, Int16s, Int32s, Ints, Uint8s, Uint16s
from pulsar_kernels.bandsums import sum_band

#: Samples summed before the next candidate is served by :func:`fold_band`: the subband row stays in the L1 cache, its
#: channels in L2.
TILE = 8192

#: Bands whose bins :func:`fold_bands` fills side by side, and samples of the sums that it keeps of each meanwhile.
LANES = 8
LANE_TILE = 1024
#: Beyond the samples of such a row: rows a power of two apart would share the same few places of a cache.
LANE_GAP = 32
#: Most channels of a band of bytes: 256 of -128 are the least int16, and as many of 255 fit a word.
MOST_CHANNELS = 256


@kernel()
def halve_bytes(data: Int8s, out: Int8s) -> bool:
    """As `dedisperse.halve`, for sums that fit bytes; whether they do (if not, `out` is left unfinished).

    Parameters
    ----------
    data : ndarray of int8, shape (nchans, n), contiguous
    out : ndarray of int8, shape (nchans, >= n // 2), contiguous
    """
    half = data.shape[1] // 2
    wide = np.int16(0)
    for c in range(data.shape[0]):
        words, res = data[c, : 2 * half].view(np.int16), out[c]
        for j in range(half):
            total = np.int16(np.int16(np.int16(words[j] << 8) >> 8) + np.int16(words[j] >> 8))
            wide |= np.int16(total + 128) & np.int16(~255)
            res[j] = np.int8(total)
        if wide != 0:
            return False
    return True


@kernel()
def phase_bins(phase: float, rate: float, accel: float, jerk: float, nbins: int, edges: Ints, out: Uint16s) -> None:
    """Slot of every sample of a stretch: ``segment * nbins + floor(nbins * frac(phase))``.

    Parameters
    ----------
    phase, rate, accel, jerk : float
        Phase of sample j [turns]: ``phase + rate * j + accel * j**2 + jerk * j**3``. `phase` is best given reduced to
        [0, 1).
    nbins : int
        Phase bins.
    edges : ndarray of int64, shape (nsegments + 1,)
        Sample at which each segment (sub-integration) starts, ``edges[0] = 0``, and the end of the last.
    out : ndarray of uint16, shape (>= edges[-1],)
        Unsigned and short: folding is then twice as fast as with int32 (no test for negative indices, half the loads).
    """
    for s in range(len(edges) - 1):
        base = s * nbins
        for j in range(edges[s], edges[s + 1]):
            t = float(j)
            turns = phase + t * (rate + t * (accel + t * jerk))
            slot = np.int32((turns - np.floor(turns)) * nbins)
            # A phase a rounding below a whole turn may reach nbins itself.
            if slot >= nbins:
                slot = np.int32(nbins - 1)
            out[j] = base + slot


@kernel(inline=True)
def _bin_row(row: Array, slot: Uint16s, parts: Int32s, sums: Int32s) -> None:
    """Add each sample to its slot; four side by side, so that none waits for the store of the one before."""
    n = row.shape[0]
    # The few slots that a tile reaches: those of one or two sub-integrations.
    first, last = slot[0], slot[0]
    for j in range(n):
        first, last = min(first, slot[j]), max(last, slot[j])
    lo, hi = np.int64(first), np.int64(last) + 1
    p0, p1, p2, p3 = parts[0], parts[1], parts[2], parts[3]
    p0[lo:hi] = 0
    p1[lo:hi] = 0
    p2[lo:hi] = 0
    p3[lo:hi] = 0
    j = 0
    while j + 4 <= n:
        p0[slot[j]] += row[j]
        p1[slot[j + 1]] += row[j + 1]
        p2[slot[j + 2]] += row[j + 2]
        p3[slot[j + 3]] += row[j + 3]
        j += 4
    while j < n:
        p0[slot[j]] += row[j]
        j += 1
    for i in range(lo, hi):
        sums[i] += (p0[i] + p1[i]) + (p2[i] + p3[i])


@kernel()
def fold_band(
    data: Array,
    nout: int,
    delays: Int32s,
    group_starts: Ints,
    members: Ints,
    slots: Uint16s,
    row: Array,
    parts: Int32s,
    acc: Int32s,
) -> None:
    """Sum the channels of one band for each group of candidates, and fold the sum for each member of the group.

    Parameters
    ----------
    data : ndarray of int8 or int16, shape (nchans, >= nout + max delay)
        Samples of the band's channels.
    nout : int
        Samples to fold.
    delays : ndarray of int32, shape (ngroups, nchans)
        Samples by which each channel is advanced, >= 0.
    group_starts : ndarray of int64, shape (ngroups + 1,)
        Group g serves ``members[group_starts[g] : group_starts[g + 1]]``.
    members : ndarray of int64
        Rows of `slots` and `acc`.
    slots : ndarray of uint16, shape (ncands, >= nout)
        Where each sample goes, from :func:`phase_bins`.
    row : ndarray of int16 or int32, shape (TILE,)
        Scratch for the sum; its type must hold nchans times the largest sample.
    parts : ndarray of int32, shape (4, >= nslots)
        Scratch: four samples are folded side by side, so that none waits for the store of the one before.
    acc : ndarray of int32, shape (ncands, nslots)
        Folded sums, overwritten.
    """
    nchans = data.shape[0]
    acc[members] = 0
    for start in range(0, nout, row.shape[0]):
        n = min(row.shape[0], nout - start)
        for g in range(delays.shape[0]):
            d = delays[g]
            row[:n] = 0
            c = 0
            while c + 8 <= nchans:
                x0 = data[c, start + d[c] : start + d[c] + n]
                x1 = data[c + 1, start + d[c + 1] : start + d[c + 1] + n]
                x2 = data[c + 2, start + d[c + 2] : start + d[c + 2] + n]
                x3 = data[c + 3, start + d[c + 3] : start + d[c + 3] + n]
                x4 = data[c + 4, start + d[c + 4] : start + d[c + 4] + n]
                x5 = data[c + 5, start + d[c + 5] : start + d[c + 5] + n]
                x6 = data[c + 6, start + d[c + 6] : start + d[c + 6] + n]
                x7 = data[c + 7, start + d[c + 7] : start + d[c + 7] + n]
                for j in range(n):
                    row[j] += ((np.int32(x0[j]) + np.int32(x1[j])) + (np.int32(x2[j]) + np.int32(x3[j]))) + (
                        (np.int32(x4[j]) + np.int32(x5[j])) + (np.int32(x6[j]) + np.int32(x7[j]))
                    )
                c += 8
            while c < nchans:
                x0 = data[c, start + d[c] : start + d[c] + n]
                for j in range(n):
                    row[j] += np.int32(x0[j])
                c += 1
            for m in range(group_starts[g], group_starts[g + 1]):
                cand = members[m]
                _bin_row(row[:n], slots[cand, start : start + n], parts, acc[cand])


_LANE_ROW = vector_of(I16, 32)


def _interleave_code(builder: Any, args: Any) -> None:
    rows, first, stride, lanes, to = args

    def merge(a: Any, b: Any) -> list[Any]:
        """The words of two vectors by turns, in two vectors; each eight (16 bytes, in which it is cheap) by itself."""
        order = [[8 * g + h + k // 2 + 32 * (k % 2) for g in range(4) for k in range(8)] for h in (0, 4)]
        return [shuffle(builder, a, b, lanes) for lanes in order]

    places = [plus(builder, first, times(builder, stride, k)) for k in range(LANES)]
    vectors = [[load(builder, rows, at, _LANE_ROW)] for at in places]
    # Rows 0 and 4, 1 and 5 ..., then the even ones and the odd ones of these, then both.
    while len(vectors) > 1:
        half = len(vectors) // 2
        vectors = [
            [x for pair in zip(vectors[k], vectors[k + half], strict=True) for x in merge(*pair)] for k in range(half)
        ]
    for k, value in enumerate(vectors[0]):
        for g in range(4):
            sample = shuffle(builder, value, value, range(8 * g, 8 * g + 8))
            store(builder, sample, lanes, plus(builder, to, LANES * (8 * g + k)))


@vector(_interleave_code)
def _interleave(rows: Int16s, first: int, stride: int, lanes: Int16s, to: int) -> None:
    """Transpose 32 samples of LANES rows, `stride` apart, from `first` on, into `lanes` from `to` on."""
    flat = rows.reshape(-1)
    block = np.stack([flat[first + k * stride : first + k * stride + 32] for k in range(LANES)])
    lanes.reshape(-1)[to : to + 32 * LANES] = block.T.reshape(-1)


def _bin_lanes_code(builder: Any, args: Any) -> None:
    lanes, n, slots, first, acc, to = args
    short, long = vector_of(I16, LANES), vector_of(I32, LANES)
    part = builder.udiv(n, I64(8))
    with steps(builder, 0, part) as i:
        for k in range(8):
            at = plus(builder, i, times(builder, part, k))
            slot = builder.zext(element(builder, slots, plus(builder, first, at)), I64)
            place = plus(builder, to, times(builder, slot, LANES))
            value = load(builder, lanes, times(builder, at, LANES), short)
            total = builder.add(load(builder, acc, place, long), builder.sext(value, long))
            store(builder, total, acc, place)


@vector(_bin_lanes_code)
def _bin_lanes(lanes: Int16s, n: int, slots: Uint16s, first: int, acc: Int32s, to: int) -> None:
    """Add samples 0 ... n - 1 (a multiple of 8) of LANES bands to their slots of `acc`, which begin at `to`.

    Eight distant samples go side by side: neighbours share a slot, and would wait for each other's store.
    """
    flat = acc.reshape(-1)
    for j in range(n):
        at = to + int(slots.reshape(-1)[first + j]) * LANES
        flat[at : at + LANES] += lanes.reshape(-1)[j * LANES : (j + 1) * LANES]


@kernel()
def fold_bands(
    data: Int8s,
    first: int,
    nout: int,
    bands: Ints,
    rows: Ints,
    places: Ints,
    delays: Int32s,
    group_starts: Ints,
    members: Ints,
    slots: Uint16s,
    table: Uint8s,
    stash: Int16s,
    lanes: Int16s,
    parts: Int32s,
    acc: Int32s,
) -> None:
    """As :func:`fold_band` for bytes and up to LANES bands at a time, whose bins are filled side by side.

    In a band with a table, the sums of two neighbouring channels are tabulated once for each relative delay that occurs
    and shared by the groups. Pairs with a sum that is no byte are added channel by channel.

    Parameters
    ----------
    data : ndarray of int8, shape (nchans, >= first + nout + max delay), contiguous
        Samples of the channels of all bands.
    first, nout : int
        Column of the first sample to fold, and how many.
    bands : ndarray of int64, shape (nbands, 6)
        Of each band: first channel, end of its channels (at most MOST_CHANNELS), first and end of its rows of the table
        (equal: no table), first of its places, and how many rows are summed.
    rows : ndarray of int64, shape (nrows, 5)
        Rows of the table: first channel of the pair, delays of its two channels, samples beyond those of a piece, place
        in the table.
    places : ndarray of int64
        Of each band (ngroups, rows summed): where each group finds them, in the table or (no table) in `data`.
    delays : ndarray of int32, shape (ngroups, nchans)
        Samples by which each channel is advanced, >= 0.
    group_starts, members, slots
        As for :func:`fold_band`; `slots` contiguous.
    table : ndarray of uint8
        Scratch for the rows of one band.
    stash : ndarray of int16, shape (ngroups, LANES, TILE + LANE_GAP)
        Scratch for the sums of channels. One row instead of LANES, if there is but one band, is folded sample by
        sample. Those of lanes without a band must hold numbers, whichever.
    lanes : ndarray of int16, shape (TILE, LANES)
        Scratch.
    parts : ndarray of int32, shape (4, >= nslots)
        Scratch.
    acc : ndarray of int32, shape (ncands, nslots, LANES), or (ncands, nslots, 1) for one row
        Folded sums, overwritten; those of lanes without a band are undefined.
    """
    # Many arguments: data, tables and results are the caller's arrays, each of another shape.
    nslots, width = acc.shape[1], acc.shape[2]
    stride = stash.shape[2]
    tile = stride - LANE_GAP
    spoilt = np.empty(data.shape[0] // 2 + 1, dtype=np.int64)
    acc[members] = 0
    for start in range(0, nout, tile):
        n = min(tile, nout - start)
        for b in range(bands.shape[0]):
            sum_band(data, first + start, n, bands[b], b, rows, places, delays, table, spoilt, stash)
        for g in range(stash.shape[0]):
            if width == 1:
                for m in range(group_starts[g], group_starts[g + 1]):
                    cand = members[m]
                    _bin_row(stash[g, 0, :n], slots[cand, start : start + n], parts, acc[cand].reshape(-1))
                continue
            for j in range(0, n, 32):
                _interleave(stash, g * LANES * stride + j, stride, lanes, j * LANES)
            for m in range(group_starts[g], group_starts[g + 1]):
                cand = members[m]
                whole = n - n % 8
                _bin_lanes(lanes, whole, slots, cand * slots.shape[1] + start, acc, cand * nslots * LANES)
                for j in range(whole, n):
                    into = acc[cand, slots[cand, start + j]]
                    for k in range(width):
                        into[k] += lanes[j, k]


@kernel()
def deposit(
    acc: Int32s, scale: float, bands: Ints, nbands: int, nbins: Ints, ranges: Ints, offsets: Ints, cubes: Float32s
) -> None:
    """Add the folded sums of some bands, scaled, to the cubes of all candidates.

    Parameters
    ----------
    acc : ndarray of int32, shape (ncands, nslots, >= number of bands)
        From :func:`fold_bands`, or from :func:`fold_band` with one band.
    scale : float
    bands : ndarray of int64
        The bands in `acc`.
    nbands : int
        All bands.
    nbins : ndarray of int64, shape (ncands,)
    ranges : ndarray of int64, shape (ncands, 2)
        First sub-integration in `acc`, and the one after the last.
    offsets : ndarray of int64, shape (ncands,)
        Where the cube of each candidate, of shape (nsubints, nbands, nbins), begins in `cubes`.
    cubes : ndarray of float32, shape (n,)
    """
    for k in range(acc.shape[0]):
        size = nbins[k]
        for s in range(ranges[k, 1] - ranges[k, 0]):
            for b in range(bands.shape[0]):
                at = offsets[k] + ((ranges[k, 0] + s) * nbands + bands[b]) * size
                for i in range(size):
                    cubes[at + i] = np.float32(np.float64(cubes[at + i]) + np.float64(acc[k, s * size + i, b]) * scale)


@kernel()
def count_slots(slots: Uint16s, counts: Ints) -> None:
    """Number of samples that go into each slot, added to `counts`."""
    for j in range(slots.shape[0]):
        counts[slots[j]] += 1


@kernel()
def fold_row(data: Float32s, slots: Uint16s, sums: Floats) -> None:
    """Fold one float series: add each sample to its slot of `sums`."""
    for j in range(slots.shape[0]):
        sums[slots[j]] += data[j]


@kernel(inline=True, helper=True)
def sum_around(row: Floats, total: Floats) -> None:
    """Running sums over two turns, from 0 on, into `total` of shape (2 nbins + 1,)."""
    n = row.shape[0]
    total[0] = 0.0
    for i in range(n):
        total[i + 1] = total[i] + row[i]
    for i in range(n):
        total[n + i + 1] = total[n] + total[i + 1]


@kernel(reorder=True)
def boxcar_snr(
    profiles: Floats, variance: Floats, widths: Ints, snr: Floats, best_width: Ints, best_start: Ints
) -> None:
    """Best boxcar of each profile over all start bins and the given widths.

    With S and N the sum and the variance inside the box, S_tot and N_tot those of the whole turn,
    S/N = (S - S_tot N / N_tot) / sqrt(N (1 - N / N_tot)): height of the box above the rest of the turn, over its error.
    For equal variances this is the formula with height h = sqrt((n - w)/(n w)) and baseline b = h w/(n - w).

    Parameters
    ----------
    profiles : ndarray of float64, shape (nprofiles, nbins)
        Sums of samples.
    variance : ndarray of float64, shape (nbins,)
        Variance of each bin, >= 0; the same for all profiles.
    widths : ndarray of int64
        Widths to try [bins], each in 1 … nbins - 1.
    snr, best_width, best_start : ndarray, shape (nprofiles,)
        Results; S/N -inf where no box holds part of the variance.
    """
    nprofiles, nbins = profiles.shape
    nwidths = widths.shape[0]
    around = np.empty(2 * nbins + 1)
    running = np.empty(2 * nbins + 1)
    sum_around(variance, around)
    total_var = around[nbins]
    # One over the error of a box, by the variance alone; NaN, of which nothing is the best, where it holds none.
    scale = np.empty((nwidths, nbins))
    for k in range(nwidths):
        ends = around[widths[k] :]
        for start in range(nbins):
            inside = ends[start] - around[start]
            room = inside * (total_var - inside)
            scale[k, start] = np.sqrt(total_var / room) if room > 1e-12 * total_var**2 else np.nan
    peak = np.empty(nbins)
    for p in range(nprofiles):
        sum_around(profiles[p], running)
        # What lies above the mean of the turn: as much as is missing beside the box.
        mean = running[nbins] / total_var if total_var > 0.0 else 0.0
        for i in range(2 * nbins + 1):
            running[i] -= mean * around[i]
        peak[:] = -np.inf
        # The best of each start: a maximum over starts would not become vectors.
        for k in range(nwidths):
            ends = running[widths[k] :]
            for start in range(nbins):
                peak[start] = max(peak[start], (ends[start] - running[start]) * scale[k, start])
        top, place = -np.inf, 0
        for start in range(nbins):
            if peak[start] > top:
                top, place = peak[start], start
        snr[p], best_width[p], best_start[p] = -np.inf, widths[0], place
        for k in range(nwidths):
            x = (running[place + widths[k]] - running[place]) * scale[k, place]
            if x > snr[p]:
                snr[p], best_width[p] = x, widths[k]
