"""From the bytes of a file to channel-major samples: unpacking, summing of two polarisations, transposing.

Squares of 64 bytes a side (64, 32 or 16 samples of 1, 2 or 4 bytes) are transposed in vector registers: four groups
of rows by interleaving them in stages within 16-byte lanes, then the lanes of the four groups. Every line of 64 bytes
is so read once and written once. Packed bytes are transposed first; the samples of one channel are then a shift and a
mask over consecutive bytes, which vectorises, and costs the same for 1, 2, 4 and 8 bits.

`out` is flat: channel c, time t at ``out[c * stride + t]``, so rows may lie inside a larger array.
"""

from typing import Any

import numpy as np

from pulsar_kernels._ir import integer, load, plus, shuffle, store, times, vector_of
from pulsar_kernels._jit import kernel, vector
from pulsar_kernels.arrays import Array, Float32s, Uint8s

TILE = 64
LANE = 16
_SQUARE = TILE * TILE


def _square_row(width: int) -> Any:
    """64 bytes, as samples of `width` bytes."""
    return vector_of(integer(8 * width), TILE // width)


def _lanes_code(builder: Any, args: Any, width: int) -> None:
    n, row = LANE // width, _square_row(width)
    rows = [load(builder, args[0], plus(builder, args[1], times(builder, args[2], i)), row) for i in range(n)]
    halves = []
    for first in (0, n // 2):
        # Within each lane the samples of one half of two rows in turn.
        halves.append([lane * n + first + i // 2 + (i % 2) * row.count for lane in range(4) for i in range(n)])
    stage = n
    while stage > 1:
        rows = [shuffle(builder, rows[i // 2], rows[i // 2 + n // 2], halves[i % 2]) for i in range(n)]
        stage //= 2
    for i in range(n):
        store(builder, rows[i], args[3], plus(builder, args[4], TILE * i))


@vector(_lanes_code, literal=5)
def _lanes(src: Uint8s, pos: int, step: int, out: Uint8s, at: int, width: int) -> None:
    """Transpose each lane (16 bytes) of 16 / `width` rows of 64 bytes, `step` apart, to ``out[at:]``."""
    n = LANE // width
    rows = np.stack([src[pos + i * step : pos + i * step + TILE] for i in range(n)]).view(f"u{width}")
    turned = rows.reshape(n, 4, n).transpose(2, 1, 0)
    out[at : at + TILE * n] = np.ascontiguousarray(turned).reshape(-1).view(np.uint8)


def _gather_code(builder: Any, args: Any, width: int) -> None:
    n, row = LANE // width, _square_row(width)

    def lanes(a: Any, b: Any, first: int) -> Any:
        """Lanes first and first + 2 of both."""
        order = [k * n + i + o for o in (0, row.count) for k in (first, first + 2) for i in range(n)]
        return shuffle(builder, a, b, order)

    group = [load(builder, args[0], plus(builder, args[1], TILE * n * g), row) for g in range(4)]
    low = [lanes(group[0], group[1], k) for k in (0, 1)]
    high = [lanes(group[2], group[3], k) for k in (0, 1)]
    for k in range(4):
        column = plus(builder, args[3], times(builder, args[4], n * k))
        store(builder, lanes(low[k % 2], high[k % 2], k // 2), args[2], column)


@vector(_gather_code, literal=5)
def _gather(src: Uint8s, pos: int, out: Uint8s, at: int, step: int, width: int) -> None:
    """From four groups (of `_lanes`) the row at `pos` of each: its lanes joined to four rows, to ``out[at:]``.

    The rows lie 16 / `width` times `step` bytes apart.
    """
    n = LANE // width
    group = np.stack([src[pos + TILE * n * g : pos + TILE * n * g + TILE] for g in range(4)]).reshape(4, 4, LANE)
    for k in range(4):
        to = at + n * k * step
        out[to : to + TILE] = group[:, k].reshape(-1)


@kernel(inline=True)
def _turn(raw: Uint8s, pos: int, step: int, work: Uint8s, out: Uint8s, at: int, to: int, width: int) -> None:
    """Transpose rows of 64 bytes, `step` apart from `pos` on, into rows `to` bytes apart from ``out[at]`` on.

    Samples have `width` bytes, a number written into the call, and there are as many rows as samples in one.
    """
    n = LANE // width
    for g in range(4):
        _lanes(raw, pos + g * n * step, step, work, g * n * TILE, width)
    for i in range(n):
        _gather(work, i * TILE, out, at + i * to, to, width)


@kernel()
def _tile(raw: Uint8s, pos: int, step: int, nrows: int, nbytes: int, width: int, space: Uint8s, at: int) -> None:
    """Transpose a square, of which only `nrows` rows and `nbytes` bytes may be there, to ``space[at:]``."""
    if nrows * width < TILE or nbytes < TILE:
        for t in range(nrows):
            for i in range(nbytes):
                space[_SQUARE + t * TILE + i] = raw[pos + t * step + i]
        raw, pos, step = space, _SQUARE, TILE
    if width == 1:
        _turn(raw, pos, step, space, space, at, TILE, 1)
    elif width == 2:
        _turn(raw, pos, step, space, space, at, TILE, 2)
    else:
        _turn(raw, pos, step, space, space, at, TILE, 4)


@kernel(inline=True)
def _squares(raw: Uint8s, pos: int, step: int, nrows: int, nbytes: int, width: int, second: int, space: Uint8s) -> None:
    """Transpose a square as `_tile` does to the third of `_space`; if `second`, one so far on to the fourth."""
    _tile(raw, pos, step, nrows, nbytes, width, space, 2 * _SQUARE)
    if second > 0:
        _tile(raw, pos + second, step, nrows, nbytes, width, space, 3 * _SQUARE)


@kernel(inline=True)
def _space() -> tuple[Uint8s, Uint8s, Uint8s]:
    """Four squares, from a cache line on: room for `_turn`, an edge of the data, the two of `_squares`; and these."""
    space = np.zeros(5 * _SQUARE, np.uint8)
    skip = -space.ctypes.data & (TILE - 1)
    space = space[skip : skip + 4 * _SQUARE]
    return space, space[2 * _SQUARE : 3 * _SQUARE], space[3 * _SQUARE :]


@kernel()
def unpack(
    raw: Uint8s,
    ntimes: int,
    row_bytes: int,
    ncols: int,
    second: int,
    nbits: int,
    low_first: bool,
    xor: int,
    out: Array,
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
    # Many arguments: how samples lie in a file takes so many numbers, and none goes with another.
    per = 8 // nbits
    nchans = ncols * per
    bytes_out = out.view(np.uint8)
    plain = nbits == 8 and xor == 0 and second == 0 and out.itemsize == 1
    mask = np.uint8((1 << nbits) - 1)
    flip = np.uint8(xor)
    space, first8, other8 = _space()
    for c0 in range(0, ncols, TILE):
        nc = min(TILE, ncols - c0)
        for t0 in range(0, ntimes, TILE):
            nt = min(TILE, ntimes - t0)
            if plain and nt == TILE and nc == TILE:
                to = -stride if reverse else stride
                at = ((nchans - 1 - c0) if reverse else c0) * stride + t0
                _turn(raw, t0 * row_bytes + c0, row_bytes, space, bytes_out, at, to, 1)
                continue
            _squares(raw, t0 * row_bytes + c0, row_bytes, nt, nc, 1, second, space)
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
    raw: Uint8s,
    ntimes: int,
    row_bytes: int,
    ncols: int,
    second: int,
    nbits: int,
    low_first: bool,
    xor: int,
    scale: Float32s,
    offset: Float32s,
    out: Float32s,
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
    # Many arguments: how samples lie in a file takes so many numbers, and none goes with another.
    per = 8 // nbits
    nchans = ncols * per
    mask = np.uint8((1 << nbits) - 1)
    flip = np.uint8(xor)
    space, first8, other8 = _space()
    for c0 in range(0, ncols, TILE):
        nc = min(TILE, ncols - c0)
        for t0 in range(0, ntimes, TILE):
            nt = min(TILE, ntimes - t0)
            _squares(raw, t0 * row_bytes + c0, row_bytes, nt, nc, 1, second, space)
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
    raw: Array, ntimes: int, row: int, nchans: int, second: int, out: Array, stride: int, reverse: bool
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
    width = raw.itemsize
    side = TILE // width
    data = raw.view(np.uint8)
    space, first8, added8 = _space()
    first, added = first8.view(raw.dtype), added8.view(raw.dtype)
    for c0 in range(0, nchans, side):
        nc = min(side, nchans - c0)
        for t0 in range(0, ntimes, side):
            nt = min(side, ntimes - t0)
            _squares(data, (t0 * row + c0) * width, row * width, nt, nc * width, width, second * width, space)
            for b in range(nc):
                c = nchans - 1 - c0 - b if reverse else c0 + b
                dst = out[c * stride + t0 : c * stride + t0 + nt]
                src = first[b * side : b * side + side]
                if second > 0:
                    add = added[b * side : b * side + side]
                    for t in range(nt):
                        dst[t] = np.float32(src[t]) + np.float32(add[t])
                elif nt == side:
                    for t in range(side):
                        dst[t] = src[t]
                else:
                    for t in range(nt):
                        dst[t] = src[t]


@kernel()
def transpose_scaled(
    raw: Array,
    ntimes: int,
    row: int,
    nchans: int,
    second: int,
    scale: Float32s,
    offset: Float32s,
    out: Float32s,
    stride: int,
    reverse: bool,
) -> None:
    """As `transpose`, into ``scale[0, c] * v + scale[1, c] * w + offset[c]`` (shapes as in `unpack_scaled`)."""
    width = raw.itemsize
    side = TILE // width
    data = raw.view(np.uint8)
    space, first8, added8 = _space()
    first, added = first8.view(raw.dtype), added8.view(raw.dtype)
    for c0 in range(0, nchans, side):
        nc = min(side, nchans - c0)
        for t0 in range(0, ntimes, side):
            nt = min(side, ntimes - t0)
            _squares(data, (t0 * row + c0) * width, row * width, nt, nc * width, width, second * width, space)
            for b in range(nc):
                c = c0 + b
                s0, s1, o = scale[0, c], scale[1, c], offset[c]
                if reverse:
                    c = nchans - 1 - c
                dst = out[c * stride + t0 : c * stride + t0 + nt]
                src = first[b * side : b * side + side]
                add = added[b * side : b * side + side]
                if second > 0:
                    for t in range(nt):
                        dst[t] = s0 * np.float32(src[t]) + s1 * np.float32(add[t]) + o
                else:
                    for t in range(nt):
                        dst[t] = s0 * np.float32(src[t]) + o


@kernel()
def pack(codes: Uint8s, nbits: int, low_first: bool, out: Uint8s) -> None:
    """Pack samples of 1, 2 or 4 bits, shape (out.size * 8 / nbits,), each below 2**nbits, into bytes."""
    per = 8 // nbits
    for i in range(out.shape[0]):
        value = 0
        for k in range(per):
            shift = k * nbits if low_first else 8 - nbits - k * nbits
            value |= int(codes[i * per + k]) << shift
        out[i] = np.uint8(value)
