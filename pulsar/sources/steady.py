"""Steadiness of a pulse over the sub-integrations: it tells a source from impulses and drifts that add up.

A search in noise of any kind finds the period at which the noise adds up best, and the folded S/N is in units of white
noise. What scatters between the sub-integrations of the fold is the noise that there really is. And a period is told
from its half or its multiple by harmonics of a few sigma: an impulse in one sub-integration has as much in all of them.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from pulsar.data.fold import Fold
from pulsar.folding.fundamental import coherent_logps, shown, widest
from pulsar.folding.whiten import evening, falling
from pulsar.searches.stats import median
from pulsar.sources.candidate import AGREE
from pulsar_kernels.arrays import Bools, Complexes, Floats

#: Where more than this part is odd, the pulses themselves vary.
MOST_ODD: Final = 0.25
#: Sub-integrations from which on the noise of harmonics is told from what scatters between them.
LEAST_PARTS: Final = 4
#: ... and from which on each harmonic's own scatter is known well enough (to a third): a line may fall on just one.
MANY_PARTS: Final = 10


def steady(fold: Fold) -> Fold:
    """A fold as periods are told from: without odd sub-integrations, its harmonics in units of their own noise.

    Parameters
    ----------
    fold : Fold
        Refined.

    Returns
    -------
    Fold
        With zeros for the sub-integrations that hold beyond the mean profile what the others do not, and of the others
        the harmonics divided by what scatters around them, where that is more than white noise.
    """
    rows, used = _white(fold)
    if np.count_nonzero(used) < LEAST_PARTS:
        return fold
    parts = np.fft.rfft(rows, axis=1)
    noise = np.append(1.0, _noise(parts[used][:, 1:]) / rows.shape[1])
    gain = 1.0 / np.sqrt(np.maximum(noise, 1.0))
    white = np.fft.irfft(parts * gain, rows.shape[1], axis=1).astype(fold.time_phase.dtype)
    return replace(fold, time_phase=white, extra={**fold.extra, "noise_scale": 1.0, "gain": evening(fold) * gain})


def harmonic_scatter(fold: Fold) -> Floats:
    """Noise power of harmonics 1 to nbins // 2 - 1 of a fold as they scatter between sub-integrations, white noise 1.

    It falls with their number: in red noise, and of pulses that vary, which scatter as they are bright. That of each is
    the median from half to twice its number: a line beside one of them is no noise of those below it.
    """
    rows, used = _white(fold)
    nbins = rows.shape[1]
    parts = np.fft.rfft(rows[used], axis=1)[:, 1 : max(nbins // 2, 2)] / np.sqrt(nbins)
    seen, number = shown(parts), np.arange(1, parts.shape[1] + 1)
    if len(parts) < LEAST_PARTS or not seen.any():
        return np.full(len(seen), float(fold.extra.get("noise_scale", 1.0)) ** 2)
    scatter = np.interp(number, number[seen], _noise(parts)[seen])
    around = np.array([median(scatter[(k - 1) // 2 : 2 * k]) for k in number.tolist()])
    return np.asarray(np.maximum(falling(around), 1.0))


def _white(fold: Fold) -> tuple[Floats, Bools]:
    """Sub-integrations in units of their white noise, zeros for the odd ones; and those that hold anything."""
    rows = _without_odd(fold.time_phase.astype(np.float64)) * float(fold.extra.get("noise_scale", 1.0))
    return rows, np.any(rows != 0.0, axis=1)


def repeats(fold: Fold) -> float:
    """Significance [sigma] of the pulse against what scatters between sub-integrations, harmonic by harmonic.

    Each harmonic counts in units of the scatter around it, which drifts make large in the lowest; that of all together
    is judged by the number of independent ones (:func:`pulsar.folding.fundamental.coherent_logps`), which an impulse
    makes few. The better of all sub-integrations and those that are not odd.

    Parameters
    ----------
    fold : Fold
        Refined.

    Returns
    -------
    float
        NaN with fewer than two sub-integrations.
    """
    rows = fold.time_phase.astype(np.float64)
    kept = _without_odd(rows)
    every = _significance(rows)
    return every if kept is rows else float(np.max([every, _significance(kept)]))


def _without_odd(rows: Floats) -> Floats:
    """Sub-integrations, with zeros for the odd ones unless they are many."""
    odd = odd_rows(rows)
    return np.where(odd[:, None], 0.0, rows) if odd.any() else rows


def odd_rows(rows: Floats) -> Bools:
    """Sub-integrations that hold what the others do not, such as an impulse; none where these are many.

    Parameters
    ----------
    rows : ndarray, shape (nsubints, nbins)
        Of unit variance in noise.
    """
    n, nbins = rows.shape
    odd = np.zeros(n, dtype=np.bool_)
    if n * MOST_ODD < 1.0:
        return odd
    # The median is not moved by the few.
    rest = np.sum((rows - np.median(rows, axis=0)) ** 2, axis=1)
    middle = float(np.median(rest))
    if middle <= 0.0:
        return odd
    # Chi-square of nbins degrees of freedom has the relative deviation sqrt(2 / nbins).
    odd = rest / middle - 1.0 > AGREE * np.sqrt(2.0 / nbins)
    return odd if odd.sum() <= MOST_ODD * n else np.zeros(n, dtype=np.bool_)


def _noise(parts: Complexes) -> Floats:
    """Scatter of each harmonic (the first is number 1) between parts.

    That of one alone is known badly from few parts: then it is the mean from half to twice its number, of those that
    were not left out.
    """
    n, nharm = parts.shape
    have = np.concatenate([[0], np.cumsum(shown(parts))])
    scatter = np.sum(np.abs(parts - parts.mean(axis=0)) ** 2, axis=0) / (n - 1)
    if n >= MANY_PARTS:
        # Power over its own noise is (n - 1) / (n - 2) in the mean (F distribution).
        return np.asarray(scatter * (n - 1) / (n - 2))
    number = np.arange(1, nharm + 1)
    low, high = (number + 1) // 2, np.minimum(2 * number, nharm)
    total = np.concatenate([[0.0], np.cumsum(scatter)])
    return np.asarray((total[high] - total[low - 1]) / np.maximum(have[high] - have[low - 1], 1))


def _significance(rows: Floats) -> float:
    parts = np.fft.rfft(rows, axis=1)[:, 1 : max(rows.shape[1] // 2, 2)]
    parts = parts[np.any(parts != 0.0, axis=1)]
    parts = parts[:, shown(parts)]
    n, nharm = parts.shape
    if n < 2 or nharm == 0:
        return float("nan")
    noise = _noise(parts)
    if not noise.all():
        return float("nan")
    white = parts / np.sqrt(noise)
    return float(widest(lambda cuts: coherent_logps(white, np.arange(nharm) < cuts[:, None]), nharm))
