"""Features that need no box: closed forms, and that a wrong width or a DM one error off moves none of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference.fold import make_source

from pulsar.config.model import FoldConfig
from pulsar.data.fold import Fold, FoldCube, FoldParams
from pulsar.folding.folder import fold_many
from pulsar.folding.refine import refine
from pulsar.rank.features import boxless, features
from pulsar.rank.shape import curve_misfit, plane_peak, profile_features, roughness, shared_power

PHASE = np.arange(128) / 128


def gaussian(fwhm: float, at: float = 0.4) -> np.ndarray:
    """Of unit height, round the turn."""
    away = (PHASE - at + 0.5) % 1.0 - 0.5
    return np.exp(-4 * np.log(2) * (away / fwhm) ** 2)


def test_a_sine_in_closed_form() -> None:
    found = profile_features(20 * np.cos(2 * np.pi * PHASE), 1.0)
    assert found["skew"] == pytest.approx(0.0, abs=1e-9)
    assert found["kurtosis"] == pytest.approx(-1.5)
    # Neighbours of a sine differ by 2 sin(pi / n): half of their mean square is 1 - cos(2 pi / n) of the power.
    assert found["smooth"] == pytest.approx(np.cos(2 * np.pi / 128))
    assert (found["nharmonics"], found["peaks"]) == (1, 1)
    # Above half of its peak for a third of the turn.
    assert found["fwhm"] == pytest.approx(1 / 3, abs=0.01)
    assert found["first"] == pytest.approx(1.0, abs=0.01)
    assert found["effective"] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("fwhm", [0.03, 0.06, 0.12])
def test_a_gaussian_in_closed_form(fwhm: float) -> None:
    found = profile_features(200 * gaussian(fwhm), 1.0)
    # Powers are exp(-k^2 / b^2): with a sum of b sqrt(pi) / 2 - 1/2, and of squares of that over sqrt 2, from k = 1 on.
    b = np.sqrt(8 * np.log(2)) / (2 * np.pi * fwhm)
    total, squares = 0.5 * (np.sqrt(np.pi) * b - 1), 0.5 * (np.sqrt(np.pi / 2) * b - 1)
    assert found["effective"] == pytest.approx(total**2 / squares, rel=0.03)
    assert found["fwhm"] == pytest.approx(fwhm, abs=2 / 128)
    assert found["peaks"] == 1
    # Moments of a few high bins: skewness of about 1 / sqrt(duty cycle).
    assert found["skew"] > 1.5


@pytest.mark.parametrize(
    ("width", "fwhm"), [(0.3, (0.25, 0.35)), (0.45, (0.4, 0.5)), (0.6, (0.0, 0.3)), (0.7, (0.0, 0.2))]
)
def test_the_fwhm_ends_at_half_a_turn_and_a_wider_pulse_is_skewed(width: float, fwhm: tuple[float, float]) -> None:
    box = np.arange(128) < 128 * width
    found = profile_features(10.0 * box + np.random.default_rng(2).normal(size=128), 1.0)
    assert fwhm[0] <= found["fwhm"] <= fwhm[1]
    assert (found["skew"] < 0.0) == (width > 0.5)


def test_components_are_counted() -> None:
    profile = 60 * (gaussian(0.04, 0.2) + gaussian(0.04, 0.5) + gaussian(0.05, 0.8))
    assert profile_features(profile, 1.0)["peaks"] == 3


def test_noise_has_no_shape() -> None:
    rng = np.random.default_rng(1)
    found = [profile_features(rng.normal(size=128), 1.0) for _ in range(400)]
    assert np.mean([one["h_sigma"] for one in found]) == pytest.approx(0.0, abs=0.2)
    # One of 740 has 3 sigma.
    assert np.mean([one["h_sigma"] > 3 for one in found]) < 0.01
    assert np.mean([np.isnan(one["effective"]) for one in found]) > 0.99
    assert np.mean([one["smooth"] for one in found]) == pytest.approx(0.0, abs=0.02)
    assert np.mean([one["skew"] for one in found]) == pytest.approx(0.0, abs=0.05)


def test_the_noise_is_found_where_it_is_not_given() -> None:
    profile = np.random.default_rng(2).normal(size=128) + 8 * gaussian(0.1)
    known, found = profile_features(profile, 1.0), profile_features(100 + 7 * profile)
    assert found["h_sigma"] == pytest.approx(known["h_sigma"], rel=0.3)
    for name in ("skew", "kurtosis", "smooth"):
        assert found[name] == pytest.approx(known[name], rel=1e-9)


@given(arrays(np.float64, st.integers(0, 40), elements=st.floats(-1e9, 1e9)))
def test_any_profile_has_numbers_or_nothing(profile: np.ndarray) -> None:
    found = profile_features(profile) if len(profile) else profile_features(np.zeros(1))
    assert len(found) == 9
    assert not any(np.isinf(value) for value in found.values())


def test_rows_of_one_profile_share_all() -> None:
    rows = np.tile(6 * gaussian(0.1), (16, 1)) + np.random.default_rng(3).normal(size=(16, 128))
    common, shared = shared_power(rows)
    assert shared == pytest.approx(1.0, abs=0.05)
    pulse = 6 * (gaussian(0.1) - gaussian(0.1).mean())
    assert common == pytest.approx(16 * 15 * np.sum(pulse**2) / np.sqrt(2 * 16 * 15 * 127), rel=0.1)


def test_rows_that_share_nothing() -> None:
    rng = np.random.default_rng(4)
    common, shared = zip(*(shared_power(rng.normal(size=(12, 64))) for _ in range(300)), strict=True)
    assert np.mean(common) == pytest.approx(0.0, abs=0.2)
    assert np.std(common) == pytest.approx(1.0, abs=0.12)
    assert np.mean(np.isnan(shared)) > 0.98
    one = rng.normal(size=(12, 128))
    one[5] += 20 * gaussian(0.1)
    assert shared_power(one)[1] < 0.1


def test_rows_of_zeros_do_not_count() -> None:
    rows = np.random.default_rng(5).normal(size=(10, 64)) + 3 * gaussian(0.1)[::2]
    assert shared_power(np.vstack([rows, np.zeros((5, 64))])) == shared_power(rows)
    assert np.isnan(shared_power(rows[:2])).all()
    assert roughness(np.vstack([rows[:5], np.zeros((5, 64)), rows[5:]])) == roughness(rows)


def test_a_line_is_rough_and_a_spectral_index_is_not() -> None:
    rng = np.random.default_rng(6)
    noise = rng.normal(size=(32, 128))
    index = 12 * np.linspace(1.5, 0.5, 32)[:, None] * gaussian(0.05)
    line = 150 * (np.arange(32) == 12)[:, None] * gaussian(0.05)
    scintillation = 12 * rng.exponential(size=(32, 1)) * gaussian(0.05)
    assert roughness(noise + index) < 0.15
    # Of an exponential distribution mean and deviation are alike.
    assert roughness(noise + scintillation) == pytest.approx(1.0, abs=0.4)
    assert not roughness(noise + line) < 1.5
    assert np.isnan(roughness(noise[:3]))


def test_a_curve_that_is_expected_has_no_misfit() -> None:
    expected = 20 / (1 + np.linspace(-3, 3, 40) ** 2)
    noise = np.random.default_rng(7).normal(size=40)
    assert curve_misfit(expected + noise, expected) < 0.05
    assert curve_misfit(np.full(40, 20.0), expected) > 0.5
    assert np.isnan(curve_misfit(expected[:1], expected[:1]))


def test_a_plane_of_one_peak() -> None:
    y, x = np.mgrid[-12:13, -20:21]
    contrast, filled = plane_peak(3 + 15 * np.exp(-(x**2 + y**2) / 8))
    assert contrast == pytest.approx(15, abs=0.1)
    # Above half: a circle of 8 ln 2 of squared radius.
    assert filled == pytest.approx(np.pi * 8 * np.log(2) / x.size, rel=0.25)
    assert np.isnan(plane_peak(np.ones((1, 41)))).all()
    assert plane_peak(np.ones((5, 5))) == (0.0, 1.0)


def a_cube(snr: float, seed: int, freq: float = 11.3, dm: float = 60.0) -> FoldCube:
    source = make_source(np.random.default_rng(seed), snr=snr, freq=freq, fwhm=0.06, dm=dm, nchans=32, nsamps=1 << 14)
    config = FoldConfig(nsubints=16, nbands=16)
    return fold_many(source, [FoldParams(freq, 0.0, dm)], config, threads=1, memory=1 << 28)[0]


#: How far a feature may go, as a part of itself and in its own unit.
TOLERANCE = {"h_sigma": (0.05, 0.5), "time_common": (0.05, 0.5), "freq_common": (0.05, 0.5), "nharmonics": (0.5, 2.0),
             "kurtosis": (0.25, 0.5), "plane_contrast": (0.1, 1.0), "effective": (0.2, 0.5), "dm0_excess": (0.1, 1.0),
             "peaks": (0.0, 1.0)}  # fmt: skip


@pytest.mark.parametrize("snr", [10.0, 20.0, 60.0])
def test_a_dm_one_error_off_moves_little(snr: float) -> None:
    cube = a_cube(snr, 1)
    error = refine(cube).dm_err
    assert error > 0.0
    here = boxless(refine(cube, fit=False))
    there = boxless(_measured_at(cube, cube.params.dm + error))
    for name, value in here.items():
        part, own = TOLERANCE.get(name, (0.1, 0.1))
        assert there[name] == pytest.approx(value, rel=part, abs=own, nan_ok=True), name


def _measured_at(cube: FoldCube, dm: float) -> Fold:
    """The same data, dedispersed at another DM by whole spectra."""
    from pulsar.constants import KDM
    from pulsar.data.cube import turned

    late = cube.params.freq * KDM * (dm - cube.params.dm) * (cube.band_freqs**-2.0 - cube.fref**-2.0)
    data = turned(cube.data.astype(np.float64), np.broadcast_to(-late, cube.data.shape[:2])).astype(np.float32)
    return refine(replace(cube, data=data, params=replace(cube.params, dm=dm)), fit=False)


@pytest.mark.parametrize("snr", [10.0, 30.0])
def test_a_width_twice_too_large_moves_nothing_of_these_and_little_of_others(snr: float) -> None:
    fold = refine(a_cube(snr, 2))
    wide = replace(fold, width=2 * fold.width)
    assert boxless(wide) == pytest.approx(boxless(fold), nan_ok=True)
    here, there = features(fold), features(wide)
    for name in ("time_fraction", "time_even", "time_top", "freq_fraction", "freq_even", "freq_top"):
        assert there[name] == pytest.approx(here[name], abs=0.15), name


def test_what_is_unknown_is_no_number() -> None:
    cube = a_cube(20.0, 3)
    series = replace(
        cube,
        data=cube.data.sum(axis=1, keepdims=True),
        variance=cube.variance.sum(axis=1, keepdims=True),
        band_freqs=cube.band_freqs[:1],
        lags=None,
    )
    found = boxless(refine(series, search_dm=False, search_fdot=False))
    for name in ("freq_common", "freq_shared", "rough", "dm_misfit", "dm0_excess", "plane_contrast", "plane_filled"):
        assert np.isnan(found[name]), name
    assert found["time_shared"] > 0.8


@pytest.mark.parametrize(("name", "auc"), [("skew", 0.975), ("kurtosis", 0.947)])
def test_real_profiles_of_htru2(shared_data, name: str, auc: float) -> None:
    sides = []
    for kind in ("pulsar", "other"):
        rows = np.loadtxt(shared_data / "labels" / f"htru2_profiles_{kind}.csv", delimiter=",")
        sides.append(np.array([profile_features(row)[name] for row in rows[:1500]]))
    above = np.mean(sides[0][:, None] > sides[1]) + 0.5 * np.mean(sides[0][:, None] == sides[1])
    assert above == pytest.approx(auc, abs=0.01)
