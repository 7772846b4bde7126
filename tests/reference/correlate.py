"""Drifting signals, obvious and slow: float64 sums over the whole series."""

import numpy as np


def drifting_power(x, r, z, w=0.0, filled=1.0):
    """|sum_k x_k exp(-2 pi i (r u + z u^2/2 + w u^3/6))|^2 / n; x fills the part `filled` of the unit of u.

    With real noise of variance s^2 the mean is s^2.
    """
    n = len(x)
    u = filled * (np.arange(n) / n - 0.5)
    y = np.sum(x * np.exp(-2j * np.pi * (r * u + z * u**2 / 2 + w * u**3 / 6)))
    return abs(y) ** 2 / n


def codes(power):
    """Bytes of powers: rounded up to 224; from there one more at 256 and for every half octave of 128, 192 ... on."""
    out = []
    for p in np.atleast_1d(power):
        x = p + 0.5
        if x < 225:
            out.append(int(x))
            continue
        code = 224
        edge = 256.0
        grow = 1.5
        while x >= edge and code < 255:
            code += 1
            edge *= grow
            grow = 4 / 3 if grow == 1.5 else 1.5
        out.append(code)
    return np.array(out)


def harmonic_sum(plane, i, j, nharm):
    """Sum at the top harmonic (i, j) of a plane of bytes, a dictionary of rows {j: byte} by row."""
    total = 0
    for k in range(1, nharm + 1):
        s = nharm.bit_length() - 1
        # The fraction k/nharm in lowest terms, as the sums of the stages before have it.
        while k % 2 == 0:
            k //= 2
            s -= 1
        half = (1 << s) >> 1
        total += int(plane[(i * k + half) >> s][(j * k + half) >> s])
    return total
