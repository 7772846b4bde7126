"""Running means against plain numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.interference import less_running_mean

from pulsar_kernels.interference import less_running_means


@given(seed=st.integers(0, 2**32 - 1), nrows=st.integers(1, 20), n=st.integers(1, 400), half=st.integers(0, 450))
def test_running_means(seed, nrows, n, half):
    data = np.random.default_rng(seed).normal(100, 3, (nrows, n)).astype(np.float32)
    out = np.empty_like(data)
    less_running_means(data, half, out)
    expected = less_running_mean(less_running_mean(data, half), half)
    np.testing.assert_allclose(out, expected, atol=1e-4)


@pytest.mark.parametrize("half", [0, 3, 5000])
def test_running_means_of_a_ramp_are_the_ramp_where_windows_are_whole(half):
    ramp = np.arange(21000, dtype=np.float32) * np.array([[1.0], [-2.0]], dtype=np.float32)
    out = np.empty_like(ramp)
    less_running_means(ramp, half, out)
    whole = out[:, 2 * half : 21000 - 2 * half]
    np.testing.assert_allclose(whole, np.zeros((2, 21000 - 4 * half)), atol=1e-3)
    # At the first sample the mean is half a window ahead; of the means of what is left, a part of it.
    assert (np.abs(out[:, 0]) >= 0.1 * half).all()
