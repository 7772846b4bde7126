"""Cases of the search for interference: sums of the first pass, lines within a block, votes, growth, tones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.bench.case import Baseline, Case, Size, Work

#: Bands of the sums, samples of a point, power that counts as a line.
BANDS, FACTOR, LINE = 16, 16, 5.0
#: Lags of the votes.
LAGS = (1, 2, 3, 4, 6, 9, 13, 19, 28, 42, 63, 94)


def _codes(size: Size, dtype: str) -> NDArray[Any]:
    rng = np.random.default_rng(1)
    return np.clip(rng.normal(96.0, 16.0, (size.nchans, size.nsamps)), 0, 255).astype(np.uint8).astype(dtype)


def band_sums(size: Size, dtype: str = "uint8") -> Work:
    """Samples added to the sums of 16 bands."""
    from pulsar_kernels.moments import add_bands

    data = _codes(size, dtype)
    bands = np.arange(size.nchans) * BANDS // size.nchans
    out = np.zeros((BANDS, size.nsamps), dtype=np.float32)

    def run() -> None:
        out[:] = 0.0
        add_bands(data, bands, 0, out)

    def plain() -> NDArray[Any]:
        return np.stack([data[bands == b].sum(axis=0, dtype=np.float32) for b in range(BANDS)])

    return Work(run, lambda: out, data.size, data.nbytes + out.nbytes, adds=float(data.size), baseline=Baseline(plain))


def decimate(size: Size, dtype: str = "uint8") -> Work:
    """Sums of 16 samples."""
    from pulsar_kernels import moments

    data = _codes(size, dtype)
    out = np.zeros((size.nchans, size.nsamps // FACTOR), dtype=np.float32)

    def run() -> None:
        out[:] = 0.0
        moments.decimate(data, FACTOR, 0, out)

    def plain() -> NDArray[Any]:
        whole = data[:, : out.shape[1] * FACTOR]
        return np.asarray(whole.reshape(size.nchans, -1, FACTOR).sum(axis=2, dtype=np.float32))

    return Work(run, lambda: out, data.size, data.nbytes + out.nbytes, adds=float(data.size), baseline=Baseline(plain))


def lines(size: Size) -> Work:
    """Spectra of blocks of `nsamps` points, lines counted over the channels, and the strongest power of each."""
    from pulsar_kernels.spectra import line_powers, passes, strongest

    nbins = size.nsamps // 2 + 1
    points = np.random.default_rng(1).normal(2000.0, 40.0, (size.nchans, size.nsamps)).astype(np.float32)
    powers = np.zeros((-(-size.nchans // 32), nbins, 32), dtype=np.float32)
    scale = np.full(size.nchans, 1.0 / 40.0, dtype=np.float32)
    counts = np.zeros(nbins, dtype=np.int64)
    variance = np.zeros(size.nchans)
    surplus = np.zeros(size.nchans, dtype=np.float32)
    where = np.zeros(size.nchans, dtype=np.int64)

    def run() -> None:
        line_powers(points, scale, *passes(size.nsamps), 5, LINE, powers, variance, counts)
        strongest(powers, 5, counts <= size.nchans // 10, surplus, where)

    def plain() -> NDArray[Any]:
        used = np.abs(np.fft.rfft(points, axis=1)[:, 5:]) ** 2
        mean = used.mean(axis=1, keepdims=True)
        common = (used > LINE * mean).sum(axis=0) > size.nchans // 10
        some = used[:, ~common]
        below = some < 5.0 * some.mean(axis=1, keepdims=True)
        kept = 1.0 - 5.0 * np.exp(-5.0) / (1.0 - np.exp(-5.0))
        noise = np.where(below, some, 0.0).sum(axis=1) / below.sum(axis=1) / kept
        return np.asarray(some.max(axis=1) / noise - np.log(some.shape[1]))

    return Work(
        run,
        lambda: surplus,
        points.size,
        2.0 * points.nbytes,
        # Of the transform; and of the powers, their sums and comparisons.
        flops=points.size * (2.5 * float(np.log2(size.nsamps)) + 8.0),
        baseline=Baseline(plain, rtol=1e-3, atol=1e-2),
    )


def votes(size: Size) -> Work:
    """Votes of neighbours (IQRM) over 12 lags, `nsamps` blocks."""
    from pulsar_kernels.interference import iqrm

    rng = np.random.default_rng(1)
    values = rng.normal(size=(size.nsamps, size.nchans))
    values[:, :: max(size.nchans // 20, 1)] += 30.0
    lags = np.array([lag for lag in LAGS if lag < size.nchans // 2], dtype=np.int64)
    out = np.zeros(values.shape, dtype=np.bool_)

    def plain() -> NDArray[Any]:
        done = []
        for sign in (1.0, -1.0):
            got = np.zeros((2 * len(lags), *values.shape), dtype=bool)
            cast = np.zeros((2 * len(lags), *values.shape), dtype=bool)
            for k, lag in enumerate(s * int(lag) for lag in lags for s in (1, -1)):
                moved = np.full(values.shape, np.nan)
                moved[:, max(lag, 0) : size.nchans + min(lag, 0)] = values[:, max(-lag, 0) : size.nchans - max(lag, 0)]
                d = sign * (values - moved)
                low, mid, high = np.nanquantile(d, [0.25, 0.5, 0.75], axis=1, keepdims=True)
                got[k] = d - mid > 4.0 * (high - low) / 1.349
                cast[k] = np.roll(got[k], -lag, axis=1)
            received, given = got.sum(axis=0), cast.sum(axis=0)
            outlier = np.zeros(values.shape, dtype=bool)
            for k, lag in enumerate(s * int(lag) for lag in lags for s in (1, -1)):
                outlier |= got[k] & (np.roll(given, lag, axis=1) < received)
            done.append(outlier)
        return np.asarray(done[0] | done[1])

    return Work(
        lambda: iqrm(values, lags, 4.0, out),
        lambda: out,
        values.size,
        float(len(lags)) * values.nbytes,
        baseline=Baseline(plain),
    )


def growth(size: Size) -> Work:
    """Flags closed and extended along rows."""
    from pulsar_kernels.interference import extend

    flags = np.random.default_rng(1).random((size.nchans, size.nsamps)) < 0.3
    out = np.zeros(flags.shape, dtype=np.bool_)
    return Work(lambda: extend(flags, 0.2, out), lambda: out, flags.size, 2.0 * flags.nbytes, adds=5.0 * flags.size)


def tone(size: Size) -> Work:
    """A narrow line taken out of one series."""
    from pulsar_kernels.longwave import remove_tone

    n, half, freq = size.nsamps, size.nsamps // 50, 0.0712
    x = np.random.default_rng(1).normal(size=n).astype(np.float32)
    out = x.copy()
    work = np.empty((3, n + 1))

    def run() -> None:
        out[:] = x
        remove_tone(out, freq, half, work)

    def plain() -> NDArray[Any]:
        turned = np.exp(-2j * np.pi * freq * np.arange(n))
        sums = np.append(0.0, np.cumsum(x * turned))
        lo, hi = np.maximum(np.arange(n) - half, 0), np.minimum(np.arange(n) + half + 1, n)
        return np.asarray(x - 2.0 * np.real((sums[hi] - sums[lo]) / (hi - lo) / turned))

    return Work(
        run,
        lambda: out,
        n,
        float(x.nbytes * 3 + 2 * work.nbytes),
        flops=30.0 * n,
        baseline=Baseline(plain, rtol=1e-4, atol=1e-4),
    )


CASES = (
    Case(
        "band-sums",
        "uint8 -> float32",
        "16 bands of {nchans} channels",
        band_sums,
        Size(1 << 14, 1024),
        Size(333, 32),
        "adds L1",
        also=("uint16", "float32"),
    ),
    Case(
        "decimate",
        "uint8 -> float32",
        "sums of 16 samples, {nchans} channels",
        decimate,
        Size(1 << 14, 1024),
        Size(333, 5),
        "adds L1",
        also=("uint16", "float32"),
    ),
    Case(
        "block-lines",
        "float32 -> float32",
        "spectra of {nsamps} points, {nchans} channels",
        lines,
        Size(300, 1024),
        Size(60, 40),
        "floats",
    ),
    Case(
        "votes",
        "float64 -> bool",
        "IQRM, {nsamps} blocks of {nchans} channels",
        votes,
        Size(16, 1024),
        Size(3, 200),
        "floats",
        least=Size(1, 16),
    ),
    Case(
        "growth",
        "bool -> bool",
        "flags of {nsamps} blocks, {nchans} channels",
        growth,
        Size(512, 1024),
        Size(33, 5),
        "floats",
    ),
    Case("tone", "float32 -> float32", "a line out of {nsamps} samples", tone, Size(1 << 16), Size(1000), "floats"),
)
