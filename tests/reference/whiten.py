"""Plain float64 oracles of pulsar_kernels.whiten."""

from itertools import pairwise

import numpy as np


def some_spectrum(rng, nbins, nknots):
    """Amplitudes of noise at bins 0 to nbins, the last one real; and log bins and log levels to whiten them by."""
    spec = (rng.standard_normal(nbins + 1) + 1j * rng.standard_normal(nbins + 1)).astype(np.complex64)
    spec[nbins] = spec[nbins].real
    centres = np.sort(rng.uniform(1.5, np.log(nbins), nknots)) + 0.3 * np.arange(nknots)
    return spec, centres, 2.0 - 0.7 * np.arange(nknots)


def block_means(series, nblocks):
    n = len(series)
    out = []
    for b in range(nblocks):
        x = np.asarray(series[b * n // nblocks : (b + 1) * n // nblocks], dtype=np.float64)
        x = x[np.isfinite(x)]
        out.append(np.mean(x) if x.size else np.nan)
    return np.array(out)


def detrend(series, coeffs, nfft):
    n = len(series)
    u = (2.0 * np.arange(n) + 1.0) / n - 1.0
    x = np.asarray(series, dtype=np.float64) - np.polynomial.polynomial.polyval(u, coeffs)
    out = np.zeros(nfft)
    out[:n] = np.where(np.isfinite(x), x, 0.0)
    return out


def median(x):
    return np.sort(np.asarray(x, dtype=np.float64))[(len(x) - 1) // 2]


def level(bins, centres, levels):
    """Log-log linear, the first segment going on below, constant above the last knot."""
    x = np.log(np.asarray(bins, dtype=np.float64))
    if len(centres) == 1:
        return np.full(x.shape, levels[0])
    out = np.interp(x, centres, levels)
    slope = (levels[1] - levels[0]) / (centres[1] - centres[0])
    return np.where(x < centres[0], levels[0] + slope * (x - centres[0]), out)


def noise_levels(power, edges, centres, log_bias, smoother, nsteep):
    """Smoothed logarithms of block medians, those of the first blocks taken again after division by the level."""

    def logs(x, nblocks):
        medians = np.array([median(x[a:b]) for a, b in pairwise(edges[: nblocks + 1])])
        medians = np.where(medians > 0, medians, medians.max())
        return np.log(medians) - log_bias[:nblocks]

    first = logs(power, len(centres))
    level = smoother @ first
    r = np.arange(1, edges[nsteep])
    x = np.log(r)
    if len(centres) > 1:
        k = np.clip(np.searchsorted(centres, x) - 1, 0, len(centres) - 2)
        line = level[k] + (level[k + 1] - level[k]) * (x - centres[k]) / (centres[k + 1] - centres[k])
    else:
        line = level[0]
    flat = np.concatenate([[0.0], power[1 : edges[nsteep]] * np.exp(-line)])
    # Silent stretches stay what the first estimate made of them.
    if flat[edges[0] :].any():
        first[:nsteep] = level[:nsteep] + logs(flat, nsteep)
    return smoother @ first


def whiten(spec, centres, levels, pad):
    """Complex amplitudes with mirrored ends; bin 0 is zero."""
    spec = np.asarray(spec, dtype=np.complex128)
    nbins = spec.size - 1
    white = np.zeros(nbins + 1, dtype=np.complex128)
    white[1:] = spec[1:] * np.exp(-0.5 * level(np.arange(1, nbins + 1), centres, levels))
    full = np.concatenate([white, np.conj(white[1:-1][::-1])])
    index = np.arange(-pad, nbins + pad)
    return full[index % full.size]
