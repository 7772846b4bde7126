"""Pulsars, bursts and interference added to a real observation: to its file, or to samples that are cleaned already.

To what is dedispersed, searched and folded nothing but the steps of :mod:`pulsar_kernels.injections` is added: the
mask, the levels and the noise are the run's own.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from pulsar.cleaning.source import MaskedSource, live_parts
from pulsar.data.observation import Observation, called
from pulsar.data.source import SIGMA_LEVELS, Relay
from pulsar.dedisp.subbands import Subbands
from pulsar.errors import ConfigError, DataError
from pulsar.io.base import quantise
from pulsar.io.memory import Filterbank
from pulsar.io.sigproc import FilterbankWriter
from pulsar.synthesis.interference import GAINS, alive, interference_of
from pulsar.synthesis.model import Burst, Injection, Pulsar
from pulsar.synthesis.signal import BurstSignal, PulsarSignal, burst_signal, pulsar_signal, signals_of
from pulsar.synthesis.write import check_free, check_packing, truth_of, truth_path, write_truth
from pulsar_kernels.arrays import Array, Float32s, Floats, Int8s, Int16s, Ints
from pulsar_kernels.injections import add_steps
from pulsar_kernels.synth import add_dithered, stream_keys, uniforms

_MEASURE = 16384  # samples of a stretch in which the noise is measured
_PIECE = 8192
_ROWS = 16


def channel_sigmas(obs: Observation) -> Floats:
    """Robust standard deviation of every channel, in the units of its samples.

    From up to 64 stretches spread over the observation: in each the quartiles, interpolated inside a code (from
    8 bits on), or the standard deviation (fewer codes cannot hold an outlier); then the median of the stretches, so
    that drifts and interference in under half of them do not count. A channel that does not vary, or that the
    file masks, gets 0.

    Returns
    -------
    ndarray of float64, shape (nchans,)
    """
    header = obs.header
    n = min(_MEASURE, header.nsamps)
    # So many stretches, spread over the observation.
    count = max(1, min(64, header.nsamps // n))
    starts = np.unique(np.linspace(0, header.nsamps - n, count).astype(np.int64))
    gaps = [(gap.start, gap.start + gap.nsamps) for gap in obs.gaps]
    kept = [s for s in starts if not any(lo < s + n and s < hi for lo, hi in gaps)] or list(starts)
    estimates = np.empty((len(kept), header.nchans))
    buffer = np.empty((header.nchans, n), dtype=obs.dtype)
    for i, start in enumerate(kept):
        obs.read_into(int(start), buffer)
        for c in range(header.nchans):
            row = buffer[c]
            if header.nbits <= 4:
                estimates[i, c] = row.std(dtype=np.float64)
            elif row.dtype == np.uint8:
                estimates[i, c] = _sigma_of_codes(np.bincount(row, minlength=256))
            else:
                row = row[np.isfinite(row)] if row.dtype.kind == "f" else row
                lower, upper = np.percentile(row, (25.0, 75.0)) if row.size else (0.0, 0.0)
                estimates[i, c] = (upper - lower) / 1.3489795
    sigmas = np.median(estimates, axis=0)
    sigmas[~obs.chan_ok | ~np.isfinite(sigmas)] = 0.0
    return np.asarray(sigmas, dtype=np.float64)


def _scales(obs: Observation, sigmas: Floats) -> Float32s:
    """Levels that a negative and a positive signal of one sigma must add to each channel, shape (2, nchans).

    Of few-bit samples many are at the lowest or the highest code and cannot follow: the others take their share.
    """
    scales = np.stack([sigmas, sigmas])
    if obs.header.nbits <= 4 and obs.dtype == np.uint8:
        codes = obs.read(0, min(_MEASURE, obs.header.nsamps)).data
        at_ends = np.stack([np.mean(codes == 0, axis=1), np.mean(codes == _top(obs), axis=1)])
        scales /= np.maximum(1.0 - at_ends, 0.1)
    return scales.astype(np.float32)


def _sigma_of_codes(counts: Ints) -> float:
    """Standard deviation from the quartiles of a histogram of codes, each code spread over one unit."""
    total = np.concatenate(([0.0], np.cumsum(counts, dtype=np.float64)))
    if np.count_nonzero(counts) < 2:
        return 0.0
    lower, upper = np.interp((0.25 * total[-1], 0.75 * total[-1]), total, np.arange(total.size) - 0.5)
    return float((upper - lower) / 1.3489795)


def _depth(obs: Observation, nbits: int | None) -> int:
    """Depth of the output: that asked for, or what holds the samples."""
    if nbits not in (None, 1, 2, 4, 8, 16, 32):
        raise ConfigError(f"nbits {nbits}: 1, 2, 4, 8, 16 or 32")
    return nbits or obs.depth


def _top(obs: Observation) -> int:
    return int(2 ** min(obs.depth, 16) - 1)


def inject(
    obs: Observation,
    path: Path,
    injection: Injection,
    *,
    nbits: int | None = None,
    threads: int = 1,
    memory: int = 128 * 2**20,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Add pulsars, bursts and interference to an observation; write a SIGPROC filterbank with its truth beside it.

    Two streams over the input: the noise of each channel is measured (`channel_sigmas`), then the signal is added in
    units of it. The S/N is defined as in `Sky`; channels that do not vary, or are made dead or saturated, carry no
    signal. Interference that scales the power takes it to be `interference.POWER_OVER_NOISE` times the noise, whatever
    the offset in the file. Integers are rounded up or down at random, so that a signal far below one level is kept.

    Parameters
    ----------
    path : Path
        Output, a ``.fil``.
    injection : Injection
        What is added; its seed is that of the rounding, the nulls and the interference.
    nbits : int, optional
        Depth of the output; default the fewest bits that hold the samples: those of the input, more for summed
        polarisations.
    threads : int
        Threads that make the signal.
    memory : int
        Bytes of the sample buffers.
    overwrite : bool
        Replace an existing file.
    progress : callable, optional
        Told the number of new samples after each chunk.

    Raises
    ------
    ConfigError
        The output exists, a period is below two samples, interference lies outside the band, or floats are to be
        saturated.
    DataError
        The observation is a dedispersed series, or no channel varies.
    """
    header = obs.header
    added = _Added(obs, injection)
    depth = _depth(obs, nbits)
    check_free(path, overwrite=overwrite, nbytes=float(header.nsamps) * header.nchans * depth / 8)
    if any(file.path.resolve() == path.resolve() for file in obs.files):
        raise ConfigError(f"{path}: is the input itself: write to another file")
    check_packing(header.nchans, depth)
    added.measure()
    out_header = header.with_(nbits=depth, nifs=1)
    with FilterbankWriter(path, out_header, nbits=depth, nifs=1) as writer:
        for part in added.chunks(threads, memory, progress):
            writer.write(part)
    values: dict[str, Any] = {"seed": 0, "pulsars": [], "bursts": [], "rfi": []}
    values |= injection.model_dump(mode="json", exclude_defaults=True)
    write_truth(truth_path(path), values, truth_of(header, injection, added.chan_ok))
    return path


def inject_in_memory(
    obs: Observation,
    injection: Injection,
    *,
    nbits: int | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Filterbank:
    """Add pulsars, bursts and interference to an observation, without a file: samples and errors of :func:`inject`."""
    header = obs.header
    added = _Added(obs, injection)
    depth = _depth(obs, nbits)
    added.measure()
    kind = np.dtype(np.float32 if depth == 32 else np.uint16 if depth == 16 else np.uint8)
    data = np.empty((header.nchans, header.nsamps), dtype=kind)
    at = 0
    for part in added.chunks(threads, 128 << 20, progress):
        data[:, at : at + part.shape[1]] = quantise(part, depth)
        at += part.shape[1]
    return Filterbank(data, header.with_(nbits=depth, nifs=1))


class _Added:
    """Signals and interference for an observation: refused before any sample is read, where they cannot be added."""

    def __init__(self, obs: Observation, injection: Injection) -> None:
        tsamp = obs.header.tsamp
        for pulsar in injection.pulsars:
            if pulsar.period < 2 * tsamp:
                raise ConfigError(f"period {pulsar.period:g} s is shorter than two samples of {tsamp:g} s")
        if obs.header.is_series:
            raise DataError(f"{called(obs)}: a dedispersed series has no channels to inject into: give the raw data")
        if obs.dtype == np.float32 and any(source.kind == "saturated" for source in injection.rfi):
            raise ConfigError(f"{called(obs)}: rfi saturated: its samples are floats, which have no highest code")
        self._obs, self._injection = obs, injection

    def measure(self) -> None:
        """Measure the noise, and find the channels that carry a signal."""
        header, rfi, seed = self._obs.header, self._injection.rfi, self._injection.seed
        sigmas = channel_sigmas(self._obs)
        self.chan_ok = (sigmas > 0) & alive(header, rfi)
        self._scales = _scales(self._obs, sigmas)
        if not (sigmas > 0).any():
            raise DataError(f"{called(self._obs)}: no channel varies, so there is no noise to scale a signal to")
        self._signals = signals_of(header, self._injection, self.chan_ok)
        keys = stream_keys(seed, 5000, np.arange(len(rfi)))
        self._interference = interference_of(header, rfi, keys, seed, 5001)
        self._keys = stream_keys(seed, 4000, np.arange(header.nchans, dtype=np.int64))

    def chunks(self, threads: int, memory: int, progress: Callable[[int], None] | None) -> Iterator[Array]:
        """Samples with what is added, chunk by chunk in one buffer."""
        obs, header = self._obs, self._obs.header
        size = max(1, memory // (2 * header.nchans * obs.dtype.itemsize * _PIECE)) * _PIECE
        size = min(size, -(-header.nsamps // _PIECE) * _PIECE)
        buffer = np.empty((header.nchans, size), dtype=obs.dtype)
        with ThreadPoolExecutor(max(1, threads)) as pool:
            for start in range(0, header.nsamps, size):
                part = buffer[:, : min(size, header.nsamps - start)]
                obs.read_into(start, part)
                pieces = [
                    (part[c0 : c0 + _ROWS, lo : lo + _PIECE], start + lo, c0)
                    for c0 in range(0, header.nchans, _ROWS)
                    for lo in range(0, part.shape[1], _PIECE)
                ]
                list(pool.map(self._add, pieces))
                yield part
                if progress is not None:
                    progress(part.shape[1])

    def _add(self, piece: tuple[Array, int, int]) -> None:
        """Add to samples (nchans, n) in place; they begin at a sample and a channel."""
        samples, start, c0 = piece
        rows = slice(c0, c0 + samples.shape[0])
        scale = self._scales[1, rows, None]
        total = np.zeros(samples.shape, dtype=np.float32)
        for signal in self._signals:
            signal.add(total, start, self._obs.header.tsamp, c0)
        for source in self._interference:
            source.add(total, start, c0, common=True)
        gains = [source for source in self._interference if source.rfi.kind in GAINS and source.channels[rows].any()]
        if gains:
            # A gain acts on all of the power, the recorded one too: its noise is the samples about their mean.
            recorded = _in_sigmas(samples, scale)
            total += recorded
            for source in gains:
                source.jump(total, start, c0)
            total -= recorded
        if samples.dtype == np.float32:
            samples += total * scale
        else:
            scales = np.ascontiguousarray(self._scales[:, rows])
            add_dithered(samples, total, scales, self._keys[rows], start, _top(self._obs))
        for source in self._interference:
            source.replace(samples, start, c0, _top(self._obs))


def _in_sigmas(samples: Array, scale: Float32s) -> Float32s:
    """Samples (nchans, n) about their mean, in units of the noise; 0 where they are unknown."""
    known = np.isfinite(samples) & (scale > 0)
    values = np.where(known, samples, 0.0)
    middle = values.sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    return np.where(known, (values - middle) / np.where(scale > 0, scale, 1.0), 0.0).astype(np.float32)


#: Equal parts of a profile; within one it is taken to be even.
PARTS: Final = 512
_NOTHING: Final = 1e-9


class Steps(NamedTuple):
    """A signal as `pulsar_kernels.injections.add_steps` takes it, in its order; of the live channels."""

    delays: Floats
    spin: Floats
    offsets: Floats
    ends: Floats
    quantiles: Floats
    rows: Ints
    counts: Floats
    dither: Floats
    step: int


class Injector:
    """Adds signals to the cleaned samples of a run, or to subbands of them.

    The S/N of a signal is that of an ideal matched filter in the cleaned samples: over channels and samples that are
    neither masked, clipped nor missing, in noise of 1 that is independent in each of them,
    ``snr^2 = sum of (s - mean s)^2 / sigma^2`` (of bursts without the mean).
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
        seed : int
            Of where the steps of each channel are.

        Raises
        ------
        ConfigError
            Nothing of a signal is left: all of its samples are masked, or it is smeared out altogether.
        """
        header, signals = self.source.obs.header, []
        for number, pulsar in enumerate(pulsars):
            signals += self._pulsar(pulsar_signal(header, pulsar, chan_ok=self.share), seed, 2 * number)
        first = 2 * len(pulsars)
        for number, burst in enumerate(bursts):
            there = self._present(burst.time + header.delays(burst.dm))
            signals.append(self._burst(burst_signal(header, burst, chan_ok=there), seed, first + number))
        return signals

    def live_share(self, burst: Burst) -> float:
        """Share of the live channels in which a burst arrives where nothing is masked, clipped or missing."""
        times = burst.time + self.source.obs.header.delays(burst.dm)
        return float(self._present(times).sum()) / max(self._chans.size, 1)

    def add(self, signals: Sequence[Steps], start: int, data: Int8s) -> None:
        """Add signals to cleaned samples, shape (nchans live, n), from sample `start` on."""
        lanes = np.arange(self._chans.size, dtype=np.int64)
        self._add(signals, start, data, lanes, np.zeros_like(lanes), 127)

    def add_to(self, bands: Subbands, signals: Sequence[Steps]) -> Subbands:
        """Subbands of the cleaned samples with signals added, which are made anew."""
        out = bands.copy()
        self._add(signals, 0, out.sums, out.lanes, out.delays, 32767)
        return out

    def _add(
        self, signals: Sequence[Steps], start: int, data: Int8s | Int16s, lanes: Ints, shifts: Ints, top: int
    ) -> None:
        tsamp, live = self.source.tsamp, (self._edges, self._blocks, self._bad)
        for steps in signals:
            add_steps(data, start, tsamp, lanes, shifts, *steps, top, *live)

    def _present(self, times: Floats) -> Floats:
        """1 for channels of the observation that are live, each at a time of its own [s]; else 0."""
        at = np.floor(times[self._chans] / self.source.tsamp).astype(np.int64)
        inside = (at >= 0) & (at < self.source.nsamps)
        part = np.searchsorted(self._edges, at.clip(0, self.source.nsamps - 1), side="right") - 1
        block = self._blocks[part]
        present = np.zeros(times.size)
        present[self._chans] = inside & (block >= 0) & ~self._bad[block, np.arange(self._chans.size)]
        return present

    def _dither(self, seed: int, number: int) -> Floats:
        # Streams of random numbers: where in a step the channels of a signal, and of its mean, begin.
        key = int(stream_keys(seed, 6000, np.array([number]))[0])
        return uniforms(key, self._chans)

    def _levels(self, amps: Floats, profiles: Floats) -> tuple[Floats, int]:
        """Mean levels of a signal in the live channels, and its step."""
        levels = amps[self._chans] * SIGMA_LEVELS
        peak = float(levels.max()) * float(np.diff(profiles, axis=1).max()) * (profiles.shape[1] - 1)
        # Sums of steps scatter as their number times the square of one.
        # They may add 0.002 of the variance of noise where the signal is strongest.
        return levels, int(np.clip(0.002 * SIGMA_LEVELS**2 / max(peak, 1e-9), 1, 16))

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

    def _meet(self, start: int, data: Int8s) -> None:
        self._injector.add(self._signals, start, data)


def _quantiles(profiles: Floats) -> Floats:
    """Phases between which equal parts of each profile lie, from its integral at even phases."""
    parts = np.arange(PARTS + 1) / PARTS
    phases = np.arange(profiles.shape[1]) / (profiles.shape[1] - 1)
    out = np.empty((len(profiles), PARTS + 1))
    for row, profile in zip(out, profiles, strict=True):
        # Where there is no pulse the integral rises by rounding alone.
        rising = np.flatnonzero(np.diff(profile, prepend=-1.0) > _NOTHING)
        row[:] = np.interp(parts, profile[rising], phases[rising])
    return out
