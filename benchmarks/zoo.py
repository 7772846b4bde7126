"""A zoo of interference times injected pulsars and bursts: what masking costs, what it gains, and what a survey lists.

    python benchmarks/zoo.py methods --seeds 3               # the settings as they are, and nothing
    python benchmarks/zoo.py methods --only mix-fast --set rfi.iqrm=0 --verbose
    python benchmarks/zoo.py low-dm                          # methods against broadband interference, at DM 0 to 300
    python benchmarks/zoo.py survey                          # 510 files, one list: an hour and a half of one core

The observations are those of zoo_skies.py. They are searched as a user searches them, over DM 0 to 520.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from shared import First, Json, Sets, commands, markdown, reliability_table, scratch_folder, top_recall, words_of
from zoo_skies import RECEIVERS, ZOO, Verdict, belongs, in_turns, is_burst, judge, of_pulsar, skies

import pulsar
from pulsar.cleaning.mask import make_mask
from pulsar.cleaning.source import cleaned_source
from pulsar.cleaning.statistics import measure
from pulsar.config.load import load_config
from pulsar.config.model import Config, RfiConfig
from pulsar.errors import PulsarError
from pulsar.io.open import open_observation
from pulsar.run import search
from pulsar.synthesis.model import Burst, Pulsar, Sky
from pulsar.synthesis.write import make, write_filterbank

app = commands(__doc__)
# A search that covers what is injected, no more: the folding search of pulses of 1 % and more of 0.5 to 5 s.
BASE = ["dedisp.dm_hi=520", "ffa.duty_min=0.01", "ffa.p_max=5", "run.threads=1", "output.detections=false"]
BASE += ["single_pulse.cutouts=40"]
# FAST's settings know the period of the noise diode; the ranges that they zap are a method of their own here.
BY_RECEIVER = {"fast": ["rfi.diodes=[0.201326592, 2.0]"], "parkes": []}

# How strong clipping is where it is off by default [sigma].
ON = 6.0
# Strange candidates, and pulses, of a search that are told in words.
MOST_WORDS = 12
# Changes of the section rfi with which nothing is done: whatever can be switched off is.
OFF: dict[str, Any] = {
    name: False if isinstance(field.default, bool) else 0.0
    for name, field in RfiConfig.model_fields.items()
    if isinstance(field.default, bool) or (field.description or "").endswith("0: off")
}
METHODS: dict[str, dict[str, Any]] = {"default": {}, "nothing": {**OFF, "zerodm": "off", "diodes": ()}}
Jobs = Annotated[int, typer.Option(help="processes; 0: as many as cores")]
Kind = StrEnum("Kind", {kind: kind for kind in ZOO})


def settings(receiver: str, changes: dict[str, Any], extra: Iterable[str]) -> Config:
    """The settings of a run."""
    config = load_config(None, [*BASE, *BY_RECEIVER[receiver], *extra])
    rfi = RfiConfig.model_validate({**config.rfi.model_dump(), **changes})
    return config.model_copy(update={"rfi": rfi})


def verdict_of(path: Path, config: Config, pulsars: tuple[Pulsar, ...], bursts: tuple[Burst, ...]) -> Verdict:
    """Search a file and judge what is found."""
    out = path.with_suffix(".h5")
    began = time.process_time()
    try:
        run = search(path, config, out, overwrite=True)
    except PulsarError as error:
        # All masked: nothing is found, and nothing strange.
        print(f"{path.name}: {error}", flush=True)
        return Verdict((0.0,) * len(pulsars), (0.0,) * len(bursts), 0, (), (), 0, 1.0, time.process_time() - began)
    cpu = time.process_time() - began
    verdict = judge(run.rows("candidates"), run.rows("single_pulses"), run.observation, pulsars, bursts, run.rfi, cpu)
    out.unlink()
    return verdict


@dataclass(frozen=True)
class Observed:
    """An observation of the zoo: what each of METHODS makes of it clean, and contaminated."""

    kind: str
    seed: int
    clean: dict[str, Verdict]
    dirty: dict[str, Verdict]


def observe(task: tuple[str, int, Sequence[str]]) -> Observed:
    """Make an observation, clean and contaminated, and search it with each of METHODS.

    Parameters
    ----------
    task : (str, int, sequence of str)
        Kind and seed, and settings.
    """
    kind, seed, extra = task
    found: list[dict[str, Verdict]] = []
    with scratch_folder() as folder:
        path = folder / f"{kind}-{seed}.fil"
        # In the clean one with nothing done: what there is to be found. With the settings as they are: what they cost.
        for sky in skies(kind, seed):
            write_filterbank(sky, path, overwrite=True)
            configs = {name: settings(ZOO[kind][0], changes, extra) for name, changes in METHODS.items()}
            found.append({name: verdict_of(path, config, sky.pulsars, sky.bursts) for name, config in configs.items()})
    return Observed(kind, seed, *found)


def percent(part: float, digits: int = 1) -> str:
    """As the tables show it."""
    return "-" if np.isnan(part) else f"{100 * part:.{digits}f} %"


@dataclass(frozen=True)
class Kept:
    """Signals that are found with nothing done in clean observations, and what is made of them.

    Attributes
    ----------
    found : int
        In the clean ones.
    left : int
        Of these in the others.
    ratio : float
        Median S/N of these over the first.
    """

    found: int
    left: int
    ratio: float

    @classmethod
    def of(cls, results: Iterable[Observed], name: str, *, clean: bool = False) -> "Kept":
        """Of contaminated observations with a method, or of the clean ones."""
        both = []
        for observed in results:
            verdict = (observed.clean if clean else observed.dirty)[name]
            both += [(a, b) for a, b in zip(observed.clean["nothing"].signals, verdict.signals, strict=True) if a > 0]
        ratios = [b / a for a, b in both if b > 0]
        return cls(len(both), len(ratios), float(np.median(ratios)) if ratios else float("nan"))

    @property
    def part(self) -> float:
        """Of what was found."""
        return self.left / max(self.found, 1)


def kinds_of(results: Sequence[Observed]) -> dict[str, list[Observed]]:
    """Observations by the kind of interference."""
    return {kind: [o for o in results if o.kind == kind] for kind in dict.fromkeys(o.kind for o in results)}


def by_kind(results: Sequence[Observed], name: str) -> str:
    """The table of observations for one method."""
    rows = []
    for kind, some in kinds_of(results).items():
        kept, dirty = Kept.of(some, name), [observed.dirty[name] for observed in some]
        tried, flagged = sum(len(v.signals) for v in dirty), sum(v.flagged for v in dirty)
        cells = [kind, f"{kept.found}/{tried}", percent(kept.part, 0), str(flagged)]
        counts = [(len(v.candidates), len(v.pulses), v.others) for v in dirty]
        cells += [f"{mean:.3g}" for mean in np.mean(counts, axis=0)]
        rows.append([*cells, percent(float(np.mean([v.masked for v in dirty])))])
    headings = ["interference", "found in clean", "of these in contaminated", "flagged", "candidates without a flag"]
    return markdown([*headings, "pulses without", "with flags, too", "masked"], rows)


def by_method(results: Sequence[Observed]) -> str:
    """The settings as they are, and nothing, over all observations; and what they cost in clean ones."""
    rows = []
    for name in METHODS:
        kept, clean = Kept.of(results, name), Kept.of(results, name, clean=True)
        parts, strange = {}, {}
        for kind, some in kinds_of(results).items():
            parts[kind] = Kept.of(some, name).part
            strange[kind] = float(np.mean([observed.dirty[name].strange for observed in some]))
        worst, most = min(parts, key=parts.__getitem__), max(strange, key=strange.__getitem__)
        dirty = [(observed.dirty[name].strange, observed.dirty[name].cpu) for observed in results]
        unflagged, cpu = np.mean(dirty, axis=0)
        cells = [name, f"{kept.left} of {kept.found} ({percent(kept.part)})", f"{worst} {percent(parts[worst], 0)}"]
        cells += [f"{unflagged:.2f}", f"{most} {strange[most]:.3g}", f"{cpu:.2f}"]
        cells += [f"{clean.found - clean.left} of {clean.found}", percent(1.0 - clean.ratio, 2)]
        rows.append([*cells, percent(float(np.mean([observed.clean[name].masked for observed in results])), 2)])
    headings = ["method", "found of what clean data have", "worst", "unflagged a file", "most", "CPU [s]"]
    return markdown([*headings, "clean: lost", "of the S/N", "masked"], rows)


@app.command()
def methods(
    only: Annotated[list[Kind], typer.Option(metavar="KIND", help="of the zoo; may be repeated")] = (),
    seeds: Annotated[int, typer.Option(help="observations of each kind")] = 1,
    first: First = 0,
    jobs: Jobs = 0,
    verbose: Annotated[bool, typer.Option(help="what is lost and what is strange")] = False,
    json_file: Json = None,
    sets: Sets = None,
) -> None:
    """Each observation clean and contaminated, with the settings as they are, and with nothing done.

    Of what is found in the clean one: how much is found in the other? How many candidates and pulses above 3 sigma
    (corrected for trials) are neither injected nor flagged? In the clean ones: what do the settings cost? A method by
    itself is turned over by --set, such as rfi.iqrm=0.
    """
    tasks = [(str(kind), seed, sets or []) for kind in only or ZOO for seed in range(first, first + seeds)]
    results = []
    with ProcessPoolExecutor(jobs or len(os.sched_getaffinity(0))) as pool:
        for observed in pool.map(observe, tasks):
            results.append(observed)
            there = sum(snr > 0 for snr in observed.clean["nothing"].signals)
            counts = [f"{n} {sum(s > 0 for s in v.signals)}/{there} +{v.strange}" for n, v in observed.dirty.items()]
            print(f"{observed.kind} {observed.seed}: {', '.join(counts)}", flush=True)
            if verbose:
                print("\n".join(explain(observed)), flush=True)
    for name in METHODS:
        print(f"\n{name}:\n\n{by_kind(results, name)}")
    print(f"\n{by_method(results)}")
    if json_file:
        json_file.write_text(json.dumps([asdict(observed) for observed in results], indent=1))


def explain(observed: Observed) -> Iterator[str]:
    """Words on what was lost and what is strange."""
    _, dirty = skies(observed.kind, observed.seed)
    signals = [f"P {1e3 * p.period:.3f} ms DM {p.dm:.1f} S/N {p.snr:.1f}" for p in dirty.pulsars]
    signals += [f"burst t {b.time:.2f} s DM {b.dm:.1f} {1e3 * b.width:.2f} ms S/N {b.snr:.1f}" for b in dirty.bursts]
    for words in (*observed.clean["default"].candidates, *observed.clean["default"].pulses):
        yield f"    default, in clean: {words}"
    for name, verdict in observed.dirty.items():
        for words, was, now in zip(signals, observed.clean["nothing"].signals, verdict.signals, strict=True):
            if was > 0 and now == 0:
                yield f"    {name}: lost {words} (in clean {was:.1f})"
        for listed in (verdict.candidates, verdict.pulses):
            yield from (f"    {name}: unflagged {words}" for words in listed[:MOST_WORDS])
            if len(listed) > MOST_WORDS:
                yield f"    {name}: ... {len(listed) - MOST_WORDS} more"


@app.command()
def low_dm(sets: Sets = None) -> None:
    """What methods against broadband interference, each alone, leave of signals of low DM in clean data.

    A matched filter on the cleaned samples, over the same with nothing done.
    """
    dms = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
    # What masking does to bright signals is another question.
    nothing = {**METHODS["nothing"], "enabled": True}
    alone = {"zerodm mean": {"zerodm": "mean"}, "zerodm zdot": {"zerodm": "zdot"}}
    alone["clip"] = {"clip": RfiConfig.model_fields["clip"].default or ON}
    signals: dict[str, dict[str, Pulsar | Burst]] = {}
    for snr in (15.0, 150.0):
        for period, duty in ((0.005, 0.1), (0.089, 0.05), (1.3, 0.03)):
            made = Pulsar(period=period, dm=0.0, duty=duty, snr=snr)
            signals[f"pulsar {1e3 * period:g} ms, duty {duty:g}, S/N {snr:g}"] = {"pulsars": made}
        for width in (1e-3, 1e-2):
            made = Burst(time=8.3, dm=0.0, width=width, snr=snr)
            signals[f"burst {1e3 * width:g} ms, S/N {snr:g}"] = {"bursts": made}
    print(markdown(["method", "receiver", "signal", *(f"DM {dm:g}" for dm in dms)], [], left=3))
    with scratch_folder() as folder:
        path = folder / "low.fil"
        for receiver, base in RECEIVERS.items():
            bare = make(base, nbits=32).data
            for words, signal in signals.items():
                parts: dict[str, list[float]] = {name: [] for name in alone}
                for dm in dms:
                    fields = {kind: (made.model_copy(update={"dm": dm}),) for kind, made in signal.items()}
                    sky = base.model_copy(update=fields)
                    write_filterbank(sky, path, overwrite=True)
                    # In units of the noise of each channel.
                    template = (make(sky, nbits=32).data - bare) / bare.std(axis=1, keepdims=True)
                    template -= template.mean(axis=1, keepdims=True)
                    without = filtered(path, template, settings(receiver, nothing, sets or []))
                    for name, changes in alone.items():
                        config = settings(receiver, {**nothing, **changes}, sets or [])
                        parts[name].append(filtered(path, template, config) / without)
                for name, values in parts.items():
                    cells = " | ".join(percent(value, 0) for value in values)
                    print(f"| {name} | {receiver} | {words} | {cells} |", flush=True)


def filtered(path: Path, template: NDArray[np.float32], config: Config) -> float:
    """S/N of a matched filter on what is left of a file after cleaning."""
    with open_observation(path) as obs:
        mask = make_mask(obs, measure(obs, config.rfi), config.rfi)
        source = cleaned_source(obs, mask, config.rfi)
        out = np.empty((source.nchans, obs.header.nsamps), dtype=np.int8)
        source.read_into(0, out)
    ours = template[mask.chan_ok]
    total = float(np.einsum("ij,ij->", ours, out, dtype=np.float64))
    return total / float(np.sqrt(np.einsum("ij,ij->", ours, ours, dtype=np.float64)))


@dataclass
class File:
    """What the list of one file of the survey has.

    Attributes
    ----------
    name : str
        The observation of the zoo, and the seed.
    candidates, pulses : list of (score, real, words)
        Rows that stand for themselves, and pulses that belong to no candidate.
    signal : str
        What was put in: "pulsar", "burst" or nothing.
    detected : bool
        A row of any kind has it.
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


def examine(task: tuple[int, int, Sequence[str], Path | None]) -> File:
    """Make one file of the survey, search it, and say which rows are real.

    Parameters
    ----------
    task : (int, int, sequence of str, Path or None)
        Number of the file, files for each pulsar (and burst), settings, and the folder where products are kept.
    """
    number, every, extra, keep = task
    kind, seed, sky = file_of(number, every)
    with scratch_folder() as folder:
        path = folder / "file.fil"
        product = path.with_suffix(".h5") if keep is None else keep / f"{number}-{every}.h5"
        cpu = 0.0
        if product.exists():
            run = pulsar.read(product)
        else:
            write_filterbank(sky, path)
            began = time.process_time()
            run = search(path, settings(ZOO[kind][0], {}, extra), product)
            cpu = time.process_time() - began
        rows, pulses, header = run.rows("candidates"), run.rows("single_pulses"), run.observation

    def is_one(row: np.void, most: int) -> bool:
        return any(belongs(row, made, header, most, most) for made in sky.pulsars)

    def is_flash(row: np.void) -> bool:
        return any(is_burst(row, made, header) for made in sky.bursts)

    alone = np.sort(rows[rows["harmonic_of"] == ""], order="rank")
    first = next((n for n, row in enumerate(alone) if is_one(row, 1)), -1)
    listed = [(float(row["score"]), n == first, words_of(row)) for n, row in enumerate(alone)]
    pulsing = [made for made in sky.pulsars if in_turns(pulses, made, header)]
    single = []
    for row in pulses[pulses["source"] == ""]:
        real = is_flash(row) or any(of_pulsar(row, made, header) for made in pulsing)
        single.append((float(row["score"]), real, words_of(row)))
    detected = bool(pulsing) or any(is_one(row, 3) for row in rows) or any(map(is_flash, pulses))
    signal = "pulsar" if sky.pulsars else "burst" if sky.bursts else ""
    return File(f"{kind}-{seed}", listed, single, signal, detected, cpu)


def summary(files: Sequence[File]) -> list[str]:
    """The figures, in lines."""
    lines = []
    for signal, name in (("pulsar", "candidates"), ("burst", "pulses")):
        rows = [row for file in files for row in getattr(file, name)]
        with_signal = [file for file in files if file.signal == signal]
        found = [file for file in with_signal if file.detected]
        listed = [file for file in found if any(real for _, real, _ in getattr(file, name))]
        counts = f"{len(found)} detected, {len(listed)} listed as such; {len(rows)} rows"
        lines.append(f"{signal}s: {len(with_signal)} in {len(files)} files, {counts}")
        if rows:
            # Those detected but not listed count as at the end of the list.
            judged = [(row[0], row[1]) for row in rows] + [(-1.0, True)] * (len(found) - len(listed))
            scores, real = np.array([score for score, _ in judged]), np.array([is_real for _, is_real in judged])
            for part in (0.01, 0.05) if real.any() else ():
                first = top_recall(scores, real, part)
                lines.append(f"  in the first {100 * part:g} %: {first} of {int(real.sum())} real ones")
            lines.append(reliability_table(f"  {name}", [(row[0], row[1]) for row in rows]))
    lines.append(f"{np.mean([file.cpu for file in files]):.1f} CPU s a file")
    return lines


def odd(file: File) -> list[str]:
    """What has a score from a half on and is not real, and what is real and has less."""
    return [
        f"  {'real' if real else 'not real'}, score {score:.2f}: {words}"
        for rows in (file.candidates, file.pulses)
        for score, real, words in rows
        if (score >= 0.5) != real
    ]


@app.command()
def survey(
    files: int = 510,
    first: Annotated[int, typer.Option(help="number of the first file")] = 0,
    every: Annotated[int, typer.Option(min=2, help="one file in so many has a pulsar, another a burst")] = 10,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="keep products; read what is there")] = None,
    jobs: Jobs = 0,
    verbose: Annotated[bool, typer.Option(help="what scores high and is not real, and the reverse")] = False,
    sets: Sets = None,
) -> None:
    """Hundreds of files with every kind of interference, few pulsars, one list: how high do these stand in it?

    File after file takes the next observation of the zoo (24 and 30 s), with noise of its own. One in ten has one
    pulsar, another one in ten has one burst (S/N 10 to 20 before what the interference takes), the others none. All
    rows that stand for themselves, flagged or not, are one list, by score; so are all single pulses that belong to no
    candidate.

    A row is real if it is the first that has a pulsar's period and DM, a pulse if it is the burst or a turn of the
    pulsar; second rows and multiples are not. Pulses are turns only where those at the pulsar's DM come with them more
    often than by chance. A pulsar counts as detected if any row, attached or not, has it at a ratio of at most 3, or if
    pulses are its turns; a burst, if a pulse is the burst. Told are the parts of the detected ones in the first 1 % and
    5 % of the list, the scores of those that are not, and how far scores are probabilities.
    """
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    tasks = [(number, every, sets or [], keep) for number in range(first, first + files)]
    examined: list[File] = []
    with ProcessPoolExecutor(jobs or len(os.sched_getaffinity(0))) as pool:
        for file in pool.map(examine, tasks):
            examined.append(file)
            signal = f"{file.signal or 'nothing'}{'' if file.detected or not file.signal else ', not detected'}"
            rows = f"{len(file.candidates)} rows, {len(file.pulses)} pulses, {file.cpu:.1f} CPU s"
            print(f"{file.name}: {signal}; {rows}", flush=True)
            if verbose:
                print("".join(f"{line}\n" for line in odd(file)), end="", flush=True)
    print("\n".join(summary(examined)))


if __name__ == "__main__":
    app()
