"""CPU and wall time of calls, on one thread or on several side by side."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

#: A figure is the least of at least this many calls ...
LEAST_CALLS = 3
#: ... and no more than these.
MOST_CALLS = 10_000


@dataclass(frozen=True)
class Timing:
    """Time of one call: the least of several.

    Attributes
    ----------
    cpu : float
        Processor seconds of one thread: on a machine that others use too, far steadier than the wall time.
    wall : float
        Seconds until all threads were done.
    calls : int
        Calls of every thread that were timed.
    """

    cpu: float
    wall: float
    calls: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What any figure has: times, and rates per second of processor.

    Attributes
    ----------
    first_s : float
        What the first call took beyond a later one [s]: compilation, or loading what was compiled earlier.
    cpu_s, wall_s : float
        Processor seconds and elapsed ones of one call: the least of a repeat, of the repeats the median.
    cpu_low_s, cpu_high_s : float
        Processor seconds of the fastest and of the slowest repeat.
    calls : int
        Calls that were timed, of all repeats together.
    samples_per_s, bytes_per_s : float
        Samples in; bytes that have to be read and written.
    limit : str
        What bounds it: "copy" (memory), "copy near" (last cache), "adds L1", "adds L2" or "floats".
    fraction : float
        Least time by that limit over the time it took.
    """

    first_s: float
    cpu_s: float
    cpu_low_s: float
    cpu_high_s: float
    wall_s: float
    calls: int
    samples_per_s: float
    bytes_per_s: float
    limit: str
    fraction: float


def measure(calls: Sequence[Callable[[], object]], seconds: float, *, least: int = LEAST_CALLS) -> Timing:
    """Time `calls`, each in a thread of its own at the same time, again and again for about `seconds`.

    Parameters
    ----------
    calls : sequence of callable
        One for each thread; they release the GIL and do equal work.
    seconds : float
        Processor seconds of one thread to spend.
    least : int
        Fewest rounds.
    """
    if len(calls) == 1:
        return _rounds(calls[0], 1, seconds, least)
    with ThreadPoolExecutor(len(calls)) as pool:

        def together() -> None:
            for job in [pool.submit(call) for call in calls]:
                job.result()

        together()  # starts the threads
        return _rounds(together, len(calls), seconds, least)


def in_turn(calls: Sequence[Callable[[], object]], seconds: float, *, least: int = LEAST_CALLS) -> list[Timing]:
    """Time `calls` one after the other, round by round: what else the machine does meanwhile meets all of them alike.

    Parameters
    ----------
    calls : sequence of callable
    seconds : float
        Processor seconds to spend on each.
    least : int
        Fewest rounds.

    Returns
    -------
    list of Timing
        Whose `cpu` is that of all threads of the process together.
    """
    best = [Timing(float("inf"), float("inf"), 0) for _ in calls]
    spent, count = 0.0, 0
    while count < MOST_CALLS and (count < least or spent < seconds):
        longest = 0.0
        for i, call in enumerate(calls):
            one = _rounds(call, 1, 0.0, 1)
            best[i] = Timing(min(best[i].cpu, one.cpu), min(best[i].wall, one.wall), count + 1)
            longest = max(longest, one.cpu, one.wall)
        spent += longest
        count += 1
    return best


def _rounds(call: Callable[[], object], threads: int, seconds: float, least: int) -> Timing:
    cpu, wall, spent, count = float("inf"), float("inf"), 0.0, 0
    while count < MOST_CALLS and (count < least or spent < seconds):
        start, start_wall = time.process_time(), time.perf_counter()
        call()
        used, taken = (time.process_time() - start) / threads, time.perf_counter() - start_wall
        cpu, wall = min(cpu, used), min(wall, taken)
        # The wall time counts too: a call that only waits must not go on for ever.
        spent += max(used, taken / threads)
        count += 1
    # The clock ticks in nanoseconds: nothing takes less than one.
    return Timing(max(cpu, 1e-9), max(wall, 1e-9), count)
