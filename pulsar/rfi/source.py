"""The observation as the later stages see it: masked, of zero mean and equal noise, in int8."""

import threading

import numpy as np
from numpy.typing import NDArray

from pulsar.data.observation import Observation
from pulsar.data.source import SIGMA_LEVELS
from pulsar.rfi.mask import Mask
from pulsar.rfi.statistics import outside_gaps, piece_samples


class CleanedSource:
    """Reads, masks and normalises stretches of an observation (a `pulsar.data.source.SampleSource`).

    Parameters
    ----------
    obs : Observation
    mask : Mask
    zerodm : bool
        Subtract the mean over the live channels from every sample.
    """

    def __init__(self, obs: Observation, mask: Mask, *, zerodm: bool = False) -> None:
        self.obs = obs
        self.mask = mask
        self.zerodm = zerodm
        header = obs.header
        self._chans = np.flatnonzero(mask.chan_ok).astype(np.int64)
        self.freqs: NDArray[np.float64] = np.ascontiguousarray(header.freqs[self._chans])
        self.fref = float(header.freqs[0])
        self.chan_width = header.chan_width
        self.nsamps = header.nsamps
        self.tsamp = header.tsamp
        self.tstart = header.tstart
        noise = mask.noise[:, self._chans]
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(noise > 0, SIGMA_LEVELS / noise, 0.0)
        self._scale = np.where(mask.bad[:, self._chans], 0.0, scale).astype(np.float32)
        self._base = mask.baseline[:, self._chans]
        self._centres = (mask.edges[:-1] + mask.edges[1:]) // 2
        # Between two knots the baseline is one line and the scale one number.
        self._knots = np.unique(np.concatenate([mask.edges, self._centres]))
        self._live = 1.0 - mask.bad[:, self._chans].mean(axis=1)
        self._local = threading.local()

    @property
    def nchans(self) -> int:
        """Live channels."""
        return len(self._chans)

    def read_into(self, start: int, out: NDArray[np.int8]) -> None:
        """Fill `out`, shape (nchans, n), from sample `start` on; zeros outside the observation and in gaps."""
        n = out.shape[1]
        lo, hi = max(start, 0), min(start + n, self.nsamps)
        if lo >= hi:
            out[:] = 0
            return
        out[:, : lo - start] = 0
        out[:, hi - start :] = 0
        step = piece_samples(self.obs.header.nchans * self.obs.dtype.itemsize)
        at = lo
        while at < hi:
            segment = int(np.searchsorted(self._knots, at, side="right")) - 1
            stop = min(at + step, hi, int(self._knots[segment + 1]))
            self._piece(at, stop, segment, out[:, at - start : stop - start])
            at = stop
        for gap in self.obs.gaps:
            a, b = max(gap.start, lo), min(gap.start + gap.nsamps, hi)
            if a < b:
                out[:, a - start : b - start] = 0

    def valid_fraction(self, start: int, nsamps: int) -> float:
        """Fraction of the live channel-samples of a stretch that are neither masked nor missing."""
        lo, hi = max(start, 0), min(start + nsamps, self.nsamps)
        if lo >= hi:
            return 0.0
        edges = self.mask.edges
        total = 0.0
        for a, b in outside_gaps(self.obs, lo, hi):
            overlap = np.clip(np.minimum(edges[1:], b) - np.maximum(edges[:-1], a), 0, None)
            total += float(np.sum(overlap * self._live))
        return total / nsamps

    def _piece(self, start: int, stop: int, segment: int, out: NDArray[np.int8]) -> None:
        from pulsar_kernels.clean import normalise, zero_dm

        n = stop - start
        nchans = self.obs.header.nchans
        size = nchans * n
        buffer = getattr(self._local, "buffer", None)
        if buffer is None or buffer.size < size:
            buffer = self._local.buffer = np.empty(size, dtype=self.obs.dtype)
        raw = buffer[:size].reshape(nchans, n)
        self.obs.read_into(start, raw)
        anchor = int(self._knots[segment])
        base, slope = self._line(anchor)
        block = int(np.searchsorted(self.mask.edges, anchor, side="right")) - 1
        scale = self._scale[block]
        series = np.empty(n if self.zerodm else 0, dtype=np.float32)
        if self.zerodm:
            zero_dm(raw, self._chans, base, slope, scale, start - anchor, series)
        normalise(raw, self._chans, base, slope, scale, start - anchor, series, out)

    def _line(self, anchor: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Baseline at the knot `anchor` and its slope a sample up to the next knot, per live channel."""
        centres = self._centres
        flat = np.zeros(self.nchans, dtype=np.float32)
        if anchor < centres[0]:
            return self._base[0].astype(np.float32), flat
        if anchor >= centres[-1]:
            return self._base[-1].astype(np.float32), flat
        i = int(np.searchsorted(centres, anchor, side="right")) - 1
        slope = (self._base[i + 1] - self._base[i]) / (centres[i + 1] - centres[i])
        value = self._base[i] + slope * (anchor - centres[i])
        return value.astype(np.float32), slope.astype(np.float32)
