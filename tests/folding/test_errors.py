"""Errors of fits of phases: what noise alone makes, and where there is nothing."""

import numpy as np
import pytest

from pulsar.folding.errors import errors_of, information_of, own_scatter, slopes_of, student, with_peaks
from pulsar.folding.profile import template_of

NHARM = 33
PULSE = 40.0 * np.exp(-0.5 * (2 * np.pi * 0.03 * np.arange(NHARM)) ** 2 - 0.7j * np.arange(NHARM))


def test_without_a_pulse_there_are_no_errors():
    spectra = np.zeros((4, 2, NHARM), dtype=complex)
    assert np.isnan(errors_of(np.ones((1, 4, 2)), spectra, spectra[0, 0], np.ones((4, 2)), 0)).all()


@pytest.mark.parametrize("height", [0.05, 0.1, 0.3])
def test_the_answer_to_lateness_is_not_that_of_noise(height):
    # The mean over many profiles of what the template says it is, beside what it is for the pulse that is in them.
    rng = np.random.default_rng(5)
    said, true, squares = [], [], []
    omega2 = (2 * np.pi * np.arange(NHARM)) ** 2
    for _ in range(400):
        noise = (rng.normal(size=NHARM) + 1j * rng.normal(size=NHARM)) / np.sqrt(2)
        spectrum = height * PULSE + noise
        spectrum[0] = 0.0
        template = template_of(spectrum, 1.0, 0.08)
        both = information_of(spectrum, template, 1.0)
        squares.append(both[0])
        said.append(both[1])
        true.append(np.sum(omega2 * np.real(height * PULSE * np.conj(template))))
    assert np.mean(said) == pytest.approx(np.mean(true), rel=0.1)
    # Weak ones would be told to be more precise than they are.
    assert (np.mean(squares) > 1.2 * np.mean(true)) == (height < 0.1)


def test_of_what_is_not_told_there_is_no_error():
    # One live band tells nothing of a parameter by which bands differ.
    rng = np.random.default_rng(3)
    noise = np.zeros((16, 4))
    noise[:, 1] = 1.0
    spectra = np.where(noise[:, :, None] > 0, PULSE + rng.normal(size=(16, 4, NHARM)), 0.0)
    spectra[..., 0] = 0.0
    jacobian = np.stack([np.ones((16, 4)), np.broadcast_to(np.linspace(-1, 1, 16)[:, None], (16, 4))])
    jacobian = np.concatenate([jacobian, np.broadcast_to(np.arange(4.0), (1, 16, 4))])
    errors = errors_of(jacobian, spectra, template_of(spectra.sum(axis=(0, 1)), 16.0, 0.08), noise, 1)
    assert np.isfinite(errors[1])
    assert np.isnan(errors[2])
    assert np.isnan(errors_of(jacobian, spectra, PULSE, np.zeros((16, 4)), 1)).all()


def test_lateness_of_its_own_is_measured_and_not_made_of_noise():
    rng = np.random.default_rng(7)
    white, response = np.full(60, 4.0), np.full(60, 100.0)
    own = [own_scatter(rng.normal(size=60) * np.hypot(2.0, 3.0), white, response, 3)[0] for _ in range(200)]
    none = [own_scatter(rng.normal(size=60) * 2.0, white, response, 3)[0] for _ in range(200)]
    assert np.mean(own) == pytest.approx((3.0 / 100.0) ** 2, rel=0.1)
    assert np.mean(none) < 0.2 * (2.0 / 100.0) ** 2
    assert own_scatter(np.ones(3), np.ones(3), np.ones(3), 3) == (0.0, 1.0, 0)


@pytest.mark.parametrize("nsubints", [5, 16, 64])
@pytest.mark.parametrize("own", [0.0, 0.5, 3.0])
def test_errors_hold_the_truth_as_often_as_they_say(nsubints, own):
    # The mean lateness of a few sub-integrations: their scatter is all that is known of what is not noise. Errors that
    # were never less than that of noise alone would hold it in 71 % of 16 that scatter by noise alone, in 72 of 5.
    rng = np.random.default_rng(11)
    white, response, inside = np.full(nsubints, 4.0), np.full(nsubints, 100.0), []
    for _ in range(4000):
        slopes = rng.normal(size=nsubints) * 2.0 * np.sqrt(1.0 + own)
        mean = slopes.mean()
        more, scale, free = own_scatter(slopes - mean, white, response, 1)
        assert free == nsubints - 1
        error = np.sqrt((scale * 4.0 + more * 100.0**2) / nsubints) * student(free)
        inside.append(abs(mean) < error)
    # Three standard deviations of the mean of so many.
    assert np.mean(inside) == pytest.approx(0.683, abs=3 * np.sqrt(0.683 * 0.317 / 4000))


def test_of_few_bands_the_error_of_the_dm_is_wider():
    # White noise alone: the same truth is held by errors of 4 bands, of which two are free, and of 16.
    rng = np.random.default_rng(13)
    for nbands in (4, 16):
        at = np.linspace(-0.5, 0.5, nbands)
        jacobian = np.broadcast_to(np.stack([np.ones(nbands), at])[:, None, :], (2, 8, nbands))
        noise, pulls = np.ones((8, nbands)), []
        omega2 = (2 * np.pi * np.arange(NHARM)) ** 2
        for _ in range(600):
            spectra = 2.0 * PULSE + (rng.normal(size=(8, nbands, NHARM)) + 1j * rng.normal(size=(8, nbands, NHARM))) / (
                np.sqrt(2)
            )
            template = 2.0 * PULSE * 8 * nbands
            template[0] = 0.0
            slopes = slopes_of(spectra, template).sum(axis=0) / np.sum(omega2 * np.abs(template) ** 2) * 8 * nbands / 8
            late = slopes - slopes.mean()
            slope = (at @ late) / (at @ at)
            turned = spectra * np.exp(2j * np.pi * np.arange(NHARM) * (slopes.mean() + slope * at)[None, :, None])
            pulls.append(slope / errors_of(jacobian, turned, template, noise, 1)[1])
        share = np.mean(np.abs(pulls) < 1.0)
        assert share == pytest.approx(0.683, abs=3 * np.sqrt(0.683 * 0.317 / 600))


def test_an_error_spans_the_places_that_are_as_likely():
    away = np.linspace(-20.0, 20.0, 41)
    # The curve of a peak with an error of 0.8 steps, alone.
    alone = np.sqrt(np.maximum(15.0**2 - (away / 0.8) ** 2, 9.0))
    assert with_peaks(0.8, away, alone, 15.0) == pytest.approx(0.8, rel=0.02)
    # Two that are equal: half of the probability is 12 steps away.
    twin = np.sqrt(np.maximum(alone**2, np.maximum(15.0**2 - ((away - 12.0) / 0.8) ** 2, 0.0)))
    assert with_peaks(0.8, away, twin, 15.0) == pytest.approx(np.sqrt(0.8**2 + 0.5 * 12.0**2), rel=0.02)
    # One that is surely higher is another source.
    assert with_peaks(0.8, away, np.where(away == 12.0, 18.0, alone), 15.0) == 0.8
    assert np.isnan(with_peaks(np.nan, away, twin, 15.0))
    assert with_peaks(0.8, np.zeros(1), np.ones(1), 15.0) == 0.8
