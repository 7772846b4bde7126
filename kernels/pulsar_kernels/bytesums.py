"""Sums of harmonics of powers kept as bytes, 64 side by side: where those of floats may be above their thresholds.

They say so wherever one is, and seldom elsewhere. The grid is that of :mod:`pulsar_kernels.harmonics`.
"""

from typing import Any

import numpy as np
from numba import types

from pulsar_kernels._ir import I8, constant, intrinsic, lane_bits, load, picked, processor_has, store, times, vector_of
from pulsar_kernels._jit import kernel, vector
from pulsar_kernels.arrays import Float32s, Ints, Uint8s

#: Sums side by side.
WIDE = 64
# Of them so many come by one load and one shuffle: 64 bytes are shuffled by one instruction with VBMI only.
_PIECE = WIDE if processor_has("avx512vbmi") else 16


def _raised_code(builder: Any, args: Any, count: int) -> Any:
    vec = vector_of(I8, WIDE)
    data, q, _, limits, stages = args
    total = None
    above = nothing = constant(vec, 0)
    for s in range(count):
        for k in range(1, 1 << s, 2) if s else (1,):
            index = [(j * k + (1 << s >> 1)) >> s for j in range(WIDE)]
            value = picked(builder, data, times(builder, q, (32 * k) >> s), index, _PIECE)
            total = value if total is None else intrinsic(builder, "uadd.sat", total, value)
        excess = intrinsic(builder, "usub.sat", total, load(builder, limits, WIDE * s, vec))
        bit = builder.select(builder.icmp_unsigned("!=", excess, nothing), constant(vec, 1 << s), nothing)
        above = builder.or_(above, bit)
    store(builder, above, stages, 0)
    return lane_bits(builder, builder.icmp_unsigned("!=", above, nothing))


@vector(_raised_code, literal=2, returns=types.int64)
def raised(few: Uint8s, q: int, nstages: int, limits: Uint8s, stages: Ints) -> int:
    """Where sums exceed the limits of their stages, among the grid indices 32 q ... 32 q + 63.

    Of `limits` there are 64 for each stage, all the same. Sums are 255 at most. The bits of the stages at which one
    does are a byte of `stages` for each index; the bits of the value returned are the indices.
    """
    i = np.arange(32 * q, 32 * q + WIDE)
    total = np.zeros(WIDE, np.int64)
    above = stages.view(np.uint8)
    above[:] = 0
    for s in range(nstages):
        for k in range(1, 1 << s, 2) if s else (1,):
            total += few[(i * k + (1 << s >> 1)) >> s]
        above[np.minimum(total, 255) > limits[WIDE * s]] |= 1 << s
    return sum(1 << j for j in range(WIDE) if above[j])


@kernel(inline=True, helper=True)
def to_bytes(power: Float32s, scale: np.float32, few: Uint8s) -> None:
    """Powers times `scale`, rounded, 255 at most."""
    for i in range(power.shape[0]):
        few[i] = np.uint8(np.int32(min(power[i] * scale + np.float32(0.5), np.float32(255.0))))


@kernel(inline=True, helper=True)
def limits_of(thresholds: Float32s, scale: np.float32, limits: Uint8s) -> bool:
    """What sums of bytes exceed wherever those of floats exceed `thresholds`; True if there is no such number."""
    none = False
    for s in range(thresholds.shape[0]):
        # A byte is half a unit less than its power at most, and floats are rounded.
        least = np.floor(min(np.float64(scale) * np.float64(thresholds[s]) - 0.5 * (1 << s) - 0.01, 255.0))
        none |= least < 1.0
        limits[WIDE * s : WIDE * (s + 1)] = np.uint8(max(least, 1.0) - 1.0)
    return none
