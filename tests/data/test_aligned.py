"""Arrays that begin at a cache line."""

import numpy as np
import pytest

from pulsar.data.series import LINE, aligned


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.int64])
def test_zeros_of_any_shape_begin_at_a_cache_line(dtype: type[np.generic]) -> None:
    # Kept: memory that is free again would be given out at the same place.
    arrays = [aligned(shape, dtype) for n in range(1, 20) for shape in (n, (3, n))]
    assert [array.ctypes.data % LINE for array in arrays] == [0] * len(arrays)
    assert [array.shape for array in arrays] == [shape for n in range(1, 20) for shape in ((n,), (3, n))]
    assert all(array.dtype == dtype and array.flags.c_contiguous and not array.any() for array in arrays)
