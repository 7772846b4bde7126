import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import peaks as ref
from scipy import stats

from pulsar_kernels import peaks


@given(st.floats(0.0, 99.4), st.integers(0, 2**32 - 1))
def test_power_at(x, seed):
    rng = np.random.default_rng(seed)
    real, imag = rng.standard_normal((2, 132)).astype(np.float32)
    # The oracle's weights are exact at a whole bin, the kernel's up to 1e-6 of one.
    assert peaks.power_at(real, imag, 16, x) == pytest.approx(ref.power_at(real + 1j * imag, 16, x), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("nharm", [1, 2, 16, 32])
def test_log_tail(nharm):
    for power in (0.1, 3.0, 50.0, 300.0):
        assert peaks.log_tail(power, nharm) == pytest.approx(stats.chi2.logsf(2 * power, 2 * nharm), rel=1e-9)
    assert -1e8 <= peaks.log_tail(1e8, nharm) < -9e7


def tone(n, frequencies, amplitude, seed):
    t = np.arange(n)
    x = np.random.default_rng(seed).standard_normal(n)
    for r in frequencies:
        x += amplitude * np.cos(2 * np.pi * r * t / n + 0.3 * r)
    spec = np.fft.rfft(x) / np.sqrt(n)
    full = np.concatenate([spec[1:17][::-1].conj(), spec[:-1], spec[-1:], spec[-16:-1][::-1].conj()])
    return full.real.astype(np.float32), full.imag.astype(np.float32)


@pytest.mark.parametrize("nharm", [1, 4, 16])
def test_refine(nharm):
    n, r = 4096, 57.37
    real, imag = tone(n, [r * k for k in range(1, nharm + 1)], 0.3, 2)
    out = np.zeros(32)
    got = peaks.refine(real, imag, 16, r + 0.3 / nharm, nharm, out)
    assert abs(got - r) < 0.1 / nharm
    assert np.all(out[:nharm] > 20)
    assert np.all(out[nharm:] == 0)


def test_harmonics_beyond_the_spectrum_have_no_power():
    real, imag = np.random.default_rng(3).standard_normal((2, 132)).astype(np.float32)
    inside = sum(peaks.power_at(real, imag, 16, 30.25 * k) for k in (1, 2, 3))
    assert peaks.harmonic_power(real, imag, 16, 30.25, 8) == pytest.approx(inside)


def test_frequency_information():
    rng = np.random.default_rng(4)
    for nharm in (1, 2, 8, 32):
        for strength in (0.1, 3.0, 30.0):
            powers = strength * rng.exponential(size=nharm)
            powers[nharm // 2 + 1 :] *= rng.random() < 0.5
            got = peaks.frequency_information(np.append(powers, 99.0), nharm)
            assert got == pytest.approx(ref.frequency_information(powers), rel=1e-12)


def test_submultiple():
    own = np.array([0.5, 100.0, 1.2, 80.0])
    assert peaks.is_submultiple(50.0, 4, own, np.array([20.0, 100.1]))
    assert not peaks.is_submultiple(50.0, 4, own, np.array([20.0, 101.0]))
    assert not peaks.is_submultiple(50.0, 4, np.array([30.0, 100.0, 1.2, 80.0]), np.array([20.0, 100.1]))


def test_select_keeps_one_of_a_tone_and_its_sidelobes():
    real, imag = tone(4096, [300.5], 2.0, 1)
    bins = np.arange(280.0, 320.0, 0.5)
    power = np.array([peaks.power_at(real, imag, 16, r) for r in bins])
    raised = power > 10
    bins, power = bins[raised], power[raised]
    assert bins.size > 8
    nharm = np.ones(bins.size, dtype=np.int64)
    index = np.zeros(bins.size, dtype=np.int64)
    where, info = np.zeros((2, bins.size))
    order = np.argsort(-power)
    kept = peaks.select(real, imag, 16, bins, nharm, power, order, index, where, info)
    assert kept == 1
    assert abs(where[0] - 300.5) < 0.02


@pytest.mark.parametrize("room", [1, 2, 3])
def test_select_keeps_the_best_of_what_there_is_room_for(room):
    real, imag = tone(4096, [300.0, 700.0], 2.0, 1)
    bins = np.array([299.0, 300.0, 700.0])
    power = np.array([peaks.power_at(real, imag, 16, r) for r in bins])
    one, index = np.ones(3, dtype=np.int64), np.zeros(room, dtype=np.int64)
    where, info = np.zeros((2, room))
    kept = peaks.select(real, imag, 16, bins, one, power, np.argsort(-power), index, where, info)
    assert kept == min(room, 2)
    assert set(index[:kept]) == set(np.argsort(-power)[:kept])


@given(st.integers(0, 200), st.floats(0, 0.1), st.integers(0, 2**32 - 1))
def test_group(n, tolerance, seed):
    rng = np.random.default_rng(seed)
    freq = np.sort(rng.uniform(0, 1, n))
    order = rng.permutation(n)
    label = np.empty(n, dtype=np.int64)
    ngroups = peaks.group(freq, order, tolerance, label)
    expected, number = ref.group(freq, order, tolerance)
    assert ngroups == number
    np.testing.assert_array_equal(label, expected)


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_ratios(n, seed):
    rng = np.random.default_rng(seed)
    freq = 7.0 * rng.integers(1, 20, n) / rng.integers(1, 20, n) + rng.normal(0, 1e-4, n)
    err = np.full(n, 1e-4)
    nharm = 2 ** rng.integers(0, 6, n)
    free = rng.random(n) < 0.8
    rows = rng.permutation(n)
    limits = np.array([4.0, 64.0, 32.0, 32.0])
    found = np.zeros((n, 3), dtype=np.int64)
    count = peaks.ratios(freq, err, nharm, free, rows, 0, limits, found)
    assert [tuple(row) for row in found[:count]] == ref.ratios(freq, err, nharm, free, rows, 0, limits)
