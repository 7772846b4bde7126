"""Work shared out over threads, and processes of Python.

A process that this program starts takes no module from the folder in which it begins.
"""

import os
import site
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def share_out(pool: ThreadPoolExecutor, threads: int, items: Iterable[T], work: Callable[[Iterator[T]], None]) -> None:
    """Have threads work on items, each taking the next one when it is free.

    To hand items out one by one takes 25 us each. After an error, or Ctrl-C, no other item is begun; the pool has ended
    when its ``with`` block has.

    Parameters
    ----------
    pool : ThreadPoolExecutor
    threads : int
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
    own = os.path.join(site.getusersitepackages(), "")  # noqa: PTH118  # of a prefix of texts
    return any(str(getattr(module, "__file__", None) or "").startswith(own) for module in list(sys.modules.values()))


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of such a process, and of those that it starts.

    Relative entries of ``PYTHONPATH``, of which an empty one is the current folder, are left out.

    Parameters
    ----------
    more : mapping of str to str, optional
        What else is set.
    """
    variables = {**os.environ, "PYTHONSAFEPATH": "1", **(more or {})}
    if "PYTHONPATH" in variables:
        entries = variables["PYTHONPATH"].split(os.pathsep)
        variables["PYTHONPATH"] = os.pathsep.join(entry for entry in entries if os.path.isabs(entry))  # noqa: PTH117
    return variables
