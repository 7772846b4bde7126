"""Plain float64 oracles of pulsar_kernels.dechirp."""

import numpy as np


def band(real, imag, pad, middle, filled, n):
    """The n amplitudes around a bin as a series at times u from -1/2 on: (u, values / n)."""
    d = np.arange(-(n // 2), n // 2)
    at = pad + middle + d
    inside = (at >= 0) & (at < len(real))
    x = np.zeros(n, complex)
    x[inside] = real[at[inside]].astype(float) + 1j * imag[at[inside]]
    # The data begin at t = 0; what is later than the end of the unit around their middle is before their beginning.
    t = np.arange(n) / n
    u = t - 0.5 * filled
    u = np.sort(np.where(u >= 0.5, u - 1.0, u))
    return u, np.exp(2j * np.pi * np.outer(u + 0.5 * filled, d)) @ x / n


def samples(z, w):
    need = abs(z) + abs(w) / 4 + 48
    return max(64, 2 ** int(np.ceil(np.log2(need))))


def power(real, imag, pad, filled, r, z, w, n=None, aside=0):
    """Power at a frequency, drift and change of drift, of the n amplitudes around it (as many as it needs) or aside."""
    middle = int(np.floor(r + 0.5)) + aside
    u, x = band(real, imag, pad, middle, filled, n or samples(z, w))
    return abs(np.sum(x * np.exp(-2j * np.pi * ((r - middle) * u + z * u**2 / 2 + w * u**3 / 6)))) ** 2


def summed_power(bands, about, at, nharm):
    """Sum over harmonics at ``(r, z, w)``, of series that are there already."""
    total = 0.0
    for k in range(1, nharm + 1):
        middle, first, n = about[k - 1]
        u = first + np.arange(int(n)) / n
        d, z, w = k * at[0] - middle, k * at[1], k * at[2]
        phase = d * u + z * u**2 / 2 + w * u**3 / 6
        total += abs(np.sum(bands[k - 1, : int(n)] * np.exp(-2j * np.pi * phase))) ** 2
    return total


def honest(power, r, z, inverse, own, rest):
    """Power that an uncertain level lets count."""
    i = int(np.floor(2 * r + 0.5))
    if i >= len(inverse):
        return np.log1p(rest * power) / rest
    share = own[i] / (1 + abs(z)) * (1 if power > 0.6931 else -1)
    return np.log1p(inverse[i] * power * (1 + share)) / inverse[i]


def log_tail(power, n):
    """ln of the chance that the sum of n powers of noise is larger: a Poisson sum."""
    k = np.arange(n)
    return float(np.log(np.sum(np.exp(k * np.log(power) - np.cumsum(np.log(np.maximum(k, 1)))))) - power)


def leak(d, z, w):
    """The smallest of the bounds that hold."""
    bounds = [1.0, 5.3 * (abs(w) + 1e-9) ** (-2 / 3)]
    if abs(z) > abs(w) / 2:
        bounds.append(2 / (abs(z) - abs(w) / 2))
    distance = abs(d) - abs(z) / 2 - abs(w) / 8
    if distance > 0:
        bounds.append(1 / (np.pi * distance) ** 2)
    return min(bounds)


def explained_power(at, nharm, found, powers):
    """What signals found before leave at the harmonics of another one."""
    total = 0.0
    for (r, z, w), power in zip(found[:, :3], powers, strict=True):
        for k in range(1, nharm + 1):
            near = np.floor(k * at[0] / r + 0.5)
            for m in np.arange(1, len(power) + 1):
                if abs(m - near) <= (1 if r < 1000 else 0):
                    total += max(power[m - 1] - 1, 0) * leak(k * at[0] - m * r, k * at[1] - m * z, k * at[2] - m * w)
    return total


def multiple(single):
    """Largest n with nothing significant in what is not a multiple of n."""
    k = np.arange(1, len(single) + 1)
    good = [n for n in k[1:] if log_tail(np.sum(single[k % n != 0]), np.sum(k % n != 0)) > np.log(1e-4)]
    return max(good, default=1)
