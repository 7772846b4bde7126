"""What is found, by whom, at equal false alarms and at what cost: our search, PRESTO and riptide on the same data.

    python benchmarks/versus.py series --log2n 22 --env DIR --json versus.json
    python benchmarks/versus.py series --log2n 24 --only ours,numharm --json versus.json
    python benchmarks/versus.py red --json red.json
    python benchmarks/versus.py population --files 1 --json versus.json
    python benchmarks/versus.py real FOLDER --env DIR --json versus.json
    python benchmarks/versus.py work --fast --searches --json work.json
    python benchmarks/versus.py table --json versus.json --into benchmarks/README.md

* `series`: dedispersed series with one pulsar each, of the population of versus_series.py (a third millisecond pulsars,
  S/N 5.5 to 11.5), and as many of noise alone. A program's threshold is what the highest line of a tenth of its noise
  series exceeds (0.1 false alarms a series); a pulsar is found where a line above that is its, at its frequency or a
  simple ratio of it. The intervals are 68 % (Wilson); beside them stands what would be found were the false alarms
  wrong by their own binomial error.
* `red`: series in red noise of knees from 0.1 to 50 Hz, of another population, there, too. Beside what is found stand
  what a published study finds, and what is possible: where a matched filter of the true period and shape, in noise of
  known power, has the S/N that one trial of ours needs at the threshold. By chance is found what passes, in a series of
  noise, for the pulsar of another series.
* `population`: files of the random skies of population.py, from the raw file to the list. Equal false alarms means
  none: a pulsar counts where it stands above every source of its file that is no pulsar.
* `real`: real series with known answers (FOLDER), where the pulsar stands in each list.
* `work`: the same work by PRESTO's and PulsarX's programs (on PATH), in CPU seconds, one thread each: a file of 256
  channels dedispersed and folded, series searched; with `--fast` a beam of FAST dedispersed too (4.3 GB and 1.1 GB of
  temporary files), with `--searches` series searched for accelerations (by accelsearch alone: the spectrum is made
  before). Everything runs three times in turn (`--rounds`), ours too, and the least counts; what has taken 10 s is not
  run again.

PRESTO's programs are looked for on PATH, `--env` is the virtual environment of riptide; what is absent is told and left
out. Build them for this processor (``-O3 -march=native``), and let PRESTO's `makewisdom` run
once. Everything runs on one thread. `--json` is written after every search: a run that was ended goes on where it was,
and with larger numbers it goes further. The tables are printed at the end, or put into the page `--into`: those of
series and real files between the lines ``<!-- versus -->`` and ``<!-- /versus -->``, those of red noise, random skies
and work between the same of ``versus-red``, ``versus-population`` and ``versus-work``; what the file does not hold
stays as it is.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import versus_series
from numpy.typing import NDArray
from population import DM_HIGH, RATIOS, Fate, judge, judge_detections
from population_sky import Sky, sky, write
from programs import PeerError, Spent, compare, missing_programs, presto_search, works, write_dat
from shared import First, commands, scratch_folder
from table import put, tables
from versus_series import Accelsearch, Case, Searched, Searcher, Truth

from pulsar.bench.stages import BAND, FAST
from pulsar.config.resources import usable_cores
from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError, PulsarError
from pulsar.io.open import open_observation
from pulsar.io.product.provenance import cpu_model, versions
from pulsar.io.product.reader import Run

app = commands(__doc__)
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="what was measured is kept, and found, here")]
Into = Annotated[Path | None, typer.Option(metavar="README.md", help="put the tables between its marks")]
Env = Annotated[Path | None, typer.Option(metavar="DIR", help="virtual environment that has riptide-ffa")]
Only = Annotated[str, typer.Option(help="parts of names of programs, comma separated")]

SEED = 1
TSAMP, RED_TSAMP = 60e-6, 128e-6


class Store:
    """What was measured, in a file that is whole after every entry.

    Parameters
    ----------
    path : Path or None
        None: in memory only.

    Raises
    ------
    ConfigError
        The file is none of this script.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.content: dict[str, Any] = {}
        if path is not None and path.exists():
            try:
                self.content = json.loads(path.read_text())
                self.content["machine"]
            except (ValueError, KeyError, TypeError):
                raise ConfigError(f"{path}: not a file of this script; give another name") from None
        self.content.setdefault("machine", {"cpu": cpu_model(), "cores": usable_cores(), "versions": versions()})

    def entries(self, *keys: str) -> dict[str, Any]:
        """What there is under these keys."""
        node = self.content
        for key in keys:
            node = node.setdefault(key, {})
        return node

    def put(self, value: Any, *keys: str) -> None:
        """Enter something, and write the file."""
        self.entries(*keys[:-1])[keys[-1]] = value
        self.content["machine"]["date"] = datetime.now(UTC).date().isoformat()
        if self._path is not None:
            write_whole(self._path, json.dumps(self.content))


@contextmanager
def programs(only: str, env: Path | None, *, whiten: bool = False) -> Iterator[list[Searcher]]:
    """Those that are there and asked for; of the others it is told how to provide them."""
    theirs = Accelsearch(16, whiten=whiten), Accelsearch(32, whiten=whiten), versus_series.riptide(env)
    there: list[Searcher] = []
    with ExitStack() as opened:
        for searcher in (versus_series.ours(), *theirs):
            if not any(word in searcher.name for word in only.split(",")):
                continue
            if why := searcher.missing():
                print(f"{searcher.name}: {why}", file=sys.stderr)
            else:
                opened.callback(searcher.close)
                there.append(searcher)
        yield there


def record(searched: Searched, truth: Truth | None, tobs: float) -> dict[str, Any]:
    """What is kept of a search: costs, the strongest line, and the strongest that is the pulsar's.

    Parameters
    ----------
    searched : Searched
    truth : Truth or None
        None: no pulsar. Of a series of noise, it is one that is not there: what is its is so by chance.
    tobs : float
        Length of the series [s].
    """
    kept = {**asdict(searched), "lines": len(searched.lines)}
    kept["best"], *single = searched.lines[0][1:] if searched.lines else [None]
    # Ours say how significant it is if nothing else was tried.
    kept["single"] = single[0] if single else None
    if truth is None:
        return kept
    kept |= {"snr": truth.snr, "millisecond": truth.millisecond, "own": None}
    for freq, value, *_ in searched.lines:
        if ratio := versus_series.found(freq, truth, tobs):
            m, d = ratio
            # The error is that of the spin frequency, in bins.
            return {**kept, "own": value, "ratio": [m, d], "error": (freq * d / m - truth.freq) * tobs}
    return kept


def run_series(
    store: Store, searchers: Sequence[Searcher], case: Case, counts: tuple[int, int], fewer: dict[str, tuple[int, int]]
) -> None:
    """Search series of noise and with pulsars, those that were not yet.

    Parameters
    ----------
    store : Store
    searchers : sequence
    case : Case
    counts : (int, int)
        Series of noise, and with a pulsar.
    fewer : dict
        The same for those that get another number of them, by a part of their name.
    """
    tobs = case.nsamps * case.tsamp
    with scratch_folder() as folder:
        path = folder / "series.dat"
        for index in range(max(counts)):
            truth = case.pulsars[index] if index < len(case.pulsars) else None
            for which, kind in enumerate(("noise", "pulsars")):
                left = []
                for searcher in searchers:
                    own = next((c for part, c in fewer.items() if part in searcher.name), counts)
                    done = store.entries(case.part, case.name, searcher.name, kind)
                    if index < min(own[which], counts[which]) and str(index) not in done:
                        left.append(searcher)
                if not left:
                    continue
                data = case.series(index, with_pulsar=bool(which))
                write_dat(path, data, case.tsamp)
                ideal = {}
                if truth is not None and which:
                    ideal["matched"] = versus_series.matched(data, truth, case.tsamp, case.knees[index])
                for searcher in left:
                    searched = searcher.search(path, case.tsamp)
                    kept = {**record(searched, truth, tobs), **ideal}
                    if kind == "noise" and case.part == "red":
                        # Any pulsar of the case may be taken to be in it.
                        kept["by_chance"] = [record(searched, another, tobs)["own"] for another in case.pulsars]
                    store.put(kept, case.part, case.name, searcher.name, kind, str(index))
            print(f"{case.part} {case.name}: {index + 1} of {max(counts)}", file=sys.stderr, flush=True)


#: What PRESTO's sifting leaves out: lower DMs, and what is seen at fewer of them.
SIFT_DM, SIFT_DMS = 2.0, 2
#: Lines of one source: this close [bins of 1/length].
ONE_SOURCE = 1.0
#: Where lists begin that are read: 6 sigma is the default of PRESTO's sifting, S/N 7 that of riptide's rseek.
SHOWN = {"PRESTO": 6.0, "riptide": 7.0}
#: A line is the pulsar's within this of its period, relatively: so well the answers are known.
PERIOD_ERROR = 1e-4


#: Real series, and the period [s] of the pulsar in each; None where there is none.
REAL = {
    "series/GBT_J1807-0847.dat": 0.1637113,
    "series/lovell_psr0.dat": 0.2265362,
    "series/lovell_psr2.dat": 0.476596,
    "series/lovell_psr4.dat": 0.299013,
    "series/lovell_psr5.dat": 0.714571,
    "series/Lband_DM62.00.dat": None,
}


def our_search(path: Path, folder: Path, *options: str) -> tuple[Run, dict[str, Any]]:
    """``pulsar search`` on a file: the product, and what the process took from its start to its end.

    Parameters
    ----------
    path, folder : Path
        The product is written to the folder.
    options : str
        More of the command's options.

    Raises
    ------
    PeerError
        It ends with an error.
    """
    out, spent = folder / f"{path.stem}.h5", Spent()
    command = [sys.executable, "-m", "pulsar", "search", str(path.absolute()), "--out", str(out), "--threads", "1"]
    command += ["--quiet", "--no-completeness", "--set", "output.detections=true", *options]
    spent.run(folder, *command)
    spent.left([out])
    return Run(out), asdict(spent)


def strangers(lines: NDArray[Any], observed: Sky) -> NDArray[np.float64]:
    """Significances of what other programs list and is no pulsar's, whatever its DM: the strongest first.

    Lines at one frequency are one source; what their sifting would leave out is left out.

    Parameters
    ----------
    lines : structured ndarray
        With freq, dm and sigma.
    observed : Sky
    """
    lines = np.sort(lines[lines["dm"] >= SIFT_DM], order="freq")
    if not lines.size:
        return np.zeros(0)
    groups = np.split(lines, np.flatnonzero(np.diff(lines["freq"]) * observed.tobs > ONE_SOURCE) + 1)
    strongest = []
    for group in groups:
        best = group[np.argmax(group["sigma"])]
        away = [np.abs(best["freq"] - pulsar.freq * RATIOS[:, 0] / RATIOS[:, 1]).min() for pulsar in observed.pulsars]
        if len(np.unique(group["dm"])) >= SIFT_DMS and min(away, default=np.inf) * observed.tobs > 0.5:
            strongest.append(float(best["sigma"]))
    return np.sort(np.array(strongest))[::-1]


def examine_ours(path: Path, folder: Path, observed: Sky) -> dict[str, Any]:
    """What our list has of a sky, as numbers of its pulsars, and its cost."""
    run, cost = our_search(path, folder, "--dm", "0", str(DM_HIGH))
    fates, false, _ = judge(run.rows("candidates"), run.rows("detections"), observed)
    above = [n for n, fate in enumerate(fates) if fate.rows > 0 and fate.false_above == 0]
    listed = [n for n, fate in enumerate(fates) if fate.listed]
    return {"injected": len(fates), "above": above, "listed": listed, "false": len(false), **cost}


def examine_presto(path: Path, observed: Sky) -> dict[str, Any]:
    """What accelsearch has of a sky, as numbers of its pulsars, and the cost of PRESTO's programs."""
    spent = Spent()
    lines = presto_search(observed, path, DM_HIGH, spent)
    strange = strangers(lines, observed)
    fates = [Fate(pulsar) for pulsar in observed.pulsars]
    for number, fate in enumerate(fates):
        judge_detections(lines, number, observed, fate)
    least, level = SHOWN["PRESTO"], float(strange[0]) if strange.size else 0.0
    above = [n for n, fate in enumerate(fates) if fate.detected > level]
    listed = [n for n, fate in enumerate(fates) if fate.detected >= least]
    false = int(np.sum(strange >= least))
    return {"injected": len(fates), "above": above, "listed": listed, "false": false, **asdict(spent)}


def examine_skies(store: Store, environments: Sequence[str], seeds: Iterable[int], *, presto: bool) -> None:
    """Random skies through ours, and PRESTO's programs where they are there: those that were not yet."""
    for seed in seeds:
        for environment in environments:
            name = f"{environment}-{seed}"
            programs = ("ours", "PRESTO") if presto else ("ours",)
            missing = [program for program in programs if name not in store.entries("population", program)]
            if not missing:
                continue
            with scratch_folder() as folder:
                path = folder / f"{name}.fil"
                observed = write(sky(environment, seed), path)
                if "ours" in missing:
                    store.put(examine_ours(path, folder, observed), "population", "ours", name)
                if "PRESTO" in missing:
                    store.put(examine_presto(path, observed), "population", "PRESTO", name)
            print(f"{name}: done", file=sys.stderr, flush=True)


def sources(lines: Sequence[tuple[float, ...]], tobs: float) -> list[tuple[float, ...]]:
    """Lines without those that are close to a stronger one: the strongest first.

    Parameters
    ----------
    lines : sequence of (float, float)
        Frequencies [Hz] and significances.
    tobs : float
        Length [s].
    """
    kept: list[tuple[float, ...]] = []
    for freq, value, *_ in sorted(lines, key=lambda line: -line[1]):
        if all(abs(freq - other) * tobs > ONE_SOURCE for other, _ in kept):
            kept.append((freq, value))
    return kept


def place(freqs: Iterable[float], period: float | None, tobs: float) -> int:
    """Where in a list the pulsar stands as its period, from 1; 0 where it does not.

    Parameters
    ----------
    freqs : iterable of float
        [Hz]
    period : float or None
        [s]
    tobs : float
        Length [s].
    """
    if period is None:
        return 0
    allowed = max(PERIOD_ERROR / period, 0.3 / tobs)
    return next((n for n, freq in enumerate(freqs, 1) if abs(freq - 1.0 / period) <= allowed), 0)


def examine_real(store: Store, searchers: Sequence[Searcher], folder: Path) -> None:
    """Real series through all programs, those that were not yet; in place of ours, ``pulsar search`` runs.

    Of its list rows count that are attached to no other and have no flag.
    """
    for name, period in REAL.items():
        path = folder / name
        with open_observation(path) as obs:
            tobs, tsamp = obs.header.tobs, obs.header.tsamp
        for searcher in searchers:
            if name in store.entries("real", searcher.name):
                continue
            if searcher.name == "ours":
                with scratch_folder() as temporary:
                    run, kept = our_search(path, temporary)
                    rows = np.sort(run.rows("candidates"), order="rank")
                freqs = rows["freq"][(rows["harmonic_of"] == "") & (rows["rfi_flags"] == "")].tolist()
            else:
                kept = asdict(searcher.search(path, tsamp))
                least = next(value for word, value in SHOWN.items() if word in searcher.name)
                freqs = [freq for freq, *_ in sources([line for line in kept.pop("lines") if line[1] >= least], tobs)]
            kept |= {"shown": len(freqs), "place": place(freqs, period, tobs), "period": period}
            store.put(kept, "real", searcher.name, name)
        print(f"{name}: done", file=sys.stderr, flush=True)


@contextmanager
def measuring(file: Path | None, into: Path | None) -> Iterator[Store]:
    """What was measured, open to more of it; then its tables are printed, or put into a page."""
    try:
        store = Store(file)
        yield store
    except (PulsarError, PeerError) as error:
        raise SystemExit(str(error)) from None
    put(tables(store.content), into)


@app.command()
def series(
    log2n: Annotated[int, typer.Option(help="2^N samples of 60 us")] = 22,
    noise: Annotated[int, typer.Option(help="series of noise")] = 100,
    pulsars: Annotated[int, typer.Option(help="series with a pulsar")] = 100,
    riptides: Annotated[int, typer.Option("--riptide", help="of each kind for riptide, which takes long")] = 40,
    env: Env = None,
    only: Only = "",
    file: Json = None,
    into: Into = None,
) -> None:
    """Dedispersed series with one pulsar each, and as many of noise alone."""
    with measuring(file, into) as store, programs(only, env) as searchers:
        case = versus_series.white_noise(SEED, log2n, TSAMP, noise, pulsars)
        run_series(store, searchers, case, (noise, pulsars), {"riptide": (riptides, riptides)})


@app.command()
def red(
    log2n: Annotated[int, typer.Option(help="2^N samples of 128 us")] = 20,
    count: Annotated[int, typer.Option(help="series of noise, and with a pulsar, of each range of knees")] = 200,
    env: Env = None,
    only: Only = "ours,numharm 16",
    file: Json = None,
    into: Into = None,
) -> None:
    """Series in red noise, of knees from 0.1 to 50 Hz: one pulsar each, and as many of noise alone."""
    with measuring(file, into) as store, programs(only, env, whiten=True) as searchers:
        for case in versus_series.red_noise(SEED, log2n, RED_TSAMP, count):
            run_series(store, searchers, case, (count, count), {})


@app.command()
def population(
    envs: Annotated[str, typer.Option(help="environments, comma separated")] = "clean,red,impulses",
    first: First = 0,
    files: Annotated[int, typer.Option(help="files of each environment")] = 1,
    file: Json = None,
    into: Into = None,
) -> None:
    """Random skies of population.py, from the raw file to the list."""
    with measuring(file, into) as store:
        if missing := missing_programs(("rfifind", "prepsubband", "realfft", "rednoise", "accelsearch")):
            print(f"PRESTO: {missing}", file=sys.stderr)
        examine_skies(store, envs.split(","), range(first, first + files), presto=not missing)


@app.command()
def real(
    folder: Annotated[Path, typer.Argument(help="where the real files are")],
    env: Env = None,
    only: Only = "",
    file: Json = None,
    into: Into = None,
) -> None:
    """Real series with known answers: where the pulsar stands in each list."""
    with measuring(file, into) as store, programs(only, env, whiten=True) as searchers:
        examine_real(store, searchers, folder)


@app.command()
def work(
    fast: Annotated[bool, typer.Option(help="dedisperse one beam of FAST too")] = False,
    searches: Annotated[bool, typer.Option(help="accelerations too")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="of which the least counts")] = 3,
    file: Json = None,
    into: Into = None,
) -> None:
    """The same work by other programs and ours, in CPU seconds."""
    with measuring(file, into) as store:
        for contest in works((BAND, FAST) if fast else (BAND,), searches=searches):

            def tell(text: str, what: str = contest.work) -> None:
                print(f"{what}: {text}", file=sys.stderr, flush=True)

            if contest.work not in store.entries("work"):
                store.put(compare(contest.ours, contest.peers, rounds, tell), "work", contest.work)


@app.command()
def table(file: Json = None, into: Into = None) -> None:
    """Tables of what was measured."""
    with measuring(file, into):
        pass


if __name__ == "__main__":
    app()
