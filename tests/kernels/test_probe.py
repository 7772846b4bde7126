"""The loops that measure the machine do the operations they are counted for."""

import numpy as np
import pytest

from pulsar_kernels.probe import add_rows, multiply_add


# Uncompiled, numpy refuses to store in a byte what wraps around there.
@pytest.mark.parametrize("dtype", [pytest.param(np.int8, marks=pytest.mark.jit), np.int16])
def test_add_rows_adds_every_row(dtype: type[np.signedinteger]) -> None:
    rng = np.random.default_rng(2)
    info = np.iinfo(dtype)
    rows = rng.integers(info.min, info.max, (8, 37), dtype=dtype, endpoint=True)
    acc = rng.integers(-100, 100, 37, dtype=dtype)
    want = (acc.astype(np.int64) + 3 * rows.astype(np.int64).sum(axis=0)).astype(dtype)
    with np.errstate(over="ignore"):
        add_rows(rows, acc, 3)
    np.testing.assert_array_equal(acc, want)


def test_multiply_add_takes_eight_steps_each_time() -> None:
    x = np.linspace(-2.0, 2.0, 37, dtype=np.float32)
    want = x.astype(np.float64)
    for _ in range(3 * 8):
        want = 0.9 * want + 0.3
    multiply_add(x, 0.9, 0.3, 3)
    np.testing.assert_allclose(x, want, rtol=1e-5)
