import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import harmonics as ref

from pulsar_kernels import harmonics


def weights(ntaps):
    w = 1.0 / (np.pi * (np.arange(ntaps) + 0.5))
    return (w / np.sqrt(2 * np.sum(w**2))).astype(np.float32)


@given(st.integers(1, 700), st.integers(1, 16), st.integers(0, 2**32 - 1))
def test_half_bins(nbins, ntaps, seed):
    rng = np.random.default_rng(seed)
    real, imag = rng.standard_normal((2, nbins + 32)).astype(np.float32)
    out = np.empty(2 * nbins, dtype=np.float32)
    harmonics.half_bins(real, imag, 16, weights(ntaps), out)
    np.testing.assert_allclose(out, ref.half_bins(real + 1j * imag, 16, ntaps), rtol=1e-4, atol=1e-5)


def test_half_bin_noise_has_mean_one():
    rng = np.random.default_rng(4)
    real, imag = (rng.standard_normal((2, 200_032)) / np.sqrt(2)).astype(np.float32)
    out = np.empty(400_000, dtype=np.float32)
    harmonics.half_bins(real, imag, 16, weights(8), out)
    assert abs(out[1::2].mean() - 1) < 0.01
    assert abs(np.mean(out[1::2] > 5) / np.exp(-5) - 1) < 0.1


@given(st.integers(1, 300), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_honest(n, m, seed):
    rng = np.random.default_rng(seed)
    power = (5 * rng.exponential(size=n)).astype(np.float32)
    inverse = rng.uniform(0.01, 0.2, min(m, n)).astype(np.float32)
    own = rng.uniform(0.0, 0.1, min(m, n)).astype(np.float32)
    expected = ref.honest(power, inverse, own, 2e-4)
    harmonics.honest(power, inverse, own, 2e-4)
    np.testing.assert_allclose(power, expected, rtol=1e-4)


@given(st.integers(50, 9500), st.integers(1, 6), st.floats(0.0, 0.2), st.integers(0, 2**32 - 1))
def test_harmonic_peaks(nhalf, nstages, low, seed):
    rng = np.random.default_rng(seed)
    # Quarters: sums are exact, so that ties are ties in both.
    power = (np.floor(4 * rng.exponential(size=nhalf)) / 4).astype(np.float32)
    limits = np.array([[int(low * nhalf) + 2**s, nhalf] for s in range(nstages)], dtype=np.int64)
    thresholds = np.array([2.0**s + 3 * 2 ** (s / 2) for s in range(nstages)], dtype=np.float32)
    expected = ref.harmonic_peaks(power, limits, thresholds)
    index, stages = np.zeros((2, nhalf * nstages), dtype=np.int64)
    peak = np.zeros(nhalf * nstages, dtype=np.float32)
    found = harmonics.harmonic_peaks(power, limits, thresholds, index, stages, peak)
    got = {(int(s), int(i)): float(p) for s, i, p in zip(stages[:found], index[:found], peak[:found], strict=True)}
    assert got == expected
    # Too little room: the number is still right, and nothing is written beyond.
    assert harmonics.harmonic_peaks(power, limits, thresholds, index[:1], stages[:1], peak[:1]) == found
