"""Plain float64 forms of the synthesis kernels."""

import math

import numpy as np

GOLDEN, MIX1, MIX2, MASK = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 2**64 - 1
R, AREA = 3.6541528853610088, 0.00492867323399


def mix(z):
    z = ((z ^ (z >> 30)) * MIX1) & MASK
    z = ((z ^ (z >> 27)) * MIX2) & MASK
    return z ^ (z >> 31)


def edges():
    x = [AREA * math.exp(0.5 * R * R), R]
    while len(x) < 256:
        x.append(math.sqrt(-2 * math.log(AREA / x[-1] + math.exp(-0.5 * x[-1] ** 2))))
    return [*x, 0.0]


def uniform(bits):
    return ((bits >> 11) + 0.5) / 2**53


EDGES = edges()


def normal(key, number):
    """One deviate: the ziggurat with Python integers."""
    x = EDGES
    h = mix((key + number * GOLDEN) & MASK)
    while True:
        i = h & 255
        signed = h - 2**64 if h >= 2**63 else h
        u = (signed >> 11) / 2**52
        if abs(u) < x[i + 1] / x[i]:
            return u * x[i]
        if i == 0:
            while True:
                h = mix((h + GOLDEN) & MASK)
                a = -math.log(uniform(h)) / R
                h = mix((h + GOLDEN) & MASK)
                if -2 * math.log(uniform(h)) >= a * a:
                    return math.copysign(R + a, u)
        y = u * x[i]
        f0, f1 = math.exp(-0.5 * (x[i] ** 2 - y * y)), math.exp(-0.5 * (x[i + 1] ** 2 - y * y))
        h = mix((h + GOLDEN) & MASK)
        if f1 + uniform(h) * (f0 - f1) < 1:
            return y
        h = mix((h + GOLDEN) & MASK)


def phase(t, spin):
    """Rotations at times t (array)."""
    f, fdot, epoch, x, pb, t0, phase0 = spin[:7]
    u = np.array(t, dtype=np.float64)
    for _ in range(50):
        u = t - x * np.sin(2 * np.pi / pb * (u - t0))
    d = u - epoch
    return phase0 + f * d + 0.5 * fdot * d * d


def integral(table, phi):
    """Integral of the profile to the phase phi: whole turns plus the table."""
    n = table.size - 1
    whole = np.floor(phi)
    return phi + np.interp((phi - whole) * n, np.arange(n + 1), table)


def add_periodic(data, start, tsamp, delays, spin, offsets, cumulative, rows, amps, nulls, first_null):
    out = np.array(data, dtype=np.float64)
    edge = (start + np.arange(data.shape[1] + 1)) * tsamp
    for c in range(data.shape[0]):
        phi = phase(edge - delays[c], spin) + offsets[c]
        value = amps[c] * np.diff(integral(cumulative[rows[c]], phi)) / np.diff(phi)
        if nulls.size:
            number = np.floor(phi[1:]).astype(int) - first_null
            inside = (number >= 0) & (number < nulls.size)
            value[inside & nulls[np.clip(number, 0, nulls.size - 1)]] = 0
        out[c] += value - amps[c] * spin[7]
    return out


def add_burst(data, start, tsamp, begins, span, cumulative, rows, amps):
    out = np.array(data, dtype=np.float64)
    edge = (start + np.arange(data.shape[1] + 1)) * tsamp
    grid = np.linspace(0, span, cumulative.shape[1])
    for c in range(data.shape[0]):
        out[c] += amps[c] * span / tsamp * np.diff(np.interp(edge - begins[c], grid, cumulative[rows[c]]))
    return out


def quantise(data, common, means, sigmas, top):
    return np.clip(np.floor(means[:, None] + sigmas[:, None] * (data + common) + 0.5), 0, top)


def quantise_wrapped(data, common, means, sigmas, top):
    power = np.floor(means[:, None] + sigmas[:, None] * (data + common) + 0.5)
    return np.mod(np.clip(power, 0, 2**30), top + 1)


def add_dithered(codes, signal, scales, keys, start, top):
    out = codes.astype(np.int64)
    for c in range(codes.shape[0]):
        for j in range(codes.shape[1]):
            u = (mix((int(keys[c]) + (start + j) * GOLDEN) & MASK) >> 11) / 2**53
            x = float(signal[c, j])
            if scales[:, c].any():
                value = math.floor(float(codes[c, j]) + x * float(scales[int(x > 0), c]) + u)
                out[c, j] = min(max(value, 0), top)
    return out
