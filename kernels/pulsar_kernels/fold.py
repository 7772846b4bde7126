"""Folding: subband sums shared by many candidates, and their phase bins.

All sums are integers: exact, and the same in whatever order or thread they are made.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel, prefetch, vector

#: Samples summed before the next candidate is served by :func:`fold_band`: the subband row stays in the L1 cache, its
#: channels in L2.
TILE = 8192

#: Bands whose bins :func:`fold_bands` fills side by side, and samples of the sums that it keeps of each meanwhile.
LANES = 8
LANE_TILE = 1024
#: Beyond the samples of such a row: rows a power of two apart would share the same few places of a cache.
LANE_GAP = 32
#: Samples of a piece, for which pairs of channels are tabulated, and of a stretch, for which rows are summed in
#: registers.
PIECE = 512
STRETCH = 256
#: Added to a signed byte: two samples can then be summed as one word without a borrow.
BIAS = 128
#: Most channels of a band of bytes: 256 of -128 are the least int16, and as many of 255 fit a word.
MOST_CHANNELS = 256
_STEP = 64

_BYTES = ir.VectorType(ir.IntType(8), _STEP)
_WORDS = ir.VectorType(ir.IntType(16), _STEP // 2)


def _fill(kind: Any, value: int) -> Any:
    """Vector constant."""
    return ir.Constant(kind, [value] * kind.count)


def _place(builder: Any, pointer: Any, at: Any, kind: Any) -> Any:
    """Where a vector begins in an array."""
    return builder.bitcast(builder.gep(pointer, [at]), kind.as_pointer())


@kernel()
def halve_pairs(data: NDArray[Any], out: NDArray[np.int16]) -> None:
    half = data.shape[1] // 2
    for c in range(data.shape[0]):
        row = data[c]
        res = out[c]
        for j in range(half):
            res[j] = np.int16(row[2 * j]) + np.int16(row[2 * j + 1])


@kernel()
def halve_words(data: NDArray[np.int8], out: NDArray[np.int16]) -> None:
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
        halve_words(data, out)
    else:
        halve_pairs(data, out)


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


def _sum_bytes_code(builder: Any, args: Any, flip: int) -> None:
    i16, i32, i64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
    _, data, start, places, first, count, rows, to = args
    eight = _fill(_WORDS, 8)
    variable: Any = cgutils.alloca_once_value
    sums = [variable(builder, _fill(_WORDS, 0)) for _ in range(2 * (STRETCH // _STEP))]

    def add(at: Any, several: int) -> None:
        """Add the rows at `several` places, as many words and upper bytes of words."""
        now = [builder.load(total) for total in sums]
        begins = [
            builder.add(builder.load(builder.gep(places, [builder.add(at, i64(k))])), start) for k in range(several)
        ]
        for v in range(STRETCH // _STEP):
            for begin in begins:
                words = builder.load(_place(builder, data, builder.add(begin, i64(v * _STEP)), _WORDS), align=1)
                if flip:
                    # The sign bits: a signed byte becomes one biased by BIAS.
                    words = builder.xor(words, _fill(_WORDS, -0x7F80))
                now[2 * v] = builder.add(now[2 * v], words)
                now[2 * v + 1] = builder.add(now[2 * v + 1], builder.lshr(words, eight))
        for total, value in zip(sums, now, strict=True):
            builder.store(value, total)

    fours = builder.udiv(count, i64(4))
    with cgutils.for_range(builder, fours) as loop:
        add(builder.add(first, builder.mul(loop.index, i64(4))), 4)
    with cgutils.for_range(builder, builder.urem(count, i64(4))) as loop:
        add(builder.add(builder.add(first, builder.mul(fours, i64(4))), loop.index), 1)
    wide = ir.VectorType(i16, _STEP)
    order = ir.Constant(ir.VectorType(i32, _STEP), [k // 2 + _STEP // 2 * (k % 2) for k in range(_STEP)])
    bias = builder.mul(builder.trunc(count, i16), i16(BIAS))
    biases = builder.insert_element(ir.Constant(wide, ir.Undefined), bias, i32(0))
    biases = builder.shuffle_vector(biases, biases, ir.Constant(order.type, [0] * _STEP))
    for v in range(STRETCH // _STEP):
        low, high = builder.load(sums[2 * v]), builder.load(sums[2 * v + 1])
        even = builder.sub(low, builder.shl(high, eight))
        both = builder.sub(builder.shuffle_vector(even, high, order), biases)
        builder.store(both, _place(builder, rows, builder.add(to, i64(v * _STEP)), wide), align=2)


@vector(_sum_bytes_code, literal=0)
def _sum_bytes(
    flip: int,
    data: NDArray[Any],
    start: int,
    places: NDArray[np.int64],
    first: int,
    count: int,
    rows: NDArray[np.int16],
    to: int,
) -> None:
    """Sum STRETCH samples of `count` rows of bytes into `rows` from `to` on.

    Row k begins at `start` beyond ``places[first + k]``. Bytes are biased by BIAS, or signed (`flip` = 1). Two samples
    are one word: whole words are summed beside their upper bytes, half the instructions of widening each byte.
    """
    flat = data.reshape(-1).view(np.uint8)
    total = np.full(STRETCH, -BIAS * count, np.int64)
    for k in range(count):
        at = places.reshape(-1)[first + k] + start
        total += flat[at : at + STRETCH] ^ (BIAS * flip)
    rows.reshape(-1)[to : to + STRETCH] = total.astype(np.int16)


def _add_two_code(builder: Any, args: Any) -> Any:
    i64 = ir.IntType(64)
    data, first, second, table, at, size = args
    saturate = ir.FunctionType(_BYTES, [_BYTES, _BYTES])
    insert: Any = cgutils.get_or_insert_function
    variable: Any = cgutils.alloca_once_value
    saturated = insert(builder.module, saturate, f"llvm.sadd.sat.v{_STEP}i8")
    lost = variable(builder, _fill(_BYTES, 0))
    last = builder.sub(size, i64(_STEP))
    steps = builder.udiv(builder.add(size, i64(_STEP - 1)), i64(_STEP))
    with cgutils.for_range(builder, steps) as loop:
        step = builder.mul(loop.index, i64(_STEP))
        # The last vector ends with the row; it may repeat samples.
        step = builder.select(builder.icmp_signed(">", step, last), last, step)
        one, two = (builder.load(_place(builder, data, builder.add(p, step), _BYTES), align=1) for p in (first, second))
        total = builder.call(saturated, [one, two])
        builder.store(
            builder.xor(total, _fill(_BYTES, -BIAS)),
            _place(builder, table, builder.add(at, step), _BYTES),
            align=1,
        )
        builder.store(builder.or_(builder.load(lost), builder.xor(total, builder.add(one, two))), lost)
    return builder.bitcast(builder.icmp_signed("!=", builder.load(lost), _fill(_BYTES, 0)), i64)


@vector(_add_two_code, returns=types.int64)
def _add_two(data: NDArray[np.int8], first: int, second: int, table: NDArray[np.uint8], at: int, size: int) -> int:
    """Add `size` (64 or more) bytes of `data` from `first` and `second` on, and BIAS; not 0 if a sum is not a byte."""
    one, two = (data.reshape(-1)[p : p + size].astype(np.int64) for p in (first, second))
    table[at : at + size] = np.clip(one + two, -128, 127) + BIAS
    return int(np.any((one + two < -128) | (one + two > 127)))


_LANE_ROW = ir.VectorType(ir.IntType(16), 32)


def _interleave_code(builder: Any, args: Any) -> None:
    i32, i64 = ir.IntType(32), ir.IntType(64)
    rows, first, stride, lanes, to = args

    def merge(one: Any, two: Any) -> list[Any]:
        """The words of two vectors by turns, in two vectors."""
        halves = []
        for h in (0, 16):
            order = [h + k // 2 + 32 * (k % 2) for k in range(32)]
            halves.append(builder.shuffle_vector(one, two, ir.Constant(ir.VectorType(i32, 32), order)))
        return halves

    vectors = []
    for k in range(LANES):
        at = builder.add(first, builder.mul(stride, i64(k)))
        vectors.append([builder.load(_place(builder, rows, at, _LANE_ROW), align=2)])
    # Rows 0 and 4, 1 and 5 ..., then the even ones and the odd ones of these, then both.
    while len(vectors) > 1:
        half = len(vectors) // 2
        vectors = [
            [x for pair in zip(vectors[k], vectors[k + half], strict=True) for x in merge(*pair)] for k in range(half)
        ]
    for k, value in enumerate(vectors[0]):
        builder.store(value, _place(builder, lanes, builder.add(to, i64(32 * k)), _LANE_ROW), align=2)


@vector(_interleave_code)
def _interleave(rows: NDArray[np.int16], first: int, stride: int, lanes: NDArray[np.int16], to: int) -> None:
    """Transpose 32 samples of LANES rows, `stride` apart, from `first` on, into `lanes` from `to` on."""
    flat = rows.reshape(-1)
    block = np.stack([flat[first + k * stride : first + k * stride + 32] for k in range(LANES)])
    lanes.reshape(-1)[to : to + 32 * LANES] = block.T.reshape(-1)


def _bin_lanes_code(builder: Any, args: Any) -> None:
    i64 = ir.IntType(64)
    lanes, n, slots, first, acc, to = args
    short, long = ir.VectorType(ir.IntType(16), LANES), ir.VectorType(ir.IntType(32), LANES)
    part = builder.udiv(n, i64(8))
    with cgutils.for_range(builder, part) as loop:
        for k in range(8):
            at = builder.add(loop.index, builder.mul(part, i64(k)))
            slot = builder.zext(builder.load(builder.gep(slots, [builder.add(first, at)])), i64)
            place = _place(builder, acc, builder.add(to, builder.mul(slot, i64(LANES))), long)
            value = builder.load(_place(builder, lanes, builder.mul(at, i64(LANES)), short), align=2)
            builder.store(builder.add(builder.load(place, align=4), builder.sext(value, long)), place, align=4)


@vector(_bin_lanes_code)
def _bin_lanes(
    lanes: NDArray[np.int16], n: int, slots: NDArray[np.uint16], first: int, acc: NDArray[np.int32], to: int
) -> None:
    """Add samples 0 ... n - 1 (a multiple of 8) of LANES bands to their slots of `acc`, which begin at `to`.

    Eight distant samples go side by side: neighbours share a slot, and would wait for each other's store.
    """
    flat = acc.reshape(-1)
    for j in range(n):
        at = to + int(slots.reshape(-1)[first + j]) * LANES
        flat[at : at + LANES] += lanes.reshape(-1)[j * LANES : (j + 1) * LANES]


@kernel()
def _sum_plain(
    data: NDArray[np.int8], delays: NDArray[np.int32], lo: int, hi: int, start: int, row: NDArray[np.int16]
) -> None:
    """Add channels lo ... hi - 1 of `data` from `start` and their delays on."""
    n = row.shape[0]
    for c in range(lo, hi):
        x = data[c, start + delays[c] : start + delays[c] + n]
        for j in range(n):
            row[j] += x[j]


@kernel()
def _tabulate(
    data: NDArray[np.int8],
    rows: NDArray[np.int64],
    start: int,
    n: int,
    table: NDArray[np.uint8],
    spoilt: NDArray[np.int64],
) -> int:
    """Fill rows of the table; the number of pairs with a sum that is no byte, left out and listed in `spoilt`."""
    nspoilt = 0
    begin = 0
    while begin < rows.shape[0]:
        channel = rows[begin, 0]
        end, lost = begin, np.int64(0)
        while end < rows.shape[0] and rows[end, 0] == channel:
            one = channel * data.shape[1] + start + rows[end, 1]
            two = (channel + 1) * data.shape[1] + start + rows[end, 2]
            lost |= _add_two(data, one, two, table, rows[end, 4], n + rows[end, 3])
            end += 1
        if lost != 0:
            for r in range(begin, end):
                table[rows[r, 4] : rows[r, 4] + n + rows[r, 3]] = BIAS
            spoilt[nspoilt] = channel
            nspoilt += 1
        begin = end
    return nspoilt


@kernel()
def _fetch(data: NDArray[np.int8], delays: NDArray[np.int32], lo: int, hi: int, start: int, n: int) -> None:
    """Have `n` samples of channels lo ... hi - 1 brought to the L2 cache, from `start` and their delays on."""
    for c in range(lo, hi):
        at = c * data.shape[1] + start + delays[c]
        for j in range(0, n, _STEP):
            prefetch(2, data, at + j)


@kernel()
def _sum_band(
    data: NDArray[np.int8],
    start: int,
    n: int,
    band: NDArray[np.int64],
    lane: int,
    rows: NDArray[np.int64],
    places: NDArray[np.int64],
    delays: NDArray[np.int32],
    table: NDArray[np.uint8],
    spoilt: NDArray[np.int64],
    stash: NDArray[np.int16],
) -> None:
    """Sums of one band for all groups, samples `start` ... `start` + n - 1, into ``stash[:, lane, :n]``."""
    lo, hi, first_row, end_row, first, count = band[0], band[1], band[2], band[3], band[4], band[5]
    ngroups, stride = stash.shape[0], stash.shape[2]
    tabled = end_row > first_row
    # Short pieces, so that the rows of all pairs stay in the L2 cache and those of a stretch in L1.
    piece = PIECE if tabled else n
    # What no tile has read yet (the last group has the largest delays): pieces of so many channels are too short for
    # the processor to foresee.
    _fetch(data, delays[ngroups - 1], lo, hi, start, n)
    for a in range(0, n, max(piece, 1)):
        size = min(piece, n - a)
        if size < STRETCH:
            for g in range(ngroups):
                row = stash[g, lane, a : a + size]
                row[:] = 0
                _sum_plain(data, delays[g], lo, hi, start + a, row)
            continue
        nspoilt = 0
        if tabled:
            nspoilt = _tabulate(data, rows[first_row:end_row], start + a, size, table, spoilt)
        for b in range(0, size, STRETCH):
            # The last stretch ends with the piece; it may repeat samples.
            j = min(b, size - STRETCH)
            for g in range(ngroups):
                to = (g * stash.shape[1] + lane) * stride + a + j
                if tabled:
                    _sum_bytes(0, table, j, places, first + g * count, count, stash, to)
                else:
                    _sum_bytes(1, data, start + a + j, places, first + g * count, count, stash, to)
        if tabled:
            for g in range(ngroups):
                row = stash[g, lane, a : a + size]
                if (hi - lo) % 2 == 1:
                    _sum_plain(data, delays[g], hi - 1, hi, start + a, row)
                for k in range(nspoilt):
                    _sum_plain(data, delays[g], spoilt[k], spoilt[k] + 2, start + a, row)


@kernel()
def fold_bands(
    data: NDArray[np.int8],
    nout: int,
    bands: NDArray[np.int64],
    rows: NDArray[np.int64],
    places: NDArray[np.int64],
    delays: NDArray[np.int32],
    group_starts: NDArray[np.int64],
    members: NDArray[np.int64],
    slots: NDArray[np.uint16],
    table: NDArray[np.uint8],
    stash: NDArray[np.int16],
    lanes: NDArray[np.int16],
    parts: NDArray[np.int32],
    acc: NDArray[np.int32],
) -> None:
    """As :func:`fold_band` for bytes and up to LANES bands at a time, whose bins are filled side by side.

    In a band with a table, the sums of two neighbouring channels are tabulated once for each relative delay that occurs
    and shared by the groups. Pairs with a sum that is no byte are added channel by channel.

    Parameters
    ----------
    data : ndarray of int8, shape (nchans, >= nout + max delay), contiguous
        Samples of the channels of all bands.
    nout : int
        Samples to fold.
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
    nslots, width = acc.shape[1], acc.shape[2]
    stride = stash.shape[2]
    tile = stride - LANE_GAP
    spoilt = np.empty(data.shape[0] // 2 + 1, dtype=np.int64)
    acc[members] = 0
    for start in range(0, nout, tile):
        n = min(tile, nout - start)
        for b in range(bands.shape[0]):
            _sum_band(data, start, n, bands[b], b, rows, places, delays, table, spoilt, stash)
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
    acc: NDArray[np.int32],
    scale: float,
    bands: NDArray[np.int64],
    nbands: int,
    nbins: NDArray[np.int64],
    ranges: NDArray[np.int64],
    offsets: NDArray[np.int64],
    cubes: NDArray[np.float32],
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
def count_slots(slots: NDArray[np.uint16], counts: NDArray[np.int64]) -> None:
    """Number of samples that go into each slot, added to `counts`."""
    for j in range(slots.shape[0]):
        counts[slots[j]] += 1


@kernel()
def fold_row(data: NDArray[np.float32], slots: NDArray[np.uint16], sums: NDArray[np.float64]) -> None:
    """Fold one float series: add each sample to its slot of `sums`."""
    for j in range(slots.shape[0]):
        sums[slots[j]] += data[j]
