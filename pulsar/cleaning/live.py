"""Which cleaned samples hold data: parts of an observation in which the same channels are live."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.mask import Mask
from pulsar.data.observation import Observation
from pulsar.data.source import SampleSource


class MaskedSource(SampleSource, Protocol):
    """Cleaned samples of which it is known what is masked: a `CleanedSource`, or what is read through it."""

    @property
    def obs(self) -> Observation: ...
    @property
    def mask(self) -> Mask: ...
    @property
    def nchans(self) -> int: ...


@dataclass(frozen=True)
class Live:
    """Parts of an observation, and which channels are live in each.

    Attributes
    ----------
    edges : ndarray of int64, shape (nparts + 1,)
        Edges of the parts [samples], ascending.
    blocks : ndarray of int64, shape (nparts,)
        Row of `bad` that tells of each part; -1 where all is clipped or missing.
    bad : ndarray of bool, shape (nblocks, nchans live)
        Channels that are masked.
    """

    edges: NDArray[np.int64]
    blocks: NDArray[np.int64]
    bad: NDArray[np.bool_]

    def cut(self, at: NDArray[np.int64]) -> "Live":
        """The same in parts that do not go over some samples."""
        edges = np.unique(np.concatenate([self.edges, at]))
        edges = edges[(edges >= self.edges[0]) & (edges <= self.edges[-1])]
        part = np.searchsorted(self.edges, edges[:-1], side="right") - 1
        return Live(edges, self.blocks[part], self.bad)


def live_parts(source: MaskedSource) -> Live:
    """What is live of cleaned samples.

    Parameters
    ----------
    source : MaskedSource
    """
    mask = source.mask
    bad = np.ascontiguousarray(mask.bad[:, np.flatnonzero(mask.chan_ok)])
    gaps = [(gap.start, gap.start + gap.nsamps) for gap in source.obs.gaps]
    dead = np.array([*mask.clipped.tolist(), *gaps], dtype=np.int64).reshape(-1, 2).clip(0, source.nsamps)
    whole = np.asarray(mask.edges, dtype=np.int64)
    edges = np.unique(np.concatenate([whole, dead.ravel()]))
    middle = 0.5 * (edges[:-1] + edges[1:])
    blocks = np.searchsorted(whole, middle, side="right").astype(np.int64) - 1
    for a, b in dead:
        blocks[(middle > a) & (middle < b)] = -1
    return Live(edges, blocks, bad)
