"""Plain float64 oracles of pulsar_kernels.matched and pulsar_kernels.pulses."""

import numpy as np


def limits_of(nlevels, threshold, width_max=10**9):
    """Thresholds of sums of k + 1 elements of each level, 2^level samples each: `threshold` in units of their noise."""
    widths = (np.arange(1, 9)[None, :] << np.arange(nlevels)[:, None]).astype(float)
    used = widths <= width_max
    used[1:, :4] = False
    return np.where(used, threshold * np.sqrt(widths), np.inf)


def whiten(series, base, scale, size=32):
    """Samples minus baseline over noise; what is not finite is 0."""
    x = np.asarray(series, dtype=np.float64)
    white = (x - np.repeat(base, size)[: len(x)].astype(np.float64)) * np.repeat(scale, size)[: len(x)]
    return np.where(np.isfinite(white), white, 0.0)


def boxes(white, limits):
    """Largest sum over threshold of every vector of the scan: {(level, first sample): ratio}."""
    n = len(white)
    total = np.concatenate([[0.0], np.cumsum(white)])
    out = {}
    for level, row in enumerate(limits):
        size = 1 << level
        for start in range(0, n, size):
            for k, limit in enumerate(row):
                end = min(start + (k + 1) * size, n)
                # A box may hang over the end by less than an element.
                if not np.isfinite(limit) or start + k * size >= n:
                    continue
                key = (level, start // (32 * size) * 32 * size)
                out[key] = max(out.get(key, -np.inf), (total[end] - total[start]) / limit)
    return out


def best_boxcar(white, width_max):
    """S/N, start and width of the best of all boxcars."""
    total = np.concatenate([[0.0], np.cumsum(white)])
    best = (-np.inf, 0, 0)
    for width in range(1, min(width_max, len(white)) + 1):
        snr = (total[width:] - total[:-width]) / np.sqrt(width)
        k = int(np.argmax(snr))
        best = max(best, (snr[k], k, width))
    return best
