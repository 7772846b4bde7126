"""Marks of interference in statistics that the first pass over the samples has taken.

Everything here works on a block of time: band sums of a few thousand samples, a spectrum, or one number for every
channel. The cost is small beside that of reading the samples.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._ir import F32, I8, element, load, plus, shuffle, splat, steps, store, times, variable, vector_of
from pulsar_kernels._jit import kernel, vector
from pulsar_kernels.order import quickselect

#: Columns of which a running mean is taken at a time.
_TILE = 512


@kernel()
def less_running_mean(data: NDArray[np.float32], half: int, out: NDArray[np.float32]) -> None:
    """Every sample less the mean of the `half` samples on either side and its own, cut off at the ends.

    Parameters
    ----------
    data, out : ndarray of float32, shape (nrows, n), rows contiguous
    half : int
    """
    nrows, n = data.shape
    sums = np.empty((4, _TILE))
    counts = np.empty(_TILE)
    for first in range(0, nrows, 4):
        # Four rows side by side: each sum waits for its own last addition. The last few are done more than once.
        r1, r2, r3 = min(first + 1, nrows - 1), min(first + 2, nrows - 1), min(first + 3, nrows - 1)
        a = b = c = d = 0.0
        for i in range(min(half, n)):
            a += np.float64(data[first, i])
            b += np.float64(data[r1, i])
            c += np.float64(data[r2, i])
            d += np.float64(data[r3, i])
        for start in range(0, n, _TILE):
            stop = min(start + _TILE, n)
            for i in range(start, stop):
                if i + half < n:
                    a += np.float64(data[first, i + half])
                    b += np.float64(data[r1, i + half])
                    c += np.float64(data[r2, i + half])
                    d += np.float64(data[r3, i + half])
                if i - half - 1 >= 0:
                    a -= np.float64(data[first, i - half - 1])
                    b -= np.float64(data[r1, i - half - 1])
                    c -= np.float64(data[r2, i - half - 1])
                    d -= np.float64(data[r3, i - half - 1])
                sums[0, i - start] = a
                sums[1, i - start] = b
                sums[2, i - start] = c
                sums[3, i - start] = d
                counts[i - start] = min(i + half, n - 1) - max(i - half, 0) + 1
            # Divisions in vectors.
            for k in range(min(4, nrows - first)):
                row = data[first + k, start:stop]
                total = sums[k]
                into = out[first + k, start:stop]
                for i in range(stop - start):
                    into[i] = np.float32(np.float64(row[i]) - total[i] / counts[i])


@kernel()
def count_above(data: NDArray[np.float32], levels: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
    """Of every column, how many rows lie above their level.

    Parameters
    ----------
    data : ndarray of float32, shape (nrows, n), rows contiguous, at most 255 rows
    levels : ndarray of float32, shape (nrows,)
    out : ndarray of uint8, shape (n,)
    """
    nrows, n = data.shape
    out[:] = np.uint8(0)
    for r in range(nrows):
        row = data[r]
        level = levels[r]
        for i in range(n):
            out[i] += np.uint8(row[i] > level)


#: Lanes that are counted at a time, and columns: sums of them over all lengths stay in the cache that is nearest.
_WIDE = 64
_COLUMNS = 1024
#: What is done to a row: samples are added to later ones; those above two levels, or below two others, are counted.
_ADD, _ABOVE, _BELOW = 1, 2, 4
#: Levels of a row and a length: two from above, two from below.
_SIDES = 4


def _sides(what: int) -> list[int]:
    """Which of the levels are looked at."""
    return [k for k in range(_SIDES) if what & (_ABOVE if k < 2 else _BELOW)]


def _row_code(builder: Any, args: Any, what: int) -> None:
    source, at, shift, space, to, n, levels, first, counts, place = args[1:]
    wide, narrow = vector_of(F32, _WIDE), vector_of(I8, _WIDE)
    limits = {k: splat(builder, element(builder, levels, plus(builder, first, k)), _WIDE) for k in _sides(what)}
    with steps(builder, 0, n, _WIDE) as i:
        here = plus(builder, at, i)
        x = load(builder, source, here, wide)
        if what & _ADD:
            x = builder.fadd(x, load(builder, source, plus(builder, here, shift), wide))
        store(builder, x, space, plus(builder, to, i))
        for k, limit in limits.items():
            beyond = builder.fcmp_ordered(">" if k < 2 else "<", x, limit)
            counted = plus(builder, plus(builder, place, i), k * _COLUMNS)
            before = load(builder, counts, counted, narrow)
            store(builder, builder.sub(before, builder.sext(beyond, narrow)), counts, counted)


@vector(_row_code, literal=0)
def _row(
    what: int,
    source: NDArray[np.float32],
    at: int,
    shift: int,
    space: NDArray[np.float32],
    to: int,
    n: int,
    levels: NDArray[np.float32],
    first: int,
    counts: NDArray[np.uint8],
    place: int,
) -> None:
    """Copy `n` samples (in whole lots of 64), or add later ones to them, and count those beyond four levels."""
    # Many arguments: from where, to where, levels and counts are an array and a place each.
    x = source[at : at + n].copy()
    if what & _ADD:
        x += source[at + shift : at + shift + n]
    space[to : to + n] = x
    for k in _sides(what):
        beyond = x > levels[first + k] if k < 2 else x < levels[first + k]
        counts[place + k * _COLUMNS : place + k * _COLUMNS + n] += beyond.astype(np.uint8)


def _most_code(builder: Any, args: Any) -> None:
    counts, at, n, most, to = args
    kind = vector_of(I8, _WIDE)
    top = variable(builder, load(builder, most, to, kind))
    with steps(builder, 0, n, _WIDE) as i:
        one, other = load(builder, counts, plus(builder, at, i), kind), builder.load(top)
        builder.store(builder.select(builder.icmp_unsigned(">", one, other), one, other), top)
    store(builder, builder.load(top), most, to)


@vector(_most_code)
def _most(counts: NDArray[np.uint8], at: int, n: int, most: NDArray[np.uint8], to: int) -> None:
    """Keep the largest of `n` counts (in whole lots of 64), those of one lane after the other."""
    for i in range(0, n, _WIDE):
        lot = counts[at + i : min(at + i + _WIDE, at + n)]
        most[to : to + len(lot)] = np.maximum(most[to : to + len(lot)], lot)


@kernel()
def most_beyond(
    data: NDArray[np.float32], shift: int, levels: NDArray[np.float32], below: bool, most: NDArray[np.int64]
) -> None:
    """In how many rows at once sums of 1, 2, 4 ... neighbouring samples lie beyond levels, at most.

    Sums of twice as many samples are those of two stretches that touch; of what the end cuts off they are 0.

    Parameters
    ----------
    data : ndarray of float32, shape (nrows, n), at most 255 rows
    shift : int
        Samples that each number of `data` is the sum of, if the first sums are over twice as many; 0: the first are the
        numbers themselves, one sample each.
    levels : ndarray of float32, shape (nsums, nrows, 4)
        Of every length and row two levels from above and two from below.
    below : bool
        Whether the latter are looked at.
    most : ndarray of int64, shape (nsums, 4)
        Largest number of rows that are above, or below, each level in one column.
    """
    nrows, n = data.shape
    nsums = levels.shape[0]
    reach = 0
    step = shift
    for _ in range(nsums):
        reach += step
        step = 2 * step if step > 0 else 1
    # Two rows of sums in turn; vectors reach beyond their ends.
    half = _COLUMNS + reach // _WIDE * _WIDE + 2 * _WIDE + 16
    space = np.zeros(2 * half, np.float32)
    counts = np.empty(nsums * _SIDES * _COLUMNS, np.uint8)
    tops = np.zeros(nsums * _SIDES * _WIDE, np.uint8)
    flat = levels.reshape(-1)
    for start in range(0, n, _COLUMNS):
        columns = min(_COLUMNS, n - start)
        counts[:] = np.uint8(0)
        inside = start + _COLUMNS + reach + _WIDE <= n
        for r in range(nrows):
            source = data.reshape(-1)
            now = r * n + start
            after = 0
            left = min(columns + reach, n - start)
            step = shift
            for k in range(nsums):
                first = _SIDES * (k * nrows + r)
                place = k * _SIDES * _COLUMNS
                left = max(left - step, 0)
                beyond, more = now + columns, after + columns
                if inside and step > 0:
                    if below:
                        _row(7, source, now, step, space, after, columns, flat, first, counts, place)
                    else:
                        _row(3, source, now, step, space, after, columns, flat, first, counts, place)
                    _row(1, source, beyond, step, space, more, left - columns, flat, first, counts, place)
                else:
                    for i in range(left):
                        space[after + i] = source[now + i] + source[now + i + step] if step > 0 else source[now + i]
                    # Sums that need samples beyond the end are 0; what is beyond it is neither above nor below.
                    if n - start <= columns + reach:
                        for i in range(left, n - start):
                            space[after + i] = np.float32(0.0)
                        left = n - start
                    for i in range(left, left + _WIDE):
                        space[after + i] = np.float32(np.nan)
                    if below:
                        _row(6, space, after, 0, space, after, columns, flat, first, counts, place)
                    else:
                        _row(2, space, after, 0, space, after, columns, flat, first, counts, place)
                source = space
                now = after
                after = half - now
                step = 2 * step if step > 0 else 1
        for k in range(nsums * _SIDES):
            _most(counts, k * _COLUMNS, columns, tops, k * _WIDE)
    for k in range(nsums * _SIDES):
        top = np.uint8(0)
        for i in range(k * _WIDE, (k + 1) * _WIDE):
            top = max(top, tops[i])
        most[k // _SIDES, k % _SIDES] = top


def _pairs_code(builder: Any, args: Any) -> None:
    source, at, n, out = args
    kind = vector_of(F32, _PAIRS)
    with steps(builder, 0, n, _PAIRS) as i:
        first = plus(builder, at, times(builder, i, 2))
        one, two = load(builder, source, first, kind), load(builder, source, plus(builder, first, _PAIRS), kind)
        even, odd = (shuffle(builder, one, two, range(k, 2 * _PAIRS, 2)) for k in (0, 1))
        store(builder, builder.fadd(even, odd), out, i)


#: Sums of pairs that are made at a time.
_PAIRS = 16


@vector(_pairs_code)
def _pairs(source: NDArray[np.float32], at: int, n: int, out: NDArray[np.float32]) -> None:
    """Sums of `n` pairs of neighbours (in whole lots of 16); `out` may be the source."""
    out[:n] = source[at : at + 2 * n : 2] + source[at + 1 : at + 2 * n : 2]


@kernel()
def sums_at(data: NDArray[np.float32], shift: int, at: NDArray[np.int64], out: NDArray[np.float32]) -> None:
    """Sums as those of `most_beyond`, bit by bit, at a few columns.

    Parameters
    ----------
    data : ndarray of float32, shape (nrows, n)
    shift : int
        As there.
    at : ndarray of int64, shape (nat,)
        Columns.
    out : ndarray of float32, shape (nsums, nrows, nat)
        Sums that end after the last sample stay as they are.
    """
    nsums = out.shape[0]
    nrows, n = data.shape
    size = 1 << (nsums - 1 if shift == 0 else nsums)
    step = max(shift, 1)
    space = np.zeros(size + 4 * _PAIRS, np.float32)
    for r in range(nrows):
        for j in range(at.shape[0]):
            source = data.reshape(-1)
            first = r * n + at[j]
            count = min(size, (n - at[j] - 1) // step + 1)
            if shift == 0:
                out[0, r, j] = source[first]
            # Other lengths are apart, and vectors must not reach beyond the end.
            if step > 1 or at[j] + size + 4 * _PAIRS > n:
                for i in range(count):
                    space[i] = source[first + step * i]
                source = space
                first = 0
            for k in range(1 if shift == 0 else 0, nsums):
                count //= 2
                if count == 0:
                    break
                if count > _PAIRS // 2:
                    _pairs(source, first, count, space)
                else:
                    for i in range(count):
                        space[i] = source[first + 2 * i] + source[first + 2 * i + 1]
                source = space
                first = 0
                out[k, r, j] = space[0]


@kernel()
def stretches(
    some: NDArray[np.uint8],
    many: NDArray[np.uint8],
    least_some: int,
    least_many: int,
    longest: int,
    out: NDArray[np.int64],
) -> int:
    """Stretches that are seen in several rows at once, and somewhere in many.

    A stretch is where at least `least_some` rows are high, and counts if at one place at least `least_many` are very
    high, and if it is no longer than `longest`.

    Parameters
    ----------
    some, many : ndarray of uint8, shape (n,)
        How many rows are high, and very high.
    least_some, least_many, longest : int
    out : ndarray of int64, shape (most, 2)
        First column of each stretch, and the one after the last.

    Returns
    -------
    int
        Number of stretches; more than there is room for are left out.
    """
    n = some.shape[0]
    begin = -1
    struck = False
    count = 0
    for i in range(n + 1):
        inside = i < n and some[i] >= least_some
        if inside:
            if begin < 0:
                begin = i
                struck = False
            struck |= many[i] >= least_many
        elif begin >= 0:
            if struck and i - begin <= longest and count < out.shape[0]:
                out[count, 0] = begin
                out[count, 1] = i
                count += 1
            begin = -1
    return count


@kernel(inline=True)
def _between(values: NDArray[np.float64], place: int, below: float, part: float) -> float:
    """From the one at `place`, which is `below`, a `part` of the way to the next larger; none after it is smaller."""
    above = np.inf
    for i in range(place + 1, values.shape[0]):
        above = min(above, values[i])
    return below + part * (above - below)


@kernel(inline=True)
def _middle_and_range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median of four numbers or more, and the distance of the quartiles; they are reordered."""
    last = values.shape[0] - 1
    first, middle, third = int(0.25 * last), int(0.5 * last), int(0.75 * last)
    centre = quickselect(values, last + 1, middle)
    median = _between(values, middle, centre, 0.5 * last - middle)
    # Each half is by itself now.
    upper = values[middle + 1 :]
    place = third - middle - 1
    high = _between(upper, place, quickselect(upper, upper.shape[0], place), 0.75 * last - third)
    lower = values[: middle + 1]
    low = _between(lower, first, quickselect(lower, middle, first), 0.25 * last - first)
    return median, high - low


@kernel(inline=True)
def _outlier(
    votes: NDArray[np.bool_], received: NDArray[np.int64], cast: NDArray[np.int64], lags: NDArray[np.int64], i: int
) -> bool:
    """Whether one of those that have voted for `i` has cast fewer votes than `i` has got."""
    for k in range(lags.shape[0]):
        if votes[2 * k, i] and cast[i - lags[k]] < received[i]:
            return True
        if votes[2 * k + 1, i] and cast[i + lags[k]] < received[i]:
            return True
    return False


@kernel()
def iqrm(values: NDArray[np.float64], lags: NDArray[np.int64], threshold: float, out: NDArray[np.bool_]) -> None:
    """Outliers of every row by the votes of their neighbours (inter-quartile range mitigation).

    Every number is compared with those `lag` places before and after. Of one lag the differences have a spread, from
    their quartiles; a number that lies `threshold` of it above another gets a vote from that one. It is an outlier if
    it has got more votes than one of its voters has cast: who votes for many is likely to be an outlier to the other
    side. Morello, Rajwade & Stappers 2022, MNRAS 510, 1393. Outliers towards smaller values are found alike.

    Parameters
    ----------
    values : ndarray of float64, shape (nrows, n)
        NaN neither vote nor are voted for.
    lags : ndarray of int64, shape (nlags,)
        Positive, ascending; both directions are compared.
    threshold : float
        In standard deviations of Gaussian differences.
    out : ndarray of bool, shape (nrows, n)
        Whether a number is an outlier to either side.
    """
    nrows, n = values.shape
    nlags = lags.shape[0]
    differences = np.empty(n)
    # Votes by (lag, direction): row 2 k for those of the number before, 2 k + 1 for those of the number after.
    high = np.zeros((2 * nlags, n), np.bool_)
    low = np.zeros((2 * nlags, n), np.bool_)
    # Votes got and cast, for being high and for being low.
    counts = np.zeros((4, n), np.int64)
    for r in range(nrows):
        row = values[r]
        high[:] = False
        low[:] = False
        counts[:] = 0
        for k in range(nlags):
            lag = lags[k]
            count = 0
            for i in range(lag, n):
                d = row[i] - row[i - lag]
                if np.isfinite(d):
                    differences[count] = d
                    count += 1
            if count < 4:
                continue
            mid, quartiles = _middle_and_range(differences[:count])
            limit = threshold * quartiles / 1.349
            for i in range(lag, n):
                d = row[i] - row[i - lag]
                if not np.isfinite(d):
                    continue
                if d - mid > limit:
                    # High beside the one before; that one is low beside this.
                    high[2 * k, i] = True
                    low[2 * k + 1, i - lag] = True
                    counts[0, i] += 1
                    counts[1, i - lag] += 1
                    counts[2, i - lag] += 1
                    counts[3, i] += 1
                elif mid - d > limit:
                    high[2 * k + 1, i - lag] = True
                    low[2 * k, i] = True
                    counts[0, i - lag] += 1
                    counts[1, i] += 1
                    counts[2, i] += 1
                    counts[3, i - lag] += 1
        for i in range(n):
            out[r, i] = (counts[0, i] > 0 and _outlier(high, counts[0], counts[1], lags, i)) or (
                counts[2, i] > 0 and _outlier(low, counts[2], counts[3], lags, i)
            )


@kernel()
def extend(flags: NDArray[np.bool_], share: float, out: NDArray[np.bool_]) -> None:
    """Close and extend stretches of flags: everything inside a stretch of which all but `share` is flagged.

    The scale-invariant rank operator of Offringa, van de Gronde & Roerdink 2012, A&A 539, A95 (in linear time: with
    flagged samples worth `share` and others ``share - 1``, a sample is inside such a stretch if the best sum of a
    stretch that holds it is not negative).

    Parameters
    ----------
    flags : ndarray of bool, shape (nrows, n)
    share : float
        0 changes nothing.
    out : ndarray of bool, shape (nrows, n)
    """
    nrows, n = flags.shape
    sums = np.empty(n + 1)
    least = np.empty(n + 1)
    for r in range(nrows):
        sums[0] = 0.0
        for i in range(n):
            sums[i + 1] = sums[i] + (share if flags[r, i] else share - 1.0)
        low = np.inf
        for i in range(n + 1):
            low = min(low, sums[i])
            least[i] = low
        high = -np.inf
        for i in range(n - 1, -1, -1):
            high = max(high, sums[i + 1])
            # Rounding of the running sum must not undo what is flagged.
            out[r, i] = flags[r, i] or high - least[i] >= -1e-9 * n
