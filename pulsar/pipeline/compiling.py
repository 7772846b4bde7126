"""Kernels compiled for this processor before they are needed, in processes of their own.

A first search compiles some eighty kernels; numba compiles one at a time in a process. So processes share a list, the
most expensive first, while the search reads its statistics. Kernels of one file call the same helpers, which each
process compiles anew: as long as there is something else to do, a file is one process's.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pulsar_kernels
from pulsar.config.model import Config
from pulsar.config.resources import command, environment
from pulsar.data.files import Closing
from pulsar.pipeline.progress import Progress
from pulsar.searches.registry import enabled
from pulsar_kernels import ahead

#: Set to 0 in the environment to have kernels compiled as they are met.
SWITCH = "PULSAR_COMPILE_AHEAD"
#: What is told of it.
WHAT = "kernels for this processor, once"
_POLL = 0.2


def parts_of(config: Config, *, series: bool = False, injected: bool = False) -> list[str]:
    """Parts of the index of kernels that a search with these settings runs through.

    Parameters
    ----------
    series : bool
        A dedispersed series is searched, not raw data.
    injected : bool
        Signals are injected, to tell the completeness.
    """
    parts = [] if series else ["planning", "statistics", "dedispersion"]
    parts += [search.kernels for search in enabled(config)]
    return [*parts, "fold", *(["completeness"] if injected else [])]


class Ahead(Closing):
    """Compiles what is missing among some kernels in the background.

    Parameters
    ----------
    parts : sequence of str
        Of the index of kernels (`pulsar_kernels.ahead`); those of the first part are compiled first.
    jobs : int
        Processes at most.

    Attributes
    ----------
    missing : list of str
        Names of versions that are not stored yet, when this began.
    """

    def __init__(self, parts: Sequence[str], jobs: int) -> None:
        self.missing: list[str] = []
        self._left: list[str] = []
        self._done: set[str] = set()
        self._wanted: set[str] = set()
        self._whose: dict[str, int] = {}
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []
        if os.environ.get(SWITCH) == "0" or not sys.executable or not ahead.place():
            return
        self.missing = [name for name in ahead.versions(parts) if not ahead.stored(name)]
        self._wanted = set(ahead.versions(parts[:1]))
        self._left = list(self.missing)
        for number in range(min(jobs, len(self.missing))):
            process = _worker()
            self._processes.append(process)
            thread = threading.Thread(target=self._feed, args=(process, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _next(self, number: int) -> str:
        """Kernel that a process compiles next, "" if there is nothing left."""

        def place(name: str) -> tuple[bool, bool]:
            owner = self._whose.get(_file(name), number)
            return name not in self._wanted, owner != number

        if not self._left:
            return ""
        name = min(self._left, key=place)
        self._left.remove(name)
        self._whose.setdefault(_file(name), number)
        return name

    def _feed(self, process: "subprocess.Popen[str]", number: int) -> None:
        """Hand one kernel after the other to a process; one that it fails at is compiled where it is met."""
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError), process:
            while True:
                with self._lock:
                    name = self._next(number)
                if not name:
                    break
                process.stdin.write(f"{name}\n")
                process.stdin.flush()
                if not process.stdout.readline():
                    break
                with self._lock:
                    self._done.add(name)

    def wait(self, progress: Progress, parts: Sequence[str] | None = None) -> None:
        """Wait until the kernels of `parts` (all, if not given) are there."""
        needed = set(self.missing) if parts is None else set(self.missing) & set(ahead.versions(parts))
        with self._lock:
            # They come first from now on.
            self._wanted = needed
            ndone = len(self._done & needed)
        if ndone == len(needed) or not self._threads:
            return
        with progress.stage("compiling", len(needed), WHAT, foreseen=False) as tick:
            tick(ndone)
            at_work = self._threads
            while ndone < len(needed) and at_work:
                at_work[0].join(_POLL)
                # Asked before what is done is counted: the last kernel of a process that has ended counts.
                at_work = [thread for thread in at_work if thread.is_alive()]
                with self._lock:
                    now = len(self._done & needed)
                tick(now - ndone)
                ndone = now
            if parts is None:
                # What they have taken of the processor is known when they have ended.
                for thread in self._threads:
                    thread.join()

    def close(self) -> None:
        """End what still runs."""
        with self._lock:
            self._left = []
        for process in self._processes:
            process.terminate()
        for thread in self._threads:
            thread.join()


def _file(name: str) -> str:
    return name.partition(".")[0]


def _worker() -> "subprocess.Popen[str]":
    """A process that compiles what it is told on stdin, and says when it is done."""
    begin = "import sys; sys.path.append(sys.argv[1]); from pulsar_kernels.ahead import main; main()"
    return subprocess.Popen(
        command("-c", begin, str(Path(pulsar_kernels.__file__).parents[1])),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
        text=True,
        # Ctrl-C in the terminal is for the search, which ends its processes itself.
        start_new_session=True,
    )
