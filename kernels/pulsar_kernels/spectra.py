"""Spectra of short stretches of many channels, 32 channels at a time, and the strongest line of each.

Two channels are the real and imaginary parts of one series, 16 series are transformed side by side in the lanes of a
tile (:mod:`pulsar_kernels.lanes`), and both spectra are what is even and odd in theirs. Powers stay as they come, 32
channels of one bin after the other: sums and maxima over the bins are vectors across the channels.
"""

import functools

import numpy as np

from pulsar_kernels import lanes
from pulsar_kernels._jit import aligned, kernel
from pulsar_kernels.arrays import Bools, Float32s, Floats, Ints
from pulsar_kernels.lanes import ELEMENT, LANES, factors, slots, twiddles

#: Least variance that is one: of the other channel of a pair rounding leaves 1e-14 of its own, times a few passes.
_ROUNDING = 1e-10


@functools.cache
def passes(n: int) -> tuple[Ints, Float32s]:
    """Radices and twiddles for spectra of `n` points, a product of 2, 3 and 5, 16 or more."""
    radix = factors(n)
    return np.array(radix, dtype=np.int64), twiddles(radix)


@kernel(inline=True)
def _powers(tile: Float32s, up: int, down: int, powers: Float32s, total: Float32s) -> None:
    """Powers of 32 channels, from elements ``k = up`` and ``n - k = down``, also added to `total`."""
    a, b = tile[slots(up) * ELEMENT :], tile[slots(down) * ELEMENT :]
    for j in range(LANES):
        x, y, u, v = a[j], a[LANES + j], b[j], b[LANES + j]
        even, odd = (x + u) ** 2 + (y - v) ** 2, (y + v) ** 2 + (x - u) ** 2
        powers[j] = np.float32(0.25) * even
        powers[LANES + j] = np.float32(0.25) * odd
    for j in range(ELEMENT):
        total[j] += powers[j]


@kernel()
def line_powers(
    points: Float32s,
    scale: Float32s,
    radix: Ints,
    twiddle: Float32s,
    first: int,
    factor: float,
    powers: Float32s,
    variance: Floats,
    counts: Ints,
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
    front = aligned(ELEMENT * slots(n))
    back = aligned(ELEMENT * slots(n))
    low = np.empty(ELEMENT, np.float32)
    total = np.empty(ELEMENT, np.float32)
    limit = np.empty(ELEMENT, np.float32)
    counts[:] = 0
    for g in range(powers.shape[0]):
        here = min(ELEMENT, nchans - g * ELEMENT)
        front[:] = np.float32(0.0)
        for j in range(here):
            row, gain = points[g * ELEMENT + j], scale[g * ELEMENT + j]
            # Any number near the others: a large mean would cost digits.
            origin = row[0]
            for i in range(n):
                front[slots(i) * ELEMENT + j] = (row[i] - origin) * gain
        source, _ = lanes.passes(radix, 0, radix.shape[0], front, back, n, twiddle)
        powers[g, 0] = np.float32(0.0)
        low[:] = np.float32(0.0)
        total[:] = np.float32(0.0)
        for k in range(1, nbins):
            _powers(source, k, n - k, powers[g, k], low if k < first else total)
        for j in range(ELEMENT):
            limit[j] = np.float32(factor) * total[j] / np.float32(max(nbins - first, 1))
            # Parseval's theorem: all but the last bin of an even number have a conjugate.
            alone = np.float64(powers[g, nbins - 1, j]) if n % 2 == 0 else 0.0
            channel_variance = (2.0 * (np.float64(low[j]) + np.float64(total[j])) - alone) / (np.float64(n) * n)
            if not channel_variance >= _ROUNDING:
                channel_variance = 0.0
                powers[g, :, j] = np.float32(0.0)
                limit[j] = np.float32(np.inf)
            if j < here:
                variance[g * ELEMENT + j] = channel_variance
        for k in range(first, nbins):
            number = 0
            for j in range(ELEMENT):
                number += powers[g, k, j] > limit[j]
            counts[k] += number


@kernel()
def strongest(powers: Float32s, first: int, used: Bools, surplus: Float32s, where: Ints) -> None:
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
    space = np.empty((5, ELEMENT), np.float32)
    total, top, below, count, place = space[0], space[1], space[2], space[3], space[4]
    for g in range(powers.shape[0]):
        space[:] = np.float32(0.0)
        for k in range(first, nbins):
            if used[k]:
                for j in range(ELEMENT):
                    total[j] += powers[g, k, j]
                    top[j] = max(top[j], powers[g, k, j])
        for j in range(ELEMENT):
            total[j] *= np.float32(5.0) / np.float32(max(number, 1))
        # From the last to the first: of equal ones the first counts.
        for back in range(nbins - first):
            k = nbins - 1 - back
            if used[k]:
                for j in range(ELEMENT):
                    x = powers[g, k, j]
                    below[j] += x if x < total[j] else np.float32(0.0)
                    count[j] += np.float32(x < total[j])
                    place[j] = np.float32(k) if x == top[j] else place[j]
        for j in range(min(ELEMENT, nchans - g * ELEMENT)):
            c = g * ELEMENT + j
            surplus[c] = np.float32(np.nan)
            where[c] = 0
            if top[j] > np.float32(0.0) and count[j] > 0:
                mean = np.float64(below[j]) / count[j] / kept
                surplus[c] = np.float32(np.float64(top[j]) / mean - np.log(np.float64(number)))
                where[c] = np.int64(place[j])
