"""One pulse a turn in those harmonics of a fold that are clear of the lines of others.

What another source leaves in a fold lies in the harmonics that fall on its lines. At a ratio of 4/7 by chance that is
every fourth; a pulse has all of them, at phases that make it one pulse. Summed at these phases the others tell it far
better than their powers alone do (:func:`pulsar.folding.fundamental.coherent_sigma`), of which each has any phase.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.fold import Fold
from pulsar.rank.lines import NEAR_BINS, NSIGMA, Comb
from pulsar.rank.steady import harmonics
from pulsar.searches.stats import correct_trials, logp_from_sigma, sigma_from_logp

#: A harmonic so far from a line [bins of 1/T] is clear of it: of the line's power a tenth is there at most (sinc^2).
CLEAR: Final = 1.0
#: Widths of the pulses that are looked for, over that of the fold.
WIDTHS: Final = (0.7, 1.0, 1.4)
#: S/N that the refinement finds in noise (4 to 6, docs/folding.md).
CHANCE_SNR: Final = 5.0
#: Phases that are looked at, for each bin.
PHASES: Final = 4


def clear_harmonics(fold: Fold, combs: Sequence[Comb], nharm: int) -> NDArray[np.bool_]:
    """Which of the harmonics 1 ... `nharm` of a fold are at no line of others, shown by their folds or not.

    Parameters
    ----------
    fold : Fold
        Refined.
    combs : sequence of Comb
        Of the others.
    nharm : int

    Returns
    -------
    ndarray of bool, shape (nharm,)
        Where errors and drifts leave a harmonic CLEAR bins from every line at least, however far the refinement may
        have drawn the fold onto a ratio to the other.
    """
    number = np.arange(1, nharm + 1)
    out = np.ones(nharm, dtype=np.bool_)
    at, drift = number * fold.after.freq, number * fold.after.fdot
    for comb in combs:
        line = np.maximum(np.round(at / comb.freq), 1.0)
        error = NSIGMA * np.hypot(number * float(np.nan_to_num(fold.freq_err)), line * comb.freq_err)
        off = (np.abs(at - line * comb.freq) - error) * comb.tobs
        off -= 0.5 * np.abs(line * comb.fdot - drift) * comb.tobs**2 + NEAR_BINS * number
        out &= off > CLEAR
    return out


def pulse_sigma(fold: Fold, left: NDArray[np.float64], use: NDArray[np.bool_]) -> float:
    """Significance [sigma] of a pulse about as wide as that of a fold, by some of its harmonics.

    They are summed at the phases of one pulse, each by what a Gaussian has there over its noise; the noise is what
    scatters between the sub-integrations, of each harmonic and of the sum. Corrected for the widths and places tried.
    No more than noise has that was refined is nothing.

    Parameters
    ----------
    fold : Fold
        Refined.
    left : ndarray of float64, shape (nharm,)
        Power that others may leave in harmonics 1 ... `nharm`, in units of white noise.
    use : ndarray of bool, shape (nharm,)
        Which of them count.

    Returns
    -------
    float
        0 where there is nothing to tell it by.
    """
    parts, noise = harmonics(fold)
    if not use[: parts.shape[1]].any() or len(parts) < 2:
        return 0.0
    best = 0.0
    for wide in WIDTHS:
        sums = _sums(parts, noise, left, use, wide * fold.width)
        best = max(best, _snr(sums, int(np.argmax(sums.sum(axis=0)))))
    if best < CHANCE_SNR:
        return 0.0
    trials = 2.0 * len(WIDTHS) / max(fold.width, 1.0 / fold.profile.size)
    return float(sigma_from_logp(correct_trials(logp_from_sigma(best), trials)))


def pulse_snr(fold: Fold, left: NDArray[np.float64], use: NDArray[np.bool_]) -> float:
    """S/N by some harmonics of the pulse of a fold: where all of them show it, so that noise alone has 0 +- 1.

    Parameters
    ----------
    fold, left, use
        As of `pulse_sigma`.
    """
    parts, noise = harmonics(fold)
    if not use[: parts.shape[1]].any() or len(parts) < 2:
        return 0.0
    whole = _sums(parts, noise, np.zeros(len(use)), np.ones(len(use), dtype=np.bool_), fold.width)
    return _snr(_sums(parts, noise, left, use, fold.width), int(np.argmax(whole.sum(axis=0))))


def _sums(
    parts: NDArray[np.complex128],
    noise: NDArray[np.float64],
    left: NDArray[np.float64],
    use: NDArray[np.bool_],
    width: float,
) -> NDArray[np.float64]:
    """Matched sums of the harmonics of each part for pulses all over the turn, shape (nparts, nplaces).

    In noise, and what others leave in the mean, their sum over the root of the number of parts has a deviation of 1.
    """
    nharm = min(len(use), parts.shape[1])
    number, variance = np.arange(1, nharm + 1), noise[:nharm] + left[:nharm]
    # The full width at half maximum of a Gaussian is 2 sqrt(2 ln 2) of its deviation.
    shape = use[:nharm] * np.exp(-((np.pi * number * width) ** 2) / (4.0 * np.log(2.0)))
    places = 2 * PHASES * (nharm + 1)
    spectra = np.zeros((len(parts), places // 2 + 1), dtype=np.complex128)
    spectra[:, 1 : nharm + 1] = parts[:, :nharm] * shape / (variance * np.sqrt(2.0 * np.sum(shape**2 / variance)))
    return np.asarray(np.fft.irfft(spectra, places, axis=1) * places)


def _snr(sums: NDArray[np.float64], place: int) -> float:
    """S/N of a pulse: those that vary, or stand in a few parts, scatter more than their harmonics alone do."""
    each = sums[:, place]
    return float(each.sum() / np.sqrt(len(each)) / max(float(each.std(ddof=1)), 1.0))
