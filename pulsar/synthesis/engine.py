"""From a sky to samples: noise, signals and interference, in tiles whose content depends on nothing but their place."""

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pulsar.data.observation import Block
from pulsar.errors import ConfigError
from pulsar.synthesis.interference import Drift, Sources, alive, bandpass
from pulsar.synthesis.model import Sky
from pulsar.synthesis.signal import signals_of
from pulsar_kernels.synth import interleave, normals, quantise, quantise_wrapped, rescale, stream_keys

#: Samples of a tile; with _ROWS channels it stays in a level-2 cache from the first deviate to the last code.
TILE = 8192
_ROWS = 8
# Channels that are put in the order of a file together: a whole cache line of 8-bit samples.
_GROUP = 64

Pol = Literal["AA+BB", "AABB", "AABBCRCI", "IQUV"]
NPOL: dict[str, int] = {"AA+BB": 1, "AABB": 2, "AABBCRCI": 4, "IQUV": 4}

_HALF = np.float32(math.sqrt(0.5))


class Synthesiser:
    """Samples of a sky, piece by piece; safe to use from several threads at once.

    The noise of a channel is one stream of deviates, whatever the depth, the polarisations, the chunks and the
    threads: the same sky at two depths is the same analogue signal quantised twice.

    Parameters
    ----------
    sky : Sky
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

    def __init__(self, sky: Sky, *, nbits: int | None = None, pol: Pol = "AA+BB") -> None:
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
        self._interference = Sources(header, sky.rfi, source_keys[1:], sky.seed, 3000)
        self._drift = Drift(header, sky.drift, int(source_keys[0]))
        self.chan_ok = alive(header, sky.rfi)
        self._signals = signals_of(header, sky.pulsars, sky.bursts, self.chan_ok, sky.seed)
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

    def _common(self, tile: int) -> NDArray[np.float32]:
        """Level and interference that all channels share in a tile [sigma]."""
        row = self._drift.row(tile * TILE, TILE) if self.sky.drift > 0 else np.zeros(TILE, dtype=np.float32)
        self._interference.add_common(row, tile * TILE)
        return row

    def _codes(
        self, data: NDArray[np.float32], common: NDArray[np.float32], start: int, c0: int, out: NDArray[Any]
    ) -> None:
        part = slice(c0, c0 + data.shape[0])
        means, sigmas = self.means[part], self.sigmas[part]
        if self.nbits == 32:
            rescale(data, common, means, sigmas, out)
            top = self.sky.levels(32)[0] + 10.0 * self.sky.levels(32)[1]
        else:
            # int16 holds the highest codes that PSRFITS can.
            top = 2.0 ** (15 if out.dtype == np.int16 else self.nbits) - 1
            if self.sky.overflow == "wrap":
                quantise_wrapped(data, common, means, sigmas, int(top), out)
            else:
                quantise(data, common, means, sigmas, int(top), out)
        self._interference.replace(out, start, c0, top)

    def _tile(self, tile: int, c0: int, c1: int, common: NDArray[np.float32], out: NDArray[Any]) -> None:
        """Fill `out`, shape (npol, c1 - c0, TILE), with codes."""
        start = tile * TILE
        total = np.empty((c1 - c0, TILE), dtype=np.float32)
        scratch = np.empty_like(total)
        normals(self._keys[0][c0:c1], start, total)
        for signal in self._signals:
            signal.add(total, start, self.sky.tsamp, c0)
        self._interference.add(total, start, c0, common=False)
        if self.npol == 1 or self.pol == "IQUV":
            parts = [total]
        else:
            normals(self._keys[1][c0:c1], start, scratch)
            parts = [(total + scratch) * _HALF, (total - scratch) * _HALF]
            common = common * _HALF
        for p, part in enumerate(parts):
            self._interference.jump(part, start, c0)
            self._codes(part, common, start, c0, out[p])
        for p in range(len(parts), self.npol):
            normals(self._keys[p][c0:c1], start, scratch)
            if self.pol == "IQUV":
                self._codes(scratch, np.zeros_like(common), start, c0, out[p])
            else:
                self._cross(scratch, c0, out[p])

    def _cross(self, data: NDArray[np.float32], c0: int, out: NDArray[Any]) -> None:
        """Cross terms: mean 0, signed."""
        values = data * self.sigmas[c0 : c0 + data.shape[0], None]
        values[~self.chan_ok[c0 : c0 + data.shape[0]]] = 0
        if self.nbits == 32:
            out[:] = values
            return
        half = 2 ** (self.nbits - 1)
        codes = np.clip(np.rint(values), -half, max(half - 1, 0)).astype(np.int32)
        out[:] = codes if out.dtype == np.int16 else codes & (2**self.nbits - 1)

    def fill(self, start: int, out: NDArray[Any], pool: ThreadPoolExecutor | None = None) -> None:
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

    def chunks(self, *, threads: int = 1, memory: int = 128 * 2**20) -> Iterator[NDArray[Any]]:
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

            def make(number: int) -> NDArray[Any]:
                part = buffers[number % 2][:, :, : min(size, nsamps - starts[number])]
                self.fill(starts[number], part, pool)
                return part

            pending: Future[NDArray[Any]] = ahead.submit(make, 0)
            for number in range(len(starts)):
                part = pending.result()
                if number + 1 < len(starts):
                    pending = ahead.submit(make, number + 1)
                yield part


def make(sky: Sky, *, nbits: int | None = None, threads: int = 1) -> Block:
    """Make a whole observation in memory.

    Parameters
    ----------
    sky : Sky
    nbits : int, optional
        In place of the depth of the sky.
    threads : int

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
