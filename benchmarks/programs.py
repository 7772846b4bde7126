"""Running other programs beside ours: found where they are installed, timed in CPU seconds of their processes.

Nothing of them is imported. What is written in C runs as a user would run it, and its whole process counts; what is
written in Python runs in an interpreter of its own environment, and of a contest only the work counts, not imports and
compilation. PRESTO's lists are read here, and its way from a raw file to them: rfifind, prepsubband, realfft, rednoise,
accelsearch, with a plan as DDplan makes it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
#: How a package is provided.
HOWTO = {
    "PRESTO": "put its programs on PATH",
    "PulsarX": "put its programs on PATH",
    "sigpyproc": "give --env a virtual environment with the package sigpyproc",
    "riptide": "give --env a virtual environment with the package riptide-ffa",
}
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


def missing_programs(package: str, programs: Iterable[str]) -> str:
    """How to provide those of some programs that are not there; "" if all are."""
    absent = [name for name in programs if shutil.which(name) is None]
    return f"no {', '.join(absent)}: {HOWTO[package]}" if absent else ""


def missing_module(python: Path | None, module: str, package: str) -> str:
    """How to provide a module that an interpreter cannot import; "" if it can."""
    howto = HOWTO.get(package, "")
    if python is None:
        return howto or "no interpreter"
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    done = subprocess.run([python, "-c", probe], capture_output=True, check=False)
    if not done.returncode:
        return ""
    return f"no {module} in that environment: {howto}".removesuffix(": ")


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
        It cannot be run, or ends with an error.
    """
    env = os.environ | (ONE_THREAD if environment is None else environment)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        except OSError as error:
            raise PeerError(f"{command[0]}: {error.strerror}") from None
        watcher = _Watcher(process.pid)
        watcher.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            watcher.done.set()
            if process.returncode is None:
                process.kill()
                process.wait()
        wall = time.perf_counter() - start
        watcher.join()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    if watcher.late:
        raise PeerError(f"{command[0]}: not done after {PATIENCE:g} s")
    if process.returncode:
        raise PeerError(last_line(texts[1]) or last_line(texts[0]) or f"{command[0]}: exit {process.returncode}")
    return Timing(max(usage.ru_utime + usage.ru_stime, 1e-6), wall, 1), watcher.memory, texts[0]


class _Watcher(threading.Thread):
    """Looks how much memory a process has had, and ends it where it takes too long.

    The figure that comes with its end would be no less than that of who started it.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.done, self.late, self.memory = pid, threading.Event(), False, 0

    def run(self) -> None:
        end = time.monotonic() + PATIENCE
        while not self.done.wait(0.01):
            self.memory = max(self.memory, peak_memory(self.pid))
            if time.monotonic() > end:
                self.late = True
                os.kill(self.pid, signal.SIGKILL)
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
class PeerFigure:
    """One peer on one piece of work.

    Attributes
    ----------
    work, package, program : str
    state : {"measured", "absent", "failed"}
    note : str
        What to know about the figure; of an absent peer how to provide it; of a failed one its last line.
    rounds : int
        Times that it ran.
    cpu_s, wall_s : float or None
        Least CPU time (user and system) and elapsed time.
    ours_cpu_s, ours_wall_s : float or None
        Ours for the same work, in the same rounds, by one thread; None where no peer is there.
    ratio : float or None
        `cpu_s` over `ours_cpu_s`.
    """

    work: str
    package: str
    program: str
    state: Literal["measured", "absent", "failed"]
    note: str = ""
    rounds: int = 0
    cpu_s: float | None = None
    wall_s: float | None = None
    ours_cpu_s: float | None = None
    ours_wall_s: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Peer(ABC):
    """Something that can be run on a piece of work.

    Attributes
    ----------
    package, program : str
    note : str
        What to know about its figures.
    """

    package: str
    program: str
    note: str = field(default="", kw_only=True)

    @abstractmethod
    def missing(self) -> str:
        """How to provide it, "" when it is there."""

    @abstractmethod
    def run(self, folder: Path) -> tuple[Timing, str]:
        """Do the work once in `folder`, which is empty; the times, and what to remark on them.

        Raises
        ------
        PeerError
        """


@dataclass(frozen=True)
class Program(Peer):
    """Programs on PATH, run one after the other.

    Attributes
    ----------
    commands : tuple of tuple of str
        A name and arguments each.
    output : str
        Pattern of the files that are there afterwards.
    copied : tuple of Path
        Files that are put into the folder before.
    uncounted : int
        So many of the first commands prepare the work, and do not count.
    """

    commands: tuple[tuple[str, ...], ...]
    output: str
    copied: tuple[Path, ...] = ()
    uncounted: int = 0

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        return missing_programs(self.package, (name for name, *_ in self.commands))

    def run(self, folder: Path) -> tuple[Timing, str]:
        """Run the programs; the CPU time is that of their processes."""
        for path in self.copied:
            shutil.copy(path, folder)
        cpu, wall, remark = 0.0, 0.0, ""
        for number, command in enumerate(self.commands):
            timing, _, text = measured(command, folder)
            if number >= self.uncounted:
                cpu, wall = cpu + timing.cpu, wall + timing.wall
            # Plans of FFTs made anew take longer than a search of 2^18 samples.
            if "makewisdom" in text:
                remark = "its makewisdom was not run"
        if not any(folder.glob(self.output)):
            raise PeerError(f"wrote no {self.output}")
        return Timing(cpu, wall, 1), remark


@dataclass(frozen=True)
class Script(Peer):
    """A few lines of Python, run by the interpreter of another environment; they time their work themselves.

    Attributes
    ----------
    python : Path or None
        The interpreter.
    module : str
        What must be importable; its package is named like it.
    text : str
        The lines; they end by printing ``{"cpu": s, "wall": s}``.
    arguments : tuple of str
    """

    python: Path | None
    module: str
    text: str
    arguments: tuple[str, ...] = ()

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        return missing_module(self.python, self.module, self.package)

    def run(self, folder: Path) -> tuple[Timing, str]:
        """Run the lines and read their times."""
        _, _, text = measured((str(self.python), "-c", self.text, *self.arguments), folder)
        try:
            times = json.loads(text.splitlines()[-1])
            return Timing(float(times["cpu"]), float(times["wall"]), 1), ""
        except (IndexError, KeyError, TypeError, ValueError):
            raise PeerError(last_line(text)) from None


@dataclass(frozen=True)
class Contest:
    """One piece of work, ours and the peers' ways to do it."""

    work: str
    ours: Callable[[], object]
    peers: tuple[Peer, ...]


@dataclass
class _Least:
    """Least times so far."""

    timing: Timing = field(default_factory=lambda: Timing(float("inf"), float("inf"), 0))
    spent: float = 0.0
    remark: str = ""
    failure: str = ""

    def take(self, timing: Timing, remark: str = "") -> None:
        least = self.timing
        self.remark = remark
        self.spent += timing.wall
        self.timing = Timing(min(least.cpu, timing.cpu), min(least.wall, timing.wall), least.calls + 1)


def hold(contest: Contest, rounds: int, progress: Callable[[str], None]) -> list[PeerFigure]:
    """Run ours and every peer that is there in turn, `rounds` times, after ours was compiled.

    Parameters
    ----------
    contest : Contest
    rounds : int
    progress : callable
        Is given what runs next.
    """
    absent = {peer.program: why for peer in contest.peers if (why := peer.missing())}
    least = {peer.program: _Least() for peer in contest.peers if peer.program not in absent}
    ours = _Least()
    if least:
        progress(f"{contest.work}: ours")
        contest.ours()
    for number in range(rounds if least else 0):
        ours.take(measure([contest.ours], 0.0, least=1))
        for peer in contest.peers:
            own = least.get(peer.program)
            if own is None or own.failure or own.spent > ENOUGH:
                continue
            progress(f"{contest.work}: {peer.program}, {number + 1} of {rounds}")
            with tempfile.TemporaryDirectory(prefix="pulsar-peer-") as name:
                try:
                    own.take(*peer.run(Path(name)))
                except PeerError as error:
                    own.failure = str(error)
    figures = []
    for peer in contest.peers:
        figure = PeerFigure(contest.work, peer.package, peer.program, "absent", absent.get(peer.program, ""))
        if (own := least.get(peer.program)) is not None:
            figure = replace(figure, ours_cpu_s=ours.timing.cpu, ours_wall_s=ours.timing.wall)
            if own.failure:
                figure = replace(figure, state="failed", note=own.failure)
            else:
                figure = replace(
                    figure,
                    state="measured",
                    note="; ".join(text for text in (peer.note, own.remark) if text),
                    rounds=own.timing.calls,
                    cpu_s=own.timing.cpu,
                    wall_s=own.timing.wall,
                    ratio=own.timing.cpu / ours.timing.cpu,
                )
        figures.append(figure)
    return figures


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


def spectrum_lines(
    folder: Path, stem: str, spent: Spent, *options: str, binaries: Path | None = None, whiten: bool = False
) -> list[Line]:
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
    binaries : Path, optional
        Folder of the programs; None: on PATH.
    whiten : bool
        Run rednoise.
    """

    def run(program: str, *words: str) -> None:
        spent.run(folder, str(binaries / program) if binaries else program, *words)

    run("realfft", f"{stem}.dat")
    if whiten:
        run("rednoise", f"{stem}.fft")
        stem += "_red"
    run("accelsearch", *options, f"{stem}.fft")
    return [line for path in folder.glob(f"{stem}_ACCEL_*[0-9]") for line in read_listing(path)]


def accelsearch_lines(series: NDArray[np.float32], tsamp: float, *options: str) -> list[Line]:
    """What realfft and accelsearch (on PATH) with these options find in a series."""
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


def presto_search(binaries: Path, observed: Sky, path: Path, dm_high: float, spent: Spent) -> NDArray[Any]:
    """All that accelsearch has in a file from 4 sigma on.

    Parameters
    ----------
    binaries : Path
        Folder of the programs.
    observed : Sky
    path : Path
        The file.
    dm_high : float
        Highest DM.
    spent : Spent
        What it takes is added there.
    """
    programs = binaries.resolve()
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def run(program: str, *words: str) -> None:
            spent.run(folder, str(programs / program), *words)

        run("rfifind", "-time", "1.0", "-o", "m", str(path.resolve()))
        for low, step, number, down in presto_plan(observed, dm_high):
            # Filled up to a power of two: for others FFTW makes a new plan each time, longer than the search takes.
            length = 1 << int(np.ceil(np.log2(observed.nsamps // down)))
            options = ["-nsub", str(observed.nchans), "-lodm", f"{low:.2f}", "-dmstep", f"{step:.2f}"]
            options += ["-numdms", str(number), "-numout", str(length), "-downsamp", str(down), "-nobary"]
            run("prepsubband", *options, "-mask", "m_rfifind.mask", "-o", "s", str(path.resolve()))
            for series in sorted(folder.glob("s_DM*.dat")):
                name = series.stem
                # From below the slowest pulsar on.
                options = ["-zmax", "0", "-numharm", "16", "-sigma", "4.0", "-flo", "0.15"]
                lines = spectrum_lines(folder, name, spent, *options, binaries=programs, whiten=True)
                dm, tobs = float(name.rsplit("DM", 1)[1]), length * down * observed.tsamp
                found += [(dm, line.r / tobs, line.sigma, line.sigma, "presto") for line in lines]
                spent.left(folder.glob(f"{name}*"))
                for old in folder.glob(f"{name}*"):
                    old.unlink()
        spent.left(folder.iterdir())
    return np.array(found, DTYPE)
