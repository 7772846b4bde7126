"""Searches of series and of whole files, ours and other programs', each run as its users run it; for versus.py.

accelsearch is started anew for every series, as PRESTO is used, and its whole processes count. Ours and riptide live in
a Python of their own that is given one series after the other, as their pipelines do: there only the work counts, from
the file to the list, not imports and compilation, but the memory is that of the whole process.

Whole files are random skies with several pulsars, and real data: they go through `pulsar search` and through PRESTO's
programs from rfifind to accelsearch.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from population import DM_HIGH
from population_sky import Sky, sky, write
from population_truth import RATIOS, Fate, judge, judge_detections
from programs import (
    ONE_THREAD,
    PeerError,
    Spent,
    last_line,
    missing_module,
    missing_programs,
    peak_memory,
    presto_search,
    spectrum_lines,
)

from pulsar.config.resources import usable_cores
from pulsar.data.locks import FileLock
from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError
from pulsar.io.open import open_observation
from pulsar.io.product.provenance import cpu_model, versions
from pulsar.io.product.reader import Run

#: accelsearch writes what it has from this on [sigma]: below any threshold here; and from this frequency [Hz].
LEAST_SIGMA, LOWEST = 1.0, 0.1
#: Lines of a list that are kept.
MOST_LINES = 100

_OURS = """
import numpy as np
from pulsar.config.model import Config
from pulsar.pipeline.stages import SeriesSearch, Trials

CONFIG = Config.model_validate({"single_pulse": {"enabled": False}})
kept = {}

def search(path, tsamp):
    data = np.fromfile(path, np.float32)
    key = len(data), tsamp
    if key not in kept:
        kept[key] = SeriesSearch(*key, CONFIG, trials=Trials(), memory=1 << 30)
    found = kept[key].search(data, 0.0).detections
    return [(float(d["freq"]), float(d["sigma"]), float(d["sigma_single"])) for d in found]
"""

#: Periods are searched with about as many phase bins as the narrowest pulses there ask for, with fewer where the
#: sampling has no more, boxcars up to 0.35 turns.
_RIPTIDE = """
import numpy as np
from riptide import TimeSeries, ffa_search, find_peaks

RANGES = ((1.2e-3, 10e-3, 20), (10e-3, 0.1, 120), (0.1, 10.0, 240))
FEWEST = 16

def ranges(tsamp):
    for low, high, most in RANGES:
        low = max(low, FEWEST * tsamp)
        while low < high:
            bins = min(most, int(low / tsamp * 1.000001))
            up = high if bins == most else min(high, 2 * low)
            yield max(low, tsamp * bins * 1.000001), up, bins, bins + max(2, bins // 12)
            low = up

def search(path, tsamp):
    series = TimeSeries.from_numpy_array(np.fromfile(path, np.float32), tsamp)
    found = []
    for low, high, least, most in ranges(tsamp):
        _, gram = ffa_search(series, period_min=low, period_max=high, bins_min=least, bins_max=most, ducy_max=0.35)
        found += [(float(peak.freq), float(peak.snr)) for peak in find_peaks(gram, smin=6.0)[0]]
    return found
"""

_LOOP = """
import json, sys, time

for request in sys.stdin:
    cpu, wall = time.process_time(), time.perf_counter()
    lines = search(*json.loads(request))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(json.dumps({"lines": lines, "cpu": cpu, "wall": wall}), flush=True)
"""


@dataclass
class Searched(Spent):
    """What a program made of one series.

    Attributes
    ----------
    lines : list of (float, float) or (float, float, float)
        Frequencies [Hz] and significances, or S/N: the strongest first. Of ours the significance of one trial, too.
    """

    lines: list[tuple[float, ...]] = field(default_factory=list)


class Accelsearch:
    """PRESTO: realfft and accelsearch without acceleration.

    Parameters
    ----------
    nharm : int
        Most harmonics summed.
    folder : Path, optional
        Of its programs; None: they are looked for on PATH.
    whiten : bool
        Run rednoise between the two, as for real data.
    """

    def __init__(self, nharm: int, folder: Path | None = None, *, whiten: bool = False) -> None:
        self.name = f"PRESTO accelsearch -numharm {nharm}"
        self._nharm, self._whiten = nharm, whiten
        if folder is None and (there := shutil.which("accelsearch")):
            folder = Path(there).parent
        self.folder = folder.absolute() if folder else None

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        folder = self.folder or Path()
        return missing_programs("PRESTO", [str(folder / name) for name in ("realfft", "accelsearch")])

    def search(self, path: Path, tsamp: float) -> Searched:
        """Search a ``.dat``, whose ``.inf`` is beside it, of a sampling time [s].

        Raises
        ------
        PeerError
        """
        with tempfile.TemporaryDirectory(prefix="pulsar-versus-") as name:
            folder, stem = Path(name), path.stem
            before = [path.name, path.with_suffix(".inf").name]
            for file in before:
                (folder / file).symlink_to(path.with_name(file).absolute())
            found = Searched()
            options = ("-zmax", "0", "-numharm", str(self._nharm), "-sigma", str(LEAST_SIGMA), "-flo", str(LOWEST))
            lines = spectrum_lines(folder, stem, found, *options, binaries=self.folder, whiten=self._whiten)
            found.left(file for file in folder.iterdir() if file.name not in before)
            tobs = path.stat().st_size // 4 * tsamp
            found.lines = strongest_first([(line.r / tobs, line.sigma) for line in lines])
        return found

    def close(self) -> None:
        """Nothing is kept."""


class Worker:
    """A Python of its own that searches one series after the other.

    Parameters
    ----------
    name : str
    python : Path or None
        The interpreter; None where there is none.
    text : str
        Defines ``search(path, tsamp)`` which returns frequencies and significances.
    module : str
        What must be importable.
    """

    def __init__(self, name: str, python: Path | None, text: str, module: str) -> None:
        self.name = name
        self._python, self._text, self._module = python, text, module
        self._process: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        return missing_module(self._python, self._module, self._module)

    def search(self, path: Path, tsamp: float) -> Searched:
        """Search a series; see :meth:`Accelsearch.search`."""
        process = self._process or self._start()
        if process.stdin is None or process.stdout is None:
            raise PeerError(f"{self.name}: its process has no pipes")
        try:
            print(json.dumps([str(path.absolute()), tsamp]), file=process.stdin, flush=True)
            answer = json.loads(process.stdout.readline())
        except (BrokenPipeError, ValueError):
            self._process = None
            process.communicate()
            raise PeerError(f"{self.name}: {last_line(self._said.read_text(errors='replace')) or 'ended'}") from None
        lines = strongest_first([tuple(map(float, line)) for line in answer["lines"]])
        cpu, wall = float(answer["cpu"]), float(answer["wall"])
        return Searched(lines=lines, cpu=cpu, wall=wall, memory=peak_memory(process.pid))

    @property
    def _said(self) -> Path:
        """What it writes to stderr."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="pulsar-versus-")
        return Path(self._folder.name) / "said"

    def _start(self) -> subprocess.Popen[str]:
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [str(self._python), "-c", self._text + _LOOP],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=os.environ | ONE_THREAD,
            )
        return self._process

    def close(self) -> None:
        """End its process."""
        if self._process is not None:
            self._process.communicate()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


Searcher = Accelsearch | Worker


def ours() -> Worker:
    """The searches for periods of `pulsar search`, with their default settings."""
    return Worker("ours", Path(sys.executable), _OURS, "pulsar")


def riptide(python: Path | None) -> Worker:
    """riptide's ffa_search and find_peaks over 1.2 ms to 10 s."""
    return Worker("riptide ffa_search", python, _RIPTIDE, "riptide")


def strongest_first(lines: Iterable[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The strongest lines."""
    return sorted(lines, key=lambda line: -line[1])[:MOST_LINES]


#: What PRESTO's sifting leaves out: lower DMs, and what is seen at fewer of them.
SIFT_DM, SIFT_DMS = 2.0, 2
#: Lines of one source: this close [bins of 1/length].
ONE_SOURCE = 1.0
#: Where lists begin that are read: 6 sigma is the default of PRESTO's sifting, S/N 7 that of riptide's rseek.
SHOWN = {"PRESTO": 6.0, "riptide": 7.0}
#: A line is the pulsar's within this of its period, relatively: so well the answers are known.
PERIOD_ERROR = 1e-4


class Store:
    """What was measured, in a file that is whole after every entry.

    Parameters
    ----------
    path : Path or None
        None: in memory only.
    write : bool
        Nobody else may write it meanwhile.

    Raises
    ------
    ConfigError
        The file is none of this script, or somebody else writes it.
    """

    def __init__(self, path: Path | None, *, write: bool = True) -> None:
        self._path = path
        self._lock: FileLock | None = None
        self.content: dict[str, Any] = {}
        if path is not None:
            lock = FileLock(path.with_name(f"{path.name}.lock"), fleeting=True)
            if write and not lock.acquire():
                raise ConfigError(f"{path}: another run writes it; wait until it is done, or give another file")
            self._lock = lock
            if path.exists():
                try:
                    self.content = json.loads(path.read_text())
                    self.content["machine"]
                except (ValueError, KeyError, TypeError):
                    self.close()
                    raise ConfigError(f"{path}: not a file of this script; give another name") from None
        self.content.setdefault("machine", {"cpu": cpu_model(), "cores": usable_cores(), "versions": versions()})

    def close(self) -> None:
        """Let others write the file."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

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


@dataclass(frozen=True)
class Real:
    """A real file and its answer: the period [s], None where there is no pulsar; a highest DM for filterbank files."""

    path: str
    period: float | None
    dm_high: float | None = None


REAL = (
    Real("series/GBT_J1807-0847.dat", 0.1637113),
    Real("series/lovell_psr0.dat", 0.2265362),
    Real("series/lovell_psr2.dat", 0.476596),
    Real("series/lovell_psr4.dat", 0.299013),
    Real("series/lovell_psr5.dat", 0.714571),
    Real("series/Lband_DM62.00.dat", None),
    Real("bits/synthetic_2bit.fil", 0.24999, 100.0),
)


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


def examine_presto(path: Path, observed: Sky, binaries: Path) -> dict[str, Any]:
    """What accelsearch has of a sky, as numbers of its pulsars, and the cost of PRESTO's programs."""
    spent = Spent()
    lines = presto_search(binaries, observed, path, DM_HIGH, spent)
    strange = strangers(lines, observed)
    fates = []
    for number, pulsar in enumerate(observed.pulsars):
        fate = Fate(asdict(pulsar))
        judge_detections(lines, number, observed, fate)
        fates.append(fate)
    level = float(strange[0]) if strange.size else 0.0
    return {
        "injected": len(fates),
        "above": [n for n, fate in enumerate(fates) if fate.detected > level],
        "listed": [n for n, fate in enumerate(fates) if fate.detected >= SHOWN["PRESTO"]],
        "false": int(np.sum(strange >= SHOWN["PRESTO"])),
        **asdict(spent),
    }


def population(store: Store, environments: Sequence[str], seeds: Iterable[int], presto: Path | None) -> None:
    """Random skies through both, those that were not yet.

    Parameters
    ----------
    store : Store
    environments : sequence of str
    seeds : iterable of int
    presto : Path or None
        Folder of PRESTO's programs; None: ours alone.
    """
    for seed in seeds:
        for environment in environments:
            name = f"{environment}-{seed}"
            missing = [p for p in ("ours", "PRESTO") if name not in store.entries("population", p)]
            with_ours, with_presto = "ours" in missing, "PRESTO" in missing and presto is not None
            if not with_ours and not with_presto:
                continue
            with tempfile.TemporaryDirectory(prefix="pulsar-versus-") as temporary:
                folder = Path(temporary)
                path = folder / f"{name}.fil"
                observed = write(sky(environment, seed), path)
                if with_ours:
                    store.put(examine_ours(path, folder, observed), "population", "ours", name)
                if with_presto:
                    store.put(examine_presto(path, observed, presto), "population", "PRESTO", name)
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


def our_place(path: Path, file: Real, tobs: float) -> dict[str, Any]:
    """What our list has of a real file: rows without a flag that are attached to no other."""
    with tempfile.TemporaryDirectory(prefix="pulsar-versus-") as temporary:
        options = () if file.dm_high is None else ("--dm", "0", str(file.dm_high))
        run, cost = our_search(path, Path(temporary), *options)
        rows = np.sort(run.rows("candidates"), order="rank")
    rows = rows[(rows["harmonic_of"] == "") & (rows["rfi_flags"] == "")]
    return {"place": place(rows["freq"], file.period, tobs), "shown": len(rows), **cost}


def presto_place(path: Path, file: Real, binaries: Path) -> dict[str, Any]:
    """What accelsearch has of a real filterbank file, at the best of its DMs."""
    with open_observation(path) as obs:
        h = obs.header
    observed = Sky("clean", 0, h.nchans, h.fch1, h.foff, h.tsamp, h.nsamps, ())
    spent = Spent()
    lines = presto_search(binaries, observed, path, file.dm_high or 0.0, spent)
    lines = lines[lines["dm"] >= SIFT_DM]
    pairs = [(float(line["freq"]), float(line["sigma"])) for line in lines]
    listed = sources([pair for pair in pairs if pair[1] >= SHOWN["PRESTO"]], observed.tobs)
    return {"place": place((f for f, _ in listed), file.period, observed.tobs), "shown": len(listed), **asdict(spent)}


def real(store: Store, searchers: Sequence[Searcher], folder: Path) -> None:
    """Real files through all programs, those that were not yet.

    Parameters
    ----------
    store : Store
    searchers : sequence
        Of series; in place of ours, ``pulsar search`` runs.
    folder : Path
        Where the files are.
    """
    for file in REAL:
        path = folder / file.path
        with open_observation(path) as obs:
            tobs, tsamp = obs.header.tobs, obs.header.tsamp
        for searcher in searchers:
            if file.path in store.entries("real", searcher.name):
                continue
            if searcher.name.startswith("ours"):
                kept = our_place(path, file, tobs)
            elif file.dm_high is None:
                searched = searcher.search(path, tsamp)
                least = next(value for word, value in SHOWN.items() if word in searcher.name)
                listed = sources([line for line in searched.lines if line[1] >= least], tobs)
                kept = {**asdict(searched), "shown": len(listed)}
                kept["place"] = place((f for f, _ in listed), file.period, tobs)
                kept.pop("lines")
            elif isinstance(searcher, Accelsearch) and searcher.folder is not None:
                kept = presto_place(path, file, searcher.folder)
            else:
                continue
            store.put({**kept, "period": file.period}, "real", searcher.name, file.path)
        print(f"{file.path}: done", file=sys.stderr, flush=True)
