"""Plain float64 oracles of pulsar_kernels.dedisperse."""

import numpy as np


def shear_add(data, at, delays, origin, factor, out):
    """Column k of channel c is the sum of `factor` samples from origin + delay + k factor on, of those there are."""
    out = out.astype(np.float64)
    for c in range(out.shape[0]):
        for k in range(out.shape[1]):
            begin = origin + delays[c] + k * factor - at
            out[c, k] += sum(float(data[c, i]) for i in range(begin, begin + factor) if 0 <= i < data.shape[1])
    return out


def shifted_sums(window, shifts, first, n):
    channels = range(window.shape[0])
    return np.array(
        [sum((window[c, first + s[c] : first + s[c] + n].astype(float) for c in channels), np.zeros(n)) for s in shifts]
    )
