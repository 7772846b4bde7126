"""Plain float64 oracles of pulsar_kernels.pulses."""

import numpy as np


def whitened(series, base, scale, runs=(), size=32):
    """Samples minus baseline over noise, and which of them count."""
    x = np.asarray(series, dtype=np.float64)
    white = (x - np.repeat(base, size)[: len(x)].astype(float)) * np.repeat(scale, size)[: len(x)].astype(float)
    counts = np.isfinite(white)
    for lo, hi in runs:
        counts[lo:hi] = False
    return np.where(counts, white, 0.0), counts


def excess_at(width, excess):
    """Between sums of 2^k samples: straight lines over the width; the last one holds beyond."""
    return np.interp(width, 2.0 ** np.arange(len(excess)), excess)


def box_snr(white, counts, start, width, excess):
    """S/N of a boxcar."""
    k = np.count_nonzero(counts[start : start + width])
    return np.sum(white[start : start + width]) / np.sqrt(k) / excess_at(k, excess) if k else 0.0


def gauss_weights(lo, hi, centre, fwhm, step=1):
    """A Gaussian of samples `lo` to `hi`, constant over steps of so many."""
    at = np.arange(lo, hi)
    first = lo + (at - lo) // step * step
    middle = 0.5 * (first + np.minimum(first + step, hi))
    return np.exp(-4 * np.log(2) * ((middle - centre) / fwhm) ** 2)


def gauss_snr(white, counts, centre, fwhm, excess):
    """S/N of a Gaussian out to 1.5 full widths, in steps of a sixteenth of its width."""
    lo = max(int(np.floor(centre - 1.5 * fwhm)), 0)
    hi = min(int(np.ceil(centre + 1.5 * fwhm)), len(white))
    g = gauss_weights(lo, hi, centre, fwhm, max(int(fwhm / 16), 1)) * counts[lo:hi]
    norm = np.sum(g**2)
    return np.sum(g * white[lo:hi]) / np.sqrt(norm) / excess_at(np.sum(g) ** 2 / norm, excess) if norm > 0 else 0.0


def has_valley(white, lo, hi, width, snr, forward, room):
    """Whether a sum of `width` samples falls below half of the pulse's, and 3 sigma below it, next to the pulse."""
    most = min(64 * width, room)
    part = white[lo:hi][:most] if forward else white[lo:hi][-most:]
    w = min(width, len(part))
    if w == 0:
        return False
    mean = snr / np.sqrt(width)
    sums = np.convolve(part, np.ones(w), "valid")
    return bool(np.min(sums) / w < min(mean / 2, mean - 3 / np.sqrt(w)))


def best_of_vector(white, limits, left, right, level, vector):
    """Largest sum over threshold of the boxes of a vector of the scan within ``left ... right``, or -1."""
    size = 1 << level
    # Boxes of 32 samples and more begin and end at cells.
    step = min(size, 32) if size >= 32 else 1
    lo, hi = max(vector, left), min(vector + 39 * size, right)
    lo, hi = -(-lo // step) * step, hi // step * step
    best = -1.0
    for start in range(lo, min(lo + 32 * size, hi), size):
        for k in range(0 if level == 0 else 4, 8):
            end = start + (k + 1) * size
            if end <= hi:
                best = max(best, np.sum(white[start:end]) / limits[level, k])
    return best
