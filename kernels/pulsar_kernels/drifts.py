"""Harmonic sums over a plane of frequency and drift kept as bytes, and where they are above the threshold.

Rows of the plane are half bins, bytes of a row drifts 2 bins apart. Sums are indexed by the TOP harmonic: row i and
drift 2 j of a sum over H harmonics take row round(i k / H) and drift round(j k / H), k = 1 ... H, so that a harmonic
never lies beyond the plane and each stage adds only odd multiples to the stage before. Sixty-four neighbouring drifts
of a harmonic lie within 64 bytes: one load and one shuffle by a constant mask. Sums are bytes that saturate.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel, vector

#: Drifts of a vector.
WIDE = 64
#: Rows and drifts of a cell, which keeps its highest sum of every stage only.
CELL = 8
#: Bytes that may be read beyond either end of the rows.
GUARD = 256


def _sums_code(builder: Any, args: Any, count: int) -> Any:
    i8, i32, i64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
    vec = ir.VectorType(i8, WIDE)
    plane, places, offset, limits = args[0], args[1], args[3], args[4]
    kind = ir.FunctionType(vec, [vec, vec])
    name = f"llvm.uadd.sat.v{WIDE}i8"
    add = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)

    def load(slot: int, k: int, s: int) -> Any:
        base = builder.load(builder.gep(places, [i64(slot)]))
        shift = builder.ashr(builder.mul(offset, i64(k)), i64(s))
        at = builder.bitcast(builder.gep(plane, [builder.add(base, shift)]), vec.as_pointer())
        value = builder.load(at, align=1)
        if k == 1 << s:
            return value
        index = [(j * k + (1 << s >> 1)) >> s for j in range(WIDE)]
        mask = ir.Constant(ir.VectorType(i32, WIDE), [i32(i) for i in index])
        return builder.shuffle_vector(value, value, mask)

    hit = i64(0)
    total = load(0, 1, 0)
    slot = 1
    for s in range(count):
        for k in range(1, 1 << s, 2) if s else ():
            total = builder.call(add, [total, load(slot, k, s)])
            slot += 1
        limit = builder.load(builder.gep(limits, [i64(s)]))
        limit = builder.insert_element(ir.Constant(vec, ir.Undefined), limit, i32(0))
        limit = builder.shuffle_vector(limit, limit, ir.Constant(ir.VectorType(i32, WIDE), [i32(0)] * WIDE))
        above = builder.bitcast(builder.icmp_unsigned(">", total, limit), i64)
        bit = builder.select(builder.icmp_unsigned("!=", above, i64(0)), i64(1 << s), i64(0))
        hit = builder.or_(hit, bit)
    return hit


@vector(_sums_code, literal=2, returns=types.int64)
def _sums_64(
    plane: NDArray[np.uint8], places: NDArray[np.int64], nstages: int, offset: int, limits: NDArray[np.uint8]
) -> int:
    """The bits of the value returned are the stages at which one of 64 sums exceeds its limit.

    `places` are those of the first drift of the rows: of the top harmonic, 1/2, then 1/4, 3/4, then 1/8 ...; `offset`,
    from which the vector begins, is a multiple of the harmonics.
    """
    lane = np.arange(WIDE)
    total = plane[places[0] + offset + lane].astype(np.int64)
    hit = 0
    slot = 1
    for s in range(nstages):
        for k in range(1, 1 << s, 2) if s else ():
            total += plane[places[slot] + (offset * k >> s) + ((lane * k + (1 << s >> 1)) >> s)]
            slot += 1
        hit |= int(np.any(np.minimum(total, 255) > limits[s])) << s
    return hit


@kernel()
def _collect(
    plane: NDArray[np.uint8],
    places: NDArray[np.int64],
    stages: int,
    offset: int,
    centre: int,
    reach: int,
    row: int,
    first: int,
    limits: NDArray[np.uint8],
    rows: NDArray[np.int64],
    cells: NDArray[np.int32],
    found: int,
    hits: NDArray[np.int64],
) -> int:
    """Enter the sums of one vector that are above their limits; a cell keeps the highest."""
    nstages = limits.shape[0]
    for lane in range(WIDE):
        j = offset + lane - centre
        if j < -reach or j > reach:
            continue
        total = np.int64(plane[places[0] + offset + lane])
        slot = 1
        for s in range(nstages):
            for k in range(1, 1 << s, 2):
                if s == 0:
                    break
                total += plane[places[slot] + (offset * k >> s) + ((lane * k + (1 << s >> 1)) >> s)]
                slot += 1
            if not stages >> s & 1 or total <= limits[s] or row < rows[s, 0] or row >= rows[s, 1]:
                continue
            a = (row - first) // CELL
            b = (offset + lane) // CELL
            at = cells[s, a, b]
            if at == 0:
                cells[s, a, b] = found + 1
                at = found + 1
                found += 1
            elif hits[at - 1, 3] >= total:
                continue
            hits[at - 1, 0] = row
            hits[at - 1, 1] = j
            hits[at - 1, 2] = s
            hits[at - 1, 3] = total
    return found


@kernel()
def sum_rows(
    plane: NDArray[np.uint8],
    zero: NDArray[np.int64],
    shift: NDArray[np.int64],
    rows: NDArray[np.int64],
    start: int,
    stop: int,
    centre: int,
    pitch: int,
    slope: float,
    largest: int,
    limits: NDArray[np.uint8],
    cells: NDArray[np.int32],
    found: int,
    hits: NDArray[np.int64],
) -> int:
    """Enter what exceeds the limits at the rows `start` to `stop` of the top harmonic.

    Parameters
    ----------
    plane : ndarray of uint8
        With GUARD bytes more than the rows at either end.
    zero : ndarray of int64
        Where in the plane drift 0 of every row is.
    shift : ndarray of int64, shape (2**(nstages - 1), 2)
        For the harmonics 1, 1/2, 1/4, 3/4, 1/8 ... in turn: added to the row to find its element of `zero`, and added
        to what is found there.
    rows : ndarray of int64, shape (nstages, 2)
        First and last + 1 row that count at each stage.
    centre, pitch : int
        Drifts of the rows summed: ``-2 centre`` bins on, `pitch` of them; `centre` is a multiple of the harmonics.
    slope, largest : float, int
        Drifts up to ``2 slope row`` bins count, and up to ``2 largest``.
    limits : ndarray of uint8, shape (nstages,)
    cells : ndarray of int32, shape (nstages, >= (stop - start) / CELL + 1, >= (pitch + 64) / CELL)
        Zeros, and left so.
    found : int
        Hits there are.
    hits : ndarray of int64, shape (n, 4)
        Row, drift / 2, stage, sum; room for one of every cell is needed.

    Returns
    -------
    int
        Hits there are then.
    """
    nstages = limits.shape[0]
    nplaces = 1 << nstages >> 1
    places = np.empty(nplaces, np.int64)
    before = found
    for row in range(start, stop):
        slot = 1
        places[0] = zero[shift[0, 0] + row] + shift[0, 1] - centre
        for s in range(1, nstages):
            for k in range(1, 1 << s, 2):
                source = (row * k + (1 << s >> 1)) >> s
                places[slot] = zero[shift[slot, 0] + source] + shift[slot, 1] - (centre * k >> s)
                slot += 1
        reach = min(int(slope * row), largest)
        for offset in range(0, pitch, WIDE):
            if nstages == 1:
                hit = _sums_64(plane, places, 1, offset, limits)
            elif nstages == 2:
                hit = _sums_64(plane, places, 2, offset, limits)
            elif nstages == 3:
                hit = _sums_64(plane, places, 3, offset, limits)
            elif nstages == 4:
                hit = _sums_64(plane, places, 4, offset, limits)
            else:
                hit = _sums_64(plane, places, 5, offset, limits)
            if hit != 0:
                found = _collect(
                    plane, places, hit, offset, centre, reach, row, start, limits, rows, cells, found, hits
                )
    for h in range(before, found):
        cells[hits[h, 2], (hits[h, 0] - start) // CELL, (hits[h, 1] + centre) // CELL] = 0
    return found
