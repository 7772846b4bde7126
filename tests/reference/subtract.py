"""Obvious forms of pulsar_kernels.subtract, sample by sample in float64 and whole numbers of any size."""

import math

import numpy as np

STRETCH = 2048
M32 = 0xFFFFFFFF


def turns(t, spin):
    """Turns at a time from the epoch."""
    return spin[0] * t + spin[1] * t**2 / 2.0 + spin[2] * t**3 / 6.0


def bin_of(i, delay, tsamp, spin, nbins):
    """Bin of sample i, and its phase: a straight line over each stretch of samples."""
    begin = i // STRETCH * STRETCH
    t = (begin + 0.5) * tsamp - spin[3] - delay
    low, high = turns(t, spin), turns(t + STRETCH * tsamp, spin)
    phase = (low + (high - low) * (i - begin) / STRETCH) % 1.0
    return min(int(phase * nbins), nbins - 1), phase


def subint_of(i, delay, tsamp, spin, subints, nsubints):
    """Sub-integration of sample i: turns are counted on a straight line over each stretch of samples."""
    begin = i // STRETCH * STRETCH
    t = (begin + 0.5) * tsamp - spin[3] - delay
    low, high = turns(t, spin), turns(t + STRETCH * tsamp, spin)
    number = math.floor((low + (high - low) / STRETCH * (i - begin) - subints[0]) / subints[1])
    return min(max(number, 0), nsubints - 1)


def part_of(i, edges):
    """Part of the observation that a sample is in."""
    return next(p for p in range(len(edges) - 1) if edges[p] <= i < edges[p + 1])


def live(c, part, blocks, bad):
    """Whether a channel is to be folded there."""
    return blocks[part] >= 0 and not bad[blocks[part], c]


def dither(i, key):
    """The random part of a level of a sample, in 65536ths."""
    z = i & M32
    z = ((z ^ (z >> 16)) * 0x7F4A7C15) & M32
    z = (((z ^ (z >> 15)) ^ key) * 0x6C62272F) & M32
    z = ((z ^ (z >> 13)) * 0x7F4A7C15) & M32
    return z >> 16


def fold(data, start, tsamp, spin, delays, edges, blocks, bad, subints, bands, shape):
    """Sums and counts of cells and of channels."""
    nsubints, nbands, nbins = shape
    cells = np.zeros((nsubints, nbands, nbins, 2), dtype=np.int64)
    rows = np.zeros((len(data), nbins, 2), dtype=np.int64)
    for c, row in enumerate(data):
        for j, value in enumerate(row):
            part = part_of(start + j, edges)
            if live(c, part, blocks, bad):
                k, _ = bin_of(start + j, delays[c], tsamp, spin, nbins)
                subint = subint_of(start + j, delays[c], tsamp, spin, subints, nsubints)
                for into in (cells[subint, bands[c], k], rows[c, k]):
                    into += (int(value), 1)
    return cells, rows


def subtract(
    data, start, tsamp, spin, delays, edges, blocks, bad, subints, bands, shapes, shape_of, gains, levels, factors, keys
):
    """The samples without the template."""
    out = data.copy()
    for c, row in enumerate(data):
        for j, value in enumerate(row):
            i = start + j
            part = part_of(i, edges)
            if live(c, part, blocks, bad):
                k, _ = bin_of(i, delays[c], tsamp, spin, shapes.shape[1])
                where = subint_of(i, delays[c], tsamp, spin, subints, len(gains)), bands[c]
                level = factors[c] * (gains[where] * shapes[shape_of[where]][k] + levels[where])
                taken = math.floor((round(level * 65536) + dither(i, int(keys[c]))) / 65536)
                out[c, j] = min(max(int(value) - taken, -127), 127)
    return out
