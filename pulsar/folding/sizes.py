"""Errors of the width and the mean flux density of a folded pulse.

Both are those of its best boxcar, whose edges follow the noise: an error by propagation there is none. So the template
is measured again and again, each time in other noise. Its height is that of the boxcar. To this comes what the pulsar
scatters by itself, between sub-integrations (pulses that vary, scintillation) and between bands: how wide and how
bright the template is in each, beyond noise (:func:`pulsar.folding.errors.own_scatter`).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pulsar.folding.errors import own_scatter, student
from pulsar.folding.profile import fine_box, fine_boxes, ratio_of

#: Profiles in other noise: an error of 7 % of the errors.
_DRAWS: Final = 128
#: What of a normal distribution lies below its mean plus and minus 1 sigma.
_SIGMA: Final = (float(ndtr(-1.0)), float(ndtr(1.0)))


def size_errors(
    spectra: NDArray[np.complex128],
    template: NDArray[np.complex128],
    noise: NDArray[np.float64],
    variance: NDArray[np.float64],
    box: tuple[float, float, float],
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
    fluxes = np.array([_flux(*pair) for pair in zip(snrs, widths, strict=True)])
    by_noise = [0.5 * float(np.ptp(np.quantile(values, _SIGMA))) for values in (widths, fluxes)]
    centred = template * np.exp(2j * np.pi * k * phase)
    stretched = k * np.gradient(centred) * np.exp(-2j * np.pi * k * phase)
    # Of another width and the same height.
    stretched -= template * np.real(np.vdot(template, stretched)) / np.real(np.vdot(template, template))
    own_width, own_flux = (_own(spectra, kernel, noise) for kernel in (stretched, template))
    return float(np.hypot(by_noise[0], own_width * width)), float(np.hypot(by_noise[1] / _flux(snr, width), own_flux))


def _flux(snr: float, width: float) -> float:
    """Mean flux density by the radiometer equation, but for what does not depend on the pulse."""
    return float(snr * np.sqrt(width / (1.0 - width)))


def _own(spectra: NDArray[np.complex128], kernel: NDArray[np.complex128], noise: NDArray[np.float64]) -> float:
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


def _together(left: NDArray[np.float64], own: float) -> float:
    """Variance of a mean over that of independent values: neighbours have scintles in common.

    By the products of neighbours up to the root of their number apart (Bartlett 1950, Biometrika 37, 1), in which there
    is no noise.

    Parameters
    ----------
    left : ndarray, shape (n,)
        Values, less their mean.
    own : float
        Sum of their squares, but for noise.
    """
    most = int(np.sqrt(len(left)))
    lags = [(1.0 - lag / (most + 1.0)) * float(left[lag:] @ left[:-lag]) for lag in range(1, most + 1)]
    return max(1.0 + 2.0 * sum(lags) / own, 1.0)
