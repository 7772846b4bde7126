"""Features and score of simulated pulsars, noise and interference."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.fold import make_source

from pulsar.config.model import FoldConfig
from pulsar.data.fold import FoldParams
from pulsar.folding.folder import fold_many
from pulsar.folding.refine import MOST_ACCEL, refine
from pulsar.sources.features import (
    FEATURE_NAMES,
    FEATURES,
    box_amplitudes,
    features,
    fewest_scintles,
    persistence,
    vector,
)
from pulsar.sources.score import DEFAULT, reasons, score, shipped

SMALL = {"nchans": 32, "nsamps": 1 << 14}


def folds(source, params):
    cubes = fold_many(source, params, FoldConfig(nsubints=16, nbands=16), threads=1, memory=1 << 28)
    return [refine(c) for c in cubes]


def test_features_have_a_fixed_order_and_descriptions():
    fold = folds(make_source(np.random.default_rng(0), snr=20, **SMALL), [FoldParams(11.3, 0.0, 40.0)])[0]
    values = features(fold, sigma=8.0, ndetections=12)
    assert tuple(values) == FEATURE_NAMES
    assert len(set(FEATURE_NAMES)) == len(FEATURES)
    assert all(FEATURES.values())
    assert vector(values).shape == (len(FEATURES),)
    assert values["ndetections"] == 12
    assert values["sigma"] == 8.0


def test_noise_scores_low():
    rng = np.random.default_rng(1)
    params = [FoldParams(float(np.exp(f)), 0.0, float(d)) for f, d in rng.uniform([1.0, 0.0], [6.5, 300.0], (60, 2))]
    for fold in folds(make_source(rng, **SMALL), params):
        assert score(features(fold, sigma=2.5)) < 0.2


@pytest.mark.parametrize(("freq", "fwhm", "dm"), [(11.3, 0.08, 60.0), (300.0, 0.2, 80.0), (2.3, 0.04, 150.0)])
def test_pulsars_score_high(freq, fwhm, dm):
    for seed, snr in enumerate((11.5, 15.0, 40.0, 300.0)):
        source = make_source(np.random.default_rng(seed), snr=snr, freq=freq, fwhm=fwhm, dm=dm, **SMALL)
        fold = folds(source, [FoldParams(freq, 0.0, dm)])[0]
        assert score(features(fold, sigma=3.0)) > 0.8


def test_interference_without_dispersion_scores_low():
    for seed, snr in enumerate((12.0, 40.0, 300.0)):
        source = make_source(np.random.default_rng(seed), snr=snr, freq=12.5, fwhm=0.2, dm=0.0, **SMALL)
        for fold in folds(source, [FoldParams(12.5, 0.0, d) for d in (0.0, 2.0, 20.0)]):
            assert score(features(fold, sigma=8.0)) < 0.3


def test_interference_in_a_narrow_band_scores_low():
    for seed, snr in enumerate((40.0, 100.0, 300.0)):
        source = make_source(np.random.default_rng(seed), **SMALL)
        tone = make_source(np.random.default_rng(50 + seed), snr=4 * snr, freq=12.5, fwhm=0.2, dm=0.0, **SMALL)
        source.data[10:12] = tone.data[10:12]
        for fold in folds(source, [FoldParams(12.5, 0.0, d) for d in (0.0, 30.0, 100.0)]):
            assert score(features(fold, sigma=8.0)) < 0.3


def test_one_burst_scores_lower():
    source = make_source(np.random.default_rng(4), snr=0.0, **SMALL)
    bright = make_source(np.random.default_rng(5), snr=150.0, **SMALL)
    source.data[:, 8000:8700] = bright.data[:, 8000:8700]
    fold = folds(source, [FoldParams(11.3, 0.0, 40.0)])[0]
    values = features(fold, sigma=8.0)
    assert values["time_even"] < 0.4
    assert values["time_top"] > 0.35


def test_single_band_is_judged_without_dm():
    fold = folds(make_source(np.random.default_rng(6), nchans=1, nsamps=1 << 14, snr=20), [FoldParams(11.3, 0, 40.0)])[
        0
    ]
    values = features(fold, sigma=10.0)
    assert math.isnan(values["freq_even"])
    assert math.isnan(values["dm_contrast"])
    assert score(values) > 0.8


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(st.sampled_from(FEATURE_NAMES), st.floats(-1e9, 1e9) | st.just(float("nan"))))
def test_score_is_bounded_and_defined_everywhere(some):
    values = dict.fromkeys(FEATURE_NAMES, float("nan")) | some
    assert 0.0 <= score(values) <= 1.0
    terms = DEFAULT.terms(values)
    assert set(terms) == set(shipped().names)
    assert all(0.0 <= t <= 1.0 for t in terms.values())
    assert shipped().bias < 0


def test_another_scorer_takes_its_place():
    class Half:
        name = "half"

        def __call__(self, features):
            return 0.5

    assert score({}, Half()) == 0.5


def test_box_amplitude_in_closed_form():
    row = np.zeros((1, 32))
    row[0, 4:8] = 3.0
    row -= row.mean()
    assert box_amplitudes(row, 4 / 32, 6 / 32)[0] == pytest.approx(3.0 * np.sqrt(4 * 28 / 32))
    around = np.roll(row, -6, axis=1)
    assert box_amplitudes(around, 4 / 32, 0.0)[0] == pytest.approx(3.0 * np.sqrt(4 * 28 / 32))
    noise = np.random.default_rng(7).standard_normal((3000, 32))
    noise -= noise.mean(axis=1, keepdims=True)
    assert box_amplitudes(noise, 0.21, 0.4).std() == pytest.approx(1.0, abs=0.05)


def test_persistence():
    assert persistence(np.full(20, 5.0)) == pytest.approx((1.0, 1.0, 0.1), abs=0.05)
    one = np.zeros(20)
    one[3] = 50.0
    assert persistence(one) == pytest.approx((0.05, 0.05, 1.0), abs=0.02)
    assert persistence(np.zeros(5)) == (0.0, 0.0, 1.0)
    assert persistence(-np.ones(5)) == (0.0, 0.0, 1.0)
    rng = np.random.default_rng(8)
    weak = [persistence(1.5 + rng.standard_normal(32))[1] for _ in range(200)]
    assert np.median(weak) > 0.8


@pytest.mark.parametrize(("red_noise", "told"), [(0.0, False), (8.0, True), (float("nan"), True)])
def test_a_wide_slow_pulse_is_red_noise_only_where_there_is_some(red_noise, told):
    fold = folds(make_source(np.random.default_rng(0), snr=20, **SMALL), [FoldParams(11.3, 0.0, 40.0)])[0]
    slow = {**features(fold, sigma=8.0), "width": 0.3, "turns": 15.0, "dm_odds": 3.7, "red_noise": red_noise}
    assert ("red noise" in reasons(slow)) is told


@pytest.mark.parametrize(("width", "told"), [(0.34, False), (0.5, True)])
def test_a_sine_of_few_turns_is_red_noise_itself(width, told):
    # A drift of 4 s in 40 s: nothing else stands beside its lines.
    fold = folds(make_source(np.random.default_rng(0), snr=20, **SMALL), [FoldParams(11.3, 0.0, 40.0)])[0]
    slow = {**features(fold, sigma=8.0), "width": width, "turns": 10.0, "dm_odds": 0.7, "red_noise": 0.0}
    slow |= {"dm_contrast": 0.0, "dm_sigma": 0.4, "dm_match": 0.8}
    assert ("red noise" in reasons(slow)) is told
    assert (score(slow) < 0.5) is told


@pytest.mark.parametrize(
    ("kept", "width", "odds", "told"),
    [
        (0.05, 0.2, -0.8, True),
        (0.6, 0.2, -0.8, False),
        (float("nan"), 0.2, -0.8, False),
        (0.05, 0.03, -0.8, False),
        (0.05, 0.2, 12.0, False),
    ],
)
def test_the_rest_of_a_drift_that_whitening_leaves_is_red_noise(kept, width, odds, told):
    # Two waves of 3.7 and 8.1 s folded at twice the one: S/N 33 of what is left, 9 before.
    fold = folds(make_source(np.random.default_rng(0), snr=20, **SMALL), [FoldParams(11.3, 0.0, 40.0)])[0]
    slow = {**features(fold, sigma=10.0), "snr": 33.0, "width": width, "turns": 9.4, "dm_odds": odds}
    slow |= {"dm_contrast": 0.0, "dm_sigma": 0.03, "dm_match": 1.0, "red_noise": 116.0, "pulse_kept": kept}
    assert ("red noise" in reasons(slow)) is told
    assert (score(slow) < 0.6) is told


def test_an_acceleration_at_the_limit_of_the_refinement_is_unphysical():
    fold = folds(make_source(np.random.default_rng(0), snr=20, **SMALL), [FoldParams(11.3, 0.0, 40.0)])[0]
    bent = {**features(fold, sigma=8.0), "accel": -MOST_ACCEL, "fdot_sigma": 20.0}
    assert "unphysical" in reasons(bent)
    assert "unphysical" not in reasons({**bent, "accel": 400.0})


def test_a_dm_within_a_large_error_of_0_is_unknown():
    # Odds of 13 to 1 for DM 0, from an error of 8.5; and of 150 to 1 from one of 0.75.
    fold = folds(make_source(np.random.default_rng(0), snr=20, **SMALL), [FoldParams(11.3, 0.0, 40.0)])[0]
    unknown = {**features(fold, sigma=8.0), "snr": 18.7, "dm_odds": -2.54, "dm_contrast": 0.05, "dm_sigma": 0.5}
    assert "dm0" not in reasons(unknown)
    assert score(unknown) > 0.9
    assert "dm0" in reasons({**unknown, "dm_odds": -5.0})
    assert score({**unknown, "dm_odds": -5.0}) < 0.3


def test_flags_go_with_penalties():
    from pulsar.sources.score import reasons

    good = dict.fromkeys(FEATURE_NAMES, float("nan"))
    good |= {
        "sigma": 10.0, "snr": 20.0, "width": 0.05, "dm": 50.0, "dm_sigma": 40.0, "dm_shift": 10.0, "dm_contrast": 15.0,
        "dm_match": 0.95, "dm_odds": 30.0, "time_fraction": 0.95, "time_even": 0.9, "freq_fraction": 0.95,
        "freq_even": 0.9, "turns": 1000.0, "accel": 0.0, "fdot_sigma": 0.1,
    }  # fmt: skip
    assert reasons(good) == ()
    assert reasons(good | {"dm_contrast": 0.0, "dm_sigma": 0.5, "dm_shift": 0.0, "dm_odds": -3.0}) == ("dm0",)
    assert reasons(good | {"freq_even": 0.05}) == ("narrow-band",)
    assert reasons(good | {"time_even": 0.03}) == ("intermittent",)
    slow = good | {"turns": 12.0, "dm_odds": 1.0}
    assert reasons(slow) == ()
    assert reasons(slow | {"width": 0.4}) == ("red noise",)
    assert reasons(slow | {"noise_scale": 15.0}) == ("red noise",)
    # Red noise has no DM.
    assert reasons(slow | {"width": 0.4, "dm_odds": 15.0}) == ()
    assert reasons(good | {"repeats": 2.0}) == ("unsteady",)
    # Of a strong one more is wanted, but no more than the varying pulses of a bright pulsar have.
    assert reasons(good | {"repeats": 3.2}) == ("unsteady",)
    assert reasons(good | {"repeats": 3.6}) == ()
    assert score(good | {"repeats": 3.6}) < 0.8 < score(good | {"repeats": 5.6})
    assert reasons(good | {"repeats": 5.0}) == ()
    assert reasons(good | {"snr": 7.0, "repeats": 3.6}) == ()
    assert reasons(good | {"snr": 339.0, "repeats": 28.8}) == ()
    assert reasons(good | {"accel": 5000.0, "fdot_sigma": 20.0}) == ("unphysical",)
    assert reasons(good | {"dm_match": 0.1}) == ("no dm curve",)
    assert reasons(good | {"dm_match": 0.77}) == ()
    assert score(good | {"dm_match": 0.6}) < 0.8 < score(good | {"dm_match": 0.88})
    # Noise finds its best fold at any width; a strong pulsar may have any.
    weak = good | {"snr": 8.0, "repeats": 5.0}
    assert score(weak | {"width": 0.48}) < 0.5 < 0.9 < score(weak | {"width": 0.2})
    assert score(good | {"width": 0.48}) > 0.98
    # A fifth of the band: of a pulsar where there are few scintles, not where hundreds leave a spectrum smooth.
    assert reasons(good | {"freq_even": 0.27, "scintles": 5.0}) == ()
    assert reasons(good | {"freq_even": 0.27, "scintles": 500.0}) == ("narrow-band",)
    assert reasons(good | {"freq_even": 0.5, "scintles": 500.0}) == ()
    assert reasons(dict.fromkeys(FEATURE_NAMES, float("nan"))) == ()


def test_scintles_are_many_at_high_dms_and_not_told_over_more_than_an_octave():
    fold = folds(make_source(np.random.default_rng(0), snr=20, **SMALL), [FoldParams(11.3, 0.0, 40.0)])[0]

    def at(dm, freqs):
        freqs = np.linspace(*freqs, len(fold.band_freqs))
        return fewest_scintles(replace(fold, after=replace(fold.after, dm=dm), band_freqs=freqs))

    # 100 ms at 1 GHz and DM 460, thirty times less for a clear sight: 1.8 kHz wide, of which a fifth of 400 MHz fill.
    x = np.log10(460.0)
    time = 10.0 ** (-6.46 + 0.154 * x + 1.07 * x**2) / 30.0 * 1e-3
    assert at(460.0, (800.0, 1200.0)) == pytest.approx(1.0 + 0.2 * 400e6 * 2.0 * np.pi * time / 1.16)
    assert at(460.0, (800.0, 1200.0)) > 1e4 > 100.0 > at(60.0, (1300.0, 1500.0)) > 1.0
    assert np.isnan(at(460.0, (700.0, 1500.0)))
    assert np.isnan(at(0.0, (800.0, 1200.0)))


def test_masked_bands_and_gaps_do_not_make_a_pulse_uneven():
    fold = folds(make_source(np.random.default_rng(0), snr=30, **SMALL), [FoldParams(11.3, 0.0, 40.0)])[0]
    bands, times = fold.freq_phase.copy(), fold.time_phase.copy()
    bands[: len(bands) // 2], times[: len(times) // 2] = 0.0, 0.0
    found = features(replace(fold, freq_phase=bands, time_phase=times))
    assert found["freq_even"] > 0.85
    assert found["time_even"] > 0.85
