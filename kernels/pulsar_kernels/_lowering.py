"""How a kernel becomes LLVM code: as numba writes it, less what LLVM would only remove again.

The machine code is the same. numba writes each element of an array by way of a copy of all that it knows of the array,
empties every variable that is no longer used, and tries each operator with constants before it takes the numbers.
"""

from collections.abc import Callable
from typing import Any, Final

from numba import types
from numba.core import cgutils, ir, typed_passes
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.np import arrayobj

#: What is stood in for below is not public in numba: where a release has it otherwise, kernels compile as usual.
KNOWN: Final = all(
    hasattr(owner, name)
    for owner, names in (
        (Lower, ("lower_binop", "lower_getitem", "lower_setitem", "delvar", "incref", "decref", "loadvar")),
        (typed_passes, ("NativeLowering",)),
        (cgutils, ("get_item_pointer2", "unpack_tuple")),
        (arrayobj, ("load_item", "store_item", "fix_integer_index")),
    )
    for name in names
)


def is_number(kind: Any) -> bool:
    """Whether a type is one of numbers."""
    return isinstance(kind, (types.Number, types.Boolean))


def is_element(args: tuple[Any, ...]) -> bool:
    """Whether these are an array, a number or numbers that say which element is meant, and what it is set to."""
    places = getattr(args[1], "types", (args[1],))
    whole = isinstance(args[0], types.Array) and len(places) == args[0].ndim
    return whole and all(isinstance(place, types.Integer) for place in places) and all(map(is_number, args[2:]))


class _Lower(Lower):
    """Writes the code of one kernel."""

    def incref(self, typ: Any, val: Any) -> None:
        """One more uses what a value refers to; numbers refer to nothing."""
        if not is_number(typ):
            super().incref(typ, val)

    def decref(self, typ: Any, val: Any) -> None:
        """One less uses what a value refers to."""
        if not is_number(typ):
            super().decref(typ, val)

    def delvar(self, name: str) -> None:
        """A variable is not used from here on."""
        if not is_number(self.typeof(name)):
            super().delvar(name)
        elif name not in self._blk_local_varmap:
            self._singly_assigned_vars.discard(name)

    def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
        """An operator between two values."""
        if expr.static_lhs is not ir.UNDEFINED or expr.static_rhs is not ir.UNDEFINED:
            return super().lower_binop(resty, expr, op)
        signature = self.fndesc.calltypes[expr]
        of_two = [
            self.context.cast(self.builder, self.loadvar(side.name), self.typeof(side.name), kind)
            for side, kind in zip((expr.lhs, expr.rhs), signature.args, strict=True)
        ]
        made = self._code_of(op, signature.args)(self.builder, of_two)
        return self.context.cast(self.builder, made, signature.return_type, resty)

    def _code_of(self, op: Any, args: tuple[Any, ...]) -> Callable[..., Any]:
        """What writes an operator between two types; looked for once in a kernel."""
        known: dict[Any, Callable[..., Any]] = vars(self).setdefault("operators", {})
        if (op, args) not in known:
            function = self.context.typing_context.resolve_value_type(op)
            signature = function.get_call_type(self.context.typing_context, args, {})
            known[op, args] = self.context.get_function(function, signature)
        return known[op, args]

    def lower_getitem(self, resty: Any, expr: Any, value: Any, index: Any, signature: Any) -> Any:
        """What stands in an array, a tuple ... at some place."""
        if self.context.enable_boundscheck or not is_element(signature.args):
            return super().lower_getitem(resty, expr, value, index, signature)
        array = signature.args[0]
        found = arrayobj.load_item(self.context, self.builder, array, self._place(value, index, signature))
        return self.context.cast(self.builder, found, signature.return_type, resty)

    def lower_setitem(self, target_var: Any, index_var: Any, value_var: Any, signature: Any) -> Any:
        """Set what stands in an array at some place."""
        if self.context.enable_boundscheck or not is_element(signature.args):
            return super().lower_setitem(target_var, index_var, value_var, signature)
        array, _, kind = signature.args
        value = self.context.cast(self.builder, self.loadvar(value_var.name), self.typeof(value_var.name), kind)
        place = self._place(target_var, index_var, signature)
        value = self.context.cast(self.builder, value, kind, array.dtype)
        return arrayobj.store_item(self.context, self.builder, array, value, place)

    def _place(self, target: Any, index: Any, signature: Any) -> Any:
        """Where an element is: a negative number counts from the end."""
        builder, context = self.builder, self.context
        kind, at = signature.args[:2]
        array = self.loadvar(target.name)
        places = context.cast(builder, self.loadvar(index.name), self.typeof(index.name), at)
        kinds = getattr(at, "types", None)
        values = [places] if kinds is None else cgutils.unpack_tuple(builder, places)
        field = context.data_model_manager[kind].get_field_position
        shape, strides = (builder.extract_value(array, field(name)) for name in ("shape", "strides"))
        sides, steps = (cgutils.unpack_tuple(builder, of, kind.ndim) for of in (shape, strides))
        where = [
            arrayobj.fix_integer_index(context, builder, of, place, side)
            for of, place, side in zip(kinds or (at,), values, sides, strict=True)
        ]
        data = builder.extract_value(array, field("data"))
        if kind.layout == "C" and kind.ndim == 1:
            return builder.gep(data, where)
        return cgutils.get_item_pointer2(context, builder, data, sides, steps, kind.layout, where)


def own_step(name: str) -> Callable[[type], type]:
    """Make a class known to numba as a step of compiling kernels."""

    def known(made: Any) -> Any:
        made._name = f"{name}_of_kernels"
        return register_pass(mutates_CFG=True, analysis_only=False)(made)

    return known


@own_step("llvm")
class ToLLVM(typed_passes.NativeLowering):
    """Writes a kernel in LLVM's language, and has it compiled."""

    @property
    def lowering_class(self) -> type[Lower]:
        """What writes it."""
        return _Lower
