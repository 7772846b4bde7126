"""Marks of interference in statistics that the first pass over the samples has taken.

Everything here works on a block of time: band sums of a few thousand samples, a spectrum, or one number for every
channel, and running means of several series. The cost is small beside that of reading the samples.
"""

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Bools, Float32s, Floats, Ints, Uint8s
from pulsar_kernels.order import quickselect


@kernel()
def count_above(data: Float32s, levels: Float32s, out: Uint8s) -> None:
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


#: Columns at a time: what is counted of them stays in the cache.
_COLUMNS = 2048


@kernel()
def most_beyond(data: Float32s, shift: int, levels: Float32s, below: bool, most: Ints) -> None:
    """In how many rows at once sums of 1, 2, 4 ... neighbouring samples lie beyond levels, at most.

    Sums of twice as many samples are those of two stretches that touch; of what the end cuts off they are 0.

    Parameters
    ----------
    data : ndarray of float32, shape (nrows, n), at most 255 rows
    shift : int
        Samples that each number of `data` is the sum of, if the first sums are over twice as many; 0: the first are the
        numbers themselves, one sample each.
    levels : ndarray of float32, shape (nsums, nrows, 4)
        Of every length and row two levels from above, the second no lower than the first, and two from below, the
        second no higher.
    below : bool
        Whether the latter are looked at.
    most : ndarray of int64, shape (nsums, 4)
        Largest number of rows that are above, or below, each level in one column.
    """
    nrows, n = data.shape
    nsums = levels.shape[0]
    sides = 4 if below else 2
    reach = shift * ((1 << nsums) - 1) if shift > 0 else (1 << nsums >> 1) - 1
    space = np.empty((2, _COLUMNS + reach), np.float32)
    beyond = np.empty((nsums, 4, _COLUMNS), np.uint8)
    most[:, :sides] = 0
    for start in range(0, n, _COLUMNS):
        columns, left = min(_COLUMNS, n - start), min(_COLUMNS + reach, n - start)
        beyond[:] = np.uint8(0)
        for r in range(nrows):
            sums, longer = space[0], space[1]
            for i in range(left):
                sums[i] = data[r, start + i]
            step = shift
            for k in range(nsums):
                if step > 0:
                    last = max(left - step, 0)
                    for i in range(last):
                        longer[i] = sums[i] + sums[i + step]
                    longer[last:left] = np.float32(0.0)
                    sums, longer = longer, sums
                for side in range(sides):
                    _count_beyond(sums[:columns], levels[k, r, side], side > 1, beyond[k, side])
                step = 2 * step if step > 0 else 1
        for k in range(nsums):
            for side in range(sides):
                for i in range(columns):
                    most[k, side] = max(most[k, side], beyond[k, side, i])


@kernel(inline=True)
def _count_beyond(sums: Float32s, level: float, below: bool, counts: Uint8s) -> None:
    """Count one more where a sum is above a level, or below it."""
    if below:
        for i in range(sums.shape[0]):
            counts[i] += np.uint8(sums[i] < level)
    else:
        for i in range(sums.shape[0]):
            counts[i] += np.uint8(sums[i] > level)


@kernel()
def sums_at(data: Float32s, shift: int, at: Ints, out: Float32s) -> None:
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
    space = np.empty(size, np.float32)
    for j in range(at.shape[0]):
        for r in range(nrows):
            count = min(size, (n - at[j] - 1) // step + 1)
            for i in range(count):
                space[i] = data[r, at[j] + step * i]
            for k in range(nsums):
                if k > 0 or shift > 0:
                    count //= 2
                    for i in range(count):
                        space[i] = space[2 * i] + space[2 * i + 1]
                if count > 0:
                    out[k, r, j] = space[0]


@kernel()
def stretches(some: Uint8s, many: Uint8s, least_some: int, least_many: int, longest: int, out: Ints) -> int:
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


#: Quartiles differ from those of others of the same distribution by 1.4 times their distance over the root of how many
#: numbers there are; so many of these are close (1.7 ms for the votes of `pulsar bench`; 1.8 with 1.5, 1.9 with 4).
_CLOSE = 2.0


@kernel(inline=True)
def _between(values: Floats, place: int, below: float, part: float) -> float:
    """From the one at `place`, which is `below`, a `part` of the way to the next larger; none after it is smaller."""
    above = np.inf
    for i in range(place + 1, values.shape[0]):
        above = min(above, values[i])
    return below + part * (above - below)


@kernel(inline=True)
def _quartiles(values: Floats, known: bool, few: Floats, out: Floats) -> None:
    """Quartiles of four numbers or more, which may be reordered.

    If they are `known` of numbers like these, those close to them are enough, which are found without a branch; all are
    gone through where that fails. `few` is as long as `values`.
    """
    n = values.shape[0]
    last = n - 1
    width = _CLOSE * (out[2] - out[0]) / np.sqrt(n)
    for q in range(3):
        place = int(0.25 * (q + 1) * last)
        low, high = out[q] - width, out[q] + width
        below = 0
        count = 0
        if known:
            for i in range(n):
                x = values[i]
                few[count] = x
                count += 1 if low <= x <= high else 0
                below += 1 if x < low else 0
        if below <= place and place + 1 < below + count:
            some = few[:count]
        else:
            some = values
            below = 0
        centre = quickselect(some, some.shape[0], place - below)
        out[q] = _between(some, place - below, centre, 0.25 * (q + 1) * last - place)


@kernel(inline=True)
def _outlier(votes: Bools, received: Ints, cast: Ints, lags: Ints, i: int) -> bool:
    """True if one of those that have voted for `i` has cast fewer votes than `i` has got."""
    for k in range(lags.shape[0]):
        if votes[2 * k, i] and cast[i - lags[k]] < received[i]:
            return True
        if votes[2 * k + 1, i] and cast[i + lags[k]] < received[i]:
            return True
    return False


@kernel()
def iqrm(values: Floats, lags: Ints, threshold: float, out: Bools) -> None:
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
    differences, few = np.empty(n), np.empty(n)
    quartiles = np.empty(3)
    known = False
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
            _quartiles(differences[:count], known, few, quartiles)
            known = True
            mid = quartiles[1]
            limit = threshold * (quartiles[2] - quartiles[0]) / 1.349
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
def extend(flags: Bools, share: float, out: Bools) -> None:
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


@kernel(inline=True)
def _less_mean(x: Float32s, half: int, sums: Floats, out: Float32s) -> None:
    """Samples less their running means, from sums of all samples before."""
    n = x.shape[0]
    total = 0.0
    sums[0] = total
    for i in range(n):
        total += np.float64(x[i])
        sums[i + 1] = total
    begin = min(half, n)
    end = max(n - half, begin)
    for i in range(begin, end):
        out[i] = x[i] - (sums[i + half + 1] - sums[i - half]) / (2 * half + 1)
    for lo, hi in ((0, begin), (end, n)):
        for i in range(lo, hi):
            first, last = max(i - half, 0), min(i + half + 1, n)
            out[i] = x[i] - (sums[last] - sums[first]) / (last - first)


@kernel()
def less_running_means(data: Float32s, half: int, out: Float32s) -> None:
    """Every sample less the mean of the `half` samples on either side and its own, cut off at the ends; that twice.

    Parameters
    ----------
    data, out : ndarray of float32, shape (nrows, n), rows contiguous
    half : int
    """
    sums = np.empty(data.shape[1] + 1)
    once = np.empty(data.shape[1], np.float32)
    for r in range(data.shape[0]):
        _less_mean(data[r], half, sums, once)
        _less_mean(once, half, sums, out[r])
