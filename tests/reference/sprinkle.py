"""Plain forms of pulsar_kernels.injections."""

import numpy as np


def steps(start, nsamps, tsamp, delay, spin, offset, ends, quantiles, many, dither):
    """Samples, from `start` on, in which a channel has a step: every one within a long time, solved one by one."""
    found = []
    span = (start + nsamps) * tsamp + abs(delay) + 10.0 / spin[0]
    most = int(many * (spin[0] * span + abs(offset) + abs(spin[3]) + 10)) + 10
    parts = len(quantiles) - 1
    for number in range(-most, most + 1):
        turns = (number - dither) / many
        whole = np.floor(turns)
        phase = np.interp((turns - whole) * parts, np.arange(parts + 1), quantiles)
        turns = whole + phase
        if not ends[0] <= turns < ends[1]:
            continue
        # f d + fdot d^2 / 2 = x, the root near x / f.
        x, f, half = turns - offset - spin[3], spin[0], 0.5 * spin[1]
        square = f * f + 4.0 * half * x
        if square < 0.0:
            continue  # Of so many turns there is no time.
        d = x / f if half == 0 else (-f + np.sqrt(square)) / (2.0 * half)
        sample = int(np.floor((d + spin[2] + delay) / tsamp))
        if start <= sample < start + nsamps:
            found.append(sample)
    return sorted(found)


def add_band(data, start, delays, out):
    """Every sample to its place."""
    out = out.astype(np.int64)
    for row, delay in zip(data.astype(np.int64), delays, strict=True):
        for i, value in enumerate(row):
            at = start + i - delay
            if 0 <= at < out.size:
                out[at] += value
    return out
