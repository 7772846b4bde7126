import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import whiten as ref

from pulsar_kernels import fft, lanes


def transform(series, plan, coeffs=(0.0, 0.0, 0.0, 0.0), pad=3):
    nbins = plan.n1 * plan.n2 // 2
    real, imag = np.full((2, nbins + 2 * pad), 7.0, dtype=np.float32)
    work = np.full(plan.work + 5, 7.0, dtype=np.float32)
    fft.real_fft(series, np.array(coeffs), plan, work, pad, real, imag)
    assert (real[:pad] == 7).all()
    assert (imag[-pad + 1 :] == 7).all()
    assert (work[-5:] == 7).all()
    return (real + 1j * imag)[pad : pad + nbins + 1]


@given(st.integers(3, 9), st.integers(0, 3), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_real_fft(twos, threes, fives, seed):
    nfft = 2**twos * 3**threes * 5**fives
    plan = fft.make_plan(nfft)
    # Of short ones some have none.
    assert nfft < 32 * 80 or plan is not None
    assume(plan is not None)
    assert plan.n1 * plan.n2 == nfft
    series = np.random.default_rng(seed).standard_normal(nfft, dtype=np.float32)
    expected = np.fft.rfft(series.astype(np.float64))
    np.testing.assert_allclose(transform(series, plan), expected, atol=2e-6 * np.sqrt(nfft))


@given(st.sampled_from([1024, 1152, 1280, 2592]), st.floats(0, 1), st.booleans(), st.integers(0, 2**32 - 1))
def test_what_is_taken_off(nfft, fill, integers, seed):
    rng = np.random.default_rng(seed)
    n = max(int(fill * nfft), 8)
    coeffs = np.array([1000.0, 30.0, -5.0, 12.0])
    series = (1000 + 50 * rng.standard_normal(n)).astype(np.int16 if integers else np.float32)
    if not integers:
        series[rng.integers(0, n, 3)] = [np.nan, np.inf, -np.inf]
    expected = np.fft.rfft(ref.detrend(series, coeffs, nfft))
    np.testing.assert_allclose(transform(series, fft.make_plan(nfft), coeffs), expected, atol=2e-4 * np.sqrt(nfft))


@pytest.mark.jit
@pytest.mark.parametrize("nfft", [1 << 15, 1 << 18, 2 * 405 * 450, 2 * 243 * 375])
def test_long_real_fft(nfft):
    series = np.random.default_rng(nfft).standard_normal(nfft, dtype=np.float32)
    expected = np.fft.rfft(series.astype(np.float64))
    error = transform(series, fft.make_plan(nfft)) - expected
    assert np.sqrt(np.mean(np.abs(error) ** 2) / nfft) < 3e-7
    assert np.abs(error).max() < 2e-6 * np.sqrt(nfft)


def test_lines_end_where_they_belong():
    nfft = 4096
    t = np.arange(nfft)
    plan = fft.make_plan(nfft)
    for k in (0, 1, 15, 16, 17, 100, 1023, 1024, 1025, 2047, 2048):
        got = transform(np.cos(2 * np.pi * k * t / nfft).astype(np.float32), plan)
        expected = np.zeros(nfft // 2 + 1)
        expected[k] = nfft if k in (0, nfft // 2) else nfft / 2
        np.testing.assert_allclose(got, expected, atol=2e-3)


def test_lengths_that_are_not_covered():
    assert fft.make_plan(960) is None  # too short for 32 by 32
    assert fft.make_plan(1023) is None
    assert fft.make_plan(2 * 7 * 512) is None
    assert fft.make_plan(2 * 17 * 512) is None


@given(st.lists(st.sampled_from([2, 3, 4, 5, 8, 16]), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_sixteen_transforms_side_by_side(radix, seed):
    """Of passes in any order, and of the shortest for a length."""
    while np.prod(radix) > 320:
        radix = radix[:-1]
    n = int(np.prod(radix))
    z = np.random.default_rng(seed).standard_normal((n, 2, 16)).astype(np.float32)
    expected = np.fft.fft(z[:, 0].astype(float) + 1j * z[:, 1], axis=0)
    rows = np.array([lanes.slots(i) for i in range(n)])
    assert len(set(rows)) == n
    short = lanes.factors(n)
    assert np.prod(short) == n
    assert set(short) <= {2, 3, 4, 5, 8, 16}
    for passes in (radix, short):
        twiddle = lanes.twiddles(passes)
        tile, other = np.zeros((2, lanes.slots(n) + 1, 2, 16), np.float32)
        tile[rows] = z
        span, w = 1, 0
        for r in passes:
            lanes.transform_pass(r, tile.ravel(), other.ravel(), n, span, twiddle, w)
            w += n // (span * r) * (r - 1)
            span *= r
            tile, other = other, tile
        assert 2 * w == len(twiddle)
        np.testing.assert_allclose(tile[rows, 0] + 1j * tile[rows, 1], expected, atol=2e-6 * n)


def test_lengths_without_passes():
    for n in (7, 14, 22, 49, 1001):
        assert lanes.factors(n) == []
    assert lanes.factors(1) == []
    assert lanes.factors(96) == [4, 8, 3]
