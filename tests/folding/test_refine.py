"""Refinement: offsets recovered within errors, S/N kept, noise left alone, equal pulses recognised."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.fold import make_source

from pulsar.config.model import FoldConfig
from pulsar.constants import KDM
from pulsar.data.fold import FoldCube, FoldParams
from pulsar.data.series import TimeSeries
from pulsar.folding.folder import fold_many, fold_series
from pulsar.folding.fundamental import choose_period
from pulsar.folding.profile import box_widths, fine_box
from pulsar.folding.refine import refine

TOBS = 600.0


def make_cube(
    rng, *, snr=40.0, fwhm=0.08, freq=10.0, dm=50.0, offsets=(0.0, 0.0, 0.0), shape=(16, 8, 64), phase=0.4, peaks=(1.0,)
):
    """A cube as the folder makes it, straight from the model; `offsets`: true minus folded freq, fdot, dm."""
    nsub, nbands, nbins = shape
    edges = np.linspace(0, TOBS, nsub + 1)
    tau = 0.5 * (edges[1:] + edges[:-1]) - 0.5 * TOBS
    freqs = np.linspace(1480.0, 1120.0, nbands)
    fref = 1500.0
    df, fd, ddm = offsets
    late = (-df * tau - 0.5 * fd * tau**2)[:, None] + freq * ddm * KDM * (freqs**-2.0 - fref**-2.0)
    sigma = fwhm / 2.3548
    pulse = np.zeros(shape)
    for i, peak in enumerate(peaks):
        x = (np.arange(nbins) + 0.5) / nbins - late[:, :, None] - phase - i / len(peaks)
        x -= np.round(x)
        pulse += peak * np.exp(-0.5 * (x / sigma) ** 2)
    flat = pulse - pulse.mean(axis=2, keepdims=True)
    variance = np.full(shape, 500.0)
    amp = snr * np.sqrt(500.0 / np.sum(flat**2))
    data = amp * pulse + np.sqrt(500.0) * rng.standard_normal(shape)
    params = FoldParams(freq, 0.0, dm)
    return FoldCube(data.astype(np.float32), variance, edges, freqs, fref, params, TOBS, 1e-4, 59000.0)


def test_errors_have_unit_scatter():
    pulls = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        true = np.array([rng.uniform(-0.3, 0.3) / TOBS, rng.uniform(-1, 1) / TOBS**2, rng.uniform(-2, 2)])
        fold = refine(make_cube(rng, snr=40, offsets=tuple(true), phase=rng.random()))
        found = np.array([fold.after.freq - 10.0, fold.after.fdot, fold.after.dm - 50.0])
        pulls.append((found - true) / [fold.freq_err, fold.fdot_err, fold.dm_err])
    scatter = np.std(pulls, axis=0)
    assert np.all(scatter < 1.35)
    assert np.all(scatter > 0.7)
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 0.45)


@pytest.mark.parametrize("snr", [15.0, 100.0, 3000.0])
def test_snr_is_that_of_the_best_boxcar(snr):
    """At most 94.3 % of the matched filter for a Gaussian, whatever the starting values lost."""
    ratios = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        fold = refine(make_cube(rng, snr=snr, offsets=(0.2 / TOBS, 0.5 / TOBS**2, 1.0), phase=rng.random()))
        assert fold.snr > fold.extra["snr_before"]
        ratios.append(fold.snr / snr)
    # Weak pulses gain a little from the noise that the best box picks up.
    assert np.median(ratios) > 0.925
    assert np.median(ratios) < 0.95 + 1.0 / snr


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 63), st.integers(0, 99))
def test_turning_the_pulse_changes_nothing_else(shift, seed):
    cube = make_cube(np.random.default_rng(seed), snr=30)
    turned = FoldCube(**{**cube.__dict__, "data": np.roll(cube.data, shift, axis=2)})
    one, other = refine(cube), refine(turned)
    assert other.snr == pytest.approx(one.snr, rel=1e-3)
    assert other.after.dm == pytest.approx(one.after.dm, abs=0.2 * one.dm_err)
    assert (other.phase - one.phase - shift / 64 + 0.5) % 1.0 - 0.5 == pytest.approx(0.0, abs=0.02)


def test_noise_stays_noise():
    snr, before = [], []
    for seed in range(40):
        fold = refine(make_cube(np.random.default_rng(seed), snr=0.0))
        snr.append(fold.snr)
        before.append(fold.extra["snr_before"])
        assert fold.extra["noise_scale"] < 1.15
    assert max(snr) < 7.0
    assert np.median(before) < 4.0


def test_parts_are_in_units_of_their_noise():
    fold = refine(make_cube(np.random.default_rng(1), snr=0.0, shape=(16, 8, 64)))
    for part in (fold.time_phase, fold.freq_phase):
        assert part.std() == pytest.approx(1.0, abs=0.08)
    assert fold.chi2_red == pytest.approx(1.0, abs=0.6)
    assert fold.profile.mean() == pytest.approx(0.0, abs=1e-5)


def test_curve_and_plane():
    fold = refine(make_cube(np.random.default_rng(2), snr=50, offsets=(0.0, 0.0, 1.5)))
    assert fold.dm_snr.shape == fold.dms.shape == fold.dm_expected.shape
    assert fold.dms[np.argmax(fold.dm_snr)] == pytest.approx(51.5, abs=2.0)
    assert np.corrcoef(fold.dm_snr, fold.dm_expected)[0, 1] > 0.98
    assert fold.p_pdot.shape == (len(fold.fdot_offsets), len(fold.freq_offsets))
    i, j = np.unravel_index(np.argmax(fold.p_pdot), fold.p_pdot.shape)
    assert abs(fold.freq_offsets[j]) < 0.1 / TOBS
    assert abs(fold.fdot_offsets[i]) < 1.0 / TOBS**2
    assert fold.extra["snr_dm0"] < 0.8 * fold.snr


def test_dm_does_not_fall_below_zero():
    fold = refine(make_cube(np.random.default_rng(3), snr=30, dm=0.5, offsets=(0.0, 0.0, -2.0)))
    assert fold.after.dm >= 0.0
    assert fold.dms.min() >= 0.0


def test_what_cannot_be_fitted_is_left_alone():
    cube = make_cube(np.random.default_rng(4), snr=30, shape=(1, 1, 64))
    fold = refine(cube)
    assert fold.after == cube.params
    assert np.isnan([fold.freq_err, fold.fdot_err, fold.dm_err]).all()
    fixed = refine(make_cube(np.random.default_rng(4)), search_dm=False, search_fdot=False)
    assert (fixed.after.dm, fixed.after.fdot) == (50.0, 0.0)
    assert np.isnan([fixed.fdot_err, fixed.dm_err]).all()
    assert fixed.freq_err > 0


def test_red_noise_lowers_the_snr():
    rng = np.random.default_rng(5)
    cube = make_cube(rng, snr=30)
    slow = np.cumsum(rng.standard_normal((16, 1, 64)), axis=2) * np.sqrt(500.0 / 8) * 0.7
    noisy = FoldCube(**{**cube.__dict__, "data": (cube.data + slow).astype(np.float32)})
    fold = refine(noisy)
    assert fold.extra["whitened"] > 5.0
    assert fold.snr < 0.8 * refine(cube).snr


def test_pulses_that_vary_are_no_noise_beside_themselves():
    """Strong ones take more from the mean of a turn than weak ones do: a level, which is not noise."""
    rng = np.random.default_rng(6)
    steady = make_cube(rng, snr=120.0, fwhm=0.1)
    plain = make_cube(np.random.default_rng(7), snr=0.0)
    heights = rng.uniform(0.4, 1.6, 16)[:, None, None]
    pulses = make_cube(np.random.default_rng(7), snr=120.0, fwhm=0.1).data - plain.data
    varying = FoldCube(
        **{**steady.__dict__, "data": (plain.data + heights / heights.mean() * pulses).astype(np.float32)}
    )
    fold = refine(varying)
    # The foot of the pulse varies, too, and is not cut off.
    assert fold.extra["noise_scale"] < 1.3
    assert fold.snr > 0.78 * refine(steady).snr


def test_a_faint_pulsar_keeps_its_signal_to_noise_beside_a_bright_one():
    def source(seed, freq, snr):
        rng = np.random.default_rng(seed)
        size = {"nchans": 16, "nsamps": 1 << 15, "tsamp": 2e-3}
        return make_source(rng, freq=freq, dm=60.0, fwhm=0.05, snr=snr, **size)

    # The bright one's pulses march through the sub-integrations of the faint one's fold.
    faint = 1 / 0.46729
    sky = source(1, 2.0, 150.0)
    added = source(2, faint, 14.0).data.astype(int) - source(2, faint, 0.0).data
    sky.data[:] = np.clip(sky.data + added, -127, 127)
    fold = refine(fold_many(sky, [FoldParams(faint, 0.0, 60.0)], FoldConfig(nbands=16), threads=1, memory=1 << 28)[0])
    assert fold.snr > 7.5
    assert fold.extra["noise_scale"] < 2.0


@pytest.mark.parametrize("apart", [-0.7, 0.5, 1.2])
def test_refinement_stays_with_its_source_beside_a_stronger_one(apart):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        shape = (32, 4, 64)
        own = make_cube(rng, snr=19.0, fwhm=0.04, phase=rng.random(), shape=shape)
        other = make_cube(rng, snr=24.0, fwhm=0.04, phase=rng.random(), shape=shape, offsets=(apart / TOBS, 0.0, 0.0))
        # The sum of two has twice the variance: S/N 13 and 17.
        fold = refine(FoldCube(**{**own.__dict__, "data": (own.data + other.data) / np.float32(np.sqrt(2.0))}))
        assert abs(fold.after.freq - 10.0) * TOBS < 0.1


def test_a_start_half_a_bin_off_still_leads_to_the_top():
    for seed in range(6):
        for snr in (25.0, 150.0):
            rng = np.random.default_rng(seed)
            fold = refine(make_cube(rng, snr=snr, fwhm=0.04, phase=rng.random(), offsets=(0.5 / TOBS, 0.0, 0.0)))
            assert abs(fold.after.freq - 10.0 - 0.5 / TOBS) * TOBS < 0.1


@pytest.mark.parametrize(
    ("peaks", "factor"),
    [
        ((1.0,), 1),
        ((1.0, 1.0), 2),
        ((1.0, 1.0, 1.0), 3),
        ((1.0,) * 4, 4),
        ((1.0, 0.5), 1),
        ((1.0, 0.7), 1),
        ((1.0, 0.02), 1),
        ((1.0, 0.6, 1.0, 0.6), 2),
    ],
)
def test_equal_pulses_are_counted_and_interpulses_kept(peaks, factor):
    for seed in range(5):
        cube = make_cube(np.random.default_rng(seed), snr=40, fwhm=0.04, peaks=peaks)
        assert choose_period([refine(cube)]).factor == factor


def test_widths():
    assert list(box_widths(8, dense=True)) == [1, 2, 3, 4]
    coarse = box_widths(256, dense=False)
    assert coarse[0] == 1
    assert coarse[-1] == 128
    assert np.all(coarse[1:] / coarse[:-1] <= 2.0)


def test_box_may_start_inside_a_bin():
    profile = np.zeros(32)
    profile[10:13] = [0.5, 1.0, 0.5]
    snr, width, phase = fine_box(np.fft.rfft(profile), np.ones(32))
    assert phase == pytest.approx(11.5 / 32, abs=0.3 / 32)
    assert width <= 3 / 32
    assert snr > 1.0


def test_samples_in_step_with_the_turn():
    """About 32 samples a turn leave half of 64 bins empty for long; coarser bins serve."""
    source = make_source(
        np.random.default_rng(7), nchans=16, nsamps=1 << 15, freq=122.09, dm=20, fwhm=0.1, snr=60
    )  # fmt: skip
    cube = fold_many(source, [FoldParams(122.09, 0.0, 20.0)], FoldConfig(), threads=1, memory=1 << 28)[0]
    fold = refine(cube)
    assert fold.extra["nbins"] <= 32
    assert fold.snr > 0.88 * 60
    assert abs(fold.after.freq - 122.09) < 5 * fold.freq_err


@pytest.mark.parametrize(
    ("name", "tsamp", "period", "tolerance", "least"),
    [
        ("GBT_J1807-0847", 163.84e-6, 0.1637113, 1e-4, 200),
        ("lovell_psr0", 0.01, 0.2265362, 2e-5, 120),
        ("lovell_psr5", 0.01, 0.714571, 2e-5, 45),
        ("lovell_psr2", 0.0025, 0.476596, 3e-5, 30),
    ],
)
def test_real_pulsars(shared_data: Path, name, tsamp, period, tolerance, least):
    data = np.fromfile(shared_data / "series" / f"{name}.dat", dtype=np.float32)
    tobs = len(data) * tsamp
    series = TimeSeries(data, tsamp)
    freq = 1.0 / period
    once, twice = fold_series(series, [FoldParams(freq + 0.1 / tobs), FoldParams(0.5 * freq)], FoldConfig())
    fold = refine(once)
    assert 1.0 / fold.after.freq == pytest.approx(period, rel=tolerance)
    assert fold.snr > least
    assert choose_period([fold]).factor == 1
    assert choose_period([refine(twice)]).factor == 2


def test_few_turns_and_long_delays_do_not_bias_the_dm():
    """With one turn a sub-integration, pulses lie away from its middle, and elsewhere in every band."""
    pulls = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        source = make_source(
            rng, nchans=16, nsamps=1 << 14, tsamp=1e-3, freq=0.9, dm=300.0, fwhm=0.06, snr=80, phase=rng.random()
        )
        start = FoldParams(0.9 + 0.1 / 16.4, 0.0, 300.0)
        fold = refine(fold_many(source, [start], FoldConfig(nbands=16), threads=1, memory=1 << 28)[0])
        pulls.append(((fold.after.freq - 0.9) / fold.freq_err, (fold.after.dm - 300.0) / fold.dm_err))
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 1.5)


def slow_cube(rng, *, turns: float, fdot: float = 0.0, snr: float = 0.0, tobs: float = 60.0, drift: float = 0.0):
    """A dedispersed series of a slow source, folded with `fdot`; the pulse itself drifts by `drift` [Hz/s]."""
    n, freq = 1 << 14, turns / tobs
    tsamp = tobs / n
    t = (np.arange(n) + 0.5) * tsamp - 0.5 * tobs
    x = freq * t + 0.5 * drift * t**2 - 0.3
    x -= np.round(x)
    pulse = np.exp(-0.5 * (x / 0.03) ** 2)
    data = rng.standard_normal(n) + snr / np.sqrt(np.sum((pulse - pulse.mean()) ** 2)) * pulse
    return fold_series(TimeSeries(data.astype(np.float32), tsamp), [FoldParams(freq, fdot)], FoldConfig(nbins=64))[0]


@pytest.mark.parametrize("turns", [2.2, 3.0, 7.5, 40.0])
def test_refinement_stays_within_what_the_data_and_physics_allow(turns):
    tobs, light = 60.0, 299792458.0
    for seed in range(10):
        for fdot in (0.0, 150.0 / tobs**2):
            fold = refine(slow_cube(np.random.default_rng(seed), turns=turns, fdot=fdot), search_dm=False)
            assert fold.after.freq * tobs >= 2.0 - 1e-9
            assert np.all(fold.before.freq + fold.freq_offsets >= 2.0 / tobs - 1e-12)
            # A derivative that was found in noise, 10^6 m/s^2 and more, is not kept.
            assert abs(fold.after.fdot) * light / fold.before.freq < 1001.0


def test_refinement_stays_below_nyquist():
    rng = np.random.default_rng(0)
    series = TimeSeries(rng.standard_normal(1 << 14).astype(np.float32), 1e-3)
    for cube in fold_series(series, [FoldParams(499.99), FoldParams(499.6)], FoldConfig()):
        fold = refine(cube)
        assert fold.after.freq <= 500.0 + 1e-9


def test_a_drift_beyond_pulsars_is_kept_only_where_it_is_sure():
    fdot = 6.0 / 60.0**2
    real = refine(slow_cube(np.random.default_rng(1), turns=200.0, fdot=fdot, snr=30.0, drift=fdot), search_dm=False)
    assert real.after.fdot == pytest.approx(fdot, abs=5.0 * real.fdot_err)
    assert real.snr > 25.0
    steady = refine(slow_cube(np.random.default_rng(1), turns=200.0, fdot=fdot, snr=30.0), search_dm=False)
    assert abs(steady.after.fdot) * 299792458.0 / steady.after.freq < 1001.0
    # The turns were smeared within the sub-integrations while they were folded.
    assert steady.snr > 23.0
    assert abs(steady.after.freq - 200.0 / 60.0) < 5.0 * steady.freq_err


def test_acceleration_of_a_binary_is_still_found():
    accel = 30.0
    fdot = -accel * 10.0 / 299792458.0
    fold = refine(make_cube(np.random.default_rng(2), snr=30, offsets=(0.0, fdot, 0.0)))
    assert fold.after.fdot == pytest.approx(fdot, abs=5.0 * fold.fdot_err)
    assert fold.fdot_err < 0.2 * abs(fdot)


@pytest.mark.parametrize("turns", [-2.5, -1.3, 1.6, 2.5])
def test_a_strong_signal_found_turns_away_from_its_dm_is_followed_to_it(turns):
    # Delays of so many turns between the outer bands; a grid reaches one at most.
    rng = np.random.default_rng(8)
    reach = 10.0 * KDM * (1120.0**-2.0 - 1480.0**-2.0)
    ddm = turns / reach
    fold = refine(make_cube(rng, snr=200.0, dm=300.0, fwhm=0.1, shape=(16, 64, 64), offsets=(0.0, 0.0, ddm)))
    assert abs(fold.after.dm - 300.0 - ddm) < 4.0 * fold.dm_err
    assert fold.snr > 0.9 * 200.0


def test_a_dm_is_not_followed_below_zero():
    rng = np.random.default_rng(9)
    fold = refine(make_cube(rng, snr=200.0, dm=20.0, fwhm=0.2, offsets=(0.0, 0.0, -60.0)))
    assert fold.after.dm == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize("duty", [0.4, 0.75, 0.9])
def test_a_pulse_of_more_than_half_a_turn_has_its_dm_and_period_within_errors(duty):
    """A box of half a turn holds as much of it wherever it is: the grid ended a tenth of a turn away."""
    pulls = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        df, ddm = rng.uniform(-0.3, 0.3) / TOBS, rng.uniform(-8.0, 8.0)
        # Gaussians side by side make a top-hat with soft edges; what is missing of the turn tells where it is.
        cube = make_cube(rng, snr=80.0, fwhm=0.05, shape=(16, 16, 128), offsets=(df, 0.0, ddm))
        noise = make_cube(np.random.default_rng(seed + 100), snr=0.0, shape=(16, 16, 128)).data
        spectra = np.fft.rfft(cube.data, axis=2) * np.sinc(duty * np.arange(65))
        wide = np.fft.irfft(spectra, 128, axis=2)
        wide *= 80.0 * np.sqrt(500.0 / np.sum((wide - wide.mean(axis=2, keepdims=True)) ** 2))
        cube = dataclasses.replace(cube, data=(wide + noise).astype(np.float32))
        fold = refine(cube)
        pulls.append([(fold.after.freq - 10.0 - df) / fold.freq_err, (fold.after.dm - 50.0 - ddm) / fold.dm_err])
    assert np.abs(pulls).max() < 4.0


def test_pulses_that_vary_are_no_noise_beside_them():
    # Sub-integrations of few turns are early and late, bright and faint: what is beside the pulse is white noise.
    rng = np.random.default_rng(19)
    nsub, nbins, width = 64, 128, 0.1
    phase = (np.arange(nbins) + 0.5) / nbins - 0.5
    late, bright = 0.01 * rng.normal(size=(nsub, 1)), 1.0 + 0.3 * rng.normal(size=(nsub, 1))
    data = 30.0 * bright * np.exp(-0.5 * ((phase - late) / (width / 2.3548)) ** 2) + rng.normal(size=(nsub, nbins))
    edges = np.linspace(0.0, 640.0, nsub + 1)
    cube = FoldCube(
        data[:, None, :].astype(np.float32), np.ones((nsub, 1, nbins)), edges, np.array([1400.0]), 1400.0,
        FoldParams(1.0, 0.0, 0.0), 640.0, 1e-3, 60000.0,
    )  # fmt: skip
    assert refine(cube).extra["noise_scale"] == 1.0
