"""Harmonics that lines of interference fall on are left out of folds, mirrored ones too, and no others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar.folding.hum import MOST_LOST, on_lines

FREQ = 1.0 / 3.7
TOBS = 67.0
NBINS = 128
NSUB = 18


def parts(seed=0, pulse=1.0, hum=None, power=0.0):
    """Harmonics of sub-integrations: noise, a steady pulse, and hum of a wandering phase at a harmonic."""
    rng = np.random.default_rng(seed)
    profile = pulse * np.exp(-0.5 * ((np.arange(NBINS) / NBINS - 0.5) / 0.02) ** 2)
    out = np.fft.rfft(profile + rng.standard_normal((NSUB, NBINS)), axis=1)
    if hum is not None:
        out[:, hum] += np.sqrt(power * NBINS) * np.exp(2j * np.pi * np.linspace(0.0, 5.3, NSUB))
    return out


def hit(spectra, lines, tsamp=1e-3):
    return np.flatnonzero(on_lines(spectra, np.full(NSUB, float(NBINS)), FREQ, TOBS, tsamp, lines)).tolist()


def test_a_line_below_the_highest_harmonic_takes_those_beside_it():
    assert hit(parts(), [(40 * FREQ, 0.1)]) == [40]


def test_a_line_above_it_takes_its_mirror_image_where_there_is_something():
    # 50 Hz at 185 turns: 57 of 128 bins.
    lines = [(50.0, 0.1)]
    assert hit(parts(hum=57, power=500.0), lines) == [57]
    assert hit(parts(), lines) == []
    # What scatters elsewhere is no line.
    assert hit(parts(hum=30, power=500.0), lines) == []
    assert hit(parts(hum=57, power=500.0), []) == []


def test_what_samples_mirror_is_hit_too():
    # With fewer samples than bins in a turn, high harmonics are mirror images: here of a line beyond the bins.
    line = 100.0 - 30 * FREQ
    assert hit(parts(), [(line, 0.1)], tsamp=0.01) == [30]
    assert hit(parts(), [(line, 0.1)], tsamp=0.001) == []


def test_the_feet_of_a_line_go_with_it():
    spectra = parts(hum=57, power=500.0)
    for k, power in ((55, 20.0), (56, 60.0), (58, 60.0)):
        spectra += parts(seed=k, pulse=0.0, hum=k, power=power) - parts(seed=k, pulse=0.0)
    assert hit(spectra, [(50.0, 0.1)]) == [55, 56, 57, 58]


@given(seed=st.integers(0, 30), lines=st.lists(st.tuples(st.floats(0.5, 600.0), st.floats(0.01, 2.0)), max_size=20))
def test_the_fundamental_and_most_of_the_rest_stay(seed, lines):
    found = hit(parts(seed, hum=40, power=100.0), lines)
    assert len(found) <= MOST_LOST * (NBINS // 2 + 1)
    assert not {0, 1} & set(found)


@pytest.mark.parametrize("pulse", [0.0, 5.0])
def test_a_steady_pulse_is_no_line(pulse):
    # Every harmonic has a line near it: too many to be left out for that alone.
    lines = [(k * FREQ + 50.0, 0.2) for k in range(NBINS)]
    assert hit(parts(pulse=pulse), lines) == []


@pytest.mark.parametrize(
    ("freq", "line", "tsamp", "nsamps", "nbins", "power", "image"),
    [
        # 573.6 samples a turn: 9 x 128 bins are near twice that.
        (5.448217, 49.9576, 3.2e-4, 200_000, 128, 300_000, 14),
        # 12.3 samples a turn: 32 bins and the line are 32.9 turns, which is 8 and twice the samples.
        (162.50337, 99.95, 5e-4, 140_000, 32, 30_000, 8),
    ],
)
def test_a_line_whose_beat_of_samples_and_bins_is_a_harmonic_is_hit_there(
    freq, line, tsamp, nsamps, nbins, power, image
):
    # Both were seen in random skies with a hum.
    nsub = 32
    times = np.arange(nsamps) * tsamp
    noise = np.random.default_rng(5).standard_normal(nsamps)
    hum = np.sqrt(4 * power / nsamps) * np.cos(2 * np.pi * line * times)
    at = np.arange(nsamps) * nsub // nsamps * nbins + (freq * times % 1.0 * nbins).astype(np.int64)

    def hit_in(series):
        spectra = np.fft.rfft(np.bincount(at, series, nsub * nbins).reshape(nsub, nbins), axis=1)
        weight = np.full(nsub, float(nsamps / nsub))
        return image in np.flatnonzero(on_lines(spectra, weight, freq, nsamps * tsamp, tsamp, [(line, 0.1)]))

    assert hit_in(noise + hum)
    assert not hit_in(noise)
