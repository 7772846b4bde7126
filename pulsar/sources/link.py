"""Single pulses that belong to candidates, and folds that show nothing but one or two pulses."""

from collections.abc import Sequence

import numpy as np
from scipy.special import bdtrc

from pulsar.data.fold import Fold
from pulsar.sources.candidate import AGREE, MAX_CHANCE, RARE, Candidate
from pulsar.sources.steady import repeats
from pulsar_kernels.arrays import Array, Bools, Floats, Ints

#: Added on either side of the pulse in which single ones are looked for [turns]: they wander.
PHASE_MARGIN = 0.02
#: A fold with no more than this times the S/N that a pulse in its phase gives it is nothing but that pulse (noise and
#: the choice of the best period add up to a half; of pulsars that have met a pulse by chance it is 4 or more),
#: unless beside the two that some period fits others are in its phase, too, which chance puts there rarely.
ONE_PULSE = 2.0


def owners(pulses: Array, candidates: Sequence[Candidate]) -> Ints:
    """Candidate that each single pulse is of: those in its phase, of which there are more than chance puts there.

    Best candidate first. Of the pulses at its DM enough must lie inside its profile's pulse that chance would put them
    there once in 1 / MAX_CHANCE.

    Parameters
    ----------
    pulses : ndarray
        Fields of SINGLE_PULSE_COLUMNS.
    candidates : sequence of Candidate
        Best first.

    Returns
    -------
    ndarray of int64, shape (npulses,)
        Place of the candidate, or -1.
    """
    owner = np.full(len(pulses), -1)
    for i, one in enumerate(candidates):
        if one.fold is None or one.parent:
            continue
        near, inside, chances = _in_phase(pulses, one.fold, owner < 0)
        count = int(np.count_nonzero(inside))
        if count > 1 and chance_of(count, chances) < MAX_CHANCE:
            owner[near[inside]] = i
    return owner


def turns_of(pulses: Array, fold: Fold) -> int:
    """Turns of a fold in which some pulses in its phase are: one may have several, its components.

    Parameters
    ----------
    pulses : ndarray
        Fields of SINGLE_PULSE_COLUMNS.
    """
    return int(np.unique(np.round(phases(fold, pulses["time"]) - fold.phase)).size)


def chance_of(count: int, chances: Floats) -> float:
    """Chance that so many or more of some independent events happen.

    Parameters
    ----------
    chances : ndarray
        Of each. The sum of many is taken as if all were as likely as their mean, which gives no less for counts beyond
        it (Hoeffding 1956, Ann. Math. Stat. 27, 713).
    """
    alike = float(bdtrc(count - 1, chances.size, float(np.mean(chances)))) if chances.size else 0.0
    if alike < MAX_CHANCE:
        return alike
    numbers = np.ones(1)
    for one in chances:
        numbers = np.convolve(numbers, [1.0 - one, one])
    return float(numbers[count:].sum())


def flags_by_pulses(pulses: Array, fold: Fold) -> tuple[str, ...]:
    """Flags that the single pulses of a run give a fold."""
    flags = []
    if is_one_pulse(pulses, fold):
        flags.append("one pulse")
    return tuple(flags)


def is_one_pulse(pulses: Array, fold: Fold) -> bool:
    """True if a fold shows nothing but one or two strong pulses, which have many a period.

    A pulse of S/N s in one of n turns gives the fold s / sqrt(n). Of any two pulses there is a period that has both in
    its phase, and others come there by chance.

    Parameters
    ----------
    pulses : ndarray
        Fields of SINGLE_PULSE_COLUMNS.
    """
    near, inside, chances = _in_phase(pulses, fold, np.ones(len(pulses), dtype=np.bool_))
    snr = pulses["snr"][near[inside]]
    turns = max(fold.tobs * fold.after.freq, 1.0)
    if not snr.size or fold.snr > ONE_PULSE * snr.max() / np.sqrt(turns):
        return False
    strongest = np.flatnonzero(inside)[np.argsort(-snr)[:2]]
    if snr.size > 2 and chance_of(snr.size - 2, np.delete(chances, strongest)) < RARE:
        return False
    # Of too few turns this is not known.
    return not repeats(fold) > AGREE


def _in_phase(pulses: Array, fold: Fold, free: Bools) -> tuple[Ints, Bools, Floats]:
    """Pulses at the DM of a fold, which of them come in its phase, and the chance of each to do so."""
    error = np.hypot(np.nan_to_num(pulses["dm_err"]), np.nan_to_num(fold.dm_err))
    near = free & (np.abs(pulses["dm"] - fold.after.dm) <= AGREE * error)
    if fold.part:
        # What it does elsewhere is not known.
        near &= (pulses["time"] >= fold.start) & (pulses["time"] < fold.start + fold.tobs)
    near = np.flatnonzero(near)
    late = phases(fold, pulses["time"][near]) - fold.phase
    late -= np.round(late)
    window = 0.5 * (fold.width + pulses["width"][near] * fold.after.freq) + PHASE_MARGIN
    return near, np.abs(late) <= window, np.minimum(2.0 * window, 1.0)


def phases(fold: Fold, times: Floats) -> Floats:
    """Phase of a fold [turns] at times from the start of the observation [s]."""
    return np.asarray(fold.after.turns(times - fold.start - 0.5 * fold.tobs), dtype=np.float64)
