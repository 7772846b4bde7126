"""A series made ready for the searches, without its trend, drifts, and known lines.

Drifts are red noise between the lines of a pulsar. In the Fourier series of the data themselves a wave of no whole
number of turns, and the jump from the last sample to the first, leak into all modes with the square of their distance:
waves of 3 to 15 s and S/N of hundreds hide what is slower than a second (of the noise at mode 40 of a minute 97 % were
leakage in one case). The level of the noise is therefore measured in the tapered series, and divided out in sines: they
continue the series by its mirror image, turned over, in which neither value nor slope jumps.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.fft import rfft

from pulsar.searches import stats
from pulsar_kernels import whiten
from pulsar_kernels.longwave import remove_tone

#: Powers 0 to 3 of the place of 64 stretches between -1 and 1, and the least-squares cubic through their means.
_POWERS = np.vander((np.arange(64) + 0.5) / 32.0 - 1.0, 4, increasing=True)
_CUBIC = np.linalg.pinv(_POWERS)


def cubic_trend(series: NDArray[Any], gaps: Iterable[tuple[int, int]] = ()) -> NDArray[np.float64]:
    """Cubic through the means of 64 stretches: takes out drifts, and from 4 cycles on nothing of a signal.

    Parameters
    ----------
    series : ndarray of int16 or float32, C-contiguous
    gaps : iterable of (int, int)
        First sample of what is missing, and the one after the last: stretches that touch it do not count.
    """
    means = np.empty(64, dtype=np.float64)
    if series.dtype == np.int16:
        whiten.integer_means(series, means)
    else:
        whiten.block_means(series, means)
    good = np.isfinite(means)
    for lo, hi in gaps:
        edges = series.shape[0] * np.arange(65) // 64
        good &= (edges[1:] <= lo) | (edges[:-1] >= hi)
    coeffs = np.zeros(4, dtype=np.float64)
    if good.all():
        coeffs[:] = _CUBIC @ (means - means[0])
        coeffs[0] += means[0]
    elif np.count_nonzero(good) >= 8:
        origin = means[good][0]
        coeffs[:] = np.linalg.lstsq(_POWERS[good], means[good] - origin, rcond=None)[0]
        coeffs[0] += origin
    elif good.any():
        coeffs[0] = np.median(means[good])
    return coeffs


#: A pulsar of so many turns has a line in each of these first modes: they are too few for medians.
LOW_MODES = 8
#: Red noise is measured by medians at modes of this ratio, over this part of their number on either side (that many at
#: least), so that the lines of a pulsar do not count.
LADDER = 1.3
REACH = 0.33
NEAR = 4
#: It is red if the first so many have so many times the lowest level within three octaves above the place where they
#: stop falling; they do that where they are no more than so many times the lowest above.
FIRST = 3
REDDISH = 3.0
EVEN = 1.2
OCTAVES = 8.0
#: Part of a series whose median is its end.
END = 400


def drift(x: NDArray[np.float32], variance: float, modes: int, line: float) -> NDArray[np.float64]:
    """The series to be subtracted from another to divide its spectrum by the red noise between its lines.

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
        Missing samples are 0.
    variance : float
        That white noise has in each sample.
    modes : int
        Cycles in the data up to which noise is measured, n/2 at most.
    line : float
        A sine in red noise is left no more than so many times as strong as the noise in its mode (half a cycle wide).

    Returns
    -------
    ndarray of float64, shape (n,)
        Empty if there is no red noise.
    """
    white = variance * len(x)
    spectrum = scipy.fft.rfft(x, scipy.fft.next_fast_len(len(x), real=True))
    level = red_level(spectrum[: modes + 2], white)
    if len(level) == 0:
        return np.zeros(0)
    ends = max(len(x) // END, 1)
    levels = (float(np.median(x[:ends])), float(np.median(x[-ends:])))
    slope = np.interp(np.arange(len(x)), (0.5 * ends, len(x) - 0.5 * ends), levels)
    # Sines of 1/2, 1, 3/2 ... cycles.
    waves = scipy.fft.dst(x - slope, type=2)
    cycles = 0.5 * np.arange(1, min(2 * len(level), len(waves)) + 1)
    own = waves[: len(cycles)] ** 2 / (2.0 * white)
    level = np.interp(cycles, np.arange(1, len(level) + 1), level)
    level = np.where(level > REDDISH, np.maximum(level, own / line), level)
    level[: 2 * LOW_MODES - 2] = np.maximum(own, level)[: 2 * LOW_MODES - 2]
    waves[: len(cycles)] *= 1.0 - 1.0 / np.sqrt(level)
    waves[len(cycles) :] = 0.0
    return np.asarray(scipy.fft.idst(waves, type=2) + slope)


def red_level(spectrum: NDArray[np.complex64], white: float) -> NDArray[np.float64]:
    """Noise power of modes 1, 2, 3 ... between lines over that of white noise, as far as it is red; empty if it is not.

    It is measured in the spectrum of the tapered series, in which waves and lines of bright pulsars stay where they
    are: the taper of Hann is a sum of three neighbours. Red noise falls; pulses that vary from turn to turn raise all
    modes up to those of their width, and are left.
    """
    tapered = 0.5 * spectrum[1:-1] - 0.25 * (spectrum[:-2] + spectrum[2:])
    smooth, centres = running_level(np.abs(tapered).astype(np.float64) ** 2 / (white * 0.375))
    values = smooth.tolist()
    beyond = np.searchsorted(centres, OCTAVES * centres).tolist()
    even = (i for i, j in enumerate(beyond) if values[i] < EVEN * max(min(values[i : j + 1]), 1.0))
    last = next(even, len(centres) - 1)
    if last < 2:
        return np.zeros(0)
    floor = max(float(np.median(smooth[last : beyond[last] + 1])), 1.0)
    if not np.median(smooth[:FIRST]) > REDDISH * floor:
        return np.zeros(0)
    # What ends in white noise is made white; what ends higher up, in pulses that vary, is made even.
    varies = floor > REDDISH
    end = int(centres[last]) if varies else len(tapered)
    smooth = np.maximum(smooth / (floor if varies else 1.0), 1.0)
    return np.asarray(np.exp(np.interp(np.log(np.arange(1, end + 1)), np.log(centres), np.log(smooth))))


def running_level(power: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean power by the medians about every mode of a ladder from LOW_MODES on, and these modes."""
    centres, stretches = _ladder(len(power))
    # The median of an exponential distribution is ln 2 of its mean.
    medians = [np.partition(power[lo:hi], middle)[middle] for lo, hi, middle in stretches]
    return np.array(medians) / np.log(2.0), centres


@lru_cache(maxsize=64)
def _ladder(nmodes: int) -> tuple[NDArray[np.int64], list[tuple[int, int, int]]]:
    """Modes of the ladder, and of the stretch about each the first element, the last + 1, and half of their number."""
    steps = max(int(np.log(max(nmodes, LOW_MODES) / LOW_MODES) / np.log(LADDER)), 0)
    centres = np.unique(np.round(LOW_MODES * LADDER ** np.arange(steps + 1))).astype(np.int64)
    half = np.maximum((centres * REACH).astype(np.int64), NEAR)
    ends = zip(np.maximum(centres - 1 - half, 0).tolist(), np.minimum(centres + half, nmodes).tolist(), strict=True)
    return centres, [(lo, hi, (hi - lo) // 2) for lo, hi in ends]


#: Power of a line, over that of noise, from which it is taken out of a series.
LINE_POWER = 30.0
#: Most lines of one series, the strongest.
MOST_LINES = 32


def without_lines(raw: NDArray[np.float32], tau: float, lines: Sequence[tuple[float, float]]) -> int:
    """Take lines out of a series, in place, where they are stronger than noise is.

    Parameters
    ----------
    raw : ndarray of float32, shape (n,)
        NaN are missing, and stay so.
    tau : float
        Time from one sample to the next [s].
    lines : sequence of (float, float)
        Frequencies and full widths [Hz]; those beyond Nyquist are left to the averaging.

    Returns
    -------
    int
        Lines that were there.
    """
    n = raw.shape[0]
    lines = [line for line in lines if line[0] + 0.5 * line[1] < 0.5 / tau]
    if not lines:
        return 0
    known = np.isfinite(raw)
    mean = np.float32(raw[known].mean()) if known.any() else np.float32(0.0)
    spectrum = rfft(np.where(known, raw - mean, np.float32(0.0)))
    powers = spectrum.real**2 + spectrum.imag**2
    usual = stats.median(powers) / np.log(2.0)
    work = np.empty((3, n + 1))
    step = 1.0 / (n * tau)
    strong = []
    for freq, width in lines:
        width = max(width, step)
        lo = max(int((freq - 0.5 * width) / step), 1)
        hi = max(int(np.ceil((freq + 0.5 * width) / step)) + 1, lo + 1)
        if powers[lo:hi].max() > LINE_POWER * usual:
            strong.append((float(powers[lo:hi].max()), freq, width))
    strong = sorted(strong, reverse=True)[:MOST_LINES]
    for _, freq, width in strong:
        remove_tone(raw, freq * tau, min(max(int(0.5 / (width * tau)), 1), n), work)
    return len(strong)
