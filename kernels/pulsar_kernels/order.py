"""Order statistics and places in what is sorted; numpy's sort takes seconds to compile."""

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Array


@kernel(helper=True)
def quickselect(x: Array, n: int, k: int) -> float:
    """The k-th smallest of ``x[:n]``, which is reordered."""
    lo = 0
    hi = n - 1
    while hi > lo:
        a = x[lo]
        b = x[(lo + hi) >> 1]
        c = x[hi]
        pivot = max(min(a, b), min(max(a, b), c))
        i = lo
        j = hi
        while i <= j:
            while x[i] < pivot:
                i += 1
            while x[j] > pivot:
                j -= 1
            if i <= j:
                swap = x[i]
                x[i] = x[j]
                x[j] = swap
                i += 1
                j -= 1
        if k <= j:
            hi = j
        elif k >= i:
            lo = i
        else:
            break
    return float(x[k])


@kernel(inline=True)
def first_from(x: Array, start: int, stop: int, limit: float) -> int:
    """The first of ``x[start:stop]``, which ascend, that is not below `limit`; `stop` if there is none."""
    a = start
    b = stop
    while a < b:
        middle = (a + b) >> 1
        if x[middle] < limit:
            a = middle + 1
        else:
            b = middle
    return a
