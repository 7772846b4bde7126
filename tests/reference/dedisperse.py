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


def moved(rows, shift):
    """Rows taken from sample `shift` on; what lies outside counts as 0."""
    out = np.zeros_like(rows)
    n = rows.shape[-1]
    if abs(shift) < n:
        out[..., max(0, -shift) : n - max(0, shift)] = rows[..., max(0, shift) : n + min(0, shift)]
    return out


def half_sum(parts):
    """Half the sum of four at most: the mean of the first two rounded up, that of the others down; clamped to int8."""
    a, b, c, d = [*parts, *[0 * parts[0]] * (4 - len(parts))]
    return np.clip(np.ceil((a + b) / 2) + np.floor((c + d) / 2), -128, 127)


def tree(data, children, shifts):
    """Series of a tree, level by level: `children` and `shifts` of each level, (nrows, fan), child -1 for none."""
    reach = sum(int(np.abs(shift).max(initial=0)) for shift in shifts)
    rows = np.pad(data.astype(np.float64), ((0, 0), (reach, reach)))
    for level, (child, shift) in enumerate(zip(children, shifts, strict=True)):
        parts = [
            [moved(rows[c], s) for c, s in zip(*pair, strict=True) if c >= 0] for pair in zip(child, shift, strict=True)
        ]
        if level < len(children) - 1:
            rows = np.array([half_sum(part) for part in parts])
    total = np.array([np.sum(part, axis=0) for part in parts]) * 2.0 ** (len(children) - 1)
    return clamp16(total)[:, reach : reach + data.shape[1]]


def clamp16(sums):
    """To the range of int16."""
    return np.clip(sums, -32768, 32767)


def downsample(data, factor):
    """Sums of `factor` samples, scaled by 1/sqrt(factor), rounded half to even, clamped to int8."""
    n = data.shape[1] // factor
    sums = data[:, : n * factor].astype(np.float64).reshape(len(data), n, factor).sum(axis=2)
    scaled = sums.astype(np.float32) * np.float32(1.0 / np.sqrt(factor))
    return np.clip(np.rint(scaled), -128, 127)


def halved(series):
    """Every second of the sums 1 3 3 1 of neighbours, over the root of 20; beyond the ends the last samples go on."""
    n = len(series) // 2
    more = np.concatenate([series[:1], series, series[-1:]]).astype(np.float64)
    sums = np.convolve(more, [1.0, 3.0, 3.0, 1.0], mode="valid")[: 2 * n : 2]
    return np.clip(np.rint(sums / np.sqrt(20.0)), -32768, 32767).astype(np.int16)
