"""Significances in logarithmic form: nothing here underflows, however strong the signal.

A power is normalised to mean 1 in noise, so that the sum of H of them exceeds S by chance with
p = Q(chi2 = 2 S, 2 H degrees of freedom) = exp(-S) sum_{k<H} S^k / k!.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pulsar_kernels.arrays import Array, Floats


def median(x: Array) -> float:
    """The median of finite numbers: most of the time that numpy's takes goes into what is not asked.

    `x`: shape (n,): one at least.
    """
    at, odd = len(x) // 2, len(x) % 2 == 1
    if len(x) >= 1 << 14:
        # Most are out of the question by where the median of a few lies.
        few = np.sort(x[:: len(x) // 2048])
        low, high = few[len(few) * 9 // 20], few[len(few) * 11 // 20]
        near, below = x[(x >= low) & (x <= high)], int(np.count_nonzero(x < low))
        if below < at < below + len(near):
            x, at = near, at - below
    parts = np.partition(x, at)
    return float(parts[at] if odd else (parts[at] + parts[:at].max()) / 2)


def log_gammaincc(a: ArrayLike, x: ArrayLike) -> Floats:
    """Natural logarithm of the regularised upper incomplete gamma function Q(a, x).

    Parameters
    ----------
    a : array_like
        Shape parameter, positive.
    x : array_like
        Argument, not negative; broadcast against `a`.

    Returns
    -------
    ndarray of float64
        ln Q, accurate to about 1e-12 relative also where Q itself underflows: there by the continued
        fraction of Abramowitz & Stegun 6.5.31 (modified Lentz).
    """
    a_, x_ = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.asarray(x, dtype=np.float64))
    q = special.gammaincc(a_, x_)
    with np.errstate(divide="ignore"):
        out = np.log(q)
    # Close to 1 the complement has the digits.
    high = q > 0.5
    if np.any(high):
        out = np.array(out)
        out[high] = np.log1p(-special.gammainc(a_[high], x_[high]))
    # Below this the complement of the incomplete gamma function loses digits or underflows in double precision.
    low = (q < 1e-280) & np.isfinite(x_)
    if np.any(low):
        out = np.array(out, dtype=np.float64)
        out[low] = _log_gammaincc_tail(a_[low], x_[low])
    return np.asarray(out, dtype=np.float64)


def _log_gammaincc_tail(a: Floats, x: Floats) -> Floats:
    """ln Q(a, x) far in the tail, x >> a."""
    b = x + 1.0 - a
    c = np.full_like(b, 1e300)
    d = 1.0 / b
    h = d.copy()
    for i in range(1, 500):
        an = -i * (i - a)
        b = b + 2.0
        d = 1.0 / (an * d + b)
        c = b + an / c
        delta = c * d
        h *= delta
        if np.all(np.abs(delta - 1.0) < 1e-15):
            break
    return np.asarray(a * np.log(x) - x - special.gammaln(a) + np.log(h), dtype=np.float64)


def chi2_logsf(chi2: ArrayLike, dof: ArrayLike) -> Floats:
    """Natural logarithm of the probability that chi-square with `dof` degrees of freedom exceeds `chi2`."""
    return log_gammaincc(0.5 * np.asarray(dof, dtype=np.float64), 0.5 * np.asarray(chi2, dtype=np.float64))


def power_logp(power: ArrayLike, nharm: ArrayLike) -> Floats:
    """ln of the single-trial probability that noise alone gives a sum of `nharm` powers above `power`."""
    power_ = np.maximum(np.asarray(power, dtype=np.float64), 0.0)
    return chi2_logsf(2.0 * power_, 2.0 * np.asarray(nharm, dtype=np.float64))


def power_from_logp(logp: float, nharm: int) -> float:
    """The sum of `nharm` powers that noise exceeds with probability exp(`logp`): inverse of `power_logp`."""
    if logp >= 0.0:
        return 0.0
    if (chance := np.exp(logp)) > 1e-280:
        return float(special.gammainccinv(nharm, chance))
    return inverse_tail(lambda power: float(power_logp(power, nharm)), logp, 0.0, nharm - logp + 10.0, 1e-12)


def inverse_tail(logp_of: Callable[[float], float], logp: float, low: float, high: float, tolerance: float) -> float:
    """The value that noise exceeds with probability exp(`logp`), by halving an interval.

    Parameters
    ----------
    logp_of : callable
        ln of the probability that noise exceeds a value; falls with it.
    low, high : float
        The interval; it is made longer as long as `high` is too low.
    tolerance : float
        Its length in the end, as a fraction of `high`.
    """
    while logp_of(high) > logp:
        high = low + 2.0 * (high - low)
    # A bound for what is no number: all else ends sooner.
    for _ in range(200):
        middle = 0.5 * (low + high)
        if logp_of(middle) > logp:
            low = middle
        else:
            high = middle
        if high - low <= tolerance * high:
            break
    return 0.5 * (low + high)


def sigma_from_logp(logp: ArrayLike) -> Floats:
    """Gaussian significance whose upper tail is exp(`logp`)."""
    return np.asarray(-special.ndtri_exp(np.asarray(logp, dtype=np.float64)), dtype=np.float64)


def logp_from_sigma(sigma: ArrayLike) -> Floats:
    """ln of the upper tail of a Gaussian from `sigma` on."""
    return np.asarray(special.log_ndtr(-np.asarray(sigma, dtype=np.float64)), dtype=np.float64)


def correct_trials(logp: ArrayLike, ntrials: float | ArrayLike) -> Floats:
    """ln of the probability of at least one chance event this strong in `ntrials` independent trials.

    With x = N p events expected it is 1 - exp(-x) (Poisson), which is N p when that is small.
    """
    logx = np.asarray(logp, dtype=np.float64) + np.log(np.asarray(ntrials, dtype=np.float64))
    # More expected chance events than this and "at least one" is certain to the last digit.
    x = np.exp(np.minimum(logx, np.log(700.0)))
    with np.errstate(divide="ignore"):
        small = np.where(x < 1e-8, logx - 0.5 * x, np.log(-np.expm1(-x)))
        return np.asarray(np.where(x > 0.5, np.log1p(-np.exp(-x)), small), dtype=np.float64)


def expected_from_sigma(sigma: float) -> float:
    """Chance events expected in the whole run at a trial-corrected threshold of `sigma`: inverse of `correct_trials`.

    For 3 it is 0.00135; for 0 it is 0.69 (an even chance of at least one); for -3 it is 6.6.
    """
    logq = float(logp_from_sigma(sigma))
    # 1 - Q is the lower tail; its logarithm keeps the digits when Q is close to 1.
    return float(-special.log_ndtr(sigma)) if logq > -0.7 else float(-np.log1p(-np.exp(logq)))


def trial_sigma(logp: ArrayLike, ntrials: float | ArrayLike) -> Array:
    """Trial-corrected Gaussian significance of single-trial probabilities exp(`logp`)."""
    return sigma_from_logp(correct_trials(logp, ntrials))
