"""The wave of a noise diode is found, timed and taken out; pulsars of nearly its period are left alone."""

import numpy as np
import pytest
from reference.observed import ArrayObservation, bits, cleaned, noise

from pulsar.cleaning.diode import Diode
from pulsar.cleaning.mask import make_mask
from pulsar.cleaning.statistics import measure
from pulsar.config.model import RfiConfig
from pulsar.data.source import SIGMA_LEVELS

PERIOD = 0.201326592
TSAMP = 5e-4
CONFIG = RfiConfig(diodes=(PERIOD, 2.0))


def observed(wave, nchans=64, nsamps=40_000, seed=0):
    """Noise and `wave(times)`, in sigma of about 17, with a gain that differs from channel to channel."""
    t = (np.arange(nsamps) + 0.5) * TSAMP
    gain = np.linspace(0.5, 1.5, nchans)[:, None]
    return t, ArrayObservation(bits(noise(nchans, nsamps, seed=seed) + 17.0 * gain * wave(t)), tsamp=TSAMP)


def square(t, rise=0.0433, height=0.3):
    return height * (((t - rise) / PERIOD) % 1.0 < 0.5)


def test_the_wave_is_found_and_taken_out():
    t, obs = observed(square)
    mask, source, out = cleaned(obs, CONFIG)
    diode = mask.diode
    assert diode is not None
    assert diode.period == PERIOD
    off = (diode.rise - 0.0433 + 0.5 * PERIOD) % PERIOD - 0.5 * PERIOD
    assert abs(off) < TSAMP
    steps = diode.step.mean(axis=0) / (17.0 * 0.3)
    np.testing.assert_allclose(steps, np.linspace(0.5, 1.5, 64), atol=0.16)
    wave = diode.wave(t)
    left = np.array([row @ wave for row in out.astype(float)]) / (wave @ wave)
    assert np.abs(left).max() < 0.04 * SIGMA_LEVELS
    assert source.valid_fraction(0, 40_000) > 0.98
    assert "noise diode of 0.201327 s taken out (100 % of the time)" in mask.summary()
    _, _, kept = cleaned(obs, RfiConfig())
    assert np.mean([row @ wave for row in kept.astype(float)]) / (wave @ wave) > 0.2 * SIGMA_LEVELS


def test_it_is_taken_out_only_while_it_is_on():
    t, obs = observed(lambda t: square(t) * (t < 6.1))
    mask, _, out = cleaned(obs, CONFIG)
    on = mask.diode.step.any(axis=1)
    middles = 0.5 * (mask.edges[1:] + mask.edges[:-1]) * TSAMP
    assert on[middles < 5.5].all()
    assert not on[middles > 6.6].any()
    wave = mask.diode.wave(t)
    for part in (t < 5.5, t > 7.0):
        left = (out[:, part].astype(float) @ wave[part]) / np.sum(wave[part] ** 2)
        assert np.abs(left).mean() < 0.03 * SIGMA_LEVELS


@pytest.mark.parametrize(
    "wave",
    [
        lambda t: np.zeros_like(t),
        # Pulsars: of its period with a narrow pulse and with a wide one, and of another period.
        lambda t: 0.5 * ((t / PERIOD) % 1.0 < 0.05),
        lambda t: 0.3 * ((t / PERIOD) % 1.0 < 0.35),
        lambda t: square(t * 1.02),
        lambda t: 0.2 * np.sin(2 * np.pi * t / PERIOD),
    ],
)
def test_what_is_no_diode_is_left(wave):
    _, obs = observed(wave)
    stats = measure(obs, CONFIG)
    assert stats.diode is None
    assert make_mask(obs, stats, CONFIG).diode is None


def test_means_edges_and_phases_agree():
    diode = Diode(PERIOD, 0.07, np.ones((1, 1), dtype=np.float32))
    edges = np.array([0.0, 0.013, 0.3, 0.31, 4.7])
    fine = np.linspace(0.0, 4.7, 470_001)
    wave = diode.wave(fine)
    for share, lo, hi in zip(diode.shares(edges), edges[:-1], edges[1:], strict=True):
        inside = (fine >= lo) & (fine < hi)
        assert share == pytest.approx(wave[inside].mean(), abs=2e-3)
    changes = fine[1:][np.diff(wave) != 0]
    np.testing.assert_allclose(diode.edges(0.0, 4.7), changes, atol=2e-5)
