"""How long stages take on this machine: learnt from its searches, kept in the user's cache, used by plans.

A stage of W seconds of work at the default rates takes S + R W processor seconds: S to load libraries and kernels, R
for how this machine compares. Small searches tell S, large ones R.
"""

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from pulsar.data.files import read_bytes
from pulsar.data.unfinished import write_whole
from pulsar.data.validated import STRICT, Count, Seconds, validated
from pulsar.errors import DataError
from pulsar.pipeline.progress import StageTime

#: Processor seconds that a stage takes with hardly any data, its kernels compiled before: of searches of small
#: files, rounded down.
STARTS: Final[dict[str, float]] = {
    "statistics": 0.6,
    "dedispersion": 0.1,
    "search": 0.5,
    "folding": 0.1,
    "the rest": 1.2,
}
#: What one search counts for when the next is added: the last few decide.
KEEP: Final = 0.7
#: Work [s at the default rates] from which on what was measured counts more than the defaults: small searches hardly
#: tell the rate of large ones.
SURE: Final = 5.0
#: Stages as plans have them, and those of `Progress.times` that they stand for.
CLOCKED: Final[dict[str, tuple[str, ...]]] = {
    "statistics": ("statistics", "zero-DM gains"),
    "dedispersion": ("dedispersion",),
    "search": ("search",),
    "folding": ("folding",),
    "the rest": ("clustering", "grouping", "refinement", "cutting out", "writing"),
}


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
        told = False
        for name, stage in self.stages.items():
            if work.get(name, 0.0) > 0.0 and spent.get(name, 0.0) > 0.0:
                stage.learn(work[name], spent[name])
                told = True
        self.searches += told


@dataclass
class _Machines:
    """Costs on all machines that share a cache."""

    machines: dict[str, Rates]
    format: Literal[1] = 1

    __pydantic_config__ = STRICT


_MACHINES: Final = TypeAdapter(_Machines)


def rates_file() -> Path:
    """The file in the user's cache directory (XDG Base Directory Specification)."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "pulsar-search" / "rates.json"


def read_rates(path: Path | None = None) -> Rates:
    """Costs on this machine; the defaults where there is no file, or none that can be used."""
    stages = {name: StageRate(start) for name, start in STARTS.items()}
    with suppress(DataError):
        found = _read(rates_file() if path is None else path).machines.get(platform.node(), Rates({}))
        return Rates({name: found.stages.get(name, stage) for name, stage in stages.items()}, found.searches)
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
    return validated(_MACHINES, read_bytes(path, "rates of machines"), str(path), "remove it")


@contextmanager
def learning(work: Mapping[str, float], times: Callable[[], Mapping[str, StageTime]]) -> Iterator[None]:
    """Learn from what runs inside, if it ends well and nothing had to be compiled for it.

    `work`: CPU seconds of the stages at the default rates. `times`: gives the times of the stages so far.
    """
    from numba.core import event

    class Compiled(event.Listener):
        """Counts what is compiled and not loaded from numba's cache."""

        count = 0

        def on_start(self, _event: Any) -> None:
            self.count += 1

        def on_end(self, _event: Any) -> None:
            pass

    before, compiled = dict(times()), Compiled()
    with event.install_listener("numba:compile", compiled):
        yield
    if compiled.count or "templates" in times():
        return  # nor is a second search, without the sources of the templates, in the plan
    none = StageTime(0.0, 0.0)
    spent = {
        name: sum(times().get(part, none).cpu - before.get(part, none).cpu for part in parts)
        for name, parts in CLOCKED.items()
    }
    rates = read_rates()
    rates.learn(work, spent)
    write_rates(rates)
