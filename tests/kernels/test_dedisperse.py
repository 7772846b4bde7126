"""Kernels of dedispersion against their oracles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import dedisperse as oracle

from pulsar_kernels import dedisperse as kernels


def _raw(rng, nchans, ncols, loud=False):
    return (
        rng.integers(-128, 128, (nchans, ncols), dtype=np.int8)
        if loud
        else rng.integers(-25, 26, (nchans, ncols), dtype=np.int8)
    )


@given(
    nchans=st.integers(1, 70),
    ndms=st.integers(1, 6),
    nout=st.integers(1, 90),
    delay=st.integers(0, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_brute_is_the_plain_sum(nchans, ndms, nout, delay, seed):
    rng = np.random.default_rng(seed)
    column = int(rng.integers(0, 5))
    raw = _raw(rng, nchans, column + nout + delay, loud=True)
    delays = rng.integers(0, delay + 1, (ndms, nchans))
    out = np.full((ndms + 1, nout + 3), 7, np.int16)
    kernels.brute_tile(raw, column, delays, np.empty((0, 0), np.int32), out, 1, 2, nout)
    want = oracle.shifted_sums(raw[:, column:], delays)[:, :nout]
    np.testing.assert_array_equal(out[1:, 2 : 2 + nout], want)
    assert (out[0] == 7).all()
    assert (out[:, :2] == 7).all()
    assert (out[:, 2 + nout :] == 7).all()


@pytest.mark.parametrize("level", [127, -128, 5])
@pytest.mark.parametrize("nchans", [255, 256, 257, 600])
def test_brute_of_many_channels_is_clamped_once_at_the_end(nchans, level):
    # Half of the channels up and half down at first: partial sums leave int16, the total need not.
    raw = np.full((nchans, 40), level, np.int8)
    raw[nchans // 2 :, :20] = -level - 1
    delays = np.zeros((2, nchans), np.int64)
    out = np.empty((2, 40), np.int16)
    kernels.brute_tile(raw, 0, delays, np.empty((2, 40), np.int32), out, 0, 0, 40)
    np.testing.assert_array_equal(out, oracle.clamp16(oracle.shifted_sums(raw, delays)))


@given(nchans=st.integers(1, 9), n=st.integers(1, 40), power=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_downsampling(nchans, n, power, seed):
    factor = 1 << power
    raw = _raw(np.random.default_rng(seed), nchans, n * factor, loud=seed % 2 == 0)
    if seed % 5 == 0:
        raw[0] = -128
    sums = np.empty((nchans, n * factor // 2), np.int16)
    kernels.halve(raw, sums)
    for _ in range(power - 1):
        half = np.empty((nchans, sums.shape[1] // 2), np.int16)
        kernels.halve(sums, half)
        sums = half
    out = np.empty((nchans, n), np.int8)
    kernels.requantise(sums, 1.0 / np.sqrt(factor), out)
    np.testing.assert_array_equal(out, oracle.downsample(raw, factor))


@given(n=st.integers(1, 70), odd=st.booleans(), loud=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_halved_series(n, odd, loud, seed):
    level = 32767 if loud else 300
    series = np.random.default_rng(seed).integers(-level, level + 1, 2 * n + odd).astype(np.int16)
    out = np.zeros(n, np.int16)
    kernels.halve_series(series, out)
    # In single precision a sum close to a half may be rounded to the other side.
    assert np.abs(out.astype(int) - oracle.halved(series)).max() <= 1


def test_a_halved_line_is_attenuated_as_its_frequency_says():
    t = np.arange(8192)
    for cycles in (64, 512, 1024, 1800):
        out = np.zeros(4096, np.int16)
        kernels.halve_series(np.rint(10000 * np.cos(2 * np.pi * cycles / 8192 * t)).astype(np.int16), out)
        amplitude = np.abs(np.fft.rfft(out)[cycles]) / 2048
        assert amplitude == pytest.approx(10000 * 8 / np.sqrt(20) * np.cos(np.pi * cycles / 8192) ** 3, rel=0.003)
