"""The dedispersion tree: choice of its rows, layout of its program, and the program run over a tile of time.

A node sums four neighbouring channels, or four nodes of the level below. A row of a node is such a sum for a small
range of trial DMs: it takes one row of each child at a shift of its own. All rows are int8. Four rows of noise s
have a sum of noise 2 s, so half the sum is kept: it needs no more bits than its parts. Of the two pairs one mean is
rounded up and one down, so that nothing is added on average; the rounding adds 0.2 % to the variance in each level.
The root sums its children in int16, times 2 for every level, which is the scale of the plain sum of channels.
"""

from typing import Any

import numpy as np

from pulsar_kernels._ir import (
    I8,
    I16,
    I64,
    constant,
    element,
    load,
    plus,
    saturated,
    splat,
    steps,
    store,
    store_past,
    summed,
    variable,
    vector_of,
)
from pulsar_kernels._jit import all_written, kernel, prefetch, vector
from pulsar_kernels.arrays import Floats, Int8s, Int16s, Int32s, Ints, Uint8s

#: Children of a node (of all but the root), and samples in a vector: stretches are multiples of it.
FAN = 4
LANES = 64
#: DMs of a range whose rows of the children are tried for a row that serves them all, origins tried at the root, and
#: DMs at which the variance of a row of their own is found out.
_TRIES = 5
_ORIGINS = 16
_SAMPLED = 64
_SMOOTH = 16
_UNUSED = np.int64(1) << 40


# --- the rows -------------------------------------------------------------------------------------------------------


@kernel(inline=True)
def _join(
    m: Floats, v: Floats, c: Floats, w: Floats, dk: Floats, aligned: Floats, choice: Ints, shift: Ints
) -> tuple[float, float, float]:
    """Row of each part and its whole-sample shift that make the least variance; mean, variance and covariance then.

    `m`, `v`, `c`, shape (parts, rows), are mean, variance and covariance (with the slope) of the delay errors over
    the channels of each part, for a few of its rows; `w` its share of the channels, `dk` the mean slope of its delays
    against that of all. `choice` (2, parts) is filled in its first row.
    """
    parts, rows = m.shape
    best = np.inf
    mean_best = 0.0
    cov_best = 0.0
    for i in range(0, parts, max(1, parts // _ORIGINS)):
        mean = 0.0
        target = m[i, 0]
        for j in range(parts):
            least = np.inf
            for q in range(rows):
                off = m[j, q] - target
                off -= np.rint(off)
                if v[j, q] + off * off < least:
                    least = v[j, q] + off * off
                    choice[1, j] = q
                    aligned[j] = target + off
            mean += w[j] * aligned[j]
        variance = 0.0
        for j in range(parts):
            variance += w[j] * (v[j, choice[1, j]] + (aligned[j] - mean) ** 2)
        if variance < best - 1e-9:
            best = variance
            origin = np.rint(mean)
            mean_best = mean - origin
            cov_best = 0.0
            for j in range(parts):
                q = choice[1, j]
                choice[0, j] = q
                shift[j] = np.int64(np.rint(aligned[j] - m[j, q] - origin))
                cov_best += w[j] * (c[j, q] + (aligned[j] - mean) * dk[j])
    return mean_best, best, cov_best


@kernel(inline=True)
def _smooth(x: Floats, reach: int, out: Floats) -> None:
    """Means over `reach` elements on either side, fewer at the ends."""
    n = x.size
    for j in range(n):
        first, last = max(j - reach, 0), min(j + reach, n - 1)
        total = 0.0
        for i in range(first, last + 1):
            total += x[i]
        out[j] = total / (last - first + 1)


@kernel()
def choose_rows(
    fan: int,
    dms: Floats,
    slack: float,
    below_count: Floats,
    below_slope: Floats,
    below_spread: Floats,
    below_rowid: Int32s,
    below_stats: Floats,
    count: Floats,
    slope: Floats,
    spread: Floats,
    rowid: Int32s,
    node_of: Ints,
    child: Ints,
    shift: Ints,
    stats: Floats,
) -> int:
    """Rows of every node of a level, each serving as many neighbouring DMs as it can.

    The errors of the delays over the channels of a row have the variance V(d) = v - 2 x c + x^2 s at the DM d0 + x,
    with v the variance at d0, c the covariance of errors and slopes there and s the variance of the slopes. A row's
    range grows while V at both its ends is at most `slack` above that of a row made for that DM (or above the mean
    of these over an eighth of the DMs around). Of each child the row for the DM or one of its neighbours is taken,
    whichever fits the others best.

    Parameters
    ----------
    fan : int
        Nodes of the level below that a node takes.
    dms : ndarray, shape (ndms,)
        Trial DMs, ascending.
    slack : float
        [samples^2]; negative for a row to every DM (the root).
    below_count, below_slope, below_spread : ndarray, shape (nbelow,)
        Channels, mean slope of the delays [samples per unit of DM], variance of the slopes.
    below_rowid : ndarray of int32, shape (nbelow, ndms), or (0, 0) where the nodes below are the channels
        Row of a node for each DM.
    below_stats : ndarray, shape (nrows_below, 4)
        d0, mean error, v, c.
    count, slope, spread : ndarray, shape (nnodes,)
        Filled.
    rowid : ndarray of int32, shape (nnodes, ndms)
        Filled.
    node_of : ndarray of int64, shape (capacity,)
        Filled: node of each row; rows are in the order of nodes and DMs.
    child, shift : ndarray of int64, shape (capacity, fan)
        Filled: row of each child (-1 for none) and where its sample 0 is taken from.
    stats : ndarray, shape (capacity, 4)
        Filled.

    Returns
    -------
    int
        Number of rows, or -1 if the capacity is too small.
    """
    # Long: the loops share two dozen small arrays and numbers, which parts of it would have to be handed one by one.
    # Many arguments: data, tables and results are the caller's arrays, each of another shape.
    ndms = dms.size
    nbelow = below_count.size
    channels = below_rowid.shape[0] == 0
    n = 0
    rows = 1 if channels else 3
    m, v, c, w = np.empty((fan, rows)), np.empty((fan, rows)), np.empty((fan, rows)), np.empty(fan)
    choice = np.zeros((2, fan), np.int64)
    options = np.empty((fan, rows), np.int64)
    dk, aligned = np.empty(fan), np.empty(fan)
    limit, smooth = np.empty(ndms), np.empty(ndms)
    # Of the rows that a node would have for a DM, once they are known.
    known = np.empty(ndms, np.bool_)
    joined = np.empty((ndms, 3))
    took, moved = np.zeros((ndms, fan), np.int64), np.zeros((ndms, fan), np.int64)
    stride = -(-ndms // _SAMPLED)
    for node in range(count.size):
        first = node * fan
        parts = min(fan, nbelow - first)
        total = 0.0
        mean_slope = 0.0
        for j in range(parts):
            total += below_count[first + j]
        for j in range(parts):
            w[j] = below_count[first + j] / total
            mean_slope += w[j] * below_slope[first + j]
        s = 0.0
        for j in range(parts):
            dk[j] = below_slope[first + j] - mean_slope
            s += w[j] * (below_spread[first + j] + dk[j] ** 2)
        count[node], slope[node], spread[node] = total, mean_slope, s
        for j in range(ndms):
            known[j] = False
        # What a row for one DM alone would have, in a first round; then the ranges.
        ranges = slack >= 0.0
        j0 = 0
        first_round = ranges
        while j0 < ndms:
            low, high, step = j0, ndms, 1
            j1 = j0
            growing = True
            choosing = False
            best = j0
            while True:
                tries = min(j1 - j0 + 1, _TRIES)
                least = np.inf
                for t in range(tries):
                    # Whether any serves is told soonest by the middle one; which of them serves best, by all.
                    place = t if choosing else (t + tries // 2) % tries
                    jm = j0 + ((2 * place + 1) * (j1 - j0 + 1)) // (2 * tries)
                    d = dms[jm]
                    if not known[jm]:
                        for j in range(parts):
                            if channels:
                                options[j, 0] = first + j
                                m[j, 0] = -below_slope[first + j] * d
                                v[j, 0] = c[j, 0] = 0.0
                                continue
                            sj = below_spread[first + j]
                            for q in range(rows):
                                row = below_rowid[first + j, jm]
                                if q > 0:
                                    near = row + 2 * q - 3
                                    if below_rowid[first + j, 0] <= near <= below_rowid[first + j, ndms - 1]:
                                        row = near
                                options[j, q] = row
                                x = d - below_stats[row, 0]
                                m[j, q] = below_stats[row, 1] - below_slope[first + j] * x
                                v[j, q] = below_stats[row, 2] - 2.0 * x * below_stats[row, 3] + x * x * sj
                                c[j, q] = below_stats[row, 3] - x * sj
                        joined[jm, 0], joined[jm, 1], joined[jm, 2] = _join(
                            m[:parts], v[:parts], c[:parts], w[:parts], dk[:parts], aligned, choice, moved[jm]
                        )
                        for j in range(parts):
                            took[jm, j] = options[j, choice[0, j]]
                        known[jm] = True
                    v_d, c_d = joined[jm, 1], joined[jm, 2]
                    x0, x1 = dms[j0] - d, dms[j1] - d
                    over = -np.inf
                    if j1 > j0:
                        over = max(
                            v_d - 2.0 * x0 * c_d + x0 * x0 * s - limit[j0],
                            v_d - 2.0 * x1 * c_d + x1 * x1 * s - limit[j1],
                        )
                    if over < least:
                        least = over
                        best = jm
                    if over <= 0.0 and not choosing:
                        break
                if choosing:
                    break
                fits = least <= 0.0
                if fits:
                    low = j1
                else:
                    high = j1
                if first_round or not ranges:
                    break
                if growing and fits and j1 < ndms - 1:
                    step *= 2
                    j1 = min(j0 + step, ndms - 1)
                else:
                    growing = False
                    choosing = high - low <= 1
                    j1 = low if choosing else (low + high) // 2
            if first_round:
                after = min(j0 + stride, ndms)
                for j in range(j0, after):
                    limit[j] = joined[best, 1]
                j0 = after
                if j0 == ndms:
                    _smooth(limit, max(ndms // _SMOOTH, 1), smooth)
                    for j in range(ndms):
                        limit[j] = max(limit[j], smooth[j]) + slack
                    first_round = False
                    j0 = 0
                continue
            if n == child.shape[0]:
                return -1
            node_of[n] = node
            for j in range(fan):
                child[n, j] = took[best, j] if j < parts else -1
                shift[n, j] = moved[best, j] if j < parts else 0
            stats[n, 0] = dms[best]
            for k in range(3):
                stats[n, 1 + k] = joined[best, k]
            for j in range(j0, low + 1):
                rowid[node, j] = n
            n += 1
            j0 = low + 1
    return n


@kernel()
def spans(child: Ints, shift: Ints, lo: Ints, hi: Ints, below_lo: Ints, below_hi: Ints) -> None:
    """First sample needed of the rows below, and last one past the tile, from those of the rows above.

    Rows that nothing needs keep `lo` > `hi`; so do those below that only such rows take.
    """
    for r in range(child.shape[0]):
        if lo[r] > hi[r]:
            continue
        for j in range(child.shape[1]):
            row = child[r, j]
            if row >= 0:
                below_lo[row] = min(below_lo[row], lo[r] + shift[r, j])
                below_hi[row] = max(below_hi[row], hi[r] + shift[r, j])


# --- the program ----------------------------------------------------------------------------------------------------


_BYTES = vector_of(I8, LANES)
_WORDS = vector_of(I16, LANES)


def _quarter_code(builder: Any, args: Any, count: int) -> None:
    def mean(first: int, offset: int) -> Any:
        """Rounding mean of two stretches whose bits are changed, as processors have it (vpavgb), and changed back."""
        change = constant(_BYTES, offset)
        pair = [
            builder.xor(load(builder, args[0], args[1 + j], _BYTES), change) if j < count else change
            for j in (first, first + 1)
        ]
        total = builder.add(summed([builder.zext(x, _WORDS) for x in pair], builder.add), constant(_WORDS, 1))
        return builder.xor(builder.trunc(builder.lshr(total, constant(_WORDS, 1)), _BYTES), change)

    # Unsigned by the highest bit. With the others turned over numbers are negated, and rounded the other way.
    result = mean(0, -128)
    if count > 2:
        result = saturated(builder, result, mean(2, 127))
    store(builder, result, args[5], args[6])


@vector(_quarter_code, literal=7)
def _half_sum(data: Int8s, a: int, b: int, c: int, d: int, out: Int8s, at: int, count: int) -> None:
    """Half the sum of `count` (1 to 4) stretches of 64 samples of `data`, those at `a`, `b`, `c`, `d`, to ``out[at:]``.

    The mean of the first two is rounded up, that of the others down; the sum of the means saturates.
    """
    x, y, z, t = [
        data[p : p + LANES].astype(np.int32) if j < count else np.zeros(LANES, np.int32)
        for j, p in enumerate((a, b, c, d))
    ]
    out[at : at + LANES] = np.clip(((x + y + 1) >> 1) + ((z + t) >> 1), -128, 127)


def _sum_code(builder: Any, args: Any, past: int) -> None:
    data, where, count, i, out, at, bits = args[:7]
    shift = splat(builder, builder.trunc(bits, I16), LANES)
    total = variable(builder, constant(_WORDS, 0))
    # Eight by eight, then four by four, then one by one: sums of so few cannot be too large.
    first: Any = I64(0)
    for together in (8, 4, 1):
        last = builder.and_(count, I64(-together))
        with steps(builder, first, last, together) as j:
            terms = []
            for k in range(together):
                place = plus(builder, element(builder, where, plus(builder, j, k)), i)
                terms.append(builder.sext(load(builder, data, place, _BYTES), _WORDS))
            more = builder.shl(summed(terms, builder.add), shift)
            builder.store(saturated(builder, builder.load(total), more), total)
        first = last
    (store_past if past else store)(builder, builder.load(total), out, at)


@vector(_sum_code, literal=7)
def _sum(
    data: Int8s,
    where: Ints,
    count: int,
    i: int,
    out: Int16s,
    at: int,
    bits: int,
    past: int,  # noqa: ARG001
) -> None:
    """Sum of `count` stretches of 64 samples, times 2^`bits`, to ``out[at:]``.

    If `past` is 1 it goes past the caches, to a multiple of 64 bytes.
    """
    total = np.zeros(LANES, np.int32)
    first = 0
    for together in (8, 4, 1):
        for j in range(first, count & -together, together):
            some = np.zeros(LANES, np.int32)
            for k in range(j, j + together):
                some += data[where[k] + i : where[k] + i + LANES]
            total = np.clip(total + (some << bits), -32768, 32767)
        first = count & -together
    out[at : at + LANES] = total


@kernel()
def _node_row(data: Int8s, where: Ints, count: int, arena: Int8s, at: int, n: int) -> None:
    a, b, c, d = where[0], where[1], where[2], where[3]
    if count == 4:
        for i in range(0, n, LANES):
            _half_sum(data, a + i, b + i, c + i, d + i, arena, at + i, 4)
    elif count == 3:
        for i in range(0, n, LANES):
            _half_sum(data, a + i, b + i, c + i, a, arena, at + i, 3)
    elif count == 2:
        for i in range(0, n, LANES):
            _half_sum(data, a + i, b + i, a, a, arena, at + i, 2)
    else:
        for i in range(0, n, LANES):
            _half_sum(data, a + i, a, a, a, arena, at + i, 1)


@kernel()
def _root_row(data: Int8s, where: Ints, count: int, out: Int16s, at: int, n: int, bits: int, past: bool) -> None:
    whole = n & ~(LANES - 1)
    if past:
        for i in range(0, whole, LANES):
            _sum(data, where, count, i, out, at + i, bits, 1)
    else:
        for i in range(0, whole, LANES):
            _sum(data, where, count, i, out, at + i, bits, 0)
    for i in range(whole, n):
        total = np.int32(0)
        first = 0
        while first < count:
            take = 8 if count - first >= 8 else (4 if count - first >= 4 else 1)
            some = np.int32(0)
            for j in range(first, first + take):
                some += np.int32(data[where[j] + i])
            total = min(max(total + (some << bits), np.int32(-32768)), np.int32(32767))
            first += take
        out[at + i] = np.int16(total)


@kernel()
def tree_tile(
    raw: Int8s,
    column: int,
    kind: Uint8s,
    dest: Ints,
    length: Ints,
    ptr: Ints,
    src: Ints,
    shift: Ints,
    bits: int,
    arena: Int8s,
    out: Int16s,
    out_column: int,
    nout: int,
) -> None:
    """Run a tree's program over one tile of time.

    Parameters
    ----------
    raw : ndarray of int8, shape (nchans, ncols)
        Channels; every stretch that the program reads must lie inside (the caller pads with zeros).
    column : int
        Column of `raw` that belongs to sample 0 of the tile at zero delay.
    kind : ndarray of uint8, shape (nops,)
        Bit 0: the inputs are channels (else stretches of the arena). Bit 1: the result is a row of `out`, the sum of
        the inputs times 2^`bits` (else half the sum of four inputs at most).
    dest : ndarray of int64, shape (nops,)
        Where the result goes: offset into the arena, or row of `out`.
    length : ndarray of int64, shape (nops,)
        Samples of an operation, a multiple of `LANES` (of those into `out` only `nout` are made).
    ptr : ndarray of int64, shape (nops + 1,)
        Inputs of operation ``i`` are ``ptr[i]`` to ``ptr[i+1]``.
    src, shift : ndarray of int64
        Of each input: channel and shift against `column`; or offset into the arena and 0.
    bits : int
        Levels below the root.
    arena : ndarray of int8
        Working space of this thread.
    out : ndarray of int16, shape (ndms, >= out_column + nout)
        Result, written from `out_column` on.
    """
    # Many arguments: data, tables and results are the caller's arrays, each of another shape.
    widest = 4
    for op in range(kind.size):
        widest = max(widest, ptr[op + 1] - ptr[op])
    where = np.zeros(widest, np.int64)
    # First operation of a lowest node, how many make rows of it, and first operation of the next such node.
    begun, rows, later = 0, 1, 0
    flat = raw.reshape(-1)
    result = out.reshape(-1)
    ncols, nout_cols = raw.shape[1], out.shape[1]
    begin = out.ctypes.data
    for op in range(kind.size):
        first = ptr[op]
        count = ptr[op + 1] - first
        from_raw = (kind[op] & 1) != 0
        for j in range(count):
            where[j] = src[first + j]
            if from_raw:
                where[j] = where[j] * ncols + shift[first + j] + column
        if kind[op] & 2:
            at = dest[op] * nout_cols + out_column
            # Series are read later, when all of a batch are made: in the caches they would only take the room of rows.
            past = (begin + 2 * at) % 64 == 0
            if from_raw:
                _root_row(flat, where, count, result, at, nout, bits, past)
            else:
                _root_row(arena, where, count, result, at, nout, bits, past)
        elif from_raw:
            # While the rows of a node are made the channels of the next one are fetched, a part at each row: their
            # stretches are too short to be foreseen.
            if op >= later:
                begun, rows, later = op, 0, op
                while later < kind.size and ((kind[later] & 1) == 0 or src[ptr[later]] == src[first]):
                    rows += kind[later] & 1
                    later += 1
            if later < kind.size:
                lines = length[later] // LANES + 1
                part = op - begun
                for j in range(ptr[later], ptr[later + 1]):
                    for i in range(lines * part // rows, lines * (part + 1) // rows):
                        prefetch(2, flat, src[j] * ncols + shift[j] + column + i * LANES)
            if count == 4:
                a, b, c, d, at = where[0], where[1], where[2], where[3], dest[op]
                for i in range(0, length[op], LANES):
                    _half_sum(flat, a + i, b + i, c + i, d + i, arena, at + i, 4)
            else:
                _node_row(flat, where, count, arena, dest[op], length[op])
        elif count == 4:
            a, b, c, d, at = where[0], where[1], where[2], where[3], dest[op]
            for i in range(0, length[op], LANES):
                _half_sum(arena, a + i, b + i, c + i, d + i, arena, at + i, 4)
        else:
            _node_row(arena, where, count, arena, dest[op], length[op])
    all_written()
