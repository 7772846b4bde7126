"""Verdicts on single pulses: dispersed or not, widths at their limit, storms; candidates that they are of; order."""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from scipy.special import bdtrc, pdtrc

from pulsar.constants import LEAST_DM
from pulsar.data.flags import DOUBTFUL, RFI, weight
from pulsar.data.fold import Fold
from pulsar.sources.candidate import AGREE, MAX_CHANCE, POSSIBLE, RARE, Candidate
from pulsar.sources.steady import repeats
from pulsar_kernels.arrays import Array, Bools, Floats, Ints

#: A pulse of this part of the widest filter or more may as well be a piece of something longer: the level of the data.
AT_LIMIT: Final = 0.9
#: DM 0 is not excluded where the S/N that is left there is this part of the pulse's own, or differs as noise may.
SAME: Final = 0.9
#: Fewest events of a storm. Noise makes one in 30,000 runs, and sources of single pulses have one DM each.
STORM: Final = 12
#: In a single series, where no DM tells, a storm is this long [s].
CLUMP: Final = 1.0
#: What a source of interference makes comes in numbers, what the sky makes and is flagged for it does not: of 3,073
#: pulses flagged so in benchmarks/population.py and zoo.py survey 94 are real, 0.2 to 0.4 a file however many there
#: are. More than so many, within so many seconds on either side, share what would be the score of as few.
ALIKE_FLAGS: Final = ("dm0", "narrow-band", "sweep")
FEW: Final = 3
AROUND: Final = 30.0


def add_flag(table: Array, rows: Bools, name: str) -> None:
    """Add a flag to some rows, once.

    Parameters
    ----------
    table : ndarray
        With `rfi_flags`; changed.
    """
    for i in np.flatnonzero(rows):
        flags = [flag for flag in str(table["rfi_flags"][i]).split(",") if flag]
        if name not in flags:
            table["rfi_flags"][i] = ",".join([*flags, name])


def judge(table: Array, at_zero: Floats, at_end: Bools, width_max: float, *, dms: Floats) -> None:
    """Lower the score of what may as well be undispersed, or of the level; flag the first, and widths at their limit.

    The score comes from the clustering: how well the S/N at all DMs agree with those of a dispersed pulse (Cordes &
    McLaughlin 2003). A wide pulse of small DM has the same S/N at all of them whatever it is: for it the share of
    (S/N)^2 that goes when it is not dedispersed tells.

    Parameters
    ----------
    table : ndarray
        Fields of SINGLE_PULSE_COLUMNS; `score` and `rfi_flags` are changed.
    at_zero : ndarray
        S/N of each at the lowest DM, what is expected there where it was not seen.
    at_end : ndarray of bool
        Whether the level at the end of the data may have made it.
    width_max : float
        Widest filter [s].
    dms : ndarray
        Trial DMs. If the lowest is not 0 nothing is known of DM 0, and if there is one nothing of any.
    """
    if dms.size == 1:
        table["score"] *= DOUBTFUL
    elif dms[0] < 1.0:
        snr = table["snr"].astype(np.float64)
        lost = np.maximum(snr**2 - at_zero**2, 0.0)
        unsure = (at_zero > SAME * snr) | (lost < POSSIBLE**2)
        free = np.char.find(table["rfi_flags"], "dm0") < 0
        table["score"] *= np.where(free & unsure, DOUBTFUL, 1.0)
        # Nothing on the sky has so small a DM, and this one may as well have none.
        add_flag(table, free & unsure & (table["dm"] - np.nan_to_num(table["dm_err"]) < LEAST_DM), "dm0")
    wide = table["width"] >= AT_LIMIT * width_max
    table["score"] *= np.where(at_end, RFI, np.where(wide, DOUBTFUL, 1.0))
    add_flag(table, wide, "width limit")


def of_one_dm(table: Array, groups: Iterable[Ints], dms: Floats) -> Bools:
    """Pulses of which more have the same DM than by chance.

    Parameters
    ----------
    table : ndarray
        Fields of SINGLE_PULSE_COLUMNS.
    groups : iterable of ndarray
        Rows of pulses whose DMs agree.
    dms : ndarray
        Trial DMs [pc cm^-3].
    """
    out = np.zeros(len(table), dtype=np.bool_)
    groups = list(groups)
    if dms.size < 2:
        return out
    for rows in groups:
        if rows.size < 3:
            continue
        lo, hi = float(table["dm"][rows].min()), float(table["dm"][rows].max())
        error = 3.0 * float(np.median(np.nan_to_num(table["dm_err"][rows])))
        trials = np.count_nonzero((dms >= lo - error) & (dms <= hi + error))
        expected = (len(table) - rows.size) * max(int(trials), 1) / dms.size
        if pdtrc(rows.size - 1, expected) * len(groups) < MAX_CHANCE:
            out[rows] = True
    return out


def storm(table: Array, dispersed: Bools, spared: Bools, threshold: float, *, dms: int) -> Ints:
    """Rows that are a storm: many weak events at any DM, none of which can be shown to be a dispersed pulse.

    What is left of periodic interference, or a level that jumps, makes hundreds of them. Their S/N fall off from the
    threshold on as an exponential; what is too strong for its best is no part of it.

    Parameters
    ----------
    table : ndarray
        Fields of SINGLE_PULSE_COLUMNS.
    dispersed : ndarray of bool
        Pulses whose S/N at many DMs follow those of a dispersed pulse.
    spared : ndarray of bool
        Pulses of one source: of one DM, or with a period.
    threshold : float
        S/N from which there are events.
    dms : int
        Trial DMs. With a single one only what comes within CLUMP seconds, far more often than otherwise, is a storm.

    Returns
    -------
    ndarray of int64
        The strongest first; empty if there is none.
    """
    rows = np.flatnonzero((table["rfi_flags"] == "") & ~dispersed & ~spared)
    if dms == 1 and rows.size >= STORM:
        times = np.sort(table["time"][rows])
        window = np.searchsorted(times, times + CLUMP) - np.arange(times.size)
        usual = np.quantile(window, 0.25)
        starts = times[(window >= STORM) & (window > 4.0 * usual)]
        near = np.array([bool(np.any((t >= starts) & (t <= starts + CLUMP))) for t in table["time"][rows]])
        rows = rows[near]
    # The threshold of exceeding by chance falls as members leave: until it stands.
    while rows.size >= STORM:
        over = table["snr"][rows] - threshold
        limit = float(np.mean(np.minimum(over, 3.0 * np.median(over)))) * (np.log(rows.size) - np.log(RARE))
        if not (over > limit).any():
            return rows[np.argsort(-table["snr"][rows], kind="stable")]
        rows = rows[over <= limit]
    return rows[:0]


def merge_storm(table: Array, rows: Ints) -> Array:
    """The table with one flagged row for a storm, its strongest; `ndetections` counts the events of all.

    Parameters
    ----------
    table : ndarray
        Fields of SINGLE_PULSE_COLUMNS.
    rows : ndarray of int64
        From `storm`.

    Returns
    -------
    ndarray
        A copy.
    """
    out = table.copy()
    keep = np.ones(len(table), dtype=np.bool_)
    if rows.size:
        best = rows[0]
        out["ndetections"][best] = int(table["ndetections"][rows].sum())
        out["score"][best] *= weight(("storm",))
        add_flag(out, np.arange(len(out)) == best, "storm")
        keep[rows[1:]] = False
    return np.asarray(out[keep])


def lower_what_comes_in_numbers(table: Array) -> None:
    """The score of flagged pulses, taken times FEW over the number of their kind within AROUND seconds.

    Parameters
    ----------
    table : ndarray
        Fields of SINGLE_PULSE_COLUMNS; `score` is changed. Pulses of a candidate are not counted.
    """
    flags = [str(text).split(",") for text in table["rfi_flags"]]
    factor = np.ones(len(table))
    for name in ALIKE_FLAGS:
        rows = np.flatnonzero(np.array([name in text for text in flags], dtype=np.bool_) & (table["source"] == ""))
        times = np.sort(table["time"][rows])
        when = table["time"][rows]
        count = np.searchsorted(times, when + AROUND, "right") - np.searchsorted(times, when - AROUND, "left")
        factor[rows] = np.minimum(factor[rows], FEW / np.maximum(count, FEW))
    table["score"] *= factor


def in_order(table: Array) -> Array:
    """The table, best first: by the significance of each times its score; `rank` is given anew.

    Parameters
    ----------
    table : ndarray
        Fields of SINGLE_PULSE_COLUMNS.

    Returns
    -------
    ndarray
        A copy.
    """
    out = table[np.argsort(-(table["sigma"] * table["score"]), kind="stable")].copy()
    out["rank"] = np.arange(1, len(out) + 1)
    return np.asarray(out)


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
    for i, candidate in enumerate(candidates):
        if candidate.fold is None or candidate.parent:
            continue
        near, inside, chances = _in_phase(pulses, candidate.fold, owner < 0)
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
    for chance in chances:
        numbers = np.convolve(numbers, [1.0 - chance, chance])
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
