"""Templates: as finely divided as the data tell, and no finer."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar.folding.profile import drawn
from pulsar.folding.subtracted import choose_bins, fit_template, profile_beside_lines, without_harmonics

SHAPE = 16, 8, 64
EACH = 50.0
BANDS = np.arange(32) // 4
PHASE = (np.arange(SHAPE[2]) + 0.5) / SHAPE[2]


def pulse(width, at=0.5):
    one = np.exp(-0.5 * ((PHASE - at) / width) ** 2)
    return (one - one.mean()) / np.std(one)


def folded(model, seed, factors=None):
    """Cells and rows of samples of noise 1 and a model of shape (nsubints, nbands, nbins), or of the channels' own."""
    rng = np.random.default_rng(seed)
    own = np.ones(len(BANDS)) if factors is None else factors
    mean = model[:, BANDS, :] * own[:, None] * EACH
    sums = mean + np.sqrt(EACH) * rng.normal(size=mean.shape)
    counts = np.full(sums.shape, EACH)
    every = np.stack([sums, counts], axis=3)
    cells = every.reshape(SHAPE[0], SHAPE[1], 4, SHAPE[2], 2).sum(axis=2)
    return cells, every.sum(axis=0)


def steady(snr, width=0.03):
    total = SHAPE[0] * len(BANDS) * SHAPE[2] * EACH
    return np.broadcast_to(snr / np.sqrt(total) * pulse(width), SHAPE)


def left(template, model):
    """Amplitude of what a template leaves of a model, over that of the model."""
    fine = template.shapes[template.shape_of].repeat(SHAPE[2] // template.nbins, axis=2)
    rest = model - fine * template.gains[:, :, None]
    return float(np.sqrt(np.sum(rest**2) / np.sum(model**2)))


def test_what_one_band_does_not_tell_from_a_line_is_left():
    grid = SimpleNamespace(spin=np.array([2.0]), delays=np.zeros(32), bands=np.zeros(32, dtype=np.int64))
    cells, _ = folded(steady(200.0), 1)
    one, hit = cells.sum(axis=1, keepdims=True), np.arange(SHAPE[2] // 2 + 1) == 3
    np.testing.assert_array_equal(profile_beside_lines(one, np.ones((SHAPE[0], 1)), grid, hit), 0.0)


@pytest.mark.parametrize("each", [1.0, 2.0, 20.0])
def test_a_harmonic_that_is_taken_out_is_gone_however_few_samples_a_bin_has(each):
    rng = np.random.default_rng(4)
    counts = rng.poisson(each, SHAPE).astype(np.float64)
    cells = np.stack([counts * (3.0 + pulse(0.03)), counts], axis=-1)
    hit = np.isin(np.arange(SHAPE[2] // 2 + 1), [2, 9])
    profiles = [x.sum(axis=(0, 1)) for x in (cells, without_harmonics(cells, hit))]
    before, after = (np.abs(np.fft.rfft(x[:, 0] / x[:, 1])) for x in profiles)
    assert np.sum(after[hit] ** 2) < 0.02 * np.sum(before[hit] ** 2)
    np.testing.assert_allclose(after[1:8][~hit[1:8]], before[1:8][~hit[1:8]], rtol=0.1)


def test_the_highest_harmonic_that_bins_have_is_taken_out():
    sums = np.tile((-1.0) ** np.arange(SHAPE[2]), (2, 1))
    cells = np.stack([sums, np.ones_like(sums)], axis=-1)
    left_of = without_harmonics(cells, np.arange(SHAPE[2] // 2 + 1) == SHAPE[2] // 2)
    np.testing.assert_allclose(left_of[..., 0], 0.0, atol=1e-9)


def test_a_steady_pulsar_has_one_profile_and_one_brightness():
    grids, rests = [], []
    for seed in range(20):
        model = steady(200.0)
        template = fit_template(*folded(model, seed), BANDS)
        grids.append(template.grid)
        rests.append(left(template, model))
        assert template.nbins == 64
    # Noise asks for another division now and then, and what it then says is drawn back.
    assert grids.count((1, 1, 1, 1)) >= 10
    assert np.median(rests) == pytest.approx(np.sqrt(64) / 200, rel=0.25)
    assert max(rests) < 0.08


@pytest.mark.parametrize(("snr", "nbins"), [(8.0, 32), (1000.0, 64)])
def test_weak_ones_get_few_bins(snr, nbins):
    found = [fit_template(*folded(steady(snr, 0.06), seed), BANDS).nbins for seed in range(15)]
    assert np.median(found) <= nbins
    assert np.median(found) >= nbins // 4


def test_scintillation_is_followed_where_the_signal_tells_it():
    rng = np.random.default_rng(3)
    gains = rng.exponential(size=(8, 4)).repeat(2, axis=0).repeat(2, axis=1)
    model = steady(300.0) * gains[:, :, None]
    bright = fit_template(*folded(model, 1), BANDS)
    assert bright.grid[0] >= 8
    assert bright.grid[1] >= 4
    assert left(bright, model) < 0.09
    weak = fit_template(*folded(model / 60.0, 1), BANDS)
    assert weak.nparams < 100


def test_a_profile_that_changes_gets_profiles_of_its_own():
    model = steady(300.0).copy()
    model[8:] = 300.0 / np.sqrt(SHAPE[0] * len(BANDS) * SHAPE[2] * EACH) * pulse(0.03, 0.56)
    template = fit_template(*folded(model, 2), BANDS)
    assert template.grid[2] >= 2
    assert left(template, model) < 0.08


def test_profiles_that_are_smeared_with_frequency_are_followed():
    model = np.stack([np.roll(pulse(0.02 + 0.012 * band), band // 3) for band in range(SHAPE[1])])
    model = np.broadcast_to(model * 300.0 / np.sqrt(SHAPE[0] * len(BANDS) * SHAPE[2] * EACH), SHAPE)
    template = fit_template(*folded(model, 2), BANDS)
    assert template.grid[3] >= 4
    assert left(template, model) < 0.1


def test_channels_have_factors_of_their_own_where_they_differ():
    rng = np.random.default_rng(5)
    factors = 1.0 + 0.3 * rng.normal(size=32)
    own = fit_template(*folded(steady(400.0), 4, factors), BANDS).factors
    share = factors / np.array([factors[b == BANDS].mean() for b in range(8)])[BANDS]
    assert np.corrcoef(own, share)[0, 1] > 0.9
    alike = [np.ptp(fit_template(*folded(steady(400.0), seed), BANDS).factors) for seed in range(10)]
    assert np.median(alike) < 0.1


def test_noise_alone_makes_little_of_a_template():
    powers = []
    for seed in range(20):
        cells, rows = folded(np.zeros(SHAPE), seed)
        template = fit_template(cells, rows, BANDS)
        model = template.shapes[template.shape_of] * template.gains[:, :, None]
        counts = cells[..., 1].reshape(SHAPE[0], SHAPE[1], template.nbins, -1).sum(axis=3)
        powers.append(float(np.sum(counts * model**2)))
    assert np.median(powers) < 40


def test_masked_cells_are_left_out():
    model = steady(300.0)
    cells, rows = folded(model, 6)
    cells[3, :, :, :] = 0.0
    cells[:, 2, :, :] = 0.0
    rows[8:12] = 0.0
    template = fit_template(cells, rows, BANDS)
    assert np.all(np.isfinite(template.gains))
    assert np.all(np.isfinite(template.factors))
    assert left(template, model) < 0.08


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 40), noise=st.floats(0.01, 10.0))
def test_means_are_drawn_between_their_own_value_and_that_of_all(seed, n, noise):
    rng = np.random.default_rng(seed)
    den = rng.uniform(0.5, 2.0, n) / noise**2
    num = den * (1.0 + noise * rng.normal(size=n))
    found, mean = drawn(num, den), num.sum() / den.sum()
    own = num / den
    assert np.all(np.abs(found - mean) <= np.abs(own - mean) + 1e-9)
    assert np.all((found - mean) * (own - mean) >= -1e-12)


def test_what_differs_surely_stays():
    own = np.array([0.5, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(drawn(own * 1e6, np.full(4, 1e6)), own, rtol=1e-4)
    np.testing.assert_allclose(drawn(np.ones(4), np.full(4, 1.0)), 1.0)


def test_a_profile_of_nothing_is_worth_few_bins():
    rng = np.random.default_rng(0)
    found = [choose_bins(rng.normal(size=256) * 10.0, np.full(256, 100.0)) for _ in range(30)]
    assert np.median(found) <= 8
