"""From the sums of a candidate to its cube: sub-integrations, variance, the phase of the reference frequency."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import DAY, KDM
from pulsar.data.fold import FoldCube, FoldParams, LevelledFold
from pulsar.data.source import SampleSource
from pulsar.folding.plan import FoldPlan
from pulsar.folding.turns import Pieces, evened, find_level, folded, in_one_time, series_of


@dataclass
class Sums:
    """One candidate while it is folded."""

    params: FoldParams
    plan: FoldPlan
    nsamps: int
    tsamp: float
    edges: NDArray[np.int64]  # of the sub-integrations, or their pieces
    data: NDArray[np.float32]
    counts: NDArray[np.int64]

    @property
    def time_edges(self) -> NDArray[np.float64]:
        """Edges of the sub-integrations [s]."""
        return np.asarray(self.edges[:: self.plan.pieces] * self.tsamp, dtype=np.float64)

    def whole(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Samples and sums of the sub-integrations: of integers, the same as if they had never been split.

        Unless samples are in step with the turn: then without the mean of each piece.
        """
        if self.plan.pieces == 1:
            return self.counts, self.data
        shape = (self.plan.nsubints, self.plan.pieces)
        counts = self.counts.reshape(*shape, -1).sum(axis=1)
        data = self.data
        if self.plan.in_step:
            mean = data.sum(axis=2) / np.maximum(self.counts.sum(axis=1), 1)[:, None]
            data = data - (mean[:, :, None] * self.counts[:, None, :]).astype(np.float32)
        return counts, data.reshape(*shape, *data.shape[1:]).sum(axis=1)

    def turns(self, tmid: float) -> NDArray[np.float64]:
        """Turns since mid-observation at the centre of the first sample of each sub-integration or piece."""
        p = self.params
        t = (self.edges[:-1] + 0.5) * self.tsamp - tmid
        return np.asarray(t * (p.freq + t * (p.fdot / 2.0 + t * p.fddot / 6.0)))


def empty_sums(params: FoldParams, plan: FoldPlan, nsamps: int, tsamp: float, data: NDArray[np.float32]) -> Sums:
    """Where the sums of a candidate go: `data`, of shape (plan.nparts, nbands, plan.nbins)."""
    n = nsamps >> plan.level
    edges = np.round(np.linspace(0, n, plan.nsubints + 1)).astype(np.int64)
    # Sub-integrations are the same whether they are split or not.
    split = edges[:-1, None] + np.diff(edges)[:, None] * np.arange(plan.pieces) // plan.pieces
    edges = np.append(split.reshape(-1), n)
    counts = np.zeros((plan.nparts, plan.nbins), dtype=np.int64)
    return Sums(params, plan, n, tsamp * 2**plan.level, edges, data, counts)


def mark_slots(cand: Sums, start: int, nout: int, tmid: float, out: NDArray[np.uint16]) -> tuple[int, int]:
    """Slots of samples `start` … of a candidate's resolution; returns the range of sub-integrations they touch."""
    from pulsar_kernels.fold import count_slots, phase_bins

    first = int(np.searchsorted(cand.edges, start, side="right")) - 1
    last = int(np.searchsorted(cand.edges, start + nout, side="left"))
    edges = np.clip(cand.edges[first : last + 1] - start, 0, nout)
    p, dt = cand.params, cand.tsamp
    t = (start + 0.5) * dt - tmid
    phase = t * (p.freq + t * (p.fdot / 2.0 + t * p.fddot / 6.0))
    rate = (p.freq + t * (p.fdot + t * p.fddot / 2.0)) * dt
    nbins = cand.plan.nbins
    phase_bins(
        phase - np.floor(phase), rate, 0.5 * (p.fdot + p.fddot * t) * dt**2, p.fddot / 6.0 * dt**3, nbins, edges, out
    )
    counts = np.zeros((last - first) * nbins, dtype=np.int64)
    count_slots(out[:nout], counts)
    cand.counts[first:last] += counts.reshape(last - first, nbins)
    return first, last


def cube_of(cand: Sums, source: SampleSource, edges: NDArray[np.int64], mean_shift: NDArray[np.float64]) -> FoldCube:
    """Bring the subbands to the phase of the reference frequency and reckon the variance."""
    widths = np.diff(edges)
    inverse = np.add.reduceat(source.freqs**-2.0, edges[:-1]) / widths
    freq, dm = cand.params.freq, cand.params.dm
    lag = KDM * dm * (inverse - source.fref**-2.0) - mean_shift
    tmid = 0.5 * source.nsamps * source.tsamp
    middle = 0.5 * (cand.time_edges[1:] + cand.time_edges[:-1]) - tmid
    # Frequency and its derivative in the middle of each sub-integration.
    fdot = (cand.params.fdot + cand.params.fddot * middle)[:, None]
    now = (freq + middle * (cand.params.fdot + 0.5 * middle * cand.params.fddot))[:, None]
    turns = -(now * lag - 0.5 * fdot * lag**2)
    valid = np.array(
        [
            source.valid_fraction(round(a / source.tsamp), max(round((b - a) / source.tsamp), 1))
            for a, b in pairwise(cand.time_edges)
        ]
    )
    scale = valid * 2**cand.plan.level
    counts, sums = cand.whole()
    variance = (counts * scale[:, None])[:, None, :] * widths[None, :, None].astype(np.float64)
    # The noise of all channels in a sample.
    noise = float(np.sqrt(variance.sum() / counts.sum()))
    level = levelled_fold(cand, -turns.mean(axis=0), noise, tmid)
    if level is not None:
        level = replace(level, data=rotate(level.data, variance, turns)[0])
    data, variance = rotate(sums, variance, turns)
    return FoldCube(
        data=data,
        variance=variance,
        time_edges=cand.time_edges,
        band_freqs=inverse**-0.5,
        fref=source.fref,
        params=cand.params,
        tobs=source.nsamps * source.tsamp,
        tsamp=source.tsamp,
        epoch=source.tstart + tmid / DAY,
        # Band b of sub-integration s holds what reached the highest channel between these edges minus the lag.
        lags=-lag,
        levelled=level,
        resolution=cand.tsamp,
    )


def levelled_fold(cand: Sums, late: NDArray[np.float64], noise: float, tmid: float) -> LevelledFold | None:
    """The fold, each band in its own time, without the level, where that surely wanders.

    Parameters
    ----------
    cand : Sums
    late : ndarray, shape (nbands,)
        Turns by which each band is to be moved earlier.
    noise : float
        Rms of a sample of all bands together.
    tmid : float
        Mid-observation [s] from the start.
    """
    nbins = cand.plan.nbins
    if cand.plan.pieces == 1 or cand.plan.in_step or noise == 0.0:
        return None
    pieces = Pieces(cand.data, cand.counts, cand.turns(tmid))
    series = series_of(pieces)
    filled = cand.counts.sum() / len(series)
    level = find_level(in_one_time(series, np.round(late * nbins).astype(np.int64)) * np.sqrt(filled) / noise, nbins)
    if level is None:
        return None
    data = folded(pieces, evened(series, level, nbins), cand.plan.pieces)
    return LevelledFold(data, level.noise.measured, level.noise.smooth, level.noise.red)


def rotate(
    data: NDArray[np.float32], variance: NDArray[np.float64], turns: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Move each profile later by `turns`.

    Where no bin is nearly empty, the means of the bins turn by exact fractions of a bin (Fourier shift: noise stays
    white); otherwise by whole bins, together with their variance. The variance always turns by whole bins.

    Parameters
    ----------
    data, variance : ndarray, shape (nsubints, nbands, nbins)
    turns : ndarray, shape (nsubints, nbands)
    """
    nbins = data.shape[-1]
    steps = np.round(turns * nbins).astype(np.int64)
    index = (np.arange(nbins) - steps[:, :, None]) % nbins
    moved = np.take_along_axis(data, index, axis=2)
    moved_variance = np.take_along_axis(variance, index, axis=2)
    rest = turns - steps / nbins
    mean = variance.mean(axis=2, keepdims=True)
    even = np.all(variance > 0.2 * mean, axis=(1, 2))
    if np.any(even):
        # The means of the bins turn, not their sums: those carry the pattern of how many samples a bin got.
        weight = moved_variance[even]
        spectra = np.fft.rfft(moved[even] / weight, axis=2)
        spectra *= np.exp(-2j * np.pi * np.arange(nbins // 2 + 1) * rest[even][:, :, None])
        moved[even] = np.fft.irfft(spectra, nbins, axis=2) * weight
    return moved, moved_variance
