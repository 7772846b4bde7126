"""Plain float64 oracle of pulsar_kernels.coherent."""

import numpy as np


def amplitude(white, pad, x, taps=16):
    """Amplitude at bin x, rounded to 1/64, from the nearest `taps` bins; phases refer to the middle of the data."""
    x = np.floor(64 * x + 0.5) / 64
    n = int(np.floor(x))
    bins = np.arange(n + 1 - taps // 2, n + 1 + taps // 2)
    w = np.sinc(x - bins) / np.sqrt(np.sum(np.sinc(x - bins) ** 2))
    return np.sum(w * (-1.0) ** bins * white[pad + bins])


def amplitudes(white, pad, r, nharm, inverse):
    """Of the harmonics, those over an uncertain noise level less."""
    out = np.array([amplitude(white, pad, k * r) for k in range(1, nharm + 1)])
    half = np.floor(2 * r * np.arange(1, nharm + 1) + 1e-9).astype(int)
    v = np.where(half < len(inverse), np.append(inverse, 0.0)[np.minimum(half, len(inverse))], 0.0)
    return out / np.sqrt(1.0 + 0.5 * v * np.abs(out) ** 2)


def pulses(nharm, nbins):
    """Binomial pulses in bins, as polynomials in z, and the step between the phases at which they are looked for."""
    rows = [(np.ones(1), 1)]
    now, step = np.ones(1), 1
    while nbins // step >= 8:
        bit = np.zeros(step + 1)
        bit[[0, step]] = 1.0
        one = np.convolve(now, bit)
        two = np.convolve(one, bit)
        rows += [(one, step), (two, step), (np.convolve(two, bit), step)]
        now, step = two, 2 * step
    return rows


def snrs(white, pad, r, nharm, nbins, inverse):
    """S/N of the best phase of every pulse, from a profile summed harmonic by harmonic."""
    a = amplitudes(white, pad, r, nharm, inverse)
    k = np.arange(1, nharm + 1)
    profile = 2.0 * np.real(np.exp(2j * np.pi * np.outer(np.arange(nbins), k) / nbins) @ a)
    found = []
    for shape, step in pulses(nharm, nbins):
        at = (np.arange(0, nbins, step)[:, None] + np.arange(len(shape))) % nbins
        response = np.abs(np.exp(2j * np.pi * np.outer(k, np.arange(len(shape))) / nbins) @ shape)
        found.append(np.max(profile[at] @ shape) / np.sqrt(2.0 * np.sum(response**2)))
    return np.array(found)
