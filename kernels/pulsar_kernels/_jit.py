"""The one decorator of this package.

Every kernel is compiled by :func:`kernel`: ``nogil`` so that a caller's threads run side by side,
``cache`` so that compilation is paid once per machine, ``error_model="numpy"`` so that a division by
zero gives inf as in numpy instead of raising inside a loop.
"""

import contextlib
import functools
import gc
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numba import config, types
from numba.core.caching import IndexDataCacheFile
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher
from numba.extending import intrinsic
from numpy.typing import NDArray

from pulsar_kernels._compiler import KNOWN, ForKernels, ForPython
from pulsar_kernels._ir import fence_code, prefetch_code

P = ParamSpec("P")
R = TypeVar("R")

# Lets LLVM reorder sums and fuse multiply-adds, yet keeps NaN and Inf true (``nnan`` and ``ninf`` are left out).
REORDER = frozenset({"nsz", "arcp", "contract", "afn", "reassoc"})


class _Kernel(CPUDispatcher):
    """A compiled function; a number or a truth that is written into a call makes no version of its own."""

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """How a kernel that calls this one sees it."""
        unliteral: Callable[[Any], Any] = types.unliteral
        plain = {name: unliteral(kind) for name, kind in kws.items()}
        return super().get_call_template([unliteral(kind) for kind in args], plain)

    def compile(self, sig: Any) -> Any:
        """Compile a version, or load it.

        Meanwhile Python does not look for objects to be freed: a compiler makes very many, and nearly all are kept.
        """
        looked = gc.isenabled()
        gc.disable()
        try:
            return super().compile(sig)
        finally:
            if looked:
                gc.enable()


class _Files(IndexDataCacheFile):
    """The files of a kernel on disk: an index and the code of each version.

    numba numbers the code files: two processes that add a version at once, or computers with different processors and
    one home, take the same number, and one loads what the other has compiled. Here the name tells what is inside, and
    the code is there before the index says so; the index entry that one of them loses costs a compilation.
    """

    _save_data: Callable[[str, Any], None]
    _load_index: Callable[[], dict[Any, str]]
    _save_index: Callable[[dict[Any, str]], None]

    def save(self, key: Any, data: Any) -> None:
        """Store the code of one version."""
        about = repr((key, self._source_stamp, self._version))
        name = self._data_name_pattern.format(number=int(hashlib.sha256(about.encode()).hexdigest()[:15], 16))
        # A full disk or a folder that is gone costs the next run its time, not this one its work.
        with contextlib.suppress(OSError):
            self._save_data(name, data)
            overloads = self._load_index()
            overloads[key] = name
            self._save_index(overloads)


@functools.cache
def _sources() -> tuple[tuple[str, float, int], ...]:
    """Name, time and size of the files of this package."""
    found = [(path.name, path.stat()) for path in sorted(Path(__file__).parent.glob("*.py"))]
    return tuple((name, stat.st_mtime, stat.st_size) for name, stat in found)


def _store(compiled: Any) -> None:
    """Have a kernel kept on disk, if there is a place that can be written.

    numba tries $NUMBA_CACHE_DIR, the folder beside the source, and the user's cache, in this order.
    """
    try:
        compiled.enable_caching()
    except RuntimeError:
        return
    files = compiled._cache._cache_file
    if type(files) is IndexDataCacheFile:
        files.__class__ = _Files
        # A kernel carries the code of helpers of other files: it is stale when any of them is another.
        files._source_stamp = (files._source_stamp, _sources())


def _pipeline(own: type[Compiler]) -> type[Compiler]:
    """Our way of compiling, or numba's where it has changed what ours is made from."""
    return own if KNOWN else Compiler


class _Helper(_Kernel):
    """A function that only kernels call: no entry from Python, nothing on disk (its callers carry its code)."""

    def __call__(self, *args: Any) -> Any:
        """Run it from Python all the same, for its tests: through an entry made here, at each start anew."""
        if "entry" not in vars(self):
            options = {**self.targetoptions, "inline": "never", "no_cpython_wrapper": KNOWN}
            vars(self)["entry"] = _Kernel(self.py_func, targetoptions=options, pipeline_class=_pipeline(ForPython))
        return vars(self)["entry"](*args)


class _Formula(_Kernel):
    """A few operations on numbers that are written into the kernels that call them; Python does them itself."""

    def __call__(self, *args: Any) -> Any:
        """As it stands."""
        return self.py_func(*args)


def kernel(
    *, reorder: bool = False, inline: bool = False, helper: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function lazily at its first call for the argument types it is given.

    Parameters
    ----------
    reorder : bool
        Let the compiler reorder floating point sums (faster, last digits may differ). NaN stays NaN.
    inline : bool
        Write it into the kernels that call it before they are compiled: those that are small, or called at one place of
        a kernel that is not large. One compilation less; but a kernel of hundreds of statements takes several times as
        long to compile as the parts of it, and a loop over arrays may no longer become vectors.
    helper : bool
        Called by kernels only, as all whose name begins with an underscore: no entry from Python is made and nothing
        stored, which saves a quarter of what they take to compile.
    """

    def decorate(func: Callable[P, R]) -> Callable[P, R]:
        if getattr(config, "DISABLE_JIT", False):
            return func
        lean = helper or func.__name__.startswith("_")
        options: dict[str, Any] = {
            "nopython": True,
            "boundscheck": None,
            "nogil": True,
            "error_model": "numpy",
            "no_cfunc_wrapper": True,
            # Ours makes one for what Python calls; numba's does unless it is told not to.
            "no_cpython_wrapper": KNOWN or lean,
            # Said in either case: numba has a function that does not say compiled as the first that happens to call it.
            "fastmath": set(REORDER) if reorder else False,
        }
        if inline:
            options["inline"] = "always"
        kind, pipeline = (_Helper, ForKernels) if lean else (_Formula if inline else _Kernel, ForPython)
        compiled: Callable[P, R] = kind(py_func=func, targetoptions=options, pipeline_class=_pipeline(pipeline))
        if kind is _Kernel:
            _store(compiled)
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


@vector(prefetch_code, literal=0)
def prefetch(form: int, data: NDArray[Any], at: int) -> None:
    """Have element `at`, which may lie beyond the end, brought to the cache.

    `form` is 0 to read it soon, 1 to write it, 2 to read it later: into the second level.
    """


@vector(fence_code)
def all_written() -> None:
    """Wait for what was written past the caches: whoever is told of it afterwards reads it."""


@kernel(helper=True)
def aligned(n: int) -> NDArray[np.float32]:
    """Space for `n` numbers that begins at a cache line, so that no vector lies across two."""
    space = np.empty(n + 16, np.float32)
    skip = -(space.ctypes.data >> 2) & 15
    return space[skip : skip + n]
