"""Threads and memory that a run may take of its machine, and those that its stages are left with."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Final

from pulsar.cleaning.statistics import making_bytes, mask_bytes, reading_bytes
from pulsar.cleaning.statistics import reading_threads as fitting
from pulsar.config import resources
from pulsar.config.model import Config
from pulsar.config.resources import ADDRESSES, address_space, memory_budget
from pulsar.data.observation import Observation
from pulsar.dedisp.stream import Reserve
from pulsar.errors import ConfigError
from pulsar.pipeline.progress import Progress

if TYPE_CHECKING:
    from pulsar.pipeline.plan import RunPlan

#: Interpreter, libraries and compiled kernels, outside of what the stages allocate [byte].
BASE_MEMORY: Final = 350 << 20
#: Least that the stages can do with [byte].
LEAST_MEMORY: Final = 64 << 20
#: A run takes more than its budget by this factor at most.
OVER: Final = 1.3


@dataclass(frozen=True)
class Means:
    """All that a stage may take, and where it tells how far it is."""

    threads: int
    memory: int  # [byte]
    scratch: Path  # folder for scratch files
    progress: Progress

    @classmethod
    def of(cls, config: Config, obs: Observation, progress: Progress, out: Path | None = None) -> "Means":
        """Those that are set; scratch files lie beside what is written, unless the settings name a folder."""
        beside = Path(gettempdir()) if out is None else out.absolute().parent
        scratch = Path(config.run.scratch) if config.run.scratch else beside
        return cls(thread_count(config), stage_memory(config, obs), scratch, progress)


def thread_count(config: Config) -> int:
    """Threads of a run: what is configured, or all cores that this process may use."""
    return resources.thread_count(config.run.threads)


def mask_memory(obs: Observation, config: Config) -> tuple[int, int]:
    """Bytes that the mask takes while samples are cleaned, and those that making it takes at its peak."""
    if obs.header.is_series:
        return 0, 0
    return mask_bytes(obs, config.rfi), 0 if config.rfi.mask else making_bytes(obs, config.rfi)


def least_memory(obs: Observation, config: Config) -> int:
    """Bytes below which an observation cannot be searched."""
    kept, used = mask_memory(obs, config)
    return max(BASE_MEMORY + LEAST_MEMORY + kept, int((BASE_MEMORY + used) / OVER) + 1)


def stage_memory(config: Config, obs: Observation) -> int:
    """Bytes that the stages of a run may take: the budget without what the program itself and the mask need.

    Raises
    ------
    ConfigError
        When the budget is too small for anything.
    """
    total, least = memory_budget(config.run.memory), least_memory(obs, config)
    kept, used = mask_memory(obs, config)
    if total < least:
        mask = f" and the mask of so many channels and blocks {used / 2**20:.0f} MiB while it is made" if used else ""
        raise ConfigError(
            f"run.memory = {config.run.memory!r}: {total / 2**20:.0f} MiB are too little, of which the program itself "
            f"takes {BASE_MEMORY / 2**20:.0f} MiB{mask}: give at least {-(-least // 2**20)}MiB"
        )
    return total - BASE_MEMORY - kept


def check_addresses(obs: Observation, config: Config) -> None:
    """Refuse a limit of addresses (``ulimit -v``) within which libraries would abort in the middle of a search.

    Raises
    ------
    ConfigError
        Saying how much is needed.
    """
    threads = thread_count(config)
    budget = max(memory_budget(config.run.memory), least_memory(obs, config))
    # Addresses that each thread of a search takes [byte]: its stack of 8 MiB and its own heap of 128 (malloc of glibc).
    needed = int(OVER * budget) + ADDRESSES + threads * (136 << 20)
    if needed > address_space():
        raise ConfigError(
            f"`ulimit -v` leaves this process {address_space() / 2**20:.0f} MiB of addresses: a search within "
            f"{budget / 2**20:.0f} MiB of memory by {threads} thread{'s' if threads > 1 else ''} may take "
            f"{needed / 2**20:.0f} MiB of them: raise it (ulimit -v {-(-needed >> 10)}), or lower --memory or --threads"
        )


def reading_threads(obs: Observation, config: Config, threads: int) -> int:
    """Threads that take the statistics: no more than fit the memory; what they give does not depend on them."""
    return fitting(obs, config.rfi, threads, memory_budget(config.run.memory) - BASE_MEMORY)


def reserve_ahead(obs: Observation, config: Config, plan: "RunPlan") -> "AbstractContextManager[Reserve | None]":
    """Memory for the samples that dedispersion will keep, asked for while the mask is made.

    None where they will not be kept, where there is one thread (it would be a second one), or where the memory is
    needed before: for the statistics, or to take pulsars out.
    """
    if plan.route is None or plan.route.kind != "samples" or plan.threads < 2 or config.subtract.pulsars:
        return nullcontext()
    whole, each = reading_bytes(obs, config.rfi)
    meanwhile = max(mask_memory(obs, config)[1], whole + plan.threads * each)
    apart, held = plan.route.apart, plan.route.held
    return Reserve(apart, held - apart) if held + meanwhile <= plan.memory else nullcontext()
