"""Memory for the samples and series that dedispersion keeps, used for the first time before it is needed."""

import math
import threading
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pulsar.data.closing import Closing

#: Memory is used for the first time so much at once [bytes]: on a slow virtual machine 20 ms, which may be waited for.
_PIECE: Final = 8 << 20
#: Bytes from one page to the next, at least; and what arrays begin at a multiple of: a cache line.
_PAGE: Final = 4096
_LINE: Final = 64


class Reserve(Closing):
    """Zeros, which a thread of its own has the system provide.

    Memory costs time where it is used for the first time: the system has to find and to clear it, and so has the host
    of a virtual machine. While a run begins there are moments in which not all processors are busy.

    Parameters
    ----------
    nbytes : int
        In all.
    """

    def __init__(self, nbytes: int) -> None:
        self._free: NDArray[np.int8] = np.zeros(nbytes, np.int8)
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._use, args=(self._free,), name="memory", daemon=True)
        self._thread.start()

    def _use(self, free: NDArray[np.int8]) -> None:
        for first in range(0, free.size, _PIECE):
            if self._wanted.is_set():
                return
            free[first : first + _PIECE : _PAGE] = 0

    def _stop(self) -> None:
        self._wanted.set()
        self._thread.join()

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of zeros that begins at a cache line: of this memory, or other where not enough of it is left."""
        self._stop()
        size = math.prod(shape) * np.dtype(dtype).itemsize
        skip = -self._free.ctypes.data % _LINE
        free = self._free
        if skip + size > free.size:
            free = np.zeros(size + _LINE, np.int8)
            skip = -free.ctypes.data % _LINE
        else:
            self._free = free[skip + size :]
        return free[skip : skip + size].view(dtype).reshape(shape)

    def close(self) -> None:
        """Give back what has not been taken."""
        self._stop()
        self._free = np.zeros(0, np.int8)
