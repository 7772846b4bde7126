"""Red noise without its leakage: what is taken from a series, and from its Fourier amplitudes."""

import numpy as np

from pulsar.config.model import FFTConfig
from pulsar.searches.amplitudes import LINE, PAD, Amplitudes, Lengths, cubic_trend, drift
from pulsar.searches.fft import FFTSearch

N, TSAMP = 150_000, 4e-4


def drifts(rng: np.random.Generator) -> np.ndarray:
    """Waves of 6 and 11 s, thousands of times as strong as the noise in their modes, and a random walk."""
    t = np.arange(N) * TSAMP
    waves = sum(amp * np.sin(2 * np.pi * (t / p + rng.uniform())) for amp, p in ((2.0, 6.1), (1.5, 10.7)))
    return np.asarray(waves) + 0.5 / np.sqrt(N) * np.cumsum(rng.standard_normal(N))


def pulses(period: float, duty: float, snr: float, phase: float) -> np.ndarray:
    turns = np.arange(N) * TSAMP / period + phase
    x = np.exp(-4 * np.log(2) * ((turns - np.round(turns)) / duty) ** 2)
    x -= x.mean()
    return np.asarray(x * snr / np.sqrt(np.sum(x**2)))


def test_white_noise_is_left_as_it_is() -> None:
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal(8192).astype(np.float32)
        assert drift(x, 1.0, 2048, LINE).size == 0


def test_the_level_of_drifts_falls_to_that_of_white_noise() -> None:
    lengths = Lengths(N, TSAMP)
    maker = Amplitudes(lengths)
    levels = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = (rng.standard_normal(N) + drifts(rng)).astype(np.float32)
        real, imag = np.zeros((2, lengths.nbins + 2 * PAD), dtype=np.float32)
        found = maker.fill(x, [], real, imag, np.zeros(max(lengths.work, 1), dtype=np.float32))
        assert found is not None
        levels.append(np.interp(np.log([16.0, 40.0, 100.0, 300.0]), maker.noise.centres, found - np.log(N)))
    # 104, 6.4, 1.7 and 1.1 with their leakage.
    assert (np.exp(np.mean(levels, axis=0)) < [3.0, 1.4, 1.2, 1.1]).all()


def test_amplitudes_are_those_of_the_series_without_its_drift() -> None:
    """The transform of a few thousand points, against that of what is taken from every sample."""
    rng = np.random.default_rng(4)
    x = (rng.standard_normal(N) + drifts(rng)).astype(np.float32)
    maker = Amplitudes(Lengths(N, TSAMP))
    trend = cubic_trend(x)
    flat = x - np.polynomial.Polynomial(trend)(2 * (np.arange(N) + 0.5) / N - 1)
    size = 18
    means = flat[: N // size * size].reshape(-1, size).mean(axis=1, dtype=np.float32)
    part = drift(means, 1.0 / size, 2048, LINE)
    at = np.interp(np.arange(N) + 0.5, (np.arange(means.size) + 0.5) * size, part)
    wanted = np.fft.rfft(at, maker.nfft)[1:]
    found = maker._drift(x, trend, float(N))
    assert found.size == int(2048 * maker.nfft / N)
    assert np.abs(wanted[9]) > 20.0 * np.sqrt(N)
    np.testing.assert_allclose(found, wanted[: found.size], atol=0.02 * np.sqrt(N))


def test_slow_pulsars_are_found_in_drifts_by_their_spectra() -> None:
    """A pulsar of 1.9 s and S/N 20 at 5.9 sigma or more; at 0, 5.4, 5.6, 0.2, 5.0 and 6.1 with the leakage."""
    search = FFTSearch(N, TSAMP, FFTConfig(threshold=-2.0))
    sigmas = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(N) + drifts(rng) + pulses(1.9, 0.15, 20.0, rng.uniform())
        found = search.search(x.astype(np.float32))
        own = found[np.abs(found["freq"] - 1 / 1.9) * N * TSAMP < 0.3]
        sigmas.append(own["sigma"].max(initial=0.0))
    assert np.min(sigmas) > 5.5
