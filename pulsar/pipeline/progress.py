"""How a run tells where it is: bars on a terminal, dated lines in a batch log, or nothing; warnings; stage times.

How long stages take on this machine is learnt from these times, kept in the user's cache, and used by plans. A stage of
W seconds of work at the default rates takes S + R W processor seconds: S to load libraries and kernels, R for how this
machine compares. Small searches tell S, large ones R.
"""

import html
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TextIO

from pulsar.data.files import read_bytes
from pulsar.data.text import duration, printable
from pulsar.data.unfinished import write_whole
from pulsar.data.validated import STRICT, Count, Seconds, validated
from pulsar.errors import DataError

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

#: How much is told, from everything to nothing but the error that ends a run.
Level = Literal["debug", "info", "warning", "error"]
#: At most one line in so many seconds while a stage runs, in a batch log [s]: for who looks on (debug), and as a sign
#: of life in stages of hours (info).
INTERVALS: dict[Level, float] = {"debug": 10.0, "info": 600.0}
#: A notebook is sent a new bar no sooner than after so many seconds.
CELL_INTERVAL = 0.2


def processor_seconds() -> float:
    """Processor time of this process and of those that it started and that have ended [s]."""
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


class StageTime(NamedTuple):
    """Time of a stage [s]."""

    wall: float
    cpu: float


#: How a stage tells that more is done, and how it has ended.
Telling = tuple[Callable[[float], None], Callable[[str, StageTime], None]]


class Progress:
    """Progress of a run on stderr, and the one place that warnings go through.

    Parameters
    ----------
    mode : {"auto", "bars", "log", "notebook", "quiet"}
        ``auto``: bars when `stream` is a terminal, dated lines otherwise; ``notebook``: a bar under the cell;
        ``quiet``: warnings only.
    level : {"debug", "info", "warning", "error"}
        ``info``: messages and one line a stage; ``debug``: also where a stage is, every ten seconds in a log;
        ``warning``: as ``quiet``; ``error``: nothing, no warnings either.
    stream : text file, optional
        Default: sys.stderr.
    interval : float, optional
        Shortest time between two lines of one stage in ``log`` mode [s]; default: as the level has it.

    Attributes
    ----------
    times : dict of str to StageTime
        Elapsed and processor time of each finished stage; a stage that ran twice adds up.
    """

    def __init__(
        self,
        mode: Literal["auto", "bars", "log", "notebook", "quiet"] = "auto",
        *,
        level: Level = "info",
        stream: TextIO | None = None,
        interval: float | None = None,
    ) -> None:
        self.stream = sys.stderr if stream is None else stream
        if mode == "auto":
            mode = "bars" if self.stream.isatty() else "log"
        self.mode = "quiet" if level in ("warning", "error") else mode
        self.level = level
        self.interval = INTERVALS.get(level, 0.0) if interval is None else interval
        self.times: dict[str, StageTime] = {}
        self._lock = threading.Lock()
        self._bars: Bars | None = None
        self._warned: set[str] = set()

    def begin(self) -> None:
        """Count the times of stages anew, for another observation."""
        with self._lock:
            self.times = {}

    def warning(self, text: str) -> None:
        """Tell what the astronomer must know, in quiet mode too; the same only once."""
        with self._lock:
            if self.level == "error" or text in self._warned:
                return
            self._warned.add(text)
        if self.mode == "quiet":
            print(f"pulsar: warning: {printable(text, lines=True)}", file=self.stream, flush=True)
        else:
            self.message(f"warning: {text}")

    def message(self, text: str) -> None:
        """One line for the astronomer (nothing in quiet mode)."""
        if self.mode == "quiet":
            return
        text = printable(text, lines=True)
        with self._lock:
            if self._bars is not None:
                self._bars.console.print(text, markup=False, highlight=False)
            elif self.mode == "log":
                self._line(text)
            elif self.mode == "notebook":
                _Cell(html.escape(text))
            else:
                print(text, file=self.stream, flush=True)

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Add the time spent inside to that of `name`, without a word: for parts of a stage that alternate."""
        wall, cpu = time.monotonic(), processor_seconds()
        try:
            yield
        finally:
            self._add(name, StageTime(time.monotonic() - wall, processor_seconds() - cpu))

    def _add(self, name: str, spent: StageTime) -> None:
        with self._lock:
            before = self.times.get(name, StageTime(0.0, 0.0))
            self.times[name] = StageTime(before.wall + spent.wall, before.cpu + spent.cpu)

    @contextmanager
    def stage(
        self, name: str, total: float | None = None, unit: str = "", *, clocked: bool = True, foreseen: bool = True
    ) -> Iterator[Callable[[float], None]]:
        """Run a stage.

        Parameters
        ----------
        total : float, optional
            Amount of work, when known.
        unit : str
            What the amount counts, such as "samples".
        clocked : bool
            False for a stage whose parts are timed by `clock`.
        foreseen : bool
            False for work whose pieces take very different times: how many are done is told, never a time that is left.

        Yields
        ------
        tick : callable
            ``tick(n)`` tells that `n` more were done; safe to call from several threads at once.
        """
        wall, cpu = time.monotonic(), processor_seconds()
        tick, finish = self._start(name, total, unit, foreseen)
        state = "failed"
        try:
            yield tick
            state = "done"
        except KeyboardInterrupt:
            state = "interrupted"
            raise
        except SystemExit:
            # A batch system's way to end a run.
            state = "stopped"
            raise
        finally:
            spent = StageTime(time.monotonic() - wall, processor_seconds() - cpu)
            if clocked:
                self._add(name, spent)
            finish(state, spent)

    def _start(self, name: str, total: float | None, unit: str, foreseen: bool) -> Telling:
        if self.mode == "quiet":
            return _nothing, _nothing
        if self.mode == "bars":
            return self._start_bar(name, total, unit, foreseen)
        start = shown = time.monotonic()
        ticks = 0.0
        cell = _Cell(_bar(name, 0.0 if total else None, unit)) if self.mode == "notebook" else None
        interval = self.interval if cell is None else CELL_INTERVAL

        def tick(n: float = 1) -> None:
            nonlocal ticks, shown
            with self._lock:
                ticks += n
                now = time.monotonic()
                if now - shown < interval:
                    return
                shown = now
                part = min(ticks / total, 1.0) if total else None
                if cell is not None:
                    cell.show(_bar(name, part, unit))
                elif part is None or not foreseen:
                    of = f"{ticks:.4g}" if part is None else f"{ticks:.0f} of {total:.0f}"
                    self._line(f"{name}: {of} {unit}".rstrip())
                else:
                    # Part of a stage from which on the time that is left is told.
                    left = f", {_seconds((now - start) * (1.0 - part) / part)} left" if part >= 0.02 else ""
                    self._line(f"{name}: {100 * part:.0f} % of {total:.4g} {unit}".rstrip() + left)

        def finish(state: str, spent: StageTime) -> None:
            text = f"{name}: {state} in {_seconds(spent.wall)}"
            with self._lock:
                if cell is not None:
                    cell.show(text)
                else:
                    self._line(f"{text} ({_seconds(spent.cpu)} of processor)")

        return tick, finish

    def _start_bar(self, name: str, total: float | None, unit: str, foreseen: bool) -> Telling:
        outer = self._bars is not None
        if self._bars is None:
            self._bars = _new_bars(self.stream)
            self._bars.start()
        bars = self._bars
        task = bars.add_task(name, total=total if foreseen else None, unit=unit)
        ticks = 0.0

        def tick(n: float = 1) -> None:
            nonlocal ticks
            bars.advance(task, n)
            if not foreseen and total:
                ticks += n
                bars.update(task, unit=f"{ticks:.0f} of {total:.0f} {unit}")

        def finish(state: str, spent: StageTime) -> None:
            bars.remove_task(task)
            colour = "green" if state == "done" else "red"
            bars.console.print(f"  [{colour}]{name:<16}[/] {state} in {_seconds(spent.wall)}", highlight=False)
            if not outer:
                bars.stop()
                self._bars = None

        return tick, finish

    def _line(self, text: str) -> None:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=self.stream, flush=True)


def in_notebook() -> bool:
    """True if this is the kernel of a notebook, which shows HTML."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class _Cell:
    """A piece of HTML under the cell of a notebook, to be shown anew."""

    def __init__(self, content: str) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._handle = display(HTML(content), display_id=True)

    def show(self, content: str) -> None:
        self._handle.update(self._html(content))


def _bar(name: str, part: float | None, unit: str) -> str:
    """A stage as HTML: how much of it is done, or that it runs."""
    label = f"<span style='display:inline-block;min-width:10em'>{html.escape(name)}</span>"
    if part is None:
        return f"{label}<progress></progress> {html.escape(unit)}"
    return f"{label}<progress value='{part:.3f}' max='1'></progress> {100 * part:.0f} % of the {html.escape(unit)}"


def _nothing(*_told: object) -> None:
    """Quiet mode counts and tells nothing."""


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 60 else duration(value)


def _new_bars(stream: TextIO) -> "Bars":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns: list[Any] = [
        SpinnerColumn(),
        TextColumn("{task.description:<16}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[unit]}", style="dim"),
    ]
    return Progress(*columns, console=Console(file=stream), transient=True)


#: Stages as plans have them: processor seconds that each takes with hardly any data, its kernels compiled before (of
#: searches of small files, rounded down), and the stages of `Progress.times` that it stands for.
PLANNED: Final[dict[str, tuple[float, tuple[str, ...]]]] = {
    "statistics": (1.0, ("statistics", "zero-DM gains")),
    "dedispersion": (0.1, ("dedispersion",)),
    "search": (0.4, ("search",)),
    "folding": (0.1, ("folding",)),
    "the rest": (0.4, ("clustering", "grouping", "refinement", "judging", "cutting out", "writing")),
}
#: What one search counts for when the next is added: the last few decide.
KEEP: Final = 0.7
#: Work [s at the default rates] from which on what was measured counts more than the defaults: small searches hardly
#: tell the rate of large ones.
SURE: Final = 5.0


@dataclass
class StageRate:
    """Cost of one stage: its start [CPU s] and its CPU seconds for a second of work at the default rates."""

    start: Seconds
    cpu: Seconds = 0.0
    work: Seconds = 0.0

    __pydantic_config__ = STRICT

    @property
    def rate(self) -> float:
        """CPU seconds a second of work; 1 where no search was large enough to tell."""
        return (self.cpu + SURE) / (self.work + SURE)

    def learn(self, work: float, cpu: float) -> None:
        """Add what a search took."""
        # A search tells the start of a stage when its work should take less than this part of it, its rate when more.
        if self.rate * work < 0.25 * self.start:
            self.start = KEEP * self.start + (1.0 - KEEP) * cpu
        else:
            self.cpu = KEEP * self.cpu + max(cpu - self.start, 0.1 * cpu)
            self.work = KEEP * self.work + work


@dataclass
class Rates:
    """Costs of all stages."""

    stages: dict[str, StageRate]
    searches: Count = 0  # that it was learnt from

    __pydantic_config__ = STRICT

    @property
    def source(self) -> str:
        """Where the rates come from, in words."""
        if not self.searches:
            return "by default rates"
        return f"by {self.searches} search{'es' if self.searches > 1 else ''} on this machine"

    def learn(self, work: Mapping[str, float], spent: Mapping[str, float]) -> None:
        """Add a search: the work of its stages [CPU s at the default rates] and what they took [CPU s]."""
        is_new = False
        for name, stage in self.stages.items():
            if work.get(name, 0.0) > 0.0 and spent.get(name, 0.0) > 0.0:
                stage.learn(work[name], spent[name])
                is_new = True
        self.searches += is_new


@dataclass
class _Machines:
    """Costs on all machines that share a cache."""

    machines: dict[str, Rates]
    format: Literal[2] = 2  # another whenever the default rates change, which are its unit

    __pydantic_config__ = STRICT


def rates_file() -> Path:
    """The file in the user's cache directory (XDG Base Directory Specification)."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "pulsar-search" / "rates.json"


def read_rates(path: Path | None = None) -> Rates:
    """Costs on this machine; the defaults where there is no file, or none that can be used."""
    stages = {name: StageRate(start) for name, (start, _) in PLANNED.items()}
    with suppress(DataError):
        rates = _read(rates_file() if path is None else path).machines.get(platform.node(), Rates({}))
        return Rates({name: rates.stages.get(name, stage) for name, stage in stages.items()}, rates.searches)
    return Rates(stages)


def write_rates(rates: Rates, path: Path | None = None) -> None:
    """Keep them, beside those of other machines that share the folder; nothing where it cannot be written."""
    path = rates_file() if path is None else path
    known = _Machines({})
    with suppress(DataError):
        known = _read(path)
    known.machines[platform.node()] = rates
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(known), indent=1))


def _read(path: Path) -> _Machines:
    return validated(_Machines, read_bytes(path, "rates of machines"), str(path), "remove it")


@contextmanager
def learning(work: Mapping[str, float], times: Callable[[], Mapping[str, StageTime]]) -> Iterator[None]:
    """Learn from what runs inside, if it ends well and nothing had to be compiled for it.

    `work`: CPU seconds of the stages at the default rates. `times`: gives the times of the stages so far.
    """
    from numba.core import event

    before = dict(times())
    # What is compiled, and not loaded from numba's cache.
    with event.install_recorder("numba:compile") as compiled:
        yield
    if compiled.buffer or "templates" in times():
        return  # nor is a second search, without the sources of the templates, in the plan
    none = StageTime(0.0, 0.0)
    spent = {
        name: sum(times().get(part, none).cpu - before.get(part, none).cpu for part in parts)
        for name, (_, parts) in PLANNED.items()
    }
    rates = read_rates()
    rates.learn(work, spent)
    write_rates(rates)
