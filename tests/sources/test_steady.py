"""Whether pulses are the same in all sub-integrations: made of pulses, impulses, drifts and noise."""

import dataclasses

import numpy as np
import pytest
from reference.products import make_fold

from pulsar.folding.fundamental import choose_period
from pulsar.sources.steady import repeats, steady

NBINS, NSUBINTS = 128, 32
PHASE = np.arange(NBINS) / NBINS


def pulse(snr, width=0.05, at=0.4):
    """Of this S/N by a matched filter."""
    shape = np.exp(-4.0 * np.log(2.0) * ((PHASE - at) / width) ** 2)
    shape -= shape.mean()
    return shape * snr / np.sqrt(np.sum(shape**2))


def fold_of(rows, freq=1.0):
    """A fold of these sub-integrations, in units of white noise."""
    rows = np.asarray(rows, dtype=np.float32)
    profile = rows.sum(axis=0) / np.sqrt(len(rows))
    times = np.linspace(0.0, 60.0, len(rows) + 1)
    after = dataclasses.replace(make_fold(1).after, freq=freq)
    return dataclasses.replace(
        make_fold(1), after=after, profile=profile, time_phase=rows, time_edges=times, tobs=60.0, extra={}
    )


def noise(seed, nsubints=NSUBINTS):
    return np.random.default_rng(seed).standard_normal((nsubints, NBINS))


@pytest.mark.parametrize("nsubints", [5, 13, 32])
@pytest.mark.parametrize("snr", [10.0, 30.0])
def test_a_steady_pulse_repeats(snr, nsubints):
    found = [repeats(fold_of(pulse(snr) / np.sqrt(nsubints) + noise(seed, nsubints))) for seed in range(10)]
    assert min(found) > 0.3 * snr
    assert max(found) < 1.2 * snr + 3.0


@pytest.mark.parametrize("nsubints", [4, 8, 32])
def test_noise_does_not(nsubints):
    found = [repeats(fold_of(noise(seed, nsubints))) for seed in range(200)]
    # Of 200 the best of noise alone, and of two ways to look at it.
    assert max(found) < 4.0
    assert np.median(found) < 0.5


@pytest.mark.parametrize("hits", [1, 2, 3])
def test_impulses_that_add_up_do_not(hits):
    found = []
    for seed in range(20):
        rows = noise(seed)
        rows[:hits] += pulse(10.0 * np.sqrt(NSUBINTS) / hits, 0.02)
        fold = fold_of(rows)
        assert float(fold.profile @ pulse(1.0, 0.02)) > 6.0
        found.append(repeats(fold))
    assert np.mean(found) < 2.5


def test_a_pulse_in_drifts_repeats():
    told = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        drift = 4.0 * rng.standard_normal((NSUBINTS, 1)) * np.cos(2 * np.pi * (PHASE + rng.random((NSUBINTS, 1))))
        told.append(repeats(fold_of(pulse(9.0) / np.sqrt(NSUBINTS) + drift + noise(seed))))
    assert np.mean(told) > 4.0


def test_impulses_in_two_turns_make_no_longer_period():
    # At twice the period two equal pulses; two sub-integrations have more, at one phase.
    rows = (pulse(9.0, 0.03, 0.2) + pulse(9.0, 0.03, 0.7)) / 4.0 + noise(3, 16)
    rows[4:6] += pulse(50.0, 0.05, 0.55)
    double = fold_of(rows, 0.5)
    single = fold_of(pulse(12.7, 0.06) / np.sqrt(NSUBINTS) + noise(4), 1.0)
    cleaned = steady(double)
    assert np.flatnonzero(~cleaned.time_phase.any(axis=1)).tolist() == [4, 5]
    assert choose_period([double]).factor == 1
    assert choose_period([cleaned]).factor == 2
    assert choose_period([cleaned, steady(single)]).index == 1


def test_harmonics_of_a_line_count_in_units_of_their_own_noise():
    rows = pulse(20.0) / np.sqrt(NSUBINTS) + noise(5)
    rng = np.random.default_rng(6)
    rows += 3.0 * rng.standard_normal((NSUBINTS, 1)) * np.cos(2 * np.pi * (2 * PHASE + rng.random((NSUBINTS, 1))))
    white = np.fft.rfft(steady(fold_of(rows)).time_phase, axis=1) / np.sqrt(NBINS)
    scatter = np.var(white, axis=0)
    assert scatter[2] < 1.5
    assert 0.5 < scatter[1] < 2.0


def test_what_is_known_of_nothing():
    assert np.isnan(repeats(fold_of(np.zeros((8, NBINS)))))
    assert np.isnan(repeats(fold_of(noise(1, 1))))
    few = fold_of(noise(1, 3))
    assert steady(few) is few
