"""Obvious forms of pulsar_kernels.moments."""

import numpy as np


def power_sums(data, top, origin, absolute=False):
    """Sums of the first four powers about `origin`, finite samples, samples at `top` or above, per row."""
    powers, count, ntop = [], [], []
    for row, x0 in zip(data.astype(np.float64), origin, strict=True):
        good = row[np.isfinite(row)] - x0
        if absolute:
            good = np.abs(good)
        powers.append([np.sum(good**k) for k in (1, 2, 3, 4)])
        count.append(len(good))
        ntop.append(int((row >= top).sum()))
    return np.array(powers).T, np.array(count), np.array(ntop)


def band_sums(data, bands, first, shape):
    """Sum of the finite samples over the channels of each band, from column `first` on."""
    out = np.zeros(shape)
    for row, band in zip(data.astype(np.float64), bands, strict=True):
        if band >= 0:
            out[band, first : first + len(row)] += np.where(np.isfinite(row), row, 0.0)
    return out


def decimated(data, factor, first, npoints):
    """Sums of the finite samples by groups, sample i in group (first + i) // factor."""
    out = np.zeros((len(data), npoints))
    for i in range(data.shape[1]):
        group = (first + i) // factor
        if group < npoints:
            column = data[:, i].astype(np.float64)
            out[:, group] += np.where(np.isfinite(column), column, 0.0)
    return out
