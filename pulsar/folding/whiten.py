"""Red noise of folded data: measured at each harmonic, and evened out.

A running mean over a part w of a turn leaves 1 - sinc(h w) of harmonic h of a profile, whatever the noise there is.
The best that can be done with a profile in noise of any colour is to divide each harmonic by the noise that it stands
in: a window that follows the period, and as long as the data allow. The noise is that of the neighbouring frequencies,
1/T, 2/T ... away, where a steady source has no power. They are at hand without the series: harmonic h of the
sub-integrations, taken as a series in time, has them as its Fourier transform. Slow sources have their single turns
(:mod:`pulsar.folding.turns`).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Fewest sub-integrations with which the noise beside a harmonic is told from the harmonic.
FEWEST_PARTS: Final = 6

#: Frequencies on each side of a harmonic that tell its noise: 20 % from the median of 16.
NEAR: Final = 8

#: Noise of the lowest harmonics that is taken as red: this many standard errors above that of white noise.
RED: Final = 5.0

#: Relative variance of the median of exponential variables, times their number: 1 / ln(2)^2.
_MEDIAN_VARIANCE: Final = 2.08


@dataclass(frozen=True)
class HarmonicNoise:
    """Noise of the harmonics of a fold.

    Attributes
    ----------
    measured : ndarray, shape (nharm + 1,)
        Power of the noise beside each harmonic, over that of white noise; 1 at harmonic 0.
    smooth : ndarray, shape (nharm + 1,)
        The same, as a curve that never rises with frequency.
    red : float
        Standard errors by which the lowest harmonics are noisier than white noise.
    """

    measured: NDArray[np.float64]
    smooth: NDArray[np.float64]
    red: float

    @property
    def gain(self) -> NDArray[np.float64]:
        """What each harmonic is to be multiplied with: noise is white and of unit power afterwards."""
        return np.asarray(1.0 / np.sqrt(self.smooth))

    def evened(self) -> "HarmonicNoise":
        """The noise once it has been evened out."""
        return HarmonicNoise(self.measured * self.gain**2, np.ones(len(self.smooth)), 0.0)

    def scale(self, width: float) -> float:
        """Rms of the noise of a box of `width` turns over that of white noise."""
        box = np.sinc(np.arange(len(self.measured)) * width) ** 2
        box[0] = 0.0
        return float(np.sqrt(np.sum(self.measured * box) / np.sum(box)))


def _median_of_exponentials(n: int) -> float:
    """Expected median of n exponential variables of mean 1."""
    ranks = np.cumsum(1.0 / np.arange(n, 0, -1))
    return float(0.5 * (ranks[(n - 1) // 2] + ranks[n // 2]))


def falling(values: NDArray[np.float64]) -> NDArray[np.float64]:
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


def noise_beside(near: NDArray[np.complex128]) -> HarmonicNoise:
    """Noise of harmonics 1 … nharm - 1 from Fourier amplitudes beside them, of unit power in white noise.

    Parameters
    ----------
    near : ndarray of complex128, shape (count, nharm - 1)
    """
    count = len(near)
    local = np.median(np.abs(near) ** 2, axis=0) / _median_of_exponentials(count)
    upper = local[len(local) // 2 :]
    level = float(upper.mean())
    smooth = np.maximum(falling(local), level)
    error = np.sqrt(_MEDIAN_VARIANCE / count)
    lowest = [k for k in (1, 2, 4, 8) if k <= len(local) // 2]
    red = max((float(local[:k].mean()) / level - 1.0) * np.sqrt(k) / error for k in lowest)
    one = np.ones(1)
    return HarmonicNoise(
        np.concatenate([one, local, local[-1:]]), np.concatenate([one, smooth, smooth[-1:]]), float(red)
    )


def harmonic_noise(parts: NDArray[np.complex128], weight: NDArray[np.float64]) -> HarmonicNoise | None:
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


def without_pulse(parts: NDArray[np.complex128], phase: float, width: float) -> NDArray[np.complex128]:
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
