"""Unpacking, transposing and packing against the oracles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import unpack as oracle

from pulsar_kernels.unpack import pack, transpose, transpose_scaled, unpack, unpack_scaled

SIZES = {"ntimes": st.integers(1, 150), "ncols": st.integers(1, 150), "seed": st.integers(0, 1 << 30)}


@given(
    **SIZES,
    nbits=st.sampled_from([1, 2, 4, 8]),
    low=st.booleans(),
    reverse=st.booleans(),
    two=st.booleans(),
    signed=st.booleans(),
    pad=st.integers(0, 9),
)
def test_unpack(ntimes, ncols, seed, nbits, low, reverse, two, signed, pad):
    rng = np.random.default_rng(seed)
    row_bytes = ncols * (2 if two else 1) + pad
    raw = rng.integers(0, 256, ntimes * row_bytes, dtype=np.uint8)
    xor = 1 << (nbits - 1) if signed else 0
    second = ncols if two else 0
    nchans = ncols * 8 // nbits
    want = oracle.codes(raw, ntimes, row_bytes, 0, ncols, nbits, low, xor)
    other = oracle.codes(raw, ntimes, row_bytes, second, ncols, nbits, low, xor)
    scale = rng.normal(size=(2, nchans)).astype(np.float32)
    offset = rng.normal(size=nchans).astype(np.float32)
    scaled = want * scale[0][:, None] + offset[:, None]
    if two:
        scaled += other * scale[1][:, None]
        want = want + other
    order = slice(None, None, -1 if reverse else 1)

    stride = ntimes + pad
    out = np.full((nchans, stride), 77, dtype=np.uint16 if two and nbits == 8 else np.uint8)
    unpack(raw, ntimes, row_bytes, ncols, second, nbits, low, xor, out.reshape(-1), stride, reverse)
    np.testing.assert_array_equal(out[:, :ntimes], want[order])
    assert np.all(out[:, ntimes:] == 77), "wrote outside its stretch"

    real = np.full((nchans, stride), 77, dtype=np.float32)
    unpack_scaled(
        raw, ntimes, row_bytes, ncols, second, nbits, low, xor, scale, offset, real.reshape(-1), stride, reverse
    )
    np.testing.assert_allclose(real[:, :ntimes], scaled[order], rtol=1e-5, atol=1e-3)
    assert np.all(real[:, ntimes:] == 77)


@given(
    ntimes=st.integers(1, 70),
    nchans=st.integers(1, 70),
    seed=st.integers(0, 1 << 30),
    kind=st.sampled_from(["u2", "i2", "f4"]),
    reverse=st.booleans(),
    two=st.booleans(),
)
def test_transpose(ntimes, nchans, seed, kind, reverse, two):
    rng = np.random.default_rng(seed)
    row = nchans * (2 if two else 1)
    raw = rng.integers(0, 30000, ntimes * row).astype(kind)
    second = nchans if two else 0
    first, other = (oracle.transposed(raw, ntimes, row, at, nchans) for at in (0, second))
    scale = rng.normal(size=(2, nchans)).astype(np.float32)
    offset = rng.normal(size=nchans).astype(np.float32)
    scaled = first * scale[0][:, None] + offset[:, None]
    if two:
        scaled += other * scale[1][:, None]
    order = slice(None, None, -1 if reverse else 1)
    out = np.zeros((nchans, ntimes), dtype=np.float32)
    transpose(raw, ntimes, row, nchans, second, out.reshape(-1), ntimes, reverse)
    np.testing.assert_array_equal(out, (first + other if two else first)[order])
    transpose_scaled(raw, ntimes, row, nchans, second, scale, offset, out.reshape(-1), ntimes, reverse)
    np.testing.assert_allclose(out, scaled[order], rtol=1e-4, atol=1e-1)


def test_transpose_keeps_16_bit_integers():
    raw = np.array([0, 65535, 1, 2], dtype=np.uint16)
    out = np.zeros((2, 2), dtype=np.uint16)
    transpose(raw, 2, 2, 2, 0, out.reshape(-1), 2, False)
    np.testing.assert_array_equal(out, [[0, 1], [65535, 2]])


@pytest.mark.parametrize("nbits", [1, 2, 4])
@pytest.mark.parametrize("low", [False, True])
def test_pack(nbits, low):
    values = np.random.default_rng(5).integers(0, 1 << nbits, 64, dtype=np.uint8)
    out = np.zeros(values.size * nbits // 8, dtype=np.uint8)
    pack(values, nbits, low, out)
    assert out.tobytes() == oracle.packed(values, nbits, low)
