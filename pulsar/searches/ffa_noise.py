"""Noise of a flattened series on the scales of wide boxes, for the fast folding search.

Two measures that pulses mislead in different ways: the lower tail of sums of samples, which wide pulses of few turns
reach, and the spectrum between its lines, to which pulses that vary from turn to turn add. Red noise raises both.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pulsar.searches import stats
from pulsar.searches.ffa_series import Step
from pulsar.searches.preparation import LOW_MODES, drift

#: Excess over white noise that counts, times the root of the number of sums it was measured from.
SURE = 4.0
#: What pulses may do to it, and how far the 5 % and 50 % quantiles of a Gaussian are from that of 25 %.
SLIGHT = 1.04
LOWER = 0.9704
QUARTER = 0.6745
#: With fewer sums the larger of two measures counts.
FEW = 400
#: Errors that are added to it, and how much more there is at one turn.
UNSURE = 1.5
FEW_TURNS = 2.5
#: From how many sums noise is measured at most.
MOST_SUMS = 4096
#: Beyond the first modes of a spectrum, medians of bands this ratio wide count.
BAND = 3.0
#: A line above so many times the level about it counts as noise: a sine of S/N 20, half of whose square is its power.
LINE = 200.0
#: Samples of the spectrum's series in the shortest turn: harmonics to the 32nd.
PER_TURN = 64
#: Waves are left at so many times the power of the noise: in folds of 24 series of strong drifts none had 3.5 sigma, at
#: 12 times they had up to 4.8.
WAVE = 8.0
_ZERO = np.float32(0.0)


def lower_tail(sums: NDArray[np.float32], unit: float) -> tuple[float, int]:
    """Noise of sums over `unit` by the lowest quarter of them, which narrow pulses hardly change, and their number."""
    picked = np.sort(sums[:: max(sums.shape[0] // MOST_SUMS, 1)])
    first, last = picked.searchsorted(_ZERO), picked.searchsorted(_ZERO, "right")
    if last > first:
        picked = np.concatenate([picked[:first], picked[last:]])
    n = picked.size
    if n < LOW_MODES:
        return 1.0, n
    ratio = float(picked[n // 4] - picked[n // 20]) / (LOWER * unit)
    if n < FEW:
        ratio = max(ratio, float(picked[n // 2] - picked[n // 4]) / (QUARTER * unit))
    return ratio, n


def between_lines(x: NDArray[np.float32], variance: float) -> NDArray[np.float64]:
    """Power spectrum of a series over that of white noise without the lines of a pulsar, modes 1, 2, 3 ...

    Parameters
    ----------
    x : ndarray of float32, shape (n,)
    variance : float
        That white noise has in each sample.
    """
    power = np.abs(np.fft.rfft(x)[1:]) ** 2 / (variance * len(x))
    if len(power) < BAND * LOW_MODES:
        return np.asarray(power)
    edges = [LOW_MODES]
    while edges[-1] * BAND**2 <= len(power):
        edges.append(int(edges[-1] * BAND))
    edges.append(len(power))
    bands = list(pairwise(edges))
    centres = [np.sqrt(lo * hi) for lo, hi in bands]
    # The median of an exponential distribution is ln 2 of its mean.
    medians = [stats.median(power[lo:hi]) / np.log(2.0) for lo, hi in bands]
    level = power.copy()
    smooth = np.exp(np.interp(_log_modes(len(power)), np.log(centres), np.log(np.maximum(medians, 1e-9))))
    level[LOW_MODES:] = smooth[LOW_MODES:]
    strong = power > LINE * smooth
    level[strong] = power[strong]
    return np.asarray(level)


def tail_noise(halves: list[NDArray[np.float32]], sigma: float, known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise of sums of 1, 2, 4 ... samples over that of white noise, 1 where it is not surely more.

    Parameters
    ----------
    halves : list of ndarray of float32
        The flattened series and its sums of 2, 4, 8 ... samples.
    sigma : float
        Noise of a sample that is there; missing ones are 0.
    known : ndarray of float64
        The first of the scales, from a finer level.
    """
    scale = list(known) if len(known) else [1.0]
    for k in range(len(scale), len(halves)):
        ratio, n = lower_tail(halves[k], sigma * float(np.sqrt(1 << k)))
        if n < LOW_MODES:
            break
        red = scale[-1] > 1.0 or ratio > SLIGHT + SURE / np.sqrt(n)
        # Once it is surely more it is more on longer scales, too, and how much more is uncertain.
        scale.append(max(ratio * (1.0 + UNSURE / np.sqrt(n)), scale[-1]) if red else 1.0)
    return np.array(scale)


def spectrum_of(halves: list[NDArray[np.float32]], sigma: float, turns: float) -> NDArray[np.float64]:
    """`between_lines` of a series that has samples enough for the harmonics of a period of so many turns, or all."""
    enough = [k for k, x in enumerate(halves) if x.shape[0] >= PER_TURN * turns]
    k = enough[-1] if enough else 0
    share = np.count_nonzero(halves[k]) / halves[k].shape[0]
    return between_lines(halves[k], share * sigma**2 * (1 << k))


def red_part(halves: list[NDArray[np.float32]], variance: float, turns: float) -> tuple[NDArray[np.float64], int]:
    """The series to be subtracted from another to divide its spectrum by the red noise between its lines.

    Parameters
    ----------
    halves : list of ndarray of float32
        The flattened series and its sums of 2, 4, 8 ... samples.
    variance : float
        That white noise has in each sample, missing ones included.
    turns : float
        Most turns of a period in the data: noise is measured at the first `PER_TURN` / 2 harmonics.

    Returns
    -------
    part : ndarray of float64, shape (nblocks,)
        At the middles of blocks; empty if there is no red noise.
    size : int
        Samples of a block.
    """
    # Twice as fine as the last harmonic asks for: between the middles of blocks the part is straight.
    enough = [k for k, x in enumerate(halves) if x.shape[0] >= 2 * PER_TURN * turns]
    k = enough[-1] if enough else 0
    return drift(halves[k], variance * (1 << k), int(0.5 * PER_TURN * turns), WAVE) / (1 << k), 1 << k


@lru_cache(maxsize=64)
def _log_modes(count: int) -> NDArray[np.float64]:
    """Logarithms of modes 1, 2, 3 ..."""
    out = np.log(np.arange(1, count + 1))
    out.flags.writeable = False
    return out


class BoxNoise:
    """Noise of boxes in folded profiles over that of white noise, for all steps of a level.

    A fold sees nothing but the harmonics of its period, and a box of w turns sinc^2(k w) of the k-th, all of which add
    up to (1 - w)/(2 w).

    Parameters
    ----------
    steps : sequence of Step
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        #: Least and most turns of the periods in the data.
        self._turns = [(s.nsamps / s.transforms[-1, 0], s.nsamps / s.transforms[0, 0]) for s in steps]
        #: Of the boxes [turns], ascending, one step after the other.
        widths = [s.widths / s.transforms[0, 0] for s in steps]
        self._widths = widths
        self._ends = np.cumsum([len(w) for w in widths]).tolist()
        # Scales of the boxes in octaves of samples of the level.
        self._scales = np.concatenate([np.log2(s.widths * s.factor) for s in steps])
        self._white = [np.ones(len(w)) for w in widths]
        least = np.concatenate([np.full(len(w), turns) for w, (turns, _) in zip(widths, self._turns, strict=True)])
        errors = np.sqrt(np.concatenate(widths) / least)
        self._sure, self._unsure = SLIGHT + SURE * errors, 1.0 + UNSURE * errors
        self._seen: dict[int, _Seen] = {}

    def over_white(self, scale: NDArray[np.float64], level: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """The noise of each step's boxes, 1 where it is not surely more.

        Parameters
        ----------
        scale : ndarray of float64
            From `tail_noise`.
        level : ndarray of float64, shape (nmodes,)
            From `spectrum_of`; may be empty: then nothing is known of it.
        """
        if not scale[-1] > 1.0:
            return self._white
        rises = self._parts(np.interp(self._scales, np.arange(len(scale)), scale))
        if len(level):
            rises = [np.minimum(a, b) for a, b in zip(rises, self.folded(level), strict=True)]
        # A few turns of noise that is not white are no Gaussian noise, on any scale.
        return [
            rise * (1.0 + (1.0 - rise.max() ** -2) * FEW_TURNS / turns)
            for rise, (turns, _) in zip(rises, self._turns, strict=True)
        ]

    def folded(self, level: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """The noise of each step's boxes by the spectrum at the harmonics of its periods, 1 where not surely more."""
        seen = self._seen.get(len(level))
        if seen is None:
            seen = self._seen[len(level)] = _Seen.of(len(level), self._turns, self._widths)
        total = np.zeros(len(level) + 1)
        np.cumsum(level, out=total[1:])
        power = (total[seen.last] - total[seen.first]) / seen.modes
        powers = [weights @ power[lo:hi] for weights, (lo, hi) in zip(seen.weights, pairwise(seen.ends), strict=True)]
        ratio = np.sqrt((np.concatenate(powers) + seen.beyond * level[-1]) / seen.norm)
        red = [np.logical_or.accumulate(over) for over in self._parts(ratio > self._sure)]
        return self._parts(np.where(np.concatenate(red), np.maximum(ratio * self._unsure, 1.0), 1.0))

    def _parts(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """Those of each step."""
        return [values[lo:hi] for lo, hi in pairwise([0, *self._ends])]


class _Seen(NamedTuple):
    """Noise in folds of a spectrum of so many modes, one step after the other.

    First and last modes of each harmonic, and their number; where those of each step begin and end; weights in each
    box, the weight of the harmonics beyond, and all together.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    modes: NDArray[np.int64]
    ends: list[int]
    weights: list[NDArray[np.float64]]
    beyond: NDArray[np.float64]
    norm: NDArray[np.float64]

    @classmethod
    def of(cls, nmodes: int, turns: list[tuple[float, float]], widths: list[NDArray[np.float64]]) -> "_Seen":
        first, last, weights, beyond, norm = [], [], [], [], []
        for (least, most), wide in zip(turns, widths, strict=True):
            order = np.arange(1, max(int(nmodes / most), 1) + 1)
            first.append(np.minimum(np.floor(order * least).astype(np.int64), nmodes) - 1)
            last.append(np.clip(np.ceil(order * most).astype(np.int64), first[-1] + 1, nmodes))
            weights.append(np.sinc(order * wide[:, None]) ** 2)
            known = weights[-1].sum(axis=1)
            beyond.append(np.maximum((1.0 - wide) / (2.0 * wide) - known, 0.0))
            norm.append(known + beyond[-1])
        ends = np.cumsum([0, *(len(x) for x in first)]).tolist()
        a, b = np.concatenate(first), np.concatenate(last)
        return cls(a, b, b - a, ends, weights, np.concatenate(beyond), np.concatenate(norm))
