"""Sizes of memory in words: ``4GiB``, ``512MB``, ``auto``."""

import math
import os
import re
import resource
from pathlib import Path

from pulsar.config.cgroup import Cgroup
from pulsar.errors import ConfigError

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _UNITS |= {_letter: 1024**_power, f"{_letter}ib": 1024**_power, f"{_letter}b": 1000**_power}

#: Addresses of the program with all libraries, before it does anything [byte]: 453 MiB with two cores, of which 40 MiB
#: belong to a thread of OpenBLAS.
LEAST_ADDRESSES = 640 << 20
#: Addresses of a search beyond its memory [byte]: of one of 8 s that took 861 MiB with one thread 381 were resident.
ADDRESSES = 350 << 20
#: Below this nothing sensible can be done [byte].
SMALLEST = 64 * 1024**2
#: More than any node has; beyond it sizes are slips of the keyboard [byte].
LARGEST = 2.0**50


def parse_size(text: str, name: str = "run.memory", such_as: str = "4GiB, 512MB or auto") -> int | None:
    """Bytes in a size such as ``4GiB``, ``1.5 GB`` or ``800M`` (M = MiB); None for ``auto``.

    Parameters
    ----------
    text : str
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
    if size > LARGEST:
        raise ConfigError(f"{name} = {text!r}: expected at most 1024TiB")
    return int(size)


def free_memory() -> int:
    """Memory that this process can still take [byte].

    It is what the system has free, within the limits of its control group and of its addresses (``ulimit -v``).
    """
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return int(min(free, Cgroup().free_memory(), max(address_space() - ADDRESSES, 0.0)))


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


def memory_budget(text: str) -> int:
    """The memory budget [byte] that a setting means; ``auto`` is half of what is free.

    Raises
    ------
    ConfigError
        The text is no size.
    """
    size = parse_size(text)
    return max(free_memory() // 2, SMALLEST) if size is None else size
