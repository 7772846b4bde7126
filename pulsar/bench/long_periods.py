"""Cases of the folding search: preparing a series, the fast folding transform, and the boxes of all profiles."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.bench.case import Baseline, Case, Size, Work

BINS = 250
WIDTHS = (1, 2, 3, 4, 6, 9, 13, 19, 28, 42)


def _samples(n: int, dtype: str = "int16") -> NDArray[Any]:
    """White noise of 8 units, and what is read beyond its end."""
    out = np.zeros(n + 64, dtype=dtype)
    out[:n] = np.round(np.random.default_rng(1).normal(0.0, 8.0, n))
    return out


def _transform(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    m = len(rows)
    if m == 1:
        return rows
    half = m // 2
    head, tail = _transform(rows[:half]), _transform(rows[half:])
    s = np.arange(m)
    h = ((half - 1) / (m - 1) * s + 0.5).astype(np.int64)
    t = ((m - half - 1) / (m - 1) * s + 0.5).astype(np.int64)
    columns = (np.arange(rows.shape[1]) + (s - t)[:, None]) % rows.shape[1]
    return np.asarray(head[h] + np.take_along_axis(tail[t], columns, axis=1))


def fold_transform(size: Size) -> Work:
    """All sums of rows, without their boxes."""
    from pulsar_kernels import ffa

    rows = size.nsamps // BINS
    n = rows * BINS
    data = _samples(n)
    work = np.zeros(ffa.work_size(n, BINS), dtype=np.int16)
    out = np.zeros((rows, BINS), dtype=np.int16)

    def plain() -> NDArray[Any]:
        return _transform(data[:n].reshape(rows, BINS).astype(np.int64))

    return Work(
        lambda: ffa.transform(data, rows, BINS, work, out),
        lambda: out,
        n,
        4.0 * n,
        adds=n * np.log2(rows),
        baseline=Baseline(plain),
    )


def fold_boxes(size: Size) -> Work:
    """Transform and the best of all boxes at every period."""
    from pulsar_kernels import ffa

    rows = size.nsamps // BINS
    n = rows * BINS
    data = _samples(n)
    table = np.array([[BINS, 0, rows, 0]], dtype=np.int64)
    widths = np.array(WIDTHS, dtype=np.int64)
    noise = np.full(len(widths), 8.0)
    work = np.zeros(ffa.work_size(n, BINS), dtype=np.int16)
    tile = np.zeros(ffa.tile_size(BINS, int(widths[-1])), dtype=np.int32)
    best = np.zeros(rows + 16, dtype=np.float32)
    which = np.zeros(rows + 16, dtype=np.uint8)
    none = np.zeros((0, 0), dtype=np.float32)

    def plain() -> NDArray[Any]:
        profiles = _transform(data[:n].reshape(rows, BINS).astype(np.int64)).astype(np.float64)
        sums = np.cumsum(np.concatenate((np.zeros((rows, 1)), profiles, profiles), axis=1), axis=1)
        top = np.full(rows, -np.inf)
        for w in WIDTHS:
            box = np.max(sums[:, w : w + BINS] - sums[:, :BINS], axis=1) - w / BINS * sums[:, BINS]
            top = np.maximum(top, box / (8.0 * np.sqrt(rows * w * (1 - w / BINS))))
        return top

    return Work(
        lambda: ffa.search_periods(data, n, table, widths, noise, -np.inf, work, tile, best, which, none),
        lambda: best[:rows],
        n,
        2.0 * n,
        # A running sum, and two operations for every box; they are 32 bits wide, as much as two of 16.
        adds=n * (np.log2(rows) + 2.0 * (1 + 2 * len(WIDTHS))),
        baseline=Baseline(plain, rtol=1e-4, atol=1e-4),
    )


def flat_series(size: Size, dtype: str = "int16") -> Work:
    """Sums of 4 samples of a series minus a cubic, and of 10 of these as 16-bit integers."""
    from pulsar_kernels import longwave

    n = size.nsamps // 40 * 40
    series = _samples(n, dtype)[:n]
    trend = np.array([1.0, -3.0, 2.0, 0.5])
    gaps = np.zeros((0, 2), dtype=np.int64)
    raw = np.zeros(n // 4, dtype=np.float32)
    sums = np.zeros(n // 4 + 1, dtype=np.int32)
    out = np.zeros(n // 40, dtype=np.int16)

    def run() -> None:
        longwave.sum_samples(series, trend, gaps, 2, raw)
        longwave.running_sums(raw, 4.0, sums)
        longwave.sum_groups(sums, 10, 2.0, out)

    def plain() -> NDArray[Any]:
        x = np.polynomial.polynomial.polyval((2.0 * np.arange(n) + 1.0) / n - 1.0, trend)
        return np.asarray(8.0 * (series - x).reshape(-1, 40).sum(axis=1))

    return Work(
        run,
        lambda: out,
        n,
        series.nbytes + 4.0 * 2 * (n // 4) * 2 + 2.0 * (n // 40),
        flops=3.0 * n,
        baseline=Baseline(plain, atol=40.0),
    )


CASES = (
    Case(
        "flat-series",
        "int16 -> int16",
        "sums of 4, then of 10, of {nsamps} samples",
        flat_series,
        Size(1 << 20),
        Size(4000),
        "floats",
        also=("float32",),
    ),
    Case(
        "ffa",
        "int16 -> int16",
        "fast folding, {nsamps} samples, 250 bins",
        fold_transform,
        Size(1 << 18),
        Size(4000),
        "adds L1",
    ),
    Case(
        "ffa-boxes",
        "int16 -> float32",
        "the same and boxes of 10 widths",
        fold_boxes,
        Size(1 << 18),
        Size(4000),
        "adds L1",
    ),
)
