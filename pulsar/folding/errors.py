"""Errors of what a fit of phases gives: noise, and what the pulsar itself scatters by.

Profiles are late by some turns. To first order their correlation with a template has a slope that says by how much
(Taylor 1992, Phil. Trans. R. Soc. A 341, 117), and a fit of phases sets weighted sums of slopes to 0. What the slopes
scatter by has two parts: the noise of the samples, which is known, and lateness of the pulsar's own. Pulses that vary
from turn to turn make sub-integrations early and late; a profile that changes over the band makes bands so. How much,
is told by what the fit leaves of the slopes.

Width and mean flux density are those of the best boxcar, whose edges follow the noise: an error by propagation there is
none. So the template is measured again and again, each time in other noise. Its height is that of the boxcar. To this
comes what the pulsar scatters by itself: how wide and how bright the template is in each sub-integration and each band,
beyond noise.
"""

from typing import Any, Final

import numpy as np
from scipy.special import i0e, ndtr, stdtrit

from pulsar.folding.profile import drawn, fine_box, fine_boxes, ratio_of
from pulsar.folding.whiten import falling
from pulsar_kernels.arrays import Complexes, Floats

#: Places at which an integral over the power of a harmonic is summed, and its width beyond the mean [deviations].
_PLACES: Final = 200
_BEYOND: Final = 6.0
#: Least information on a direction of the parameters, beside the most, that is no rounding.
_LEAST: Final = 1e-9


def slopes_of(spectra: Complexes, template: Complexes) -> Floats:
    """Lateness of profiles, as the slope of their correlation with a template by turns.

    Parameters
    ----------
    spectra : ndarray of complex128, shape (..., nharm + 1)
        ``rfft`` of the profiles.
    template : ndarray of complex128, shape (nharm + 1,)
    """
    omega = 2.0 * np.pi * np.arange(len(template))
    return np.asarray(-np.sum(omega * np.imag(spectra * np.conj(template)), axis=-1))


def own_scatter(slopes: Floats, white: Floats, response: Floats, nparams: int) -> tuple[float, float, int]:
    """Scatter of profiles about a fit: lateness of their own, or how far it is below that of white noise.

    A pulsar's pulses vary from turn to turn, and its profile over the band. The estimate is that of DerSimonian &
    Laird (1986, Control. Clin. Trials 7, 177). Where the scatter is below that of noise they cut it off at 0; errors
    would then be too large in the mean. So the scatter is taken as it is, as by Hartung & Knapp (2001, Stat. Med. 20,
    3875): errors from it, times :func:`student`, hold the truth as often as they say, whatever it is.

    Parameters
    ----------
    slopes : ndarray, shape (n,)
        Of :func:`slopes_of`, after a fit.
    white : ndarray, shape (n,)
        Their variance by white noise; 0 where nothing was measured.
    response : ndarray, shape (n,)
        Slope of a profile that is late by a turn.
    nparams : int
        Parameters that were fitted.

    Returns
    -------
    own, scale : float
        Variance beyond white noise [turns^2], 0 or more; variance over that of white noise, 1 at most.
    free : int
        Degrees of freedom by which they are told; 0: own is 0, and scale 1.
    """
    use = white > 0
    free = int(np.count_nonzero(use)) - nparams
    if free < 1:
        return 0.0, 1.0, 0
    squares = float(np.sum(slopes[use] ** 2 / white[use]))
    room = float(np.sum(response[use] ** 2 / white[use])) * free / (free + nparams)
    return max(squares - free, 0.0) / room if room > 0.0 else 0.0, min(squares / free, 1.0), free


def student(free: Floats | float) -> Floats:
    """Part of a standard deviation of `free` degrees of freedom that holds as much as 1 sigma of a normal one."""
    return np.asarray(stdtrit(np.asarray(free, dtype=np.float64), float(ndtr(1.0))), dtype=np.float64)


def information_of(spectrum: Complexes, template: Complexes, noise: float) -> tuple[float, float]:
    """By how much slopes of a profile with its own template scatter, and how they answer to lateness.

    The template has the noise of the profile that it was made from. Harmonics that noise has made stronger count for
    more in it, but answer no more to lateness than they would without.

    Parameters
    ----------
    spectrum : ndarray of complex128, shape (nharm + 1,)
        ``rfft`` of the profile.
    template : ndarray of complex128, shape (nharm + 1,)
        Of :func:`pulsar.folding.profile.template_of`.
    noise : float
        Expected power of a harmonic of noise.

    Returns
    -------
    squares, response : float
        Sums over harmonics of the square of the angular frequency [per turn], times that of the template, and times
        the template and the signal.
    """
    omega2 = (2.0 * np.pi * np.arange(len(template))) ** 2
    squares = float(np.sum(omega2 * np.abs(template) ** 2))
    last = int(np.flatnonzero(template)[-1])
    # A pulse has no more power in higher harmonics; those on lines of interference are 0.
    used = np.flatnonzero(spectrum[1 : last + 1]) + 1
    signal, of = np.unique(np.maximum(falling(np.abs(spectrum[used]) ** 2 / noise) - 1.0, 0.0), return_inverse=True)
    bias = noise * float(np.sum(omega2[used] * _chosen(signal)[of]))
    # The signal is not known so well that less than this could be said.
    return squares, max(squares - bias, 0.25 * squares)


def _chosen(signal: Floats) -> Floats:
    """Mean of h (X - 1 - s) for a harmonic of power X and gain h = max(1 - 1 / X, 0), with signal s in noise of 1."""
    most = signal + _BEYOND * (np.sqrt(2.0 * signal + 1.0) + 1.0)
    x = 1.0 + most[:, None] * (np.arange(_PLACES) + 0.5) / _PLACES
    density = np.exp(-((np.sqrt(x) - np.sqrt(signal)[:, None]) ** 2)) * i0e(2.0 * np.sqrt(x * signal[:, None]))
    return np.asarray(np.sum((1.0 - 1.0 / x) * (x - 1.0 - signal[:, None]) * density, axis=1) * most / _PLACES)


def errors_of(jacobian: Floats, spectra: Complexes, template: Complexes, noise: Floats, of_bands: int) -> Floats:
    """1-sigma errors of parameters by which the profiles of sub-integrations and bands are late.

    They are those of an estimate from sums that scatter as slopes do (White 1980, Econometrica 48, 817). What an
    element says of the parameters goes with its brightness.

    Parameters
    ----------
    jacobian : ndarray, shape (nparams, nsubints, nbands)
        Lateness [turns] by a unit of each parameter. The first is a common phase.
    spectra : ndarray of complex128, shape (nsubints, nbands, nharm + 1)
        ``rfft`` of the profiles, turned back by what the fit has found.
    template : ndarray of complex128, shape (nharm + 1,)
        Of their sum.
    noise : ndarray, shape (nsubints, nbands)
        Expected power of a harmonic of noise.
    of_bands : int
        Parameters by which bands differ: the last ones.

    Returns
    -------
    ndarray, shape (nparams,)
        NaN where there is nothing, and of what the elements do not tell.
    """
    total = float(noise.sum())
    if not (template.any() and total > 0.0):
        return np.full(len(jacobian), np.nan)
    squares, answer = information_of(spectra.sum(axis=(0, 1)), template, total)
    slopes, white = slopes_of(spectra, template), 0.5 * squares * noise
    omega2 = (2.0 * np.pi * np.arange(len(template))) ** 2
    correlation = np.sum(omega2 * np.real(spectra * np.conj(template)), axis=2)
    variance = 0.5 * float(np.sum(omega2**2 * np.abs(template) ** 2)) * noise
    response = answer * noise / total
    for axis in (0, 1):
        response = response * _brightness(correlation, variance, response, axis)
    information = np.einsum("isb,jsb,sb->ij", jacobian, jacobian, response)
    bread = np.linalg.pinv(information, rcond=_LEAST, hermitian=True)

    def variance_of(jacobian: Floats, each: Floats) -> Floats:
        """Of the parameters, from that of independent slopes."""
        return np.asarray(np.sum((bread @ jacobian.reshape(len(bread), -1)) ** 2 * each.ravel(), axis=1))

    variance = variance_of(jacobian, white)
    added, doubt = np.zeros_like(variance), np.zeros_like(variance)
    for axis, nparams in ((1, len(jacobian) - of_bands), (0, 1 + of_bands)):
        answers, noises = response.sum(axis=axis), white.sum(axis=axis)
        scatter, scale, free = own_scatter(slopes.sum(axis=axis), noises, answers, nparams)
        if free == 0:
            continue
        together = np.einsum("isb,sb->isb", jacobian, response).sum(axis=axis + 1)
        # What of the variance by noise is between sub-integrations, or bands.
        between = variance_of(ratio_of(together, np.broadcast_to(answers, together.shape)), noises)
        variance = variance * (1.0 - (1.0 - scale) * np.minimum(ratio_of(between, variance), 1.0))
        more = scatter * variance_of(together, np.ones_like(answers))
        added += more
        doubt += (more + scale * between) ** 2 / free
    variance = variance + added
    # Degrees of freedom of a sum of variances: Satterthwaite (1946, Biometrics Bull. 2, 110).
    measured = doubt > 0
    variance[measured] *= student(np.maximum(variance[measured] ** 2 / doubt[measured], 1.0)) ** 2
    powers, directions = np.linalg.eigh(information)
    untold = np.sum(directions[:, powers <= _LEAST * powers[-1]] ** 2, axis=1) > _LEAST
    return np.where(untold, np.nan, np.sqrt(variance))


def with_peaks(error: float, away: Floats, heights: Floats, snr: float) -> float:
    """Error of a parameter where its peak is not the only one that the data allow.

    The likelihood of a place goes as exp(S/N^2 / 2). Of a weak pulsar other places of the grid that was searched have
    their share of it, mostly by noise: the error is the root of the second moment about the peak, which has a normal
    one of this error.

    Parameters
    ----------
    error : float
        1 sigma, of the peak alone.
    away : ndarray, shape (n,)
        Places of an even grid, less that of the peak.
    heights : ndarray, shape (n,)
        S/N there.
    snr : float
        Of the peak.
    """
    excess = 0.5 * (heights**2 - snr**2)
    # By 3 sigma: the highest place is another source then, and tells nothing of this one.
    if len(away) < 2 or not np.isfinite(error) or excess.max() > 4.5:
        return error
    step = float(away[1] - away[0])
    shares = np.exp(np.minimum(excess, 0.0)) * (np.abs(away) > max(3.0 * error, step))
    peak = np.sqrt(2.0 * np.pi) * error / step
    return float(np.sqrt((peak * error**2 + shares @ away**2) / (peak + shares.sum())))


def _brightness(correlation: Floats, noise: Floats, response: Floats, axis: int) -> Floats:
    """How bright sub-integrations (axis 0) or bands (axis 1) are beside the mean, as far as this is not noise."""
    across = 1 - axis
    expected, variance = response.sum(axis=across), noise.sum(axis=across)
    weight = np.divide(expected**2, variance, out=np.zeros_like(variance), where=variance > 0)
    ratio = np.divide(correlation.sum(axis=across), expected, out=np.zeros_like(expected), where=expected > 0)
    bright = np.maximum(drawn(ratio * weight, weight), 0.0)
    mean = float(np.sum(bright * expected)) / max(float(expected.sum()), 1e-300)
    return np.expand_dims(bright / mean if mean > 0.0 else np.ones_like(bright), across)


#: Profiles in other noise: an error of 7 % of the errors.
_DRAWS: Final = 128
#: What of a normal distribution lies below its mean plus and minus 1 sigma.
_SIGMA: Final = (float(ndtr(-1.0)), float(ndtr(1.0)))


def size_errors(
    spectra: Complexes, template: Complexes, noise: Floats, variance: Floats, box: tuple[float, float, float]
) -> tuple[float, float]:
    """1-sigma errors of the width of a pulse, and of its mean flux density.

    Parameters
    ----------
    spectra : ndarray of complex128, shape (nsubints, nbands, nharm + 1)
        ``rfft`` of the profiles, turned back by what the fit has found.
    template : ndarray of complex128, shape (nharm + 1,)
        Of their sum.
    noise : ndarray, shape (nsubints, nbands)
        Expected power of a harmonic of noise.
    variance : ndarray, shape (nbins,)
        Of the bins of the sum.
    box : (float, float, float)
        S/N, width and centre [turns] of the best boxcar.

    Returns
    -------
    width_err, flux_err : float
        [turns]; as a part of the flux density. NaN where there is no pulse.
    """
    snr, width, phase = box
    nbins, k = len(variance), np.arange(len(template))
    if not (template.any() and snr > 1.0 and noise.sum() > 0.0):
        return float("nan"), float("nan")
    # Noise adds 1 to the mean square of an S/N.
    height = np.sqrt(snr**2 - 1.0) / fine_box(template, variance)[0]
    rng = np.random.default_rng(0)
    drawn = np.fft.rfft(rng.normal(size=(_DRAWS, nbins)) * np.sqrt(variance), axis=1)
    drawn[:, spectra.sum(axis=(0, 1)) == 0.0] = 0.0
    snrs, widths, _ = fine_boxes(height * template + drawn, variance)
    # A width is told in whole bins.
    widths += rng.uniform(-0.5, 0.5, _DRAWS) / nbins
    by_noise = [0.5 * float(np.ptp(np.quantile(values, _SIGMA))) for values in (widths, _flux(snrs, widths))]
    centred = template * np.exp(2j * np.pi * k * phase)
    stretched = k * np.gradient(centred) * np.exp(-2j * np.pi * k * phase)
    # Of another width and the same height.
    stretched -= template * np.real(np.vdot(template, stretched)) / np.real(np.vdot(template, template))
    own_width, own_flux = (_own_scatter(spectra, kernel, noise) for kernel in (stretched, template))
    return float(np.hypot(by_noise[0], own_width * width)), float(np.hypot(by_noise[1] / _flux(snr, width), own_flux))


def _flux(snr: Any, width: Any) -> Any:
    """Mean flux density by the radiometer equation, but for what does not depend on the pulse."""
    return snr * np.sqrt(width / (1.0 - width))


def _own_scatter(spectra: Complexes, kernel: Complexes, noise: Floats) -> float:
    """Error of a mean by what profiles scatter beyond noise, in units of the kernel.

    In time, and over the bands about a line: a spectrum that rises or falls is no scatter.
    """
    power = float(np.sum(np.abs(kernel) ** 2))
    if not power > 0.0:
        return 0.0
    slopes = np.sum(np.real(spectra * np.conj(kernel)), axis=2)
    squares = 0.0
    for axis, degree in ((1, 0), (0, 1)):
        white = 0.5 * power * noise.sum(axis=axis)
        sums, response = slopes.sum(axis=axis), 2.0 * white / noise.sum()
        basis = np.vander(np.linspace(-1.0, 1.0, len(white)), degree + 1) * np.sqrt(white)[:, None]
        fit, *_ = np.linalg.lstsq(basis, ratio_of(sums, np.sqrt(white)), rcond=None)
        left = sums - np.sqrt(white) * (basis @ fit)
        own, _, free = own_scatter(left, white, response, degree + 1)
        if own > 0.0:
            share = float(np.sum(response**2) / np.sum(response) ** 2)
            squares += own * float(student(free)) ** 2 * share * _together(left, own * float(np.sum(response**2)))
    return float(np.sqrt(squares))


def _together(left: Floats, total: float) -> float:
    """Variance of a mean over that of independent values: neighbours have scintles in common.

    By the products of neighbours up to the root of their number apart (Bartlett 1950, Biometrika 37, 1), in which there
    is no noise.

    Parameters
    ----------
    left : ndarray, shape (n,)
        Values, less their mean.
    total : float
        Sum of their squares, but for noise.
    """
    most = int(np.sqrt(len(left)))
    lags = [(1.0 - lag / (most + 1.0)) * float(left[lag:] @ left[:-lag]) for lag in range(1, most + 1)]
    return max(1.0 + 2.0 * sum(lags) / total, 1.0)
