"""Plain float64 oracles of pulsar_kernels.period."""

import math

import numpy as np


def log_chance(n, m, arc):
    """Every point begins an arc that holds m - 1 of the others."""
    return math.log(n * math.comb(n - 1, m - 1) * arc ** (m - 1) * (1 - arc) ** (n - m)) if arc > 0 else -math.inf


def smallest_arc(phase, m):
    """From each phase on, the distance to the last of the m that follow, round the turn."""
    return min(np.sort((phase - p) % 1.0)[m - 1] for p in phase)


def best_at(times, freq, fewest, error):
    best = (math.inf, 0, 1.0)
    for m in range(fewest, len(times) + 1):
        arc = max(smallest_arc(times * freq % 1.0, m), error * freq, 1e-12)
        if arc < 0.5:
            best = min(best, (log_chance(len(times), m, arc) - math.log(arc), m, arc))
    return best


def search_frequencies(times, first, step, count, fewest, error, nbest):
    freqs = first + step * np.arange(count)
    values = np.array([best_at(times, f, fewest, error)[0] for f in freqs])
    order = np.argsort(values, kind="stable")[:nbest]
    order = order[np.isfinite(values[order])]
    out = np.tile([np.inf, first], (nbest, 1))
    out[: order.size] = np.stack((values, freqs), axis=1)[order]
    return out
