"""The noise level of a power spectrum, and how well it is known at every bin."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Narrowest and widest block [bins], and the growth of the width with the bin number.
MIN_WIDTH = 8
MAX_WIDTH = 4000
GROWTH = 0.25
#: First bin of the first block: slower variations are taken out in the time domain.
FIRST_BIN = 4
#: The variance of the logarithm of a median of n exponentials is 1 / (n ln^2 2).
_MEDIAN_VAR = 1.0 / np.log(2.0) ** 2


def counted(power: NDArray[np.float64], bins: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Powers as sums count them, about: those of lines that stand far out of a level known from n powers only.

    The tail (1 + P/n)^-n of a normalised power is that of n ln(1 + P/n) of a known level.

    Parameters
    ----------
    power : ndarray
        Over the noise level.
    bins : ndarray
        Where [1/T]. The level is that of the block there, smoothed over three with weights 1, 2, 1.
    """
    width = np.clip(GROWTH * np.asarray(bins), MIN_WIDTH, MAX_WIDTH)
    n = width / _MEDIAN_VAR * 16.0 / 6.0
    return np.asarray(n * np.log1p(power / n))


class NoiseModel:
    """Level of a spectrum of `nbins` powers from the medians of blocks that grow with frequency.

    The block medians are corrected for the bias of a finite sample, and smoothed by straight lines through three
    neighbours in log(bin), log(level), so that any power law stays what it is. The first estimate flattens the
    spectrum, the second removes the bias that a slope inside a block leaves. How uncertain the level is follows from
    the widths and the smoothing, and with it the tail of the normalised powers (`inverse`).

    Attributes
    ----------
    edges : ndarray of int64, shape (nblocks + 1,)
        First bins of the blocks.
    centres : ndarray of float64, shape (nblocks,)
        Mean of ln(bin) in each block.
    inverse : ndarray of float32
        1 / (effective number of powers behind the level) at the half bins below which blocks grow.
    own : ndarray of float32
        Fraction by which a power moves its own level, at the same half bins.
    inverse_rest : float
        The same beyond.
    """

    def __init__(self, nbins: int) -> None:
        edges = [FIRST_BIN]
        while edges[-1] < nbins:
            width = min(max(MIN_WIDTH, int(GROWTH * edges[-1])), MAX_WIDTH)
            edges.append(edges[-1] + width)
        if len(edges) > 2 and nbins - edges[-2] < 0.6 * (edges[-1] - edges[-2]):
            edges.pop()
        edges[-1] = nbins
        self.edges = np.array(edges, dtype=np.int64)
        self.widths = np.diff(self.edges)
        self.centres = np.array([np.mean(np.log(np.arange(lo, hi))) for lo, hi in pairwise(edges)])
        # Order statistic k (from 0) of n exponentials has the mean sum_{i=n-k}^{n} 1/i.
        self._bias = np.array([np.sum(1.0 / np.arange(n - (n - 1) // 2, n + 1)) for n in self.widths])
        # ... and the logarithm of that estimate lies lower by half its variance.
        self._log_bias = np.log(self._bias) - 0.5 * _MEDIAN_VAR / self.widths
        self._smoother = self._lines()
        variance = self._smoother**2 @ (_MEDIAN_VAR / self.widths)
        self.neff = 1.0 / variance
        self._set_inverse(nbins)
        #: Second estimate where the level may fall steeply: while the blocks grow.
        wide = np.flatnonzero(self.widths >= MAX_WIDTH)
        self._nsteep = max(int(wide[0]) if wide.size else self.widths.size, 1)

    def _lines(self) -> NDArray[np.float64]:
        """Smoother, shape (nblocks, nblocks): straight lines through three neighbours, weighted 1, 2, 1 by width."""
        n = self.centres.size
        smoother = np.zeros((n, n))
        if n < 3:
            return np.eye(n)
        for b in range(n):
            at = np.arange(min(max(b - 1, 0), n - 3), min(max(b - 1, 0), n - 3) + 3)
            weight = np.where(at == b, 2.0, 1.0) * self.widths[at]
            x = self.centres[at] - self.centres[b]
            s0, s1, s2 = weight.sum(), (weight * x).sum(), (weight * x * x).sum()
            smoother[b, at] = weight * (s2 - s1 * x) / (s0 * s2 - s1 * s1)
        return smoother

    def _set_inverse(self, nbins: int) -> None:
        last = int(min(nbins, np.exp(self.centres[-1])))
        wide = np.flatnonzero(self.widths >= MAX_WIDTH)
        if wide.size:
            last = min(last, int(self.edges[wide[0]]))
        # Half bins, the knots on either side (the outer segments go on beyond the ends), and the place between them.
        r = np.maximum(np.arange(2 * last) / 2.0, FIRST_BIN)
        n = self.centres.size
        scaled = self._smoother * np.sqrt(_MEDIAN_VAR / self.widths)
        block = np.clip(np.searchsorted(self.edges, r, side="right") - 1, 0, n - 1)
        if n == 1:
            variance = np.full(r.size, _MEDIAN_VAR / self.widths[0])
            weight = np.ones(r.size)
        else:
            knot = np.clip(np.searchsorted(self.centres, np.log(r)) - 1, 0, n - 2)
            t = (np.log(r) - self.centres[knot]) / np.diff(self.centres)[knot]
            each = np.sum(scaled**2, axis=1)
            both = np.sum(scaled[:-1] * scaled[1:], axis=1)
            variance = (1 - t) ** 2 * each[knot] + t**2 * each[knot + 1] + 2 * t * (1 - t) * both[knot]
            weight = (1 - t) * self._smoother[knot, block] + t * self._smoother[knot + 1, block]
        self.inverse = variance.astype(np.float32)
        # A sample known to lie above the median moves it by half a rank: 1/(n ln 2) of the median.
        self.own = (weight / (self.widths[block] * np.log(2.0))).astype(np.float32)
        self.inverse_rest = float(1.0 / self.neff[-2 if self.neff.size > 2 else -1])

    def levels(self, real: NDArray[np.float32], imag: NDArray[np.float32], pad: int) -> NDArray[np.float64] | None:
        """Natural logarithm of the noise level at the knots `centres`, or None when there is no power at all.

        Parameters
        ----------
        real, imag : ndarray of float32, shape (>= pad + nbins,)
            Amplitudes, bin r at ``pad + r``.
        """
        from pulsar_kernels import whiten

        levels = np.empty(self.widths.size, dtype=np.float64)
        if not whiten.noise_levels(
            real, imag, pad, self.edges, self.centres, self._log_bias, self._smoother, self._nsteep, levels
        ):
            return None
        # Gamma(n)/n, the mean-1 estimate that the tail (1 + P/n)^-n stands on, has the mean logarithm -1/(2n).
        return np.asarray(levels - 0.5 / self.neff, dtype=np.float64)
