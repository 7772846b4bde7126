"""How likely noise makes a weighted sum of powers: the tail of a sum of gamma variables.

S = sum_e w_e sum_h P_eh, P exponential with mean 1. Of equal weights w it is that of a chi-square with 2 M H degrees of
freedom. Of others the saddle point of the cumulants K(t) = -H sum ln(1 - w_e t) gives it (Lugannani & Rice 1980, Adv.
Appl. Prob. 12, 475): with s the root of K'(s) = S, r = sign(s) sqrt(2 (s S - K(s))) and u = s sqrt(K''(s)),

    p = Q(r) + phi(r) (1/u - 1/r).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pulsar.searches import stats

#: Steps of Newton's method: it has the root to the last digit after six or so.
_STEPS = 60
#: Weights that differ less count as equal.
_EQUAL = 1e-9
#: So close to the mean (in standard deviations) the formula is 0 / 0; p is that of a normal variable there.
_CENTRE = 1e-3


def effective(weights: NDArray[np.float64]) -> float:
    """Epochs of equal weight that have the same noise: (sum w)^2 / sum w^2."""
    return float(np.sum(weights) ** 2 / np.sum(weights**2))


def sum_logp(total: ArrayLike, nharm: int, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln of the probability that noise gives a weighted sum of powers above `total` in a single trial.

    Parameters
    ----------
    total : array_like
        Sums, of `nharm` powers of each epoch times its weight.
    nharm : int
    weights : ndarray, shape (nepochs,)
        Positive.

    Returns
    -------
    ndarray of float64
        At equal weights exact to 1e-12, else within 1 % of p of at most 0.01 (tests/searches/test_weighted.py).
    """
    total_ = np.atleast_1d(np.asarray(total, dtype=np.float64))
    w = np.asarray(weights, dtype=np.float64)
    if np.ptp(w) <= _EQUAL * w.max():
        return np.asarray(stats.power_logp(total_ / w.mean(), nharm * w.size), dtype=np.float64)
    mean, spread = nharm * w.sum(), np.sqrt(nharm * np.sum(w**2))
    away = (total_ - mean) / spread
    out = stats.logp_from_sigma(away)
    far = np.abs(away) > _CENTRE
    safe = np.where(far, np.maximum(total_, 1e-9 * mean), mean + spread)
    s = _saddle(safe, nharm, w)
    left = 1.0 - w[:, None] * s
    cumulant = -nharm * np.sum(np.log(left), axis=0)
    second = nharm * np.sum((w[:, None] / left) ** 2, axis=0)
    r = np.sign(s) * np.sqrt(np.maximum(2.0 * (s * safe - cumulant), 0.0))
    u = s * np.sqrt(second)
    # Both terms share exp(-r^2/2): what is left is Mills' ratio and a difference that is small.
    mills = np.sqrt(0.5 * np.pi) * special.erfcx(r / np.sqrt(2.0))
    rest = np.maximum(mills + 1.0 / u - 1.0 / r, 1e-300)
    found = np.minimum(-0.5 * r**2 - 0.5 * np.log(2.0 * np.pi) + np.log(rest), 0.0)
    return np.asarray(np.where(far, found, out), dtype=np.float64)


def sum_from_logp(logp: float, nharm: int, weights: NDArray[np.float64]) -> float:
    """The sum that noise exceeds with probability exp(`logp`): inverse of `sum_logp`."""
    w = np.asarray(weights, dtype=np.float64)
    low = nharm * float(w.sum())
    high = low + float(w.max()) * (10.0 - logp)
    return stats.inverse_tail(lambda total: float(sum_logp(total, nharm, w)[0]), logp, low, high, 1e-9)


def _saddle(total: NDArray[np.float64], nharm: int, w: NDArray[np.float64]) -> NDArray[np.float64]:
    """The root of K'(s) = total below 1 / max(w): bisected by brackets, Newton's steps inside."""
    largest = float(w.max())
    # One power of the largest weight alone would need 1 - w s = nharm w / total; more epochs need a smaller s.
    high = np.full(total.shape, (1.0 - 1e-14) / largest)
    low = np.minimum((1.0 - nharm * w.size * largest / total) / largest, 0.0) - 1e-12
    s = np.clip(1.0 / largest * (1.0 - nharm * w.sum() / total), low, high - 1e-12 * high)
    for _ in range(_STEPS):
        left = 1.0 - w[:, None] * s
        slope = nharm * np.sum(w[:, None] / left, axis=0) - total
        curve = nharm * np.sum((w[:, None] / left) ** 2, axis=0)
        low, high = np.where(slope < 0.0, s, low), np.where(slope < 0.0, high, s)
        step = s - slope / curve
        inside = (step > low) & (step < high)
        s = np.where(inside, step, 0.5 * (low + high))
    return np.asarray(s)
