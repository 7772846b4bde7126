"""Marks of interference in statistics that the first pass over the samples has taken.

Everything here works on a block of time: band sums of a few thousand samples, a spectrum, or one number for every
channel. The cost is small beside that of reading the samples.
"""

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel
from pulsar_kernels.order import quickselect


@kernel()
def less_running_mean(data: NDArray[np.float32], half: int, out: NDArray[np.float32]) -> None:
    """Every sample less the mean of the `half` samples on either side and its own, cut off at the ends.

    Parameters
    ----------
    data, out : ndarray of float32, shape (nrows, n), rows contiguous
    half : int
    """
    nrows, n = data.shape
    whole = nrows - nrows % 4
    for r in range(0, whole, 4):
        # Four rows side by side: each sum waits for its own last addition.
        a = b = c = d = 0.0
        for i in range(min(half, n)):
            a += np.float64(data[r, i])
            b += np.float64(data[r + 1, i])
            c += np.float64(data[r + 2, i])
            d += np.float64(data[r + 3, i])
        for i in range(n):
            if i + half < n:
                a += np.float64(data[r, i + half])
                b += np.float64(data[r + 1, i + half])
                c += np.float64(data[r + 2, i + half])
                d += np.float64(data[r + 3, i + half])
            if i - half - 1 >= 0:
                a -= np.float64(data[r, i - half - 1])
                b -= np.float64(data[r + 1, i - half - 1])
                c -= np.float64(data[r + 2, i - half - 1])
                d -= np.float64(data[r + 3, i - half - 1])
            count = min(i + half, n - 1) - max(i - half, 0) + 1
            out[r, i] = np.float32(np.float64(data[r, i]) - a / count)
            out[r + 1, i] = np.float32(np.float64(data[r + 1, i]) - b / count)
            out[r + 2, i] = np.float32(np.float64(data[r + 2, i]) - c / count)
            out[r + 3, i] = np.float32(np.float64(data[r + 3, i]) - d / count)
    for r in range(whole, nrows):
        total = 0.0
        for i in range(min(half, n)):
            total += np.float64(data[r, i])
        for i in range(n):
            if i + half < n:
                total += np.float64(data[r, i + half])
            if i - half - 1 >= 0:
                total -= np.float64(data[r, i - half - 1])
            count = min(i + half, n - 1) - max(i - half, 0) + 1
            out[r, i] = np.float32(np.float64(data[r, i]) - total / count)


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


#: Columns that are taken at a time: rows of them stay in the cache that is nearest.
_COLUMNS = 2048


@kernel()
def add_and_count(
    data: NDArray[np.float32],
    shift: int,
    levels: NDArray[np.float32],
    out: NDArray[np.float32],
    counts: NDArray[np.uint8],
) -> None:
    """Add to every sample the one `shift` later, and count in every column the rows above either of two levels.

    The last `shift` samples of a row become 0.

    Parameters
    ----------
    data : ndarray of float32, shape (nrows, n), at most 255 rows
    shift : int
        0: samples are not added, only counted, and `out` stays as it is.
    levels : ndarray of float32, shape (2, nrows)
    out : ndarray of float32, shape (nrows, n)
        Another array than `data`.
    counts : ndarray of uint8, shape (2, n)
    """
    nrows, n = data.shape
    for start in range(0, n, _COLUMNS):
        stop = min(start + _COLUMNS, n)
        first = counts[0, start:stop]
        second = counts[1, start:stop]
        first[:] = np.uint8(0)
        second[:] = np.uint8(0)
        for r in range(nrows):
            row = data[r, start:stop]
            if shift > 0:
                sums = out[r, start:stop]
                both = max(min(stop, n - shift) - start, 0)
                later = data[r, start + shift : start + shift + both]
                for i in range(both):
                    sums[i] = row[i] + later[i]
                for i in range(both, stop - start):
                    sums[i] = np.float32(0.0)
                row = sums
            low, high = levels[0, r], levels[1, r]
            for i in range(stop - start):
                first[i] += np.uint8(row[i] > low)
                second[i] += np.uint8(row[i] > high)


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


@kernel(reorder=True)
def count_lines(powers: NDArray[np.float32], first: int, factor: float, counts: NDArray[np.int64]) -> None:
    """Add to `counts`, for every bin, the number of rows in which it exceeds `factor` times the row's mean.

    Parameters
    ----------
    powers : ndarray of float32, shape (nrows, nbins), rows contiguous
    first : int
        Bins before this one are left out.
    factor : float
    counts : ndarray of int64, shape (nbins,)
    """
    nrows, nbins = powers.shape
    for r in range(nrows):
        row = powers[r]
        total = np.float32(0.0)
        for i in range(first, nbins):
            total += row[i]
        limit = np.float32(factor) * total / np.float32(max(nbins - first, 1))
        for i in range(first, nbins):
            counts[i] += np.int64(row[i] > limit)


@kernel(reorder=True)
def strongest(
    powers: NDArray[np.float32],
    first: int,
    used: NDArray[np.bool_],
    surplus: NDArray[np.float32],
    where: NDArray[np.int64],
) -> None:
    """The strongest power of every row, over the mean of the noise, less its expectation for that many bins.

    In noise exp(-surplus) is about the probability that a spectrum reaches it. The mean is of the powers below five
    times the mean of all, corrected for what noise itself has above.

    Parameters
    ----------
    powers : ndarray of float32, shape (nrows, nbins), rows contiguous
    first : int
        Bins before this one are left out.
    used : ndarray of bool, shape (nbins,)
        Bins that count.
    surplus : ndarray of float32, shape (nrows,)
        NaN where there is no noise.
    where : ndarray of int64, shape (nrows,)
        Its bin.
    """
    nrows = powers.shape[0]
    # Mean of an exponential below five means: 1 - 5 exp(-5) / (1 - exp(-5)).
    kept = 1.0 - 5.0 * np.exp(-5.0) / (1.0 - np.exp(-5.0))
    for r in range(nrows):
        row = powers[r, first:]
        counted = used[first:]
        total = np.float32(0.0)
        top = np.float32(0.0)
        number = np.int32(0)
        for i in range(row.shape[0]):
            value = row[i] if counted[i] else np.float32(0.0)
            total += value
            number += np.int32(counted[i])
            if value > top:
                top = value
        limit = np.float32(5.0) * total / np.float32(number if number > 0 else np.int32(1))
        below = np.float32(0.0)
        count = np.int32(0)
        for i in range(row.shape[0]):
            small = counted[i] and row[i] < limit
            below += row[i] if small else np.float32(0.0)
            count += np.int32(small)
        if not top > np.float32(0.0) or count == 0:
            surplus[r] = np.float32(np.nan)
            where[r] = 0
            continue
        mean = np.float64(below) / count / kept
        surplus[r] = np.float32(np.float64(top) / mean - np.log(np.float64(number)))
        for i in range(row.shape[0]):
            if row[i] == top and counted[i]:
                where[r] = first + i
                break


@kernel(inline=True)
def _quantile(values: NDArray[np.float64], n: int, q: float) -> float:
    """Of ``values[:n]``, which are reordered."""
    at = q * (n - 1)
    i = int(at)
    below = quickselect(values, n, i)
    if i + 1 >= n:
        return below
    return below + (at - i) * (quickselect(values, n, i + 1) - below)


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
            mid = _quantile(differences, count, 0.5)
            limit = threshold * (_quantile(differences, count, 0.75) - _quantile(differences, count, 0.25)) / 1.349
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
