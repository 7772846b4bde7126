"""Pulsars, bursts and interference added to a real observation."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.data.header import Header
from pulsar.data.observation import Observation, called
from pulsar.errors import ConfigError, DataError
from pulsar.io.memory import Filterbank
from pulsar.synthesis.interference import GAINS, Interference, alive
from pulsar.synthesis.model import Burst, Pulsar, Rfi
from pulsar.synthesis.signal import BurstSignal, PulsarSignal, burst_signal, pulsar_signal
from pulsar.synthesis.truth import burst_truth, pulsar_truth, truth_path, write_truth
from pulsar.synthesis.write import check_free, check_packing

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
    from pulsar.io.sigproc import FilterbankWriter

    path = Path(path)
    header = obs.header
    added = _Added(tuple(pulsars), tuple(bursts), tuple(rfi), seed)
    _check(obs, added)
    depth = _depth(obs, nbits)
    check_free(path, overwrite=overwrite, nbytes=float(header.nsamps) * header.nchans * depth / 8)
    if any(file.path.resolve() == path.resolve() for file in obs.files):
        raise ConfigError(f"{path}: is the input itself: write to another file")
    check_packing(header.nchans, depth)
    out_header = header.with_(nbits=depth, nifs=1)
    chunks, chan_ok = _chunks(obs, added, threads, memory, progress)
    with FilterbankWriter(path, out_header, nbits=depth, ascending=ascending, nifs=1) as writer:
        for part in chunks:
            writer.write(part)
    values = {
        "seed": seed,
        "pulsars": [p.model_dump(mode="json", exclude_defaults=True) for p in pulsars],
        "bursts": [b.model_dump(mode="json", exclude_defaults=True) for b in bursts],
        "rfi": [r.model_dump(mode="json", exclude_defaults=True) for r in rfi],
    }
    entries = [
        *({"kind": "pulsar", **pulsar_truth(header, p, chan_ok)} for p in pulsars),
        *({"kind": "burst", **burst_truth(header, b, chan_ok)} for b in bursts),
    ]
    write_truth(truth_path(path), values, entries)
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
    from pulsar.io.base import quantise

    header = obs.header
    added = _Added(tuple(pulsars), tuple(bursts), tuple(rfi), seed)
    _check(obs, added)
    depth = _depth(obs, nbits)
    kind = np.dtype(np.float32 if depth == 32 else np.uint16 if depth == 16 else np.uint8)
    data = np.empty((header.nchans, header.nsamps), dtype=kind)
    chunks, _ = _chunks(obs, added, threads, 128 << 20, progress)
    at = 0
    for part in chunks:
        data[:, at : at + part.shape[1]] = quantise(part, depth)
        at += part.shape[1]
    return Filterbank(data, header.with_(nbits=depth, nifs=1))


@dataclass(frozen=True)
class _Added:
    """What is added to an observation."""

    pulsars: tuple[Pulsar, ...]
    bursts: tuple[Burst, ...]
    rfi: tuple[Rfi, ...]
    seed: int


def _check(obs: Observation, added: _Added) -> None:
    """Refuse what cannot be added, before any sample is read."""
    header = obs.header
    if not added.pulsars and not added.bursts and not added.rfi:
        raise ConfigError("nothing to inject: give a pulsar, a burst or interference")
    for pulsar in added.pulsars:
        if pulsar.period < 2 * header.tsamp:
            raise ConfigError(f"period {pulsar.period:g} s is shorter than two samples of {header.tsamp:g} s")
    if header.is_series:
        raise DataError(f"{called(obs)}: a dedispersed series has no channels to inject into: give the raw data")
    if obs.dtype == np.float32 and any(source.kind == "saturated" for source in added.rfi):
        raise ConfigError(f"{called(obs)}: rfi saturated: its samples are floats, which have no highest code")


def _chunks(
    obs: Observation, added: _Added, threads: int, memory: int, progress: Callable[[int], None] | None
) -> tuple[Iterator[NDArray[Any]], NDArray[np.bool_]]:
    """Samples with what is added, chunk by chunk in one buffer, and the channels that carry a signal."""
    from pulsar_kernels.synth import stream_keys

    header, seed = obs.header, added.seed
    sigmas = channel_sigmas(obs)
    chan_ok = (sigmas > 0) & alive(header, added.rfi)
    scales = _scales(obs, sigmas)
    if not (sigmas > 0).any():
        raise DataError(f"{called(obs)}: no channel varies, so there is no noise to scale a signal to")
    signals: list[PulsarSignal | BurstSignal] = [
        *(pulsar_signal(header, p, chan_ok=chan_ok, seed=seed, number=i) for i, p in enumerate(added.pulsars)),
        *(burst_signal(header, b, chan_ok=chan_ok) for b in added.bursts),
    ]
    source_keys = stream_keys(seed, 5000, np.arange(len(added.rfi)))
    sources = [
        (Interference(header, source, int(source_keys[i])), stream_keys(seed, 5001 + i, np.arange(header.nchans)))
        for i, source in enumerate(added.rfi)
    ]
    keys = stream_keys(seed, 4000, np.arange(header.nchans, dtype=np.int64))
    size = max(1, memory // (2 * header.nchans * obs.dtype.itemsize * _PIECE)) * _PIECE
    size = min(size, -(-header.nsamps // _PIECE) * _PIECE)

    def run() -> Iterator[NDArray[Any]]:
        buffer = np.empty((header.nchans, size), dtype=obs.dtype)
        with ThreadPoolExecutor(max(1, threads)) as pool:
            for start in range(0, header.nsamps, size):
                part = buffer[:, : min(size, header.nsamps - start)]
                obs.read_into(start, part)
                _add(part, start, header, signals, sources, scales, keys, _top(obs), pool)
                yield part
                if progress is not None:
                    progress(part.shape[1])

    return run(), chan_ok


def _add(
    part: NDArray[Any],
    start: int,
    header: Header,
    signals: Iterable[PulsarSignal | BurstSignal],
    sources: Sequence[tuple[Interference, NDArray[np.uint64]]],
    scales: NDArray[np.float32],
    keys: NDArray[np.uint64],
    top: int,
    pool: ThreadPoolExecutor,
) -> None:
    """Add the signals and the interference (each with the keys of its noise) to samples (nchans, n) in place."""
    from pulsar_kernels.synth import add_dithered

    signals = list(signals)

    def work(c0: int) -> None:
        rows = slice(c0, min(c0 + _ROWS, header.nchans))
        for lo in range(0, part.shape[1], _PIECE):
            view = part[rows, lo : lo + _PIECE]
            total = np.zeros(view.shape, dtype=np.float32)
            for signal in signals:
                signal.add(total, start + lo, header.tsamp, c0)
            _interfere(total, view, start + lo, c0, sources, scales[1, rows, None])
            if view.dtype == np.float32:
                view += total * scales[1, rows, None]
            else:
                add_dithered(view, total, np.ascontiguousarray(scales[:, rows]), keys[rows], start + lo, top)
            for source, _ in sources:
                source.replace(view, start + lo, c0, top)

    list(pool.map(work, range(0, header.nchans, _ROWS)))


def _interfere(
    total: NDArray[np.float32],
    samples: NDArray[Any],
    start: int,
    c0: int,
    sources: Sequence[tuple[Interference, NDArray[np.uint64]]],
    scale: NDArray[np.float32],
) -> None:
    """Add to `total` (nchans, n), in units of the noise, what interference does to it and to the recorded `samples`.

    A gain acts on all of the power, the recorded one too: its noise is the samples about their mean.
    """
    from pulsar_kernels.synth import normals

    part = slice(c0, c0 + total.shape[0])
    extra = np.empty_like(total)
    for source, keys in sources:
        if not source.is_additive or not source.channels[part].any():
            continue
        if source.is_noisy:
            normals(keys[part], start, extra)
        source.apply(total, start, c0, extra if source.is_noisy else None)
    if not any(source.rfi.kind in GAINS and source.channels[part].any() for source, _ in sources):
        return
    known = np.isfinite(samples) & (scale > 0)
    values = np.where(known, samples, 0.0)
    middle = values.sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    recorded = np.where(known, (values - middle) / np.where(scale > 0, scale, 1.0), 0.0).astype(np.float32)
    total += recorded
    for source, _ in sources:
        source.jump(total, start, c0)
    total -= recorded
