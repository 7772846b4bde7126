"""Weak pulsars at trials that a strong one explains."""

import numpy as np
import pytest

from pulsar.config.model import FFAConfig
from pulsar.searches.ffa import FFASearch

N, TSAMP = 1 << 15, 2e-3
TOBS = N * TSAMP


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(N, dtype=np.float32)


def pulses(period: float, duty: float, snr: float, phase: float, spread: float = 0.0, seed: int = 0) -> np.ndarray:
    """Gaussian pulses; `spread` of the natural logarithm of the height of each."""
    turns = np.arange(N) * TSAMP / period + phase
    number = np.round(turns).astype(int)
    x = np.exp(-4 * np.log(2) * ((turns - number) / duty) ** 2)
    x -= x.mean()
    x *= snr / np.sqrt(np.sum(x**2))
    heights = np.exp(spread * np.random.default_rng(seed).standard_normal(number.max() + 1))
    return (x * (heights / heights.mean())[number]).astype(np.float32)


def found_at(detections: np.ndarray, period: float) -> np.ndarray:
    return detections[np.abs(detections["freq"] - 1 / period) * TOBS < 0.1]


@pytest.mark.parametrize(("period", "duty"), [(4.97, 0.028), (4.37, 0.03), (4.04, 0.03)])
def test_a_weak_slow_pulsar_beside_a_ratio_of_a_strong_one_is_listed(period, duty):
    """At such a ratio the strong one has an S/N of its own, and what it may have was the limit."""
    for seed in range(3):
        x = noise(seed) + pulses(1.0003, 0.08, 40.0, 0.3) + pulses(period, duty, 13.0, 0.55)
        found = FFASearch(N, TSAMP, FFAConfig()).search(x)
        assert len(found_at(found, 1.0003)) == 1
        assert len(found_at(found, period)) == 1


@pytest.mark.parametrize(("snr", "spread"), [(40.0, 0.0), (200.0, 0.0), (40.0, 0.8), (200.0, 0.8), (1000.0, 0.0)])
def test_a_strong_pulsar_alone_is_listed_once(snr, spread):
    """What is left of it beneath, of pulses that vary too, is no source."""
    for seed in range(3):
        x = noise(10 + seed) + pulses(0.7301 + 0.4 * seed, 0.06, snr, 0.3, spread, seed)
        found = FFASearch(N, TSAMP, FFAConfig()).search(x)
        assert np.sum(found["sigma"] > 2) == 1


def test_the_detections_are_in_the_order_of_their_signal_to_noise():
    x = noise(3) + pulses(1.0003, 0.08, 40.0, 0.3) + pulses(4.97, 0.03, 16.0, 0.55) + pulses(1.618, 0.02, 11.0, 0.1)
    found = FFASearch(N, TSAMP, FFAConfig()).search(x)
    assert len(found) >= 3
    assert np.all(np.diff(found["snr"]) <= 0)
