"""Numbers of a fold that need no box: of the profile, of what its rows share, of the spectrum, the DM curve, the plane.

A box that is twice too wide, or not quite where the pulse is, changes none of them. Each is a function of arrays; what
cannot be told is NaN. Rows and profiles are in units of their noise unless said otherwise.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: Significance of all harmonics together below which a profile has no shape to be told [sigma].
SHAPELESS: Final = 3.0
#: What a harmonic has to add to be counted (H test).
_COST: Final = 4.0
#: Fewest bins of a profile, and its least range over its values: less is rounding.
_FEWEST_BINS: Final = 8
_SAME: Final = 1e-12
#: Fewest rows that can be compared, and fewest points of a curve or sides of a plane.
_FEWEST: Final = 3


def profile_features(profile: NDArray[Any], noise: float | None = None) -> dict[str, float]:
    """Shape of a profile, whatever its level.

    skew, kurtosis
        Third and fourth moment of its bins, over the power of the second, the fourth less 3 (Lyon et al. 2016, MNRAS
        459, 1104): a narrow pulse is far from 0, a sine has 0 and -1.5, noise 0 and 0.
    smooth
        1 - sum (x[i+1] - x[i])^2 / (2 sum x^2), around the turn: 0 in noise, 1 for what is far wider than a bin (von
        Neumann 1941, Ann. Math. Stat. 12, 367).
    h_sigma
        Significance of the H statistic, max over m of 2 sum |X_k|^2 - 4 m + 4 over the first m harmonics X_k of unit
        noise: P(> H) = exp(-0.4 H) (de Jager & Buesching 2010, A&A 517, L9). Needs the noise.
    nharmonics
        The m at which it is reached.
    first
        Part of the power, less that of noise, in the first harmonic: 1 for a sine. NaN where the profile has no shape.
    effective
        Effective number of harmonics, (sum s)^2 / sum s^2 of powers s less those of noise: 1 for a sine, 0.28 over the
        FWHM [turns] for a Gaussian. NaN where the profile has no shape.
    fwhm
        Part of the turn in which the first m harmonics are above half of their peak over their median, 0 to 0.5: all
        components together. Of a pulse wider than half a turn the median is its own level, and only what stands out
        of that counts: boxes of 0.7 turns, ten times the noise of a bin, have 0.03 to 0.19. Their `skew` is negative.
    peaks
        Stretches of the turn in which they are.

    Parameters
    ----------
    profile : ndarray, shape (nbins,)
    noise : float, optional
        Its standard deviation; from the upper half of its harmonics where it is not known, which a pulse of one or two
        bins fills, too.

    Returns
    -------
    dict of str to float
        All NaN for fewer than 8 bins, or a constant profile.
    """
    names = ("skew", "kurtosis", "smooth", "h_sigma", "nharmonics", "first", "effective", "fwhm", "peaks")
    x = np.asarray(profile, dtype=np.float64)
    nbins, size = len(x), float(np.ptp(x)) if len(x) else 0.0
    if nbins < _FEWEST_BINS or not _SAME * float(np.max(np.abs(x))) < size < np.inf:
        return dict.fromkeys(names, float("nan"))
    # Of a size that does not matter.
    x = (x - x.mean()) / size
    power = float(np.sum(x**2))
    spread = power / nbins
    spectrum = np.fft.rfft(x)
    raw = np.abs(spectrum[1 : (nbins + 1) // 2]) ** 2 / nbins
    # Powers of noise are exponential: their median is ln 2 of their mean.
    level = float(np.median(raw[len(raw) // 2 :])) / np.log(2.0) if noise is None else (noise / size) ** 2
    found = {
        "skew": float(np.mean(x**3)) / spread**1.5,
        "kurtosis": float(np.mean(x**4)) / spread**2 - 3.0,
        "smooth": 1.0 - float(np.sum((np.roll(x, -1) - x) ** 2)) / (2.0 * power),
    }
    if not level > 1e-12 * spread:
        return found | dict.fromkeys(names[3:], float("nan"))
    powers = raw / level
    number = np.arange(1, len(powers) + 1)
    statistic = np.cumsum(2.0 * powers) - _COST * number + _COST
    best = int(np.argmax(statistic))
    found["h_sigma"] = _sigma_of_h(float(statistic[best]))
    found["nharmonics"] = float(best + 1)
    found["first"], found["effective"] = _spread_of(powers - 1.0)
    kept = np.zeros_like(spectrum)
    kept[1 : best + 2] = spectrum[1 : best + 2]
    curve = np.fft.irfft(kept, nbins)
    high = curve > 0.5 * (curve.max() + float(np.median(curve)))
    found["fwhm"] = float(np.mean(high))
    found["peaks"] = float(np.count_nonzero(high & ~np.roll(high, 1)))
    return {name: found[name] for name in names}


def _sigma_of_h(statistic: float) -> float:
    """Gaussian significance of an H statistic."""
    from pulsar.searches.stats import sigma_from_logp

    return float(sigma_from_logp(-0.398405 * max(statistic, 0.0))) if statistic > 0.0 else 0.0


def _spread_of(excess: NDArray[np.float64]) -> tuple[float, float]:
    """Part of the first harmonic, and effective number of harmonics, from powers less those of noise."""
    total = float(excess.sum())
    if total < SHAPELESS * np.sqrt(len(excess)):
        return float("nan"), float("nan")
    # A power of mean 1 + s has the mean square s^2 + 4 s + 2.
    squares = float(np.sum((excess + 1.0) ** 2 - 4.0 * (excess + 1.0) + 2.0))
    return min(max(float(excess[0]) / total, 0.0), 1.0), float(
        np.clip(total**2 / max(squares, total**2 / len(excess)), 1.0, len(excess))
    )


def shared_power(rows: NDArray[Any]) -> tuple[float, float]:
    """What rows have in common, as significance and as a part of all that they have beyond noise.

    The sum of r_i . r_j over all pairs has a mean of 0 in noise and the variance 2 n (n - 1) nbins; of rows that have
    the same profile it is (n - 1) times the sum of their own powers (r_i . r_i less nbins - 1). Rows of zeros are left
    out.

    Parameters
    ----------
    rows : ndarray, shape (n, nbins)
        Of unit noise.

    Returns
    -------
    common : float
        [sigma]; NaN with fewer than 3 rows.
    shared : float
        Part, 0 to 1: 1 where all have the same, 0 where each has its own or one has all; NaN where there is nothing
        beyond noise.
    """
    x = np.asarray(rows, dtype=np.float64)
    x = x[np.any(x != 0.0, axis=1)]
    n, nbins = x.shape
    if n < _FEWEST:
        return float("nan"), float("nan")
    x = x - x.mean(axis=1, keepdims=True)
    own = float(np.sum(x**2))
    pairs = float(np.sum(x.sum(axis=0) ** 2)) - own
    common = pairs / np.sqrt(2.0 * n * (n - 1.0) * (nbins - 1.0))
    beyond = own - n * (nbins - 1.0)
    if beyond < SHAPELESS * np.sqrt(2.0 * n * (nbins - 1.0)):
        # Too weak in its rows to be told from noise in them: what they share may be all of it.
        return float(common), float("nan")
    return float(common), float(np.clip(pairs / ((n - 1.0) * beyond), 0.0, 1.0))


def roughness(rows: NDArray[Any]) -> float:
    """How much the strength of the pulse changes from one band to the next, over its mean and beyond noise.

    The strength of a band is its projection on the mean profile of all others. sqrt(mean (a[b+1] - a[b])^2 - 2) over
    sqrt(2) times the mean: 0 for a smooth spectrum, 1 for bands of which each has its own, more for a line.

    Parameters
    ----------
    rows : ndarray, shape (nbands, nbins)
        Of unit noise, in the order of frequency. Bands of zeros are left out.

    Returns
    -------
    float
        NaN with fewer than 4 bands, or where the mean strength is below 1 sigma.
    """
    x = np.asarray(rows, dtype=np.float64)
    x = x[np.any(x != 0.0, axis=1)]
    n = len(x)
    if n <= _FEWEST:
        return float("nan")
    x = x - x.mean(axis=1, keepdims=True)
    others = x.sum(axis=0) - x
    size = np.sqrt(np.sum(others**2, axis=1))
    if not size.all():
        return float("nan")
    strength = np.sum(x * others, axis=1) / size
    mean = float(strength.mean())
    if mean < 1.0:
        return float("nan")
    change = float(np.mean(np.diff(strength) ** 2)) - 2.0
    return float(np.sqrt(max(change, 0.0) / 2.0) / mean)


def curve_misfit(measured: NDArray[Any], expected: NDArray[Any]) -> float:
    """Difference of a DM curve from the expected one beyond noise, over the height of the peak.

    Parameters
    ----------
    measured, expected : ndarray, shape (ndm,)
        S/N.

    Returns
    -------
    float
        sqrt(mean square less 1) over the peak; NaN for a single DM.
    """
    if len(measured) < _FEWEST:
        return float("nan")
    rest = np.asarray(measured, dtype=np.float64) - np.asarray(expected, dtype=np.float64)
    peak = float(np.max(expected))
    return float(np.sqrt(max(float(np.mean(rest**2)) - 1.0, 0.0)) / peak) if peak > 0.0 else float("nan")


def plane_peak(plane: NDArray[Any]) -> tuple[float, float]:
    """How the highest peak of a plane of frequency and derivative stands out, and how much of the plane it fills.

    Parameters
    ----------
    plane : ndarray, shape (nfdot, nf)
        S/N.

    Returns
    -------
    contrast : float
        Peak over the median [S/N].
    filled : float
        Part of the plane above half of that height over the median: small for a source, whose pulses part elsewhere.
        NaN, both, where derivative or frequency were not looked at.
    """
    x = np.asarray(plane, dtype=np.float64)
    if min(x.shape) < _FEWEST:
        return float("nan"), float("nan")
    middle, peak = float(np.median(x)), float(x.max())
    if not peak > middle:
        return 0.0, 1.0
    return peak - middle, float(np.mean(x > 0.5 * (peak + middle)))
