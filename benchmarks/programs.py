"""Running other programs beside ours: found on PATH, timed in CPU seconds of their processes.

Nothing of them is imported. What is written in C runs as a user would run it, and its whole process counts; what is
written in Python runs in an interpreter of its own environment. PRESTO's lists are read here, and its way from a raw
file to them: rfifind, prepsubband, realfft, rednoise, accelsearch, with a plan as DDplan makes it. For versus.py here
are also the searches of series that it compares: accelsearch is started anew for every series, as PRESTO is used, and
its whole processes count. Ours and riptide live in a Python of their own that is given one series after the other, as
their pipelines do: there only the work counts, from the file to the list, not imports and compilation, but the memory
is that of the whole process.
"""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from population_sky import Sky

from pulsar.bench.limits import Timing, measure
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.io.series import write_series

#: A program that takes longer has failed [s].
PATIENCE = 3600.0
#: No peer runs again that has taken this long already [s]: what disturbs a figure is short against it.
ENOUGH = 10.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class PeerError(Exception):
    """A program did not do its work; the message is its last line."""


def interpreter(env: Path | None) -> Path | None:
    """The Python of a virtual environment.

    Raises
    ------
    ConfigError
        There is none.
    """
    if env is None:
        return None
    python = env.absolute() / "bin" / "python"
    if not os.access(python, os.X_OK):
        raise ConfigError(f"--env {env}: has no bin/python; give the folder of a virtual environment")
    return python


def missing_programs(programs: Iterable[str]) -> str:
    """How to provide those of some programs that are not there; "" if all are."""
    absent = [name for name in programs if shutil.which(name) is None]
    return f"no {', '.join(absent)}: put its programs on PATH" if absent else ""


def missing_module(python: Path | None, module: str) -> str:
    """How to provide a module that an interpreter cannot import; "" if it can."""
    howto = f"give --env a virtual environment that has {module}"
    if python is None:
        return howto
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    done = subprocess.run([python, "-c", probe], capture_output=True, check=False)
    return f"no {module} in that environment: {howto}" if done.returncode else ""


@dataclass(frozen=True)
class Ran:
    """A process that has ended.

    Attributes
    ----------
    wall, user, system : float
        Elapsed time, and that of the processor for the program and for the system [s].
    memory : int
        Most that it had [byte].
    code : int
        Exit code, or a signal below 0.
    late : bool
        It was ended because its time was over.
    out, err : str
        What it printed.
    """

    wall: float
    user: float
    system: float
    memory: int
    code: int
    late: bool
    out: str
    err: str

    @property
    def cpu(self) -> float:
        """Of the processor [s]."""
        return self.user + self.system


def run(command: Sequence[str], folder: Path, environment: dict[str, str], patience: float) -> Ran:
    """Run a command in a folder, and end it and all its processes (SIGKILL) after so many seconds.

    Parameters
    ----------
    command : sequence of str
    folder : Path
    environment : dict
        Added to ours.
    patience : float
        [s]
    """
    given = {"cwd": folder, "env": os.environ | environment, "stdin": subprocess.DEVNULL, "start_new_session": True}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, **given)
        watcher = _Watcher(process.pid, patience)
        watcher.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            watcher.done.set()
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        wall = time.perf_counter() - start
        watcher.join()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    code = process.returncode
    return Ran(wall, usage.ru_utime, usage.ru_stime, watcher.memory, code, watcher.late, *texts)


def measured(
    command: Sequence[str], folder: Path, environment: dict[str, str] | None = None
) -> tuple[Timing, int, str]:
    """Run a command; its times, the most memory that it had [byte] and what it printed.

    Parameters
    ----------
    command : sequence of str
    folder : Path
        In which it runs.
    environment : dict, optional
        Added to ours. Default: what holds libraries to one thread.

    Raises
    ------
    PeerError
        It cannot be run, ends with an error, or takes more than PATIENCE.
    """
    try:
        ran = run(command, folder, ONE_THREAD if environment is None else environment, PATIENCE)
    except OSError as error:
        raise PeerError(f"{command[0]}: {error.strerror}") from None
    if ran.late:
        raise PeerError(f"{command[0]}: not done after {PATIENCE:g} s")
    if ran.code:
        raise PeerError(last_line(ran.err) or last_line(ran.out) or f"{command[0]}: exit {ran.code}")
    return Timing(max(ran.cpu, 1e-6), ran.wall, 1), ran.memory, ran.out


class _Watcher(threading.Thread):
    """Looks how much memory a process has had, and ends it where it takes too long.

    The figure that comes with its end would be no less than that of who started it.
    """

    def __init__(self, pid: int, patience: float) -> None:
        super().__init__(daemon=True)
        self.pid, self.done, self.late, self.memory = pid, threading.Event(), False, 0
        self.end = time.monotonic() + patience

    def run(self) -> None:
        while not self.done.wait(0.005):
            self.memory = max(self.memory, peak_memory(self.pid))
            if time.monotonic() > self.end:
                self.late = True
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                return


def peak_memory(pid: int) -> int:
    """Most resident memory that a process has had since it became its program [byte]; 0 where that cannot be read."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else 0


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1] if lines else ""


@dataclass
class Spent:
    """What programs took.

    Attributes
    ----------
    cpu, wall : float
        Of all processes [s].
    memory : int
        Most that a process had [byte].
    files, size : int
        Files that they left, and their size [byte].
    """

    cpu: float = 0.0
    wall: float = 0.0
    memory: int = 0
    files: int = 0
    size: int = 0

    def run(self, folder: Path, *command: str) -> None:
        """Run a command in a folder, and add what it took; see :func:`measured`."""
        timing, memory, _ = measured(command, folder)
        self.cpu, self.wall, self.memory = self.cpu + timing.cpu, self.wall + timing.wall, max(self.memory, memory)

    def left(self, files: Iterable[Path]) -> None:
        """Count files."""
        for file in files:
            self.files += 1
            self.size += file.stat().st_size


@dataclass(frozen=True)
class Peer:
    """Programs that do a piece of work, run one after the other.

    Attributes
    ----------
    program : str
        In words, the package first.
    commands : tuple of tuple of str
        A name and arguments each.
    output : str
        Pattern of the files that are there afterwards.
    copied : tuple of Path
        Files that are put into the folder before.
    uncounted : int
        So many of the first commands prepare the work, and do not count.
    note : str
        What to know about its figures.
    """

    program: str
    commands: tuple[tuple[str, ...], ...]
    output: str
    copied: tuple[Path, ...] = ()
    uncounted: int = 0
    note: str = ""

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        return missing_programs(name for name, *_ in self.commands)

    def run(self) -> tuple[float, float, str]:
        """Do the work once; CPU and elapsed seconds of the processes, and what to know of them.

        Raises
        ------
        PeerError
        """
        cpu, wall, note = 0.0, 0.0, self.note
        with tempfile.TemporaryDirectory(prefix="pulsar-peer-") as name:
            folder = Path(name)
            for path in self.copied:
                shutil.copy(path, folder)
            for number, command in enumerate(self.commands):
                timing, _, text = measured(command, folder)
                if number >= self.uncounted:
                    cpu, wall = cpu + timing.cpu, wall + timing.wall
                # Plans of FFTs made anew take longer than a search of 2^18 samples.
                if "makewisdom" in text:
                    note = f"{self.note}; its makewisdom was not run"
            if not any(folder.glob(self.output)):
                raise PeerError(f"wrote no {self.output}")
        return cpu, wall, note


def compare(
    ours: Callable[[], object], peers: Sequence[Peer], rounds: int, progress: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Least CPU seconds of every peer that is there, and of ours in the same rounds, in turn.

    Parameters
    ----------
    ours : callable
        Is called once before, which compiles.
    peers : sequence of Peer
    rounds : int
        Times that each is run.
    progress : callable
        Is given what runs next, and why a peer does not.

    Returns
    -------
    dict
        By the name of the peer "cpu", "ours" and "note"; nothing of those that are absent or failed.
    """
    there = []
    for peer in peers:
        if missing := peer.missing():
            progress(f"{peer.program}: {missing}")
        else:
            there.append(peer)
    found: dict[str, dict[str, Any]] = {}
    if there:
        ours()
    for number in range(rounds if there else 0):
        own = measure([ours], 0.0, least=1).cpu
        for peer in list(there):
            before = found.get(peer.program, {"cpu": math.inf, "ours": math.inf, "wall": 0.0})
            try:
                progress(f"{peer.program}, {number + 1} of {rounds}")
                cpu, wall, note = peer.run() if before["wall"] < ENOUGH else (math.inf, 0.0, before["note"])
            except PeerError as error:
                progress(f"{peer.program}: {error}")
                there.remove(peer)
                found.pop(peer.program, None)
                continue
            least = {"cpu": min(before["cpu"], cpu), "ours": min(before["ours"], own)}
            found[peer.program] = {**least, "wall": before["wall"] + wall, "note": note}
    return found


def write_dat(path: Path, data: NDArray[np.float32], tsamp: float) -> Path:
    """Write a series as a ``.dat`` with its ``.inf``."""
    header = Header(
        nchans=1, nsamps=len(data), tsamp=tsamp, fch1=1250.0, foff=-500.0, tstart=60000.0, is_series=True, dm=0.0,
        source="noise", telescope="FAST",
    )  # fmt: skip
    write_series(path, data, header, 0.0)
    return path


class Line(NamedTuple):
    """A candidate of accelsearch: significance, summed power, harmonics, frequency and drift in bins."""

    sigma: float
    power: float
    nharm: int
    r: float
    z: float


#: A number as accelsearch writes it: 66.031(31), 0.2(1.0)x10^3; 1044352.313(63, where the column is full.
NUMBER = re.compile(r"^(-?[\d.]+)(?:\([\d.]+\)?)?(?:x10\^(-?\d+))?$")


def read_listing(path: Path) -> list[Line]:
    """Candidates in an ACCEL file, whose first table ends at a blank line: none where there is no such file."""
    lines: list[Line] = []
    for text in path.read_text().splitlines()[3:] if path.exists() else ():
        words = text.split()
        if not words:
            break
        r, z = (NUMBER.match(words[column]) for column in (7, 9))
        if r is None or z is None:
            raise PeerError(f"{path.name}: not a Fourier bin and its drift: {words[7]!r}, {words[9]!r}")
        r0, z0 = (float(number[1]) * 10.0 ** int(number[2] or 0) for number in (r, z))
        lines.append(Line(float(words[1]), float(words[2]), int(words[4]), r0, z0))
    return lines


def spectrum_lines(folder: Path, stem: str, spent: Spent, *options: str, whiten: bool = False) -> list[Line]:
    """What accelsearch with these options finds in a series in a folder, after realfft, and rednoise where asked for.

    Parameters
    ----------
    folder : Path
    stem : str
        Name of its ``.dat`` and ``.inf``.
    spent : Spent
        What it takes is added there.
    options : str
        Of accelsearch.
    whiten : bool
        Run rednoise.
    """

    spent.run(folder, "realfft", f"{stem}.dat")
    if whiten:
        spent.run(folder, "rednoise", f"{stem}.fft")
        stem += "_red"
    spent.run(folder, "accelsearch", *options, f"{stem}.fft")
    return [line for path in folder.glob(f"{stem}_ACCEL_*[0-9]") for line in read_listing(path)]


def accelsearch_lines(series: NDArray[np.float32], tsamp: float, *options: str) -> list[Line]:
    """What realfft and accelsearch with these options find in a series."""
    with tempfile.TemporaryDirectory() as name:
        write_dat(Path(name) / "series.dat", series - series.mean(), tsamp)
        return spectrum_lines(Path(name), "series", Spent(), *options)


#: What is seen in a raw file, in the columns of our detections (PRESTO's sigma knows of no other DMs).
DTYPE = np.dtype([("dm", "f8"), ("freq", "f8"), ("sigma", "f8"), ("sigma_single", "f8"), ("kind", "U8")])


def presto_plan(observed: Sky, dm_high: float) -> list[tuple[float, float, int, int]]:
    """Lowest DM, step, number of DMs and downsampling of each call of prepsubband.

    Steps and downsampling are doubled when the dispersion inside the channels has grown to the next power of two of a
    sample.
    """
    calls = []
    low, down = 0.0, 1
    band, inside = float(np.ptp(observed.delays)), float(np.median(observed.smears))
    while low < dm_high:
        # A step that shifts the ends of the band by a sample.
        step = round(down * observed.tsamp / band, 2)
        end = dm_high if down >= 8 else min(dm_high, 2 * down * observed.tsamp / inside)
        number = max(int(np.ceil((end - low) / step)), 1)
        calls.append((low, step, number, down))
        low, down = low + step * number, down * 2
    return calls


def presto_search(observed: Sky, path: Path, dm_high: float, spent: Spent) -> NDArray[Any]:
    """All that accelsearch has in a file from 4 sigma on.

    Parameters
    ----------
    observed : Sky
    path : Path
        The file.
    dm_high : float
        Highest DM.
    spent : Spent
        What it takes is added there.
    """
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        spent.run(folder, "rfifind", "-time", "1.0", "-o", "m", str(path.resolve()))
        for low, step, number, down in presto_plan(observed, dm_high):
            # Filled up to a power of two: for others FFTW makes a new plan each time, longer than the search takes.
            length = 1 << int(np.ceil(np.log2(observed.nsamps // down)))
            options = ["-nsub", str(observed.nchans), "-lodm", f"{low:.2f}", "-dmstep", f"{step:.2f}"]
            options += ["-numdms", str(number), "-numout", str(length), "-downsamp", str(down), "-nobary"]
            options += ["-mask", "m_rfifind.mask", "-o", "s", str(path.resolve())]
            spent.run(folder, "prepsubband", *options)
            for series in sorted(folder.glob("s_DM*.dat")):
                name = series.stem
                # From below the slowest pulsar on.
                options = ["-zmax", "0", "-numharm", "16", "-sigma", "4.0", "-flo", "0.15"]
                lines = spectrum_lines(folder, name, spent, *options, whiten=True)
                dm, tobs = float(name.rsplit("DM", 1)[1]), length * down * observed.tsamp
                found += [(dm, line.r / tobs, line.sigma, line.sigma, "presto") for line in lines]
                spent.left(folder.glob(f"{name}*"))
                for old in folder.glob(f"{name}*"):
                    old.unlink()
        spent.left(folder.iterdir())
    return np.array(found, DTYPE)


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
    whiten : bool
        Run rednoise between the two, as for real data.
    """

    def __init__(self, nharm: int, *, whiten: bool = False) -> None:
        self.name = f"PRESTO accelsearch -numharm {nharm}"
        self._nharm, self._whiten = nharm, whiten

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        return missing_programs(("realfft", "rednoise", "accelsearch"))

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
            lines = spectrum_lines(folder, stem, found, *options, whiten=self._whiten)
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

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        return missing_module(self._python, self._module)

    def search(self, path: Path, tsamp: float) -> Searched:
        """Search a series; see :meth:`Accelsearch.search`."""
        if self._process is None:
            command = [str(self._python), "-c", self._text + _LOOP]
            #: What it writes to stderr.
            self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115, it is closed with the process
            given = {"text": True, "env": os.environ | ONE_THREAD, "stderr": self._said}
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **given)
        process = self._process
        try:
            print(json.dumps([str(path.absolute()), tsamp]), file=process.stdin, flush=True)
            answer = json.loads(process.stdout.readline())
        except (BrokenPipeError, ValueError):
            self._process = None
            process.communicate()
            with self._said as said:
                said.seek(0)
                raise PeerError(f"{self.name}: {last_line(said.read()) or 'ended'}") from None
        lines = strongest_first([tuple(map(float, line)) for line in answer["lines"]])
        cpu, wall = float(answer["cpu"]), float(answer["wall"])
        return Searched(lines=lines, cpu=cpu, wall=wall, memory=peak_memory(process.pid))

    def close(self) -> None:
        """End its process."""
        if self._process is not None:
            self._process.communicate()
            self._said.close()
            self._process = None


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
