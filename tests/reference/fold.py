"""Plain oracles of the folding kernels, and an array-backed source of cleaned samples."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM

SIGMA = 8.0


def halve(data: NDArray[Any]) -> NDArray[np.int64]:
    """Sums of neighbouring pairs."""
    n = data.shape[1] // 2 * 2
    return data[:, :n].astype(np.int64).reshape(data.shape[0], -1, 2).sum(axis=2)


def phases(phase: float, rate: float, accel: float, jerk: float, nsamps: int) -> NDArray[np.float64]:
    """Phase [0, 1) of each sample."""
    j = np.arange(nsamps, dtype=np.float64)
    turns = phase + rate * j + accel * j**2 + jerk * j**3
    return turns - np.floor(turns)


def fold_band(
    data: NDArray[Any], nout: int, delays: NDArray[Any], slots: NDArray[Any], nslots: int
) -> NDArray[np.int64]:
    """Sum channels with their delays, then add each sample to its slot."""
    out = np.zeros(nslots, dtype=np.int64)
    total = np.zeros(nout, dtype=np.int64)
    for channel, delay in zip(data, delays, strict=True):
        total += channel[delay : delay + nout]
    np.add.at(out, slots[:nout], total)
    return out


class ArraySource:
    """Cleaned samples in memory: pulsars of known phase in noise of unit variance per channel and sample."""

    def __init__(self, data: NDArray[np.int8], freqs: NDArray[np.float64], tsamp: float, *, valid: float = 1.0) -> None:
        self.data = data
        self.freqs = freqs
        self.fref = float(freqs[0])
        self.chan_width = float(abs(freqs[0] - freqs[1])) if len(freqs) > 1 else 1.0
        self.nsamps = int(data.shape[1])
        self.tsamp = tsamp
        self.tstart = 59000.0
        self.valid = valid

    def read_into(self, start: int, out: NDArray[np.int8]) -> None:
        """Copy; zero beyond the ends."""
        out[:] = 0
        lo, hi = max(start, 0), min(start + out.shape[1], self.nsamps)
        if hi > lo:
            out[:, lo - start : hi - start] = self.data[:, lo:hi]

    def valid_fraction(self, start: int, nsamps: int) -> float:
        """The same everywhere."""
        return self.valid


def make_source(
    rng: np.random.Generator,
    *,
    nchans: int = 64,
    nsamps: int = 1 << 16,
    tsamp: float = 2.56e-4,
    top: float = 1500.0,
    bandwidth: float = 400.0,
    freq: float = 11.3,
    fdot: float = 0.0,
    dm: float = 40.0,
    fwhm: float = 0.08,
    phase: float = 0.3,
    snr: float = 0.0,
) -> ArraySource:
    """A Gaussian pulsar of matched-filter S/N `snr`: pulse centre at `phase` for the epoch at mid-observation."""
    freqs = top - (np.arange(nchans) + 0.5) * bandwidth / nchans
    delay = KDM * dm * (freqs**-2.0 - freqs[0] ** -2.0)
    tau = (np.arange(nsamps) + 0.5) * tsamp - 0.5 * nsamps * tsamp
    data = np.empty((nchans, nsamps), dtype=np.int8)
    sigma = fwhm / 2.3548200450309493
    # Sum over samples of a Gaussian squared (less its mean) per turn is sigma sqrt(pi) - 2 pi sigma^2.
    power = nchans * nsamps * (sigma * np.sqrt(np.pi) - 2.0 * np.pi * sigma**2)
    amp = snr / np.sqrt(power)
    for c in range(nchans):
        t = tau - delay[c]
        turns = freq * t + 0.5 * fdot * t * t - phase
        turns -= np.round(turns)
        x = rng.standard_normal(nsamps)
        if snr:
            x += amp * np.exp(-0.5 * (turns / sigma) ** 2)
        data[c] = np.clip(np.round(x * SIGMA), -127, 127).astype(np.int8)
    return ArraySource(data, freqs, tsamp)
