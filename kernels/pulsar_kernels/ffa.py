"""Fast folding: profiles of a series at all periods between b and b + 1 samples, and the best boxcar of each.

The series is cut into rows of b samples. Sums of all rows, each row s/(m - 1) of a sample later than the row before,
s = 0 ... m - 1, come from those of the first and the second half of the rows; four quarters at a time are merged here.
Samples are 16-bit integers, so that a vector holds 32 and the caches twice as much as of floats; sums saturate. Rows
are kept with their first 32 samples repeated at the end, so that a circular shift is a plain load from anywhere.
The last merge leaves 16 profiles in the first cache, where they are turned so that a vector holds one phase of all 16.
"""

import numpy as np
from numba.extending import register_jitable

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Float32s, Floats, Int16s, Int32s, Ints, Uint8s
from pulsar_kernels.ffa_vectors import LANES as LANES
from pulsar_kernels.ffa_vectors import LARGEST as LARGEST
from pulsar_kernels.ffa_vectors import (
    WIDE,
    extend_turn,
    largest_boxes,
    repeat_start,
    sum_first_rows,
    sum_near_rows,
    sum_rows,
    turn_block,
)

# Boxes that are always looked at are this much wider than the one before; from so many bins on, where the largest of
# the parts of a box are seldom neighbours, this much; and the widest is one unless it is little wider than the last.
_KEYS = 2.9
_WIDE_BOX = 40
_WIDE_KEYS = 2.2
_LITTLE = 1.45


@register_jitable
def stride(bins: int) -> int:
    """Elements from one row to the next: the row, its first 32 samples again, and up to a whole vector."""
    return (bins + 2 * WIDE - 1) & ~(WIDE - 1)


def work_size(nsamps: int, bins: int) -> int:
    """Elements of work space for the transform of `nsamps` samples in rows of `bins`."""
    return (2 * (nsamps // bins) + LANES) * stride(bins)


@kernel(inline=True)
def recipe_size(rows: int) -> int:
    """Columns that the recipes of a transform of `rows` rows take."""
    return max(rows, 5 * (rows >> 2)) + 2 * LANES


def tile_size(bins: int, widest: int) -> int:
    """Elements of work space for the boxes of 16 profiles of `bins` bins, the widest of `widest` bins."""
    return (bins + widest + 2 * LANES) * LANES


@kernel(inline=True)
def _ratio(part: int, whole: int) -> float:
    return (part - 1.0) / (whole - 1.0) if whole > 1 else 0.0


@kernel(inline=True)
def _near(x: float) -> int:
    return int(x + 0.5)


@kernel()
def _merge_few(data: Int16s, at: int, rows: int, bins: int, out: Int16s, to: int, lo: int, hi: int) -> None:
    """Transform of one to four rows of the series itself: the sums `lo` to `hi`."""
    step = stride(bins)
    b = at + bins
    c = b + bins
    d = c + bins
    for s in range(lo, hi):
        o = to + (s - lo) * step
        # Shifts of the second, third and fourth row.
        two, three, four = s, 0, 0
        if rows == 3:
            two, three = s - _near(0.5 * s), s
        elif rows == 4:
            two = _near(s / 3.0)
            three, four = s - two, s
        if rows == 1:
            sum_first_rows(1, data, bins, out, o, at, 0, 0, 0, 0, 0, 0, 0)
        elif rows == 2:
            sum_first_rows(2, data, bins, out, o, at, 0, b, two, 0, 0, 0, 0)
        elif rows == 3:
            sum_first_rows(3, data, bins, out, o, at, 0, b, two, c, three, 0, 0)
        else:
            sum_first_rows(4, data, bins, out, o, at, 0, b, two, c, three, d, four)
        repeat_start(out, o, bins)


@kernel()
def _recipe(rows: int, bins: int, lo: int, hi: int, out: Int32s) -> None:
    """Parts of the sums `lo` to `hi` of `rows` rows: row of each quarter, and shifts of all but the first.

    Into rows 0 ... 6 of `out` (row of the quarters a, b, c, d counted from the first row of a; shifts of b, c, d).
    """
    step = stride(bins)
    head = rows >> 1
    tail = rows - head
    a = head >> 1
    c = tail >> 1
    to_head = _ratio(head, rows)
    to_tail = _ratio(tail, rows)
    to_a = _ratio(a, head)
    to_b = _ratio(head - a, head)
    to_c = _ratio(c, tail)
    to_d = _ratio(tail - c, tail)
    inverse = 1.0 / bins
    for k in range(hi - lo):
        s = lo + k
        h = np.int32(to_head * s + 0.5)
        t = np.int32(to_tail * s + 0.5)
        i = np.int32(to_a * h + 0.5)
        j = np.int32(to_b * h + 0.5)
        p = np.int32(to_c * t + 0.5)
        q = np.int32(to_d * t + 0.5)
        out[0, k] = i * step
        out[1, k] = (a + j) * step
        out[2, k] = (head + p) * step
        out[3, k] = (head + c + q) * step
        # A division costs as much as a vector of the row.
        out[4, k] = (h - j) - bins * np.int32((h - j + 0.5) * inverse)
        out[5, k] = (s - t) - bins * np.int32((s - t + 0.5) * inverse)
        out[6, k] = (s - q) - bins * np.int32((s - q + 0.5) * inverse)


@kernel()
def _merge_rows(data: Int16s, at: int, recipe: Int32s, rows: int, near: bool, bins: int, out: Int16s, to: int) -> None:
    """From the transforms of four quarters to `rows` sums of all of them; `near`: no shift is above 32."""
    step = stride(bins)
    for k in range(rows):
        o = to + k * step
        a = at + np.int64(recipe[0, k])
        b = at + np.int64(recipe[1, k])
        c = at + np.int64(recipe[2, k])
        d = at + np.int64(recipe[3, k])
        two = np.int64(recipe[4, k])
        three = np.int64(recipe[5, k])
        four = np.int64(recipe[6, k])
        if near:
            sum_near_rows(data, bins, out, o, a, b + two, c + three, d + four)
        else:
            sum_rows(data, bins, out, o, a, 0, b, two, c, three, d, four)
        repeat_start(out, o, bins)


@kernel(inline=True)
def _node(rows: int, depth: int, index: int) -> tuple[int, int]:
    """First row and number of rows of a part after `depth` halvings."""
    first = 0
    size = rows
    for k in range(depth - 1, -1, -1):
        half = size >> 1
        if (index >> k) & 1:
            first += half
            size -= half
        else:
            size = half
    return first, size


@kernel(inline=True)
def _levels(rows: int) -> int:
    """Merges by four above parts of up to four rows."""
    levels = 0
    while -(-rows >> (2 * levels)) > 4:
        levels += 1
    return levels


@kernel()
def _quarters(data: Int16s, rows: int, bins: int, work: Int16s, recipe: Int32s) -> int:
    """All but the last merge; returns where in `work` the transforms of the four quarters are.

    Parts of up to 16 rows go through the first cache; after four of them their sum is made, after four of those theirs.
    With up to four rows there are no quarters, and nothing is done.
    """
    step = stride(bins)
    whole = rows * step
    levels = _levels(rows)
    if levels == 0:
        return 0
    small = 2 * whole if levels > 1 else whole
    # Parts of a level have one of two sizes: recipes side by side.
    for level in range(1, levels):
        size = rows >> (2 * level)
        at = 3 * size
        _recipe(size, bins, 0, size, recipe[:, at:])
        _recipe(size + 1, bins, 0, size + 1, recipe[:, at + size :])
    for block in range(1 << (2 * (levels - 1))):
        first, size = _node(rows, 2 * (levels - 1), block)
        for quarter in range(4):
            start, count = _node(size, 2, quarter)
            _merge_few(data, (first + start) * bins, count, bins, work, small + start * step, 0, count)
        index = block
        level = levels - 1
        origin = small
        while level > 0:
            # What has been merged to depth 2 p lies in the half p % 2.
            least = rows >> (2 * level)
            at = 3 * least if size == least else 4 * least
            to = (level & 1) * whole + first * step
            _merge_rows(work, origin, recipe[:, at : at + size], size, size <= WIDE, bins, work, to)
            if index & 3 != 3 or level == 1:
                break
            index >>= 2
            level -= 1
            first, size = _node(rows, 2 * level, index)
            origin = ((level + 1) & 1) * whole + first * step
    return whole


@kernel()
def transform(data: Int16s, rows: int, bins: int, work: Int16s, out: Int16s) -> None:
    """Fast folding transform.

    Parameters
    ----------
    data : ndarray of int16, shape (>= rows bins + 64,)
        Samples; those after ``rows bins`` are read and not used.
    rows, bins : int
        Turns and phase bins, bins >= 8.
    work : ndarray of int16, shape (>= work_size(rows bins, bins),)
    out : ndarray of int16, shape (rows, bins)
        Row s: sum over r of row r of the data, shifted to the left by about ``s r/(rows - 1)`` samples: rows of half as
        many rows each round to whole samples. Sums saturate.
    """
    step = stride(bins)
    recipe = np.empty((7, recipe_size(rows)), np.int32)
    at = _quarters(data, rows, bins, work, recipe)
    sums = 2 * rows * step
    if rows > 4:
        _recipe(rows, bins, 0, rows, recipe[:, 0:])
    for s in range(rows):
        if rows <= 4:
            _merge_few(data, 0, rows, bins, work, sums, s, s + 1)
        else:
            _merge_rows(work, at, recipe[:, s:], 1, rows <= WIDE, bins, work, sums)
        out[s] = work[sums : sums + bins]


@kernel()
def _largest(tile: Int32s, bins: int, widths: Ints, first: int, last: int, out: Int32s) -> None:
    while first < last:
        left = last - first
        if left >= 6:
            largest_boxes(6, tile, bins, widths, first, out)
            first += 6
        elif left >= 4:
            largest_boxes(4, tile, bins, widths, first, out)
            first += 4
        elif left == 3:
            largest_boxes(3, tile, bins, widths, first, out)
            first += 3
        elif left == 2:
            largest_boxes(2, tile, bins, widths, first, out)
            first += 2
        else:
            largest_boxes(1, tile, bins, widths, first, out)
            first += 1


@kernel(inline=True)
def _order(widths: Ints, order: Ints, parts: Float32s) -> int:
    """Put boxes that bound others first; `parts` has how many of each of them make up one of the others."""
    nwidths = widths.shape[0]
    keys = 0
    last = 0.0
    for k in range(nwidths):
        ratio = _KEYS if widths[k] < _WIDE_BOX else _WIDE_KEYS
        if widths[k] >= ratio * last or (k == nwidths - 1 and k > 0 and widths[k] > _LITTLE * last):
            order[keys] = k
            keys += 1
            last = float(widths[k])
    at = keys
    for k in range(nwidths):
        key = False
        for i in range(keys):
            key |= order[i] == k
        if not key:
            order[at] = k
            at += 1
    parts[:] = np.float32(0.0)
    for i in range(keys, nwidths):
        left = widths[order[i]]
        for j in range(keys - 1, -1, -1):
            count = left // widths[order[j]]
            parts[i, j] = count
            left -= count * widths[order[j]]
    return keys


@kernel()
def search_periods(
    data: Int16s,
    nsamps: int,
    transforms: Ints,
    widths: Ints,
    noise: Floats,
    limit: float,
    work: Int16s,
    tile: Int32s,
    best: Float32s,
    best_width: Uint8s,
    snrs: Float32s,
) -> None:
    """Best boxcar S/N of the profiles at many periods.

    With the sum S of the box, that of the turn S_tot, n bins, a box of w, and a noise of sigma for a sample,
    S/N = (S - w/n S_tot) / (sigma sqrt(rows w (1 - w/n))): the filter is a box of zero mean and unit norm.

    Parameters
    ----------
    data : ndarray of int16, shape (>= nsamps + 64,)
        Samples with zero mean.
    nsamps : int
    transforms : ndarray of int64, shape (ntransforms, 4)
        Bins (8 at least), first row, row after the last, where the first row goes in `best`. Row s of m is the period
        ``bins^2 / (bins - s/(m - 1))``.
    widths : ndarray of int64, shape (nwidths,), ascending
        Of the boxes [bins], each less than any of the numbers of bins.
    noise : ndarray of float64, shape (nwidths,)
        Standard deviation of a sample; what a box of that width has, over the root of the width.
    limit : float
        Where no S/N can exceed this the boxes between the few that are always looked at are left out.
    work : ndarray of int16, shape (>= work_size(nsamps, bins),)
        For every one of the numbers of bins.
    tile : ndarray of int32, shape (>= tile_size(bins, widest),)
    best : ndarray of float32, shape (>= 15 + ntrials,)
        Largest S/N of every period looked at; up to 15 elements after the last are spoilt.
    best_width : ndarray of uint8, as `best`
        Which of the widths has it.
    snrs : ndarray of float32, shape (ntrials, nwidths), or (0, 0)
        Filled with the S/N of every width, if there is room; then `limit` must be -inf.
    """
    # Many arguments: data, tables and results are the caller's arrays, each of another shape.
    nwidths = widths.shape[0]
    widest = 1
    for k in range(nwidths):
        widest = max(widest, widths[k])
    order = np.zeros(nwidths, np.int64)
    parts = np.zeros((nwidths, nwidths), np.float32)
    keys = _order(widths, order, parts)
    if not limit > 0.0:
        keys = nwidths
    boxes = widths[order]
    largest = np.zeros(nwidths * LANES, np.int32)
    inside = np.empty(nwidths, np.float32)
    below = np.empty(nwidths, np.float32)
    every = snrs.shape[0] > 0
    enough = np.float32(limit)
    bound = np.empty(LANES, np.float32)
    most = 1
    for i in range(transforms.shape[0]):
        most = max(most, nsamps // transforms[i, 0])
    recipe = np.empty((7, recipe_size(most)), np.int32)
    for i in range(transforms.shape[0]):
        bins, lo, hi, to = transforms[i]
        rows = nsamps // bins
        step = stride(bins)
        at = _quarters(data, rows, bins, work, recipe)
        sums = 2 * rows * step
        if rows > 4:
            # A part of it, as above: one version of what is called.
            _recipe(rows, bins, lo, hi, recipe[:, 0:])
        for k in range(nwidths):
            w = float(boxes[k])
            scale = 1.0 / (noise[order[k]] * np.sqrt(rows * w * (1.0 - w / bins)))
            inside[k] = scale
            below[k] = scale * w / bins
        for s in range(lo, hi, LANES):
            end = min(s + LANES, hi)
            if rows <= 4:
                _merge_few(data, 0, rows, bins, work, sums, s, end)
            else:
                _merge_rows(work, at, recipe[:, s - lo :], end - s, rows <= WIDE, bins, work, sums)
            tile[:LANES] = 0
            for phase in range(0, bins, LANES):
                turn_block(work, step, sums + phase, tile, phase * LANES)
            extend_turn(tile, bins, widest + 1)
            total = tile[bins * LANES : (bins + 1) * LANES]
            _largest(tile, bins, boxes, 0, keys, largest)
            nlooked = keys
            for k in range(keys, nwidths):
                bound[:] = np.float32(0.0)
                for j in range(keys):
                    if parts[k, j] > np.float32(0.0):
                        for lane in range(LANES):
                            bound[lane] += parts[k, j] * np.float32(largest[LANES * j + lane])
                above = False
                for lane in range(end - s):
                    above |= inside[k] * bound[lane] - below[k] * np.float32(total[lane]) > enough
                if above:
                    _largest(tile, bins, boxes, keys, nwidths, largest)
                    nlooked = nwidths
                    break
            first = to + s - lo
            best[first : first + LANES] = np.float32(-np.inf)
            for k in range(nlooked):
                for lane in range(LANES):
                    value = inside[k] * np.float32(largest[LANES * k + lane]) - below[k] * np.float32(total[lane])
                    if value > best[first + lane]:
                        best[first + lane] = value
                        best_width[first + lane] = order[k]
                    if every and s + lane < hi:
                        snrs[first + lane, order[k]] = value
