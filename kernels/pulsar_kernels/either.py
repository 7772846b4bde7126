"""A series of int16 or float32 for kernels that take both: one version where there would be one for each type.

Such a kernel has two arguments for the series, of which one is empty. What it does with few samples at a time it does
with floats, which hold every 16-bit integer.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel

_NO_INTS = np.zeros(0, np.int16)
_NO_FLOATS = np.zeros(0, np.float32)


def both(series: NDArray[Any]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """The two arguments.

    Parameters
    ----------
    series : ndarray of int16 or float32, shape (n,)
    """
    return (series, _NO_FLOATS) if series.dtype == np.int16 else (_NO_INTS, series)


@kernel(helper=True)
def as_floats(
    ints: NDArray[np.int16], floats: NDArray[np.float32], lo: int, hi: int, work: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Samples ``lo ... hi`` as floats; `work` has room for so many."""
    if ints.shape[0] == 0:
        return floats[lo:hi]
    own = ints[lo:hi]
    part = work[: own.shape[0]]
    for i in range(own.shape[0]):
        part[i] = np.float32(own[i])
    return part
