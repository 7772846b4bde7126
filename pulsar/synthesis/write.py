"""From a sky to samples and to files: noise, signals, interference, in tiles that depend on nothing but their place.

SIGPROC filterbank at every depth, PSRFITS as FAST writes it; and the truth beside them: what is in a file, as TOML that
makes it again.
"""

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pulsar.constants import DAY
from pulsar.data.files import check_output
from pulsar.data.header import Header
from pulsar.data.observation import Block
from pulsar.data.text import toml_value
from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError
from pulsar.io.psrfits import PsrfitsWriter
from pulsar.io.sigproc import FilterbankWriter
from pulsar.synthesis.interference import Drift, alive, bandpass, interference_of
from pulsar.synthesis.model import LEVELS, Burst, Injection, Pulsar, Sky
from pulsar.synthesis.signal import burst_signal, observed_accel, observed_spin, pulsar_signal, signals_of, smearing
from pulsar_kernels.arrays import Array, Bools, Float32s
from pulsar_kernels.synth import interleave, normals, quantise, quantise_wrapped, rescale, stream_keys

#: Samples of a tile; with _ROWS channels it stays in a level-2 cache from the first deviate to the last code.
TILE = 8192
_ROWS = 8
# Channels that are put in the order of a file together: a whole cache line of 8-bit samples.
_GROUP = 64

#: What is made of the polarisations, and how many that are.
NPOL: dict[str, int] = {"AA+BB": 1, "AABB": 2, "AABBCRCI": 4, "IQUV": 4}

_HALF = np.float32(math.sqrt(0.5))


class Synthesiser:
    """Samples of a sky, piece by piece; safe to use from several threads at once.

    The noise of a channel is one stream of deviates, whatever the depth, the polarisations, the chunks and the
    threads: the same sky at two depths is the same analogue signal quantised twice.

    Parameters
    ----------
    nbits : int, optional
        In place of the depth of the sky.
    pol : {"AA+BB", "AABB", "AABBCRCI", "IQUV"}
        Polarisations made. AA and BB hold half the signal each and independent noise, so that their sum has the
        S/N of the total; AABBCRCI adds cross terms, noise of mean 0 as signed numbers (two's complement of `nbits`
        where the codes are unsigned); IQUV adds noise around the mean of I.

    Raises
    ------
    ConfigError
        Interference outside the band, no channel left for a signal, or floats that should wrap.
    """

    def __init__(self, sky: Sky, *, nbits: int | None = None, pol: str = "AA+BB") -> None:
        self.sky = sky
        self.pol = pol
        self.npol = NPOL[pol]
        self.nbits = sky.nbits if nbits is None else nbits
        if self.nbits == 32 and sky.overflow == "wrap":
            raise ConfigError("overflow wrap: floats of 32 bit have no top to wrap at: take nbits 16 or fewer")
        self.header = sky.header.with_(nbits=self.nbits, nifs=self.npol)
        header = self.header
        channels = np.arange(header.nchans, dtype=np.int64)
        self._keys = [stream_keys(sky.seed, stream, channels) for stream in range(self.npol)]
        source_keys = stream_keys(sky.seed, 2000, np.arange(len(sky.rfi) + 1))
        self._interference = interference_of(header, sky.rfi, source_keys[1:], sky.seed, 3000)
        self._drift = Drift(header, sky.drift, int(source_keys[0]))
        self.chan_ok = alive(header, sky.rfi)
        self._signals = signals_of(header, sky, self.chan_ok)
        mean, sigma = sky.levels(self.nbits)
        # Backends level each channel before they requantise to few bits; otherwise the edges would be lost.
        gain = bandpass(header, sky.bandpass if self.nbits >= 8 else "flat")
        self.means = (mean * gain).astype(np.float32)
        self.sigmas = (sigma * gain).astype(np.float32)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples: uint8 up to 8 bits, uint16 (int16 with cross terms), float32."""
        if self.nbits <= 8:
            return np.dtype(np.uint8)
        if self.nbits == 16:
            return np.dtype(np.int16 if self.pol == "AABBCRCI" else np.uint16)
        return np.dtype(np.float32)

    def _common(self, tile: int) -> Float32s:
        """Level and interference that all channels share in a tile [sigma]."""
        row = self._drift.row(tile * TILE, TILE) if self.sky.drift > 0 else np.zeros(TILE, dtype=np.float32)
        for source in self._interference:
            if source.is_common:
                row += source.share(tile * TILE, TILE, np.zeros(0, dtype=np.int64))[0]
        return row

    def _codes(self, data: Float32s, common: Float32s, start: int, c0: int, out: Array) -> None:
        part = slice(c0, c0 + data.shape[0])
        means, sigmas = self.means[part], self.sigmas[part]
        if self.nbits == 32:
            rescale(data, common, means, sigmas, out)
            top = self.sky.levels(32)[0] + 10.0 * self.sky.levels(32)[1]
        else:
            # int16 holds the highest codes that PSRFITS can.
            top = 2.0 ** (15 if out.dtype == np.int16 else self.nbits) - 1
            recorded = quantise_wrapped if self.sky.overflow == "wrap" else quantise
            recorded(data, common, means, sigmas, int(top), out)
        for source in self._interference:
            source.replace(out, start, c0, top)

    def _tile(self, tile: int, c0: int, c1: int, common: Float32s, out: Array) -> None:
        """Fill `out`, shape (npol, c1 - c0, TILE), with codes."""
        start = tile * TILE
        total = np.empty((c1 - c0, TILE), dtype=np.float32)
        scratch = np.empty_like(total)
        normals(self._keys[0][c0:c1], start, total)
        for signal in self._signals:
            signal.add(total, start, self.sky.tsamp, c0)
        for source in self._interference:
            source.add(total, start, c0, common=False)
        if self.npol == 1 or self.pol == "IQUV":
            parts = [total]
        else:
            normals(self._keys[1][c0:c1], start, scratch)
            parts = [(total + scratch) * _HALF, (total - scratch) * _HALF]
            common = common * _HALF
        for p, part in enumerate(parts):
            for source in self._interference:
                source.jump(part, start, c0)
            self._codes(part, common, start, c0, out[p])
        for p in range(len(parts), self.npol):
            normals(self._keys[p][c0:c1], start, scratch)
            if self.pol == "IQUV":
                self._codes(scratch, np.zeros_like(common), start, c0, out[p])
            else:
                self._cross(scratch, c0, out[p])

    def _cross(self, data: Float32s, c0: int, out: Array) -> None:
        """Cross terms: mean 0, signed."""
        values = data * self.sigmas[c0 : c0 + data.shape[0], None]
        values[~self.chan_ok[c0 : c0 + data.shape[0]]] = 0
        if self.nbits == 32:
            out[:] = values
            return
        half = 2 ** (self.nbits - 1)
        codes = np.clip(np.rint(values), -half, max(half - 1, 0)).astype(np.int32)
        out[:] = codes if out.dtype == np.int16 else codes & (2**self.nbits - 1)

    def fill(self, start: int, out: Array, pool: ThreadPoolExecutor | None = None) -> None:
        """Fill `out`, shape (npol, nchans, n), with the samples from `start` on.

        Quickest when `start` and n are multiples of `TILE`; with a pool its threads share the channels. The array may
        be a view of memory in the order of the files, (n, npol, nchans).
        """
        n = out.shape[2]
        tiles = range(start // TILE, -(-(start + n) // TILE))
        nchans = self.header.nchans
        common = [self._common(tile) for tile in tiles]
        by_time = out.strides[1] == out.itemsize and nchans > 1
        group = _GROUP if nchans >= 4 * _GROUP else _ROWS

        def work(c0: int) -> None:
            c1 = min(c0 + group, nchans)
            whole = np.empty((self.npol, c1 - c0, TILE), dtype=out.dtype)
            for tile, shared in zip(tiles, common, strict=True):
                for a in range(c0, c1, _ROWS):
                    b = min(a + _ROWS, c1)
                    self._tile(tile, a, b, shared, whole[:, a - c0 : b - c0])
                lo = max(tile * TILE, start)
                hi = min((tile + 1) * TILE, start + n)
                part = whole[:, :, lo - tile * TILE : hi - tile * TILE]
                for p in range(self.npol):
                    place = out[p, c0:c1, lo - start : hi - start]
                    if by_time:
                        interleave(part[p], place.T)
                    else:
                        place[:] = part[p]

        each = map if pool is None else pool.map
        list(each(work, range(0, nchans, group)))

    def chunks(self, *, threads: int = 1, memory: int = 128 * 2**20) -> Iterator[Array]:
        """Walk through the observation: arrays of shape (npol, nchans, n), of which two exist at a time.

        The next one is made while the caller has the last; each is overwritten once the next has been asked for.

        Parameters
        ----------
        threads : int
            Threads that make samples.
        memory : int
            Bytes of the two arrays together, as far as one tile of all channels allows.
        """
        per_tile = self.npol * self.header.nchans * TILE * self.dtype.itemsize
        size = max(1, memory // 2 // per_tile) * TILE
        nsamps = self.header.nsamps
        size = min(size, -(-nsamps // TILE) * TILE)
        # In memory in the order of the files, so that a writer has nothing to transpose.
        shape = (size, self.npol, self.header.nchans)
        buffers = [np.empty(shape, dtype=self.dtype).transpose(1, 2, 0) for _ in range(2)]
        starts = range(0, nsamps, size)
        with ThreadPoolExecutor(max(1, threads)) as pool, ThreadPoolExecutor(1) as ahead:

            def make(number: int) -> Array:
                part = buffers[number % 2][:, :, : min(size, nsamps - starts[number])]
                self.fill(starts[number], part, pool)
                return part

            pending: Future[Array] = ahead.submit(make, 0)
            for number in range(len(starts)):
                part = pending.result()
                if number + 1 < len(starts):
                    pending = ahead.submit(make, number + 1)
                yield part


def make(sky: Sky, *, nbits: int | None = None, threads: int = 1) -> Block:
    """Make a whole observation in memory.

    Parameters
    ----------
    nbits : int, optional
        In place of the depth of the sky.

    Returns
    -------
    Block
        Total intensity: uint8 up to 8 bits, uint16, or float32 for 32 bits.
    """
    synthesiser = Synthesiser(sky, nbits=nbits)
    header = synthesiser.header
    out = np.empty((1, header.nchans, header.nsamps), dtype=synthesiser.dtype)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        synthesiser.fill(0, out, pool)
    return Block(data=out[0], start=0, header=header)


Progress = Callable[[int], None]


def check_free(path: Path, *, overwrite: bool, nbytes: float = 0) -> None:
    """Refuse a path that cannot be written, before any work is done.

    Parameters
    ----------
    overwrite : bool
        A file of that name may be replaced.
    nbytes : float
        What is going to be written there.

    Raises
    ------
    ConfigError
        The file exists and may not be replaced, its folder is missing or cannot be written, or the disk is too full.
    """
    check_output(path, overwrite=overwrite)
    free = shutil.disk_usage(path.parent).free
    if nbytes > free:
        raise ConfigError(
            f"{path}: would be {nbytes / 1e9:.4g} GB, but {free / 1e9:.4g} GB are free: shorten it or write elsewhere"
        )


def check_packing(nchans: int, nbits: int) -> None:
    """Refuse channels that do not fill whole bytes.

    Raises
    ------
    ConfigError
    """
    if (nchans * nbits) % 8:
        raise ConfigError(
            f"nchans {nchans} of {nbits} bit do not fill whole bytes: take a multiple of {8 // nbits} channels"
        )


def _size(synthesiser: Synthesiser) -> float:
    """Bytes of samples."""
    header = synthesiser.header
    return float(header.nsamps) * header.nchans * synthesiser.nbits / 8 * synthesiser.npol


def _write(
    synthesiser: Synthesiser, path: Path, begun: Any, threads: int, memory: int, progress: Progress | None
) -> None:
    """Write samples by a writer that has begun, and the truth beside them."""
    with begun as writer:
        for part in synthesiser.chunks(threads=threads, memory=memory):
            writer.write(part[0] if synthesiser.npol == 1 else part)
            if progress is not None:
                progress(part.shape[2])
    sky, nbits = synthesiser.sky, synthesiser.nbits
    values = sky.model_copy(update={"nbits": nbits}).model_dump(mode="json", exclude_defaults=True)
    # Levels stay out where they are those of the depth, so that the list can be written at another depth.
    values = {key: value for key, value in values.items() if key not in ("mean", "sigma")} | {"nbits": nbits}
    if sky.levels(nbits) != LEVELS[nbits]:
        values["mean"], values["sigma"] = sky.levels(nbits)
    write_truth(truth_path(path), values, truth(sky))


def write_filterbank(
    sky: Sky,
    path: str | Path,
    *,
    nbits: int | None = None,
    ascending: bool = False,
    nifs: int = 1,
    threads: int = 1,
    memory: int = 128 * 2**20,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a sky as a SIGPROC filterbank file, and its truth beside it (``NAME.truth.toml``).

    Parameters
    ----------
    nbits : {1, 2, 4, 8, 16, 32}, optional
        In place of the depth of the sky; the analogue signal is the same.
    ascending : bool
        Lowest frequency first in the file.
    nifs : {1, 2, 4}
        1: total intensity; 2: AA, BB, whose sum has the S/N asked for; 4: I, Q, U, V.
    threads : int
        Threads that make samples.
    memory : int
        Bytes of sample buffers.
    overwrite : bool
        Replace an existing file.
    progress : callable, optional
        Told the number of new samples after each chunk.

    Raises
    ------
    ConfigError
        The file exists, or an impossible number of IFs.
    """
    path = Path(path)
    kinds = {1: "AA+BB", 2: "AABB", 4: "IQUV"}
    if nifs not in kinds:
        raise ConfigError(f"nifs {nifs}: 1 (total), 2 (AA, BB) or 4 (I, Q, U, V)")
    synthesiser = Synthesiser(sky, nbits=nbits, pol=kinds[nifs])
    check_free(path, overwrite=overwrite, nbytes=_size(synthesiser))
    check_packing(sky.nchans, synthesiser.nbits)
    writer = FilterbankWriter(path, synthesiser.header, nbits=synthesiser.nbits, ascending=ascending, nifs=nifs)
    _write(synthesiser, path, writer, threads, memory, progress)
    return path


def write_psrfits(
    sky: Sky,
    path: str | Path,
    *,
    nbits: int | None = None,
    npol: int = 1,
    pol_type: str | None = None,
    nsblk: int = 1024,
    rows_per_file: int | None = None,
    ascending: bool = True,
    threads: int = 1,
    memory: int = 128 * 2**20,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Write a sky as PSRFITS search-mode files, and its truth beside them.

    Parameters
    ----------
    path : str or Path
        The file; with `rows_per_file` the pattern of several: ``a.fits`` → ``a_0001.fits``, …
    nbits : {1, 2, 4, 8, 16, 32}, optional
        In place of the depth of the sky; the analogue signal is the same.
    npol : {1, 2, 4}
        Polarisations.
    pol_type : {"AA+BB", "INTEN", "AABB", "AABBCRCI", "IQUV"}, optional
        Default by `npol`: AA+BB, AABB, AABBCRCI.
    nsblk : int
        Samples a row.
    rows_per_file : int, optional
        Rows a file; default one file.
    ascending : bool
        Lowest frequency first in the file, as FAST writes it.
    threads, memory, overwrite, progress
        As in `write_filterbank`.

    Returns
    -------
    tuple of Path
        The files, in order.

    Raises
    ------
    ConfigError
        A file exists, or `npol` and `pol_type` do not fit.
    """
    # Many arguments: what PSRFITS files may differ in, by name, each with its default.

    path = Path(path)
    if pol_type is None:
        pol_type = {1: "AA+BB", 2: "AABB", 4: "AABBCRCI"}.get(npol, "")
    pol = "AA+BB" if pol_type == "INTEN" else pol_type
    if NPOL.get(pol) != npol:
        raise ConfigError(
            f"{npol} polarisations of type {pol_type!r}: 1 goes with AA+BB or INTEN, 2 with AABB, "
            "4 with AABBCRCI or IQUV"
        )
    pattern = [path] if rows_per_file is None else sorted(path.parent.glob(f"{path.stem}_[0-9]*{path.suffix}"))
    synthesiser = Synthesiser(sky, nbits=nbits, pol=pol)
    for file in pattern or [path.with_name(f"{path.stem}_0001{path.suffix}")]:
        check_free(file, overwrite=overwrite, nbytes=_size(synthesiser))
    check_packing(sky.nchans, synthesiser.nbits)
    writer = PsrfitsWriter(
        path,
        synthesiser.header,
        nbits=synthesiser.nbits,
        npol=npol,
        pol_type=pol_type,
        nsblk=nsblk,
        ascending=ascending,
        rows_per_file=rows_per_file,
    )
    _write(synthesiser, path, writer, threads, memory, progress)
    return tuple(Path(file) for file in writer.paths)


def pulsar_truth(header: Header, pulsar: Pulsar, chan_ok: Bools | None = None) -> dict[str, Any]:
    """Numbers of a pulsar as a search should give them: topocentric, at mid-observation, highest channel.

    Returns
    -------
    dict
        name, period [s], freq [Hz], fdot [Hz/s], accel [m/s2] (each with the orbit), epoch [MJD UTC], dm, snr,
        mean_sigma (mean signal of a channel-sample at mid-band [sigma]), smearing_center [s], scattering_center [s].
    """
    freq, fdot = observed_spin(header, pulsar)
    center = header.fcenter
    signal = pulsar_signal(header, pulsar, chan_ok=chan_ok)
    return {
        "name": pulsar.name,
        "period": 1.0 / freq,
        "freq": freq,
        "fdot": fdot,
        "accel": observed_accel(header, pulsar),
        "epoch": header.tmid,
        "dm": pulsar.dm,
        "snr": pulsar.snr,
        "mean_sigma": pulsar.snr / signal.per_amplitude,
        "smearing_center": _smearing(header, pulsar.dm),
        "scattering_center": pulsar.scattering * (center / 1000.0) ** -4.0,
    }


def burst_truth(header: Header, burst: Burst, chan_ok: Bools | None = None) -> dict[str, Any]:
    """Numbers of a burst as a search should give them.

    Returns
    -------
    dict
        name, time [s], mjd (both at the highest channel), dm, width [s], snr, fluence (in one channel at mid-band
        [sigma samples]), smearing_center [s], scattering_center [s].
    """
    signal = burst_signal(header, burst, chan_ok=chan_ok)
    return {
        "name": burst.name,
        "time": burst.time,
        "mjd": header.tstart + burst.time / DAY,
        "dm": burst.dm,
        "width": burst.width,
        "snr": burst.snr,
        "fluence": burst.snr / signal.per_amplitude * signal.span / header.tsamp,
        "smearing_center": _smearing(header, burst.dm),
        "scattering_center": burst.scattering * (header.fcenter / 1000.0) ** -4.0,
    }


def _smearing(header: Header, dm: float) -> float:
    return float(smearing(header, dm, np.array([header.fcenter]))[0])


def to_toml(values: Mapping[str, Any]) -> str:
    """Write plain values as TOML: scalars first, then each list of tables as [[name]]; None is left out."""
    lines: list[str] = []
    tables: list[tuple[str, Mapping[str, Any]]] = []
    for key, value in values.items():
        if value is None:
            continue
        if isinstance(value, Sequence) and not isinstance(value, str) and value and isinstance(value[0], Mapping):
            tables.extend((key, item) for item in value)
        else:
            lines.append(f"{key} = {toml_value(value)}")
    for key, item in tables:
        lines += ["", f"[[{key}]]", *(f"{k} = {toml_value(v)}" for k, v in item.items() if v is not None)]
    return "\n".join(lines) + "\n"


def truth_of(header: Header, listed: Sky | Injection, chan_ok: Bools) -> list[dict[str, Any]]:
    """The truth of a file: one entry for each pulsar and burst, in the words of a search's result."""
    return [
        *({"kind": "pulsar", **pulsar_truth(header, pulsar, chan_ok)} for pulsar in listed.pulsars),
        *({"kind": "burst", **burst_truth(header, burst, chan_ok)} for burst in listed.bursts),
    ]


def truth(sky: Sky) -> list[dict[str, Any]]:
    """The truth of a sky, as :func:`truth_of` tells it."""
    return truth_of(sky.header, sky, alive(sky.header, sky.rfi))


def truth_path(path: str | Path) -> Path:
    """Path of the truth of a synthetic file: ``a.fil`` → ``a.truth.toml``."""
    path = Path(path)
    return path.with_name(path.stem + ".truth.toml")


def write_truth(path: Path, values: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Path:
    """Write `values` (keys of a `Sky` or an `Injection`) and the [[truth]] entries; `path` is replaced whole.

    The file can be given to `load_sky` or `load_injection` again, which pass over [[truth]].
    """
    text = "# What was put into the file of the same name; makes it again as it is.\n"
    text += to_toml({**values, "truth": list(entries)})
    write_whole(path, text)
    return path
