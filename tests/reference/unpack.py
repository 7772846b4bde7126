"""Oracles of pulsar_kernels.unpack: one bit field at a time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def codes(
    raw: NDArray[np.uint8], ntimes: int, row_bytes: int, first: int, ncols: int, nbits: int, low_first: bool, xor: int
) -> NDArray[np.float64]:
    """Samples of one polarisation, shape (nchans, ntimes), in the order of the file."""
    per = 8 // nbits
    out = np.zeros((ncols * per, ntimes))
    for t in range(ntimes):
        for b in range(ncols):
            byte = int(raw[t * row_bytes + first + b])
            for k in range(per):
                shift = k * nbits if low_first else 8 - nbits * (k + 1)
                out[b * per + k, t] = ((byte >> shift) & ((1 << nbits) - 1)) ^ xor
    return out


def transposed(raw: NDArray[Any], ntimes: int, row: int, first: int, nchans: int) -> NDArray[np.float64]:
    """Wide samples of one polarisation, shape (nchans, ntimes)."""
    return raw.reshape(ntimes, row)[:, first : first + nchans].T.astype(np.float64)


def packed(values: NDArray[np.uint8], nbits: int, low_first: bool) -> bytes:
    """Bytes of samples of fewer than 8 bits, by way of a text of bits."""
    per = 8 // nbits
    out = []
    for at in range(0, len(values), per):
        group = [f"{int(v):0{nbits}b}" for v in values[at : at + per]]
        out.append(int("".join(group[::-1] if low_first else group), 2))
    return bytes(out)
