"""A noise diode that is on for a while is found in time."""

import numpy as np
import pytest

from pulsar.rfi.diode_times import MOST_ON, TURNS, diode_stretches

PERIOD, TSAMP, NSAMPS = 0.201326592, 1e-3, 1 << 16
T = np.arange(NSAMPS) * TSAMP
STRETCH = TURNS * PERIOD


def found(signal, seed=1, periods=(PERIOD, 2.0)):
    series = np.random.default_rng(seed).normal(size=NSAMPS) * 20 + 20 * signal
    return diode_stretches(np.rint(series).astype(np.int16), TSAMP, periods)


def square(period=PERIOD, phase=0.0):
    return 1.0 * ((T / period + phase) % 1.0 < 0.5)


@pytest.mark.parametrize(("first", "last"), [(0.0, 16.0), (20.0, 33.0), (55.0, 66.0)])
def test_the_part_in_which_it_is_on(first, last):
    on = (first <= T) & (last > T)
    ((start, stop),) = found(20.0 * square(phase=0.3) * on)
    # Not a stretch too little, nor more than two too much.
    assert first - 2.01 * STRETCH <= start * TSAMP <= first
    assert min(last, NSAMPS * TSAMP) <= stop * TSAMP <= last + 2.01 * STRETCH


def test_a_faint_one_is_left_to_the_spectra_unless_it_is_short():
    assert found(1.0 * square() * (T < 16)).size == 0
    ((start, stop),) = found(1.0 * square() * (T < 5.1))
    assert start == 0
    assert 5.1 <= stop * TSAMP <= 5.1 + 2.01 * STRETCH


def test_a_diode_of_two_seconds():
    ((start, stop),) = found(20.0 * square(2.0) * (T < 20.0), periods=(2.0,))
    assert (start, stop) == (0, 30_000)


def test_what_is_on_all_the_time_is_left_to_the_spectra():
    assert found(20.0 * square()).size == 0
    assert found(20.0 * square() * (T < (MOST_ON + 0.1) * NSAMPS * TSAMP)).size == 0


def test_noise_and_pulsars_are_none():
    assert sum(found(0.0, seed).size for seed in range(50)) == 0
    # Of its very period: narrow, wide, and with a drifting level.
    for duty in (0.05, 0.3):
        assert found(3.0 * (duty > (T / PERIOD) % 1.0) * (T < 20)).size == 0
    assert found(2.0 * np.sin(2 * np.pi * T / 3.7) + 0.1 * T).size == 0
    # A hum near it, and a single jump.
    assert found(0.3 * np.sin(2 * np.pi * 5.3 * T) + 3.0 * (T > 30)).size == 0


def test_short_or_empty_series():
    assert diode_stretches(np.zeros(0), TSAMP, [PERIOD]).shape == (0, 2)
    assert diode_stretches(np.zeros(NSAMPS), TSAMP, [PERIOD]).shape == (0, 2)
    assert diode_stretches(np.ones(3000), TSAMP, [PERIOD]).shape == (0, 2)
    # Too coarse for the seventh harmonic.
    assert diode_stretches(np.random.default_rng(1).normal(size=4096), 0.02, [PERIOD]).shape == (0, 2)
