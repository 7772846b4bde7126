"""Subbands at one DM, made on the way of samples that are read for something else, and folded without them."""

import os
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path

import numpy as np

from pulsar.constants import KDM
from pulsar.data.observation import joined_stretches, left_out
from pulsar.data.source import Derived, Relay, SampleSource, inside
from pulsar.errors import PulsarError, refused
from pulsar_kernels.arrays import Int8s, Int16s, Ints
from pulsar_kernels.injections import add_band


class Subbands(Derived):
    """Sums of neighbouring channels at a DM, as samples of a few wide channels (a `pulsar.data.source.SampleSource`).

    What is folded at that DM, or so near that no band is smeared by it, needs no others.

    Parameters
    ----------
    source : SampleSource
        Whose samples are added.
    nbands : int
        No more than there are channels.
    folder : Path, optional
        Of an unnamed file that holds them, where memory should not.

    Raises
    ------
    PulsarError
        There is no room for that file.
    """

    def __init__(self, source: SampleSource, dm: float, nbands: int, folder: Path | None = None) -> None:
        super().__init__(source)
        self.dm = dm
        self._folder = folder
        self._cuts = np.linspace(0, source.freqs.size, nbands + 1).round().astype(np.int64)
        widths = np.diff(self._cuts)
        inverse = source.freqs**-2.0
        means = np.add.reduceat(inverse, self._cuts[:-1]) / widths
        self.freqs = np.ascontiguousarray(means**-0.5)
        late = KDM * dm / source.tsamp * (inverse - np.repeat(means, widths))
        #: Band of each channel, and samples by which it is earlier there.
        self.lanes: Ints = np.repeat(np.arange(nbands, dtype=np.int64), widths)
        self.delays: Ints = np.rint(late).astype(np.int64)
        self._scales = (1.0 / np.sqrt(widths)).astype(np.float32)
        self.sums: Int16s = _zeros((nbands, source.nsamps), folder)
        self._locks = [threading.Lock() for _ in range(nbands)]
        self._done: list[tuple[int, int]] = []
        self._guard = threading.Lock()

    @staticmethod
    def nbytes(nsamps: int, nbands: int) -> int:
        """Size of the sums."""
        return 2 * nbands * nsamps

    def add(self, start: int, data: Int8s) -> None:
        """Add cleaned samples, shape (nchans, n), from sample `start` on; those that came before are left out.

        Safe to call from several threads at once.
        """
        for low, high in self._new(max(start, 0), min(start + data.shape[1], self.nsamps)):
            part = data[:, low - start : high - start]
            for b, lock in enumerate(self._locks):
                rows = slice(self._cuts[b], self._cuts[b + 1])
                with lock:
                    add_band(part[rows], low, self.delays[rows], self.sums[b])

    def _new(self, low: int, high: int) -> list[tuple[int, int]]:
        """Parts of a stretch that have not been added yet; they count as added from now on."""
        with self._guard:
            parts = left_out(self._done, low, high)
            self._done = joined_stretches([*self._done, *parts])
        return parts

    def copy(self) -> "Subbands":
        """The same, to which something else can be added."""
        duplicate = copy(self)
        duplicate.sums = _zeros((len(self.sums), self.nsamps), self._folder)
        duplicate.sums[:] = self.sums
        return duplicate

    def fill(self, copies: Sequence["Subbands"], threads: int) -> None:
        """Read all samples, for these subbands and for others."""
        # Samples read at once, in all threads [bytes].
        size = max((64 << 20) // self.source.freqs.size // max(threads, 1), 1)

        def part(start: int) -> None:
            data = np.empty((self.source.freqs.size, min(size, self.nsamps - start)), dtype=np.int8)
            self.source.read_into(start, data)
            for subbands in (self, *copies):
                subbands.add(start, data)

        with ThreadPoolExecutor(max(threads, 1), thread_name_prefix="subbands") as pool:
            list(pool.map(part, range(0, self.nsamps, size)))

    @property
    def is_whole(self) -> bool:
        """True if all samples have been added."""
        return self._done == [(0, self.nsamps)]

    def read_into(self, start: int, out: Int8s) -> None:
        """As of any source; `out` has the shape (nbands, n)."""
        low, high, there = inside(start, out, self.nsamps)
        levels = self.sums[:, low:high] * self._scales[:, None]
        np.clip(np.rint(levels, out=levels), -127, 127, out=levels)
        there[:] = levels


def _zeros(shape: tuple[int, int], folder: Path | None) -> Int16s:
    """Sums of nothing, in memory or in an unnamed file."""
    if folder is None:
        return np.zeros(shape, dtype=np.int16)
    with (
        refused(PulsarError, f"{folder}: no scratch file for subbands", "give run.scratch"),
        tempfile.TemporaryFile(dir=folder) as file,
    ):
        # All of its room now: a disk that is full later would end the process without a word.
        os.posix_fallocate(file.fileno(), 0, 2 * shape[0] * shape[1])
        return np.memmap(file, dtype=np.int16, mode="r+", shape=shape)


class SubbandRelay(Relay):
    """A source of which subbands are made on the way, whoever reads it.

    `subbands`: of that source.
    """

    def __init__(self, source: SampleSource, subbands: Sequence[Subbands]) -> None:
        super().__init__(source)
        self._subbands = subbands

    def _meet(self, start: int, data: Int8s) -> None:
        for subbands in self._subbands:
            subbands.add(start, data)
