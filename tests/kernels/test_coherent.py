"""Profiles from complex amplitudes against plain sums."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsar_kernels import coherent
from tests.reference import coherent as reference

PAD = 16
LADDERS = [(7, 16), (7, 32), (15, 32), (31, 64), (63, 128), (127, 256)]


def planes(nbins, seed):
    """White amplitudes of mean power 1 with a margin, and their two planes."""
    rng = np.random.default_rng(seed)
    white = (rng.standard_normal((nbins + 2 * PAD, 2)) @ [1, 1j]) * np.sqrt(0.5)
    return white, white.real.astype(np.float32), white.imag.astype(np.float32)


def run(real, imag, ladder, inverse, bins):
    snr = np.full(bins.size, np.nan, dtype=np.float32)
    shape = np.zeros(bins.size, dtype=np.uint8)
    coherent.profile_snrs(real, imag, PAD, ladder, inverse, bins, snr, shape)
    return snr, shape


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(LADDERS),
    st.sampled_from([0, 1, 3, 31, 32, 33]),
    st.sampled_from([0, 1, 200, 5000]),
    st.integers(0, 2**32 - 1),
)
def test_is_what_plain_sums_give(sizes, ntrials, nlow, seed):
    nharm, nbins = sizes
    white, real, imag = planes(3000, seed)
    rng = np.random.default_rng(seed)
    # From the first bins to where the highest harmonic is the last bin.
    bins = np.floor(rng.uniform(4.0, 2999.0 / nharm, ntrials) * 1024) / 1024
    inverse = rng.uniform(0.0, 0.1, nlow).astype(np.float32)
    snr, shape = run(real, imag, coherent.make_ladder(nharm, nbins), inverse, bins)
    expected = [reference.snrs(white, PAD, r, nharm, nbins, inverse) for r in bins]
    np.testing.assert_allclose(snr, [row.max() for row in expected], rtol=1e-4, atol=1e-4)
    # The one named is as good as the best.
    np.testing.assert_allclose([row[i] for row, i in zip(expected, shape, strict=True)], snr, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sizes", LADDERS)
def test_every_pulse_has_unit_noise(sizes):
    nharm, nbins = sizes
    ladder = coherent.make_ladder(nharm, nbins)
    rows = coherent.responses(nharm, nbins)
    assert rows.shape == (1 + coherent.SHAPES * len(range(nbins.bit_length() - 3)), nharm)
    k = np.arange(1, nharm + 1)
    rng = np.random.default_rng(1)
    a = (rng.standard_normal((4000, nharm, 2)) @ [1, 1j]) * np.sqrt(0.5)
    values = 2.0 * np.real((a * rows[:, None]) @ np.exp(2j * np.pi * k * 0.3)) * ladder.scales[:, None]
    np.testing.assert_allclose(values.std(axis=1), 1.0, atol=0.05)


def test_interpolated_noise_keeps_its_power_and_lines_theirs():
    weights = coherent.interpolation().reshape(2, 64, 16)
    np.testing.assert_allclose(np.sum(weights**2, axis=2), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(weights[0], -weights[1])
    # A line of unit power at 100 + f/64, of phase 0 in the middle: real there, and 97.5 % of its power or more.
    taps = np.arange(93, 109)
    for f in range(64):
        x = 100 + f / 64
        line = np.sinc(x - taps) * (-1.0) ** taps
        assert 0.975**0.5 - 1e-3 < np.sum(weights[0, f] * line) < 1.0 + 1e-6


def test_a_pulse_has_the_snr_of_a_matched_filter():
    # Without noise, a Gaussian pulse of 3 % in 40.3 turns has the amplitudes S / sqrt(2 sum b^2) b_k.
    nbins, r, width, snr = 4000, 40.3, 0.03, 20.0
    k = np.arange(1, 64)
    b = np.exp(-((np.pi * k * width) ** 2) / (4.0 * np.log(2.0)))
    white = np.zeros(nbins + 2 * PAD, dtype=np.complex128)
    bins = np.arange(nbins + 2 * PAD) - PAD
    for one, height in zip(k, snr * b / np.sqrt(2.0 * np.sum(b**2)), strict=True):
        x = one * r
        white += height * np.sinc(x - bins) * (-1.0) ** np.abs(bins) * np.exp(-2j * np.pi * one * 0.2)
    ladder = coherent.make_ladder(63, 128)
    best, shape = run(white.real.astype(np.float32), white.imag.astype(np.float32), ladder, np.zeros(0, np.float32),
                      np.array([r, r + 1.3, r / 2]))  # fmt: skip
    assert 0.96 * snr < best[0] < snr
    assert best[1] < 0.3 * snr
    # At half the frequency there are two pulses in a turn.
    assert best[2] == pytest.approx(snr / np.sqrt(2.0), rel=0.08)
    response = coherent.responses(63, 128)[shape[0]]
    assert np.sum(response * b) / np.sqrt(np.sum(response**2) * np.sum(b**2)) > 0.97
