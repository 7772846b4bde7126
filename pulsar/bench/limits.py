"""Time of calls, and what this machine can do at most: copying, additions out of the caches, float operations."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pulsar.data.validated import Count, Number
from pulsar_kernels.probe import add_rows, multiply_add

#: A figure is the least of at least this many calls.
LEAST_CALLS = 3
#: Samples of the rows added out of L1 and L2, short against the cache and as long as a tile.
L1_ROW, L2_ROW = 2048, 4096
#: Addresses that agree modulo this look alike to the processor's store buffer.
PAGE_BYTES = 4096
#: Bytes read and written by a copy out of memory (all threads together), and by one in the last cache (each thread).
COPY_BYTES, COPY_NEAR_BYTES = 256 << 20, 16 << 20

Call = Callable[[], object]


class Timing(NamedTuple):
    """Time of one call: the least of several."""

    cpu: float  # Processor seconds: on a machine that others use too, far steadier than the wall time
    wall: float  # Elapsed seconds
    calls: int  # Calls that were timed


def in_turn(calls: Sequence[Call], seconds: float, *, least: int = LEAST_CALLS) -> list[Timing]:
    """Time `calls` one after the other, round by round: what else the machine does meanwhile meets all of them alike.

    Parameters
    ----------
    seconds : float
        Processor seconds to spend on each.
    least : int
        Fewest rounds.

    Returns
    -------
    list of Timing
        Whose `cpu` is that of all threads of the process together.
    """
    best = [Timing(math.inf, math.inf, 0) for _ in calls]
    spent, rounds = 0.0, 0
    while rounds < 10_000 and (rounds < least or spent < seconds):
        rounds += 1
        longest = 0.0
        for i, call in enumerate(calls):
            start, start_wall = time.process_time(), time.perf_counter()
            call()
            # The clock ticks in nanoseconds: nothing takes less than one.
            cpu, wall = max(time.process_time() - start, 1e-9), max(time.perf_counter() - start_wall, 1e-9)
            best[i] = Timing(min(best[i].cpu, cpu), min(best[i].wall, wall), rounds)
            # The wall time counts too: a call that only waits must not go on for ever.
            longest = max(longest, cpu, wall)
        spent += longest
    return best


def measure(calls: Sequence[Call], seconds: float, *, least: int = LEAST_CALLS) -> Timing:
    """Time `calls`, each in a thread of its own at the same time, again and again for about `seconds`.

    Parameters
    ----------
    calls : sequence of callable
        One for each thread; they release the GIL and do equal work.
    seconds : float
        Processor seconds of one thread to spend.
    least : int
        Fewest rounds.

    Returns
    -------
    Timing
        Whose `cpu` is that of one thread, `wall` until all were done.
    """
    if len(calls) == 1:
        return in_turn(calls, seconds, least=least)[0]
    with ThreadPoolExecutor(len(calls)) as pool:

        def together() -> None:
            for job in [pool.submit(call) for call in calls]:
                job.result()

        together()  # starts the threads
        timing = in_turn([together], len(calls) * seconds, least=least)[0]
    return timing._replace(cpu=timing.cpu / len(calls))


@dataclass(frozen=True)
class Limits:
    """Limits of some threads together. The texts of the fields, unit and meaning, are a page of the docs."""

    threads: Annotated[Count, "", "threads that ran side by side; the rates are theirs together"]
    copy: Annotated[Number, "bytes/s", "reading and writing far more than any cache holds, or reading it: the faster"]
    copy_near: Annotated[Number, "bytes/s", "the same of what the last cache may hold"]
    adds_l1: Annotated[Number, "1/s", "additions of int16 out of half of the L1 cache"]
    adds_l2: Annotated[Number, "1/s", "additions of int8 out of half of the L2 cache"]
    floats: Annotated[Number, "1/s", "multiplications and additions of float32 in registers"]

    def shortest(self, nbytes: float, operations: float, arithmetic: str) -> tuple[str, float]:
        """The limit that bounds what every thread has to do, and the least time it takes by it [s].

        Parameters
        ----------
        nbytes, operations : float
            Bytes moved and operations of each thread.
        arithmetic : {"adds L1", "adds L2", "floats"}
            Kind of the operations.
        """
        # Work on no more than this is held against the copy in the last cache.
        name, rate = ("copy near", self.copy_near) if nbytes <= (64 << 20) else ("copy", self.copy)
        copying = self.threads * nbytes / rate
        known = {"adds L1": self.adds_l1, "adds L2": self.adds_l2, "floats": self.floats}
        computing = self.threads * operations / known[arithmetic]
        return (name, copying) if copying >= computing else (arithmetic, computing)

    def best(self, second: "Limits") -> "Limits":
        """The greater of each: other work on the machine can only lower what is measured."""
        return Limits(**{f.name: max(getattr(self, f.name), getattr(second, f.name)) for f in fields(self)})


def cache_bytes(level: int) -> int:
    """Size of a core's data cache of level 1 or 2; a usual one where the system does not tell."""
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            if int((index / "level").read_text()) != level or (index / "type").read_text().strip() == "Instruction":
                continue
            text = (index / "size").read_text().strip()
            return int(text.rstrip("KM")) << {"K": 10, "M": 20}.get(text[-1], 0)
        except (OSError, ValueError):
            continue
    return 32 << 10 if level == 1 else 512 << 10


def _placed(count: int, dtype: type[np.signedinteger], offset: int) -> NDArray[np.signedinteger]:
    """`count` zeros that start `offset` bytes into a page."""
    nbytes = count * np.dtype(dtype).itemsize
    memory = np.zeros(nbytes + 2 * PAGE_BYTES, dtype=np.uint8)
    memory[:] = 0  # fetches its pages
    start = -memory.ctypes.data % PAGE_BYTES + offset
    return memory[start : start + nbytes].view(dtype)


def measure_limits(threads: int, seconds: float, *, copy_bytes: int = COPY_BYTES) -> Limits:
    """Measure the limits of `threads` threads that run side by side.

    Parameters
    ----------
    seconds : float
        Processor seconds to spend on each limit.
    copy_bytes : int
        Bytes read and written by the large copy, shared out among the threads.
    """

    def rate(work: float, make: Callable[[], Call]) -> float:
        """Work of all threads a second, each with a call of its own, which does so much."""
        calls = [make() for _ in range(threads)]
        calls[0]()  # compiles
        return threads * work / measure(calls, seconds).cpu

    def copied(nbytes: int) -> float:
        # Ones, not zeros: a page that was never written is no memory.
        source = np.ones(nbytes // 2, dtype=np.uint8)
        return rate(float(nbytes), lambda: partial(np.copyto, source.copy(), source.copy()))

    def added(nbytes: int, row: int, dtype: type[np.signedinteger]) -> float:
        nrows = max(nbytes // (np.dtype(dtype).itemsize * row) // 4, 1) * 4
        repeat = max((1 << 25) // (nrows * row), 1)

        def make() -> Call:
            # Half a page apart: a load that seems to overlap the store before it would wait, by the chance of where
            # the memory lies (a third slower).
            rows = _placed(nrows * row, dtype, 0).reshape(nrows, row)
            return partial(add_rows, rows, _placed(row, dtype, PAGE_BYTES // 2), repeat)

        return rate(float(nrows * row * repeat), make)

    def moved(nbytes: int) -> float:
        # A kernel that hardly writes may be faster than any copy. Sums of int8: an addition for each byte read.
        return max(copied(nbytes), added(nbytes // 2, L2_ROW, np.int8))

    def calculated(passes: int) -> float:
        x = np.ones(L1_ROW, dtype=np.float32)
        return rate(16.0 * L1_ROW * passes, lambda: partial(multiply_add, x.copy(), 0.9, 0.3, passes))

    return Limits(
        threads=threads,
        copy=moved(copy_bytes // threads),
        copy_near=moved(min(COPY_NEAR_BYTES, copy_bytes)),
        adds_l1=added(cache_bytes(1) // 2, L1_ROW, np.int16),
        adds_l2=added(cache_bytes(2) // 2, L2_ROW, np.int8),
        floats=calculated(4096),
    )
