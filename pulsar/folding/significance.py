"""How sure a refined fold is, given all that its S/N is the best of."""

from typing import Final

import numpy as np

from pulsar.constants import C
from pulsar.data.fold import Fold
from pulsar.folding.refine import MOST_ACCEL
from pulsar.searches.stats import correct_trials, logp_from_sigma, sigma_from_logp

#: Significance, corrected for trials, below which a fold of a given period shows nothing: 1 of 740 folds of noise
#: reaches it.
DETECTED: Final = 3.0
# Independent trials for each unit of S/N, as maxima over a smooth field have: phase and width (for each bin),
# frequency, DM, derivative (for each step of the plane). Measured on 800 folds of noise, 128 bins, periods of 4 to 6 ms
# and of 0.1 to 1 s, refined in all combinations: what 10 % and 3 % of them exceed agrees within a factor of 1.4 but for
# periods of milliseconds refined in frequency only, of which it takes 1.8 times as many trials as there are.
_BOX: Final = 2.5
_FREQ: Final = 10.0
_DM: Final = 0.75
_FDOT: Final = 0.04


def ntrials(fold: Fold, snr: float, *, refined: bool) -> float:
    """Independent trials that a S/N of a fold is the best of.

    Parameters
    ----------
    fold : Fold
    snr : float
        The trials grow with it: the higher the threshold, the narrower the peaks of noise that reach it.
    refined : bool
        Frequency, derivative and DM were searched too; otherwise phase and width only.
    """
    height = max(snr, 1.0)
    count = float(fold.extra.get("nbins", fold.profile.size)) * _BOX * height
    if not refined:
        return count
    if fold.freq_offsets.size > 1:
        count *= max(_FREQ * height, 1.0)
    if fold.dms.size > 1:
        count *= max(_DM * height, 1.0)
    if fold.fdot_offsets.size > 1:
        span = min(float(np.ptp(fold.fdot_offsets)), 2.0 * MOST_ACCEL / C * fold.before.freq)
        count *= 1.0 + _FDOT * height * span / float(fold.fdot_offsets[1] - fold.fdot_offsets[0])
    return count


def fold_sigma(fold: Fold) -> float:
    """Significance of a fold of a given period [sigma], corrected for the trials of its refinement.

    It is that of the better of two S/N, for which it is corrected too: as asked for, the best of all phases and widths,
    and refined, the best of all frequencies, derivatives and DMs as well.
    """
    best = 0.0
    for snr, refined in ((float(fold.extra.get("snr_before", np.nan)), False), (fold.snr, True)):
        if np.isfinite(snr):
            logp = float(correct_trials(logp_from_sigma(snr), 2.0 * ntrials(fold, snr, refined=refined)))
            best = min(best, logp)
    return float(sigma_from_logp(best)) if best < 0.0 else -np.inf
