"""Single pulses of a run: from events at all DMs to the table, the periods of repeating ones, and cut-outs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.data.fold import Fold

#: Pulses and a candidate have the same DM within so many of their common errors.
DM_SIGMA = 4.0
#: So many pulses in its phase have a chance below this to be there by accident.
MAX_CHANCE = 1e-4
#: Added on either side of the pulse in which single ones are looked for [turns]: they wander.
PHASE_MARGIN = 0.02


def link(pulses: NDArray[Any], candidates: NDArray[Any], folds: Mapping[str, Fold]) -> None:
    """Tell which single pulses come in the phase of a folded candidate.

    Fills `source` of the pulses and `npulses` of the candidates, best candidate first. Of the pulses at its DM enough
    must lie inside its profile's pulse that chance would put them there once in 1 / MAX_CHANCE.

    Parameters
    ----------
    pulses : ndarray
        Fields of SINGLE_PULSE_COLUMNS; changed.
    candidates : ndarray
        Fields of CANDIDATE_COLUMNS, best first; changed.
    folds : mapping of str to Fold
        By id of the candidate.
    """
    from scipy.stats import binom

    for row in candidates:
        fold = folds.get(str(row["id"]))
        if fold is None or row["harmonic_of"]:
            continue
        error = np.hypot(np.nan_to_num(pulses["dm_err"]), np.nan_to_num(row["dm_err"]))
        near = np.flatnonzero((pulses["source"] == "") & (np.abs(pulses["dm"] - row["dm"]) <= DM_SIGMA * error))
        if near.size < 2:
            continue
        late = phases(fold, pulses["time"][near]) - fold.phase
        late -= np.round(late)
        window = 0.5 * (fold.width + pulses["width"][near] * fold.after.freq) + PHASE_MARGIN
        inside = np.abs(late) <= window
        chance = min(2.0 * float(np.mean(window)), 1.0)
        count = int(np.count_nonzero(inside))
        if count and binom.sf(count - 1, near.size, chance) < MAX_CHANCE:
            pulses["source"][near[inside]] = row["id"]
            row["npulses"] = count


def phases(fold: Fold, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Phase of a fold [turns] at times from the start of the observation [s]."""
    t = times - 0.5 * fold.tobs
    after = fold.after
    return np.asarray(t * (after.freq + t * (after.fdot / 2.0 + t * after.fddot / 6.0)), dtype=np.float64)
