"""Power that a candidate leaves at any frequency and DM, against Fourier sums of simulated series."""

import dataclasses
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reference.detections import FREQS, kept, make_group
from reference.products import make_fold

from pulsar.config.model import FFTConfig, FoldConfig
from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.data.series import TimeSeries
from pulsar.folding.folder import fold_series
from pulsar.folding.refine import refine
from pulsar.rank.lines import Comb, Searched, comb_of, expected, ratio_of
from pulsar.searches.fft import FFTSearch
from pulsar.searches.sift import group

N, TSAMP = 1 << 15, 1e-3
T = N * TSAMP
TIMES = (np.arange(N) + 0.5) * TSAMP - 0.5 * T
#: Between a prediction and a power what it predicts: the factor with which predictions are used.
FACTOR = 2.0


def train(freq, fwhm=0.06, snr=60.0, fdot=0.0):
    """A pulsar of Gaussian pulses of this S/N in noise of 1."""
    turns = freq * TIMES + 0.5 * fdot * TIMES**2 - 0.3
    turns -= np.round(turns)
    pulses = np.exp(-4.0 * np.log(2.0) * (turns / fwhm) ** 2)
    pulses -= pulses.mean()
    return pulses * snr / np.sqrt(np.sum(pulses**2))


def power(series, freq, nharm=1, fdot=0.0):
    """Sum of the powers of a series of variance 1 at freq, 2 freq ... (white noise gives 1 each)."""
    total = 0.0
    for k in range(1, nharm + 1):
        phase = k * (freq * TIMES + 0.5 * fdot * TIMES**2)
        total += np.abs(np.sum(series * np.exp(-2j * np.pi * phase))) ** 2 / N
    return total


def comb_from(series, freq, nlines=40, fdot=0.0, **more):
    """The lines of a series without noise, measured with Fourier sums."""
    powers = np.array([power(series, k * freq, fdot=k * fdot) for k in range(1, nlines + 1)])
    values = {"freq_err": 0.0, "dm": 30.0, "dm_err": 0.0, "span": 0.0, "tobs": T, "tsamp": TSAMP} | more
    return Comb(freq=freq, fdot=fdot, powers=powers, **values)


def searched(*rows):
    """(freq, nharm) or (freq, nharm, dm), with errors of frequency of nothing."""
    freq, nharm, dm = (np.array(c) for c in zip(*((*r, 30.0)[:3] for r in rows), strict=True))
    return Searched(freq.astype(float), np.zeros(len(rows)), np.zeros(len(rows)), nharm, dm)


@given(
    freq=st.floats(2.0, 13.0),
    fwhm=st.floats(0.04, 0.3),
    ratio=st.sampled_from([(1, 1), (2, 1), (3, 1), (5, 1), (3, 2), (1, 2), (2, 3), (7, 3)]),
    nharm=st.sampled_from([1, 2, 4, 8, 16]),
)
def test_at_simple_ratios_the_sums_hold_the_lines_they_meet(freq, fwhm, ratio, nharm):
    series = train(freq, fwhm)
    comb = comb_from(series, freq, nlines=int(0.5 / TSAMP / freq))
    at = freq * ratio[0] / ratio[1]
    assume(at * nharm < 0.5 / TSAMP)  # beyond it a search sums nothing
    told = float(expected(comb, searched((at, nharm)))[0])
    true = power(series, at, nharm)
    assert true <= 1.15 * told + 2.0
    floor = nharm * comb.powers.max() / (freq * T)
    assert told <= 1.15 * true + floor + 2.0


@given(freq=st.floats(2.0, 13.0), k=st.integers(1, 6), bins=st.floats(-20.0, 20.0))
def test_beside_a_line_it_is_its_sidelobes(freq, k, bins):
    series = train(freq, 0.06)
    comb = comb_from(series, freq)
    at = k * freq + bins / T
    told = float(expected(comb, searched((at, 1)))[0])
    lobe = np.sinc(bins) ** 2 if abs(bins) <= 0.5 else 1.0 / (np.pi * bins) ** 2
    true = power(series, at)
    assert true <= FACTOR * told + 2.0
    assert told <= comb.powers[k - 1] * max(lobe, 1.0 / (freq * T)) * 1.0001


def test_pulses_that_vary_leave_a_floor_between_the_lines():
    freq, rng = 7.3, np.random.default_rng(5)
    series = train(freq, 0.06, snr=400.0)
    # Every pulse has a strength of its own, as variable as strong.
    number = np.round(freq * TIMES - 0.3).astype(int)
    series = series * rng.exponential(1.0, np.ptp(number) + 1)[number - number.min()]
    comb = comb_from(series, freq)
    between = [(k + part) * freq for k in range(1, 6) for part in (0.21, 0.37, 0.44, 0.63, 0.81)]
    true = np.mean([power(series, f) for f in between])
    told = np.mean(expected(comb, searched(*((f, 1) for f in between))))
    assert true / FACTOR < told < FACTOR * true
    # Pulses that do not vary leave less.
    steady = train(freq, 0.06, snr=400.0)
    assert np.mean([power(steady, f) for f in between]) < 0.2 * told


@pytest.mark.parametrize("k", range(18, 30))
def test_lines_above_nyquist_are_seen_at_their_mirror_images(k):
    freq = 27.3137
    series = train(freq, 0.02, snr=100.0)
    comb = comb_from(series, freq, nlines=32)
    above = k * freq
    assert comb.powers[k - 1] > 20
    assert 0.5 / TSAMP - freq < above < 1.0 / TSAMP
    at = 1.0 / TSAMP - above if above > 0.5 / TSAMP else above
    told = float(expected(comb, searched((at, 1)))[0])
    assert told == pytest.approx(power(series, at), rel=0.15)
    kind, multiple, divisor = ratio_of(at, comb, 0.5 / T)
    assert (kind, multiple, divisor) == (("alias" if above > 0.5 / TSAMP else "harmonic"), k, 1)


def test_no_images_where_no_line_is_above_nyquist():
    freq = 7.3
    comb = comb_from(train(freq, 0.06), freq)
    at = 1.0 / TSAMP - 3 * freq
    assert expected(comb, searched((at, 1)))[0] == 0.0


@pytest.mark.parametrize("z", [3.0, 10.0, 30.0])
def test_a_drift_spreads_the_power_over_its_way(z):
    freq, fdot = 9.3, z / T**2
    series = train(freq, 0.08, snr=150.0, fdot=fdot)
    comb = comb_from(series, freq, fdot=fdot)
    for k in (1, 2, 4):
        inside = [k * (freq + part * 0.5 * z / T / 1.0) for part in (-0.7, -0.4, -0.1, 0.2, 0.5, 0.8)]
        true = np.array([power(series, f) for f in inside])
        told = expected(comb, searched(*((f, 1) for f in inside)))
        assert (true <= FACTOR * told + 2.0).all()
        assert told.mean() == pytest.approx(true.mean(), rel=0.4)
        # With the right drift a search sees all of it.
        right = Searched(
            np.array([k * freq]), np.array([k * fdot]), np.zeros(1), np.ones(1, dtype=int), np.full(1, 30.0)
        )
        assert expected(comb, right)[0] == pytest.approx(comb.powers[k - 1])
        # Beyond the way there are sidelobes.
        far = k * (freq + 0.5 * z / T) + 15.0 / T
        assert power(series, far) <= FACTOR * float(expected(comb, searched((far, 1)))[0]) + 2.0


@given(freq=st.floats(1.0, 100.0), away=st.floats(-100.0, 100.0), k=st.integers(1, 8))
def test_at_another_dm_there_is_no_more_than_the_phases_of_the_channels_leave(freq, away, k):
    span = KDM * (FREQS.min() ** -2.0 - FREQS.max() ** -2.0)
    comb = Comb(freq, 0.0, 0.0, 130.0, 0.0, np.full(8, 1000.0), span, T, TSAMP)
    told = float(expected(comb, searched((k * freq, 1, 130.0 + away)))[0])
    true = 1000.0 * float(kept(k * freq, away, 1)[0])
    assert true <= FACTOR * told + 2.0
    # Below half a turn over the band not more than a third too much, either.
    assert told == pytest.approx(true, rel=0.35) or abs(away) * span * k * freq >= 0.5


def test_errors_of_dm_and_frequency_are_allowed_for():
    span = KDM * (FREQS.min() ** -2.0 - FREQS.max() ** -2.0)
    exact = Comb(50.0, 0.0, 0.0, 100.0, 0.0, np.full(4, 1000.0), span, T, TSAMP)
    unsure = Comb(50.0, 0.0, 1.0 / T, 100.0, 10.0, np.full(4, 1000.0), span, T, TSAMP)
    beside = searched((50.0 + 2.0 / T, 1, 125.0))
    assert expected(exact, beside)[0] < 20.0
    assert expected(unsure, beside)[0] == pytest.approx(1000.0)


def test_nothing_is_expected_of_nothing():
    none = Comb(5.0, 0.0, 0.0, 30.0, 0.0, np.zeros(0), 0.0, T, TSAMP)
    assert expected(none, searched((5.0, 4))).tolist() == [0.0]
    one = Comb(5.0, 0.0, 0.0, 30.0, 0.0, np.ones(3), 0.0, T, TSAMP)
    assert expected(one, Searched.of([], T)).size == 0
    # Beyond the lines that are there, and below the first.
    assert expected(one, searched((20.0, 2), (2.0, 1))).tolist() == [0.0, 0.0]


@given(
    powers=st.lists(st.floats(0.0, 1e4), min_size=1, max_size=20),
    freq=st.floats(0.5, 300.0),
    more=st.floats(1.0, 100.0),
    nharm=st.sampled_from([1, 4, 32]),
)
def test_more_power_in_the_lines_is_more_everywhere(powers, freq, more, nharm):
    weak = Comb(7.0, 0.0, 0.0, 30.0, 0.0, np.array(powers), 0.0, T, TSAMP)
    strong = Comb(7.0, 0.0, 0.0, 30.0, 0.0, more * np.array(powers), 0.0, T, TSAMP)
    at = searched((freq, nharm))
    assert expected(weak, at)[0] >= 0.0
    assert expected(strong, at)[0] == pytest.approx(more * expected(weak, at)[0])


@cache
def real(freq, fwhm, snr, fdot=0.0):
    """A noisy series, its fold and its detections."""
    noise = np.random.default_rng(int(1000 * freq)).standard_normal(N)
    x = train(freq, fwhm, snr, fdot) + noise
    series = TimeSeries(x.astype(np.float32), TSAMP, 0.0, 59000.0)
    fold = refine(fold_series(series, [FoldParams(freq, fdot)], FoldConfig())[0], search_dm=False)
    search = FFTSearch(N, TSAMP, FFTConfig(nharm=32, threshold=1.0))
    return x, fold, search.search(x.astype(np.float32)), search.tobs


CASES = [(11.3137, 0.05, 40.0), (3.7713, 0.03, 80.0), (23.177, 0.12, 25.0), (5.319, 0.3, 30.0)]


@pytest.mark.parametrize(("freq", "fwhm", "snr"), CASES)
def test_a_fold_tells_the_lines_of_its_series(freq, fwhm, snr):
    x, fold, _, _ = real(freq, fwhm, snr)
    comb = comb_of(fold, np.zeros(0), TSAMP)
    # The same data, and the same noise in it: line by line what the series has, less what the bins take.
    strong = np.flatnonzero(comb.powers > 30.0)[:12]
    assert strong.size >= 2
    true = np.array([power(x, (k + 1) * comb.freq) for k in strong]) - 1.0
    np.testing.assert_allclose(comb.powers[strong], true, rtol=0.2)
    assert comb.freq == pytest.approx(freq, abs=0.1 / T)
    assert comb.span == 0.0


@pytest.mark.parametrize(("freq", "fwhm", "snr"), CASES)
def test_all_that_a_search_finds_because_of_a_pulsar_is_predicted(freq, fwhm, snr):
    _, fold, detections, tobs = real(freq, fwhm, snr)
    comb = comb_of(fold, np.zeros(0), TSAMP)
    groups = group(detections, tobs)
    told = expected(comb, Searched.of(groups, tobs))
    at = np.array([g.freq for g in groups]) / freq
    excess = np.array([g.excess for g in groups])
    noise = np.sqrt(np.array([g.nharm for g in groups]) + 2.0 * excess)
    strong = np.array([g.sigma for g in groups]) > 4.0
    assert abs(at[0] - 1.0) * freq * tobs < 0.1
    assert np.count_nonzero(strong) >= 2
    # Nothing is in these data but one pulsar and noise: harmonics, fractions and what is between.
    assert (excess[strong] <= FACTOR * told[strong] + 4.0 * noise[strong]).all()
    on_lines = strong & (np.abs(at - np.round(at)) * freq * tobs < 0.3)
    assert np.count_nonzero(on_lines) >= 2
    # Of strong slow lines the whitening takes up to three quarters, as their sidelobes raise the level around.
    assert (told[on_lines] <= 2.0 * FACTOR * excess[on_lines] + 10.0).all()
    assert (excess[on_lines] <= 1.3 * told[on_lines] + 10.0).all()


@pytest.mark.parametrize(("freq", "fwhm", "snr"), CASES)
def test_detections_at_simple_ratios_are_predicted(freq, fwhm, snr):
    # A search leaves submultiples out itself; the sums are there all the same.
    x, fold, _, _ = real(freq, fwhm, snr)
    comb = comb_of(fold, np.zeros(0), TSAMP)
    for ratio in (1.0, 2.0, 3.0, 1.5, 0.5):
        for nharm in (1, 4, 16):
            one = make_group(ratio * comb.freq, nharm=nharm, index=0)
            told = float(expected(comb, Searched.of([one], T))[0])
            true = power(x, ratio * comb.freq, nharm) - nharm
            noise = np.sqrt(nharm + 2.0 * max(true, 0.0))
            assert abs(true - told) <= 0.15 * told + 4.0 * np.sqrt(nharm) + 0.5 * noise


def test_a_pulsar_elsewhere_is_not_explained():
    _, fold, _, _ = real(*CASES[0])
    comb = comb_of(fold, np.zeros(0), TSAMP)
    total = comb.powers.sum()
    rng = np.random.default_rng(3)
    freqs = rng.uniform(1.0, 200.0, 200)
    near = [np.abs(np.arange(1, 17)[:, None] * f - np.arange(1, 400) * comb.freq).min() * T for f in freqs]
    elsewhere = freqs[np.array(near) > 5.0]
    assert elsewhere.size > 20
    for freq in elsewhere:
        told = float(expected(comb, searched((freq, 16)))[0])
        assert told <= 0.05 * total


def test_a_narrow_band_does_not_fade_with_dm():
    _, fold, _, _ = real(*CASES[0])
    assert comb_of(fold, FREQS, TSAMP).span == pytest.approx(4149.377593 * (1100.0**-2 - 1500.0**-2))
    assert comb_of(fold, FREQS, TSAMP, dispersed=False).span == 0.0


def test_words_for_ratios():
    comb = Comb(2.0, 0.0, 0.0, 30.0, 0.0, np.ones(8), 0.0, T, TSAMP)
    for freq, words in (
        (2.0, ("same", 1, 1)),
        (6.0, ("harmonic", 3, 1)),
        (3.0, ("harmonic", 3, 2)),
        (1.0, ("harmonic", 1, 2)),
        (0.5, ("harmonic", 1, 4)),
    ):
        assert ratio_of(freq, comb, 0.1 / T, 4) == words
    # A sum of one power at 3/2 meets no line.
    assert ratio_of(3.0, comb, 0.1 / T, 1)[0] == "sidelobe"
    assert ratio_of(6.0 + 3.3 / T, comb, 0.001 / T)[:2] == ("sidelobe", 3)


def test_lines_that_were_left_out_of_a_fold_are_taken_from_those_beside():
    nbins, at = 64, np.arange(64) / 64
    spectrum = np.fft.rfft(40.0 * np.exp(-0.5 * ((at - 0.4) / 0.05) ** 2))
    whole = np.abs(spectrum[1:8]) ** 2 / nbins
    spectrum[3] = 0.0
    profile = np.fft.irfft(spectrum, nbins)
    rows = np.tile(profile / 4.0, (16, 1)) + np.random.default_rng(0).standard_normal((16, nbins))
    fold = dataclasses.replace(
        make_fold(1), profile=profile.astype(np.float32), time_phase=rows.astype(np.float32), width=0.1, extra={}
    )
    told = comb_of(fold, FREQS, TSAMP).powers
    assert told[2] == pytest.approx(0.5 * (whole[1] + whole[3]), rel=0.1)
    assert told[[0, 1, 3]] == pytest.approx(whole[[0, 1, 3]], rel=0.1)


def test_noise_of_drifts_is_no_line():
    """A fold in a wandering level, in units of its own noise: only the power that all sub-integrations share counts."""
    rng = np.random.default_rng(8)
    rows = rng.standard_normal((16, 128)).astype(np.float32)
    profile = rows.sum(axis=0) / 4.0 + 20.0 * np.cos(2 * np.pi * np.arange(128) / 128)
    rows = rows + 5.0 * np.cos(2 * np.pi * np.arange(128) / 128)
    fold = dataclasses.replace(
        make_fold(1), profile=profile.astype(np.float32), time_phase=rows.astype(np.float32), width=0.02,
        extra={"noise_scale": 3.0},
    )  # fmt: skip
    powers = comb_of(fold, np.zeros(0), TSAMP).powers
    assert powers[0] > 100.0
    # Noise of a mean of 9 units of white noise: what of it exceeds its mean, 9 / e.
    assert np.mean(powers[1:30]) < 6.0
