import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import matched as ref
from reference.matched import limits_of

from pulsar_kernels import matched, pulses

pytestmark = pytest.mark.usefixtures("quiet")
SEEDS = st.integers(0, 2**32 - 1)
NONE = np.zeros((0, 2), np.int64)
#: Widths of boxcars in the table of docs/single-pulses.md; uncompiled, each of the wide ones takes many seconds.
FEW = (3, 8)
WIDTHS = (*range(1, 17), 19, 23, 29, 37, 45, 61, 90, 131, 200, 331, 470)


def scanned(series, limits, base=None, scale=None, runs=NONE, room=100_000):
    ncells = -(-len(series) // 32)
    base = np.zeros(ncells, np.float32) if base is None else base
    scale = np.ones(ncells, np.float32) if scale is None else scale
    white = ref.whiten(series, base, scale)
    for lo, hi in runs:
        white[lo:hi] = 0.0
    sums = np.zeros(ncells + 64, np.float32)
    sums[:ncells] = np.add.reduceat(white, np.arange(0, len(white), 32))
    found = np.full((room, 5), np.nan)
    work = np.full(2 * ncells + 256, 9999, np.int16)
    count = matched.scan(series, base, scale, sums, np.asarray(runs), limits, work, found)
    return count, found, white


@given(st.integers(256, 20_000), st.integers(1, 9), st.sampled_from([np.int16, np.float32]), SEEDS)
def test_scan(n, nlevels, dtype, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    for _ in range(4):
        width = int(2 ** rng.uniform(0, 8))
        start = rng.integers(0, n)
        x[start : start + width] += rng.uniform(2, 9) / np.sqrt(width)
    ncells = -(-n // 32)
    base = rng.normal(0, 50, ncells).round().astype(np.float32)
    scale = rng.uniform(0.004, 0.01, ncells).astype(np.float32)
    y = x / np.repeat(scale, 32)[:n] + np.repeat(base, 32)[:n]
    series = y.round().astype(dtype)
    if dtype == np.float32:
        series[rng.integers(0, n, 3)] = [np.nan, np.inf, -np.inf]
    runs = np.array([[n // 3, n // 3 + 70]])
    limits = limits_of(nlevels, 3.5)
    count, found, white = scanned(series, limits, base, scale, runs)
    got = {(int(r[3]), int(r[4])): r[0] for r in found[:count]}
    expected = ref.boxes(white, limits)
    # Whitened samples are rounded to 1/256 of the noise, and sums again at every second level.
    assert {key for key, ratio in expected.items() if ratio > 1.03} <= got.keys()
    for key, ratio in got.items():
        assert ratio == pytest.approx(expected[key], rel=0.03)
    for r in found[:count]:
        start, width = int(r[1]), int(r[2])
        true = white[start : start + width].sum() / (3.5 * np.sqrt(width))
        assert true == pytest.approx(r[0], rel=0.03)
    assert scanned(series, limits, base, scale, runs, room=1)[0] == count


def test_scan_of_what_overflows():
    # Sums in 16 bit stay at their ends: too strong is found, too weak is not.
    series = np.zeros(4096, np.int16)
    series[500:600] = -32767
    series[1000:1100] = 32767
    series[2000:2100] = -32767
    count, found, _ = scanned(series, limits_of(6, 5.0))
    middle = found[:count, 1] + found[:count, 2] / 2
    assert count > 10
    assert np.all(np.abs(middle - 1050) < 180)
    assert set(found[:count, 3]) == set(range(6))


@pytest.mark.parametrize("width", [*FEW, *(pytest.param(w, marks=pytest.mark.jit) for w in WIDTHS if w not in FEW)])
def test_what_the_scan_keeps(width):
    """The worst loss over all places of a boxcar, without noise: the table in docs/single-pulses.md."""
    n = 8192
    worst = 1.0
    limits = limits_of(8, 5.0)
    for offset in range(0, 8 * max(width // 4, 1), max(width // 16, 1)):
        series = np.zeros(n, np.float32)
        series[3000 + offset : 3000 + offset + width] = 10.0 / np.sqrt(width)
        count, found, _ = scanned(series, limits)
        worst = min(worst, found[:count, 0].max() * 0.5)
    assert worst > (0.999 if width <= 8 else 0.91)


def white_of(series, nexcess=12, scale=1.0):
    ncells = -(-len(series) // 32)
    base, scales = np.zeros(ncells, np.float32), np.full(ncells, scale, np.float32)
    sums = np.add.reduceat(series * scale, np.arange(0, len(series), 32)).astype(np.float32)
    sums = np.concatenate([sums, np.zeros(64, np.float32)])
    size = pulses.work_size(1000, len(series))
    ints, floats = np.zeros(0, np.int16), series.astype(np.float32)
    return pulses.White(ints, floats, base, scales, sums, NONE, np.ones(nexcess), *np.zeros((2, size)))


def picked(series, threshold=6.0, width_max=500, gaussian=False):
    limits = limits_of(8, 0.88 * threshold - 0.7, 1.25 * width_max)
    count, found, _ = scanned(series.astype(np.float32), limits)
    out = np.zeros((max(count, 1), 5))
    number = pulses.pick(white_of(series), limits, width_max, threshold, gaussian, found[:count], out)
    return out[:number]


@given(st.integers(1, 300), st.floats(8, 60), SEEDS)
def test_the_best_boxcar_is_found(width, snr, seed):
    rng = np.random.default_rng(seed)
    n = 4096
    x = rng.standard_normal(n).astype(np.float32).astype(np.float64)
    start = int(rng.integers(0, n - width + 1))
    x[start : start + width] += snr / np.sqrt(width)
    best, at, wide = ref.best_boxcar(x, 500)
    assume(best > 6.5)
    out = picked(x)
    k = int(np.argmax(out[:, 0]))
    # Where each edge is the best for the other: rarely a hill beside the best.
    assert out[k, 0] > 0.9 * best
    assert out[k, 1] == pytest.approx(at + wide / 2, abs=0.51) or out[k, 0] <= 0.9999 * best


@pytest.mark.jit
def test_nearly_always_it_is_exactly_the_best():
    exact = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(4096).astype(np.float32).astype(np.float64)
        width = int(2 ** rng.uniform(0, 8))
        start = int(rng.integers(0, 4096 - width))
        x[start : start + width] += 9.0 / np.sqrt(width)
        best, _, _ = ref.best_boxcar(x, 500)
        if best > 7:
            exact.append(picked(x)[:, 0].max() > 0.9999 * best)
    assert np.mean(exact) >= 0.98


def test_gaussian_at_any_phase():
    i = np.arange(4096) + 0.5
    for centre, fwhm in ((2000.2, 1.6), (2000.5, 8.0), (1777.7, 33.3), (2500.0, 210.0)):
        shape = np.exp(-4 * np.log(2) * ((i - centre) / fwhm) ** 2)
        x = 20 * shape / np.sqrt(np.sum(shape**2))
        (row,) = picked(x, gaussian=True)
        assert row[0] == pytest.approx(20, rel=0.01)
        assert row[1] == pytest.approx(centre, abs=0.05 * fwhm + 0.05)
        assert row[2] == pytest.approx(fwhm, rel=0.06)
