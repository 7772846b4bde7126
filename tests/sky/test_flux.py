"""The radiometer equation."""

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.config.model import TelescopeConfig
from pulsar.sky.flux import gain_at, mean_flux

FAST = TelescopeConfig(gain=16.0, tsys=20.0, npol=2, za_full=26.4, za_zero=50.0)


def test_a_worked_example():
    # 20 K / (16 K/Jy sqrt(2 * 300 s * 400 MHz)) = 2.55 uJy at S/N 1; a duty cycle of 10 % takes a third of it.
    assert mean_flux(7.0, 0.1, tobs=300.0, bandwidth=400.0, config=FAST) == pytest.approx(5.954, rel=1e-3)


def test_the_gain_falls_with_zenith_angle():
    assert gain_at(FAST, 10.0) == gain_at(FAST, float("nan")) == gain_at(FAST, 26.4) == 16.0
    assert gain_at(FAST, 38.2) == pytest.approx(8.0)
    assert gain_at(FAST, 60.0) == 0.0
    far = mean_flux(7.0, 0.1, tobs=300.0, bandwidth=400.0, config=FAST, za_deg=38.2)
    assert far == pytest.approx(2 * 5.954, rel=1e-3)


def test_what_is_unknown_stays_unknown():
    assert np.isnan(mean_flux(7.0, 0.1, tobs=300.0, bandwidth=400.0, config=TelescopeConfig()))
    assert np.isnan(mean_flux(7.0, float("nan"), tobs=300.0, bandwidth=400.0, config=FAST))
    assert np.isnan(mean_flux(7.0, 0.1, tobs=300.0, bandwidth=400.0, config=FAST, za_deg=60.0))
    assert load_config("fast-19beam").telescope.gain == 16.0
