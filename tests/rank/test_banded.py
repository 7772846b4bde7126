"""Folds of one source are of one DM by their bands, where scattering and smearing give its harmonics others."""

import dataclasses

import numpy as np
import pytest
from reference.products import make_fold

from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.rank.banded import of_one_dm

NBINS = 128
BANDS = np.linspace(1490.0, 1210.0, 32)
NUMBER = np.arange(NBINS // 2 + 1)
DELAY = KDM * (BANDS**-2.0 - BANDS.max() ** -2.0)


def fold_of(spectra, freq, snr, ddm=0.0, seed=1):
    """A fold with these harmonics in the bands, refined to so much more than their DM, in noise of 1."""
    turned = spectra * np.exp(2j * np.pi * freq * ddm * DELAY[:, None] * NUMBER)
    turned[:, 0] = 0.0
    noise = np.random.default_rng(seed).standard_normal((len(BANDS), NBINS))
    return dataclasses.replace(
        make_fold(1),
        after=FoldParams(freq, 0.0, 200.0 + ddm),
        band_freqs=BANDS,
        freq_phase=(np.fft.irfft(turned, NBINS, axis=1) + noise).astype(np.float32),
        snr=snr,
    )


def pulse(height, fwhm, tail=0.0):
    """Harmonics of a Gaussian pulse in the bands, with a tail of scattering of so many turns in the middle."""
    phase = (np.arange(NBINS) + 0.5) / NBINS - 0.3
    spectrum = np.fft.rfft(height * np.exp(-4.0 * np.log(2.0) * (phase / fwhm) ** 2))
    tails = tail * (BANDS / BANDS.mean()) ** -4.0
    return spectrum / (1.0 + 2j * np.pi * NUMBER * tails[:, None])


def multiple_of(spectra, multiple):
    """What the fold at a multiple of the frequency holds of them."""
    out = np.zeros_like(spectra)
    kept = spectra[:, ::multiple]
    out[:, : kept.shape[1]] = kept
    return out


def strongest(spectra, freq, number):
    """How much more than the DM of the pulse that is at which a harmonic has most power, and the S/N there."""
    offsets = np.linspace(-30.0, 30.0, 6001)
    late = np.exp(2j * np.pi * number * freq * offsets[:, None] * DELAY)
    power = np.abs(late @ spectra[:, number]) ** 2 * 2.0 / len(BANDS) / NBINS
    return float(offsets[np.argmax(power)]), float(np.sqrt(power.max()))


@pytest.mark.parametrize("multiple", [1, 7])
def test_a_scattered_pulse_and_its_harmonics_are_of_one_dm(multiple):
    spectra = pulse(60.0, 0.03, tail=0.02)
    other, snr = strongest(spectra, 2.0, 7)
    assert other > 3.0
    owner = fold_of(spectra, 2.0, 300.0)
    one = fold_of(multiple_of(spectra, multiple), 2.0 * multiple, snr, other, seed=2)
    assert of_one_dm(one, owner, multiple, 1, 8)


def test_a_harmonic_that_channels_smear_over_more_than_a_turn_is_of_the_same_dm():
    # Upside down in the lower half of the band.
    spectra = pulse(30.0, 0.06)
    spectra[:, 5] *= np.where(BANDS > 1350.0, 1.0, -1.0)
    other, snr = strongest(spectra, 88.0, 5)
    assert abs(other) > 0.3
    one = fold_of(multiple_of(spectra, 5), 440.0, snr, other, seed=2)
    assert of_one_dm(one, fold_of(spectra, 88.0, 300.0), 5, 1, 2)


@pytest.mark.parametrize("divisor", [1, 2])
def test_another_pulsar_at_a_multiple_is_of_its_own_dm(divisor):
    owner, spectra = fold_of(pulse(60.0, 0.03, tail=0.02), 2.0, 300.0), pulse(3.0, 0.1)
    _, snr = strongest(spectra, 14.0 / divisor, 1)
    freq = 14.0 / divisor
    # As it is refined to its own DM, 8 away.
    bands = pulse(3.0, 0.1)
    one = fold_of(bands, freq, 1.5 * snr)
    one = dataclasses.replace(one, after=FoldParams(freq, 0.0, 208.0))
    assert not of_one_dm(one, owner, 7, divisor, 10)


@pytest.mark.parametrize(("ddm", "one_dm"), [(-60.0, False), (4.0, True), (60.0, False)])
def test_two_pulsars_at_a_multiple_are_in_both_folds_and_have_their_dms(ddm, one_dm):
    """Each harmonic holds both in either fold: its phases are the same in the bands, wherever the DMs are."""
    strong, weak = pulse(5.0, 0.03), pulse(3.0, 0.1)
    turned = np.exp(-2j * np.pi * 14.0 * ddm * DELAY[:, None] * NUMBER)
    beside = np.zeros_like(strong)
    beside[:, ::7] = (weak * turned)[:, : beside[:, ::7].shape[1]]
    owner = fold_of(strong + beside, 2.0, 300.0)
    both = multiple_of(strong, 7) + weak * turned
    one = fold_of(both, 14.0, strongest(weak, 14.0, 1)[1], ddm)
    assert of_one_dm(one, owner, 7, 1, 10) == one_dm
    # What is little beside the other may be a sidelobe of it.
    bright = fold_of(40.0 * strong + beside, 2.0, 3000.0)
    assert of_one_dm(fold_of(both + multiple_of(39.0 * strong, 7), 14.0, one.snr, ddm), bright, 7, 1, 10)


def test_noise_is_of_no_dm():
    owner, nothing = fold_of(pulse(60.0, 0.03), 2.0, 300.0), np.zeros((len(BANDS), NUMBER.size), dtype=complex)
    found = [
        of_one_dm(fold_of(nothing, 2.0 * m, 5.0, 0.2 * seed, seed + 2), owner, m, 1, 60 // m)
        for m in (1, 3, 20)
        for seed in range(50)
    ]
    assert not any(found)


def test_what_the_other_fold_does_not_show_is_not_compared():
    spectra = pulse(30.0, 0.04)
    owner, one = fold_of(spectra, 5.0, 200.0), fold_of(spectra, 500.0, 200.0, seed=2)
    assert of_one_dm(owner, owner, 1, 1, 25)
    assert not of_one_dm(one, owner, 100, 1, 25)
    assert not of_one_dm(dataclasses.replace(one, freq_phase=one.freq_phase[:1]), owner, 1, 1, 25)
