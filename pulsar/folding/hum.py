"""Harmonics of a fold that lines of interference fall on, such as those of the mains.

A line below the highest harmonic of the bins falls on the harmonics beside it. One above it is averaged over the bins,
which a strong one survives: it appears mirrored, at a harmonic where nobody looks for it. So it may where the steps of
samples and of bins beat: a sample counts at the middle of its bin. There it pretends to know phase and DM far better
than the pulse does, as a fit weights harmonics by the square of their number.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Largest part of the harmonics that is left out because lines of interference fall on them.
MOST_LOST: Final = 0.25
#: Scatter between sub-integrations over that of the harmonics around, in standard deviations of it, from which a
#: harmonic is hit by a line: a chance of 1 in 3,000 a harmonic for the exponential tail of few sub-integrations.
HIT_SIGMA: Final = 5.0
#: Part of the power of a line that an image of it may have and count: a strong harmonic of a hum has 3e5 times the
#: power of noise (benchmarks/population.py, all lines of it), of which thirty are left.
IMAGE: Final = 1e-4
#: Sub-integrations from which on the scatter of one harmonic is told.
LEAST_PARTS: Final = 4


def on_lines(
    parts: NDArray[np.complex128],
    weight: NDArray[np.float64],
    freq: float,
    tobs: float,
    tsamp: float,
    lines: Sequence[tuple[float, float]],
) -> NDArray[np.bool_]:
    """Which harmonics lines of interference fall on.

    Nearer than half the width of a line and what a sub-integration resolves; and whole runs of harmonics that scatter
    more between sub-integrations than those around them, where one of these has a line near it, or an image of one.
    The fundamental is left: what turns with a line is for others to judge. No more is left out than MOST_LOST of the
    harmonics, of what is hit beyond the lines themselves the noisiest.

    Parameters
    ----------
    parts : ndarray of complex128, shape (nsubints, nharm + 1)
        ``rfft`` of the profiles of the sub-integrations, summed over bands.
    weight : ndarray, shape (nsubints,)
        Variance of each of them.
    freq : float
        Of the rotation [Hz].
    tobs, tsamp : float
        Length and sampling time of the data [s].
    lines : sequence of (float, float)
        Frequencies and full widths [Hz].
    """
    nharm = parts.shape[1]
    number = np.arange(nharm)
    hit = np.zeros(nharm, dtype=np.bool_)
    if not lines:
        return hit
    image = hit.copy()
    nbins = 2 * (nharm - 1)
    for line, width in lines:
        near = (0.5 * width + 0.5 * len(parts) / tobs) / freq
        for at in _sampled(line, tsamp, (nharm - 1) * freq):
            hit |= np.abs(number - at / freq) <= near
        # Sampled once a bin: harmonics nbins apart are one, and those above the middle are mirrored.
        at = (line / freq) % nbins
        image |= np.abs(number - min(at, nbins - at)) <= max(near, 0.5)
        for at in _beats(line / freq, 1.0 / (tsamp * freq), nbins):
            image |= np.abs(number - at) <= near
    hit[:2] = False
    if np.count_nonzero(hit) > MOST_LOST * nharm:
        hit[:] = False
    excess = _excess(parts, weight)
    runs = _runs(excess > 1.0, hit | image)
    runs[:2] = False
    most = int(MOST_LOST * nharm) - int(np.count_nonzero(hit))
    more = np.flatnonzero(runs & ~hit)
    hit[more[np.argsort(-excess[more], kind="stable")][: max(most, 0)]] = True
    return hit


def _sampled(line: float, tsamp: float, top: float) -> list[float]:
    """Frequencies up to `top` at which samples hold a line: itself, and j / tsamp +- itself.

    Where a turn has fewer samples than bins, harmonics above the Nyquist frequency are mirror images of the others.
    """
    rate = 1.0 / tsamp
    many = int(top / rate) + 1
    return [line, *(j * rate + side * line for j in range(1, many + 1) for side in (-1.0, 1.0))]


def _beats(line: float, rate: float, nbins: int) -> list[float]:
    """Harmonics at which a line appears as samples count at the middle of their bins.

    Harmonic h of the bins is e^(2 pi i h b / nbins), which over the turn is e^(2 pi i h phase) and, for all j, parts of
    sinc(j - h / nbins) at h - j nbins. A line is there that differs from one of these by a multiple of the sampling.

    Parameters
    ----------
    line, rate : float
        Frequency of the line and of the samples, in those of the rotation.
    nbins : int
    """
    most = int(1.0 / (np.pi * np.sqrt(IMAGE))) + 1
    j = np.concatenate([np.arange(-most, 0), np.arange(1, most + 1)])
    first = np.concatenate([line + j * nbins, -line + j * nbins]) % rate
    at = first[:, None] + rate * np.arange(int(0.5 * nbins / rate) + 1)
    strong = np.sinc(np.tile(j, 2)[:, None] - at / nbins) ** 2 >= IMAGE
    return list(at[strong & (at <= nbins // 2)])


def _excess(parts: NDArray[np.complex128], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scatter of each harmonic between sub-integrations, over the most that it is by chance, given those around it."""
    use = weight > 0.25 * weight.mean()
    n, nharm = int(np.count_nonzero(use)), parts.shape[1]
    out = np.zeros(nharm)
    if n < LEAST_PARTS:
        return out
    white = parts[use] / np.sqrt(weight[use])[:, None]
    scatter = np.sum(np.abs(white - white.mean(axis=0)) ** 2, axis=0) / (n - 1)
    most = 1.0 + HIT_SIGMA / np.sqrt(n - 1)
    for k in range(2, nharm - 1):
        # From half to twice its number: what red noise and varying pulses add falls with frequency.
        around = float(np.median(scatter[(k + 1) // 2 : min(2 * k, nharm - 2) + 1]))
        out[k] = scatter[k] / (most * around) if around > 0.0 else 0.0
    return out


def _runs(high: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Neighbours without a gap, of those that are high, where one of them or one beside them is a seed."""
    out = np.zeros(high.size, dtype=np.bool_)
    beside = seeds.copy()
    beside[1:] |= seeds[:-1]
    beside[:-1] |= seeds[1:]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], high, [False]]).astype(np.int8)))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        out[first:last] = bool(beside[first:last].any())
    return out
