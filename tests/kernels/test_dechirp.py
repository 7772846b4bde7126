import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import correlate as ref

from pulsar_kernels import dechirp

PAD = 16


def amplitudes(x, nfft):
    """White amplitudes of a series of unit variance, with mirrored bins."""
    spectrum = np.fft.rfft(x, nfft) / np.sqrt(len(x))
    whole = np.concatenate([np.conj(spectrum[PAD:0:-1]), spectrum, np.conj(spectrum[-2 : -PAD - 1 : -1])])
    return whole.real.astype(np.float32), whole.imag.astype(np.float32)


def train(n, r, z, w, powers, filled=1.0):
    """Harmonics of these powers, in unit noise."""
    u = filled * (np.arange(n) / n - 0.5)
    x = np.zeros(n)
    for k, p in enumerate(powers, 1):
        x += 2 * np.sqrt(p / n) * np.cos(2 * np.pi * k * (r * u + z * u**2 / 2 + w * u**3 / 6) + k)
    return x


@given(
    st.integers(2, 300),
    st.floats(-3, 3),
    st.floats(-60, 60),
    st.floats(-100, 100),
    st.floats(-0.5, 0.5),
    st.integers(0, 2**32 - 1),
)
def test_moments_are_plain_sums(n, d, z, w, first, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    u = first + np.arange(n) / n
    y = x * np.exp(-2j * np.pi * (d * u + z * u**2 / 2 + w * u**3 / 6))
    for count in (1, 3, 5, 7):
        out = np.zeros(count, complex)
        dechirp.moments(x, first, d, z, w, out)
        np.testing.assert_allclose(out, [np.sum(y * u**m) for m in range(count)], atol=1e-9 * n)


@pytest.mark.parametrize("filled", [1.0, 0.94])
@pytest.mark.parametrize(("z", "w"), [(0.0, 0.0), (35.5, 0.0), (-70.2, 0.0), (20.0, 150.0)])
def test_powers_of_bands_are_those_of_the_whole_series(filled, z, w):
    """Closed in on a few hundred amplitudes, the power is that of a dechirped float64 sum over all samples."""
    n = 1 << 14
    rng = np.random.default_rng(3)
    x = rng.standard_normal(n)
    nfft = int(n / filled) // 2 * 2
    f = n / nfft
    real, imag = amplitudes(x + train(n, 1234.3, z, w, [30.0, 20.0], f), nfft)
    at = np.array([1234.3, z, w])
    bands = np.zeros((2, 1024), complex)
    about = np.zeros((2, 3))
    out = np.zeros(2)
    dechirp.load_bands(real, imag, PAD, at, 2, f, bands, about)
    total = dechirp.harmonic_powers(bands, about, at, 2, out)
    assert total == pytest.approx(out.sum())
    y = x + train(n, 1234.3, z, w, [30.0, 20.0], f)
    for k in (1, 2):
        expected = ref.drifting_power(y, k * 1234.3, k * z, k * w, f)
        # Cut off 24 bins beyond the spread: half a per cent of the power, and noise of that variance.
        assert out[k - 1] == pytest.approx(expected, rel=0.02, abs=0.5 * np.sqrt(expected))


@pytest.mark.parametrize("nfree", [1, 2, 3])
def test_climb_ends_on_the_peak(nfree):
    n = 1 << 14
    r, z, w = 987.65, 12.3 if nfree > 1 else 0.0, 55.0 if nfree > 2 else 0.0
    real, imag = amplitudes(train(n, r, z, w, [60.0, 40.0, 30.0, 20.0]), n)
    rng = np.random.default_rng(1)
    for _ in range(20):
        off = rng.uniform(-1, 1, 3) * np.array([0.3, 1.0, 8.0]) / 4 * (np.arange(3) < nfree)
        at = np.array([r, z, w]) + off
        bands, about = np.zeros((4, 512), complex), np.zeros((4, 3))
        dechirp.load_bands(real, imag, PAD, at, 4, 1.0, bands, about)
        bounds = np.stack([at - 10, at + 10], axis=1)
        before = at.copy()
        power = dechirp.climb(bands, about, at, 4, nfree, bounds)
        assert power == pytest.approx(150.0, rel=0.02)
        assert np.all(np.abs(at - [r, z, w]) < [0.005, 0.05, 1.0])
        assert np.all(at[nfree:] == before[nfree:])


def test_climb_stays_within_bounds():
    n = 1 << 14
    real, imag = amplitudes(train(n, 987.65, 0.0, 0.0, [60.0]), n)
    at = np.array([987.3, 1.0, 0.0])
    bounds = np.array([[987.2, 987.4], [0.5, 1.5], [0.0, 0.0]])
    bands, about = np.zeros((1, 128), complex), np.zeros((1, 3))
    dechirp.load_bands(real, imag, PAD, at, 1, 1.0, bands, about)
    dechirp.climb(bands, about, at, 1, 2, bounds)
    assert at[0] == 987.4
    assert at[1] == 0.5


@given(st.floats(-80, 80), st.floats(-120, 120), st.floats(-300, 300))
def test_leak_is_no_less_than_the_response(d, z, w):
    u = (np.arange(4096) + 0.5) / 4096 - 0.5
    response = abs(np.mean(np.exp(2j * np.pi * (d * u + z * u**2 / 2 + w * u**3 / 6)))) ** 2
    assert response <= 1.35 * dechirp.leak(d, z, w) + 2e-4


def test_a_line_explains_its_ridge_and_its_ratios_but_nothing_else():
    found = np.array([[1000.0, 20.0, 0.0, 4, 400.0, -350.0, 1.0]])
    powers = np.array([[200.0, 100.0, 60.0, 40.0]])

    def explained(r, z, nharm, power):
        return dechirp.explained(np.array([r, z, 0.0]), nharm, power, found, powers, 1)

    assert explained(1003.0, 28.0, 1, 20.0)  # on the ridge
    assert explained(500.0, 10.0, 8, 400.0)  # half the frequency
    assert explained(2000.0, 40.0, 1, 100.0)
    assert explained(1500.0, 30.0, 2, 60.0)
    assert not explained(1000.0, 20.0, 4, 2000.0)  # far more than there is
    assert not explained(1003.0, 28.0, 1, 150.0)
    assert not explained(1200.0, 20.0, 4, 60.0)
    assert not explained(1000.0, -60.0, 1, 60.0)
    assert not explained(500.0, 10.0, 8, 700.0)  # odd harmonics of its own


def test_multiples():
    """Power in every harmonic, in every third, in one of them only, and noise."""
    assert dechirp.multiple(np.array([40.0, 30, 20, 15, 9, 6, 3, 2]), 8) == 1
    assert dechirp.multiple(np.array([1.0, 0.5, 90, 2, 0.3, 60, 1, 1]), 8) == 3
    assert dechirp.multiple(np.array([1.0, 0.5, 1, 2, 0.3, 60, 1, 1]), 8) == 6
    assert dechirp.multiple(np.array([1.0, 30, 1, 20, 0.3, 15, 1, 12]), 8) == 2
    assert dechirp.multiple(np.array([50.0]), 1) == 1
    # p < 1e-4 beside the multiples: no longer a multiple
    assert dechirp.multiple(np.array([9.0, 60.0]), 2) == 2
    assert dechirp.multiple(np.array([9.5, 60.0]), 2) == 1


def test_bands_at_the_ends_of_the_spectrum_count_what_is_beyond_as_zero():
    real, imag = np.ones((2, 200 + 2 * PAD), np.float32)
    for middle in (-30, 5, 190, 400):
        out = np.zeros(64, complex)
        dechirp.band(real, imag, PAD, middle, 1.0, out)
        inside = np.count_nonzero(
            (np.arange(middle - 32, middle + 32) >= -PAD) & (np.arange(middle - 32, middle + 32) < 200 + PAD)
        )
        assert np.sum(np.abs(out) ** 2) * 64 == pytest.approx(2.0 * inside)
