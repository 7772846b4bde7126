"""Obvious forms of pulsar_kernels.interference."""

import numpy as np


def less_running_mean(data, half):
    """Every sample less the mean of those around it."""
    n = data.shape[1]
    x = data.astype(np.float64)
    means = [x[:, max(i - half, 0) : i + half + 1].mean(axis=1) for i in range(n)]
    return x - np.stack(means, axis=1)


def sums(data, shift, nsums):
    """Sums over 1, 2, 4 ... samples, or over twice, four times ... `shift`; 0 where they reach beyond the end."""
    found = []
    for k in range(nsums):
        step = shift << k if shift else (1 << k) >> 1
        n = data.shape[1] - step
        if step:
            later = np.zeros_like(data)
            later[:, : max(n, 0)] = data[:, : max(n, 0)] + data[:, step:]
            data = later
        found.append(data)
    return found


def most_beyond(data, shift, levels):
    """Most rows above, and below, levels in any column of those sums."""
    found = np.zeros((len(levels), 4), dtype=np.int64)
    for k, looked_at in enumerate(sums(data, shift, len(levels))):
        for side in range(4):
            level = levels[k, :, side, None]
            beyond = looked_at > level if side < 2 else looked_at < level
            found[k, side] = beyond.sum(axis=0).max()
    return found


def stretches(some, many, least_some, least_many, longest):
    """Stretches of `some` with a place of `many`."""
    found = []
    i, n = 0, len(some)
    while i < n:
        j = i
        while j < n and some[j] >= least_some:
            j += 1
        if j > i and max(many[i:j]) >= least_many and j - i <= longest:
            found.append((i, j))
        i = max(j, i + 1)
    return found


def count_lines(powers, first, factor):
    """Rows in which each bin exceeds `factor` times the mean."""
    means = powers[:, first:].astype(np.float64).mean(axis=1, keepdims=True)
    above = powers > factor * means
    above[:, :first] = False
    return above.sum(axis=0)


def strongest(powers, first, counted):
    """Largest power over the mean of the noise less its expectation, and its bin."""
    surplus, where = [], []
    for row in powers.astype(np.float64):
        used = row[first:][counted[first:]]
        seen = np.where(counted[first:], row[first:], 0.0)
        below = used[used < 5 * used.mean()] if len(used) else used
        if not seen.max() > 0 or not len(below):
            surplus.append(np.nan)
            where.append(0)
            continue
        mean = below.mean() / (1 - 5 * np.exp(-5) / (1 - np.exp(-5)))
        surplus.append(seen.max() / mean - np.log(len(used)))
        where.append(first + int(np.argmax(seen)))
    return np.array(surplus), np.array(where)


def iqrm(row, lags, threshold):
    """Voters as sets of indices; towards larger values, and of the row turned over."""
    return _iqrm(row, lags, threshold) | _iqrm(-row, lags, threshold)


def _iqrm(row, lags, threshold):
    n = len(row)
    votes_for = [set() for _ in range(n)]
    votes_by = [set() for _ in range(n)]
    for lag in lags:
        for step in (lag, -lag):
            pairs = [(i, i - step) for i in range(n) if 0 <= i - step < n]
            d = np.array([row[i] - row[j] for i, j in pairs])
            good = np.isfinite(d)
            if good.sum() < 4:
                continue
            low, mid, high = np.quantile(d[good], [0.25, 0.5, 0.75])
            for (i, j), x in zip(pairs, d, strict=True):
                if np.isfinite(x) and x - mid > threshold * (high - low) / 1.349:
                    votes_for[i].add(j)
                    votes_by[j].add(i)
    return np.array([any(len(votes_by[j]) < len(votes_for[i]) for j in votes_for[i]) for i in range(n)])


def extend(flags, share):
    """Everything inside a stretch of which all but `share` is flagged."""
    n = len(flags)
    out = np.array(flags, dtype=bool)
    for i in range(n):
        for j in range(i + 1, n + 1):
            if np.sum(flags[i:j]) >= (1 - share) * (j - i) - 1e-9 * n:
                out[i:j] = True
    return out
