from itertools import pairwise

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import whiten as ref

from pulsar_kernels import whiten


@given(st.integers(64, 3000), st.sampled_from([np.int16, np.float32]), st.integers(0, 2**32 - 1))
def test_means_and_detrend(n, dtype, seed):
    rng = np.random.default_rng(seed)
    series = (1000 + 50 * rng.standard_normal(n)).astype(dtype)
    if dtype is np.float32:
        series[rng.integers(0, n, 3)] = [np.nan, np.inf, -np.inf]
    means = np.empty(7)
    (whiten.integer_means if dtype is np.int16 else whiten.block_means)(series, means)
    np.testing.assert_allclose(means, ref.block_means(series, 7), rtol=1e-6)
    coeffs = np.array([1000.0, 30.0, -5.0, 12.0])
    out = np.full(n + 13, 9.0, dtype=np.float32)
    whiten.detrend(series, coeffs, out)
    np.testing.assert_allclose(out, ref.detrend(series, coeffs, n + 13), atol=1e-3)


def test_means_of_nothing_are_nan():
    means = np.empty(4)
    whiten.block_means(np.full(64, np.nan, dtype=np.float32), means)
    assert np.isnan(means).all()


@given(
    st.integers(1, 500),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-30, 1.0, 1e30]),
    st.floats(0, 3),
    st.floats(0, 1),
)
def test_selection(n, seed, scale, guess, width):
    rng = np.random.default_rng(seed)
    x = (scale * rng.exponential(size=n)).astype(np.float32)
    k = int(rng.integers(0, n))
    work = np.empty(2 * n + 32, dtype=np.float32)
    assert whiten.select_kth(x, k, scale * guess, width, work) == np.sort(x)[k]
    x[: n // 2] = x[0]
    assert whiten.select_kth(x, k, scale * guess, width, work) == np.sort(x)[k]
    assert whiten.select_kth(x, k, float(x[0]), width, work) == np.sort(x)[k]


def test_selection_of_zeros_and_infinities():
    work = np.empty(50, dtype=np.float32)
    for guess in (0.0, 1.0, np.inf):
        assert whiten.select_kth(np.zeros(9, dtype=np.float32), 4, guess, 0.1, work) == 0.0
        assert whiten.select_kth(np.full(9, np.inf, dtype=np.float32), 4, guess, 0.1, work) == np.inf


@given(st.integers(1000, 9000), st.floats(0, 3), st.integers(0, 2**32 - 1))
def test_medians(n, slope, seed):
    real, imag = np.random.default_rng(seed).standard_normal((2, n)).astype(np.float32)
    real *= (np.arange(1, n + 1) ** -slope).astype(np.float32)
    imag *= (np.arange(1, n + 1) ** -slope).astype(np.float32)
    power = np.empty(n - 5, dtype=np.float32)
    whiten.powers(real[5:], imag[5:], power)
    edges = np.array([4, 12, 20, 200, n - 5])
    expected = [ref.median(power[a:b]) for a, b in pairwise(edges)]
    out = np.empty(4)
    whiten.block_medians(power, edges, out)
    np.testing.assert_array_equal(out, expected)
    whiten.amplitude_medians(real, imag, 5, edges, out)
    np.testing.assert_allclose(out, expected, rtol=1e-6)


@given(st.integers(40, 3000), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_flattening(nbins, nknots, seed):
    rng = np.random.default_rng(seed)
    centres = np.sort(rng.uniform(1.5, np.log(nbins), nknots)) + 0.3 * np.arange(nknots)
    levels = 2.0 - 0.7 * np.arange(nknots)
    power = rng.exponential(size=nbins).astype(np.float32)
    flat = power.copy()
    whiten.flatten(flat, centres, levels)
    r = np.arange(1, nbins)
    inside = np.log(r) <= centres[-1]
    np.testing.assert_allclose(
        flat[1:][inside], (power[1:] * np.exp(-ref.level(r, centres, levels)))[inside], rtol=2e-3
    )


@given(st.integers(60, 3000), st.floats(0, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_noise_levels(nbins, slope, silent, seed):
    rng = np.random.default_rng(seed)
    real, imag = (rng.standard_normal((2, nbins + 6)) * np.arange(1, nbins + 7) ** -slope).astype(np.float32)
    edges = np.array([4, 12, 20, 40, nbins])[: rng.integers(2, 6)]
    if silent:
        real[6 + edges[-2] :] = imag[6 + edges[-2] :] = 0.0
    n = edges.size - 1
    centres = np.array([np.mean(np.log(np.arange(a, b))) for a, b in pairwise(edges)])
    log_bias = rng.uniform(-0.6, -0.3, n)
    smoother = np.triu(np.tril(rng.uniform(0.2, 0.4, (n, n)), 2), -2)
    nsteep = int(rng.integers(1, n + 1))
    power = real[6:].astype(np.float64) ** 2 + imag[6:].astype(np.float64) ** 2
    out, medians = np.full((2, n), np.nan)
    blocks = edges, centres, log_bias, smoother, nsteep
    known = whiten.noise_levels(real, imag, 6, *blocks, medians, out)
    assert known == (not silent or n > 1)
    assume(known)
    expected = ref.noise_levels(power, edges, centres, log_bias, smoother, nsteep)
    # The level is flattened along lines between bins a 64th of their number apart.
    np.testing.assert_allclose(out, expected, atol=2e-2)
    # Where only the first blocks have changed the others need not be measured again.
    new = int(rng.integers(0, n + 1))
    real[6 + edges[0] : 6 + edges[new]] *= 2.0
    medians[:new] = np.nan
    whole = np.empty(n)
    whiten.noise_levels(real, imag, 6, *blocks, medians, out)
    whiten.noise_levels(real, imag, 6, *blocks, np.full(n, np.nan), whole)
    np.testing.assert_array_equal(out, whole)


def test_powers():
    spec = np.array([1 + 2j, 3 - 1j, 0], dtype=np.complex64)
    out = np.empty(2, dtype=np.float32)
    whiten.powers(spec.real.copy(), spec.imag.copy(), out)
    np.testing.assert_allclose(out, [5, 10])


@given(st.integers(40, 3000), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_whitening_of_amplitudes(nbins, nknots, seed):
    spec, centres, levels = ref.some_spectrum(np.random.default_rng(seed), nbins, nknots)
    real, imag = np.full((2, nbins + 32), 9.0, dtype=np.float32)
    whiten.planes(spec, 16, real, imag)
    whiten.whiten_amplitudes(real, imag, 16, centres, levels)
    white = ref.whiten(spec, centres, levels, 16)
    # Lines between points a 64th of the bin number apart.
    np.testing.assert_allclose(real + 1j * imag, white, rtol=2e-3, atol=2e-3 * np.abs(white).max())
