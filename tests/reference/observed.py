"""An observation in memory, noise for it, and what cleaning makes of it."""

import functools
from collections.abc import Iterator

import numpy as np

from pulsar.cleaning.mask import make_mask
from pulsar.cleaning.source import cleaned_source
from pulsar.cleaning.statistics import measure
from pulsar.config.model import RfiConfig
from pulsar.data.header import Header
from pulsar.data.observation import Block


class ArrayObservation:
    """An observation held in an array."""

    def __init__(self, data, tsamp=1e-3, gaps=(), fch1=1500.0, foff=-1.0, **header):
        self.data = data
        nchans, nsamps = data.shape
        self.header = Header(nchans=nchans, nsamps=nsamps, tsamp=tsamp, fch1=fch1, foff=foff, tstart=60000.0, **header)
        self.files = ()
        self.gaps = tuple(gaps)
        self.chan_ok = np.ones(nchans, dtype=bool)
        self.dtype = data.dtype
        self.problems = ()
        self.remarks = ()

    def read_into(self, start, out):
        out[:] = self.data[:, start : start + out.shape[1]]

    def read(self, start=0, nsamps=None):
        stop = None if nsamps is None else start + nsamps
        return Block(self.data[:, start:stop], start, self.header)

    def blocks(self, gulp, overlap=0) -> Iterator[Block]:
        for at in range(0, self.header.nsamps, gulp):
            yield self.read(max(0, at - overlap), gulp + min(at, overlap))

    def close(self):
        pass


@functools.lru_cache(maxsize=1)
def _normal(nchans, nsamps, seed):
    """Noise of channels of different level and deviation, in floats; tests of one file often begin with the same."""
    rng = np.random.default_rng(seed)
    sigma = (14 + 5 * np.sin(np.arange(nchans) / 9) + 0.3 * rng.standard_normal(nchans))[:, None]
    level = rng.uniform(80, 120, nchans)[:, None]
    data = level + sigma * rng.standard_normal((nchans, nsamps))
    data.flags.writeable = False
    return data


def noise(nchans=64, nsamps=40_000, dtype=np.uint8, seed=0):
    data = _normal(nchans, nsamps, seed)
    return data.copy() if dtype == np.float32 else np.clip(np.round(data), 0, np.iinfo(dtype).max)


def cleaned(obs, config=None, **kwargs):
    config = config or RfiConfig(block=1.0)
    mask = make_mask(obs, measure(obs, config), config)
    source = cleaned_source(obs, mask, config)
    out = np.empty((source.nchans, obs.header.nsamps), dtype=np.int8)
    source.read_into(0, out)
    return mask, source, out


def bits(data):
    return np.clip(np.round(data), 0, 255).astype(np.uint8)
