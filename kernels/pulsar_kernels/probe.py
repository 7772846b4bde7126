"""Limits of the processor: the loops that the kernels are measured against."""

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Float32s


@kernel()
def add_rows(rows: NDArray[np.signedinteger], acc: NDArray[np.signedinteger], repeat: int) -> None:
    """Add every row to `acc`, `repeat` times, four rows at once (sums wrap around).

    Parameters
    ----------
    rows : ndarray of int8 or int16, shape (4 m, n), rows contiguous
        Their size decides which cache they come from.
    acc : ndarray of the same type, shape (n,)
        Added to.
    repeat : int
        ``repeat * rows.size`` additions are made.
    """
    n = acc.shape[0]
    for _ in range(repeat):
        for r in range(0, rows.shape[0], 4):
            a, b, c, d = rows[r], rows[r + 1], rows[r + 2], rows[r + 3]
            for i in range(n):
                acc[i] = np.int16(acc[i] + np.int16(np.int16(a[i] + b[i]) + np.int16(c[i] + d[i])))


@kernel(reorder=True)
def multiply_add(x: Float32s, factor: float, term: float, repeat: int) -> None:
    """Eight times ``x = x * factor + term`` in place, `repeat` times over: ``16 * repeat * x.size`` operations.

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
    factor, term : float
        Of moderate size, so that `x` stays a normal number.
    """
    f = np.float32(factor)
    t = np.float32(term)
    for _ in range(repeat):
        for i in range(x.shape[0]):
            y = x[i]
            y = y * f + t
            y = y * f + t
            y = y * f + t
            y = y * f + t
            y = y * f + t
            y = y * f + t
            y = y * f + t
            x[i] = y * f + t
