"""Rows of a list and single pulses against the truth of a random sky: which of them are its pulsars and bursts.

What counts as detected, listed, flagged, a duplicate and false is defined in population.py. A candidate is real if it
is the first row that is a pulsar (:func:`whose` at 1/1); second rows and multiples are not. A pulse is real if its
time, DM and width are those of a burst, or those of a turn of a pulsar, and it is no stronger than that can be.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from population_sky import Sky, Truth

#: A row is the pulsar's when their phases part by no more than this over the observation [turns].
TURNS = 0.3
#: Ratios at which a detection, and a row, can be the pulsar's.
DETECTED_RATIOS = ((1, 1), *((m, 1) for m in range(2, 9)), (1, 2), (1, 3), (2, 3), (3, 2))
ROW_RATIO = 16
#: A search cannot find a pulsar at more than its S/N, the noise that comes with it, and the gain of the best trial.
MOST_ABOVE = 3.0
#: A pulse may be off by so many errors of its DM, or so many widths over half of the band ...
DM_ERRORS = 4.0
BAND_WIDTHS = 1.5
#: ... and in time by so many widths beyond what that shifts it.
TIME_WIDTHS = 1.5
#: Its box is no more than so many times wider or narrower than it.
WIDTHS = 3.0
#: It is no more than so many times as strong, and so many sigma, as the strongest turn of a pulsar is expected to be.
STRONGER = 1.5
ABOVE = 2.0


@dataclass
class Fate:
    """A pulsar of a sky, and what detections and list have of it."""

    truth: dict[str, Any]
    detected: float = float("-inf")  # best corrected sigma of a detection that is its
    detected_how: str = ""
    fundamental: float = float("-inf")  # the same at its own frequency
    rows: int = 0  # rows without a flag that are it
    flagged_rows: int = 0
    rank: int = 0
    score: float = float("nan")
    snr: float = float("nan")
    turns: float = float("nan")
    flags: str = ""
    duplicates: list[str] = field(default_factory=list)
    #: The DM over its error, by the pulse's width and S/N: where small, nothing tells it from DM 0.
    dm_sigma: float = float("nan")
    nearest: list[str] = field(default_factory=list)
    false_above: int = 0
    high_passed: float = float("nan")
    #: Chance of a detection that would pass for its own, where it is not listed.
    chance: float = 0.0

    @property
    def listed(self) -> bool:
        """On the list as its fundamental, flagged or not."""
        return self.rows + self.flagged_rows > 0

    @property
    def once(self) -> bool:
        """On the list as its fundamental, once (a flagged one counts, if it is alone)."""
        return self.rows == 1 or (self.rows == 0 and self.flagged_rows == 1)


def simple_ratios(most: int) -> list[tuple[int, int]]:
    """Ratios m/d in lowest terms, simplest first."""
    ratios = [(m, d) for m in range(1, most + 1) for d in range(1, most + 1) if np.gcd(m, d) == 1]
    return sorted(ratios, key=lambda r: (r[0] * r[1], r))


RATIOS = np.array(simple_ratios(ROW_RATIO))


def width_in_dm(truth: Truth, observed: Sky) -> float:
    """The DM that shifts the ends of the band by the pulse's width."""
    return truth.width * truth.period / float(np.ptp(observed.delays))


def dm_tolerance(truth: Truth, observed: Sky) -> float:
    """DMs that differ by less are one; a tail of scattering is later at the low end of the band, as a higher DM is."""
    tail = truth.scatter * truth.period * float(np.ptp((observed.freqs / np.median(observed.freqs)) ** -4.0))
    return max(1.0, width_in_dm(truth, observed)) + tail / float(np.ptp(observed.delays))


def whose(
    freq: float, dm: float, observed: Sky, bins: float, dm_err: float = 0.0
) -> tuple[int, tuple[int, int]] | None:
    """The pulsar to which a frequency and DM have the simplest ratio, and the ratio; of two the nearer in DM.

    Parameters
    ----------
    freq, dm : float
    observed : Sky
    bins : float
        Tolerance in bins of 1/length, TURNS at most but at the ratio 1, where it is TURNS at least.
    dm_err : float
    """
    fits = []
    for number, truth in enumerate(observed.pulsars):
        if abs(dm - truth.dm) > max(dm_tolerance(truth, observed), 3 * dm_err):
            continue
        off = abs(freq - truth.freq * RATIOS[:, 0] / RATIOS[:, 1]) * observed.tobs
        allowed = np.full(len(RATIOS), min(bins, TURNS))
        allowed[0] = TURNS
        for at in np.flatnonzero(off < allowed)[:1]:
            m, d = (int(n) for n in RATIOS[at])
            fits.append((m * d, abs(dm - truth.dm), number, (m, d)))
    if not fits:
        return None
    _, _, number, ratio = min(fits)
    return number, ratio


def words(row: np.void) -> str:
    """A row of the list in a few words."""
    text = (
        f"#{row['rank']} P {row['period']:.7g} DM {row['dm']:.1f} S/N {row['snr']:.1f} sigma {row['sigma']:.1f} "
        f"score {row['score']:.2f} by {row['found_by']}"
    )
    text += f" [{row['rfi_flags']}]" if row["rfi_flags"] else ""
    return text + (f" harmonic of {row['harmonic_of']}" if row["harmonic_of"] else "")


def row_bins(row: np.void, observed: Sky) -> float:
    """How well a row's frequency is known [bins of 1/length]."""
    error = row["period_err"] * row["freq"] ** 2 * observed.tobs
    return 0.05 + (3 * float(error) if np.isfinite(error) else 0.0)


def judge(rows: NDArray[Any], detections: NDArray[Any], observed: Sky) -> tuple[list[Fate], list[str], float]:
    """What became of each pulsar; the false rows in words; how many duplicates are to be expected by chance.

    Parameters
    ----------
    rows, detections : structured arrays
        The candidates and the detections of the product.
    observed : Sky
    """
    fates = [Fate(asdict(truth)) for truth in observed.pulsars]
    for number, truth in enumerate(observed.pulsars):
        fates[number].dm_sigma = truth.dm / width_in_dm(truth, observed) * truth.snr
        judge_detections(detections, number, observed, fates[number])
    rng = np.random.default_rng(observed.seed)
    false: list[tuple[int, str]] = []
    chance = 0.0
    own: dict[int, list[np.void]] = {n: [] for n in range(len(fates))}
    for row in np.sort(rows, order="rank"):
        if row["harmonic_of"]:
            continue
        bins = row_bins(row, observed)
        at = whose(row["freq"], row["dm"], observed, bins, row["dm_err"])
        if at is not None and at[1] == (1, 1):
            own[at[0]].append(row)
            continue
        if row["rfi_flags"]:
            continue
        if at is not None:
            fates[at[0]].duplicates.append(f"{at[1][0]}/{at[1][1]}: {words(row)}")
        else:
            false.append((int(row["rank"]), words(row)))
        steps = rng.uniform(1.0, 10.0, 100) * rng.choice([-1.0, 1.0], 100) / observed.tobs
        moved = [whose(f, row["dm"], observed, bins, row["dm_err"]) for f in np.abs(row["freq"] + steps)]
        chance += float(np.mean([m is not None for m in moved]))
    for number, fate in enumerate(fates):
        plain = [row for row in own[number] if not row["rfi_flags"]]
        fate.rows, fate.flagged_rows = len(plain), len(own[number]) - len(plain)
        fate.duplicates += [f"again: {words(row)}" for row in plain[1:]]
        if own[number]:
            best = (plain or own[number])[0]
            fate.rank, fate.score, fate.snr = int(best["rank"]), float(best["score"]), float(best["snr"])
            fate.flags = str(best["rfi_flags"])
            fate.turns = float((best["freq"] - observed.pulsars[number].freq) * observed.tobs)
            fate.false_above = sum(rank < fate.rank for rank, _ in false)
        else:
            fate.nearest = nearest(rows, observed.pulsars[number], observed)
            fate.chance = chance_of_detection(detections, number, observed)
    return fates, [text for _, text in false], chance


def scored(rows: NDArray[Any], pulses: NDArray[Any], observed: Sky) -> tuple[list[tuple[float, bool]], ...]:
    """Scores of candidates that belong to no other and of pulses that belong to none, and which of them are real."""
    seen: set[int] = set()
    own = []
    for row in np.sort(rows[rows["harmonic_of"] == ""], order="rank"):
        at = whose(row["freq"], row["dm"], observed, row_bins(row, observed), row["dm_err"])
        real = at is not None and at[1] == (1, 1) and at[0] not in seen
        if at is not None and real:
            seen.add(at[0])
        own.append((float(row["score"]), real))
    shown = pulses[pulses["source"] == ""]
    real_ones = real_pulses(shown, observed)
    return own, [(float(score), bool(real)) for score, real in zip(shown["score"], real_ones, strict=True)]


def judge_detections(detections: NDArray[Any], number: int, observed: Sky, fate: Fate) -> None:
    """The best detection that is the pulsar's, and the best one at its own frequency."""
    truth = observed.pulsars[number]
    tolerance = dm_tolerance(truth, observed)
    for m, d in DETECTED_RATIOS:
        there = detections[np.abs(detections["freq"] - truth.freq * m / d) * observed.tobs < 0.5]
        for kind in np.unique(there["kind"]):
            same = there[there["kind"] == kind]
            near = np.abs(same["dm"] - truth.dm) <= tolerance
            ring = ~near & (np.abs(same["dm"] - truth.dm) <= 3 * tolerance)
            if not near.any():
                continue
            best = np.sort(same[near], order="sigma")[-1]
            beyond = float(same["sigma"][ring].max()) if ring.any() else float("-inf")
            sigma = float(best["sigma"])
            if beyond > sigma or best["sigma_single"] > truth.snr + MOST_ABOVE:
                continue
            if (m, d) != (1, 1) and best["dm"] < 0.3 * truth.dm:
                continue  # wide slow pulses reach DM 0, and so does everything there
            if (m, d) == (1, 1):
                fate.fundamental = max(fate.fundamental, sigma)
            at = whose(best["freq"], best["dm"], observed, TURNS)
            of_another = at is not None and at[0] != number and at[1][0] * at[1][1] < m * d
            if sigma > fate.detected and not of_another:
                fate.detected = sigma
                fate.detected_how = f"{kind} at {m}/{d}, DM {best['dm']:.1f}"


def chance_of_detection(detections: NDArray[Any], number: int, observed: Sky) -> float:
    """How often a frequency beside a pulsar's has a detection that would pass for its own."""
    truth = observed.pulsars[number]
    hits = 0
    steps = np.concatenate([np.arange(-20, -1), np.arange(2, 21)]) / observed.tobs
    steps = steps[truth.freq + steps > 2.0 / observed.tobs]
    for step in steps:
        moved = list(observed.pulsars)
        moved[number] = replace(truth, period=1.0 / (truth.freq + step))
        fate = Fate(asdict(truth))
        judge_detections(detections, number, replace(observed, pulsars=tuple(moved)), fate)
        hits += bool(np.isfinite(fate.detected))
    return hits / len(steps)


def nearest(rows: NDArray[Any], truth: Truth, observed: Sky) -> list[str]:
    """The rows, attached ones too, at a simple ratio of a pulsar whatever their DM, the simplest first."""
    texts = []
    for m, d in simple_ratios(ROW_RATIO):
        off = np.abs(rows["freq"] - truth.freq * m / d) * observed.tobs
        for row in rows[off < 1.5]:
            bins = (row["freq"] - truth.freq * m / d) * observed.tobs
            texts.append(f"{m}/{d} {bins:+.2f} bins: {words(row)}")
    return texts[:6]


def same_pulse(
    rows: NDArray[Any], times: NDArray[np.float64], dm: float, width: float, observed: Sky
) -> NDArray[np.bool_]:
    """Rows that are a pulse of this DM and width at one of these times.

    Parameters
    ----------
    rows : structured array
        Single pulses of the product.
    times : ndarray
        At the highest channel [s].
    dm, width : float
        The width [s] at half maximum.
    observed : Sky
    """
    wide = np.maximum(np.hypot(width, observed.tsamp), rows["width"])
    sweep = float(np.ptp(observed.delays))
    allowed = np.maximum(DM_ERRORS * np.nan_to_num(rows["dm_err"]), BAND_WIDTHS * wide / sweep)
    # Seen at too high a DM a pulse seems to come earlier at the highest channel, about the middle of the band.
    middle = float(np.median(observed.delays))
    expected = np.asarray(times)[None, :] + ((dm - rows["dm"]) * middle)[:, None]
    off = np.abs(rows["time"][:, None] - expected).min(axis=1, initial=np.inf)
    close = np.abs(rows["dm"] - dm) <= allowed
    own = np.hypot(width, observed.tsamp)
    close &= (rows["width"] <= WIDTHS * own) & (rows["width"] >= own / WIDTHS)
    return np.asarray(close & (off <= TIME_WIDTHS * wide + allowed * middle))


def real_pulses(rows: NDArray[Any], observed: Sky) -> NDArray[np.bool_]:
    """Single pulses that are a burst or a turn of a pulsar."""
    real = np.zeros(len(rows), dtype=np.bool_)
    for burst in observed.bursts:
        real |= same_pulse(rows, np.array([burst.time]), burst.dm, burst.width, observed)
    for pulsar in observed.pulsars:
        # The middle of a pulse is at phase 0.5.
        first = (0.5 - pulsar.phase) * pulsar.period
        turns = first + pulsar.period * np.arange(-1, int(observed.tobs / pulsar.period) + 2)
        # The logarithms of their heights are Gaussian; so is the highest of n at about sqrt(2 ln n).
        number = observed.tobs / pulsar.period
        most = pulsar.snr / np.sqrt(number) * np.exp(pulsar.modulation * np.sqrt(2.0 * np.log(number)))
        able = rows["snr"] <= STRONGER * most + ABOVE
        real |= able & same_pulse(rows, turns, pulsar.dm, pulsar.width * pulsar.period, observed)
    return real


def found_bursts(rows: NDArray[Any], observed: Sky) -> list[dict[str, Any]]:
    """What became of each burst: its rows without and with a flag, its best rank, score and S/N."""
    fates = []
    for burst in observed.bursts:
        own = np.sort(rows[same_pulse(rows, np.array([burst.time]), burst.dm, burst.width, observed)], order="rank")
        plain = own[own["rfi_flags"] == ""]
        best = plain[0] if len(plain) else own[0] if len(own) else None
        fates.append(
            {
                "name": burst.name,
                "snr": burst.snr,
                "dm": burst.dm,
                "width": burst.width,
                "rows": len(plain),
                "flagged": len(own) - len(plain),
                "flags": "" if best is None else str(best["rfi_flags"]),
                "rank": 0 if best is None else int(best["rank"]),
                "score": float("nan") if best is None else float(best["score"]),
                "found": float("nan") if best is None else float(best["snr"]),
            }
        )
    return fates
