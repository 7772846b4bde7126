"""Errors of fits of phases: what noise alone makes, and where there is nothing."""

import numpy as np
import pytest

from pulsar.folding.errors import errors_of, information_of, own_lateness
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
    own = [own_lateness(rng.normal(size=60) * np.hypot(2.0, 3.0), white, response, 3) for _ in range(200)]
    none = [own_lateness(rng.normal(size=60) * 2.0, white, response, 3) for _ in range(200)]
    assert np.mean(own) == pytest.approx((3.0 / 100.0) ** 2, rel=0.1)
    assert np.mean(none) < 0.2 * (2.0 / 100.0) ** 2
    assert own_lateness(np.ones(3), np.ones(3), np.ones(3), 3) == 0.0
