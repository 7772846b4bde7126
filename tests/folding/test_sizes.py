"""Errors of width and flux density: what noise makes of the best boxcar, and what the pulsar scatters by."""

import numpy as np
import pytest

from pulsar.folding.errors import size_errors
from pulsar.folding.profile import fine_box, template_of

NBINS, NSUB, NBANDS = 64, 32, 4
K = np.arange(NBINS // 2 + 1)


def pulse(duty, nbins=NBINS):
    """``rfft`` of a Gaussian of unit sum of squares in NBINS bins, without its mean, of full width at half maximum."""
    spectrum = np.exp(-2.0 * (np.pi * K * duty / 2.3548) ** 2 - 1.3j * K)
    spectrum[0] = 0.0
    whole = np.zeros(nbins // 2 + 1, dtype=complex)
    whole[: len(K)] = spectrum * nbins / NBINS
    return whole / np.sqrt(np.sum(np.fft.irfft(spectrum, NBINS) ** 2))


def measured(rng, shape, gain):
    """S/N, width and phase of pulses as bright as `gain` (nsubints, nbands) in noise of 1 a bin, and the errors."""
    data = gain[:, :, None] * np.fft.irfft(shape, NBINS) + rng.normal(size=(NSUB, NBANDS, NBINS))
    spectra = np.fft.rfft(data, axis=2)
    spectra[..., 0] = 0.0
    summed, variance = spectra.sum(axis=(0, 1)), np.full(NBINS, float(NSUB * NBANDS))
    box = fine_box(summed, variance)
    template = template_of(summed, variance.sum(), box[1])
    return box, size_errors(spectra, template, np.full((NSUB, NBANDS), float(NBINS)), variance, box)


def flux(snr, width):
    return snr * np.sqrt(width / (1.0 - width))


@pytest.mark.parametrize("snr", [12.0, 60.0])
def test_the_truth_is_within_the_errors_as_often_as_they_say(snr):
    rng, pulls = np.random.default_rng(1), []
    for _ in range(250):
        # Over as much as a bin of the box, which is 1.19 times as wide.
        duty = 0.12 + rng.uniform(-0.5, 0.5) / NBINS / 1.19
        gain = np.full((NSUB, NBANDS), snr / np.sqrt(NSUB * NBANDS))
        (found, width, _), errors = measured(rng, pulse(duty), gain)
        fine = pulse(duty, 16 * NBINS)
        height, wide, _ = fine_box(snr * fine, np.full(16 * NBINS, 16.0))
        true = flux(height, wide)
        pulls.append([(width - wide) / errors[0], (flux(found, width) - true) / (errors[1] * flux(found, width))])
    within = np.mean(np.abs(pulls) < 1.0, axis=0)
    # Three standard deviations of the share of so many.
    np.testing.assert_allclose(within, 0.683, atol=3 * np.sqrt(0.683 * 0.317 / 250))
    assert np.mean(np.abs(pulls) < 3.0) > 0.97


def test_brightness_that_varies_in_time_is_in_the_error_of_the_flux():
    rng = np.random.default_rng(2)
    level, sigma = 400.0 / np.sqrt(NSUB * NBANDS), 0.5
    steady = measured(rng, pulse(0.1), np.full((NSUB, NBANDS), level))[1]
    alone = rng.normal(size=NSUB)
    alone *= sigma / np.std(alone, ddof=1)
    alone -= alone.mean()
    varying = measured(rng, pulse(0.1), level * (1.0 + np.repeat(alone[:, None], NBANDS, axis=1)))[1]
    # A box of 8 bins is told to the nearest: 0.34 of one, of which the flux has half.
    assert steady[1] < 0.06
    # The error of a mean of independent values.
    assert np.sqrt(varying[1] ** 2 - steady[1] ** 2) == pytest.approx(sigma / np.sqrt(NSUB), rel=0.25)
    # Scintles of eight sub-integrations: there are only four of them.
    together = np.repeat([0.6, -0.6, -0.4, 0.4], 8)
    few = measured(rng, pulse(0.1), level * (1.0 + np.repeat(together[:, None], NBANDS, axis=1)))[1]
    assert few[1] > 1.5 * np.std(together) / np.sqrt(NSUB)


def test_a_spectrum_is_no_scatter():
    rng = np.random.default_rng(3)
    level = 400.0 / np.sqrt(NSUB * NBANDS)
    sloped = np.tile(1.0 + np.linspace(-0.6, 0.6, NBANDS), (NSUB, 1))
    # Taken for scatter it would be an error of 22 %.
    assert measured(rng, pulse(0.1), level * sloped)[1][1] < 0.07


def test_a_width_that_varies_is_in_the_error_of_the_width():
    rng = np.random.default_rng(4)
    level = 400.0 / np.sqrt(NSUB * NBANDS)
    noise, variance = np.full((NSUB, NBANDS), float(NBINS)), np.full(NBINS, float(NSUB * NBANDS))
    errors = []
    for spread in (0.0, 0.4):
        stretch = np.clip(1.0 + spread * rng.normal(size=NSUB), 0.3, 2.0)
        shapes = np.stack([pulse(0.12 * s) * np.sqrt(1.0 / s) for s in stretch])
        spectra = level * np.repeat(shapes[:, None, :], NBANDS, axis=1)
        spectra = spectra + np.fft.rfft(rng.normal(size=(NSUB, NBANDS, NBINS)), axis=2)
        spectra[..., 0] = 0.0
        box = fine_box(spectra.sum(axis=(0, 1)), variance)
        template = template_of(spectra.sum(axis=(0, 1)), variance.sum(), box[1])
        errors.append(size_errors(spectra, template, noise, variance, box)[0])
    assert np.sqrt(errors[1] ** 2 - errors[0] ** 2) == pytest.approx(0.4 * 0.14 / np.sqrt(NSUB), rel=0.5)


def test_where_nothing_is_there_is_no_error():
    nothing = np.zeros((NSUB, NBANDS, len(K)), dtype=complex)
    noise = np.ones((NSUB, NBANDS))
    assert np.isnan(size_errors(nothing, nothing[0, 0], noise, np.ones(NBINS), (0.0, 0.1, 0.0))).all()
