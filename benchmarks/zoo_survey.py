"""A survey: hundreds of files with every kind of interference, few pulsars, one list. How high do these stand in it?

File after file takes the next observation of zoo.py (each kind of interference alone, and three mixes; 24 and 30 s),
with noise of its own. One in ten has one pulsar, another one in ten has one burst (S/N 10 to 20 before what the
interference takes), the others none. Each is searched as a user searches it, over DM 0 to 520. All rows that stand for
themselves, flagged or not, are one list, by score; so are all single pulses that belong to no candidate.

A row is real if it is the first that has a pulsar's period and DM, a pulse if it is the burst or a turn of the pulsar;
second rows and multiples are not. Pulses are turns only where those at the pulsar's DM come with them more often than
by chance. A pulsar counts as detected if any row, attached or not, has it at a ratio of at most 3, or if pulses are its
turns; a burst, if a pulse is the burst. Told are the parts of the detected ones in the first 1 % and 5 % of the list,
the scores of those that are not, and how far scores are probabilities.

    python benchmarks/zoo_survey.py                          # 510 files, an hour and a half of one core
    python benchmarks/zoo_survey.py --files 51 --every 4 --verbose
    python benchmarks/zoo_survey.py --keep FOLDER            # products stay, and are not made again
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from evaluate import top_recall
from population_score import reliability_table
from rfi_zoo import settings
from zoo import ZOO, belongs, in_turns, is_burst, of_pulsar, skies

import pulsar
from pulsar.run import search
from pulsar.synthesis import write_filterbank
from pulsar.synthesis.model import Sky

#: Rows with a score from this on that are not real are told in words.
TOLD = 0.5


@dataclass
class File:
    """What the list of one file has.

    Attributes
    ----------
    name : str
        The observation of the zoo, and the seed.
    candidates, pulses : list of (score, real, words)
        Rows that stand for themselves, and pulses that belong to no candidate.
    signal : str
        What was put in: "pulsar", "burst" or nothing.
    detected : bool
        Whether a row of any kind has it.
    cpu : float
        [s]
    """

    name: str
    candidates: list[tuple[float, bool, str]]
    pulses: list[tuple[float, bool, str]]
    signal: str
    detected: bool
    cpu: float


def file_of(number: int, every: int) -> tuple[str, int, Sky]:
    """Kind, seed and sky of a file: with one pulsar, one burst, or neither.

    Parameters
    ----------
    number : int
    every : int
        One file in so many has a pulsar, another one a burst.
    """
    kinds = list(ZOO)
    kind, seed = kinds[number % len(kinds)], number // len(kinds)
    _, sky = skies(kind, seed)
    rng = np.random.default_rng([number, 11])
    turn = int(rng.integers(every))
    pulsars = (sky.pulsars[int(rng.integers(len(sky.pulsars)))],) if turn == 0 else ()
    bursts = (sky.bursts[int(rng.integers(len(sky.bursts)))],) if turn == 1 else ()
    return kind, seed, sky.model_copy(update={"pulsars": pulsars, "bursts": bursts})


def observe(task: tuple[int, int, Sequence[str], Path | None]) -> File:
    """Make one file of the survey, search it, and say which rows are real.

    Parameters
    ----------
    task : (int, int, sequence of str, Path or None)
        Number of the file, files for each pulsar (and burst), settings, and the folder where products are kept.
    """
    number, every, sets, keep = task
    kind, seed, sky = file_of(number, every)
    pulsars, bursts = sky.pulsars, sky.bursts
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.fil"
        product = path.with_suffix(".h5") if keep is None else keep / f"{number}-{every}.h5"
        began = time.process_time()
        if product.exists():
            run = pulsar.read(product)
        else:
            write_filterbank(sky, path)
            began = time.process_time()
            run = search(path, settings(ZOO[kind][0], {}, sets), product)
        cpu = time.process_time() - began
        rows, pulses, header = run.rows("candidates"), run.rows("single_pulses"), run.observation
    listed, seen = [], False
    for row in np.sort(rows[rows["harmonic_of"] == ""], order="rank"):
        real = not seen and any(belongs(row, one, header, 1, 1) for one in pulsars)
        seen |= real
        words = f"P {row['period']:.7g} s DM {row['dm']:.1f} S/N {row['snr']:.1f} sigma {row['sigma']:.1f}"
        listed.append((float(row["score"]), real, f"{words} {row['rfi_flags']}".rstrip()))
    single, pulsing = [], [p for p in pulsars if in_turns(pulses, p, header)]
    for row in pulses[pulses["source"] == ""]:
        real = any(is_burst(row, one, header) for one in bursts) or any(of_pulsar(row, p, header) for p in pulsing)
        words = f"t {row['time']:.3f} s DM {row['dm']:.1f} S/N {row['snr']:.1f} width {1e3 * row['width']:.2f} ms"
        single.append((float(row["score"]), real, f"{words} {row['rfi_flags']}".rstrip()))
    detected = (
        any(belongs(row, p, header, 3, 3) for row in rows for p in pulsars)
        or bool(pulsing)
        or any(is_burst(row, one, header) for row in pulses for one in bursts)
    )
    signal = "pulsar" if pulsars else "burst" if bursts else ""
    return File(f"{kind}-{seed}", listed, single, signal, bool(detected), cpu)


def summary(files: Iterable[File]) -> list[str]:
    """The figures, in lines."""
    files = list(files)
    lines = []
    for signal, name in (("pulsar", "candidates"), ("burst", "pulses")):
        rows = [row for one in files for row in getattr(one, name)]
        with_one = [one for one in files if one.signal == signal]
        found = [one for one in with_one if one.detected]
        listed = [one for one in found if any(real for _, real, _ in getattr(one, name))]
        lines.append(
            f"{signal}s: {len(with_one)} in {len(files)} files, {len(found)} detected, {len(listed)} listed as such; "
            f"{len(rows)} rows"
        )
        if rows:
            scores, real = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
            lost = len(found) - len(listed)
            # Those detected but not listed count as at the end of the list.
            scores, real = np.append(scores, np.full(lost, -1.0)), np.append(real, np.ones(lost, dtype=bool))
            if real.any():
                lines += [
                    f"  in the first {100 * part:g} %: {top_recall(scores, real, part)} of {int(real.sum())} real ones"
                    for part in (0.01, 0.05)
                ]
            lines.append(reliability_table(f"  {name}", [(row[0], row[1]) for row in rows]))
    lines.append(f"{np.mean([one.cpu for one in files]):.1f} CPU s a file")
    return lines


def odd(one: File) -> list[str]:
    """What scores high and is not real, and what is real and does not."""
    lines = []
    for rows in (one.candidates, one.pulses):
        lines += [
            f"  {'real' if real else 'not real'}, score {score:.2f}: {words}"
            for score, real, words in rows
            if (score >= TOLD) != real
        ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="\n".join((__doc__ or "").splitlines()[:1]))
    parser.add_argument("--files", type=int, default=510)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--every", type=int, default=10, help="one file in so many has a pulsar, another a burst")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep products; read what is there")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--verbose", action="store_true", help="what scores high and is not real, and the reverse")
    args = parser.parse_args()
    if args.every < 2:
        parser.error("--every must be 2 at least: one in so many files has a pulsar, another a burst")
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
    tasks = [(number, args.every, args.sets, args.keep) for number in range(args.first, args.first + args.files)]
    files: list[File] = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for one in pool.map(observe, tasks):
            files.append(one)
            told = f"{one.signal or 'nothing'}{'' if one.detected or not one.signal else ', not detected'}"
            print(
                f"{one.name}: {told}; {len(one.candidates)} rows, {len(one.pulses)} pulses, {one.cpu:.1f} CPU s",
                flush=True,
            )
            if args.verbose:
                print("\n".join(odd(one)), end="\n" if odd(one) else "", flush=True)
            if args.json:
                args.json.write_text(json.dumps([asdict(file) for file in files], indent=1))
    print("\n".join(summary(files)))


if __name__ == "__main__":
    main()
