"""Cases of the single pulse search: moments of cells, the scan, and the linking of events."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.bench.case import Baseline, Case, Size, Work, multiple_of
from pulsar.constants import KDM

CELL = 32
NLEVELS = 11


def _series(n: int, dtype: str) -> NDArray[Any]:
    series = np.random.default_rng(1).normal(0.0, 300.0, n)
    series[n // 3 : n // 3 + 40] += 900.0
    return np.asarray(np.rint(series), dtype=dtype)


def moments(size: Size, dtype: str = "int16") -> Work:
    """Mean and variance of cells of 32 samples."""
    from pulsar_kernels import cells

    series = _series(size.nsamps, dtype)
    mean, var, count = np.zeros((3, size.nsamps // CELL), dtype=np.float32)

    def plain() -> NDArray[Any]:
        parts = series.reshape(-1, CELL)
        return np.stack([parts.mean(axis=1), parts.var(axis=1, ddof=1)])

    return Work(
        lambda: cells.cell_moments(series, mean, var, count),
        lambda: np.stack([mean, var]),
        size.nsamps,
        series.nbytes + 12.0 * mean.size,
        # To float, minus the origin; a sum, a square and its sum.
        flops=5.0 * size.nsamps,
        baseline=Baseline(plain, rtol=1e-4, atol=1e-3),
    )


def scan(size: Size, dtype: str = "int16") -> Work:
    """Boxcars of 1 to 8 samples, and 5 to 8 sums of 2, 4 ... 1024, of whitened samples against thresholds."""
    from pulsar_kernels import matched

    n = size.nsamps
    series = _series(n, dtype)
    ncells = n // CELL
    base = np.zeros(ncells, dtype=np.float32)
    scale = np.full(ncells, 1.0 / 300.0, dtype=np.float32)
    white = series / 300.0
    cells = np.zeros(ncells + 64, dtype=np.float32)
    cells[:ncells] = white.reshape(-1, CELL).sum(axis=1)
    nlevels = min(NLEVELS, int(np.log2(n)) - 5)
    widths = (np.arange(1, 9)[None, :] << np.arange(nlevels)[:, None]).astype(np.float64)
    limits = 5.5 * np.sqrt(widths)
    limits[1:, :4] = np.inf
    runs = np.zeros((0, 2), dtype=np.int64)
    work = np.zeros(2 * ncells + 256, dtype=np.int16)
    found = np.zeros((4096, 5))
    count = [0]

    def run() -> None:
        count[0] = matched.scan(series, base, scale, cells, runs, limits, work, found)

    def best() -> NDArray[Any]:
        return np.array([np.max(found[: count[0], 0])])

    def plain() -> NDArray[Any]:
        total = np.concatenate([[0.0], np.cumsum(white)])
        largest = 0.0
        for level in range(nlevels):
            at = total[:: 1 << level]
            for k in range(0 if level == 0 else 4, 8):
                largest = max(largest, float(np.max(at[k + 1 :] - at[: -k - 1])) / limits[level, k])
        return np.array([largest])

    return Work(
        run,
        best,
        n,
        float(series.nbytes),
        # Of 16 bit: 7 additions and 8 comparisons at full time resolution, 7 and 4 at all others together, 1 for pairs.
        adds=27.0 * n,
        baseline=Baseline(plain, rtol=0.01),
    )


def link(size: Size) -> Work:
    """Events of bow ties at `ndms` trial DMs, `nsamps` in all, made into groups."""
    from pulsar_kernels import clusters

    rng = np.random.default_rng(1)
    dms = np.arange(size.ndms, dtype=np.float64)
    e_lo = KDM * (1000.0**-2.0 - 1500.0**-2.0)
    each = size.nsamps // size.ndms
    row = np.repeat(np.arange(size.ndms, dtype=np.int64), each)
    pulse = np.tile(np.arange(each), size.ndms)
    d = dms[row] - 0.5 * size.ndms
    smearing = np.abs(d) * e_lo
    time = 5.0 * pulse - 0.5 * d * e_lo
    width = 0.002 + smearing
    strength = 400.0 * (1.0 + smearing / 0.002) ** -0.5 * rng.uniform(0.98, 1.02, row.size)
    sort = np.lexsort((time - 0.5 * width, row))
    row, time, width, strength = row[sort], time[sort], width[sort], strength[sort]
    first = np.searchsorted(row, np.arange(size.ndms + 1)).astype(np.int64)
    order = np.argsort(-strength, kind="stable")
    events = clusters.Events(row, dms, np.full(size.ndms, 1e-4), time, width, strength)
    parent = np.zeros(row.size, dtype=np.int64)

    def run() -> None:
        clusters.link(first, events, order, 3, 0.0, e_lo, 1.9, parent)

    return Work(run, lambda: parent, row.size, float(row.size * 5 * 8))


CASES = (
    Case(
        "pulse-moments",
        "int16 -> float32",
        "moments of cells, {nsamps} samples",
        moments,
        Size(1 << 20),
        Size(4096),
        "floats",
        also=("float32",),
        expects=multiple_of(CELL),
    ),
    Case(
        "pulse-scan",
        "int16 -> float64",
        "boxcars of 1 to 8192 samples, {nsamps} samples",
        scan,
        Size(1 << 20),
        Size(4096),
        "adds L1",
        also=("float32",),
        expects=multiple_of(CELL),
    ),
    Case(
        "pulse-link",
        "float64 -> int64",
        "{nsamps} events of {ndms} DMs made into pulses",
        link,
        Size(100_000, 1, 10_000),
        Size(400, 1, 40),
        "floats",
        expects=lambda size: "" if size.nsamps >= size.ndms else "--nsamps must be at least --ndms",
    ),
)
