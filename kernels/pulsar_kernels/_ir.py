"""Words for vector instructions: what stands under `@vector` (:mod:`pulsar_kernels._jit`) is written with them.

A word takes llvmlite's builder first, which has the arithmetic (``builder.add``, ``builder.fcmp_ordered`` ...).
`data` is a pointer to the elements of an array, `at` counts these, as a Python or a 64-bit integer. Vectors need not
begin at multiples of their size; those wider than the processor's registers become several instructions. No other file
imports llvmlite.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import config
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F32 = ir.FloatType()
#: Sums of floats may be reordered, and made with products in one instruction.
FUSE = ("contract", "reassoc")


def processor_has(feature: str) -> bool:
    """True if code is made for a processor with this feature, in LLVM's name."""
    # As numba finds it: what NUMBA_CPU_FEATURES says, or this processor's.
    features = getattr(config, "CPU_FEATURES", None)
    host: Callable[[], str] = get_host_cpu_features
    return f"+{feature}" in (host() if features is None else features).split(",")


# --- types and constants ----------------------------------------------------------------------------------------------


def vector_of(kind: Any, lanes: int) -> Any:
    """Type of a vector."""
    return ir.VectorType(kind, lanes)


def integer(bits: int) -> Any:
    """Type of an integer."""
    return ir.IntType(bits)


def constant(kind: Any, values: float | Sequence[float]) -> Any:
    """Vector of one number in all lanes, or of a number for each."""
    return ir.Constant(kind, list(values) if isinstance(values, Sequence) else [values] * kind.count)


def undefined(kind: Any) -> Any:
    """A value of which nothing is asked."""
    return ir.Constant(kind, ir.Undefined)


# --- integers ---------------------------------------------------------------------------------------------------------


def count(value: Any) -> Any:
    """A Python integer as one of 64 bits; others as they are."""
    return I64(value) if isinstance(value, int) else value


def plus(builder: Any, value: Any, addend: Any) -> Any:
    """Sum of two 64-bit integers."""
    return builder.add(count(value), count(addend))


def times(builder: Any, value: Any, factor: Any) -> Any:
    """Product of two 64-bit integers."""
    return builder.mul(count(value), count(factor))


# --- memory -----------------------------------------------------------------------------------------------------------


def _size(kind: Any) -> int:
    """Bytes of a number."""
    return 4 if kind == F32 else 8 if not isinstance(kind, ir.IntType) else int(kind.width) // 8


def _place(builder: Any, data: Any, at: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(data, [count(at)]), kind.as_pointer())


def element(builder: Any, data: Any, at: Any) -> Any:
    """One element of an array."""
    return builder.load(builder.gep(data, [count(at)]))


def load(builder: Any, data: Any, at: Any, kind: Any, align: int | None = None) -> Any:
    """A vector of type `kind`; its first byte is at a multiple of `align`, or of the size of the array's elements."""
    return builder.load(_place(builder, data, at, kind), align=align or _size(data.type.pointee))


def store(builder: Any, value: Any, data: Any, at: Any, align: int | None = None) -> None:
    """Write a vector, or a number."""
    builder.store(value, _place(builder, data, at, value.type), align=align or _size(data.type.pointee))


def store_past(builder: Any, value: Any, data: Any, at: Any) -> None:
    """Write a vector past the caches, to a multiple of 64 bytes; other threads see it after `fence_code`."""
    written = builder.store(value, _place(builder, data, at, value.type), align=64)
    written.set_metadata("nontemporal", builder.module.add_metadata([I32(1)]))


def fence_code(builder: Any, args: Any) -> None:  # noqa: ARG001
    """Code of :func:`pulsar_kernels._jit.all_written`."""
    builder.fence("seq_cst")


def prefetch_code(builder: Any, args: Any, form: int) -> None:
    """Code of :func:`pulsar_kernels._jit.prefetch`."""
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    function = _declared(builder, "llvm.prefetch.p0", kind)
    builder.call(function, [_place(builder, args[1], args[2], I8), I32(form % 2), I32(2 if form > 1 else 3), I32(1)])


# --- lanes ------------------------------------------------------------------------------------------------------------


def shuffle(builder: Any, a: Any, b: Any, lanes: Sequence[int]) -> Any:
    """Lanes of two vectors: those of the second are counted on from the first's."""
    return builder.shuffle_vector(a, b, constant(vector_of(I32, len(lanes)), lanes))


def splat(builder: Any, value: Any, lanes: int) -> Any:
    """A number in all lanes."""
    single = builder.insert_element(undefined(vector_of(value.type, lanes)), value, I32(0))
    return shuffle(builder, single, single, [0] * lanes)


def picked(builder: Any, data: Any, at: Any, index: Sequence[int], piece: int | None = None) -> Any:
    """Elements ``at + index[k]`` of an array in lane k, by a load and a shuffle for every `piece` lanes.

    The numbers do not fall within a piece, nor rise by as much as it has lanes; without `piece` there is one.
    """
    parts = []
    for k in range(0, len(index), piece or len(index)):
        lanes = index[k : k + piece] if piece else index
        part = load(builder, data, plus(builder, at, lanes[0]), vector_of(data.type.pointee, len(lanes)))
        order = [i - lanes[0] for i in lanes]
        parts.append(part if order == list(range(len(lanes))) else shuffle(builder, part, part, order))
    return summed(parts, lambda a, b: shuffle(builder, a, b, range(2 * a.type.count)))


def transposed(builder: Any, rows: Sequence[Any]) -> list[Any]:
    """Columns of a square: `rows` are as many vectors as each has lanes, a power of two."""
    n = len(rows)
    block = list(rows)
    d = n // 2
    while d:
        # Lanes with the bit d of the upper row for those without it of the lower one.
        low = [n + k - d if k & d else k for k in range(n)]
        high = [n + k if k & d else k + d for k in range(n)]
        for i in range(n):
            if not i & d:
                a, b = block[i], block[i + d]
                block[i], block[i + d] = shuffle(builder, a, b, low), shuffle(builder, a, b, high)
        d //= 2
    return block


def lane_bits(builder: Any, mask: Any) -> Any:
    """A 64-bit integer whose bit k is that of lane k of a comparison."""
    bits = builder.bitcast(mask, integer(mask.type.count))
    return bits if mask.type.count == I64.width else builder.zext(bits, I64)


def lowest_bit(builder: Any, bits: Any) -> Any:
    """Number of the lowest bit that is set in a 64-bit integer, of which one is."""
    function = _declared(builder, "llvm.cttz.i64", ir.FunctionType(I64, [I64, ir.IntType(1)]))
    return builder.call(function, [bits, ir.IntType(1)(1)])


def compress(builder: Any, value: Any, mask: Any, data: Any, at: Any) -> None:
    """Write the lanes of a mask one after the other; what follows, up to as many lanes as there are, is overwritten.

    One instruction where the processor has AVX-512; six for each lane elsewhere, where `compress_few` is better.
    """
    store(builder, intrinsic(builder, "experimental.vector.compress", value, mask, undefined(value.type)), data, at)


def compress_few(builder: Any, source: Any, mask: Any, data: Any, at: Any, several: int) -> None:
    """As `compress`, lane by lane, from where the vector came from: `source`, its first element.

    As long as there are such lanes, `several` are written without asking whether there are so many. Overwritten is what
    follows up to the next multiple of `several`.
    """
    last = I64(1 << (mask.type.count - 1))
    before = builder.block
    loop, after = builder.append_basic_block("lanes"), builder.append_basic_block("written")
    bits = lane_bits(builder, mask)
    builder.branch(loop)
    builder.position_at_end(loop)
    left, to = builder.phi(I64), builder.phi(I64)
    left.add_incoming(bits, before)
    to.add_incoming(count(at), before)
    now = left
    for k in range(several):
        # Where none is left the last lane does.
        lane = lowest_bit(builder, builder.or_(now, last))
        store(builder, element(builder, source, lane), data, plus(builder, to, k))
        now = builder.and_(now, plus(builder, now, -1))
    left.add_incoming(now, loop)
    to.add_incoming(plus(builder, to, several), loop)
    builder.cbranch(builder.icmp_unsigned("!=", now, I64(0)), loop, after)
    builder.position_at_end(after)


# --- arithmetic -------------------------------------------------------------------------------------------------------


def _declared(builder: Any, name: str, kind: Any) -> Any:
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


def intrinsic(builder: Any, name: str, *values: Any) -> Any:
    """LLVM's function of that name (``fabs``, ``sadd.sat`` ...), whose result has the type of its first argument."""
    kind = values[0].type
    number = "f32" if kind.element == F32 else str(kind.element)
    function = _declared(
        builder, f"llvm.{name}.v{kind.count}{number}", ir.FunctionType(kind, [value.type for value in values])
    )
    return builder.call(function, values)


def saturated(builder: Any, a: Any, b: Any) -> Any:
    """Sum of signed integers, the largest or least one where it has no room."""
    return intrinsic(builder, "sadd.sat", a, b)


def summed(parts: Sequence[Any], add: Callable[[Any, Any], Any]) -> Any:
    """Sum of `parts`, or what else `add` makes of two, by pairs, then by pairs of pairs, and so on."""
    left = list(parts)
    while len(left) > 1:
        left = [add(left[k], left[k + 1]) if k + 1 < len(left) else left[k] for k in range(0, len(left), 2)]
    return left[0]


def floats(builder: Any, value: Any) -> Any:
    """Vector of 16-bit integers, or of floats, as floats."""
    if value.type.element == F32:
        return value
    lanes = value.type.count
    return builder.sitofp(builder.sext(value, vector_of(I32, lanes)), vector_of(F32, lanes))


# --- loops ------------------------------------------------------------------------------------------------------------


@contextmanager
def steps(builder: Any, start: Any, stop: Any, step: int = 1) -> Iterator[Any]:
    """Loop from `start` to below `stop`: what is written within is its body, and gets the index."""
    if step == 1:
        with cgutils.for_range(builder, count(stop), count(start)) as loop:
            yield loop.index
    else:
        with cgutils.for_range_slice(builder, count(start), count(stop), I64(step), inc=True) as (index, _):
            yield index


def variable(builder: Any, value: Any) -> Any:
    """A place for what a loop changes (``builder.load``, ``builder.store``), which a register will be."""
    make: Callable[[Any, Any], Any] = cgutils.alloca_once_value
    return make(builder, value)
