import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar.bench.searching import resampled
from pulsar_kernels.orbit import resample_orbit

pytestmark = pytest.mark.usefixtures("quiet")


def by_kernel(series, ratio, turn, even, odd, n):
    """By the kernel, from a series of a whole number of rows."""
    out = np.full(n, np.nan, np.float32)
    resample_orbit(np.ascontiguousarray(series.reshape(-1, ratio).T), turn, even, odd, out)
    return out


@given(
    st.integers(0, 300),
    st.integers(1, 300),
    st.sampled_from([1, 2, 4, 5]),
    st.floats(0, 1e-2),
    st.floats(-30, 30),
    st.floats(-30, 30),
    st.integers(0, 2**32 - 1),
)
def test_it_is_a_straight_line_between_samples(n, rows, ratio, turn, even, odd, seed):
    """Of any lengths, also of results longer than the series; within what is allowed."""
    # Noise changes by its own size from a sample to the next: what is smooth tells a wrong place from a wrong rounding.
    smooth = np.cumsum(np.random.default_rng(seed).standard_normal(rows * ratio)).astype(np.float32)
    expected = resampled(smooth, ratio, turn, even, odd, n)
    place = 0.02 + (abs(even) + abs(odd)) * (4 * turn) ** 2
    got = by_kernel(smooth, ratio, turn, even, odd, n)
    # A place that is off by a part of a sample may fall over the end of the series, where the result is 0.
    a = turn * (np.arange(n) - 0.5 * (n - 1))
    at = ratio * np.arange(n) + even * np.cos(a) + odd * np.sin(a)
    inner = np.minimum(np.abs(at), np.abs(at - (smooth.size - 1))) > place + 1e-6
    np.testing.assert_allclose(got[inner], expected[inner], atol=6 * place + 2e-5 * np.abs(smooth).max())
    assert np.all(np.isfinite(got))


@pytest.mark.parametrize("ratio", [1, 4])
def test_without_an_orbit_it_is_every_ratio_th_sample(ratio):
    series = np.random.default_rng(1).standard_normal(ratio * 1000).astype(np.float32)
    expected = series[::ratio][:990]
    np.testing.assert_array_equal(by_kernel(series, ratio, 1e-3, 0.0, 0.0, 1000)[:990], expected)


def test_a_pulsar_on_an_orbit_has_one_frequency_again():
    """A sine that arrives late by x cos + y sin has all of its power in one bin after that."""
    n, ratio, cycles = 4096, 4, 517
    turn, even, odd = 2 * np.pi / n * 1.3, 21.0, -34.0
    # What is emitted at j arrives at j + late(j): found by going back and forth.
    at = np.arange(n * ratio) / ratio - 0.5 * (n - 1)
    emitted = at.copy()
    for _ in range(50):
        emitted = at - (even * np.cos(turn * emitted) + odd * np.sin(turn * emitted)) / ratio
    series = np.sin(2 * np.pi * cycles * (emitted + 0.5 * (n - 1)) / n).astype(np.float32)
    power = np.abs(np.fft.rfft(by_kernel(series, ratio, turn, even, odd, n))) ** 2
    assert power[cycles] > 0.97 * (n / 2) ** 2
    assert np.abs(np.fft.rfft(series[::ratio])[cycles]) ** 2 < 0.1 * (n / 2) ** 2
