"""Memory and processors that this process may take, and work shared out over threads and processes of Python.

Limits are those of settings, the environment, containers and batch systems. Both versions of control groups are read,
as the kernel's documentation has them (admin-guide/cgroup-v2, cgroup-v1/memory, scheduler/sched-bwc). A limit holds for
all that is below it: what a group may take is the least of its own and its parents' limits. A process that this program
starts takes no module from the folder in which it begins.
"""

import contextlib
import ctypes
import math
import os
import re
import resource
import site
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pulsar.errors import ConfigError

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _UNITS |= {_letter: 1024**_power, f"{_letter}ib": 1024**_power, f"{_letter}b": 1000**_power}

#: Addresses of the program with all libraries, before it does anything [byte]: 453 MiB with two threads of linear
#: algebra, of which 40 MiB belong to the second.
LEAST_ADDRESSES = 640 << 20
#: Addresses of a search beyond its memory [byte]: of one of 8 s that took 861 MiB with one thread 381 were resident.
ADDRESSES = 350 << 20
#: Below this nothing sensible can be done [byte].
SMALLEST = 64 * 1024**2
#: Variables by which a user, or a batch system, says what programs with threads may take.
VARIABLES: Final = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
#: Threads of linear algebra, unless the user says otherwise. The program shares out its work itself; beside it, threads
#: that wait for work with busy loops took a fifth of the processor time of a search of a short series.
LINEAR_ALGEBRA: Final = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
#: Where the groups are mounted, and which of them this process is in.
MOUNT: Final = Path("/sys/fs/cgroup")
OWN: Final = Path("/proc/self/cgroup")
#: Of both versions the controller, its files of the limit and of what is used, and its lines of what is cached and of
#: what of that cannot be given back.
_MEMORY: Final = (
    ("", "memory.max", "memory.current", "file", "shmem"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache", "total_shmem"),
)


def parse_size(text: str, name: str = "run.memory", such_as: str = "4GiB, 512MB or auto") -> int | None:
    """Bytes in a size such as ``4GiB``, ``1.5 GB`` or ``800M`` (M = MiB); None for ``auto``.

    Parameters
    ----------
    name : str
        The setting or option, for the message.
    such_as : str
        What may stand there, for the message.

    Raises
    ------
    ConfigError
        The text is no size, less than 64 MiB or more than 1 PiB.
    """
    if text.strip().lower() == "auto":
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].lower() not in _UNITS:
        raise ConfigError(f"{name} = {text!r}: expected a size such as {such_as}")
    size = float(match[1]) * _UNITS[match[2].lower()]
    if size < SMALLEST:
        raise ConfigError(f"{name} = {text!r}: expected at least 64MiB (is the unit missing?)")
    # More than any node has; beyond it sizes are slips of the keyboard [byte].
    if size > 2.0**50:
        raise ConfigError(f"{name} = {text!r}: expected at most 1024TiB")
    return int(size)


def free_memory() -> int:
    """Memory that this process can still take [byte].

    It is what the system has free, within the limits of its control group and of its addresses (``ulimit -v``).
    """
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = 1024 * _entry(Path("/proc/meminfo"), "MemAvailable:", installed / 1024)
    return int(min(free, Cgroup().free_memory(), max(address_space() - ADDRESSES, 0.0)))


def resident_memory(pid: int | str = "self") -> int:
    """Memory that a process has [byte]; 0 where it has ended, or nothing tells."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def address_space() -> float:
    """Addresses that this process may take in all (``ulimit -v``) [byte]; infinite without a limit."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return math.inf if limit == resource.RLIM_INFINITY else float(limit)


def check_address_space() -> None:
    """Refuse a limit under which libraries abort or never end when they are loaded.

    Raises
    ------
    ConfigError
        Saying how much is needed.
    """
    if address_space() < LEAST_ADDRESSES:
        raise ConfigError(
            f"`ulimit -v` leaves this process {address_space() / 2**20:.0f} MiB of addresses: numpy, numba and the "
            f"compiled kernels need {LEAST_ADDRESSES / 2**20:.0f} MiB: raise it (ulimit -v {LEAST_ADDRESSES >> 10})"
        )


def keep_freed() -> None:
    """Have memory of arrays that are gone kept for others: every page that the system gives anew takes its time.

    The bounds are those to which the C library of GNU comes by itself where an array of 32 MiB has gone.
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt  # other libraries have none
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
        mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD


def memory_budget(text: str) -> int:
    """The memory budget [byte] that a setting means; ``auto`` is half of what is free.

    Raises
    ------
    ConfigError
        The text is no size.
    """
    size = parse_size(text)
    return max(free_memory() // 2, SMALLEST) if size is None else size


def usable_cores() -> int:
    """Cores that this process may keep busy: those that it may run on, within the quota of its control group."""
    # Of a core and a half the half would be waited for.
    return max(1, int(min(len(os.sched_getaffinity(0)), Cgroup().processors())))


def thread_count(threads: int | None) -> int:
    """The threads asked for; where that is None or 0, the usable cores, and no more than the environment says.

    Parameters
    ----------
    threads : int or None
        Of ``--threads`` or `run.threads`.
    """
    if threads:
        return threads
    return min([usable_cores(), *(n for n in map(_variable, VARIABLES) if n > 0)])


def check_environment() -> None:
    """Refuse what numba stumbles over when it is loaded, with words of its own.

    Raises
    ------
    ConfigError
        ``NUMBA_NUM_THREADS`` is no number of threads.
    """
    text = os.environ.get("NUMBA_NUM_THREADS")
    if text is not None and not re.fullmatch(r"\s*0*[1-9]\d{0,5}\s*", text):
        raise ConfigError(
            f"NUMBA_NUM_THREADS is {text!r} in the environment: expected a number of threads such as 4: set it to one, "
            "or unset it"
        )


def _variable(name: str) -> int:
    """The number in a variable of the environment, of a list its first; 0 where there is none."""
    try:
        return int(os.environ.get(name, "").partition(",")[0])
    except ValueError:
        return 0


@dataclass(frozen=True)
class Cgroup:
    """The control groups of a process."""

    mount: Path = MOUNT  # Folder of the hierarchy
    own: Path = OWN  # The file that tells the groups of the process

    def free_memory(self) -> float:
        """Memory that can still be taken [byte]; infinite without a limit. What caches files is given back."""
        free = math.inf
        for controller, limit, used, cached, shared in _MEMORY:
            for folder in self._folders(controller):
                cache = _entry(folder / "memory.stat", cached) - _entry(folder / "memory.stat", shared)
                free = min(free, _number(folder / limit) - _number(folder / used, 0.0) + cache)
        return max(free, 0.0)

    def processors(self) -> float:
        """Processors that may be kept busy; infinite without a quota."""
        least = math.inf
        for folder in self._folders(""):
            with contextlib.suppress(OSError, ValueError):
                quota, period = (folder / "cpu.max").read_text().split()
                least = min(least, float(quota if quota != "max" else "inf") / float(period))
        for folder in self._folders("cpu"):
            quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
            if 0 < quota_us < math.inf and 0 < period_us < math.inf:
                least = min(least, quota_us / period_us)
        return least

    def _folders(self, controller: str) -> Iterator[Path]:
        """The group of a controller of version 1, or that of version 2 (""), and all above it."""
        try:
            lines = self.own.read_text().splitlines()
        except (OSError, ValueError):
            return
        for line in lines:
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if controller not in controllers.split(",") or (not controller and number != "0"):
                continue
            root = self._root(controllers, controller)
            group = Path(path.lstrip("/"))
            # In a container the path may be that outside: what is not there is passed over, up to the mount itself.
            for part in (group, *group.parents):
                if ".." not in part.parts and (root / part).is_dir():
                    yield root / part

    def _root(self, controllers: str, controller: str) -> Path:
        # Controllers are mounted together, as "cpu,cpuacct", or under their own names.
        names = ("unified",) if not controller else (controllers, controller)
        return next((self.mount / name for name in names if (self.mount / name).is_dir()), self.mount)


def _number(path: Path, otherwise: float = math.inf) -> float:
    """The number in a file; `otherwise` where there is none, as of "max"."""
    try:
        return float(int(path.read_text()))
    except (OSError, ValueError):
        return otherwise


def _entry(path: Path, name: str, otherwise: float = 0.0) -> float:
    """The number behind a name in a file of names and numbers, one a line; `otherwise` where there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] == [name]:
                return float(int(words[1]))
    return otherwise


T = TypeVar("T")


def share_out(pool: ThreadPoolExecutor, threads: int, items: Iterable[T], work: Callable[[Iterator[T]], None]) -> None:
    """Have threads work on items, each taking the next one when it is free.

    To hand items out one by one takes 25 us each. After an error, or Ctrl-C, no other item is begun; the pool has ended
    when its ``with`` block has.

    Parameters
    ----------
    items : iterable
        A range or a list: threads take from it at the same time.
    work : callable
        Goes through the items that it is given, as far as there are any left.
    """
    left = iter(items)

    def some() -> None:
        try:
            work(left)
        finally:
            deque(left, maxlen=0)

    try:
        for future in [pool.submit(some) for _ in range(threads)]:
            future.result()
    finally:
        deque(left, maxlen=0)


def command(*arguments: str) -> list[str]:
    """The command of a Python process with the modules that this one has.

    Parameters
    ----------
    *arguments : str
        Such as ``"-m", "pulsar.batch.process"``.
    """
    return [sys.executable, "-P", *([] if _of_user() else ["-s"]), *arguments]


def _of_user() -> bool:
    """True if modules of this process are from the user's own folder, as after ``pip install --user``."""
    if not site.ENABLE_USER_SITE:
        return False
    prefix = os.path.join(site.getusersitepackages(), "")  # noqa: PTH118  # of a prefix of texts
    return any(str(getattr(module, "__file__", None) or "").startswith(prefix) for module in list(sys.modules.values()))


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of such a process, and of those that it starts, with `LINEAR_ALGEBRA`.

    Relative entries of ``PYTHONPATH``, of which an empty one is the current folder, are left out.

    Parameters
    ----------
    more : mapping of str to str, optional
        What else is set.
    """
    variables = {**LINEAR_ALGEBRA, **os.environ, "PYTHONSAFEPATH": "1", **(more or {})}
    if "PYTHONPATH" in variables:
        entries = variables["PYTHONPATH"].split(os.pathsep)
        variables["PYTHONPATH"] = os.pathsep.join(entry for entry in entries if os.path.isabs(entry))  # noqa: PTH117
    return variables
