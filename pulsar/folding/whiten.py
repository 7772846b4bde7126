"""Red noise of folded data: measured at each harmonic, and evened out.

A running mean over a part w of a turn leaves 1 - sinc(h w) of harmonic h of a profile, whatever the noise there is.
The best that can be done with a profile in noise of any colour is to divide each harmonic by the noise that it stands
in: a window that follows the period, and as long as the data allow. The noise is that of the neighbouring frequencies,
1/T, 2/T ... away, where a steady source has no power. They are at hand without the series. Of a slow source, whose
sub-integrations are single turns, these one after the other are the series, in steps of a bin. Otherwise harmonic h of
the sub-integrations, taken as a series in time, has them as its Fourier transform.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.folding.baseline import running_mean

#: Fewest sub-integrations with which the noise beside a harmonic is told from the harmonic.
FEWEST_PARTS: Final = 6

#: Turns by which a sub-integration may be longer or shorter than one, to be taken as one.
SINGLE: Final = 0.1

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


def single_turns(turns: NDArray[np.float64]) -> bool:
    """Whether sub-integrations that begin with these turns are single turns, and enough of them."""
    return len(turns) >= FEWEST_PARTS and bool(np.all(np.abs(np.diff(turns) - 1.0) < SINGLE))


def _places(turns: NDArray[np.float64], nbins: int) -> NDArray[np.int64]:
    """Where each bin of each sub-integration stands in the series, in bins from the start of its first turn.

    A sub-integration begins inside a turn: each of its bins is of the turn that comes next with that phase.
    """
    number = np.ceil(turns[:, None] - (np.arange(nbins) + 0.5) / nbins).astype(np.int64)
    return np.asarray((number - number.min()) * nbins + np.arange(nbins))


def _in_order(profiles: NDArray[np.float64], index: NDArray[np.int64], total: int) -> NDArray[np.float64]:
    """The series of `total` bins; what no sub-integration holds lies on straight lines."""
    values = np.zeros(total)
    values[index.reshape(-1)] = profiles.reshape(-1)
    order = np.sort(index.reshape(-1))
    return np.asarray(np.interp(np.arange(total, dtype=np.float64), order, values[order]))


def levelled(
    parts: NDArray[np.complex128], weight: NDArray[np.float64], turns: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Take the running mean over exactly one turn from a fold whose sub-integrations are single turns.

    It is the same for every phase of a steady source, so nothing is lost; what wanders more slowly no longer comes in
    at the ends of the data and of the turns.

    Parameters
    ----------
    parts : ndarray of complex128, shape (nsubints, nbands, nharm + 1)
        ``rfft`` of the profiles.
    weight : ndarray, shape (nsubints, nbands)
        Variance of each of them.
    turns : ndarray, shape (nsubints, nbands)
        Turn with which each of them begins.
    """
    nbins = 2 * (parts.shape[2] - 1)
    out = parts.copy()
    for band in range(parts.shape[1]):
        use = weight[:, band] > 0.25 * weight[:, band].mean()
        if not single_turns(turns[use, band]):
            continue
        share = weight[use, band][:, None]
        profiles = np.fft.irfft(parts[use, band], nbins, axis=1) / share
        index = _places(turns[use, band], nbins)
        total = nbins * (int(index.max()) // nbins + 1)
        # Without the steady profile, as bins that no sub-integration holds lie on straight lines.
        base = running_mean(_in_order(profiles - profiles.mean(axis=0), index, total), float(nbins))
        out[use, band] = np.fft.rfft((profiles - base[index]) * share, axis=1)
    return out


def _unwrapped(parts: NDArray[np.complex128], turns: NDArray[np.float64]) -> NDArray[np.complex128] | None:
    """Fourier amplitudes beside each harmonic, shape (count, nharm - 1), of single turns one after the other.

    None where the sub-integrations are not single turns one after the other.
    """
    nbins = 2 * (parts.shape[1] - 1)
    if not single_turns(turns):
        return None
    index = _places(turns, nbins)
    total = nbins * (int(index.max()) // nbins + 1)
    flat = parts - parts.mean(axis=0)
    # Levels count here: they are what wanders.
    profiles = np.fft.irfft(flat, nbins, axis=1)
    series = _in_order(profiles, index, total)
    whole = total // nbins
    spectrum = np.fft.rfft(series - series.mean()) * np.sqrt(nbins / total)
    side = min(max(whole // 2 - 1, 1), NEAR)
    offsets = np.concatenate([np.arange(1, side + 1), -np.arange(1, side + 1)])
    return np.asarray(spectrum[whole * np.arange(1, nbins // 2) + offsets[:, None]])


def harmonic_noise(
    parts: NDArray[np.complex128], weight: NDArray[np.float64], turns: NDArray[np.float64] | None = None
) -> HarmonicNoise | None:
    """Measure the noise in which the harmonics of a fold stand.

    Parameters
    ----------
    parts : ndarray of complex128, shape (nsubints, nharm + 1)
        ``rfft`` of the profiles of the sub-integrations.
    weight : ndarray, shape (nsubints,)
        Variance of each of them: power of a harmonic of white noise.
    turns : ndarray, shape (nsubints,), optional
        Turn with which each of them begins.

    Returns
    -------
    HarmonicNoise or None
        None where there are too few sub-integrations.
    """
    use = weight > 0.25 * weight.mean()
    n, nharm = int(np.count_nonzero(use)), parts.shape[1] - 1
    if n < FEWEST_PARTS or nharm < 4:
        return None
    near = _unwrapped(parts[use] / np.sqrt(weight[use])[:, None], turns[use]) if turns is not None else None
    if near is None:
        # The Nyquist harmonic is real and has no noise of its own here.
        beside = np.fft.fft(parts[use, 1:nharm] / np.sqrt(weight[use])[:, None], axis=0) / np.sqrt(n)
        # Close ones: noise that is steeper than the window of a sub-integration comes in at the far ones.
        side = max(n // 4, 2)
        near = np.concatenate([beside[1 : side + 1], beside[-side:]])
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
