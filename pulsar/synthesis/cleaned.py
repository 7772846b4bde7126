"""Pulsars and bursts added to samples that are cleaned already: to what is dedispersed, searched and folded.

Nothing but the steps of :mod:`pulsar_kernels.sprinkle` is added: the mask, the levels and the noise are the run's own.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.source import MaskedSource, live_parts
from pulsar.data.source import SIGMA_LEVELS, Relay
from pulsar.dedisp.subbands import Subbands
from pulsar.synthesis.model import Burst, Pulsar
from pulsar.synthesis.signal import BurstSignal, PulsarSignal, burst_signal, pulsar_signal
from pulsar_kernels.sprinkle import add_steps
from pulsar_kernels.synth import stream_keys, uniforms

#: Variance that a signal's rounding to steps may add where it is strongest, over that of noise; and the largest step.
MOST_ADDED: Final = 0.002
LARGEST_STEP: Final = 16
#: Equal parts of a profile; within one it is taken to be even.
PARTS: Final = 512
_NOTHING: Final = 1e-9
#: Streams of random numbers: where in a step the channels of a signal, and of its mean, begin.
_STREAM: Final = 6000


class Steps(NamedTuple):
    """A signal as `pulsar_kernels.sprinkle.add_steps` takes it, in its order; of the live channels."""

    delays: NDArray[np.float64]
    spin: NDArray[np.float64]
    offsets: NDArray[np.float64]
    ends: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    rows: NDArray[np.int64]
    counts: NDArray[np.float64]
    dither: NDArray[np.float64]
    step: int


class Injector:
    """Adds signals to the cleaned samples of a run, or to subbands of them.

    The S/N of a signal is that of an ideal matched filter in the cleaned samples: over channels and samples that are
    neither masked, clipped nor missing, in noise of 1 that is independent in each of them,
    ``snr^2 = sum of (s - mean s)^2 / sigma^2`` (of bursts without the mean).

    Parameters
    ----------
    source : MaskedSource
    """

    def __init__(self, source: MaskedSource) -> None:
        self.source = source
        self._chans = np.flatnonzero(source.mask.chan_ok)
        live = live_parts(source)
        self._edges, self._blocks, self._bad = live.edges, live.blocks, live.bad
        there = self._blocks >= 0
        lengths = np.bincount(self._blocks[there], weights=np.diff(self._edges)[there], minlength=len(self._bad))
        #: Share of the samples of every channel of the observation that are live.
        self.share = np.zeros(source.obs.header.nchans)
        self.share[self._chans] = (lengths[:, None] * ~self._bad).sum(axis=0) / source.nsamps

    def steps(self, pulsars: Sequence[Pulsar], bursts: Sequence[Burst], seed: int) -> list[Steps]:
        """Signals as they are added.

        Parameters
        ----------
        pulsars, bursts : sequences
        seed : int
            Of where the steps of each channel are.

        Raises
        ------
        ConfigError
            Nothing of a signal is left: all of its samples are masked, or it is smeared out altogether.
        """
        header, found = self.source.obs.header, []
        for number, pulsar in enumerate(pulsars):
            found += self._pulsar(pulsar_signal(header, pulsar, chan_ok=self.share), seed, 2 * number)
        first = 2 * len(pulsars)
        for number, burst in enumerate(bursts):
            there = self._there(burst.time + header.delays(burst.dm))
            found.append(self._burst(burst_signal(header, burst, chan_ok=there), seed, first + number))
        return found

    def live_share(self, burst: Burst) -> float:
        """Share of the live channels in which a burst arrives where nothing is masked, clipped or missing."""
        times = burst.time + self.source.obs.header.delays(burst.dm)
        return float(self._there(times).sum()) / max(self._chans.size, 1)

    def add(self, signals: Sequence[Steps], start: int, data: NDArray[np.int8]) -> None:
        """Add signals to cleaned samples, shape (nchans live, n), from sample `start` on."""
        lanes = np.arange(self._chans.size, dtype=np.int64)
        self._add(signals, start, data, lanes, np.zeros_like(lanes), 127)

    def add_to(self, bands: Subbands, signals: Sequence[Steps]) -> Subbands:
        """Subbands of the cleaned samples with signals added, which are made anew."""
        out = bands.copy()
        self._add(signals, 0, out.sums, out.lanes, out.delays, 32767)
        return out

    def _add(
        self,
        signals: Sequence[Steps],
        start: int,
        data: NDArray[np.int8] | NDArray[np.int16],
        lanes: NDArray[np.int64],
        shifts: NDArray[np.int64],
        top: int,
    ) -> None:
        tsamp, live = self.source.tsamp, (self._edges, self._blocks, self._bad)
        for steps in signals:
            add_steps(data, start, tsamp, lanes, shifts, *steps, top, *live)

    def _there(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """1 for channels of the observation that are live, each at a time of its own [s]; else 0."""
        at = np.floor(times[self._chans] / self.source.tsamp).astype(np.int64)
        inside = (at >= 0) & (at < self.source.nsamps)
        part = np.searchsorted(self._edges, at.clip(0, self.source.nsamps - 1), side="right") - 1
        block = self._blocks[part]
        found = np.zeros(times.size)
        found[self._chans] = inside & (block >= 0) & ~self._bad[block, np.arange(self._chans.size)]
        return found

    def _dither(self, seed: int, number: int) -> NDArray[np.float64]:
        key = int(stream_keys(seed, _STREAM, np.array([number]))[0])
        return uniforms(key, self._chans)

    def _levels(self, amps: NDArray[np.float64], profiles: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
        """Mean levels of a signal in the live channels, and its step."""
        levels = amps[self._chans] * SIGMA_LEVELS
        peak = float(levels.max()) * float(np.diff(profiles, axis=1).max()) * (profiles.shape[1] - 1)
        # Sums of steps scatter as their number times the square of one.
        return levels, int(np.clip(MOST_ADDED * SIGMA_LEVELS**2 / max(peak, 1e-9), 1, LARGEST_STEP))

    def _pulsar(self, signal: PulsarSignal, seed: int, number: int) -> list[Steps]:
        """The pulses, and their mean taken off."""
        nbins = signal.cumulative.shape[1] - 1
        profiles = signal.cumulative + np.arange(nbins + 1) / nbins
        levels, step = self._levels(signal.amps, profiles)
        freq = float(signal.spin[0])
        pulses = Steps(
            signal.delays[self._chans],
            signal.spin[[0, 1, 2, 6]],
            signal.offsets[self._chans],
            np.array([-np.inf, np.inf]),
            _quantiles(profiles),
            signal.rows[self._chans],
            levels / (freq * self.source.tsamp * step),
            self._dither(seed, number),
            step,
        )
        even, rows, dither = np.array([[0.0, 1.0]]), np.zeros_like(pulses.rows), self._dither(seed, number + 1)
        return [pulses, pulses._replace(quantiles=even, rows=rows, dither=dither, step=-step)]

    def _burst(self, signal: BurstSignal, seed: int, number: int) -> Steps:
        levels, step = self._levels(signal.amps, signal.cumulative)
        return Steps(
            signal.begins[self._chans],
            np.array([1.0 / signal.span, 0.0, 0.0, 0.0]),
            np.zeros(self._chans.size),
            np.array([0.0, 1.0]),
            _quantiles(signal.cumulative),
            signal.rows[self._chans],
            levels * signal.span / (self.source.tsamp * step),
            self._dither(seed, number),
            step,
        )


class InjectedSource(Relay):
    """Cleaned samples with signals added.

    Parameters
    ----------
    injector : Injector
        Of the samples.
    signals : sequence of Steps
        From it.
    """

    def __init__(self, injector: Injector, signals: Sequence[Steps]) -> None:
        super().__init__(injector.source)
        self._injector = injector
        self._signals = signals

    def _meet(self, start: int, data: NDArray[np.int8]) -> None:
        self._injector.add(self._signals, start, data)


def _quantiles(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Phases between which equal parts of each profile lie, from its integral at even phases."""
    parts = np.arange(PARTS + 1) / PARTS
    phases = np.arange(profiles.shape[1]) / (profiles.shape[1] - 1)
    out = np.empty((len(profiles), PARTS + 1))
    for row, profile in zip(out, profiles, strict=True):
        # Where there is no pulse the integral rises by rounding alone.
        rising = np.flatnonzero(np.diff(profile, prepend=-1.0) > _NOTHING)
        row[:] = np.interp(parts, profile[rising], phases[rising])
    return out
