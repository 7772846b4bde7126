"""Noise of the harmonics of a fold: red noise, which is evened out, and lines of interference, which are left out.

A running mean over a part w of a turn leaves 1 - sinc(h w) of harmonic h of a profile, whatever the noise there is.
The best that can be done with a profile in noise of any colour is to divide each harmonic by the noise that it stands
in: a window that follows the period, and as long as the data allow. The noise is that of the neighbouring frequencies,
1/T, 2/T ... away, where a steady source has no power. They are at hand without the series: harmonic h of the
sub-integrations, taken as a series in time, has them as its Fourier transform. Slow sources have their single turns
(:mod:`pulsar.folding.sums`).

A line below the highest harmonic of the bins falls on the harmonics beside it. One above it is averaged over the bins,
which a strong one survives: it appears mirrored, at a harmonic where nobody looks for it. So it may where the steps of
samples and of bins beat: a sample counts at the middle of its bin. There it pretends to know phase and DM far better
than the pulse does, as a fit weights harmonics by the square of their number.
"""

from typing import Final

import numpy as np

from pulsar.cleaning.robust import runs_of
from pulsar.data.fold import Fold, HarmonicNoise
from pulsar.data.series import Lines
from pulsar.searches.stats import median
from pulsar_kernels.arrays import Bools, Complexes, Floats, Ints

#: Fewest sub-integrations with which the noise beside a harmonic is told from the harmonic.
FEWEST_PARTS: Final = 6

#: Frequencies on each side of a harmonic that tell its noise: 20 % from the median of 16.
NEAR: Final = 8

#: Numbers of the lowest harmonics of which the noise is looked at together.
LOWEST: Final = (1, 2, 4, 8)

#: Noise of the lowest harmonics that is taken as red: this many standard errors above that of white noise.
RED: Final = 5.0


def _median_of_exponentials(n: int) -> float:
    """Expected median of n exponential variables of mean 1."""
    ranks = np.cumsum(1.0 / np.arange(n, 0, -1))
    return float(0.5 * (ranks[(n - 1) // 2] + ranks[n // 2]))


def falling(values: Floats) -> Floats:
    """The curve that never rises and fits `values` best by least squares (pooling of neighbours out of order)."""
    heights: list[float] = []
    sizes: list[int] = []
    for value in values.tolist():
        heights.append(value)
        sizes.append(1)
        while len(heights) > 1 and heights[-2] < heights[-1]:
            size = sizes[-2] + sizes[-1]
            height = (heights[-2] * sizes[-2] + heights[-1] * sizes[-1]) / size
            heights[-2:], sizes[-2:] = [height], [size]
    return np.repeat(np.array(heights, dtype=np.float64), sizes)


def noise_beside(near: Complexes) -> HarmonicNoise:
    """Noise of harmonics 1 … nharm - 1 from Fourier amplitudes beside them, of unit power in white noise.

    Parameters
    ----------
    near : ndarray of complex128, shape (count, nharm - 1)
    """
    count = len(near)
    # Relative variance of the median of exponential variables, times their number: 1 / ln(2)^2.
    error = float(np.sqrt(2.08 / count))
    local = _without_lines(np.median(np.abs(near) ** 2, axis=0) / _median_of_exponentials(count), error)
    upper = local[len(local) // 2 :]
    level = float(upper.mean())
    smooth = np.maximum(falling(local), level)
    lowest = [k for k in LOWEST if k <= len(local) // 2]
    red = max((float(local[:k].mean()) / level - 1.0) * np.sqrt(k) / error for k in lowest)
    unit = np.ones(1)
    return HarmonicNoise(
        np.concatenate([unit, local, local[-1:]]), np.concatenate([unit, smooth, smooth[-1:]]), float(red)
    )


def _without_lines(local: Floats, error: float) -> Floats:
    """Noise beside harmonics, where one stands out of those on both sides no more than these: red noise falls.

    `error`: relative, of each. A line of interference is beside one harmonic. In a mean it would count for all.
    """
    # 5 sigma: a chance of 1 in 3,000 a harmonic for the exponential tail of a median of few.
    out, most = local.copy(), 1.0 + 5.0 * error
    for k in np.flatnonzero(local > most * np.median(local[len(local) // 2 :])):
        below, above = local[(k + 1) // 2 - 1 : k], local[k + 1 : 2 * (k + 1)]
        # The lowest have too few neighbours, and tell red noise.
        if k >= LOWEST[-1] and above.size:
            around = max(float(np.median(below)), float(np.median(above)))
            out[k] = local[k] if local[k] <= most * around else around
    return out


def evening(fold: Fold) -> Floats:
    """Factors of the harmonics of a fold, from 0 on, by which red noise was evened out, shape (nbins // 2 + 1,)."""
    return np.asarray(fold.extra.get("gain", np.ones(len(fold.profile) // 2 + 1)), dtype=np.float64)


def harmonic_noise(parts: Complexes, weight: Floats) -> HarmonicNoise | None:
    """Measure the noise in which the harmonics of a fold stand.

    Parameters
    ----------
    parts : ndarray of complex128, shape (nsubints, nharm + 1)
        ``rfft`` of the profiles of the sub-integrations.
    weight : ndarray, shape (nsubints,)
        Variance of each of them: power of a harmonic of white noise.

    Returns
    -------
    HarmonicNoise or None
        None where there are too few sub-integrations.
    """
    use = weight > 0.25 * weight.mean()
    n, nharm = int(np.count_nonzero(use)), parts.shape[1] - 1
    if n < FEWEST_PARTS or nharm < 4:
        return None
    # The Nyquist harmonic is real and has no noise of its own here.
    beside = np.fft.fft(parts[use, 1:nharm] / np.sqrt(weight[use])[:, None], axis=0) / np.sqrt(n)
    # Close ones: noise that is steeper than the window of a sub-integration comes in at the far ones.
    side = max(n // 4, 2)
    return noise_beside(np.concatenate([beside[1 : side + 1], beside[-side:]]))


def without_pulse(parts: Complexes, phase: float, width: float) -> Complexes:
    """The same with a straight line in place of the pulse: twice its width, half a turn at most.

    What wanders more slowly than the pulse is still there; what only the pulse does is not.

    Parameters
    ----------
    parts : ndarray of complex128, shape (nsubints, nharm + 1)
        ``rfft`` of profiles.
    phase, width : float
        Centre and width of the pulse [turns].
    """
    nbins = 2 * (parts.shape[1] - 1)
    half = min(max(round(width * nbins), 1), nbins // 4)
    profiles = np.roll(np.fft.irfft(parts, nbins, axis=1), nbins // 2 - int(phase * nbins), axis=1)
    on = slice(nbins // 2 - half, nbins // 2 + half + 1)
    # From as much beside it as it is wide.
    left = profiles[:, nbins // 2 - 2 * half : nbins // 2 - half].mean(axis=1)
    right = profiles[:, nbins // 2 + half + 1 : nbins // 2 + 2 * half + 1].mean(axis=1)
    line = np.linspace(0.0, 1.0, 2 * half + 1)
    profiles[:, on] = left[:, None] * (1.0 - line) + right[:, None] * line
    return np.asarray(np.fft.rfft(profiles, axis=1))


#: Largest part of the harmonics that is left out because lines of interference fall on them.
MOST_LOST: Final = 0.25
#: Part of the power of a line that an image of it may have and count: a strong harmonic of a hum has 3e5 times the
#: power of noise (benchmarks/population.py, all lines of it), of which thirty are left.
IMAGE: Final = 1e-4


def on_lines(
    parts: Complexes, weight: Floats, freq: float, tobs: float, tsamp: float, lines: Lines, *, lowest: int = 2
) -> Bools:
    """Harmonics that lines of interference fall on.

    Nearer than half the width of a line and what a sub-integration resolves; and whole runs of harmonics that scatter
    more between sub-integrations than those around them, where one of these has a line near it, or an image of one. The
    fundamental is not, unless asked for: what turns with a line is for others to judge. No more is left out than
    MOST_LOST of the harmonics, of what is hit beyond the lines themselves the noisiest.

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
    lowest : int
        Harmonic that may be left out, and those above it.
    """
    nharm = parts.shape[1]
    number = np.arange(nharm)
    hit = np.zeros(nharm, dtype=np.bool_)
    if not lines:
        return hit
    nbins = 2 * (nharm - 1)
    line, width = np.transpose(lines)[:, :, None]
    near = (0.5 * width + 0.5 * len(parts) / tobs) / freq
    hit = _beside(number, _sampled(line, tsamp, (nharm - 1) * freq) / freq, near)
    # Sampled once a bin: harmonics nbins apart are one, and those above the middle are mirrored.
    at = (line / freq) % nbins
    image = _beside(number, np.minimum(at, nbins - at), np.maximum(near, 0.5))
    image |= _beside(number, _beats(line / freq, 1.0 / (tsamp * freq), nbins), near)
    hit[:lowest] = False
    if np.count_nonzero(hit) > MOST_LOST * nharm:
        hit[:] = False
    excess = _excess(parts, weight)
    runs = _runs(excess > 1.0, hit | image)
    runs[:lowest] = False
    most = int(MOST_LOST * nharm) - int(np.count_nonzero(hit))
    more = np.flatnonzero(runs & ~hit)
    hit[more[np.argsort(-excess[more], kind="stable")][: max(most, 0)]] = True
    return hit


def _beside(number: Ints, at: Floats, near: Floats) -> Bools:
    """Which harmonics are near one of the places of a line, of which each line has a row; NaN is no place."""
    places, reach = at.ravel(), np.broadcast_to(near, at.shape).ravel()
    use = np.isfinite(places)
    return np.asarray(np.any(np.abs(number - places[use, None]) <= reach[use, None], axis=0))


def _sampled(line: Floats, tsamp: float, top: float) -> Floats:
    """Frequencies up to `top` at which samples hold lines, shape (n, 1): themselves, and j / tsamp +- themselves.

    Where a turn has fewer samples than bins, harmonics above the Nyquist frequency are mirror images of the others.
    """
    rate = 1.0 / tsamp
    j = np.arange(1, int(top / rate) + 2)
    return np.concatenate([line, j * rate - line, j * rate + line], axis=1)


def _beats(line: Floats, rate: float, nbins: int) -> Floats:
    """Harmonics at which lines appear as samples count at the middle of their bins; NaN where there is none.

    Harmonic h of the bins is e^(2 pi i h b / nbins), which over the turn is e^(2 pi i h phase) and, for all j, parts of
    sinc(j - h / nbins) at h - j nbins. A line is there that differs from one of these by a multiple of the sampling.

    Parameters
    ----------
    line : ndarray, shape (n, 1)
        Frequencies of the lines, in that of the rotation.
    rate : float
        That of the samples.

    Returns
    -------
    ndarray, shape (n, m)
    """
    most = int(1.0 / (np.pi * np.sqrt(IMAGE))) + 1
    j = np.concatenate([np.arange(-most, 0), np.arange(1, most + 1)])
    first = np.concatenate([line + j * nbins, -line + j * nbins], axis=1) % rate
    at = first[:, :, None] + rate * np.arange(int(0.5 * nbins / rate) + 1)
    strong = np.sinc(np.tile(j, 2)[:, None] - at / nbins) ** 2 >= IMAGE
    return np.where(strong & (at <= nbins // 2), at, np.nan).reshape(len(line), -1)


def _excess(parts: Complexes, weight: Floats) -> Floats:
    """Scatter of each harmonic between sub-integrations, over the most that it is by chance, given those around it."""
    use = weight > 0.25 * weight.mean()
    n, nharm = int(np.count_nonzero(use)), parts.shape[1]
    out = np.zeros(nharm)
    if n < 4:
        return out
    white = parts[use] / np.sqrt(weight[use])[:, None]
    scatter = np.sum(np.abs(white - white.mean(axis=0)) ** 2, axis=0) / (n - 1)
    # 5 sigma: a chance of 1 in 3,000 a harmonic for the exponential tail of few sub-integrations.
    most = 1.0 + 5.0 / np.sqrt(n - 1)
    for k in range(2, nharm - 1):
        # From half to twice its number: what red noise and varying pulses add falls with frequency.
        around = median(scatter[(k + 1) // 2 : min(2 * k, nharm - 2) + 1])
        out[k] = scatter[k] / (most * around) if around > 0.0 else 0.0
    return out


def _runs(high: Bools, seeds: Bools) -> Bools:
    """Neighbours without a gap, of those that are high, where one of them or one beside them is a seed."""
    out = np.zeros(high.size, dtype=np.bool_)
    beside = seeds.copy()
    beside[1:] |= seeds[:-1]
    beside[:-1] |= seeds[1:]
    for first, last in runs_of(high).tolist():
        out[first:last] = bool(beside[first:last].any())
    return out
