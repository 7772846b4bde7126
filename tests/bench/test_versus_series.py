"""The series of the comparison with other programs are what they say, and a list's lines are a pulsar's by the rule."""

import numpy as np
import pytest
import versus_series
from versus_series import KNEES, SNR, Truth, draw, found, make_series, matched, pulse, red_noise

TSAMP = 1e-3


def test_pulsars_of_a_seed_are_the_first_of_more():
    assert draw(3, 5) == draw(3, 50)[:5]
    assert draw(3, 5) != draw(4, 5)


def test_population_is_as_stated():
    drawn = draw(1, 3000)
    fast = [one for one in drawn if one.millisecond]
    slow = [one for one in drawn if not one.millisecond]
    assert len(fast) == 1000
    assert min(one.period for one in fast) >= 1.2e-3
    assert max(one.period for one in fast) <= 30e-3
    periods = np.array([one.period for one in slow])
    assert np.median(periods) == pytest.approx(0.6, rel=0.05)
    assert np.std(np.log10(periods)) == pytest.approx(0.35, rel=0.05)
    law = np.array([one.duty for one in slow]) * np.sqrt(periods)
    assert np.median(law) == pytest.approx(0.02, rel=0.03)
    assert np.median([one.duty for one in fast]) == pytest.approx(0.1, rel=0.05)
    snrs = [one.snr for one in drawn]
    assert SNR[0] <= min(snrs) < SNR[0] + 0.05
    assert SNR[1] - 0.05 < max(snrs) <= SNR[1]
    assert np.mean(snrs) == pytest.approx(np.mean(SNR), abs=0.1)


@pytest.mark.parametrize(("period", "duty"), [(0.7, 0.02), (0.0123, 0.1), (0.0021, 0.3)])
def test_snr_is_that_of_a_matched_filter(monkeypatch, period, duty):
    monkeypatch.setattr(versus_series, "PIECE", 1000)  # several, the last one shorter
    truth = Truth(1, period, duty, 8.0, 0.3)
    alone = make_series(None, 20_001, TSAMP, np.random.default_rng(5))
    wave = make_series(truth, 20_001, TSAMP, np.random.default_rng(5)).astype(np.float64) - alone
    wave -= wave.mean()
    assert np.sqrt(wave @ wave) == pytest.approx(8.0, rel=1e-4)
    assert alone.std() == pytest.approx(1.0, abs=0.02)


def test_pulse_has_its_width_and_place():
    truth = Truth(1, 0.5, 0.05, 1000.0, 0.25)
    wave = make_series(truth, 5000, TSAMP, np.random.default_rng(1))
    middle = (np.argmax(wave[:500]) + 0.5) * TSAMP / 0.5
    assert middle == pytest.approx(0.25, abs=0.005)
    shape = pulse(truth, TSAMP)
    assert np.mean(shape > shape.max() / 2) == pytest.approx(0.05, abs=0.001)
    # A sample as long as a turn leaves the mean.
    flat = pulse(truth, 0.5)
    assert np.ptp(flat) < 1e-9
    assert flat.mean() == pytest.approx(shape.mean())


def test_red_noise_is_as_strong_as_the_white_at_its_knee():
    nsamps, knee = 1 << 17, 5.0
    data = make_series(None, nsamps, TSAMP, np.random.default_rng(2), knee)
    assert data.dtype == np.float32
    powers = np.abs(np.fft.rfft(data)) ** 2 / nsamps
    freqs = np.fft.rfftfreq(nsamps, TSAMP)
    expected = 1.0 + (knee / freqs[1:]) ** 2
    for low, high in ((0.5, 1.0), (4.0, 6.0), (100.0, 200.0)):
        band = (freqs[1:] > low) & (freqs[1:] < high)
        ratio = np.mean(powers[1:][band] / expected[band])
        assert abs(ratio - 1.0) < 5 / np.sqrt(band.sum())


def test_red_series_are_as_stated():
    cases = list(red_noise(1, 12, TSAMP, 300))
    assert [case.pulsars[:2] for case in cases] == [case.pulsars for case in red_noise(1, 12, TSAMP, 2)]
    for case, (low, high) in zip(cases, KNEES, strict=True):
        assert low <= min(case.knees) < max(case.knees) <= high
        assert np.mean(np.log(case.knees)) == pytest.approx(0.5 * np.log(low * high), abs=0.07 * np.log(high / low))
    pulsars = [one for case in cases for one in case.pulsars]
    for values, low, high in (([p.period for p in pulsars], 2e-3, 10.0), ([p.duty for p in pulsars], 0.01, 0.2)):
        assert low <= min(values) < 1.02 * low < 0.98 * high < max(values) <= high
        assert np.mean(np.log(values)) == pytest.approx(0.5 * np.log(low * high), abs=0.03 * np.log(high / low))
    assert np.mean([p.snr for p in pulsars]) == pytest.approx(13.5, abs=0.4)
    assert len({case.series(0, with_pulsar=which).tobytes() for case in cases for which in (False, True)}) == 10


@pytest.mark.parametrize(("knee", "kept"), [(0.0, 1.0), (5.0, 0.5)])
def test_a_matched_filter_has_the_signal_to_noise_of_theory(knee, kept):
    # Nearly a sinusoid of 5 Hz: at the knee the noise has twice the power.
    truth = Truth(1, 0.2, 0.5, 8.0, 0.3)

    def measured(which, seed):
        return matched(make_series(which, 1000, TSAMP, np.random.default_rng(seed), knee), truth, TSAMP, knee)

    values, alone = ([measured(which, seed) for seed in range(300)] for which in (truth, None))
    assert np.mean(values) == pytest.approx(8.0 * np.sqrt(kept), abs=0.3)
    assert np.std(alone) == pytest.approx(1.0, abs=0.12)
    assert np.mean(alone) == pytest.approx(0.0, abs=0.17)


def test_a_frequency_is_a_pulsars_at_simple_ratios():
    truth, tobs = Truth(1, 0.25, 0.05, 8.0, 0.0), 100.0
    assert found(4.0, truth, tobs) == (1, 1)
    assert found(4.0099, truth, tobs) == (1, 1)
    assert found(4.0101, truth, tobs) is None
    assert found(64.0, truth, tobs) == (16, 1)
    assert found(68.0, truth, tobs) is None
    assert found(2.0, truth, tobs) == (1, 2)
    assert found(4.0 * 7 / 3, truth, tobs) == (7, 3)
    assert found(0.8, truth, tobs) is None
    # In a short series several fit.
    assert found(4.3, truth, 1.0) == (1, 1)
