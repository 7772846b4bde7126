"""What the list makes of random skies that share no code with our simulator: pulsars found, listed once, and on top.

Each file of `population_sky.py` has six pulsars (S/N 12 to 30 by a matched filter on what is recorded, 2 ms to 5 s,
duty 1.5 to 25 %, DM 5 to 300, several shapes) in clean noise, in drifts of the level, in impulses and narrow bands, in
a hum of the mains, or in all of these. It is searched as a user searches it, over DM 0 to 320, and of every pulsar is
asked:

* detected: a search has a detection above the run's threshold (corrected sigma) within half a bin of 1/length of its
  frequency, of a harmonic up to the eighth, or of 1/2, 1/3, 2/3 or 3/2, which is stronger at the pulsar's DM than at
  those one to three pulse widths away (red noise reaches far from DM 0), no stronger than the pulsar's S/N allows, and
  not at a simpler ratio to another pulsar of the file;
  Of a pulsar that is not listed the chance of such a detection is told: how often there is one at frequencies 2 to 20
  bins beside its own. Where drifts fill the lowest frequencies with detections it is not small. What is lost by physics
  (below) and not listed does not count as detected;
* listed: a row that is attached to no other has its frequency within 0.3 turns over the observation, and its DM within
  the pulse's width over the band (3 errors, 1 pc/cm3, if that is more); once: just one such row without a flag, or just
  one with;
* flagged: its best row has a flag;
* duplicates: unattached rows without a flag at m/d of its frequency (m, d up to 16) within 0.05 turns and 3 errors, at
  its DM, and second rows; "by chance" is how many such there would be if the rows had other frequencies nearby;
* false: unattached rows without a flag that are none of these; counted is a file where one stands above a pulsar.

Of a pulsar that is not listed, how much an ideal high-pass leaves is told: the largest S/N, over windows of a running
mean of 0.05 to 4 turns, that a matched filter of the true period and shape has, in units of its scatter at 60 periods
close by in the same noise, drifts, bursts and other pulsars (those whose pulses vary are noise to it), without impulses
and hum. Below 8 it counts as lost by physics: the threshold of a run is a matched S/N of 6.5 to 7, of which a boxcar
reaches about nine tenths.

Scores are those of rows that a reader is shown. A candidate is real if it is the first row that is a pulsar; second
rows and multiples are not. A pulse is real if its time, DM and width are those of a burst, or of a turn of a pulsar,
and it is no stronger than that can be.

    python benchmarks/population.py --files 34                          # 204 pulsars in each environment
    python benchmarks/population.py --envs red,all --first 300 --files 5 --verbose
    python benchmarks/population.py --envs mains --first 7 --files 1 --keep FOLDER      # file, truth and product
    python benchmarks/population.py --pulsars 1 --bursts 3              # other numbers of them in a file
    python benchmarks/population.py --snr 60 400                        # strong pulsars
"""

import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from population_sky import ENVIRONMENTS, FINE, PER_FILE, SNR, Signal, Sky, Truth, dedispersed, sky, write
from shared import First, Json, Sets, markdown, reliability_table, scratch_folder, words_of

from pulsar.config.load import load_config
from pulsar.run import search

DM_HIGH = 320
#: What an ideal high-pass leaves must reach this, or the pulsar is lost by physics.
PHYSICAL = 8.0
#: Phase bins of the ideal fold.
BINS = 256
WINDOWS = (0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
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

    truth: Truth
    detected: float = float("-inf")  # best corrected sigma of a detection that is its
    detected_how: str = ""
    fundamental: float = float("-inf")  # the same at its own frequency
    rows: int = 0  # rows without a flag that are it
    flagged_rows: int = 0
    rank: int = 0
    score: float = float("nan")
    snr: float = float("nan")
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

    @property
    def story(self) -> str:
        """What became of it in words."""
        text = f"detected {self.detected:.1f} ({self.detected_how or 'nowhere'}), at its own frequency "
        text += f"{self.fundamental:.1f}"
        text += f"; rank {self.rank}, score {self.score:.2f}, S/N {self.snr:.1f}" if self.listed else ""
        text += f" (chance {self.chance:.2f})" if self.chance else ""
        return text + ("" if math.isnan(self.high_passed) else f"; ideal high-pass leaves S/N {self.high_passed:.1f}")


LOWEST_TERMS = [(m, d) for m in range(1, ROW_RATIO + 1) for d in range(1, ROW_RATIO + 1) if math.gcd(m, d) == 1]
#: Ratios m/d, the simplest first.
RATIOS = np.array(sorted(LOWEST_TERMS, key=lambda ratio: (ratio[0] * ratio[1], ratio)))


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
    allowed = np.array([TURNS, *[min(bins, TURNS)] * (len(RATIOS) - 1)])
    for number, truth in enumerate(observed.pulsars):
        if abs(dm - truth.dm) > max(dm_tolerance(truth, observed), 3 * dm_err):
            continue
        off = abs(freq - truth.freq * RATIOS[:, 0] / RATIOS[:, 1]) * observed.tobs
        for m, d in RATIOS[off < allowed][:1].tolist():
            fits.append((m * d, abs(dm - truth.dm), number, (m, d)))
    return min(fits)[2:] if fits else None


def words(row: np.void) -> str:
    """A row of the list in a few words."""
    return f"#{row['rank']} {words_of(row)}" + (f" harmonic of {row['harmonic_of']}" if row["harmonic_of"] else "")


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
    fates = [Fate(truth) for truth in observed.pulsars]
    for number, fate in enumerate(fates):
        fate.dm_sigma = fate.truth.dm / width_in_dm(fate.truth, observed) * fate.truth.snr
        judge_detections(detections, number, observed, fate)
    rng = np.random.default_rng(observed.seed)
    false: list[tuple[int, str]] = []
    chance = 0.0
    own: list[list[np.void]] = [[] for _ in fates]
    for row in np.sort(rows[rows["harmonic_of"] == ""], order="rank"):
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
    for number, (fate, listed) in enumerate(zip(fates, own, strict=True)):
        plain = [row for row in listed if not row["rfi_flags"]]
        fate.rows, fate.flagged_rows = len(plain), len(listed) - len(plain)
        fate.duplicates += [f"again: {words(row)}" for row in plain[1:]]
        for best in (plain or listed)[:1]:
            fate.rank, fate.score, fate.snr = int(best["rank"]), float(best["score"]), float(best["snr"])
            fate.flags = str(best["rfi_flags"])
            fate.false_above = sum(rank < fate.rank for rank, _ in false)
        if not listed:
            fate.nearest = nearest(rows, fate.truth, observed)
            fate.chance = chance_of_detection(detections, number, observed)
    return fates, [text for _, text in false], chance


def scored(rows: NDArray[Any], pulses: NDArray[Any], observed: Sky) -> tuple[list[tuple[float, bool]], ...]:
    """Scores of candidates that belong to no other and of pulses that belong to none, and which of them are real."""
    seen: set[int | None] = {None}
    own = []
    for row in np.sort(rows[rows["harmonic_of"] == ""], order="rank"):
        number = pulsar_of(row, observed)
        own.append((float(row["score"]), number not in seen))
        seen.add(number)
    shown = pulses[pulses["source"] == ""]
    real_ones = real_pulses(shown, observed)
    return own, [(float(score), bool(real)) for score, real in zip(shown["score"], real_ones, strict=True)]


def pulsar_of(row: np.void, observed: Sky) -> int | None:
    """The number of the pulsar that a row is, at its own frequency."""
    at = whose(row["freq"], row["dm"], observed, row_bins(row, observed), row["dm_err"])
    return at[0] if at is not None and at[1] == (1, 1) else None


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
        moved, fate = list(observed.pulsars), Fate(truth)
        moved[number] = replace(truth, period=1.0 / (truth.freq + step))
        judge_detections(detections, number, replace(observed, pulsars=tuple(moved)), fate)
        hits += bool(np.isfinite(fate.detected))
    return hits / len(steps)


def nearest(rows: NDArray[Any], truth: Truth, observed: Sky) -> list[str]:
    """The rows, attached ones too, at a simple ratio of a pulsar whatever their DM, the simplest first."""
    texts = []
    for m, d in RATIOS:
        off = (rows["freq"] - truth.freq * m / d) * observed.tobs
        near = np.abs(off) < 1.5
        texts += [f"{m}/{d} {bins:+.2f} bins: {words(row)}" for row, bins in zip(rows[near], off[near], strict=True)]
    return texts[:6]


def same_pulse(
    rows: NDArray[Any],
    times: NDArray[np.float64],
    dm: float,
    width: float,
    observed: Sky,
    spectrum: tuple[float, float] | None = None,
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
    spectrum : (float, float), optional
        Middle and width [MHz] of the part of the band that it fills: only the delays there tell its DM.
    """
    wide = np.maximum(np.hypot(width, observed.tsamp), rows["width"])
    middle_freq, extent = spectrum or (0.0, np.inf)
    delays = observed.delays[np.abs(observed.freqs - middle_freq) <= 0.5 * extent]
    sweep = float(np.ptp(delays))
    allowed = np.maximum(DM_ERRORS * np.nan_to_num(rows["dm_err"]), BAND_WIDTHS * wide / sweep)
    # Seen at too high a DM a pulse seems to come earlier at the highest channel, about the middle of its band.
    middle = float(np.median(delays))
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
        real |= same_pulse(rows, np.array([burst.time]), burst.dm, burst.width, observed, burst.spectrum)
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
        near = same_pulse(rows, np.array([burst.time]), burst.dm, burst.width, observed, burst.spectrum)
        own = np.sort(rows[near], order="rank")
        plain = own[own["rfi_flags"] == ""]
        fate = asdict(burst) | {"rows": len(plain), "flagged": len(own) - len(plain)}
        fate |= {"flags": "", "rank": 0, "score": math.nan, "found": math.nan}
        for best in (plain if len(plain) else own)[:1]:
            fate |= {"flags": str(best["rfi_flags"]), "rank": int(best["rank"])}
            fate |= {"score": float(best["score"]), "found": float(best["snr"])}
        fates.append(fate)
    return fates


@dataclass
class Verdict:
    """What became of a file."""

    environment: str
    seed: int
    fates: list[Fate]
    false_rows: list[str]
    chance: float  # rows expected to be called duplicates by chance
    nrows: int
    cpu: float
    #: Scores of the rows that a reader is shown, and whether each is real: candidates, single pulses.
    scores: list[tuple[float, bool]]
    pulse_scores: list[tuple[float, bool]]
    bursts: list[dict[str, Any]]


def high_passed(truth: Truth, observed: Sky, drifts: Path) -> float:
    """The S/N that the best running mean leaves of a pulsar whose period and shape are known.

    Parameters
    ----------
    truth : Truth
    observed : Sky
    drifts : Path
        A file of that sky's noise and drifts, without this pulsar and without other interference.
    """
    series = dedispersed(observed, drifts, truth.dm)
    signal = Signal(truth, observed)
    t = (np.arange(observed.nsamps) + 0.5) * observed.tsamp
    turns = t / truth.period + truth.phase
    shape = signal.scale * np.sqrt(observed.nchans) * signal.template
    wave = shape[np.floor(turns * FINE).astype(np.int64) % FINE]
    # The scatter is that of the pulsar's filter at its own period and others close by, at all phases.
    rng = np.random.default_rng(observed.seed)
    reach = min(20.0, truth.freq * observed.tobs / 4)
    freqs = truth.freq + rng.uniform(-reach, reach, 60) / observed.tobs
    own, others = phase_bins(turns), [phase_bins(t * freq) for freq in freqs]
    best, sizes = 0.0, [max(round(window * truth.period / observed.tsamp), 3) for window in WINDOWS]
    for size in (size for size in sizes if size <= observed.nsamps // 4):
        ideal = np.bincount(own, wave - running_mean(wave, size), BINS)
        ideal -= ideal.mean()
        flat = series - running_mean(series, size)
        noise = [correlated(np.bincount(bins, flat, BINS), ideal) for bins in others]
        best = max(best, float(ideal @ ideal) / float(np.std(noise)))
    return best


def running_mean(series: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Mean of the `size` samples about each; of fewer at the ends."""
    total = np.concatenate([[0.0], np.cumsum(series)])
    low = np.maximum(np.arange(len(series)) - size // 2, 0)
    high = np.minimum(low + size, len(series))
    return (total[high] - total[low]) / (high - low)


def phase_bins(turns: NDArray[np.float64]) -> NDArray[np.int16]:
    """The phase bin of each sample."""
    return np.floor((turns % 1.0) * BINS).astype(np.int16) % BINS


def correlated(profile: NDArray[np.float64], ideal: NDArray[np.float64]) -> NDArray[np.float64]:
    """A profile times the shape at every phase."""
    return np.fft.irfft(np.fft.rfft(profile) * np.conj(np.fft.rfft(ideal)), len(profile))


def examine(observed: Sky, sets: Sequence[str], folder: Path, keep: bool) -> Verdict:
    """Make a file, search it, and judge what is found."""
    environment, seed = observed.environment, observed.seed
    name = f"{environment}-{seed}"
    path, out = folder / f"{name}.fil", folder / f"{name}.h5"
    observed = write(observed, path)
    if keep:
        (folder / f"{name}.json").write_text(json.dumps(asdict(observed), indent=1))
    began = time.process_time()
    run = search(path, load_config(None, sets), out, overwrite=True)
    cpu = time.process_time() - began
    rows, pulses = run.rows("candidates"), run.rows("single_pulses")
    fates, false, chance = judge(rows, run.rows("detections"), observed)
    drifts = folder / f"{name}-drifts.fil"
    for fate in (fate for fate in fates if not fate.listed):
        others = tuple(pulsar for pulsar in observed.pulsars if pulsar is not fate.truth)
        write(replace(observed, pulsars=others), drifts, only="red")
        fate.high_passed = high_passed(fate.truth, observed, drifts)
    drifts.unlink(missing_ok=True)
    if not keep:
        path.unlink()
        out.unlink()
    bursts = found_bursts(pulses, observed)
    return Verdict(environment, seed, fates, false, chance, len(rows), cpu, *scored(rows, pulses, observed), bursts)


def describe(verdict: Verdict, everything: bool) -> None:
    """A line on the file, and what went wrong in it."""
    listed, duplicates = sum(f.listed for f in verdict.fates), sum(len(f.duplicates) for f in verdict.fates)
    text = f"{verdict.environment} {verdict.seed}: {listed} of {len(verdict.fates)} listed, {verdict.nrows} rows"
    text += f", {len(verdict.false_rows)} false, {duplicates} duplicates, {verdict.cpu:.1f} CPU s"
    print(text, flush=True)
    if not everything:
        return
    for fate in verdict.fates:
        problems = {
            "NOT LISTED": not fate.listed,
            f"{fate.rows} ROWS": fate.listed and not fate.once,
            f"FLAGGED {fate.flags}": fate.flags,
            "DUPLICATES": fate.duplicates,
            f"{fate.false_above} FALSE ABOVE": fate.false_above,
        }
        if any(problems.values()):
            print(f"  {', '.join(compress(problems, problems.values()))}: {fate.truth}", end="")
            print(f", DM over error {fate.dm_sigma:.1f}\n    {fate.story}")
            for text in (*(f"duplicate {row}" for row in fate.duplicates), *(f"has {row}" for row in fate.nearest)):
                print(f"    {text}")
    for text in verdict.false_rows:
        print(f"  false: {text}")
    for burst in verdict.bursts:
        if burst["rows"] != 1:
            text = "  burst of S/N {snr:.1f}, {ms:.1f} ms, DM {dm:.1f}: {rows} rows, {flagged} with a flag {flags}"
            print(text.format_map(burst | {"ms": 1e3 * burst["width"]}))


def percent(counts: Sequence[int]) -> str:
    """The sum of some counts, or of what is true, and its share of their number."""
    return f"{sum(counts)}/{len(counts)} ({100 * sum(counts) / len(counts):.1f} %)" if counts else "-"


def middle_and_low(scores: Sequence[float]) -> str:
    """The median, and what a tenth of them have less than."""
    return "{:.2f} ({:.2f})".format(*np.quantile(scores or [np.nan], [0.5, 0.1]))


def table(verdicts: Iterable[Verdict]) -> str:
    """The summary, a row for each environment."""
    verdicts = list(verdicts)
    rows = []
    for environment in ENVIRONMENTS:
        files = [v for v in verdicts if v.environment == environment]
        fates = [f for v in files for f in v.fates]
        if not fates:
            continue
        possible = [f for f in fates if not f.high_passed < PHYSICAL]
        detected = [f for f in fates if f.listed or (np.isfinite(f.detected) and not f.high_passed < PHYSICAL)]
        scores = [f.score for f in fates if f.listed]
        by_chance = sum(f.chance for f in detected if not f.listed)
        cells = [environment, str(len(fates)), percent([f in detected for f in fates])]
        cells.append(f"{percent([f.once for f in detected])} ({by_chance:.1f})")
        cells += [percent([f.once for f in some]) for some in (fates, possible)]
        cells.append(percent([bool(f.flags) for f in fates]))
        cells.append(f"{percent([len(f.duplicates) for f in fates])} ({sum(v.chance for v in files):.1f})")
        cells.append(percent([any(f.false_above for f in v.fates) for v in files]))
        rows.append([*cells, middle_and_low(scores), f"{np.mean([v.cpu for v in files]):.1f}"])
    headings = ["environment", "injected", "detected", "once, of detected (others by chance)", "once, of injected"]
    headings += ["of those not lost by physics", "flagged", "duplicates (by chance)"]
    headings += ["files with a false row above a pulsar", "score, median (10 %)", "CPU s a file"]
    return markdown(headings, rows)


def burst_table(fates: Iterable[dict[str, Any]]) -> str:
    """How many bursts are listed, without a flag, and once."""
    given = list(fates)
    if not given:
        return "bursts: none"
    listed = [fate for fate in given if fate["rows"] or fate["flagged"]]
    plain, once = sum(fate["rows"] > 0 for fate in given), sum(fate["rows"] == 1 for fate in given)
    scores = middle_and_low([fate["score"] for fate in listed])
    found = f"{len(listed)} of {len(given)} listed, {plain} without a flag, {once} once"
    return f"bursts: {found}; score, median (10 %): {scores}"


def main(
    envs: Annotated[str, typer.Option(help="environments, comma separated")] = ",".join(ENVIRONMENTS),
    first: First = 0,
    files: Annotated[int, typer.Option(help="files of each environment")] = 5,
    pulsars: Annotated[int, typer.Option(help="in a file")] = PER_FILE,
    snr: Annotated[tuple[float, float], typer.Option(metavar="LOW HIGH", help="of pulsars")] = SNR,
    bursts: Annotated[int, typer.Option(help="in a file")] = 0,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="keep files, truths (JSON) and products")] = None,
    verbose: Annotated[bool, typer.Option(help="everything that went wrong")] = False,
    json_file: Json = None,
    sets: Sets = None,
) -> None:
    """Make, search, judge, and print the tables."""
    environments = envs.split(",")
    if not set(environments) <= set(ENVIRONMENTS):
        raise typer.BadParameter(f"--envs {envs}: give some of {', '.join(ENVIRONMENTS)}")
    settings = [f"dedisp.dm_hi={DM_HIGH}", "run.threads=1", "output.detections=true", *(sets or [])]
    verdicts: list[Verdict] = []
    with scratch_folder() as temporary:
        folder = keep or temporary
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(first, first + files):
            for environment in environments:
                observed = sky(environment, seed, pulsars, bursts, snr)
                verdict = examine(observed, settings, folder, keep is not None)
                verdicts.append(verdict)
                describe(verdict, verbose)
                if json_file:
                    json_file.write_text(json.dumps([asdict(v) for v in verdicts], indent=1))
    print(table(verdicts))
    for title, name in (("candidates", "scores"), ("single pulses", "pulse_scores")):
        print(reliability_table(title, [pair for v in verdicts for pair in getattr(v, name)]))
    if bursts:
        print(burst_table([burst for v in verdicts for burst in v.bursts]))


if __name__ == "__main__":
    typer.run(main)
