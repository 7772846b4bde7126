"""Boxcar S/N of folded profiles."""

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Floats, Ints


@kernel(inline=True, helper=True)
def sum_around(row: Floats, total: Floats) -> None:
    """Running sums over two turns, from 0 on, into `total` of shape (2 nbins + 1,)."""
    n = row.shape[0]
    total[0] = 0.0
    for i in range(n):
        total[i + 1] = total[i] + row[i]
    for i in range(n):
        total[n + i + 1] = total[n] + total[i + 1]


@kernel(reorder=True)
def boxcar_snr(
    profiles: Floats, variance: Floats, widths: Ints, snr: Floats, best_width: Ints, best_start: Ints
) -> None:
    """Best boxcar of each profile over all start bins and the given widths.

    With S and N the sum and the variance inside the box, S_tot and N_tot those of the whole turn,
    S/N = (S - S_tot N / N_tot) / sqrt(N (1 - N / N_tot)): height of the box above the rest of the turn, over its error.
    For equal variances this is the formula with height h = sqrt((n - w)/(n w)) and baseline b = h w/(n - w).

    Parameters
    ----------
    profiles : ndarray of float64, shape (nprofiles, nbins)
        Sums of samples.
    variance : ndarray of float64, shape (nbins,)
        Variance of each bin, >= 0; the same for all profiles.
    widths : ndarray of int64
        Widths to try [bins], each in 1 … nbins - 1.
    snr, best_width, best_start : ndarray, shape (nprofiles,)
        Results; S/N -inf where no box holds part of the variance.
    """
    nprofiles, nbins = profiles.shape
    nwidths = widths.shape[0]
    around = np.empty(2 * nbins + 1)
    running = np.empty(2 * nbins + 1)
    sum_around(variance, around)
    total_var = around[nbins]
    # One over the error of a box, by the variance alone; NaN, of which nothing is the best, where it holds none.
    scale = np.empty((nwidths, nbins))
    for k in range(nwidths):
        ends = around[widths[k] :]
        for start in range(nbins):
            inside = ends[start] - around[start]
            room = inside * (total_var - inside)
            scale[k, start] = np.sqrt(total_var / room) if room > 1e-12 * total_var**2 else np.nan
    peak = np.empty(nbins)
    for p in range(nprofiles):
        sum_around(profiles[p], running)
        # What lies above the mean of the turn: as much as is missing beside the box.
        mean = running[nbins] / total_var if total_var > 0.0 else 0.0
        for i in range(2 * nbins + 1):
            running[i] -= mean * around[i]
        peak[:] = -np.inf
        # The best of each start: a maximum over starts would not become vectors.
        for k in range(nwidths):
            ends = running[widths[k] :]
            for start in range(nbins):
                peak[start] = max(peak[start], (ends[start] - running[start]) * scale[k, start])
        top, place = -np.inf, 0
        for start in range(nbins):
            if peak[start] > top:
                top, place = peak[start], start
        snr[p], best_width[p], best_start[p] = -np.inf, widths[0], place
        for k in range(nwidths):
            x = (running[place + widths[k]] - running[place]) * scale[k, place]
            if x > snr[p]:
                snr[p], best_width[p] = x, widths[k]
