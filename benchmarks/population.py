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

    python benchmarks/population.py --files 34                          # 204 pulsars in each environment
    python benchmarks/population.py --envs red,all --first 300 --files 5 --verbose
    python benchmarks/population.py --envs mains --first 7 --files 1 --keep FOLDER      # file, truth and product
    python benchmarks/population.py --pulsars 1 --bursts 3              # other numbers of them in a file
    python benchmarks/population.py --snr 60 400                        # strong pulsars
"""

import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from population_sky import ENVIRONMENTS, FINE, PER_FILE, SNR, Signal, Sky, Truth, dedispersed, sky, write
from population_truth import Fate, found_bursts, judge, scored
from shared import First, Json, Sets, markdown, reliability_table

from pulsar.config.load import load_config
from pulsar.run import search

DM_HIGH = 320
#: What an ideal high-pass leaves must reach this, or the pulsar is lost by physics.
PHYSICAL = 8.0
#: Phase bins of the ideal fold.
BINS = 256
WINDOWS = (0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)


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
    best = 0.0
    for window in WINDOWS:
        size = max(round(window * truth.period / observed.tsamp), 3)
        if size > observed.nsamps // 4:
            continue
        ideal = fold(wave - running_mean(wave, size), turns, BINS)
        ideal -= ideal.mean()
        flat = series - running_mean(series, size)
        noise = [correlated(fold(flat, t * freq, BINS), ideal) for freq in freqs]
        best = max(best, float(ideal @ ideal) / float(np.std(noise)))
    return best


def running_mean(series: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Mean of the `size` samples about each; of fewer at the ends."""
    total = np.concatenate([[0.0], np.cumsum(series)])
    low = np.maximum(np.arange(len(series)) - size // 2, 0)
    high = np.minimum(low + size, len(series))
    return (total[high] - total[low]) / (high - low)


def fold(series: NDArray[np.float64], turns: NDArray[np.float64], nbins: int) -> NDArray[np.float64]:
    """Sums by phase."""
    bins = np.floor((turns % 1.0) * nbins).astype(np.int64) % nbins
    return np.bincount(bins, series, nbins)


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
        (folder / f"{name}.json").write_text(json.dumps(observed.to_dict(), indent=1))
    began = time.process_time()
    run = search(path, load_config(None, sets), out, overwrite=True)
    cpu = time.process_time() - began
    rows, pulses = run.rows("candidates"), run.rows("single_pulses")
    fates, false, chance = judge(rows, run.rows("detections"), observed)
    drifts = folder / f"{name}-drifts.fil"
    for fate, truth in zip(fates, observed.pulsars, strict=True):
        if not fate.listed:
            others = tuple(pulsar for pulsar in observed.pulsars if pulsar is not truth)
            write(replace(observed, pulsars=others), drifts, only="red")
            fate.high_passed = high_passed(truth, observed, drifts)
    drifts.unlink(missing_ok=True)
    if not keep:
        path.unlink()
        out.unlink()
    bursts = found_bursts(pulses, observed)
    return Verdict(environment, seed, fates, false, chance, len(rows), cpu, *scored(rows, pulses, observed), bursts)


def describe(verdict: Verdict, everything: bool) -> None:
    """A line on the file, and what went wrong in it."""
    fates = verdict.fates
    listed = sum(f.listed for f in fates)
    print(
        f"{verdict.environment} {verdict.seed}: {listed} of {len(fates)} listed, {verdict.nrows} rows, "
        f"{len(verdict.false_rows)} false, {sum(len(f.duplicates) for f in fates)} duplicates, {verdict.cpu:.1f} CPU s",
        flush=True,
    )
    if not everything:
        return
    for fate in fates:
        problems = []
        if not fate.listed:
            problems.append("NOT LISTED")
        elif not fate.once:
            problems.append(f"{fate.rows} ROWS")
        if fate.flags:
            problems.append(f"FLAGGED {fate.flags}")
        if fate.duplicates:
            problems.append("DUPLICATES")
        if fate.false_above:
            problems.append(f"{fate.false_above} FALSE ABOVE")
        if not problems:
            continue
        truth = Truth(**fate.truth)
        print(
            f"  {', '.join(problems)}: {truth.name} P {truth.period:.7g} s DM {truth.dm:.1f} duty {truth.duty:.3f} "
            f"S/N {truth.snr:.1f} {truth.shape}{' scattered' if truth.scatter else ''}"
            f"{' modulated' if truth.modulation else ''}, DM over its error {fate.dm_sigma:.1f}"
        )
        print(
            f"    detected {fate.detected:.1f} ({fate.detected_how or 'nowhere'}), at its own frequency "
            f"{fate.fundamental:.1f}"
            + (f"; rank {fate.rank}, score {fate.score:.2f}, S/N {fate.snr:.1f}" if fate.listed else "")
            + (f" (chance {fate.chance:.2f})" if fate.chance else "")
            + (f"; ideal high-pass leaves S/N {fate.high_passed:.1f}" if np.isfinite(fate.high_passed) else "")
        )
        for text in fate.duplicates:
            print(f"    duplicate {text}")
        for text in fate.nearest:
            print(f"    has {text}")
    for text in verdict.false_rows:
        print(f"  false: {text}")
    for burst in verdict.bursts:
        if burst["rows"] != 1:
            print(
                f"  burst of S/N {burst['snr']:.1f}, {1e3 * burst['width']:.1f} ms, DM {burst['dm']:.1f}: "
                f"{burst['rows']} rows, {burst['flagged']} with a flag {burst['flags']}"
            )


def percent(part: int, whole: int) -> str:
    """A count and its share."""
    return f"{part}/{whole} ({100 * part / whole:.1f} %)" if whole else "-"


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
        scores = [f.score for f in fates if f.listed] or [float("nan")]
        rows.append(
            [
                environment,
                str(len(fates)),
                percent(len(detected), len(fates)),
                percent(sum(f.once for f in detected), len(detected))
                + f" ({sum(f.chance for f in detected if not f.listed):.1f})",
                percent(sum(f.once for f in fates), len(fates)),
                percent(sum(f.once for f in possible), len(possible)),
                percent(sum(bool(f.flags) for f in fates), len(fates)),
                f"{percent(sum(len(f.duplicates) for f in fates), len(fates))} ({sum(v.chance for v in files):.1f})",
                percent(sum(any(f.false_above for f in v.fates) for v in files), len(files)),
                f"{np.median(scores):.2f} ({np.quantile(scores, 0.1):.2f})",
                f"{np.mean([v.cpu for v in files]):.1f}",
            ]
        )
    headings = ["environment", "injected", "detected", "once, of detected (others by chance)", "once, of injected"]
    headings += ["of those not lost by physics", "flagged", "duplicates (by chance)"]
    headings += ["files with a false row above a pulsar", "score, median (10 %)", "CPU s a file"]
    return markdown(headings, rows)


def burst_table(fates: Iterable[dict[str, Any]]) -> str:
    """How many bursts are listed, without a flag, and once."""
    given = list(fates)
    if not given:
        return "bursts: none"
    plain = [fate for fate in given if fate["rows"]]
    listed = [fate for fate in given if fate["rows"] or fate["flagged"]]
    once = sum(fate["rows"] == 1 for fate in given)
    scores = [fate["score"] for fate in listed] or [float("nan")]
    return (
        f"bursts: {len(listed)} of {len(given)} listed, {len(plain)} without a flag, {once} once; "
        f"score, median (10 %): {np.median(scores):.2f} ({np.quantile(scores, 0.1):.2f})"
    )


def main(
    envs: Annotated[str, typer.Option(help="environments, comma separated")] = ",".join(ENVIRONMENTS),
    first: First = 0,
    files: Annotated[int, typer.Option(help="files of each environment")] = 5,
    pulsars: Annotated[int, typer.Option(help="in a file")] = PER_FILE,
    snr: Annotated[tuple[float, float], typer.Option(metavar="LOW HIGH", help="of pulsars")] = SNR,
    bursts: Annotated[int, typer.Option(help="in a file")] = 0,
    threads: Annotated[int, typer.Option(help="of a search")] = 1,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="keep files, truths (JSON) and products")] = None,
    verbose: Annotated[bool, typer.Option(help="everything that went wrong")] = False,
    json_file: Json = None,
    sets: Sets = None,
) -> None:
    """Make, search, judge, and print the tables."""
    environments = envs.split(",")
    for name in environments:
        if name not in ENVIRONMENTS:
            raise typer.BadParameter(f"--envs {name}: give some of {', '.join(ENVIRONMENTS)}")
    settings = [f"dedisp.dm_hi={DM_HIGH}", f"run.threads={threads}", "output.detections=true", *(sets or [])]
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
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
