"""Fast folding kernels against their oracles, brute-force folding and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import ffa as oracle

from pulsar.bench.folding import fast_folding
from pulsar_kernels import ffa

NONE = np.zeros((0, 0), np.float32)


def padded(x):
    out = np.zeros(len(x) + 64, np.int16)
    out[: len(x)] = x
    return out


def transformed(x, rows, bins):
    out = np.zeros((rows, bins), np.int16)
    ffa.transform(padded(x), rows, bins, np.zeros(ffa.work_size(rows * bins, bins), np.int16), out)
    return out


def searched(x, transforms, widths, noise=1.0, limit=-np.inf, every=True):
    transforms = np.asarray(transforms, np.int64)
    widths = np.asarray(widths, np.int64)
    n = int(np.sum(transforms[:, 2] - transforms[:, 1]))
    best, which = np.zeros(n + 16, np.float32), np.zeros(n + 16, np.uint8)
    snrs = np.zeros((n, len(widths)), np.float32) if every else NONE
    work = np.zeros(max(ffa.work_size(len(x), b) for b in transforms[:, 0]), np.int16)
    tile = np.zeros(ffa.tile_size(int(transforms[:, 0].max()), int(widths[-1])), np.int32)
    noises = np.broadcast_to(np.asarray(noise, float), len(widths)).copy()
    ffa.search_periods(padded(x), len(x), transforms, widths, noises, limit, work, tile, best, which, snrs)
    return best[:n], which[:n], snrs


@given(st.integers(1, 90), st.integers(8, 100), st.integers(0, 2**32 - 1))
def test_transform_matches_oracle(rows, bins, seed):
    x = np.random.default_rng(seed).integers(-300, 300, rows * bins)
    expected = fast_folding(x.reshape(rows, bins).astype(float))
    np.testing.assert_array_equal(transformed(x, rows, bins), expected)


@pytest.mark.jit
@pytest.mark.parametrize(("rows", "bins"), [(257, 32), (1024, 40), (1100, 33), (4099, 17)])
def test_long_transforms(rows, bins):
    x = np.random.default_rng(rows).integers(-20, 20, rows * bins)
    expected = fast_folding(x.reshape(rows, bins).astype(float))
    np.testing.assert_array_equal(transformed(x, rows, bins), expected)


@given(st.integers(2, 60), st.integers(16, 64), st.integers(0, 1000))
def test_every_row_folds_at_its_period(rows, bins, seed):
    """Pulses at the period of a row land in one bin of it and its two neighbours, wherever they begin."""
    rng = np.random.default_rng(seed)
    row = int(rng.integers(0, rows))
    start = float(rng.uniform(0, bins))
    period = oracle.period(bins, rows, row)
    x = np.zeros(rows * bins)
    at = (start + period * np.arange(rows)).astype(int)
    at = at[at < len(x)]
    x[at] = 1
    profile = transformed(x, rows, bins)[row]
    assert profile.sum() == len(at)
    # Rounding at log2(rows) merges, and of the places themselves.
    width = 3 + int(np.log2(rows)) // 2
    assert max(np.roll(profile, k)[:width].sum() for k in range(bins)) >= 0.9 * len(at)


def test_sums_saturate():
    x = np.full(40 * 16, 3000)
    assert transformed(x, 40, 16).min() == ffa.LARGEST
    assert transformed(-x, 40, 16).max() == -ffa.LARGEST - 1


@given(st.integers(1, 40), st.integers(9, 70), st.data())
def test_boxes_match_oracle(rows, bins, data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    widths = sorted(data.draw(st.sets(st.integers(1, bins - 1), min_size=1, max_size=9)))
    noise = np.random.default_rng(seed).uniform(10, 30, len(widths))
    x = np.round(np.random.default_rng(seed).normal(0, 20, rows * bins + 3)).astype(int)
    lo = data.draw(st.integers(0, rows - 1))
    hi = data.draw(st.integers(lo + 1, rows))
    best, which, snrs = searched(x, [(bins, lo, hi, 0)], widths, noise)
    profiles = fast_folding(x[: rows * bins].reshape(rows, bins).astype(float))[lo:hi]
    for i, profile in enumerate(profiles):
        expected = [oracle.snr(profile, w, s * np.sqrt(rows)) for w, s in zip(widths, noise, strict=True)]
        np.testing.assert_allclose(snrs[i], expected, rtol=1e-4, atol=1e-4)
        assert best[i] == pytest.approx(max(expected), abs=1e-3)
        assert expected[which[i]] == pytest.approx(max(expected), abs=1e-3)


@given(st.integers(8, 100), st.data())
def test_true_width_boxcar_in_closed_form(bins, data):
    """A box of height a over w of n bins in m rows of noise 1 has S/N a sqrt(m w (n - w) / n), at any phase."""
    width = data.draw(st.integers(1, bins // 2))
    shift = data.draw(st.integers(0, bins - 1))
    rows = data.draw(st.integers(1, 30))
    row = np.roll(np.where(np.arange(bins) < width, 7, -2), shift)
    best, which, _ = searched(np.tile(row, rows), [(bins, 0, 1, 0)], np.arange(1, bins // 2 + 1))
    assert best[0] == pytest.approx(9 * np.sqrt(rows * width * (bins - width) / bins), rel=1e-5)
    assert which[0] + 1 == width


@given(st.integers(0, 2**32 - 1), st.floats(1.0, 6.0))
def test_what_the_limit_leaves_out_is_below_it(seed, limit):
    rng = np.random.default_rng(seed)
    bins, rows, widths = 60, 37, [1, 2, 3, 4, 6, 9, 13]
    x = np.round(rng.normal(0, 20, rows * bins))
    x[rng.integers(0, len(x), 40)] += 150
    table = [(bins, 0, rows, 0), (bins + 1, 3, 30, rows)]
    full, which, _ = searched(x, table, widths, 20.0)
    best, chosen, _ = searched(x, table, widths, 20.0, limit, every=False)
    above = full > limit
    np.testing.assert_array_equal(best[above], full[above])
    np.testing.assert_array_equal(chosen[above], which[above])
    assert np.all(best <= full)
