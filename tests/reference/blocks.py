"""Data in memory dedispersed by the engines of a run, one tile after the other."""

import numpy as np

from pulsar.data.series import DMTime, aligned
from pulsar.dedisp.engine import make_engines, tile_size


def dedisperse_block(data, freqs, dms, tsamp, *, fref=None, method="tree"):
    """Series as long as the data, int8 of shape (nchans, nsamps); what lies behind their end counts as 0."""
    freqs = np.asarray(freqs, dtype=np.float64)
    dms = np.atleast_1d(np.asarray(dms, dtype=np.float64))
    order = np.argsort(dms, kind="stable")
    nsamps = data.shape[1]
    tile = tile_size(nsamps)
    engines = make_engines(freqs, float(freqs[0]) if fref is None else fref, dms[order], tsamp, nsamps, method)
    before = max(e.before for e in engines)
    padded = np.zeros((len(freqs), before + nsamps + tile + max(e.after for e in engines)), np.int8)
    padded[:, before : before + nsamps] = data
    ascending = np.empty((dms.size, nsamps), np.int16)
    work = aligned(max(e.work for e in engines), np.int8)
    for t in range(0, nsamps, tile):
        for engine in engines:
            engine.run(padded, before + t, work, ascending, t, min(tile, nsamps - t))
    out = np.empty_like(ascending)
    out[order] = ascending
    return DMTime(out, dms, tsamp)
