"""Folding: subband sums shared by many candidates, and their phase bins.

All sums are integers: exact, and the same in whatever order or thread they are made.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel

#: Samples summed before the next candidate is served: the subband row stays in the L1 cache, its channels in L2.
TILE = 8192


@kernel()
def _halve_pairs(data: NDArray[Any], out: NDArray[np.int16]) -> None:
    half = data.shape[1] // 2
    for c in range(data.shape[0]):
        row = data[c]
        res = out[c]
        for j in range(half):
            res[j] = np.int16(row[2 * j]) + np.int16(row[2 * j + 1])


@kernel()
def _halve_words(data: NDArray[np.int8], out: NDArray[np.int16]) -> None:
    # Two neighbours are loaded as one word: shifts part them, and nothing is shuffled.
    half = data.shape[1] // 2
    for c in range(data.shape[0]):
        words = data[c, : 2 * half].view(np.int16)
        res = out[c]
        for j in range(half):
            word = words[j]
            res[j] = np.int16(np.int16(np.int16(word << 8) >> 8) + np.int16(word >> 8))


def halve(data: NDArray[Any], out: NDArray[np.int16]) -> None:
    """Sum pairs of neighbouring samples; an odd last sample is dropped.

    Parameters
    ----------
    data : ndarray of int8 or int16, shape (nchans, n)
    out : ndarray of int16, shape (nchans, >= n // 2)
        Overwritten in its first n // 2 columns.
    """
    if data.dtype == np.int8 and data.flags.c_contiguous:
        _halve_words(data, out)
    else:
        _halve_pairs(data, out)


@kernel()
def phase_bins(
    phase: float,
    rate: float,
    accel: float,
    nbins: int,
    edges: NDArray[np.int64],
    out: NDArray[np.uint16],
) -> None:
    """Slot of every sample of a stretch: ``segment * nbins + floor(nbins * frac(phase))``.

    Parameters
    ----------
    phase, rate, accel : float
        Phase of sample j [turns]: ``phase + rate * j + accel * j**2``. `phase` is best given reduced to [0, 1).
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
            turns = phase + t * (rate + t * accel)
            slot = np.int32((turns - np.floor(turns)) * nbins)
            # A phase a rounding below a whole turn may reach nbins itself.
            if slot >= nbins:
                slot = np.int32(nbins - 1)
            out[j] = base + slot


@kernel()
def fold_band(
    data: NDArray[Any],
    nout: int,
    delays: NDArray[np.int32],
    group_starts: NDArray[np.int64],
    members: NDArray[np.int64],
    slots: NDArray[np.uint16],
    row: NDArray[Any],
    parts: NDArray[np.int32],
    acc: NDArray[np.int32],
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
    nslots = acc.shape[1]
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
                slot = slots[cand, start : start + n]
                p0, p1, p2, p3 = parts[0], parts[1], parts[2], parts[3]
                for i in range(nslots):
                    p0[i] = 0
                    p1[i] = 0
                    p2[i] = 0
                    p3[i] = 0
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
                for i in range(nslots):
                    acc[cand, i] += (p0[i] + p1[i]) + (p2[i] + p3[i])


@kernel()
def deposit(
    acc: NDArray[np.int32],
    scale: float,
    band: int,
    nbands: int,
    nbins: NDArray[np.int64],
    ranges: NDArray[np.int64],
    offsets: NDArray[np.int64],
    cubes: NDArray[np.float32],
) -> None:
    """Add the folded sums of one band, scaled, to the cubes of all candidates.

    Parameters
    ----------
    acc : ndarray of int32, shape (ncands, nslots)
        From :func:`fold_band`.
    scale : float
    band, nbands : int
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
            at = offsets[k] + ((ranges[k, 0] + s) * nbands + band) * size
            for i in range(size):
                cubes[at + i] = np.float32(np.float64(cubes[at + i]) + np.float64(acc[k, s * size + i]) * scale)


@kernel()
def count_slots(slots: NDArray[np.uint16], counts: NDArray[np.int64]) -> None:
    """Number of samples that go into each slot, added to `counts`."""
    for j in range(slots.shape[0]):
        counts[slots[j]] += 1


@kernel()
def fold_row(data: NDArray[np.float32], slots: NDArray[np.uint16], sums: NDArray[np.float64]) -> None:
    """Fold one float series: add each sample to its slot of `sums`."""
    for j in range(slots.shape[0]):
        sums[slots[j]] += data[j]
