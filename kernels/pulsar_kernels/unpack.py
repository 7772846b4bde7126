"""From the bytes of a file to channel-major samples: unpacking, summing of two polarisations, transposing.

Packed bytes are transposed first, 8 times 8 at once in 64-bit words (Warren, Hacker's Delight, 7-3), in tiles of
64 times by 64 byte columns that sit in L1; the samples of one channel are then a shift and a mask over
consecutive bytes, which vectorises, and costs the same for 1, 2, 4 and 8 bits. Tiles are copied in and out whole:
rows of a power of two would otherwise fall into the same few lines of the cache.

`out` is flat: channel c, time t at ``out[c * stride + t]``, so rows may lie inside a larger array.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel

TILE = 64

_S8, _S16, _S32 = np.uint64(8), np.uint64(16), np.uint64(32)
_M8 = np.uint64(0x00FF00FF00FF00FF)
_M16 = np.uint64(0x0000FFFF0000FFFF)
_M32 = np.uint64(0x00000000FFFFFFFF)


@kernel()
def _tile(
    raw: NDArray[np.uint8],
    pos: int,
    row_bytes: int,
    nt: int,
    nc: int,
    words: NDArray[np.uint64],
    turned: NDArray[np.uint64],
) -> None:
    """Transpose `nt` <= 64 rows of `nc` <= 64 bytes at `pos` into `turned`, seen as bytes [column][time]."""
    flat = words.view(np.uint8)
    if nc == TILE:
        for t in range(nt):
            src = raw[pos + t * row_bytes : pos + t * row_bytes + TILE]
            dst = flat[t * TILE : (t + 1) * TILE]
            for i in range(TILE):
                dst[i] = src[i]
    else:
        for t in range(nt):
            for i in range(nc):
                flat[t * TILE + i] = raw[pos + t * row_bytes + i]
    for k in range((nt + 7) // 8):
        for g in range((nc + 7) // 8):
            at = k * 64 + g
            x0, x1, x2, x3 = words[at], words[at + 8], words[at + 16], words[at + 24]
            x4, x5, x6, x7 = words[at + 32], words[at + 40], words[at + 48], words[at + 56]
            y0, y4 = (x0 & _M32) | (x4 << _S32), (x0 >> _S32) | (x4 & ~_M32)
            y1, y5 = (x1 & _M32) | (x5 << _S32), (x1 >> _S32) | (x5 & ~_M32)
            y2, y6 = (x2 & _M32) | (x6 << _S32), (x2 >> _S32) | (x6 & ~_M32)
            y3, y7 = (x3 & _M32) | (x7 << _S32), (x3 >> _S32) | (x7 & ~_M32)
            x0, x2 = (y0 & _M16) | ((y2 & _M16) << _S16), ((y0 >> _S16) & _M16) | (y2 & ~_M16)
            x1, x3 = (y1 & _M16) | ((y3 & _M16) << _S16), ((y1 >> _S16) & _M16) | (y3 & ~_M16)
            x4, x6 = (y4 & _M16) | ((y6 & _M16) << _S16), ((y4 >> _S16) & _M16) | (y6 & ~_M16)
            x5, x7 = (y5 & _M16) | ((y7 & _M16) << _S16), ((y5 >> _S16) & _M16) | (y7 & ~_M16)
            to = g * 64 + k
            turned[to] = (x0 & _M8) | ((x1 & _M8) << _S8)
            turned[to + 8] = ((x0 >> _S8) & _M8) | (x1 & ~_M8)
            turned[to + 16] = (x2 & _M8) | ((x3 & _M8) << _S8)
            turned[to + 24] = ((x2 >> _S8) & _M8) | (x3 & ~_M8)
            turned[to + 32] = (x4 & _M8) | ((x5 & _M8) << _S8)
            turned[to + 40] = ((x4 >> _S8) & _M8) | (x5 & ~_M8)
            turned[to + 48] = (x6 & _M8) | ((x7 & _M8) << _S8)
            turned[to + 56] = ((x6 >> _S8) & _M8) | (x7 & ~_M8)


@kernel()
def unpack(
    raw: NDArray[np.uint8],
    ntimes: int,
    row_bytes: int,
    ncols: int,
    second: int,
    nbits: int,
    low_first: bool,
    xor: int,
    out: NDArray[Any],
    stride: int,
    reverse: bool,
) -> None:
    """Unpack, transpose and, on demand, sum two polarisations of 1, 2, 4 or 8 bit samples.

    Parameters
    ----------
    raw : ndarray of uint8
        `ntimes` spectra of `row_bytes` bytes; the first `ncols` bytes of each are the first polarisation.
    second : int
        Byte in the spectrum at which a polarisation to be added starts; 0 for none.
    nbits : int
        1, 2, 4 or 8.
    low_first : bool
        The first channel sits in the low bits (SIGPROC); False: in the high bits (PSRFITS).
    xor : int
        Applied to every sample: the sign bit turns two's complement into offset binary; 0 for unsigned samples.
    out : ndarray of uint8 or uint16, flat
        Channel c of the file, time t at ``c * stride + t`` (``(nchans - 1 - c) * stride + t`` with `reverse`).
    """
    per = 8 // nbits
    nchans = ncols * per
    mask = np.uint8((1 << nbits) - 1)
    flip = np.uint8(xor)
    words = np.zeros(TILE * 8, dtype=np.uint64)
    first = np.zeros(TILE * 8, dtype=np.uint64)
    other = np.zeros(TILE * 8, dtype=np.uint64)
    first8 = first.view(np.uint8)
    other8 = other.view(np.uint8)
    for c0 in range(0, ncols, TILE):
        nc = min(TILE, ncols - c0)
        for t0 in range(0, ntimes, TILE):
            nt = min(TILE, ntimes - t0)
            _tile(raw, t0 * row_bytes + c0, row_bytes, nt, nc, words, first)
            if second > 0:
                _tile(raw, t0 * row_bytes + c0 + second, row_bytes, nt, nc, words, other)
            for b in range(nc):
                src = first8[b * TILE : (b + 1) * TILE]
                add = other8[b * TILE : (b + 1) * TILE]
                for k in range(per):
                    shift = np.uint8(k * nbits if low_first else 8 - nbits - k * nbits)
                    c = (c0 + b) * per + k
                    if reverse:
                        c = nchans - 1 - c
                    dst = out[c * stride + t0 : c * stride + t0 + nt]
                    if second > 0:
                        for t in range(nt):
                            v = ((src[t] >> shift) & mask) ^ flip
                            w = ((add[t] >> shift) & mask) ^ flip
                            dst[t] = np.uint16(v) + np.uint16(w)
                    elif nt == TILE:
                        for t in range(TILE):
                            dst[t] = ((src[t] >> shift) & mask) ^ flip
                    else:
                        for t in range(nt):
                            dst[t] = ((src[t] >> shift) & mask) ^ flip


@kernel()
def unpack_scaled(
    raw: NDArray[np.uint8],
    ntimes: int,
    row_bytes: int,
    ncols: int,
    second: int,
    nbits: int,
    low_first: bool,
    xor: int,
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    out: NDArray[np.float32],
    stride: int,
    reverse: bool,
) -> None:
    """As `unpack`, into ``scale[0, c] * v + scale[1, c] * w + offset[c]``.

    Parameters
    ----------
    scale : ndarray of float32, shape (2, nchans)
        Of each polarisation and channel, in the order of the file; the second row is not read when `second` is 0.
    offset : ndarray of float32, shape (nchans,)
        Sum over polarisations, in the order of the file.
    """
    per = 8 // nbits
    nchans = ncols * per
    mask = np.uint8((1 << nbits) - 1)
    flip = np.uint8(xor)
    words = np.zeros(TILE * 8, dtype=np.uint64)
    first = np.zeros(TILE * 8, dtype=np.uint64)
    other = np.zeros(TILE * 8, dtype=np.uint64)
    first8 = first.view(np.uint8)
    other8 = other.view(np.uint8)
    for c0 in range(0, ncols, TILE):
        nc = min(TILE, ncols - c0)
        for t0 in range(0, ntimes, TILE):
            nt = min(TILE, ntimes - t0)
            _tile(raw, t0 * row_bytes + c0, row_bytes, nt, nc, words, first)
            if second > 0:
                _tile(raw, t0 * row_bytes + c0 + second, row_bytes, nt, nc, words, other)
            for b in range(nc):
                src = first8[b * TILE : (b + 1) * TILE]
                add = other8[b * TILE : (b + 1) * TILE]
                for k in range(per):
                    shift = np.uint8(k * nbits if low_first else 8 - nbits - k * nbits)
                    c = (c0 + b) * per + k
                    s0, s1, o = scale[0, c], scale[1, c], offset[c]
                    if reverse:
                        c = nchans - 1 - c
                    dst = out[c * stride + t0 : c * stride + t0 + nt]
                    if second > 0:
                        for t in range(nt):
                            v = np.float32(((src[t] >> shift) & mask) ^ flip)
                            w = np.float32(((add[t] >> shift) & mask) ^ flip)
                            dst[t] = s0 * v + s1 * w + o
                    else:
                        for t in range(nt):
                            dst[t] = s0 * np.float32(((src[t] >> shift) & mask) ^ flip) + o


@kernel()
def transpose(
    raw: NDArray[Any], ntimes: int, row: int, nchans: int, second: int, out: NDArray[Any], stride: int, reverse: bool
) -> None:
    """Transpose 16 or 32 bit samples and, on demand, add a second polarisation.

    Parameters
    ----------
    raw : ndarray of uint16, int16, int32 or float32, flat
        `ntimes` spectra of `row` samples.
    second : int
        Sample in the spectrum at which a polarisation to be added starts; 0 for none.
    out : ndarray of uint16 or float32, flat
        As in `unpack`.
    """
    block = 16
    for t0 in range(0, ntimes, block):
        t1 = min(t0 + block, ntimes)
        for c0 in range(0, nchans, block):
            for c in range(c0, min(c0 + block, nchans)):
                to = (nchans - 1 - c if reverse else c) * stride
                if second > 0:
                    for t in range(t0, t1):
                        out[to + t] = np.float32(raw[t * row + c]) + np.float32(raw[t * row + c + second])
                else:
                    for t in range(t0, t1):
                        out[to + t] = raw[t * row + c]


@kernel()
def transpose_scaled(
    raw: NDArray[Any],
    ntimes: int,
    row: int,
    nchans: int,
    second: int,
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    out: NDArray[np.float32],
    stride: int,
    reverse: bool,
) -> None:
    """As `transpose`, into ``scale[0, c] * v + scale[1, c] * w + offset[c]`` (shapes as in `unpack_scaled`)."""
    block = 16
    for t0 in range(0, ntimes, block):
        t1 = min(t0 + block, ntimes)
        for c0 in range(0, nchans, block):
            for c in range(c0, min(c0 + block, nchans)):
                to = (nchans - 1 - c if reverse else c) * stride
                s0, s1, o = scale[0, c], scale[1, c], offset[c]
                if second > 0:
                    for t in range(t0, t1):
                        v = s0 * np.float32(raw[t * row + c]) + s1 * np.float32(raw[t * row + c + second])
                        out[to + t] = v + o
                else:
                    for t in range(t0, t1):
                        out[to + t] = s0 * np.float32(raw[t * row + c]) + o


@kernel()
def pack(codes: NDArray[np.uint8], nbits: int, low_first: bool, out: NDArray[np.uint8]) -> None:
    """Pack samples of 1, 2 or 4 bits, shape (out.size * 8 / nbits,), each below 2**nbits, into bytes."""
    per = 8 // nbits
    for i in range(out.shape[0]):
        value = 0
        for k in range(per):
            shift = k * nbits if low_first else 8 - nbits - k * nbits
            value |= int(codes[i * per + k]) << shift
        out[i] = np.uint8(value)
