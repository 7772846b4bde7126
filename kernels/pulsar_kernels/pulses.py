"""From boxes above a threshold to pulses, one for each, measured at full resolution."""

from typing import NamedTuple

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Float32s, Floats, Int16s, Ints
from pulsar_kernels.cells import CELL, excess_at

_LANES = 32
_MANY_ROUNDS = 64
# A fall between two pulses: below this fraction of the weaker one's mean, and by so much noise.
_FALL = 0.5
_FALL_SIGMA = 3.0
# Widths of a pulse in which the fall is looked for, and steps to the top, and turns of each.
_FAR = 64
_STEPS = 24
_TURNS = 12


class White(NamedTuple):
    """A series, and what makes it white.

    Attributes
    ----------
    ints : ndarray of int16, shape (n,) or (0,)
    floats : ndarray of float32, shape (n,) or (0,)
        The series, as one of the two.
    base, scale : ndarray of float32, shape (ncells,)
        Baseline and one over the noise, of cells.
    cells : ndarray of float32, shape (>= ncells,)
        Whitened sums of cells.
    runs : ndarray of int64, shape (nruns, 2)
        Stretches that count as nothing.
    excess : ndarray of float64, shape (nlevels,)
        Scatter of sums of 2^k samples over that of white noise.
    total, alive : ndarray of float64, shape (room,)
        Work space: running sums of the whitened samples of a stretch, and of those that count.
    """

    ints: Int16s
    floats: Float32s
    base: Float32s
    scale: Float32s
    cells: Float32s
    runs: Ints
    excess: Floats
    total: Floats
    alive: Floats


def work_size(width_max: int, nsamps: int) -> int:
    """Room that `White.total` and `White.alive` need."""
    return min(16 * width_max + 2048, nsamps + 1)


@kernel()
def _prefix(white: White, lo: int, hi: int) -> None:
    """Running sums of whitened samples, and of how many count, from sample `lo` to `hi`."""
    total, alive, runs = white.total, white.alive, white.runs
    total[0] = 0.0
    alive[0] = 0.0
    s = 0.0
    at = lo
    while at < hi:
        c = at // CELL
        stop = min((c + 1) * CELL, hi)
        base, scale = white.base[c], white.scale[c]
        if white.ints.shape[0] > 0:
            for i in range(at, stop):
                s += np.float64((np.float32(white.ints[i]) - base) * scale)
                total[i - lo + 1] = s
                alive[i - lo + 1] = i - lo + 1
        else:
            k = alive[at - lo]
            for i in range(at, stop):
                v = (white.floats[i] - base) * scale
                if abs(v) <= 1e38:
                    s += np.float64(v)
                    k += 1.0
                total[i - lo + 1] = s
                alive[i - lo + 1] = k
        at = stop
    for r in range(runs.shape[0]):
        a, b = max(runs[r, 0], lo), min(runs[r, 1], hi)
        if a < b:
            # Nothing is added within, and what is after has so much less.
            off, gone = total[b - lo] - total[a - lo], alive[b - lo] - alive[a - lo]
            for i in range(a, b):
                total[i - lo + 1] = total[a - lo]
                alive[i - lo + 1] = alive[a - lo]
            for i in range(b, hi):
                total[i - lo + 1] -= off
                alive[i - lo + 1] -= gone


@kernel(inline=True)
def _box_snr(white: White, a: int, w: int) -> float:
    """S/N of a boxcar over the samples in it that count."""
    k = white.alive[a + w] - white.alive[a]
    return float((white.total[a + w] - white.total[a]) / (np.sqrt(k) * excess_at(k, white.excess))) if k >= 1.0 else 0.0


@kernel()
def _gauss_snr(white: White, centre: float, fwhm: float, n: int) -> float:
    """S/N of a Gaussian centred at `centre` (the middle of sample i is i + 1/2), out to 1.5 times its full width."""
    total, alive = white.total, white.alive
    step = max(int(fwhm / 16.0), 1)
    lo = max(int(np.floor(centre - 1.5 * fwhm)), 0)
    hi = min(int(np.ceil(centre + 1.5 * fwhm)), n)
    rate = -4.0 * np.log(2.0) / (fwhm * fwhm)
    signal = 0.0
    norm = 0.0
    area = 0.0
    i = lo
    while i < hi:
        j = min(i + step, hi)
        d = 0.5 * (i + j) - centre
        g = np.exp(rate * d * d)
        k = alive[j] - alive[i]
        signal += g * (total[j] - total[i])
        norm += g * g * k
        area += g * k
        i = j
    if not norm > 0.0:
        return 0.0
    return float(signal / (np.sqrt(norm) * excess_at(area * area / norm, white.excess)))


@kernel(inline=True)
def _climb(white: White, width_max: int, left: int, right: int, start: int, width: int) -> tuple[float, int, int]:
    """The best boxcar near one, within ``left ... right``: S/N, start, width."""
    a = start
    w = width
    best = -np.inf
    for _ in range(_STEPS):
        # Everything within 0.6 widths, in steps.
        reach = max(2, (6 * w) // 10)
        lo = max(left, a - 2 * reach)
        hi = min(right, a + w + 3 * reach)
        _prefix(white, lo, hi)
        step = max(1, w >> 4)
        a0 = a
        w0 = w
        best = -np.inf
        k = max(1, w0 - reach)
        while k <= min(w0 + reach, width_max):
            i = max(a0 - reach, lo)
            while i <= a0 + reach and i + k <= hi:
                s = _box_snr(white, i - lo, k)
                if s > best:
                    best = s
                    a = i
                    w = k
                i += step
            k += step
        if best == -np.inf:
            return best, a, w
        # One edge after the other, sample by sample: the sums of noise have many tops.
        for _ in range(_TURNS):
            a1 = a
            w1 = w
            for end in range(max(a1 + w1 - reach, a1 + 1), min(a1 + min(w1 + reach, width_max), hi) + 1):
                s = _box_snr(white, a1 - lo, end - a1)
                if s > best:
                    best = s
                    w = end - a1
            end = a1 + w
            for begin in range(max(a1 - reach, end - width_max, lo), min(a1 + reach, end - 1) + 1):
                s = _box_snr(white, begin - lo, end - begin)
                if s > best:
                    best = s
                    a = begin
                    w = end - begin
            if a == a1 and w == w1:
                break
        # At the edge of what was tried there may be better beyond.
        if abs(w - w0) < reach and abs(a - a0) < reach:
            break
    return best, a, w


@kernel(inline=True)
def _climb_gauss(
    white: White, width_max: int, left: int, right: int, start: int, width: int
) -> tuple[float, float, float]:
    """The best Gaussian near a boxcar: S/N, centre, full width at half maximum."""
    reach = 4 * width + 8
    lo = max(left, start - reach)
    hi = min(right, start + width + reach)
    n = hi - lo
    _prefix(white, lo, hi)
    centre = start - lo + 0.5 * width
    fwhm = max(min(0.85 * width, 1.0 * width_max), 1.0)
    best = _gauss_snr(white, centre, fwhm, n)
    move = 0.25
    ratio = 1.3
    for _ in range(40):
        c0 = centre
        f0 = fwhm
        for df in (-1, 0, 1):
            f = min(max(f0 * ratio**df, 1.0), 1.0 * width_max, 0.5 * n)
            for dc in (-1, 0, 1):
                c = min(max(c0 + dc * move * f0, 0.0), 1.0 * n)
                s = _gauss_snr(white, c, f, n)
                if s > best + 1e-9:
                    best = s
                    centre = c
                    fwhm = f
        if centre == c0 and fwhm == f0:
            if move < 0.03:
                break
            move *= 0.5
            ratio = np.sqrt(ratio)
    return best, centre + lo, fwhm


@kernel(inline=True)
def _has_valley(white: White, lo: int, hi: int, width: int, snr: float, forward: bool) -> bool:
    """True if between ``lo ... hi`` the signal falls to less than half of the mean of a pulse of this width and S/N.

    A pulse next to a brighter one is one of its own only then; its tail or its wing is not. The fall must be three
    times the noise of what is looked at, which is no more than 64 widths, from the pulse on.
    """
    most = min(_FAR * width, white.total.shape[0] - 1)
    if hi - lo > most:
        if forward:
            hi = lo + most
        else:
            lo = hi - most
    n = hi - lo
    w = min(width, n)
    if w < 1:
        return False
    mean = snr / np.sqrt(width)
    limit = min(_FALL * mean, mean - _FALL_SIGMA / np.sqrt(w)) * w
    _prefix(white, lo, hi)
    least = np.inf
    for i in range(n - w + 1):
        least = min(least, white.total[i + w] - white.total[i])
    return bool(least < limit)


@kernel(inline=True)
def _again(white: White, limits: Floats, left: int, right: int, level: int, vector: int) -> tuple[float, int, int]:
    """Best box of a vector of the scan that lies within ``left ... right``: over threshold, start, width."""
    size = 1 << level
    total = white.total
    lo = max(vector, left)
    hi = min(vector + (_LANES + 7) * size, right)
    best = -1.0
    where = 0
    width = 0
    # Wide ones in steps of cells.
    step = 1
    if size >= CELL:
        step = CELL
        lo = -(-lo // CELL) * CELL
        hi = hi // CELL * CELL
    n = (hi - lo) // step
    if hi <= lo:
        return best, where, width
    if step == 1:
        _prefix(white, lo, hi)
    else:
        first = lo // CELL
        total[0] = 0.0
        for c in range(n):
            total[c + 1] = total[c] + white.cells[first + c]
    size //= step
    for i in range(0, min(_LANES * size, n), size):
        for k in range(0 if level == 0 else 4, 8):
            w = (k + 1) * size
            if i + w > n:
                break
            s = (total[i + w] - total[i]) / limits[level, k]
            if s > best:
                best = s
                where = lo + i * step
                width = w * step
    return best, where, width


@kernel(inline=True)
def _before(pulses: Floats, count: int, sample: int) -> int:
    """Number of pulses whose place begins at a sample or before it."""
    k = 0
    top = count
    while k < top:
        middle = (k + top) >> 1
        if pulses[middle, 3] <= sample:
            k = middle + 1
        else:
            top = middle
    return k


@kernel()
def _without(white: White, limits: Floats, pulses: Floats, count: int, row: Floats, out: Floats) -> bool:
    """Look at a vector of the scan again in the gaps between pulses; False if nothing is left above the threshold."""
    n = white.ints.shape[0] + white.floats.shape[0]
    level, first = int(row[3]), int(row[4])
    last = min(first + (_LANES + 7) * (1 << level), n)
    g = _before(pulses, count, first)
    free = max(first, int(pulses[g - 1, 4])) if g > 0 else first
    best = 1.0
    while free < last:
        until = min(int(pulses[g, 3]), n) if g < count else n
        if until > free:
            s, a, w = _again(white, limits, free, until, level, first)
            if s > best:
                best = s
                out[0] = s
                out[1] = a
                out[2] = w
        if g >= count:
            break
        free = max(free, int(pulses[g, 4]))
        g += 1
    out[3] = row[3]
    out[4] = row[4]
    return bool(best > 1.0)


@kernel(inline=True)
def _sift_down(rows: Floats, order: Ints, root: int, end: int) -> None:
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and rows[order[child + 1], 0] < rows[order[child], 0]:
            child += 1
        if rows[order[root], 0] <= rows[order[child], 0]:
            return
        order[root], order[child] = order[child], order[root]
        root = child


@kernel(inline=True)
def _strongest_first(rows: Floats) -> Ints:
    """Order of rows, by a heap (numpy's sort takes seconds to compile)."""
    n = rows.shape[0]
    order = np.empty(n, np.int64)
    for i in range(n):
        order[i] = i
    for root in range(n // 2 - 1, -1, -1):
        _sift_down(rows, order, root, n)
    for end in range(n - 1, 0, -1):
        order[0], order[end] = order[end], order[0]
        _sift_down(rows, order, 0, end)
    return order


@kernel()
def pick(
    white: White, limits: Floats, width_max: int, threshold: float, gaussian: bool, boxes: Floats, pulses: Floats
) -> int:
    """One pulse for everything that stands out: best first, each takes what it explains.

    What overlaps a pulse, or is not parted from it by a valley, belongs to it; a vector of the scan whose best box
    is a pulse, or part of one, is looked at again without it.

    Parameters
    ----------
    white : White
    limits : ndarray of float64, shape (nlevels, 8)
        Thresholds of the scan.
    width_max : int
        Widest boxcar, or Gaussian [samples].
    threshold : float
        S/N of a pulse.
    gaussian : bool
        Measure with Gaussians; otherwise with boxcars.
    boxes : ndarray of float64, shape (nfound, 5)
        From the scan.
    pulses : ndarray of float64, shape (most, 5)
        S/N, centre and width in samples (the middle of sample i is i + 1/2), first sample and end of what is taken;
        in order of time.

    Returns
    -------
    int
        Number of pulses, no more than there is room for.
    """
    n = white.ints.shape[0] + white.floats.shape[0]
    most = pulses.shape[0]
    count = 0
    room = boxes.shape[0]
    todo = boxes
    for _ in range(_MANY_ROUNDS):
        if room == 0:
            break
        # By what their boxes hold: thresholds of the scan differ with the width, and a wide weak one must not take a
        # narrow strong one that lies in it.
        ranked = todo[:room].copy()
        for i in range(room):
            lo = int(ranked[i, 1])
            hi = min(lo + int(ranked[i, 2]), n)
            _prefix(white, lo, hi)
            ranked[i, 0] = _box_snr(white, 0, hi - lo)
        order = _strongest_first(ranked)
        later = np.empty((room, 5), np.float64)
        nlater = 0
        for o in order:
            row = todo[o]
            lo = int(row[1])
            hi = min(lo + int(row[2]), n)
            k = _before(pulses, count, lo)
            left = int(pulses[k - 1, 4]) if k > 0 else 0
            right = int(pulses[k, 3]) if k < count else n
            if lo < left or hi > right:
                if _without(white, limits, pulses, count, row, later[nlater]):
                    nlater += 1
                continue
            if count == most:
                continue
            snr, a, w = _climb(white, width_max, left, right, lo, hi - lo)
            strength, centre, width = snr, a + 0.5 * w, 1.0 * w
            if gaussian:
                strength, centre, width = _climb_gauss(white, width_max, left, right, a, w)
            if strength < threshold:
                continue
            if k > 0 and not _has_valley(white, left, a, w, snr, False):
                # Part of a neighbour, which then takes its place too.
                pulses[k - 1, 4] = max(pulses[k - 1, 4], a + w)
            elif k < count and not _has_valley(white, a + w, right, w, snr, True):
                pulses[k, 3] = min(pulses[k, 3], a)
            else:
                for j in range(count, k, -1):
                    for i in range(5):
                        pulses[j, i] = pulses[j - 1, i]
                pulses[k, 0] = strength
                pulses[k, 1] = centre
                pulses[k, 2] = width
                pulses[k, 3] = a
                pulses[k, 4] = a + w
                count += 1
            # There may be another one in the same vector.
            if _without(white, limits, pulses, count, row, later[nlater]):
                nlater += 1
        todo = later
        room = nlater
    return count
