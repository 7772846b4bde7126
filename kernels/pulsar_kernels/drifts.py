"""Harmonic sums over a plane of frequency and drift kept as bytes, and where they are above the threshold.

Rows of the plane are half bins, bytes of a row drifts one step apart. Sums are indexed by the TOP harmonic: row i and
drift j of a sum over H harmonics take row round(i k / H) and drift round(j k / H), k = 1 ... H, so that a harmonic
never lies beyond the plane and each stage adds only odd multiples to the stage before. Sixty-four neighbouring drifts
of a harmonic lie within 64 bytes, sixteen within 16: loads and shuffles by constant masks. Sums are bytes that
saturate.
"""

from typing import Any

import numpy as np
from numba import types

from pulsar_kernels._ir import (
    I8,
    I64,
    constant,
    element,
    intrinsic,
    lane_bits,
    load,
    picked,
    plus,
    processor_has,
    store,
    times,
    vector_of,
)
from pulsar_kernels._jit import kernel, vector
from pulsar_kernels.arrays import Int32s, Ints, Uint8s

#: Drifts of a vector.
WIDE = 64
# Of them so many come by one load and one shuffle: 64 bytes are shuffled by a few instructions with AVX-512 only.
_PIECE = WIDE if processor_has("avx512bw") else 16
#: Rows and drifts of a cell, which keeps its highest sum of every stage only.
CELL = 8
#: Rows and their drift 0 begin at multiples of so many bytes.
UNIT = 8
#: Bytes that may be read beyond either end of the rows.
GUARD = 256


def _fractions(nstages: int) -> list[tuple[int, int]]:
    """Harmonics k / 2^s in the order in which they are added."""
    return [(1, 0)] + [(k, s) for s in range(1, nstages) for k in range(1, 1 << s, 2)]


def _places_code(builder: Any, args: Any, count: int) -> None:
    zero, shift, row, centre, places = args[1:]
    for slot, (k, s) in enumerate(_fractions(count)):
        source = builder.ashr(plus(builder, times(builder, row, k), 1 << s >> 1), I64(s))
        first, second = element(builder, shift, 2 * slot), element(builder, shift, 2 * slot + 1)
        place = builder.sext(element(builder, zero, plus(builder, source, first)), I64)
        place = plus(builder, times(builder, place, UNIT), second)
        place = builder.sub(place, builder.ashr(times(builder, centre, k), I64(s)))
        store(builder, place, places, slot)


@vector(_places_code, literal=0)
def _places(nstages: int, zero: Int32s, shift: Ints, row: int, centre: int, places: Ints) -> None:
    """Where the first drift of a row's harmonics is: of the top, 1/2, then 1/4, 3/4, then 1/8 ...

    Without branches: a loop over so few is dear where it runs for every row.
    """
    for slot, (k, s) in enumerate(_fractions(nstages)):
        source = (row * k + (1 << s >> 1)) >> s
        places[slot] = UNIT * int(zero[source + shift[slot, 0]]) + shift[slot, 1] - (centre * k >> s)


def _sums_code(builder: Any, args: Any, count: int, n: Any) -> Any:
    vec = vector_of(I8, WIDE)
    plane, places, offset, limits = args[0], args[1], args[3], args[4]
    total = None
    above = None
    for slot, (k, s) in enumerate(_fractions(count)):
        shift = builder.ashr(times(builder, offset, k), I64(s))
        shift = plus(builder, shift, times(builder, n, WIDE * k >> s))
        at = plus(builder, element(builder, places, slot), shift)
        value = picked(builder, plane, at, [(j * k + (1 << s >> 1)) >> s for j in range(WIDE)], _PIECE)
        total = value if total is None else intrinsic(builder, "uadd.sat", total, value)
        if k == max(1, (1 << s) - 1):
            excess = intrinsic(builder, "usub.sat", total, load(builder, limits, WIDE * s, vec))
            above = excess if above is None else builder.or_(above, excess)
    return lane_bits(builder, builder.icmp_unsigned("!=", above, constant(vec, 0)))


def _scan_code(builder: Any, args: Any, count: int) -> Any:
    offset, pitch = args[3], args[5]
    before = builder.block
    loop = builder.append_basic_block("scan")
    after = builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    # Vectors from the first: each harmonic moves on by a constant.
    n = builder.phi(I64)
    n.add_incoming(I64(0), before)
    bits = _sums_code(builder, args, count, n)
    n.add_incoming(plus(builder, n, 1), builder.block)
    at = plus(builder, offset, times(builder, n, WIDE))
    last = builder.icmp_signed(">=", plus(builder, at, WIDE), pitch)
    hit = builder.icmp_unsigned("!=", bits, I64(0))
    builder.cbranch(builder.or_(hit, last), after, loop)
    builder.position_at_end(after)
    return builder.select(hit, at, plus(builder, at, WIDE))


@vector(_scan_code, literal=2, returns=types.int64)
def _scan(plane: Uint8s, places: Ints, nstages: int, offset: int, limits: Uint8s, pitch: int) -> int:
    """The first offset, in steps of 64 from `offset` on, at which a drift exceeds a limit; `pitch` or more if none.

    `offset` is a multiple of the harmonics; `limits` has that of each stage 64 times. The loop is written out so that
    masks and limits stay in registers.
    """
    lane = np.arange(WIDE)
    for at in range(offset, pitch, WIDE):
        total = np.zeros(WIDE, np.int64)
        for slot, (k, s) in enumerate(_fractions(nstages)):
            total += plane[places[slot] + (at * k >> s) + ((lane * k + (1 << s >> 1)) >> s)]
            if k == max(1, (1 << s) - 1) and np.any(np.minimum(total, 255) > limits[WIDE * s]):
                return at
    return pitch


@kernel(inline=True)
def _collect(
    plane: Uint8s,
    places: Ints,
    offset: int,
    centre: int,
    reach: int,
    row: int,
    first: int,
    limits: Uint8s,
    decode: Ints,
    rows: Ints,
    cells: Int32s,
    nhits: int,
    hits: Ints,
) -> int:
    """Enter the sums of one vector that are above their limits; a cell keeps the highest."""
    # Many arguments: what the loops of `sum_rows` hold, handed on as it is.
    for lane in range(WIDE):
        j = offset + lane - centre
        if j < -reach or j > reach:
            continue
        total = np.int64(0)
        slot = 0
        for s in range(rows.shape[0]):
            for k in range(1, max(2, 1 << s), 2):
                total += decode[plane[places[slot] + (offset * k >> s) + ((lane * k + (1 << s >> 1)) >> s)]]
                slot += 1
            if total <= limits[WIDE * s] or row < rows[s, 0] or row >= rows[s, 1]:
                continue
            a = (row - first) // CELL
            b = (offset + lane) // CELL
            at = cells[s, a, b]
            if at == 0:
                cells[s, a, b] = nhits + 1
                at = nhits + 1
                nhits += 1
            elif hits[at - 1, 3] >= total:
                continue
            hits[at - 1, 0] = row
            hits[at - 1, 1] = j
            hits[at - 1, 2] = s
            hits[at - 1, 3] = total
    return nhits


@kernel()
def sum_rows(
    plane: Uint8s,
    zero: Int32s,
    shift: Ints,
    rows: Ints,
    start: int,
    stop: int,
    centre: int,
    pitch: int,
    slope: float,
    largest: int,
    limits: Uint8s,
    decode: Ints,
    cells: Int32s,
    nhits: int,
    hits: Ints,
) -> int:
    """Enter what exceeds the limits at the rows `start` to `stop` of the top harmonic.

    Parameters
    ----------
    plane : ndarray of uint8
        With GUARD bytes more than the rows at either end.
    zero : ndarray of int32
        Where in the plane drift 0 of every row is, in units of UNIT bytes.
    shift : ndarray of int64, shape (2**(nstages - 1), 2)
        For the harmonics 1, 1/2, 1/4, 3/4, 1/8 ... in turn: added to the row to find its element of `zero`, and added
        to what is found there.
    rows : ndarray of int64, shape (nstages, 2)
        First and last + 1 row that count at each stage.
    centre, pitch : int
        `pitch` drifts of the rows are summed, from `centre` steps below 0 on; `centre` is a multiple of the harmonics.
    slope, largest : float, int
        Drifts up to ``slope row`` steps count, and up to `largest`.
    limits : ndarray of uint8, shape (64 nstages,)
        That of each stage 64 times.
    decode : ndarray of int64, shape (256,)
        Power that each byte stands for.
    cells : ndarray of int32, shape (nstages, >= (stop - start) / CELL + 1, >= (pitch + 64) / CELL)
        Zeros, and left so.
    nhits : int
        Hits there are.
    hits : ndarray of int64, shape (n, 4)
        Row, drift in steps, stage, sum; room for one of every cell is needed.

    Returns
    -------
    int
        Hits there are then.
    """
    # Many arguments: data, tables and results are the caller's arrays, each of another shape.
    nstages = rows.shape[0]
    places = np.empty(1 << nstages >> 1, np.int64)
    before = nhits
    for row in range(start, stop):
        if nstages == 1:
            _places(1, zero, shift, row, centre, places)
        elif nstages == 2:
            _places(2, zero, shift, row, centre, places)
        elif nstages == 3:
            _places(3, zero, shift, row, centre, places)
        elif nstages == 4:
            _places(4, zero, shift, row, centre, places)
        else:
            _places(5, zero, shift, row, centre, places)
        reach = min(int(slope * row), largest)
        offset = 0
        while offset < pitch:
            if nstages == 1:
                offset = _scan(plane, places, 1, offset, limits, pitch)
            elif nstages == 2:
                offset = _scan(plane, places, 2, offset, limits, pitch)
            elif nstages == 3:
                offset = _scan(plane, places, 3, offset, limits, pitch)
            elif nstages == 4:
                offset = _scan(plane, places, 4, offset, limits, pitch)
            else:
                offset = _scan(plane, places, 5, offset, limits, pitch)
            if offset < pitch:
                nhits = _collect(
                    plane, places, offset, centre, reach, row, start, limits, decode, rows, cells, nhits, hits
                )
                offset += WIDE
    for h in range(before, nhits):
        cells[hits[h, 2], (hits[h, 0] - start) // CELL, (hits[h, 1] + centre) // CELL] = 0
    return nhits
