"""Float64 oracles of `pulsar_kernels.dedisperse`: obvious loops."""

import numpy as np


def shifted_sums(data, delays):
    """Sum over channels of data[c, t + delays[d, c]]; what lies outside counts as 0. Shape (ndms, nsamps)."""
    nchans, nsamps = data.shape
    out = np.zeros((len(delays), nsamps))
    for d in range(len(delays)):
        for c in range(nchans):
            delay = int(delays[d, c])
            for_t = np.arange(nsamps) + delay
            inside = (for_t >= 0) & (for_t < nsamps)
            out[d, inside] += data[c, for_t[inside]].astype(np.float64)
    return out


def clamp16(sums):
    """To the range of int16."""
    return np.clip(sums, -32768, 32767)


def downsample(data, factor):
    """Sums of `factor` samples, scaled by 1/sqrt(factor), rounded half to even, clamped to int8."""
    n = data.shape[1] // factor
    sums = data[:, : n * factor].astype(np.float64).reshape(len(data), n, factor).sum(axis=2)
    scaled = sums.astype(np.float32) * np.float32(1.0 / np.sqrt(factor))
    return np.clip(np.rint(scaled), -128, 127)
