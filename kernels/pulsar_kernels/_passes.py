"""The steps in which numba translates a kernel, less those that change nothing in kernels.

The code that comes out is the same, but for memory and extremes: ``np.empty``, ``np.zeros``, ``max`` and ``min`` are
written into the kernels that call them, where numba compiles a function of its own for each type and number of
dimensions, in each process anew.
"""

import copy
import functools
import operator
from collections.abc import Callable
from types import CodeType
from typing import Any, ClassVar, Final

import numpy as np
from numba import types
from numba.core import inline_closurecall, ir, typed_passes, untyped_passes
from numba.core.analysis import compute_cfg_from_blocks
from numba.core.compiler_machinery import PassManager
from numba.core.cpu import CPUContext
from numba.core.ir_utils import build_definitions, get_definition, guard, simplify_CFG
from numba.core.rewrites.registry import rewrite_registry
from numba.core.runtime.context import NRTContext
from numba.core.ssa import reconstruct_ssa
from numba.core.transforms import canonicalize_cfg
from numba.core.typing import npydecl
from numba.core.typing.context import BaseContext
from numba.cpython import builtins
from numba.extending import intrinsic
from numba.np import arrayobj

from pulsar_kernels._ir import zeroed
from pulsar_kernels._lowering import ToLLVM, is_element, is_number, own_step

#: What is made from here is not public in numba: where a release has it otherwise, kernels compile as usual.
KNOWN: Final = all(
    hasattr(owner, name)
    for owner, names in (
        (PassManager, ("_ENFORCING", "finalize")),
        (untyped_passes, ("InlineInlinables", "InlineClosureLikes", "IRProcessing", "GenericRewrites")),
        (untyped_passes.ReconstructSSA, ("_patch_locals",)),
        (untyped_passes.InlineInlinables, ("_do_work",)),
        (typed_passes, ("NopythonRewrites", "NopythonTypeInference")),
        (typed_passes.PreLowerStripPhis, ("_strip_phi_nodes",)),
        (rewrite_registry, ("rewrites",)),
        (types.Function, ("get_impl_key",)),
        (BaseContext, ("resolve_function_type", "resolve_setitem")),
        (inline_closurecall, ("InlineWorker", "callee_ir_validator")),
        (inline_closurecall.InlineWorker, ("run_untyped_passes",)),
        (npydecl, ("parse_dtype", "parse_shape")),
        (builtins, ("do_minmax",)),
        (CPUContext, ("fastmath",)),
        (arrayobj, ("make_array", "populate_array", "get_itemsize")),
        (NRTContext, ("meminfo_alloc_aligned", "meminfo_data")),
    )
    for name in names
)


def _memory(zero: bool) -> Callable[..., Any]:
    """A typed ``np.empty``, or ``np.zeros``, as code in the function that calls it."""

    def memory(_context: Any, shape: Any, dtype: Any = None) -> Any:
        default = dtype is None or isinstance(dtype, (types.NoneType, types.Omitted))
        kind = types.float64 if default else npydecl.parse_dtype(dtype)
        ndim = npydecl.parse_shape(shape)
        if kind is None or ndim is None:
            return None
        array = types.Array(kind, ndim, "C")

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            given, size = signature.args[0], args[0]
            sizes = (
                [(given, size)]
                if ndim == 1 and isinstance(given, types.Integer)
                else zip(given.types, [builder.extract_value(size, k) for k in range(ndim)], strict=True)
            )
            sides = [context.cast(builder, one, kind_of, types.intp) for kind_of, one in sizes]
            item = context.get_constant(types.intp, arrayobj.get_itemsize(context, array))
            with builder.if_then(
                builder.icmp_signed("<", functools.reduce(builder.or_, sides), item.type(0)), likely=False
            ):
                context.call_conv.return_user_exc(builder, ValueError, ("negative dimensions are not allowed",))
            # From the last axis to the first.
            strides = [item]
            for side in reversed(sides):
                strides.append(builder.mul(strides[-1], side))
            align = context.get_preferred_array_alignment(kind)
            piece = context.nrt.meminfo_alloc_aligned(builder, strides[-1], align)
            made = arrayobj.make_array(array)(context, builder)
            place = builder.bitcast(context.nrt.meminfo_data(builder, piece), made.data.type)
            arrayobj.populate_array(made, place, sides, strides[-2::-1], item, piece)
            if zero:
                zeroed(builder, made.data, strides[-1])
            return made._getvalue()

        return array(shape, types.none if dtype is None else dtype), code

    written: Callable[..., Any] = intrinsic(memory)
    return written


def _extreme(before: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """``max`` or ``min`` of two or three numbers as code in the function that calls it."""

    def extreme(typing: Any, one: Any, two: Any, three: Any = None) -> Any:
        last = types.none if three is None else three
        given = [kind for kind in (one, two, last) if not isinstance(kind, (types.NoneType, types.Omitted))]
        if not all(isinstance(kind, types.Number) for kind in given):
            return None

        def code(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return builtins.do_minmax(context, builder, given, args[: len(given)], before)

        return typing.unify_types(*given)(one, two, last), code

    written: Callable[..., Any] = intrinsic(extreme)
    return written


_MEMORY: Final = {"empty": _memory(False), "zeros": _memory(True)}
_EXTREME: Final = {max: _extreme(operator.gt), min: _extreme(operator.lt)}


def _set(code: Any, found: Any, name: str, function: Any) -> None:
    """Have a function assigned in place of what was, also in what is known of the variable."""
    before = found.value
    found.value = ir.Global(name, function, before.loc)
    known = code._definitions[found.target.name]
    known[known.index(before)] = found.value


def _write_extremes(code: Any) -> None:
    """Let ``max`` and ``min`` mean those above."""
    for block in code.blocks.values():
        for found in block.find_insts(ir.Assign):
            value = found.value
            if isinstance(value, (ir.Global, ir.FreeVar)) and (value.value is max or value.value is min):
                _set(code, found, value.name, _EXTREME[value.value])


def _write_memory(code: Any) -> None:
    """Let calls of ``np.empty`` and ``np.zeros`` mean those above."""
    for block in code.blocks.values():
        for found in block.find_insts(ir.Assign):
            value = found.value
            if not (isinstance(value, ir.Expr) and value.op == "getattr" and value.attr in _MEMORY):
                continue
            module = guard(get_definition, code, value.value)
            if isinstance(module, (ir.Global, ir.FreeVar)) and module.value is np:
                _set(code, found, f"np.{value.attr}", _MEMORY[value.attr])


class _Written(ir.Block):
    """A block of a function that is being written into a caller.

    numba makes a second copy, for its own callers to see; nobody looks at it here.
    """

    def __deepcopy__(self, memo: Any) -> "_Written":
        return self


class _Read(ir.Block):
    """A block of a function as it was read: to be copied."""

    def __deepcopy__(self, memo: Any) -> _Written:
        made = _Written.__new__(_Written)
        vars(made).update(copy.deepcopy(vars(self), memo))
        return made


class _Writer(inline_closurecall.InlineWorker):
    """Writes functions into their callers; each is read once, however many call it."""

    _read: ClassVar[dict[Any, Any]] = {}

    def __init__(self, state: Any) -> None:
        about = (state.typingctx, state.targetctx, state.locals, state.pipeline, state.flags)
        super().__init__(*about, validator=inline_closurecall.callee_ir_validator)
        usual = self._compiler_pipeline

        def steps(of: Any) -> Any:
            return lean(usual(of), of.func_id.func)

        vars(self)["_compiler_pipeline"] = steps

    def run_untyped_passes(self, func: Any, enable_ssa: bool = False) -> Any:
        """What numba makes of a function before it knows the types; what is written into the caller is a copy."""
        if func not in self._read:
            self._read[func] = super().run_untyped_passes(func, enable_ssa)
            for block in self._read[func].blocks.values():
                block.__class__ = _Read
        return self._read[func]


@own_step("inline")
class _Inline(untyped_passes.InlineInlinables):
    """Writes what is to be inlined, and memory, into a kernel."""

    def run_pass(self, state: Any) -> bool:
        writer = _Writer(state)
        code = state.func_ir
        left = list(code.blocks.items())
        modified = False
        while left:
            _, block = left.pop()
            for at, found in enumerate(block.body):
                call = isinstance(found, ir.Assign) and isinstance(found.value, ir.Expr) and found.value.op == "call"
                if call and guard(self._do_work, state, left, block, at, found.value, writer):
                    modified = True
                    break
        if modified:
            for dead in compute_cfg_from_blocks(code.blocks).dead_nodes():
                del code.blocks[dead]
            code.blocks = simplify_CFG(canonicalize_cfg(code.blocks))
            for block in code.blocks.values():
                block.__class__ = ir.Block
        _write_memory(code)
        if not state.targetctx.fastmath:
            # numba's own never may take one zero for the other, whatever the kernel that calls them may do.
            _write_extremes(code)
        return True


_OF_NUMBERS: Final = frozenset(
    getattr(operator, name)
    for of_two in ("add", "sub", "mul", "and_", "or_", "xor", "lshift", "rshift", "mod", "floordiv", "truediv")
    for name in (of_two, f"i{of_two.rstrip('_')}")
) | {operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne, operator.neg}


#: Python's own functions whose result depends on nothing but the types of what they are given.
_OF_TYPES: Final = frozenset({bool, int, float, abs, range, slice})


class _Typing:
    """numba's context of types, which remembers what operators make of numbers and elements of arrays.

    numba tries some ten rules at each place where one stands, though few combinations of types occur.
    """

    _known: ClassVar[dict[Any, Any]] = {}

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        """Signature of a call, None if there is none."""
        function = isinstance(func, types.Function)
        does = func.typing_key if function else func
        plain = does in _OF_TYPES or isinstance(func, types.NumberClass) or does is operator.getitem
        if kws or not (plain or (does in _OF_NUMBERS and all(map(is_number, args)))):
            return self._context.resolve_function_type(func, args, kws)
        found, keys = self._remembered(
            (func, *args),
            lambda: (self._context.resolve_function_type(func, args, kws), func._impl_keys if function else {}),
        )
        if function:
            # Where its code is found; each place that calls a function has its own type of it.
            func._impl_keys.update(keys)
        return found

    def resolve_setitem(self, target: Any, index: Any, value: Any) -> Any:
        """Signature of setting an element."""
        args = (target, index, value)
        if not is_element(args):
            return self._context.resolve_setitem(*args)
        return self._remembered((operator.setitem, *args), lambda: self._context.resolve_setitem(*args))

    def _remembered(self, key: tuple[Any, ...], found: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = found()
        return self._known[key]


@own_step("types")
class _Infer(typed_passes.NopythonTypeInference):
    """Finds the types of a kernel."""

    def run_pass(self, state: Any) -> bool:
        whole = state.typingctx
        state.typingctx = _Typing(whole)
        try:
            return bool(super().run_pass(state))
        finally:
            state.typingctx = whole


@own_step("order")
class _Ordered(untyped_passes.IRProcessing):
    """Brings the blocks of a kernel into order.

    How long variables live is found out once, when no step changes it any more; numba does after each.
    """

    def run_pass(self, state: Any) -> bool:
        state.func_ir.blocks = canonicalize_cfg(state.func_ir.blocks)
        return True


@own_step("constants")
class _Constants(untyped_passes.GenericRewrites):
    """Constants where indices, operators and errors are such."""

    def run_pass(self, state: Any) -> bool:
        blocks = state.func_ir.blocks
        for kind in rewrite_registry.rewrites["before-inference"]:
            rewrite = kind(state)
            for label in blocks:
                while rewrite.match(state.func_ir, blocks[label], state.typemap, state.calltypes):
                    blocks[label] = rewrite.apply()
        return True


@own_step("ssa")
class _Single(untyped_passes.ReconstructSSA):
    """A name for each time that a variable is set."""

    def run_pass(self, state: Any) -> bool:
        state.func_ir = reconstruct_ssa(state.func_ir)
        self._patch_locals(state)
        state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        return True


@own_step("phis")
class _Joined(typed_passes.PreLowerStripPhis):
    """One place for all the names of a variable, where ways meet."""

    def run_pass(self, state: Any) -> bool:
        state.func_ir = self._strip_phi_nodes(state.func_ir)
        state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        return True


@own_step("rewrites")
class _Rewrites(typed_passes.NopythonRewrites):
    """Loops for arithmetic with whole arrays, where there is any."""

    def run_pass(self, state: Any) -> bool:
        for block in state.func_ir.blocks.values():
            for found in block.find_insts(ir.Assign):
                if isinstance(found.value, ir.Expr) and isinstance(state.typemap[found.target.name], types.Array):
                    of = found.value
                    function = state.typemap[of.func.name] if of.op == "call" else None
                    if of.op in ("unary", "binop") or isinstance(getattr(function, "typing_key", None), np.ufunc):
                        return bool(super().run_pass(state))
        return False


def lean(usual: Any, function: Any) -> Any:
    """The steps of numba for a kernel, without what does nothing there.

    Parameters
    ----------
    usual : PassManager
        As numba would go.
    function : callable
        The kernel.
    """
    instead: dict[Any, Any] = {
        untyped_passes.IRProcessing: _Ordered,
        untyped_passes.GenericRewrites: _Constants,
        untyped_passes.InlineInlinables: _Inline,
        untyped_passes.ReconstructSSA: _Single,
        typed_passes.PreLowerStripPhis: _Joined,
        typed_passes.NopythonTypeInference: _Infer,
        typed_passes.NopythonRewrites: _Rewrites,
        typed_passes.NativeLowering: ToLLVM,
    }
    if not any(isinstance(value, CodeType) for value in function.__code__.co_consts):
        instead[untyped_passes.InlineClosureLikes] = None
    steps = PassManager(usual.pipeline_name)
    # Each step leaves the code as the next one needs it; numba makes sure of it after each.
    steps._ENFORCING = False
    for step, what in usual.passes:
        chosen = instead.get(step, step)
        if chosen is not None:
            steps.add_pass(chosen, what)
    steps.finalize()
    return steps
