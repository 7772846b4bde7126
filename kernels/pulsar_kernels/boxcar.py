"""Boxcar S/N of folded profiles."""

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel


@kernel(reorder=True)
def boxcar_snr(
    profiles: NDArray[np.float64],
    variance: NDArray[np.float64],
    widths: NDArray[np.int64],
    snr: NDArray[np.float64],
    best_width: NDArray[np.int64],
    best_start: NDArray[np.int64],
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
    total_var = 0.0
    for i in range(nbins):
        total_var += variance[i]
    # What depends on the variance alone: share of the turn, and one over the error.
    share = np.zeros((nwidths, nbins))
    scale = np.zeros((nwidths, nbins))
    for k in range(nwidths):
        w = widths[k]
        inside = 0.0
        for i in range(w):
            inside += variance[i]
        for start in range(nbins):
            if inside > 0.0 and inside < total_var:
                share[k, start] = inside / total_var
                scale[k, start] = 1.0 / np.sqrt(inside * (1.0 - inside / total_var))
            end = start + w
            inside += variance[end - nbins if end >= nbins else end] - variance[start]
    running = np.empty(2 * nbins + 1)
    value = np.empty(nbins)
    for p in range(nprofiles):
        row = profiles[p]
        running[0] = 0.0
        for i in range(nbins):
            running[i + 1] = running[i] + row[i]
        total = running[nbins]
        for i in range(nbins):
            running[nbins + i + 1] = total + running[i + 1]
        best = -np.inf
        width = widths[0]
        place = 0
        for k in range(nwidths):
            w = widths[k]
            top = -np.inf
            for start in range(nbins):
                x = (running[start + w] - running[start] - total * share[k, start]) * scale[k, start]
                value[start] = x
                top = max(top, x)
            if top > best:
                for start in range(nbins):
                    if value[start] == top and scale[k, start] > 0.0:
                        best = top
                        width = w
                        place = start
                        break
        snr[p] = best
        best_width[p] = width
        best_start[p] = place
