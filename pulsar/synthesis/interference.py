"""Interference: what it adds to, or does with, the samples of a tile."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.synthesis.model import Rfi
from pulsar_kernels.arrays import Array, Bools, Float32s, Floats, Ints, Uint64s
from pulsar_kernels.synth import normals, stream_keys, uniforms

#: Mean of a channel in units of its noise, for what scales the whole power (gains, noise-like power): 96 / 16 as at
#: 8 bits.
POWER_OVER_NOISE = 6.0

#: Kinds that bring noise of their own, those that change the gain, and those that set samples to an end of the scale.
NOISY: Final = ("narrowband", "intermittent", "radar", "satellite", "diode")
GAINS: Final = ("jump", "jumps")
ENDS: Final = ("dead", "saturated")

# Wander of the mains: periods of its sines [s], their amplitudes falling as the square root of the frequency.
_WANDER_PERIODS = np.geomspace(300.0, 6.0, 8)


class Interference:
    """One source of interference over the tiles of an observation.

    Everything is a function of the absolute sample number, so that tiles can be made in any order.

    Parameters
    ----------
    key : int
        Stream of its random numbers.
    noise : ndarray of uint64, shape (nchans,), optional
        Streams of its noise, which some kinds have.
    """

    def __init__(self, header: Header, rfi: Rfi, key: int, noise: Uint64s | None = None) -> None:
        self.rfi = rfi
        self.tsamp = header.tsamp
        self.key, self._noise_keys = key, noise
        self.freqs = header.freqs
        self.chan_width = header.chan_width
        self.channels = channels_of(header, rfi)

    @property
    def is_common(self) -> bool:
        """True where it is the same in every channel, and can be made once for all of them."""
        return self.rfi.freqs is None and self.rfi.kind in ("mains", "impulse")

    def inside(self, start: int, n: int) -> Bools:
        """True for samples in which it is there at all."""
        begins = np.arange(start, start + n) * self.tsamp
        until = math.inf if self.rfi.until is None else self.rfi.until
        return np.asarray((begins >= self.rfi.time) & (begins < until))

    def share(self, start: int, n: int, hit: Ints) -> Float32s:
        """Power added to the channels `hit` over `n` samples from `start` [sigma].

        Returns
        -------
        ndarray of float32, shape (1 or len(hit), n)
        """
        power = _POWERS[self.rfi.kind](self, start, n, hit)
        if not self.rfi.is_whole:
            power[:, ~self.inside(start, n)] = 0.0
        return power.astype(np.float32)

    def add(self, data: Float32s, start: int, c0: int, *, common: bool) -> None:
        """Add to `data` (nchans, n) from channel `c0` and sample `start` on, in sigma, where this is a kind that adds.

        Parameters
        ----------
        common : bool
            Also what is the same in every channel.
        """
        hit = np.flatnonzero(self.channels[c0 : c0 + data.shape[0]])
        if self.rfi.kind in (*GAINS, *ENDS) or (self.is_common and not common) or hit.size == 0:
            return
        share = self.share(start, data.shape[1], hit + c0)
        data[hit] += share
        if self._noise_keys is not None and self.rfi.kind in NOISY:
            extra = np.empty((hit.size, data.shape[1]), dtype=np.float32)
            normals(self._noise_keys[hit + c0], start, extra)
            data[hit] += extra * self._noise(share)

    def _noise(self, share: Float32s) -> Float32s:
        """Noise that the power `share` adds to that of the receiver [sigma]."""
        relative = share * np.float32(1.0 / POWER_OVER_NOISE)
        if self.rfi.kind in ("satellite", "diode"):
            # Noise itself: the power of the whole over its noise is what it was.
            return np.asarray(np.sqrt((2 + relative) * relative))
        if self.rfi.kind == "radar":
            # A pure tone beats with the noise of the receiver.
            return np.asarray(np.sqrt(2 * relative))
        # Carriers flicker.
        return np.float32(0.5) * share

    def _steady(self, _start: int, n: int, _hit: Ints) -> Floats:
        return np.full((1, n), self.rfi.strength)

    def _intermittent(self, start: int, n: int, _hit: Ints) -> Floats:
        return np.where(self._drawn(start, n) < self.rfi.fraction, self.rfi.strength, 0.0)[None]

    def _satellite(self, start: int, n: int, hit: Ints) -> Floats:
        fraction = self.rfi.fraction
        power = np.full(n, self.rfi.strength)
        power *= 1.0 - fraction - fraction * np.log(self._drawn(start, n))
        return power * self._overlap()[hit, None]

    def _diode(self, start: int, n: int, _hit: Ints) -> Floats:
        return self.rfi.strength * self._square(start, n, self.rfi.period, 0.5, np.zeros(1))

    def _sweep(self, start: int, n: int, hit: Ints) -> Floats:
        """A tone that is in one channel at a time."""
        low, high = self.rfi.freqs or (float(self.freqs[-1]), float(self.freqs[0]))
        turns = np.fmod((np.arange(start, start + n) + 0.5) * (self.tsamp * self.rfi.rate), 1.0)
        tone = low + turns * (high - low)
        nearest = np.rint((self.freqs[0] - tone) / self.chan_width).astype(np.int64)
        return np.where(nearest == hit[:, None], self.rfi.strength, 0.0)

    def _drawn(self, start: int, n: int) -> Floats:
        """A random number from 0 to 1 for each sample, the same within a stretch of the width."""
        centres = (np.arange(start, start + n) + 0.5) * (self.tsamp / self.rfi.width)
        return self._uniforms(np.floor(centres).astype(np.int64))

    def _mains(self, start: int, n: int, _hit: Ints) -> Floats:
        rfi = self.rfi
        times = np.asarray((np.arange(start, start + n) + 0.5) * self.tsamp, dtype=np.float64)
        total = np.zeros(n)
        offsets = self._uniforms(np.arange(rfi.harmonics))
        # Turns of the fundamental beside those at its nominal frequency.
        late = 0.5 * rfi.drift * times**2 + self._wandered(times)
        for h in range(1, rfi.harmonics + 1):
            f = h * rfi.rate
            height = rfi.strength / h * np.sinc(f * self.tsamp)
            total += height * np.cos(2 * np.pi * (np.fmod(f * times, 1.0) + h * late + offsets[h - 1]))
        return total[None]

    def _wandered(self, times: Floats) -> Floats:
        """Integral of the wander of the frequency: sines of periods from 6 s to 5 minutes, red."""
        turns = np.zeros(times.size)
        if self.rfi.wander == 0.0:
            return turns
        rates = 1.0 / _WANDER_PERIODS
        heights = rates**-0.5
        heights *= self.rfi.wander / math.sqrt(0.5 * float(np.sum(heights**2)))
        for rate, height, offset in zip(rates, heights, self._uniforms(10_000 + np.arange(rates.size)), strict=True):
            turns += height / (2 * np.pi * rate) * np.sin(2 * np.pi * (rate * times + offset))
        return turns

    def _impulses(self, start: int, n: int, _hit: Ints) -> Floats:
        """One impulse in each stretch of 1/rate seconds, at a random place and of random height."""
        rfi = self.rfi
        stretch = 1.0 / rfi.rate
        edges = np.arange(start, start + n + 1) * self.tsamp
        first = math.floor((edges[0] - rfi.width) / stretch)
        total = np.zeros(n)
        for number in range(max(first, 0), math.floor(edges[-1] / stretch) + 1):
            place, height = self._uniforms(np.array([2 * number, 2 * number + 1]))
            begin = (number + place) * stretch
            inside = np.clip(edges, begin, begin + rfi.width)
            total += rfi.strength * (0.5 + height) * np.diff(inside) / self.tsamp
        return total[None]

    def _square(self, start: int, n: int, period: float, duty: float, delays: Floats) -> Floats:
        """Part of each sample in which a square wave is on, shape (len(delays), n); `delays` in s."""
        edges = np.arange(start, start + n + 1) * (self.tsamp / period) + self._uniforms(np.array([20_000]))
        phase = edges - delays[:, None] / period
        turns = np.floor(phase)
        on = turns * duty + np.minimum(phase - turns, duty)
        # Rounding can leave a little less than nothing.
        return np.asarray(np.maximum(np.diff(on, axis=1) * (period / self.tsamp), 0.0))

    def _radar(self, start: int, n: int, hit: Ints) -> Floats:
        """Pulses of a radar, while its beam goes over the telescope: cos^2 over its part of a turn."""
        rfi = self.rfi
        delays = np.zeros(1)
        if rfi.chirp != 0.0 and rfi.freqs is not None:
            low, high = rfi.freqs
            down = np.clip((high - self.freqs[hit]) / max(high - low, self.chan_width), 0.0, 1.0)
            delays = rfi.chirp * down if rfi.chirp > 0 else -rfi.chirp * (1.0 - down)
        power = self._square(start, n, 1.0 / rfi.rate, rfi.width * rfi.rate, delays)
        if rfi.fraction < 1.0:
            turns = (np.arange(start, start + n) + 0.5) * (self.tsamp / rfi.scan) + self._uniforms(np.array([20_001]))
            off = (turns - np.floor(turns) - 0.5) / rfi.fraction
            power = power * np.where(np.abs(off) < 0.5, np.cos(np.pi * off) ** 2, 0.0)
        return rfi.strength * power

    def _overlap(self) -> Floats:
        """Part of each channel that lies in the range."""
        if self.rfi.freqs is None:
            return np.ones(self.freqs.size)
        half = 0.5 * self.chan_width
        low, high = self.rfi.freqs
        common = np.minimum(self.freqs + half, high) - np.maximum(self.freqs - half, low)
        return np.asarray(np.clip(common / self.chan_width, 0.0, 1.0))

    def jump(self, data: Float32s, start: int, c0: int) -> None:
        """Change the gain of `data` (nchans, n), where this is a kind that does."""
        rfi = self.rfi
        hit = np.flatnonzero(self.channels[c0 : c0 + data.shape[0]])
        if rfi.kind not in GAINS or hit.size == 0:
            return
        n = data.shape[1]
        changed = self.inside(start, n)
        if rfi.kind == "jumps":
            changed &= self._drawn(start, n) < rfi.fraction
        at = np.flatnonzero(changed)
        if at.size == 0:
            return
        gain = np.float32(rfi.strength)
        where = np.ix_(hit, at)
        data[where] = gain * data[where] + (gain - np.float32(1)) * np.float32(POWER_OVER_NOISE)

    def replace(self, codes: Array, start: int, c0: int, top: float) -> None:
        """Set the samples `codes` (nchans, n) of dead channels to 0, of saturated ones to `top`."""
        if self.rfi.kind not in ENDS:
            return
        hit = np.flatnonzero(self.channels[c0 : c0 + codes.shape[0]])
        if hit.size:
            at = np.flatnonzero(self.inside(start, codes.shape[1]))
            codes[np.ix_(hit, at)] = 0 if self.rfi.kind == "dead" else top

    def _uniforms(self, numbers: Ints) -> Floats:
        return uniforms(self.key, numbers)


#: Kind -> what it adds: a function of the source, the first sample, the number of samples, and the channels.
_POWERS: Final[dict[str, Callable[[Interference, int, int, Ints], Floats]]] = {
    "narrowband": Interference._steady,
    "intermittent": Interference._intermittent,
    "satellite": Interference._satellite,
    "radar": Interference._radar,
    "sweep": Interference._sweep,
    "impulse": Interference._impulses,
    "mains": Interference._mains,
    "diode": Interference._diode,
}


def interference_of(header: Header, rfi: Sequence[Rfi], keys: Uint64s, seed: int, stream: int) -> list[Interference]:
    """All interference of an observation.

    Parameters
    ----------
    keys : ndarray of uint64
        Of each: the stream of its random numbers.
    seed, stream : int
        Of the noise of each: streams of its channels are numbered from `stream` on.
    """
    noise = [stream_keys(seed, stream + i, np.arange(header.nchans)) for i in range(len(rfi))]
    return [Interference(header, *each) for each in zip(rfi, map(int, keys), noise, strict=True)]


def channels_of(header: Header, rfi: Rfi) -> Bools:
    """Channels that overlap the range of an interference, shape (nchans,).

    Raises
    ------
    ConfigError
        None does.
    """
    if rfi.freqs is None:
        return np.ones(header.nchans, dtype=np.bool_)
    channels = header.overlapping(*rfi.freqs)
    if not channels.any():
        low, high = header.edges
        raise ConfigError(
            f"rfi {rfi.kind}: freqs {rfi.freqs[0]:g}-{rfi.freqs[1]:g} MHz lie outside the band {low:g}-{high:g} MHz"
        )
    return channels


def alive(header: Header, rfi: Iterable[Rfi]) -> Bools:
    """Channels that are neither dead nor saturated throughout, shape (nchans,): those that can carry a signal."""
    dead = np.zeros(header.nchans, dtype=np.bool_)
    for source in rfi:
        if source.kind in ENDS and source.is_whole:
            dead |= channels_of(header, source)
    return ~dead


class Drift:
    """Slow wander of the level common to all channels: a few sines with random phases, of rms `rms` [sigma]."""

    _TERMS = 6

    def __init__(self, header: Header, rms: float, key: int) -> None:
        self.tsamp = header.tsamp
        number = np.arange(1, self._TERMS + 1)
        values = uniforms(key, np.arange(2 * self._TERMS))
        # Whole and half turns over the observation, detuned; amplitudes fall as 1/f: red.
        self.rates = (0.5 * number + 0.4 * (values[: self._TERMS] - 0.5)) / header.tobs
        self.phases = values[self._TERMS :]
        heights = 1.0 / number
        self.heights = rms * heights / math.sqrt(0.5 * float(np.sum(heights**2)))

    def row(self, start: int, n: int) -> Float32s:
        """Level over `n` samples from `start` [sigma]."""
        times = (np.arange(start, start + n) + 0.5) * self.tsamp
        total = np.zeros(n)
        for rate, offset, height in zip(self.rates, self.phases, self.heights, strict=True):
            total += height * np.cos(2 * np.pi * (rate * times + offset))
        return total.astype(np.float32)


def bandpass(header: Header, kind: str) -> Float32s:
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
