"""Marks of interference in statistics that the first pass over the samples has taken.

Everything here works on a block of time: band sums of a few thousand samples, a spectrum, or one number for every
channel. The cost is small beside that of reading the samples.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._ir import (
    F32,
    element,
    lane_bits,
    load,
    plus,
    steps,
    store,
    times,
    transposed,
    variable,
    vector_of,
)
from pulsar_kernels._jit import kernel, vector
from pulsar_kernels.order import quickselect


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


#: Rows that are looked at side by side, in the lanes of a vector, and columns at a time: they stay in the cache.
_SIDE = 16
_COLUMNS = 2048
#: What is done to columns: later ones are added; rows above two levels, or below two others, are counted.
_ADD, _ABOVE, _BELOW = 1, 2, 4
#: Levels of a row and a length: two from above, two from below.
_SIDES = 4
_ALL = vector_of(F32, _SIDE)


def _columns_code(builder: Any, args: Any) -> None:
    rows, places, at, n, out = args
    with steps(builder, 0, n, _SIDE) as i:
        first = plus(builder, at, i)
        block = [load(builder, rows, plus(builder, element(builder, places, r), first), _ALL) for r in range(_SIDE)]
        for j, column in enumerate(transposed(builder, block)):
            store(builder, column, out, times(builder, plus(builder, i, j), _SIDE))


@vector(_columns_code)
def _into_columns(
    rows: NDArray[np.float32], places: NDArray[np.int64], at: int, n: int, out: NDArray[np.float32]
) -> None:
    """Columns from `at` on of 16 rows that begin at `places`, one after the other; in whole lots of 16."""
    for j in range(n):
        out[_SIDE * j : _SIDE * (j + 1)] = rows[places + (at + j)]


def _look_code(builder: Any, args: Any, what: int) -> None:
    space, step, first, last, levels, at, most, to = args[1:]
    sides = [k for k, flag in ((0, _ABOVE), (2, _BELOW)) if what & flag]
    limit = {k: load(builder, levels, plus(builder, at, k * _SIDE), _ALL) for side in sides for k in (side, side + 1)}
    top = {k: variable(builder, element(builder, most, plus(builder, to, k))) for k in limit}
    with steps(builder, first, last) as i:
        x = load(builder, space, times(builder, i, _SIDE), _ALL)
        if what & _ADD:
            x = builder.fadd(x, load(builder, space, times(builder, plus(builder, i, step), _SIDE), _ALL))
            store(builder, x, space, times(builder, i, _SIDE))

        def count(k: int, x: Any = x) -> Any:
            """Rows beyond a level; the most so far are kept."""
            found = builder.ctpop(lane_bits(builder, builder.fcmp_ordered("<" if k > 1 else ">", x, limit[k])))
            before = builder.load(top[k])
            builder.store(builder.select(builder.icmp_signed(">", found, before), found, before), top[k])
            return found

        for k in sides:
            # No more are beyond the farther level.
            with builder.if_then(builder.icmp_signed(">", count(k), builder.load(top[k + 1])), likely=False):
                count(k + 1)
    for k, found in top.items():
        store(builder, builder.load(found), most, plus(builder, to, k))


@vector(_look_code, literal=0)
def _look(
    what: int,
    space: NDArray[np.float32],
    step: int,
    first: int,
    last: int,
    levels: NDArray[np.float32],
    at: int,
    most: NDArray[np.int64],
    to: int,
) -> None:
    """Add to columns `first` to `last` - 1 those `step` later; how many rows are beyond each level at most is kept."""
    for i in range(first, last):
        x = space[_SIDE * i : _SIDE * (i + 1)]
        if what & _ADD:
            x += space[_SIDE * (i + step) : _SIDE * (i + step + 1)]
        for k in [side for side, flag in ((0, _ABOVE), (1, _ABOVE), (2, _BELOW), (3, _BELOW)) if what & flag]:
            level = levels[at + _SIDE * k : at + _SIDE * (k + 1)]
            most[to + k] = max(most[to + k], np.sum(x < level if k > 1 else x > level))


@kernel()
def most_beyond(
    data: NDArray[np.float32], shift: int, levels: NDArray[np.float32], below: bool, most: NDArray[np.int64]
) -> None:
    """In how many rows at once sums of 1, 2, 4 ... neighbouring samples lie beyond levels, at most.

    Sums of twice as many samples are those of two stretches that touch; of what the end cuts off they are 0.

    Parameters
    ----------
    data : ndarray of float32, shape (nrows, n), at most 16 rows
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
    reach = 0
    step = shift
    for _ in range(nsums):
        reach += step
        step = 2 * step if step > 0 else 1
    # Rows that are not there repeat the last one, and are beyond no level.
    places = np.empty(_SIDE, np.int64)
    limits = np.empty(nsums * _SIDES * _SIDE, np.float32)
    for r in range(_SIDE):
        places[r] = min(r, nrows - 1) * n
        for k in range(nsums):
            for side in range(_SIDES):
                far = np.float32(np.inf if side < 2 else -np.inf)
                limits[(k * _SIDES + side) * _SIDE + r] = levels[k, r, side] if r < nrows else far
    tops = np.zeros(nsums * _SIDES, np.int64)
    flat = data.reshape(-1)
    space = np.empty(_SIDE * (_COLUMNS + reach), np.float32)
    for start in range(0, n, _COLUMNS):
        columns, left = min(_COLUMNS, n - start), min(_COLUMNS + reach, n - start)
        whole = left - left % _SIDE
        _into_columns(flat, places, start, whole, space)
        for i in range(whole, left):
            for r in range(_SIDE):
                space[_SIDE * i + r] = flat[places[r] + start + i]
        step = shift
        for k in range(nsums):
            at, to = _SIDES * _SIDE * k, _SIDES * k
            if n - start > _COLUMNS + reach and step > 0:
                left -= step
                if below:
                    _look(7, space, step, 0, columns, limits, at, tops, to)
                else:
                    _look(3, space, step, 0, columns, limits, at, tops, to)
                _look(1, space, step, columns, left, limits, at, tops, to)
            else:
                if step > 0:
                    # Sums that need samples beyond the end are 0.
                    last = max(left - step, 0)
                    _look(1, space, step, 0, last, limits, at, tops, to)
                    space[_SIDE * last : _SIDE * left] = np.float32(0.0)
                if below:
                    _look(6, space, 0, 0, columns, limits, at, tops, to)
                else:
                    _look(2, space, 0, 0, columns, limits, at, tops, to)
            step = 2 * step if step > 0 else 1
    for k in range(nsums):
        for side in range(_SIDES):
            most[k, side] = tops[k * _SIDES + side]


def _halved_code(builder: Any, args: Any) -> None:
    space, n = args
    with steps(builder, 0, n) as i:
        first = times(builder, i, 2 * _SIDE)
        pair = [load(builder, space, plus(builder, first, k), _ALL) for k in (0, _SIDE)]
        store(builder, builder.fadd(*pair), space, times(builder, i, _SIDE))


@vector(_halved_code)
def _halved(space: NDArray[np.float32], n: int) -> None:
    """Sums of `n` pairs of neighbouring columns of 16 rows, in their place."""
    pairs = space[: 2 * n * _SIDE].reshape(n, 2, _SIDE)
    space[: n * _SIDE] = (pairs[:, 0] + pairs[:, 1]).ravel()


@kernel()
def sums_at(data: NDArray[np.float32], shift: int, at: NDArray[np.int64], out: NDArray[np.float32]) -> None:
    """Sums as those of `most_beyond`, bit by bit, at a few columns.

    Parameters
    ----------
    data : ndarray of float32, shape (nrows, n), at most 16 rows
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
    flat = data.reshape(-1)
    places = np.empty(_SIDE, np.int64)
    for r in range(_SIDE):
        places[r] = min(r, nrows - 1) * n
    space = np.empty(_SIDE * size, np.float32)
    for j in range(at.shape[0]):
        count = min(size, (n - at[j] - 1) // step + 1)
        whole = count - count % _SIDE if step == 1 else 0
        _into_columns(flat, places, at[j], whole, space)
        for i in range(whole, count):
            for r in range(_SIDE):
                space[_SIDE * i + r] = flat[places[r] + at[j] + step * i]
        for k in range(nsums):
            if k > 0 or shift > 0:
                count //= 2
                _halved(space, count)
            if count == 0:
                break
            for r in range(nrows):
                out[k, r, j] = space[r]


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


#: Quartiles differ from those of others of the same distribution by 1.4 times their distance over the root of how many
#: numbers there are; so many of these are close (1.7 ms for the votes of `pulsar bench`; 1.8 with 1.5, 1.9 with 4).
_CLOSE = 2.0


@kernel(inline=True)
def _between(values: NDArray[np.float64], place: int, below: float, part: float) -> float:
    """From the one at `place`, which is `below`, a `part` of the way to the next larger; none after it is smaller."""
    above = np.inf
    for i in range(place + 1, values.shape[0]):
        above = min(above, values[i])
    return below + part * (above - below)


@kernel(inline=True)
def _quartiles(values: NDArray[np.float64], known: bool, few: NDArray[np.float64], out: NDArray[np.float64]) -> None:
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
def _outlier(
    votes: NDArray[np.bool_], received: NDArray[np.int64], cast: NDArray[np.int64], lags: NDArray[np.int64], i: int
) -> bool:
    """True if one of those that have voted for `i` has cast fewer votes than `i` has got."""
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
