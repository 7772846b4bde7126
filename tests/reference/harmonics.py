"""Plain float64 oracles of pulsar_kernels.harmonics."""

import numpy as np


def half_bins(white, pad, ntaps):
    """Powers at whole and half bins of complex amplitudes with `pad` more on either side."""
    j = np.arange(ntaps)
    w = 1.0 / (np.pi * (j + 0.5))
    w = w / np.sqrt(2.0 * np.sum(w**2))
    nbins = len(white) - 2 * pad
    out = np.empty(2 * nbins)
    for r in range(nbins):
        out[2 * r] = abs(white[pad + r]) ** 2
        out[2 * r + 1] = abs(np.sum(w * (white[pad + r + 1 + j] - white[pad + r - j]))) ** 2
    return out


def honest(power, inverse, own, rest):
    out = np.array(power, dtype=np.float64)
    for i, p in enumerate(out):
        if i < len(inverse):
            p *= 1 + own[i] if p > np.log(2) else 1 - own[i]
            out[i] = np.log1p(p * inverse[i]) / inverse[i]
        elif p > 6.0:
            out[i] = np.log1p(p * rest) / rest
    return out


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
