"""What this machine can do at most: copying memory, adding integers out of the caches, floating point operations."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsar.bench.timing import measure

#: Sizes of the caches where the system does not tell [bytes].
L1_BYTES, L2_BYTES = 32 << 10, 512 << 10
#: Samples of the rows added out of L1 and L2, short against the cache and as long as a tile.
L1_ROW, L2_ROW = 2048, 4096
#: Addresses that agree modulo this look alike to the processor's store buffer.
PAGE_BYTES = 4096
#: Passes of the loop of float32 operations in one call.
FLOAT_REPEAT = 4096
#: Bytes read and written by a copy out of memory (all threads together), and by one in the last cache (each thread).
COPY_BYTES, COPY_NEAR_BYTES = 256 << 20, 16 << 20
#: Work on no more than this is held against the copy in the last cache.
NEAR_BYTES = 64 << 20


@dataclass(frozen=True)
class Limits:
    """Limits of `threads` threads together.

    Attributes
    ----------
    threads : int
    copy : float
        Copying far more memory than any cache holds, bytes read and bytes written, or reading it, whichever is faster
        [bytes/s].
    copy_near : float
        The same of what the last cache may hold, as between two steps of the search [bytes/s].
    adds_l1, adds_l2 : float
        Additions of rows of int16 that lie in half of the L1 cache, and of int8 in half of the L2 cache [adds/s]: what
        the kernels that are held against them add.
    floats : float
        float32 multiplications and additions, nearly all in registers [flop/s].
    """

    threads: int
    copy: float
    copy_near: float
    adds_l1: float
    adds_l2: float
    floats: float

    def shortest(self, nbytes: float, operations: float, arithmetic: str) -> tuple[str, float]:
        """The limit that bounds what every thread has to do, and the least time it takes by it [s].

        Parameters
        ----------
        nbytes, operations : float
            Bytes moved and operations of each thread.
        arithmetic : {"adds L1", "adds L2", "floats"}
            What the operations are.
        """
        name, rate = ("copy near", self.copy_near) if nbytes <= NEAR_BYTES else ("copy", self.copy)
        copying = self.threads * nbytes / rate
        known = {"adds L1": self.adds_l1, "adds L2": self.adds_l2, "floats": self.floats}
        computing = self.threads * operations / known[arithmetic]
        return (name, copying) if copying >= computing else (arithmetic, computing)

    def best(self, other: "Limits") -> "Limits":
        """The greater of each: other work on the machine can only lower what is measured."""
        rates = {f.name: max(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return Limits(**rates | {"threads": self.threads})


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_bytes(level: int) -> int:
    """Size of a core's data cache of level 1 or 2."""
    default = L1_BYTES if level == 1 else L2_BYTES
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            if int((index / "level").read_text()) != level or (index / "type").read_text().strip() == "Instruction":
                continue
            text = (index / "size").read_text().strip()
            return int(text.rstrip("KM")) << {"K": 10, "M": 20}.get(text[-1], 0)
        except (OSError, ValueError):
            continue
    return default


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
    threads : int
    seconds : float
        Processor seconds to spend on each limit.
    copy_bytes : int
        Bytes read and written by the large copy, shared out among the threads.
    """
    from pulsar_kernels.probe import add_rows, multiply_add

    def rate(work: float, calls: Sequence[Callable[[], object]]) -> float:
        calls[0]()  # compiles
        return threads * work / measure(calls, seconds).cpu

    def copying(nbytes: int) -> tuple[float, list[Callable[[], object]]]:
        def one() -> Callable[[], object]:
            # Ones, not zeros: a page that was never written is no memory.
            source, target = np.ones(nbytes // 2, dtype=np.uint8), np.ones(nbytes // 2, dtype=np.uint8)
            return lambda: np.copyto(target, source)

        return float(nbytes), [one() for _ in range(threads)]

    def adding(nbytes: int, row: int, dtype: type[np.signedinteger]) -> tuple[float, list[Callable[[], object]]]:
        nrows = max(nbytes // (np.dtype(dtype).itemsize * row) // 4, 1) * 4
        repeat = max((1 << 25) // (nrows * row), 1)

        def one() -> Callable[[], object]:
            # Half a page apart: a load that seems to overlap the store before it would wait, by the chance of where
            # the memory lies (a third slower).
            rows = _placed(nrows * row, dtype, 0).reshape(nrows, row)
            acc = _placed(row, dtype, PAGE_BYTES // 2)
            return lambda: add_rows(rows, acc, repeat)

        return float(nrows * row * repeat), [one() for _ in range(threads)]

    def moving(nbytes: int) -> float:
        # A kernel that hardly writes may be faster than any copy. Sums of int8: an addition for each byte read.
        return max(rate(*copying(nbytes)), rate(*adding(nbytes // 2, L2_ROW, np.int8)))

    def calculating() -> tuple[float, list[Callable[[], object]]]:
        def one() -> Callable[[], object]:
            x = np.ones(L1_ROW, dtype=np.float32)
            return lambda: multiply_add(x, 0.9, 0.3, FLOAT_REPEAT)

        return 16.0 * L1_ROW * FLOAT_REPEAT, [one() for _ in range(threads)]

    return Limits(
        threads=threads,
        copy=moving(copy_bytes // threads),
        copy_near=moving(min(COPY_NEAR_BYTES, copy_bytes)),
        adds_l1=rate(*adding(cache_bytes(1) // 2, L1_ROW, np.int16)),
        adds_l2=rate(*adding(cache_bytes(2) // 2, L2_ROW, np.int8)),
        floats=rate(*calculating()),
    )
