"""A noise diode that is left on: a square wave of a known period in all channels, found and taken out.

Its harmonics are odd ones only, the k-th with 1/k of the amplitude; it is found by them in the sum over the band, and
its step in every channel follows from the products of the samples with its fundamental.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pulsar_kernels.arrays import Bools, Float32s, Floats

#: Harmonics by which it is recognised and timed.
HARMONICS: Final = 15
#: Strength of the fundamental in the sum over the band from which it is looked at [sigma].
LEAST: Final = 8.0


@dataclass(frozen=True)
class Diode:
    """A square wave: `step` higher for the half of each period that begins at `rise`."""

    period: float  # [s]
    rise: float  # time of one rising edge [s] from the start
    step: Float32s  # (nblocks, nchans): in raw units; 0 where it is off

    def phase(self, times: Floats | float) -> Floats:
        """Turns since the last rising edge, 0 to 1."""
        return np.asarray(((np.asarray(times) - self.rise) / self.period) % 1.0)

    def wave(self, times: Floats) -> Floats:
        """+1/2 while on, -1/2 while off."""
        return np.where(self.phase(times) < 0.5, 0.5, -0.5)

    def shares(self, edges: Floats) -> Floats:
        """Mean of the wave between each two of `edges` [s]."""
        turns = (np.asarray(edges) - self.rise) / self.period
        part = turns % 1.0
        # Integral of the wave from a rising edge on, in periods: up to 1/4 and down again.
        integral = np.where(part < 0.5, 0.5 * part, 0.5 - 0.5 * part)
        return np.asarray(np.diff(integral) / np.diff(turns))

    def edges(self, start: float, stop: float) -> Floats:
        """Times of all edges in [start, stop) [s]."""
        half = 0.5 * self.period
        first = np.ceil((start - self.rise) / half)
        count = max(int(np.ceil((stop - self.rise) / half) - first), 0)
        return np.asarray(self.rise + half * (first + np.arange(count)))


class DiodeSums:
    """Products of the samples with waves of the periods that a diode may have, block by block.

    `periods`: [s]. `step`: time from one point to the next [s].
    """

    def __init__(self, periods: Sequence[float], nblocks: int, nchans: int, step: float) -> None:
        self.periods = tuple(periods)
        self.step = step
        self.plain = np.zeros((nblocks, nchans), dtype=np.float32)
        self.waves = np.zeros((len(self.periods), nblocks, nchans), dtype=np.complex64)
        self.band = np.zeros((len(self.periods), nblocks, HARMONICS + 1), dtype=np.complex128)
        self.start = np.zeros(nblocks)
        self.npoints = np.zeros(nblocks, dtype=np.int64)
        self.weight = np.zeros(nblocks)

    def times(self, block: int) -> Floats:
        """Middle of the points of a block [s] from the start."""
        return np.asarray(self.start[block] + (np.arange(self.npoints[block]) + 0.5) * self.step)

    def add(self, block: int, start: float, points: Float32s, noise: Floats) -> None:
        """Take a block.

        Parameters
        ----------
        start : float
            Time of the first point's begin [s].
        points : ndarray of float32, shape (nchans, npoints)
        noise : ndarray of float64, shape (nchans,)
            Standard deviation of the points in white noise; not positive or not finite: channels that do not count.
        """
        self.start[block], self.npoints[block] = start, points.shape[1]
        times = self.times(block)
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.where((noise > 0) & np.isfinite(noise), 1.0 / noise, 0.0).astype(np.float32)
        level = points.mean(axis=1)
        series = (weights @ points - float(weights @ level)).astype(np.float64)
        self.plain[block] = points.shape[1] * level
        self.weight[block] = np.count_nonzero(weights)
        turns = np.stack([times / p for p in self.periods])
        # Real numbers: by complex waves the points would be made complex, too.
        waves = np.concatenate([np.cos(2.0 * np.pi * turns), np.sin(2.0 * np.pi * turns)]).astype(np.float32)
        cosine, sine = np.split((points @ waves.T).T, 2)
        self.waves[:, block] = cosine - 1j * sine
        # Of the band, with the level of each block left to be fitted.
        k = np.arange(HARMONICS + 1)[None, :, None]
        self.band[:, block] = (np.exp(-2j * np.pi * k * turns[:, None, :]) * series).sum(axis=2)

    def find(self, factor: int) -> Diode | None:
        """The diode, if one of the periods is there.

        `factor`: samples in a point.
        """
        for i, period in enumerate(self.periods):
            diode = self._at_period(i, period, factor)
            if diode is not None:
                return diode
        return None

    def _at_period(self, i: int, period: float, factor: int) -> Diode | None:
        nblocks = len(self.start)
        length = float(np.sum(self.npoints)) * self.step
        if length < 5.0 * period or 2 * HARMONICS * self.step > 0.5 * period:
            return None
        # Blocks of a few periods together: in one alone level and wave cannot be told apart.
        blocks = max(1, round(2.0 * period / max(float(np.median(self.npoints)) * self.step, 1e-9)))
        groups = np.arange(nblocks) // blocks
        band = np.zeros((int(groups[-1]) + 1, HARMONICS + 1), dtype=np.complex128)
        np.add.at(band, groups, self.band[i])
        noise = np.sqrt(0.5 * np.bincount(groups, self.npoints * self.weight) + 1e-30)
        active = np.abs(band[:, 1]) > max(LEAST / np.sqrt(len(band)), 3.0) * noise
        total = band[active].sum(axis=0)
        sigma = float(np.sqrt(np.sum(noise[active] ** 2)))
        first = float(np.abs(total[1]))
        if not active.any() or first < LEAST * sigma:
            return None
        if first < 0.9 * float(np.abs(band[active, 1]).sum()):
            return None  # not the same phase all the time
        third = float(np.abs(total[3])) / first
        slack = 3.0 * sigma / first
        even = float(np.abs(total[[2, 4]]).max()) / first
        # Of a square wave the third has 1/3 of the amplitude of the first, and even ones have none.
        if not 0.2 - slack < third < 0.47 + slack or even > 0.15 + slack:
            return None
        # Odd harmonics of a square wave whose on half has its middle at the phase phi: (-1)^((k-1)/2) cos(k phi) / k.
        k = np.arange(1, HARMONICS + 1, 2)
        grid = -float(np.angle(total[1])) + np.linspace(-0.3, 0.3, 6001)
        sign = np.where(k % 4 == 1, 1.0, -1.0) / k
        fit = (sign * np.real(total[k] * np.exp(1j * np.outer(grid, k)))).sum(axis=1)
        phi = float(grid[np.argmax(fit)])
        bare = Diode(period, (phi / (2 * np.pi) - 0.25) * period, np.zeros((0, 0), dtype=np.float32))
        return self._steps(i, bare, factor, phi)

    def _steps(self, i: int, bare: Diode, factor: int, phi: float) -> Diode | None:
        """Steps of all channels, where the band shows that it is on."""
        nblocks, nchans = self.plain.shape
        n, c, s, d = (np.zeros(nblocks) for _ in range(4))
        for b in np.flatnonzero(self.npoints):
            times = self.times(int(b))
            cosine = np.cos(2 * np.pi * times / bare.period - phi)
            wave = bare.wave(times)
            n[b], c[b], s[b], d[b] = len(times), cosine.sum(), wave @ cosine, wave.sum()
        turn = np.exp(1j * phi)

        def fitted(blocks: Bools, plain: Floats, product: Floats) -> Floats:
            # Level m and step h: sum x = n m + h d, sum x cos = m c + h s.
            det = n[blocks].sum() * s[blocks].sum() - c[blocks].sum() * d[blocks].sum()
            return np.asarray((n[blocks].sum() * product - c[blocks].sum() * plain) / det)

        # In the band first: a block that shows it has it.
        band = np.real(self.band[i, :, 1] * turn)
        overall = np.asarray(self.npoints > 0)
        typical = float(fitted(overall, np.zeros(1), np.array([band[overall].sum()]))[0])
        height = np.where(s - c * d / np.maximum(n, 1) > 0, band / np.maximum(s - c * d / np.maximum(n, 1), 1e-9), 0.0)
        strong = height[height > max(typical, 0.0)]
        if strong.size == 0:
            return None
        on = overall & (height > 0.5 * float(np.median(strong)))
        step = np.zeros((nblocks, nchans), dtype=np.float32)
        together = max(1, round(20.0 * bare.period / max(float(np.median(self.npoints)) * self.step, 1e-9)))
        for first in range(0, nblocks, together):
            chosen = on & (np.arange(nblocks) >= first) & (np.arange(nblocks) < first + together)
            if not chosen.any() or chosen.sum() * float(np.median(self.npoints)) * self.step < 2.0 * bare.period:
                continue
            plain = self.plain[chosen].sum(axis=0, dtype=np.float64)
            product = np.real(self.waves[i, chosen].astype(np.complex128) * turn).sum(axis=0)
            h = fitted(chosen, plain, product) / factor
            step[chosen] = np.where(np.isfinite(h), h, 0.0)
        # Blocks that could not be measured (gaps, a short last one) are as the one before, or the one after.
        for b in np.flatnonzero(self.npoints == 0):
            near = [k for k in (b - 1, b + 1) if 0 <= k < nblocks and step[k].any()]
            step[b] = step[near[0]] if near else 0.0
        return Diode(bare.period, bare.rise, step) if step.any() else None
