"""Arrays that begin at a cache line: vectors of their rows then never straddle two."""

from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

#: Bytes of a cache line.
LINE: Final = 64


def aligned(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros that begin at a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    space = np.zeros(size + LINE, dtype=np.uint8)
    first = -space.ctypes.data % LINE
    return space[first : first + size].view(dtype).reshape(shape)
