"""The one decorator of this package.

Every kernel is compiled by :func:`kernel`: ``nogil`` so that a caller's threads run side by side,
``cache`` so that compilation is paid once per machine, ``error_model="numpy"`` so that a division by
zero gives inf as in numpy instead of raising inside a loop.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")

# Lets LLVM reorder sums and fuse multiply-adds, yet keeps NaN and Inf true (``nnan`` and ``ninf`` are left out).
REORDER = frozenset({"nsz", "arcp", "contract", "afn", "reassoc"})


def kernel(*, reorder: bool = False, inline: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function lazily at its first call for the argument types it is given.

    Parameters
    ----------
    reorder : bool
        Let the compiler reorder floating point sums (faster, last digits may differ). NaN stays NaN.
    inline : bool
        Always inline into the calling kernel (small helpers in inner loops).
    """

    def decorate(func: Callable[P, R]) -> Callable[P, R]:
        options: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
        if reorder:
            options["fastmath"] = set(REORDER)
        if inline:
            options["inline"] = "always"
        compiled: Callable[P, R] = njit(**options)(func)
        return compiled

    return decorate
