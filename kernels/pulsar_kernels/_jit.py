"""The one decorator of this package.

Every kernel is compiled by :func:`kernel`: ``nogil`` so that a caller's threads run side by side, kept on disk so that
compilation is paid once per machine, ``error_model="numpy"`` so that a division by zero gives inf as in numpy instead
of raising inside a loop. Kernels that take a series of either type are called through :func:`of_series`.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numba import config, njit, types
from numba.extending import intrinsic

from pulsar_kernels._cache import keep
from pulsar_kernels._ir import fence_code, prefetch_code
from pulsar_kernels.arrays import Array, Float32s, Int16s

P = ParamSpec("P")
R = TypeVar("R")

# Lets LLVM reorder sums and fuse multiply-adds, yet keeps NaN and Inf true (``nnan`` and ``ninf`` are left out).
REORDER = frozenset({"nsz", "arcp", "contract", "afn", "reassoc"})


def kernel(
    *, reorder: bool = False, fuse: bool = False, inline: bool = False, helper: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function lazily at its first call for the argument types it is given.

    Parameters
    ----------
    reorder : bool
        Let the compiler reorder floating point sums (faster, last digits may differ). NaN stays NaN.
    fuse : bool
        Let it make a product and a sum one instruction, and change nothing else.
    inline : bool
        Write it into the kernels that call it before they are compiled: those that are small, or called at one place of
        a kernel that is not large. One compilation less; but a kernel of hundreds of statements takes several times as
        long to compile as the parts of it, and a loop over arrays may no longer become vectors.
    helper : bool
        Called by kernels only, as all whose name begins with an underscore: not kept on disk, as its callers carry its
        code.
    """

    def decorate(func: Callable[P, R]) -> Callable[P, R]:
        if getattr(config, "DISABLE_JIT", False):
            return func
        options: dict[str, Any] = {
            "nogil": True,
            "error_model": "numpy",
            "no_cfunc_wrapper": True,
            # Without it numba has a function compiled as the first that happens to call it.
            "fastmath": set(REORDER) if reorder else {"contract"} if fuse else False,
        }
        if inline:
            options["inline"] = "always"
        compiled: Callable[P, R] = njit(**options)(func)
        if not (inline or helper or func.__name__.startswith("_")):
            keep(compiled)
        return compiled

    return decorate


def vector(code: Callable[..., Any], *, literal: int | None = None, returns: Any = types.void) -> Any:
    """Write the vector instructions of a function, where the compiler does not find them in a loop.

    The decorated function says in plain Python what is done; it runs when compilation is switched off.

    Parameters
    ----------
    code : callable
        ``code(builder, args)`` or ``code(builder, args, value)`` writes LLVM instructions, with the words of
        :mod:`pulsar_kernels._ir`: `args` are pointers to the data of arrays (contiguous), 64-bit integers and 32-bit
        floats.
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
                operands = [
                    context.make_array(t)(context, builder, v).data if isinstance(t, types.Array) else v
                    for t, v in zip(signature.args, values, strict=True)
                ]
                extra = [] if literal is None else [args[literal].literal_value]
                result = code(builder, operands, *extra)
                return context.get_dummy_value() if returns is types.void else result

            return returns(*kinds), codegen

        names = [inspect.Parameter("typingctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        # The compiler matches arguments with these names.
        vars(typed)["__signature__"] = inspect.Signature([*names, *inspect.signature(plain).parameters.values()])
        typed.__name__ = plain.__name__
        typed.__doc__ = plain.__doc__
        return intrinsic(prefer_literal=literal is not None)(typed)

    return decorate


@vector(prefetch_code, literal=0)
def prefetch(form: int, data: Array, at: int) -> None:
    """Have element `at`, which may lie beyond the end, brought to the cache.

    `form` is 0 to read it soon, 1 to write it, 2 to read it later: into the second level.
    """


@vector(fence_code)
def all_written() -> None:
    """Wait for what was written past the caches: whoever is told of it afterwards reads it."""


@kernel(helper=True)
def aligned(n: int) -> Float32s:
    """Space for `n` numbers that begins at a cache line, so that no vector lies across two."""
    space = np.empty(n + 16, np.float32)
    skip = -(space.ctypes.data >> 2) & 15
    return space[skip : skip + n]


_NO_INTS = np.zeros(0, np.int16)
_NO_FLOATS = np.zeros(0, np.float32)


def of_series(kernel_of_both: Callable[Concatenate[Int16s, Float32s, P], R]) -> Callable[Concatenate[Array, P], R]:
    """The function for Python of a kernel that takes a series of either type: one argument for the first two.

    Parameters
    ----------
    kernel_of_both : callable
        Its first arguments are the series as int16 and as float32, one of them empty.
    """

    @functools.wraps(kernel_of_both)
    def call(series: Array, /, *args: P.args, **kwargs: P.kwargs) -> R:
        ints, floats = (series, _NO_FLOATS) if series.dtype == np.int16 else (_NO_INTS, series)
        return kernel_of_both(ints, floats, *args, **kwargs)

    return call


@kernel(inline=True)
def sample(ints: Int16s, floats: Float32s, i: int) -> Any:
    """Sample `i`, as a float, of whichever is not empty."""
    return np.float32(floats[i]) if ints.shape[0] == 0 else np.float32(ints[i])
