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


@given(
    fans=st.lists(st.integers(1, 11), min_size=1, max_size=6),
    nout=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
    loud=st.booleans(),
)
def test_tree_program_of_two_levels(fans, nout, seed, loud):
    # One row of the arena per group of channels, then all groups into one row of the output.
    rng = np.random.default_rng(seed)
    nchans, reach = sum(fans), 9
    raw = _raw(rng, nchans, nout + 2 * reach + 4, loud)
    first = rng.integers(0, reach, nchans)
    second = rng.integers(0, reach, len(fans))
    room = nout + reach
    ptr = np.cumsum([0, *fans, len(fans)])
    kind = np.array([1] * len(fans) + [2], np.uint8)
    dest = np.append(np.arange(len(fans)) * room, 1)
    src = np.append(np.arange(nchans), np.arange(len(fans)) * room + second)
    shift = np.append(first, np.zeros(len(fans), np.int64))
    arena = np.empty(room * len(fans), np.int16)
    out = np.zeros((2, nout + 1), np.int16)
    length = np.append(np.full(len(fans), room), nout)
    kernels.tree_tile(raw, 2, kind, dest, length, ptr, src, shift, arena, out, 1, nout)
    delays = first + np.repeat(second, fans)
    want = oracle.shifted_sums(raw[:, 2:], delays[None, :])[0, :nout]
    np.testing.assert_array_equal(out[1, 1:], want)
    assert not out[0].any()


@pytest.mark.parametrize("fan", [2, 3, 4, 5, 7, 8, 16])
@pytest.mark.parametrize("sign", [1, -1])
def test_tree_sums_saturate(fan, sign):
    groups = fan
    raw = np.full((groups * 256, 33), 127 if sign > 0 else -128, np.int8)
    ptr = np.cumsum([0] + [256] * groups + [groups])
    kind = np.array([1] * groups + [2], np.uint8)
    dest = np.append(np.arange(groups) * 33, 0)
    src = np.append(np.arange(groups * 256), np.arange(groups) * 33)
    arena, out = np.empty(groups * 33, np.int16), np.empty((1, 33), np.int16)
    length = np.full(groups + 1, 33)
    kernels.tree_tile(raw, 0, kind, dest, length, ptr, src, np.zeros(src.size, np.int64), arena, out, 0, 33)
    assert (out == (32767 if sign > 0 else -32768)).all()


@given(nchans=st.integers(1, 9), n=st.integers(1, 40), power=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_downsampling(nchans, n, power, seed):
    factor = 1 << power
    raw = _raw(np.random.default_rng(seed), nchans, n * factor, loud=seed % 2 == 0)
    if seed % 5 == 0:
        raw[0] = -128
    sums = np.empty((nchans, n * factor // 2), np.int16)
    kernels.halve_int8(raw, sums)
    for _ in range(power - 1):
        half = np.empty((nchans, sums.shape[1] // 2), np.int16)
        kernels.halve_int16(sums, half)
        sums = half
    out = np.empty((nchans, n), np.int8)
    kernels.requantise(sums, 1.0 / np.sqrt(factor), out)
    np.testing.assert_array_equal(out, oracle.downsample(raw, factor))


def test_saturating_adds_are_vector_instructions():
    # What makes saturation free; only x86 can be asked this way.
    import platform

    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("no x86: the name of the instruction differs")
    from numba import config, njit

    if config.DISABLE_JIT:
        pytest.skip("compilation is switched off")
    compiled = njit(nogil=True, error_model="numpy")(kernels._sum_rows.py_func)
    compiled(np.zeros(64, np.int16), np.zeros(640, np.int16), np.arange(0, 640, 64), 0, 9, False)
    assert "paddsw" in "".join(compiled.inspect_asm().values())
