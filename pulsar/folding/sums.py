"""From the sums of a candidate to its cube, and the level of slow pulsars, followed from turn to turn.

A sub-integration of several turns cannot be levelled any more: what wandered while it lasted is in its profile. So slow
candidates are folded in pieces shorter than a turn, which one after the other are the series, in steps of a phase bin.
Where that series shows that the level wanders, it is evened out in every subband, and only then put together to
sub-integrations. What does not wander is not touched.

1. A running mean over a part of a turn is taken from it, twice over, so that slow waves no longer come in at harmonics
   that they have nothing to do with, through the ends of the data and of the sub-integrations (a wave k / length away
   leaves 1 / (pi k) of itself there).
2. Every frequency is divided by what that has left of it, and by the noise beside the harmonics. This is done before
   sub-integrations are made, as these mix frequencies.

Both are the same whatever the phase: no phase is preferred, noise cannot make a pulse of itself, and of a pulse of any
width all harmonics are kept, each as its noise allows.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import gammaincc, ndtri

from pulsar.constants import DAY, KDM
from pulsar.data.fold import FoldCube, FoldParams, HarmonicNoise, LevelledFold
from pulsar.data.source import SampleSource
from pulsar.folding.plan import FoldPlan
from pulsar.folding.whiten import FEWEST_PARTS, NEAR, RED, noise_beside
from pulsar_kernels.arrays import Complexes, Float32s, Floats, Ints, Uint16s
from pulsar_kernels.fold import count_slots, phase_bins

#: Widths of the running mean [turns]: the one is taken that leaves least noise at the harmonics.
WINDOWS: Final = (1.0, 0.5, 0.25)


@dataclass(frozen=True)
class Pieces:
    """Pieces of a fold, each shorter than a turn."""

    data: Float32s  # shape (npieces, nbands, nbins): Sums of samples, each band in its own time
    counts: Ints  # shape (npieces, nbins): Samples in each bin
    turns: Floats  # shape (npieces,): Turn at the centre of the first sample of each piece

    def places(self) -> tuple[Ints, Ints]:
        """First bin of each piece, and where it stands in the series that begins with the first of the first."""
        nbins = self.data.shape[2]
        at = np.floor(self.turns * nbins).astype(np.int64)
        return at % nbins, at - at[0]


def _filled(values: Floats, counts: Ints) -> Floats:
    """Means of the bins of a series, shape (n, nbands); those without a sample lie on straight lines."""
    mean = values / np.maximum(counts, 1)[:, None]
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        full = np.flatnonzero(counts)
        after = np.clip(np.searchsorted(full, empty), 1, len(full) - 1)
        left, right = full[after - 1], full[after]
        part = np.clip((empty - left) / (right - left), 0.0, 1.0)[:, None]
        mean[empty] = mean[left] * (1.0 - part) + mean[right] * part
    return mean


def series_of(pieces: Pieces) -> Floats:
    """The level of each band from bin to bin of one turn after the other, shape (n, nbands)."""
    _, nbands, nbins = pieces.data.shape
    first, start = pieces.places()
    values = np.zeros((int(start[-1]) + nbins, nbands))
    counts = np.zeros(len(values), dtype=np.int64)
    for data, count, bin_, at in zip(pieces.data, pieces.counts, first, start, strict=True):
        # The bins before the first of a piece are of the next turn.
        values[at : at + nbins - bin_] += data[:, bin_:].T
        values[at + nbins - bin_ : at + nbins] += data[:, :bin_].T
        counts[at : at + nbins] += np.roll(count, -bin_)
    end = int(np.flatnonzero(counts)[-1]) + 1
    return _filled(values[:end], counts[:end])


def _centred_mean(series: Floats, half: int) -> Floats:
    """Mean over the 2 `half` bins about each (those at the ends count half), carried on with its slope at the ends."""
    n = len(series)
    total = np.concatenate([np.zeros((1, series.shape[1])), np.cumsum(series, axis=0)])
    inner = (total[2 * half : -1] - total[: -2 * half - 1] + total[2 * half + 1 :] - total[1 : -2 * half]) / (4 * half)
    out = np.empty_like(series)
    out[half : n - half] = inner
    steps = np.arange(1, half + 1)[:, None] / (2 * half)
    out[:half] = inner[0] + steps[::-1] * (inner[0] - inner[2 * half])
    out[n - half :] = inner[-1] + steps * (inner[-1] - inner[-2 * half - 1])
    return out


def baseline(series: Floats, half: int) -> Floats:
    """The running mean of `series` over 2 `half` bins, and that of what it leaves.

    Parameters
    ----------
    series : ndarray, shape (n, nbands)
        At least 4 `half` + 1 bins.
    """
    once = _centred_mean(series, half)
    once += _centred_mean(series - once, half)
    return once


def left(turns: Floats, half: int, nbins: int) -> Floats:
    """Part of a wave of so many cycles a turn that is left when its :func:`baseline` is taken."""
    angle = np.pi * np.asarray(turns) / nbins
    # Trapezoidal rule over 2 half bins: sin(2 half x) cos(x) / (2 half sin(x)).
    safe = np.where(angle == 0.0, 1.0, angle)
    mean = np.where(angle == 0.0, 1.0, np.sin(2 * half * angle) / (2 * half * np.tan(safe)))
    return np.asarray((1.0 - mean) ** 2)


@dataclass(frozen=True)
class Levelling:
    """How a series is levelled, and the noise in which its harmonics stand."""

    half: int  # Half the width of the running mean [bins]
    noise: HarmonicNoise  # Without what slower waves leave at the harmonics


def evened(series: Floats, level: Levelling, nbins: int) -> Floats:
    """Take the level from a series and make its noise white.

    Parameters
    ----------
    series : ndarray, shape (n, nbands)
    nbins : int
        Bins of a turn.
    """
    n = len(series)
    # Zeros beyond the end: the filter reaches over a few turns, and would take the end for what is before the start.
    size = int(next_fast_len(n + 4 * nbins, real=True))
    # In single precision, as the sums are: what is left is noise, and the large level is gone.
    rows = np.ascontiguousarray((series - baseline(series, level.half)).T, dtype=np.float32)
    spectrum = rfft(rows, size, axis=1)
    # What is slower than a turn stays as the running mean has left it.
    harmonic = np.maximum(np.arange(spectrum.shape[1]) * (nbins / size), 1.0)
    gain = np.interp(harmonic, np.arange(1.0, nbins // 2 + 1), level.noise.gain[1:])
    spectrum *= (gain / left(harmonic, level.half, nbins)).astype(np.float32)
    return np.asarray(irfft(spectrum, size, axis=1, overwrite_x=True)[:, :n].T, dtype=np.float64)


def _spectrum(series: Floats, nbins: int) -> tuple[Complexes, int]:
    """Fourier amplitudes of a series of unit white noise, and the turns that it holds.

    Without its mean profile: what is beside the harmonics stays.
    """
    whole = len(series) // nbins
    turns = series[: whole * nbins].reshape(whole, nbins)
    flat = (turns - turns.mean(axis=0)).reshape(-1)
    return np.asarray(np.fft.rfft(flat) / np.sqrt(len(flat))), whole


def _noise(series: Floats, nbins: int, half: int) -> HarmonicNoise:
    """Noise beside the harmonics of a series that has lost a running mean (none if `half` is 0)."""
    spectrum, whole = _spectrum(series, nbins)
    side = min(max(whole // 2 - 1, 1), NEAR)
    offsets = np.concatenate([np.arange(1, side + 1), -np.arange(1, side + 1)])
    at = whole * np.arange(1, nbins // 2) + offsets[:, None]
    near = spectrum[at]
    return noise_beside(near / left(at / whole, half, nbins) if half else near)


def wanders(series: Floats, nbins: int) -> float:
    """How surely the level of a series wanders [sigma]: by the power of all that is slower than two turns.

    In white noise the powers are exponential variables, and their sum is a gamma variable.

    Parameters
    ----------
    series : ndarray, shape (n,)
        In units of its white noise.
    nbins : int
        Bins of a turn.
    """
    spectrum, whole = _spectrum(series, nbins)
    power = np.abs(spectrum) ** 2
    slow = power[1 : max(whole // 2, 1) + 1]
    # The noise as it is, where the level stands still: between the upper harmonics.
    white = float(np.median(power[len(power) // 2 :])) / np.log(2.0)
    # Smallest probability that is told from none: 37 sigma.
    return float(-ndtri(max(gammaincc(len(slow), slow.sum() / white), 1e-300)))


def find_level(series: Floats, nbins: int) -> Levelling | None:
    """The best way to take a wandering level from a series, if it wanders.

    Parameters
    ----------
    series : ndarray, shape (n,)
        Of all bands in the time of the highest, in units of its white noise.
    nbins : int
        Bins of a turn.

    Returns
    -------
    Level or None
        None where the level stands still: neither between the turns nor beside the lowest harmonics is there surely
        (RED sigma) more than white noise.
    """
    if len(series) < FEWEST_PARTS * nbins or nbins < 16:
        return None
    series = series - series.mean()
    red = max(_noise(series, nbins, 0).red, wanders(series, nbins))
    if red < RED:
        return None
    tries = []
    for window in WINDOWS:
        half = round(0.5 * window * nbins)
        noise = _noise(series - baseline(series[:, None], half)[:, 0], nbins, half)
        # Squared S/N of a narrow pulse.
        tries.append((float(np.sum(1.0 / noise.smooth)), half, noise))
    _, half, noise = max(tries, key=lambda attempt: attempt[0])
    return Levelling(half, HarmonicNoise(noise.measured, noise.smooth, red))


def in_one_time(series: Floats, late: Ints) -> Floats:
    """Sum of the bands of a series, band b moved earlier by `late[b]` bins; what all have.

    Parameters
    ----------
    series : ndarray, shape (n, nbands)
    late : ndarray of int64, shape (nbands,)
    """
    late = late - late.min()
    n = len(series) - int(late.max())
    total = np.zeros(max(n, 0))
    for b, shift in enumerate(late):
        total += series[shift : shift + len(total), b]
    return total


def folded(pieces: Pieces, series: Floats, npieces: int) -> Float32s:
    """Sub-integrations of `npieces` pieces each, of another series of the same samples.

    Parameters
    ----------
    series : ndarray, shape (n, nbands)
        As :func:`series_of` gives it.

    Returns
    -------
    ndarray of float32, shape (nsubints, nbands, nbins)
    """
    total, nbands, nbins = pieces.data.shape
    out = np.zeros((total // npieces, nbands, nbins))
    first, start = pieces.places()
    for k, (bin_, at) in enumerate(zip(first, start, strict=True)):
        profiles = np.zeros((nbins, nbands))
        there = series[at : at + nbins]
        profiles[: len(there)] = there
        out[k // npieces] += (np.roll(profiles, bin_, axis=0) * pieces.counts[k][:, None]).T
    return out.astype(np.float32)


@dataclass
class Sums:
    """One candidate while it is folded."""

    params: FoldParams
    plan: FoldPlan
    nsamps: int
    tsamp: float
    edges: Ints  # of the sub-integrations, or their pieces
    data: Float32s
    counts: Ints

    @property
    def time_edges(self) -> Floats:
        """Edges of the sub-integrations [s]."""
        return np.asarray(self.edges[:: self.plan.pieces] * self.tsamp, dtype=np.float64)

    def whole(self) -> tuple[Ints, Float32s]:
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

    def turns(self, tmid: float) -> Floats:
        """Turns since mid-observation at the centre of the first sample of each sub-integration or piece."""
        return np.asarray(self.params.turns((self.edges[:-1] + 0.5) * self.tsamp - tmid))


def empty_sums(params: FoldParams, plan: FoldPlan, nsamps: int, tsamp: float, data: Float32s) -> Sums:
    """Where the sums of a candidate go: `data`, of shape (plan.nparts, nbands, plan.nbins)."""
    n = nsamps >> plan.level
    edges = np.round(np.linspace(0, n, plan.nsubints + 1)).astype(np.int64)
    # Sub-integrations are the same whether they are split or not.
    split = edges[:-1, None] + np.diff(edges)[:, None] * np.arange(plan.pieces) // plan.pieces
    edges = np.append(split.reshape(-1), n)
    counts = np.zeros((plan.nparts, plan.nbins), dtype=np.int64)
    return Sums(params, plan, n, tsamp * 2**plan.level, edges, data, counts)


def mark_slots(cand: Sums, start: int, nout: int, tmid: float, out: Uint16s) -> tuple[int, int]:
    """Slots of samples `start` … of a candidate's resolution; returns the range of sub-integrations they touch."""
    first = int(np.searchsorted(cand.edges, start, side="right")) - 1
    last = int(np.searchsorted(cand.edges, start + nout, side="left"))
    edges = np.clip(cand.edges[first : last + 1] - start, 0, nout)
    p, dt = cand.params, cand.tsamp
    t = (start + 0.5) * dt - tmid
    phase = p.turns(t)
    rate = (p.freq + t * (p.fdot + t * p.fddot / 2.0)) * dt
    nbins = cand.plan.nbins
    phase_bins(
        phase - np.floor(phase), rate, 0.5 * (p.fdot + p.fddot * t) * dt**2, p.fddot / 6.0 * dt**3, nbins, edges, out
    )
    counts = np.zeros((last - first) * nbins, dtype=np.int64)
    count_slots(out[:nout], counts)
    cand.counts[first:last] += counts.reshape(last - first, nbins)
    return first, last


def cube_of(cand: Sums, source: SampleSource, edges: Ints, mean_shift: Floats) -> FoldCube:
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


def levelled_fold(cand: Sums, late: Floats, noise: float, tmid: float) -> LevelledFold | None:
    """The fold, each band in its own time, without the level, where that surely wanders.

    Parameters
    ----------
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
    return LevelledFold(data, level.noise)


def rotate(data: Float32s, variance: Floats, turns: Floats) -> tuple[Float32s, Floats]:
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
