"""Obvious forms of pulsar_kernels.clean."""

import numpy as np


def scaled(raw, chans, base, slope, scale, first):
    """Scaled samples before zero-DM and rounding, NaN where the raw sample is not finite."""
    n = raw.shape[1]
    i = first + np.arange(n)
    out = np.zeros((len(chans), n))
    for row, c in enumerate(chans):
        x = raw[c].astype(np.float64)
        with np.errstate(invalid="ignore"):
            out[row] = (x - (base[row] + slope[row] * i)) * scale[row]
    return np.where(np.isfinite(out), out, np.nan)


def zero_dm(raw, chans, base, slope, scale, first, weights):
    """Weighted sum over channels, not-finite samples counted as 0."""
    values = np.nan_to_num(scaled(raw, chans, base, slope, scale, first), nan=0.0)
    return (weights[:, None] * values).sum(axis=0)


def project(data, series):
    """Product of every row with a series."""
    return data.astype(np.float64) @ series.astype(np.float64)


def normalise(raw, chans, base, slope, scale, first, series, gains):
    """Cleaned values before rounding (clipped to +-127)."""
    values = scaled(raw, chans, base, slope, scale, first)
    if len(series):
        values = values - gains[:, None] * series
    values = np.where(np.isnan(values), 0.0, values)
    values[np.asarray(scale) == 0] = 0.0
    return np.clip(values, -127, 127)
