"""Searches of one dedispersed series, ours and other programs', each run as its users run it; for versus.py.

accelsearch is started anew for every series, as PRESTO is used, and its whole processes count. Ours and riptide live in
a Python of their own that is given one series after the other, as their pipelines do: there only the work counts, from
the file to the list, not imports and compilation, but the memory is that of the whole process.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from peer_programs import HOWTO, PeerError, last_line, measured, peak_memory
from population_presto import Spent, read_listing

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
    return [(float(d["freq"]), float(d["sigma"])) for d in kept[key].search(data, 0.0).detections]
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
    lines : list of (float, float)
        Frequencies [Hz] and significances, or S/N: the strongest first.
    wall : float
        [s]
    """

    lines: list[tuple[float, float]] = field(default_factory=list)
    wall: float = 0.0

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


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

    def _program(self, name: str) -> str:
        return str(self.folder / name) if self.folder else name

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        absent = [name for name in ("realfft", "accelsearch") if shutil.which(self._program(name)) is None]
        return f"no {', '.join(absent)}: {HOWTO['PRESTO']}" if absent else ""

    def search(self, path: Path, tsamp: float) -> Searched:
        """Search a series.

        Parameters
        ----------
        path : Path
            A ``.dat``; its ``.inf`` beside it.
        tsamp : float
            [s]

        Raises
        ------
        PeerError
        """
        with tempfile.TemporaryDirectory(prefix="pulsar-versus-") as name:
            folder, stem = Path(name), path.stem
            before = []
            for file in (path, path.with_suffix(".inf")):
                (folder / file.name).symlink_to(file.absolute())
                before.append(file.name)
            spectrum = f"{stem}_red.fft" if self._whiten else f"{stem}.fft"
            options = ("-zmax", "0", "-numharm", str(self._nharm), "-sigma", str(LEAST_SIGMA), "-flo", str(LOWEST))
            commands: list[tuple[str, ...]] = [("realfft", path.name)]
            if self._whiten:
                commands.append(("rednoise", f"{stem}.fft"))
            commands.append(("accelsearch", *options, spectrum))
            found = Searched()
            for command in commands:
                timing, memory, _ = measured((self._program(command[0]), *command[1:]), folder)
                found.cpu, found.wall = found.cpu + timing.cpu, found.wall + timing.wall
                found.memory = max(found.memory, memory)
            found.left(file for file in folder.iterdir() if file.name not in before)
            tobs = path.stat().st_size // 4 * tsamp
            listing = folder / f"{Path(spectrum).stem}_ACCEL_0"
            found.lines = strongest_first([(freq, sigma) for sigma, freq in read_listing(listing, tobs)])
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
        if self._python is None:
            return HOWTO.get(self._module, "no interpreter")
        probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({self._module!r}) is None)"
        done = subprocess.run([self._python, "-c", probe], capture_output=True, check=False)
        return f"no {self._module} in that environment" if done.returncode else ""

    def search(self, path: Path, tsamp: float) -> Searched:
        """Search a series; see :meth:`Accelsearch.search`."""
        process = self._process or self._start()
        if process.stdin is None or process.stdout is None:
            raise PeerError(f"{self.name}: its process has no pipes")
        try:
            print(json.dumps([str(path.absolute()), tsamp]), file=process.stdin, flush=True)
            told = json.loads(process.stdout.readline())
        except (BrokenPipeError, ValueError):
            self._process = None
            process.communicate()
            raise PeerError(f"{self.name}: {last_line(self._said.read_text(errors='replace')) or 'ended'}") from None
        lines = strongest_first([(float(freq), float(value)) for freq, value in told["lines"]])
        cpu, wall = float(told["cpu"]), float(told["wall"])
        return Searched(lines=lines, cpu=cpu, wall=wall, memory=peak_memory(process.pid))

    @property
    def _said(self) -> Path:
        """What it writes to stderr."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="pulsar-versus-")
        return Path(self._folder.name) / "said"

    def _start(self) -> subprocess.Popen[str]:
        one = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [str(self._python), "-c", self._text + _LOOP],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=os.environ | one,
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


def strongest_first(lines: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The strongest lines."""
    return sorted(lines, key=lambda line: -line[1])[:MOST_LINES]
