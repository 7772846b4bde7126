"""Plain float64 oracles of pulsar_kernels.peaks."""

import numpy as np


def power_at(white, pad, x, taps=8):
    """Fourier interpolation with the full complex weights, normalised to unit norm."""
    n = int(np.floor(x + 0.5))
    k = np.arange(n - taps, n + taps + 1)
    w = np.exp(-1j * np.pi * (x - k)) * np.sinc(x - k)
    return abs(np.sum(w * white[pad + k])) ** 2 / np.sum(np.abs(w) ** 2)


def frequency_information(harmonics):
    """(sum k^2 S)^2 / sum k^2 (S + 1) of the powers that are surely signal; powers of 0 lie beyond Nyquist."""
    k2 = np.arange(1, len(harmonics) + 1) ** 2 * (harmonics > 0)
    signal = max(np.sum(k2 * (harmonics - 1) * (harmonics > 4)), np.sum((harmonics - 1)[harmonics > 0]), 1.0)
    return signal**2 / (signal + k2.sum())


def group(freq, order, tolerance):
    label = np.full(len(freq), -1)
    ngroups = 0
    for i in order:
        if label[i] < 0:
            label[(label < 0) & (np.abs(freq - freq[i]) <= tolerance)] = ngroups
            ngroups += 1
    return label, ngroups


def ratios(freq, err, nharm, free, rows, root, limits):
    out = []
    for i in rows:
        if i == root or not free[i]:
            continue
        for d in range(1, int(min(nharm[i], limits[3])) + 1):
            m = int(np.floor(freq[i] / freq[root] * d + 0.5))
            if m < 1 or m > limits[1 if d == 1 else 2] or (m, d) == (1, 1):
                continue
            if abs(freq[i] - m / d * freq[root]) <= limits[0] * np.hypot(err[i], m / d * err[root]):
                out.append((i, m, d))
                break
    return out
