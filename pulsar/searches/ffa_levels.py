"""How a range of long periods is cut into series, steps and transforms, for the fast folding search (docs/ffa.md)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Fewest and usual least number of phase bins.
MIN_BINS = 8
USUAL_BINS = 64
#: Narrowest pulse looked for at a period of 1 s [turns]; it goes as the root of the frequency. Less than half of
#: the width of the cores of pulsars at 1 GHz, 2.45 degrees (Rankin 1990, ApJ 352, 247).
NARROWEST = 0.003
#: Ratio of neighbouring boxes.
WIDTH_STEP = 1.5
#: The widest that is allowed is one of them if it is so much wider than the last.
LAST_STEP = 1.2
#: A coarser series sums so many samples of the finer one at least, up to twice as many.
FINE = 8
#: Window of the running median in widest pulses, and at most in turns of the longest period: over a whole turn the mean
#: of a pulse train is the same everywhere, however wide its pulses are. Points in it.
WINDOW = 5.0
MOST_TURNS = 1.0
POINTS = 32
#: Where the sampling time leaves no other sums, bins grow by so much before the boxes are chosen anew.
SAME_BOXES = 1.25


class Step(NamedTuple):
    """Periods searched in one series: so many samples of its level summed, transforms, widths [bins]."""

    factor: int
    nsamps: int
    transforms: NDArray[np.int64]
    widths: NDArray[np.int64]

    @property
    def first(self) -> int:
        """Number of its first trial period."""
        return int(self.transforms[0, 3])

    @property
    def last(self) -> int:
        """Number of the trial period after its last."""
        return int(self.transforms[-1, 3] + self.transforms[-1, 2] - self.transforms[-1, 1])


@dataclass(frozen=True)
class Level:
    """Steps that share a series of sums of ``2^halvings`` samples, and the window of its running median."""

    halvings: int
    nsamps: int
    tau: float
    block: int
    steps: tuple[Step, ...]

    @cached_property
    def widest(self) -> int:
        """Samples of the widest box."""
        return max(int(step.widths[-1]) * step.factor for step in self.steps)

    @cached_property
    def shortest(self) -> int:
        """Samples of the shortest turn."""
        return min(int(step.transforms[0, 0]) * step.factor for step in self.steps)


def bins_wanted(period: float, duty_min: float) -> float:
    """Phase bins that a search at `period` [s] for pulses down to `duty_min` [turns] has, if tsamp allows."""
    return max(1.0 / max(duty_min, NARROWEST / math.sqrt(period)), float(USUAL_BINS))


def box_widths(bins: int, duty_min: float, duty_max: float) -> NDArray[np.int64]:
    """Widths of the boxes for `bins` phase bins or a few more [bins]; the last is the widest that is allowed."""
    width = max(int(duty_min * bins), 1)
    most = max(min(int(duty_max * bins + 1e-9), bins - 1), 1)
    out = [min(width, most)]
    while True:
        width = max(int(WIDTH_STEP * width), width + 1)
        if width > most:
            break
        out.append(width)
    # The next of the ladder would be too wide: the last one takes its place if there is some way to go.
    if most >= LAST_STEP * out[-1]:
        out.append(most)
    return np.array(out, dtype=np.int64)


def _factor_below(x: float) -> int:
    """Largest of the numbers 1 ... 15, 16, 18 ... 30, 32, 36 ... not above `x`."""
    n = max(int(x), 1)
    halvings = max(n.bit_length() - FINE.bit_length(), 0)
    return n >> halvings << halvings


def _factor_above(f: int) -> int:
    halvings = max(f.bit_length() - FINE.bit_length(), 0)
    return f + (1 << halvings)


def _row_from(period: float, tau: float, bins: int, rows: int) -> int:
    """First row of a transform whose period is not below `period`."""
    return max(int(np.ceil(bins * (rows - 1.0) * (1.0 - bins * tau / period) - 1e-9)), 0)


def make_levels(
    nsamps: int,
    tsamp: float,
    p_min: float,
    p_max: float,
    duty_min: float,
    duty_max: float,
    nbins: int | None = None,
) -> tuple[Level, ...]:
    """Series and transforms that cover a range of periods, each period once.

    Parameters
    ----------
    nsamps : int
    tsamp : float
        Sampling time [s].
    p_min, p_max : float
        Range of periods [s].
    duty_min, duty_max : float
        Range of widths [turns].
    nbins : int, optional
        Least number of phase bins, at which the next coarser series takes over; without it as `bins_wanted` says.

    Returns
    -------
    tuple of Level
        Ascending in period.
    """
    steps: dict[int, list[Step]] = {}
    top: dict[int, float] = {}
    at = 0
    period = max(p_min, MIN_BINS * tsamp)

    def wanted(p: float) -> float:
        return bins_wanted(p, duty_min) if nbins is None else float(nbins)

    while period < p_max * (1.0 - 1e-12):
        f = _factor_below(period / (tsamp * wanted(period)) * (1.0 + 1e-12))
        tau = f * tsamp
        halvings = max(f.bit_length() - FINE.bit_length(), 0)
        size = (nsamps >> halvings) // (f >> halvings)
        coarser = _factor_above(f) * tsamp
        bins = int(period / tau * (1.0 + 1e-12))
        first = bins
        rows_of = []
        while True:
            rows = size // bins
            if rows < 2:
                break
            end = min(p_max, (bins + 1) * tau)
            lo = _row_from(period, tau, bins, rows)
            hi = min(rows, _row_from(end, tau, bins, rows))
            if hi > lo:
                rows_of.append((bins, lo, hi, at))
                at += hi - lo
            period = end
            bins += 1
            if period >= p_max * (1.0 - 1e-12) or period / coarser * (1.0 + 1e-12) >= wanted(period):
                break
            if bins >= SAME_BOXES * first:
                break
        if rows_of:
            step = Step(f >> halvings, size, np.array(rows_of, dtype=np.int64), box_widths(first, duty_min, duty_max))
            steps.setdefault(halvings, []).append(step)
            top[halvings] = period
        if size // bins < 2:
            break
    levels = []
    for halvings, own in steps.items():
        tau = tsamp * 2**halvings
        count = nsamps >> halvings
        window = min(WINDOW * duty_max, MOST_TURNS) * top[halvings] / tau
        levels.append(Level(halvings, count, tau, int(np.clip(window / POINTS, 1, max(count // 4, 1))), tuple(own)))
    return tuple(levels)


def trial_periods(levels: Sequence[Level]) -> int:
    """Trial periods of one series."""
    steps = [step.transforms for level in levels for step in level.steps]
    return int(sum(np.sum(transforms[:, 2] - transforms[:, 1]) for transforms in steps))
