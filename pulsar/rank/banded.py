"""Whether two folds are of one DM, by what they show in the subbands, whatever DMs they have been refined to.

A refined DM is that at which a pulse of one shape in all bands has most S/N. The tail of a scattered pulse is longer at
low frequencies and delays the upper harmonics less, and a channel that dispersion smears over more than a turn of a
harmonic shows that upside down: harmonics of a bright pulsar, and its folds in which noise has put other weights on
them, have other DMs than it has, by many of their errors. But each harmonic has the same phases in the bands of both.

So has any other source that happens to be at such a frequency, as both folds are of the same data. It may be told by
its DM, where that is farther off than the shape of a pulse explains, and by its strength.
"""

import numpy as np

from pulsar.constants import KDM
from pulsar.data.fold import Fold
from pulsar.rank.one_pulse import CHANCE_SNR
from pulsar.searches import stats

#: DMs that are tried on each side, and how much farther than the two they reach.
SIDE = 40
REACH = 1.5
#: Squared S/N falls by so much within four errors.
WITHIN = 16.0
#: Turns over the band that a DM takes from a harmonic at most where nothing but its shape has given another: a tail
#: delays it by up to a quarter of a turn, channels smeared over more than a turn by half of one; a step of half a turn
#: is best met by a slope of three quarters.
TURNS = 0.75
#: Part of a fold's power that must be in harmonics that have the phases of the other.
PART = 0.5


def of_one_dm(one: Fold, owner: Fold, multiple: int, divisor: int, nharm: int) -> bool:
    """Whether the harmonics of a fold have in the bands the phases that another has there.

    They are compared harmonic by harmonic, of any amplitude and phase as a whole, with the bands of one turned as for
    other DMs. Of one source they agree best where both are at one DM: within four errors, by the S/N that they have.

    Parameters
    ----------
    one, owner : Fold
        Refined.
    multiple, divisor : int
        The frequency of `one` is so much of that of `owner`.
    nharm : int
        Harmonics that the pulse of `one` has.

    Returns
    -------
    bool
        False where there are fewer than two bands, or other ones; where less than half of the power of `one`, or no
        more than noise has, can be compared; and where it has more than half of what `owner` has there, at a DM
        that is farther off than the shape of a pulse explains.
    """
    theirs = np.fft.rfft(owner.freq_phase.astype(np.float64), axis=1)[:, :-1]
    own = np.fft.rfft(one.freq_phase.astype(np.float64), axis=1)[:, :-1]
    count = min((theirs.shape[1] - 1) // multiple, min(own.shape[1] - 1, nharm) // divisor)
    if len(own) < 2 or len(own) != len(theirs) or count < 1:
        return False
    k = np.arange(1, count + 1)
    theirs, number = theirs[:, multiple * k], divisor * k
    both = np.conj(theirs) * own[:, number]
    away = owner.after.dm - one.after.dm
    offsets = np.append(np.linspace(-REACH, REACH, 2 * SIDE + 1) * abs(away), away)
    late = one.after.freq * offsets[:, None] * KDM * (one.band_freqs**-2.0 - one.band_freqs.max() ** -2.0)
    sums = np.einsum("bk,dbk->dk", both, np.exp(2j * np.pi * late[..., None] * number))
    weight = np.maximum(np.sum(np.abs(theirs) ** 2, axis=0), 1e-300)
    # Squared S/N: twice what a harmonic has beyond noise, in which it is nbins.
    found = 2.0 * np.sum(np.abs(sums) ** 2 / weight / one.freq_phase.shape[1] - 1.0, axis=1)
    there = float(found[-1])
    if there < PART * one.snr**2 or found.max() - there > WITHIN:
        return False
    # The data of two folds at such frequencies are the same, whatever they hold. Farther off than its shape explains, a
    # strong pulsar leaves less than it has.
    powers = np.abs(sums[-1]) ** 2 / weight
    if float(np.ptp(late[-1])) * number[int(np.argmax(powers))] > TURNS:
        has = 2.0 * np.sum(np.abs(theirs.sum(axis=0)) ** 2 / (len(theirs) * owner.freq_phase.shape[1]) - 1.0)
        if one.snr**2 > PART * has:
            return False
    return float(stats.sigma_from_logp(stats.chi2_logsf(there + 2.0 * count, 2.0 * count))) > CHANCE_SNR
