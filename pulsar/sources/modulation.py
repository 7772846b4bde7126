"""Pulses that vary from turn to turn: what of a detection is there outside of the pulses of a source.

Pulses that drift, come and go, or are bright now and then leave power beside the harmonics of their source, at any
frequency, which looks like another pulsar of its DM. But all of it comes while the source is on: outside of its pulses
nothing of it is left, and of a signal of its own as much as is there on average. With T the fold of a signal as far as
its harmonics go, R that of the samples outside alone, each bin a mean, and w the part of the samples of a bin that are
inside, the part of the power that is of the signal itself is

    p = sum R^2 / sum T^2

less what noise gives both. Of a signal of its own p is 1 and scatters by 2 sqrt(v sum w / (1 - w) T^2) / sum T^2, where
noise has variance 1, and v inside. The running mean over turns of the source and its mean pulse are taken off before.
Where the source is on in all turns of the signal, as at multiples of its period, nothing is told: phases of folds do
(:mod:`pulsar.sources.sky`).
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from pulsar.data.series import TimeSeries
from pulsar.folding.folder import normalise
from pulsar.folding.profile import best_box, ratio_of
from pulsar.sources.candidate import AGREE, CHANCE, Candidate
from pulsar.sources.source import Source
from pulsar_kernels.arrays import Bools, Float32s, Floats, Uint16s
from pulsar_kernels.fold import phase_bins

#: Most bins of the fold of a detection, and least.
_BINS: Final = (256, 16)
#: Turns of a source from which on it is told: in fewer, pulses of another that vary may be bright by chance.
_TURNS: Final = 30
#: What has less of its power outside is told, as pulses that vary by themselves are brighter now inside, now outside.
_MOSTLY: Final = 0.5


def window_of(source: Source) -> Bools:
    """Bins of its turn in which a source is on: boxes of its pulses (S/N 5), twice as wide; shape (nbins,)."""
    nbins = source.nbins
    spectrum = np.zeros(nbins // 2 + 1, dtype=np.complex128)
    amplitudes = source.at_dm(source.dm)[: nbins // 2 - 1]
    spectrum[1 : len(amplitudes) + 1] = amplitudes * np.sqrt(nbins)
    profile, on = np.fft.irfft(spectrum, nbins), np.zeros(nbins, dtype=np.bool_)
    while not on.all():
        rest = np.where(on, np.median(profile[~on]), profile)
        snr, width, start = (values[0] for values in best_box(rest[None], np.ones(nbins)))
        if snr < CHANCE:
            break
        side = width // 2 + 1
        on[np.arange(start - side, start + width + side) % nbins] = True
    return on


def outside_pulses(series: TimeSeries, source: Source, candidates: Sequence[Candidate]) -> Mapping[str, float]:
    """Part of the power of detections that is there outside of the pulses of a source, where it is surely not half.

    Parameters
    ----------
    series : TimeSeries
        At the DM of the source.
    source : Source
        As it is in that time.
    candidates : sequence of Candidate
        Detections in that time, folded or not.

    Returns
    -------
    mapping of str to float
        0 to 0.5, by uid, of those of which 1 is more than 4 deviations away; none of a source of few turns, or of few
        samples in a turn.
    """
    n, dt, on = series.nsamps, series.tsamp, window_of(source)
    if source.freq * n * dt < _TURNS or source.freq * dt * _BINS[1] > 1.0:
        return {}
    data, slots, every = (
        normalise(series.data, 1.0 / (source.freq * dt)),
        np.zeros(n, np.uint16),
        np.ones(n, np.float32),
    )
    _mark(source.freq, source.fdot, dt, len(on), slots)
    data -= ratio_of(_sums(data, slots, len(on)), _sums(every, slots, len(on))).astype(np.float32)[slots]
    inside = on[slots]
    if not 0 < np.count_nonzero(inside) < n:
        return {}
    noise = max(float(np.var(data[inside]) / np.var(data[~inside])), 1.0)
    data /= np.std(data[~inside])
    gate = (~inside).astype(np.float32)
    rest, parts = data * gate, {}
    for candidate in candidates:
        nbins = int(np.clip(1.0 / (candidate.freq * dt), _BINS[1], _BINS[0]))
        _mark(candidate.freq, candidate.fdot, dt, nbins, slots)
        counts, free = (_sums(row, slots, nbins) for row in (every, gate))
        if not free.all():
            continue
        # As many as were summed, up to the same frequency; of a fold those that its box shows, too.
        summed = candidate.group.nharm * candidate.group.freq / candidate.freq
        seen = 1.0 if candidate.fold is None else 0.5 / candidate.fold.width
        nharm = int(np.clip(np.ceil(max(summed, seen)), 1, nbins // 2 - 1))
        whole = _harmonics(_sums(data, slots, nbins) / np.sqrt(counts), nharm)
        left = _harmonics(_sums(rest, slots, nbins) * np.sqrt(counts) / free, nharm)
        less = counts / free - 1.0  # w / (1 - w)
        power = float(whole @ whole) - 2.0 * nharm * float(np.mean((1.0 + less * noise) / (1.0 + less)))
        outside = float(left @ left) - 2.0 * nharm * float(np.mean(1.0 + less))
        scatter = np.sqrt(4.0 * noise * float(less @ whole**2) + 4.0 * nharm * noise**2 * float(np.mean(less**2)))
        if power - outside > AGREE * scatter and outside < _MOSTLY * power:
            parts[candidate.uid] = max(outside / power, 0.0)
    return parts


def _harmonics(profile: Floats, nharm: int) -> Floats:
    """A profile of its harmonics 1 to `nharm` alone."""
    spectrum = np.fft.rfft(profile)
    spectrum[0] = spectrum[nharm + 1 :] = 0.0
    return np.asarray(np.fft.irfft(spectrum, len(profile)))


def _mark(freq: float, fdot: float, dt: float, nbins: int, slots: Uint16s) -> None:
    """Phase bins of all samples; phase 0 is in the middle of them."""
    t = 0.5 * dt * (1 - len(slots))
    phase, edges = t * (freq + 0.5 * t * fdot), np.array([0, len(slots)])
    phase_bins(phase - np.floor(phase), (freq + t * fdot) * dt, 0.5 * fdot * dt**2, 0.0, nbins, edges, slots)


def _sums(data: Float32s, slots: Uint16s, nbins: int) -> Floats:
    return np.asarray(np.bincount(slots, weights=data, minlength=nbins), dtype=np.float64)
