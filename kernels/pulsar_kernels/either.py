"""A series of int16 or float32 for kernels that take both: one version where there would be one for each type.

Such a kernel has two arguments for the series, of which one is empty. Floats hold every 16-bit integer.
"""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Array, Float32s, Int16s

P = ParamSpec("P")
R = TypeVar("R")

_NO_INTS = np.zeros(0, np.int16)
_NO_FLOATS = np.zeros(0, np.float32)


def of_series(kernel_of_both: Callable[Concatenate[Int16s, Float32s, P], R]) -> Callable[Concatenate[Array, P], R]:
    """The function for Python of a kernel that takes a series of either type: one argument for the first two.

    Parameters
    ----------
    kernel_of_both : callable
        Its first arguments are the series as int16 and as float32, one of them empty.
    """

    @functools.wraps(kernel_of_both)
    def call(series: Array, /, *args: P.args, **kwargs: P.kwargs) -> R:
        ints, floats = (series, _NO_FLOATS) if series.dtype == np.int16 else (_NO_INTS, series)
        return kernel_of_both(ints, floats, *args, **kwargs)

    return call


@kernel(inline=True)
def sample(ints: Int16s, floats: Float32s, i: int) -> Any:
    """Sample `i`, as a float, of whichever is not empty."""
    return np.float32(floats[i]) if ints.shape[0] == 0 else np.float32(ints[i])
