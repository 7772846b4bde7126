"""Pulsars, bursts and interference added to a real observation."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.data.observation import Observation, called
from pulsar.errors import ConfigError, DataError
from pulsar.io.base import quantise
from pulsar.io.memory import Filterbank
from pulsar.io.sigproc import FilterbankWriter
from pulsar.synthesis.interference import Sources, alive
from pulsar.synthesis.model import Burst, Pulsar, Rfi
from pulsar.synthesis.signal import signals_of
from pulsar.synthesis.write import check_free, check_packing, truth_of, truth_path, write_truth
from pulsar_kernels.synth import add_dithered, stream_keys

_MEASURE = 16384  # samples of a stretch in which the noise is measured,
_STRETCHES = 64  # and how many of them, spread over the observation
_PIECE = 8192
_ROWS = 16


def channel_sigmas(obs: Observation) -> NDArray[np.float64]:
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
    count = max(1, min(_STRETCHES, header.nsamps // n))
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


def _scales(obs: Observation, sigmas: NDArray[np.float64]) -> NDArray[np.float32]:
    """Levels that a negative and a positive signal of one sigma must add to each channel, shape (2, nchans).

    Of few-bit samples many are at the lowest or the highest code and cannot follow: the others take their share.
    """
    scales = np.stack([sigmas, sigmas])
    if obs.header.nbits <= 4 and obs.dtype == np.uint8:
        codes = obs.read(0, min(_MEASURE, obs.header.nsamps)).data
        at_ends = np.stack([np.mean(codes == 0, axis=1), np.mean(codes == _top(obs), axis=1)])
        scales /= np.maximum(1.0 - at_ends, 0.1)
    return scales.astype(np.float32)


def _sigma_of_codes(counts: NDArray[np.int64]) -> float:
    """Standard deviation from the quartiles of a histogram of codes, each code spread over one unit."""
    total = np.concatenate(([0.0], np.cumsum(counts, dtype=np.float64)))
    if np.count_nonzero(counts) < 2:
        return 0.0
    lower, upper = np.interp((0.25 * total[-1], 0.75 * total[-1]), total, np.arange(total.size) - 0.5)
    return float((upper - lower) / 1.3489795)


def _depth(obs: Observation, nbits: int | None) -> int:
    """Depth of the output: that asked for, or the file's as far as it holds what is read."""
    if nbits is None:
        if obs.dtype == np.uint8:
            return obs.header.nbits if obs.header.nbits <= 8 else 8
        return 16 if obs.dtype == np.uint16 else 32
    if nbits not in (1, 2, 4, 8, 16, 32):
        raise ConfigError(f"nbits {nbits}: 1, 2, 4, 8, 16 or 32")
    return nbits


def _top(obs: Observation) -> int:
    if obs.dtype == np.uint8:
        return int(2 ** min(obs.header.nbits, 8) - 1)
    return 65535


def inject(
    obs: Observation,
    path: str | Path,
    *,
    pulsars: Sequence[Pulsar] = (),
    bursts: Sequence[Burst] = (),
    rfi: Sequence[Rfi] = (),
    nbits: int | None = None,
    ascending: bool = False,
    seed: int = 0,
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
    obs : Observation
    path : str or Path
        Output, a ``.fil``.
    pulsars, bursts, rfi : sequences
        What is added.
    nbits : int, optional
        Depth of the output; default that of the input (16 where polarisations were summed).
    ascending : bool
        Lowest frequency first in the file.
    seed : int
        Of the rounding, the nulls and the interference.
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
        The output exists, nothing is to be added, a period is below two samples, interference lies outside the band, or
        floats are to be saturated.
    DataError
        The observation is a dedispersed series, or no channel varies.
    """
    # Many arguments: each is an option of the user's, by name, with a default and its own words above.

    path = Path(path)
    header = obs.header
    added = _Added(obs, pulsars, bursts, rfi, seed)
    depth = _depth(obs, nbits)
    check_free(path, overwrite=overwrite, nbytes=float(header.nsamps) * header.nchans * depth / 8)
    if any(file.path.resolve() == path.resolve() for file in obs.files):
        raise ConfigError(f"{path}: is the input itself: write to another file")
    check_packing(header.nchans, depth)
    added.measure()
    out_header = header.with_(nbits=depth, nifs=1)
    with FilterbankWriter(path, out_header, nbits=depth, ascending=ascending, nifs=1) as writer:
        for part in added.chunks(threads, memory, progress):
            writer.write(part)
    values: dict[str, Any] = {"seed": seed}
    for name, models in (("pulsars", pulsars), ("bursts", bursts), ("rfi", rfi)):
        values[name] = [model.model_dump(mode="json", exclude_defaults=True) for model in models]
    write_truth(truth_path(path), values, truth_of(header, pulsars, bursts, added.chan_ok))
    return path


def inject_in_memory(
    obs: Observation,
    *,
    pulsars: Sequence[Pulsar] = (),
    bursts: Sequence[Burst] = (),
    rfi: Sequence[Rfi] = (),
    nbits: int | None = None,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Filterbank:
    """Add pulsars, bursts and interference to an observation, without a file; the same samples as :func:`inject`.

    Parameters
    ----------
    obs, pulsars, bursts, rfi, nbits, seed, threads, progress
        As for :func:`inject`.

    Returns
    -------
    Filterbank

    Raises
    ------
    ConfigError, DataError
        As for :func:`inject`.
    """
    header = obs.header
    added = _Added(obs, pulsars, bursts, rfi, seed)
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

    def __init__(
        self, obs: Observation, pulsars: Sequence[Pulsar], bursts: Sequence[Burst], rfi: Sequence[Rfi], seed: int
    ) -> None:
        if not pulsars and not bursts and not rfi:
            raise ConfigError("nothing to inject: give a pulsar, a burst or interference")
        tsamp = obs.header.tsamp
        for pulsar in pulsars:
            if pulsar.period < 2 * tsamp:
                raise ConfigError(f"period {pulsar.period:g} s is shorter than two samples of {tsamp:g} s")
        if obs.header.is_series:
            raise DataError(f"{called(obs)}: a dedispersed series has no channels to inject into: give the raw data")
        if obs.dtype == np.float32 and any(source.kind == "saturated" for source in rfi):
            raise ConfigError(f"{called(obs)}: rfi saturated: its samples are floats, which have no highest code")
        self._obs, self._seed = obs, seed
        self._pulsars, self._bursts, self._rfi = pulsars, bursts, rfi

    def measure(self) -> None:
        """Measure the noise, and find the channels that carry a signal."""
        header, seed = self._obs.header, self._seed
        sigmas = channel_sigmas(self._obs)
        self.chan_ok = (sigmas > 0) & alive(header, self._rfi)
        self._scales = _scales(self._obs, sigmas)
        if not (sigmas > 0).any():
            raise DataError(f"{called(self._obs)}: no channel varies, so there is no noise to scale a signal to")
        self._signals = signals_of(header, self._pulsars, self._bursts, self.chan_ok, seed)
        keys = stream_keys(seed, 5000, np.arange(len(self._rfi)))
        self._interference = Sources(header, self._rfi, keys, seed, 5001)
        self._keys = stream_keys(seed, 4000, np.arange(header.nchans, dtype=np.int64))

    def chunks(self, threads: int, memory: int, progress: Callable[[int], None] | None) -> Iterator[NDArray[Any]]:
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

    def _add(self, piece: tuple[NDArray[Any], int, int]) -> None:
        """Add to samples (nchans, n) in place; they begin at a sample and a channel."""
        samples, start, c0 = piece
        rows = slice(c0, c0 + samples.shape[0])
        scale = self._scales[1, rows, None]
        total = np.zeros(samples.shape, dtype=np.float32)
        for signal in self._signals:
            signal.add(total, start, self._obs.header.tsamp, c0)
        self._interference.add(total, start, c0, common=True)
        if self._interference.channels_of_gains[rows].any():
            # A gain acts on all of the power, the recorded one too: its noise is the samples about their mean.
            recorded = _in_sigmas(samples, scale)
            total += recorded
            self._interference.jump(total, start, c0)
            total -= recorded
        if samples.dtype == np.float32:
            samples += total * scale
        else:
            scales = np.ascontiguousarray(self._scales[:, rows])
            add_dithered(samples, total, scales, self._keys[rows], start, _top(self._obs))
        self._interference.replace(samples, start, c0, _top(self._obs))


def _in_sigmas(samples: NDArray[Any], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Samples (nchans, n) about their mean, in units of the noise; 0 where they are unknown."""
    known = np.isfinite(samples) & (scale > 0)
    values = np.where(known, samples, 0.0)
    middle = values.sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    return np.where(known, (values - middle) / np.where(scale > 0, scale, 1.0), 0.0).astype(np.float32)
