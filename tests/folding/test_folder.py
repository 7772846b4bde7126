"""Folding of many candidates: exact sums, honest variance, no dependence on threads or gulps."""

import numpy as np
import pytest
from reference.fold import ArraySource, make_source

from pulsar.config.model import FoldConfig
from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.data.series import TimeSeries
from pulsar.data.source import SIGMA_LEVELS, Rows
from pulsar.errors import ConfigError, DataError
from pulsar.folding.folder import fold_many, fold_series, normalise, running_mean
from pulsar.folding.plan import MAX_LEVEL, _in_step, plan_fold
from pulsar.folding.profile import best_box
from pulsar.folding.sums import rotate

CONFIG = FoldConfig(nbins=32, nsubints=8, nbands=8)
PARAMS = [
    FoldParams(11.3, 0.01, 40.0),
    FoldParams(700.0123, -0.5, 40.3, 0.3),
    FoldParams(0.9, 0.0, 200.0),
    FoldParams(93.0, 0.0, 0.0),
    FoldParams(150.0123, 0.0, 40.1),
]


def fold(source, params=PARAMS, config=CONFIG, threads=1, memory=1 << 28, progress=None):
    return fold_many(source, params, config, threads=threads, memory=memory, progress=progress)


def test_one_band_at_dm_zero_is_the_plain_fold():
    source = make_source(np.random.default_rng(1), nchans=4, nsamps=5000)
    freq, fdot, fddot = 30.1, 0.7, 9.0
    cube = fold(source, [FoldParams(freq, fdot, 0.0, fddot)], FoldConfig(nbins=32, nsubints=5, nbands=1))[0]
    tau = (np.arange(5000) + 0.5) * source.tsamp - 2500 * source.tsamp
    turns = freq * tau + 0.5 * fdot * tau**2 + fddot * tau**3 / 6
    bins = np.floor((turns % 1.0) * 32).astype(int)
    subint = np.arange(5000) // 1000
    expected = np.zeros((5, 1, 32))
    counts = np.zeros((5, 1, 32))
    np.add.at(expected, (subint, 0, bins), source.data.sum(axis=0, dtype=float) / SIGMA_LEVELS)
    np.add.at(counts, (subint, 0, bins), 4.0)
    np.testing.assert_allclose(cube.data, expected, atol=1e-4)
    np.testing.assert_array_equal(cube.variance, counts)
    np.testing.assert_allclose(cube.time_edges, np.arange(6) * 1000 * source.tsamp)


@pytest.mark.parametrize("threads", [2, 5])
def test_result_does_not_depend_on_threads(threads):
    source = make_source(np.random.default_rng(2), nchans=24, nsamps=30001, snr=40)
    for one, many in zip(fold(source), fold(source, threads=threads), strict=True):
        np.testing.assert_array_equal(one.data, many.data)
        np.testing.assert_array_equal(one.variance, many.variance)


def test_result_does_not_depend_on_the_gulp():
    source = make_source(np.random.default_rng(3), nchans=24, nsamps=50000, snr=40)
    done: list[int] = []
    for large, small in zip(fold(source), fold(source, memory=1 << 16, progress=done.append), strict=True):
        np.testing.assert_allclose(large.data, small.data, atol=1e-3)
        np.testing.assert_array_equal(large.variance, small.variance)
    assert sum(done) == source.nsamps
    assert len(done) > 3


@pytest.mark.parametrize("memory", [1 << 16, 1 << 28])
@pytest.mark.parametrize("most_channels", [0, 256])
def test_samples_in_memory_are_folded_where_they_are(memory, most_channels, monkeypatch):
    monkeypatch.setattr("pulsar.folding.folder.MOST_CHANNELS", most_channels)
    source = make_source(np.random.default_rng(4), nchans=24, nsamps=50000, snr=40)
    read = fold(source, memory=memory)
    rows = Rows(np.pad(source.data, ((0, 0), (77, 50000))), 77)

    def refuse(start, out):
        raise AssertionError("samples that are in memory are read")

    source.read_into = refuse
    there = fold_many(source, PARAMS, CONFIG, threads=2, memory=memory, rows=rows)
    for cube, want in zip(there, read, strict=True):
        np.testing.assert_array_equal(cube.data, want.data)
        np.testing.assert_array_equal(cube.variance, want.variance)
    # Where no zeros follow in their memory, they are read.
    with pytest.raises(AssertionError, match="are read"):
        fold_many(source, PARAMS, CONFIG, threads=1, memory=memory, rows=Rows(source.data, 0))


@pytest.mark.parametrize("top", [20, 127])
def test_result_does_not_depend_on_what_fits_bytes(top, monkeypatch):
    rng = np.random.default_rng(14)
    source = make_source(rng, nchans=21, nsamps=30000)
    source.data = rng.integers(-10, 11, source.data.shape).astype(np.int8)
    # One loud channel: its pair is summed sample by sample, its band halved in words.
    source.data[5] = rng.integers(-top, top + 1, 30000)
    source.data[5, ::1000] = -128
    params = [*PARAMS, *(FoldParams(200.0 + dm, 0.0, dm) for dm in np.linspace(3, 60, 12))]
    cubes = fold(source, params)
    assert len({plan_fold(p, CONFIG, source.nsamps, source.tsamp).level for p in params}) > 2
    monkeypatch.setattr("pulsar.folding.folder.halve_bytes", lambda *_: False)
    monkeypatch.setattr("pulsar.folding.folder.MOST_CHANNELS", 0)
    for cube, plain in zip(cubes, fold(source, params), strict=True):
        np.testing.assert_array_equal(cube.data, plain.data)


def test_candidates_folded_together_are_as_those_folded_alone():
    source = make_source(np.random.default_rng(4), nchans=24, nsamps=40000, snr=60, dm=40.0, freq=150.0123, fwhm=0.2)
    together = fold(source)
    for k in (0, 2, 3):
        np.testing.assert_allclose(together[k].data, fold(source, PARAMS[k : k + 1])[0].data, atol=1e-3)
    # Those that share a sum at a slightly other DM lose next to nothing.
    alone = fold(source, PARAMS[4:])[0]
    values = [
        best_box(c.data.sum(axis=(0, 1))[None].astype(float), c.variance.sum(axis=(0, 1)))[0][0]
        for c in (together[4], alone)
    ]
    assert values[0] == pytest.approx(values[1], rel=0.02)


@pytest.mark.parametrize(("freq", "tsamp"), [(11.3, 2.56e-4), (700.0, 6.4e-5), (1.1, 2.56e-4), (122.0703125, 2.56e-4)])
def test_noise_has_the_stated_variance(freq, tsamp):
    source = make_source(np.random.default_rng(5), nchans=32, nsamps=1 << 16, tsamp=tsamp)
    cube = fold(source, [FoldParams(freq, 0.0, 60.0)], FoldConfig(nbins=32))[0]
    used = cube.variance > 0
    z = cube.data[used] / np.sqrt(cube.variance[used])
    # Rounding to integers adds 0.13 % to the variance.
    assert np.mean(z**2) == pytest.approx(1.0013, abs=4 * np.sqrt(2 / z.size))
    assert cube.variance.sum() == pytest.approx(32 * (1 << 16), rel=1e-3)


def test_box_of_noise_has_unit_variance():
    source = make_source(np.random.default_rng(6), nchans=16, nsamps=1 << 15)
    rng = np.random.default_rng(7)
    params = [
        FoldParams(float(f), 0.0, float(d))
        for f, d in zip(rng.uniform(5, 500, 300), rng.uniform(0, 200, 300), strict=True)
    ]
    values = []
    for cube in fold(source, params, FoldConfig(nbins=32, nsubints=4, nbands=4)):
        profile, variance = cube.data.sum(axis=(0, 1)), cube.variance.sum(axis=(0, 1))
        inside = slice(3, 9)
        share = variance[inside].sum() / variance.sum()
        values.append((profile[inside].sum() - share * profile.sum()) / np.sqrt(variance[inside].sum() * (1 - share)))
    assert np.std(values) == pytest.approx(1.0, abs=0.13)


def test_masked_part_lowers_the_variance():
    source = make_source(np.random.default_rng(8), nchans=8, nsamps=20000)
    full = fold(source)[0].variance
    source.valid = 0.25
    np.testing.assert_allclose(fold(source)[0].variance, 0.25 * full)


@pytest.mark.parametrize(
    ("freq", "tsamp", "dm", "fwhm", "nbins"),
    [
        (11.3, 2.56e-4, 40.0, 0.08, 64),
        (870.0, 6.4e-5, 30.0, 0.15, 64),
        (0.7, 2.56e-4, 300.0, 0.06, 64),
        (300.0, 6.4e-5, 100.0, 0.2, 64),
        (7.0, 2.56e-4, 400.0, 0.03, 128),
    ],
)
def test_folding_keeps_the_snr(freq, tsamp, dm, fwhm, nbins):
    """A boxcar gets 94.3 % of the matched filter; folding itself may lose at most 2 % more."""
    kept = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        source = make_source(
            rng, nchans=64, nsamps=1 << 15, tsamp=tsamp, freq=freq, dm=dm, fwhm=fwhm, snr=80, phase=rng.random()
        )
        cube = fold(source, [FoldParams(freq, 0.0, dm)], FoldConfig(nbins=nbins))[0]
        total = cube.data.sum(axis=(0, 1))[None].astype(float)
        kept.append(best_box(total, cube.variance.sum(axis=(0, 1)))[0][0] / 80)
    assert np.mean(kept) > 0.92
    assert np.mean(kept) < 0.96


def test_phase_of_a_pulse_does_not_depend_on_band_or_time():
    """Residual delays are made good: the pulse stands at the same phase in every band and sub-integration."""
    source = make_source(
        np.random.default_rng(9), nchans=32, nsamps=1 << 16, tsamp=6.4e-5, freq=410.7, fdot=3.0, dm=150.3, fwhm=0.2,
        snr=300, phase=0.3,
    )  # fmt: skip
    cube = fold(source, [FoldParams(410.7, 3.0, 150.3)], FoldConfig(nbins=32, nsubints=8, nbands=16))[0]
    for axis in (0, 1):
        first = np.fft.rfft(cube.data.sum(axis=axis), axis=1)[:, 1]
        # Bin 0 starts at phase 0, so its centre is half a bin late.
        phase = (-np.angle(first) / (2 * np.pi) + 0.5 / 32) % 1.0
        assert np.max(np.abs(phase - 0.3)) < 0.02


def test_bands_refer_to_the_mean_delay_of_their_channels():
    source = make_source(np.random.default_rng(10), nchans=10, nsamps=4000)
    cube = fold(source, [FoldParams(20.0)], FoldConfig(nbins=16, nbands=3))[0]
    delays = KDM * (source.freqs**-2.0 - source.fref**-2.0)
    expected = [part.mean() for part in np.split(delays, [3, 7])]
    np.testing.assert_allclose(KDM * (cube.band_freqs**-2.0 - cube.fref**-2.0), expected, atol=1e-12)


def test_plan_limits_bins_and_subintegrations():
    config = FoldConfig(nbins=64, nsubints=32)
    fast = plan_fold(FoldParams(3000.0), config, 1 << 20, 64e-6)
    assert (fast.nbins, fast.level) == (16, 0)
    slow = plan_fold(FoldParams(0.1), config, 1 << 20, 64e-6)
    assert slow.nsubints == 6
    assert slow.level == MAX_LEVEL
    assert slow.nbins == 64


@pytest.mark.parametrize("freq", [0.0, -1.0, np.nan, 1e6])
def test_impossible_frequencies_are_refused(freq):
    source = make_source(np.random.default_rng(0), nchans=2, nsamps=1000)
    with pytest.raises(ConfigError, match="cannot fold"):
        fold(source, [FoldParams(freq)])


def test_nothing_to_fold():
    source = make_source(np.random.default_rng(0), nchans=2, nsamps=1000)
    assert fold(source, []) == []
    empty = ArraySource(np.zeros((0, 1000), np.int8), source.freqs, 1e-3)
    empty.freqs = np.zeros(0)
    with pytest.raises(DataError, match="check the mask"):
        fold(empty)
    with pytest.raises(DataError, match="same value"):
        fold_series(TimeSeries(np.ones(1000), 1e-3), [FoldParams(2.0)], CONFIG)
    with pytest.raises(DataError, match="no finite"):
        fold_series(TimeSeries(np.full(1000, np.nan), 1e-3), [FoldParams(2.0)], CONFIG)


def test_dm_below_zero_folds_too():
    source = make_source(np.random.default_rng(11), nchans=16, nsamps=30000, snr=50, freq=20.0, dm=-30.0)
    cube = fold(source, [FoldParams(20.0, 0.0, -30.0)])[0]
    total = cube.data.sum(axis=(0, 1))[None].astype(float)
    assert best_box(total, cube.variance.sum(axis=(0, 1)))[0][0] > 44


def test_rotation_moves_later_and_keeps_the_sum():
    rng = np.random.default_rng(12)
    x = np.exp(-0.5 * ((np.arange(32) - 10) / 2.5) ** 2).astype(np.float32)
    data = np.tile(x, (2, 1, 1))
    variance = np.ones((2, 1, 32))
    variance[1, 0, 20] = 0.0
    moved, weight = rotate(data, variance, np.array([[3.25 / 32], [3.25 / 32]]))
    exact = np.exp(-0.5 * ((np.arange(32) - 13.25) / 2.5) ** 2)
    np.testing.assert_allclose(moved[0, 0], exact, atol=2e-3)
    np.testing.assert_array_equal(moved[1, 0], np.roll(x, 3))
    assert weight[1, 0, 23] == 0.0
    noise = rng.standard_normal((400, 1, 32)).astype(np.float32)
    turned, _ = rotate(noise, np.ones(noise.shape), np.full((400, 1), 0.4 / 32))
    assert turned.std() == pytest.approx(1.0, abs=0.03)


def test_running_mean_leaves_the_shape_of_a_periodic_signal():
    x = np.tile(np.r_[np.zeros(15), np.ones(4), np.zeros(4)], 40)
    base = running_mean(x, 3 * 23.0)
    np.testing.assert_allclose(base, 4 / 23, atol=1e-9)
    assert running_mean(np.arange(10.0), 100.0) == pytest.approx(np.full(10, 4.5))


def test_series_under_drift_and_bad_samples():
    rng = np.random.default_rng(13)
    n, freq = 60000, 3.1
    t = (np.arange(n) + 0.5) * 1e-3 - 30.0
    turns = freq * t - 0.25
    turns -= np.round(turns)
    sigma = 0.05 / 2.3548
    amp = 60 / np.sqrt(n * (sigma * np.sqrt(np.pi) - 2 * np.pi * sigma**2))
    x = rng.standard_normal(n) + amp * np.exp(-0.5 * (turns / sigma) ** 2)
    drift = 30 * np.sin(t / 7.0) + 5 * t
    x = 100 + 7 * (x + drift)
    x[1000], x[2000:2010] = np.nan, np.inf
    cube = fold_series(TimeSeries(x.astype(np.float32), 1e-3), [FoldParams(freq)], FoldConfig(nbins=64))[0]
    snr, _, _ = best_box(cube.data.sum(axis=(0, 1))[None].astype(float), cube.variance.sum(axis=(0, 1)))
    assert snr[0] == pytest.approx(60 * 0.94, rel=0.05)
    assert cube.data.shape == (32, 1, 64)
    assert np.std(normalise(rng.standard_normal(10000), 50.0)) == pytest.approx(1.0, abs=0.05)


def test_a_dispersed_pulsar_with_a_changing_derivative_stays_sharp():
    nsamps, tsamp = 1 << 16, 1e-3
    tau = (np.arange(nsamps) + 0.5) * tsamp - 0.5 * nsamps * tsamp
    source = make_source(np.random.default_rng(5), nchans=16, nsamps=nsamps, tsamp=tsamp)
    freq, fdot, fddot, dm = 7.3, 4e-4, 6e-4, 60.0
    lag = KDM * dm * (source.freqs**-2.0 - source.fref**-2.0)
    for c, late in enumerate(lag):
        t = tau - late
        turns = freq * t + fdot * t**2 / 2 + fddot * t**3 / 6
        source.data[c] = np.where(turns % 1.0 < 0.05, 60, 0)
    cube = fold(source, [FoldParams(freq, fdot, dm, fddot)], FoldConfig(nbins=64, nsubints=16, nbands=8))[0]
    profile = cube.data.sum(axis=(0, 1)) / cube.variance.sum(axis=(0, 1))
    assert profile[:4].sum() > 0.9 * profile.sum()
    # Without the second derivative it is smeared over several turns.
    wrong = fold(source, [FoldParams(freq, fdot, dm)], FoldConfig(nbins=64, nsubints=16, nbands=8))[0]
    assert wrong.data.sum(axis=(0, 1))[:4].sum() < 0.5 * wrong.data.sum()


@pytest.mark.parametrize("freq", [363.609, 200.0 / 1.1 + 0.002])
def test_a_drift_makes_no_pulse_where_samples_are_in_step_with_the_turn(freq):
    # Two turns are eleven samples, less a bit: bins are filled one after the other while the level moves.
    nsamps, tsamp, nchans = 100_000, 0.5e-3, 8
    freq = freq if freq > 300 else 2.0 / (11.0004 * tsamp)
    rng = np.random.default_rng(4)
    t = np.arange(nsamps) * tsamp
    drift = 1.5 * np.sin(2 * np.pi * t / 4.7) + np.sin(2 * np.pi * t / 3.1)
    data = SIGMA_LEVELS * (rng.standard_normal((nchans, nsamps)) + drift)
    freqs = 1400.0 - np.arange(nchans)
    source = ArraySource(np.clip(np.round(data), -127, 127).astype(np.int8), freqs, tsamp)
    config = FoldConfig(nbins=32, nsubints=32, nbands=4)
    plan = plan_fold(FoldParams(freq, 0.0, 0.0), config, nsamps, tsamp)
    assert plan.in_step
    assert plan.pieces > 10
    cube = fold(source, [FoldParams(freq, 0.0, 0.0)], config)[0]
    seen = cube.variance > 0.1 * cube.variance.mean()
    z = (cube.data / np.sqrt(np.maximum(cube.variance, 1e-9)))[seen]
    # White noise but for the drift within a piece; it is 22 times that without this.
    assert np.std(z) < 1.3
    assert np.abs(z).max() < 6.0


def test_a_pulsar_in_step_with_the_samples_is_folded_as_any_other():
    freq = 2.0 / (11.0004 * 0.5e-3)
    nsamps, tsamp = 100_000, 0.5e-3
    rng = np.random.default_rng(5)
    turns = np.arange(nsamps) * tsamp * freq
    pulse = 0.8 * (np.abs(turns % 1.0 - 0.5) < 0.1)
    data = SIGMA_LEVELS * (rng.standard_normal((8, nsamps)) + pulse)
    source = ArraySource(np.clip(np.round(data), -127, 127).astype(np.int8), 1400.0 - np.arange(8), tsamp)
    config = FoldConfig(nbins=32, nsubints=32, nbands=4)
    cube = fold(source, [FoldParams(freq, 0.0, 0.0)], config)[0]
    total, variance = (x.sum(axis=(0, 1), dtype=np.float64) for x in (cube.data, cube.variance))
    ideal = 0.8 * np.sqrt(0.2 * 0.8 * nsamps * 8)
    assert best_box(total[None], variance)[0][0] > 0.85 * ideal


def test_samples_are_in_step_with_few_turns_only():
    config = FoldConfig(nbins=32, nsubints=32, nbands=4)
    rng = np.random.default_rng(6)
    plans = [plan_fold(FoldParams(float(f), 0.0, 0.0), config, 200_000, 3e-4) for f in rng.uniform(60, 700, 300)]
    assert sum(plan.in_step for plan in plans) < 6


def test_samples_in_step_over_a_long_observation_are_told_apart_in_little_memory(monkeypatch):
    freq, tsamp = 2.0 / (11.0004 * 0.5e-3), 0.5e-3
    whole = [_in_step(f, 16, 40.0, tsamp) for f in (freq, freq * 1.01)]
    monkeypatch.setattr("pulsar.folding.plan._TOGETHER", 1000)
    assert [_in_step(f, 16, 40.0, tsamp) for f in (freq, freq * 1.01)] == whole
    # Over 40 s all bins are filled several times over, over 2 s they are not.
    assert _in_step(freq, 16, 2.0, tsamp)
    assert not _in_step(freq * 1.01, 16, 2.0, tsamp)
