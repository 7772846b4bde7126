"""Mask and cleaned source on an observation in memory; a last block that is shorter than the others."""

import warnings

import numpy as np
import pytest
from reference.masks import Noise
from reference.observed import ArrayObservation, bits, cleaned, noise

from pulsar.cleaning.mask import CAUSES, make_mask
from pulsar.cleaning.robust import median, smooth
from pulsar.cleaning.statistics import measure
from pulsar.config.model import RfiConfig
from pulsar.data.observation import Gap
from pulsar.data.source import SIGMA_LEVELS
from pulsar.errors import DataError


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_clean_noise_is_kept_and_normalised(dtype):
    mask, _, out = cleaned(ArrayObservation(noise(dtype=dtype).astype(dtype)))
    assert mask.chan_ok.all()
    assert mask.fraction_lost < 0.002
    assert np.abs(out.std(axis=1) / SIGMA_LEVELS - 1).max() < 0.02
    assert np.abs(out.mean(axis=1)).max() < 0.5


def test_bad_channels_are_masked_with_their_reason():
    data = noise()
    rng = np.random.default_rng(9)
    data[5] = 17
    data[10] = 255
    data[20] = 100 + 40 * rng.standard_normal(data.shape[1])
    data[30] += 30 * (np.arange(data.shape[1]) // 3000 % 2)
    data[40][rng.random(data.shape[1]) < 0.1] = 255
    config = RfiConfig(block=1.0, zap=((1439.6, 1440.4),))
    mask, source, out = cleaned(ArrayObservation(np.clip(np.round(data), 0, 255).astype(np.uint8)), config)
    assert mask.reasons[5] == "constant"
    assert mask.reasons[10] == "constant"
    assert mask.reasons[20] == "noise outlier"
    assert mask.reasons[30] in ("variable", "noise outlier")
    assert mask.reasons[40] == "saturated"
    assert mask.reasons[60] == "zapped"
    assert set(np.flatnonzero(~mask.chan_ok)) == {5, 10, 20, 30, 40, 60}
    assert source.nchans == out.shape[0] == 58
    assert "6 of 64 channels masked" in mask.summary()


def test_a_bad_block_of_one_channel_is_zero():
    data = noise()
    data[7, 10_000:12_000] += 60
    mask, source, out = cleaned(ArrayObservation(np.clip(np.round(data), 0, 255).astype(np.uint8)))
    assert mask.chan_ok[7]
    assert (out[7, 10_500:11_500] == 0).all()
    assert mask.bad[:, 7].sum() >= 1
    assert mask.bad.mean() < 0.01
    assert source.valid_fraction(10_000, 1000) < 1.0
    assert source.valid_fraction(30_000, 1000) == 1.0


def test_a_broadband_burst_is_not_masked():
    data = noise()
    data[:, 20_000:20_050] += 40
    mask, _, out = cleaned(ArrayObservation(np.clip(np.round(data), 0, 255).astype(np.uint8)))
    assert not mask.bad.any()
    assert out[:, 20_000:20_050].mean() > 2 * SIGMA_LEVELS


def test_bandpass_and_drift_are_removed():
    t = np.arange(100_000) / 1000.0
    data = noise(nsamps=100_000) + 15 * np.sin(2 * np.pi * t / 400)
    mask, _, out = cleaned(
        ArrayObservation(np.clip(np.round(data), 0, 255).astype(np.uint8)), RfiConfig(block=1.0, baseline=10.0)
    )
    assert mask.chan_ok.all()
    slow = out.mean(axis=0).reshape(50, -1).mean(axis=1)
    assert np.abs(slow).max() < 0.1 * SIGMA_LEVELS


def test_zero_dm_removes_what_all_channels_share():
    data = noise()
    data[:, 5000:5100] += 50
    obs = ArrayObservation(np.clip(np.round(data), 0, 255).astype(np.uint8))
    _, _, out = cleaned(obs, RfiConfig(block=1.0, zerodm="mean"))
    assert abs(out[:, 5000:5100].mean()) < 1.0
    assert np.abs(out.mean(axis=0)).max() < 1.5


@pytest.mark.parametrize("zerodm", ["off", "mean", "zdot"])
def test_any_cut_gives_the_same_samples(zerodm):
    t = np.arange(60_000) / 1000.0
    data = np.clip(np.round(noise(8, 60_000) + 10 * np.sin(t / 20)), 0, 255).astype(np.uint8)
    obs = ArrayObservation(data)
    _, source, whole = cleaned(obs, RfiConfig(block=1.0, baseline=8.0, zerodm=zerodm))
    rng = np.random.default_rng(4)
    at = 0
    while at < 60_000:
        n = int(rng.integers(1, 9000))
        part = np.empty((8, n), dtype=np.int8)
        source.read_into(at, part)
        keep = min(n, 60_000 - at)
        np.testing.assert_array_equal(part[:, :keep], whole[:, at : at + keep])
        assert (part[:, keep:] == 0).all()
        at += n


def test_samples_before_the_start_are_zero():
    _, source, whole = cleaned(ArrayObservation(noise(8, 5000).astype(np.uint8)))
    part = np.ones((8, 200), dtype=np.int8)
    source.read_into(-150, part)
    assert (part[:, :150] == 0).all()
    np.testing.assert_array_equal(part[:, 150:], whole[:, :50])


def test_gaps_are_zero_and_do_not_enter_the_statistics():
    data = noise().astype(np.uint8)
    data[:, 8000:12_000] = 0
    gap = Gap(8000, 4000, "missing")
    mask, source, out = cleaned(ArrayObservation(data, gaps=(gap,)))
    assert mask.chan_ok.all()
    assert (out[:, 8000:12_000] == 0).all()
    assert np.abs(out[:, :8000].std(axis=1) / SIGMA_LEVELS - 1).max() < 0.03
    assert source.valid_fraction(8000, 4000) == 0.0
    assert source.valid_fraction(6000, 4000) == pytest.approx(0.5, abs=0.01)


def test_nan_and_constant_floats():
    data = noise(32, 20_000, np.float32).astype(np.float32)
    data[3] = np.nan
    data[4] = 12.5
    data[5, 100:110] = np.nan
    mask, _, out = cleaned(ArrayObservation(data))
    assert mask.reasons[3] == "no finite data"
    assert mask.reasons[4] == "constant"
    assert mask.chan_ok.sum() == 30
    assert np.abs(out.std(axis=1) / SIGMA_LEVELS - 1).max() < 0.05


def test_nothing_left_says_why():
    obs = ArrayObservation(np.full((16, 5000), 7, dtype=np.uint8))
    config = RfiConfig()
    with pytest.raises(DataError, match="all 16 channels are masked \\(16 constant\\)"):
        make_mask(obs, measure(obs, config), config)


def test_a_single_channel_and_masking_switched_off():
    data = noise(20, 5000)
    data[3] = 100 + 60 * np.random.default_rng(2).standard_normal(5000)
    data = np.clip(np.round(data), 0, 255).astype(np.uint8)
    mask, _, _ = cleaned(ArrayObservation(data), RfiConfig(enabled=False))
    assert mask.chan_ok.all()
    mask, _, out = cleaned(ArrayObservation(data[:1]))
    assert mask.chan_ok.all()
    assert out.std() == pytest.approx(SIGMA_LEVELS, rel=0.05)


def test_threads_do_not_change_the_statistics():
    obs = ArrayObservation(noise(16, 30_000).astype(np.uint8))
    one, two = (measure(obs, RfiConfig(), threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.mean, two.mean)
    np.testing.assert_array_equal(one.std, two.std)


def test_smoothing_takes_a_channel_that_is_masked_throughout():
    # Warnings are errors here; a long observation has a running median, a short one a constant.
    for nblocks in (4, 40):
        bad = np.zeros((nblocks, 3), dtype=bool)
        bad[:, 1] = True
        out = smooth(np.ones((nblocks, 3)), bad, 10)
        assert np.all(np.isnan(out[:, 1]))
        assert np.all(out[:, [0, 2]] == 1.0)


def test_a_wide_window_follows_what_a_narrow_one_follows():
    rng = np.random.default_rng(5)
    t = np.linspace(0, 1, 400)[:, None]
    values = 100 + 20 * t + 5 * np.sin(6 * t) + 0.1 * rng.standard_normal((400, 3))
    bad = rng.random((400, 3)) < 0.05
    values[bad] += 50
    wide = smooth(values, bad, 100)
    truth = 100 + 20 * t + 5 * np.sin(6 * t)
    assert np.abs(wide - truth)[20:-20].max() < 1.0
    assert np.abs(wide - truth).max() < 2.5


def test_a_period_of_a_tenth_of_the_data_is_kept():
    t = np.arange(200_000) * 2e-3
    data = noise(32, 200_000) + 6.0 * (np.mod(t / 40.0, 1) < 0.2)
    obs = ArrayObservation(np.clip(np.round(data), 0, 255).astype(np.uint8), tsamp=2e-3)
    _, _, out = cleaned(obs, RfiConfig())
    folded = out.mean(axis=0).reshape(-1, 20_000).mean(axis=0)
    height = folded[1000:3000].mean() - folded[5000:].mean()
    sigma = np.median(noise(32, 2000).std(axis=1))
    assert height == pytest.approx(6.0 / sigma * SIGMA_LEVELS, rel=0.1)


@pytest.mark.parametrize("shape", [(7, 5), (1, 4), (50, 33)])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_median_is_that_of_what_is_known(shape, axis):
    rng = np.random.default_rng(1)
    values = rng.normal(size=shape)
    values[rng.random(shape) < 0.3] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # rows without a value
        want = np.nanmedian(values, axis=axis)
    np.testing.assert_array_equal(median(values, axis), want)
    # Without an axis all values are one row.
    row = (values, axis) if axis is not None else (values.reshape(-1), None)
    np.testing.assert_array_equal(median(*row, keepdims=True), np.expand_dims(want, axis or 0))


def causes(mask, cause):
    return (mask.why >> CAUSES.index(cause)) & 1 > 0


@pytest.mark.parametrize(("nchans", "nsamps", "tsamp"), [(64, 60_000, 1e-3), (512, 40_000, 2e-4), (1024, 4000, 1e-3)])
def test_of_clean_noise_less_than_one_percent_is_masked(nchans, nsamps, tsamp):
    obs = ArrayObservation(bits(noise(nchans, nsamps, seed=3)), tsamp=tsamp)
    mask = make_mask(obs, measure(obs, RfiConfig()), RfiConfig())
    assert mask.chan_ok.all()
    assert mask.fraction_lost < 0.005
    assert len(mask.clipped) == 0


def test_the_shape_of_the_distribution_tells_weak_bursts_of_one_channel():
    data = noise(64, 40_000)
    rng = np.random.default_rng(1)
    # One sample of 125: the noise grows by a tenth.
    hit = rng.random(40_000) < 0.008
    data[9] += 5.0 * 17 * hit
    data[22, 20_000:24_000] += 5.0 * 17 * hit[20_000:24_000]
    obs = ArrayObservation(bits(data))
    mask = make_mask(obs, measure(obs, RfiConfig(block=1.0)), RfiConfig(block=1.0))
    assert mask.reasons[9] == "not noise"
    assert mask.chan_ok.sum() == 63
    assert causes(mask, "shape")[20:24, 22].sum() >= 3
    assert mask.bad[:, 22].sum() <= 6
    off = make_mask(obs, measure(obs, RfiConfig(block=1.0)), RfiConfig(block=1.0, kurtosis=0.0))
    assert off.chan_ok.all()


def test_a_line_of_its_own_masks_a_channel_and_a_common_one_does_not():
    data = noise(64, 40_000)
    t = np.arange(40_000) * 1e-3
    data[12, 10_000:30_000] += 9.0 * np.sin(2 * np.pi * 61.0 * t)[10_000:30_000]
    data += 8.0 * np.sin(2 * np.pi * 33.0 * t)  # a hum, or a pulsar, in all of them
    obs = ArrayObservation(bits(data))
    stats = measure(obs, RfiConfig(block=1.0))
    assert stats.bins[15, 12] * stats.bin_width == pytest.approx(61.0, abs=1.0)
    mask = make_mask(obs, stats, RfiConfig(block=1.0, kurtosis=0.0, iqrm=0.0))
    lines = causes(mask, "line")
    assert lines[10:30, 12].all()
    assert not lines[:, np.arange(64) != 12].any()
    assert not make_mask(obs, stats, RfiConfig(block=1.0, kurtosis=0.0, iqrm=0.0, fourier=0.0)).bad.any()


def test_neighbours_vote_for_blocks_that_are_a_little_noisier():
    data = noise(256, 40_000, seed=2)
    data[100:104, 8000:16_000] *= 1.0
    middle = data[100:104, 8000:16_000].mean(axis=1, keepdims=True)
    data[100:104, 8000:16_000] = middle + 1.15 * (data[100:104, 8000:16_000] - middle)
    obs = ArrayObservation(bits(data))
    stats = measure(obs, RfiConfig(block=1.0))
    mask = make_mask(obs, stats, RfiConfig(block=1.0))
    assert causes(mask, "neighbours")[8:16, 100:104].mean() > 0.9
    assert not make_mask(obs, stats, RfiConfig(block=1.0, iqrm=0.0)).bad[8:16, 100:104].any()


def test_masks_grow_over_holes():
    data = noise(64, 64_000)
    for block in (*range(20, 24), *range(25, 30)):
        data[5, 1000 * block : 1000 * (block + 1)] += 60
    obs = ArrayObservation(bits(data))
    stats = measure(obs, RfiConfig(block=1.0))
    assert causes(make_mask(obs, stats, RfiConfig(block=1.0)), "grown")[24, 5]
    assert not make_mask(obs, stats, RfiConfig(block=1.0, grow=0.0)).bad[24, 5]


def strike(data, times, strength):
    """Add impulses of four samples, `strength` sigma in every channel."""
    for at in times:
        data[:, at : at + 4] += 14.0 * strength


def clipped_samples(mask, n):
    clipped = np.zeros(n, dtype=bool)
    for a, b in mask.clipped:
        clipped[a:b] = True
    return clipped


def clipped_in(data, tsamp, fch1=1500.0, foff=-2.0):
    """Which samples of an observation are clipped."""
    mask, _, _ = cleaned(ArrayObservation(bits(data), tsamp=tsamp, fch1=fch1, foff=foff))
    return clipped_samples(mask, data.shape[1])


def test_impulses_are_clipped_and_dispersed_pulses_are_not():
    tsamp, n = 1e-4, 60_000
    data = noise(256, n, seed=4)
    sigma = 14.0
    data[:, 12_000:12_003] += 1.0 * sigma  # in every channel 1 sigma: 28 in all of them
    data[:, 33_333] += 2.0 * sigma
    # A pulse of DM 5, 400 sigma: 15 sigma in every sample of every channel, so bright that all bands see it.
    freqs = 1500.0 - np.arange(256)
    start = 45_000 + np.round(5.0 / 2.41e-4 * (freqs**-2.0 - 1500.0**-2.0) / tsamp).astype(int)
    for c in range(256):
        data[c, start[c] : start[c] + 6] += 8.0 * sigma
    # Slow and undispersed: it could be a pulse of a small DM.
    data[:, 52_000:52_400] += 0.12 * sigma
    mask, source, out = cleaned(ArrayObservation(bits(data), tsamp=tsamp))
    clipped = clipped_samples(mask, n)
    assert clipped[12_000:12_003].all()
    assert clipped[33_333]
    assert clipped.sum() < 25
    assert (out[:, 33_333] == 0).all()
    assert source.valid_fraction(33_300, 100) == pytest.approx(1 - clipped[33_300:33_400].mean())
    assert mask.clipped_samples.sum() == clipped.sum()
    assert f"{len(mask.clipped)} impulses clipped" in mask.summary()
    off, _, kept = cleaned(ArrayObservation(bits(data), tsamp=tsamp), RfiConfig(clip=0.0))
    assert len(off.clipped) == 0
    assert kept[:, 33_333].mean() > SIGMA_LEVELS


def test_dropouts_are_clipped():
    tsamp, n = 1e-4, 60_000
    data = noise(64, n, seed=5)
    for at in range(3000, n - 3000, 5000):
        data[:, at : at + 80] = 0.0
    mask, _, out = cleaned(ArrayObservation(bits(data), tsamp=tsamp))
    assert len(mask.clipped) == 11
    for at in range(3000, n - 3000, 5000):
        # The level beside them: the baseline, of means, is lower for the dropouts.
        assert abs(out[:, at : at + 80].mean() - out[:, at - 160 : at + 240].mean()) < 0.5
    assert mask.clipped_samples.sum() < 1.5 * 11 * 80


def test_impulses_in_a_part_of_the_band_are_clipped():
    tsamp, n = 2.5e-4, 40_000
    data = noise(128, n, seed=6)
    times = range(2000, n - 2000, 3000)
    for k, at in enumerate(times):
        data[9 * k % 80 : 9 * k % 80 + 48, at : at + 3] += 14.0 * 4.0
    # As strong a pulse of DM 10 in as many channels stays.
    freqs = 1500.0 - 2.0 * np.arange(128)
    start = 20_600 + np.round(10.0 / 2.41e-4 * (freqs**-2.0 - 1500.0**-2.0) / tsamp).astype(int)
    for c in range(40, 88):
        data[c, start[c] : start[c] + 3] += 14.0 * 4.0
    clipped = clipped_in(data, tsamp)
    assert all(clipped[at : at + 3].all() for at in times)
    assert clipped.sum() < 7 * len(times)


def test_impulses_are_clipped_under_a_hum():
    """Its crests would be clipped with them, more than a fifth of all samples: then none were clipped at all."""
    tsamp, n = 2.5e-4, 12_000
    data = noise(128, n, seed=7) + 14.0 * 1.0 * (50.02 * np.arange(n) * tsamp % 1.0 < 0.28)
    times = range(2000, n - 2000, 3000)
    strike(data, times, 3.0)
    clipped = clipped_in(data, tsamp)
    assert all(clipped[at : at + 4].all() for at in times)
    assert clipped.mean() < 0.03


def test_crests_of_a_weak_hum_are_no_impulses():
    """A part of them passed for impulses: without these the level fell for as long as they were high."""
    tsamp, n = 5e-4, 32_000
    # Every other second, as strong in its harmonics as a rectifier makes it.
    turns, on = 60.02 * np.arange(n) * tsamp, np.arange(n) * tsamp % 2.0 < 0.8
    wave = sum(np.cos(2 * np.pi * k * turns) / k for k in range(1, 9))
    data = noise(256, n, seed=9) + 14.0 * 0.15 * wave * on
    times = range(2000, n - 2000, 4000)
    strike(data, times, 3.0)
    clipped = clipped_in(data, tsamp, fch1=1460.0, foff=-1.0)
    assert all(clipped[at : at + 4].all() for at in times)
    assert clipped.sum() < 3 * 4 * len(times)


@pytest.mark.parametrize("every", [200, 333])
def test_a_train_of_impulses_is_no_hum(every):
    tsamp, n = 5e-4, 32_000
    data = noise(256, n, seed=10)
    times = range(1000, n - 1000, every)
    strike(data, times, 2.0)
    clipped = clipped_in(data, tsamp, fch1=1460.0, foff=-1.0)
    assert all(clipped[at : at + 4].all() for at in times)
    assert clipped.sum() < 3 * 4 * len(times)


def test_holes_that_clipping_leaves_have_the_level_beside_them():
    tsamp, n = 2.5e-4, 40_000
    wave = np.sin(2 * np.pi * np.arange(n) * tsamp / 3.0)
    data = noise(128, n, seed=8) + 14.0 * 0.25 * wave
    times = range(2000, n - 2000, 1500)
    for at in times:
        data[:, at : at + 8] += 14.0 * 2.0
    mask, source, out = cleaned(ArrayObservation(bits(data), tsamp=tsamp, fch1=1500.0, foff=-2.0))
    assert clipped_samples(mask, n)[list(times)].all()
    for a, b in mask.clipped:
        beside = np.concatenate((out[:, a - 64 : a], out[:, b : b + 64]), axis=1)
        assert abs(out[:, a:b].mean() - beside.mean()) < 0.25
    # It does not matter where a piece begins or ends.
    a, b = (int(x) for x in mask.clipped[3])
    for lo, hi in ((a + 3, b + 5), (a - 9, a + 4), (a + 2, b - 2)):
        part = np.empty((out.shape[0], hi - lo), dtype=np.int8)
        source.read_into(lo, part)
        assert np.array_equal(part, out[:, lo:hi])


def test_a_hum_is_not_clipped_away():
    tsamp, n = 1e-4, 8000
    data = noise(64, n) + 60.0 * (np.arange(n) % 40 < 10)
    mask, _, _ = cleaned(ArrayObservation(bits(data), tsamp=tsamp))
    assert len(mask.clipped) == 0


def test_matched_zero_dm_takes_from_each_channel_what_it_has():
    n = 40_000
    data = noise(64, n)
    rng = np.random.default_rng(8)
    common = np.repeat(rng.normal(0, 20, n // 20), 20)
    gain = np.linspace(0.2, 1.5, 64)[:, None]
    obs = ArrayObservation(bits(data + gain * common))
    left = {}
    for kind in ("off", "mean", "zdot"):
        _, _, out = cleaned(obs, RfiConfig(enabled=False, zerodm=kind))
        series = np.repeat(common.reshape(-1, 20).mean(axis=1), 20)
        left[kind] = np.abs([np.corrcoef(row, series)[0, 1] for row in out]).max()
    assert left["off"] > 0.5
    assert left["zdot"] < 0.1
    assert left["zdot"] < 0.3 * left["mean"]


def test_matched_zero_dm_leaves_noise_alone():
    obs = ArrayObservation(bits(noise(128, 40_000)))
    _, _, plain = cleaned(obs, RfiConfig())
    _, _, out = cleaned(obs, RfiConfig(zerodm="zdot"))
    kept = out.astype(float).sum(axis=0).std() / plain.astype(float).sum(axis=0).std()
    assert kept > 0.85
    _, _, out = cleaned(obs, RfiConfig(zerodm="mean"))
    assert out.astype(float).sum(axis=0).std() < 0.35 * plain.astype(float).sum(axis=0).std()


def test_zero_dm_knows_the_bandpass():
    n = 40_000
    rng = np.random.default_rng(8)
    gain = np.linspace(0.6, 1.6, 64)[:, None]
    common = np.repeat(rng.normal(0, 0.1, n // 20), 20)
    # The whole power changes by one factor: the noise is a tenth of it, but half as large in every second channel.
    noisy = np.where(np.arange(64) % 2, 0.1, 0.05)[:, None]
    data = 100 * gain * (1 + common + noisy * rng.normal(size=(64, n)))
    _, _, out = cleaned(ArrayObservation(bits(data)), RfiConfig(enabled=False, zerodm="mean"))
    assert max(abs(np.corrcoef(row, common)[0, 1]) for row in out) < 0.1


def test_a_jump_of_the_gain_cuts_the_baseline():
    n = 60_000
    data = noise(64, n)
    data[:, 25_100:] *= 1.06
    mask, _, out = cleaned(ArrayObservation(bits(data)), RfiConfig())
    jump = causes(mask, "jump")
    assert jump.all(axis=1).sum() == 2
    assert jump[100:102].all()
    series = out.astype(float).mean(axis=0)
    before, after = series[20_000:25_000].mean(), series[25_500:30_000].mean()
    assert abs(after - before) < 0.02 * SIGMA_LEVELS
    _, _, plain = cleaned(ArrayObservation(bits(data)), RfiConfig(enabled=False))
    series = plain.astype(float).mean(axis=0)
    assert abs(series[25_500:30_000].mean() - series[20_000:25_000].mean()) > 0.05 * SIGMA_LEVELS


@pytest.mark.parametrize("first", [0, 25_100, 58_400])
def test_a_dropout_of_seconds_is_masked(first):
    lost = noise(64, 60_000, seed=5)
    # Half of the power, with noise of its own: no repeated spectra.
    lost[:, first : first + 1_600] -= 20.0
    mask, _, out = cleaned(ArrayObservation(bits(lost)), RfiConfig())
    dropout = causes(mask, "dropout").all(axis=1)
    assert dropout[-(-first // 250) : (first + 1_600) // 250].all()
    assert dropout.sum() <= 8
    assert abs(out.astype(float).mean(axis=0).reshape(-1, 250).mean(axis=1)).max() < 0.2 * SIGMA_LEVELS


def test_a_level_that_falls_often_is_no_dropout():
    n = 60_000
    often = noise(64, n, seed=5)
    often[:, np.arange(n) % 3_000 < 1_000] -= 20.0
    mask, _, _ = cleaned(ArrayObservation(bits(often)), RfiConfig())
    assert not causes(mask, "dropout").any()


def test_what_is_short_or_slow_is_no_dropout():
    n = 60_000
    short = noise(64, n, seed=5)
    for first in range(3_100, n - 3_000, 5_000):
        short[:, first : first + 5] -= 20.0
    mask, _, _ = cleaned(ArrayObservation(bits(short)), RfiConfig())
    assert mask.fraction_lost < 0.01
    drift = noise(64, n, seed=6) * np.linspace(1.0, 0.7, n)
    mask, _, _ = cleaned(ArrayObservation(bits(drift)), RfiConfig())
    assert not causes(mask, "dropout").any()


def test_noise_that_is_not_white_is_found_however_wide_the_band():
    n = 40_000
    data = noise(128, n, seed=6)
    rng = np.random.default_rng(6)
    # A third of the band, its power modulated at 10 ms: wider than any window over frequency.
    power = np.repeat(rng.exponential(1.0, n // 10), 10)
    data[40:80] += 12.0 * power
    # And some blocks of one channel.
    data[100, 8000:16_000] += 30.0 * power[8000:16_000]
    config = RfiConfig(kurtosis=0.0, fourier=0.0, iqrm=0.0)
    obs = ArrayObservation(bits(data))
    mask = make_mask(obs, measure(obs, config), config)
    assert not mask.chan_ok[40:80].any()
    assert mask.chan_ok.sum() == 88
    assert mask.reasons[60] in ("not white", "variable", "noise outlier")
    assert causes(mask, "not white")[32:64, 100].mean() > 0.7
    assert causes(mask, "not white")[:, 100].sum() <= 34
    off = config.model_copy(update={"excess": 0.0})
    assert not causes(make_mask(obs, measure(obs, off), off), "not white").any()


def test_impulses_do_not_spare_a_narrow_band_that_is_there_meanwhile():
    # An impulse is raised in all channels, like a burst along its track, which is spared.
    sigma = 15.0
    rng = np.random.default_rng(12)
    nchans, nsamps, low, high = 128, 40_000, 12_000, 24_000
    data = 100.0 + sigma * rng.standard_normal((nchans, nsamps))
    slow = np.interp(np.arange(high - low), np.linspace(0, high - low, 40), rng.uniform(0.4, 1.0, 40))
    data[50:53, low:high] += 4.0 * sigma * (slow + 0.5 * rng.standard_normal(high - low))
    starts = rng.integers(0, nsamps - 20, 20)
    for start in (*starts, 14_050, 17_050, 20_050, 23_050):
        data[:, start : start + 16] += 6.0 * sigma
    mask, _, _ = cleaned(ArrayObservation(bits(data)), RfiConfig(block=0.25))
    inside = (mask.edges[:-1] >= low) & (mask.edges[1:] <= high)
    assert mask.bad[inside][:, 50:53].mean() > 0.97
    assert mask.bad[:, [48, 49, 53, 54]].mean() < 0.05


def test_no_lines_in_a_short_last_block():
    obs = Noise(20_700)
    stats = measure(obs, RfiConfig(block=1.0))
    lengths = np.diff(stats.edges)
    assert lengths[-1] < lengths[0]
    assert np.isfinite(stats.fourier[:-1]).all()
    assert np.isnan(stats.fourier[-1]).all()
    assert np.isnan(stats.excess[-1]).all()
    assert make_mask(obs, stats, RfiConfig(block=1.0)).fraction_lost < 0.01


def test_a_longer_one_has_its_lines():
    stats = measure(Noise(20_300), RfiConfig(block=1.0))
    lengths = np.diff(stats.edges)
    assert lengths[-1] > lengths[0]
    assert np.isfinite(stats.fourier).all()
    assert np.nanmax(np.abs(stats.excess)) < 1.0
