"""Spectra of short stretches of many channels, 32 channels at a time, and the strongest line of each.

Two channels are the real and imaginary parts of one series, 16 series are transformed side by side in the lanes of a
tile (:mod:`pulsar_kernels.lanes`), and both spectra are what is even and odd in theirs. Powers stay as they come, 32
channels of one bin after the other: sums and maxima over the bins are vectors across the channels.
"""

import functools
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from pulsar_kernels import lanes
from pulsar_kernels._ir import F32, FUSE, constant, lane_bits, load, plus, splat, store, times, transposed, vector_of
from pulsar_kernels._jit import aligned, kernel, vector
from pulsar_kernels.lanes import ELEMENT, LANES, VEC, Complex, factors, slot, slots, twiddles

#: Least variance that is one: of the other channel of a pair rounding leaves 1e-14 of its own, times a few passes.
_ROUNDING = 1e-10


@functools.cache
def passes(n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Radices and twiddles for spectra of `n` points, a product of 2, 3 and 5, 16 or more."""
    radix = factors(n)
    return np.array(radix, dtype=np.int64), twiddles(radix)


def _turn_code(builder: Any, args: Any) -> None:
    rows, at, step, origin, scale, part, tile, to = args
    base, gain = load(builder, origin, part, VEC), load(builder, scale, part, VEC)
    block = [load(builder, rows, plus(builder, at, times(builder, step, i)), VEC) for i in range(LANES)]
    for j, column in enumerate(transposed(builder, block)):
        place = plus(builder, slot(builder, plus(builder, to, j)), part)
        store(builder, builder.fmul(builder.fsub(column, base), gain), tile, place)


@vector(_turn_code)
def _turn(
    rows: NDArray[np.float32],
    at: int,
    step: int,
    origin: NDArray[np.float32],
    scale: NDArray[np.float32],
    part: int,
    tile: NDArray[np.float32],
    to: int,
) -> None:
    """Columns of a square of 16 by 16, its rows `step` apart, less `origin`, times `scale`, to tile elements from `to`.

    `part` is 0 for their real parts and 16 for the imaginary ones.
    """
    for j in range(LANES):
        o = slots(to + j) * ELEMENT + part
        column = rows[at + j : at + j + (LANES - 1) * step + 1 : step]
        tile[o : o + LANES] = (column - origin[part : part + LANES]) * scale[part : part + LANES]


def _powers_code(builder: Any, args: Any) -> None:
    tile, up, down, powers, to, total = args
    c = Complex(builder)
    z, m = c.load(tile, slot(builder, up)), c.load(tile, slot(builder, down))

    def add(x: Any, y: Any) -> Any:
        return builder.fadd(x, y, flags=FUSE)

    def square(x: Any) -> Any:
        return builder.fmul(x, x, flags=FUSE)

    even = square(add(z[0], m[0])), square(builder.fsub(z[1], m[1]))
    odd = square(add(z[1], m[1])), square(builder.fsub(z[0], m[0]))
    for part, (x, y) in enumerate((even, odd)):
        power = builder.fmul(add(x, y), constant(VEC, 0.25))
        store(builder, power, powers, plus(builder, to, LANES * part))
        store(builder, add(load(builder, total, LANES * part, VEC), power), total, LANES * part)


@vector(_powers_code)
def _powers(
    tile: NDArray[np.float32], up: int, down: int, powers: NDArray[np.float32], to: int, total: NDArray[np.float32]
) -> None:
    """Powers of 32 channels, from elements ``k = up`` and ``n - k = down``, to ``powers[to:]`` and added to `total`."""
    i, k = slots(up) * ELEMENT, slots(down) * ELEMENT
    z = tile[i : i + LANES] + 1j * tile[i + LANES : i + ELEMENT]
    m = tile[k : k + LANES] - 1j * tile[k + LANES : k + ELEMENT]
    for part, twice in enumerate((z + m, z - m)):
        here = to + LANES * part
        powers[here : here + LANES] = 0.25 * np.abs(twice) ** 2
        total[LANES * part : LANES * (part + 1)] += powers[here : here + LANES]


def _count_code(builder: Any, args: Any) -> Any:
    powers, at, limit = args
    kind = vector_of(F32, ELEMENT)
    above = builder.fcmp_ordered(">", load(builder, powers, at, kind), load(builder, limit, 0, kind))
    return builder.ctpop(lane_bits(builder, above))


@vector(_count_code, returns=types.int64)
def _count(powers: NDArray[np.float32], at: int, limit: NDArray[np.float32]) -> int:
    """How many of 32 powers exceed their limits."""
    return int(np.sum(powers[at : at + ELEMENT] > limit))


@kernel()
def line_powers(
    points: NDArray[np.float32],
    scale: NDArray[np.float32],
    radix: NDArray[np.int64],
    twiddle: NDArray[np.float32],
    first: int,
    factor: float,
    powers: NDArray[np.float32],
    variance: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """Power spectra of all channels, less their means and scaled, and lines counted over the channels.

    Parameters
    ----------
    points : ndarray of float32, shape (nchans, n)
    scale : ndarray of float32, shape (nchans,)
        Brings all channels to about the same variance: two are transformed together.
    radix : ndarray of int64, shape (npasses,)
    twiddle : ndarray of float32
        Both from `passes` for n points.
    first : int
        Bins before this one are not counted.
    factor : float
        A line is so many times the mean power of the channel.
    powers : ndarray of float32, shape (ceil(nchans / 32), n // 2 + 1, 32)
        Of channel 32 g + j in bin k at [g, k, j]; 0 of those beyond the last.
    variance : ndarray of float64, shape (nchans,)
        Of the scaled points. Where it is below 1e-10 it is rounding, and all is 0.
    counts : ndarray of int64, shape (n // 2 + 1,)
        Channels that have a line there.
    """
    nchans, n = points.shape
    nbins = n // 2 + 1
    one = aligned(ELEMENT * slots(n))
    two = aligned(ELEMENT * slots(n))
    few = np.zeros(ELEMENT * n, np.float32)
    origin = np.empty(ELEMENT, np.float32)
    gain = np.zeros(ELEMENT, np.float32)
    low = np.empty(ELEMENT, np.float32)
    total = np.empty(ELEMENT, np.float32)
    limit = np.empty(ELEMENT, np.float32)
    flat = powers.reshape(-1)
    counts[:] = 0
    for g in range(powers.shape[0]):
        here = min(ELEMENT, nchans - g * ELEMENT)
        rows = points.reshape(-1)
        begin = g * ELEMENT * n
        if here < ELEMENT:
            for i in range(here * n):
                few[i] = rows[begin + i]
            rows = few
            begin = 0
        # Any number near the others: a large mean would cost digits.
        for j in range(ELEMENT):
            origin[j] = rows[begin + j * n]
            gain[j] = scale[g * ELEMENT + j] if j < here else np.float32(0.0)
        for at in range(0, n, LANES):
            # The last square overlaps the one before where the number is no multiple of its width.
            i = min(at, n - LANES)
            _turn(rows, begin + i, n, origin, gain, 0, one, i)
            _turn(rows, begin + LANES * n + i, n, origin, gain, LANES, one, i)
        source, _ = lanes.passes(radix, 0, radix.shape[0], one, two, n, twiddle)
        base = g * nbins * ELEMENT
        flat[base : base + ELEMENT] = np.float32(0.0)
        low[:] = np.float32(0.0)
        total[:] = np.float32(0.0)
        for k in range(1, min(first, nbins)):
            _powers(source, k, n - k, flat, base + k * ELEMENT, low)
        for k in range(max(first, 1), nbins):
            _powers(source, k, n - k, flat, base + k * ELEMENT, total)
        for j in range(ELEMENT):
            limit[j] = np.float32(factor) * total[j] / np.float32(max(nbins - first, 1))
            # Parseval's theorem: all but the last bin of an even number have a conjugate.
            alone = np.float64(powers[g, nbins - 1, j]) if n % 2 == 0 else 0.0
            found = (2.0 * (np.float64(low[j]) + np.float64(total[j])) - alone) / (np.float64(n) * n)
            if not found >= _ROUNDING:
                found = 0.0
                powers[g, :, j] = np.float32(0.0)
                limit[j] = np.float32(np.inf)
            if j < here:
                variance[g * ELEMENT + j] = found
        for k in range(first, nbins):
            counts[k] += _count(flat, base + k * ELEMENT, limit)


_SUMMED = vector_of(F32, ELEMENT)


def _top_code(builder: Any, args: Any) -> None:
    powers, at, total, top = args
    x, most = load(builder, powers, at, _SUMMED), load(builder, top, 0, _SUMMED)
    store(builder, builder.fadd(load(builder, total, 0, _SUMMED), x), total, 0)
    store(builder, builder.select(builder.fcmp_ordered(">", x, most), x, most), top, 0)


@vector(_top_code)
def _top(powers: NDArray[np.float32], at: int, total: NDArray[np.float32], top: NDArray[np.float32]) -> None:
    """Sums and maxima of 32 channels, with one power more of each."""
    x = powers[at : at + ELEMENT]
    total += x
    top[:] = np.where(x > top, x, top)


def _below_code(builder: Any, args: Any) -> None:
    powers, at, number, limit, top, below, count, where = args
    x = load(builder, powers, at, _SUMMED)
    none, one = constant(_SUMMED, 0.0), constant(_SUMMED, 1.0)
    small = builder.fcmp_ordered("<", x, load(builder, limit, 0, _SUMMED))
    for sums, more in ((below, x), (count, one)):
        store(builder, builder.fadd(load(builder, sums, 0, _SUMMED), builder.select(small, more, none)), sums, 0)
    here = builder.fcmp_ordered("==", x, load(builder, top, 0, _SUMMED))
    store(builder, builder.select(here, splat(builder, number, ELEMENT), load(builder, where, 0, _SUMMED)), where, 0)


@vector(_below_code)
def _below(
    powers: NDArray[np.float32],
    at: int,
    number: np.float32,
    limit: NDArray[np.float32],
    top: NDArray[np.float32],
    below: NDArray[np.float32],
    count: NDArray[np.float32],
    where: NDArray[np.float32],
) -> None:
    """Sums and numbers of what is below a limit, and where the maximum is."""
    x = powers[at : at + ELEMENT]
    below += np.where(x < limit, x, 0.0)
    count += x < limit
    where[:] = np.where(x == top, number, where)


@kernel()
def strongest(
    powers: NDArray[np.float32],
    first: int,
    used: NDArray[np.bool_],
    surplus: NDArray[np.float32],
    where: NDArray[np.int64],
) -> None:
    """The strongest power of every channel, over the mean of the noise, less its expectation for that many bins.

    In noise exp(-surplus) is about the probability that a spectrum reaches it. The mean is of the powers below five
    times the mean of all, corrected for what noise itself has above.

    Parameters
    ----------
    powers : ndarray of float32, shape (ceil(nchans / 32), nbins, 32)
        From `line_powers`.
    first : int
        Bins before this one are left out.
    used : ndarray of bool, shape (nbins,)
        Bins that count.
    surplus : ndarray of float32, shape (nchans,)
        NaN where there is no noise.
    where : ndarray of int64, shape (nchans,)
        Its bin.
    """
    nchans = surplus.shape[0]
    nbins = powers.shape[1]
    # Mean of an exponential below five means: 1 - 5 exp(-5) / (1 - exp(-5)).
    kept = 1.0 - 5.0 * np.exp(-5.0) / (1.0 - np.exp(-5.0))
    number = 0
    for k in range(first, nbins):
        number += 1 if used[k] else 0
    flat = powers.reshape(-1)
    space = np.empty((5, ELEMENT), np.float32)
    total, top, below, count, place = space[0], space[1], space[2], space[3], space[4]
    for g in range(powers.shape[0]):
        base = g * nbins * ELEMENT
        space[:] = np.float32(0.0)
        for k in range(first, nbins):
            if used[k]:
                _top(flat, base + k * ELEMENT, total, top)
        for j in range(ELEMENT):
            total[j] *= np.float32(5.0) / np.float32(max(number, 1))
        # From the last to the first: of equal ones the first counts.
        for back in range(nbins - first):
            k = nbins - 1 - back
            if used[k]:
                _below(flat, base + k * ELEMENT, np.float32(k), total, top, below, count, place)
        for j in range(min(ELEMENT, nchans - g * ELEMENT)):
            c = g * ELEMENT + j
            surplus[c] = np.float32(np.nan)
            where[c] = 0
            if top[j] > np.float32(0.0) and count[j] > 0:
                mean = np.float64(below[j]) / count[j] / kept
                surplus[c] = np.float32(np.float64(top[j]) / mean - np.log(np.float64(number)))
                where[c] = np.int64(place[j])
