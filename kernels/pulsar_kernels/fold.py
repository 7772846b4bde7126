"""Folding: subband sums shared by many candidates, and their phase bins.

All sums are integers: exact, and the same in whatever order or thread they are made.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel, vector

#: Pairs of channels added in one go by :func:`fold_pairs`, and samples of one of its tiles: the sums of the pairs and
#: the rows of many candidates stay in the L2 cache.
PAIRS = 8
PAIR_TILE = 2048
#: Added to the sum of a pair: one of -64 ... 63 becomes a byte of 7 bits, and two such bytes add up without a carry.
PAIR_BIAS = 64
_STEP = 64

#: Samples summed before the next candidate is served: the subband row stays in the L1 cache, its channels in L2.
TILE = 8192


_BYTES = ir.VectorType(ir.IntType(8), _STEP)
_WORDS = ir.VectorType(ir.IntType(16), _STEP // 2)


def _fill(kind: Any, value: int) -> Any:
    """Vector constant."""
    return ir.Constant(kind, [value] * kind.count)


def _place(builder: Any, pointer: Any, at: Any, kind: Any) -> Any:
    """Where a vector begins in an array."""
    return builder.bitcast(builder.gep(pointer, [at]), kind.as_pointer())


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


def _halve_vector_code(builder: Any, args: Any) -> Any:
    data, first, out, to = args
    word = builder.load(_place(builder, data, first, _WORDS), align=1)
    eight = _fill(_WORDS, 8)
    total = builder.add(builder.ashr(builder.shl(word, eight), eight), builder.ashr(word, eight))
    narrow = builder.trunc(total, ir.VectorType(ir.IntType(8), _WORDS.count))
    builder.store(narrow, _place(builder, out, to, narrow.type), align=1)
    wide = builder.icmp_unsigned(">", builder.add(total, _fill(_WORDS, 128)), _fill(_WORDS, 255))
    return builder.zext(builder.bitcast(wide, ir.IntType(_WORDS.count)), ir.IntType(64))


@vector(_halve_vector_code, returns=types.int64)
def _halve_vector(data: NDArray[np.int8], first: int, out: NDArray[np.int8], to: int) -> int:
    """Sums of 32 pairs of neighbours from `first` on into `out` from `to` on; not 0 if one does not fit int8."""
    total = data.reshape(-1)[first : first + _STEP].astype(np.int64).reshape(-1, 2).sum(axis=1)
    out.reshape(-1)[to : to + _STEP // 2] = total.astype(np.int8)
    return int(np.any((total < -128) | (total > 127)))


@kernel()
def halve_bytes(data: NDArray[np.int8], out: NDArray[np.int8]) -> bool:
    """As :func:`halve`, for sums that fit bytes; whether they do (if not, `out` is left unfinished).

    Parameters
    ----------
    data : ndarray of int8, shape (nchans, n), contiguous
    out : ndarray of int8, shape (nchans, >= n // 2), contiguous
    """
    half = data.shape[1] // 2
    done = half - half % (_STEP // 2)
    wide = np.int64(0)
    for c in range(data.shape[0]):
        first, to = c * data.shape[1], c * out.shape[1]
        for j in range(0, done, _STEP // 2):
            wide |= _halve_vector(data, first + 2 * j, out, to + j)
        for j in range(done, half):
            total = np.int64(data[c, 2 * j]) + np.int64(data[c, 2 * j + 1])
            wide |= (total + 128) & ~255
            if wide == 0:
                out[c, j] = total
        if wide != 0:
            return False
    return True


@kernel()
def phase_bins(
    phase: float,
    rate: float,
    accel: float,
    jerk: float,
    nbins: int,
    edges: NDArray[np.int64],
    out: NDArray[np.uint16],
) -> None:
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


@kernel()
def _bin_row(row: NDArray[Any], slot: NDArray[np.uint16], parts: NDArray[np.int32], sums: NDArray[np.int32]) -> None:
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


def _pair_bytes_code(builder: Any, args: Any) -> Any:
    data, first, second, table, at = args
    saturate = ir.FunctionType(_BYTES, [_BYTES, _BYTES])
    insert: Any = cgutils.get_or_insert_function
    add = insert(builder.module, saturate, f"llvm.sadd.sat.v{_STEP}i8")
    one, two = (builder.load(_place(builder, data, p, _BYTES), align=1) for p in (first, second))
    # What leaves int8 saturates, and is still seen to be out of range.
    byte = builder.add(builder.call(add, [one, two]), _fill(_BYTES, PAIR_BIAS))
    builder.store(byte, _place(builder, table, at, _BYTES), align=1)
    return builder.bitcast(builder.icmp_signed("<", byte, _fill(_BYTES, 0)), ir.IntType(64))


@vector(_pair_bytes_code, returns=types.int64)
def _pair_bytes(data: NDArray[np.int8], first: int, second: int, table: NDArray[np.uint8], at: int) -> int:
    """Add 64 bytes of `data` from `first` and from `second` on and PAIR_BIAS; not 0 if a sum has more than 7 bits."""
    one, two = (data.reshape(-1)[p : p + _STEP].astype(np.int16) for p in (first, second))
    total = np.clip(one + two, -128, 127) + PAIR_BIAS
    table[at : at + _STEP] = total.astype(np.uint8)
    return int(np.any((total < 0) | (total > 127)))


def _add_pairs_code(builder: Any, args: Any) -> None:
    i64 = ir.IntType(64)
    table, places, j, words = args
    low_at = _place(builder, words, builder.mul(j, i64(_STEP)), _WORDS)
    high_at = _place(builder, words, builder.add(builder.mul(j, i64(_STEP)), i64(_STEP // 2)), _WORDS)
    step = builder.mul(j, i64(_STEP))
    loads = []
    for k in range(PAIRS):
        at = builder.add(builder.load(builder.gep(places, [i64(k)])), step)
        loads.append(builder.load(_place(builder, table, at, _WORDS), align=1))
    low, high = builder.load(low_at, align=2), builder.load(high_at, align=2)
    for k in range(0, PAIRS, 2):
        both = builder.add(loads[k], loads[k + 1])
        low = builder.add(low, both)
        high = builder.add(high, builder.lshr(both, _fill(_WORDS, 8)))
    builder.store(low, low_at, align=2)
    builder.store(high, high_at, align=2)


@vector(_add_pairs_code)
def _add_pairs(table: NDArray[np.uint8], places: NDArray[np.int64], j: int, words: NDArray[np.uint16]) -> None:
    """Add 64 samples of PAIRS rows of the table: whole words to words[j, 0], their upper bytes to words[j, 1].

    Two samples are one word: that takes half the instructions of widening each byte.
    """
    for k in range(0, PAIRS, 2):
        one, two = (table[p + j * _STEP : p + (j + 1) * _STEP].view(np.uint16) for p in places[k : k + 2])
        words[j, 0] += one + two
        words[j, 1] += (one + two) >> 8


def _part_words_code(builder: Any, args: Any) -> None:
    i64 = ir.IntType(64)
    words, j, bias, row = args
    step = builder.mul(j, i64(_STEP))
    low = builder.load(_place(builder, words, step, _WORDS), align=2)
    high = builder.load(_place(builder, words, builder.add(step, i64(_STEP // 2)), _WORDS), align=2)
    even = builder.sub(low, builder.shl(high, _fill(_WORDS, 8)))
    i32 = ir.IntType(32)
    order = [i32(k // 2 + _STEP // 2 * (k % 2)) for k in range(_STEP)]
    both = builder.shuffle_vector(even, high, ir.Constant(ir.VectorType(i32, _STEP), order))
    one = builder.trunc(bias, ir.IntType(16))
    wide = ir.VectorType(ir.IntType(16), _STEP)
    biases = builder.insert_element(ir.Constant(wide, ir.Undefined), one, i32(0))
    biases = builder.shuffle_vector(biases, biases, ir.Constant(ir.VectorType(i32, _STEP), [i32(0)] * _STEP))
    builder.store(builder.sub(both, biases), _place(builder, row, step, wide), align=2)


@vector(_part_words_code)
def _part_words(words: NDArray[np.uint16], j: int, bias: int, row: NDArray[np.int16]) -> None:
    """The 64 samples in words[j], less `bias`, into row[64 j : 64 j + 64]."""
    low, high = words[j].astype(np.int64)
    row[j * _STEP : (j + 1) * _STEP : 2] = ((low - (high << 8)) & 65535) - bias
    row[j * _STEP + 1 : (j + 1) * _STEP : 2] = high - bias


@kernel()
def _tabulate(
    data: NDArray[np.int8], pair: int, first: int, second: int, table: NDArray[np.uint8], at: int, size: int
) -> bool:
    """Sums of two channels plus PAIR_BIAS, as bytes, from samples `first` and `second` on; whether all have 7 bits."""
    stride = data.shape[1]
    one, two = 2 * pair * stride + first, (2 * pair + 1) * stride + second
    wide = np.int64(0)
    if size < _STEP:
        for j in range(size):
            total = np.int64(data[2 * pair, first + j]) + np.int64(data[2 * pair + 1, second + j]) + PAIR_BIAS
            table[at + j] = total & 255
            wide |= total & ~127
        return bool(wide == 0)
    for j in range(0, size - _STEP, _STEP):
        wide |= _pair_bytes(data, one + j, two + j, table, at + j)
    # The last vector ends with the row; it may repeat samples.
    j = size - _STEP
    wide |= _pair_bytes(data, one + j, two + j, table, at + j)
    return bool(wide == 0)


@kernel()
def fold_pairs(
    data: NDArray[np.int8],
    nout: int,
    delays: NDArray[np.int32],
    rows: NDArray[np.int64],
    row_starts: NDArray[np.int64],
    places: NDArray[np.int64],
    group_starts: NDArray[np.int64],
    members: NDArray[np.int64],
    slots: NDArray[np.uint16],
    table: NDArray[np.uint8],
    words: NDArray[np.uint16],
    row: NDArray[np.int16],
    parts: NDArray[np.int32],
    acc: NDArray[np.int32],
) -> None:
    """As :func:`fold_band` for bytes, with the sums of pairs of neighbouring channels shared by the groups.

    In every tile the sums of a pair are tabulated once for each relative delay that occurs. Pairs with a sum beyond 7
    bits are added channel by channel.

    Parameters
    ----------
    data : ndarray of int8, shape (nchans, >= nout + max delay)
    nout : int
    delays : ndarray of int32, shape (ngroups, nchans)
    rows : ndarray of int64, shape (nrows, 5)
        Rows of the table: pair, delays of its two channels, samples beyond those of a tile, place in the table.
    row_starts : ndarray of int64, shape (nblocks + 1,)
        First row of each block of PAIRS pairs.
    places : ndarray of int64, shape (nblocks, ngroups, PAIRS)
        Where in the table each group finds the sums of each pair; 0 where there is no pair.
    group_starts, members, slots
        As for :func:`fold_band`.
    table : ndarray of uint8
        Scratch: PAIR_TILE samples that are zero, then the rows of a block.
    words : ndarray of uint16, shape (ngroups, PAIR_TILE // 64, 2, 32)
        Scratch.
    row : ndarray of int16, shape (PAIR_TILE,)
        Scratch; int16 must hold nchans times 127.
    parts, acc
        As for :func:`fold_band`.
    """
    nchans = data.shape[0]
    ngroups = delays.shape[0]
    nblocks = row_starts.shape[0] - 1
    npairs = nchans // 2
    tile = row.shape[0]
    fits = np.empty(npairs, dtype=np.bool_)
    at = np.empty(PAIRS, dtype=np.int64)
    table[:tile] = PAIR_BIAS
    acc[members] = 0
    for start in range(0, nout, tile):
        n = min(tile, nout - start)
        fits[:] = True
        words[:] = 0
        for b in range(nblocks):
            for r in range(row_starts[b], row_starts[b + 1]):
                pair, size = rows[r, 0], n + rows[r, 3]
                first, second, to = start + rows[r, 1], start + rows[r, 2], rows[r, 4]
                fits[pair] &= _tabulate(data, pair, first, second, table, to, size)
            for g in range(ngroups):
                for k in range(PAIRS):
                    pair = b * PAIRS + k
                    at[k] = places[b, g, k] if pair < npairs and fits[pair] else 0
                own = words[g]
                for j in range(own.shape[0]):
                    _add_pairs(table, at, j, own)
        bias = nblocks * PAIRS * PAIR_BIAS
        for g in range(ngroups):
            for j in range(words.shape[1]):
                _part_words(words[g], j, bias, row)
            for c in range(nchans):
                if c == 2 * npairs or not fits[c // 2]:
                    x = data[c, start + delays[g, c] : start + delays[g, c] + n]
                    for j in range(n):
                        row[j] += x[j]
            for m in range(group_starts[g], group_starts[g + 1]):
                cand = members[m]
                _bin_row(row[:n], slots[cand, start : start + n], parts, acc[cand])


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
