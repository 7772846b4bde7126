"""Made-up masks with their statistics, and the bytes of PRESTO's masks, for the tests of mask files and pictures."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.mask import CAUSES, Mask
from pulsar.cleaning.statistics import BlockStatistics
from pulsar.data.header import Header
from pulsar.data.observation import Gap, InputFile


class NoSamples:
    """An observation of which only the header is ever asked for."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.files = (InputFile(Path("a.fil"), 0, header.nsamps, 12345, 1.5e9),)
        self.gaps = (Gap(100, 10, "a row is missing"),)
        self.problems = ("a row is missing",)
        self.remarks = ()
        self.chan_ok = np.ones(header.nchans, dtype=bool)
        self.dtype = np.dtype(np.uint8)


def make_header(nchans: int = 24, nsamps: int = 10_300, **changes: Any) -> Header:
    values = {"tsamp": 1e-3, "fch1": 1500.0, "foff": -1.0, "tstart": 59000.25, "source": "J0000+00", "beam": 3}
    return Header(nchans=nchans, nsamps=nsamps, **(values | changes))


def make_statistics(header: Header, nblocks: int = 10, seed: int = 1) -> BlockStatistics:
    rng = np.random.default_rng(seed)
    shape = (nblocks, header.nchans)
    edges = np.arange(nblocks + 1, dtype=np.int64) * (header.nsamps // nblocks)
    edges[-1] = header.nsamps
    mean, std = 100 + rng.normal(size=shape), 16 + 0.1 * rng.normal(size=shape)
    mean[:, -1] = np.nan
    return BlockStatistics(
        block_nsamps=int(edges[1]),
        edges=edges,
        mean=mean,
        std=std,
        saturated=rng.random(shape).astype(np.float32),
        valid=rng.random(shape),
        skewness=rng.normal(0, 0.1, shape).astype(np.float32),
        kurtosis=rng.normal(0, 0.1, shape).astype(np.float32),
        fourier=rng.normal(0, 0.1, shape).astype(np.float32),
        bins=rng.integers(0, 500, shape).astype(np.int32),
        excess=rng.normal(0, 0.1, shape).astype(np.float32),
        bin_width=0.9765625,
        npoints=1024,
        impulses=np.array([[10, 20], [1000, 1200], [5000, 5001]]),
    )


def make_mask_of(stats: BlockStatistics, seed: int = 2) -> Mask:
    """Some of everything: masked channels, whole blocks, single ones, impulses, a baseline with holes."""
    rng = np.random.default_rng(seed)
    nblocks, nchans = stats.mean.shape
    reasons = [""] * nchans
    for channel, reason in (
        (0, "zapped"),
        (1, "zapped"),
        (min(7, nchans - 2), "noise outlier"),
        (nchans - 1, "constant"),
    ):
        reasons[channel] = reason
    chan_ok = np.array([not r for r in reasons])
    why = np.zeros((nblocks, nchans), dtype=np.uint16)
    single = rng.random(why.shape) < 0.05
    why[single] |= np.uint16(1 << CAUSES.index("noise"))
    why[rng.random(why.shape) < 0.02] |= np.uint16(1 << CAUSES.index("line"))
    why[nblocks // 2] |= np.uint16(1 << CAUSES.index("block"))
    why[:, ~chan_ok] |= 1
    baseline, noise = stats.mean + 0.1, stats.std * 1.01
    return Mask(chan_ok, tuple(reasons), why > 0, stats.edges, baseline, noise, stats.impulses, why)


def presto_bytes(
    bad: NDArray[np.bool_],
    channels: NDArray[np.bool_],
    intervals: NDArray[np.bool_],
    *,
    tstart: float = 59000.25,
    tsamp: float = 1e-3,
    ptsperint: int = 1000,
    lofreq: float = 1477.0,
    dfreq: float = 1.0,
) -> bytes:
    """A mask as rfifind writes it, from arrays in its order of channels (ascending in frequency)."""
    bad = bad | channels[None, :] | intervals[:, None]
    nints, nchans = bad.shape
    counts = bad.sum(axis=1)
    lists = [np.flatnonzero(row) for row, count in zip(bad, counts, strict=True) if 0 < count < nchans]
    head = struct.pack("<6d3i", 10.0, 4.0, tstart, ptsperint * tsamp, lofreq, dfreq, nchans, nints, ptsperint)
    parts = [[channels.sum()], np.flatnonzero(channels), [intervals.sum()], np.flatnonzero(intervals), counts, *lists]
    return head + b"".join(np.asarray(part, dtype="<i4").tobytes() for part in parts)


class Noise:
    """White noise in 24 channels."""

    def __init__(self, nsamps: int, **changes: Any) -> None:
        self.header = make_header(nsamps=nsamps, **changes)
        self.data = np.clip(100 + 12 * np.random.default_rng(4).normal(size=(24, nsamps)), 0, 255).astype(np.uint8)
        self.files, self.gaps, self.problems, self.remarks = (), (), (), ()
        self.chan_ok = np.ones(24, dtype=bool)
        self.dtype = self.data.dtype

    def read_into(self, start: int, out: NDArray[np.uint8]) -> None:
        out[:] = self.data[:, start : start + out.shape[1]]
