"""Noise that is not white."""

import numpy as np
from numpy.typing import NDArray


def red_and_drifting(n: int, seed: int) -> NDArray[np.float64]:
    """Noise that is as red as white at the 40th harmonic of the length, steep below it, and a drift on top."""
    spec = np.fft.rfft(np.random.default_rng(seed).standard_normal(2 * n))
    freq = np.arange(spec.size) / 2.0
    spec[1:] *= np.sqrt(1 + (40 / freq[1:]) ** 3)
    drifting: NDArray[np.float64] = np.fft.irfft(spec)[:n] + np.linspace(0, 20, n) ** 1.5
    return drifting


def white(n: int, seed: int) -> NDArray[np.float32]:
    """Samples of variance 1."""
    return np.random.default_rng(seed).standard_normal(n, dtype=np.float32)


def codes(*shape: int, high: int = 256, seed: int = 1) -> NDArray[np.int64]:
    """Samples below `high`, of any shape: time last."""
    data = np.random.default_rng(seed).integers(0, high, shape)
    data[..., -1] |= 1  # the last spectrum is no padding
    return data
