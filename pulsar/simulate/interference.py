"""Interference: what it adds to, or does with, the samples of a tile."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.simulate.model import Rfi

#: Mean of a channel in units of its noise, for what scales the whole power (jumps of the gain): 96 / 16 as at 8 bits.
POWER_OVER_NOISE = 6.0


class Interference:
    """One source of interference over the tiles of an observation.

    Everything is a function of the absolute sample number, so that tiles can be made in any order.

    Parameters
    ----------
    header : Header
    rfi : Rfi
    key : int
        Stream of its random numbers.
    """

    def __init__(self, header: Header, rfi: Rfi, key: int) -> None:
        self.rfi = rfi
        self.tsamp = header.tsamp
        self.key = key
        self.freqs = header.freqs
        self.chan_width = header.chan_width
        self.channels = channels_of(header, rfi)

    @property
    def is_common(self) -> bool:
        """The same in every channel: can be made once for all of them."""
        return self.rfi.freqs is None and self.rfi.kind in ("mains", "impulse")

    def row(self, start: int, n: int) -> NDArray[np.float32]:
        """What mains and impulses add to one channel over `n` samples from `start` [sigma]."""
        rfi = self.rfi
        if rfi.kind == "mains":
            times = (np.arange(start, start + n) + 0.5) * self.tsamp
            total = np.zeros(n)
            offsets = self._uniforms(np.arange(rfi.harmonics))
            for h in range(1, rfi.harmonics + 1):
                f = h * rfi.rate
                height = rfi.strength / h * np.sinc(f * self.tsamp)
                total += height * np.cos(2 * np.pi * (np.fmod(f * times, 1.0) + offsets[h - 1]))
            return total.astype(np.float32)
        # One impulse in each stretch of 1/rate seconds, at a random place and of random height.
        stretch = 1.0 / rfi.rate
        edges = np.arange(start, start + n + 1) * self.tsamp
        first = math.floor((edges[0] - rfi.width) / stretch)
        total = np.zeros(n)
        for number in range(max(first, 0), math.floor(edges[-1] / stretch) + 1):
            place, height = self._uniforms(np.array([2 * number, 2 * number + 1]))
            begin = (number + place) * stretch
            inside = np.clip(edges, begin, begin + rfi.width)
            total += rfi.strength * (0.5 + height) * np.diff(inside) / self.tsamp
        return total.astype(np.float32)

    def apply(self, data: NDArray[np.float32], start: int, c0: int, extra: NDArray[np.float32] | None) -> None:
        """Change `data` (nchans, n) from channel `c0` and sample `start` on, in sigma.

        Parameters
        ----------
        extra : ndarray or None
            Deviates of the shape of `data`, not used elsewhere: the noise of the interference itself.
        """
        rfi = self.rfi
        hit = np.flatnonzero(self.channels[c0 : c0 + data.shape[0]])
        if hit.size == 0:
            return
        n = data.shape[1]
        if rfi.kind in ("mains", "impulse"):
            data[hit] += self.row(start, n)
        elif rfi.kind in ("narrowband", "intermittent"):
            # A tone of power s beside the noise adds s to the mean and, beating with it, to the variance.
            share = np.full(n, rfi.strength, dtype=np.float32)
            if rfi.kind == "intermittent":
                numbers = np.floor((np.arange(start, start + n) + 0.5) * (self.tsamp / rfi.width)).astype(np.int64)
                share[self._uniforms(numbers) >= rfi.fraction] = 0.0
            data[hit] += share
            if extra is not None:
                data[hit] += extra[hit] * (0.5 * share)
        elif rfi.kind == "sweep":
            low, high = rfi.freqs or (float(self.freqs[-1]), float(self.freqs[0]))
            turns = np.fmod((np.arange(start, start + n) + 0.5) * (self.tsamp * rfi.rate), 1.0)
            tone = low + turns * (high - low)
            nearest = np.rint((self.freqs[0] - tone) / self.chan_width).astype(np.int64) - c0
            inside = np.flatnonzero((nearest >= 0) & (nearest < data.shape[0]))
            data[nearest[inside], inside] += np.float32(rfi.strength)

    def jump(self, data: NDArray[np.float32], start: int, c0: int) -> None:
        """Change the gain of `data` (nchans, n) after the time of a jump."""
        rfi = self.rfi
        first = min(max(math.ceil(rfi.time / self.tsamp) - start, 0), data.shape[1])
        hit = np.flatnonzero(self.channels[c0 : c0 + data.shape[0]])
        if rfi.kind != "jump" or hit.size == 0 or first == data.shape[1]:
            return
        gain = np.float32(rfi.strength)
        data[hit, first:] = gain * data[hit, first:] + (gain - np.float32(1)) * np.float32(POWER_OVER_NOISE)

    def _uniforms(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        from pulsar_kernels.synth import uniforms

        return uniforms(self.key, numbers)


def channels_of(header: Header, rfi: Rfi) -> NDArray[np.bool_]:
    """Channels that overlap the range of an interference, shape (nchans,).

    Raises
    ------
    ConfigError
        None does.
    """
    if rfi.freqs is None:
        return np.ones(header.nchans, dtype=np.bool_)
    half = 0.5 * header.chan_width
    channels = (header.freqs + half > rfi.freqs[0]) & (header.freqs - half < rfi.freqs[1])
    if not channels.any():
        low, high = float(header.freqs[-1]) - half, float(header.freqs[0]) + half
        raise ConfigError(
            f"rfi {rfi.kind}: freqs {rfi.freqs[0]:g}-{rfi.freqs[1]:g} MHz lie outside the band {low:g}-{high:g} MHz"
        )
    return channels


def alive(header: Header, rfi: Iterable[Rfi]) -> NDArray[np.bool_]:
    """Channels that are neither dead nor saturated, shape (nchans,): those that can carry a signal."""
    dead = np.zeros(header.nchans, dtype=np.bool_)
    for source in rfi:
        if source.kind in ("dead", "saturated"):
            dead |= channels_of(header, source)
    return ~dead


class Drift:
    """Slow wander of the level common to all channels: a few sines with random phases, of rms `rms` [sigma]."""

    _TERMS = 6

    def __init__(self, header: Header, rms: float, key: int) -> None:
        from pulsar_kernels.synth import uniforms

        self.tsamp = header.tsamp
        number = np.arange(1, self._TERMS + 1)
        values = uniforms(key, np.arange(2 * self._TERMS))
        # Whole and half turns over the observation, detuned; amplitudes fall as 1/f: red.
        self.rates = (0.5 * number + 0.4 * (values[: self._TERMS] - 0.5)) / header.tobs
        self.phases = values[self._TERMS :]
        heights = 1.0 / number
        self.heights = rms * heights / math.sqrt(0.5 * float(np.sum(heights**2)))

    def row(self, start: int, n: int) -> NDArray[np.float32]:
        """Level over `n` samples from `start` [sigma]."""
        times = (np.arange(start, start + n) + 0.5) * self.tsamp
        total = np.zeros(n)
        for rate, offset, height in zip(self.rates, self.phases, self.heights, strict=True):
            total += height * np.cos(2 * np.pi * (rate * times + offset))
        return total.astype(np.float32)


def bandpass(header: Header, kind: str) -> NDArray[np.float32]:
    """Gain of each channel, of mean about 1."""
    x = np.linspace(-1.0, 1.0, header.nchans) if header.nchans > 1 else np.zeros(1)
    if kind == "flat":
        gain = np.ones(header.nchans)
    elif kind == "rolloff":
        # The edges fall to a third, as the FAST receiver does outside 1050-1450 MHz.
        gain = 1.0 / (1.0 + 2.0 * np.abs(x) ** 12) * (1.05 + 0.08 * x)
    else:
        gain = 1.0 + 0.15 * np.cos(2 * np.pi * 4.5 * x) + 0.08 * np.cos(2 * np.pi * 17.3 * x + 1.0)
    return gain.astype(np.float32)
