"""The level of slow pulsars, turn by turn: nothing is done where it stands still; else the pulse is kept."""

import numpy as np
import pytest
from reference.fold import ArraySource, make_source

from pulsar.config.model import FoldConfig
from pulsar.data.fold import FoldCube, FoldParams, HarmonicNoise
from pulsar.data.series import TimeSeries
from pulsar.folding import plan
from pulsar.folding.folder import fold_many, fold_series
from pulsar.folding.plan import PIECES_BYTES, bounded, plan_fold
from pulsar.folding.refine import refine
from pulsar.folding.sums import (
    Levelling,
    Pieces,
    baseline,
    evened,
    find_level,
    folded,
    in_one_time,
    left,
    series_of,
    wanders,
)
from pulsar.folding.whiten import RED

TOBS, TSAMP = 67.0, 2e-3
NSAMPS = int(TOBS / TSAMP)


def source_of(seed, period, fwhm, snr, amp=0.0, *, varying=False) -> ArraySource:
    """A pulsar under waves of 3 to 15 s and a random walk that all channels share."""
    rng = np.random.default_rng(seed)
    source = make_source(
        rng, nchans=16, nsamps=NSAMPS, tsamp=TSAMP, freq=1 / period, dm=50.0, fwhm=fwhm, snr=snr, phase=rng.random()
    )
    t = np.arange(NSAMPS) * TSAMP
    drift = np.cumsum(rng.standard_normal(NSAMPS)) / np.sqrt(NSAMPS)
    for _ in range(3):
        drift += rng.uniform(0.5, 2.0) * np.sin(2 * np.pi * (t / rng.uniform(3.0, 15.0) + rng.random()))
    data = source.data.astype(np.float64)
    if varying:
        # Ten turns are seen, ten are not.
        away = np.floor(t / period / 10) % 2 == 0
        data[:, away] = 8.0 * rng.standard_normal((len(data), int(np.count_nonzero(away))))
    source.data = np.clip(np.round(data + 8 * amp * drift), -127, 127).astype(np.int8)
    return source


def cube_of(source, period, nbands=16) -> FoldCube:
    params = [FoldParams(1 / period, 0.0, 50.0)]
    return fold_many(source, params, FoldConfig(nbands=nbands), threads=1, memory=1 << 28)[0]


@pytest.mark.parametrize("period", [0.3, 0.931, 2.0, 3.7])
def test_in_white_noise_the_cube_is_the_same_bit_for_bit(period, monkeypatch):
    for seed in range(3):
        source = source_of(seed, period, 0.03, 20.0)
        cube = cube_of(source, period)
        with monkeypatch.context() as without:
            without.setattr(plan, "MOST_TURNS", 0)
            plain = cube_of(source, period)
        assert cube.levelled is None
        np.testing.assert_array_equal(cube.data, plain.data)
        np.testing.assert_array_equal(cube.variance, plain.variance)
        np.testing.assert_array_equal(cube.time_edges, plain.time_edges)


def test_where_the_level_wanders_the_plain_cube_stays_and_keeps_its_shape():
    cube = cube_of(source_of(1, 0.931, 0.03, 20.0, 0.3), 0.931)
    assert cube.levelled is not None
    assert cube.levelled.data.shape == cube.data.shape == (32, 16, 128)
    fold = refine(cube)
    assert fold.time_phase.shape == (32, 128)
    assert fold.extra["whitened"] > RED


@pytest.mark.parametrize(
    ("period", "fwhm", "least"),
    [(0.5, 0.02, 16.0), (0.93, 0.05, 16.0), (2.0, 0.02, 16.0), (2.0, 0.05, 14.0), (3.3, 0.02, 15.0)],
)
def test_slow_pulsars_are_seen_through_waves_and_walks(period, fwhm, least):
    """Of a matched S/N of 20, which makes 19 in white noise."""
    snr = [refine(cube_of(source_of(seed, period, fwhm, 20.0, 0.3), period)).snr for seed in range(5)]
    assert np.median(snr) > least


def test_a_pulsar_that_nulls_keeps_its_pulse():
    folds = [refine(cube_of(source_of(seed, 0.931, 0.03, 30.0, amp, varying=True), 0.931)).snr for seed in range(5)
             for amp in (0.0, 0.3)]  # fmt: skip
    assert np.median(folds[1::2]) > 0.8 * np.median(folds[::2])


def test_white_noise_is_called_wandering_once_in_thousands():
    rng = np.random.default_rng(3)
    found = [find_level(rng.standard_normal(nturns * 32), 32) for _ in range(300) for nturns in (6, 18, 72, 256)]
    assert sum(level is not None for level in found) <= 2
    sigma = [wanders(rng.standard_normal(72 * 32), 32) for _ in range(1000)]
    assert np.mean(sigma) == pytest.approx(0.0, abs=0.15)
    assert np.std(sigma) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("half", [8, 16, 32])
def test_what_the_running_mean_leaves_of_a_wave_is_known(half):
    nbins, n = 64, 64 * 200
    for turns in (0.05, 0.3, 1.0, 1.7, 5.0, 20.3):
        wave = np.cos(2 * np.pi * turns * np.arange(n) / nbins)[:, None]
        rest = (wave - baseline(wave, half))[4 * half : -4 * half]
        np.testing.assert_allclose(rest, left(turns, half, nbins) * wave[4 * half : -4 * half], atol=1e-9)
    slope = (0.3 * np.arange(n) - 7.0)[:, None]
    np.testing.assert_allclose(slope - baseline(slope, half), 0.0, atol=1e-8)


def test_a_window_of_a_turn_takes_nothing_from_a_steady_source():
    np.testing.assert_allclose(left(np.arange(1.0, 33.0), 32, 64), 1.0, atol=1e-12)


@pytest.mark.parametrize("empty", [False, True])
def test_pieces_make_the_series_and_the_series_the_fold(empty):
    rng = np.random.default_rng(4)
    nbins, nbands, npieces = 16, 3, 40
    # A sample a bin, pieces of 11 to 15 of them from bin 5 on.
    lengths = rng.integers(11, 16, npieces)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    n = int(starts[-1])
    values = rng.standard_normal((n, nbands)).astype(np.float32) + 5.0
    seen = np.ones(n, dtype=bool)
    seen[1:-1] = rng.random(n - 2) > (0.1 if empty else 0.0)
    data, counts = np.zeros((npieces, nbands, nbins), np.float32), np.zeros((npieces, nbins), np.int64)
    for k in range(npieces):
        at = np.flatnonzero(seen[starts[k] : starts[k + 1]]) + starts[k]
        data[k][:, (at + 5) % nbins] = values[at].T
        counts[k][(at + 5) % nbins] = 1
    pieces = Pieces(data, counts, (starts[:-1] + 5.5) / nbins - 3.0)
    series = series_of(pieces)
    assert series.shape == (n, nbands)
    np.testing.assert_allclose(series[seen], values[seen])
    index = np.arange(n)
    for band in range(nbands):
        expected = np.interp(index, index[seen], values[seen, band])
        np.testing.assert_allclose(series[:, band], expected, atol=1e-5)
    # The same series makes the same sums.
    kept = folded(pieces, series, 4)
    np.testing.assert_allclose(kept, data.reshape(10, 4, nbands, nbins).sum(axis=1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("half", [16, 8])
def test_a_pulse_comes_through_as_its_harmonics_are_weighted(half):
    nbins, whole = 64, 60
    gain = 1.0 / (1.0 + 20.0 / np.arange(1.0, 34.0) ** 3)[:33]
    noise = HarmonicNoise(gain**-2.0, np.concatenate([[1.0], gain[:32] ** -2.0]), 9.0)
    pulse = np.exp(-0.5 * ((np.arange(nbins) - 20) / 3.0) ** 2)
    slow = 30.0 * np.sin(2 * np.pi * np.arange(nbins * whole) / (2.7 * nbins))
    out = evened((np.tile(pulse, whole) + slow)[:, None], Levelling(half, noise), nbins)[:, 0]
    profile = np.fft.rfft(out.reshape(whole, nbins)[5:-5].mean(axis=0))
    expected = np.fft.rfft(pulse)
    expected[1:] *= gain[:32]
    np.testing.assert_allclose(profile[1:], expected[1:], atol=0.05 * np.abs(expected[1:]).max())


def test_bands_are_brought_to_one_time():
    rng = np.random.default_rng(5)
    late = np.array([-3, 0, 40])
    common = rng.standard_normal(400)
    series = np.stack([common[50 - d : 250 - d] for d in late], axis=1)
    total = in_one_time(series, late)
    np.testing.assert_allclose(total, 3 * common[53 : 53 + len(total)])
    assert len(total) == 200 - 43


def test_fast_and_short_folds_are_not_split():
    def pieces(freq, nsamps=NSAMPS):
        return plan_fold(FoldParams(freq), FoldConfig(), nsamps, TSAMP).pieces

    assert [pieces(f) for f in (100.0, 4.1, 0.05)] == [1, 1, 1]
    assert pieces(1 / 3.7) == 2
    assert pieces(1 / 0.931) == 3
    # 256 turns and no more.
    assert pieces(1.0, 128000) > 1
    assert pieces(1.0, 129000) == 1


def test_pieces_of_many_candidates_are_bounded():
    one = plan_fold(FoldParams(1.0), FoldConfig(), 128000, TSAMP)
    slow = plan_fold(FoldParams(0.3), FoldConfig(), 128000, TSAMP)
    plans = bounded([one] * 100 + [slow], 32)
    used = sum(4 * p.nparts * 32 * p.nbins for p in plans if p.pieces > 1)
    assert 0.9 * PIECES_BYTES < used <= PIECES_BYTES
    assert plans[-1].pieces == slow.pieces
    assert [p.nsubints for p in plans] == [one.nsubints] * 100 + [slow.nsubints]


def test_series_are_levelled_too():
    rng = np.random.default_rng(6)
    t = np.arange(NSAMPS) * TSAMP
    phase = ((t - 0.5 * TOBS) / 3.3 - 0.3 + 0.5) % 1.0 - 0.5
    pulse = np.exp(-0.5 * (phase / (0.02 / 2.3548)) ** 2)
    pulse *= 20.0 / np.sqrt(NSAMPS * np.var(pulse))
    drift = 3.0 * np.sin(2 * np.pi * t / 4.7) + 2.0 * np.sin(2 * np.pi * t / 9.1)
    x = (rng.standard_normal(NSAMPS) + pulse + drift).astype(np.float32)
    fold = refine(fold_series(TimeSeries(x, TSAMP), [FoldParams(1 / 3.3)], FoldConfig())[0])
    assert fold.snr > 13.0
