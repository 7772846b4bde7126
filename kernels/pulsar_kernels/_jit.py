"""The one decorator of this package.

Every kernel is compiled by :func:`kernel`: ``nogil`` so that a caller's threads run side by side,
``cache`` so that compilation is paid once per machine, ``error_model="numpy"`` so that a division by
zero gives inf as in numpy instead of raising inside a loop.
"""

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")

# Lets LLVM reorder sums and fuse multiply-adds, yet keeps NaN and Inf true (``nnan`` and ``ninf`` are left out).
REORDER = frozenset({"nsz", "arcp", "contract", "afn", "reassoc"})


def kernel(*, reorder: bool = False, inline: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function lazily at its first call for the argument types it is given.

    Parameters
    ----------
    reorder : bool
        Let the compiler reorder floating point sums (faster, last digits may differ). NaN stays NaN.
    inline : bool
        Always inline into the calling kernel (small helpers in inner loops).
    """

    def decorate(func: Callable[P, R]) -> Callable[P, R]:
        options: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
        if reorder:
            options["fastmath"] = set(REORDER)
        if inline:
            options["inline"] = "always"
        compiled: Callable[P, R] = njit(**options)(func)
        return compiled

    return decorate


def vector(code: Callable[..., Any], *, literal: int | None = None, returns: Any = types.void) -> Any:
    """Write the vector instructions of a function, where the compiler does not find them in a loop.

    The decorated function says in plain Python what is done; it runs when compilation is switched off.

    Parameters
    ----------
    code : callable
        ``code(builder, args)`` or ``code(builder, args, value)`` writes LLVM instructions: `args` are pointers to the
        data of arrays (contiguous), 64-bit integers and 32-bit floats.
    literal : int, optional
        Place of an argument that must be a constant where the function is called: its `value` is given to `code`.
    returns : numba type
        Of the value that `code` returns.
    """

    def decorate(plain: Callable[..., Any]) -> Any:
        if getattr(config, "DISABLE_JIT", False):
            return plain

        def typed(typingctx: Any, *args: Any) -> Any:  # noqa: ARG001
            if literal is not None and not isinstance(args[literal], types.IntegerLiteral):
                return None
            kinds = [
                a
                if isinstance(a, types.Array) or k == literal
                else types.float32
                if isinstance(a, types.Float)
                else types.int64
                for k, a in enumerate(args)
            ]

            def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                given = [
                    context.make_array(t)(context, builder, v).data if isinstance(t, types.Array) else v
                    for t, v in zip(signature.args, values, strict=True)
                ]
                extra = [] if literal is None else [args[literal].literal_value]
                result = code(builder, given, *extra)
                return context.get_dummy_value() if returns is types.void else result

            return returns(*kinds), codegen

        names = [inspect.Parameter("typingctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        # The compiler matches arguments with these names.
        vars(typed)["__signature__"] = inspect.Signature([*names, *inspect.signature(plain).parameters.values()])
        typed.__name__ = plain.__name__
        typed.__doc__ = plain.__doc__
        return intrinsic(prefer_literal=literal is not None)(typed)

    return decorate


def _prefetch_code(builder: Any, args: Any, form: int) -> None:
    i8, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [i8, i32, i32, i32])
    name = "llvm.prefetch.p0"
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    place = builder.bitcast(builder.gep(args[1], [args[2]]), i8)
    builder.call(function, [place, i32(form % 2), i32(2 if form > 1 else 3), i32(1)])


@vector(_prefetch_code, literal=0)
def prefetch(form: int, data: NDArray[Any], at: int) -> None:
    """Have element `at`, which may lie beyond the end, brought to the cache.

    `form` is 0 to read it soon, 1 to write it, 2 to read it later: into the second level.
    """


@kernel()
def aligned(n: int) -> NDArray[np.float32]:
    """Space for `n` numbers that begins at a cache line, so that no vector lies across two."""
    space = np.empty(n + 16, np.float32)
    skip = -(space.ctypes.data >> 2) & 15
    return space[skip : skip + n]
