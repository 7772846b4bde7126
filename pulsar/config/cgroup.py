"""What the control group of this process may take: containers and batch systems bound memory and processors by them.

Both versions are read, as the kernel's documentation has them (admin-guide/cgroup-v2, cgroup-v1/memory,
scheduler/sched-bwc). A limit holds for all that is below it: what a group may take is the least of its own and its
parents' limits.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Where the groups are mounted, and which of them this process is in.
MOUNT: Final = Path("/sys/fs/cgroup")
OWN: Final = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Cgroup:
    """The control groups of a process.

    Attributes
    ----------
    mount : Path
        Folder of the hierarchy.
    own : Path
        The file that tells the groups of the process.
    """

    mount: Path = MOUNT
    own: Path = OWN

    def free_memory(self) -> float:
        """Memory that can still be taken [byte]; infinite without a limit. What caches files is given back."""
        free = math.inf
        for folder in self._folders(""):
            cache = _stat(folder, "file") - _stat(folder, "shmem")
            free = min(free, _number(folder / "memory.max") - _number(folder / "memory.current", 0.0) + cache)
        for folder in self._folders("memory"):
            cache = _stat(folder, "total_cache") - _stat(folder, "total_shmem")
            used = _number(folder / "memory.usage_in_bytes", 0.0)
            free = min(free, _number(folder / "memory.limit_in_bytes") - used + cache)
        return max(free, 0.0)

    def processors(self) -> float:
        """Processors that may be kept busy; infinite without a quota."""
        found = math.inf
        for folder in self._folders(""):
            with contextlib.suppress(OSError, ValueError):
                quota, period = (folder / "cpu.max").read_text().split()
                found = min(found, float(quota if quota != "max" else "inf") / float(period))
        for folder in self._folders("cpu"):
            quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
            if 0 < quota_us < math.inf and 0 < period_us < math.inf:
                found = min(found, quota_us / period_us)
        return found

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


def _stat(folder: Path, key: str) -> float:
    """A line of ``memory.stat`` [byte]."""
    try:
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return float(int(value))
    except (OSError, ValueError):
        pass
    return 0.0
