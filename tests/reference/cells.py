"""Plain float64 oracles of pulsar_kernels.cells."""

from itertools import pairwise

import numpy as np


def moments(series, size=32):
    """Mean, variance and number of the finite samples of every cell."""
    rows = []
    for lo in range(0, len(series), size):
        x = np.asarray(series[lo : lo + size], dtype=np.float64)
        x = x[np.isfinite(x)]
        var = np.sum((x - x.mean()) ** 2) / max(len(x) - 1, 1) if len(x) else 0.0
        rows.append((x.mean() if len(x) else 0.0, var, len(x)))
    return np.array(rows).T


def runs(series, least=32):
    """Stretches of one and the same value of at least two cells."""
    edges = np.flatnonzero(np.diff(series)) + 1
    edges = np.concatenate([[0], edges, [len(series)]])
    return [(int(a), int(b)) for a, b in pairwise(edges) if b - a >= 2 * least - 1]
