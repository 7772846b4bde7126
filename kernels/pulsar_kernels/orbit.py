"""A series by the time of a pulsar on a circular orbit."""

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Float32s

#: Samples for which sine and cosine are computed once, at most and at least; and how far a straight line through so
#: many may be off [samples of the series]: at 0.11 of its sampling rate a hundredth of a radian.
_MOST = 256
_LEAST = 8
_OFF = 0.02


@kernel(inline=True)
def _between(planes: Float32s, k: int, part: float) -> np.float32:
    """The value `part` of the way from element `k` to the next one; 0 beyond the ends."""
    ratio = planes.shape[0]
    if k < 0 or k + 1 >= ratio * planes.shape[1]:
        return np.float32(0.0)
    x = planes[k % ratio, k // ratio]
    return np.float32(x + np.float32(part) * (planes[(k + 1) % ratio, (k + 1) // ratio] - x))


@kernel(reorder=True)
def _row(a: Float32s, b: Float32s, first: float, speed: float, out: Float32s) -> None:
    """``a + (first + speed j) (b - a)``."""
    part = np.float32(first)
    step = np.float32(speed)
    for j in range(out.shape[0]):
        out[j] = a[j] + (part + step * np.float32(j)) * (b[j] - a[j])


@kernel()
def resample_orbit(planes: Float32s, turn: float, even: float, odd: float, out: Float32s) -> None:
    """Samples at even times of emission, of a series that is sampled more finely by a whole number.

    Element j of the result is the series at ``ratio j + even cos(a) + odd sin(a)``, a = `turn` (j - (n - 1) / 2), on a
    straight line between two of its samples, and 0 where it has none. Sine and cosine are taken once for up to
    256 samples, and straight lines laid through these: the place is right within 0.02 samples of the series (for fewer
    than 8 samples a line is laid through all the same).

    Parameters
    ----------
    planes : ndarray of float32, shape (ratio, m)
        Element ``k`` of the series is ``planes[k % ratio, k // ratio]``: what is read in a row lies in a row.
    turn : float
        Angle of the orbit in a sample of the result [rad].
    even, odd : float
        Size of the orbit [samples of the series].
    out : ndarray of float32, shape (n,)
    """
    ratio, m = planes.shape
    n = out.shape[0]
    block = _MOST
    while block > _LEAST and (abs(even) + abs(odd)) * (0.5 * block * turn) ** 2 > 2.0 * _OFF:
        block //= 2
    for lo in range(0, n, block):
        count = min(block, n - lo)
        half = 0.5 * (count - 1)
        angle = turn * (lo + half - 0.5 * (n - 1))
        c = np.cos(angle)
        s = np.sin(angle)
        late = even * c + odd * s
        speed = turn * (odd * c - even * s)
        first = late - half * speed
        k = int(np.floor(first))
        place = ratio * lo + k
        row = place // ratio
        plane = place - ratio * row
        next_plane = plane + 1
        next_row = row
        if next_plane == ratio:
            next_plane = 0
            next_row += 1
        # Whole rows within the series, between the same two of its samples.
        if int(np.floor(late + half * speed)) == k and row >= 0 and next_row + count <= m:
            _row(
                planes[plane, row : row + count],
                planes[next_plane, next_row : next_row + count],
                first - k,
                speed,
                out[lo : lo + count],
            )
        else:
            for j in range(count):
                at = first + speed * j
                whole = int(np.floor(at))
                out[lo + j] = _between(planes, ratio * (lo + j) + whole, at - whole)
