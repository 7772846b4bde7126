"""Plain float64 oracles of pulsar_kernels.harmonics."""

import numpy as np


def harmonic_sum(power, stage):
    """Sum for every index of the top harmonic."""
    nharm = 2**stage
    i = np.arange(len(power))
    return sum(np.asarray(power, dtype=np.float64)[(i * k + nharm // 2) // nharm] for k in range(1, nharm + 1))


def harmonic_peaks(power, limits, thresholds):
    """Set of (stage, index) of the local maxima."""
    found = {}
    for stage, threshold in enumerate(thresholds):
        s = np.concatenate([[0.0], harmonic_sum(power, stage), [0.0]])
        for i in range(limits[stage][0], limits[stage][1]):
            if s[i + 1] > threshold and s[i + 1] >= s[i] and s[i + 1] > s[i + 2]:
                found[(stage, i)] = s[i + 1]
    return found
