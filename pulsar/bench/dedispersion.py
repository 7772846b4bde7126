"""Cases of dedispersion: the tree and brute force, 1000-1500 MHz, 64 us."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.bench.case import Baseline, Case, Size, Work
from pulsar.dedisp.engine import make_engines, samples_per_dm, tile_size
from pulsar.dedisp.stream import Workspaces
from pulsar.dedisp.tree import build_tree

TSAMP = 64e-6
DM_STEP = 0.5
#: DMs that plain numpy does, of all.
PLAIN_DMS = 4


def _dedisperse(size: Size, method: str) -> Work:
    width = 500.0 / size.nchans
    freqs: NDArray[np.float64] = 1500.0 - width * (np.arange(size.nchans, dtype=np.float64) + 0.5)
    fref = float(freqs[0])
    dms: NDArray[np.float64] = DM_STEP * np.arange(size.ndms, dtype=np.float64)
    tile = tile_size(size.nsamps)
    engines = make_engines(freqs, fref, dms, TSAMP, size.nsamps, method)
    before, after = max(e.before for e in engines), max(e.after for e in engines)
    whole = -(-size.nsamps // tile) * tile
    noise = np.random.default_rng(1).normal(0.0, 8.0, (size.nchans, before + whole + after))
    raw = np.clip(np.rint(noise, out=noise), -127, 127, out=noise).astype(np.int8)
    out = np.zeros((size.ndms, size.nsamps), dtype=np.int16)
    spaces = Workspaces(1, max(e.work for e in engines))

    def run() -> None:
        with spaces.one() as work:
            for at in range(0, size.nsamps, tile):
                for engine in engines:
                    engine.run(raw, before + at, work, out, at, min(tile, size.nsamps - at))

    k = samples_per_dm(freqs, fref, TSAMP)
    few = min(PLAIN_DMS, size.ndms)
    # Six times the rms that rounding adds, 0.2 % of the variance in each level.
    atol = 6.0 * 8.0 * float(np.sqrt(0.01 * size.nchans)) if method == "tree" else 0.0
    last = engines[-1]
    if method == "tree":
        # The sum with the delays that the tree gives every channel, but for the rounding of its half sums.
        delays = build_tree(k, dms[last.row : last.row + last.ndms], tile).delays()[-few:]
    else:
        delays = np.rint(np.outer(dms[-few:], k)).astype(np.int64)

    def plain() -> NDArray[Any]:
        sums = np.zeros((few, size.nsamps), dtype=np.int16)
        for row, shifts in zip(sums, delays.tolist(), strict=True):
            for channel, shift in zip(raw, shifts, strict=True):
                row += channel[before + shift : before + shift + size.nsamps]
        return sums

    return Work(
        run,
        lambda: out,
        size.nchans * size.nsamps,
        float(size.nchans * size.nsamps + out.nbytes),
        adds=sum(e.adds for e in engines) * size.nsamps,
        baseline=Baseline(plain, share=few / size.ndms, rows=slice(size.ndms - few, size.ndms), atol=atol),
    )


def tree(size: Size) -> Work:
    """Dedisperse by the integer tree."""
    return _dedisperse(size, "tree")


def brute(size: Size) -> Work:
    """Dedisperse by adding every channel for every DM."""
    return _dedisperse(size, "brute")


CASES = (
    Case(
        "tree",
        "int8 -> int16",
        "{nchans} channels x {ndms} DMs by the tree",
        tree,
        Size(1 << 16, 256, 512),
        Size(96, 16, 20),
        "adds L2",
    ),
    Case(
        "brute",
        "int8 -> int16",
        "{nchans} channels x {ndms} DMs, every channel",
        brute,
        Size(1 << 14, 256, 512),
        Size(96, 16, 20),
        "adds L2",
    ),
)
