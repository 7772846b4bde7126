"""Cases of the acceleration search: the plane of frequency and drift, and its harmonic sums."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.bench.case import Baseline, Case, Size, Work
from pulsar.searches.amplitudes import PAD

#: Amplitudes of a block; drifts in a row, from -208 bins on; harmonics.
N = 1024
GROUPS = 13
CENTRE = 104
NHARM = 8
#: Bins at either end of a block that are of no use.
EDGE = 116
#: Samples of the series of an orbit in one of its results.
RATIO = 4
#: Powers are counted in steps of 1 / SCALE.
SCALE = 6.0


def plane(size: Size) -> Work:
    """Powers at half bins and 208 drifts, as bytes, by correlation of blocks of amplitudes."""
    from pulsar_kernels import correlate

    nblocks = max(size.nsamps // 2 // (N - 2 * EDGE), 1)
    valid = N - 2 * EDGE
    parts = np.random.default_rng(1).standard_normal((2, nblocks * valid + 2 * PAD), dtype=np.float32)
    real, imag = parts * np.float32(np.sqrt(0.5))
    block = correlate.make_block(N, 1.0, 2.0)
    start = correlate.first_phase(N, -2.0 * CENTRE, 0.0)
    bend = correlate.first_phase(N, 0.0, 0.0)
    work = np.zeros(correlate.work_floats(N), dtype=np.float32)
    staged = np.zeros(correlate.staged_bytes(N), dtype=np.uint8)
    short = np.zeros((16, 2, N), dtype=np.float32)
    rows = 2 * valid * 16 * GROUPS
    out = np.zeros((nblocks, rows), dtype=np.uint8)

    def run() -> None:
        for lo in range(0, nblocks, 16):
            count = min(16, nblocks - lo)
            first = lo * valid - EDGE
            correlate.short_series(real, imag, PAD, first, valid, block, float(np.sqrt(SCALE)), work, short[:count])
            for i in range(count):
                correlate.correlate(
                    short[i], start, bend, block, GROUPS, EDGE, EDGE + valid, work, staged, out[lo + i], 0
                )

    share = min(4, nblocks)

    def plain() -> NDArray[Any]:
        found = np.zeros((share, 2 * valid, 16 * GROUPS))
        z = 2.0 * (np.arange(16 * GROUPS) - CENTRE)
        u = np.arange(N) / N - 0.5
        wide = np.zeros((2, nblocks * valid + 2 * PAD + 2 * EDGE), dtype=np.float32)
        wide[0, EDGE:-EDGE], wide[1, EDGE:-EDGE] = real, imag
        for b in range(share):
            at = PAD + b * valid
            series = np.fft.ifft(wide[0, at : at + N] + 1j * wide[1, at : at + N])
            for half in (0, 1):
                phase = np.exp(-1j * np.pi * (z[:, None] * u**2 + half * u))
                power = np.abs(np.fft.fft(series * phase, axis=1)) ** 2
                found[b, half::2] = SCALE * power[:, EDGE : EDGE + valid].T
        return np.asarray(np.minimum(np.floor(found + 0.5), 255.0)).reshape(share, rows)

    points = 2.0 * N * 16 * GROUPS * nblocks
    return Work(
        run,
        lambda: out,
        size.nsamps,
        float(out.nbytes + parts.nbytes),
        # A transform of N for every drift, the phase on the way in, the power on the way out.
        flops=points * (5.0 * np.log2(N) + 6.0 + 3.0),
        baseline=Baseline(plain, share / nblocks, slice(0, share), atol=1.0),
    )


def drift_sums(size: Size) -> Work:
    """Sums of 1, 2, 4 and 8 harmonics over a plane of bytes, and what exceeds the thresholds."""
    from pulsar_kernels import correlate, drifts

    nrows = size.nsamps
    pitch = 16 * GROUPS
    cells = np.zeros((4, nrows // drifts.CELL + 1, (pitch + drifts.WIDE) // drifts.CELL), dtype=np.int32)
    plane = np.zeros(nrows * pitch + 2 * drifts.GUARD, dtype=np.uint8)
    rng = np.random.default_rng(1)
    tile = np.minimum(rng.exponential(SCALE, 1 << 20), 60.0).astype(np.uint8)
    for at in range(0, plane.size, tile.size):
        plane[at : at + tile.size] = tile[: plane.size - at]
    # A few signals.
    table = plane[drifts.GUARD : drifts.GUARD + nrows * pitch].reshape(nrows, pitch)
    table[nrows // 3 :: nrows // 3, 50] = 200
    zero = ((drifts.GUARD + CENTRE + pitch * np.arange(nrows, dtype=np.int64)) // drifts.UNIT).astype(np.int32)
    shift = np.zeros((NHARM, 2), dtype=np.int64)
    rows = np.array([[NHARM, nrows]] * 4, dtype=np.int64)
    limits = np.array([150, 170, 200, 220], dtype=np.uint8)
    decode = correlate.decoded()
    hits = np.zeros((1 << 16, 4), dtype=np.int64)
    found = [0]

    def run() -> None:
        found[0] = drifts.sum_rows(
            plane,
            zero,
            shift,
            rows,
            NHARM,
            nrows,
            CENTRE,
            pitch,
            1.0,
            CENTRE - 2,
            np.repeat(limits, drifts.WIDE),
            decode,
            cells,
            0,
            hits,
        )

    def keys(row: NDArray[Any], j: NDArray[Any], s: int) -> NDArray[np.int64]:
        cell = ((row - NHARM) // drifts.CELL * 1000 + (j + CENTRE) // drifts.CELL) * 4 + s
        return np.unique(cell)

    def plain() -> NDArray[Any]:
        total = np.zeros((nrows - NHARM, 2 * CENTRE - 3), dtype=np.int64)
        i = np.arange(NHARM, nrows)
        j = np.arange(2 - CENTRE, CENTRE - 1)
        out = []
        for s in range(4):
            for k in range(1, max(2, 1 << s), 2):
                half = 1 << s >> 1
                total += table[(i * k + half) >> s][:, CENTRE + ((j * k + half) >> s)]
            row, lane = np.nonzero((total > limits[s]) & (np.abs(j) <= i[:, None]))
            out.append(keys(i[row], j[lane], s))
        return np.concatenate(out)

    def result() -> NDArray[Any]:
        h = hits[: found[0]]
        return np.concatenate([keys(h[h[:, 2] == s, 0], h[h[:, 2] == s, 1], s) for s in range(4)])

    return Work(
        run,
        result,
        size.nsamps,
        float(plane.nbytes),
        adds=float((NHARM - 1) * nrows * pitch),
        baseline=Baseline(plain),
    )


_TINY = Size(4096)


def orbit(size: Size) -> Work:
    """A series by the time of a pulsar that goes round once in it, from one that is sampled four times as finely."""
    from pulsar_kernels.orbit import resample_orbit

    n = size.nsamps
    planes = np.random.default_rng(1).standard_normal((RATIO, n), dtype=np.float32)
    turn, even, odd = 2.0 * np.pi / n, 3.6e-5 * n, -5.0e-5 * n
    out = np.zeros(n, dtype=np.float32)

    def plain() -> NDArray[Any]:
        series = planes.T.ravel()
        angle = turn * (np.arange(n) - 0.5 * (n - 1))
        at = RATIO * np.arange(n) + even * np.cos(angle) + odd * np.sin(angle)
        inside = (at >= 0.0) & (at < series.size - 1)
        return np.asarray(np.where(inside, np.interp(at, np.arange(series.size), series), 0.0))

    return Work(
        lambda: resample_orbit(planes, turn, even, odd, out),
        lambda: out,
        n,
        # Two of the four planes for every sample, and the result.
        12.0 * n,
        flops=5.0 * n,
        baseline=Baseline(plain, atol=0.2),
    )


CASES = (
    Case(
        "drift-plane",
        "float32 -> uint8",
        "208 drifts of {nsamps} half bins by blocks of 1024",
        plane,
        Size(1 << 18),
        _TINY,
        "floats",
    ),
    Case(
        "drift-sums",
        "uint8 -> int64",
        "sums of up to 8, 208 drifts of {nsamps} half bins",
        drift_sums,
        Size(1 << 18),
        _TINY,
        "adds L2",
    ),
    Case(
        "orbit",
        "float32 -> float32",
        "times of arrival from a circular orbit, {nsamps} from 4 times as many",
        orbit,
        Size(1 << 20),
        Size(1 << 12),
        "floats",
    ),
)
