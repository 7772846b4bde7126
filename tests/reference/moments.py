"""Obvious forms of pulsar_kernels.moments."""

import numpy as np


def moments(data, top):
    """Mean, standard deviation, count of finite samples, count of samples at `top` or above, per row."""
    x = data.astype(np.float64)
    mean, std, count, ntop = [], [], [], []
    for row in x:
        good = row[np.isfinite(row)]
        count.append(len(good))
        mean.append(good.mean() if len(good) else np.nan)
        std.append(good.std() if len(good) else np.nan)
        ntop.append(int((row >= top).sum()))
    return np.array(mean), np.array(std), np.array(count), np.array(ntop)
