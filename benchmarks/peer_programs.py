"""Running other programs beside ours: found where they are installed, timed in CPU seconds of their processes.

Nothing of them is imported. What is written in C runs as a user would run it, and its whole process counts; what is
written in Python runs in an interpreter of its own environment, and only the work counts, not imports and compilation.
The pieces of work are in peers.py.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pulsar.bench.limits import Timing
from pulsar.errors import ConfigError

#: No peer runs again that has taken this long already [s]: what disturbs a figure is short against it.
ENOUGH = 10.0
#: A program that takes longer has failed [s].
PATIENCE = 3600.0

#: How a package is provided.
HOWTO = {
    "PRESTO": "put its programs on PATH",
    "PulsarX": "put its programs on PATH",
    "sigpyproc": "give --env a virtual environment with the package sigpyproc",
    "riptide": "give --env a virtual environment with the package riptide-ffa",
}


class PeerError(Exception):
    """A peer did not do its work; the message is its last line."""


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
    copied : tuple of Path
        Files that are put into the folder before.
    output : str
        Pattern of the files that are there afterwards.
    """

    commands: tuple[tuple[str, ...], ...]
    output: str
    copied: tuple[Path, ...] = ()

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        absent = [name for name, *_ in self.commands if shutil.which(name) is None]
        return f"no {', '.join(absent)}: {HOWTO[self.package]}" if absent else ""

    def run(self, folder: Path) -> tuple[Timing, str]:
        """Run the programs; the CPU time is that of their processes."""
        for path in self.copied:
            shutil.copy(path, folder)
        cpu, wall, remark = 0.0, 0.0, ""
        for command in self.commands:
            timing, text = timed(command, folder)
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
        What must be importable.
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
        if self.python is None:
            return HOWTO[self.package]
        probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({self.module!r}) is None)"
        found = subprocess.run([self.python, "-c", probe], capture_output=True, check=False)
        return f"no {self.module} in that environment: {HOWTO[self.package]}" if found.returncode else ""

    def run(self, folder: Path) -> tuple[Timing, str]:
        """Run the lines and read their times."""
        _, text = timed((str(self.python), "-c", self.text, *self.arguments), folder)
        try:
            told = json.loads(text.splitlines()[-1])
            return Timing(float(told["cpu"]), float(told["wall"]), 1), ""
        except (IndexError, KeyError, TypeError, ValueError):
            raise PeerError(last_line(text)) from None


def timed(command: Sequence[str], folder: Path) -> tuple[Timing, str]:
    """Run a command on one thread; its times and what it printed.

    Raises
    ------
    PeerError
        It cannot be run, or ends with an error.
    """
    timing, _, text = measured(command, folder)
    return timing, text


def measured(command: Sequence[str], folder: Path) -> tuple[Timing, int, str]:
    """Run a command on one thread; its times, the most memory that it had [byte] and what it printed.

    Raises
    ------
    PeerError
        It cannot be run, or ends with an error.
    """
    one = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(
                command, cwd=folder, env=os.environ | one, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
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


@dataclass(frozen=True)
class Contest:
    """One piece of work, ours and the peers' ways to do it."""

    work: str
    ours: Callable[[], object]
    peers: tuple[Peer, ...]


@dataclass
class _Best:
    """Least times so far."""

    timing: Timing = field(default_factory=lambda: Timing(float("inf"), float("inf"), 0))
    spent: float = 0.0
    remark: str = ""
    failure: str = ""

    def take(self, one: Timing, remark: str = "") -> None:
        best = self.timing
        self.remark = remark
        self.spent += one.wall
        self.timing = Timing(min(best.cpu, one.cpu), min(best.wall, one.wall), best.calls + 1)


def once(call: Callable[[], object]) -> Timing:
    start, start_wall = time.process_time(), time.perf_counter()
    call()
    return Timing(time.process_time() - start, time.perf_counter() - start_wall, 1)


def hold(contest: Contest, rounds: int, progress: Callable[[str], None] | None = None) -> list[PeerFigure]:
    """Run ours and every peer that is there in turn, `rounds` times, after ours was compiled.

    Parameters
    ----------
    contest : Contest
    rounds : int
    progress : callable, optional
        Told what runs next.
    """
    tell = progress or (lambda _: None)
    absent = {peer.program: why for peer in contest.peers if (why := peer.missing())}
    here = [peer for peer in contest.peers if peer.program not in absent]
    best = {peer.program: _Best() for peer in here}
    ours = _Best()
    if here:
        tell(f"{contest.work}: ours")
        contest.ours()
    for number in range(rounds if here else 0):
        ours.take(once(contest.ours))
        for peer in here:
            if best[peer.program].failure or best[peer.program].spent > ENOUGH:
                continue
            tell(f"{contest.work}: {peer.program}, {number + 1} of {rounds}")
            with tempfile.TemporaryDirectory(prefix="pulsar-peer-") as name:
                try:
                    best[peer.program].take(*peer.run(Path(name)))
                except PeerError as error:
                    best[peer.program].failure = str(error)
    figures = []
    for peer in contest.peers:
        figure = PeerFigure(contest.work, peer.package, peer.program, "absent", absent.get(peer.program, ""))
        if peer.program in best:
            found, failure = best[peer.program].timing, best[peer.program].failure
            figure = replace(figure, ours_cpu_s=ours.timing.cpu, ours_wall_s=ours.timing.wall)
            if failure:
                figure = replace(figure, state="failed", note=failure)
            else:
                figure = replace(
                    figure,
                    state="measured",
                    note="; ".join(text for text in (peer.note, best[peer.program].remark) if text),
                    rounds=found.calls,
                    cpu_s=found.cpu,
                    wall_s=found.wall,
                    ratio=found.cpu / ours.timing.cpu,
                )
        figures.append(figure)
    return figures


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
